//! Writing rows, and taking note of what became of each.

use super::super::batch::{Waiting, put_together};
use super::super::context::Purpose;
use super::super::dry::Resolution;
use super::super::keymap::{RowIds, mask, masked};
use super::super::late::{Incomplete, Outgoing, WithoutParent};
use super::super::shape::Shaped;
use super::super::triggers::{SAMPLE, altered};
use super::super::update::{Base, held_sums, reconcile, row_checksum, shown};
use super::Walk;
use crate::diff::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Level, Mode, OnConflict, VerifyMode};
use crate::sink::{Outcome, WriteMode};
use crate::value::canonical::Checksum;
use crate::value::{Key, Page};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

impl Walk {
    /// Writes the rows of a page that are to be written: now in the tail, at the end of the range elsewhere.
    pub(super) async fn write(&mut self, shaped: &Shaped, writes: Writes) -> Result<()> {
        if let Some(ids) = &shaped.ids {
            self.learn_ids(&shaped.page, &writes.left, ids).await?;
        }
        if writes.rows.is_empty() {
            return Ok(());
        }
        let Writes { rows, keys, sums, kept, before, bases, .. } = writes;
        let waiting = Waiting { page: shaped.page.clone(), rows, keys, sums, kept, before, bases, ids: shaped.ids.clone() };
        if self.live.in_tail {
            self.batch.bytes += waiting.page.data().len();
            self.write_rows(waiting).await
        } else {
            let waiting = waiting.without_others();
            self.batch.bytes += waiting.page.data().len();
            self.batch.waiting.push(waiting);
            Ok(())
        }
    }

    pub(super) async fn write_rows(&mut self, waiting: Waiting) -> Result<()> {
        if waiting.bases.iter().all(Option::is_none) {
            return self.write_whole(waiting).await;
        }
        let Waiting { page, rows, keys, sums, kept, before, bases, ids } = waiting;
        let (mut fresh, mut synced) = (Writes::default(), Vec::new());
        let rows = rows.into_iter().zip(keys).zip(sums).zip(kept).zip(before).zip(bases);
        for (((((row, key), sum), kept), before), base) in rows {
            match base {
                Some(base) => synced.push(Synced { row, key, kept, before, base }),
                None => fresh.push(row, (key, sum), kept, before, None),
            }
        }
        let Writes { rows, keys, sums, kept, before, bases, .. } = fresh;
        if !rows.is_empty() {
            let ids = ids.clone();
            self.write_whole(Waiting { page: page.clone(), rows, keys, sums, kept, before, bases, ids }).await?;
        }
        self.write_synced(&page, synced, ids.as_deref()).await
    }

