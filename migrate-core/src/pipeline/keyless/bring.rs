//! Brings what has changed of rows without a key: one commit, or none.

use super::counts::{Counts, Difference};
use super::known::Sum;
use super::{Keyless, is_much, released};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{DeleteMode, Event, LeftFilter, Level, Mode};
use crate::pipeline::context::Purpose;
use crate::pipeline::shape::{Shaper, mirrored};
use crate::sink::SinkTransaction;
use crate::source::{PageRequest, Snapshot};
use crate::state::{Counters, QuarantinedRow, StateChanges};
use crate::value::Page;
use std::sync::Arc;

/// Bytes of a page of the target that is looked through.
const PAGE_BYTES: usize = 256 << 10;

impl Keyless {
    /// Deletes the copies that are gone and inserts those that are new; `None`, and nothing is done, where all rows have to be loaded anew.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] where the table holds rows of others, or more would go than the job allows.
    pub(super) async fn bring(
        &mut self,
        snapshot: &mut dyn Snapshot,
        counts: &mut Counts,
        sum: &Sum,
        mut counters: Counters,
    ) -> Result<Option<Counters>> {
        let Some(all) = self.settle_counts(snapshot, counts).await? else { return Ok(None) };
        let deletes = all.going + all.own_going > 0;
        if deletes && !self.can_delete() {
            return Ok(None);
        }
        (counters.inserted, counters.deleted) = (all.inserted, self.known.deleted(&self.context.execution));
        match self.context.job.mode {
            Mode::Append => counters.skipped = all.rest,
            Mode::Init | Mode::Replace | Mode::Update => counters.unchanged = all.rest,
        }
        if all.new == 0 && !deletes {
            self.remember(snapshot, counts, sum, &counters).await?;
            return Ok(Some(counters));
        }
        let adds_only = self.context.job.mode == Mode::Append && !deletes;
        if !adds_only && !self.holds_none_of_others().await? {
            return Err(self.beside_others());
        }
        self.guard(&all)?;
        self.context.check_quarantine(&counters, counters.settled(), true)?;
        if all.new > 0 && all.kept > 0 && self.context.purpose == Purpose::Run {
            let message = format!("{} rows that the source has lost or changed stay in the target, as the job says", all.kept);
            self.context.log(Level::Warn, &self.plan.entity.name, message);
        }
        let mut transaction = self.context.sink.begin(&self.context.fence).await?;
        if deletes {
            let deleted = self.delete(transaction.as_mut(), counts, &all).await?;
            counters.deleted += deleted.saturating_sub(all.own_going);
        }
        let mut first = true;
        let quarantine = self.add(snapshot, transaction.as_mut(), counts, (all.new, counters.quarantined), &mut first).await?;
        self.put_counts(transaction.as_mut(), counts, &mut first).await?;
        let mut changes = self.changes(&counters, Some(sum.digest(all.held)), quarantine, false);
        if self.context.limits.rows.is_some()
            && let Some(checkpoint) = &mut changes.checkpoint
        {
            checkpoint.source_columns.clone_from(&self.start.remembered);
        }
        transaction.commit(&changes).await?;
        self.context.emit(&Event::PageCommitted { entity: self.plan.entity.name.clone(), partition: 0, counters });
        Ok(Some(counters))
    }

