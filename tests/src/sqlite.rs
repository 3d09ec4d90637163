//! SQLite files, read cell by cell with the storage class that each cell really has.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};

/// A cell as SQLite stores it; a real by its bits, so that `-0.0` and every last digit count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cell {
    /// NULL.
    Null,
    /// An integer.
    Int(i64),
    /// The bits of a real.
    Real(u64),
    /// Text, which need not be UTF-8.
    Text(Vec<u8>),
    /// A blob.
    Blob(Vec<u8>),
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cell::Null => f.write_str("NULL"),
            Cell::Int(i) => write!(f, "{i}"),
            Cell::Real(bits) => write!(f, "{:?}r", f64::from_bits(*bits)),
            Cell::Text(bytes) => write!(f, "{:?}", String::from_utf8_lossy(bytes)),
            Cell::Blob(bytes) => write!(f, "x'{}'", hex(bytes)),
        }
    }
}

/// Prints bytes as PostgreSQL's `encode(…, 'hex')` does.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A SQLite file.
#[derive(Debug, Clone)]
pub struct Sqlite {
    path: PathBuf,
}

impl Sqlite {
    /// Names a file, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Sqlite { path: path.into() }
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file's url.
    pub fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    /// Runs statements, creating the file if need be.
    pub fn run(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap_or_else(|e| panic!("{sql}\n{e}"));
    }

    /// Opens the file for reading and writing.
    pub fn open(&self) -> Connection {
        Connection::open(&self.path).unwrap_or_else(|e| panic!("{}: {e}", self.path.display()))
    }

    /// Returns the result of a query.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Cell>> {
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap_or_else(|e| panic!("{}: {e}", self.path.display()));
        let mut statement = connection.prepare(sql).unwrap_or_else(|e| panic!("{sql}\n{e}"));
        let width = statement.column_count();
        let mut rows = statement.query([]).unwrap_or_else(|e| panic!("{sql}\n{e}"));
        let mut result = Vec::new();
        while let Some(row) = rows.next().unwrap_or_else(|e| panic!("{sql}\n{e}")) {
            let cells = (0..width).map(|i| match row.get_ref(i).expect("the column exists") {
                ValueRef::Null => Cell::Null,
                ValueRef::Integer(i) => Cell::Int(i),
                ValueRef::Real(r) => Cell::Real(r.to_bits()),
                ValueRef::Text(t) => Cell::Text(t.to_vec()),
                ValueRef::Blob(b) => Cell::Blob(b.to_vec()),
            });
            result.push(cells.collect());
        }
        result
    }

    /// Returns the first column of a query's result as text.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let text = |row: Vec<Cell>| match &row[0] {
            Cell::Text(bytes) => String::from_utf8(bytes.clone()).expect("UTF-8"),
            other => format!("{other:?}"),
        };
        self.rows(sql).into_iter().map(text).collect()
    }

    /// Returns the only cell of a query's result as a number.
    pub fn count(&self, sql: &str) -> u64 {
        match self.rows(sql).as_slice() {
            [row] => match row.as_slice() {
                [Cell::Int(n)] => u64::try_from(*n).expect("not negative"),
                other => panic!("one integer is expected of {sql}, not {other:?}"),
            },
            other => panic!("one row is expected of {sql}, not {}", other.len()),
        }
    }

    /// Returns the names of the tables, the library's own and SQLite's left out.
    pub fn tables(&self) -> Vec<String> {
        self.texts(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
             AND name NOT LIKE '\\_migrate\\_%' ESCAPE '\\' ORDER BY name",
        )
    }
}
