//! Jobs, their executions, and the record of them.
//!
//! A [`Job`] says what is moved; a [`JobFile`] holds jobs, environments and a store. Each run of a job is an [`Execution`], kept by a
//! [`Recorder`]. Whoever wants to watch a run implements [`Observer`]; [`ProgressTracker`] turns what it hears into a rate and a
//! time left, and [`Recording`] into the record.

mod cancel;
pub mod counters;
mod cursor;
mod definition;
mod entity;
mod event;
mod execution;
mod file;
mod memory;
mod options;
mod orphans;
mod owner;
mod progress;
mod recorder;
mod recording;
mod reference;
mod secret;
pub(crate) mod stage;
mod state;
#[cfg(any(test, feature = "conformance"))]
pub mod suite;
mod sync;
mod time;
mod transform;
mod url;
mod variables;
mod verify_mode;

pub use cancel::{CancelToken, Stop};
pub use cursor::{CursorColumn, Overlap};
pub use definition::{Job, Mode};
pub use entity::{Columns, Entities, Entity};
pub use event::{Event, Observer, Observers, PlannedEntity, Silent};
pub use execution::{Attempt, EntityResult, Execution, Finish, Level, LogLine};
pub use file::{Environment, JobFile, StoreConfig};
pub use memory::MemoryRecorder;
pub(crate) use options::MULTISET_ROWS;
pub use options::{QuarantineLimit, RunOptions};
pub use orphans::OrphanPolicy;
pub use owner::{HEARTBEAT_LIMIT, Liveness, Owner};
pub use progress::{Progress, ProgressTracker};
pub use recorder::{ExecutionPage, ExecutionQuery, LogPage, LogQuery, Recorder, Standing, Update};
pub use recording::Recording;
pub use reference::{Bind, Reference};
pub use secret::Secret;
pub use stage::{Stage, StageEntities};
pub use state::ExecutionState;
pub use sync::{DeleteGuard, DeleteMode, Deletes, DriftPolicy, LeftFilter, OnConflict, Strategy};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use transform::{Join, Mask, MomentForm, OnError, Other, ParseJson, TextStep, Transform, Unix, ValueMap};
pub use url::ConnectionUrl;
pub use verify_mode::VerifyMode;
