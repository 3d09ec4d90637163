//! Runs an execution: attempt after attempt until it is done or cannot go on.

use super::Pipeline;
use super::collisions::refuse_collisions;
use super::context::{BATCH_ROWS, Context, Limits, Purpose};
use super::dry;
use super::entity::EntityRun;
use super::neighbours::refuse_shared_tables;
use super::orphans::{Search, Settled, placeholder};
use super::report::{EntityReport, RunReport};
use super::retry::Backoff;
use super::sweep::sweep;
use super::together::bring_in;
use crate::error::{Error, ErrorKind, Result, ResultExt, Retry};
use crate::job::{
    Bind, CancelToken, Event, Execution, ExecutionState, Level, MULTISET_ROWS, Mode, Observers, Owner, PlannedEntity,
    ProgressTracker, QuarantineLimit, Recording, Strategy,
};
use crate::plan::{EntityPlan, Plan, ReferencePlan};
use crate::source::{PageRequest, Snapshot};
use crate::state::{Counters, Fence, FenceOwner};
use crate::value::Key;
use crate::value::conform::conform;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Attempts that one run makes by itself when the source's connection is lost.
const ATTEMPTS: u32 = 5;
const PAGE_BYTES: u64 = 256 << 10;
const BATCH_BYTES: u64 = 256 << 20;
/// Entities, or parts, at the same time, unless told otherwise.
const PARALLEL: usize = 4;
/// Rows that are worth a session of their own on either side.
const PART_BYTES: u64 = 32 << 20;

pub(super) async fn run(pipeline: &Pipeline, cancel: &CancelToken) -> Result<RunReport> {
    let owner = Owner::this_process();
    let (plan, state, id, fence, own) = loop {
        let plan = match &pipeline.replay {
            Some(replay) => pipeline.plan().await?.only(|entity| replay.concerns(entity)),
            None => pipeline.plan().await?,
        };
        plan.check_drift()?;
        check_rights(pipeline, &plan).await?;
        check_hash(pipeline, cancel).await?;
        let state = pipeline.sink.state();
        state.initialize().await.context("side", "target")?;
        // Refused rows that are sent again are no part of a run that has stopped.
        let own = pipeline.replay.is_some();
        let id = if own { new_execution(pipeline).await? } else { execution(pipeline).await? };
        let holder = FenceOwner { execution: id.clone(), host: owner.host.clone(), process: owner.process };
        let fence = state.acquire(&pipeline.job.name, &holder).await?;
        // Whoever held the fence may have finished the execution while it was waited for: the plan is of the time before that.
        if own || execution(pipeline).await? == id {
            break (plan, state, id, fence, own);
        }
    };
    let mut backoff = Backoff::default();
    let mut tries = 0;
    loop {
        tries += 1;
        let attempt = pipeline.recorder.start_attempt(&id, &owner, pipeline.clock.now()).await?;
        let recording = Recording::start(pipeline.recorder.clone(), pipeline.clock.clone(), id.clone(), attempt);
        let tracker = Arc::new(ProgressTracker::new(pipeline.clock.clone()));
        let observer = Observers(vec![recording.observer(), tracker.clone(), pipeline.observer.clone()]);
        let context = Context {
            job: pipeline.job.clone(),
            source: pipeline.source.clone(),
            sink: pipeline.sink.clone(),
            state: state.clone(),
            fence: fence.clone(),
            execution: id.clone(),
            attempt,
            counting: Arc::new(Semaphore::new(limits(pipeline).multiset)),
            limits: limits(pipeline),
            narrow: pipeline.narrows(),
            strategy: strategy(pipeline),
            verify: pipeline.verify_mode(),
            cancel: cancel.clone(),
            observer: Arc::new(observer),
            tracker: tracker.clone(),
            clock: pipeline.clock.clone(),
            purpose: Purpose::Run,
            replay: pipeline.replay.clone(),
            repairs: pipeline.repairs,
            foreseen: None,
            given: Arc::default(),
            missing: Arc::default(),
        };
        let result = tokio::select! {
            result = Box::pin(attempt_once(&context, &plan)) => result,
            () = cancel.aborting() => Err(Error::new(ErrorKind::Cancelled, "the run was aborted")),
        };
        let (status, error) = match ending(&result) {
            // Rows that are refused once more are no failure of sending them again.
            (ExecutionState::Failed, _) if own && result.is_ok() => (ExecutionState::Partial, None),
            ending => ending,
        };
        if let Err(failed) = recording.finish(status, error.clone()).await {
            tracing::warn!(execution = id, "the record could not be completed: {failed:?}");
        }
        if let Err(error) = &result
            && error.kind().retry() != Retry::Never
            && tries < ATTEMPTS
            && backoff.wait(&context, None, error).await.is_ok()
        {
            // The session may be lost because another process has ended it: the execution is that one's now, and no more is
            // written about it from here.
            match state.settle(&fence).await {
                Err(taken) if taken.kind() == ErrorKind::Fenced => {
                    return Ok(RunReport {
                        error_kind: Some(ErrorKind::Fenced),
                        ..report(id, ExecutionState::Failed, Some(describe(&taken)), &tracker, &plan)
                    });
                }
                Ok(()) | Err(_) => continue,
            }
        }
        release(&context, &fence).await;
        let kind = result.err().map(|error| error.kind());
        return Ok(RunReport { error_kind: kind, ..report(id, status, error, &tracker, &plan) });
    }
}

