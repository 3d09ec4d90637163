//! Finding, before anything moves, the rows that refer to a parent which will not be there.

use super::Pipeline;
use crate::error::Result;
use crate::filter::{Filter, Parameter};
use crate::plan::{EntityPlan, Plan, ReferenceCheck, ReferencePlan, SourceReference};
use crate::source::{OrphanRequest, Orphans, PageRequest, Snapshot};
use crate::value::conform::conform;
use crate::value::{DataType, Key};
use std::collections::BTreeMap;

/// Distinct missing parents that are looked up in the target at most.
const LOOKED_UP: usize = 1_000;
/// Keys that a finding names at most.
const NAMED: usize = 5;

/// What was found about one reference.
pub(super) struct Found {
    /// The reference, spelled.
    pub(super) name: String,
    /// Whether a run would put up with it.
    pub(super) passed: bool,
    pub(super) message: String,
}

/// Looks at each reference that nobody guarantees and whose both sides are in the source.
pub(super) async fn look(pipeline: &Pipeline, plan: &Plan) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut snapshot: Option<Box<dyn Snapshot>> = None;
    for entity in &plan.entities {
        for reference in &entity.references {
            let parent = reference.entity.as_ref().and_then(|name| plan.entity(name));
            let (Some(parent), Some(source)) = (parent, &reference.source) else { continue };
            if source.guaranteed {
                continue;
            }
            if snapshot.is_none() {
                snapshot = Some(pipeline.source.open_snapshot().await?);
            }
            let Some(snapshot) = &mut snapshot else { continue };
            let orphans = find(entity, parent, reference, source, snapshot.as_mut()).await?;
            let name = format!("{}: reference ({}) to {}", entity.name, reference.columns.join(", "), parent.name);
            found.push(judge(pipeline, parent, reference, orphans, name).await?);
        }
    }
    Ok(found)
}

async fn find(
    entity: &EntityPlan,
    parent: &EntityPlan,
    reference: &ReferencePlan,
    source: &SourceReference,
    snapshot: &mut dyn Snapshot,
) -> Result<Option<Orphans>> {
    let condition = condition(&reference.when)?;
    let request = OrphanRequest::new(&entity.source, &source.columns, &parent.source, &source.parent_columns)
        .with_key(&entity.key)
        .with_filter(entity.parsed_filter.as_ref())
        .with_filter(condition.as_ref())
        .with_parent_filter(parent.parsed_filter.as_ref())
        .with_limit(LOOKED_UP);
    snapshot.find_orphans(&request).await.map_err(|error| error.with("entity", &entity.name))
}

/// Which rows a type column assigns to the reference, as a condition of the source.
fn condition(when: &BTreeMap<String, Parameter>) -> Result<Option<Filter>> {
    if when.is_empty() {
        return Ok(None);
    }
    let (mut conditions, mut values) = (Vec::new(), BTreeMap::new());
    for (number, (column, value)) in when.iter().enumerate() {
        let parameter = format!("migrate_when_{number}");
        conditions.push(format!("\"{}\" = :{parameter}", column.replace('"', "\"\"")));
        values.insert(parameter, value.clone());
    }
    Filter::parse(&conditions.join(" AND "), &values).map(Some)
}

async fn judge(
    pipeline: &Pipeline,
    parent: &EntityPlan,
    reference: &ReferencePlan,
    orphans: Option<Orphans>,
    name: String,
) -> Result<Found> {
    let Some(orphans) = orphans else {
        return Ok(Found { name, passed: true, message: "the source cannot tell whether every row has its parent".to_owned() });
    };
    if orphans.rows == 0 {
        return Ok(Found { name, passed: true, message: "every row has its parent".to_owned() });
    }
    if are_in_target(pipeline, parent, reference, &orphans).await? {
        let refer = if orphans.rows == 1 { "row refers to a row" } else { "rows refer to rows" };
        let message = format!("{} {refer} that only the target has", orphans.rows);
        return Ok(Found { name, passed: true, message });
    }
    let named: Vec<&str> = orphans.keys.iter().take(NAMED).map(String::as_str).collect();
    let examples = if named.is_empty() { String::new() } else { format!(", among them those of the keys {}", named.join("; ")) };
    let (passed, outcome) = match (reference.check, reference.declared) {
        (ReferenceCheck::Live, _) => (false, "the target will refuse them"),
        (ReferenceCheck::AtEnd, _) => (false, "the constraint cannot be made over them"),
        (ReferenceCheck::Reported | ReferenceCheck::Never, true) => (false, "the job file says that each has one"),
        (ReferenceCheck::Reported, false) => (true, "the source never checked them, and they are copied as they are"),
        (ReferenceCheck::Never, false) => (true, "the target does not check them, and they are copied as they are"),
    };
    let rows = if orphans.rows == 1 { "row has" } else { "rows have" };
    Ok(Found { name, passed, message: format!("{} {rows} no parent{examples}: {outcome}", orphans.rows) })
}

/// Returns whether the target itself has all the parents that the source lacks.
async fn are_in_target(pipeline: &Pipeline, parent: &EntityPlan, reference: &ReferencePlan, orphans: &Orphans) -> Result<bool> {
    if parent.create || orphans.parents.len() >= LOOKED_UP {
        return Ok(false);
    }
    let types: Vec<&DataType> =
        reference.parent_columns.iter().filter_map(|name| parent.target.column(name).map(|c| &c.data_type)).collect();
    let mut keys = Vec::with_capacity(orphans.parents.len());
    for key in &orphans.parents {
        let values = key.values()?.into_iter().zip(&types).map(|(value, data_type)| conform(value, data_type));
        match values.collect::<std::result::Result<Vec<_>, _>>() {
            Ok(values) => keys.push(Key::from_values(&values)),
            // What does not fit the parent's column is none of its values.
            Err(_) => return Ok(false),
        }
    }
    let mut snapshot = pipeline.sink.as_source().open_snapshot().await?;
    let request = PageRequest::new(&parent.target, &reference.parent_columns, &reference.parent_columns);
    let there = snapshot.read_rows(&request, &keys).await.map_err(|error| error.with("side", "target"))?;
    Ok(there.row_count() >= keys.len())
}
