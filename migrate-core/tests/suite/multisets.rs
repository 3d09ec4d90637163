//! Rows without a key on the memory adapter: multisets against a model, in every mode, with faults and resumes.

use migrate_core::job::{
    CancelToken, DeleteGuard, DeleteMode, Deletes, Entity, ExecutionState, Job, LeftFilter, MemoryRecorder, Mode, RunOptions,
};
use migrate_core::memory::{Call, MemoryDatabase, table};
use migrate_core::pipeline::{Pipeline, Preview, RunReport};
use migrate_core::state::{Counters, FenceOwner, Scope, StateChanges};
use migrate_core::value::{DataType, Value};
use migrate_core::{ErrorKind, Sink};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many copies there are of each row.
type Bag = BTreeMap<i64, u64>;

const COLUMNS: [(&str, DataType); 2] = [("n", DataType::Int64), ("v", DataType::TEXT)];

fn bag(rows: impl IntoIterator<Item = (i64, u64)>) -> Bag {
    rows.into_iter().filter(|(_, copies)| *copies > 0).collect()
}

fn row(n: i64) -> Vec<Value<'static>> {
    vec![Value::Int(n), if n % 7 == 0 { Value::Null } else { Value::Text(format!("row {n}").into()) }]
}

fn fill(database: &MemoryDatabase, rows: &Bag) {
    database.delete("t", |_| true).expect("the table is there");
    for (n, copies) in rows {
        (0..*copies).for_each(|_| database.insert("t", row(*n)).expect("the row fits"));
    }
}

fn held(database: &MemoryDatabase) -> Bag {
    let mut held = Bag::new();
    for found in database.rows("t").expect("the table is there") {
        let Value::Int(n) = found[0] else { panic!("{found:?}") };
        assert_eq!(found, row(n));
        *held.entry(n).or_default() += 1;
    }
    held
}

fn count(rows: &Bag) -> u64 {
    rows.values().sum()
}

/// How many copies are in the first that are not in the second.
fn beyond(one: &Bag, other: &Bag) -> u64 {
    one.iter().map(|(n, copies)| copies.saturating_sub(other.get(n).copied().unwrap_or(0))).sum()
}

fn both(one: &Bag, other: &Bag) -> Bag {
    let mut all = one.clone();
    for (n, copies) in other {
        let count = all.entry(*n).or_default();
        *count = (*count).max(*copies);
    }
    all
}

struct Bench {
    from: MemoryDatabase,
    to: MemoryDatabase,
    recorder: Arc<MemoryRecorder>,
    job: Job,
    options: RunOptions,
}

impl Bench {
    fn new(rows: &Bag, mode: Mode, deletes: DeleteMode) -> Self {
        let deletes = Deletes::new(deletes).with_max(DeleteGuard::Percent(100.0));
        let deletes = if deletes.mode == DeleteMode::Soft { deletes.with_column("gone") } else { deletes };
        let job = Job::new("copy", "from", "to").with_entity(Entity::new("t")).with_mode(mode).with_deletes(deletes);
        let from = MemoryDatabase::new();
        from.create_table(table("t", &COLUMNS, &[])).expect("a new table");
        fill(&from, rows);
        let recorder = Arc::new(MemoryRecorder::default());
        Bench { from, to: MemoryDatabase::new(), recorder, job, options: RunOptions::new().with_batch_rows(60) }
    }

    fn pipeline(&self) -> Pipeline {
        let builder = Pipeline::builder(self.job.clone())
            .source(Arc::new(self.from.source()))
            .target(Arc::new(self.to.sink()))
            .recorder(self.recorder.clone())
            .options(self.options.clone());
        builder.build().expect("the job is sound")
    }

    async fn run(&self) -> RunReport {
        self.pipeline().run(&CancelToken::new()).await.expect("the run begins")
    }

    async fn preview(&self) -> Preview {
        self.pipeline().preview(&CancelToken::new()).await.expect("both sides can be read")
    }

    /// Runs, and checks P1, and that a plan has foreseen it, that another run writes nothing (P4), and that the plan of it says so.
    async fn bring(&self) -> Counters {
        let before = held_if_there(&self.to);
        let preview = self.preview().await;
        assert_eq!(held_if_there(&self.to), before, "a plan writes nothing");
        let counters = self.counters().await;
        assert_eq!(Counters { bytes: 0, ..preview.changes[0].counters }, Counters { bytes: 0, ..counters }, "what the plan says");
        self.nothing_more().await;
        counters
    }

