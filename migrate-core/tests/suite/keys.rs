//! Ids that the target gives, on the memory adapter: every row once, and every reference to the row that it meant, whatever fails.

use migrate_core::ErrorKind;
use migrate_core::job::{
    CancelToken, DeleteGuard, DeleteMode, Deletes, Entities, Entity, Job, MemoryRecorder, Mode, Reference, RunOptions,
};
use migrate_core::memory::{Call, MemoryDatabase, table};
use migrate_core::pipeline::{Pipeline, RunReport};
use migrate_core::schema::{ForeignKey, Identity, TableName, TableSchema, UniqueKey};
use migrate_core::sink::Sink;
use migrate_core::state::Counters;
use migrate_core::value::{DataType, Key, Value};
use migrate_core::verify::{repair, verify};
use std::sync::Arc;

/// Projects are known by their code on both sides, tasks by the key map alone; a task may be a part of another. Labels are details: known
/// by their task and number.
fn tables(target: bool) -> [TableSchema; 3] {
    let refers = |column: &str, parent: &str| ForeignKey {
        name: Some(format!("{column}_fkey")),
        ..ForeignKey::new([column], TableName::new(None, parent), ["id"])
    };
    let int = DataType::Int64;
    let mut project = table("project", &[("id", int.clone()), ("code", int.clone()), ("size", int.clone())], &["id"]);
    project.columns[1].nullable = false;
    project.unique_keys.push(UniqueKey { name: Some("project_code".into()), ..UniqueKey::new(["code"]) });
    let mut task =
        table("task", &[("id", int.clone()), ("project", int.clone()), ("part_of", int.clone()), ("name", int.clone())], &["id"]);
    task.columns[1].nullable = false;
    task.foreign_keys = vec![refers("project", "project"), refers("part_of", "task")];
    let mut label = table("label", &[("task", int.clone()), ("number", int.clone()), ("text", int)], &["task", "number"]);
    label.foreign_keys = vec![refers("task", "task")];
    if target {
        project.columns[0].identity = Some(Identity::ByDefault);
        task.columns[0].identity = Some(Identity::Always);
    }
    [project, task, label]
}

struct Bench {
    from: MemoryDatabase,
    to: MemoryDatabase,
    recorder: Arc<MemoryRecorder>,
    job: Job,
    rows: u64,
    /// Whether the target had its tables, with rows of its own, before the job.
    existing: bool,
    /// The entities that alone are moved.
    entities: Vec<&'static str>,
}

/// Codes and names from here on are those of rows that were in the target before.
const OWN: i64 = 1_000_000;

