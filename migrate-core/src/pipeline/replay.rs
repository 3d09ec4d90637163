//! Sends refused rows again, and no others.
//!
//! ```text
//! refused keys ──▶ which of them the source has ──▶ for each range of the ledger that one lies in: read, merge, write
//! ```
//!
//! The ledger takes them up where they belong; its other entries stay as they are, and so do the checkpoints, but for the landmark where a
//! row is left open: whatever else has changed at the source is left to the next run, deletions among it.

use super::reader::{BLOCKS_PER_RANGE, Gone, ReadError, ReadPlan, Segment, Sender, request_of};
use super::{Pipeline, RunReport, execute};
use crate::diff::{Entry, LedgerBlock};
use crate::error::{Error, ErrorKind, Result};
use crate::hint;
use crate::job::{CancelToken, Event, Level, LogLine};
use crate::plan::EntityPlan;
use crate::source::{PageRequest, Snapshot};
use crate::state::{QuarantinedRow, Scope, TargetState};
use crate::value::{Key, KeyRange, Page, PageBuilder};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Rows that are read together: of rows that were refused it is not known how large they are.
const AT_ONCE: usize = 32;
/// Keys that are looked up together.
const KEYS_AT_ONCE: usize = 1_000;

/// The refused rows that are sent again, by entity and part.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    keys: BTreeMap<String, BTreeMap<u32, HashSet<Key>>>,
}

impl Replay {
    /// Returns the keys of a part's rows.
    pub(super) fn keys(&self, scope: &Scope) -> HashSet<Key> {
        self.keys.get(&scope.entity).and_then(|parts| parts.get(&scope.partition)).cloned().unwrap_or_default()
    }

    /// Returns whether rows of an entity are sent again.
    pub(super) fn concerns(&self, entity: &str) -> bool {
        self.keys.contains_key(entity)
    }

    /// Returns the parts of an entity that have any.
    pub(super) fn parts(&self, entity: &str) -> Vec<u32> {
        self.keys.get(entity).map(|parts| parts.keys().copied().collect()).unwrap_or_default()
    }

    /// Returns how many of an entity's rows, in these parts, the source has under the entity's filter.
    pub(super) async fn count(&self, entity: &EntityPlan, parts: &[u32], snapshot: &mut dyn Snapshot) -> Result<u64> {
        let mut count = 0;
        for (_, keys) in self.keys.get(&entity.name).into_iter().flatten().filter(|(part, _)| parts.contains(part)) {
            count += present(entity, keys, snapshot).await?.len() as u64;
        }
        Ok(count)
    }
}

/// Runs the job for these rows alone.
pub(super) async fn replay(pipeline: &Pipeline, rows: &[QuarantinedRow], cancel: &CancelToken) -> Result<RunReport> {
    let rows: Vec<&QuarantinedRow> = rows.iter().filter(|row| row.scope.job == pipeline.job.name).collect();
    let mut pipeline = pipeline.clone();
    // All of the job is planned: whether a row's parent is nowhere, and what becomes of the row then, is asked of entities whose rows are not
    // sent as well.
    (pipeline.options.stages, pipeline.options.entities) = (Vec::new(), Vec::new());
    (pipeline.options.limit, pipeline.options.plan_hash) = (None, None);
    let plan = pipeline.plan().await?;
    let mut replay = Replay::default();
    let mut unkeyed = BTreeSet::new();
    for row in rows {
        let name = &row.scope.entity;
        let Some(entity) = plan.entity(name) else {
            let hint = hint::nearest(name, plan.entities.iter().map(|e| &e.name[..]));
            return Err(Error::new(ErrorKind::Config, format!("the job has no entity \"{name}\"{hint}")));
        };
        if entity.is_keyless() || entity.set.is_some() {
            unkeyed.insert(name.clone());
        } else {
            let parts = replay.keys.entry(name.clone()).or_default();
            parts.entry(row.scope.partition).or_default().insert(Key::from_bytes(&row.key));
        }
    }
    for entity in &unkeyed {
        let line = LogLine::new(pipeline.clock.now(), Level::Warn, UNKEYED).with_entity(entity);
        pipeline.observer.on_event(&Event::Log(line));
    }
    if replay.keys.is_empty() {
        let error = Error::new(ErrorKind::Unsupported, UNKEYED).with("job", &pipeline.job.name);
        return Err(unkeyed.first().into_iter().fold(error, |error, entity| error.with("entity", entity)));
    }
    pipeline.replay = Some(Arc::new(replay));
    execute::run(&pipeline, cancel).await
}

