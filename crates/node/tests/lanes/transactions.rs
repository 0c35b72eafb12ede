//! Transactions across shards in three nodes: gateways that die at every step, reads that meet intents, tokens.

use super::*;
use quorate_node::api::tables::{Got, KeysAsked, Page, ReadReply};
use quorate_node::api::{Body, Gather, Place, Transact};
use quorate_protocol::commit::{Answer as Said, Command as Step, Prepare, TxnId};
use quorate_wire::kv::{Refused, Reply};
use quorate_wire::table::{Outcome, Refusal, Token};

fn op(n: usize, condition: Option<Bytes>) -> Op {
    let action = Action::Put { item: item(n).encode().into() };
    Op { table: "t".into(), action, condition, returns: Returns::None, old_on_failure: false }
}

/// Only where nothing is.
fn absent() -> Bytes {
    quorate_item::Condition::NotExists(quorate_item::Path::attribute("k")).encode().into()
}

impl Cluster {
    pub(super) fn place(&self, n: usize) -> Place {
        let view = self.nodes.iter().flatten().next().unwrap().lane.view();
        let block = view.tables().placement().table("t").unwrap();
        let key = block.schema.key_of(&item(n)).unwrap();
        Place { shard: block.shard_of(&key).unwrap(), epoch: EPOCH }
    }

    /// Some items, no two of which lie in one shard.
    pub(super) fn apart(&self, from: usize, many: usize) -> Vec<usize> {
        let mut items: Vec<usize> = Vec::new();
        for n in from.. {
            if items.iter().all(|&other| self.place(other).shard != self.place(n).shard) {
                items.push(n);
            }
            if items.len() == many {
                break;
            }
        }
        items
    }

    pub(super) fn transaction(
        &self,
        items: &[usize],
        condition: Option<&Bytes>,
        token: Option<&str>,
    ) -> Request {
        let ops = items.iter().map(|&n| (self.place(n), op(n, condition.cloned()))).collect();
        let token = token.map(|word| {
            let word: Bytes = word.to_string().into();
            (self.place(items[0]), Token { token: word.clone(), fingerprint: word })
        });
        Request::Transact(Box::new(Transact { now: 1_000, token, ops }))
    }

    pub(super) fn transact(&mut self, id: u64, request: Request) -> Result<table::Reply, Failure> {
        let answers = self.call(id, KV, request);
        self.pass(3_000);
        let answer = answers.lock().unwrap().pop().expect("an answer");
        match answer?.body {
            Body::Reply(Reply::Table(reply)) => Ok(*reply),
            other => panic!("{other:?}"),
        }
    }

    /// Which of the items are there, read at a node at one moment.
    fn there(&mut self, id: u64, items: &[usize]) -> Vec<bool> {
        let get = |n: usize| Get::of("t", item(n));
        let gets = items.iter().map(|&n| (self.place(n), get(n))).collect();
        let answer = self.ask(id, KV, Request::Gather(Box::new(Gather { gets, together: true })));
        let Body::Table(reply) = answer.body else { panic!() };
        let ReadReply::Items(got) = *reply else { panic!("{reply:?}") };
        got.iter().map(|got: &Got| got.item.is_some()).collect()
    }

    pub(super) fn locked(&self) -> bool {
        let locked = |node: &Node| {
            let of = self.shards.iter().chain([&KV]);
            of.filter_map(|&shard| node.lane.view_of(shard)).any(|view| view.tables().is_locked())
        };
        self.nodes.iter().flatten().any(locked)
    }
}

fn outcomes(reply: &table::Reply) -> Vec<Outcome> {
    match reply {
        table::Reply::Executed(done) => done.iter().map(|done| done.outcome.clone()).collect(),
        other => panic!("{other:?}"),
    }
}

fn with_table() -> Cluster {
    let mut cluster = Cluster::new(0);
    cluster.table("t", 6);
    cluster.pass(4_000);
    cluster
}

