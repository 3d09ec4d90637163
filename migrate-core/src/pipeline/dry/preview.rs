//! What a run would change, row by row.

use super::contested::{Contested, Foreseen};
use super::made_up::name_new_ids;
use super::rehearse::Rehearsed;
use super::sink::DrySink;
use super::tally::{Sample, Tally};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::job::{CancelToken, Mode, Observers, OnConflict, Owner, ProgressTracker, QuarantineLimit, VerifyMode};
use crate::pipeline::context::{Context, Purpose};
use crate::pipeline::{Pipeline, execute};
use crate::plan::{EntityPlan, Plan};
use crate::schema::TableName;
use crate::sink::Sink;
use crate::state::{Counters, to_hex};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Rows that a target takes in a second, for the estimate of a run's duration; the rest of it is measured.
const ROWS_PER_SECOND: f64 = 100_000.0;

/// What a run would change. Nothing was written.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Preview {
    /// What is known from both catalogs.
    #[serde(flatten)]
    pub plan: Plan,
    /// What would become of each entity's rows, in load order; nothing where a run is refused for what has become of the source's columns.
    pub changes: Vec<EntityPreview>,
    /// Identifies exactly these changes: a run that is given it refuses to do any others.
    pub hash: String,
    /// How long a run would take, in seconds; about.
    pub estimated_seconds: f64,
    /// Bytes of rows that a run would write; about.
    pub estimated_bytes: u64,
    /// What a rehearsal of the run has found, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Rehearsed>,
}

/// What would become of one entity's rows.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct EntityPreview {
    /// The entity's name.
    pub name: String,
    /// What would become of its rows.
    #[serde(flatten)]
    pub counters: Counters,
    /// How long it took to find out.
    pub seconds: f64,
    /// Some of its rows that would change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
    /// What would become of its rows that both sides have changed since they were synced last.
    #[serde(skip_serializing_if = "Contested::is_empty")]
    pub contested: Contested,
}

/// Runs the pipeline dry.
///
/// # Errors
/// Those that a run would meet before or while it reads; [`ErrorKind::Refused`] where a guard would stop it.
pub(in crate::pipeline) async fn preview(pipeline: &Pipeline, cancel: &CancelToken) -> Result<Preview> {
    let plan = pipeline.plan().await?;
    if plan.check_drift().is_err() {
        // There is no run to be foreseen, and no pairing of columns that one would go by.
        return Ok(Preview {
            hash: hash(&plan, pipeline.job.on_conflict, &Tally::default(), &Foreseen::default())?,
            changes: Vec::new(),
            estimated_seconds: 0.0,
            estimated_bytes: 0,
            rehearsal: None,
            plan,
        });
    }
    let state = pipeline.sink.state();
    let begun: HashSet<_> = match state.exists().await.context("side", "target")? {
        true => state.unfinished_tables(&pipeline.job.name).await?.into_iter().map(|table| table.name).collect(),
        false => HashSet::new(),
    };
    let missing = plan.entities.iter().filter(|e| e.create && !begun.contains(&e.target.name)).map(|e| e.target.name.clone());
    let missing: Arc<HashSet<TableName>> = Arc::new(missing.collect());
    let sink = DrySink::over(pipeline.sink.clone(), missing.clone(), &plan.schema).await.context("side", "target")?;
    let tracker = Arc::new(ProgressTracker::new(pipeline.clock.clone()));
    let observer = Observers(vec![tracker.clone(), pipeline.observer.clone()]);
    let context = context(pipeline, Arc::new(sink.clone()), cancel, tracker.clone(), observer).await?;
    let foreseen = Arc::new(Foreseen::over(sink.clone()));
    let context = Context { missing, foreseen: Some(foreseen.clone()), ..context };
    let began = pipeline.clock.now();
    tokio::select! {
        result = Box::pin(execute::attempt_once(&context, &plan)) => result.map(drop)?,
        () = cancel.aborting() => return Err(Error::new(ErrorKind::Cancelled, "the plan was aborted")),
    }
    let seconds = pipeline.clock.now().since(began).as_secs_f64();
    let tally = sink.tally();
    let progress = tracker.progress();
    let changes = plan.entities.iter().map(|entity| {
        let found = progress.entities.iter().find(|e| e.name == entity.name);
        let (counters, seconds) = found.map(|e| (e.counters, e.seconds)).unwrap_or_default();
        EntityPreview {
            name: entity.name.clone(),
            counters,
            seconds,
            samples: tally.entities.get(&entity.name).map(|e| e.samples.0.clone()).unwrap_or_default(),
            contested: foreseen.of(&entity.name),
        }
    });
    let mut changes: Vec<EntityPreview> = changes.collect();
    if let Some(overlay) = sink.overlay() {
        name_new_ids(&plan, overlay, &mut changes);
    }
    let rows: u64 = tally.tables.values().map(|t| t.rows).sum();
    Ok(Preview {
        hash: hash(&plan, pipeline.job.on_conflict, &tally, &foreseen)?,
        changes,
        estimated_seconds: seconds + as_float(rows) / ROWS_PER_SECOND,
        estimated_bytes: tally.tables.values().map(|t| t.bytes).sum(),
        rehearsal: None,
        plan,
    })
}