const UNKEYED: &str =
    "refused rows of an entity without a key of their own are not sent again one by one; run the entity instead";

/// Reads the refused rows, range by range.
pub(super) async fn read(
    snapshot: &mut dyn Snapshot,
    plan: &ReadPlan,
    wanted: &HashSet<Key>,
    state: &dyn TargetState,
    (mut after, from, tail): (Option<i64>, Option<Key>, bool),
    sender: &Sender,
) -> Result<(), ReadError> {
    let mut from = from.or_else(|| plan.range.after.clone());
    let failed = |error: Error| ReadError::Source(error.with("entity", &plan.entity.name));
    let mut wanted = present(&plan.entity, wanted, snapshot).await.map_err(failed)?;
    let mut rest = !tail;
    while rest && !wanted.is_empty() {
        let stored = state.ledger_blocks(&plan.scope, after, BLOCKS_PER_RANGE).await.map_err(ReadError::Target)?;
        let mut blocks: Vec<LedgerBlock> =
            stored.iter().map(LedgerBlock::unpack).collect::<Result<_>>().map_err(ReadError::Target)?;
        if plan.distrust {
            blocks.iter_mut().flat_map(|block| &mut block.entries).for_each(Entry::distrust);
        }
        let last = stored.len() < BLOCKS_PER_RANGE;
        let Some((end, ordinal)) = blocks.last().map(|block| (block.last_key.clone(), block.ordinal)) else { break };
        let range = KeyRange { after: from, up_to: Some(end.clone()) };
        let known = blocks.iter().flat_map(|block| &block.entries).map(|entry| &entry.key);
        let keys = list(snapshot, plan, range, known, &mut wanted).await.map_err(failed)?;
        let hits: Vec<Key> = keys.iter().filter(|(_, read)| *read).map(|(key, _)| key.clone()).collect();
        let listens = if hits.is_empty() {
            let small = plan.joined_by_tail(blocks.pop());
            sender.send(Ok(Segment::Same { rows: 0, after: ordinal, end: end.clone(), small })).await.is_ok()
        } else {
            sender.send(Ok(Segment::Range { blocks, after, end: end.clone(), last })).await.is_ok()
                && sender.send(Ok(Segment::Keys(keys))).await.is_ok()
                && send(snapshot, plan, &hits, sender).await?.is_ok()
        };
        if !listens {
            return Ok(());
        }
        (after, from, rest) = (Some(ordinal), Some(end), !last);
    }
    if sender.send(Ok(Segment::Tail)).await.is_err() {
        return Ok(());
    }
    let range = KeyRange { after: from, up_to: plan.range.up_to.clone() };
    let keys = list(snapshot, plan, range, std::iter::empty(), &mut wanted).await.map_err(failed)?;
    let hits: Vec<Key> = keys.into_iter().map(|(key, _)| key).collect();
    // Nobody listens any more if the walk has failed by itself.
    let _ = send(snapshot, plan, &hits, sender).await?;
    Ok(())
}

