//! Makes the target remember rows that it holds already.

use super::contested::Contested;
use super::preview::{EntityPreview, context};
use super::sink::DrySink;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::job::{CancelToken, Mode, Observers, ProgressTracker};
use crate::pipeline::context::{Context, Purpose};
use crate::pipeline::{Pipeline, execute};
use crate::sink::Sink;
use std::sync::Arc;

/// Compares both sides and writes the ledger; no row is touched.
///
/// # Errors
/// [`ErrorKind::NotFound`] if the target lacks a table, [`ErrorKind::Unsupported`] for an entity without a key.
pub(in crate::pipeline) async fn adopt(pipeline: &Pipeline, cancel: &CancelToken) -> Result<Vec<EntityPreview>> {
    // What the target holds beyond the source, and in which mode it got there, does not matter to what is remembered.
    let mut job = (*pipeline.job).clone();
    job.mode = if job.mode == Mode::Update { Mode::Update } else { Mode::Replace };
    let pipeline = &pipeline.with_job(job);
    let plan = pipeline.plan().await?;
    plan.check_drift_to_adopt()?;
    if let Some((entity, column)) = plan.column_to_add() {
        let message =
            "the target lacks a column that was added at the source, so that no row of it could be adopted; run the job";
        let error = Error::new(ErrorKind::NotFound, message).with("entity", &entity.name).with("table", &entity.target.name);
        return Err(error.with("column", column));
    }
    for entity in &plan.entities {
        let refuse =
            |kind, message| Err(Error::new(kind, message).with("entity", &entity.name).with("table", &entity.target.name));
        if entity.create {
            return refuse(ErrorKind::NotFound, "the target has no such table, or not all of it, that rows could be adopted of");
        }
        if entity.generated.as_ref().is_some_and(|own| own.keyed) {
            let message = "rows that only the key map knows cannot be adopted: give a key that both sides have";
            return refuse(ErrorKind::Unsupported, message);
        }
        if entity.is_keyless() {
            return refuse(
                ErrorKind::Unsupported,
                "rows of a table without a key cannot be adopted: give a key, or adopt the other entities (--entity)",
            );
        }
    }
    let state = pipeline.sink.state();
    state.initialize().await.context("side", "target")?;
    let sink = DrySink::remembering(pipeline.sink.clone());
    let tracker = Arc::new(ProgressTracker::new(pipeline.clock.clone()));
    let observer = Observers(vec![tracker.clone(), pipeline.observer.clone()]);
    let context = context(pipeline, Arc::new(sink.clone()), cancel, tracker.clone(), observer).await?;
    let context = Context { purpose: Purpose::Adopt, ..context };
    let result = tokio::select! {
        result = Box::pin(execute::attempt_once(&context, &plan)) => result.map(drop),
        () = cancel.aborting() => Err(Error::new(ErrorKind::Cancelled, "the adoption was aborted")),
    };
    sink.state().release(&context.fence).await?;
    result?;
    let tally = sink.tally();
    let entities = tracker.progress().entities.into_iter().map(|entity| {
        let samples = tally.entities.get(&entity.name).map(|e| e.samples.0.clone()).unwrap_or_default();
        let contested = Contested::default();
        EntityPreview { name: entity.name, counters: entity.counters, seconds: entity.seconds, samples, contested }
    });
    Ok(entities.collect())
}
