use super::layout::{KEY_MAX, PREFIX, table};
use super::{Kv, LeaseInfo, ReadError, Survey, all_of, base_of};
use crate::testing;
use bytes::Bytes;
use quorate_base::{Base, Entry, EntryId, EntryKind, Index, NodeId, Rng, ShardId};
use quorate_faulty::FaultyDisk;
use quorate_storage::journal::Identity;
use quorate_storage::memory::MemoryStore;
use quorate_storage::state::{StateErrorKind, StateStore};
use quorate_wire::command;
use quorate_wire::kv::{
    Alarm, AlarmKind, Command, DeleteRange, FENCES_MAX, Fence, Grant, KeyRange, Op, Put, Range, Refused,
    Reply, SortOrder, SortTarget, SpaceHash, Txn,
};
use std::ops::Bound;
use std::sync::Arc;

fn stores(seed: u64) -> Vec<Box<dyn StateStore>> {
    (1..=3)
        .map(|node| {
            let identity = Identity { cluster: 1, node: NodeId(node) };
            let disk = Arc::new(FaultyDisk::new(seed + node));
            Box::new(MemoryStore::new(disk, "state", identity)) as Box<dyn StateStore>
        })
        .collect()
}

#[test]
fn the_machine_is_the_model_over_the_memory_form() {
    let mut done = testing::Done::default();
    for seed in 0..60 {
        done.add(testing::check(&mut stores(seed), seed, 2_000));
    }
    assert!(done.least() > 50, "{done:?}");
}

fn apply(kv: &mut Kv, command: &Command) {
    outcome(kv, command).unwrap();
}

/// How many pairs each table holds.
fn pairs(kv: &Kv, of: u8) -> usize {
    let (from, to) = all_of(kv.keys, None);
    let range = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
    kv.state.scan(range).filter(|pair| pair.as_ref().is_ok_and(|(key, _)| key[PREFIX] == of)).count()
}

#[test]
fn a_sweep_leaves_nothing_behind_that_no_read_can_reach() {
    let state = stores(1).remove(0).open(None).unwrap();
    let mut kv = Kv::open(ShardId(1), state).unwrap();
    let key = |n: u8| Bytes::copy_from_slice(&[b'k', 0, n]);
    for round in 0..5 {
        for n in 0..20 {
            apply(
                &mut kv,
                &Command::Put(Put { key: key(n), value: vec![round; 9].into(), ..Put::default() }),
            );
        }
    }
    for n in 0..10 {
        let range = KeyRange { key: key(n), end: Bytes::new() };
        apply(&mut kv, &Command::Delete(DeleteRange { range, prev_kv: false }));
    }
    let full = kv.view().sizes();
    assert_eq!(
        (pairs(&kv, table::LATEST), pairs(&kv, table::DELETED), pairs(&kv, table::EVENT)),
        (10, 10, 110)
    );
    let revision = kv.revision();
    apply(&mut kv, &Command::Compact { revision });
    while kv.compact_step(7).unwrap() {}
    // The event of the compacted revision stays, with its tombstone; the version that it replaced does not.
    assert_eq!((pairs(&kv, table::LATEST), pairs(&kv, table::DELETED), pairs(&kv, table::EVENT)), (10, 1, 1));
    let swept = kv.view().sizes();
    assert_eq!(swept.1, full.1);
    assert!(swept.0 < swept.1 + 200, "{swept:?} after {full:?}");
}

/// Passed over, it would leave this replica with another state than those whose release knows it.
#[test]
fn an_entry_of_a_newer_release_is_an_error_and_changes_nothing() {
    let state = stores(1).remove(0).open(None).unwrap();
    let mut kv = Kv::open(ShardId(1), state).unwrap();
    apply(&mut kv, &Command::Put(Put { key: "a".into(), ..Put::default() }));
    let (applied, digest) = (kv.applied(), kv.digest());
    let data = vec![command::VERSION + 1, 1, 2, 99].into();
    let id = EntryId::new(applied.term, applied.index.next());
    let error = kv.apply(&Entry { id, kind: EntryKind::Command, data }).unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Newer);
    assert!(error.to_string().starts_with("entry 2 of the log is a command of version "), "{error}");
    assert_eq!((kv.applied(), kv.digest()), (applied, digest));
}

