//! The keys by which the target remembers rows of one scope: those that the ledger has, and those that the source has lost and that were not
//! deleted yet.

use crate::diff::{Entry, LedgerBlock};
use crate::error::{ErrorKind, Result};
use crate::state::{Scope, TargetState};
use crate::value::Key;

/// Ledger blocks that are looked at together.
const BLOCKS_AT_ONCE: usize = 64;
/// Listed rows that are looked at together.
const ROWS_AT_ONCE: usize = 1_000;

/// Reads the keys of one scope, some at a time.
pub(crate) struct KnownKeys<'s> {
    state: &'s dyn TargetState,
    scope: &'s Scope,
    /// Whether the ledger is still being read, and its last block so far.
    ledger: bool,
    after: Option<i64>,
    /// Whether the list is read too, and its last row so far.
    list: bool,
    before: Option<i64>,
}

impl<'s> KnownKeys<'s> {
    /// Begins with the ledger, and goes on with the list.
    pub(crate) fn of(state: &'s dyn TargetState, scope: &'s Scope) -> Self {
        KnownKeys { state, scope, ledger: true, after: None, list: true, before: None }
    }

    /// Reads the ledger alone.
    pub(super) fn of_ledger(state: &'s dyn TargetState, scope: &'s Scope) -> Self {
        KnownKeys { list: false, ..KnownKeys::of(state, scope) }
    }

    /// Returns the next keys; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Key>>> {
        self.next_of(|_| true).await
    }

    /// As [`KnownKeys::next`], but for rows that the target held before the job, and that no run has written since.
    pub(crate) async fn next_own(&mut self) -> Result<Option<Vec<Key>>> {
        self.next_of(|entry| entry.checksum != Entry::UNKNOWN).await
    }

    async fn next_of(&mut self, wanted: impl Fn(&Entry) -> bool) -> Result<Option<Vec<Key>>> {
        if self.ledger {
            let stored = self.state.ledger_blocks(self.scope, self.after, BLOCKS_AT_ONCE).await?;
            if let Some(last) = stored.last() {
                self.after = Some(last.ordinal);
                let mut keys = Vec::new();
                for block in &stored {
                    keys.extend(LedgerBlock::unpack(block)?.entries.into_iter().filter(&wanted).map(|entry| entry.key));
                }
                return Ok(Some(keys));
            }
            self.ledger = false;
        }
        if !self.list {
            return Ok(None);
        }
        let rows = match self.state.gone_rows(self.scope, self.before, ROWS_AT_ONCE).await {
            // State tables of an older version have no such list; a run adds it, empty.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let Some((last, _)) = rows.last() else { return Ok(None) };
        self.before = Some(*last);
        Ok(Some(rows.into_iter().map(|(_, row)| Key::from_bytes(row.key)).collect()))
    }
}