/// Returns how an attempt has ended, and why, if not well.
pub(super) fn ending(result: &Result<Counters>) -> (ExecutionState, Option<String>) {
    match result {
        Ok(counters) if counters.quarantined > 0 && counters.quarantined == counters.read => {
            (ExecutionState::Failed, Some("every row was refused".to_owned()))
        }
        Ok(counters) if counters.quarantined > 0 || counters.conflicts > 0 || counters.pending > 0 => {
            (ExecutionState::Partial, None)
        }
        Ok(_) => (ExecutionState::Succeeded, None),
        Err(error) if error.kind() == ErrorKind::Cancelled => (ExecutionState::Cancelled, None),
        Err(error) => (ExecutionState::Failed, Some(describe(error))),
    }
}

/// Checks, before anything is written, that everything can be read and written.
pub(super) async fn check_rights(pipeline: &Pipeline, plan: &Plan) -> Result<()> {
    if plan.entities.iter().any(|e| e.create) {
        pipeline.sink.check_creatable().await.context("side", "target")?;
    }
    for table in plan.schema.tables.iter().filter(|t| !t.added.is_empty()) {
        pipeline.sink.check_alterable(table).await.context("side", "target")?;
    }
    for entity in &plan.entities {
        super::check::check_source(pipeline.source.as_ref(), entity).await.context("side", "source")?;
        if !entity.create {
            pipeline.sink.check_writable(&entity.target).await.context("side", "target")?;
        }
    }
    Ok(())
}

/// Refuses a run that would make other changes than those that were planned.
async fn check_hash(pipeline: &Pipeline, cancel: &CancelToken) -> Result<()> {
    let Some(planned) = &pipeline.options.plan_hash else { return Ok(()) };
    if planned.len() != 32 || !planned.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = format!("\"{planned}\" is no plan's hash, which is 32 hexadecimal digits, as `migrate plan` prints them");
        return Err(Error::new(ErrorKind::Config, message).with("job", &pipeline.job.name));
    }
    let preview = Box::pin(dry::preview(pipeline, cancel)).await?;
    if &preview.hash == planned {
        return Ok(());
    }
    let message = format!(
        "the plan {planned} does not hold any more: data or schema have changed since; the plan of now is {}",
        preview.hash
    );
    Err(Error::new(ErrorKind::Refused, message).with("job", &pipeline.job.name))
}

/// Returns the id of the execution to go on with, or of a new one.
async fn execution(pipeline: &Pipeline) -> Result<String> {
    let (job, recorder) = (&pipeline.job, &pipeline.recorder);
    if let Some(unfinished) = recorder.unfinished(&job.name, &job.source, &job.target).await? {
        return Ok(unfinished.id);
    }
    new_execution(pipeline).await
}

async fn new_execution(pipeline: &Pipeline) -> Result<String> {
    let (job, recorder) = (&pipeline.job, &pipeline.recorder);
    let mut execution = Execution::new(job, pipeline.clock.now())?;
    let options = &pipeline.options;
    execution.source_url = options.source_url.as_ref().map(ToString::to_string);
    execution.target_url = options.target_url.as_ref().map(ToString::to_string);
    execution.executed_by.clone_from(&options.executed_by);
    execution.command.clone_from(&options.command);
    recorder.create_execution(&execution).await?;
    Ok(execution.id)
}

