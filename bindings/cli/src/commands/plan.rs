//! `plan`: what a run would do.

use super::{Environments, Prepared, locate, prepare};
use crate::args::{Global, JobArguments};
use crate::failure::{DONE, Failure};
use crate::interrupt;
use crate::output::{self, Table};
use migrate_core::job::CancelToken;
use migrate_core::pipeline::Pipeline;
use migrate_core::plan::{EntityPlan, Plan};
use migrate_core::{Error, ErrorKind};

pub(super) async fn plan(global: &Global, arguments: &JobArguments) -> Result<u8, Failure> {
    let Prepared { job, source, target, options, .. } = prepare(global, arguments)?;
    let cancel = CancelToken::new();
    interrupt::watch(&cancel);
    let environments = Environments::of(&job);
    let pipeline = Pipeline::builder(job).source(source).target(target).options(options).build()?;
    let plan = interrupt::unless_stopped(&cancel, pipeline.plan()).await;
    let plan = plan.map_err(|error| locate(error, &environments))?;
    if global.json {
        let failed = |error| Error::new(ErrorKind::Internal, "the plan does not serialize").caused_by(error);
        output::print_json(&serde_json::to_value(&plan).map_err(failed)?);
    } else {
        print(&plan, &environments.source, &environments.target);
    }
    Ok(DONE)
}

fn print(plan: &Plan, from: &str, to: &str) {
    output::print_line(&format!("job {}, mode {}", output::name(&plan.job), plan.mode));
    output::print_line(&format!("from {from} ({}) to {to} ({})", plan.source, plan.target));
    output::print_line("");
    let mut table = Table::new(&[">", "entity", "from", "to", "table", ">rows", ">columns", "key"]);
    for (place, entity) in plan.entities.iter().enumerate() {
        table.add(row(place + 1, entity));
    }
    table.print();
    let mut notes: Vec<String> = plan.notes.clone();
    for entity in &plan.entities {
        notes.extend(entity.notes.iter().map(|note| format!("{}: {note}", entity.name)));
    }
    if !notes.is_empty() {
        output::print_line("");
        output::print_line("notes:");
        notes.iter().for_each(|note| output::print_line(&format!("  {}", output::name(note))));
    }
    output::print_line("");
    output::print_line("Nothing was written.");
}

fn row(place: usize, entity: &EntityPlan) -> Vec<String> {
    let key = if entity.is_keyless() { "none".to_owned() } else { output::name(&entity.key.join(", ")) };
    let rows = match (&entity.filter, entity.row_estimate) {
        (None, Some(rows)) => format!("~{}", output::count(rows)),
        (Some(_), _) => "filtered".to_owned(),
        (None, None) => "?".to_owned(),
    };
    vec![
        place.to_string(),
        output::name(&entity.name),
        output::name(&entity.source.name.to_string()),
        output::name(&entity.target.name.to_string()),
        if entity.create { "create" } else { "as it is" }.to_owned(),
        rows,
        entity.columns.len().to_string(),
        key,
    ]
}
