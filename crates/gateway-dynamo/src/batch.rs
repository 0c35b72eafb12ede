//! `BatchGetItem` and `BatchWriteItem`: many items, each for itself.
//!
//! Writes of a batch go into as few entries as their size allows. What a node could not do is told as unprocessed only
//! where nothing of it was done.

use crate::body::{Params, object};
use crate::capacity::{Told, Units, read_units};
use crate::failure::{Answered, ApiError, Kind, Retry};
use crate::items::{self, Members, Projected, check_styles, expressions, of_item, projection, take};
use crate::limits::{Arns, Constraints, bare, is_table_name};
use crate::reply::{Reply, write_items, write_text};
use crate::{Gateway, unexpected};
use quorate_item::codec::Codec;
use quorate_item::{Item, check_parameters};
use quorate_node::api::tables::{Described, Get};
use quorate_wire::table::{Action, Op, Returns};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// So many items a batch may name.
const GETS_MAX: usize = 100;
const WRITES_MAX: usize = 25;
/// An answer ends behind so many bytes of items; the rest is unprocessed.
const ANSWER_BYTES: usize = 16 << 20;
/// An entry with writes of a batch is about so large at most.
const ENTRY_BYTES: usize = 1 << 20;

/// Holds what is asked of one table to its constraints.
type Constrain = fn(&str, &Value, &mut Constraints) -> Answered<()>;

/// The tables of a batch, in order, with what is asked of each.
fn tables(members: &mut Members, constrain: Constrain) -> Answered<(Told, Vec<(String, Value)>)> {
    let params = Params(members);
    let mut constraints = Constraints::default();
    let told = Told::read(params, &mut constraints)?;
    if !params.has("RequestItems") {
        constraints.missing("requestItems");
    }
    let asked = params.object("RequestItems")?;
    if asked.is_some_and(|asked| asked.0.is_empty()) {
        constraints.broken("{}", "requestItems", "Member must have length greater than or equal to 1");
    }
    for (name, asked) in asked.into_iter().flat_map(|asked| asked.0) {
        constrain(bare(name), asked, &mut constraints)?;
    }
    constraints.check()?;
    match take(members, "RequestItems") {
        Some(Value::Object(tables)) => Ok((told, tables.into_iter().collect())),
        _ => Err(crate::body::serialization("Unexpected field type")),
    }
}

/// The tables' names are keys of a map, whose constraints are told together.
fn constrain_name(name: &str, asked: &Value, constraints: &mut Constraints) {
    if !is_table_name(name) {
        let what = "Map keys must satisfy constraint: [Member must have length less than or equal to 255, Member must have \
                    length greater than or equal to 3, Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+]";
        constraints.broken(&shown(name, asked), "requestItems", what);
    }
}

/// What is asked of a table, in short.
fn shown(table: &str, asked: &Value) -> String {
    match asked.as_array().map_or(0, Vec::len) {
        0 if asked.is_array() => format!("{{{table}=[]}}"),
        0 => format!("{{{table}=KeysAndAttributes}}"),
        many => format!("{{{table}=[{many} requests]}}"),
    }
}

// ---- BatchGetItem ----

struct Asked {
    /// As the request calls it: a name, or an ARN.
    name: String,
    consistent: bool,
    gets: Vec<Get>,
    /// As it was asked, for what is not processed.
    rest: Members,
}

