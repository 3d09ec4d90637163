//! What the cases do again and again.

use super::check::{Failure, rows_of};
use super::harness::{Harness, TestDatabase};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{DatabaseSchema, TableName, TableSchema};
use crate::sink::{CreateRequest, Outcome, SchemaPlan, Sink, SinkTransaction, WriteMode, WriteRequest};
use crate::source::{PageRequest, Snapshot, SnapshotExt, Source};
use crate::state::{Checkpoint, Fence, FenceOwner, Scope, StateChanges};
use crate::value::conform::conform;
use crate::value::{Encoding, Key, Page, PageBuilder, PageColumn, Row, Value};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

/// A source of one case, on a table with rows.
pub(super) struct Reading {
    pub(super) database: Box<dyn TestDatabase>,
    pub(super) source: Arc<dyn Source>,
    /// The table as the source describes it.
    pub(super) table: TableSchema,
    pub(super) columns: Vec<String>,
    pub(super) key: Vec<String>,
}

impl Reading {
    /// Makes a database with one table and its rows, and a source on it.
    pub(super) async fn of(harness: &dyn Harness, table: &TableSchema, rows: &[Row]) -> std::result::Result<Self, Failure> {
        let database = harness.database().await?;
        database.create_table(table).await?;
        database.insert(table, rows).await?;
        let source = database.source().await?;
        let found = find(&source.schema().await?, &table.name)?.clone();
        Ok(Reading { database, source, columns: names(table), key: key_of(table), table: found })
    }

    pub(super) fn request(&self) -> PageRequest<'_> {
        PageRequest::new(&self.table, &self.columns, &self.key)
    }

    pub(super) async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.source.open_snapshot().await
    }
}

/// A sink of one case, with its state made and its fence taken.
pub(super) struct Writing {
    pub(super) database: Box<dyn TestDatabase>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) fence: Fence,
}

impl Writing {
    /// Makes a database with these tables and a sink on it.
    pub(super) async fn to(harness: &dyn Harness, tables: &[&TableSchema]) -> std::result::Result<Self, Failure> {
        let database = harness.database().await?;
        for table in tables {
            database.create_table(table).await?;
        }
        let sink = database.sink().await?;
        sink.state().initialize().await?;
        let fence = sink.state().acquire("job", &owner("first")).await?;
        Ok(Writing { database, sink, fence })
    }

    /// The table as the sink describes it.
    pub(super) async fn table(&self, name: &TableName) -> Result<TableSchema> {
        let default = self.sink.default_schema();
        self.sink.schema().await?.table(name, default.as_deref()).cloned()
    }

    pub(super) async fn begin(&self) -> Result<Box<dyn SinkTransaction>> {
        self.sink.begin(&self.fence).await
    }

    /// Writes rows to a table in a transaction of their own; gives what became of each.
    pub(super) async fn write(&self, table: &TableSchema, rows: &[Row], mode: WriteMode) -> Result<Vec<Outcome>> {
        let target = self.table(&table.name).await?;
        let page = page(&target, &names(table), rows)?;
        let mut transaction = self.begin().await?;
        let outcomes = write(&mut *transaction, &target, &key_of(table), &page, mode).await?;
        transaction.commit(&StateChanges::default()).await?;
        Ok(outcomes)
    }

    /// Reads all rows back through the sink's own source.
    pub(super) async fn read_back(&self, table: &TableSchema) -> Result<Vec<Row>> {
        let source = self.sink.as_source();
        let default = self.sink.default_schema();
        let found = source.schema().await?.table(&table.name, default.as_deref())?.clone();
        let (columns, key) = (names(table), key_of(table));
        let mut snapshot = source.open_snapshot().await?;
        let pages = snapshot.read_all(&PageRequest::new(&found, &columns, &key)).await?;
        rows_of(&pages)
    }

    /// Plans these tables as coming from an engine that nobody knows.
    pub(super) fn plan(&self, tables: &[TableSchema]) -> Result<SchemaPlan> {
        let database = DatabaseSchema {
            engine: "conformance".to_owned(),
            version: "1".to_owned(),
            tables: tables.to_vec(),
            types: Vec::new(),
        };
        let schema = self.sink.default_schema();
        let mut plan = SchemaPlan::default();
        for table in tables {
            let mut table = table.clone();
            for reference in &mut table.foreign_keys {
                reference.parent.schema.clone_from(&schema);
            }
            let name = TableName::new(schema.as_deref(), table.name.name.clone());
            let request = CreateRequest { engine: "conformance", database: &database, table: &table, name: &name };
            plan.tables.push(self.sink.plan_table(&request)?);
        }
        Ok(plan)
    }
}

