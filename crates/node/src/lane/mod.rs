//! A lane: the loop's body that drives protocol cores, as a pure value.
//!
//! The driver hands in [`Event`]s as they come, then calls [`Lane::drain`] once for all of them and carries out the
//! [`Effects`]: one journal write a shard, one packet a peer, one batch to the applier. That is where the batching of the
//! whole node comes from. A lane knows no clock, no socket and no thread; the simulator drives the same code.
//!
//! The way of a write through here: [`Event::Call`] -> encoded once -> parked -> proposed to the own core, or forwarded
//! to the leader's -> journal and peers -> committed -> [`Effects::work`] -> [`Event::Output`] -> its callback.
//!
//! A [`Group`] is what the lane keeps of one shard: its core, and all that waits for it. What the groups share, packets and
//! limits and requests on their way among it, is the [`Node`]. The group of the key-value space is always there, and always
//! looked at: the members of the cluster, leases and watches are its. Of the others a drain looks at those alone that something
//! has happened to, or that are due: a group that rests costs nothing.

mod ask;
mod away;
mod broken;
mod closed;
mod commit;
mod compactor;
mod doubts;
mod effects;
mod event;
mod explain;
mod exports;
mod fill;
mod flushes;
mod group;
mod large;
mod led;
mod members;
mod mover;
mod node;
mod outlook;
mod pace;
mod packets;
mod pending;
mod placement;
mod reads;
mod resting;
mod room;
mod service;
mod settle;
mod unsaid;

use crate::api::{Failure, Head, Member};
use crate::applier::{Cut, Output};
use crate::watch::Hub;
pub use broken::Broken;
use bytes::Bytes;
pub use closed::{EVERY as CLOSES_EVERY, Missed, Mutant as ClosedMutant, Stand, fenced};
pub use commit::Tally;
use commit::Transactions;
pub use compactor::AutoCompaction;
pub use doubts::Doubts;
pub use effects::{Effects, Seal};
pub use event::Event;
pub use exports::{Export, Exported};
pub(crate) use group::Group;
pub use large::{AT_ONCE, Found, Reading};
pub use members::{Roster, RosterVersion};
use node::Node;
pub use outlook::Outlook;
use placement::Placed;
pub(crate) use placement::{followed_at, let_go};
use quorate_base::time::Duration;
use quorate_base::{Durable, Instant, NodeId, Rng, ShardId};
use quorate_protocol::Core;
use quorate_protocol::raft::{self, Input, Raft};
use quorate_state::kv::KvView;
use quorate_wire::command;
use quorate_wire::kv::Refused;
use quorate_wire::peer::{Declined, Frame, Packet};
use quorate_wire::table::Refusal;
use resting::Resting;
pub use room::Upkeep;
pub use settle::Defragmented;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// The largest encoded command the log takes: the largest request that etcd's door may be told to take, 10 MiB, as another encodes it. (A
/// transaction of tables with all that it may have is smaller: 4 MiB of items and the expressions and values of its conditions.)
pub const COMMAND_MAX: usize = 11 << 20;
/// A packet that has grown to this size takes no more frames. (Its last frame may make it larger: the largest holds a
/// command, or a chunk of a snapshot.)
pub const PACKET_BYTES: usize = 4 << 20;
/// How many requests may wait on one node.
const WAITING_MAX: usize = 200_000;
/// How many bytes of commands may wait on one node.
const WAITING_BYTES_MAX: usize = 256 << 20;
/// How often a lane wants to look at its clocks while requests or leases wait.
const TICK: Duration = Duration::from_millis(100);

/// So many of the longest election timeouts a node may be silent under whose leadership groups rest.
const PATIENCE: u32 = 3;

/// What a lane is told at its start.
pub struct Settings {
    /// The cluster's id.
    pub cluster: u64,
    /// This node.
    pub node: NodeId,
    /// The timing of the cores, and who they are; the shard is that of the key-value space.
    pub raft: raft::Config,
    /// The members' names and addresses, for member lists.
    pub members: Vec<Member>,
    /// What a read may cost that the lane answers itself: [`AT_ONCE`], but for those who test.
    pub at_once: usize,
    /// In which zone it says it is; empty for none.
    pub zone: String,
    /// What the node does unasked.
    pub upkeep: Upkeep,
}

