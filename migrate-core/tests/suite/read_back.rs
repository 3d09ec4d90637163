//! What a target does not hold as it was written is found before the commit.

use async_trait::async_trait;
use migrate_core::job::{CancelToken, DeleteMode, Deletes, Entity, ExecutionState, Job, Mode, RunOptions, Strategy, VerifyMode};
use migrate_core::memory::{MemoryDatabase, table};
use migrate_core::pipeline::{Pipeline, RunReport};
use migrate_core::schema::{DatabaseSchema, TableSchema};
use migrate_core::sink::{
    CreateRequest, OnStep, Outcome, SchemaPlan, SinkCapabilities, SinkTransaction, TablePlan, WriteRequest,
};
use migrate_core::source::PageRequest;
use migrate_core::state::{Fence, StateChanges, TargetState};
use migrate_core::value::{Affinity, DataType, Encoding, Key, Page, PageBuilder, Value};
use migrate_core::{ErrorKind, Result, Sink, Source};
use std::collections::HashSet;
use std::sync::Arc;

/// What a broken target does to the row with the key 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Another value is written than was given.
    Alters,
    /// The row is said to be written, and is not.
    Loses,
    /// The row is said to be deleted, and is not.
    Keeps,
    /// The second commit of the table is said to have happened, and has not.
    Forgets,
}

#[derive(Debug)]
struct Broken {
    inner: Arc<dyn Sink>,
    fault: Fault,
}

struct BrokenTransaction {
    inner: Box<dyn SinkTransaction>,
    fault: Fault,
}

#[async_trait]
impl Sink for Broken {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> SinkCapabilities {
        self.inner.capabilities()
    }

    async fn schema(&self) -> Result<DatabaseSchema> {
        self.inner.schema().await
    }

    fn default_schema(&self) -> Option<String> {
        self.inner.default_schema()
    }

    fn plan_table(&self, request: &CreateRequest<'_>) -> Result<TablePlan> {
        self.inner.plan_table(request)
    }

    async fn check_writable(&self, table: &TableSchema) -> Result<()> {
        self.inner.check_writable(table).await
    }

    async fn check_creatable(&self) -> Result<()> {
        self.inner.check_creatable().await
    }

    async fn prepare(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
        self.inner.prepare(plan, fence).await
    }

    async fn build_keys(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
        self.inner.build_keys(plan, fence).await
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn SinkTransaction>> {
        Ok(Box::new(BrokenTransaction { inner: self.inner.begin(fence).await?, fault: self.fault }))
    }

    async fn finish(&self, plan: &SchemaPlan, fence: &Fence, progress: &OnStep<'_>) -> Result<()> {
        self.inner.finish(plan, fence, progress).await
    }

    fn state(&self) -> Arc<dyn TargetState> {
        self.inner.state()
    }

    fn as_source(&self) -> Arc<dyn Source> {
        self.inner.as_source()
    }
}

#[async_trait]
impl SinkTransaction for BrokenTransaction {
    async fn write(&mut self, request: WriteRequest<'_>) -> Result<Option<Vec<Outcome>>> {
        let mut page = PageBuilder::new(request.page.columns().clone(), Encoding::CANONICAL);
        let (mut lost, rows) = (None, request.row_indexes().collect::<Vec<_>>());
        for (at, row) in rows.into_iter().enumerate() {
            let mut values = request.page.row(row).values()?;
            if values[0] == Value::Int(7) {
                match self.fault {
                    Fault::Alters => values[1] = Value::Text("secret".into()),
                    Fault::Loses => {
                        lost = Some(at);
                        continue;
                    }
                    Fault::None | Fault::Keeps | Fault::Forgets => {}
                }
            }
            page.begin_row();
            values.iter().try_for_each(|value| page.push_value(value))?;
            page.end_row();
        }
        let page = page.finish(None);
        let outcomes = self.inner.write(WriteRequest { page: &page, rows: None, ..request }).await?;
        Ok(outcomes.map(|mut outcomes| {
            if let Some(at) = lost {
                outcomes.insert(at, Outcome::Inserted);
            }
            outcomes
        }))
    }

    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        self.inner.read_rows(request, keys).await
    }

