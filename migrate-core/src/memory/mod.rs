//! The reference adapter: a database in memory that is source, sink and state at once.
//!
//! It is the model in tests (deterministic, with planned [`Faults`]) and the example for those who write an adapter or want to feed
//! rows of their own into a pipeline. Transactions are buffered and applied in one step at the commit, which checks the fence and
//! everything the rows were checked against before; a transaction that lost against a concurrent one fails as
//! [`crate::ErrorKind::Conflict`]. Types, NOT NULL, primary keys, unique keys and foreign keys are enforced; SQL expressions
//! (checks, defaults, generated columns) are not.
//!
//! ```
//! use migrate_core::memory::{MemoryDatabase, table};
//! use migrate_core::value::{DataType, Value};
//!
//! let database = MemoryDatabase::new();
//! database.create_table(table("albums", &[("id", DataType::Int64), ("title", DataType::TEXT)], &["id"]))?;
//! database.insert("albums", [Value::Int(1), Value::Text("Blue Train".into())])?;
//! assert_eq!(database.rows("albums")?.len(), 1);
//! let source = std::sync::Arc::new(database.source());
//! # let _ = source;
//! # Ok::<(), migrate_core::Error>(())
//! ```

mod database;
mod faults;
mod filter;
mod orphans;
mod sink;
mod source;
mod state;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod transaction;

pub use database::{MemoryDatabase, table};
pub use faults::{Call, Faults};
pub use sink::MemorySink;
pub use source::{MemorySnapshot, MemorySource};
pub use state::MemoryState;
