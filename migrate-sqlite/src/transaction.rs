//! A transaction on the one writing connection.

use crate::error::SqliteContext;
use crate::introspect::rowid;
use crate::sink::Shared;
use crate::snapshot::page_columns;
use crate::state;
use crate::thread::Answer;
use crate::write::{self, Aside, Target, WriteJob};
use async_trait::async_trait;
use migrate_core::schema::{Identity, TableName, TableSchema};
use migrate_core::sink::{Arrival, Choose, DeleteRequest, Outcome, SinkTransaction, Tie, WriteMode, WriteRequest};
use migrate_core::source::PageRequest;
use migrate_core::state::{Fence, StateChanges};
use migrate_core::value::{Key, Page, Value};
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::Connection;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Loads that the thread may have before it: one at work and one that waits, so that it never does.
const LOADS_AHEAD: usize = 2;

/// A load whose answer has not been asked for yet.
#[derive(Debug)]
struct Pending {
    answer: Answer<()>,
    /// Rows that were given to loads of its table before it.
    before: u64,
}

/// The one open transaction of a sink; others queue for it.
#[derive(Debug)]
pub(crate) struct SqliteTransaction {
    shared: Arc<Shared>,
    fence: Fence,
    /// The place at the head of the queue, given up when nothing of the transaction is left.
    permit: Option<OwnedSemaphorePermit>,
    /// Rows given to the loads of each table so far.
    loaded: HashMap<TableName, u64>,
    /// The loads that the thread is at, or has before it, while the caller prepares the next rows.
    pending: VecDeque<Pending>,
    /// Rows that wait to be inserted at once.
    asides: Vec<Aside>,
    /// Whether something was done already, so that the transaction cannot begin anew.
    touched: bool,
    failed: bool,
}

impl SqliteTransaction {
    /// Takes the write lock.
    pub(crate) async fn begin(shared: Arc<Shared>, fence: Fence) -> Result<Self> {
        let permit = shared.queue().await?;
        let transaction = SqliteTransaction {
            shared,
            fence,
            permit: Some(permit),
            loaded: HashMap::new(),
            pending: VecDeque::new(),
            asides: Vec::new(),
            touched: false,
            failed: false,
        };
        let fence = transaction.fence.clone();
        // From here on dropping the transaction rolls back, whether the lock was taken or not.
        transaction.shared.run(move |connection| begin(connection, &fence)).await?;
        Ok(transaction)
    }

    /// Runs a step. One that fails rolls back at once and lets the next in the queue begin, however long the caller keeps the
    /// transaction; after that, or after a step whose answer nobody waited for, nothing else is allowed.
    async fn step<T: Send + 'static>(&mut self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        self.touched = true;
        self.look(work).await
    }

    /// The same for a step that neither writes nor reads what is about to be overwritten: whether references are checked is still open then.
    async fn look<T: Send + 'static>(&mut self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        self.settle_loads(0).await?;
        self.failed = true;
        let result = self.shared.run(move |connection| {
            let result = work(connection);
            if result.is_err() {
                state::rollback(connection);
            }
            result
        });
        match result.await {
            Ok(value) => {
                self.failed = false;
                Ok(value)
            }
            Err(error) => {
                self.give_up();
                Err(error)
            }
        }
    }
}

impl SqliteTransaction {
    /// Waits until no more than so many loads are under way.
    async fn settle_loads(&mut self, most: usize) -> Result<()> {
        if self.failed {
            return Err(Error::new(ErrorKind::Internal, "a transaction was used after it had failed"));
        }
        while self.pending.len() > most {
            let Some(pending) = self.pending.front_mut() else { return Ok(()) };
            let before = pending.before;
            let result = (&mut pending.answer).await;
            self.pending.pop_front();
            result.map_err(|error| {
                self.failed = true;
                // Those behind it are left out, as the thread has rolled back.
                self.pending.clear();
                self.give_up();
                let error = self.shared.name_holder(error);
                match error.row() {
                    Some(row) => error.with_row(before + row),
                    None => error,
                }
            })?;
        }
        Ok(())
    }

    /// Hands rows to the thread and returns while it inserts them: the caller reads and shapes the next ones meanwhile.
    async fn load(&mut self, name: TableName, rows: u64, job: WriteJob) -> Result<()> {
        self.settle_loads(LOADS_AHEAD - 1).await?;
        let before = self.loaded.get(&name).copied().unwrap_or(0);
        let (touched, fence) = (self.touched, self.fence.clone());
        self.touched = true;
        let answer = self.shared.submit(move |connection| {
            // A load before this one has failed and rolled back: outside of a transaction every row would commit by itself.
            if touched && connection.is_autocommit() {
                return Err(Error::new(ErrorKind::Internal, "the transaction is over"));
            }
            let result = set_references(connection, job.target(), job.only_inserts(), touched, &fence)
                .and_then(|()| job.run(connection).map(drop));
            if result.is_err() {
                state::rollback(connection);
            }
            result
        });
        self.pending.push_back(Pending { answer: answer.await?, before });
        self.loaded.insert(name, before + rows);
        Ok(())
    }

