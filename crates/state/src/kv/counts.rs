//! How many keys there are, without reading them: the counted blocks.
//!
//! The keys of table `LATEST` are cut into blocks of at most [`BLOCK_MAX`] consecutive keys. A block is its first key (the
//! boundary; that of the first block is empty) and its count, and a counted tree of them lies in memory, about one entry
//! for 170 keys. The keys in `[a, b)` are then the whole blocks between, by two descents, and at most two partial
//! blocks, which are scanned: O(log n) pages whatever the range.
//!
//! Blocks are derived state: where the boundaries lie depends on history and on snapshots taken in, and no answer depends
//! on them. Those that changed are written at a seal, so that opening reads one entry a block and no keys.

use super::layout::{Keys, damaged, table};
use super::read::End;
use super::source::Source;
use bytes::Bytes;
use quorate_storage::cow::{Tree, Weight};
use quorate_storage::state::{State, StateResult};
use std::collections::BTreeSet;
use std::ops::Bound;

/// The most keys of a block. Small in the crate's own tests, so that few keys make many blocks.
pub(super) const BLOCK_MAX: u32 = if cfg!(test) { 8 } else { 256 };
/// A block below this joins the one before it, if both make no full one.
const BLOCK_THIN: u32 = BLOCK_MAX / 4;

/// The number of keys in a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block(pub(super) u32);

impl Weight for Block {
    fn weight(&self) -> u64 {
        u64::from(self.0)
    }
}

/// The blocks as a view shares them.
pub(super) type Blocks = Tree<Bytes, Block>;

/// The writer's side.
#[derive(Debug)]
pub(super) struct Counts {
    blocks: Blocks,
    /// Boundaries whose block changed, came or went since the last seal.
    dirty: BTreeSet<Bytes>,
}

impl Counts {
    /// Counts of an empty space.
    pub(super) fn new() -> Self {
        let mut blocks = Tree::default();
        blocks.insert(Bytes::new(), Block(0));
        Self { blocks, dirty: BTreeSet::from([Bytes::new()]) }
    }

    /// The counts that the last seal wrote.
    pub(super) fn load(source: &dyn Source, keys: Keys) -> StateResult<Self> {
        let (mut from, mut to, mut blocks) = (Vec::new(), Vec::new(), Tree::default());
        let range = (
            Bound::Included(keys.raw(&mut from, table::BLOCK, b"")),
            Bound::Excluded({
                keys.start(&mut to, table::BLOCK + 1);
                to.as_slice()
            }),
        );
        for pair in source.scan(range) {
            let (key, value) = pair?;
            let count = value.as_ref().try_into().map_err(|_| damaged("the count of a block"))?;
            blocks.insert(key.slice(from.len()..), Block(u32::from_le_bytes(count)));
        }
        match blocks.get(&b""[..]) {
            Some(_) => Ok(Self { blocks, dirty: BTreeSet::new() }),
            None => Err(damaged("the table of counted blocks")),
        }
    }

    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// `key` was created; it is in table `LATEST` already.
    pub(super) fn created(&mut self, key: &Bytes, source: &dyn Source, keys: Keys) -> StateResult<()> {
        let (boundary, count) = self.block_of(key);
        self.set(boundary.clone(), count + 1);
        if count < BLOCK_MAX {
            return Ok(());
        }
        let next = self.blocks.iter_from(Bound::Excluded(&boundary[..])).next().map(|(k, _)| k.clone());
        let (mut from, mut to) = (Vec::new(), Vec::new());
        let range = latest_range(keys, &boundary, &next.map_or(End::Open, End::Before), &mut from, &mut to);
        let last = source.scan_back(range).next().transpose()?;
        let at = if last.is_some_and(|(last, _)| last[super::layout::PREFIX + 1..] == key[..]) {
            // Ascending insertion: the block stays full, and a new one starts with this key.
            count
        } else {
            count / 2
        };
        if let Some(middle) = source.scan(range).nth(at as usize) {
            let middle = middle?.0.slice(super::layout::PREFIX + 1..);
            self.set(boundary, at);
            // Copied: a slice would hold the page it came from.
            self.set(Bytes::copy_from_slice(&middle), count + 1 - at);
        }
        Ok(())
    }

