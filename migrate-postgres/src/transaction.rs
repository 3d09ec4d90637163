//! One target transaction: rows, state, the fence's check, and nothing half-said on the connection afterwards.

use crate::aside::{Aside, Together};
use crate::by_key;
use crate::choose::delete_chosen;
use crate::connection::execute;
use crate::copy_in::{CopyIn, Destination};
use crate::encode::Layout;
use crate::error::{from_sqlx, of_commit};
use crate::facts::Facts;
use crate::ids;
use crate::pool::{Pool, Registration, Session, check_fence};
use crate::read_loaded::{OWN, read_loaded};
use crate::rehearsal::{MARKED, Stages};
use crate::sql::quote_list;
use crate::stage::{Stage, counted};
use crate::state::{self, with_session};
use crate::upsert::Upsert;
use async_trait::async_trait;
use migrate_core::schema::{TableName, TableSchema};
use migrate_core::sink::{Arrival, Choose, DeleteRequest, OnPage, Outcome, SinkTransaction, Tie, WriteMode, WriteRequest};
use migrate_core::source::PageRequest;
use migrate_core::state::{Fence, StateChanges, StoredBlock};
use migrate_core::value::{Key, Page, Value};
use migrate_core::{Error, ErrorKind, Result};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// Keys deleted by one statement.
const KEYS_PER_DELETE: usize = 10_000;

/// Bytes of ledgers that may wait for a COPY's end.
const STATE_AHEAD: usize = 12 << 20;

/// A transaction of [`crate::PostgresSink`].
pub(crate) struct PgTransaction {
    pool: Arc<Pool>,
    fence: Fence,
    /// The session, its connection apart: that is lent to a COPY, and is gone for good if it does not come back.
    session: Option<Lent>,
    copy: Option<OpenCopy>,
    facts: HashMap<TableName, Arc<Facts>>,
    stages: HashMap<TableName, Stage>,
    /// Rows that wait to be inserted at once, by the places that they were set aside at.
    asides: Vec<Aside>,
    /// How many stages were made; their names count up.
    staged: usize,
    /// Rows given to loads of each table, before the COPY that is open.
    loaded: HashMap<TableName, u64>,
    /// State that waits for the commit: to write it now would end the COPY, and the server would have nothing to do until the next
    /// one fills up again.
    state: Vec<StateChanges>,
    /// Bytes of ledgers among it.
    state_bytes: usize,
    /// Asks which transaction rows are written by.
    own: &'static str,
}

struct Lent {
    registration: Registration,
    connection: Option<PgConnection>,
}

struct OpenCopy {
    copy: CopyIn,
    table: TableName,
    columns: Vec<String>,
}

impl PgTransaction {
    /// Begins a transaction on a session that the fence knows of.
    pub(crate) async fn begin(pool: Arc<Pool>, fence: &Fence) -> Result<Self> {
        let Session { connection, registration } = pool.begin(fence).await?;
        let mut transaction = PgTransaction::within(pool, fence, Stages::default());
        transaction.session = Some(Lent { registration, connection: Some(connection) });
        transaction.own = OWN;
        Ok(transaction)
    }

    /// A transaction within another one, of a rehearsal: it is lent its session, for one call at a time.
    pub(crate) fn within(pool: Arc<Pool>, fence: &Fence, stages: Stages) -> Self {
        PgTransaction {
            pool,
            fence: fence.clone(),
            session: None,
            copy: None,
            facts: HashMap::new(),
            stages: stages.known,
            asides: Vec::new(),
            staged: stages.made,
            loaded: HashMap::new(),
            state: Vec::new(),
            state_bytes: 0,
            own: MARKED,
        }
    }

    /// Takes a session for a call.
    pub(crate) fn lend(&mut self, connection: PgConnection) {
        self.session = Some(Lent { registration: Registration::none(), connection: Some(connection) });
    }

    /// Gives the session back, where it is fit for use, with no COPY under way.
    pub(crate) async fn reclaim(&mut self) -> Option<PgConnection> {
        let session = self.session.take();
        match self.copy.take() {
            Some(open) => open.copy.abandon().await,
            None => session?.connection,
        }
    }

