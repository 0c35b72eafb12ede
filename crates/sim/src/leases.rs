//! Leases, as clients see them: granted, a key attached, kept alive, left alone.
//!
//! The promise: a lease does not end before its time to live has passed since the request of its grant, or of the last
//! keep-alive that was confirmed; and one that is left alone does end.

use quorate_base::time::Duration;
use quorate_base::{Instant, Rng};
use quorate_wire::kv::LeaseId;
use std::collections::BTreeMap;

/// So many are looked after at a time.
const HELD: usize = 3;

/// What a client does to a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Grant {
        ttl: i64,
    },
    Attach,
    KeepAlive,
    /// Its key.
    Read,
    /// What remains of it, and its keys.
    Ask,
}

struct Lease {
    ttl: i64,
    /// It does not end before.
    until: Instant,
    /// When its key was seen to be there.
    attached: Option<Instant>,
}

/// The leases of a run.
pub(crate) struct Leases {
    rng: Rng,
    next: LeaseId,
    /// How fast a node's clock may run, in millionths: leases are counted by it.
    drift: u64,
    held: BTreeMap<LeaseId, Lease>,
}

impl Leases {
    pub(crate) fn new(seed: u64, drift: u32) -> Self {
        let drift = u64::from(drift);
        Self { rng: Rng::stream(seed, "leases"), next: 0, drift, held: BTreeMap::new() }
    }

    /// All that there were were left alone.
    pub(crate) fn begin_round(&mut self) {
        self.held.clear();
    }

    /// A client's next step with one of them, if it is their turn.
    pub(crate) fn choose(&mut self) -> Option<(LeaseId, Step)> {
        if !self.rng.chance(1, 4) {
            return None;
        }
        if self.held.len() < HELD && self.rng.chance(1, 2) {
            self.next += 1;
            return Some((self.next, Step::Grant { ttl: self.rng.between(1, 3) as i64 }));
        }
        let ids: Vec<LeaseId> = self.held.keys().copied().collect();
        if ids.is_empty() {
            return None;
        }
        let id = *self.rng.pick(&ids);
        let attached = self.held.get(&id).is_some_and(|lease| lease.attached.is_some());
        match self.rng.below(12) {
            // Left alone from here on.
            0 => {
                self.held.remove(&id);
                None
            }
            1..=5 => Some((id, Step::KeepAlive)),
            6 | 7 => Some((id, Step::Ask)),
            _ if attached => Some((id, Step::Read)),
            _ => Some((id, Step::Attach)),
        }
    }

    pub(crate) fn granted(&mut self, id: LeaseId, ttl: i64, asked: Instant) {
        let until = self.after(asked, ttl);
        self.held.insert(id, Lease { ttl, until, attached: None });
    }

    pub(crate) fn attached(&mut self, id: LeaseId, now: Instant) {
        if let Some(lease) = self.held.get_mut(&id) {
            lease.attached.get_or_insert(now);
        }
    }

    pub(crate) fn kept(&mut self, id: LeaseId, asked: Instant) {
        let Some(ttl) = self.held.get(&id).map(|lease| lease.ttl) else { return };
        let until = self.after(asked, ttl);
        if let Some(lease) = self.held.get_mut(&id) {
            lease.until = lease.until.max(until);
        }
    }

    /// It was said not to be there.
    pub(crate) fn gone(&mut self, id: LeaseId, now: Instant) -> Result<(), String> {
        match self.held.remove(&id) {
            Some(lease) if now < lease.until => {
                Err(format!("lease {id} of {} s ended {:?} too early", lease.ttl, lease.until.since(now)))
            }
            _ => Ok(()),
        }
    }

    /// Its key was not there at a read that was asked at `asked`, or not among its keys.
    pub(crate) fn unread(&mut self, id: LeaseId, asked: Instant, now: Instant) -> Result<(), String> {
        let attached = self.held.get(&id).and_then(|lease| lease.attached);
        if attached.is_some_and(|at| at < asked) { self.gone(id, now) } else { Ok(()) }
    }

    fn after(&self, at: Instant, ttl: i64) -> Instant {
        at + Duration::from_micros(ttl.unsigned_abs() * (1_000_000 - self.drift))
    }
}
