//! Where a SQLite database is and how it is opened.

use crate::error::SqliteContext;
use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::hint::nearest;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The oldest SQLite library that this crate works with (`PRAGMA table_list`); databases of older versions are read all the same.
const OLDEST_LIBRARY: i32 = 3_037_000;

/// The options that a url may carry.
const OPTIONS: [&str; 5] = ["mode", "snapshot", "hold_limit", "busy_timeout", "immutable"];

/// A SQLite database file and how it is opened.
///
/// A url is `sqlite:PATH` or `sqlite://PATH`, followed by options after a `?`; `%xx` stands for a byte of the path.
///
/// | option | values | default |
/// |---|---|---|
/// | `mode` | `ro` (never written), `rw` (must exist), `rwc` (created if missing) | `ro` for a source, `rwc` for a sink |
/// | `snapshot` | `auto`, `hold`, `copy`; see [`SnapshotPolicy`] | `auto` |
/// | `hold_limit` | seconds that `auto` holds a lock before it copies | 5 |
/// | `busy_timeout` | seconds to wait for another connection's lock | 5 |
/// | `immutable` | `1`: nobody changes the file while it is read, so no lock is taken | 0 |
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SqliteConfig {
    /// The file.
    pub path: PathBuf,
    /// What may be done with it; `None` leaves it to the role (source or sink).
    pub access: Option<Access>,
    /// How a source keeps its view of the file.
    pub snapshot: SnapshotPolicy,
    /// How long [`SnapshotPolicy::Auto`] locks writers out before it copies.
    pub hold_limit: Duration,
    /// How long to wait for a lock that another connection holds.
    pub busy_timeout: Duration,
    /// Whether the file is known not to change, so that it is read without locks.
    pub immutable: bool,
}

/// What may be done with a database file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only; the file must exist.
    Read,
    /// Read and write; the file must exist.
    Write,
    /// Read and write; a missing file is created.
    Create,
}

/// How a source keeps one consistent view of a database that is not in WAL mode.
///
/// There an open read transaction locks every writer out. (In WAL mode it disturbs nobody and all three do the same.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SnapshotPolicy {
    /// Holds the read transaction, and as soon as a writer is waiting, or the hold limit has passed, copies the database into a
    /// temporary file, lets the lock go and reads on from the copy. Where there is no room for a copy the lock stays.
    #[default]
    Auto,
    /// Holds the read transaction to the end.
    Hold,
    /// Copies at once.
    Copy,
}

