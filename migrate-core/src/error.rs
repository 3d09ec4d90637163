//! One error type for every seam: a kind that decides what happens next, a message, and the objects concerned.

use std::fmt;

/// The result of every fallible operation of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the terms that decide what the caller does next.
///
/// Adapters map their native codes (SQLSTATE, SQLite extended codes) to a kind in one place each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The job file, an argument or a builder setting is wrong; nothing was touched.
    Config,
    /// The server or file cannot be reached or opened.
    Connection,
    /// The server refused the credentials.
    Authentication,
    /// The connection broke while in use; what it was doing has certainly not committed.
    ConnectionLost,
    /// The connection broke while a commit was under way; the target knows whether it happened.
    CommitUnknown,
    /// The role lacks a right, or row-level security would hide rows.
    Permission,
    /// A table, column, type or constraint is not what the operation needs.
    Schema,
    /// A named object does not exist.
    NotFound,
    /// The adapter or engine version cannot do this.
    Unsupported,
    /// The target refused one row for its content; see [`Error::row`].
    RowRejected,
    /// A constraint was violated by the batch as a whole; the offending row is not known.
    Constraint,
    /// The transaction lost against a concurrent one (serialization failure or deadlock).
    Conflict,
    /// The database is locked by another writer.
    Busy,
    /// Another process holds the fence: this one must not write any more.
    Fenced,
    /// The target has no room left, or a quota was reached.
    NoSpace,
    /// More rows were refused than the job allows.
    TooManyRefused,
    /// The rules forbid it: a stale plan, a missing approval, a guard.
    Refused,
    /// Counts or checksums that must agree do not.
    Mismatch,
    /// Stored state cannot be read: damaged, or written by a newer version.
    Corrupt,
    /// The caller asked to stop.
    Cancelled,
    /// Reading or writing a local file failed.
    Io,
    /// A bug in this library or an adapter.
    Internal,
}

/// What a caller may try after an error of a given kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Trying again gives the same error.
    Never,
    /// The same transaction may pass when run again.
    Transaction,
    /// A new connection is needed first.
    Reconnect,
    /// The target must be asked whether the commit happened; see [`crate::TargetState::settle`].
    Settle,
}

impl ErrorKind {
    /// Returns what may be tried after an error of this kind.
    pub fn retry(self) -> Retry {
        match self {
            ErrorKind::Conflict | ErrorKind::Busy => Retry::Transaction,
            ErrorKind::Connection | ErrorKind::ConnectionLost => Retry::Reconnect,
            ErrorKind::CommitUnknown => Retry::Settle,
            ErrorKind::Config
            | ErrorKind::Authentication
            | ErrorKind::Permission
            | ErrorKind::Schema
            | ErrorKind::NotFound
            | ErrorKind::Unsupported
            | ErrorKind::RowRejected
            | ErrorKind::Constraint
            | ErrorKind::Fenced
            | ErrorKind::NoSpace
            | ErrorKind::TooManyRefused
            | ErrorKind::Refused
            | ErrorKind::Mismatch
            | ErrorKind::Corrupt
            | ErrorKind::Cancelled
            | ErrorKind::Io
            | ErrorKind::Internal => Retry::Never,
        }
    }
}

/// An error with its kind, the objects it concerns, and what caused it.
///
/// `Display` prints the message and the context, never the cause (walk [`std::error::Error::source`] for it), and never a
/// cell's value or a secret: whoever builds an error leaves those out.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    row: Option<u64>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Creates an error of a kind with a message that says what was expected.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), context: Vec::new(), row: None, source: None }))
    }

    /// Adds an object that the error concerns, such as `("entity", "albums")`.
    #[must_use]
    pub fn with(mut self, name: &'static str, object: impl fmt::Display) -> Self {
        self.0.context.push((name, object.to_string()));
        self
    }

    /// Names the refused row: its zero-based place among the rows that the failed call was given.
    #[must_use]
    pub fn with_row(mut self, row: u64) -> Self {
        self.0.row = Some(row);
        self
    }

    /// Attaches the cause. The caller makes sure that it prints no value and no secret.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Replaces the kind, keeping everything else.
    #[must_use]
    pub fn into_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the message without context.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the objects concerned, innermost first.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// Returns the refused row's place, if one is known; see [`Error::with_row`].
    pub fn row(&self) -> Option<u64> {
        self.0.row
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (i, (name, object)) in self.0.context.iter().enumerate() {
            write!(f, "{}{name} {object}", if i == 0 { " (" } else { ", " })?;
        }
        if self.0.context.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

/// Adds context to the error of a result.
pub trait ResultExt<T> {
    /// Adds an object that the error concerns.
    fn context(self, name: &'static str, object: impl fmt::Display) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn context(self, name: &'static str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|e| e.with(name, object))
    }
}
