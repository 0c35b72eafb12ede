//! One shard's group on this node: its core, what the machine has made readable, and all that waits for either.

use super::commit::Queue;
use super::compactor::{AutoCompaction, Compactor};
use super::explain::{Asker, Commits};
use super::exports::{Exported, Exports};
use super::led::Noted;
use super::members::Members;
use super::node::Node;
use super::pending::Want;
use super::reads::{Read, Reads};
use super::{Broken, Effects, fill, hub};
use crate::api::{Done, Failure, Head};
use crate::applier::{Applied, Work};
use crate::lessor::{Lessor, Wish};
use crate::watch::Hub;
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Base, Durable, Held, Index, Instant, NodeId, ShardId, Term};
use quorate_protocol::Core;
use quorate_protocol::raft::{
    Input, Membership, Message, Outbox, Phase, ProposalId, Raft, ReadId, Refusal, RoleChange,
};
use quorate_state::kv::{Events, KvView, LeaseChange};
use quorate_wire::command;
use quorate_wire::kv::{Command, Grant, LeaseId};
use quorate_wire::peer::{Declined, Frame, LeaseAsk};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// Who made a proposal, until the core has said what became of it.
pub(super) enum Proposer {
    Here(u64),
    Peer(NodeId, u64),
    Lessor(Wish),
    /// Nobody waits.
    Nobody,
}

/// What every drain asks of the view. Of a thousand groups each is cold when something happens to it, and so is its view.
struct Glance {
    applied: Index,
    /// An index is to be filled.
    fills: bool,
    /// A transaction holds something.
    locked: bool,
}

impl Glance {
    fn of(view: &KvView) -> Self {
        let tables = view.tables();
        let (fills, locked) = (tables.filling().is_some(), tables.is_locked());
        Self { applied: view.applied().index, fills, locked }
    }
}

/// See the module page.
pub(crate) struct Group {
    pub(super) shard: ShardId,
    pub(super) raft: Raft,
    /// Empty, but for the room that it has.
    outbox: Box<Outbox>,
    /// Messages that wait for the journal, in the order of their writes.
    held: VecDeque<Held<(NodeId, Message)>>,
    pub(super) reads: Reads,
    /// A read index was reached in this life: the state is no older than any that this node has shown in an earlier one.
    pub(super) caught_up: bool,
    /// How many of the node's reads were counted as this group's.
    counted: usize,
    pub(super) proposing: BTreeMap<u64, Proposer>,
    pub(super) commits: Commits,
    pub(super) members: Members,
    pub(super) next_proposal: u64,
    pub(super) exports: Exports,
    pub(super) lessor: Lessor,
    /// Keep-alives that wait for what the log says about their lease: who asks, and the asker's number for it.
    pub(super) renewals: BTreeMap<LeaseId, Vec<(NodeId, u64)>>,
    /// Who watches what changes; the key-value space only.
    pub(super) hub: Option<Arc<Mutex<Hub>>>,
    pub(super) view: Arc<KvView>,
    glance: Glance,
    pub(super) leader: Option<NodeId>,
    pub(super) leaderless_since: Option<Instant>,
    last_applied_term: Term,
    pub(super) leader_changes: u64,
    pub(super) compactor: Option<Compactor>,
    /// What was asked last of an index that is to be filled.
    pub(super) filling: fill::Asked,
    /// A leader that was believed in refused: what is parked waits for the next tick or for news, or it would go back and
    /// forth at the network's speed (found by the simulator, seed 7).
    pub(super) holding: bool,
    /// Where the lane has noted that it is due.
    pub(super) due: Option<Instant>,
    /// Of which version the table's definition is that was proposed last.
    pub(super) adopting: Index,
    /// At what the move of its replicas is, while it leads.
    pub(super) moving: Option<Noted>,
    /// Where the lane has noted that it rests.
    pub(super) rests_under: Option<NodeId>,
    /// What the leader knows of those who want items that transactions hold.
    pub(super) queue: Queue,
}

impl Group {
    pub(super) fn new(node: &Node, shard: ShardId, raft: Raft, view: Arc<KvView>, now: Instant) -> Self {
        let mut lessor = Lessor::default();
        lessor.reset(now, view.leases());
        Self {
            shard,
            outbox: Box::default(),
            held: VecDeque::new(),
            reads: Reads::default(),
            caught_up: false,
            counted: 0,
            proposing: BTreeMap::new(),
            commits: Commits::default(),
            members: Members::default(),
            next_proposal: 0,
            exports: Exports::default(),
            lessor,
            renewals: BTreeMap::new(),
            hub: None,
            glance: Glance::of(&view),
            view,
            leader: raft.leader(),
            leaderless_since: Some(now),
            last_applied_term: Term(0),
            leader_changes: 0,
            compactor: None,
            filling: None,
            holding: false,
            due: None,
            adopting: Index(0),
            moving: None,
            rests_under: None,
            queue: Queue::new(node.locking.clone()),
            raft,
        }
    }

