//! Rows that are passed over without being read: the source knows that they have not changed.

use super::super::cursor::{Candidates, LOOKED_OUT_FOR};
use super::super::digests::{cursor_recipe, recipe};
use super::super::reader::{KnownBy, KnownChanges};
use super::super::strategy::Known;
use super::{QUARANTINED, Walk};
use crate::diff::{Entry, LedgerEdit};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Level, Mode};
use crate::sink::Outcome;
use crate::value::Key;
use crate::value::canonical::Checksum;
use std::sync::{Arc, Mutex};

impl Walk {
    /// Tells the reader what it needs to know to leave rows unread.
    pub(super) fn know_changes(&mut self) {
        // Refused rows are looked at again each time; where not all of them are known, all rows are.
        let by = match self.synced.known.take().filter(|_| self.quarantined.len() < QUARANTINED) {
            Some(Known::Since(landmark)) => KnownBy::Landmark(landmark),
            Some(Known::Digests) => {
                KnownBy::Digests { recipe: recipe(&self.fingerprint, self.context.job.mode), differing: Mutex::default() }
            }
            Some(Known::Cursor(_)) if self.quarantined.len() > LOOKED_OUT_FOR => {
                self.context.log(
                    Level::Info,
                    &self.plan.entity.name,
                    "all rows are read: too many were refused to look out for each",
                );
                return;
            }
            Some(Known::Cursor(landmark)) => match Candidates::since(&self.plan.entity, &landmark) {
                Ok(candidates) => KnownBy::Cursor { candidates, recipe: cursor_recipe(&self.fingerprint, self.context.job.mode) },
                // What cannot be read says nothing.
                Err(_) => return,
            },
            None => return,
        };
        self.plan.changes =
            Some(Arc::new(KnownChanges { by, always: self.quarantined.clone(), columns: self.context.job.mode == Mode::Update }));
    }

    /// Passes a range that holds what the ledger says.
    pub(super) async fn pass_same(&mut self, rows: u64, after: i64, end: Key, small: Option<(i64, Vec<Entry>)>) -> Result<()> {
        self.live.rows += rows;
        match self.context.job.mode {
            Mode::Append => self.live.counters.skipped += rows,
            Mode::Init | Mode::Replace | Mode::Update => self.live.counters.unchanged += rows,
        }
        (self.live.after, self.live.key, self.live.small) = (Some(after), Some(end), small);
        if self.batch.is_empty() && !self.reset {
            self.cursor = self.live.clone();
            self.report();
            return self.context.check_cancelled();
        }
        self.batch.ranges += 1;
        if self.may_wait() { Ok(()) } else { self.commit(LedgerEdit::default(), false).await }
    }

    /// Passes the listed keys before the row of this key, or all that are left.
    pub(super) fn pass_listed(&mut self, row: Option<&Key>) -> Result<()> {
        while let Some((key, read)) = self.listed.pop_front() {
            match (read, row) {
                (true, Some(row)) if *row == key => return Ok(()),
                (true, _) => return Err(Error::new(ErrorKind::Internal, "the source lists a row that it does not give")),
                (false, _) => self.pass_key(key)?,
            }
        }
        Ok(())
    }

    fn pass_key(&mut self, key: Key) -> Result<()> {
        let Some(merge) = &mut self.merge else { return Err(Error::new(ErrorKind::Internal, "a key belongs to no range")) };
        let Some(outcome) = merge.keep_as_it_is(key) else {
            return Err(Error::new(ErrorKind::Internal, "a row is passed over that the ledger does not know"));
        };
        if self.plan.replay.is_none() {
            self.live.rows += 1;
            self.count_equal(outcome);
        }
        Ok(())
    }

    /// Counts and keeps a row that is as the ledger says.
    pub(super) fn settle_equal(&mut self, key: Key, checksum: Checksum, outcome: Outcome) -> Result<()> {
        self.count_equal(outcome);
        let Some(merge) = &mut self.merge else { return Err(Error::new(ErrorKind::Internal, "a page belongs to no range")) };
        merge.keep(key, checksum, outcome, true);
        Ok(())
    }

    fn count_equal(&mut self, outcome: Outcome) {
        let counters = &mut self.live.counters;
        match outcome {
            Outcome::Inserted => counters.inserted += 1,
            _ if self.context.job.mode == Mode::Append => counters.skipped += 1,
            Outcome::Updated => counters.updated += 1,
            // An earlier pass of this execution has left it to the target.
            Outcome::Skipped => counters.skipped += 1,
            Outcome::Unchanged => counters.unchanged += 1,
        }
    }
}
