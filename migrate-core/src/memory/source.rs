//! Reading: snapshots that share the tables with the database until it changes them.

use super::database::MemoryDatabase;
use super::faults::Call;
use super::filter::Condition;
use super::orphans;
use super::store::Tables;
use super::table::{StoredRow, key_of};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::schema::{DatabaseSchema, TableSchema};
use crate::source::{
    KeyPage, OrphanRequest, Orphans, PageRequest, Position, RangeDigest, Since, Snapshot, Source, SourceCapabilities, Survey,
};
use crate::value::canonical;
use crate::value::text::to_text;
use crate::value::{Encoding, Key, KeyRange, Page, PageBuilder, PageColumn, Value};
use async_trait::async_trait;
use std::collections::{BTreeMap, HashSet};

/// Rows of a page that is handed over to be chosen from.
const ROWS_PER_PAGE: usize = 100;

/// A [`MemoryDatabase`] as a source. Keys come in the order of their canonical bytes, which is not that of their values.
#[derive(Debug, Clone)]
pub struct MemorySource {
    database: MemoryDatabase,
    readers: usize,
}

impl MemorySource {
    pub(super) fn new(database: MemoryDatabase) -> Self {
        MemorySource { database, readers: 4 }
    }

    /// Sets how many readers may share a snapshot; 4 by default.
    #[must_use]
    pub fn with_readers(mut self, readers: usize) -> Self {
        self.readers = readers;
        self
    }
}

#[async_trait]
impl Source for MemorySource {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::with_readers(self.readers).with_typed_cells()
    }

    async fn identity(&self) -> Result<String> {
        Ok(self.database.identity())
    }

    async fn schema(&self) -> Result<DatabaseSchema> {
        self.database.faults().hit(Call::Schema)?;
        Ok(schema_of(&self.database))
    }

    async fn open_snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.database.faults().hit(Call::OpenSnapshot)?;
        let data = self.database.lock();
        Ok(Box::new(MemorySnapshot {
            database: self.database.clone(),
            tables: data.tables.clone(),
            position: Position(data.version.to_string()),
            forks: self.readers > 1,
            stream: None,
        }))
    }

    async fn check_readable(&self, table: &TableSchema) -> Result<()> {
        self.database.lock().tables.get(&table.name).map(|_| ())
    }
}

/// Describes the tables of a database as they stand.
pub(super) fn schema_of(database: &MemoryDatabase) -> DatabaseSchema {
    let data = database.lock();
    let tables = data
        .tables
        .iter()
        .map(|table| {
            let mut schema = table.schema().clone();
            let rows = table.rows().len() as u64;
            schema.row_estimate = Some(rows);
            // A guess, as those of other engines are; a table may have been created with another one.
            let guess = rows * 8 * schema.columns.len() as u64;
            schema.size_bytes.get_or_insert(guess);
            schema
        })
        .collect();
    DatabaseSchema { engine: "memory".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), tables, types: Vec::new() }
}

/// One consistent view of a [`MemoryDatabase`].
#[derive(Debug)]
pub struct MemorySnapshot {
    database: MemoryDatabase,
    tables: Tables,
    position: Position,
    forks: bool,
    stream: Option<Stream>,
}

/// The rows of a range that have not been handed out yet.
#[derive(Debug)]
struct Stream {
    of: StreamOf,
    /// In reverse, so that the next row is the last one.
    rows: Vec<(Key, StoredRow)>,
    last: Option<Key>,
}

/// What a stream is a stream of; a request for anything else starts another.
#[derive(Debug, Clone, PartialEq)]
struct StreamOf {
    table: crate::schema::TableName,
    key: Vec<String>,
    up_to: Option<Key>,
    filter: Option<Filter>,
    only: Option<Vec<Key>>,
}

/// The rows of a table under a filter, with their keys.
fn keyed_rows(tables: &Tables, request: &PageRequest<'_>) -> Result<Vec<(Key, StoredRow)>> {
    Ok(numbered_rows(tables, request)?.into_iter().map(|(key, _, row)| (key, row)).collect())
}

