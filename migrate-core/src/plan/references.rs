//! The references of a plan's entities: from both catalogs and from the job file, and when each is bound.

use super::bind;
use super::entity::EntityPlan;
use super::keys;
use super::orphans::{self, Placeholder};
use crate::binding::{Bond, Edge, Schedule, Staged, Timing, schedule_stages, spell_cycle, spell_cycle_over, with_partitions};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Parameter;
use crate::hint;
use crate::job::{Bind, Entities, Job, OrphanPolicy, Reference, stage};
use crate::schema::{DatabaseSchema, ForeignKey, TableName, TableSchema};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A reference of an entity.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ReferencePlan {
    /// The target's columns that refer.
    pub columns: Vec<String>,
    /// The entity that feeds the parents; `None` where the job moves none.
    pub entity: Option<String>,
    /// The target's table that is referred to.
    pub table: TableName,
    /// The columns referred to, in the order of `columns`.
    pub parent_columns: Vec<String>,
    /// Which rows refer to this parent, by the source's columns; all if empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Parameter>,
    /// Whether the job file names it.
    pub declared: bool,
    /// Whether, and when, the target checks it.
    pub check: ReferenceCheck,
    /// When it is bound.
    pub binding: Binding,
    /// What the job file says about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<Bind>,
    /// What happens to rows whose parent is nowhere, where there can be any and they are looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orphans: Option<OrphanPolicy>,
    /// Whether nobody has said so.
    #[serde(skip)]
    pub(crate) orphans_unsaid: bool,
    /// The row that stands in for parents which are nowhere, where that is the policy.
    #[serde(skip)]
    pub(crate) placeholder: Option<Arc<Placeholder>>,
    /// Whether its parents are in a later stage, by the job's own order.
    #[serde(skip_serializing_if = "is_false")]
    pub against_stages: bool,
    /// What is needed to bind it late, where that is so.
    #[serde(skip)]
    pub late: Option<LateReference>,
    /// The same reference at the source, where all of its columns come from there and an entity feeds the parents.
    #[serde(skip)]
    pub source: Option<SourceReference>,
}

/// A reference whose rows may be written before their parents.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LateReference {
    /// The columns of the reference that are NULL until the parent is there.
    pub columns: Vec<String>,
    /// The target's table that is referred to.
    pub parent: TableSchema,
}

/// A reference as the source's columns make it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SourceReference {
    /// The referring columns.
    pub columns: Vec<String>,
    /// The columns referred to.
    pub parent_columns: Vec<String>,
    /// Whether the source itself guarantees that every row has its parent.
    pub guaranteed: bool,
}

/// Whether, and when, the target checks a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceCheck {
    /// As rows are written: the table exists already.
    Live,
    /// After the last row: the job creates the table.
    AtEnd,
    /// After the last row, and rows without a parent are left as they are: the source never checked either.
    Reported,
    /// Never: no constraint of the target says so.
    Never,
}

/// When a reference is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// With the row: its parent is there already.
    WithRow,
    /// The value is written with the row; that it has a parent is checked, and the constraint made, after the last row.
    AfterLoad,
    /// NULL is written where the parent is not there yet, and the value once all rows are.
    Late,
    /// With the rows that it ties together, in one transaction: it can never be NULL.
    Together,
    /// The value is written with the row, and nothing of the target checks it.
    Unchecked,
    /// It cannot be: the rows of a cycle would all have to be there first.
    InCycle,
}