/// All or nothing, at every node, with reasons in the order of the request; a token acts once, and only for its request.
#[test]
fn a_transaction_over_shards_is_done_or_not() {
    let mut cluster = with_table();
    for id in 1..=NODES {
        let items = cluster.apart(id as usize * 100, 4);
        let request = cluster.transaction(&items, Some(&absent()), Some(&format!("token {id}")));
        let reply = cluster.transact(id, request.clone()).unwrap();
        assert_eq!(outcomes(&reply), vec![Outcome::Done; 4]);
        for reader in 1..=NODES {
            assert_eq!(cluster.there(reader, &items), [true; 4]);
        }
        // It has done its work, wherever it comes again.
        let again = cluster.transact(id % NODES + 1, request).unwrap();
        assert_eq!(again, table::Reply::Repeated);
        let mut other = cluster.transaction(&items, None, Some(&format!("token {id}")));
        if let Request::Transact(other) = &mut other
            && let Some((_, token)) = &mut other.token
        {
            token.fingerprint = Bytes::from_static(b"another");
        }
        let refused = cluster.transact(id, other).unwrap_err();
        assert!(
            matches!(refused, Failure::Refused(Refused::Table(Refusal::TokenMismatch), _)),
            "{refused:?}"
        );
        // One item is there: nothing is done, and the reasons say which.
        let mut mixed = cluster.apart(id as usize * 100 + 50, 4);
        let second = (items[2], cluster.place(items[2]).shard);
        mixed.retain(|&n| cluster.place(n).shard != second.1);
        mixed.insert(1, second.0);
        let request = cluster.transaction(&mixed, Some(&absent()), None);
        let reply = cluster.transact(id, request).unwrap();
        let expected = |&n: &usize| if n == second.0 { Outcome::ConditionFailed } else { Outcome::Done };
        assert_eq!(outcomes(&reply), mixed.iter().map(expected).collect::<Vec<_>>());
        let there: Vec<bool> = mixed.iter().map(|&n| n == second.0).collect();
        assert_eq!(cluster.there(id, &mixed), there);
    }
    assert!(!cluster.locked(), "nothing is left");
    let mut stale = cluster.transaction(&cluster.apart(0, 2), None, None);
    if let Request::Transact(asked) = &mut stale {
        asked.ops[1].0.epoch = 9;
    }
    let refused = cluster.transact(1, stale).unwrap_err();
    assert!(matches!(refused, Failure::Refused(Refused::Table(Refusal::StaleEpoch), _)), "{refused:?}");
}

/// A gateway dies at any step of a transaction: it is done or not, nothing stays locked, who asks meanwhile is answered, and what the
/// gateway's next life begins is done.
#[test]
fn a_gateway_that_dies_leaves_nothing_locked() {
    let mut cluster = with_table();
    let (mut done, mut undone, mut left) = (0, 0, 0);
    for step in 0..14 {
        let gateway = step % NODES + 1;
        let reader = gateway % NODES + 1;
        let first = cluster.apart(step as usize * 1_000, 3);
        let request = cluster.transaction(&first, None, None);
        assert_eq!(outcomes(&cluster.transact(gateway, request).unwrap()), vec![Outcome::Done; 3]);
        let items = cluster.apart(step as usize * 1_000 + 500, 3);
        let request = cluster.transaction(&items, None, None);
        let answers = cluster.call(gateway, KV, request);
        for _ in 0..step {
            let packets = cluster.drain().unwrap_or_default();
            // In every other step what goes to one node is lost.
            for (from, to, body) in
                packets.into_iter().filter(|(_, to, _)| step % 2 == 0 || to.get() != reader)
            {
                let node = cluster.nodes[to.get() as usize - 1].as_mut().unwrap();
                node.lane.handle(cluster.now, Event::Packet { from, body });
            }
        }
        let heard = answers.lock().unwrap().pop().is_some();
        cluster.kill(gateway);
        left += u32::from(cluster.locked());
        cluster.pass(8_000);
        let there = cluster.there(reader, &items);
        assert!(there == [true; 3] || there == [false; 3] && !heard, "step {step}: {there:?}");
        if there[0] {
            done += 1;
        } else {
            undone += 1;
        }
        cluster.start(gateway);
        cluster.pass(6_000);
        assert!(!cluster.locked(), "step {step}");
        assert_eq!(cluster.there(gateway, &items), there, "step {step}");
    }
    assert!(done > 1 && undone > 1 && left > 1, "{done} were done, {undone} not, {left} left something");
}

