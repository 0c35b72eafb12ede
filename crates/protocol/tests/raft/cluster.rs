//! A cluster of cores, their disks and the network between them, as one value that can be cloned: what the scripts, the
//! random schedules and the exhaustive search all drive.
//!
//! Nothing happens by itself unless `Options` say so: a message waits in `net` until it is delivered or dropped, a write
//! in `unflushed` until it is flushed or lost, what was committed in `work` until the machine takes it. After every step
//! the promises and the safety properties are checked ([`crate::checker`]); the first thing that is wrong is kept in
//! `fault`, and nothing happens after it.

use crate::checker::{Checker, RaftSight, Sight};
use bytes::{Buf, Bytes};
use quorate_base::time::Duration;
use quorate_base::{
    Append, Base, Entry, EntryId, EntryKind, HardState, Held, Index, Instant, Mint, NodeId, Rng, ShardId,
    Term,
};
use quorate_protocol::Core;
use quorate_protocol::raft::{
    Boot, ChunkWanted, Config, Input, InstallChunk, Membership, Message, Mutant, Outbox, ProposalId, Raft,
    ReadId, Refusal, SnapshotId, SnapshotMeta,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

pub const SHARD: ShardId = ShardId(1);
/// How the cluster behaves by itself.
#[derive(Clone)]
pub struct Options {
    pub seed: u64,
    pub mutant: Option<Mutant>,
    /// Every write is flushed at once.
    pub auto_disk: bool,
    /// The machine takes what it is given at once, and chunks are read and stored at once.
    pub auto_work: bool,
    /// What is applied may leave the log.
    pub auto_compact: bool,
    /// The properties are checked.
    pub check: bool,
    /// Chunks of a snapshot, and bytes of each (eight at least).
    pub chunks: (u64, usize),
    /// For every node; shard and id are filled in.
    pub config: Config,
}

impl Default for Options {
    fn default() -> Self {
        let config = Config::new(SHARD, NodeId(0));
        Self {
            seed: 1,
            mutant: None,
            auto_disk: true,
            auto_work: true,
            auto_compact: false,
            check: true,
            chunks: (3, 8),
            config,
        }
    }
}

/// A machine that remembers what it has applied as a digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    pub at: EntryId,
    pub digest: u64,
    pub membership: Membership,
}

impl Machine {
    fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.id.index, self.at.index.next(), "the machine applies in order, each once");
        self.at = entry.id;
        self.digest = chain(self.digest, entry);
        if entry.kind == EntryKind::Membership {
            self.membership = Membership::decode(&entry.data).unwrap();
        }
    }

    fn base(&self) -> Base {
        Base { id: self.at, membership: self.membership.encode() }
    }
}

/// The digest after one more entry.
pub fn chain(digest: u64, entry: &Entry) -> u64 {
    let mut h = DefaultHasher::new();
    (digest, entry.id, entry.kind, &entry.data).hash(&mut h);
    h.finish()
}

/// What a crash leaves.
#[derive(Clone, Debug)]
pub struct Disk {
    pub hard: HardState,
    pub base: Base,
    pub entries: Vec<Entry>,
    pub state: Machine,
}

impl Disk {
    pub fn last(&self) -> EntryId {
        self.entries.last().map_or(self.base.id, |e| e.id)
    }

    /// Whether it holds the entry, as such or in its state.
    pub fn holds(&self, id: EntryId) -> bool {
        id.index <= self.base.id.index || self.entries.iter().any(|e| e.id == id)
    }

    fn write(&mut self, append: Append) {
        if let Some(hard) = append.hard {
            self.hard = hard;
        }
        if let Some(first) = append.entries.first() {
            self.entries.retain(|e| e.id.index < first.id.index);
        }
        let base = self.base.id.index;
        self.entries.extend(append.entries.into_iter().filter(|e| e.id.index > base));
    }

    /// The state stands for everything up to its index; the log behind stays if it continues it.
    fn checkpoint(&mut self, state: Machine) {
        let at = state.at;
        if self.base.id == at || self.entries.iter().any(|e| e.id == at) {
            self.entries.retain(|e| e.id.index > at.index);
        } else {
            self.entries.clear();
        }
        self.base = state.base();
        self.state = state;
    }
}

