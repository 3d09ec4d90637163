//! How the source's columns meet the target's.

use super::drift::Judged;
use super::entity::{ColumnPlan, EntityPlan};
use super::fit::{Fit, fit};
use super::tables::Planned;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Parameter;
use crate::hint;
use crate::job::{CursorColumn, Entity, Job, RunOptions, Strategy};
use crate::schema::{ColumnSchema, TableSchema};
use crate::transform::TransformPlan;
use crate::value::conform::conform;
use crate::value::{Affinity, DataType, Value};
use std::collections::BTreeMap;

/// Checks that every column the entity names exists at the source.
///
/// `after` is the table as a transformation leaves it, where there is one.
pub(super) fn check_names(entity: &Entity, source: &TableSchema, after: Option<&TableSchema>) -> Result<()> {
    let named = entity
        .columns
        .rename
        .keys()
        .map(|c| ("columns.rename", c))
        .chain(entity.columns.exclude.iter().map(|c| ("columns.exclude", c)))
        .chain(entity.key.iter().map(|c| ("key", c)))
        .chain(entity.replace_per.iter().map(|c| ("replace_per", c)));
    for (field, column) in named {
        let source = after.filter(|_| field != "key").unwrap_or(source);
        if source.column(column).is_none() {
            let hint = hint::nearest(column, source.columns.iter().map(|c| c.name.as_str()));
            let message = format!("{} has no column \"{column}\"{hint}", source.name);
            return Err(Error::new(ErrorKind::Config, message).with("entity", entity.name()).with("field", field));
        }
    }
    Ok(())
}

/// Returns the source's table as the entity wants to see it created: columns renamed, excluded and added, and everything that
/// mentions columns along with them. What cannot follow is noted.
///
/// What mentions a column that a transformation has made, or taken away, is not carried over either, but for indexes on what it has made.
pub(super) fn project(
    entity: &Entity,
    source: &TableSchema,
    transform: Option<&TransformPlan>,
    notes: &mut Vec<String>,
) -> TableSchema {
    let made = |column: &str| transform.is_some_and(|t| t.makes(column));
    let dropped = |column: &str| transform.is_some_and(|t| t.drops(column));
    let rename = |column: &str| entity.columns.rename.get(column).cloned().unwrap_or_else(|| column.to_owned());
    let excluded = |column: &str| dropped(column) || entity.columns.exclude.iter().any(|c| c == column);
    let mut table = source.clone();
    table.columns.retain(|c| !excluded(&c.name));
    for column in &mut table.columns {
        column.name = rename(&column.name);
    }
    for (name, value) in &entity.columns.set {
        table.columns.retain(|c| &c.name != name);
        table.columns.push(constant_column(name, value));
    }
    if entity.columns.exclude.is_empty() && entity.columns.rename.is_empty() && transform.is_none() {
        return table;
    }
    let keep = |columns: &mut Vec<String>, what: &str, notes: &mut Vec<String>| {
        let whole = !columns.iter().any(|c| excluded(c));
        if !whole {
            notes.push(format!("{what} ({}) is not carried over: it needs a column that is left out", columns.join(", ")));
        }
        columns.iter_mut().for_each(|c| *c = rename(c));
        whole
    };
    if let Some(mut key) = table.primary_key.take()
        && keep(&mut key.columns, "primary key", notes)
    {
        table.primary_key = Some(key);
    }
    table.unique_keys.retain_mut(|k| keep(&mut k.columns, "unique key", notes));
    table.foreign_keys.retain_mut(|k| {
        let changed = k.columns.iter().any(|c| made(c));
        if changed {
            notes.push(format!("foreign key ({}) is not carried over: a transformation makes its values", k.columns.join(", ")));
        }
        !changed && keep(&mut k.columns, "foreign key", notes)
    });
    table.indexes.retain_mut(|index| {
        let plain: Option<Vec<String>> = index.parts.iter().map(|p| p.column.clone()).collect();
        match plain {
            Some(mut columns) if index.predicate.is_none() => {
                let whole = keep(&mut columns, "index", notes);
                for (part, column) in index.parts.iter_mut().zip(columns) {
                    part.column = Some(column);
                }
                // The engine's own text still has the old names.
                index.definition = String::new();
                whole
            }
            _ => {
                notes.push(format!(
                    "index {} is not carried over: it has an expression, and columns are renamed, left out or transformed",
                    index.name
                ));
                false
            }
        }
    });
    for check in std::mem::take(&mut table.checks) {
        let name = check.name.as_deref().unwrap_or("without a name");
        notes.push(format!("check {name} is not carried over: columns are renamed, left out or transformed"));
    }
    for column in &mut table.columns {
        if column.generated.take().is_some() {
            notes.push(format!(
                "column {} is filled with values instead of being generated: columns are renamed, left out or transformed",
                column.name
            ));
        }
    }
    table
}

