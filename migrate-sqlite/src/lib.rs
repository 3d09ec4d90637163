//! SQLite for the `migrate` library.
//!
//! Every connection lives on a thread of its own; see [`SqliteConfig`] for how a file is named and opened, and [`SqliteSource`]
//! for how one consistent view of it is read.

#![deny(unsafe_code)]

mod config;
mod error;
mod native;
mod sql;
mod thread;

pub use config::{Access, SnapshotPolicy, SqliteConfig};
