//! A node among peers that say anything: frames that decode and lie, frames that are harmed, packets of noise.
//!
//! Claim: the lane never panics. It goes on, or it stops and names the promise that was broken, as it must where two claim to
//! lead in one term. What one packet may cost is bounded.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]
#![allow(clippy::disallowed_methods, reason = "seeds to run may be named in the environment")]

use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Entry, EntryId, EntryKind, Index, Instant, Mint, NodeId, Rng, ShardId, Term};
use quorate_clock::{Hlc, Wall};
use quorate_faulty::FaultyDisk;
use quorate_node::api::{Answer, Body, Failure, Request};
use quorate_node::applier::{Applier, Output, Work};
use quorate_node::boot::{self, Parts};
use quorate_node::lane::{
    AT_ONCE, Broken, COMMAND_MAX, Effects, Event, Lane, PACKET_BYTES, Settings, Upkeep,
};
use quorate_node::watch::Hub;
use quorate_protocol::raft::{self, Membership, Message, SnapshotId, SnapshotMeta};
use quorate_storage::journal::{CheckpointMark, Identity, Journal, Options};
use quorate_storage::memory::MemoryStore;
use quorate_storage::state::StateErrorKind;
use quorate_wire::command;
use quorate_wire::kv::{Command, KeyRange, Put, Range};
use quorate_wire::members::Change;
use quorate_wire::peer::{Close, Commitment, Declined, Follows, Frame, LeaseAsk, Packet};
use std::sync::{Arc, Mutex};

const KV: ShardId = ShardId(1);
const ME: NodeId = NodeId(1);
/// Many times what is ever to be done at one moment.
const ROUNDS: u32 = 20_000;
const BEYOND: u64 = (1 << 62) - 1;

struct Node {
    lane: Lane,
    applier: Applier,
    journal: Journal,
    effects: Effects,
    now: Instant,
    answers: Arc<Mutex<Vec<Result<Answer, Failure>>>>,
    malformed: usize,
    packets: Vec<(NodeId, Bytes)>,
}

impl Node {
    fn start(seed: u64) -> Self {
        let identity = Identity { cluster: 5, node: ME };
        let disk = Arc::new(FaultyDisk::new(seed));
        let (mut journal, found) =
            Journal::open(disk.clone(), "journal", identity, Options::default(), Mint::for_journal())
                .unwrap();
        let mut store = MemoryStore::new(disk, "state", identity);
        let config = raft::Config::new(KV, ME);
        let founders = Membership::of_voters((1..=3).map(NodeId));
        let parts = Parts {
            raft: config.clone(),
            found,
            store: &mut store,
            founders,
            campaign_at_once: false,
            disk_lost: false,
            promised: Duration::ZERO,
        };
        let (mut rng, now) = (Rng::new(seed), Instant(1));
        let booted = boot::boot(parts, &mut journal, &mut rng, now).unwrap();
        let options = quorate_node::watch::Options::default();
        let hub = Arc::new(Mutex::new(Hub::new(options, booted.view.clone(), Box::new(|| {}))));
        let settings = Settings {
            cluster: 5,
            node: ME,
            raft: config,
            members: Vec::new(),
            at_once: AT_ONCE,
            zone: String::new(),
            upkeep: Upkeep::default(),
        };
        let lane = Lane::new(settings, booted.raft, booted.view, hub, &mut rng, now);
        let applier = Applier::new(booted.kv, booted.lost, ME, booted.generation, 2_000);
        let (effects, answers) = (Effects::default(), Arc::default());
        Self { lane, applier, journal, effects, now, answers, malformed: 0, packets: Vec::new() }
    }

    fn call(&mut self, request: Request) {
        let answers = self.answers.clone();
        let done = Box::new(move |result| answers.lock().unwrap().push(result));
        self.lane.handle(self.now, Event::Call { shard: KV, request, wait: None.into(), done });
    }

    fn packet(&mut self, from: u64, body: Bytes) {
        self.lane.handle(self.now, Event::Packet { from: NodeId(from), body });
    }

