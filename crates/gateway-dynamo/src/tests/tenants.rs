//! Tables that are divided by directory: what lies where, and tenants that move while they are read and written.

use super::sharded::Sharded;
use super::*;
use crate::failure::Kind;
use crate::tenants::round;
use quorate_base::rng::Rng;
use quorate_wire::kv::{Command as Any, Refused};
use quorate_wire::table::{Refusal, Step, What};
use std::collections::{BTreeMap, BTreeSet};

fn wanted(name: &str, tags: &[(&str, &str)]) -> Value {
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    json!({
        "TableName": name,
        "AttributeDefinitions": [
            { "AttributeName": "who", "AttributeType": "S" },
            { "AttributeName": "at", "AttributeType": "N" },
            { "AttributeName": "kind", "AttributeType": "S" },
        ],
        "KeySchema": [
            { "AttributeName": "who", "KeyType": "HASH" },
            { "AttributeName": "at", "KeyType": "RANGE" },
        ],
        "LocalSecondaryIndexes": [{ "IndexName": "by-kind", "Projection": { "ProjectionType": "ALL" }, "KeySchema": [
            { "AttributeName": "who", "KeyType": "HASH" }, { "AttributeName": "kind", "KeyType": "RANGE" }] }],
        "GlobalSecondaryIndexes": [{ "IndexName": "kinds", "Projection": { "ProjectionType": "ALL" }, "KeySchema": [
            { "AttributeName": "kind", "KeyType": "HASH" }, { "AttributeName": "at", "KeyType": "RANGE" }] }],
        "BillingMode": "PAY_PER_REQUEST",
        "Tags": tags,
    })
}

const BY: [(&str, &str); 2] = [("quorate:partition-by", "directory"), ("quorate:shards", "3")];

fn item(who: &str, at: u64, text: &str) -> Value {
    let kind = if at.is_multiple_of(3) { "x" } else { "y" };
    json!({ "who": { "S": who }, "at": { "N": at.to_string() }, "kind": { "S": kind }, "text": { "S": text } })
}

async fn put(gateway: &Gateway, item: &Value) -> Result<Value, (Kind, String)> {
    ask(gateway, "PutItem", json!({ "TableName": "table", "Item": item })).await
}

async fn assign(gateway: &Gateway, who: &str, shard: Option<u32>) -> Result<Value, (Kind, String)> {
    let mut body = json!({ "TableName": "table", "Tenant": { "S": who } });
    if let Some(shard) = shard {
        body["Shard"] = json!(shard);
    }
    own(gateway, "AssignTenant", body).await
}

async fn made() -> Gateway {
    let (gateway, _) = Sharded::new();
    ask(&gateway, "CreateTable", wanted("table", &BY)).await.unwrap();
    gateway
}

/// All pages of a scan, each behind what `between` does.
async fn scanned(gateway: &Gateway, body: Value, mut between: impl AsyncFnMut(&Gateway)) -> Vec<Value> {
    let (mut body, mut all) = (body, Vec::new());
    loop {
        let page = ask(gateway, "Scan", body.clone()).await.unwrap();
        all.extend(page["Items"].as_array().cloned().unwrap());
        let Some(last) = page.get("LastEvaluatedKey") else { return all };
        body["ExclusiveStartKey"] = last.clone();
        between(gateway).await;
    }
}

fn key(item: &Value) -> (String, u64) {
    (item["who"]["S"].as_str().unwrap().into(), item["at"]["N"].as_str().unwrap().parse().unwrap())
}

