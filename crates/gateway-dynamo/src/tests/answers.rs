//! Single answers that differed from the service's, each as one claim.

use super::{alone, ask};
use crate::Gateway;
use crate::failure::Kind;
use serde_json::{Value, json};

/// Two tables: `items`, with a global index, and `sorted`, with a local one that holds keys alone.
async fn two() -> Gateway {
    let (gateway, _) = alone();
    let defined = |names: &[(&str, &str)]| -> Value {
        names.iter().map(|(name, kind)| json!({ "AttributeName": name, "AttributeType": kind })).collect()
    };
    let keys = |hash: &str, range: Option<&str>| -> Value {
        let mut keys = vec![json!({ "AttributeName": hash, "KeyType": "HASH" })];
        keys.extend(range.map(|name| json!({ "AttributeName": name, "KeyType": "RANGE" })));
        Value::Array(keys)
    };
    let by_g = json!({ "IndexName": "by-g", "KeySchema": keys("g", None), "Projection": { "ProjectionType": "ALL" } });
    let by_x = json!({ "IndexName": "by-x", "KeySchema": keys("p", Some("x")), "Projection": { "ProjectionType": "KEYS_ONLY" } });
    for table in [
        json!({
            "TableName": "items", "BillingMode": "PAY_PER_REQUEST", "KeySchema": keys("p", None),
            "AttributeDefinitions": defined(&[("p", "S"), ("g", "S")]), "GlobalSecondaryIndexes": [by_g],
        }),
        json!({
            "TableName": "sorted", "BillingMode": "PAY_PER_REQUEST", "KeySchema": keys("p", Some("c")),
            "AttributeDefinitions": defined(&[("p", "S"), ("c", "N"), ("x", "N")]), "LocalSecondaryIndexes": [by_x],
        }),
    ] {
        ask(&gateway, "CreateTable", table).await.unwrap();
    }
    gateway
}

fn key(name: &str) -> Value {
    json!({ "p": { "S": name } })
}

/// A request of `items`.
fn of_items(mut more: Value) -> Value {
    more["TableName"] = json!("items");
    more
}

async fn ok(gateway: &Gateway, name: &str, body: Value) -> Value {
    ask(gateway, name, body.clone()).await.unwrap_or_else(|error| panic!("{name} {body}: {error:?}"))
}

async fn refused(gateway: &Gateway, name: &str, body: Value) -> (Kind, String) {
    ask(gateway, name, body.clone()).await.expect_err(&format!("{name} {body}"))
}

async fn invalid(gateway: &Gateway, name: &str, body: Value) -> String {
    let (kind, text) = refused(gateway, name, body).await;
    assert_eq!(kind, Kind::Validation, "{text}");
    text
}

/// Claim: `size` of a text counts UTF-16 code units, in conditions and in filters.
#[tokio::test]
async fn texts_are_measured_in_units_of_utf_16() {
    let gateway = two().await;
    let item = json!({ "p": { "S": "a" }, "u": { "S": "é𝄞" }, "k": { "S": "中中" } });
    ok(&gateway, "PutItem", of_items(json!({ "Item": item }))).await;
    for (name, size, holds) in [("u", "3", true), ("u", "6", false), ("k", "2", true), ("k", "6", false)] {
        let text = format!("size({name}) = :n");
        let values = json!({ ":n": { "N": size } });
        let scan = of_items(json!({ "FilterExpression": text, "ExpressionAttributeValues": values }));
        assert_eq!(ok(&gateway, "Scan", scan).await["Count"], i32::from(holds), "{text} {size}");
        let put = of_items(
            json!({ "Item": item, "ConditionExpression": text, "ExpressionAttributeValues": values }),
        );
        assert_eq!(ask(&gateway, "PutItem", put).await.is_ok(), holds, "{text} {size}");
    }
}

/// Claim: a read of a transaction that projects nothing of an item says nothing of it, others say that it is empty.
#[tokio::test]
async fn what_projects_nothing_is_left_out_in_a_transaction() {
    let gateway = two().await;
    ok(&gateway, "PutItem", of_items(json!({ "Item": key("a") }))).await;
    let get = of_items(json!({ "Key": key("a"), "ProjectionExpression": "zz" }));
    assert_eq!(ok(&gateway, "GetItem", get.clone()).await, json!({ "Item": {} }));
    let got = ok(&gateway, "TransactGetItems", json!({ "TransactItems": [{ "Get": get }] })).await;
    assert_eq!(got, json!({ "Responses": [{}] }));
}

