//! What is noted about requests whose askers want to know how they were served, see [`crate::evidence`].
//!
//! A [`Trace`] goes with such a request through this node. Where this node leads, [`Commits`] notes whose acknowledgements
//! commit the entries of such requests, its own and those that were forwarded: the latter's askers are told in a frame that
//! goes out before the news of the commit, on the same connection.

use super::closed::Missed;
use super::group::Group;
use super::node::Node;
use crate::evidence::{Evidence, Mode, Part, Slot};
use quorate_base::time::Duration;
use quorate_base::{EntryId, Index, Instant, NodeId};
use quorate_clock::Wall;
use quorate_protocol::raft::{Membership, Proof};
use quorate_wire::peer::{Commitment, Frame};
use std::collections::BTreeMap;

/// What is known so far of one request.
#[derive(Debug)]
pub(crate) struct Trace {
    slot: Slot,
    came: Instant,
    /// When it was proposed, forwarded, or its read index asked for; and who led.
    pub(crate) sent: Option<(Instant, Option<NodeId>)>,
    /// How its entry was committed, and when this node heard of it.
    pub(crate) committed: Option<(Instant, Commitment)>,
    /// Its read index, when it came, and why.
    pub(crate) indexed: Option<(Instant, Index, Proof)>,
    /// Up to when the state that it was answered from is complete, and how old it is at most.
    pub(super) closed: Option<(Wall, Duration)>,
    /// Why it could not be answered so.
    pub(super) missed: Option<Missed>,
    /// What it waited for at this node alone, and since when.
    pub(crate) waits: Option<(Part, Instant)>,
}

impl Trace {
    pub(super) fn new(slot: Slot, now: Instant) -> Box<Self> {
        let came = slot.begun().unwrap_or(now).min(now);
        Box::new(Self {
            slot,
            came,
            sent: None,
            committed: None,
            indexed: None,
            closed: None,
            missed: None,
            waits: None,
        })
    }

    /// The parts of the time, up to `now`.
    fn parts(&self, now: Instant, forwarded: bool) -> Vec<(Part, u64)> {
        let mut parts = Vec::new();
        let mut at = self.came;
        let mut part = |parts: &mut Vec<_>, name, upto: Instant| {
            parts.push((name, micros(at, upto)));
            at = upto;
        };
        // What is answered from the own state at once goes nowhere.
        let waits = self.waits.map(|(_, since)| since);
        let sent = self.sent.map_or(waits.unwrap_or(now), |(sent, _)| sent);
        part(&mut parts, Part::Queue, sent);
        if let Some((heard, how)) = &self.committed {
            // Rounded down on both sides: the way is never negative.
            let whole = micros(sent, *heard);
            if forwarded {
                parts.push((Part::Forward, whole.saturating_sub(how.micros)));
            }
            parts.push((Part::Replicate, how.micros));
            at = *heard;
        } else if let Some((came, ..)) = self.indexed {
            part(&mut parts, Part::Confirm, came);
        }
        let mut part = |name, upto: Instant| {
            parts.push((name, micros(at, upto)));
            at = upto;
        };
        if self.committed.is_some() || self.indexed.is_some() {
            part(Part::Apply, waits.unwrap_or(now));
        }
        if let Some((what, _)) = self.waits {
            part(what, now);
        }
        parts.push((Part::Total, micros(self.came, now)));
        parts
    }
}

fn micros(from: Instant, upto: Instant) -> u64 {
    upto.since(from).as_nanos() as u64 / 1000
}

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    Here(u64),
    Peer(NodeId, u64),
}

#[derive(Debug)]
struct Watched {
    asker: Asker,
    since: Instant,
    id: EntryId,
    acks: Vec<(NodeId, u64)>,
}

/// The entries of this leader whose askers want to know.
#[derive(Default)]
pub(super) struct Commits {
    /// By proposal, until it has its place in the log.
    proposed: BTreeMap<u64, Watched>,
    /// By place.
    watched: BTreeMap<Index, Watched>,
}

impl Commits {
    pub(super) fn expect(&mut self, proposal: u64, asker: Asker, now: Instant) {
        let watched = Watched { asker, since: now, id: EntryId::ZERO, acks: Vec::new() };
        self.proposed.insert(proposal, watched);
    }

    /// A proposal has its place, or none.
    pub(super) fn placed(&mut self, proposal: u64, id: Option<EntryId>) {
        if self.proposed.is_empty() {
            return;
        }
        if let (Some(watched), Some(id)) = (self.proposed.remove(&proposal), id) {
            self.watched.insert(id.index, Watched { id, ..watched });
        }
    }

    /// This node leads no longer, or in another term.
    pub(super) fn forget(&mut self) {
        self.proposed.clear();
        self.watched.clear();
    }

    /// A voter's disk holds everything up to an index.
    fn acked(&mut self, now: Instant, node: NodeId, upto: Index) {
        for (_, watched) in self.watched.range_mut(..=upto) {
            if watched.acks.iter().all(|&(acked, _)| acked != node) {
                watched.acks.push((node, micros(watched.since, now)));
            }
        }
    }

    /// Notes what the disk of `node` holds, and takes out what is committed by now. A decision rests on what every voter of
    /// `membership` holds: also on what one confirmed before it had its vote, as a learner, and says no second time.
    fn note(
        &mut self,
        now: Instant,
        node: NodeId,
        membership: &Membership,
        holds: impl Fn(NodeId) -> Index,
        commit: Index,
    ) -> Vec<(Asker, Commitment)> {
        if membership.is_voter(node) {
            self.acked(now, node, holds(node));
        }
        if self.watched.range(..=commit).next().is_some() {
            for voter in membership.nodes().into_iter().filter(|&node| membership.is_voter(node)) {
                self.acked(now, voter, holds(voter));
            }
        }
        let voters = membership.voters.len() as u64;
        std::iter::from_fn(|| self.next_committed(now, commit, voters)).collect()
    }

