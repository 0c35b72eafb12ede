//! A hash of what can be read of a space, equal on all members that hold the same.
//!
//! Over the versions that a compaction leaves, up to a revision: those above the compacted revision, tombstones too, and what
//! was there at it. How far the sweep has come behind a compaction makes no difference, and neither do batches, checkpoints and
//! incarnations. It reads what is stored, so that it tells damage that the digest of [`super::Kv`], which tells of what was
//! done, cannot see. (The value is not the one that etcd's server would give: that one hashes its own records.)

use super::layout::{Record, Rev, damaged, parse_old, table};
use super::read::{End, ReadError, Snapshot};
use super::view::KvView;
use bytes::Bytes;
use quorate_storage::state::StateResult;
use quorate_wire::kv::{Revision, SpaceHash};
use std::iter::Peekable;

/// A version as it is hashed, with its key; `None` is a tombstone.
type Version = (Bytes, Rev, Option<Record>);
type Versions<'s> = Peekable<Box<dyn Iterator<Item = StateResult<Version>> + 's>>;

impl KvView {
    /// The hash of the space up to `at` (0 and below: all of it), unless `go_on` ends it as it may end
    /// [`KvView::range_while`].
    pub fn hash_while(
        &self,
        at: Revision,
        go_on: &dyn Fn(usize) -> bool,
    ) -> Result<Option<SpaceHash>, ReadError> {
        self.read_while(go_on, |snapshot| snapshot.hash(at))
    }

    /// The hash of everything that is replicated: the space, leases, fences, alarms, tables.
    pub fn hash_all_while(&self, go_on: &dyn Fn(usize) -> bool) -> Result<Option<u32>, ReadError> {
        let Some(space) = self.hash_while(0, go_on)? else { return Ok(None) };
        let mut crc = space.hash;
        for (id, lease) in self.leases() {
            crc = numbers(crc, &[id as u64, lease.ttl as u64, lease.remaining as u64]);
        }
        for (name, token) in self.fences() {
            crc = numbers(crc, &[name.len() as u64, token]);
            crc = crc32c::crc32c_append(crc, &name);
        }
        for alarm in self.alarms() {
            crc = numbers(crc, &[alarm.kind as u64, alarm.member]);
        }
        let Some(crc) = self.tables_hash_while(crc, go_on)? else { return Ok(None) };
        Ok(Some(numbers(crc, &[self.revision() as u64, self.compacted() as u64])))
    }
}

impl Snapshot<'_> {
    fn hash(&self, at: Revision) -> Result<SpaceHash, ReadError> {
        self.check_revision(at)?;
        let at = if at > 0 { at } else { self.revision };
        let (mut latest, mut old) = (self.latest_versions(), self.old_versions());
        let mut crc = 0;
        while let Some((key, rev, record)) = next(&mut latest, &mut old)? {
            // Versions of a key come one after the other, each up to the next.
            let upto = following(&key, &mut latest, &mut old)?;
            let left = match (&record, rev.main > self.compacted) {
                (_, true) => true,
                (None, false) => false,
                (Some(_), false) => upto.is_none_or(|next| next.main > self.compacted),
            };
            if left && rev.main <= at {
                crc = version(crc, &key, rev, record.as_ref());
            }
        }
        Ok(SpaceHash { hash: crc, compacted: self.compacted.max(0), revision: at })
    }

    fn latest_versions(&self) -> Versions<'_> {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let range = super::counts::latest_range(self.keys, b"", &End::Open, &mut a, &mut b);
        let versions = self.source.scan(range).map(|pair| {
            let (key, value) = pair?;
            let record =
                Record::decode(value)?.ok_or_else(|| damaged("a tombstone among the latest versions"))?;
            Ok((key.slice(super::PREFIX + 1..), record.rev, Some(record)))
        });
        let versions: Box<dyn Iterator<Item = StateResult<Version>>> = Box::new(versions);
        versions.peekable()
    }

    fn old_versions(&self) -> Versions<'_> {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        self.keys.start(&mut from, table::OLD);
        self.keys.start(&mut to, table::OLD + 1);
        let range = (std::ops::Bound::Included(&from[..]), std::ops::Bound::Excluded(&to[..]));
        let versions = self.source.scan(range).map(|pair| {
            let (key, value) = pair?;
            let (key, rev) = parse_old(&key)?;
            Ok((key, rev, Record::decode(value)?))
        });
        let versions: Box<dyn Iterator<Item = StateResult<Version>>> = Box::new(versions);
        versions.peekable()
    }
}

/// The next version in the order of keys, then of revisions: a key's newest version stands behind its old ones.
fn next(latest: &mut Versions<'_>, old: &mut Versions<'_>) -> StateResult<Option<Version>> {
    let old_first = match (latest.peek(), old.peek()) {
        (Some(Ok((latest, ..))), Some(Ok((old, ..)))) => old <= latest,
        // An error comes out of whichever has it.
        (Some(Ok(_)), None) | (Some(Err(_)), _) => false,
        (_, Some(_)) => true,
        (None, None) => return Ok(None),
    };
    if old_first { old.next() } else { latest.next() }.transpose()
}

/// When the version of `key` behind the one that was just taken begins, if there is one.
fn following<'s>(key: &[u8], latest: &mut Versions<'s>, old: &mut Versions<'s>) -> StateResult<Option<Rev>> {
    for versions in [old, latest] {
        match versions.peek() {
            Some(Ok((next, rev, _))) if next == key => return Ok(Some(*rev)),
            Some(Err(error)) => return Err(error.clone()),
            _ => {}
        }
    }
    Ok(None)
}

fn numbers(crc: u32, numbers: &[u64]) -> u32 {
    numbers.iter().fold(crc, |crc, n| crc32c::crc32c_append(crc, &n.to_le_bytes()))
}

fn version(crc: u32, key: &[u8], rev: Rev, record: Option<&Record>) -> u32 {
    let crc = numbers(crc, &[key.len() as u64]);
    let crc = crc32c::crc32c_append(crc, key);
    let crc = numbers(crc, &[rev.main as u64, u64::from(rev.sub), u64::from(record.is_some())]);
    let Some(record) = record else { return crc };
    let value = record.value.len() as u64;
    let crc = numbers(crc, &[record.create as u64, record.version as u64, record.lease as u64, value]);
    crc32c::crc32c_append(crc, &record.value)
}
