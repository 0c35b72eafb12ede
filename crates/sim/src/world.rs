//! The simulated world: virtual time, one queue of events, a network and disks that misbehave, nodes that die.
//!
//! A node here is the node as it ships: the same lane, journal, applier and machine. Only the driver differs: where the
//! server has threads and sockets, this has a heap of `(time, sequence)`. Everything random comes from streams of one seed,
//! one stream a purpose, so that switching one kind of fault off leaves the others in place.
//!
//! The simulated clock is the only true one. Where leases are on, which rest on clocks, each node's own runs fast or slow by as much as
//! they allow for; a node that is paused finds that time has passed.

mod effects;
mod nodes;
mod script;

pub use script::Script;

use crate::coverage;
use crate::digest::Digest;
use crate::harmless::Harmless;
use crate::invariants::Invariants;
use crate::knobs::{Counts, Knobs};
use crate::moves::Moves;
use crate::place::{Place, truly};
use crate::steps::Steps;
use crate::trace::{Fate, Trace, What, in_words};
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId, Rng, ShardId};
use quorate_node::api::{Failure, Request, WatchStream};
use quorate_node::lane::{Event, Reading};
use quorate_node::watch::{CatchUp, Hub};
use quorate_protocol::raft;
use quorate_state::kv::KvView;
use quorate_state::table::Placement;
use quorate_wire::peer::{Frame, Packet};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::{Arc, Mutex};

/// The key-value space's shard.
pub(crate) const KV: ShardId = ShardId(1);
pub(crate) const CLUSTER: u64 = 0x0051_5545;

/// What can happen.
enum Happening {
    Packet {
        from: NodeId,
        to: NodeId,
        sent: Instant,
        body: Bytes,
    },
    /// What waited for a node that stood still.
    Waited {
        node: NodeId,
        life: u64,
        event: Box<Event>,
    },
    Tick {
        node: NodeId,
        life: u64,
    },
    Flushed {
        node: NodeId,
        life: u64,
    },
    Apply {
        node: NodeId,
        life: u64,
    },
    Sealed {
        node: NodeId,
        life: u64,
    },
    Read {
        node: NodeId,
        life: u64,
        reading: Box<Reading>,
    },
    CatchUp {
        node: NodeId,
        life: u64,
        catch_up: Box<CatchUp>,
    },
    Run(Script),
}

struct Timed {
    at: Instant,
    seq: u64,
    what: Happening,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// The world.
pub struct World {
    /// The knobs of this run.
    pub knobs: Knobs,
    /// What fired.
    pub counts: Counts,
    /// Now.
    pub now: Instant,
    pub(crate) seed: u64,
    pub(crate) places: Vec<Place>,
    /// The nodes that are there: not those that were removed and have stopped.
    pub(crate) present: Vec<NodeId>,
    heap: BinaryHeap<Reverse<Timed>>,
    seq: u64,
    net: Rng,
    timing: Rng,
    reading: Rng,
    sweeping: Rng,
    waking: Rng,
    /// Nodes whose watches want history read.
    pub(crate) bells: Arc<Mutex<BTreeSet<NodeId>>>,
    pub(crate) seeds: Rng,
    pub(crate) swarm: Rng,
    /// Directed links that are cut.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    pub(crate) faults_on: bool,
    /// Of the key-value space's group.
    pub(crate) invariants: Invariants,
    /// Of all others.
    pub(crate) others: Vec<Invariants>,
    /// Of those that were deleted with their table, as all know who are up. They are others again once one comes back that does not.
    buried: Vec<Invariants>,
    /// What came of replicas that move.
    moves: Moves,
    /// The places of nodes in which something happened since the last look.
    touched: Vec<usize>,
    /// Which steps of those that break things are taken.
    pub(crate) steps: Steps,
    /// What happened, if anybody wants to know.
    pub(crate) trace: Option<Trace>,
    /// The digest of all events so far.
    pub digest: Digest,
    /// How many events so far.
    pub events: u64,
}

impl World {
    /// A world of `knobs.nodes` new nodes, none started.
    pub fn new(seed: u64, knobs: Knobs) -> Self {
        let drift = u64::from(knobs.lease_reads.unwrap_or(0));
        let ids = || (1..=knobs.nodes).map(NodeId);
        let founders = raft::Membership::of_voters(ids());
        let offset = knobs.offsets.unwrap_or(0);
        let new = |id| Place::new(seed, id, founders.clone(), drift).with_wall(seed, offset);
        let places: Vec<Place> = ids().map(new).collect();
        Self {
            counts: Counts::default(),
            now: Instant(1_000_000),
            seed,
            places,
            present: ids().collect(),
            heap: BinaryHeap::new(),
            seq: 0,
            net: Rng::stream(seed, "net"),
            timing: Rng::stream(seed, "timing"),
            reading: Rng::stream(seed, "reading"),
            sweeping: Rng::stream(seed, "sweeping"),
            waking: Rng::stream(seed, "nodes that go on"),
            bells: Arc::default(),
            seeds: Rng::stream(seed, "lives"),
            swarm: Rng::stream(seed, "swarm in the world"),
            cut: BTreeSet::new(),
            faults_on: true,
            invariants: Invariants::of(KV),
            others: others(knobs.groups).map(Invariants::of).collect(),
            buried: Vec::new(),
            moves: Moves::default(),
            touched: Vec::new(),
            steps: Steps::default(),
            trace: None,
            digest: Digest::default(),
            events: 0,
            knobs,
        }
    }

