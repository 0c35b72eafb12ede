//! Tables that are not divided by hash: by range, and by time and hash. Each is made twice, once in one shard and once in several, and
//! both answer alike.

use super::sharded::{Sharded, alike};
use super::*;
use crate::failure::Kind;
use quorate_base::rng::Rng;

fn wanted(name: &str, tags: &[(&str, &str)]) -> Value {
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    json!({
        "TableName": name,
        "AttributeDefinitions": [
            { "AttributeName": "hour", "AttributeType": "S" },
            { "AttributeName": "at", "AttributeType": "N" },
        ],
        "KeySchema": [
            { "AttributeName": "hour", "KeyType": "HASH" },
            { "AttributeName": "at", "KeyType": "RANGE" },
        ],
        "BillingMode": "PAY_PER_REQUEST",
        "Tags": tags,
    })
}

/// The table in one shard, and the one with shards of its own, with random items in both.
async fn both(seed: u64, one: &[(&str, &str)], many: &[(&str, &str)]) -> (Gateway, Rng) {
    let (gateway, _) = Sharded::new();
    let mut rng = Rng::new(seed);
    for (name, tags) in [("one", one), ("many", many)] {
        ask(&gateway, "CreateTable", wanted(name, tags)).await.unwrap();
    }
    for _ in 0..200 {
        let (hour, at) =
            (format!("{}th", b"agmtz"[rng.below(5) as usize] as char), rng.below(60).to_string());
        let item = json!({ "hour": { "S": hour }, "at": { "N": at }, "odd": { "BOOL": rng.chance(1, 2) },
            "text": { "S": "x".repeat(rng.below(300) as usize) } });
        for name in ["one", "many"] {
            ask(&gateway, "PutItem", json!({ "TableName": name, "Item": item })).await.unwrap();
        }
    }
    (gateway, rng)
}

/// Claim: a query of a partition that lies in all shards answers as one of a partition that lies in one, page by page, also of the newest
/// state, with all that can be asked of it.
#[tokio::test]
async fn a_partition_over_shards_is_as_one() {
    let by = [("quorate:partition-by", "time+hash"), ("quorate:shards", "4")];
    for seed in 0..4 {
        let (gateway, mut rng) = both(seed, &[], &by).await;
        let placement = gateway.door.placement();
        let block = placement.table("many").unwrap();
        let mut held = Vec::new();
        for shard in block.shards() {
            let body =
                json!({ "TableName": "many", "Segment": shard.get() - block.first, "TotalSegments": 4 });
            let part = ask(&gateway, "Scan", body).await.unwrap();
            held.push(
                part["Items"].as_array().unwrap().iter().filter(|item| item["hour"]["S"] == "ath").count(),
            );
        }
        assert!(held.iter().all(|n| *n > 0), "an hour lies in all shards: {held:?}");
        for hour in ["ath", "zth", "none"] {
            for (backward, newest) in [(false, false), (true, false), (false, true), (true, true)] {
                for limit in [json!(1), json!(1 + rng.below(20)), Value::Null] {
                    let mut body = json!({
                        "KeyConditionExpression": "#h = :h AND #a BETWEEN :a AND :b",
                        "ExpressionAttributeNames": { "#h": "hour", "#a": "at" },
                        "ExpressionAttributeValues": { ":h": { "S": hour }, ":a": { "N": "3" }, ":b": { "N": "55" } },
                        "ScanIndexForward": !backward,
                        "ConsistentRead": newest,
                        "ReturnConsumedCapacity": "TOTAL",
                    });
                    if !limit.is_null() {
                        body["Limit"] = limit;
                    }
                    let all = alike(&gateway, "Query", &body).await;
                    assert!(hour == "none" || all.len() > 5, "{hour}: {}", all.len());
                    body["FilterExpression"] = json!("odd = :o");
                    body["ExpressionAttributeValues"][":o"] = json!({ "BOOL": true });
                    let odd = all.into_iter().filter(|item| item["odd"] == json!({ "BOOL": true }));
                    assert_eq!(alike(&gateway, "Query", &body).await, odd.collect::<Vec<_>>());
                    body["Select"] = json!("COUNT");
                    alike(&gateway, "Query", &body).await;
                    body.as_object_mut().unwrap().remove("Select");
                    body["ProjectionExpression"] = json!("#a, odd");
                    alike(&gateway, "Query", &body).await;
                }
            }
        }
        for (wrong, values) in [
            ("at = :o", json!({ ":o": { "N": "1" } })),
            ("#h = :o", json!({ ":o": { "S": "x" } })),
            ("at.b = :o", json!({ ":o": { "N": "1" } })),
        ] {
            let mut values = values;
            values[":h"] = json!({ "S": "ath" });
            let body = |name: &str| {
                json!({ "TableName": name, "KeyConditionExpression": "#h = :h", "FilterExpression": wrong,
                    "ExpressionAttributeNames": { "#h": "hour" }, "ExpressionAttributeValues": values })
            };
            let told =
                [ask(&gateway, "Query", body("one")).await, ask(&gateway, "Query", body("many")).await];
            assert!(told[0].is_err() && told[0] == told[1], "{wrong}: {told:?}");
        }
        for at in 0..60 {
            let key = json!({ "hour": { "S": "gth" }, "at": { "N": at.to_string() } });
            let mut got = Vec::new();
            for name in ["one", "many"] {
                got.push(ask(&gateway, "GetItem", json!({ "TableName": name, "Key": key })).await.unwrap());
            }
            assert_eq!(got[0], got[1], "{at}");
        }
    }
}

