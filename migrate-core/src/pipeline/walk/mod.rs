//! The walk of one part of an entity: reads, compares with the ledger, writes, commits.
//!
//! ```text
//! for each range of ledger blocks:  read the source's rows of the range, merge, write what differs
//! behind the last block:            read on, write everything
//! ```
//!
//! A first copy is all tail; a second run is all ranges; a resumed execution is ranges up to where it was killed, and then tail. What
//! fails is undone to the last commit and tried again from there: see [`Walk::recover`].

mod commit;
mod digests;
mod ids;
mod moved;
mod passed;
mod recover;
mod rows;
mod write;

use super::batch::Batch;
use super::bonds::Children;
use super::context::{Context, Purpose};
use super::keymap::{MAPPED_ROWS, Translator};
use super::late::LateBinder;
use super::park::{Parked, park, unpark};
use super::read_back::Mirror;
use super::reader::{KnownChanges, ReadError, ReadPlan, Reader, Segment};
use super::refusals::Refusals;
use super::retry::Backoff;
use super::shape::{RowRefusal, Shaper};
use super::strategy::Synced;
use crate::diff::{BlockMerge, Entry, LedgerEdit};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Level;
use crate::source::Snapshot;
use crate::state::{Counters, Scope, SourceColumn, TargetState};
use crate::value::Key;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Refused rows that a walk looks out for.
const QUARANTINED: usize = 100_000;
/// Rows without their parents that are named in the log.
const NAMED: usize = 20;
/// Rows whose ledger entries are kept in memory before they are handed to the transaction.
const KEPT_ROWS: usize = 32_768;
/// Bytes of refused rows that are kept in memory before they are handed to the transaction.
pub(super) const REFUSED_BYTES: usize = 4 << 20;
/// Bytes of pages that wait for the end of their range at most.
const WAITING_BYTES: usize = 8 << 20;

/// How far a walk has got: everything up to here is committed, or needed no writing.
#[derive(Debug, Clone, Default)]
pub(super) struct Cursor {
    /// The last ledger block that was passed.
    pub(super) after: Option<i64>,
    /// The last key that was passed.
    pub(super) key: Option<Key>,
    /// Whether the ledger lies behind.
    pub(super) in_tail: bool,
    /// The last block, where it is so small that the tail joins it.
    small: Option<(i64, Vec<Entry>)>,
    counters: Counters,
    /// Rows of the source that were passed.
    rows: u64,
}

/// The walk of one part of an entity.
pub(super) struct Walk {
    context: Context,
    plan: ReadPlan,
    position: String,
    fingerprint: String,
    synced: Synced,
    /// The source's columns as the last finished run has found them.
    remembered: Option<Vec<SourceColumn>>,
    /// Whether a tail row's key is certainly not in the target.
    loadable: bool,
    /// Whether the next commit empties the ledger first.
    reset: bool,
    /// Whether only the keys of the ledger are true until the walk has reached its end.
    distrusted: bool,
    /// Where a walk from the start begins.
    begins: Cursor,
    /// Columns that the target's triggers were seen to alter.
    trigger_columns: BTreeSet<String>,
    /// Rows in quarantine when the walk began, and those of them that it has come by.
    quarantined: HashSet<Key>,
    met: HashSet<Key>,
    /// Rows in quarantine when it went again: those that it has put there itself are among them.
    put_there: HashSet<Key>,
    /// Of them, those that the target has refused, whole, for a parent that may come later, and for nothing else.
    parentless: HashSet<Key>,
    /// Told when rows stay refused for a constraint.
    leftover: Arc<AtomicBool>,
    late: LateBinder,
    /// Whether all parents are taken to be there, until the target says otherwise: all entities were walked.
    trusting: bool,
    /// What reads rows back before they are committed.
    mirror: Mirror,
    /// Whether the job has left the target without any row before.
    may_be_empty: bool,
    /// Whether what is written completes rows that this execution has loaded.
    first_copy: bool,
    /// Whether the target was found unable to show rows as they were written.
    unreadable: bool,
    /// Told when rows were written without their parents.
    incomplete: Arc<AtomicBool>,
    /// Told when an id of the source is another row's than before.
    reassigned: Arc<AtomicBool>,
    /// Whose rows are known by ids of these.
    children: Arc<[Children]>,
    /// Rows without their parents that may still be named in the log: none before all entities were walked.
    named: usize,
    sequence: u64,
    /// The sequence of the last commit that was acknowledged.
    acknowledged: Option<u64>,
    /// Whether a commit was sent whose answer did not come.
    in_doubt: bool,
    shaper: Shaper,
    /// What replaces ids, where the target gives others.
    translator: Option<Translator>,
    cursor: Cursor,
    /// What the next commit makes of the cursor.
    live: Cursor,
    merge: Option<BlockMerge>,
    /// The keys of the range at hand that are not passed yet, where they were listed; those that are set come with their rows.
    listed: VecDeque<(Key, bool)>,
    batch: Batch,
    /// What all parts of the entity have refused.
    refusals: Arc<Refusals>,
    /// Rows that the target refused, and why.
    refused: HashMap<Key, RowRefusal>,
    /// Of them, those that are there without their parents, and stay so.
    staying: HashSet<Key>,
    /// What the source was known to have changed, before the walk went again.
    changes: Option<Arc<KnownChanges>>,
    /// Whether a refusal may pass once other rows have been written.
    refused_by_constraint: bool,
    /// Rows per commit at most; small after a failure whose row is not known.
    careful: usize,
    backoff: Backoff,
    limit: Option<u64>,
}

