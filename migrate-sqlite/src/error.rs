//! SQLite's result codes as core errors.
//!
//! Messages of constraints hold names only and are passed on; a trigger's message may hold anything and is not.

use migrate_core::error::{Error, ErrorKind, Result};
use rusqlite::ffi;

/// Turns a result of rusqlite into one of core.
pub(crate) trait SqliteContext<T> {
    /// Says what was being done when it failed.
    fn during(self, what: &'static str) -> Result<T>;
}

impl<T> SqliteContext<T> for rusqlite::Result<T> {
    fn during(self, what: &'static str) -> Result<T> {
        self.map_err(|error| from_sqlite(&error, what))
    }
}

/// Maps an error of rusqlite; `what` says what was being done.
pub(crate) fn from_sqlite(error: &rusqlite::Error, what: &'static str) -> Error {
    use rusqlite::Error as E;
    match error {
        E::SqliteFailure(code, message) => from_code(code.extended_code, message.as_deref(), what),
        E::SqlInputError { error, msg, .. } => from_code(error.extended_code, Some(msg), what),
        E::Utf8Error(..) | E::FromSqlConversionFailure(..) | E::InvalidColumnType(..) | E::IntegralValueOutOfRange(..) => {
            Error::new(ErrorKind::Corrupt, format!("SQLite returned a value of an unexpected type or encoding while {what}"))
        }
        E::NulError(_) => Error::new(ErrorKind::Schema, format!("a name or statement holds a zero byte while {what}")),
        E::InvalidPath(_) => Error::new(ErrorKind::Config, "the path of the SQLite database is not UTF-8"),
        E::InvalidParameterName(name) => {
            Error::new(ErrorKind::Config, format!("the parameter {name} does not occur in the statement"))
        }
        E::MultipleStatement => Error::new(ErrorKind::Config, format!("more than one statement was given while {what}")),
        E::QueryReturnedNoRows => Error::new(ErrorKind::NotFound, format!("SQLite returned no row while {what}")),
        // What is left is wrong use of rusqlite by this crate; its texts may quote cells.
        _ => Error::new(ErrorKind::Internal, format!("an unexpected answer from SQLite while {what}")),
    }
}

/// Maps an extended result code.
pub(crate) fn from_code(extended: i32, message: Option<&str>, what: &'static str) -> Error {
    let message = message.unwrap_or_default();
    if extended & 0xff == ffi::SQLITE_CONSTRAINT {
        return constraint(extended, message);
    }
    let (kind, text) = match extended & 0xff {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => {
            (ErrorKind::Busy, "the SQLite database is locked by another connection")
        }
        ffi::SQLITE_FULL => {
            (ErrorKind::NoSpace, "the SQLite database cannot grow: no room is left on its disk, or its page limit is reached")
        }
        ffi::SQLITE_NOTADB => (ErrorKind::Connection, "the file is not a SQLite database, or it is encrypted"),
        ffi::SQLITE_CORRUPT | ffi::SQLITE_FORMAT if message.starts_with("malformed database schema") => {
            (ErrorKind::Corrupt, "the schema of the SQLite database is malformed")
        }
        ffi::SQLITE_CORRUPT | ffi::SQLITE_FORMAT => (ErrorKind::Corrupt, "the SQLite database is damaged"),
        ffi::SQLITE_READONLY => (ErrorKind::Permission, read_only(extended)),
        ffi::SQLITE_PERM | ffi::SQLITE_AUTH => (ErrorKind::Permission, "SQLite denies access"),
        ffi::SQLITE_CANTOPEN => (
            ErrorKind::Connection,
            "SQLite cannot open the database file, or a file beside it; check the rights to it and to its folder",
        ),
        ffi::SQLITE_IOERR if extended == ffi::SQLITE_IOERR_NOMEM => (ErrorKind::Io, "SQLite ran out of memory"),
        ffi::SQLITE_IOERR => (ErrorKind::Io, "SQLite failed to read or write its file"),
        ffi::SQLITE_NOMEM => (ErrorKind::Io, "SQLite ran out of memory"),
        ffi::SQLITE_TOOBIG => (ErrorKind::RowRejected, "a value or row is larger than SQLite's limit"),
        ffi::SQLITE_MISMATCH => {
            (ErrorKind::RowRejected, "SQLite refuses a value of this type (an INTEGER PRIMARY KEY takes integers only)")
        }
        ffi::SQLITE_INTERRUPT | ffi::SQLITE_ABORT => (ErrorKind::Cancelled, "the statement was stopped"),
        ffi::SQLITE_SCHEMA => (ErrorKind::Conflict, "the schema changed while a statement ran"),
        ffi::SQLITE_NOLFS => (ErrorKind::Unsupported, "the file system cannot hold a SQLite database of this size"),
        ffi::SQLITE_MISUSE | ffi::SQLITE_RANGE | ffi::SQLITE_INTERNAL => (ErrorKind::Internal, "SQLite was used wrongly"),
        ffi::SQLITE_ERROR if message.starts_with("no such table") || message.starts_with("no such view") => {
            (ErrorKind::NotFound, "SQLite refused the statement")
        }
        ffi::SQLITE_ERROR => (ErrorKind::Schema, "SQLite refused the statement"),
        _ => (ErrorKind::Internal, "SQLite failed"),
    };
    let detail = if names_only(message) { format!(": {message}") } else { format!(" (code {extended})") };
    Error::new(kind, format!("{text} while {what}{detail}"))
}

fn read_only(extended: i32) -> &'static str {
    match extended {
        ffi::SQLITE_READONLY_ROLLBACK => {
            "a transaction that was cut off must be rolled back first, which needs the right to write the database and its folder"
        }
        ffi::SQLITE_READONLY_RECOVERY | ffi::SQLITE_READONLY_CANTINIT | ffi::SQLITE_READONLY_CANTLOCK => {
            "the write-ahead log cannot be read without the right to write beside the database"
        }
        ffi::SQLITE_READONLY_DIRECTORY => "the folder of the SQLite database cannot be written",
        ffi::SQLITE_READONLY_DBMOVED => "the SQLite database file was moved or deleted while it was open",
        _ => "the SQLite database cannot be written",
    }
}

