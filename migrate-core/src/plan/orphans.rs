//! What is done about rows whose parent is nowhere, reference by reference.

use super::entity::EntityPlan;
use super::references::{ReferenceCheck, ReferencePlan, is_from_source, is_open};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Parameter;
use crate::hint;
use crate::job::{Entities, Entity, Job, OrphanPolicy};
use crate::schema::TableSchema;
use crate::value::conform::conform;
use crate::value::{DataType, Key, PageColumn, Value};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// What a placeholder has in the columns that are referred to, where they are texts and the job file says nothing else.
const DEFAULT_KEY: &str = "setup";

/// Rows of an entity that are orphans by one reference, told by their own values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Orphaned {
    /// The source's columns that refer.
    pub(crate) columns: Vec<String>,
    /// Which rows refer at all, by the source's columns.
    pub(crate) when: BTreeMap<String, Parameter>,
    /// The target's columns that have another value in such rows, with it; none where they are refused.
    pub(crate) instead: Vec<(String, Value<'static>)>,
    /// Why a row is refused.
    pub(crate) reason: String,
    /// The parents that are nowhere.
    pub(crate) parents: HashSet<Key>,
}

/// A row of the target that stands in for parents which are nowhere.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placeholder {
    /// The entity of whose table it is a row.
    pub(crate) entity: String,
    /// The table.
    pub(crate) table: TableSchema,
    /// The columns that are referred to.
    pub(crate) key: Vec<String>,
    /// The columns that it has values in: first those of `key`, in their order.
    pub(crate) columns: Vec<PageColumn>,
    /// The values.
    pub(crate) values: Vec<Value<'static>>,
    /// What rows that refer to it have in their columns, in the order of `key`.
    pub(crate) referred: Vec<Value<'static>>,
}

impl Placeholder {
    /// Its values in the columns that are referred to.
    pub(crate) fn key_values(&self) -> Key {
        Key::from_values(self.values.iter().take(self.key.len()))
    }
}

/// Gives each reference the policy that the job file has for it: its own, the entity's, the job's, or else that the run is refused where the
/// target checks the reference or the job file declares it. None where every row has its parent, or nobody minds.
///
/// # Errors
/// [`ErrorKind::Config`] where a policy is asked for that cannot be carried out.
pub(super) fn choose(job: &Job, entities: &mut [EntityPlan], notes: &mut Vec<String>) -> Result<()> {
    let declared = |name: &str| match &job.entities {
        Entities::All => None,
        Entities::List(list) => list.iter().find(|e| e.name() == name),
    };
    let mut placeholders: Vec<Arc<Placeholder>> = Vec::new();
    for place in 0..entities.len() {
        let mut references = std::mem::take(&mut entities[place].references);
        let entity = &entities[place];
        for reference in &mut references {
            let of_entity = declared(&entity.name).and_then(|e| e.orphans);
            let said = reference.orphans.take().or(of_entity).or(job.orphans);
            reference.orphans_unsaid = said.is_none();
            let policy = match said {
                Some(OrphanPolicy::Allow) => continue,
                Some(policy) => policy,
                None if is_expected(reference) && check(entity, reference, OrphanPolicy::Fail).is_ok() => OrphanPolicy::Fail,
                None => continue,
            };
            let guaranteed = reference.source.as_ref().map(|source| source.guaranteed);
            let parent = reference.entity.as_ref().and_then(|name| entities.iter().find(|e| &e.name == name));
            match (guaranteed, parent) {
                (Some(true), _) => {}
                (Some(false), Some(parent)) => {
                    check(entity, reference, policy)?;
                    if policy == OrphanPolicy::Placeholder {
                        let made = placeholder(entity, reference, parent, declared(&parent.name))?;
                        reference.placeholder = Some(Arc::new(made));
                        placeholders.extend(reference.placeholder.clone());
                    }
                    reference.orphans = Some(policy);
                }
                (Some(false) | None, _) if said.is_none() => {}
                (Some(false) | None, _) => {
                    let (columns, why) = (reference.columns.join(", "), unsearchable(entity, reference, entities));
                    notes.push(format!("{}: orphans = \"{policy}\" does nothing for ({columns}): {why}", entity.name));
                }
            }
        }
        entities[place].references = references;
    }
    for placeholder in placeholders {
        if let Some(entity) = entities.iter_mut().find(|e| e.name == placeholder.entity) {
            let same = |other: &Arc<Placeholder>| (&other.columns, &other.values) == (&placeholder.columns, &placeholder.values);
            if !entity.placeholders.iter().any(same) {
                entity.placeholders.push(placeholder);
            }
        }
    }
    Ok(())
}

/// Why orphans cannot be looked for at the source.
fn unsearchable(entity: &EntityPlan, reference: &ReferencePlan, entities: &[EntityPlan]) -> String {
    let mut feeding = entities.iter().filter(|e| e.target.name == reference.table);
    if let (Some(parent), None) = (feeding.next(), feeding.next()) {
        let made = |of: &EntityPlan, columns: &[String]| columns.iter().find(|name| !is_from_source(of, name)).cloned();
        let own = made(entity, &reference.columns).map(|column| (entity, column));
        let found = own.or_else(|| made(parent, &reference.parent_columns).map(|column| (parent, column)));
        if let Some((of, column)) = found {
            return format!("the job makes the column {column} of {}, so that they cannot be looked for at the source", of.name);
        }
    }
    format!("no single entity of this run feeds {} from the source", reference.table)
}

/// Whether rows without a parent are a mistake unless the job says otherwise.
fn is_expected(reference: &ReferencePlan) -> bool {
    reference.declared || reference.check != ReferenceCheck::Never
}