/// What a walk starts from.
pub(super) struct Start {
    pub(super) loadable: bool,
    pub(super) reset: bool,
    /// Whether only the keys of the ledger are true.
    pub(super) distrusted: bool,
    pub(super) sequence: u64,
    pub(super) fingerprint: String,
    pub(super) synced: Synced,
    /// The source's columns as the last finished run has found them.
    pub(super) remembered: Option<Vec<SourceColumn>>,
    /// Columns that the target's triggers were seen to alter before.
    pub(super) trigger_columns: BTreeSet<String>,
    /// Rows that this execution has deleted already.
    pub(super) deleted: u64,
    /// Whether the job has left the target without any row.
    pub(super) may_be_empty: bool,
    /// What all parts of the entity have refused.
    pub(super) refusals: Arc<Refusals>,
    /// Takes note of rows that stay refused for a constraint.
    pub(super) refused: Arc<AtomicBool>,
    /// Takes note of rows that were written without their parents.
    pub(super) incomplete: Arc<AtomicBool>,
    /// Takes note of ids of the source that are other rows' than before.
    pub(super) reassigned: Arc<AtomicBool>,
    /// Whose rows are known by ids of these.
    pub(super) children: Arc<[Children]>,
    /// Whether all entities were walked before.
    pub(super) again: bool,
    /// Whether this execution has loaded all rows that are there.
    pub(super) first_copy: bool,
}

enum Failure {
    /// The source failed: the snapshot may be lost.
    Source(Error),
    /// The target failed, or the run itself.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Source(error) => Failure::Source(error),
            ReadError::Target(error) => Failure::Other(error),
        }
    }
}

