//! References between entities: in which order they load, where they form cycles, and which cannot be bound as their rows are written.

mod partitions;
mod schedule;
mod stages;

pub use partitions::with_partitions;
pub use schedule::{Bond, Edge, Schedule, Timing, schedule, spell_cycle, spell_cycle_over};
pub use stages::{Staged, schedule_stages};
