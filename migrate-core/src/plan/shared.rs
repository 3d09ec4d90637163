//! Tables that hold rows of several entities, or of others, told apart by a constant.

use super::{ColumnPlan, EntityPlan};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Parameter;
use crate::job::{Entities, Entity, Job};
use crate::schema::TableSchema;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Entities that feed one table must be told apart by their rows: else what belongs to one would be missing, or too much, to the other.
pub(super) fn refuse_shared_rows(entities: &[EntityPlan]) -> Result<()> {
    for (place, one) in entities.iter().enumerate() {
        for other in entities[..place].iter().filter(|other| other.target.name == one.target.name) {
            let apart = one.columns.iter().any(|column| {
                let same = other.columns.iter().find(|c| c.target == column.target);
                column.constant.as_ref().zip(same.and_then(|c| c.constant.as_ref())).is_some_and(|(a, b)| a != b)
            });
            let both = format!("entities \"{}\" and \"{}\" both feed the table {}", other.name, one.name, one.target.name);
            let wrong = |message: &str| Err(Error::new(ErrorKind::Config, format!("{both}, {message}")));
            if [one, other].iter().any(|entity| entity.is_keyless() && entity.set.is_none()) {
                return wrong("which takes a key for each, or replace_per");
            }
            if !apart {
                return wrong(
                    "and nothing tells their rows apart; give each a constant of its own in one column, such as entity_type, with \
                     columns.set or a step of transform",
                );
            }
        }
    }
    Ok(())
}

/// Returns the target's columns by whose constants the rows of this entity differ from those of the job's other entities on its table,
/// also of those that a run leaves out.
pub(super) fn telling_apart(job: &Job, entity: &Entity, columns: &[ColumnPlan]) -> Vec<String> {
    let Entities::List(list) = &job.entities else { return Vec::new() };
    let target = |entity: &Entity| entity.target.clone().unwrap_or_else(|| entity.source.clone());
    let same = |a: &str, b: &str| a == b || a.rsplit('.').next() == Some(b) || b.rsplit('.').next() == Some(a);
    let own = constants(entity);
    let mut apart = BTreeSet::new();
    for other in list.iter().filter(|other| other.name() != entity.name() && same(&target(other), &target(entity))) {
        let theirs = constants(other);
        apart.extend(own.iter().filter(|(name, value)| theirs.get(*name).is_some_and(|v| v != *value)).map(|(name, _)| *name));
    }
    apart.into_iter().filter(|name| is_constant(columns, name)).map(str::to_owned).collect()
}

/// Returns the columns with constants that belong to what identifies a row of the target beside the entity's key: those that tell
/// entities apart, and those without which no unique index covers the key. Rows that differ in them are others'.
pub(super) fn beyond_the_key(table: &TableSchema, key: &[String], apart: &[String], columns: &[ColumnPlan]) -> Vec<String> {
    let mut beyond: Vec<String> = apart.iter().filter(|name| !key.contains(*name)).cloned().collect();
    if !table.is_unique(key) {
        let covered = |name: &String| key.contains(name) || is_constant(columns, name);
        let mut unique = unique_columns(table).filter(|unique| key.iter().all(|k| unique.contains(k)));
        let covering = unique.find(|unique| unique.iter().all(covered)).unwrap_or_default();
        for name in covering.into_iter().filter(|name| !key.contains(name)) {
            if !beyond.contains(&name) {
                beyond.push(name);
            }
        }
    }
    beyond
}

fn is_constant(columns: &[ColumnPlan], name: &str) -> bool {
    columns.iter().any(|c| c.target == name && c.constant.as_ref().is_some_and(|value| !matches!(value, Value::Null)))
}

/// The columns of each unique index of a table that all rows are in.
fn unique_columns(table: &TableSchema) -> impl Iterator<Item = Vec<String>> {
    let keys = table.primary_key.iter().chain(&table.unique_keys).map(|key| key.columns.clone());
    let indexes = table.indexes.iter().filter(|index| index.unique && index.predicate.is_none());
    keys.chain(indexes.filter_map(|index| index.parts.iter().map(|part| part.column.clone()).collect()))
}

/// The constants that an entity's rows have, by the target's columns.
pub(super) fn constants(entity: &Entity) -> BTreeMap<&str, &Parameter> {
    let mut constants = BTreeMap::new();
    for step in &entity.transform {
        let name = entity.columns.rename.get(&step.column).unwrap_or(&step.column).as_str();
        match &step.constant {
            Some(value) => constants.insert(name, value),
            None => constants.remove(name),
        };
    }
    constants.extend(entity.columns.set.iter().map(|(name, value)| (name.as_str(), value)));
    constants
}
