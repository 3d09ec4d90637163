//! Repairs what a comparison has found, through the normal writer.

use super::report::{DifferenceKind, EntityVerification, VerifyReport};
use crate::error::Result;
use crate::job::{CancelToken, DeleteGuard, DeleteMode, Deletes, Mode, Owner};
use crate::pipeline::known::KnownKeys;
use crate::pipeline::{Pipeline, RunReport, park};
use crate::state::{Fence, FenceOwner, GoneRow, Scope, StateChanges};
use crate::value::Key;
use std::collections::{BTreeSet, HashSet};

/// Ledger blocks that are written together.
const BLOCKS_AT_ONCE: usize = 64;

/// Writes missing and different rows again, and deletes extra ones if the job deletes, or if `delete_extra` says so.
///
/// The ledger is made to forget what it knows of these rows, and the job is run: the repair is an execution like any other, recorded and
/// resumable.
///
/// # Errors
/// As [`Pipeline::run`].
pub async fn repair(pipeline: &Pipeline, report: &VerifyReport, delete_extra: bool, cancel: &CancelToken) -> Result<RunReport> {
    let delete = delete_extra || pipeline.job.deletes.mode == DeleteMode::Hard;
    // Rows of the job's own are marked as ever, and lose the mark where they are back; only strangers go.
    let marks = pipeline.job.deletes.mode == DeleteMode::Soft;
    let state = pipeline.sink.state();
    state.initialize().await?;
    let owner = Owner::this_process();
    let holder = FenceOwner { execution: "repair".to_owned(), host: owner.host, process: owner.process };
    let fence = state.acquire(&pipeline.job.name, &holder).await?;
    for entity in report.entities.iter().filter(|e| !e.is_equal()) {
        forget(pipeline, entity, delete, marks, &fence).await?;
    }
    state.release(&fence).await?;
    let mut job = (*pipeline.job).clone();
    // Whole rows, whoever has changed them: that is what repairing is about.
    job.mode = Mode::Replace;
    if delete && job.deletes.mode == DeleteMode::Ignore {
        job.deletes = Deletes { mode: DeleteMode::Hard, max: DeleteGuard::Rows(u64::MAX), ..job.deletes };
    }
    pipeline.repairing(job).run(cancel).await
}

async fn forget(pipeline: &Pipeline, entity: &EntityVerification, delete: bool, marks: bool, fence: &Fence) -> Result<()> {
    let state = pipeline.sink.state();
    let checkpoints = state.checkpoints(&pipeline.job.name, &entity.name).await?;
    let wrong = entity.broken.iter().filter(|row| row.kind != DifferenceKind::Extra);
    let wrong: HashSet<&Key> = wrong.map(|row| &row.key).collect();
    let mut extra: BTreeSet<&[u8]> = BTreeSet::new();
    if delete {
        extra.extend(entity.broken.iter().filter(|row| row.kind == DifferenceKind::Extra).map(|row| row.key.as_bytes()));
    }
    let parts = if extra.is_empty() { &[] } else { &checkpoints[..] };
    for (partition, _) in parts {
        let scope = Scope { job: pipeline.job.name.clone(), entity: entity.name.clone(), partition: *partition };
        let mut known = KnownKeys::of(state.as_ref(), &scope);
        // The run lists what it loses itself, but for rows that were there before the job.
        while let Some(keys) = if marks { known.next().await? } else { known.next_own().await? } {
            for key in &keys {
                extra.remove(key.as_bytes());
            }
        }
    }
    for (partition, mut checkpoint) in checkpoints {
        let scope = Scope { job: pipeline.job.name.clone(), entity: entity.name.clone(), partition };
        // Without keys there is one thing to forget: that the whole was loaded.
        if checkpoint.digest.take().is_some() {
            (checkpoint.done, checkpoint.sequence) = (false, checkpoint.sequence + 1);
            let changes = StateChanges { scope: Some(scope), checkpoint: Some(checkpoint), ..StateChanges::default() };
            pipeline.sink.begin(fence).await?.commit(&changes).await?;
            continue;
        }
        let blocks = park::forget(state.as_ref(), &scope, &wrong, |_| ()).await?;
        for blocks in blocks.chunks(BLOCKS_AT_ONCE) {
            let changes = StateChanges { scope: Some(scope.clone()), blocks: blocks.to_vec(), ..StateChanges::default() };
            pipeline.sink.begin(fence).await?.commit(&changes).await?;
        }
        if partition == 0 && !extra.is_empty() {
            let rows = std::mem::take(&mut extra).into_iter();
            // As if the repair had brought them itself: whatever the job says of its own rows, these go.
            let gone = rows.map(|key| GoneRow { key: key.to_vec(), own: marks }).collect();
            let changes = StateChanges { scope: Some(scope), gone, ..StateChanges::default() };
            pipeline.sink.begin(fence).await?.commit(&changes).await?;
        }
    }
    Ok(())
}
