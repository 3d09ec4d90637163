//! Feeds rows that are in no database into a pipeline: a source of one's own.
//!
//! ```sh
//! cargo run -p migrate-examples --bin custom_source -- readings.sqlite
//! ```

use async_trait::async_trait;
use migrate_core::job::{CancelToken, Job};
use migrate_core::memory::{MemoryDatabase, table};
use migrate_core::pipeline::Pipeline;
use migrate_core::schema::{DatabaseSchema, TableSchema};
use migrate_core::source::SourceCapabilities;
use migrate_core::value::{DataType, Value};
use migrate_core::{Result, Snapshot, Source};
use migrate_sqlite::{SqliteConfig, SqliteSink};
use std::sync::Arc;

/// Measurements of a device, of which each snapshot takes what there is at that moment.
#[derive(Debug)]
struct Sensors;

impl Sensors {
    fn measure(&self) -> Result<MemoryDatabase> {
        let database = MemoryDatabase::new();
        database.create_table(table("reading", &[("sensor", DataType::Int64), ("celsius", DataType::Float64)], &["sensor"]))?;
        for sensor in 1..=4 {
            database.insert("reading", [Value::Int(sensor), Value::Float(18.0 + sensor as f64 / 4.0)])?;
        }
        Ok(database)
    }
}

#[async_trait]
impl Source for Sensors {
    fn name(&self) -> &'static str {
        "sensors"
    }

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::with_readers(1)
    }

    async fn identity(&self) -> Result<String> {
        Ok("sensors of the greenhouse".to_owned())
    }

    async fn schema(&self) -> Result<DatabaseSchema> {
        self.measure()?.source().schema().await
    }

    async fn open_snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.measure()?.source().open_snapshot().await
    }

    async fn check_readable(&self, _table: &TableSchema) -> Result<()> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let to = std::env::args().nth(1).ok_or("usage: custom_source TO")?;
    let pipeline = Pipeline::builder(Job::new("measure", "greenhouse", "archive"))
        .source(Arc::new(Sensors))
        .target(Arc::new(SqliteSink::new(SqliteConfig::new(to))))
        .build()?;
    let report = pipeline.run(&CancelToken::new()).await?;
    println!("{}: {} readings kept", report.status, report.entities[0].counters.inserted);
    Ok(())
}