    // ---- what plans do ----

    /// Schedules a step of the plan.
    pub fn schedule(&mut self, after: Duration, script: Script) {
        self.push(self.now + after, Happening::Run(script));
    }

    /// Asks a node something of the key-value space.
    pub fn call(&mut self, id: NodeId, request: Request, done: quorate_node::api::Done) {
        self.call_of(KV, id, request, done);
    }

    /// The shards beside the key-value space's that there are, or were.
    pub(crate) fn other_shards(&self) -> impl Iterator<Item = ShardId> {
        self.others.iter().map(Invariants::shard)
    }

    /// How many groups beside that of the key-value space a node leads, by its own belief.
    pub fn leads_others(&self, id: NodeId) -> usize {
        let Some(running) = &self.places[place_of(id)].running else { return 0 };
        let leads = |shard| running.lane.core(shard).is_some_and(raft::Raft::is_leader);
        others(self.knobs.groups).filter(|shard| leads(*shard)).count()
    }

    /// Asks a node something of a shard.
    pub(crate) fn call_of(
        &mut self,
        shard: ShardId,
        id: NodeId,
        request: Request,
        done: quorate_node::api::Done,
    ) {
        if self.places[place_of(id)].running.is_none() {
            return done(Err(Failure::Stopping));
        }
        self.deliver(id, Event::Call { shard, request, wait: Some(Duration::from_secs(3)).into(), done });
        self.settle(place_of(id));
    }

    /// The watches of a node that is up.
    pub fn hub(&self, id: NodeId) -> Option<Arc<Mutex<Hub>>> {
        self.places[place_of(id)].running.as_ref().map(|r| r.hub.clone())
    }

    /// A watch stream at a node that is up, with the node's life: it ends with that.
    pub(crate) fn watch(&self, id: NodeId) -> Option<(u64, Box<dyn WatchStream>)> {
        let place = &self.places[place_of(id)];
        let running = place.running.as_ref()?;
        Some((place.life, Hub::open_stream(&running.hub, Box::new(|| {}))))
    }

    /// What is readable at a node that is up.
    pub(crate) fn view(&self, id: NodeId) -> Option<&KvView> {
        self.places[place_of(id)].running.as_ref().map(|r| &**r.lane.view())
    }

    /// Whether a node is up and knows where a shard is.
    pub(crate) fn has(&self, id: NodeId, shard: ShardId) -> bool {
        let placed = || self.placement_at(id).is_some_and(|placement| placement.block_of(shard).is_some());
        self.places[place_of(id)].core(shard).is_some() || placed()
    }

    /// Whether a node is up and has, or is to have, a replica of a shard.
    pub(crate) fn hosts(&self, id: NodeId, shard: ShardId) -> bool {
        let home = self.placement_at(id).and_then(|placement| placement.home(shard));
        shard == KV || home.is_some_and(|home| home.hosts(id))
    }

    /// Where tables lie, as a node knows it that is up.
    pub(crate) fn placement_at(&self, id: NodeId) -> Option<Arc<Placement>> {
        Some(self.places[place_of(id)].running.as_ref()?.lane.placement().clone())
    }

    /// Whether a node is up.
    pub(crate) fn is_up(&self, id: NodeId) -> bool {
        self.places[place_of(id)].running.is_some()
    }

