//! Rows that the source has lost.

use super::*;
use migrate_core::ErrorKind;
use migrate_core::job::{DeleteGuard, DeleteMode, ExecutionState, LeftFilter};
use migrate_core::schema::UniqueKey;

#[tokio::test]
async fn rows_that_the_source_has_lost_stay_go_or_are_marked_as_the_job_says() {
    for (mode, left) in [(DeleteMode::Ignore, 3000), (DeleteMode::Hard, 2600)] {
        let mut rows = range(0..3000);
        let bench = deleting(Bench::new(&rows), Deletes::new(mode));
        bench.counters().await;
        // A row of somebody else, which no ledger knows.
        bench.to.insert("t", row(-1, 1)).expect("the row fits");
        rows.retain(|key, _| !(1000..1400).contains(key));
        fill(&bench.from, &rows);
        let counters = bench.counters().await;
        assert_eq!((counters.unchanged, counters.deleted), (2600, if mode == DeleteMode::Hard { 400 } else { 0 }), "{mode}");
        assert_eq!(held(&bench.to).len(), left + 1, "{mode}");
        let again = bench.counters().await;
        assert_eq!((again.unchanged, again.deleted), (2600, 0), "P4: {mode}");
    }
}

#[tokio::test]
async fn a_marked_row_keeps_its_content_and_loses_its_mark_when_it_is_back() {
    let mut rows = range(0..10);
    let bench = deleting(Bench::new(&rows), Deletes::new(DeleteMode::Soft).with_column("deleted_at"));
    bench.counters().await;
    rows.remove(&3);
    fill(&bench.from, &rows);
    assert_eq!(bench.counters().await.deleted, 1);
    let marked = held(&bench.to)[&3].clone();
    assert_eq!(marked[..3], row(3, 21));
    assert!(matches!(marked[3], Value::TimestampTz(_)), "{marked:?}");
    assert_eq!(bench.counters().await.deleted, 0, "P4");
    assert_eq!(held(&bench.to)[&3], marked);
    rows.insert(3, 21);
    fill(&bench.from, &rows);
    assert_eq!(bench.counters().await.updated, 1);
    assert_eq!(held(&bench.to)[&3][3], Value::Null);
}

#[tokio::test]
async fn too_many_deletions_are_refused_before_the_first() {
    let rows = range(0..3000);
    let bench = deleting(Bench::new(&rows), Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Percent(10.0)));
    bench.counters().await;
    fill(&bench.from, &range(0..2600));
    let report = bench.run().await.expect("the run begins");
    assert_eq!((report.status, report.error_kind), (ExecutionState::Failed, Some(ErrorKind::Refused)));
    assert!(report.error.expect("why").contains("400 of 3000"));
    assert_eq!(held(&bench.to).len(), 3000);
    // The next run goes on with the refused one, and knows the rows still.
    let allowed = Bench { options: bench.options.clone().with_max_deletes(DeleteGuard::Rows(400)), ..bench };
    assert_eq!(allowed.counters().await.deleted, 400);
    assert_eq!(held(&allowed.to).len(), 2600);
}

#[tokio::test]
async fn a_row_that_leaves_the_filter_stays_unless_the_job_says_otherwise() {
    for left_filter in [LeftFilter::Keep, LeftFilter::Delete] {
        let mut rows = range(0..100);
        let mut bench = deleting(Bench::new(&rows), Deletes::new(DeleteMode::Hard));
        bench.job = Job::new("copy", "from", "to")
            .with_entity(Entity::new("t").with_filter("n < 1000"))
            .with_deletes(Deletes::new(DeleteMode::Hard))
            .with_left_filter(left_filter);
        bench.counters().await;
        rows.insert(5, 2000);
        rows.remove(&6);
        fill(&bench.from, &rows);
        let deleted = if left_filter == LeftFilter::Delete { 2 } else { 1 };
        assert_eq!(bench.counters().await.deleted, deleted);
        assert_eq!(held(&bench.to).contains_key(&5), left_filter == LeftFilter::Keep);
        assert!(!held(&bench.to).contains_key(&6));
        assert_eq!(bench.counters().await.deleted, 0);
    }
}

#[tokio::test]
async fn a_unique_value_of_a_deleted_row_can_be_taken_by_a_new_one_in_the_same_run() {
    let mut unique = table("t", &NAMES, &["id"]);
    unique.unique_keys.push(UniqueKey { name: Some("one_name".into()), ..UniqueKey::new(["name"]) });
    let mut rows = range(0..10);
    let bench = deleting(Bench::new(&rows), Deletes::new(DeleteMode::Hard));
    bench.to.create_table(unique).expect("a new table");
    bench.counters().await;
    let taken = rows.remove(&7).expect("it was there");
    rows.insert(2, taken);
    rows.insert(20, 14);
    fill(&bench.from, &rows);
    let counters = bench.counters().await;
    assert_eq!((counters.inserted, counters.updated, counters.deleted, counters.quarantined), (1, 1, 1, 0));
    assert_eq!(held(&bench.to), expected(&rows));
}
