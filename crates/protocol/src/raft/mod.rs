//! Raft (Ongaro, *Consensus: Bridging Theory and Practice*, 2014) as a pure core.
//!
//! A group of replicas agrees on a log; entries are commands for a machine that each replica runs. One of them leads: it
//! alone appends, the others copy, and an entry is *committed* once a majority has it on disk. Everything here follows
//! from two questions: who may lead ([`election`]), and what is committed ([`replication`]).
//!
//! # How it is used
//!
//! [`Raft::handle`](Core::handle) takes inputs, any number; [`Raft::drain`](Core::drain) hands out what gathered; between
//! them nothing happens. Time is an argument, chance a seeded generator, the disk a driver that takes
//! [`Outbox::write`] and comes back with a [`Durable`](quorate_base::Durable). Inputs and outputs stand in [`types`],
//! messages in [`message`].
//!
//! # What must be durable before what is said
//!
//! Every message carries the sender's term, so none leaves before term and vote are durable; `Appended` says "my disk
//! holds it", so it waits for its entries. Such messages go out as [`Held`](quorate_base::Held), which only the journal
//! can open. The one funnel is `Raft::post`. A leader's entries go to followers *while* its own disk writes them
//! (dissertation, 10.2.1): they promise nothing about it, and its own log counts for commitment only once durable.
//! An entry is handed to the machine once it is committed *and* durable here, so that no state is ever ahead of its journal.
//!
//! # Safety
//!
//! - *Election Safety*: a replica votes once a term, durably; two majorities meet.
//! - *Leader Completeness*: a vote needs a log at least as complete as the voter's; a leader commits by counting only
//!   entries of its own term (Figure 8), and starts its term with an empty one.
//! - *Linearizable reads* (6.4): a leader that has committed in its term confirms, by one round for all reads that wait, that
//!   it still led after they came; then its commit index is their read index. Any replica may ask it.
//!   Only where the operator allows it, a lease takes the place of the round ([`leases`]): then that clocks run true within a bound
//!   is part of the argument.
//! - *Membership*: joint consensus always; configurations act from the log ([`membership`]). Since they do, a learner may be the only
//!   one that holds the newest entry, and then it stands for election itself, without a vote of its own ([`election`]; found by the
//!   simulator, seed 38).
//!
//! # Replicas that may have forgotten
//!
//! After damage, or with a torn tail that may have been acknowledged, a replica *withholds*: it must not help to elect a
//! leader that lacks what it once confirmed. Its yes is then conditional: it counts only where *every* voter says yes.
//! A candidate that has them all holds the longest log that is left anywhere, so nothing that survives is lost, and three
//! torn tails at once recover, where refusing outright never would. It withholds no longer once it holds, committed, an
//! entry of a term newer than all it knew at its start: what was ever committed before is in that log. Since a leader may
//! stay for months, and the group could not replace it as long as one of three withholds, a leader that is told so *renews*
//! its term: it campaigns, and wins with a majority of the others.
//!
//! That is about entries. A *term* or a *vote* must not be forgotten at all, since no peer can give it back: the journal
//! keeps both in two places, so that one damaged place loses neither. (What remains: where both are lost, a replica could
//! vote a second time, or confirm the entries of a leader older than the one it had voted for.) A replica whose whole disk is
//! lost knows neither; what it takes to have it back stands on the page of `lost`.
//!
//! # Replicas that have lost their state
//!
//! A state that does not open, or failed a read, is not the log: what the replica promised stands in its journal, with the
//! id of the last entry that the lost state held, and all of that stays in force. So it goes on as a *voter with a log*: it
//! judges candidates by its true last entry, which keeps Leader Completeness, and it confirms new entries, which are on its
//! disk as it says. (Entries up to its base it can no longer show; they were committed before, so nobody counts them.) What
//! it must not do is *lead* others: a leader serves reads and snapshots from the state. So it hands nothing to its machine, and at each
//! heartbeat asks its leader for a snapshot, until one at or above its base is installed. Two of three may lose their states at once and
//! are healed by the third. Where nobody else can win, for its log is the longest that is left, it campaigns, but leads *blindly*: it takes no
//! proposal, sends no snapshot, and is no leader to who asks; once its log is committed it leaves the lead to one that holds
//! it and has a state. Where all voters have lost theirs, nobody serves.
//!
//! # Where it stops
//!
//! Two things can only be if a replica has forgotten what it promised (a lost disk that came back under the old name, a
//! planted bug): two leaders in one term, and an entry that replaces a committed one. The core then stops for good and
//! says why in [`Outbox::broken`]; it does not panic, since a peer's message brought it there, and it does not go on,
//! since that could spread the loss. `assert!` is for what only a bug of this crate or of its driver could cause.
//!
//! # Departures and omissions
//!
//! Pre-vote (9.6), check-quorum (6.2) and leader stickiness (4.2.3) are always on, with the cure for their deadlock: a
//! vote request of a lower term is always answered, so that its sender learns the term. A replica whose own tick comes
//! late (it was paused or starved) does not campaign at once, for what it missed may still be in its queue: it waits for as
//! long again as the tick was late, and no longer than a fresh timer. A silence is excused once, or a machine on which every
//! tick is late would wait for ever.
//! Left out: witnesses, reading old entries back from the journal (a follower beyond the log in memory
//! gets a snapshot).