impl Bench {
    fn new(mode: Mode) -> Self {
        let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
        for schema in tables(false) {
            from.create_table(schema).expect("a new table");
        }
        for schema in tables(true) {
            to.create_table(schema).expect("a new table");
        }
        for own in 1..=3 {
            insert(&to, "project", &[own, OWN + own, 0]);
            insert(&to, "task", &[own, own, 1, OWN + own]);
            insert(&to, "label", &[own, 1, OWN]);
        }
        let mut deletes = Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Rows(u64::MAX));
        if mode == Mode::Append {
            deletes = Deletes::default();
        }
        let job = Job::new("copy", "from", "to")
            .with_mode(mode)
            .with_deletes(deletes)
            .with_entity(Entity::new("label"))
            .with_entity(Entity::new("task").with_generated("id"))
            .with_entity(Entity::new("project").with_key(["code"]).with_generated("id"));
        Bench { from, to, recorder: Arc::default(), job, rows: 100, existing: true, entities: Vec::new() }
    }

    /// A target without any table.
    fn creating(mode: Mode) -> Self {
        Bench { to: MemoryDatabase::new(), existing: false, ..Bench::new(mode) }
    }

    fn pipeline(&self) -> Pipeline {
        Pipeline::builder(self.job.clone())
            .source(Arc::new(self.from.source()))
            .target(Arc::new(self.to.sink()))
            .recorder(self.recorder.clone())
            .options(
                RunOptions::new()
                    .with_parallel(3)
                    .with_part_bytes(1)
                    .with_batch_rows(self.rows)
                    .with_entities(self.entities.iter().copied()),
            )
            .build()
            .expect("the job is sound")
    }

    async fn run(&self) -> RunReport {
        self.pipeline().run(&CancelToken::new()).await.expect("the run begins")
    }

    async fn copy(&self) -> Counters {
        let report = self.run().await;
        assert_eq!(report.error, None);
        let mut sum = Counters::default();
        for entity in &report.entities {
            assert_eq!(entity.counters.read, entity.counters.settled(), "P1: {entity:?}");
            sum.add(&entity.counters);
        }
        sum
    }

    /// Asserts that the target holds what the source does, beside what it had; that nothing differs to verify; and that running again
    /// writes nothing.
    async fn assert_arrived(&self) {
        let (mut expected, held) = (said(&self.from), said(&self.to));
        let own = if self.existing { said_by_own() } else { Vec::new() };
        expected.extend(own);
        expected.sort();
        assert_eq!(held, expected);
        let writes = self.to.faults().calls(Call::Write);
        let again = self.copy().await;
        assert_eq!(
            (again.inserted, again.updated, again.deleted, again.pending, again.quarantined),
            (0, 0, 0, 0, 0),
            "P4: {again:?}"
        );
        assert_eq!(self.to.faults().calls(Call::Write), writes, "P4: nothing is written");
        let report = verify(&self.pipeline(), &CancelToken::new()).await.expect("both sides can be read");
        assert!(report.entities.iter().all(|entity| entity.different + entity.missing == 0), "{report:?}");
    }
}

fn insert(database: &MemoryDatabase, table: &str, row: &[i64]) {
    database.insert(table, row.iter().map(|n| number(*n))).expect("the row fits");
}

fn number(n: i64) -> Value<'static> {
    if n < 0 { Value::Null } else { Value::Int(n) }
}

fn numbers(database: &MemoryDatabase, table: &str) -> Vec<Vec<i64>> {
    let number = |value: &Value<'static>| if let Value::Int(n) = value { *n } else { -1 };
    database.rows(table).expect("the table is there").iter().map(|row| row.iter().map(number).collect()).collect()
}

/// What the rows say, ids left out: each id is spelled by what its row says.
fn said(database: &MemoryDatabase) -> Vec<String> {
    let (projects, tasks) = (numbers(database, "project"), numbers(database, "task"));
    let project = |id: i64| projects.iter().find(|row| row[0] == id).map_or(-7, |row| row[1]);
    let task = |id: i64| tasks.iter().find(|row| row[0] == id).map_or(-7, |row| row[3]);
    let mut said: Vec<String> = projects.iter().map(|row| format!("project {} {}", row[1], row[2])).collect();
    said.extend(tasks.iter().map(|row| {
        let whole = if row[2] < 0 { -1 } else { task(row[2]) };
        format!("task {} of {} in {whole}", row[3], project(row[1]))
    }));
    said.extend(numbers(database, "label").iter().map(|row| format!("label {} of {}: {}", row[1], task(row[0]), row[2])));
    said.sort();
    said
}

fn said_by_own() -> Vec<String> {
    let own = |n: i64| {
        let code = OWN + n;
        [format!("project {code} 0"), format!("task {code} of {code} in {}", OWN + 1), format!("label 1 of {code}: {OWN}")]
    };
    (1..=3).flat_map(own).collect()
}

#[tokio::test]
async fn rows_arrive_beside_those_that_have_their_ids_in_the_target() {
    for mode in [Mode::Replace, Mode::Update, Mode::Append] {
        let bench = Bench::new(mode);
        // One project is there already, under another id.
        insert(&bench.to, "project", &[9, 12, 5]);
        for id in 1..=4 {
            insert(&bench.from, "project", &[id, 10 + id, 5]);
            insert(&bench.from, "task", &[id, id, id - 1 - i64::from(id == 1), 100 + id]);
            insert(&bench.from, "label", &[id, 1, id]);
        }
        let counters = bench.copy().await;
        assert_eq!(
            (counters.inserted, counters.unchanged + counters.skipped, counters.pending),
            (11, 1, 0),
            "{mode} {counters:?}"
        );
        assert!(numbers(&bench.to, "project").contains(&vec![9, 12, 5]), "{mode}");
        bench.assert_arrived().await;
    }
}

