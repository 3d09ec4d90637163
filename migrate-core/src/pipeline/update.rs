//! Mode `update`: what becomes of a row that the source has changed, beside what others have changed in the target since.
//!
//! The ledger keeps a checksum of each column of the row as it was synced last, the base. Column by column:
//!
//! | source ≠ base | target ≠ base | source = target | what is written |
//! |---|---|---|---|
//! | no  | any | any | nothing: the target's value stays |
//! | yes | no  | any | the source's value |
//! | yes | yes | yes | nothing: both made the same change |
//! | yes | yes | no  | a conflict: the job's `on_conflict` decides |
//!
//! A row that somebody has deleted in the target is a conflict as a whole, if the source has changed it since.

use crate::diff::ColumnSums;
use crate::error::{Error, ErrorKind, Result};
use crate::job::OnConflict;
use crate::pipeline::dry::Cell;
use crate::plan::EntityPlan;
use crate::sink::SinkTransaction;
use crate::source::PageRequest;
use crate::value::canonical::{self, Checksum};
use crate::value::conform::conform;
use crate::value::{Encoding, Key, Page, PageBuilder, PageColumn, Value};
use std::collections::{BTreeSet, HashMap};

/// Bytes that a column's checksum takes.
pub(super) const SUM: usize = 8;

/// A row as it was synced last.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) checksum: Checksum,
    /// Its columns' checksums; `None` if the run that wrote it kept none.
    pub(super) columns: ColumnSums,
}

impl Base {
    /// Says that these columns, by their places, were synced as NULL.
    pub(super) fn set_null(&mut self, places: &[usize]) {
        let Some(columns) = &mut self.columns else { return };
        let null = column_sums(&[Value::Null]);
        for place in places {
            if let Some(sum) = columns.get_mut(place * SUM..(place + 1) * SUM) {
                sum.copy_from_slice(&null);
            }
        }
    }
}

/// What is to be done with one row.
#[derive(Debug)]
pub(super) struct Reconciled {
    /// The row's place in [`Reconciliation::page`]; `None` leaves the target alone.
    pub(super) place: Option<u32>,
    /// The columns that both sides have changed and the target keeps.
    pub(super) left: Vec<String>,
    /// The columns that both sides have changed, whoever keeps them, with what each side holds; told to a plan only.
    pub(super) contested: Vec<Cell>,
    /// Whether the target has lost the row.
    pub(super) lost: bool,
    /// The row's key in the target.
    pub(super) target_key: Key,
    /// What the ledger is to say where a conflict stays open.
    pub(super) open: Option<Base>,
    /// The row's key, as text, for the report.
    pub(super) key: String,
}

/// Rows brought together with what the target holds.
#[derive(Debug)]
pub(super) struct Reconciliation {
    /// The rows to write, whole, under the target's column names.
    pub(super) page: Page,
    /// One for each row asked for, in order.
    pub(super) rows: Vec<Reconciled>,
}

