//! Global indexes and streams of a table with several shards, on real nodes, not all of which have a replica of each shard.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::tables::Table;
use crate::common::{Up, eventually, nodes, pid, send, text};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Of an item: its city and age.
type Model = BTreeMap<String, (String, u64)>;

fn create(shards: &str) -> Value {
    json!({
        "AttributeDefinitions": attributes(),
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "BillingMode": "PAY_PER_REQUEST",
        "Tags": [{ "Key": "quorate:shards", "Value": shards }],
        "GlobalSecondaryIndexes": [index("first", "ALL")],
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" },
    })
}

fn attributes() -> Value {
    json!([
        { "AttributeName": "id", "AttributeType": "S" },
        { "AttributeName": "city", "AttributeType": "S" },
        { "AttributeName": "age", "AttributeType": "N" },
    ])
}

fn index(name: &str, projection: &str) -> Value {
    json!({
        "IndexName": name,
        "KeySchema": [
            { "AttributeName": "city", "KeyType": "HASH" },
            { "AttributeName": "age", "KeyType": "RANGE" },
        ],
        "Projection": { "ProjectionType": projection },
    })
}

/// Writes item `n`, through one of these nodes, as often as it takes.
fn put(table: &mut Table, nodes: &[usize], model: &mut Model, n: usize) {
    let (id, city, age) = (format!("person {}", n % 150), format!("city {}", n % 3), (n * 7 % 90) as u64);
    let item = json!({ "id": { "S": id }, "city": { "S": city }, "age": { "N": age.to_string() } });
    let at = nodes[n % nodes.len()];
    eventually("an item is put", || table.try_ask(at, "PutItem", json!({ "Item": item })).is_ok());
    model.insert(id, (city, age));
}

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["id"]["S"].as_str().unwrap().to_string()).collect()
}

/// Each node answers each query of an index by pages as the model says, once its own state has all of it.
fn holds(table: &mut Table, nodes: &[usize], model: &Model, index: &str) {
    for city in 0..3 {
        let city = format!("city {city}");
        let mut expected: Vec<(u64, &String)> =
            model.iter().filter(|(_, (of, _))| *of == city).map(|(id, (_, age))| (*age, id)).collect();
        // Of one age they stand by the table's key: by its bytes, since all are of a form by its text.
        expected.sort_by_key(|(age, id)| (*age, id.len(), *id));
        let expected: Vec<(u64, String)> = expected.into_iter().map(|(age, id)| (age, id.clone())).collect();
        for &node in nodes {
            for (backward, limit) in [(false, 1000), (false, 7), (true, 4), (true, 1)] {
                let query = json!({
                    "IndexName": index, "ScanIndexForward": !backward, "Limit": limit,
                    "KeyConditionExpression": "city = :c",
                    "ExpressionAttributeValues": { ":c": { "S": city } },
                });
                let mut want = expected.clone();
                if backward {
                    want.reverse();
                }
                eventually("an index is what its table is", || {
                    let found = table.pages(node, "Query", query.clone());
                    let ages = found.iter().map(|item| item["age"]["N"].as_str().unwrap().parse().unwrap());
                    let found: Vec<(u64, String)> = ages.zip(ids(&found)).collect();
                    by_age(&found) == by_age(&want)
                });
            }
        }
    }
    for &node in nodes {
        let mut parts: Vec<String> = Vec::new();
        for segment in 0..3 {
            let scan = json!({ "IndexName": index, "Limit": 9, "Segment": segment, "TotalSegments": 3 });
            parts.extend(ids(&table.pages(node, "Scan", scan)));
        }
        parts.sort();
        assert_eq!(parts, model.keys().cloned().collect::<Vec<_>>(), "a scan of {index}");
    }
}

/// Ages in their order, each with those who have it: among those the order is that of their keys' bytes.
fn by_age(found: &[(u64, String)]) -> Vec<(u64, Vec<String>)> {
    let mut ages: Vec<(u64, Vec<String>)> = Vec::new();
    for (age, id) in found {
        match ages.last_mut() {
            Some((last, ids)) if last == age => ids.push(id.clone()),
            _ => ages.push((*age, vec![id.clone()])),
        }
    }
    for (_, ids) in &mut ages {
        ids.sort();
    }
    ages
}

