//! How many copies of each row there are: those that the ledger knows beside those that were read.
//!
//! ```text
//! copies     the ledger's < the source's     new ones are inserted
//!            the ledger's > the source's     those too many are gone: deleted, or kept, as the job says
//! ```
//!
//! A changed row is one that is gone and one that is new: nothing says that they belong together.

use super::super::context::Context;
use crate::diff::{BLOCK_ROWS, Copies, pack_copies, unpack_copies};
use crate::error::{Error, ErrorKind, Result};
use crate::sink::SinkTransaction;
use crate::state::{Scope, StateChanges};
use crate::value::canonical::Checksum;
use std::collections::HashMap;
use tokio::sync::OwnedSemaphorePermit;

/// Ledger blocks that are read or written together.
const BLOCKS_AT_ONCE: usize = 32;

/// The copies of one row.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// How many the target holds; while rows are brought, how many it held and is given or loses.
    was: u32,
    /// How many of them this execution has inserted.
    own: u32,
    /// How many the source holds; once that is settled, how many the target is to hold.
    now: u32,
    /// How many the source holds beyond the entity's filter, where some under it are gone.
    left: u32,
}

/// Counts rows by their checksums, as long as there is room.
#[derive(Debug)]
pub(super) struct Counts {
    rows: HashMap<Checksum, Count>,
    most: usize,
    /// The room, until there are too many different rows.
    room: Option<OwnedSemaphorePermit>,
}

/// What the difference comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Copies to insert.
    pub(super) new: u64,
    /// Copies to delete that this execution has inserted, which are not counted.
    pub(super) own_going: u64,
    /// The others that are to be deleted.
    pub(super) going: u64,
    /// Copies that the source has lost and the target keeps.
    pub(super) kept: u64,
    /// The source's copies that are this execution's: inserted before, or to be inserted.
    pub(super) inserted: u64,
    /// The source's other copies.
    pub(super) rest: u64,
    /// Copies that the target is to hold.
    pub(super) held: u64,
}

impl Counts {
    /// Waits for the room that so many rows may take.
    pub(super) async fn new(context: &Context, rows: u64) -> Result<Self> {
        let most = context.limits.multiset;
        let wanted = usize::try_from(rows).unwrap_or(most).min(most);
        let permits = u32::try_from(wanted).unwrap_or(u32::MAX);
        // Never closed.
        let room = context.counting.clone().acquire_many_owned(permits).await;
        let room = room.map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
        // All at once: a table that grew would weigh half as much again while it is moved.
        Ok(Counts { rows: HashMap::with_capacity(wanted), most, room: Some(room) })
    }

    /// Returns whether there are too many different rows to tell anything.
    pub(super) fn is_full(&self) -> bool {
        self.room.is_none()
    }

    fn change(&mut self, checksum: Checksum, change: impl FnOnce(&mut Count) -> Option<()>) {
        if self.is_full() {
            return;
        }
        // Looked up first: a full table would grow to twice its size only to be given up.
        let fits = self.rows.len() < self.most || self.rows.contains_key(&checksum);
        // More copies than can be counted are as bad as too many rows.
        if !fits || change(self.rows.entry(checksum).or_default()).is_none() {
            (self.rows, self.room) = (HashMap::new(), None);
        }
    }

    /// Counts one copy at the source.
    pub(super) fn see(&mut self, checksum: Checksum) {
        self.change(checksum, |count| {
            count.now = count.now.checked_add(1)?;
            Some(())
        });
    }

    /// Takes what was read for what the target holds, all of it loaded by this execution.
    pub(super) fn were_loaded(&mut self) {
        self.rows.values_mut().for_each(|count| (count.was, count.own) = (count.now, count.now));
    }

    /// Adds what the ledger knows; false if it does not know as many copies as the target was given, or there are too many rows.
    pub(super) async fn add_ledger(&mut self, context: &Context, scope: &Scope, held: u64) -> Result<bool> {
        let (mut after, mut known) = (None, 0u64);
        loop {
            let blocks = context.state.ledger_blocks(scope, after, BLOCKS_AT_ONCE).await?;
            let Some(last) = blocks.last() else { return Ok(known == held && !self.is_full()) };
            after = Some(last.ordinal);
            for block in &blocks {
                let is_own = block.execution == context.execution;
                for Copies { checksum, count, own } in unpack_copies(block)? {
                    known += u64::from(count);
                    self.change(checksum, |copies| {
                        copies.was = copies.was.checked_add(count)?;
                        copies.own = copies.own.checked_add(if is_own { own } else { 0 })?;
                        Some(())
                    });
                }
            }
            if self.is_full() {
                return Ok(false);
            }
        }
    }

