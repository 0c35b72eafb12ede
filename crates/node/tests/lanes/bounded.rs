//! Reads with a bound on staleness at any replica: what they answer, how old they say that it is, what the closed times cost, and the
//! planted bugs in them, each with the schedule that shows it.

use super::*;
use quorate_node::api::Body;
use quorate_node::api::tables::{KeysAsked, Page, ReadReply};
use quorate_node::evidence::{Evidence, Mode, Slot};
use quorate_node::lane::{ClosedMutant, Missed, Stand};
use quorate_protocol::raft::Message;

/// The table's bound.
const BOUND: Duration = Duration::from_secs(5);

/// What a plain read of an item said: whether it is there, and how it was served.
struct Seen {
    there: bool,
    evidence: Evidence,
}

impl Seen {
    /// How old the answer is at most, if it is the asked node's own.
    fn age(&self) -> Option<Duration> {
        self.evidence.closed.map(|(_, age)| age)
    }

    /// Something that was done so long ago is missing, and the answer says that it is not as old as that.
    fn is_a_lie(&self, since: Duration) -> bool {
        !self.there && self.age().is_some_and(|age| age < since)
    }
}

impl Cluster {
    /// Three nodes, and a table of so many shards with a bound.
    fn bounded(shards: u32) -> Self {
        let mut cluster = Self::new(0);
        cluster.bound_table(shards);
        cluster.pass(4_000);
        let shards = if shards > 1 { cluster.shards.clone() } else { vec![KV] };
        cluster.warm(&shards);
        cluster
    }

    /// The first read of a node's life goes to the leader: those of tests are the next.
    fn warm(&mut self, shards: &[ShardId]) {
        for id in 1..=NODES {
            for &shard in shards {
                self.look(id, shard, 0).unwrap();
            }
        }
    }

    fn bound_table(&mut self, shards: u32) {
        let tags = [(SHARDS_TAG, shards.to_string()), ("quorate:staleness", "5s".to_string())];
        let tags = tags.map(|(key, value)| (key.to_string(), value)).into();
        self.ask(1, KV, create_with("t", tags));
        let view = self.nodes[0].as_ref().unwrap().lane.view();
        let block = view.tables().placement().table("t");
        // One shard is shard 1.
        self.shards = block.map_or_else(Vec::new, |block| block.shards().collect());
    }

    fn plain(&mut self, id: u64, shard: ShardId, read: Read, within: Option<Duration>) -> (Answers, Slot) {
        let slot = Slot::default();
        let request = Request::Table { read: Box::new(read), fresh: Fresh::Plain(within), epoch: EPOCH };
        (self.call(id, shard, Request::Explained(Box::new(request), slot.clone())), slot)
    }

    /// Asks a node for an item with a plain read, and takes an answer that comes at once.
    fn look(&mut self, id: u64, shard: ShardId, n: usize) -> Option<Seen> {
        let get = Get::of("t", item(n));
        let (answers, slot) = self.plain(id, shard, Read::Get(vec![get]), None);
        self.settle();
        let answer = answers.lock().unwrap().pop()?;
        let Body::Table(reply) = answer.unwrap().body else { panic!() };
        let ReadReply::Items(got) = *reply else { panic!("{reply:?}") };
        Some(Seen { there: got[0].item.is_some(), evidence: slot.take().unwrap() })
    }

    fn plant(&mut self, mutant: Option<ClosedMutant>) {
        for node in self.nodes.iter_mut().flatten() {
            node.lane.plant_in_closed(mutant);
        }
    }

    fn awake(&mut self, id: u64) {
        self.asleep.remove(&id);
    }

    /// What waited for nodes that stood still arrives.
    fn arrive(&mut self) {
        for (from, to, body) in std::mem::take(&mut self.kept) {
            self.deliver(from, to, body);
        }
    }

    fn leader(&self, shard: ShardId) -> u64 {
        self.leaders(shard)[0]
    }
}

