//! Reads, writes, deletions and compare-and-sets on a few keys at a time.
//!
//! Values are unique, so that what was read names its write. A compare-and-set expects what this client last saw, which is
//! often enough still so. Keys are given up for new ones after a while: a judge's search costs more with the length of a
//! key's history than with the number of keys, and keys that nobody wrote yet are read too.

use super::{Seat, Workload};
use crate::op::{Ended, Kind, Op};
use crate::record::Event;
use quorate_base::Rng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// So many keys are in use at a time.
const KEYS: u64 = 3;
/// Each for so long, which is longer than most faults last.
const KEY_MS: u64 = 12_000;
/// Values of client c begin at c times this.
const STRIDE: u64 = 10_000_000;

/// One client's part.
pub(crate) struct Registers {
    rng: Rng,
    next: u64,
    seen: BTreeMap<String, Value>,
}

impl Registers {
    /// For one client.
    pub(crate) fn new(seat: &Seat) -> Self {
        Self { rng: seat.rng("register"), next: (seat.client + 1) * STRIDE, seen: BTreeMap::new() }
    }
}

impl Workload for Registers {
    fn next(&mut self, ms: u64) -> Option<Op> {
        let place = self.rng.below(KEYS);
        // The keys do not all change at once.
        let key = format!("r{}", (ms + place * KEY_MS / KEYS) / KEY_MS * KEYS + place);
        self.next += 1;
        let new = json!(self.next);
        Some(match (self.rng.below(20), self.seen.get(&key)) {
            (0..=8, _) => Op::new("read", key, Value::Null),
            (9, _) => Op::new("write", key, Value::Null),
            (10..=13, _) | (_, None | Some(Value::Null)) => Op::new("write", key, new),
            (_, Some(old)) => Op::new("cas", key.clone(), json!([old, new])),
        })
    }

    fn done(&mut self, op: &Op, ended: &Ended) {
        let Some(key) = op.key.as_str() else { return };
        let value = match (op.f.as_str(), ended.kind) {
            ("read", Kind::Ok) => &ended.value,
            ("write", Kind::Ok) => &op.value,
            ("cas", Kind::Ok) => &op.value[1],
            _ => return,
        };
        self.seen.insert(key.into(), value.clone());
        while self.seen.len() as u64 > 2 * KEYS {
            self.seen.pop_first();
        }
    }
}

/// A read of each key.
pub(super) fn finals(events: &[Event]) -> Vec<Op> {
    let keys: BTreeSet<&str> = events.iter().filter_map(|event| event.key.as_str()).collect();
    keys.into_iter().map(|key| Op::new("read", key, Value::Null)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unique_and_every_kind_of_operation_comes() {
        let mut seen = BTreeSet::new();
        let mut kinds = BTreeMap::<String, u64>::new();
        for client in 0..3 {
            let mut part = Registers::new(&Seat { client, clients: 3, seed: 7, from: 0 });
            for ms in 0..2000 {
                let Some(op) = part.next(ms * 20) else { continue };
                let value = if op.f == "cas" { op.value[1].clone() } else { op.value.clone() };
                assert!(value.is_null() || seen.insert(value.to_string()), "{op:?}");
                *kinds.entry(op.f.clone()).or_default() += 1;
                part.done(&op, &Ended::ok(Value::Null, None));
                if op.f == "read" {
                    part.done(&op, &Ended::ok(json!(1), None));
                }
            }
        }
        assert!(["read", "write", "cas"].iter().all(|f| kinds[*f] > 100), "{kinds:?}");
    }
}