/// What waits for the machine, in order.
#[derive(Clone, Debug)]
pub enum Work {
    Apply(Vec<Entry>),
    Read(ChunkWanted),
    Install(InstallChunk),
}

#[derive(Clone)]
pub struct Member {
    pub id: NodeId,
    pub raft: Option<Raft>,
    pub disk: Disk,
    pub unflushed: VecDeque<Append>,
    pub held: VecDeque<Held<(NodeId, Message)>>,
    pub machine: Machine,
    pub work: VecDeque<Work>,
    pub life: u64,
    /// For the next start: what recovery would find out about forgotten promises.
    pub withheld_upto: Option<Index>,
    pub withhold_votes: bool,
    /// Its disk was lost, and it has not been seen healed.
    pub disk_lost: bool,
    /// It had been, and was told again.
    pub again: bool,
    /// What it held, and had confirmed, on disks that were lost.
    pub once: BTreeSet<EntryId>,
    /// Its disk's state is gone; what stands for it in the journal is still there.
    pub state_lost: bool,
    /// Its disk flushes by hand only, whatever the options say.
    pub by_hand: bool,
    /// Its clock's nanoseconds to a million of true ones; its zero is the cluster's.
    pub rate: u64,
    /// Its commit index when it was last looked at, and the last term in which it was seen to lead; in this life.
    pub looked: Index,
    pub led: Term,
    exports: BTreeMap<SnapshotId, (SnapshotMeta, u64)>,
    /// Chunks stored of the snapshot that comes in; none if one of them could not be.
    pub staged: Option<u64>,
}

impl Member {
    /// What there is to judge that was not there at the last look.
    fn look(&mut self) -> Result<Option<Sight>, String> {
        let Some(raft) = &self.raft else { return Ok(None) };
        raft.check_invariants().map_err(|why| format!("{:?}: {why}", self.id))?;
        let (term, leads, commit, looked) = (raft.term(), raft.is_leader(), raft.commit(), self.looked);
        let news = commit > looked || (leads && term != self.led);
        self.looked = commit;
        if leads {
            self.led = term;
        }
        if !news {
            return Ok(None);
        }
        let base = raft.base();
        let log = (base.index.0 + 1..=raft.last().index.0).filter_map(|at| raft.entry(Index(at))).cloned();
        let at = EntryId::new(raft.term_at(commit).unwrap_or_default(), commit);
        Ok(Some(Sight::Raft(Box::new(RaftSight {
            node: self.id,
            term,
            leads,
            commit,
            looked,
            base,
            log: log.collect(),
            membership: raft.membership().clone(),
            configured: (raft.configured_at().1, raft.committed_membership().clone()),
            on_disk: self.disk.holds(at),
        }))))
    }
}

#[derive(Clone, Debug)]
pub struct Packet {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
}

/// What became of a proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    Open,
    Accepted(EntryId),
    Refused(Refusal),
}

#[derive(Clone)]
pub struct Cluster {
    pub options: Options,
    pub now: Instant,
    pub members: BTreeMap<NodeId, Member>,
    pub net: VecDeque<Packet>,
    /// Cut links, one way each.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub checker: Checker,
    /// What was seen, if somebody else is to judge it.
    pub sights: Option<Vec<Sight>>,
    pub fault: Option<String>,
    pub trace: Option<Vec<String>>,
    pub proposals: BTreeMap<ProposalId, Fate>,
    pub reads: u64,
    pub reads_done: BTreeMap<ReadId, Result<Index, Refusal>>,
}

pub fn n(id: u64) -> NodeId {
    NodeId(id)
}

