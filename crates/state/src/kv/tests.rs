use super::layout::{PREFIX, table};
use super::{Kv, all_of};
use crate::testing;
use bytes::Bytes;
use quorate_base::{Entry, EntryId, EntryKind, NodeId, ShardId};
use quorate_faulty::FaultyDisk;
use quorate_storage::journal::Identity;
use quorate_storage::memory::MemoryStore;
use quorate_storage::state::StateStore;
use quorate_wire::command;
use quorate_wire::kv::{Command, DeleteRange, KeyRange, Op, Put, Range, Refused, SortOrder, SortTarget, Txn};
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
    let id = EntryId { index: kv.applied().index.next(), ..kv.applied() };
    let data = command::encode(NodeId(1), 1, command);
    kv.apply(&Entry { id, kind: EntryKind::Command, data }).unwrap().outcome.unwrap();
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
    assert_eq!((pairs(&kv, table::LATEST), pairs(&kv, table::OLD), pairs(&kv, table::EVENT)), (10, 100, 110));
    let revision = kv.revision();
    apply(&mut kv, &Command::Compact { revision });
    while kv.compact_step(7).unwrap() {}
    // The event of the compacted revision stays, with its tombstone and the version it replaced.
    assert_eq!((pairs(&kv, table::LATEST), pairs(&kv, table::OLD), pairs(&kv, table::EVENT)), (10, 2, 1));
    let swept = kv.view().sizes();
    assert_eq!(swept.1, full.1);
    assert!(swept.0 < swept.1 + 200, "{swept:?} after {full:?}");
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
