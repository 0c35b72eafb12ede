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
        let waiting = self.owes()
            || self.raft.is_leader()
            || self.members.any_wait()
            || self.wants_alarm()
            || self.settling.any();
        let tick = (waiting || hub(&self.hub).wants_ticks()).then_some(self.tick_at);
        let compactor = self.compactor.as_ref().map(Compactor::deadline);
        [self.raft.deadline(), tick, self.lessor.deadline(), compactor].into_iter().flatten().min()
    }

    /// Whether somebody waits for the answer to a request that was taken.
    pub fn owes(&self) -> bool {
        self.pending.len() > 0 || self.reads.any() || self.large.len() > 0
    }

    /// The core, to look at.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// What is readable now.
    pub fn view(&self) -> &Arc<KvView> {
        &self.view
    }

    /// The header a reply would have now.
    pub fn head(&self) -> Head {
        Head {
            cluster: self.settings.cluster,
            member: self.settings.node.get(),
            revision: self.view.revision(),
            term: self.raft.term().get(),
        }
    }

    /// Since when no leader is known.
    pub fn leaderless_since(&self) -> Option<Instant> {
        self.leaderless_since
    }

    /// The waits that follow from the timing.
    pub fn patience(&self) -> Patience {
        self.patience
    }
}
