//! SQLite for the `migrate` library.
//!
//! Every connection lives on a thread of its own; see [`SqliteConfig`] for how a file is named and opened, and [`SqliteSource`]
//! for how one consistent view of it is read.

#![deny(unsafe_code)]

mod codec;
mod config;
mod declared_type;
mod error;
mod introspect;
mod native;
mod refine;
mod snapshot;
mod source;
mod sql;
mod store;
mod thread;

pub use codec::ENCODING;
pub use config::{Access, SnapshotPolicy, SqliteConfig};
pub use source::SqliteSource;
pub use store::SqliteStore;