fn put(key: &str) -> Put {
    Put { key: Bytes::copy_from_slice(key.as_bytes()), ..Put::default() }
}

fn outcome(kv: &mut Kv, command: &Command) -> Result<Reply, Refused> {
    let id = EntryId { index: kv.applied().index.next(), ..kv.applied() };
    let data = command::encode(NodeId(1), 1, command);
    kv.apply(&Entry { id, kind: EntryKind::Command, data }).unwrap().outcome
}

/// Claim: while an alarm for want of room stands nothing makes the space grow, whatever branch a transaction would take; what
/// makes it smaller goes on, and the alarm goes when it is taken back.
#[test]
fn without_room_nothing_grows_and_all_else_goes_on() {
    let state = stores(1).remove(0).open(None).unwrap();
    let mut kv = Kv::open(ShardId(1), state).unwrap();
    apply(&mut kv, &Command::Put(put("a")));
    apply(&mut kv, &Command::LeaseGrant { id: 7, ttl: 60 });
    let alarm = Alarm { kind: AlarmKind::NoSpace, member: 2 };
    let raised = Ok(Reply::Alarms(vec![alarm]));
    assert_eq!(outcome(&mut kv, &Command::Alarm { alarm, on: true }), raised);
    assert_eq!(outcome(&mut kv, &Command::Alarm { alarm, on: true }), raised, "it stands already");
    let delete = || {
        Op::Delete(DeleteRange { range: KeyRange { key: "b".into(), ..KeyRange::default() }, prev_kv: false })
    };
    let inner = Op::Txn(Txn { failure: vec![Op::Put(put("b"))], ..Txn::default() });
    for command in [
        Command::Put(put("b")),
        Command::Put(Put { lease: 99, ..put("b") }),
        Command::LeaseGrant { id: 8, ttl: 60 },
        Command::Txn(Txn { success: vec![delete()], failure: vec![Op::Put(put("b"))], ..Txn::default() }),
        Command::Txn(Txn { success: vec![delete(), inner], ..Txn::default() }),
    ] {
        let before = kv.revision();
        assert_eq!(outcome(&mut kv, &command), Err(Refused::NoSpace), "{command:?}");
        assert_eq!(kv.revision(), before);
    }
    apply(&mut kv, &Command::Txn(Txn { success: vec![delete()], ..Txn::default() }));
    let range = KeyRange { key: "a".into(), end: Bytes::new() };
    apply(&mut kv, &Command::Delete(DeleteRange { range, prev_kv: false }));
    apply(&mut kv, &Command::LeaseRevoke { ids: vec![7] });
    let revision = kv.revision();
    apply(&mut kv, &Command::Compact { revision });
    let other = Alarm { member: 3, ..alarm };
    assert_eq!(outcome(&mut kv, &Command::Alarm { alarm: other, on: false }), Ok(Reply::Alarms(vec![])));
    assert_eq!(outcome(&mut kv, &Command::Put(put("b"))), Err(Refused::NoSpace), "it was another's");
    assert_eq!(outcome(&mut kv, &Command::Alarm { alarm, on: false }), raised);
    apply(&mut kv, &Command::Put(put("b")));
}

/// Claim: alarms are in a checkpoint and in a snapshot, and there is a bound to them.
#[test]
fn alarms_survive_and_are_bounded() {
    let mut stores = stores(2);
    let mut kv = Kv::open(ShardId(1), stores[0].open(None).unwrap()).unwrap();
    kv.begin(&Bytes::from_static(b"voters"));
    let alarm = |member| Alarm { kind: AlarmKind::NoSpace, member };
    for member in 0..super::alarm::ALARMS_MAX as u64 {
        apply(&mut kv, &Command::Alarm { alarm: alarm(member), on: true });
    }
    let more = Command::Alarm { alarm: alarm(u64::MAX), on: true };
    assert_eq!(outcome(&mut kv, &more), Err(Refused::TooManyAlarms));
    apply(&mut kv, &Command::Alarm { alarm: alarm(0), on: false });
    apply(&mut kv, &more);
    let expected = kv.view().alarms().clone();
    let (applied, membership) = (kv.applied(), kv.membership().clone());
    let (chunk, next) = kv.view().export(None, 1 << 20).unwrap();
    assert_eq!(next, None);
    kv.seal().unwrap().run(1).unwrap();
    drop(kv);
    let kv = Kv::open(ShardId(1), stores[0].open(Some(1)).unwrap()).unwrap();
    assert_eq!(*kv.view().alarms(), expected, "opened again");
    let mut kv = Kv::open(ShardId(1), stores[1].open(None).unwrap()).unwrap();
    kv.import_begin().unwrap();
    kv.import_chunk(0, &chunk).unwrap();
    kv.import_finish(Base { id: applied, membership }).unwrap();
    assert_eq!(*kv.view().alarms(), expected, "taken in");
    assert_eq!(outcome(&mut kv, &Command::Put(put("b"))), Err(Refused::NoSpace));
}