/// Returns which of these keys the source has under the entity's filter.
async fn present(entity: &EntityPlan, keys: &HashSet<Key>, snapshot: &mut dyn Snapshot) -> Result<HashSet<Key>> {
    let keys: Vec<Key> = keys.iter().cloned().collect();
    let request = PageRequest::new(&entity.source, &entity.key, &entity.key).with_filter(entity.parsed_filter.as_ref());
    let mut found = HashSet::with_capacity(keys.len());
    for some in keys.chunks(KEYS_AT_ONCE) {
        let page = snapshot.read_rows(&request, some).await?;
        for row in page.rows() {
            found.insert(Key::from_values(&row.values()?));
        }
    }
    Ok(found)
}

/// Lists, in the source's order, the keys of a range that the ledger knows and those that are wanted, which are set and taken off the
/// list of what is wanted. What the source has lost stays where the ledger has it.
async fn list(
    snapshot: &mut dyn Snapshot,
    plan: &ReadPlan,
    range: KeyRange,
    known: impl Iterator<Item = &Key>,
    wanted: &mut HashSet<Key>,
) -> Result<Vec<(Key, bool)>> {
    let known: Vec<&Key> = known.collect();
    let places: HashMap<&Key, usize> = known.iter().enumerate().map(|(place, key)| (*key, place)).collect();
    let mut listed = vec![false; known.len()];
    let (mut keys, mut next) = (Vec::with_capacity(known.len()), 0);
    let mut request = PageRequest { columns: &plan.entity.key, ..request_of(plan).with_range(range) };
    while !wanted.is_empty() {
        let mut page = snapshot.read_page(&request).await?;
        let last = page.next.take();
        for row in page.rows() {
            let key = Key::from_values(&row.values()?);
            let place = places.get(&key).copied();
            for lost in next..place.unwrap_or(next) {
                if !std::mem::replace(&mut listed[lost], true) {
                    keys.push((known[lost].clone(), wanted.remove(known[lost])));
                }
            }
            next = place.map_or(next, |place| next.max(place + 1));
            let again = place.is_some_and(|place| std::mem::replace(&mut listed[place], true));
            let read = wanted.remove(&key);
            if !again && (read || place.is_some()) {
                keys.push((key, read));
            }
        }
        match last {
            Some(key) => request.range.after = Some(key),
            None => break,
        }
    }
    let rest = known.iter().zip(&listed).filter(|(_, listed)| !**listed).map(|(key, _)| ((*key).clone(), false));
    keys.extend(rest);
    Ok(keys)
}

/// Hands over the rows of these keys, in this order.
async fn send(
    snapshot: &mut dyn Snapshot,
    plan: &ReadPlan,
    keys: &[Key],
    sender: &Sender,
) -> Result<std::result::Result<(), Gone>, ReadError> {
    let columns = plan.entity.read_columns();
    let request = PageRequest { columns: &columns, ..request_of(plan) };
    for keys in keys.chunks(AT_ONCE) {
        let found = async { in_order(&snapshot.read_rows(&request, keys).await?, &plan.entity.key, keys) };
        let page = found.await.map_err(|error: Error| ReadError::Source(error.with("entity", &plan.entity.name)))?;
        if sender.send(Ok(Segment::Page(page))).await.is_err() {
            return Ok(Err(Gone));
        }
    }
    Ok(sender.send(Ok(Segment::End)).await)
}

/// Puts rows into the order of these keys.
fn in_order(page: &Page, key: &[String], keys: &[Key]) -> Result<Page> {
    let places: Vec<usize> = key.iter().filter_map(|name| page.column_index(name)).collect();
    let mut by_key = HashMap::with_capacity(keys.len());
    for (at, row) in page.rows().enumerate() {
        let values = row.values()?;
        by_key.insert(Key::from_values(places.iter().map(|place| &values[*place])), at);
    }
    let mut ordered = PageBuilder::new(page.columns().clone(), page.encoding());
    for key in keys {
        let at = by_key.get(key);
        let at = at.ok_or_else(|| Error::new(ErrorKind::Internal, "the source lists a row that it does not give"))?;
        ordered.push_row(page.row(*at).data());
    }
    Ok(ordered.finish(None))
}