mod ask;
pub mod election;
pub mod leases;
mod log;
mod lost;
pub mod membership;
pub mod message;
pub mod progress;
mod reads;
mod reconfigure;
pub mod replication;
pub mod rest;
mod snapshot;
mod trace;
pub mod types;

use crate::Core;
use leases::Leases;
use log::Log;
pub use membership::{BOOK_MAX, Membership};
pub use message::Message;
pub use progress::{Phase, Progress};
use quorate_base::{
    Append, Entry, EntryId, EntryKind, HardState, Held, Index, Instant, NodeId, Rng, Term, WriteId,
};
use reads::Reads;
use replication::Pace;
use rest::Rest;
use snapshot::Incoming;
use std::collections::BTreeMap;
pub use types::*;

/// One replica of one group.
///
/// Invariants, asserted by [`Raft::check_invariants`]: `base <= applied <= given <= commit <= last`; `given <= durable`;
/// a leader's own term is the last term of its log once it has begun; only a leader has `progress`.
#[derive(Clone)]
pub struct Raft {
    config: Config,
    rng: Rng,
    hard: HardState,
    log: Log,
    /// The configuration at the base, then those of the log, by index.
    configs: Vec<(Index, Membership)>,
    role: Role,
    leader: Option<NodeId>,
    /// Entries handed to the machine.
    given: Index,
    applied: Index,
    applying_bytes: usize,
    /// Of the entries that are committed and not applied.
    unapplied_bytes: usize,
    /// So much of the log is kept that is applied, as the driver said last.
    keep: usize,
    /// A confirmation to this leader that waits for the machine; see [`Config::max_unapplied_bytes`].
    owed: Option<(NodeId, Index)>,
    /// Up to here this life has seen its log agree with that of the term's leader.
    agreed: Index,
    uncommitted_bytes: usize,
    withheld: Option<Withheld>,
    /// Its disk is lost, and no leader has vouched for its term yet; its name for this life.
    deaf: Option<u64>,
    /// The state up to the base is gone; see "Replicas that have lost their state".
    state_lost: bool,

    // Time.
    /// When a follower or candidate loses patience.
    election_at: Instant,
    /// The timer ran out once already, and the tick came late.
    excused: bool,
    /// Time-outs since a leader was heard.
    vain: u32,
    /// When a leader next sends heartbeats.
    heartbeat_at: Instant,
    /// When the leader was last heard.
    leader_heard: Option<Instant>,
    /// It votes for nobody before; see [`leases`].
    promised_until: Instant,