    async fn existing(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<HashSet<Key>> {
        self.inner.existing(table, key, keys).await
    }

    async fn delete(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<u64> {
        match self.fault {
            Fault::Keeps => Ok(keys.len() as u64),
            Fault::None | Fault::Alters | Fault::Loses | Fault::Forgets => self.inner.delete(table, key, keys).await,
        }
    }

    async fn clear(&mut self, table: &TableSchema) -> Result<u64> {
        self.inner.clear(table).await
    }

    async fn put_state(&mut self, state: StateChanges) -> Result<()> {
        self.inner.put_state(state).await
    }

    async fn commit(self: Box<Self>, state: &StateChanges) -> Result<()> {
        let second = state.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.sequence == 2);
        match self.fault {
            Fault::Forgets if second => self.inner.rollback().await,
            Fault::None | Fault::Alters | Fault::Loses | Fault::Keeps | Fault::Forgets => self.inner.commit(state).await,
        }
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.inner.rollback().await
    }
}

const COLUMNS: [(&str, DataType); 2] = [("id", DataType::Int64), ("name", DataType::TEXT)];

/// The same as a SQLite file has them.
const DYNAMIC: [(&str, DataType); 2] =
    [("id", DataType::Dynamic { affinity: Affinity::Integer }), ("name", DataType::Dynamic { affinity: Affinity::Text })];

/// A source of 3,000 rows, more than are read back at once.
fn source() -> MemoryDatabase {
    source_of(&COLUMNS)
}

fn source_of(columns: &[(&str, DataType)]) -> MemoryDatabase {
    let database = MemoryDatabase::new();
    database.create_table(table("t", columns, &["id"])).expect("a new table");
    for id in 1..=3_000 {
        database.insert("t", [Value::Int(id), Value::Text(format!("row {id}").into())]).expect("the row fits");
    }
    database
}

fn job(mode: Mode) -> Job {
    let deletes = Deletes::new(DeleteMode::Hard);
    Job::new("copy", "from", "to").with_entity(Entity::new("t")).with_mode(mode).with_deletes(deletes)
}

async fn run(from: &MemoryDatabase, to: &MemoryDatabase, job: Job, fault: Fault, verify: VerifyMode) -> RunReport {
    let pipeline = Pipeline::builder(job)
        .source(Arc::new(from.source()))
        .target(Arc::new(Broken { inner: Arc::new(to.sink()), fault }))
        .options(RunOptions::new().with_verify(verify))
        .build()
        .expect("a pipeline");
    pipeline.run(&CancelToken::new()).await.expect("the run begins")
}

fn refused(report: &RunReport, what: &str) {
    let error = report.error.clone().unwrap_or_default();
    assert_eq!((report.status, report.error_kind), (ExecutionState::Failed, Some(ErrorKind::Mismatch)), "{what}: {error}");
    assert!(error.contains("(7)") && error.contains("entity t"), "{what}: {error}");
    assert!(!error.contains("secret") && !error.contains("row 7"), "{what}: {error}");
}

#[tokio::test]
async fn a_first_copy_that_alters_or_loses_a_row_is_stopped_before_it_commits_if_asked() {
    for (fault, columns) in [Fault::Alters, Fault::Loses].into_iter().flat_map(|fault| [(fault, &COLUMNS), (fault, &DYNAMIC)]) {
        let (from, to) = (source_of(columns), MemoryDatabase::new());
        let report = run(&from, &to, job(Mode::Replace), fault, VerifyMode::Inline).await;
        refused(&report, &format!("{fault:?}"));
        assert_eq!(to.rows("t").expect("the table").len(), 0, "{fault:?}: nothing was committed");
        let report = run(&from, &to, job(Mode::Replace), Fault::None, VerifyMode::Inline).await;
        assert_eq!((report.status, report.entities[0].counters.inserted), (ExecutionState::Succeeded, 3_000), "{fault:?}");
        assert_eq!(to.rows("t").expect("the table"), from.rows("t").expect("the table"), "{fault:?}");
        // Not asked, a load is not read back.
        let report = run(&from, &MemoryDatabase::new(), job(Mode::Replace), fault, VerifyMode::Changes).await;
        assert_eq!(report.status, ExecutionState::Succeeded, "{fault:?}");
    }
}

#[tokio::test]
async fn a_change_that_is_altered_or_lost_is_stopped_before_it_commits_in_every_mode() {
    for mode in [Mode::Replace, Mode::Update] {
        for fault in [Fault::Alters, Fault::Loses] {
            let (from, to) = (source(), MemoryDatabase::new());
            assert_eq!(run(&from, &to, job(mode), Fault::None, VerifyMode::Changes).await.status, ExecutionState::Succeeded);
            from.delete("t", |row| row[0] == Value::Int(7)).expect("the table");
            from.insert("t", [Value::Int(7), Value::Text("new".into())]).expect("the row fits");
            let before = to.rows("t").expect("the table");
            refused(&run(&from, &to, job(mode), fault, VerifyMode::Changes).await, &format!("{mode} {fault:?}"));
            assert_eq!(to.rows("t").expect("the table"), before, "{mode} {fault:?}: nothing was committed");
            let report = run(&from, &to, job(mode), Fault::None, VerifyMode::Changes).await;
            assert_eq!((report.status, report.entities[0].counters.updated), (ExecutionState::Succeeded, 1), "{mode} {fault:?}");
        }
    }
}

#[tokio::test]
async fn counts_alone_let_a_broken_target_pass() {
    let (from, to) = (source(), MemoryDatabase::new());
    let report = run(&from, &to, job(Mode::Replace), Fault::Alters, VerifyMode::Counts).await;
    assert_eq!(report.status, ExecutionState::Succeeded);
}

#[tokio::test]
async fn a_deleted_row_that_is_still_there_is_found() {
    let (from, to) = (source(), MemoryDatabase::new());
    assert_eq!(run(&from, &to, job(Mode::Replace), Fault::None, VerifyMode::Changes).await.status, ExecutionState::Succeeded);
    from.delete("t", |row| row[0] == Value::Int(7)).expect("the table");
    refused(&run(&from, &to, job(Mode::Replace), Fault::Keeps, VerifyMode::Changes).await, "kept");
    assert_eq!(to.rows("t").expect("the table").len(), 3_000);
    let report = run(&from, &to, job(Mode::Replace), Fault::None, VerifyMode::Changes).await;
    assert_eq!((report.status, report.entities[0].counters.deleted), (ExecutionState::Succeeded, 1));
    assert_eq!(to.rows("t").expect("the table").len(), 2_999);
}

#[tokio::test]
async fn rows_that_append_leaves_alone_are_no_difference() {
    let (from, to) = (source(), MemoryDatabase::new());
    to.create_table(table("t", &COLUMNS, &["id"])).expect("a new table");
    to.insert("t", [Value::Int(7), Value::Text("of others".into())]).expect("the row fits");
    let report = run(&from, &to, job(Mode::Append), Fault::None, VerifyMode::Inline).await;
    let counters = report.entities[0].counters;
    assert_eq!((report.status, counters.inserted, counters.skipped), (ExecutionState::Succeeded, 2_999, 1), "{:?}", report.error);
}

#[tokio::test]
async fn columns_that_update_keeps_from_the_target_are_no_difference() {
    let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
    let columns = [("id", DataType::Int64), ("name", DataType::TEXT), ("n", DataType::Int64)];
    from.create_table(table("t", &columns, &["id"])).expect("a new table");
    let row = |name: &'static str, n: i64| [Value::Int(7), Value::Text(name.into()), Value::Int(n)];
    from.insert("t", row("a", 1)).expect("the row fits");
    assert_eq!(run(&from, &to, job(Mode::Update), Fault::None, VerifyMode::Inline).await.status, ExecutionState::Succeeded);
    to.delete("t", |_| true).expect("the table");
    to.insert("t", row("edited", 1)).expect("the row fits");
    from.delete("t", |_| true).expect("the table");
    from.insert("t", row("a", 2)).expect("the row fits");
    let report = run(&from, &to, job(Mode::Update), Fault::None, VerifyMode::Inline).await;
    assert_eq!(report.status, ExecutionState::Succeeded, "{:?}", report.error);
    assert_eq!(to.rows("t").expect("the table"), [row("edited", 2).to_vec()]);
}

/// The job in commits of 500 rows.
fn in_batches() -> Job {
    let mut job = job(Mode::Replace);
    job.batch_rows = Some(500);
    job
}

fn misses_a_commit(report: &RunReport) {
    let error = report.error.clone().unwrap_or_default();
    assert_eq!((report.status, report.error_kind), (ExecutionState::Failed, Some(ErrorKind::Mismatch)), "{error}");
    assert!(error.contains("has lost a commit") && error.contains("entity t"), "{error}");
}

#[tokio::test]
async fn a_commit_that_a_server_has_lost_is_missed_by_the_next_one_and_the_next_run_goes_on_from_what_is_there() {
    let (from, to) = (source(), MemoryDatabase::new());
    let report = run(&from, &to, in_batches(), Fault::Forgets, VerifyMode::Counts).await;
    misses_a_commit(&report);
    assert_eq!(to.rows("t").expect("the table").len(), 500, "what was committed before stays");
    let report = run(&from, &to, in_batches(), Fault::None, VerifyMode::Counts).await;
    assert_eq!(report.status, ExecutionState::Succeeded, "{:?}", report.error);
    assert_eq!(to.rows("t").expect("the table"), from.rows("t").expect("the table"));
}

#[tokio::test]
async fn a_lost_commit_of_rows_without_a_key_is_missed_too() {
    let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
    from.create_table(table("t", &COLUMNS, &[])).expect("a new table");
    for id in 1..=3_000 {
        from.insert("t", [Value::Int(id), Value::Text("the same".into())]).expect("the row fits");
    }
    let report = run(&from, &to, in_batches(), Fault::Forgets, VerifyMode::Counts).await;
    misses_a_commit(&report);
    let report = run(&from, &to, in_batches(), Fault::None, VerifyMode::Counts).await;
    assert_eq!(report.status, ExecutionState::Succeeded, "{:?}", report.error);
    assert_eq!(to.rows("t").expect("the table"), from.rows("t").expect("the table"));
}

#[tokio::test]
async fn a_digest_of_the_source_is_not_kept_beside_a_block_whose_last_commit_was_lost() {
    let (from, to) = (source(), MemoryDatabase::new());
    let by_digests = || job(Mode::Replace).with_strategy(Strategy::Ledger);
    assert_eq!(run(&from, &to, by_digests(), Fault::None, VerifyMode::Counts).await.status, ExecutionState::Succeeded);
    from.delete("t", |row| row[0] == Value::Int(7)).expect("the table");
    from.insert("t", [Value::Int(7), Value::Text("new".into())]).expect("the row fits");
    let report = run(&from, &to, by_digests(), Fault::Forgets, VerifyMode::Counts).await;
    misses_a_commit(&report);
    let report = run(&from, &to, by_digests(), Fault::None, VerifyMode::Counts).await;
    assert_eq!((report.status, report.entities[0].counters.updated), (ExecutionState::Succeeded, 1), "{:?}", report.error);
    assert!(to.rows("t").expect("the table").contains(&vec![Value::Int(7), Value::Text("new".into())]));
}
