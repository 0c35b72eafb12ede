//! How requests were served, as real nodes tell it.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{PATIENCE, Up, nodes, output};
use quorate_proto::etcdserverpb as pb;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
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

/// The headers of what the DynamoDB door of a node answers to an operation, by their names.
fn told_by_door(node: &Value, operation: &str, body: &Value) -> BTreeMap<String, String> {
    let host = node["dynamo"].as_str().unwrap().trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nOrigin: http://elsewhere\r\nX-Amz-Target: \
         DynamoDB_20120810.{operation}\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Date: 20260101T000000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/dynamodb/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=0\r\nquorate-evidence: 1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{operation}: {answer}");
    let headers = answer.split("\r\n\r\n").next().unwrap().lines().skip(1);
    headers
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// Claim: the DynamoDB door names the shard of which it tells, and where the asked node has no replica of it, who has answered in its place,
/// and nothing else; scripts of other origins may see all of it.
#[test]
fn a_door_names_the_shard_and_who_answered_for_it() {
    let up = Up::start(&["--ephemeral"]);
    let nodes = nodes(&up.ready());
    let at = ["--endpoint", nodes[0]["dynamo"].as_str().unwrap()];
    let make = ["space", "create", "single", "--key", "p:S", "--shards", "6", "--survive", "0"];
    let (code, said, wrong) = output(&[&make[..], &at].concat());
    assert_eq!(code, 0, "{said}{wrong}");
    // Each node has about two of the shards, alone.
    let mut home: BTreeMap<String, String> = BTreeMap::new();
    let (mut here, mut passed) = (0, 0);
    for n in 0..30 {
        let key = json!({ "p": { "S": format!("item {n}") } });
        for node in &nodes {
            let put = told_by_door(node, "PutItem", &json!({ "TableName": "single", "Item": key }));
            let get = json!({ "TableName": "single", "Key": key, "ConsistentRead": true });
            let get = told_by_door(node, "GetItem", &get);
            for told in [&put, &get] {
                let seen = told["access-control-expose-headers"].clone();
                let all = told.keys().filter(|name| name.starts_with("quorate-"));
                assert!(all.into_iter().all(|name| seen.contains(name.as_str())), "{told:?}");
                let asked = node["id"].to_string();
                let served = match (told.get("quorate-passed-on"), told.get("quorate-node")) {
                    (Some(by), None) => {
                        passed += 1;
                        assert!(*by != asked && !told.contains_key("quorate-term"), "{told:?}");
                        by
                    }
                    (None, Some(by)) => {
                        here += 1;
                        assert_eq!((by, told["quorate-voters"].as_str()), (&asked, "1"), "{told:?}");
                        by
                    }
                    other => panic!("{other:?}: {told:?}"),
                };
                // The same one for all of a shard, whoever is asked.
                let known = home.entry(told["quorate-shard"].clone()).or_insert_with(|| served.clone());
                assert_eq!(known, served, "{told:?}");
            }
        }
    }
    assert_eq!(home.len(), 6, "{home:?}");
    assert_eq!(passed, 2 * here, "two of three nodes have no replica");
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}
