//! Tables as the service describes them.

use crate::streams;
use quorate_wire::table::{Billing, Definition, Figures, Index, IndexState, KeyNames, Projected, Throughput};
use serde_json::{Map, Value, json};

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

/// `TableDescription`, with this status.
pub(crate) fn table(definition: &Definition, figures: &Figures, status: &str) -> Value {
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
    put("ProvisionedThroughput", throughput(definition.throughput, true));
    put("DeletionProtectionEnabled", json!(definition.protected));
    if definition.billing == Billing::OnDemand {
        let summary = json!({
            "BillingMode": "PAY_PER_REQUEST",
            "LastUpdateToPayPerRequestDateTime": seconds(definition.created),
        });
        put("BillingModeSummary", summary);
    }
    if let Some(class) = &definition.class {
        put("TableClassSummary", json!({ "TableClass": class }));
    }
    if !definition.locals.is_empty() {
        let list = definition.locals.iter().map(|i| index(i, figures, &arn, None));
        put("LocalSecondaryIndexes", Value::Array(list.collect()));
    }
    if !definition.globals.is_empty() {
        let list = definition.globals.iter().map(|i| index(i, figures, &arn, Some(status)));
        put("GlobalSecondaryIndexes", Value::Array(list.collect()));
    }
    streams::describe_latest(definition, &mut out);
    Value::Object(out)
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

fn throughput(throughput: Throughput, decreases: bool) -> Value {
    let mut out = json!({
        "ReadCapacityUnits": throughput.read,
        "WriteCapacityUnits": throughput.write,
    });
    if let Some(out) = out.as_object_mut().filter(|_| decreases) {
        out.insert("NumberOfDecreasesToday".into(), json!(0));
    }
    out
}

fn index(index: &Index, figures: &Figures, table: &str, global: Option<&str>) -> Value {
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
    if let (Some(out), Some(table)) = (out.as_object_mut(), global) {
        let filling = matches!(index.state, IndexState::Filling(_));
        let status = if filling || table == "CREATING" { "CREATING" } else { table };
        out.insert("IndexStatus".into(), json!(status));
        if filling {
            out.insert("Backfilling".into(), json!(true));
        }
        out.insert("ProvisionedThroughput".into(), throughput(index.throughput, true));
    }
    out
}