pub(super) fn limits(pipeline: &Pipeline) -> Limits {
    let (job, options) = (&pipeline.job, &pipeline.options);
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let writers = pipeline.source.capabilities().readers.min(pipeline.sink.capabilities().writers).max(1);
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(PARALLEL);
    Limits {
        page_bytes: size(options.page_bytes.or(job.page_bytes).unwrap_or(PAGE_BYTES)),
        batch_bytes: size(options.batch_bytes.or(job.batch_bytes).unwrap_or(BATCH_BYTES)),
        batch_rows: options.batch_rows.or(job.batch_rows).map_or(BATCH_ROWS, size).max(1),
        parallel: options.parallel.or(job.parallel).unwrap_or(cores).clamp(1, writers),
        deletes: options.max_deletes.unwrap_or(job.deletes.max),
        // Rows that were refused before are let be refused again, however many they are.
        quarantined: match pipeline.replay {
            Some(_) => QuarantineLimit::Rows(u64::MAX),
            None => options.max_quarantined.or(job.max_quarantined).unwrap_or_default(),
        },
        rows: options.limit,
        part_bytes: options.part_bytes.or(job.part_bytes).unwrap_or(PART_BYTES),
        bytes: 0,
        multiset: size(options.multiset_rows.unwrap_or(MULTISET_ROWS).clamp(1, MULTISET_ROWS)),
        walks: 1,
    }
}

/// How the run finds what has changed.
pub(super) fn strategy(pipeline: &Pipeline) -> Strategy {
    pipeline.options.strategy.unwrap_or(pipeline.job.strategy)
}

/// An error with its causes, in one line.
pub(super) fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

async fn release(context: &Context, fence: &Fence) {
    if let Err(error) = context.state.release(fence).await {
        tracing::warn!(job = fence.job, "the fence could not be given back: {error:?}");
    }
}

fn report(id: String, status: ExecutionState, error: Option<String>, tracker: &ProgressTracker, plan: &Plan) -> RunReport {
    let entities = tracker.progress().entities.into_iter().map(|e| EntityReport {
        name: e.name,
        source: e.source,
        target: e.target,
        stage: e.stage,
        counters: e.counters,
        seconds: e.seconds,
    });
    RunReport { execution_id: id, status, entities: entities.collect(), notes: notes(plan), error, error_kind: None }
}

pub(super) fn notes(plan: &Plan) -> Vec<String> {
    let own = plan.entities.iter().flat_map(|e| e.notes.iter().map(move |note| format!("{}: {note}", e.name)));
    plan.notes.iter().cloned().chain(own).collect()
}

/// Makes one attempt and returns the sum of what became of the rows.
pub(super) async fn attempt_once(context: &Context, plan: &Plan) -> Result<Counters> {
    refuse_shared_tables(&context.job, plan, context.state.as_ref()).await?;
    context.emit(&Event::PlanReady { entities: plan.entities.iter().map(planned).collect(), notes: notes(plan) });
    let mut snapshot = context.source.open_snapshot().await.context("side", "source")?;
    for entity in plan.entities.iter().filter(|e| !e.key_is_unique) {
        refuse_duplicates(entity, snapshot.as_mut()).await?;
    }
    let settled = settle_orphans(context, plan, snapshot.as_mut()).await?;
    let plan = settled.as_ref().unwrap_or(plan);
    let mut runs = Vec::with_capacity(plan.entities.len());
    for entity in plan.entities.iter().filter(|e| !e.create) {
        runs.push(look_up(context, plan, entity).await?);
    }
    context.sink.prepare(&plan.schema, &context.fence).await?;
    for entity in plan.entities.iter().filter(|e| e.create) {
        runs.push(look_up(context, plan, entity).await?);
    }
    if context.purpose != Purpose::Preview {
        for run in &mut runs {
            run.rebase(context).await?;
        }
    }
    for run in runs.iter_mut().filter(|_| context.replay.is_none()) {
        run.forget_parts(context).await?;
    }
    if runs.iter().any(|r| r.entity.create && r.needs_keys()) {
        step(context, "keys of tables that hold rows");
        context.sink.build_keys(&plan.schema, &context.fence).await?;
    }
    placeholder::bring_in(context, plan).await?;
    let mut snapshot = run_entities(context, plan, &mut runs, snapshot).await?;
    EntityRun::note_reassigned(&runs);
    if context.limits.rows.is_none() && runs.iter().any(EntityRun::is_incomplete) {
        if runs.iter().any(|run| run.entity.create && run.is_incomplete()) {
            // Rows that wait are found again by their keys.
            context.sink.build_keys(&plan.schema, &context.fence).await?;
        }
        step(context, "references to rows that came later");
        snapshot = walk_again(context, plan, &runs, &EntityRun::is_incomplete, snapshot).await?;
    }
    if !context.leaves_rows_out() && context.purpose != Purpose::Adopt {
        let swept = sweep(context, &runs, plan, snapshot.as_mut()).await?;
        if !swept.respelled.is_empty() {
            step(context, "rows that have other keys than this execution inserted them with");
            let which = |run: &EntityRun| swept.respelled.contains(&run.entity.name);
            snapshot = walk_again(context, plan, &runs, &which, snapshot).await?;
            swept.remind(context);
        }
        if swept.deleted > 0 && runs.iter().any(EntityRun::is_refused) {
            step(context, "rows that were refused while others held their unique values");
            snapshot = walk_again(context, plan, &runs, &EntityRun::is_refused, snapshot).await?;
            swept.remind(context);
        }
    }
    drop(snapshot);
    if context.purpose == Purpose::Run {
        refuse_collisions(context, &runs).await?;
        if !context.leaves_rows_out() && !context.narrow {
            placeholder::take_away(context, plan).await?;
        }
    }
    if !context.leaves_rows_out() {
        context.sink.finish(&plan.schema, &context.fence, &|name| step(context, name)).await?;
    }
    Ok(context.total())
}

