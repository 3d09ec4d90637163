//! The ledger of rows without a key: how many copies of each the target holds.
//!
//! ```text
//! keys      = per row: its checksum, 16 bytes
//! checksums = per row: copies: u32, and how many of them the block's execution has inserted: u32; big-endian
//! ```

use crate::error::{Error, ErrorKind, Result};
use crate::state::StoredBlock;
use crate::value::canonical::{self, Checksum};
use crate::value::{Key, Value};

/// The version of the packing and of the canonical encoding that the checksums are made of; never that of a block with keys.
pub const COPIES_FORMAT: u16 = 0x8100 | canonical::VERSION;

/// The copies of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// The checksum of the row as it was written.
    pub checksum: Checksum,
    /// How many there are.
    pub count: u32,
    /// How many of them the block's execution has inserted.
    pub own: u32,
}

/// Packs rows into a block of a ledger. Their order means nothing.
pub fn pack_copies(ordinal: i64, rows: &[Copies], position: &str, execution: &str) -> StoredBlock {
    let (mut keys, mut counts) = (Vec::with_capacity(rows.len() * 16), Vec::with_capacity(rows.len() * 8));
    for row in rows {
        keys.extend_from_slice(&row.checksum);
        counts.extend_from_slice(&row.count.to_be_bytes());
        counts.extend_from_slice(&row.own.to_be_bytes());
    }
    let keys_digest = canonical::checksum(&keys);
    let rows_digest = canonical::checksum(&[&keys_digest[..], &counts].concat());
    let last = rows.last().map_or(Value::Null, |row| Value::Bytes((&row.checksum[..]).into()));
    StoredBlock {
        ordinal,
        format: COPIES_FORMAT,
        row_count: rows.len() as u32,
        last_key: Key::from_values([&last]).as_bytes().to_vec(),
        keys,
        checksums: counts,
        keys_digest: keys_digest.to_vec(),
        rows_digest: rows_digest.to_vec(),
        position: position.to_owned(),
        execution: execution.to_owned(),
        outcomes: Vec::new(),
    }
}

/// Unpacks a stored block.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if the block is damaged or of another format.
pub fn unpack_copies(stored: &StoredBlock) -> Result<impl Iterator<Item = Copies> + '_> {
    if stored.format != COPIES_FORMAT {
        let message = format!("a ledger block has format {:#06x}; this version reads {COPIES_FORMAT:#06x}", stored.format);
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let ((sums, no_sum), (counts, no_count)) = (stored.keys.as_chunks::<16>(), stored.checksums.as_chunks::<8>());
    let count = stored.row_count as usize;
    if sums.len() != count || counts.len() != count || !no_sum.is_empty() || !no_count.is_empty() {
        return Err(Error::new(ErrorKind::Corrupt, "a ledger block is damaged"));
    }
    Ok(sums.iter().zip(counts).map(|(checksum, counts)| {
        let [a, b, c, d, e, f, g, h] = *counts;
        Copies { checksum: *checksum, count: u32::from_be_bytes([a, b, c, d]), own: u32::from_be_bytes([e, f, g, h]) }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::LedgerBlock;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packed_copies_unpack_to_themselves_and_damage_is_an_error(
            rows in proptest::collection::vec((any::<[u8; 16]>(), any::<u32>(), any::<u32>()), 0..50),
            cut in 1usize..24,
        ) {
            let rows: Vec<Copies> = rows.into_iter().map(|(checksum, count, own)| Copies { checksum, count, own }).collect();
            let mut stored = pack_copies(7, &rows, "p", "e");
            let unpacked: Vec<Copies> = unpack_copies(&stored).expect("it was packed by us").collect();
            prop_assert_eq!(&unpacked, &rows);
            prop_assert!(LedgerBlock::unpack(&stored).is_err(), "it is no block of rows with keys");
            if !rows.is_empty() {
                stored.checksums.truncate(stored.checksums.len().saturating_sub(cut));
                prop_assert!(unpack_copies(&stored).is_err());
            }
        }
    }
}
