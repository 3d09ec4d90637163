//! What the tests of the sink share.

use crate::support::{find, names};
use migrate_core::schema::{DatabaseSchema, TableName, TableSchema};
use migrate_core::sink::{CreateRequest, Outcome, SchemaPlan, Sink, SinkTransaction, WriteMode, WriteRequest};
use migrate_core::source::{PageRequest, SnapshotExt};
use migrate_core::state::{Fence, FenceOwner, StateChanges};
use migrate_core::value::conform::conform;
use migrate_core::value::{Encoding, Page, PageBuilder, PageColumn, Row, Value};
use migrate_core::{Error, Result};
use migrate_sqlite::{SqliteConfig, SqliteSink};
use std::path::Path;
use std::time::Duration;

/// A sink with its fence.
pub(crate) struct Target {
    pub(crate) sink: SqliteSink,
    pub(crate) fence: Fence,
}

pub(crate) fn owner() -> FenceOwner {
    FenceOwner { execution: "execution".to_owned(), host: "host".to_owned(), process: std::process::id() }
}

impl Target {
    /// Opens a file as a target, makes its state tables and takes the fence. It waits for locks for a moment only.
    pub(crate) async fn open(path: &Path) -> Target {
        let sink = SqliteSink::new(SqliteConfig::new(path).with_busy_timeout(Duration::from_millis(100)));
        sink.state().initialize().await.expect("the state tables can be made");
        let fence = sink.state().acquire("job", &owner()).await.expect("the fence is free");
        Target { sink, fence }
    }

    pub(crate) async fn table(&self, name: &str) -> TableSchema {
        find(&self.sink.schema().await.expect("the schema is readable"), name).clone()
    }

    pub(crate) async fn begin(&self) -> Box<dyn SinkTransaction> {
        self.sink.begin(&self.fence).await.expect("a transaction begins")
    }

    /// Writes rows in a transaction of their own.
    pub(crate) async fn write(&self, table: &TableSchema, rows: &[Row], mode: WriteMode) -> Result<Option<Vec<Outcome>>> {
        let mut transaction = self.begin().await;
        let outcomes = write(&mut *transaction, table, &page(table, rows), mode).await?;
        transaction.commit(&StateChanges::default()).await?;
        Ok(outcomes)
    }

    /// Loads rows that must be refused.
    pub(crate) async fn refusal(&self, table: &TableSchema, rows: &[Row], mode: WriteMode) -> Error {
        self.write(table, rows, mode).await.expect_err("a row is refused")
    }

    /// Plans tables of another engine.
    pub(crate) fn plan(&self, engine: &str, tables: &[TableSchema]) -> SchemaPlan {
        let database = DatabaseSchema { engine: engine.to_owned(), tables: tables.to_vec(), ..DatabaseSchema::default() };
        let plan = |table: &TableSchema| {
            let name = TableName::new(None, table.name.name.clone());
            self.sink
                .plan_table(&CreateRequest { engine, database: &database, table, name: &name })
                .expect("the table can be planned")
        };
        SchemaPlan { types: Vec::new(), tables: tables.iter().map(plan).collect() }
    }

    /// Creates tables of another engine and completes them.
    pub(crate) async fn create(&self, tables: &[TableSchema]) {
        let plan = self.plan("postgresql", tables);
        self.sink.prepare(&plan, &self.fence).await.expect("the tables are created");
        self.sink.finish(&plan, &self.fence, &|_| {}).await.expect("the tables are completed");
    }

    /// Reads a table's rows through the sink's own source, each value as its column's type has it.
    pub(crate) async fn rows(&self, table: &TableSchema) -> Vec<Row> {
        let key = table.natural_key().unwrap_or_default();
        let columns = names(table);
        let mut snapshot = self.sink.as_source().open_snapshot().await.expect("a snapshot opens");
        let pages = snapshot.read_all(&PageRequest::new(table, &columns, &key)).await.expect("the rows are readable");
        let logical =
            |value: Value<'_>, i: usize| conform(value.into_owned(), &table.columns[i].data_type).expect("a stored value");
        let row = |values: Vec<Value<'_>>| values.into_iter().enumerate().map(|(i, v)| logical(v, i)).collect();
        pages.iter().flat_map(|page| page.rows().map(|r| row(r.values().expect("cells decode"))).collect::<Vec<Row>>()).collect()
    }
}

/// Writes a page to a table under its natural key.
pub(crate) async fn write(
    transaction: &mut dyn SinkTransaction,
    table: &TableSchema,
    page: &Page,
    mode: WriteMode,
) -> Result<Option<Vec<Outcome>>> {
    let key = table.natural_key().unwrap_or_default();
    transaction.write(WriteRequest { table, key: &key, page, rows: None, mode }).await
}

/// A canonical page of rows; cells in the order of the table's columns that are not generated.
pub(crate) fn page(table: &TableSchema, rows: &[Row]) -> Page {
    let columns = table.columns.iter().filter(|c| c.generated.is_none());
    let columns = columns.map(|c| PageColumn { name: c.name.clone(), data_type: c.data_type.clone() });
    let mut page = PageBuilder::new(columns.collect(), Encoding::CANONICAL);
    for row in rows {
        page.begin_row();
        row.iter().for_each(|value| page.push_value(value).expect("a small cell"));
        page.end_row();
    }
    page.finish(None)
}

pub(crate) fn text(text: &str) -> Value<'static> {
    Value::Text(text.to_owned().into())
}