impl ReferencePlan {
    /// Returns the reason for which it is bound when it is, in words.
    pub fn reason(&self) -> &'static str {
        match self.binding {
            _ if self.follows_job() => match self.bind {
                Some(Bind::Late) => "the job file says so: NULL until the parent is there",
                Some(Bind::Together) => "the job file says so: all new rows of the cycle are inserted at once",
                Some(Bind::Order) | None => "the job file says so: parents load first",
            },
            Binding::Late if self.against_stages => "its parents are in a later stage: NULL until the parent is there",
            Binding::InCycle if self.against_stages => "its parents are in a later stage, and it cannot wait: a run is refused",
            Binding::WithRow => "parents load first",
            Binding::AfterLoad => "the job creates the table: the constraint is made, and checked, after the load",
            Binding::Late => "in a cycle of existing tables: NULL until the parent is there",
            Binding::Together => "never NULL, in a cycle: all new rows of the cycle are inserted at once",
            Binding::Unchecked => "no constraint of the target checks it",
            Binding::InCycle => "in a cycle of existing tables: a first load is refused",
        }
    }
}

impl ReferencePlan {
    /// Whether it is bound as the job file says, and not as the planner finds.
    fn follows_job(&self) -> bool {
        match self.bind {
            Some(Bind::Order) => matches!(self.binding, Binding::WithRow | Binding::AfterLoad | Binding::Unchecked),
            Some(Bind::Late) => self.binding == Binding::Late,
            Some(Bind::Together) => self.binding == Binding::Together,
            None => false,
        }
    }
}

/// Entities whose references form a cycle that can never be NULL: their new rows are inserted at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TogetherPlan {
    /// The entities.
    pub entities: Vec<String>,
    /// The cycle, spelled out.
    pub path: String,
    /// The engine's guess at how many rows a first load inserts in one transaction; `None` where it has none.
    pub rows: Option<u64>,
}

/// What no order of loading can do.
pub(super) struct Cycles {
    /// What is inserted at once.
    pub(super) together: Vec<TogetherPlan>,
    /// What cannot be.
    pub(super) refusals: Vec<Refusal>,
}

/// References that no order of loading can satisfy.
pub(super) struct Refusal {
    /// The entities that would have to be filled already.
    pub(super) entities: Vec<String>,
    /// The cycle, spelled out.
    pub(super) path: String,
    /// Whether the cycle is one of ids that the target gives.
    pub(super) by_new_ids: bool,
    /// What is wrong where not a cycle but the order of the job's stages is: no run can begin so.
    pub(super) against: Option<String>,
}

