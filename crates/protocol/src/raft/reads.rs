//! Linearizable reads by `ReadIndex` (dissertation, 6.4).
//!
//! A read may be served from any state that holds all that was committed when the read began. The leader's commit index is
//! that point, if it has committed in its own term, and if it still led after the read came. One round of heartbeats
//! answers the second question for all reads that wait. A read joins only a round that starts after it came. A follower
//! asks the leader once for all of its reads, under a name that is unique over restarts. Where the operator allows it, a lease
//! takes the place of the round ([`super::leases`]).

use super::{Message, Mutant, Proof, Raft, ReadId, ReadReady, Refusal, Role, mutant};
use quorate_base::{Index, Instant, NodeId, Term};
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Reader {
    Local(ReadId),
    Remote(NodeId, u64),
}

#[derive(Clone, Debug)]
struct Round {
    number: u64,
    index: Index,
    readers: Vec<Reader>,
    answered: BTreeSet<NodeId>,
}

#[derive(Clone, Debug)]
struct Asked {
    context: u64,
    reads: Vec<ReadId>,
    retry_at: Instant,
}

/// Reads on their way to an index.
#[derive(Clone, Default, Debug)]
pub(super) struct Reads {
    /// Wait for the next round (at the leader) or the next question (elsewhere).
    waiting: Vec<Reader>,
    round: Option<Round>,
    number: u64,
    asked: Option<Asked>,
    context: u64,
}

impl Reads {
    pub(super) fn seed(&mut self, context: u64) {
        self.context = context;
    }

    pub(super) fn lead(&mut self) {
        self.round = None;
        self.number = 0;
    }

    pub(super) fn round(&self) -> u64 {
        self.number
    }

    /// A number for heartbeats whose answers are to be told from those of earlier ones.
    pub(super) fn next_round(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.asked.as_ref().map(|a| a.retry_at)
    }

    /// See [`super::Raft::fingerprint`].
    pub(super) fn fingerprint(&self, to: &mut impl Hasher) {
        self.waiting.hash(to);
        self.number.hash(to);
        self.round.as_ref().map(|r| (r.number, r.index, &r.readers, &r.answered)).hash(to);
        self.asked.as_ref().map(|a| (a.context, &a.reads)).hash(to);
    }

    /// Whether any is on its way.
    pub(super) fn any(&self) -> bool {
        self.len() > 0
    }

    fn len(&self) -> usize {
        self.waiting.len()
            + self.round.as_ref().map_or(0, |r| r.readers.len())
            + self.asked.as_ref().map_or(0, |a| a.reads.len())
    }
}

impl Raft {
    pub(super) fn read(&mut self, id: ReadId) {
        if self.leader.is_none() {
            self.pending.dropped_reads.push((id, Refusal::NotLeader { leader: None }));
        } else if self.reads.len() >= self.config.max_pending_reads {
            self.pending.dropped_reads.push((id, Refusal::Overloaded));
        } else {
            self.reads.waiting.push(Reader::Local(id));
        }
    }

    /// Leader: up to here everything is committed that anyone can have been told of before now, if it still leads when a majority is
    /// asked: what a read that came now would get for its index ([`Raft::confirms`] is what is to be asked).
    pub fn readable(&self) -> Option<Index> {
        let leads = self.role == Role::Leader && self.hard.commit >= self.term_start;
        leads.then_some(self.hard.commit)
    }

    /// The term of which it can say that it has voted in no higher one: who leads in it still led when this was asked, for all that
    /// this replica has to do with it. One whose disk is lost may have voted in any.
    pub fn confirms(&self) -> Option<Term> {
        (!self.disk_lost()).then_some(self.hard.term)
    }

    /// Leader: answers what waits if its lease holds; else starts a round, if none is under way.
    pub(super) fn start_read_round(&mut self, now: Instant) {
        if self.role != Role::Leader || self.reads.waiting.is_empty() {
            return;
        }
        let own_term_committed = self.hard.commit >= self.term_start;
        if !own_term_committed && !mutant(&self.config, Mutant::ReadIndexBeforeOwnTermCommit) {
            return;
        }
        if self.lease_holds(now) {
            let readers = std::mem::take(&mut self.reads.waiting);
            return self.answer_readers(readers, self.hard.commit, &Proof::Lease);
        }
        if self.reads.round.is_some() {
            return;
        }
        let round = Round {
            number: self.reads.next_round(),
            index: self.hard.commit,
            readers: std::mem::take(&mut self.reads.waiting),
            answered: BTreeSet::new(),
        };
        self.reads.round = Some(round);
        if !self.finish_round() {
            self.send_heartbeats(now);
        }
    }