/// Every replica answers plain reads by itself, and says how old they are at most, which is below a second where nothing is wrong. One
/// that is cut off goes on as long as the bound allows, growing older, and then asks the leader, which it does not reach.
#[test]
fn every_replica_answers_within_the_bound_and_says_how_old() {
    let mut cluster = Cluster::bounded(1);
    let at = KV;
    cluster.ask(1, at, put_item(7));
    cluster.pass(1_000);
    let leader = cluster.leader(at);
    for id in 1..=NODES {
        let seen = cluster.look(id, at, 7).unwrap();
        let age = seen.age().unwrap();
        assert!(seen.there && seen.evidence.mode == Mode::Bounded, "{:?}", seen.evidence);
        assert!(age > Duration::from_millis(500) && age < Duration::from_secs(1), "node {id}: {age:?}");
        let headers = seen.evidence.headers();
        let header = |name| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
        assert_eq!(header("quorate-mode").as_deref(), Some("bounded"));
        assert_eq!(header("quorate-staleness"), Some(age.as_millis().to_string()));
        assert!(header("quorate-closed").is_some_and(|closed| closed.starts_with("17000000")));
    }
    let alone = leader % NODES + 1;
    let others: Vec<u64> = (1..=NODES).filter(|&id| id != alone).collect();
    let mut last = Duration::ZERO;
    // It neither hears nor is heard.
    for _ in 0..40 {
        cluster.now = cluster.now + Duration::from_millis(100);
        while let Some(packets) = cluster.drain() {
            for (from, to, body) in packets {
                if others.contains(&from.get()) && others.contains(&to.get()) {
                    cluster.deliver(from, to, body);
                }
            }
        }
        let get = Get::of("t", item(7));
        let (answers, slot) = cluster.plain(alone, at, Read::Get(vec![get]), None);
        cluster.drain();
        let answered = answers.lock().unwrap().pop();
        let evidence = slot.take();
        if let (Some(Ok(_)), Some(evidence)) = (answered, evidence) {
            let (_, age) = evidence.closed.unwrap();
            assert!(age > last && age <= BOUND);
            last = age;
        }
    }
    assert!(last > Duration::from_secs(4), "it went on for as long as it may: {last:?}");
    cluster.pass_alone(alone, 2_000);
    let get = Get::of("t", item(7));
    let (answers, _) = cluster.plain(alone, at, Read::Get(vec![get]), None);
    cluster.pass_alone(alone, 300);
    assert!(answers.lock().unwrap().is_empty(), "it cannot keep the bound, and waits for a leader");
}

impl Cluster {
    /// Time passes, and one node neither hears nor is heard.
    fn pass_alone(&mut self, alone: u64, millis: u64) {
        for _ in 0..millis / 10 {
            self.now = self.now + Duration::from_millis(10);
            while let Some(packets) = self.drain() {
                for (from, to, body) in packets {
                    if from.get() != alone && to.get() != alone {
                        self.deliver(from, to, body);
                    }
                }
            }
        }
    }
}

/// A bound of the operation's own counts where it is smaller than the table's: below what clocks can prove the leader is asked, and the
/// evidence says why; a larger one is refused, and one for a table without a bound, too.
#[test]
fn an_operation_asks_for_less_than_the_table_allows() {
    let mut cluster = Cluster::bounded(1);
    let at = KV;
    cluster.ask(2, at, put_item(7));
    cluster.pass(1_000);
    let get = || Read::Get(vec![Get::of("t", item(7))]);
    let follower = cluster.leader(at) % NODES + 1;
    let answered = |cluster: &mut Cluster, read, within| {
        let (answers, slot) = cluster.plain(follower, at, read, within);
        cluster.pass(300);
        let answer = answers.lock().unwrap().pop().unwrap();
        (answer, slot.take())
    };
    let (answer, evidence) = answered(&mut cluster, get(), Some(Duration::from_millis(400)));
    let evidence = evidence.unwrap();
    assert!(answer.is_ok());
    assert_eq!((evidence.mode, evidence.missed), (Mode::ReadIndex, Some(Missed::TooOld)));
    let (answer, evidence) = answered(&mut cluster, get(), Some(Duration::from_secs(2)));
    assert!(answer.is_ok() && evidence.unwrap().mode == Mode::Bounded);
    let (answer, _) = answered(&mut cluster, get(), Some(Duration::from_secs(6)));
    assert!(format!("{answer:?}").contains("above what the table allows: 5000 ms"), "{answer:?}");
    cluster.ask(1, KV, create_with("other", Vec::new()));
    let other = || Read::Get(vec![Get::of("other", item(7))]);
    let (answers, _) = cluster.plain(follower, KV, other(), Some(BOUND));
    cluster.settle();
    assert!(format!("{answers:?}").contains("declares none"), "{answers:?}");
    let (answers, slot) = cluster.plain(follower, KV, other(), None);
    cluster.settle();
    assert!(answers.lock().unwrap().pop().unwrap().is_ok());
    assert_eq!(slot.take().unwrap().mode, Mode::Local, "without a bound all is as ever");
}

