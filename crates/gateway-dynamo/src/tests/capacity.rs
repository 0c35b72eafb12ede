//! What tables and indexes are told of their capacity, and tell of it.

use super::{alone, ask};
use crate::Gateway;
use serde_json::{Value, json};

fn with(mut base: Value, more: Value) -> Value {
    let (Value::Object(base_members), Value::Object(more)) = (&mut base, more) else { panic!("no objects") };
    base_members.extend(more);
    base
}

fn table(more: Value) -> Value {
    let base = json!({
        "TableName": "items",
        "AttributeDefinitions": [
            { "AttributeName": "p", "AttributeType": "S" }, { "AttributeName": "g", "AttributeType": "S" },
        ],
        "KeySchema": [{ "AttributeName": "p", "KeyType": "HASH" }],
        "GlobalSecondaryIndexes": [index(json!({}))],
        "BillingMode": "PAY_PER_REQUEST",
    });
    with(base, more)
}

fn index(more: Value) -> Value {
    let base = json!({
        "IndexName": "by-g",
        "KeySchema": [{ "AttributeName": "g", "KeyType": "HASH" }],
        "Projection": { "ProjectionType": "ALL" },
    });
    with(base, more)
}

fn units(read: u64, write: u64) -> Value {
    json!({ "ReadCapacityUnits": read, "WriteCapacityUnits": write })
}

async fn described(gateway: &Gateway) -> Value {
    ask(gateway, "DescribeTable", json!({ "TableName": "items" })).await.unwrap()["Table"].clone()
}

async fn update(gateway: &Gateway, more: Value) -> Result<Value, String> {
    let answer = ask(gateway, "UpdateTable", with(json!({ "TableName": "items" }), more)).await;
    answer.map(|answer| answer["TableDescription"].clone()).map_err(|(_, text)| text)
}

fn of_index(change: Value) -> Value {
    let update = with(json!({ "IndexName": "by-g" }), change);
    json!({ "GlobalSecondaryIndexUpdates": [{ "Update": update }] })
}

#[tokio::test]
async fn bounds_and_what_it_is_ready_for_are_kept() {
    let (gateway, _) = alone();
    let most = |read: i64| json!({ "MaxReadRequestUnits": read });
    let global =
        index(json!({ "OnDemandThroughput": most(7), "WarmThroughput": { "ReadUnitsPerSecond": 13_000 } }));
    let asked = json!({ "OnDemandThroughput": most(5), "GlobalSecondaryIndexes": [global] });
    ask(&gateway, "CreateTable", table(asked)).await.unwrap();
    let seen = described(&gateway).await;
    assert_eq!(seen["OnDemandThroughput"], most(5));
    let ready = |read: u64, write: u64| json!({ "ReadUnitsPerSecond": read, "WriteUnitsPerSecond": write, "Status": "ACTIVE" });
    assert_eq!(seen["WarmThroughput"], ready(12_000, 4_000));
    let by_g = &seen["GlobalSecondaryIndexes"][0];
    assert_eq!((&by_g["OnDemandThroughput"], &by_g["WarmThroughput"]), (&most(7), &ready(13_000, 4_000)));
    // A bound that is taken away is not told of.
    update(&gateway, json!({ "OnDemandThroughput": { "MaxReadRequestUnits": -1 } })).await.unwrap();
    assert_eq!(described(&gateway).await.get("OnDemandThroughput"), None);
    let change = json!({ "OnDemandThroughput": { "MaxWriteRequestUnits": 9 } });
    update(&gateway, of_index(change)).await.unwrap();
    let both = json!({ "MaxReadRequestUnits": 7, "MaxWriteRequestUnits": 9 });
    assert_eq!(described(&gateway).await["GlobalSecondaryIndexes"][0]["OnDemandThroughput"], both);
    let warmer = json!({ "WarmThroughput": { "WriteUnitsPerSecond": 4_001 } });
    let answered = update(&gateway, warmer).await.unwrap();
    assert_eq!(answered["WarmThroughput"]["Status"], "UPDATING");
    assert_eq!(described(&gateway).await["WarmThroughput"], ready(12_000, 4_001));
    for (change, what) in [
        (json!({}), "The only Updates for index: by-g when TableThroughputMode is PAY_PER_REQUEST can be to"),
        (json!({ "OnDemandThroughput": {} }), "The only Updates for index: by-g when TableThroughputMode is"),
        (json!({ "WarmThroughput": {} }), "WarmThroughput must have at least one of ReadUnitsPerSecond or"),
    ] {
        let text = update(&gateway, of_index(change)).await.unwrap_err();
        assert!(text.contains(what), "{text}");
    }
    // Attributes without a new index are passed over, whatever they say of those that there are.
    let other = json!({ "AttributeDefinitions": [{ "AttributeName": "g", "AttributeType": "N" }] });
    update(&gateway, with(of_index(json!({ "OnDemandThroughput": most(8) })), other)).await.unwrap();
    assert_eq!(described(&gateway).await["AttributeDefinitions"], seen["AttributeDefinitions"]);
    let none = json!({ "GlobalSecondaryIndexUpdates": [], "BillingMode": "PAY_PER_REQUEST" });
    assert!(
        update(&gateway, none).await.unwrap_err().contains("List of GlobalSecondaryIndexUpdates is empty")
    );
    let ghost = json!({ "GlobalSecondaryIndexUpdates": [{ "Delete": { "IndexName": "ghost" } }] });
    let text = update(&gateway, ghost).await.unwrap_err();
    assert_eq!(text, "Requested resource not found: Index ghost for table items");
    let lower = |units: Value| json!({ "WarmThroughput": units });
    for (change, what) in [
        (lower(json!({ "WriteUnitsPerSecond": 4_000 })), "WriteUnitsPerSecond for WarmThroughput for table"),
        (
            of_index(lower(json!({ "ReadUnitsPerSecond": -1 }))),
            "ReadUnitsPerSecond for WarmThroughput for index by-g",
        ),
    ] {
        let text = update(&gateway, change).await.unwrap_err();
        assert!(text.contains(&format!("{what} is lower than current WarmThroughput")), "{text}");
    }
}

