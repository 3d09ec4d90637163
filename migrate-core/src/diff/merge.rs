//! The merge of source rows against the ledger blocks of one range.
//!
//! ```text
//! blocks of the range:  [a b c | d e f | g h]      rows of the range, in the same order:  a c X d e' f h
//! matched in order      a=unchanged  b=gone  c=unchanged  X=new (joins the block it lies in)  d  e'=changed  f  g=gone  h
//! ```
//!
//! Both sides follow the source's order, so a row mostly matches the next entry; only where it does not are the entries looked
//! up by hash. No key is ever compared for order.

use super::block::{BLOCK_ROWS, ColumnSums, Entry, LedgerBlock};
use super::index::KeyIndex;
use super::ordinals::{ROOMY, SPACING, place_between};
use crate::sink::Outcome;
use crate::state::StoredBlock;
use crate::value::Key;
use crate::value::canonical::Checksum;

/// What the ledger says of a source row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The ledger does not know the key.
    New,
    /// The key is known with another checksum; `Outcome` is what this execution did to the row before.
    Changed(Outcome),
    /// The key is known with the same checksum; `Outcome` is what this execution did to the row before.
    Equal(Outcome),
}

/// The ledger's part of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerEdit {
    /// Ordinals of blocks to remove.
    pub removed: Vec<i64>,
    /// Blocks to insert or overwrite.
    pub blocks: Vec<StoredBlock>,
}

/// How a merge ended.
#[derive(Debug, Default)]
pub struct Merged {
    /// What to write to the ledger.
    pub edit: LedgerEdit,
    /// The ordinal of the last block of the range, `None` if none is left.
    pub after: Option<i64>,
    /// The last block where it is so small that rows behind it had better join it: its ordinal and rows.
    pub small: Option<(i64, Vec<Entry>)>,
}

/// Merges the rows of one range with the blocks that cover it.
///
/// Call [`BlockMerge::look_up`] for every row in the source's order and then [`BlockMerge::keep`] for those that the target holds
/// afterwards; at the end take [`BlockMerge::gone`] and [`BlockMerge::finish`]. A merge without blocks is the tail of the ledger: everything in it is new.
#[derive(Debug)]
pub struct BlockMerge {
    position: String,
    execution: String,
    /// The ordinal that all new ones must exceed, and the one that the last block takes; `None` is the open tail.
    floor: i64,
    ceiling: Option<i64>,
    /// Whether no block follows the range, so that the ceiling may be raised.
    open: bool,
    last_key: Option<Key>,
    old: Vec<OldBlock>,
    entries: Vec<OldEntry>,
    /// The entry that the next row is expected to match.
    next: usize,
    by_key: Option<KeyIndex>,
    /// The block that rows are being added to.
    current: usize,
    fresh: Vec<Fresh>,
    /// The last block that was flushed.
    flushed: Option<StoredBlock>,
    /// The small last block that the tail goes on with, and how many kept rows are its.
    reopened: Option<i64>,
    carried: usize,
}

#[derive(Debug)]
struct OldBlock {
    ordinal: i64,
    last_key: Key,
    changed: bool,
}

#[derive(Debug)]
struct OldEntry {
    entry: Entry,
    block: usize,
    seen: bool,
}

#[derive(Debug)]
struct Fresh {
    entry: Entry,
    block: usize,
    /// Whether the target turned out not to hold the row.
    dropped: bool,
}

impl BlockMerge {
    /// Starts the merge of a range with the blocks that cover it, which follow the block `after`.
    ///
    /// `open` says that no block follows them. Outcomes in blocks of another execution are not this execution's and count as unchanged.
    pub fn new(blocks: Vec<LedgerBlock>, after: Option<i64>, open: bool, position: &str, execution: &str) -> Self {
        let mut merge = BlockMerge {
            position: position.to_owned(),
            execution: execution.to_owned(),
            floor: after.unwrap_or(0),
            ceiling: blocks.last().map(|b| b.ordinal),
            open,
            last_key: blocks.last().map(|b| b.last_key.clone()),
            old: Vec::with_capacity(blocks.len()),
            entries: Vec::with_capacity(blocks.iter().map(|b| b.entries.len()).sum()),
            next: 0,
            by_key: None,
            current: 0,
            fresh: Vec::new(),
            flushed: None,
            reopened: None,
            carried: 0,
        };
        for (block, content) in blocks.into_iter().enumerate() {
            merge.old.push(OldBlock { ordinal: content.ordinal, last_key: content.last_key.clone(), changed: false });
            merge.entries.extend(content.entries_of(execution).into_iter().map(|entry| OldEntry { entry, block, seen: false }));
        }
        merge
    }

