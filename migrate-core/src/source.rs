//! The seam that rows come through.

use crate::error::{Error, ErrorKind, Result};
use crate::expression::Expression;
use crate::filter::{Filter, Parameter};
use crate::job::CursorColumn;
use crate::schema::{ColumnSchema, DatabaseSchema, TableSchema};
use crate::value::{Key, KeyRange, Page};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A database, or anything like one, that rows are read from. It is never written to.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync {
    /// Returns the engine's name, such as `postgresql`.
    fn name(&self) -> &'static str;

    /// Returns what this source can do.
    fn capabilities(&self) -> SourceCapabilities;

    /// Returns a text that stays the same for the same database and differs for any other (a system identifier and database
    /// name, a file's path). It holds no secret.
    async fn identity(&self) -> Result<String>;

    /// Reads the catalogs.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] and its kin; [`ErrorKind::Unsupported`] for an engine version that is too old.
    async fn schema(&self) -> Result<DatabaseSchema>;

    /// Looks at the data of columns whose declared type promises more than the engine enforces, and corrects
    /// [`crate::schema::ColumnSchema::portable_type`] to a type that holds what is there. Called for tables that are about to be created elsewhere.
    ///
    /// Does nothing by default: right where the engine enforces its types.
    async fn refine(&self, _tables: &mut [TableSchema]) -> Result<()> {
        Ok(())
    }

    /// Says what columns these expressions would make of a table's rows, in their order and each under the name given, which others may have
    /// too; and makes sure that they are expressions of one row: nothing that groups rows, makes more of them, or ends where it should not.
    /// Nothing is computed.
    ///
    /// Called only where [`SourceCapabilities::expressions`] says so; the columns are then read as [`TableSchema::computed`] has them.
    ///
    /// # Errors
    /// What the engine says against an expression, naming the column; [`ErrorKind::Unsupported`] by default.
    async fn describe(&self, _table: &TableSchema, _expressions: &[(String, Expression)]) -> Result<Vec<ColumnSchema>> {
        Err(Error::new(ErrorKind::Unsupported, "this source evaluates no expressions"))
    }

    /// Opens one consistent view of all tables. Row-level security that would hide rows is an error, not a smaller view.
    async fn open_snapshot(&self) -> Result<Box<dyn Snapshot>>;

    /// Returns how many rows are needed to be sure that a table can be read, rights included, without reading it.
    ///
    /// # Errors
    /// [`ErrorKind::Permission`] naming the table and the missing right.
    async fn check_readable(&self, table: &TableSchema) -> Result<()>;
}

/// What a source can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceCapabilities {
    /// How many readers can share one snapshot; 1 where entities are read in turn.
    pub readers: usize,
    /// Whether every cell is a value of its column's type, so that cells which differ are values which differ. Not so where a column
    /// of moments can hold two spellings of one.
    pub typed_cells: bool,
    /// Whether it makes columns by expressions in SQL: [`Source::describe`], and [`TableSchema::computed`] wherever columns are read.
    pub expressions: bool,
}

impl SourceCapabilities {
    /// Creates capabilities with so many readers of one snapshot, and cells of any type.
    pub fn with_readers(readers: usize) -> Self {
        SourceCapabilities { readers, typed_cells: false, expressions: false }
    }

    /// Says that every cell is a value of its column's type.
    #[must_use]
    pub fn with_typed_cells(mut self) -> Self {
        self.typed_cells = true;
        self
    }

    /// Says that it makes columns by expressions in SQL.
    #[must_use]
    pub fn with_expressions(mut self) -> Self {
        self.expressions = true;
        self
    }
}

/// Where in a source's history a snapshot stands; opaque to all but its adapter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub String);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One consistent view of a source. Dropping it ends the view.
#[async_trait]
pub trait Snapshot: Send {
    /// Returns the view's place in the source's history.
    fn position(&self) -> &Position;

    /// Opens another reader of the same view.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where [`SourceCapabilities::readers`] is 1.
    async fn fork(&self) -> Result<Box<dyn Snapshot>>;

