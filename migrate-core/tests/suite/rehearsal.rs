//! Rehearsals on the memory adapter: what they find is what the run then finds, and nothing of them stays.

use async_trait::async_trait;
use migrate_core::job::{CancelToken, Entity, ExecutionState, Job, Mode, RunOptions};
use migrate_core::memory::{Call, MemoryDatabase, MemorySink, table};
use migrate_core::pipeline::{Pipeline, Preview};
use migrate_core::schema::{DatabaseSchema, TableSchema, UniqueKey};
use migrate_core::sink::{CreateRequest, OnStep, SchemaPlan, SinkCapabilities, TablePlan};
use migrate_core::state::{Fence, TargetState};
use migrate_core::value::{DataType, Value};
use migrate_core::{ErrorKind, Result, Sink, SinkTransaction, Source};
use std::sync::Arc;

const COLUMNS: [(&str, DataType); 2] = [("id", DataType::Int64), ("code", DataType::TEXT)];

/// Rows of which each third has the code of the one before, and a target that takes every code once.
fn databases(rows: i64) -> (MemoryDatabase, MemoryDatabase) {
    let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
    let mut strict = table("t", &COLUMNS, &["id"]);
    from.create_table(strict.clone()).expect("a new table");
    strict.unique_keys.push(UniqueKey { name: Some("t_code".to_owned()), ..UniqueKey::new(["code"]) });
    to.create_table(strict).expect("a new table");
    for id in 0..rows {
        let code = if id % 3 == 2 { id - 1 } else { id };
        from.insert("t", [Value::Int(id), Value::Text(format!("code {code}").into())]).expect("the row fits");
    }
    (from, to)
}

fn pipeline(from: &MemoryDatabase, target: Arc<dyn Sink>) -> Pipeline {
    let mut job = Job::new("copy", "from", "to").with_entity(Entity::new("t"));
    job.mode = Mode::Replace;
    let options = RunOptions::new().with_batch_rows(20);
    Pipeline::builder(job).source(Arc::new(from.source())).target(target).options(options).build().expect("the job is sound")
}

async fn rehearse(pipeline: &Pipeline) -> Preview {
    pipeline.rehearse(&CancelToken::new()).await.expect("the target can be rehearsed")
}

#[tokio::test]
async fn a_rehearsal_refuses_the_rows_that_the_run_refuses_and_leaves_nothing() {
    let (from, to) = databases(90);
    let pipeline = pipeline(&from, Arc::new(to.sink()));
    for _ in 0..2 {
        let before = to.rows("t").expect("the table is there");
        let preview = pipeline.preview(&CancelToken::new()).await.expect("both sides can be read");
        assert_eq!(preview.changes[0].counters.quarantined, 0, "a plan alone does not see it");
        assert!(preview.rehearsal.is_none());
        let with = rehearse(&pipeline).await;
        assert_eq!(to.rows("t").expect("the table is there"), before, "nothing stays");
        assert_eq!(with.hash, preview.hash);
        assert_eq!(with.changes[0].counters, preview.changes[0].counters);
        let rehearsed = with.rehearsal.expect("it was asked for");
        let [entity] = &rehearsed.entities[..] else { panic!("one entity: {rehearsed:?}") };
        assert_eq!(entity.counters.quarantined, 30);
        assert_eq!(entity.refused.len(), 10, "some of them are shown");
        assert!(entity.refused.iter().all(|row| row.reason.contains("t_code") && row.columns.len() == 2), "{entity:?}");
        let report = pipeline.run(&CancelToken::new()).await.expect("the run begins");
        assert_eq!(report.entities[0].counters, entity.counters);
        assert_eq!((report.status, rehearsed.status), (ExecutionState::Partial, ExecutionState::Partial));
    }
}

#[tokio::test]
async fn a_rehearsal_says_why_the_run_would_fail() {
    let (from, to) = databases(9);
    let pipeline = pipeline(&from, Arc::new(to.sink()));
    to.faults().fail(Call::Write, 1, ErrorKind::NoSpace);
    let rehearsed = rehearse(&pipeline).await.rehearsal.expect("it was asked for");
    assert_eq!((rehearsed.status, rehearsed.error_kind), (ExecutionState::Failed, Some(ErrorKind::NoSpace)));
    assert!(rehearsed.error.is_some());
    assert!(to.rows("t").expect("the table is there").is_empty());
}

#[tokio::test]
async fn a_rehearsal_that_is_stopped_says_so_and_leaves_nothing() {
    let (from, to) = databases(90);
    let cancel = CancelToken::new();
    let stopping = cancel.clone();
    to.faults().run(Call::Commit, 2, move || stopping.stop());
    let error = pipeline(&from, Arc::new(to.sink())).rehearse(&cancel).await.expect_err("it is stopped");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(to.rows("t").expect("the table is there").is_empty());
}

#[tokio::test]
async fn a_target_that_cannot_be_rehearsed_is_refused_with_one_error() {
    let (from, to) = databases(9);
    let pipeline = pipeline(&from, Arc::new(Unrehearsed(to.sink())));
    let error = pipeline.rehearse(&CancelToken::new()).await.expect_err("it cannot");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("cannot be rehearsed"), "{error}");
    pipeline.preview(&CancelToken::new()).await.expect("a plan needs no rehearsal");
}

/// A sink that leaves out all that it may.
#[derive(Debug)]
struct Unrehearsed(MemorySink);

#[async_trait]
impl Sink for Unrehearsed {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn capabilities(&self) -> SinkCapabilities {
        self.0.capabilities()
    }

    async fn schema(&self) -> Result<DatabaseSchema> {
        self.0.schema().await
    }

    fn default_schema(&self) -> Option<String> {
        self.0.default_schema()
    }

    fn plan_table(&self, request: &CreateRequest<'_>) -> Result<TablePlan> {
        self.0.plan_table(request)
    }

    async fn check_writable(&self, table: &TableSchema) -> Result<()> {
        self.0.check_writable(table).await
    }

    async fn check_creatable(&self) -> Result<()> {
        self.0.check_creatable().await
    }

    async fn prepare(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
        self.0.prepare(plan, fence).await
    }

    async fn build_keys(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
        self.0.build_keys(plan, fence).await
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn SinkTransaction>> {
        self.0.begin(fence).await
    }

    async fn finish(&self, plan: &SchemaPlan, fence: &Fence, progress: &OnStep<'_>) -> Result<()> {
        self.0.finish(plan, fence, progress).await
    }

    fn state(&self) -> Arc<dyn TargetState> {
        self.0.state()
    }

    fn as_source(&self) -> Arc<dyn Source> {
        self.0.as_source()
    }
}
