//! Finding keys by hash in a list that holds them.

use crate::value::Key;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// The places of keys in a list. Only the places are kept: a range of the ledger has tens of thousands of keys, and where it was
/// touched at all, nearly every walk over it builds one of these.
#[derive(Debug)]
pub struct KeyIndex {
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl KeyIndex {
    /// Indexes so many keys, each given by its place.
    pub fn new<'k>(count: usize, key_at: impl Fn(usize) -> &'k Key) -> Self {
        let hasher = DefaultHashBuilder::default();
        let mut places = HashTable::with_capacity(count);
        // No range has 2^32 rows.
        for place in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            let hash = |place: &u32| hasher.hash_one(key_at(*place as usize).as_bytes());
            places.insert_unique(hash(&place), place, hash);
        }
        KeyIndex { places, hasher }
    }

    /// Returns the place of a key, if it is one of them; `key_at` is as it was for [`KeyIndex::new`].
    pub fn find<'k>(&self, key: &Key, key_at: impl Fn(usize) -> &'k Key) -> Option<usize> {
        let hash = self.hasher.hash_one(key.as_bytes());
        self.places.find(hash, |place| key_at(*place as usize) == key).map(|place| *place as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn each_key_is_found_at_its_place_and_no_other_is_found() {
        let keys: Vec<Key> = (0..5000).map(|i| Key::from_values(&[Value::Int(i * 3)])).collect();
        let index = KeyIndex::new(keys.len(), |place| &keys[place]);
        for i in 0..15_000 {
            let found = index.find(&Key::from_values(&[Value::Int(i)]), |place| &keys[place]);
            assert_eq!(found, (i % 3 == 0).then_some(i as usize / 3));
        }
    }
}
