//! Deals with the rows that the source has lost, once all entities were walked.
//!
//! ```text
//! gone rows ──▶ look at the source again ──▶ count, guard ──▶ delete or mark, children first ──▶ counters
//!               (back again? spelled anew?                    (what others refer to waits for
//!                only left the filter?)                        those, or is reported)
//! ```
//!
//! The walks cannot delete: parents are walked before their children, and only at the end is it known how many rows would go. What they
//! miss is listed in the target, in the transaction that forgets it in the ledger, so that a crash in between loses nothing.

use super::bonds::{self, Bond, Held};
use super::cascade;
use super::context::Context;
use super::entity::{EntityRun, holds_rows};
use super::forget::Leaving;
use super::keymap::{target_keys, without_names};
use super::knot::delete_together;
use super::mark::mark;
use super::read_back::ensure_gone;
use super::respelled::settle_respelled;
use super::together::delete_at_once;
use crate::error::{Error, ErrorKind, Result};
use crate::job::{DeleteMode, Event, ExecutionState, LeftFilter, Level, VerifyMode};
use crate::plan::{EntityPlan, Plan};
use crate::sink::SinkTransaction;
use crate::source::{PageRequest, Snapshot};
use crate::state::{Checkpoint, Counters, GoneRow, Scope, StateChanges};
use crate::value::Key;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Gone rows that are looked at, and deleted, together.
pub(super) const AT_ONCE: usize = 1_000;
/// Rows held by others after which batches are not taken apart any more.
const MOST_HELD: u64 = 1_000;

/// A gone row with its number in the list.
pub(super) type Listed = (i64, GoneRow);

/// Deals with all gone rows; returns how many were deleted or marked, with those that are not counted. Also entities that the run has left as
/// they are may have rows that are known by ids of those, which then stay; so do all that have such ids where nothing is known of these entities.
///
/// # Errors
/// [`ErrorKind::Refused`], before the first row has gone, if more would go than the job allows.
pub(super) async fn sweep(context: &Context, runs: &[EntityRun], plan: &Plan, snapshot: &mut dyn Snapshot) -> Result<Outcome> {
    let mut runs: Vec<&EntityRun> = runs.iter().filter(|r| !r.entity.is_keyless()).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.entity.level));
    let mut scopes = Vec::new();
    for run in &runs {
        for (partition, _) in context.state.checkpoints(&context.job.name, &run.entity.name).await? {
            let scope = Scope { job: context.job.name.clone(), entity: run.entity.name.clone(), partition };
            let bonds = bonds::bonds(&run.entity, runs.iter().map(|run| &*run.entity), &plan.left);
            let all_held = plan.left_unknown && run.entity.generated.is_some();
            let (held, refusal) = (Held::default(), None);
            scopes.push(Swept { run, scope, bonds, all_held, held, deleted: 0, own: 0, blocked: 0, refusal, may_be_last: true });
        }
    }
    for swept in &scopes {
        settle_what_stays(context, swept, snapshot).await?;
    }
    let mut respelled = BTreeSet::new();
    for run in &runs {
        let own = scopes.iter().map(|s| &s.scope).filter(|scope| scope.entity == run.entity.name);
        if settle_respelled(context, &run.entity, &own.cloned().collect::<Vec<_>>()).await? {
            respelled.insert(run.entity.name.clone());
        }
    }
    let own = guard(context, &runs, &scopes).await?;
    for swept in &mut scopes {
        let now = context.settled(&swept.scope.entity);
        swept.may_be_last = now.inserted + now.updated <= own.get(&swept.scope.entity).copied().unwrap_or(0);
    }
    // What is referred to from elsewhere may be free once those rows are gone: as long as that helps, it is tried again. Batches are
    // tried whole, as rows that refer to each other can go by one statement; only where none can are they taken apart.
    let (mut whole, mut bound) = (true, true);
    loop {
        let mut deleted = 0;
        for swept in &mut scopes {
            deleted += delete(context, swept, whole).await?;
        }
        let blocked = scopes.iter().any(|s| s.blocked > 0);
        match (blocked, deleted) {
            (false, _) => break,
            // Rows of a cycle hold one another: only together can they go.
            (true, 0) if !whole && bound => {
                bound = false;
                delete_together(context, &mut scopes).await?;
                delete_at_once(context, &mut scopes).await?;
            }
            (true, 0) if !whole => break,
            (true, deleted) => whole = deleted > 0,
        }
    }
    for run in &runs {
        let own = || scopes.iter().filter(|s| s.scope.entity == run.entity.name);
        let before = run.checkpoints.iter().any(|(_, c)| c.may_be_empty);
        if before || own().any(|s| s.may_be_last && s.deleted + s.own > 0) {
            note_whether_empty(context, run).await?;
        }
    }
    let deleted = scopes.iter().map(|s| s.deleted + s.own).sum();
    let mut outcome = Outcome { deleted, respelled, held: BTreeMap::new() };
    for run in &runs {
        let of = || scopes.iter().filter(|s| s.scope.entity == run.entity.name);
        report(context, run, of());
        outcome
            .held
            .insert(run.entity.name.clone(), (of().map(|s| s.blocked).sum(), context.settled(&run.entity.name).conflicts));
    }
    Ok(outcome)
}

