//! Three nodes with many groups in one lane each: what they send, write and cost together.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

mod bounded;
mod ends;
mod moves;
mod pages;
mod placed;
mod transactions;

use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Instant, Mint, NodeId, Rng, ShardId};
use quorate_clock::Wall;
use quorate_faulty::FaultyDisk;
use quorate_item::codec::Codec;
use quorate_item::{AttributeValue, Item};
use quorate_node::api::tables::{Get, Read};
use quorate_node::api::{Answer, Body, Failure, Fresh, Request};
use quorate_node::applier::{Applier, Output, Work};
use quorate_node::boot::{self, Parts};
use quorate_node::lane::{AT_ONCE, Effects, Event, Lane, Settings, Upkeep};
use quorate_node::watch::Hub;
use quorate_protocol::raft::{self, Membership};
use quorate_storage::journal::{CheckpointMark, Identity, Journal, Options};
use quorate_storage::memory::MemoryStore;
use quorate_wire::kv::{Command, KeyRange, Put, Range, Refused, Reply};
use quorate_wire::members::Change;
use quorate_wire::peer::{Frame, Packet};
use quorate_wire::table::{
    self, Action, Definition, EPOCH, Execute, KeyNames, Op, Refusal, Returns, SHARDS_TAG, Scalar, What,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// What all wall clocks show at the beginning.
const WALL: u64 = 1_700_000_000_000;
const KV: ShardId = ShardId(1);
const NODES: u64 = 3;

type Answers = Arc<Mutex<Vec<Result<Answer, Failure>>>>;

struct Node {
    id: NodeId,
    lane: Lane,
    applier: Applier,
    journal: Journal,
    effects: Effects,
    /// Its checkpoints take long: they wait here.
    slow: Option<Vec<Output>>,
    /// Its machines stand still: their work waits here.
    still: Option<Vec<Work>>,
}

struct Cluster {
    disks: Vec<FaultyDisk>,
    nodes: Vec<Option<Node>>,
    /// Those of the table that was made last.
    shards: Vec<ShardId>,
    now: Instant,
    /// So many milliseconds a node's wall clock is ahead of the others'.
    ahead: [u64; 5],
    /// Nodes that stand still, and the packets that wait for them.
    asleep: BTreeSet<u64>,
    kept: Vec<(NodeId, NodeId, Bytes)>,
    /// Packets that were sent, and the frames in them that are of groups beside the key-value space.
    packets: u64,
    bytes: usize,
    of_groups: u64,
    /// Hears nothing of the key-value space's group.
    deaf: Option<NodeId>,
    /// Flushes of journals, and the appends in them.
    flushes: u64,
    appends: u64,
    /// How often there was something to do, and since when: without a step of time that must come to an end.
    drains: (u32, Instant),
    log_keep: usize,
}

/// Many times what is ever to be done at one moment.
const DRAINS: u32 = 20_000;

impl Cluster {
    fn new(groups: u32) -> Self {
        Self::keeping(groups, raft::Config::new(KV, NodeId(1)).log_keep_bytes)
    }

    /// Logs keep so many bytes of what is applied.
    fn keeping(groups: u32, log_keep: usize) -> Self {
        let disks = (1..=NODES).map(FaultyDisk::new).collect();
        let nodes = (0..NODES).map(|_| None).collect();
        let mut cluster = Self {
            disks,
            nodes,
            shards: Vec::new(),
            now: Instant(1_000_000),
            ahead: [0; 5],
            asleep: BTreeSet::new(),
            kept: Vec::new(),
            packets: 0,
            bytes: 0,
            of_groups: 0,
            deaf: None,
            flushes: 0,
            appends: 0,
            drains: (0, Instant(0)),
            log_keep,
        };
        (1..=NODES).for_each(|id| cluster.start(id));
        cluster.pass(3_000);
        if groups > 0 {
            cluster.table("idle", groups);
        }
        cluster
    }

    fn start(&mut self, id: u64) {
        self.start_among(id, Membership::of_voters((1..=NODES).map(NodeId)), false);
    }

    /// A node that has not been there before is told that these are the members, and whether it has lost its disk.
    fn start_among(&mut self, id: u64, founders: Membership, disk_lost: bool) {
        let (id, at) = (NodeId(id), id as usize - 1);
        let identity = Identity { cluster: 5, node: id };
        let disk = Arc::new(self.disks[at].clone());
        let (mut journal, found) =
            Journal::open(disk.clone(), "journal", identity, Options::default(), Mint::for_journal())
                .unwrap();
        let mut store = MemoryStore::new(disk, "state", identity);
        let config = raft::Config { log_keep_bytes: self.log_keep, ..raft::Config::new(KV, id) };
        let parts = Parts {
            raft: config.clone(),
            found,
            store: &mut store,
            founders,
            campaign_at_once: id == NodeId(1),
            disk_lost,
            promised: Duration::ZERO,
        };
        let mut rng = Rng::new(id.get() ^ self.now.0);
        let booted = boot::boot(parts, &mut journal, &mut rng, self.now).unwrap();
        let options = quorate_node::watch::Options::default();
        let hub = Arc::new(Mutex::new(Hub::new(options, booted.view.clone(), Box::new(|| {}))));
        let (members, upkeep) = (Vec::new(), Upkeep::default());
        let settings = Settings {
            cluster: 5,
            node: id,
            raft: config,
            members,
            at_once: AT_ONCE,
            zone: String::new(),
            upkeep,
        };
        let mut lane = Lane::new(settings, booted.raft, booted.view, hub, &mut rng, self.now);
        let mut applier = Applier::new(booted.kv, booted.lost, id, booted.generation, 1 << 20);
        lane.doubts(booted.doubts);
        for kv in booted.dead {
            applier.bury(kv);
        }
        for other in booted.others {
            lane.add(other.shard, other.raft, other.view, self.now);
            applier.add(other.kv, other.lost);
        }
        self.nodes[at] =
            Some(Node { id, lane, applier, journal, effects: Effects::default(), slow: None, still: None });
        for other in self.nodes.iter_mut().flatten().filter(|node| node.id != id) {
            other.lane.handle(self.now, Event::PeerUp(id));
        }
    }

    /// A process ends, and its connections with it.
    fn kill(&mut self, id: u64) {
        self.nodes[id as usize - 1] = None;
        for node in self.nodes.iter_mut().flatten() {
            node.lane.handle(self.now, Event::PeerDown(NodeId(id)));
        }
    }

    /// Time passes for all, in steps of 10 ms.
    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.now = self.now + Duration::from_millis(10);
            self.settle();
        }
    }

    /// The same over a network that takes a step for each packet, with something to do at each step: something is always under way.
    fn pass_busily(&mut self, millis: u64, mut with: impl FnMut(&mut Self)) {
        let mut under_way = Vec::new();
        for _ in 0..millis / 10 {
            self.now = self.now + Duration::from_millis(10);
            with(self);
            for (from, to, body) in std::mem::take(&mut under_way) {
                self.deliver(from, to, body);
            }
            while let Some(mut packets) = self.drain() {
                under_way.append(&mut packets);
            }
        }
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, mut body: Bytes) {
        if self.asleep.contains(&to.get()) {
            return self.kept.push((from, to, body));
        }
        if self.deaf == Some(to) {
            let mut others = Packet::default();
            let of_kv = |frame: &Frame| matches!(frame, Frame::Raft { shard: KV, .. });
            let frames = Packet::read(body).map_while(Result::ok);
            frames.filter(|frame| !of_kv(frame)).for_each(|frame| others.push(&frame));
            body = others.finish();
        }
        if let Some(Some(node)) = self.nodes.get_mut(to.get() as usize - 1) {
            node.lane.handle(self.now, Event::Packet { from, body });
        }
    }

    fn settle(&mut self) {
        self.settle_and(|_| ());
    }

    /// Looks at all of it each time that something has happened.
    fn settle_and(&mut self, look: impl Fn(&Self)) {
        while let Some(packets) = self.drain() {
            look(self);
            for (from, to, body) in packets {
                self.deliver(from, to, body);
            }
        }
    }

    /// What a node's wall clock shows.
    fn wall(&self, at: usize) -> Wall {
        Wall(WALL + self.now.0 / 1_000_000 + self.ahead[at])
    }

    /// One drain of each node that wants one; the packets that it sends, if any came.
    fn drain(&mut self) -> Option<Vec<(NodeId, NodeId, Bytes)>> {
        let mut sent = Vec::new();
        let mut busy = false;
        for at in 0..self.nodes.len() {
            let wall = self.wall(at);
            let Some(node) = &mut self.nodes[at] else { continue };
            if self.asleep.contains(&node.id.get()) {
                continue;
            }
            node.lane.shows(self.now, wall);
            node.lane.handle(self.now, Event::Tick);
            node.lane.drain(self.now, &mut node.effects);
            assert!(node.effects.broken.is_none());
            node.effects.roles.clear();
            let mut to = Vec::new();
            for (peer, body) in node.effects.packets.drain(..) {
                assert!(!to.contains(&peer), "one packet a peer a drain");
                to.push(peer);
                self.packets += 1;
                self.bytes += body.len();
                let frames = Packet::read(body.clone()).filter_map(Result::ok);
                let of_groups = |frame: &Frame| matches!(frame, Frame::Raft { shard, .. } if *shard != KV);
                self.of_groups += frames.filter(of_groups).count() as u64;
                sent.push((node.id, peer, body));
            }
            if !node.effects.journal.is_empty() {
                busy = true;
                let appends = std::mem::take(&mut node.effects.journal);
                (self.flushes, self.appends) = (self.flushes + 1, self.appends + appends.len() as u64);
                node.journal.append(&appends).unwrap();
                let proofs = node.journal.sync().unwrap();
                node.lane.handle(self.now, Event::Journaled(proofs));
            }
            for export in std::mem::take(&mut node.effects.exports) {
                busy = true;
                node.lane.handle(self.now, Event::Exported(export.read()));
            }
            for work in std::mem::take(&mut node.effects.work) {
                busy = true;
                match &mut node.still {
                    Some(waiting) => waiting.push(work),
                    None => node.work(self.now, work),
                }
            }
        }
        let (drains, since) = self.drains;
        self.drains = (if since == self.now { drains + 1 } else { 1 }, self.now);
        let stuck = || self.nodes.iter().flatten().map(|node| node.lane.view().applied()).collect::<Vec<_>>();
        assert!(
            self.drains.0 < DRAINS,
            "at {:?} there is always more to do; applied: {:?}",
            self.now,
            stuck()
        );
        (busy || !sent.is_empty()).then_some(sent)
    }

    fn call(&mut self, id: u64, shard: ShardId, request: Request) -> Answers {
        let answers: Answers = Arc::default();
        let to = answers.clone();
        let done = Box::new(move |result| to.lock().unwrap().push(result));
        let wall = self.wall(id as usize - 1);
        let node = self.nodes[id as usize - 1].as_mut().unwrap();
        node.lane.shows(self.now, wall);
        node.lane.handle(self.now, Event::Call { shard, request, wait: None.into(), done });
        answers
    }

    /// Whether a node gives a snapshot.
    fn backup(&mut self, id: u64) -> Result<(), Failure> {
        let told: Arc<Mutex<Option<Result<(), Failure>>>> = Arc::default();
        let to = told.clone();
        let opened = Box::new(move |result: Result<_, _>| *to.lock().unwrap() = Some(result.map(|_| ())));
        let node = self.nodes[id as usize - 1].as_mut().unwrap();
        node.lane.handle(self.now, Event::Backup { opened });
        told.lock().unwrap().take().unwrap()
    }

    /// Who leads a shard, by their own belief.
    fn leaders(&self, shard: ShardId) -> Vec<u64> {
        let leads = |node: &&Node| node.lane.core(shard).is_some_and(raft::Raft::is_leader);
        self.nodes.iter().flatten().filter(leads).map(|node| node.id.get()).collect()
    }

    fn resting(&self) -> Vec<usize> {
        self.nodes.iter().flatten().map(|node| node.lane.resting()).collect()
    }
}