#[tokio::test]
async fn a_first_load_into_an_empty_table_has_new_ids_too() {
    let bench = Bench::new(Mode::Init);
    for name in ["label", "task", "project"] {
        bench.to.delete(name, |_| true).expect("the table is there");
    }
    for id in 1..=250 {
        insert(&bench.from, "project", &[id * 7, id, 5]);
        insert(&bench.from, "task", &[id * 11, id * 7, if id % 3 == 0 { 11 } else { -1 }, id]);
        insert(&bench.from, "label", &[id * 11, 1, id]);
    }
    assert_eq!(bench.copy().await.inserted, 750);
    assert_eq!(said(&bench.to), said(&bench.from));
    let ids: Vec<i64> = numbers(&bench.to, "project").iter().map(|row| row[0]).collect();
    assert!(ids.iter().all(|id| (1..=250).contains(id)), "the target has given them");
    assert_eq!(bench.copy().await.unchanged, 750, "P4");
}

#[tokio::test]
async fn a_table_that_the_job_creates_gives_new_ids_whichever_of_its_commits_is_lost() {
    for (lost, cut) in (1..=14).flat_map(|n| [(n, false), (n, true)]) {
        let mut bench = Bench::creating(Mode::Replace);
        bench.rows = 3;
        for id in 1..=7 {
            insert(&bench.from, "project", &[id * 7, id, 5]);
            // Some are a part of one that comes later.
            insert(&bench.from, "task", &[id * 11, id * 7, if id % 2 == 0 { 77 } else { 11 }, 100 + id]);
            insert(&bench.from, "label", &[id * 11, 1, id]);
        }
        let planned = bench.pipeline().preview(&CancelToken::new()).await.expect("both sides can be read");
        assert_eq!(planned.changes.iter().map(|entity| entity.counters.inserted).collect::<Vec<u64>>(), [7, 7, 7]);
        match cut {
            true => bench.to.faults().fail(Call::Commit, lost, ErrorKind::Internal),
            false => bench.to.faults().lose_commit_answer(lost),
        }
        bench.run().await;
        bench.to.faults().clear();
        bench.copy().await;
        let ids = |table: &str| numbers(&bench.to, table).iter().map(|row| row[0]).collect::<Vec<i64>>();
        for table in ["project", "task"] {
            assert!(ids(table).iter().all(|id| (1..=20).contains(id)), "{lost} {cut}: the target has given them");
        }
        bench.assert_arrived().await;
        let foreign_keys = |table: &str| bench.to.table(table).expect("it was created").foreign_keys.len();
        assert_eq!((foreign_keys("task"), foreign_keys("label")), (2, 1), "{lost} {cut}");
    }
}

#[tokio::test]
async fn a_table_that_somebody_has_emptied_is_filled_again_and_old_entries_mislead_nobody() {
    let bench = Bench::new(Mode::Replace);
    insert(&bench.from, "project", &[1, 11, 5]);
    insert(&bench.from, "task", &[1, 1, -1, 101]);
    bench.copy().await;
    for name in ["label", "task", "project"] {
        bench.to.delete(name, |_| true).expect("the table is there");
    }
    // The numbers begin anew, and those of before are the next rows'.
    insert(&bench.from, "project", &[2, 12, 5]);
    assert_eq!(bench.copy().await.inserted, 3);
    assert_eq!(numbers(&bench.to, "project"), [[1, 11, 5], [2, 12, 5]]);
    assert_eq!(numbers(&bench.to, "task"), [[1, 1, -1, 101]]);
    assert_eq!(bench.copy().await.unchanged, 3, "P4");
}