/// Claim: a tenant that the directory does not have is not written, and nothing is found of it; those that it has lie where it says.
#[tokio::test]
async fn tenants_lie_where_the_directory_says() {
    let gateway = made().await;
    let (kind, told) = put(&gateway, &item("acme", 1, "")).await.unwrap_err();
    assert_eq!(kind, Kind::Unlisted);
    assert!(
        told.contains("has no tenant {\"who\":{\"S\":\"acme\"}}") && told.contains("quorate space assign"),
        "{told}"
    );
    let get = json!({ "TableName": "table", "Key": { "who": { "S": "acme" }, "at": { "N": "1" } } });
    assert_eq!(ask(&gateway, "GetItem", get.clone()).await.unwrap(), json!({}));
    let query = json!({ "TableName": "table", "KeyConditionExpression": "who = :w", "ExpressionAttributeValues": { ":w": { "S": "acme" } } });
    assert_eq!(ask(&gateway, "Query", query.clone()).await.unwrap()["Count"], 0);
    assert_eq!(ask(&gateway, "Scan", json!({ "TableName": "table" })).await.unwrap()["Count"], 0);
    // Where nobody says, the shard with the fewest.
    let mut shards = Vec::new();
    for who in ["acme", "globex", "initech", "umbrella"] {
        shards.push(assign(&gateway, who, None).await.unwrap()["Shard"].as_u64().unwrap());
    }
    assert_eq!(shards, [2, 3, 4, 2]);
    assert_eq!(assign(&gateway, "acme", None).await.unwrap()["Shard"], 2, "it lies there");
    for (at, who) in ["acme", "globex", "umbrella"].iter().enumerate() {
        put(&gateway, &item(who, at as u64, "")).await.unwrap();
    }
    let described = own(&gateway, "DescribeShards", json!({ "TableName": "table" })).await;
    assert!(described.is_err(), "this door knows no members");
    assert_eq!(
        ask(
            &gateway,
            "GetItem",
            json!({ "TableName": "table", "Key": { "who": { "S": "acme" }, "at": { "N": "0" } } })
        )
        .await
        .unwrap()["Item"],
        item("acme", 0, "")
    );
    assert_eq!(ask(&gateway, "Query", query).await.unwrap()["Items"], json!([item("acme", 0, "")]));
    let listed = own(&gateway, "ListTenants", json!({ "TableName": "table", "Limit": 3 })).await.unwrap();
    assert_eq!(listed["Tenants"][1], json!({ "Tenant": { "S": "globex" }, "Shard": 3 }));
    assert_eq!((&listed["Count"], &listed["LastEvaluatedTenant"]), (&json!(4), &json!({ "S": "initech" })));
    let rest = json!({ "TableName": "table", "ExclusiveStartTenant": { "S": "initech" } });
    let rest = own(&gateway, "ListTenants", rest).await.unwrap();
    assert_eq!(rest["Tenants"], json!([{ "Tenant": { "S": "umbrella" }, "Shard": 2 }]));
    assert!(rest.get("LastEvaluatedTenant").is_none());
}