/// Returns the checksums of a row's columns, back to back.
pub(super) fn column_sums(values: &[Value<'_>]) -> Box<[u8]> {
    let mut sums = Vec::with_capacity(values.len() * SUM);
    let mut bytes = Vec::new();
    for value in values {
        bytes.clear();
        canonical::encode_value(value, &mut bytes);
        sums.extend_from_slice(&canonical::checksum(&bytes)[..SUM]);
    }
    sums.into()
}

/// Reads what the target holds of these rows and decides column by column what is to be written. Nothing is written.
pub(super) async fn reconcile(
    entity: &EntityPlan,
    policy: OnConflict,
    transaction: &mut dyn SinkTransaction,
    page: &Page,
    rows: &[(u32, Base)],
    (tells, trigger_columns): (bool, &BTreeSet<String>),
) -> Result<Reconciliation> {
    let columns: Vec<String> = entity.columns.iter().map(|c| c.target.clone()).collect();
    // What the target's triggers make of a column is no change of anybody's.
    let altered: Vec<bool> = columns.iter().map(|name| trigger_columns.contains(name)).collect();
    let mut source = Vec::with_capacity(rows.len());
    for (row, _) in rows {
        source.push(page.row(*row as usize).values()?);
    }
    let keys: Vec<Key> = source.iter().map(|values| target_key(entity, values)).collect();
    let target = held(entity, transaction, &keys).await?;
    let types: Vec<PageColumn> =
        entity.columns.iter().map(|c| PageColumn { name: c.target.clone(), data_type: c.target_type.clone() }).collect();
    let mut builder = PageBuilder::new(types.into(), Encoding::CANONICAL);
    let mut reconciled = Vec::with_capacity(rows.len());
    for (((_, base), source), key) in rows.iter().zip(&source).zip(&keys) {
        let decision = match target.get(key) {
            Some(target) => decide(base, source, target, policy, &altered)?,
            None => without_target(base, source, policy),
        };
        let place = decision.values.map(|values| -> Result<u32> {
            let place = u32::try_from(builder.row_count()).map_err(|_| Error::new(ErrorKind::Internal, "too many rows"))?;
            builder.begin_row();
            values.iter().try_for_each(|value| builder.push_value(value))?;
            builder.end_row();
            Ok(place)
        });
        let left = decision.left.iter().map(|place| columns[*place].clone()).collect();
        let there = target.get(key);
        let cell = |place: &usize| {
            let before = there.map_or(&Value::Null, |values| &values[*place]);
            Cell::new(&columns[*place], before, &source[*place])
        };
        let contested = decision.left.iter().chain(&decision.overwritten).filter(|_| tells).map(cell).collect();
        let (lost, open) = (there.is_none(), decision.open);
        reconciled.push(Reconciled {
            place: place.transpose()?,
            left,
            contested,
            lost,
            open,
            key: shown(key),
            target_key: key.clone(),
        });
    }
    Ok(Reconciliation { page: builder.finish(None), rows: reconciled })
}

/// Returns the key that a row has in the target.
fn target_key(entity: &EntityPlan, values: &[Value<'_>]) -> Key {
    let places = entity.target_key.iter().filter_map(|k| entity.columns.iter().position(|c| &c.target == k));
    Key::from_values(places.map(|place| &values[place]))
}

/// Reads what the target holds under these keys of its own, conformed to its columns.
async fn held(
    entity: &EntityPlan,
    transaction: &mut dyn SinkTransaction,
    keys: &[Key],
) -> Result<HashMap<Key, Vec<Value<'static>>>> {
    let columns: Vec<String> = entity.columns.iter().map(|c| c.target.clone()).collect();
    let found = transaction.read_rows(&PageRequest::new(&entity.target, &columns, &entity.target_key), keys).await?;
    let mut target = HashMap::with_capacity(keys.len());
    for row in found.rows() {
        let values = row.values()?.into_iter().zip(&entity.columns);
        let values: Vec<Value<'static>> =
            values.map(|(value, c)| conform(value.clone(), &c.target_type).unwrap_or(value).into_owned()).collect();
        target.insert(target_key(entity, &values), values);
    }
    Ok(target)
}

/// Returns the column checksums of what the target holds of these rows.
pub(super) async fn held_sums(
    entity: &EntityPlan,
    transaction: &mut dyn SinkTransaction,
    page: &Page,
    rows: &[u32],
) -> Result<Vec<ColumnSums>> {
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        keys.push(target_key(entity, &page.row(*row as usize).values()?));
    }
    let target = held(entity, transaction, &keys).await?;
    Ok(keys.iter().map(|key| target.get(key).map(|values| column_sums(values))).collect())
}

pub(super) fn shown(key: &Key) -> String {
    let texts = key.values().map(|values| values.iter().map(|v| crate::value::text::to_text(v).into_owned()).collect::<Vec<_>>());
    texts.unwrap_or_default().join(", ")
}