#[tokio::test]
async fn a_deleted_row_takes_its_entry_along_and_the_next_of_its_id_is_a_new_row() {
    let bench = Bench::new(Mode::Replace);
    insert(&bench.from, "project", &[1, 11, 5]);
    insert(&bench.from, "project", &[2, 12, 5]);
    insert(&bench.from, "task", &[5, 1, -1, 105]);
    bench.copy().await;
    let state = bench.to.sink().state();
    let key = |n: i64| Key::from_values([&Value::Int(n)]);
    let known = async |entity: &str, n: i64| state.mapped("copy", entity, &[key(n)]).await.expect("the map is there").len();
    assert_eq!((known("task", 5).await, known("project", 1).await), (1, 1));
    bench.from.delete("task", |_| true).expect("the table is there");
    bench.from.delete("project", |row| row[0] == Value::Int(1)).expect("the table is there");
    assert_eq!(bench.copy().await.deleted, 2);
    assert_eq!((known("task", 5).await, known("project", 1).await, known("project", 2).await), (0, 0, 1));
    insert(&bench.from, "task", &[5, 2, -1, 205]);
    assert_eq!(bench.copy().await.inserted, 1);
    bench.assert_arrived().await;
}

#[tokio::test]
async fn a_row_of_the_key_map_that_the_target_has_lost_is_repaired_under_its_id() {
    let bench = Bench::new(Mode::Replace);
    insert(&bench.from, "project", &[1, 11, 5]);
    insert(&bench.from, "task", &[5, 1, -1, 105]);
    insert(&bench.from, "task", &[6, 1, 5, 106]);
    bench.copy().await;
    let before = numbers(&bench.to, "task");
    bench.to.delete("task", |row| row[3] == Value::Int(106)).expect("the table is there");
    let report = verify(&bench.pipeline(), &CancelToken::new()).await.expect("both sides can be read");
    assert_eq!(report.entities.iter().map(|entity| entity.missing).sum::<u64>(), 1, "{report:?}");
    repair(&bench.pipeline(), &report, false, &CancelToken::new()).await.expect("the repair begins");
    let (mut before, mut after) = (before, numbers(&bench.to, "task"));
    before.sort();
    after.sort();
    assert_eq!(after, before);
}

#[tokio::test]
async fn what_cannot_be_told_or_given_is_refused_before_anything_is_written() {
    let refusal = async |change: &dyn Fn(Job) -> Job| {
        let mut bench = Bench::new(Mode::Replace);
        bench.job = change(bench.job.clone());
        let pipeline =
            Pipeline::builder(bench.job.clone()).source(Arc::new(bench.from.source())).target(Arc::new(bench.to.sink()));
        match pipeline.build() {
            Ok(pipeline) => pipeline.plan().await.expect_err("a refusal").to_string(),
            Err(error) => error.to_string(),
        }
    };
    let only = |entity: Entity| Job::new("copy", "from", "to").with_mode(Mode::Replace).with_entity(entity);
    let named = refusal(&|_| only(Entity::new("label").with_generated("text").with_key(["task", "text"]))).await;
    assert!(named.contains("only a part of the key"), "{named}");
    let given = refusal(&|_| only(Entity::new("task").with_generated("name"))).await;
    assert!(given.contains("no unique index of the source covers name"), "{given}");
    let kinds = refusal(&|job| {
        let about = Reference::new(["text"], "task").with_condition("number", migrate_core::Parameter::Int(1));
        let label = Entity::new("label").with_reference(about);
        Job::new("copy", "from", "to")
            .with_mode(job.mode)
            .with_entity(label)
            .with_entity(Entity::new("task").with_generated("id"))
            .with_entity(Entity::new("project").with_key(["code"]).with_generated("id"))
    })
    .await;
    assert!(kinds.contains("in some rows only"), "{kinds}");
}

#[tokio::test]
async fn rows_that_came_under_their_own_ids_are_not_brought_again_under_new_ones() {
    let mut bench = Bench::new(Mode::Replace);
    for name in ["label", "task", "project"] {
        bench.to.delete(name, |_| true).expect("the table is there");
    }
    insert(&bench.from, "project", &[1, 11, 5]);
    bench.job = Job::new("copy", "from", "to").with_mode(Mode::Replace).with_entity(Entity::new("project"));
    bench.copy().await;
    bench.job = Job::new("copy", "from", "to").with_mode(Mode::Replace).with_entity(Entity::new("project").with_generated("id"));
    let report = bench.run().await;
    assert_eq!(report.error_kind, Some(ErrorKind::Refused), "{report:?}");
    assert_eq!(numbers(&bench.to, "project").len(), 1);
}

