//! The walk of one part of an entity: reads, compares with the ledger, writes, commits.
//!
//! ```text
//! for each range of ledger blocks:  read the source's rows of the range, merge, write what differs
//! behind the last block:            read on, write everything
//! ```
//!
//! A first copy is all tail; a second run is all ranges; a resumed execution is ranges up to where it was killed, and then tail. What
//! fails is undone to the last commit and tried again from there: see [`Walk::recover`].

use super::batch::{Batch, KeyList, Waiting};
use super::context::Context;
use super::reader::{ReadError, ReadPlan, Reader, Segment};
use super::retry::Backoff;
use super::shape::{RowRefusal, Shaped, Shaper, whole_row};
use super::triggers::altered;
use super::update::{Base, column_sums, reconcile};
use crate::diff::{BlockMerge, ColumnSums, Entry, LedgerEdit, Match};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::job::{Event, Level, Mode};
use crate::sink::{Outcome, WriteMode};
use crate::source::Snapshot;
use crate::state::{Checkpoint, Counters, GoneRow, QuarantinedRow, Scope, StateChanges, TargetState, to_hex};
use crate::value::canonical::Checksum;
use crate::value::{Key, Page};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Refused rows that a walk looks out for.
const QUARANTINED: usize = 100_000;
/// Rows whose ledger entries are kept in memory before they are handed to the transaction.
const KEPT_ROWS: usize = 32_768;
/// Bytes of pages that wait for the end of their range at most.
const WAITING_BYTES: usize = 8 << 20;

/// How far a walk has got: everything up to here is committed, or needed no writing.
#[derive(Debug, Clone, Default)]
pub(super) struct Cursor {
    /// The last ledger block that was passed.
    pub(super) after: Option<i64>,
    /// The last key that was passed.
    pub(super) key: Option<Key>,
    /// Whether the ledger lies behind.
    pub(super) in_tail: bool,
    /// The last block, where it is so small that the tail joins it.
    small: Option<(i64, Vec<Entry>)>,
    counters: Counters,
    /// Rows of the source that were passed.
    rows: u64,
}

/// The walk of one part of an entity.
pub(super) struct Walk {
    context: Context,
    plan: ReadPlan,
    position: String,
    fingerprint: String,
    /// Whether a tail row's key is certainly not in the target.
    loadable: bool,
    /// Whether the next commit empties the ledger first.
    reset: bool,
    /// Where a walk from the start begins.
    begins: Cursor,
    /// Columns that the target's triggers were seen to alter.
    trigger_columns: BTreeSet<String>,
    /// Rows in quarantine when the walk began, and those of them that it has come by.
    quarantined: HashSet<Key>,
    met: HashSet<Key>,
    /// Told when rows stay refused for a constraint.
    leftover: Arc<AtomicBool>,
    sequence: u64,
    /// Whether a commit was sent whose answer did not come.
    in_doubt: bool,
    shaper: Shaper,
    cursor: Cursor,
    /// What the next commit makes of the cursor.
    live: Cursor,
    merge: Option<BlockMerge>,
    batch: Batch,
    /// Rows that the target refused, and why.
    refused: HashMap<Key, RowRefusal>,
    /// Whether a refusal may pass once other rows have been written.
    refused_by_constraint: bool,
    /// Rows per commit at most; small after a failure whose row is not known.
    careful: usize,
    backoff: Backoff,
    limit: Option<u64>,
}

/// What a walk starts from.
pub(super) struct Start {
    pub(super) loadable: bool,
    pub(super) reset: bool,
    pub(super) sequence: u64,
    pub(super) fingerprint: String,
    /// Columns that the target's triggers were seen to alter before.
    pub(super) trigger_columns: BTreeSet<String>,
    /// Rows that this execution has deleted already.
    pub(super) deleted: u64,
    /// Takes note of rows that stay refused for a constraint.
    pub(super) refused: Arc<AtomicBool>,
}

