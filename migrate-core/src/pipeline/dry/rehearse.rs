//! A run in full, of which nothing stays.

use super::preview::{Preview, context, preview};
use super::tally::shown_key;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::job::{CancelToken, Event, ExecutionState, Level, Observer, Observers, ProgressTracker};
use crate::pipeline::context::{Context, Limits, Purpose};
use crate::pipeline::{Pipeline, execute};
use crate::plan::Plan;
use crate::state::{Counters, QuarantinedRow, TargetState};
use crate::value::{Key, text};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};

/// Refused rows that are shown of each entity.
const SAMPLES: usize = 10;
/// Remarks that are kept.
const REMARKS: usize = 100;

/// What a run would do to the target as it is, constraints and triggers included. Nothing of it has stayed.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Rehearsed {
    /// How the run would end.
    pub status: ExecutionState,
    /// Why it would fail, if it would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The kind of the error that would end it.
    #[serde(skip)]
    pub error_kind: Option<ErrorKind>,
    /// What would become of each entity's rows.
    pub entities: Vec<RehearsedEntity>,
    /// What the run would say, such as which columns triggers alter and how many rows they keep out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Remark>,
    /// What the rehearsal has done to the target all the same, and where it differs from a run.
    pub notes: Vec<String>,
}

/// What would become of one entity's rows.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RehearsedEntity {
    /// The entity's name.
    pub name: String,
    /// What would become of its rows.
    #[serde(flatten)]
    pub counters: Counters,
    /// How long it took.
    pub seconds: f64,
    /// Some of the rows that would be refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedRow>,
}

/// A row that would be refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedRow {
    /// Its key, as text, one for each key column.
    pub key: Vec<String>,
    /// The column at fault, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Why; never a cell's value.
    pub reason: String,
    /// The source's columns. Their values are for whoever asks to see them, and in nothing that is logged.
    pub columns: Vec<RefusedCell>,
}

/// A cell of a refused row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedCell {
    /// The source's column.
    pub column: String,
    /// What is there, as text; `None` is NULL.
    pub value: Option<String>,
}

/// Something that a run would say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// How much it matters.
    pub level: Level,
    /// The entity that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// What it says.
    pub message: String,
}

/// Plans a run and makes it where nothing stays.
///
/// # Errors
/// As [`preview`], and those of opening and ending the rehearsal. What would end the run is in the result.
pub(in crate::pipeline) async fn rehearse(pipeline: &Pipeline, cancel: &CancelToken) -> Result<Preview> {
    let mut preview = preview(pipeline, cancel).await?;
    preview.rehearsal = Some(perform(pipeline, &preview.plan, cancel).await?);
    Ok(preview)
}

async fn perform(pipeline: &Pipeline, plan: &Plan, cancel: &CancelToken) -> Result<Rehearsed> {
    let mut found = Rehearsed {
        status: ExecutionState::Failed,
        error: None,
        error_kind: None,
        entities: Vec::new(),
        remarks: Vec::new(),
        notes: Vec::new(),
    };
    let may_begin = match plan.check_drift() {
        Ok(()) => execute::check_rights(pipeline, plan).await,
        refused => refused,
    };
    if may_begin.is_err() {
        return Ok(found.ending(&may_begin.map(|()| Counters::default())));
    }
    let rehearsal = pipeline.sink.rehearse().await.context("side", "target")?;
    let sink = rehearsal.sink();
    found.notes = rehearsal.notes();
    let tracker = Arc::new(ProgressTracker::new(pipeline.clock.clone()));
    let remarks = Arc::new(Remarks::default());
    let observer = Observers(vec![tracker.clone(), remarks.clone(), pipeline.observer.clone()]);
    let mut execution = None;
    let attempt = async {
        sink.state().initialize().await.context("side", "target")?;
        let context = context(pipeline, sink.clone(), cancel, tracker.clone(), observer).await?;
        // As the run would, but one after another.
        let limits = Limits { parallel: 1, ..execute::limits(pipeline) };
        let context = Context { limits, verify: pipeline.verify_mode(), purpose: Purpose::Run, ..context };
        execution = Some(context.execution.clone());
        execute::attempt_once(&context, plan).await
    };
    let result = tokio::select! {
        result = Box::pin(attempt) => result,
        () = cancel.aborting() => Err(aborted()),
    };
    let state = sink.state();
    for entity in tracker.progress().entities {
        let refused = match (&execution, entity.counters.quarantined) {
            (None, _) | (_, 0) => Vec::new(),
            (Some(execution), _) => refused(state.as_ref(), &pipeline.job.name, &entity.name, execution).await,
        };
        found.entities.push(RehearsedEntity { name: entity.name, counters: entity.counters, seconds: entity.seconds, refused });
    }
    drop((state, sink));
    rehearsal.end().await.context("side", "target")?;
    if let Err(error) = &result
        && error.kind() == ErrorKind::Cancelled
    {
        return Err(aborted());
    }
    found.remarks = remarks.take();
    Ok(found.ending(&result))
}

fn aborted() -> Error {
    Error::new(ErrorKind::Cancelled, "the rehearsal was stopped, and all of it undone")
}

impl Rehearsed {
    fn ending(mut self, result: &Result<Counters>) -> Self {
        (self.status, self.error) = execute::ending(result);
        self.error_kind = result.as_ref().err().map(Error::kind);
        self
    }
}

/// Returns some of the rows that were refused. A rehearsal whose transaction is lost has none to show.
async fn refused(state: &dyn TargetState, job: &str, entity: &str, execution: &str) -> Vec<RefusedRow> {
    let rows = state.quarantine(job, Some(entity), SAMPLES).await.unwrap_or_default();
    // Those of earlier executions come after its own.
    rows.iter().filter(|row| row.execution == execution).map(shown).collect()
}

fn shown(row: &QuarantinedRow) -> RefusedRow {
    let whole = Key::from_bytes(&row.row);
    let values = whole.values().unwrap_or_default();
    let value = |place: usize| values.get(place).filter(|v| !v.is_null()).map(|v| text::to_text(v).into_owned());
    let cell = |(place, column): (usize, &String)| RefusedCell { column: column.clone(), value: value(place) };
    RefusedRow {
        key: shown_key(&Key::from_bytes(&row.key)),
        column: row.column.clone(),
        reason: row.reason.clone(),
        columns: row.columns.iter().enumerate().map(cell).collect(),
    }
}

/// Keeps what a run says.
#[derive(Debug, Default)]
struct Remarks {
    kept: Mutex<Vec<Remark>>,
}

impl Remarks {
    fn take(&self) -> Vec<Remark> {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Remarks {
    fn on_event(&self, event: &Event) {
        let Event::Log(line) = event else { return };
        if line.level != Level::Debug {
            let remark = Remark { level: line.level, entity: line.entity.clone(), message: line.message.clone() };
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < REMARKS && !kept.contains(&remark) {
                kept.push(remark);
            }
        }
    }
}
