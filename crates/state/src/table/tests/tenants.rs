//! A tenant that moves between two shards, held against a map: it is written and read all the time, transactions hold some of it, two
//! drivers take the steps by what they saw last, and steps come late, and twice. Shards restart from checkpoints.

use super::*;
use crate::table::{Next, Part, Standing, TenantSeen, next};
use quorate_protocol::commit::{Answer, Command as Commit, Outcome as Decision, Prepare, TxnId, Vote};
use quorate_wire::table::{Assigned, BY_DIRECTORY, PARTITION_TAG, Step, Tenant};

const TENANT: &str = "p";

/// What a driver saw last, and at which step it is: the notes that it has copied are to go.
#[derive(Default, Clone)]
struct Driver {
    seen: Option<(TenantSeen, TenantSeen)>,
    copied: Option<(usize, What)>,
}

struct World {
    rng: Rng,
    meta: Run,
    shards: [Run; 2],
    items: BTreeMap<i64, i64>,
    drivers: [Driver; 2],
    late: Vec<(usize, What)>,
    /// A transaction that is prepared: where, by which name, and what it will set.
    open: Option<(usize, TxnId, i64, i64)>,
    sequence: u64,
    met: BTreeMap<&'static str, u64>,
}

fn tenant() -> Tenant {
    named(TENANT)
}

fn named(name: &str) -> Tenant {
    let key = Item([("p".to_string(), s(name))].into_iter().collect());
    let attribute = quorate_item::KeyAttribute { name: "p".into(), kind: quorate_item::KeyType::S };
    let key = quorate_item::KeySchema::new(attribute, None).key_of(&key).unwrap();
    Tenant { table: 1, key: key.partition.into() }
}

impl World {
    fn new(seed: u64) -> Self {
        let tags = vec![(PARTITION_TAG.into(), BY_DIRECTORY.into()), (SHARDS_TAG.into(), "2".into())];
        let table = Definition { tags, ..definition("t") };
        let mut meta = Run::new(seed);
        let founders = Bytes::from_static(b"founders");
        let placed = meta.command(What::Place { definition: Box::new(table), founders }, EPOCH).unwrap();
        let Reply::Table(table, _) = placed else { panic!("{placed:?}") };
        let shards = [1, 2].map(|n| {
            let mut run = Run::new(seed * 3 + n);
            run.command(What::Adopt { version: 1, definition: table.clone() }, EPOCH).unwrap();
            run
        });
        let (items, drivers, late, met) = Default::default();
        let rng = Rng::new(seed);
        let mut world = Self { rng, meta, shards, items, drivers, late, open: None, sequence: 0, met };
        world.word(Assigned::To(0)).unwrap();
        world
    }

    fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    fn word(&mut self, word: Assigned) -> Result<Reply, Refusal> {
        self.meta.command(What::Assign { tenant: tenant(), word }, EPOCH)
    }

    fn block(&mut self) -> Arc<crate::table::Block> {
        self.meta.replicas[0].kv().placement().table("t").unwrap().clone()
    }

    fn view(&mut self, shard: usize) -> Arc<KvView> {
        self.shards[shard].replicas[0].kv().view()
    }

    fn seen(&mut self, shard: usize, part: Part) -> TenantSeen {
        let view = self.view(shard);
        match read(&view, &Read::Tenant { table: "t".into(), key: tenant().key, part }).unwrap() {
            ReadReply::Tenant(seen) => *seen,
            other => panic!("{other:?}"),
        }
    }

    // ---- clients ----

    fn op(&mut self) -> (i64, Option<i64>, Op) {
        let (q, v) = (self.rng.below(30) as i64, self.rng.below(1000) as i64);
        let key = (TENANT.to_string(), q);
        let (new, what) = if self.rng.chance(1, 4) {
            (None, Doing::Delete)
        } else {
            let mut item = key_item(&key);
            item.0.extend([("v".to_string(), n(v)), ("g".to_string(), s("x")), ("l".to_string(), n(-q))]);
            (Some(v), Doing::Put(item))
        };
        (q, new, Asked { table: "t".into(), key, condition: Held::Always, what }.op())
    }