/// What has come of all gone rows.
pub(super) struct Outcome {
    /// How many were deleted or marked.
    pub(super) deleted: u64,
    /// The entities of which rows have taken over, under another spelling, what this execution had inserted.
    pub(super) respelled: BTreeSet<String>,
    /// How many rows of each entity the target does not let go, and the entity's conflicts with these among them.
    held: BTreeMap<String, (u64, u64)>,
}

impl Outcome {
    /// Tells again of rows that stay, where entities were walked once more since and have counted anew.
    pub(super) fn remind(&self, context: &Context) {
        for (name, (held, before)) in self.held.iter().filter(|(_, (held, _))| *held > 0) {
            let mut counters = context.settled(name);
            if counters.conflicts < *before {
                counters.conflicts += held;
                let state = ExecutionState::Partial;
                context.emit(&Event::EntityFinished { entity: name.clone(), counters, state, error: None });
            }
        }
    }
}

/// One scope, and what became of its gone rows.
pub(super) struct Swept<'a> {
    pub(super) run: &'a EntityRun,
    pub(super) scope: Scope,
    /// Entities whose rows are known by ids of these.
    bonds: Vec<Bond<'a>>,
    /// Whether all rows stay, as it is not known by which rows of others they are.
    all_held: bool,
    /// Rows that stay as long as such rows are known.
    held: Held,
    pub(super) deleted: u64,
    /// Deleted rows that this execution had brought itself.
    pub(super) own: u64,
    /// Rows that the target does not let go, mostly as others still refer to them.
    pub(super) blocked: u64,
    /// Why, where it is not that others refer to them.
    refusal: Option<String>,
    /// Whether they may be the last of the target's table: none was written by this execution that stays.
    may_be_last: bool,
}

/// How many rows went.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Went {
    /// Those that this execution had brought itself.
    pub(super) own: u64,
    /// The others.
    pub(super) counted: u64,
}

impl Went {
    /// What a repair deletes as if it had brought it was there before, and is counted.
    pub(super) fn of(context: &Context, own: u64, counted: u64) -> Self {
        if context.repairs { Went { own: 0, counted: own + counted } } else { Went { own, counted } }
    }
}

impl Swept<'_> {
    pub(super) fn add(&mut self, went: Went) {
        self.own += went.own;
        self.deleted += went.counted;
    }

    /// Fails if other rows are still known by the ids of rows that would go, by their keys in the target; but for rows of the lists that
    /// go by the same transaction, as `goes` says by their numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Constraint`], as where the target checks that they refer to them.
    pub(super) fn hold(&self, going: &[Key], goes: &(dyn Fn(i64) -> bool + Sync)) -> Result<()> {
        if going.iter().any(|key| self.all_held || self.held.holds(key, goes)) {
            let message = "rows that are known by their ids have to go first";
            return Err(Error::new(ErrorKind::Constraint, message).with("entity", &self.scope.entity));
        }
        Ok(())
    }
}

