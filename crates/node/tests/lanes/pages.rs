//! Pages beside transactions that never rest.

use super::*;
use quorate_node::api::Transact;
use quorate_node::api::tables::{KeysAsked, Page, ReadReply};
use quorate_wire::table::Token;

/// Writers of the items of two shards, each with a transaction under way all the time.
const WRITERS: usize = 8;

/// Items of one shard, the first and the last of which `Chain` writes, and as many of another one.
struct Busy {
    cluster: Cluster,
    here: Vec<usize>,
    there: Vec<usize>,
    under_way: Vec<Option<Answers>>,
    /// Of each item: the newest value of which its writer heard that it is done.
    done: Vec<i64>,
    written: u64,
    chain: Chain,
}

/// Writes the first item by itself and then, when that is done, the last one in a transaction, each with the same number.
enum Chain {
    Plain(i64, Answers),
    Transaction(i64, Answers),
}

fn valued(n: usize, value: i64) -> Item {
    let mut item = item(n);
    item.0.insert("v".into(), AttributeValue::N(value.into()));
    item
}

fn put_valued(n: usize, value: i64) -> Op {
    let action = Action::Put { item: valued(n, value).encode().into() };
    Op { table: "t".into(), action, condition: None, returns: Returns::None, old_on_failure: false }
}

fn is_done(answers: &Answers) -> bool {
    let mut answers = answers.lock().unwrap();
    match answers.pop() {
        None => false,
        Some(Ok(Answer { body: Body::Reply(Reply::Table(reply)), .. })) => match *reply {
            table::Reply::Executed(done) => {
                assert!(done.iter().all(|done| done.outcome == table::Outcome::Done), "{done:?}");
                true
            }
            other => panic!("{other:?}"),
        },
        Some(other) => panic!("{other:?}"),
    }
}

impl Busy {
    fn new() -> Self {
        let mut cluster = Cluster::new(0);
        cluster.table("t", 6);
        cluster.pass(4_000);
        let shards: Vec<ShardId> = cluster.apart(0, 2).into_iter().map(|n| cluster.place(n).shard).collect();
        let of =
            |shard| (0..).filter(|&n| cluster.place(n).shard == shard).take(WRITERS + 2).collect::<Vec<_>>();
        let (here, there) = (of(shards[0]), of(shards[1]));
        let chain = Chain::Plain(0, Arc::default());
        let mut busy = Self {
            cluster,
            here,
            there,
            under_way: (0..WRITERS).map(|_| None).collect(),
            done: vec![0; WRITERS + 2],
            written: 0,
            chain,
        };
        for at in 0..WRITERS + 2 {
            let answers = busy.transact(at, 0);
            busy.cluster.pass(500);
            assert!(is_done(&answers));
        }
        busy.chain = busy.plain(1);
        busy
    }

    fn transact(&mut self, at: usize, value: i64) -> Answers {
        let of = |n: usize| (self.cluster.place(n), put_valued(n, value));
        let ops = vec![of(self.here[at]), of(self.there[at])];
        let request = Request::Transact(Box::new(Transact { now: 1_000, token: None::<(_, Token)>, ops }));
        self.cluster.call(at as u64 % NODES + 1, KV, request)
    }

    fn plain(&mut self, value: i64) -> Chain {
        let ops = vec![put_valued(self.here[0], value)];
        let write = command(What::Execute(Execute { atomic: false, token: None, ops }));
        let shard = self.cluster.place(self.here[0]).shard;
        // At the leader it overtakes the outcome of the transaction before it.
        let leader = self.cluster.leaders(shard)[0];
        Chain::Plain(value, self.cluster.call(leader, shard, write))
    }