    /// The space of this group has watches, and its history is compacted unasked.
    pub(super) fn watched(&mut self, hub: Arc<Mutex<Hub>>, auto: Option<AutoCompaction>, now: Instant) {
        self.hub = Some(hub);
        self.compactor = auto.map(|mode| Compactor::new(mode, now));
    }

    /// Whether this is the key-value space, in whose log alarms and members stand.
    pub(super) fn is_space(&self) -> bool {
        self.hub.is_some()
    }

    /// When it next wants to be looked at, if nothing else happens to it.
    pub(super) fn deadline(&self, node: &Node) -> Option<Instant> {
        let leads = || self.glance.fills || self.glance.locked || !self.queue.is_idle();
        let waits = self.reads.any() || self.raft.is_leader() && leads();
        let tick = waits.then_some(node.tick_at);
        let chunk = self.exports.any_wait().then(|| node.pace.free_at());
        let pause = self.queue.deadline();
        [self.raft.deadline(), tick, self.lessor.deadline(), chunk, pause].into_iter().flatten().min()
    }

    /// The header a reply would have now.
    pub(super) fn head(&self, node: &Node) -> Head {
        Head {
            cluster: node.settings.cluster,
            member: node.settings.node.get(),
            revision: self.view.revision(),
            term: self.raft.term().get(),
        }
    }

    // ---- in ----

    /// A frame for this group, or the answer to a request that waits here.
    pub(super) fn frame(&mut self, node: &mut Node, now: Instant, from: NodeId, frame: Frame) {
        match frame {
            Frame::Raft { message, .. } => self.raft.handle(now, Input::Message { from, message }),
            Frame::Forward { term, request, data, explain, .. } => {
                if self.raft.is_leader() && self.raft.term() == term {
                    self.admit(node, now, (Proposer::Peer(from, request), data), explain);
                } else {
                    node.send(from, &Frame::Refused { request, why: Declined::NotLeading });
                }
            }
            Frame::Lease { request, ask, .. } => {
                if node.waiting_full() {
                    node.send(from, &Frame::Refused { request, why: Declined::Overloaded });
                } else if self.raft.is_leader() {
                    let (lease, renew) = match ask {
                        LeaseAsk::KeepAlive(id) => (id, true),
                        LeaseAsk::TimeToLive(id) => (id, false),
                    };
                    self.gather(node, Read::Lease { from, request, lease, renew });
                } else {
                    node.send(from, &Frame::Refused { request, why: Declined::NotLeading });
                }
            }
            Frame::Committed { request, how } => node.pending.committed(now, request, how),
            Frame::LeaseAnswer { request, ttl, granted } => {
                self.lease_answer(node, now, request, (ttl, granted), false);
            }
            Frame::Refused { request, why } => self.refused(node, request, why),
            Frame::Members { term, request, change, .. } => {
                if self.raft.term() == term {
                    self.change_for(node, now, from, request, &change);
                } else {
                    node.send(from, &Frame::Refused { request, why: Declined::NotLeading });
                }
            }
            Frame::MembersRefused { request, why } => node.change_refused(request, why),
            Frame::Pause { millis, .. } => self.pause(now, Duration::from_millis(millis)),
            // The lane has heard it.
            Frame::Alive
            | Frame::Flush { .. }
            | Frame::Close(_)
            | Frame::Follows(_)
            | Frame::Ask { .. }
            | Frame::Told { .. } => {}
        }
    }

    /// A write of this group is durable.
    pub(super) fn journaled(&mut self, node: &mut Node, now: Instant, proof: &Durable) {
        while let Some(held) = self.held.pop_front() {
            match held.open(proof) {
                Ok((to, message)) => self.raft_frame(node, to, message),
                Err(held) => {
                    self.held.push_front(held);
                    break;
                }
            }
        }
        self.raft.handle(now, Input::Written { proof: proof.clone() });
    }