/// Claim: a new life of a gateway closes the book on the one before in every shard, in the key-value space's, too: what comes late of
/// that life votes Yes nowhere.
#[test]
fn a_new_life_closes_the_book_everywhere() {
    let mut cluster = with_table();
    for life in 1..3 {
        let request = cluster.transaction(&cluster.apart(life * 100, 2), None, None);
        cluster.transact(1, request).unwrap();
        cluster.pass(6_000);
        if life == 1 {
            cluster.kill(1);
            cluster.start(1);
            cluster.pass(6_000);
        }
    }
    let id = TxnId { node: NodeId(1), boot: 1, sequence: 1_000, attempt: 1 };
    let shards: Vec<ShardId> = [KV].into_iter().chain(cluster.shards.clone()).collect();
    for &shard in &shards {
        let ops = Execute { atomic: true, token: None, ops: Vec::new() };
        let late = Prepare { id, began: 1, participants: shards.clone(), ops };
        let what = What::Commit(Step::Prepare(late));
        let command = table::Command { epoch: EPOCH, now: 1_000, what };
        let answers = cluster.call(2, shard, Request::Write(Command::Table(Box::new(command))));
        cluster.pass(1_000);
        let answer = answers.lock().unwrap().pop().expect("an answer").unwrap();
        let Body::Reply(Reply::Table(reply)) = answer.body else { panic!("{:?}", answer.body) };
        let table::Reply::Commit(said, _) = *reply else { panic!("{reply:?}") };
        assert_eq!(said, Said::Over, "shard {shard}");
    }
}

/// Claim: the leader of a shard has a transaction recovered whose gateway is nobody any more; where one of its participants is nowhere, and
/// was not dropped, nothing is decided: it may be one that this node has not heard of yet, and have voted.
#[test]
fn what_is_undecided_is_recovered_by_what_is_known() {
    let mut cluster = with_table();
    let items = cluster.apart(0, 2);
    let [here, there] = [0, 1].map(|at| cluster.place(items[at]).shard);
    for (sequence, other, decided) in [(1, there, true), (2, ShardId(1_999), false)] {
        let id = TxnId { node: NodeId(9), boot: 1, sequence, attempt: 1 };
        let ops = Execute { atomic: true, token: None, ops: vec![op(items[0], None)] };
        let prepare = Prepare { id, began: 1, participants: vec![here, other], ops };
        let what = What::Commit(Step::Prepare(prepare));
        let command = table::Command { epoch: EPOCH, now: 1_000, what };
        let answers = cluster.call(2, here, Request::Write(Command::Table(Box::new(command))));
        cluster.pass(300);
        assert!(answers.lock().unwrap().pop().is_some_and(|answer| answer.is_ok()));
        assert!(cluster.locked());
        cluster.pass(12_000);
        assert_eq!(!cluster.locked(), decided, "with shard {other}");
    }
}

