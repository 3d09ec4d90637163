//! Rows that are replaced parent by parent, on the memory adapter: each parent's rows as the source has them, whatever fails, and the rows
//! of others where they were.

use migrate_core::ErrorKind;
use migrate_core::job::{
    CancelToken, DeleteGuard, DeleteMode, Deletes, Entity, Job, LeftFilter, MemoryRecorder, Mode, RunOptions,
};
use migrate_core::memory::{Call, MemoryDatabase, table};
use migrate_core::pipeline::{Pipeline, RunReport};
use migrate_core::schema::{ForeignKey, ForeignKeyAction, Identity, TableName, TableSchema, UniqueKey};
use migrate_core::state::Counters;
use migrate_core::value::{DataType, Value};
use migrate_core::verify::{repair, verify};
use std::sync::Arc;

/// Orders of others have codes from here on.
const OWN: i64 = 1_000_000;

/// Orders, and their lines, which have no key at the source and numbers of their own in the target.
fn tables(target: bool) -> [TableSchema; 2] {
    let int = DataType::Int64;
    let mut orders = table("orders", &[("id", int.clone()), ("code", int.clone())], &["id"]);
    orders.columns[1].nullable = false;
    orders.unique_keys.push(UniqueKey { name: Some("orders_code".into()), ..UniqueKey::new(["code"]) });
    let mut lines = match target {
        true => table("lines", &[("nr", int.clone()), ("order_id", int.clone()), ("item", int)], &["nr"]),
        false => table("lines", &[("order_id", int.clone()), ("item", int)], &[]),
    };
    lines.foreign_keys = vec![ForeignKey {
        name: Some("lines_order".into()),
        ..ForeignKey::new(["order_id"], TableName::new(None, "orders"), ["id"])
    }];
    if target {
        orders.columns[0].identity = Some(Identity::ByDefault);
        lines.columns[0].identity = Some(Identity::ByDefault);
    }
    [orders, lines]
}

struct Bench {
    from: MemoryDatabase,
    to: MemoryDatabase,
    recorder: Arc<MemoryRecorder>,
    job: Job,
    options: RunOptions,
}

impl Bench {
    /// `remapped` says that the target gives the orders' ids; else they are copied, below those of others.
    fn new(mode: Mode, remapped: bool) -> Self {
        let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
        for (database, target) in [(&from, false), (&to, true)] {
            tables(target).into_iter().for_each(|schema| database.create_table(schema).expect("a new table"));
        }
        for own in 1..=3 {
            let id = if remapped { own } else { OWN + own };
            insert(&to, "orders", &[id, OWN + own]);
            insert(&to, "lines", &[OWN + own, id, own]);
        }
        let orders = Entity::new("orders");
        let orders = if remapped { orders.with_key(["code"]).with_generated("id") } else { orders };
        let deletes = if mode == Mode::Append {
            Deletes::default()
        } else {
            Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Rows(u64::MAX))
        };
        let job = Job::new("copy", "from", "to")
            .with_mode(mode)
            .with_deletes(deletes)
            .with_entity(orders)
            .with_entity(Entity::new("lines").with_replace_per(["order_id"]));
        Bench { from, to, recorder: Arc::default(), job, options: RunOptions::new() }
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

    /// Runs, and checks P1 and that a plan has foreseen it. Returns what became of the lines.
    async fn copy(&self) -> Counters {
        let planned = self.pipeline().preview(&CancelToken::new()).await.expect("both sides can be read");
        let planned = planned.changes.iter().find(|entity| entity.name == "lines").expect("lines are moved").counters;
        let report = self.run().await;
        assert_eq!(report.error, None);
        let lines = report.entities.iter().find(|entity| entity.name == "lines").expect("lines are moved").counters;
        assert_eq!(lines.read, lines.settled(), "P1: {lines:?}");
        assert_eq!(Counters { bytes: 0, ..planned }, Counters { bytes: 0, ..lines }, "what the plan says");
        lines
    }

