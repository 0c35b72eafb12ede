//! A hash of what can be read of a space, equal on all members that hold the same.
//!
//! Over the versions that a compaction leaves, up to a revision: those above the compacted revision, tombstones too, and what
//! was there at it. How far the sweep has come behind a compaction makes no difference, and neither do batches, checkpoints and
//! incarnations. It reads what is stored, so that it tells damage that the digest of [`super::Kv`], which tells of what was
//! done, cannot see. (The value is not the one that etcd's server would give: that one hashes its own records.)
//!
//! Each version has a hash of its own, and theirs are added up: the versions above the compacted revision lie in the order of
//! their revisions, those at it in the order of their keys, and no other order is at hand for both.

use super::layout::{Change, PREFIX, Record, Rev, damaged, parse_event_key, table};
use super::read::{End, ReadError, Snapshot};
use super::view::KvView;
use quorate_storage::state::StateResult;
use quorate_wire::kv::{Revision, SpaceHash};
use std::ops::Bound;

impl KvView {
    /// The hash of the space up to `at`, which must not be below the compacted revision (0 and below: all of it), unless `go_on` ends it as it may end
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
        let sum = self.hash_kept(at)?.wrapping_add(self.hash_changes(at)?);
        Ok(SpaceHash { hash: numbers(0, &[sum]), compacted: self.compacted, revision: at })
    }

    /// What the newest versions add that are as old as the compaction, or older.
    fn hash_kept(&self, at: Revision) -> StateResult<u64> {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let range = super::counts::latest_range(self.keys, b"", &End::Open, &mut a, &mut b);
        self.source.scan(range).try_fold(0, |sum: u64, pair| {
            let (key, value) = pair?;
            let record = Record::decode(value)?;
            let kept = record.rev.main <= self.compacted.min(at);
            let add = if kept { version(&key[PREFIX + 1..], record.rev, Some(&record)) } else { 0 };
            Ok(sum.wrapping_add(add))
        })
    }

    /// What the changes since the compaction add, and the versions which they replaced that are older.
    fn hash_changes(&self, at: Revision) -> StateResult<u64> {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        self.keys.event(&mut from, Rev::new(self.compacted + 1, 0));
        self.keys.start(&mut to, table::EVENT + 1);
        self.source.scan((Bound::Included(&from), Bound::Excluded(&to))).try_fold(0, |sum: u64, pair| {
            let (key, value) = pair?;
            let (rev, change) = (parse_event_key(&key)?, Change::decode(&value)?);
            let own = if rev.main <= at { version(&change.key, rev, change.put.as_ref()) } else { 0 };
            let prev = change.prev;
            let before =
                if prev.is_none() || prev.main > self.compacted { 0 } else { self.hash_version(prev)? };
            Ok(sum.wrapping_add(own).wrapping_add(before))
        })
    }

    fn hash_version(&self, rev: Rev) -> StateResult<u64> {
        let (key, _, put) =
            self.version(rev)?.ok_or_else(|| damaged("a change without what it replaced, which"))?;
        Ok(version(&key, rev, Some(&put)))
    }
}

fn numbers(crc: u32, numbers: &[u64]) -> u32 {
    numbers.iter().fold(crc, |crc, n| crc32c::crc32c_append(crc, &n.to_le_bytes()))
}

/// `None` is a deletion.
fn version(key: &[u8], rev: Rev, put: Option<&Record>) -> u64 {
    let crc = numbers(0, &[key.len() as u64]);
    let crc = crc32c::crc32c_append(crc, key);
    let mut crc = numbers(crc, &[rev.main as u64, u64::from(rev.sub), u64::from(put.is_some())]);
    if let Some(Record { create, version, lease, value, .. }) = put {
        crc = numbers(crc, &[*create as u64, *version as u64, *lease as u64, value.len() as u64]);
        crc = crc32c::crc32c_append(crc, value);
    }
    // Spread, since sums of checksums alone would be too alike.
    u64::from(crc).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
