//! Rows that stand in for parents which are nowhere: made before their children come, and taken away once nothing refers to them.
//!
//! That a placeholder is the job's own is remembered by a checkpoint of its own, written with it: one that others have put there stays.

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::filter::{Filter, Parameter};
use crate::job::Level;
use crate::pipeline::cascade::hold;
use crate::pipeline::context::{Context, Purpose};
use crate::plan::{EntityPlan, Placeholder, Plan};
use crate::sink::{SinkTransaction, WriteMode, WriteRequest};
use crate::source::{PageRequest, Snapshot};
use crate::state::{Checkpoint, Scope, StateChanges, to_hex};
use crate::value::conform::conform;
use crate::value::text::to_text;
use crate::value::{Encoding, Key, Page, PageBuilder, Value};
use std::collections::BTreeMap;

/// The placeholders that rows of this run are to refer to, with the entities of whose tables they are rows.
fn needed(plan: &Plan) -> impl Iterator<Item = (&EntityPlan, &Placeholder)> {
    let refers =
        |entity: &&EntityPlan| entity.orphans.iter().any(|orphaned| orphaned.instead.iter().any(|(_, value)| !value.is_null()));
    let references = plan.entities.iter().filter(refers).flat_map(|entity| &entity.references);
    let placeholders = references.filter_map(|reference| reference.placeholder.as_deref());
    placeholders.filter_map(|placeholder| Some((plan.parent(&placeholder.entity)?, placeholder)))
}

/// Refuses placeholders that a row of the source is taken for, whether or not any row needs them now: a comparison takes a row of a
/// placeholder's key for none of the entity's.
///
/// # Errors
/// [`ErrorKind::Config`] if one is; those of the source.
pub(crate) async fn check(plan: &Plan, source: &mut dyn Snapshot) -> Result<()> {
    for entity in &plan.entities {
        for placeholder in &entity.placeholders {
            refuse_source_row(entity, placeholder, source).await?;
        }
    }
    Ok(())
}

/// Makes the placeholders that rows of this run are to refer to, as far as they are not there.
pub(crate) async fn bring_in(context: &Context, plan: &Plan) -> Result<()> {
    if context.purpose == Purpose::Run {
        for (parent, placeholder) in needed(plan) {
            make(context, placeholder).await.map_err(|e| e.with("entity", &parent.name))?;
        }
    }
    Ok(())
}

/// Takes away the job's placeholders that no row of the target refers to any more. That is asked of the entities that the run moves, so that it
/// must move all of the job's.
pub(crate) async fn take_away(context: &Context, plan: &Plan) -> Result<()> {
    for placeholder in plan.entities.iter().flat_map(|entity| &entity.placeholders) {
        let scope = scope(context, placeholder);
        let own =
            context.state.checkpoints(&scope.job, &scope.entity).await?.into_iter().next().map(|(_, checkpoint)| checkpoint);
        let Some(checkpoint) = own.filter(|checkpoint| checkpoint.done) else { continue };
        if is_referred_to(context, plan, placeholder).await? {
            continue;
        }
        let changes = StateChanges {
            scope: Some(scope),
            checkpoint: Some(Checkpoint { done: false, sequence: checkpoint.sequence + 1, ..checkpoint }),
            ..StateChanges::default()
        };
        let mut transaction = context.sink.begin(&context.fence).await?;
        let gone = match delete(context, plan, placeholder, transaction.as_mut()).await {
            Ok(()) => transaction.commit(&changes).await,
            Err(error) => transaction.rollback().await.and(Err(error)),
        };
        match gone {
            Err(error) if matches!(error.kind(), ErrorKind::RowRejected | ErrorKind::Constraint) => {
                let message =
                    format!("the placeholder stays: rows that this run does not move refer to it ({})", error.message());
                context.log(Level::Info, &placeholder.entity, message);
            }
            other => other?,
        }
    }
    Ok(())
}

/// Deletes a placeholder that nothing else would go with.
async fn delete(context: &Context, plan: &Plan, placeholder: &Placeholder, transaction: &mut dyn SinkTransaction) -> Result<()> {
    let own = [placeholder.key_values()];
    if let Some(entity) = plan.entity(&placeholder.entity) {
        let request = PageRequest::new(&entity.target, &entity.target_key, &placeholder.key);
        let page = transaction.read_rows(&request, &own).await?;
        let keys: Vec<Key> = page.rows().map(|row| Ok(Key::from_values(&row.values()?))).collect::<Result<_>>()?;
        hold(context, entity, transaction, &keys).await?;
    }
    transaction.delete(&placeholder.table, &placeholder.key, &own).await.map(|_| ())
}