/// Takes rows off the list that are at the source after all, or that the job leaves to the target.
async fn settle_what_stays(context: &Context, swept: &Swept<'_>, snapshot: &mut dyn Snapshot) -> Result<()> {
    let entity = &swept.run.entity;
    let mut before = None;
    loop {
        let rows = context.state.gone_rows(&swept.scope, before, AT_ONCE).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        before = Some(*last);
        let keys: Vec<Key> = rows.iter().map(|(_, row)| Key::from_bytes(&row.key)).collect();
        let back = present(entity, &keys, true, snapshot).await?;
        let left = if entity.parsed_filter.is_some() { present(entity, &keys, false, snapshot).await? } else { HashSet::new() };
        let stays = |row: &GoneRow, key: &Key| {
            if back.contains(key) {
                return true;
            }
            if row.own {
                return false;
            }
            match (left.contains(key), context.job.left_filter, context.job.deletes.mode) {
                (true, LeftFilter::Keep, _) => true,
                (true, LeftFilter::Delete, _) => false,
                (false, _, DeleteMode::Ignore) => true,
                (false, _, DeleteMode::Soft | DeleteMode::Hard) => false,
            }
        };
        let settled: Vec<i64> =
            rows.iter().zip(&keys).filter(|((_, row), key)| stays(row, key)).map(|((id, _), _)| *id).collect();
        if !settled.is_empty() {
            let transaction = context.sink.begin(&context.fence).await?;
            let scope = Some(swept.scope.clone());
            transaction.commit(&StateChanges { scope, gone_settled: settled, ..StateChanges::default() }).await?;
        }
        context.check_cancelled()?;
    }
}

/// Returns which of these keys the source has, under the entity's filter or without it.
pub(super) async fn present(
    entity: &EntityPlan,
    keys: &[Key],
    filtered: bool,
    snapshot: &mut dyn Snapshot,
) -> Result<HashSet<Key>> {
    let keys = without_names(keys)?;
    let filter = if filtered { entity.parsed_filter.as_ref() } else { None };
    let request = PageRequest::new(&entity.source, &entity.key, &entity.key).with_filter(filter);
    let page = snapshot.read_rows(&request, &keys).await.map_err(|e| e.with("entity", &entity.name))?;
    page.rows().map(|row| Ok(Key::from_values(&row.values()?))).collect()
}