    /// Returns whether copies are gone that this execution has not inserted itself.
    pub(super) fn has_gone(&self) -> bool {
        self.rows.values().any(|count| others_gone(count) > 0)
    }

    /// Counts one copy of all that the source holds, whatever the filter says.
    pub(super) fn see_beyond_filter(&mut self, checksum: &Checksum) {
        if let Some(count) = self.rows.get_mut(checksum).filter(|count| others_gone(count) > 0) {
            count.left = count.left.saturating_add(1);
        }
    }

    /// Settles how many copies the target is to hold. `goes` says, of so many copies of a row that have left the filter and so many that
    /// the source has lost, how many go; those that this execution has inserted go anyhow.
    pub(super) fn settle(&mut self, mut goes: impl FnMut(u32, u32) -> u32) -> Difference {
        let mut all = Difference::default();
        for count in self.rows.values_mut() {
            if count.now >= count.was {
                let new = count.now - count.was;
                all.new += u64::from(new);
                all.rest += u64::from(count.was - count.own);
                count.own += new;
                all.inserted += u64::from(count.own);
            } else {
                // What came last goes first: then less has changed.
                let own_going = (count.was - count.now).min(count.own);
                let others = others_gone(count);
                let left = count.left.saturating_sub(count.now).min(others);
                let going = goes(left, others - left).min(others);
                count.own -= own_going;
                all.inserted += u64::from(count.own);
                all.rest += u64::from(count.now - count.own);
                all.own_going += u64::from(own_going);
                all.going += u64::from(going);
                all.kept += u64::from(others - going);
                count.now = count.was - own_going - going;
            }
            all.held += u64::from(count.now);
        }
        all
    }

    /// As [`Counts::settle`] where only a part of the source was read, so that nothing is known to be gone.
    pub(super) fn settle_part(&mut self) -> Difference {
        let mut all = Difference::default();
        for count in self.rows.values_mut() {
            let (new, own) = (count.now.saturating_sub(count.was), count.own.min(count.now));
            all.new += u64::from(new);
            all.inserted += u64::from(own + new);
            all.rest += u64::from(count.now - own - new);
            count.own += new;
            count.now = count.now.max(count.was);
            all.held += u64::from(count.now);
        }
        all
    }

    /// Returns whether a copy that the target holds is one too many, and takes it for deleted.
    pub(super) fn take_one(&mut self, checksum: &Checksum) -> bool {
        let Some(count) = self.rows.get_mut(checksum).filter(|count| count.was > count.now) else { return false };
        count.was -= 1;
        true
    }

    /// Returns whether the target lacks a copy that the source holds, and takes it for inserted.
    pub(super) fn give_one(&mut self, checksum: &Checksum) -> bool {
        let Some(count) = self.rows.get_mut(checksum).filter(|count| count.was < count.now) else { return false };
        count.was += 1;
        true
    }

    /// Writes how many copies the target is to hold as the ledger of a scope.
    pub(super) async fn write(
        &self,
        context: &Context,
        transaction: &mut dyn SinkTransaction,
        scope: &Scope,
        position: &str,
    ) -> Result<()> {
        let held = self.rows.iter().filter(|(_, count)| count.now > 0);
        let mut rows = held.map(|(checksum, count)| Copies { checksum: *checksum, count: count.now, own: count.own });
        let mut ordinal = 0;
        loop {
            let mut blocks = Vec::new();
            while blocks.len() < BLOCKS_AT_ONCE {
                let some: Vec<Copies> = rows.by_ref().take(BLOCK_ROWS).collect();
                if some.is_empty() {
                    break;
                }
                blocks.push(pack_copies(ordinal, &some, position, &context.execution));
                ordinal += 1;
            }
            let last = blocks.len() < BLOCKS_AT_ONCE;
            if !blocks.is_empty() {
                transaction.put_state(StateChanges { scope: Some(scope.clone()), blocks, ..StateChanges::default() }).await?;
            }
            if last {
                return Ok(());
            }
        }
    }
}

/// How many copies are gone that this execution has not inserted itself.
fn others_gone(count: &Count) -> u32 {
    count.was.saturating_sub(count.now).saturating_sub(count.own)
}
