//! What a comparison has found, written and deleted.

use super::*;
use migrate_core::job::{DeleteGuard, DeleteMode};
use migrate_core::verify::{repair, verify};

/// Repairs what differs; returns what became of the rows.
async fn repaired(bench: &Bench, delete_extra: bool) -> Counters {
    let pipeline = bench.pipeline().expect("the job is sound");
    let found = verify(&pipeline, &CancelToken::new()).await.expect("both sides can be read");
    assert!(!found.equal);
    let report = repair(&pipeline, &found, delete_extra, &CancelToken::new()).await.expect("the repair begins");
    assert_eq!(report.error, None);
    let again = verify(&pipeline, &CancelToken::new()).await.expect("both sides can be read");
    assert!(again.equal, "{again:?}");
    balanced(&report)
}

#[tokio::test]
async fn rows_that_the_source_has_lost_are_counted_once_by_a_repair_and_its_guard() {
    let mut rows = range(0..100);
    let bench = deleting(Bench::new(&rows), Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Rows(7)));
    bench.counters().await;
    rows.retain(|key, _| *key >= 6);
    fill(&bench.from, &rows);
    // A row of somebody else.
    bench.to.insert("t", row(-1, 1)).expect("the row fits");
    assert_eq!(repaired(&bench, false).await.deleted, 7);
    assert_eq!(held(&bench.to), expected(&rows));
    let again = bench.counters().await;
    assert_eq!((again.unchanged, again.deleted), (94, 0), "P4: {again:?}");
}

#[tokio::test]
async fn rows_of_others_that_a_repair_deletes_are_counted_also_where_the_job_marks_its_own() {
    let mut rows = range(0..100);
    let bench = deleting(Bench::new(&rows), Deletes::new(DeleteMode::Soft).with_column("deleted_at"));
    bench.counters().await;
    rows.remove(&3);
    fill(&bench.from, &rows);
    for stranger in 1..=4 {
        let mut row = row(-stranger, 1);
        row.push(Value::Null);
        bench.to.insert("t", row).expect("the row fits");
    }
    // One row is marked, four are deleted.
    assert_eq!(repaired(&bench, true).await.deleted, 5);
    assert_eq!(held(&bench.to).len(), 100);
    assert_ne!(held(&bench.to)[&3][3], Value::Null);
    let again = bench.counters().await;
    assert_eq!((again.unchanged, again.deleted), (99, 0), "P4: {again:?}");
}
