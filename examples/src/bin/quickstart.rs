//! Copies a database inside of another program.
//!
//! ```sh
//! cargo run -p migrate-examples --bin quickstart -- examples/chinook/chinook.sqlite copy.sqlite
//! ```

use migrate_core::job::{CancelToken, Job};
use migrate_core::pipeline::Pipeline;
use migrate_sqlite::{SqliteConfig, SqliteSink, SqliteSource};
use std::sync::Arc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: quickstart FROM TO".into());
    };
    let pipeline = Pipeline::builder(Job::new("copy", "from", "to"))
        .source(Arc::new(SqliteSource::new(SqliteConfig::new(from))))
        .target(Arc::new(SqliteSink::new(SqliteConfig::new(to))))
        .build()?;
    let report = pipeline.run(&CancelToken::new()).await?;

    let mut entities = report.entities;
    entities.sort_by(|a, b| a.name.cmp(&b.name));
    for entity in entities {
        let counters = entity.counters;
        println!(
            "{:<14} {:>5} read, {:>5} inserted, {:>5} unchanged",
            entity.name, counters.read, counters.inserted, counters.unchanged
        );
    }
    println!("{}", report.status);
    Ok(())
}