/// The same, with their numbers in the table.
fn numbered_rows(tables: &Tables, request: &PageRequest<'_>) -> Result<Vec<(Key, u64, StoredRow)>> {
    let table = tables.get(&request.table.name)?;
    let condition = request.filter.map(|f| Condition::new(f, table.schema())).transpose()?;
    let columns = table.places(request.key)?;
    let rows = table.rows().filter(|(_, row)| condition.as_ref().is_none_or(|c| c.holds(row)));
    Ok(if request.key.is_empty() {
        rows.enumerate().map(|(n, (id, row))| (Key::from_values(&[Value::Int(n as i64 + 1)]), id, row.clone())).collect()
    } else {
        let only: Option<HashSet<&Key>> = request.only.map(|keys| keys.iter().collect());
        let keyed = rows.map(|(id, row)| (key_of(row, &columns), id, row.clone()));
        let mut keyed: Vec<_> = keyed.filter(|(key, ..)| only.as_ref().is_none_or(|only| only.contains(key))).collect();
        keyed.sort_by(|(a, ..), (b, ..)| a.as_bytes().cmp(b.as_bytes()));
        keyed
    })
}

/// Returns the rows of these keys that exist.
pub(super) fn rows_by_key(tables: &Tables, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
    let wanted: HashSet<&Key> = keys.iter().collect();
    let (mut builder, places) = builder(tables, request)?;
    for (_, row) in keyed_rows(tables, request)?.iter().filter(|(key, _)| wanted.contains(key)) {
        push(&mut builder, &places, row)?;
    }
    Ok(builder.finish(None))
}

/// A page's rows with their numbers in the table.
type Numbered = Vec<(u64, StoredRow)>;

/// Returns all rows of a table, page by page.
pub(super) fn pages(tables: &Tables, request: &PageRequest<'_>) -> Result<Vec<(Page, Numbered)>> {
    let rows: Numbered = tables.get(&request.table.name)?.rows().map(|(id, row)| (id, row.clone())).collect();
    let mut pages = Vec::new();
    for some in rows.chunks(request.max_rows.clamp(1, ROWS_PER_PAGE)) {
        let (mut builder, places) = builder(tables, request)?;
        some.iter().try_for_each(|(_, row)| push(&mut builder, &places, row))?;
        pages.push((builder.finish(None), some.to_vec()));
    }
    Ok(pages)
}

fn builder(tables: &Tables, request: &PageRequest<'_>) -> Result<(PageBuilder, Vec<usize>)> {
    let table = tables.get(&request.table.name)?;
    let places = table.places(request.columns)?;
    let columns = places
        .iter()
        .map(|place| &table.schema().columns[*place])
        .map(|column| PageColumn { name: column.name.clone(), data_type: column.data_type.clone() })
        .collect();
    Ok((PageBuilder::new(columns, Encoding::CANONICAL), places))
}

impl MemorySnapshot {
    fn open(&self, request: &PageRequest<'_>, of: StreamOf) -> Result<Stream> {
        let KeyRange { after, up_to } = &request.range;
        if request.key.is_empty() && (after.is_some() || up_to.is_some()) {
            return Err(Error::new(ErrorKind::Unsupported, "a table without a key is read from its start, in one go")
                .with("table", &request.table.name));
        }
        let mut rows = keyed_rows(&self.tables, request)?;
        if let Some(up_to) = up_to {
            rows.truncate(rows.partition_point(|(key, _)| key.as_bytes() <= up_to.as_bytes()));
        }
        if let Some(after) = after {
            rows.drain(..rows.partition_point(|(key, _)| key.as_bytes() <= after.as_bytes()));
        }
        rows.reverse();
        Ok(Stream { of, rows, last: after.clone() })
    }
}

fn push(builder: &mut PageBuilder, places: &[usize], row: &StoredRow) -> Result<()> {
    builder.begin_row();
    places.iter().try_for_each(|place| builder.push_value(&row[*place]))?;
    builder.end_row();
    Ok(())
}

#[async_trait]
impl Snapshot for MemorySnapshot {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn fork(&self) -> Result<Box<dyn Snapshot>> {
        if !self.forks {
            return Err(Error::new(ErrorKind::Unsupported, "this source has one reader"));
        }
        Ok(Box::new(MemorySnapshot {
            database: self.database.clone(),
            tables: self.tables.clone(),
            position: self.position.clone(),
            forks: true,
            stream: None,
        }))
    }

