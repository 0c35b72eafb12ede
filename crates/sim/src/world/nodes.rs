//! Nodes that start, go down, stand still and go on, and the links between them.

use super::{Happening, World, place_of};
use crate::boot::Refusal;
use crate::invariants::Invariants;
use crate::trace::What;
use quorate_base::time::Duration;
use quorate_base::{NodeId, ShardId};
use quorate_node::lane::Event;
use quorate_protocol::raft;

impl World {
    /// Starts a node from its disk. A node whose disk is damaged beyond its own power stays down and says why.
    pub fn start(&mut self, id: NodeId) {
        let at = place_of(id);
        if self.places[at].running.is_some() || self.places[at].gone {
            return;
        }
        self.places[at].life += 1;
        self.places[at].removed = None;
        // It was the former process that was paused.
        (self.places[at].paused_until, self.places[at].still_until) = (None, None);
        self.places[at].role = None;
        match self.boot(at) {
            Ok(running) => {
                self.places[at].running = Some(Box::new(running));
                self.places[at].stopped_why = None;
                self.counts.add("starts");
                let life = self.places[at].life;
                self.note(|| What::Up { node: id, life });
                self.invariants.begins(at, &self.places);
                let over = |group: &mut Invariants| self.places[at].is_over(group.shard());
                let back: Vec<Invariants> = self.buried.extract_if(.., |group| !over(group)).collect();
                self.others.extend(back);
                let all = self.others.iter_mut().chain(&mut self.buried);
                all.for_each(|group| group.begins(at, &self.places));
                let raft = self.places[at].running.as_ref().map(|r| r.lane.raft());
                self.places[at].withholds = raft.filter(|raft| raft.withholds()).map(raft::Raft::term);
                for peer in self.ids().filter(|&peer| peer != id) {
                    self.deliver(id, Event::PeerUp(peer));
                    // Groups that rest without one that is gone wait for its connection.
                    if self.knobs.groups > 0 {
                        self.deliver(peer, Event::PeerUp(id));
                    }
                }
                self.settle(at);
            }
            Err(Refusal { why, broken }) => {
                self.counts.add("refused to start");
                if broken {
                    self.invariants.refuses(id, &why);
                }
                self.note(|| What::Down { node: id, why: format!("refuses to start: {why}") });
                self.places[at].stopped_why = Some(why);
            }
        }
    }

    /// Kills a node's process: what was written stays, flushed or not.
    pub fn kill(&mut self, id: NodeId) {
        let at = place_of(id);
        if self.places[at].running.take().is_some() {
            self.places[at].life += 1;
            self.places[at].queued.clear();
            self.counts.add("kills");
            self.note(|| What::Down { node: id, why: "killed".into() });
            self.tell_down(id);
            self.come_back(id);
        }
    }

    /// Cuts a node's power: what was not flushed is lost, torn, reordered or kept, as the disk pleases.
    pub fn power_loss(&mut self, id: NodeId) {
        let at = place_of(id);
        if self.places[at].running.take().is_some() {
            self.places[at].life += 1;
            self.places[at].queued.clear();
            self.places[at].disk.power_loss();
            self.counts.add("power losses");
            self.note(|| What::Down { node: id, why: "lost its power".into() });
            self.tell_down(id);
            self.come_back(id);
        }
    }

    /// Tells a node to hand its leadership over, if it has it.
    pub fn hand_over(&mut self, id: NodeId) {
        self.counts.add("leaderships to be handed over");
        self.deliver(id, Event::HandOver);
        self.settle(place_of(id));
    }

    /// Stops a node's process for a while; what arrives meanwhile waits.
    pub fn pause(&mut self, id: NodeId, span: Duration) {
        let at = place_of(id);
        if self.places[at].running.is_some() {
            self.places[at].paused_until = Some(self.now + span);
            self.counts.add("pauses");
            let life = self.places[at].life;
            self.push(self.now + span, Happening::Tick { node: id, life });
        }
    }

    /// Cuts one direction of a link.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    /// Mends all links, ends pauses and random loss.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.faults_on = false;
        self.set_clocks_right();
        for at in 0..self.places.len() {
            (self.places[at].paused_until, self.places[at].still_until) = (None, None);
            self.places[at].disk.heal();
        }
    }

    /// A node that stood still goes on. What waited for it outside, in its sockets, comes bit by bit, and it may do much before it hears
    /// of what has happened meanwhile.
    pub(super) fn goes_on(&mut self, at: usize) {
        if !self.faults_on || self.waking.chance(1, 3) {
            return;
        }
        let span = 1_000_000 * *self.waking.pick(&[1, 20, 200]);
        let place = &mut self.places[at];
        let (node, life) = (place.id, place.life);
        let (outside, own): (Vec<Event>, Vec<Event>) = std::mem::take(&mut place.queued)
            .into_iter()
            .partition(|event| matches!(event, Event::Packet { .. } | Event::Call { .. }));
        place.queued = own;
        self.counts.add("nodes that heard little by little what they had missed");
        let each = span / (outside.len() as u64).max(1);
        for (event, number) in outside.into_iter().zip(1..) {
            let after = Duration::from_nanos(each * number);
            self.push(self.now + after, Happening::Waited { node, life, event: Box::new(event) });
        }
    }

    /// A node knows of other shards than before.
    pub(super) fn follow_map(&mut self, at: usize) {
        let Some(running) = self.places[at].running.as_ref() else { return };
        let over = |shard| self.places.iter().all(|place| place.is_over(shard));
        let gone: Vec<Invariants> = self.others.extract_if(.., |group| over(group.shard())).collect();
        self.buried.extend(gone);
        let map = running.lane.placement();
        let all = self.others.iter_mut().chain(&mut self.buried);
        all.filter(|group| map.was_dropped(group.shard())).for_each(Invariants::deleted);
        let known = |shard| self.others.iter().chain(&self.buried).any(|group| group.shard() == shard);
        let placed = map.blocks().flat_map(|block| block.shards());
        let new: Vec<ShardId> = placed.filter(|shard| !known(*shard)).collect();
        self.others.extend(new.into_iter().map(Invariants::of));
    }
}
