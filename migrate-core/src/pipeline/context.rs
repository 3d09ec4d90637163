//! What all parts of one attempt share.

use super::dry::Foreseen;
use super::keymap::Given;
use super::replay::Replay;
use crate::error::{Error, ErrorKind, Result};
use crate::job::{
    CancelToken, Clock, DeleteGuard, DeleteMode, Event, Job, LeftFilter, Level, LogLine, Observer, ProgressTracker,
    QuarantineLimit, Strategy, Timestamp, VerifyMode,
};
use crate::schema::TableName;
use crate::sink::Sink;
use crate::source::Source;
use crate::state::{Counters, Fence, TargetState};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Rows per transaction at most, unless told otherwise. Of each its key is kept until its batch has committed, which must not outweigh
/// the pages.
pub(super) const BATCH_ROWS: usize = 524_288;

/// What all parts of one attempt share.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) job: Arc<Job>,
    pub(super) source: Arc<dyn Source>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) state: Arc<dyn TargetState>,
    pub(super) fence: Fence,
    pub(super) execution: String,
    pub(super) attempt: u32,
    pub(super) limits: Limits,
    /// Whether entities of the job are left as they are: nothing is then known of their rows.
    pub(super) narrow: bool,
    pub(super) strategy: Strategy,
    pub(super) verify: VerifyMode,
    pub(super) cancel: CancelToken,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) tracker: Arc<ProgressTracker>,
    pub(super) clock: Arc<dyn Clock>,
    /// What it is for.
    pub(super) purpose: Purpose,
    /// The refused rows that alone are sent again.
    pub(super) replay: Option<Arc<Replay>>,
    /// Whether it repairs what a comparison has found.
    pub(super) repairs: bool,
    /// What a plan knows of rows that are not written as they are; none but a plan has it.
    pub(super) foreseen: Option<Arc<Foreseen>>,
    /// Room for [`Limits::multiset`] rows that are counted.
    pub(super) counting: Arc<Semaphore>,
    /// Ids that were given to rows which had none.
    pub(super) given: Arc<Given>,
    /// Tables that a dry run plans to create; a run has created them before it looks.
    pub(super) missing: Arc<HashSet<TableName>>,
}

/// What an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To write rows.
    Run,
    /// To say what a run would write.
    Preview,
    /// To make the target remember the rows that it holds.
    Adopt,
}

/// How much at once, and how many refused rows at most.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    pub(super) page_bytes: usize,
    pub(super) batch_bytes: usize,
    pub(super) batch_rows: usize,
    pub(super) parallel: usize,
    pub(super) quarantined: QuarantineLimit,
    pub(super) deletes: DeleteGuard,
    /// Rows to read per entity.
    pub(super) rows: Option<u64>,
    /// Bytes that are worth a part of their own.
    pub(super) part_bytes: u64,
    /// Bytes of all entities that are walked at the same time; 0 for one alone.
    pub(super) bytes: u64,
    /// Different rows without a key that are counted at the same time at most.
    pub(super) multiset: usize,
    /// Walks that share what one may hold in memory.
    pub(super) walks: usize,
}

impl Limits {
    /// Returns a walk's share of an amount.
    pub(super) fn share(&self, amount: usize) -> usize {
        (amount / self.walks.max(1)).max(1)
    }
}

impl Context {
    /// Returns the context of one of several walks at the same time.
    pub(super) fn among(&self, walks: usize) -> Self {
        let mut context = self.clone();
        context.limits.walks *= walks.max(1);
        // What each walk has besides, its sessions and buffers, is made up for.
        let most = if walks > 1 { BATCH_ROWS / 4 * 3 } else { BATCH_ROWS };
        context.limits.batch_rows = context.limits.batch_rows.min(context.limits.share(most));
        context
    }

    /// Whether rows that differ may stay unread: nothing is then known of those that are gone, nor is anything ended.
    pub(super) fn leaves_rows_out(&self) -> bool {
        self.limits.rows.is_some() || self.replay.is_some()
    }

    /// Fails if the run was asked to stop.
    pub(super) fn check_cancelled(&self) -> Result<()> {
        if self.cancel.is_stopping() {
            return Err(Error::new(ErrorKind::Cancelled, "the run was asked to stop"));
        }
        Ok(())
    }

    /// Fails if more rows were refused than the job allows.
    pub(super) fn check_quarantine(&self, counters: &Counters, read: u64, finished: bool) -> Result<()> {
        if self.limits.quarantined.is_exceeded(counters.quarantined, read, finished) {
            let message =
                format!("{} of {read} rows were refused; the limit is {}", counters.quarantined, self.limits.quarantined);
            return Err(Error::new(ErrorKind::TooManyRefused, message));
        }
        Ok(())
    }

    /// Returns whether rows that the source has lost may have to be deleted or marked.
    pub(super) fn lists_gone(&self) -> bool {
        self.job.deletes.mode != DeleteMode::Ignore || self.job.left_filter == LeftFilter::Delete
    }

    pub(super) fn emit(&self, event: &Event) {
        self.observer.on_event(event);
    }

    /// Returns what has become of an entity's rows so far.
    pub(super) fn settled(&self, entity: &str) -> Counters {
        self.tracker.progress().entities.into_iter().find(|e| e.name == entity).map(|e| e.counters).unwrap_or_default()
    }

    /// Returns what has become of all entities' rows.
    pub(super) fn total(&self) -> Counters {
        let mut total = Counters::default();
        self.tracker.progress().entities.iter().for_each(|entity| total.add(&entity.counters));
        total
    }

    pub(super) fn log(&self, level: Level, entity: &str, message: impl Into<String>) {
        let line = LogLine::new(self.now(), level, message).with_entity(entity);
        self.emit(&Event::Log(line));
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
