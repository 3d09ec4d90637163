//! Refused rows that are sent again.

use super::*;
use migrate_core::memory::Call;
use migrate_core::{ErrorKind, Sink};

#[tokio::test]
async fn a_run_that_goes_on_with_a_failed_replay_takes_no_row_of_earlier_runs_for_its_own() {
    let narrow = [("id", DataType::Int64), ("name", DataType::TEXT), ("n", DataType::Int16)];
    for failing in 1..=3 {
        let mut rows = range(0..10);
        let mut bench = Bench::new(&rows);
        bench.job = bench.job.clone().with_entity(Entity::new("other"));
        bench.options = bench.options.with_parallel(1);
        bench.from.create_table(table("other", &NAMES, &["id"])).expect("a new table");
        for name in ["t", "other"] {
            bench.to.create_table(table(name, &narrow, &["id"])).expect("a new table");
            // One that does not fit, behind all others.
            bench.from.insert(name, row(10, 1 << 20)).expect("the row fits");
        }
        let report = bench.run().await.expect("the run begins");
        assert_eq!(report.entities.iter().map(|entity| entity.counters.quarantined).collect::<Vec<_>>(), [1, 1]);
        rows.insert(10, 5);
        fill(&bench.from, &rows);
        bench.from.delete("other", |_| true).expect("the table is there");
        bench.from.insert("other", row(10, 5)).expect("the row fits");
        let refused = bench.to.sink().state().quarantine("copy", None, usize::MAX).await.expect("the quarantine can be read");
        bench.to.faults().fail(Call::Commit, failing, ErrorKind::Internal);
        let replay = bench.pipeline().expect("the job is sound").replay(&refused, &CancelToken::new()).await;
        bench.to.faults().clear();
        assert_eq!(replay.expect("the replay begins").error.is_some(), failing < 3, "commit {failing}");
        rows.remove(&3);
        fill(&bench.from, &rows);
        let counters = bench.counters().await;
        assert_eq!((counters.deleted, counters.unchanged + counters.inserted), (0, 10), "commit {failing}: {counters:?}");
        assert!(counters.inserted <= 1, "commit {failing}: {counters:?}");
        assert!(held(&bench.to).contains_key(&3), "commit {failing}: the job deletes nothing");
    }
}