impl Node {
    fn work(&mut self, now: Instant, work: Work) {
        let mut outputs = Vec::new();
        self.applier.work(work, &mut outputs).unwrap();
        for output in outputs {
            self.output(now, output);
        }
    }

    fn output(&mut self, now: Instant, output: Output) {
        if let (Some(waiting), Output::Sealed { .. }) = (&mut self.slow, &output) {
            waiting.push(output);
            return;
        }
        if let Output::Sealed { job, generation, cut } = output {
            job.run(generation).unwrap();
            let bases = cut.bases.clone();
            self.journal.mark_checkpoint(CheckpointMark { generation, bases }).unwrap();
            self.journal.sync().unwrap();
            self.lane.handle(now, Event::Checkpointed(cut));
            self.work(now, Work::Checkpointed);
        } else {
            self.lane.handle(now, Event::Output(output));
        }
    }
}

impl Node {
    /// Background work of the machines; false if nothing is left.
    fn sweeps(&mut self, now: Instant) -> bool {
        let mut outputs = Vec::new();
        self.applier.work(Work::Upkeep, &mut outputs).unwrap();
        let more = outputs.iter().any(|output| matches!(output, Output::Upkept { more: true }));
        for output in outputs {
            self.output(now, output);
        }
        more
    }
}

fn put() -> Request {
    let put = Put { key: "k".into(), value: "v".into(), ..Put::default() };
    Request::Write(Command::Put(put))
}

