//! Tables of shards that are not divided by hash, on real nodes: what commands say of them, what clients see at each, over a restart of
//! all, and through an export.

use super::*;

const LETTERS: [&str; 4] = ["bee", "elk", "newt", "yak"];

fn event(c: &str, n: usize) -> Value {
    json!({ "c": { "S": c }, "n": { "N": n.to_string() }, "v": { "S": "v" } })
}

/// All that is in one, in the order of a scan.
fn scanned(table: &mut Table, node: usize) -> Vec<Value> {
    table.pages(node, "Scan", json!({ "ConsistentRead": true, "Limit": 7 }))
}

fn queried(table: &mut Table, node: usize, c: &str) -> Vec<Value> {
    let query = json!({ "KeyConditionExpression": "c = :c", "ConsistentRead": true, "Limit": 5,
        "ExpressionAttributeValues": { ":c": { "S": c } } });
    table.pages(node, "Query", query)
}

fn everything() -> Vec<Value> {
    LETTERS.iter().flat_map(|c| (0..20).map(|n| event(c, n))).collect()
}

/// Both tables hold all, in order, at every node.
fn check(nodes: &[Value], ranged: &str, timed: &str) {
    let (mut ranged, mut timed) = (table(ranged, nodes), table(timed, nodes));
    for node in 0..nodes.len() {
        assert_eq!(scanned(&mut ranged, node), everything());
        let mut all = scanned(&mut timed, node);
        all.sort_by_key(|item| {
            let n: usize = item["n"]["N"].as_str().unwrap().parse().unwrap();
            (item["c"]["S"].as_str().unwrap().to_string(), n)
        });
        assert_eq!(all, everything());
        for c in LETTERS {
            let wanted: Vec<Value> = (0..20).map(|n| event(c, n)).collect();
            assert_eq!(queried(&mut ranged, node, c), wanted);
            assert_eq!(queried(&mut timed, node, c), wanted);
        }
    }
}

/// Claim: ranges are scanned in the order of keys, a stretch of time that lies in all shards is queried in its order, and a transaction
/// is over both, at each node; so it stays when all were started again, and in what is imported of an export.
#[test]
fn ranges_and_stretches_of_time_are_tables() {
    let _turn = one_at_a_time();
    let scratch = Scratch::new("divided");
    let data = scratch.path("data");
    let up = Up::start(&["--data", &data]);
    let at = nodes(&up.ready());
    let keys = ["--key", "c:S", "--sort", "n:N"];
    let create = |name: &str, how: &[&str]| space(&at[0], &[&["create", name], &keys[..], how].concat());
    let (code, _, wrong) = create("spaced", &["--split-at", "a b"]);
    assert!(code != 0 && wrong.contains("has a space"), "{wrong}");
    let (code, _, wrong) = create("hashed", &["--split-at", "a", "--partition-by", "hash"]);
    assert!(code != 0 && wrong.contains("goes with a table that is partitioned by range"), "{wrong}");
    let (code, told, wrong) = create("ranged", &["--split-at", "d,m"]);
    assert!(code == 0 && told["headline"].as_str().unwrap().contains("range-partitioned"), "{told} {wrong}");
    assert_eq!(told["shards"], 3);
    let (code, told, wrong) = create("timed", &["--shards", "3", "--partition-by", "time+hash"]);
    assert!(code == 0 && told["headline"].as_str().unwrap().contains("by time and hash"), "{told} {wrong}");

    let (mut ranged, mut timed) = (table("ranged", &at), table("timed", &at));
    for (n, item) in everything().iter().enumerate() {
        if n % 10 == 0 {
            let put = |name: &str| json!({ "Put": { "TableName": name, "Item": item } });
            let both = json!({ "TransactItems": [put("ranged"), put("timed")] });
            eventually("a transaction is done", || {
                ranged.try_ask(n % 3, "TransactWriteItems", both.clone()).is_ok()
            });
        } else {
            put(&mut ranged, n % 3, item);
            put(&mut timed, (n + 1) % 3, item);
        }
    }
    check(&at, "ranged", "timed");
    let begins: Vec<Value> = shards(&at[0], "ranged").iter().map(|shard| shard["Begin"].clone()).collect();
    assert_eq!(begins, [Value::Null, json!({ "c": { "S": "d" } }), json!({ "c": { "S": "m" } })]);
    assert_eq!(numbers(&shards(&at[0], "ranged"), "ItemCount"), [20, 20, 40]);
    assert!(numbers(&shards(&at[0], "timed"), "ItemCount").iter().all(|n| (10..50).contains(n)));
    let (_, told, _) = space(&at[0], &["describe", "ranged"]);
    assert_eq!(told["shards"], 3, "{told}");

    for name in ["ranged", "timed"] {
        let (dir, again) = (scratch.path(name), format!("{name}-again"));
        for args in [&["export", name, &dir][..], &["import", &dir, &again]] {
            let (code, _, wrong) = space(&at[0], args);
            assert_eq!(code, 0, "{args:?}: {wrong}");
        }
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
    let up = Up::start(&["--data", &data]);
    let at = nodes(&up.ready());
    check(&at, "ranged", "timed");
    check(&at, "ranged-again", "timed-again");
    assert_eq!(numbers(&shards(&at[0], "ranged-again"), "ItemCount"), [20, 20, 40]);
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}