#[derive(Debug)]
struct Decision<'v> {
    values: Option<Vec<&'v Value<'v>>>,
    left: Vec<usize>,
    /// The columns that both sides have changed and the source's values go into.
    overwritten: Vec<usize>,
    open: Option<Base>,
}

fn decide<'v>(
    base: &Base,
    source: &'v [Value<'v>],
    target: &'v [Value<'v>],
    policy: OnConflict,
    altered: &[bool],
) -> Result<Decision<'v>> {
    let (of_source, of_target) = (column_sums(source), column_sums(target));
    let count = source.len();
    // What was synced without checksums of columns is known as a whole only: untouched, or touched somewhere.
    let (untouched, known) = match &base.columns {
        Some(columns) if columns.len() == count * SUM => (false, Some(columns)),
        _ => (row_checksum(target) == base.checksum, None),
    };
    let sum = |sums: &[u8], place: usize| -> [u8; SUM] {
        let mut sum = [0; SUM];
        sum.copy_from_slice(&sums[place * SUM..(place + 1) * SUM]);
        sum
    };
    let mut values: Vec<&Value<'v>> = Vec::with_capacity(count);
    let (mut left, mut overwritten) = (Vec::new(), Vec::new());
    let mut open = of_source.to_vec();
    for place in 0..count {
        let (new, old) = (sum(&of_source, place), sum(&of_target, place));
        let (source_changed, target_changed) = match known {
            Some(base) => (new != sum(base, place), old != sum(base, place) && !altered[place]),
            None => (true, !untouched),
        };
        let takes_source = match (source_changed, target_changed, new == old) {
            (false, _, _) | (true, true, true) => false,
            (true, false, _) => true,
            (true, true, false) => match policy {
                OnConflict::Source => {
                    overwritten.push(place);
                    true
                }
                OnConflict::Target | OnConflict::Report => {
                    left.push(place);
                    if let (OnConflict::Report, Some(base)) = (policy, known) {
                        open[place * SUM..(place + 1) * SUM].copy_from_slice(&sum(base, place));
                    }
                    false
                }
            },
        };
        values.push(if takes_source { &source[place] } else { &target[place] });
    }
    let stays_open = policy == OnConflict::Report && !left.is_empty();
    let open = stays_open.then(|| match known {
        // One that no row has: also a source's row that is again what it was is looked at, as other columns were written meanwhile.
        Some(_) => Base { checksum: canonical::checksum(&open), columns: Some(open.into()) },
        None => Base { checksum: base.checksum, columns: None },
    });
    Ok(Decision { values: Some(values), left, overwritten, open })
}

