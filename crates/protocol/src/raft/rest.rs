//! Groups that rest: a thousand of them that nobody uses cost no messages and no ticks.
//!
//! A leader of a group with [`Config::rests`](super::Config::rests) that has had nothing to do for the longest election timeout
//! asks its followers to rest with it. Who holds exactly what the leader holds, committed to its end, agrees, and stops its
//! election timer; once all agree that can be reached, a majority with the leader among them, the leader stops its heartbeats.
//! Whatever happens to a replica then, be it a message, a proposal, a read or a connection that comes or goes, ends its own rest,
//! and a leader that is awake wakes the others by its heartbeats.
//!
//! That the leader still lives is no longer each group's affair but that of the two nodes: the lane sends one small word a peer and
//! interval for all the groups that rest under it, and tells the core [`Input::Silent`] where none came in time. So the
//! messages between two nodes are as many for a thousand idle groups as for one.
//!
//! A leader rests without a follower only while it knows that there is no connection to it: once there is one again it wakes. It must
//! not rest without one that is merely silent, since that one may be a leader of old that comes back, rests still, and would be told
//! by nobody that it leads no longer.
//!
//! # Safety
//!
//! Resting touches timers alone: no term, vote, log or commit index depends on it, and a replica that rests takes every message as
//! it would awake. A read is confirmed by a round as ever; a lease lapses, since no heartbeat renews it. So what a rest that should
//! not be could cost is time: a leader that is gone would be missed until somebody asks, or until the nodes miss each other.
//! That a follower awake cannot win against a leader that rests is stickiness, as it is for one that sends heartbeats: who rests
//! has its word that the leader lives from the lane, and says no, but is awake from then on.

use super::{Input, Message, Phase, Progress, Raft, Role};
use quorate_base::{Index, Instant, NodeId};
use std::collections::BTreeSet;

/// What a replica knows of its rest.
#[derive(Clone, Default, Debug)]
pub(super) struct Rest {
    pub(super) resting: bool,
    /// When it last had something to do.
    busy_at: Instant,
    /// Who of the followers rests, for all the leader knows.
    agreed: BTreeSet<NodeId>,
    /// To whom there is no connection.
    away: BTreeSet<NodeId>,
}

impl Raft {
    /// Whether it rests, and under whom: it may be itself.
    pub fn rests_under(&self) -> Option<NodeId> {
        self.leader.filter(|_| self.rest.resting)
    }

    /// Leader: whether a follower may be handed the leadership without much ado: it may lead, there is a connection to it, as far as
    /// a group that rests knows, and it holds all that is committed. Of a busy leader nobody ever holds everything, so that one which
    /// waited for that would lead for as long as there is load.
    pub fn is_ready(&self, peer: NodeId) -> bool {
        let fit = |p: &super::Progress| {
            let able = p.withholds.is_none() && p.asker.is_none() && p.leaving.is_none();
            able && matches!(p.phase, Phase::Replicate) && p.matched >= self.hard.commit
        };
        self.progress.get(&peer).is_some_and(fit) && !self.rest.away.contains(&peer)
    }

    /// Something comes in: most of it ends a rest.
    pub(super) fn stir(&mut self, now: Instant, input: &Input) {
        let concerns = |peer: &NodeId| match self.role {
            Role::Leader => self.progress.contains_key(peer),
            _ => self.leader == Some(*peer),
        };
        let stirs = match input {
            Input::Tick
            | Input::Written { .. }
            | Input::Applied { .. }
            | Input::Compact { .. }
            | Input::ChunkStored { .. } => false,
            Input::Message { message, .. } => !matches!(
                message,
                Message::Rest { .. }
                    | Message::Rested { .. }
                    | Message::HeartbeatResponse { .. }
                    | Message::Appended { .. }
            ),
            Input::Unreachable { peer } | Input::Reachable { peer } => concerns(peer),
            Input::Silent { peer } => self.leader == Some(*peer),
            _ => true,
        };
        match input {
            Input::Unreachable { peer } => drop(self.rest.away.insert(*peer)),
            Input::Reachable { peer } | Input::Message { from: peer, .. } => {
                self.rest.away.remove(peer);
            }
            _ => {}
        }
        if stirs {
            self.wake(now);
        }
    }

