//! Transactions whose outcome nobody can know for now, on real nodes.

use super::{item, made, one_at_a_time, shards, table};
use crate::common::{Up, eventually, nodes, output, pid, send, text};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Claim: where two nodes of five stand still, some shards have no quorum, and `status` names those, no others; transactions that wait for these are undecided, and `status` names
/// them with what they hold and for which shards they wait. Once the nodes go on there are none.
#[test]
fn what_waits_for_a_shard_without_a_quorum_is_named() {
    let _turn = one_at_a_time();
    let up = Up::start(&["--ephemeral", "--nodes", "5"]);
    let nodes = nodes(&up.ready());
    made(&nodes[0], "orders", "10");
    let mut all = table("orders", &nodes[..1]);
    // The gateway has begun.
    let both = |first: usize| {
        let put = |n: usize| json!({ "Put": { "TableName": "orders", "Item": item(n, 0, "v") } });
        json!({ "TransactItems": [put(first), put(first + 1)] })
    };
    eventually("a transaction is done", || all.try_ask(0, "TransactWriteItems", both(0)).is_ok());
    let without: BTreeSet<u64> = shards(&nodes[0], "orders")
        .iter()
        .filter(|shard| [4, 5].iter().all(|id| shard["Replicas"].as_array().unwrap().contains(&json!(id))))
        .map(|shard| shard["Shard"].as_u64().unwrap())
        .collect();
    assert_eq!(without.len(), 4);
    for node in &nodes[3..] {
        send(pid(node), Signal::STOP);
    }
    let undecided = |json: bool| {
        let args = ["status", "--timeout", "500ms", "--endpoints", text(&nodes[0], "etcd"), "--json"];
        output(&args[..if json { 6 } else { 5 }]).1
    };
    std::thread::scope(|scope| {
        for n in 1..12 {
            let nodes = &nodes[..1];
            scope.spawn(move || table("orders", nodes).try_ask(0, "TransactWriteItems", both(2 * n)));
        }
        eventually("some are undecided, and are named", || {
            let told: Value = serde_json::from_str(&undecided(true)).unwrap();
            let told = &told["undecided"];
            let named = |one: &Value| {
                let waits = one["waits_for"].as_array().unwrap();
                let lost =
                    |of: &Value| without.contains(&of["shard"].as_u64().unwrap()) && of["table"] == "orders";
                let held = one["holds"].as_array().unwrap();
                let whose = |of: &Value| text(&of["key"]["c"], "S").starts_with("customer ");
                !waits.is_empty() && waits.iter().all(lost) && !held.is_empty() && held.iter().all(whose)
            };
            let oldest = told["oldest_ms"].as_u64() > Some(2_000);
            told["count"].as_u64() > Some(0)
                && oldest
                && told["transactions"].as_array().unwrap().iter().any(named)
        });
    });
    let said = undecided(false);
    assert!(
        said.contains("undecided: ") && said.contains(" of orders, holds orders {\"c\":{\"S\":\"customer "),
        "{said}"
    );
    eventually("shards without a leader are named", || {
        let told: Value = serde_json::from_str(&undecided(true)).unwrap();
        let lost = told["leaderless"].as_array().unwrap();
        let whole = |of: &Value| {
            let advised = text(of, "advice").starts_with("start 1 of the members 4, 5 again");
            of["table"] == "orders"
                && of["silent"] == json!([4, 5])
                && advised
                && of["ms"].as_u64() > Some(2_000)
        };
        let named: BTreeSet<u64> = lost.iter().filter_map(|of| of["shard"].as_u64()).collect();
        named == without && lost.iter().all(whole)
    });
    let said = undecided(false);
    let first = without.first().unwrap();
    for words in [
        "unhealthy: 4 shards of tables have no leader: their items take no writes, and reads show old values at most",
        &format!("  shard {first} of orders has no leader for "),
        ", of which 4, 5 do not answer",
    ] {
        assert!(said.contains(words), "{said}");
    }
    for node in &nodes[3..] {
        send(pid(node), Signal::CONT);
    }
    eventually("all are brought to their end", || {
        let told: Value = serde_json::from_str(&undecided(true)).unwrap();
        let none = json!({ "count": 0, "oldest_ms": 0, "transactions": [] });
        told["undecided"] == none && told["leaderless"] == json!([])
    });
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}