    pub(super) fn exported(&mut self, node: &mut Node, now: Instant, chunk: Exported) {
        if let Some(error) = chunk.damage() {
            node.broken = Some(Broken::state("reading a snapshot", error));
        }
        if moves(self.shard, self.raft.membership(), chunk.to()) {
            node.pace.takes(now, chunk.bytes());
        }
        if let Some(input) = self.exports.read(chunk) {
            self.raft.handle(now, input);
        }
    }

    /// The view gives way to one of the same content: one that stays keeps in memory what is written meanwhile.
    pub(super) fn renew(&mut self, view: Arc<KvView>) {
        self.show(view);
        self.publish(Events::default());
    }

    fn show(&mut self, view: Arc<KvView>) {
        self.glance = Glance::of(&view);
        self.view = view;
    }

    /// Whether an index is to be filled.
    pub(super) fn fills(&self) -> bool {
        self.glance.fills
    }

    /// Whether a transaction over several shards holds something.
    pub(super) fn locked(&self) -> bool {
        self.glance.locked
    }

    /// Up to where the state is.
    pub(super) fn shows(&self) -> Index {
        self.glance.applied
    }

    fn publish(&self, events: Events) {
        if let Some(watched) = &self.hub {
            hub(watched).publish(self.view.clone(), events);
        }
    }

    pub(super) fn applied(&mut self, node: &mut Node, now: Instant, applied: Applied) {
        let index = applied.last.index;
        self.show(applied.view);
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
        self.publish(applied.events);
        for outcome in applied.outcomes {
            self.answer_write(node, now, outcome);
        }
        self.answer_changes(node, now, applied.members);
        self.queue_applied(node, now, index);
        for id in changed {
            self.renew_held(node, now, id);
        }
        if applied.last.term > self.last_applied_term {
            self.last_applied_term = applied.last.term;
            for done in node.overtaken(self.shard, applied.last.term) {
                node.failed += 1;
                done(Err(Failure::LeaderChanged));
            }
        }
        self.raft.handle(now, Input::Applied { index });
        // Everything applied can be read from the state and sent as a snapshot: the log keeps what its own bound allows.
        self.raft.handle(now, Input::Compact { upto: index, keep: node.log_keep });
    }

    /// A snapshot was taken in, and the checkpoint that holds it is recorded.
    pub(super) fn installed(&mut self, now: Instant, base: Base, view: Arc<KvView>) {
        self.show(view);
        self.lessor.reset(now, self.view.leases());
        if let Some(watched) = &self.hub {
            hub(watched).reset(self.view.clone());
        }
        self.raft.handle(now, Input::Installed { base });
    }

    pub(super) fn hand_over(&mut self, now: Instant) {
        if !self.raft.is_leader() {
            return;
        }
        if let Some(to) = self.raft.best_successor() {
            self.raft.handle(now, Input::Transfer { to });
        }
    }

    /// Its reads count among the node's no more.
    pub(super) fn uncount(&mut self, node: &mut Node) {
        node.reading = node.reading.saturating_sub(std::mem::take(&mut self.counted));
    }

    /// Takes out all that waits here, for a node that stops.
    pub(super) fn drain_all(&mut self) -> Vec<Done> {
        let mut waiting = self.reads.drain_all();
        waiting.append(&mut self.drain_moves());
        waiting
    }

    // ---- out ----

    /// Hands out everything that gathered here.
    pub(super) fn drain(&mut self, node: &mut Node, now: Instant, out: &mut Effects) {
        self.clockwork(node, now);
        self.route(node, now);
        self.ask_for_reads(now);
        self.raft.drain(now, &mut self.outbox);
        if !self.outbox.is_empty() {
            self.take_outbox(node, now, out);
        }
        self.renew_roster(node);
        self.answer_moves(node, now);
        if !self.exports.is_empty() {
            let progress = self.raft.progress();
            self.exports
                .retain(|to| progress.get(&to).is_some_and(|p| matches!(p.phase, Phase::Snapshot(_))));
        }
        // What the outbox brought (a leader, an index) may let more go at once: no second wake-up for it.
        self.serve_reads(node, now);
        let free = node.pace.free_at() <= now;
        let (shard, members) = (self.shard, self.raft.membership());
        let may = |to| free || !moves(shard, members, to);
        out.exports.append(&mut self.exports.take_wanted(may));
        let reads = self.reads.len();
        node.reading = (node.reading + reads).saturating_sub(std::mem::replace(&mut self.counted, reads));
    }

