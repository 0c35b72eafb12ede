//! The largest things that clients of tables may ask for, on real nodes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::tables::Table;
use crate::common::{Up, eventually, nodes, text};
use serde_json::{Value, json};

fn put(table: &str, n: usize, bytes: usize) -> Value {
    json!({ "Put": { "TableName": table, "Item": { "k": { "N": n.to_string() }, "v": { "S": "v".repeat(bytes) } } } })
}

/// Claim: a transaction of nearly 4 MB is carried out whatever node is asked and however many shards the table has, and one beyond
/// is refused with DynamoDB's words and changes nothing.
#[test]
fn transactions_have_up_to_4_mb() {
    let up = Up::start(&["--ephemeral"]);
    let nodes = nodes(&up.ready());
    let urls: Vec<&str> = nodes.iter().map(|node| text(node, "dynamo")).collect();
    let all = json!({ "ProjectionExpression": "k", "ConsistentRead": true });
    for shards in ["1", "3"] {
        let name = &format!("large{shards}");
        let mut table = Table::at(name, &urls);
        table.ask(
            0,
            "CreateTable",
            json!({
                "AttributeDefinitions": [{ "AttributeName": "k", "AttributeType": "N" }],
                "KeySchema": [{ "AttributeName": "k", "KeyType": "HASH" }],
                "BillingMode": "PAY_PER_REQUEST",
                "Tags": [{ "Key": "quorate:shards", "Value": shards }],
            }),
        );
        eventually("it is there", || {
            table.ask(0, "DescribeTable", json!({}))["Table"]["TableStatus"] == "ACTIVE"
        });
        for node in 0..3 {
            let ops: Vec<Value> = (0..10).map(|n| put(name, 10 * node + n, 400_000)).collect();
            table.ask(node, "TransactWriteItems", json!({ "TransactItems": ops }));
        }
        assert_eq!(table.pages(1, "Scan", all.clone()).len(), 30);
        let ops: Vec<Value> = (100..111).map(|n| put(name, n, 400_000)).collect();
        let (kind, said) = table.refused(2, "TransactWriteItems", json!({ "TransactItems": ops }));
        assert_eq!(kind, "ValidationException");
        assert_eq!(said, "Transaction request size has exceeded the maximum allowed size of 4 MB");
        assert_eq!(table.pages(0, "Scan", all.clone()).len(), 30);
    }
}