fn states(described: &Value) -> Vec<Value> {
    let indexes = described["GlobalSecondaryIndexes"].as_array().cloned().unwrap_or_default();
    let state = |index: &Value| {
        let warm = &index["WarmThroughput"]["Status"];
        json!([index["IndexName"], index["IndexStatus"], warm, index.get("Backfilling")])
    };
    indexes.iter().map(state).collect()
}

/// Claim: `UpdateTable` tells of each index what the change makes of it: one that goes is listed once more, one that comes
/// is not filled yet, and one that stays is as it was.
#[tokio::test]
async fn a_change_tells_of_indexes_what_it_does_to_them() {
    let gateway = two().await;
    let update =
        async |more: Value| ok(&gateway, "UpdateTable", of_items(more)).await["TableDescription"].clone();
    let stream = json!({ "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_IMAGE" } });
    let seen = update(stream).await;
    assert_eq!(seen["TableStatus"], "UPDATING");
    assert_eq!(states(&seen), [json!(["by-g", "ACTIVE", "ACTIVE", null])]);
    let warmer = json!({ "IndexName": "by-g", "WarmThroughput": { "ReadUnitsPerSecond": 13_000 } });
    let seen = update(json!({ "GlobalSecondaryIndexUpdates": [{ "Update": warmer }] })).await;
    assert_eq!(states(&seen), [json!(["by-g", "UPDATING", "UPDATING", null])]);
    let by_h = json!({
        "IndexName": "by-h", "KeySchema": [{ "AttributeName": "h", "KeyType": "HASH" }],
        "Projection": { "ProjectionType": "ALL" },
    });
    let defined = json!([{ "AttributeName": "h", "AttributeType": "S" }]);
    let comes =
        json!({ "AttributeDefinitions": defined, "GlobalSecondaryIndexUpdates": [{ "Create": by_h }] });
    let seen = update(comes).await;
    let expected =
        [json!(["by-g", "ACTIVE", "ACTIVE", null]), json!(["by-h", "CREATING", "UPDATING", false])];
    assert_eq!(states(&seen), expected);
    let seen =
        update(json!({ "GlobalSecondaryIndexUpdates": [{ "Delete": { "IndexName": "by-g" } }] })).await;
    assert_eq!(seen["TableStatus"], "UPDATING");
    assert_eq!(states(&seen)[0], json!(["by-g", "DELETING", "UPDATING", null]));
    let named = seen["AttributeDefinitions"].to_string();
    assert!(named.contains("\"g\""), "what a listed index names is defined: {named}");
    let now = ok(&gateway, "DescribeTable", of_items(json!({}))).await["Table"].clone();
    assert_eq!(states(&now), [json!(["by-h", "CREATING", "UPDATING", true])]);
}

/// Claim: continuous backups are told as the service tells of every table.
#[tokio::test]
async fn continuous_backups_are_enabled_and_recovery_is_not() {
    let gateway = two().await;
    let off = json!({ "PointInTimeRecoverySpecification": { "PointInTimeRecoveryEnabled": false } });
    for (name, body) in [("DescribeContinuousBackups", json!({})), ("UpdateContinuousBackups", off)] {
        let told = ok(&gateway, name, of_items(body)).await["ContinuousBackupsDescription"].clone();
        assert_eq!(told["ContinuousBackupsStatus"], "ENABLED", "{name}");
        assert_eq!(told["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"], "DISABLED", "{name}");
    }
}

/// Claim: the tables of a batch are asked in one style.
#[tokio::test]
async fn a_batch_mixes_no_styles() {
    let gateway = two().await;
    let sorted = json!({ "Keys": [{ "p": { "S": "a" }, "c": { "N": "1" } }], "AttributesToGet": ["p"] });
    let asked = json!({ "items": { "Keys": [key("a")], "ProjectionExpression": "p" }, "sorted": sorted });
    assert_eq!(
        invalid(&gateway, "BatchGetItem", json!({ "RequestItems": asked })).await,
        "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: \
         {AttributesToGet} Expression parameters: {ProjectionExpression}"
    );
}

