//! What single runs write, count, refuse and go on with.

use super::*;
use migrate_core::job::{DeleteMode, ExecutionState, Mode, QuarantineLimit};
use migrate_core::memory::Call;
use migrate_core::pipeline::Change;
use migrate_core::schema::UniqueKey;
use migrate_core::{ErrorKind, Parameter};

#[tokio::test]
async fn a_first_copy_inserts_and_a_second_run_writes_nothing() {
    let rows = range(-700..2600);
    let bench = Bench::new(&rows);
    assert_eq!(bench.counters().await.inserted, 3300);
    assert_eq!(held(&bench.to), expected(&rows));
    let writes = bench.to.faults().calls(Call::Write);
    assert_eq!(bench.counters().await.unchanged, 3300);
    assert_eq!(bench.to.faults().calls(Call::Write), writes, "P4: nothing is written");
}

#[tokio::test]
async fn a_batch_whose_ledger_was_handed_over_in_parts_is_committed_or_forgotten_as_a_whole() {
    let rows = range(0..90_000);
    for kind in [ErrorKind::ConnectionLost, ErrorKind::CommitUnknown] {
        let mut bench = Bench::new(&rows);
        bench.options = RunOptions::new().with_batch_rows(200_000);
        bench.to.faults().fail(Call::Commit, 1, kind);
        assert_eq!(bench.counters().await.inserted, 90_000);
        let writes = bench.to.faults().calls(Call::Write);
        assert_eq!(bench.counters().await.unchanged, 90_000);
        assert_eq!(bench.to.faults().calls(Call::Write), writes, "P4");
    }
}

#[tokio::test]
async fn a_second_run_writes_only_what_changed() {
    let mut rows = range(0..5000);
    let bench = Bench::new(&rows);
    bench.counters().await;
    rows.insert(17, -1);
    rows.insert(4999, -1);
    rows.insert(6000, 1);
    rows.insert(-5, 1);
    fill(&bench.from, &rows);
    let counters = bench.counters().await;
    assert_eq!((counters.inserted, counters.updated, counters.unchanged), (2, 2, 4998));
    assert_eq!(held(&bench.to), expected(&rows));
}

#[tokio::test]
async fn ranges_of_which_little_has_changed_share_a_commit_that_happens_as_a_whole_or_not_at_all() {
    for kind in [None, Some(ErrorKind::CommitUnknown)] {
        let mut rows = range(0..70_000);
        let mut bench = Bench::new(&rows);
        bench.options = RunOptions::new();
        bench.counters().await;
        let idle = {
            let before = bench.to.faults().calls(Call::Commit);
            bench.counters().await;
            bench.to.faults().calls(Call::Commit) - before
        };
        // In each of three ranges, and one that is gone.
        for key in [5, 40_000, 50_000, 69_000] {
            rows.insert(key, -1);
        }
        rows.remove(&20_000);
        fill(&bench.from, &rows);
        bench.job.deletes = Deletes::new(DeleteMode::Hard);
        if let Some(kind) = kind {
            bench.to.faults().fail(Call::Commit, 1, kind);
        }
        let before = bench.to.faults().calls(Call::Commit);
        let counters = bench.counters().await;
        let commits = bench.to.faults().calls(Call::Commit) - before;
        assert_eq!((counters.updated, counters.unchanged, counters.deleted), (4, 69_995, 1));
        assert_eq!(held(&bench.to), expected(&rows));
        assert_eq!(commits, idle + 1 + u64::from(kind.is_some()), "{kind:?}");
        let writes = bench.to.faults().calls(Call::Write);
        assert_eq!(bench.counters().await.unchanged, 69_999);
        assert_eq!(bench.to.faults().calls(Call::Write), writes, "P4");
    }
}

