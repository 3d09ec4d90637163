//! Deletes gone rows that hold one another, which no order of deleting can.
//!
//! ```text
//! one transaction:  late references of all rows ──▶ NULL ──▶ rows deleted, children first ──▶ commit
//!                                                                  │ refused: rolled back
//! the batch is halved, down to the row that others hold ◀──────────┘ it stays as it is, and is left out
//! ```
//!
//! A row that stays keeps its references, so that those it refers to are found to be held in turn.

use super::context::Context;
use super::keymap::target_keys;
use super::mark::unbind;
use super::sweep::{AT_ONCE, Listed, Swept, Went, delete_rows, is_held, with_deleted};
use crate::error::Result;
use crate::job::DeleteMode;
use crate::sink::SinkTransaction;
use crate::state::{GoneRow, StateChanges};
use crate::value::Key;
use std::collections::HashSet;

/// Rows that all tries together may come by: each begins from the start, and where many rows are held it is not worth it.
const WORK: u64 = 2_000_000;
/// Transactions that are tried at most, and at least, where none succeeds: a row that is held is found in ten or so.
const TRIES: (u64, u64) = (24, 500);

/// Where a batch was refused, and how many rows a batch may have from there on.
#[derive(Debug, Clone, Copy)]
struct Narrow {
    scope: usize,
    before: Option<i64>,
    rows: usize,
}

/// How a transaction went.
enum Tried {
    /// It has committed; how many rows went of each scope.
    Deleted(Vec<Went>),
    /// This row is held from elsewhere.
    Held(usize, i64),
    /// Some row of a batch is.
    Refused(Narrow),
    /// It cannot be said which.
    Unknown,
}

/// Deletes what is on the lists, as far as no other rows refer to it, and leaves those that stay as they were.
pub(super) async fn delete_together(context: &Context, scopes: &mut [Swept<'_>]) -> Result<()> {
    if scopes.iter().all(|s| s.blocked == 0 || s.run.entity.references.iter().all(|reference| reference.late.is_none())) {
        return Ok(());
    }
    let mut held: HashSet<(usize, i64)> = HashSet::new();
    let mut narrow = None;
    let rows: u64 = scopes.iter().map(|s| s.blocked).sum();
    for _ in 0..(WORK / rows.max(1)).clamp(TRIES.0, TRIES.1) {
        match try_all(context, scopes, &held, narrow).await? {
            Tried::Deleted(counts) => {
                scopes.iter_mut().zip(counts).for_each(|(swept, went)| swept.add(went));
                return Ok(());
            }
            Tried::Held(scope, id) => {
                held.insert((scope, id));
                narrow = None;
            }
            Tried::Refused(at) => narrow = Some(at),
            Tried::Unknown => return Ok(()),
        }
        context.check_cancelled()?;
    }
    Ok(())
}

async fn try_all(context: &Context, scopes: &[Swept<'_>], held: &HashSet<(usize, i64)>, narrow: Option<Narrow>) -> Result<Tried> {
    let mut transaction = context.sink.begin(&context.fence).await?;
    let tried = fill(context, scopes, held, narrow, transaction.as_mut()).await;
    match tried {
        Ok(Tried::Deleted(counts)) => match transaction.commit(&StateChanges::default()).await {
            Ok(()) => Ok(Tried::Deleted(counts)),
            // References that are checked at the end name no row.
            Err(error) if is_held(&error) => Ok(Tried::Unknown),
            Err(error) => Err(error),
        },
        Ok(other) => {
            transaction.rollback().await?;
            Ok(other)
        }
        Err(error) => Err(error),
    }
}

/// Makes all changes of a transaction.
async fn fill(
    context: &Context,
    scopes: &[Swept<'_>],
    held: &HashSet<(usize, i64)>,
    narrow: Option<Narrow>,
    transaction: &mut dyn SinkTransaction,
) -> Result<Tried> {
    for (scope, swept) in scopes.iter().enumerate() {
        let mut before = None;
        while let Some((rows, last)) = next(context, swept, before, AT_ONCE).await? {
            before = Some(last);
            // Rows that are only marked keep what they refer to.
            let goes = |row: &GoneRow| row.own || context.job.deletes.mode != DeleteMode::Soft;
            let rows = rows.into_iter().filter(|(id, row)| goes(row) && !held.contains(&(scope, *id)));
            let keys: Vec<Key> = rows.map(|(_, row)| Key::from_bytes(&row.key)).collect();
            let keys = target_keys(context.state.as_ref(), &context.job.name, &swept.run.entity, &keys).await?;
            let keys: Vec<Key> = keys.into_iter().flatten().collect();
            match unbind(&swept.run.entity, transaction, &keys).await {
                Ok(_) => {}
                Err(error) if is_held(&error) => return Ok(Tried::Unknown),
                Err(error) => return Err(error),
            }
        }
    }
    let goes = |number| !(0..scopes.len()).any(|scope| held.contains(&(scope, number)));
    let mut counts = Vec::with_capacity(scopes.len());
    for (scope, swept) in scopes.iter().enumerate() {
        let (mut before, mut went, mut any) = (None, Went::default(), false);
        loop {
            let narrow = narrow.filter(|narrow| narrow.scope == scope);
            // Ids go down: a batch ends where the narrow ones begin.
            let (most, end) = match narrow {
                Some(narrow) if is_at(before, narrow.before) => (narrow.rows, None),
                Some(narrow) => (AT_ONCE, narrow.before),
                None => (AT_ONCE, None),
            };
            let Some((mut rows, _)) = next(context, swept, before, most).await? else { break };
            rows.retain(|(id, _)| end.is_none_or(|end| *id >= end));
            let Some(last) = rows.last().map(|(id, _)| *id) else { break };
            rows.retain(|(id, _)| !held.contains(&(scope, *id)));
            match delete_rows(context, swept, transaction, &rows, &goes).await {
                Ok(some) => (went.own, went.counted) = (went.own + some.own, went.counted + some.counted),
                Err(error) if is_held(&error) => {
                    return Ok(match &rows[..] {
                        [(id, _)] => Tried::Held(scope, *id),
                        _ => Tried::Refused(Narrow { scope, before, rows: (most / 2).max(1) }),
                    });
                }
                Err(error) => return Err(error),
            }
            if !rows.is_empty() {
                any = true;
                let gone_settled = rows.iter().map(|(id, _)| *id).collect();
                let scope = Some(swept.scope.clone());
                transaction.put_state(StateChanges { scope, gone_settled, ..StateChanges::default() }).await?;
            }
            before = Some(last);
        }
        if any {
            let scope = Some(swept.scope.clone());
            let checkpoint = with_deleted(context, swept, went.counted).await?;
            transaction.put_state(StateChanges { scope, checkpoint, ..StateChanges::default() }).await?;
        }
        counts.push(went);
    }
    Ok(Tried::Deleted(counts))
}

/// Returns the next rows of a list, and the number of the last of them.
async fn next(context: &Context, swept: &Swept<'_>, before: Option<i64>, most: usize) -> Result<Option<(Vec<Listed>, i64)>> {
    let rows = context.state.gone_rows(&swept.scope, before, most).await?;
    let last = rows.last().map(|(id, _)| *id);
    Ok(last.map(|last| (rows, last)))
}

/// Whether a list was read as far as this, or farther.
fn is_at(before: Option<i64>, narrow: Option<i64>) -> bool {
    match (before, narrow) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(before), Some(narrow)) => before <= narrow,
    }
}
