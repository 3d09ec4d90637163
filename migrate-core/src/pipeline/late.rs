//! References that close a cycle: a row whose parent is not there yet is written without it, and again once all rows are there.
//!
//! ```text
//! page ──▶ whose parents are missing? ──▶ NULL in their columns ──▶ written, and its own checksum in the ledger
//!                                                                       │ all entities are walked
//! walked again: the source's row differs from the ledger's ◀────────────┘
//! ```
//!
//! The ledger holds what was written, so an incomplete row counts as changed until it is complete: whatever happens in between, the
//! next walk completes it.

use super::batch::Batch;
use super::context::Context;
use super::update::{Base, column_sums, row_checksum};
use crate::error::Result;
use crate::job::Mode;
use crate::plan::{EntityPlan, ReferencePlan, instead_of_parent};
use crate::schema::{ForeignKey, TableSchema};
use crate::sink::WriteMode;
use crate::value::canonical::Checksum;
use crate::value::{DataType, Encoding, Key, KeyRange, Page, PageBuilder, PageColumn, Value};
use std::collections::{BTreeSet, HashSet};

/// References of a row of which any may have been written as NULL, or to a placeholder: whether one was, and which, is found by trying.
const TOLD_APART: usize = 8;

/// The references of one entity by which rows may be written without their parents: those that are bound late, and those whose parents
/// may be nowhere.
pub(super) struct LateBinder {
    entity: String,
    references: Vec<Late>,
    /// Their constraints.
    constraints: Vec<ForeignKey>,
    /// What rows have in the place of a parent that is nowhere, for each reference of which the job says so.
    bereft: Vec<Bereft>,
    columns: std::sync::Arc<[PageColumn]>,
}

struct Late {
    /// The names of the columns that refer.
    names: Vec<String>,
    parent: TableSchema,
    parent_columns: Vec<String>,
    /// The places, in a page of the entity, of the columns that refer.
    columns: Vec<usize>,
    /// Of them, those that are NULL for a while.
    open: Vec<usize>,
    /// Whether ids in its columns are replaced: who is known by a new one is there.
    replaced: bool,
    /// Whether the target refuses a row at once whose parent is not there.
    enforced: bool,
    /// Where the parents are earlier rows of this very walk whenever their number is smaller: the place of the key, and the number from
    /// which on they are.
    own: Option<(usize, i64)>,
}

/// A reference whose parents may be nowhere.
struct Bereft {
    /// The places of the columns that refer.
    columns: Vec<usize>,
    /// The places of those that have another value then, with it.
    instead: Vec<(usize, Value<'static>)>,
}

/// Rows about to be written.
pub(super) struct Outgoing<'p> {
    pub(super) page: &'p Page,
    pub(super) rows: &'p [u32],
    /// The same rows as the source has them, which is what the ledger knows; in mode `update` others may have changed columns of the target.
    pub(super) read: (&'p Page, &'p [u32]),
    pub(super) mode: WriteMode,
}

/// A page some of whose rows do without their parents for now.
pub(super) struct Incomplete {
    pub(super) page: Page,
    pub(super) rows: Vec<WithoutParent>,
}

/// A row that does without a parent for now.
pub(super) struct WithoutParent {
    /// Its place among the rows.
    pub(super) at: usize,
    /// What the ledger is to know: the source's row with NULL in the columns that wait.
    pub(super) base: Base,
    /// The places of these columns.
    pub(super) open: Vec<usize>,
}