    /// Carries out what the lane wants, until it wants nothing more. The promise that was broken, if one was.
    fn settle(&mut self) -> Option<String> {
        for _ in 0..ROUNDS {
            self.lane.drain(self.now, &mut self.effects);
            if let Some(broken) = self.effects.broken.take() {
                return Some(broken.why);
            }
            let mut events = Vec::new();
            if !self.effects.journal.is_empty() {
                self.journal.append(&std::mem::take(&mut self.effects.journal)).unwrap();
                events.push(Event::Journaled(self.journal.sync().unwrap()));
            }
            self.malformed += std::mem::take(&mut self.effects.malformed).len();
            self.packets.append(&mut self.effects.packets);
            self.effects.roles.clear();
            events.extend(self.effects.exports.drain(..).map(|export| Event::Exported(export.read())));
            events.extend(self.effects.reads.drain(..).map(|reading| Event::Read(reading.run(&|_| ()))));
            let work: Vec<Work> = self.effects.work.drain(..).collect();
            for work in work {
                self.work(work, &mut events);
            }
            if events.is_empty() {
                return None;
            }
            for event in events {
                self.lane.handle(self.now, event);
            }
        }
        panic!("after {ROUNDS} rounds the lane still wants more, at one moment");
    }

    fn work(&mut self, work: Work, events: &mut Vec<Event>) {
        let mut outputs = Vec::new();
        match self.applier.work(work, &mut outputs) {
            Err(error) if error.kind == StateErrorKind::Newer => {
                return events.push(Event::Broken(Broken::state("applying", &error)));
            }
            done => done.unwrap(),
        }
        for output in outputs {
            if let Output::Sealed { job, generation, cut } = output {
                job.run(generation).unwrap();
                let bases = cut.bases.clone();
                self.journal.mark_checkpoint(CheckpointMark { generation, bases }).unwrap();
                self.journal.sync().unwrap();
                events.push(Event::Checkpointed(cut));
                self.applier.work(Work::Checkpointed, &mut Vec::new()).unwrap();
            } else {
                events.push(Event::Output(output));
            }
        }
    }
}

/// What a peer says: near to what this node knows, so that much of it is believed.
struct Liar<'a> {
    node: &'a Node,
    rng: &'a mut Rng,
    /// Whom it plays.
    from: u64,
}

