//! The pipeline on the memory adapter: histories, faults and resumes against a model.

use migrate_core::job::{
    CancelToken, DeleteGuard, DeleteMode, Deletes, Entity, ExecutionState, Job, LeftFilter, MemoryRecorder, Mode, OnConflict,
    QuarantineLimit, RunOptions, Strategy as Finding,
};
use migrate_core::memory::{Call, MemoryDatabase, table};
use migrate_core::pipeline::{Change, Pipeline, Preview, RunReport};
use migrate_core::schema::UniqueKey;
use migrate_core::state::Counters;
use migrate_core::value::{DataType, Row, Value};
use migrate_core::{ErrorKind, Parameter, Result};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const NAMES: [(&str, DataType); 3] = [("id", DataType::Int64), ("name", DataType::TEXT), ("n", DataType::Int32)];

fn source(rows: &BTreeMap<i64, i64>) -> MemoryDatabase {
    let database = MemoryDatabase::new();
    database.create_table(table("t", &NAMES, &["id"])).expect("a new table");
    fill(&database, rows);
    database
}

fn fill(database: &MemoryDatabase, rows: &BTreeMap<i64, i64>) {
    database.delete("t", |_| true).expect("the table is there");
    for (key, value) in rows {
        database.insert("t", row(*key, *value)).expect("the row fits");
    }
}

fn row(key: i64, value: i64) -> Vec<Value<'static>> {
    vec![Value::Int(key), Value::Text(format!("row {value}").into()), Value::Int(value)]
}

fn held(database: &MemoryDatabase) -> BTreeMap<i64, Row> {
    let rows = database.rows("t").expect("the table is there");
    rows.into_iter().map(|row| (if let Value::Int(key) = row[0] { key } else { i64::MIN }, row)).collect()
}

fn expected(rows: &BTreeMap<i64, i64>) -> BTreeMap<i64, Row> {
    rows.iter().map(|(key, value)| (*key, row(*key, *value))).collect()
}

struct Bench {
    from: MemoryDatabase,
    to: MemoryDatabase,
    recorder: Arc<MemoryRecorder>,
    job: Job,
    options: RunOptions,
}

impl Bench {
    fn new(rows: &BTreeMap<i64, i64>) -> Self {
        let job = Job::new("copy", "from", "to").with_entity(Entity::new("t"));
        let (to, recorder) = (MemoryDatabase::new(), Arc::new(MemoryRecorder::default()));
        Bench { from: source(rows), to, recorder, job, options: RunOptions::new().with_batch_rows(100) }
    }

    fn pipeline(&self) -> Result<Pipeline> {
        Pipeline::builder(self.job.clone())
            .source(Arc::new(self.from.source()))
            .target(Arc::new(self.to.sink()))
            .recorder(self.recorder.clone())
            .options(self.options.clone())
            .build()
    }

    async fn run(&self) -> Result<RunReport> {
        self.pipeline()?.run(&CancelToken::new()).await
    }

    async fn preview(&self) -> Preview {
        self.pipeline().expect("the job is sound").preview(&CancelToken::new()).await.expect("both sides can be read")
    }

    async fn counters(&self) -> Counters {
        let report = self.run().await.expect("the run begins");
        assert_eq!(report.error, None);
        balanced(&report)
    }
}

/// P1: every row that was read has one outcome.
fn balanced(report: &RunReport) -> Counters {
    let counters = report.entities[0].counters;
    assert_eq!(counters.read, counters.settled(), "{counters:?}");
    counters
}

fn range(keys: std::ops::Range<i64>) -> BTreeMap<i64, i64> {
    keys.map(|k| (k, k * 7)).collect()
}

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

fn deleting(bench: Bench, deletes: Deletes) -> Bench {
    Bench { job: bench.job.clone().with_deletes(deletes), ..bench }
}

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

/// A row of the model: id, name, n.
type Model = BTreeMap<i64, (i64, i64)>;

