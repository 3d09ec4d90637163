//! PostgreSQL source, sink and store of the `migrate` library.
//!
//! Rows are read through binary `COPY … TO STDOUT` under one exported snapshot and travel in PostgreSQL's own binary form
//! ([`ENCODING`]), so that a copy between two servers hands them on as they are.

#![forbid(unsafe_code)]

mod aside;
mod by_key;
mod changes;
mod choose;
mod codec;
mod config;
mod connection;
mod copy_in;
mod copy_out;
mod cursor;
mod ddl;
mod digests;
mod encode;
mod error;
mod explain;
mod expressions;
mod facts;
mod finish;
mod ids;
mod introspect;
mod nagle;
mod orphans;
mod pool;
mod prepare;
mod read_loaded;
mod rehearsal;
mod select;
mod sequences;
mod sink;
mod snapshot;
mod source;
mod sql;
mod stage;
mod state;
mod store;
mod transaction;
mod upsert;
mod view;

pub use codec::ENCODING;
pub use config::PostgresConfig;
pub use sink::PostgresSink;
pub use source::PostgresSource;
pub use store::PostgresStore;
