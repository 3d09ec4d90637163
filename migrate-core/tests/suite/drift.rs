//! Changes of the source's columns on the memory adapter: runs that are killed on the way, and what the target remembers of them.

use migrate_core::job::{
    CancelToken, DeleteMode, Deletes, DriftPolicy, Entity, Job, MemoryRecorder, Mode, OnConflict, RunOptions,
};
use migrate_core::memory::{Call, MemoryDatabase, table};
use migrate_core::pipeline::{Pipeline, Preview, RunReport};
use migrate_core::plan::{DriftAction, DriftChange};
use migrate_core::state::{ColumnFate, Counters};
use migrate_core::value::{DataType, Value};
use migrate_core::{ErrorKind, Result, Sink};
use std::sync::Arc;

type Columns<'a> = [(&'a str, DataType)];

const ID: (&str, DataType) = ("id", DataType::Int64);

fn text(name: &str) -> (&str, DataType) {
    (name, DataType::TEXT)
}

struct Bench {
    from: MemoryDatabase,
    to: MemoryDatabase,
    recorder: Arc<MemoryRecorder>,
    job: Job,
    /// What the source says its table weighs: a large one is copied in parts.
    size: u64,
}

impl Bench {
    /// A table of so many rows, whose cells are `name id`.
    fn new(columns: &Columns<'_>, rows: i64) -> Self {
        let job = Job::new("copy", "from", "to").with_entity(Entity::new("t")).with_drift(DriftPolicy::Evolve);
        let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
        let bench = Bench { from, to, recorder: Arc::new(MemoryRecorder::default()), job, size: 0 };
        bench.make(columns, (0..rows).map(|id| (id, id)));
        bench
    }

    /// Makes the source's table, or makes it anew; of each row its key and what its cells say.
    fn make(&self, columns: &Columns<'_>, rows: impl IntoIterator<Item = (i64, i64)>) {
        // There is none before the first time.
        let _ = self.from.drop_table("t");
        let mut schema = table("t", columns, &["id"]);
        schema.size_bytes = Some(self.size);
        self.from.create_table(schema).expect("a new table");
        for (id, content) in rows {
            let cell = |(_, data_type): &(&str, DataType)| match data_type {
                DataType::Int64 => Value::Int(id),
                _ => Value::Text(format!("row {content}").into()),
            };
            self.from.insert("t", columns.iter().map(cell).collect::<Vec<_>>()).expect("the row fits");
        }
    }

    fn pipeline(&self) -> Pipeline {
        let mut options = RunOptions::new().with_batch_rows(100);
        options.parallel = Some(3);
        Pipeline::builder(self.job.clone())
            .source(Arc::new(self.from.source()))
            .target(Arc::new(self.to.sink()))
            .recorder(self.recorder.clone())
            .options(options)
            .build()
            .expect("the job is sound")
    }

    async fn run(&self) -> Result<RunReport> {
        self.pipeline().run(&CancelToken::new()).await
    }

    async fn counters(&self) -> Counters {
        let report = self.run().await.expect("the run begins");
        assert_eq!(report.error, None);
        let counters = report.entities[0].counters;
        assert_eq!(counters.settled(), counters.read, "{counters:?}");
        counters
    }

    async fn preview(&self) -> Preview {
        self.pipeline().preview(&CancelToken::new()).await.expect("both sides can be read")
    }

    /// The target's cells of some columns as text, in the order of the keys.
    fn target(&self, columns: &[&str]) -> Vec<String> {
        let schema = self.to.table("t").expect("the table is there");
        let places: Vec<usize> = columns
            .iter()
            .map(|name| schema.columns.iter().position(|c| &c.name == name).expect("the column is there"))
            .collect();
        let mut rows = self.to.rows("t").expect("the table is there");
        rows.sort_by_key(|row| if let Value::Int(id) = row[0] { id } else { i64::MIN });
        let shown = |value: &Value<'_>| match value {
            Value::Int(id) => id.to_string(),
            Value::Text(text) => text.to_string(),
            other => format!("{other:?}"),
        };
        rows.iter().map(|row| places.iter().map(|p| shown(&row[*p])).collect::<Vec<_>>().join(", ")).collect()
    }

    async fn parts(&self) -> usize {
        self.to.sink().state().checkpoints("copy", "t").await.expect("the state can be read").len()
    }

    async fn fates(&self) -> Vec<(String, ColumnFate)> {
        let found = self.to.sink().state().checkpoints("copy", "t").await.expect("the state can be read");
        let columns = found[0].1.source_columns.clone().expect("the columns are remembered");
        columns.into_iter().map(|c| (c.name, c.fate)).collect()
    }
}