impl SqliteConfig {
    /// Names a file, with default options.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        SqliteConfig {
            path: path.into(),
            access: None,
            snapshot: SnapshotPolicy::Auto,
            hold_limit: Duration::from_secs(5),
            busy_timeout: Duration::from_secs(5),
            immutable: false,
        }
    }

    /// Parses a url. A relative path stays relative; see [`SqliteConfig::relative_to`].
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the scheme is another, the path is missing, or an option or its value is unknown.
    pub fn from_url(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("sqlite:").ok_or_else(|| config("a SQLite url starts with sqlite:"))?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.is_empty() {
            return Err(config("the SQLite url names no file; expected sqlite:PATH"));
        }
        if path == ":memory:" {
            return Err(config("a SQLite database in memory cannot be shared between connections; expected sqlite:PATH"));
        }
        let mut parsed = SqliteConfig::new(decode_path(path)?);
        for option in query.split('&').filter(|o| !o.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            parsed.set(name, value)?;
        }
        Ok(parsed)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |expected: &str| config(format!("the option {name} of a SQLite url must be {expected}"));
        match name {
            "mode" => {
                self.access = Some(match value {
                    "ro" => Access::Read,
                    "rw" => Access::Write,
                    "rwc" => Access::Create,
                    _ => return Err(wrong("ro, rw or rwc")),
                });
            }
            "snapshot" => {
                self.snapshot = match value {
                    "auto" => SnapshotPolicy::Auto,
                    "hold" => SnapshotPolicy::Hold,
                    "copy" => SnapshotPolicy::Copy,
                    _ => return Err(wrong("auto, hold or copy")),
                };
            }
            "hold_limit" => self.hold_limit = seconds(value).ok_or_else(|| wrong("a number of seconds"))?,
            "busy_timeout" => self.busy_timeout = seconds(value).ok_or_else(|| wrong("a number of seconds"))?,
            "immutable" => {
                self.immutable = match value {
                    "1" | "true" => true,
                    "0" | "false" => false,
                    _ => return Err(wrong("0 or 1")),
                };
            }
            other => {
                let hint = nearest(other, OPTIONS);
                return Err(config(format!("unknown option {other} in a SQLite url{hint} (there are {})", OPTIONS.join(", "))));
            }
        }
        Ok(())
    }

    /// Takes a relative path as relative to a folder, such as that of the job file.
    #[must_use]
    pub fn relative_to(mut self, folder: &Path) -> Self {
        if self.path.is_relative() {
            self.path = folder.join(&self.path);
        }
        self
    }

    /// Sets what may be done with the file.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// Sets how a source keeps its view.
    #[must_use]
    pub fn with_snapshot(mut self, policy: SnapshotPolicy) -> Self {
        self.snapshot = policy;
        self
    }

    /// Sets how long a view may lock writers out before it is copied.
    #[must_use]
    pub fn with_hold_limit(mut self, limit: Duration) -> Self {
        self.hold_limit = limit;
        self
    }

    /// Sets how long to wait for a lock.
    #[must_use]
    pub fn with_busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Says that nobody changes the file while it is read.
    #[must_use]
    pub fn with_immutable(mut self, immutable: bool) -> Self {
        self.immutable = immutable;
        self
    }

    /// Opens a connection on the calling thread, `default` being the access of the role where the url says nothing.
    ///
    /// With [`Access::Read`] the connection refuses every write. A file of another kind, or an encrypted one, is told apart here.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] if the file is missing, no SQLite database, or cannot be opened; [`ErrorKind::Permission`] if rights
    /// are missing; [`ErrorKind::Busy`] if it stays locked; [`ErrorKind::Corrupt`] if its schema cannot be read.
    pub(crate) fn open(&self, default: Access) -> Result<Connection> {
        let access = self.access.unwrap_or(default);
        self.check_file(access)?;
        self.connect(access, access == Access::Read, self.immutable)
    }

    /// Opens a connection that only reads. Returns whether the file is read without locks, so that the caller has to watch it.
    ///
    /// Two kinds of files cannot be read by a connection without the right to write: one with a transaction that was cut off, and
    /// one in WAL mode whose log is not there. The first is recovered, as any reader would, unless the url says `mode=ro`. The
    /// second, where nothing may be written beside it, is read without locks: nobody can have it open, or the log were there.
    ///
    /// # Errors
    /// As [`SqliteConfig::open`].
    pub(crate) fn open_reader(&self) -> Result<(Connection, bool)> {
        self.check_file(Access::Read)?;
        let first = match self.connect(Access::Read, true, self.immutable) {
            Ok(connection) => return Ok((connection, self.immutable)),
            Err(error) => error,
        };
        if !matches!(first.kind(), ErrorKind::Permission | ErrorKind::Connection) || self.immutable {
            return Err(first);
        }
        if self.access != Some(Access::Read)
            && let Ok(connection) = self.connect(Access::Write, true, false)
        {
            return Ok((connection, false));
        }
        let beside = |suffix: &str| sibling(&self.path, suffix).metadata().is_ok_and(|found| found.len() > 0);
        if !beside("-wal")
            && !beside("-journal")
            && let Ok(connection) = self.connect(Access::Read, true, true)
        {
            return Ok((connection, true));
        }
        if first.kind() == ErrorKind::Connection && beside("-wal") {
            let message = "the write-ahead log beside the SQLite database holds changes, and reading them needs the right to write there; \
                           copy both files to a folder where that is allowed";
            return Err(Error::new(ErrorKind::Permission, message).with("file", self.path.display()).caused_by(first));
        }
        Err(first)
    }

    fn connect(&self, access: Access, read_only: bool, immutable: bool) -> Result<Connection> {
        let found = rusqlite::version_number();
        if found < OLDEST_LIBRARY {
            let message = format!("this program is linked with SQLite {}; 3.37 or later is needed", rusqlite::version());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let result = self.open_as(access, immutable).and_then(|connection| self.prepare(connection, read_only));
        result.map_err(|error| error.with("file", self.path.display()))
    }

    /// Says in plain words what SQLite would call "unable to open database file".
    fn check_file(&self, access: Access) -> Result<()> {
        let refuse = |kind, message: &str| Err(Error::new(kind, message).with("file", self.path.display()));
        match std::fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => refuse(ErrorKind::Connection, "expected a SQLite database file, found a folder"),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                if access != Access::Create {
                    refuse(ErrorKind::Connection, "there is no such SQLite database file")
                } else if !folder.is_dir() {
                    refuse(ErrorKind::Connection, "the folder of the SQLite database file does not exist")
                } else {
                    Ok(())
                }
            }
            Err(error) => {
                let kind =
                    if error.kind() == std::io::ErrorKind::PermissionDenied { ErrorKind::Permission } else { ErrorKind::Io };
                Err(Error::new(kind, "the SQLite database file cannot be looked at")
                    .with("file", self.path.display())
                    .caused_by(error))
            }
        }
    }

    fn open_as(&self, access: Access, immutable: bool) -> Result<Connection> {
        let mut flags = match access {
            Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        };
        // One thread at a time uses a connection, so SQLite's own mutexes are left out.
        flags |= OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if immutable {
            flags |= OpenFlags::SQLITE_OPEN_URI;
            return Connection::open_with_flags(immutable_uri(&self.path)?, flags).during("opening the database");
        }
        Connection::open_with_flags(&self.path, flags).during("opening the database")
    }

    fn prepare(&self, connection: Connection, read_only: bool) -> Result<Connection> {
        connection.busy_timeout(self.busy_timeout).during("opening the database")?;
        if read_only {
            connection.pragma_update(None, "query_only", true).during("opening the database")?;
            // The file may come from anybody: its views must not reach functions with side effects.
            connection.pragma_update(None, "trusted_schema", false).during("opening the database")?;
        }
        // The first real look at the file: a foreign or damaged one is found out here.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).during("reading the schema")?;
        Ok(connection)
    }
}

