//! What clients do: pure generators. A generator is asked for the next operation and told how each ended; it knows no
//! clock, socket or true chance, only the time that it is given and a seed.
//!
//! Each workload is the smallest one that shows a promise being broken: see [`crate::catalog`] for what each is for.

mod append;
mod predicate;
mod register;
mod set;
mod small;
mod stream;
mod watch;

pub(crate) use small::{ACCOUNTS, BALANCE};

use crate::op::{Ended, Op};
use crate::record::Event;
use quorate_base::Rng;
use serde::{Deserialize, Serialize};

/// Who asks: a generator's place among its siblings.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Seat {
    /// The client's number, from 0.
    pub(crate) client: u64,
    /// How many clients the workload has.
    pub(crate) clients: u64,
    /// The run's seed.
    pub(crate) seed: u64,
    /// The store's revision when the run began.
    pub(crate) from: i64,
}

impl Seat {
    /// Chance for one purpose of this client.
    pub(crate) fn rng(&self, purpose: &str) -> Rng {
        Rng::stream(self.seed, &format!("{purpose}/{}", self.client))
    }
}

/// What one client does.
pub(crate) trait Workload {
    /// The next operation at `ms` milliseconds after the beginning; `None` for nothing just now.
    fn next(&mut self, ms: u64) -> Option<Op>;

    /// How the last one ended.
    fn done(&mut self, op: &Op, ended: &Ended);
}

/// The generator of a workload; `None` where none has that name.
pub(crate) fn generator(name: &str, seat: &Seat) -> Option<Box<dyn Workload>> {
    Some(match name {
        "register" | "table-register" => Box::new(register::Registers::new(seat)),
        "append" => Box::new(append::Appends::new(seat)),
        "table-append" => Box::new(append::Repeated::new(seat)),
        "predicate" => Box::new(predicate::Rows::new(seat)),
        "set" => Box::new(set::Adds::new(seat)),
        "ids" => Box::new(small::Ids),
        "bank" | "table-bank" => Box::new(small::Bank::new(seat)),
        "lease" => Box::new(small::Leases::new(seat)),
        "lock" | "lock-guarded" | "lock-fenced" => Box::new(small::Lock::new(seat)),
        "table-stream" => Box::new(stream::Stream::new(seat)),
        "stale" => Box::new(small::Stale::new(seat)),
        "watch" => Box::new(watch::Watch::new(seat)),
        _ => return None,
    })
}

/// What is asked at every node once all is healed, given what happened; `from` is the revision at which the run began.
pub(crate) fn finals(name: &str, events: &[Event], from: i64) -> Vec<Op> {
    match name {
        "register" | "table-register" => register::finals(events),
        "append" | "table-append" => append::finals(events),
        "predicate" => predicate::finals(events),
        "set" => set::finals(events),
        "bank" | "table-bank" => vec![Op::new("read-bank", serde_json::Value::Null, serde_json::Value::Null)],
        "lease" => small::lease_finals(events),
        "watch" => watch::finals(from),
        "table-stream" => stream::finals(events),
        _ => Vec::new(),
    }
}