/// Claim: what a local index lacks is read from the table item by item, and each is paid for by itself.
#[tokio::test]
async fn items_that_an_index_lacks_are_paid_for_one_by_one() {
    let gateway = two().await;
    for at in ["0", "1", "2", "3"] {
        let item =
            json!({ "p": { "S": "a" }, "c": { "N": at }, "x": { "N": at }, "v": { "S": "x".repeat(200) } });
        ok(&gateway, "PutItem", json!({ "TableName": "sorted", "Item": item })).await;
    }
    for (consistent, table, index) in [(true, 4.0, 1.0), (false, 2.0, 0.5)] {
        let query = json!({
            "TableName": "sorted", "IndexName": "by-x", "KeyConditionExpression": "p = :p",
            "ExpressionAttributeValues": { ":p": { "S": "a" } }, "Select": "ALL_ATTRIBUTES",
            "ConsistentRead": consistent, "ReturnConsumedCapacity": "INDEXES",
        });
        assert_eq!(
            ok(&gateway, "Query", query).await["ConsumedCapacity"],
            json!({
                "TableName": "sorted", "CapacityUnits": table + index, "Table": { "CapacityUnits": table },
                "LocalSecondaryIndexes": { "by-x": { "CapacityUnits": index } },
            })
        );
    }
}

/// Claim: of a malformed start of a scan of an index less is said than of one of the table.
#[tokio::test]
async fn a_malformed_start_of_an_index_is_invalid_and_no_more() {
    let gateway = two().await;
    let scan =
        |index: Value| of_items(json!({ "ExclusiveStartKey": { "g": { "S": "a" } }, "IndexName": index }));
    assert_eq!(invalid(&gateway, "Scan", scan(json!("by-g"))).await, "The provided starting key is invalid");
    let text = invalid(&gateway, "Scan", scan(Value::Null)).await;
    assert_eq!(
        text,
        "The provided starting key is invalid: The provided key element does not match the schema"
    );
}

/// Claim: names and values that no expression could use are passed over in transactions, and refused elsewhere.
#[tokio::test]
async fn transactions_take_names_without_expressions() {
    let gateway = two().await;
    let names = json!({ "#a": "b" });
    let values = json!({ ":a": { "N": "1" } });
    let put = of_items(json!({ "Item": key("a"), "ExpressionAttributeNames": names }));
    let delete = of_items(json!({ "Key": key("b"), "ExpressionAttributeValues": values }));
    let get = of_items(json!({ "Key": key("a"), "ExpressionAttributeNames": names }));
    invalid(&gateway, "PutItem", put.clone()).await;
    ok(&gateway, "TransactWriteItems", json!({ "TransactItems": [{ "Put": put }, { "Delete": delete }] }))
        .await;
    ok(&gateway, "TransactGetItems", json!({ "TransactItems": [{ "Get": get }] })).await;
    // Beside an expression they must be of use.
    let mut unused = get;
    unused["ProjectionExpression"] = json!("p");
    let text = invalid(&gateway, "TransactGetItems", json!({ "TransactItems": [{ "Get": unused }] })).await;
    assert!(text.contains("unused in expressions"), "{text}");
}

/// Claim: a key that is too large cancels the reads of a transaction, an empty one is refused before.
#[tokio::test]
async fn a_key_that_is_too_large_cancels_reads() {
    let gateway = two().await;
    let get = |name: &str| json!({ "TransactItems": [{ "Get": of_items(json!({ "Key": key(name) })) }] });
    let (kind, text) = refused(&gateway, "TransactGetItems", get(&"x".repeat(2049))).await;
    assert_eq!(kind, Kind::Canceled, "{text}");
    assert!(text.contains("[ValidationError]"), "{text}");
    assert!(invalid(&gateway, "TransactGetItems", get("")).await.contains("empty string value"));
}

