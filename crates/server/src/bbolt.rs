//! Snapshots of etcd: the file of its store, bbolt, and what etcd keeps in it. Here it is read; [`snapshot`] writes one.
//!
//! The file is a run of pages; two of them, of which the newer that verifies counts, name the root bucket. A bucket is a tree of
//! pages with sorted keys, and a value may be a bucket again. etcd keeps every version of every key in the bucket `key`, under its
//! revision, and leases in `lease`; what it has compacted is in `meta`. Members, users and alarms are the old cluster's: they are told
//! apart from the rest, for whoever goes on with that cluster.
//!
//! What is not trusted: every offset and every length is held against the file, and no page is read twice.

mod pages;
mod snapshot;
mod sorted;
#[cfg(test)]
mod tests;

pub(crate) use snapshot::{Snapshot, Unwritten};

use bytes::Bytes;
use prost::Message;
use quorate_node::backup::{HEADER, Header};
use quorate_state::kv::{Foreign, ForeignVersion};
use quorate_wire::kv::KeyValue;
use std::collections::BTreeSet;

/// How the file of a store begins, at [`MAGIC_AT`] of each of its two first pages.
pub(crate) const MAGIC: [u8; 4] = 0xED0C_DAED_u32.to_le_bytes();
/// See [`MAGIC`].
pub(crate) const MAGIC_AT: usize = 16;
const VERSION: u32 = 2;
const PAGE_HEADER: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const ELEMENT: usize = 16;
const BUCKET: u32 = 1;
const DEPTH_MAX: usize = 64;
/// The bucket of what this program keeps and etcd does not.
const BESIDE: &str = "quorate";
/// Where in it the header of a snapshot of this program's own form stands: before all else.
const HEADER_KEY: &[u8] = b"\0header";

/// Where the file makes no sense, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BadStore {
    /// The offset.
    pub(crate) at: u64,
    /// In words.
    pub(crate) what: &'static str,
}

type Read<T> = Result<T, BadStore>;

fn bad<T>(at: usize, what: &'static str) -> Read<T> {
    Err(BadStore { at: at as u64, what })
}

/// A pair as etcd keeps it.
#[derive(Clone, PartialEq, Eq, Message)]
struct Pair {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(int64, tag = "2")]
    create_revision: i64,
    #[prost(int64, tag = "3")]
    mod_revision: i64,
    #[prost(int64, tag = "4")]
    version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
    #[prost(int64, tag = "6")]
    lease: i64,
}

/// A lease as etcd keeps it.
#[derive(Clone, PartialEq, Eq, Message)]
struct Lease {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    ttl: i64,
    #[prost(int64, tag = "3")]
    remaining: i64,
}

/// All that is kept in the file of a store.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The space.
    pub(crate) foreign: Foreign,
    /// Of which node it is, where that was one of ours.
    pub(crate) header: Option<Header>,
    /// What is the cluster's.
    pub(crate) cluster: Cluster,
}

/// What etcd keeps of its cluster.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// The last entry of the log that is in the store, and its term.
    pub(crate) applied: Option<u64>,
    pub(crate) term: Option<u64>,
    /// Each in etcd's JSON.
    pub(crate) members: Vec<Bytes>,
    /// The ids of former ones, in hexadecimal.
    pub(crate) removed: Vec<Bytes>,
    /// Those that stand: member and number.
    pub(crate) alarms: Vec<(u64, i32)>,
    /// Whether users are asked for, and whether there are any.
    pub(crate) asks_for_users: bool,
    pub(crate) users: bool,
    /// One of the two descriptions of the store does not verify: what the other tells of may be older.
    pub(crate) perhaps_older: bool,
}

impl Cluster {
    /// Takes a pair of one of the small buckets.
    fn take(&mut self, bucket: &[u8], at: usize, key: &Bytes, value: Bytes) -> Read<()> {
        let number = value.first_chunk::<8>().filter(|_| value.len() == 8).map(|n| u64::from_be_bytes(*n));
        match (bucket, &key[..]) {
            (b"meta", b"consistent_index" | b"term") if number.is_none() => {
                return bad(at, "the number of the last entry is malformed");
            }
            (b"meta", b"consistent_index") => self.applied = number,
            (b"meta", b"term") => self.term = number,
            (b"members", _) => self.members.push(value),
            (b"members_removed", _) => self.removed.push(key.clone()),
            (b"alarm", _) => match AlarmMember::decode(&key[..]) {
                Ok(AlarmMember { member, kind }) => self.alarms.push((member, kind)),
                Err(_) => return bad(at, "an alarm is malformed"),
            },
            (b"auth", b"authEnabled") => self.asks_for_users = value[..] != [0],
            (b"authUsers" | b"authRoles", _) => self.users = true,
            _ => {}
        }
        Ok(())
    }
}

/// An alarm as etcd keeps it: all of it is the key.
#[derive(Clone, PartialEq, Eq, Message)]
struct AlarmMember {
    #[prost(uint64, tag = "1")]
    member: u64,
    #[prost(int32, tag = "2")]
    kind: i32,
}