#[tokio::test]
async fn a_run_that_is_killed_after_its_source_has_changed_is_finished_by_the_next() {
    for (mode, size) in [(Mode::Replace, 0), (Mode::Replace, 3 << 30), (Mode::Update, 0), (Mode::Update, 3 << 30)] {
        for (killed, again) in (1..=9).flat_map(|killed| [(killed, false), (killed, true)]) {
            let mut bench = Bench::new(&[ID, text("a")], 450);
            bench.job = bench.job.clone().with_mode(mode).with_deletes(Deletes::new(DeleteMode::Hard));
            bench.size = size;
            bench.make(&[ID, text("a")], (0..450).map(|id| (id, id)));
            bench.counters().await;
            assert_eq!(bench.parts().await, if size == 0 { 1 } else { 3 });
            // Renamed: every row has the cells that it had before. Some are gone, one has changed, one is new.
            let rows = |lost: i64| (0..451).filter(move |id| id % 50 != lost).map(|id| (id, if id == 7 { 1000 } else { id }));
            bench.make(&[ID, text("b")], rows(0));
            bench.to.faults().fail(Call::Commit, killed, ErrorKind::Io);
            let error = bench.run().await.expect("the run begins").error;
            bench.to.faults().clear();
            let (name, lost) = if again { ("c", 1) } else { ("b", 0) };
            if again {
                // The source changes once more before the next run.
                bench.make(&[ID, text(name)], rows(lost));
            }
            let counters = bench.counters().await;
            assert_eq!(counters.read, rows(lost).count() as u64);
            let expected: Vec<String> = rows(lost).map(|(id, content)| format!("{id}, row {content}")).collect();
            let of = format!("{mode}, {size} bytes, killed at {killed}, again {again}: {error:?}");
            assert_eq!(bench.target(&["id", name]), expected, "{of}");
            let writes = bench.to.faults().calls(Call::Write);
            let quiet = bench.counters().await;
            assert_eq!((quiet.unchanged, quiet.conflicts), (quiet.read, 0), "{of}: {quiet:?}");
            assert_eq!(bench.to.faults().calls(Call::Write), writes, "P4: {of}");
        }
    }
}

#[tokio::test]
async fn a_lost_answer_to_the_commit_that_makes_the_ledger_over_changes_nothing() {
    let bench = Bench::new(&[ID, text("a")], 250);
    bench.counters().await;
    bench.make(&[ID, text("b")], (0..250).map(|id| (id, id)));
    bench.to.faults().lose_commit_answer(1);
    let counters = bench.counters().await;
    assert_eq!((counters.read, counters.updated), (250, 250), "{counters:?}");
    assert_eq!(bench.counters().await.unchanged, 250);
}