enum Failure {
    /// The source failed: the snapshot may be lost.
    Source(Error),
    /// The target failed, or the run itself.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Source(error) => Failure::Source(error),
            ReadError::Target(error) => Failure::Other(error),
        }
    }
}

impl Walk {
    pub(super) fn new(context: Context, plan: ReadPlan, position: String, start: Start) -> Self {
        let limit = context.limits.rows;
        Walk {
            shaper: Shaper::new(plan.entity.clone()),
            loadable: start.loadable,
            reset: start.reset,
            begins: Cursor { counters: Counters { deleted: start.deleted, ..Counters::default() }, ..Cursor::default() },
            trigger_columns: start.trigger_columns,
            quarantined: HashSet::new(),
            met: HashSet::new(),
            leftover: start.refused,
            sequence: start.sequence,
            in_doubt: false,
            fingerprint: start.fingerprint,
            position,
            cursor: Cursor::default(),
            live: Cursor::default(),
            merge: None,
            batch: Batch::default(),
            refused: HashMap::new(),
            refused_by_constraint: false,
            careful: usize::MAX,
            backoff: Backoff::default(),
            limit,
            context,
            plan,
        }
    }

    /// Walks to the end and returns what became of the rows, with the snapshot.
    ///
    /// # Errors
    /// Those of the source as they are; those of the target that trying again does not cure.
    pub(super) async fn run(&mut self, mut snapshot: Box<dyn Snapshot>) -> Result<(Counters, Box<dyn Snapshot>)> {
        let mut before = usize::MAX;
        self.quarantined = read_quarantine(self.context.state.clone(), self.plan.scope.clone()).await?;
        self.restart();
        loop {
            snapshot = self.run_once(snapshot).await?;
            // A row may have been refused for want of one that came later, or for a value that another row has given up since. It
            // is tried again for as long as that helps any.
            let count = self.refused.len();
            if !self.refused_by_constraint || count == 0 || count >= before {
                self.leftover.store(self.refused_by_constraint && count > 0, Ordering::Relaxed);
                return Ok((self.cursor.counters, snapshot));
            }
            before = count;
            self.context.log(
                Level::Info,
                &self.plan.entity.name,
                format!("{count} rows that broke a constraint are tried once more"),
            );
            self.refused.clear();
            self.refused_by_constraint = false;
            self.plan.follow_ledger = true;
            self.loadable = false;
            self.restart();
        }
    }

    async fn run_once(&mut self, mut snapshot: Box<dyn Snapshot>) -> Result<Box<dyn Snapshot>> {
        loop {
            let state = self.context.state.clone();
            let mut reader = Reader::start(snapshot, self.plan.clone(), state, &self.cursor);
            let cancel = self.context.cancel.clone();
            let result = tokio::select! {
                result = Box::pin(self.pass(&mut reader)) => result,
                () = cancel.aborting() => Err(Failure::Other(Error::new(ErrorKind::Cancelled, "the run was aborted"))),
            };
            match result {
                Ok(()) => return reader.stop().await,
                Err(Failure::Source(error)) => {
                    self.batch.discard().await;
                    return Err(error);
                }
                Err(Failure::Other(error)) => {
                    snapshot = reader.stop().await?;
                    self.recover(error).await?;
                }
            }
        }
    }

    /// Reads and writes until the end or a failure.
    async fn pass(&mut self, reader: &mut Reader) -> Result<(), Failure> {
        let mut end: Option<Key> = None;
        while let Some(segment) = reader.next().await? {
            match segment {
                Segment::Range { blocks, after, end: last } => {
                    self.merge = Some(BlockMerge::new(blocks, after, &self.position, &self.context.execution));
                    end = Some(last);
                }
                Segment::Tail => {
                    let small = self.live.small.take();
                    self.merge = Some(BlockMerge::tail(self.live.after, small, &self.position, &self.context.execution));
                    self.live.in_tail = true;
                    end = None;
                }
                Segment::Page(page) => {
                    self.live.counters.bytes += page.data().len() as u64;
                    let shaped = self.shaper.shape(page)?;
                    if !self.take_page(&shaped).await? {
                        // The limit is reached: what was not read is not gone.
                        self.commit_part(true).await?;
                        return Ok(());
                    }
                }
                Segment::End => self.end_range(end.take()).await?,
            }
        }
        Ok(())
    }

