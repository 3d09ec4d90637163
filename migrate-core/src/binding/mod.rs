//! References between tables: in which order they load, and where they form cycles.

mod order;

pub use order::{LoadOrder, load_order, with_partitions};