/// What the stream tells, folded: each shard's records in their order, which together are the table.
fn told(table: &mut Table, node: usize) -> Option<Model> {
    let arn = table.try_ask(node, "DescribeTable", json!({})).ok()?["Table"]["LatestStreamArn"].clone();
    let described = table.try_ask(node, "DescribeStream", json!({ "StreamArn": arn })).ok()?;
    let shards = described["StreamDescription"]["Shards"].as_array()?.clone();
    assert_eq!(shards.len(), 4);
    let mut model = Model::new();
    for shard in shards {
        let from =
            json!({ "StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON" });
        let mut at = table.try_ask(node, "GetShardIterator", from).ok()?["ShardIterator"].clone();
        loop {
            let page = table.try_ask(node, "GetRecords", json!({ "ShardIterator": at, "Limit": 40 })).ok()?;
            let records = page["Records"].as_array()?;
            for record in records {
                let change = &record["dynamodb"];
                let id = change["Keys"]["id"]["S"].as_str()?.to_string();
                let values = |image: &Value| {
                    let age = image["age"]["N"].as_str()?.parse().ok()?;
                    Some((image["city"]["S"].as_str()?.to_string(), age))
                };
                assert_eq!(values(&change["OldImage"]), model.get(&id).cloned(), "{record}");
                match values(&change["NewImage"]) {
                    Some(new) => drop(model.insert(id, new)),
                    None => drop(model.remove(&id)),
                }
            }
            if records.is_empty() {
                break;
            }
            at = page["NextShardIterator"].clone();
        }
    }
    Some(model)
}

/// Claim: indexes that came with the table and one that is added while a node is killed and items are written are at all nodes what the
/// table is; transactions and deletions are in them; the stream's shards together tell all that was written, item by item in order.
#[test]
fn indexes_and_streams_of_shards_are_what_was_written() {
    let up = Up::start(&["--ephemeral", "--nodes", "4"]);
    let nodes = nodes(&up.ready());
    let mut table = Table::at("people", &nodes.iter().map(|node| text(node, "dynamo")).collect::<Vec<_>>());
    table.ask(0, "CreateTable", create("4"));
    let status = |table: &mut Table, node| table.ask(node, "DescribeTable", json!({}))["Table"].clone();
    eventually("it is there", || status(&mut table, 0)["TableStatus"] == "ACTIVE");
    let mut model = Model::new();
    let all = [0, 1, 2, 3];
    for n in 0..160 {
        put(&mut table, &all, &mut model, n);
    }
    holds(&mut table, &all, &model, "first");

    send(pid(&nodes[3]), Signal::KILL);
    let left = [0, 1, 2];
    let add = json!({
        "AttributeDefinitions": attributes(),
        "GlobalSecondaryIndexUpdates": [{ "Create": index("late", "KEYS_ONLY") }],
    });
    // A second one would be refused, so an answer that got lost is as good.
    eventually("an index is added", || match table.try_ask(1, "UpdateTable", add.clone()) {
        Ok(_) => true,
        Err(trouble) => trouble.to_string().contains("already exists"),
    });
    for n in 160..260 {
        put(&mut table, &left, &mut model, n);
    }
    let moved: Vec<Value> = (0..4)
        .map(|n| {
            let id = format!("person {n}");
            model.insert(id.clone(), ("city 1".into(), 99));
            json!({ "Update": { "TableName": "people", "Key": { "id": { "S": id } },
                "UpdateExpression": "SET city = :c, age = :a",
                "ExpressionAttributeValues": { ":c": { "S": "city 1" }, ":a": { "N": "99" } } } })
        })
        .collect();
    eventually("a transaction over shards is done", || {
        table.try_ask(2, "TransactWriteItems", json!({ "TransactItems": moved })).is_ok()
    });
    for n in 4..10 {
        let id = format!("person {n}");
        let key = json!({ "Key": { "id": { "S": id } } });
        eventually("an item is deleted", || table.try_ask(n % 3, "DeleteItem", key.clone()).is_ok());
        model.remove(&id);
    }
    eventually("all shards have filled it", || {
        let index = status(&mut table, 2)["GlobalSecondaryIndexes"][1].clone();
        index["IndexStatus"] == "ACTIVE"
    });
    for index in ["first", "late"] {
        holds(&mut table, &left, &model, index);
    }
    for node in left {
        eventually("figures add up", || {
            let now = status(&mut table, node);
            let counts = [0, 1].map(|at| now["GlobalSecondaryIndexes"][at]["ItemCount"].clone());
            now["ItemCount"] == model.len() && counts.iter().all(|count| *count == model.len())
        });
        eventually("the stream tells all of it", || told(&mut table, node).as_ref() == Some(&model));
    }
    up.signal(Signal::TERM);
    drop(up.wait());
}