    /// The temporary tables that serve the next transaction as well.
    pub(crate) fn stages(&self) -> Stages {
        Stages { known: self.stages.clone(), made: self.staged }
    }

    /// The temporary tables that serve this transaction only, quoted.
    pub(crate) fn asides(&self) -> Vec<String> {
        self.asides.iter().map(|aside| aside.qualified().to_owned()).collect()
    }

    fn take_connection(&mut self) -> Result<PgConnection> {
        self.session.as_mut().and_then(|s| s.connection.take()).ok_or_else(unusable)
    }

    fn return_connection(&mut self, connection: Option<PgConnection>) {
        if let Some(session) = &mut self.session {
            session.connection = connection;
        }
    }

    /// Ends the COPY that is open, if one is, and returns the connection.
    pub(crate) async fn connection(&mut self) -> Result<&mut PgConnection> {
        self.finish_copy().await?;
        self.session.as_mut().and_then(|s| s.connection.as_mut()).ok_or_else(unusable)
    }

    /// Ends the COPY that is open, if one is.
    pub(crate) async fn finish_copy(&mut self) -> Result<()> {
        let Some(open) = self.copy.take() else { return Ok(()) };
        let sent = open.copy.rows();
        let before = self.loaded.get(&open.table).copied().unwrap_or_default();
        let (connection, copied) = open.copy.finish().await;
        self.return_connection(connection);
        let checked = copied.map_err(|e| shifted(e, before)).and_then(|copied| counted(copied, sent));
        checked.map_err(|e| e.with("table", &open.table))?;
        *self.loaded.entry(open.table).or_default() += sent;
        Ok(())
    }

    async fn facts(&mut self, table: &TableName) -> Result<Arc<Facts>> {
        if let Some(facts) = self.facts.get(table) {
            return Ok(Arc::clone(facts));
        }
        let facts = Arc::new(Facts::read(self.connection().await?, table).await?);
        self.facts.insert(table.clone(), Arc::clone(&facts));
        Ok(facts)
    }

    /// Streams rows into the table; the server's answer comes when something else is asked of it.
    async fn load(&mut self, request: &WriteRequest<'_>, facts: &Facts) -> Result<()> {
        let layout = Layout::choose(request.page, request.table)?;
        let same_columns = |open: &OpenCopy| open.columns.iter().eq(request.page.columns().iter().map(|c| &c.name));
        let goes_on = self
            .copy
            .as_ref()
            .is_some_and(|open| open.table == request.table.name && same_columns(open) && *open.copy.layout() == layout);
        if !goes_on {
            self.finish_copy().await?;
            let columns = column_names(request.page);
            let connection = self.take_connection()?;
            let to = Destination { qualified: &facts.qualified, name: &request.table.name.name, columns: &quote_list(&columns) };
            let copy = CopyIn::begin(connection, &to, layout)?;
            self.copy = Some(OpenCopy { copy, table: request.table.name.clone(), columns });
        }
        let before = self.loaded.get(&request.table.name).copied().unwrap_or_default();
        let Some(open) = &mut self.copy else { return Err(unusable()) };
        open.copy
            .write(request.page, request.rows, false)
            .await
            .map_err(|e| shifted(e, before).with("table", &request.table.name))
    }

    /// Puts the rows into a temporary table.
    async fn fill(&mut self, request: &WriteRequest<'_>, facts: &Facts) -> Result<Stage> {
        let columns = column_names(request.page);
        let number = self.staged;
        let known = self.stages.get(&request.table.name).filter(|s| s.columns == columns).cloned();
        let connection = self.connection().await?;
        let stage = match known {
            Some(stage) => {
                stage.empty(connection).await?;
                stage
            }
            None => {
                // Another set of columns for the same table is rare; its stage takes the place of the first.
                let stage = Stage::create(connection, facts, &columns, number).await?;
                self.staged += 1;
                self.stages.insert(request.table.name.clone(), stage.clone());
                stage
            }
        };
        let connection = self.take_connection()?;
        let (connection, filled) = stage.fill(connection, request).await;
        self.return_connection(connection);
        filled.map(|()| stage)
    }