    /// Takes the rows of a page one by one; false when the limit is reached.
    async fn take_page(&mut self, shaped: &Shaped) -> Result<bool> {
        let mut writes = Writes::default();
        for (at, row) in shaped.rows.iter().enumerate() {
            if self.limit.is_some_and(|limit| self.live.rows >= limit) {
                if let Some(last) = at.checked_sub(1).and_then(|before| shaped.rows.get(before)) {
                    self.live.key = Some(last.key.clone());
                }
                self.write(shaped, writes).await?;
                return Ok(false);
            }
            self.live.rows += 1;
            let refusal = match (&row.place, if self.refused.is_empty() { None } else { self.refused.get(&row.key) }) {
                (Err(refusal), _) | (Ok(_), Some(refusal)) => Err(refusal.clone()),
                (Ok(place), None) => Ok(*place),
            };
            if !self.quarantined.is_empty() && self.quarantined.contains(&row.key) {
                self.met.insert(row.key.clone());
                if refusal.is_ok() {
                    self.batch.released.push(row.key.as_bytes().to_vec());
                }
            }
            match refusal {
                Ok(place) => {
                    let columns = self.column_sums(shaped, place)?;
                    self.decide(place, row.key.clone(), row.checksum, columns, &mut writes)?;
                }
                Err(refusal) => self.quarantine(shaped, at, &row.key, refusal),
            }
            if self.batch.rows >= self.careful.min(self.context.limits.batch_rows) {
                self.live.key = Some(row.key.clone());
                self.write(shaped, std::mem::take(&mut writes)).await?;
                self.commit_part(false).await?;
            }
        }
        if let Some(last) = shaped.rows.last() {
            self.live.key = Some(last.key.clone());
        }
        if !writes.rows.is_empty() {
            self.batch.bytes += shaped.page.data().len();
        }
        self.write(shaped, writes).await?;
        // In a range the pages wait in memory for its end; in the tail they are with the target already.
        let most = self.context.limits.batch_bytes;
        if self.batch.bytes >= if self.live.in_tail { most } else { most.min(WAITING_BYTES) } {
            self.commit_part(false).await?;
        } else if self.live.in_tail && self.merge.as_ref().is_some_and(|merge| merge.kept() >= KEPT_ROWS) {
            self.put_ledger().await?;
        }
        Ok(true)
    }

    /// In mode `update` the ledger keeps a checksum of each column.
    fn column_sums(&self, shaped: &Shaped, place: u32) -> Result<ColumnSums> {
        match self.context.job.mode {
            Mode::Update => Ok(Some(column_sums(&shaped.page.row(place as usize).values()?))),
            Mode::Init | Mode::Replace | Mode::Append => Ok(None),
        }
    }