    /// As [`Bench::bring`] where the filter leaves rows of the source out.
    async fn bring_filtered(&self) -> Counters {
        let planned = self.preview().await.changes[0].counters;
        let counters = self.counters().await;
        assert_eq!(Counters { bytes: 0, ..planned }, Counters { bytes: 0, ..counters }, "what the plan says");
        let again = self.counters().await;
        assert_eq!((again.unchanged, again.inserted, again.deleted), (counters.read, 0, 0), "P4");
        counters
    }

    async fn counters(&self) -> Counters {
        let report = self.run().await;
        assert_eq!((&report.error, report.status), (&None, ExecutionState::Succeeded));
        let counters = report.entities[0].counters;
        assert_eq!(counters.read, counters.settled(), "P1: {counters:?}");
        counters
    }

    async fn nothing_more(&self) {
        let calls = || [Call::Write, Call::Delete, Call::Clear].map(|call| self.to.faults().calls(call));
        let (before, there) = (calls(), held(&self.to));
        let again = self.counters().await;
        assert_eq!((again.unchanged + again.skipped, again.deleted), (count(&held(&self.from)), 0), "P4");
        assert_eq!((calls(), held(&self.to)), (before, there), "P4");
        let planned = self.preview().await.changes[0].counters;
        assert_eq!((planned.inserted, planned.deleted), (0, 0), "P4");
    }

    fn copies_of(&self, n: i64) -> u64 {
        held(&self.to).get(&n).copied().unwrap_or(0)
    }
}

fn held_if_there(database: &MemoryDatabase) -> Option<Bag> {
    database.rows("t").is_ok().then(|| held(database))
}

