//! One table that is made for several entities, on the memory adapter: faults, resumes, and what it is made of.

use migrate_core::job::{CancelToken, DeleteMode, Entity, ExecutionState, Job, MemoryRecorder, RunOptions};
use migrate_core::memory::{Call, MemoryDatabase, table};
use migrate_core::pipeline::{Pipeline, RunReport};
use migrate_core::schema::{ForeignKey, TableName};
use migrate_core::value::{DataType, Value};
use migrate_core::{ErrorKind, Parameter, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

const ROWS: i64 = 300;

struct Bench {
    from: MemoryDatabase,
    to: MemoryDatabase,
    recorder: Arc<MemoryRecorder>,
    job: Job,
    options: RunOptions,
}

fn text(value: String) -> Value<'static> {
    Value::Text(value.into())
}

fn feeds(source: &str, kind: &str) -> Entity {
    let mut entity = Entity::new(source);
    entity.target = Some("things".to_owned());
    entity.columns.set.insert("kind".to_owned(), Parameter::Text(kind.to_owned()));
    entity
}

impl Bench {
    fn new() -> Self {
        let from = MemoryDatabase::new();
        let users = table("users", &[("id", DataType::Int64)], &["id"]);
        let mut goals =
            table("goals", &[("id", DataType::Int32), ("title", DataType::TEXT), ("owner", DataType::Int64)], &["id"]);
        goals.foreign_keys.push(ForeignKey::new(["owner"], TableName::new(None, "users"), ["id"]));
        goals.columns[1].nullable = false;
        let mut notes = table("notes", &[("id", DataType::Int64), ("minutes", DataType::Int64)], &["id"]);
        notes.columns[1].nullable = false;
        [users, goals, notes].into_iter().for_each(|schema| from.create_table(schema).expect("a new table"));
        from.insert("users", [Value::Int(1)]).expect("the row fits");
        for id in 0..ROWS {
            from.insert("goals", [Value::Int(id), text(format!("goal {id}")), Value::Int(1)]).expect("the row fits");
            from.insert("notes", [Value::Int(id + ROWS / 2), Value::Int(id)]).expect("the row fits");
        }
        let mut job = Job::new("copy", "from", "to").with_entity(feeds("goals", "goal")).with_entity(feeds("notes", "note"));
        job = job.with_entity(Entity::new("users"));
        job.deletes.mode = DeleteMode::Hard;
        let options = RunOptions::new().with_parallel(3).with_part_bytes(1).with_batch_rows(50);
        Bench { from, to: MemoryDatabase::new(), recorder: Arc::new(MemoryRecorder::default()), job, options }
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

    /// The rows that the source says there are, by the columns' names.
    fn expected(&self) -> Vec<BTreeMap<String, Value<'static>>> {
        let mut rows = Vec::new();
        for (name, kind, others) in [("goals", "goal", &["minutes"][..]), ("notes", "note", &["title", "owner"])] {
            let columns = self.from.table(name).expect("the table is there").columns;
            for row in self.from.rows(name).expect("the table is there") {
                let mut one: BTreeMap<String, Value<'static>> = columns.iter().map(|c| c.name.clone()).zip(row).collect();
                one.insert("kind".to_owned(), text(kind.to_owned()));
                others.iter().for_each(|other| drop(one.insert((*other).to_owned(), Value::Null)));
                rows.push(one);
            }
        }
        rows
    }

    fn check(&self, report: &RunReport, doing: &str) {
        assert_eq!((report.status, report.error.as_deref()), (ExecutionState::Succeeded, None), "{doing}");
        for entity in &report.entities {
            assert_eq!(entity.counters.read, entity.counters.settled(), "{doing}: {}", entity.name);
        }
        let columns = self.to.table("things").expect("the table is there").columns;
        let held = self.to.rows("things").expect("the table is there").into_iter();
        let mut held: Vec<BTreeMap<_, _>> = held.map(|row| columns.iter().map(|c| c.name.clone()).zip(row).collect()).collect();
        let mut expected = self.expected();
        let order = |row: &BTreeMap<String, Value<'static>>| format!("{:?} {:?}", row["kind"], row["id"]);
        held.sort_by_key(order);
        expected.sort_by_key(order);
        assert_eq!(held, expected, "{doing}");
    }
}