    // Candidates.
    votes: BTreeMap<NodeId, (bool, bool)>,

    // Leaders.
    progress: BTreeMap<NodeId, Progress>,
    term_start: Index,
    pace: Pace,
    transfer: Option<(NodeId, Instant)>,
    next_snapshot: u64,

    reads: Reads,
    leases: Leases,
    rest: Rest,
    incoming: Option<Incoming>,
    /// The snapshot whose last chunk the driver has: nothing is handed to the machine until it is installed or has failed.
    installing: Option<EntryId>,
    /// Whom this replica has known to lead in its term, also when it has lost sight of it since.
    led_by: Option<NodeId>,
    /// What can only be if a replica has forgotten what it promised; see "Where it stops".
    broken: Option<String>,

    // What gathers until the drain.
    outgoing: Vec<(NodeId, Message)>,
    hard_dirty: bool,
    hard_write: WriteId,
    next_write: WriteId,
    durable_write: WriteId,
    pending: Outbox,
}

/// See the module page.
#[derive(Clone, Copy, Debug)]
struct Withheld {
    /// The newest term known at the start, or vouched for since.
    term: Term,
    /// Everything may be forgotten; see the page of `lost`.
    disk_lost: bool,
}

impl Core for Raft {
    type Input = Input;
    type Out = Outbox;

