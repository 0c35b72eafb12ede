//! Tables as the service describes them.

use crate::{now_ms, streams, throughput};
use quorate_wire::table::{
    Billing, Capacity, Definition, Figures, Index, IndexChange, IndexState, KeyNames, Projected, Throughput,
};
use serde_json::{Map, Value, json};

/// A day, by which decreases are counted.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Where a table is, in its ARN. There is one account and one region.
const ARN: &str = "arn:aws:dynamodb:local:000000000000:table/";

/// The ARN of a table.
pub(crate) fn arn(name: &str) -> String {
    format!("{ARN}{name}")
}

/// A time as the protocol writes it: seconds since 1970.
pub(crate) fn seconds(ms: u64) -> Value {
    json!(ms as f64 / 1000.0)
}

/// A number that no other table of the cluster has, in the form of the service's.
fn table_id(definition: &Definition) -> String {
    let (id, created) = (u64::from(definition.id), definition.created);
    let mixed = (id ^ created.rotate_left(20)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        id as u32,
        mixed >> 48,
        (mixed >> 36) & 0xfff,
        (mixed >> 24) & 0xfff,
        created & 0xffff_ffff_ffff
    )
}

/// The state of an index, and whether it is being filled if it is new.
type State = (&'static str, Option<bool>);

/// `TableDescription`, with this status. A change of the table that is under way is none of its indexes.
pub(crate) fn table(definition: &Definition, figures: &Figures, status: &'static str) -> Value {
    let others = if status == "UPDATING" { "ACTIVE" } else { status };
    described(definition, figures, status, &|index| state(index, others))
}

fn state(index: &Index, others: &'static str) -> State {
    match index.state {
        IndexState::Filling(_) => ("CREATING", Some(true)),
        IndexState::Active => (others, None),
    }
}

/// The same as the answer to these changes of its indexes: one that goes is listed once more, one that comes is not filled yet, and
/// what is changed in none of them leaves them as they were. `was` is the table before.
pub(crate) fn changed(
    (mut definition, mut figures): (Definition, Figures),
    was: &(Definition, Figures),
    changes: &[IndexChange],
) -> Value {
    let (before, counted) = was;
    let paid = definition.billing != before.billing;
    for change in changes {
        let IndexChange::Delete(name) = change else { continue };
        let Some(at) = before.globals.iter().position(|index| index.name == *name) else { continue };
        let index = before.globals[at].clone();
        figures.indexes.extend(counted.indexes.iter().find(|(id, ..)| *id == index.id));
        definition.globals.insert(at.min(definition.globals.len()), index);
        // What its key names is defined as long as it is listed.
        definition.attributes.clone_from(&before.attributes);
    }
    let state = |index: &Index| {
        let of = |change: &&IndexChange| match change {
            IndexChange::Create(Index { name, .. })
            | IndexChange::Update { name, .. }
            | IndexChange::Delete(name) => *name == index.name,
        };
        match changes.iter().find(of) {
            Some(IndexChange::Create(_)) => ("CREATING", Some(false)),
            Some(IndexChange::Update { .. }) => ("UPDATING", None),
            Some(IndexChange::Delete(_)) => ("DELETING", None),
            None => state(index, if paid { "UPDATING" } else { "ACTIVE" }),
        }
    };
    described(&definition, &figures, "UPDATING", &state)
}

fn described(
    definition: &Definition,
    figures: &Figures,
    status: &str,
    state: &dyn Fn(&Index) -> State,
) -> Value {
    let mut out = Map::new();
    let arn = arn(&definition.name);
    let mut put = |name: &str, value: Value| drop(out.insert(name.into(), value));
    put("TableName", json!(definition.name));
    put("TableArn", json!(arn));
    put("TableId", json!(table_id(definition)));
    put("TableStatus", json!(status));
    put("CreationDateTime", seconds(definition.created));
    put("KeySchema", key_schema(&definition.keys));
    put("AttributeDefinitions", attributes(definition));
    put("ItemCount", json!(figures.items));
    put("TableSizeBytes", json!(figures.bytes));
    put("DeletionProtectionEnabled", json!(definition.protected));
    if let Some(summary) = billing(definition) {
        put("BillingModeSummary", summary);
    }
    if let Some(class) = &definition.class {
        let mut summary = json!({ "TableClass": class });
        if let Some(since) = definition.class_since {
            summary["LastUpdateDateTime"] = seconds(since);
        }
        put("TableClassSummary", summary);
    }
    if !definition.locals.is_empty() {
        let list = definition.locals.iter().map(|i| index(i, figures, &arn, None));
        put("LocalSecondaryIndexes", Value::Array(list.collect()));
    }
    if !definition.globals.is_empty() {
        let list =
            definition.globals.iter().map(|i| index(i, figures, &arn, Some((definition.billing, state(i)))));
        put("GlobalSecondaryIndexes", Value::Array(list.collect()));
    }
    streams::describe_latest(definition, &mut out);
    capacity(&definition.capacity, (definition.billing, definition.throughput), status, &mut out);
    Value::Object(out)
}

/// How a table is paid for; one that is paid for by capacity says so only if it was not always so.
fn billing(definition: &Definition) -> Option<Value> {
    let (mode, since) = match definition.billing {
        Billing::OnDemand => ("PAY_PER_REQUEST", definition.on_demand_since.unwrap_or(definition.created)),
        Billing::Provisioned => ("PROVISIONED", definition.on_demand_since?),
    };
    Some(json!({ "BillingMode": mode, "LastUpdateToPayPerRequestDateTime": seconds(since) }))
}

/// What is told of the capacity of a table or an index: throughput, bounds, and what it is ready for.
fn capacity(
    capacity: &Capacity,
    (billing, throughput): (Billing, Throughput),
    status: &str,
    out: &mut Map<String, Value>,
) {
    let today = capacity.shrank.is_some_and(|then| then / DAY_MS == now_ms() / DAY_MS);
    let mut provisioned = json!({
        "ReadCapacityUnits": throughput.read,
        "WriteCapacityUnits": throughput.write,
        "NumberOfDecreasesToday": if today { capacity.decreases } else { 0 },
    });
    for (when, name) in [(capacity.grew, "LastIncreaseDateTime"), (capacity.shrank, "LastDecreaseDateTime")] {
        if let Some(when) = when {
            provisioned[name] = seconds(when);
        }
    }
    out.insert("ProvisionedThroughput".into(), provisioned);
    let mut most = Map::new();
    for (bound, name) in
        [(capacity.most_reads, "MaxReadRequestUnits"), (capacity.most_writes, "MaxWriteRequestUnits")]
    {
        if let Some(bound) = bound {
            most.insert(name.into(), json!(bound));
        }
    }
    if !most.is_empty() {
        out.insert("OnDemandThroughput".into(), Value::Object(most));
    }
    let (warm, ready) = (capacity.warm.unwrap_or_default(), throughput::ready(billing, throughput));
    let warm = json!({
        "ReadUnitsPerSecond": warm.read.max(ready.read),
        "WriteUnitsPerSecond": warm.write.max(ready.write),
        "Status": if status == "ACTIVE" { "ACTIVE" } else { "UPDATING" },
    });
    out.insert("WarmThroughput".into(), warm);
}

/// A member `KeySchema`.
pub(crate) fn key_schema(keys: &KeyNames) -> Value {
    let element = |kind: &'static str| move |name: &String| json!({ "AttributeName": name, "KeyType": kind });
    keys.hash.iter().map(element("HASH")).chain(keys.range.iter().map(element("RANGE"))).collect()
}

fn attributes(definition: &Definition) -> Value {
    let one = |(name, scalar): &(String, quorate_wire::table::Scalar)| json!({ "AttributeName": name, "AttributeType": scalar.word() });
    definition.attributes.iter().map(one).collect()
}

fn index(index: &Index, figures: &Figures, table: &str, global: Option<(Billing, State)>) -> Value {
    let (_, items, bytes) =
        figures.indexes.iter().find(|(id, ..)| *id == index.id).copied().unwrap_or((index.id, 0, 0));
    let mut projection = match &index.projected {
        Projected::KeysOnly => json!({ "ProjectionType": "KEYS_ONLY" }),
        Projected::All => json!({ "ProjectionType": "ALL" }),
        Projected::Include(names) => json!({ "ProjectionType": "INCLUDE", "NonKeyAttributes": names }),
    };
    let mut out = json!({
        "IndexName": index.name,
        "IndexArn": format!("{table}/index/{}", index.name),
        "KeySchema": key_schema(&index.keys),
        "Projection": projection.take(),
        "ItemCount": items,
        "IndexSizeBytes": bytes,
    });
    if let (Some(out), Some((billing, (status, filling)))) = (out.as_object_mut(), global) {
        out.insert("IndexStatus".into(), json!(status));
        if let Some(filling) = filling {
            out.insert("Backfilling".into(), json!(filling));
        }
        capacity(&index.capacity, (billing, index.throughput), status, out);
    }
    out
}
