//! One consistent view of a SQLite database, read on a thread of its own.

mod copy;
mod orphans;
mod query;
mod stream;
mod view;

pub(crate) use copy::{Removed, copy_to_write, temporary};
pub(crate) use query::{PARAMETER, bind_expression, expression_sql, page_columns};

use crate::codec;
use crate::config::SqliteConfig;
use crate::error::SqliteContext;
use crate::thread::spawn;
use async_trait::async_trait;
use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::filter::{Filter, Parameter};
use migrate_core::job::CursorColumn;
use migrate_core::schema::TableSchema;
use migrate_core::source::{OrphanRequest, Orphans, PageRequest, Position, Snapshot};
use migrate_core::value::{Key, KeyRange, Page, PageBuilder};
use query::{READING, Shape};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use stream::Next;
use tokio::sync::oneshot;
use view::{Cancelled, View};

/// What the thread is asked to do.
enum Command {
    /// Read a page, of the open stream or a new one.
    Page(Box<PageJob>),
    /// Run a closure over the view.
    Work(u64, Box<dyn FnOnce(&View) + Send>),
}

struct PageJob {
    number: u64,
    shape: Shape,
    range: KeyRange,
    max_rows: usize,
    max_bytes: usize,
    reply: oneshot::Sender<Result<Page>>,
}

/// One consistent view of a SQLite database.
///
/// Reads ahead by one page. Every method is cancel safe: a dropped future stops what it asked for, and the next request is
/// answered as if it had been the first. Dropping the view ends the transaction and frees its locks before it returns.
pub(crate) struct SqliteSnapshot {
    position: Position,
    commands: Option<Sender<Command>>,
    cancelled: Arc<Cancelled>,
    requests: u64,
    thread: Option<JoinHandle<()>>,
}

impl SqliteSnapshot {
    /// Opens a view on a new thread.
    pub(crate) async fn open(config: SqliteConfig) -> Result<Self> {
        let cancelled = Arc::new(Cancelled::default());
        let (commands, inbox) = channel();
        let (opened, answer) = oneshot::channel();
        let mine = cancelled.clone();
        // The thread counts as unwanted until somebody owns it.
        cancelled.begin(Cancelled::AHEAD);
        let thread = spawn(move || match guarded(|| View::open(&config, mine)) {
            Ok((view, position)) => {
                if opened.send(Ok(position)).is_ok() {
                    serve(view, &inbox);
                }
            }
            Err(error) => {
                // Nobody to tell means that the caller has gone away.
                let _ = opened.send(Err(error));
            }
        })?;
        let mut snapshot = SqliteSnapshot {
            position: Position::default(),
            commands: Some(commands),
            cancelled,
            requests: 0,
            thread: Some(thread),
        };
        snapshot.position = answer.await.map_err(|_| gone())??;
        Ok(snapshot)
    }

    /// Sends a command and awaits its answer. If the future is dropped, what was asked for is stopped.
    async fn ask<T>(&mut self, command: impl FnOnce(u64, oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        struct StopOnDrop<'c>(&'c Cancelled, Option<u64>);
        impl Drop for StopOnDrop<'_> {
            fn drop(&mut self) {
                if let Some(number) = self.1 {
                    self.0.stop(number);
                }
            }
        }
        self.requests += 1;
        let (reply, answer) = oneshot::channel();
        self.commands.as_ref().ok_or_else(gone)?.send(command(self.requests, reply)).map_err(|_| gone())?;
        let mut guard = StopOnDrop(&self.cancelled, Some(self.requests));
        let result = answer.await;
        guard.1 = None;
        result.map_err(|_| gone())?
    }

    async fn work<T: Send + 'static>(&mut self, work: impl FnOnce(&View) -> Result<T> + Send + 'static) -> Result<T> {
        self.ask(|number, reply| {
            Command::Work(
                number,
                Box::new(move |view| {
                    let result = guarded(|| view.checked(work(view)));
                    // Nobody to tell means that the caller has gone away.
                    let _ = reply.send(result);
                }),
            )
        })
        .await
    }
}

impl Drop for SqliteSnapshot {
    fn drop(&mut self) {
        self.cancelled.stop_all();
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // Its panics were caught and told.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for SqliteSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSnapshot").field("position", &self.position).finish_non_exhaustive()
    }
}

