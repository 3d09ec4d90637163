//! Writes what a run tells into the record, beside the run.

use super::event::{Event, Observer};
use super::execution::{EntityResult, Finish, Level, LogLine};
use super::progress::{Progress, ProgressTracker};
use super::recorder::{Recorder, Standing, Update};
use super::state::ExecutionState;
use super::time::Clock;
use crate::error::{Result, Retry};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often the record is brought up to date.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait before each further try to write the end.
const DELAYS: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(2), Duration::from_secs(5)];

/// Keeps the record of one attempt up to date: an [`Observer`] of the run with a task that writes once a second.
///
/// A store that cannot be reached for a while holds up nothing: what it missed is written when it is back. Dropping this without
/// [`Recording::finish`] leaves the execution `running`, which is what a killed process leaves.
#[derive(Debug)]
pub struct Recording {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    recorder: Arc<dyn Recorder>,
    clock: Arc<dyn Clock>,
    execution: String,
    attempt: u32,
    tracker: ProgressTracker,
    logs: Mutex<Vec<LogLine>>,
    /// What was last written of each entity. The lock orders writers.
    written: tokio::sync::Mutex<Written>,
    replaced: AtomicBool,
}

#[derive(Debug, Default)]
struct Written {
    entities: BTreeMap<String, EntityResult>,
    notes: Vec<String>,
}

impl Recording {
    /// Begins to record an attempt. Must be called within a tokio runtime.
    pub fn start(recorder: Arc<dyn Recorder>, clock: Arc<dyn Clock>, execution: impl Into<String>, attempt: u32) -> Self {
        let shared = Arc::new(Shared {
            recorder,
            tracker: ProgressTracker::new(clock.clone()),
            clock,
            execution: execution.into(),
            attempt,
            logs: Mutex::default(),
            written: tokio::sync::Mutex::default(),
            replaced: AtomicBool::new(false),
        });
        let writer = shared.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if let Err(error) = writer.flush().await {
                    tracing::warn!(execution = writer.execution, "the record could not be brought up to date: {error:?}");
                }
            }
        });
        Recording { shared, task }
    }

    /// Returns the observer to give to the run.
    pub fn observer(&self) -> Arc<dyn Observer> {
        self.shared.clone()
    }

    /// Returns how far the attempt is.
    pub fn progress(&self) -> Progress {
        self.shared.tracker.progress()
    }

    /// Returns whether a later attempt has begun, as far as the last write has shown.
    pub fn is_replaced(&self) -> bool {
        self.shared.replaced.load(Ordering::SeqCst)
    }

    /// Writes what is not written yet.
    ///
    /// # Errors
    /// Those of the store; nothing is forgotten then.
    pub async fn flush(&self) -> Result<()> {
        self.shared.flush().await
    }

    /// Writes everything and ends the attempt. A store that is away for a moment is tried again: an end that is not written
    /// would look like a kill.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn finish(self, state: ExecutionState, error: Option<String>) -> Result<Standing> {
        let shared = &self.shared;
        let end = Finish { state, at: shared.clock.now(), error };
        let flushed = patiently(|| shared.flush()).await;
        // The end matters more than what led to it.
        let finished = patiently(|| shared.recorder.finish_execution(&shared.execution, shared.attempt, &end)).await?;
        flushed.map(|()| finished)
    }
}

/// Tries again what may pass when tried again.
async fn patiently<T, F: Future<Output = Result<T>>>(work: impl Fn() -> F) -> Result<T> {
    let mut delays = DELAYS.into_iter();
    loop {
        match (work().await, delays.next()) {
            (Err(error), Some(delay)) if error.kind().retry() != Retry::Never => tokio::time::sleep(delay).await,
            (outcome, _) => return outcome,
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn push(&self, line: LogLine) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    async fn flush(&self) -> Result<()> {
        let mut written = self.written.lock().await;
        let progress = self.tracker.progress();
        let notes = self.tracker.notes();
        let changed = |entity: &EntityResult| written.entities.get(&entity.name) != Some(entity);
        let mut update = Update {
            at: self.clock.now(),
            progress_percent: progress.percent.map(whole_percent),
            total_rows: progress.total_rows,
            entities: progress.entities.iter().filter(|e| changed(e)).cloned().collect(),
            logs: std::mem::take(&mut *self.logs.lock().unwrap_or_else(PoisonError::into_inner)),
            notes: (notes != written.notes).then(|| notes.clone()),
        };
        match self.recorder.record(&self.execution, self.attempt, &update).await {
            Ok(standing) => {
                self.replaced.store(standing == Standing::Replaced, Ordering::SeqCst);
                written.entities.extend(update.entities.into_iter().map(|e| (e.name.clone(), e)));
                written.notes = notes;
                Ok(())
            }
            Err(error) => {
                let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
                update.logs.append(&mut logs);
                *logs = update.logs;
                Err(error)
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share lies between 0 and 100")]
fn whole_percent(percent: f64) -> u8 {
    percent.clamp(0.0, 100.0) as u8
}

impl Observer for Shared {
    fn on_event(&self, event: &Event) {
        self.tracker.on_event(event);
        let line = |level, message: String| LogLine::new(self.clock.now(), level, message);
        match event {
            Event::PlanReady { entities, notes } => {
                self.push(line(Level::Info, "the plan is ready".to_owned()).with_field("entities", entities.len()));
                notes.iter().for_each(|note| self.push(line(Level::Info, note.clone())));
            }
            Event::EntityStarted { entity, rows: None, .. } => {
                self.push(line(Level::Info, "started".to_owned()).with_entity(entity))
            }
            Event::EntityStarted { entity, rows: Some(rows), before } => {
                let mut counted = line(Level::Info, "counted".to_owned()).with_entity(entity).with_field("rows", *rows);
                if *before > 0 {
                    counted = counted.with_field("settled_before", *before);
                }
                self.push(counted);
            }
            Event::EntityFinished { entity, counters, state, error } => {
                let level = if *state == ExecutionState::Failed { Level::Error } else { Level::Info };
                let message = match error {
                    Some(error) => format!("{state}: {error}"),
                    None => state.to_string(),
                };
                let mut finished = line(level, message).with_entity(entity);
                if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(counters) {
                    finished.fields.extend(fields.into_iter().filter(|(_, value)| value.as_u64() != Some(0)));
                }
                self.push(finished);
            }
            Event::Step { entity, name } => {
                let step = line(Level::Info, name.clone());
                self.push(LogLine { entity: entity.clone(), ..step });
            }
            Event::Retry { entity, attempt, delay, reason } => {
                let retry = line(Level::Warn, format!("trying again: {reason}"))
                    .with_field("attempt", *attempt)
                    .with_field("delay_seconds", delay.as_secs_f64());
                self.push(LogLine { entity: entity.clone(), ..retry });
            }
            Event::Log(log) => self.push(log.clone()),
            Event::PageCommitted { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