/// A thousand idle groups: nothing is written, nobody wakes up, and what is said for all of them is one message a pair of nodes and
/// interval, and its answer, of a size that does not depend on how many they are.
#[test]
fn a_thousand_idle_groups_are_closed_by_constant_messages() {
    let mut seen = Vec::new();
    for groups in [4, 1_000] {
        let mut cluster = Cluster::new(0);
        cluster.bound_table(groups);
        // Leaders are spread, a few at a time.
        cluster.pass(if groups > 4 { 60_000 } else { 25_000 });
        assert!(cluster.shards.iter().all(|&shard| cluster.leaders(shard).len() == 1));
        assert_eq!(cluster.resting(), [groups as usize; 3]);
        (cluster.packets, cluster.of_groups, cluster.flushes, cluster.bytes) = (0, 0, 0, 0);
        cluster.pass(10_000);
        assert_eq!((cluster.of_groups, cluster.flushes), (0, 0), "{groups} groups");
        assert_eq!(cluster.resting(), [groups as usize; 3], "nobody woke up");
        seen.push((cluster.packets, cluster.bytes));
        let some = [0, groups as usize / 2, groups as usize - 1].map(|at| cluster.shards[at]);
        cluster.warm(&some);
        for id in 1..=NODES {
            for shard in some {
                let seen = cluster.look(id, shard, 1).unwrap();
                assert!(seen.age().is_some_and(|age| age < Duration::from_secs(1)), "{:?}", seen.evidence);
            }
        }
    }
    let [(few, small), (many, large)] = seen[..] else { panic!() };
    // Of each node 50 rounds to two others and the answers to theirs, beside the words of those that rest.
    assert!(many <= few + few / 5 && large <= small + small / 5, "{seen:?}");
}

/// Pages are answered so too; an item that another shard's undecided transaction holds is looked after.
#[test]
fn pages_are_bounded_too() {
    let mut cluster = Cluster::bounded(1);
    let at = KV;
    cluster.ask(2, at, put_item(7));
    cluster.pass(1_000);
    let page = Page::of("t", KeysAsked::All(None));
    for id in 1..=NODES {
        let (answers, slot) = cluster.plain(id, at, Read::Page(Box::new(page.clone())), None);
        cluster.settle();
        let answer = answers.lock().unwrap().pop().unwrap().unwrap();
        let Body::Table(reply) = answer.body else { panic!() };
        assert!(matches!(&*reply, ReadReply::Page(paged) if paged.items.len() == 1));
        assert_eq!(slot.take().unwrap().mode, Mode::Bounded);
    }
}

/// A leader stands still while another is elected and writes. When it goes on, before it has heard of that, it closes nothing: nobody
/// has confirmed that it leads. With the bug planted, its own answers claim to be new.
#[test]
fn a_deposed_leader_closes_nothing() {
    for planted in [None, Some(ClosedMutant::CloseWithoutRound)] {
        let mut cluster = Cluster::bounded(2);
        let at = cluster.shards[0];
        let old = cluster.leader(at);
        cluster.plant(planted);
        cluster.pass(1_000);
        cluster.asleep.insert(old);
        let other = old % NODES + 1;
        // The others miss it.
        for id in (1..=NODES).filter(|&id| id != old) {
            let node = cluster.nodes[id as usize - 1].as_mut().unwrap();
            node.lane.handle(cluster.now, Event::PeerDown(NodeId(old)));
        }
        let n = (0..1_000).find(|&n| cluster.shard_of(n) == at).unwrap();
        cluster.pass(4_000);
        cluster.ask(other, at, put_item(n));
        let done = cluster.now;
        cluster.pass(1_500);
        cluster.awake(old);
        // Its own loop turns before anything arrives.
        cluster.drain();
        let seen = cluster.look_alone(old, at, n);
        let lies = seen.is_some_and(|seen| seen.is_a_lie(cluster.now.since(done)));
        assert_eq!(lies, planted.is_some(), "{planted:?}");
        cluster.arrive();
        cluster.pass(2_000);
        assert!(cluster.look(old, at, n).unwrap().there);
    }
}

