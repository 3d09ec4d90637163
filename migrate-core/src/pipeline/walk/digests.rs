//! Keeps the source's digests of what the ledger knows now, for the next run to compare, or seals blocks of which a column tells.

use super::super::context::Purpose;
use super::super::digests::{HEADS, blocks_behind, cursor_recipe, digests_of, recipe, sealed};
use super::super::reader::{BLOCKS_PER_RANGE, KnownBy, KnownChanges, request_of};
use super::{QUARANTINED, Walk, read_quarantine};
use crate::diff::Entry;
use crate::error::Result;
use crate::job::{Mode, Strategy};
use crate::source::{PageRequest, RangeDigest, Snapshot};
use crate::state::{BlockHead, StateChanges};
use crate::value::{Key, KeyRange};
use std::collections::HashSet;
use std::sync::PoisonError;

impl Walk {
    /// Asks the source, in the snapshot that was just walked, for the digests of blocks which have none or another one since, and keeps
    /// those of blocks that say of every row what the source holds; where a column tells what changes, blocks that do so are sealed, and
    /// the source is asked nothing. Nothing where the walk has left anything open.
    pub(super) async fn keep_digests(&mut self, changes: Option<&KnownChanges>, snapshot: &mut dyn Snapshot) -> Result<()> {
        let by_cursor = self.context.strategy == Strategy::Cursor && self.plan.entity.cursor.is_some();
        let wanted = by_cursor || self.context.strategy == Strategy::Ledger;
        let wanted = wanted && self.context.purpose == Purpose::Run && self.limit.is_none();
        if !wanted || !self.leaves_nothing_open() || self.plan.entity.impure().is_some() {
            return Ok(());
        }
        let refused = read_quarantine(self.context.state.clone(), self.plan.scope.clone()).await?;
        if refused.len() >= QUARANTINED {
            return Ok(());
        }
        let differing = match changes.map(|changes| &changes.by) {
            Some(KnownBy::Digests { differing, .. }) => differing.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Some(KnownBy::Landmark(_) | KnownBy::Cursor { .. }) | None => HashSet::new(),
        };
        let recipe = if by_cursor { cursor_recipe } else { recipe }(&self.fingerprint, self.context.job.mode);
        let missing = |head: &BlockHead| {
            differing.contains(&head.ordinal) || head.source_digest.as_ref().is_none_or(|digest| !digest.starts_with(&recipe))
        };
        let (mut after, mut from) = (None, self.plan.range.after.clone());
        loop {
            let heads = self.context.state.ledger_heads(&self.plan.scope, after, HEADS).await?;
            for group in heads.chunk_by(|one, other| missing(one) == missing(other)) {
                let wanted = missing(&group[0]);
                let asked = if by_cursor { None } else { Some(from.clone()) };
                if wanted && !self.keep_digests_of(group, after, asked, (&recipe, &refused), snapshot).await? {
                    return Ok(());
                }
                (after, from) = match group.last() {
                    Some(last) => (Some(last.ordinal), Some(Key::from_bytes(&last.last_key))),
                    None => (after, from),
                };
            }
            if heads.len() < HEADS {
                return Ok(());
            }
        }
    }

    /// Does so for blocks that follow one another; false if the source computes no digests. Seals them where the source is not to be asked
    /// for what comes after a key.
    async fn keep_digests_of(
        &mut self,
        heads: &[BlockHead],
        mut after: Option<i64>,
        asked: Option<Option<Key>>,
        (recipe, refused): (&[u8; 16], &HashSet<Key>),
        snapshot: &mut dyn Snapshot,
    ) -> Result<bool> {
        let found: Vec<Option<RangeDigest>> = match asked {
            Some(from) => {
                let ends: Vec<Key> = heads.iter().map(|head| Key::from_bytes(&head.last_key)).collect();
                let columns = self.plan.entity.read_columns();
                let range = KeyRange { after: from, up_to: ends.last().cloned() };
                let request = PageRequest { columns: &columns, ..request_of(&self.plan).with_range(range) };
                let Some(found) = digests_of(snapshot, &self.plan, &request, &ends).await? else { return Ok(false) };
                found.into_iter().map(Some).collect()
            }
            None => vec![None; heads.len()],
        };
        let with_columns = self.context.job.mode == Mode::Update;
        let told =
            |entry: &Entry| entry.is_known() && (!with_columns || entry.columns.is_some()) && !refused.contains(&entry.key);
        for (heads, found) in heads.chunks(BLOCKS_PER_RANGE).zip(found.chunks(BLOCKS_PER_RANGE)) {
            let ordinals = heads.iter().map(|head| head.ordinal);
            let blocks = blocks_behind(self.context.state.as_ref(), &self.plan.scope, after, ordinals).await?;
            let source_digests = blocks
                .iter()
                .zip(found)
                .filter(|(block, found)| found.as_ref().is_none_or(|found| found.rows == block.entries.len() as u64))
                .filter(|(block, _)| block.entries.iter().all(told))
                .map(|(block, found)| (block.ordinal, found.as_ref().map_or(recipe.to_vec(), |found| sealed(recipe, found))))
                .collect();
            let changes = StateChanges {
                scope: Some(self.plan.scope.clone()),
                source_digests,
                // A block that does not know yet what a commit has written is no such block.
                follows: self.acknowledged,
                ..StateChanges::default()
            };
            if !changes.source_digests.is_empty() {
                self.context.sink.begin(&self.context.fence).await?.commit(&changes).await?;
            }
            after = heads.last().map(|head| head.ordinal);
            self.context.check_cancelled()?;
        }
        Ok(true)
    }
}
