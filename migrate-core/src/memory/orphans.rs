//! Finding rows whose parent is not there.

use super::filter::Condition;
use super::store::Tables;
use super::table::{StoredRow, key_of};
use crate::error::Result;
use crate::source::{OrphanRequest, Orphans};
use crate::value::Key;
use crate::value::text::to_text;
use std::collections::HashSet;

/// Compares two tables as [`crate::source::Snapshot::find_orphans`] says.
pub(super) fn find(tables: &Tables, request: &OrphanRequest<'_>) -> Result<Orphans> {
    let (child, parent) = (tables.get(&request.child.name)?, tables.get(&request.parent.name)?);
    let (columns, key) = (child.places(request.columns)?, child.places(request.key)?);
    let parent_columns = parent.places(request.parent_columns)?;
    let condition = |filter| Condition::new(filter, child.schema());
    let conditions = request.filters.iter().map(|filter| condition(filter)).collect::<Result<Vec<_>>>()?;
    let of_parent = request.parent_filter.map(|filter| Condition::new(filter, parent.schema())).transpose()?;
    let counts = |row: &&StoredRow| of_parent.as_ref().is_none_or(|c| c.holds(row));
    let there: HashSet<Key> = parent.rows().map(|(_, row)| row).filter(counts).map(|row| key_of(row, &parent_columns)).collect();
    let (mut found, mut missed) = (Orphans::default(), HashSet::new());
    for (_, row) in child.rows().filter(|(_, row)| conditions.iter().all(|c| c.holds(row))) {
        let wanted = key_of(row, &columns);
        if columns.iter().any(|place| row[*place].is_null()) || there.contains(&wanted) {
            continue;
        }
        found.rows += 1;
        if found.keys.len() < request.limit && !key.is_empty() {
            let texts: Vec<_> = key.iter().map(|place| to_text(&row[*place])).collect();
            found.keys.push(texts.join(", "));
        }
        if found.parents.len() < request.limit && missed.insert(wanted.clone()) {
            found.parents.push(wanted);
        }
    }
    Ok(found)
}