fn model_row(key: i64, (name, n): (i64, i64)) -> Vec<Value<'static>> {
    vec![Value::Int(key), Value::Text(format!("name {name}").into()), Value::Int(n)]
}

fn put(database: &MemoryDatabase, rows: &Model) {
    database.delete("t", |_| true).expect("the table is there");
    for (key, cells) in rows {
        database.insert("t", model_row(*key, *cells)).expect("the row fits");
    }
}

/// What mode `update` makes of one column, and whether a conflict stays open.
fn merged(base: i64, source: i64, target: i64, policy: OnConflict) -> (i64, bool) {
    match (source != base, target != base) {
        (false, _) => (target, false),
        (true, false) => (source, false),
        (true, true) if source == target => (target, false),
        (true, true) => match policy {
            OnConflict::Source => (source, false),
            OnConflict::Target => (target, false),
            _ => (target, true),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// What was edited in the target alone survives, what was edited at the source alone arrives, and the rest goes by the policy.
    #[test]
    fn update_writes_what_the_source_changed_and_keeps_what_the_target_changed(
        first in proptest::collection::btree_map(0i64..400, (0i64..3, 0i64..3), 1..300),
        rounds in proptest::collection::vec(
            (
                proptest::collection::vec((0i64..400, proptest::bool::ANY, 0i64..4), 0..60),
                proptest::collection::vec((0i64..400, proptest::bool::ANY, 0i64..4), 0..60),
            ),
            1..4,
        ),
        policy in prop_oneof![Just(OnConflict::Source), Just(OnConflict::Target), Just(OnConflict::Report)],
        batch in 7u64..200,
        parts in 1usize..4,
        strategy in strategies(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut bench = Bench::new(&BTreeMap::new());
            bench.job = bench.job.clone().with_mode(Mode::Update).with_on_conflict(policy);
            bench.options = RunOptions::new().with_batch_rows(batch).with_strategy(strategy).with_parallel(parts).with_part_bytes(1);
            let (mut source, mut base): (Model, Model) = (first.clone(), first.clone());
            let mut target: Model = first;
            put(&bench.from, &source);
            bench.counters().await;
            for (at_source, at_target) in rounds {
                let edit = |rows: &mut Model, edits: &Vec<(i64, bool, i64)>| {
                    for (key, name, value) in edits {
                        if let Some(row) = rows.get_mut(key) {
                            *if *name { &mut row.0 } else { &mut row.1 } = *value;
                        }
                    }
                };
                edit(&mut source, &at_source);
                edit(&mut target, &at_target);
                put(&bench.from, &source);
                put(&bench.to, &target);
                let mut open = 0;
                for (key, new) in &source {
                    let (old, there) = (base[key], target[key]);
                    let (name, n) = (merged(old.0, new.0, there.0, policy), merged(old.1, new.1, there.1, policy));
                    target.insert(*key, (name.0, n.0));
                    base.insert(*key, (if name.1 { old.0 } else { new.0 }, if n.1 { old.1 } else { new.1 }));
                    open += u64::from(name.1 || n.1);
                }
                for what in ["the first time", "again"] {
                    let report = bench.run().await.expect("the run begins");
                    assert_eq!(report.error, None);
                    let counters = balanced(&report);
                    assert_eq!(counters.conflicts, open, "{what}");
                    let expected: BTreeMap<i64, Row> = target.iter().map(|(k, v)| (*k, model_row(*k, *v))).collect();
                    assert_eq!(held(&bench.to), expected, "{what}");
                    if what == "again" {
                        assert_eq!((counters.inserted, counters.updated), (0, 0), "P4");
                    }
                }
            }
        });
    }
}

/// How the changes are found: each way must find all of them, whichever was used before.
fn strategies() -> impl Strategy<Value = Finding> {
    prop_oneof![1 => Just(Finding::Auto), 1 => Just(Finding::Full), 2 => Just(Finding::Ledger)]
}

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