/// Claim: outcomes of transactions that are under way at once share entries of their shards' logs; that of a client alone waits for
/// its next request, and not for long.
#[test]
fn outcomes_share_entries() {
    const MANY: usize = 30;
    let mut cluster = with_table();
    let shards = cluster.apart(0, 2).into_iter().map(|n| cluster.place(n).shard).collect::<Vec<_>>();
    let of = |cluster: &Cluster, shard| {
        (0..).filter(|&n| cluster.place(n).shard == shard).take(MANY).collect::<Vec<_>>()
    };
    let (a, b) = (of(&cluster, shards[0]), of(&cluster, shards[1]));
    let entries = |cluster: &Cluster| {
        let node = cluster.nodes[0].as_ref().unwrap();
        shards.iter().map(|&shard| node.lane.core(shard).unwrap().last().index.get()).sum::<u64>()
    };
    // The first begins the life of the gateway, which has its own entries.
    let request = cluster.transaction(&[a[0], b[0]], None, None);
    cluster.transact(1, request).unwrap();
    cluster.pass(2_000);
    let before = entries(&cluster);
    let pairs = a.iter().zip(&b).map(|(&a, &b)| cluster.transaction(&[a, b], None, None));
    let requests: Vec<Request> = pairs.collect();
    let all: Vec<Answers> = requests.into_iter().map(|request| cluster.call(1, KV, request)).collect();
    cluster.pass(1_000);
    for answers in all {
        assert!(answers.lock().unwrap().pop().expect("an answer").is_ok());
    }
    let came = entries(&cluster) - before;
    assert!((2 * MANY as u64..2 * MANY as u64 + 12).contains(&came), "{came} entries");
    assert!(!cluster.locked(), "and none is left behind");
    let request = cluster.transaction(&[a[0], b[0]], None, None);
    let answers = cluster.call(1, KV, request);
    cluster.settle();
    assert!(answers.lock().unwrap().pop().is_some_and(|answer| answer.is_ok()));
    assert!(cluster.locked(), "it waits for what comes next");
    cluster.pass(10);
    assert!(!cluster.locked(), "but not for long");
}

/// A plain write of an item that a transaction holds waits for its end, and is done then; so does a transaction. Two gateways that want
/// the same items all the time both get them.
#[test]
fn who_wants_what_is_held_waits() {
    let mut cluster = with_table();
    let items = cluster.apart(0, 3);
    let (mut held, mut step) = (0, 3);
    while held < 2 && step < 14 {
        // Its gateway dies while it holds the items.
        let gateway = step % NODES + 1;
        let (other, third) = (gateway % NODES + 1, (gateway + 1) % NODES + 1);
        let request = cluster.transaction(&items, None, None);
        cluster.call(gateway, KV, request);
        for _ in 0..step {
            for (from, to, body) in cluster.drain().unwrap_or_default() {
                let node = cluster.nodes[to.get() as usize - 1].as_mut().unwrap();
                node.lane.handle(cluster.now, Event::Packet { from, body });
            }
        }
        cluster.kill(gateway);
        cluster.pass(600);
        held += u32::from(cluster.locked());
        let shard = cluster.place(items[0]).shard;
        let plain = cluster.call(other, shard, put_item(items[0]));
        let request = cluster.transaction(&items, None, None);
        let transaction = cluster.call(third, KV, request);
        cluster.pass(7_000);
        for answers in [plain, transaction] {
            let answer = answers.lock().unwrap().pop().expect("an answer");
            let Body::Reply(Reply::Table(reply)) = answer.unwrap().body else { panic!() };
            assert!(outcomes(&reply).iter().all(|outcome| *outcome == Outcome::Done), "{reply:?}");
        }
        cluster.start(gateway);
        cluster.pass(5_000);
        assert!(!cluster.locked());
        step += 1;
    }
    assert!(held >= 2, "nothing was held");
    let all: Vec<Answers> = (0..30u64)
        .map(|n| {
            let request = cluster.transaction(&items, None, None);
            cluster.call(n % NODES + 1, KV, request)
        })
        .collect();
    cluster.pass(4_000);
    for answers in all {
        let answer = answers.lock().unwrap().pop().expect("an answer").unwrap();
        let Body::Reply(Reply::Table(reply)) = answer.body else { panic!() };
        assert_eq!(outcomes(&reply), vec![Outcome::Done; 3]);
    }
}

