//! A connection on a thread of its own.
//!
//! rusqlite's connection blocks and cannot be shared, so async code sends closures to the thread that owns it and awaits the
//! answers. Closures run one at a time in the order sent.

use crate::native;
use migrate_core::error::{Error, ErrorKind, Result};
use rusqlite::{Connection, InterruptHandle};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

/// A connection and the thread that owns it.
///
/// Dropping it stops the statement that runs, if any, and waits until the connection is closed, which rolls back what is open and
/// frees every lock.
pub(crate) struct Worker {
    work: Option<mpsc::Sender<Work>>,
    interrupt: Arc<InterruptHandle>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread and opens the connection on it.
    pub(crate) async fn start(open: impl FnOnce() -> Result<Connection> + Send + 'static) -> Result<Worker> {
        let (work, inbox) = mpsc::channel::<Work>();
        let (opened, answer) = oneshot::channel();
        let thread = spawn(move || {
            let mut connection = match guarded(open) {
                Ok(connection) => connection,
                Err(error) => {
                    // Nobody to tell means that the caller has gone away.
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            if opened.send(Ok(connection.get_interrupt_handle())).is_err() {
                return;
            }
            while let Ok(work) = inbox.recv() {
                work(&mut connection);
            }
        })?;
        match answer.await {
            Ok(Ok(interrupt)) => Ok(Worker { work: Some(work), interrupt: Arc::new(interrupt), thread: Some(thread) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(gone()),
        }
    }

    /// Runs a closure on the thread and returns its answer.
    ///
    /// Cancel safe in this sense: a dropped future neither stops nor breaks the thread; a closure that has not begun is left out,
    /// one that has begun runs to its end and its answer is thrown away. A panic inside becomes an
    /// error, and what transaction it left open is rolled back.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.submit(work)?.await
    }

    /// Sends a closure to the thread and returns where its answer will be. It is left out if nobody waits when its turn comes.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<Answer<T>> {
        let (reply, answer) = oneshot::channel();
        let job: Work = Box::new(move |connection| {
            if reply.is_closed() {
                return;
            }
            let result = perform(connection, work);
            // Nobody to tell means that the caller has gone away.
            let _ = reply.send(result);
        });
        self.work.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        Ok(Answer(answer))
    }

    /// Sends a closure to the thread without waiting for it; it runs whatever becomes of the caller.
    pub(crate) fn post(&self, work: impl FnOnce(&mut Connection) + Send + 'static) {
        let job: Work = Box::new(move |connection| {
            // A panic must not end the thread; there is nobody to report it to.
            let _ = guarded(|| {
                work(connection);
                Ok(())
            });
        });
        if let Some(inbox) = &self.work {
            // A thread that has ended has closed its connection.
            let _ = inbox.send(job);
        }
    }
}

/// The answer of a closure that was sent to a thread. Dropping it leaves a closure out that has not begun.
#[derive(Debug)]
pub(crate) struct Answer<T>(oneshot::Receiver<Result<T>>);

impl<T> Future for Answer<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.map_err(|_| gone())?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != std::thread::current().id()) {
            // An interrupt that comes just before a statement begins is lost, hence more than one.
            while !thread.is_finished() {
                self.interrupt.interrupt();
                std::thread::sleep(Duration::from_micros(200));
            }
            // A panic of the thread was reported to whoever waited for it.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

/// Starts a named thread.
pub(crate) fn spawn(body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("migrate-sqlite".to_owned())
        .spawn(body)
        .map_err(|error| Error::new(ErrorKind::Io, "a thread for a SQLite connection cannot be started").caused_by(error))
}

/// Runs a closure over the connection: a panic becomes an error, and a failed write for want of room is named so.
pub(crate) fn perform<T>(connection: &mut Connection, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
    match guarded(|| Ok(work(connection))) {
        Ok(result) => result.map_err(|error| name_full_disk(connection, error)),
        Err(panic) => {
            if !connection.is_autocommit() {
                // Should this fail too, the next statement reports why.
                let _ = connection.execute_batch("ROLLBACK");
            }
            Err(panic)
        }
    }
}

/// SQLite knows one way of a full disk; quotas and limits on a file's size look like any failed write to it.
fn name_full_disk(connection: &Connection, error: Error) -> Error {
    const EFBIG: i32 = 27;
    const ENOSPC: i32 = 28;
    const EDQUOT: [i32; 2] = [122, 69];
    let errno = native::system_errno(connection);
    if error.kind() == ErrorKind::Io && (errno == EFBIG || errno == ENOSPC || EDQUOT.contains(&errno)) {
        return error.into_kind(ErrorKind::NoSpace).with("cause", std::io::Error::from_raw_os_error(errno));
    }
    error
}

fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a panic on a SQLite connection's thread")))
}

fn gone() -> Error {
    Error::new(ErrorKind::ConnectionLost, "the thread of a SQLite connection has ended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SqliteContext;

    async fn memory() -> Worker {
        Worker::start(|| Connection::open_in_memory().during("opening")).await.expect("a connection in memory")
    }

    fn one(connection: &mut Connection) -> Result<i64> {
        connection.query_row("SELECT 1", [], |row| row.get(0)).during("selecting")
    }

    #[tokio::test]
    async fn a_panic_becomes_an_error_and_its_transaction_is_rolled_back() {
        let worker = memory().await;
        let panics = worker.run(|connection| -> Result<()> {
            connection.execute_batch("BEGIN; CREATE TABLE t(a)").during("creating")?;
            panic!("on purpose");
        });
        assert_eq!(panics.await.expect_err("it panics").kind(), ErrorKind::Internal);
        let tables =
            worker.run(|c| c.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get::<_, i64>(0)).during("counting"));
        assert_eq!(tables.await.expect("the thread lives"), 0);
    }

    #[tokio::test]
    async fn a_dropped_future_leaves_the_thread_in_order() {
        let worker = memory().await;
        let (hold, held) = mpsc::channel::<()>();
        let first = worker.run(move |_| {
            // Ends when the other side is dropped.
            let _ = held.recv();
            Ok(())
        });
        let ran = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = ran.clone();
        let second = worker.run(move |_| {
            flag.store(true, std::sync::atomic::Ordering::SeqCst);
            Ok(())
        });
        {
            let both = futures_poll_once(first, second);
            both.await;
        }
        drop(hold);
        assert_eq!(worker.run(one).await.expect("the thread lives"), 1);
        assert!(!ran.load(std::sync::atomic::Ordering::SeqCst), "work whose future was dropped before it began is left out");
    }

    /// Polls both futures once, so that their work is sent, and drops them.
    async fn futures_poll_once<A: Future, B: Future>(a: A, b: B) {
        let (mut a, mut b) = (Box::pin(a), Box::pin(b));
        std::future::poll_fn(|context| {
            let _ = a.as_mut().poll(context);
            let _ = b.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn dropping_a_worker_stops_its_statement() {
        let worker = memory().await;
        let (started, running) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        let mut endless = Box::pin(worker.run(move |connection| {
            let _ = started.send(());
            let sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
            let result = connection.query_row(sql, [], |row| row.get::<_, i64>(0)).during("counting for ever");
            let _ = ended.send(result.map_err(|error| error.kind()));
            Ok(())
        }));
        tokio::select! {
            _ = &mut endless => panic!("it cannot end"),
            _ = running => {}
        }
        drop(endless);
        drop(worker);
        assert_eq!(end.await.expect("the thread has ended"), Err(ErrorKind::Cancelled));
    }
}
