//! A temporary copy of a database, as one read transaction sees it.

use crate::config::sibling;
use crate::error::SqliteContext;
use migrate_core::error::{Error, ErrorKind, Result};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Pages copied between two looks at whether to stop.
const STEP: i32 = 2048;

const COPYING: &str = "making a temporary copy";

/// A file that is removed when this is dropped; where the system allows it, its name goes as soon as it is open, so that even a
/// killed process leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Removed(PathBuf);

impl Removed {
    /// Returns where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = std::fs::remove_file(&self.0);
        for suffix in ["-wal", "-shm", "-journal"] {
            // Beside a copy that was written to; most often there is none.
            let _ = std::fs::remove_file(sibling(&self.0, suffix));
        }
    }
}

/// A connection to a copy. The connection is declared first so that it is closed before the file is removed.
#[derive(Debug)]
pub(super) struct TemporaryCopy {
    pub(super) connection: Connection,
    _file: Removed,
}

/// Copies what the connection's transaction sees into a file in the folder for temporary files.
///
/// # Errors
/// [`ErrorKind::NoSpace`] if it does not fit; [`ErrorKind::Cancelled`] if `stop` says so.
pub(super) fn copy(from: &Connection, stop: impl Fn() -> bool) -> Result<TemporaryCopy> {
    let file = create(&std::env::temp_dir())?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&file.0, flags).during(COPYING)?;
    // Nobody else will ever read this file, and nobody needs it after a crash.
    connection
        .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE")
        .during(COPYING)?;
    fill(&mut connection, from, &stop)?;
    if cfg!(unix) {
        // The open descriptor keeps the content.
        let _ = std::fs::remove_file(&file.0);
    }
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF").during(COPYING)?;
    Ok(TemporaryCopy { connection, _file: file })
}

/// Copies what the connection's transaction sees into a file that can be written to.
///
/// # Errors
/// As [`copy`].
pub(crate) fn copy_to_write(from: &Connection, file: &Removed, stop: impl Fn() -> bool) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(file.path(), flags).during(COPYING)?;
    connection.execute_batch("PRAGMA synchronous = OFF").during(COPYING)?;
    fill(&mut connection, from, &stop)
}

fn fill(connection: &mut Connection, from: &Connection, stop: &dyn Fn() -> bool) -> Result<()> {
    let backup = Backup::new(from, connection).during(COPYING)?;
    loop {
        if stop() {
            return Err(Error::new(ErrorKind::Cancelled, "the temporary copy was stopped"));
        }
        match backup.step(STEP).during(COPYING)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            // The transaction that is copied holds its lock already.
            _ => {
                return Err(Error::new(
                    ErrorKind::Busy,
                    "the SQLite database is locked by another connection while making a temporary copy",
                ));
            }
        }
    }
}

/// Creates an empty file in the folder for temporary files.
pub(crate) fn temporary() -> Result<Removed> {
    create(&std::env::temp_dir())
}

fn create(folder: &Path) -> Result<Removed> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let name = format!("migrate-snapshot-{}-{nanos:x}-{}.sqlite", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let path = folder.join(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(&path).map_err(|error| {
        Error::new(ErrorKind::Io, "the temporary copy cannot be created").with("folder", folder.display()).caused_by(error)
    })?;
    Ok(Removed(path))
}
