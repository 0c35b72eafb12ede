//! Half of the clients write items, the others read the table's change feed, each going on behind the last record that it saw.
//!
//! Values are unique, so that a record names its write, and a write is answered with what was there before it. The first keys are
//! written by all.

use super::{Seat, Workload};
use crate::op::{Ended, Kind, Op};
use crate::record::Event;
use quorate_base::Rng;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// So many keys are written.
const KEYS: u64 = 8;
/// Who has seen more records than this does not begin anew: histories would grow with the square of the time.
const ANEW: usize = 2_000;
/// Values of client c begin at c times this.
const STRIDE: u64 = 10_000_000;

/// One client's part.
pub(crate) struct Stream {
    rng: Rng,
    writes: bool,
    next: u64,
    /// Of each shard the last record that was seen.
    after: Map<String, Value>,
    seen: usize,
}

impl Stream {
    /// For one client.
    pub(crate) fn new(seat: &Seat) -> Self {
        let writes = seat.client.is_multiple_of(2);
        Self { rng: seat.rng("stream"), writes, next: (seat.client + 1) * STRIDE, after: Map::new(), seen: 0 }
    }
}

impl Workload for Stream {
    fn next(&mut self, _: u64) -> Option<Op> {
        if !self.writes {
            // Some begin anew: the past does not change.
            if self.seen < ANEW && self.rng.chance(1, 40) {
                self.after.clear();
            }
            return Some(read_on(&self.after));
        }
        let key = format!("s{}", self.rng.below(KEYS));
        self.next += 1;
        let value = if self.rng.chance(1, 5) { Value::Null } else { json!(self.next) };
        Some(Op::new("change", key, value))
    }

    fn done(&mut self, op: &Op, ended: &Ended) {
        if op.f != "stream" || ended.kind != Kind::Ok {
            return;
        }
        for record in ended.value.as_array().into_iter().flatten() {
            self.seen += 1;
            if let Some(shard) = record[0].as_str() {
                self.after.insert(shard.into(), record[1].clone());
            }
        }
    }
}

fn read_on(after: &Map<String, Value>) -> Op {
    Op::new("stream", Value::Null, json!({ "after": after }))
}

/// All of the feed, and what became of each item.
pub(super) fn finals(events: &[Event]) -> Vec<Op> {
    let keys: BTreeSet<&str> = events.iter().filter_map(|event| event.key.as_str()).collect();
    let reads = keys.into_iter().map(|key| Op::new("read", key, Value::Null));
    [read_on(&Map::new())].into_iter().chain(reads).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_on_behind_what_it_saw_in_each_shard() {
        let seat = |client| Seat { client, clients: 2, seed: 7, from: 0 };
        let mut part = Stream::new(&seat(1));
        let op = part.next(0).unwrap();
        assert_eq!((op.f.as_str(), &op.value), ("stream", &json!({ "after": {} })));
        let seen = json!([
            ["a", "10", "s0", "INSERT", null, 1],
            ["b", "7", "s1", "INSERT", null, 2],
            ["a", "12", "s0", "REMOVE", 1, null]
        ]);
        part.done(&op, &Ended::ok(seen, None));
        part.done(&op, &Ended::failed("no answer"));
        assert_eq!(part.next(0).unwrap().value, json!({ "after": { "a": "12", "b": "7" } }));
        let mut writer = Stream::new(&seat(0));
        let writes: Vec<Op> = (0..100).filter_map(|_| writer.next(0)).collect();
        let values: BTreeSet<String> = writes.iter().map(|op| op.value.to_string()).collect();
        let deletions = writes.iter().filter(|op| op.value.is_null()).count();
        assert!(deletions > 5 && values.len() == 101 - deletions);
    }
}
