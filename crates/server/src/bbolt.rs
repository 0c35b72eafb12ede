//! Snapshots of etcd: the file of its store, bbolt, and what etcd keeps in it. Here it is read; [`snapshot`] writes one.
//!
//! The file is a run of pages; two of them, of which the newer that verifies counts, name the root bucket. A bucket is a tree of
//! pages with sorted keys, and a value may be a bucket again. etcd keeps every version of every key in the bucket `key`, under its
//! revision, and leases in `lease`; what it has compacted is in `meta`. Members, users and alarms are the old cluster's: they are told
//! apart from the rest, for whoever goes on with that cluster.
//!
//! The file may be larger than memory: it is read page by page, a page of each level of a tree at once, and its versions are given on one
//! by one, in the order of their revisions.
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
use quorate_state::kv::{Foreign, ForeignPart, ForeignVersion};
use quorate_storage::state::StateError;
use quorate_wire::kv::KeyValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

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

/// Where the file makes no sense, and why; or why whoever took what is in it did not.
#[derive(Debug)]
pub(crate) struct BadStore {
    /// The offset.
    pub(crate) at: u64,
    /// In words.
    pub(crate) what: Cow<'static, str>,
    /// It could not be taken.
    pub(crate) untaken: Option<StateError>,
}

type Read<T> = Result<T, BadStore>;

fn bad<T>(at: u64, what: impl Into<Cow<'static, str>>) -> Read<T> {
    Err(BadStore { at, what: what.into(), untaken: None })
}

/// The bytes of a file of a store, of which no more are in memory than are asked for.
pub(crate) enum Source {
    /// And how many of them are the store's.
    File(File, u64),
    #[cfg(test)]
    Bytes(Bytes),
}

