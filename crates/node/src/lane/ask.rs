//! What one may ask a lane: where it stands, and when it wants to be driven.

use super::compactor::Compactor;
use super::{Lane, hub};
use crate::api::{Head, Patience};
use quorate_base::Instant;
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
        let all = [space.raft.deadline(), tick, space.lessor.deadline(), compactor, others];
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

    /// What of it is readable now.
    pub fn view(&self) -> &Arc<KvView> {
        &self.space.view
    }

    /// The header a reply would have now.
    pub fn head(&self) -> Head {
        self.space.head(&self.node)
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
