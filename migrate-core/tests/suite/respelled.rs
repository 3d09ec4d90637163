//! Keys that are spelled anew at the source, into a target that takes both spellings for one, whichever commits are lost.

use migrate_core::ErrorKind;
use migrate_core::job::{CancelToken, DeleteGuard, DeleteMode, Deletes, Entity, Job, MemoryRecorder, Mode, RunOptions, Strategy};
use migrate_core::memory::{Call, MemoryDatabase, table};
use migrate_core::pipeline::{Pipeline, RunReport};
use migrate_core::value::{DataType, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

const ROWS: u128 = 6;
/// The row of it is in the target before the job is.
const OTHERS: u128 = 5;

fn uuid(number: u128) -> u128 {
    0xabcd_ef01_0000_4000_8000_0000_0000_0000 + number
}

fn spelled(number: u128) -> String {
    let hex = format!("{:032x}", uuid(number));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn names(key: DataType) -> [(&'static str, DataType); 2] {
    [("id", key), ("n", DataType::Int32)]
}

struct Bench {
    from: MemoryDatabase,
    to: MemoryDatabase,
    job: Job,
    recorder: Arc<MemoryRecorder>,
    strategy: Strategy,
}

impl Bench {
    fn new(deletes: DeleteMode, strategy: Strategy) -> Self {
        let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
        from.create_table(table("t", &names(DataType::TEXT), &["id"])).expect("a new table");
        for number in 0..ROWS {
            from.insert("t", [Value::Text(spelled(number).into()), Value::Int(0)]).expect("the row fits");
        }
        to.create_table(table("t", &names(DataType::Uuid), &["id"])).expect("a new table");
        to.insert("t", [Value::Uuid(uuid(OTHERS).to_be_bytes()), Value::Int(-1)]).expect("the row fits");
        let deletes = Deletes::new(deletes).with_max(DeleteGuard::Percent(100.0));
        let job = Job::new("copy", "from", "to").with_mode(Mode::Append).with_deletes(deletes).with_entity(Entity::new("t"));
        Bench { from, to, job, recorder: Arc::default(), strategy }
    }

    /// Spells these keys in capitals, and gives their rows another number.
    fn respell(&self, which: &[u128], n: i64) {
        let old: Vec<String> = which.iter().map(|number| spelled(*number)).collect();
        self.from.delete("t", |row| matches!(&row[0], Value::Text(key) if old.iter().any(|old| *old == **key))).expect("a table");
        for key in old {
            self.from.insert("t", [Value::Text(key.to_uppercase().into()), Value::Int(n)]).expect("the row fits");
        }
    }

    async fn run(&self) -> RunReport {
        let pipeline = Pipeline::builder(self.job.clone())
            .source(Arc::new(self.from.source()))
            .target(Arc::new(self.to.sink()))
            .recorder(self.recorder.clone())
            .options(RunOptions::new().with_parallel(3).with_part_bytes(1).with_batch_rows(1).with_strategy(self.strategy))
            .build();
        pipeline.expect("the job is sound").run(&CancelToken::new()).await.expect("the run begins")
    }

    /// Runs into a commit that fails, if there are so many.
    async fn cut_at(&self, commit: u64) -> RunReport {
        self.to.faults().fail(Call::Commit, commit, ErrorKind::Internal);
        let report = self.run().await;
        self.to.faults().clear();
        report
    }

    fn held(&self) -> BTreeMap<u128, i64> {
        let rows = self.to.rows("t").expect("the table is there");
        let cells = rows.iter().map(|row| match (&row[0], &row[1]) {
            (Value::Uuid(key), Value::Int(n)) => (u128::from_be_bytes(*key) - uuid(0), *n),
            other => panic!("{other:?}"),
        });
        cells.collect()
    }
}

#[tokio::test]
async fn a_resumed_append_writes_its_own_rows_as_they_are_now_under_the_keys_that_they_have_now() {
    for (deletes, strategy) in
        [(DeleteMode::Ignore, Strategy::Auto), (DeleteMode::Hard, Strategy::Auto), (DeleteMode::Hard, Strategy::Full)]
    {
        let mut attempts = 0;
        for (first, second) in (1..12).flat_map(|first| (1..24).map(move |second| (first, second))) {
            let bench = Bench::new(deletes, strategy);
            if bench.cut_at(first).await.error.is_none() {
                break;
            }
            bench.respell(&[0, 2, OTHERS], 1);
            let again = bench.cut_at(second).await;
            let report = if again.error.is_some() { bench.run().await } else { again };
            let place = format!("{deletes:?} {strategy:?}, cut at {first} and {second}");
            assert_eq!(report.error, None, "{place}");
            let expected = BTreeMap::from([(0, 1), (1, 0), (2, 1), (3, 0), (4, 0), (OTHERS, -1)]);
            assert_eq!(bench.held(), expected, "{place}");
            let counters = report.entities[0].counters;
            assert_eq!((counters.inserted, counters.skipped, counters.deleted), (5, 1, 0), "{place}");
            attempts += 1;
        }
        assert!(attempts > 30, "{attempts}");
    }
}