/// Claim: a scan of a table that is divided by range has the order of its keys, over all its shards; segments divide these.
#[tokio::test]
async fn ranges_are_scanned_in_order() {
    let one = [("quorate:partition-by", "range")];
    let many = [("quorate:partition-by", "range"), ("quorate:split-at", "g m t")];
    for seed in 0..4 {
        let (gateway, mut rng) = both(seed, &one, &many).await;
        let placement = gateway.door.placement();
        assert_eq!(placement.table("many").unwrap().count, 4);
        assert!(placement.table("one").is_none());
        for limit in [1000, 1 + rng.below(30)] {
            let all = alike(&gateway, "Scan", &json!({ "Limit": limit })).await;
            let key = |item: &Value| {
                let at: u32 = item["at"]["N"].as_str().unwrap().parse().unwrap();
                (item["hour"]["S"].as_str().unwrap().to_string(), at)
            };
            assert!(all.len() > 100 && all.is_sorted_by(|a, b| key(a) < key(b)));
            for of in [1, 2, 3, 4, 7] {
                let mut parts = Vec::new();
                for segment in 0..of {
                    let mut body = json!({ "TableName": "many", "Segment": segment, "TotalSegments": of, "Limit": limit });
                    loop {
                        let page = ask(&gateway, "Scan", body.clone()).await.unwrap();
                        parts.extend(page["Items"].as_array().cloned().unwrap());
                        let Some(last) = page.get("LastEvaluatedKey") else { break };
                        body["ExclusiveStartKey"] = last.clone();
                    }
                }
                assert_eq!(parts, all, "{of} segments");
            }
        }
        for (segment, taken) in [(0, false), (1, true), (2, false)] {
            let body = json!({ "TableName": "many", "Segment": segment, "TotalSegments": 3,
                "ExclusiveStartKey": { "hour": { "S": "mth" }, "at": { "N": "1" } } });
            let told = ask(&gateway, "Scan", body).await;
            assert_eq!(told.is_ok(), taken, "{segment}: {told:?}");
        }
        let body = json!({ "KeyConditionExpression": "#h = :h", "ExpressionAttributeNames": { "#h": "hour" },
            "ExpressionAttributeValues": { ":h": { "S": "mth" } }, "Limit": 7 });
        assert!(alike(&gateway, "Query", &body).await.len() > 10);
    }
}