fn hash(kv: &Kv, at: i64) -> Result<SpaceHash, ReadError> {
    kv.view().hash_while(at, &|_| true).map(Option::unwrap)
}

/// Claim: the hash at a revision is the same on two members however far the sweep, the next writes, or a seal have come; it is
/// another once anything readable differs, and bounds are etcd's.
#[test]
fn the_hash_is_of_what_can_be_read() {
    let mut kvs: Vec<Kv> = stores(2)
        .iter_mut()
        .take(2)
        .map(|store| Kv::open(ShardId(1), store.open(None).unwrap()).unwrap())
        .collect();
    let both = |kvs: &mut Vec<Kv>, command: &Command| kvs.iter_mut().for_each(|kv| apply(kv, command));
    for n in 0..30_u8 {
        let key = Bytes::copy_from_slice(&[b'k', 0, n % 7]);
        both(&mut kvs, &Command::Put(Put { key: key.clone(), value: vec![n].into(), ..Put::default() }));
        if n % 5 == 0 {
            let range = KeyRange { key, end: Bytes::new() };
            both(&mut kvs, &Command::Delete(DeleteRange { range, prev_kv: false }));
        }
    }
    let newest = kvs[0].revision();
    let before: Vec<_> = (1..=newest).map(|at| hash(&kvs[0], at).unwrap().hash).collect();
    assert!(before.windows(2).all(|pair| pair[0] != pair[1]), "each revision changes it");
    for compacted in [5, 6, 7, 8, 20, newest] {
        both(&mut kvs, &Command::Compact { revision: compacted });
        while kvs[1].compact_step(3).unwrap() {}
        apply(&mut kvs[1], &Command::Put(put("later")));
        // As with etcd 3.6, at the compacted revision itself, too.
        for at in compacted..=newest {
            let (unswept, swept) = (hash(&kvs[0], at).unwrap(), hash(&kvs[1], at).unwrap());
            assert_eq!(unswept, swept, "at {at}, compacted {compacted}");
            assert_eq!((swept.compacted, swept.revision), (compacted, at));
        }
        let refused = Refused::Compacted { revision: compacted };
        assert_eq!(hash(&kvs[1], compacted - 1), Err(ReadError::Refused(refused)));
        assert_eq!(hash(&kvs[0], newest + 1), Err(ReadError::Refused(Refused::FutureRevision)));
        // And they are the same again.
        apply(&mut kvs[0], &Command::LeaseGrant { id: compacted, ttl: 9 });
    }
    let all = |kv: &Kv| kv.view().hash_all_while(&|_| true).unwrap();
    assert_ne!(all(&kvs[0]), all(&kvs[1]));
}

/// Claim: at the limit no other name is taken, what it was shown with is not done, and the names that there are go on; one that is
/// dropped makes room for one.
#[test]
fn as_many_names_are_fenced_as_may_be() {
    let state = stores(1).remove(0).open(None).unwrap();
    let mut kv = Kv::open(ShardId(1), state).unwrap();
    let fenced = |n: u64, token| Command::Fenced {
        fence: Fence { name: n.to_string().into(), token },
        command: Box::new(Command::Put(put("k"))),
    };
    for n in 0..FENCES_MAX {
        apply(&mut kv, &fenced(n, 5));
    }
    let revision = kv.revision();
    assert_eq!(outcome(&mut kv, &fenced(FENCES_MAX, 5)), Err(Refused::FencesFull));
    assert_eq!(outcome(&mut kv, &fenced(7, 4)), Err(Refused::Fenced { token: 5 }));
    assert_eq!(kv.revision(), revision);
    apply(&mut kv, &fenced(7, 6));
    apply(&mut kv, &Command::FenceDrop { name: "7".into() });
    apply(&mut kv, &fenced(FENCES_MAX, 5));
    assert_eq!(outcome(&mut kv, &fenced(7, 7)), Err(Refused::FencesFull));
}