impl Liar<'_> {
    fn near(&mut self, n: u64) -> u64 {
        match self.rng.below(20) {
            0 => BEYOND,
            1 => self.rng.below(BEYOND),
            2 => 0,
            _ => (n + self.rng.below(4)).saturating_sub(self.rng.below(4)),
        }
    }

    fn term(&mut self) -> Term {
        let term = self.node.lane.raft().term().0;
        Term(if self.rng.chance(1, 30) { self.near(term) } else { term + self.rng.below(2) })
    }

    fn index(&mut self) -> Index {
        Index(self.near(self.node.lane.raft().last().index.0))
    }

    fn id(&mut self) -> EntryId {
        let last = self.node.lane.raft().last();
        if self.rng.chance(2, 3) { last } else { EntryId::new(self.term(), self.index()) }
    }

    fn bytes(&mut self) -> Bytes {
        let put =
            Put { key: "k".into(), value: vec![1; self.rng.below(300) as usize].into(), ..Put::default() };
        match self.rng.below(3) {
            0 => quorate_wire::command::encode(NodeId(2), self.rng.next_u64(), &Command::Put(put)),
            1 => Membership::of_voters((1..=self.rng.between(1, 4)).map(NodeId)).encode(),
            _ => {
                let mut bytes: Vec<u8> = (0..self.rng.below(40)).map(|_| self.rng.next_u64() as u8).collect();
                // Of a newer release only now and then: the node stops at that.
                if let Some(version) = bytes.first_mut()
                    && !self.rng.chance(1, 50)
                {
                    *version %= command::VERSION + 1;
                }
                bytes.into()
            }
        }
    }

    fn entries(&mut self, prev: EntryId) -> Vec<Entry> {
        let mut at = prev;
        (0..self.rng.below(4))
            .map(|_| {
                at = EntryId::new(at.term.max(self.node.lane.raft().term()), at.index.next());
                if self.rng.chance(1, 20) {
                    at = EntryId::new(self.term(), self.index());
                }
                let kind = *self.rng.pick(&[EntryKind::Empty, EntryKind::Command, EntryKind::Membership]);
                Entry { id: at, kind, data: self.bytes() }
            })
            .collect()
    }

    /// Two that claim to lead in one term stop the node, as they must; most of the time there is one.
    fn may_lead(&mut self, term: Term) -> bool {
        let raft = self.node.lane.raft();
        let leads = 2 + term.0 % 2 == self.from && !(raft.is_leader() && raft.term() == term);
        leads || self.rng.chance(1, 500)
    }

    fn message(&mut self) -> Message {
        let (term, commit) = (self.term(), self.index());
        let kind = self.rng.below(17);
        let leads = matches!(kind, 2..=4 | 7 | 9 | 11 | 12 | 15);
        match if leads && !self.may_lead(term) { 5 } else { kind } {
            0 => {
                let (pre, transfer) = (self.rng.chance(1, 2), self.rng.chance(1, 2));
                Message::RequestVote { term, pre, transfer, last: self.id() }
            }
            1 => {
                let (pre, granted) = (self.rng.chance(1, 2), self.rng.chance(2, 3));
                Message::Vote { term, pre, granted, withheld: self.rng.chance(1, 5) }
            }
            2..=4 => {
                let prev = self.id();
                Message::Append { term, prev, entries: self.entries(prev), commit }
            }
            5 => Message::Appended { term, matched: commit },
            6 => Message::AppendRejected { term, prev: commit, hint: self.id() },
            7 => {
                let lease = Duration::from_micros(self.rng.below(1 << 20));
                Message::Heartbeat { term, commit, round: self.rng.next_u64(), lease }
            }
            8 => {
                let (withheld, promised) = (self.rng.chance(1, 5), self.rng.chance(1, 2));
                let asks = self.rng.chance(1, 4).then(|| self.rng.below(3));
                Message::HeartbeatResponse { term, round: self.rng.next_u64(), withheld, promised, asks }
            }
            9 => Message::Commit { term, commit },
            10 => Message::ReadIndex { term, context: self.rng.next_u64() },
            11 => Message::TimeoutNow { term },
            12 => self.chunk(term),
            13 => Message::SnapshotWant {
                term,
                snapshot: SnapshotId(self.rng.below(3)),
                seq: self.rng.below(3),
            },
            14 => Message::TermVouched { term, life: self.rng.below(3) },
            15 => Message::Rest { term, upto: commit },
            _ => Message::Rested { term, upto: commit },
        }
    }

    fn chunk(&mut self, term: Term) -> Message {
        let view = self.node.lane.view();
        let data = match self.rng.below(3) {
            0 => view.export(None, 1 << 20).unwrap().0,
            1 => {
                let mut harmed = view.export(None, 1 << 20).unwrap().0.to_vec();
                let at = self.rng.below(harmed.len() as u64) as usize;
                harmed[at] ^= 1 << self.rng.below(8);
                harmed.into()
            }
            _ => self.bytes(),
        };
        let membership = Membership::of_voters((1..=3).map(NodeId)).encode();
        let meta = SnapshotMeta { id: self.id(), membership };
        let (snapshot, seq) = (SnapshotId(self.rng.below(3)), self.rng.below(3));
        Message::SnapshotChunk { term, snapshot, meta, seq, data, last: self.rng.chance(1, 2) }
    }

    fn frame(&mut self) -> Frame {
        let (term, request) = (self.term(), self.rng.below(50));
        let shard = if self.rng.chance(1, 20) { ShardId(self.rng.next_u64() as u32) } else { KV };
        let number = *self.rng.pick(&[i64::MIN, -1, 0, 1, i64::MAX]);
        match self.rng.below(14) {
            13 if shard != KV => Frame::Pause { shard: KV, millis: self.rng.next_u64() },
            13 => Frame::Flush { took: Duration::from_micros(self.rng.next_u64()) },
            9 => {
                let acks = vec![(NodeId(self.rng.below(5)), self.rng.next_u64())];
                let how = Commitment { id: self.id(), acks, voters: 3, micros: self.rng.next_u64() };
                Frame::Committed { request, how }
            }
            10 => {
                let led = vec![(shard, term, Index(self.rng.below(BEYOND))), (KV, self.term(), Index(1))];
                let closed = self.rng.chance(1, 2).then(|| (self.rng.below(9), Wall(self.rng.below(BEYOND))));
                let (round, base, open, gone) = (self.rng.below(9), self.rng.below(9), vec![KV], vec![shard]);
                Frame::Close(Close {
                    stream: request,
                    clock: Hlc(self.rng.next_u64()),
                    round,
                    base,
                    closed,
                    open,
                    led,
                    gone,
                })
            }
            11 => {
                let (round, wall, not) = (self.rng.below(9), Wall(self.rng.below(BEYOND)), vec![KV, shard]);
                Frame::Follows(Follows { stream: request, round, wall, clock: Hlc(self.rng.next_u64()), not })
            }
            0 => Frame::Forward { shard, term, request, data: self.bytes(), explain: self.rng.chance(1, 2) },
            1 => Frame::Lease { shard, request, ask: LeaseAsk::KeepAlive(number) },
            2 => Frame::Lease { shard, request, ask: LeaseAsk::TimeToLive(number) },
            3 => Frame::LeaseAnswer { request, ttl: number, granted: number },
            4 => Frame::Refused {
                request,
                why: *self.rng.pick(&[Declined::NotLeading, Declined::Overloaded, Declined::Unknown]),
            },
            _ => Frame::Raft { shard, message: self.message() },
        }
    }

    /// A packet; now and then harmed, now and then noise.
    fn packet(&mut self) -> Bytes {
        let mut packet = Packet::default();
        for _ in 0..self.rng.between(1, 3) {
            packet.push(&self.frame());
        }
        let mut body = packet.finish().to_vec();
        match self.rng.below(8) {
            0 if !body.is_empty() => {
                let at = self.rng.below(body.len() as u64) as usize;
                body[at] ^= 1 << self.rng.below(8);
            }
            1 => body.truncate(self.rng.below(body.len() as u64 + 1) as usize),
            2 => body = (0..self.rng.below(40)).map(|_| self.rng.next_u64() as u8).collect(),
            _ => {}
        }
        body.into()
    }
}