/// Returns the plan with the rows whose parent is nowhere, where the job has a policy for them and there are any.
async fn settle_orphans(context: &Context, plan: &Plan, snapshot: &mut dyn Snapshot) -> Result<Option<Plan>> {
    let (sink, state) = (context.sink.as_ref(), context.state.as_ref());
    let allowed = |entity: &EntityPlan, reference: &ReferencePlan, parents: &HashSet<Key>| {
        let Some(foreseen) = &context.foreseen else { return };
        let Some(late) = &reference.late else { return };
        let types = reference.parent_columns.iter().map(|name| late.parent.column(name).map(|c| &c.data_type));
        let types: Vec<_> = types.collect();
        // As they would be written; what does not fit is refused, and does not wait.
        let written = |key: &Key| {
            let values = key.values().ok()?.into_iter().zip(&types);
            let values = values.map(|(value, data_type)| Some(conform(value, (*data_type)?).ok()?.into_owned()));
            values.collect::<Option<Vec<_>>>().map(|values| Key::from_values(&values))
        };
        foreseen.note_missing(&entity.name, &reference.columns, parents.iter().filter_map(written).collect());
    };
    let mut search = Search { job: &context.job, plan, sink, state, fails: true, allowed: None };
    if context.foreseen.is_some() {
        search.allowed = Some(&allowed);
    }
    placeholder::check(plan, snapshot).await?;
    let Some(Settled { plan, messages }) = search.settle(snapshot).await? else { return Ok(None) };
    for (entity, message) in messages {
        context.log(Level::Warn, &entity, message);
    }
    Ok(Some(plan))
}

/// Walks entities again, now that the other entities' rows are there, or what was gone from the source is gone here too; and all whose
/// rows still wait or are refused, for as long as that brings new rows in that may be what they want.
async fn walk_again(
    context: &Context,
    plan: &Plan,
    runs: &[EntityRun],
    first: &(dyn Fn(&EntityRun) -> bool + Sync),
    mut snapshot: Box<dyn Snapshot>,
) -> Result<Box<dyn Snapshot>> {
    let mut which = first;
    loop {
        let before = context.total().inserted;
        let mut again = Vec::new();
        for run in runs.iter().filter(|run| which(run)) {
            again.push(run.again(look_up(context, plan, &run.entity).await?));
        }
        snapshot = run_entities(context, plan, &mut again, snapshot).await?;
        which = &|run| run.is_incomplete() || run.is_refused();
        if context.total().inserted <= before || !runs.iter().any(which) {
            return Ok(snapshot);
        }
    }
}