#[expect(clippy::cast_precision_loss, reason = "an estimate needs no exact count")]
fn as_float(count: u64) -> f64 {
    count as f64
}

pub(super) async fn context(
    pipeline: &Pipeline,
    sink: Arc<dyn Sink>,
    cancel: &CancelToken,
    tracker: Arc<ProgressTracker>,
    observer: Observers,
) -> Result<Context> {
    let (job, state) = (&pipeline.job, sink.state());
    // Rows that an execution to be resumed has inserted are its own, for the next attempt as for this preview of it.
    let unfinished = pipeline.recorder.unfinished(&job.name, &job.source, &job.target).await?;
    let owner = Owner::this_process();
    // No ledger is of this one: what an adoption has found of a row is not what a run would do to it.
    let execution = unfinished.map_or_else(|| "a preview".to_owned(), |execution| execution.id);
    let holder = crate::state::FenceOwner { execution: execution.clone(), host: owner.host, process: owner.process };
    let mut limits = execute::limits(pipeline);
    // One view of the target serves all; and a plan tells how many rows would be refused, however many that are.
    limits.parallel = 1;
    limits.quarantined = QuarantineLimit::Rows(u64::MAX);
    Ok(Context {
        job: job.clone(),
        source: pipeline.source.clone(),
        sink,
        fence: state.acquire(&job.name, &holder).await?,
        state,
        execution,
        attempt: 1,
        counting: Arc::new(Semaphore::new(limits.multiset)),
        limits,
        narrow: pipeline.narrows(),
        strategy: execute::strategy(pipeline),
        // What is not written is not read back.
        verify: VerifyMode::Counts,
        cancel: cancel.clone(),
        observer: Arc::new(observer),
        tracker,
        clock: pipeline.clock.clone(),
        purpose: Purpose::Preview,
        replay: None,
        repairs: false,
        foreseen: None,
        given: Arc::default(),
        missing: Arc::default(),
    })
}

/// Returns a digest of everything that decides what a run would do: the schema's changes, the mapping, each row's change, and each row
/// that would be refused, left to the target, or is changed on both sides.
fn hash(plan: &Plan, policy: OnConflict, tally: &Tally, foreseen: &Foreseen) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut line = |text: &str| {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    };
    line(&format!("{} {}", plan.job, plan.mode));
    if plan.mode == Mode::Update {
        line(&format!("on conflict {policy:?}"));
    }
    for entity in &plan.entities {
        line(&entity_line(plan, entity));
    }
    let created: Vec<_> = plan.schema.tables.iter().filter(|t| t.create || !t.added.is_empty()).collect();
    let schema = serde_json::to_string(&(&plan.schema.types, created));
    line(&schema.map_err(|e| Error::new(ErrorKind::Internal, "a plan cannot be written").caused_by(e))?);
    for (table, changes) in &tally.tables {
        line(&format!("{table} {}", changes.digest()));
    }
    for entity in &plan.entities {
        let refused = tally.entities.get(&entity.name).map(|found| found.digest()).unwrap_or_default();
        line(&format!("{refused} {}", foreseen.of(&entity.name).digest()));
    }
    let full: [u8; 32] = hasher.finalize().into();
    Ok(to_hex(&full[..16]))
}

fn entity_line(plan: &Plan, entity: &EntityPlan) -> String {
    format!("{} {}", entity.name, crate::pipeline::fingerprint::fingerprint(plan, entity))
}