/// All that is kept in the file of a store.
pub(crate) fn read(file: &Bytes) -> Read<Kept> {
    let mut store = Store { file, page_size: 4096, seen: BTreeSet::new() };
    let root = store.root()?;
    let perhaps_older = !store.both();
    let mut buckets = Vec::new();
    store.walk(Place::Page(root), 0, &mut |at, flags, key, value| {
        if flags & BUCKET != 0 {
            buckets.push((key, at, value));
        }
        Ok(())
    })?;
    let (mut foreign, mut header, mut cluster) =
        (Foreign::default(), None, Cluster { perhaps_older, ..Cluster::default() });
    for (name, at, value) in buckets {
        match &name[..] {
            b"key" => store.bucket(at, &value, &mut |at, key, value| {
                // A revision that was raised by etcd's tools, and nothing else.
                if let (17, true, Some(main)) = (key.len(), value.is_empty(), key.first_chunk::<8>()) {
                    foreign.revision = foreign.revision.max(i64::from_be_bytes(*main));
                    return Ok(());
                }
                let version = version(at, &key, value)?;
                let before = foreign.versions.last().map(|before| (before.revision, before.sub));
                if before >= Some((version.revision, version.sub)) {
                    return bad(at, "revisions do not ascend");
                }
                foreign.versions.push(version);
                Ok(())
            })?,
            b"lease" => store.bucket(at, &value, &mut |at, _, value| {
                let Ok(Lease { id, ttl, remaining }) = Lease::decode(value) else {
                    return bad(at, "a lease is malformed");
                };
                foreign.leases.push((id, ttl, remaining));
                Ok(())
            })?,
            b"meta" => store.bucket(at, &value, &mut |at, key, value| {
                // What is scheduled is compacted already for whoever reads.
                if matches!(&key[..], b"scheduledCompactRev" | b"finishedCompactRev")
                    && let Some(main) = value.first_chunk::<8>()
                {
                    foreign.compacted = foreign.compacted.max(i64::from_be_bytes(*main));
                }
                cluster.take(b"meta", at, &key, value)
            })?,
            name if name == BESIDE.as_bytes() => store.bucket(at, &value, &mut |at, key, value| {
                if key == HEADER_KEY {
                    let bytes = value.first_chunk::<HEADER>().filter(|_| value.len() == HEADER);
                    header = bytes.and_then(|bytes| Header::decode(bytes).ok());
                    return if header.is_some() {
                        Ok(())
                    } else {
                        bad(at, "whose snapshot it is does not verify")
                    };
                }
                foreign.beside.push((key, value));
                Ok(())
            })?,
            name => {
                store.bucket(at, &value, &mut |at, key, value| cluster.take(name, at, &key, value))?;
            }
        }
    }
    // We leave them out, and an etcd that was made of our snapshot has its own: then what it carries beside is of another time than the
    // rest.
    if !cluster.members.is_empty() {
        foreign.beside.clear();
        header = None;
    }
    let newest = foreign.versions.last().map_or(1, |version| version.revision);
    foreign.revision = foreign.revision.max(newest).max(foreign.compacted);
    Ok(Kept { foreign, header, cluster })
}

/// `main(8 bytes BE) _ sub(8 bytes BE)`, and a `t` behind it for a deletion.
fn version(at: usize, key: &[u8], value: Bytes) -> Read<ForeignVersion> {
    let deleted = key.len() == 18 && key[17] == b't';
    let main = key.first_chunk::<8>().map(|main| i64::from_be_bytes(*main));
    let sub = key.get(9..17).and_then(|sub| sub.try_into().ok()).map(u64::from_be_bytes);
    let (Some(revision), Some(Ok(sub)), true) = (main, sub.map(u32::try_from), key.len() == 17 || deleted)
    else {
        return bad(at, "a revision is malformed");
    };
    let Ok(pair) = Pair::decode(value) else { return bad(at, "a pair is malformed") };
    let key = pair.key.clone();
    let pair = (!deleted).then_some(KeyValue {
        key: pair.key,
        value: pair.value,
        create_revision: pair.create_revision,
        mod_revision: pair.mod_revision,
        version: pair.version,
        lease: pair.lease,
    });
    let sound = |pair: &KeyValue| {
        pair.mod_revision == revision && (1..=revision).contains(&pair.create_revision) && pair.version > 0
    };
    if !(0..1 << 62).contains(&revision) || !pair.as_ref().is_none_or(sound) {
        return bad(at, "a revision makes no sense");
    }
    Ok(ForeignVersion { key, revision, sub, pair })
}

/// The sum of a description: FNV-1a over all before it.
fn sum_of(bytes: &[u8]) -> u64 {
    let mix = |h: u64, byte: &u8| (h ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, mix)
}

struct Store<'f> {
    file: &'f Bytes,
    page_size: usize,
    /// Pages that were read.
    seen: BTreeSet<u64>,
}