    /// The next one that is committed.
    fn next_committed(&mut self, now: Instant, commit: Index, voters: u64) -> Option<(Asker, Commitment)> {
        let first = self.watched.first_entry().filter(|first| *first.key() <= commit)?;
        let Watched { asker, since, id, acks } = first.remove();
        Some((asker, Commitment { id, acks, voters, micros: micros(since, now) }))
    }
}

impl Group {
    /// A voter may have confirmed entries: this node's own disk or a follower's.
    pub(super) fn note_acks(&mut self, node: &mut Node, now: Instant, who: NodeId) {
        if self.commits.watched.is_empty() {
            return;
        }
        let (raft, own) = (&self.raft, node.settings.node);
        let holds = |of: NodeId| match raft.progress().get(&of) {
            _ if of == own => raft.durable(),
            Some(progress) => progress.matched,
            None => Index(0),
        };
        for (asker, how) in self.commits.note(now, who, raft.membership(), holds, raft.commit()) {
            match asker {
                Asker::Here(request) => node.pending.committed(now, request, how),
                Asker::Peer(from, request) => node.send(from, &Frame::Committed { request, how }),
            }
        }
    }

    /// Fills the slot of a request that is about to be answered.
    pub(super) fn explain(&self, node: &Node, now: Instant, trace: Option<Box<Trace>>, writes: bool) {
        let Some(trace) = trace else { return };
        let me = node.settings.node;
        let asked = trace.sent.and_then(|(_, leader)| leader);
        let mut evidence = Evidence {
            node: me,
            leader: asked.or(self.raft.leader()),
            term: self.raft.term(),
            index: None,
            applied: self.view.applied().index,
            mode: if writes { Mode::Log } else { Mode::Local },
            acks: Vec::new(),
            voters: 0,
            closed: trace.closed,
            missed: trace.missed,
            parts: trace.parts(now, asked.is_some_and(|leader| leader != me)),
        };
        if trace.closed.is_some() {
            evidence.mode = Mode::Bounded;
        }
        if let Some((_, how)) = &trace.committed {
            evidence.index = Some(how.id.index);
            evidence.term = how.id.term;
            evidence.acks = how.acks.iter().map(|&(node, micros)| (node, Some(micros))).collect();
            evidence.voters = how.voters;
            let own = how.acks.iter().find(|&&(node, _)| Some(node) == evidence.leader);
            if let Some(&(_, flush)) = own {
                let at = evidence.parts.iter().position(|&(part, _)| part == Part::Replicate).unwrap_or(0);
                evidence.parts.insert(at, (Part::Flush, flush));
            }
        } else if let Some((_, index, proof)) = &trace.indexed {
            evidence.index = Some(*index);
            evidence.acks.extend(evidence.leader.map(|leader| (leader, None)));
            evidence.mode = match proof {
                Proof::Lease => Mode::Lease,
                Proof::Round(_) if evidence.leader == Some(me) => Mode::Leader,
                Proof::Round(_) => Mode::ReadIndex,
            };
            if let Proof::Round(nodes) = proof {
                evidence.acks.extend(nodes.iter().map(|&node| (node, None)));
            }
            evidence.voters = self.raft.membership().voters.len() as u64;
        } else if !writes && trace.sent.is_some() {
            // The leader's word about a lease.
            evidence.mode = Mode::Leader;
        }
        trace.slot.put(evidence);
    }
}

/// A call's second request was served, which waited at this node for `part`: what its first told stands, and took longer.
pub(super) fn prolong(now: Instant, trace: Option<Box<Trace>>, part: Part) {
    if let Some(trace) = trace {
        trace.slot.prolong(part, micros(trace.came, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Term;

    /// Claim: whoever confirmed an entry as a learner, and has a vote when it is committed, stands among those who made it so;
    /// while two majorities rule, a majority of each is named.
    #[test]
    fn who_got_its_vote_since_it_confirmed_is_named() {
        let of = |nodes: &[u64]| Membership::of_voters(nodes.iter().map(|&n| NodeId(n)));
        let mut membership = of(&[1, 2, 3]);
        membership.learners = [4, 5].map(NodeId).into();
        let mut held = BTreeMap::from([(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]);
        let mut commits = Commits::default();
        let now = Instant::default();
        commits.expect(1, Asker::Here(9), now);
        commits.placed(1, Some(EntryId { term: Term(1), index: Index(7) }));
        for learner in [4, 5] {
            held.insert(learner, 7);
            let holds = |node: NodeId| Index(held[&node.0]);
            assert!(commits.note(now, NodeId(learner), &membership, holds, Index(6)).is_empty());
        }
        membership = membership.joint(&of(&[1, 2, 3, 4, 5]));
        held.insert(1, 7);
        assert!(commits.note(now, NodeId(1), &membership, |node| Index(held[&node.0]), Index(6)).is_empty());
        held.insert(2, 7);
        let done = commits.note(now, NodeId(2), &membership, |node| Index(held[&node.0]), Index(7));
        let [(_, how)] = &done[..] else { panic!("{done:?}") };
        let acked: Vec<NodeId> = how.acks.iter().map(|&(node, _)| node).collect();
        assert!(membership.is_quorum(|node| acked.contains(&node)), "{acked:?}");
        assert_eq!((acked.len(), how.voters), (4, 5));
    }
}
