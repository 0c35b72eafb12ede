//! Nodes that are to leave: the word outlives restarts and snapshots, can be taken back, and no new shard begins on them.

use super::*;
use crate::table::Placement;
use quorate_protocol::raft::Membership;

fn ids(nodes: &[u64]) -> BTreeSet<NodeId> {
    nodes.iter().map(|&node| NodeId(node)).collect()
}

pub(super) fn made(run: &mut Run, name: &str, voters: &[u64]) {
    let definition = Definition {
        tags: vec![(SHARDS_TAG.into(), "4".into())],
        globals: Vec::new(),
        stream: None,
        attributes: vec![("p".into(), Scalar::S), ("q".into(), Scalar::N), ("l".into(), Scalar::N)],
        ..definition(name)
    };
    let founders = Membership::of_voters(ids(voters)).encode();
    run.command(What::Place { definition: Box::new(definition), founders }, EPOCH).unwrap();
}

fn leave(run: &mut Run, node: u64, leaves: bool) {
    let what = What::Leave { node: NodeId(node), leaves };
    assert_eq!(run.command(what, EPOCH), Ok(Reply::Placed));
}

pub(super) fn placement(run: &mut Run) -> Placement {
    (**run.replicas[0].kv().placement()).clone()
}

/// How many shards a node has something of, and how many of these cannot go.
fn left(run: &mut Run, node: u64, voters: &[u64]) -> (usize, usize) {
    let (placement, voters) = (placement(run), ids(voters));
    let leaver = placement.leaver(NodeId(node), &voters);
    assert_eq!(leaver.since.is_some(), placement.leaving().contains(&NodeId(node)));
    (leaver.shards, leaver.stuck)
}

#[test]
fn who_is_to_leave_is_known_until_that_is_taken_back() {
    let mut run = Run::new(5);
    made(&mut run, "t", &[1, 2, 3]);
    assert_eq!(left(&mut run, 3, &[1, 2, 3]), (4, 4));
    assert_eq!(left(&mut run, 3, &[1, 2, 3, 4]), (4, 0));
    leave(&mut run, 3, true);
    let since = placement(&mut run).leaver(NodeId(3), &ids(&[1, 2, 3])).since;
    leave(&mut run, 3, true);
    assert_eq!(placement(&mut run).leaver(NodeId(3), &ids(&[1, 2, 3])).since, since, "it counts once");
    assert_eq!(left(&mut run, 3, &[1, 2, 3, 4]), (4, 0));
    assert_eq!(left(&mut run, 3, &[1, 2, 3]), (4, 4), "there is nobody to take it");
    // Shards that are made now begin elsewhere, where there are enough others.
    made(&mut run, "u", &[1, 2, 3, 4]);
    assert_eq!(left(&mut run, 3, &[1, 2, 3, 4]).0, 4);
    made(&mut run, "v", &[1, 2, 3]);
    assert_eq!(left(&mut run, 3, &[1, 2, 3, 4]).0, 8);
    // Of those on the way one is half gone.
    let since = placement(&mut run).home(ShardId(2)).unwrap().at.get();
    let replicas = vec![NodeId(1), NodeId(2), NodeId(4)];
    run.command(What::Move { shard: ShardId(2), since, replicas }, EPOCH).unwrap();
    let leaver = placement(&mut run).leaver(NodeId(3), &ids(&[1, 2, 3, 4]));
    assert_eq!((leaver.shards, leaver.moving), (8, 1));

    let known = placement(&mut run);
    let replica = &mut run.replicas[0];
    replica.kv().seal().unwrap().run(1).unwrap();
    replica.kv = None;
    replica.kv = Some(Kv::open(SHARD, replica.store.open(Some(1)).unwrap()).unwrap());
    assert_eq!(placement(&mut run), known, "behind a restart");
    let view = run.replicas[0].kv().view();
    let base = Base { id: view.applied(), membership: view.membership().clone() };
    let other = run.replicas[1].kv();
    other.import_begin().unwrap();
    let (chunk, rest) = view.export(None, 1 << 20).unwrap();
    assert_eq!(rest, None);
    other.import_chunk(0, &chunk).unwrap();
    other.import_finish(base).unwrap();
    assert_eq!(**other.placement(), known, "from a snapshot");
    assert_eq!(other.view().digest(), view.digest());

    leave(&mut run, 3, false);
    leave(&mut run, 3, false);
    assert!(placement(&mut run).leaving().is_empty());
    for node in 10..74 {
        leave(&mut run, node, true);
    }
    let many = run.command(What::Leave { node: NodeId(9), leaves: true }, EPOCH);
    assert!(matches!(many, Err(Refusal::Limit(_))), "{many:?}");
}