async fn refuse_duplicates(entity: &crate::plan::EntityPlan, snapshot: &mut dyn Snapshot) -> Result<()> {
    let columns = entity.read_columns();
    let request = PageRequest::new(&entity.source, &columns, &entity.key).with_filter(entity.parsed_filter.as_ref());
    let examples = snapshot.duplicate_keys(&request, 3).await?;
    if examples.is_empty() {
        return Ok(());
    }
    let message = format!("the key ({}) is not unique; more than one row has {}", entity.key.join(", "), examples.join(", "));
    Err(Error::new(ErrorKind::Schema, message).with("entity", &entity.name))
}

fn planned(entity: &crate::plan::EntityPlan) -> PlannedEntity {
    PlannedEntity {
        name: entity.name.clone(),
        source: entity.source.name.to_string(),
        target: entity.target.name.to_string(),
        stage: entity.stage.clone(),
        rows: entity.row_estimate,
    }
}

fn step(context: &Context, name: &str) {
    context.emit(&Event::Step { entity: None, name: name.to_owned() });
}

async fn look_up(context: &Context, plan: &Plan, entity: &crate::plan::EntityPlan) -> Result<EntityRun> {
    let run = EntityRun::look_up(context, plan, Arc::new(entity.clone())).await?;
    let unknown = run.occupied && run.checkpoints.is_empty() && !entity.create;
    let refuse = |message: &str| {
        Err(Error::new(ErrorKind::Refused, message).with("entity", &entity.name).with("table", &entity.target.name))
    };
    if unknown && context.job.mode == Mode::Init {
        return refuse("the target's table holds rows, and the mode init fills empty tables only");
    }
    if run.is_stale() && run.occupied && entity.generated.as_ref().is_some_and(|own| own.keyed) {
        return refuse(
            "the target holds rows of this entity that came from another source, or with the source's ids; they would be there twice",
        );
    }
    if unknown && entity.is_keyless() && entity.set.is_none() && context.job.mode == Mode::Replace {
        return refuse(
            "the target's table holds rows of others, and without a key they cannot be told apart; empty it, or give a key",
        );
    }
    Ok(run)
}

/// Runs entities level by level, several of a level at once where both sides can.
async fn run_entities(
    context: &Context,
    plan: &Plan,
    runs: &mut [EntityRun],
    mut snapshot: Box<dyn Snapshot>,
) -> Result<Box<dyn Snapshot>> {
    // References of tables that are created are checked at the end, so only live ones impose an order, and stages, and ids that the
    // target gives, and the job file.
    let told = |r: &EntityRun| r.entity.references.iter().any(|reference| reference.bind == Some(Bind::Order));
    let ordered = |r: &EntityRun| !r.entity.create || r.entity.stage.is_some() || !r.entity.translations.is_empty() || told(r);
    let ordered = runs.iter().any(ordered);
    let level = |run: &EntityRun| if ordered { run.entity.level } else { 0 };
    runs.sort_by_key(level);
    let mut stage = None;
    for group in runs.chunk_by_mut(|a, b| level(a) == level(b)) {
        if stage != group[0].entity.stage {
            stage.clone_from(&group[0].entity.stage);
            stage.iter().for_each(|stage| step(context, &format!("stage {stage}")));
        }
        if context.replay.is_none() {
            bring_in(context, plan, group, snapshot.as_mut()).await?;
        }
        if context.limits.parallel == 1 || group.len() == 1 {
            for run in group {
                snapshot = run.run(context, snapshot).await?;
                context.check_cancelled()?;
            }
        } else {
            run_group(context, group, snapshot.as_ref()).await?;
        }
    }
    Ok(snapshot)
}

/// Runs entities side by side, each through its own reader of the snapshot.
async fn run_group(context: &Context, group: &[EntityRun], snapshot: &dyn Snapshot) -> Result<()> {
    let context = &mut context.among(context.limits.parallel.min(group.len()));
    context.limits.bytes = group.iter().filter_map(|run| run.entity.source.size_bytes).sum();
    let mut waiting = group.iter().cloned();
    let mut running: JoinSet<Result<()>> = JoinSet::new();
    loop {
        while running.len() < context.limits.parallel {
            let Some(run) = waiting.next() else { break };
            let (context, fork) = (context.clone(), snapshot.fork().await?);
            running.spawn(async move { run.run(&context, fork).await.map(drop) });
        }
        match running.join_next().await {
            // Dropping the set ends what else is running; its transactions roll back.
            Some(joined) => joined.map_err(|e| Error::new(ErrorKind::Internal, "an entity's task has died").caused_by(e))??,
            None => return Ok(()),
        }
        context.check_cancelled()?;
    }
}
