//! What the target remembers of sets: whose rows the job has brought, and what they were.
//!
//! ```text
//! key       = the checksum of the parent's columns at the target, the number of rows
//! checksum  = the sum of the rows' checksums
//! outcome   = inserted, where the block's execution has written them
//! ```

use super::Sets;
use super::tally::{Fate, Rules, Set, Tally, is_in};
use crate::diff::{BLOCK_ROWS, Entry, LedgerBlock};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Mode;
use crate::sink::{Outcome, SinkTransaction};
use crate::state::{Checkpoint, StateChanges, StoredBlock};
use crate::value::canonical::Checksum;
use crate::value::{Key, Value};

/// Ledger blocks that are read or written together.
const BLOCKS_AT_ONCE: usize = 32;

impl Sets {
    /// Returns how many sets the ledger knows.
    pub(super) async fn remembered(&self, known: Option<&Checkpoint>) -> Result<u64> {
        let (mut after, mut sets) = (None, 0);
        while let Some(blocks) = self.blocks(known, after).await? {
            after = blocks.last().map(|block| block.ordinal);
            sets += blocks.iter().map(|block| u64::from(block.row_count)).sum::<u64>();
        }
        Ok(sets)
    }

    /// Adds what the ledger knows to what the source holds.
    pub(super) async fn read_ledger(&self, known: Option<&Checkpoint>, tally: &mut Tally) -> Result<()> {
        let altered = self.rules().altered;
        // A comparison of both sides that is to be repaired, or other columns, make it say only whose rows were brought.
        let trusted = known.is_some_and(|c| c.digest.is_some() && c.fingerprint == self.start.fingerprint);
        let mut after = None;
        while let Some(blocks) = self.blocks(known, after).await? {
            after = blocks.last().map(|block| block.ordinal);
            for block in &blocks {
                let block = LedgerBlock::unpack(block)?;
                let by_this = block.execution == self.context.execution;
                for entry in block.entries {
                    let Some(set) = tally.entry(parent_of(&entry.key)?) else { continue };
                    set.own = by_this && entry.outcome == Outcome::Inserted;
                    set.known = true;
                    if altered {
                        set.was_sum = if trusted { u128::from_be_bytes(entry.checksum) } else { !set.now_sum };
                    }
                }
            }
        }
        Ok(())
    }

    async fn blocks(&self, known: Option<&Checkpoint>, after: Option<i64>) -> Result<Option<Vec<StoredBlock>>> {
        if known.is_none() {
            return Ok(None);
        }
        let blocks = self.context.state.ledger_blocks(&self.plan.scope, after, BLOCKS_AT_ONCE).await?;
        Ok((!blocks.is_empty()).then_some(blocks))
    }

    /// Writes what the target is to remember of a part, ahead of the commit; other parts' entries stay.
    pub(super) async fn write_ledger(
        &self,
        transaction: &mut dyn SinkTransaction,
        known: Option<&Checkpoint>,
        part: (u64, u64),
        tally: &Tally,
    ) -> Result<()> {
        let (mut after, mut ordinal) = (None, 0);
        let scope = Some(self.plan.scope.clone());
        while let Some(stored) = self.blocks(known, after).await? {
            after = stored.last().map(|block| block.ordinal);
            ordinal = after.unwrap_or_default() + 1;
            let mut changes = StateChanges { scope: scope.clone(), ..StateChanges::default() };
            for stored in &stored {
                let mut block = LedgerBlock::unpack(stored)?;
                let before = block.entries.len();
                let others = block.entries.drain(..).map(|entry| Ok((is_in(&parent_of(&entry.key)?, part), entry)));
                let others = others.collect::<Result<Vec<_>>>()?;
                block.entries = others.into_iter().filter(|(own, _)| !own).map(|(_, entry)| entry).collect();
                match block.entries.last().map(|last| last.key.clone()) {
                    None => changes.removed_blocks.push(block.ordinal),
                    Some(last) if block.entries.len() < before => {
                        block.last_key = last;
                        changes.blocks.push(block.pack());
                    }
                    Some(_) => {}
                }
            }
            transaction.put_state(changes).await?;
        }
        let mut entries: Vec<Entry> = tally.iter().filter_map(|(parent, set)| entry(parent, set, self.rules())).collect();
        entries.sort_unstable_by(|a, b| a.key.as_bytes().cmp(b.key.as_bytes()));
        for some in entries.chunks(BLOCK_ROWS * BLOCKS_AT_ONCE) {
            let mut changes = StateChanges { scope: scope.clone(), ..StateChanges::default() };
            for entries in some.chunks(BLOCK_ROWS) {
                let Some(last) = entries.last() else { continue };
                let (last_key, entries) = (last.key.clone(), entries.to_vec());
                let (position, execution) = (self.position.clone(), self.context.execution.clone());
                changes.blocks.push(LedgerBlock { ordinal, last_key, entries, position, execution }.pack());
                ordinal += 1;
            }
            transaction.put_state(changes).await?;
        }
        Ok(())
    }
}

/// What is remembered of a set, if anything.
fn entry(parent: &Checksum, set: &Set, rules: Rules) -> Option<Entry> {
    let fate = set.fate(rules);
    let (rows, sum, own) = match fate {
        Fate::Replaced => (set.now, set.now_sum, true),
        // In append, what was there already is the target's.
        Fate::Equal if set.known || rules.mode != Mode::Append => (set.now, set.now_sum, set.own),
        Fate::Left if set.known => (set.was, set.was_sum, set.own),
        Fate::Equal | Fate::Left | Fate::Gone | Fate::Forgotten => return None,
    };
    let key = Key::from_values([&Value::Bytes((&parent[..]).into()), &Value::Int(i64::from(rows))]);
    let outcome = if own { Outcome::Inserted } else { Outcome::Unchanged };
    Some(Entry { key, checksum: sum.to_be_bytes(), outcome, columns: None })
}

/// Returns the parent that an entry of the ledger is of.
pub(crate) fn parent_of(key: &Key) -> Result<Checksum> {
    let damaged = || Error::new(ErrorKind::Corrupt, "a ledger block of sets is damaged");
    match key.values()?.first() {
        Some(Value::Bytes(parent)) => parent[..].try_into().map_err(|_| damaged()),
        _ => Err(damaged()),
    }
}