#[async_trait]
impl Snapshot for SqliteSnapshot {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn fork(&self) -> Result<Box<dyn Snapshot>> {
        Err(Error::new(ErrorKind::Unsupported, "a SQLite snapshot has one reader"))
    }

    async fn read_page(&mut self, request: &PageRequest<'_>) -> Result<Page> {
        let shape = Shape::new(request)?;
        let range = request.range.clone();
        let (max_rows, max_bytes) = (request.max_rows.max(1), request.max_bytes.max(1));
        let page =
            self.ask(|number, reply| Command::Page(Box::new(PageJob { number, shape, range, max_rows, max_bytes, reply }))).await;
        page.map_err(|error| error.with("table", &request.table.name))
    }

    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        let shape = Shape::new(request)?;
        let keys = keys.to_vec();
        let page = self.work(move |view| read_rows(view, &shape, &keys)).await;
        page.map_err(|error| error.with("table", &request.table.name))
    }

    async fn cursor(&mut self, request: &PageRequest<'_>, cursor: &CursorColumn) -> Result<Option<Parameter>> {
        let (shape, cursor) = (Shape::new(request)?, cursor.clone());
        let reached = self.work(move |view| query::reached(view.connection(), &shape, &cursor)).await;
        reached.map_err(|error| error.with("table", &request.table.name))
    }

    async fn count_rows(&mut self, table: &TableSchema, filter: Option<&Filter>) -> Result<u64> {
        let (name, filter) = (table.name.name.clone(), filter.cloned());
        let count = self.work(move |view| query::count(view.connection(), &name, filter.as_ref())).await;
        count.map_err(|error| error.with("table", &table.name))
    }

    async fn duplicate_keys(&mut self, request: &PageRequest<'_>, limit: usize) -> Result<Vec<String>> {
        let shape = Shape::new(request)?;
        let found = self.work(move |view| query::duplicates(view.connection(), &shape, limit)).await;
        found.map_err(|error| error.with("table", &request.table.name))
    }

    async fn find_orphans(&mut self, request: &OrphanRequest<'_>) -> Result<Option<Orphans>> {
        let comparison = orphans::Comparison::new(request)?;
        let found = self.work(move |view| comparison.run(view.connection())).await;
        found.map(Some).map_err(|error| error.with("table", &request.child.name))
    }
}

fn read_rows(view: &View, shape: &Shape, keys: &[Key]) -> Result<Page> {
    if shape.key.is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, "rows of a table without a key cannot be looked up"));
    }
    let mut page = PageBuilder::new(shape.columns.clone(), codec::ENCODING);
    let mut statement = query::prepare_lookup(view.connection(), shape)?;
    for key in keys {
        query::bind_key(&mut statement, shape, key)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().during(READING)? {
            page.begin_row();
            for i in 0..shape.columns.len() {
                codec::push(&mut page, row.get_ref(i).during(READING)?)?;
            }
            page.end_row();
        }
    }
    Ok(page.finish(None))
}

/// Carries out commands until nobody can send one.
fn serve(mut view: View, inbox: &Receiver<Command>) {
    let mut next = Next::Idle;
    loop {
        let command = match next {
            Next::Closed => return,
            Next::Command(command) => command,
            Next::Idle => match wait(&mut view, inbox) {
                Some(command) => command,
                None => return,
            },
        };
        next = match command {
            Command::Page(job) => stream::serve(&mut view, *job, inbox),
            Command::Work(number, work) => {
                view.cancelled().begin(number);
                work(&view);
                Next::Idle
            }
        };
    }
}

/// Waits for a command, and sees to it that writers do not wait for ever.
fn wait(view: &mut View, inbox: &Receiver<Command>) -> Option<Command> {
    loop {
        let received = match view.patience() {
            Some(patience) => inbox.recv_timeout(patience),
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(command) => return Some(command),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {
                view.cancelled().begin(Cancelled::AHEAD);
                if let Some(copied) = view.relief()
                    && let Err(error) = view.replace(copied)
                {
                    tracing::warn!(%error, "a view cannot be stopped before its end");
                }
            }
        }
    }
}

fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a panic on a SQLite connection's thread")))
}

fn gone() -> Error {
    Error::new(ErrorKind::ConnectionLost, "the thread of a SQLite connection has ended")
}
