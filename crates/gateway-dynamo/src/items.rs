//! Operations on one item: `PutItem`, `GetItem`, `DeleteItem`, `UpdateItem`.

use crate::body::Params;
use crate::capacity::{Told, Units, read_units};
use crate::failure::{Answered, ApiError, Kind, Retry};
use crate::limits::{Arns, Constraints};
use crate::reply::{Reply, value_of};
use crate::{Gateway, unexpected};
use bytes::Bytes;
use quorate_item::codec::Codec;
use quorate_item::expr::check_parameters;
use quorate_item::key::{INDEX_KEY_TYPE, PARTITION_SIZE, SORT_SIZE};
use quorate_item::{
    Condition, Error, Expressions, Item, Path, Projection, Source, Step, Update, Use, legacy,
};
use quorate_node::api::tables::{Get, Got, Read, ReadReply};
use quorate_wire::table::{self, Action, Done, Op, Outcome, Returns};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A request's members, owned: what is large is taken out of them.
pub(crate) type Members = Map<String, Value>;

/// A member, taken out, if it is there and not null.
pub(crate) fn take(members: &mut Members, name: &str) -> Option<Value> {
    members.remove(name).filter(|value| !value.is_null())
}

/// What is wrong with a request's values and expressions.
pub(crate) fn of_item(error: Error) -> ApiError {
    match error {
        Error::Validation(text) => ApiError::validation(text),
        Error::Serialization(text) => ApiError::new(Kind::Serialization, text),
    }
}

/// The members `ExpressionAttributeNames` and `ExpressionAttributeValues`.
pub(crate) fn expressions(members: &mut Members) -> Answered<Expressions> {
    let names = take(members, "ExpressionAttributeNames");
    Expressions::from_checked(names, take(members, "ExpressionAttributeValues")).map_err(of_item)
}

/// In a transaction both are passed over where there is no expression; `kinds` are those that the operation has.
pub(crate) fn pass_over_unused(members: &mut Members, kinds: &[&str]) {
    if !kinds.iter().any(|kind| Params(members).has(kind)) {
        members.remove("ExpressionAttributeNames");
        members.remove("ExpressionAttributeValues");
    }
}

/// Refuses names and values that no expression could use, and old parameters beside new ones. `kinds` are the expressions
/// that the operation has, `old` its older parameters.
pub(crate) fn check_styles(members: &Members, kinds: &[&str], old: &[&str]) -> Answered<()> {
    let params = Params(members);
    fn there<'n>(params: Params<'_>, names: &[&'n str]) -> Vec<(&'n str, bool)> {
        names.iter().map(|name| (*name, params.has(name))).collect()
    }
    let (names, values) = (params.has("ExpressionAttributeNames"), params.has("ExpressionAttributeValues"));
    check_parameters(&there(params, kinds), &there(params, old), names, values).map_err(of_item)
}

/// An expression's text, if it is there.
pub(crate) fn text(members: &Members, name: &str) -> Answered<Option<String>> {
    Ok(Params(members).text(name)?.map(String::from))
}

/// `ConditionExpression`, or `Expected` with its operator.
fn condition(members: &mut Members, expressions: &mut Expressions) -> Answered<Option<Condition>> {
    if let Some(text) = text(members, "ConditionExpression")? {
        return expressions.condition(Use::Condition, &text).map(Some).map_err(of_item);
    }
    let operator = text(members, "ConditionalOperator")?;
    match take(members, "Expected") {
        Some(expected) => legacy::expected(expected, operator.as_deref()).map(Some).map_err(of_item),
        None if operator.is_some() => Err(operator_alone()),
        None => Ok(None),
    }
}

pub(crate) fn operator_alone() -> ApiError {
    ApiError::validation("ConditionalOperator cannot be used without Filter or Expected")
}

/// `ProjectionExpression`, or `AttributesToGet`.
pub(crate) fn projection(
    members: &mut Members,
    expressions: &mut Expressions,
) -> Answered<Option<Projection>> {
    if let Some(text) = text(members, "ProjectionExpression")? {
        return expressions.projection(&text).map(Some).map_err(of_item);
    }
    match Params(members).texts("AttributesToGet")? {
        Some(names) => legacy::attributes_to_get(names).map(Some).map_err(of_item),
        None => Ok(None),
    }
}

/// What a request projects of many items, in bytes of names: each item has a copy of what is projected of it.
#[derive(Default)]
pub(crate) struct Projected(usize);

impl Projected {
    const MAX: usize = 16 << 20;

