//! Rows whose parent is nowhere, on the memory adapter: whatever commit is lost, all come out as the policy says.

use migrate_core::job::{CancelToken, Entity, ExecutionState, Job, MemoryRecorder, OrphanPolicy, Reference, RunOptions};
use migrate_core::memory::{Call, MemoryDatabase, table};
use migrate_core::pipeline::Pipeline;
use migrate_core::value::{DataType, Row, Value};
use migrate_core::{ErrorKind, Parameter};
use std::sync::Arc;

const PARENT: [(&str, DataType); 2] = [("id", DataType::Int64), ("name", DataType::TEXT)];
const CHILD: [(&str, DataType); 2] = [("id", DataType::Int64), ("parent", DataType::Int64)];
const PLACEHOLDER: i64 = -1;

/// Ten parents and a hundred children, of which every tenth has a parent that is nowhere.
fn source() -> MemoryDatabase {
    let database = MemoryDatabase::new();
    database.create_table(table("parent", &PARENT, &["id"])).expect("a new table");
    database.create_table(table("child", &CHILD, &["id"])).expect("a new table");
    for id in 0..10 {
        insert_parent(&database, id);
    }
    for id in 0..100 {
        let parent = if id % 10 == 9 { 1000 + id } else { id % 10 };
        database.insert("child", vec![Value::Int(id), Value::Int(parent)]).expect("the row fits");
    }
    database
}

fn insert_parent(database: &MemoryDatabase, id: i64) {
    database.insert("parent", vec![Value::Int(id), Value::Text(format!("parent {id}").into())]).expect("the row fits");
}

fn job(policy: OrphanPolicy) -> Job {
    Job::new("copy", "from", "to")
        .with_entity(Entity::new("parent").with_placeholder("id", Parameter::Int(PLACEHOLDER)))
        .with_entity(Entity::new("child").with_reference(Reference::new(["parent"], "parent").with_orphans(policy)))
}

/// A table's rows in the order of their ids.
fn sorted(database: &MemoryDatabase, name: &str) -> Vec<Row> {
    let mut rows = database.rows(name).expect("the table is there");
    rows.sort_by_key(|row| if let Value::Int(id) = row[0] { id } else { i64::MIN });
    rows
}

struct Sides {
    from: MemoryDatabase,
    to: MemoryDatabase,
    recorder: Arc<MemoryRecorder>,
    job: Job,
}

impl Sides {
    /// Runs until the execution has come to its end, as an operator would.
    async fn settle(&self) -> ExecutionState {
        for _ in 0..5 {
            let pipeline = Pipeline::builder(self.job.clone())
                .source(Arc::new(self.from.source()))
                .target(Arc::new(self.to.sink()))
                .recorder(self.recorder.clone())
                .options(RunOptions::new().with_parallel(3).with_part_bytes(1).with_batch_rows(20))
                .build()
                .expect("the job is sound");
            let report = pipeline.run(&CancelToken::new()).await.expect("the run begins");
            if report.status != ExecutionState::Failed {
                return report.status;
            }
        }
        ExecutionState::Failed
    }

    fn rows(&self, name: &str) -> Vec<Row> {
        sorted(&self.to, name)
    }

    fn parents_of(&self, value: &Value<'_>) -> usize {
        self.rows("child").iter().filter(|row| &row[1] == value).count()
    }
}

#[tokio::test]
async fn whichever_commit_is_lost_orphans_come_out_as_their_policy_says_and_are_bound_once_their_parents_come() {
    for policy in [OrphanPolicy::Null, OrphanPolicy::Quarantine, OrphanPolicy::Placeholder] {
        for happened in [true, false] {
            for nth in 1.. {
                let case = format!("{policy}, commit {nth}, happened: {happened}");
                let (to, recorder) = (MemoryDatabase::new(), Arc::new(MemoryRecorder::default()));
                let sides = Sides { from: source(), to, recorder, job: job(policy) };
                let lose = |nth| match happened {
                    true => sides.to.faults().lose_commit_answer(nth),
                    false => sides.to.faults().fail(Call::Commit, nth, ErrorKind::CommitUnknown),
                };
                lose(nth);
                let status = sides.settle().await;
                let first = sides.to.faults().calls(Call::Commit);
                let (null, placeholder) = (sides.parents_of(&Value::Null), sides.parents_of(&Value::Int(PLACEHOLDER)));
                let expected = match policy {
                    OrphanPolicy::Null => (ExecutionState::Succeeded, 100, 10, 0, 10),
                    OrphanPolicy::Quarantine => (ExecutionState::Partial, 90, 0, 0, 10),
                    _ => (ExecutionState::Succeeded, 100, 0, 10, 11),
                };
                let (children, parents) = (sides.rows("child").len(), sides.rows("parent").len());
                assert_eq!((status, children, null, placeholder, parents), expected, "{case}");

                // WHEN the parents come, and a commit of that run is lost
                (0..10).for_each(|id| insert_parent(&sides.from, 1009 + id * 10));
                lose(nth);
                assert_eq!(sides.settle().await, ExecutionState::Succeeded, "{case}");
                sides.to.faults().clear();
                assert_eq!(sides.rows("child"), sorted(&sides.from, "child"), "{case}");
                assert_eq!(sides.rows("parent"), sorted(&sides.from, "parent"), "{case}");

                // THEN nothing is left to do.
                let writes = sides.to.faults().calls(Call::Write);
                assert_eq!(sides.settle().await, ExecutionState::Succeeded, "{case}");
                assert_eq!(sides.to.faults().calls(Call::Write), writes, "P4: {case}");
                if nth > first {
                    assert!(nth > 6, "{case}: too few commits to lose one");
                    break;
                }
            }
        }
    }
}
