//! A database of either engine, for tests that hold in every direction.

use crate::compare::{Difference, Rows, assert_same_sqlite_file, postgres_columns};
use crate::postgres::{Postgres, Server, identifier};
use crate::sqlite::Sqlite;
use std::path::Path;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// PostgreSQL, on this server.
    Postgres(Server),
    /// SQLite.
    Sqlite,
}

/// The four directions in which rows can go, to the other of two servers where both sides are PostgreSQL.
pub const PAIRS: [(Engine, Engine); 4] = [
    (Engine::Postgres(Server::First), Engine::Postgres(Server::Second)),
    (Engine::Postgres(Server::First), Engine::Sqlite),
    (Engine::Sqlite, Engine::Postgres(Server::Second)),
    (Engine::Sqlite, Engine::Sqlite),
];

/// Each of these choices with two of the four directions: between them they have either engine on either side, and neighbours have the
/// other two.
pub fn crosswise<T: Copy>(choices: impl IntoIterator<Item = T>) -> impl Iterator<Item = ((Engine, Engine), T)> {
    let [same, from_postgres, to_postgres, files] = PAIRS;
    let directions = [[from_postgres, to_postgres], [same, files]];
    choices.into_iter().zip(directions.into_iter().cycle()).flat_map(|(choice, pairs)| pairs.map(|pair| (pair, choice)))
}

/// A database of either engine.
#[derive(Debug)]
pub enum Database {
    /// PostgreSQL.
    Postgres(Postgres),
    /// SQLite.
    Sqlite(Sqlite),
}

impl Database {
    /// Creates an empty database; a file of this name where it is SQLite.
    pub fn new(engine: Engine, folder: &Path, name: &str) -> Self {
        match engine {
            Engine::Postgres(server) => Database::Postgres(Postgres::new(server)),
            Engine::Sqlite => Database::Sqlite(Sqlite::new(folder.join(format!("{name}.sqlite")))),
        }
    }

    /// Returns the url.
    pub fn url(&self) -> String {
        match self {
            Database::Postgres(database) => database.url(),
            Database::Sqlite(database) => database.url(),
        }
    }

    /// Runs statements that both engines understand.
    pub fn run(&self, sql: &str) {
        match self {
            Database::Postgres(database) => database.run(sql),
            Database::Sqlite(database) => database.run(sql),
        }
    }

    /// Returns the number of rows of a table, 0 if there is no such table.
    pub fn count(&self, table: &str) -> u64 {
        let sql = format!("SELECT count(*) FROM {}", identifier(table));
        match self {
            Database::Postgres(database) => {
                let known = database
                    .count(&format!("SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename = '{table}'"));
                if known == 0 { 0 } else { database.count(&sql) }
            }
            Database::Sqlite(database) => {
                let known = database.path().exists() && database.tables().iter().any(|name| name == table);
                if known { database.count(&sql) } else { 0 }
            }
        }
    }

    /// Returns the number of rows under a condition.
    pub fn matching(&self, table: &str, condition: &str) -> u64 {
        let sql = format!("SELECT count(*) FROM {} WHERE {condition}", identifier(table));
        match self {
            Database::Postgres(database) => database.count(&sql),
            Database::Sqlite(database) => database.count(&sql),
        }
    }

    /// Asserts that another database holds the same rows of these tables, and nothing else in them.
    pub fn assert_holds(&self, other: &Database, tables: &[&str]) {
        let mut text = String::new();
        let typed = match (self, other) {
            (Database::Sqlite(this), Database::Sqlite(other)) => return assert_same_sqlite_file(this, other),
            (_, Database::Postgres(typed)) | (Database::Postgres(typed), _) => typed,
        };
        for table in tables {
            let quoted = identifier(table);
            let columns = postgres_columns(typed, &quoted);
            let difference = Difference::between(*table, self.printed(&quoted, &columns), other.printed(&quoted, &columns));
            if !difference.is_empty() {
                text.push_str(&difference.to_string());
            }
        }
        assert!(text.is_empty(), "{text}");
    }
}

impl Rows for Database {
    fn printed(&self, table: &str, columns: &[(String, String)]) -> Vec<String> {
        match self {
            Database::Postgres(database) => database.printed(table, columns),
            Database::Sqlite(database) => database.printed(table, columns),
        }
    }
}
