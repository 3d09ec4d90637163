//! The counters as columns of a store.

use crate::state::Counters;

/// The columns' names, in order.
pub const NAMES: [&str; 12] = [
    "read",
    "inserted",
    "updated",
    "unchanged",
    "skipped",
    "filtered",
    "quarantined",
    "deleted",
    "conflicts",
    "pending",
    "orphans",
    "bytes",
];

/// Returns the counters in the order of [`NAMES`], for columns of signed 64-bit integers.
pub fn to_columns(counters: &Counters) -> [i64; 12] {
    let c = counters;
    [
        c.read,
        c.inserted,
        c.updated,
        c.unchanged,
        c.skipped,
        c.filtered,
        c.quarantined,
        c.deleted,
        c.conflicts,
        c.pending,
        c.orphans,
        c.bytes,
    ]
    .map(|count| i64::try_from(count).unwrap_or(i64::MAX))
}

/// Reads the counters from columns in the order of [`NAMES`].
pub fn from_columns(columns: [i64; 12]) -> Counters {
    let [read, inserted, updated, unchanged, skipped, filtered, quarantined, deleted, conflicts, pending, orphans, bytes] =
        columns.map(|count| u64::try_from(count).unwrap_or(0));
    Counters { read, inserted, updated, unchanged, skipped, filtered, quarantined, deleted, conflicts, pending, orphans, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_own_column_under_its_own_name() {
        let columns: [i64; 12] = std::array::from_fn(|i| i as i64 + 1);
        let counters = from_columns(columns);
        assert_eq!(to_columns(&counters), columns);
        let json = serde_json::to_value(counters).expect("counters serialize");
        let names: Vec<_> = json.as_object().expect("they are an object").iter().map(|(n, v)| (n.as_str(), v.as_i64())).collect();
        assert_eq!(names, NAMES.into_iter().zip(columns.map(Some)).collect::<Vec<_>>());
    }
}