#[tokio::test]
async fn rows_that_the_target_holds_already_are_adopted_overwritten_or_left_alone_by_mode() {
    for (mode, inserted, updated, unchanged, skipped) in [(Mode::Replace, 900, 50, 50, 0), (Mode::Append, 900, 0, 0, 100)] {
        let rows = range(0..1000);
        let mut bench = Bench::new(&rows);
        bench.job = bench.job.with_mode(mode);
        bench.to.create_table(table("t", &NAMES, &["id"])).expect("a new table");
        for (key, value) in rows.iter().take(100) {
            bench.to.insert("t", row(*key, if key % 2 == 0 { *value } else { -1 })).expect("the row fits");
        }
        let c = bench.counters().await;
        assert_eq!((c.inserted, c.updated, c.unchanged, c.skipped), (inserted, updated, unchanged, skipped), "{mode}");
        if mode == Mode::Replace {
            assert_eq!(held(&bench.to), expected(&rows));
        } else {
            assert_eq!(held(&bench.to)[&1], row(1, -1));
        }
    }
}

#[tokio::test]
async fn init_refuses_a_table_that_holds_rows() {
    let mut bench = Bench::new(&range(0..10));
    bench.job = bench.job.with_mode(Mode::Init);
    bench.to.create_table(table("t", &NAMES, &["id"])).expect("a new table");
    bench.to.insert("t", row(1, 1)).expect("the row fits");
    let report = bench.run().await.expect("the run begins");
    assert_eq!(report.status, ExecutionState::Failed);
    assert!(report.error.expect("why").contains("init"));
    assert_eq!(held(&bench.to).len(), 1);
}

#[tokio::test]
async fn a_row_that_does_not_fit_is_quarantined_with_its_reason_and_the_rest_arrives() {
    let mut rows = range(0..500);
    rows.insert(250, i64::from(i32::MAX));
    let mut bench = Bench::new(&rows);
    let wide = [("id", DataType::Int64), ("name", DataType::TEXT), ("n", DataType::Int16)];
    bench.to.create_table(table("t", &wide, &["id"])).expect("a new table");
    bench.options = bench.options.with_max_quarantined(QuarantineLimit::Rows(5));
    let report = bench.run().await.expect("the run begins");
    assert_eq!(report.status, ExecutionState::Partial);
    let counters = balanced(&report);
    assert_eq!((counters.inserted, counters.quarantined), (499, 1));
    use migrate_core::Sink;
    let refused = bench.to.sink().state().quarantine("copy", None, 10).await.expect("the state is there");
    assert_eq!((refused.len(), refused[0].column.as_deref()), (1, Some("n")));
    assert!(!refused[0].reason.contains("2147483647"), "no value in a reason: {}", refused[0].reason);
}

#[tokio::test]
async fn too_many_refused_rows_stop_the_run() {
    let rows: BTreeMap<i64, i64> = (0..500).map(|k| (k, 1 << 20)).collect();
    let mut bench = Bench::new(&rows);
    let narrow = [("id", DataType::Int64), ("name", DataType::TEXT), ("n", DataType::Int16)];
    bench.to.create_table(table("t", &narrow, &["id"])).expect("a new table");
    bench.options = bench.options.with_max_quarantined(QuarantineLimit::Rows(150));
    let report = bench.run().await.expect("the run begins");
    assert_eq!(report.status, ExecutionState::Failed);
    assert!(report.error.expect("why").contains("refused"));
}

#[tokio::test]
async fn a_filter_binds_its_parameters_and_narrows_what_is_read() {
    let mut bench = Bench::new(&range(0..100));
    bench.job = Job::new("copy", "from", "to")
        .with_entity(Entity::new("t").with_filter("id < :most"))
        .with_param("most", Parameter::Int(40));
    let counters = bench.counters().await;
    assert_eq!((counters.read, counters.inserted), (40, 40));
}

#[tokio::test]
async fn a_limit_reads_so_many_rows_and_never_takes_the_rest_for_gone() {
    let rows = range(0..5000);
    let mut bench = Bench::new(&rows);
    bench.options = bench.options.with_limit(1234);
    assert_eq!(bench.counters().await.inserted, 1234);
    bench.options.limit = None;
    let counters = bench.counters().await;
    assert_eq!((counters.inserted, counters.unchanged), (3766, 1234));
    bench.options.limit = Some(10);
    assert_eq!(bench.counters().await.unchanged, 10);
    assert_eq!(held(&bench.to), expected(&rows));
}