/// Where a page is: in the file by its number, or in the value of a small bucket.
#[derive(Clone, Copy)]
enum Place {
    Page(u64),
    Inline(usize, usize),
}

/// Takes each pair: its place, its flags, key and value.
type Each<'e> = dyn FnMut(usize, u32, Bytes, Bytes) -> Read<()> + 'e;

impl Store<'_> {
    fn number<const N: usize>(&self, at: usize) -> Read<u64> {
        match self.file.get(at..at.saturating_add(N)) {
            Some(bytes) => Ok(bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))),
            None => bad(self.file.len(), "the file ends too early"),
        }
    }

    /// The page of the root bucket, by the newer description that verifies.
    fn root(&mut self) -> Read<u64> {
        let mut best = None;
        // The second stands one page further; how large pages are is in it, too.
        for at in [0, 4096, 8192, 16384, 65536] {
            let Ok(Some((size, root, txid))) = self.description(at) else { continue };
            if best.is_none_or(|(_, _, newest)| txid > newest) {
                best = Some((size, root, txid));
            }
        }
        let Some((size, root, _)) = best else { return bad(0, "neither description of the store verifies") };
        self.page_size = size;
        Ok(root)
    }

    /// Whether both descriptions verify.
    fn both(&self) -> bool {
        [0, self.page_size].iter().all(|&at| matches!(self.description(at), Ok(Some(_))))
    }

    fn description(&self, page: usize) -> Read<Option<(usize, u64, u64)>> {
        let at = page + MAGIC_AT;
        let Some(bytes) = self.file.get(at..at + 64) else { return Ok(None) };
        let sum = sum_of(&bytes[..56]);
        let sound = bytes[..4] == MAGIC
            && self.number::<4>(at + 4)? == u64::from(VERSION)
            && self.number::<8>(at + 56)? == sum;
        let size = self.number::<4>(at + 8)? as usize;
        if !sound || !(512..=1 << 20).contains(&size) {
            return Ok(None);
        }
        Ok(Some((size, self.number::<8>(at + 16)?, self.number::<8>(at + 48)?)))
    }

    /// The pairs of a bucket whose value stands at `at`.
    fn bucket(
        &mut self,
        at: usize,
        value: &Bytes,
        each: &mut dyn FnMut(usize, Bytes, Bytes) -> Read<()>,
    ) -> Read<()> {
        if value.len() < PAGE_HEADER {
            return bad(at, "a bucket is malformed");
        }
        let place = match self.number::<8>(at)? {
            0 => Place::Inline(at + PAGE_HEADER, value.len() - PAGE_HEADER),
            root => Place::Page(root),
        };
        self.walk(place, 0, &mut |at, _, key, value| each(at, key, value))
    }

    fn walk(&mut self, place: Place, depth: usize, each: &mut Each<'_>) -> Read<()> {
        let (at, len) = match place {
            Place::Inline(at, len) => (at, len),
            Place::Page(number) => self.page(number)?,
        };
        let (flags, count) = (self.number::<2>(at + 8)? as u16, self.number::<2>(at + 10)? as usize);
        if depth > DEPTH_MAX || PAGE_HEADER + count * ELEMENT > len {
            return bad(at, "a page makes no sense");
        }
        for n in 0..count {
            let element = at + PAGE_HEADER + n * ELEMENT;
            match flags {
                BRANCH => {
                    let child = self.number::<8>(element + 8)?;
                    self.walk(Place::Page(child), depth + 1, each)?;
                }
                LEAF => {
                    let field = |n: usize| self.number::<4>(element + 4 * n).map(|n| n as usize);
                    let (flags, begin) = (field(0)? as u32, element + field(1)?);
                    let (key, value) = (field(2)?, field(3)?);
                    if begin + key + value > at + len {
                        return bad(element, "a pair reaches beyond its page");
                    }
                    let value = self.file.slice(begin + key..begin + key + value);
                    each(begin + key, flags, self.file.slice(begin..begin + key), value)?;
                }
                _ => return bad(at, "a page is of no kind that a tree has"),
            }
        }
        Ok(())
    }

    /// Where a page begins, and how long it is with what it overflows into.
    fn page(&mut self, number: u64) -> Read<(usize, usize)> {
        let at = usize::try_from(number).ok().and_then(|n| n.checked_mul(self.page_size));
        let Some(at) = at.filter(|&at| at < self.file.len()) else {
            return bad(self.file.len(), "a page lies beyond the end");
        };
        if !self.seen.insert(number) {
            return bad(at, "a page is in two places of a tree");
        }
        let overflow = self.number::<4>(at + 12)? as usize;
        let len = (overflow + 1).checked_mul(self.page_size);
        match len.filter(|len| len.checked_add(at).is_some_and(|end| end <= self.file.len())) {
            Some(len) => Ok((at, len)),
            None => bad(at, "a page reaches beyond the end"),
        }
    }
}
