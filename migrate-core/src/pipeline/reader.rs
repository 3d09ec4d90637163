//! Reads ahead: a task that walks the ledger's ranges and the tail, and hands over their pages.

use super::cursor::Candidates;
use super::digests::read_by_block;
use super::rebase::Rebase;
use super::replay;
use super::walk::Cursor;
use crate::diff::{BLOCK_ROWS, Entry, KeyIndex, LedgerBlock};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::EntityPlan;
use crate::source::{PageRequest, Snapshot};
use crate::state::{Scope, TargetState};
use crate::value::{Key, KeyRange, Page};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Ledger blocks whose range is read by one request: about 32,000 rows.
pub(super) const BLOCKS_PER_RANGE: usize = 32;
/// The same at least, where several walks share what may be in memory: what changes of a range waits there for its end.
pub(super) const FEWEST_BLOCKS_PER_RANGE: usize = 16;
/// Bytes of pages that wait for the writer at most, and one page more: what a source sends while a batch commits.
pub(super) const BYTES_AHEAD: usize = 2 << 20;

/// What an entry of an unpacked ledger block weighs, roughly.
const ENTRY_BYTES: usize = 96;

/// What a key of a list weighs, roughly.
const KEY_BYTES: usize = 40;
/// Rows of a range that are asked for by key at most; where more have changed, all are read.
const MOST_BY_KEY: usize = 4_096;

/// What a walk reads, in order.
pub(super) enum Segment {
    /// The range of these blocks begins; they follow the block `after`, and are perhaps the `last`.
    Range { blocks: Vec<LedgerBlock>, after: Option<i64>, end: Key, last: bool },
    /// All keys of the range that began last, in order; of those that are set the rows follow, the others have not changed.
    Keys(Vec<(Key, bool)>),
    /// A range that ends with the block `after` holds the rows of its blocks, and none has changed.
    Same { rows: u64, after: i64, end: Key, small: Option<(i64, Vec<Entry>)> },
    /// What lies behind the ledger begins.
    Tail,
    /// Rows of the range that began last.
    Page(Page),
    /// The range has been read to its end.
    End,
}

/// What to read.
#[derive(Clone)]
pub(super) struct ReadPlan {
    pub(super) entity: Arc<EntityPlan>,
    pub(super) scope: Scope,
    /// The execution whose blocks say what it did to each row.
    pub(super) execution: String,
    /// The part of the entity's keys that belong to the scope.
    pub(super) range: KeyRange,
    pub(super) page_bytes: usize,
    pub(super) page_rows: usize,
    /// Bytes of pages that wait for the writer at most, and one page more.
    pub(super) bytes_ahead: u32,
    /// Ledger blocks whose range is read by one request.
    pub(super) range_blocks: usize,
    /// Whether the ledger is to be followed; else everything is tail.
    pub(super) follow_ledger: bool,
    /// Whether only the ledger's keys are true.
    pub(super) distrust: bool,
    /// What is known to have changed, where that is known; else all rows are read.
    pub(super) changes: Option<Arc<KnownChanges>>,
    /// The refused rows that alone are read.
    pub(super) replay: Option<Arc<HashSet<Key>>>,
    /// What the ledger is read as, where a dry run leaves it as it was made for other columns.
    pub(super) rebase: Option<Arc<Rebase>>,
}

/// What is known to have changed since the last run.
#[derive(Debug)]
pub(super) struct KnownChanges {
    /// How.
    pub(super) by: KnownBy,
    /// Rows that are looked at whether they have changed or not.
    pub(super) always: HashSet<Key>,
    /// Whether the ledger must know each row's columns.
    pub(super) columns: bool,
}

impl ReadPlan {
    /// Returns the last block of what has not changed, if it is so small that the tail joins it, with what this execution has done to each row.
    pub(super) fn joined_by_tail(&self, last: Option<LedgerBlock>) -> Option<(i64, Vec<Entry>)> {
        let last = last.filter(|block| block.entries.len() < BLOCK_ROWS / 2)?;
        Some((last.ordinal, last.entries_of(&self.execution)))
    }
}