impl Cluster {
    pub fn new(options: Options, voters: &[u64], learners: &[u64]) -> Self {
        let membership = Membership {
            voters: voters.iter().map(|&i| n(i)).collect(),
            learners: learners.iter().map(|&i| n(i)).collect(),
            ..Membership::default()
        };
        let mut cluster = Self {
            options,
            now: Instant::ZERO,
            members: BTreeMap::new(),
            net: VecDeque::new(),
            cut: BTreeSet::new(),
            checker: Checker::default(),
            sights: None,
            fault: None,
            trace: None,
            proposals: BTreeMap::new(),
            reads: 0,
            reads_done: BTreeMap::new(),
        };
        cluster.checker.founded(membership.clone());
        for node in membership.nodes() {
            cluster.add(node, &membership);
        }
        cluster
    }

    /// A new node with an empty disk that knows the first configuration.
    pub fn add(&mut self, node: NodeId, membership: &Membership) {
        let state = Machine { at: EntryId::ZERO, digest: 0, membership: membership.clone() };
        let disk =
            Disk { hard: HardState::default(), base: state.base(), entries: vec![], state: state.clone() };
        let member = Member {
            id: node,
            raft: None,
            disk,
            unflushed: VecDeque::new(),
            held: VecDeque::new(),
            machine: state,
            work: VecDeque::new(),
            life: 0,
            withheld_upto: None,
            withhold_votes: false,
            disk_lost: false,
            again: false,
            once: BTreeSet::new(),
            state_lost: false,
            by_hand: false,
            rate: 1_000_000,
            looked: Index(0),
            led: Term(0),
            exports: BTreeMap::new(),
            staged: Some(0),
        };
        self.members.insert(node, member);
        self.start(node);
    }

    pub fn config(&self, node: NodeId) -> Config {
        Config { id: node, mutant: self.options.mutant, ..self.options.config.clone() }
    }

    // ---- crash and restart ----

    pub fn start(&mut self, node: NodeId) {
        let (config, seed, now) = (self.config(node), self.options.seed, self.local(node));
        let Some(m) = self.members.get_mut(&node).filter(|m| m.raft.is_none()) else { return };
        m.life += 1;
        let bound = m.life > 1 && config.lease_reads.is_some();
        let promised = if bound { config.election_min } else { Duration::ZERO };
        m.machine = m.disk.state.clone();
        if m.state_lost {
            m.machine.at = EntryId::ZERO;
        }
        let boot = Boot {
            hard: m.disk.hard,
            base: m.disk.base.clone(),
            entries: m.disk.entries.clone(),
            applied: m.disk.base.id.index,
            withheld_upto: m.withheld_upto,
            withhold_votes: m.withhold_votes,
            disk_lost: m.disk_lost,
            state_lost: m.state_lost,
            campaign_at_once: false,
            promised,
        };
        let rng = Rng::stream(seed ^ (m.life << 32) ^ node.0, "raft");
        match Raft::new(config, rng, boot, now) {
            Ok(raft) => m.raft = Some(raft),
            Err(error) => self.fail(format!("{node:?} does not boot: {error:?}")),
        }
    }

    /// Its disk is lost with all that it holds; another takes its place. What it had sent is gone with its connections.
    pub fn wipe(&mut self, node: NodeId, founders: &Membership) {
        self.crash(node, 0);
        self.net.retain(|packet| packet.from != node);
        self.note(|| format!("n{node} loses its disk"));
        let Some(m) = self.members.get_mut(&node) else { return };
        m.once.extend(m.disk.entries.iter().map(|entry| entry.id));
        m.once.insert(m.disk.base.id);
        let state = Machine { at: EntryId::ZERO, digest: 0, membership: founders.clone() };
        m.disk = Disk { hard: HardState::default(), base: state.base(), entries: vec![], state };
        (m.disk_lost, m.again, m.state_lost, m.withhold_votes, m.withheld_upto) =
            (true, false, false, false, None);
    }

    /// Its next start is told again that its disk was lost, though it may have healed since: see `boot::Begun::returns` of the node.
    pub fn tell_again(&mut self, node: NodeId) {
        let Some(m) = self.members.get_mut(&node).filter(|m| !m.once.is_empty() && !m.disk_lost) else {
            return;
        };
        (m.disk_lost, m.again) = (true, true);
    }

