//! Zones of nodes: where a table's shards begin follows from them as they were then, over restarts and snapshots.

use super::leaving::{made, placement};
use super::*;
use crate::table::Close;

fn named(run: &mut Run, node: u64, zone: &str) -> Result<Reply, Refusal> {
    run.command(What::Zone { node: NodeId(node), zone: zone.into() }, EPOCH)
}

/// On which nodes each shard of a table is.
fn on(run: &mut Run, table: &str) -> Vec<Vec<u64>> {
    let placement = placement(run);
    let shards = placement.table(table).unwrap().shards();
    let homes = shards.map(|shard| placement.home(shard).unwrap().wanted());
    homes.map(|nodes| nodes.into_iter().map(NodeId::get).collect()).collect()
}

#[test]
fn shards_begin_in_different_zones() {
    let mut run = Run::new(6);
    made(&mut run, "before", &[1, 2, 3, 4]);
    let before = on(&mut run, "before");
    assert_eq!(before, [[1, 2, 3], [2, 3, 4], [1, 3, 4], [1, 2, 4]], "in turn");
    for (node, zone) in [(1, "a"), (2, "b"), (3, "c"), (4, "x"), (4, "a"), (4, "a")] {
        assert_eq!(named(&mut run, node, zone), Ok(Reply::Placed));
    }
    assert_eq!(on(&mut run, "before"), before, "where they began stands");
    let close = [Close { table: "before".into(), shards: 2, most: 2 }];
    assert_eq!(placement(&mut run).close_shards(), close);
    made(&mut run, "behind", &[1, 2, 3, 4]);
    let behind = on(&mut run, "behind");
    assert_eq!(behind, [[1, 2, 3], [2, 3, 4], [2, 3, 4], [1, 2, 3]]);
    assert_eq!(placement(&mut run).close_shards(), close);
    // What is named anew later changes nothing about where they began.
    assert_eq!(named(&mut run, 4, "d"), Ok(Reply::Placed));

    let known = placement(&mut run);
    let replica = &mut run.replicas[0];
    replica.kv().seal().unwrap().run(1).unwrap();
    replica.kv = None;
    replica.kv = Some(Kv::open(SHARD, replica.store.open(Some(1)).unwrap()).unwrap());
    assert_eq!(placement(&mut run), known, "behind a restart");
    assert_eq!(on(&mut run, "behind"), behind);
    let view = run.replicas[0].kv().view();
    let base = Base { id: view.applied(), membership: view.membership().clone() };
    let other = run.replicas[1].kv();
    other.import_begin().unwrap();
    let (chunk, rest) = view.export(None, 1 << 20).unwrap();
    assert_eq!(rest, None);
    other.import_chunk(0, &chunk).unwrap();
    other.import_finish(base).unwrap();
    assert_eq!(**other.placement(), known, "from a snapshot");

    assert_eq!(named(&mut run, 4, ""), Ok(Reply::Placed));
    assert_eq!(named(&mut run, 4, ""), Ok(Reply::Placed));
    assert_eq!(placement(&mut run).zones().name(NodeId(4)), None);
    assert!(matches!(named(&mut run, 1, "no zone"), Err(Refusal::Validation(_))));
    assert_eq!(placement(&mut run).zones().name(NodeId(1)), Some("a"));
    for node in 10..1_031 {
        assert_eq!(named(&mut run, node, "z"), Ok(Reply::Placed));
    }
    assert!(matches!(named(&mut run, 2_000, "z"), Err(Refusal::Limit(_))));
    assert_eq!(named(&mut run, 10, "y"), Ok(Reply::Placed), "it has one");
}
