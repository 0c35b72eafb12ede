//! What a node promises its clients about watches and leases, in small worlds with a script instead of random clients.

use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId};
use quorate_node::api::{Answer, Body, Failure, Request, WatchCreate, WatchRequest};
use quorate_node::watch::Hub;
use quorate_sim::{Knobs, World};
use quorate_wire::kv::{Command, KeyRange, Put, Range, Refused, Reply};
use std::sync::{Arc, Mutex};

type Heard = Arc<Mutex<Option<Result<Answer, Failure>>>>;

/// Three nodes whose large reads take up to two seconds, and every read is one.
fn slow_readers(seed: u64) -> World {
    let knobs = Knobs { nodes: 3, drop: 0, duplicate: 0, ..Knobs::draw(seed) };
    world_with(seed, Knobs { at_once: 0, read_max: Duration::from_secs(2), ..knobs })
}

/// Three nodes without faults, with a leader.
fn world(seed: u64) -> World {
    world_with(seed, Knobs { nodes: 3, drop: 0, duplicate: 0, ..Knobs::draw(seed) })
}

fn world_with(seed: u64, knobs: Knobs) -> World {
    let mut world = World::new(seed, knobs);
    for n in 1..=3 {
        world.start(NodeId(n));
    }
    let end = world.now + Duration::from_secs(10);
    while world.leader().is_none() {
        assert!(world.now < end, "no leader in 10 s");
        world.step().expect("a sound world");
    }
    world
}

fn run_until(world: &mut World, end: Instant) {
    while world.now < end {
        world.step().expect("a sound world");
    }
}

fn ask(world: &mut World, node: NodeId, request: Request) -> Heard {
    let heard = Heard::default();
    let tell = heard.clone();
    world.call(node, request, Box::new(move |result| *tell.lock().expect("one thread") = Some(result)));
    heard
}

/// Asks and runs the world until the answer is there.
fn answer(world: &mut World, node: NodeId, request: Request) -> Answer {
    let heard = ask(world, node, request);
    loop {
        if let Some(result) = heard.lock().expect("one thread").take() {
            return result.expect("an answer");
        }
        world.step().expect("a sound world");
    }
}

fn put(key: &'static str, lease: i64) -> Request {
    Request::Write(Command::Put(Put { key: key.into(), lease, ..Put::default() }))
}

fn keep_alive(world: &mut World, node: NodeId, id: i64) -> i64 {
    match answer(world, node, Request::LeaseKeepAlive { id }).body {
        Body::KeepAlive { ttl, .. } => ttl,
        other => panic!("{other:?}"),
    }
}

fn there(world: &mut World, node: NodeId, key: &'static str) -> bool {
    let range = Range { range: KeyRange { key: key.into(), end: "".into() }, ..Range::default() };
    match answer(world, node, Request::Range { range, serializable: false }).body {
        Body::Reply(Reply::Range(reply)) => reply.count == 1,
        other => panic!("{other:?}"),
    }
}

/// Whoever hears that a write is done and watches from then on, on the same node, is not told of that write.
#[test]
fn a_watch_behind_a_write_does_not_see_it() {
    for seed in 0..5 {
        let mut world = world(seed);
        for node in [1, 2, 3].map(NodeId) {
            let hub = world.hub(node).expect("it is up");
            let seen = Arc::new(Mutex::new(None));
            let tell = seen.clone();
            let done = Box::new(move |result: Result<Answer, Failure>| {
                let mut stream = Hub::open_stream(&hub, Box::new(|| {}));
                stream.request(WatchRequest::Create(WatchCreate {
                    range: KeyRange { key: "k".into(), end: "".into() },
                    ..WatchCreate::default()
                }));
                let created = stream.poll().expect("creation is answered");
                *tell.lock().expect("one thread") =
                    Some((result.expect("done").head.revision, created.revision));
            });
            world.call(node, put("k", 0), done);
            while seen.lock().expect("one thread").is_none() {
                world.step().expect("a sound world");
            }
            let (written, watched) = seen.lock().expect("one thread").take().expect("heard");
            assert_eq!(
                watched, written,
                "seed {seed}, {node:?}: a write was answered before the watches knew it"
            );
        }
    }
}

