//! The nemesis: it kills, cuts power, pauses, cuts links, hands leaderships over, and mends.

use crate::plan::Run;
use crate::world::Script;
use quorate_base::NodeId;
use quorate_base::time::Duration;

impl Run {
    pub(crate) fn nemesis(&mut self) {
        if self.calm {
            return;
        }
        let pause = Duration::from_millis(self.nemesis.between(50, 2500));
        self.world.schedule(pause, Script::Nemesis);
        if self.world.knobs.lease_reads.is_some()
            && self.transfers.chance(1, 4)
            && let Some(leader) = self.world.leader()
        {
            self.world.hand_over(leader);
        }
        let nodes = self.world.nodes();
        let one = NodeId(self.nemesis.between(1, nodes));
        match self.nemesis.below(16) {
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
            _ => self.mend(),
        }
    }

    /// A stream of its own: without flips all else stays as it was.
    fn flip(&mut self, node: NodeId) {
        if self.flips.chance(1, 2) {
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
