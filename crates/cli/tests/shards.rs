//! Tables with shards of their own on real nodes: what clients see at any node, over kills, restarts, lost disks, and what
//! the commands say.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

mod common;
mod deleting;
mod divided;
mod hot;
mod tenants;
mod undecided;
mod zones;

use crate::common::tables::Table;
use crate::common::{
    Scratch, Up, eventually, follow, free_address, nodes, one, output, pid, quorate, send, text,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A node that is started again wants its ports back: no other test may draw them meanwhile.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `quorate space` with a node's endpoint and `--json`.
fn space(node: &Value, args: &[&str]) -> (i32, Value, String) {
    let at = ["--json", "--endpoint", text(node, "dynamo")];
    let (code, said, wrong) = output(&[&["space"], args, &at].concat());
    (code, serde_json::from_str(&said).unwrap_or_default(), wrong)
}

fn made(node: &Value, name: &str, shards: &str) {
    let args = ["create", name, "--key", "c:S", "--sort", "n:N", "--shards", shards];
    let (code, said, wrong) = space(node, &args);
    assert!(code == 0 && said["table"]["TableStatus"] == "ACTIVE", "{said} {wrong}");
}

/// Its shards, as `space shards` shows them.
fn shards(node: &Value, name: &str) -> Vec<Value> {
    let (code, said, wrong) = space(node, &["shards", name]);
    assert_eq!(code, 0, "{wrong}");
    said["Shards"].as_array().unwrap().clone()
}

fn numbers(shards: &[Value], what: &str) -> Vec<u64> {
    shards.iter().map(|shard| shard[what].as_u64().unwrap()).collect()
}

/// The table at all nodes.
fn table(name: &str, nodes: &[Value]) -> Table {
    Table::at(name, &nodes.iter().map(|node| text(node, "dynamo")).collect::<Vec<_>>())
}

fn key(customer: usize, n: usize) -> Value {
    json!({ "c": { "S": format!("customer {customer}") }, "n": { "N": n.to_string() } })
}

fn item(customer: usize, n: usize, value: &str) -> Value {
    let mut item = key(customer, n);
    item["v"] = json!({ "S": value });
    item
}

/// Puts an item, again where the answer says that this may help.
fn put(table: &mut Table, node: usize, item: &Value) {
    eventually("an item is put", || table.try_ask(node, "PutItem", json!({ "Item": item })).is_ok());
}

fn got(table: &mut Table, node: usize, customer: usize, n: usize) -> Value {
    let body = json!({ "Key": key(customer, n), "ConsistentRead": true });
    table.ask(node, "GetItem", body)["Item"]["v"]["S"].clone()
}

/// Claim: a table of six shards is one table at each of three nodes: items, conditions, updates, queries, batches, scans by
/// pages and by segments; its leaders are spread, and its figures add up.
#[test]
fn six_shards_are_one_table() {
    let _turn = one_at_a_time();
    let up = Up::start(&["--ephemeral"]);
    let nodes = nodes(&up.ready());
    made(&nodes[0], "orders", "6");
    let mut table = table("orders", &nodes);
    const CUSTOMERS: usize = 40;
    // Each node writes, another one reads what was written.
    for customer in 0..CUSTOMERS {
        let puts: Vec<Value> =
            (0..4).map(|n| json!({ "PutRequest": { "Item": item(customer, n, "v") } })).collect();
        let told = table.ask(customer % 3, "BatchWriteItem", json!({ "RequestItems": { "orders": puts } }));
        assert_eq!(told["UnprocessedItems"], json!({}));
        assert_eq!(got(&mut table, (customer + 1) % 3, customer, 3), "v");
    }
    let absent = |customer| json!({ "Item": item(customer, 0, "w"), "ConditionExpression": "attribute_not_exists(c)" });
    assert_eq!(table.refused(1, "PutItem", absent(7)).0, "ConditionalCheckFailedException");
    table.ask(2, "PutItem", absent(CUSTOMERS));
    let update = json!({ "Key": key(7, 0), "UpdateExpression": "SET v = :v", "ReturnValues": "ALL_OLD",
        "ExpressionAttributeValues": { ":v": { "S": "x" } } });
    assert_eq!(table.ask(0, "UpdateItem", update)["Attributes"], item(7, 0, "v"));
    assert_eq!(got(&mut table, 1, 7, 0), "x");
    let delete = json!({ "Key": key(CUSTOMERS, 0), "ReturnValues": "ALL_OLD" });
    assert_eq!(table.ask(1, "DeleteItem", delete)["Attributes"]["v"]["S"], "w");
    assert_eq!(got(&mut table, 0, CUSTOMERS, 0), Value::Null);

    let query = json!({ "KeyConditionExpression": "c = :c AND n > :n", "ScanIndexForward": false, "Limit": 2,
        "ConsistentRead": true, "ExpressionAttributeValues": { ":c": { "S": "customer 9" }, ":n": { "N": "0" } } });
    let found = table.pages(2, "Query", query);
    assert_eq!(found, [item(9, 3, "v"), item(9, 2, "v"), item(9, 1, "v")]);
    let keys: Vec<Value> = (0..CUSTOMERS).map(|customer| key(customer, 1)).collect();
    let batch = json!({ "RequestItems": { "orders": { "Keys": keys, "ConsistentRead": true } } });
    let told = table.ask(0, "BatchGetItem", batch);
    assert_eq!(told["Responses"]["orders"].as_array().unwrap().len(), CUSTOMERS);
    scans_hold_all(&mut table, CUSTOMERS);
    eventually("leaders are spread", || {
        let leaders = numbers(&shards(&nodes[1], "orders"), "Leader");
        (1..=3).all(|id| leaders.iter().filter(|&&leader| leader == id).count() == 2)
    });
    for node in &nodes {
        eventually("a node's own state has all of it", || {
            numbers(&shards(node, "orders"), "ItemCount").iter().sum::<u64>() == 4 * CUSTOMERS as u64
        });
        let (_, told, _) = space(node, &["describe", "orders"]);
        assert_eq!(told["shards"], 6);
        assert_eq!(told["table"]["ItemCount"], 4 * CUSTOMERS, "{told}");
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Whatever its pages are, a scan has each item once, in one order at all nodes; items that come and go meanwhile change
/// nothing for the others.
fn scans_hold_all(table: &mut Table, customers: usize) {
    let scan = |limit: usize| json!({ "Limit": limit, "ConsistentRead": true });
    let whole = table.pages(0, "Scan", scan(1000));
    let different: BTreeSet<String> =
        whole.iter().map(|item| format!("{}{}", item["c"], item["n"])).collect();
    assert_eq!((whole.len(), different.len()), (4 * customers, 4 * customers));
    for (node, limit) in [(0, 1), (1, 7), (2, 40)] {
        assert_eq!(table.pages(node, "Scan", scan(limit)), whole, "by {limit} at node {}", node + 1);
    }
    for segments in [2, 6, 7] {
        let mut parts = Vec::new();
        for segment in 0..segments {
            let body =
                json!({ "Segment": segment, "TotalSegments": segments, "Limit": 9, "ConsistentRead": true });
            parts.append(&mut table.pages(segment % 3, "Scan", body));
        }
        assert_eq!(parts, whole, "in {segments} segments");
    }
    let (mut seen, mut start, mut new) = (Vec::new(), Value::Null, 0);
    loop {
        let mut body = scan(11);
        if start.is_object() {
            body["ExclusiveStartKey"] = start;
        }
        let page = table.ask(1, "Scan", body);
        seen.extend(page["Items"].as_array().unwrap().clone());
        start = page["LastEvaluatedKey"].clone();
        if start.is_null() {
            break;
        }
        table.ask(2, "PutItem", json!({ "Item": item(1_000 + new, 0, "new") }));
        new += 1;
    }
    seen.retain(|item| item["v"]["S"] != "new");
    assert_eq!(seen, whole, "while others came");
    for new in 0..new {
        table.ask(0, "DeleteItem", json!({ "Key": key(1_000 + new, 0) }));
    }
    let count = json!({ "Select": "COUNT", "ConsistentRead": true });
    assert_eq!(table.ask(0, "Scan", count)["Count"], 4 * customers);
}

/// Claim: with a node killed the others serve all shards, and all that was acknowledged; a restart of all finds the shards by
/// their numbers, with what is in them, and spreads their leaders again.
#[test]
fn shards_outlive_nodes() {
    let _turn = one_at_a_time();
    let scratch = Scratch::new("shards");
    let home = scratch.path("home");
    let up = Up::start(&["--data", &home]);
    let nodes = nodes(&up.ready());
    made(&nodes[1], "orders", "6");
    let first = shards(&nodes[0], "orders");
    let mut table = table("orders", &nodes);
    for customer in 0..20 {
        put(&mut table, customer % 3, &item(customer, 0, "before"));
    }
    send(pid(&nodes[2]), Signal::KILL);
    for customer in 20..40 {
        put(&mut table, customer % 2, &item(customer, 0, "without"));
    }
    for customer in 0..40 {
        let expected = if customer < 20 { "before" } else { "without" };
        assert_eq!(got(&mut table, customer % 2, customer, 0), expected, "customer {customer}");
    }
    let leaders = numbers(&shards(&nodes[0], "orders"), "Leader");
    assert!(leaders.iter().all(|leader| [1, 2].contains(leader)), "{leaders:?}");
    up.signal(Signal::TERM);
    drop(up.wait());

    let up = Up::start(&["--data", &home]);
    let nodes = crate::common::nodes(&up.ready());
    let mut table = self::table("orders", &nodes);
    for customer in 0..40 {
        let expected = if customer < 20 { "before" } else { "without" };
        let mut value = Value::Null;
        eventually("it is read", || {
            let body = json!({ "Key": key(customer, 0), "ConsistentRead": true });
            let told = table.try_ask(2, "GetItem", body);
            told.is_ok_and(|told| {
                value = told["Item"]["v"]["S"].clone();
                true
            })
        });
        assert_eq!(value, expected, "customer {customer}");
    }
    eventually("leaders are spread again", || {
        let leaders = numbers(&shards(&nodes[0], "orders"), "Leader");
        (1..=3).all(|id| leaders.iter().filter(|&&leader| leader == id).count() == 2)
    });
    assert_eq!(numbers(&shards(&nodes[2], "orders"), "Shard"), numbers(&first, "Shard"));
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: a table that is dropped is gone with its shards at every node; one that is made again under its name is empty, has
/// other shards, and the number of them that it asks for.
#[test]
fn a_name_is_free_again() {
    let _turn = one_at_a_time();
    let up = Up::start(&["--ephemeral"]);
    let nodes = nodes(&up.ready());
    let mut table = table("orders", &nodes);
    let (mut seen, mut last) = (BTreeSet::new(), 0);
    for (round, count) in [3, 5, 2].into_iter().enumerate() {
        made(&nodes[round], "orders", &count.to_string());
        let numbers = numbers(&shards(&nodes[round], "orders"), "Shard");
        assert_eq!(numbers.len(), count);
        assert!(
            numbers.iter().all(|&number| number > last && seen.insert(number)),
            "{numbers:?} after {last}"
        );
        last = numbers[count - 1];
        for node in 0..3 {
            let scan = json!({ "Select": "COUNT", "ConsistentRead": true });
            assert_eq!(table.ask(node, "Scan", scan)["Count"], 0, "round {round}");
        }
        for customer in 0..12 {
            put(&mut table, customer % 3, &item(customer, round, "v"));
        }
        let (code, _, wrong) = space(&nodes[round], &["create", "orders", "--shards", "3"]);
        assert!(
            code == 1 && wrong.contains("ResourceInUseException: Table already exists: orders"),
            "{wrong}"
        );
        let (code, said, wrong) = space(&nodes[(round + 1) % 3], &["drop", "orders"]);
        assert!(code == 0 && said["dropped"] == "orders", "{wrong}");
        for node in 0..3 {
            eventually("it is gone", || {
                let asked =
                    table.try_ask(node, "GetItem", json!({ "Key": key(1, round), "ConsistentRead": true }));
                asked.is_err_and(|trouble| trouble.to_string().starts_with("ResourceNotFoundException"))
            });
        }
        let (code, _, wrong) = space(&nodes[0], &["shards", "orders"]);
        assert!(code == 1 && wrong.contains("ResourceNotFoundException"), "{wrong}");
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: a node that nobody else could help starts again after a table with shards was dropped, though the votes of these lie there.
#[test]
fn a_node_alone_starts_again_without_what_was_dropped() {
    let _turn = one_at_a_time();
    let scratch = Scratch::new("shards-alone");
    let start = || Up::start(&["--nodes", "1", "--data", &scratch.path("home")]);
    let up = start();
    let nodes = nodes(&up.ready());
    made(&nodes[0], "orders", "4");
    made(&nodes[0], "carts", "2");
    let votes = scratch.0.join("home/n1/journal/votes");
    let before = fs::read(&votes).unwrap();
    let (code, _, wrong) = space(&nodes[0], &["drop", "orders"]);
    assert_eq!(code, 0, "{wrong}");
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
    // As after a loss of power, before they were written anew without these.
    fs::write(&votes, before).unwrap();
    let up = start();
    let ready = up.ready();
    assert_eq!(shards(&crate::common::nodes(&ready)[0], "carts").len(), 2);
    let log = fs::read_to_string(text(&ready["nodes"][0], "log")).unwrap();
    assert!(!log.contains("nothing of the log"), "{log}");
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: whoever makes or drops a table while there is no majority is told in time that nothing is known of it, and what to do; nobody
/// waits without end.
#[test]
fn nobody_waits_without_end() {
    let _turn = one_at_a_time();
    let up = Up::start(&["--ephemeral"]);
    let nodes = nodes(&up.ready());
    made(&nodes[0], "orders", "2");
    nodes[1..].iter().for_each(|node| send(pid(node), Signal::STOP));
    for (args, expected) in [
        (&["create", "carts", "--shards", "3"][..], "no answer says after 2s whether \"carts\" is made"),
        (&["drop", "orders"], "no answer says after 2s whether \"orders\" is dropped"),
    ] {
        let (code, _, wrong) = space(&nodes[0], &[args, &["--timeout", "2s"]].concat());
        assert!(code == 1 && wrong.contains(expected) && wrong.contains("quorate status"), "{code} {wrong}");
    }
    nodes[1..].iter().for_each(|node| send(pid(node), Signal::CONT));
    eventually("it goes on", || space(&nodes[0], &["list"]).0 == 0);
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: members that are removed at once, one right after the other, go one by one, each once all shards have let go of the one before, and none
/// of these commands is refused.
#[test]
fn changes_of_members_wait_for_the_groups() {
    let _turn = one_at_a_time();
    let up = Up::start(&["--ephemeral", "--nodes", "5"]);
    let nodes = nodes(&up.ready());
    made(&nodes[0], "orders", "12");
    let mut waited = 0;
    for id in ["5", "4"] {
        let args = ["node", "remove", id, "--no-drain", "--json", "--endpoints", text(&nodes[0], "etcd")];
        let (code, said, wrong) = output(&args);
        assert_eq!(code, 0, "{args:?}: {said}{wrong}");
        waited += usize::from(said.contains("settles"));
    }
    assert!(waited > 0, "nothing was to be waited for");
    eventually("all shards are on those that are left", || {
        let left = json!([1, 2, 3]);
        shards(&nodes[0], "orders").iter().all(|shard| shard["Replicas"] == left && shard["Leader"] != 0)
    });
    up.signal(Signal::TERM);
    drop(up.wait());
}

/// Claim: what is said of a space is what it is in this cluster; a table comes back from files with its shards and its tags; a tag in
/// other letters is not passed over.
#[test]
fn a_space_is_told_and_exported_as_it_is() {
    let _turn = one_at_a_time();
    let scratch = Scratch::new("shards-files");
    let up = Up::start(&["--ephemeral", "--nodes", "1"]);
    let nodes = nodes(&up.ready());
    let (code, said, wrong) =
        output(&["space", "create", "told", "--shards", "2", "--endpoint", text(&nodes[0], "dynamo")]);
    assert!(code == 0 && said.contains("raft x1") && said.contains("  1 copy, "), "{said}{wrong}");
    let (_, told, _) = space(&nodes[0], &["describe", "told"]);
    assert!(told["headline"].as_str().unwrap().starts_with("raft x1"), "{told}");

    made(&nodes[0], "orders", "3");
    let mut table = table("orders", &nodes);
    let arn = table.ask(0, "DescribeTable", json!({}))["Table"]["TableArn"].clone();
    let tag = |key: &str| json!({ "ResourceArn": arn, "Tags": [{ "Key": key, "Value": "7" }] });
    table.ask(0, "TagResource", tag("team"));
    for (key, expected) in [
        ("Quorate:shards", "begin with quorate:, in small letters"),
        ("quorate:Shards", "quorate:shards was meant"),
        ("quorate:colour", "or quorate:shards with a number"),
    ] {
        let (name, told) = table.refused(0, "TagResource", tag(key));
        assert!(name == "ValidationException" && told.contains(expected), "{key}: {told}");
    }
    for customer in 0..20 {
        put(&mut table, 0, &item(customer, 0, "v"));
    }
    let dir = scratch.path("export");
    for args in [&["export", "orders", &dir][..], &["import", &dir, "again"]] {
        let (code, _, wrong) = space(&nodes[0], args);
        assert_eq!(code, 0, "{args:?}: {wrong}");
    }
    assert_eq!(shards(&nodes[0], "again").len(), 3);
    let (_, told, _) = space(&nodes[0], &["describe", "again"]);
    let (_, before, _) = space(&nodes[0], &["describe", "orders"]);
    assert_eq!((&told["tags"], &told["table"]["ItemCount"]), (&before["tags"], &json!(20)), "{told}");
    assert!(told["tags"].to_string().contains("team"), "{told}");
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: what a table of shards cannot be is refused with the reason, and nothing is made of it.
#[test]
fn what_cannot_be_is_told() {
    let _turn = one_at_a_time();
    let up = Up::start(&["--ephemeral", "--nodes", "1"]);
    let nodes = nodes(&up.ready());
    let mut table = table("orders", &nodes);
    let create = |tags: &[(&str, &str)]| {
        let tags: Vec<Value> =
            tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        json!({ "BillingMode": "PAY_PER_REQUEST", "Tags": tags,
            "KeySchema": [{ "AttributeName": "c", "KeyType": "HASH" }],
            "AttributeDefinitions": [{ "AttributeName": "c", "AttributeType": "S" }] })
    };
    for value in ["0", "-1", "2001", "six", "", "1.5", "4294967297"] {
        let (name, told) = table.refused(0, "CreateTable", create(&[("quorate:shards", value)]));
        assert_eq!(name, "ValidationException", "{value}");
        assert!(told.contains("the tag quorate:shards must be a number from 1 to 2000"), "{value}: {told}");
    }
    let both = [("quorate:shards", "4"), ("quorate:consistency", "eventual")];
    let (name, told) = table.refused(0, "CreateTable", create(&both));
    assert!(name == "ValidationException" && told.contains("not available yet"), "{told}");
    assert_eq!(table.refused(0, "DescribeTable", json!({})).0, "ResourceNotFoundException");

    table.ask(0, "CreateTable", create(&both[..1]));
    eventually("it is there", || {
        table.ask(0, "DescribeTable", json!({}))["Table"]["TableStatus"] == "ACTIVE"
    });
    let arn = table.ask(0, "DescribeTable", json!({}))["Table"]["TableArn"].clone();
    let other = json!({ "ResourceArn": arn, "Tags": [{ "Key": "quorate:shards", "Value": "5" }] });
    let (name, told) = table.refused(0, "TagResource", other);
    assert!(
        name == "ValidationException" && told.contains("of a table that is there cannot be changed"),
        "{told}"
    );
    let none = json!({ "ResourceArn": arn, "TagKeys": ["quorate:shards"] });
    let (name, told) = table.refused(0, "UntagResource", none);
    assert!(
        name == "ValidationException" && told.contains("of a table that is there cannot be changed"),
        "{told}"
    );
    // Nor is another number of copies promised than there are.
    let fewer = json!({ "ResourceArn": arn, "Tags": [{ "Key": "quorate:survive", "Value": "0" }] });
    let (name, told) = table.refused(0, "TagResource", fewer);
    assert!(name == "ValidationException" && told.contains("is said when it is made"), "{told}");
    let (name, _) = table.refused(0, "GetItem", json!({ "Key": { "d": { "S": "x" } } }));
    assert_eq!(name, "ValidationException");
    assert_eq!(shards(&nodes[0], "orders").len(), 4);

    // Transactions over its shards are there, and so is what they promise.
    let strict =
        ["create", "strict", "--shards", "2", "--consistency", "strict-serializable", "--survive", "0"];
    let (code, _, wrong) = space(&nodes[0], &strict);
    assert_eq!(code, 0, "{wrong}");
    for (args, expected) in [
        (&["create", "many", "--shards", "2001"][..], "2001 is not in 1..=2000"),
        (&["create", "many", "--shards", "two"], "invalid value 'two'"),
        (&["create", "many", "--shards", "4", "--consistency", "eventual"], "not available yet"),
        (&["create", "x", "--shards", "4"], "ValidationException"),
        (&["shards", "nothing"], "ResourceNotFoundException"),
        (&["describe", "nothing"], "ResourceNotFoundException"),
        (&["drop", "nothing"], "ResourceNotFoundException"),
    ] {
        let (code, _, wrong) = space(&nodes[0], args);
        assert!(code != 0 && wrong.contains(expected), "{args:?}: {code} {wrong}");
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: a node whose directory is lost helps no shard of a table to a majority before it has healed, and then holds all of them;
/// one whose state is damaged serves none of them before, and gets each from its peers.
#[test]
fn shards_of_a_lost_disk_heal() {
    let _turn = one_at_a_time();
    let scratch = Scratch::new("shards-lost");
    let home = scratch.path("home");
    let up = Up::start(&["--data", &home]);
    let ready = up.ready();
    let (nodes, cluster) = (nodes(&ready), text(&ready, "cluster").to_string());
    made(&nodes[0], "orders", "6");
    let mut table = table("orders", &nodes);
    for customer in 0..20 {
        put(&mut table, 0, &item(customer, 0, "v"));
    }
    eventually("all have met", || fs::exists(format!("{home}/n1/met/3")).unwrap());
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
    fs::remove_dir_all(format!("{home}/n3")).unwrap();

    let start = |at: usize, more: &[&str]| one(&home, &cluster, &nodes, (at, more), Stdio::null());
    let life = fs::read_to_string(format!("{home}/n1/met/3")).unwrap();
    let _first = start(0, &[]);
    let third = start(2, &["--data-lost"]);
    eventually("it is taken back", || fs::read_to_string(format!("{home}/n1/met/3")).unwrap() != life);
    // One that remembers and one that does not are no majority, for no shard.
    for customer in 0..2 {
        let told = table.try_ask(0, "PutItem", json!({ "Item": item(customer, 1, "v") }));
        assert!(told.is_err(), "customer {customer}: it has forgotten everything");
    }
    let second = start(1, &[]);
    for customer in 0..20 {
        put(&mut table, 0, &item(customer, 1, "v"));
    }
    eventually("it has healed", || !fs::exists(format!("{home}/n3/withholds")).unwrap());
    eventually("it holds all", || {
        let count = json!({ "Select": "COUNT" });
        table.try_ask(2, "Scan", count).is_ok_and(|told| told["Count"] == 40)
    });
    drop(second);
    for customer in 0..20 {
        put(&mut table, 2, &item(customer, 2, "v"));
    }
    drop(third);
    let _second = start(1, &[]);

    // As a node leaves it whose read of its state failed.
    fs::write(format!("{home}/n3/state/DAMAGED"), "a read failed").unwrap();
    let _third = start(2, &[]);
    eventually("it has its state again", || {
        let count = json!({ "Select": "COUNT" });
        table.try_ask(2, "Scan", count).is_ok_and(|told| told["Count"] == 60)
    });
    assert!(fs::exists(format!("{home}/n3/state.damaged-1")).unwrap());
    for customer in 0..20 {
        put(&mut table, 2, &item(customer, 3, "v"));
    }
}

/// Claim: a node that is added gets its share of the shards that there are, while clients go on at all nodes; a node that is killed
/// half-way stops nothing; each node serves all shards, also those that it has nothing of; and when the node is removed, its shares go back
/// to the others while it is a member: that outlives the command, is shown, and can be taken back.
#[test]
fn shards_move_to_a_node_that_comes_and_from_one_that_goes() {
    let _turn = one_at_a_time();
    let scratch = Scratch::new("shards-move");
    let up = Up::start(&["--ephemeral"]);
    let mut nodes = nodes(&up.ready());
    made(&nodes[0], "orders", "8");
    let mut old = table("orders", &nodes);
    for customer in 0..40 {
        put(&mut old, customer % 3, &item(customer, 0, "before"));
    }
    let (etcd, peer, dynamo) = (free_address(), free_address(), free_address());
    let (data, endpoint) = (scratch.path("n4"), text(&nodes[0], "etcd").to_string());
    let (code, said, wrong) = output(&["node", "add", &peer, "--no-wait", "--endpoints", &endpoint]);
    assert_eq!(code, 0, "{said} {wrong}");
    let args = ["serve", "--json", "--join", &endpoint, "--data", &data, "--etcd", &etcd, "--peer", &peer];
    let serve = || {
        let dynamo = ["--dynamo", &dynamo];
        let child = quorate(&[&args[..], &dynamo].concat()).stdout(Stdio::null()).spawn().unwrap();
        Running(child)
    };
    let mut fourth = serve();
    nodes.push(json!({ "dynamo": format!("http://{dynamo}"), "etcd": format!("http://{etcd}") }));
    let mut all = table("orders", &nodes);
    let on = |nodes: &[Value], id: u64| {
        let has = |shard: &Value| shard["Replicas"].as_array().unwrap().contains(&json!(id));
        shards(&nodes[0], "orders").iter().filter(|shard| has(shard)).count()
    };
    let moving = |nodes: &[Value]| space(&nodes[0], &["shards", "orders"]).1["Moving"].as_u64().unwrap();
    // Half-way the one that comes is killed, and comes again.
    eventually("a shard moves to it", || moving(&nodes) > 0 || on(&nodes, 4) > 0);
    drop(fourth);
    for customer in 40..60 {
        put(&mut old, customer % 3, &item(customer, 0, "before"));
    }
    fourth = serve();
    let mut customer = 60;
    eventually("it has its share", || {
        put(&mut old, customer % 3, &item(customer, 0, "before"));
        customer += 1;
        on(&nodes, 4) == 6 && moving(&nodes) == 0
    });
    for id in 1..=4 {
        assert_eq!(on(&nodes, id), 6, "node {id}");
    }
    assert!(shards(&nodes[0], "orders").iter().all(|shard| shard["Replicas"].as_array().unwrap().len() == 3));
    for n in 0..customer {
        assert_eq!(got(&mut all, n % 4, n, 0), "before", "customer {n} at node {}", n % 4 + 1);
        put(&mut all, (n + 1) % 4, &item(n, 1, "behind"));
    }
    let keys: Vec<Value> = (0..60).map(|customer| key(customer, 0)).collect();
    let batch = json!({ "RequestItems": { "orders": { "Keys": keys, "ConsistentRead": true } } });
    let told = all.ask(3, "BatchGetItem", batch);
    assert_eq!(told["Responses"]["orders"].as_array().unwrap().len(), 60);
    // Transactions over shards, by a gateway that has only some of them.
    for n in 0..8 {
        let put = |n: usize| json!({ "Put": { "TableName": "orders", "Item": item(n, 2, "both") } });
        let both = json!({ "TransactItems": [put(n), put(n + 8)] });
        eventually("a transaction is done", || all.try_ask(3, "TransactWriteItems", both.clone()).is_ok());
        assert_eq!(got(&mut all, n % 3, n + 8, 2), "both");
    }
    let count = json!({ "Select": "COUNT", "ConsistentRead": true });
    for node in 0..4 {
        let pages = all.try_ask(node, "Scan", count.clone()).unwrap();
        assert_eq!(pages["Count"], 2 * customer + 16, "node {}", node + 1);
    }
    // The command is interrupted, and what it began goes on until that is taken back.
    let remove = ["node", "remove", "4", "--json", "--endpoints", &endpoint];
    let mut removing = Running(quorate(&remove).stdout(Stdio::piped()).spawn().unwrap());
    let first = follow(removing.0.stdout.take().unwrap()).iter().next().unwrap();
    assert_eq!((&first["step"], &first["shards"]), (&json!("drains"), &json!(6)));
    drop(removing);
    let status = || {
        let (_, said, _) = output(&["status", "--json", "--endpoints", &endpoint]);
        serde_json::from_str::<Value>(&said).unwrap()["moves"].clone()
    };
    assert_eq!(status()["leaving"][0]["node"], 4, "{}", status());
    eventually("its replicas move, and that is shown", || {
        let moves = status();
        let steps = ["waits", "listens", "snapshot", "catches-up", "votes", "ends"];
        let told = |one: &Value| steps.iter().any(|step| one["step"]["name"] == *step);
        let from = |one: &Value| one["from"] == json!([4]) && one["table"] == "orders" && told(one);
        moves["left"].as_u64() > Some(0) && moves["moving"].as_array().unwrap().iter().any(from)
    });
    let (code, said, wrong) = output(&["node", "keep", "4", "--json", "--endpoints", &endpoint]);
    assert_eq!((code, said.trim()), (0, "{\"step\":\"stays\",\"id\":4}"), "{wrong}");
    eventually("it stays, and has its share again", || {
        let moves = status();
        let rests = moves["left"] == 0 && moves["moving"] == json!([]) && moves["leaving"] == json!([]);
        rests && on(&nodes, 4) == 6
    });
    let (code, said, wrong) = output(&remove);
    assert_eq!(code, 0, "{said} {wrong}");
    let steps: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!((names[0], names.last()), ("drains", Some(&"removed")), "{said}");
    assert!(names.contains(&"draining") && names.contains(&"drained"), "{said}");
    eventually("it has let go of its shards and stops", || fourth.0.try_wait().unwrap().is_some());
    assert_eq!((1..=4).map(|id| on(&nodes, id)).collect::<Vec<_>>(), [8, 8, 8, 0]);
    for n in 0..customer {
        assert_eq!(got(&mut old, n % 3, n, 1), "behind", "customer {n}");
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: a member that is dead, and one whose shards have nowhere else to go, are removed at once, and that is said; the shards have the
/// copies that there can be then.
#[test]
fn who_cannot_be_left_first_is_removed_at_once() {
    let _turn = one_at_a_time();
    let up = Up::start(&["--ephemeral", "--nodes", "4"]);
    let nodes = nodes(&up.ready());
    made(&nodes[0], "orders", "4");
    let mut table = table("orders", &nodes[..2]);
    for customer in 0..20 {
        put(&mut table, 0, &item(customer, 0, "v"));
    }
    let remove = |id: &str, why: &str| {
        let (code, said, wrong) =
            output(&["node", "remove", id, "--json", "--endpoints", text(&nodes[0], "etcd")]);
        assert_eq!(code, 0, "{said} {wrong}");
        let first: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        assert_eq!((&first["step"], &first["why"]), (&json!("undrained"), &json!(why)), "{said}");
        assert!(!said.contains("\"drains\"") && said.contains("\"removed\""), "{said}");
    };
    send(pid(&nodes[3]), Signal::KILL);
    remove("4", "silent");
    let are_on = |ids: Value| shards(&nodes[0], "orders").iter().all(|shard| shard["Replicas"] == ids);
    eventually("the others have all copies", || are_on(json!([1, 2, 3])));
    remove("3", "too-few-nodes");
    eventually("the others have what can be had", || are_on(json!([1, 2])));
    let (_, said, _) = output(&["status", "--endpoints", text(&nodes[0], "etcd")]);
    let short = "copies: 4 shards of orders have 2 of the 3 copies that it asks for: it survives 0 failures instead of 1 failure";
    assert!(said.contains(short), "{said}");
    for customer in 0..20 {
        eventually("each item is there", || {
            let body = json!({ "Key": key(customer, 0), "ConsistentRead": true });
            table.try_ask(1, "GetItem", body).is_ok_and(|got| got["Item"]["v"]["S"] == "v")
        });
    }
    up.signal(Signal::TERM);
    drop(up.wait());
}

/// A node's process; killed when the test ends, however it does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