/// A leader that was succeeded while it stood still begins a round as it goes on, and hears then that it leads no more. Nobody has confirmed
/// that round for what it led; so it is not closed for that, though it stands in no list of what is led any more.
#[test]
fn who_was_succeeded_closes_no_round_that_it_began() {
    let mut cluster = Cluster::bounded(2);
    let at = cluster.shards[0];
    let old = cluster.leader(at);
    cluster.pass(1_000);
    cluster.asleep.insert(old);
    for id in (1..=NODES).filter(|&id| id != old) {
        let node = cluster.nodes[id as usize - 1].as_mut().unwrap();
        node.lane.handle(cluster.now, Event::PeerDown(NodeId(old)));
    }
    let n = (0..1_000).find(|&n| cluster.shard_of(n) == at).unwrap();
    cluster.pass(4_000);
    cluster.ask(old % NODES + 1, at, put_item(n));
    let done = cluster.now;
    cluster.pass(1_500);
    cluster.awake(old);
    let leads = |cluster: &Cluster| {
        cluster.nodes[old as usize - 1].as_ref().unwrap().lane.core(at).is_some_and(raft::Raft::is_leader)
    };
    assert!(leads(&cluster));
    for _ in 0..60 {
        cluster.now = cluster.now + Duration::from_millis(10);
        while let Some(packets) = cluster.drain() {
            for (from, to, body) in packets {
                // What it has missed does not come, only that there is a newer term.
                let body = if to == NodeId(old) { without_entries(body) } else { body };
                cluster.deliver(from, to, body);
            }
        }
        let seen = cluster.look_alone(old, at, n);
        assert!(seen.is_none_or(|seen| !seen.is_a_lie(cluster.now.since(done))));
    }
    assert!(!leads(&cluster));
}

fn without_entries(body: Bytes) -> Bytes {
    let mut rest = Packet::default();
    let entries = |frame: &Frame| matches!(frame, Frame::Raft { message: Message::Append { .. }, .. });
    let frames = Packet::read(body).map_while(Result::ok);
    frames.filter(|frame| !entries(frame)).for_each(|frame| rest.push(&frame));
    rest.finish()
}

/// A replica whose machine stands still has not applied what is closed: it says how old it is, or asks the leader. With the bug planted
/// it claims to be new.
#[test]
fn what_is_closed_counts_once_it_is_applied() {
    for planted in [None, Some(ClosedMutant::ServeBeforeApplied)] {
        let mut cluster = Cluster::bounded(2);
        let at = cluster.shards[0];
        let leader = cluster.leader(at);
        cluster.plant(planted);
        let follower = leader % NODES + 1;
        cluster.nodes[follower as usize - 1].as_mut().unwrap().still = Some(Vec::new());
        let n = (0..1_000).find(|&n| cluster.shard_of(n) == at).unwrap();
        let answers = cluster.call(leader, at, put_item(n));
        cluster.pass(100);
        assert!(matches!(answers.lock().unwrap().pop(), Some(Ok(_))));
        let done = cluster.now;
        cluster.pass(1_500);
        let seen = cluster.look(follower, at, n);
        let lies = seen.is_some_and(|seen| seen.is_a_lie(cluster.now.since(done)));
        assert_eq!(lies, planted.is_some(), "{planted:?}");
    }
}

