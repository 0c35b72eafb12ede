//! The values of the keys that were written last, as they are stored: a write must know what it replaces, and keys that are written
//! are written again. Without it that look-up was half the processor time of applying a put.
//!
//! Two generations: what is used moves to the young one; once that is full, it becomes the old one, and what was still in
//! the old one is forgotten. Keys are those of the store.

#![expect(clippy::disallowed_types, reason = "nothing walks over these maps, so their order shows nowhere")]

use bytes::Bytes;
use std::collections::HashMap;

/// See the module page. Nothing depends on the order of its entries.
pub struct Recent {
    young: HashMap<Bytes, Bytes>,
    old: HashMap<Bytes, Bytes>,
    /// Bytes in `young`.
    bytes: usize,
    /// So many of keys and values a generation holds.
    generation: usize,
}

impl Recent {
    /// With generations of so many bytes.
    pub fn new(generation: usize) -> Self {
        let (young, old) = Default::default();
        Self { young, old, bytes: 0, generation }
    }

    /// The record under a stored key, if it is remembered.
    pub fn get(&mut self, key: &[u8]) -> Option<Bytes> {
        if let Some(stored) = self.young.get(key) {
            return Some(stored.clone());
        }
        let (key, stored) = self.old.remove_entry(key)?;
        self.insert(key, stored.clone());
        Some(stored)
    }

    /// The record under `key` is now `stored`. The key may be part of the same piece of memory: it goes with its record.
    pub fn put(&mut self, key: Bytes, stored: Bytes) {
        if let Some((before, old)) = self.young.remove_entry(&key) {
            self.bytes -= before.len() + old.len();
        } else {
            self.old.remove(&key);
        }
        self.insert(key, stored);
    }

    /// There is no record under `key` any more.
    pub fn delete(&mut self, key: &[u8]) {
        if let Some((key, stored)) = self.young.remove_entry(key) {
            self.bytes -= key.len() + stored.len();
        }
        self.old.remove(key);
    }

    fn insert(&mut self, key: Bytes, stored: Bytes) {
        self.bytes += key.len() + stored.len();
        if self.bytes > self.generation {
            self.bytes = key.len() + stored.len();
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, stored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut recent = Recent::new(1 << 10);
        for n in 0..100u32 {
            recent.put(Bytes::copy_from_slice(&n.to_be_bytes()), Bytes::from_static(&[0; 100]));
            assert_eq!(recent.get(&0u32.to_be_bytes()).map(|v| v.len()), Some(100), "used each time");
        }
        assert_eq!(recent.get(&1u32.to_be_bytes()), None);
        assert!(recent.get(&99u32.to_be_bytes()).is_some());
    }

    #[test]
    fn what_is_deleted_or_replaced_is_not_remembered_by_any_generation() {
        let mut recent = Recent::new(1 << 10);
        for n in 0..12u8 {
            recent.put(Bytes::copy_from_slice(&[n]), Bytes::copy_from_slice(&[n; 100]));
        }
        // Whichever generation they lie in.
        for n in 0..12u8 {
            recent.put(Bytes::copy_from_slice(&[n]), Bytes::from_static(b"new"));
            assert_eq!(recent.get(&[n]).as_deref(), Some(&b"new"[..]));
            recent.delete(&[n]);
            assert_eq!(recent.get(&[n]), None);
        }
    }
}