    /// Decides what is to be done with a row that fits.
    fn decide(&mut self, place: u32, key: Key, checksum: Checksum, columns: ColumnSums, writes: &mut Writes) -> Result<()> {
        let Some(merge) = &mut self.merge else { return Err(Error::new(ErrorKind::Internal, "a page belongs to no range")) };
        let append = self.context.job.mode == Mode::Append;
        let update = self.context.job.mode == Mode::Update;
        let base = match update {
            true => merge.recorded(&key).map(|checksum| Base { checksum, columns: merge.recorded_columns(&key) }),
            false => None,
        };
        let known = base.as_ref().is_some_and(|base| base.columns.is_some());
        let counters = &mut self.live.counters;
        match merge.look_up(&key, &checksum) {
            Match::Equal(Outcome::Inserted) => {
                counters.inserted += 1;
                merge.keep(key, checksum, Outcome::Inserted, true);
            }
            Match::Equal(outcome) if append => {
                counters.skipped += 1;
                merge.keep(key, checksum, outcome, true);
            }
            Match::Equal(outcome) => {
                match outcome {
                    Outcome::Updated => counters.updated += 1,
                    Outcome::Inserted | Outcome::Unchanged | Outcome::Skipped => counters.unchanged += 1,
                }
                merge.keep(key, checksum, outcome, true);
            }
            Match::Changed(before) if append && before != Outcome::Inserted => {
                counters.skipped += 1;
                let recorded = merge.recorded(&key).unwrap_or(checksum);
                merge.keep(key, recorded, before, true);
            }
            Match::Changed(before) => {
                self.batch.rows += 1;
                writes.push(place, key.clone(), merge.kept(), before, base);
                merge.keep(key, checksum, before, false);
            }
            Match::New => {
                self.batch.rows += 1;
                writes.push(place, key.clone(), merge.kept(), Outcome::Unchanged, None);
                merge.keep(key, checksum, Outcome::Inserted, false);
            }
        }
        if update {
            merge.keep_columns(columns, known);
        }
        Ok(())
    }

    fn quarantine(&mut self, shaped: &Shaped, at: usize, key: &Key, refusal: RowRefusal) {
        self.live.counters.quarantined += 1;
        self.batch.rows += 1;
        // What the target holds of an earlier version stays there, and so does its entry.
        if let Some(merge) = &mut self.merge
            && let Some(recorded) = merge.recorded(key)
        {
            let columns = merge.recorded_columns(key);
            let outcome = match merge.look_up(key, &recorded) {
                Match::Equal(outcome) | Match::Changed(outcome) => outcome,
                Match::New => Outcome::Unchanged,
            };
            merge.keep(key.clone(), recorded, outcome, true);
            merge.keep_columns(columns, true);
        }
        self.batch.quarantine.push(QuarantinedRow {
            execution: self.context.execution.clone(),
            scope: self.plan.scope.clone(),
            key: key.as_bytes().to_vec(),
            column: refusal.column,
            reason: refusal.reason,
            row: whole_row(&shaped.source, at),
            columns: shaped.source.columns().iter().map(|c| c.name.clone()).collect(),
        });
    }

    /// Writes the rows of a page that are to be written: now in the tail, at the end of the range elsewhere.
    async fn write(&mut self, shaped: &Shaped, writes: Writes) -> Result<()> {
        if writes.rows.is_empty() {
            return Ok(());
        }
        let Writes { rows, keys, kept, before, bases } = writes;
        let waiting = Waiting { page: shaped.page.clone(), rows, keys, kept, before, bases };
        if self.live.in_tail {
            self.write_rows(waiting).await
        } else {
            self.batch.waiting.push(waiting);
            Ok(())
        }
    }

    async fn write_rows(&mut self, waiting: Waiting) -> Result<()> {
        if waiting.bases.iter().all(Option::is_none) {
            return self.write_whole(waiting).await;
        }
        let Waiting { page, rows, keys, kept, before, bases } = waiting;
        let (mut fresh, mut synced) = (Writes::default(), Vec::new());
        for ((((row, key), kept), before), base) in rows.into_iter().zip(keys).zip(kept).zip(before).zip(bases) {
            match base {
                Some(base) => synced.push(Synced { row, key, kept, before, base }),
                None => fresh.push(row, key, kept, before, None),
            }
        }
        let Writes { rows, keys, kept, before, bases } = fresh;
        if !rows.is_empty() {
            self.write_whole(Waiting { page: page.clone(), rows, keys, kept, before, bases }).await?;
        }
        self.write_synced(&page, synced).await
    }

