//! What transactions read from whom and wrote, without the order of versions: what the axioms are asked of.

use super::history::{Id, NONE};

/// A read of another transaction's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// The key.
    pub key: u32,
    /// Who wrote what was read; `NONE` is the initial value.
    pub of: Id,
}

/// Reads and writes, transaction by transaction.
#[derive(Debug, Default)]
pub struct Facts {
    reads: Vec<Read>,
    reads_from: Vec<u32>,
    /// The keys that each wrote, each once, sorted.
    writes: Vec<u32>,
    writes_from: Vec<u32>,
    /// The next transaction of each one's session.
    pub next: Vec<Id>,
    /// How many keys there are.
    pub keys: usize,
}

impl Facts {
    /// No transactions yet.
    pub fn new(keys: usize, next: Vec<Id>) -> Self {
        Self { reads_from: vec![0], writes_from: vec![0], next, keys, ..Self::default() }
    }

    /// The next transaction: its reads in their order, and the keys that it wrote.
    pub fn push(&mut self, reads: &[Read], writes: &mut Vec<u32>) {
        self.reads.extend_from_slice(reads);
        self.reads_from.push(self.reads.len() as u32);
        writes.sort_unstable();
        writes.dedup();
        self.writes.extend_from_slice(writes);
        self.writes_from.push(self.writes.len() as u32);
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.reads_from.len() - 1
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What one read of others, in its order.
    pub fn reads(&self, id: Id) -> &[Read] {
        &self.reads[self.reads_from[id as usize] as usize..self.reads_from[id as usize + 1] as usize]
    }

    /// The keys that one wrote.
    pub fn writes(&self, id: Id) -> &[u32] {
        &self.writes[self.writes_from[id as usize] as usize..self.writes_from[id as usize + 1] as usize]
    }

    /// True where it wrote the key.
    pub fn wrote(&self, id: Id, key: u32) -> bool {
        self.writes(id).binary_search(&key).is_ok()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> u64 {
        (self.reads.len() * 8 + self.writes.len() * 4 + self.len() * 12) as u64
    }

    /// The transactions that do not follow another of their session.
    pub fn firsts(&self) -> Vec<bool> {
        let mut first = vec![true; self.len()];
        for &next in self.next.iter().filter(|&&next| next != NONE) {
            first[next as usize] = false;
        }
        first
    }
}