    /// Whether a node still lives that life.
    pub(crate) fn lives(&self, id: NodeId, life: u64) -> bool {
        let place = &self.places[place_of(id)];
        place.running.is_some() && place.life == life
    }

    /// The node that leads, by its own belief in the highest term.
    pub fn leader(&self) -> Option<NodeId> {
        self.places
            .iter()
            .filter_map(|p| p.running.as_ref().map(|r| (p.id, r)))
            .filter(|(_, r)| r.lane.raft().is_leader())
            .max_by_key(|(_, r)| r.lane.raft().term())
            .map(|(id, _)| id)
    }

    /// Whether a node believes that it leads.
    pub(crate) fn leads(&self, id: NodeId) -> bool {
        self.places[place_of(id)].running.as_ref().is_some_and(|r| r.lane.raft().is_leader())
    }

    /// One of those that believe that they lead.
    pub(crate) fn any_leader(&self, rng: &mut Rng) -> Option<NodeId> {
        let leads = |p: &&Place| p.running.as_ref().is_some_and(|r| r.lane.raft().is_leader());
        let leaders: Vec<NodeId> = self.places.iter().filter(leads).map(|p| p.id).collect();
        (!leaders.is_empty()).then(|| *rng.pick(&leaders))
    }

    // ---- the loop ----

    /// Runs one event; gives the plan's step if it was one. `Err` names a broken invariant.
    pub fn step(&mut self) -> Result<Option<Script>, String> {
        self.answer_bells();
        let Some(Reverse(timed)) = self.heap.pop() else { return Err("nothing is left to happen".into()) };
        self.now = self.now.max(timed.at);
        self.events += 1;
        let script = self.happen(timed.what);
        self.look();
        Ok(script)
    }

    /// Looks at every node in which something happened. Called after each step.
    pub fn check(&mut self) -> Result<(), String> {
        for at in 0..self.touched.len() {
            self.check_hybrid(self.touched[at])?;
        }
        let (places, touched) = (&self.places, &self.touched);
        self.invariants.check(places, touched)?;
        self.others.iter_mut().try_for_each(|group| group.check(places, touched))?;
        self.touched.clear();
        Ok(())
    }

    /// Something happens in a node.
    fn touch(&mut self, at: usize) {
        if !self.touched.contains(&at) {
            self.touched.push(at);
        }
    }

    fn happen(&mut self, what: Happening) -> Option<Script> {
        match what {
            Happening::Run(script) => return Some(script),
            Happening::Packet { from, to, sent, body } => {
                self.digest.feed(self.now, to, 1, &body);
                let fate = self.fate(from, to, sent);
                self.note(|| What::Message { from, to, sent, fate, text: in_words(&body) });
                if fate == Fate::Arrived {
                    self.deliver(to, Event::Packet { from, body });
                    self.settle(place_of(to));
                }
            }
            Happening::Waited { node, life, event } => {
                if self.lives(node, life) {
                    self.digest.feed(self.now, node, 9, &[]);
                    self.deliver(node, *event);
                    self.settle(place_of(node));
                }
            }
            Happening::Tick { node, life } => {
                let at = place_of(node);
                if self.places[at].life == life {
                    self.digest.feed(self.now, node, 2, &[]);
                    self.settle(at);
                }
            }
            Happening::Flushed { node, life } => self.alive(node, life, 3, Self::flushed),
            Happening::Apply { node, life } => self.alive(node, life, 4, Self::apply),
            Happening::Sealed { node, life } => self.alive(node, life, 5, Self::sealed),
            Happening::Read { node, life, reading } => {
                self.read(node, life, 7, || Event::Read(reading.run(&|_| ())));
            }
            Happening::CatchUp { node, life, catch_up } => {
                self.read(node, life, 8, || Event::Caught(catch_up.read()));
            }
        }
        None
    }

    /// What becomes of a packet that gets there.
    fn fate(&mut self, from: NodeId, to: NodeId, sent: Instant) -> Fate {
        if self.cut.contains(&(from, to)) {
            self.counts.add("packets cut");
            Fate::Cut
        } else if self.places[place_of(from)].lost_at.is_some_and(|at| sent <= at)
            || self.places[place_of(to)].put_back_after(sent)
        {
            self.counts.add("packets of lost disks");
            Fate::Unheard
        } else if self.welcomes(to, from) && self.places[place_of(to)].running.is_some() {
            Fate::Arrived
        } else {
            Fate::Unheard
        }
    }

