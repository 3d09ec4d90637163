//! Moves data between databases as recorded, resumable, verifiable jobs.
//!
//! This crate knows no database. It defines the seams that adapters implement ([`Source`], [`Sink`], [`TargetState`]), the values
//! that travel between them ([`value`]), and the pipeline that drives one execution.

#![forbid(unsafe_code)]

pub mod binding;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod diff;
pub mod error;
pub mod expression;
pub mod filter;
pub mod hint;
pub mod job;
pub mod memory;
pub mod pipeline;
pub mod plan;
pub mod schema;
pub mod sink;
pub mod source;
pub mod state;
pub mod transform;
pub mod value;
pub mod verify;

pub use error::{Error, ErrorKind, Result, ResultExt, Retry};
pub use expression::Expression;
pub use filter::{Filter, Parameter};
pub use sink::{Outcome, Sink, SinkTransaction};
pub use source::{Position, Snapshot, Source};
pub use state::TargetState;
pub use value::{Key, Page, Value};
