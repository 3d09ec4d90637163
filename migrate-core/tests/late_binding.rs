//! References that close a cycle, on the memory adapter: who waits for a parent, who completes it, and what is counted meanwhile.

use migrate_core::Parameter;
use migrate_core::job::{
    CancelToken, DeleteGuard, DeleteMode, Deletes, Entity, ExecutionState, Job, MemoryRecorder, Mode, OnConflict, RunOptions,
};
use migrate_core::memory::{MemoryDatabase, table};
use migrate_core::pipeline::{Pipeline, RunReport};
use migrate_core::schema::{ForeignKey, ForeignKeyAction, TableName, TableSchema, UniqueKey};
use migrate_core::state::Counters;
use migrate_core::value::{DataType, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

const NONE: i64 = i64::MIN;

fn value(n: i64) -> Value<'static> {
    if n == NONE { Value::Null } else { Value::Int(n) }
}

fn reference(column: &str, parent: &str) -> ForeignKey {
    ForeignKey {
        name: Some(format!("{column}_fkey")),
        columns: vec![column.into()],
        parent: TableName::new(None, parent),
        parent_columns: vec!["id".into()],
        on_delete: ForeignKeyAction::NoAction,
        on_update: ForeignKeyAction::NoAction,
        match_full: false,
        deferrable: false,
        initially_deferred: false,
        validated: true,
    }
}

/// A table of integers, its first column the key.
fn numbers(name: &str, columns: &[&str]) -> TableSchema {
    let columns: Vec<(&str, DataType)> = columns.iter().map(|c| (*c, DataType::Int64)).collect();
    table(name, &columns, &["id"])
}

const DEPARTMENT: [&str; 3] = ["id", "head", "floor"];
const EMPLOYEE: [&str; 3] = ["id", "department", "boss"];

/// A department has a head and a floor of its own; an employee is in a department, as everybody is, and may have a boss.
fn cycle() -> Vec<TableSchema> {
    let (mut department, mut employee) = (numbers("department", &DEPARTMENT), numbers("employee", &EMPLOYEE));
    department.foreign_keys.push(reference("head", "employee"));
    department.unique_keys.push(UniqueKey {
        name: Some("own_floor".into()),
        columns: vec!["floor".into()],
        deferrable: false,
        initially_deferred: false,
        nulls_not_distinct: false,
    });
    employee.columns[1].nullable = false;
    employee.foreign_keys.push(reference("department", "department"));
    employee.foreign_keys.push(reference("boss", "employee"));
    vec![department, employee]
}

struct Bench {
    from: MemoryDatabase,
    to: MemoryDatabase,
    recorder: Arc<MemoryRecorder>,
    job: Job,
    options: RunOptions,
}

impl Bench {
    /// The target has these tables, the source the same without constraints.
    fn new(tables: Vec<TableSchema>, job: Job) -> Self {
        let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
        for schema in tables {
            let mut loose = schema.clone();
            loose.foreign_keys.clear();
            loose.unique_keys.clear();
            from.create_table(loose).expect("a new table");
            to.create_table(schema).expect("a new table");
        }
        Bench { from, to, recorder: Arc::default(), job, options: RunOptions::new().with_batch_rows(100) }
    }

    fn cycle(mode: Mode) -> Self {
        let job = Job::new("copy", "from", "to").with_entity(Entity::new("department")).with_entity(Entity::new("employee"));
        Bench::new(cycle(), job.with_mode(mode))
    }

    async fn run(&self) -> RunReport {
        let pipeline = Pipeline::builder(self.job.clone())
            .source(Arc::new(self.from.source()))
            .target(Arc::new(self.to.sink()))
            .recorder(self.recorder.clone())
            .options(self.options.clone())
            .build()
            .expect("the job is sound");
        pipeline.run(&CancelToken::new()).await.expect("the run begins")
    }

    /// Runs to the end and returns the sum of what became of the rows.
    async fn copy(&self) -> Counters {
        let report = self.run().await;
        assert_eq!(report.error, None);
        sum(&report)
    }

