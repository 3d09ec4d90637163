//! The seam that rows leave through.

use crate::error::{Error, ErrorKind, Result};
use crate::schema::{ColumnSchema, DatabaseSchema, TableName, TableSchema, TypeSchema};
use crate::source::{PageRequest, Source};
use crate::state::{Fence, StateChanges, TargetState};
use crate::value::{Key, Page, Value};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// A database that rows are written to, together with the state that says which.
#[async_trait]
pub trait Sink: fmt::Debug + Send + Sync {
    /// Returns the engine's name, such as `sqlite`.
    fn name(&self) -> &'static str;

    /// Returns what this sink can do.
    fn capabilities(&self) -> SinkCapabilities;

    /// Reads the catalogs, this library's own state tables left out.
    async fn schema(&self) -> Result<DatabaseSchema>;

    /// Returns the schema that a table name without one belongs to.
    fn default_schema(&self) -> Option<String>;

    /// Translates a source's table into one that this engine can create, types, keys, checks, defaults and all.
    ///
    /// Everything that cannot be carried over is in [`TablePlan::notes`]. Reads nothing and writes nothing.
    fn plan_table(&self, request: &CreateRequest<'_>) -> Result<TablePlan>;

    /// Checks that a table can be written, rights included, without writing to it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Permission`] naming the table and the missing right.
    async fn check_writable(&self, table: &TableSchema) -> Result<()>;

    /// Checks that the columns of [`TablePlan::added`] could be added to a table that is there, rights included, without doing it.
    ///
    /// Finds nothing wrong by default: right where whoever may write may also alter.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Permission`] naming the table and the missing right, [`crate::ErrorKind::Unsupported`] where the engine cannot.
    async fn check_alterable(&self, _plan: &TablePlan) -> Result<()> {
        Ok(())
    }

    /// Checks that missing tables, and the state schema if it is missing, could be created.
    async fn check_creatable(&self) -> Result<()>;

    /// Says whether rows of a table can be deleted by what they hold: [`SinkTransaction::delete_chosen`]. They cannot by default; where
    /// rows without a key are gone from the source, all of them are then loaded anew.
    fn can_choose(&self, _table: &TableSchema) -> bool {
        false
    }

    /// Creates the missing types and tables of a plan: columns, defaults, checks; keys and the rest come in [`Sink::finish`]. Adds the
    /// columns of [`TablePlan::added`], which allow NULL and have no default, to tables that are there.
    ///
    /// Idempotent: a step that is done already is passed over, so that a killed run can call it again.
    async fn prepare(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()>;

    /// Builds the keys of tables that a plan creates, so that rows can be looked up before [`Sink::finish`]. Idempotent.
    async fn build_keys(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()>;

    /// Opens a transaction that ends with the fence's check; several may be open at once up to [`SinkCapabilities::writers`].
    async fn begin(&self, fence: &Fence) -> Result<Box<dyn SinkTransaction>>;

    /// Completes a plan after the last row: keys, indexes, references, comments, sequences and statistics.
    ///
    /// Idempotent and resumable step by step. `progress` hears the name of each step before it starts.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Constraint`] naming the constraint, the number of rows that break it and some of their keys.
    async fn finish(&self, plan: &SchemaPlan, fence: &Fence, progress: &OnStep<'_>) -> Result<()>;

    /// Returns the reader of checkpoints, ledger blocks, quarantine and the fence.
    fn state(&self) -> Arc<dyn TargetState>;

    /// Returns the target as a source, to read back what is there.
    fn as_source(&self) -> Arc<dyn Source>;

    /// Opens a place where a run can be made in full, constraints and triggers included, of which nothing stays.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] by default.
    async fn rehearse(&self) -> Result<Box<dyn Rehearsal>> {
        Err(cannot("this target cannot be rehearsed").with("target", self.name()))
    }
}

/// A run that leaves nothing; see [`Sink::rehearse`]. Dropping it ends it as well.
#[async_trait]
pub trait Rehearsal: Send + Sync {
    /// Returns the target as the rehearsal sees it: everything that is written there is seen there, and by nobody else.
    ///
    /// Its commits check what those of a run would. No fence of the real target is taken; one transaction writes at a time.
    fn sink(&self) -> Arc<dyn Sink>;

    /// Returns what the rehearsal does to the real target all the same, such as locks that it holds, and where it differs from a run.
    fn notes(&self) -> Vec<String>;

    /// Undoes everything, also after an error.
    async fn end(self: Box<Self>) -> Result<()>;
}

/// Hears the name of a step before it starts; see [`Sink::finish`].
pub type OnStep<'a> = dyn Fn(&str) + Send + Sync + 'a;

/// Takes a page of rows; see [`SinkTransaction::read_loaded`].
pub type OnPage<'a> = dyn FnMut(Page) -> Result<()> + Send + 'a;

/// Takes a page of rows and names those of them that are meant, by their places, ascending; see [`SinkTransaction::delete_chosen`].
pub type Choose<'a> = dyn FnMut(&Page) -> Result<Vec<u32>> + Send + 'a;

/// What a sink can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkCapabilities {
    /// How many transactions can write at once; 1 where writers queue.
    pub writers: usize,
    /// Whether rows of several tables that refer to one another can be inserted, and deleted, at once: [`SinkTransaction::set_aside`]
    /// and what follows it.
    pub together: bool,
}

impl SinkCapabilities {
    /// Creates capabilities with so many writers.
    pub fn with_writers(writers: usize) -> Self {
        SinkCapabilities { writers, together: false }
    }

    /// Says that rows which refer to one another can be written at once.
    #[must_use]
    pub fn with_together(mut self) -> Self {
        self.together = true;
        self
    }
}

/// A reference of rows that were set aside.
#[derive(Debug, Clone, PartialEq)]
pub struct Tie {
    /// The place that the referring rows were set aside at.
    pub child: usize,
    /// The referring columns.
    pub columns: Vec<String>,
    /// The table that is referred to, whether rows of it were set aside or not.
    pub parent: TableName,
    /// The columns referred to, in the order of `columns`.
    pub parent_columns: Vec<String>,
    /// The referring columns that become NULL where the parent is not there; none where the row is then not inserted.
    pub open: Vec<String>,
}

/// What became of a row that was set aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Whether it was inserted. Else it was there already, or refused.
    pub inserted: bool,
    /// Which of its ties were left open, by their places, lowest bit first.
    pub open: u64,
}

/// Rows of one table that are to be deleted.
#[derive(Debug, Clone)]
pub struct DeleteRequest<'a> {
    /// The target table.
    pub table: &'a TableSchema,
    /// The target's columns that identify a row.
    pub key: &'a [String],
    /// The keys, to the letter.
    pub keys: Vec<Key>,
}

/// A source's table that is to be created in a sink.
#[derive(Debug, Clone, Copy)]
pub struct CreateRequest<'a> {
    /// The engine that the table comes from; with the sink's own, native types and expressions are taken as they are.
    pub engine: &'a str,
    /// The source's database, for its types.
    pub database: &'a DatabaseSchema,
    /// The source's table, columns already renamed, excluded and added as the entity says.
    pub table: &'a TableSchema,
    /// The name of the table to create.
    pub name: &'a TableName,
}