fn check(entity: &EntityPlan, reference: &ReferencePlan, policy: OrphanPolicy) -> Result<()> {
    let name = || format!("({}) to {}", reference.columns.join(", "), reference.table);
    let wrong = |message: String| Err(Error::new(ErrorKind::Config, message).with("entity", &entity.name));
    if policy == OrphanPolicy::Null && open(entity, reference).is_empty() {
        return wrong(format!(
            "orphans = \"null\" cannot be: the reference {} is never NULL in the target; give this reference another policy",
            name()
        ));
    }
    let read = entity.read_columns();
    if let Some(column) = reference.when.keys().find(|column| !read.contains(column)) {
        return wrong(format!("orphans of the reference {} cannot be told: its column \"{column}\" is not moved", name()));
    }
    Ok(())
}

/// Makes the row that stands in for the parents of a reference.
fn placeholder(
    child: &EntityPlan,
    reference: &ReferencePlan,
    parent: &EntityPlan,
    declared: Option<&Entity>,
) -> Result<Placeholder> {
    let error =
        |message: String| Error::new(ErrorKind::Config, message).with("entity", &parent.name).with("table", &parent.target.name);
    let wrong = |message| Err(error(message));
    let said = declared.map(|entity| &entity.placeholder);
    let refers = |name: &String| child.translations.iter().any(|t| &t.target == name) || child.target_key.contains(name);
    if parent.is_keyless() || reference.columns.iter().any(refers) {
        return wrong(format!(
            "orphans = \"placeholder\" cannot be: the columns ({}) of {} are part of its key, or get ids that the target gives, or {} has no key",
            reference.columns.join(", "),
            child.name,
            parent.name
        ));
    }
    let column = |name: &str| {
        let found = parent.target.column(name).map(|c| PageColumn { name: c.name.clone(), data_type: c.data_type.clone() });
        found.ok_or_else(|| {
            let hint = hint::nearest(name, parent.target.columns.iter().map(|c| c.name.as_str()));
            error(format!("the placeholder has a column \"{name}\", which the table has not{hint}"))
        })
    };
    let (mut columns, mut values, mut referred) = (Vec::new(), Vec::new(), Vec::new());
    for (name, from) in reference.parent_columns.iter().zip(&reference.columns) {
        let column = column(name)?;
        let value = match said.and_then(|said| said.get(name)) {
            Some(value) => value.to_value(),
            None if is_text(&column.data_type) => Value::Text(DEFAULT_KEY.into()),
            None => return wrong(format!("a placeholder needs a value for the column {name}: placeholder = {{ {name} = … }}")),
        };
        let fits = |value: &Value<'static>, of: &EntityPlan, name: &str| {
            let column = of.target.column(name).map(|c| c.data_type.clone());
            column.and_then(|data_type| conform(value.clone(), &data_type).ok().map(Value::into_owned))
        };
        let (Some(own), Some(theirs)) = (fits(&value, parent, name), fits(&value, child, from)) else {
            return wrong(format!(
                "the placeholder's value does not fit the column {name}, or the column {from} of {}",
                child.name
            ));
        };
        columns.push(column);
        values.push(own);
        referred.push(theirs);
    }
    for (name, value) in said.into_iter().flatten().filter(|(name, _)| !reference.parent_columns.contains(name)) {
        let column = column(name)?;
        let Ok(value) = conform(value.to_value(), &column.data_type) else {
            return wrong(format!("the placeholder's value does not fit the column {name}"));
        };
        columns.push(column);
        values.push(value.into_owned());
    }
    let given = |name: &String| columns.iter().any(|c| &c.name == name);
    let needs = |c: &&crate::schema::ColumnSchema| {
        !c.nullable && c.default.is_none() && c.generated.is_none() && c.identity.is_none() && !given(&c.name)
    };
    if let Some(missing) = parent.target.columns.iter().find(needs) {
        let name = &missing.name;
        return wrong(format!(
            "a placeholder needs a value for the column {name}, which refuses NULL: placeholder = {{ {name} = … }}"
        ));
    }
    let (entity, table, key) = (parent.name.clone(), parent.target.clone(), reference.parent_columns.clone());
    Ok(Placeholder { entity, table, key, columns, values, referred })
}

fn is_text(data_type: &DataType) -> bool {
    use crate::value::Affinity;
    matches!(data_type, DataType::Text { .. } | DataType::Dynamic { affinity: Affinity::Text | Affinity::StrictText })
}

/// What a row has in columns of the target where the parent that it refers to is nowhere; nothing where it is refused then, or nobody
/// looks.
pub(crate) fn instead_of_parent(entity: &EntityPlan, reference: &ReferencePlan) -> Vec<(String, Value<'static>)> {
    match (reference.orphans, &reference.placeholder) {
        (Some(OrphanPolicy::Null), _) => open(entity, reference).into_iter().map(|name| (name, Value::Null)).collect(),
        (Some(_), Some(placeholder)) => reference.columns.iter().cloned().zip(placeholder.referred.clone()).collect(),
        (Some(_), None) | (None, _) => Vec::new(),
    }
}

/// The target's columns of a reference that can be NULL; none where that does not free a row of it.
fn open(entity: &EntityPlan, reference: &ReferencePlan) -> Vec<String> {
    let open: Vec<String> = reference.columns.iter().filter(|name| is_open(entity, name)).cloned().collect();
    let mut keys = entity.target.foreign_keys.iter();
    let full = keys.any(|key| key.match_full && key.columns == reference.columns && key.parent == reference.table);
    if full && open.len() < reference.columns.len() { Vec::new() } else { open }
}
