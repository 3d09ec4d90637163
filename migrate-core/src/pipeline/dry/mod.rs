//! A dry run: the pipeline itself, over a sink that looks where it would write and a state that forgets.
//!
//! ```text
//! pipeline ──▶ DrySink ──▶ transaction: looks the target's rows up by key in one view, says what would become of each, writes nothing
//!                    └──▶ DryState: what the target remembers, with this run's changes laid over it in memory
//! ```
//!
//! Being the same walk, it counts what a run would do, and not something like it. What only the target itself can say, its constraints
//! and triggers, a rehearsal finds out: the run itself, where nothing of it stays.

mod adopt;
mod contested;
mod made_up;
mod preview;
mod rehearse;
mod sink;
mod state;
mod tally;
mod touched;
mod transaction;
mod view;

pub(super) use adopt::adopt;
pub(super) use contested::Foreseen;
pub use contested::{Conflict, Contested, Resolution};
pub(super) use preview::preview;
pub use preview::{EntityPreview, Preview};
pub(super) use rehearse::rehearse;
pub use rehearse::{RefusedCell, RefusedRow, Rehearsed, RehearsedEntity, Remark};
pub use tally::{Cell, Change, Sample};