    /// Writes, of rows that were synced before, the columns that have changed at the source since.
    pub(super) async fn write_synced(&mut self, page: &Page, synced: Vec<Synced>, ids: Option<&RowIds>) -> Result<()> {
        let entity = self.plan.entity.clone();
        let policy = match self.context.job.mode {
            // The rows that are there belong to the target, but for what this job has left open.
            Mode::Append => OnConflict::Target,
            Mode::Init | Mode::Replace | Mode::Update => self.context.job.on_conflict,
        };
        let rows: Vec<(u32, Base)> = synced.iter().map(|s| (s.row, s.base.clone())).collect();
        let transaction = self.batch.transaction(&self.context).await?;
        let tells = self.context.foreseen.is_some();
        let reconciled = reconcile(&entity, policy, transaction.as_mut(), page, &rows, (tells, &self.trigger_columns)).await?;
        let written: Vec<&Synced> =
            synced.iter().zip(&reconciled.rows).filter(|(_, row)| row.place.is_some()).map(|(synced, _)| synced).collect();
        let keys: Vec<Key> = written.iter().map(|synced| synced.key.clone()).collect();
        let read: Vec<u32> = written.iter().map(|synced| synced.row).collect();
        let places: Vec<u32> = reconciled.rows.iter().filter_map(|row| row.place).collect();
        let outgoing = Outgoing { page: &reconciled.page, rows: &places, read: (page, &read), mode: WriteMode::Upsert };
        let incomplete = self.defer(&outgoing, &keys).await?;
        let whole = incomplete.as_ref().map_or(&reconciled.page, |incomplete| &incomplete.page);
        let (start, mut outcomes) = (self.batch.written.len(), None);
        if !places.is_empty() {
            outcomes = self.batch.write(&self.context, &entity, whole, &places, keys, WriteMode::Upsert).await?;
            if self.reads_back(WriteMode::Upsert).await? {
                let sums = places.iter().map(|place| Ok(row_checksum(&whole.row(*place as usize).values()?)));
                let sums: Vec<Checksum> = sums.collect::<Result<_>>()?;
                self.expect(start, whole, &places, &sums, outcomes.as_deref(), WriteMode::Upsert);
            }
        }
        if let Some(ids) = ids {
            let all: Vec<u32> = synced.iter().map(|synced| synced.row).collect();
            self.note_ids(page, &all, ids).await?;
        }
        let mut outcomes = outcomes.unwrap_or_default().into_iter().enumerate();
        let mut waiting = incomplete.into_iter().flat_map(|incomplete| incomplete.rows).peekable();
        let Some(merge) = &mut self.merge else { return Err(Error::new(ErrorKind::Internal, "a page belongs to no range")) };
        for (synced, row) in synced.into_iter().zip(reconciled.rows) {
            let (at, written) = row.place.and_then(|_| outcomes.next()).unzip();
            let outcome = match (synced.before, written) {
                (Outcome::Inserted, _) => Outcome::Inserted,
                // An earlier pass of this execution wrote what could be written.
                (Outcome::Updated, Some(Outcome::Unchanged) | None) => Outcome::Updated,
                // What was left to the target is no unchanged row.
                (_, Some(Outcome::Unchanged) | None) if !row.left.is_empty() => Outcome::Skipped,
                (before, Some(outcome)) => final_outcome(before, outcome),
                (_, None) => Outcome::Unchanged,
            };
            self.live.counters.count(outcome);
            merge.settle(synced.kept, outcome);
            if let (Some(foreseen), false) = (&self.context.foreseen, row.contested.is_empty()) {
                let resolution = match (row.left.is_empty(), row.open.is_some()) {
                    (true, _) => Resolution::Overwritten,
                    (false, true) => Resolution::Open,
                    (false, false) => Resolution::Kept,
                };
                foreseen.note(&entity.name, &row.target_key, resolution, row.lost, row.contested);
            }
            if !row.left.is_empty() {
                let kept = if row.open.is_some() { "the conflict stays open" } else { "the target's value stays" };
                let message =
                    format!("both sides have changed ({}) in the row with the key ({}): {kept}", row.left.join(", "), row.key);
                self.context.log(Level::Warn, &entity.name, message);
            }
            let waits = waiting.next_if(|waits| Some(waits.at) == at);
            let known = match (row.open, waits) {
                (Some(mut open), waits) => {
                    self.live.counters.conflicts += 1;
                    open.set_null(&waits.map(|waits| waits.open).unwrap_or_default());
                    Some(open)
                }
                (None, waits) => waits.map(|waits| waits.base),
            };
            if let Some(known) = known {
                let mask = mask(&entity, ids, synced.row);
                merge.restore(synced.kept, masked(known.checksum, &mask), known.columns);
            }
        }
        Ok(())
    }

    /// Looks for the parents of rows, and returns what is to be written instead of them where some are missing.
    async fn defer(&mut self, outgoing: &Outgoing<'_>, keys: &[Key]) -> Result<Option<Incomplete>> {
        let foresees = self.context.foreseen.is_some();
        if self.late.is_empty() || !(self.context.purpose == Purpose::Run || foresees) || outgoing.rows.is_empty() {
            return Ok(None);
        }
        // What was refused before is not let in by halves, unless it is now known to lack nothing but a parent.
        let whole = |at: usize| self.quarantined.contains(&keys[at]) && !self.parentless.contains(&keys[at]);
        let incomplete = self.late.defer(&self.context, &mut self.batch, outgoing, &whole, self.trusting).await?;
        let Some(found) = &incomplete else { return Ok(None) };
        let counted = |row: &&WithoutParent| self.batch.without_id.contains(&keys[row.at]);
        self.live.counters.pending += (found.rows.len() - found.rows.iter().filter(counted).count()) as u64;
        // What a plan knows to wait waits for good.
        self.incomplete.fetch_or(!foresees, Ordering::Relaxed);
        for row in found.rows.iter().take(self.named) {
            let message = format!(
                "the row with the key ({}) waits for a parent that is not there; until then it refers to none",
                shown(&keys[row.at])
            );
            self.context.log(Level::Warn, &self.plan.entity.name, message);
        }
        self.named = self.named.saturating_sub(found.rows.len());
        Ok(incomplete)
    }

    async fn write_whole(&mut self, waiting: Waiting) -> Result<()> {
        if self.live.in_tail && self.loadable {
            return self.write_as(waiting, WriteMode::Load).await;
        }
        match self.context.job.mode {
            Mode::Init | Mode::Replace | Mode::Update => self.write_as(waiting, WriteMode::Upsert).await,
            // What this very execution has inserted is its own to complete.
            Mode::Append if waiting.before.contains(&Outcome::Inserted) => {
                let (own, others) = waiting.split(|before| before == Outcome::Inserted);
                self.write_as(own, WriteMode::Upsert).await?;
                if others.rows.is_empty() { Ok(()) } else { self.write_as(others, WriteMode::InsertMissing).await }
            }
            Mode::Append => self.write_as(waiting, WriteMode::InsertMissing).await,
        }
    }

