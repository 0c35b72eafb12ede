//! Snapshots for a peer: a view read out in chunks, and chunks taken in.
//!
//! The stream is the view's pairs in order, without shard and incarnation, cut into chunks. The machine's numbers and the
//! counted blocks, which in the store are as of the last seal, come from the view itself and lead the stream.
//!
//! ```text
//! chunk := version(1 byte) length(u32 LE of body) crc(u32 LE, CRC-32C of body) body
//! body  := last(1 byte) after(bytes) { key(bytes) value(bytes) }       bytes := LEB128 length, bytes
//! ```
//!
//! `after` repeats the key that the chunk before ended with, so that a chunk that is missing, doubled or of another stream
//! does not fit. A chunk is verified as a whole before any of it is written; and it is written under an incarnation that is
//! not in force until all of it is there.

use super::Kv;
use super::counts::Counts;
use super::layout::{Cursor, KEY_MAX, Keys, Rev, damaged, table, varint};
use super::meta::Meta;
use super::source::Written;
use super::sweep::Purge;
use super::view::KvView;
use super::{alarm, fence, lease, pointer};
use crate::table::Tables;
use bytes::Bytes;
use quorate_base::{Base, ShardId};
use quorate_storage::state::{StateError, StateResult};
use std::iter::Peekable;
use std::ops::Bound;

pub(super) const VERSION: u8 = 3;
const FRAME: usize = 9;
/// The machine's numbers, in the stream only: before all tables.
pub(super) const NUMBERS: u8 = b'A';
/// The longest key of the stream: a table's letter, an escaped key and a revision.
const STREAM_KEY_MAX: usize = 2 * KEY_MAX + 32;

/// A snapshot while it is being taken in.
pub(super) struct Incoming {
    incarnation: u32,
    keys: Keys,
    /// The number of the chunk that is due.
    seq: u64,
    last_key: Bytes,
    meta: Option<Meta>,
    latest: u64,
    counted: u64,
    complete: bool,
}

pub(super) struct Chunk<'a> {
    pub(super) last: bool,
    pub(super) after: &'a [u8],
    pub(super) pairs: Vec<(&'a [u8], &'a [u8])>,
}

impl KvView {
    /// One chunk of the snapshot of this view: the pairs behind the cursor `after`, about `max_bytes` of them, and the
    /// cursor of the next chunk, if there is one. The same cursor always gives the same chunk.
    pub fn export(&self, after: Option<&Bytes>, max_bytes: usize) -> StateResult<(Bytes, Option<Bytes>)> {
        let after = after.map_or(&b""[..], |after| after);
        if after.len() > STREAM_KEY_MAX {
            return Err(damaged("the cursor of a snapshot"));
        }
        let mut pairs = self.stream(after).peekable();
        let (mut body, mut last_key) = (vec![0], Bytes::new());
        put_bytes(&mut body, after);
        // At least one pair, however long the cursor is: a chunk without any would not move on.
        let start = body.len();
        while body.len() - start < max_bytes.max(1) {
            let Some(pair) = pairs.next() else { break };
            let (key, value) = pair?;
            put_bytes(&mut body, &key);
            put_bytes(&mut body, &value);
            last_key = key;
        }
        let last = pairs.peek().is_none();
        body[0] = u8::from(last);
        Ok((framed(body), (!last).then(|| Bytes::copy_from_slice(&last_key))))
    }

    /// The pairs behind `after`: numbers, blocks, and what is stored.
    pub(super) fn stream<'s>(
        &'s self,
        after: &'s [u8],
    ) -> Box<dyn Iterator<Item = StateResult<(Bytes, Bytes)>> + 's> {
        const STORED: u8 = table::BLOCK + 1;
        let numbers =
            after.is_empty().then(|| Ok((Bytes::from_static(&[NUMBERS]), self.meta.encode().into())));
        let blocks = match after.first() {
            Some(&first) if first > table::BLOCK => None,
            Some(&table::BLOCK) => Some(self.blocks.iter_from(Bound::Excluded(&after[1..]))),
            _ => Some(self.blocks.iter()),
        };
        let blocks = blocks.into_iter().flatten().map(|(boundary, block)| {
            let mut key = vec![table::BLOCK];
            key.extend_from_slice(boundary);
            Ok((key.into(), Bytes::copy_from_slice(&block.count.to_le_bytes())))
        });
        let stored = self.stored_after(if after < &[STORED][..] { &[STORED] } else { after });
        let stored = stored.filter_map(|pair| match pair {
            Ok((key, value)) => {
                let value = self.tables.unsettled(&key).cloned().unwrap_or(value);
                let passed = self.tables.is_unstored(&key) || key.get(super::PREFIX) == Some(&table::META);
                (!passed).then(|| Ok((key.slice(super::PREFIX..), value)))
            }
            Err(error) => Some(Err(error)),
        });
        let unstored = self.tables.unstored().map(|(key, value)| (key.slice(super::PREFIX..), value));
        let unstored = unstored.skip_while(move |(key, _)| **key <= *after);
        let stored = Merged { stored: stored.peekable(), unstored: unstored.peekable() };
        Box::new(numbers.into_iter().chain(blocks).chain(stored))
    }
}