pub(crate) async fn get(gateway: &Gateway, mut members: Members) -> Answered<Vec<u8>> {
    let (told, tables) = tables(&mut members, constrain_gets)?;
    check_styles_of(&tables)?;
    let keys = |(_, asked): &(String, Value)| asked.get("Keys").and_then(Value::as_array).map_or(0, Vec::len);
    if tables.iter().map(keys).sum::<usize>() > GETS_MAX {
        return Err(ApiError::validation("Too many items requested for the BatchGetItem call"));
    }
    let mut projected = Projected::default();
    let asked = tables.into_iter().map(|table| read_gets(table, &mut projected));
    let asked = asked.collect::<Answered<Vec<_>>>()?;
    for Asked { name, gets, .. } in &asked {
        items::check_large(gateway, bare(name), gets.iter().map(|get| &get.key)).await?;
    }
    let mut bytes = 0;
    let (mut responses, mut unprocessed, mut capacity) = (Vec::new(), Map::new(), Vec::new());
    for Asked { name, consistent, gets, mut rest } in asked {
        let got = items::gets(gateway, gets.clone(), consistent).await?;
        let (mut found, mut units, mut left) = (Vec::new(), Units::default(), Vec::new());
        for (get, got) in gets.iter().zip(got) {
            if bytes >= ANSWER_BYTES {
                left.push(crate::reply::value_of(&get.key));
                continue;
            }
            bytes += got.bytes;
            units.add(Units::of_table(read_units(got.bytes, consistent)));
            found.extend(got.item);
        }
        if !left.is_empty() {
            rest.insert("Keys".into(), Value::Array(left));
            unprocessed.insert(name.clone(), Value::Object(rest));
        }
        capacity.push(units.told(&name, told, None));
        responses.push((name, found));
    }
    let mut reply = Reply::new();
    reply.raw("Responses", |out| write_tables(out, &responses));
    reply.value("UnprocessedKeys", &Value::Object(unprocessed));
    if told != Told::Nothing {
        reply.value("ConsumedCapacity", &Value::Array(capacity));
    }
    Ok(reply.finish())
}

fn write_tables(out: &mut Vec<u8>, tables: &[(String, Vec<Item>)]) {
    out.push(b'{');
    for (at, (table, items)) in tables.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(out, table);
        out.push(b':');
        write_items(out, items);
    }
    out.push(b'}');
}

fn constrain_gets(table: &str, asked: &Value, constraints: &mut Constraints) -> Answered<()> {
    constrain_name(table, asked, constraints);
    let path = format!("requestItems.{table}.member.keys");
    match object(asked)?.list("Keys")?.map(Vec::len) {
        None => constraints.missing(&path),
        Some(0) => constraints.broken("[]", &path, "Member must have length greater than or equal to 1"),
        Some(many) if many > GETS_MAX => {
            let what = format!("Member must have length less than or equal to {GETS_MAX}");
            constraints.broken(&format!("[{many} keys]"), &path, &what);
        }
        Some(_) => {}
    }
    Ok(())
}

/// Expressions in one table and older parameters in another are not taken, either.
fn check_styles_of(tables: &[(String, Value)]) -> Answered<()> {
    let there = |member: &'static str| {
        let has = |(_, asked): &(String, Value)| asked.get(member).is_some_and(|value| !value.is_null());
        [(member, tables.iter().any(has))]
    };
    check_parameters(&there("ProjectionExpression"), &there("AttributesToGet"), false, false).map_err(of_item)
}

fn read_gets((name, asked): (String, Value), projected: &mut Projected) -> Answered<Asked> {
    let table = bare(&name).to_string();
    let Value::Object(mut members) = asked else {
        return Err(crate::body::serialization("Unexpected field type"));
    };
    let consistent = Params(&members).flag("ConsistentRead")?.unwrap_or(false);
    check_styles(&members, &["ProjectionExpression"], &["AttributesToGet"])?;
    let keys = take(&mut members, "Keys");
    let rest = members.clone();
    let mut expressions = expressions(&mut members)?;
    let projection = projection(&mut members, &mut expressions)?;
    expressions.finish().map_err(of_item)?;
    let Some(Value::Array(keys)) = keys else { return Err(unexpected()) };
    projected.add(projection.as_ref(), keys.len())?;
    let mut gets = Vec::with_capacity(keys.len());
    let mut seen = BTreeSet::new();
    for key in keys {
        let key = Item::from_checked(key).map_err(of_item)?;
        if !seen.insert(key.encode()) {
            return Err(ApiError::validation("Provided list of item keys contains duplicates"));
        }
        gets.push(Get { projection: projection.clone(), ..Get::of(&table, key) });
    }
    Ok(Asked { name, consistent, gets, rest })
}

