//! Planned faults: which call fails, how, and what happens beside it.

use crate::error::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A call of the memory adapter that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// [`crate::Source::schema`] or [`crate::Sink::schema`].
    Schema,
    /// [`crate::Source::open_snapshot`].
    OpenSnapshot,
    /// [`crate::Snapshot::read_page`].
    ReadPage,
    /// [`crate::Snapshot::read_rows`].
    ReadRows,
    /// [`crate::Snapshot::survey`] or [`crate::Snapshot::read_keys`].
    ReadKeys,
    /// [`crate::Snapshot::digest`].
    Digest,
    /// [`crate::Snapshot::count_rows`].
    CountRows,
    /// [`crate::Sink::prepare`].
    Prepare,
    /// [`crate::Sink::build_keys`].
    BuildKeys,
    /// [`crate::Sink::finish`]; once per step.
    Finish,
    /// [`crate::Sink::begin`].
    Begin,
    /// [`crate::SinkTransaction::write`].
    Write,
    /// [`crate::SinkTransaction::delete`].
    Delete,
    /// [`crate::SinkTransaction::clear`].
    Clear,
    /// [`crate::SinkTransaction::commit`].
    Commit,
    /// [`crate::TargetState::acquire`].
    Acquire,
    /// [`crate::TargetState::settle`].
    Settle,
    /// [`crate::TargetState::checkpoints`].
    Checkpoints,
    /// [`crate::TargetState::ledger_blocks`] or [`crate::TargetState::ledger_heads`].
    LedgerBlocks,
}

/// The faults planned for one database; clones share them.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Default)]
struct Plan {
    calls: HashMap<Call, u64>,
    actions: Vec<(Call, u64, Action)>,
}

enum Action {
    Fail(ErrorKind),
    LoseAnswer,
    Run(Box<dyn FnOnce() + Send>),
}

/// What a call that was not made to fail must do with its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Give,
    Lose,
}

impl Faults {
    /// Makes the `nth` call from now on (1 is the next) fail with an error of this kind, without doing anything.
    ///
    /// For [`Call::Commit`] with [`ErrorKind::CommitUnknown`] this is a connection that broke before the server acted.
    pub fn fail(&self, call: Call, nth: u64, kind: ErrorKind) {
        self.plan(call, nth, Action::Fail(kind));
    }

    /// Lets the `nth` commit from now on (1 is the next) take effect and then loses its answer: [`ErrorKind::CommitUnknown`].
    pub fn lose_commit_answer(&self, nth: u64) {
        self.plan(Call::Commit, nth, Action::LoseAnswer);
    }

    /// Runs something just before the `nth` call from now on (1 is the next), such as a change of the rows or a takeover.
    pub fn run(&self, call: Call, nth: u64, action: impl FnOnce() + Send + 'static) {
        self.plan(call, nth, Action::Run(Box::new(action)));
    }

    /// Returns how often a call was made so far, failed ones included.
    pub fn calls(&self, call: Call) -> u64 {
        self.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// Forgets the faults that have not happened yet.
    pub fn clear(&self) {
        self.lock().actions.clear();
    }

    /// Counts a call and carries out what is planned for it.
    pub(super) fn hit(&self, call: Call) -> Result<Answer> {
        let mut due = Vec::new();
        {
            let mut plan = self.lock();
            let count = plan.calls.entry(call).or_default();
            *count += 1;
            let now = *count;
            for (at, action) in std::mem::take(&mut plan.actions).into_iter().map(|(c, n, a)| ((c, n), a)) {
                if at == (call, now) {
                    due.push(action);
                } else {
                    plan.actions.push((at.0, at.1, action));
                }
            }
        }
        // Outside of the lock, since an action may use the database and plan further faults.
        let mut answer = Answer::Give;
        for action in due {
            match action {
                Action::Fail(kind) => {
                    return Err(Error::new(kind, "a fault was planned for this call").with("call", format!("{call:?}")));
                }
                Action::LoseAnswer => answer = Answer::Lose,
                Action::Run(run) => run(),
            }
        }
        Ok(answer)
    }

    fn plan(&self, call: Call, nth: u64, action: Action) {
        let mut plan = self.lock();
        let at = plan.calls.get(&call).copied().unwrap_or(0) + nth;
        plan.actions.push((call, at, action));
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.lock();
        f.debug_struct("Faults").field("calls", &plan.calls).field("planned", &plan.actions.len()).finish()
    }
}
