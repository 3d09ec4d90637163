//! Histories of changes at the source, with dry runs, and with whatever fails.

use super::*;
use migrate_core::ErrorKind;
use migrate_core::job::{DeleteGuard, DeleteMode, ExecutionState, Mode};
use migrate_core::memory::Call;

#[derive(Debug, Clone)]
enum Fault {
    Target(u64, ErrorKind),
    LostAnswer(u64),
    Source(u64),
    Rows(u64),
}

fn faults() -> impl Strategy<Value = Fault> {
    let kinds = prop_oneof![
        Just(ErrorKind::Conflict),
        Just(ErrorKind::ConnectionLost),
        Just(ErrorKind::CommitUnknown),
        // Stands for a killed process: nothing tries again within this run.
        Just(ErrorKind::Internal),
    ];
    prop_oneof![
        (1u64..40, kinds).prop_map(|(n, kind)| Fault::Target(n, kind)),
        (1u64..40).prop_map(Fault::LostAnswer),
        (1u64..6).prop_map(Fault::Source),
        (1u64..6).prop_map(Fault::Rows),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The dry run is exact: it counts what the run then does, and writes nothing.
    #[test]
    fn a_preview_says_what_the_run_then_does(
        history in proptest::collection::vec(proptest::collection::btree_map(-300i64..1200, 0i64..4, 0..1200), 1..4),
        edits in proptest::collection::btree_map(-300i64..1200, 5i64..9, 0..30),
        mode in prop_oneof![Just(Mode::Replace), Just(Mode::Append)],
        deletes in prop_oneof![Just(DeleteMode::Ignore), Just(DeleteMode::Hard)],
        strategy in strategies(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let deletes = Deletes::new(deletes).with_max(DeleteGuard::Percent(100.0));
            let mut bench = deleting(Bench::new(&BTreeMap::new()), deletes);
            bench.job.mode = mode;
            bench.options = bench.options.with_strategy(strategy);
            bench.to.create_table(table("t", &NAMES, &["id"])).expect("a new table");
            for (key, value) in &edits {
                bench.to.insert("t", row(*key, *value)).expect("the row fits");
            }
            for rows in history {
                fill(&bench.from, &rows);
                let before = held(&bench.to);
                let (writes, commits) = (bench.to.faults().calls(Call::Write), bench.to.faults().calls(Call::Commit));
                let preview = bench.preview().await;
                assert_eq!(held(&bench.to), before);
                assert_eq!((bench.to.faults().calls(Call::Write), bench.to.faults().calls(Call::Commit)), (writes, commits));
                assert_eq!(bench.preview().await.hash, preview.hash, "the same changes have the same hash");
                let report = bench.run().await.expect("the run begins");
                assert_eq!(Counters { bytes: 0, ..preview.changes[0].counters }, Counters { bytes: 0, ..balanced(&report) });
                let done = bench.preview().await;
                let counters = done.changes[0].counters;
                assert_eq!((counters.inserted, counters.updated, counters.deleted), (0, 0, 0), "P4");
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// P1, P2, P3, P4: whatever fails and however the source changes in between, the target ends up equal to the last snapshot.
    #[test]
    fn after_any_history_of_faults_and_changes_the_target_equals_the_source(
        history in proptest::collection::vec(
            (
                proptest::collection::btree_map(-500i64..3000, 0i64..4, 0..2500),
                proptest::collection::vec(faults(), 0..3),
                strategies(),
                strategies(),
            ),
            1..4,
        ),
        batch in 30u64..900,
        parts in 1usize..4,
        hard in proptest::bool::ANY,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let deletes = Deletes::new(if hard { DeleteMode::Hard } else { DeleteMode::Ignore }).with_max(DeleteGuard::Percent(100.0));
            let mut bench = deleting(Bench::new(&BTreeMap::new()), deletes);
            bench.options = RunOptions::new().with_batch_rows(batch).with_parallel(parts).with_part_bytes(1);
            // Keys that this job has copied and the source has lost since stay in the target, unless one execution did both.
            let mut kept: BTreeMap<i64, Row> = BTreeMap::new();
            for (rows, faults, strategy, afterwards) in history {
                bench.options = bench.options.with_strategy(strategy);
                fill(&bench.from, &rows);
                for fault in faults {
                    match fault {
                        Fault::Target(n, kind) => bench.to.faults().fail(Call::Commit, n, kind),
                        Fault::LostAnswer(n) => bench.to.faults().lose_commit_answer(n),
                        Fault::Source(n) => bench.from.faults().fail(Call::ReadPage, n, ErrorKind::ConnectionLost),
                        Fault::Rows(n) => bench.from.faults().fail(Call::ReadPage, n, ErrorKind::Internal),
                    }
                }
                let mut tries = 0;
                let report = loop {
                    let report = bench.run().await.expect("the run begins");
                    tries += 1;
                    assert!(tries < 10, "{:?}", report.error);
                    if report.status == ExecutionState::Succeeded {
                        break report;
                    }
                    // A resumed execution: half of the time the source changes first.
                    if tries == 1 && rows.len() % 2 == 0 {
                        let changed: BTreeMap<i64, i64> = rows.iter().filter(|(k, _)| *k % 5 != 0).map(|(k, v)| (*k, v + k % 3)).collect();
                        fill(&bench.from, &changed);
                    }
                };
                bench.to.faults().clear();
                bench.from.faults().clear();
                let counters = balanced(&report);
                let source = held(&bench.from);
                let target = held(&bench.to);
                assert_eq!(counters.read as usize, source.len());
                for (key, row) in &source {
                    assert_eq!(target.get(key), Some(row));
                }
                for key in target.keys().filter(|key| !source.contains_key(key)) {
                    assert!(!hard, "row {key} should have been deleted");
                    assert!(kept.contains_key(key), "row {key} is neither in the source nor from an earlier execution");
                }
                kept = target;
                bench.options = bench.options.with_strategy(afterwards);
                let again = bench.run().await.expect("the run begins");
                assert_eq!(balanced(&again).unchanged as usize, source.len(), "P4");
            }
        });
    }
}