// ---- BatchWriteItem ----

pub(crate) async fn write(gateway: &Gateway, mut members: Members) -> Answered<Vec<u8>> {
    let mut constraints = Constraints::default();
    let metrics = Params(&members).text("ReturnItemCollectionMetrics")?;
    constraints.word(metrics, "returnItemCollectionMetrics", &["SIZE", "NONE"]);
    constraints.check()?;
    let measured = metrics == Some("SIZE");
    let arns = Arns::of(&members);
    let (told, tables) = tables(&mut members, |_, _, _| Ok(()))?;
    check_lengths(&tables)?;
    let mut ops: Vec<(Op, Value)> = Vec::new();
    for (name, writes) in tables {
        let table = bare(&name).to_string();
        let mut constraints = Constraints::default();
        constrain_name(&table, &writes, &mut constraints);
        constraints.check()?;
        let Value::Array(writes) = writes else {
            return Err(crate::body::serialization("Unexpected field type"));
        };
        check_members(&table, &writes)?;
        for write in writes {
            ops.push((read_write(&table, &write)?, write));
        }
    }
    if ops.len() > WRITES_MAX {
        return Err(ApiError::validation("Too many items requested for the BatchWriteItem call"));
    }
    check_keys(gateway, &ops).await?;
    let metrics = if measured { collections_of(gateway, &ops).await? } else { BTreeMap::new() };
    let mut units: BTreeMap<String, Units> = BTreeMap::new();
    let mut unprocessed = Map::new();
    let mut first = true;
    while !ops.is_empty() {
        let mut bytes = 0;
        let over = |(op, _): &(Op, Value)| {
            bytes += op.size();
            bytes > ENTRY_BYTES
        };
        let many = ops.iter().position(over).unwrap_or(ops.len()).max(1);
        let rest = ops.split_off(many);
        let now = std::mem::replace(&mut ops, rest);
        let written = now.iter().map(|(op, _)| op.clone()).collect();
        // Plain writes: done twice they leave the same.
        match items::execute(gateway, false, None, written, Retry::Harmless).await {
            Ok(done) => {
                for ((op, _), done) in now.iter().zip(done.unwrap_or_default()) {
                    items::check(&done)?;
                    units.entry(op.table.clone()).or_default().add(Units::of_write(&done, 1));
                }
            }
            // What came before is done: the rest is told as not processed.
            Err(error) if !first && matches!(error.kind, Kind::Throttled | Kind::Unavailable) => {
                for (op, write) in now.into_iter().chain(std::mem::take(&mut ops)) {
                    let list = unprocessed.entry(arns.called(&op.table)).or_insert_with(|| json!([]));
                    if let Some(list) = list.as_array_mut() {
                        list.push(write);
                    }
                }
            }
            Err(error) => return Err(error),
        }
        first = false;
    }
    let mut reply = Reply::new();
    reply.value("UnprocessedItems", &Value::Object(unprocessed));
    if !metrics.is_empty() {
        reply.value("ItemCollectionMetrics", &collections_called(metrics, &arns));
    }
    if told != Told::Nothing {
        let told = units.iter().map(|(table, units)| units.told(arns.called(table), told, None));
        reply.value("ConsumedCapacity", &Value::Array(told.collect()));
    }
    Ok(reply.finish())
}

/// The list of one table has bounds of its own, before that of all of them.
fn check_lengths(tables: &[(String, Value)]) -> Answered<()> {
    let wrong = |(_, writes): &&(String, Value)| {
        writes.as_array().is_some_and(|list| list.is_empty() || list.len() > WRITES_MAX)
    };
    let Some((table, writes)) = tables.iter().find(wrong) else { return Ok(()) };
    let mut constraints = Constraints::default();
    let what = format!(
        "Map value must satisfy constraint: [Member must have length less than or equal to {WRITES_MAX}, Member must have \
         length greater than or equal to 1]"
    );
    constraints.broken(&shown(table, writes), "requestItems", &what);
    constraints.check()
}