/// One life of a node among liars, from a seed: how it ended.
fn life(seed: u64) -> (Option<String>, usize, bool) {
    let mut rng = Rng::stream(seed, "liars");
    let mut node = Node::start(seed);
    let mut led = false;
    for _ in 0..200 {
        let most = if rng.chance(1, 20) { 2_000 } else { 60 };
        node.now = node.now + Duration::from_millis(rng.below(most));
        match rng.below(12) {
            0 => node.lane.handle(node.now, Event::PeerUp(NodeId(rng.between(2, 3)))),
            1 => node.lane.handle(node.now, Event::PeerDown(NodeId(rng.between(2, 3)))),
            2 => node.call(Request::Write(Command::Put(Put { key: "a".into(), ..Put::default() }))),
            3 => {
                let range = KeyRange { key: "a".into(), end: Bytes::new() };
                let range = Range { range, ..Range::default() };
                node.call(Request::Range { range, serializable: rng.chance(1, 2) });
            }
            _ => {
                let from = rng.between(2, 3);
                let body = Liar { node: &node, rng: &mut rng, from }.packet();
                node.packet(from, body);
            }
        }
        node.lane.handle(node.now, Event::Tick);
        if let Some(why) = node.settle() {
            return (Some(why), node.malformed, led);
        }
        led |= node.lane.raft().is_leader();
    }
    node.answers.lock().unwrap().clear();
    node.call(Request::Status);
    let answers = node.answers.lock().unwrap();
    assert!(matches!(answers[..], [Ok(Answer { body: Body::Status(_), .. })]), "seed {seed}: no status");
    (None, node.malformed, led)
}

/// `SEEDS=from..to` runs others than the default.
#[test]
fn lies_are_refused_or_named() {
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| "0..300".into());
    let (from, to) = seeds.split_once("..").unwrap();
    let (mut lived, mut malformed, mut led) = (0, 0, 0);
    for seed in from.parse::<u64>().unwrap()..to.parse().unwrap() {
        println!("seed {seed}");
        let (why, harmed, leader) = life(seed);
        let named = why.as_ref().is_none_or(|why| {
            ["Election Safety", "State Machine Safety", "entry "]
                .iter()
                .any(|promise| why.starts_with(promise))
        });
        assert!(named, "seed {seed}: {why:?}");
        lived += u64::from(why.is_none());
        malformed += harmed;
        led += u64::from(leader);
    }
    if seeds == "0..300" {
        assert!(
            lived > 100 && malformed > 5_000 && led > 15,
            "lived {lived}, malformed {malformed}, led {led}"
        );
    }
}

/// Makes node 1 the leader, by the votes of node 2.
fn leader() -> Node {
    let mut node = Node::start(1);
    for _ in 0..100 {
        node.now = node.now + Duration::from_millis(50);
        node.lane.handle(node.now, Event::Tick);
        node.settle();
        let term = node.lane.raft().term();
        let mut packet = Packet::default();
        for (pre, term) in [(true, term.next()), (false, term)] {
            let message = Message::Vote { term, pre, granted: true, withheld: false };
            packet.push(&Frame::Raft { shard: KV, message });
        }
        node.packet(2, packet.finish());
        node.settle();
        if node.lane.raft().is_leader() {
            return node;
        }
    }
    panic!("not elected in {:?}", node.lane.raft().term());
}