fn all_keys(revision: i64) -> Request {
    let range = KeyRange { key: vec![0].into(), end: vec![0].into() };
    Request::Range { range: Range { range, revision, ..Range::default() }, serializable: false }
}

/// Asks, and runs the world until the request is with a reader.
fn begin_reading(world: &mut World, node: NodeId, request: Request) -> Heard {
    let large = |world: &World| world.counts.0.get("large reads").copied().unwrap_or(0);
    let before = large(world);
    let heard = ask(world, node, request);
    while large(world) == before {
        assert!(heard.lock().expect("one thread").is_none(), "it was answered at once");
        world.step().expect("a sound world");
    }
    heard
}

fn wait_for(world: &mut World, heard: &Heard) -> Result<Answer, Failure> {
    loop {
        if let Some(result) = heard.lock().expect("one thread").take() {
            return result;
        }
        world.step().expect("a sound world");
    }
}

fn keys_of(answer: &Answer) -> Vec<&[u8]> {
    match &answer.body {
        Body::Reply(Reply::Range(reply)) => reply.kvs.iter().map(|kv| &kv.key[..]).collect(),
        other => panic!("{other:?}"),
    }
}

/// While a leader's reader is busy the leader leads, writes are answered, and what they change is not in the reader's answer.
#[test]
fn a_large_read_holds_up_neither_heartbeats_nor_writes() {
    let mut longest = 0;
    for seed in 0..10 {
        let mut world = slow_readers(seed);
        let leader = world.leader().expect("there is one");
        let written = answer(&mut world, leader, put("a", 0)).head.revision;
        let elections = world.counts.clone();
        let read = begin_reading(&mut world, leader, all_keys(0));
        let mut writes = 0;
        while read.lock().expect("one thread").is_none() {
            answer(&mut world, leader, put("b", 0));
            writes += 1;
        }
        longest = longest.max(writes);
        let read = wait_for(&mut world, &read).expect("an answer");
        assert_eq!((read.head.revision, keys_of(&read)), (written, vec![&b"a"[..]]), "seed {seed}");
        let won = |counts: &quorate_sim::Counts| counts.0.get("elections won").copied();
        assert_eq!((world.leader(), won(&world.counts)), (Some(leader), won(&elections)), "seed {seed}");
    }
    assert!(longest > 20, "{longest} writes during a read show nothing");
}

/// A compaction while a reader holds its view changes nothing of the answer; who asks behind it hears of it.
#[test]
fn a_compaction_under_a_read_changes_no_answer() {
    let mut met = 0;
    for seed in 0..10 {
        let mut world = slow_readers(seed);
        let leader = world.leader().expect("there is one");
        let first = answer(&mut world, leader, put("a", 0)).head.revision;
        let second = answer(&mut world, leader, put("b", 0)).head.revision;
        let old = begin_reading(&mut world, leader, all_keys(first));
        let delete = KeyRange { key: "a".into(), end: "".into() };
        let delete = quorate_wire::kv::DeleteRange { range: delete, prev_kv: false };
        let third = answer(&mut world, leader, Request::Write(Command::Delete(delete))).head.revision;
        answer(&mut world, leader, Request::Write(Command::Compact { revision: third }));
        // How long a read takes is drawn: one that is over already shows nothing.
        if old.lock().expect("one thread").is_some() {
            continue;
        }
        met += 1;
        let late = ask(&mut world, leader, all_keys(first));
        let late = wait_for(&mut world, &late);
        assert!(
            matches!(late, Err(Failure::Refused(Refused::Compacted { revision }, _)) if revision == third),
            "seed {seed}: {late:?}"
        );
        let old = wait_for(&mut world, &old).expect("an answer");
        assert_eq!((old.head.revision, keys_of(&old)), (second, vec![&b"a"[..]]), "seed {seed}");
    }
    assert!(met > 5, "{met} reads that met a compaction show little");
}

/// A read that takes longer than its client waits ends at the client's time, and nothing of it stays behind.
#[test]
fn a_large_read_ends_at_its_deadline() {
    let knobs = Knobs { nodes: 3, drop: 0, duplicate: 0, ..Knobs::draw(1) };
    let knobs = Knobs { at_once: 0, read_max: Duration::from_secs(1000), ..knobs };
    let mut world = world_with(1, knobs);
    let leader = world.leader().expect("there is one");
    answer(&mut world, leader, put("a", 0));
    let asked = world.now;
    let read = begin_reading(&mut world, leader, all_keys(0));
    assert_eq!(wait_for(&mut world, &read), Err(Failure::TimedOut));
    assert!(world.now.since(asked) < Duration::from_secs(4), "the client waits for three seconds");
    let later = world.now + Duration::from_secs(1000);
    run_until(&mut world, later);
    assert_eq!(world.leader(), Some(leader));
}

