//! Requests that wait until the node has tidied up: swept what compactions put out of reach, and given the room back.
//!
//! The sweep is the applier's, and the giving back the background's; a request goes to the one, then to the other. Nothing here
//! changes an answer, so each node is asked for itself.

use super::Broken;
use super::explain::{Trace, prolong};
use super::group::Group;
use super::node::{Asking, Node};
use crate::api::{Answer, Body, Done, Failure};
use crate::applier::Work;
use crate::evidence::Part;
use quorate_base::Instant;
use quorate_base::time::Duration;
use quorate_storage::state::{StateErrorKind, StateResult};
use quorate_wire::kv::Refused;
use std::collections::BTreeMap;

/// Giving room back may take as long as reading and writing all data; who does not say how long it waits waits so long.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// So many may wait.
const SETTLING_MAX: usize = 64;

/// Room was given back, or why not; goes back in [`Event::Defragmented`](super::Event::Defragmented).
pub struct Defragmented {
    /// The number in [`Effects::defragment`](super::Effects::defragment).
    pub number: u64,
    /// What came of it.
    pub result: StateResult<()>,
}

struct Waiting {
    done: Done,
    deadline: Instant,
    /// The room is to be given back, too.
    defragment: bool,
    trace: Option<Box<Trace>>,
}

/// The requests that wait.
#[derive(Default)]
pub(super) struct Settling {
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    pub(super) work: Vec<Work>,
    pub(super) defragment: Vec<u64>,
    /// So many bytes are needed, now that a sweep is through.
    pub(super) tidy: Option<u64>,
}

impl Settling {
    /// Takes out what has waited too long.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<(Done, Failure)> {
        let late: Vec<u64> =
            self.waiting.iter().filter(|(_, w)| w.deadline <= now).map(|(&number, _)| number).collect();
        late.iter()
            .filter_map(|number| self.waiting.remove(number))
            .map(|waiting| (waiting.done, Failure::TimedOut))
            .collect()
    }

    /// Takes out all, for a node that stops.
    pub(super) fn drain_all(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.waiting).into_values().map(|waiting| waiting.done).collect()
    }

    /// Whether anybody waits.
    pub(super) fn any(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Node {
    pub(super) fn settle(
        &mut self,
        now: Instant,
        defragment: bool,
        timeout: Option<Duration>,
        (done, mut trace): Asking,
    ) {
        let settling = &mut self.settling;
        if settling.waiting.len() >= SETTLING_MAX {
            return done(Err(Failure::Overloaded));
        }
        settling.next += 1;
        let deadline = now + timeout.unwrap_or(PATIENCE).min(PATIENCE);
        if let Some(trace) = &mut trace {
            trace.waits = Some((Part::Upkeep, now));
        }
        settling.waiting.insert(settling.next, Waiting { done, deadline, defragment, trace });
        settling.work.push(Work::Settle(settling.next));
    }
}

/// The space answers for the node: its members and its state are what evidence tells of.
impl Group {
    /// The applier has swept all there was; if that was anything, so many bytes are needed now.
    pub(super) fn swept(&self, node: &mut Node, now: Instant, numbers: Vec<u64>, needed: Option<u64>) {
        node.settling.tidy = needed.or(node.settling.tidy);
        for number in numbers {
            match node.settling.waiting.get(&number) {
                Some(Waiting { defragment: true, .. }) => node.settling.defragment.push(number),
                Some(_) => self.settled(node, now, number, Ok(Body::Done)),
                None => {}
            }
        }
    }

    pub(super) fn defragmented(
        &self,
        node: &mut Node,
        now: Instant,
        Defragmented { number, result }: Defragmented,
    ) {
        let body = match result {
            Ok(()) => {
                // The older checkpoint holds on to the tables that were merged, and so does what is readable here: new ones
                // let them go. (Nobody waits for number 0.)
                node.settling.work.extend([Work::Settle(0), Work::Seal]);
                Ok(Body::Done)
            }
            Err(error) if error.kind == StateErrorKind::Full => {
                Err(Failure::Refused(Refused::NoSpace, self.head(node)))
            }
            Err(error) => {
                node.broken = Some(Broken::state("defragmenting", &error));
                Err(Failure::Broken(error.to_string()))
            }
        };
        self.settled(node, now, number, body);
    }

    fn settled(&self, node: &mut Node, now: Instant, number: u64, body: Result<Body, Failure>) {
        let Some(waiting) = node.settling.waiting.remove(&number) else { return };
        if waiting.defragment {
            self.explain(node, now, waiting.trace, false);
        } else {
            // The compaction itself was a request before this one.
            prolong(now, waiting.trace, Part::Upkeep);
        }
        let head = self.head(node);
        (waiting.done)(body.map(|body| Answer { head, body }));
    }
}