    /// Asserts that the target holds what the source does, and that running again writes nothing.
    async fn assert_equal(&self) {
        for name in ["department", "employee"] {
            assert_eq!(held(&self.to, name), held(&self.from, name), "{name}");
        }
        let again = self.copy().await;
        assert_eq!((again.unchanged + again.skipped + again.inserted, again.pending), (again.read, 0), "P4: {again:?}");
        assert_eq!(again.inserted, 0, "P4: {again:?}");
    }
}

fn sum(report: &RunReport) -> Counters {
    let mut sum = Counters::default();
    for entity in &report.entities {
        assert_eq!(entity.counters.read, entity.counters.settled(), "P1: {entity:?}");
        sum.add(&entity.counters);
    }
    sum
}

fn held(database: &MemoryDatabase, table: &str) -> BTreeMap<i64, Vec<i64>> {
    let number = |value: &Value<'_>| if let Value::Int(n) = value { *n } else { NONE };
    let rows = database.rows(table).expect("the table is there");
    rows.iter().map(|row| (number(&row[0]), row.iter().skip(1).map(number).collect())).collect()
}

/// Adds a row, or puts it in the place of the one with its key.
fn put(database: &MemoryDatabase, table: &str, row: &[i64]) {
    let row: Vec<Value<'static>> = row.iter().map(|n| value(*n)).collect();
    let mut replaced = false;
    let overwrite = |old: &mut Vec<Value<'static>>| {
        let same = old[0] == row[0];
        if same {
            old.clone_from(&row);
            replaced = true;
        }
        same
    };
    database.update(table, overwrite).expect("the row fits");
    if !replaced {
        database.insert(table, row).expect("the row fits");
    }
}

#[tokio::test]
async fn in_mode_update_a_row_that_was_synced_before_waits_for_its_new_parent_too() {
    let bench = Bench::cycle(Mode::Update);
    put(&bench.from, "department", &[1, 2, NONE]);
    put(&bench.from, "employee", &[2, 1, NONE]);
    assert_eq!(bench.copy().await.inserted, 2);
    put(&bench.from, "employee", &[5, 1, NONE]);
    put(&bench.from, "department", &[1, 5, NONE]);
    let counters = bench.copy().await;
    assert_eq!((counters.inserted, counters.updated, counters.quarantined, counters.pending), (1, 1, 0, 0), "{counters:?}");
    bench.assert_equal().await;
}

#[tokio::test]
async fn in_mode_update_a_row_that_waits_stays_pending_for_as_long_as_it_does() {
    let bench = Bench::cycle(Mode::Update);
    put(&bench.from, "department", &[1, 77, NONE]);
    put(&bench.from, "employee", &[2, 1, 88]);
    for run in 0..3 {
        let report = bench.run().await;
        let counters = sum(&report);
        assert_eq!((counters.pending, counters.quarantined), (2, 0), "run {run}: {counters:?}");
        assert_eq!(counters.unchanged, if run == 0 { 0 } else { 2 }, "{counters:?}");
        assert_eq!(report.status, ExecutionState::Partial);
    }
    put(&bench.from, "employee", &[77, 1, 88]);
    put(&bench.from, "employee", &[88, 1, NONE]);
    let counters = bench.copy().await;
    assert_eq!((counters.inserted, counters.updated, counters.pending), (2, 2, 0), "{counters:?}");
    bench.assert_equal().await;
}

