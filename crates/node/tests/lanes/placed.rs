//! Shards of tables at three nodes: made and dropped where shard 1's state says so, led in turn, and begun by nodes that come or have lost
//! their disk.

use super::*;

/// Shards are made by an entry of shard 1: every node makes their groups, leaders are spread, each has its table's definition, and
/// holds what it is told; a start finds all of them.
#[test]
fn shards_are_made_where_the_state_says_so() {
    let mut cluster = Cluster::new(0);
    let shards = cluster.table("t", 9);
    assert_eq!(shards, (2..11).map(ShardId).collect::<Vec<_>>());
    cluster.pass(3_000);
    for id in 1..=NODES {
        let led = shards.iter().filter(|&&shard| cluster.leaders(shard) == [id]).count();
        assert_eq!(led, 3, "led by node {id}");
    }
    for (n, &shard) in shards.iter().enumerate() {
        cluster.ask(n as u64 % NODES + 1, shard, put_item(n));
    }
    // One that missed it all finds the groups by the state of shard 1; what it had before is there.
    cluster.kill(2);
    cluster.pass(3_000);
    cluster.ask(1, KV, create("u", 4));
    let more = (11..15).map(ShardId);
    cluster.start(2);
    cluster.pass(6_000);
    for (n, &shard) in shards.iter().enumerate() {
        let answer = cluster.ask(2, shard, get_item(n));
        let held = format!("{:?}", answer.body);
        assert!(held.contains(&format!("item {n}")), "shard {shard} at node 2: {held}");
    }
    for shard in more.chain(shards) {
        assert!((1..=NODES).all(|id| cluster.has(id, shard)), "shard {shard}");
        assert_eq!(
            cluster.leaders(shard),
            [u64::from(shard.get()) % NODES + 1],
            "back to who is preferred: {shard}"
        );
    }
}

/// A node that comes back leads its share again though the others are never idle, and hold entries that it does not hold yet.
#[test]
fn leaders_are_spread_under_load() {
    let mut cluster = Cluster::new(0);
    let shards = cluster.table("t", 9);
    cluster.pass(3_000);
    cluster.kill(2);
    cluster.pass(3_000);
    cluster.start(2);
    let all = shards.clone();
    cluster.pass_busily(8_000, |cluster| {
        for (n, &shard) in all.iter().enumerate() {
            if let [leader] = cluster.leaders(shard)[..] {
                cluster.call(leader, shard, put_item(n));
            }
        }
    });
    for shard in shards {
        let preferred = u64::from(shard.get()) % NODES + 1;
        assert_eq!(cluster.leaders(shard), [preferred], "shard {shard}");
    }
}

/// Who asks a node for a shard that it does not have hears that it is not there, and not that it has no leader: so a door looks at its
/// map again, and need not fail.
#[test]
fn a_shard_that_is_not_here_is_told_of() {
    let mut cluster = Cluster::new(0);
    let answers = cluster.call(1, ShardId(9), put_item(1));
    cluster.pass(100);
    let answer = answers.lock().unwrap().pop();
    let stale = |refused: &Refused| *refused == Refused::Table(Refusal::StaleEpoch);
    assert!(matches!(&answer, Some(Err(Failure::Refused(refused, _))) if stale(refused)), "{answer:?}");
}

/// Shards that are dropped are let go at every node, also at one that is away meanwhile; nothing of them is left, and their numbers
/// are not given again.
#[test]
fn shards_that_are_dropped_leave_nothing() {
    let (mut cluster, first) = filled(4);
    cluster.kill(3);
    cluster.pass(3_000);
    cluster.ask(1, KV, command(What::Delete("t".into())));
    cluster.pass(3_000);
    cluster.start(3);
    cluster.pass(6_000);
    let second = cluster.table("t", 4);
    assert!(second.iter().all(|shard| !first.contains(shard)), "{second:?}");
    cluster.pass(3_000);
    for id in 1..=NODES {
        assert!(first.iter().all(|&shard| !cluster.has(id, shard)), "node {id}");
        let node = cluster.nodes[id as usize - 1].as_mut().unwrap();
        while node.sweeps(cluster.now) {}
        assert!(first.iter().all(|&shard| node.applier.kv(shard).is_none()), "node {id}");
    }
    // A node on its own with only its disk knows no more of them either.
    for id in 1..=NODES {
        cluster.kill(id);
        cluster.start(id);
        cluster.pass(3_000);
        assert!(first.iter().all(|&shard| !cluster.has(id, shard)), "node {id}");
        assert!(second.iter().all(|&shard| cluster.has(id, shard)), "node {id}");
    }
}

