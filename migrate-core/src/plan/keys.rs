//! Ids that the target gives, and the columns that refer to rows by them.
//!
//! A column of the source is followed along references, declared by either catalog or by the job file, to the column whose values the
//! target gives anew. Whatever leads there is written with what the target has given: a child's `parent_id`, and also the column that
//! is a reference and a key at once, which others refer to in turn.

use super::entity::EntityPlan;
use super::fit::{Fit, fit};
use super::names;
use super::references::ReferencePlan;
use crate::binding::Bond;
use crate::error::{Error, ErrorKind, Result};
use crate::hint;
use crate::job::{Entities, Entity, Job, RunOptions};
use crate::schema::{DatabaseSchema, Identity, TableName, TableSchema};
use crate::sink::TablePlan;
use crate::value::DataType;
use serde::Serialize;
use std::collections::BTreeMap;

/// The column of an entity whose values the target gives.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GeneratedPlan {
    /// The source's column.
    pub source: String,
    /// The target's column.
    pub target: String,
    /// What the target's column holds.
    pub target_type: DataType,
    /// Whether the column is the entity's key: rows are then found again by the key map alone. Else the key finds them, on both sides.
    pub keyed: bool,
}

/// A column that refers to rows whose ids the target gives.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TranslationPlan {
    /// The source's column.
    pub source: String,
    /// The target's column.
    pub target: String,
    /// The entity whose key map says what is written.
    pub entity: String,
    /// Whether NULL is written where that entity's row is not there yet; else the row is refused.
    pub late: bool,
}

/// Returns the entity without the column that the target gives, unless that is the key.
pub(super) fn without_generated(entity: &Entity, source: &TableSchema, key: &[String]) -> Entity {
    let mut entity = entity.clone();
    let left = entity.generated.iter().filter(|column| !key.contains(column) && source.column(column).is_some());
    let left = left.cloned().collect::<Vec<_>>();
    entity.columns.exclude.extend(left);
    entity
}

/// Returns the entity as its table is created for it: with the column that the target gives.
pub(super) fn as_created(entity: &Entity) -> Entity {
    let mut entity = entity.clone();
    let generated = std::mem::take(&mut entity.generated);
    entity.columns.exclude.retain(|column| !generated.contains(column));
    entity.generated = generated;
    entity
}

/// Asks, of a table that is to be created, that it gives the values of the entity's column by itself.
pub(super) fn ask_for_ids(entity: &Entity, table: &mut TableSchema) {
    let Some(column) = entity.generated.first() else { return };
    let name = entity.columns.rename.get(column).unwrap_or(column);
    let Some(own) = table.columns.iter_mut().find(|own| &own.name == name) else { return };
    if !matches!(own.identity, Some(Identity::Always | Identity::RowId { .. })) {
        (own.identity, own.nullable) = (Some(Identity::ByDefault), false);
    }
    // Where the source's numbers have come to says nothing of those that are given anew.
    if let Some(numbering) = &mut own.numbering {
        numbering.reached = None;
    }
}