#[tokio::test]
async fn in_mode_update_what_others_changed_in_a_row_that_waits_stays_theirs() {
    for policy in [OnConflict::Report, OnConflict::Source, OnConflict::Target] {
        let mut bench = Bench::cycle(Mode::Update);
        bench.job = bench.job.with_on_conflict(policy);
        put(&bench.from, "department", &[1, 2, 10]);
        put(&bench.from, "employee", &[2, 1, NONE]);
        bench.copy().await;
        // WHEN the source gives the department a head that comes later, and somebody gives it another floor
        put(&bench.to, "department", &[1, 2, 30]);
        put(&bench.from, "department", &[1, 5, 10]);
        assert_eq!(bench.copy().await.pending, 1);
        assert_eq!(held(&bench.to, "department")[&1], [NONE, 30]);
        put(&bench.from, "employee", &[5, 1, NONE]);
        let counters = bench.copy().await;
        assert_eq!((counters.updated, counters.pending, counters.conflicts), (1, 0, 0), "{policy:?} {counters:?}");
        assert_eq!(held(&bench.to, "department")[&1], [5, 30], "{policy:?}");
    }
}

#[tokio::test]
async fn in_mode_update_a_conflict_stays_open_in_a_row_that_waits() {
    let bench = Bench::cycle(Mode::Update);
    put(&bench.from, "department", &[1, 2, 10]);
    put(&bench.from, "employee", &[2, 1, NONE]);
    bench.copy().await;
    put(&bench.to, "department", &[1, 2, 30]);
    put(&bench.from, "department", &[1, 5, 20]);
    for _ in 0..2 {
        let counters = bench.copy().await;
        assert_eq!((counters.pending, counters.conflicts), (1, 1), "{counters:?}");
        assert_eq!(held(&bench.to, "department")[&1], [NONE, 30]);
    }
    put(&bench.from, "employee", &[5, 1, NONE]);
    let counters = bench.copy().await;
    assert_eq!((counters.pending, counters.conflicts), (0, 1), "{counters:?}");
    assert_eq!(held(&bench.to, "department")[&1], [5, 30]);
    put(&bench.to, "department", &[1, 5, 20]);
    assert_eq!(bench.copy().await.conflicts, 0);
}

#[tokio::test]
async fn a_row_of_a_cycle_that_was_refused_comes_in_once_it_is_valid() {
    for mode in [Mode::Replace, Mode::Update, Mode::Append] {
        let bench = Bench::cycle(mode);
        // Somebody else's department has the floor.
        put(&bench.to, "department", &[99, NONE, 7]);
        put(&bench.from, "department", &[1, 1, 7]);
        put(&bench.from, "department", &[2, NONE, NONE]);
        put(&bench.from, "employee", &[1, 1, NONE]);
        assert_eq!(bench.copy().await.quarantined, 2);
        assert_eq!(bench.copy().await.quarantined, 2);
        put(&bench.from, "department", &[1, 1, 8]);
        let counters = bench.copy().await;
        assert_eq!((counters.inserted, counters.quarantined, counters.pending), (2, 0, 0), "{mode} {counters:?}");
        assert_eq!(held(&bench.to, "department")[&1], [1, 8]);
        let again = bench.copy().await;
        assert_eq!(again.unchanged + again.skipped, 3, "P4: {mode} {again:?}");
    }
}

#[tokio::test]
async fn a_row_of_a_cycle_that_was_refused_comes_in_once_the_target_would_take_it() {
    let bench = Bench::cycle(Mode::Replace);
    put(&bench.to, "department", &[99, NONE, 7]);
    put(&bench.from, "department", &[1, 1, 7]);
    put(&bench.from, "department", &[2, NONE, NONE]);
    put(&bench.from, "employee", &[1, 1, NONE]);
    assert_eq!(bench.copy().await.quarantined, 2);
    // WHEN not the row changes but what it was refused for
    put(&bench.to, "department", &[99, NONE, 9]);
    let counters = bench.copy().await;
    assert_eq!((counters.inserted, counters.quarantined, counters.pending), (2, 0, 0), "{counters:?}");
    assert_eq!(held(&bench.to, "department")[&1], [1, 7]);
    assert_eq!(bench.copy().await.unchanged, 3, "P4");
}