impl LateBinder {
    /// Takes the late references of an entity, a range of whose rows one walk walks in order.
    pub(super) fn new(entity: &EntityPlan, range: &KeyRange) -> Self {
        let first = first_number(range);
        let place = |name: &String| entity.columns.iter().position(|c| &c.target == name);
        let mut references = Vec::new();
        for reference in &entity.references {
            let Some(late) = &reference.late else { continue };
            let columns: Option<Vec<usize>> = reference.columns.iter().map(place).collect();
            let open: Option<Vec<usize>> = late.columns.iter().map(place).collect();
            let (Some(columns), Some(open)) = (columns, open) else { continue };
            let same = |other: &&ReferencePlan| other.columns == reference.columns && other.table == reference.table;
            let feeders = entity.references.iter().filter(same).filter(|other| other.entity.is_some()).count();
            let own = feeders == 1 && late.parent.name == entity.target.name && reference.parent_columns == entity.target_key;
            let known = |other: &Late| other.columns == columns && other.parent.name == late.parent.name;
            if references.iter().any(|other| known(other) && other.parent_columns == reference.parent_columns) {
                // Another entity that feeds the same table: one look at it says whether the parent is there.
                continue;
            }
            references.push(Late {
                names: reference.columns.clone(),
                parent: late.parent.clone(),
                parent_columns: reference.parent_columns.clone(),
                replaced: reference.columns.iter().any(|name| entity.translations.iter().any(|t| &t.target == name)),
                enforced: is_enforced(entity, reference),
                own: entity.target_key.first().filter(|_| own && entity.target_key.len() == 1).and_then(place).zip(first),
                columns,
                open,
            });
        }
        let columns = entity.columns.iter().map(|c| PageColumn { name: c.target.clone(), data_type: c.target_type.clone() });
        let late = entity.references.iter().filter(|reference| reference.late.is_some());
        let constraints = entity.target.foreign_keys.iter();
        let constraints = constraints.filter(|key| late.clone().any(|r| r.columns == key.columns && r.table == key.parent));
        let bereft = entity.references.iter().filter_map(|reference| {
            let instead = instead_of_parent(entity, reference);
            let instead = instead.into_iter().map(|(name, value)| Some((place(&name)?, value)));
            let columns: Option<Vec<usize>> = reference.columns.iter().map(place).collect();
            let instead: Vec<(usize, Value<'static>)> = instead.collect::<Option<_>>()?;
            Some(Bereft { columns: columns?, instead }).filter(|bereft| !bereft.instead.is_empty())
        });
        let bereft = bereft.collect();
        LateBinder {
            entity: entity.name.clone(),
            references,
            bereft,
            constraints: constraints.cloned().collect(),
            columns: columns.collect(),
        }
    }

    /// Returns whether a constraint that a row was refused for is one of the references that may wait.
    pub(super) fn is_held_by(&self, constraint: &str) -> bool {
        self.constraints.iter().any(|key| key.is_called(constraint))
    }

    /// Whether no reference of the entity is bound late.
    pub(super) fn is_empty(&self) -> bool {
        self.references.is_empty()
    }

    /// Whether the target itself looks for the parents of some reference.
    pub(super) fn is_enforced(&self) -> bool {
        self.references.iter().any(|late| late.enforced)
    }

    /// Whether no row can have been written otherwise than it is, for want of a parent.
    pub(super) fn writes_all_whole(&self) -> bool {
        self.references.is_empty() && self.bereft.is_empty()
    }

    /// Returns what the ledger knows of a row, if it is this very row without some of its parents, which it waits for.
    pub(super) fn written_without(&self, values: &[Value<'_>], recorded: &Checksum) -> Option<Base> {
        written_as(values, self.waiting(values).take(TOLD_APART).collect(), recorded)
    }

    /// The same, also where the parents were nowhere, and something else stood in their place.
    pub(super) fn written_bereft(&self, values: &[Value<'_>], recorded: &Checksum) -> Option<Base> {
        let refers = |bereft: &&Bereft| bereft.columns.iter().all(|place| !values[*place].is_null());
        let mut changes: Vec<_> = self.waiting(values).collect();
        for bereft in self.bereft.iter().filter(refers) {
            // One that may wait as well has NULL either way.
            if !changes.contains(&bereft.instead) {
                changes.push(bereft.instead.clone());
            }
        }
        changes.truncate(TOLD_APART);
        written_as(values, changes, recorded)
    }

    /// For each reference of a row that may wait, what the row has then in which places.
    fn waiting<'a>(&'a self, values: &'a [Value<'_>]) -> impl Iterator<Item = Vec<(usize, Value<'static>)>> + 'a {
        let refers = |late: &&Late| late.open.iter().any(|place| !values[*place].is_null());
        self.references.iter().filter(refers).map(|late| late.open.iter().map(|place| (*place, Value::Null)).collect())
    }

    /// Looks for parents, and returns what is to be written instead of these rows where some are missing.
    ///
    /// A bulk load is not interrupted to ask: whatever may be missing counts as missing. Where parents are trusted to be there, the
    /// target's own constraint is the one that looks. Rows that `whole` names, by their places, are written whole or not at all.
    pub(super) async fn defer(
        &self,
        context: &Context,
        batch: &mut Batch,
        outgoing: &Outgoing<'_>,
        whole: &(dyn Fn(usize) -> bool + Sync),
        trusting: bool,
    ) -> Result<Option<Incomplete>> {
        let Outgoing { page, rows, read: (read_page, read_rows), mode } = *outgoing;
        let trusting = trusting && mode == WriteMode::Upsert && context.foreseen.is_none();
        // The rows' columns that are to be NULL, by their places among the rows.
        let mut open: BTreeSet<(usize, usize)> = BTreeSet::new();
        for late in self.references.iter().filter(|late| !(trusting && late.enforced)) {
            let mut missing = late.referring(page, rows, mode)?;
            missing.retain(|(at, _)| !whole(*at));
            if let Some(foreseen) = &context.foreseen {
                // Of the others it is not said that they are there by now, but that they come.
                let keys: Vec<Key> = missing.iter().map(|(_, key)| key.clone()).collect();
                let nowhere = if late.replaced { HashSet::new() } else { foreseen.missing(&self.entity, &late.names, &keys) };
                missing.retain(|(_, key)| nowhere.contains(key));
            } else if mode != WriteMode::Load && !missing.is_empty() {
                let mut keys: Vec<Key> = missing.iter().map(|(_, key)| key.clone()).collect();
                keys.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
                keys.dedup();
                let transaction = batch.transaction(context).await?;
                let there = transaction.existing(&late.parent, &late.parent_columns, &keys).await?;
                missing.retain(|(_, key)| !there.contains(key));
            }
            open.extend(missing.iter().flat_map(|(at, _)| late.open.iter().map(|column| (*at, *column))));
        }
        if open.is_empty() {
            return Ok(None);
        }
        // A page that is loaded may have one column more, that of the ids.
        let columns = if page.columns().len() == self.columns.len() { self.columns.clone() } else { page.columns().clone() };
        let mut builder = PageBuilder::new(columns, Encoding::CANONICAL).with_capacity(page.data().len());
        let mut incomplete = Vec::new();
        for (at, (row, read)) in rows.iter().zip(read_rows).enumerate() {
            let mut values = page.row(*row as usize).values()?;
            let open: Vec<usize> = open.range((at, 0)..=(at, usize::MAX)).map(|(_, column)| *column).collect();
            open.iter().for_each(|column| values[*column] = Value::Null);
            builder.begin_row();
            values.iter().try_for_each(|value| builder.push_value(value))?;
            builder.end_row();
            if !open.is_empty() {
                let mut values = read_page.row(*read as usize).values()?;
                values.truncate(self.columns.len());
                open.iter().for_each(|column| values[*column] = Value::Null);
                let columns = if context.job.mode == Mode::Update { Some(column_sums(&values)) } else { None };
                incomplete.push(WithoutParent { at, base: Base { checksum: row_checksum(&values), columns }, open });
            }
        }
        Ok(Some(Incomplete { page: builder.finish(None), rows: incomplete }))
    }
}

impl Late {
    /// Returns the rows that refer to a parent, by their places among the rows, with its key; without those whose parent must be there.
    fn referring(&self, page: &Page, rows: &[u32], mode: WriteMode) -> Result<Vec<(usize, Key)>> {
        let mut found = Vec::new();
        if mode == WriteMode::Load && self.replaced {
            return Ok(found);
        }
        for (at, row) in rows.iter().enumerate() {
            let values = page.row(*row as usize).values()?;
            let refers: Vec<&Value<'_>> = self.columns.iter().map(|place| &values[*place]).collect();
            if refers.iter().any(|value| value.is_null()) {
                continue;
            }
            if mode == WriteMode::Load
                && let (Some((place, first)), [Value::Int(parent)]) = (self.own, &refers[..])
                && matches!(&values[place], Value::Int(own) if (first..=*own).contains(parent))
                && is_integer(&page.columns()[self.columns[0]].data_type)
            {
                // Earlier in the order of the key; if it is nowhere after all, the target says so.
                continue;
            }
            found.push((at, Key::from_values(refers)));
        }
        Ok(found)
    }
}

/// Whether the target has a constraint that refuses a row of the entity as soon as its parent is not there.
fn is_enforced(entity: &EntityPlan, reference: &ReferencePlan) -> bool {
    let same = |key: &&ForeignKey| {
        (&key.parent, &key.columns, &key.parent_columns) == (&reference.table, &reference.columns, &reference.parent_columns)
    };
    !entity.create && entity.target.foreign_keys.iter().filter(same).any(|key| key.validated && !key.deferrable)
}

/// Returns what the ledger knows of a row, if it is this very row with some of these changes.
fn written_as(values: &[Value<'_>], changes: Vec<Vec<(usize, Value<'static>)>>, recorded: &Checksum) -> Option<Base> {
    (1u32..1 << changes.len()).find_map(|some| {
        let mut values = values.to_vec();
        for (_, change) in changes.iter().enumerate().filter(|(place, _)| some & (1 << place) != 0) {
            change.iter().for_each(|(place, value)| values[*place] = value.clone());
        }
        let checksum = row_checksum(&values);
        (&checksum == recorded).then(|| Base { checksum, columns: Some(column_sums(&values)) })
    })
}

/// Returns the number from which on keys lie in a range; `None` if it begins with something else than a number.
fn first_number(range: &KeyRange) -> Option<i64> {
    let Some(after) = &range.after else { return Some(i64::MIN) };
    match &after.values().ok()?[..] {
        [Value::Int(last)] => last.checked_add(1),
        _ => None,
    }
}

fn is_integer(data_type: &DataType) -> bool {
    use crate::value::Affinity::{Integer, StrictInteger};
    matches!(
        data_type,
        DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Dynamic { affinity: Integer | StrictInteger }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_knows_from_which_number_on_its_rows_are_its_own() {
        let behind = |values: &[Value<'_>]| KeyRange { after: Some(Key::from_values(values)), up_to: None };
        assert_eq!(first_number(&KeyRange::ALL), Some(i64::MIN));
        assert_eq!(first_number(&behind(&[Value::Int(5)])), Some(6));
        assert_eq!(first_number(&behind(&[Value::Int(i64::MAX)])), None);
        assert_eq!(first_number(&behind(&[Value::Text("5".into())])), None);
        assert_eq!(first_number(&behind(&[Value::Int(5), Value::Int(6)])), None);
    }
}
