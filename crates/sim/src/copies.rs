//! Old copies of whole disks: one is kept now and then, and comes back later.
//!
//! Nothing on such a disk says that it is old: the node has forgotten terms, votes and entries that it had confirmed, does not know
//! it, and does not withhold. A group bears that only where nobody needs what is forgotten, and the *ledger* here says when that is
//! so, by what is durable where ([`World::bears_old_disk`]). What is beyond it no node could refuse, and no run does it.

use crate::place::Running;
use crate::plan::Run;
use crate::steps::Breaker;
use crate::world::{Script, World, place_of};
use quorate_base::time::Duration;
use quorate_base::{Index, NodeId};
use quorate_faulty::Image;
use quorate_protocol::raft::Role;

/// A copy of a node's disk.
pub(crate) struct Copy {
    image: Image,
    /// It holds the log up to here, if not further.
    upto: Index,
}

impl Run {
    /// A node goes down, and its disk is copied; or it comes up again with the copy in the place of its disk.
    pub(crate) fn copy_disks(&mut self, round: u64) {
        if self.calm || round != self.round {
            return;
        }
        let pause = Duration::from_millis(self.copies.between(200, 4000));
        self.world.schedule(pause, Script::Copies(round));
        let any = self.world.any(&mut self.copies);
        // A tail that nobody else has is what is most worth coming back later.
        let one = if self.copies.chance(1, 2) { self.world.longest_tail().unwrap_or(any) } else { any };
        let back = self.copies.chance(2, 3).then(|| self.world.ready_to_go_back(any)).flatten();
        let Some(name) = self.world.takes(Breaker::Copies) else { return };
        if let Some(node) = back {
            self.world.fault(|| format!("{name}: the disk of n{node} is put back to an old copy"));
            self.world.put_back(node);
        } else {
            self.world.fault(|| format!("{name}: n{one} is killed, and its disk copied, if it is whole"));
            self.world.copy_disk(one);
        }
    }
}

impl World {
    /// Who has most in its log that it does not know to be committed.
    fn longest_tail(&self) -> Option<NodeId> {
        let tail = |r: &Running| r.lane.raft().last().index.0 - r.lane.raft().commit().0;
        let running = self.places.iter().filter_map(|p| Some((tail(p.running.as_ref()?), p.id)));
        running.max().filter(|&(tail, _)| tail > 0).map(|(_, id)| id)
    }

    /// The node, or the next one, that has a copy and may be put back to it.
    fn ready_to_go_back(&mut self, from: NodeId) -> Option<NodeId> {
        if !self.bears_harm() {
            return None;
        }
        let (before, behind): (Vec<NodeId>, Vec<NodeId>) = self.ids().partition(|&id| id < from);
        behind.into_iter().chain(before).find(|&id| self.bears_old_disk(id))
    }

    /// Kills a node and copies its disk.
    fn copy_disk(&mut self, id: NodeId) {
        self.bears_harm();
        let place = &self.places[place_of(id)];
        let Some(running) = place.running.as_ref().filter(|_| !place.harmed) else { return };
        let upto = running.lane.raft().durable();
        self.kill(id);
        let place = &mut self.places[place_of(id)];
        place.copy = Some(Copy { image: place.disk.image(), upto });
        self.counts.add("disks copied");
    }

    /// Whether nobody needs what a node would forget:
    ///
    /// - Of its log: so many others have all of it on their disks that no majority can do without them.
    /// - Of its terms and votes: all others have its term on their disks, and nobody asks for votes of that term any more, so that
    ///   nobody ever asks again for a vote in one that it has voted in. (What was on its way to it and from it is lost with its
    ///   connections.)
    /// - No change of members is beyond its copy.
    fn bears_old_disk(&self, id: NodeId) -> bool {
        let place = &self.places[place_of(id)];
        let (Some(running), Some(copy)) = (&place.running, &place.copy) else { return false };
        // The ledger is of one group.
        if self.knobs.groups > 0 {
            return false;
        }
        let (own, members) = (running.lane.raft(), self.members());
        let (upto, term) = (own.durable(), own.term());
        let others = || members.voters.iter().filter(|&&voter| voter != id);
        let settled = |&voter: &NodeId| {
            let Some(there) = &self.places[place_of(voter)].running else { return false };
            let raft = there.lane.raft();
            let asks = raft.role() == Role::Candidate && raft.term() <= term;
            self.invariants.spoke(voter) >= term && !asks
        };
        let holds = |&voter: &NodeId| {
            let Some(there) = &self.places[place_of(voter)].running else { return false };
            let raft = there.lane.raft();
            let same = raft.base().index >= upto || raft.term_at(upto) == own.term_at(upto);
            raft.durable() >= upto && same
        };
        let voters = members.voters.len();
        let enough = voters - (voters / 2 + 1) + 1;
        members.contains(id)
            && own.configured_at().0 <= copy.upto
            && others().all(settled)
            && others().filter(|&voter| holds(voter)).count() >= enough
    }

    /// A node goes down, and comes up again with what it was.
    fn put_back(&mut self, id: NodeId) {
        let Some(upto) = self.places[place_of(id)].running.as_ref().map(|r| r.lane.raft().durable()) else {
            return;
        };
        self.kill(id);
        let now = self.now;
        let place = &mut self.places[place_of(id)];
        let Some(copy) = place.copy.take() else { return };
        place.disk.put_back(&copy.image);
        (place.harmed, place.forgot, place.lost_at) = (true, Some(upto), Some(now));
        self.counts.add("disks put back to old copies");
    }
}