/// A row of the source that is taken for the placeholder would overwrite it, and go with it.
async fn refuse_source_row(parent: &EntityPlan, placeholder: &Placeholder, source: &mut dyn Snapshot) -> Result<()> {
    let columns: Option<Vec<String>> = placeholder.key.iter().map(|name| from_source(parent, name)).collect();
    let Some(columns) = columns else { return Ok(()) };
    let types = columns.iter().map(|name| parent.source.column(name).map(|c| &c.data_type));
    let values = placeholder.values.iter().zip(types);
    let values: Option<Vec<Value<'static>>> =
        values.map(|(value, of)| Some(conform(value.clone(), of?).ok()?.into_owned())).collect();
    let Some(values) = values else { return Ok(()) };
    let request = PageRequest::new(&parent.source, &columns, &columns).with_filter(parent.parsed_filter.as_ref());
    let page = source.read_rows(&request, &[Key::from_values(&values)]).await.context("side", "source")?;
    if page.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the source has a row of the placeholder's key ({}); give the entity another placeholder",
        placeholder.key.join(", ")
    );
    Err(Error::new(ErrorKind::Config, message).with("entity", &parent.name).with("table", &parent.source.name))
}

fn from_source(parent: &EntityPlan, target: &str) -> Option<String> {
    parent.columns.iter().find(|c| c.target == target)?.source.clone()
}

async fn make(context: &Context, placeholder: &Placeholder) -> Result<()> {
    let key = placeholder.key_values();
    let mut transaction = context.sink.begin(&context.fence).await?;
    if transaction.existing(&placeholder.table, &placeholder.key, std::slice::from_ref(&key)).await?.contains(&key) {
        return transaction.rollback().await;
    }
    let mut page = PageBuilder::new(placeholder.columns.clone().into(), Encoding::CANONICAL);
    page.begin_row();
    placeholder.values.iter().try_for_each(|value| page.push_value(value))?;
    page.end_row();
    let page = page.finish(None);
    let request =
        WriteRequest { table: &placeholder.table, key: &placeholder.key, page: &page, rows: None, mode: WriteMode::Load };
    transaction.write(request).await?;
    let scope = scope(context, placeholder);
    let before = context.state.checkpoints(&scope.job, &scope.entity).await?;
    let checkpoint = Checkpoint {
        execution: context.execution.clone(),
        attempt: context.attempt,
        sequence: before.first().map_or(1, |(_, checkpoint)| checkpoint.sequence + 1),
        done: true,
        ..Checkpoint::default()
    };
    transaction.commit(&StateChanges { scope: Some(scope), checkpoint: Some(checkpoint), ..StateChanges::default() }).await
}

/// Whether any row of the target refers to a placeholder by a reference that may.
async fn is_referred_to(context: &Context, plan: &Plan, placeholder: &Placeholder) -> Result<bool> {
    let mut target = context.sink.as_source().open_snapshot().await.context("side", "target")?;
    for child in &plan.entities {
        for reference in &child.references {
            let Some(other) = &reference.placeholder else { continue };
            if (&other.entity, &other.key, &other.values) != (&placeholder.entity, &placeholder.key, &placeholder.values) {
                continue;
            }
            let rows = target.count_rows(&child.target, Some(&having(&reference.columns, &other.referred)?)).await;
            if rows.map_err(|e| e.with("side", "target").with("entity", &child.name))? > 0 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The rows that have these values in these columns.
fn having(columns: &[String], values: &[Value<'static>]) -> Result<Filter> {
    let (mut conditions, mut parameters) = (Vec::new(), BTreeMap::new());
    for (number, (column, value)) in columns.iter().zip(values).enumerate() {
        let name = format!("migrate_placeholder_{number}");
        conditions.push(format!("\"{}\" = :{name}", column.replace('"', "\"\"")));
        parameters.insert(name, parameter(value));
    }
    Filter::parse(&conditions.join(" AND "), &parameters)
}

/// Returns whether some row of a page of the target is none of the entity's placeholders.
pub(crate) fn holds_others(entity: &EntityPlan, page: &Page) -> Result<bool> {
    for row in page.rows() {
        let values = row.values()?;
        let has = |(name, wanted): (&String, &Value<'static>)| {
            let cell = page.column_index(name).zip(entity.target.column(name));
            let value = cell.and_then(|(place, column)| conform(values[place].clone(), &column.data_type).ok());
            value.is_some_and(|value| &value == wanted)
        };
        if !entity.placeholders.iter().any(|placeholder| placeholder.key.iter().zip(&placeholder.values).all(has)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn parameter(value: &Value<'_>) -> Parameter {
    match value {
        Value::Bool(value) => Parameter::Bool(*value),
        Value::Int(value) => Parameter::Int(*value),
        other => Parameter::Text(to_text(other).into_owned()),
    }
}

/// Under which name it is remembered that a placeholder is the job's.
fn scope(context: &Context, placeholder: &Placeholder) -> Scope {
    let entity = format!("{} (placeholder {})", placeholder.entity, to_hex(placeholder.key_values().as_bytes()));
    Scope { job: context.job.name.clone(), entity, partition: 0 }
}