#[tokio::test]
async fn in_mode_append_a_later_run_completes_what_this_job_wrote_without_its_parent_and_nothing_else() {
    let bench = Bench::cycle(Mode::Append);
    put(&bench.from, "department", &[1, 77, 10]);
    put(&bench.from, "department", &[2, NONE, 20]);
    put(&bench.from, "employee", &[2, 1, 88]);
    for run in 0..2 {
        let report = bench.run().await;
        let counters = sum(&report);
        assert_eq!((counters.pending, counters.updated), (2, 0), "run {run}: {counters:?}");
        assert_eq!(report.status, ExecutionState::Partial);
    }
    // What somebody has changed meanwhile stays, and so does a row that was complete when it was copied.
    put(&bench.to, "department", &[1, NONE, 11]);
    put(&bench.from, "department", &[2, 77, 21]);
    put(&bench.from, "employee", &[77, 1, NONE]);
    put(&bench.from, "employee", &[88, 1, NONE]);
    let counters = bench.copy().await;
    assert_eq!((counters.inserted, counters.updated, counters.skipped, counters.pending), (2, 2, 1, 0), "{counters:?}");
    assert_eq!(held(&bench.to, "department"), BTreeMap::from([(1, vec![77, 11]), (2, vec![NONE, 20])]));
    assert_eq!(held(&bench.to, "employee"), held(&bench.from, "employee"));
    let again = bench.copy().await;
    assert_eq!((again.updated, again.inserted, again.pending, again.conflicts), (0, 0, 0, 0), "P4: {again:?}");
}

#[tokio::test]
async fn a_refused_row_is_quarantined_whatever_older_version_of_it_the_target_holds() {
    let bench = Bench::cycle(Mode::Replace);
    put(&bench.from, "department", &[1, 1, 10]);
    put(&bench.from, "department", &[2, 1, 20]);
    put(&bench.from, "employee", &[1, 1, NONE]);
    bench.copy().await;
    put(&bench.to, "department", &[99, NONE, 7]);
    // WHEN one row is refused for its floor while another makes the walk go round once more
    put(&bench.from, "department", &[1, 1, 7]);
    put(&bench.from, "department", &[2, 5, 20]);
    put(&bench.from, "employee", &[5, 1, NONE]);
    let counters = bench.copy().await;
    assert_eq!((counters.quarantined, counters.pending, counters.updated), (1, 0, 1), "{counters:?}");
}

/// Two entities that feed one table, whose rows refer to it, and one that refers to it from outside.
fn people(order: [&str; 3]) -> Bench {
    let mut people = numbers("people", &["id", "kind", "parent"]);
    people.columns[1].nullable = false;
    people.foreign_keys.push(reference("parent", "people"));
    let mut visit = numbers("visit", &["id", "who"]);
    visit.foreign_keys.push(reference("who", "people"));
    let to = MemoryDatabase::new();
    for schema in [people, visit] {
        to.create_table(schema).expect("a new table");
    }
    let from = MemoryDatabase::new();
    for name in ["customers", "suppliers"] {
        from.create_table(numbers(name, &["id", "parent"])).expect("a new table");
    }
    from.create_table(numbers("visit", &["id", "who"])).expect("a new table");
    let entity = |name: &str, kind: i64| Entity::new(name).with_target("people").with_set("kind", Parameter::Int(kind));
    let mut job = Job::new("copy", "from", "to").with_mode(Mode::Replace);
    for name in order {
        job = job.with_entity(match name {
            "customers" => entity("customers", 1),
            "suppliers" => entity("suppliers", 2),
            other => Entity::new(other),
        });
    }
    // A row at a time: none comes with its parent.
    Bench { from, to, recorder: Arc::default(), job, options: RunOptions::new().with_batch_rows(1) }
}

