//! Passes over the ledger's blocks whose rows have not changed, as the source's own digests of them tell, or a column of the table.
//!
//! ```text
//! heads of blocks ──▶ digests of their ranges, computed inside the source ──▶ as they were?   passed over
//!                                                                         └─▶ another, none:  read and merged
//! ```
//!
//! A digest in the ledger says: these were the source's rows when they said what the block says. It is forgotten with every write of the
//! block, so that whatever the block's range has become since, the same digest means the same rows.
//!
//! Where a column tells what has changed, it tells nothing of what the ledger knows to be wrong, nor of rows that another filter lets in:
//! instead of a digest the block keeps a seal, which says under which recipe each of its rows was what the target holds.

use super::cursor::{Candidates, Lookout};
use super::reader::{BLOCKS_PER_RANGE, KnownBy, KnownChanges, Passed, ReadError, ReadPlan, Segment, Sender};
use super::reader::{read_listed, read_range, request_of};
use crate::diff::{BLOCK_ROWS, LedgerBlock};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Mode;
use crate::source::{PageRequest, RangeDigest, Snapshot};
use crate::state::{BlockHead, Scope, TargetState};
use crate::value::{Key, KeyRange};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Blocks whose digests are computed by one request: about 256,000 rows.
pub(super) const HEADS: usize = 256;

/// Returns a digest of all that must be as it was for the source's digests to say anything: what the rows become, and what a run does
/// with those that differ.
pub(super) fn recipe(fingerprint: &str, mode: Mode) -> [u8; 16] {
    recipe_of("", fingerprint, mode)
}

/// Returns the same for a column that tells what has changed; no digest begins with it.
pub(super) fn cursor_recipe(fingerprint: &str, mode: Mode) -> [u8; 16] {
    recipe_of("cursor ", fingerprint, mode)
}

fn recipe_of(by: &str, fingerprint: &str, mode: Mode) -> [u8; 16] {
    // What is skipped in `append` is written in the others; `update` wants to know each column.
    let mode = match mode {
        Mode::Init | Mode::Replace => "replace",
        Mode::Update => "update",
        Mode::Append => "append",
    };
    let full: [u8; 32] = Sha256::digest(format!("{by}{} {mode} {fingerprint}", env!("CARGO_PKG_VERSION"))).into();
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    short
}

/// The form in which a digest is kept with a block.
pub(super) fn sealed(recipe: &[u8; 16], found: &RangeDigest) -> Vec<u8> {
    [&recipe[..], &found.rows.to_be_bytes(), &found.digest].concat()
}

/// What is done with a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Its rows are as they were.
    Same,
    /// They are as they were, but each is to be looked up in the ledger.
    Known,
    /// They are to be read.
    Read,
}

