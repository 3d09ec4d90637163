//! The ends of ranges, and commits.

use super::super::batch::Batch;
use super::super::context::Purpose;
use super::super::keymap::{Given, Run};
use super::super::strategy::looking_at_all_rows;
use super::{Failure, QUARANTINED, Walk};
use crate::diff::{BlockMerge, Entry, LedgerEdit};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Event;
use crate::sink::Outcome;
use crate::state::{Checkpoint, GoneRow, KeyMapChanges, StateChanges, to_hex};
use crate::value::Key;

/// Ranges of the ledger that one commit covers at most. A commit waits for the disk whatever it holds; until then the rows that were
/// written are locked.
const RANGES_PER_COMMIT: usize = 8;
/// Rows of a batch at most that more ranges may join, and rows that are gone.
const FEW_ROWS: usize = 8_192;

impl Walk {
    /// Ends a range: what the source no longer holds is listed, then what differs is written.
    pub(super) async fn end_range(&mut self, end: Option<Key>) -> Result<(), Failure> {
        let Some(merge) = &self.merge else {
            return Err(Error::new(ErrorKind::Internal, "a range ends that never began").into());
        };
        let listed = self.context.lists_gone();
        for entry in merge.gone() {
            let own = entry.outcome == Outcome::Inserted;
            // A row whose content is not known belongs to the target: it was there before this job.
            if own || (listed && entry.checksum != Entry::UNKNOWN) {
                self.batch.gone.push(GoneRow { key: entry.key.as_bytes().to_vec(), own });
            }
        }
        self.write_waiting().await?;
        let tail = self.live.in_tail;
        let Some(merge) = self.merge.take() else { return Ok(()) };
        let merged = merge.finish();
        if merged.after.is_some() {
            self.live.after = merged.after;
        }
        self.live.small = merged.small;
        if let Some(end) = end {
            self.live.key = Some(end);
        }
        let LedgerEdit { removed, blocks } = self.kept_edit(merged.edit);
        if tail {
            // What was refused once and is not at the source any more.
            let lost = self.quarantined.iter().filter(|key| !self.met.contains(*key)).map(|key| key.as_bytes().to_vec());
            self.batch.released.extend(lost);
        }
        let nothing = self.batch.is_empty() && removed.is_empty() && blocks.is_empty() && !self.reset;
        if nothing && !tail {
            self.cursor = self.live.clone();
            self.report();
            self.context.check_cancelled()?;
            return Ok(());
        }
        let edit = LedgerEdit { removed, blocks };
        self.batch.ranges += 1;
        if !tail && self.may_wait() {
            // The pages of the range have been written.
            self.batch.bytes = 0;
            self.put_edit(edit).await?;
        } else {
            self.commit(edit, tail).await?;
        }
        Ok(())
    }

    /// Whether the next range may join the batch: little was written, and nothing has gone wrong.
    pub(super) fn may_wait(&self) -> bool {
        let few = FEW_ROWS.min(self.context.limits.batch_rows);
        self.batch.ranges < RANGES_PER_COMMIT
            && self.batch.rows < few
            && self.batch.gone.len() < few
            && self.careful == usize::MAX
            && self.context.check_cancelled().is_ok()
    }

    /// Hands the ledger of what was read so far of the tail over to the transaction: its entries weigh more in memory than there.
    pub(super) async fn put_ledger(&mut self) -> Result<()> {
        let Some(edit) = self.merge.as_mut().and_then(BlockMerge::flush) else { return Ok(()) };
        self.live.after = self.merge.as_ref().and_then(BlockMerge::floor).or(self.live.after);
        self.put_edit(edit).await
    }

    /// Returns what is written of a ledger's edit: nothing where refused rows are sent again while there is no ledger that holds.
    fn kept_edit(&self, edit: LedgerEdit) -> LedgerEdit {
        if self.plan.replay.is_some() && !self.plan.follow_ledger { LedgerEdit::default() } else { edit }
    }

    async fn put_edit(&mut self, edit: LedgerEdit) -> Result<()> {
        let edit = self.kept_edit(edit);
        if edit.removed.is_empty() && edit.blocks.is_empty() {
            return Ok(());
        }
        let changes = StateChanges {
            scope: Some(self.plan.scope.clone()),
            // What comes before the first of the new blocks is emptied before it.
            reset_ledger: self.reset && !self.batch.put,
            removed_blocks: edit.removed,
            blocks: edit.blocks,
            ..StateChanges::default()
        };
        self.batch.put = true;
        self.batch.transaction(&self.context).await?.put_state(changes).await
    }

    /// Hands refused rows over to the transaction: they are kept whole, and nothing bounds how large they are.
    pub(super) async fn put_quarantine(&mut self) -> Result<()> {
        let changes = StateChanges {
            scope: Some(self.plan.scope.clone()),
            reset_ledger: self.reset && !self.batch.put,
            quarantine: std::mem::take(&mut self.batch.quarantine),
            ..StateChanges::default()
        };
        (self.batch.put, self.batch.refused_bytes) = (true, 0);
        self.batch.transaction(&self.context).await?.put_state(changes).await
    }