#[tokio::test]
async fn a_lost_commit_answer_is_settled_whether_the_target_acted_or_not() {
    for acted in [true, false] {
        for nth in 1..=6 {
            let rows = range(0..500);
            let bench = Bench::new(&rows);
            if acted {
                bench.to.faults().lose_commit_answer(nth);
            } else {
                bench.to.faults().fail(Call::Commit, nth, ErrorKind::CommitUnknown);
            }
            let counters = bench.counters().await;
            assert_eq!((counters.inserted, counters.updated, counters.unchanged), (500, 0, 0), "acted {acted}, commit {nth}");
            assert_eq!(held(&bench.to), expected(&rows));
        }
    }
}

#[tokio::test]
async fn a_process_that_was_fenced_out_cannot_write() {
    let rows = range(0..500);
    let bench = Bench::new(&rows);
    let to = bench.to.clone();
    bench.to.faults().run(Call::Commit, 3, move || {
        use migrate_core::Sink;
        let owner = migrate_core::state::FenceOwner { execution: "other".into(), host: "h".into(), process: 1 };
        let state = to.sink().state();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(state.acquire("copy", &owner)).expect("the fence is free to take");
        })
        .join()
        .expect("the takeover works");
    });
    let report = bench.run().await.expect("the run begins");
    assert_eq!(report.status, ExecutionState::Failed);
    assert_eq!(held(&bench.to).len(), 200, "two commits came before the takeover");
}

#[tokio::test]
async fn a_table_without_a_key_is_a_multiset_of_which_only_what_is_new_is_written() {
    let database = MemoryDatabase::new();
    database.create_table(table("t", &NAMES, &[])).expect("a new table");
    for i in 0..300 {
        database.insert("t", row(i % 3, 5)).expect("the row fits");
    }
    let mut bench = Bench::new(&BTreeMap::new());
    bench.from = database;
    bench.to.faults().fail(Call::Commit, 2, ErrorKind::ConnectionLost);
    assert_eq!(bench.counters().await.inserted, 300);
    assert_eq!(bench.to.rows("t").expect("the table").len(), 300);
    let writes = bench.to.faults().calls(Call::Write);
    assert_eq!(bench.counters().await.unchanged, 300);
    assert_eq!(bench.to.faults().calls(Call::Write), writes);
    bench.from.insert("t", row(9, 9)).expect("the row fits");
    assert_eq!(bench.counters().await.inserted, 1);
    assert_eq!(bench.to.rows("t").expect("the table").len(), 301);
}

#[tokio::test]
async fn rows_without_a_key_arrive_once_whichever_commit_is_lost_or_heard_nothing_of() {
    for mode in [Mode::Init, Mode::Replace, Mode::Append] {
        for happened in [true, false] {
            let mut commits = 1;
            // Each commit of the load once, the last included, and of two loads one after the other.
            for nth in 1.. {
                let database = MemoryDatabase::new();
                database.create_table(table("t", &NAMES, &[])).expect("a new table");
                for i in 0..300 {
                    database.insert("t", row(i % 3, 5)).expect("the row fits");
                }
                let mut bench = Bench::new(&BTreeMap::new());
                bench.from = database;
                bench.job = bench.job.with_mode(mode);
                bench.options = RunOptions::new().with_batch_rows(60);
                if happened {
                    bench.to.faults().lose_commit_answer(nth);
                } else {
                    bench.to.faults().fail(Call::Commit, nth, ErrorKind::CommitUnknown);
                }
                assert_eq!(bench.counters().await.inserted, 300, "{mode}, commit {nth}, happened: {happened}");
                assert_eq!(bench.to.rows("t").expect("the table").len(), 300, "{mode}, commit {nth}, happened: {happened}");
                let again = bench.counters().await;
                assert_eq!(again.unchanged + again.skipped, 300, "{mode}, commit {nth}, happened: {happened}");
                assert_eq!(bench.to.rows("t").expect("the table").len(), 300, "{mode}, commit {nth}, happened: {happened}");
                let all = bench.to.faults().calls(Call::Commit);
                if nth > all {
                    break;
                }
                commits = commits.max(all);
            }
            assert!(commits > 4, "{mode}: {commits} commits are too few to lose one");
        }
    }
}

