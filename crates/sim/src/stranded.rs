//! Moves of replicas whose target is then silent for so long, or leaves, that they are called off.
//!
//! Whoever is to get a replica is cut off from all, and again as often as its links are mended, until the others give it up; other
//! targets are left to whoever removes members (`plan/churn.rs`). A move that is called off leaves nothing behind: who was to go has
//! the shard, and who was to come lets go of what it has once it hears of that.

use crate::plan::Run;
use crate::steps::Breaker;
use crate::world::{Script, World};
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId};

/// What else breaks has who leads change, and whoever leads waits anew for those who are silent: so in most rounds in which nodes are
/// stranded nothing else does, and while one is stranded members neither come nor go.
pub(crate) const ALONE: (u64, u64) = (2, 3);

/// So many of the longest election timeouts it takes until a silent node is given up, and some more.
const SILENT: u32 = 13;

/// A node that is kept apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stranded {
    node: NodeId,
    until: Instant,
}

impl Run {
    /// Looks for a node to strand, or keeps the one apart that is.
    pub(crate) fn strand(&mut self, round: u64) {
        if self.calm || round != self.round {
            return;
        }
        self.world.schedule(Duration::from_millis(100), Script::Strand(round));
        match self.stranded {
            Some(Stranded { node, until }) if self.world.now < until => self.part(node),
            Some(Stranded { node, .. }) => {
                self.rejoin(node);
                self.stranded = None;
            }
            None => {
                let Some(node) = self.world.moved_to() else { return };
                if !self.strands.chance(1, 3) {
                    return;
                }
                let Some(name) = self.world.takes(Breaker::Moves) else { return };
                let span = SILENT * self.world.knobs.election_max;
                self.world
                    .fault(|| format!("{name}: n{node}, which is to get a replica, is cut off for {span:?}"));
                self.world.counts.add("nodes left alone with what moves to them");
                self.stranded = Some(Stranded { node, until: self.world.now + span });
                self.part(node);
            }
        }
    }

    fn part(&mut self, node: NodeId) {
        for other in self.world.ids().filter(|&other| other != node) {
            self.world.cut(node, other);
            self.world.cut(other, node);
        }
    }
}

impl World {
    /// A node that is to get a replica that it has not had, as the leader knows.
    pub(crate) fn moved_to(&self) -> Option<NodeId> {
        let placement = self.placement_at(self.leader()?)?;
        let mut moving = placement.homes().filter(|(_, home)| home.moving);
        moving.find_map(|(_, home)| home.wanted().difference(&home.before()).next().copied())
    }
}