/// Item collections by table, as the request calls them.
pub(crate) fn collections_called(metrics: BTreeMap<String, Vec<Value>>, arns: &Arns) -> Value {
    metrics.into_iter().map(|(table, of)| (arns.called(&table).to_string(), json!(of))).collect()
}

async fn collections_of(gateway: &Gateway, ops: &[(Op, Value)]) -> Answered<BTreeMap<String, Vec<Value>>> {
    let mut given = Vec::with_capacity(ops.len());
    for (op, _) in ops {
        let (Action::Put { item: bytes } | Action::Delete { key: bytes }) = &op.action else { continue };
        given.push((op.table.clone(), Item::decode(bytes).map_err(|_| unexpected())?));
    }
    items::collections(gateway, &given).await
}

/// Each write of a table says what it writes.
fn check_members(table: &str, writes: &[Value]) -> Answered<()> {
    let mut constraints = Constraints::default();
    for (at, write) in writes.iter().enumerate() {
        for (kind, member, path) in
            [("DeleteRequest", "Key", "deleteRequest.key"), ("PutRequest", "Item", "putRequest.item")]
        {
            if object(write)?.object(kind)?.is_some_and(|asked| !asked.has(member)) {
                constraints.missing(&format!("requestItems.{table}.member.{}.member.{path}", at + 1));
            }
        }
    }
    constraints.check()
}

fn read_write(table: &str, write: &Value) -> Answered<Op> {
    let params = object(write)?;
    let (put, delete) = (params.object("PutRequest")?, params.object("DeleteRequest")?);
    let given = |params: Params<'_>, name: &str| {
        let value = params.get(name).cloned().unwrap_or_else(|| json!({}));
        Item::from_checked(value).map_err(of_item)
    };
    let action = match (put, delete) {
        (Some(put), None) => {
            let item = given(put, "Item")?;
            item.check().map_err(of_item)?;
            Action::Put { item: item.encode().into() }
        }
        (None, Some(delete)) => Action::Delete { key: given(delete, "Key")?.encode().into() },
        _ => {
            return Err(ApiError::validation(
                "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes",
            ));
        }
    };
    Ok(Op { table: table.into(), action, condition: None, returns: Returns::None, old_on_failure: false })
}

/// Nothing of a batch is done if its tables or keys make no sense: an entry does the rest of its operations.
async fn check_keys(gateway: &Gateway, ops: &[(Op, Value)]) -> Answered<()> {
    let mut tables: BTreeMap<String, Described> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (op, _) in ops {
        if !tables.contains_key(&op.table) {
            tables.insert(op.table.clone(), crate::tables::there(gateway, &op.table).await?);
        }
        let Some(Described { schema, indexes, .. }) = tables.get(&op.table) else { continue };
        let key = match &op.action {
            Action::Put { item } => {
                let item = Item::decode(item).map_err(|_| unexpected())?;
                // Of a key that is missing or of another type a batch says what is said of a `Key`.
                schema.key_of(&schema.only_key(&item))
            }
            Action::Delete { key } | Action::Update { key, .. } | Action::Check { key } => {
                schema.key_of(&Item::decode(key).map_err(|_| unexpected())?)
            }
        };
        let key = key.map_err(of_item)?;
        if let Action::Put { item } = &op.action {
            let item = Item::decode(item).map_err(|_| unexpected())?;
            for (name, schema) in indexes {
                schema.check_index(name, &item).map_err(of_item)?;
            }
        }
        if !seen.insert((op.table.clone(), key.bytes())) {
            return Err(ApiError::validation("Provided list of item keys contains duplicates"));
        }
    }
    Ok(())
}