/// Claim: fences change the hash of all that is replicated and no hash of the space, are counted in a snapshot, and come in with
/// it.
#[test]
fn fences_are_hashed_and_are_in_a_snapshot() {
    let mut kvs: Vec<Kv> =
        stores(2).into_iter().map(|mut s| Kv::open(ShardId(1), s.open(None).unwrap()).unwrap()).collect();
    let fenced = |token, key| Command::Fenced {
        fence: Fence { name: "n".into(), token },
        command: Box::new(Command::Put(put(key))),
    };
    let space = |kv: &Kv| kv.view().hash_while(0, &|_| true).unwrap().unwrap();
    let all = |kv: &Kv| kv.view().hash_all_while(&|_| true).unwrap().unwrap();
    apply(&mut kvs[0], &fenced(7, "a"));
    apply(&mut kvs[1], &fenced(8, "a"));
    assert_eq!(space(&kvs[0]), space(&kvs[1]));
    assert_ne!(all(&kvs[0]), all(&kvs[1]));
    let view = kvs[1].view();
    let (chunk, rest) = view.export(None, 1 << 20).unwrap();
    assert_eq!(rest, None);
    let mut survey = Survey::default();
    survey.chunk(&chunk).unwrap();
    assert_eq!(survey.finish().unwrap().fences, 1);
    kvs[0].import_begin().unwrap();
    kvs[0].import_chunk(0, &chunk).unwrap();
    kvs[0].import_finish(base_of(&chunk).unwrap()).unwrap();
    assert_eq!(all(&kvs[0]), all(&kvs[1]));
    assert_eq!(outcome(&mut kvs[0], &fenced(7, "b")), Err(Refused::Fenced { token: 8 }));
}

/// Claim: what a revision replaced goes when that revision is compacted, but for what it had put itself; and a later sweep
/// counts nothing twice.
#[test]
fn a_compacted_deletion_of_everything_keeps_no_values() {
    let state = stores(1).remove(0).open(None).unwrap();
    let mut kv = Kv::open(ShardId(1), state).unwrap();
    for n in 0..50 {
        let key = format!("k{n:02}").into();
        apply(&mut kv, &Command::Put(Put { key, value: vec![1; 1_000].into(), ..Put::default() }));
    }
    let all = DeleteRange { range: KeyRange { key: "k".into(), end: "l".into() }, prev_kv: false };
    let again = Op::Put(Put { value: vec![2; 1_000].into(), ..put("k07") });
    let success = vec![Op::Delete(all.clone()), again, Op::Delete(all)];
    apply(&mut kv, &Command::Txn(Txn { success, ..Txn::default() }));
    let revision = kv.revision();
    apply(&mut kv, &Command::Compact { revision });
    while kv.compact_step(7).unwrap() {}
    let (size, live) = kv.view().sizes();
    assert!((1_000..6_000).contains(&size) && live < 100, "{size} bytes, {live} of them alive");
    let events = kv.view().history(revision, usize::MAX).unwrap();
    assert_eq!(events.iter().filter(|event| !event.deleted).count(), 1);
    apply(&mut kv, &Command::Put(put("z")));
    apply(&mut kv, &Command::Compact { revision: revision + 1 });
    while kv.compact_step(7).unwrap() {}
    assert_eq!((pairs(&kv, table::DELETED), pairs(&kv, table::EVENT)), (0, 1));
    let (size, live) = kv.view().sizes();
    assert!((0..100).contains(&(size - live)), "{size} bytes, {live} of them alive");
}

