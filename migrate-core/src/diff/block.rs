//! Ledger blocks and how they are packed.
//!
//! ```text
//! keys     = kind: u8, then
//!   kind 0 (every key is one integer): first: zigzag varint, then per further key: zigzag varint of the difference
//!   kind 1 (any keys): per key: shared prefix with the key before: varint, rest length: varint, rest
//! checksums = per row: 16 bytes, then the checksums of its columns where all rows of the block have as many
//! outcomes = empty (all unchanged) | one byte (all the same) | 0xff, then two bits per row, lowest first
//! ```

use crate::error::{Error, ErrorKind, Result};
use crate::sink::Outcome;
use crate::state::StoredBlock;
use crate::value::canonical::{self, Checksum};
use crate::value::{Key, Value};

/// The version of the packing and of the canonical encoding that the checksums are made of.
pub const FORMAT: u16 = 0x0100 | canonical::VERSION;

/// Rows per block that a walk aims at.
pub const BLOCK_ROWS: usize = 1000;

const INTEGERS: u8 = 0;
const PREFIXED: u8 = 1;
const MIXED: u8 = 0xff;

/// The checksums of a row's columns, back to back, all of the same length; `None` where they are not kept.
pub type ColumnSums = Option<Box<[u8]>>;

/// One source row as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The row's key.
    pub key: Key,
    /// The checksum of the row as it was written.
    pub checksum: Checksum,
    /// What the block's execution did to the row.
    pub outcome: Outcome,
    /// The checksums of its columns, for mode `update`.
    pub columns: ColumnSums,
}

impl Entry {
    /// A checksum that no row has, for rows whose content in the target is not known.
    pub const UNKNOWN: Checksum = [0; 16];

    /// A checksum that no row has, for rows that were synced, but not as they would be written now.
    pub const DISTRUSTED: Checksum = [0xff; 16];

    /// Returns whether it is known what the target holds of the row.
    pub fn is_known(&self) -> bool {
        self.checksum != Entry::UNKNOWN && self.checksum != Entry::DISTRUSTED
    }

    /// Makes the entry say that the row was synced, but not as what.
    pub fn distrust(&mut self) {
        if self.checksum != Entry::UNKNOWN {
            self.checksum = Entry::DISTRUSTED;
        }
        self.columns = None;
    }
}

/// A block of consecutive keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerBlock {
    /// The block's place among the blocks of its scope.
    pub ordinal: i64,
    /// The last key of the block's range; the range starts behind the block before.
    pub last_key: Key,
    /// The rows, in the source's order.
    pub entries: Vec<Entry>,
    /// The snapshot that the block is true for.
    pub position: String,
    /// The execution that last changed the block; the entries' outcomes are its.
    pub execution: String,
}

impl LedgerBlock {
    /// Packs the block for storing.
    pub fn pack(&self) -> StoredBlock {
        let extra = self.columns_length();
        let mut checksums = Vec::with_capacity(self.entries.len() * (16 + extra));
        for entry in &self.entries {
            checksums.extend_from_slice(&entry.checksum);
            if let (1.., Some(columns)) = (extra, &entry.columns) {
                checksums.extend_from_slice(columns);
            }
        }
        let keys = pack_keys(&self.entries);
        let keys_digest = canonical::checksum(&keys);
        let mut both = Vec::with_capacity(16 + checksums.len());
        both.extend_from_slice(&keys_digest);
        both.extend_from_slice(&checksums);
        StoredBlock {
            ordinal: self.ordinal,
            format: FORMAT,
            row_count: self.entries.len() as u32,
            last_key: self.last_key.as_bytes().to_vec(),
            keys,
            keys_digest: keys_digest.to_vec(),
            rows_digest: canonical::checksum(&both).to_vec(),
            checksums,
            position: self.position.clone(),
            execution: self.execution.clone(),
            outcomes: pack_outcomes(&self.entries),
        }
    }

