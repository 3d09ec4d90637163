//! Translating the server's errors, and leaving out what may hold a cell's value.
//!
//! DETAIL, CONTEXT and HINT never pass. The primary message passes only for classes whose messages name objects and nothing
//! else; a class whose messages quote values gets words of our own. What may be taken out of the rest: the names of constraint,
//! table, column and type, which the server sends as fields of their own, and the line number of a COPY.

use crate::config::PostgresConfig;
use migrate_core::{Error, ErrorKind};
use sqlx::postgres::PgDatabaseError;

/// Translates an error of a session in use.
pub(crate) fn from_sqlx(error: sqlx::Error) -> Error {
    translate(error, None)
}

/// Translates an error of a COPY into a table, so that the line number is taken from the part of CONTEXT that speaks of it.
pub(crate) fn from_copy(error: sqlx::Error, table: &str) -> Error {
    translate(error, Some(table))
}

/// Translates an error that came while a session was being opened.
pub(crate) fn from_connect(error: sqlx::Error, config: &PostgresConfig) -> Error {
    let translated = match error {
        sqlx::Error::Io(io) => Error::new(ErrorKind::Connection, "the PostgreSQL server cannot be reached").caused_by(io),
        other => translate(other, None),
    };
    let kind = match translated.kind() {
        ErrorKind::ConnectionLost => ErrorKind::Connection,
        kind => kind,
    };
    translated.into_kind(kind).with("server", config.server())
}

/// Says that a commit's outcome is unknown where the connection was lost during it.
pub(crate) fn of_commit(error: Error) -> Error {
    if error.kind() == ErrorKind::ConnectionLost { error.into_kind(ErrorKind::CommitUnknown) } else { error }
}

fn translate(error: sqlx::Error, table: Option<&str>) -> Error {
    use sqlx::Error as E;
    match error {
        E::Database(database) => match database.try_downcast::<PgDatabaseError>() {
            Ok(error) => from_server(&error, table),
            Err(_) => Error::new(ErrorKind::Internal, "an error of another database's driver"),
        },
        E::Io(io) => Error::new(ErrorKind::ConnectionLost, "the connection to the PostgreSQL server was lost").caused_by(io),
        E::Tls(cause) => Error::new(ErrorKind::Connection, "no TLS connection to the PostgreSQL server could be made")
            .caused_by(cause.to_string()),
        E::Configuration(cause) => {
            Error::new(ErrorKind::Config, "the connection's settings are wrong").caused_by(cause.to_string())
        }
        // The stream is out of step: nothing that it says from here on can be trusted.
        E::Protocol(_) => Error::new(ErrorKind::ConnectionLost, "the PostgreSQL server sent something that was not expected"),
        E::PoolTimedOut | E::WorkerCrashed => Error::new(ErrorKind::Connection, "no connection to the PostgreSQL server is free"),
        E::BeginFailed => Error::new(ErrorKind::ConnectionLost, "a transaction could not be begun"),
        E::RowNotFound => Error::new(ErrorKind::Internal, "a query that always gives a row gave none"),
        // What is left cannot come from the server's data alone: it is a query of ours that does not fit its result.
        other => Error::new(ErrorKind::Internal, format!("a result could not be read: {}", driver_text(&other))),
    }
}

/// Names a driver error without its cause, which may quote what it failed to decode.
fn driver_text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::ColumnDecode { index, .. } => format!("column {index}"),
        sqlx::Error::ColumnNotFound(name) => format!("no column {name}"),
        sqlx::Error::TypeNotFound { type_name } => format!("no type {type_name}"),
        sqlx::Error::ColumnIndexOutOfBounds { index, len } => format!("column {index} of {len}"),
        _ => "unexpected driver error".to_owned(),
    }
}