/// Claim: a token that comes again costs what reading its items costs, and indexes are paid for once.
#[tokio::test]
async fn transactions_cost_what_they_do() {
    let gateway = two().await;
    let put = of_items(json!({ "Item": { "p": { "S": "9" }, "v": { "S": "x".repeat(9_000) } } }));
    let asked = json!({
        "TransactItems": [{ "Put": put }], "ClientRequestToken": "t", "ReturnConsumedCapacity": "TOTAL",
    });
    let first = ok(&gateway, "TransactWriteItems", asked.clone()).await;
    assert_eq!(first["ConsumedCapacity"][0]["WriteCapacityUnits"], 18.0);
    let told = ok(&gateway, "TransactWriteItems", asked).await["ConsumedCapacity"].clone();
    assert_eq!(told, json!([{ "TableName": "items", "CapacityUnits": 6.0, "ReadCapacityUnits": 6.0 }]));
    for (g, index) in [("a", 1.0), ("b", 2.0)] {
        let put = of_items(json!({ "Item": { "p": { "S": "i" }, "g": { "S": g } } }));
        let asked = json!({ "TransactItems": [{ "Put": put }], "ReturnConsumedCapacity": "INDEXES" });
        let told = ok(&gateway, "TransactWriteItems", asked).await["ConsumedCapacity"][0].clone();
        assert_eq!(told["Table"]["CapacityUnits"], 2.0, "{told}");
        assert_eq!(told["GlobalSecondaryIndexes"]["by-g"]["CapacityUnits"], index, "{told}");
        assert_eq!(told["CapacityUnits"], 2.0 + index, "{told}");
    }
}

/// Claim: an empty name of a table is too short for one, and nothing else is said of it.
#[tokio::test]
async fn an_empty_name_of_a_table_has_a_text_of_its_own() {
    let gateway = two().await;
    let short = "' failed to satisfy constraint: Member must have length greater than or equal to 1";
    let text = invalid(&gateway, "GetItem", json!({ "TableName": "", "Key": key("a") })).await;
    assert_eq!(text, format!("1 validation error detected: Value '' at 'tableName{short}"));
    let get = json!({ "TransactItems": [{ "Get": { "TableName": "", "Key": key("a") } }] });
    let text = invalid(&gateway, "TransactGetItems", get).await;
    assert_eq!(
        text,
        format!("1 validation error detected: Value '' at 'transactItems.1.member.get.tableName{short}")
    );
}

/// Claim: no attribute without a name is written or asked for, whatever parameter names it.
#[tokio::test]
async fn an_attribute_has_a_name() {
    let gateway = two().await;
    let one = || json!({ "N": "1" });
    let compare = || json!({ "": { "ComparisonOperator": "EQ", "AttributeValueList": [one()] } });
    let put = of_items(json!({ "Item": { "p": { "S": "a" }, "": one() } }));
    let told = invalid(&gateway, "PutItem", put).await;
    assert_eq!(told, "Empty attribute name");
    let by_p = json!({ "p": { "ComparisonOperator": "EQ", "AttributeValueList": [{ "S": "a" }] } });
    for (name, body) in [
        ("UpdateItem", json!({ "Key": key("a"), "AttributeUpdates": { "": { "Value": one() } } })),
        ("PutItem", json!({ "Item": key("a"), "Expected": { "": { "Value": one() } } })),
        ("Scan", json!({ "ScanFilter": compare() })),
        ("Query", json!({ "KeyConditions": by_p, "QueryFilter": compare() })),
    ] {
        assert_eq!(invalid(&gateway, name, of_items(body)).await, told, "{name}");
    }
}

/// Claim: parameters of the service that are not served are refused by their names.
#[tokio::test]
async fn what_is_not_kept_is_not_taken() {
    let gateway = two().await;
    for (member, value) in [
        ("ResourcePolicy", json!("{}")),
        ("GlobalTableSourceArn", json!("arn:aws:dynamodb:local:000000000000:table/other")),
        ("GlobalTableSettingsReplicationMode", json!("ENABLED")),
    ] {
        let mut create = json!({
            "TableName": "new", "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{ "AttributeName": "p", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "p", "KeyType": "HASH" }],
        });
        create[member] = value;
        let text = invalid(&gateway, "CreateTable", create).await;
        assert!(text.starts_with(&format!("{member}: ")) && text.contains("not available"), "{text}");
    }
    for (member, value) in [
        ("MultiRegionConsistency", json!("STRONG")),
        ("GlobalTableWitnessUpdates", json!([{ "Create": { "RegionName": "x" } }])),
        ("GlobalTableSettingsReplicationMode", json!("ENABLED")),
    ] {
        let mut update = of_items(json!({}));
        update[member] = value;
        let text = invalid(&gateway, "UpdateTable", update).await;
        assert!(text.starts_with(&format!("{member}: ")) && text.contains("not available"), "{text}");
    }
}