    /// Counts the projection of so many items, before it is copied.
    pub(crate) fn add(&mut self, projection: Option<&Projection>, items: usize) -> Answered<()> {
        let Some(Projection { paths }) = projection else { return Ok(()) };
        let of_step = |step: &Step| if let Step::Field(name) = step { name.len() } else { 0 };
        let of_path = |path: &Path| path.root.len() + path.steps.iter().map(of_step).sum::<usize>();
        self.0 = self.0.saturating_add(paths.iter().map(of_path).sum::<usize>().saturating_mul(items));
        if self.0 <= Self::MAX {
            return Ok(());
        }
        Err(ApiError::validation(
            "The names of attributes that are asked for, counted for each of the items, have exceeded the maximum allowed \
             size of 16 MB",
        ))
    }
}

/// The paths into documents of a condition, and of what an update reads.
pub(crate) fn deep(condition: Option<&Condition>, update: Option<&Update>) -> Vec<Path> {
    let read =
        condition.into_iter().flat_map(Condition::paths).chain(update.into_iter().flat_map(Update::sources));
    read.filter(|path| !path.steps.is_empty()).cloned().collect()
}

/// Refuses such paths that lead into a key, of the table or of an index, which has no parts. Replicas that apply the write hold only
/// conditions to that, and only against the table's key, as those of earlier releases do: an entry means the same to all.
pub(crate) async fn check_deep(gateway: &Gateway, table: &str, paths: &[Path]) -> Answered<()> {
    if paths.is_empty() {
        return Ok(());
    }
    // Whether there is such a table is told where the write is done.
    let Ok(ReadReply::Table(described)) = gateway.read(Read::Describe(table.into()), false).await else {
        return Ok(());
    };
    described.schema.check_paths(paths).map_err(of_item)?;
    described.indexes.iter().try_for_each(|(_, schema)| schema.check_index_paths(paths)).map_err(of_item)
}

/// An item or a key that a request gives.
pub(crate) fn item(members: &mut Members, name: &str) -> Answered<Item> {
    let value = take(members, name).unwrap_or_else(|| Value::Object(Map::new()));
    Item::from_checked(value).map_err(of_item)
}

/// No key is larger, with the names of its attributes.
const KEY_SIZE: usize = PARTITION_SIZE + SORT_SIZE + 2 * 255;

/// Refuses keys that are larger than any, before they are copied to wherever the others are looked at.
pub(crate) async fn check_large(
    gateway: &Gateway,
    table: &str,
    keys: impl IntoIterator<Item = &Item>,
) -> Answered<()> {
    let Some(key) = keys.into_iter().find(|key| key.size() > KEY_SIZE) else { return Ok(()) };
    crate::tables::there(gateway, table).await?.schema.key_of(key).map(drop).map_err(of_item)
}

/// What all writes of one item say beside what is done.
struct Asked {
    table: String,
    arns: Arns,
    returns: Returns,
    old_on_failure: bool,
    told: Told,
    collection: bool,
    /// The update is one of the older parameters, which have texts of their own.
    older: Option<Update>,
}

const RETURNS: [&str; 5] = ["NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"];

fn asked(members: &Members, must: &str, path: &str) -> Answered<Asked> {
    let params = Params(members);
    let mut constraints = Constraints::default();
    let table = constraints.table(params)?;
    if !params.has(must) {
        constraints.missing(path);
    }
    let returns = params.text("ReturnValues")?;
    constraints.word(returns, "returnValues", &["ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"]);
    let on_failure = params.text("ReturnValuesOnConditionCheckFailure")?;
    constraints.word(on_failure, "returnValuesOnConditionCheckFailure", &["ALL_OLD", "NONE"]);
    let collection = params.text("ReturnItemCollectionMetrics")?;
    constraints.word(collection, "returnItemCollectionMetrics", &["SIZE", "NONE"]);
    let told = Told::read(params, &mut constraints)?;
    constraints.check()?;
    let returns = match RETURNS.iter().position(|word| Some(*word) == returns) {
        Some(1) => Returns::AllOld,
        Some(2) => Returns::UpdatedOld,
        Some(3) => Returns::AllNew,
        Some(4) => Returns::UpdatedNew,
        _ => Returns::None,
    };
    Ok(Asked {
        table,
        arns: Arns::of(members),
        returns,
        old_on_failure: on_failure == Some("ALL_OLD"),
        told,
        collection: collection == Some("SIZE"),
        older: None,
    })
}

/// Only what was there can be returned.
fn only_old(asked: &Asked) -> Answered<()> {
    if matches!(asked.returns, Returns::None | Returns::AllOld) {
        return Ok(());
    }
    Err(ApiError::validation("ReturnValues can only be ALL_OLD or NONE"))
}

