//! Rows that refer to a parent which is not there: found before anything moves, reported, and dealt with as the job says.

mod check;
pub(super) mod placeholder;
mod policy;
mod rules;

pub(super) use check::look;
pub(crate) use placeholder::check as check_placeholders;
pub(crate) use policy::{Search, Settled};
pub(super) use rules::Condition;
pub(crate) use rules::{Bereft, Rules};

use crate::error::Result;
use crate::filter::{Filter, Parameter};
use crate::plan::{EntityPlan, ReferencePlan, SourceReference};
use crate::source::{OrphanRequest, Orphans, Snapshot};
use std::collections::BTreeMap;

/// Keys that a message names at most.
const NAMED: usize = 5;

/// Looks in the source for rows without a parent among those that are moved, with up to so many of the parents that they miss.
async fn find(
    entity: &EntityPlan,
    parent: &EntityPlan,
    reference: &ReferencePlan,
    source: &SourceReference,
    snapshot: &mut dyn Snapshot,
    limit: usize,
) -> Result<Option<Orphans>> {
    let condition = condition(&reference.when)?;
    let request = OrphanRequest::new(&entity.source, &source.columns, &parent.source, &source.parent_columns)
        .with_key(&entity.key)
        .with_filter(entity.parsed_filter.as_ref())
        .with_filter(condition.as_ref())
        .with_parent_filter(parent.parsed_filter.as_ref())
        .with_limit(limit);
    snapshot.find_orphans(&request).await.map_err(|error| error.with("entity", &entity.name))
}

/// Which rows a type column assigns to the reference, as a condition of the source.
pub(super) fn condition(when: &BTreeMap<String, Parameter>) -> Result<Option<Filter>> {
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

/// Names some of the rows.
fn examples(orphans: &Orphans) -> String {
    let named: Vec<&str> = orphans.keys.iter().take(NAMED).map(String::as_str).collect();
    if named.is_empty() { String::new() } else { format!(", among them those of the keys {}", named.join("; ")) }
}