#[tokio::test]
async fn in_mode_update_each_column_goes_by_what_is_known_of_it_although_others_have_come_and_gone() {
    let mut bench = Bench::new(&[ID, text("a"), text("b"), text("c")], 4);
    bench.job = bench.job.clone().with_mode(Mode::Update).with_on_conflict(OnConflict::Report);
    bench.counters().await;
    let edit = |id: i64, column: usize| {
        bench
            .to
            .update("t", |row| {
                let found = row[0] == Value::Int(id);
                if found {
                    row[column] = Value::Text("edited".into());
                }
                found
            })
            .expect("the table is there");
    };
    // Row 1: the target alone has changed c. Row 2: both have. a is dropped, d is added, and the order is another one.
    edit(1, 3);
    edit(2, 3);
    bench.make(&[ID, text("d"), text("c"), text("b")], [(0, 0), (1, 1), (2, 20), (3, 3)]);
    let preview = bench.preview().await;
    let counters = bench.counters().await;
    assert_eq!(preview.changes[0].counters.conflicts, counters.conflicts);
    assert_eq!((counters.updated, counters.conflicts), (4, 1), "{counters:?}");
    let expected = [
        "row 0, row 0, row 0, row 0",
        "row 1, row 1, edited, row 1",
        "row 2, row 20, edited, row 20",
        "row 3, row 3, row 3, row 3",
    ];
    assert_eq!(bench.target(&["a", "b", "c", "d"]), expected, "the conflict in c of row 2 alone stays open");
    let again = bench.counters().await;
    assert_eq!((again.updated, again.conflicts, again.unchanged + again.skipped), (0, 1, 4), "{again:?}");
}

#[tokio::test]
async fn what_is_remembered_is_the_source_as_the_last_finished_run_has_found_it() {
    let mut bench = Bench::new(&[ID, text("a"), text("b")], 300);
    bench.job = Job::new("copy", "from", "to").with_entity(Entity::new("t").with_exclude("b")).with_drift(DriftPolicy::Ignore);
    bench.counters().await;
    let of = |names: &[(&str, ColumnFate)]| names.iter().map(|(n, f)| ((*n).to_owned(), *f)).collect::<Vec<_>>();
    let (moved, excluded, left_out) = (ColumnFate::Moved, ColumnFate::Excluded, ColumnFate::LeftOut);
    assert_eq!(bench.fates().await, of(&[("id", moved), ("a", moved), ("b", excluded)]));
    bench.make(&[ID, text("a"), text("b"), text("c")], (0..300).map(|id| (id, id + 1)));
    bench.to.faults().fail(Call::Commit, 2, ErrorKind::Io);
    assert!(bench.run().await.expect("the run begins").error.is_some());
    assert_eq!(bench.fates().await, of(&[("id", moved), ("a", moved), ("b", excluded)]), "the run has not finished");
    let plan = bench.pipeline().plan().await.expect("both sides can be read");
    let drift = &plan.entities[0].drift;
    assert_eq!(drift.iter().map(|d| (d.change, d.action)).collect::<Vec<_>>(), [(DriftChange::Added, DriftAction::LeftOut)]);
    bench.counters().await;
    assert_eq!(bench.fates().await, of(&[("id", moved), ("a", moved), ("b", excluded), ("c", left_out)]));
    assert_eq!(bench.pipeline().plan().await.expect("both sides can be read").entities[0].drift, []);
}

#[tokio::test]
async fn appending_leaves_rows_that_are_there_alone_also_in_a_column_that_is_added() {
    let mut bench = Bench::new(&[ID, text("a")], 3);
    bench.job = bench.job.clone().with_mode(Mode::Append);
    bench.counters().await;
    bench.make(&[ID, text("a"), text("b")], (0..4).map(|id| (id, id)));
    let preview = bench.preview().await;
    let counters = bench.counters().await;
    assert_eq!((counters.inserted, counters.skipped), (1, 3), "{counters:?}");
    assert_eq!((preview.changes[0].counters.inserted, preview.changes[0].counters.skipped), (1, 3));
    assert_eq!(bench.target(&["id", "b"]), ["0, Null", "1, Null", "2, Null", "3, row 3"]);
    assert_eq!(bench.counters().await.skipped, 4);
}

