//! Overwrites columns of rows that are gone from the source: marks them as deleted, or takes their references away.

use super::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::job::Timestamp;
use crate::plan::EntityPlan;
use crate::schema::ColumnSchema;
use crate::sink::{Outcome, SinkTransaction, WriteMode, WriteRequest};
use crate::source::PageRequest;
use crate::value::conform::conform;
use crate::value::text::{parse, to_text};
use crate::value::{Affinity, DataType, Encoding, Key, Page, PageBuilder, PageColumn, Value};
use std::collections::BTreeSet;

/// Marks the rows of these keys that exist and are not marked yet, and returns how many there were.
pub(super) async fn mark(
    context: &Context,
    entity: &EntityPlan,
    column: &str,
    transaction: &mut dyn SinkTransaction,
    keys: &[Key],
) -> Result<u64> {
    if keys.is_empty() {
        return Ok(0);
    }
    let sign = sign(context, find(entity, column)?)?;
    // A row that bears a mark has been deleted before; its time stays what it was.
    let unmarked = |value: &Value<'_>| matches!(value, Value::Null | Value::Bool(false) | Value::Int(0));
    let Some(page) = overwritten(entity, &[(column, sign)], unmarked, transaction, keys).await? else { return Ok(0) };
    Ok(changed(transaction.mark(upsert(entity, &page)).await?))
}

/// Takes the late references of the rows of these keys away, so that rows which refer to each other can be deleted one after another.
pub(super) async fn unbind(entity: &EntityPlan, transaction: &mut dyn SinkTransaction, keys: &[Key]) -> Result<u64> {
    let late = entity.references.iter().filter_map(|reference| reference.late.as_ref());
    let names: BTreeSet<&str> = late.flat_map(|late| late.columns.iter().map(String::as_str)).collect();
    let columns: Vec<(&str, Value<'static>)> = names.into_iter().map(|name| (name, Value::Null)).collect();
    if columns.is_empty() || keys.is_empty() {
        return Ok(0);
    }
    let held = |value: &Value<'_>| !value.is_null();
    let Some(page) = overwritten(entity, &columns, held, transaction, keys).await? else { return Ok(0) };
    Ok(changed(transaction.write(upsert(entity, &page)).await?))
}

fn upsert<'p>(entity: &'p EntityPlan, page: &'p Page) -> WriteRequest<'p> {
    WriteRequest { table: &entity.target, key: &entity.target_key, page, rows: None, mode: WriteMode::Upsert }
}

fn changed(outcomes: Option<Vec<Outcome>>) -> u64 {
    outcomes.unwrap_or_default().iter().filter(|outcome| **outcome == Outcome::Updated).count() as u64
}

/// Returns the rows of these keys, with other values in some columns, of which one holds what is to be overwritten; `None` if there are none.
async fn overwritten(
    entity: &EntityPlan,
    values: &[(&str, Value<'static>)],
    overwrites: impl Fn(&Value<'_>) -> bool,
    transaction: &mut dyn SinkTransaction,
    keys: &[Key],
) -> Result<Option<Page>> {
    let find = |name: &str| find(entity, name);
    let mut columns = entity.target_key.clone();
    columns.extend(values.iter().map(|(name, _)| (*name).to_owned()));
    let request = PageRequest::new(&entity.target, &columns, &entity.target_key).to_the_letter();
    let found = transaction.read_rows(&request, keys).await?;
    let types: Vec<PageColumn> = columns
        .iter()
        .map(|c| Ok(PageColumn { name: c.clone(), data_type: find(c)?.data_type.clone() }))
        .collect::<Result<_>>()?;
    let mut page = PageBuilder::new(types.into(), Encoding::CANONICAL);
    for row in found.rows() {
        let held = row.values()?;
        if !held.iter().skip(entity.target_key.len()).any(&overwrites) {
            continue;
        }
        page.begin_row();
        for (value, column) in held.into_iter().zip(&entity.target_key) {
            let value = conform(value, &find(column)?.data_type).map_err(|refusal| {
                Error::new(ErrorKind::Corrupt, format!("a key of the target does not fit its own column: {}", refusal.reason))
                    .with("column", column)
            })?;
            page.push_value(&value)?;
        }
        values.iter().try_for_each(|(_, value)| page.push_value(value))?;
        page.end_row();
    }
    let page = page.finish(None);
    Ok(if page.is_empty() { None } else { Some(page) })
}

/// An instant, to the second where the column cannot hold its milliseconds.
fn instant(now: Timestamp, precision: Option<u32>) -> String {
    let text = now.to_string();
    if precision.is_some_and(|digits| digits < 3) { format!("{}Z", &text[..19]) } else { text }
}

/// An instant as it would stand in a text column that a moment was copied into, to the second where that has no room for more.
fn spelled(now: Timestamp, max_chars: Option<u32>) -> Option<Value<'static>> {
    let moment = |precision| parse(&instant(now, precision), &DataType::TimestampTz { precision });
    let text = |precision| moment(precision).map(|moment| to_text(&moment).into_owned());
    let room = max_chars.and_then(|chars| usize::try_from(chars).ok()).unwrap_or(usize::MAX);
    let text = text(None).filter(|text| text.len() <= room).or_else(|| text(Some(0)))?;
    Some(Value::Text(text.into()))
}

/// Returns the value that marks a row: true, or now.
fn sign(context: &Context, column: &ColumnSchema) -> Result<Value<'static>> {
    let now = context.now();
    let wrong = || {
        let message = format!(
            "the type {} can hold no mark; give a column for a time, a truth value, text or an integer",
            column.native_type
        );
        Error::new(ErrorKind::Schema, message).with("column", &column.name)
    };
    match &column.data_type {
        DataType::Bool => Ok(Value::Bool(true)),
        DataType::Int16 => Ok(Value::Int(1)),
        DataType::Int32 => Ok(Value::Int(1)),
        DataType::Int64 => Ok(Value::Int(now.as_millis())),
        DataType::Text { max_chars } => spelled(now, *max_chars).ok_or_else(wrong),
        DataType::Dynamic { affinity } => match affinity {
            Affinity::Integer | Affinity::StrictInteger => Ok(Value::Int(now.as_millis())),
            Affinity::Numeric if column.portable_type == DataType::Bool => Ok(Value::Int(1)),
            Affinity::Numeric | Affinity::Real | Affinity::Text | Affinity::Blob | Affinity::StrictText => {
                spelled(now, None).ok_or_else(wrong)
            }
            Affinity::StrictReal | Affinity::StrictBlob => Err(wrong()),
        },
        data_type @ DataType::TimestampTz { precision } => parse(&instant(now, *precision), data_type).ok_or_else(wrong),
        data_type @ DataType::Timestamp { precision } => {
            parse(instant(now, *precision).trim_end_matches('Z'), data_type).ok_or_else(wrong)
        }
        data_type @ DataType::Date => parse(&now.to_string()[..10], data_type).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

fn find<'e>(entity: &'e EntityPlan, name: &str) -> Result<&'e ColumnSchema> {
    entity.target.column(name).ok_or_else(|| {
        Error::new(ErrorKind::Schema, "the target has no such column").with("column", name).with("table", &entity.target.name)
    })
}