#[tokio::test]
async fn every_entity_that_feeds_a_table_is_a_parent_of_those_who_refer_to_it() {
    for order in [["customers", "suppliers", "visit"], ["visit", "suppliers", "customers"], ["suppliers", "visit", "customers"]] {
        let bench = people(order);
        // Each refers to the other, and to a later one of its own.
        for row in [[1, 102], [2, 1], [3, 4], [4, 101]] {
            put(&bench.from, "customers", &row);
        }
        for row in [[101, 3], [102, 103], [103, 102]] {
            put(&bench.from, "suppliers", &row);
        }
        for row in [[1, 4], [2, 103]] {
            put(&bench.from, "visit", &row);
        }
        let counters = bench.copy().await;
        assert_eq!((counters.inserted, counters.quarantined, counters.pending), (9, 0, 0), "{order:?} {counters:?}");
        let parents: BTreeMap<i64, i64> = held(&bench.to, "people").into_iter().map(|(id, row)| (id, row[1])).collect();
        assert_eq!(parents, BTreeMap::from([(1, 102), (2, 1), (3, 4), (4, 101), (101, 3), (102, 103), (103, 102)]), "{order:?}");
        assert_eq!(bench.copy().await.unchanged, 9, "P4");
    }
}

#[tokio::test]
async fn children_of_a_row_that_comes_in_at_the_second_walk_come_in_with_it() {
    let mut tables = cycle();
    let without_head = &mut tables[0].unique_keys[0];
    (without_head.columns, without_head.nulls_not_distinct) = (vec!["head".into()], true);
    let job = Job::new("copy", "from", "to").with_entity(Entity::new("department")).with_entity(Entity::new("employee"));
    let bench = Bench::new(tables, job.with_mode(Mode::Replace));
    // There may be one department without a head, and there is: others must come in whole.
    put(&bench.to, "department", &[99, NONE, NONE]);
    put(&bench.from, "employee", &[1, 99, NONE]);
    for id in 2..=4 {
        // The head of each is in the department before, and comes in after it.
        put(&bench.from, "department", &[id, id - 1, NONE]);
        put(&bench.from, "employee", &[id, id, NONE]);
    }
    let counters = bench.copy().await;
    assert_eq!((counters.inserted, counters.quarantined, counters.pending), (7, 0, 0), "{counters:?}");
    assert_eq!(bench.copy().await.unchanged, 7, "P4");
}

#[tokio::test]
async fn a_gone_row_that_others_hold_keeps_its_references() {
    let mut badge = numbers("badge", &["id", "employee"]);
    badge.foreign_keys.push(reference("employee", "employee"));
    let mut bench = Bench::cycle(Mode::Replace);
    bench.to.create_table(badge).expect("a new table");
    bench.job = bench.job.with_deletes(Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Percent(100.0)));
    for (id, head) in [(1, 1), (2, 2), (3, 4)] {
        put(&bench.from, "department", &[id, head, id]);
    }
    for (id, department, boss) in [(1, 1, 2), (2, 2, 1), (3, 3, 4), (4, 3, 3), (5, 2, NONE)] {
        put(&bench.from, "employee", &[id, department, boss]);
    }
    bench.copy().await;
    let before = (held(&bench.to, "department"), held(&bench.to, "employee"));
    put(&bench.to, "badge", &[1, 1]);
    bench.from.delete("department", |_| true).expect("the table is there");
    bench.from.delete("employee", |_| true).expect("the table is there");
    let report = bench.run().await;
    let counters = sum(&report);
    // Employee 1 stays, and with it whoever it refers to: its department, its boss and that one's department.
    assert_eq!((counters.deleted, counters.conflicts), (4, 4), "{counters:?}");
    assert_eq!(report.status, ExecutionState::Partial);
    let stay = |rows: &BTreeMap<i64, Vec<i64>>| rows.clone().into_iter().filter(|(id, _)| *id <= 2).collect::<BTreeMap<_, _>>();
    assert_eq!(held(&bench.to, "department"), stay(&before.0));
    assert_eq!(held(&bench.to, "employee"), stay(&before.1));
    bench.to.delete("badge", |_| true).expect("the table is there");
    assert_eq!(bench.copy().await.deleted, 4);
    assert!(held(&bench.to, "department").is_empty() && held(&bench.to, "employee").is_empty());
}