    /// Reads the next rows of a range in key order (any order that the source repeats for the same key columns).
    ///
    /// The page ends at `max_bytes` or `max_rows`, whichever comes first, and holds at least one row unless the range is
    /// exhausted. [`Page::next`] is the last row's key while rows may follow and `None` at the end of the range. A request that
    /// continues where the last page of this snapshot ended goes on with an open stream; any other starts a new one.
    ///
    /// A table without a key is read in one go: the keys are then row numbers and only the continuing request is allowed.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if the table or a column is gone, [`ErrorKind::ConnectionLost`] if the view is.
    async fn read_page(&mut self, request: &PageRequest<'_>) -> Result<Page>;

    /// Reads the rows of these keys that exist, in any order; [`Page::next`] is always `None`.
    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page>;

    /// Says whether the rows of a table that changed since a landmark of an earlier snapshot are known, and gives this snapshot's landmark.
    ///
    /// A landmark is opaque to all but its adapter. Every doubt makes the answer [`Since::Unknown`]: all rows are then read and compared.
    /// The table is asked about with all columns that are read, as their types may make the difference.
    ///
    /// Knows nothing by default: right for a source that cannot tell.
    async fn survey(&mut self, _request: &PageRequest<'_>, _since: Option<&str>) -> Result<Survey> {
        Ok(Survey::default())
    }

    /// Reads the next keys of a range in key order, at most [`PageRequest::max_rows`], and says of each whether its row may have changed
    /// since a landmark that [`Snapshot::survey`] knows. A row that did change is always among them; one that did not may be.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] by default.
    async fn read_keys(&mut self, _request: &PageRequest<'_>, _since: &str) -> Result<KeyPage> {
        Err(Error::new(ErrorKind::Unsupported, "this source cannot tell which rows have changed"))
    }

    /// Counts the rows of each of several ranges that follow one another, and makes a digest of what [`Snapshot::read_page`] would give of
    /// them, all inside the source: the first range begins behind [`PageRequest::range`]'s start, each next one behind the end of the one
    /// before, and each goes up to one of `ends`.
    ///
    /// The same rows, equal to the letter, have the same digest in every snapshot, in whatever order; of other rows it is another one, but
    /// for a chance of 2⁻⁶⁴ for each pair of them. It is no protection against somebody who chooses values so that they collide.
    ///
    /// Returns `None` by default: where the source cannot compute any.
    async fn digest(&mut self, _request: &PageRequest<'_>, _ends: &[Key]) -> Result<Option<Vec<RangeDigest>>> {
        Ok(None)
    }

    /// Returns the value of a column from which on a later run looks for changed rows: the greatest one among the rows of the request, less
    /// the overlap, as a filter compares it with the column. `None` where no row has one.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] by default; [`ErrorKind::Config`] where the overlap does not fit the column's type.
    async fn cursor(&mut self, _request: &PageRequest<'_>, _cursor: &CursorColumn) -> Result<Option<Parameter>> {
        Err(Error::new(ErrorKind::Unsupported, "this source knows no greatest value of a column; use another strategy"))
    }

    /// Counts the rows under a filter.
    async fn count_rows(&mut self, table: &TableSchema, filter: Option<&Filter>) -> Result<u64>;

    /// Returns up to `parts - 1` keys that cut the table into ranges of about the same number of rows, in key order.
    ///
    /// Returns none by default: right for a source that is read by one reader.
    async fn split_keys(&mut self, _request: &PageRequest<'_>, _parts: usize) -> Result<Vec<Key>> {
        Ok(Vec::new())
    }

    /// Returns examples of keys that more than one row has, none if the key is unique. At most `limit` keys, printed as text.
    async fn duplicate_keys(&mut self, request: &PageRequest<'_>, limit: usize) -> Result<Vec<String>>;

    /// Finds the rows that refer to a parent which is not there, by one comparison of both tables inside the source. A row refers to
    /// nothing where one of its referring columns is NULL.
    ///
    /// Returns `None` by default: where the source cannot tell.
    async fn find_orphans(&mut self, _request: &OrphanRequest<'_>) -> Result<Option<Orphans>> {
        Ok(None)
    }
}

/// What a source says of the rows of a range without giving them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeDigest {
    /// How many there are.
    pub rows: u64,
    /// A digest of their content, opaque to all but its adapter.
    pub digest: Vec<u8>,
}

/// What a source knows of a table's changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Where the table stands in this snapshot, for a later one to ask about; `None` where the source cannot tell.
    pub landmark: Option<String>,
    /// What is known of the changes since the landmark that was asked about.
    pub since: Since,
}

/// What a source knows of the changes since a landmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// [`Snapshot::read_keys`] names every row that changed.
    Known,
    /// Nothing, and why, in words without a cell's value; empty where the source can never tell.
    Unknown(String),
    /// This snapshot is older than the landmark, as that of a standby that lags; and by what that is told.
    Behind(String),
}

impl Default for Since {
    fn default() -> Self {
        Since::Unknown(String::new())
    }
}

/// Keys of rows, and which of these may have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys, in order.
    pub keys: Vec<Key>,
    /// Whether each one's row may have changed.
    pub fresh: Vec<bool>,
    /// The last key while keys may follow, `None` at the end of the range.
    pub next: Option<Key>,
}

/// Which reference is looked at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OrphanRequest<'a> {
    /// The table that refers.
    pub child: &'a TableSchema,
    /// Its referring columns.
    pub columns: &'a [String],
    /// The columns that identify a row of it, for the report; may be empty.
    pub key: &'a [String],
    /// Which of its rows are looked at: those that meet all of these.
    pub filters: Vec<&'a Filter>,
    /// The table that is referred to.
    pub parent: &'a TableSchema,
    /// The columns referred to, in the order of `columns`.
    pub parent_columns: &'a [String],
    /// Which of its rows count.
    pub parent_filter: Option<&'a Filter>,
    /// How many examples to return at most, of each kind.
    pub limit: usize,
}

