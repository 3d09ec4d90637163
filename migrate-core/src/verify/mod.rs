//! Compares source and target as they are now, row by row.
//!
//! ```text
//! source ─▶ shape ─▶ checksum ─┐                        ┌─ equal: settled
//!                              ├─▶ buckets by key hash ─┤
//! target ─▶ read back ─────────┘   (count, sum)         └─ different: keys of the bucket ─▶ second read by key ─▶ difference, or not
//! ```
//!
//! Each side is read once, in its own order and at the same time. What is summed up does not depend on the order, so that engines which
//! sort otherwise need no sort. Only what differs twice is a difference: a busy source is no false alarm.

mod bucket;
mod certificate;
mod compare;
mod repair;
mod report;
mod side;

pub use certificate::Certificate;
pub use repair::repair;
pub use report::{Difference, DifferenceKind, EntityVerification, VerifyReport};

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::job::{CancelToken, ExecutionQuery, OrphanPolicy, Update};
use crate::pipeline::Pipeline;
use crate::pipeline::orphans::{Search, check_placeholders};
use crate::plan::Plan;
use crate::state::{Scope, TargetState};
use crate::value::Key;
use compare::{Known, verify_entity};

/// Refused rows of an entity that are taken into account.
const QUARANTINED: usize = 100_000;

/// Compares all rows of a job's entities. Writes nothing but a certificate into the record of the job's latest execution.
///
/// # Errors
/// As [`Pipeline::plan`], and those of reading; what differs is in the report.
pub async fn verify(pipeline: &Pipeline, cancel: &CancelToken) -> Result<VerifyReport> {
    let report = tokio::select! {
        report = compare(pipeline) => report?,
        () = cancel.stopping() => return Err(Error::new(ErrorKind::Cancelled, "the comparison was asked to stop")),
    };
    certify(pipeline, &report).await?;
    Ok(report)
}

async fn compare(pipeline: &Pipeline) -> Result<VerifyReport> {
    let plan = pipeline.plan().await?;
    if let Some((entity, column)) = plan.column_to_add() {
        let message = "the target lacks a column that was added at the source; run the job first, which adds it";
        let error = Error::new(ErrorKind::NotFound, message).with("entity", &entity.name).with("table", &entity.target.name);
        return Err(error.with("column", column));
    }
    let state = pipeline.sink.state();
    let plan = with_placeholders(pipeline, plan).await?;
    let plan = with_orphans(pipeline, plan, state.as_ref()).await?;
    let remembers = state.exists().await.context("side", "target")?;
    let mut entities = Vec::with_capacity(plan.entities.len());
    for entity in &plan.entities {
        if entity.create {
            let message = "the target has no such table yet, or not all of it; run the job first";
            return Err(Error::new(ErrorKind::NotFound, message).with("entity", &entity.name).with("table", &entity.target.name));
        }
        let mut known = Known::default();
        if remembers {
            let checkpoints = state.checkpoints(&pipeline.job.name, &entity.name).await?;
            for (partition, checkpoint) in checkpoints {
                known.trigger_columns.extend(checkpoint.trigger_columns);
                let scope = Scope { job: pipeline.job.name.clone(), entity: entity.name.clone(), partition };
                let refused = state.quarantined_keys(&scope, QUARANTINED).await?;
                known.quarantined.extend(refused.iter().map(Key::from_bytes));
            }
        }
        let began = pipeline.clock.now();
        let mut found =
            verify_entity(entity, pipeline.source.as_ref(), pipeline.sink.as_ref(), &known, &pipeline.job.name).await?;
        found.compared_at = began;
        found.drift.clone_from(&entity.drift);
        found.seconds = pipeline.clock.now().since(began).as_secs_f64();
        entities.push(found);
    }
    Ok(VerifyReport { equal: entities.iter().all(EntityVerification::is_equal), entities })
}

/// Returns the plan with the placeholders that rows refer to which are not compared: only a plan of the whole job says them. All else is as a
/// run of these entities alone has it.
async fn with_placeholders(pipeline: &Pipeline, mut plan: Plan) -> Result<Plan> {
    if pipeline.narrows() && pipeline.job.has_placeholders() {
        let whole = pipeline.plan_whole().await?;
        for entity in &mut plan.entities {
            entity.placeholders = whole.entity(&entity.name).map(|whole| whole.placeholders.clone()).unwrap_or_default();
        }
    }
    Ok(plan)
}

/// Returns the plan with the rows that a run would write without their parents.
async fn with_orphans(pipeline: &Pipeline, plan: Plan, state: &dyn TargetState) -> Result<Plan> {
    let left_out = |policy: Option<OrphanPolicy>| policy.is_none_or(|policy| policy == OrphanPolicy::Fail);
    let minded = plan.entities.iter().flat_map(|e| &e.references).any(|reference| !left_out(reference.orphans));
    if !minded && plan.entities.iter().all(|entity| entity.placeholders.is_empty()) {
        return Ok(plan);
    }
    let mut snapshot = pipeline.source.open_snapshot().await.context("side", "source")?;
    check_placeholders(&plan, snapshot.as_mut()).await?;
    let search = Search { job: &pipeline.job, plan: &plan, sink: pipeline.sink.as_ref(), state, fails: false, allowed: None };
    let settled = search.settle(snapshot.as_mut()).await?;
    Ok(settled.map_or(plan, |settled| settled.plan))
}

/// Writes what was found into the log of the job's latest execution, if there is one.
async fn certify(pipeline: &Pipeline, report: &VerifyReport) -> Result<()> {
    let (job, recorder) = (&pipeline.job, &pipeline.recorder);
    let query = ExecutionQuery { job: Some(job.name.clone()), limit: 1, ..ExecutionQuery::default() };
    let Some(latest) = recorder.executions(&query).await?.executions.into_iter().next() else { return Ok(()) };
    let now = pipeline.clock.now();
    let lines = report.entities.iter().map(|found| Certificate::of(found).to_log(found, now));
    let update = Update { at: now, logs: lines.collect(), ..Update::default() };
    recorder.record(&latest.id, latest.attempt, &update).await.map(drop)
}
