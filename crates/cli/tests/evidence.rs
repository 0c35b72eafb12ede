//! How requests were served, as real nodes tell it.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

mod common;

use common::{Up, output};
use serde_json::Value;

/// Runs a `kv` command at one node and gives its evidence.
fn evidence(node: &Value, args: &[&str]) -> Value {
    let etcd = node["etcd"].as_str().unwrap();
    let (code, stdout, stderr) =
        output(&[&["kv", "--json", "--evidence", "--endpoints", etcd], args].concat());
    assert_eq!(code, 0, "{stderr}");
    let last = stdout.lines().last().unwrap_or_else(|| panic!("nothing was said: {stderr}"));
    let line: Value = serde_json::from_str(last).unwrap();
    line["evidence"].clone()
}

fn acks(evidence: &Value) -> Vec<u64> {
    evidence["acks"].as_array().unwrap().iter().map(|ack| ack["node"].as_u64().unwrap()).collect()
}

/// Claim: all parts but the flush, which lies within another, sum up to the whole.
fn parts_sum_up(evidence: &Value) {
    let parts = evidence["micros"].as_object().unwrap();
    let sum: u64 = parts
        .iter()
        .filter(|(part, _)| !["flush", "total"].contains(&part.as_str()))
        .map(|(_, micros)| micros.as_u64().unwrap())
        .sum();
    let total = parts["total"].as_u64().unwrap();
    // Each part is rounded down to a microsecond.
    assert!(sum <= total && total - sum <= parts.len() as u64, "{evidence}");
    if let Some(flush) = parts.get("flush") {
        assert!(flush.as_u64() <= parts["replicate"].as_u64(), "{evidence}");
    }
    assert!(total <= evidence["client_micros"].as_u64().unwrap(), "{evidence}");
}

/// Claim: at the leader and at a follower a write and each kind of read say on whose word they rest, who answered, and how
/// long each part took.
#[test]
fn every_kind_of_request_tells_how_it_was_served() {
    let up = Up::start(&["--ephemeral"]);
    let ready = up.ready();
    let nodes = ready["nodes"].as_array().unwrap();
    let leader = nodes.iter().find(|node| node["role"] == "leader").unwrap();
    let follower = nodes.iter().find(|node| node["role"] != "leader").unwrap();
    let leads = leader["id"].as_u64().unwrap();

    let mut last = 0;
    for (node, args) in [
        (leader, &["put", "k", "v"][..]),
        (follower, &["put", "k", "w"]),
        (leader, &["del", "k"]),
        (follower, &["del", "k"]),
    ] {
        let told = evidence(node, args);
        assert_eq!((&told["node"], &told["leader"]), (&node["id"], &leader["id"]), "{told}");
        assert_eq!(told["mode"], "log", "{told}");
        let index = told["index"].as_u64().unwrap();
        assert!(
            index > last && told["applied"].as_u64() >= Some(index),
            "each has an entry of its own: {told}"
        );
        last = index;
        assert_eq!(told["voters"], 3, "{told}");
        let acks = acks(&told);
        assert!(acks.len() >= 2 && acks.iter().all(|node| (1..=3).contains(node)), "a majority: {told}");
        assert_eq!(told["micros"]["flush"].is_u64(), acks.contains(&leads), "{told}");
        assert_eq!(told["micros"]["forward"].is_u64(), node["id"] != leads, "{told}");
        parts_sum_up(&told);
    }
    for (node, args, mode) in [
        (leader, &["get", "k"][..], "leader"),
        (follower, &["get", "k"], "read-index"),
        (follower, &["get", "k", "--serializable"], "local"),
    ] {
        let told = evidence(node, args);
        assert_eq!((&told["node"], told["mode"].as_str()), (&node["id"], Some(mode)), "{told}");
        if mode == "local" {
            assert_eq!((&told["index"], acks(&told).len()), (&Value::Null, 0), "{told}");
        } else {
            assert!(
                told["index"].as_u64() >= Some(last) && told["applied"].as_u64() >= told["index"].as_u64()
            );
            assert!(acks(&told).len() >= 2 && acks(&told).contains(&leads), "{told}");
        }
        parts_sum_up(&told);
    }

    let etcd = follower["etcd"].as_str().unwrap();
    let (code, drawing, _) = output(&["kv", "put", "k", "v", "--evidence", "--endpoints", etcd]);
    assert_eq!(code, 0);
    for part in ["to the leader and back", "on the disk of node", "of 3 voters", "as seen from here"] {
        assert!(drawing.contains(part), "{part} is not in {drawing}");
    }
    // What was not asked for is not there, and a watch has none.
    let (_, plain, _) = output(&["kv", "put", "k", "v", "--endpoints", etcd]);
    assert_eq!(plain.lines().count(), 1, "{plain}");
    assert_eq!(output(&["kv", "watch", "k", "--evidence", "--endpoints", etcd]).0, 2);
}
