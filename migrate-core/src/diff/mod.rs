//! What changed: the block ledger and the merge of source rows against it.
//!
//! The ledger holds, per source row, its key and the checksum of its canonical encoding, in blocks of about a thousand
//! consecutive keys. A walk reads the source range of a few blocks at a time and merges it with their entries:
//!
//! | source | ledger | checksum | change                                   |
//! |--------|--------|----------|------------------------------------------|
//! | yes    | no     |          | insert (or update, if the target has it) |
//! | yes    | yes    | differs  | update                                   |
//! | yes    | yes    | equal    | none                                     |
//! | no     | yes    |          | delete, if the job asks for it           |
//!
//! Rows are matched by key within the range, never ordered by the client: only the source knows its own order.

mod block;
mod copies;
mod index;
mod merge;
mod ordinals;

pub use block::{BLOCK_ROWS, ColumnSums, Entry, FORMAT, LedgerBlock};
pub use copies::{COPIES_FORMAT, Copies, pack_copies, unpack_copies};
pub use index::KeyIndex;
pub use merge::{BlockMerge, LedgerEdit, Match, Merged};
