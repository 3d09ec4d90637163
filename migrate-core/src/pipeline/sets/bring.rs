//! Brings the sets of one part that differ: one commit, or none.

use super::tally::{Difference, Fate, Rules, Tally};
use super::{PAGE_BYTES, Reading, Sets, count_rest};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{DeleteMode, Event};
use crate::pipeline::keyless::{is_much, refused_rows, released};
use crate::pipeline::shape::{Shaper, mirrored};
use crate::sink::{SinkTransaction, WriteMode, WriteRequest};
use crate::source::{PageRequest, Position, Snapshot};
use crate::state::{Checkpoint, Counters, QuarantinedRow, StateChanges};
use crate::value::Page;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

impl Sets {
    /// Compares a part of the sets, and returns what is to be done without doing it.
    pub(super) async fn count(&mut self, snapshot: &mut dyn Snapshot, part: (u64, u64)) -> Result<Difference> {
        let _room = self.room().await?;
        let known = self.checkpoint().await?;
        let (tally, _) = self.compare(snapshot, part, known.as_ref()).await?;
        Ok(tally.difference(self.rules()))
    }

    /// Compares a part of the sets and brings those that differ. Returns what became of the rows, those of the parts before among them.
    pub(super) async fn bring(&mut self, snapshot: &mut dyn Snapshot, part: (u64, u64), before: Counters) -> Result<Counters> {
        let _room = self.room().await?;
        let known = self.checkpoint().await?;
        let (tally, seen) = self.compare(snapshot, part, known.as_ref()).await?;
        let (rules, first, refused) = (self.rules(), part.0 == 0, seen.quarantined);
        let all = tally.difference(rules);
        let mut counters = before;
        counters.add(&seen);
        counters.inserted += all.inserted;
        count_rest(self.context.job.mode, &mut counters, all.rest);
        counters.deleted = known.as_ref().filter(|c| c.execution == self.context.execution).map_or(0, |c| c.counters.deleted);
        if part.1 == 1 && self.is_guarded() {
            self.guard(&all)?;
        }
        self.context.check_quarantine(&counters, self.rows, true)?;
        let last = part.0 + 1 == part.1;
        let released = if first { released(&self.context, &self.plan.scope, refused).await? } else { Vec::new() };
        let as_before = known.as_ref().is_some_and(|checkpoint| self.says_as_much(checkpoint));
        let touched = all.coming > 0 || all.deletes;
        if !touched && !all.remembers && refused == 0 && released.is_empty() && (as_before || !last) {
            return Ok(counters);
        }
        let mut transaction = self.context.sink.begin(&self.context.fence).await?;
        if all.deletes {
            counters.deleted += self.delete(transaction.as_mut(), &tally, rules).await?;
        }
        if known.is_none() {
            let scope = Some(self.plan.scope.clone());
            transaction.put_state(StateChanges { scope, reset_ledger: true, ..StateChanges::default() }).await?;
        }
        let quarantine = self.add(snapshot, transaction.as_mut(), &tally, (all.coming, refused)).await?;
        self.write_ledger(transaction.as_mut(), known.as_ref(), part, &tally).await?;
        let changes = self.changes(known.as_ref(), (&counters, last), quarantine, released);
        transaction.commit(&changes).await?;
        self.context.emit(&Event::PageCommitted { entity: self.plan.entity.name.clone(), partition: 0, counters });
        Ok(counters)
    }

    /// Counts what both sides hold of a part of the sets. Returns it with what is wrong with rows.
    async fn compare(
        &self,
        snapshot: &mut dyn Snapshot,
        part: (u64, u64),
        known: Option<&Checkpoint>,
    ) -> Result<(Tally, Counters)> {
        let mut tally = Tally::new(part);
        let seen = self.read_source(snapshot, &mut tally, part.0 == 0).await?;
        self.read_ledger(known, &mut tally).await?;
        self.read_target(&mut tally).await?;
        let rules = self.rules();
        if rules.keeps_left && tally.iter().any(|(_, set)| set.fate(rules) == Fate::Gone && !set.own) {
            self.look_beyond_filter(snapshot, &mut tally).await?;
        }
        Ok((tally, seen))
    }