#[tokio::test]
async fn a_refused_run_is_not_recorded_and_touches_nothing() {
    let mut bench = Bench::new(&[ID, text("a")], 3);
    bench.job = bench.job.clone().with_drift(DriftPolicy::Refuse);
    bench.counters().await;
    bench.make(&[ID, ("a", DataType::Int64)], (0..3).map(|id| (id, id)));
    let writes = bench.to.faults().calls(Call::Commit);
    let error = bench.run().await.expect_err("the run is refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    let said = error.to_string();
    for piece in ["column a was retyped at the source, from text to", "entity t", "job copy", "drift = \"ignore\""] {
        assert!(said.contains(piece), "{piece:?} is expected in {said}");
    }
    let preview = bench.preview().await;
    assert!(preview.plan.entities[0].is_refused() && preview.changes.is_empty());
    let adopted = bench.pipeline().adopt(&CancelToken::new()).await.expect_err("nor are rows adopted");
    assert_eq!(adopted.kind(), ErrorKind::Config);
    assert_eq!(bench.to.faults().calls(Call::Commit), writes);
}

#[tokio::test]
async fn a_key_that_the_rows_of_the_target_lack_is_refused_whatever_the_policy() {
    let mut bench = Bench::new(&[ID, text("a")], 3);
    bench.counters().await;
    let columns = [("number", DataType::Int64), text("a")];
    bench.from.drop_table("t").expect("the table is there");
    bench.from.create_table(table("t", &columns, &["number"])).expect("a new table");
    for policy in [DriftPolicy::Refuse, DriftPolicy::Ignore, DriftPolicy::Evolve] {
        bench.job = bench.job.clone().with_drift(policy);
        let error = bench.run().await.expect_err("the run is refused");
        assert_eq!(error.kind(), ErrorKind::Config, "{policy}: {error}");
        assert!(error.to_string().contains("number"), "{policy}: {error}");
    }
    assert_eq!(bench.to.rows("t").expect("the table is there").len(), 3);
}

#[tokio::test]
async fn of_a_table_without_a_key_the_new_columns_are_remembered_and_nothing_else_is_forgotten() {
    let mut bench = Bench::new(&[ID, text("a")], 0);
    bench.job = bench.job.clone().with_drift(DriftPolicy::Ignore).with_mode(Mode::Append);
    let make = |columns: &Columns<'_>, rows: i64| {
        bench.from.drop_table("t").expect("the table is there");
        bench.from.create_table(table("t", columns, &[])).expect("a new table");
        for id in 0..rows {
            let cells = columns.iter().map(|(_, t)| if *t == DataType::Int64 { Value::Int(id) } else { Value::Text("x".into()) });
            bench.from.insert("t", cells.collect::<Vec<_>>()).expect("the row fits");
        }
    };
    make(&[ID, text("a")], 3);
    assert_eq!(bench.counters().await.inserted, 3);
    make(&[ID, text("a"), text("b")], 3);
    for drift in [1, 0] {
        assert_eq!(bench.pipeline().plan().await.expect("both sides can be read").entities[0].drift.len(), drift);
        assert_eq!(bench.counters().await.skipped, 3);
    }
    // The target still knows that it holds nobody else's rows.
    make(&[ID, text("a"), text("b")], 4);
    let report = Bench { job: bench.job.clone().with_mode(Mode::Replace), ..bench }.run().await.expect("the run begins");
    let counters = report.entities[0].counters;
    assert_eq!((report.error, counters.inserted, counters.unchanged), (None, 1, 3));
}

#[tokio::test]
async fn a_table_that_somebody_has_emptied_keeps_nothing_of_the_parts_that_it_was_copied_in() {
    let rows = || (0..450).map(|id| (id, id));
    for killed in 0..8 {
        let mut bench = Bench::new(&[ID, text("a")], 450);
        bench.size = 3 << 30;
        bench.make(&[ID, text("a")], rows());
        bench.counters().await;
        assert_eq!(bench.parts().await, 3);
        bench.to.delete("t", |_| true).expect("the table is there");
        // Smaller than before, it is copied in two parts, that are cut elsewhere.
        bench.size = 2 * (64 << 20);
        bench.make(&[ID, text("a")], rows());
        if killed > 0 {
            bench.to.faults().fail(Call::Commit, killed, ErrorKind::Io);
            bench.run().await.expect("the run begins");
            bench.to.faults().clear();
        }
        assert_eq!(bench.counters().await.inserted, 450, "killed at {killed}");
        assert_eq!(bench.parts().await, 2, "killed at {killed}");
        assert_eq!(bench.counters().await.unchanged, 450, "killed at {killed}");
    }
}