    /// Starts the tail: rows behind the last block, which is `after`. A small last block is taken up again and filled.
    pub fn tail(after: Option<i64>, small: Option<(i64, Vec<Entry>)>, position: &str, execution: &str) -> Self {
        let mut merge = BlockMerge::new(Vec::new(), after, true, position, execution);
        if let Some((ordinal, rows)) = small {
            merge.carried = rows.len();
            merge.reopened = Some(ordinal);
            merge.fresh = rows.into_iter().map(|entry| Fresh { entry, block: 0, dropped: false }).collect();
        }
        merge
    }

    /// Returns what the ledger says of the next row.
    pub fn look_up(&mut self, key: &Key, checksum: &Checksum) -> Match {
        let Some(place) = self.place(key) else {
            self.current = self.block_behind();
            return Match::New;
        };
        self.next = place + 1;
        let found = &mut self.entries[place];
        found.seen = true;
        self.current = found.block;
        if &found.entry.checksum == checksum { Match::Equal(found.entry.outcome) } else { Match::Changed(found.entry.outcome) }
    }

    /// Returns the block of a row that follows the one matched last: the next one behind the last row of a block.
    fn block_behind(&self) -> usize {
        let Some(matched) = self.next.checked_sub(1).and_then(|place| self.entries.get(place)) else { return self.current };
        let ends = self.entries.get(self.next).is_none_or(|next| next.block != matched.block);
        if ends && matched.entry.key == self.old[matched.block].last_key {
            (matched.block + 1).min(self.old.len() - 1)
        } else {
            self.current
        }
    }

    /// Returns the checksum that the ledger has for a key, if any, without taking it as seen.
    pub fn recorded(&mut self, key: &Key) -> Option<Checksum> {
        self.place(key).map(|place| self.entries[place].entry.checksum)
    }

    fn place(&mut self, key: &Key) -> Option<usize> {
        if self.by_key.is_none() {
            match self.entries.get(self.next) {
                Some(expected) if &expected.entry.key == key => return Some(self.next),
                None if self.entries.is_empty() => return None,
                _ => {
                    // The first surprise: from here on the range is looked up by hash.
                    self.by_key = Some(KeyIndex::new(self.entries.len(), |place| &self.entries[place].entry.key));
                }
            }
        }
        match self.entries.get(self.next) {
            Some(expected) if &expected.entry.key == key => Some(self.next),
            _ => self.by_key.as_ref()?.find(key, |place| &self.entries[place].entry.key),
        }
    }

    /// Records that the target holds the row that was looked up last, or will when the batch commits. `same` says that nothing about the
    /// entry changes.
    pub fn keep(&mut self, key: Key, checksum: Checksum, outcome: Outcome, same: bool) {
        if let (false, Some(block)) = (same, self.old.get_mut(self.current)) {
            block.changed = true;
        }
        self.fresh.push(Fresh { entry: Entry { key, checksum, outcome, columns: None }, block: self.current, dropped: false });
    }

    /// Keeps a row as the ledger has it and returns what this execution did to it before; `None`, and nothing is kept, if the ledger does
    /// not know it.
    pub fn keep_as_it_is(&mut self, key: Key) -> Option<Outcome> {
        let place = self.place(&key)?;
        self.next = place + 1;
        let found = &mut self.entries[place];
        found.seen = true;
        self.current = found.block;
        let outcome = found.entry.outcome;
        let entry = Entry { key, checksum: found.entry.checksum, outcome, columns: found.entry.columns.clone() };
        self.fresh.push(Fresh { entry, block: self.current, dropped: false });
        Some(outcome)
    }

    /// Gives the row that was kept last the checksums of its columns. `same` says that the ledger has them already.
    pub fn keep_columns(&mut self, columns: ColumnSums, same: bool) {
        let Some(fresh) = self.fresh.last_mut() else { return };
        fresh.entry.columns = columns;
        if let (false, Some(block)) = (same, self.old.get_mut(fresh.block)) {
            block.changed = true;
        }
    }

    /// Returns the column checksums that the ledger has for a key, without taking it as seen.
    pub fn recorded_columns(&mut self, key: &Key) -> ColumnSums {
        self.place(key).and_then(|place| self.entries[place].entry.columns.clone())
    }

    /// Corrects what the ledger is to know of a kept row.
    pub fn restore(&mut self, kept: usize, checksum: Checksum, columns: ColumnSums) {
        if let Some(fresh) = self.fresh.get_mut(kept) {
            fresh.entry.checksum = checksum;
            fresh.entry.columns = columns;
        }
    }

    /// Corrects the outcome of a kept row, counted from the last flush, once the sink has told it.
    pub fn settle(&mut self, kept: usize, outcome: Outcome) {
        if let Some(fresh) = self.fresh.get_mut(kept) {
            fresh.entry.outcome = outcome;
            if let Some(block) = self.old.get_mut(fresh.block) {
                block.changed = true;
            }
        }
    }