#[tokio::test]
async fn a_table_tells_how_it_is_and_was_paid_for() {
    let (gateway, _) = alone();
    ask(&gateway, "CreateTable", table(json!({}))).await.unwrap();
    let made = described(&gateway).await;
    let summary = json!({
        "BillingMode": "PAY_PER_REQUEST", "LastUpdateToPayPerRequestDateTime": made["CreationDateTime"],
    });
    assert_eq!(made["BillingModeSummary"], summary);
    let its = of_index(json!({ "ProvisionedThroughput": units(2, 2) }));
    let change = json!({ "BillingMode": "PROVISIONED", "ProvisionedThroughput": units(3, 3) });
    update(&gateway, with(change, its)).await.unwrap();
    let seen = described(&gateway).await;
    assert_eq!(seen["BillingModeSummary"], with(summary, json!({ "BillingMode": "PROVISIONED" })));
    let throughput = &seen["ProvisionedThroughput"];
    assert_eq!(
        (throughput["ReadCapacityUnits"].as_u64(), throughput["NumberOfDecreasesToday"].as_u64()),
        (Some(3), Some(0))
    );
    assert!(
        throughput["LastIncreaseDateTime"].is_number() && throughput.get("LastDecreaseDateTime").is_none()
    );
    assert!(seen["GlobalSecondaryIndexes"][0]["ProvisionedThroughput"]["LastIncreaseDateTime"].is_number());
    let bounds = json!({ "OnDemandThroughput": { "MaxWriteRequestUnits": 9 } });
    let text = update(&gateway, bounds.clone()).await.unwrap_err();
    assert!(text.contains("cannot be specified when the table BillingMode is PROVISIONED"), "{text}");
    let text = update(&gateway, of_index(bounds)).await.unwrap_err();
    assert!(text.contains("cannot be specified when the table BillingMode is PROVISIONED"), "{text}");
    update(&gateway, json!({ "ProvisionedThroughput": units(1, 4) })).await.unwrap();
    assert!(described(&gateway).await["ProvisionedThroughput"]["LastDecreaseDateTime"].is_number());
    update(&gateway, json!({ "TableClass": "STANDARD_INFREQUENT_ACCESS" })).await.unwrap();
    let class = described(&gateway).await["TableClassSummary"].clone();
    assert!(class["LastUpdateDateTime"].is_number(), "{class}");
}