/// A transaction over two shards is answered as done, and its gateway dies before the shards hear of its outcome: a replica that holds
/// the intent asks the other shard. With the bug planted it answers with what was there before, and claims to be new.
#[test]
fn no_transaction_that_is_done_is_missed() {
    for planted in [None, Some(ClosedMutant::PassIntents)] {
        let mut lied = false;
        for step in 0..3 {
            let mut cluster = Cluster::bounded(6);
            cluster.plant(planted);
            let items = cluster.apart(step * 100, 3);
            // A first one, so that its life has begun.
            let first = cluster.transaction(&cluster.apart(step * 100 + 50, 3), None, None);
            let gateway = 1;
            cluster.transact(gateway, first).unwrap();
            let request = cluster.transaction(&items, None, None);
            let answers = cluster.call(gateway, KV, request);
            for _ in 0..60 {
                let packets = cluster.drain().unwrap_or_default();
                // What it sends beside the answer is lost with it.
                if !answers.lock().unwrap().is_empty() {
                    break;
                }
                for (from, to, body) in packets {
                    cluster.deliver(from, to, body);
                }
            }
            assert!(matches!(answers.lock().unwrap().pop(), Some(Ok(_))), "it is done");
            let done = cluster.now;
            cluster.kill(gateway);
            assert!(cluster.locked(), "and its shards have not heard of that");
            // Long enough for closed times behind it, not for those who look for what nobody ends.
            for _ in 0..12 {
                cluster.pass(100);
                for &n in &items {
                    for reader in [2, 3] {
                        let seen = cluster.look(reader, cluster.place(n).shard, n);
                        lied |= seen.is_some_and(|seen| seen.is_a_lie(cluster.now.since(done)));
                    }
                }
            }
        }
        assert_eq!(lied, planted.is_some(), "{planted:?}");
    }
}

impl Cluster {
    fn shard_of(&self, n: usize) -> ShardId {
        self.place(n).shard
    }

    /// The same as `look`, of a node that hears nobody.
    fn look_alone(&mut self, id: u64, shard: ShardId, n: usize) -> Option<Seen> {
        let get = Get::of("t", item(n));
        let (answers, slot) = self.plain(id, shard, Read::Get(vec![get]), None);
        self.drain();
        let answer = answers.lock().unwrap().pop()?.ok()?;
        let Body::Table(reply) = answer.body else { panic!() };
        let ReadReply::Items(got) = *reply else { panic!("{reply:?}") };
        Some(Seen { there: got[0].item.is_some(), evidence: slot.take()? })
    }
}

/// A node whose clock is two seconds ahead is fenced: it says so, answers no plain read by itself, and closes nothing that it leads; set
/// right it is as the others. Two of three that disagree do not know who is right, and what was decided stays.
#[test]
fn a_clock_that_is_wrong_is_fenced() {
    let mut cluster = Cluster::bounded(6);
    cluster.pass(1_000);
    let stands = |cluster: &Cluster| -> Vec<Stand> {
        cluster.nodes.iter().flatten().map(|node| node.lane.clock()).collect()
    };
    assert_eq!(stands(&cluster), [Stand::Near; 3]);
    cluster.ahead[1] = 2_000;
    cluster.pass(8_000);
    assert_eq!(stands(&cluster), [Stand::Near, Stand::Far(2_000), Stand::Near]);
    let status = cluster.ask(2, KV, Request::Status);
    assert!(format!("{status:?}").contains("2000 ms ahead of the majority's"), "{status:?}");
    let mut led = 0;
    for n in 0..40 {
        let at = cluster.shard_of(n);
        if let Some(seen) = cluster.look(2, at, n) {
            assert_eq!((seen.evidence.missed, seen.age()), (Some(Missed::Fenced), None));
        }
        // What it leads is not closed at the others either, any more.
        if cluster.leader(at) == 2 {
            led += 1;
            let missed = cluster.look(1, at, n).map(|seen| seen.evidence.missed);
            assert!(missed.is_none_or(|missed| missed == Some(Missed::TooOld)), "{missed:?}");
        }
    }
    assert!(led > 0, "it leads something");
    cluster.kill(3);
    cluster.pass(8_000);
    assert_eq!(stands(&cluster), [Stand::Unknown; 2], "one against one");
    cluster.start(3);
    cluster.ahead[1] = 0;
    cluster.pass(8_000);
    assert_eq!(stands(&cluster), [Stand::Near; 3]);
    for n in 0..10 {
        assert!(cluster.look(2, cluster.shard_of(n), n).unwrap().age().is_some());
    }
}