/// What is to be done with one target table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TablePlan {
    /// The table as it is, or as it will be.
    pub table: TableSchema,
    /// Whether it is created by this plan.
    pub create: bool,
    /// Columns of a table that is there already which are to be added to it, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// What cannot be carried over, or is carried over otherwise than one might think.
    pub notes: Vec<String>,
}

impl TablePlan {
    /// Returns the columns that are to be added to the table.
    pub fn added_columns(&self) -> impl Iterator<Item = &ColumnSchema> {
        self.table.columns.iter().filter(|column| self.added.contains(&column.name))
    }
}

/// What is to be done with the target's schema.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SchemaPlan {
    /// Types to create, in order.
    pub types: Vec<TypeSchema>,
    /// The tables of all entities.
    pub tables: Vec<TablePlan>,
}

impl SchemaPlan {
    /// Returns the plan of one table.
    pub fn table(&self, name: &TableName) -> Option<&TablePlan> {
        self.tables.iter().find(|t| &t.table.name == name)
    }
}

/// What to do where a row's key is, or may be, in the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// The caller knows that no row of these keys is there: a plain bulk load.
    Load,
    /// Inserts what is missing and overwrites what differs; a row that is equal to the letter is not touched.
    Upsert,
    /// Inserts what is missing and leaves the rest alone.
    InsertMissing,
}