    /// Puts the rows aside and moves them into place by statements.
    async fn stage(&mut self, request: &WriteRequest<'_>, facts: &Facts) -> Result<Option<Vec<Outcome>>> {
        let stage = self.fill(request, facts).await?;
        let rows = request.row_count();
        let connection = self.connection().await?;
        match request.mode {
            WriteMode::Load => Upsert::load(connection, facts, &stage, request.key, rows).await,
            mode @ (WriteMode::Upsert | WriteMode::InsertMissing) => {
                Upsert::new(facts, &stage, request.key, rows)?.run(connection, mode).await.map(Some)
            }
        }
    }

    /// Rows without any column that could be written: as many rows of defaults.
    async fn load_defaults(&mut self, request: &WriteRequest<'_>, facts: &Facts) -> Result<()> {
        let rows = request.row_count();
        let sql = format!("INSERT INTO {} SELECT FROM pg_catalog.generate_series(1, {rows})", facts.qualified);
        let inserted = execute(self.connection().await?, sql).await?;
        *self.loaded.entry(request.table.name.clone()).or_default() += rows as u64;
        counted(inserted, rows as u64).map_err(|e| e.with("table", &request.table.name))
    }

    async fn count(&mut self, facts: &Facts) -> Result<u64> {
        let sql = format!("SELECT pg_catalog.count(*) FROM {}{}", facts.only, facts.qualified);
        let query = sqlx::query_as(AssertSqlSafe(sql)).persistent(false);
        let (count,): (i64,) = query.fetch_one(self.connection().await?).await.map_err(from_sqlx)?;
        Ok(count.unsigned_abs())
    }

    /// Writes the state that waits, and this.
    pub(crate) async fn write_changes(&mut self, changes: &StateChanges) -> Result<()> {
        let before = std::mem::take(&mut self.state);
        let connection = self.connection().await?;
        for changes in before {
            state::write(connection, &changes).await?;
        }
        state::write(connection, changes).await
    }

    async fn write_state(&mut self, changes: &StateChanges) -> Result<()> {
        self.write_changes(changes).await?;
        let fence = self.fence.clone();
        check_fence(self.connection().await?, &fence).await
    }
}

#[async_trait]
impl SinkTransaction for PgTransaction {
    async fn write(&mut self, request: WriteRequest<'_>) -> Result<Option<Vec<Outcome>>> {
        if request.row_count() == 0 {
            return Ok(None);
        }
        let facts = self.facts(&request.table.name).await?;
        let given = request.row_count() as u64;
        match request.mode {
            WriteMode::Load if request.page.columns().is_empty() => self.load_defaults(&request, &facts).await.map(|()| None),
            WriteMode::Load if facts.takes_copy() => self.load(&request, &facts).await.map(|()| None),
            WriteMode::Load => {
                let before = self.loaded.get(&request.table.name).copied().unwrap_or_default();
                let outcomes =
                    self.stage(&request, &facts).await.map_err(|e| shifted(e, before).with("table", &request.table.name))?;
                *self.loaded.entry(request.table.name.clone()).or_default() += given;
                Ok(outcomes)
            }
            WriteMode::Upsert | WriteMode::InsertMissing => {
                self.stage(&request, &facts).await.map_err(|e| e.with("table", &request.table.name))
            }
        }
    }

    async fn set_aside(&mut self, place: usize, request: WriteRequest<'_>) -> Result<()> {
        let facts = self.facts(&request.table.name).await?;
        let columns = column_names(request.page);
        let stage = self.fill(&request, &facts).await.map_err(|e| e.with("table", &request.table.name))?;
        let mut asides = std::mem::take(&mut self.asides);
        let connection = self.connection().await?;
        if !asides.iter().any(|aside| aside.place == place) {
            asides.push(Aside::create(connection, (&request.table.name, facts), &columns, request.key, place).await?);
        }
        let added = match asides.iter_mut().find(|aside| aside.place == place) {
            Some(aside) if aside.takes(&request.table.name, &columns) => aside.add(connection, &stage, request.row_count()).await,
            _ => Err(Error::new(ErrorKind::Internal, "rows with other columns were set aside at this place")),
        };
        self.asides = asides;
        added.map_err(|e| e.with("table", &request.table.name))
    }