/// The groups of a node, and what they share.
pub struct Lane {
    node: Node,
    /// The group of the key-value space.
    space: Group,
    /// All others, each in a place of its own: among a thousand, one is found by what is at hand of the map.
    groups: BTreeMap<ShardId, Box<Group>>,
    /// Those of the others that something has happened to since the last drain.
    touched: BTreeSet<ShardId>,
    /// When those of the others that wait for a time are due; each of them stands here once, as [`Group::due`] says.
    due: BTreeSet<(Instant, ShardId)>,
    resting: Resting,
    placed: Placed,
    transactions: Transactions,
    hub: Arc<Mutex<Hub>>,
}

impl Lane {
    /// A lane over a core that was booted from the journal, and the view of the machine as it was opened.
    ///
    /// `rng` makes request numbers unique over restarts: a command of an earlier life in the log must not answer a request
    /// of this one.
    pub fn new(
        settings: Settings,
        raft: Raft,
        view: Arc<KvView>,
        hub: Arc<Mutex<Hub>>,
        rng: &mut Rng,
        now: Instant,
    ) -> Self {
        let (shard, auto) = (settings.raft.shard, settings.upkeep.auto_compaction);
        let resting = Resting::new(settings.raft.heartbeat, PATIENCE * settings.raft.election_max);
        let node = Node::new(settings, rng, now);
        let mut space = Group::new(&node, shard, raft, view, now);
        space.watched(hub.clone(), auto, now);
        space.renew_roster(&node);
        let (groups, touched, due) = Default::default();
        let placed = Placed::new(rng.fork("groups"), now);
        let transactions = Transactions::new(rng.fork("transactions"), node.patience.election, now);
        Self { node, space, groups, touched, due, resting, placed, transactions, hub }
    }

    /// Adds the group of another shard, as it was booted.
    pub fn add(&mut self, shard: ShardId, raft: Raft, view: Arc<KvView>, now: Instant) {
        assert!(shard != self.space.shard, "the group of the key-value space is there");
        let group = Box::new(Group::new(&self.node, shard, raft, view, now));
        let former = self.groups.insert(shard, group);
        assert!(former.is_none(), "the group of shard {shard:?} is there");
        self.touched.insert(shard);
        self.node.share_logs(1 + self.groups.len());
    }

    /// A group that something happens to, with what it shares with the others.
    fn at(&mut self, shard: ShardId) -> Option<(&mut Group, &mut Node)> {
        if shard == self.space.shard {
            return Some((&mut self.space, &mut self.node));
        }
        let group = self.groups.get_mut(&shard)?;
        self.touched.insert(shard);
        Some((group, &mut self.node))
    }

    /// A shard is asked for that this node has no group of: it is dropped, or not made here yet. Nothing was done, and who asked
    /// by another map may find it.
    fn not_here(&self) -> Failure {
        Failure::Refused(Refused::Table(Refusal::StaleEpoch), self.head())
    }

    /// Does something to every group.
    fn each(&mut self, mut with: impl FnMut(&mut Group, &mut Node)) {
        with(&mut self.space, &mut self.node);
        for (&shard, group) in &mut self.groups {
            self.touched.insert(shard);
            with(group, &mut self.node);
        }
    }

    // ---- in ----