impl Refusal {
    fn against_stages(child: &EntityPlan, parent: &EntityPlan, reference: &ReferencePlan) -> Self {
        let stage = |entity: &EntityPlan| entity.stage.clone().unwrap_or_default();
        let (from, to) = (stage(child), stage(parent));
        let message = format!(
            "the stage \"{from}\" comes before \"{to}\", but its entity {} refers by ({}) to {}, and the reference cannot wait: the column is \
             never NULL; put {} into an earlier stage, or {} into a later one",
            child.name,
            reference.columns.join(", "),
            parent.name,
            parent.name,
            child.name,
        );
        let entities = vec![child.name.clone(), parent.name.clone()];
        Refusal { entities, path: String::new(), by_new_ids: false, against: Some(message) }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Finds the entities' references, puts parents before children, and returns what forms a cycle that can never be NULL. `together` says
/// that the target can insert such rows at once.
///
/// # Errors
/// [`ErrorKind::Config`] where the job file names a column that is not there.
pub(super) fn plan(
    job: &Job,
    entities: &mut [EntityPlan],
    source: &DatabaseSchema,
    target: &DatabaseSchema,
    together: bool,
    notes: &mut Vec<String>,
) -> Result<Cycles> {
    let tables: Vec<&TableSchema> = entities.iter().map(|entity| &entity.target).collect();
    let tables = with_partitions(&tables, target);
    let mut found = Vec::with_capacity(entities.len());
    for (place, table) in tables.iter().enumerate() {
        found.push(references_of(job, entities, place, table, source)?);
    }
    let mut edges = Vec::new();
    for (child, references) in found.iter_mut().enumerate() {
        for (at, (reference, bond)) in references.iter_mut().enumerate() {
            let Some(parent) = entities.iter().position(|e| Some(&e.name) == reference.entity.as_ref()) else { continue };
            let bond = bind::overridden(&entities[child], &entities[parent], reference, *bond, notes)?;
            edges.extend(bond.map(|bond| (Edge { child, parent, bond }, (child, at), reference.bind != Some(Bind::Order))));
        }
    }
    // What the job orders is kept before what the planner would.
    edges.sort_by_key(|(_, _, free)| *free);
    let (edges, places): (Vec<Edge>, Vec<(usize, usize)>) = edges.into_iter().map(|(edge, place, _)| (edge, place)).unzip();
    let stages: Vec<usize> = entities.iter().map(|e| stage::place_of(&job.stages, &e.name).unwrap_or(0)).collect();
    let Staged { schedule: Schedule { levels, cycles, timings, knots }, against } = schedule_stages(&stages, &edges);
    let spelled = |cycle: Vec<usize>| {
        let names: Vec<String> = cycle.into_iter().map(|i| tables[i].name.to_string()).collect();
        format!("{} → {}", names.join(" → "), names.first().map_or("", String::as_str))
    };
    // What decides about the order, and the references that stand against it.
    let kept: Vec<Edge> =
        edges.iter().zip(&timings).filter(|(_, timing)| **timing != Timing::Late).map(|(edge, _)| *edge).collect();
    let mut refusals: Vec<Refusal> = Vec::new();
    // Rows without a key cannot be told from those that are there already, and those that are there are found by a key that is known before
    // any id is given.
    let findable =
        |entity: &EntityPlan| !entity.is_keyless() && (entity.generated_beside_key().is_none() || !entity.translates_key());
    let possible = |knot: &&Vec<usize>| together && knot.iter().all(|i| findable(&entities[*i]));
    let knots: Vec<Vec<usize>> = knots.iter().filter(possible).cloned().collect();
    for (number, ((edge, timing), &(child, at))) in edges.iter().zip(timings).zip(&places).enumerate() {
        let reference = &mut found[child][at].0;
        let whole = knots.iter().any(|knot| knot.contains(&edge.child));
        if let Some(why) = bind::hindrance(reference, timing, whole, against.contains(&number)) {
            let (own, parent) = (&entities[edge.child], &entities[edge.parent]);
            let why = if reference.bind == Some(Bind::Order) && !against.contains(&number) {
                format!("{why}: {}", spelled(spell_cycle_over(*edge, &kept)))
            } else {
                why.to_owned()
            };
            return Err(bind::refused(own, parent, reference, &why));
        }
        let mut where_to = "in a cycle";
        if against.contains(&number) {
            reference.against_stages = true;
            where_to = "in a later stage";
            let own = &tables[edge.child];
            let same = |key: &&ForeignKey| key.columns == reference.columns && key.parent == reference.table;
            // A table that is created now is there at the next run: what could not be repeated is refused from the start.
            let firm = own.foreign_keys.iter().find(same).map_or(edge.bond, |key| bond(&entities[edge.child], key));
            if firm == Bond::Rigid {
                reference.binding = Binding::InCycle;
                refusals.push(Refusal::against_stages(&entities[edge.child], &entities[edge.parent], reference));
                continue;
            }
            if edge.bond == Bond::Loose {
                let (names, own, parent) = (reference.columns.join(", "), &entities[edge.child], &entities[edge.parent]);
                let when =
                    if reference.check == ReferenceCheck::Never { "nothing checks it" } else { "it is checked after the load" };
                notes.push(format!("{}: ({names}) refers to {} in a later stage; {when}", own.name, parent.name));
            }
        }
        match (edge.bond, timing) {
            (_, Timing::WithRow) | (Bond::Loose, Timing::Late | Timing::Together) => {}
            (Bond::Nullable, Timing::Late) => {
                let (own, parent) = (&entities[edge.child], &entities[edge.parent]);
                let columns = reference.columns.iter().filter(|name| is_open(own, name)).cloned().collect();
                reference.binding = Binding::Late;
                reference.late = Some(LateReference { columns, parent: parent.target.clone() });
                let names = reference.columns.join(", ");
                notes.push(format!(
                    "{}: ({names}) refers to {} {where_to}: a row whose parent is not there yet is written twice, first with NULL",
                    own.name, parent.name
                ));
            }
            (Bond::Rigid, Timing::Together) if whole => {
                reference.binding = Binding::Together;
            }
            (Bond::Rigid | Bond::Nullable, Timing::Late | Timing::Together) => {
                reference.binding = Binding::InCycle;
                let names = [edge.child, edge.parent].map(|i| entities[i].name.clone());
                let by_new_ids = [edge.child, edge.parent].iter().map(|i| &entities[*i]).any(|e| !e.is_keyless() && !findable(e));
                refusals.push(Refusal {
                    entities: names.to_vec(),
                    path: spelled(spell_cycle_over(*edge, &kept)),
                    by_new_ids,
                    against: None,
                });
            }
        }
    }
    for cycle in cycles.iter().filter(|cycle| cycle.iter().all(|i| entities[*i].create)) {
        notes.push(format!("references in a cycle are checked after the load: {}", spelled(spell_cycle(cycle[0], &edges))));
    }
    let mut plans = Vec::with_capacity(knots.len());
    for (number, knot) in knots.iter().enumerate() {
        // Where there are several entities, it is not those that refer to themselves which tie them together.
        let ties = |edge: &&Edge| edge.bond == Bond::Rigid && (edge.child != edge.parent || knot.len() == 1);
        let path = spelled(spell_cycle(knot[0], &edges.iter().filter(ties).copied().collect::<Vec<Edge>>()));
        let rows: Option<u64> = knot.iter().map(|i| entities[*i].row_estimate.filter(|_| entities[*i].filter.is_none())).sum();
        let about = rows.map_or_else(String::new, |rows| format!(", about {rows} rows for a first load"));
        let tied =
            edges.iter().zip(&places).filter(|(edge, _)| ties(edge) && knot.contains(&edge.child) && knot.contains(&edge.parent));
        let asked = tied.map(|(_, (child, at))| (&entities[*child], &found[*child][*at].0)).any(|(own, reference)| {
            reference.bind == Some(Bind::Together) && reference.columns.iter().any(|name| is_open(own, name))
        });
        let which = if asked { "that the job file binds together" } else { "that is never NULL" };
        notes
            .push(format!("references in a cycle {which}: {path}; its new rows are inserted at once, by one transaction{about}"));
        plans.push(TogetherPlan { entities: knot.iter().map(|i| entities[*i].name.clone()).collect(), path, rows });
        knot.iter().for_each(|i| entities[*i].together = Some(number));
    }
    for ((entity, level), references) in entities.iter_mut().zip(&levels).zip(found) {
        entity.level = *level;
        entity.references = references.into_iter().map(|(reference, _)| reference).collect();
    }
    orphans::choose(job, entities, notes)?;
    entities.sort_by_key(|entity| entity.level);
    Ok(Cycles { together: plans, refusals })
}

/// Returns one entity's references, each with how firmly the target holds it while rows are written.
fn references_of(
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
pub(super) fn bond(child: &EntityPlan, key: &ForeignKey) -> Bond {
    let written = |name: &String| child.columns.iter().any(|c| &c.target == name);
    let empty = |name: &String| child.target.column(name).is_some_and(|c| c.default.is_none() && c.generated.is_none());
    if key.columns.iter().any(|name| !written(name) && empty(name)) {
        // What is not written is NULL, and refers to nothing.
        return Bond::Loose;
    }
    let open = |name: &String| is_open(child, name);
    // One NULL among its columns frees a row of a reference, unless it must be full: then all must be NULL.
    let nullable = if key.match_full { key.columns.iter().all(open) } else { key.columns.iter().any(open) };
    if nullable { Bond::Nullable } else { Bond::Rigid }
}

/// Whether a column of the target may be NULL for a while.
pub(super) fn is_open(entity: &EntityPlan, name: &String) -> bool {
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
pub(super) fn is_from_source(entity: &EntityPlan, column: &String) -> bool {
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