/// A lease's keys are told as they were when the request came, on a node that lags behind, too (found by `e2e/run.sh rust`).
#[test]
fn a_lagging_node_tells_all_keys_of_a_lease() {
    for seed in 0..20 {
        let mut world = world(seed);
        let leader = world.leader().expect("there is one");
        let other = NodeId(leader.get() % 3 + 1);
        answer(&mut world, leader, Request::Write(Command::LeaseGrant { id: 7, ttl: 60 }));
        for (n, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
            answer(&mut world, leader, put(key, 7));
            match answer(&mut world, other, Request::LeaseTimeToLive { id: 7, keys: true }).body {
                Body::TimeToLive { ttl, granted, keys, .. } => {
                    assert_eq!((granted, keys.len()), (60, n + 1), "seed {seed}");
                    assert!((50..=60).contains(&ttl), "seed {seed}: {ttl} s are left of 60");
                }
                other => panic!("seed {seed}: {other:?}"),
            }
        }
    }
}

/// The header of a keep-alive's answer is of the moment when it came, though more was written since.
#[test]
fn a_keep_alive_does_not_seem_newer_than_it_is() {
    for seed in 0..10 {
        let mut world = world(seed);
        let leader = world.leader().expect("there is one");
        let node = NodeId(leader.get() % 3 + 1);
        answer(&mut world, node, Request::Write(Command::LeaseGrant { id: 7, ttl: 100 }));
        let before = answer(&mut world, node, put("a", 7)).head.revision;
        let kept = ask(&mut world, node, Request::LeaseKeepAlive { id: 7 });
        for _ in 0..5 {
            ask(&mut world, node, put("b", 0));
        }
        let end = world.now + Duration::from_secs(2);
        run_until(&mut world, end);
        let kept = kept.lock().expect("one thread").take().expect("heard").expect("kept alive");
        assert_eq!(kept.head.revision, before, "seed {seed}");
    }
}

/// A lease lives for its time after the last confirmed keep-alive, whoever leads and whatever was checkpointed before; and
/// it ends though leaders come and go.
#[test]
fn a_lease_outlives_a_checkpoint_and_a_leader() {
    for seed in 0..10 {
        let mut world = world(seed);
        let leader = world.leader().expect("there is one");
        let other = NodeId(leader.get() % 3 + 1);
        answer(&mut world, other, Request::Write(Command::LeaseGrant { id: 7, ttl: 12 }));
        answer(&mut world, other, put("leased", 7));
        // Nobody renews it for most of its life, and that is remembered.
        let late = world.now + Duration::from_secs(10);
        run_until(&mut world, late);
        assert_eq!(keep_alive(&mut world, other, 7), 12, "seed {seed}");
        let confirmed = world.now;
        let leader = world.leader().expect("there is one");
        let other = NodeId(leader.get() % 3 + 1);
        world.kill(leader);
        run_until(&mut world, confirmed + Duration::from_millis(11_500));
        assert!(there(&mut world, other, "leased"), "seed {seed}: the lease ended before its time");
        run_until(&mut world, confirmed + Duration::from_secs(25));
        assert!(!there(&mut world, other, "leased"), "seed {seed}: the lease does not end");
        assert_eq!(keep_alive(&mut world, other, 7), 0, "seed {seed}");
    }
}

