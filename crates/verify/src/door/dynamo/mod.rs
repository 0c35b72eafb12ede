//! DynamoDB's API, spoken to one node at a time. Items have a key `k` and a value `v`.
//!
//! A transaction that writes carries a token, as those of the SDKs do. Where its outcome is not known it is sent again under the
//! same token, to another node where the client is not pinned: then it is done once, or not at all.

mod bank;
mod stream;
mod transactions;

use crate::op::{Ended, Op};
use quorate_client::dynamo::{Operation, Trouble, call};
use quorate_client::http::{Link, Silence};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// So often a transaction of unknown outcome is sent, in all.
const TRIES: usize = 3;

/// One client's connections.
pub(crate) struct Dynamo {
    /// By node.
    links: Vec<Link>,
    table: String,
    at: usize,
    pinned: bool,
    /// What this client's tokens begin with, and how many it has used.
    tokens: (String, u64),
    /// The last transaction that was done, as it was sent.
    last: Option<Value>,
}

impl Dynamo {
    /// A client of the node `at`, from 0.
    pub(crate) fn new(
        endpoints: &[String],
        table: String,
        at: usize,
        pinned: bool,
        patience: Duration,
    ) -> Self {
        let links: Vec<Link> = endpoints.iter().map(|url| Link::new(url, CONNECT, patience)).collect();
        let tokens = (format!("{table}-{}", std::process::id()), 0);
        Self { at: at % links.len().max(1), links, table, pinned, tokens, last: None }
    }

    /// The node that is asked, from 1.
    pub(crate) fn node(&self) -> u64 {
        self.at as u64 + 1
    }

    /// Does it. A node that gave no good answer is left for the next one.
    pub(crate) async fn perform(&mut self, op: &Op) -> Ended {
        let ended = match op.f.as_str() {
            "read" => self.read(op).await,
            "write" if op.value.is_null() => self.delete(op).await,
            "write" => self.write(op).await,
            "cas" => self.cas(op).await,
            "txn" => self.txn(op).await,
            "again" => self.again().await,
            "change" => self.change(op).await,
            "stream" => self.stream(op).await,
            "open" => self.open_bank(op).await,
            "read-bank" => self.read_bank().await,
            "transfer" => self.transfer(op).await,
            other => Ended::failed(format!("this door knows no {other}")),
        };
        if ended.error.is_some() {
            self.move_on();
        }
        ended
    }

    fn move_on(&mut self) {
        if !self.pinned {
            self.at = (self.at + 1) % self.links.len().max(1);
        }
    }

    async fn call(&mut self, operation: &str, body: &Value) -> Result<Value, Trouble> {
        let Some(link) = self.links.get_mut(self.at) else {
            return Err(Trouble::Silent(Silence::Unsent("no endpoint was given".into())));
        };
        let reply = call(link, &Operation::named(operation), body.to_string().as_bytes()).await?;
        // What was answered with 200 was done, whatever the answer is like.
        Ok(serde_json::from_slice(reply).unwrap_or_default())
    }

    // ---- single items ----

    async fn read(&mut self, op: &Op) -> Ended {
        let body = json!({ "TableName": self.table, "Key": key(&op.key), "ConsistentRead": true });
        match self.call("GetItem", &body).await {
            Ok(reply) => Ended::ok(plain(&reply["Item"]["v"]), None),
            Err(trouble) => of_read(&trouble),
        }
    }

    async fn write(&mut self, op: &Op) -> Ended {
        let body = json!({ "TableName": self.table, "Item": item(&op.key, &op.value) });
        match self.call("PutItem", &body).await {
            Ok(_) => Ended::ok(op.value.clone(), None),
            Err(trouble) => of_write(&trouble),
        }
    }

    /// A deletion as a write of nothing.
    async fn delete(&mut self, op: &Op) -> Ended {
        let body = json!({ "TableName": self.table, "Key": key(&op.key) });
        match self.call("DeleteItem", &body).await {
            Ok(_) => Ended::ok(Value::Null, None),
            Err(trouble) => of_write(&trouble),
        }
    }

    /// A write under a condition.
    async fn cas(&mut self, op: &Op) -> Ended {
        let mut body = json!({ "TableName": self.table, "Item": item(&op.key, &op.value[1]) });
        expect(&mut body, &op.value[0]);
        match self.call("PutItem", &body).await {
            Ok(_) => Ended::ok(op.value.clone(), None),
            Err(trouble) => of_write(&trouble),
        }
    }