fn get() -> Request {
    let range = KeyRange { key: "k".into(), end: Bytes::new() };
    Request::Range { range: Range { range, ..Range::default() }, serializable: false }
}

/// What was read of the key, if it has been.
fn found(answers: &Answers) -> Option<usize> {
    match answers.lock().unwrap()[..] {
        [] => None,
        [Ok(Answer { body: Body::Reply(Reply::Range(ref reply)), .. })] => Some(reply.kvs.len()),
        ref other => panic!("{other:?}"),
    }
}

/// Who stays with one node never sees its state go back: after a start it answers reads of its own state only once it knows that it has
/// all that it showed before. (etcd's `TestCtlV3SerializableRead`.)
#[test]
fn a_node_that_was_started_again_shows_nothing_older_than_before() {
    let mut cluster = Cluster::new(0);
    let range = Range { range: KeyRange { key: "k".into(), end: Bytes::new() }, ..Range::default() };
    let local = || Request::Range { range: range.clone(), serializable: true };
    cluster.ask(1, KV, put());
    let before = cluster.call(2, KV, local());
    cluster.pass(100);
    assert_eq!(found(&before), Some(1));
    cluster.kill(2);
    cluster.start(2);
    let after = cluster.call(2, KV, local());
    cluster.pass(2_000);
    assert_eq!(found(&after), Some(1));
    // From then on it asks nobody.
    cluster.kill(1);
    cluster.kill(3);
    let alone = cluster.call(2, KV, local());
    cluster.settle();
    assert_eq!(found(&alone), Some(1));
    assert_eq!(cluster.backup(2), Ok(()), "it has all that it has shown");
    cluster.kill(2);
    cluster.start(2);
    let forgotten = cluster.call(2, KV, local());
    cluster.pass(2_000);
    assert_eq!(found(&forgotten), None, "nobody tells it whether that is all");
    // A snapshot would be of next to nothing, and look like one of all that it has (found by those who followed our own advice).
    assert_eq!(cluster.backup(2), Err(Failure::NoLeader));
    cluster.start(1);
    cluster.pass(5_000);
    assert_eq!((found(&forgotten), cluster.backup(2)), (Some(1), Ok(())));
}

