//! Where the key-value machine keeps what: the keys and records of its tables. The tables and what each operation costs
//! are told in the module page of [`super`].

use bytes::{Buf, Bytes};
use quorate_base::ShardId;
use quorate_storage::state::{StateError, StateResult};
use quorate_wire::kv::{KeyValue, LeaseId, Revision};

/// The longest key that is taken. Escaped, it doubles at worst, and the store's keys end at 65,535 bytes.
pub const KEY_MAX: usize = 32_000;

/// The tables, in their order in the store.
pub(super) mod table {
    pub(in crate::kv) const BLOCK: u8 = b'C';
    pub(in crate::kv) const LEASE: u8 = b'E';
    pub(in crate::kv) const FENCE: u8 = b'F';
    pub(in crate::kv) const LEASE_KEY: u8 = b'K';
    pub(in crate::kv) const LATEST: u8 = b'L';
    pub(in crate::kv) const META: u8 = b'M';
    pub(in crate::kv) const ALARM: u8 = b'N';
    pub(in crate::kv) const DELETED: u8 = b'O';
    pub(in crate::kv) const POINTER: u8 = b'P';
    pub(in crate::kv) const EVENT: u8 = b'R';
    pub(in crate::kv) const TABLE: u8 = b'T';
    /// All are below this.
    pub(in crate::kv) const END: u8 = b'U';
}

/// A revision with the place of the change in it: two changes of one transaction share the former.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Rev {
    pub(super) main: Revision,
    pub(super) sub: u32,
}

impl Rev {
    pub(super) const NONE: Self = Self { main: 0, sub: 0 };

    pub(super) const fn new(main: Revision, sub: u32) -> Self {
        Self { main, sub }
    }

    pub(super) const fn is_none(self) -> bool {
        self.main == 0
    }
}

/// The bytes of prefix before a table's letter: shard and incarnation.
pub(super) const PREFIX: usize = 8;

/// Builds the keys of one incarnation of one shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    prefix: [u8; PREFIX],
}

impl Keys {
    pub(super) fn new(shard: ShardId, incarnation: u32) -> Self {
        let mut prefix = [0; PREFIX];
        prefix[..4].copy_from_slice(&shard.get().to_be_bytes());
        prefix[4..].copy_from_slice(&incarnation.to_be_bytes());
        Self { prefix }
    }

    pub(super) fn prefix(self) -> [u8; PREFIX] {
        self.prefix
    }

    /// A key of a table that ends in raw bytes: `LATEST`, `BLOCK`, and what comes from an export.
    pub(super) fn raw<'a>(self, out: &'a mut Vec<u8>, table: u8, rest: &[u8]) -> &'a [u8] {
        self.start(out, table);
        out.extend_from_slice(rest);
        out
    }

    /// Where the machine of tables keeps what is its own.
    pub(super) fn tables(self) -> Vec<u8> {
        self.raw(&mut Vec::new(), table::TABLE, b"").to_vec()
    }

    pub(super) fn start(self, out: &mut Vec<u8>, table: u8) {
        out.clear();
        out.extend_from_slice(&self.prefix);
        out.push(table);
    }

    /// The place before all deletions of `key`.
    pub(super) fn deleted_of<'a>(self, out: &'a mut Vec<u8>, key: &[u8]) -> &'a [u8] {
        self.start(out, table::DELETED);
        escape(out, key);
        out
    }

    pub(super) fn deleted<'a>(self, out: &'a mut Vec<u8>, key: &[u8], rev: Rev) -> &'a [u8] {
        self.deleted_of(out, key);
        out.extend_from_slice(&rev.main.to_be_bytes());
        out.extend_from_slice(&rev.sub.to_be_bytes());
        out
    }

    pub(super) fn event(self, out: &mut Vec<u8>, rev: Rev) -> &[u8] {
        self.start(out, table::EVENT);
        out.extend_from_slice(&rev.main.to_be_bytes());
        out.extend_from_slice(&rev.sub.to_be_bytes());
        out
    }

    pub(super) fn lease(self, out: &mut Vec<u8>, id: LeaseId) -> &[u8] {
        self.start(out, table::LEASE);
        out.extend_from_slice(&ordered(id));
        out
    }

    pub(super) fn lease_key<'a>(self, out: &'a mut Vec<u8>, id: LeaseId, key: &[u8]) -> &'a [u8] {
        self.start(out, table::LEASE_KEY);
        out.extend_from_slice(&ordered(id));
        out.extend_from_slice(key);
        out
    }
}

