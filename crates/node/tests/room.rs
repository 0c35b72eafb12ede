//! A node that is short of room asks the log for an alarm, and takes nothing more that makes the space grow.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

use quorate_base::time::Duration;
use quorate_base::{Instant, Mint, NodeId, Rng, ShardId};
use quorate_faulty::FaultyDisk;
use quorate_node::api::{Answer, Body, Failure, Request};
use quorate_node::applier::{Applier, Output, Work};
use quorate_node::boot::{self, Parts};
use quorate_node::lane::{AT_ONCE, AutoCompaction, Effects, Event, Lane, Settings, Upkeep};
use quorate_node::watch::{Hub, Options};
use quorate_protocol::raft;
use quorate_storage::journal::{self, Identity, Journal};
use quorate_storage::memory::MemoryStore;
use quorate_wire::kv::{Alarm, AlarmKind, Command, DeleteRange, KeyRange, Put, Refused, Reply};
use std::sync::{Arc, Mutex};

const KV: ShardId = ShardId(1);
const ME: NodeId = NodeId(1);
/// Many times what is ever to be done at one moment.
const ROUNDS: u32 = 20_000;
const EVERY_SECOND: AutoCompaction = AutoCompaction::Periodic(Duration::from_secs(1));
const OWN: Alarm = Alarm { kind: AlarmKind::NoSpace, member: 1 };

/// A node that is its own group.
struct Node {
    lane: Lane,
    applier: Applier,
    journal: Journal,
    now: Instant,
    answers: Arc<Mutex<Vec<Result<Answer, Failure>>>>,
}

impl Node {
    fn start(quota: i64) -> Self {
        let identity = Identity { cluster: 5, node: ME };
        let disk = Arc::new(FaultyDisk::new(1));
        let (mut journal, found) = Journal::open(
            disk.clone(),
            "journal",
            identity,
            journal::Options::default(),
            Mint::for_journal(),
        )
        .unwrap();
        let mut store = MemoryStore::new(disk, "state", identity);
        let config = raft::Config::new(KV, ME);
        let parts = Parts {
            raft: config.clone(),
            found,
            store: &mut store,
            founders: raft::Membership::of_voters([ME]),
            campaign_at_once: true,
            disk_lost: false,
            promised: Duration::ZERO,
        };
        let (mut rng, now) = (Rng::new(1), Instant(1));
        let booted = boot::boot(parts, &mut journal, &mut rng, now).unwrap();
        let hub = Arc::new(Mutex::new(Hub::new(Options::default(), booted.view.clone(), Box::new(|| {}))));
        let upkeep = Upkeep { quota, auto_compaction: (quota == 0).then_some(EVERY_SECOND) };
        let settings = Settings {
            cluster: 5,
            node: ME,
            raft: config,
            members: Vec::new(),
            at_once: AT_ONCE,
            zone: String::new(),
            upkeep,
        };
        let lane = Lane::new(settings, booted.raft, booted.view, hub, &mut rng, now);
        let applier = Applier::new(booted.kv, booted.lost, ME, booted.generation, 1 << 30);
        let mut node = Self { lane, applier, journal, now, answers: Arc::default() };
        for _ in 0..40 {
            node.pass(100);
        }
        assert!(node.lane.raft().is_leader());
        node
    }

    /// Some time passes, and all that comes of it is done.
    fn pass(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        self.lane.handle(self.now, Event::Tick);
        let mut effects = Effects::default();
        for _ in 0..ROUNDS {
            self.lane.drain(self.now, &mut effects);
            assert_eq!(effects.broken, None);
            let mut events = Vec::new();
            if !effects.journal.is_empty() {
                self.journal.append(&std::mem::take(&mut effects.journal)).unwrap();
                events.push(Event::Journaled(self.journal.sync().unwrap()));
            }
            let mut outputs = Vec::new();
            for work in effects.work.drain(..) {
                self.applier.work(work, &mut outputs).unwrap();
            }
            effects.roles.clear();
            events.extend(outputs.drain(..).filter(|o| matches!(o, Output::Applied(_))).map(Event::Output));
            if events.is_empty() {
                return;
            }
            for event in events {
                self.lane.handle(self.now, event);
            }
        }
        panic!("after {ROUNDS} rounds the lane still wants more, at one moment");
    }

    fn ask(&mut self, request: Request) -> Result<Reply, Failure> {
        let answers = self.answers.clone();
        let done = Box::new(move |result| answers.lock().unwrap().push(result));
        self.lane.handle(self.now, Event::Call { shard: KV, request, wait: None.into(), done });
        self.pass(1);
        match self.answers.lock().unwrap().pop().expect("answered") {
            Ok(Answer { body: Body::Reply(reply), .. }) => Ok(reply),
            Ok(other) => panic!("answered with {other:?}"),
            Err(failure) => Err(failure),
        }
    }