/// Claim: a version is counted once, the newest ones among them, also where they were restored or read again.
#[test]
fn a_version_is_counted_once() {
    let mut store = stores(1).remove(0);
    let mut kv = Kv::open(ShardId(1), store.open(None).unwrap()).unwrap();
    let write = |kv: &mut Kv, length: usize| {
        for n in 0..10 {
            apply(kv, &Command::Put(Put { value: vec![1; length].into(), ..put(&format!("k{n}")) }));
        }
    };
    let history = |kv: &Kv| {
        let (size, live) = kv.view().sizes();
        size - live
    };
    write(&mut kv, 1_000);
    assert_eq!(history(&kv), 0, "nothing was replaced");
    write(&mut kv, 1);
    assert!((10_000..11_000).contains(&history(&kv)), "{}", history(&kv));
    let revision = kv.revision();
    apply(&mut kv, &Command::Compact { revision });
    while kv.compact_step(7).unwrap() {}
    assert_eq!(history(&kv), 0, "all of it is swept");
    write(&mut kv, 1_000);
    assert!((10..1_000).contains(&history(&kv)), "ten short ones were replaced: {}", history(&kv));
    let everything = KeyRange { key: "k".into(), end: "l".into() };
    apply(&mut kv, &Command::Delete(DeleteRange { range: everything, prev_kv: false }));
    let revision = kv.revision();
    apply(&mut kv, &Command::Compact { revision });
    while kv.compact_step(7).unwrap() {}
    assert!(
        (10..2_000).contains(&history(&kv)),
        "the deletions at the compacted revision stay: {}",
        history(&kv)
    );
    apply(&mut kv, &Command::Put(put("z")));
    let revision = kv.revision();
    apply(&mut kv, &Command::Compact { revision });
    while kv.compact_step(7).unwrap() {}
    assert_eq!(history(&kv), 0, "nothing is left");
}

/// Claim: an empty space has a size; operations are counted one by one, however many stand in a command and whatever they find, and
/// what is refused is not.
#[test]
fn what_was_done_is_counted() {
    let state = stores(1).remove(0).open(None).unwrap();
    let mut kv = Kv::open(ShardId(1), state).unwrap();
    let (size, live) = kv.view().sizes();
    assert!(size > 0 && live > 0);
    apply(&mut kv, &Command::LeaseGrant { id: 7, ttl: 9 });
    apply(&mut kv, &Command::LeaseGrant { id: 8, ttl: 9 });
    for key in ["a", "b"] {
        apply(&mut kv, &Command::Put(Put { value: "four".into(), lease: 7, ..put(key) }));
    }
    let delete = |key: &str| DeleteRange {
        range: KeyRange { key: Bytes::copy_from_slice(key.as_bytes()), end: Bytes::new() },
        prev_kv: false,
    };
    apply(&mut kv, &Command::Delete(delete("nothing")));
    let one = vec![Op::Put(put("c"))];
    apply(&mut kv, &Command::Txn(Txn { success: one, ..Txn::default() }));
    let three = vec![Op::Put(put("d")), Op::Delete(delete("c")), Op::Range(Range::default())];
    apply(&mut kv, &Command::Txn(Txn { success: three, ..Txn::default() }));
    assert!(outcome(&mut kv, &Command::Put(Put { ignore_value: true, ..put("e") })).is_err());
    let tally = kv.view().tally();
    assert_eq!((tally.puts, tally.deletes, tally.ranges, tally.txns), (4, 2, 1, 1));
    assert_eq!((tally.granted, tally.revoked, tally.expired), (2, 0, 0));
    // The keys go with their lease.
    apply(&mut kv, &Command::LeaseRevoke { ids: vec![7] });
    let tally = kv.view().tally();
    assert_eq!((tally.deletes, tally.txns, tally.revoked), (4, 2, 1));
    assert!(tally.put_bytes > 10, "{tally:?}");
}

#[test]
fn ties_stay_in_the_order_of_their_keys_whichever_way_a_range_is_sorted() {
    let state = stores(1).remove(0).open(None).unwrap();
    let mut kv = Kv::open(ShardId(1), state).unwrap();
    for (key, value) in [("c", "1"), ("a", "1"), ("b", "2"), ("d", "1")] {
        apply(&mut kv, &Command::Put(Put { key: key.into(), value: value.into(), ..Put::default() }));
    }
    let sorted = |sort_target, sort_order| {
        let range = KeyRange { key: "a".into(), end: "z".into() };
        let reply = kv.view().range(&Range { range, sort_target, sort_order, ..Range::default() }).unwrap();
        reply.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect::<String>()
    };
    assert_eq!(sorted(SortTarget::Value, SortOrder::Ascend), "acdb");
    assert_eq!(sorted(SortTarget::Value, SortOrder::Descend), "bacd");
    assert_eq!(sorted(SortTarget::Version, SortOrder::Descend), "abcd");
    assert_eq!(sorted(SortTarget::Mod, SortOrder::Descend), "dbac");
    assert_eq!(sorted(SortTarget::Key, SortOrder::Descend), "dcba");
}