#[tokio::test]
async fn where_too_many_rows_are_refused_one_by_one_not_all_are_looked_for() {
    let mut unique = table("t", &NAMES, &["id"]);
    unique.unique_keys.push(UniqueKey { name: Some("one_name".into()), ..UniqueKey::new(["name"]) });
    let mut bench = Bench::new(&(0..500).map(|key| (key, 7)).collect());
    bench.options = RunOptions::new().with_max_quarantined(QuarantineLimit::Rows(50));
    bench.to.create_table(unique).expect("a new table");
    let report = bench.run().await.expect("the run begins");
    assert_eq!((report.status, report.error_kind), (ExecutionState::Failed, Some(ErrorKind::TooManyRefused)));
    let tries = bench.to.faults().calls(Call::Begin);
    assert!(tries < 150, "{tries} transactions for a limit of 50 rows");
}

#[tokio::test]
async fn rows_exchange_unique_values_in_a_circle_across_batches() {
    for nullable in [true, false] {
        let mut unique = table("t", &NAMES, &["id"]);
        unique.columns[1].nullable = nullable;
        unique.unique_keys.push(UniqueKey { name: Some("one_name".into()), ..UniqueKey::new(["name"]) });
        let mut rows = range(0..3000);
        let bench = Bench::new(&rows);
        bench.to.create_table(unique).expect("a new table");
        bench.counters().await;
        // Two swap, and three far apart pass theirs on.
        for circle in [&[5i64, 6][..], &[10, 1500, 2900]] {
            let values: Vec<i64> = circle.iter().map(|key| rows[key]).collect();
            for (place, key) in circle.iter().enumerate() {
                rows.insert(*key, values[(place + 1) % values.len()]);
            }
        }
        fill(&bench.from, &rows);
        let counters = bench.counters().await;
        assert_eq!((counters.updated, counters.unchanged, counters.quarantined), (5, 2995, 0), "nullable: {nullable}");
        assert_eq!(held(&bench.to), expected(&rows));
        assert_eq!(bench.counters().await.unchanged, 3000, "P4");
    }
}

#[tokio::test]
async fn a_run_refuses_other_changes_than_those_that_were_planned() {
    let mut rows = range(0..50);
    let mut bench = Bench::new(&rows);
    bench.counters().await;
    rows.insert(7, -1);
    rows.insert(60, 1);
    fill(&bench.from, &rows);
    let preview = bench.preview().await;
    let samples = &preview.changes[0].samples;
    assert_eq!(
        samples.iter().map(|s| (s.change, s.key[0].as_str())).collect::<Vec<_>>(),
        [(Change::Update, "7"), (Change::Insert, "60")]
    );
    let changed = &samples[0].columns[1];
    assert_eq!((changed.column.as_str(), changed.before.as_deref(), changed.after.as_deref()), ("n", Some("49"), Some("-1")));
    bench.options = bench.options.clone().with_plan_hash(&preview.hash);
    rows.insert(8, -1);
    fill(&bench.from, &rows);
    assert_eq!(bench.run().await.expect_err("the data has changed").kind(), ErrorKind::Refused);
    assert_eq!(held(&bench.to).len(), 50);
    rows.insert(8, 56);
    fill(&bench.from, &rows);
    assert_eq!(bench.run().await.expect("the run begins").status, ExecutionState::Succeeded);
    assert_eq!(held(&bench.to), expected(&rows));
}

#[tokio::test]
async fn columns_that_the_target_calls_otherwise_are_written_under_their_new_name() {
    let database = MemoryDatabase::new();
    database.create_table(table("t", &[("id", DataType::Int64), ("Nämé", DataType::TEXT)], &["id"])).expect("a new table");
    database.insert("t", [Value::Int(1), Value::Text("x".into())]).expect("the row fits");
    let mut bench = Bench::new(&BTreeMap::new());
    bench.from = database;
    bench.job =
        Job::new("copy", "from", "to").with_entity(Entity::new("t").with_rename("Nämé", "name").with_set("z", Parameter::Int(7)));
    assert_eq!(bench.counters().await.inserted, 1);
    let rows = bench.to.rows("t").expect("the table is there");
    assert_eq!(rows, [vec![Value::Int(1), Value::Text("x".into()), Value::Int(7)]]);
}
