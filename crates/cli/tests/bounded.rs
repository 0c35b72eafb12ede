//! Plain reads of a table that bounds their staleness, on real nodes.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::tables::Table;
use crate::common::{Up, eventually, nodes, output, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The status of an answer, its headers and its body.
struct Answer(u16, BTreeMap<String, String>, Value);

/// Asks a node for an item, with headers of one's own.
fn get(node: &Value, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let address = text(node, "dynamo").trim_start_matches("http://").to_string();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body = body.to_string();
    let more: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let more = more.concat();
    // A signature must be there, and without keys need not be right.
    let signed = "x-amz-date: 20260101T000000Z\r\nauthorization: AWS4-HMAC-SHA256 \
                  Credential=any/20260101/local/dynamodb/aws4_request, SignedHeaders=host;x-amz-date, Signature=0";
    let target = "x-amz-target: DynamoDB_20120810.GetItem\r\ncontent-type: application/x-amz-json-1.0";
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: {address}\r\n{target}\r\n{signed}\r\nquorate-evidence: 1\r\n{more}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Answer(status, headers, serde_json::from_str(body).unwrap())
}

/// Claim: at each node a plain read is answered by the node alone and says how old it is; a consistent one is not; a bound that clocks
/// cannot prove is kept by asking the leader, with a word of why; a bound beyond the table's, and what is none, are refused.
#[test]
fn plain_reads_keep_the_bound_of_their_table() {
    let up = Up::start(&["--ephemeral"]);
    let ready = up.ready();
    let nodes = nodes(&ready);
    let endpoint = text(&nodes[0], "dynamo");
    for (name, shards) in [("one", "1"), ("four", "4")] {
        let args = ["space", "create", name, "--key", "k:S", "--shards", shards, "--staleness", "5s"];
        let (code, _, stderr) = output(&[&args[..], &["--endpoint", endpoint]].concat());
        assert_eq!(code, 0, "{stderr}");
        let (_, told, _) = output(&["space", "describe", name, "--endpoint", endpoint]);
        assert!(told.contains("a staleness of 5s at most"), "{told}");
        let mut table = Table::at(name, &[endpoint]);
        table.ask(0, "PutItem", json!({ "Item": { "k": { "S": "a" }, "v": { "N": "7" } } }));
        let key = json!({ "TableName": name, "Key": { "k": { "S": "a" } } });
        let mut consistent = key.clone();
        consistent["ConsistentRead"] = json!(true);
        for node in &nodes {
            eventually("a plain read is the node's own", || {
                let Answer(status, headers, body) = get(node, &key, &[]);
                let of = |name: &str| headers.get(name).map_or("", String::as_str);
                let own = status == 200 && of("quorate-mode") == "bounded";
                if own {
                    let age: u64 = of("quorate-staleness").parse().unwrap();
                    assert!((500..=5_000).contains(&age), "{headers:?}");
                    assert!(of("quorate-closed").parse::<u64>().unwrap() > 1_700_000_000_000, "{headers:?}");
                }
                own && body["Item"]["v"]["N"] == "7"
            });
            let Answer(_, headers, body) = get(node, &consistent, &[]);
            assert!(["leader", "read-index"].contains(&headers["quorate-mode"].as_str()), "{headers:?}");
            assert_eq!(body["Item"]["v"]["N"], "7");
            let Answer(_, headers, body) = get(node, &key, &[("quorate-staleness", "300ms")]);
            assert_eq!(headers["quorate-bound-missed"], "too-old", "{headers:?}");
            assert!(["leader", "read-index"].contains(&headers["quorate-mode"].as_str()), "{headers:?}");
            assert_eq!(body["Item"]["v"]["N"], "7");
            for (value, says) in
                [("6s", "above what the table allows: 5000 ms"), ("soon", "cannot be \"soon\"")]
            {
                let Answer(status, _, body) = get(node, &key, &[("quorate-staleness", value)]);
                assert!(status == 400 && body["message"].as_str().unwrap().contains(says), "{body}");
            }
        }
    }
}