/// A signed number whose bytes sort as it does.
fn ordered(id: LeaseId) -> [u8; 8] {
    (id as u64 ^ (1 << 63)).to_be_bytes()
}

pub(super) fn lease_of(key: &[u8]) -> StateResult<LeaseId> {
    let bytes: Option<[u8; 8]> = key.get(PREFIX + 1..PREFIX + 9).and_then(|b| b.try_into().ok());
    bytes.map(|b| (u64::from_be_bytes(b) ^ (1 << 63)) as i64).ok_or_else(|| damaged("a lease's key"))
}

/// Appends `key` so that longer keys can follow each other in order: a zero byte becomes `00 FF`, the end is `00 01`.
fn escape(out: &mut Vec<u8>, key: &[u8]) {
    for byte in key {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

/// The key and the revision in a key of table `DELETED`.
pub(super) fn parse_deleted(stored: &Bytes) -> StateResult<(Bytes, Rev)> {
    let bad = || damaged("the key of a deletion");
    let body = stored.get(PREFIX + 1..).ok_or_else(bad)?;
    let cut = body.len().checked_sub(14).ok_or_else(bad)?;
    let (escaped, rev) = (&body[..cut], &body[cut + 2..]);
    let key = if escaped.contains(&0) {
        let mut key = Vec::with_capacity(cut);
        let mut bytes = escaped.iter();
        while let Some(byte) = bytes.next() {
            key.push(*byte);
            if *byte == 0 && bytes.next() != Some(&0xff) {
                return Err(bad());
            }
        }
        key.into()
    } else {
        stored.slice(PREFIX + 1..PREFIX + 1 + cut)
    };
    Ok((key, parse_rev(rev).ok_or_else(bad)?))
}

/// The revision in a key of table `EVENT`.
pub(super) fn parse_event_key(stored: &[u8]) -> StateResult<Rev> {
    stored.get(PREFIX + 1..).and_then(parse_rev).ok_or_else(|| damaged("the key of an event"))
}

fn parse_rev(bytes: &[u8]) -> Option<Rev> {
    let main: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    let sub: [u8; 4] = bytes.get(8..)?.try_into().ok()?;
    Some(Rev::new(i64::from_be_bytes(main), u32::from_be_bytes(sub)))
}

/// The error of a record that cannot be: the store's checksums hold, and still it is not what this code writes.
pub(super) fn damaged(what: &str) -> StateError {
    StateError::of_damage(format!("key-value state: {what} is malformed"))
}

/// A version of a key, as in table `LATEST` if it is the newest, and in the change that made it: `01 create rev sub version lease path value`, numbers as LEB128.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) create: Revision,
    pub(super) rev: Rev,
    pub(super) version: i64,
    pub(super) lease: LeaseId,
    pub(super) path: Path,
    pub(super) value: Bytes,
}

const RECORD: u8 = 1;

impl Record {
    pub(super) fn encode<'a>(&self, out: &'a mut Vec<u8>) -> &'a [u8] {
        out.clear();
        self.append(out);
        out
    }

    fn append(&self, out: &mut Vec<u8>) {
        out.push(RECORD);
        varint(out, self.create as u64);
        put_rev(out, self.rev);
        varint(out, self.version as u64);
        varint(out, self.lease as u64);
        out.extend_from_slice(&self.path.0);
        out.extend_from_slice(&self.value);
    }

    /// As much of it as is needed once the changes before it are gone.
    pub(super) fn first_known(&self) -> Self {
        Self { path: Path::unknown(self.version), ..self.clone() }
    }

    pub(super) fn decode(mut stored: Bytes) -> StateResult<Self> {
        let bad = || damaged("a version of a key");
        if stored.first() != Some(&RECORD) {
            return Err(bad());
        }
        let mut at = Cursor { bytes: &stored, at: 1 };
        let create = at.varint().ok_or_else(bad)?;
        let rev = at.rev().ok_or_else(bad)?;
        let (version, lease) = (at.varint().ok_or_else(bad)?, at.varint().ok_or_else(bad)?);
        let from = at.at;
        for _ in 1..version.count_ones() {
            at.rev().ok_or_else(bad)?;
        }
        let to = at.at;
        let path = if to > from { Path(stored.slice(from..to)) } else { Path::default() };
        stored.advance(to);
        let (create, version, lease) = (create as i64, version as i64, lease as i64);
        Ok(Self { create, rev, version, lease, path, value: stored })
    }

    pub(super) fn into_pair(self, key: Bytes) -> KeyValue {
        KeyValue {
            key,
            value: self.value,
            create_revision: self.create,
            mod_revision: self.rev.main,
            version: self.version,
            lease: self.lease,
        }
    }
}