    // ---- transactions ----

    /// All of these reads at one moment: the values, in order; null for an item that is not there.
    async fn read_together(&mut self, keys: &[Value]) -> Result<Vec<Value>, Trouble> {
        let gets: Vec<Value> =
            keys.iter().map(|k| json!({ "Get": { "TableName": self.table, "Key": key(k) } })).collect();
        let reply = self.call("TransactGetItems", &json!({ "TransactItems": gets })).await?;
        Ok((0..keys.len()).map(|at| plain(&reply["Responses"][at]["Item"]["v"])).collect())
    }

    /// All of these writes or none, under a token.
    async fn write_together(&mut self, writes: Vec<Value>) -> Result<(), Trouble> {
        self.tokens.1 += 1;
        let token = format!("{}-{}", self.tokens.0, self.tokens.1);
        let body = json!({ "TransactItems": writes, "ClientRequestToken": token });
        let mut doubt = None;
        for _ in 0..TRIES {
            match (self.call("TransactWriteItems", &body).await, doubt.take()) {
                (Ok(_), _) => {
                    self.last = Some(body);
                    return Ok(());
                }
                (Err(trouble), before) if is_unknown(&trouble) || before.is_some() => {
                    // What was sent first may still come behind what was refused now.
                    doubt = Some(before.filter(|_| !is_unknown(&trouble)).unwrap_or(trouble));
                    self.move_on();
                }
                (Err(trouble), _) => return Err(trouble),
            }
        }
        Err(doubt.unwrap_or_else(|| Trouble::Silent(Silence::Broken("no answer".into()))))
    }

    /// Sends the last transaction that was done once more: it is answered as done, and does nothing. The result is whether there
    /// was one.
    async fn again(&mut self) -> Ended {
        let Some(body) = self.last.take() else { return Ended::ok(false, None) };
        self.move_on();
        match self.call("TransactWriteItems", &body).await {
            Ok(_) => Ended::ok(true, None),
            // A refusal says that the token was forgotten; it is for the judge to see.
            Err(trouble) => of_write(&trouble),
        }
    }
}

/// Whether what was asked may have been done all the same.
fn is_unknown(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Silent(Silence::Unsent(_)) => false,
        Trouble::Silent(Silence::Broken(_)) => true,
        Trouble::Refused { status, name, text } => {
            name == "OutcomeUnknownException" || *status >= 500 && !text.starts_with("There is no leader")
        }
    }
}

/// What trouble says of a request that may change something.
fn of_write(trouble: &Trouble) -> Ended {
    if is_unknown(trouble) {
        return Ended::unknown(trouble.to_string());
    }
    if is_condition(trouble) { Ended::refused(None) } else { Ended::failed(trouble.to_string()) }
}

/// What it says of a request that changes nothing.
fn of_read(trouble: &Trouble) -> Ended {
    Ended::failed(trouble.to_string())
}

/// It was refused for what it met.
fn is_condition(trouble: &Trouble) -> bool {
    let Trouble::Refused { name, text, .. } = trouble else { return false };
    name == "ConditionalCheckFailedException"
        || name == "TransactionCanceledException" && text.contains("ConditionalCheckFailed")
}

fn key(key: &Value) -> Value {
    let name = key.as_str().map_or_else(|| key.to_string(), str::to_string);
    json!({ "k": { "S": name } })
}

fn item(of: &Value, value: &Value) -> Value {
    let mut item = key(of);
    item["v"] = attribute(value);
    item
}

/// Asks that the item is as it was: its value, or, for null, that it is not there.
fn expect(body: &mut Value, old: &Value) {
    if old.is_null() {
        body["ConditionExpression"] = json!("attribute_not_exists(k)");
    } else {
        body["ConditionExpression"] = json!("v = :old");
        body["ExpressionAttributeValues"][":old"] = attribute(old);
    }
}

/// A number, or a list of numbers, as the API has it.
fn attribute(value: &Value) -> Value {
    match value {
        Value::Array(list) => json!({ "L": list.iter().map(attribute).collect::<Vec<_>>() }),
        number => json!({ "N": number.to_string() }),
    }
}