/// The path of a file beside the database, such as its log.
pub(crate) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The `file:` uri of a path that is read without locks.
fn immutable_uri(path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| config("the path of an immutable SQLite database must be UTF-8"))?;
    let mut uri = String::from("file:");
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    Ok(uri)
}

/// Decodes `%xx`; a percent sign before anything else stands for itself.
fn decode_path(text: &str) -> Result<PathBuf> {
    let bytes = text.as_bytes();
    let (mut path, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let hex = bytes
            .get(i + 1..i + 3)
            .and_then(|h| std::str::from_utf8(h).ok())
            .filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        match (bytes[i], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(0)) => return Err(config("the path in a SQLite url holds a zero byte")),
            (b'%', Some(byte)) => {
                path.push(byte);
                i += 3;
            }
            (byte, _) => {
                path.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8(path).map(PathBuf::from).map_err(|_| config("the path in a SQLite url is not UTF-8"))
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()).filter(|d| d.as_secs() <= 1_000_000)
}

fn config(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_with_options() {
        let parsed = SqliteConfig::from_url("sqlite:a%20b/100%.db?mode=ro&snapshot=copy&busy_timeout=0.5").expect("a good url");
        let expected = SqliteConfig::new("a b/100%.db").with_access(Access::Read).with_snapshot(SnapshotPolicy::Copy);
        assert_eq!(parsed, expected.with_busy_timeout(Duration::from_millis(500)));
        assert_eq!(SqliteConfig::from_url("sqlite:///x/y.db").expect("a good url").path, Path::new("/x/y.db"));
        assert_eq!(
            SqliteConfig::from_url("sqlite://y.db").expect("a good url").relative_to(Path::new("/j")).path,
            Path::new("/j/y.db")
        );
        assert_eq!(SqliteConfig::new("/abs.db").relative_to(Path::new("/j")).path, Path::new("/abs.db"));
    }

    #[test]
    fn a_url_that_makes_no_sense_is_refused_with_a_hint() {
        for url in [
            "postgres://x",
            "sqlite:",
            "sqlite://",
            "sqlite::memory:",
            "sqlite:a?mode=x",
            "sqlite:a?busy_timeout=-1",
            "sqlite:a%00",
        ] {
            assert_eq!(SqliteConfig::from_url(url).expect_err(url).kind(), ErrorKind::Config, "{url}");
        }
        let error = SqliteConfig::from_url("sqlite:a?snapshut=copy").expect_err("a misspelt option");
        assert!(error.to_string().contains("did you mean \"snapshot\"?"), "{error}");
    }
}
