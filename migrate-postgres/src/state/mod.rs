//! What the target remembers, in its schema `migrate`.

mod fence;
mod key_map;
mod read;
mod tables;
mod write;

pub(crate) use fence::with_session;
pub(crate) use key_map::by_source as mapped;
pub(crate) use read::PostgresState;
pub(crate) use tables::{check_creatable, is_state_table};
pub(crate) use write::{forget_unfinished, record_unfinished, write};
