//! A node that is slow and nothing else: no fault that anybody votes about, and still it should lead nothing.

use quorate_base::NodeId;
use quorate_base::time::Duration;
use quorate_node::api::Request;
use quorate_sim::{Knobs, World};
use quorate_wire::kv::{Command, Put};
use quorate_wire::table::{self, Definition, EPOCH, KeyNames, SHARDS_TAG, Scalar, What};

const GROUPS: u32 = 6;

/// Three nodes without other faults, and a table of so many shards.
fn world(seed: u64) -> World {
    let quiet = Knobs { nodes: 3, drop: 0, duplicate: 0, late: false, ..Knobs::draw(seed) };
    let flush_max = Duration::from_millis(5);
    let mut world = World::new(seed, Knobs { groups: GROUPS, members: false, flush_max, ..quiet });
    (1..=3).for_each(|n| world.start(NodeId(n)));
    let end = world.now + Duration::from_secs(10);
    while world.leader().is_none() {
        assert!(world.now < end, "no leader in 10 s");
        world.step().expect("a sound world");
    }
    let definition = Definition {
        name: "t".into(),
        attributes: vec![("k".into(), Scalar::S)],
        keys: KeyNames { hash: vec!["k".into()], range: Vec::new() },
        tags: vec![(SHARDS_TAG.into(), GROUPS.to_string())],
        ..Definition::default()
    };
    let what = What::Create(Box::new(definition));
    let create = Command::Table(Box::new(table::Command { epoch: EPOCH, now: 1_000, what }));
    let leader = world.leader().expect("a leader");
    world.call(leader, Request::Write(create), Box::new(drop));
    world
}

/// Time passes while somebody writes: without a write nobody knows how long flushes take.
fn pass(world: &mut World, seconds: u64) {
    for n in 0..seconds * 5 {
        let put = Put { key: "k".into(), value: "v".into(), ..Put::default() };
        world.call(NodeId(1 + n % 3), Request::Write(Command::Put(put)), Box::new(drop));
        let end = world.now + Duration::from_millis(200);
        while world.now < end {
            world.step().expect("a sound world");
        }
    }
}

/// Claim: a node whose flushes take many times longer than the others' hands over all that it leads within seconds; it gets its share back
/// only when its disk has been well for long. Seeds 0 to 2, each node in turn.
#[test]
fn who_has_a_gray_disk_leads_nothing_before_it_is_well_for_long() {
    for seed in 0..3 {
        let (mut world, gray) = (world(seed), NodeId(seed + 1));
        let leads = |world: &World| [1, 2, 3].map(|n| world.leads_others(NodeId(n)));
        pass(&mut world, 20);
        assert_eq!(leads(&world), [2, 2, 2], "seed {seed}");
        let begun = world.now;
        world.gray_disk(gray, Duration::from_millis(300));
        pass(&mut world, 15);
        let led = leads(&world);
        assert_eq!(
            (world.leads_others(gray), led.iter().sum::<usize>()),
            (0, GROUPS as usize),
            "seed {seed}: {led:?}"
        );
        assert_ne!(world.leader(), Some(gray), "seed {seed}: shard 1, too");
        world.gray_disk(gray, Duration::ZERO);
        pass(&mut world, 12);
        assert_eq!(world.leads_others(gray), 0, "seed {seed}: it was well for a moment");
        pass(&mut world, 25);
        assert_eq!(leads(&world), [2, 2, 2], "seed {seed}, {:?} later", world.now.since(begun));
    }
}
