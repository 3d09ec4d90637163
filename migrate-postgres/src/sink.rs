//! PostgreSQL as a sink.

use crate::config::PostgresConfig;
use crate::connection::{SessionRole, connect};
use crate::ddl;
use crate::introspect;
use crate::pool::Pool;
use crate::rehearsal::{LoneSource, PgRehearsal, RehearsedTransaction};
use crate::source::PostgresSource;
use crate::state::{PostgresState, is_state_table};
use crate::transaction::PgTransaction;
use crate::{finish, prepare};
use async_trait::async_trait;
use migrate_core::Result;
use migrate_core::schema::{DatabaseSchema, TableKind, TableSchema};
use migrate_core::sink::{CreateRequest, OnStep, Rehearsal, SchemaPlan, Sink, SinkCapabilities, SinkTransaction, TablePlan};
use migrate_core::source::Source;
use migrate_core::state::{Fence, TargetState};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::mpsc::unbounded_channel;

/// How many transactions write at once at most. Beyond a few, backends wait for one another's disk and locks.
const WRITERS: usize = 8;

/// A PostgreSQL database that rows are written to.
///
/// Keeps a few sessions open between transactions. Writes as a plain role: tables are filled by COPY, compared and overwritten
/// through temporary tables, and no trigger or constraint is ever switched off.
#[derive(Debug, Clone)]
pub struct PostgresSink {
    pool: Arc<Pool>,
}

impl PostgresSink {
    /// Creates a sink that connects when it is first used.
    pub fn new(config: PostgresConfig) -> Self {
        PostgresSink::over(Pool::new(config))
    }

    pub(crate) fn over(pool: Pool) -> Self {
        PostgresSink { pool: Arc::new(pool) }
    }

    /// Creates a sink and makes sure that the server can be reached.
    ///
    /// # Errors
    /// As [`PostgresSource::connect`].
    pub async fn connect(config: PostgresConfig) -> Result<Self> {
        let sink = PostgresSink::new(config);
        let session = sink.pool.get().await?;
        sink.pool.put(session);
        Ok(sink)
    }

    /// Returns how the server is reached.
    pub fn config(&self) -> &PostgresConfig {
        self.pool.config()
    }
}

#[async_trait]
impl Sink for PostgresSink {
    fn name(&self) -> &'static str {
        ddl::ENGINE
    }

    fn capabilities(&self) -> SinkCapabilities {
        let writers = if self.pool.lone().is_some() { 1 } else { WRITERS };
        SinkCapabilities::with_writers(writers).with_together()
    }

    async fn schema(&self) -> Result<DatabaseSchema> {
        let mut connection = connect(self.pool.config(), SessionRole::Reader).await?;
        let mut schema = introspect::database_schema(&mut connection).await?;
        schema.tables.retain(|t| !is_state_table(&t.name));
        Ok(schema)
    }

    fn default_schema(&self) -> Option<String> {
        Some("public".to_owned())
    }

    fn can_choose(&self, table: &TableSchema) -> bool {
        match table.kind {
            TableKind::Table | TableKind::Partitioned | TableKind::Partition => true,
            // Rows of another server, or of a query, have no place of their own.
            TableKind::View | TableKind::MaterializedView | TableKind::Foreign | TableKind::Virtual => false,
        }
    }

    fn plan_table(&self, request: &CreateRequest<'_>) -> Result<TablePlan> {
        ddl::plan_table(request)
    }

    async fn check_writable(&self, table: &TableSchema) -> Result<()> {
        let mut session = self.pool.get().await?;
        prepare::check_writable(&mut session.connection, &table.name).await?;
        self.pool.put(session);
        Ok(())
    }

    async fn check_alterable(&self, plan: &TablePlan) -> Result<()> {
        let mut session = self.pool.get().await?;
        prepare::check_alterable(&mut session.connection, &plan.table.name).await?;
        self.pool.put(session);
        Ok(())
    }

    async fn check_creatable(&self) -> Result<()> {
        let mut session = self.pool.get().await?;
        prepare::check_creatable(&mut session.connection).await?;
        crate::state::check_creatable(&mut session.connection).await?;
        self.pool.put(session);
        Ok(())
    }

    async fn prepare(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
        prepare::prepare(&self.pool, plan, fence).await
    }

    async fn build_keys(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
        finish::build_keys(&self.pool, plan, fence).await
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn SinkTransaction>> {
        let pool = Arc::clone(&self.pool);
        match self.pool.lone() {
            Some(lone) => Ok(Box::new(RehearsedTransaction::begin(pool, lone.clone(), fence).await?)),
            None => Ok(Box::new(PgTransaction::begin(pool, fence).await?)),
        }
    }

    async fn finish(&self, plan: &SchemaPlan, fence: &Fence, progress: &OnStep<'_>) -> Result<()> {
        let (sender, mut steps) = unbounded_channel();
        let heard = finish::Progress(Some(sender));
        let mut work = pin!(finish::finish(&self.pool, plan, fence, &heard));
        loop {
            tokio::select! {
                biased;
                Some(step) = steps.recv() => progress(&step),
                done = &mut work => {
                    while let Ok(step) = steps.try_recv() {
                        progress(&step);
                    }
                    return done;
                }
            }
        }
    }

    fn state(&self) -> Arc<dyn TargetState> {
        Arc::new(PostgresState::new(Arc::clone(&self.pool)))
    }

    fn as_source(&self) -> Arc<dyn Source> {
        match self.pool.lone() {
            Some(lone) => Arc::new(LoneSource::new(lone.clone(), &self.pool)),
            None => Arc::new(PostgresSource::new(self.pool.config().clone())),
        }
    }

    async fn rehearse(&self) -> Result<Box<dyn Rehearsal>> {
        Ok(Box::new(PgRehearsal::open(self.pool.config()).await?))
    }
}
