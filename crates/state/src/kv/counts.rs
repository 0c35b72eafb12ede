//! How many keys there are, without reading them: the counted blocks.
//!
//! The keys of table `LATEST` are cut into blocks of at most [`BLOCK_MAX`] consecutive keys. A block is its first key (the
//! boundary; that of the first block is empty) and its count, and a counted tree of them lies in memory, about one entry
//! for 170 keys. The keys in `[a, b)` are then the whole blocks between, by two descents, and at most two partial
//! blocks, which are scanned: O(log n) pages whatever the range.
//!
//! What is deleted stays in the store's tables as a mark until a merge takes it away, and a scan walks all of these marks. So a block
//! also has a guess of how many lie in it: blocks with many of them do not join, one in which no key is left (a *hole*) is not scanned at
//! all, and of the others a read that may cost little hears what it would walk ([`Source::spend`]).
//!
//! Blocks are derived state: where the boundaries lie depends on history and on snapshots taken in, and no answer depends
//! on them. Those that changed are written at a seal, so that opening reads one entry a block and no keys.

use super::layout::{Keys, damaged, table};
use super::read::End;
use super::source::Source;
use bytes::Bytes;
use quorate_storage::cow::{Tree, Weight};
use quorate_storage::state::{Scan, State, StateResult};
use std::collections::BTreeSet;
use std::ops::Bound;

/// The most keys of a block. Small in the crate's own tests, so that few keys make many blocks.
pub(super) const BLOCK_MAX: u32 = if cfg!(test) { 8 } else { 256 };
/// A block below this joins the one before it, if both make no full one.
const BLOCK_THIN: u32 = BLOCK_MAX / 4;

/// Blocks with more marks of deletions than this together do not join.
const GRAVES_MAX: u32 = if cfg!(test) { 3 } else { 1024 };

/// A key in a hole gets a block of its own while there are no more blocks than this, and than as many as thin ones had.
const ALONE_MAX: u64 = if cfg!(test) { 5 } else { 1024 };

/// What lies in a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Block {
    /// Keys.
    pub(super) count: u32,
    /// Marks of deletions, about: nobody says when they go.
    pub(super) graves: u32,
}

impl Block {
    /// Of these keys.
    pub(super) fn of(count: u32) -> Self {
        Self { count, graves: 0 }
    }

    fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, graves: self.graves.saturating_add(other.graves) }
    }

    /// Whether both are to be one.
    fn joins(self, before: Self) -> bool {
        let both = self.and(before);
        let holes = self.count == 0 && before.count == 0;
        let few = self.count < BLOCK_THIN && both.count <= BLOCK_MAX * 3 / 4 && both.graves <= GRAVES_MAX;
        holes || few
    }

    fn encode(self) -> Vec<u8> {
        let mut out = self.count.to_le_bytes().to_vec();
        if self.graves > 0 {
            out.extend_from_slice(&self.graves.to_le_bytes());
        }
        out
    }

    fn decode(stored: &[u8]) -> Option<Self> {
        let (count, rest) = stored.split_first_chunk()?;
        let graves = if rest.is_empty() { 0 } else { u32::from_le_bytes(rest.try_into().ok()?) };
        Some(Self { count: u32::from_le_bytes(*count), graves })
    }
}