    /// Makes the target remember what is not as it does, where its rows stay as they are: which rows are refused, the source's columns,
    /// and how many copies of each row there are, where it was told by an earlier version, or there were too many.
    ///
    /// # Errors
    /// [`ErrorKind::TooManyRefused`] if more rows are refused than the job allows.
    pub(super) async fn remember(
        &mut self,
        snapshot: &mut dyn Snapshot,
        counts: &mut Counts,
        sum: &Sum,
        counters: &Counters,
    ) -> Result<()> {
        let refused = counters.quarantined;
        self.context.check_quarantine(counters, counters.settled(), true)?;
        let Some(mut checkpoint) = self.known.checkpoint.clone() else { return Ok(()) };
        let (whole, scope) = (self.context.limits.rows.is_none(), self.plan.scope.clone());
        let now = self.source_columns(whole);
        let blocks = self.context.state.ledger_blocks(&scope, None, 1).await?;
        let counted = !counts.is_full() && blocks.is_empty() && self.known.rows == sum.rows && sum.rows > 0;
        // Of those that a limit leaves out nobody knows.
        let released = if whole { released(&self.context, &scope, refused).await? } else { Vec::new() };
        if checkpoint.source_columns == now && !counted && refused == 0 && released.is_empty() {
            return Ok(());
        }
        self.start.sequence += 1;
        (checkpoint.sequence, checkpoint.source_columns) = (self.start.sequence, now);
        let mut transaction = self.context.sink.begin(&self.context.fence).await?;
        if counted {
            counts.write(&self.context, transaction.as_mut(), &scope, &self.position).await?;
            checkpoint.digest = Some(sum.digest(sum.rows));
        }
        let quarantine = self.add(snapshot, transaction.as_mut(), counts, (0, refused), &mut false).await?;
        self.known.checkpoint = Some(checkpoint.clone());
        let (scope, checkpoint) = (Some(scope), Some(checkpoint));
        transaction.commit(&StateChanges { scope, quarantine, released, checkpoint, ..StateChanges::default() }).await
    }

    /// Settles how many copies of each row the target is to hold; `None` where rows would have to be marked as deleted, which takes a key.
    async fn settle_counts(&self, snapshot: &mut dyn Snapshot, counts: &mut Counts) -> Result<Option<Difference>> {
        if self.context.limits.rows.is_some() {
            return Ok(Some(counts.settle_part()));
        }
        let job = &self.context.job;
        // Of those that have left the filter, and of those that the source has lost: whether they go, if that is known.
        let (left_go, lost_go) = match (job.mode, job.deletes.mode) {
            (Mode::Append, _) => (false, Some(false)),
            // A changed row cannot be told from one that is gone and one that is new: to keep what is gone would keep each old version.
            (_, DeleteMode::Ignore | DeleteMode::Hard) => (job.left_filter == LeftFilter::Delete, Some(true)),
            (_, DeleteMode::Soft) => (job.left_filter == LeftFilter::Delete, None),
        };
        if self.plan.entity.parsed_filter.is_some() && lost_go != Some(left_go) && counts.has_gone() {
            self.look_beyond_filter(snapshot, counts).await?;
        }
        let mut marks = false;
        let all = counts.settle(|left, lost| {
            marks |= lost > 0 && lost_go.is_none();
            (if left_go { left } else { 0 }) + (if lost_go == Some(true) { lost } else { 0 })
        });
        Ok(if marks { None } else { Some(all) })
    }

