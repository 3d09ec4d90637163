//! One execution, from top to bottom.
//!
//! ```text
//! plan ─▶ record ─▶ fence ─▶ snapshot ─▶ prepare ─▶ walk each entity ─▶ finish ─▶ record
//!                                                   read ─▶ shape ─▶ merge ─▶ write ─▶ commit
//! ```

mod batch;
mod bonds;
mod cascade;
mod check;
mod collisions;
mod context;
mod cursor;
mod digests;
mod distrust;
mod dry;
mod entity;
mod execute;
mod fingerprint;
mod folded;
mod forget;
mod keyless;
pub(crate) mod keymap;
mod knot;
pub(crate) mod known;
mod late;
mod links;
mod mark;
mod neighbours;
pub(crate) mod orphans;
pub(crate) mod park;
mod parts;
mod read_back;
mod reader;
mod rebase;
mod refusals;
mod replay;
mod report;
mod respelled;
mod retry;
pub(crate) mod sets;
pub(crate) mod shape;
mod strategy;
mod sweep;
mod together;
mod triggers;
mod update;
mod walk;

pub use dry::{
    Cell, Change, Conflict, Contested, EntityPreview, Preview, RefusedCell, RefusedRow, Rehearsed, RehearsedEntity, Remark,
    Resolution, Sample,
};

pub use report::{CheckReport, EntityReport, Finding, LinkState, OpenLink, OpenReference, RunReport};

use crate::error::{Error, ErrorKind, Result, Retry};
use crate::job::{
    CancelToken, Clock, Job, MemoryRecorder, Observer, Owner, Recorder, RunOptions, Silent, Strategy, SystemClock, VerifyMode,
};
use crate::plan::{self, Plan, ReferenceGraph};
use crate::sink::Sink;
use crate::source::Source;
use crate::state::{FenceOwner, QuarantinedRow, StateChanges};
use crate::transform::{Transformer, Transformers};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A job with the databases and the record it works on.
///
/// ```
/// use migrate_core::job::{CancelToken, Job};
/// use migrate_core::memory::{MemoryDatabase, table};
/// use migrate_core::pipeline::Pipeline;
/// use migrate_core::value::{DataType, Value};
/// use std::sync::Arc;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
/// from.create_table(table("city", &[("id", DataType::Int64), ("name", DataType::TEXT)], &["id"]))?;
/// from.insert("city", [Value::Int(1), Value::Text("Namur".into())])?;
///
/// let pipeline = Pipeline::builder(Job::new("copy", "from", "to"))
///     .source(Arc::new(from.source()))
///     .target(Arc::new(to.sink()))
///     .build()?;
/// let report = pipeline.run(&CancelToken::new()).await?;
/// assert_eq!(report.entities[0].counters.inserted, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub(crate) job: Arc<Job>,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) recorder: Arc<dyn Recorder>,
    observer: Arc<dyn Observer>,
    options: RunOptions,
    transformers: Transformers,
    pub(crate) clock: Arc<dyn Clock>,
    /// The refused rows that alone are sent again.
    replay: Option<Arc<replay::Replay>>,
    /// Whether it repairs what a comparison has found.
    repairs: bool,
}