    /// Returns the rows with what an execution has done to each, which is nothing yet where another one has changed the block last.
    pub fn entries_of(self, execution: &str) -> Vec<Entry> {
        let own = self.execution == execution;
        let mut entries = self.entries;
        for entry in entries.iter_mut().filter(|_| !own) {
            entry.outcome = Outcome::Unchanged;
        }
        entries
    }

    /// How many bytes of column checksums each row has; 0 unless all have the same number.
    fn columns_length(&self) -> usize {
        let length = |entry: &Entry| entry.columns.as_ref().map_or(0, |columns| columns.len());
        let first = self.entries.first().map_or(0, length);
        if self.entries.iter().all(|entry| length(entry) == first) { first } else { 0 }
    }

    /// Unpacks a stored block.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the block is damaged or of another format.
    pub fn unpack(stored: &StoredBlock) -> Result<Self> {
        if stored.format != FORMAT {
            let message = format!("a ledger block has format {:#06x}; this version reads {FORMAT:#06x}", stored.format);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let count = stored.row_count as usize;
        let width = stored.checksums.len().checked_div(count).unwrap_or(16);
        if width < 16 || stored.checksums.len() != count * width {
            return Err(damaged());
        }
        let keys = unpack_keys(&stored.keys, count)?;
        let mut outcomes = unpack_outcomes(&stored.outcomes, count)?;
        let mut entries = Vec::with_capacity(count);
        for (key, checksums) in keys.into_iter().zip(stored.checksums.chunks_exact(width)) {
            let (own, columns) = checksums.split_at(16);
            let mut checksum = [0; 16];
            checksum.copy_from_slice(own);
            let columns = (!columns.is_empty()).then(|| columns.into());
            entries.push(Entry { key, checksum, outcome: outcomes.next().unwrap_or(Outcome::Unchanged), columns });
        }
        Ok(LedgerBlock {
            ordinal: stored.ordinal,
            last_key: Key::from_bytes(&stored.last_key),
            entries,
            position: stored.position.clone(),
            execution: stored.execution.clone(),
        })
    }
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "a ledger block is damaged")
}

/// The integer of a key that is one integer.
fn integer(key: &Key) -> Option<i64> {
    match key.as_bytes() {
        [0x03, rest @ ..] => rest.try_into().ok().map(i64::from_be_bytes),
        _ => None,
    }
}

fn pack_keys(entries: &[Entry]) -> Vec<u8> {
    let integers: Option<Vec<i64>> = entries.iter().map(|e| integer(&e.key)).collect();
    let mut out = Vec::with_capacity(entries.len() * 2 + 8);
    match integers {
        Some(integers) => {
            out.push(INTEGERS);
            let mut previous = 0i64;
            for value in integers {
                // Wrapping: the difference of two 64-bit integers may need 65 bits; adding it back wraps the same way.
                put_zigzag(&mut out, value.wrapping_sub(previous));
                previous = value;
            }
        }
        None => {
            out.push(PREFIXED);
            let mut previous: &[u8] = &[];
            for entry in entries {
                let key = entry.key.as_bytes();
                let shared = key.iter().zip(previous).take_while(|(a, b)| a == b).count();
                put_varint(&mut out, shared as u64);
                put_varint(&mut out, (key.len() - shared) as u64);
                out.extend_from_slice(&key[shared..]);
                previous = key;
            }
        }
    }
    out
}

fn unpack_keys(packed: &[u8], count: usize) -> Result<Vec<Key>> {
    let (kind, mut rest) = packed.split_first().ok_or_else(damaged)?;
    let mut keys = Vec::with_capacity(count);
    match *kind {
        INTEGERS => {
            let mut previous = 0i64;
            for _ in 0..count {
                previous = previous.wrapping_add(take_zigzag(&mut rest)?);
                keys.push(Key::from_values([&Value::Int(previous)]));
            }
        }
        PREFIXED => {
            let mut previous: Vec<u8> = Vec::new();
            for _ in 0..count {
                let shared = usize::try_from(take_varint(&mut rest)?).map_err(|_| damaged())?;
                let length = usize::try_from(take_varint(&mut rest)?).map_err(|_| damaged())?;
                let (tail, behind) = rest.split_at_checked(length).ok_or_else(damaged)?;
                if shared > previous.len() {
                    return Err(damaged());
                }
                previous.truncate(shared);
                previous.extend_from_slice(tail);
                keys.push(Key::from_bytes(&previous));
                rest = behind;
            }
        }
        _ => return Err(damaged()),
    }
    if rest.is_empty() { Ok(keys) } else { Err(damaged()) }
}