    fn put(&mut self, bytes: usize) -> bool {
        let put = Put { key: "a".into(), value: vec![7; bytes].into(), ..Put::default() };
        match self.ask(Request::Write(Command::Put(put))) {
            Ok(_) => true,
            Err(Failure::Refused(Refused::NoSpace, _)) => false,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn delete_and_compact(&mut self) {
        let range = KeyRange { key: "a".into(), end: "".into() };
        let delete = Command::Delete(DeleteRange { range, prev_kv: false });
        assert!(matches!(self.ask(Request::Write(delete)), Ok(Reply::Delete { .. })));
        let revision = self.lane.view().revision();
        assert_eq!(self.ask(Request::Write(Command::Compact { revision })), Ok(Reply::Compact));
    }

    fn alarms(&mut self) -> Vec<Alarm> {
        match self.ask(Request::Alarms) {
            Ok(Reply::Alarms(alarms)) => alarms,
            other => panic!("{other:?}"),
        }
    }

    fn disarm(&mut self) {
        let disarm = Command::Alarm { alarm: OWN, on: false };
        assert_eq!(self.ask(Request::Write(disarm)), Ok(Reply::Alarms(vec![OWN])));
    }
}

#[test]
fn a_short_disk_raises_the_alarm_which_stands_until_it_is_disarmed() {
    let mut node = Node::start(0);
    assert!(node.put(10) && node.alarms().is_empty());
    node.lane.handle(node.now, Event::Room { short: true });
    let (answers, put) = (node.answers.clone(), Put { key: "a".into(), ..Put::default() });
    let done = Box::new(move |result| answers.lock().unwrap().push(result));
    let request = Request::Write(Command::Put(put));
    node.lane.handle(node.now, Event::Call { shard: KV, request, wait: None.into(), done });
    assert!(node.answers.lock().unwrap().is_empty(), "before the alarm stands nobody hears of it");
    node.pass(1);
    let told = node.answers.lock().unwrap().pop();
    assert!(matches!(told, Some(Err(Failure::Refused(Refused::NoSpace, _)))), "{told:?}");
    assert_eq!(node.alarms(), [OWN]);
    // Taken back too early, it is there again with the next refusal.
    node.disarm();
    assert!(!node.put(10) && node.alarms() == [OWN]);
    node.delete_and_compact();
    node.disarm();
    node.pass(1_100);
    assert_eq!(node.alarms(), [OWN], "nothing has changed: it is raised again");
    node.lane.handle(node.now, Event::Room { short: false });
    node.pass(1_100);
    assert!(!node.put(10) && node.alarms() == [OWN], "it stands though there is room");
    node.disarm();
    node.pass(1_100);
    assert!(node.put(10) && node.alarms().is_empty());
}

#[test]
fn the_quota_is_held_and_compaction_gives_room_again() {
    let mut node = Node::start(10_000);
    let puts = (0..100).take_while(|_| node.put(1_000)).count();
    assert!((5..15).contains(&puts), "{puts} puts of 1 kB");
    node.pass(200);
    assert_eq!(node.alarms(), [OWN]);
    node.delete_and_compact();
    let swept = (0..100).any(|_| {
        node.applier.work(Work::Upkeep, &mut Vec::new()).unwrap();
        // The deletion itself stays readable, with what it deleted.
        node.applier.kv(KV).unwrap().view().sizes().0 < 2_000
    });
    assert!(swept);
    // The next batch brings the view without the history.
    node.disarm();
    assert!(node.put(1_000));
    assert!(node.alarms().is_empty());
}

/// Claim: what would make the space outgrow its quota is refused, not taken and then regretted; smaller writes go on once the alarm that it
/// raised is taken back.
#[test]
fn a_write_that_would_cross_the_quota_is_refused() {
    let mut node = Node::start(10_000);
    assert!(node.put(1_000));
    let before = node.lane.view().revision();
    assert!(!node.put(9_500));
    node.pass(200);
    assert_eq!((node.alarms(), node.lane.view().revision()), (vec![OWN], before));
    assert!(!node.put(10), "the alarm stands");
    node.disarm();
    node.pass(1_100);
    assert!(node.put(1_000) && node.alarms().is_empty());
}

/// Claim: the leader compacts unasked, and keeps the period.
#[test]
fn history_beyond_the_period_is_compacted() {
    let mut node = Node::start(0);
    for _ in 0..30 {
        assert!(node.put(10));
        node.pass(100);
    }
    let (revision, compacted) = (node.lane.view().revision(), node.lane.view().compacted());
    assert!((8..=22).contains(&(revision - compacted)), "{compacted} of {revision}");
}