    fn write(&mut self) {
        let shard = self.rng.below(2) as usize;
        // Whoever has a map never asks a shard that the tenant was never said to lie in.
        if !self.ever(shard) {
            return;
        }
        let (q, new, op) = self.op();
        let held = self.open.as_ref().is_some_and(|(_, _, held, _)| *held == q);
        let execute = Execute { atomic: self.rng.chance(1, 2), token: None, ops: vec![op] };
        match self.shards[shard].command(What::Execute(execute), EPOCH) {
            Ok(Reply::Executed(done)) if held => {
                assert!(self.serves(shard));
                assert_eq!(done[0].outcome, Outcome::Conflict);
            }
            Ok(Reply::Executed(done)) => {
                assert!(self.serves(shard));
                assert_eq!(done[0].outcome, Outcome::Done);
                match new {
                    Some(v) => drop(self.items.insert(q, v)),
                    None => drop(self.items.remove(&q)),
                }
                self.meet("written");
            }
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => assert_eq!(refusal, Refusal::Moved),
        }
    }

    /// Whether a shard is the one that may write and read now, by its own log.
    fn serves(&mut self, shard: usize) -> bool {
        self.tenant_page(shard).is_ok()
    }

    /// Whether the tenant was ever in a shard, or is coming.
    fn ever(&mut self, shard: usize) -> bool {
        let seen = self.seen(shard, Part::Standing);
        shard == 0 || seen.stands.is_some() || seen.moved > Index(0)
    }