fn pack_outcomes(entries: &[Entry]) -> Vec<u8> {
    let Some(first) = entries.first().map(|e| e.outcome) else { return Vec::new() };
    if entries.iter().all(|e| e.outcome == first) {
        return if first == Outcome::Unchanged { Vec::new() } else { vec![first as u8] };
    }
    let mut out = vec![MIXED];
    for four in entries.chunks(4) {
        out.push(four.iter().enumerate().fold(0, |byte, (i, e)| byte | (e.outcome as u8) << (2 * i)));
    }
    out
}

fn unpack_outcomes(packed: &[u8], count: usize) -> Result<impl Iterator<Item = Outcome> + '_> {
    let outcome = |bits: u8| match bits {
        1 => Outcome::Inserted,
        2 => Outcome::Updated,
        3 => Outcome::Skipped,
        _ => Outcome::Unchanged,
    };
    if packed.first() == Some(&MIXED) && packed.len() != 1 + count.div_ceil(4)
        || packed.first() != Some(&MIXED) && packed.len() > 1
    {
        return Err(damaged());
    }
    Ok((0..count).map(move |i| match packed {
        [] => Outcome::Unchanged,
        [MIXED, bits @ ..] => outcome(bits[i / 4] >> (2 * (i % 4)) & 3),
        [all, ..] => outcome(*all),
    }))
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or_else(damaged)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged())
}

fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn take_zigzag(rest: &mut &[u8]) -> Result<i64> {
    let value = take_varint(rest)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(entries: Vec<Entry>) -> LedgerBlock {
        LedgerBlock {
            ordinal: 7,
            last_key: Key::from_values([&Value::Int(9)]),
            entries,
            position: "p".into(),
            execution: "e".into(),
        }
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![Just(Outcome::Unchanged), Just(Outcome::Inserted), Just(Outcome::Updated), Just(Outcome::Skipped)]
    }

    proptest! {
        #[test]
        fn a_packed_block_unpacks_to_itself(
            integers in any::<bool>(),
            rows in proptest::collection::vec((any::<i64>(), ".{0,8}", any::<[u8; 16]>(), outcomes()), 0..50),
        ) {
            let entries = rows.into_iter().map(|(int, text, checksum, outcome)| {
                let key = if integers {
                    Key::from_values([&Value::Int(int)])
                } else {
                    Key::from_values([&Value::Text(text.into()), &Value::Int(int)])
                };
                Entry { key, checksum, outcome, columns: None }
            });
            let block = block(entries.collect());
            prop_assert_eq!(LedgerBlock::unpack(&block.pack()).expect("it was packed by us"), block);
        }

        #[test]
        fn damaged_bytes_are_an_error_and_never_a_panic(mut keys in proptest::collection::vec(any::<u8>(), 0..40), count in 0u32..9, outcomes in proptest::collection::vec(any::<u8>(), 0..5)) {
            let mut stored = block(Vec::new()).pack();
            stored.row_count = count;
            stored.checksums = vec![0; count as usize * 16];
            stored.outcomes = outcomes;
            std::mem::swap(&mut stored.keys, &mut keys);
            let _ = LedgerBlock::unpack(&stored);
        }
    }

    #[test]
    fn dense_integer_keys_take_seventeen_bytes_a_row() {
        let entry =
            |i| Entry { key: Key::from_values([&Value::Int(i)]), checksum: [1; 16], outcome: Outcome::Inserted, columns: None };
        let stored = block((1_000_000..1_001_000).map(entry).collect()).pack();
        assert!(stored.keys.len() + stored.checksums.len() < 17_010, "{}", stored.keys.len());
    }
}
