//! What one may ask a lane: where it stands, and when it wants to be driven.

use super::compactor::Compactor;
use super::{Group, Lane, hub};
use crate::api::{Head, Patience};
use quorate_base::{Instant, ShardId};
use quorate_protocol::Core;
use quorate_protocol::raft::Raft;
use quorate_state::kv::KvView;
use std::sync::Arc;

impl Lane {
    /// When this lane next wants a tick, if nothing else arrives first.
    pub fn deadline(&self) -> Option<Instant> {
        let (space, node) = (&self.space, &self.node);
        let waiting = self.waits();
        let tick = (waiting || hub(&self.hub).wants_ticks()).then_some(node.tick_at);
        let compactor = space.compactor.as_ref().map(Compactor::deadline);
        let others = self.due.first().map(|&(at, _)| at);
        let resting = self.resting.deadline();
        let tend = self.tend_deadline();
        let transactions = self.transactions.deadline();
        let closing = self.node.times.deadline();
        let all = [
            space.raft.deadline(),
            tick,
            space.lessor.deadline(),
            compactor,
            others,
            resting,
            tend,
            transactions,
            closing,
        ];
        all.into_iter().flatten().min()
    }

    fn waits(&self) -> bool {
        let (space, node) = (&self.space, &self.node);
        let asked = self.owes() || space.members.any_wait() || node.settling.any();
        asked || space.raft.is_leader() || space.wants_alarm(node)
    }

    /// Whether anybody is served by hearing at once of entries that were applied and that others asked for; if not, the next turn of
    /// the lane is early enough.
    pub fn awaits_applied(&self) -> bool {
        self.waits() || hub(&self.hub).any_stream()
    }

    /// Whether somebody waits for the answer to a request that was taken.
    pub fn owes(&self) -> bool {
        self.node.owes() || self.space.reads.any()
    }

    /// The core of the key-value space, to look at.
    pub fn raft(&self) -> &Raft {
        &self.space.raft
    }

    /// The core of the group of a shard, if that is here.
    pub fn core(&self, shard: ShardId) -> Option<&Raft> {
        if shard == self.space.shard { Some(&self.space.raft) } else { Some(&self.groups.get(&shard)?.raft) }
    }

    /// What of a shard is readable now, if it is here.
    pub fn view_of(&self, shard: ShardId) -> Option<&Arc<KvView>> {
        if shard == self.space.shard { Some(&self.space.view) } else { Some(&self.groups.get(&shard)?.view) }
    }

    /// Whether no group may have forgotten anything, or has lost its state. (Nor will one that is still to begin here.)
    pub fn is_whole(&self) -> bool {
        let mut all = self.groups.values().map(AsRef::as_ref).chain([&self.space]);
        self.has_begun_all() && all.all(|group| !group.raft.withholds() && !group.raft.state_lost())
    }

    /// Whether a group has not healed yet after its disk was lost, or one is still to begin that may have been on it.
    pub fn disk_lost(&self) -> bool {
        let lost = |group: &Group| group.raft.disk_lost();
        self.placed.lost.has_disk() || lost(&self.space) || self.groups.values().any(|group| lost(group))
    }

    /// How many groups rest.
    pub fn resting(&self) -> usize {
        self.resting.len()
    }

    /// What of it is readable now.
    pub fn view(&self) -> &Arc<KvView> {
        &self.space.view
    }

    /// The header a reply would have now.
    pub fn head(&self) -> Head {
        self.space.head(&self.node)
    }

    /// Whether clients are told that this node is a learner.
    pub fn only_learns(&self) -> bool {
        self.space.only_learns(&self.node)
    }

    /// Since when no leader is known.
    pub fn leaderless_since(&self) -> Option<Instant> {
        self.space.leaderless_since
    }

    /// The waits that follow from the timing.
    pub fn patience(&self) -> Patience {
        self.node.patience
    }
}