/// How changes are known.
#[derive(Debug)]
pub(super) enum KnownBy {
    /// The source names the rows that changed since the landmark of the last run.
    Landmark(String),
    /// The source's digests of blocks are compared with those in the ledger.
    Digests {
        /// What else must be the same as it was for a digest to say anything.
        recipe: [u8; 16],
        /// The ordinals of blocks whose digest is another one than it was.
        differing: Mutex<HashSet<i64>>,
    },
    /// A column of the table tells which rows may have changed.
    Cursor {
        /// These.
        candidates: Candidates,
        /// What a block must be sealed with to be passed over.
        recipe: [u8; 16],
    },
}

/// Why reading failed, and on which side.
#[derive(Debug)]
pub(super) enum ReadError {
    Source(Error),
    Target(Error),
}

/// The reading task of one pass of a walk.
pub(super) struct Reader {
    segments: mpsc::UnboundedReceiver<(Result<Segment, ReadError>, OwnedSemaphorePermit)>,
    task: JoinHandle<Box<dyn Snapshot>>,
}

impl Reader {
    /// Starts to read where the cursor stands.
    pub(super) fn start(mut snapshot: Box<dyn Snapshot>, plan: ReadPlan, state: Arc<dyn TargetState>, cursor: &Cursor) -> Self {
        let (sender, segments) = mpsc::unbounded_channel();
        let sender =
            Sender { segments: sender, room: Arc::new(Semaphore::new(plan.bytes_ahead as usize)), most: plan.bytes_ahead };
        let (after, from, tail) = (cursor.after, cursor.key.clone(), cursor.in_tail || !plan.follow_ledger);
        let task = tokio::spawn(async move {
            let begins = (after, from, tail);
            let ended = match &plan.replay {
                Some(keys) => replay::read(snapshot.as_mut(), &plan, keys, state.as_ref(), begins, &sender).await,
                None => read(snapshot.as_mut(), &plan, state.as_ref(), begins, &sender).await,
            };
            if let Err(error) = ended {
                // Nobody listens any more if the walk has failed by itself.
                let _ = sender.send(Err(error)).await;
            }
            snapshot
        });
        Reader { segments, task }
    }

    /// Returns the next segment; `None` when everything was read.
    pub(super) async fn next(&mut self) -> Result<Option<Segment>, ReadError> {
        // The room of a page is free again once it is handed over.
        self.segments.recv().await.map(|(segment, _room)| segment).transpose()
    }

    /// Stops reading and gives the snapshot back.
    pub(super) async fn stop(self) -> Result<Box<dyn Snapshot>> {
        drop(self.segments);
        self.task.await.map_err(|error| Error::new(ErrorKind::Internal, "the reading task has died").caused_by(error))
    }
}

/// The sending end of the queue to the writer.
pub(super) struct Sender {
    segments: mpsc::UnboundedSender<(Result<Segment, ReadError>, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    most: u32,
}

impl Sender {
    /// Waits for room and sends; an error if nobody listens any more.
    pub(super) async fn send(&self, segment: Result<Segment, ReadError>) -> std::result::Result<(), Gone> {
        let bytes = match &segment {
            Ok(Segment::Page(page)) => page.data().len(),
            Ok(Segment::Range { blocks, .. }) => blocks.iter().map(|b| b.entries.len()).sum::<usize>() * ENTRY_BYTES,
            Ok(Segment::Keys(keys)) => keys.len() * KEY_BYTES,
            Ok(Segment::Same { .. } | Segment::Tail | Segment::End) | Err(_) => 0,
        };
        let bytes = u32::try_from(bytes).unwrap_or(self.most).min(self.most);
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(bytes) => room.map_err(|_| Gone)?,
            () = self.segments.closed() => return Err(Gone),
        };
        self.segments.send((segment, room)).map_err(|_| Gone)
    }
}

/// Nobody listens any more.
pub(super) struct Gone;