    /// Writes, of rows that were synced before, the columns that have changed at the source since.
    async fn write_synced(&mut self, page: &Page, synced: Vec<Synced>) -> Result<()> {
        let (entity, policy) = (self.plan.entity.clone(), self.context.job.on_conflict);
        let rows: Vec<(u32, Base)> = synced.iter().map(|s| (s.row, s.base.clone())).collect();
        let transaction = self.batch.transaction(&self.context).await?;
        let reconciled = reconcile(&entity, policy, transaction.as_mut(), page, &rows).await?;
        let places: Vec<u32> = reconciled.rows.iter().filter_map(|r| r.place).collect();
        let keys = synced.iter().zip(&reconciled.rows).filter(|(_, r)| r.place.is_some()).map(|(s, _)| s.key.clone());
        let keys: Vec<Key> = keys.collect();
        let outcomes = match places.is_empty() {
            true => None,
            false => self.batch.write(&self.context, &entity, &reconciled.page, &places, keys, WriteMode::Upsert).await?,
        };
        let mut outcomes = outcomes.unwrap_or_default().into_iter();
        let Some(merge) = &mut self.merge else { return Err(Error::new(ErrorKind::Internal, "a page belongs to no range")) };
        for (synced, row) in synced.into_iter().zip(reconciled.rows) {
            let written = row.place.and_then(|_| outcomes.next());
            let outcome = match (synced.before, written) {
                (Outcome::Inserted, _) => Outcome::Inserted,
                // What was left to the target is no unchanged row.
                (_, Some(Outcome::Unchanged) | None) if !row.left.is_empty() => Outcome::Skipped,
                (_, Some(outcome)) => outcome,
                (_, None) => Outcome::Unchanged,
            };
            self.live.counters.count(outcome);
            merge.settle(synced.kept, outcome);
            if !row.left.is_empty() {
                let kept = if row.open.is_some() { "the conflict stays open" } else { "the target's value stays" };
                let message =
                    format!("both sides have changed ({}) in the row with the key ({}): {kept}", row.left.join(", "), row.key);
                self.context.log(Level::Warn, &entity.name, message);
            }
            if let Some(open) = row.open {
                self.live.counters.conflicts += 1;
                merge.restore(synced.kept, open.checksum, open.columns);
            }
        }
        Ok(())
    }

    async fn write_whole(&mut self, waiting: Waiting) -> Result<()> {
        let mode = match self.context.job.mode {
            _ if self.live.in_tail && self.loadable => WriteMode::Load,
            Mode::Append => WriteMode::InsertMissing,
            Mode::Init | Mode::Replace | Mode::Update => WriteMode::Upsert,
        };
        let Waiting { page, rows, keys, kept, before, .. } = waiting;
        let entity = self.plan.entity.clone();
        let outcomes = self.batch.write(&self.context, &entity, &page, &rows, keys, mode).await?;
        if !self.context.dry && mode != WriteMode::InsertMissing && entity.target.triggers.iter().any(|t| t.fires_on_write) {
            let found = altered(&entity, self.batch.transaction(&self.context).await?.as_mut(), &page, &rows).await?;
            self.own_by_triggers(found);
        }
        let counters = &mut self.live.counters;
        let Some(outcomes) = outcomes else {
            counters.inserted += rows.len() as u64;
            return Ok(());
        };
        let Some(merge) = &mut self.merge else { return Err(Error::new(ErrorKind::Internal, "a page belongs to no range")) };
        for ((outcome, kept), before) in outcomes.into_iter().zip(kept).zip(before) {
            // One final outcome per row and execution: a row that this execution inserted stays inserted.
            let outcome = if before == Outcome::Inserted { Outcome::Inserted } else { outcome };
            counters.count(outcome);
            // What a trigger has kept out is not sent to it again until it changes; a row that belongs to the target may be
            // overwritten by a later run in another mode.
            if outcome == Outcome::Skipped && mode == WriteMode::InsertMissing {
                merge.forget_checksum(kept);
            }
            merge.settle(kept, outcome);
        }
        Ok(())
    }

    /// Takes note of columns that belong to the target's triggers.
    fn own_by_triggers(&mut self, found: BTreeSet<String>) {
        for column in found {
            if self.trigger_columns.insert(column.clone()) {
                let message =
                    format!("the column {column} is owned by the target's triggers: what they make of it is no difference");
                self.context.log(Level::Info, &self.plan.entity.name, message);
            }
        }
    }