#[test]
fn a_range_below_revision_zero_is_the_newest_alone_and_compacted_in_a_transaction() {
    let state = stores(1).remove(0).open(None).unwrap();
    let mut kv = Kv::open(ShardId(1), state).unwrap();
    apply(&mut kv, &Command::Put(Put { key: "a".into(), ..Put::default() }));
    apply(&mut kv, &Command::Compact { revision: 1 });
    let below =
        Range { range: KeyRange { key: "a".into(), end: "".into() }, revision: -1, ..Range::default() };
    assert_eq!(kv.view().range(&below).unwrap().count, 1);

    let put = Op::Put(Put { key: "b".into(), ..Put::default() });
    for also in [None, Some(put)] {
        let success = std::iter::once(Op::Range(below.clone())).chain(also).collect();
        let txn = Txn { success, ..Txn::default() };
        let data = command::encode(NodeId(1), 1, &Command::Txn(txn));
        let id = EntryId { index: kv.applied().index.next(), ..kv.applied() };
        let applied = kv.apply(&Entry { id, kind: EntryKind::Command, data }).unwrap();
        assert_eq!(applied.outcome, Err(Refused::Compacted { revision: 1 }));
        assert!(applied.events.is_empty());
    }
}

/// Numbers at the ends of their range and beside them, keys of all lengths, ranges of all kinds.
struct Extremes(Rng);

impl Extremes {
    fn number(&mut self) -> i64 {
        *self.0.pick(&[0, 0, 1, 2, 3, 5, -1, i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX, 1 << 32])
    }

    fn key(&mut self) -> Bytes {
        let len = *self.0.pick(&[0, 1, 1, 1, 2, KEY_MAX - 1, KEY_MAX, KEY_MAX + 1]);
        vec![*self.0.pick(&[0, 1, b'a', 0xff]); len].into()
    }

    fn range(&mut self) -> KeyRange {
        let end = if self.0.chance(1, 2) { Bytes::new() } else { self.key() };
        KeyRange { key: self.key(), end }
    }

    fn op(&mut self, depth: usize) -> Op {
        match self.0.below(if depth < 4 { 5 } else { 4 }) {
            0 => Op::Range(Range {
                range: self.range(),
                limit: self.number(),
                revision: self.number(),
                sort_order: *self.0.pick(&[SortOrder::None, SortOrder::Descend]),
                sort_target: *self.0.pick(&[SortTarget::Key, SortTarget::Mod, SortTarget::Value]),
                count_only: self.0.chance(1, 4),
                min_mod_revision: self.number(),
                max_create_revision: self.number(),
                ..Range::default()
            }),
            1 | 2 => Op::Put(self.put()),
            3 => Op::Delete(DeleteRange { range: self.range(), prev_kv: self.0.chance(1, 2) }),
            _ => Op::Txn(self.txn(depth + 1)),
        }
    }

    fn put(&mut self) -> Put {
        let (key, lease) = (self.key(), if self.0.chance(2, 3) { 0 } else { self.number() });
        let ignore_value = self.0.chance(1, 5);
        Put { key, value: "v".into(), lease, ignore_value, ..Put::default() }
    }

    fn txn(&mut self, depth: usize) -> Txn {
        let ops = self.0.below(4);
        let success = (0..ops).map(|_| self.op(depth)).collect();
        Txn { success, failure: vec![self.op(depth)], ..Txn::default() }
    }

    fn grant(&mut self) -> Grant {
        Grant { id: self.number(), at: Index(self.number() as u64) }
    }

    fn command(&mut self) -> Command {
        match self.0.below(8) {
            0 | 1 => Command::Put(self.put()),
            2 => Command::Delete(DeleteRange { range: self.range(), prev_kv: true }),
            3 => Command::Txn(self.txn(1)),
            4 => Command::Compact { revision: self.number() },
            5 => Command::LeaseGrant { id: self.number(), ttl: self.number() },
            6 => Command::LeaseExpire { grants: vec![self.grant(), self.grant()] },
            _ => Command::LeaseCheckpoint { remaining: vec![(self.grant(), self.number())] },
        }
    }
}