    /// Takes one event; any number may come before the next drain.
    pub fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Packet { from, body } => self.packet(now, from, body),
            Event::PeerUp(peer) => {
                self.sees(now, peer, true);
                self.each(|group, _| group.raft.handle(now, Input::Reachable { peer }));
            }
            Event::PeerDown(peer) => {
                self.sees(now, peer, false);
                self.each(|group, _| group.raft.handle(now, Input::Unreachable { peer }));
            }
            Event::Call { shard, request, wait, done } => {
                self.transactions.hold_back_no_more();
                let Some((request, done)) = self.call_across(now, request, wait.timeout, done) else {
                    return;
                };
                self.call_shard(now, shard, request, wait, done);
            }
            Event::Journaled(proofs) => self.journaled(now, &proofs),
            Event::Output(output) => self.output(now, output),
            Event::Checkpointed(cut) => self.checkpointed(now, cut),
            Event::Exported(chunk) => {
                if let Some((group, node)) = self.at(chunk.shard()) {
                    group.exported(node, now, chunk);
                }
            }
            Event::Read(found) => self.found(now, found),
            Event::Caught(caught) => hub(&self.hub).caught_up(caught),
            Event::Room { short } => self.node.room.disk_short = short,
            Event::Backup { opened } => opened(self.space.backup(&mut self.node)),
            Event::Defragmented(defragmented) => {
                self.space.defragmented(&mut self.node, now, defragmented);
            }
            Event::ClockNoted(bound) => self.node.times.hybrid.may(bound),
            Event::Tick => {}
            Event::HandOver => self.each(|group, _| group.hand_over(now)),
            Event::Stop => self.stop(),
            Event::Broken(broken) => self.node.broken = Some(broken),
        }
    }

    fn packet(&mut self, now: Instant, from: NodeId, body: Bytes) {
        self.resting.heard(now, from);
        self.sees(now, from, true);
        let mut last = None;
        for frame in Packet::read(body) {
            // The checksum held, so the sender speaks otherwise than this release: nothing sensible is left to do with the rest,
            // but somebody should hear of it.
            let Ok(frame) = frame else {
                self.node.malformed.push(from);
                break;
            };
            let shard = self.frame(now, from, frame);
            // What came of the frames of one shard is looked at once for those that follow each other.
            if let Some(before) = last.replace(shard).filter(|&before| before != shard) {
                self.note_acks(now, before, from);
            }
        }
        if let Some(shard) = last {
            self.note_acks(now, shard, from);
        }
    }

    fn note_acks(&mut self, now: Instant, shard: ShardId, who: NodeId) {
        if let Some((group, node)) = self.at(shard) {
            group.note_acks(node, now, who);
        }
    }

    /// Hands a frame to the group that it is for, which may not be here. Whose it was.
    fn frame(&mut self, now: Instant, from: NodeId, frame: Frame) -> ShardId {
        match &frame {
            // Its sender would not have taken it from a client either.
            Frame::Forward { data, .. } if data.len() > COMMAND_MAX => {
                self.node.malformed.push(from);
                return self.space.shard;
            }
            // In the log it would stop every node of this release.
            Frame::Forward { request, data, .. } if command::is_newer(data) => {
                let why = Declined::Unknown;
                self.node.send(from, &Frame::Refused { request: *request, why });
                return self.space.shard;
            }
            _ => {}
        }
        let shard = match &frame {
            Frame::Raft { shard, .. }
            | Frame::Forward { shard, .. }
            | Frame::Lease { shard, .. }
            | Frame::Pause { shard, .. }
            | Frame::Members { shard, .. } => *shard,
            Frame::Committed { request, .. }
            | Frame::LeaseAnswer { request, .. }
            | Frame::Refused { request, .. }
            | Frame::MembersRefused { request, .. } => {
                // An answer that nobody waits for any more is nobody's.
                self.node.pending.shard(*request).unwrap_or(self.space.shard)
            }
            Frame::Alive => return self.space.shard,
            Frame::Close(close) => {
                self.close_heard(from, close.clone());
                return self.space.shard;
            }
            Frame::Follows(follows) => {
                self.follows_heard(now, from, follows.clone());
                return self.space.shard;
            }
            Frame::Flush { took } => {
                self.node.flushes.told(now, from, *took);
                return self.space.shard;
            }
            Frame::Ask { shard, request, patience, body } => {
                self.asked(now, from, (*shard, *request, *patience), body);
                return *shard;
            }
            Frame::Told { request, body } => {
                self.told(now, from, *request, body.clone());
                return self.space.shard;
            }
        };
        if let Some((group, node)) = self.at(shard) {
            group.frame(node, now, from, frame);
        }
        shard
    }

    fn journaled(&mut self, now: Instant, proofs: &[Durable]) {
        let me = self.node.settings.node;
        self.node.flushes.durable(now, proofs);
        for proof in proofs {
            if let Some((group, node)) = self.at(proof.shard()) {
                group.journaled(node, now, proof);
                group.note_acks(node, now, me);
            }
        }
    }

    fn output(&mut self, now: Instant, output: Output) {
        match output {
            Output::Applied(applied) => {
                if let Some((group, node)) = self.at(applied.shard) {
                    group.applied(node, now, applied);
                }
            }
            Output::Imported { shard, base, seq, view } => {
                if let Some((group, _)) = self.at(shard) {
                    group.renew(view);
                    let snapshot = base.into();
                    group.raft.handle(now, Input::ChunkStored { snapshot, seq });
                }
            }
            Output::ImportFailed { shard, base, reason: _ } => {
                if let Some((group, _)) = self.at(shard) {
                    let snapshot = base.into();
                    group.raft.handle(now, Input::InstallFailed { snapshot });
                }
            }
            // The driver takes these two itself.
            Output::Sealed { .. } | Output::Upkept { .. } => {}
            Output::Renewed(views) => self.renew(views),
            Output::Settled { numbers, swept, views } => {
                self.renew(views);
                // The newest versions lie in the history, too, until their changes are swept.
                let (all, live) = self.space.view.sizes();
                let bytes = u64::try_from(all.saturating_add(live)).unwrap_or(0);
                self.space.swept(&mut self.node, now, numbers, swept.then_some(bytes));
            }
        }
    }

    fn renew(&mut self, views: Vec<(ShardId, Arc<KvView>)>) {
        for (shard, view) in views {
            if let Some((group, _)) = self.at(shard) {
                group.renew(view);
            }
        }
    }

    fn checkpointed(&mut self, now: Instant, cut: Cut) {
        self.opened(now, &cut);
        self.recorded(&cut);
        for (shard, view) in cut.installed {
            let base = cut.bases.iter().find(|(of, _)| *of == shard).map(|(_, base)| base.clone());
            if let (Some(base), Some((group, node))) = (base, self.at(shard)) {
                node.pending.doubt(shard);
                group.installed(now, base, view);
            }
        }
    }

    /// A reader is through with a read.
    fn found(&mut self, now: Instant, found: Found) {
        match self.node.large.came_back(found.number) {
            Some(asked) => {
                if let Some((group, node)) = self.at(asked.shard) {
                    group.explain(node, now, asked.trace, false);
                }
                let result = self.node.read_result(asked.head, found.result);
                self.node.answer_read(asked.shard, found.request, asked.until.index, asked.done, result);
            }
            // Nobody waits for it, and still the node must hear of a disk that fails.
            None => drop(self.node.read_result(Head::default(), found.result)),
        }
    }

    fn stop(&mut self) {
        self.node.stopping = true;
        let mut waiting = self.node.drain_all();
        waiting.append(&mut self.transactions.drain_all());
        self.each(|group, _| waiting.append(&mut group.drain_all()));
        for done in waiting {
            done(Err(Failure::Stopping));
        }
        hub(&self.hub).stop();
    }

    // ---- out ----

    /// Hands out everything that gathered.
    pub fn drain(&mut self, now: Instant, out: &mut Effects) {
        if self.node.clockwork(now) {
            hub(&self.hub).tick(now);
            // Who goes back and forth between nodes tries it again.
            self.touched.extend(self.node.pending.parked_of());
            self.tend_away(now);
        }
        self.look_at_the_resting(now);
        self.tend_groups(now);
        self.tend_transactions(now);
        self.node.settled = self.are_groups_settled();
        self.space.drain(&mut self.node, now, out);
        self.follow_placement(out);
        self.heal_doubts(out);
        self.drain_others(now, out);
        self.tend_transactions_again(now, out);
        self.tend_closed(now);
        out.clock = self.node.times.bound_wanted().or(out.clock);
        self.node.flushes.handed(now, &out.journal);
        self.node.drain(out);
        let mut hub = hub(&self.hub);
        out.catch_ups.append(&mut hub.take_wanted());
        if let Some(error) = hub.take_damage() {
            self.node.broken = Some(Broken::state("reading for a watch", &error));
        }
        drop(hub);
        out.broken = self.node.broken.take().or(out.broken.take());
    }

    /// See [`resting`].
    fn look_at_the_resting(&mut self, now: Instant) {
        let me = self.node.settings.node;
        let Some((says, missed)) = self.resting.look(now, me) else { return };
        if says {
            let peers = self.space.raft.membership().nodes();
            peers.into_iter().filter(|&peer| peer != me).for_each(|peer| self.node.send(peer, &Frame::Alive));
        }
        for (peer, shard) in missed {
            if let Some((group, _)) = self.at(shard) {
                group.raft.handle(now, Input::Silent { peer });
            }
        }
    }

    fn drain_others(&mut self, now: Instant, out: &mut Effects) {
        while let Some(&(at, shard)) = self.due.first().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, shard));
            self.touched.insert(shard);
            if let Some(group) = self.groups.get_mut(&shard) {
                group.due = None;
            }
        }
        // In their order, so that one seed always makes one run.
        for shard in std::mem::take(&mut self.touched) {
            let Some(group) = self.groups.get_mut(&shard) else { continue };
            group.drain(&mut self.node, now, out);
            self.node.times.stirs(shard);
            let under = group.raft.rests_under();
            if group.rests_under != under {
                let before = std::mem::replace(&mut group.rests_under, under);
                self.resting.moves(now, shard, before, under);
            }
            let due = group.deadline(&self.node);
            if group.due != due {
                self.due.extend(due.map(|at| (at, shard)));
                if let Some(at) = std::mem::replace(&mut group.due, due) {
                    self.due.remove(&(at, shard));
                }
            }
        }
    }
}

fn hub(hub: &Mutex<Hub>) -> std::sync::MutexGuard<'_, Hub> {
    hub.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