    /// The process is gone; of what it had not flushed the first `kept` writes are on disk anyway.
    pub fn crash(&mut self, node: NodeId, kept: usize) {
        self.note(|| format!("n{node} crashes, {kept} unflushed writes kept"));
        let Some(m) = self.members.get_mut(&node) else { return };
        let Some(raft) = m.raft.take() else { return };
        m.disk_lost &= raft.disk_lost();
        for append in m.unflushed.drain(..).take(kept) {
            m.disk.write(append);
        }
        m.held.clear();
        m.work.clear();
        m.exports.clear();
        m.staged = Some(0);
        (m.looked, m.led) = (Index(0), Term(0));
    }

    /// A crash and, at once, the next start.
    pub fn restart(&mut self, node: NodeId, kept: usize) {
        self.crash(node, kept);
        self.start(node);
    }

    /// Damage: the disk's log loses everything from `from` on.
    pub fn tear(&mut self, node: NodeId, from: Index) {
        let Some(m) = self.members.get_mut(&node) else { return };
        let last = m.disk.last().index;
        m.disk.entries.retain(|e| e.id.index < from);
        m.withheld_upto = Some(last);
    }

    // ---- one step of one core ----

    pub fn step(&mut self, node: NodeId, input: Input) {
        if self.fault.is_some() {
            return;
        }
        let now = self.local(node);
        let Some(raft) = self.members.get_mut(&node).and_then(|m| m.raft.as_mut()) else { return };
        let before = raft.commit();
        raft.handle(now, input);
        let commit = raft.commit();
        if commit > before {
            self.note(|| format!("n{node} commits up to {commit}"));
        }
        // Before the drain, in which a leader may leave a joint configuration by which it has just committed.
        self.look(node);
        self.drain(node);
    }

    fn drain(&mut self, node: NodeId) {
        let now = self.local(node);
        let Some(m) = self.members.get_mut(&node) else { return };
        let Some(raft) = m.raft.as_mut() else { return };
        let mut out = Outbox::default();
        raft.drain(now, &mut out);
        self.note_out(node, &out);
        if let Some(why) = out.broken {
            self.fail(format!("{node:?} stopped: {why}"));
            return;
        }
        let Some(m) = self.members.get_mut(&node) else { return };
        m.unflushed.extend(out.write);
        m.held.extend(out.after_write);
        if !out.apply.is_empty() {
            m.work.push_back(Work::Apply(out.apply));
        }
        m.work.extend(out.chunks.into_iter().map(Work::Read));
        m.work.extend(out.install.into_iter().map(Work::Install));
        for (to, message) in out.send {
            self.release(node, to, message);
        }
        for (id, at) in out.accepted {
            self.proposals.insert(id, Fate::Accepted(at));
        }
        for (id, refusal) in out.refused {
            self.proposals.insert(id, Fate::Refused(refusal));
        }
        for read in out.reads {
            self.read_done(node, read.id, read.index);
        }
        for (id, refusal) in out.dropped_reads {
            self.sees(Sight::ReadEnds(node, id, None));
            self.reads_done.insert(id, Err(refusal));
        }
        self.look(node);
        if self.options.auto_disk && !self.members[&node].by_hand {
            self.flush(node, usize::MAX);
        }
        if self.options.auto_work {
            self.work(node, usize::MAX);
        }
    }

    /// A message leaves its node: what it promises must be on disk, and what it confirms must be what the leader has there.
    fn release(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.note(|| format!("n{from} -> n{to}: {message}"));
        let disk = &self.members[&from].disk;
        let leader = self.members.get(&to).and_then(|m| m.raft.as_ref());
        let kept = crate::checker::promise(disk, to, &message);
        if let Err(why) = kept.and_then(|()| crate::checker::confirmation(disk, leader, &message)) {
            self.fail(format!("{from:?} sends {message} to {to:?}: {why}"));
        }
        self.net.push_back(Packet { from, to, message });
    }

    fn read_done(&mut self, node: NodeId, id: ReadId, index: Index) {
        self.sees(Sight::ReadEnds(node, id, Some(index)));
        self.reads_done.insert(id, Ok(index));
    }