#[tokio::test]
async fn a_row_that_this_execution_has_brought_stays_in_a_narrow_run_as_long_as_others_are_known_by_its_id() {
    for (call, nth) in [(Call::Commit, 2), (Call::Commit, 3), (Call::Finish, 1)] {
        let mut bench = Bench::creating(Mode::Replace);
        // What the execution has brought itself goes all the same.
        bench.job = bench.job.with_deletes(Deletes::new(DeleteMode::Soft).with_column("deleted_at"));
        insert(&bench.from, "project", &[1, 11, 5]);
        insert(&bench.from, "task", &[5, 1, -1, 105]);
        insert(&bench.from, "label", &[5, 1, 7]);
        bench.to.faults().fail(call, nth, ErrorKind::Internal);
        bench.run().await;
        bench.to.faults().clear();
        bench.from.delete("label", |_| true).expect("the table is there");
        bench.from.delete("task", |_| true).expect("the table is there");
        bench.entities = vec!["task"];
        bench.entities = Vec::new();
        bench.copy().await;
        let column = |table: &str, at: usize| numbers(&bench.to, table).into_iter().map(move |row| row[at]).collect::<Vec<i64>>();
        let (tasks, labels) = (column("task", 0), column("label", 0));
        assert!(labels.iter().all(|task| tasks.contains(task)), "{call:?} {nth}: {labels:?} of {tasks:?}");
    }
}

#[tokio::test]
async fn a_narrow_run_goes_on_though_what_it_leaves_out_cannot_be_planned_and_keeps_what_that_may_be_known_by() {
    let mut bench = Bench::new(Mode::Replace);
    insert(&bench.from, "project", &[1, 11, 5]);
    insert(&bench.from, "task", &[5, 1, -1, 105]);
    insert(&bench.from, "task", &[6, 1, -1, 106]);
    insert(&bench.from, "label", &[6, 1, 7]);
    bench.copy().await;
    bench.from.delete("task", |row| row[0] == Value::Int(5)).expect("the table is there");
    insert(&bench.from, "task", &[8, 1, -1, 108]);
    let whole = bench.job.clone();
    if let Entities::List(entities) = &mut bench.job.entities {
        entities[0] = Entity::new("label").with_exclude("nothing");
    }
    bench.entities = vec!["task"];
    let plan = bench.pipeline().plan().await.expect("the entity can be planned");
    assert!(plan.notes.iter().any(|note| note.contains("none of those is deleted") && note.contains("nothing")), "{plan:?}");
    let report = bench.run().await;
    let counters = report.entities[0].counters;
    assert_eq!((report.error, counters.inserted, counters.deleted, counters.conflicts), (None, 1, 0, 1), "{counters:?}");
    (bench.job, bench.entities) = (whole, Vec::new());
    assert_eq!(bench.copy().await.deleted, 1);
    bench.assert_arrived().await;
}

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).expect("31 bits") % most.max(1)
    }
}