    async fn read_page(&mut self, request: &PageRequest<'_>) -> Result<Page> {
        self.database.faults().hit(Call::ReadPage)?;
        let of = StreamOf {
            table: request.table.name.clone(),
            key: request.key.to_vec(),
            up_to: request.range.up_to.clone(),
            filter: request.filter.cloned(),
            only: request.only.map(<[Key]>::to_vec),
        };
        let mut stream = match self.stream.take() {
            Some(stream) if stream.of == of && stream.last == request.range.after => stream,
            _ => self.open(request, of)?,
        };
        let (mut builder, places) = builder(&self.tables, request)?;
        while let Some((key, row)) = stream.rows.pop() {
            push(&mut builder, &places, &row)?;
            stream.last = Some(key);
            if builder.row_count() >= request.max_rows || builder.bytes() >= request.max_bytes {
                break;
            }
        }
        let next = if stream.rows.is_empty() { None } else { stream.last.clone() };
        self.stream = next.is_some().then_some(stream);
        Ok(builder.finish(next))
    }

    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        self.database.faults().hit(Call::ReadRows)?;
        rows_by_key(&self.tables, request, keys)
    }

    async fn survey(&mut self, request: &PageRequest<'_>, since: Option<&str>) -> Result<Survey> {
        self.database.faults().hit(Call::ReadKeys)?;
        let table = self.tables.get(&request.table.name)?;
        let known = since.is_some_and(|since| table.changed_since(since).is_some());
        let since = if known { Since::Known } else { Since::Unknown("the table is another one".to_owned()) };
        Ok(Survey { landmark: Some(table.landmark()), since })
    }

    async fn read_keys(&mut self, request: &PageRequest<'_>, since: &str) -> Result<KeyPage> {
        self.database.faults().hit(Call::ReadKeys)?;
        let table = self.tables.get(&request.table.name)?;
        let changed = table.changed_since(since);
        let changed = changed.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the landmark is of another table"))?;
        let KeyRange { after, up_to } = &request.range;
        let mut page = KeyPage::default();
        for (key, id, _) in numbered_rows(&self.tables, request)? {
            let inside = after.as_ref().is_none_or(|after| key.as_bytes() > after.as_bytes())
                && up_to.as_ref().is_none_or(|up_to| key.as_bytes() <= up_to.as_bytes());
            if !inside {
                continue;
            }
            if page.keys.len() == request.max_rows {
                page.next = page.keys.last().cloned();
                break;
            }
            page.keys.push(key);
            page.fresh.push(changed(id));
        }
        Ok(page)
    }

    async fn digest(&mut self, request: &PageRequest<'_>, ends: &[Key]) -> Result<Option<Vec<RangeDigest>>> {
        self.database.faults().hit(Call::Digest)?;
        let places = self.tables.get(&request.table.name)?.places(request.columns)?;
        let mut found = vec![(0u64, 0u128); ends.len()];
        for (key, row) in keyed_rows(&self.tables, request)? {
            if request.range.after.as_ref().is_some_and(|after| key.as_bytes() <= after.as_bytes()) {
                continue;
            }
            let range = ends.partition_point(|end| end.as_bytes() < key.as_bytes());
            let Some((rows, sum)) = found.get_mut(range) else { continue };
            let mut bytes = Vec::new();
            places.iter().for_each(|place| canonical::encode_value(&row[*place], &mut bytes));
            *rows += 1;
            *sum = sum.wrapping_add(u128::from_be_bytes(canonical::checksum(&bytes)));
        }
        let digest = |(rows, sum): (u64, u128)| RangeDigest { rows, digest: sum.to_be_bytes().to_vec() };
        Ok(Some(found.into_iter().map(digest).collect()))
    }

    async fn count_rows(&mut self, table: &TableSchema, filter: Option<&Filter>) -> Result<u64> {
        self.database.faults().hit(Call::CountRows)?;
        let table = self.tables.get(&table.name)?;
        let condition = filter.map(|f| Condition::new(f, table.schema())).transpose()?;
        Ok(table.rows().filter(|(_, row)| condition.as_ref().is_none_or(|c| c.holds(row))).count() as u64)
    }

    async fn split_keys(&mut self, request: &PageRequest<'_>, parts: usize) -> Result<Vec<Key>> {
        let rows = keyed_rows(&self.tables, request)?;
        let cuts = (1..parts).map(|part| part * rows.len() / parts).filter(|at| *at > 0);
        let mut keys: Vec<Key> = cuts.map(|at| rows[at - 1].0.clone()).collect();
        keys.dedup();
        Ok(keys)
    }

    async fn duplicate_keys(&mut self, request: &PageRequest<'_>, limit: usize) -> Result<Vec<String>> {
        let mut counts: BTreeMap<Vec<u8>, (u64, Key)> = BTreeMap::new();
        for (key, _) in keyed_rows(&self.tables, request)? {
            counts.entry(key.as_bytes().to_vec()).or_insert((0, key)).0 += 1;
        }
        counts
            .values()
            .filter(|(count, _)| *count > 1)
            .take(limit)
            .map(|(_, key)| Ok(key.values()?.iter().map(to_text).collect::<Vec<_>>().join(", ")))
            .collect()
    }

    async fn find_orphans(&mut self, request: &OrphanRequest<'_>) -> Result<Option<Orphans>> {
        orphans::find(&self.tables, request).map(Some)
    }
}