    /// Who is answered goes on at once.
    fn write(&mut self) {
        for at in 1..=WRITERS {
            if self.under_way[at - 1].as_ref().is_some_and(|answers| !is_done(answers)) {
                continue;
            }
            self.done[at] += i64::from(self.under_way[at - 1].is_some());
            self.written += 1;
            let answers = self.transact(at, self.done[at] + 1);
            self.under_way[at - 1] = Some(answers);
        }
        let last = WRITERS + 1;
        match &self.chain {
            Chain::Plain(value, answers) if is_done(answers) => {
                let value = *value;
                self.done[0] = value;
                self.chain = Chain::Transaction(value, self.transact(last, value));
            }
            Chain::Transaction(value, answers) if is_done(answers) => {
                self.done[last] = *value;
                self.chain = self.plain(value + 1);
            }
            _ => {}
        }
    }

    /// A page of all items of their shard, asked at a node.
    fn page(&mut self, id: u64) -> Answers {
        let page = Page {
            backward: self.written.is_multiple_of(2),
            consistent: true,
            ..Page::of("t", KeysAsked::All(None))
        };
        let read = Box::new(Read::Page(Box::new(page)));
        let shard = self.cluster.place(self.here[0]).shard;
        self.cluster.call(id, shard, Request::Table { read, fresh: Fresh::Newest, epoch: EPOCH })
    }

    /// What a page says, if it is answered.
    fn told(&self, answers: &Answers) -> Option<Vec<i64>> {
        let answer = answers.lock().unwrap().pop()?;
        let Body::Table(reply) = answer.expect("a page").body else { panic!("something else") };
        let ReadReply::Page(paged) = *reply else { panic!("{reply:?}") };
        assert!(paged.met.is_empty(), "what it met is settled");
        let value = |n: &usize| {
            let item = paged.items.iter().find(|found| found.get("k") == item(*n).get("k"));
            match item.expect("the item").get("v") {
                Some(AttributeValue::N(value)) => value.to_i64().unwrap(),
                other => panic!("{other:?}"),
            }
        };
        Some(self.here.iter().map(value).collect())
    }
}

/// Claim: a page over items that transactions hold all the time is answered soon, at any node; it is right, which is to say, of one moment while
/// it was under way: what was done before is in it, what a page has told the next does not take back, and nothing is missing that was done
/// before something that is in it. And those who write go on.
#[test]
fn pages_are_answered_beside_transactions_that_never_rest() {
    let mut busy = Busy::new();
    let mut told: Vec<i64> = vec![0; WRITERS + 2];
    let (mut pages, mut longest) = (0, 0);
    let mut asked: Option<(Answers, Vec<i64>, u64)> = None;
    let mut under_way = Vec::new();
    const STEPS: u64 = 4_000;
    for step in 0..STEPS {
        // A network that takes a step of 10 ms for each packet.
        busy.cluster.now = busy.cluster.now + Duration::from_millis(10);
        busy.write();
        match asked.take() {
            None => {
                let answers = busy.page(pages % NODES + 1);
                asked = Some((answers, busy.done.clone(), step));
            }
            Some((answers, done, since)) => match busy.told(&answers) {
                None => asked = Some((answers, done, since)),
                Some(values) => {
                    for (at, &value) in values.iter().enumerate() {
                        assert!(
                            value >= done[at].max(told[at]),
                            "step {step}: item {at}: {values:?} after {told:?}"
                        );
                    }
                    let (first, last) = (values[0], values[WRITERS + 1]);
                    assert!(
                        last <= first && first <= last + 1,
                        "step {step}: {first} was written before {last}, and {last} before {}",
                        first + 1
                    );
                    told = values;
                    pages += 1;
                    longest = longest.max(step - since);
                }
            },
        }
        for (from, to, body) in std::mem::take(&mut under_way) {
            busy.cluster.deliver(from, to, body);
        }
        while let Some(mut packets) = busy.cluster.drain() {
            under_way.append(&mut packets);
        }
    }
    let written = busy.written;
    println!("{pages} pages, the longest {longest} steps; {written} transactions");
    assert!(pages > STEPS / 40 && longest < 100, "{pages} pages, the longest {longest} steps");
    assert!(written > STEPS / 3, "{written} transactions");
}
