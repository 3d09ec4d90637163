//! A transaction of the run, between two savepoints of the rehearsal's.

use super::lone::{Lone, Slot, TRANSACTION, over, undo};
use crate::connection::execute;
use crate::ids;
use crate::pool::Pool;
use crate::transaction::PgTransaction;
use async_trait::async_trait;
use migrate_core::schema::TableSchema;
use migrate_core::sink::{Arrival, Choose, DeleteRequest, OnPage, Outcome, SinkTransaction, Tie, WriteRequest};
use migrate_core::source::PageRequest;
use migrate_core::state::{Fence, StateChanges};
use migrate_core::value::{Key, Page, Value};
use migrate_core::{Error, ErrorKind, Result};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Has the session for the length of each call, so that what the run remembers can be read in between. After an error all of it is
/// undone at once, since the session answers nothing else before.
pub(crate) struct RehearsedTransaction {
    inner: PgTransaction,
    lone: Arc<Lone>,
    /// Whether the savepoint stands that it began with.
    open: bool,
    _turn: OwnedSemaphorePermit,
}

impl RehearsedTransaction {
    pub(crate) async fn begin(pool: Arc<Pool>, lone: Arc<Lone>, fence: &Fence) -> Result<Self> {
        let turn = lone.turn().await?;
        let mut loan = lone.lend().await?;
        execute(&mut loan.connection, format!("SAVEPOINT {TRANSACTION}")).await?;
        loan.give_back();
        let inner = PgTransaction::within(pool, fence, lone.stages());
        Ok(RehearsedTransaction { inner, lone, open: true, _turn: turn })
    }

    async fn lend(&mut self) -> Result<Slot> {
        if !self.open {
            return Err(Error::new(ErrorKind::Internal, "a transaction was used after it had failed"));
        }
        let (slot, connection) = self.lone.lend().await?.split();
        self.inner.lend(connection);
        Ok(slot)
    }

    /// Takes the session back, with nothing under way, and undoes everything after an error.
    async fn take_back<T>(&mut self, mut slot: Slot, result: Result<T>) -> Result<T> {
        let result = match result {
            Ok(value) => self.inner.finish_copy().await.map(|()| value),
            Err(error) => Err(error),
        };
        let Some(mut connection) = self.inner.reclaim().await else {
            self.open = false;
            return result.and_then(|_| Err(over()));
        };
        if let Err(error) = result {
            self.open = false;
            if undo(&mut connection, TRANSACTION).await.is_ok() {
                *slot = Some(connection);
            }
            return Err(error);
        }
        *slot = Some(connection);
        result
    }

    /// Writes the state and checks what a commit would.
    async fn end(&mut self, state: &StateChanges) -> Result<()> {
        self.inner.write_changes(state).await?;
        let aside = self.inner.asides();
        let connection = self.inner.connection().await?;
        execute(connection, "SET CONSTRAINTS ALL IMMEDIATE").await?;
        if let Some(defer) = self.lone.defer() {
            execute(connection, defer).await?;
        }
        if !aside.is_empty() {
            execute(connection, format!("DROP TABLE {}", aside.join(", "))).await?;
        }
        execute(connection, format!("RELEASE SAVEPOINT {TRANSACTION}")).await.map(drop)
    }
}

impl Drop for RehearsedTransaction {
    fn drop(&mut self) {
        if self.open {
            self.lone.abandon();
        }
    }
}

#[async_trait]
impl SinkTransaction for RehearsedTransaction {
    async fn write(&mut self, request: WriteRequest<'_>) -> Result<Option<Vec<Outcome>>> {
        let slot = self.lend().await?;
        let result = self.inner.write(request).await;
        self.take_back(slot, result).await
    }

    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        let slot = self.lend().await?;
        let result = self.inner.read_rows(request, keys).await;
        self.take_back(slot, result).await
    }

    async fn can_read_back(&mut self, table: &TableSchema) -> Result<bool> {
        let slot = self.lend().await?;
        let result = self.inner.can_read_back(table).await;
        self.take_back(slot, result).await
    }

    async fn read_loaded(&mut self, request: &PageRequest<'_>, take: &mut OnPage<'_>) -> Result<bool> {
        let slot = self.lend().await?;
        let result = self.inner.read_loaded(request, take).await;
        self.take_back(slot, result).await
    }

    async fn existing(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<HashSet<Key>> {
        let slot = self.lend().await?;
        let result = self.inner.existing(table, key, keys).await;
        self.take_back(slot, result).await
    }

    async fn reserve(&mut self, table: &TableSchema, column: &str, count: usize) -> Result<Vec<Value<'static>>> {
        // The table may be there for this session only.
        let mut loan = self.lone.lend_apart().await?;
        let drawn = ids::reserve(&mut loan.connection, table, column, count).await;
        loan.settle(drawn).await.map_err(|e| e.with("table", &table.name))
    }

    async fn mapped(&mut self, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>> {
        let slot = self.lend().await?;
        let result = self.inner.mapped(job, entity, sources).await;
        self.take_back(slot, result).await
    }

    async fn delete(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<u64> {
        let slot = self.lend().await?;
        let result = self.inner.delete(table, key, keys).await;
        self.take_back(slot, result).await
    }

    async fn delete_chosen(&mut self, request: &PageRequest<'_>, choose: &mut Choose<'_>) -> Result<u64> {
        let slot = self.lend().await?;
        let result = self.inner.delete_chosen(request, choose).await;
        self.take_back(slot, result).await
    }

    async fn set_aside(&mut self, place: usize, request: WriteRequest<'_>) -> Result<()> {
        let slot = self.lend().await?;
        let result = self.inner.set_aside(place, request).await;
        self.take_back(slot, result).await
    }

    async fn insert_aside(&mut self, ties: &[Tie]) -> Result<u64> {
        let slot = self.lend().await?;
        let result = self.inner.insert_aside(ties).await;
        self.take_back(slot, result).await
    }

    async fn arrivals(&mut self, place: usize, first: u64, count: usize) -> Result<Vec<Arrival>> {
        let slot = self.lend().await?;
        let result = self.inner.arrivals(place, first, count).await;
        self.take_back(slot, result).await
    }

    async fn delete_at_once(&mut self, requests: &[DeleteRequest<'_>]) -> Result<Vec<u64>> {
        let slot = self.lend().await?;
        let result = self.inner.delete_at_once(requests).await;
        self.take_back(slot, result).await
    }

    async fn clear(&mut self, table: &TableSchema) -> Result<u64> {
        let slot = self.lend().await?;
        let result = self.inner.clear(table).await;
        self.take_back(slot, result).await
    }

    async fn put_state(&mut self, state: StateChanges) -> Result<()> {
        let slot = self.lend().await?;
        let result = self.inner.put_state(state).await;
        self.take_back(slot, result).await
    }

    async fn commit(mut self: Box<Self>, state: &StateChanges) -> Result<()> {
        let slot = self.lend().await?;
        let result = self.end(state).await;
        self.take_back(slot, result).await?;
        self.open = false;
        self.lone.keep(self.inner.stages());
        Ok(())
    }

    async fn rollback(mut self: Box<Self>) -> Result<()> {
        if self.open {
            let mut loan = self.lone.lend().await?;
            self.open = false;
            undo(&mut loan.connection, TRANSACTION).await?;
            loan.give_back();
        }
        Ok(())
    }
}
