//! What holds for an entity as a whole that is walked in parts.

use super::*;
use migrate_core::job::DeleteMode;

/// Rows that are walked in four parts, as far as a run is not limited.
fn in_parts(rows: &BTreeMap<i64, i64>) -> Bench {
    let mut bench = Bench::new(rows);
    bench.options = RunOptions::new().with_parallel(4).with_part_bytes(1);
    bench
}

#[tokio::test]
async fn a_limit_is_one_of_all_parts_together() {
    let mut rows = range(0..4000);
    let mut bench = deleting(in_parts(&rows), Deletes::new(DeleteMode::Hard));
    bench.counters().await;
    // Something of everything in every part: in the first, and in those that a limit does not come to.
    for part in 0..4 {
        rows.insert(part * 1000 + 10, -1);
        rows.remove(&(part * 1000 + 20));
        rows.insert(part * 1000 + 5, -1);
    }
    fill(&bench.from, &rows);
    for (limit, updated) in [(0, 0), (100, 2), (1500, 4)] {
        bench.options = bench.options.clone().with_limit(limit);
        let preview = bench.preview().await;
        assert_eq!((preview.changes[0].counters.read, preview.changes[0].counters.updated), (limit, updated), "limit {limit}");
    }
    for (limit, updated) in [(0, 0), (100, 2), (1500, 2)] {
        bench.options = bench.options.clone().with_limit(limit);
        let counters = bench.counters().await;
        assert_eq!((counters.read, counters.updated, counters.deleted), (limit, updated, 0), "limit {limit}");
    }
    assert_eq!(held(&bench.to).len(), 4000, "nothing is deleted");
    bench.options = RunOptions::new().with_parallel(4).with_part_bytes(1);
    let counters = bench.counters().await;
    assert_eq!((counters.read, counters.updated, counters.deleted), (3996, 4, 4), "what was not read has advanced nothing");
    assert_eq!(held(&bench.to), expected(&rows));
}