/// A keep-alive takes a checkpoint back, and the leader that confirmed it dies before the others hear that this is
/// committed. The next one cannot commit anything for longer than that checkpoint said remains.
#[test]
fn a_leader_that_lags_does_not_count_from_a_checkpoint_that_was_taken_back() {
    for seed in 0..10 {
        let mut world = world(seed);
        let leader = world.leader().expect("there is one");
        answer(&mut world, leader, Request::Write(Command::LeaseGrant { id: 7, ttl: 12 }));
        answer(&mut world, leader, put("leased", 7));
        // What is remembered now is one second.
        let late = world.now + Duration::from_millis(11_300);
        run_until(&mut world, late);
        let leader = world.leader().expect("there is one");
        assert_eq!(keep_alive(&mut world, leader, 7), 12, "seed {seed}");
        let confirmed = world.now;
        let others: Vec<NodeId> = [1, 2, 3].map(NodeId).into_iter().filter(|&n| n != leader).collect();
        for &n in &others {
            world.cut(leader, n);
        }
        world.kill(leader);
        while world.leader().is_none() {
            world.step().expect("a sound world");
        }
        world.cut(others[0], others[1]);
        world.cut(others[1], others[0]);
        let mended = world.now + Duration::from_millis(1200);
        run_until(&mut world, mended);
        world.heal();
        run_until(&mut world, confirmed + Duration::from_secs(7));
        assert!(there(&mut world, others[0], "leased"), "seed {seed}: the lease ended before its time");
        run_until(&mut world, confirmed + Duration::from_secs(35));
        assert!(!there(&mut world, others[0], "leased"), "seed {seed}: the lease does not end");
    }
}

/// A leader that was paused may find the proof for a keep-alive and the message that deposes it in one heap. It must not
/// say then that the lease is gone, only because it counts no leases any more.
#[test]
fn a_leader_that_was_deposed_does_not_declare_leases_gone() {
    let mut answered = 0;
    for seed in 0..20 {
        let mut world = world(seed);
        answer(&mut world, NodeId(1), Request::Write(Command::LeaseGrant { id: 7, ttl: 60 }));
        for round in 0..5 {
            let Some(leader) = world.leader() else { break };
            let mut kept = Vec::new();
            for _ in 0..10 {
                kept.push(ask(&mut world, leader, Request::LeaseKeepAlive { id: 7 }));
                let next = world.now + Duration::from_micros(100 + 100 * round);
                run_until(&mut world, next);
            }
            // Longer than an election, and shorter than the clients wait.
            world.pause(leader, Duration::from_millis(2900));
            let next = world.now + Duration::from_secs(8);
            run_until(&mut world, next);
            for heard in kept {
                match heard.lock().expect("one thread").take() {
                    Some(Ok(Answer { body: Body::KeepAlive { ttl, .. }, .. })) => {
                        assert_eq!(ttl, 60, "seed {seed}: a lease that is there was called gone");
                        answered += 1;
                    }
                    Some(Ok(other)) => panic!("seed {seed}: {other:?}"),
                    Some(Err(_)) | None => {}
                }
            }
        }
    }
    assert!(answered > 100, "{answered} answers show nothing");
}

/// Asks all of it at once, and again where it came to nothing, until each is answered.
fn answers(world: &mut World, requests: &[Request]) -> Vec<Body> {
    let mut bodies: Vec<Option<Body>> = requests.iter().map(|_| None).collect();
    while bodies.iter().any(Option::is_none) {
        let open: Vec<usize> = (0..requests.len()).filter(|&at| bodies[at].is_none()).collect();
        let asked: Vec<Heard> =
            open.iter().map(|&at| ask(world, NodeId(1 + at as u64 % 3), requests[at].clone())).collect();
        for (at, heard) in open.into_iter().zip(asked) {
            let result = loop {
                if let Some(result) = heard.lock().expect("one thread").take() {
                    break result;
                }
                world.step().expect("a sound world");
            };
            bodies[at] = match result {
                Ok(answer) => Some(answer.body),
                // What a grant whose answer was lost has left.
                Err(Failure::Refused(Refused::LeaseExists, _)) => Some(Body::Done),
                Err(_) => None,
            };
        }
    }
    bodies.into_iter().flatten().collect()
}

/// Another node leads, and the one that led before is back.
fn change_leader(world: &mut World) {
    let Some(old) = world.leader() else { return };
    world.kill(old);
    let end = world.now + Duration::from_secs(10);
    while world.leader().is_none() {
        assert!(world.now < end, "no leader in 10 s");
        world.step().expect("a sound world");
    }
    world.start(old);
}

fn leases_left(world: &mut World) -> usize {
    match answers(world, &[Request::LeaseList]).remove(0) {
        Body::Leases(ids) => ids.len(),
        other => panic!("{other:?}"),
    }
}

