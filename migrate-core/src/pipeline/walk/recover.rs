//! What happens after a failure.

use super::super::batch::KeyList;
use super::super::shape::RowRefusal;
use super::Walk;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::job::Level;

impl Walk {
    /// Goes back to the last commit, and finds out what to do differently.
    ///
    /// # Errors
    /// The error itself, where trying again would not help.
    pub(super) async fn recover(&mut self, error: Error) -> Result<()> {
        self.context.check_cancelled()?;
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
    pub(super) fn isolate(&mut self, error: Error, written: &KeyList, rows: usize) -> Result<()> {
        let entity = &self.plan.entity;
        if self.trusting {
            // A parent may lack: from here on each is looked for.
            self.trusting = false;
            return Ok(());
        }
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
            // Where the ledger leaves no room for smaller commits, smaller batches are none.
            if rows <= 1 || self.careful == 1 {
                return Err(error);
            }
            self.careful = (rows / 2).min(self.careful / 2).max(1);
            return Ok(());
        };
        if self.refused.contains_key(&key) {
            return Err(error);
        }
        let context = |name| error.context().iter().find(|(n, _)| *n == name).map(|(_, object)| object.clone());
        let constraint = context("constraint");
        // What is checked at the commit may go without a name: whether it was a parent that lacked, the row without it tells.
        let unnamed = error.kind() == ErrorKind::Constraint && !self.late.is_empty();
        let held = constraint.as_ref().map_or(unnamed, |constraint| self.late.is_held_by(constraint));
        if self.quarantined.contains(&key) && held && self.parentless.insert(key.clone()) {
            // Refused before, and tried whole; its parent may be one that can only come after it.
            self.careful = self.careful.min(rows.max(64)).min(4096);
            return Ok(());
        }
        // A table that is being created has no constraint between rows before its first load was interrupted.
        self.refused_by_constraint |= constraint.is_some() && (!entity.create || self.plan.follow_ledger);
        let reason = match &constraint {
            Some(constraint) => format!("{} (constraint {constraint})", error.message()),
            None => error.message().to_owned(),
        };
        self.refused.insert(key, RowRefusal { column: context("column"), reason, set: None });
        if self.late.is_empty() {
            // Each is found by a batch that failed: where there are too many, not all are looked for. One that waits for its parent is
            // refused too, and goes to no quarantine.
            let refused = self.cursor.counters.quarantined.max(self.refused.len() as u64);
            self.refusals.check(&self.context, self.plan.scope.partition, refused, self.live.rows.max(refused))?;
        }
        // Others are likely to follow: a small batch is cheap to read again.
        self.careful = self.careful.min(rows.max(64)).min(4096);
        Ok(())
    }

    /// Waits before trying again.
    ///
    /// # Errors
    /// The error itself, when it was tried often enough.
    pub(super) async fn wait(&mut self, error: &Error) -> Result<()> {
        self.backoff.wait(&self.context, Some(&self.plan.entity.name), error).await
    }

    /// Asks the target whether the commit that was under way has happened.
    pub(super) async fn settle(&mut self) -> Result<bool> {
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
}