/// Rows to be written to one table.
#[derive(Debug, Clone, Copy)]
pub struct WriteRequest<'a> {
    /// The target table.
    pub table: &'a TableSchema,
    /// The target's columns that identify a row; empty for a table without a key, which can only be loaded.
    pub key: &'a [String],
    /// Conformed rows; the page's column names are the target's.
    pub page: &'a Page,
    /// Which rows of the page, ascending; `None` is all.
    pub rows: Option<&'a [u32]>,
    /// What to do with keys that are there.
    pub mode: WriteMode,
}

impl WriteRequest<'_> {
    /// Returns the number of rows asked for.
    pub fn row_count(&self) -> usize {
        self.rows.map_or(self.page.row_count(), <[u32]>::len)
    }

    /// Iterates over the places, in the page, of the rows asked for.
    pub fn row_indexes(&self) -> impl Iterator<Item = usize> + '_ {
        let all = if self.rows.is_none() { self.page.row_count() } else { 0 };
        (0..all).chain(self.rows.unwrap_or_default().iter().map(|row| *row as usize))
    }
}

/// What became of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Outcome {
    /// The target holds the same row already.
    Unchanged = 0,
    /// A new row.
    Inserted = 1,
    /// An overwritten row.
    Updated = 2,
    /// Left to the target.
    Skipped = 3,
}

fn cannot(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, what)
}

