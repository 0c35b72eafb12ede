//! The replicated side of leases: which there are, for how long they were granted, and which keys hang on them. When they
//! end is decided elsewhere and comes as a command.

use super::layout::{Cursor, Keys, PREFIX, damaged, lease_of, table, varint};
use super::source::Source;
use bytes::Bytes;
use quorate_base::Index;
use quorate_storage::cow::{Tree, Weight};
use quorate_storage::state::StateResult;
use quorate_wire::kv::LeaseId;
use std::ops::Bound;

/// One lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseInfo {
    /// The seconds it was granted for.
    pub ttl: i64,
    /// The seconds that remained at its last checkpoint, or 0.
    pub remaining: i64,
    /// The entry that granted it; 0 where an older release did, which did not write that down.
    pub at: Index,
}

impl Weight for LeaseInfo {
    fn weight(&self) -> u64 {
        1
    }
}

/// What an entry changed about leases, for whoever counts down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseChange {
    /// There is one more.
    Granted {
        /// Which.
        id: LeaseId,
        /// Its seconds.
        ttl: i64,
        /// The entry that grants it.
        at: Index,
    },
    /// It is gone, with its keys.
    Revoked {
        /// Which.
        id: LeaseId,
    },
    /// What remains of it was written down.
    Checkpointed {
        /// Which.
        id: LeaseId,
        /// The seconds.
        remaining: i64,
    },
}

/// All leases, shared with the views.
pub(super) type Leases = Tree<LeaseId, LeaseInfo>;

impl LeaseInfo {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8);
        varint(&mut out, self.ttl as u64);
        varint(&mut out, self.remaining as u64);
        varint(&mut out, self.at.get());
        out
    }

    fn decode(stored: &[u8]) -> StateResult<Self> {
        let mut at = Cursor { bytes: stored, at: 0 };
        let mut next = || at.varint().ok_or_else(|| damaged("a lease"));
        let (ttl, remaining) = (next()? as i64, next()? as i64);
        let granted = if at.at < stored.len() { at.varint().ok_or_else(|| damaged("a lease"))? } else { 0 };
        Ok(Self { ttl, remaining, at: Index(granted) })
    }
}

/// The leases in the store.
pub(super) fn load(source: &dyn Source, keys: Keys) -> StateResult<Leases> {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    keys.start(&mut from, table::LEASE);
    keys.start(&mut to, table::LEASE + 1);
    let mut leases = Leases::default();
    for pair in source.scan((Bound::Included(&from), Bound::Excluded(&to))) {
        let (key, value) = pair?;
        leases.insert(lease_of(&key)?, LeaseInfo::decode(&value)?);
    }
    Ok(leases)
}

/// The first keys attached to a lease, sorted.
pub(super) fn keys_of(source: &dyn Source, keys: Keys, id: LeaseId, limit: usize) -> StateResult<Vec<Bytes>> {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    keys.lease_key(&mut from, id, b"");
    if let Some(next) = id.checked_add(1) {
        keys.lease_key(&mut to, next, b"");
    } else {
        keys.start(&mut to, table::LEASE_KEY + 1);
    }
    let scan = source.scan((Bound::Included(&from), Bound::Excluded(&to)));
    scan.take(limit).map(|pair| pair.map(|(key, _)| key.slice(PREFIX + 9..))).collect()
}