/// Decides about a row that the target has lost.
fn without_target<'v>(base: &Base, source: &'v [Value<'v>], policy: OnConflict) -> Decision<'v> {
    let (all, none) = ((0..source.len()).collect(), Vec::new());
    if base.columns.as_ref().is_some_and(|columns| *columns == column_sums(source)) {
        // Looked at for another reason, such as a column that came: the source says what it said, and the deletion stands.
        return Decision { values: None, left: none, overwritten: Vec::new(), open: None };
    }
    match policy {
        OnConflict::Source => Decision { values: Some(source.iter().collect()), left: none, overwritten: all, open: None },
        OnConflict::Target => Decision { values: None, left: all, overwritten: none, open: None },
        OnConflict::Report => Decision { values: None, left: all, overwritten: none, open: Some(base.clone()) },
    }
}

/// Returns the checksum of a row.
pub(super) fn row_checksum(values: &[Value<'_>]) -> Checksum {
    let mut bytes = Vec::new();
    values.iter().for_each(|value| canonical::encode_value(value, &mut bytes));
    canonical::checksum(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(values: &[Value<'_>]) -> Base {
        Base { checksum: row_checksum(values), columns: Some(column_sums(values)) }
    }

    fn row(values: [i64; 3]) -> Vec<Value<'static>> {
        values.map(Value::Int).to_vec()
    }

    fn written(decision: &Decision<'_>) -> Vec<i64> {
        let values = decision.values.iter().flatten();
        values.map(|v| if let Value::Int(i) = v { *i } else { i64::MIN }).collect()
    }

    #[test]
    fn each_column_goes_by_what_changed_since_the_last_sync() {
        let base = base(&row([1, 2, 3]));
        for (source, target, policy, expected, left) in [
            ([1, 2, 3], [9, 2, 3], OnConflict::Source, [9, 2, 3], 0),
            ([1, 5, 3], [9, 2, 3], OnConflict::Report, [9, 5, 3], 0),
            ([1, 5, 3], [1, 5, 3], OnConflict::Report, [1, 5, 3], 0),
            ([1, 5, 6], [1, 7, 3], OnConflict::Report, [1, 7, 6], 1),
            ([1, 5, 6], [1, 7, 3], OnConflict::Target, [1, 7, 6], 1),
            ([1, 5, 6], [1, 7, 3], OnConflict::Source, [1, 5, 6], 0),
        ] {
            let (source, target) = (row(source), row(target));
            let decision = decide(&base, &source, &target, policy, &[false; 3]).expect("rows of the same width");
            assert_eq!((written(&decision), decision.left.len()), (expected.to_vec(), left), "{source:?} {target:?} {policy:?}");
        }
    }

    #[test]
    fn a_row_that_the_target_has_lost_is_a_conflict_only_where_the_source_has_changed_it() {
        let (known, same, changed) = (base(&row([1, 2, 3])), row([1, 2, 3]), row([1, 5, 3]));
        for policy in [OnConflict::Source, OnConflict::Target, OnConflict::Report] {
            let decision = without_target(&known, &same, policy);
            assert!(decision.values.is_none() && decision.left.is_empty() && decision.open.is_none(), "{decision:?}");
            let decision = without_target(&known, &changed, policy);
            assert_eq!(decision.values.is_some(), policy == OnConflict::Source, "{decision:?}");
            assert_eq!(decision.open.is_some(), policy == OnConflict::Report, "{decision:?}");
        }
        let bare = Base { columns: None, ..known };
        assert_eq!(without_target(&bare, &same, OnConflict::Report).left, [0, 1, 2], "nobody knows what has changed");
    }

    #[test]
    fn an_open_conflict_keeps_the_base_of_its_column_and_takes_the_others_for_synced() {
        let base = base(&row([1, 2, 3]));
        let (source, target) = (row([1, 5, 6]), row([1, 7, 3]));
        let open = decide(&base, &source, &target, OnConflict::Report, &[false; 3])
            .expect("rows")
            .open
            .expect("the conflict stays open");
        for looked_at_again in [&row([1, 5, 6]), &row([1, 2, 3])] {
            assert_ne!(open.checksum, row_checksum(looked_at_again));
        }
        // After that run the target holds [1, 7, 6]: only the open column is still a conflict.
        let target = row([1, 7, 6]);
        let again = decide(&open, &source, &target, OnConflict::Report, &[false; 3]).expect("rows");
        assert_eq!((written(&again), again.left), (vec![1, 7, 6], vec![1]));
        let back = row([1, 2, 3]);
        let again = decide(&open, &back, &target, OnConflict::Report, &[false; 3]).expect("rows");
        assert_eq!((written(&again), again.left), (vec![1, 7, 3], vec![]), "the source takes back what it has changed");
    }

    #[test]
    fn a_row_synced_without_column_checksums_is_overwritten_only_where_nobody_touched_it() {
        let bare = Base { columns: None, ..base(&row([1, 2, 3])) };
        let (source, untouched, touched) = (row([1, 5, 3]), row([1, 2, 3]), row([8, 2, 3]));
        assert_eq!(written(&decide(&bare, &source, &untouched, OnConflict::Report, &[false; 3]).expect("rows")), [1, 5, 3]);
        let decision = decide(&bare, &source, &touched, OnConflict::Report, &[false; 3]).expect("rows");
        assert_eq!((written(&decision), decision.left), (vec![8, 2, 3], vec![0, 1]));
    }
}