    fn handle(&mut self, now: Instant, input: Input) {
        if self.broken.is_some() {
            return;
        }
        if self.config.rests {
            self.stir(now, &input);
        }
        match input {
            Input::Message { from, message } => self.step(now, from, message),
            Input::Propose { id, data } => self.propose(id, data),
            Input::Awaited { by } => self.awaited(by, self.log.last().index),
            Input::ChangeMembership { id, target } => self.change_membership(now, id, &target),
            Input::Transfer { to } => self.transfer_to(now, to),
            Input::Read { id } => self.read(id),
            Input::Written { proof } => self.written(now, &proof),
            Input::Applied { index } => self.applied_upto(index),
            Input::Compact { upto, keep } => self.compact(now, upto, keep),
            Input::SnapshotChunk { to, snapshot, meta, seq, data, last } => {
                self.send_chunk(now, to, snapshot, meta, seq, data, last);
            }
            Input::SnapshotFailed { to, snapshot } => self.snapshot_failed(now, to, snapshot),
            Input::ChunkStored { snapshot, seq } => self.chunk_stored(&snapshot, seq),
            Input::InstallFailed { snapshot } => self.install_failed(&snapshot),
            Input::Installed { base } => self.installed(&base),
            Input::Unreachable { peer } => self.unreachable(now, peer),
            Input::Silent { peer } => self.missed(now, peer),
            Input::Reachable { peer } => self.ask_again(peer),
            Input::Tick => self.tick(now),
        }
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        if self.broken.is_some() {
            out.broken.clone_from(&self.broken);
            return;
        }
        self.leave_joint(now);
        self.confirm_owed();
        self.ask_read_index(now);
        self.start_read_round(now);
        self.send_appends(now);
        self.tell_commit(now, false);
        self.take_write(out);
        self.take_messages(out);
        self.take_apply(out);
        out.commit = self.hard.commit;
        let pending = &mut self.pending;
        out.reads.append(&mut pending.reads);
        out.dropped_reads.append(&mut pending.dropped_reads);
        out.accepted.append(&mut pending.accepted);
        out.refused.append(&mut pending.refused);
        out.chunks.append(&mut pending.chunks);
        out.install.append(&mut pending.install);
        if let Some(change) = pending.role.take() {
            out.role = Some(change);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.role {
            _ if self.broken.is_some() => None,
            Role::Leader if self.rest.resting => None,
            _ if self.rest.resting => self.reads.retry_at(),
            Role::Leader => Some(self.pace.tell_at.map_or(self.heartbeat_at, |at| at.min(self.heartbeat_at))),
            _ => Some(self.reads.retry_at().map_or(self.election_at, |at| at.min(self.election_at))),
        }
    }
}

impl Raft {
    /// A replica as it stands after recovery.
    pub fn new(config: Config, rng: Rng, boot: Boot, now: Instant) -> Result<Self, BootError> {
        let base = Membership::decode(&boot.base.membership).ok_or(BootError::Membership)?;
        let mut configs = vec![(boot.base.id.index, base)];
        let mut last = boot.base.id;
        for entry in &boot.entries {
            if entry.id.index != last.index.next() || entry.id.term < last.term {
                return Err(BootError::Gap { found: entry.id, after: last });
            }
            last = entry.id;
            if entry.kind == EntryKind::Membership {
                let m = Membership::decode(&entry.data).ok_or(BootError::EntryMembership(entry.id))?;
                configs.push((entry.id.index, m));
            }
        }
        if boot.applied < boot.base.id.index || boot.applied > last.index {
            return Err(BootError::Applied { applied: boot.applied, base: boot.base.id, last });
        }
        let mut hard = boot.hard;
        // A term is never below that of an entry; a commit index is a hint and may point past a lost tail.
        if last.term > hard.term {
            hard = HardState { term: last.term, vote: None, ..hard };
        }
        hard.commit = hard.commit.max(boot.applied).min(last.index);
        let fresh = hard.term == Term(0);
        let forgot = boot.withhold_votes || boot.withheld_upto.is_some_and(|upto| upto > last.index);
        // See the page of `lost`: what it holds came from a leader whose term was vouched for, in a term that it has not forgotten.
        let deaf = boot.disk_lost && (forgot || last.index == Index(0));
        let withheld = (forgot || boot.disk_lost).then_some(Withheld {
            term: if deaf { Term(u64::MAX) } else { hard.term },
            disk_lost: boot.disk_lost,
        });
        let mut raft = Self {
            rng,
            hard,
            log: Log::new(boot.base.id, boot.entries),
            configs,
            role: Role::Follower,
            leader: None,
            given: boot.applied,
            applied: boot.applied,
            applying_bytes: 0,
            unapplied_bytes: 0,
            keep: usize::MAX,
            owed: None,
            agreed: Index(0),
            uncommitted_bytes: 0,
            withheld,
            deaf: None,
            state_lost: boot.state_lost,
            election_at: now,
            excused: false,
            vain: 0,
            heartbeat_at: now,
            leader_heard: None,
            promised_until: now + boot.promised,
            votes: BTreeMap::new(),
            progress: BTreeMap::new(),
            term_start: Index(0),
            pace: Pace::default(),
            transfer: None,
            next_snapshot: 0,
            reads: Reads::default(),
            leases: Leases::default(),
            rest: Rest::default(),
            incoming: None,
            installing: None,
            led_by: None,
            broken: None,
            outgoing: Vec::new(),
            hard_dirty: false,
            hard_write: WriteId(0),
            next_write: WriteId(1),
            durable_write: WriteId(0),
            pending: Outbox::default(),
            config,
        };
        if mutant(&raft.config, Mutant::LeaseForgottenByRestart) {
            raft.promised_until = now;
        }
        raft.unapplied_bytes = raft.log.bytes_of(raft.applied, raft.hard.commit);
        raft.reads.seed(raft.rng.next_u64());
        raft.next_snapshot = raft.rng.next_u64() >> 8;
        raft.deaf = deaf.then(|| raft.rng.next_u64());
        if raft.is_alone() && !boot.disk_lost {
            // There is nobody to be heard of, and so nothing to wait for but what an earlier life promised.
            raft.election_at = raft.promised_until;
        } else if !(fresh && boot.campaign_at_once && !boot.disk_lost) {
            raft.redraw_timeout(now);
        }
        Ok(raft)
    }

    /// No other replica has a vote.
    fn is_alone(&self) -> bool {
        let members = self.membership();
        !members.is_joint() && members.voters.iter().eq([&self.config.id])
    }

    // ---- the one funnel for messages ----

