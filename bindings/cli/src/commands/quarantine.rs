//! `quarantine`: rows that were refused.

use super::{Environments, Prepared, locate, prepare};
use crate::args::{Global, QuarantineCommand, QuarantineRows, RunArguments};
use crate::failure::{DONE, Failure};
use crate::output::{self, Table};
use crate::{bars, interrupt};
use migrate_core::job::{CancelToken, Entities};
use migrate_core::pipeline::Pipeline;
use migrate_core::state::QuarantinedRow;
use migrate_core::value::{Key, text};
use migrate_core::{Error, ErrorKind};
use serde_json::{Value, json};

/// Rows that are looked at, at most.
const MOST: usize = 100_000;

pub(super) async fn quarantine(global: &Global, command: QuarantineCommand) -> Result<u8, Failure> {
    match command {
        QuarantineCommand::List(rows) => list(global, &rows).await,
        QuarantineCommand::Show(show) => self::show(global, &show.rows, show.show_values).await,
        QuarantineCommand::Replay(rows) => replay(global, rows).await,
        QuarantineCommand::Drop(rows) => drop_rows(global, &rows).await,
    }
}

/// The refused rows that the arguments name, newest first.
async fn find(global: &Global, arguments: &QuarantineRows) -> Result<(Pipeline, Vec<QuarantinedRow>), Failure> {
    let Prepared { job, source, target, options, .. } = prepare(global, &arguments.job)?;
    let environments = Environments::of(&job);
    let (definition, only) = (job.clone(), options.clone());
    let name = job.name.clone();
    let state = target.state();
    let pipeline = Pipeline::builder(job).source(source).target(target).options(options).build()?;
    let located = |error: Error| locate(error.with("side", "target"), &environments);
    let exists = state.exists().await.map_err(located)?;
    let rows = match exists {
        true => state.quarantine(&name, None, MOST).await.map_err(located)?,
        false => Vec::new(),
    };
    for entity in &only.entities {
        let listed = matches!(&definition.entities, Entities::List(list) if list.iter().any(|e| e.name() == *entity));
        let refused = rows.iter().any(|row| &row.scope.entity == entity);
        if !listed && !refused && (!exists || state.checkpoints(&name, entity).await.map_err(located)?.is_empty()) {
            let error = Error::new(ErrorKind::NotFound, "the job has moved no entity of this name");
            return Err(error.with("entity", entity).with("job", name).into());
        }
    }
    let wanted = |row: &QuarantinedRow| {
        only.takes(&definition, &row.scope.entity) && arguments.key.as_ref().is_none_or(|key| key == &shown_key(row))
    };
    let rows: Vec<QuarantinedRow> = rows.into_iter().filter(wanted).collect();
    if rows.is_empty() && arguments.key.is_some() {
        let message = "no refused row has this key; `migrate quarantine list` shows those that there are";
        return Err(Error::new(ErrorKind::NotFound, message).with("job", name).into());
    }
    Ok((pipeline, rows))
}

fn shown_key(row: &QuarantinedRow) -> String {
    let key = Key::from_bytes(&row.key);
    let values = key.values().unwrap_or_default();
    values.iter().map(|value| text::to_text(value).into_owned()).collect::<Vec<_>>().join(", ")
}

async fn list(global: &Global, arguments: &QuarantineRows) -> Result<u8, Failure> {
    let (_, rows) = find(global, arguments).await?;
    if global.json {
        output::print_json(&json!({ "rows": rows.iter().map(described).collect::<Vec<_>>() }));
        return Ok(DONE);
    }
    let mut table = Table::new(&["entity", "key", "column", "reason", "execution"]);
    for row in &rows {
        let column = row.column.as_deref().map(output::name).unwrap_or_default();
        let (entity, key) = (output::name(&row.scope.entity), output::name(&shown_key(row)));
        table.add(vec![entity, key, column, output::name(&row.reason), row.execution.clone()]);
    }
    if rows.is_empty() {
        output::print_line("No row is in quarantine.");
    } else {
        table.print();
    }
    Ok(DONE)
}

fn described(row: &QuarantinedRow) -> Value {
    json!({
        "entity": row.scope.entity, "key": shown_key(row), "column": row.column, "reason": row.reason, "execution": row.execution,
    })
}

async fn show(global: &Global, arguments: &QuarantineRows, show_values: bool) -> Result<u8, Failure> {
    let (_, rows) = find(global, arguments).await?;
    if global.json {
        let whole = rows.iter().map(|row| {
            let mut document = described(row);
            document["columns"] = json!(row.columns);
            if show_values {
                document["values"] = json!(values(row));
            }
            document
        });
        output::print_json(&json!({ "rows": whole.collect::<Vec<_>>() }));
        return Ok(DONE);
    }
    for row in &rows {
        output::print_line(&format!("{} ({})", output::name(&row.scope.entity), output::name(&shown_key(row))));
        let column = row.column.as_deref().map(|column| format!(" (column {column})")).unwrap_or_default();
        output::print_line(&format!("  {}{}", output::name(&row.reason), output::name(&column)));
        for (column, value) in row.columns.iter().zip(values(row)) {
            let shown = value.map_or_else(|| "NULL".to_owned(), |value| output::name(&format!("{value:?}")));
            output::print_line(&if show_values {
                format!("    {}: {shown}", output::name(column))
            } else {
                format!("    {}", output::name(column))
            });
        }
    }
    if rows.is_empty() {
        output::print_line("No row is in quarantine.");
    }
    Ok(DONE)
}

/// The values of a refused row as text.
fn values(row: &QuarantinedRow) -> Vec<Option<String>> {
    let whole = Key::from_bytes(&row.row);
    let values = whole.values().unwrap_or_default();
    values.iter().map(|value| (!value.is_null()).then(|| text::to_text(value).into_owned())).collect()
}

/// Reads the refused rows again and sends them, and no others.
async fn replay(global: &Global, mut arguments: QuarantineRows) -> Result<u8, Failure> {
    let (_, rows) = find(global, &arguments).await?;
    if rows.is_empty() {
        output::print_line("No row is in quarantine.");
        return Ok(DONE);
    }
    let mut entities: Vec<String> = rows.iter().map(|row| row.scope.entity.clone()).collect();
    entities.sort();
    entities.dedup();
    arguments.job.entities = entities;
    arguments.job.stages.clear();
    let run = RunArguments { job: arguments.job, dry_run: false, plan: None, verify: None };
    super::run::run_rows(global, &run, Some(&rows), bars::on_terminal()).await
}

async fn drop_rows(global: &Global, arguments: &QuarantineRows) -> Result<u8, Failure> {
    let (pipeline, rows) = find(global, arguments).await?;
    let cancel = CancelToken::new();
    interrupt::watch(&cancel);
    let count = interrupt::unless_stopped(&cancel, pipeline.drop_quarantined(&rows)).await?;
    if global.json {
        output::print_json(&json!({ "dropped": count }));
    } else {
        let were = if count == 1 { "was" } else { "were" };
        output::print_line(&format!("{} {were} dropped from quarantine", output::rows(count)));
    }
    Ok(DONE)
}
