//! Deletes gone rows that hold one another by references which can never be NULL: at once.
//!
//! ```text
//! all of them by one statement ──▶ refused? ──▶ those that refer to one another, group by group, in ever smaller batches of groups
//! ```

use super::super::cascade::{Going, hold_but};
use super::super::context::Context;
use super::super::forget::Leaving;
use super::super::keymap::target_keys;
use super::super::mark::unbind;
use super::super::sweep::{AT_ONCE, Swept, Went, is_held, with_deleted};
use crate::error::Result;
use crate::job::{DeleteMode, Level};
use crate::plan::ReferenceCheck;
use crate::sink::DeleteRequest;
use crate::source::PageRequest;
use crate::state::StateChanges;
use crate::value::Key;
use std::collections::{HashMap, HashSet};

/// Rows that are looked at together: what is known of each stays in memory.
const MOST: usize = 100_000;
/// Transactions that are tried at most.
const TRIES: usize = 500;

/// A row that is referred to: its table, the columns referred to, and what they hold.
type Parent = (String, Vec<String>, Key);

/// A gone row.
struct Gone {
    scope: usize,
    id: i64,
    own: bool,
    /// Its key, at the source and in the target.
    source: Key,
    key: Key,
}

/// Deletes what is on the lists, as far as no other rows refer to it.
pub(in super::super) async fn delete_at_once(context: &Context, scopes: &mut [Swept<'_>]) -> Result<()> {
    if scopes.iter().all(|swept| swept.blocked == 0 || swept.run.entity.together.is_none()) {
        return Ok(());
    }
    let rows = read(context, scopes).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let all: Vec<usize> = (0..rows.len()).collect();
    if delete(context, scopes, &rows, &all).await? {
        return Ok(());
    }
    let groups = groups(context, scopes, &rows).await?;
    let middle = groups.len() / 2;
    let mut waiting: Vec<&[Vec<usize>]> = if groups.len() < 2 { Vec::new() } else { vec![&groups[middle..], &groups[..middle]] };
    let mut tries = 0;
    while let Some(some) = waiting.pop() {
        tries += 1;
        if tries > TRIES {
            break;
        }
        if !delete(context, scopes, &rows, &some.concat()).await? && some.len() > 1 {
            let (first, second) = some.split_at(some.len() / 2);
            waiting.extend([second, first]);
        }
        context.check_cancelled()?;
    }
    Ok(())
}

/// Reads the lists.
async fn read(context: &Context, scopes: &[Swept<'_>]) -> Result<Vec<Gone>> {
    let mut rows = Vec::new();
    for (scope, swept) in scopes.iter().enumerate() {
        let mut before = None;
        loop {
            let listed = context.state.gone_rows(&swept.scope, before, AT_ONCE).await?;
            let Some((last, _)) = listed.last() else { break };
            before = Some(*last);
            let entity = &swept.run.entity;
            let sources: Vec<Key> = listed.iter().map(|(_, row)| Key::from_bytes(&row.key)).collect();
            let keys = target_keys(context.state.as_ref(), &context.job.name, entity, &sources).await?;
            for (((id, row), source), key) in listed.into_iter().zip(sources).zip(keys) {
                // Rows that are only marked keep what they refer to; a row whose id the key map does not know is not there.
                if let Some(key) = key.filter(|_| row.own || context.job.deletes.mode != DeleteMode::Soft) {
                    rows.push(Gone { scope, id, own: row.own, source, key });
                }
            }
            if rows.len() >= MOST {
                let message = format!("of the gone rows that refer to one another only {} are looked at in this run", rows.len());
                context.log(Level::Warn, &swept.run.entity.name, message);
                return Ok(rows);
            }
        }
    }
    Ok(rows)
}

/// Deletes some of the rows by one transaction; false, and nothing has happened, if others refer to one of them.
async fn delete(context: &Context, scopes: &mut [Swept<'_>], rows: &[Gone], some: &[usize]) -> Result<bool> {
    let of = |scope: usize, own: bool| -> Vec<Key> {
        let rows = some.iter().map(|at| &rows[*at]).filter(|row| row.scope == scope && row.own == own);
        rows.map(|row| row.key.clone()).collect()
    };
    let numbers: HashSet<i64> = some.iter().map(|at| rows[*at].id).collect();
    let goes = |number| numbers.contains(&number);
    let mut transaction = context.sink.begin(&context.fence).await?;
    let tried = async {
        let (mut requests, mut which, mut leaving) = (Vec::new(), Vec::new(), Vec::new());
        let going = going(scopes, rows, some);
        for (scope, swept) in scopes.iter().enumerate() {
            for own in [true, false] {
                let (entity, keys) = (&swept.run.entity, of(scope, own));
                if keys.is_empty() {
                    continue;
                }
                swept.hold(&keys, &goes)?;
                for chunk in keys.chunks(AT_ONCE) {
                    unbind(entity, transaction.as_mut(), chunk).await?;
                }
                for chunk in keys.chunks(AT_ONCE) {
                    hold_but(context, entity, transaction.as_mut(), chunk, &going).await?;
                }
                let sources = some.iter().map(|at| &rows[*at]).filter(|row| row.scope == scope && row.own == own);
                let sources = sources.map(|row| row.source.clone()).collect();
                leaving.push((scope, Leaving::look(entity, transaction.as_mut(), sources, keys.clone()).await?));
                requests.push(DeleteRequest { table: &entity.target, key: &entity.target_key, keys });
                which.push((scope, own));
            }
        }
        let counts = transaction.delete_at_once(&requests).await?;
        for (scope, leaving) in leaving {
            leaving.forget(context, &scopes[scope].scope, transaction.as_mut()).await?;
        }
        let mut went = vec![Went::default(); scopes.len()];
        for ((scope, own), count) in which.into_iter().zip(counts) {
            let some = if own { Went::of(context, count, 0) } else { Went::of(context, 0, count) };
            (went[scope].own, went[scope].counted) = (went[scope].own + some.own, went[scope].counted + some.counted);
        }
        for (scope, swept) in scopes.iter().enumerate() {
            let gone_settled: Vec<i64> =
                some.iter().map(|at| &rows[*at]).filter(|row| row.scope == scope).map(|row| row.id).collect();
            if gone_settled.is_empty() {
                continue;
            }
            let checkpoint = with_deleted(context, swept, went[scope].counted).await?;
            let scope = Some(swept.scope.clone());
            transaction.put_state(StateChanges { scope, gone_settled, checkpoint, ..StateChanges::default() }).await?;
        }
        Ok(went)
    };
    let done = match tried.await {
        Ok(went) => transaction.commit(&StateChanges::default()).await.map(|()| went),
        Err(error) => {
            transaction.rollback().await?;
            Err(error)
        }
    };
    match done {
        Ok(went) => {
            for (swept, went) in scopes.iter_mut().zip(went) {
                swept.add(went);
            }
            Ok(true)
        }
        Err(error) if is_held(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Names rows by the tables that they are in.
fn going(scopes: &[Swept<'_>], rows: &[Gone], some: &[usize]) -> Going {
    let mut going = Going::new();
    for row in some.iter().map(|at| &rows[*at]) {
        let entity = &scopes[row.scope].run.entity;
        let of = going.entry(entity.target.name.clone()).or_insert_with(|| (entity.target_key.clone(), HashSet::new()));
        if of.0 == entity.target_key {
            of.1.insert(row.key.clone());
        }
    }
    going
}

/// Parts the rows into groups of which none refers to another, as the target holds them.
async fn groups(context: &Context, scopes: &[Swept<'_>], rows: &[Gone]) -> Result<Vec<Vec<usize>>> {
    // For each set of columns that is referred to, the row that holds these values; for each reference, the values of each row.
    let mut parents: HashMap<Parent, usize> = HashMap::new();
    let mut children: Vec<(usize, Parent)> = Vec::new();
    let entities: Vec<_> = scopes.iter().map(|swept| &swept.run.entity).collect();
    let live = entities.iter().flat_map(|e| &e.references).filter(|r| r.check == ReferenceCheck::Live && r.late.is_none());
    let referred: Vec<(String, Vec<String>)> = live.map(|r| (r.table.to_string(), r.parent_columns.clone())).collect();
    let mut transaction = context.sink.begin(&context.fence).await?;
    for (scope, entity) in entities.iter().enumerate() {
        let table = entity.target.name.to_string();
        let own: HashMap<&Key, usize> =
            rows.iter().enumerate().filter(|(_, row)| row.scope == scope).map(|(at, row)| (&row.key, at)).collect();
        let keys: Vec<Key> = own.keys().map(|key| (*key).clone()).collect();
        let references: Vec<_> =
            entity.references.iter().filter(|r| r.check == ReferenceCheck::Live && r.late.is_none()).collect();
        let mut columns = entity.target_key.clone();
        let referred: Vec<&(String, Vec<String>)> = referred.iter().filter(|(name, _)| *name == table).collect();
        for name in references.iter().flat_map(|r| &r.columns).chain(referred.iter().flat_map(|(_, columns)| columns)) {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        let places =
            |names: &[String]| -> Vec<usize> { names.iter().filter_map(|name| columns.iter().position(|c| c == name)).collect() };
        for some in keys.chunks(AT_ONCE) {
            let request = PageRequest::new(&entity.target, &columns, &entity.target_key).to_the_letter();
            let page = transaction.read_rows(&request, some).await?;
            for row in page.rows() {
                let values = row.values()?;
                let pick = |names: &[String]| Key::from_values(places(names).into_iter().map(|place| &values[place]));
                let Some(at) = own.get(&pick(&entity.target_key)).copied() else { continue };
                for (name, columns) in &referred {
                    parents.insert((name.clone(), columns.clone(), pick(columns)), at);
                }
                for reference in &references {
                    let parent = (reference.table.to_string(), reference.parent_columns.clone(), pick(&reference.columns));
                    children.push((at, parent));
                }
            }
        }
    }
    transaction.rollback().await?;
    let mut group: Vec<usize> = (0..rows.len()).collect();
    for (child, parent) in children {
        if let Some(parent) = parents.get(&parent) {
            let (one, other) = (first(&mut group, child), first(&mut group, *parent));
            group[one.max(other)] = one.min(other);
        }
    }
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
    for at in 0..rows.len() {
        let first = first(&mut group, at);
        groups[first].push(at);
    }
    groups.retain(|group| !group.is_empty());
    Ok(groups)
}

/// Returns the first row of a row's group.
fn first(group: &mut [usize], mut at: usize) -> usize {
    while group[at] != at {
        group[at] = group[group[at]];
        at = group[at];
    }
    at
}
