//! A sink that looks where it would write.

use super::state::{DryState, OfEntity};
use super::tally::Tally;
use super::touched::Touched;
use super::transaction::DryTransaction;
use super::view::TargetView;
use crate::error::Result;
use crate::schema::{DatabaseSchema, TableName, TableSchema};
use crate::sink::{CreateRequest, OnStep, SchemaPlan, Sink, SinkCapabilities, SinkTransaction, TablePlan};
use crate::source::Source;
use crate::state::{Fence, TargetState};
use async_trait::async_trait;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A sink over another one that reads there and writes nowhere.
#[derive(Debug, Clone)]
pub(super) struct DrySink {
    inner: Arc<dyn Sink>,
    state: Arc<dyn TargetState>,
    /// What commits leave in memory; `None` where they are made, and only rows are not written.
    overlay: Option<Arc<DryState>>,
    shared: Arc<Shared>,
}

struct Shared {
    view: TargetView,
    /// By the entity of which it was written.
    tally: Mutex<BTreeMap<String, Tally>>,
    touched: Mutex<Touched>,
}

impl Shared {
    fn over(view: TargetView) -> Arc<Self> {
        Arc::new(Shared { view, tally: Mutex::default(), touched: Mutex::default() })
    }
}

/// Keys and samples are values of rows, and shown to nobody here.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("view", &self.view).finish_non_exhaustive()
    }
}

/// What would have been written of an entity, and what would be remembered of it.
#[derive(Debug)]
pub(super) struct Known {
    tally: Tally,
    state: Option<OfEntity>,
}

impl DrySink {
    /// Opens a view of the target in which these tables, and the columns that the plan adds to others, are missing.
    pub(super) async fn over(inner: Arc<dyn Sink>, missing: Arc<HashSet<TableName>>, plan: &SchemaPlan) -> Result<Self> {
        let overlay = Arc::new(DryState::over(inner.state()).await?);
        let shared = Shared::over(TargetView::of(inner.clone()).without(missing, plan));
        Ok(DrySink { inner, state: overlay.clone(), overlay: Some(overlay), shared })
    }

    /// Writes no row, yet commits what is said of them: the target remembers rows that it holds already.
    pub(super) fn remembering(inner: Arc<dyn Sink>) -> Self {
        let shared = Shared::over(TargetView::of(inner.clone()));
        DrySink { state: inner.state(), inner, overlay: None, shared }
    }

    /// The target as all transactions see it.
    pub(super) fn view(&self) -> &TargetView {
        &self.shared.view
    }

    /// The rows that commits would have taken away, or moved.
    pub(super) fn touched(&self) -> MutexGuard<'_, Touched> {
        self.shared.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tallies(&self) -> MutexGuard<'_, BTreeMap<String, Tally>> {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what a commit would have written of an entity.
    pub(super) fn add(&self, entity: &str, tally: Tally) {
        self.tallies().entry(entity.to_owned()).or_default().add(tally);
    }

    /// Returns what commits have left in memory, if they leave anything there.
    pub(super) fn overlay(&self) -> Option<&DryState> {
        self.overlay.as_deref()
    }

    /// Returns what would have been written so far.
    pub(super) fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.tallies().values().for_each(|tally| sum.add(tally.clone()));
        sum
    }

    /// Returns what is known of an entity by now.
    pub(super) fn of(&self, job: &str, entity: &str) -> Known {
        let tally = self.tallies().get(entity).cloned().unwrap_or_default();
        Known { tally, state: self.overlay().map(|overlay| overlay.of(job, entity)) }
    }

    /// Forgets what has become known of an entity since. Rows that would not be found any more would not be after another walk either.
    pub(super) fn back_to(&self, job: &str, entity: &str, before: Known) {
        self.tallies().insert(entity.to_owned(), before.tally);
        if let (Some(overlay), Some(state)) = (self.overlay(), before.state) {
            overlay.back_to(job, entity, state);
        }
    }
}

#[async_trait]
impl Sink for DrySink {
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

    fn can_choose(&self, table: &TableSchema) -> bool {
        self.inner.can_choose(table)
    }

    async fn prepare(&self, _plan: &SchemaPlan, _fence: &Fence) -> Result<()> {
        Ok(())
    }

    async fn build_keys(&self, _plan: &SchemaPlan, _fence: &Fence) -> Result<()> {
        Ok(())
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn SinkTransaction>> {
        let real = match self.overlay {
            Some(_) => None,
            None => Some(self.inner.begin(fence).await?),
        };
        Ok(Box::new(DryTransaction::begin(self.clone(), real)))
    }

    async fn finish(&self, _plan: &SchemaPlan, _fence: &Fence, _progress: &OnStep<'_>) -> Result<()> {
        Ok(())
    }

    fn state(&self) -> Arc<dyn TargetState> {
        self.state.clone()
    }

    fn as_source(&self) -> Arc<dyn Source> {
        self.inner.as_source()
    }
}