pub(crate) async fn put(gateway: &Gateway, mut members: Members) -> Answered<Vec<u8>> {
    let asked = asked(&members, "Item", "item")?;
    only_old(&asked)?;
    check_styles(&members, &["ConditionExpression"], &["Expected", "ConditionalOperator"])?;
    let item = item(&mut members, "Item")?;
    item.check().map_err(of_item)?;
    let mut expressions = expressions(&mut members)?;
    let condition = condition(&mut members, &mut expressions)?;
    expressions.finish().map_err(of_item)?;
    check_deep(gateway, &asked.table, &deep(condition.as_ref(), None)).await?;
    write(gateway, &asked, Action::Put { item: item.encode().into() }, condition, true, &item).await
}

pub(crate) async fn delete(gateway: &Gateway, mut members: Members) -> Answered<Vec<u8>> {
    let asked = asked(&members, "Key", "key")?;
    only_old(&asked)?;
    check_styles(&members, &["ConditionExpression"], &["Expected", "ConditionalOperator"])?;
    let key = item(&mut members, "Key")?;
    let mut expressions = expressions(&mut members)?;
    let condition = condition(&mut members, &mut expressions)?;
    expressions.finish().map_err(of_item)?;
    check_large(gateway, &asked.table, [&key]).await?;
    check_deep(gateway, &asked.table, &deep(condition.as_ref(), None)).await?;
    write(gateway, &asked, Action::Delete { key: key.encode().into() }, condition, true, &key).await
}

pub(crate) async fn update(gateway: &Gateway, mut members: Members) -> Answered<Vec<u8>> {
    let mut asked = asked(&members, "Key", "key")?;
    let older = ["AttributeUpdates", "Expected", "ConditionalOperator"];
    check_styles(&members, &["UpdateExpression", "ConditionExpression"], &older)?;
    let key = item(&mut members, "Key")?;
    let mut expressions = expressions(&mut members)?;
    let is_older = Params(&members).has("AttributeUpdates");
    let update = update_of(&mut members, &mut expressions)?;
    asked.older = is_older.then(|| update.clone());
    let condition = condition(&mut members, &mut expressions)?;
    expressions.finish().map_err(of_item)?;
    check_large(gateway, &asked.table, [&key]).await?;
    check_deep(gateway, &asked.table, &deep(condition.as_ref(), Some(&update))).await?;
    let again = is_idempotent(&update);
    let action = Action::Update { key: key.encode().into(), update: update.encode().into() };
    write(gateway, &asked, action, condition, again, &key).await
}

fn update_of(members: &mut Members, expressions: &mut Expressions) -> Answered<Update> {
    if let Some(text) = text(members, "UpdateExpression")? {
        return expressions.update(&text).map_err(of_item);
    }
    match take(members, "AttributeUpdates") {
        Some(updates) => legacy::updates(updates).map_err(of_item),
        None => Ok(Update::default()),
    }
}

/// Done twice it leaves the same as done once.
fn is_idempotent(update: &Update) -> bool {
    // Taking an element out of a list moves those behind it.
    let moves = update.remove.iter().any(|path| matches!(path.steps.last(), Some(Step::Index(_))));
    !update.reads() && !moves
}

async fn write(
    gateway: &Gateway,
    asked: &Asked,
    action: Action,
    condition: Option<Condition>,
    again: bool,
    keys: &Item,
) -> Answered<Vec<u8>> {
    // A condition that held may not hold the second time, and what was there is then what the first try left.
    let harmless = again && condition.is_none() && asked.returns == Returns::None;
    let retry = if harmless { Retry::Harmless } else { Retry::Harmful };
    let op = Op {
        table: asked.table.clone(),
        action,
        condition: condition.map(|condition| condition.encode().into()),
        returns: asked.returns,
        old_on_failure: asked.old_on_failure,
    };
    let mut done = execute(gateway, false, None, vec![op], retry).await?.unwrap_or_default();
    let done = done.pop().ok_or_else(unexpected)?;
    if let Err(error) = check(&done) {
        return Err(match &asked.older {
            Some(update) => in_older_words(gateway, &asked.table, update, error).await,
            None => error,
        });
    }
    let mut reply = Reply::new();
    if let Some(attributes) = attributes(&done)? {
        reply.item("Attributes", &attributes);
    }
    if asked.told != Told::Nothing {
        let called = asked.arns.called(&asked.table);
        reply.value("ConsumedCapacity", &Units::of_write(&done, 1).told(called, asked.told, None));
    }
    if asked.collection {
        let metrics = collections(gateway, &[(asked.table.clone(), keys.clone())]).await?;
        if let Some(metrics) = metrics.into_values().flatten().next() {
            reply.value("ItemCollectionMetrics", &metrics);
        }
    }
    Ok(reply.finish())
}

