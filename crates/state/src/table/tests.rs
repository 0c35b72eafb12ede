//! The machine of tables held against maps: random commands, three replicas of their own pace, and after each command the
//! answer, at times every read, is what the maps say. Replicas restart from checkpoints and take snapshots from each other,
//! and their digests and figures agree.

mod adopted;
mod asked;
mod closing;
mod commit;
mod compare;
mod feeds;
mod filtered;
mod held;
mod kept;
mod laid;
mod leaving;
mod model;
mod operations;
mod run;
mod tenants;
mod zones;

use compare::*;
use model::*;
use run::*;

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
        let get = Get::of("t", key_item(&key));
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
    let get = Read::Get(vec![Get::of("t", key_item(&("p".into(), 1)))]);
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
        let shard = block
            .shard_of(&quorate_item::Key { partition: n.to_be_bytes().to_vec(), sort: Vec::new() })
            .unwrap();
        held[(shard.get() - block.first) as usize] += 1;
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