    async fn write_waiting(&mut self) -> Result<()> {
        for waiting in std::mem::take(&mut self.batch.waiting) {
            self.write_rows(waiting).await?;
        }
        Ok(())
    }

    /// Ends a range: what the source no longer holds is listed, then what differs is written.
    async fn end_range(&mut self, end: Option<Key>) -> Result<(), Failure> {
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
        let LedgerEdit { removed, blocks } = merged.edit;
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
        self.commit(LedgerEdit { removed, blocks }, tail).await?;
        Ok(())
    }

    /// Hands the ledger of what was read so far of the tail over to the transaction: its entries weigh more in memory than there.
    async fn put_ledger(&mut self) -> Result<()> {
        let Some(edit) = self.merge.as_mut().and_then(BlockMerge::flush) else { return Ok(()) };
        self.live.after = self.merge.as_ref().and_then(BlockMerge::floor).or(self.live.after);
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

    /// Commits what was read so far of a range, which goes on behind it. `last` says that the walk ends here.
    async fn commit_part(&mut self, last: bool) -> Result<()> {
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
    async fn commit(&mut self, edit: LedgerEdit, done: bool) -> Result<()> {
        let transaction = self.batch.take(&self.context).await?;
        self.sequence += 1;
        let changes = StateChanges {
            scope: Some(self.plan.scope.clone()),
            reset_ledger: self.reset && !self.batch.put,
            removed_blocks: edit.removed,
            blocks: edit.blocks,
            quarantine: std::mem::take(&mut self.batch.quarantine),
            released: std::mem::take(&mut self.batch.released),
            gone: std::mem::take(&mut self.batch.gone),
            checkpoint: Some(self.checkpoint(done)),
            ..StateChanges::default()
        };
        self.in_doubt = true;
        transaction.commit(&changes).await?;
        self.committed();
        self.context.check_quarantine(&self.cursor.counters, self.cursor.rows, done)?;
        if !done {
            self.context.check_cancelled()?;
        }
        Ok(())
    }

    fn checkpoint(&self, done: bool) -> Checkpoint {
        Checkpoint {
            execution: self.context.execution.clone(),
            attempt: self.context.attempt,
            sequence: self.sequence,
            range: self.plan.range.clone(),
            reached: self.live.key.as_ref().map(|k| to_hex(k.as_bytes())),
            position: crate::source::Position(self.position.clone()),
            done: done && self.limit.is_none(),
            loadable: self.loadable && self.limit.is_none(),
            counters: self.live.counters,
            fingerprint: self.fingerprint.clone(),
            trigger_columns: self.trigger_columns.clone(),
            digest: None,
        }
    }

    /// Takes note that the last commit has happened.
    fn committed(&mut self) {
        self.reset = false;
        self.in_doubt = false;
        self.cursor = self.live.clone();
        self.batch = Batch::default();
        self.backoff.reset();
        self.report();
    }

    fn report(&self) {
        self.context.emit(&Event::PageCommitted {
            entity: self.plan.entity.name.clone(),
            partition: self.plan.scope.partition,
            counters: self.cursor.counters,
        });
    }

    /// Goes back to the last commit, and finds out what to do differently.
    ///
    /// # Errors
    /// The error itself, where trying again would not help.
    async fn recover(&mut self, error: Error) -> Result<()> {
        let written = std::mem::take(&mut self.batch.written);
        let rows = self.batch.rows;
        self.batch.discard().await;
        match error.kind() {
            ErrorKind::RowRejected | ErrorKind::Constraint => self.isolate(error, &written, rows)?,
            kind => match kind.retry() {
                Retry::Never => return Err(error),
                Retry::Transaction => self.wait(&error).await?,
                Retry::Reconnect | Retry::Settle => {
                    self.wait(&error).await?;
                    if self.in_doubt && self.settle().await? {
                        self.committed();
                    }
                }
            },
        }
        self.in_doubt = false;
        self.rewind();
        Ok(())
    }

    /// Finds the row that the target refuses: named by the error, else by ever smaller batches.
    fn isolate(&mut self, error: Error, written: &KeyList, rows: usize) -> Result<()> {
        let entity = &self.plan.entity;
        if self.live.in_tail && self.loadable && !entity.create {
            // Somebody else may have written the same keys: from here on what is there is looked at.
            self.loadable = false;
            self.context.log(
                Level::Warn,
                &entity.name,
                format!("the bulk load met a row that is refused; going on row by row: {error}"),
            );
            return Ok(());
        }
        let named = error.row().and_then(|row| usize::try_from(row).ok()).and_then(|row| written.get(row));
        let culprit = match (named, written.len()) {
            (Some(key), _) => Some(key),
            (None, 1) => written.get(0),
            (None, _) => None,
        };
        let Some(key) = culprit else {
            if rows <= 1 {
                return Err(error);
            }
            self.careful = (rows / 2).max(1);
            return Ok(());
        };
        if self.refused.contains_key(&key) {
            return Err(error);
        }
        let context = |name| error.context().iter().find(|(n, _)| *n == name).map(|(_, object)| object.clone());
        let constraint = context("constraint");
        self.refused_by_constraint |= constraint.is_some() && !entity.create;
        let reason = match &constraint {
            Some(constraint) => format!("{} (constraint {constraint})", error.message()),
            None => error.message().to_owned(),
        };
        self.refused.insert(key, RowRefusal { column: context("column"), reason });
        // Others are likely to follow: a small batch is cheap to read again.
        self.careful = self.careful.min(rows.max(64)).min(4096);
        Ok(())
    }

    /// Waits before trying again.
    ///
    /// # Errors
    /// The error itself, when it was tried often enough.
    async fn wait(&mut self, error: &Error) -> Result<()> {
        self.backoff.wait(&self.context, Some(&self.plan.entity.name), error).await
    }

    /// Asks the target whether the commit that was under way has happened.
    async fn settle(&mut self) -> Result<bool> {
        loop {
            let found = async {
                self.context.state.settle(&self.context.fence).await?;
                self.context.state.checkpoints(&self.plan.scope.job, &self.plan.scope.entity).await
            };
            match found.await {
                Ok(checkpoints) => {
                    let own = checkpoints.into_iter().find(|(part, _)| *part == self.plan.scope.partition).map(|(_, c)| c);
                    return Ok(own.is_some_and(|c| {
                        c.execution == self.context.execution && c.attempt == self.context.attempt && c.sequence == self.sequence
                    }));
                }
                Err(error) if error.kind().retry() != Retry::Never => {
                    self.backoff.wait(&self.context, Some(&self.plan.entity.name), &error).await?
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn restart(&mut self) {
        self.cursor = self.begins.clone();
        self.rewind();
    }

    fn rewind(&mut self) {
        self.live = self.cursor.clone();
        self.merge = None;
    }
}

/// Returns the rows that earlier runs have refused.
async fn read_quarantine(state: Arc<dyn TargetState>, scope: Scope) -> Result<HashSet<Key>> {
    let rows = state.quarantine(&scope.job, Some(&scope.entity), QUARANTINED).await?;
    Ok(rows.iter().filter(|row| row.scope == scope).map(|row| Key::from_bytes(&row.key)).collect())
}

/// A row to be written that was synced before.
struct Synced {
    row: u32,
    key: Key,
    kept: usize,
    before: Outcome,
    base: Base,
}

/// Rows of the page at hand that are to be written.
#[derive(Default)]
struct Writes {
    rows: Vec<u32>,
    keys: Vec<Key>,
    kept: Vec<usize>,
    before: Vec<Outcome>,
    bases: Vec<Option<Base>>,
}

impl Writes {
    fn push(&mut self, place: u32, key: Key, kept: usize, before: Outcome, base: Option<Base>) {
        self.rows.push(place);
        self.keys.push(key);
        self.kept.push(kept);
        self.before.push(before);
        self.bases.push(base);
    }
}
