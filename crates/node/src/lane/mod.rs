//! A lane: the loop's body that drives protocol cores, as a pure value.
//!
//! The driver hands in [`Event`]s as they come, then calls [`Lane::drain`] once for all of them and carries out the
//! [`Effects`]: one journal write a shard, one packet a peer, one batch to the applier. That is where the batching of the
//! whole node comes from. A lane knows no clock, no socket and no thread; the simulator drives the same code.
//!
//! The way of a write through here: [`Event::Call`] -> encoded once -> parked -> proposed to the own core, or forwarded
//! to the leader's -> journal and peers -> committed -> [`Effects::work`] -> [`Event::Output`] -> its callback.

mod ask;
mod broken;
mod compactor;
mod effects;
mod event;
mod explain;
mod exports;
mod fill;
mod large;
mod members;
mod packets;
mod pending;
mod reads;
mod room;
mod service;
mod settle;

use crate::api::{Failure, Member, Patience};
use crate::applier::{Applied, Output, Work};
use crate::lessor::{Lessor, Wish, least_lease};
use crate::watch::Hub;
pub use broken::Broken;
use bytes::Bytes;
pub use compactor::AutoCompaction;
use compactor::Compactor;
pub use effects::{Effects, Seal};
pub use event::Event;
use explain::{Asker, Commits};
use exports::Exports;
pub use exports::{Export, Exported};
use large::Large;
pub use large::{AT_ONCE, Found, Reading};
use members::Members;
pub use members::Roster;
use packets::Packets;
use pending::{Pending, Want};
use quorate_base::time::Duration;
use quorate_base::{Base, Durable, Held, Instant, NodeId, Rng, ShardId, Term};
use quorate_protocol::Core;
use quorate_protocol::raft::{
    self, Input, Message, Outbox, Phase, ProposalId, Raft, ReadId, Refusal, RoleChange, SnapshotMeta,
};
use quorate_state::kv::{KvView, LeaseChange};
use quorate_wire::command;
use quorate_wire::kv::{Command, Grant, LeaseId};
use quorate_wire::peer::{Declined, Frame, LeaseAsk, Packet};
use reads::{Read, Reads};
use room::Room;
pub use room::Upkeep;
pub use settle::Defragmented;
use settle::Settling;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

/// The largest encoded command the log takes.
pub const COMMAND_MAX: usize = 2 << 20;
/// A packet that has grown to this size takes no more frames. (Its last frame may make it larger: the largest holds a
/// command, or a chunk of a snapshot.)
pub const PACKET_BYTES: usize = 4 << 20;
/// How many requests may wait on one node.
const WAITING_MAX: usize = 200_000;
/// How many bytes of commands may wait on one node.
const WAITING_BYTES_MAX: usize = 256 << 20;
/// How often a lane wants to look at its clocks while requests or leases wait.
const TICK: Duration = Duration::from_millis(100);

/// What a lane is told at its start.
pub struct Settings {
    /// The cluster's id.
    pub cluster: u64,
    /// This node.
    pub node: NodeId,
    /// The timing of the cores, and who they are.
    pub raft: raft::Config,
    /// The members' names and addresses, for member lists.
    pub members: Vec<Member>,
    /// What a read may cost that the lane answers itself: [`AT_ONCE`], but for those who test.
    pub at_once: usize,
    /// What the node does unasked.
    pub upkeep: Upkeep,
}

/// Who made a proposal, until the core has said what became of it.
enum Proposer {
    Here(u64),
    Peer(NodeId, u64),
    Lessor(Wish),
    /// Nobody waits.
    Nobody,
}

