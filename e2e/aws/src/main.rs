//! AWS's SDK for Rust against the DynamoDB door, once through each node: items and their conditions, pages, batches,
//! transactions, waiters, and errors by their types. What one node wrote is read through the next.

use aws_sdk_dynamodb::client::Waiters;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, ConditionCheck, KeySchemaElement, KeyType,
    KeysAndAttributes, Put, PutRequest, ReturnValue, ReturnValuesOnConditionCheckFailure,
    ScalarAttributeType, TransactWriteItem, Update, WriteRequest,
};
use aws_sdk_dynamodb::{Client, Config};
use clap::Parser;
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

/// Runs the whole of it through each node.
#[derive(Parser)]
struct Arguments {
    /// The nodes' doors, comma separated.
    #[arg(long, value_delimiter = ',')]
    endpoints: Vec<String>,
}

type Done = Result<(), Box<dyn Error>>;
type Item = HashMap<String, AttributeValue>;

#[tokio::main]
async fn main() -> Done {
    let Arguments { endpoints } = Arguments::parse();
    for (at, endpoint) in endpoints.iter().enumerate() {
        let (here, there) = (connect(endpoint), connect(&endpoints[(at + 1) % endpoints.len()]));
        let table = format!("rust.{at}");
        create(&here, &table).await?;
        items(&here, &there, &table).await?;
        many(&here, &there, &table).await?;
        transactions(&here, &there, &table).await?;
        here.delete_table().table_name(&table).send().await?;
        there.wait_until_table_not_exists().table_name(&table).wait(Duration::from_secs(30)).await?;
        println!("aws: {endpoint}: ok");
    }
    Ok(())
}

fn connect(endpoint: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new("any", "any", None, None, "e2e"))
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint);
    Client::from_conf(config.build())
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn key(p: &str, c: usize) -> Item {
    HashMap::from([("p".into(), text(p)), ("c".into(), number(c))])
}

async fn create(client: &Client, table: &str) -> Done {
    let mut request = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    for (name, scalar, kind) in
        [("p", ScalarAttributeType::S, KeyType::Hash), ("c", ScalarAttributeType::N, KeyType::Range)]
    {
        let definition =
            AttributeDefinition::builder().attribute_name(name).attribute_type(scalar).build()?;
        let element = KeySchemaElement::builder().attribute_name(name).key_type(kind).build()?;
        request = request.attribute_definitions(definition).key_schema(element);
    }
    request.clone().send().await?;
    client.wait_until_table_exists().table_name(table).wait(Duration::from_secs(30)).await?;
    let again = request.send().await.unwrap_err().into_service_error();
    assert!(again.is_resource_in_use_exception(), "{again:?}");
    Ok(())
}

async fn items(here: &Client, there: &Client, table: &str) -> Done {
    let mut item = key("types", 1);
    item.insert("n".into(), number("-12345678901234567890.123456789012345678"));
    item.insert("b".into(), AttributeValue::B(Blob::new([0, 255])));
    item.insert("l".into(), AttributeValue::L(vec![AttributeValue::Bool(true), AttributeValue::Null(true)]));
    item.insert("ss".into(), AttributeValue::Ss(vec!["a".into(), "b".into()]));
    item.insert("m".into(), AttributeValue::M(HashMap::from([("deep".into(), text("é€"))])));
    here.put_item().table_name(table).set_item(Some(item.clone())).send().await?;
    let get = |client: &Client| {
        client.get_item().table_name(table).set_key(Some(key("types", 1))).consistent_read(true)
    };
    assert_eq!(get(there).send().await?.item, Some(item));
    let part = get(here).projection_expression("m.deep").send().await?;
    let deep = AttributeValue::M(HashMap::from([("deep".into(), text("é€"))]));
    assert_eq!(part.item, Some(HashMap::from([("m".into(), deep)])));
    let updated = there
        .update_item()
        .table_name(table)
        .set_key(Some(key("types", 1)))
        .update_expression("SET n = :n REMOVE l")
        .expression_attribute_values(":n", number("1.50"))
        .return_values(ReturnValue::UpdatedNew)
        .send()
        .await?;
    assert_eq!(updated.attributes, Some(HashMap::from([("n".into(), number("1.5"))])));
    let refused = here
        .delete_item()
        .table_name(table)
        .set_key(Some(key("types", 1)))
        .condition_expression("attribute_not_exists(p)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    let DeleteItemError::ConditionalCheckFailedException(refused) = refused else {
        return Err(format!("no failed condition: {refused:?}").into());
    };
    let old = refused.item();
    assert_eq!(old.and_then(|item| item.get("n")), Some(&number("1.5")));
    let nothing = here.get_item().table_name("nothing").key("p", text("a")).send().await;
    assert!(nothing.unwrap_err().into_service_error().is_resource_not_found_exception());
    let wrong =
        here.get_item().table_name(table).key("p", text("a")).send().await.unwrap_err().into_service_error();
    assert_eq!(wrong.meta().code(), Some("ValidationException"));
    assert_eq!(wrong.meta().message(), Some("The provided key element does not match the schema"));
    Ok(())
}