/// Claim: what is said of tenants that makes no sense is refused with what to do.
#[tokio::test]
async fn wrong_words_about_tenants_are_told() {
    let gateway = made().await;
    ask(&gateway, "CreateTable", wanted("plain", &[])).await.unwrap();
    let say = async |body: Value| own(&gateway, "AssignTenant", body).await.unwrap_err();
    for (body, words) in [
        (json!({ "TableName": "plain", "Tenant": { "S": "a" } }), "has no directory"),
        (json!({ "TableName": "nowhere", "Tenant": { "S": "a" } }), "not found"),
        (json!({ "TableName": "table" }), "'tenant' failed to satisfy constraint: Member must not be null"),
        (
            json!({ "TableName": "table", "Tenant": { "N": "1" } }),
            "The provided key element does not match the schema",
        ),
        (json!({ "TableName": "table", "Tenant": { "S": "" } }), "empty string value"),
        (json!({ "TableName": "table", "Tenant": "a" }), ""),
        (
            json!({ "TableName": "table", "Tenant": { "S": "a" }, "Shard": 9 }),
            "the shards of table table are 2 to 4, and 9 is none",
        ),
        (json!({ "TableName": "table", "Tenant": { "S": "a" }, "Shard": 0 }), "greater than or equal to 1"),
    ] {
        let (_, told) = say(body.clone()).await;
        assert!(told.contains(words), "{body}: {told}");
    }
    let stream = json!({ "TableName": "table", "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "KEYS_ONLY" } });
    ask(&gateway, "UpdateTable", stream.clone()).await.unwrap();
    assign(&gateway, "acme", Some(2)).await.unwrap();
    let (_, told) = assign(&gateway, "acme", Some(3)).await.unwrap_err();
    assert!(told.contains("disable the stream, move the tenant"), "{told}");
    let off = json!({ "TableName": "table", "StreamSpecification": { "StreamEnabled": false } });
    ask(&gateway, "UpdateTable", off).await.unwrap();
    assert_eq!(assign(&gateway, "acme", Some(3)).await.unwrap()["MovesTo"], 3);
    assign(&gateway, "globex", Some(2)).await.unwrap();
    let (kind, told) = assign(&gateway, "globex", Some(3)).await.unwrap_err();
    assert!(kind == Kind::InUse && told.contains("one of a table at a time"), "{told}");
    let (kind, told) = ask(&gateway, "UpdateTable", stream.clone()).await.unwrap_err();
    assert!(kind == Kind::InUse && told.contains("a tenant moves"), "{told}");
    round(&gateway).await;
    ask(&gateway, "UpdateTable", stream).await.unwrap();
}

/// Claim: a scan, of whatever segments and in whatever pages, meets each item once, also where tenants move between its pages; a page is
/// as large as it may be.
#[tokio::test]
async fn a_scan_meets_each_item_once() {
    for seed in 0..6 {
        let gateway = made().await;
        let mut rng = Rng::new(seed);
        let tenants: Vec<String> = (0..20).map(|n| format!("t{n:02}")).collect();
        let mut items = BTreeMap::new();
        for who in &tenants {
            assign(&gateway, who, None).await.unwrap();
            for at in 0..rng.below(8) {
                let item = item(who, at, &"x".repeat(rng.below(2000) as usize));
                put(&gateway, &item).await.unwrap();
                items.insert(key(&item), item);
            }
        }
        let all: Vec<Value> = items.values().cloned().collect();
        for limit in [1000, 1 + rng.below(20)] {
            let body = json!({ "TableName": "table", "Limit": limit });
            let page = ask(&gateway, "Scan", body.clone()).await.unwrap();
            assert_eq!(page["Count"], all.len().min(limit as usize), "a page is full");
            let moving = async |gateway: &Gateway| {
                let who = rng.pick(&tenants).clone();
                assign(gateway, &who, Some(2 + rng.below(3) as u32)).await.unwrap();
                round(gateway).await;
            };
            assert_eq!(scanned(&gateway, body, moving).await, all);
            for of in [2, 5, 40] {
                let mut met = BTreeSet::new();
                for segment in 0..of {
                    let body = json!({ "TableName": "table", "Segment": segment, "TotalSegments": of, "Limit": limit });
                    let part = scanned(&gateway, body, async |_| ()).await;
                    assert!(part.iter().all(|item| met.insert(key(item))));
                }
                assert_eq!(met.len(), all.len(), "{of} segments");
            }
            let body = json!({ "TableName": "table", "Limit": limit, "FilterExpression": "who = :w",
                "ExpressionAttributeValues": { ":w": { "S": "t07" } } });
            let of_one: Vec<Value> = all.iter().filter(|item| item["who"]["S"] == "t07").cloned().collect();
            assert_eq!(
                scanned(&gateway, body, async |_| ()).await,
                of_one,
                "a scan's filter may look at keys"
            );
            let behind = json!({ "who": { "S": "u" }, "at": { "N": "1" } });
            let body = json!({ "TableName": "table", "Limit": limit, "ExclusiveStartKey": behind });
            assert_eq!(ask(&gateway, "Scan", body).await.unwrap()["Count"], 0, "behind all tenants");
            let body = json!({ "TableName": "table", "IndexName": "kinds", "Limit": limit });
            let mut kinds = scanned(&gateway, body, async |_| ()).await;
            kinds.sort_by_key(key);
            assert_eq!(kinds, all, "of a global index");
            let body = json!({ "TableName": "table", "IndexName": "by-kind", "Limit": limit });
            let mut local = scanned(&gateway, body, async |_| ()).await;
            local.sort_by_key(key);
            assert_eq!(local, all, "of a local index");
        }
    }
}

/// Claim: a page of a scan ends behind about 1 MB of all tenants together.
#[tokio::test]
async fn a_page_of_tenants_is_no_larger_than_others() {
    let gateway = made().await;
    for n in 0..6 {
        let who = format!("t{n}");
        assign(&gateway, &who, None).await.unwrap();
        for at in 0..4 {
            put(&gateway, &item(&who, at, &"x".repeat(125_000))).await.unwrap();
        }
    }
    let page = ask(&gateway, "Scan", json!({ "TableName": "table" })).await.unwrap();
    assert_eq!((&page["Count"], &page["LastEvaluatedKey"]["who"]["S"]), (&json!(9), &json!("t2")));
    assert_eq!(scanned(&gateway, json!({ "TableName": "table" }), async |_| ()).await.len(), 24);
}

/// Claim: a tenant is read and written while it moves, and nothing of it is lost, or left.
#[tokio::test]
async fn a_tenant_is_written_while_it_moves() {
    let gateway = made().await;
    assign(&gateway, "acme", Some(2)).await.unwrap();
    assign(&gateway, "other", Some(3)).await.unwrap();
    for at in 0..3000 {
        put(&gateway, &item("acme", at, "before")).await.unwrap();
    }
    let (writer, stop) = (gateway.clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stopped = stop.clone();
    let writing = tokio::spawn(async move {
        let (mut rng, mut written) = (Rng::new(1), BTreeMap::new());
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let at = rng.below(3500);
            let text = format!("{}", rng.below(1000));
            put(&writer, &item("acme", at, &text)).await.unwrap();
            written.insert(at, text);
            let body = json!({ "TableName": "table", "ConsistentRead": true, "Key": { "who": { "S": "acme" }, "at": { "N": at.to_string() } } });
            assert_eq!(ask(&writer, "GetItem", body).await.unwrap()["Item"]["text"]["S"], written[&at][..]);
            tokio::task::yield_now().await;
        }
        written
    });
    for shard in [3, 4, 2] {
        assert_eq!(assign(&gateway, "acme", Some(shard)).await.unwrap()["MovesTo"], shard);
        round(&gateway).await;
        let listed = own(&gateway, "ListTenants", json!({ "TableName": "table" })).await.unwrap();
        assert_eq!(listed["Tenants"][0], json!({ "Tenant": { "S": "acme" }, "Shard": shard }));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let written = writing.await.unwrap();
    assert!(written.len() > 20, "{}", written.len());
    let all = scanned(&gateway, json!({ "TableName": "table" }), async |_| ()).await;
    let expected = (0..3500).filter_map(|at| {
        let text = written.get(&at).map(String::as_str).or((at < 3000).then_some("before"))?;
        Some(item("acme", at, text))
    });
    assert_eq!(all, expected.collect::<Vec<_>>());
    let described = ask(&gateway, "DescribeTable", json!({ "TableName": "table" })).await.unwrap();
    assert_eq!(described["Table"]["ItemCount"], all.len(), "nothing is left where it was");
}

/// What a request writes into a table.
fn what(request: &Request) -> Option<&What> {
    match request {
        Request::Write(Any::Table(command)) => Some(&command.what),
        _ => None,
    }
}

/// Claim: of a batch only the part is done again that a shard has refused: somebody may have written behind the rest.
#[tokio::test]
async fn what_a_batch_has_done_is_not_done_again() {
    let (gateway, door) = Sharded::new();
    ask(&gateway, "CreateTable", wanted("table", &BY)).await.unwrap();
    assign(&gateway, "acme", Some(2)).await.unwrap();
    assign(&gateway, "other", Some(3)).await.unwrap();
    let written = Arc::new(Mutex::new(Vec::new()));
    let (seen, mut refuses) = (written.clone(), 2);
    *door.fails.lock().unwrap() = Box::new(move |shard, request| {
        what(request).filter(|what| matches!(what, What::Execute(_)))?;
        seen.lock().unwrap().push(shard.get());
        let refused = shard == ShardId(3) && refuses > 0;
        refuses -= u32::from(refused);
        refused.then(|| Failure::Refused(Refused::Table(Refusal::Moved), Head::default()))
    });
    let put = |who: &str| json!({ "PutRequest": { "Item": item(who, 1, "text") } });
    let batch = json!({ "RequestItems": { "table": [put("acme"), put("other")] } });
    assert_eq!(ask(&gateway, "BatchWriteItem", batch).await.unwrap(), json!({ "UnprocessedItems": {} }));
    assert_eq!(*written.lock().unwrap(), [2, 3, 3, 3]);
    assert_eq!(scanned(&gateway, json!({ "TableName": "table" }), async |_| ()).await.len(), 2);
}

/// Claim: nobody is held back for a shard that does not answer: a tenant that was sealed for it is written, and moves once it is back.
#[tokio::test]
async fn a_shard_that_does_not_answer_seals_nobody() {
    let (gateway, door) = Sharded::new();
    ask(&gateway, "CreateTable", wanted("table", &BY)).await.unwrap();
    assign(&gateway, "acme", Some(2)).await.unwrap();
    put(&gateway, &item("acme", 1, "before")).await.unwrap();
    assign(&gateway, "acme", Some(3)).await.unwrap();
    let away = Arc::new(Mutex::new(None));
    let seals = away.clone();
    *door.fails.lock().unwrap() = Box::new(move |shard, request| {
        let mut away = seals.lock().unwrap();
        if matches!(what(request), Some(What::Step { step: Step::Seal, .. })) {
            away.get_or_insert(true);
        }
        (shard == ShardId(3) && *away == Some(true)).then_some(Failure::TimedOut)
    });
    let mover = gateway.clone();
    let moves = tokio::spawn(async move { round(&mover).await });
    while away.lock().unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    put(&gateway, &item("acme", 2, "meanwhile")).await.unwrap();
    *away.lock().unwrap() = Some(false);
    moves.await.unwrap();
    let listed = own(&gateway, "ListTenants", json!({ "TableName": "table" })).await.unwrap();
    assert_eq!(listed["Tenants"], json!([{ "Tenant": { "S": "acme" }, "Shard": 3 }]));
    let all = scanned(&gateway, json!({ "TableName": "table" }), async |_| ()).await;
    assert_eq!(all, [item("acme", 1, "before"), item("acme", 2, "meanwhile")]);
}

/// Claim: a move goes on where some of its steps come to nothing.
#[tokio::test]
async fn a_move_goes_on_at_errors() {
    let (gateway, door) = Sharded::new();
    ask(&gateway, "CreateTable", wanted("table", &BY)).await.unwrap();
    assign(&gateway, "acme", Some(2)).await.unwrap();
    for at in 0..50 {
        put(&gateway, &item("acme", at, "text")).await.unwrap();
    }
    assign(&gateway, "acme", Some(4)).await.unwrap();
    let mut rng = Rng::new(5);
    *door.fails.lock().unwrap() =
        Box::new(move |shard, _| (shard != ShardId(1) && rng.chance(1, 5)).then_some(Failure::TimedOut));
    round(&gateway).await;
    *door.fails.lock().unwrap() = Box::new(|_, _| None);
    let listed = own(&gateway, "ListTenants", json!({ "TableName": "table" })).await.unwrap();
    assert_eq!(listed["Tenants"], json!([{ "Tenant": { "S": "acme" }, "Shard": 4 }]));
    assert_eq!(scanned(&gateway, json!({ "TableName": "table" }), async |_| ()).await.len(), 50);
}