/// Leases are listed as they were granted.
#[test]
fn leases_are_listed_in_the_order_of_their_grants() {
    let mut cluster = Cluster::new(0);
    for id in [7, 3, 9] {
        cluster.ask(1, KV, Request::Write(Command::LeaseGrant { id, ttl: 60 }));
    }
    for node in 1..=3 {
        let Body::Leases(ids) = cluster.ask(node, KV, Request::LeaseList).body else { panic!() };
        assert_eq!(ids, [7, 3, 9]);
    }
}

/// Three nodes and a table of so many shards, with an item in each.
fn filled(shards: u32) -> (Cluster, Vec<ShardId>) {
    let mut cluster = Cluster::new(0);
    let shards = cluster.table("t", shards);
    cluster.pass(3_000);
    for (n, &shard) in shards.iter().enumerate() {
        cluster.ask(1, shard, put_item(n));
    }
    (cluster, shards)
}

/// Idle groups rest: they send nothing, write nothing and want no tick, and what nodes say for all of them is one word a peer and
/// interval, however many there are.
#[test]
fn idle_groups_cost_a_constant_number_of_messages() {
    let mut seen = Vec::new();
    for groups in [3, 300] {
        let mut cluster = Cluster::new(groups);
        // Leaders are spread, a few at a time.
        cluster.pass(25_000);
        assert!(cluster.shards.iter().all(|&shard| cluster.leaders(shard).len() == 1));
        assert_eq!(cluster.resting(), [groups as usize; 3]);
        (cluster.packets, cluster.of_groups, cluster.flushes) = (0, 0, 0);
        cluster.pass(10_000);
        assert_eq!((cluster.of_groups, cluster.flushes), (0, 0), "{groups} groups");
        assert_eq!(cluster.resting(), [groups as usize; 3], "nobody woke up");
        seen.push(cluster.packets);
    }
    assert!(seen[1] <= seen[0] + seen[0] / 2, "packets in ten seconds: {seen:?}");
}