impl Cluster {
    /// A page of the newest state from one shard, asked at a node: whether an item is in it, and whether another one is.
    fn page(&mut self, id: u64, n: usize, query: bool) -> bool {
        let is = |n: usize| item(n).get("k").cloned().unwrap();
        let keys = if query {
            KeysAsked::Condition(quorate_item::Condition::Compare(
                quorate_item::Comparator::Eq,
                quorate_item::Operand::Path(quorate_item::Path::attribute("k")),
                quorate_item::Operand::Value(is(n)),
            ))
        } else {
            KeysAsked::All(None)
        };
        let page = Page { consistent: true, ..Page::of("t", keys) };
        let read = Box::new(Read::Page(Box::new(page)));
        let request = Request::Table { read, fresh: Fresh::Newest, epoch: EPOCH };
        let answers = self.call(id, self.place(n).shard, request);
        let mut waited = 0;
        while answers.lock().unwrap().is_empty() {
            assert!(waited < 10_000, "a page of item {n} at node {id} is not answered");
            self.pass(20);
            waited += 20;
        }
        let answer = answers.lock().unwrap().pop().unwrap();
        let Body::Table(reply) = answer.unwrap().body else { panic!() };
        let ReadReply::Page(paged) = *reply else { panic!("{reply:?}") };
        assert!(paged.met.is_empty(), "what it met is settled");
        paged.items.iter().any(|found| found.get("k") == Some(&is(n)))
    }
}

impl Cluster {
    /// Whether an item is there, asked of its shard alone, at a node.
    fn one(&mut self, id: u64, n: usize) -> bool {
        let get = Get::of("t", item(n));
        let read = Box::new(Read::Get(vec![get]));
        let request = Request::Table { read, fresh: Fresh::Newest, epoch: EPOCH };
        let answers = self.call(id, self.place(n).shard, request);
        let answered = (0..500).any(|_| {
            self.pass(20);
            !answers.lock().unwrap().is_empty()
        });
        assert!(answered, "a read of item {n} at node {id} is not answered");
        let answer = answers.lock().unwrap().pop().unwrap();
        let Body::Table(reply) = answer.unwrap().body else { panic!() };
        let ReadReply::Items(got) = *reply else { panic!("{reply:?}") };
        assert!(got[0].intent.is_none(), "what it met is settled");
        got[0].item.is_some()
    }
}

/// Queries, scans and reads of one item that meet a transaction at any step of it, whose gateway is dead: what was answered as done is in
/// them, each of them is answered, what one has told the next ones do not take back, and at the end it is so.
#[test]
fn pages_that_meet_transactions_tell_what_is_committed() {
    let mut cluster = with_table();
    let (mut met, mut committed, mut done, mut undone) = (0, 0, 0, 0);
    for step in 0..16 {
        let gateway = step % NODES + 1;
        let readers = [gateway % NODES + 1, (gateway + 1) % NODES + 1];
        let items = cluster.apart(step as usize * 1_000, 3);
        let request = cluster.transaction(&items, None, None);
        let answers = cluster.call(gateway, KV, request);
        // The later ones go on until they are answered, and end there.
        for _ in 0..if step < 10 { step } else { 50 } {
            if !answers.lock().unwrap().is_empty() {
                break;
            }
            for (from, to, body) in cluster.drain().unwrap_or_default() {
                cluster.deliver(from, to, body);
            }
        }
        let heard = matches!(answers.lock().unwrap().pop(), Some(Ok(_)));
        cluster.kill(gateway);
        met += u32::from(cluster.locked());
        committed += u32::from(heard && cluster.locked());
        let mut seen = heard;
        for round in 0..6 {
            for (at, &n) in items.iter().enumerate() {
                let reader = readers[(round + at / 2) % 2];
                let there = match (round + at) % 3 {
                    0 => cluster.one(reader, n),
                    how => cluster.page(reader, n, how == 1),
                };
                assert!(there || !seen, "step {step}, round {round}: item {n} is missing again");
                seen |= there;
            }
            cluster.pass(if round < 3 { 10 } else { 1_500 });
        }
        let there = cluster.there(readers[0], &items);
        assert!(there == [seen; 3], "step {step}: {there:?}, and pages told {seen}");
        if seen {
            done += 1;
        } else {
            undone += 1;
        }
        cluster.start(gateway);
        cluster.pass(6_000);
        assert!(!cluster.locked(), "step {step}");
    }
    assert!(
        met > 2 && committed > 2 && done > 2 && undone > 2,
        "{met} were met, {committed} of them answered, {done} done, {undone} not"
    );
}