/// A holder of a fence.
pub(super) fn owner(execution: &str) -> FenceOwner {
    FenceOwner { execution: execution.to_owned(), host: "localhost".to_owned(), process: std::process::id() }
}

/// The scope of an entity's first part.
pub(super) fn scope(entity: &str) -> Scope {
    Scope { job: "job".to_owned(), entity: entity.to_owned(), partition: 0 }
}

/// State of a scope that changes nothing yet.
pub(super) fn of_scope(scope: Scope) -> StateChanges {
    StateChanges { scope: Some(scope), ..StateChanges::default() }
}

/// State that holds a checkpoint with this number for a scope.
pub(super) fn checkpoint(scope: Scope, sequence: u64) -> StateChanges {
    let mut changes = of_scope(scope);
    changes.checkpoint = Some(Checkpoint { execution: "first".to_owned(), attempt: 1, sequence, ..Checkpoint::default() });
    changes
}

/// The table of this name; in whatever schema, since a fresh database has it once.
pub(super) fn find<'s>(schema: &'s DatabaseSchema, name: &TableName) -> Result<&'s TableSchema> {
    let found = schema.tables.iter().find(|t| t.name.name == name.name);
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, "the schema does not list the table").with("table", name))
}

/// The names of a table's columns.
pub(super) fn names(table: &TableSchema) -> Vec<String> {
    table.columns.iter().map(|c| c.name.clone()).collect()
}

/// The columns of a table's primary key.
pub(super) fn key_of(table: &TableSchema) -> Vec<String> {
    table.primary_key.as_ref().map(|k| k.columns.clone()).unwrap_or_default()
}

/// The key of a row whose cells are in the order of the table's columns.
pub(super) fn row_key(table: &TableSchema, row: &Row) -> Key {
    let values: Vec<&Value<'static>> =
        key_of(table).iter().filter_map(|k| table.columns.iter().position(|c| &c.name == k)).map(|at| &row[at]).collect();
    Key::from_values(values)
}

/// A canonical page of these rows for a target table.
pub(super) fn page(target: &TableSchema, columns: &[String], rows: &[Row]) -> Result<Page> {
    let page_columns: Arc<[PageColumn]> = columns
        .iter()
        .map(|name| {
            let column = target.column(name);
            column
                .map(|c| PageColumn { name: name.clone(), data_type: c.data_type.clone() })
                .ok_or_else(|| Error::new(ErrorKind::Schema, "the sink's table lacks a column").with("column", name))
        })
        .collect::<Result<_>>()?;
    let mut builder = PageBuilder::new(page_columns, Encoding::CANONICAL);
    for row in rows {
        builder.begin_row();
        row.iter().try_for_each(|value| builder.push_value(value))?;
        builder.end_row();
    }
    Ok(builder.finish(None))
}

/// Writes a whole page and gives what became of each row, spelt out.
pub(super) async fn write(
    transaction: &mut dyn SinkTransaction,
    table: &TableSchema,
    key: &[String],
    page: &Page,
    mode: WriteMode,
) -> Result<Vec<Outcome>> {
    let outcomes = transaction.write(WriteRequest { table, key, page, rows: None, mode }).await?;
    Ok(outcomes.unwrap_or_else(|| vec![Outcome::Inserted; page.row_count()]))
}

/// Polls a future so many times and then drops it, as a cancelled caller does; tells whether it was not done yet.
pub(super) async fn abandon<T>(future: impl Future<Output = T>, polls: usize) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        let done = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
        if done {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

/// Writes whole pages in one transaction and commits it; gives the error of whichever step failed, the transaction being over then.
pub(super) async fn write_and_commit(
    writing: &Writing,
    table: &TableSchema,
    key: &[String],
    pages: &[&Page],
    mode: WriteMode,
    state: &StateChanges,
) -> Result<()> {
    let mut transaction = writing.begin().await?;
    for page in pages {
        write(&mut *transaction, table, key, page, mode).await?;
    }
    transaction.commit(state).await
}

/// The rows of pages, each cell conformed to the type of the sample's column: sources with dynamic cells give other kinds.
pub(super) fn logical<'p>(
    columns: &[crate::schema::ColumnSchema],
    pages: impl IntoIterator<Item = &'p Page>,
) -> std::result::Result<Vec<Row>, Failure> {
    rows_of(pages)?
        .into_iter()
        .map(|row| {
            let cells = row.into_iter().zip(columns);
            cells.map(|(v, c)| conform(v, &c.data_type).map_err(|e| Failure::new(format!("column {}: {e}", c.name)))).collect()
        })
        .collect()
}

/// No change of state.
pub(super) fn none() -> StateChanges {
    StateChanges::default()
}
