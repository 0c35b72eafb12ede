//! Zones on real nodes: the replicas of a shard are kept in different ones, as soon as there are nodes that make it possible.

use super::{Running, made, one_at_a_time, shards, space};
use crate::common::{Scratch, Up, eventually, free_address, nodes, output, quorate, text};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Stdio;

/// Claim: of four nodes in three zones each shard has a replica in every zone, and the load is even within one.
/// The commands name the zones.
#[test]
fn four_nodes_in_three_zones() {
    let _turn = one_at_a_time();
    let up = Up::start(&["--ephemeral", "--nodes", "4", "--zones", "a,b,c"]);
    let nodes = nodes(&up.ready());
    let endpoint = text(&nodes[0], "etcd");
    eventually("the cluster knows the zones", || zones(endpoint) == ["a", "b", "c", "a"]);
    made(&nodes[0], "orders", "8");
    let placed = shards(&nodes[1], "orders");
    let on = |shard: &Value, id: u64| shard["Replicas"].as_array().unwrap().contains(&json!(id));
    for shard in &placed {
        let each = on(shard, 2) && on(shard, 3) && (on(shard, 1) != on(shard, 4));
        assert!(each && shard["SharedZones"] == json!([]), "{shard}");
    }
    assert_eq!(placed.iter().filter(|shard| on(shard, 1)).count(), 4, "{placed:?}");
    let (_, said, _) = output(&["status", "--endpoints", endpoint]);
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines[0][3], lines[2][3], lines[4][3]), ("zone", "b", "a"), "{said}");
    let at = ["--endpoint", text(&nodes[0], "dynamo")];
    for command in ["shards", "describe"] {
        let (_, said, _) = output(&[&["space", command, "orders"], &at[..]].concat());
        assert!(said.ends_with("  zones: a (node 1, 4), b (node 2), c (node 3)\n"), "{said}");
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: where there are too few zones a shard has two replicas in one, and that is said; a node that comes in another
/// zone has them parted, and one that starts again in another zone is known to be there.
#[test]
fn replicas_are_parted_when_a_node_makes_it_possible() {
    let _turn = one_at_a_time();
    let scratch = Scratch::new("zones-part");
    let up = Up::start(&["--ephemeral", "--zones", "a,a,b"]);
    let nodes = nodes(&up.ready());
    assert_eq!(nodes.iter().map(|node| text(node, "zone")).collect::<Vec<_>>(), ["a", "a", "b"]);
    made(&nodes[0], "orders", "4");
    let endpoint = text(&nodes[0], "etcd").to_string();
    let close = || {
        let (_, said, _) = output(&["status", "--json", "--endpoints", &endpoint]);
        serde_json::from_str::<Value>(&said).unwrap()["moves"]["close"].clone()
    };
    let all = json!([{ "table": "orders", "shards": 4, "most": 2, "stay": 4 }]);
    eventually("all shards have two replicas in one zone", || close() == all);
    let (code, said, _) = output(&["status", "--endpoints", &endpoint]);
    assert!(
        code == 0
            && said.contains("zones: 4 shards of orders have two replicas in one zone; there are too few"),
        "{said}"
    );
    let (_, told, _) = space(&nodes[0], &["describe", "orders"]);
    assert_eq!(told["zones"][2], json!({ "Node": 3, "Zone": "b" }), "{told}");
    assert_eq!(told["close_shards"], 4, "{told}");

    let (etcd, peer, data) = (free_address(), free_address(), scratch.path("n4"));
    let (code, said, wrong) = output(&["node", "add", &peer, "--no-wait", "--endpoints", &endpoint]);
    assert_eq!(code, 0, "{said} {wrong}");
    let host = peer.rsplit_once(':').unwrap().0;
    assert!(said.trim_end().ends_with(&format!("--dynamo {host}:PORT --zone ZONE")), "{said}");
    let serve = |zone: &str| {
        let args =
            ["serve", "--json", "--join", &endpoint, "--data", &data, "--etcd", &etcd, "--peer", &peer];
        Running(quorate(&[&args[..], &["--zone", zone]].concat()).stdout(Stdio::null()).spawn().unwrap())
    };
    let fourth = serve("c");
    eventually("a replica in each zone", || {
        let apart = |shard: &Value| {
            let on: BTreeSet<u64> =
                shard["Replicas"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
            on.contains(&3) && on.contains(&4) && on.len() == 3
        };
        close() == json!([]) && shards(&nodes[0], "orders").iter().all(apart)
    });
    drop(fourth);
    let _fourth = serve("b");
    eventually("it is known to be elsewhere", || zones(&endpoint) == ["a", "a", "b", "b"] && close() == all);
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// The zones of the nodes, as `status` has them.
fn zones(endpoint: &str) -> Vec<String> {
    let (_, said, _) = output(&["status", "--json", "--endpoints", endpoint]);
    let report: Value = serde_json::from_str(&said).unwrap();
    report["nodes"].as_array().unwrap().iter().map(|node| text(node, "zone").to_string()).collect()
}
