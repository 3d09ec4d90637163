//! Large entities are walked in parts, each a range of keys with a checkpoint and a ledger of its own.

use super::context::Limits;
use super::park::Parked;
use super::walk::Walk;
use crate::error::{Error, ErrorKind, Result};
use crate::source::Snapshot;
use crate::state::{Checkpoint, Counters};
use crate::value::{Key, KeyRange};
use tokio::task::JoinSet;

/// Returns in how many parts an entity of so many bytes is walked: as many as its share of all that is walked at the same time.
pub(super) fn number(limits: &Limits, bytes: u64) -> usize {
    let fair = limits.bytes.max(bytes).div_ceil(limits.parallel.max(1) as u64);
    usize::try_from(bytes / fair.max(limits.part_bytes).max(1)).unwrap_or(usize::MAX)
}

/// Returns the parts that these keys, in order, cut the entity into.
pub(super) fn between(cuts: Vec<Key>) -> Vec<(u32, KeyRange)> {
    let mut ranges = Vec::with_capacity(cuts.len() + 1);
    let mut after = None;
    for cut in cuts {
        ranges.push(KeyRange { after: after.replace(cut.clone()), up_to: Some(cut) });
    }
    ranges.push(KeyRange { after, up_to: None });
    (0..).zip(ranges).collect()
}

/// Returns the parts that have checkpoints, and what lies between them: a run that is killed leaves none of the parts that it had not
/// committed anything of.
pub(super) fn with_missing(checkpoints: &[(u32, Checkpoint)]) -> Vec<(u32, KeyRange)> {
    let mut known: Vec<(u32, &KeyRange)> = checkpoints.iter().map(|(part, checkpoint)| (*part, &checkpoint.range)).collect();
    known.sort_by_key(|(part, _)| *part);
    let mut parts: Vec<(u32, KeyRange)> = Vec::with_capacity(known.len() + 1);
    // Parts are numbered in the order of their ranges, so the number behind one that another does not follow is free.
    let mut next = 0;
    let mut covered: Option<&Key> = None;
    for (part, range) in known {
        if range.after.as_ref() != covered {
            parts.push((next, KeyRange { after: covered.cloned(), up_to: range.after.clone() }));
        }
        parts.push((part, range.clone()));
        (next, covered) = (part + 1, range.up_to.as_ref());
    }
    if covered.is_some() {
        parts.push((next, KeyRange { after: covered.cloned(), up_to: None }));
    }
    parts
}

/// Walks all parts until nothing more is gained, so many at the same time as may be, each of those with a view of its own; returns what
/// became of the rows. A limit is one of all parts together, which then have no views of their own: each takes what those before it have
/// left, and where that is nothing it stays untouched.
pub(super) async fn walk(
    parts: Vec<(Walk, Option<Box<dyn Snapshot>>)>,
    at_once: usize,
    mut snapshot: Box<dyn Snapshot>,
) -> Result<(Counters, Box<dyn Snapshot>)> {
    let mut walks = Vec::with_capacity(parts.len());
    let mut running = JoinSet::new();
    for (mut walk, fork) in parts {
        let Some(fork) = fork else {
            match walks.last().and_then(Walk::left) {
                Some(0) => break,
                Some(left) => walk.limit_to(left),
                None => {}
            }
            snapshot = walk.run(snapshot).await?;
            walks.push(walk);
            continue;
        };
        if running.len() >= at_once {
            walks.extend(next(&mut running).await?);
        }
        running.spawn(async move { walk.run(fork).await.map(|_| walk) });
    }
    while let Some(walk) = next(&mut running).await? {
        walks.push(walk);
    }
    let mut again: Vec<&mut Walk> = walks.iter_mut().filter(|walk| walk.may_go_again()).collect();
    let snapshot = go_again(&mut again, snapshot).await?;
    let mut sum = Counters::default();
    walks.iter().for_each(|walk| sum.add(&walk.counters()));
    Ok((sum, snapshot))
}

/// Waits for one of the walks that are under way.
async fn next(running: &mut JoinSet<Result<Walk>>) -> Result<Option<Walk>> {
    let Some(ended) = running.join_next().await else { return Ok(None) };
    ended.map_err(|e| Error::new(ErrorKind::Internal, "a part has died").caused_by(e))?.map(Some)
}

/// Tries the refused rows again, one part after another, for as long as that helps any: a row may have been refused for want of one that
/// came later, or for a value that another row has given up since, in the same part or in another.
async fn go_again(walks: &mut [&mut Walk], mut snapshot: Box<dyn Snapshot>) -> Result<Box<dyn Snapshot>> {
    let mut before = usize::MAX;
    let mut parked: Vec<Option<Parked>> = Vec::new();
    while walks.iter().any(|walk| walk.may_go_again()) {
        let refused = walks.iter().map(|walk| walk.refused()).sum();
        if refused >= before {
            if !parked.is_empty() {
                for (walk, parked) in walks.iter_mut().zip(&parked) {
                    if let Some(parked) = parked {
                        walk.unpark(parked).await?;
                    }
                }
                break;
            }
            // They may hold values of each other: once they give these up.
            for walk in walks.iter_mut() {
                parked.push(walk.park().await?);
            }
            if parked.iter().all(Option::is_none) {
                break;
            }
        }
        before = refused;
        for walk in walks.iter_mut().filter(|walk| walk.may_go_again()) {
            snapshot = walk.go_again(snapshot).await?;
        }
    }
    for walk in walks {
        walk.end(snapshot.as_mut()).await?;
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use proptest::prelude::*;

    fn limits(parallel: usize, bytes: u64) -> Limits {
        Limits { parallel, bytes, part_bytes: 64, ..Limits::default() }
    }

    #[test]
    fn an_entity_gets_its_share_of_what_is_walked_at_once() {
        assert_eq!(number(&limits(4, 0), 1000), 4, "alone");
        assert_eq!(number(&limits(4, 0), 130), 2, "as many as are worth it");
        assert!(number(&limits(4, 0), 63) < 2, "too small");
        assert_eq!(number(&limits(4, 1000), 900), 3, "the largest of several");
        assert!(number(&limits(4, 1000), 200) < 2, "a small one of several");
    }

    proptest! {
        #[test]
        fn parts_without_a_checkpoint_are_found_again(cuts in 0i64..6, lost in 0u32..64) {
            let whole = between((0..cuts).map(|n| Key::from_values(&[Value::Int(n)])).collect());
            let kept: Vec<(u32, Checkpoint)> = whole
                .iter()
                .filter(|(part, _)| lost & (1 << part) == 0)
                .map(|(part, range)| (*part, Checkpoint { range: range.clone(), ..Checkpoint::default() }))
                .collect();
            prop_assume!(!kept.is_empty());
            let found = with_missing(&kept);
            let mut covered = None;
            for (_, range) in &found {
                prop_assert_eq!(&range.after, &covered);
                covered.clone_from(&range.up_to);
            }
            prop_assert_eq!(covered, None, "the last part has no end");
            prop_assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{found:?}");
            for (part, checkpoint) in &kept {
                prop_assert!(found.contains(&(*part, checkpoint.range.clone())));
            }
        }
    }
}
