//! A table that is divided by directory, on real nodes: what commands say of it, tenants that move while they are written and while
//! nodes are killed, transactions with a token over a move, and an export that is imported.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn item(c: &str, n: usize, v: &str) -> Value {
    json!({ "c": { "S": c }, "n": { "N": n.to_string() }, "v": { "S": v } })
}

fn scanned(table: &mut Table, node: usize) -> Vec<Value> {
    table.pages(node, "Scan", json!({ "ConsistentRead": true, "Limit": 50 }))
}

/// Claim: tenants lie where the directory says, at every node, and are moved by a command while they are written; nothing is lost, nothing is
/// written twice, and so it stays when all were started again, one was killed in a move, and in what is imported of an export.
#[test]
fn tenants_move_while_they_are_written() {
    let _turn = one_at_a_time();
    let scratch = Scratch::new("tenants");
    let data = scratch.path("data");
    let up = Up::start(&["--data", &data, "--restart"]);
    let ready = up.ready();
    let at = nodes(&ready);
    let (code, _, wrong) = space(&at[0], &["create", "alone", "--partition-by", "directory"]);
    assert!(code != 0 && wrong.contains("has several shards"), "{wrong}");
    let create = [
        "create",
        "accounts",
        "--key",
        "c:S",
        "--sort",
        "n:N",
        "--shards",
        "3",
        "--partition-by",
        "directory",
    ];
    let (code, told, wrong) = space(&at[0], &create);
    assert!(code == 0 && told["shards"] == 3, "{told} {wrong}");

    let mut table = table("accounts", &at);
    let (kind, told) = table.refused(1, "PutItem", json!({ "Item": item("acme", 0, "") }));
    assert!(
        kind == "ValidationException"
            && told.contains("has no tenant")
            && told.contains("quorate space assign"),
        "{told}"
    );
    for (n, tenant) in ["acme", "globex", "initech"].iter().enumerate() {
        let (code, told, wrong) = space(&at[n], &["assign", "accounts", tenant]);
        assert!(code == 0, "{wrong}");
        assert_eq!((&told["shard"], &told["moved"]), (&json!(n + 2), &json!(false)));
    }
    let (code, _, wrong) = space(&at[0], &["assign", "accounts", "acme", "--shard", "9"]);
    assert!(code != 0 && wrong.contains("the shards of table accounts are 2 to 4"), "{wrong}");
    for n in 0..600 {
        put(&mut table, n % 3, &item("acme", n, "before"));
    }
    put(&mut table, 0, &item("globex", 1, "g"));

    // Written at all nodes while it moves, and while a node is killed.
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, there) = (stop.clone(), at.clone());
    let writer = std::thread::spawn(move || {
        let mut table = super::table("accounts", &there);
        let mut last = std::collections::BTreeMap::new();
        for n in 0.. {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let (key, text) = (n * 7 % 700, n.to_string());
            eventually("a write is done", || {
                table.try_ask(n % 3, "PutItem", json!({ "Item": item("acme", key, &text) })).is_ok()
            });
            last.insert(key, text);
        }
        last
    });
    let token = json!({ "ClientRequestToken": "once", "TransactItems": [{ "Update": { "TableName": "accounts",
        "Key": { "c": { "S": "acme" }, "n": { "N": "9999" } }, "UpdateExpression": "ADD many :one",
        "ExpressionAttributeValues": { ":one": { "N": "1" } } } }] });
    eventually("a transaction is done", || table.try_ask(0, "TransactWriteItems", token.clone()).is_ok());
    for (n, shard) in ["3", "4", "2", "3"].iter().enumerate() {
        if n == 2 {
            let pid = ready["nodes"][1]["pid"].as_i64().unwrap();
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid as i32).unwrap(), Signal::KILL)
                .unwrap();
        }
        let ask = ["assign", "accounts", "acme", "--shard", shard, "--timeout", "90s"];
        let mut done = (1, Value::Null, String::new());
        eventually("a tenant has moved", || {
            done = space(&at[0], &ask);
            done.0 == 0
        });
        assert_eq!(done.1["shard"].to_string(), *shard, "{done:?}");
        // What was done once is not done again behind a move.
        eventually("a transaction is done", || {
            table.try_ask(n % 3, "TransactWriteItems", token.clone()).is_ok()
        });
    }
    stop.store(true, Ordering::Relaxed);
    let last = writer.join().unwrap();
    assert!(last.len() > 10, "{}", last.len());
    let many = json!({ "c": { "S": "acme" }, "n": { "N": "9999" }, "many": { "N": "1" } });
    let mut all: Vec<Value> = (0..700)
        .filter_map(|n| {
            let text = last.get(&n).map(String::as_str).or((n < 600).then_some("before"))?;
            Some(item("acme", n, text))
        })
        .collect();
    all.extend([many, item("globex", 1, "g")]);
    for node in 0..3 {
        eventually("a node answers", || {
            table.try_ask(node, "Scan", json!({ "Limit": 1, "ConsistentRead": true })).is_ok()
        });
        assert_eq!(scanned(&mut table, node), all);
    }
    let (_, told, _) = space(&at[0], &["tenants", "accounts"]);
    assert_eq!(told["tenants"][0], json!({ "Tenant": { "S": "acme" }, "Shard": 3 }));
    eventually("nothing is left where it was", || {
        let shards = shards(&at[0], "accounts");
        numbers(&shards, "ItemCount").iter().sum::<u64>() == all.len() as u64
            && numbers(&shards, "Tenants") == [0, 2, 1]
    });

    let dir = scratch.path("export");
    for args in [&["export", "accounts", &dir][..], &["import", &dir, "again"]] {
        let (code, _, wrong) = space(&at[0], args);
        assert_eq!(code, 0, "{args:?}: {wrong}");
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
    let up = Up::start(&["--data", &data]);
    let at = nodes(&up.ready());
    for name in ["accounts", "again"] {
        let mut table = super::table(name, &at);
        for node in 0..3 {
            assert_eq!(scanned(&mut table, node), all);
        }
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}
