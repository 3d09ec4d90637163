//! Makes a ledger of other columns one of the columns of now, where those that are written have changed.
//!
//! ```text
//! ledger of before:  key │ checksum of (a, b) │ checksums of a, b          b was renamed to c at the source
//! ledger of now:     key │ one that no row has │ checksums of a, NULL
//! ```
//!
//! Its keys stay, so that rows which the source has lost in the meantime are found. Its checksums do not: a row of other columns may well
//! have the same one. Every row is thus looked at once more, and in mode `update` each column goes by what is known of it.

use super::context::Context;
use super::entity::EntityRun;
use super::update::{SUM, column_sums};
use crate::diff::{Entry, LedgerBlock};
use crate::error::Result;
use crate::plan::EntityPlan;
use crate::state::{Checkpoint, Scope, StateChanges};
use crate::value::{Value, canonical};

/// Ledger blocks that are made over together.
const BLOCKS_AT_ONCE: usize = 64;

/// How a ledger's entries become those of other columns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rebase {
    /// How many columns the ledger was made of.
    before: usize,
    /// For each column of now its place among them; `None` where it was not one of them.
    places: Vec<Option<usize>>,
}

impl Rebase {
    /// Returns how an entity's ledger, whose keys are those of now, is to be made over; `None` where it is of the same columns, or it
    /// is not known of which.
    pub(super) fn of(entity: &EntityPlan, checkpoints: &[(u32, Checkpoint)]) -> Option<Rebase> {
        let (_, first) = checkpoints.first()?;
        // Of a ledger that is being looked at once more already, some columns may be those of before.
        let alike =
            |c: &Checkpoint| !c.distrusted && c.fingerprint == first.fingerprint && c.written_columns == first.written_columns;
        // What is still loaded for the first time has been synced by nobody.
        let loads = |c: &Checkpoint| c.loadable && !c.done;
        let before = &first.written_columns;
        // The source's may have changed in an earlier run, or in one that was killed: what is written tells, too.
        let written = || entity.columns.iter().map(|c| &c.target);
        if (entity.drift.is_empty() && written().eq(before))
            || entity.is_keyless()
            || before.is_empty()
            || !checkpoints.iter().all(|(_, c)| alike(c) && (!loads(c) || !entity.drift.is_empty()))
        {
            return None;
        }
        let place = |name: &String| before.iter().position(|c| c == name);
        Some(Rebase { before: before.len(), places: written().map(place).collect() })
    }

    /// Makes the entries of a block over.
    pub(super) fn apply(&self, block: &mut LedgerBlock) {
        let null = column_sums(&[Value::Null]);
        for entry in &mut block.entries {
            if entry.checksum != Entry::UNKNOWN {
                // A checksum of the old one: none that a row of now could have, and another one each time.
                entry.checksum = canonical::checksum(&entry.checksum);
            }
            entry.columns = entry.columns.take().filter(|sums| sums.len() == self.before * SUM).map(|sums| {
                // A column that is new at the target holds NULL everywhere.
                let sum = |place: &Option<usize>| place.map_or(&null[..], |place| &sums[place * SUM..(place + 1) * SUM]);
                self.places.iter().flat_map(sum).copied().collect()
            });
        }
    }
}

impl EntityRun {
    /// Makes the ledger one of the columns of now, all parts of it in one transaction.
    pub(super) async fn rebase(&mut self, context: &Context) -> Result<()> {
        let Some(rebase) = self.rebase.take() else { return Ok(()) };
        let mut transaction = context.sink.begin(&context.fence).await?;
        for (partition, checkpoint) in &mut self.checkpoints {
            let scope = Scope { job: context.job.name.clone(), entity: self.entity.name.clone(), partition: *partition };
            let mut after = None;
            loop {
                let stored = context.state.ledger_blocks(&scope, after, BLOCKS_AT_ONCE).await?;
                let Some(last) = stored.last() else { break };
                after = Some(last.ordinal);
                let mut changes = StateChanges { scope: Some(scope.clone()), ..StateChanges::default() };
                for block in &stored {
                    let mut block = LedgerBlock::unpack(block)?;
                    rebase.apply(&mut block);
                    changes.blocks.push(block.pack());
                }
                transaction.put_state(changes).await?;
            }
            checkpoint.sequence += 1;
            // What the source knows to have changed since says nothing about other columns: all rows are read.
            checkpoint.synced = None;
            checkpoint.fingerprint.clone_from(&self.fingerprint);
            checkpoint.written_columns = self.entity.columns.iter().map(|c| c.target.clone()).collect();
            let changes = StateChanges { scope: Some(scope), checkpoint: Some(checkpoint.clone()), ..StateChanges::default() };
            transaction.put_state(changes).await?;
        }
        transaction.commit(&StateChanges::default()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Outcome;
    use crate::value::Key;

    fn block(entries: Vec<Entry>) -> LedgerBlock {
        let last_key = entries.last().map_or_else(|| Key::from_bytes([]), |e| e.key.clone());
        LedgerBlock { ordinal: 1, last_key, entries, position: String::new(), execution: String::new() }
    }

    fn entry(values: &[Value<'_>], sums: bool) -> Entry {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| canonical::encode_value(value, &mut bytes));
        let columns = sums.then(|| column_sums(values));
        Entry { key: Key::from_values(&values[..1]), checksum: canonical::checksum(&bytes), outcome: Outcome::Inserted, columns }
    }

    #[test]
    fn checksums_of_columns_go_where_the_columns_have_gone_and_new_ones_are_null() {
        let row = [Value::Int(1), Value::Text("a".into()), Value::Int(3)];
        let rebase = Rebase { before: 3, places: vec![Some(0), None, Some(2), Some(1)] };
        let mut made_over = block(vec![entry(&row, true)]);
        rebase.apply(&mut made_over);
        let expected = [row[0].clone(), Value::Null, row[2].clone(), row[1].clone()];
        assert_eq!(made_over.entries[0].columns, Some(column_sums(&expected)));
        assert_eq!((&made_over.entries[0].key, made_over.entries[0].outcome), (&Key::from_values(&row[..1]), Outcome::Inserted));
    }

    #[test]
    fn a_row_that_has_the_same_cells_in_other_columns_is_no_equal_one() {
        let row = [Value::Int(1), Value::Text("a".into())];
        let (before, mut made_over) = (entry(&row, false), block(vec![entry(&row, false)]));
        let rebase = Rebase { before: 2, places: vec![Some(0), None] };
        // Also not when the ledger is made over again, and back.
        let mut met = vec![before.checksum];
        for _ in 0..4 {
            rebase.apply(&mut made_over);
            assert!(!met.contains(&made_over.entries[0].checksum));
            met.push(made_over.entries[0].checksum);
        }
        assert_eq!(made_over.entries[0].columns, None);
    }

    #[test]
    fn a_row_whose_content_is_not_known_stays_unknown() {
        let mut made_over = block(vec![Entry { checksum: Entry::UNKNOWN, ..entry(&[Value::Int(1)], true) }]);
        // Column checksums of another width say nothing.
        Rebase { before: 2, places: vec![Some(0), Some(1)] }.apply(&mut made_over);
        assert_eq!((made_over.entries[0].checksum, &made_over.entries[0].columns), (Entry::UNKNOWN, &None));
    }
}
