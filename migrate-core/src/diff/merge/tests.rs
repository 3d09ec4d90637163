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
struct Ledger(BTreeMap<i64, StoredBlock>, usize);

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
    let before = ledger.blocks();
    for (n, blocks) in before.chunks(group).enumerate() {
        let open = (n + 1) * group >= before.len();
        let end = match blocks.last().expect("chunks are not empty").last_key.values().expect("a key")[..] {
            [Value::Int(i)] => i,
            _ => unreachable!("keys are integers here"),
        };
        let mut merge = BlockMerge::new(blocks.to_vec(), after, open, "p", "e");
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
        if n % flush == flush - 1 {
            match merge.flush() {
                Some(edit) => ledger.apply(edit),
                None => ledger.1 += 1,
            }
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
fn ranges_that_are_flushed_row_by_row_again_and_again_keep_room() {
    for (rows, group) in [(11, 2), (11, 1), (2_500, 2)] {
        let mut ledger = Ledger::default();
        for run in 0..if rows < 100 { 500 } else { 3 } {
            let source: BTreeMap<i64, i64> = (0..rows).map(|k| (k, run)).collect();
            assert!(walk(&mut ledger, &source, group, 1).is_empty());
            assert_eq!(ledger.1, 0, "run {run} of {rows} rows, {group} blocks at once");
            assert_eq!(ledger.rows(), source.iter().map(|(k, v)| (*k, sum(*v))).collect());
        }
        let blocks = rows as usize / BLOCK_ROWS + 1;
        assert!(ledger.0.len() > blocks);
        // Small blocks join again where they are written anyway.
        walk(&mut ledger, &(0..rows).map(|k| (k, -1)).collect(), 32, usize::MAX);
        walk(&mut ledger, &(0..rows).map(|k| (k, -2)).collect(), usize::MAX, usize::MAX);
        assert!(ledger.0.len() <= 2 * blocks, "{}", ledger.0.len());
    }
}

#[test]
fn rows_that_come_before_the_last_one_again_and_again_make_no_giant_block() {
    let mut ledger = Ledger::default();
    let mut source = BTreeMap::from([(i64::MAX - 1, 0)]);
    for run in 0..60 {
        source.extend((0..5_000).map(|k| (run * 5_000 + k, run)));
        walk(&mut ledger, &source, 32, usize::MAX);
    }
    assert_eq!(ledger.rows().len(), source.len());
    let largest = ledger.blocks().iter().map(|b| b.entries.len()).max();
    assert!(largest.is_some_and(|rows| rows <= 2 * BLOCK_ROWS), "{largest:?}");
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