/// Claim: all broken constraints of a request are counted, those within its lists too.
#[tokio::test]
async fn broken_constraints_of_lists_are_counted_together() {
    let gateway = two().await;
    let two_faults = json!([{ "Put": { "TableName": "items" } }, { "Delete": { "TableName": "items" } }]);
    let indexes = |names: &[&str], range: bool| -> Value {
        let mut keys = vec![json!({ "AttributeName": if range { "p" } else { "g" }, "KeyType": "HASH" })];
        keys.extend(range.then(|| json!({ "AttributeName": "g", "KeyType": "RANGE" })));
        let index = |name: &&str| json!({ "IndexName": name, "KeySchema": keys, "Projection": { "ProjectionType": "ALL" } });
        names.iter().map(index).collect()
    };
    let create = |locals: Option<Value>, globals: Value| {
        json!({
            "TableName": "new", "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                { "AttributeName": "p", "AttributeType": "S" }, { "AttributeName": "g", "AttributeType": "S" },
            ],
            "KeySchema": [{ "AttributeName": "p", "KeyType": "HASH" }],
            "LocalSecondaryIndexes": locals, "GlobalSecondaryIndexes": globals,
        })
    };
    for (name, body, count) in [
        ("TransactWriteItems", json!({ "TransactItems": two_faults, "ReturnConsumedCapacity": "x" }), 3),
        ("TransactGetItems", json!({ "TransactItems": [{ "Get": {} }] }), 2),
        ("CreateTable", create(None, indexes(&["a", "b"], false)), 2),
        ("CreateTable", create(Some(indexes(&["a"], true)), indexes(&["b"], false)), 2),
        (
            "BatchGetItem",
            json!({ "RequestItems": { "items": { "Keys": [] } }, "ReturnConsumedCapacity": "x" }),
            2,
        ),
        (
            "UpdateTable",
            of_items(json!({
                "BillingMode": "x", "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "x" },
            })),
            2,
        ),
    ] {
        let text = invalid(&gateway, name, body.clone()).await;
        assert!(text.starts_with(&format!("{count} validation errors detected: ")), "{name} {body}: {text}");
    }
}

/// Claim: nothing lies within a key, of the table or of an index, in conditions and sources too.
#[tokio::test]
async fn keys_have_no_parts() {
    let gateway = two().await;
    let text = |what: &str| {
        format!(
            "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: {what}"
        )
    };
    let update = |source: &str| json!({ "Key": key("a"), "UpdateExpression": format!("SET a = {source}") });
    for (name, body, what) in [
        (
            "PutItem",
            json!({ "Item": key("a"), "ConditionExpression": "attribute_exists(g.x)" }),
            "IndexKey: g",
        ),
        ("DeleteItem", json!({ "Key": key("a"), "ConditionExpression": "attribute_exists(p.x)" }), "Key: p"),
        ("UpdateItem", update("p.x"), "Key: p"),
        ("UpdateItem", update("if_not_exists(g.x, g)"), "IndexKey: g"),
    ] {
        assert_eq!(invalid(&gateway, name, of_items(body.clone())).await, text(what), "{name} {body}");
    }
    let put = of_items(json!({ "Item": key("a"), "ConditionExpression": "attribute_exists(g.x)" }));
    let (kind, said) =
        refused(&gateway, "TransactWriteItems", json!({ "TransactItems": [{ "Put": put }] })).await;
    assert_eq!(kind, Kind::Canceled, "{said}");
}

/// Claim: lists of what there is none of are held to their bounds.
#[tokio::test]
async fn lists_of_nothing_have_bounds() {
    let gateway = two().await;
    for name in ["ListBackups", "ListGlobalTables"] {
        let text = invalid(&gateway, name, json!({ "Limit": 0 })).await;
        assert!(text.contains("Value '0' at 'limit' failed"), "{text}");
    }
    assert!(
        invalid(&gateway, "ListBackups", json!({ "Limit": 101 })).await.contains("less than or equal to 100")
    );
}