/// Adds the column that marks rows as deleted, unless the source has one of that name.
pub(super) fn add_mark(table: &mut TableSchema, mark: &str) {
    if table.column(mark).is_none() {
        let mut column = constant_column(mark, &Parameter::Bool(true));
        column.data_type = DataType::TimestampTz { precision: None };
        column.portable_type = column.data_type.clone();
        column.nullable = true;
        table.columns.push(column);
    }
}

/// Pairs the columns as [`pair`] does, and feeds NULL to the one that marks rows as deleted: a row that is back bears no mark.
pub(super) fn pair_all(
    entity: &Entity,
    source: &TableSchema,
    planned: &Planned,
    mark: Option<&str>,
    judged: &Judged,
    notes: &mut Vec<String>,
) -> Result<Vec<ColumnPlan>> {
    let (table, made) = (&planned.plan, made(planned));
    let Some(mark) = mark else { return pair(entity, source, &table.table, made, judged, notes) };
    let wrong = |message: &str| {
        Err(Error::new(ErrorKind::Config, message.to_owned())
            .with("entity", entity.name())
            .with("table", &table.table.name)
            .with("column", mark)
            .with("field", "deletes.column"))
    };
    let Some(column) = table.table.column(mark).cloned() else {
        return wrong("the target has no such column to mark deleted rows in");
    };
    let mut others = table.table.clone();
    others.columns.retain(|c| c.name != mark);
    let mut plans = pair(entity, source, &others, made, judged, notes)?;
    let unmarked = match (column.nullable, &column.data_type) {
        (true, _) => Value::Null,
        (false, DataType::Bool) => Value::Bool(false),
        (false, DataType::Int16 | DataType::Int32 | DataType::Int64) => Value::Int(0),
        (false, DataType::Dynamic { affinity: Affinity::Integer | Affinity::StrictInteger }) => Value::Int(0),
        (false, DataType::Dynamic { .. }) if column.portable_type == DataType::Bool => Value::Int(0),
        (false, _) => return wrong("the column that marks deleted rows must allow NULL, or hold truth values or integers"),
    };
    plans.push(ColumnPlan {
        source: None,
        target: column.name,
        source_type: column.data_type.clone(),
        target_type: column.data_type,
        not_null: !column.nullable,
        constant: Some(unmarked),
        unfit: None,
    });
    Ok(plans)
}

fn constant_column(name: &str, value: &Parameter) -> ColumnSchema {
    let data_type = match value {
        Parameter::Bool(_) => DataType::Bool,
        Parameter::Int(_) => DataType::Int64,
        Parameter::Float(_) => DataType::Float64,
        Parameter::Text(_) => DataType::TEXT,
    };
    ColumnSchema {
        name: name.to_owned(),
        native_type: String::new(),
        portable_type: data_type.clone(),
        data_type,
        nullable: false,
        default: None,
        generated: None,
        identity: None,
        numbering: None,
        collation: None,
        comment: None,
    }
}