/// What many groups do at once goes into one packet a peer and one flush.
#[test]
fn groups_share_packets_and_flushes() {
    let mut cluster = Cluster::new(100);
    cluster.pass(12_000);
    (cluster.packets, cluster.flushes, cluster.appends) = (0, 0, 0);
    let shards = cluster.shards.clone();
    let answers: Vec<Answers> = shards.iter().map(|&shard| cluster.call(2, shard, put())).collect();
    cluster.settle();
    assert!(answers.iter().all(|answers| matches!(answers.lock().unwrap()[..], [Ok(_)])));
    assert!(cluster.appends >= 300, "{} appends", cluster.appends);
    assert!(
        cluster.flushes < 30 && cluster.packets < 60,
        "{} flushes, {} packets",
        cluster.flushes,
        cluster.packets
    );
}

/// Where a read waits in whichever group, entries that others asked for are waited for, too; where nothing waits and nobody leads they
/// are not, since the next turn of the lane is early enough.
#[test]
fn a_read_in_any_group_waits_for_what_is_applied() {
    let mut cluster = Cluster::new(3);
    cluster.pass(6_000);
    let awaits =
        |cluster: &Cluster, id: u64| cluster.nodes[id as usize - 1].as_ref().unwrap().lane.awaits_applied();
    let first = cluster.leaders(KV)[0];
    for shard in cluster.shards.clone() {
        let (id, other) = if first == 1 { (2, 3) } else { (1, 5 - first) };
        assert!(awaits(&cluster, first) && !awaits(&cluster, id) && !awaits(&cluster, other));
        let answers = cluster.call(id, shard, get());
        cluster.drain();
        assert!(answers.lock().unwrap().is_empty() == awaits(&cluster, id), "shard {shard}");
        cluster.pass(300);
        assert!(matches!(answers.lock().unwrap()[..], [Ok(_)]), "shard {shard}");
        assert!(!awaits(&cluster, id), "it is answered");
    }
}