    fn look(&mut self, node: NodeId) {
        if !self.options.check {
            return;
        }
        match self.members.get_mut(&node).map(Member::look) {
            Some(Ok(Some(sight))) => self.sees(sight),
            Some(Err(why)) => self.fail(why),
            Some(Ok(None)) | None => {}
        }
    }

    fn sees(&mut self, sight: Sight) {
        if let Some(sights) = &mut self.sights {
            return sights.push(sight);
        }
        let members = &self.members;
        let holds = |n: NodeId, id: EntryId| {
            members.get(&n).is_some_and(|m| m.disk.holds(id) || m.once.contains(&id))
        };
        if let Err(why) = self.checker.judge(&sight, &holds) {
            self.fail(why);
        }
    }

    pub fn fail(&mut self, why: String) {
        self.note(|| format!("FAULT {why}"));
        self.fault.get_or_insert(why);
    }

    // ---- the disk ----

    /// Flushes the first `count` writes of a node.
    pub fn flush(&mut self, node: NodeId, count: usize) {
        let Some(m) = self.members.get_mut(&node) else { return };
        let mut last = None;
        let count = count.min(m.unflushed.len());
        for append in m.unflushed.drain(..count) {
            last = Some(append.write);
            m.disk.write(append);
        }
        let Some(write) = last else { return };
        self.note(|| format!("n{node} has flushed w{}", write.0));
        let proof = Mint::for_journal().durable(SHARD, write);
        while let Some(held) = self.members.get_mut(&node).and_then(|m| m.held.pop_front()) {
            match held.open(&proof) {
                Ok((to, message)) => self.release(node, to, message),
                Err(held) => {
                    if let Some(m) = self.members.get_mut(&node) {
                        m.held.push_front(held);
                    }
                    break;
                }
            }
        }
        self.step(node, Input::Written { proof });
    }

    // ---- the machine ----

    /// Does the first `count` jobs of a node's machine.
    pub fn work(&mut self, node: NodeId, count: usize) {
        for _ in 0..count {
            if self.fault.is_some() {
                return;
            }
            let Some(job) = self.members.get_mut(&node).and_then(|m| m.work.pop_front()) else { return };
            match job {
                Work::Apply(entries) => self.apply(node, &entries),
                Work::Read(wanted) => self.read_chunk(node, wanted),
                Work::Install(chunk) => self.install(node, chunk),
            }
        }
    }

    fn apply(&mut self, node: NodeId, entries: &[Entry]) {
        let Some(m) = self.members.get_mut(&node) else { return };
        for entry in entries {
            m.machine.apply(entry);
        }
        let (at, digest) = (m.machine.at, m.machine.digest);
        let index = at.index;
        self.sees(Sight::Machine { node, at, digest });
        self.step(node, Input::Applied { index });
        if self.options.auto_compact {
            self.step(node, Input::Compact { upto: index, keep: usize::MAX });
        }
    }

    fn read_chunk(&mut self, node: NodeId, wanted: ChunkWanted) {
        let (chunks, bytes) = self.options.chunks;
        let Some(m) = self.members.get_mut(&node) else { return };
        let ChunkWanted { to, snapshot, seq } = wanted;
        let machine = &m.machine;
        let (meta, digest) = m
            .exports
            .entry(snapshot)
            .or_insert_with(|| (SnapshotMeta::from(machine.base()), machine.digest))
            .clone();
        let mut data = (digest ^ seq).to_le_bytes().to_vec();
        data.resize(bytes, 0);
        let (data, last) = (data.into(), seq + 1 >= chunks);
        self.step(node, Input::SnapshotChunk { to, snapshot, meta, seq, data, last });
    }

