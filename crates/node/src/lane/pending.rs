//! Requests on their way: what waits for the leader, for the log, or for another node's answer.
//!
//! A write is in the log at most once. It is *parked* while no leader is known (nothing was done: it may go anywhere), then
//! *sent* in one term: proposed here, or forwarded to the leader of that term, who takes it in that term only. When an
//! entry of a later term has been applied, everything sent in an earlier term either was applied before it or never will
//! be. So what still waits then was not done: it is parked again, under another number, by which a late word about its first
//! course is told from one about its second. That the leader died is then a delay for who asked, and no error.
//!
//! So what is parked at its deadline was not done, and is answered "no leader"; what was sent by then is in doubt.
//!
//! But for entries that this node has not applied one by one: behind a snapshot of a peer nobody knows here what was done, and what was
//! sent before it is answered "leader changed" at once, so that nobody waits for a time-out.

use super::explain::Trace;
use crate::api::{Done, Failure};
use bytes::Bytes;
use quorate_base::{Instant, NodeId, ShardId, Term};
use quorate_wire::command;
use quorate_wire::kv::{LeaseId, Revision};
use quorate_wire::members::Change;
use quorate_wire::peer::Commitment;
use std::collections::{BTreeMap, BTreeSet};

/// What a pending request wants from the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// An entry in the log; the encoded command.
    Write(Bytes),
    /// A confirmed keep-alive. With the revision of the asked node's state when the request came: its answer must not seem
    /// newer than the keep-alive was.
    KeepAlive(LeaseId, Revision),
    /// The remaining time of a lease, with its keys if set.
    TimeToLive(LeaseId, bool),
    /// Other members.
    Members(Change),
}

impl Want {
    fn bytes(&self) -> usize {
        match self {
            Self::Write(data) => data.len(),
            Self::KeepAlive(..) | Self::TimeToLive(..) | Self::Members(_) => 0,
        }
    }

    /// Doing it twice is harmless, so that it may be asked again of another leader.
    const fn repeatable(&self) -> bool {
        !matches!(self, Self::Write(_) | Self::Members(_))
    }
}

struct Waiting {
    shard: ShardId,
    want: Want,
    done: Done,
    deadline: Instant,
    /// `None` while parked.
    sent: Option<Term>,
    /// It may stand among entries of which this node has only what they left.
    doubtful: bool,
    /// It is to be explained.
    trace: Option<Box<Trace>>,
}

/// All requests on their way, by request number.
///
/// Invariants: `deadlines` holds exactly the waiting ones; `parked` exactly those not sent, by the shard
/// whose leader they are for; `bytes` is what they hold.
#[derive(Default)]
pub(crate) struct Pending {
    waiting: BTreeMap<u64, Waiting>,
    deadlines: BTreeSet<(Instant, u64)>,
    parked: BTreeMap<ShardId, BTreeSet<u64>>,
    bytes: usize,
}

impl Pending {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many bytes of commands wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a request in, parked.
    pub(crate) fn park(
        &mut self,
        shard: ShardId,
        request: u64,
        want: Want,
        deadline: Instant,
        (done, trace): (Done, Option<Box<Trace>>),
    ) {
        self.deadlines.insert((deadline, request));
        self.parked.entry(shard).or_default().insert(request);
        self.bytes += want.bytes();
        self.waiting
            .insert(request, Waiting { shard, want, done, deadline, sent: None, doubtful: false, trace });
    }

    /// Takes all parked ones of a shard out for sending to its leader of `term`; the flag says which are to be explained.
    pub(crate) fn send_parked(
        &mut self,
        shard: ShardId,
        now: Instant,
        term: Term,
        leader: NodeId,
    ) -> Vec<(u64, Want, bool)> {
        let parked = self.parked.remove(&shard).unwrap_or_default();
        let mut out = Vec::with_capacity(parked.len());
        for request in parked {
            if let Some(waiting) = self.waiting.get_mut(&request) {
                waiting.sent = Some(term);
                if let Some(trace) = &mut waiting.trace {
                    trace.sent = Some((now, Some(leader)));
                }
                out.push((request, waiting.want.clone(), waiting.trace.is_some()));
            }
        }
        out
    }

    /// A refusal came: nothing was done, so the request is parked again.
    pub(crate) fn refused(&mut self, request: u64) {
        if let Some(waiting) = self.waiting.get_mut(&request) {
            waiting.sent = None;
            self.parked.entry(waiting.shard).or_default().insert(request);
        }
    }

    /// The shard of a request that waits.
    pub(crate) fn shard(&self, request: u64) -> Option<ShardId> {
        Some(self.waiting.get(&request)?.shard)
    }

    /// Until when a request waits.
    pub(crate) fn deadline(&self, request: u64) -> Option<Instant> {
        Some(self.waiting.get(&request)?.deadline)
    }

