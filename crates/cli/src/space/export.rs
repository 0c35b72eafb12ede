//! `quorate space export`: a table's items as files. Each segment of a parallel scan makes one.

use super::manifest::{DataFile, DataWriter, ROOT, Summary, TABLE, on, write_manifests, write_whole};
use super::remote::{Endpoint, Remote};
use super::{ExportArgs, Where};
use crate::report::{Exit, Problem, many, say};
use indicatif::ProgressBar;
use quorate_gateway_dynamo::signature::iso_date;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

/// What `--json` says of a file, and of the whole.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Told<'a> {
    File { file: &'a str, items: u64 },
    Exported { table: &'a str, items: u64, files: usize, dir: String },
}

fn tell(at: &Where, told: &Told<'_>) {
    if let (true, Ok(line)) = (at.json, serde_json::to_string(told)) {
        say(&line);
    }
}

/// Exports a table.
pub(super) async fn run(args: &ExportArgs) -> Result<(), Problem> {
    let endpoint = args.at.endpoint();
    let mut remote = Remote::new(endpoint.clone());
    let failed = |e: super::remote::Refused| e.problem(&format!("cannot export {:?}", args.table));
    let described = remote.ask("DescribeTable", &json!({ "TableName": args.table })).await.map_err(failed)?;
    let table = &described["Table"];
    let started = iso_date();
    let (id, export) = begin(&args.dir)?;
    let tags = tags(&mut remote, &args.table, table).await;
    let request = serde_json::to_vec_pretty(&table_request(table, &tags)).map_err(|e| on(&export)(&e))?;
    write_whole(&export.join(TABLE), &request)?;
    let bar = args.at.progress("exported");
    let files = segments(args, &endpoint, &export, &id, &bar).await?;
    bar.finish_and_clear();
    let items = files.iter().map(|file| file.item_count).sum();
    let text = |member: &str| table[member].as_str().unwrap_or_default().to_string();
    let summary = Summary {
        version: "2020-06-30".into(),
        export_arn: format!("{}/export/{id}", text("TableArn")),
        start_time: started.clone(),
        end_time: iso_date(),
        table_arn: text("TableArn"),
        table_id: text("TableId"),
        export_time: started,
        manifest_files_s3_key: format!("{ROOT}/{id}/manifest-files.json"),
        billed_size_bytes: table["TableSizeBytes"].as_u64().unwrap_or(0),
        item_count: items,
        output_format: "DYNAMODB_JSON".into(),
        export_type: "FULL_EXPORT".into(),
        ..Summary::default()
    };
    write_manifests(&export, &summary, &files)?;
    let dir = export.display().to_string();
    if args.at.json {
        let told = Told::Exported { table: &args.table, items, files: files.len(), dir };
        tell(&args.at, &told);
    } else {
        let (items, files) = (many(items, "item"), many(files.len() as u64, "file"));
        say(&format!("{items} of {:?} in {files} below {dir}", args.table));
    }
    Ok(())
}

/// The table's tags, by which it gets its policy and its shards when it is made anew. An export is whole without them.
async fn tags(remote: &mut Remote, name: &str, table: &Value) -> Vec<Value> {
    let (mut all, mut next) = (Vec::new(), Value::Null);
    loop {
        let mut request = json!({ "ResourceArn": table["TableArn"] });
        if next.is_string() {
            request["NextToken"] = next;
        }
        match remote.ask("ListTagsOfResource", &request).await {
            Ok(mut page) => {
                let tags = page.get_mut("Tags").and_then(Value::as_array_mut).map(std::mem::take);
                // Those of AWS itself cannot be given to a table.
                let own = |tag: &Value| !tag["Key"].as_str().unwrap_or_default().starts_with("aws:");
                all.extend(tags.unwrap_or_default().into_iter().filter(own));
                next = page["NextToken"].take();
            }
            Err(refused) => {
                let problem = refused.problem(&format!("the tags of {name:?} are not in the export"));
                eprintln!("warning: {}", problem.message);
                return Vec::new();
            }
        }
        if !next.is_string() {
            return all;
        }
    }
}

/// Makes the directory of an export, and its name.
fn begin(dir: &Path) -> Result<(String, PathBuf), Problem> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = format!(
        "{:014}-{:08x}",
        since.as_millis(),
        since.subsec_nanos() ^ std::process::id().rotate_left(16)
    );
    let export = dir.join(ROOT).join(&id);
    let data = export.join("data");
    fs::create_dir_all(&data).map_err(|e| {
        let hint = "name a directory that is there and writable, or one that can be made";
        Problem { hint: hint.into(), ..on(dir)(&e) }
    })?;
    write_whole(&export.join("_started"), b"")?;
    Ok((id, export))
}