    async fn insert_aside(&mut self, ties: &[Tie]) -> Result<u64> {
        let mut parents = Vec::with_capacity(ties.len());
        for tie in ties {
            // Whoever may refer to a table need not be allowed to read it.
            let facts = self.facts(&tie.parent).await?;
            let readable = facts.is_readable(self.connection().await?).await?;
            parents.push(Some(facts).filter(|_| readable));
        }
        let asides = std::mem::take(&mut self.asides);
        let together = Together::new(&asides, ties, &parents)?;
        let inserted = together.insert(self.connection().await?).await?;
        self.asides = asides;
        Ok(inserted)
    }

    async fn arrivals(&mut self, place: usize, first: u64, count: usize) -> Result<Vec<Arrival>> {
        let asides = std::mem::take(&mut self.asides);
        let connection = self.connection().await?;
        let arrivals = match asides.iter().find(|aside| aside.place == place) {
            Some(aside) => aside.arrivals(connection, first, count).await?,
            None => Vec::new(),
        };
        self.asides = asides;
        Ok(arrivals)
    }

    async fn delete_at_once(&mut self, requests: &[DeleteRequest<'_>]) -> Result<Vec<u64>> {
        let mut facts = Vec::with_capacity(requests.len());
        for request in requests {
            facts.push(self.facts(&request.table.name).await?);
        }
        by_key::delete_at_once(self.connection().await?, requests, &facts).await
    }

    async fn existing(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<HashSet<Key>> {
        let facts = self.facts(&table.name).await?;
        by_key::existing(self.connection().await?, table, &facts, key, keys).await.map_err(|e| e.with("table", &table.name))
    }

    async fn mapped(&mut self, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>> {
        state::mapped(self.connection().await?, job, entity, sources).await
    }

    async fn reserve(&mut self, table: &TableSchema, column: &str, count: usize) -> Result<Vec<Value<'static>>> {
        // By another session, as a COPY may be under way in this one.
        let drawn = with_session(&self.pool, async |connection| ids::reserve(connection, table, column, count).await).await;
        drawn.map_err(|e| e.with("table", &table.name))
    }

    async fn delete(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<u64> {
        let facts = self.facts(&table.name).await?;
        let counts = facts.rules || facts.delete_triggers;
        let before = if counts { self.count(&facts).await? } else { 0 };
        let mut deleted = 0;
        for some in keys.chunks(KEYS_PER_DELETE) {
            deleted += by_key::delete(self.connection().await?, table, &facts, key, some).await?;
        }
        Ok(if counts { before.saturating_sub(self.count(&facts).await?) } else { deleted })
    }

    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        let facts = self.facts(&request.table.name).await?;
        self.finish_copy().await?;
        let mut connection = self.take_connection()?;
        // A COPY that was not read to its end leaves answers behind: then the connection does not come back.
        let page =
            by_key::read(&mut connection, &facts, request, keys).await.map_err(|e| e.with("table", &request.table.name))?;
        self.return_connection(Some(connection));
        Ok(page)
    }

    async fn delete_chosen(&mut self, request: &PageRequest<'_>, choose: &mut Choose<'_>) -> Result<u64> {
        let facts = self.facts(&request.table.name).await?;
        let counts = facts.rules || facts.delete_triggers;
        let before = if counts { self.count(&facts).await? } else { 0 };
        self.finish_copy().await?;
        let mut connection = self.take_connection()?;
        // As in `read_rows`: what has failed does not come back.
        let deleted = delete_chosen(&mut connection, &facts, request, choose).await;
        let deleted = deleted.map_err(|e| e.with("table", &request.table.name))?;
        self.return_connection(Some(connection));
        Ok(if counts { before.saturating_sub(self.count(&facts).await?) } else { deleted })
    }

    async fn can_read_back(&mut self, table: &TableSchema) -> Result<bool> {
        let facts = self.facts(&table.name).await?;
        Ok(!facts.rules && !facts.row_security)
    }

    async fn read_loaded(&mut self, request: &PageRequest<'_>, take: &mut OnPage<'_>) -> Result<bool> {
        let facts = self.facts(&request.table.name).await?;
        let Some(blocks) = facts.blocks.filter(|_| facts.takes_copy()) else { return Ok(false) };
        self.finish_copy().await?;
        let rows = self.loaded.get(&request.table.name).copied().unwrap_or_default();
        let mut connection = self.take_connection()?;
        // As in `read_rows`: what has failed does not come back.
        read_loaded(&mut connection, (&facts, self.own), (blocks, rows), request, take)
            .await
            .map_err(|e| e.with("table", &request.table.name))?;
        self.return_connection(Some(connection));
        Ok(true)
    }

    async fn clear(&mut self, table: &TableSchema) -> Result<u64> {
        let facts = self.facts(&table.name).await?;
        let counts = facts.rules || facts.delete_triggers;
        let before = if counts { self.count(&facts).await? } else { 0 };
        let sql = format!("DELETE FROM {}{}", facts.only, facts.qualified);
        let deleted = execute(self.connection().await?, sql).await?;
        if !counts {
            return Ok(deleted);
        }
        let left = self.count(&facts).await?;
        if left > 0 {
            let message = format!("{left} rows were kept by triggers or rules when the table was cleared");
            return Err(Error::new(ErrorKind::Mismatch, message).with("table", &table.name));
        }
        Ok(before)
    }

    async fn put_state(&mut self, state: StateChanges) -> Result<()> {
        let bytes = |block: &StoredBlock| block.keys.len() + block.checksums.len();
        self.state_bytes += state.blocks.iter().map(bytes).sum::<usize>();
        if self.copy.is_some() && self.state_bytes < STATE_AHEAD {
            self.state.push(state);
            return Ok(());
        }
        self.state_bytes = 0;
        let before = std::mem::take(&mut self.state);
        let connection = self.connection().await?;
        for changes in before.iter().chain([&state]) {
            state::write(connection, changes).await?;
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>, state: &StateChanges) -> Result<()> {
        if let Err(error) = self.write_state(state).await {
            // The error says what happened; that the connection is not worth keeping adds nothing to it.
            let _ = self.rollback().await;
            return Err(error);
        }
        execute(self.connection().await?, "COMMIT").await.map_err(of_commit)?;
        self.give_back();
        Ok(())
    }

    async fn rollback(mut self: Box<Self>) -> Result<()> {
        // Ending a COPY only to undo it would take as long as it takes; its connection is closed instead.
        if self.copy.take().is_none()
            && let Ok(connection) = self.connection().await
        {
            execute(connection, "ROLLBACK").await?;
            self.give_back();
        }
        Ok(())
    }
}

impl PgTransaction {
    /// Gives the session back to the pool; the transaction is over.
    fn give_back(&mut self) {
        if let Some(Lent { registration, connection: Some(connection) }) = self.session.take() {
            self.pool.put(Session { connection, registration });
        }
    }
}

impl Drop for PgTransaction {
    fn drop(&mut self) {
        if let Some(lent) = self.session.take() {
            // Closing the connection rolls back, as soon as the server sees it.
            self.pool.lose(lent.registration.id);
        }
    }
}

impl fmt::Debug for PgTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgTransaction").field("fence", &self.fence).finish_non_exhaustive()
    }
}

fn column_names(page: &Page) -> Vec<String> {
    page.columns().iter().map(|c| c.name.clone()).collect()
}

/// Counts a refused row from the first that this transaction loaded into the table.
fn shifted(error: Error, before: u64) -> Error {
    match error.row() {
        Some(row) => error.with_row(before + row),
        None => error,
    }
}

fn unusable() -> Error {
    Error::new(ErrorKind::ConnectionLost, "the transaction's connection is gone after an earlier error")
}
