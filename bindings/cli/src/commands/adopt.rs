//! `adopt`: takes a target that holds the data already into a job's care.

use super::{Environments, Prepared, locate, prepare};
use crate::args::{Global, JobArguments};
use crate::failure::{DONE, Failure};
use crate::interrupt;
use crate::output::{self, Table};
use migrate_core::job::CancelToken;
use migrate_core::pipeline::Pipeline;
use serde_json::json;

pub(super) async fn adopt(global: &Global, arguments: &JobArguments) -> Result<u8, Failure> {
    let Prepared { job, source, target, options, .. } = prepare(global, arguments)?;
    let cancel = CancelToken::new();
    interrupt::watch(&cancel);
    let environments = Environments::of(&job);
    let pipeline = Pipeline::builder(job).source(source).target(target).options(options).build()?;
    let adopted =
        interrupt::unless_stuck(&cancel, pipeline.adopt(&cancel)).await.map_err(|error| locate(error, &environments))?;
    if global.json {
        let entities = adopted.iter().map(|entity| {
            let c = &entity.counters;
            json!({
                "name": entity.name, "read": c.read, "adopted": c.unchanged, "different": c.updated, "missing": c.inserted,
                "quarantined": c.quarantined, "seconds": entity.seconds,
            })
        });
        output::print_json(&json!({ "entities": entities.collect::<Vec<_>>() }));
        return Ok(DONE);
    }
    let mut table = Table::new(&["entity", ">read", ">adopted", ">different", ">missing", ">quarantined", ">seconds"]);
    for entity in &adopted {
        let c = &entity.counters;
        let mut row = vec![output::name(&entity.name)];
        row.extend([c.read, c.unchanged, c.updated, c.inserted, c.quarantined].map(output::count));
        row.push(format!("{:.2}", entity.seconds));
        table.add(row);
    }
    table.print();
    output::print_line("");
    output::print_line("No row was touched. The next run writes what is different or missing.");
    Ok(DONE)
}
