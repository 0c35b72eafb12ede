//! How requests were served, as real nodes tell it.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{PATIENCE, Up, output};
use quorate_proto::etcdserverpb as pb;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tonic::metadata::KeyAndValueRef;
use tonic::transport::{Channel, Endpoint};

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

fn asking<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("quorate-evidence", tonic::metadata::MetadataValue::from_static("1"));
    request
}

/// The evidence in an answer's headers, by header.
fn told<T>(answer: &tonic::Response<T>) -> BTreeMap<String, String> {
    let pairs = answer.metadata().iter().filter_map(|pair| match pair {
        KeyAndValueRef::Ascii(name, value) => Some((name.to_string(), value.to_str().ok()?.to_string())),
        KeyAndValueRef::Binary(..) => None,
    });
    pairs.filter_map(|(name, value)| Some((name.strip_prefix("quorate-")?.to_string(), value))).collect()
}

fn parts(told: &BTreeMap<String, String>) -> BTreeMap<&str, u64> {
    let parts = told["micros"].split(',').map(|part| part.split_once('=').unwrap());
    parts.map(|(part, micros)| (part, micros.parse().unwrap())).collect()
}

async fn channel(node: &Value) -> Channel {
    let url = node["etcd"].as_str().unwrap().to_string();
    Endpoint::from_shared(url).unwrap().connect().await.unwrap()
}

/// Claim: changes of members, also through a follower, tell of their entry; what waits for the node's own upkeep or for a new leader says
/// how long; each kind of stream says once who serves it and what its messages rest on.
#[tokio::test]
async fn members_upkeep_and_streams_tell_how_they_were_served() {
    let up = Up::start(&["--ephemeral"]);
    let ready = up.ready();
    let nodes = ready["nodes"].as_array().unwrap();
    let leader = nodes.iter().find(|node| node["role"] == "leader").unwrap();
    let follower = nodes.iter().find(|node| node["role"] != "leader").unwrap();
    let (at_leader, at_follower) = (channel(leader).await, channel(follower).await);

    for (channel, url, node) in
        [(&at_leader, "http://127.0.0.1:9", leader), (&at_follower, "http://127.0.0.1:10", follower)]
    {
        let mut cluster = pb::cluster_client::ClusterClient::new(channel.clone());
        // A cluster that has just begun takes no change before all hear each other.
        let end = Instant::now() + PATIENCE;
        let added = loop {
            let add = pb::MemberAddRequest { peer_ur_ls: vec![url.into()], is_learner: true };
            match cluster.member_add(asking(add)).await {
                Ok(added) => break added,
                Err(status) => assert!(Instant::now() < end, "{status}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let told = told(&added);
        assert_eq!((told["mode"].as_str(), told["voters"].as_str()), ("log", "3"), "{told:?}");
        assert_eq!(
            (&told["node"], &told["leader"]),
            (&node["id"].to_string(), &leader["id"].to_string()),
            "{told:?}"
        );
        assert!(told["acks"].split(',').count() >= 2 && told["index"] != "0", "{told:?}");
        assert!(parts(&told)["replicate"] > 0, "{told:?}");
        let id = added.into_inner().member.unwrap().id;
        cluster.member_remove(asking(pb::MemberRemoveRequest { id })).await.unwrap();
    }

    let mut kv = pb::kv_client::KvClient::new(at_follower.clone());
    let put = pb::PutRequest { key: "k".into(), ..Default::default() };
    let revision = kv.put(put).await.unwrap().into_inner().header.unwrap().revision;
    let compacted = kv.compact(asking(pb::CompactionRequest { revision, physical: true })).await.unwrap();
    let of_compaction = told(&compacted);
    assert_eq!(of_compaction["mode"], "log", "{of_compaction:?}");
    let parts_of = parts(&of_compaction);
    assert!(parts_of.contains_key("upkeep") && parts_of["total"] >= parts_of["upkeep"], "{of_compaction:?}");

    let mut maintenance = pb::maintenance_client::MaintenanceClient::new(at_follower.clone());
    let defragmented = told(&maintenance.defragment(asking(pb::DefragmentRequest {})).await.unwrap());
    assert_eq!(defragmented["mode"], "local", "{defragmented:?}");
    assert!(parts(&defragmented)["upkeep"] <= parts(&defragmented)["total"], "{defragmented:?}");

    let mut leases = pb::lease_client::LeaseClient::new(at_follower.clone());
    let mut watch = pb::watch_client::WatchClient::new(at_follower.clone());
    let keep_alive = leases.lease_keep_alive(asking(tokio_stream::empty())).await.unwrap();
    let watched = watch.watch(asking(tokio_stream::pending())).await.unwrap();
    let snapshot = maintenance.snapshot(asking(pb::SnapshotRequest {})).await.unwrap();
    for (stream, mode) in
        [(told(&keep_alive), "leader"), (told(&watched), "local"), (told(&snapshot), "local")]
    {
        assert_eq!(
            (stream["mode"].as_str(), &stream["node"]),
            (mode, &follower["id"].to_string()),
            "{stream:?}"
        );
        assert_eq!(stream["leader"], leader["id"].to_string(), "{stream:?}");
    }

    let to = follower["id"].as_u64().unwrap();
    let mut maintenance = pb::maintenance_client::MaintenanceClient::new(at_leader.clone());
    let moved =
        told(&maintenance.move_leader(asking(pb::MoveLeaderRequest { target_id: to })).await.unwrap());
    assert_eq!((moved["mode"].as_str(), &moved["leader"]), ("local", &to.to_string()), "{moved:?}");
    assert!(parts(&moved).contains_key("move"), "{moved:?}");
}
