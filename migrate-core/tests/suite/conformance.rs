//! The reference adapter passes the suite that all adapters pass; this file is the example of `docs/writing-an-adapter.md`.

use async_trait::async_trait;
use migrate_core::conformance::{Feature, Harness, TestDatabase, report};
use migrate_core::memory::MemoryDatabase;
use migrate_core::schema::{TableName, TableSchema};
use migrate_core::value::Row;
use migrate_core::{Result, Sink, Source};
use std::sync::Arc;

struct Memory;

#[async_trait]
impl Harness for Memory {
    fn lacks(&self, feature: Feature) -> Option<String> {
        match feature {
            Feature::Expressions => Some("there is no SQL".to_owned()),
            Feature::Together => Some("rows are written table by table".to_owned()),
            _ => None,
        }
    }

    async fn database(&self) -> Result<Box<dyn TestDatabase>> {
        Ok(Box::new(Database(MemoryDatabase::new())))
    }
}

struct Database(MemoryDatabase);

#[async_trait]
impl TestDatabase for Database {
    async fn source(&self) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(self.0.source()))
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(self.0.sink()))
    }

    async fn create_table(&self, table: &TableSchema) -> Result<()> {
        self.0.create_table(table.clone())
    }

    async fn insert(&self, table: &TableSchema, rows: &[Row]) -> Result<()> {
        rows.iter().try_for_each(|row| self.0.insert(&table.name.name, row.iter().cloned()))
    }

    async fn delete_all(&self, table: &TableName) -> Result<()> {
        self.0.delete(&table.name, |_| true).map(|_| ())
    }

    async fn rows(&self, table: &TableSchema) -> Result<Vec<Row>> {
        self.0.rows(&table.name.name)
    }
}

migrate_core::conformance_tests!(Memory);

#[test]
fn the_numbers_of_cases_run_and_left_out_are_the_known_ones() {
    let report = report(&Memory);
    println!("memory: {} cases run, {} left out {:?}", report.run.len(), report.left_out.len(), report.left_out);
    assert_eq!((report.run.len(), report.left_out.len()), (102, 8));
}