    fn alive(&mut self, node: NodeId, life: u64, kind: u8, then: fn(&mut Self, usize)) {
        let at = place_of(node);
        if self.places[at].life == life && self.places[at].running.is_some() {
            self.digest.feed(self.now, node, kind, &[]);
            then(self, at);
        }
    }

    /// A reader is through. What it reads is what its view was, whenever it reads.
    fn read(&mut self, node: NodeId, life: u64, kind: u8, read: impl FnOnce() -> Event) {
        if self.lives(node, life) {
            self.digest.feed(self.now, node, kind, &[]);
            self.deliver(node, read());
            self.settle(place_of(node));
        }
    }

    fn answer_bells(&mut self) {
        let rung = match self.bells.lock() {
            Ok(bells) if bells.is_empty() => return,
            Ok(mut bells) => std::mem::take(&mut *bells),
            Err(_) => return,
        };
        for node in rung {
            self.settle(place_of(node));
        }
    }

    /// A disk failed: a node that obeys stops and says why.
    fn break_down(&mut self, at: usize, why: String) {
        let id = self.places[at].id;
        self.places[at].running = None;
        self.places[at].queued.clear();
        self.places[at].life += 1;
        self.note(|| What::Down { node: id, why: why.clone() });
        self.places[at].stopped_why = Some(why);
        self.counts.add("stopped by its disk");
        self.tell_down(id);
    }

    pub(crate) fn deliver(&mut self, to: NodeId, event: Event) {
        let at = place_of(to);
        if self.places[at].running.is_some() {
            self.places[at].queued.push(event);
        }
    }

