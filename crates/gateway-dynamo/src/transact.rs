//! `TransactWriteItems` and `TransactGetItems`: all or nothing, at one moment.
//!
//! Where all items lie in one shard, a transaction is one entry there, and a read of several items one read; otherwise they are the
//! node's ([`crate::route`]).

use crate::body::{Params, object};
use crate::capacity::{Told, Units, read_units};
use crate::failure::{Answered, ApiError, Kind, Retry};
use crate::items::{
    self, Members, Projected, attributes, check_styles, expressions, of_item, pass_over_unused, projection,
    take, text,
};
use crate::limits::{Arns, Constraints, bare, is_table_name};
use crate::reply::{Reply, value_of};
use crate::{Gateway, unexpected};
use quorate_item::codec::Codec;
use quorate_item::{Item, Path, Use};
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

/// No more is read of a larger one.
const READ_MAX: usize = 4 * BYTES_MAX;

/// Holds an operation to its constraints.
type Constrain = fn(usize, Params<'_>, &mut Constraints) -> Answered<()>;

/// What a request says of all its operations: what of its capacity is told, whether its item collections are, and they.
fn read(members: &mut Members, constrain: Constrain) -> Answered<(Told, bool, Vec<Members>)> {
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
    for (at, one) in params.list("TransactItems")?.into_iter().flatten().enumerate().take(OPS_MAX) {
        constrain(at, object(one)?, &mut constraints)?;
    }
    constraints.check()?;
    let measured = metrics == Some("SIZE");
    let Some(Value::Array(list)) = take(members, "TransactItems") else { return Err(unexpected()) };
    let list = list.into_iter().map(|item| match item {
        Value::Object(members) => Ok(members),
        _ => Err(crate::body::serialization("Unexpected field type")),
    });
    Ok((told, measured, list.collect::<Answered<_>>()?))
}

/// Which operation of a request something is said of. Its text is made only where something is said.
#[derive(Clone, Copy)]
struct At(usize, &'static str);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transactItems.{}.member.{}", self.0 + 1, self.1)
    }
}

/// Holds an operation to what all have: a table's name, and the members that must be there.
fn constrain(asked: Params<'_>, at: At, must: &[&str], constraints: &mut Constraints) -> Answered<()> {
    let table = asked.text("TableName")?.map(bare);
    if table.is_none() {
        constraints.missing(&format!("{at}.tableName"));
    }
    if table.is_some_and(|table| !is_table_name(table)) {
        constraints.name_of_table(table, &format!("{at}.tableName"));
    }
    for member in must.iter().filter(|member| !asked.has(member)) {
        let (first, rest) = member.split_at(1);
        constraints.missing(&format!("{at}.{}{rest}", first.to_ascii_lowercase()));
    }
    Ok(())
}

/// The members of an operation, and its table's name.
fn operation(asked: Value) -> Answered<(String, Members)> {
    let table = object(&asked)?.text("TableName")?.map(bare).unwrap_or_default().to_string();
    match asked {
        Value::Object(members) => Ok((table, members)),
        _ => Err(unexpected()),
    }
}

// ---- TransactGetItems ----

fn constrain_get(at: usize, one: Params<'_>, constraints: &mut Constraints) -> Answered<()> {
    let at = At(at, "get");
    match one.object("Get")? {
        Some(get) => constrain(get, at, &["Key"], constraints)?,
        None => constraints.missing(&at.to_string()),
    }
    Ok(())
}