    /// Queues a message. What it must wait for is decided in [`Raft::take_messages`], where the write is known.
    fn post(&mut self, to: NodeId, message: Message) {
        debug_assert_ne!(to, self.config.id, "a replica does not write to itself");
        match &message {
            Message::RequestVote { term, pre, .. } => {
                let own = if *pre { self.hard.term.next() } else { self.hard.term };
                assert!(*term == own, "a candidate asks for its own term");
                assert!(*pre || self.hard.vote == Some(self.config.id), "a candidate votes for itself first");
            }
            Message::Vote { granted: true, pre: false, term, .. } => {
                assert_eq!(*term, self.hard.term, "a vote is of the voter's term");
                assert_eq!(self.hard.vote, Some(to), "a vote is what was recorded");
            }
            Message::Appended { matched, .. } => {
                assert!(*matched <= self.log.last().index, "only what is in the log is confirmed");
            }
            m if m.from_leader() => {
                assert!(self.role == Role::Leader, "only a leader sends {m:?}");
                assert_eq!(m.term(), self.hard.term, "a leader speaks in its term");
            }
            _ => {}
        }
        if let Message::Appended { .. } = message {
            // The newest confirmation says all that the older ones said.
            self.outgoing.retain(|(t, m)| *t != to || !matches!(m, Message::Appended { .. }));
        }
        self.outgoing.push((to, message));
    }

    fn take_write(&mut self, out: &mut Outbox) {
        if !self.hard_dirty && !self.log.has_unsaved() {
            return;
        }
        let write = self.next_write;
        self.next_write = WriteId(write.0 + 1);
        let hard = self.hard_dirty.then_some(self.hard);
        if self.hard_dirty {
            self.hard_write = write;
            self.hard_dirty = false;
        }
        let (prev, entries) = self.log.take_unsaved(write);
        out.write = Some(Append { shard: self.config.shard, write, hard, prev, entries });
    }

    fn take_messages(&mut self, out: &mut Outbox) {
        let newest = WriteId(self.next_write.0 - 1);
        for (to, message) in self.outgoing.drain(..) {
            let mut needs = self.hard_write;
            if message.promises_log() && !self.log.settled() {
                needs = newest;
            }
            let unsafe_vote = matches!(message, Message::Vote { .. });
            let early = (unsafe_vote && mutant(&self.config, Mutant::VoteNotDurable))
                || (message.promises_log() && mutant(&self.config, Mutant::AckBeforeFsync));
            if needs <= self.durable_write || early {
                out.send.push((to, message));
            } else {
                out.after_write.push(Held::new(self.config.shard, needs, (to, message)));
            }
        }
    }

    fn take_apply(&mut self, out: &mut Outbox) {
        if self.installing.is_some() || self.state_lost {
            return;
        }
        let upto = self.hard.commit.min(self.log.durable());
        while self.given < upto && self.applying_bytes < self.config.max_applying_bytes {
            let Some(entry) = self.log.get(self.given.next()) else { break };
            self.applying_bytes += log::size(entry);
            self.given = entry.id.index;
            out.apply.push(entry.clone());
        }
    }

    // ---- in ----

