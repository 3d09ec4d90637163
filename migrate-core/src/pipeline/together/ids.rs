//! Ids that the target gives to rows which are to be inserted at once: they are given before the rows, since the rows refer to one another.
//!
//! ```text
//! new rows of each entity ──▶ ids drawn, or those that the target has for them ──▶ key map ──▶ rows, ids replaced ──▶ …
//!                                                       one transaction      └── what was not inserted after all is forgotten
//! ```

use super::super::context::{Context, Purpose};
use super::super::entity::EntityRun;
use super::super::keymap::{Known, Translator, draw_from, ids_of, keys_of, mapped, pretended};
use super::super::shape::{Shaped, Shaper, target_key};
use super::Failure;
use super::scan::{Step, Visit, parts};
use crate::error::Result;
use crate::plan::{EntityPlan, GeneratedPlan};
use crate::sink::SinkTransaction;
use crate::source::Snapshot;
use crate::state::{KeyMapChanges, Scope, StateChanges};
use crate::value::{Key, Page};
use async_trait::async_trait;
use std::collections::{HashMap, HashSet};

/// Whether ids are replaced in rows of a cycle.
pub(super) fn are_replaced(members: &[&mut EntityRun]) -> bool {
    members.iter().any(|run| run.entity.generated.is_some() || !run.entity.translations.is_empty())
}

/// Gives ids to the new rows of all members, in a transaction that begins with the first of them; returns whether the key map had to
/// learn ids of rows that the target holds already.
pub(super) async fn give(
    context: &Context,
    members: &[&mut EntityRun],
    snapshot: &mut dyn Snapshot,
    transaction: &mut Option<Box<dyn SinkTransaction>>,
) -> Result<bool, Failure> {
    let mut learned = false;
    for run in members {
        let scope = Scope { job: context.job.name.clone(), entity: run.entity.name.clone(), partition: 0 };
        let (reset, told) = (!run.occupied, false);
        let mut visit = Give { context, entity: &run.entity, scope, reset, told, transaction, learned: &mut learned };
        for part in parts(run, &context.job.name) {
            part.scan(context, run, snapshot, &mut visit).await?;
        }
    }
    Ok(learned)
}

/// Takes back the ids of rows that were not inserted after all: nobody can refer to them.
pub(super) async fn take_back(
    context: &Context,
    members: &[&mut EntityRun],
    snapshot: &mut dyn Snapshot,
    transaction: &mut dyn SinkTransaction,
) -> Result<(), Failure> {
    for run in members {
        let Some(own) = &run.entity.generated else { continue };
        for part in parts(run, &context.job.name) {
            let mut visit = TakeBack { context, entity: &run.entity, own, scope: part.scope.clone(), transaction };
            part.scan(context, run, snapshot, &mut visit).await?;
        }
    }
    Ok(())
}

/// Foresees the ids of new rows, as nothing is written: rows that could not be inserted for want of a parent have none.
pub(super) async fn foresee(context: &Context, members: &[&mut EntityRun], snapshot: &mut dyn Snapshot) -> Result<(), Failure> {
    let mut transaction = None;
    give(context, members, snapshot, &mut transaction).await?;
    let Some(transaction) = transaction else { return Ok(()) };
    transaction.commit(&StateChanges::default()).await.map_err(Failure::Target)?;
    loop {
        let mut transaction = context.sink.begin(&context.fence).await.map_err(Failure::Target)?;
        let mut some = false;
        for run in members {
            let Some(own) = &run.entity.generated else { continue };
            for part in parts(run, &context.job.name) {
                let translator = Translator::new(&run.entity, &context.job.name);
                let scope = part.scope.clone();
                let mut visit = Bereft { context, own, scope, translator, transaction: transaction.as_mut(), some: &mut some };
                part.scan(context, run, snapshot, &mut visit).await?;
            }
        }
        transaction.commit(&StateChanges::default()).await.map_err(Failure::Target)?;
        if !some || context.purpose != Purpose::Preview {
            return Ok(());
        }
    }
}

/// Shapes a page of rows whose ids the transaction knows.
pub(super) async fn shape(
    translator: &mut Option<Translator>,
    transaction: &mut dyn SinkTransaction,
    shaper: &mut Shaper,
    page: Page,
) -> Result<Shaped> {
    let Some(translator) = translator else { return shaper.shape(page) };
    let translated = translator.look_up_given(&mut Known::Transaction(transaction), false, &page).await?;
    shaper.shape_translated(page, &translated)
}

/// Returns the ids, at the source, of fresh rows, with their places in the page.
fn fresh_ids(shaped: &Shaped, fresh: &[bool], own: &GeneratedPlan) -> Result<Vec<(usize, Key)>> {
    let ids = keys_of(&shaped.source, &own.source)?.into_iter().enumerate();
    Ok(ids.filter(|(place, _)| fresh[*place]).filter_map(|(place, id)| Some((place, id?))).collect())
}

fn changes(scope: &Scope, key_map: KeyMapChanges) -> StateChanges {
    StateChanges { scope: Some(scope.clone()), key_map, ..StateChanges::default() }
}

struct Give<'c> {
    context: &'c Context,
    entity: &'c EntityPlan,
    scope: Scope,
    /// Whether the key map speaks of rows that somebody has removed, as long as the transaction has not committed.
    reset: bool,
    /// Whether the transaction has forgotten them.
    told: bool,
    transaction: &'c mut Option<Box<dyn SinkTransaction>>,
    learned: &'c mut bool,
}

