//! What is to be done with each row of a page.

use super::super::context::Purpose;
use super::super::keymap::{mask, masked};
use super::super::shape::{RowRefusal, Shaped, ShapedRow, whole_row};
use super::super::update::{Base, column_sums, shown};
use super::write::Writes;
use super::{KEPT_ROWS, REFUSED_BYTES, WAITING_BYTES, Walk};
use crate::diff::{ColumnSums, Match};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Level, Mode};
use crate::sink::Outcome;
use crate::state::QuarantinedRow;
use crate::value::Key;
use crate::value::canonical::Checksum;
use std::sync::atomic::Ordering;

impl Walk {
    /// Takes the rows of a page one by one; false when the limit is reached.
    pub(super) async fn take_page(&mut self, shaped: &Shaped) -> Result<bool> {
        // Behind the ledger all rows are new.
        let mut writes = if self.live.in_tail { Writes::with_capacity(shaped.rows.len()) } else { Writes::default() };
        for (at, row) in shaped.rows.iter().enumerate() {
            if self.limit.is_some_and(|limit| self.live.rows >= limit) {
                if let Some(last) = at.checked_sub(1).and_then(|before| shaped.rows.get(before)) {
                    self.live.key = Some(last.key.clone());
                }
                self.write(shaped, writes).await?;
                return Ok(false);
            }
            if !self.listed.is_empty() {
                self.pass_listed(Some(&row.key))?;
            }
            self.live.rows += 1;
            let refusal = match (&row.place, if self.refused.is_empty() { None } else { self.refused.get(&row.key) }) {
                (Err(refusal), _) | (Ok(_), Some(refusal)) => Err(refusal.clone()),
                (Ok(place), None) => Ok(*place),
            };
            if !self.quarantined.is_empty() && self.quarantined.contains(&row.key) {
                self.met.insert(row.key.clone());
            }
            if refusal.is_ok() && self.is_in_quarantine(&row.key) {
                self.batch.released.push(row.key.as_bytes().to_vec());
            }
            match refusal {
                Ok(place) => {
                    if row.lacks_parent {
                        self.note_waiting(&row.key);
                    }
                    self.live.counters.orphans += u64::from(row.is_orphan);
                    let columns = self.column_sums(shaped, place)?;
                    self.decide(shaped, place, row.key.clone(), row.checksum, columns, &mut writes)?;
                }
                Err(refusal) => {
                    // Its parent may be let in by a later walk.
                    self.leftover.fetch_or(row.lacks_parent && row.place.is_err(), Ordering::Relaxed);
                    if !self.stays_incomplete(shaped, at, &refusal)? {
                        self.quarantine(shaped, at, &row.key, refusal);
                    }
                }
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
        self.write(shaped, writes).await?;
        if self.batch.refused_bytes >= self.context.limits.share(REFUSED_BYTES) {
            self.put_quarantine().await?;
        }
        // In a range the pages wait in memory for its end; in the tail they are with the target already.
        let most = self.context.limits.batch_bytes;
        if self.batch.bytes >= if self.live.in_tail { most } else { most.min(self.context.limits.share(WAITING_BYTES)) } {
            self.commit_part(false).await?;
        } else if self.live.in_tail
            && self.merge.as_ref().is_some_and(|merge| merge.kept() >= self.context.limits.share(KEPT_ROWS))
        {
            self.put_ledger().await?;
        }
        Ok(true)
    }

    /// In mode `update` the ledger keeps a checksum of each column.
    pub(super) fn column_sums(&self, shaped: &Shaped, place: u32) -> Result<ColumnSums> {
        match self.context.job.mode {
            Mode::Update => {
                let mut values = shaped.page.row(place as usize).values()?;
                // A page that is loaded may have one column more, that of the ids.
                values.truncate(self.plan.entity.columns.len());
                Ok(Some(column_sums(&values)))
            }
            Mode::Init | Mode::Replace | Mode::Append => Ok(None),
        }
    }

    /// Decides what is to be done with a row that fits.
    pub(super) fn decide(
        &mut self,
        shaped: &Shaped,
        place: u32,
        key: Key,
        checksum: Checksum,
        columns: ColumnSums,
        writes: &mut Writes,
    ) -> Result<()> {
        let Some(merge) = &mut self.merge else { return Err(Error::new(ErrorKind::Internal, "a page belongs to no range")) };
        let append = self.context.job.mode == Mode::Append;
        let update = self.context.job.mode == Mode::Update;
        // Whoever adopts asks what the target holds now, whatever it was when it was synced.
        let base = match update && !self.distrusted && self.context.purpose != Purpose::Adopt {
            true => merge.recorded(&key).map(|checksum| Base { checksum, columns: merge.recorded_columns(&key) }),
            false => None,
        };
        let mask = mask(&self.plan.entity, shaped.ids.as_deref(), place);
        let base = base.map(|base| Base { checksum: masked(base.checksum, &mask), ..base });
        let known = base.as_ref().is_some_and(|base| base.columns.is_some());
        let counters = &mut self.live.counters;
        match merge.look_up(&key, &checksum) {
            Match::Equal(outcome) => self.settle_equal(key, checksum, outcome)?,
            Match::Changed(before) if append && before != Outcome::Inserted => {
                let recorded = merge.recorded(&key).unwrap_or(checksum);
                let written = match self.late.writes_all_whole() || self.context.purpose == Purpose::Adopt {
                    true => None,
                    false => {
                        let recorded = masked(recorded, &mask);
                        self.late.written_bereft(&shaped.page.row(place as usize).values()?, &recorded)
                    }
                };
                if written.is_some() {
                    // This job has left it without a parent, and completes it; what others have changed of it stays theirs.
                    self.batch.rows += 1;
                    writes.push(place, (key.clone(), checksum), merge.kept(), before, written);
                    merge.keep(key, checksum, before, false);
                } else {
                    counters.skipped += 1;
                    writes.left.push(place);
                    merge.keep(key, recorded, before, !self.distrusted);
                }
            }
            Match::Changed(before) => {
                self.batch.rows += 1;
                writes.push(place, (key.clone(), checksum), merge.kept(), before, base);
                merge.keep(key, checksum, before, false);
            }
            Match::New => {
                self.batch.rows += 1;
                writes.push(place, (key.clone(), checksum), merge.kept(), Outcome::Unchanged, None);
                merge.keep(key, checksum, Outcome::Inserted, false);
            }
        }
        if let Some(merge) = self.merge.as_mut().filter(|_| update) {
            merge.keep_columns(columns, known);
        }
        Ok(())
    }

    /// Takes a row that the target refuses once it is complete for what it is: one that stays without its parent. False if it is none.
    fn stays_incomplete(&mut self, shaped: &Shaped, at: usize, refusal: &RowRefusal) -> Result<bool> {
        let ShapedRow { key, place: Ok(place), .. } = &shaped.rows[at] else { return Ok(false) };
        let Some(recorded) = self.merge.as_mut().filter(|_| !self.late.is_empty()).and_then(|m| m.recorded(key)) else {
            return Ok(false);
        };
        // Of an older version nothing is said: the row of now is refused.
        let mask = mask(&self.plan.entity, shaped.ids.as_deref(), *place);
        if self.late.written_without(&shaped.page.row(*place as usize).values()?, &masked(recorded, &mask)).is_none() {
            return Ok(false);
        }
        let Some(merge) = &mut self.merge else { return Ok(false) };
        let columns = merge.recorded_columns(key);
        let outcome = match merge.look_up(key, &recorded) {
            Match::Equal(outcome) | Match::Changed(outcome) => outcome,
            Match::New => Outcome::Unchanged,
        };
        merge.keep(key.clone(), recorded, outcome, true);
        merge.keep_columns(columns, true);
        self.live.counters.count(outcome);
        self.live.counters.pending += 1;
        self.staying.insert(key.clone());
        if self.is_in_quarantine(key) {
            self.batch.released.push(key.as_bytes().to_vec());
        }
        let message = format!("the row with the key ({}) stays without its parent: {}", shown(key), refusal.reason);
        self.context.log(Level::Warn, &self.plan.entity.name, message);
        Ok(true)
    }

    /// Whether a row was put into quarantine before this pass.
    fn is_in_quarantine(&self, key: &Key) -> bool {
        self.quarantined.contains(key) || self.put_there.contains(key)
    }

    pub(super) fn quarantine(&mut self, shaped: &Shaped, at: usize, key: &Key, refusal: RowRefusal) {
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
        let row = whole_row(&shaped.source, at);
        self.batch.refused_bytes += row.len();
        self.batch.quarantine.push(QuarantinedRow {
            execution: self.context.execution.clone(),
            scope: self.plan.scope.clone(),
            key: key.as_bytes().to_vec(),
            column: refusal.column,
            reason: refusal.reason,
            row,
            columns: shaped.source.columns().iter().map(|c| c.name.clone()).collect(),
        });
    }
}
