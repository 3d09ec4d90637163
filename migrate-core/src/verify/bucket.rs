//! Sums of rows, by the hash of their key.

use crate::value::Key;
use crate::value::canonical::Checksum;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Buckets of a comparison: 32 bytes each, so 2 MiB a side.
const BUCKETS: usize = 1 << 16;

/// The rows of one side, summed up.
#[derive(Debug, Clone)]
pub(super) struct Buckets(Vec<Bucket>);

/// How many rows there are, as of a bucket, and the sum of their checksums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) rows: u64,
    pub(super) sum: u128,
}

impl Bucket {
    pub(super) fn add(&mut self, checksum: &Checksum) {
        self.add_copies(checksum, 1);
    }

    /// Adds so many rows that are the same.
    pub(super) fn add_copies(&mut self, checksum: &Checksum, copies: u64) {
        self.rows += copies;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(*checksum).wrapping_mul(u128::from(copies)));
    }
}

impl Buckets {
    pub(super) fn new() -> Self {
        Buckets(vec![Bucket::default(); BUCKETS])
    }

    /// Adds a row to its key's bucket.
    pub(super) fn add(&mut self, key: &Key, checksum: &Checksum) {
        self.0[place(key)].add(checksum);
    }

    /// Returns, as one, all rows of the buckets that are the same on both sides.
    pub(super) fn equal(&self, other: &Buckets) -> Bucket {
        let equal = self.0.iter().zip(&other.0).filter(|(a, b)| a == b).map(|(bucket, _)| bucket);
        equal
            .fold(Bucket::default(), |all, bucket| Bucket { rows: all.rows + bucket.rows, sum: all.sum.wrapping_add(bucket.sum) })
    }

    /// Returns the buckets that differ, with the number of rows that looking into each means on the larger side.
    pub(super) fn different(&self, other: &Buckets) -> Vec<(usize, u64)> {
        let pairs = self.0.iter().zip(&other.0).enumerate();
        pairs.filter(|(_, (a, b))| a != b).map(|(place, (a, b))| (place, a.rows.max(b.rows))).collect()
    }
}

/// Returns a key's bucket. The same within a process, which is all that is asked for.
pub(super) fn place(key: &Key) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    // The low bits: there are 2^16 buckets.
    (hasher.finish() % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn key(i: i64) -> Key {
        Key::from_values([&Value::Int(i)])
    }

    #[test]
    fn the_order_of_rows_says_nothing_and_every_change_shows() {
        let (mut there, mut here) = (Buckets::new(), Buckets::new());
        for i in 0..1000 {
            there.add(&key(i), &[i as u8; 16]);
            here.add(&key(999 - i), &[(999 - i) as u8; 16]);
        }
        assert_eq!((there.different(&here), there.equal(&here).rows), (vec![], 1000));
        let mut changed = here.clone();
        changed.add(&key(500), &[1; 16]);
        assert_eq!(there.different(&changed).len(), 1, "an extra row");
        assert!(there.equal(&changed).rows < 1000, "its bucket is not settled");
        // Two rows that swap their content stay where their keys put them.
        let (mut one, mut two) = (Buckets::new(), Buckets::new());
        one.add(&key(1), &[1; 16]);
        one.add(&key(2), &[2; 16]);
        two.add(&key(1), &[2; 16]);
        two.add(&key(2), &[1; 16]);
        assert_eq!(one.different(&two).len(), 2);
    }
}