#[async_trait]
impl Visit for Give<'_> {
    async fn step(&mut self, step: Step<'_>) -> Result<()> {
        let Step::Page { shaped, fresh } = step else { return Ok(()) };
        if !fresh.contains(&true) {
            return Ok(());
        }
        if self.transaction.is_none() {
            *self.transaction = Some(self.context.sink.begin(&self.context.fence).await?);
        }
        let (Some(transaction), Some(own)) = (&mut *self.transaction, &self.entity.generated) else { return Ok(()) };
        let (state, job) = (self.context.state.as_ref(), &self.context.job.name);
        let rows = fresh_ids(shaped, fresh, own)?;
        let sources: Vec<Key> = rows.iter().map(|(_, source)| source.clone()).collect();
        let before = if self.reset { HashMap::new() } else { mapped(state, job, &self.entity.name, &sources).await? };
        // What stands for each row already: by its key, or by the key map where that is its key.
        let mut known: HashMap<Key, Key> = HashMap::new();
        if own.keyed {
            known.clone_from(&before);
        } else {
            let mut keys = Vec::with_capacity(rows.len());
            for (place, _) in &rows {
                keys.push(target_key(self.entity, &shaped.rows[*place].key)?);
            }
            let there = ids_of(transaction.as_mut(), self.entity, own, &keys).await?;
            known.extend(sources.iter().zip(&keys).filter_map(|(source, key)| Some((source.clone(), there.get(key)?.clone()))));
            *self.learned |= known.iter().any(|(source, target)| before.get(source) != Some(target));
        }
        let new: Vec<&Key> = sources.iter().filter(|source| !known.contains_key(*source)).collect();
        let mut entries: Vec<(Key, Key)> = if own.keyed { Vec::new() } else { known.clone().into_iter().collect() };
        match self.context.purpose {
            Purpose::Run => {
                let ids = draw_from(self.context, transaction.as_mut(), self.entity, own, new.len()).await?;
                entries.extend(new.into_iter().cloned().zip(ids.iter().map(|id| Key::from_values([id]))));
            }
            Purpose::Preview => {
                let id = |source: &Key| Key::from_values([&pretended(&own.target_type, source)]);
                entries.extend(new.into_iter().map(|source| (source.clone(), id(source))));
            }
            Purpose::Adopt => {}
        }
        let reset = self.reset && !std::mem::replace(&mut self.told, true);
        transaction.put_state(changes(&self.scope, KeyMapChanges { reset, entries, ..KeyMapChanges::default() })).await
    }
}

struct TakeBack<'c> {
    context: &'c Context,
    entity: &'c EntityPlan,
    own: &'c GeneratedPlan,
    scope: Scope,
    transaction: &'c mut dyn SinkTransaction,
}

#[async_trait]
impl Visit for TakeBack<'_> {
    async fn step(&mut self, step: Step<'_>) -> Result<()> {
        let Step::Page { shaped, fresh } = step else { return Ok(()) };
        let sources: Vec<Key> = fresh_ids(shaped, fresh, self.own)?.into_iter().map(|(_, source)| source).collect();
        if sources.is_empty() {
            return Ok(());
        }
        let given = self.transaction.mapped(&self.context.job.name, &self.entity.name, &sources).await?;
        let ids: Vec<Key> = given.values().cloned().collect();
        let column = std::slice::from_ref(&self.own.target);
        let there: HashSet<Key> = self.transaction.existing(&self.entity.target, column, &ids).await?;
        let gone: Vec<Key> = given.into_iter().filter(|(_, id)| !there.contains(id)).map(|(source, _)| source).collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.transaction.put_state(changes(&self.scope, KeyMapChanges { gone, ..KeyMapChanges::default() })).await
    }
}

struct Bereft<'c> {
    context: &'c Context,
    own: &'c GeneratedPlan,
    scope: Scope,
    translator: Option<Translator>,
    transaction: &'c mut dyn SinkTransaction,
    some: &'c mut bool,
}

#[async_trait]
impl Visit for Bereft<'_> {
    async fn shape(&mut self, shaper: &mut Shaper, page: Page) -> Result<Shaped> {
        let Some(translator) = &mut self.translator else { return shaper.shape(page) };
        let pretends = self.context.purpose == Purpose::Preview;
        let translated = translator.look_up_given(&mut Known::State(self.context.state.as_ref()), pretends, &page).await?;
        shaper.shape_translated(page, &translated)
    }

    async fn step(&mut self, step: Step<'_>) -> Result<()> {
        let Step::Page { shaped, fresh } = step else { return Ok(()) };
        let ids = fresh_ids(shaped, fresh, self.own)?;
        let refused = ids.into_iter().filter(|(place, _)| shaped.rows[*place].place.is_err()).map(|(_, source)| source);
        let refused: Vec<Key> = refused.collect();
        if refused.is_empty() {
            return Ok(());
        }
        let (state, entity) = (self.context.state.as_ref(), &self.scope.entity);
        let gone: Vec<Key> = mapped(state, &self.context.job.name, entity, &refused).await?.into_keys().collect();
        *self.some |= !gone.is_empty();
        self.transaction.put_state(changes(&self.scope, KeyMapChanges { gone, ..KeyMapChanges::default() })).await
    }
}
