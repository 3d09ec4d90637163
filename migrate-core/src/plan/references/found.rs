//! The references of an entity: those of both catalogs, and those that the job file names.

use super::{Binding, ReferenceCheck, ReferencePlan, SourceReference};
use crate::binding::Bond;
use crate::error::{Error, ErrorKind, Result};
use crate::hint;
use crate::job::{Entities, Job, Reference};
use crate::plan::entity::EntityPlan;
use crate::plan::keys;
use crate::schema::{DatabaseSchema, ForeignKey, TableSchema};
use std::collections::BTreeMap;

/// Returns one entity's references, each with how firmly the target holds it while rows are written.
pub(super) fn references_of(
    job: &Job,
    entities: &[EntityPlan],
    place: usize,
    table: &TableSchema,
    source: &DatabaseSchema,
) -> Result<Vec<(ReferencePlan, Bond)>> {
    let child = &entities[place];
    let mut found: Vec<(ReferencePlan, Bond)> = Vec::new();
    let add = |found: &mut Vec<(ReferencePlan, Bond)>, reference: ReferencePlan, bond: Bond| {
        let same = |(other, _): &&mut (ReferencePlan, Bond)| {
            (&other.columns, &other.entity, &other.table, &other.parent_columns, &other.when)
                == (&reference.columns, &reference.entity, &reference.table, &reference.parent_columns, &reference.when)
        };
        match found.iter_mut().find(same) {
            Some((other, _)) => {
                other.declared |= reference.declared;
                other.source = other.source.take().or(reference.source);
                other.orphans = other.orphans.or(reference.orphans);
                other.bind = other.bind.or(reference.bind);
            }
            None => found.push((reference, bond)),
        }
    };
    for key in &table.foreign_keys {
        let check = match (child.create, key.validated) {
            (false, _) => ReferenceCheck::Live,
            (true, true) => ReferenceCheck::AtEnd,
            (true, false) => ReferenceCheck::Reported,
        };
        let bond = if child.create { Bond::Loose } else { bond(child, key) };
        let parents: Vec<&EntityPlan> = entities.iter().filter(|e| e.target.name == key.parent).collect();
        // Of several entities that feed the parents' table each may hold a row's parent: none of them tells alone whether it is there.
        let at_source = if let [parent] = parents[..] { at_source(child, parent, key, source) } else { None };
        let whole = ReferencePlan {
            columns: key.columns.clone(),
            entity: None,
            table: key.parent.clone(),
            parent_columns: key.parent_columns.clone(),
            when: BTreeMap::new(),
            declared: false,
            check,
            binding: if child.create { Binding::AfterLoad } else { Binding::WithRow },
            bind: None,
            orphans: None,
            orphans_unsaid: false,
            placeholder: None,
            against_stages: false,
            late: None,
            source: at_source,
        };
        for parent in &parents {
            add(&mut found, ReferencePlan { entity: Some(parent.name.clone()), ..whole.clone() }, bond);
        }
        if parents.is_empty() {
            add(&mut found, whole, bond);
        }
    }
    for key in &child.source.foreign_keys {
        // What the source declares and an existing target does not: it decides about the order all the same.
        let Some(parent) = entities.iter().find(|e| e.source.name == key.parent) else { continue };
        let (Some(columns), Some(parent_columns)) = (to_target(child, &key.columns), to_target(parent, &key.parent_columns))
        else {
            continue;
        };
        add(&mut found, unchecked(parent, columns, parent_columns, Some((key, source))), Bond::Loose);
    }
    for declared in declared(job, &child.name) {
        let parent = entities.iter().find(|e| e.name == declared.entity);
        // With `--entity` the parents may be left out of this run.
        let Some(parent) = parent else { continue };
        let reference =
            from_job(child, parent, declared).map_err(|e| e.with("entity", &child.name).with("field", "references"))?;
        add(&mut found, reference, Bond::Loose);
    }
    for (reference, bond) in &mut found {
        *bond = keys::bond(child, reference, *bond, |name| is_open(child, name));
    }
    Ok(found)
}

fn declared<'j>(job: &'j Job, entity: &str) -> &'j [Reference] {
    match &job.entities {
        Entities::All => &[],
        Entities::List(list) => list.iter().find(|e| e.name() == entity).map_or(&[], |e| &e.references),
    }
}

/// How firmly an existing table holds a reference.
pub(in crate::plan) fn bond(child: &EntityPlan, key: &ForeignKey) -> Bond {
    let written = |name: &String| child.columns.iter().any(|c| &c.target == name);
    let empty = |name: &String| child.target.column(name).is_some_and(|c| c.default.is_none() && c.generated.is_none());
    if key.columns.iter().any(|name| !written(name) && empty(name)) {
        // What is not written is NULL, and refers to nothing.
        return Bond::Loose;
    }
    // Rows without a key are written once, and nothing completes them; only ids that the target gives stand as NULL before they are known.
    let waits = |name: &String| !child.is_keyless() || child.translations.iter().any(|translation| &translation.target == name);
    let open = |name: &String| is_open(child, name) && waits(name);
    // One NULL among its columns frees a row of a reference, unless it must be full: then all must be NULL.
    let nullable = if key.match_full { key.columns.iter().all(open) } else { key.columns.iter().any(open) };
    if nullable { Bond::Nullable } else { Bond::Rigid }
}

/// Why a reference cannot wait for its parents, whose columns the target holds as firmly as can be.
pub(in crate::plan) fn why_rigid(child: &EntityPlan, columns: &[String]) -> &'static str {
    if waits_but_for_a_key(child, columns) {
        "rows without a key are written once, and cannot be completed"
    } else {
        "a column of it is never NULL, or belongs to the key"
    }
}

