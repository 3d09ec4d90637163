//! PostgreSQL source, sink and store of the `migrate` library.
//!
//! Rows are read through binary `COPY … TO STDOUT` under one exported snapshot and travel in PostgreSQL's own binary form
//! ([`ENCODING`]), so that a copy between two servers hands them on as they are.

#![forbid(unsafe_code)]

mod codec;
mod config;
mod connection;
mod copy_out;
mod error;
mod introspect;
mod select;
mod snapshot;
mod source;
mod sql;
mod store;
mod view;

pub use codec::ENCODING;
pub use config::PostgresConfig;
pub use source::PostgresSource;
pub use store::PostgresStore;
