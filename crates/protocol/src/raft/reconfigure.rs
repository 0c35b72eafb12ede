//! Changes of members and of the leader (dissertation, chapters 3.10 and 4).
//!
//! A change of voters goes in two entries: the joint configuration, then, once that is committed, the new one alone. The
//! second is the leader's own doing, whoever leads by then (else a leader that dies between the two leaves the group joint
//! for ever). What leaves the voters as they are, a learner that comes or goes or a new book, decides nothing, and goes in one.
//! No change begins before the leader has committed in its own term, nor while one is joint, uncommitted or unapplied.
//! A learner becomes a voter only when it is caught up; a leader that is no longer a voter steps down once that is committed.

use super::{
    EntryKind, Membership, Message, Mutant, Phase, Progress, ProposalId, Raft, Refusal, Role, mutant,
};
use quorate_base::{EntryId, Index, Instant, NodeId};

/// A learner may be promoted once it holds this share of the leader's log.
const CAUGHT_UP_PERCENT: u64 = 90;

impl Raft {
    pub(super) fn change_membership(&mut self, now: Instant, id: ProposalId, target: &Membership) {
        if let Some(refusal) = self.change_refused(target) {
            self.pending.refused.push((id, refusal));
            return;
        }
        let current = self.membership();
        let next = if current.voters == target.voters { target.clone() } else { current.joint(target) };
        let index = self.push_membership(now, next);
        self.pending.accepted.push((id, EntryId::new(self.hard.term, index)));
    }

    fn change_refused(&self, target: &Membership) -> Option<Refusal> {
        if !self.is_leader() {
            return Some(Refusal::NotLeader { leader: self.leader() });
        }
        if self.transfer.is_some() {
            return Some(Refusal::Transferring);
        }
        if target.voters.is_empty() || target.is_joint() || !target.voters.is_disjoint(&target.learners) {
            return Some(Refusal::Invalid);
        }
        let current = self.membership();
        if self.change_pending() && !mutant(&self.config, Mutant::SecondChangeWhileJoint) {
            return Some(Refusal::ChangePending);
        }
        let new = target.voters.iter().filter(|&&n| !current.is_voter(n));
        new.copied().find(|&n| !self.is_caught_up(n)).map(Refusal::NotCaughtUp)
    }

    /// Whether a change is under way, or a leader may not yet begin one.
    pub fn change_pending(&self) -> bool {
        let (at, current) = &self.configs[self.configs.len() - 1];
        current.is_joint() || *at > self.applied || self.hard.commit < self.term_start
    }

    /// Whether a learner holds so much of this leader's log that it may be promoted.
    pub fn is_caught_up(&self, node: NodeId) -> bool {
        let last = self.log.last().index.0;
        if mutant(&self.config, Mutant::PromoteLaggingLearner) {
            return true;
        }
        self.membership().is_learner(node)
            && self.progress.get(&node).is_some_and(|p| {
                p.phase == Phase::Replicate && p.matched.0.saturating_mul(100) >= last * CAUGHT_UP_PERCENT
            })
    }

    fn push_membership(&mut self, now: Instant, membership: Membership) -> Index {
        let index = self.push_entry(EntryKind::Membership, membership.encode()).index;
        let nodes = membership.nodes();
        self.push_config(index, membership);
        for (node, p) in &mut self.progress {
            // What it is itself may depend on it.
            p.awaits = index;
            p.leaving = if nodes.contains(node) { None } else { p.leaving.or(Some(now)) };
        }
        for node in nodes {
            if node != self.config.id {
                self.progress.entry(node).or_insert_with(|| Progress::new(index, now));
            }
        }
        index
    }

    /// Leaves a joint configuration once it is committed.
    pub(super) fn leave_joint(&mut self, now: Instant) {
        if self.role != Role::Leader || self.hard.commit < self.term_start {
            return;
        }
        let (at, current) = &self.configs[self.configs.len() - 1];
        if !current.is_joint() || *at > self.hard.commit {
            return;
        }
        if mutant(&self.config, Mutant::AutoLeaveLost) && *at < self.term_start {
            return;
        }
        let left = current.left();
        self.push_membership(now, left);
    }

    /// Forgets nodes that are out of the configuration, once they know it or have had time to.
    pub(super) fn forget_the_removed(&mut self, now: Instant) {
        let at = self.configs[self.configs.len() - 1].0;
        let patience = self.config.election_max;
        self.progress
            .retain(|_, p| p.leaving.is_none_or(|since| p.told < at && now.since(since) <= patience));
    }

    /// A leader that has no vote, or no state, leaves once that is committed, and the log that it was elected with, and asks a successor to
    /// campaign at once.
    pub(super) fn leave_the_lead(&mut self, now: Instant) {
        let (at, current) = &self.configs[self.configs.len() - 1];
        let settled = *at <= self.hard.commit && self.term_start <= self.hard.commit && !current.is_joint();
        let votes = current.is_voter(self.config.id);
        if settled && (!votes || self.leads_blindly()) {
            // Those who stay hear of the commitment first.
            self.tell_commit(now, true);
            let term = self.hard.term;
            let last = self.log.last().index;
            let next = self.best_successor();
            if let Some(to) = next.filter(|n| self.progress.get(n).is_some_and(|p| p.matched == last)) {
                self.lease_ends();
                self.post(to, Message::TimeoutNow { term });
            }
            let why = if votes { "has no state to lead with" } else { "has no vote in the group" };
            self.follow(now, term, None, why);
        }
    }

    pub(super) fn transfer_to(&mut self, now: Instant, to: NodeId) {
        if self.role != Role::Leader || to == self.config.id || !self.membership().voters.contains(&to) {
            return;
        }
        // No proposal is taken while a transfer is under way. So one to who has been silent is none, and to ask again prolongs nothing:
        // in a loop it would keep all writes out for as long as it runs.
        let silent = self.progress.get(&to).is_none_or(|p| now.since(p.heard) > self.config.election_max);
        if silent || self.transfer.is_some_and(|(other, until)| other == to && now < until) {
            return;
        }
        self.transfer = Some((to, now + self.config.election_max));
        self.finish_transfer(to);
    }

    pub(super) fn finish_transfer(&mut self, node: NodeId) {
        if self.role != Role::Leader || self.transfer.is_none_or(|(to, _)| to != node) {
            return;
        }
        if self.progress.get(&node).is_some_and(|p| p.matched == self.log.last().index) {
            let term = self.hard.term;
            self.lease_ends();
            self.post(node, Message::TimeoutNow { term });
        }
    }
}