async fn read(
    snapshot: &mut dyn Snapshot,
    plan: &ReadPlan,
    state: &dyn TargetState,
    (mut after, from, tail): (Option<i64>, Option<Key>, bool),
    sender: &Sender,
) -> Result<(), ReadError> {
    let mut from = from.or_else(|| plan.range.after.clone());
    let mut listing = plan.changes.as_deref();
    let mut rest = !tail;
    if rest
        && let Some(changes) = listing
        && !matches!(changes.by, KnownBy::Landmark(_))
    {
        match read_by_block(snapshot, plan, state, changes, (&mut after, &mut from), sender).await? {
            Passed::All => rest = false,
            Passed::Some => listing = None,
            Passed::Gone => return Ok(()),
        }
    }
    loop {
        if !rest {
            // Without a ledger to follow there is nothing else.
            break;
        }
        let stored = state.ledger_blocks(&plan.scope, after, plan.range_blocks).await.map_err(ReadError::Target)?;
        let mut blocks: Vec<LedgerBlock> =
            stored.iter().map(LedgerBlock::unpack).collect::<Result<_>>().map_err(ReadError::Target)?;
        if plan.distrust {
            blocks.iter_mut().flat_map(|block| &mut block.entries).for_each(Entry::distrust);
        }
        if let Some(rebase) = &plan.rebase {
            blocks.iter_mut().for_each(|block| rebase.apply(block));
        }
        let last = stored.len() < plan.range_blocks;
        let Some((end, ordinal)) = blocks.last().map(|block| (block.last_key.clone(), block.ordinal)) else { break };
        let range = KeyRange { after: from, up_to: Some(end.clone()) };
        let listed = match listing.map(|changes| (changes, &changes.by)) {
            Some((changes, KnownBy::Landmark(since))) => list_range(snapshot, plan, changes, since, &range, &blocks).await?,
            Some((_, KnownBy::Digests { .. } | KnownBy::Cursor { .. })) | None => Listed::Most,
        };
        let listens = match listed {
            Listed::Same => {
                let rows = blocks.iter().map(|block| block.entries.len() as u64).sum();
                let small = plan.joined_by_tail(blocks.pop());
                sender.send(Ok(Segment::Same { rows, after: ordinal, end: end.clone(), small })).await.is_ok()
            }
            Listed::Some(keys) => {
                sender.send(Ok(Segment::Range { blocks, after, end: end.clone(), last })).await.is_ok()
                    && read_listed(snapshot, plan, keys, range, sender).await?
            }
            Listed::Most => {
                sender.send(Ok(Segment::Range { blocks, after, end: end.clone(), last })).await.is_ok()
                    && read_range(snapshot, plan, range, None, sender).await?
            }
        };
        if !listens {
            return Ok(());
        }
        (after, from) = (Some(ordinal), Some(end));
        if last {
            // What is written of the range may lie behind its last block by now, and is not to be read again.
            break;
        }
    }
    if sender.send(Ok(Segment::Tail)).await.is_err() {
        return Ok(());
    }
    read_range(snapshot, plan, KeyRange { after: from, up_to: plan.range.up_to.clone() }, None, sender).await?;
    Ok(())
}

/// How far the ledger's blocks were passed.
pub(super) enum Passed {
    /// To their end.
    All,
    /// Not to their end: the rest is to be read.
    Some,
    /// Nobody listens any more.
    Gone,
}

/// How much of a range has changed.
enum Listed {
    /// Nothing.
    Same,
    /// The rows that are set.
    Some(Vec<(Key, bool)>),
    /// So much that all had better be read.
    Most,
}

