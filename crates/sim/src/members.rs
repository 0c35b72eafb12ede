//! Members in the simulated world: places for those that are added, and what nodes do that are removed.
//!
//! As on real nodes, a packet is taken from whom the receiver knows for a peer, or from one that knows better than the
//! receiver that it is a member; one that was removed is told so instead, and stops a little later, never to come back.

use crate::invariants::Invariants;
use crate::place::Place;
use crate::trace::What;
use crate::world::{World, place_of};
use quorate_base::time::Duration;
use quorate_base::{NodeId, Rng};
use quorate_node::api::Member;
use quorate_node::lane::Event;
use quorate_protocol::raft::Membership;
use quorate_wire::members::Book;
use std::collections::BTreeSet;

/// How long a node that was removed goes on.
const REMOVED_PATIENCE: Duration = Duration::from_millis(300);

/// What a node says of itself.
pub(crate) fn url(id: u64) -> String {
    format!("http://h:{id}")
}

impl World {
    /// How many nodes there are or were.
    pub fn nodes(&self) -> u64 {
        self.places.len() as u64
    }

    /// The nodes that are there, up or down.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        self.present.clone().into_iter()
    }

    /// One of them.
    pub(crate) fn any(&self, rng: &mut Rng) -> NodeId {
        *rng.pick(&self.present)
    }

    /// Somebody came or went for good.
    fn count_present(&mut self) {
        self.present = self.places.iter().filter(|place| !place.gone).map(|place| place.id).collect();
    }

    /// Who the members are: the newest configuration that any node has known to be committed.
    pub(crate) fn members(&self) -> &Membership {
        self.invariants.newest_members().unwrap_or(&self.places[0].founders)
    }

    /// A place for each member that has none yet: new nodes, which are not started. Gives their ids.
    pub(crate) fn make_places(&mut self) -> Vec<NodeId> {
        let members = self.members().clone();
        let mut made = Vec::new();
        while let Some(last) = members.nodes().last().copied().filter(|last| last.get() > self.nodes()) {
            let id = NodeId(self.nodes() + 1);
            let drift = u64::from(self.knobs.lease_reads.unwrap_or(0));
            let offset = self.knobs.offsets.unwrap_or(0);
            let place = Place::new(self.seed, id, joined_by(&members, id), drift);
            let mut place = place.with_wall(self.seed, offset);
            // One that came and went unseen never runs.
            place.gone = !members.contains(id);
            if !place.gone {
                made.push(id);
            }
            self.places.push(place);
            debug_assert!(id <= last);
        }
        self.count_present();
        made
    }

    /// Whether disks may lie: fewer than three voters do not bear it, in whichever group.
    pub(crate) fn bears_lies(&self) -> bool {
        let bears = |members: &Membership| members.voters.len() >= 3 && !members.is_joint();
        // What is deleted is as it was when it went.
        let placed = |group: &&Invariants| {
            let mut maps = self.leader().and_then(|id| self.placement_at(id)).into_iter();
            maps.all(|map| map.block_of(group.shard()).is_some())
        };
        let others = || self.others.iter().filter(placed).filter_map(|group| self.members_of(group));
        !self.knobs.members || (bears(self.members()) && others().all(|members| bears(&members)))
    }

    /// The newest configuration that any node has known to be committed in a group beside that of the key-value space; none where the
    /// group was not made yet.
    fn members_of(&self, group: &Invariants) -> Option<Membership> {
        let founders = || {
            let mut lanes = self.places.iter().filter_map(|place| Some(&place.running.as_ref()?.lane));
            let home = lanes.find_map(|lane| lane.placement().home(group.shard()))?;
            Some(Membership::of_voters(home.before()))
        };
        group.newest_members().cloned().or_else(founders)
    }

    /// The members that a node's settings name.
    pub(crate) fn settings_of(&self, at: usize) -> Vec<Member> {
        let place = &self.places[at];
        if !self.knobs.members {
            return place
                .founders
                .nodes()
                .iter()
                .map(|id| Member { id: id.get(), ..Member::default() })
                .collect();
        }
        let named = |id: &NodeId| Member {
            id: id.get(),
            name: format!("n{id}"),
            peer_urls: vec![url(id.get())],
            client_urls: vec![format!("http://c:{id}")],
            learner: false,
        };
        place.founders.nodes().iter().map(named).collect()
    }

    /// In which zone a node says it is in this life: now and then in another than before.
    pub(crate) fn zone_of(&self, at: usize) -> String {
        let zones = if self.knobs.groups > 0 { self.knobs.zones } else { 0 };
        if zones == 0 {
            return String::new();
        }
        let place = &self.places[at];
        let mut own = Rng::stream(self.seed ^ (place.id.get() << 32), "zones");
        let first = own.below(zones);
        let moved = (1..place.life).fold(first, |zone, _| if own.chance(1, 12) { zone + 1 } else { zone });
        format!("z{}", moved % zones)
    }

    /// Whether `to` takes what `from` sends; see the page.
    pub(crate) fn welcomes(&mut self, to: NodeId, from: NodeId) -> bool {
        let roster = |id: NodeId| self.places[place_of(id)].running.as_ref().map(|r| r.lane.roster());
        // What a node had sent before it died came over a connection that was greeted.
        let (Some(host), Some(guest)) = (roster(to), roster(from)) else { return true };
        if host.peers.contains_key(&from) {
            return true;
        }
        if host.was_removed(from) {
            if !self.cut.contains(&(to, from)) {
                self.counts.add("removed nodes told so");
                self.tell_removed(from);
            }
            return false;
        }
        let known = from > host.used && guest.member_at > host.at;
        if !known {
            self.counts.add("packets of strangers");
        }
        known
    }

    /// A node without a connection dials its peers, whether it has something to say or not: who was removed hears of it.
    pub(crate) fn dial(&mut self) {
        for id in self.ids() {
            let Some(running) = self.places[place_of(id)].running.as_ref() else { continue };
            let there = |peer: &NodeId| *peer != id && peer.get() <= self.nodes();
            let peers: Vec<NodeId> = running.lane.roster().peers.keys().copied().filter(there).collect();
            for peer in peers {
                if !self.cut.contains(&(id, peer)) {
                    self.welcomes(peer, id);
                }
            }
        }
    }

    /// The others' connections to a node end.
    pub(crate) fn tell_down(&mut self, id: NodeId) {
        for peer in self.ids().filter(|&peer| peer != id) {
            self.deliver(peer, Event::PeerDown(id));
        }
    }

    fn tell_removed(&mut self, id: NodeId) {
        let place = &mut self.places[place_of(id)];
        if place.removed.is_none() {
            place.removed = Some(self.now);
            self.wake(id, REMOVED_PATIENCE);
        }
    }

    /// A node that knows that it was removed stops after a while; true if it has.
    pub(crate) fn retire(&mut self, at: usize, knows: bool) -> bool {
        let id = self.places[at].id;
        if knows {
            self.tell_removed(id);
        }
        let place = &mut self.places[at];
        if place.removed.is_none_or(|since| self.now.since(since) < REMOVED_PATIENCE) {
            return false;
        }
        place.running = None;
        place.life += 1;
        place.queued.clear();
        place.gone = true;
        self.count_present();
        self.note(|| What::Down { node: id, why: "was removed".into() });
        self.counts.add("removed nodes that stopped");
        self.tell_down(id);
        true
    }
}