/// Checks an entity's column that the target is to give the values of, and returns what is known of it.
///
/// # Errors
/// [`ErrorKind::Config`] or [`ErrorKind::Schema`] where the target cannot give them, or rows could not be found again.
pub(super) fn generated(
    entity: &Entity,
    source: &TableSchema,
    table: &TablePlan,
    key: &[String],
    target_key: &[String],
) -> Result<Option<GeneratedPlan>> {
    let Some(column) = entity.generated.first() else { return Ok(None) };
    let wrong = |kind: ErrorKind, message: String| {
        Err(Error::new(kind, message).with("entity", entity.name()).with("field", "generated"))
    };
    if source.column(column).is_none() {
        let hint = hint::nearest(column, source.columns.iter().map(|c| c.name.as_str()));
        return wrong(ErrorKind::Config, format!("{} has no column \"{column}\"{hint}", source.name));
    }
    if !source.is_unique(std::slice::from_ref(column)) {
        return wrong(ErrorKind::Schema, format!("no unique index of the source covers {column} alone, so that it is no id"));
    }
    let keyed = key.contains(column);
    if key.is_empty() || (keyed && key.len() > 1) {
        return wrong(ErrorKind::Config, format!("a row must be known by a key of its own, or by {column} alone; give key"));
    }
    let name = entity.columns.rename.get(column).unwrap_or(column);
    let found = match table.create {
        true => super::columns::created_column(entity, source, &table.table, column),
        false => super::columns::find_column(&table.table, name, true)?,
    };
    let Some(target) = found else {
        return wrong(ErrorKind::Schema, format!("the target's table {} has no column {name}", table.table.name));
    };
    if table.create && target.identity.is_none() && target.default.is_none() {
        return wrong(
            ErrorKind::Unsupported,
            format!(
                "the table {} is not there, and one that the job creates cannot give the values of {name}, of the type {}, by itself; \
                 create the table first",
                table.table.name, target.native_type
            ),
        );
    }
    if target.identity.is_none() && target.default.is_none() {
        return wrong(
            ErrorKind::Schema,
            format!(
                "the target's column {name} is neither numbered nor has it a default, so that the target cannot give its values"
            ),
        );
    }
    if !table.table.is_unique(target_key) {
        let side = if table.create { "source" } else { "target" };
        return wrong(
            ErrorKind::Schema,
            format!(
                "no unique index of the {side} covers ({}), so that rows could not be found again to learn their ids",
                target_key.join(", ")
            ),
        );
    }
    Ok(Some(GeneratedPlan { source: column.clone(), target: target.name.clone(), target_type: target.data_type.clone(), keyed }))
}

/// A column whose values the target gives, of any entity of the job.
struct Giver {
    entity: String,
    column: String,
    table: TableName,
    target: String,
    /// What the ids are, where the table is there.
    data_type: Option<DataType>,
}

/// A column of an entity, by the entity's name.
type Column = (String, String);

/// Finds the columns that refer to ids which the target gives.
///
/// # Errors
/// [`ErrorKind::Unsupported`] where it is not clear whose ids a column holds, or where they could not be replaced.
pub(super) fn translate(
    job: &Job,
    entities: &mut [EntityPlan],
    source: &DatabaseSchema,
    target: &DatabaseSchema,
    default: Option<&str>,
) -> Result<()> {
    let Entities::List(list) = &job.entities else { return Ok(()) };
    if list.iter().all(|entity| entity.generated.is_empty()) {
        return Ok(());
    }
    // Also entities that this run leaves out have key maps.
    let (all, _) = names::choose(job, &RunOptions::default(), source)?;
    let mut givers = Vec::new();
    let mut tables: Vec<(String, &TableSchema, TableName)> = Vec::new();
    for chosen in &all {
        let (table, existing) = names::target_name(chosen, target, default, &mut Vec::new())?;
        tables.push((chosen.entity.name().to_owned(), chosen.table, table.clone()));
        let Some(column) = chosen.entity.generated.first() else { continue };
        let wanted = chosen.entity.columns.rename.get(column).unwrap_or(column);
        let found = existing.map(|table| super::columns::find_column(table, wanted, true)).transpose()?.flatten();
        givers.push(Giver {
            entity: chosen.entity.name().to_owned(),
            column: column.clone(),
            target: found.map_or(wanted, |column| &column.name).clone(),
            data_type: found.map(|column| column.data_type.clone()),
            table,
        });
    }
    let mut origins: BTreeMap<Column, usize> = BTreeMap::new();
    for (place, giver) in givers.iter().enumerate() {
        origins.insert((giver.entity.clone(), giver.column.clone()), place);
    }
    let pairs = column_pairs(list, entities, &tables, &givers)?;
    loop {
        let before = origins.len();
        for (child, parent, conditional) in &pairs {
            let Some(origin) = origins.get(parent).copied() else { continue };
            let refuse = |message: String| {
                Err(Error::new(ErrorKind::Unsupported, message).with("entity", &child.0).with("field", "references"))
            };
            if *conditional {
                return refuse(format!(
                    "the column {} refers to ids that the target gives in some rows only, which cannot be told apart while they are replaced",
                    child.1
                ));
            }
            match origins.get(child) {
                Some(other) if *other != origin && child != parent => {
                    let (one, two) = (&givers[*other].entity, &givers[origin].entity);
                    return refuse(format!(
                        "the column {} refers to ids of \"{one}\" and of \"{two}\", and the target gives others in place of both",
                        child.1
                    ));
                }
                Some(_) => {}
                None => {
                    origins.insert(child.clone(), origin);
                }
            }
        }
        if origins.len() == before {
            break;
        }
    }
    for entity in entities {
        apply(entity, &origins, &givers)?;
    }
    Ok(())
}