/// Refuses to go on where more rows of an entity would go than the job allows. Returns how many of those that go this execution has
/// brought itself, by entity.
async fn guard(context: &Context, runs: &[&EntityRun], scopes: &[Swept<'_>]) -> Result<BTreeMap<String, u64>> {
    let mut all_own = BTreeMap::new();
    for run in runs {
        let (mut going, mut own) = (0, 0);
        for swept in scopes.iter().filter(|s| s.scope.entity == run.entity.name) {
            let mut before = None;
            loop {
                let rows = context.state.gone_rows(&swept.scope, before, AT_ONCE).await?;
                let Some((last, _)) = rows.last() else { break };
                before = Some(*last);
                let brought = rows.iter().filter(|(_, row)| row.own).count() as u64;
                own += brought;
                going += rows.len() as u64 - brought;
            }
        }
        all_own.insert(run.entity.name.clone(), own);
        let now = context.settled(&run.entity.name);
        let known = going + now.unchanged + now.updated + now.skipped;
        if !context.limits.deletes.allows(going, known) {
            let message = format!(
                "{going} of {known} rows are gone from the source, and no more may be deleted than {}; nothing was deleted",
                context.limits.deletes
            );
            return Err(Error::new(ErrorKind::Refused, message).with("entity", &run.entity.name));
        }
    }
    Ok(all_own)
}

/// Deletes or marks a scope's gone rows, the latest first, and returns how many.
async fn delete(context: &Context, swept: &mut Swept<'_>, whole: bool) -> Result<u64> {
    let (mut before, mut count) = (None, 0);
    (swept.blocked, swept.refusal) = (0, None);
    swept.held.look(context, &swept.run.entity, &swept.scope, &swept.bonds).await?;
    loop {
        let rows = context.state.gone_rows(&swept.scope, before, AT_ONCE).await?;
        let Some((last, _)) = rows.last() else { return Ok(count) };
        before = Some(*last);
        let mut waiting = vec![&rows[..]];
        while let Some(some) = waiting.pop() {
            match delete_some(context, swept, some).await {
                Ok(deleted) => count += deleted,
                // So many that are held from elsewhere tell that the rest is not worth a transaction for each.
                Err(error) if is_held(&error) && (whole || some.len() == 1 || swept.blocked >= MOST_HELD) => {
                    swept.blocked += some.len() as u64;
                    if context.job.deletes.mode == DeleteMode::Soft || error.kind() == ErrorKind::RowRejected {
                        swept.refusal = Some(error.message().to_owned());
                    }
                }
                Err(error) if is_held(&error) => {
                    let (first, second) = some.split_at(some.len() / 2);
                    waiting.extend([second, first]);
                }
                Err(error) => return Err(error),
            }
            context.check_cancelled()?;
        }
    }
}

async fn delete_some(context: &Context, swept: &mut Swept<'_>, rows: &[Listed]) -> Result<u64> {
    let mut transaction = context.sink.begin(&context.fence).await?;
    let goes = |number| rows.iter().any(|(other, _)| *other == number);
    let went = delete_rows(context, swept, transaction.as_mut(), rows, &goes).await?;
    let changes = StateChanges {
        scope: Some(swept.scope.clone()),
        gone_settled: rows.iter().map(|(id, _)| *id).collect(),
        checkpoint: with_deleted(context, swept, went.counted).await?,
        ..StateChanges::default()
    };
    transaction.commit(&changes).await?;
    swept.add(went);
    Ok(went.counted + went.own)
}

/// Deletes or marks rows. `goes` says which rows of all lists go by the same transaction, by their numbers.
pub(super) async fn delete_rows(
    context: &Context,
    swept: &Swept<'_>,
    transaction: &mut dyn SinkTransaction,
    rows: &[Listed],
    goes: &(dyn Fn(i64) -> bool + Sync),
) -> Result<Went> {
    let entity = &swept.run.entity;
    let keys = |own: bool| -> Vec<Key> {
        rows.iter().filter(|(_, row)| row.own == own).map(|(_, row)| Key::from_bytes(&row.key)).collect()
    };
    let (own_sources, other_sources) = (keys(true), keys(false));
    let (state, job) = (context.state.as_ref(), &context.job.name);
    // A row whose id the key map does not know is not there: none goes that others are known by.
    let own: Vec<Key> = target_keys(state, job, entity, &own_sources).await?.into_iter().flatten().collect();
    let others: Vec<Key> = target_keys(state, job, entity, &other_sources).await?.into_iter().flatten().collect();
    let marks = context.job.deletes.mode == DeleteMode::Soft && context.job.deletes.column.is_some();
    let going: Vec<Key> = own.iter().chain(others.iter().filter(|_| !marks)).cloned().collect();
    swept.hold(&going, goes)?;
    let sources: Vec<Key> = own_sources.into_iter().chain(other_sources.into_iter().filter(|_| !marks)).collect();
    let leaving = Leaving::look(entity, transaction, sources, going).await?;
    for keys in [Some(&own), Some(&others).filter(|_| !marks)].into_iter().flatten() {
        cascade::hold(context, entity, transaction, keys).await?;
    }
    // What this very execution has brought was never anybody's: it goes whatever the job says, and is not counted.
    let mut gone = own.clone();
    let own = transaction.delete(&entity.target, &entity.target_key, &own).await?;
    let counted = match (context.job.deletes.mode, &context.job.deletes.column) {
        (DeleteMode::Soft, Some(column)) => mark(context, entity, column, transaction, &others).await?,
        // Under `ignore`, what is left on the list has left the filter, and the job says that this deletes.
        (DeleteMode::Ignore | DeleteMode::Soft | DeleteMode::Hard, _) => {
            let counted = transaction.delete(&entity.target, &entity.target_key, &others).await?;
            gone.extend(others);
            counted
        }
    };
    leaving.forget(context, &swept.scope, transaction).await?;
    // A trigger may keep a row: then it stays the target's.
    if context.verify != VerifyMode::Counts && entity.target.triggers.is_empty() {
        ensure_gone(entity, transaction, &gone).await?;
    }
    Ok(Went::of(context, own, counted))
}

/// Returns a scope's checkpoint, with so many deleted rows more.
pub(super) async fn with_deleted(context: &Context, swept: &Swept<'_>, deleted: u64) -> Result<Option<Checkpoint>> {
    let found = context.state.checkpoints(&swept.scope.job, &swept.scope.entity).await?;
    let own = found.into_iter().find(|(partition, _)| *partition == swept.scope.partition);
    Ok(own.map(|(_, mut checkpoint)| {
        checkpoint.counters.deleted += deleted;
        checkpoint.sequence += 1;
        checkpoint.may_be_empty |= swept.may_be_last;
        checkpoint
    }))
}

/// Takes note, once all is deleted that is to be, that rows are left: if there are none later, others have deleted them.
async fn note_whether_empty(context: &Context, run: &EntityRun) -> Result<()> {
    if !holds_rows(context, &run.entity).await? {
        return Ok(());
    }
    let (job, name) = (&context.job.name, &run.entity.name);
    for (partition, mut checkpoint) in context.state.checkpoints(job, name).await?.into_iter().filter(|(_, c)| c.may_be_empty) {
        (checkpoint.may_be_empty, checkpoint.sequence) = (false, checkpoint.sequence + 1);
        let scope = Some(Scope { job: job.clone(), entity: name.clone(), partition });
        let changes = StateChanges { scope, checkpoint: Some(checkpoint), ..StateChanges::default() };
        context.sink.begin(&context.fence).await?.commit(&changes).await?;
    }
    Ok(())
}

/// Tells the observer what became of an entity's gone rows.
fn report<'s>(context: &Context, run: &EntityRun, scopes: impl Iterator<Item = &'s Swept<'s>>) {
    let (mut deleted, mut blocked, mut refusal) = (0, 0, None);
    for swept in scopes {
        deleted += swept.deleted;
        blocked += swept.blocked;
        refusal = refusal.or(swept.refusal.as_deref());
    }
    if deleted == 0 && blocked == 0 {
        return;
    }
    let name = &run.entity.name;
    if blocked > 0 {
        let why = refusal.map_or_else(|| "others refer to them".to_owned(), |why| format!("the target refuses it, as {why}"));
        let message = format!("{blocked} rows that are gone from the source stay: {why}; the next run tries again");
        context.log(Level::Warn, name, message);
    }
    let mut counters: Counters = context.settled(name);
    counters.deleted += deleted;
    counters.conflicts += blocked;
    let partial = counters.quarantined > 0 || counters.conflicts > 0;
    let state = if partial { ExecutionState::Partial } else { ExecutionState::Succeeded };
    context.emit(&Event::EntityFinished { entity: name.clone(), counters, state, error: None });
}

/// Whether the target does not let rows go: others refer to them, or a trigger or the column of the mark refuses it.
pub(super) fn is_held(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Constraint | ErrorKind::RowRejected)
}
