//! The machine of tables held against maps: random commands, three replicas of their own pace, and after each command the
//! answer, at times every read, is what the maps say. Replicas restart from checkpoints and take snapshots from each other,
//! and their digests and figures agree.

mod adopted;
mod commit;
mod feeds;
mod laid;
mod leaving;
mod zones;

use super::{
    Changed, Get, KeysAsked, Page, Paged, Position, Read, ReadReply, Record, Records, StreamDescribed,
    StreamId,
};
use crate::kv::{Kv, KvView, ReadError};
use bytes::Bytes;
use quorate_base::{Base, Entry, EntryId, EntryKind, Index, NodeId, Rng, ShardId, Term};
use quorate_faulty::FaultyDisk;
use quorate_item::codec::Codec;
use quorate_item::{AttributeValue, Comparator, Condition, Item, Operand, Path, Source, Update};
use quorate_storage::journal::Identity;
use quorate_storage::memory::MemoryStore;
use quorate_storage::state::StateStore;
use quorate_wire::command;
use quorate_wire::kv::{Command as Any, Refused, Reply as AnyReply};
use quorate_wire::table::{
    Action, Capacity, Change, Command, Definition, Done, EPOCH, Execute, Index as TableIndex, IndexChange,
    IndexState, KeyNames, Op, Outcome, Projected, Refusal, Reply, Returns, SHARDS_TAG, Scalar, Settings,
    StreamView, Throughput, Token, What,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SHARD: ShardId = ShardId(1);

/// Partition and sort key of an item.
type Key = (String, i64);

#[derive(Default, Clone)]
struct ModelTable {
    items: BTreeMap<Key, Item>,
    /// The global index that is added and taken away.
    later: bool,
    /// The change feed that it has now.
    feed: Option<u64>,
    /// What the entry under way has changed.
    changes: Vec<Change3>,
}

/// An item's key, and the item before and behind.
type Change3 = (Key, Option<Item>, Option<Item>);

/// A change feed: its records with their entries.
#[derive(Default)]
struct ModelFeed {
    records: Vec<(u64, Change3)>,
    ended: Option<u64>,
}

#[derive(Default)]
struct Model {
    tables: BTreeMap<String, ModelTable>,
    /// Tokens that have done their work: until when, and for what.
    tokens: BTreeMap<Bytes, (u64, Bytes)>,
    /// Change feeds by their tables' names and their labels.
    feeds: BTreeMap<(String, u64), ModelFeed>,
    /// Entries that noted the time.
    notes: Vec<(u64, u64)>,
    horizon: u64,
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.into())
}

fn item(pairs: &[(&str, AttributeValue)]) -> Item {
    Item(pairs.iter().map(|(name, value)| ((*name).to_string(), value.clone())).collect())
}

fn key_item(key: &Key) -> Item {
    item(&[("p", s(&key.0)), ("q", n(key.1))])
}

fn index(name: &str, hash: &str, range: Option<&str>, projected: Projected) -> TableIndex {
    TableIndex {
        name: name.into(),
        id: 0,
        keys: KeyNames { hash: vec![hash.into()], range: range.into_iter().map(String::from).collect() },
        projected,
        throughput: Throughput::default(),
        capacity: Capacity::default(),
        state: IndexState::Active,
    }
}

fn definition(name: &str) -> Definition {
    let scalar = |name: &str, scalar| (name.to_string(), scalar);
    Definition {
        name: name.into(),
        attributes: vec![
            scalar("p", Scalar::S),
            scalar("q", Scalar::N),
            scalar("l", Scalar::N),
            scalar("g", Scalar::S),
        ],
        keys: KeyNames { hash: vec!["p".into()], range: vec!["q".into()] },
        locals: vec![index("local", "p", Some("l"), Projected::KeysOnly)],
        globals: vec![index("global", "g", Some("q"), Projected::Include(vec!["v".into()]))],
        ..Definition::default()
    }
}

/// What stands behind an operation on `old`, by the plainest rules; `None`: its condition does not hold.
#[allow(clippy::option_option, reason = "the outer one says whether the condition holds")]
fn model_op(op: &Asked, old: Option<&Item>) -> Option<Option<Item>> {
    let holds = match &op.condition {
        Held::Always => true,
        Held::Exists => old.is_some(),
        Held::Absent => old.is_none(),
        Held::Value(v) => old.is_some_and(|item| item.get("v") == Some(&n(*v))),
    };
    if !holds {
        return None;
    }
    Some(match &op.what {
        Doing::Put(item) => Some(item.clone()),
        Doing::Delete => None,
        Doing::Check => old.cloned(),
        Doing::Set(v) => {
            let mut item = old.cloned().unwrap_or_else(|| key_item(&op.key));
            item.0.insert("v".into(), n(*v));
            Some(item)
        }
        Doing::Add(v) => {
            let mut item = old.cloned().unwrap_or_else(|| key_item(&op.key));
            let before = match item.get("v") {
                Some(AttributeValue::N(number)) => number.to_i64().unwrap(),
                _ => 0,
            };
            item.0.insert("v".into(), n(before + v));
            Some(item)
        }
    })
}

