//! The nemesis: it kills, cuts power, pauses, cuts links, hands leaderships over, and mends.

use crate::plan::Run;
use crate::world::Script;
use quorate_base::NodeId;
use quorate_base::time::Duration;

/// The nemesis' steps from this number on mend.
const MENDS: u64 = 14;

impl Run {
    pub(crate) fn nemesis(&mut self) {
        if self.calm {
            return;
        }
        let longest = self.swarm.pause_max.as_nanos() as u64 / 1_000_000;
        let pause = Duration::from_millis(self.nemesis.between(50, longest));
        self.world.schedule(pause, Script::Nemesis);
        if self.world.knobs.lease_reads.is_some()
            && self.transfers.chance(1, 4)
            && let Some(leader) = self.world.leader()
        {
            self.world.hand_over(leader);
        }
        let nodes = self.world.nodes();
        let one = NodeId(self.nemesis.between(1, nodes));
        let step = self.nemesis.below(16);
        if step < MENDS && self.swarm.steps & 1 << step == 0 {
            return;
        }
        match step {
            0..=2 => {
                self.world.kill(one);
                self.flip(one);
            }
            3..=4 => {
                self.world.power_loss(one);
                self.flip(one);
            }
            5 => self.world.ids().for_each(|id| self.world.power_loss(id)),
            6 => self.world.ids().for_each(|id| self.world.kill(id)),
            7 => {
                let span = Duration::from_millis(self.nemesis.between(10, 4000));
                self.world.pause(one, span);
            }
            8 => self.isolate(one, true, true),
            9 => self.isolate(one, true, false),
            10 => self.isolate(one, false, true),
            11 => {
                let other = NodeId(self.nemesis.between(1, nodes));
                self.world.cut(one, other);
                self.world.cut(other, one);
                self.world.counts.add("links cut");
            }
            12 => {
                if let Some(leader) = self.world.leader() {
                    self.isolate(leader, true, true);
                }
            }
            13 => {
                if let Some(leader) = self.world.leader() {
                    self.world.power_loss(leader);
                }
            }
            MENDS.. => self.mend(),
        }
    }

    /// What happens to those who were just elected.
    pub(crate) fn harm_leader(&mut self, leader: NodeId) {
        if self.calm {
            return;
        }
        self.world.counts.add("new leaders harmed");
        match self.nemesis.below(4) {
            0 => self.world.kill(leader),
            1 => self.world.power_loss(leader),
            _ => {
                self.isolate(leader, true, true);
                let after = Duration::from_millis(self.nemesis.between(1, 2_000));
                self.world.schedule(after, Script::Rejoin(leader));
            }
        }
    }

    /// The links of a node are mended.
    pub(crate) fn rejoin(&mut self, node: NodeId) {
        self.world.cut.retain(|&(from, to)| from != node && to != node);
    }

    /// A stream of its own: without flips all else stays as it was.
    fn flip(&mut self, node: NodeId) {
        if self.swarm.flips && self.flips.chance(1, 2) {
            self.world.flip(node, false, &mut self.flips);
        }
    }

    fn isolate(&mut self, node: NodeId, out: bool, into: bool) {
        self.world.counts.add(if out && into { "isolations" } else { "one-way isolations" });
        for n in self.world.ids().filter(|&n| n != node) {
            if out {
                self.world.cut(node, n);
            }
            if into {
                self.world.cut(n, node);
            }
        }
    }

    fn mend(&mut self) {
        self.world.cut.clear();
        self.world.mend_disks();
        self.world.ids().for_each(|id| self.world.start(id));
    }
}