    /// Corrects the checksum of a kept row to one that no row has: its content in the target is not known.
    pub fn forget_checksum(&mut self, kept: usize) {
        if let Some(fresh) = self.fresh.get_mut(kept) {
            fresh.entry.checksum = Entry::UNKNOWN;
        }
    }

    /// Takes back that the target holds a kept row.
    pub fn drop_kept(&mut self, kept: usize) {
        if let Some(fresh) = self.fresh.get_mut(kept) {
            fresh.dropped = true;
            if let Some(block) = self.old.get_mut(fresh.block) {
                block.changed = true;
            }
        }
    }

    /// Returns the last block that rows were flushed to, or that the merge follows.
    pub fn floor(&self) -> Option<i64> {
        (self.floor != 0).then_some(self.floor)
    }

    /// Returns the number of rows kept since the last flush.
    pub fn kept(&self) -> usize {
        self.fresh.len()
    }

    /// Returns the entries that no row matched, with what this execution did to them. Valid once the range was read to its end.
    pub fn gone(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| !e.seen).map(|e| &e.entry)
    }

    /// Ends the range: returns the edit that makes the ledger say what the target holds, touching only blocks that changed.
    pub fn finish(mut self) -> Merged {
        self.fresh.retain(|fresh| !fresh.dropped);
        let mut edit = LedgerEdit::default();
        if self.old.is_empty() {
            let after = self.append_tail(&mut edit);
            return Merged { edit, after, small: None };
        }
        if let [rest] = &self.old[..]
            && self.fresh.is_empty()
            && let Some(flushed) = self.flushed.take_if(|flushed| flushed.last_key == rest.last_key.as_bytes())
        {
            // The range was flushed at its very last row: the rest of it is nothing, and what was flushed last takes its place, so that
            // ranges keep their room however often that happens.
            edit.removed.push(flushed.ordinal);
            edit.blocks.push(StoredBlock { ordinal: rest.ordinal, ..flushed });
            return Merged { edit, after: self.ceiling, small: None };
        }
        for entry in self.entries.iter().filter(|e| !e.seen) {
            self.old[entry.block].changed = true;
        }
        let mut rows: Vec<Vec<Entry>> = (0..self.old.len()).map(|_| Vec::new()).collect();
        for fresh in std::mem::take(&mut self.fresh) {
            rows[fresh.block].push(fresh.entry);
        }
        self.join_small(&mut rows);
        let small = rows.last().filter(|r| r.len() < BLOCK_ROWS / 2).cloned().zip(self.ceiling).map(|(rows, at)| (at, rows));
        let (mut floor, mut ceiling) = (self.floor, self.ceiling);
        let count = self.old.len();
        for (i, (block, rows)) in self.old.iter().zip(rows).enumerate() {
            if block.changed {
                // The range's last block keeps its end, so that the range stays covered; others end at their last row.
                let end = if i + 1 == count { Some(&block.last_key) } else { None };
                let last = self.write_blocks(rows, floor, block.ordinal, end, &mut edit);
                ceiling = if i + 1 == count { Some(last) } else { ceiling };
            }
            floor = block.ordinal;
        }
        let small = small.zip(ceiling).map(|((_, rows), at)| (at, rows));
        Merged { edit, after: ceiling, small }
    }

    /// Joins neighbours that have become small, where one of them is written anyway: the first of them goes.
    fn join_small(&mut self, rows: &mut [Vec<Entry>]) {
        for at in 1..rows.len() {
            let both = self.old[at - 1].changed || self.old[at].changed;
            if both && rows[at - 1].len() + rows[at].len() <= BLOCK_ROWS {
                let mut joined = std::mem::take(&mut rows[at - 1]);
                joined.append(&mut rows[at]);
                rows[at] = joined;
                (self.old[at - 1].changed, self.old[at].changed) = (true, true);
            }
        }
    }

    /// Ends the part of the range that was read so far, up to and including the last row looked up, and goes on behind it.
    ///
    /// Entries not seen so far stay for the rest of the range: whether they are gone is known only at its end.
    ///
    /// Returns `None`, and changes nothing, where the ordinals leave no room between the blocks: the range is then one commit.
    pub fn flush(&mut self) -> Option<LedgerEdit> {
        self.fresh.retain(|fresh| !fresh.dropped);
        let mut edit = LedgerEdit::default();
        let Some(ceiling) = self.ceiling else {
            self.append_tail(&mut edit);
            return Some(edit);
        };
        let unseen = self.entries.iter().filter(|e| !e.seen).count();
        let (kept_count, rest_count) = (self.fresh.len().div_ceil(BLOCK_ROWS), unseen.div_ceil(BLOCK_ROWS).max(1));
        // Behind the ledger's last block there is always room.
        let ceiling = if self.open { ceiling.max(self.floor.saturating_add(ROOMY * BLOCK_ROWS as i64)) } else { ceiling };
        let (kept, rest) = ((kept_count, self.fresh.len()), (rest_count, unseen));
        let (kept_at, rest_at) = place_between(self.floor, ceiling, kept, rest)?;
        self.ceiling = Some(ceiling);
        edit.removed.extend(self.old.iter().map(|b| b.ordinal));
        for (ordinal, rows) in kept_at.into_iter().zip(chunk(self.fresh.drain(..).map(|f| f.entry))) {
            let Some(last) = rows.last().map(|e| e.key.clone()) else { continue };
            edit.blocks.push(self.block(ordinal, last, rows).pack());
            self.floor = ordinal;
        }
        self.flushed = edit.blocks.last().cloned().or(self.flushed.take());
        let rest: Vec<Entry> = self.entries.drain(..).filter(|e| !e.seen).map(|e| e.entry).collect();
        let mut rest = chunk(rest.into_iter());
        if rest.is_empty() {
            rest.push(Vec::new());
        }
        (self.old, self.next, self.by_key, self.current) = (Vec::new(), 0, None, 0);
        for (i, (ordinal, rows)) in rest_at.into_iter().zip(rest).enumerate() {
            let last_key = match rows.last() {
                Some(last) if i + 1 < rest_count => last.key.clone(),
                _ => self.last_key.clone().unwrap_or_default(),
            };
            edit.blocks.push(self.block(ordinal, last_key.clone(), rows.clone()).pack());
            self.old.push(OldBlock { ordinal, last_key, changed: false });
            self.entries.extend(rows.into_iter().map(|entry| OldEntry { entry, block: i, seen: false }));
        }
        edit.removed.retain(|ordinal| !edit.blocks.iter().any(|b| b.ordinal == *ordinal));
        Some(edit)
    }

    /// Writes the rows that take the place of one block, whose ordinal the last of them keeps but at the ledger's end, where they may go
    /// on behind it; returns the ordinal of the last.
    fn write_blocks(&self, rows: Vec<Entry>, floor: i64, ordinal: i64, end: Option<&Key>, edit: &mut LedgerEdit) -> i64 {
        if rows.is_empty() && end.is_none() {
            edit.removed.push(ordinal);
            return ordinal;
        }
        let mut chunks = if rows.len() > 2 * BLOCK_ROWS { chunk(rows.into_iter()) } else { vec![rows] };
        let (own, mut ordinal) = (ordinal, ordinal);
        if self.open && end.is_some() && chunks.len() > 1 && (ordinal - floor) / (chunks.len() as i64) < ROOMY {
            ordinal = floor + SPACING * chunks.len() as i64;
            edit.removed.push(own);
        }
        let step = (ordinal - floor) / chunks.len() as i64;
        if step == 0 {
            chunks = vec![chunks.concat()];
        }
        let count = chunks.len() as i64;
        for (i, rows) in chunks.into_iter().enumerate() {
            let last = i as i64 + 1 == count;
            let at = if last { ordinal } else { floor + step * (i as i64 + 1) };
            let last_key = match (last, end, rows.last()) {
                (true, Some(end), _) => end.clone(),
                (_, _, Some(row)) => row.key.clone(),
                (_, _, None) => continue,
            };
            edit.blocks.push(self.block(at, last_key, rows).pack());
        }
        ordinal
    }

    /// Appends the kept rows behind the ledger's end and moves the floor behind them.
    fn append_tail(&mut self, edit: &mut LedgerEdit) -> Option<i64> {
        if self.fresh.len() == self.carried {
            return self.reopened.filter(|_| self.carried > 0).or((self.floor != 0).then_some(self.floor));
        }
        self.carried = 0;
        // Drained, its room is kept for the next rows: growing to it again would take as long as all else that is done with them here.
        for rows in chunk(self.fresh.drain(..).map(|f| f.entry)) {
            let last_key = rows.last().map(|e| e.key.clone())?;
            self.floor = self.reopened.take().unwrap_or(self.floor + SPACING);
            edit.blocks.push(self.block(self.floor, last_key, rows).pack());
        }
        Some(self.floor)
    }

    fn block(&self, ordinal: i64, last_key: Key, entries: Vec<Entry>) -> LedgerBlock {
        LedgerBlock { ordinal, last_key, entries, position: self.position.clone(), execution: self.execution.clone() }
    }
}

/// Cuts rows into blocks of about the same size.
fn chunk(mut rows: impl ExactSizeIterator<Item = Entry>) -> Vec<Vec<Entry>> {
    let mut blocks = Vec::with_capacity(rows.len() / BLOCK_ROWS + 1);
    while rows.len() > 0 {
        blocks.push(rows.by_ref().take(BLOCK_ROWS).collect());
    }
    blocks
}

#[cfg(test)]
mod tests;