/// Reads the ledger's range behind the block and key given, but for blocks that are as they were: their digests are the same, or the cursor
/// finds nothing in them.
pub(super) async fn read_by_block(
    snapshot: &mut dyn Snapshot,
    plan: &ReadPlan,
    state: &dyn TargetState,
    changes: &KnownChanges,
    (after, from): (&mut Option<i64>, &mut Option<Key>),
    sender: &Sender,
) -> Result<Passed, ReadError> {
    let anywhere = match &changes.by {
        KnownBy::Cursor { candidates, .. } => candidates.any(&plan.entity, snapshot).await.map_err(ReadError::Source)?,
        KnownBy::Digests { .. } | KnownBy::Landmark(_) => true,
    };
    // A refused row that was never written is in no block.
    let mut lookout = match &changes.by {
        KnownBy::Cursor { .. } => Lookout::of(&plan.entity, &changes.always, snapshot).await.map_err(ReadError::Source)?,
        KnownBy::Digests { .. } | KnownBy::Landmark(_) => Lookout::default(),
    };
    loop {
        let heads = match state.ledger_heads(&plan.scope, *after, HEADS).await {
            // A dry run may meet tables that a run would have brought up to date.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Passed::Some),
            other => other.map_err(ReadError::Target)?,
        };
        if heads.is_empty() {
            return Ok(Passed::All);
        }
        let same = match &changes.by {
            KnownBy::Digests { recipe, differing } => {
                same_by_digest(snapshot, plan, (recipe, differing), from.as_ref(), &heads).await
            }
            KnownBy::Cursor { candidates, recipe } => {
                let candidates = Some(candidates).filter(|_| anywhere);
                same_by_cursor(snapshot, plan, (candidates, recipe, &mut lookout), from.clone(), &heads).await
            }
            KnownBy::Landmark(_) => Ok(None),
        };
        let Some(same) = same.map_err(ReadError::Source)? else { return Ok(Passed::Some) };
        let verdict = |(head, same): (&BlockHead, bool)| {
            // What this execution has done to each row is counted again, and refused rows are looked at each time.
            let each = head.execution == plan.execution || !changes.always.is_empty();
            match (same, each) {
                (true, true) => Verdict::Known,
                (true, false) => Verdict::Same,
                (false, _) => Verdict::Read,
            }
        };
        let found = same;
        let verdicts: Vec<(Verdict, BlockHead)> = heads.iter().zip(found).map(verdict).zip(heads.iter().cloned()).collect();
        let all = heads.len() < HEADS;
        let mut left = verdicts.len();
        for group in verdicts.chunk_by(|(one, _), (other, _)| one == other).flat_map(|group| match group {
            [(Verdict::Same, _), ..] => group.chunks(HEADS),
            _ => group.chunks(BLOCKS_PER_RANGE),
        }) {
            left -= group.len();
            let Some((verdict, head)) = group.last() else { continue };
            let (ordinal, end) = (head.ordinal, Key::from_bytes(&head.last_key));
            let range = KeyRange { after: from.replace(end.clone()), up_to: Some(end.clone()) };
            let last = all && left == 0;
            let listens = if *verdict == Verdict::Same {
                let rows = group.iter().map(|(_, head)| u64::from(head.row_count)).sum();
                let small = if last { small_block(plan, state, group, *after).await? } else { None };
                sender.send(Ok(Segment::Same { rows, after: ordinal, end, small })).await.is_ok()
            } else {
                let blocks = blocks_of(plan, state, group, *after).await?;
                let entries = blocks.iter().flat_map(|block| &block.entries);
                let known = *verdict == Verdict::Known && !entries.clone().any(|entry| changes.always.contains(&entry.key));
                let keys = entries.map(|entry| (entry.key.clone(), false)).collect();
                sender.send(Ok(Segment::Range { blocks, after: *after, end, last })).await.is_ok()
                    && match known {
                        true => read_listed(snapshot, plan, keys, range, sender).await?,
                        false => read_range(snapshot, plan, range, None, sender).await?,
                    }
            };
            if !listens {
                return Ok(Passed::Gone);
            }
            *after = Some(ordinal);
        }
        if all {
            return Ok(Passed::All);
        }
    }
}

/// Says of each block whether the source's digest of its range is the one that is kept with it; `None` if the source computes none.
async fn same_by_digest(
    snapshot: &mut dyn Snapshot,
    plan: &ReadPlan,
    (recipe, differing): (&[u8; 16], &Mutex<HashSet<i64>>),
    from: Option<&Key>,
    heads: &[BlockHead],
) -> Result<Option<Vec<bool>>> {
    let columns = plan.entity.read_columns();
    let ends: Vec<Key> = heads.iter().map(|head| Key::from_bytes(&head.last_key)).collect();
    let range = KeyRange { after: from.cloned(), up_to: ends.last().cloned() };
    let request = PageRequest { columns: &columns, ..request_of(plan).with_range(range) };
    let Some(found) = digests_of(snapshot, plan, &request, &ends).await? else { return Ok(None) };
    let same = heads.iter().zip(&found).map(|(head, found)| {
        let Some(before) = &head.source_digest else { return false };
        let same = before == &sealed(recipe, found) && found.rows == u64::from(head.row_count);
        if !same && before.starts_with(recipe) {
            differing.lock().unwrap_or_else(PoisonError::into_inner).insert(head.ordinal);
        }
        same
    });
    Ok(Some(same.collect()))
}

