//! Transactions of a few steps that append unique elements to lists, and read whole lists.
//!
//! A read of a list tells in what order everything before was written: so the order of transactions can be inferred, and a
//! cycle in it has a name (Adya, Elle). Lists are given up for new ones after a while; absent ones are read too.

use super::{Seat, Workload};
use crate::op::{Ended, Op};
use crate::record::Event;
use quorate_base::Rng;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// So many lists are in use at a time.
const LISTS: u64 = 4;
/// Each for so long.
const LIST_MS: u64 = 4000;

/// One client's part.
pub(crate) struct Appends {
    rng: Rng,
    next: u64,
}

impl Appends {
    /// For one client.
    pub(crate) fn new(seat: &Seat) -> Self {
        Self { rng: seat.rng("append"), next: (seat.client + 1) * 10_000_000 }
    }
}

impl Workload for Appends {
    fn next(&mut self, ms: u64) -> Option<Op> {
        let steps = self.rng.between(1, 4);
        let mut step = || {
            let place = self.rng.below(LISTS);
            let key = (ms + place * LIST_MS / LISTS) / LIST_MS * LISTS + place;
            if self.rng.chance(1, 2) {
                return json!(["r", key, null]);
            }
            self.next += 1;
            json!(["append", key, self.next])
        };
        let steps: Vec<Value> = (0..steps).map(|_| step()).collect();
        Some(Op::new("txn", Value::Null, steps))
    }

    fn done(&mut self, _: &Op, _: &Ended) {}
}

/// The same, and every now and then the client's last transaction once more, by its token.
pub(crate) struct Repeated {
    appends: Appends,
    rng: Rng,
}

impl Repeated {
    /// For one client.
    pub(crate) fn new(seat: &Seat) -> Self {
        Self { appends: Appends::new(seat), rng: seat.rng("again") }
    }
}

impl Workload for Repeated {
    fn next(&mut self, ms: u64) -> Option<Op> {
        if self.rng.chance(1, 8) {
            Some(Op::new("again", Value::Null, Value::Null))
        } else {
            self.appends.next(ms)
        }
    }

    fn done(&mut self, op: &Op, ended: &Ended) {
        self.appends.done(op, ended);
    }
}

/// A read of each list.
pub(super) fn finals(events: &[Event]) -> Vec<Op> {
    let steps = events.iter().filter_map(|event| event.value.as_array()).flatten();
    let keys: BTreeSet<i64> = steps.filter_map(|step| step[1].as_i64()).collect();
    keys.into_iter().map(|key| Op::new("txn", Value::Null, json!([["r", key, null]]))).collect()
}
