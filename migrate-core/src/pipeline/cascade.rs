//! Keeps the target from deleting, or changing, rows that nobody asked it to: those that refer ON DELETE CASCADE, SET NULL or SET DEFAULT
//! to a row that is about to go.
//!
//! ```text
//! children go first ──▶ does any row refer to those that go? ──▶ no: they are deleted, and nothing goes with them
//!                                                               yes: they stay, as they would without CASCADE
//! ```
//!
//! The ledger knows of rows that the source has and of those that it has lost, but not of what a server does by itself: a child that is still at
//! the source would be gone and never be missed. So every row that goes, goes by a statement of its own entity, and is counted by it.

use super::context::{Context, Purpose};
use super::mark::unbind;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{CascadePlan, EntityPlan};
use crate::schema::TableName;
use crate::sink::SinkTransaction;
use crate::source::PageRequest;
use crate::value::conform::conform;
use crate::value::{DataType, Key, Value};
use std::collections::{HashMap, HashSet};

/// Rows of several tables that go by one transaction: by table, the columns that they are told by, and what they hold there.
pub(super) type Going = HashMap<TableName, (Vec<String>, HashSet<Key>)>;

/// Fails if rows refer to the rows of these keys that would go, or be changed, with them.
///
/// Rows of an entity's own table that refer to one another are let go of each other first: those of these keys do not hold one another. Of rows
/// of other entities of the same run a dry run cannot say whether they would still be there.
///
/// # Errors
/// [`ErrorKind::Constraint`] naming the table that refers.
pub(super) async fn hold(
    context: &Context,
    entity: &EntityPlan,
    transaction: &mut dyn SinkTransaction,
    keys: &[Key],
) -> Result<()> {
    hold_but(context, entity, transaction, keys, &Going::new()).await
}

/// The same, where rows of several tables go together: they do not hold one another.
///
/// # Errors
/// [`ErrorKind::Constraint`] naming the table that refers.
pub(super) async fn hold_but(
    context: &Context,
    entity: &EntityPlan,
    transaction: &mut dyn SinkTransaction,
    keys: &[Key],
    going: &Going,
) -> Result<()> {
    let seen = |cascade: &&CascadePlan| !(cascade.moved && context.purpose == Purpose::Preview);
    // A plan has no target that would refuse it.
    let holders = entity.holders.iter().filter(|_| context.purpose == Purpose::Preview);
    let cascades: Vec<&CascadePlan> = entity.cascades.iter().filter(seen).chain(holders).collect();
    if keys.is_empty() || cascades.is_empty() {
        return Ok(());
    }
    if cascades.iter().any(|cascade| cascade.table == entity.target.name) {
        unbind(entity, transaction, keys).await?;
    }
    for cascade in cascades {
        let parents = parents(entity, cascade, transaction, keys).await?;
        if parents.is_empty() {
            continue;
        }
        let referred = transaction.existing(&cascade.child, &cascade.columns, &parents).await?;
        if referred.is_empty() || only_they_refer(cascade, transaction, referred, going).await? {
            continue;
        }
        let message = format!("rows of {} refer to it ON DELETE {}", cascade.table, cascade.action.as_sql());
        return Err(Error::new(ErrorKind::Constraint, message).with("entity", &entity.name));
    }
    Ok(())
}

/// Returns whether all rows that refer to these parents are among those that go.
async fn only_they_refer(
    cascade: &CascadePlan,
    transaction: &mut dyn SinkTransaction,
    referred: HashSet<Key>,
    going: &Going,
) -> Result<bool> {
    let Some((key, going)) = going.get(&cascade.table) else { return Ok(false) };
    let types: Option<Vec<&DataType>> = key.iter().map(|name| cascade.child.column(name).map(|c| &c.data_type)).collect();
    let Some(types) = types else { return Ok(false) };
    let referred: Vec<Key> = referred.into_iter().collect();
    let mut columns = key.clone();
    columns.extend(cascade.columns.iter().filter(|name| !key.contains(name)).cloned());
    let page = transaction.read_rows(&PageRequest::new(&cascade.child, &columns, &cascade.columns), &referred).await?;
    let mut others = Vec::new();
    for row in page.rows() {
        let values = row.values()?.into_iter().zip(&types);
        let values: Vec<Value<'_>> =
            values.map(|(value, data_type)| conform(value.clone(), data_type).unwrap_or(value)).collect();
        let own = Key::from_values(&values);
        if !going.contains(&own) {
            others.push(own);
        }
    }
    // To a dry run rows that it has deleted are gone, but for what it reads.
    Ok(others.is_empty() || transaction.existing(&cascade.child, key, &others).await?.is_empty())
}

/// Returns what is referred to of the rows of these keys.
async fn parents(
    entity: &EntityPlan,
    cascade: &CascadePlan,
    transaction: &mut dyn SinkTransaction,
    keys: &[Key],
) -> Result<Vec<Key>> {
    if cascade.parent_columns == entity.target_key {
        return Ok(keys.to_vec());
    }
    let mut columns = entity.target_key.clone();
    columns.extend(cascade.parent_columns.iter().filter(|name| !entity.target_key.contains(name)).cloned());
    let referred = cascade.parent_columns.iter().filter_map(|name| {
        let place = columns.iter().position(|column| column == name)?;
        Some((place, &entity.target.column(name)?.data_type))
    });
    let referred: Vec<_> = referred.collect();
    let request = PageRequest::new(&entity.target, &columns, &entity.target_key).to_the_letter();
    let page = transaction.read_rows(&request, keys).await?;
    let mut parents = Vec::with_capacity(page.row_count());
    for row in page.rows() {
        let values = row.values()?;
        // What the target's column holds against its own type is looked for as it is.
        let value = |(place, data_type): &(usize, &DataType)| {
            conform(values[*place].clone(), data_type).unwrap_or_else(|_| values[*place].clone())
        };
        let values: Vec<Value<'_>> = referred.iter().map(value).collect();
        if !values.iter().any(Value::is_null) {
            parents.push(Key::from_values(&values));
        }
    }
    Ok(parents)
}