/// Reads all segments at once; those that fail leave an export without manifests.
async fn segments(
    args: &ExportArgs,
    endpoint: &Endpoint,
    export: &Path,
    id: &str,
    bar: &ProgressBar,
) -> Result<Vec<DataFile>, Problem> {
    let mut running = JoinSet::new();
    for at in 0..args.segments {
        let name = format!("{at:08}-{}.json.gz", id.rsplit('-').next().unwrap_or_default());
        let out = DataWriter::create(export, id, &name)?;
        let (table, of) = (args.table.clone(), args.segments);
        running.spawn(segment(Remote::new(endpoint.clone()), table, (at, of), out, bar.clone()));
    }
    let mut files = Vec::new();
    while let Some(done) = running.join_next().await {
        let done =
            done.map_err(|e| Problem::new(Exit::Failed, format!("a part of the export ended: {e}"), ""))?;
        let file = done.map_err(|problem| {
            let hint = "the export is not complete, and will not be imported; make it again";
            let hint = if problem.hint.is_empty() { hint.to_string() } else { problem.hint };
            Problem { hint, ..problem }
        })?;
        tell(&args.at, &Told::File { file: &file.key, items: file.item_count });
        files.push(file);
    }
    files.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(files)
}

async fn segment(
    mut remote: Remote,
    table: String,
    (at, of): (u32, u32),
    mut out: DataWriter,
    bar: ProgressBar,
) -> Result<DataFile, Problem> {
    let mut request =
        json!({ "TableName": table, "ConsistentRead": true, "Segment": at, "TotalSegments": of });
    loop {
        let failed = |e: super::remote::Refused| e.problem(&format!("reading {table:?} failed"));
        let mut page = remote.ask("Scan", &request).await.map_err(failed)?;
        let items =
            page.get_mut("Items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        for item in &items {
            out.item(item)?;
        }
        bar.inc(items.len() as u64);
        match page.get_mut("LastEvaluatedKey").map(Value::take).filter(Value::is_object) {
            Some(last) => request["ExclusiveStartKey"] = last,
            None => return out.finish(),
        }
    }
}

/// The request that makes a table like one that was described.
pub(super) fn table_request(table: &Value, tags: &[Value]) -> Value {
    let mut out = Map::new();
    let mut copy = |name: &str, value: &Value| {
        if !value.is_null() {
            out.insert(name.into(), value.clone());
        }
    };
    for name in ["TableName", "AttributeDefinitions", "KeySchema", "StreamSpecification"] {
        copy(name, &table[name]);
    }
    let on_demand = table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST";
    copy("BillingMode", &json!(if on_demand { "PAY_PER_REQUEST" } else { "PROVISIONED" }));
    copy("TableClass", &table["TableClassSummary"]["TableClass"]);
    if table["DeletionProtectionEnabled"] == true {
        copy("DeletionProtectionEnabled", &json!(true));
    }
    if !on_demand {
        copy("ProvisionedThroughput", &throughput(&table["ProvisionedThroughput"]));
    }
    if !tags.is_empty() {
        copy("Tags", &json!(tags));
    }
    for (name, global) in [("LocalSecondaryIndexes", false), ("GlobalSecondaryIndexes", true)] {
        let Some(indexes) = table[name].as_array() else { continue };
        let indexes = indexes.iter().map(|index| {
            let mut one = Map::new();
            for name in ["IndexName", "KeySchema", "Projection"] {
                one.insert(name.into(), index[name].clone());
            }
            if global && !on_demand {
                one.insert("ProvisionedThroughput".into(), throughput(&index["ProvisionedThroughput"]));
            }
            Value::Object(one)
        });
        copy(name, &indexes.collect());
    }
    Value::Object(out)
}

fn throughput(described: &Value) -> Value {
    let units = |name: &str| described[name].as_u64().unwrap_or(1).max(1);
    json!({ "ReadCapacityUnits": units("ReadCapacityUnits"), "WriteCapacityUnits": units("WriteCapacityUnits") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_made_anew_as_it_was() {
        let keys = json!([{ "AttributeName": "id", "KeyType": "HASH" }]);
        let described = json!({
            "TableName": "orders", "TableStatus": "ACTIVE", "ItemCount": 7,
            "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
            "KeySchema": keys, "BillingModeSummary": { "BillingMode": "PAY_PER_REQUEST" },
            "ProvisionedThroughput": { "ReadCapacityUnits": 0, "WriteCapacityUnits": 0 },
            "GlobalSecondaryIndexes": [{
                "IndexName": "g", "KeySchema": keys, "Projection": { "ProjectionType": "ALL" }, "IndexStatus": "ACTIVE",
            }],
        });
        let tags = [json!({ "Key": "quorate:shards", "Value": "3" })];
        let made = table_request(&described, &tags);
        assert_eq!(
            made,
            json!({
                "TableName": "orders", "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
                "KeySchema": keys, "BillingMode": "PAY_PER_REQUEST", "Tags": tags,
                "GlobalSecondaryIndexes": [{ "IndexName": "g", "KeySchema": keys, "Projection": { "ProjectionType": "ALL" } }],
            })
        );
    }
}