impl Walk {
    pub(super) fn new(context: Context, plan: ReadPlan, position: String, start: Start) -> Self {
        let limit = context.limits.rows;
        let mut context = context;
        if plan.entity.generated.is_some() {
            context.limits.batch_rows = context.limits.batch_rows.min(context.limits.share(MAPPED_ROWS));
        }
        let late = LateBinder::new(&plan.entity, &plan.range);
        Walk {
            translator: Translator::new(&plan.entity, &plan.scope.job)
                .map(|translator| translator.knowing(context.given.clone())),
            shaper: Shaper::new(plan.entity.clone()),
            loadable: start.loadable,
            reset: start.reset,
            distrusted: start.distrusted,
            begins: Cursor { counters: Counters { deleted: start.deleted, ..Counters::default() }, ..Cursor::default() },
            trigger_columns: start.trigger_columns,
            quarantined: HashSet::new(),
            met: HashSet::new(),
            put_there: HashSet::new(),
            staying: HashSet::new(),
            parentless: HashSet::new(),
            leftover: start.refused,
            trusting: start.again && late.is_enforced(),
            late,
            mirror: Mirror::new(plan.entity.clone()),
            may_be_empty: start.may_be_empty,
            first_copy: start.first_copy,
            unreadable: false,
            incomplete: start.incomplete,
            reassigned: start.reassigned,
            children: start.children,
            named: if start.again { NAMED } else { 0 },
            sequence: start.sequence,
            acknowledged: None,
            in_doubt: false,
            fingerprint: start.fingerprint,
            synced: start.synced,
            remembered: start.remembered,
            position,
            cursor: Cursor::default(),
            live: Cursor::default(),
            merge: None,
            listed: VecDeque::new(),
            batch: Batch::default(),
            refusals: start.refusals,
            refused: HashMap::new(),
            changes: None,
            refused_by_constraint: false,
            careful: usize::MAX,
            backoff: Backoff::default(),
            limit,
            context,
            plan,
        }
    }

    /// Walks to the end for the first time.
    ///
    /// # Errors
    /// Those of the source as they are; those of the target that trying again does not cure.
    pub(super) async fn run(&mut self, snapshot: Box<dyn Snapshot>) -> Result<Box<dyn Snapshot>> {
        self.quarantined = read_quarantine(self.context.state.clone(), self.plan.scope.clone()).await?;
        if let Some(replay) = &self.context.replay {
            let asked = replay.keys(&self.plan.scope);
            self.quarantined.retain(|key| asked.contains(key));
            // Also those that an earlier walk has let in: one that waits is completed by a later.
            self.plan.replay = Some(Arc::new(asked));
        }
        self.know_changes();
        self.changes = self.plan.changes.clone();
        self.restart();
        let mut snapshot = self.run_once(snapshot).await?;
        if !self.may_go_again() {
            self.end(snapshot.as_mut()).await?;
        }
        Ok(snapshot)
    }

    /// Returns whether rows stayed refused that may no longer be once others have been written.
    pub(super) fn may_go_again(&self) -> bool {
        self.refused_by_constraint && !self.refused.is_empty()
    }

    /// Walks to the end once more, looking at all rows.
    pub(super) async fn go_again(&mut self, snapshot: Box<dyn Snapshot>) -> Result<Box<dyn Snapshot>> {
        let message = format!("{} rows that broke a constraint are tried once more", self.refused.len());
        self.context.log(Level::Info, &self.plan.entity.name, message);
        self.put_there = read_quarantine(self.context.state.clone(), self.plan.scope.clone()).await?;
        self.refused.clear();
        self.staying.clear();
        self.refused_by_constraint = false;
        self.plan.follow_ledger |= self.plan.replay.is_none();
        self.plan.changes = None;
        self.loadable = false;
        self.restart();
        self.run_once(snapshot).await
    }

    /// Ends a walk that is not gone again.
    pub(super) async fn end(&mut self, snapshot: &mut dyn Snapshot) -> Result<()> {
        // Other parts of the entity tell the same.
        self.leftover.fetch_or(self.may_go_again(), Ordering::Relaxed);
        if self.plan.replay.is_some() {
            return Ok(());
        }
        let changes = self.changes.take();
        self.keep_digests(changes.as_deref(), snapshot).await
    }