#[tokio::test]
async fn the_table_has_the_columns_of_all_a_key_with_the_constant_and_what_holds_for_all_rows() {
    let bench = Bench::new();
    let preview = bench.pipeline().expect("the job is sound").preview(&CancelToken::new()).await.expect("both can be read");
    let counted: u64 = preview.changes.iter().map(|entity| entity.counters.inserted).sum();
    let report = bench.run().await.expect("the run begins");
    bench.check(&report, "a first run");
    assert_eq!(report.entities.iter().map(|e| e.counters.inserted).sum::<u64>(), counted, "P7");
    let made = bench.to.table("things").expect("the table is there");
    assert_eq!(made.primary_key.expect("a key").columns, ["kind", "id"]);
    let types: Vec<_> = made.columns.iter().map(|c| (c.name.as_str(), c.data_type.clone(), c.nullable)).collect();
    assert_eq!(
        types,
        [
            ("kind", DataType::TEXT, false),
            ("id", DataType::Int64, false),
            ("title", DataType::TEXT, true),
            ("owner", DataType::Int64, true),
            ("minutes", DataType::Int64, true),
        ]
    );
    assert_eq!(made.foreign_keys.len(), 1, "rows of notes refer to nobody");
    let writes = bench.to.faults().calls(Call::Write);
    let again = bench.run().await.expect("the run begins");
    bench.check(&again, "a second run");
    assert_eq!(bench.to.faults().calls(Call::Write), writes, "P4");
}

#[tokio::test]
async fn commits_that_are_lost_while_several_fill_the_table_are_made_up_for() {
    for parallel in [1, 4] {
        for acted in [true, false] {
            for nth in 1..=14 {
                let mut bench = Bench::new();
                bench.options = bench.options.with_parallel(parallel);
                match acted {
                    true => bench.to.faults().lose_commit_answer(nth),
                    false => bench.to.faults().fail(Call::Commit, nth, ErrorKind::CommitUnknown),
                }
                let doing = format!("parallel {parallel}, acted {acted}, commit {nth}");
                bench.check(&bench.run().await.expect("the run begins"), &doing);
            }
        }
    }
}

#[tokio::test]
async fn a_run_that_failed_anywhere_is_finished_by_the_next_also_without_one_of_them() {
    for call in [Call::Write, Call::Commit, Call::Finish] {
        for nth in 1..=12 {
            let mut bench = Bench::new();
            bench.to.faults().fail(call, nth, ErrorKind::Internal);
            let _ = bench.run().await.expect("the run begins");
            bench.to.faults().clear();
            bench.from.delete("goals", |row| row[0] == Value::Int(nth as i64)).expect("the table is there");
            bench.options.entities = vec!["notes".to_owned(), "users".to_owned()];
            let one = bench.run().await.expect("the run begins");
            assert_eq!(one.error, None, "{call:?} {nth}");
            bench.options.entities.clear();
            bench.check(&bench.run().await.expect("the run begins"), &format!("{call:?} {nth}"));
            let again = bench.run().await.expect("the run begins");
            assert!(again.entities.iter().all(|e| e.counters.unchanged == e.counters.read), "P4 {call:?} {nth}");
        }
    }
}

#[tokio::test]
async fn a_constant_that_some_do_not_have_tells_nothing_apart_and_types_that_do_not_meet_are_refused() {
    let refused = async |change: &dyn Fn(&mut Vec<Entity>), says: &[&str]| {
        let mut bench = Bench::new();
        let mut entities = vec![feeds("goals", "goal"), feeds("notes", "note")];
        change(&mut entities);
        bench.job = entities.into_iter().fold(Job::new("copy", "from", "to"), Job::with_entity);
        let error = bench.run().await.expect_err("it is refused").to_string();
        for piece in ["\"goals\"", "\"notes\"", "things"].iter().chain(says) {
            assert!(error.contains(piece), "{piece}: {error}");
        }
        assert!(bench.to.table("things").is_err(), "nothing is made");
    };
    refused(&|entities| entities[1].columns.set.clear(), &["nothing tells their rows apart"]).await;
    let other = Parameter::Text("goal".to_owned());
    refused(&|entities| drop(entities[1].columns.set.insert("kind".to_owned(), other.clone())), &["nothing tells"]).await;
    let mut rename = BTreeMap::new();
    rename.insert("minutes".to_owned(), "title".to_owned());
    let types = ["column title", "text", "64-bit integer"];
    refused(&|entities| entities[1].columns.rename.extend(rename.clone()), &types).await;
}
