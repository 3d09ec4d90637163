//! One table that is made for the rows of several entities.
//!
//! Its columns are those of all of them, its key theirs and the constants that tell them apart. Of what a source's table has besides,
//! it has what holds for the rows of all.

use super::shared::constants;
use crate::error::{Error, ErrorKind, Result};
use crate::job::Entity;
use crate::schema::{ColumnSchema, ForeignKey, TableKind, TableName, TableSchema, UniqueKey};
use crate::sink::TablePlan;
use crate::value::DataType;
use std::collections::{BTreeMap, BTreeSet};

/// What one of the entities brings.
pub(super) struct Part<'a> {
    pub(super) entity: &'a Entity,
    /// The source's table as the entity wants to see it created.
    pub(super) table: TableSchema,
    /// The entity's key, by the names in that table.
    pub(super) key: Vec<String>,
}

impl Part<'_> {
    fn name(&self) -> &str {
        self.entity.name()
    }
}

/// The columns of the table to be made, by the names that the entities give them.
pub(super) struct Columns {
    names: Vec<String>,
    /// Those that not all entities fill, with the entities that do not.
    partly: BTreeMap<String, Vec<String>>,
}

impl Columns {
    /// Lists the columns: first the constants that tell the entities apart, then all others in the entities' order.
    pub(super) fn of(parts: &[Part<'_>]) -> Self {
        let mut names: Vec<String> = differing(parts).into_iter().map(str::to_owned).collect();
        for column in parts.iter().flat_map(|part| &part.table.columns) {
            if !names.contains(&column.name) {
                names.push(column.name.clone());
            }
        }
        let mut partly = BTreeMap::new();
        for name in &names {
            let without = parts.iter().filter(|part| part.table.column(name).is_none());
            let without: Vec<String> = without.map(|part| part.name().to_owned()).collect();
            if !without.is_empty() {
                partly.insert(name.clone(), without);
            }
        }
        Columns { names, partly }
    }

    /// Returns what the columns are called in the table that an engine makes of them, which may have changed a name.
    pub(super) fn placed(&self, made: &TableSchema) -> BTreeMap<String, String> {
        let mut placed = BTreeMap::new();
        for (place, name) in self.names.iter().enumerate() {
            let same = made.column(name).or_else(|| made.columns.get(place).filter(|_| made.columns.len() == self.names.len()));
            placed.insert(name.clone(), same.map_or(name, |column| &column.name).clone());
        }
        placed
    }

    /// Lets columns be NULL that not all entities fill, unless they have a default, and says so.
    pub(super) fn open(&self, plan: &mut TablePlan) {
        let placed = self.placed(&plan.table);
        for (name, without) in &self.partly {
            let Some(column) = placed.get(name).and_then(|name| plan.table.columns.iter_mut().find(|c| &c.name == name)) else {
                continue;
            };
            let (whose, name) = (without.join(", "), &column.name);
            if let Some(default) = &column.default {
                plan.notes.push(format!("column {name}: rows of {whose} have its default, {default}"));
            } else if !column.nullable {
                column.nullable = true;
                plan.notes.push(format!("column {name} allows NULL: rows of {whose} have no value for it"));
            }
        }
    }
}

/// Makes one table of what several entities bring.
///
/// # Errors
/// [`ErrorKind::Config`] where their rows could not be told apart, their keys are others, or a column's types do not meet; naming both
/// entities, and the column.
pub(super) fn unite(parts: &[Part<'_>], name: &TableName, same_engine: bool, notes: &mut Vec<String>) -> Result<TableSchema> {
    let apart = telling_apart(parts, name)?;
    let key = common_key(parts, name)?;
    let columns = Columns::of(parts);
    let mut table = TableSchema::new(name.clone());
    for own in &columns.names {
        let mut column = unite_column(parts, own, name, same_engine, notes)?;
        column.nullable &= !apart.contains(own);
        table.columns.push(column);
    }
    table.primary_key = Some(UniqueKey::new(apart.into_iter().chain(key)));
    same_for_all(parts, &mut table, notes);
    for part in parts {
        let of = |what: String| format!("{what} is not carried over: {name} holds rows of several entities");
        for unique in &part.table.unique_keys {
            notes.push(of(format!("unique key ({}) of {}", unique.columns.join(", "), part.name())));
        }
        for index in &part.table.indexes {
            let plain: Option<Vec<&String>> = index.parts.iter().map(|p| p.column.as_ref()).collect();
            if index.unique || index.predicate.is_some() || plain.is_none() {
                notes.push(of(format!("index {} of {}", index.name, part.name())));
                continue;
            }
            if table.indexes.iter().all(|other| other.parts != index.parts || other.method != index.method) {
                // The engine's own text names the source's table.
                table.indexes.push(crate::schema::Index { definition: String::new(), ..index.clone() });
            }
        }
        for check in &part.table.checks {
            let same = parts.iter().map(|other| other.table.checks.iter().find(|c| c.expression == check.expression));
            let all: Option<Vec<_>> = same.collect();
            match all {
                Some(all) if table.checks.iter().all(|c| c.expression != check.expression) => {
                    let validated = all.iter().all(|c| c.validated);
                    table.checks.push(crate::schema::Check { validated, ..check.clone() });
                }
                Some(_) => {}
                None => notes.push(of(format!("check {} of {}", check.name.as_deref().unwrap_or("without a name"), part.name()))),
            }
        }
        for key in &part.table.foreign_keys {
            match holds_for_all(parts, key, &table) {
                Some(whole) if table.foreign_keys.iter().all(|other| !is_same(other, key)) => table.foreign_keys.push(whole),
                Some(_) => {}
                None => notes.push(of(format!("foreign key ({}) of {}", key.columns.join(", "), part.name()))),
            }
        }
        table.triggers.extend(part.table.triggers.iter().cloned());
        table.write_obstacles.extend(part.table.write_obstacles.iter().cloned());
    }
    Ok(table)
}

fn wrong<T>(one: &Part<'_>, other: &Part<'_>, name: &TableName, what: &str) -> Result<T> {
    let (one, other) = (one.name(), other.name());
    let message = format!("entities \"{one}\" and \"{other}\" both feed the table {name}, which is not there yet, {what}");
    Err(Error::new(ErrorKind::Config, message))
}

/// The columns in which two of the entities have constants that differ.
fn differing<'a>(parts: &'a [Part<'_>]) -> BTreeSet<&'a str> {
    let all: Vec<_> = parts.iter().map(|part| constants(part.entity)).collect();
    let names = all.iter().flat_map(|own| own.keys().copied());
    let present = |name: &&str| parts.iter().any(|part| part.table.column(name).is_some());
    let differ = |name: &&str| {
        all.iter().any(|one| all.iter().any(|other| matches!((one.get(name), other.get(name)), (Some(a), Some(b)) if a != b)))
    };
    names.filter(present).filter(differ).collect()
}

/// Returns the columns by whose constants every entity differs from every other; the others have them too, and never NULL.
fn telling_apart(parts: &[Part<'_>], name: &TableName) -> Result<Vec<String>> {
    let apart = differing(parts);
    for (place, one) in parts.iter().enumerate() {
        let own = constants(one.entity);
        for other in &parts[..place] {
            let theirs = constants(other.entity);
            let whole = |column: &&str| own.contains_key(column) && theirs.contains_key(column);
            if !apart.iter().any(|column| own.get(column) != theirs.get(column)) || !apart.iter().all(whole) {
                let what = "and nothing tells their rows apart; give each a constant of its own in one column, such as entity_type, \
                            with columns.set or a step of transform, or give one of them another target";
                return wrong(other, one, name, what);
            }
        }
    }
    Ok(apart.into_iter().map(str::to_owned).collect())
}

fn common_key(parts: &[Part<'_>], name: &TableName) -> Result<Vec<String>> {
    let [first, others @ ..] = parts else { return Ok(Vec::new()) };
    for other in others {
        if first.key.is_empty() || other.key.is_empty() {
            return wrong(first, other, name, "which takes a key for each");
        }
        let same = first.key.len() == other.key.len() && other.key.iter().all(|column| first.key.contains(column));
        if !same {
            let what = format!(
                "and their keys are ({}) and ({}): let them have the same columns there, with columns.rename or key",
                first.key.join(", "),
                other.key.join(", ")
            );
            return wrong(first, other, name, &what);
        }
    }
    Ok(first.key.clone())
}

/// Makes one column of those that entities call alike.
fn unite_column(
    parts: &[Part<'_>],
    own: &str,
    name: &TableName,
    same_engine: bool,
    notes: &mut Vec<String>,
) -> Result<ColumnSchema> {
    let having: Vec<(&Part<'_>, &ColumnSchema)> = parts.iter().filter_map(|part| Some((part, part.table.column(own)?))).collect();
    let [(first, column), others @ ..] = &having[..] else {
        return Err(Error::new(ErrorKind::Internal, "a column of no entity").with("column", own));
    };
    let mut whole = (*column).clone();
    for (part, other) in others {
        if !widen(&mut whole, other, same_engine) {
            let spelled = |column: &ColumnSchema| match column.native_type.as_str() {
                "" => column.portable_type.to_string(),
                native => native.to_owned(),
            };
            let what = format!(
                "and their column {own} is {} in one and {} in the other: give one of them another name with columns.rename, or its \
                 values the other's type with a step of transform, or create the table",
                spelled(column),
                spelled(other)
            );
            return wrong(first, part, name, &what).map_err(|error| error.with("column", own));
        }
        whole.nullable |= other.nullable;
    }
    let numbered = having.iter().any(|(_, column)| column.identity.is_some());
    if numbered {
        notes.push(format!("column {own} does not number itself: {name} holds rows of several entities"));
        (whole.identity, whole.numbering, whole.default) = (None, None, None);
    }
    if having.iter().any(|(_, column)| column.generated.is_some()) {
        notes.push(format!(
            "column {own} is filled with values instead of being generated: {name} holds rows of several entities"
        ));
        (whole.generated, whole.default) = (None, None);
    }
    if others.iter().any(|(_, column)| column.default != whole.default) && whole.default.is_some() {
        notes.push(format!("column {own}: its default is not carried over: the entities have different ones"));
        whole.default = None;
    }
    if others.iter().any(|(_, column)| column.collation != whole.collation) {
        notes.push(format!("column {own}: its collation is not carried over: the entities have different ones"));
        whole.collation = None;
    }
    if others.iter().any(|(_, column)| column.comment != whole.comment) {
        whole.comment = None;
    }
    Ok(whole)
}

/// Gives a column a type that holds the values of another one too, and says whether there is one.
fn widen(column: &mut ColumnSchema, other: &ColumnSchema, same_engine: bool) -> bool {
    let cells = |column: &ColumnSchema| matches!(column.data_type, DataType::Dynamic { .. });
    let same = column.data_type == other.data_type;
    let data_type = match (cells(column), cells(other)) {
        _ if same => Some(column.data_type.clone()),
        (true, true) => Some(column.data_type.clone()).filter(|_| !same_engine),
        // A column that the job adds, beside one whose cells carry their own type.
        (true, false) => Some(column.data_type.clone()),
        (false, true) => Some(other.data_type.clone()),
        (false, false) => wider(&column.data_type, &other.data_type),
    };
    // What one engine stores alike it may have declared in other words.
    let declared = Some(column.portable_type.clone()).filter(|_| same && same_engine && cells(column));
    let portable = wider(&column.portable_type, &other.portable_type).or(declared);
    let (Some(data_type), Some(portable)) = (data_type, portable) else { return false };
    let of = |column: &ColumnSchema| column.data_type == data_type && !column.native_type.is_empty();
    match (of(column), of(other)) {
        (true, true) if cells(column) || column.native_type == other.native_type => {}
        (true, false) => {}
        (false, true) => column.native_type.clone_from(&other.native_type),
        // One that holds both: the engine has a name for it, which no column of the source bears, or one of them alone.
        (true, true) | (false, false) => column.native_type.clear(),
    }
    (column.data_type, column.portable_type) = (data_type, portable);
    true
}

/// Returns the narrowest of the types that hold every value of both as it is; `None` if that is neither of a kind with the two.
fn wider(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::{Decimal, Float32, Float64, Int16, Int32, Int64, Text, Time, TimeTz, Timestamp, TimestampTz};
    let more = |a: &Option<u32>, b: &Option<u32>| a.zip(*b).map(|(a, b)| a.max(b));
    Some(match (one, other) {
        (one, other) if one == other => one.clone(),
        (Int16 | Int32 | Int64, Int64) | (Int64, Int16 | Int32) => Int64,
        (Int16, Int32) | (Int32, Int16) => Int32,
        (Float32, Float64) | (Float64, Float32) => Float64,
        (Text { max_chars: a }, Text { max_chars: b }) => Text { max_chars: more(a, b) },
        (Decimal { precision: Some(a), scale: s }, Decimal { precision: Some(b), scale: t }) if s == t => {
            Decimal { precision: Some(*a.max(b)), scale: *s }
        }
        (Decimal { .. }, free @ Decimal { precision: None, scale: None })
        | (free @ Decimal { precision: None, scale: None }, Decimal { .. }) => free.clone(),
        (Time { precision: a }, Time { precision: b }) => Time { precision: more(a, b) },
        (TimeTz { precision: a }, TimeTz { precision: b }) => TimeTz { precision: more(a, b) },
        (Timestamp { precision: a }, Timestamp { precision: b }) => Timestamp { precision: more(a, b) },
        (TimestampTz { precision: a }, TimestampTz { precision: b }) => TimestampTz { precision: more(a, b) },
        _ => return None,
    })
}

/// What is taken over where all the entities' tables have it alike.
fn same_for_all(parts: &[Part<'_>], table: &mut TableSchema, notes: &mut Vec<String>) {
    let [first, others @ ..] = parts else { return };
    if others.iter().all(|part| part.table.kind == first.table.kind) {
        table.kind = first.table.kind;
    } else if parts.iter().any(|part| part.table.kind != TableKind::Table) {
        notes.push("views and tables become one ordinary table".to_owned());
    }
    if others.iter().all(|part| part.table.options == first.table.options) {
        table.options.clone_from(&first.table.options);
    } else {
        let options = parts.iter().flat_map(|part| part.table.options.iter().map(move |option| (part.name(), option)));
        notes.extend(options.map(|(whose, option)| format!("not carried over: {option} of {whose}")));
    }
    if let Some(part) = parts.iter().find(|part| part.table.comment.is_some()) {
        notes.push(format!("the comment of {} is not carried over", part.name()));
    }
}

/// Returns the reference as the table can have it, if it holds for the rows of all entities: each has it, or nothing in its columns.
fn holds_for_all(parts: &[Part<'_>], key: &ForeignKey, table: &TableSchema) -> Option<ForeignKey> {
    let mut whole = ForeignKey { name: None, ..key.clone() };
    for part in parts {
        let empty = |name: &String| {
            part.table.column(name).is_none() && table.column(name).is_some_and(|column| column.default.is_none())
        };
        let free = if key.match_full { key.columns.iter().all(empty) } else { key.columns.iter().any(empty) };
        match part.table.foreign_keys.iter().find(|other| is_same(other, key)) {
            Some(other) => whole.validated &= other.validated,
            None if free => {}
            None => return None,
        }
    }
    Some(whole)
}

/// Whether two references are one but for their names and whether they were ever checked.
fn is_same(one: &ForeignKey, other: &ForeignKey) -> bool {
    *one == ForeignKey { name: one.name.clone(), validated: one.validated, ..other.clone() }
}