/// Pairs of the store and others, in the order of their keys.
struct Merged<S: Iterator, U: Iterator> {
    stored: Peekable<S>,
    unstored: Peekable<U>,
}

impl<S, U> Iterator for Merged<S, U>
where
    S: Iterator<Item = StateResult<(Bytes, Bytes)>>,
    U: Iterator<Item = (Bytes, Bytes)>,
{
    type Item = StateResult<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = match (self.stored.peek(), self.unstored.peek()) {
            (Some(Ok((stored, _))), Some((unstored, _))) => unstored < stored,
            (stored, _) => stored.is_none(),
        };
        if first { self.unstored.next().map(Ok) } else { self.stored.next() }
    }
}

impl Kv {
    /// Begins to take in a snapshot; one that was under way is given up.
    pub fn import_begin(&mut self) -> StateResult<()> {
        self.import_abandon();
        self.highest =
            self.highest.checked_add(1).ok_or_else(|| damaged("the number of the next incarnation"))?;
        self.incoming = Some(Incoming::new(self.shard, self.highest));
        Ok(())
    }

    /// Takes in chunk `seq` of the snapshot. A chunk that does not verify is an error, and the snapshot is given up: what
    /// is in force stays as it is.
    pub fn import_chunk(&mut self, seq: u64, data: &[u8]) -> StateResult<()> {
        let taken = self.import_pairs(seq, data);
        if taken.is_err() {
            self.import_abandon();
        }
        taken
    }

    /// Gives up the snapshot that is being taken in, if there is one.
    pub fn import_abandon(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            self.purges.push(Purge::new(incoming.incarnation));
        }
    }

    fn import_pairs(&mut self, seq: u64, data: &[u8]) -> StateResult<()> {
        let incoming = self.incoming.as_mut().ok_or_else(|| bad("no snapshot was begun"))?;
        if incoming.complete || incoming.seq != seq {
            return Err(bad(&format!("chunk {seq} came, {} was due", incoming.seq)));
        }
        let chunk = incoming.take(data)?;
        let mut stored = Vec::new();
        for (key, value) in &chunk.pairs {
            if key[0] != NUMBERS {
                self.state.put(incoming.keys.raw(&mut stored, key[0], &key[1..]), value);
            }
        }
        Ok(())
    }

    /// Puts the snapshot in force. `base` is what it was announced as; its membership is believed.
    ///
    /// An error says that the snapshot is not whole or not the one announced (it is given up), or that the store failed.
    pub fn import_finish(&mut self, base: Base) -> StateResult<()> {
        let incoming = self.incoming.take().ok_or_else(|| bad("no snapshot was begun"))?;
        let (incarnation, keys) = (incoming.incarnation, incoming.keys);
        let meta = match incoming.whole() {
            Some((meta, _)) if meta.applied == base.id => meta,
            _ => {
                self.purges.push(Purge::new(incarnation));
                return Err(bad("it is not whole, or not the one that was announced"));
            }
        };
        let source = Written(&*self.state);
        let loaded = Counts::load(&source, keys)
            .and_then(|counts| Ok((counts, lease::load(&source, keys)?)))
            .and_then(|loaded| Ok((loaded, fence::load(&source, keys)?, alarm::load(&source, keys)?)))
            .and_then(|loaded| Ok((loaded, Tables::open(&keys.tables(), &source)?)));
        let (((counts, leases), fences, alarms), tables) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                self.purges.push(Purge::new(incarnation));
                return Err(error);
            }
        };
        self.purges.push(Purge::new(self.incarnation));
        self.incarnation = incarnation;
        self.keys = keys;
        self.counts = counts;
        self.leases = leases;
        self.fences = fences;
        self.alarms = alarms;
        // A planted bug outlives the state that it was in.
        let planted = self.tables.planted();
        self.tables = tables;
        self.tables.plant(planted);
        self.freed = Rev::NONE;
        self.before = base.id;
        self.meta = Meta { membership: base.membership, ..meta };
        self.state.put(&pointer(self.shard), &self.incarnation.to_le_bytes());
        Ok(())
    }
}