    /// Asserts that the target holds the source's lines and those of others, that verify says so, and that another run writes nothing.
    async fn assert_arrived(&self, case: &str) {
        let mut expected = said(&self.from);
        expected.extend((1..=3).map(|own| (OWN + own, own)));
        expected.sort_unstable();
        assert_eq!(said(&self.to), expected, "{case}");
        let calls = || [Call::Write, Call::Delete].map(|call| self.to.faults().calls(call));
        let before = calls();
        let again = self.copy().await;
        assert_eq!((again.inserted, again.deleted, again.unchanged), (0, 0, again.read), "P4 {case}");
        assert_eq!(calls(), before, "P4: nothing is written {case}");
        let report = verify(&self.pipeline(), &CancelToken::new()).await.expect("both sides can be read");
        let lines = report.entities.iter().find(|entity| entity.name == "lines").expect("lines are compared");
        assert!(lines.is_equal(), "{case}: {lines:?}");
    }
}

fn insert(database: &MemoryDatabase, table: &str, row: &[i64]) {
    database.insert(table, row.iter().map(|n| Value::Int(*n))).expect("the row fits");
}

fn numbers(database: &MemoryDatabase, table: &str) -> Vec<Vec<i64>> {
    let number = |value: &Value<'static>| if let Value::Int(n) = value { *n } else { -1 };
    database.rows(table).expect("the table is there").iter().map(|row| row.iter().map(number).collect()).collect()
}

/// The lines with their orders' codes, in order.
fn said(database: &MemoryDatabase) -> Vec<(i64, i64)> {
    let orders = numbers(database, "orders");
    let code = |id: i64| orders.iter().find(|order| order[0] == id).map_or(-7, |order| order[1]);
    let lines = numbers(database, "lines");
    let mut said: Vec<(i64, i64)> = lines.iter().map(|line| (code(line[line.len() - 2]), line[line.len() - 1])).collect();
    said.sort_unstable();
    said
}

/// The numbers that the target has given to the lines of an order.
fn given(bench: &Bench, code: i64) -> Vec<i64> {
    let orders = numbers(&bench.to, "orders");
    let id = orders.iter().find(|order| order[1] == code).expect("the order is there")[0];
    numbers(&bench.to, "lines").iter().filter(|line| line[1] == id).map(|line| line[0]).collect()
}

fn remove(database: &MemoryDatabase, order: i64, item: Option<i64>) {
    let is_one = |row: &Vec<Value<'static>>| {
        row[row.len() - 2] == Value::Int(order) && item.is_none_or(|item| row[row.len() - 1] == Value::Int(item))
    };
    database.delete("lines", |row| is_one(row)).expect("the table is there");
}

#[tokio::test]
async fn only_the_parents_whose_rows_differ_are_replaced_and_gone_ones_go() {
    for (mode, remapped) in [(Mode::Replace, true), (Mode::Replace, false), (Mode::Update, true), (Mode::Update, false)] {
        let bench = Bench::new(mode, remapped);
        for order in 1..=4 {
            insert(&bench.from, "orders", &[order, 10 + order]);
            // Of two of them there are copies.
            [5, 5, 6, 7].iter().for_each(|item| insert(&bench.from, "lines", &[order, *item]));
        }
        let first = bench.copy().await;
        assert_eq!((first.inserted, first.deleted), (16, 0), "{mode} {remapped}");
        bench.assert_arrived("a first run").await;
        let before: Vec<Vec<i64>> = (11..=14).map(|code| given(&bench, code)).collect();

        // WHEN one has a copy less, one has another item, one has none any more
        remove(&bench.from, 1, Some(5));
        insert(&bench.from, "lines", &[1, 5]);
        remove(&bench.from, 2, Some(7));
        insert(&bench.from, "lines", &[2, 8]);
        remove(&bench.from, 3, None);
        let counters = bench.copy().await;
        assert_eq!((counters.inserted, counters.deleted, counters.unchanged), (7, 12, 4), "{mode} {remapped}");
        bench.assert_arrived("changes").await;
        assert_eq!(given(&bench, 14), before[3], "what is equal is not touched");
        assert!(given(&bench, 11).iter().all(|nr| !before[0].contains(nr)), "a set is replaced as a whole");

        // WHEN others change a set that the job manages, and have one of their own
        let order = numbers(&bench.to, "orders").iter().find(|order| order[1] == 14).expect("it is there")[0];
        insert(&bench.to, "lines", &[OWN + 50, order, 99]);
        let report = verify(&bench.pipeline(), &CancelToken::new()).await.expect("both sides can be read");
        assert!(report.entities.iter().any(|entity| entity.name == "lines" && entity.extra == 1), "{report:?}");
        let counters = bench.copy().await;
        assert_eq!((counters.inserted, counters.deleted, counters.unchanged), (4, 5, 7), "{mode} {remapped}");
        bench.assert_arrived("others").await;
    }
}

