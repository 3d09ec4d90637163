//! References of the target's rows that lead nowhere, as both sides are now.
//!
//! A reference is open where the source's row refers to a parent and the target's row has NULL; it dangles where the target's row refers to a
//! parent that the target has not.

use super::Pipeline;
use super::entity::own_rows;
use super::keymap::target_keys;
use super::orphans::Condition;
use super::report::{LinkState, OpenLink, OpenReference};
use super::update::shown;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::filter::{Filter, Parameter};
use crate::job::OrphanPolicy;
use crate::plan::{Binding, EntityPlan, Plan, ReferencePlan, SourceReference};
use crate::source::{OrphanRequest, PageRequest, Snapshot};
use crate::value::conform::conform;
use crate::value::{Key, Page, Value};
use std::collections::BTreeMap;

/// Bytes of a page of the source.
const PAGE_BYTES: usize = 256 << 10;
/// Rows that are looked up in the target at once.
const AT_ONCE: usize = 1_000;

/// Looks at each reference of a job's entities that need not be whole; names up to so many rows of each.
pub(super) async fn links(pipeline: &Pipeline, examples: usize) -> Result<Vec<OpenReference>> {
    let plan = pipeline.plan().await?;
    if let Some(entity) = plan.entities.iter().find(|entity| entity.create) {
        let message = "the target has no such table yet, or not all of it; run the job first";
        return Err(Error::new(ErrorKind::NotFound, message).with("entity", &entity.name).with("table", &entity.target.name));
    }
    let mut source = pipeline.source.open_snapshot().await.context("side", "source")?;
    let mut target = pipeline.sink.as_source().open_snapshot().await.context("side", "target")?;
    let mut found = Vec::new();
    for entity in &plan.entities {
        for reference in &entity.references {
            let mut open = OpenReference::new(&entity.name, reference);
            if let Some(at_source) = reference.source.as_ref().filter(|_| may_be_open(entity, reference)) {
                let mut search = Search { pipeline, entity, reference, at_source, examples };
                search.compare(source.as_mut(), target.as_mut(), &mut open).await?;
            }
            found.extend((open.rows > 0).then_some(open));
            // A constraint may be there and not hold: SQLite never looks at rows of before, nor PostgreSQL where it is NOT VALID.
            found.extend(dangling(&plan, entity, reference, target.as_mut(), examples).await?);
        }
    }
    Ok(found)
}

/// Whether a row may be in the target without the parent that the source's row names.
fn may_be_open(entity: &EntityPlan, reference: &ReferencePlan) -> bool {
    let replaced = entity.translations.iter().any(|t| reference.columns.contains(&t.target));
    let nullable = reference.late.is_some() || reference.binding == Binding::Late;
    !entity.is_keyless()
        && (replaced || nullable || matches!(reference.orphans, Some(OrphanPolicy::Null | OrphanPolicy::Placeholder)))
}

struct Search<'s> {
    pipeline: &'s Pipeline,
    entity: &'s EntityPlan,
    reference: &'s ReferencePlan,
    at_source: &'s SourceReference,
    examples: usize,
}