#[tokio::test]
async fn what_there_is_none_of_says_so() {
    let (gateway, _) = alone();
    ask(&gateway, "CreateTable", table(json!({}))).await.unwrap();
    for (change, words) in [
        (json!({ "ReplicaUpdates": [] }), "Value '[]' at 'replicaUpdates' failed to satisfy constraint"),
        (
            json!({ "ReplicaUpdates": [{ "Create": { "RegionName": "x" } }] }),
            "ReplicaUpdates: global tables are not available",
        ),
        (json!({ "SSESpecification": { "Enabled": true } }), "Encryption at rest is not available"),
        (
            json!({ "SSESpecification": { "Enabled": true, "SSEType": "AES256" } }),
            "SSEType AES256 is not supported",
        ),
        (json!({ "SSESpecification": { "Enabled": false } }), "Table is already encrypted by default"),
        (
            json!({ "SSESpecification": { "Enabled": false, "SSEType": "KMS" } }),
            "SSEType can not be specified if Enabled is false",
        ),
        (
            json!({ "SSESpecification": { "Enabled": false, "KMSMasterKeyId": "k" } }),
            "KMSMasterKeyId can not be specified if Enabled is false",
        ),
        (
            json!({ "SSESpecification": { "Enabled": true, "KMSMasterKeyId": "k" } }),
            "SSEType KMS is required if KMSMasterKeyId is specified",
        ),
        (
            json!({ "SSESpecification": { "SSEType": "x" } }),
            "Member must satisfy enum value set: [AES256, KMS]",
        ),
    ] {
        let text = update(&gateway, change.clone()).await.unwrap_err();
        assert!(text.contains(words), "{change}: {text}");
    }
}

/// Claim: what the service changes only alone is refused beside another change, in its words, and nothing of it is done.
#[tokio::test]
async fn most_changes_are_made_alone() {
    let (gateway, _) = alone();
    ask(&gateway, "CreateTable", table(json!({}))).await.unwrap();
    let before = described(&gateway).await;
    let class = || json!({ "TableClass": "STANDARD" });
    let protected = || json!({ "DeletionProtectionEnabled": true });
    let demand = || json!({ "OnDemandThroughput": { "MaxReadRequestUnits": 9 } });
    let warm = || json!({ "WarmThroughput": { "ReadUnitsPerSecond": 13_000 } });
    let stream =
        || json!({ "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "KEYS_ONLY" } });
    let drop = || json!({ "GlobalSecondaryIndexUpdates": [{ "Delete": { "IndexName": "by-g" } }] });
    let paid = || json!({ "BillingMode": "PROVISIONED", "ProvisionedThroughput": units(3, 3) });
    let only = |what: &str| format!("{what} modification must be the only operation in the request");
    for (change, words) in [
        (with(json!({ "SSESpecification": { "Enabled": true } }), class()), only("Server-Side Encryption")),
        (with(class(), protected()), only("TableClass")),
        (with(protected(), stream()), only("DeletionProtection")),
        (with(protected(), drop()), only("DeletionProtection")),
        (with(demand(), warm()), "OnDemandThroughput can only be combined with BillingMode".into()),
        (with(warm(), stream()), "WarmThroughput must be the only operation in the request".into()),
        (with(stream(), paid()), "You cannot modify stream status while updating table IOPS".into()),
        (with(drop(), paid()), "You cannot create or delete index while updating table IOPS".into()),
        (with(drop(), stream()), "You cannot create or delete index while changing stream status".into()),
    ] {
        let text = update(&gateway, change.clone()).await.unwrap_err();
        assert!(text.contains(&words), "{change}: {text}");
    }
    assert_eq!(described(&gateway).await, before);
    // These go together.
    let demand = with(demand(), json!({ "BillingMode": "PAY_PER_REQUEST" }));
    update(&gateway, demand).await.unwrap();
    update(&gateway, with(stream(), json!({ "BillingMode": "PAY_PER_REQUEST", "WarmThroughput": {} })))
        .await
        .unwrap();
}
