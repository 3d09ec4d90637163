//! A sink that a run loses at a chosen call: it fails, its answer is lost, or the process that called is no more.

use async_trait::async_trait;
use migrate_core::job::CancelToken;
use migrate_core::schema::{DatabaseSchema, TableSchema};
use migrate_core::sink::{
    Arrival, CreateRequest, DeleteRequest, OnPage, OnStep, SchemaPlan, SinkCapabilities, TablePlan, Tie, WriteRequest,
};
use migrate_core::source::PageRequest;
use migrate_core::state::{Fence, StateChanges};
use migrate_core::{Error, ErrorKind, Key, Outcome, Page, Result, Sink, SinkTransaction, Source, TargetState, Value};
use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The process ends before the call does anything.
    Vanish,
    /// The process ends when the call has done what it does.
    VanishAfter,
    /// The call does nothing and fails with an error of this kind.
    Fail(ErrorKind),
    /// The call does what it does and its answer is lost.
    LoseAnswer,
    /// The run is asked to stop at its next commit.
    Stop,
    /// The run is asked to stop at once.
    Abort,
}

/// What happens to one run.
#[derive(Debug)]
pub(crate) struct Fate {
    action: Action,
    /// Calls before the chosen one.
    left: AtomicU64,
    /// Told when the process ends.
    pub(crate) vanished: Notify,
    pub(crate) cancel: CancelToken,
}

impl Fate {
    /// Chooses the `nth` call that writes, from 1.
    pub(crate) fn new(action: Action, nth: u64) -> Arc<Self> {
        Arc::new(Fate { action, left: AtomicU64::new(nth), vanished: Notify::new(), cancel: CancelToken::new() })
    }

    /// Returns whether the chosen call has come.
    pub(crate) fn has_struck(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Counts a call; returns what happens to it, if it is the chosen one.
    fn strikes(&self) -> Option<Action> {
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        (before == Ok(1)).then_some(self.action)
    }

    async fn around<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let action = self.strikes();
        match action {
            Some(Action::Vanish) => self.vanish().await,
            Some(Action::Fail(kind)) => return Err(Error::new(kind, "this call was chosen to fail")),
            Some(Action::Stop) => self.cancel.stop(),
            Some(Action::Abort) => self.cancel.abort(),
            Some(Action::VanishAfter | Action::LoseAnswer) | None => {}
        }
        let result = call.await;
        match action {
            Some(Action::VanishAfter) => self.vanish().await,
            Some(Action::LoseAnswer) => {
                Err(Error::new(ErrorKind::CommitUnknown, "the answer of this call was chosen to be lost"))
            }
            Some(Action::Vanish | Action::Fail(_) | Action::Stop | Action::Abort) | None => result,
        }
    }

    /// Waits to be dropped with everything that the process had.
    async fn vanish<T>(&self) -> T {
        self.vanished.notify_one();
        pending().await
    }
}

/// A sink whose calls meet their fate.
#[derive(Debug)]
pub(crate) struct FatedSink {
    pub(crate) inner: Arc<dyn Sink>,
    pub(crate) fate: Arc<Fate>,
}

#[async_trait]
impl Sink for FatedSink {
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

    async fn check_alterable(&self, plan: &TablePlan) -> Result<()> {
        self.inner.check_alterable(plan).await
    }

    async fn check_creatable(&self) -> Result<()> {
        self.inner.check_creatable().await
    }

    async fn prepare(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
        self.fate.around(self.inner.prepare(plan, fence)).await
    }

    async fn build_keys(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
        self.fate.around(self.inner.build_keys(plan, fence)).await
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn SinkTransaction>> {
        let inner = self.fate.around(self.inner.begin(fence)).await?;
        Ok(Box::new(FatedTransaction { inner, fate: self.fate.clone() }))
    }

    async fn finish(&self, plan: &SchemaPlan, fence: &Fence, progress: &OnStep<'_>) -> Result<()> {
        self.fate.around(self.inner.finish(plan, fence, progress)).await
    }

    fn state(&self) -> Arc<dyn TargetState> {
        self.inner.state()
    }

    fn as_source(&self) -> Arc<dyn Source> {
        self.inner.as_source()
    }
}

struct FatedTransaction {
    inner: Box<dyn SinkTransaction>,
    fate: Arc<Fate>,
}

#[async_trait]
impl SinkTransaction for FatedTransaction {
    async fn write(&mut self, request: WriteRequest<'_>) -> Result<Option<Vec<Outcome>>> {
        self.fate.around(self.inner.write(request)).await
    }

    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        self.inner.read_rows(request, keys).await
    }

    async fn existing(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<HashSet<Key>> {
        self.inner.existing(table, key, keys).await
    }

    async fn delete(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<u64> {
        self.fate.around(self.inner.delete(table, key, keys)).await
    }

    async fn can_read_back(&mut self, table: &TableSchema) -> Result<bool> {
        self.inner.can_read_back(table).await
    }

    async fn read_loaded(&mut self, request: &PageRequest<'_>, take: &mut OnPage<'_>) -> Result<bool> {
        self.inner.read_loaded(request, take).await
    }

    async fn reserve(&mut self, table: &TableSchema, column: &str, count: usize) -> Result<Vec<Value<'static>>> {
        self.fate.around(self.inner.reserve(table, column, count)).await
    }

    async fn mapped(&mut self, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>> {
        self.inner.mapped(job, entity, sources).await
    }

    async fn set_aside(&mut self, place: usize, request: WriteRequest<'_>) -> Result<()> {
        self.fate.around(self.inner.set_aside(place, request)).await
    }

    async fn insert_aside(&mut self, ties: &[Tie]) -> Result<u64> {
        self.fate.around(self.inner.insert_aside(ties)).await
    }

    async fn arrivals(&mut self, place: usize, first: u64, count: usize) -> Result<Vec<Arrival>> {
        self.inner.arrivals(place, first, count).await
    }

    async fn delete_at_once(&mut self, requests: &[DeleteRequest<'_>]) -> Result<Vec<u64>> {
        self.fate.around(self.inner.delete_at_once(requests)).await
    }

    async fn clear(&mut self, table: &TableSchema) -> Result<u64> {
        self.fate.around(self.inner.clear(table)).await
    }

    async fn put_state(&mut self, state: StateChanges) -> Result<()> {
        self.fate.around(self.inner.put_state(state)).await
    }

    async fn commit(self: Box<Self>, state: &StateChanges) -> Result<()> {
        let FatedTransaction { inner, fate } = *self;
        fate.around(inner.commit(state)).await
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.inner.rollback().await
    }
}
