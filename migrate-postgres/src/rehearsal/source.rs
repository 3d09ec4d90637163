//! The target as the rehearsal's session sees it.

use super::lone::{Loan, Lone, Slot};
use crate::codec::ENCODING;
use crate::connection::execute;
use crate::copy_out::collect;
use crate::pool::Pool;
use crate::select::{columns_of, from_item, page_columns, select_list_of};
use crate::snapshot::{count, rows_by_key};
use crate::source::PostgresSource;
use crate::view::Session;
use async_trait::async_trait;
use migrate_core::filter::Filter;
use migrate_core::schema::{ColumnSchema, DatabaseSchema, TableSchema};
use migrate_core::source::{PageRequest, Position, Snapshot, Source, SourceCapabilities};
use migrate_core::value::{Key, Page, PageBuilder};
use migrate_core::{Error, ErrorKind, Result, ResultExt};
use std::sync::Arc;

/// Reads what a run looks up in its target: whether a table holds rows, how many, and rows by key.
#[derive(Debug)]
pub(crate) struct LoneSource {
    lone: Arc<Lone>,
    outside: PostgresSource,
}

impl LoneSource {
    pub(crate) fn new(lone: Arc<Lone>, pool: &Pool) -> Self {
        LoneSource { lone, outside: PostgresSource::new(pool.config().clone()) }
    }
}

#[async_trait]
impl Source for LoneSource {
    fn name(&self) -> &'static str {
        self.outside.name()
    }

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::with_readers(1).with_typed_cells()
    }

    async fn identity(&self) -> Result<String> {
        self.outside.identity().await
    }

    async fn schema(&self) -> Result<DatabaseSchema> {
        self.outside.schema().await
    }

    async fn open_snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(LoneSnapshot { lone: self.lone.clone(), position: Position("rehearsal".to_owned()) }))
    }

    async fn check_readable(&self, table: &TableSchema) -> Result<()> {
        self.outside.check_readable(table).await
    }
}

/// What the session sees now; its transaction sees others' commits as well.
struct LoneSnapshot {
    lone: Arc<Lone>,
    position: Position,
}

impl LoneSnapshot {
    /// Lends the session out as queries on a table need it.
    ///
    /// An error of theirs ends the run, and so may end the session: a query that was not read to its end leaves answers behind.
    async fn session(&self, table: &TableSchema, filter: Option<&Filter>, key: &[&ColumnSchema]) -> Result<(Slot, Session)> {
        let (slot, connection) = self.lone.lend_apart().await?.split();
        let mut session = Session::of_role(connection).await?;
        session.prepare(table, filter, key).await?;
        Ok((slot, session))
    }
}

async fn give_back(slot: Slot, mut session: Session) -> Result<()> {
    execute(&mut session.connection, "RESET search_path").await?;
    Loan::join(slot, session.connection).settle(Ok(())).await
}

#[async_trait]
impl Snapshot for LoneSnapshot {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn fork(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(LoneSnapshot { lone: self.lone.clone(), position: self.position.clone() }))
    }

    async fn read_page(&mut self, request: &PageRequest<'_>) -> Result<Page> {
        if !request.key.is_empty() {
            return Err(beyond(request.table));
        }
        let columns = columns_of(request.table, request.columns)?;
        let from = from_item(request.table);
        let (slot, mut session) = self.session(request.table, request.filter, &[]).await?;
        let condition = session.render_filter(&from, request.filter).await?;
        let wher = condition.0.map(|c| format!(" WHERE ({c}\n)")).unwrap_or_default();
        let list = select_list_of(&session.selected(request.table, &columns).await?);
        let limit = request.max_rows;
        let sql = format!("COPY (SELECT {list} FROM {from}{wher} LIMIT {limit}) TO STDOUT (FORMAT BINARY)");
        let mut builder = PageBuilder::new(page_columns(&columns), ENCODING);
        collect(&mut session.connection, &sql, &mut builder, columns.len()).await.context("table", &request.table.name)?;
        give_back(slot, session).await?;
        Ok(builder.finish(None))
    }

    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        let key = columns_of(request.table, request.key)?;
        let (slot, mut session) = self.session(request.table, request.filter, &key).await?;
        let page = rows_by_key(&mut session, request, keys).await?;
        give_back(slot, session).await?;
        Ok(page)
    }

    async fn count_rows(&mut self, table: &TableSchema, filter: Option<&Filter>) -> Result<u64> {
        let (slot, mut session) = self.session(table, filter, &[]).await?;
        let count = count(&mut session, table, filter).await.context("table", &table.name)?;
        give_back(slot, session).await?;
        Ok(count)
    }

    async fn duplicate_keys(&mut self, request: &PageRequest<'_>, _limit: usize) -> Result<Vec<String>> {
        Err(beyond(request.table))
    }
}

/// No run reads its target so.
fn beyond(table: &TableSchema) -> Error {
    Error::new(ErrorKind::Unsupported, "a rehearsal reads its target by key and counts it, and no more")
        .with("table", &table.name)
}