/// A value of the API as we have it; as it stands where it is none of ours.
fn plain(attribute: &Value) -> Value {
    if let Some(number) = attribute["N"].as_str().and_then(|text| text.parse::<i64>().ok()) {
        return json!(number);
    }
    match &attribute["L"] {
        Value::Array(list) => list.iter().map(plain).collect(),
        _ => attribute.clone(),
    }
}

/// Makes a table at a node, with so many shards of its own if they are several, and a change feed if it is to have one, and waits until
/// it can be used.
pub(crate) async fn make_table(
    url: &str,
    name: &str,
    (shards, feed): (u32, bool),
    patience: Duration,
) -> Result<(), String> {
    let mut body = json!({
        "TableName": name,
        "AttributeDefinitions": [{ "AttributeName": "k", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "k", "KeyType": "HASH" }],
        "BillingMode": "PAY_PER_REQUEST",
    });
    if shards > 1 {
        body["Tags"] = json!([{ "Key": "quorate:shards", "Value": shards.to_string() }]);
    }
    if feed {
        body["StreamSpecification"] =
            json!({ "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" });
    }
    let mut door = Dynamo::new(&[url.into()], name.into(), 0, true, patience);
    let end = Instant::now() + patience;
    loop {
        let made = match door.call("CreateTable", &body).await {
            Err(Trouble::Refused { name, .. }) if name == "ResourceInUseException" => Ok(Value::Null),
            made => made,
        };
        let told = match made {
            Ok(_) => door.call("DescribeTable", &json!({ "TableName": name })).await,
            Err(trouble) => Err(trouble),
        };
        match told {
            Ok(told) if told["Table"]["TableStatus"] == "ACTIVE" => return Ok(()),
            told if Instant::now() > end => {
                let why = told.err().map_or_else(|| "it is still being made".into(), |e| e.to_string());
                return Err(format!("the table {name}: {why}"));
            }
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// All of a table, as a node has it, newest or not: each page as it was answered.
pub(crate) async fn contents(url: &str, name: &str, patience: Duration) -> Result<Vec<Value>, String> {
    let mut door = Dynamo::new(&[url.into()], name.into(), 0, true, patience);
    let (mut pages, mut body) = (Vec::new(), json!({ "TableName": name }));
    loop {
        let page = door.call("Scan", &body).await.map_err(|trouble| trouble.to_string())?;
        let last = page["LastEvaluatedKey"].clone();
        pages.push(page);
        if last.is_null() {
            return Ok(pages);
        }
        body["ExclusiveStartKey"] = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Kind;

    fn refused(status: u16, name: &str, text: &str) -> Trouble {
        Trouble::Refused { status, name: name.into(), text: text.into() }
    }

    #[test]
    fn what_may_have_been_done_is_unknown_and_what_was_refused_is_not() {
        let kind = |trouble: &Trouble| of_write(trouble).kind;
        assert_eq!(kind(&Trouble::Silent(Silence::Broken("closed".into()))), Kind::Info);
        assert_eq!(kind(&Trouble::Silent(Silence::Unsent("refused".into()))), Kind::Fail);
        assert_eq!(kind(&refused(500, "InternalServerError", "not answered in time")), Kind::Info);
        assert_eq!(kind(&refused(503, "ServiceUnavailable", "This node is stopping.")), Kind::Info);
        assert_eq!(kind(&refused(503, "ServiceUnavailable", "There is no leader at present.")), Kind::Fail);
        assert_eq!(kind(&refused(400, "OutcomeUnknownException", "")), Kind::Info);
        let failed =
            of_write(&refused(400, "ConditionalCheckFailedException", "The conditional request failed"));
        assert_eq!((failed.kind, failed.error), (Kind::Fail, None));
        assert!(of_write(&refused(400, "ValidationException", "x")).error.is_some());
    }

    #[test]
    fn values_are_as_they_were() {
        for value in [json!(-7), json!([]), json!([1, 2, 3])] {
            assert_eq!(plain(&attribute(&value)), value);
        }
        assert_eq!(plain(&Value::Null), Value::Null);
        assert_eq!(plain(&json!({ "S": "x" })), json!({ "S": "x" }));
        assert_eq!(item(&json!("a"), &json!(1)), json!({ "k": { "S": "a" }, "v": { "N": "1" } }));
    }
}