    fn step(&mut self, now: Instant, from: NodeId, message: Message) {
        if from == self.config.id {
            return;
        }
        let term = message.term();
        match message {
            Message::RequestVote { term, pre, transfer, last } => {
                return self.vote_requested(now, from, term, pre, transfer, last);
            }
            Message::Vote { pre: true, granted: true, .. } => {}
            _ if term > self.hard.term => {
                let leader = message.from_leader().then_some(from);
                self.follow(now, term, leader, "a higher term was heard");
            }
            _ if term < self.hard.term => return self.refuse_old(from, &message),
            _ => {}
        }
        if message.from_leader() && !self.hear_leader(now, from) {
            return;
        }
        match message {
            Message::RequestVote { .. } => {}
            Message::Append { .. } | Message::SnapshotChunk { .. } if self.is_deaf() => {}
            Message::Vote { term, pre, granted, withheld } => {
                self.vote_came(now, from, term, pre, granted, withheld);
            }
            Message::Append { prev, entries, commit, .. } => self.append(from, prev, entries, commit),
            Message::Appended { matched, .. } => self.appended(now, from, matched),
            Message::AppendRejected { prev, hint, .. } => self.append_rejected(now, from, prev, hint),
            Message::Heartbeat { commit, round, lease, .. } => {
                self.commit_told(from, commit);
                let term = self.hard.term;
                let withheld = self.withheld.is_some();
                let promised = self.promise(now, lease);
                let asks = self.deaf;
                self.post(from, Message::HeartbeatResponse { term, round, withheld, promised, asks });
                self.ask_for_state(from);
            }
            Message::HeartbeatResponse { round, withheld, promised, asks, .. } => {
                self.heartbeat_answered(now, from, round, (withheld, promised, asks));
            }
            Message::Commit { commit, .. } => self.commit_told(from, commit),
            Message::ReadIndex { context, .. } => self.read_index_asked(from, context),
            Message::ReadIndexResponse { context, index, proof, .. } => {
                self.read_index_came(context, index, &proof);
            }
            Message::TimeoutNow { .. } => self.campaign(now, true),
            Message::SnapshotChunk { snapshot, meta, seq, data, last, .. } => {
                self.chunk_came(from, snapshot, meta, seq, data, last);
            }
            Message::SnapshotWant { snapshot, seq, .. } => self.chunk_wanted(now, from, snapshot, seq),
            Message::TermVouched { life, .. } => self.term_vouched(life),
            Message::Rest { upto, .. } => self.rest_asked(from, upto),
            Message::Rested { upto, .. } => self.rested(now, from, upto),
        }
    }

    /// A sender of an older term is told the newer one, so that a deposed leader steps down and a lagging candidate
    /// comes along; answers are simply late.
    fn refuse_old(&mut self, from: NodeId, message: &Message) {
        if message.from_leader() {
            let (term, hint) = (self.hard.term, self.log.last());
            self.post(from, Message::AppendRejected { term, prev: Index(0), hint });
        }
    }

    /// True if the message of this term's leader counts.
    fn hear_leader(&mut self, now: Instant, from: NodeId) -> bool {
        if let Some(other) = self.led_by.filter(|&l| l != from) {
            let term = self.hard.term;
            self.halt(format!("Election Safety: {from:?} leads in {term:?}, and so does {other:?}"));
            return false;
        }
        if self.role != Role::Follower || self.leader != Some(from) {
            let term = self.hard.term;
            self.follow(now, term, Some(from), "the term's leader was heard");
        }
        self.leader_heard = Some(now);
        self.vain = 0;
        self.redraw_timeout(now);
        true
    }

    fn written(&mut self, now: Instant, proof: &quorate_base::Durable) {
        if proof.shard() != self.config.shard || proof.write() <= self.durable_write {
            return;
        }
        self.durable_write = proof.write();
        self.log.written(proof.write());
        match self.role {
            Role::Leader => self.advance_commit(now),
            Role::Candidate => self.count_votes(now),
            Role::Follower | Role::PreCandidate => {}
        }
        self.heal();
    }

    fn applied_upto(&mut self, index: Index) {
        if index <= self.applied {
            return;
        }
        assert!(index <= self.given, "the machine applied {index:?}, only {:?} was given", self.given);
        while self.applied < index {
            self.applied = self.applied.next();
            let bytes = self.log.get(self.applied).map_or(0, log::size);
            self.applying_bytes = self.applying_bytes.saturating_sub(bytes);
            self.unapplied_bytes = self.unapplied_bytes.saturating_sub(bytes);
        }
        if self.applied == self.given {
            self.applying_bytes = 0;
        }
    }