impl Incoming {
    pub(super) fn new(shard: ShardId, incarnation: u32) -> Self {
        Self {
            incarnation,
            keys: Keys::new(shard, incarnation),
            seq: 0,
            last_key: Bytes::new(),
            meta: None,
            latest: 0,
            counted: 0,
            complete: false,
        }
    }

    /// Verifies the chunk that is due, and takes down what is in it.
    pub(super) fn take<'a>(&mut self, data: &'a [u8]) -> StateResult<Chunk<'a>> {
        let seq = self.seq;
        if self.complete {
            return Err(bad("more came behind its last chunk"));
        }
        let chunk = parse(data).ok_or_else(|| bad(&format!("chunk {seq} does not verify")))?;
        if chunk.after != self.last_key {
            return Err(bad(&format!("chunk {seq} does not follow the one before")));
        }
        self.note(&chunk)?;
        self.seq += 1;
        self.complete = chunk.last;
        Ok(chunk)
    }

    /// The numbers and how many keys there are, if all of it came.
    pub(super) fn whole(self) -> Option<(Meta, u64)> {
        let latest = self.latest;
        let whole = self.complete && self.counted == latest;
        self.meta.filter(|_| whole).map(|meta| (meta, latest))
    }

    /// Checks the pairs of a chunk and takes down what is counted.
    fn note(&mut self, chunk: &Chunk<'_>) -> StateResult<()> {
        let mut before = &self.last_key[..];
        for (key, value) in &chunk.pairs {
            if key.len() > STREAM_KEY_MAX || *key <= before {
                return Err(bad("its keys do not ascend"));
            }
            before = key;
            match key[0] {
                NUMBERS => self.meta = Some(Meta::decode(value)?),
                table::BLOCK => {
                    let count = value.first_chunk().filter(|_| value.len() == 4);
                    let count = count.ok_or_else(|| bad("the count of a block is malformed"))?;
                    self.counted += u64::from(u32::from_le_bytes(*count));
                }
                table::LATEST => self.latest += 1,
                table::LEASE
                | table::LEASE_KEY
                | table::FENCE
                | table::ALARM
                | table::DELETED
                | table::EVENT
                | table::TABLE => {}
                other => return Err(bad(&format!("it has a table {other:#x}"))),
            }
        }
        if let Some((key, _)) = chunk.pairs.last() {
            self.last_key = Bytes::copy_from_slice(key);
        }
        Ok(())
    }
}

pub(super) fn bad(what: &str) -> StateError {
    StateError::of_damage(format!("the snapshot cannot be taken in: {what}"))
}

/// A chunk with this body.
pub(super) fn framed(mut body: Vec<u8>) -> Bytes {
    let mut chunk = Vec::with_capacity(FRAME + body.len());
    chunk.push(VERSION);
    chunk.extend((body.len() as u32).to_le_bytes());
    chunk.extend(crc32c::crc32c(&body).to_le_bytes());
    chunk.append(&mut body);
    chunk.into()
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn parse(data: &[u8]) -> Option<Chunk<'_>> {
    let (&version, frame) = data.split_first()?;
    let (len, frame) = frame.split_first_chunk::<4>()?;
    let (crc, body) = frame.split_first_chunk::<4>()?;
    let whole =
        u32::from_le_bytes(*len) as usize == body.len() && crc32c::crc32c(body) == u32::from_le_bytes(*crc);
    if version != VERSION || !whole {
        return None;
    }
    let mut at = Cursor { bytes: body, at: 1 };
    let last = match body.first()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let after = take_bytes(&mut at)?;
    let mut pairs = Vec::new();
    while at.at < body.len() {
        let pair = (take_bytes(&mut at)?, take_bytes(&mut at)?);
        if pair.0.is_empty() {
            return None;
        }
        pairs.push(pair);
    }
    Some(Chunk { last, after, pairs })
}

fn take_bytes<'a>(at: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let len = usize::try_from(at.varint()?).ok()?;
    at.take(len)
}

/// The stream's order holds what it says: numbers, blocks, then the tables as stored.
const _: () = assert!(NUMBERS < table::BLOCK && table::BLOCK < table::LEASE);