fn from_server(error: &PgDatabaseError, table: Option<&str>) -> Error {
    let code = error.code();
    let (kind, message) = meaning(code, error);
    let line = error.r#where().and_then(|context| copy_line(context, table));
    // One refused row of a COPY: only then is it known which.
    let kind = if kind == ErrorKind::Constraint && line.is_some() { ErrorKind::RowRejected } else { kind };
    let mut translated = Error::new(kind, message);
    let fields = [
        ("constraint", error.constraint()),
        ("column", error.column().or_else(|| error.r#where().and_then(copy_column))),
        ("table", error.table()),
        ("schema", error.schema()),
        ("type", error.data_type()),
        ("function", error.r#where().and_then(function_name)),
    ];
    for (name, object) in fields {
        if let Some(object) = object {
            translated = translated.with(name, object);
        }
    }
    translated = translated.with("sqlstate", code);
    match line {
        Some(line) if matches!(kind, ErrorKind::RowRejected) => translated.with_row(line.saturating_sub(1)),
        _ => translated,
    }
}

/// Whether a function or trigger of the user's raised the error in words of its own, under whatever code it chose.
fn raised_by_user(error: &PgDatabaseError) -> bool {
    matches!(error.routine(), Some("exec_stmt_raise" | "exec_stmt_assert")) || error.code().starts_with("P0")
}

fn meaning(code: &str, error: &PgDatabaseError) -> (ErrorKind, String) {
    let words = |kind: ErrorKind, text: &str| (kind, text.to_owned());
    if raised_by_user(error) {
        return words(ErrorKind::Constraint, "a function or trigger of the database raised an error");
    }
    let names_only = |kind: ErrorKind| (kind, error.message().to_owned());
    let scrubbed = |kind: ErrorKind| (kind, scrub(error.message()));
    match code {
        // Codes with a meaning of their own.
        "22001" => words(ErrorKind::Constraint, "a value is too long for its column"),
        "22003" => words(ErrorKind::Constraint, "a number is out of its column's range"),
        "22007" | "22008" => words(ErrorKind::Constraint, "a date or time is malformed or out of range"),
        "22021" => words(ErrorKind::Constraint, "a text cannot be held in the database's encoding"),
        "22P02" | "22P03" => words(ErrorKind::Constraint, "a value does not have the form of its column's type"),
        "22P04" => words(ErrorKind::Constraint, "the data of a COPY is malformed"),
        "23502" => words(ErrorKind::Constraint, "a value is NULL in a column that allows none"),
        "23503" => words(ErrorKind::Constraint, "a reference has no parent, or a parent still has references"),
        "23505" => words(ErrorKind::Constraint, "a unique key exists already"),
        "23514" => words(ErrorKind::Constraint, "a row violates a check constraint or fits no partition"),
        "23P01" => words(ErrorKind::Constraint, "a row violates an exclusion constraint"),
        "25006" => words(ErrorKind::Permission, "the server or database accepts no writes: it is read only"),
        "25P03" | "25P04" => words(ErrorKind::ConnectionLost, "the server ended an idle or long transaction"),
        "3D000" => words(ErrorKind::Connection, "the database does not exist"),
        "40001" => words(ErrorKind::Conflict, "a transaction could not be serialised with a concurrent one"),
        "40P01" => words(ErrorKind::Conflict, "a transaction was chosen to end a deadlock"),
        "40002" => words(ErrorKind::Constraint, "a constraint was violated at the end of the transaction"),
        "40003" => words(ErrorKind::ConnectionLost, "it is not known whether a statement was completed"),
        "42501" => names_only(ErrorKind::Permission),
        "53100" => words(ErrorKind::NoSpace, "the server's disk is full"),
        "53200" => words(ErrorKind::NoSpace, "the server is out of memory"),
        "53300" => words(ErrorKind::Connection, "the server has no free connection left"),
        "53400" => words(ErrorKind::NoSpace, "a limit of the server's configuration was reached"),
        "54000" => words(ErrorKind::Constraint, "a value exceeds a limit of the server, such as an index row's size"),
        "55P03" => words(ErrorKind::Busy, "a lock is held by another transaction"),
        "57014" => {
            words(ErrorKind::Conflict, "the server cancelled the statement: a timeout, an operator or a replica's recovery")
        }
        "57P03" => words(ErrorKind::Connection, "the server is starting up, shutting down or in recovery"),
        "57P01" | "57P02" | "57P04" | "57P05" => words(ErrorKind::ConnectionLost, "the server ended the session"),
        "72000" => words(ErrorKind::ConnectionLost, "the snapshot is too old: the server has discarded what it would see"),
        "XX001" | "XX002" => scrubbed(ErrorKind::Corrupt),
        _ => match code.get(..2).unwrap_or_default() {
            "08" => words(ErrorKind::ConnectionLost, "the connection to the PostgreSQL server was lost"),
            "0A" => scrubbed(ErrorKind::Unsupported),
            "0L" | "0P" => names_only(ErrorKind::Permission),
            "20" | "21" | "22" => words(ErrorKind::Constraint, "a value is not valid where it stands"),
            "09" | "23" | "27" | "44" => words(ErrorKind::Constraint, "a row violates a constraint"),
            "28" => names_only(ErrorKind::Authentication),
            "2B" | "3F" | "42" | "55" => names_only(ErrorKind::Schema),
            "38" | "39" => words(ErrorKind::Constraint, "a function of the database failed"),
            "40" => words(ErrorKind::Conflict, "the transaction was rolled back"),
            "53" => scrubbed(ErrorKind::NoSpace),
            "54" => scrubbed(ErrorKind::Unsupported),
            "57" => words(ErrorKind::ConnectionLost, "the server was interrupted"),
            "58" => scrubbed(ErrorKind::Io),
            "F0" => scrubbed(ErrorKind::Connection),
            "HV" => words(ErrorKind::Connection, "a foreign server that the table lives on refused or failed"),
            // 03, 0B, 0F, 24, 25, 26, 2D, 2F, 34, 3B, XX and codes of forks: nothing that data or rights can cause.
            _ => scrubbed(ErrorKind::Internal),
        },
    }
}

/// Blots out what stands in quotes, which may be a value.
fn scrub(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut open = None;
    for c in message.chars() {
        match open {
            Some(end) if c == end => {
                out.push('…');
                out.push(c);
                open = None;
            }
            Some(_) => {}
            None => {
                if matches!(c, '"' | '\'') {
                    open = Some(c);
                }
                out.push(c);
            }
        }
    }
    out
}

/// Finds N in the CONTEXT line `COPY table, line N`, in any of the languages that keep this order.
fn copy_line(context: &str, table: Option<&str>) -> Option<u64> {
    context.lines().find_map(|line| {
        let rest = line.strip_prefix("COPY ")?;
        let rest = match table {
            Some(table) => rest.strip_prefix(table)?,
            None => &rest[rest.find(", ")?..],
        };
        let (_word, number) = rest.strip_prefix(", ")?.split_once(' ')?;
        let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        number[..digits].parse().ok()
    })
}

/// Finds C in the CONTEXT line `COPY table, line N, column C: "value"`.
fn copy_column(context: &str) -> Option<&str> {
    let line = context.lines().find(|l| l.starts_with("COPY "))?;
    let (_, rest) = line.split_once(", column ")?;
    // A name may hold a colon; then nothing is said rather than part of a value.
    let end = rest.find(": ").or_else(|| (!rest.contains(':')).then_some(rest.len()))?;
    let name = &rest[..end];
    (!name.contains('"')).then_some(name)
}

/// Finds the function in a CONTEXT line such as `PL/pgSQL function f(integer) line 3 at RAISE`.
fn function_name(context: &str) -> Option<&str> {
    context.lines().find_map(|line| {
        let rest = line.strip_prefix("PL/pgSQL function ")?;
        rest.split_once('(').map(|(name, _)| name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_copy_is_found_in_several_languages_and_beside_odd_names() {
        assert_eq!(copy_line("COPY events, line 12", Some("events")), Some(12));
        assert_eq!(copy_line("COPY events, Zeile 7, Spalte a: »x, line 9«", None), Some(7));
        assert_eq!(copy_line("COPY odd, line 3, line 5, column b: \"q\"", Some("odd, line 3")), Some(5));
        assert_eq!(copy_line("PL/pgSQL function f() line 3 at RAISE\nCOPY t, line 2", Some("t")), Some(2));
        assert_eq!(copy_line("COPY events", Some("events")), None);
        assert_eq!(copy_line("COPY events, ", None), None);
    }

    #[test]
    fn the_column_of_a_copy_is_found_without_its_value() {
        assert_eq!(copy_column("COPY t, line 2, column amount: \"secret: 5\""), Some("amount"));
        assert_eq!(copy_column("COPY t, line 2: \"1\tsecret\""), None);
        assert_eq!(copy_column("COPY t, line 2, column amount"), Some("amount"));
    }

    #[test]
    fn p9_what_is_quoted_is_blotted_out() {
        assert_eq!(scrub("bad value \"secret\" in 'x'"), "bad value \"…\" in '…'");
        assert_eq!(scrub("left open \"secret"), "left open \"");
    }
}