impl<'a> OrphanRequest<'a> {
    /// Creates a request for a reference between two whole tables, with up to ten examples.
    pub fn new(child: &'a TableSchema, columns: &'a [String], parent: &'a TableSchema, parent_columns: &'a [String]) -> Self {
        OrphanRequest { child, columns, key: &[], filters: Vec::new(), parent, parent_columns, parent_filter: None, limit: 10 }
    }

    /// Says what identifies a row in the report.
    #[must_use]
    pub fn with_key(mut self, key: &'a [String]) -> Self {
        self.key = key;
        self
    }

    /// Restricts the request to rows that meet one more filter.
    #[must_use]
    pub fn with_filter(mut self, filter: Option<&'a Filter>) -> Self {
        self.filters.extend(filter);
        self
    }

    /// Restricts the parents that count.
    #[must_use]
    pub fn with_parent_filter(mut self, filter: Option<&'a Filter>) -> Self {
        self.parent_filter = filter;
        self
    }

    /// Limits the examples.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// Rows that refer to a parent which is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// How many there are.
    pub rows: u64,
    /// Keys of some of them, printed as text.
    pub keys: Vec<String>,
    /// Some of the parents that they miss, each once.
    pub parents: Vec<Key>,
}

/// Which rows to read, and how many at most.
#[derive(Debug, Clone)]
pub struct PageRequest<'a> {
    /// The table or view.
    pub table: &'a TableSchema,
    /// The columns to return, in this order; some may be the table's [`TableSchema::computed`] ones.
    pub columns: &'a [String],
    /// The columns that identify a row; empty for a table without a key. Each is also among `columns`.
    pub key: &'a [String],
    /// The range of keys.
    pub range: KeyRange,
    /// Which rows belong to the entity.
    pub filter: Option<&'a Filter>,
    /// Rows per page at most.
    pub max_rows: usize,
    /// Bytes per page, after which no further row is added.
    pub max_bytes: usize,
    /// Whether a target's row is found only under the very spelling of its key, also where the table's own index takes others for
    /// equal; see [`crate::sink::SinkTransaction::read_rows`].
    pub to_the_letter: bool,
    /// Whether the rows are what the transaction at hand has written, so that nobody else can change them before it ends; see
    /// [`crate::sink::SinkTransaction::read_rows`].
    pub written: bool,
    /// The keys whose rows alone are read, still in key order; all if `None`. Understood by sources that know changes.
    pub only: Option<&'a [Key]>,
}

impl<'a> PageRequest<'a> {
    /// Creates a request for all rows of a table, in pages of 1 MiB.
    pub fn new(table: &'a TableSchema, columns: &'a [String], key: &'a [String]) -> Self {
        PageRequest {
            table,
            columns,
            key,
            range: KeyRange::ALL,
            filter: None,
            max_rows: usize::MAX,
            max_bytes: 1 << 20,
            to_the_letter: false,
            written: false,
            only: None,
        }
    }

    /// Restricts the request to a range of keys.
    #[must_use]
    pub fn with_range(mut self, range: KeyRange) -> Self {
        self.range = range;
        self
    }

    /// Restricts the request to rows under a filter.
    #[must_use]
    pub fn with_filter(mut self, filter: Option<&'a Filter>) -> Self {
        self.filter = filter;
        self
    }

    /// Asks for rows whose keys are spelled to the letter as they are asked for.
    #[must_use]
    pub fn to_the_letter(mut self) -> Self {
        self.to_the_letter = true;
        self
    }

    /// Asks for rows that the transaction at hand has written.
    #[must_use]
    pub fn of_written(mut self) -> Self {
        self.written = true;
        self
    }

    /// Restricts the request to the rows of these keys.
    #[must_use]
    pub fn with_only(mut self, keys: &'a [Key]) -> Self {
        self.only = Some(keys);
        self
    }

    /// Limits each page to so many bytes and rows.
    #[must_use]
    pub fn with_limits(mut self, max_bytes: usize, max_rows: usize) -> Self {
        self.max_bytes = max_bytes;
        self.max_rows = max_rows;
        self
    }
}

/// Conveniences on every snapshot.
#[async_trait]
pub trait SnapshotExt: Snapshot {
    /// Reads a whole range into one vector of pages; for small tables and tests.
    async fn read_all(&mut self, request: &PageRequest<'_>) -> Result<Vec<Page>> {
        let mut request = request.clone();
        let mut pages = Vec::new();
        loop {
            let page = self.read_page(&request).await?;
            let next = page.next.clone();
            if !page.is_empty() {
                pages.push(page);
            } else if next.is_some() {
                return Err(Error::new(ErrorKind::Internal, "an empty page claims that rows follow"));
            }
            match next {
                Some(key) => request.range.after = Some(key),
                None => return Ok(pages),
            }
        }
    }
}

impl<T: Snapshot + ?Sized> SnapshotExt for T {}