/// The members as who asks is told of them: one that joins is a voter.
pub(crate) fn told(members: &Membership) -> Membership {
    let joins = |n: NodeId| Book::of(members).members.get(&n).is_some_and(|info| info.joins);
    let (voters, learners): (BTreeSet<NodeId>, BTreeSet<NodeId>) =
        members.nodes().into_iter().partition(|&n| members.is_voter(n) || joins(n));
    Membership { voters, learners, ..Membership::default() }
}

/// The configuration with which a node begins that joins: the members that it was told, and itself without a vote.
fn joined_by(members: &Membership, id: NodeId) -> Membership {
    let mut joined = told(members);
    joined.voters.remove(&id);
    joined.learners.insert(id);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knobs::Knobs;
    use quorate_node::api::{Done, Request};
    use quorate_wire::members::Change;

    fn until(world: &mut World, holds: impl Fn(&World) -> bool) {
        let end = world.now + Duration::from_secs(30);
        while !holds(world) {
            assert!(world.now < end, "not within 30 s");
            world.step().and_then(|_| world.check()).expect("a sound world");
            world.make_places();
        }
    }

    fn ask(world: &mut World, change: Change) {
        let leader = world.leader().expect("a leader");
        let done: Done = Box::new(|answer| drop(answer.expect("a change")));
        world.call(leader, Request::ChangeMembers(change), done);
    }

    /// Claim: a node that starts says by which place of its log it is a member, though it does not know that to be committed. (One
    /// that could not was a stranger to a member with a damaged state, which needed its help.)
    #[test]
    fn who_starts_names_its_place_in_the_log() {
        let knobs = Knobs { nodes: 3, drop: 0, duplicate: 0, members: true, ..Knobs::draw(4) };
        let mut world = World::new(4, Knobs { seal_bytes: 1 << 30, log_keep_bytes: 1 << 30, ..knobs });
        world.ids().for_each(|id| world.start(id));
        until(&mut world, |world| world.leader().is_some());
        ask(&mut world, Change::Add { peer_urls: vec![url(9)], learner: false });
        until(&mut world, |world| world.nodes() == 4);
        let (new, raft) = (NodeId(4), |world: &World| {
            world.places[3].running.as_ref().map(|r| (r.lane.raft().configured_at(), r.lane.raft().durable()))
        });
        world.start(new);
        until(&mut world, |world| world.members().voters.contains(&new));
        ask(&mut world, Change::Update { id: new, peer_urls: vec![url(10)] });
        // It has the change on its disk, and has not heard that it is committed.
        let known =
            |world: &World| raft(world).is_some_and(|((at, sure), durable)| at > sure && durable >= at);
        until(&mut world, known);
        let ((at, _), _) = raft(&world).expect("a node");
        world.kill(new);
        world.ids().for_each(|peer| world.cut(peer, new));
        world.start(new);
        let roster = world.places[3].running.as_ref().map(|r| r.lane.roster().clone()).expect("a node");
        assert!(roster.at < at, "it knows {at} to be committed");
        assert_eq!(roster.member_at, at);
    }
}