    /// Finds which of the copies that are gone have only left the filter.
    async fn look_beyond_filter(&self, snapshot: &mut dyn Snapshot, counts: &mut Counts) -> Result<()> {
        let mut shaper = Shaper::new(self.plan.entity.clone());
        let mut after = None;
        loop {
            let page = self.read_under(snapshot, after, None).await?;
            after = page.next.clone();
            let rows = shaper.shape(page)?.rows;
            rows.iter().filter(|row| row.place.is_ok()).for_each(|row| counts.see_beyond_filter(&row.checksum));
            self.context.check_cancelled()?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Returns whether rows of the target can be deleted by what they hold: not where others may have altered what was written.
    fn can_delete(&self) -> bool {
        let target = &self.plan.entity.target;
        let altered = target.triggers.iter().any(|trigger| trigger.fires_on_write) || !target.write_obstacles.is_empty();
        !altered && self.context.sink.can_choose(target)
    }

    fn guard(&self, all: &Difference) -> Result<()> {
        let known = all.going + all.rest;
        let guarded = self.context.job.deletes.mode == DeleteMode::Hard;
        if !guarded || self.context.limits.deletes.allows(all.going, known) {
            return Ok(());
        }
        let message = format!(
            "{} of {known} rows are gone from the source, and no more may be deleted than {}; nothing was deleted",
            all.going, self.context.limits.deletes
        );
        Err(Error::new(ErrorKind::Refused, message).with("entity", &self.plan.entity.name))
    }

    /// Deletes the copies that are too many, and returns how many were found.
    async fn delete(&self, transaction: &mut dyn SinkTransaction, counts: &mut Counts, all: &Difference) -> Result<u64> {
        let entity = &self.plan.entity;
        let mirror = Arc::new(mirrored((**entity).clone()));
        let (columns, mut shaper, mut chosen) = (mirror.read_columns(), Shaper::new(mirror.clone()), 0u64);
        let request = PageRequest::new(&mirror.source, &columns, &[]).with_limits(PAGE_BYTES, usize::MAX);
        let mut choose = |page: &Page| -> Result<Vec<u32>> {
            let rows = shaper.shape(page.clone())?.rows;
            let mut places = Vec::new();
            for (place, row) in (0..).zip(&rows) {
                if row.place.is_ok() && counts.take_one(&row.checksum) {
                    places.push(place);
                }
            }
            chosen += places.len() as u64;
            Ok(places)
        };
        let deleted = transaction.delete_chosen(&request, &mut choose).await.map_err(|e| e.with("entity", &entity.name))?;
        if deleted != chosen {
            let message = format!("{chosen} rows were to be deleted, and {deleted} were; nothing was committed");
            return Err(Error::new(ErrorKind::Mismatch, message).with("entity", &entity.name).with("table", &entity.target.name));
        }
        let missing = (all.going + all.own_going).saturating_sub(deleted);
        if missing > 0 && self.context.purpose == Purpose::Run {
            let message =
                format!("{missing} rows that are gone from the source are not in the target as they were written there");
            self.context.log(Level::Warn, &entity.name, message);
        }
        Ok(deleted)
    }

    /// Reads the source once more, inserts the copies that are new, if any are to be, and returns the refused rows that are still to be written.
    async fn add(
        &self,
        snapshot: &mut dyn Snapshot,
        transaction: &mut dyn SinkTransaction,
        counts: &mut Counts,
        (mut new, refused): (u64, u64),
        first: &mut bool,
    ) -> Result<Vec<QuarantinedRow>> {
        let mut shaper = Shaper::new(self.plan.entity.clone());
        let (mut seen, mut read, mut quarantine) = (Counters::default(), 0, Vec::new());
        let mut after = None;
        while new > 0 || seen.quarantined < refused {
            let page = self.read(snapshot, after).await?;
            after = page.next.clone();
            let mut shaped = shaper.shape(page)?;
            self.cut(&mut shaped, read);
            read += shaped.rows.len() as u64;
            self.refuse(&shaped, &mut seen, &mut quarantine);
            let wanted = shaped.rows.iter().filter(|_| new > 0);
            let rows = wanted.filter_map(|row| Some((row.place.as_ref().ok().copied()?, &row.checksum)));
            let rows: Vec<u32> = rows.filter(|(_, checksum)| counts.give_one(checksum)).map(|(place, _)| place).collect();
            if !rows.is_empty() {
                self.insert(transaction, &shaped, &rows).await?;
                new -= (rows.len() as u64).min(new);
            }
            if is_much(&quarantine) {
                self.put_refused(transaction, &mut quarantine, first).await?;
            }
            self.context.check_cancelled()?;
            if after.is_none() || self.is_limited(read) {
                break;
            }
        }
        if new > 0 || seen.quarantined != refused {
            let message = "the source's rows are others at the second look at the same snapshot";
            return Err(Error::new(ErrorKind::Mismatch, message).with("entity", &self.plan.entity.name));
        }
        Ok(quarantine)
    }
}