    fn take_outbox(&mut self, node: &mut Node, now: Instant, out: &mut Effects) {
        let mut outbox = std::mem::take(&mut self.outbox);
        out.journal.extend(outbox.write.take());
        for (to, message) in outbox.send.drain(..) {
            self.raft_frame(node, to, message);
        }
        self.held.extend(outbox.after_write.drain(..));
        if let Some(change) = outbox.role.take() {
            self.role_changed(node, now, &change);
            out.roles.push((self.shard, change));
        }
        for (id, entry) in outbox.accepted.drain(..) {
            self.proposing.remove(&id.0);
            self.queue_placed(id, entry);
            self.commits.placed(id.0, Some(entry));
        }
        for (id, refusal) in outbox.refused.drain(..) {
            self.proposal_refused(node, now, id, &refusal);
        }
        for ready in outbox.reads.drain(..) {
            self.reads.indexed(now, &ready);
        }
        for (id, _) in outbox.dropped_reads.drain(..) {
            for (from, request) in self.reads.dropped(id.0) {
                self.lease_refused(node, from, request);
            }
        }
        for wanted in outbox.chunks.drain(..) {
            if let Some(input) = self.exports.want(self.shard, wanted, &self.view) {
                self.raft.handle(now, input);
            }
        }
        for chunk in outbox.install.drain(..) {
            out.work.push(Work::Import {
                shard: self.shard,
                base: chunk.meta.into(),
                seq: chunk.seq,
                data: chunk.data,
                last: chunk.last,
            });
        }
        if !outbox.apply.is_empty() {
            let entries = std::mem::take(&mut outbox.apply);
            out.work.push(Work::Apply { shard: self.shard, entries });
        }
        node.broken = outbox.broken.take().map(Broken::new).or(node.broken.take());
        self.outbox = outbox;
    }

    fn role_changed(&mut self, node: &mut Node, now: Instant, change: &RoleChange) {
        let leading = self.raft.is_leader();
        if !leading || change.became_leader() {
            self.commits.forget();
        }
        // What waits for the log's word waits for this leader's word no longer.
        for (from, request) in std::mem::take(&mut self.renewals).into_values().flatten() {
            self.lease_refused(node, from, request);
        }
        if !leading || change.became_leader() {
            // A new leader counts from its first entry on, see `applied`.
            self.lessor.demote();
        }
        self.queue_anew(node);
        node.tend_soon |= change.became_leader() && !self.is_space();
        self.leader_changes += u64::from(change.leader.is_some() && change.leader != self.leader);
        self.leader = change.leader;
        // What an earlier leader's log had may be lost.
        self.adopting = Index(0);
        self.holding = false;
        match (self.leader, self.leaderless_since) {
            (Some(_), _) => self.leaderless_since = None,
            (None, None) => self.leaderless_since = Some(now),
            (None, Some(_)) => {}
        }
    }

    fn proposal_refused(&mut self, node: &mut Node, now: Instant, id: ProposalId, refusal: &Refusal) {
        let who = self.proposing.remove(&id.0);
        self.queue_dropped(id);
        self.commits.placed(id.0, None);
        if who.as_ref().is_some_and(|who| node.change_not_proposed(who, refusal)) {
            return;
        }
        let why =
            if matches!(refusal, Refusal::Overloaded) { Declined::Overloaded } else { Declined::NotLeading };
        match who {
            Some(Proposer::Here(request)) => self.refused(node, request, why),
            Some(Proposer::Peer(from, request)) => node.send(from, &Frame::Refused { request, why }),
            Some(Proposer::Lessor(Wish::Revoke(grants))) => {
                self.lessor.not_revoked(now, &grants);
                self.refuse_held(node, grants.iter().map(|grant| grant.id));
            }
            Some(Proposer::Lessor(Wish::Checkpoint(remaining))) => {
                self.lessor.not_checkpointed(&remaining);
                self.refuse_held(node, remaining.iter().map(|(grant, _)| grant.id));
            }
            Some(Proposer::Nobody) | None => {}
        }
    }

    /// Time-outs, and what the lessor wants.
    fn clockwork(&mut self, node: &mut Node, now: Instant) {
        if self.is_space() {
            self.watch_room(node, now);
            self.auto_compact(node, now);
        }
        self.fill_indexes(node, now);
        for wish in self.lessor.due(now) {
            let command = match &wish {
                Wish::Revoke(grants) => Command::LeaseExpire { grants: grants.clone() },
                Wish::Checkpoint(remaining) => Command::LeaseCheckpoint { remaining: remaining.clone() },
            };
            let data = command::encode(node.settings.node, node.take_request(), &command);
            self.propose(now, Proposer::Lessor(wish), data);
        }
        if node.ticks {
            self.look_for_undecided(node, now);
            self.holding = false;
            if self.is_space() {
                self.tend_members(node, now);
            }
            for (done, failure) in self.reads.expired(now) {
                done(Err(failure));
            }
        }
        self.end_pause(node, now);
        if self.raft.deadline().is_some_and(|at| now >= at) {
            self.raft.handle(now, Input::Tick);
        }
    }