/// Claim: what the leader's clock has decided about one grant of a lease does not meet the next grant of its id, though that may
/// stand before it in the log; what names no grant, as older releases did, means whichever there is.
#[test]
fn what_was_decided_of_one_grant_does_not_meet_the_next() {
    for name_the_grant in [true, false] {
        for mut store in stores(1) {
            let mut kv = Kv::open(ShardId(1), store.open(None).unwrap()).unwrap();
            apply(&mut kv, &Command::LeaseGrant { id: 7, ttl: 2 });
            let at = if name_the_grant { kv.applied().index } else { Index(0) };
            let first = Grant { id: 7, at };
            apply(&mut kv, &Command::LeaseRevoke { ids: vec![7] });
            apply(&mut kv, &Command::LeaseGrant { id: 7, ttl: 100 });
            let second = kv.applied().index;
            apply(&mut kv, &Command::Put(Put { key: "held".into(), lease: 7, ..Put::default() }));
            apply(&mut kv, &Command::LeaseCheckpoint { remaining: vec![(first, 1)] });
            let remaining = i64::from(!name_the_grant);
            assert_eq!(kv.view().lease(7), Some(LeaseInfo { ttl: 100, remaining, at: second }));
            apply(&mut kv, &Command::LeaseExpire { grants: vec![first] });
            assert_eq!(kv.view().lease(7).is_some(), name_the_grant);
            assert_eq!(
                kv.view().lease_keys_while(7, &|_| true).unwrap().unwrap().len(),
                usize::from(name_the_grant)
            );
            apply(&mut kv, &Command::LeaseExpire { grants: vec![Grant { id: 7, at: second }] });
            assert_eq!(kv.view().lease(7), None, "its own time is over");
        }
    }
}

/// Seed 1 and on: commands that no door would let pass, and harmed ones. Each is done or refused, two replicas agree, and
/// what comes of it can be read, sealed, swept and sent.
#[test]
fn whatever_stands_in_the_log_is_done_or_refused() {
    for seed in 1..30 {
        let mut extremes = Extremes(Rng::stream(seed, "extremes"));
        let mut replicas: Vec<Kv> = stores(seed)
            .iter_mut()
            .take(2)
            .map(|store| Kv::open(ShardId(1), store.open(None).unwrap()).unwrap())
            .collect();
        for _ in 0..200 {
            let mut data = command::encode(NodeId(1), 1, &extremes.command()).to_vec();
            if extremes.0.chance(1, 5) {
                let at = extremes.0.below(data.len() as u64) as usize;
                data[at] ^= 1 << extremes.0.below(8);
            }
            // One of a newer release is neither.
            data[0] = data[0].min(command::VERSION);
            let id = EntryId { index: replicas[0].applied().index.next(), ..replicas[0].applied() };
            let entry = Entry { id, kind: EntryKind::Command, data: data.into() };
            let done: Vec<_> = replicas.iter_mut().map(|kv| kv.apply(&entry).unwrap()).collect();
            assert_eq!(done[0], done[1], "seed {seed}, entry {id:?}");
        }
        replicas[0].compact_step(50).unwrap();
        let view = replicas[0].view();
        assert_eq!(view.digest(), replicas[1].view().digest(), "seed {seed}");
        view.txn_while(&extremes.txn(1), &|_| true)
            .err()
            .into_iter()
            .for_each(|e| assert!(!matches!(e, ReadError::Store(_))));
        let (chunk, next) = view.export(None, usize::MAX).unwrap();
        assert!(next.is_none());
        let base = Base { id: view.applied(), membership: Bytes::new() };
        replicas[1].import_begin().unwrap();
        replicas[1].import_chunk(0, &chunk).unwrap();
        replicas[1].import_finish(base).unwrap();
        assert_eq!(replicas[1].view().digest(), view.digest(), "seed {seed}");
    }
}