/// A clock that is set back makes no answer look newer than it is, not even before the next answers of the others; where no majority tells,
/// that stays so. With the bug planted it says that nothing older than half a second is missing, three seconds and more behind the truth.
#[test]
fn a_clock_that_is_set_says_nothing_until_it_is_compared() {
    for planted in [None, Some(ClosedMutant::TrustsSetClock)] {
        let mut cluster = Cluster::bounded(1);
        cluster.plant(planted);
        cluster.ahead = [3_000; 5];
        cluster.pass(8_000);
        let of = |cluster: &mut Cluster, id| cluster.look(id, KV, 7).unwrap().evidence;
        assert!(of(&mut cluster, 2).closed.is_some());
        cluster.ahead[1] = 0;
        let set_back = of(&mut cluster, 2);
        if planted.is_some() {
            let (_, age) = set_back.closed.unwrap();
            assert!(
                age < Duration::from_millis(600),
                "the others' newest looks as if it were to come: {age:?}"
            );
            continue;
        }
        assert_eq!((set_back.missed, set_back.closed), (Some(Missed::Fenced), None));
        assert!(of(&mut cluster, 3).closed.is_some(), "the others go on");
        cluster.ahead[1] = 3_000;
        assert_eq!(of(&mut cluster, 2).missed, Some(Missed::Fenced), "and set right again");
        cluster.pass(1_000);
        assert!(of(&mut cluster, 2).closed.is_some(), "it was compared");
        cluster.kill(3);
        cluster.pass(8_000);
        cluster.ahead[1] = 0;
        cluster.pass(1_000);
        let seen = cluster.look(2, KV, 7).map(|seen| seen.evidence.missed);
        assert!(matches!(seen, None | Some(Some(Missed::Fenced))), "one against one: {seen:?}");
        assert_eq!(cluster.nodes[1].as_ref().unwrap().lane.clock(), Stand::Unknown);
    }
}

/// The planner and the nodes mean the same clocks.
#[test]
fn the_planner_knows_the_clocks() {
    assert_eq!(quorate_clock::MAX_OFFSET, quorate_policy::decide::CLOCK_OFFSET);
    assert_eq!(quorate_node::lane::CLOSES_EVERY, quorate_policy::decide::CLOSING_INTERVAL);
}

/// The hybrid clocks of nodes follow each other within the maximum: who is behind goes on above what it has heard, and what is from
/// too far ahead pulls nobody along. What may be given out is asked for before it is, and a node that starts again begins above it.
#[test]
fn hybrid_clocks_hear_each_other() {
    let mut cluster = Cluster::bounded(6);
    cluster.ahead[0] = 400;
    cluster.pass(1_000);
    let shows = |cluster: &Cluster, id: u64| cluster.nodes[id as usize - 1].as_ref().unwrap().lane.hybrid();
    let items = cluster.apart(0, 3);
    let request = cluster.transaction(&items, None, None);
    cluster.transact(1, request.clone()).unwrap();
    let first = shows(&cluster, 1);
    assert!(
        first.wall() > Wall(WALL) && shows(&cluster, 2) == first && shows(&cluster, 3) == first,
        "{first}"
    );
    cluster.ahead[0] = 60_000;
    cluster.pass(300);
    cluster.transact(1, request.clone()).unwrap();
    let wrong = shows(&cluster, 1);
    assert!(wrong.wall().0 > first.wall().0 + 50_000);
    assert_eq!([shows(&cluster, 2), shows(&cluster, 3)], [first; 2], "nobody follows it");
    let node = cluster.nodes[1].as_mut().unwrap();
    node.lane.restores_clock(wrong, wrong);
    let answers = cluster.call(2, KV, request);
    cluster.settle();
    let node = cluster.nodes[1].as_mut().unwrap();
    assert_eq!(node.lane.hybrid(), wrong, "it stands at its bound");
    cluster.pass(2_000);
    assert!(matches!(answers.lock().unwrap().pop(), Some(Ok(_))));
}
