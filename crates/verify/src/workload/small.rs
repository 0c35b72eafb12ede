//! Workloads of which each step stands for itself: unique ids, a bank, leases, a lock.

use super::{Seat, Workload};
use crate::op::{Ended, Kind, Op};
use crate::record::Event;
use quorate_base::Rng;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Asks for unique ids, and for nothing else.
pub(crate) struct Ids;

impl Workload for Ids {
    fn next(&mut self, _: u64) -> Option<Op> {
        Some(Op::new("generate", Value::Null, Value::Null))
    }

    fn done(&mut self, _: &Op, _: &Ended) {}
}

/// Accounts of the bank.
pub(crate) const ACCOUNTS: u64 = 6;
/// What each holds at first.
pub(crate) const BALANCE: i64 = 100;

/// Moves money between accounts, and reads all of them at once.
pub(crate) struct Bank {
    rng: Rng,
    open: bool,
}

impl Bank {
    /// For one client.
    pub(crate) fn new(seat: &Seat) -> Self {
        Self { rng: seat.rng("bank"), open: false }
    }
}

impl Workload for Bank {
    fn next(&mut self, _: u64) -> Option<Op> {
        if !self.open {
            return Some(Op::new("open", Value::Null, json!([ACCOUNTS, BALANCE])));
        }
        if self.rng.chance(1, 3) {
            return Some(Op::new("read-bank", Value::Null, Value::Null));
        }
        let from = self.rng.below(ACCOUNTS);
        let to = (from + 1 + self.rng.below(ACCOUNTS - 1)) % ACCOUNTS;
        Some(Op::new("transfer", Value::Null, json!([from, to, self.rng.between(1, 5)])))
    }

    fn done(&mut self, op: &Op, ended: &Ended) {
        // That another client has opened it already is as good.
        self.open |= op.f == "open" && ended.error.is_none();
    }
}

/// A lease lives for so many seconds at least.
const TTL_MIN: u64 = 3;
const TTL_MAX: u64 = 6;

/// Puts keys under leases that nobody keeps alive, and looks whether they are there.
pub(crate) struct Leases {
    rng: Rng,
    client: u64,
    next: u64,
    last: Option<String>,
}

impl Leases {
    /// For one client.
    pub(crate) fn new(seat: &Seat) -> Self {
        Self { rng: seat.rng("lease"), client: seat.client, next: 0, last: None }
    }
}

impl Workload for Leases {
    fn next(&mut self, _: u64) -> Option<Op> {
        match &self.last {
            Some(key) if self.rng.chance(9, 10) => Some(Op::new("read", key.clone(), Value::Null)),
            _ => {
                self.next += 1;
                let key = format!("l{}-{}", self.client, self.next);
                Some(Op::new("lease", key, json!(self.rng.between(TTL_MIN, TTL_MAX))))
            }
        }
    }

    fn done(&mut self, op: &Op, ended: &Ended) {
        match (op.f.as_str(), ended.kind) {
            ("lease", Kind::Ok) => self.last = op.key.as_str().map(str::to_string),
            ("read", Kind::Ok) if ended.value.is_null() => self.last = None,
            _ => {}
        }
    }
}

/// Each key under a lease must go away.
pub(super) fn lease_finals(events: &[Event]) -> Vec<Op> {
    let keys: BTreeSet<&str> =
        events.iter().filter(|event| event.f == "lease").filter_map(|event| event.key.as_str()).collect();
    keys.into_iter().map(|key| Op::new("gone", key, Value::Null)).collect()
}

/// Takes a lock, changes what it protects, gives it back. The change is recorded as the compare-and-set that a lock makes of
/// a read and a write.
pub(crate) struct Lock {
    client: u64,
    next: u64,
    holds: bool,
    changed: bool,
    rng: Rng,
}

impl Lock {
    /// For one client.
    pub(crate) fn new(seat: &Seat) -> Self {
        Self { client: seat.client, next: 0, holds: false, changed: false, rng: seat.rng("lock") }
    }
}

impl Workload for Lock {
    fn next(&mut self, _: u64) -> Option<Op> {
        if !self.holds {
            return Some(Op::new("acquire", Value::Null, Value::Null));
        }
        if self.changed {
            return Some(Op::new("release", Value::Null, Value::Null));
        }
        self.next += 1;
        let new = (self.client + 1) * 10_000_000 + self.next;
        // How long the holder thinks between its read and its write, in milliseconds.
        Some(Op::new("update", Value::Null, json!([self.rng.between(100, 400), new])))
    }

    fn done(&mut self, op: &Op, ended: &Ended) {
        match op.f.as_str() {
            "acquire" => (self.holds, self.changed) = (ended.kind == Kind::Ok, false),
            // Whether or not it worked: a holder that failed gives the lock back.
            "update" => self.changed = true,
            _ => self.holds = false,
        }
    }
}

/// Writes, and reads that any node answers from what it has.
pub(crate) struct Stale {
    rng: Rng,
    next: u64,
}

impl Stale {
    /// For one client.
    pub(crate) fn new(seat: &Seat) -> Self {
        Self { rng: seat.rng("stale"), next: (seat.client + 1) * 10_000_000 }
    }
}

impl Workload for Stale {
    fn next(&mut self, _: u64) -> Option<Op> {
        let key = format!("k{}", self.rng.below(3));
        if self.rng.chance(3, 4) {
            return Some(Op::new("stale-read", key, Value::Null));
        }
        self.next += 1;
        Some(Op::new("write", key, json!(self.next)))
    }

    fn done(&mut self, _: &Op, _: &Ended) {}
}
