//! What a ledger was made with.

use crate::diff::FORMAT;
use crate::plan::{EntityPlan, Plan};
use crate::state::to_hex;
use crate::value::canonical;
use sha2::{Digest, Sha256};

/// Returns a digest of everything that decides what an entity's rows become: source, columns, types, key, filter, transformation, encoding
/// and the packing of the ledger.
/// A ledger that was made with another one says nothing about the target.
pub(super) fn fingerprint(plan: &Plan, entity: &EntityPlan) -> String {
    let mut text = format!("{}\n{}\n{}\n{}\n", FORMAT, plan.source_identity, entity.source.name, entity.target.name);
    for column in &entity.columns {
        text.push_str(&format!("{:?} {} {} {}\n", column.source, column.target, column.source_type, column.target_type));
        if let Some(constant) = &column.constant {
            let mut bytes = Vec::new();
            canonical::encode_value(constant, &mut bytes);
            text.push_str(&to_hex(&bytes));
        }
    }
    text.push_str(&format!("{:?}\n", entity.key));
    if let Some(filter) = &entity.parsed_filter {
        text.push_str(&format!("{:?} {:?}", filter.pieces(), filter.parameters()));
    }
    if let Some(transform) = &entity.transform {
        text.push_str(transform.text());
    }
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    to_hex(&digest[..16])
}