/// Claim: what cannot be divided as asked is refused with the reason, and how a table is divided stays as it is.
#[tokio::test]
async fn what_cannot_be_divided_is_told() {
    let (gateway, _) = Sharded::new();
    let by = |by| ("quorate:partition-by", by);
    let split = |at| ("quorate:split-at", at);
    let shards = |count| ("quorate:shards", count);
    for (tags, words) in [
        (&[split("a")][..], "goes with a table that is partitioned by range"),
        (&[by("hash"), split("a")], "goes with a table that is partitioned by range"),
        (&[by("range"), split("b a")], "in their order"),
        (&[by("range"), split("a a")], "in their order"),
        (&[by("range"), split("")], "in their order"),
        (&[by("range"), split("a b"), shards("4")], "makes 3 shards: leave the former out"),
        (&[by("range"), shards("4")], "makes 1 shards: leave the former out"),
        (&[by("none"), shards("4")], "which one shard has"),
        (&[by("directory")], "the tag quorate:shards says how many"),
        (&[by("directory"), shards("1")], "the tag quorate:shards says how many"),
        (&[by("directory"), shards("2"), split("a")], "goes with a table that is partitioned by range"),
        (&[by("list")], "write none, range, hash, directory or time+hash"),
    ] {
        let (kind, told) = ask(&gateway, "CreateTable", wanted("table", tags)).await.unwrap_err();
        assert!(kind == Kind::Validation && told.contains(words), "{tags:?}: {told}");
    }
    let mut numbered = wanted("table", &[by("range"), split("1 x")]);
    numbered["AttributeDefinitions"][0]["AttributeType"] = json!("N");
    let (_, told) = ask(&gateway, "CreateTable", numbered.clone()).await.unwrap_err();
    assert!(told.contains("\"x\", which is no partition key of this table"), "{told}");
    numbered["Tags"][1]["Value"] = json!("-5 0 1e3");
    ask(&gateway, "CreateTable", numbered).await.unwrap();
    assert_eq!(gateway.door.placement().table("table").unwrap().count, 4);
    let mut local = wanted("local", &[by("time+hash"), shards("4")]);
    local["LocalSecondaryIndexes"] = json!([{ "IndexName": "index", "Projection": { "ProjectionType": "ALL" }, "KeySchema": [
        { "AttributeName": "hour", "KeyType": "HASH" }, { "AttributeName": "other", "KeyType": "RANGE" }] }]);
    let other = json!({ "AttributeName": "other", "AttributeType": "S" });
    local["AttributeDefinitions"].as_array_mut().unwrap().push(other);
    let (_, told) = ask(&gateway, "CreateTable", local).await.unwrap_err();
    assert!(told.contains("has no local secondary index"), "{told}");
    for (name, tags) in
        [("ranged", &[by("range"), split("b")][..]), ("hashed", &[]), ("ordered", &[by("range")])]
    {
        ask(&gateway, "CreateTable", wanted(name, tags)).await.unwrap();
        let arn =
            ask(&gateway, "DescribeTable", json!({ "TableName": name })).await.unwrap()["Table"]["TableArn"]
                .clone();
        let tag = |(key, value)| json!({ "ResourceArn": arn, "Tags": [{ "Key": key, "Value": value }] });
        for changed in [by("time+hash"), split("c")] {
            let told = ask(&gateway, "TagResource", tag(changed)).await;
            assert!(told.is_err(), "{name} {changed:?}");
        }
        let told = ask(
            &gateway,
            "UntagResource",
            json!({ "ResourceArn": arn, "TagKeys": ["quorate:partition-by"] }),
        )
        .await;
        assert_eq!(told.is_err(), name != "hashed", "{told:?}");
        ask(&gateway, "TagResource", tag(("team", "blue"))).await.unwrap();
    }
}
