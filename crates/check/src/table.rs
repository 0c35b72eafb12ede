//! A hash map with one fixed hash and no iteration: equal inputs give equal runs, and no result can depend on its order.

// The standard map is forbidden here for its random order; this is the one place that gives it a fixed one.
#[allow(clippy::disallowed_types)]
type Map<K, V> = std::collections::HashMap<K, V, std::hash::BuildHasherDefault<Fixed>>;

use std::hash::{Hash, Hasher};

/// A map from `K` to `V` that cannot be iterated.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V>(Map<K, V>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Map::default())
    }
}

impl<K: Hash + Eq, V> Table<K, V> {
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    pub(crate) fn or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.0.entry(key).or_insert_with(make)
    }
}

/// A multiplicative hash of words. Its inputs are a user's own histories: who floods it slows only himself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fixed(u64);

impl Fixed {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Fixed {
    fn finish(&self) -> u64 {
        // The high bits are the well mixed ones, and the map takes both ends.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
        self.add(bytes.len() as u64);
    }

    fn write_u8(&mut self, word: u8) {
        self.add(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.add(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.add(word as u64);
    }
}