#[tokio::test]
async fn a_difference_that_verify_finds_is_repaired() {
    let bench = Bench::new(Mode::Replace, false);
    insert(&bench.from, "orders", &[1, 11]);
    [5, 6].iter().for_each(|item| insert(&bench.from, "lines", &[1, *item]));
    bench.copy().await;
    remove(&bench.to, 1, Some(6));
    let report = verify(&bench.pipeline(), &CancelToken::new()).await.expect("both sides can be read");
    assert_eq!(report.entities.iter().map(|entity| entity.missing).sum::<u64>(), 1, "{report:?}");
    repair(&bench.pipeline(), &report, false, &CancelToken::new()).await.expect("the repair begins");
    let lines = verify(&bench.pipeline(), &CancelToken::new()).await.expect("both sides can be read");
    assert!(lines.entities.iter().any(|entity| entity.name == "lines" && entity.is_equal()), "{lines:?}");
    assert_eq!(said(&bench.to)[..2], [(11, 5), (11, 6)]);
}

#[tokio::test]
async fn whichever_commit_is_lost_every_set_is_whole_and_every_row_counts_once() {
    for (remapped, lost, happened) in
        (1..=8).flat_map(|n| [(true, n, true), (true, n, false), (false, n, true), (false, n, false)])
    {
        let mut bench = Bench::new(Mode::Replace, remapped);
        // Few sets at a time: each part commits by itself.
        bench.options = RunOptions::new().with_multiset_rows(4);
        for order in 1..=5 {
            insert(&bench.from, "orders", &[order, 10 + order]);
            [5, 5, order].iter().for_each(|item| insert(&bench.from, "lines", &[order, *item]));
        }
        bench.copy().await;
        for order in 1..=3 {
            remove(&bench.from, order, Some(5));
        }
        remove(&bench.from, 4, None);
        match happened {
            true => bench.to.faults().lose_commit_answer(lost),
            false => bench.to.faults().fail(Call::Commit, lost, ErrorKind::Internal),
        }
        let report = bench.run().await;
        bench.to.faults().clear();
        let case = format!("{remapped} {lost} {happened}");
        if report.error.is_none() {
            let lines = report.entities.iter().find(|entity| entity.name == "lines").expect("lines are moved").counters;
            assert_eq!((lines.inserted, lines.deleted, lines.unchanged), (3, 12, 3), "{case}");
        } else {
            // The same execution goes on, and what it has brought is its own.
            let lines = bench.copy().await;
            assert_eq!((lines.inserted, lines.deleted, lines.unchanged), (3, 12, 3), "{case}");
        }
        bench.assert_arrived(&case).await;
    }
}

