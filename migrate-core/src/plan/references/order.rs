//! Parents before children, and what is done where no order does.

use super::found::{bond, is_open, references_of, waits_but_for_a_key};
use super::{Binding, Cycles, LateReference, ReferenceCheck, Refusal, TogetherPlan};
use crate::binding::{Bond, Edge, Schedule, Staged, Timing, schedule_stages, spell_cycle, spell_cycle_over, with_partitions};
use crate::error::Result;
use crate::job::{Bind, Job, stage};
use crate::plan::entity::EntityPlan;
use crate::plan::{bind, orphans};
use crate::schema::{DatabaseSchema, ForeignKey, TableSchema};

/// Finds the entities' references, puts parents before children, and returns what forms a cycle that can never be NULL. `together` says
/// that the target can insert such rows at once.
///
/// # Errors
/// [`ErrorKind::Config`] where the job file names a column that is not there.
pub(in crate::plan) fn plan(
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
                    keyless: waits_but_for_a_key(&entities[edge.child], &reference.columns)
                        .then(|| entities[edge.child].name.clone()),
                    against: None,
                });
            }
        }
    }
    let at_once = |cycle: &Vec<usize>| knots.iter().any(|knot| cycle.iter().any(|i| knot.contains(i)));
    for cycle in cycles.iter().filter(|cycle| cycle.iter().all(|i| entities[*i].create) && !at_once(cycle)) {
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
