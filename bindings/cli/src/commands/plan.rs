//! `plan`: what a run would do.

use super::{Environments, Prepared, locate, prepare, rehearsal};
use crate::args::{Global, PlanArguments};
use crate::failure::{self, DONE, Failure};
use crate::output::{self, EntityLine, Table};
use crate::{connect, interrupt};
use migrate_core::job::CancelToken;
use migrate_core::pipeline::{Change, Contested, Pipeline, Preview, Resolution, Sample};
use migrate_core::plan::{EntityPlan, Plan};
use migrate_core::{Error, ErrorKind};
use serde_json::Value;

pub(super) async fn plan(global: &Global, arguments: &PlanArguments) -> Result<u8, Failure> {
    let Prepared { file, job, source, target, options, .. } = prepare(global, &arguments.job)?;
    let cancel = CancelToken::new();
    interrupt::watch(&cancel);
    let environments = Environments::of(&job);
    let mut builder = Pipeline::builder(job).source(source).target(target).options(options);
    if let Some(store) = interrupt::unless_stopped(&cancel, connect::existing_store(&file)).await? {
        builder = builder.recorder(store);
    }
    let pipeline = builder.build()?;
    let mut code = DONE;
    let document = if arguments.schema_only {
        let plan = interrupt::unless_stopped(&cancel, pipeline.plan()).await.map_err(|error| locate(error, &environments))?;
        if !global.json {
            print_schema(&plan, &environments);
        }
        serialize(&plan)?
    } else {
        let preview = match arguments.rehearse {
            true => interrupt::unless_stopped(&cancel, pipeline.rehearse(&cancel)).await,
            false => interrupt::unless_stopped(&cancel, pipeline.preview(&cancel)).await,
        };
        let preview = preview.map_err(|error| locate(error, &environments))?;
        if !global.json {
            print_schema(&preview.plan, &environments);
            if preview.plan.check_drift().is_ok() {
                print_changes(&preview, arguments.show_values);
            }
            if let Some(rehearsed) = &preview.rehearsal {
                rehearsal::print(rehearsed, arguments.show_values);
            }
        }
        if let Some(rehearsed) = &preview.rehearsal {
            code = failure::code_of_run(rehearsed.status, rehearsed.error_kind);
        }
        let mut document = serialize(&preview)?;
        if !arguments.show_values {
            let entities = document["changes"].as_array_mut().into_iter().flatten();
            super::hide_values(entities.filter_map(|entity| entity.get_mut("samples")?.as_array_mut()).flatten());
            let entities = document["changes"].as_array_mut().into_iter().flatten();
            super::hide_values(entities.filter_map(|entity| entity.pointer_mut("/contested/samples")?.as_array_mut()).flatten());
            let entities = document.pointer_mut("/rehearsal/entities").and_then(Value::as_array_mut).into_iter().flatten();
            super::hide_values(entities.filter_map(|entity| entity.get_mut("refused")?.as_array_mut()).flatten());
        }
        document
    };
    if let Some(path) = &arguments.out {
        let text = format!("{document:#}\n");
        let failed =
            |error| Error::new(ErrorKind::Io, "the plan cannot be written").with("file", path.display()).caused_by(error);
        std::fs::write(path, text).map_err(failed)?;
    }
    if global.json {
        output::print_json(&document);
    } else {
        output::print_line("");
        output::print_line("Nothing was written.");
    }
    Ok(code)
}

fn serialize(plan: &impl serde::Serialize) -> Result<Value, Failure> {
    let failed = |error| Error::new(ErrorKind::Internal, "the plan does not serialize").caused_by(error);
    Ok(serde_json::to_value(plan).map_err(failed)?)
}

fn print_schema(plan: &Plan, environments: &Environments) {
    output::print_line(&format!("job {}, mode {}", output::name(&plan.job), plan.mode));
    output::print_line(&format!("from {} ({}) to {} ({})", environments.source, plan.source, environments.target, plan.target));
    output::print_line("");
    let titles = [">", "entity", "from", "to", "table", ">rows", ">columns", "key"];
    let staged = plan.stages.len() > 1 || plan.stages.iter().any(|stage| !stage.derived);
    let mut table = Table::new(&titles.into_iter().chain(staged.then_some("stage")).collect::<Vec<_>>());
    for (place, entity) in plan.entities.iter().enumerate() {
        let stage = plan.stages.iter().find(|stage| stage.entities.contains(&entity.name)).filter(|_| staged);
        let mut row = row(place + 1, entity);
        row.extend(stage.map(|stage| output::name(&stage.name)));
        table.add(row);
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
    if let Err(refused) = plan.check_drift() {
        output::print_line("");
        output::print_line(&format!("a run is refused: {}", output::name(refused.message())));
    }
}

fn row(place: usize, entity: &EntityPlan) -> Vec<String> {
    let key = match &entity.set {
        Some(set) => format!("sets per {}", output::name(&set.source.join(", "))),
        None if entity.is_keyless() => "none".to_owned(),
        None => output::name(&entity.key.join(", ")),
    };
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

fn print_changes(preview: &Preview, show_values: bool) {
    output::print_line("");
    output::print_line("what a run would do with the rows:");
    output::results(preview.changes.iter().map(|e| EntityLine {
        name: &e.name,
        stage: None,
        counters: &e.counters,
        seconds: e.seconds,
    }))
    .print();
    for entity in preview.changes.iter().filter(|e| !e.samples.is_empty()) {
        output::print_line("");
        output::print_line(&format!("some rows of {} that would change:", output::name(&entity.name)));
        entity.samples.iter().for_each(|sample| print_sample(sample, show_values));
    }
    for entity in preview.changes.iter().filter(|e| !e.contested.is_empty()) {
        print_contested(&entity.name, &entity.contested, show_values);
    }
    output::print_line("");
    output::print_line(&format!(
        "about {} and {} to write; plan {}",
        output::seconds(preview.estimated_seconds),
        output::bytes(preview.estimated_bytes),
        preview.hash
    ));
    output::print_line(&format!("to do exactly this: migrate run --plan {}", preview.hash));
}

/// Says what would become of rows that both sides have changed.
fn print_contested(entity: &str, contested: &Contested, show_values: bool) {
    output::print_line("");
    output::print_line(&format!("rows of {} that both sides have changed since they were synced last:", output::name(entity)));
    for (count, what) in [
        (contested.overwritten, "the target's change would be overwritten"),
        (contested.kept, "the target's change would be kept"),
        (contested.open, "the target's change would be kept, and the conflict stays open"),
    ] {
        if count > 0 {
            output::print_line(&format!("  {}: {what}", output::rows(count)));
        }
    }
    for conflict in &contested.samples {
        let resolution = match conflict.resolution {
            Resolution::Overwritten => "overwritten",
            Resolution::Kept => "kept",
            Resolution::Open => "open",
        };
        let key = output::name(&conflict.key.join(", "));
        if conflict.deleted {
            output::print_line(&format!("  {resolution} ({key}): the target has deleted it"));
        } else {
            output::print_line(&format!("  {resolution} ({key})"));
            super::print_cells(&conflict.columns, show_values);
        }
    }
}

fn print_sample(sample: &Sample, show_values: bool) {
    let change = match sample.change {
        Change::Insert => "insert",
        Change::Update => "update",
        Change::Delete => "delete",
    };
    output::print_line(&format!("  {change} ({})", output::name(&sample.key.join(", "))));
    super::print_cells(&sample.columns, show_values);
}
