//! What a ledger was made with.

use crate::diff::FORMAT;
use crate::plan::{EntityPlan, Plan};
use crate::state::to_hex;
use crate::value::canonical;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// What a ledger that was made with another fingerprint still says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// Nothing: it is of another source, or its keys are other ones, or it is packed in another way.
    Nothing,
    /// Which rows were synced, but not whether the target holds them as they would be written now.
    Keys,
    /// Everything. At most the filter is another one.
    Rows,
}

/// Returns a digest of everything that decides what an entity's rows become, in three parts: of what its keys mean (source, key, encoding
/// and the packing of the ledger), of what becomes of a row (columns, types, transformation), and of which rows belong to it (filter).
pub(super) fn fingerprint(plan: &Plan, entity: &EntityPlan) -> String {
    let (mut keys, mut rows, mut filter) = (String::new(), String::new(), String::new());
    // Writing to a String cannot fail.
    let _ =
        write!(keys, "{FORMAT}\n{}\n{}\n{}\n{:?}\n", plan.source_identity, entity.source.name, entity.target.name, entity.key);
    for name in &entity.key {
        let _ = writeln!(keys, "{:?}", entity.source.column(name).map(|c| &c.data_type));
    }
    for column in &entity.columns {
        let mut text = format!("{:?} {} {} {}\n", column.source, column.target, column.source_type, column.target_type);
        if let Some(constant) = &column.constant {
            let mut bytes = Vec::new();
            canonical::encode_value(constant, &mut bytes);
            text.push_str(&to_hex(&bytes));
        }
        rows.push_str(&text);
        if entity.target_key.contains(&column.target) {
            keys.push_str(&text);
        }
    }
    if let Some(set) = &entity.set {
        let _ = writeln!(keys, "replaced per: {:?}", set.source);
        for column in entity.columns.iter().filter(|column| set.target.contains(&column.target)) {
            let _ = writeln!(keys, "{:?} {} {} {:?}", column.source, column.target, column.target_type, column.constant);
        }
    }
    if let Some(own) = &entity.generated {
        // A ledger of rows that have the source's ids is none of rows that have others.
        let _ = writeln!(if own.keyed { &mut keys } else { &mut rows }, "given by the target: {} {}", own.source, own.target);
    }
    for translation in &entity.translations {
        let text = format!("replaced: {} {} {}\n", translation.source, translation.target, translation.entity);
        rows.push_str(&text);
        if entity.key.contains(&translation.source)
            || entity.set.as_ref().is_some_and(|set| set.source.contains(&translation.source))
        {
            keys.push_str(&text);
        }
    }
    if let Some(parsed) = &entity.parsed_filter {
        let _ = write!(filter, "{:?} {:?}", parsed.pieces(), parsed.parameters());
    }
    if let Some(transform) = &entity.transform {
        rows.push_str(transform.text());
    }
    for computed in &entity.source.computed {
        // The steps say the expression, but neither the values of its parameters nor what it makes.
        let sql = computed.expression.as_filter();
        let _ = writeln!(rows, "made by the source: {} {:?} {:?}", computed.column.data_type, sql.pieces(), sql.parameters());
    }
    let digest = |text: String| {
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        to_hex(&digest[..16])
    };
    format!("{}-{}-{}", digest(keys), digest(rows), digest(filter))
}

/// Returns what a ledger says to a run whose fingerprint is `now`.
pub(super) fn trust(ledger: &str, now: &str) -> Trust {
    let parts = |fingerprint: &str| fingerprint.split('-').map(str::to_owned).collect::<Vec<_>>();
    match (&parts(ledger)[..], &parts(now)[..]) {
        ([keys, rows, _], [own_keys, own_rows, _]) if keys == own_keys && rows == own_rows => Trust::Rows,
        ([keys, ..], [own_keys, ..]) if keys == own_keys => Trust::Keys,
        _ => Trust::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_filter_leaves_everything_true_and_another_column_the_keys() {
        assert_eq!(trust("a-b-c", "a-b-c"), Trust::Rows);
        assert_eq!(trust("a-b-x", "a-b-c"), Trust::Rows);
        assert_eq!(trust("a-x-c", "a-b-c"), Trust::Keys);
        assert_eq!(trust("x-b-c", "a-b-c"), Trust::Nothing);
        assert_eq!(trust("a", "b"), Trust::Nothing, "of an earlier version");
    }
}
