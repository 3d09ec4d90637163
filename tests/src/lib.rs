//! What the end-to-end tests share: real servers, the built command line, real data, and comparisons that do not go through the
//! library under test.
//!
//! Everything here panics on failure: it is called from tests alone.

mod cli;
mod compare;
mod database;
mod fixtures;
mod postgres;
mod proxy;
mod random;
mod sqlite;

pub use cli::{Project, Run, Running};
pub use compare::{Difference, Rows, assert_same_rows, assert_same_sqlite_file, postgres_columns, sqlite_columns};
pub use database::{Database, Engine, PAIRS, crosswise};
pub use fixtures::{Fixture, row_counts};
pub use postgres::{OwnServer, Postgres, Server, identifier};
pub use proxy::{Fault, Proxy};
pub use random::Random;
pub use sqlite::{Cell, Sqlite};