    /// See [`Input::Silent`]; it has woken up by now.
    pub(super) fn missed(&mut self, now: Instant, peer: NodeId) {
        if self.role != Role::Leader && self.leader == Some(peer) {
            self.leader_out_of_reach(now);
        }
    }

    fn wake(&mut self, now: Instant) {
        self.rest.busy_at = now;
        self.rest.agreed.clear();
        if !std::mem::take(&mut self.rest.resting) {
            return;
        }
        if self.role == Role::Leader {
            // It has asked nobody anything since: their silence says nothing.
            self.progress.values_mut().for_each(|progress| progress.heard = now);
            self.heartbeat_at = now;
        } else {
            self.leader_heard = Some(now);
            self.redraw_timeout(now);
        }
    }

    /// Leader: asks its followers to rest, if there is nothing to do and has not been for a while.
    pub(super) fn ask_to_rest(&mut self, now: Instant) {
        if !self.config.rests || now.since(self.rest.busy_at) < self.config.election_max || !self.is_quiet() {
            return;
        }
        let (term, upto) = (self.hard.term, self.log.last().index);
        if self.progress.is_empty() {
            self.rest.resting = true;
        }
        let peers: Vec<NodeId> = self.at_hand().map(|(node, _)| node).collect();
        for node in peers {
            self.post(node, Message::Rest { term, upto });
        }
    }

    /// Leader: a follower rests.
    pub(super) fn rested(&mut self, now: Instant, from: NodeId, upto: Index) {
        let Some(progress) = self.progress.get_mut(&from) else { return };
        progress.heard = now;
        // An answer that comes late is to another question.
        if now.since(self.rest.busy_at) < self.config.election_max || upto != self.log.last().index {
            return;
        }
        self.rest.agreed.insert(from);
        let (id, agreed) = (self.config.id, &self.rest.agreed);
        let enough = self.membership().is_quorum(|node| node == id || agreed.contains(&node));
        if enough && self.is_quiet() && self.at_hand().all(|(node, _)| agreed.contains(&node)) {
            self.rest.resting = true;
        }
    }

    /// Follower: the leader, which was heard just now, asks to rest.
    pub(super) fn rest_asked(&mut self, from: NodeId, upto: Index) {
        let (last, term) = (self.log.last().index, self.hard.term);
        let whole = !self.state_lost && self.withheld.is_none() && self.deaf.is_none();
        let settled = last == upto && self.agreed >= upto && self.hard.commit == upto;
        let busy = self.incoming.is_some() || self.installing.is_some() || self.reads.any();
        if whole && settled && !busy {
            self.rest.resting = true;
            self.post(from, Message::Rested { term, upto });
        }
    }

    /// The followers to which there is a connection, as far as a group that rests knows.
    pub(super) fn at_hand(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        self.progress.iter().map(|(&node, p)| (node, p)).filter(|(node, _)| !self.rest.away.contains(node))
    }

    /// Nothing is under way here, and all who can be reached hold what the leader holds, and know it to be committed.
    fn is_quiet(&self) -> bool {
        let last = self.log.last().index;
        let own = self.hard.commit == last && self.applied == last && self.hard.commit >= self.term_start;
        let nothing = self.transfer.is_none() && self.membership().outgoing.is_none() && !self.reads.any();
        let settled = self.at_hand().all(|(_, p)| {
            let replicates = matches!(p.phase, Phase::Replicate) && p.matched == last && p.told == last;
            replicates && p.withholds.is_none() && p.asker.is_none() && p.leaving.is_none()
        });
        own && nothing && settled && self.withheld.is_none()
    }
}