/// Claim: what is wrong with a query by itself is told before there is looked for its table, as with a scan.
#[tokio::test]
async fn a_query_is_judged_before_its_table_is_looked_for() {
    let (gateway, _) = alone();
    let is = |operator: &str, values: Value| json!({ "ComparisonOperator": operator, "AttributeValueList": values });
    let a = || json!([{ "S": "a" }]);
    let one = || json!({ "p": is("EQ", a()) });
    let older = |conditions: Value| json!({ "KeyConditions": conditions });
    let newer = |text: &str| json!({ "KeyConditionExpression": text, "ExpressionAttributeValues": { ":p": { "S": "a" } } });
    let arity = "Invalid number of argument(s) for the EQ ComparisonOperator";
    for (mut body, words) in [
        (older(json!({ "p": is("XX", a()) })), "keyConditions.p.member.comparisonOperator"),
        (older(json!({ "p": is("EQ", json!([{ "S": "a" }, { "S": "b" }])) })), arity),
        (older(json!({ "p": is("EQ", json!([{ "N": "x" }])) })), "cannot be converted to a numeric value: x"),
        (older(json!({})), "Conditions can be of length 1 or 2 only"),
        (json!({ "KeyConditions": one(), "QueryFilter": { "a": is("EQ", json!([])) } }), arity),
        (
            json!({ "KeyConditions": one(), "AttributesToGet": ["a", "a"] }),
            "Duplicate value in attribute name: a",
        ),
        (
            json!({ "KeyConditions": one(), "Select": "SPECIFIC_ATTRIBUTES" }),
            "Must specify the AttributesToGet",
        ),
        (json!({ "KeyConditions": one(), "ConditionalOperator": "OR" }), "without Filter or Expected"),
        (newer("p = :p OR a = :p"), "Invalid operator used in KeyConditionExpression: OR"),
        (newer("p = :p AND p = :p"), "must only contain one condition per key"),
        (newer("p = :p AND size(x) = :p"), "cannot contain nested operations"),
        (newer("p.x = :p"), "cannot have conditions on nested attributes"),
        (json!({ "KeyConditionExpression": "p = q" }), "Multiple attribute names used in one condition"),
    ] {
        body["TableName"] = json!("nothing");
        let text = invalid(&gateway, "Query", body).await;
        assert!(text.contains(words), "{words}: {text}");
    }
    for mut body in [older(one()), newer("p = :p")] {
        body["TableName"] = json!("nothing");
        assert_eq!(refused(&gateway, "Query", body).await.0, Kind::NotFound);
    }
}

/// Claim: of a body the service makes structures before it looks at any of them, so that a member of another form is told before
/// whatever else is wrong, however deep it lies.
#[tokio::test]
async fn another_form_goes_before_everything() {
    let (gateway, _) = alone();
    for (name, body) in [
        ("Query", json!({ "TableName": "nothing", "KeyConditions": [] })),
        ("Query", json!({ "TableName": "nothing", "KeyConditions": { "p": { "AttributeValueList": "x" } } })),
        ("PutItem", json!({ "Item": { "p": { "S": 1 } } })),
        ("PutItem", json!({ "TableName": "ab", "Item": { "p": { "S": "a" }, "x": { "L": "x" } } })),
        ("GetItem", json!({ "TableName": "a!", "Key": { "p": { "S": 1 } } })),
        ("UpdateItem", json!({ "ReturnValues": "x", "AttributeUpdates": { "a": "x" } })),
        ("CreateTable", json!({ "TableName": "abc", "Tags": ["x"] })),
        ("CreateTable", json!({ "KeySchema": ["x"] })),
        ("CreateTable", json!({ "AttributeDefinitions": "x" })),
        ("UpdateTable", json!({ "GlobalSecondaryIndexUpdates": [{ "Delete": "x" }] })),
        ("BatchGetItem", json!({ "RequestItems": { "ab": { "Keys": "x" } } })),
        (
            "BatchWriteItem",
            json!({ "RequestItems": { "ab": [{ "PutRequest": { "Item": { "p": { "N": 1 } } } }] } }),
        ),
        ("TransactWriteItems", json!({ "TransactItems": [{ "Put": { "Item": { "p": { "S": 1 } } } }] })),
        ("TransactGetItems", json!({ "TransactItems": ["x"] })),
        ("TagResource", json!({ "Tags": ["x"] })),
        ("UpdateTimeToLive", json!({ "TimeToLiveSpecification": { "Enabled": "x" } })),
    ] {
        let (kind, text) = refused(&gateway, name, body.clone()).await;
        assert_eq!(kind, Kind::Serialization, "{name} {body}: {text}");
    }
}