    fn install(&mut self, node: NodeId, chunk: InstallChunk) {
        let Some(m) = self.members.get_mut(&node) else { return };
        if chunk.seq == 0 {
            m.staged = Some(0);
        }
        let Some(held) = m.staged else {
            return self.step(node, Input::InstallFailed { snapshot: chunk.meta });
        };
        if chunk.seq != held {
            return self.fail(format!("{node:?} is to store chunk {}, but holds {held} chunks", chunk.seq));
        }
        m.staged = Some(held + 1);
        let digest = chunk.data.clone().get_u64_le() ^ chunk.seq;
        self.step(node, Input::ChunkStored { snapshot: chunk.meta.clone(), seq: chunk.seq });
        if chunk.last {
            self.switch(node, chunk.meta, digest);
        }
    }

    /// The state becomes the snapshot; the record of it follows, in the journal, all that was written before.
    fn switch(&mut self, node: NodeId, meta: SnapshotMeta, digest: u64) {
        self.flush(node, usize::MAX);
        let Some(m) = self.members.get_mut(&node) else { return };
        if m.machine.at.index >= meta.id.index {
            let at = m.machine.at;
            return self.fail(format!("{node:?} is to install {:?}, but has applied {at:?}", meta.id));
        }
        let membership = Membership::decode(&meta.membership).unwrap();
        m.machine = Machine { at: meta.id, digest, membership };
        m.state_lost = false;
        m.disk.checkpoint(m.machine.clone());
        self.sees(Sight::Machine { node, at: meta.id, digest });
        self.note(|| format!("n{node} has installed {}@{}", meta.id.term, meta.id.index));
        self.step(node, Input::Installed { base: meta.into() });
    }

    /// The state of now becomes what a restart begins with, and the log below it may go.
    pub fn checkpoint(&mut self, node: NodeId) {
        self.work(node, usize::MAX);
        self.flush(node, usize::MAX);
        let Some(m) = self.members.get_mut(&node).filter(|m| m.raft.is_some() && !m.state_lost) else {
            return;
        };
        let at = m.machine.at;
        if m.disk.last().index < at.index {
            let last = m.disk.last();
            return self.fail(format!("{node:?} has applied {at:?}, its journal holds {last:?}"));
        }
        m.disk.checkpoint(m.machine.clone());
        self.step(node, Input::Compact { upto: at.index, keep: usize::MAX });
    }

    // ---- the network ----

    pub fn deliver_at(&mut self, at: usize) {
        let Some(packet) = self.net.remove(at) else { return };
        if !self.cut.contains(&(packet.from, packet.to)) {
            self.step(packet.to, Input::Message { from: packet.from, message: packet.message });
        }
    }

    /// Delivers, flushes and works until nothing is under way; false if that takes too long.
    pub fn stabilize(&mut self) -> bool {
        for _ in 0..10_000 {
            let nodes: Vec<NodeId> = self.members.keys().copied().collect();
            let waits = |n: &&NodeId| {
                let m = &self.members[*n];
                !m.unflushed.is_empty() && !m.by_hand && m.raft.is_some()
            };
            if let Some(&node) = nodes.iter().find(waits) {
                self.flush(node, usize::MAX);
            } else if let Some(&node) =
                nodes.iter().find(|n| !self.members[n].work.is_empty() && self.up(**n))
            {
                self.work(node, usize::MAX);
            } else if self.net.is_empty() {
                return true;
            } else {
                self.deliver_at(0);
            }
            if self.fault.is_some() {
                return true;
            }
        }
        false
    }

