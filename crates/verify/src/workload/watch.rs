//! Half of the clients write, the others watch, each watch going on where the last one ended.
//!
//! What is asked and answered has the form of `quorate check --model watch`, so that the history can be judged there too.

use super::{Seat, Workload};
use crate::op::{Ended, Kind, Op};
use quorate_base::Rng;
use serde_json::{Value, json};

/// So many keys are written.
const KEYS: u64 = 8;

/// One client's part.
pub(crate) struct Watch {
    rng: Rng,
    writes: bool,
    next: u64,
    /// Everything up to this revision was seen.
    after: i64,
}

impl Watch {
    /// For one client.
    pub(crate) fn new(seat: &Seat) -> Self {
        let writes = seat.client.is_multiple_of(2);
        Self { rng: seat.rng("watch"), writes, next: (seat.client + 1) * 10_000_000, after: seat.from }
    }
}

impl Workload for Watch {
    fn next(&mut self, _: u64) -> Option<Op> {
        let key = format!("w{}", self.rng.below(KEYS));
        if !self.writes {
            let start = self.after + 1;
            // Mostly everything: what one watch saw is held against what the others did.
            let what = match self.rng.below(10) {
                0 => json!({"key": key, "start": start}),
                1 => json!({"prefix": "", "start": start, "filters": ["noput"]}),
                2 => json!({"prefix": "", "start": start, "filters": ["nodelete"]}),
                _ => json!({"prefix": "", "start": start}),
            };
            return Some(Op::new("watch", Value::Null, what));
        }
        self.next += 1;
        Some(match self.rng.below(6) {
            0 => Op::new("delete", key, Value::Null),
            1 => Op::new("txn", Value::Null, json!([["put", key, self.next], ["put", "both", self.next]])),
            _ => Op::new("put", key, json!(self.next)),
        })
    }

    fn done(&mut self, op: &Op, ended: &Ended) {
        if op.f == "watch" && ended.kind == Kind::Ok {
            let told = ended.value.as_array().into_iter().flatten();
            self.after = told.flat_map(revisions).fold(self.after, i64::max);
        }
    }
}

/// The revisions that a response tells of.
fn revisions(response: &Value) -> Vec<i64> {
    let events = response["events"].as_array().into_iter().flatten();
    events.map(|event| &event["mod"]).chain([&response["progress"]]).filter_map(Value::as_i64).collect()
}

/// What every watcher must have seen in the end: one watch over all of it, at each node.
pub(super) fn finals(from: i64) -> Vec<Op> {
    vec![Op::new("watch", Value::Null, json!({"prefix": "", "start": from + 1}))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_goes_on_behind_all_that_it_was_told_of() {
        let mut part = Watch::new(&Seat { client: 1, clients: 2, seed: 7, from: 0 });
        let op = part.next(0).unwrap();
        assert_eq!((op.f.as_str(), &op.value["start"]), ("watch", &json!(1)));
        part.done(&op, &Ended::ok(json!([{"events": [{"mod": 4}, {"mod": 5}]}, {"progress": 9}]), None));
        assert_eq!(part.next(0).unwrap().value["start"], json!(10));
        part.done(&op, &Ended::failed("no answer"));
        assert_eq!(part.next(0).unwrap().value["start"], json!(10));
    }
}