    /// Rolls back what is open, and then leaves the head of the queue. Does nothing the second time.
    fn give_up(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.shared.post(move |connection| {
                state::rollback(connection);
                // Only now may the next in the queue begin.
                drop(permit);
            });
        }
    }
}

/// Begins, with the write lock, and looks at the fence before any work is done in vain.
fn begin(connection: &Connection, fence: &Fence) -> Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE").during("beginning a transaction")?;
    state::check_fence(connection, fence)
}

/// Sees to it that references are checked for a table that is in use, and not for one that is being created: there the rows come
/// in any order and are checked when all have arrived.
///
/// SQLite switches this between transactions only, so the first step of one that writes decides, by beginning it anew.
fn set_references(connection: &Connection, target: &Target, only_inserts: bool, touched: bool, fence: &Fence) -> Result<()> {
    let doing = "switching the checks of references";
    let wanted = !state::is_unfinished(connection, &target.name)?;
    let checked: bool =
        connection.prepare_cached("PRAGMA foreign_keys").and_then(|mut s| s.query_row([], |r| r.get(0))).during(doing)?;
    // An insert into a table that refers to nothing breaks nothing, either way.
    if wanted == checked || (touched && only_inserts && !target.refers()) {
        return Ok(());
    }
    if touched {
        return Err(Error::new(
            ErrorKind::Internal,
            "tables that are being created and tables that are in use cannot be written in one transaction",
        )
        .with("table", &target.name));
    }
    connection.execute_batch("ROLLBACK").during(doing)?;
    connection.pragma_update(None, "foreign_keys", wanted).during(doing)?;
    begin(connection, fence)
}

#[async_trait]
impl SinkTransaction for SqliteTransaction {
    async fn write(&mut self, request: WriteRequest<'_>) -> Result<Option<Vec<Outcome>>> {
        let job = WriteJob::new(&request)?;
        if request.mode == WriteMode::Load {
            self.load(request.table.name.clone(), request.row_count() as u64, job).await?;
            return Ok(None);
        }
        let (touched, fence) = (self.touched, self.fence.clone());
        self.step(move |connection| {
            set_references(connection, job.target(), job.only_inserts(), touched, &fence)?;
            job.run(connection)
        })
        .await
    }

    async fn set_aside(&mut self, place: usize, request: WriteRequest<'_>) -> Result<()> {
        let job = WriteJob::new(&request)?;
        let (touched, fence, mut asides) = (self.touched, self.fence.clone(), std::mem::take(&mut self.asides));
        self.asides = self
            .step(move |connection| {
                set_references(connection, job.target(), false, touched, &fence)?;
                if !asides.iter().any(|aside| aside.place == place) {
                    asides.push(Aside::create(connection, place, &job)?);
                }
                asides.iter_mut().filter(|aside| aside.place == place).try_for_each(|aside| aside.add(connection, &job))?;
                Ok(asides)
            })
            .await?;
        Ok(())
    }

    async fn insert_aside(&mut self, ties: &[Tie]) -> Result<u64> {
        let (asides, ties) = (std::mem::take(&mut self.asides), ties.to_vec());
        let work = move |connection: &Connection| Ok((write::insert_aside(connection, &asides, &ties)?, asides));
        let (inserted, asides) = self.step(work).await?;
        self.asides = asides;
        Ok(inserted)
    }

    async fn arrivals(&mut self, place: usize, first: u64, count: usize) -> Result<Vec<Arrival>> {
        let asides = std::mem::take(&mut self.asides);
        let work = move |connection: &Connection| {
            let aside = asides.iter().find(|aside| aside.place == place);
            let arrivals = aside.map_or(Ok(Vec::new()), |aside| aside.arrivals(connection, first, count))?;
            Ok((arrivals, asides))
        };
        let (arrivals, asides) = self.step(work).await?;
        self.asides = asides;
        Ok(arrivals)
    }