/// A target transaction: rows and state, committed together or not at all.
///
/// Dropping it rolls back. After an error other than from [`SinkTransaction::commit`] only dropping or rolling back is allowed.
#[async_trait]
pub trait SinkTransaction: Send {
    /// Writes rows and returns what became of each, in the order asked for; `None` says that all were inserted.
    ///
    /// A bulk load may still be streaming when this returns: a refused row then fails a later call or the commit, with
    /// [`crate::Error::row`] counting all rows that were given to this transaction's loads of the table.
    ///
    /// # Errors
    /// [`crate::ErrorKind::RowRejected`] with the row's place where the engine names it (among the rows of this call, unless it is a bulk
    /// load), or [`crate::ErrorKind::Constraint`] where it does not.
    async fn write(&mut self, request: WriteRequest<'_>) -> Result<Option<Vec<Outcome>>>;

    /// Marks rows that are there as deleted, by the columns of the page beside their key, and returns what became of each: by default it
    /// writes them as [`SinkTransaction::write`] does. A mark may be the time, which does not say what is done.
    ///
    /// # Errors
    /// As [`SinkTransaction::write`].
    async fn mark(&mut self, request: WriteRequest<'_>) -> Result<Option<Vec<Outcome>>> {
        self.write(request).await
    }

    /// Reads the rows of these keys as the transaction sees them, in any order, and keeps others from changing them until it ends,
    /// where the engine can, unless it has [written](PageRequest::written) them itself. The request's range, filter and limits are passed over; [`Page::next`] is `None`. Keys are compared as the
    /// table's own index does, or [to the letter](PageRequest::to_the_letter) as [`SinkTransaction::delete`] does.
    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page>;

    /// Says whether rows of a table can be read back as they were written: not where some of them would be hidden from the reader, or
    /// statements are turned into others. They can by default.
    async fn can_read_back(&mut self, _table: &TableSchema) -> Result<bool> {
        Ok(true)
    }

    /// Hands over, page by page and in any order, all rows that loads of this transaction have put into a table, perhaps with others;
    /// false, and none, where they are better read by their keys, as is so by default. The request's key, range and filter are passed
    /// over; nothing is locked.
    ///
    /// # Errors
    /// As [`SinkTransaction::write`], whose rows may still be on their way; those of `take`.
    async fn read_loaded(&mut self, _request: &PageRequest<'_>, _take: &mut OnPage<'_>) -> Result<bool> {
        Ok(false)
    }

    /// Returns which of these keys some row has in the columns `key`, as the transaction sees them and the engine compares them. Nothing
    /// is locked. A key that the columns cannot hold is no row's.
    async fn existing(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<HashSet<Key>>;

    /// Draws so many new values for a column that the target gives by itself: from its sequence, its default or its row numbers. No row
    /// has had them, nor does any get them by itself later, nor does the sink draw one twice: its row may be written by a later transaction.
    /// A value that is not used is lost, or given again by another sink, as the engine has it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] if the target does not give the column's values.
    async fn reserve(&mut self, table: &TableSchema, column: &str, _count: usize) -> Result<Vec<Value<'static>>> {
        Err(Error::new(ErrorKind::Unsupported, "this sink draws no ids").with("column", column).with("table", &table.name))
    }

    /// Reads a key map as the transaction sees it, with what was put ahead of the commit; else as
    /// [`TargetState::mapped`] does.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] by default; sinks that insert rows of a cycle at once have it.
    async fn mapped(&mut self, _job: &str, entity: &str, _sources: &[Key]) -> Result<HashMap<Key, Key>> {
        Err(cannot("a transaction of this sink does not read the key map").with("entity", entity))
    }

    /// Deletes the rows of these keys that exist and returns how many did.
    ///
    /// A key must be the same to the letter, also where the table's own index takes other spellings for equal: a row that was written
    /// anew under another spelling of its key is another row.
    async fn delete(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<u64>;

    /// Hands over all rows of a table as the transaction sees them, page by page and in any order, and deletes those of each page that
    /// `choose` names; returns how many were deleted. Of rows that are equal to the letter each is one of its own. The request's key, range
    /// and filter are passed over. From the first page on others cannot change the rows, where the engine can keep them from it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] by default, and for tables of which [`Sink::can_choose`] says so; those of `choose`; those of
    /// [`SinkTransaction::delete`].
    async fn delete_chosen(&mut self, request: &PageRequest<'_>, _choose: &mut Choose<'_>) -> Result<u64> {
        Err(cannot("rows cannot be deleted by what they hold").with("table", &request.table.name))
    }

    /// Sets rows of a table aside, in order, for [`SinkTransaction::insert_aside`]. They are kept by the database. The mode is passed over:
    /// only what is missing is inserted. `place` is the caller's number for the table.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] by default, and for tables whose rows cannot be inserted by one statement with those of others.
    async fn set_aside(&mut self, _place: usize, request: WriteRequest<'_>) -> Result<()> {
        Err(cannot("rows that refer to one another cannot be inserted at once").with("table", &request.table.name))
    }

    /// Inserts, at once, all rows set aside that are not there yet, save those that the target refuses and those whose parent is neither
    /// there nor inserted with them, and returns how many.
    ///
    /// # Errors
    /// Those of the target that are of no row; the transaction is then over.
    async fn insert_aside(&mut self, _ties: &[Tie]) -> Result<u64> {
        Err(cannot("rows that refer to one another cannot be inserted at once"))
    }

    /// Returns what became of up to `count` rows set aside at a place, beginning with the one numbered `first`, in the order in which they
    /// were set aside; fewer only at their end.
    async fn arrivals(&mut self, _place: usize, _first: u64, _count: usize) -> Result<Vec<Arrival>> {
        Err(cannot("rows that refer to one another cannot be inserted at once"))
    }

    /// Deletes rows of several tables at once, so that they may refer to one another, and returns how many of each have gone, also where the
    /// target would by itself delete them, or change them, with those that they refer to.
    ///
    /// # Errors
    /// [`ErrorKind::Constraint`], here or from the commit, if other rows refer to one of them.
    async fn delete_at_once(&mut self, _requests: &[DeleteRequest<'_>]) -> Result<Vec<u64>> {
        Err(cannot("rows that refer to one another cannot be deleted at once"))
    }

    /// Deletes all rows of a table and returns how many there were.
    async fn clear(&mut self, table: &TableSchema) -> Result<u64>;

    /// Writes state ahead of the commit, which it is part of: what is known early need not be kept until then.
    async fn put_state(&mut self, state: StateChanges) -> Result<()>;

    /// Writes the state, checks the fence as the last statement, and commits.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Fenced`] if another process has taken over, [`crate::ErrorKind::CommitUnknown`] if the answer was lost; nothing is
    /// committed on any other error.
    async fn commit(self: Box<Self>, state: &StateChanges) -> Result<()>;

    /// Rolls back.
    async fn rollback(self: Box<Self>) -> Result<()>;
}