    /// Cuts all links of a node, both ways.
    pub fn isolate(&mut self, node: NodeId) {
        for &other in self.members.keys() {
            if other != node {
                self.cut.insert((node, other));
                self.cut.insert((other, node));
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    // ---- time ----

    /// What a node's clock shows now.
    pub fn local(&self, node: NodeId) -> Instant {
        let rate = self.members.get(&node).map_or(1_000_000, |m| m.rate);
        Instant((u128::from(self.now.0) * u128::from(rate) / 1_000_000) as u64)
    }

    /// When a node that is up next wants a tick, by the true time.
    pub fn deadline(&self, node: NodeId) -> Option<Instant> {
        let m = self.members.get(&node)?;
        let at = u128::from(m.raft.as_ref()?.deadline()?.0) * 1_000_000;
        Some(Instant(at.div_ceil(u128::from(m.rate)) as u64))
    }

    /// Lets time pass, with every tick on time.
    pub fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some((at, node)) = self.next_deadline().filter(|&(at, _)| at <= until) {
            self.now = self.now.max(at);
            self.step(node, Input::Tick);
            if self.fault.is_some() {
                return;
            }
        }
        self.now = until;
    }

    fn next_deadline(&self) -> Option<(Instant, NodeId)> {
        self.members.keys().filter_map(|&node| Some((self.deadline(node)?, node))).min()
    }

    /// Jumps to the moment at which one node loses patience; the others' clocks stand by.
    pub fn time_out(&mut self, node: NodeId) {
        let Some(at) = self.deadline(node) else { return };
        let leads = self.members[&node].raft.as_ref().is_some_and(Raft::is_leader);
        if !leads && at + self.options.config.heartbeat < self.now {
            // Late: this one only starts the timer anew.
            self.step(node, Input::Tick);
        }
        if let Some(at) = self.deadline(node) {
            self.now = self.now.max(at);
            self.step(node, Input::Tick);
        }
    }

    /// Starts a node over a disk with these terms as its log and nothing applied.
    pub fn seed(&mut self, node: NodeId, term: u64, terms: &[u64]) {
        self.crash(node, 0);
        let entry = |(i, &t): (usize, &u64)| Entry {
            id: EntryId::new(Term(t), Index(i as u64 + 1)),
            kind: EntryKind::Command,
            data: Bytes::new(),
        };
        if let Some(m) = self.members.get_mut(&node) {
            m.disk.hard = HardState { term: Term(term), ..HardState::default() };
            m.disk.entries = terms.iter().enumerate().map(entry).collect();
        }
        self.start(node);
    }

    // ---- clients ----

    pub fn propose(&mut self, node: NodeId, data: &str) -> ProposalId {
        let id = ProposalId(self.proposals.len() as u64 + 1);
        self.proposals.insert(id, Fate::Open);
        self.step(node, Input::Propose { id, data: Bytes::copy_from_slice(data.as_bytes()) });
        id
    }

    pub fn change(&mut self, node: NodeId, target: &Membership) -> ProposalId {
        let id = ProposalId(self.proposals.len() as u64 + 1);
        self.proposals.insert(id, Fate::Open);
        let before = self.members.get(&node).and_then(|m| m.raft.as_ref()).map(|r| r.membership().clone());
        self.step(node, Input::ChangeMembership { id, target: target.clone() });
        let raft = self.members.get(&node).and_then(|m| m.raft.as_ref());
        if let (Some(before), Some(raft), Some(Fate::Accepted(_))) = (before, raft, self.proposals.get(&id))
            && let Err(why) = crate::checker::admission(raft, &before, target)
        {
            self.fail(why);
        }
        id
    }

    pub fn read(&mut self, node: NodeId) -> ReadId {
        self.reads += 1;
        let id = ReadId(self.reads);
        self.read_as(node, id);
        id
    }

    pub fn read_as(&mut self, node: NodeId, id: ReadId) {
        self.sees(Sight::ReadBegins(id));
        self.step(node, Input::Read { id });
    }

    // ---- ask ----

    pub fn up(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|m| m.raft.is_some())
    }

    pub fn raft(&self, node: u64) -> &Raft {
        self.members[&n(node)].raft.as_ref().unwrap()
    }

    /// The leader of the newest term, if it is up.
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |m: &&Member| m.raft.as_ref().is_some_and(Raft::is_leader);
        let term = |m: &&Member| m.raft.as_ref().map_or(Term(0), Raft::term);
        self.members.values().filter(leads).max_by_key(term).map(|m| m.id)
    }

    /// The first thing that was wrong, as an error.
    pub fn verdict(&self) -> Result<(), String> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    // ---- trace ----

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    fn note_out(&mut self, node: NodeId, out: &Outbox) {
        let Some(trace) = &mut self.trace else { return };
        crate::trace::outbox(trace, node, out);
    }
}