/// How a table has come by its columns.
#[derive(Clone, Copy)]
enum Made<'a> {
    /// It was there.
    Before,
    /// It is made for the entity.
    Alone,
    /// It is made for several, and calls their columns so.
    Shared(&'a BTreeMap<String, String>),
}

fn made(planned: &Planned) -> Made<'_> {
    match (planned.plan.create, &planned.placed) {
        (_, Some(placed)) => Made::Shared(placed),
        (true, None) => Made::Alone,
        (false, None) => Made::Before,
    }
}

/// Pairs the source's columns with those of the target's table, which exists or is about to.
fn pair(
    entity: &Entity,
    source: &TableSchema,
    target: &TableSchema,
    made: Made<'_>,
    judged: &Judged,
    notes: &mut Vec<String>,
) -> Result<Vec<ColumnPlan>> {
    let wrong =
        |message: String| Error::new(ErrorKind::Schema, message).with("entity", entity.name()).with("table", &target.name);
    let fail = |message: String| Err(wrong(message));
    let mut plans: Vec<ColumnPlan> = Vec::with_capacity(source.columns.len());
    let mut missing = Vec::new();
    let moved = |c: &&ColumnSchema| !entity.columns.exclude.contains(&c.name) && !entity.columns.set.contains_key(&c.name);
    // A table that is created for the entity has its columns in order, some perhaps under names that the engine can hold.
    let count = created_columns(entity, source).count();
    let create = !matches!(made, Made::Before);
    let by_place = matches!(made, Made::Alone) && target.columns.len() == count + entity.columns.set.len();
    let named = |name: &str, fold: bool| match made {
        Made::Shared(placed) => Ok(target.column(placed.get(name).map_or(name, String::as_str))),
        Made::Before | Made::Alone => find_column(target, name, fold),
    };
    for (place, column) in created_columns(entity, source).enumerate().filter(|(_, column)| moved(column)) {
        let renamed = entity.columns.rename.get(&column.name);
        let wanted = renamed.unwrap_or(&column.name);
        let found = if by_place { target.columns.get(place) } else { named(wanted, renamed.is_none())? };
        let Some(found) = found else {
            if !judged.left_out.contains(&column.name) {
                missing.push(column.name.clone());
            } else if judged.drift.iter().all(|drift| drift.column != column.name) {
                notes.push(format!("column {} is not moved, as before: the target has no such column", column.name));
            }
            continue;
        };
        if found.generated.is_some() {
            if !create {
                notes.push(format!("column {} is generated by the target; the source's values are not written", found.name));
            }
            continue;
        }
        if let Some(other) = plans.iter().find(|p| p.target == found.name) {
            let first = other.source.clone().unwrap_or_default();
            return fail(format!("columns {first} and {} both feed the target's column {}", column.name, found.name));
        }
        // Whether the values are replaced by others is known only once all entities' columns are.
        let unfit = if create { None } else { describe_pair(column, found, notes).err() };
        if unfit.is_some() && judged.refused().any(|refused| refused == column.name) {
            // A run is refused for its change anyway.
            continue;
        }
        plans.push(ColumnPlan {
            source: Some(column.name.clone()),
            target: found.name.clone(),
            source_type: column.data_type.clone(),
            target_type: found.data_type.clone(),
            not_null: !found.nullable,
            constant: None,
            unfit,
        });
    }
    for (place, (name, value)) in entity.columns.set.iter().enumerate() {
        let found = if by_place { target.columns.get(count + place) } else { named(name, true)? };
        let Some(found) = found else {
            missing.push(name.clone());
            continue;
        };
        let constant = conform(value.to_value(), &found.data_type).map_err(|refusal| {
            wrong(format!("the constant of column {name} does not fit its type {}: {}", found.native_type, refusal.reason))
        })?;
        plans.push(ColumnPlan {
            source: None,
            target: found.name.clone(),
            source_type: found.data_type.clone(),
            target_type: found.data_type.clone(),
            not_null: !found.nullable,
            constant: Some(constant.into_owned()),
            unfit: None,
        });
    }
    if !missing.is_empty() {
        let hints: String = missing.iter().map(|m| hint::nearest(m, target.columns.iter().map(|c| c.name.as_str()))).collect();
        let message = format!(
            "the target's table has no column {}; rename it with columns.rename or leave it out with columns.exclude{hints}",
            missing.join(", ")
        );
        return fail(message);
    }
    for column in &target.columns {
        if create || plans.iter().any(|p| p.target == column.name) || column.generated.is_some() {
            continue;
        }
        if column.nullable || column.default.is_some() || column.identity.is_some() || judged.is_refused() {
            notes.push(format!("the target's column {} is not written", column.name));
        } else if target.triggers.is_empty() {
            return fail(format!(
                "the target's column {} needs a value, and nothing feeds it; give one with columns.set",
                column.name
            ));
        }
    }
    // Where all columns are generated, rows are fed with nothing.
    if plans.is_empty() && target.columns.iter().any(|c| c.generated.is_none()) && !source.columns.is_empty() {
        return fail("no column of the target is fed".to_owned());
    }
    Ok(plans)
}

