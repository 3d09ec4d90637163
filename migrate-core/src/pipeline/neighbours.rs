//! Keeps jobs from taking one another's rows.
//!
//! Each job has a ledger of its own. Where two write to the same rows, each takes for its own what the other has brought, overwrites it,
//! and deletes it once its own source has lost it.

use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::plan::Plan;
use crate::state::TargetState;

/// Refuses tables that another job writes to, where no constant in the target's key tells both jobs' rows apart and this job does not
/// say that it shares them.
///
/// # Errors
/// [`ErrorKind::Refused`], naming the other job; those of reading the state.
pub(super) async fn refuse_shared_tables(job: &Job, plan: &Plan, state: &dyn TargetState) -> Result<()> {
    if job.shares_tables || plan.entities.iter().all(|entity| entity.create) {
        return Ok(());
    }
    let others = state.neighbours(&job.name).await.map_err(|e| e.with("side", "target"))?;
    for entity in plan.entities.iter().filter(|entity| !entity.create) {
        let own = entity.feeds();
        let Some((other, _)) = others.iter().find(|(_, theirs)| own.meets(theirs)) else { continue };
        let message = format!(
            "the job \"{}\" writes to this table as well (its entity \"{}\"), and nothing tells both jobs' rows apart: each would overwrite \
             and delete the other's; give each a constant of its own in the target's key, with columns.set or a step of transform, or \
             another table; or say shares_tables = true in both jobs if their rows are never the same, or are meant to be, or that job is no more",
            other.job, other.entity
        );
        let error = Error::new(ErrorKind::Refused, message);
        return Err(error.with("entity", &entity.name).with("table", &entity.target.name));
    }
    Ok(())
}