    /// Hands the lane all that came, drains it and carries its effects out.
    pub(crate) fn settle(&mut self, at: usize) {
        self.touch(at);
        let place = &mut self.places[at];
        let (id, life) = (place.id, place.life);
        if place.paused_until.is_some_and(|until| until > self.now) {
            return;
        }
        if place.paused_until.take().is_some() {
            self.goes_on(at);
        }
        let place = &mut self.places[at];
        let (now, wall, rate) = (place.local(self.now), place.wall(self.now), place.rate);
        let twice = self.knobs.planted.is_some_and(|planted| planted.is(Harmless::DrainTwice));
        let Some(r) = place.running.as_mut() else { return };
        r.lane.shows(now, wall);
        for event in place.queued.drain(..) {
            r.lane.handle(now, event);
        }
        r.lane.handle(now, Event::Tick);
        r.lane.drain(now, &mut r.effects);
        if twice {
            r.lane.handle(now, Event::Tick);
            r.lane.drain(now, &mut r.effects);
        }
        if self.moves.look(id, r, &mut self.counts) {
            self.follow_map(at);
        }
        let place = &mut self.places[at];
        let Some(r) = place.running.as_mut() else { return };
        let tally = r.lane.tally();
        let decided = tally.committed > 0;
        for (what, times) in [
            ("transactions over shards committed", tally.committed),
            ("transactions over shards cancelled", tally.cancelled),
            ("transactions over shards in doubt", tally.unknown),
            ("transactions over shards recovered", tally.recovered),
            ("reads that met transactions", tally.met),
        ] {
            self.counts.times(what, times);
        }
        if decided && self.gateway_goes(id) {
            return;
        }
        let place = &mut self.places[at];
        let Some(r) = place.running.as_mut() else { return };
        if let Some(bound) = r.effects.clock.take() {
            place.bound = bound;
            place.queued.push(Event::ClockNoted(bound));
        }
        let voted = r.effects.journal.iter().any(|append| append.hard.is_some());
        let removed = r.lane.roster().was_removed(id);
        place.withholds = place.withholds.filter(|_| r.lane.raft().withholds());
        if place.disk_lost && !r.lane.disk_lost() {
            place.disk_lost = false;
            self.counts.add("lost disks healed");
        }
        r.to_write.append(&mut r.effects.journal);
        r.work.extend(r.effects.work.drain(..));
        let packets = std::mem::take(&mut r.effects.packets);
        let exports = std::mem::take(&mut r.effects.exports);
        let roles = std::mem::take(&mut r.effects.roles);
        let malformed = r.effects.malformed.pop();
        let broken = r.effects.broken.take();
        let next = r.lane.deadline().map(|at| truly(at, rate));
        let retick =
            next.is_some() && (r.tick_at.is_none() || next < r.tick_at || r.tick_at <= Some(self.now));
        if retick {
            r.tick_at = next;
        }
        if let (true, Some(tick)) = (retick, next) {
            self.push(tick.max(self.now + Duration::from_nanos(1)), Happening::Tick { node: id, life });
        }
        for (shard, change) in roles {
            if shard != KV {
                let won = change.became_leader();
                self.counts.add(if won {
                    "elections won in other groups"
                } else {
                    "role changes in other groups"
                });
                continue;
            }
            let before = self.places[at].role.replace(change.role).unwrap_or(raft::Role::Follower);
            if let Some(name) = coverage::transition(before, change.role) {
                self.counts.add(name);
            }
            self.counts.add(if change.became_leader() { "elections won" } else { "role changes" });
            if change.became_leader() {
                self.envy(id);
            }
        }
        if let Some(from) = malformed {
            return self.break_down(at, format!("a packet of {from:?} is malformed"));
        }
        if let Some(broken) = broken {
            return self.break_down(at, broken.why);
        }
        if self.changed(Harmless::DiskFirst) {
            self.start_flush(at);
        }
        for (to, body) in packets {
            self.send(id, to, &body);
        }
        if self.retire(at, removed) {
            return;
        }
        self.start_flush(at);
        if self.power_goes(id, voted) {
            return self.power_loss(id);
        }
        self.start_apply(at);
        self.start_reads(at);
        let mut read = false;
        for export in exports {
            self.counts.add("snapshot chunks");
            self.deliver(id, Event::Exported(export.read()));
            read = true;
        }
        if read {
            self.settle(at);
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, body: &Bytes) {
        let counts = &mut self.counts;
        for group in &mut self.others {
            group.hear(from, to, body, counts);
        }
        if self.invariants.hear(from, to, body, &mut self.counts) {
            self.spite(from);
        }
        if to.get() > self.nodes() {
            // Added, and not there yet.
            return;
        }
        if self.cut.contains(&(from, to)) {
            self.counts.add("packets cut");
            let sent = self.now;
            self.note(|| What::Message { from, to, sent, fate: Fate::Cut, text: in_words(body) });
            return;
        }
        if self.faults_on && self.net.chance(self.knobs.drop, 1000) {
            self.counts.add("packets lost");
            let sent = self.now;
            self.note(|| What::Message { from, to, sent, fate: Fate::Lost, text: in_words(body) });
            return;
        }
        if self.faults_on && self.net.chance(self.knobs.duplicate, 1000) {
            self.counts.add("packets doubled");
            self.fly(from, to, raft_alone(body));
        }
        self.fly(from, to, body.clone());
    }

    fn fly(&mut self, from: NodeId, to: NodeId, body: Bytes) {
        let span = self.net.below(self.knobs.delay_max.as_nanos() as u64);
        let late =
            if self.faults_on && self.knobs.late && self.net.chance(1, 200) { span * 50 } else { span };
        let after = Duration::from_nanos(20_000 + late);
        self.push(self.now + after, Happening::Packet { from, to, sent: self.now, body });
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(10_000 + self.timing.below(most.as_nanos() as u64))
    }

    /// Lets a node look at the time then.
    pub(crate) fn wake(&mut self, node: NodeId, after: Duration) {
        let life = self.places[place_of(node)].life;
        self.push(self.now + after, Happening::Tick { node, life });
    }

    fn push(&mut self, at: Instant, what: Happening) {
        self.seq += 1;
        self.heap.push(Reverse(Timed { at, seq: self.seq, what }));
    }
}

/// The shards that there are beside the key-value space.
pub(crate) fn others(groups: u32) -> impl Iterator<Item = ShardId> {
    (2..2 + groups).map(ShardId)
}

/// Nodes are numbered from 1, their places from 0.
pub(crate) fn place_of(id: NodeId) -> usize {
    id.get() as usize - 1
}

/// What of a packet may come twice. A connection doubles nothing, and dies with what it holds: that is why a forwarded write
/// is proposed at most once. The core bears messages that come twice all the same, and must be seen to.
fn raft_alone(body: &Bytes) -> Bytes {
    let mut packet = Packet::default();
    for frame in Packet::read(body.clone()).filter_map(Result::ok) {
        if matches!(frame, Frame::Raft { .. }) {
            packet.push(&frame);
        }
    }
    packet.finish()
}