/// What is told of an update by `AttributeUpdates` that met a value of another type.
async fn in_older_words(gateway: &Gateway, table: &str, update: &Update, error: ApiError) -> ApiError {
    if error.kind != Kind::Validation {
        return error;
    }
    if error.message != INDEX_KEY_TYPE {
        return of_item(legacy::update_error(Error::Validation(error.message)));
    }
    let Ok(described) = crate::tables::described(gateway, table).await else { return error };
    for (index, schema) in &described.indexes {
        for (path, source) in &update.set {
            let Source::Value(value) = source else { continue };
            let item = Item([(path.root.clone(), value.clone())].into());
            if let Err(why) = schema.check_index(index, &item) {
                return of_item(why);
            }
        }
    }
    error
}

/// `ItemCollectionMetrics` of writes to tables with local indexes, by table. There is no bound of 10 GB here, so that the
/// estimate is of no use.
pub(crate) async fn collections(
    gateway: &Gateway,
    written: &[(String, Item)],
) -> Answered<BTreeMap<String, Vec<Value>>> {
    let mut hashes: BTreeMap<&str, Option<String>> = BTreeMap::new();
    let mut metrics: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (table, keys) in written {
        if !hashes.contains_key(&table[..]) {
            let (definition, _) = crate::tables::definition(gateway, table).await?;
            let hash = definition.keys.hash.into_iter().next();
            hashes.insert(table, hash.filter(|_| !definition.locals.is_empty()));
        }
        let Some(hash) = hashes.get(&table[..]).and_then(Option::as_ref) else { continue };
        let key = Item(keys.get(hash).map(|value| (hash.clone(), value.clone())).into_iter().collect());
        let one =
            serde_json::json!({ "ItemCollectionKey": value_of(&key), "SizeEstimateRangeGB": [0.0, 1.0] });
        let of_table = metrics.entry(table.clone()).or_default();
        if !of_table.contains(&one) {
            of_table.push(one);
        }
    }
    Ok(metrics)
}

/// Runs operations in one entry; `None` says that the token's work was done before.
pub(crate) async fn execute(
    gateway: &Gateway,
    atomic: bool,
    token: Option<table::Token>,
    ops: Vec<Op>,
    retry: Retry,
) -> Answered<Option<Vec<Done>>> {
    crate::route::execute(gateway, atomic, token, ops, retry).await
}

/// The error of an operation that was not done.
pub(crate) fn check(done: &Done) -> Answered<()> {
    match &done.outcome {
        Outcome::Done => Ok(()),
        Outcome::ConditionFailed => {
            let mut error = ApiError::new(Kind::ConditionFailed, "The conditional request failed");
            error.extra = attributes(done)?.map(|item| ("Item", value_of(&item)));
            Err(error)
        }
        Outcome::Conflict => Err(ApiError::new(Kind::Conflict, "Transaction is ongoing for the item")),
        Outcome::Invalid(text) => Err(ApiError::validation(text.clone())),
        Outcome::NoTable(_) => Err(ApiError::new(Kind::NotFound, "Requested resource not found")),
    }
}

/// The item that an operation answers with.
pub(crate) fn attributes(done: &Done) -> Answered<Option<Item>> {
    let decode = |bytes: &Bytes| Item::decode(bytes).map_err(|_| unexpected());
    done.attributes.as_ref().map(decode).transpose()
}

pub(crate) async fn get(gateway: &Gateway, mut members: Members) -> Answered<Vec<u8>> {
    let params = Params(&members);
    let mut constraints = Constraints::default();
    let table = constraints.table(params)?;
    if !params.has("Key") {
        constraints.missing("key");
    }
    let told = Told::read(params, &mut constraints)?;
    constraints.check()?;
    let arns = Arns::of(&members);
    let consistent = params.flag("ConsistentRead")?.unwrap_or(false);
    check_styles(&members, &["ProjectionExpression"], &["AttributesToGet"])?;
    let key = item(&mut members, "Key")?;
    let mut expressions = expressions(&mut members)?;
    let projection = projection(&mut members, &mut expressions)?;
    expressions.finish().map_err(of_item)?;
    check_large(gateway, &table, [&key]).await?;
    let get = Get { projection, ..Get::of(&table, key) };
    let got = gets(gateway, vec![get], consistent).await?.pop().ok_or_else(unexpected)?;
    let mut reply = Reply::new();
    if let Some(item) = &got.item {
        reply.item("Item", item);
    }
    if told != Told::Nothing {
        let units = Units::of_table(read_units(got.bytes, consistent));
        reply.value("ConsumedCapacity", &units.told(arns.called(&table), told, None));
    }
    Ok(reply.finish())
}

/// Items by their keys, each at a moment of its own where they lie in several shards.
pub(crate) async fn gets(gateway: &Gateway, gets: Vec<Get>, consistent: bool) -> Answered<Vec<Got>> {
    crate::route::gets(gateway, gets, consistent, false).await
}