pub(crate) async fn get(gateway: &Gateway, mut members: Members) -> Answered<Vec<u8>> {
    let arns = Arns::of(&members);
    let (told, _, list) = read(&mut members, constrain_get)?;
    let mut gets = Vec::with_capacity(list.len());
    let mut projected = Projected::default();
    for mut one in list {
        let (table, mut members) = operation(take(&mut one, "Get").ok_or_else(unexpected)?)?;
        pass_over_unused(&mut members, &["ProjectionExpression"]);
        check_styles(&members, &["ProjectionExpression"], &[])?;
        let key = items::item(&mut members, "Key")?;
        let mut expressions = expressions(&mut members)?;
        let projection = projection(&mut members, &mut expressions)?;
        expressions.finish().map_err(of_item)?;
        projected.add(projection.as_ref(), 1)?;
        gets.push(Get { projection, ..Get::of(table, key) });
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
            // Of one that has nothing of what is projected it says as little as of one that is not there.
            if let Some(item) = got.item.as_ref().filter(|item| !item.0.is_empty()) {
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

/// The error of reads of which one names no key that its table may have: it cancels them, in the order of the request. An empty key is
/// refused before that.
async fn unread(gateway: &Gateway, gets: &[Get], error: ApiError) -> ApiError {
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
    let (told, measured, list) = read(&mut members, constrain_write)?;
    let (mut ops, mut deep) = (Vec::with_capacity(list.len()), Vec::with_capacity(list.len()));
    let mut bytes = 0;
    for one in list {
        let (op, paths) = read_op(one)?;
        bytes += op.size();
        // What is wrong with the others goes before their size, as far as that is no burden.
        if bytes > READ_MAX {
            return Err(too_large());
        }
        ops.push(op);
        deep.push(paths);
    }
    if bytes > BYTES_MAX {
        return Err(too_large());
    }
    check_paths(gateway, &ops, &deep).await?;
    let retry = if token.is_some() { Retry::Harmless } else { Retry::Harmful };
    let is_told = |_: &&Op| told != Told::Nothing;
    let tables: Vec<String> = ops.iter().filter(is_told).map(|op| op.table.clone()).collect();
    let written = if measured { written(&ops)? } else { Vec::new() };
    let again = if token.is_some() && told != Told::Nothing { ops.clone() } else { Vec::new() };
    let done = items::execute(gateway, true, token, ops, retry).await?;
    let mut units: BTreeMap<String, Units> = BTreeMap::new();
    if let Some(done) = &done {
        check(done)?;
        for (table, done) in tables.iter().zip(done) {
            units.entry(table.clone()).or_default().add(Units::of_write(done, 2));
        }
    } else {
        // What was done before costs a read of each item. Where that cannot be read any more it costs as much as of nothing.
        let sizes = sizes(gateway, &again).await.unwrap_or_else(|_| vec![0; again.len()]);
        for (op, bytes) in again.into_iter().zip(sizes) {
            units.entry(op.table).or_default().add(Units::of_table(2.0 * read_units(bytes, true)));
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

fn too_large() -> ApiError {
    ApiError::validation("Transaction request size has exceeded the maximum allowed size of 4 MB")
}

/// How large the items of these operations are now.
async fn sizes(gateway: &Gateway, ops: &[Op]) -> Answered<Vec<usize>> {
    let mut gets = Vec::with_capacity(ops.len());
    for op in ops {
        let (Action::Put { item: bytes }
        | Action::Delete { key: bytes }
        | Action::Update { key: bytes, .. }
        | Action::Check { key: bytes }) = &op.action;
        let given = Item::decode(bytes).map_err(|_| unexpected())?;
        let key = match &op.action {
            Action::Put { .. } => crate::tables::described(gateway, &op.table).await?.schema.only_key(&given),
            _ => given,
        };
        gets.push(Get::of(&op.table, key));
    }
    Ok(items::gets(gateway, gets, true).await?.into_iter().map(|got| got.bytes).collect())
}

/// A path into a key cancels the transaction, as it does where that is seen only when the entry is applied.
async fn check_paths(gateway: &Gateway, ops: &[Op], deep: &[Vec<Path>]) -> Answered<()> {
    if deep.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let mut done = Vec::with_capacity(ops.len());
    for (op, paths) in ops.iter().zip(deep) {
        done.push(Done::of(match items::check_deep(gateway, &op.table, paths).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Invalid(error.message),
        }));
    }
    check(&done)
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

/// Operations, what their constraints call them, and what each must have.
const KINDS: [(&str, &str, &[&str]); 4] = [
    ("ConditionCheck", "conditionCheck", &["Key", "ConditionExpression"]),
    ("Put", "put", &["Item"]),
    ("Delete", "delete", &["Key"]),
    ("Update", "update", &["Key", "UpdateExpression"]),
];

fn constrain_write(at: usize, one: Params<'_>, constraints: &mut Constraints) -> Answered<()> {
    for (kind, member, must) in KINDS {
        let Some(asked) = one.object(kind)? else { continue };
        let place = At(at, member);
        constrain(asked, place, must, constraints)?;
        if let Some(on_failure) = asked.text("ReturnValuesOnConditionCheckFailure")? {
            let path = format!("{place}.returnValuesOnConditionCheckFailure");
            constraints.word(Some(on_failure), &path, &["ALL_OLD", "NONE"]);
        }
    }
    Ok(())
}

/// An operation, and the paths into documents that it reads.
fn read_op(mut members: Members) -> Answered<(Op, Vec<Path>)> {
    let mut kinds = KINDS.into_iter().map(|(kind, ..)| kind);
    let mut next = || kinds.find(|kind| Params(&members).has(kind));
    let (Some(kind), None) = (next(), next()) else {
        return Err(ApiError::validation(
            "TransactItems can only contain one of Check, Put, Update or Delete",
        ));
    };
    let asked = take(&mut members, kind).unwrap_or(Value::Null);
    let (table, mut members) = operation(asked)?;
    let on_failure = text(&members, "ReturnValuesOnConditionCheckFailure")?;
    let kinds = ["UpdateExpression", "ConditionExpression"];
    pass_over_unused(&mut members, &kinds);
    check_styles(&members, &kinds, &[])?;
    let given = items::item(&mut members, if kind == "Put" { "Item" } else { "Key" })?;
    if kind == "Put" {
        given.check().map_err(of_item)?;
    }
    let mut expressions = expressions(&mut members)?;
    let update = match (kind, text(&members, "UpdateExpression")?) {
        ("Update", Some(text)) => Some(expressions.update(&text).map_err(of_item)?),
        _ => None,
    };
    let condition = text(&members, "ConditionExpression")?;
    let condition = condition.map(|text| expressions.condition(Use::Condition, &text));
    let condition = condition.transpose().map_err(of_item)?;
    expressions.finish().map_err(of_item)?;
    let deep = items::deep(condition.as_ref(), update.as_ref());
    let bytes = given.encode().into();
    let action = match (kind, update) {
        ("Put", _) => Action::Put { item: bytes },
        ("Delete", _) => Action::Delete { key: bytes },
        ("Update", Some(update)) => Action::Update { key: bytes, update: update.encode().into() },
        _ => Action::Check { key: bytes },
    };
    let op = Op {
        table,
        action,
        condition: condition.map(|condition| condition.encode().into()),
        returns: Returns::None,
        old_on_failure: on_failure.as_deref() == Some("ALL_OLD"),
    };
    Ok((op, deep))
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