/// Changes the source: rows come, go, change their parents, and projects change their ids.
fn edit(database: &MemoryDatabase, dice: &mut Dice, next: &mut i64) {
    let pick = |dice: &mut Dice, table: &str| {
        let rows = numbers(database, table);
        (!rows.is_empty()).then(|| rows[dice.below(rows.len() as i64) as usize].clone())
    };
    for _ in 0..1 + dice.below(6) {
        *next += 1;
        let (new, code) = (*next, 10_000 + *next);
        match dice.below(8) {
            0 => insert(database, "project", &[new, code, dice.below(9)]),
            1 | 2 => {
                let Some(project) = pick(dice, "project") else { continue };
                let whole = pick(dice, "task").map_or(-1, |task| task[0]);
                // Some are referred to before they come, in the order of their ids.
                insert(database, "task", &[5_000 - new, project[0], whole, code]);
                insert(database, "label", &[5_000 - new, 1, code]);
            }
            3 => {
                let (Some(task), Some(whole), Some(project)) = (pick(dice, "task"), pick(dice, "task"), pick(dice, "project"))
                else {
                    continue;
                };
                let change = |row: &mut Vec<Value<'static>>| {
                    let own = row[0] == Value::Int(task[0]);
                    if own {
                        (row[1], row[2]) = (Value::Int(project[0]), Value::Int(whole[0]));
                    }
                    own
                };
                database.update("task", change).expect("the row fits");
            }
            4 => {
                let Some(task) = pick(dice, "task") else { continue };
                let id = Value::Int(task[0]);
                database.delete("label", |row| row[0] == id).expect("the table is there");
                let free = |row: &mut Vec<Value<'static>>| {
                    let refers = row[2] == id;
                    if refers {
                        row[2] = Value::Null;
                    }
                    refers
                };
                database.update("task", free).expect("the row fits");
                database.delete("task", |row| row[0] == id).expect("the table is there");
            }
            5 => {
                // Two projects swap their ids, and their tasks with them.
                let (Some(one), Some(two)) = (pick(dice, "project"), pick(dice, "project")) else { continue };
                if one[0] == two[0] {
                    continue;
                }
                for (code, id) in [(one[1], 900_000), (two[1], one[0]), (one[1], two[0])] {
                    let change = |row: &mut Vec<Value<'static>>| {
                        let own = row[1] == Value::Int(code);
                        if own {
                            row[0] = Value::Int(id);
                        }
                        own
                    };
                    database.update("project", change).expect("the row fits");
                }
            }
            6 => {
                let Some(project) = pick(dice, "project") else { continue };
                let id = Value::Int(project[0]);
                if numbers(database, "task").iter().all(|task| task[1] != project[0]) {
                    database.delete("project", |row| row[0] == id).expect("the table is there");
                }
            }
            _ => {
                let Some(project) = pick(dice, "project") else { continue };
                let size = Value::Int(dice.below(9));
                let change = |row: &mut Vec<Value<'static>>| {
                    let own = row[1] == Value::Int(project[1]);
                    if own {
                        row[2] = size.clone();
                    }
                    own
                };
                database.update("project", change).expect("the row fits");
            }
        }
    }
}

#[tokio::test]
async fn whatever_is_edited_and_wherever_runs_are_cut_every_row_is_there_once_and_refers_to_what_it_meant() {
    for seed in 0..60 {
        // With tables that the job creates now and then.
        let created = if seed % 3 == 0 { &[true, false][..] } else { &[true] };
        for (mode, existing) in [Mode::Replace, Mode::Update].into_iter().flat_map(|m| created.iter().map(move |e| (m, *e))) {
            let mut dice = Dice(seed * 2 + u64::from(mode == Mode::Update));
            let mut bench = if existing { Bench::new(mode) } else { Bench::creating(mode) };
            bench.rows = 1 + dice.below(7).unsigned_abs();
            let mut next = 0;
            for _ in 0..5 {
                for _ in 0..4 {
                    edit(&bench.from, &mut dice, &mut next);
                }
                let cut = 1 + dice.below(9).unsigned_abs();
                match dice.below(3) {
                    0 => bench.to.faults().fail(Call::Commit, cut, ErrorKind::Internal),
                    1 => bench.to.faults().lose_commit_answer(cut),
                    _ => {}
                }
                bench.run().await;
                bench.to.faults().clear();
            }
            println!("seed {seed} {mode} {existing}");
            let planned = bench.pipeline().preview(&CancelToken::new()).await.expect("both sides can be read");
            let counters = bench.copy().await;
            let sum = |get: fn(&Counters) -> u64| planned.changes.iter().map(|entity| get(&entity.counters)).sum::<u64>();
            assert_eq!(sum(|c| c.inserted), counters.inserted, "the plan of seed {seed} {mode}");
            bench.assert_arrived().await;
        }
    }
}