    pub(super) fn round_answered(&mut self, from: NodeId, number: u64) {
        if let Some(round) = &mut self.reads.round
            && number >= round.number
        {
            round.answered.insert(from);
            self.finish_round();
        }
    }

    fn finish_round(&mut self) -> bool {
        let Some(round) = &self.reads.round else { return false };
        let id = self.config.id;
        let proven = self.membership().is_quorum(|n| n == id || round.answered.contains(&n))
            || mutant(&self.config, Mutant::StaleLeaderRead);
        if !proven {
            return false;
        }
        let Some(round) = self.reads.round.take() else { return false };
        self.answer_readers(round.readers, round.index, &Proof::Round(Arc::new(round.answered)));
        true
    }

    fn answer_readers(&mut self, readers: Vec<Reader>, index: Index, proof: &Proof) {
        let term = self.hard.term;
        for reader in readers {
            let proof = proof.clone();
            match reader {
                Reader::Local(id) => self.pending.reads.push(ReadReady { id, index, proof }),
                Reader::Remote(node, context) => {
                    self.awaited(node, index);
                    let index = Some(index);
                    self.post(node, Message::ReadIndexResponse { term, context, index, proof });
                }
            }
        }
    }

    /// Leader: a follower asks.
    pub(super) fn read_index_asked(&mut self, from: NodeId, context: u64) {
        if self.role == Role::Leader && self.reads.len() < self.config.max_pending_reads {
            self.reads.waiting.push(Reader::Remote(from, context));
        }
    }

    /// Follower: asks once for all reads that wait; what got no answer in time is asked again.
    pub(super) fn ask_read_index(&mut self, now: Instant) {
        let Some(leader) = self.leader.filter(|_| self.role != Role::Leader) else { return };
        if let Some(asked) = &self.reads.asked {
            if now < asked.retry_at {
                return;
            }
            let again = self.reads.asked.take().map(|a| a.reads).unwrap_or_default();
            self.reads.waiting.extend(again.into_iter().map(Reader::Local));
        }
        let reads: Vec<ReadId> = self
            .reads
            .waiting
            .drain(..)
            .filter_map(|r| match r {
                Reader::Local(id) => Some(id),
                Reader::Remote(..) => None,
            })
            .collect();
        if reads.is_empty() {
            return;
        }
        self.reads.context = self.reads.context.wrapping_add(1);
        let (term, context) = (self.hard.term, self.reads.context);
        self.reads.asked = Some(Asked { context, reads, retry_at: now + 2 * self.config.heartbeat });
        self.post(leader, Message::ReadIndex { term, context });
    }

    pub(super) fn read_index_came(&mut self, context: u64, index: Option<Index>, proof: &Proof) {
        let Some(asked) = self.reads.asked.take_if(|a| a.context == context) else { return };
        for id in asked.reads {
            match index {
                Some(index) => self.pending.reads.push(ReadReady { id, index, proof: proof.clone() }),
                None => {
                    self.pending.dropped_reads.push((id, Refusal::NotLeader { leader: self.leader }));
                }
            }
        }
    }

    /// The leader changed: nothing that waits may count on the old one.
    pub(super) fn drop_reads(&mut self) {
        let round = self.reads.round.take().map(|r| r.readers).unwrap_or_default();
        let waiting = std::mem::take(&mut self.reads.waiting);
        let asked = self.reads.asked.take().map(|a| a.reads).unwrap_or_default();
        let local = round.into_iter().chain(waiting).filter_map(|r| match r {
            Reader::Local(id) => Some(id),
            Reader::Remote(..) => None,
        });
        let refusal = Refusal::NotLeader { leader: self.leader };
        self.pending.dropped_reads.extend(local.chain(asked).map(|id| (id, refusal)));
    }
}