/// Where the versions of one key lie that a search for an old one may leap to. Version v knows version v without its lowest
/// set bit (the tree of Fenwick, 1994), and that one its own, and so on: as many as v has further bits. So a search from the
/// newest version finds any in logarithmically many steps, and a put needs to read none of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Path(Bytes);

impl Path {
    /// That of the version behind `version`, which was written at `rev` and has this path.
    pub(super) fn next(&self, version: i64, rev: Rev) -> Self {
        // The version itself comes first; those that it reaches by losing its trailing ones are passed.
        let passed = (version as u64).trailing_ones() as usize;
        if passed > 0 {
            let mut at = Cursor { bytes: &self.0, at: 0 };
            for _ in 1..passed {
                at.rev();
            }
            let from = at.at;
            return Self(self.0.slice(from..));
        }
        let mut path = Vec::with_capacity(self.0.len() + 10);
        put_rev(&mut path, rev);
        path.extend_from_slice(&self.0);
        Self(path.into())
    }

    /// Of a version whose earlier ones are not known.
    pub(super) fn unknown(version: i64) -> Self {
        let mut path = Vec::new();
        (1..version.count_ones()).for_each(|_| put_rev(&mut path, Rev::NONE));
        Self(path.into())
    }

    /// The version that it leaps to, if there is one.
    pub(super) fn leap(&self) -> Rev {
        Cursor { bytes: &self.0, at: 0 }.rev().unwrap_or(Rev::NONE)
    }
}

/// One change, as in table `EVENT`: `00 prev prev_bytes len key record` for a put, `01 prev prev_bytes key` for a deletion. The
/// record is that of table `LATEST`, byte for byte: while both are in memory they are one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Change {
    /// The version that it replaced.
    pub(super) prev: Rev,
    /// How many bytes the value of that version has.
    pub(super) prev_bytes: u64,
    pub(super) key: Bytes,
    /// `None` for a deletion.
    pub(super) put: Option<Record>,
}

const PUT: u8 = 0;
const DELETION: u8 = 1;

impl Change {
    pub(super) fn encode<'a>(&self, out: &'a mut Vec<u8>) -> &'a [u8] {
        out.clear();
        self.append(out);
        out
    }

    /// Not less than the bytes of it, for a buffer.
    pub(super) fn size(&self) -> usize {
        let record = self.put.as_ref().map_or(0, |record| 64 + record.path.0.len() + record.value.len());
        40 + self.key.len() + record
    }

    /// Appends it; returns where its record begins.
    pub(super) fn append(&self, out: &mut Vec<u8>) -> usize {
        out.push(if self.put.is_some() { PUT } else { DELETION });
        put_rev(out, self.prev);
        varint(out, self.prev_bytes);
        if self.put.is_some() {
            varint(out, self.key.len() as u64);
        }
        out.extend_from_slice(&self.key);
        let at = out.len();
        if let Some(record) = &self.put {
            record.append(out);
        }
        at
    }

    pub(super) fn decode(stored: &Bytes) -> StateResult<Self> {
        let bad = || damaged("a change");
        let mut at = Cursor { bytes: stored, at: 1 };
        let kind = stored.first().ok_or_else(bad)?;
        let (prev, prev_bytes) = (at.rev().ok_or_else(bad)?, at.varint().ok_or_else(bad)?);
        match *kind {
            PUT => {
                let len = at.varint().and_then(|len| usize::try_from(len).ok()).ok_or_else(bad)?;
                let from = at.at;
                at.take(len).ok_or_else(bad)?;
                let put = Some(Record::decode(stored.slice(at.at..))?);
                Ok(Self { prev, prev_bytes, key: stored.slice(from..from + len), put })
            }
            DELETION => Ok(Self { prev, prev_bytes, key: stored.slice(at.at..), put: None }),
            _ => Err(bad()),
        }
    }

    pub(super) fn deleted(&self) -> bool {
        self.put.is_none()
    }

    /// Whether the key was there before.
    pub(super) fn replaces(&self) -> bool {
        self.put.as_ref().is_none_or(|put| put.version > 1)
    }
}