fn modes() -> impl Strategy<Value = (Mode, DeleteMode)> {
    let mode = prop_oneof![2 => Just(Mode::Replace), 1 => Just(Mode::Append), 1 => Just(Mode::Init), 1 => Just(Mode::Update)];
    (mode, prop_oneof![1 => Just(DeleteMode::Ignore), 2 => Just(DeleteMode::Hard)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Only what has changed is written, each copy is counted once, and the plan says it beforehand.
    #[test]
    fn copies_that_are_new_are_inserted_and_those_that_are_gone_deleted(
        history in proptest::collection::vec(proptest::collection::btree_map(0i64..60, 0u64..6, 0..60), 1..5),
        (mode, deletes) in modes(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let bench = Bench::new(&Bag::new(), mode, deletes);
            let mut there = Bag::new();
            for rows in history {
                let rows = bag(rows);
                fill(&bench.from, &rows);
                let goes = mode != Mode::Append;
                let next = if goes { rows.clone() } else { both(&there, &rows) };
                let counters = bench.bring().await;
                let new = beyond(&rows, &there);
                assert_eq!((counters.inserted, counters.unchanged + counters.skipped), (new, count(&rows) - new));
                assert_eq!(counters.deleted, if goes { beyond(&there, &rows) } else { 0 });
                assert_eq!(counters.skipped > 0, mode == Mode::Append && count(&rows) > new);
                assert_eq!(held(&bench.to), next);
                there = next;
            }
        });
    }
}

#[tokio::test]
async fn changes_arrive_once_whichever_commit_is_lost_or_heard_nothing_of() {
    let first = bag((0..100).map(|n| (n, 3)));
    // Gone, fewer, more, and new.
    let second = bag((10..130).map(|n| {
        (
            n,
            if n < 20 {
                1
            } else if n < 30 {
                5
            } else {
                3
            },
        )
    }));
    for (mode, deletes) in [
        (Mode::Replace, DeleteMode::Hard),
        (Mode::Replace, DeleteMode::Ignore),
        (Mode::Init, DeleteMode::Hard),
        (Mode::Append, DeleteMode::Hard),
    ] {
        for happened in [true, false] {
            for nth in 1.. {
                let bench = Bench::new(&first, mode, deletes);
                assert_eq!(bench.counters().await.inserted, 300);
                fill(&bench.from, &second);
                let before = bench.to.faults().calls(Call::Commit);
                if happened {
                    bench.to.faults().lose_commit_answer(nth);
                } else {
                    bench.to.faults().fail(Call::Commit, nth, ErrorKind::CommitUnknown);
                }
                let what = format!("{mode}, {deletes}, commit {nth}, happened: {happened}");
                let counters = bench.counters().await;
                let goes = mode != Mode::Append;
                let gone = if goes { beyond(&first, &second) } else { 0 };
                assert_eq!((counters.inserted, counters.deleted), (beyond(&second, &first), gone), "{what}");
                assert_eq!(held(&bench.to), if goes { second.clone() } else { both(&first, &second) }, "{what}");
                let commits = bench.to.faults().calls(Call::Commit) - before;
                bench.to.faults().clear();
                bench.nothing_more().await;
                if nth > commits {
                    assert!(nth > 1, "no commit was lost");
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_run_that_ends_anywhere_is_gone_on_with_over_a_source_that_has_changed_since() {
    let first = bag((0..100).map(|n| (n, 3)));
    let second = bag((10..130).map(|n| (n, 4)));
    // Of what came in between some is gone again, and more is new.
    let third = bag((10..120).map(|n| (n, if n < 40 { 4 } else { 3 })).chain((200..210).map(|n| (n, 1))));
    for deletes in [DeleteMode::Hard, DeleteMode::Ignore] {
        for nth in 1.. {
            let mut bench = Bench::new(&first, Mode::Replace, deletes);
            // A second entity, in which the run may end once the first is done.
            bench.from.create_table(table("u", &[("id", DataType::Int64)], &["id"])).expect("a new table");
            (0..200).for_each(|n| bench.from.insert("u", vec![Value::Int(n)]).expect("the row fits"));
            bench.job = bench.job.clone().with_entity(Entity::new("u"));
            bench.options = bench.options.clone().with_parallel(1);
            assert_eq!(bench.counters().await.inserted, 300);
            fill(&bench.from, &second);
            (200..400).for_each(|n| bench.from.insert("u", vec![Value::Int(n)]).expect("the row fits"));
            // Stands for a killed process: nothing tries again within this run.
            bench.to.faults().fail(Call::Commit, nth, ErrorKind::Internal);
            if bench.run().await.status == ExecutionState::Succeeded {
                assert!(nth > 4, "{nth} commits are too few to end in");
                break;
            }
            fill(&bench.from, &third);
            let counters = bench.counters().await;
            let expected = (beyond(&third, &first), beyond(&first, &third));
            assert_eq!((counters.inserted, counters.deleted), expected, "{deletes}, commit {nth}");
            assert_eq!(held(&bench.to), third, "{deletes}, commit {nth}");
            bench.nothing_more().await;
        }
    }
}

#[derive(Debug, Clone)]
enum Fault {
    Target(Call, u64, ErrorKind),
    LostAnswer(u64),
    Source(u64, ErrorKind),
}

fn faults() -> impl Strategy<Value = Fault> {
    // The last stands for a killed process: nothing tries again within this run.
    let kinds = || {
        prop_oneof![
            Just(ErrorKind::Conflict),
            Just(ErrorKind::ConnectionLost),
            Just(ErrorKind::CommitUnknown),
            Just(ErrorKind::Internal)
        ]
    };
    let calls = prop_oneof![Just(Call::Commit), Just(Call::Delete), Just(Call::Write), Just(Call::LedgerBlocks)];
    prop_oneof![
        (calls, 1u64..5, kinds()).prop_map(|(call, n, kind)| Fault::Target(call, n, kind)),
        (1u64..5).prop_map(Fault::LostAnswer),
        (1u64..8, kinds()).prop_map(|(n, kind)| Fault::Source(n, kind)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// P1 to P4: whatever fails and however the source changes in between, each copy is there as often as it should be.
    #[test]
    fn after_any_history_of_faults_and_changes_the_target_holds_each_copy_once(
        history in proptest::collection::vec(
            (proptest::collection::btree_map(0i64..60, 0u64..6, 0..60), proptest::collection::vec(faults(), 0..3), any::<bool>()),
            1..5,
        ),
        deletes in prop_oneof![1 => Just(DeleteMode::Ignore), 2 => Just(DeleteMode::Hard)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let bench = Bench::new(&Bag::new(), Mode::Replace, deletes);
            for (rows, faults, changes) in history {
                let rows = bag(rows);
                fill(&bench.from, &rows);
                for fault in faults {
                    match fault {
                        Fault::Target(call, n, kind) => bench.to.faults().fail(call, n, kind),
                        Fault::LostAnswer(n) => bench.to.faults().lose_commit_answer(n),
                        Fault::Source(n, kind) => bench.from.faults().fail(Call::ReadPage, n, kind),
                    }
                }
                let mut tries = 0;
                let report = loop {
                    let report = bench.run().await;
                    tries += 1;
                    assert!(tries < 10, "{:?}", report.error);
                    if report.status == ExecutionState::Succeeded {
                        break report;
                    }
                    if tries == 1 && changes {
                        fill(&bench.from, &rows.iter().map(|(n, copies)| (n + 3, copies + 1)).collect());
                    }
                };
                bench.to.faults().clear();
                bench.from.faults().clear();
                let (counters, now) = (report.entities[0].counters, held(&bench.from));
                assert_eq!((counters.read, counters.settled()), (count(&now), count(&now)), "P1: {counters:?}");
                assert_eq!(held(&bench.to), now);
                bench.nothing_more().await;
            }
        });
    }
}

#[tokio::test]
async fn entities_that_are_moved_at_the_same_time_share_the_room_for_counting() {
    let mut bench = Bench::new(&Bag::new(), Mode::Replace, DeleteMode::Hard);
    for table_number in 0..8 {
        let name = format!("t{table_number}");
        bench.from.create_table(table(&name, &COLUMNS, &[])).expect("a new table");
        (0..40).for_each(|n| bench.from.insert(&name, row(n % 20)).expect("the row fits"));
        bench.job = bench.job.clone().with_entity(Entity::new(name));
    }
    bench.options = bench.options.clone().with_multiset_rows(25).with_parallel(4);
    for (inserted, unchanged) in [(40, 0), (1, 40)] {
        let report = bench.run().await;
        assert_eq!(report.error, None);
        let moved = report.entities.iter().filter(|entity| entity.name != "t");
        let counts: Vec<_> = moved.map(|entity| (entity.counters.inserted, entity.counters.unchanged)).collect();
        assert_eq!(counts, vec![(inserted, unchanged); 8]);
        (0..8).for_each(|number| bench.from.insert(&format!("t{number}"), row(30)).expect("the row fits"));
    }
}

#[tokio::test]
async fn too_many_deletions_of_rows_without_a_key_are_refused_before_the_first() {
    let rows = bag((0..300).map(|n| (n, 2)));
    let mut bench = Bench::new(&rows, Mode::Replace, DeleteMode::Hard);
    bench.job = bench.job.clone().with_deletes(Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Percent(10.0)));
    bench.counters().await;
    fill(&bench.from, &bag((0..300).map(|n| (n, if n < 61 { 1 } else { 2 }))));
    let report = bench.run().await;
    assert_eq!((report.status, report.error_kind), (ExecutionState::Failed, Some(ErrorKind::Refused)));
    assert!(report.error.expect("why").contains("61 of 600"));
    assert_eq!(held(&bench.to), rows);
    bench.options = bench.options.clone().with_max_deletes(DeleteGuard::Rows(61));
    assert_eq!(bench.bring().await.deleted, 61);
    // Where nothing is guarded, all that is gone may be old versions of what is new.
    bench.options.max_deletes = None;
    bench.job = bench.job.clone().with_deletes(Deletes::new(DeleteMode::Ignore));
    fill(&bench.from, &bag((300..600).map(|n| (n, 2))));
    assert_eq!(bench.bring().await.deleted, 539);
    assert_eq!(held(&bench.to), held(&bench.from));
}

#[tokio::test]
async fn copies_that_leave_the_filter_stay_unless_the_job_says_otherwise() {
    for (deletes, left_filter, deleted, there) in [
        (DeleteMode::Hard, LeftFilter::Keep, 1, [2, 0, 1]),
        (DeleteMode::Hard, LeftFilter::Delete, 3, [0, 0, 1]),
        (DeleteMode::Ignore, LeftFilter::Keep, 1, [2, 0, 1]),
        (DeleteMode::Ignore, LeftFilter::Delete, 3, [0, 0, 1]),
    ] {
        let mut bench = Bench::new(&bag([(1, 2), (2, 1), (3, 1)]), Mode::Replace, deletes);
        let job = |below: i64| {
            let entity = Entity::new("t").with_filter(format!("n <> {below}"));
            let deletes = Deletes::new(deletes).with_max(DeleteGuard::Percent(100.0));
            Job::new("copy", "from", "to")
                .with_entity(entity)
                .with_mode(Mode::Replace)
                .with_deletes(deletes)
                .with_left_filter(left_filter)
        };
        bench.job = job(9);
        assert_eq!(bench.bring().await.inserted, 4);
        bench.job = job(1);
        fill(&bench.from, &bag([(1, 2), (3, 1)]));
        let counters = bench.bring_filtered().await;
        assert_eq!((counters.read, counters.unchanged, counters.deleted), (1, 1, deleted), "{deletes}, {left_filter:?}");
        assert_eq!([1, 2, 3].map(|n| bench.copies_of(n)), there, "{deletes}, {left_filter:?}");
        bench.job = job(9);
        let counters = bench.counters().await;
        assert_eq!(
            (counters.inserted, bench.copies_of(1)),
            (2 - there[0], 2),
            "back under the filter: {deletes}, {left_filter:?}"
        );
    }
}

#[tokio::test]
async fn where_too_many_rows_are_different_all_are_loaded_anew() {
    for mode in [Mode::Replace, Mode::Append] {
        let rows = bag((0..50).map(|n| (n, 3)));
        let mut bench = Bench::new(&rows, mode, DeleteMode::Hard);
        bench.options = bench.options.clone().with_multiset_rows(50);
        assert_eq!(bench.bring().await.inserted, 150);
        fill(&bench.from, &bag((0..50).map(|n| (n, 4))));
        assert_eq!(bench.bring().await.inserted, 50);
        // One too many.
        fill(&bench.from, &bag((0..51).map(|n| (n, 4))));
        let plan = bench.pipeline().plan().await.expect("both sides can be read");
        let notes = plan.entities[0].notes.join("; ");
        assert!(notes.contains("more than 50 are different"), "{notes}");
        if mode == Mode::Append {
            let report = bench.run().await;
            assert_eq!((report.status, report.error_kind), (ExecutionState::Failed, Some(ErrorKind::Refused)));
            assert_eq!(count(&held(&bench.to)), 200);
            continue;
        }
        let counters = bench.bring().await;
        assert_eq!((counters.inserted, counters.deleted), (204, 0));
        assert_eq!(held(&bench.to), held(&bench.from));
        fill(&bench.from, &bag((0..51).map(|n| (n, 5))));
        assert_eq!(bench.bring().await.inserted, 255, "nothing was remembered row by row");
        // Few enough again: from here on they are.
        fill(&bench.from, &bag((0..40).map(|n| (n, 5))));
        assert_eq!(bench.bring().await.inserted, 200);
        fill(&bench.from, &bag((1..40).map(|n| (n, 6))));
        let counters = bench.bring().await;
        assert_eq!((counters.inserted, counters.deleted), (39, 5));
    }
}

#[tokio::test]
async fn what_an_earlier_version_remembers_is_loaded_anew_or_remembered_row_by_row_where_nothing_has_changed() {
    for changed in [true, false] {
        let rows = bag((0..50).map(|n| (n, 3)));
        let bench = Bench::new(&rows, Mode::Replace, DeleteMode::Hard);
        bench.counters().await;
        forget_copies(&bench).await;
        let more = bag((0..51).map(|n| (n, 3)));
        if changed {
            fill(&bench.from, &more);
            assert_eq!(bench.bring().await.inserted, 153);
        } else {
            bench.nothing_more().await;
            fill(&bench.from, &more);
            assert_eq!(bench.bring().await.inserted, 3);
        }
        fill(&bench.from, &rows);
        assert_eq!(bench.bring().await.deleted, 3);
    }
}

/// Leaves of what the target remembers what versions did that knew no copies.
async fn forget_copies(bench: &Bench) {
    let (sink, state) = (bench.to.sink(), bench.to.sink().state());
    let owner = FenceOwner { execution: "earlier".into(), host: "h".into(), process: 1 };
    let fence = state.acquire("copy", &owner).await.expect("nobody holds it");
    let (_, mut checkpoint) = state.checkpoints("copy", "t").await.expect("the state is there").remove(0);
    let digest = checkpoint.digest.take().expect("all was loaded");
    checkpoint.digest = digest.rsplit_once(':').map(|(before, _)| before.to_owned());
    checkpoint.sequence += 1;
    let mut changes = StateChanges::default();
    changes.scope = Some(Scope { job: "copy".into(), entity: "t".into(), partition: 0 });
    (changes.reset_ledger, changes.checkpoint) = (true, Some(checkpoint));
    sink.begin(&fence).await.expect("a transaction").commit(&changes).await.expect("it commits");
    state.release(&fence).await.expect("it is ours");
}

#[tokio::test]
async fn rows_of_others_are_neither_counted_nor_taken_away() {
    for (mode, deletes) in
        [(Mode::Replace, DeleteMode::Hard), (Mode::Append, DeleteMode::Hard), (Mode::Replace, DeleteMode::Ignore)]
    {
        let bench = Bench::new(&bag([(1, 2), (2, 2)]), mode, deletes);
        bench.counters().await;
        // One like ours, and one of its own.
        bench.to.insert("t", row(1)).expect("the row fits");
        bench.to.insert("t", row(50)).expect("the row fits");
        fill(&bench.from, &bag([(1, 1), (2, 2), (3, 1)]));
        let report = bench.run().await;
        if mode == Mode::Append {
            assert_eq!(report.error, None);
            assert_eq!(held(&bench.to), bag([(1, 3), (2, 2), (3, 1), (50, 1)]));
        } else {
            assert_eq!(report.error_kind, Some(ErrorKind::Refused));
            assert_eq!(held(&bench.to), bag([(1, 3), (2, 2), (50, 1)]));
        }
    }
}

#[tokio::test]
async fn rows_that_somebody_has_changed_in_the_target_stay_and_are_not_counted() {
    let bench = Bench::new(&bag([(1, 2), (2, 2)]), Mode::Replace, DeleteMode::Hard);
    bench.counters().await;
    let mut one = true;
    bench.to.delete("t", |found| found[0] == Value::Int(1) && std::mem::take(&mut one)).expect("the table is there");
    bench.to.insert("t", row(50)).expect("the row fits");
    fill(&bench.from, &bag([(2, 1), (3, 1)]));
    let counters = bench.counters().await;
    assert_eq!((counters.inserted, counters.unchanged, counters.deleted), (1, 1, 2));
    assert_eq!(held(&bench.to), bag([(2, 1), (3, 1), (50, 1)]));
    bench.nothing_more().await;
}

#[tokio::test]
async fn a_limit_adds_what_is_new_among_the_first_rows_and_takes_nothing_for_gone() {
    let mut bench = Bench::new(&bag((0..50).map(|n| (n, 2))), Mode::Replace, DeleteMode::Hard);
    bench.counters().await;
    fill(&bench.from, &bag((10..60).map(|n| (n, 3))));
    bench.options = bench.options.clone().with_limit(30);
    let counters = bench.counters().await;
    assert_eq!((counters.read, counters.inserted, counters.unchanged, counters.deleted), (30, 10, 20, 0));
    assert_eq!(count(&held(&bench.to)), 110);
    bench.options.limit = None;
    let counters = bench.bring().await;
    assert_eq!((counters.inserted, counters.unchanged, counters.deleted), (60, 90, 20));
    assert_eq!(held(&bench.to), held(&bench.from));
}

#[tokio::test]
async fn without_a_key_no_row_is_marked_as_deleted() {
    let bench = Bench::new(&bag([(1, 2), (2, 1)]), Mode::Replace, DeleteMode::Soft);
    assert_eq!(bench.counters().await.inserted, 3);
    let there = || bench.to.rows("t").expect("the table is there").len();
    fill(&bench.from, &bag([(1, 2), (2, 1), (3, 1)]));
    assert_eq!(bench.counters().await.inserted, 1);
    fill(&bench.from, &bag([(1, 1), (3, 1)]));
    assert_eq!((bench.counters().await.inserted, there()), (2, 2), "all are loaded anew");
    let notes = bench.preview().await.plan.entities[0].notes.join("; ");
    assert!(notes.contains("no row is marked"), "{notes}");
}