impl Search<'_> {
    /// Walks the source's rows that refer, and looks which of them refer to nothing in the target.
    async fn compare(&mut self, source: &mut dyn Snapshot, target: &mut dyn Snapshot, open: &mut OpenReference) -> Result<()> {
        let entity = self.entity;
        let mut columns = entity.key.clone();
        columns.extend(self.at_source.columns.iter().chain(self.reference.when.keys()).cloned());
        let mut seen = std::collections::HashSet::new();
        columns.retain(|column| seen.insert(column.clone()));
        let mut request = PageRequest::new(&entity.source, &columns, &entity.key)
            .with_filter(entity.parsed_filter.as_ref())
            .with_limits(PAGE_BYTES, AT_ONCE);
        loop {
            let mut page = source.read_page(&request).await.map_err(|e| e.with("entity", &entity.name))?;
            let next = page.next.take();
            let referring = self.referring(&page)?;
            if !referring.is_empty() {
                self.look_up(&referring, target, open).await?;
            }
            match next {
                Some(key) => request.range.after = Some(key),
                None => return Ok(()),
            }
        }
    }

    /// The rows of a page that refer to a parent: their keys, and their parents'.
    fn referring(&self, page: &Page) -> Result<Vec<(Key, Key)>> {
        let place = |name: &String| {
            let missing = || Error::new(ErrorKind::Internal, format!("a page lacks the column {name}"));
            page.column_index(name).ok_or_else(missing)
        };
        let key = self.entity.key.iter().map(place).collect::<Result<Vec<_>>>()?;
        let columns = self.at_source.columns.iter().map(place).collect::<Result<Vec<_>>>()?;
        let Some(condition) = Condition::new(&self.reference.when, page.columns()) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for row in page.rows() {
            let values = row.values()?;
            if columns.iter().any(|place| values[*place].is_null()) || !condition.holds(|place| values.get(place)) {
                continue;
            }
            found
                .push((Key::from_values(key.iter().map(|i| &values[*i])), Key::from_values(columns.iter().map(|i| &values[*i]))));
        }
        Ok(found)
    }

    async fn look_up(&self, referring: &[(Key, Key)], target: &mut dyn Snapshot, open: &mut OpenReference) -> Result<()> {
        let entity = self.entity;
        let keys: Vec<Key> = referring.iter().map(|(key, _)| key.clone()).collect();
        let keys = target_keys(self.pipeline.sink.state().as_ref(), &self.pipeline.job.name, entity, &keys).await?;
        let by_target: BTreeMap<Vec<u8>, usize> =
            keys.iter().enumerate().filter_map(|(at, key)| Some((key.as_ref()?.as_bytes().to_vec(), at))).collect();
        let wanted: Vec<Key> = keys.into_iter().flatten().collect();
        let mut columns = entity.target_key.clone();
        columns.extend(self.reference.columns.iter().filter(|c| !entity.target_key.contains(c)).cloned());
        let request = PageRequest::new(&entity.target, &columns, &entity.target_key);
        let page =
            target.read_rows(&request, &wanted).await.map_err(|e| e.with("side", "target").with("entity", &entity.name))?;
        let referring_places: Vec<usize> = self.reference.columns.iter().filter_map(|name| page.column_index(name)).collect();
        for row in page.rows() {
            let values = row.values()?;
            let referred = referring_places.iter().zip(&self.reference.columns);
            let referred: Vec<Value<'static>> = referred.map(|(place, name)| spelled(entity, name, &values[*place])).collect();
            let stands_in = self.reference.placeholder.as_ref().is_some_and(|placeholder| placeholder.referred == referred);
            if !stands_in && !referred.iter().any(Value::is_null) {
                continue;
            }
            let own = values.iter().zip(&entity.target_key).map(|(value, name)| spelled(entity, name, value));
            let own = Key::from_values(&own.collect::<Vec<_>>());
            let Some((key, parent)) = by_target.get(own.as_bytes()).and_then(|at| referring.get(*at)) else { continue };
            open.rows += 1;
            if open.links.len() < self.examples {
                open.links.push(OpenLink { key: shown(key), parent: Some(shown(parent)) });
            }
        }
        Ok(())
    }
}

/// A value of the target in its column's own type.
fn spelled(entity: &EntityPlan, name: &str, value: &Value<'_>) -> Value<'static> {
    let conformed = entity.target.column(name).and_then(|column| conform(value.clone(), &column.data_type).ok());
    conformed.unwrap_or_else(|| value.clone()).into_owned()
}

/// Looks in the target for rows whose parent it has not.
async fn dangling(
    plan: &Plan,
    entity: &EntityPlan,
    reference: &ReferencePlan,
    target: &mut dyn Snapshot,
    examples: usize,
) -> Result<Option<OpenReference>> {
    let Some(parent) = reference.entity.as_ref().and_then(|name| plan.entity(name)) else { return Ok(None) };
    let Some(condition) = at_target(entity, &reference.when)? else { return Ok(None) };
    let own = own_rows(entity);
    let request = OrphanRequest::new(&entity.target, &reference.columns, &parent.target, &reference.parent_columns)
        .with_key(&entity.target_key)
        .with_filter(own.as_ref())
        .with_filter(condition.as_ref())
        .with_limit(examples);
    let found = target.find_orphans(&request).await.map_err(|e| e.with("side", "target").with("entity", &entity.name))?;
    let Some(orphans) = found.filter(|orphans| orphans.rows > 0) else { return Ok(None) };
    let links = orphans.keys.into_iter().take(examples).map(|key| OpenLink { key, parent: None }).collect();
    Ok(Some(OpenReference {
        state: LinkState::Dangling,
        rows: orphans.rows,
        links,
        ..OpenReference::new(&entity.name, reference)
    }))
}

/// Which rows a type column assigns to the reference, by the target's columns; `None` where they do not tell.
fn at_target(entity: &EntityPlan, when: &BTreeMap<String, Parameter>) -> Result<Option<Option<Filter>>> {
    let mut there = BTreeMap::new();
    for (name, value) in when {
        let Some(column) = entity.fed_by(name) else { return Ok(None) };
        there.insert(column.target.clone(), value.clone());
    }
    super::orphans::condition(&there).map(Some)
}
