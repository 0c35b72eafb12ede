//! `TransactWriteItems` and `TransactGetItems`: all or nothing, at one moment.
//!
//! Where all items lie in one shard, a transaction is one entry there, and a read of several items one read; otherwise they are the
//! node's ([`crate::route`]).

use crate::body::{Params, object};
use crate::capacity::{Told, Units, read_units};
use crate::failure::{Answered, ApiError, Kind, Retry};
use crate::items::{self, Members, attributes, check_styles, expressions, of_item, projection, take, text};
use crate::limits::{Arns, Constraints, bare, is_table_name};
use crate::reply::{Reply, value_of};
use crate::{Gateway, unexpected};
use quorate_item::codec::Codec;
use quorate_item::key::NOT_THE_SCHEMA;
use quorate_item::{Item, Use};
use quorate_node::api::tables::Get;
use quorate_wire::table::{Action, Done, Op, Outcome, Returns, Token};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;

/// So many operations a transaction may have.
const OPS_MAX: usize = 100;
/// The largest transaction, in bytes of its items.
const BYTES_MAX: usize = 4 << 20;

/// What a request says of all its operations: what of its capacity is told, whether its item collections are, and they.
fn read(members: &mut Members) -> Answered<(Told, bool, Vec<Members>)> {
    let params = Params(members);
    let mut constraints = Constraints::default();
    let told = Told::read(params, &mut constraints)?;
    let many = params.list("TransactItems")?.map(Vec::len);
    match many {
        None => constraints.missing("transactItems"),
        Some(0) => {
            constraints.broken("[]", "transactItems", "Member must have length greater than or equal to 1");
        }
        Some(n) if n > OPS_MAX => {
            let what = format!("Member must have length less than or equal to {OPS_MAX}");
            constraints.broken(&format!("[{n} operations]"), "transactItems", &what);
        }
        Some(_) => {}
    }
    let metrics = params.text("ReturnItemCollectionMetrics")?;
    constraints.word(metrics, "returnItemCollectionMetrics", &["SIZE", "NONE"]);
    constraints.check()?;
    let measured = metrics == Some("SIZE");
    let Some(Value::Array(list)) = take(members, "TransactItems") else { return Err(unexpected()) };
    let list = list.into_iter().map(|item| match item {
        Value::Object(members) => Ok(members),
        _ => Err(crate::body::serialization("Unexpected field type")),
    });
    Ok((told, measured, list.collect::<Answered<_>>()?))
}

/// A member of one operation must be there.
fn missing(path: &str) -> ApiError {
    ApiError::validation(format!(
        "1 validation error detected: Value null at '{path}' failed to satisfy constraint: Member must not be null"
    ))
}

/// Which operation of a request something is said of. Its text is made only where something is said.
#[derive(Clone, Copy)]
struct At(usize, &'static str);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transactItems.{}.member.{}", self.0 + 1, self.1)
    }
}

/// The members of an operation, with its table's name checked.
fn operation(asked: Value, at: At, must: &str) -> Answered<(String, Members)> {
    let params = object(&asked)?;
    let table = params.text("TableName")?.map(bare).map(String::from);
    if !table.as_deref().is_some_and(is_table_name) || !params.has(must) {
        let mut constraints = Constraints::default();
        if table.is_none() {
            constraints.missing(&format!("{at}.tableName"));
        }
        constraints.name(table.as_deref(), &format!("{at}.tableName"));
        if !params.has(must) {
            constraints.missing(&format!("{at}.{}", must.to_lowercase()));
        }
        constraints.check()?;
    }
    match asked {
        Value::Object(members) => Ok((table.unwrap_or_default(), members)),
        _ => Err(unexpected()),
    }
}

// ---- TransactGetItems ----

pub(crate) async fn get(gateway: &Gateway, mut members: Members) -> Answered<Vec<u8>> {
    let arns = Arns::of(&members);
    let (told, _, list) = read(&mut members)?;
    let mut gets = Vec::with_capacity(list.len());
    for (at, mut one) in list.into_iter().enumerate() {
        let at = At(at, "get");
        let asked = take(&mut one, "Get").ok_or_else(|| missing(&at.to_string()))?;
        let (table, mut members) = operation(asked, at, "Key")?;
        check_styles(&members, &["ProjectionExpression"], &[])?;
        let key = items::item(&mut members, "Key")?;
        let mut expressions = expressions(&mut members)?;
        let projection = projection(&mut members, &mut expressions)?;
        expressions.finish().map_err(of_item)?;
        gets.push(Get { table, key, projection });
    }
    for (at, get) in gets.iter().enumerate() {
        if gets[..at].iter().any(|other| other.table == get.table && other.key == get.key) {
            return Err(ApiError::validation(
                "Transaction request cannot include multiple operations on one item",
            ));
        }
    }
    let tables: Vec<String> = gets.iter().map(|get| get.table.clone()).collect();
    let got = match crate::route::gets(gateway, gets.clone(), true, true).await {
        Err(error) if error.kind == Kind::Validation => return Err(unread(gateway, &gets, error).await),
        got => got?,
    };
    if got.iter().map(|got| got.bytes).sum::<usize>() > BYTES_MAX {
        return Err(ApiError::validation(
            "The aggregate size of the items in the transaction has exceeded the maximum allowed size of 4 MB",
        ));
    }
    let mut units: BTreeMap<String, Units> = BTreeMap::new();
    let mut reply = Reply::new();
    reply.raw("Responses", |out| {
        out.push(b'[');
        for (at, (table, got)) in tables.iter().zip(&got).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let mut one = Reply::new();
            if let Some(item) = &got.item {
                one.item("Item", item);
            }
            out.extend_from_slice(&one.finish());
            // A transaction's reads count twice.
            let cost = Units::of_table(2.0 * read_units(got.bytes, true));
            units.entry(table.clone()).or_default().add(cost);
        }
        out.push(b']');
    });
    tell(&mut reply, &units, &arns, told, "ReadCapacityUnits");
    Ok(reply.finish())
}

