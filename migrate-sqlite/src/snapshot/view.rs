//! The view itself: the read transaction on its thread, and how long it may lock writers out.

use super::copy::{TemporaryCopy, copy};
use crate::config::{SnapshotPolicy, SqliteConfig, sibling};
use crate::error::SqliteContext;
use crate::native;
use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::source::Position;
use rusqlite::Connection;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

const OPENING: &str = "opening a snapshot";

/// How often a held view looks for waiting writers while nothing else happens.
const LOOK: Duration = Duration::from_millis(50);

/// Which requests are no longer wanted. Requests are numbered from 1.
#[derive(Debug, Default)]
pub(super) struct Cancelled {
    /// The request that runs.
    running: AtomicU64,
    /// The last request that is not wanted any more, and with it all before.
    up_to: AtomicU64,
}

impl Cancelled {
    /// Reading ahead, which ends with the view only.
    pub(super) const AHEAD: u64 = u64::MAX - 1;

    /// Says which request runs now.
    pub(super) fn begin(&self, number: u64) {
        self.running.store(number, Ordering::SeqCst);
    }

    /// Stops a request and all before it.
    pub(super) fn stop(&self, number: u64) {
        self.up_to.fetch_max(number, Ordering::SeqCst);
    }

    /// Stops everything.
    pub(super) fn stop_all(&self) {
        self.stop(u64::MAX);
    }

    fn running_is_stopped(&self) -> bool {
        self.running.load(Ordering::SeqCst) <= self.up_to.load(Ordering::SeqCst)
    }

    pub(super) fn all_stopped(&self) -> bool {
        self.up_to.load(Ordering::SeqCst) == u64::MAX
    }
}

/// An open read transaction, or a copy of what it saw.
pub(super) struct View {
    source: Reading,
    cancelled: Arc<Cancelled>,
    /// Since when writers are locked out, where that is to end.
    held: Cell<Option<Instant>>,
    hold_limit: Duration,
    /// What a file that is read without locks looked like.
    watched: Option<(PathBuf, Stamp)>,
}

enum Reading {
    Original(Connection),
    Copy(TemporaryCopy),
}

impl View {
    /// Opens the file and begins the transaction.
    pub(super) fn open(config: &SqliteConfig, cancelled: Arc<Cancelled>) -> Result<(View, Position)> {
        let before = Stamp::of(&config.path);
        let (connection, unlocked) = config.open_reader()?;
        let journal: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).during(OPENING)?;
        connection.execute_batch("BEGIN").during(OPENING)?;
        // The transaction sees the state at its first read.
        let cookie: i64 = connection.query_row("PRAGMA schema_version", [], |row| row.get(0)).during(OPENING)?;
        connection.query_row("SELECT count(*) FROM main.sqlite_schema", [], |_| Ok(())).during(OPENING)?;
        let position = position(config, &connection, &journal, cookie);
        let watched = unlocked.then(|| (config.path.clone(), before));
        let locks = !unlocked && !journal.eq_ignore_ascii_case("wal");
        let held = (locks && config.snapshot == SnapshotPolicy::Auto).then(Instant::now);
        let mut view = View {
            source: Reading::Original(connection),
            cancelled,
            held: Cell::new(held),
            hold_limit: config.hold_limit,
            watched,
        };
        view.listen()?;
        if locks && config.snapshot == SnapshotPolicy::Copy {
            let copied = view.copy()?;
            view.replace(copied)?;
        }
        Ok((view, position))
    }

    /// Returns the connection to read from.
    pub(super) fn connection(&self) -> &Connection {
        match &self.source {
            Reading::Original(connection) => connection,
            Reading::Copy(copied) => &copied.connection,
        }
    }

    /// Returns the requests that are not wanted any more.
    pub(super) fn cancelled(&self) -> &Cancelled {
        &self.cancelled
    }

    /// Returns how long to wait before looking for writers again; `None` where nobody is locked out.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.held.get().map(|_| LOOK)
    }

    /// Copies the view if it locks a writer out, or has done so for long enough. The caller ends its statements and then calls
    /// [`View::replace`].
    pub(super) fn relief(&self) -> Option<TemporaryCopy> {
        let since = self.held.get()?;
        if since.elapsed() < self.hold_limit && !native::writer_waits(self.connection()) {
            return None;
        }
        match self.copy() {
            Ok(copied) => Some(copied),
            Err(error) => {
                // A view that locks writers out is worse than one that does not, and better than none.
                tracing::warn!(%error, "the source stays locked for writers: it cannot be copied");
                self.held.set(None);
                None
            }
        }
    }

    fn copy(&self) -> Result<TemporaryCopy> {
        copy(self.connection(), || self.cancelled.all_stopped())
    }

    /// Reads on from a copy and lets the lock go.
    pub(super) fn replace(&mut self, copied: TemporaryCopy) -> Result<()> {
        tracing::debug!("reading on from a temporary copy");
        self.source = Reading::Copy(copied);
        self.held.set(None);
        self.listen()
    }

    /// Lets statements be stopped from other threads: unlike an interrupt, this cannot come too early.
    fn listen(&self) -> Result<()> {
        let cancelled = self.cancelled.clone();
        let stopped = move || cancelled.running_is_stopped();
        self.connection().progress_handler(20_000, Some(stopped)).during(OPENING)
    }

    /// Passes a result on unless a file that is read without locks has changed: then it means nothing.
    ///
    /// # Errors
    /// [`ErrorKind::ConnectionLost`] if the file has changed.
    pub(super) fn checked<T>(&self, result: Result<T>) -> Result<T> {
        match &self.watched {
            Some((path, before)) if Stamp::of(path) != *before => {
                let message = "the SQLite database changed while it was read without locks";
                Err(Error::new(ErrorKind::ConnectionLost, message).with("file", path.display()))
            }
            _ => result,
        }
    }
}

/// What a file looks like from outside.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    file: Option<(u64, u128)>,
    wal: Option<(u64, u128)>,
}

impl Stamp {
    fn of(path: &Path) -> Stamp {
        Stamp { file: stat(path), wal: stat(&sibling(path, "-wal")) }
    }
}

fn stat(path: &Path) -> Option<(u64, u128)> {
    let found = path.metadata().ok()?;
    let modified = found.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos());
    Some((found.len(), modified))
}

/// Describes the state that the transaction sees, as far as the file tells.
fn position(config: &SqliteConfig, connection: &Connection, journal: &str, cookie: i64) -> Position {
    let counter = native::header(connection).map(|h| u32::from_be_bytes([h[24], h[25], h[26], h[27]]));
    let stamp = Stamp::of(&config.path);
    let part = |stat: Option<(u64, u128)>| stat.map(|(size, modified)| serde_json::json!([size, modified.to_string()]));
    let described = serde_json::json!({
        "sqlite": 1,
        "journal": journal,
        "change_counter": counter,
        "schema_cookie": cookie,
        "file": part(stamp.file),
        "wal": part(stamp.wal),
    });
    Position(described.to_string())
}