/// The source's columns that a table which is created for the entity has, in order: those that are moved, and the one that the target gives.
fn created_columns<'s>(entity: &'s Entity, source: &'s TableSchema) -> impl Iterator<Item = &'s ColumnSchema> {
    let given = |name: &String| entity.generated.contains(name);
    let columns = source.columns.iter().filter(|c| !entity.columns.set.contains_key(&c.name));
    columns.filter(move |c| given(&c.name) || !entity.columns.exclude.contains(&c.name))
}

/// Returns the column of a table that is created for the entity which is made for a column of the source.
pub(super) fn created_column<'t>(
    entity: &Entity,
    source: &TableSchema,
    target: &'t TableSchema,
    column: &str,
) -> Option<&'t ColumnSchema> {
    created_columns(entity, source).position(|own| own.name == column).and_then(|place| target.columns.get(place))
}

/// Refuses columns that cannot take the source's values, unless they get ids that the target gives.
///
/// # Errors
/// [`ErrorKind::Schema`] if there is one.
pub(super) fn refuse_unfit(entity: &EntityPlan) -> Result<()> {
    let replaced = |column: &ColumnPlan| column.source.as_deref().is_some_and(|source| entity.map_of(source).is_some());
    match entity.columns.iter().filter(|column| !replaced(column)).find_map(|column| column.unfit.clone()) {
        None => Ok(()),
        Some(message) => {
            Err(Error::new(ErrorKind::Schema, message).with("entity", &entity.name).with("table", &entity.target.name))
        }
    }
}

/// Refuses keys that are numbers of any spelling at the source and letters in the target: 1.0 and 1.00 are one key there and two here,
/// so that a row would not be found again once it is gone.
///
/// # Errors
/// [`ErrorKind::Schema`] where a key column is such a pair.
pub(super) fn refuse_spelled_numbers(entity: &Entity, columns: &[ColumnPlan], key: &[String]) -> Result<()> {
    let by_value = |t: &DataType| matches!(t, DataType::Float32 | DataType::Float64 | DataType::Decimal { scale: None, .. });
    let by_letter = |from: &DataType, to: &DataType| match to {
        DataType::Dynamic { affinity: Affinity::Text | Affinity::StrictText } => true,
        // A file's own numbers have not the digits of a decimal.
        DataType::Dynamic { affinity } => {
            matches!(affinity, Affinity::Blob | Affinity::StrictBlob) && matches!(from, DataType::Decimal { .. })
        }
        other => matches!(other, DataType::Text { .. } | DataType::Char { .. } | DataType::Other { .. }),
    };
    let mut pairs = columns.iter().filter(|c| c.source.as_ref().is_some_and(|name| key.contains(name)));
    match pairs.find(|c| by_value(&c.source_type) && by_letter(&c.source_type, &c.target_type)) {
        None => Ok(()),
        Some(column) => {
            let message = format!(
                "the key's column {} holds the source's numbers as text, where 1.0 and 1.00 are two keys and not one; \
                 let the job create the table, or give the column a type of numbers",
                column.target
            );
            Err(Error::new(ErrorKind::Schema, message).with("entity", entity.name()))
        }
    }
}

