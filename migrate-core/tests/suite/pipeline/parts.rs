//! What holds for an entity as a whole that is walked in parts.

use super::*;
use migrate_core::ErrorKind;
use migrate_core::job::{DeleteMode, QuarantineLimit};

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

#[tokio::test]
async fn how_many_rows_may_be_refused_is_judged_for_all_parts_together() {
    let share = QuarantineLimit::Percent(5.0);
    // The rows of each part that do not fit, the limit, and whether it is kept.
    for (what, bad, limit, kept) in [
        ("many in each", [40, 40, 40, 40], QuarantineLimit::Rows(50), false),
        ("as many as may be", [13, 12, 13, 12], QuarantineLimit::Rows(50), true),
        ("a share of all that one part has alone", [180, 0, 0, 0], share, true),
        ("the same in the last part", [0, 0, 0, 180], share, true),
        ("a share that is too large", [60, 60, 60, 60], share, false),
    ] {
        for batch in [100, 1_000_000] {
            let mut rows = range(0..4000);
            for (part, bad) in (0..).zip(bad) {
                rows.extend((0..bad).map(|row| (part * 1000 + row * 5, 1 << 20)));
            }
            let mut bench = in_parts(&rows);
            let narrow = [("id", DataType::Int64), ("name", DataType::TEXT), ("n", DataType::Int16)];
            bench.to.create_table(table("t", &narrow, &["id"])).expect("a new table");
            bench.options = bench.options.clone().with_batch_rows(batch).with_max_quarantined(limit);
            let report = bench.run().await.expect("the run begins");
            let expected = if kept { None } else { Some(ErrorKind::TooManyRefused) };
            assert_eq!(report.error_kind, expected, "{what}, batches of {batch}: {:?}", report.error);
        }
    }
}