impl Source {
    fn len(&self) -> u64 {
        match self {
            Self::File(_, len) => *len,
            #[cfg(test)]
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    fn read(&self, at: u64, len: usize) -> Read<Bytes> {
        if at.checked_add(len as u64).is_none_or(|end| end > self.len()) {
            return bad(self.len(), "the file ends too early");
        }
        match self {
            Self::File(file, _) => {
                let mut bytes = vec![0; len];
                match file.read_exact_at(&mut bytes, at) {
                    Ok(()) => Ok(bytes.into()),
                    Err(error) => bad(at, format!("it cannot be read: {error}")),
                }
            }
            #[cfg(test)]
            Self::Bytes(bytes) => Ok(bytes.slice(at as usize..at as usize + len)),
        }
    }
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

/// What is kept in the file of a store, but for its parts.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The space.
    pub(crate) foreign: Foreign,
    /// How many versions it has.
    pub(crate) versions: u64,
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
    fn take(&mut self, bucket: &[u8], at: u64, key: &Bytes, value: &Bytes) -> Read<()> {
        let number = value.first_chunk::<8>().filter(|_| value.len() == 8).map(|n| u64::from_be_bytes(*n));
        match (bucket, &key[..]) {
            (b"meta", b"consistent_index" | b"term") if number.is_none() => {
                return bad(at, "the number of the last entry is malformed");
            }
            (b"meta", b"consistent_index") => self.applied = number,
            (b"meta", b"term") => self.term = number,
            // Copied: a slice would hold its page.
            (b"members", _) => self.members.push(Bytes::copy_from_slice(value)),
            (b"members_removed", _) => self.removed.push(Bytes::copy_from_slice(key)),
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

/// Takes the parts of a store as they are read.
pub(crate) type Take<'t> = dyn FnMut(ForeignPart) -> Result<(), StateError> + 't;

/// Reads all that is kept in the file of a store, and gives its parts on.
pub(crate) fn read(source: &Source, take: &mut Take<'_>) -> Read<Kept> {
    let mut store = Store { source, page_size: 4096, seen: BTreeMap::new() };
    let root = store.root()?;
    let mut buckets = BTreeMap::new();
    let perhaps_older = !store.both();
    store.walk(Place::Page(root), 0, &mut |at, flags, key, value| {
        if flags & BUCKET != 0 {
            buckets.insert(key, (at, value));
        }
        Ok(())
    })?;
    let mut kept = Kept { cluster: Cluster { perhaps_older, ..Cluster::default() }, ..Kept::default() };
    // What is large comes last.
    let (versions, beside) = (buckets.remove(&b"key"[..]), buckets.remove(BESIDE.as_bytes()));
    for (name, (at, value)) in buckets {
        store.bucket(at, &value, &mut |at, key, value| kept.small(&name, at, &key, &value))?;
    }
    // We leave members out, and an etcd that was made of our snapshot has its own: then what it carries beside is of another time than
    // the rest.
    if let Some((at, value)) = beside.filter(|_| kept.cluster.members.is_empty()) {
        store.bucket(at, &value, &mut |at, key, value| kept.beside(at, key, value, take))?;
    }
    let mut newest = (1, 0);
    if let Some((at, value)) = versions {
        store.bucket(at, &value, &mut |at, key, value| kept.version(at, &key, value, &mut newest, take))?;
    }
    let foreign = &mut kept.foreign;
    foreign.revision = foreign.revision.max(newest.0).max(foreign.compacted);
    Ok(kept)
}

fn taken(at: u64, taken: Result<(), StateError>) -> Read<()> {
    taken.map_err(|error| BadStore { at, what: error.context.clone().into(), untaken: Some(error) })
}

impl Kept {
    /// Takes a pair of one of the small buckets.
    fn small(&mut self, bucket: &[u8], at: u64, key: &Bytes, value: &Bytes) -> Read<()> {
        match (bucket, &key[..]) {
            (b"lease", _) => {
                let Ok(Lease { id, ttl, remaining }) = Lease::decode(&value[..]) else {
                    return bad(at, "a lease is malformed");
                };
                self.foreign.leases.push((id, ttl, remaining));
            }
            // What is scheduled is compacted already for whoever reads.
            (b"meta", b"scheduledCompactRev" | b"finishedCompactRev") => {
                if let Some(main) = value.first_chunk::<8>() {
                    self.foreign.compacted = self.foreign.compacted.max(i64::from_be_bytes(*main));
                }
            }
            _ => return self.cluster.take(bucket, at, key, value),
        }
        Ok(())
    }

    fn beside(&mut self, at: u64, key: Bytes, value: Bytes, take: &mut Take<'_>) -> Read<()> {
        if key == HEADER_KEY {
            let bytes = value.first_chunk::<HEADER>().filter(|_| value.len() == HEADER);
            self.header = bytes.and_then(|bytes| Header::decode(bytes).ok());
            return if self.header.is_some() {
                Ok(())
            } else {
                bad(at, "whose snapshot it is does not verify")
            };
        }
        taken(at, self.foreign.beside.pair(&key, &value))?;
        taken(at, take(ForeignPart::Beside(key, value)))
    }

    fn version(
        &mut self,
        at: u64,
        key: &Bytes,
        value: Bytes,
        newest: &mut (i64, u32),
        take: &mut Take<'_>,
    ) -> Read<()> {
        // A revision that was raised by etcd's tools, and nothing else.
        if let (17, true, Some(main)) = (key.len(), value.is_empty(), key.first_chunk::<8>()) {
            self.foreign.revision = self.foreign.revision.max(i64::from_be_bytes(*main));
            return Ok(());
        }
        let version = version(at, key, value)?;
        let place = (version.revision, version.sub);
        if self.versions > 0 && *newest >= place {
            return bad(at, "revisions do not ascend");
        }
        *newest = place;
        self.versions += 1;
        taken(at, take(ForeignPart::Version(version)))
    }
}

/// `main(8 bytes BE) _ sub(8 bytes BE)`, and a `t` behind it for a deletion.
fn version(at: u64, key: &[u8], value: Bytes) -> Read<ForeignVersion> {
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
    source: &'f Source,
    page_size: u64,
    /// Pages that were read: the bits of [`SEEN`] numbers each.
    seen: BTreeMap<u64, [u64; SEEN as usize / 64]>,
}

/// See [`Store::seen`].
const SEEN: u64 = 4096;
/// Of a page no more than so much is held at once: what lies behind, large values, is read for itself.
const HELD: u64 = if cfg!(test) { 8 << 10 } else { 256 << 10 };

/// etcd takes no request that comes near.
const PAIR_MAX: u64 = 256 << 20;

/// Where a page is: in the file by its number, or in the value of a small bucket, by the place of that.
enum Place {
    Page(u64),
    Inline(u64, Bytes),
}

/// A page: where it begins, how long it is with what it overflows into, and its beginning.
struct Page {
    at: u64,
    len: u64,
    held: Bytes,
}

/// Takes each pair: its place, its flags, key and value.
type Each<'e> = dyn FnMut(u64, u32, Bytes, Bytes) -> Read<()> + 'e;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

impl Store<'_> {
    /// The page of the root bucket, by the newer description that verifies.
    fn root(&mut self) -> Read<u64> {
        let mut best = None;
        // The second stands one page further; how large pages are is in it, too.
        for at in [0, 4096, 8192, 16384, 65536] {
            let Some((size, root, txid)) = self.description(at)? else { continue };
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

    fn description(&self, page: u64) -> Read<Option<(u64, u64, u64)>> {
        let at = page + MAGIC_AT as u64;
        if at + 64 > self.source.len() {
            return Ok(None);
        }
        let bytes = self.source.read(at, 64)?;
        let sound = bytes[..4] == MAGIC
            && number(&bytes[4..8]) == u64::from(VERSION)
            && number(&bytes[56..]) == sum_of(&bytes[..56]);
        let size = number(&bytes[8..12]);
        if !sound || !(512..=1 << 20).contains(&size) {
            return Ok(None);
        }
        Ok(Some((size, number(&bytes[16..24]), number(&bytes[48..56]))))
    }

    /// The pairs of a bucket whose value stands at `at`.
    fn bucket(
        &mut self,
        at: u64,
        value: &Bytes,
        each: &mut dyn FnMut(u64, Bytes, Bytes) -> Read<()>,
    ) -> Read<()> {
        if value.len() < PAGE_HEADER {
            return bad(at, "a bucket is malformed");
        }
        let place = match number(&value[..8]) {
            0 => Place::Inline(at + PAGE_HEADER as u64, value.slice(PAGE_HEADER..)),
            root => Place::Page(root),
        };
        self.walk(place, 0, &mut |at, _, key, value| each(at, key, value))
    }

    fn walk(&mut self, place: Place, depth: usize, each: &mut Each<'_>) -> Read<()> {
        let page = match place {
            Place::Inline(at, held) => Page { at, len: held.len() as u64, held },
            Place::Page(number) => self.page(number)?,
        };
        let header = self.part(&page, 0, PAGE_HEADER as u64)?;
        let (flags, count) = (number(&header[8..10]) as u16, number(&header[10..12]));
        if depth > DEPTH_MAX || (PAGE_HEADER as u64) + count * ELEMENT as u64 > page.len {
            return bad(page.at, "a page makes no sense");
        }
        for n in 0..count {
            let at = PAGE_HEADER as u64 + n * ELEMENT as u64;
            let element = self.part(&page, at, ELEMENT as u64)?;
            match flags {
                BRANCH => self.walk(Place::Page(number(&element[8..])), depth + 1, each)?,
                LEAF => {
                    let field = |n: usize| number(&element[4 * n..4 * n + 4]);
                    let (begin, key, value) = (at + field(1), field(2), field(3));
                    let pair = self.part(&page, begin, key + value)?;
                    let (key, place) = (key as usize, page.at + begin + key);
                    each(place, field(0) as u32, pair.slice(..key), pair.slice(key..))?;
                }
                _ => return bad(page.at, "a page is of no kind that a tree has"),
            }
        }
        Ok(())
    }

    /// The page of this number.
    fn page(&mut self, page: u64) -> Read<Page> {
        let end = self.source.len();
        let Some(at) = page.checked_mul(self.page_size).filter(|&at| at < end) else {
            return bad(end, "a page lies beyond the end");
        };
        let (seen, bit) = (self.seen.entry(page / SEEN).or_insert([0; _]), page % SEEN);
        if seen[bit as usize / 64] & 1 << (bit % 64) != 0 {
            return bad(at, "a page is in two places of a tree");
        }
        seen[bit as usize / 64] |= 1 << (bit % 64);
        // Nearly all pages overflow into none.
        let held = self.source.read(at, self.page_size.min(end - at) as usize)?;
        let overflow = held.get(12..16).map_or(0, number);
        let len = (overflow + 1) * self.page_size;
        if len > end - at {
            return bad(at, "a page reaches beyond the end");
        }
        let held = if overflow == 0 { held } else { self.source.read(at, len.min(HELD) as usize)? };
        Ok(Page { at, len, held })
    }

    /// A part of a page.
    fn part(&self, page: &Page, from: u64, len: u64) -> Read<Bytes> {
        let to = from + len;
        if len > PAIR_MAX {
            return bad(page.at + from, "a pair is larger than any that etcd takes");
        }
        match to {
            to if to <= page.held.len() as u64 => Ok(page.held.slice(from as usize..to as usize)),
            to if to <= page.len => self.source.read(page.at + from, len as usize),
            _ => bad(page.at + from, "a pair reaches beyond its page"),
        }
    }
}