/// Whether rows could wait for a parent if they had a key, by which they are completed.
pub(super) fn waits_but_for_a_key(child: &EntityPlan, columns: &[String]) -> bool {
    child.is_keyless() && columns.iter().any(|name| is_open(child, name))
}

/// Whether a column of the target may be NULL for a while.
pub(in crate::plan) fn is_open(entity: &EntityPlan, name: &String) -> bool {
    entity.target.column(name).is_some_and(|c| c.nullable)
        && !entity.target_key.contains(name)
        && entity.columns.iter().any(|c| &c.target == name)
}

fn unchecked(
    parent: &EntityPlan,
    columns: Vec<String>,
    parent_columns: Vec<String>,
    at_source: Option<(&ForeignKey, &DatabaseSchema)>,
) -> ReferencePlan {
    ReferencePlan {
        columns,
        entity: Some(parent.name.clone()),
        table: parent.target.name.clone(),
        parent_columns,
        when: BTreeMap::new(),
        declared: false,
        check: ReferenceCheck::Never,
        binding: Binding::Unchecked,
        bind: None,
        orphans: None,
        orphans_unsaid: false,
        placeholder: None,
        against_stages: false,
        late: None,
        source: at_source.map(|(key, source)| SourceReference {
            columns: key.columns.clone(),
            parent_columns: key.parent_columns.clone(),
            guaranteed: guaranteed(key, parent, source),
        }),
    }
}

/// Builds a reference that the job file names.
fn from_job(child: &EntityPlan, parent: &EntityPlan, declared: &Reference) -> Result<ReferencePlan> {
    let key = if declared.key.is_empty() { &parent.key } else { &declared.key };
    if key.len() != declared.columns.len() {
        let (columns, key) = (declared.columns.join(", "), key.join(", "));
        let message = format!("the reference ({columns}) does not fit the key ({key}) of the entity {}; give key", parent.name);
        return Err(Error::new(ErrorKind::Config, message));
    }
    let known = |columns: &[String], entity: &EntityPlan| match columns.iter().find(|c| entity.source.column(c).is_none()) {
        None => Ok(()),
        Some(column) => {
            let hint = hint::nearest(column, entity.source.columns.iter().map(|c| c.name.as_str()));
            Err(Error::new(ErrorKind::Config, format!("{} has no column \"{column}\"{hint}", entity.source.name)))
        }
    };
    known(&declared.columns, child)?;
    known(key, parent)?;
    known(&declared.when.keys().cloned().collect::<Vec<_>>(), child)?;
    let moved = |columns: &[String], entity: &EntityPlan| {
        to_target(entity, columns).ok_or_else(|| {
            let message =
                format!("the columns ({}) of {} are not all written to the target", columns.join(", "), entity.source.name);
            Error::new(ErrorKind::Config, message)
        })
    };
    let mut reference = unchecked(parent, moved(&declared.columns, child)?, moved(key, parent)?, None);
    reference.declared = true;
    reference.when = declared.when.clone();
    reference.orphans = declared.orphans;
    reference.bind = declared.bind;
    reference.source =
        Some(SourceReference { columns: declared.columns.clone(), parent_columns: key.clone(), guaranteed: false });
    Ok(reference)
}

/// Returns the target's names of the source's columns, if all are written as they are, or are ids that the target gives in their place.
fn to_target(entity: &EntityPlan, columns: &[String]) -> Option<Vec<String>> {
    let find = |name: &String| match entity.generated_beside_key().filter(|own| &own.source == name) {
        Some(own) => Some(own.target.clone()),
        None => entity.fed_by(name).map(|c| c.target.clone()),
    };
    columns.iter().map(find).collect()
}

/// Returns the source's names of the target's columns, if all are fed from there, or hold ids that the target gives in their place.
fn to_source(entity: &EntityPlan, columns: &[String]) -> Option<Vec<String>> {
    let find = |name: &String| {
        if let Some(own) = entity.generated_beside_key().filter(|own| &own.target == name) {
            return Some(own.source.clone());
        }
        let source = entity.columns.iter().find(|c| &c.target == name).and_then(|c| c.source.clone())?;
        entity.fed_by(&source).map(|_| source)
    };
    columns.iter().map(find).collect()
}

/// Whether a column of the target holds what a column of the source says, or an id that the target gives in its place.
pub(in crate::plan) fn is_from_source(entity: &EntityPlan, column: &String) -> bool {
    to_source(entity, std::slice::from_ref(column)).is_some()
}

/// Finds a target's reference again at the source.
fn at_source(child: &EntityPlan, parent: &EntityPlan, key: &ForeignKey, source: &DatabaseSchema) -> Option<SourceReference> {
    let (columns, parent_columns) = (to_source(child, &key.columns)?, to_source(parent, &key.parent_columns)?);
    let same = |other: &&ForeignKey| {
        other.parent == parent.source.name && other.columns == columns && other.parent_columns == parent_columns
    };
    let guaranteed = child.source.foreign_keys.iter().find(same).is_some_and(|key| guaranteed(key, parent, source));
    Some(SourceReference { columns, parent_columns, guaranteed })
}

/// Whether the source guarantees that every row has its parent among those that are moved.
fn guaranteed(key: &ForeignKey, parent: &EntityPlan, source: &DatabaseSchema) -> bool {
    key.validated && parent.parsed_filter.is_none() && source.tables.iter().any(|t| t.name == parent.source.name)
}
