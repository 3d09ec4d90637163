//! SQLite for the `migrate` library.
//!
//! Every connection lives on a thread of its own; see [`SqliteConfig`] for how a file is named and opened, [`SqliteSource`] for how
//! one consistent view of it is read, and [`SqliteSink`] for how it is written to.

#![deny(unsafe_code)]

mod codec;
mod config;
mod ddl;
mod declared_type;
mod error;
mod expressions;
mod introspect;
mod locks;
mod native;
mod refine;
mod rehearsal;
mod sink;
mod snapshot;
mod source;
mod sql;
mod state;
mod store;
mod thread;
mod transaction;
mod write;

pub use codec::ENCODING;
pub use config::{Access, SnapshotPolicy, SqliteConfig};
pub use native::without_memory_statistics;
pub use sink::SqliteSink;
pub use source::SqliteSource;
pub use store::SqliteStore;