/// Ten thousand leases that are kept alive outlive every leader; left alone, none ends early, and all end at last, though leaders
/// change much more often than half of their time would take.
#[test]
fn many_leases_end_neither_early_nor_never() {
    const LEASES: i64 = 10_000;
    const TTL: u64 = 20;
    let mut world = world(11);
    let grants: Vec<Request> =
        (1..=LEASES).map(|id| Request::Write(Command::LeaseGrant { id, ttl: TTL as i64 })).collect();
    answers(&mut world, &grants);
    let keep_alive: Vec<Request> = (1..=LEASES).map(|id| Request::LeaseKeepAlive { id }).collect();
    let mut kept = world.now;
    for _ in 0..2 {
        let end = world.now + Duration::from_secs(TTL / 3);
        run_until(&mut world, end);
        change_leader(&mut world);
        kept = world.now;
        for body in answers(&mut world, &keep_alive) {
            assert!(matches!(body, Body::KeepAlive { ttl, .. } if ttl == TTL as i64), "{body:?}");
        }
    }
    let (early, late) = (kept + Duration::from_secs(TTL - 1), kept + Duration::from_secs(200));
    while world.now < early {
        change_leader(&mut world);
        let end = (world.now + Duration::from_secs(4)).min(early);
        run_until(&mut world, end);
    }
    assert_eq!(leases_left(&mut world), LEASES as usize, "some ended early");
    while leases_left(&mut world) > 0 {
        assert!(world.now < late, "{} leases do not end", leases_left(&mut world));
        change_leader(&mut world);
        let end = world.now + Duration::from_secs(4);
        run_until(&mut world, end);
    }
}

/// How often a key was put that a node has, by its own state.
fn puts(world: &mut World, node: NodeId, key: &'static str) -> i64 {
    let range = Range { range: KeyRange { key: key.into(), end: "".into() }, ..Range::default() };
    match answer(world, node, Request::Range { range, serializable: true }).body {
        Body::Reply(Reply::Range(reply)) => reply.kvs.first().map_or(0, |kv| kv.version),
        other => panic!("{other:?}"),
    }
}

/// Claim: what was done in entries that a node has as a snapshot alone, it does not ask for again when their leader is lost: who asked
/// hears that nobody knows, and it is done once.
#[test]
fn what_a_snapshot_brought_is_not_asked_for_again() {
    for seed in 0..5 {
        let quick = Duration::from_micros(300);
        let knobs = Knobs { nodes: 3, groups: 0, drop: 0, duplicate: 0, late: false, ..Knobs::draw(seed) };
        let knobs = Knobs { at_once: 1_000, read_max: quick, delay_max: quick, flush_max: quick, ..knobs };
        let knobs = Knobs { log_keep_bytes: 200, append_entries: 64, window_messages: 4, ..knobs };
        let mut world = world_with(seed, knobs);
        let leader = world.leader().expect("there is one");
        let asked = [1, 2, 3].map(NodeId).into_iter().find(|&id| id != leader).expect("one of three");
        answer(&mut world, asked, put("before", 0));
        // The first read of a node's life asks the leader.
        assert_eq!(puts(&mut world, asked, "before"), 1);
        // It is heard, and hears nothing.
        world.cut(leader, asked);
        let heard = ask(&mut world, asked, put("once", 0));
        while puts(&mut world, leader, "once") == 0 {
            world.step().expect("a sound world");
        }
        // More than the leader keeps for who is heard.
        for _ in 0..60 {
            let (key, value) = ("other".into(), vec![7; 300].into());
            let large = Put { key, value, ..Put::default() };
            answer(&mut world, leader, Request::Write(Command::Put(large)));
        }
        world.heal();
        while puts(&mut world, asked, "other") < 60 {
            world.step().expect("a sound world");
        }
        let waits = || heard.lock().expect("one thread").is_none();
        assert!(waits(), "seed {seed}: there was no snapshot: {:?}", heard.lock().expect("one thread"));
        world.kill(leader);
        while waits() {
            world.step().expect("a sound world");
        }
        let result = wait_for(&mut world, &heard);
        assert!(matches!(result, Err(Failure::LeaderChanged)), "seed {seed}: {result:?}");
        answer(&mut world, asked, put("behind", 0));
        assert_eq!(puts(&mut world, asked, "once"), 1, "seed {seed}: it was done again");
    }
}