/// Claim: a peer's command is held to the bound that a client's is held to.
#[test]
fn a_forwarded_command_that_is_too_large_is_not_taken() {
    let mut node = leader();
    let last = node.lane.raft().last().index;
    for (len, more) in [(COMMAND_MAX + 1, 0), (COMMAND_MAX, 1)] {
        let mut packet = Packet::default();
        let term = node.lane.raft().term();
        packet.push(&Frame::Forward {
            shard: KV,
            term,
            request: 1,
            data: vec![0; len].into(),
            explain: false,
        });
        node.packet(2, packet.finish());
        assert_eq!(node.settle(), None);
        assert_eq!(node.lane.raft().last().index.0, last.0 + more, "{len} bytes");
    }
    assert_eq!(node.malformed, 1);
}

/// Claim: a command of a newer release does not come into the log by way of a leader that does not know it, and who sent it
/// hears so. In the log it would stop the node.
#[test]
fn a_forwarded_command_of_a_newer_release_is_declined() {
    let mut node = leader();
    let (last, term) = (node.lane.raft().last().index, node.lane.raft().term());
    let mut packet = Packet::default();
    packet.push(&Frame::Forward {
        shard: KV,
        term,
        request: 7,
        data: vec![command::VERSION + 1, 2, 7].into(),
        explain: false,
    });
    node.packets.clear();
    node.packet(2, packet.finish());
    assert_eq!(node.settle(), None);
    assert_eq!(node.lane.raft().last().index, last);
    let frames = node.packets.iter().flat_map(|(_, body)| Packet::read(body.clone()));
    let declined = Frame::Refused { request: 7, why: Declined::Unknown };
    assert!(frames.filter_map(Result::ok).any(|frame| frame == declined), "who sent it hears so");
}

/// Claim: what was sent to the leader of one term is not taken by the same node as the leader of another: by then it may have been sent
/// again, under another number.
#[test]
fn what_was_sent_to_the_leader_of_another_term_is_not_taken() {
    let mut node = leader();
    let (last, term) = (node.lane.raft().last().index, node.lane.raft().term());
    let data = command::encode(NodeId(2), 7, &Command::LeaseRevoke { ids: vec![9] });
    let change = Change::Add { peer_urls: vec!["http://127.0.0.1:1".into()], learner: true };
    for term in [Term(term.0 - 1), term.next()] {
        let mut packet = Packet::default();
        packet.push(&Frame::Forward { shard: KV, term, request: 7, data: data.clone(), explain: false });
        packet.push(&Frame::Members { shard: KV, term, request: 8, change: change.clone() });
        node.packets.clear();
        node.packet(2, packet.finish());
        assert_eq!(node.settle(), None);
        assert_eq!(node.lane.raft().last().index, last);
        let frames = node.packets.iter().flat_map(|(_, body)| Packet::read(body.clone()));
        let refused = |frame: &Frame| matches!(frame, Frame::Refused { why: Declined::NotLeading, .. });
        assert_eq!(frames.filter_map(Result::ok).filter(refused).count(), 2);
    }
}

/// Claim: what was parked without a leader goes out in packets that a peer reads, and does not grow without bound.
#[test]
fn what_is_parked_is_bounded_and_goes_out_in_packets_that_are_read() {
    let mut node = Node::start(1);
    let value = Bytes::from(vec![7; 1 << 20]);
    let refused = |node: &Node| {
        let answers = node.answers.lock().unwrap();
        answers.iter().filter(|answer| matches!(answer, Err(Failure::Overloaded))).count()
    };
    for _ in 0..300 {
        let put = Put { key: "a".into(), value: value.clone(), ..Put::default() };
        node.call(Request::Write(Command::Put(put)));
    }
    assert!((40..60).contains(&refused(&node)), "{} of 300 MiB were refused", refused(&node));
    let mut packet = Packet::default();
    let message = Message::Heartbeat { term: Term(1), commit: Index(0), round: 1, lease: Duration::ZERO };
    packet.push(&Frame::Raft { shard: KV, message });
    node.packet(2, packet.finish());
    assert_eq!(node.settle(), None);
    let sizes: Vec<usize> = node.packets.iter().filter(|(to, _)| to.0 == 2).map(|(_, b)| b.len()).collect();
    assert!(sizes.iter().sum::<usize>() > 250 << 20, "all of it goes: {} packets", sizes.len());
    assert!(sizes.iter().all(|&len| len < PACKET_BYTES + COMMAND_MAX + 100), "{sizes:?}");
}