/// Lists the keys of a range, and which of its rows are to be read.
async fn list_range(
    snapshot: &mut dyn Snapshot,
    plan: &ReadPlan,
    changes: &KnownChanges,
    since: &str,
    range: &KeyRange,
    blocks: &[LedgerBlock],
) -> Result<Listed, ReadError> {
    let most = blocks.iter().map(|block| block.entries.len()).sum::<usize>() + MOST_BY_KEY;
    let request = request_of(plan).with_range(range.clone()).with_limits(usize::MAX, most);
    let columns = plan.entity.read_columns();
    let request = PageRequest { columns: &columns, ..request };
    let found = snapshot.read_keys(&request, since).await;
    let found = found.map_err(|e| ReadError::Source(e.with("entity", &plan.entity.name)))?;
    if found.next.is_some() {
        return Ok(Listed::Most);
    }
    let own = blocks.iter().any(|block| block.execution == plan.execution);
    let known = |entry: &Entry| entry.is_known() && (!changes.columns || entry.columns.is_some());
    let settled = |key: &Key, entry: &Entry, fresh: bool| {
        !fresh && known(entry) && (changes.always.is_empty() || !changes.always.contains(key))
    };
    let entries: Vec<&Entry> = blocks.iter().flat_map(|block| &block.entries).collect();
    let mut by_key: Option<KeyIndex> = None;
    let (mut next, mut wanted, mut same) = (0, 0, !own && found.keys.len() == entries.len());
    let mut keys = Vec::with_capacity(found.keys.len());
    for (key, fresh) in found.keys.into_iter().zip(found.fresh) {
        // Both follow the source's order: mostly it is the next.
        let place = match entries.get(next) {
            Some(entry) if entry.key == key => Some(next),
            _ => by_key
                .get_or_insert_with(|| KeyIndex::new(entries.len(), |at| &entries[at].key))
                .find(&key, |at| &entries[at].key),
        };
        same &= place == Some(next);
        next = place.map_or(next, |place| place + 1);
        let read = place.is_none_or(|place| !settled(&key, entries[place], fresh));
        wanted += usize::from(read);
        keys.push((key, read));
    }
    if same && wanted == 0 {
        return Ok(Listed::Same);
    }
    Ok(if wanted > MOST_BY_KEY || wanted > keys.len() / 2 + 16 { Listed::Most } else { Listed::Some(keys) })
}

/// Hands over the keys of a range and reads the rows that are set; false if nobody listens any more.
pub(super) async fn read_listed(
    snapshot: &mut dyn Snapshot,
    plan: &ReadPlan,
    keys: Vec<(Key, bool)>,
    range: KeyRange,
    sender: &Sender,
) -> Result<bool, ReadError> {
    let wanted: Vec<Key> = keys.iter().filter(|(_, read)| *read).map(|(key, _)| key.clone()).collect();
    if sender.send(Ok(Segment::Keys(keys))).await.is_err() {
        return Ok(false);
    }
    if wanted.is_empty() {
        return Ok(sender.send(Ok(Segment::End)).await.is_ok());
    }
    read_range(snapshot, plan, range, Some(&wanted), sender).await
}

pub(super) fn request_of(plan: &ReadPlan) -> PageRequest<'_> {
    PageRequest::new(&plan.entity.source, &[], &plan.entity.key)
        .with_filter(plan.entity.parsed_filter.as_ref())
        .with_limits(plan.page_bytes, plan.page_rows)
}

/// Reads one range, or of it the rows of some keys; false if nobody listens any more.
pub(super) async fn read_range(
    snapshot: &mut dyn Snapshot,
    plan: &ReadPlan,
    range: KeyRange,
    only: Option<&[Key]>,
    sender: &Sender,
) -> Result<bool, ReadError> {
    let columns = plan.entity.read_columns();
    let mut request = PageRequest { columns: &columns, only, ..request_of(plan).with_range(range) };
    loop {
        let mut page = snapshot.read_page(&request).await.map_err(|e| ReadError::Source(e.with("entity", &plan.entity.name)))?;
        let next = page.next.take();
        if !page.is_empty() && sender.send(Ok(Segment::Page(page))).await.is_err() {
            return Ok(false);
        }
        match next {
            Some(key) => request.range.after = Some(key),
            None => break,
        }
    }
    Ok(sender.send(Ok(Segment::End)).await.is_ok())
}
