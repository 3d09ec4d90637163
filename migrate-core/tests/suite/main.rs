//! The core on adapters in memory: all of its tests that need no more than what it offers to others.

mod bonds;
mod common_table;
mod conformance;
mod drift;
mod keys;
mod late_binding;
mod moved_ids;
mod multisets;
mod orphans;
mod pipeline;
mod read_back;
mod rehearsal;
mod respelled;
mod sets;
mod transformer;