/// Claim: every version of a key is found at every revision since the compaction, however often it was put, deleted and put again,
/// however far a sweep has come, and with few look-ups.
#[test]
fn old_versions_are_found_in_few_steps() {
    let mut kv = Kv::open(ShardId(1), stores(1).remove(0).open(None).unwrap()).unwrap();
    let range = KeyRange { key: "k".into(), end: Bytes::new() };
    // By revision, beginning with the first.
    let mut was: Vec<Option<String>> = vec![None, None];
    for n in 0..2_000 {
        if n % 700 == 699 {
            apply(&mut kv, &Command::Delete(DeleteRange { range: range.clone(), prev_kv: false }));
            was.push(None);
        } else {
            let value = n.to_string();
            apply(&mut kv, &Command::Put(Put { value: value.clone().into(), ..put("k") }));
            was.push(Some(value));
        }
    }
    let look = |kv: &Kv, from: usize| {
        for (at, expected) in was.iter().enumerate().skip(from) {
            for end in ["", "l"] {
                let range = Range {
                    range: KeyRange { end: Bytes::from(end), ..range.clone() },
                    revision: at as i64,
                    ..Range::default()
                };
                let units = std::cell::Cell::new(0);
                let counted = |cost: usize| {
                    units.set(units.get() + cost);
                    true
                };
                let kvs = kv.view().range_while(&range, &counted).unwrap().unwrap().kvs;
                let found: Vec<&[u8]> = kvs.iter().map(|kv| &kv.value[..]).collect();
                let expected: Vec<&[u8]> = expected.iter().map(String::as_bytes).collect();
                assert_eq!(found, expected, "at {at}");
                assert!(units.get() < 70, "{} look-ups at {at}", units.get());
            }
        }
    };
    look(&kv, 1);
    for compacted in [650, 702, 1_500] {
        apply(&mut kv, &Command::Compact { revision: compacted });
        look(&kv, compacted as usize);
        while kv.compact_step(100).unwrap() {}
        look(&kv, compacted as usize);
    }
}

/// Seed 2: chunks whose checksums hold over nonsense. What is in force stays as it is, or the snapshot fits.
#[test]
fn no_chunk_is_a_panic() {
    let mut rng = Rng::stream(2, "chunks");
    let mut kv = Kv::open(ShardId(1), stores(1).remove(0).open(None).unwrap()).unwrap();
    for n in 0..40_u8 {
        apply(&mut kv, &Command::Put(Put { key: vec![n % 7, 0, n].into(), ..Put::default() }));
        apply(&mut kv, &Command::LeaseGrant { id: i64::from(n) + 1, ttl: 9 });
    }
    let (good, base) = (kv.view().export(None, usize::MAX).unwrap().0, kv.applied());
    let base = Base { id: base, membership: Bytes::new() };
    let (mut taken, mut refused) = (0, 0);
    for round in 0..4_000 {
        let mut body = good[9..].to_vec();
        for _ in 0..rng.between(1, 3) {
            let at = rng.below(body.len() as u64) as usize;
            match rng.below(4) {
                0 => body[at] ^= 1 << rng.below(8),
                1 => body.truncate(at.max(1)),
                2 => {
                    let end = (at + 10).min(body.len());
                    body[at..end].fill(0xff);
                }
                _ => body.extend((0..rng.below(9)).map(|_| rng.next_u64() as u8)),
            }
        }
        let mut chunk = vec![super::transfer::VERSION];
        chunk.extend((body.len() as u32).to_le_bytes());
        chunk.extend(crc32c::crc32c(&body).to_le_bytes());
        chunk.append(&mut body);
        let digest = kv.view().digest();
        kv.import_begin().unwrap();
        let done = kv.import_chunk(0, &chunk).and_then(|()| kv.import_finish(base.clone()));
        if done.is_ok() {
            taken += 1;
            kv.import_begin().unwrap();
            kv.import_chunk(0, &good).unwrap();
            kv.import_finish(base.clone()).unwrap();
        } else {
            refused += 1;
            assert_eq!(kv.view().digest(), digest, "seed 2, round {round}");
        }
        while kv.compact_step(10_000).unwrap() {}
    }
    assert!(taken > 50 && refused > 1_000, "{taken} taken, {refused} refused");
    let (from, to) = all_of(kv.keys, None);
    let range = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
    let everything = kv.state.scan((Bound::Unbounded, Bound::Unbounded)).count();
    assert_eq!(
        everything,
        kv.state.scan(range).count() + 1,
        "of what was refused something stays (but the pointer)"
    );
    assert_eq!(pairs(&kv, table::LATEST), 40);
}
