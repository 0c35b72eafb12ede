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
    pub(in crate::kv) const OLD: u8 = b'O';
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

    /// The place before all old versions of `key`.
    pub(super) fn old_of<'a>(self, out: &'a mut Vec<u8>, key: &[u8]) -> &'a [u8] {
        self.start(out, table::OLD);
        escape(out, key);
        out
    }

    pub(super) fn old<'a>(self, out: &'a mut Vec<u8>, key: &[u8], rev: Rev) -> &'a [u8] {
        self.old_of(out, key);
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

/// The key and the revision in a key of table `OLD`.
pub(super) fn parse_old(stored: &Bytes) -> StateResult<(Bytes, Rev)> {
    let bad = || damaged("the key of an old version");
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

/// One version of one key, as in tables `LATEST` and `OLD`: `01 create rev sub version lease value`, numbers as LEB128.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) create: Revision,
    pub(super) rev: Rev,
    pub(super) version: i64,
    pub(super) lease: LeaseId,
    pub(super) value: Bytes,
}

const TOMBSTONE: u8 = 0;
const RECORD: u8 = 1;
/// The whole of a tombstone in table `OLD`.
pub(super) const TOMBSTONE_BYTES: &[u8] = &[TOMBSTONE];

impl Record {
    pub(super) fn encode<'a>(&self, out: &'a mut Vec<u8>) -> &'a [u8] {
        out.clear();
        out.push(RECORD);
        varint(out, self.create as u64);
        varint(out, self.rev.main as u64);
        varint(out, u64::from(self.rev.sub));
        varint(out, self.version as u64);
        varint(out, self.lease as u64);
        out.extend_from_slice(&self.value);
        out
    }

    /// The version in a stored value, or `None` for a tombstone.
    pub(super) fn decode(mut stored: Bytes) -> StateResult<Option<Self>> {
        let bad = || damaged("a version of a key");
        let mut at = Cursor { bytes: &stored, at: 1 };
        match stored.first() {
            Some(&RECORD) => {}
            Some(&TOMBSTONE) if stored.len() == 1 => return Ok(None),
            _ => return Err(bad()),
        }
        let mut next = || at.varint().ok_or_else(bad);
        let (create, main, sub, version, lease) = (next()?, next()?, next()?, next()?, next()?);
        let sub = u32::try_from(sub).map_err(|_| bad())?;
        let header = at.at;
        stored.advance(header);
        Ok(Some(Self {
            create: create as i64,
            rev: Rev::new(main as i64, sub),
            version: version as i64,
            lease: lease as i64,
            value: stored,
        }))
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

/// One change, as in table `EVENT`: `kind prev prev_sub prev_bytes key`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Change {
    pub(super) deleted: bool,
    /// The version it replaced.
    pub(super) prev: Rev,
    /// How many bytes that version takes in table `OLD`.
    pub(super) prev_bytes: u64,
    pub(super) key: Bytes,
}

impl Change {
    pub(super) fn encode<'a>(
        out: &'a mut Vec<u8>,
        deleted: bool,
        prev: Rev,
        prev_bytes: u64,
        key: &[u8],
    ) -> &'a [u8] {
        out.clear();
        out.push(u8::from(deleted));
        varint(out, prev.main as u64);
        varint(out, u64::from(prev.sub));
        varint(out, prev_bytes);
        out.extend_from_slice(key);
        out
    }

    pub(super) fn decode(mut stored: Bytes) -> StateResult<Self> {
        let bad = || damaged("an event");
        let deleted = match stored.first() {
            Some(0) => false,
            Some(1) => true,
            _ => return Err(bad()),
        };
        let mut at = Cursor { bytes: &stored, at: 1 };
        let mut next = || at.varint().ok_or_else(bad);
        let (main, sub, prev_bytes) = (next()?, next()?, next()?);
        let sub = u32::try_from(sub).map_err(|_| bad())?;
        let header = at.at;
        stored.advance(header);
        Ok(Self { deleted, prev: Rev::new(main as i64, sub), prev_bytes, key: stored })
    }
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
    fn old_versions_sort_by_key_then_revision_and_parse_back() {
        let keys = Keys::new(ShardId(1), 1);
        let mut rng = Rng::new(3);
        let mut all: Vec<(Vec<u8>, Rev)> = (0..2_000)
            .map(|_| {
                let key = (0..rng.below(5)).map(|_| *rng.pick(&[0, 1, 2, 0xfe, 0xff])).collect();
                (key, Rev::new(rng.below(300) as i64, rng.below(3) as u32))
            })
            .collect();
        let stored = |(key, rev): &(Vec<u8>, Rev)| keys.old(&mut Vec::new(), key, *rev).to_vec();
        for pair in &all {
            let (key, rev) = parse_old(&stored(pair).into()).unwrap();
            assert_eq!((&key[..], rev), (&pair.0[..], pair.1));
            assert!(stored(pair) > keys.old_of(&mut Vec::new(), &pair.0).to_vec());
        }
        all.sort();
        assert!(all.windows(2).all(|w| stored(&w[0]) <= stored(&w[1])));
    }

    #[test]
    fn records_and_changes_parse_back_and_cuts_are_errors() {
        let record = Record {
            create: 3,
            rev: Rev::new(900, 2),
            version: 4,
            lease: -7,
            value: Bytes::from_static(b"v"),
        };
        let stored = Bytes::copy_from_slice(record.encode(&mut Vec::new()));
        assert_eq!(Record::decode(stored.clone()), Ok(Some(record)));
        assert!(Record::decode(stored.slice(..8)).is_err());
        assert_eq!(Record::decode(Bytes::from_static(TOMBSTONE_BYTES)), Ok(None));
        let stored =
            Bytes::copy_from_slice(Change::encode(&mut Vec::new(), true, Rev::new(5, 1), 70, b"key"));
        let change =
            Change { deleted: true, prev: Rev::new(5, 1), prev_bytes: 70, key: Bytes::from_static(b"key") };
        assert_eq!(Change::decode(stored.clone()), Ok(change));
        assert!(Change::decode(stored.slice(..3)).is_err());
        assert_eq!(lease_of(Keys::new(ShardId(1), 1).lease(&mut Vec::new(), -9)), Ok(-9));
    }
}