/// Returns the column that tells which rows of an entity have changed, where the strategy is to ask one; tables that lack the job's own are
/// looked at in another way.
///
/// # Errors
/// [`ErrorKind::Config`] where the entity names a column that its table has not, or nobody names any.
pub(super) fn cursor(
    job: &Job,
    options: &RunOptions,
    entity: &Entity,
    source: &TableSchema,
    key: &[String],
) -> Result<Option<CursorColumn>> {
    if options.strategy.unwrap_or(job.strategy) != Strategy::Cursor || key.is_empty() {
        return Ok(None);
    }
    let wrong =
        |message: String| Err(Error::new(ErrorKind::Config, message).with("entity", entity.name()).with("field", "cursor"));
    match (&entity.cursor, &job.cursor) {
        (Some(own), _) if source.column(&own.column).is_none() => {
            let hint = hint::nearest(&own.column, source.columns.iter().map(|c| c.name.as_str()));
            wrong(format!("{} has no column \"{}\"{hint}", source.name, own.column))
        }
        (Some(own), _) => Ok(Some(own.clone())),
        (None, Some(common)) => Ok(source.column(&common.column).map(|_| common.clone())),
        (None, None) => wrong(
            "the strategy \"cursor\" needs a column that tells when a row was changed: cursor = { column = \"updated_at\" }"
                .to_owned(),
        ),
    }
}

/// A column by name; else, where the name was not given by the user, one that differs in case only.
pub(super) fn find_column<'a>(table: &'a TableSchema, name: &str, fold: bool) -> Result<Option<&'a ColumnSchema>> {
    if let Some(column) = table.column(name) {
        return Ok(Some(column));
    }
    let similar: Vec<&ColumnSchema> =
        if fold { table.columns.iter().filter(|c| c.name.to_lowercase() == name.to_lowercase()).collect() } else { Vec::new() };
    match similar[..] {
        [] => Ok(None),
        [column] => Ok(Some(column)),
        _ => {
            let message =
                format!("several columns are called {name}, but for upper and lower case; name one with columns.rename");
            Err(Error::new(ErrorKind::Config, message).with("table", &table.name))
        }
    }
}

/// Notes how two columns differ.
fn describe_pair(source: &ColumnSchema, target: &ColumnSchema, notes: &mut Vec<String>) -> std::result::Result<(), String> {
    let name = &target.name;
    // What the job itself makes of a column has no type that anybody has declared.
    let what = if source.native_type.is_empty() { "what the job sets" } else { &source.native_type };
    if let (DataType::Dynamic { .. }, _) | (_, DataType::Dynamic { .. }) = (&source.data_type, &target.data_type) {
        // Cells carry their own type: each is judged when it comes by.
    } else {
        match fit(&source.data_type, &target.data_type) {
            Fit::Never => {
                return Err(format!(
                    "column {name} cannot take the source's values: {what} does not fit {}; leave it out with columns.exclude",
                    target.native_type
                ));
            }
            Fit::Sometimes => notes.push(format!(
                "column {name}: {what} goes into {}; rows whose value does not fit exactly are quarantined",
                target.native_type
            )),
            Fit::Always if source.data_type != target.data_type => {
                notes.push(format!("column {name}: {what} goes into {}", target.native_type));
            }
            Fit::Always => {}
        }
    }
    if source.nullable && !target.nullable {
        notes.push(format!("column {name} refuses NULL, which the source allows; such rows are quarantined"));
    }
    Ok(())
}