    /// Sends what is parked to the leader, if one is known.
    fn route(&mut self, node: &mut Node, now: Instant) {
        if self.holding || !node.pending.has_parked(self.shard) {
            return;
        }
        let Some(leader) = self.raft.leader() else { return };
        let (here, term) = (leader == node.settings.node, self.raft.term());
        if self.raft.rests_under().is_some() && !here {
            // Whoever waits for this leader misses it as soon as if nobody rested.
            self.raft.handle(now, Input::Reachable { peer: leader });
        }
        for (request, want, explain) in node.pending.send_parked(self.shard, now, term, leader) {
            match (want, here) {
                (Want::Write(data), true) => {
                    self.admit(node, now, (Proposer::Here(request), data), explain);
                }
                (Want::Write(data), false) => {
                    let shard = self.shard;
                    node.send(leader, &Frame::Forward { shard, term, request, data, explain });
                }
                (Want::KeepAlive(lease, _), true) => {
                    self.gather(node, Read::Lease { from: leader, request, lease, renew: true });
                }
                (Want::TimeToLive(lease, _), true) => {
                    self.gather(node, Read::Lease { from: leader, request, lease, renew: false });
                }
                (Want::Members(change), true) => self.change_here(node, now, request, &change),
                (Want::Members(change), false) => {
                    node.send(leader, &Frame::Members { shard: self.shard, term, request, change });
                }
                (Want::KeepAlive(id, _), false) => {
                    self.ask_lease(node, leader, request, LeaseAsk::KeepAlive(id));
                }
                (Want::TimeToLive(id, _), false) => {
                    self.ask_lease(node, leader, request, LeaseAsk::TimeToLive(id));
                }
            }
        }
    }

    fn ask_lease(&self, node: &mut Node, leader: NodeId, request: u64, ask: LeaseAsk) {
        node.send(leader, &Frame::Lease { shard: self.shard, request, ask });
    }

    /// Takes a read in that waits for an index.
    pub(super) fn gather(&mut self, node: &mut Node, read: Read) {
        node.reading += 1;
        self.counted += 1;
        self.reads.gather(read);
    }

    fn ask_for_reads(&mut self, now: Instant) {
        let Some(leader) = self.raft.leader() else { return };
        if let Some(number) = self.reads.ask(now, leader) {
            self.raft.handle(now, Input::Read { id: ReadId(number) });
        }
    }

    pub(super) fn propose(&mut self, now: Instant, who: Proposer, data: Bytes) {
        let waits = match &who {
            Proposer::Peer(from, _) => Some(*from),
            _ => None,
        };
        let id = self.propose_as(who);
        self.raft.handle(now, Input::Propose { id, data });
        if let Some(by) = waits {
            self.raft.handle(now, Input::Awaited { by });
        }
    }

    /// The same, and notes who wants to hear how it was committed.
    pub(super) fn propose_for(&mut self, now: Instant, who: Proposer, data: Bytes, explain: bool) {
        let asker = match &who {
            Proposer::Here(request) if explain => Some(Asker::Here(*request)),
            Proposer::Peer(from, request) if explain => Some(Asker::Peer(*from, *request)),
            _ => None,
        };
        self.propose(now, who, data);
        if let Some(asker) = asker {
            self.commits.expect(self.next_proposal, asker, now);
        }
    }

    /// The number of a new proposal.
    pub(super) fn propose_as(&mut self, who: Proposer) -> ProposalId {
        self.next_proposal += 1;
        self.proposing.insert(self.next_proposal, who);
        ProposalId(self.next_proposal)
    }

    fn raft_frame(&self, node: &mut Node, to: NodeId, message: Message) {
        node.send(to, &Frame::Raft { shard: self.shard, message });
    }
}

/// Whether a node gets its replica of a shard by a move: it has no vote yet.
fn moves(shard: ShardId, members: &Membership, to: NodeId) -> bool {
    shard != ShardId(1) && !members.is_voter(to)
}