    /// Commits what was read so far of a range, which goes on behind it. `last` says that the walk ends here.
    pub(super) async fn commit_part(&mut self, last: bool) -> Result<()> {
        self.write_waiting().await?;
        let Some(merge) = &mut self.merge else {
            return Err(Error::new(ErrorKind::Internal, "a range is committed that never began"));
        };
        let edit = match merge.flush() {
            Some(edit) => edit,
            // No room for blocks: the range becomes one commit, or what follows the limit is adopted by the next run.
            None if !last => return Ok(()),
            None => LedgerEdit::default(),
        };
        self.live.after = merge.floor().or(self.live.after);
        self.commit(edit, false).await?;
        if !last {
            self.careful = self.careful.saturating_mul(2);
        }
        Ok(())
    }

    /// Commits rows, ledger, quarantine and checkpoint. `done` says that the walk has reached its end.
    pub(super) async fn commit(&mut self, edit: LedgerEdit, done: bool) -> Result<()> {
        self.batch.read_back(&mut self.mirror).await?;
        let edit = self.kept_edit(edit);
        self.keep_names().await?;
        self.sequence += 1;
        let checkpoint = self.next_checkpoint(done).await?;
        let transaction = self.batch.take(&self.context).await?;
        let changes = StateChanges {
            scope: Some(self.plan.scope.clone()),
            reset_ledger: self.reset && !self.batch.put,
            removed_blocks: edit.removed,
            blocks: edit.blocks,
            quarantine: std::mem::take(&mut self.batch.quarantine),
            released: std::mem::take(&mut self.batch.released),
            gone: std::mem::take(&mut self.batch.gone),
            key_map: std::mem::take(&mut self.batch.key_map),
            checkpoint,
            follows: self.acknowledged,
            ..StateChanges::default()
        };
        let given = self.given(&changes.key_map);
        self.context.given.forget(&self.plan.entity.name, &changes.key_map);
        self.in_doubt = true;
        transaction.commit(&changes).await?;
        self.context.given.note(&self.plan.entity.name, given);
        self.committed();
        self.refusals.check(&self.context, self.plan.scope.partition, self.cursor.counters.quarantined, self.cursor.rows)?;
        if !done {
            self.context.check_cancelled()?;
        }
        Ok(())
    }

    /// Returns what others may remember of new entries: those of rows that are loaded are nobody else's, and stay as they are.
    fn given(&self, changes: &KeyMapChanges) -> Vec<Run> {
        let loads = self.context.purpose == Purpose::Run && self.live.in_tail && self.loadable;
        let keyed = self.plan.entity.generated.as_ref().is_some_and(|own| own.keyed);
        if loads && keyed { Given::pack(&changes.entries) } else { Vec::new() }
    }

    /// Returns the checkpoint that a commit writes.
    async fn next_checkpoint(&mut self, done: bool) -> Result<Option<Checkpoint>> {
        if self.plan.replay.is_none() {
            return Ok(Some(self.checkpoint(done)));
        }
        // What is known of all other rows is what it was. But what was sent again and is left open, or to the target, is no longer looked
        // at for being refused, and does not change at the source.
        if self.leaves_nothing_open() && self.live.counters.skipped == 0 {
            return Ok(None);
        }
        looking_at_all_rows(&self.context, &self.plan.scope).await
    }

    fn checkpoint(&self, done: bool) -> Checkpoint {
        let (entity, done) = (&self.plan.entity, done && self.limit.is_none());
        Checkpoint {
            execution: self.context.execution.clone(),
            attempt: self.context.attempt,
            sequence: self.sequence,
            range: self.plan.range.clone(),
            may_be_empty: self.may_be_empty && self.live.counters.inserted + self.live.counters.updated == 0,
            reached: self.live.key.as_ref().map(|k| to_hex(k.as_bytes())),
            position: crate::source::Position(self.position.clone()),
            done,
            loadable: self.loadable && self.limit.is_none(),
            counters: self.live.counters,
            fingerprint: self.fingerprint.clone(),
            distrusted: self.distrusted && !done,
            synced: self.synced.at(done && self.limit.is_none(), self.leaves_nothing_open()),
            trigger_columns: self.trigger_columns.clone(),
            digest: None,
            source_columns: if done { Some(entity.source_columns.clone()) } else { self.remembered.clone() },
            written_columns: entity.columns.iter().map(|c| c.target.clone()).collect(),
            feeds: Some(entity.feeds()),
        }
    }

    /// Whether the ledger says of every row what the source holds, so that rows which do not change need not be looked at again.
    pub(super) fn leaves_nothing_open(&self) -> bool {
        let counters = &self.live.counters;
        // Refused rows are looked at again as long as all of them are known.
        let refused = counters.quarantined as usize >= QUARANTINED;
        counters.pending == 0 && counters.conflicts == 0 && !refused
    }

    /// Takes note that the last commit has happened.
    pub(super) fn committed(&mut self) {
        self.reset = false;
        self.in_doubt = false;
        self.acknowledged = Some(self.sequence).filter(|_| self.plan.replay.is_none());
        self.cursor = self.live.clone();
        self.batch = Batch::default();
        if let Some(translator) = &mut self.translator {
            translator.forget_own();
        }
        self.backoff.reset();
        self.report();
    }

    pub(super) fn report(&self) {
        self.context.emit(&Event::PageCommitted {
            entity: self.plan.entity.name.clone(),
            partition: self.plan.scope.partition,
            counters: self.cursor.counters,
        });
    }
}
