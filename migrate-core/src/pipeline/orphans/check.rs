//! Finding, before anything moves, the rows that refer to a parent which will not be there.

use super::policy::Search;
use super::{examples, find};
use crate::error::Result;
use crate::job::OrphanPolicy;
use crate::pipeline::Pipeline;
use crate::plan::{EntityPlan, Plan, ReferenceCheck, ReferencePlan};
use crate::source::{Orphans, Snapshot};

/// Distinct missing parents that are looked up in the target at most.
const LOOKED_UP: usize = 1_000;

/// What was found about one reference.
pub(in crate::pipeline) struct Found {
    /// The reference, spelled.
    pub(in crate::pipeline) name: String,
    /// Whether a run would put up with it.
    pub(in crate::pipeline) passed: bool,
    pub(in crate::pipeline) message: String,
}

/// Looks at each reference that nobody guarantees and whose both sides are in the source.
pub(in crate::pipeline) async fn look(pipeline: &Pipeline, plan: &Plan) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut snapshot: Option<Box<dyn Snapshot>> = None;
    for entity in &plan.entities {
        for reference in &entity.references {
            let parent = reference.entity.as_ref().and_then(|name| plan.entity(name));
            let (Some(parent), Some(source)) = (parent, &reference.source) else { continue };
            if source.guaranteed {
                continue;
            }
            if snapshot.is_none() {
                snapshot = Some(pipeline.source.open_snapshot().await?);
            }
            let Some(snapshot) = &mut snapshot else { continue };
            let orphans = find(entity, parent, reference, source, snapshot.as_mut(), LOOKED_UP).await?;
            let name = format!("{}: reference ({}) to {}", entity.name, reference.columns.join(", "), parent.name);
            found.push(judge(pipeline, plan, [entity, parent], reference, (orphans, name), snapshot.as_mut()).await?);
        }
    }
    Ok(found)
}

async fn judge(
    pipeline: &Pipeline,
    plan: &Plan,
    [entity, parent]: [&EntityPlan; 2],
    reference: &ReferencePlan,
    (orphans, name): (Option<Orphans>, String),
    snapshot: &mut dyn Snapshot,
) -> Result<Found> {
    let Some(orphans) = orphans else {
        return Ok(Found { name, passed: true, message: "the source cannot tell whether every row has its parent".to_owned() });
    };
    if orphans.rows == 0 {
        return Ok(Found { name, passed: true, message: "every row has its parent".to_owned() });
    }
    let (job, sink, state) = (pipeline.job.as_ref(), pipeline.sink.as_ref(), pipeline.sink.state());
    let search = Search { job, plan, sink, state: state.as_ref(), fails: false, allowed: None };
    let all = orphans.parents.len() < LOOKED_UP;
    if all && search.missing_in_target(parent, reference, orphans.parents.clone(), snapshot).await?.is_empty() {
        let refer = if orphans.rows == 1 { "row refers to a row" } else { "rows refer to rows" };
        let message = format!("{} {refer} that only the target has", orphans.rows);
        return Ok(Found { name, passed: true, message });
    }
    let examples = examples(&orphans);
    // Where the target gives the parents' ids, those of the source's are replaced: of a parent that is nowhere there is none.
    let mut replaced = entity.translations.iter().filter(|t| reference.columns.contains(&t.target)).peekable();
    let is_replaced = replaced.peek().is_some();
    let waits = if is_replaced { replaced.all(|t| t.late) } else { reference.late.is_some() };
    let (passed, outcome) = match (reference.check, reference.declared) {
        _ if reference.orphans == Some(OrphanPolicy::Fail) => (false, "a run is refused then, unless orphans says otherwise"),
        _ if reference.orphans == Some(OrphanPolicy::Null) => (true, "NULL is written instead, as the job file says"),
        _ if reference.orphans == Some(OrphanPolicy::Quarantine) => (true, "they go to quarantine, as the job file says"),
        _ if reference.orphans == Some(OrphanPolicy::Placeholder) => (true, "a placeholder stands in, as the job file says"),
        _ if waits => (false, "NULL is written until the parent is there, and they count as pending"),
        _ if is_replaced => (false, "they go to quarantine, as the target gives the parents' ids and has none for these"),
        (ReferenceCheck::Live, _) => (false, "the target will refuse them"),
        (ReferenceCheck::AtEnd, _) => (false, "the constraint cannot be made over them"),
        (ReferenceCheck::Reported | ReferenceCheck::Never, true) if reference.orphans_unsaid => {
            (false, "the job file says that each has one")
        }
        (ReferenceCheck::Reported | ReferenceCheck::Never, true) => (true, "they are copied as they are, as the job file says"),
        (ReferenceCheck::Reported, false) => (true, "the source never checked them, and they are copied as they are"),
        (ReferenceCheck::Never, false) => (true, "the target does not check them, and they are copied as they are"),
    };
    let rows = if orphans.rows == 1 { "row has" } else { "rows have" };
    Ok(Found { name, passed, message: format!("{} {rows} no parent{examples}: {outcome}", orphans.rows) })
}