/// The error of reads of which one names no key of its table: it cancels them, in the order of the request. An empty key is
/// refused before that.
async fn unread(gateway: &Gateway, gets: &[Get], error: ApiError) -> ApiError {
    if error.message != NOT_THE_SCHEMA {
        return error;
    }
    let mut done = Vec::with_capacity(gets.len());
    for get in gets {
        let Ok(described) = crate::tables::described(gateway, &get.table).await else { return error };
        done.push(Done::of(match described.schema.key_of(&get.key) {
            Ok(_) => Outcome::Done,
            Err(why) => Outcome::Invalid(why.message().into()),
        }));
    }
    check(&done).err().unwrap_or(error)
}

fn tell(reply: &mut Reply, units: &BTreeMap<String, Units>, arns: &Arns, told: Told, kind: &str) {
    if told != Told::Nothing {
        let told = units.iter().map(|(table, units)| units.told(arns.called(table), told, Some(kind)));
        reply.value("ConsumedCapacity", &Value::Array(told.collect()));
    }
}

// ---- TransactWriteItems ----

pub(crate) async fn write(gateway: &Gateway, mut members: Members) -> Answered<Vec<u8>> {
    let token = token(&members)?;
    let arns = Arns::of(&members);
    let (told, measured, list) = read(&mut members)?;
    let ops = list.into_iter().enumerate().map(|(at, members)| read_op(at, members));
    let ops = ops.collect::<Answered<Vec<Op>>>()?;
    let bytes: usize = ops.iter().map(Op::size).sum();
    if bytes > BYTES_MAX {
        return Err(ApiError::validation(
            "Transaction request size has exceeded the maximum allowed size of 4 MB",
        ));
    }
    let retry = if token.is_some() { Retry::Harmless } else { Retry::Harmful };
    let is_told = |_: &&Op| told != Told::Nothing;
    let tables: Vec<String> = ops.iter().filter(is_told).map(|op| op.table.clone()).collect();
    let written = if measured { written(&ops)? } else { Vec::new() };
    let done = items::execute(gateway, true, token, ops, retry).await?;
    let mut units: BTreeMap<String, Units> = BTreeMap::new();
    if let Some(done) = &done {
        check(done)?;
        for (table, done) in tables.iter().zip(done) {
            units.entry(table.clone()).or_default().add(Units::of_write(done, 2));
        }
    } else {
        // What was done before costs a read of each item.
        for table in &tables {
            units.entry(table.clone()).or_default().add(Units::of_table(2.0));
        }
    }
    let mut reply = Reply::new();
    let kind = if done.is_some() { "WriteCapacityUnits" } else { "ReadCapacityUnits" };
    tell(&mut reply, &units, &arns, told, kind);
    let metrics = items::collections(gateway, &written).await?;
    if !metrics.is_empty() {
        reply.value("ItemCollectionMetrics", &crate::batch::collections_called(metrics, &arns));
    }
    Ok(reply.finish())
}

/// What is written, with the table that it is written to: an item or its key.
fn written(ops: &[Op]) -> Answered<Vec<(String, Item)>> {
    let mut written = Vec::with_capacity(ops.len());
    for op in ops {
        let bytes = match &op.action {
            Action::Put { item } => item,
            Action::Delete { key } | Action::Update { key, .. } => key,
            Action::Check { .. } => continue,
        };
        written.push((op.table.clone(), Item::decode(bytes).map_err(|_| unexpected())?));
    }
    Ok(written)
}

/// The client's word for the request, with a fingerprint of what it asks.
fn token(members: &Members) -> Answered<Option<Token>> {
    let Some(token) = Params(members).text("ClientRequestToken")? else { return Ok(None) };
    let mut constraints = Constraints::default();
    constraints.length(Some(token), "clientRequestToken", 1, 36);
    constraints.check()?;
    // The members of a parsed object are in order, so that equal requests have equal texts.
    let text = members.get("TransactItems").map(Value::to_string).unwrap_or_default();
    let fingerprint = Sha256::digest(text.as_bytes());
    Ok(Some(Token {
        token: token.as_bytes().to_vec().into(),
        fingerprint: fingerprint[..16].to_vec().into(),
    }))
}