    /// Returns how many rows a limit has left for the parts behind this one; `None` without a limit.
    pub(super) fn left(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.cursor.rows))
    }

    /// Lets the walk read so many rows at most.
    pub(super) fn limit_to(&mut self, rows: u64) {
        self.limit = Some(rows);
    }

    /// Returns how many rows the target refuses as yet.
    pub(super) fn refused(&self) -> usize {
        self.refused.len()
    }

    /// Returns what became of the rows.
    pub(super) fn counters(&self) -> Counters {
        self.cursor.counters
    }

    /// Parks the rows that are refused; `None` if there was none that can be.
    pub(super) async fn park(&mut self) -> Result<Option<Parked>> {
        // One that stays without its parent has all other values that it is to have, and the ledger says how far it has come.
        let keys: Vec<Key> = self.refused.keys().filter(|key| !self.staying.contains(*key)).cloned().collect();
        if self.context.purpose != Purpose::Run || keys.is_empty() {
            return Ok(None);
        }
        match park(&self.context, &self.plan.entity, &self.plan.scope, &keys).await {
            Err(error) if matches!(error.kind(), ErrorKind::RowRejected | ErrorKind::Constraint) => Ok(None),
            other => other,
        }
    }

    /// Gives rows that are refused all the same what they had before they were parked.
    pub(super) async fn unpark(&mut self, parked: &Parked) -> Result<()> {
        let keys: Vec<Key> = self.refused.keys().cloned().collect();
        unpark(&self.context, &self.plan.entity, &self.plan.scope, parked, &keys).await
    }

    async fn run_once(&mut self, mut snapshot: Box<dyn Snapshot>) -> Result<Box<dyn Snapshot>> {
        loop {
            let state = self.context.state.clone();
            let mut reader = Reader::start(snapshot, self.plan.clone(), state, &self.cursor);
            let cancel = self.context.cancel.clone();
            let result = tokio::select! {
                result = Box::pin(self.pass(&mut reader)) => result,
                () = cancel.aborting() => Err(Failure::Other(Error::new(ErrorKind::Cancelled, "the run was aborted"))),
            };
            match result {
                Ok(()) => return reader.stop().await,
                Err(Failure::Source(error)) => {
                    self.batch.discard().await;
                    return Err(error);
                }
                Err(Failure::Other(error)) => {
                    snapshot = reader.stop().await?;
                    self.recover(error).await?;
                }
            }
        }
    }

    /// Reads and writes until the end or a failure.
    async fn pass(&mut self, reader: &mut Reader) -> Result<(), Failure> {
        let mut end: Option<Key> = None;
        while let Some(segment) = reader.next().await? {
            match segment {
                Segment::Range { blocks, after, end: key, last } => {
                    self.merge = Some(BlockMerge::new(blocks, after, last, &self.position, &self.context.execution));
                    end = Some(key);
                }
                Segment::Keys(keys) => self.listed = keys.into(),
                Segment::Same { rows, after, end, small } => self.pass_same(rows, after, end, small).await?,
                Segment::Tail => {
                    if self.loadable && self.batch.ranges > 0 {
                        // A load counts its own rows alone, to name one that is refused.
                        self.commit(LedgerEdit::default(), false).await?;
                    }
                    let small = self.live.small.take();
                    self.merge = Some(BlockMerge::tail(self.live.after, small, &self.position, &self.context.execution));
                    self.live.in_tail = true;
                    end = None;
                }
                Segment::Page(page) => {
                    self.live.counters.bytes += page.data().len() as u64;
                    let shaped = self.shape(page).await?;
                    if !self.take_page(&shaped).await? {
                        // The limit is reached: what was not read is not gone.
                        self.commit_part(true).await?;
                        return Ok(());
                    }
                }
                Segment::End => {
                    self.pass_listed(None)?;
                    self.end_range(end.take()).await?;
                }
            }
        }
        Ok(())
    }

    fn restart(&mut self) {
        self.cursor = self.begins.clone();
        self.rewind();
    }

    fn rewind(&mut self) {
        self.live = self.cursor.clone();
        self.merge = None;
        self.listed.clear();
        if let Some(translator) = &mut self.translator {
            translator.forget_own();
        }
    }
}

/// Returns the rows that earlier runs have refused.
async fn read_quarantine(state: Arc<dyn TargetState>, scope: Scope) -> Result<HashSet<Key>> {
    let keys = state.quarantined_keys(&scope, QUARANTINED).await?;
    Ok(keys.iter().map(Key::from_bytes).collect())
}