    async fn delete_at_once(&mut self, requests: &[DeleteRequest<'_>]) -> Result<Vec<u64>> {
        let targets = requests.iter().map(|request| Ok((Target::new(request.table, request.key)?, request.keys.clone())));
        let targets: Vec<(Target, Vec<Key>)> = targets.collect::<Result<_>>()?;
        let (touched, fence) = (self.touched, self.fence.clone());
        self.step(move |connection| {
            if let Some((target, _)) = targets.first() {
                set_references(connection, target, false, touched, &fence)?;
            }
            write::delete_at_once(connection, &targets)
        })
        .await
    }

    async fn existing(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<HashSet<Key>> {
        let target = Target::new(table, key)?;
        let keys = keys.to_vec();
        self.look(move |connection| write::existing(connection, &target, keys)).await
    }

    async fn mapped(&mut self, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>> {
        let (job, entity, sources) = (job.to_owned(), entity.to_owned(), sources.to_vec());
        self.look(move |connection| state::mapped(connection, &job, &entity, &sources)).await
    }

    async fn reserve(&mut self, table: &TableSchema, column: &str, count: usize) -> Result<Vec<Value<'static>>> {
        let target = Target::new(table, &[])?;
        let own = table.column(column).and_then(|c| c.identity.as_ref());
        let Some(Identity::RowId { autoincrement }) = own else {
            let message = "the table does not give this column's values: it is no INTEGER PRIMARY KEY";
            return Err(Error::new(ErrorKind::Unsupported, message).with("column", column).with("table", &table.name));
        };
        let (autoincrement, touched, fence) = (*autoincrement, self.touched, self.fence.clone());
        let highest = self
            .step(move |connection| {
                set_references(connection, &target, false, touched, &fence)?;
                write::highest_number(connection, &target, autoincrement)
            })
            .await?;
        Ok(self.shared.draw(&table.name, highest, count)?.map(Value::Int).collect())
    }

    async fn delete(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<u64> {
        let target = Target::new(table, key)?;
        let (keys, touched, fence) = (keys.to_vec(), self.touched, self.fence.clone());
        self.step(move |connection| {
            set_references(connection, &target, false, touched, &fence)?;
            write::delete(connection, &target, &keys)
        })
        .await
    }

    async fn delete_chosen(&mut self, request: &PageRequest<'_>, choose: &mut Choose<'_>) -> Result<u64> {
        let (target, columns) = (Arc::new(Target::new(request.table, &[])?), page_columns(request)?);
        let rowid = rowid(request.table).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the table's rows have no numbers").with("table", &request.table.name)
        })?;
        let (rowid, limits): (Arc<str>, _) = (rowid.into(), (request.max_rows, request.max_bytes));
        let (mut after, mut deleted) = (None, 0);
        loop {
            let (touched, fence) = (self.touched, self.fence.clone());
            let (of, columns, name) = (target.clone(), columns.clone(), rowid.clone());
            let read = move |connection: &Connection| {
                set_references(connection, &of, false, touched, &fence)?;
                write::read_numbered(connection, &of, &name, columns, after, limits)
            };
            let (page, numbers) = self.step(read).await?;
            let Some(last) = numbers.last() else { return Ok(deleted) };
            after = Some(*last);
            let chosen: Vec<i64> = choose(&page)?.into_iter().filter_map(|place| numbers.get(place as usize).copied()).collect();
            if !chosen.is_empty() {
                let (of, name) = (target.clone(), rowid.clone());
                deleted += self.step(move |connection| write::delete_numbered(connection, &of, &name, &chosen)).await?;
            }
        }
    }

    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        let target = Target::new(request.table, request.key)?;
        let (columns, keys, to_the_letter) = (page_columns(request)?, keys.to_vec(), request.to_the_letter);
        let (touched, fence) = (self.touched, self.fence.clone());
        self.step(move |connection| {
            set_references(connection, &target, false, touched, &fence)?;
            write::read(connection, &target, columns, &keys, to_the_letter)
        })
        .await
    }

    async fn clear(&mut self, table: &TableSchema) -> Result<u64> {
        let target = Target::new(table, &[])?;
        let (touched, fence) = (self.touched, self.fence.clone());
        self.step(move |connection| {
            set_references(connection, &target, false, touched, &fence)?;
            write::clear(connection, &target)
        })
        .await
    }

    async fn put_state(&mut self, state: StateChanges) -> Result<()> {
        self.step(move |connection| state::apply(connection, &state)).await
    }

    async fn commit(mut self: Box<Self>, state: &StateChanges) -> Result<()> {
        let (state, fence, asides) = (state.clone(), self.fence.clone(), std::mem::take(&mut self.asides));
        self.step(move |connection| {
            write::clear_aside(connection, &asides)?;
            state::apply(connection, &state)?;
            state::check_fence(connection, &fence)?;
            state::commit(connection)
        })
        .await
    }

    async fn rollback(mut self: Box<Self>) -> Result<()> {
        if self.permit.is_none() {
            return Ok(());
        }
        // What the load under way would have answered does not matter any more.
        self.pending.clear();
        self.shared
            .run(|connection| {
                state::rollback(connection);
                Ok(())
            })
            .await
    }
}

impl Drop for SqliteTransaction {
    fn drop(&mut self) {
        // After a commit nothing is open, and only the place in the queue is given up.
        self.give_up();
    }
}