    async fn write_as(&mut self, waiting: Waiting, mode: WriteMode) -> Result<()> {
        let Waiting { page, rows, keys, mut sums, kept, before, ids, .. } = waiting;
        let (as_read, places) = (page.clone(), rows.clone());
        let entity = self.plan.entity.clone();
        let incomplete = self.defer(&Outgoing { page: &page, rows: &rows, read: (&page, &rows), mode }, &keys).await?;
        let (page, rows) = match incomplete {
            Some(incomplete) => {
                let Some(merge) = &mut self.merge else {
                    return Err(Error::new(ErrorKind::Internal, "a page belongs to no range"));
                };
                for row in incomplete.rows {
                    sums[row.at] = row.base.checksum;
                    let mask = mask(&entity, ids.as_deref(), places[row.at]);
                    merge.restore(kept[row.at], masked(row.base.checksum, &mask), row.base.columns);
                }
                let rows = (0..incomplete.page.row_count() as u32).collect();
                (incomplete.page, rows)
            }
            None => (page, rows),
        };
        let start = self.batch.written.len();
        let outcomes = self.batch.write(&self.context, &entity, &page, &rows, keys, mode).await?;
        if let Some(ids) = &ids {
            self.note_ids(&as_read, &places, ids).await?;
        }
        if self.reads_back(mode).await? {
            self.expect(start, &page, &rows, &sums, outcomes.as_deref(), mode);
        }
        if self.context.purpose == Purpose::Run
            && mode != WriteMode::InsertMissing
            && entity.target.triggers.iter().any(|t| t.fires_on_write)
        {
            let most = if self.proves(mode) { usize::MAX } else { SAMPLE };
            let arrived = rows.iter().enumerate().filter(|(at, _)| is_written(outcomes.as_deref(), *at));
            let written: Vec<u32> = arrived.map(|(_, row)| *row).collect();
            let found = altered(&entity, self.batch.transaction(&self.context).await?.as_mut(), &page, &written, most).await?;
            self.own_by_triggers(found);
        }
        let Some(outcomes) = outcomes else {
            self.live.counters.inserted += rows.len() as u64;
            return Ok(());
        };
        if self.context.purpose == Purpose::Adopt {
            return self.adopt(&page, &rows, &kept, &outcomes).await;
        }
        let Some(merge) = &mut self.merge else { return Err(Error::new(ErrorKind::Internal, "a page belongs to no range")) };
        for ((outcome, kept), before) in outcomes.into_iter().zip(kept).zip(before) {
            let outcome = final_outcome(before, outcome);
            self.live.counters.count(outcome);
            // What a trigger has kept out is not sent to it again until it changes; a row that belongs to the target may be
            // overwritten by a later run in another mode.
            if outcome == Outcome::Skipped && mode == WriteMode::InsertMissing {
                merge.forget_checksum(kept);
            }
            merge.settle(kept, outcome);
        }
        Ok(())
    }

    /// Remembers the rows that the target holds, none of which was written. Of one that differs nobody knows which side has changed it:
    /// it is remembered as the target has it, so that the difference is a change of the source's, and the next run writes it.
    async fn adopt(&mut self, page: &Page, rows: &[u32], kept: &[usize], outcomes: &[Outcome]) -> Result<()> {
        let differs = |outcome: &Outcome| *outcome == Outcome::Updated;
        let mut held = Vec::new();
        if self.context.job.mode == Mode::Update && outcomes.iter().any(differs) {
            let entity = self.plan.entity.clone();
            let different: Vec<u32> =
                rows.iter().zip(outcomes).filter(|(_, outcome)| differs(outcome)).map(|(row, _)| *row).collect();
            held = held_sums(&entity, self.batch.transaction(&self.context).await?.as_mut(), page, &different).await?;
        }
        let mut held = held.into_iter();
        let Some(merge) = &mut self.merge else { return Err(Error::new(ErrorKind::Internal, "a page belongs to no range")) };
        for (kept, outcome) in kept.iter().zip(outcomes) {
            self.live.counters.count(*outcome);
            // It is no execution that could be gone on with, and has done nothing to the row.
            merge.settle(*kept, Outcome::Unchanged);
            match outcome {
                Outcome::Inserted => merge.drop_kept(*kept),
                Outcome::Updated => merge.restore(*kept, Entry::DISTRUSTED, held.next().flatten()),
                Outcome::Unchanged | Outcome::Skipped => {}
            }
        }
        Ok(())
    }

