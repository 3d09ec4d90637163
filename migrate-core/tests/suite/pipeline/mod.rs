//! The pipeline on the memory adapter: runs, what becomes of gone rows, and histories of edits and faults against a model.

mod gone;
mod histories;
mod parts;
mod repairs;
mod replays;
mod runs;
mod update;

use migrate_core::Result;
use migrate_core::job::{CancelToken, Deletes, Entity, Job, MemoryRecorder, RunOptions, Strategy as Finding};
use migrate_core::memory::{MemoryDatabase, table};
use migrate_core::pipeline::{Pipeline, Preview, RunReport};
use migrate_core::state::Counters;
use migrate_core::value::{DataType, Row, Value};
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

fn deleting(bench: Bench, deletes: Deletes) -> Bench {
    Bench { job: bench.job.clone().with_deletes(deletes), ..bench }
}

/// How the changes are found: each way must find all of them, whichever was used before.
fn strategies() -> impl Strategy<Value = Finding> {
    prop_oneof![1 => Just(Finding::Auto), 1 => Just(Finding::Full), 2 => Just(Finding::Ledger)]
}
