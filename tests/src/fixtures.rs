//! Real databases: loaded once into each server, copied for each test.

use crate::postgres::{Postgres, Server};
use crate::sqlite::Sqlite;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A database of `tests/fixtures`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fixture {
    /// The music shop: for both engines.
    Chinook,
    /// The rental store for PostgreSQL, partitioned.
    Pagila3,
    /// The rental store for PostgreSQL with inheritance and a cycle.
    Pagila0,
    /// The rental store for SQLite.
    Sakila,
}

impl Fixture {
    /// Returns the folder's name, which is also the name in `ROWCOUNTS.tsv`.
    pub fn name(self) -> &'static str {
        match self {
            Fixture::Chinook => "chinook",
            Fixture::Pagila3 => "pagila-3",
            Fixture::Pagila0 => "pagila-0.10.1",
            Fixture::Sakila => "sakila",
        }
    }

    /// Returns a database of its own with this data.
    ///
    /// # Panics
    /// If there is none for PostgreSQL.
    pub fn postgres(self, server: Server) -> Postgres {
        static LOADED: Mutex<Option<HashMap<(Fixture, Server), String>>> = Mutex::new(None);
        let files: &[&str] = match self {
            Fixture::Chinook => &["chinook-postgresql.sql.gz"],
            Fixture::Pagila3 | Fixture::Pagila0 => &["pagila-schema.sql.gz", "pagila-data.sql.gz"],
            Fixture::Sakila => panic!("there is no Sakila for PostgreSQL"),
        };
        // Held while loading: copying a database needs that nobody is connected to it.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let template = loaded.get_or_insert_default().entry((self, server)).or_insert_with(|| {
            let database = Postgres::new(server);
            for file in files {
                database.load(&unpacked(&folder().join(self.name()).join(file)));
            }
            database.keep()
        });
        Postgres::create(server, template)
    }

    /// Writes a SQLite file with this data into a folder.
    ///
    /// # Panics
    /// If there is none for SQLite.
    pub fn sqlite(self, into: &Path) -> Sqlite {
        let path = into.join(format!("{}.sqlite", self.name()));
        let bytes = match self {
            Fixture::Chinook => {
                std::fs::read(folder().join("../../examples/chinook/chinook.sqlite")).expect("the fixture exists")
            }
            Fixture::Sakila => unpacked(&folder().join("sakila/sakila.sqlite.gz")),
            Fixture::Pagila3 | Fixture::Pagila0 => panic!("there is no Pagila for SQLite"),
        };
        std::fs::write(&path, bytes).expect("the fixture can be copied");
        Sqlite::new(path)
    }
}

/// Returns the number of rows of each table of a fixture, as its authors' data has them.
pub fn row_counts(fixture: Fixture, engine: &str) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(folder().join("ROWCOUNTS.tsv")).expect("ROWCOUNTS.tsv exists");
    let rows = text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let of_fixture = rows.filter(|row| row[0] == fixture.name() && row[1] == engine);
    let counts: BTreeMap<_, _> = of_fixture.map(|row| (row[2].to_owned(), row[3].parse().expect("a count"))).collect();
    assert!(!counts.is_empty(), "ROWCOUNTS.tsv knows {} for {engine}", fixture.name());
    counts
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn unpacked(path: &Path) -> Vec<u8> {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("the fixture is a whole gzip file");
    bytes
}