    fn compact(&mut self, now: Instant, upto: Index, keep: usize) {
        let upto = upto.min(self.applied);
        let old = self.log.base().index;
        self.keep = keep;
        let keep = keep.min(self.config.log_keep_bytes);
        if let Some((from, bytes)) = self.pinned(now, keep) {
            self.log.compact(upto.min(from), keep);
            self.log.compact(upto, bytes.max(keep));
        } else {
            self.log.compact(upto, keep);
        }
        let base = self.log.base().index;
        if base > old {
            let keep = self.configs.iter().rposition(|&(at, _)| at <= base).unwrap_or(0);
            self.configs.drain(..keep);
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.rest.resting {
            return;
        }
        match self.role {
            Role::Leader => self.leader_tick(now),
            Role::Follower | Role::PreCandidate | Role::Candidate => {
                if now >= self.election_at {
                    self.election_timeout(now);
                }
            }
        }
    }

    // ---- shared ----

    fn set_hard(&mut self, term: Term, vote: Option<NodeId>) {
        if (term, vote) != (self.hard.term, self.hard.vote) {
            assert!(term >= self.hard.term, "terms never fall");
            if term > self.hard.term {
                self.led_by = None;
                self.owed = None;
                self.agreed = Index(0);
            }
            self.hard.term = term;
            self.hard.vote = vote;
            self.hard_dirty = true;
        }
    }

    /// Becomes a follower of `leader` in `term`.
    fn follow(&mut self, now: Instant, term: Term, leader: Option<NodeId>, reason: &'static str) {
        let vote = if term > self.hard.term { None } else { self.hard.vote };
        let before = (self.role, self.leader, self.hard.term);
        self.set_hard(term, vote);
        if self.leader != leader {
            self.leader_heard = None;
        }
        if before.0 == Role::Leader {
            // The timer of a leader was a heartbeat's.
            self.redraw_timeout(now);
        }
        self.role = Role::Follower;
        self.leader = leader;
        self.led_by = self.led_by.or(leader);
        self.votes.clear();
        self.progress.clear();
        self.transfer = None;
        if (self.role, self.leader, self.hard.term) != before {
            self.drop_reads();
            self.role_changed(reason, false);
        }
        if before.2 != term {
            self.incoming = None;
        }
    }

    fn role_changed(&mut self, reason: &'static str, won: bool) {
        let won = won || self.pending.role.as_ref().is_some_and(|c| c.won && c.term == self.hard.term);
        self.pending.role =
            Some(RoleChange { role: self.role, term: self.hard.term, leader: self.leader(), reason, won });
    }

    /// Stops for good: going on could spread a loss that so far is one replica's.
    fn halt(&mut self, why: String) {
        self.outgoing.clear();
        self.broken.get_or_insert(why);
    }

    fn commit_upto(&mut self, index: Index) {
        if index <= self.hard.commit {
            return;
        }
        assert!(index <= self.log.last().index, "commit {index:?} lies beyond the log {:?}", self.log.last());
        self.unapplied_bytes += self.log.bytes_of(self.hard.commit, index);
        self.hard.commit = index;
        self.heal();
    }

    /// See "Replicas that may have forgotten".
    fn heal(&mut self) {
        let Some(withheld) = self.withheld else { return };
        let at = self.hard.commit.min(self.log.durable());
        if self.log.term(at).is_some_and(|term| term > withheld.term) {
            self.withheld = None;
        }
    }

    fn push_entry(&mut self, kind: EntryKind, data: bytes::Bytes) -> EntryId {
        let id = EntryId::new(self.hard.term, self.log.last().index.next());
        let entry = Entry { id, kind, data };
        self.uncommitted_bytes += log::size(&entry);
        self.log.push(entry);
        id
    }

    fn push_config(&mut self, index: Index, membership: Membership) {
        self.configs.push((index, membership));
    }
}

/// Whether a planted bug is chosen. Without the feature this is `false` to the compiler.
pub fn mutant(config: &Config, which: Mutant) -> bool {
    cfg!(feature = "mutants") && config.mutant == Some(which)
}