#[tokio::test]
async fn append_brings_sets_that_are_not_there_and_leaves_all_others() {
    for remapped in [true, false] {
        let bench = Bench::new(Mode::Append, remapped);
        for order in 1..=2 {
            insert(&bench.from, "orders", &[order, 10 + order]);
            [5, 6].iter().for_each(|item| insert(&bench.from, "lines", &[order, *item]));
        }
        assert_eq!(bench.copy().await.inserted, 4);
        remove(&bench.from, 1, Some(5));
        remove(&bench.from, 2, None);
        insert(&bench.from, "orders", &[3, 13]);
        insert(&bench.from, "lines", &[3, 7]);
        let counters = bench.copy().await;
        assert_eq!((counters.inserted, counters.skipped, counters.deleted), (1, 1, 0));
        let mut expected = vec![(11, 5), (11, 6), (12, 5), (12, 6), (13, 7)];
        expected.extend((1..=3).map(|own| (OWN + own, own)));
        assert_eq!(said(&bench.to), expected);
        assert_eq!(bench.copy().await.skipped, 2, "P4");
    }
}

#[tokio::test]
async fn what_has_left_the_filter_stays_unless_the_job_says_otherwise_and_a_guard_stops_a_run() {
    for (left, after) in [(LeftFilter::Keep, 3), (LeftFilter::Delete, 1)] {
        let mut bench = Bench::new(Mode::Replace, false);
        for order in 1..=3 {
            insert(&bench.from, "orders", &[order, 10 + order]);
            insert(&bench.from, "lines", &[order, order]);
        }
        bench.copy().await;
        let filtered = Entity::new("lines").with_replace_per(["order_id"]).with_filter("\"item\" < 2");
        bench.job = Job::new("copy", "from", "to")
            .with_mode(Mode::Replace)
            .with_deletes(Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Rows(u64::MAX)))
            .with_left_filter(left)
            .with_entity(Entity::new("orders"))
            .with_entity(filtered);
        bench.copy().await;
        assert_eq!(numbers(&bench.to, "lines").len(), after + 3, "{left:?}");
    }
    let mut bench = Bench::new(Mode::Replace, false);
    bench.job.deletes = Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Rows(1));
    insert(&bench.from, "orders", &[1, 11]);
    [5, 6, 7].iter().for_each(|item| insert(&bench.from, "lines", &[1, *item]));
    bench.copy().await;
    remove(&bench.from, 1, Some(5));
    remove(&bench.from, 1, Some(6));
    let report = bench.run().await;
    assert_eq!(report.error_kind, Some(ErrorKind::Refused), "{report:?}");
    assert_eq!(numbers(&bench.to, "lines").len(), 6, "nothing was deleted");
}

#[tokio::test]
async fn the_guard_counts_what_all_parts_would_lose_before_the_first_one_loses_anything() {
    for (most, lost, allowed) in [(4, 1, false), (4, 2, false), (4, 2, true), (1_000_000, 1, false), (1_000_000, 1, true)] {
        let mut bench = Bench::new(Mode::Replace, false);
        // Few sets at a time: each part commits by itself, and none loses as much as is allowed.
        bench.options = RunOptions::new().with_multiset_rows(most);
        for order in 1..=10 {
            insert(&bench.from, "orders", &[order, 10 + order]);
            [5, 6, 7].iter().for_each(|item| insert(&bench.from, "lines", &[order, *item]));
        }
        bench.copy().await;
        for order in 1..=10 {
            [5, 6][..lost].iter().for_each(|item| remove(&bench.from, order, Some(*item)));
        }
        let all = 10 * lost as u64;
        bench.job.deletes = Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Rows(all - u64::from(!allowed)));
        let before = said(&bench.to);
        let case = format!("{most} {lost} {allowed}");
        if allowed {
            let counters = bench.copy().await;
            assert_eq!((counters.deleted, counters.inserted), (30, 30 - all), "{case}");
            bench.assert_arrived(&case).await;
            continue;
        }
        let deletes = bench.to.faults().calls(Call::Delete);
        let report = bench.run().await;
        assert_eq!(report.error_kind, Some(ErrorKind::Refused), "{case}: {report:?}");
        let error = report.error.expect("an error");
        assert!(error.contains(&format!("{all} of 30 rows")) && error.contains("nothing was deleted"), "{case}: {error}");
        assert_eq!(said(&bench.to), before, "{case}");
        assert_eq!(bench.to.faults().calls(Call::Delete), deletes, "{case}");
    }
}