    /// How the entry of a request was committed that is to be explained.
    pub(crate) fn committed(&mut self, now: Instant, request: u64, how: Commitment) {
        if let Some(trace) = self.waiting.get_mut(&request).and_then(|waiting| waiting.trace.as_mut()) {
            trace.committed = Some((now, how));
        }
    }

    /// Takes a request out for its answer.
    pub(crate) fn finish(&mut self, request: u64) -> Option<(Want, Done, Option<Box<Trace>>)> {
        let waiting = self.waiting.remove(&request)?;
        self.deadlines.remove(&(waiting.deadline, request));
        if let Some(parked) = self.parked.get_mut(&waiting.shard) {
            parked.remove(&request);
            if parked.is_empty() {
                self.parked.remove(&waiting.shard);
            }
        }
        self.bytes -= waiting.want.bytes();
        Some((waiting.want, waiting.done, waiting.trace))
    }

    /// What a shard's log held came as a snapshot: what was sent before may be in it.
    pub(crate) fn doubt(&mut self, shard: ShardId) {
        for waiting in self.waiting.values_mut().filter(|w| w.shard == shard && w.sent.is_some()) {
            waiting.doubtful = true;
        }
    }

    /// An entry of `term` was applied in a shard: see the module page. What goes again gets its numbers from `number`; what may have been
    /// done is taken out.
    pub(crate) fn overtaken(
        &mut self,
        shard: ShardId,
        term: Term,
        mut number: impl FnMut() -> u64,
    ) -> Vec<Done> {
        let old: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, w)| w.shard == shard && w.sent.is_some_and(|sent| sent < term))
            .map(|(&request, _)| request)
            .collect();
        let mut lost = Vec::new();
        for request in old {
            let Some(waiting) = self.waiting.get(&request) else { continue };
            let again = match &waiting.want {
                want if want.repeatable() => {
                    self.refused(request);
                    continue;
                }
                Want::Write(data) if !waiting.doubtful => {
                    let number = number();
                    command::renumber(data, number)
                        .map(|data| (number, waiting.shard, waiting.deadline, data))
                }
                _ => None,
            };
            let Some((_, done, trace)) = self.finish(request) else { continue };
            match again {
                Some((number, shard, deadline, data)) => {
                    self.park(shard, number, Want::Write(data), deadline, (done, trace));
                }
                None => lost.push(done),
            }
        }
        lost
    }

    /// Takes out what has waited too long.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<(Done, Failure)> {
        let mut out = Vec::new();
        while let Some(&(at, request)) = self.deadlines.first() {
            if at > now {
                break;
            }
            // What is parked is in nobody's log, and goes nowhere any more. Whoever asks about leases asks again in any case.
            let parked = self.waiting.get(&request).is_some_and(|waiting| waiting.sent.is_none());
            if let Some((want, done, _)) = self.finish(request) {
                let not_done = parked && !want.repeatable();
                out.push((done, if not_done { Failure::NoLeader } else { Failure::TimedOut }));
            } else {
                self.deadlines.pop_first();
            }
        }
        out
    }

    /// Takes out all, for a node that stops.
    pub(crate) fn drain_all(&mut self) -> Vec<Done> {
        self.deadlines.clear();
        self.parked.clear();
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into_values().map(|w| w.done).collect()
    }

    /// Takes out all that waits for a shard, which is no more.
    pub(crate) fn drain_shard(&mut self, shard: ShardId) -> Vec<Done> {
        let of_it = self.waiting.iter().filter(|(_, w)| w.shard == shard).map(|(&request, _)| request);
        let all: Vec<u64> = of_it.collect();
        all.into_iter().filter_map(|request| self.finish(request)).map(|(_, done, _)| done).collect()
    }

    /// Whether anything waits for the leader of a shard.
    pub(crate) fn has_parked(&self, shard: ShardId) -> bool {
        self.parked.contains_key(&shard)
    }

    /// The shards for whose leaders anything waits.
    pub(crate) fn parked_of(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.parked.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_wire::kv::Command;
    use std::sync::{Arc, Mutex};

    const KV: ShardId = ShardId(1);

    fn done(log: &Arc<Mutex<Vec<String>>>, name: &'static str) -> Done {
        let log = log.clone();
        Box::new(move |result| {
            if let Ok(mut log) = log.lock() {
                log.push(format!("{name} {result:?}"));
            }
        })
    }

    /// The command of a request of node 5.
    fn write(request: u64) -> Bytes {
        command::encode(NodeId(5), request, &Command::LeaseRevoke { ids: vec![9] })
    }

    /// Claim: a write that was overtaken was not done, and goes again under another number; a word about its first course does not
    /// bring it a third one.
    #[test]
    fn a_write_is_sent_once_and_again_when_overtaken() {
        let log = Arc::default();
        let mut pending = Pending::default();
        pending.park(KV, 1, Want::Write(write(1)), Instant(100), (done(&log, "write"), None));
        pending.park(KV, 2, Want::KeepAlive(9, 1), Instant(50), (done(&log, "keep"), None));
        assert_eq!(pending.bytes(), write(1).len());
        let send = |pending: &mut Pending, term| pending.send_parked(KV, Instant(1), Term(term), NodeId(1));
        assert_eq!(send(&mut pending, 3).len(), 2);
        assert_eq!(send(&mut pending, 3), vec![]);
        assert!(pending.overtaken(KV, Term(3), || 7).is_empty(), "an entry of the same term says nothing");
        assert!(pending.overtaken(KV, Term(4), || 7).is_empty());
        assert_eq!(
            send(&mut pending, 4),
            vec![(2, Want::KeepAlive(9, 1), false), (7, Want::Write(write(7)), false)]
        );
        pending.refused(1);
        assert!(!pending.has_parked(KV) && pending.finish(1).is_none());
        assert_eq!(pending.expired(Instant(49)).len(), 0);
        assert_eq!(pending.expired(Instant(50)).len(), 1);
        assert_eq!(pending.expired(Instant(100)).len(), 1);
        assert_eq!((pending.len(), pending.bytes()), (0, 0));
    }

    /// Claim: what may stand among entries that came as a snapshot is not sent again; what was not sent before it is.
    #[test]
    fn behind_a_snapshot_a_write_is_in_doubt() {
        let log = Arc::default();
        let mut pending = Pending::default();
        pending.park(KV, 1, Want::Write(write(1)), Instant(100), (done(&log, "before"), None));
        assert_eq!(pending.send_parked(KV, Instant(1), Term(3), NodeId(1)).len(), 1);
        pending.park(KV, 2, Want::Write(write(2)), Instant(100), (done(&log, "behind"), None));
        pending.doubt(KV);
        assert_eq!(pending.send_parked(KV, Instant(1), Term(3), NodeId(1)).len(), 1);
        assert_eq!(pending.overtaken(KV, Term(4), || 7).len(), 1);
        assert_eq!(
            pending.send_parked(KV, Instant(1), Term(4), NodeId(1)),
            [(7, Want::Write(write(7)), false)]
        );
    }

    /// Claim: at its deadline a write that is parked was not done, whether it was never sent, refused, or left behind by a term; one that
    /// was sent is in doubt, and what asks about a lease has come too late.
    #[test]
    fn what_is_parked_at_its_deadline_was_not_done() {
        let (log, mut pending) = (Arc::default(), Pending::default());
        for (request, name) in [(1, "left behind"), (2, "refused"), (3, "sent")] {
            pending.park(KV, request, Want::Write(write(request)), Instant(9), (done(&log, name), None));
        }
        pending.send_parked(KV, Instant(1), Term(3), NodeId(1));
        pending.overtaken(KV, Term(4), {
            let mut numbers = 10..;
            move || numbers.next().unwrap()
        });
        pending.send_parked(KV, Instant(2), Term(4), NodeId(2));
        // The first is left behind once more, and the second refused.
        pending.refused(11);
        pending.park(KV, 4, Want::Write(write(4)), Instant(9), (done(&log, "parked"), None));
        pending.park(KV, 5, Want::KeepAlive(7, 1), Instant(9), (done(&log, "lease"), None));
        pending.refused(10);
        let ends: Vec<Failure> =
            pending.expired(Instant(9)).into_iter().map(|(_, failure)| failure).collect();
        let (no, late) = (Failure::NoLeader, Failure::TimedOut);
        assert_eq!(ends, [no.clone(), late.clone(), no.clone(), no, late]);
    }

    /// Claim: what waits for one shard's leader is not sent to another's, and does not hear of another's terms.
    #[test]
    fn the_terms_of_a_shard_are_its_own() {
        let (log, other) = (Arc::default(), ShardId(7));
        let mut pending = Pending::default();
        pending.park(KV, 1, Want::Write(Bytes::new()), Instant(9), (done(&log, "first"), None));
        pending.park(other, 2, Want::Write(Bytes::new()), Instant(9), (done(&log, "second"), None));
        let sent = pending.send_parked(other, Instant(1), Term(3), NodeId(1));
        assert_eq!(sent.iter().map(|(request, ..)| *request).collect::<Vec<_>>(), [2]);
        assert!(pending.has_parked(KV) && !pending.has_parked(other));
        assert!(pending.overtaken(KV, Term(8), || 7).is_empty());
        // What is no command goes nowhere.
        assert_eq!(pending.overtaken(other, Term(4), || 8).len(), 1);
        pending.refused(1);
        assert_eq!((pending.shard(1), pending.shard(2)), (Some(KV), None));
        assert_eq!(pending.parked_of().collect::<Vec<_>>(), [KV]);
        assert_eq!((pending.expired(Instant(9)).len(), pending.has_parked(KV)), (1, false));
    }
}