/// A group that rests answers whoever asks, at any node; and when its leader's node is gone, or is only heard no more, another leads.
#[test]
fn groups_that_rest_wake_up() {
    let mut cluster = Cluster::new(12);
    cluster.pass(6_000);
    for (at, &shard) in cluster.shards.clone().iter().enumerate() {
        let node = at as u64 % NODES + 1;
        for request in [put(), get()] {
            let answers = cluster.call(node, shard, request);
            cluster.pass(300);
            assert!(matches!(answers.lock().unwrap()[..], [Ok(_)]), "shard {shard} at node {node}");
        }
    }
    cluster.pass(4_000);
    assert_eq!(cluster.resting(), [12; 3]);
    cluster.kill(1);
    cluster.pass(4_000);
    for &shard in &cluster.shards {
        assert!(matches!(cluster.leaders(shard)[..], [2 | 3]), "shard {shard}");
    }
    assert!(cluster.resting().iter().all(|&resting| resting == 12), "two of three rest, too");
    // It comes back, and holds what it missed.
    cluster.start(1);
    cluster.pass(6_000);
    assert_eq!(cluster.resting(), [12; 3]);
    // A node that is not heard any more though nobody's connection broke.
    let frozen = cluster.nodes[2].take();
    cluster.pass(12_000);
    for &shard in &cluster.shards {
        assert!(matches!(cluster.leaders(shard)[..], [1 | 2]), "shard {shard}");
    }
    // And is back, with what it believed before.
    cluster.nodes[2] = frozen;
    cluster.pass(8_000);
    for &shard in &cluster.shards {
        assert_eq!(cluster.leaders(shard).len(), 1, "shard {shard}");
    }
}

fn command(what: What) -> Request {
    Request::Write(Command::Table(Box::new(table::Command { epoch: EPOCH, now: 1_000, what })))
}

fn create(name: &str, shards: u32) -> Request {
    create_with(name, vec![(SHARDS_TAG.into(), shards.to_string())])
}

fn create_with(name: &str, tags: Vec<(String, String)>) -> Request {
    command(What::Create(Box::new(Definition {
        name: name.into(),
        attributes: vec![("k".into(), Scalar::S)],
        keys: KeyNames { hash: vec!["k".into()], range: Vec::new() },
        tags,
        ..Definition::default()
    })))
}

fn item(n: usize) -> Item {
    Item([("k".to_string(), AttributeValue::S(format!("item {n}")))].into())
}

fn put_item(n: usize) -> Request {
    let action = Action::Put { item: item(n).encode().into() };
    let op = Op { table: "t".into(), action, condition: None, returns: Returns::None, old_on_failure: false };
    command(What::Execute(Execute { atomic: false, token: None, ops: vec![op] }))
}

fn get_item(n: usize) -> Request {
    let get = Get::of("t", item(n));
    Request::Table { read: Box::new(Read::Get(vec![get])), fresh: Fresh::Newest, epoch: EPOCH }
}

impl Cluster {
    /// Asks, and waits for a good answer.
    fn ask(&mut self, id: u64, shard: ShardId, request: Request) -> Answer {
        let answers = self.call(id, shard, request);
        self.pass(2_000);
        let answer = answers.lock().unwrap().pop();
        match answer {
            Some(Ok(answer)) => answer,
            other => panic!("node {id} says of shard {shard}: {other:?}"),
        }
    }

    /// Has a table made at node 1; its shards, in order.
    fn table(&mut self, name: &str, shards: u32) -> Vec<ShardId> {
        self.ask(1, KV, create(name, shards));
        let view = self.nodes[0].as_ref().unwrap().lane.view();
        let block = view.tables().placement().table(name).unwrap();
        self.shards = block.shards().collect();
        self.shards.clone()
    }

    /// A learner is added and started, with an empty disk.
    fn join(&mut self, id: u64) {
        let peer_urls = vec![format!("http://h:{id}")];
        self.ask(1, KV, Request::ChangeMembers(Change::Add { peer_urls, learner: true }));
        self.disks.push(FaultyDisk::new(id));
        self.nodes.push(None);
        let mut told = Membership::of_voters((1..=NODES).map(NodeId));
        told.learners.insert(NodeId(id));
        self.start_among(id, told, false);
        let others = (1..=NODES).map(|other| Event::PeerUp(NodeId(other)));
        let node = self.nodes[id as usize - 1].as_mut().unwrap();
        others.for_each(|event| node.lane.handle(self.now, event));
    }

    fn has(&self, id: u64, shard: ShardId) -> bool {
        self.nodes[id as usize - 1].as_ref().unwrap().lane.core(shard).is_some()
    }
}
