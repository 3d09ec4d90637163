//! The merge of source rows against the ledger blocks of one range.
//!
//! ```text
//! blocks of the range:  [a b c | d e f | g h]      rows of the range, in the same order:  a c X d e' f h
//! matched in order      a=unchanged  b=gone  c=unchanged  X=new (joins the block before)  d  e'=changed  f  g=gone  h
//! ```
//!
//! Both sides follow the source's order, so a row mostly matches the next entry; only where it does not are the entries looked
//! up by hash. No key is ever compared for order.

use super::block::{BLOCK_ROWS, ColumnSums, Entry, LedgerBlock};
use crate::sink::Outcome;
use crate::state::StoredBlock;
use crate::value::Key;
use crate::value::canonical::Checksum;
use std::collections::HashMap;

/// Blocks are numbered this far apart, so that others fit between them later.
const SPACING: i64 = 1 << 40;
/// Blocks that are squeezed between two others keep at least this distance while there is room.
const SQUEEZED: i64 = 1 << 16;

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
    last_key: Option<Key>,
    old: Vec<OldBlock>,
    entries: Vec<OldEntry>,
    /// The entry that the next row is expected to match.
    next: usize,
    by_key: Option<HashMap<Key, usize>>,
    /// The block that rows are being added to.
    current: usize,
    fresh: Vec<Fresh>,
    /// The last key that was flushed.
    flushed: Option<Key>,
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
    /// Outcomes in blocks of another execution are not this execution's and count as unchanged.
    pub fn new(blocks: Vec<LedgerBlock>, after: Option<i64>, position: &str, execution: &str) -> Self {
        let mut merge = BlockMerge {
            position: position.to_owned(),
            execution: execution.to_owned(),
            floor: after.unwrap_or(0),
            ceiling: blocks.last().map(|b| b.ordinal),
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
            merge.old.push(OldBlock { ordinal: content.ordinal, last_key: content.last_key, changed: false });
            let own = content.execution == execution;
            merge.entries.extend(content.entries.into_iter().map(|mut entry| {
                if !own {
                    entry.outcome = Outcome::Unchanged;
                }
                OldEntry { entry, block, seen: false }
            }));
        }
        merge
    }

    /// Starts the tail: rows behind the last block, which is `after`. A small last block is taken up again and filled.
    pub fn tail(after: Option<i64>, small: Option<(i64, Vec<Entry>)>, position: &str, execution: &str) -> Self {
        let mut merge = BlockMerge::new(Vec::new(), after, position, execution);
        if let Some((ordinal, rows)) = small {
            merge.carried = rows.len();
            merge.reopened = Some(ordinal);
            merge.fresh = rows.into_iter().map(|entry| Fresh { entry, block: 0, dropped: false }).collect();
        }
        merge
    }

    /// Returns what the ledger says of the next row.
    pub fn look_up(&mut self, key: &Key, checksum: &Checksum) -> Match {
        let Some(place) = self.place(key) else { return Match::New };
        self.next = place + 1;
        let found = &mut self.entries[place];
        found.seen = true;
        self.current = found.block;
        if &found.entry.checksum == checksum { Match::Equal(found.entry.outcome) } else { Match::Changed(found.entry.outcome) }
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
                    self.by_key = Some(self.entries.iter().enumerate().map(|(i, e)| (e.entry.key.clone(), i)).collect());
                }
            }
        }
        match self.entries.get(self.next) {
            Some(expected) if &expected.entry.key == key => Some(self.next),
            _ => self.by_key.as_ref()?.get(key).copied(),
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
            && self.flushed.as_ref() == Some(&rest.last_key)
        {
            // The range was flushed at its very last row: the rest of it is nothing.
            edit.removed.push(rest.ordinal);
            return Merged { edit, after: self.floor(), small: None };
        }
        for entry in self.entries.iter().filter(|e| !e.seen) {
            self.old[entry.block].changed = true;
        }
        let mut rows: Vec<Vec<Entry>> = (0..self.old.len()).map(|_| Vec::new()).collect();
        for fresh in std::mem::take(&mut self.fresh) {
            rows[fresh.block].push(fresh.entry);
        }
        let small = rows.last().filter(|r| r.len() < BLOCK_ROWS / 2).cloned().zip(self.ceiling).map(|(rows, at)| (at, rows));
        let mut floor = self.floor;
        let count = self.old.len();
        for (i, (block, rows)) in self.old.iter().zip(rows).enumerate() {
            if block.changed {
                // The range's last block keeps its end, so that the range stays covered; others end at their last row.
                let end = if i + 1 == count { Some(&block.last_key) } else { None };
                self.write_blocks(rows, floor, block.ordinal, end, &mut edit);
            }
            floor = block.ordinal;
        }
        Merged { edit, after: self.ceiling, small }
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
        let (kept_at, rest_at) = place_between(self.floor, ceiling, kept_count, rest_count)?;
        edit.removed.extend(self.old.iter().map(|b| b.ordinal));
        for (ordinal, rows) in kept_at.into_iter().zip(chunk(self.fresh.drain(..).map(|f| f.entry).collect())) {
            let Some(last) = rows.last().map(|e| e.key.clone()) else { continue };
            edit.blocks.push(self.block(ordinal, last.clone(), rows).pack());
            (self.floor, self.flushed) = (ordinal, Some(last));
        }
        let rest: Vec<Entry> = self.entries.drain(..).filter(|e| !e.seen).map(|e| e.entry).collect();
        let mut rest = chunk(rest);
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

    /// Writes the rows that take the place of one block, whose ordinal the last of them keeps.
    fn write_blocks(&self, rows: Vec<Entry>, floor: i64, ordinal: i64, end: Option<&Key>, edit: &mut LedgerEdit) {
        if rows.is_empty() && end.is_none() {
            edit.removed.push(ordinal);
            return;
        }
        let mut chunks = if rows.len() > 2 * BLOCK_ROWS { chunk(rows) } else { vec![rows] };
        let count = chunks.len() as i64;
        let step = (ordinal - floor) / count;
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
    }

    /// Appends the kept rows behind the ledger's end and moves the floor behind them.
    fn append_tail(&mut self, edit: &mut LedgerEdit) -> Option<i64> {
        if self.fresh.len() == self.carried {
            return self.reopened.filter(|_| self.carried > 0).or((self.floor != 0).then_some(self.floor));
        }
        self.carried = 0;
        for rows in chunk(std::mem::take(&mut self.fresh).into_iter().map(|f| f.entry).collect()) {
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
fn chunk(rows: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut blocks = Vec::with_capacity(rows.len() / BLOCK_ROWS + 1);
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        blocks.push(rows.by_ref().take(BLOCK_ROWS).collect());
    }
    blocks
}

/// Finds ordinals in `(floor, ceiling]` for `first` blocks near the floor and `second` blocks up to the ceiling; none where there is no room.
fn place_between(floor: i64, ceiling: i64, first: usize, second: usize) -> Option<(Vec<i64>, Vec<i64>)> {
    let (first, second) = (first as i64, second as i64);
    let step = ((ceiling - floor) / (first + second)).min(SQUEEZED);
    if step == 0 {
        return None;
    }
    let low = (1..=first).map(|i| floor + i * step).collect();
    let start = floor + first * step;
    let wide = (ceiling - start) / second;
    let high = (1..=second).map(|i| if i == second { ceiling } else { start + i * wide }).collect();
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key(i: i64) -> Key {
        Key::from_values([&Value::Int(i)])
    }

    fn sum(i: i64) -> Checksum {
        let mut sum = [1; 16];
        sum[..8].copy_from_slice(&i.to_be_bytes());
        sum
    }

    /// A ledger in memory, edited as a target would.
    #[derive(Default)]
    struct Ledger(BTreeMap<i64, StoredBlock>);

    impl Ledger {
        fn apply(&mut self, edit: LedgerEdit) {
            for ordinal in edit.removed {
                assert!(self.0.remove(&ordinal).is_some(), "block {ordinal} was there");
            }
            for block in edit.blocks {
                self.0.insert(block.ordinal, block);
            }
        }

        fn blocks(&self) -> Vec<LedgerBlock> {
            self.0.values().map(|b| LedgerBlock::unpack(b).expect("it was packed by us")).collect()
        }

        fn rows(&self) -> BTreeMap<i64, Checksum> {
            let int = |key: &Key| match key.values().expect("a key")[..] {
                [Value::Int(i)] => i,
                _ => unreachable!("keys are integers here"),
            };
            self.blocks().iter().flat_map(|b| b.entries.iter().map(|e| (int(&e.key), e.checksum)).collect::<Vec<_>>()).collect()
        }
    }

    /// Walks `source` against the ledger as the pipeline does, flushing after every `flush` rows, and returns the keys found gone.
    fn walk(ledger: &mut Ledger, source: &BTreeMap<i64, i64>, group: usize, flush: usize) -> Vec<Key> {
        let mut gone = Vec::new();
        let (mut after, mut from, mut small) = (None, i64::MIN, None);
        for blocks in ledger.blocks().chunks(group) {
            let end = match blocks.last().expect("chunks are not empty").last_key.values().expect("a key")[..] {
                [Value::Int(i)] => i,
                _ => unreachable!("keys are integers here"),
            };
            let mut merge = BlockMerge::new(blocks.to_vec(), after, "p", "e");
            // Empty where the range before was flushed at its very last row.
            feed(ledger, &mut merge, source.range(from..end + 1), flush);
            gone.extend(merge.gone().map(|e| e.key.clone()));
            let merged = merge.finish();
            ledger.apply(merged.edit);
            (after, small, from) = (merged.after, merged.small, end + 1);
        }
        let mut merge = BlockMerge::tail(after, small, "p", "e");
        feed(ledger, &mut merge, source.range(from..), flush);
        let merged = merge.finish();
        ledger.apply(merged.edit);
        gone
    }

    fn feed<'a>(ledger: &mut Ledger, merge: &mut BlockMerge, rows: impl Iterator<Item = (&'a i64, &'a i64)>, flush: usize) {
        for (n, (k, v)) in rows.enumerate() {
            let same = matches!(merge.look_up(&key(*k), &sum(*v)), Match::Equal(_));
            merge.keep(key(*k), sum(*v), Outcome::Inserted, same);
            if n % flush == flush - 1
                && let Some(edit) = merge.flush()
            {
                ledger.apply(edit);
            }
        }
    }

    proptest! {
        #[test]
        fn after_any_history_of_walks_the_ledger_equals_the_source(
            history in proptest::collection::vec(proptest::collection::btree_map(0i64..6000, 0i64..3, 0..4000), 1..5),
            group in 1usize..4,
            flush in 300usize..5000,
        ) {
            let mut ledger = Ledger::default();
            let mut before: BTreeMap<i64, i64> = BTreeMap::new();
            for source in history {
                let gone = walk(&mut ledger, &source, group, flush);
                let expected: Vec<Key> = before.keys().filter(|k| !source.contains_key(k)).map(|k| key(*k)).collect();
                prop_assert_eq!(gone.len(), expected.len());
                prop_assert!(expected.iter().all(|k| gone.contains(k)));
                prop_assert_eq!(ledger.rows(), source.iter().map(|(k, v)| (*k, sum(*v))).collect::<BTreeMap<_, _>>());
                before = source;
            }
        }
    }

    #[test]
    fn an_unchanged_source_edits_nothing() {
        let source: BTreeMap<i64, i64> = (0..5000).map(|k| (k, k)).collect();
        let mut ledger = Ledger::default();
        walk(&mut ledger, &source, 2, usize::MAX);
        let before: Vec<LedgerBlock> = ledger.blocks();
        walk(&mut ledger, &source, 2, usize::MAX);
        assert_eq!(ledger.blocks(), before);
        assert_eq!(before.len(), 5);
    }

    #[test]
    fn a_flush_at_the_last_row_of_a_range_leaves_no_block_without_rows() {
        let mut ledger = Ledger::default();
        let source: BTreeMap<i64, i64> = (0..900).map(|k| (k, k)).collect();
        walk(&mut ledger, &source, 2, usize::MAX);
        let changed: BTreeMap<i64, i64> = (0..900).map(|k| (k, k + 1)).collect();
        for _ in 0..3 {
            assert!(walk(&mut ledger, &changed, 1, 900).is_empty());
            assert_eq!(ledger.rows(), changed.iter().map(|(k, v)| (*k, sum(*v))).collect());
        }
        let sizes: Vec<usize> = ledger.blocks().iter().map(|b| b.entries.len()).collect();
        assert_eq!(sizes, [900]);
    }

    #[test]
    fn rows_added_at_the_end_run_by_run_fill_the_last_block() {
        let mut ledger = Ledger::default();
        let mut source = BTreeMap::new();
        for run in 0..100 {
            source.insert(run, run);
            walk(&mut ledger, &source, 2, usize::MAX);
        }
        assert_eq!(ledger.blocks().len(), 1);
    }
}