fn read_op(at: usize, mut members: Members) -> Answered<Op> {
    let mut kinds = ["ConditionCheck", "Put", "Delete", "Update"].into_iter();
    let mut next = || kinds.find(|kind| Params(&members).has(kind));
    let (Some(kind), None) = (next(), next()) else {
        return Err(ApiError::validation(
            "TransactItems can only contain one of Check, Put, Update or Delete",
        ));
    };
    let asked = take(&mut members, kind).unwrap_or(Value::Null);
    let member = match kind {
        "ConditionCheck" => "conditionCheck",
        "Put" => "put",
        "Delete" => "delete",
        _ => "update",
    };
    let place = At(at, member);
    let (table, mut members) = operation(asked, place, if kind == "Put" { "Item" } else { "Key" })?;
    let on_failure = text(&members, "ReturnValuesOnConditionCheckFailure")?;
    if on_failure.is_some() {
        let mut constraints = Constraints::default();
        let path = format!("{place}.returnValuesOnConditionCheckFailure");
        constraints.word(on_failure.as_deref(), &path, &["ALL_OLD", "NONE"]);
        constraints.check()?;
    }
    check_styles(&members, &["UpdateExpression", "ConditionExpression"], &[])?;
    let given = items::item(&mut members, if kind == "Put" { "Item" } else { "Key" })?;
    if kind == "Put" {
        given.check().map_err(of_item)?;
    }
    let mut expressions = expressions(&mut members)?;
    let update = match (kind, text(&members, "UpdateExpression")?) {
        ("Update", Some(text)) => Some(expressions.update(&text).map_err(of_item)?),
        ("Update", None) => return Err(missing(&format!("{place}.updateExpression"))),
        _ => None,
    };
    let condition = match text(&members, "ConditionExpression")? {
        Some(text) => Some(expressions.condition(Use::Condition, &text).map_err(of_item)?),
        None if kind == "ConditionCheck" => return Err(missing(&format!("{place}.conditionExpression"))),
        None => None,
    };
    expressions.finish().map_err(of_item)?;
    let bytes = given.encode().into();
    let action = match (kind, update) {
        ("Put", _) => Action::Put { item: bytes },
        ("Delete", _) => Action::Delete { key: bytes },
        ("Update", Some(update)) => Action::Update { key: bytes, update: update.encode().into() },
        _ => Action::Check { key: bytes },
    };
    Ok(Op {
        table,
        action,
        condition: condition.map(|condition| condition.encode().into()),
        returns: Returns::None,
        old_on_failure: on_failure.as_deref() == Some("ALL_OLD"),
    })
}

/// The error of a transaction that was not done: why, in the order of its operations.
fn check(done: &[Done]) -> Answered<()> {
    if done.iter().all(|done| done.outcome == Outcome::Done) {
        return Ok(());
    }
    if done.iter().any(|done| matches!(done.outcome, Outcome::NoTable(_))) {
        return Err(ApiError::new(Kind::NotFound, "Requested resource not found"));
    }
    // An empty key is not a reason to cancel: the request is refused as a whole, as if nothing else were wrong with it.
    let empty = done.iter().find_map(|done| match &done.outcome {
        Outcome::Invalid(text) if text.starts_with("One or more parameter values are not valid.") => {
            Some(text)
        }
        _ => None,
    });
    if let Some(text) = empty {
        return Err(ApiError::validation(text.clone()));
    }
    let reasons = done.iter().map(reason).collect::<Answered<Vec<_>>>()?;
    let codes: Vec<&str> = done.iter().map(code).collect();
    let mut error = ApiError::new(
        Kind::Canceled,
        format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
            codes.join(", ")
        ),
    );
    error.extra = Some(("CancellationReasons", Value::Array(reasons)));
    Err(error)
}

/// The error of reads that found their items changing in every try.
pub(crate) fn in_conflict(items: usize) -> ApiError {
    let conflict = vec![Done::of(Outcome::Conflict); items];
    check(&conflict).err().unwrap_or_else(unexpected)
}

fn code(done: &Done) -> &'static str {
    match &done.outcome {
        Outcome::Done => "None",
        Outcome::ConditionFailed => "ConditionalCheckFailed",
        Outcome::Conflict => "TransactionConflict",
        Outcome::Invalid(_) | Outcome::NoTable(_) => "ValidationError",
    }
}

fn reason(done: &Done) -> Answered<Value> {
    let mut out = Map::new();
    out.insert("Code".into(), json!(code(done)));
    match &done.outcome {
        Outcome::Done => {}
        Outcome::ConditionFailed => {
            out.insert("Message".into(), json!("The conditional request failed"));
        }
        Outcome::Conflict => {
            out.insert("Message".into(), json!("Transaction is ongoing for the item"));
        }
        Outcome::Invalid(text) | Outcome::NoTable(text) => {
            out.insert("Message".into(), json!(text));
        }
    }
    if let Some(item) = attributes(done)? as Option<Item> {
        out.insert("Item".into(), value_of(&item));
    }
    Ok(Value::Object(out))
}