/// Returns which columns refer to which, and whether only in rows that meet a condition.
fn column_pairs(
    list: &[Entity],
    entities: &[EntityPlan],
    tables: &[(String, &TableSchema, TableName)],
    givers: &[Giver],
) -> Result<Vec<(Column, Column, bool)>> {
    let mut pairs = Vec::new();
    let mut add = |child: &str, columns: &[String], parent: &str, parents: &[String], conditional: bool| {
        for (own, other) in columns.iter().zip(parents) {
            pairs.push(((child.to_owned(), own.clone()), (parent.to_owned(), other.clone()), conditional));
        }
    };
    for (name, table, _) in tables {
        for key in &table.foreign_keys {
            // Where several entities move rows of the parents' table, each may be the one.
            for (parent, ..) in tables.iter().filter(|(_, other, _)| other.name == key.parent) {
                add(name, &key.columns, parent, &key.parent_columns, false);
            }
        }
        let Some(own) = list.iter().find(|entity| entity.name() == name) else { continue };
        for reference in &own.references {
            let Some((parent, parent_table, _)) = tables.iter().find(|(parent, ..)| *parent == reference.entity) else {
                continue;
            };
            let theirs = list.iter().find(|entity| entity.name() == parent);
            let key = match (&reference.key[..], theirs.map_or(&[][..], |entity| &entity.key)) {
                ([], []) => parent_table.natural_key().unwrap_or_default(),
                ([], key) => key.to_vec(),
                (key, _) => key.to_vec(),
            };
            add(name, &reference.columns, parent, &key, !reference.when.is_empty());
        }
    }
    // What only the target declares: where its columns lead is found under the source's names.
    for child in entities {
        let own = |column: &String| child.columns.iter().find(|c| &c.target == column).and_then(|c| c.source.clone());
        for key in &child.target.foreign_keys {
            for (column, referred) in key.columns.iter().zip(&key.parent_columns) {
                let Some(column) = own(column) else { continue };
                for giver in givers.iter().filter(|giver| giver.table == key.parent && &giver.target == referred) {
                    add(&child.name, std::slice::from_ref(&column), &giver.entity, std::slice::from_ref(&giver.column), false);
                }
                for parent in entities.iter().filter(|parent| parent.target.name == key.parent) {
                    let from = parent.columns.iter().find(|c| &c.target == referred).and_then(|c| c.source.clone());
                    if let Some(from) = from {
                        add(&child.name, std::slice::from_ref(&column), &parent.name, std::slice::from_ref(&from), false);
                    }
                }
            }
        }
    }
    Ok(pairs)
}