#[tokio::test]
async fn what_cannot_be_replaced_is_refused_before_anything_is_written() {
    let refusal = async |lines: Entity| {
        let mut bench = Bench::new(Mode::Replace, false);
        bench.job = Job::new("copy", "from", "to").with_mode(Mode::Replace).with_entity(lines);
        let pipeline =
            Pipeline::builder(bench.job.clone()).source(Arc::new(bench.from.source())).target(Arc::new(bench.to.sink()));
        match pipeline.build() {
            Ok(pipeline) => pipeline.plan().await.expect_err("a refusal").to_string(),
            Err(error) => error.to_string(),
        }
    };
    let keyed = refusal(Entity::new("lines").with_key(["item"]).with_replace_per(["order_id"])).await;
    assert!(keyed.contains("replace_per or key"), "{keyed}");
    let unknown = refusal(Entity::new("lines").with_replace_per(["ordre_id"])).await;
    assert!(unknown.contains("ordre_id") && unknown.contains("order_id"), "{unknown}");
    let bench = Bench::new(Mode::Replace, false);
    let mut notes = table("notes", &[("line", DataType::Int64)], &["line"]);
    notes.foreign_keys = vec![ForeignKey {
        on_delete: ForeignKeyAction::Cascade,
        ..ForeignKey::new(["line"], TableName::new(None, "lines"), ["nr"])
    }];
    bench.to.create_table(notes).expect("a new table");
    let error = bench.pipeline().plan().await.expect_err("a refusal").to_string();
    assert!(error.contains("notes refers to the table lines"), "{error}");
}

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).expect("31 bits") % most.max(1)
    }
}

#[tokio::test]
async fn whatever_is_edited_and_wherever_runs_are_cut_each_parents_rows_are_the_sources() {
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let mut bench = Bench::new(if seed % 2 == 0 { Mode::Replace } else { Mode::Update }, seed % 4 < 2);
        let most = [1000, 6, 2][usize::try_from(dice.below(3)).expect("small")];
        bench.options = RunOptions::new().with_multiset_rows(most).with_batch_rows(1 + dice.below(5).unsigned_abs());
        (1..=6).for_each(|order| insert(&bench.from, "orders", &[order, 10 + order]));
        for _ in 0..5 {
            for _ in 0..3 {
                for _ in 0..1 + dice.below(5) {
                    let (order, item) = (1 + dice.below(6), dice.below(4));
                    match dice.below(5) {
                        0 => remove(&bench.from, order, Some(item)),
                        1 if dice.below(3) == 0 => remove(&bench.from, order, None),
                        _ => insert(&bench.from, "lines", &[order, item]),
                    }
                }
                let cut = 1 + dice.below(6).unsigned_abs();
                match dice.below(3) {
                    0 => bench.to.faults().fail(Call::Commit, cut, ErrorKind::Internal),
                    1 => bench.to.faults().lose_commit_answer(cut),
                    _ => {}
                }
                bench.run().await;
                bench.to.faults().clear();
                // Others write under an order that the job has brought lines of, and that still has some.
                let held = numbers(&bench.from, "lines").first().map(|line| 10 + line[0]);
                let known = numbers(&bench.to, "orders").into_iter().find(|order| Some(order[1]) == held);
                if let Some(order) = known.filter(|_| dice.below(3) == 0) {
                    let highest = numbers(&bench.to, "lines").iter().map(|line| line[0]).max().unwrap_or(0);
                    insert(&bench.to, "lines", &[highest + 1, order[0], 77]);
                }
            }
            println!("seed {seed}");
            bench.copy().await;
            bench.assert_arrived(&format!("seed {seed}")).await;
        }
    }
}