    fn begin(&mut self) {
        if self.open.is_some() {
            return;
        }
        let shard = self.rng.below(2) as usize;
        if !self.ever(shard) {
            return;
        }
        let (q, new, op) = self.op();
        let Some(v) = new else { return };
        self.sequence += 1;
        let id = TxnId { node: NodeId(7), boot: 3, sequence: self.sequence, attempt: 1 };
        let ops = Execute { atomic: true, token: None, ops: vec![op] };
        let prepare = Prepare { id, began: self.sequence, participants: vec![ShardId(2)], ops };
        let answer = self.shards[shard].command(What::Commit(Commit::Prepare(prepare)), EPOCH).unwrap();
        match answer {
            Reply::Commit(Answer::Vote(Vote::Yes), _) => {
                assert!(self.serves(shard));
                self.open = Some((shard, id, q, v));
                self.meet("prepared");
            }
            Reply::Commit(Answer::Vote(Vote::No(_)), _) => self.meet("not prepared"),
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self) {
        let Some((shard, id, q, v)) = self.open.take() else { return };
        let commits = self.rng.chance(2, 3);
        let outcome = if commits { Decision::Commit } else { Decision::Abort };
        self.shards[shard].command(What::Commit(Commit::Outcome { id, outcome }), EPOCH).unwrap();
        if commits {
            assert!(self.serves(shard), "it may not leave before");
            self.items.insert(q, v);
        }
    }

    fn tenant_page(&mut self, shard: usize) -> Result<Paged, ReadError> {
        let condition = quorate_item::KeyCondition {
            partition: tenant().key.to_vec(),
            sort: (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded),
        };
        let view = self.view(shard);
        page(&view, all_of("t", None, KeysAsked::Resolved(condition)))
    }

    fn values(items: &[Item]) -> Vec<(i64, i64)> {
        let number = |item: &Item| match item.get("v") {
            Some(AttributeValue::N(number)) => number.to_i64().unwrap(),
            other => panic!("{other:?}"),
        };
        items.iter().map(|item| (key_of(item).1, number(item))).collect()
    }

    /// A read of the tenant is refused, or tells what is there; never do both shards tell.
    fn read(&mut self) {
        let expected: Vec<(i64, i64)> = self.items.iter().map(|(q, v)| (*q, *v)).collect();
        let mut told = 0;
        for shard in 0..2 {
            if let Some(paged) = self.tenant_page(shard).ok().filter(|_| self.ever(shard)) {
                assert_eq!(Self::values(&paged.items), expected, "shard {shard}");
                told += 1;
            }
        }
        assert!(told <= 1, "both shards have it");
        self.met.entry("told").and_modify(|n| *n += told).or_default();
    }

    /// Who reads a global index of both shards by one map of the directory sees the tenant once, or is refused.
    fn read_index(&mut self) {
        let block = self.block();
        let mut rows = Vec::new();
        for shard in 0..2 {
            let moved = block.moved(block.shard_at(shard as u32));
            let asked = Page { moved, ..all_of("t", Some("global"), KeysAsked::All(None)) };
            match read(&self.view(shard), &Read::Rows(Box::new(asked))) {
                Ok(ReadReply::Rows(told, false)) => rows.extend(told.into_iter().filter_map(|row| row.item)),
                Err(ReadError::Refused(Refused::Table(Refusal::Moved))) => return self.meet("index refused"),
                other => panic!("{other:?}"),
            }
        }
        rows.sort_by_key(|item| key_of(item).1);
        let expected: Vec<(i64, i64)> = self.items.iter().map(|(q, v)| (*q, *v)).collect();
        assert_eq!(Self::values(&rows), expected);
        self.meet("index");
    }

    // ---- drivers ----

    fn driver(&mut self) {
        let at = self.rng.below(2) as usize;
        let block = self.block();
        let Some(moves) = block.directory.moves().cloned() else {
            if self.rng.chance(1, 20) {
                let lies = block.directory.tenants()[&tenant().key];
                self.word(Assigned::To(1 - lies)).unwrap();
                self.meet("moves");
            }
            return;
        };
        let (from, to) = (moves.from as usize, moves.to as usize);
        if let Some((shard, what)) = self.drivers[at].copied.take() {
            return self.send(shard, what);
        }
        let Some((left, comes)) = self.drivers[at].seen.take() else {
            // The one that it comes to is looked at first.
            let comes = self.seen(to, Part::Standing);
            self.drivers[at].seen = Some((self.seen(from, Part::Noted), comes));
            return;
        };
        let step = |step| What::Step { tenant: tenant(), since: moves.at.get(), step };
        match next(&moves, &left, &comes) {
            Next::From(Step::Sweep(_)) => self.send(from, step(Step::Sweep(4))),
            Next::From(Step::Seal) if self.rng.chance(1, 3) => self.send(from, step(Step::Leave)),
            Next::From(what) => self.send(from, step(what)),
            Next::To(what) => self.send(to, step(what)),
            Next::Copy(upto, behind) => {
                let seen = self.seen(from, Part::Rows(upto));
                let some = 1 + self.rng.below(6) as usize;
                let rows: Vec<_> = seen.rows.iter().take(some).cloned().collect();
                let whole = rows.len() == seen.rows.len();
                let upto = rows.last().map(|(at, ..)| at.clone());
                let rows = rows.into_iter().map(|(at, _, item)| (at, item)).collect();
                self.send(to, step(Step::Copy { behind: behind.get(), rows, upto, whole }));
            }
            Next::CopyNoted(behind) => {
                let notes = left.rows.iter().map(|(at, noted, _)| (at.clone(), *noted)).collect();
                let rows = left.rows.iter().map(|(at, _, item)| (at.clone(), item.clone())).collect();
                let copy = step(Step::Copy { behind: behind.get(), rows, upto: None, whole: false });
                if self.shards[to].command(copy.clone(), EPOCH).is_ok() {
                    self.drivers[at].copied = Some((from, step(Step::Noted(notes))));
                    self.meet("notes copied");
                }
                self.late.push((to, copy));
            }
            Next::Wait => self.meet("waited"),
            Next::Arrived => drop(self.word(Assigned::Arrived(moves.at.get()))),
            Next::Swept => drop(self.word(Assigned::Swept(moves.at.get()))),
        }
    }

    /// A step comes now, or later, or both.
    fn send(&mut self, shard: usize, what: What) {
        if self.rng.chance(1, 4) {
            self.late.push((shard, what.clone()));
        }
        if self.rng.chance(5, 6) {
            let _ = self.shards[shard].command(what, EPOCH);
        }
    }

    fn late(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let at = self.rng.below(self.late.len() as u64) as usize;
        let (shard, what) = self.late.swap_remove(at);
        let _ = self.shards[shard].command(what, EPOCH);
    }

    fn restart(run: &mut Run) {
        let replica = &mut run.replicas[0];
        let generation = replica.generation.map_or(1, |generation| generation + 1);
        replica.kv().settle();
        replica.kv().seal().unwrap().run(generation).unwrap();
        replica.generation = Some(generation);
        replica.kv = None;
        replica.kv = Some(Kv::open(SHARD, replica.store.open(Some(generation)).unwrap()).unwrap());
    }

    fn step(&mut self) {
        match self.rng.below(20) {
            0..5 => self.write(),
            5 => self.begin(),
            6 => self.end(),
            7 => self.read(),
            8 => self.read_index(),
            9 => self.late(),
            10 if self.rng.chance(1, 10) => {
                let shard = self.rng.below(3) as usize;
                match shard {
                    2 => Self::restart(&mut self.meta),
                    shard => Self::restart(&mut self.shards[shard]),
                }
            }
            _ => self.driver(),
        }
    }
}

/// Claim: whatever the drivers see and whenever their steps come, at most one shard serves a tenant that moves, what is read there is what
/// was written, wherever, and what lies in several shards is seen once; the moves come to their end, and nothing is left behind them.
#[test]
fn a_tenant_that_moves_is_served_by_one_shard() {
    let mut met: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..40 {
        let mut world = World::new(seed);
        for _ in 0..1500 {
            world.step();
        }
        world.end();
        for _ in 0..2000 {
            if world.block().directory.moves().is_none() {
                break;
            }
            world.driver();
        }
        world.read();
        world.read_index();
        let block = world.block();
        assert!(block.directory.moves().is_none(), "seed {seed}");
        let lies = block.directory.tenants()[&tenant().key] as usize;
        let left = world.seen(1 - lies, Part::Rows(Bytes::new()));
        assert!(left.rows.is_empty(), "seed {seed}: {} rows are left", left.rows.len());
        world.met.into_iter().for_each(|(what, n)| *met.entry(what).or_default() += n);
    }
    for what in [
        "written",
        "told",
        "prepared",
        "not prepared",
        "moves",
        "notes copied",
        "waited",
        "index",
        "index refused",
    ] {
        assert!(met.get(what).is_some_and(|n| *n > 20), "{what}: {met:?}");
    }
}

/// Claim: a sweep goes on behind what was swept before, in steps, and a step of it that comes late does nothing.
#[test]
fn a_sweep_goes_on_where_it_was() {
    let mut world = World::new(2);
    for q in 0..5 {
        let what = Doing::Put(key_item(&(TENANT.to_string(), q)));
        let op =
            Asked { table: "t".into(), key: (TENANT.to_string(), q), condition: Held::Always, what }.op();
        let execute = Execute { atomic: false, token: None, ops: vec![op] };
        world.shards[0].command(What::Execute(execute), EPOCH).unwrap();
    }
    world.word(Assigned::To(1)).unwrap();
    let since = world.block().directory.moves().unwrap().at.get();
    let step = |world: &mut World, step| {
        world.shards[0].command(What::Step { tenant: tenant(), since, step }, EPOCH).unwrap();
    };
    for before in [Step::Leave, Step::Seal, Step::Close] {
        step(&mut world, before);
    }
    for left in [3, 1, 0, 0] {
        step(&mut world, Step::Sweep(2));
        let seen = world.seen(0, Part::Rows(Bytes::new()));
        let Standing::Gone { swept, upto } = seen.stands.unwrap().standing else { panic!() };
        assert_eq!((seen.rows.len(), swept, upto.is_empty()), (left, left == 0, left == 0));
        assert!(seen.rows.iter().all(|(at, ..)| at > &upto));
    }
}

/// Claim: what is said of tenants that makes no sense is refused, and a table with a stream moves none.
#[test]
fn words_about_tenants_are_checked() {
    let mut world = World::new(1);
    let refused = |world: &mut World, tenant: Tenant, word| {
        world.meta.command(What::Assign { tenant, word }, EPOCH).unwrap_err()
    };
    let other = Tenant { table: 9, ..tenant() };
    assert_eq!(refused(&mut world, other, Assigned::To(0)), Refusal::NotFound);
    let no_key = Tenant { key: Bytes::from_static(b"\xff"), ..tenant() };
    assert!(matches!(refused(&mut world, no_key, Assigned::To(0)), Refusal::Validation(_)));
    assert!(matches!(refused(&mut world, tenant(), Assigned::To(2)), Refusal::Validation(_)));
    assert_eq!(refused(&mut world, tenant(), Assigned::Arrived(3)), Refusal::Moved);
    assert_eq!(world.word(Assigned::To(0)), Ok(Reply::Placed), "it lies there");
    assert_eq!(world.word(Assigned::New(1)), Ok(Reply::Placed), "it is listed");
    assert_eq!(world.block().directory.moves(), None, "and stays");
    let other = || named("another");
    assert!(
        matches!(refused(&mut world, other(), Assigned::New(2)), Refusal::Validation(_)),
        "no such shard"
    );
    world.meta.command(What::Assign { tenant: other(), word: Assigned::New(1) }, EPOCH).unwrap();
    assert_eq!(world.block().directory.tenants().get(&other().key), Some(&1));
    world.meta.command(stream_change("t", Some(StreamView::Both)), EPOCH).unwrap();
    assert!(matches!(world.word(Assigned::To(1)), Err(Refusal::Validation(_))));
    world.meta.command(stream_change("t", None), EPOCH).unwrap();
    world.word(Assigned::To(1)).unwrap();
    let block = world.block();
    assert_eq!(
        block.directory.moves().map(|moves| (moves.from, moves.to, moves.arrived)),
        Some((0, 1, false))
    );
    assert!(matches!(world.word(Assigned::To(0)), Err(Refusal::InUse(_))));
    let stream = world.meta.command(stream_change("t", Some(StreamView::Both)), EPOCH);
    assert!(matches!(stream, Err(Refusal::InUse(_))));
    World::restart(&mut world.meta);
    assert_eq!(world.block(), block, "from a checkpoint");
}

/// Claim: a shard takes no step before its turn: a tenant does not open before the first round of copies is through, does not close while
/// a transaction holds any of it or a note of it is left, is not written while it is sealed, and does not come back before what it left is gone.
#[test]
fn steps_are_taken_in_their_turn() {
    let mut world = World::new(1);
    let put = |n| {
        let item = Item(
            key_item(&(TENANT.into(), n)).0.into_iter().chain([("v".to_string(), self::n(n))]).collect(),
        );
        Asked { table: "t".into(), key: (TENANT.into(), n), condition: Held::Always, what: Doing::Put(item) }
            .op()
    };
    let execute = |n| What::Execute(Execute { atomic: false, token: None, ops: vec![put(n)] });
    for n in 0..3 {
        world.shards[0].command(execute(n), EPOCH).unwrap();
    }
    let absent = |world: &mut World| {
        let get = Get::of("t", key_item(&(TENANT.into(), 99)));
        let ReadReply::Items(got) = read(&world.view(0), &Read::Get(vec![get])).unwrap() else { panic!() };
        assert_eq!(got[0].item, None);
        got[0].version
    };
    let version = absent(&mut world);
    world.word(Assigned::To(1)).unwrap();
    let since = world.block().directory.moves().unwrap().at.get();
    let step = |since, step| What::Step { tenant: tenant(), since, step };
    let mut take = |shard: usize, what: What| world.shards[shard].command(what, EPOCH);
    let copy = |behind: u64, whole| Step::Copy { behind, rows: Vec::new(), upto: None, whole };
    let refused = Err(Refusal::Moved);

    for first in [Step::Seal, Step::Close, Step::Sweep(9), Step::Noted(Vec::new())] {
        assert_eq!(take(0, step(since, first)), refused, "it is not leaving");
    }
    for first in [copy(0, true), Step::Open] {
        assert_eq!(take(1, step(since, first)), refused, "it is not coming");
    }
    take(1, step(since, Step::Come)).unwrap();
    assert_eq!(take(1, execute(7)), refused, "it is not here yet");
    assert_eq!(take(1, step(since, Step::Open)), refused, "nothing was copied");
    assert_eq!(take(1, step(since + 1, Step::Open)), refused, "another move");

    take(0, step(since, Step::Leave)).unwrap();
    let id = TxnId { node: NodeId(7), boot: 3, sequence: 1, attempt: 1 };
    let ops = Execute { atomic: true, token: None, ops: vec![put(1)] };
    let prepare = Prepare { id, began: 1, participants: vec![ShardId(2)], ops };
    take(0, What::Commit(Commit::Prepare(prepare))).unwrap();
    assert_eq!(take(0, step(since, Step::Close)), refused, "it is not sealed");
    take(0, step(since, Step::Seal)).unwrap();
    assert_eq!(take(0, execute(1)), refused, "it is sealed");
    assert_eq!(take(0, step(since, Step::Close)), refused, "a transaction holds some of it");
    take(0, What::Commit(Commit::Outcome { id, outcome: Decision::Commit })).unwrap();
    assert_eq!(take(0, step(since, Step::Close)), refused, "what the transaction wrote was not copied");
    take(0, step(since, Step::Leave)).unwrap();
    take(0, execute(2)).unwrap();
    take(0, step(since, Step::Seal)).unwrap();
    let notes = world.seen(0, Part::Noted).rows;
    assert_eq!(notes.len(), 2);
    let noted = notes.into_iter().map(|(at, noted, _)| (at, noted)).collect();
    let mut take = |shard: usize, what: What| world.shards[shard].command(what, EPOCH);
    take(0, step(since, Step::Noted(noted))).unwrap();
    take(0, step(since, Step::Close)).unwrap();
    assert_eq!(take(0, execute(2)), refused, "it is gone");
    assert_eq!(take(0, step(since + 1, Step::Come)), refused, "what it left is not gone");
    take(0, step(since, Step::Sweep(2))).unwrap();
    assert_eq!(take(0, step(since + 1, Step::Come)), refused, "some of it is not");
    take(0, step(since, Step::Sweep(2))).unwrap();
    assert_eq!(take(0, step(since, Step::Come)), refused, "that move is over");
    take(0, step(since + 1, Step::Come)).unwrap();
    let behind = world.shards[0].log.len() as u64;
    let mut take = |shard: usize, what: What| world.shards[shard].command(what, EPOCH);
    take(0, step(since + 1, copy(behind, true))).unwrap();
    take(0, step(since + 1, Step::Open)).unwrap();
    World::restart(&mut world.shards[0]);
    assert!(absent(&mut world) > version, "it may have been there elsewhere, and gone");
}