    /// Whether the run is to prove, row by row, what is written so.
    fn proves(&self, mode: WriteMode) -> bool {
        let asked = match self.context.verify {
            VerifyMode::Counts => false,
            // Nothing is loaded once an entity was moved; the references of what was loaded belong to the first copy.
            VerifyMode::Changes | VerifyMode::Full => self.plan.follow_ledger && mode != WriteMode::Load && !self.first_copy,
            VerifyMode::Inline => true,
        };
        asked && self.context.purpose == Purpose::Run
    }

    /// Whether what is written so is read back before the commit. Where triggers fire, [`altered`] looks at what they make of it.
    async fn reads_back(&mut self, mode: WriteMode) -> Result<bool> {
        let entity = self.plan.entity.clone();
        // Where the target gives ids, or keeps the spelling of a key that it has, what was written is not all that stands there.
        let own_keys = entity.generated.is_none() && !entity.translates_key() && entity.key_has_one_spelling();
        if !own_keys || !self.proves(mode) || self.unreadable || entity.target.triggers.iter().any(|t| t.fires_on_write) {
            return Ok(false);
        }
        self.unreadable = !self.batch.transaction(&self.context).await?.can_read_back(&entity.target).await?;
        if self.unreadable {
            let message = "what is written cannot be read back: rules or row-level security have a say in the target's table";
            self.context.log(Level::Warn, &entity.name, message);
        }
        Ok(!self.unreadable)
    }

    /// Takes note of what should stand in the target of rows just written, the first of which is at the place `start` of the batch.
    fn expect(
        &mut self,
        start: usize,
        page: &Page,
        rows: &[u32],
        sums: &[Checksum],
        outcomes: Option<&[Outcome]>,
        mode: WriteMode,
    ) {
        self.batch.expected.pad(start);
        for (at, (row, sum)) in rows.iter().zip(sums).enumerate() {
            let written = is_written(outcomes, at).then_some(*sum);
            let bytes = page.row(*row as usize).data().len();
            self.batch.expected.push(written, bytes, mode == WriteMode::Load);
        }
    }

    /// Takes note of columns that belong to the target's triggers.
    pub(super) fn own_by_triggers(&mut self, found: BTreeSet<String>) {
        for column in found {
            if self.trigger_columns.insert(column.clone()) {
                let message =
                    format!("the column {column} is owned by the target's triggers: what they make of it is no difference");
                self.context.log(Level::Info, &self.plan.entity.name, message);
            }
        }
    }

    pub(super) async fn write_waiting(&mut self) -> Result<()> {
        for waiting in put_together(std::mem::take(&mut self.batch.waiting), self.context.limits.page_bytes) {
            self.write_rows(waiting).await?;
        }
        Ok(())
    }
}

/// One final outcome per row and execution: what this execution has inserted or updated stays so when it is written once more.
fn final_outcome(before: Outcome, outcome: Outcome) -> Outcome {
    match (before, outcome) {
        (Outcome::Inserted, _) => Outcome::Inserted,
        (Outcome::Updated, Outcome::Unchanged) => Outcome::Updated,
        (Outcome::Updated | Outcome::Unchanged | Outcome::Skipped, outcome) => outcome,
    }
}

/// A row to be written that was synced before.
pub(super) struct Synced {
    pub(super) row: u32,
    pub(super) key: Key,
    pub(super) kept: usize,
    pub(super) before: Outcome,
    pub(super) base: Base,
}

/// Rows of the page at hand that are to be written.
#[derive(Default)]
pub(super) struct Writes {
    pub(super) rows: Vec<u32>,
    pub(super) keys: Vec<Key>,
    pub(super) sums: Vec<Checksum>,
    pub(super) kept: Vec<usize>,
    pub(super) before: Vec<Outcome>,
    pub(super) bases: Vec<Option<Base>>,
    /// Rows that the target keeps as it has them, though they are others at the source.
    pub(super) left: Vec<u32>,
}

/// Whether the row at this place among those sent was written; of a bulk load all are.
fn is_written(outcomes: Option<&[Outcome]>, at: usize) -> bool {
    match outcomes.map(|outcomes| outcomes.get(at)) {
        None | Some(Some(Outcome::Inserted | Outcome::Updated)) => true,
        Some(Some(Outcome::Unchanged | Outcome::Skipped) | None) => false,
    }
}

impl Writes {
    /// Makes room for so many rows.
    pub(super) fn with_capacity(rows: usize) -> Self {
        Writes {
            rows: Vec::with_capacity(rows),
            keys: Vec::with_capacity(rows),
            sums: Vec::with_capacity(rows),
            kept: Vec::with_capacity(rows),
            before: Vec::with_capacity(rows),
            bases: Vec::with_capacity(rows),
            left: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, place: u32, (key, sum): (Key, Checksum), kept: usize, before: Outcome, base: Option<Base>) {
        self.rows.push(place);
        self.keys.push(key);
        self.sums.push(sum);
        self.kept.push(kept);
        self.before.push(before);
        self.bases.push(base);
    }
}