/// Claim: a key that is larger than any is refused in its table's words before it goes anywhere.
#[tokio::test]
async fn a_key_that_is_larger_than_any_goes_nowhere() {
    let (gateway, door) = alone();
    super::with_table(&gateway).await;
    // Whatever reaches the log has no answer.
    *door.lost.lock().unwrap() = true;
    let key = json!({ "id": { "S": "x".repeat(1 << 20) } });
    let too_large = "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes";
    for (name, body) in [
        ("DeleteItem", json!({ "Key": key })),
        ("UpdateItem", json!({ "Key": key, "UpdateExpression": "REMOVE a" })),
        ("GetItem", json!({ "Key": key })),
    ] {
        assert_eq!(invalid(&gateway, name, of_items(body.clone())).await, too_large, "{name}");
        let mut elsewhere = body;
        elsewhere["TableName"] = json!("nothing");
        assert_eq!(refused(&gateway, name, elsewhere).await.0, Kind::NotFound, "{name}");
    }
    let batch = json!({ "RequestItems": { "items": { "Keys": [key] } } });
    assert_eq!(invalid(&gateway, "BatchGetItem", batch).await, too_large);
    let other = of_items(json!({ "Key": { "p": key["id"] } }));
    let text = invalid(&gateway, "DeleteItem", other).await;
    assert_eq!(text, "The provided key element does not match the schema");
}

/// Claim: what each of many items has a copy of is bounded before it is copied.
#[tokio::test]
async fn names_that_many_items_have_are_bounded() {
    let gateway = two().await;
    let names: Vec<String> = (0..10).map(|at| format!("{at}{}", "n".repeat(30_000))).collect();
    let batch = |keys: usize| {
        let keys: Vec<Value> = (0..keys).map(|at| key(&format!("k{at}"))).collect();
        json!({ "RequestItems": { "items": { "Keys": keys, "AttributesToGet": names } } })
    };
    let text = "maximum allowed size of 16 MB";
    ok(&gateway, "BatchGetItem", batch(50)).await;
    assert!(invalid(&gateway, "BatchGetItem", batch(60)).await.contains(text));
    let transaction = |reads: usize| {
        let name = json!({ "#n": "n".repeat(30_000) });
        let paths: Vec<String> = (0..20).map(|at| format!("a.b{at}.#n")).collect();
        let get = |at| {
            of_items(json!({
                "Key": key(&format!("k{at}")), "ExpressionAttributeNames": name, "ProjectionExpression": paths.join(","),
            }))
        };
        let gets: Vec<Value> = (0..reads).map(|at| json!({ "Get": get(at) })).collect();
        json!({ "TransactItems": gets })
    };
    ok(&gateway, "TransactGetItems", transaction(25)).await;
    assert!(invalid(&gateway, "TransactGetItems", transaction(30)).await.contains(text));
}

/// Claim: what all indexes together name of other attributes has one bound, whether they come with the table or later.
#[tokio::test]
async fn an_index_that_comes_later_names_no_more_than_a_table_may() {
    let (gateway, _) = alone();
    let index = |n: usize, names: usize| {
        let names: Vec<String> = (0..names).map(|at| format!("n{at}")).collect();
        json!({
            "IndexName": format!("index-{n}"),
            "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
            "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": names },
        })
    };
    let made = json!({
        "TableName": "named",
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "BillingMode": "PAY_PER_REQUEST",
        "GlobalSecondaryIndexes": (0..5).map(|n| index(n, if n == 4 { 19 } else { 20 })).collect::<Vec<_>>(),
    });
    ask(&gateway, "CreateTable", made).await.unwrap();
    let update = |names| {
        json!({
            "TableName": "named",
            "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
            "GlobalSecondaryIndexUpdates": [{ "Create": index(5, names) }],
        })
    };
    assert!(invalid(&gateway, "UpdateTable", update(2)).await.contains("per-table limit of 100"));
    ask(&gateway, "UpdateTable", update(1)).await.unwrap();
}