/// With whom the groups of a table begin stands in the entry that makes it. A member that joins later begins with the members that it was
/// told, not with those that there were, and makes the same of that entry as all others. (Seed 58 of the simulator saw two states.)
#[test]
fn a_member_that_joins_begins_groups_with_their_founders() {
    let mut cluster = Cluster::new(0);
    cluster.table("t", 3);
    cluster.pass(3_000);
    cluster.join(4);
    cluster.pass(3_000);
    let of = |id: usize| {
        let node = cluster.nodes[id - 1].as_ref().unwrap();
        let placement = node.lane.view().tables().placement();
        let founders = Membership::decode(&placement.table("t").unwrap().founders).unwrap();
        let space = node.applier.kv(KV).unwrap();
        (founders, space.applied(), space.digest())
    };
    let (first, joined) = (of(1), of(4));
    assert_eq!(first.0.nodes(), (1..=NODES).map(NodeId).collect());
    assert_eq!(joined, first);
    assert!(
        cluster.shards.iter().all(|&shard| !cluster.has(4, shard)),
        "nothing moves to one without a vote"
    );
}

/// A member that is removed goes on, and is talked to, until no group has it any more: each may need it to let it go.
#[test]
fn who_is_removed_stays_until_groups_have_let_go() {
    let mut cluster = Cluster::new(0);
    let shards = cluster.table("t", 6);
    cluster.pass(3_000);
    cluster.come(4);
    cluster.pass(20_000);
    let (left, mut waited) = (NodeId(4), 0);
    let has = |node: &Node| {
        shards.iter().filter_map(|&shard| node.lane.core(shard)).any(|raft| raft.membership().contains(left))
    };
    assert!(cluster.nodes.iter().flatten().all(has), "it has its share");
    cluster.call(1, KV, Request::ChangeMembers(Change::Remove { id: left }));
    for _ in 0..2_000 {
        cluster.pass(10);
        cluster.sweep();
        for node in cluster.nodes.iter().flatten().filter(|node| node.id != left) {
            let removed = !node.lane.raft().committed_membership().contains(left);
            waited += u64::from(removed && has(node));
            assert!(
                !(has(node) && node.lane.roster().was_removed(left)),
                "node {} has forgotten it",
                node.id
            );
        }
    }
    assert!(waited > 0, "the groups follow later");
    for node in cluster.nodes.iter().flatten().filter(|node| node.id != left) {
        assert!(!has(node) && node.lane.roster().was_removed(left), "node {}", node.id);
    }
}

/// A node that has lost its disk says so until every group has healed that may have been on it: also those that are still to begin, since
/// shard 1 heals first, and a start in between must know of the loss.
#[test]
fn a_lost_disk_is_one_until_all_groups_have_healed() {
    let (mut cluster, shards) = filled(6);
    cluster.kill(3);
    cluster.disks[2] = FaultyDisk::new(77);
    cluster.start_among(3, Membership::of_voters((1..=NODES).map(NodeId)), true);
    let sound = |cluster: &Cluster| {
        let lane = &cluster.nodes[2].as_ref().unwrap().lane;
        let healed = |&shard: &ShardId| lane.core(shard).is_some_and(|raft| !raft.disk_lost());
        let all = shards.iter().all(healed) && healed(&KV);
        assert!(lane.disk_lost() || all, "a group of {shards:?} has not healed");
        let begun = shards.iter().all(|&shard| lane.core(shard).is_some());
        assert!(begun || !lane.roster().sure, "it tells who is removed, and knows not what groups need");
        all
    };
    let pass = |cluster: &mut Cluster| {
        for _ in 0..500 {
            cluster.now = cluster.now + Duration::from_millis(10);
            cluster.settle_and(|cluster| _ = sound(cluster));
        }
    };
    // Shard 1 heals before the others begin, which wait for a checkpoint.
    cluster.nodes[2].as_mut().unwrap().slow = Some(Vec::new());
    pass(&mut cluster);
    assert!(!cluster.nodes[2].as_ref().unwrap().lane.raft().disk_lost() && !sound(&cluster));
    let mut slow = cluster.nodes[2].take().unwrap();
    for sealed in slow.slow.take().unwrap() {
        slow.output(cluster.now, sealed);
    }
    cluster.nodes[2] = Some(slow);
    pass(&mut cluster);
    assert!(sound(&cluster) && !cluster.nodes[2].as_ref().unwrap().lane.disk_lost(), "it has healed");
}
