//! Elements are added to a set, and the whole set is read: as one key an element, so that nobody is in anybody's way.
//!
//! It needs no search to be judged: each element is added once. A set is given up for a new one after a while, so that
//! reads stay short.

use super::{Seat, Workload};
use crate::op::{Ended, Op};
use crate::record::Event;
use quorate_base::Rng;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Sets are in use for so long.
const SET_MS: u64 = 15_000;
/// Elements of client c begin at c times this.
const STRIDE: u64 = 10_000_000;

/// One client's part.
pub(crate) struct Adds {
    rng: Rng,
    next: u64,
}

impl Adds {
    /// For one client.
    pub(crate) fn new(seat: &Seat) -> Self {
        Self { rng: seat.rng("set"), next: (seat.client + 1) * STRIDE }
    }
}

impl Workload for Adds {
    fn next(&mut self, ms: u64) -> Option<Op> {
        let set = format!("s{}", ms / SET_MS);
        if self.rng.chance(1, 20) {
            return Some(Op::new("read-set", set, Value::Null));
        }
        self.next += 1;
        Some(Op::new("add", set, json!(self.next)))
    }

    fn done(&mut self, _: &Op, _: &Ended) {}
}

/// A read of each set.
pub(super) fn finals(events: &[Event]) -> Vec<Op> {
    let sets: BTreeSet<&str> = events.iter().filter_map(|event| event.key.as_str()).collect();
    sets.into_iter().map(|set| Op::new("read-set", set, Value::Null)).collect()
}