async fn many(here: &Client, there: &Client, table: &str) -> Done {
    for from in [0, 25] {
        let puts = (from..from + 25).map(|at| {
            let put = PutRequest::builder().set_item(Some(key("many", at))).build()?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        let puts = puts.collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let written = here.batch_write_item().request_items(table, puts).send().await?;
        assert!(written.unprocessed_items.unwrap_or_default().is_empty());
    }
    let keys = KeysAndAttributes::builder()
        .keys(key("many", 3))
        .keys(key("many", 99))
        .consistent_read(true)
        .build()?;
    let got = there.batch_get_item().request_items(table, keys).send().await?;
    assert_eq!(got.responses.and_then(|mut tables| tables.remove(table)), Some(vec![key("many", 3)]));
    let mut pages = there
        .query()
        .table_name(table)
        .key_condition_expression("p = :p")
        .expression_attribute_values(":p", text("many"))
        .consistent_read(true)
        .limit(7)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        found.extend(page?.items.unwrap_or_default());
    }
    assert_eq!(found, (0..50).map(|at| key("many", at)).collect::<Vec<_>>());
    let mut scanned = 0;
    for segment in 0..3 {
        let scan = here.scan().table_name(table).consistent_read(true).segment(segment).total_segments(3);
        let mut items = scan.into_paginator().items().send();
        while let Some(item) = items.next().await {
            scanned += usize::from(item?["p"] == text("many"));
        }
    }
    assert_eq!(scanned, 50);
    Ok(())
}

async fn transactions(here: &Client, there: &Client, table: &str) -> Done {
    let account = || Some(key("account", 1));
    let send = |client: &Client, amount: i64, token: Option<String>| {
        let update = Update::builder()
            .table_name(table)
            .set_key(account())
            .update_expression("ADD amount :n")
            .condition_expression("attribute_not_exists(amount) OR amount < :most")
            .expression_attribute_values(":n", number(amount))
            .expression_attribute_values(":most", number(10))
            .build()?;
        let check = ConditionCheck::builder()
            .table_name(table)
            .set_key(Some(key("closed", 1)))
            .condition_expression("attribute_not_exists(p)")
            .build()?;
        let put = Put::builder().table_name(table).set_item(Some(key("account", 2))).build()?;
        let items = [
            TransactWriteItem::builder().update(update).build(),
            TransactWriteItem::builder().condition_check(check).build(),
            TransactWriteItem::builder().put(put).build(),
        ];
        let request = client.transact_write_items().set_transact_items(Some(items.into()));
        Ok::<_, Box<dyn Error>>(request.set_client_request_token(token).send())
    };
    let token = Some(format!("{table}-once"));
    send(here, 6, token.clone())?.await?;
    send(there, 6, token.clone())?.await?;
    let other = send(here, 7, token)?.await.unwrap_err().into_service_error();
    assert!(other.is_idempotent_parameter_mismatch_exception(), "{other:?}");
    send(here, 6, None)?.await?;
    let read = there.get_item().table_name(table).set_key(account()).consistent_read(true).send().await?;
    assert_eq!(read.item.and_then(|mut item| item.remove("amount")), Some(number(12)));
    let cancelled = send(there, 1, None)?.await.unwrap_err().into_service_error();
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = cancelled else {
        return Err(format!("not cancelled: {cancelled:?}").into());
    };
    let reasons = cancelled.cancellation_reasons();
    let codes: Vec<_> = reasons.iter().filter_map(|reason| reason.code()).collect();
    assert_eq!(codes, ["ConditionalCheckFailed", "None", "None"]);
    Ok(())
}