/// Says of each block whether it is sealed, and neither the cursor finds a row in it that may have changed nor is there one that is looked
/// out for: where there is, all blocks that would be read together are. Without candidates the cursor finds none.
async fn same_by_cursor(
    snapshot: &mut dyn Snapshot,
    plan: &ReadPlan,
    (candidates, recipe, lookout): (Option<&Candidates>, &[u8; 16], &mut Lookout),
    mut from: Option<Key>,
    heads: &[BlockHead],
) -> Result<Option<Vec<bool>>> {
    let entity = &plan.entity;
    let mut same = Vec::with_capacity(heads.len());
    let Some(last) = heads.last() else { return Ok(Some(same)) };
    let mut here = lookout.take(entity, &Key::from_bytes(&last.last_key), snapshot).await?;
    for group in heads.chunks(BLOCKS_PER_RANGE) {
        let Some(end) = group.last().map(|head| Key::from_bytes(&head.last_key)) else { break };
        let changed = match candidates {
            Some(candidates) => candidates.places(entity, from.as_ref(), group, snapshot).await?,
            None => 0..0,
        };
        let looked_out_for = !here.take(entity, &end, snapshot).await?.is_empty();
        let same_at = |(place, head): (usize, &BlockHead)| {
            let read = looked_out_for || changed.contains(&place);
            !read && head.source_digest.as_ref().is_some_and(|seal| seal == recipe)
        };
        same.extend(group.iter().enumerate().map(same_at));
        from = Some(end);
    }
    Ok(Some(same))
}

/// Asks the source for digests.
///
/// # Errors
/// [`ErrorKind::Internal`] if it gives another number of them.
pub(super) async fn digests_of(
    snapshot: &mut dyn Snapshot,
    plan: &ReadPlan,
    request: &PageRequest<'_>,
    ends: &[Key],
) -> Result<Option<Vec<RangeDigest>>> {
    let found = snapshot.digest(request, ends).await.map_err(|error| error.with("entity", &plan.entity.name))?;
    match &found {
        Some(found) if found.len() != ends.len() => {
            Err(Error::new(ErrorKind::Internal, "the source gives another number of digests than was asked for"))
        }
        Some(_) | None => Ok(found),
    }
}

/// Returns the blocks of these heads, which follow the block `after`.
pub(super) async fn blocks_behind(
    state: &dyn TargetState,
    scope: &Scope,
    after: Option<i64>,
    ordinals: impl ExactSizeIterator<Item = i64>,
) -> Result<Vec<LedgerBlock>> {
    let stored = state.ledger_blocks(scope, after, ordinals.len()).await?;
    if !stored.iter().map(|block| block.ordinal).eq(ordinals) {
        return Err(Error::new(ErrorKind::Internal, "the ledger has changed while it was read"));
    }
    stored.iter().map(LedgerBlock::unpack).collect()
}

async fn blocks_of(
    plan: &ReadPlan,
    state: &dyn TargetState,
    group: &[(Verdict, BlockHead)],
    after: Option<i64>,
) -> Result<Vec<LedgerBlock>, ReadError> {
    let ordinals = group.iter().map(|(_, head)| head.ordinal);
    blocks_behind(state, &plan.scope, after, ordinals).await.map_err(ReadError::Target)
}

/// Returns the last of these blocks where it is so small that the tail joins it.
async fn small_block(
    plan: &ReadPlan,
    state: &dyn TargetState,
    group: &[(Verdict, BlockHead)],
    after: Option<i64>,
) -> Result<Option<(i64, Vec<crate::diff::Entry>)>, ReadError> {
    let [before @ .., last] = group else { return Ok(None) };
    if last.1.row_count as usize >= BLOCK_ROWS / 2 {
        return Ok(None);
    }
    let after = before.last().map(|(_, head)| head.ordinal).or(after);
    let blocks = blocks_of(plan, state, std::slice::from_ref(last), after).await?;
    Ok(plan.joined_by_tail(blocks.into_iter().next()))
}