/// One lane with the key-value space's group.
pub struct Lane {
    shard: ShardId,
    settings: Settings,
    patience: Patience,
    raft: Raft,
    outbox: Outbox,
    /// Messages that wait for the journal, in the order of their writes.
    held: VecDeque<Held<(NodeId, Message)>>,
    pending: Pending,
    reads: Reads,
    large: Large,
    /// What reads of more than one key may still cost before the next drain.
    at_once: usize,
    proposing: BTreeMap<u64, Proposer>,
    commits: Commits,
    members: Members,
    next_proposal: u64,
    next_request: u64,
    exports: Exports,
    lessor: Lessor,
    /// Keep-alives that wait for what the log says about their lease: who asks, and the asker's number for it.
    renewals: BTreeMap<LeaseId, Vec<(NodeId, u64)>>,
    hub: Arc<Mutex<Hub>>,
    view: Arc<KvView>,
    packets: Packets,
    malformed: Vec<NodeId>,
    leader: Option<NodeId>,
    leaderless_since: Option<Instant>,
    last_applied_term: Term,
    tick_at: Instant,
    room: Room,
    settling: Settling,
    leader_changes: u64,
    failed: u64,
    compactor: Option<Compactor>,
    /// What was asked last of an index that is to be filled.
    filling: fill::Asked,
    /// Snapshots that somebody saves.
    backups: Vec<Weak<()>>,
    /// A leader that was believed in refused: what is parked waits for the next tick or for news, or it would go back and
    /// forth at the network's speed (found by the simulator, seed 7).
    holding: bool,
    stopping: bool,
    broken: Option<Broken>,
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
        let (election, auto) = (settings.raft.election_max, settings.upkeep.auto_compaction);
        let mut lessor = Lessor::default();
        lessor.reset(now, view.leases());
        let mut lane = Self {
            shard: settings.raft.shard,
            patience: Patience {
                request: Duration::from_secs(5) + 2 * election,
                election,
                least_lease: least_lease(settings.raft.election_min),
            },
            at_once: settings.at_once * large::AT_ONCE_READS,
            settings,
            outbox: Outbox::default(),
            held: VecDeque::new(),
            pending: Pending::default(),
            reads: Reads::default(),
            large: Large::default(),
            proposing: BTreeMap::new(),
            commits: Commits::default(),
            members: Members::default(),
            next_proposal: 0,
            next_request: rng.next_u64() >> 1,
            exports: Exports::default(),
            lessor,
            renewals: BTreeMap::new(),
            hub,
            view,
            packets: Packets::default(),
            malformed: Vec::new(),
            leader: raft.leader(),
            leaderless_since: Some(now),
            last_applied_term: Term(0),
            tick_at: now,
            room: Room::default(),
            settling: Settling::default(),
            leader_changes: 0,
            failed: 0,
            compactor: auto.map(|mode| Compactor::new(mode, now)),
            filling: None,
            backups: Vec::new(),
            holding: false,
            stopping: false,
            broken: None,
            raft,
        };
        lane.renew_roster();
        lane
    }

    // ---- in ----

    /// Takes one event; any number may come before the next drain.
    pub fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Packet { from, body } => self.packet(now, from, body),
            Event::PeerUp(peer) => self.raft.handle(now, Input::Reachable { peer }),
            Event::PeerDown(peer) => self.raft.handle(now, Input::Unreachable { peer }),
            Event::Call { request, timeout, done } => self.call(now, request, timeout, done),
            Event::Journaled(proofs) => self.journaled(now, &proofs),
            Event::Output(output) => self.output(now, output),
            Event::Checkpointed { base, installed } => self.checkpointed(now, base, installed),
            Event::Exported(chunk) => {
                if let Some(error) = chunk.damage() {
                    self.broken = Some(Broken::state("reading a snapshot", error));
                }
                if let Some(input) = self.exports.read(chunk) {
                    self.raft.handle(now, input);
                }
            }
            Event::Read(found) => self.found(now, found),
            Event::Caught(caught) => hub(&self.hub).caught_up(caught),
            Event::Room { short } => self.room.disk_short = short,
            Event::Backup { opened } => opened(self.backup()),
            Event::Defragmented(defragmented) => self.defragmented(now, defragmented),
            Event::Tick => {}
            Event::HandOver => self.hand_over(now),
            Event::Stop => self.stop(),
            Event::Broken(broken) => self.broken = Some(broken),
        }
    }

    fn packet(&mut self, now: Instant, from: NodeId, body: Bytes) {
        self.frames(now, from, body);
        self.note_acks(now, from);
    }

    fn frames(&mut self, now: Instant, from: NodeId, body: Bytes) {
        for frame in Packet::read(body) {
            match frame {
                Ok(frame) => self.frame(now, from, frame),
                // The checksum held, so the sender speaks otherwise than this release: nothing sensible is left to do with
                // the rest, but somebody should hear of it.
                Err(_) => return self.malformed.push(from),
            }
        }
    }

    fn frame(&mut self, now: Instant, from: NodeId, frame: Frame) {
        match frame {
            Frame::Raft { shard, message } if shard == self.shard => {
                self.raft.handle(now, Input::Message { from, message });
            }
            // Its sender would not have taken it from a client either.
            Frame::Forward { data, .. } if data.len() > COMMAND_MAX => self.malformed.push(from),
            // In the log it would stop every node of this release.
            Frame::Forward { request, data, .. } if command::is_newer(&data) => {
                self.send_frame(from, &Frame::Refused { request, why: Declined::Unknown });
            }
            Frame::Forward { shard, term, request, data, explain } if shard == self.shard => {
                if self.raft.is_leader() && self.raft.term() == term {
                    self.propose(now, Proposer::Peer(from, request), data);
                    if explain {
                        self.commits.expect(self.next_proposal, Asker::Peer(from, request), now);
                    }
                } else {
                    self.send_frame(from, &Frame::Refused { request, why: Declined::NotLeading });
                }
            }
            Frame::Lease { shard, request, ask } if shard == self.shard => {
                if self.waiting_full() {
                    self.send_frame(from, &Frame::Refused { request, why: Declined::Overloaded });
                } else if self.raft.is_leader() {
                    let (lease, renew) = match ask {
                        LeaseAsk::KeepAlive(id) => (id, true),
                        LeaseAsk::TimeToLive(id) => (id, false),
                    };
                    self.reads.gather(Read::Lease { from, request, lease, renew });
                } else {
                    self.send_frame(from, &Frame::Refused { request, why: Declined::NotLeading });
                }
            }
            Frame::Committed { request, how } => self.pending.committed(now, request, how),
            Frame::LeaseAnswer { request, ttl, granted } => {
                self.lease_answer(now, request, ttl, granted, false);
            }
            Frame::Refused { request, why } => self.refused(request, why),
            Frame::Members { shard, term, request, change } if shard == self.shard => {
                if self.raft.term() == term {
                    self.change_for(now, from, request, &change);
                } else {
                    self.send_frame(from, &Frame::Refused { request, why: Declined::NotLeading });
                }
            }
            Frame::MembersRefused { request, why } => self.change_refused(request, why),
            Frame::Raft { .. } | Frame::Forward { .. } | Frame::Lease { .. } | Frame::Members { .. } => {}
        }
    }

    fn journaled(&mut self, now: Instant, proofs: &[Durable]) {
        for proof in proofs {
            while let Some(held) = self.held.pop_front() {
                match held.open(proof) {
                    Ok((to, message)) => self.raft_frame(to, message),
                    Err(held) => {
                        self.held.push_front(held);
                        break;
                    }
                }
            }
            self.raft.handle(now, Input::Written { proof: proof.clone() });
        }
        self.note_acks(now, self.settings.node);
    }

    fn output(&mut self, now: Instant, output: Output) {
        match output {
            Output::Applied(applied) => self.applied(now, applied),
            Output::Imported { base, seq, view } => {
                self.renew(view);
                self.raft.handle(now, Input::ChunkStored { snapshot: SnapshotMeta::from(base), seq });
            }
            Output::ImportFailed { base, reason: _ } => {
                self.raft.handle(now, Input::InstallFailed { snapshot: SnapshotMeta::from(base) });
            }
            // The driver takes these two itself.
            Output::Sealed { .. } | Output::Upkept { .. } => {}
            Output::Settled { numbers, swept, view } => {
                self.renew(view);
                self.swept(now, numbers, swept);
            }
        }
    }

    /// The view gives way to one of the same content: one that stays keeps in memory what is written meanwhile.
    fn renew(&mut self, view: Arc<KvView>) {
        self.view = view;
        hub(&self.hub).publish(self.view.clone(), Vec::new());
    }

    fn applied(&mut self, now: Instant, applied: Applied) {
        let index = applied.last.index;
        self.view = applied.view;
        let mut changed = Vec::new();
        for change in applied.leases {
            match change {
                LeaseChange::Granted { id, ttl, at } => self.lessor.granted(now, Grant { id, at }, ttl),
                LeaseChange::Revoked { id } => {
                    self.lessor.revoked(id);
                    changed.push(id);
                }
                LeaseChange::Checkpointed { id, remaining } => {
                    self.lessor.checkpointed(now, id, remaining);
                    changed.push(id);
                }
            }
        }
        if self.raft.is_leader() && !self.lessor.is_leading() && applied.last.term == self.raft.term() {
            // All that earlier leaders confirmed is applied now, keep-alives that took a checkpoint back among it.
            self.lessor.promote(now);
        }
        // Before any answer: whoever knows of a write may watch from there on, and must not be told of it then.
        // Also without events: of a compaction watches must hear what is gone, and no older view should stay.
        hub(&self.hub).publish(self.view.clone(), applied.events);
        for outcome in applied.outcomes {
            self.answer_write(now, outcome);
        }
        self.answer_changes(now, applied.members);
        for id in changed {
            self.renew_held(now, id);
        }
        if applied.last.term > self.last_applied_term {
            self.last_applied_term = applied.last.term;
            for done in self.pending.overtaken(applied.last.term) {
                self.failed += 1;
                done(Err(Failure::LeaderChanged));
            }
        }
        self.raft.handle(now, Input::Applied { index });
        // Everything applied can be read from the state and sent as a snapshot: the log keeps what its own bound allows.
        self.raft.handle(now, Input::Compact { upto: index });
    }

    fn checkpointed(&mut self, now: Instant, base: Base, installed: Option<Arc<KvView>>) {
        let Some(view) = installed else { return };
        self.view = view;
        self.lessor.reset(now, self.view.leases());
        hub(&self.hub).reset(self.view.clone());
        self.raft.handle(now, Input::Installed { base });
    }

    fn hand_over(&mut self, now: Instant) {
        if !self.raft.is_leader() {
            return;
        }
        if let Some(to) = self.raft.best_successor() {
            self.raft.handle(now, Input::Transfer { to });
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        let reads = self.reads.drain_all().into_iter().chain(self.large.drain_all());
        let reads = reads.chain(self.settling.drain_all());
        let moves = self.drain_moves();
        let waiting = self.pending.drain_all().into_iter().chain(reads).chain(moves);
        for done in waiting {
            done(Err(Failure::Stopping));
        }
        hub(&self.hub).stop();
    }

    // ---- out ----

    /// Hands out everything that gathered.
    pub fn drain(&mut self, now: Instant, out: &mut Effects) {
        self.clockwork(now);
        self.route(now);
        self.ask_for_reads(now);
        self.raft.drain(now, &mut self.outbox);
        self.take_outbox(now, out);
        self.renew_roster();
        self.answer_moves(now);
        let progress = self.raft.progress();
        self.exports.retain(|to| progress.get(&to).is_some_and(|p| matches!(p.phase, Phase::Snapshot(_))));
        // What the outbox brought (a leader, an index) may let more go at once: no second wake-up for it.
        self.serve_reads(now);
        out.packets.extend(self.packets.take());
        out.malformed.append(&mut self.malformed);
        out.exports.append(&mut self.exports.take_wanted());
        out.reads.append(&mut self.large.take_begun());
        out.work.append(&mut self.settling.work);
        out.tidy = self.settling.tidy.take().or(out.tidy);
        out.defragment.append(&mut self.settling.defragment);
        self.at_once = self.settings.at_once * large::AT_ONCE_READS;
        let mut hub = hub(&self.hub);
        out.catch_ups.append(&mut hub.take_wanted());
        if let Some(error) = hub.take_damage() {
            self.broken = Some(Broken::state("reading for a watch", &error));
        }
        drop(hub);
        out.broken = self.broken.take().or(out.broken.take());
    }

    fn take_outbox(&mut self, now: Instant, out: &mut Effects) {
        let mut outbox = std::mem::take(&mut self.outbox);
        out.journal.extend(outbox.write.take());
        for (to, message) in outbox.send.drain(..) {
            self.raft_frame(to, message);
        }
        self.held.extend(outbox.after_write.drain(..));
        if let Some(change) = outbox.role.take() {
            self.role_changed(now, &change);
            out.roles.push(change);
        }
        for (id, entry) in outbox.accepted.drain(..) {
            self.proposing.remove(&id.0);
            self.commits.placed(id.0, Some(entry));
        }
        for (id, refusal) in outbox.refused.drain(..) {
            self.proposal_refused(now, id, &refusal);
        }
        for ready in outbox.reads.drain(..) {
            self.reads.indexed(now, &ready);
        }
        for (id, _) in outbox.dropped_reads.drain(..) {
            for (from, request) in self.reads.dropped(id.0) {
                self.lease_refused(from, request);
            }
        }
        for wanted in outbox.chunks.drain(..) {
            if let Some(input) = self.exports.want(wanted, &self.view) {
                self.raft.handle(now, input);
            }
        }
        for chunk in outbox.install.drain(..) {
            out.work.push(Work::Import {
                base: chunk.meta.into(),
                seq: chunk.seq,
                data: chunk.data,
                last: chunk.last,
            });
        }
        if !outbox.apply.is_empty() {
            out.work.push(Work::Apply(std::mem::take(&mut outbox.apply)));
        }
        self.broken = outbox.broken.take().map(Broken::new).or(self.broken.take());
        self.outbox = outbox;
    }

    fn role_changed(&mut self, now: Instant, change: &RoleChange) {
        let leading = self.raft.is_leader();
        if !leading || change.became_leader() {
            self.commits.forget();
        }
        // What waits for the log's word waits for this leader's word no longer.
        for (from, request) in std::mem::take(&mut self.renewals).into_values().flatten() {
            self.lease_refused(from, request);
        }
        if !leading || change.became_leader() {
            // A new leader counts from its first entry on, see `applied`.
            self.lessor.demote();
        }
        self.leader_changes += u64::from(change.leader.is_some() && change.leader != self.leader);
        self.leader = change.leader;
        self.holding = false;
        match (self.leader, self.leaderless_since) {
            (Some(_), _) => self.leaderless_since = None,
            (None, None) => self.leaderless_since = Some(now),
            (None, Some(_)) => {}
        }
    }

    fn proposal_refused(&mut self, now: Instant, id: ProposalId, refusal: &Refusal) {
        let who = self.proposing.remove(&id.0);
        self.commits.placed(id.0, None);
        if who.as_ref().is_some_and(|who| self.change_not_proposed(who, refusal)) {
            return;
        }
        let why =
            if matches!(refusal, Refusal::Overloaded) { Declined::Overloaded } else { Declined::NotLeading };
        match who {
            Some(Proposer::Here(request)) => self.refused(request, why),
            Some(Proposer::Peer(from, request)) => {
                self.send_frame(from, &Frame::Refused { request, why });
            }
            Some(Proposer::Lessor(Wish::Revoke(grants))) => {
                self.lessor.not_revoked(now, &grants);
                self.refuse_held(grants.iter().map(|grant| grant.id));
            }
            Some(Proposer::Lessor(Wish::Checkpoint(remaining))) => {
                self.lessor.not_checkpointed(&remaining);
                self.refuse_held(remaining.iter().map(|(grant, _)| grant.id));
            }
            Some(Proposer::Nobody) | None => {}
        }
    }

    /// Time-outs, and what the lessor wants.
    fn clockwork(&mut self, now: Instant) {
        self.watch_room(now);
        self.auto_compact(now);
        self.fill_indexes(now);
        for wish in self.lessor.due(now) {
            let command = match &wish {
                Wish::Revoke(grants) => Command::LeaseExpire { grants: grants.clone() },
                Wish::Checkpoint(remaining) => Command::LeaseCheckpoint { remaining: remaining.clone() },
            };
            let data = command::encode(self.settings.node, self.take_request(), &command);
            self.propose(now, Proposer::Lessor(wish), data);
        }
        if now >= self.tick_at {
            self.tick_at = now + TICK;
            self.holding = false;
            hub(&self.hub).tick(now);
            self.tend_members(now);
            let reads = self.reads.expired(now).into_iter().chain(self.large.expired(now));
            let reads = reads.chain(self.settling.expired(now));
            let late = self.pending.expired(now);
            self.failed += late.len() as u64;
            for (done, failure) in late.into_iter().chain(reads) {
                done(Err(failure));
            }
        }
        if self.raft.deadline().is_some_and(|at| now >= at) {
            self.raft.handle(now, Input::Tick);
        }
    }

    /// Sends what is parked to the leader, if one is known.
    fn route(&mut self, now: Instant) {
        if self.holding || !self.pending.has_parked() {
            return;
        }
        let Some(leader) = self.raft.leader() else { return };
        let (here, term) = (leader == self.settings.node, self.raft.term());
        for (request, want, explain) in self.pending.send_parked(now, term, leader) {
            match (want, here) {
                (Want::Write(data), true) => {
                    self.propose(now, Proposer::Here(request), data);
                    if explain {
                        self.commits.expect(self.next_proposal, Asker::Here(request), now);
                    }
                }
                (Want::Write(data), false) => {
                    let shard = self.shard;
                    self.send_frame(leader, &Frame::Forward { shard, term, request, data, explain });
                }
                (Want::KeepAlive(lease, _), true) => {
                    self.reads.gather(Read::Lease { from: leader, request, lease, renew: true });
                }
                (Want::TimeToLive(lease, _), true) => {
                    self.reads.gather(Read::Lease { from: leader, request, lease, renew: false });
                }
                (Want::Members(change), true) => self.change_here(now, request, &change),
                (Want::Members(change), false) => {
                    self.send_frame(leader, &Frame::Members { shard: self.shard, term, request, change });
                }
                (Want::KeepAlive(id, _), false) => self.ask_lease(leader, request, LeaseAsk::KeepAlive(id)),
                (Want::TimeToLive(id, _), false) => {
                    self.ask_lease(leader, request, LeaseAsk::TimeToLive(id));
                }
            }
        }
    }

    fn ask_lease(&mut self, leader: NodeId, request: u64, ask: LeaseAsk) {
        self.send_frame(leader, &Frame::Lease { shard: self.shard, request, ask });
    }

    fn ask_for_reads(&mut self, now: Instant) {
        let Some(leader) = self.raft.leader() else { return };
        if let Some(number) = self.reads.ask(now, leader) {
            self.raft.handle(now, Input::Read { id: ReadId(number) });
        }
    }

    fn propose(&mut self, now: Instant, who: Proposer, data: Bytes) {
        self.next_proposal += 1;
        let id = self.next_proposal;
        self.proposing.insert(id, who);
        self.raft.handle(now, Input::Propose { id: ProposalId(id), data });
    }

    fn raft_frame(&mut self, to: NodeId, message: Message) {
        let shard = self.shard;
        self.send_frame(to, &Frame::Raft { shard, message });
    }

    fn send_frame(&mut self, to: NodeId, frame: &Frame) {
        self.packets.push(to, frame);
    }

    fn take_request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }
}

fn hub(hub: &Mutex<Hub>) -> std::sync::MutexGuard<'_, Hub> {
    hub.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