    /// Waits for the room that the sets of a part take.
    async fn room(&self) -> Result<OwnedSemaphorePermit> {
        let most = self.context.limits.multiset;
        let wanted = usize::try_from(self.rows).unwrap_or(most).saturating_mul(super::WEIGHT).min(most);
        let room = self.context.counting.clone().acquire_many_owned(u32::try_from(wanted).unwrap_or(u32::MAX)).await;
        // Never closed.
        room.map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))
    }

    /// Whether the job limits how many rows may go.
    pub(super) fn is_guarded(&self) -> bool {
        self.context.job.deletes.mode == DeleteMode::Hard
    }

    /// Refuses what is more than may go. Where there are several parts, the first one's commit comes after all of them were counted.
    pub(super) fn guard(&self, all: &Difference) -> Result<()> {
        if self.context.limits.deletes.allows(all.lost, all.held) {
            return Ok(());
        }
        let message = format!(
            "{} of {} rows are gone from the source, and no more may be deleted than {}; nothing was deleted",
            all.lost, all.held, self.context.limits.deletes
        );
        Err(Error::new(ErrorKind::Refused, message).with("entity", &self.plan.entity.name))
    }

    /// Deletes all that the target holds of the sets that are replaced or gone. Returns how many rows, those apart that this very execution
    /// has brought.
    async fn delete(&self, transaction: &mut dyn SinkTransaction, tally: &Tally, rules: Rules) -> Result<u64> {
        let entity = &self.plan.entity;
        let mirror = Arc::new(mirrored((**entity).clone()));
        let (columns, mut shaper) = (mirror.read_columns(), Shaper::new(mirror.clone()));
        let request = PageRequest::new(&mirror.source, &columns, &[]).with_limits(PAGE_BYTES, usize::MAX);
        let (mut chosen, mut own) = (0, 0);
        let mut choose = |page: &Page| -> Result<Vec<u32>> {
            let shaped = shaper.shape(page.clone())?;
            let mut places = Vec::new();
            for (at, row) in (0..).zip(&shaped.rows) {
                let Ok(place) = row.place else { continue };
                let Some(set) = tally.get(&self.parent_of(&shaped.page, place)?) else { continue };
                if matches!(set.fate(rules), Fate::Replaced | Fate::Gone) {
                    chosen += 1;
                    own += u64::from(set.own);
                    places.push(at);
                }
            }
            Ok(places)
        };
        let deleted = transaction.delete_chosen(&request, &mut choose).await.map_err(|e| e.with("entity", &entity.name))?;
        if deleted != chosen {
            let message = format!("{chosen} rows were to be deleted, and {deleted} were; nothing was committed");
            return Err(Error::new(ErrorKind::Mismatch, message).with("entity", &entity.name).with("table", &entity.target.name));
        }
        Ok(deleted - own)
    }

    /// Reads the source once more, inserts the rows of the sets that are replaced, and returns the refused rows that are still to be written.
    async fn add(
        &self,
        snapshot: &mut dyn Snapshot,
        transaction: &mut dyn SinkTransaction,
        tally: &Tally,
        (mut coming, refused): (u64, u64),
    ) -> Result<Vec<QuarantinedRow>> {
        let (entity, rules) = (&self.plan.entity, self.rules());
        let (mut seen, mut quarantine) = (0, Vec::new());
        let changed = || Error::new(ErrorKind::Mismatch, "the source's rows are others at the second look at the same snapshot");
        let mut reading: Reading<'_> = self.read(entity.parsed_filter.as_ref());
        while coming > 0 || seen < refused {
            let Some(shaped) = reading.next(snapshot).await? else {
                return Err(changed().with("entity", &entity.name));
            };
            if refused > 0 {
                quarantine.extend(refused_rows(&self.context, &self.plan.scope, &shaped, &mut seen));
                if is_much(&quarantine) {
                    let (scope, quarantine) = (Some(self.plan.scope.clone()), std::mem::take(&mut quarantine));
                    transaction.put_state(StateChanges { scope, quarantine, ..StateChanges::default() }).await?;
                }
            }
            let mut rows = Vec::new();
            for row in &shaped.rows {
                let Ok(place) = row.place else { continue };
                let set = tally.get(&self.parent_of(&shaped.page, place)?);
                if set.is_some_and(|set| set.fate(rules) == Fate::Replaced) {
                    rows.push(place);
                }
            }
            coming = coming.checked_sub(rows.len() as u64).ok_or_else(changed)?;
            if !rows.is_empty() {
                let all = rows.len() == shaped.page.row_count();
                let rows = if all { None } else { Some(&rows[..]) };
                let request = WriteRequest { table: &entity.target, key: &[], page: &shaped.page, rows, mode: WriteMode::Load };
                transaction.write(request).await.map_err(|e| e.with("entity", &entity.name))?;
            }
            self.context.check_cancelled()?;
        }
        Ok(quarantine)
    }

    /// Whether what is remembered of the entity beside its ledger is as it would be written now.
    fn says_as_much(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.done
            && checkpoint.digest.is_some()
            && checkpoint.fingerprint == self.start.fingerprint
            && checkpoint.source_columns.as_ref() == Some(&self.plan.entity.source_columns)
    }

    fn changes(
        &self,
        known: Option<&Checkpoint>,
        (counters, last): (&Counters, bool),
        quarantine: Vec<QuarantinedRow>,
        released: Vec<Vec<u8>>,
    ) -> StateChanges {
        // Until the last part has been compared, what was to be distrusted still is.
        let trusted = last || known.is_some_and(|checkpoint| checkpoint.digest.is_some());
        let columns = if last { Some(self.plan.entity.source_columns.clone()) } else { self.start.remembered.clone() };
        StateChanges {
            scope: Some(self.plan.scope.clone()),
            quarantine,
            released,
            checkpoint: Some(Checkpoint {
                execution: self.context.execution.clone(),
                attempt: self.context.attempt,
                sequence: known.map_or(self.start.sequence, |checkpoint| checkpoint.sequence) + 1,
                position: Position(self.position.clone()),
                done: last,
                counters: *counters,
                fingerprint: self.start.fingerprint.clone(),
                source_columns: columns,
                digest: trusted.then(|| "sets".to_owned()),
                feeds: Some(self.plan.entity.feeds()),
                ..Checkpoint::default()
            }),
            ..StateChanges::default()
        }
    }
}