impl Pipeline {
    /// Starts to build a pipeline for a job.
    pub fn builder(job: Job) -> PipelineBuilder {
        PipelineBuilder {
            job,
            source: None,
            sink: None,
            recorder: None,
            observer: Arc::new(Silent),
            options: RunOptions::default(),
            transformers: Transformers::new(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Plans a run: reads both catalogs, writes nothing.
    ///
    /// # Errors
    /// As [`plan::build`].
    pub async fn plan(&self) -> Result<Plan> {
        let mut plan =
            plan::build(&self.job, &self.options, &self.transformers, self.source.as_ref(), self.sink.as_ref()).await?;
        let gives_ids = plan.entities.iter().any(|entity| entity.generated.is_some());
        if self.options.narrows() && gives_ids && self.may_delete().await? {
            // Rows that are left as they are may be known by the ids of those that go.
            match self.plan_whole().await {
                Ok(whole) => plan.left = whole.only(|entity| plan.entity(entity).is_some()).left,
                Err(error) if error.kind().retry() != Retry::Never => return Err(error),
                Err(error) => {
                    let note = "the entities that are left out cannot be planned, so that nothing is known of their rows: as these may be \
                                known by ids that the target has given to rows of this run, none of those is deleted";
                    plan.notes.push(format!("{note} ({})", execute::describe(&error)));
                    plan.left_unknown = true;
                }
            }
        }
        Ok(plan)
    }

    /// Returns whether a run may delete rows: those that the source has lost, or that the execution which it goes on with has brought.
    async fn may_delete(&self) -> Result<bool> {
        let Job { name, source, target, .. } = &*self.job;
        Ok(self.job.may_delete() || self.recorder.unfinished(name, source, target).await?.is_some())
    }

    /// Returns whether a run moves only a part of the job's entities.
    pub(crate) fn narrows(&self) -> bool {
        self.options.narrows()
    }

    /// Plans all of the job, of which a run may move a part, also where references that cannot be bound keep it from running: what it says of
    /// entities that are left out.
    ///
    /// # Errors
    /// As [`plan::build`], but for references that cannot be bound.
    pub(crate) async fn plan_whole(&self) -> Result<Plan> {
        let whole = RunOptions { entities: Vec::new(), stages: Vec::new(), ..self.options.clone() };
        plan::build_any(&self.job, &whole, &self.transformers, self.source.as_ref(), self.sink.as_ref()).await
    }

    /// Returns the references between the job's entities, also where they keep it from running: reads both catalogs, writes nothing.
    ///
    /// # Errors
    /// As [`plan::graph`].
    pub async fn graph(&self) -> Result<ReferenceGraph> {
        plan::graph(&self.job, &self.options, &self.transformers, self.source.as_ref(), self.sink.as_ref()).await
    }

    /// Plans a run to the last row: reads both sides as a run would, and says what it would change. Writes nothing anywhere.
    ///
    /// What the target's constraints and triggers would do to the rows is not foreseen; [`Pipeline::rehearse`] finds that out.
    ///
    /// # Errors
    /// As [`Pipeline::plan`], and those of reading; [`ErrorKind::Refused`] where a guard would stop the run.
    pub async fn preview(&self, cancel: &CancelToken) -> Result<Preview> {
        dry::preview(self, cancel).await
    }

    /// Plans a run as [`Pipeline::preview`] does, and then makes it where nothing of it stays, so that the target's own constraints and
    /// triggers have their say: [`Preview::rehearsal`]. The plan's hash is the same with and without it.
    ///
    /// A PostgreSQL target is written to in one transaction that is always rolled back. Until then it holds the locks of all rows that it
    /// writes; numbers that were drawn from sequences are lost. A SQLite target is written to in a temporary copy.
    ///
    /// # Errors
    /// As [`Pipeline::preview`]; [`ErrorKind::Unsupported`] where the target cannot be rehearsed. What would end the run is no error: it is
    /// in [`Rehearsed::error`].
    pub async fn rehearse(&self, cancel: &CancelToken) -> Result<Preview> {
        dry::rehearse(self, cancel).await
    }

    /// Returns how far a run proves what it has written: what its options say, else its job.
    ///
    /// [`VerifyMode::Full`] asks for [`crate::verify::verify`] after [`Pipeline::run`], which is left to the caller.
    pub fn verify_mode(&self) -> VerifyMode {
        self.options.verify.unwrap_or(self.job.verify)
    }

    /// Returns the same pipeline for another version of its job.
    pub(crate) fn with_job(&self, job: Job) -> Self {
        Pipeline { job: Arc::new(job), ..self.clone() }
    }

    /// Returns the pipeline of a repair, for this version of its job: all rows are looked at, whatever tells that they have not changed.
    pub(crate) fn repairing(&self, job: Job) -> Self {
        let options = RunOptions { strategy: Some(Strategy::Full), ..self.options.clone() };
        Pipeline { job: Arc::new(job), options, repairs: true, ..self.clone() }
    }

    /// Makes the target remember the rows of the source that it holds already, so that later runs and deletions know them as this job's.
    /// No row is touched.
    ///
    /// Of each entity, `unchanged` rows are remembered as they are; `updated` ones differ, and will be written by the next run;
    /// `inserted` ones are not there, and will be inserted.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the target lacks a table, [`ErrorKind::Unsupported`] for an entity without a key, and those of reading.
    pub async fn adopt(&self, cancel: &CancelToken) -> Result<Vec<EntityPreview>> {
        dry::adopt(self, cancel).await
    }

    /// Checks whether a run could start: connections, schemas, rights. Writes nothing.
    ///
    /// # Errors
    /// Only what keeps the check from going on; what it finds wrong is in the report.
    pub async fn check(&self) -> Result<CheckReport> {
        check::check(self).await
    }

    /// Returns the references of the target's rows that lead nowhere, as both sides are now, with up to so many rows of each. Writes nothing.
    ///
    /// Rows in quarantine are not among them: they are not in the target.
    ///
    /// # Errors
    /// As [`Pipeline::plan`], those of reading, and [`ErrorKind::NotFound`] if the target lacks a table.
    pub async fn links(&self, examples: usize) -> Result<Vec<OpenReference>> {
        links::links(self, examples).await
    }

    /// Forgets refused rows of this job; returns how many.
    ///
    /// # Errors
    /// Those of the target's state.
    pub async fn drop_quarantined(&self, rows: &[QuarantinedRow]) -> Result<u64> {
        let state = self.sink.state();
        state.initialize().await?;
        let owner = Owner::this_process();
        let holder = FenceOwner { execution: "quarantine".to_owned(), host: owner.host, process: owner.process };
        let fence = state.acquire(&self.job.name, &holder).await?;
        let mut released: BTreeMap<String, StateChanges> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.scope.job == self.job.name) {
            let changes = released.entry(row.scope.to_string()).or_default();
            changes.scope = Some(row.scope.clone());
            changes.released.push(row.key.clone());
        }
        let count = released.values().map(|changes| changes.released.len() as u64).sum();
        for changes in released.into_values() {
            self.sink.begin(&fence).await?.commit(&changes).await?;
        }
        state.release(&fence).await?;
        Ok(count)
    }

    /// Reads refused rows of this job again and sends them to the target, as an execution of its own.
    ///
    /// No other row is written or deleted, and all that has changed besides is left to the next run. Rows that are refused again stay in
    /// quarantine; those that the source has lost are released. Rows of entities without a key, and of sets, are not sent: a run of the
    /// entity does that.
    ///
    /// # Errors
    /// As [`Pipeline::run`]; [`ErrorKind::Unsupported`] where none of the rows can be sent again by itself.
    pub async fn replay(&self, rows: &[QuarantinedRow], cancel: &CancelToken) -> Result<RunReport> {
        replay::replay(self, rows, cancel).await
    }

    /// Runs the job: goes on with its unfinished execution, if there is one, or begins a new one.
    ///
    /// Returns a report also when the execution fails or is cancelled; its status says so.
    ///
    /// # Errors
    /// What kept the execution from beginning: it is then not recorded.
    pub async fn run(&self, cancel: &CancelToken) -> Result<RunReport> {
        execute::run(self, cancel).await
    }
}

/// Builds a [`Pipeline`].
#[derive(Debug)]
#[must_use]
pub struct PipelineBuilder {
    job: Job,
    source: Option<Arc<dyn Source>>,
    sink: Option<Arc<dyn Sink>>,
    recorder: Option<Arc<dyn Recorder>>,
    observer: Arc<dyn Observer>,
    options: RunOptions,
    transformers: Transformers,
    clock: Arc<dyn Clock>,
}

impl PipelineBuilder {
    /// Sets where rows come from. Required.
    pub fn source(mut self, source: Arc<dyn Source>) -> Self {
        self.source = Some(source);
        self
    }

    /// Sets where rows go. Required.
    pub fn target(mut self, sink: Arc<dyn Sink>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Sets who keeps the record. Defaults to memory: then only the target knows, after a crash, how far the run had got.
    pub fn recorder(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Changes an entity's rows on their way, before the steps that the job names.
    pub fn transform(mut self, entity: impl Into<String>, transformer: Arc<dyn Transformer>) -> Self {
        self.transformers.insert(entity.into(), transformer);
        self
    }

    /// Sets who watches. Defaults to nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Sets what this run says beyond its job. Defaults to nothing.
    pub fn options(mut self, options: RunOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the clock of the record. Defaults to the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Checks everything and builds the pipeline.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the job contradicts itself, or source or target is missing.
    pub fn build(self) -> Result<Pipeline> {
        self.job.validate()?;
        let missing = |what: &str| Error::new(ErrorKind::Config, format!("a pipeline needs a {what}"));
        Ok(Pipeline {
            source: self.source.ok_or_else(|| missing("source"))?,
            sink: self.sink.ok_or_else(|| missing("target"))?,
            recorder: self.recorder.unwrap_or_else(|| Arc::new(MemoryRecorder::default())),
            job: Arc::new(self.job),
            observer: self.observer,
            options: self.options,
            transformers: self.transformers,
            clock: self.clock,
            replay: None,
            repairs: false,
        })
    }
}