/// Gives an entity the translations of its columns.
fn apply(entity: &mut EntityPlan, origins: &BTreeMap<Column, usize>, givers: &[Giver]) -> Result<()> {
    let mut translations = Vec::new();
    for column in &entity.columns {
        let Some(source) = &column.source else { continue };
        let Some(origin) = origins.get(&(entity.name.clone(), source.clone())) else { continue };
        if entity.generated.as_ref().is_some_and(|generated| generated.keyed && &generated.source == source) {
            continue;
        }
        if entity.fed_by(source).is_none() {
            let message =
                format!("the column {source} refers to ids that the target gives, and a transformation makes its values");
            return Err(Error::new(ErrorKind::Unsupported, message).with("entity", &entity.name).with("field", "transform"));
        }
        let giver = &givers[*origin];
        if let Some(given) = giver.data_type.as_ref().filter(|given| entity.create && !takes(&column.target_type, given)) {
            let message = format!(
                "the table {} is not there, and one that the job creates has the type {} in {}, which does not hold the ids of {}, of the \
                 type {given}; create the table first",
                entity.target.name, column.target_type, column.target, giver.entity
            );
            return Err(Error::new(ErrorKind::Unsupported, message).with("entity", &entity.name).with("field", "references"));
        }
        translations.push(TranslationPlan {
            source: source.clone(),
            target: column.target.clone(),
            entity: giver.entity.clone(),
            late: false,
        });
    }
    let own = entity.generated.as_ref();
    let refuse = |message: &str| {
        Err(Error::new(ErrorKind::Unsupported, message.to_owned()).with("entity", &entity.name).with("field", "key"))
    };
    if own.is_some() && entity.transform.is_some() {
        return refuse("an entity whose ids the target gives cannot have a transformation");
    }
    if !translations.is_empty() && entity.is_keyless() && entity.set.is_none() {
        return refuse("a table without a key cannot refer to rows whose ids the target gives; give a key, or replace_per");
    }
    if let Some(own) = own
        && translations.iter().any(|translation| translation.entity != entity.name && translation.source == own.source)
    {
        return refuse("the key cannot be given by the target and refer to rows of another entity at once");
    }
    entity.translations = translations;
    if (own.is_some() || entity.translates_key()) && entity.key_may_fold() {
        return refuse(
            "the target may take two of the source's keys for one, and then the wrong row's id would be found; give another key",
        );
    }
    if let Some(own) = &entity.generated {
        let note = match own.keyed {
            true => format!("the target gives the values of {}; rows are known by the key map alone", own.target),
            false => format!(
                "the target gives the values of {}; rows that it has are known by ({})",
                own.target,
                entity.key.join(", ")
            ),
        };
        entity.notes.push(note);
    }
    for translation in &entity.translations {
        entity.notes.push(format!(
            "column {}: ids of {} are replaced by what the target has given",
            translation.target, translation.entity
        ));
    }
    Ok(())
}

/// Whether a column can hold ids of a type.
fn takes(column: &DataType, ids: &DataType) -> bool {
    // Cells that carry their own type are judged when they come by.
    let dynamic = [column, ids].iter().any(|side| matches!(side, DataType::Dynamic { .. }));
    dynamic || fit(ids, column) != Fit::Never
}

/// Returns how firmly a reference is held, where ids have to be known before its rows can be written.
pub(super) fn bond(child: &EntityPlan, reference: &ReferencePlan, bond: Bond, is_open: impl Fn(&String) -> bool) -> Bond {
    let mut columns = translated(child, reference).peekable();
    if bond != Bond::Loose || reference.entity.is_none() || columns.peek().is_none() {
        return bond;
    }
    if columns.all(|translation| is_open(&translation.target)) { Bond::Nullable } else { Bond::Rigid }
}

/// The translated columns of a reference.
fn translated<'e>(child: &'e EntityPlan, reference: &'e ReferencePlan) -> impl Iterator<Item = &'e TranslationPlan> {
    child.translations.iter().filter(|translation| reference.columns.contains(&translation.target))
}

/// Takes over which references are bound late.
pub(super) fn settle(entities: &mut [EntityPlan]) {
    for entity in entities {
        let late = |column: &String| {
            entity
                .references
                .iter()
                .any(|r| r.columns.contains(column) && r.late.as_ref().is_some_and(|late| late.columns.contains(column)))
        };
        let late: Vec<bool> = entity.translations.iter().map(|translation| late(&translation.target)).collect();
        entity.translations.iter_mut().zip(late).for_each(|(translation, late)| translation.late = late);
    }
}