/// What a mark in table `DELETED` says: the version that was deleted.
pub(super) fn encode_mark(out: &mut Vec<u8>, prev: Rev) -> &[u8] {
    out.clear();
    put_rev(out, prev);
    out
}

pub(super) fn decode_mark(stored: &[u8]) -> StateResult<Rev> {
    Cursor { bytes: stored, at: 0 }.rev().ok_or_else(|| damaged("the mark of a deletion"))
}

fn put_rev(out: &mut Vec<u8>, rev: Rev) {
    varint(out, rev.main as u64);
    varint(out, u64::from(rev.sub));
}

pub(super) fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Reads what [`varint`] wrote.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    fn rev(&mut self) -> Option<Rev> {
        let (main, sub) = (self.varint()?, self.varint()?);
        Some(Rev::new(main as i64, u32::try_from(sub).ok()?))
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Rng;

    #[test]
    fn deletions_sort_by_key_then_revision_and_parse_back() {
        let keys = Keys::new(ShardId(1), 1);
        let mut rng = Rng::new(3);
        let mut all: Vec<(Vec<u8>, Rev)> = (0..2_000)
            .map(|_| {
                let key = (0..rng.below(5)).map(|_| *rng.pick(&[0, 1, 2, 0xfe, 0xff])).collect();
                (key, Rev::new(rng.below(300) as i64, rng.below(3) as u32))
            })
            .collect();
        let stored = |(key, rev): &(Vec<u8>, Rev)| keys.deleted(&mut Vec::new(), key, *rev).to_vec();
        for pair in &all {
            let (key, rev) = parse_deleted(&stored(pair).into()).unwrap();
            assert_eq!((&key[..], rev), (&pair.0[..], pair.1));
            assert!(stored(pair) > keys.deleted_of(&mut Vec::new(), &pair.0).to_vec());
        }
        all.sort();
        assert!(all.windows(2).all(|w| stored(&w[0]) <= stored(&w[1])));
    }

    #[test]
    fn records_and_changes_parse_back_and_cuts_are_errors() {
        let path = Path::default().next(2, Rev::new(300, 0)).next(3, Rev::new(400, 1));
        assert_eq!(path, Path::default(), "four is a power of two");
        let path = path.next(4, Rev::new(900, 2));
        assert_eq!(path.leap(), Rev::new(900, 2));
        let (key, value) = (Bytes::from_static(b"key"), Bytes::from_static(b"v"));
        let record = Record { create: 3, rev: Rev::new(901, 0), version: 5, lease: -7, path, value };
        let stored = Bytes::copy_from_slice(record.encode(&mut Vec::new()));
        assert_eq!(Record::decode(stored.clone()), Ok(record.clone()));
        assert!(Record::decode(stored.slice(..8)).is_err());
        for put in [Some(record.clone()), None] {
            let change = Change { prev: Rev::new(5, 1), prev_bytes: 70, key: key.clone(), put };
            let stored = Bytes::copy_from_slice(change.encode(&mut Vec::new()));
            assert_eq!(Change::decode(&stored), Ok(change));
            assert!(Change::decode(&stored.slice(..3)).is_err());
        }
        assert_eq!(lease_of(Keys::new(ShardId(1), 1).lease(&mut Vec::new(), -9)), Ok(-9));
        assert_eq!(decode_mark(encode_mark(&mut Vec::new(), Rev::new(7, 1))), Ok(Rev::new(7, 1)));
    }

    #[test]
    fn a_leap_is_to_the_version_without_its_lowest_bit() {
        let (mut path, rev) = (Path::default(), |version: i64| Rev::new(version * 1_000, version as u32 % 3));
        for version in 1..5_000_i64 {
            let target = version & (version - 1);
            let expected = if target == 0 { Rev::NONE } else { rev(target) };
            assert_eq!(path.leap(), expected, "of version {version}");
            path = path.next(version, rev(version));
        }
        assert_eq!(Path::unknown(7).next(7, rev(7)), Path::default());
        assert_eq!(Path::unknown(6).next(6, rev(6)).leap(), rev(6));
    }
}