#[derive(Clone, Debug)]
enum Held {
    Always,
    Exists,
    Absent,
    Value(i64),
}

#[derive(Clone, Debug)]
enum Doing {
    Put(Item),
    Delete,
    Check,
    Set(i64),
    Add(i64),
}

#[derive(Clone, Debug)]
struct Asked {
    table: String,
    key: Key,
    condition: Held,
    what: Doing,
}

impl Asked {
    fn random(rng: &mut Rng) -> Self {
        let key = (format!("p{}", rng.below(4)), rng.below(8) as i64 - 3);
        let what = match rng.below(6) {
            0 | 1 => {
                let mut item = key_item(&key);
                item.0.insert("v".into(), n(rng.below(4) as i64));
                if rng.chance(2, 3) {
                    item.0.insert("l".into(), n(rng.below(5) as i64));
                }
                if rng.chance(2, 3) {
                    let g = if rng.chance(1, 2) { "x" } else { "y" };
                    item.0.insert("g".into(), s(g));
                }
                item.0.insert("rest".into(), s(&"r".repeat(rng.below(30) as usize)));
                Doing::Put(item)
            }
            2 => Doing::Delete,
            3 => Doing::Check,
            4 => Doing::Set(rng.below(4) as i64),
            _ => Doing::Add(rng.below(4) as i64),
        };
        let condition = match rng.below(6) {
            0 => Held::Exists,
            1 => Held::Absent,
            2 => Held::Value(rng.below(4) as i64),
            _ => Held::Always,
        };
        Self { table: format!("t{}", rng.below(3)), key, condition, what }
    }

    fn op(&self) -> Op {
        let (path, value) = (Path::attribute("v"), |v: i64| Operand::Value(n(v)));
        let condition = match &self.condition {
            Held::Always => None,
            Held::Exists => Some(Condition::Exists(Path::attribute("p"))),
            Held::Absent => Some(Condition::NotExists(Path::attribute("p"))),
            Held::Value(v) => {
                Some(Condition::Compare(Comparator::Eq, Operand::Path(path.clone()), value(*v)))
            }
        };
        let key: Bytes = key_item(&self.key).encode().into();
        let update = |update: Update| Action::Update { key: key.clone(), update: update.encode().into() };
        let action = match &self.what {
            Doing::Put(item) => Action::Put { item: item.encode().into() },
            Doing::Delete => Action::Delete { key },
            Doing::Check => Action::Check { key },
            Doing::Set(v) => update(Update { set: vec![(path, Source::Value(n(*v)))], ..Update::default() }),
            Doing::Add(v) => update(Update { add: vec![(path, n(*v))], ..Update::default() }),
        };
        Op {
            table: self.table.clone(),
            action,
            condition: condition.map(|condition| condition.encode().into()),
            returns: Returns::AllOld,
            old_on_failure: true,
        }
    }
}

/// What came of operations, with what they answered.
type Results = Vec<(Outcome, Option<Item>)>;

struct Replica {
    store: Box<dyn StateStore>,
    kv: Option<Kv>,
    generation: Option<u64>,
}

impl Replica {
    fn kv(&mut self) -> &mut Kv {
        self.kv.as_mut().unwrap()
    }
}

struct Run {
    rng: Rng,
    now: u64,
    model: Model,
    log: Vec<Entry>,
    replicas: Vec<Replica>,
    done: [u64; 9],
}

impl Run {
    fn new(seed: u64) -> Self {
        let replica = |node| {
            let identity = Identity { cluster: 1, node: NodeId(node) };
            let disk = Arc::new(FaultyDisk::new(seed + node));
            let mut store: Box<dyn StateStore> = Box::new(MemoryStore::new(disk, "state", identity));
            let kv = Some(Kv::open(SHARD, store.open(None).unwrap()).unwrap());
            Replica { store, kv, generation: None }
        };
        let replicas = (1..=3).map(replica).collect();
        Self {
            rng: Rng::new(seed),
            now: 1000,
            model: Model::default(),
            log: Vec::new(),
            replicas,
            done: [0; 9],
        }
    }