impl Weight for Block {
    fn weight(&self) -> u64 {
        u64::from(self.count)
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
        blocks.insert(Bytes::new(), Block::of(0));
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
            let block = Block::decode(&value).ok_or_else(|| damaged("the count of a block"))?;
            blocks.insert(key.slice(from.len()..), block);
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
        let (boundary, Block { count, graves }) = self.block_of(key);
        if count == 0 && graves > GRAVES_MAX {
            self.created_in_hole(boundary, graves, key);
            return Ok(());
        }
        // Mostly it takes the place of a mark, where there are any.
        let graves = graves.saturating_sub(1);
        self.set(boundary.clone(), Block { count: count + 1, graves });
        if count < BLOCK_MAX {
            return Ok(());
        }
        let next = self.next(&boundary).map(|(next, _)| next);
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
            self.set(boundary, Block { count: at, graves: graves / 2 });
            // Copied: a slice would hold the page it came from.
            let rest = Block { count: count + 1 - at, graves: graves - graves / 2 };
            self.set(Bytes::copy_from_slice(&middle), rest);
        }
        Ok(())
    }

    /// What lies before a key stays a hole, and what lies behind it too, unless there are many blocks already.
    fn created_in_hole(&mut self, boundary: Bytes, graves: u32, key: &Bytes) {
        let alone = self.blocks.len() as u64 <= ALONE_MAX + self.blocks.weight() / u64::from(BLOCK_THIN);
        let key = Bytes::copy_from_slice(key);
        if !alone {
            self.set(boundary, Block { count: 0, graves: graves - graves / 2 });
            self.set(key, Block { count: 1, graves: graves / 2 });
            return;
        }
        let behind = Bytes::from([&key[..], &[0]].concat());
        self.set(boundary, Block { count: 0, graves });
        self.set(key, Block::of(1));
        if self.blocks.get(&behind[..]).is_none() {
            self.set(behind, Block { count: 0, graves });
        }
    }

    /// `key` was deleted.
    pub(super) fn deleted(&mut self, key: &[u8]) -> StateResult<()> {
        let (mut boundary, Block { count, graves }) = self.block_of(key);
        let count = count.checked_sub(1).ok_or_else(|| damaged("the count of a block"))?;
        let mut block = Block { count, graves: graves.saturating_add(1) };
        if let Some((next, behind)) = self.next(&boundary).filter(|_| count == 0)
            && behind.count == 0
        {
            block = block.and(behind);
            self.remove(next);
        }
        let before = self.blocks.iter_back_from(Bound::Excluded(&boundary[..])).next();
        if let Some((before, &other)) = before.map(|(key, block)| (key.clone(), block))
            && block.joins(other)
        {
            block = block.and(other);
            self.remove(std::mem::replace(&mut boundary, before));
        }
        self.set(boundary, block);
        Ok(())
    }

    fn next(&self, boundary: &[u8]) -> Option<(Bytes, Block)> {
        let next = self.blocks.iter_from(Bound::Excluded(boundary)).next();
        next.map(|(boundary, block)| (boundary.clone(), *block))
    }

    fn remove(&mut self, boundary: Bytes) {
        self.blocks.remove(&boundary[..]);
        self.dirty.insert(boundary);
    }

    /// Writes what changed since the last time.
    pub(super) fn save(&mut self, state: &mut dyn State, keys: Keys) {
        let mut stored = Vec::new();
        for boundary in std::mem::take(&mut self.dirty) {
            let stored = keys.raw(&mut stored, table::BLOCK, &boundary);
            match self.blocks.get(&boundary[..]) {
                Some(block) => state.put(stored, &block.encode()),
                None => state.delete(stored),
            }
        }
    }

    fn block_of(&self, key: &[u8]) -> (Bytes, Block) {
        block_of(&self.blocks, key)
    }

    fn set(&mut self, boundary: Bytes, block: Block) {
        self.blocks.insert(boundary.clone(), block);
        self.dirty.insert(boundary);
    }
}

/// The block that a key lies in.
fn block_of(blocks: &Blocks, key: &[u8]) -> (Bytes, Block) {
    // The first block's boundary is empty and below all keys; it never goes.
    blocks.floor(key).map_or_else(Default::default, |(boundary, block)| (boundary.clone(), *block))
}

/// So many blocks are scanned in one go at most, and such with so many marks of deletions together: that is known before it is begun.
const STRETCH_BLOCKS: usize = 16;
const STRETCH_GRAVES: u32 = if cfg!(test) { 2 } else { 256 };

/// What table `LATEST` holds of a range, without the holes.
pub(super) struct Stretches<'s> {
    pub(super) blocks: &'s Blocks,
    pub(super) source: &'s dyn Source,
    pub(super) keys: Keys,
    /// Where the next stretch begins; `None` once there is none.
    pub(super) from: Option<Bytes>,
    pub(super) end: End,
    /// What was deleted is looked for beside it, so that holes cost something, too.
    pub(super) beside: bool,
    pub(super) scan: Option<Scan<'s>>,
}

impl Stretches<'_> {
    /// Begins the next stretch, if there is one.
    fn begin(&mut self) -> StateResult<()> {
        self.scan = None;
        let Some(mut from) = self.from.take() else { return Ok(()) };
        let (mut boundary, mut block) = block_of(self.blocks, &from);
        let next = |boundary: &[u8]| self.blocks.iter_from(Bound::Excluded(boundary)).next();
        while block.count == 0 {
            if self.beside {
                self.source.spend(graves_cost(block.graves))?;
            }
            match next(&boundary) {
                Some((start, &behind)) if self.end.is_above(start) => {
                    (boundary, block, from) = (start.clone(), behind, start.clone());
                }
                _ => return Ok(()),
            }
        }
        let (mut graves, mut upto) = (block.graves, None);
        for (at, (start, behind)) in self.blocks.iter_from(Bound::Excluded(&boundary[..])).enumerate() {
            if !self.end.is_above(start) {
                break;
            }
            graves = graves.saturating_add(behind.graves);
            if behind.count == 0 || at + 1 == STRETCH_BLOCKS || graves > STRETCH_GRAVES {
                graves -= behind.graves;
                upto = Some(start.clone());
                break;
            }
        }
        self.source.spend(graves_cost(graves))?;
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let end = upto.clone().map_or_else(|| self.end.clone(), End::Before);
        self.scan = Some(self.source.scan(latest_range(self.keys, &from, &end, &mut a, &mut b)));
        self.from = upto;
        Ok(())
    }
}

/// To walk a mark costs less than to read a pair.
fn graves_cost(graves: u32) -> usize {
    graves as usize / 4
}

impl Iterator for Stretches<'_> {
    type Item = StateResult<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(pair) = self.scan.as_mut().and_then(Iterator::next) {
                return Some(pair);
            }
            self.from.as_ref()?;
            if let Err(error) = self.begin() {
                self.from = None;
                return Some(Err(error));
            }
        }
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
        // Within one block.
        let (_, block) = block_of(blocks, from);
        if block.count == 0 {
            return Ok(0);
        }
        source.spend(graves_cost(block.graves))?;
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
        Some(whole) => u64::from(whole.count),
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