/// A violated constraint. Which row it was is known to the caller where it wrote one at a time.
fn constraint(extended: i32, message: &str) -> Error {
    let names = message.split_once(": ").map(|(_, names)| names);
    let reject = |text: String| Error::new(ErrorKind::RowRejected, text);
    match (extended, names) {
        (ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID, Some(names)) => {
            // What a later row gives up may let this one in: whoever tries again goes by the constraint.
            reject(format!("another row has the same value in {names}")).with("constraint", format!("UNIQUE ({names})"))
        }
        (ffi::SQLITE_CONSTRAINT_NOTNULL, Some(names)) => {
            let error = reject(format!("NULL is not allowed in {names}"));
            match names.rsplit_once('.') {
                Some((_, column)) => error.with("column", column),
                None => error,
            }
        }
        (ffi::SQLITE_CONSTRAINT_CHECK, Some(names)) => reject(format!("the check {names} is violated")),
        // "cannot store TEXT value in INTEGER column t.c": types and names.
        (ffi::SQLITE_CONSTRAINT_DATATYPE, _) => reject(message.to_owned()),
        (ffi::SQLITE_CONSTRAINT_TRIGGER, _) => reject("a trigger refused the row".to_owned()),
        (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, _) => {
            Error::new(ErrorKind::Constraint, "a row refers to a parent that does not exist")
        }
        _ => Error::new(ErrorKind::Constraint, format!("a constraint is violated (code {extended})")),
    }
}

/// Whether a message is one of those that hold names and positions but never a cell's value.
fn names_only(message: &str) -> bool {
    const SAFE: [&str; 20] = [
        "no such ",
        "near ",
        "table ",
        "view ",
        "index ",
        "there is already ",
        "ambiguous column",
        "duplicate column",
        "cannot ",
        "malformed database schema",
        "unrecognized token",
        "incomplete input",
        "foreign key mismatch",
        "wrong number of arguments",
        "row value misused",
        "misuse of ",
        "too many ",
        "circular",
        "expected ",
        "unsafe use of",
    ];
    SAFE.iter().any(|start| message.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraint_messages_become_names() {
        let connection = rusqlite::Connection::open_in_memory().expect("memory");
        let setup = "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT NOT NULL UNIQUE, c INT CONSTRAINT small CHECK (c < 10));
                     CREATE TABLE s(x INTEGER) STRICT; INSERT INTO t VALUES (1, 'secret', 1);
                     CREATE TRIGGER g BEFORE INSERT ON t WHEN new.c = 7 BEGIN SELECT RAISE(ABORT, 'secret seven'); END;";
        connection.execute_batch(setup).expect("setup");
        let fail = |sql: &str| connection.execute(sql, []).during("inserting").expect_err(sql);
        for (sql, text) in [
            ("INSERT INTO t VALUES (2, 'secret', 1)", "another row has the same value in t.b (constraint UNIQUE (t.b))"),
            ("INSERT INTO t VALUES (1, 'other', 1)", "another row has the same value in t.a (constraint UNIQUE (t.a))"),
            ("INSERT INTO t VALUES (2, NULL, 1)", "NULL is not allowed in t.b (column b)"),
            ("INSERT INTO t VALUES (2, 'x', 11)", "the check small is violated"),
            ("INSERT INTO t VALUES (2, 'x', 7)", "a trigger refused the row"),
            ("INSERT INTO s VALUES ('secret')", "cannot store TEXT value in INTEGER column s.x"),
        ] {
            let error = fail(sql);
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::RowRejected, text), "{sql}");
        }
        assert_eq!(fail("INSERT INTO nowhere VALUES (1)").kind(), ErrorKind::NotFound);
        assert_eq!(fail("INSERT INTO t(zzz) VALUES (1)").kind(), ErrorKind::Schema);
        assert_eq!(fail("INSERT INTO t VALUES ('x', 'y', 1)").kind(), ErrorKind::RowRejected);
    }

    #[test]
    fn codes_become_the_kinds_that_decide_what_happens_next() {
        for (code, kind) in [
            (ffi::SQLITE_BUSY_SNAPSHOT, ErrorKind::Busy),
            (ffi::SQLITE_LOCKED, ErrorKind::Busy),
            (ffi::SQLITE_FULL, ErrorKind::NoSpace),
            (ffi::SQLITE_NOTADB, ErrorKind::Connection),
            (ffi::SQLITE_CANTOPEN, ErrorKind::Connection),
            (ffi::SQLITE_CORRUPT_INDEX, ErrorKind::Corrupt),
            (ffi::SQLITE_READONLY_DIRECTORY, ErrorKind::Permission),
            (ffi::SQLITE_IOERR_READ, ErrorKind::Io),
            (ffi::SQLITE_TOOBIG, ErrorKind::RowRejected),
            (ffi::SQLITE_INTERRUPT, ErrorKind::Cancelled),
            (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, ErrorKind::Constraint),
        ] {
            assert_eq!(from_code(code, None, "testing").kind(), kind, "{code}");
        }
    }

    #[test]
    fn an_unknown_message_is_not_passed_on() {
        let error = from_code(ffi::SQLITE_ERROR, Some("JSON path error near 'secret'"), "reading rows");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
