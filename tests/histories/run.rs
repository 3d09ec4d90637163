//! Runs of a job between both sides, to their end or into a fault.

use crate::faults::{Fate, FatedSink};
use crate::side::Side;
use migrate_core::Sink;
use migrate_core::job::{CancelToken, ExecutionState, Job, MemoryRecorder, RunOptions};
use migrate_core::pipeline::{Pipeline, RunReport};
use std::sync::Arc;

pub(crate) type Checked<T = ()> = Result<T, String>;

/// A job, and how it is run.
pub(crate) struct Runs {
    pub(crate) job: Job,
    pub(crate) options: RunOptions,
    pub(crate) recorder: Arc<MemoryRecorder>,
}

impl Runs {
    pub(crate) fn pipeline(&self, source: &Side, sink: Arc<dyn Sink>) -> Checked<Pipeline> {
        Pipeline::builder(self.job.clone())
            .source(source.source())
            .target(sink)
            .recorder(self.recorder.clone())
            .options(self.options.clone())
            .build()
            .map_err(|error| error.to_string())
    }

    /// Runs into a fault; returns the report where the run has come to its end all the same.
    pub(crate) async fn struck(&self, source: &Side, target: &Side, fate: Arc<Fate>) -> Checked<Option<RunReport>> {
        let sink = Arc::new(FatedSink { inner: target.sink(), fate: fate.clone() });
        let pipeline = self.pipeline(source, sink)?;
        let report = tokio::select! {
            report = pipeline.run(&fate.cancel) => report,
            () = fate.vanished.notified() => return Ok(None),
        };
        match report {
            Ok(report) if is_finished(&report) => Ok(Some(report)),
            Ok(_) | Err(_) if fate.has_struck() => Ok(None),
            Ok(report) => Err(format!("a run fails: {:?}", report.error)),
            Err(error) => Err(format!("a run does not begin: {error:?}")),
        }
    }

    /// Runs to the end.
    pub(crate) async fn finished(&self, source: &Side, target: &Side) -> Checked<RunReport> {
        let report = self.pipeline(source, target.sink())?.run(&CancelToken::new()).await;
        let report = report.map_err(|error| format!("a run does not begin: {error:?}"))?;
        if is_finished(&report) { Ok(report) } else { Err(format!("a run fails: {:?}", report.error)) }
    }
}

/// Returns whether a run has come to its end; the table may hold nothing but rows that do not fit.
fn is_finished(report: &RunReport) -> bool {
    match report.status {
        ExecutionState::Succeeded | ExecutionState::Partial => true,
        ExecutionState::Failed => report.error.as_deref() == Some("every row was refused"),
        _ => false,
    }
}

/// Compares rows, which are sorted.
pub(crate) fn compare(when: &str, expected: &[Vec<Option<String>>], found: &[Vec<Option<String>>]) -> Checked {
    if found == expected {
        return Ok(());
    }
    let only = |these: &[Vec<Option<String>>], others: &[Vec<Option<String>>]| {
        let rows = these.iter().filter(|row| !others.contains(row)).map(|row| format!("\n    {row:?}"));
        rows.collect::<String>()
    };
    Err(format!("{when} the target differs; expected:{}\n  found:{}", only(expected, found), only(found, expected)))
}