    /// The command goes to the log, and is applied by the first replica.
    fn command(&mut self, what: What, epoch: u64) -> Result<Reply, Refusal> {
        self.now += self.rng.below(200_000);
        let command = Any::Table(Box::new(Command { epoch, now: self.now, what }));
        let id = EntryId::new(Term(1), Index(self.log.len() as u64 + 1));
        let data = command::encode(NodeId(1), id.index.get(), &command);
        let entry = Entry { id, kind: EntryKind::Command, data };
        self.log.push(entry.clone());
        let kv = self.replicas[0].kv();
        let applied = kv.apply(&entry).unwrap();
        kv.settle();
        match applied.outcome {
            Ok(AnyReply::Table(reply)) => Ok(*reply),
            Err(Refused::Table(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn step(&mut self) {
        let table = format!("t{}", self.rng.below(3));
        match self.rng.below(42) {
            0 => {
                let stream = self.rng.chance(1, 2).then_some(StreamView::Both);
                let made =
                    self.command(What::Create(Box::new(Definition { stream, ..definition(&table) })), EPOCH);
                let was = self.model.tables.contains_key(&table);
                assert_eq!(made.is_err(), was, "{made:?}");
                if let Ok(reply) = made {
                    self.model.tables.insert(table.clone(), ModelTable::default());
                    self.feed(&table, &reply);
                }
            }
            1 if self.rng.chance(1, 4) => {
                let gone = self.command(What::Delete(table.clone()), EPOCH);
                let model = self.model.tables.remove(&table);
                assert_eq!(gone.is_ok(), model.is_some());
                self.end_feed(&table, model.and_then(|model| model.feed));
                self.done[0] += u64::from(gone.is_ok());
            }
            40 => self.change_feed(&table),
            41 => self.trim(),
            2 => self.change_index(&table),
            3 => {
                let execute =
                    Execute { atomic: true, token: None, ops: vec![Asked::random(&mut self.rng).op()] };
                assert_eq!(self.command(What::Execute(execute), EPOCH + 1), Err(Refusal::StaleEpoch));
            }
            _ => self.execute(),
        }
        self.fill();
    }

    fn change_index(&mut self, table: &str) {
        let Some(model) = self.model.tables.get(table) else { return };
        let change = if model.later {
            IndexChange::Delete("later".into())
        } else {
            IndexChange::Create(index("later", "g", None, Projected::All))
        };
        let attributes = vec![("g".into(), Scalar::S)];
        let settings = Settings { indexes: vec![change], attributes, ..Settings::default() };
        let change = Change::Settings(Box::new(settings));
        let changed = self.command(What::Change { table: table.into(), change }, EPOCH);
        // Two are not filled at once.
        if changed.is_ok()
            && let Some(model) = self.model.tables.get_mut(table)
        {
            model.later = !model.later;
            self.done[1] += 1;
        }
    }

    /// What a table's definition says of its feed.
    fn feed(&mut self, table: &str, reply: &Reply) {
        let Reply::Table(definition, _) = reply else { panic!("{reply:?}") };
        let label = definition.stream.and(definition.latest_stream);
        self.model.tables.get_mut(table).unwrap().feed = label;
        if let Some(label) = label {
            assert!(self.model.feeds.keys().all(|(name, known)| name != table || *known < label));
            self.model.feeds.insert((table.into(), label), ModelFeed::default());
            self.done[6] += 1;
        }
    }

    fn end_feed(&mut self, table: &str, label: Option<u64>) {
        if let Some(label) = label {
            self.model.feeds.get_mut(&(table.into(), label)).unwrap().ended = Some(self.log.len() as u64);
        }
    }

    fn change_feed(&mut self, table: &str) {
        let Some(model) = self.model.tables.get(table) else { return };
        let had = model.feed;
        let view = self.rng.chance(1, 2).then_some(StreamView::Both);
        let changed = self.command(stream_change(table, view), EPOCH);
        assert_eq!(changed.is_ok(), had.is_some() != view.is_some(), "{changed:?}");
        if let Ok(reply) = changed {
            self.end_feed(table, had);
            self.feed(table, &reply);
        }
    }

    fn trim(&mut self) {
        self.now += 600_000 + self.rng.below(6 * 3600 * 1000);
        assert_eq!(self.command(What::Trim, EPOCH), Ok(Reply::Trimmed));
        let (now, model) = (self.now, &mut self.model);
        let old = model.notes.iter().filter(|(_, time)| time + super::KEPT <= now).map(|(index, _)| *index);
        if let Some(horizon) = old.max() {
            model.horizon = horizon;
            let before: usize = model.feeds.values().map(|feed| feed.records.len()).sum();
            model.feeds.retain(|_, feed| feed.ended.is_none_or(|ended| ended > horizon));
            model.feeds.values_mut().for_each(|feed| feed.records.retain(|(index, _)| *index > horizon));
            let left: usize = model.feeds.values().map(|feed| feed.records.len()).sum();
            self.done[7] += (before - left) as u64;
        }
        model.notes.push((self.log.len() as u64, now));
    }

    /// What an entry has changed goes to the feeds.
    fn feed_changes(&mut self) {
        let index = self.log.len() as u64;
        for (name, table) in &mut self.model.tables {
            let changes = std::mem::take(&mut table.changes);
            let Some(label) = table.feed else { continue };
            let feed = self.model.feeds.get_mut(&(name.clone(), label)).unwrap();
            self.done[8] += changes.len() as u64;
            feed.records.extend(changes.into_iter().map(|change| (index, change)));
        }
    }

    /// Does a part of what is to be filled, at times.
    fn fill(&mut self) {
        let filling = self.replicas[0].kv().view().tables().filling();
        if let Some((table, index, _)) = filling.filter(|_| self.rng.chance(1, 3)) {
            let items = 1 + self.rng.below(4) as u32;
            assert_eq!(self.command(What::Fill { table, index, items }, EPOCH), Ok(Reply::Filled));
            self.done[2] += 1;
        }
    }

    fn execute(&mut self) {
        let atomic = self.rng.chance(1, 2);
        let count = if self.rng.chance(1, 2) { 1 } else { 1 + self.rng.below(5) };
        let asked: Vec<Asked> = (0..count).map(|_| Asked::random(&mut self.rng)).collect();
        let token = (atomic && self.rng.chance(1, 3)).then(|| Token {
            token: vec![self.rng.below(3) as u8].into(),
            fingerprint: vec![self.rng.below(2) as u8].into(),
        });
        let ops = asked.iter().map(Asked::op).collect();
        let reply = self.command(What::Execute(Execute { atomic, token: token.clone(), ops }), EPOCH);
        let expected = self.expected(atomic, token.as_ref(), &asked);
        assert_eq!(reply.map(outcomes), expected, "{asked:?}");
        self.feed_changes();
    }

    /// What the maps say, and become.
    fn expected(
        &mut self,
        atomic: bool,
        token: Option<&Token>,
        asked: &[Asked],
    ) -> Result<Option<Results>, Refusal> {
        if let Some(token) = token
            && let Some((end, fingerprint)) =
                self.model.tokens.get(&token.token).filter(|(end, _)| *end > self.now)
        {
            let _ = end;
            self.done[3] += 1;
            return if *fingerprint == token.fingerprint { Ok(None) } else { Err(Refusal::TokenMismatch) };
        }
        let twice = |at: usize| {
            let there = self.model.tables.contains_key(&asked[at].table);
            there && asked[..at].iter().any(|a| (&a.table, &a.key) == (&asked[at].table, &asked[at].key))
        };
        if atomic {
            let mut after = self.model.tables.clone();
            let results: Vec<_> = asked.iter().map(|a| run(&mut after, a)).collect();
            if (0..asked.len()).any(twice) {
                let text = "Transaction request cannot include multiple operations on one item";
                return Err(Refusal::Validation(text.into()));
            }
            // Each is held against what was before all.
            let before: Vec<_> = asked.iter().map(|a| run(&mut self.model.tables.clone(), a)).collect();
            if before.iter().any(|(outcome, _)| *outcome != Outcome::Done) {
                let reason = |(outcome, old): (Outcome, Option<Item>)| match outcome {
                    Outcome::Done => (Outcome::Done, None),
                    other => (other, old),
                };
                self.done[4] += 1;
                return Ok(Some(before.into_iter().map(reason).collect()));
            }
            self.model.tables = after;
            if let Some(token) = token {
                self.model
                    .tokens
                    .insert(token.token.clone(), (self.now + 600_000, token.fingerprint.clone()));
            }
            return Ok(Some(results));
        }
        Ok(Some(asked.iter().map(|a| run(&mut self.model.tables, a)).collect()))
    }

    /// A replica catches up, restarts from a checkpoint, or takes a snapshot.
    fn replica(&mut self) {
        let at = 1 + self.rng.below(2) as usize;
        let applied = self.replicas[at].kv().applied().index.get() as usize;
        match self.rng.below(4) {
            0 => {
                let replica = &mut self.replicas[at];
                let generation = replica.generation.unwrap_or(0) + 1;
                replica.kv().seal().unwrap().run(generation).unwrap();
                replica.generation = Some(generation);
                if self.rng.chance(1, 3) {
                    return;
                }
                replica.kv = None;
                let state = replica.store.open(replica.generation).unwrap();
                replica.kv = Some(Kv::open(SHARD, state).unwrap());
            }
            1 if applied < self.log.len() => {
                let view = self.replicas[0].kv().view();
                let base = Base { id: view.applied(), membership: view.membership().clone() };
                let kv = self.replicas[at].kv();
                kv.import_begin().unwrap();
                let (mut after, mut seq) = (None, 0);
                loop {
                    let (chunk, next) = view.export(after.as_ref(), 400).unwrap();
                    kv.import_chunk(seq, &chunk).unwrap();
                    seq += 1;
                    after = next;
                    if after.is_none() {
                        break;
                    }
                }
                kv.import_finish(base).unwrap();
                self.done[5] += 1;
            }
            _ => {
                let upto = self.rng.between(applied as u64, self.log.len() as u64) as usize;
                let entries = self.log[applied..upto].to_vec();
                let kv = self.replicas[at].kv();
                for entry in &entries {
                    kv.apply(entry).unwrap();
                }
                kv.settle();
                while self.rng.chance(2, 3) && kv.compact_step(3).unwrap() {}
            }
        }
        let others = &mut self.replicas;
        if others[at].kv().applied() == others[0].kv().applied() {
            let (a, b) = (others[0].kv().view(), others[at].kv().view());
            assert_eq!(a.digest(), b.digest());
            assert_eq!(a.hash_all_while(&|_| true), b.hash_all_while(&|_| true));
            for name in self.model.tables.keys() {
                let described = |view: &KvView| read(view, &Read::Describe(name.clone())).unwrap();
                assert_eq!(described(&a), described(&b), "figures too");
            }
        }
    }
}

fn run(tables: &mut BTreeMap<String, ModelTable>, asked: &Asked) -> (Outcome, Option<Item>) {
    let Some(table) = tables.get_mut(&asked.table) else {
        return (Outcome::NoTable(asked.table.clone()), None);
    };
    let old = table.items.get(&asked.key).cloned();
    match model_op(asked, old.as_ref()) {
        None => (Outcome::ConditionFailed, old),
        Some(new) => {
            if new != old {
                table.changes.push((asked.key.clone(), old.clone(), new.clone()));
            }
            match new {
                Some(item) => table.items.insert(asked.key.clone(), item),
                None => table.items.remove(&asked.key),
            };
            let told = if matches!(asked.what, Doing::Check) { None } else { old };
            (Outcome::Done, told)
        }
    }
}

fn outcomes(reply: Reply) -> Option<Results> {
    let one = |done: Done| (done.outcome, done.attributes.map(|bytes| Item::decode(&bytes).unwrap()));
    match reply {
        Reply::Executed(done) => Some(done.into_iter().map(one).collect()),
        Reply::Repeated => None,
        other => panic!("{other:?}"),
    }
}

fn read(view: &KvView, read: &Read) -> Result<ReadReply, ReadError> {
    view.tables_while(read, &|_| true).map(Option::unwrap)
}

fn page(view: &KvView, page: Page) -> Result<Paged, ReadError> {
    match read(view, &Read::Page(Box::new(page)))? {
        ReadReply::Page(paged) => Ok(paged),
        other => panic!("{other:?}"),
    }
}

fn all_of(table: &str, index: Option<&str>, keys: KeysAsked) -> Page {
    Page { index: index.map(String::from), ..Page::of(table, keys) }
}

/// All items of what a page is of, a few at a time.
fn pages(view: &KvView, first: &Page, rng: &mut Rng) -> Vec<Item> {
    let (mut items, mut start) = (Vec::new(), None);
    loop {
        let limit = Some(1 + rng.below(9) as usize);
        let paged = page(view, Page { start: start.take(), limit, ..first.clone() }).unwrap();
        assert_eq!((paged.count, paged.scanned), (paged.items.len(), paged.items.len()));
        items.extend(paged.items);
        match paged.last {
            Some(last) => start = Some(last),
            None => return items,
        }
    }
}

fn key_of(item: &Item) -> Key {
    match (item.get("p"), item.get("q")) {
        (Some(AttributeValue::S(p)), Some(AttributeValue::N(q))) => (p.clone(), q.to_i64().unwrap()),
        _ => panic!("{item:?}"),
    }
}

fn only(item: &Item, names: &[&str]) -> Item {
    Item(
        item.0
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
    )
}

fn records(view: &KvView, stream: StreamId, from: Position, limit: usize) -> Records {
    match read(view, &Read::Records { stream, from, limit }).unwrap() {
        ReadReply::Records(records) => records,
        other => panic!("{other:?}"),
    }
}

/// All records of a feed from a place on, a few at a time, and where it would go on.
fn all_records(
    view: &KvView,
    id: StreamId,
    mut from: Position,
    rng: &mut Rng,
) -> (Vec<Record>, Option<Position>) {
    let mut all = Vec::new();
    loop {
        let limit = 1 + rng.below(9) as usize;
        let Records::Read { records, next, .. } = records(view, id, from, limit) else { panic!("trimmed") };
        let some = !records.is_empty();
        all.extend(records);
        match next {
            Some(next) if some => from = next,
            next => return (all, next),
        }
    }
}

/// The feeds are the changes, in the order of the log.
fn compare_feeds(view: &KvView, model: &Model, rng: &mut Rng) {
    let list = Read::Streams { table: None, after: None, limit: 1000 };
    let ReadReply::Streams(streams, false) = read(view, &list).unwrap() else { panic!() };
    let names: Vec<_> = streams.iter().map(|stream| (stream.table.clone(), stream.id.label)).collect();
    assert_eq!(names, model.feeds.keys().cloned().collect::<Vec<_>>());
    for (stream, feed) in streams.iter().zip(model.feeds.values()) {
        assert_eq!(stream.ended.map(|at| at.index), feed.ended);
        let (found, next) = all_records(view, stream.id, Position::default(), rng);
        let change = |record: &Record| {
            (record.at.index, (key_of(&record.keys), record.old.clone(), record.new.clone()))
        };
        assert_eq!(found.iter().map(change).collect::<Vec<_>>(), feed.records);
        assert!(found.is_sorted_by_key(|record| record.at));
        assert_eq!(next, feed.ended.is_none().then_some(stream.next));
        if !found.is_empty() {
            let from = rng.pick(&found).at;
            let rest = all_records(view, stream.id, from, rng).0;
            assert_eq!(rest, found.iter().filter(|record| record.at >= from).cloned().collect::<Vec<_>>());
        }
        if stream.oldest.index == model.horizon + 1 && model.horizon > 0 {
            let below = Position { index: model.horizon, number: 0 };
            assert_eq!(records(view, stream.id, below, 1), Records::Trimmed);
        }
    }
}

/// Every read says what the maps say.
fn compare(view: &KvView, model: &Model, rng: &mut Rng) {
    let ReadReply::Names(names, more) = read(view, &Read::List { after: None, limit: 10 }).unwrap() else {
        panic!()
    };
    assert_eq!((names, more), (model.tables.keys().cloned().collect(), false));
    compare_feeds(view, model, rng);
    for (name, table) in &model.tables {
        let equals = |name: &str, value: AttributeValue| {
            Condition::Compare(Comparator::Eq, Operand::Path(Path::attribute(name)), Operand::Value(value))
        };
        let mut scanned = pages(view, &all_of(name, None, KeysAsked::All(None)), rng);
        scanned.sort_by_key(key_of);
        assert_eq!(scanned, table.items.values().cloned().collect::<Vec<_>>(), "a scan");
        let of = 1 + rng.below(5) as u32;
        let segments =
            (0..of).map(|at| pages(view, &all_of(name, None, KeysAsked::All(Some((at, of)))), rng));
        assert_eq!(segments.map(|part| part.len()).sum::<usize>(), table.items.len(), "a scan in segments");
        for p in ["p0", "p1", "p2", "p3"] {
            let partition: Vec<&Item> =
                table.items.iter().filter(|((of, _), _)| of == p).map(|(_, i)| i).collect();
            let query = all_of(name, None, KeysAsked::Condition(equals("p", s(p))));
            let found = pages(view, &query, rng);
            assert_eq!(found.iter().collect::<Vec<_>>(), partition, "a query");
            let mut back = pages(view, &Page { backward: true, ..query }, rng);
            back.reverse();
            assert_eq!(back, found, "backward");
            // By the local index: those that have its key, in its order.
            let mut with: Vec<&&Item> = partition.iter().filter(|item| item.get("l").is_some()).collect();
            with.sort_by_key(|item| match item.get("l") {
                Some(AttributeValue::N(l)) => (l.to_i64(), key_of(item)),
                _ => (None, key_of(item)),
            });
            let query = all_of(name, Some("local"), KeysAsked::Condition(equals("p", s(p))));
            let expected: Vec<Item> = with.iter().map(|item| only(item, &["p", "q", "l"])).collect();
            assert_eq!(pages(view, &query, rng), expected, "by the local index");
            let whole: Vec<Item> = with.into_iter().map(|item| (*item).clone()).collect();
            assert_eq!(pages(view, &Page { whole: true, ..query }, rng), whole, "fetched");
        }
        for g in ["x", "y"] {
            let with = |item: &&Item| item.get("g") == Some(&s(g));
            let mut expected: Vec<Item> =
                table.items.values().filter(with).map(|i| only(i, &["p", "q", "g", "v"])).collect();
            let keys = KeysAsked::Condition(equals("g", s(g)));
            let mut found = pages(view, &all_of(name, Some("global"), keys.clone()), rng);
            assert!(found.is_sorted_by_key(|item| key_of(item).1), "in the order of its sort key");
            for list in [&mut found, &mut expected] {
                list.sort_by_key(key_of);
            }
            assert_eq!(found, expected, "by the global index");
            let ready = view.tables().filling().is_none();
            if table.later && ready {
                let mut found = pages(view, &all_of(name, Some("later"), keys), rng);
                found.sort_by_key(key_of);
                assert_eq!(found, table.items.values().filter(with).cloned().collect::<Vec<_>>(), "filled");
            }
        }
        let ReadReply::Table(described) = read(view, &Read::Describe(name.clone())).unwrap() else {
            panic!()
        };
        let size: usize = table.items.values().map(Item::size).sum();
        assert_eq!(
            (described.figures.items, described.figures.bytes),
            (table.items.len() as u64, size as u64)
        );
        let gets: Vec<Get> = (-3..5)
            .map(|q| Get { table: name.clone(), key: key_item(&("p1".into(), q)), projection: None })
            .collect();
        let ReadReply::Items(got) = read(view, &Read::Get(gets)).unwrap() else { panic!() };
        for (q, got) in (-3..5).zip(got) {
            assert_eq!(got.item.as_ref(), table.items.get(&("p1".into(), q)));
        }
    }
}

#[test]
fn the_machine_is_the_maps() {
    let mut done = [0; 9];
    for seed in 0..30 {
        let mut run = Run::new(seed);
        for step in 0..400 {
            run.step();
            if run.rng.chance(1, 6) {
                run.replica();
            }
            if step % 20 == 0 {
                let view = run.replicas[0].kv().view();
                compare(&view, &run.model, &mut run.rng);
            }
        }
        done.iter_mut().zip(run.done).for_each(|(sum, n)| *sum += n);
    }
    assert!(done.iter().all(|n| *n > 20), "{done:?}: all of it happens");
}

/// The version of an item is the index of its last write, and one that was there in between never looks as if it had not been.
#[test]
fn versions_tell_of_every_write_and_deletion() {
    let mut run = Run::new(1);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    let key = ("p".to_string(), 1);
    let ask = |what| Asked { table: "t".into(), key: ("p".into(), 1), condition: Held::Always, what };
    let mut versions = Vec::new();
    let mut version = |run: &mut Run| {
        let get = Get { table: "t".into(), key: key_item(&key), projection: None };
        let view = run.replicas[0].kv().view();
        let ReadReply::Items(got) = read(&view, &Read::Get(vec![get])).unwrap() else { panic!() };
        versions.push(got[0].version);
    };
    version(&mut run);
    for what in [Doing::Set(1), Doing::Delete, Doing::Set(1), Doing::Delete] {
        let ops = vec![ask(what).op()];
        run.command(What::Execute(Execute { atomic: false, token: None, ops }), EPOCH).unwrap();
        version(&mut run);
    }
    assert_eq!(versions, [0, 2, 3, 4, 5]);
}

/// What a dropped table has left goes, and its name can be taken again at once.
#[test]
fn a_dropped_table_leaves_nothing_behind() {
    let mut run = Run::new(2);
    let count = |run: &mut Run| {
        let kv = run.replicas[0].kv();
        kv.rows_of_tables()
    };
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    let empty = count(&mut run);
    for q in 0..50 {
        let mut item = key_item(&("p".into(), q));
        item.0.insert("g".into(), s("x"));
        item.0.insert("l".into(), n(q));
        let ops = vec![
            Asked {
                table: "t".into(),
                key: ("p".into(), q),
                condition: Held::Always,
                what: Doing::Put(item),
            }
            .op(),
        ];
        run.command(What::Execute(Execute { atomic: false, token: None, ops }), EPOCH).unwrap();
    }
    assert!(count(&mut run) >= empty + 150);
    run.command(What::Delete("t".into()), EPOCH).unwrap();
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    let view = run.replicas[0].kv().view();
    assert_eq!(page(&view, all_of("t", None, KeysAsked::All(None))).unwrap().scanned, 0);
    while run.replicas[0].kv().compact_step(7).unwrap() {}
    assert_eq!(count(&mut run), empty);
}

/// Items whose time is over are found wherever the search stands, and one that was written again before the log heard of it
/// stays.
#[test]
fn what_ends_goes_and_what_was_written_again_stays() {
    let mut run = Run::new(3);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    let change = Change::Expiry { attribute: "end".into(), on: true };
    run.command(What::Change { table: "t".into(), change }, EPOCH).unwrap();
    run.now = 1_700_000_000_000;
    let put = |run: &mut Run, q: i64, end: AttributeValue| {
        let mut item = key_item(&("p".into(), q));
        item.0.insert("end".into(), end);
        let what = Doing::Put(item);
        let ops = vec![Asked { table: "t".into(), key: ("p".into(), q), condition: Held::Always, what }.op()];
        run.command(What::Execute(Execute { atomic: false, token: None, ops }), EPOCH).unwrap();
    };
    let (over, later) = (1_699_999_000, 1_800_000_000);
    for (q, end) in [(0, n(over)), (1, n(later)), (2, n(over)), (3, s("1")), (4, n(7)), (5, n(over))] {
        put(&mut run, q, end);
    }
    let view = run.replicas[0].kv().view();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let overdue = Read::Overdue { after: after.take(), now: 1_700_000_000_000, items: 2 };
        let ReadReply::Overdue(overdue) = read(&view, &overdue).unwrap() else { panic!() };
        found.extend(overdue.items);
        after = overdue.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), 3, "{found:?}");
    put(&mut run, 2, n(later));
    let keys = found.into_iter().map(|(_, key)| key).collect();
    assert_eq!(run.command(What::Expire { table: 1, keys }, EPOCH), Ok(Reply::Expired(2)));
    let view = run.replicas[0].kv().view();
    let left = page(&view, all_of("t", None, KeysAsked::All(None))).unwrap().items;
    assert_eq!(left.iter().map(|item| key_of(item).1).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

fn stream_change(table: &str, view: Option<StreamView>) -> What {
    let change = Change::Settings(Box::new(Settings { stream: Some(view), ..Settings::default() }));
    What::Change { table: table.into(), change }
}

/// A table with shards of its own: made by one entry, its items refused in shard 1, its shards never given again; what a shard
/// adopts does not go back; a restart knows all of it.
#[test]
fn shards_of_tables_are_placed_once() {
    let mut run = Run::new(3);
    let place = |definition| What::Place {
        definition: Box::new(definition),
        founders: Bytes::from_static(b"founders"),
    };
    let sharded = |name: &str, count: &str| {
        let plain = definition(name);
        let tags = vec![(SHARDS_TAG.to_string(), count.to_string())];
        Definition {
            tags,
            globals: Vec::new(),
            stream: None,
            attributes: vec![("p".into(), Scalar::S), ("q".into(), Scalar::N), ("l".into(), Scalar::N)],
            ..plain
        }
    };
    let blocks = |run: &mut Run| {
        let placement = run.replicas[0].kv().placement().clone();
        placement.blocks().map(|b| (b.name.clone(), b.first, b.count, b.version.get())).collect::<Vec<_>>()
    };
    for bad in ["0", "-1", "x", "2001", ""] {
        let refused = run.command(place(sharded("t", bad)), EPOCH);
        assert!(matches!(refused, Err(Refusal::Validation(_))), "{bad}: {refused:?}");
    }
    run.command(place(sharded("one", "1")), EPOCH).unwrap();
    run.command(place(sharded("t", "4")), EPOCH).unwrap();
    run.command(place(sharded("u", "3")), EPOCH).unwrap();
    assert_eq!(blocks(&mut run), [("t".into(), 2, 4, 7), ("u".into(), 6, 3, 8)]);
    let ask = |table: &str| Asked {
        table: table.into(),
        key: ("p".into(), 1),
        condition: Held::Always,
        what: Doing::Set(1),
    };
    let execute =
        |table: &str| What::Execute(Execute { atomic: false, token: None, ops: vec![ask(table).op()] });
    assert_eq!(run.command(execute("t"), EPOCH), Err(Refusal::StaleEpoch));
    assert!(run.command(execute("one"), EPOCH).is_ok());
    let get = Read::Get(vec![Get { table: "t".into(), key: key_item(&("p".into(), 1)), projection: None }]);
    let view = run.replicas[0].kv().view();
    assert!(matches!(read(&view, &get), Err(ReadError::Refused(Refused::Table(Refusal::StaleEpoch)))));
    // Its number of shards stays what it is; another change is known by its place in the log.
    let tag = |table: &str, key: &str, value: &str| What::Change {
        table: table.into(),
        change: Change::Tag(vec![(key.into(), value.into())]),
    };
    assert!(matches!(run.command(tag("t", SHARDS_TAG, "5"), EPOCH), Err(Refusal::Validation(_))));
    assert!(matches!(run.command(tag("one", SHARDS_TAG, "5"), EPOCH), Err(Refusal::Validation(_))));
    let untag = Change::Untag(vec![SHARDS_TAG.into()]);
    assert!(run.command(What::Change { table: "t".into(), change: untag }, EPOCH).is_err());
    run.command(tag("t", "a", "b"), EPOCH).unwrap();
    assert_eq!(blocks(&mut run)[0].3, run.log.len() as u64);
    run.command(What::Delete("t".into()), EPOCH).unwrap();
    run.command(place(sharded("t", "2")), EPOCH).unwrap();
    let placement = run.replicas[0].kv().placement().clone();
    assert_eq!(placement.table("t").unwrap().shards().collect::<Vec<_>>(), [ShardId(9), ShardId(10)]);
    assert!((2..6).all(|n| placement.was_dropped(ShardId(n))) && !placement.was_dropped(ShardId(6)));
    assert!(!placement.was_dropped(ShardId(1)) && !placement.was_dropped(ShardId(11)));
    // Every partition has a shard, and many of them share them evenly.
    let block = placement.table("u").unwrap();
    let mut held = [0; 3];
    for n in 0_u32..3_000 {
        held[(block.shard_of(&n.to_be_bytes()).get() - block.first) as usize] += 1;
    }
    assert!(held.iter().all(|n| (800..1_200).contains(n)), "{held:?}");
    // A shard takes a newer definition, and never an older one.
    let adopt = |version, tag: &str| {
        let tags = vec![("v".to_string(), tag.to_string())];
        What::Adopt { version, definition: Box::new(Definition { id: 77, tags, ..definition("w") }) }
    };
    for (version, tag) in [(20, "new"), (19, "old"), (20, "again")] {
        assert_eq!(run.command(adopt(version, tag), EPOCH), Ok(Reply::Adopted));
    }
    let check = |kv: &mut Kv| {
        let view = kv.view();
        let tables = view.tables();
        assert_eq!((tables.adopted(), tables.placement()), (Index(20), &placement));
        assert_eq!(tables.definition("w").unwrap().tags[0].1, "new");
    };
    check(run.replicas[0].kv());
    let replica = &mut run.replicas[0];
    replica.kv().seal().unwrap().run(1).unwrap();
    replica.kv = None;
    replica.kv = Some(Kv::open(SHARD, replica.store.open(Some(1)).unwrap()).unwrap());
    check(replica.kv());
}