    /// `key` was deleted.
    pub(super) fn deleted(&mut self, key: &[u8]) -> StateResult<()> {
        let (boundary, count) = self.block_of(key);
        let count = count.checked_sub(1).ok_or_else(|| damaged("the count of a block"))?;
        if count < BLOCK_THIN
            && let Some((before, Block(n))) =
                self.blocks.iter_back_from(Bound::Excluded(&boundary[..])).next()
            && n + count <= BLOCK_MAX * 3 / 4
        {
            let (before, n) = (before.clone(), *n);
            self.blocks.remove(&boundary[..]);
            self.dirty.insert(boundary);
            self.set(before, n + count);
        } else {
            self.set(boundary, count);
        }
        Ok(())
    }

    /// Writes what changed since the last time.
    pub(super) fn save(&mut self, state: &mut dyn State, keys: Keys) {
        let mut stored = Vec::new();
        for boundary in std::mem::take(&mut self.dirty) {
            let stored = keys.raw(&mut stored, table::BLOCK, &boundary);
            match self.blocks.get(&boundary[..]) {
                Some(Block(count)) => state.put(stored, &count.to_le_bytes()),
                None => state.delete(stored),
            }
        }
    }

    fn block_of(&self, key: &[u8]) -> (Bytes, u32) {
        // The first block's boundary is empty and below all keys; it never goes.
        self.blocks.floor(key).map_or((Bytes::new(), 0), |(boundary, block)| (boundary.clone(), block.0))
    }

    fn set(&mut self, boundary: Bytes, count: u32) {
        self.blocks.insert(boundary.clone(), Block(count));
        self.dirty.insert(boundary);
    }
}

/// The stored range of table `LATEST` for the keys from `from` to `end`.
pub(super) fn latest_range<'a>(
    keys: Keys,
    from: &[u8],
    end: &End,
    from_out: &'a mut Vec<u8>,
    to_out: &'a mut Vec<u8>,
) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    let from = Bound::Included(keys.raw(from_out, table::LATEST, from));
    let to = match end {
        End::Before(end) => keys.raw(to_out, table::LATEST, end),
        End::Open => {
            keys.start(to_out, table::LATEST + 1);
            to_out.as_slice()
        }
    };
    (from, Bound::Excluded(to))
}

/// How many keys lie from `from` on before `end`.
pub(super) fn count(
    blocks: &Blocks,
    source: &dyn Source,
    keys: Keys,
    from: &[u8],
    end: &End,
) -> StateResult<u64> {
    let scan = |from: &[u8], end: &End| -> StateResult<u64> {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let mut n = 0;
        for pair in source.scan(latest_range(keys, from, end, &mut a, &mut b)) {
            pair?;
            n += 1;
        }
        Ok(n)
    };
    let next = blocks.iter_from(Bound::Excluded(from)).next().map(|(boundary, _)| boundary.clone());
    let Some(next) = next.filter(|next| end.is_above(next)) else {
        return scan(from, end);
    };
    let head = match blocks.get(from) {
        Some(Block(whole)) => u64::from(*whole),
        None => scan(from, &End::Before(next.clone()))?,
    };
    let before_next = blocks.weight_before(&next[..]);
    match end {
        End::Open => Ok(head + blocks.weight() - before_next),
        End::Before(end_key) => {
            let last = blocks.floor(&end_key[..]).map_or_else(Bytes::new, |(boundary, _)| boundary.clone());
            let whole = blocks.weight_before(&last[..]) - before_next;
            let tail = if last == *end_key { 0 } else { scan(&last, end)? };
            Ok(head + whole + tail)
        }
    }
}
