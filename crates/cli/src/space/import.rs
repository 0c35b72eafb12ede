//! `quorate space import`: the items of an export's files, put into a table. Files are put one after the other, each as a
//! whole before the next is begun, so that an import that stops can go on at a file.

use super::manifest::{DataFile, DataReader, Export, TABLE, verify};
use super::remote::{Endpoint, Refused, Remote};
use super::tenants::{assign_all, is_unlisted};
use super::{ImportArgs, Where};
use crate::report::{Exit, Problem, many, say};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// So many puts a request has at most, ...
const BATCH: usize = 25;
/// ... and about so many bytes of them.
const BATCH_BYTES: usize = 1 << 20;
/// So often what a batch left undone is asked for again.
const ROUNDS: u32 = 20;
/// How long a new table may take to be there.
const TABLE_PATIENCE: u32 = 600;

/// What `--json` says of a file, and of the whole.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Told<'a> {
    File { file: &'a str, items: u64 },
    Imported { table: &'a str, items: u64, files: usize, made: bool },
}

fn tell(at: &Where, told: &Told<'_>) {
    if let (true, Ok(line)) = (at.json, serde_json::to_string(told)) {
        say(&line);
    }
}

/// Imports an export.
pub(super) async fn run(args: &ImportArgs) -> Result<(), Problem> {
    let export = Export::open(&args.dir)?;
    if args.skip_files > export.files.len() {
        let text = format!(
            "the export has {} files, and {} are to be left out",
            export.files.len(),
            args.skip_files
        );
        return Err(Problem::new(Exit::Usage, text, "choose a smaller --skip-files"));
    }
    // Damage is found before anything is put.
    for file in &export.files[args.skip_files..] {
        verify(&export.path(file)?, file)?;
    }
    let table = table_name(args, &export)?;
    let endpoint = args.at.endpoint();
    let made = prepare(args, &export, &table, &mut Remote::new(endpoint.clone())).await?;
    let bar = args.at.progress("imported");
    let mut pool: Vec<Remote> = (0..args.requests).map(|_| Remote::new(endpoint.clone())).collect();
    let mut items = 0;
    let mut told = std::pin::pin!(told_to_stop());
    for (at, file) in export.files.iter().enumerate().skip(args.skip_files) {
        let put = tokio::select! {
            put = put_file(&export, file, &table, &mut pool, &bar, &endpoint) => put,
            why = &mut told => Err(why),
        };
        let put = put.map_err(|problem| stopped(problem, at, export.files.len()))?;
        tell(&args.at, &Told::File { file: &file.key, items: put });
        items += put;
    }
    bar.finish_and_clear();
    let files = export.files.len() - args.skip_files;
    if args.at.json {
        tell(&args.at, &Told::Imported { table: &table, items, files, made });
    } else {
        let new = if made { ", which was made for them" } else { "" };
        let (items, files) = (many(items, "item"), many(files as u64, "file"));
        say(&format!("{items} of {files} put into {table:?}{new}"));
    }
    Ok(())
}

/// Why it ends: at the first SIGINT or SIGTERM. Where none can be heard a signal ends the process on the spot.
async fn told_to_stop() -> Problem {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = int.recv() => {} _ = term.recv() => {} }
    Problem::new(Exit::Failed, "the import was told to stop", "")
}

fn stopped(problem: Problem, done: usize, of: usize) -> Problem {
    let on = format!(
        "{done} of {of} files are in, and perhaps some items of the next; go on with --skip-files {done} --merge"
    );
    let hint = if problem.hint.is_empty() { on } else { format!("{}. {on}", problem.hint) };
    Problem { hint, ..problem }
}

fn table_name(args: &ImportArgs, export: &Export) -> Result<String, Problem> {
    if let Some(table) = &args.table {
        return Ok(table.clone());
    }
    let arn = &export.summary.table_arn;
    let name = arn.split_once(":table/").map(|(_, name)| name).filter(|name| !name.is_empty());
    name.map(String::from).ok_or_else(|| {
        let text = format!("the export does not say which table it is of: its ARN is {arn:?}");
        Problem::new(Exit::Usage, text, "name the table that gets the items")
    })
}

/// Sees to it that the table is there, and empty unless it need not be. Whether it was made.
async fn prepare(
    args: &ImportArgs,
    export: &Export,
    table: &str,
    remote: &mut Remote,
) -> Result<bool, Problem> {
    let failed = |e: Refused| e.problem(&format!("cannot import into {table:?}"));
    match remote.ask("DescribeTable", &json!({ "TableName": table })).await {
        Ok(_) => {}
        Err(e) if e.kind == "ResourceNotFoundException" => {
            make(export, table, remote).await?;
            return Ok(true);
        }
        Err(e) => return Err(failed(e)),
    }
    if args.merge || args.skip_files > 0 {
        return Ok(false);
    }
    let first = json!({ "TableName": table, "Limit": 1, "ConsistentRead": true });
    let page = remote.ask("Scan", &first).await.map_err(failed)?;
    if page["Count"].as_u64() == Some(0) && page.get("LastEvaluatedKey").is_none() {
        return Ok(false);
    }
    let text = format!("the table {table:?} has items already");
    let hint = "choose another table, or say --merge: then items take the place of those with the same keys";
    Err(Problem::new(Exit::Usage, text, hint))
}

async fn make(export: &Export, table: &str, remote: &mut Remote) -> Result<(), Problem> {
    let failed = |e: Refused| e.problem(&format!("cannot make the table {table:?}"));
    let Some(mut request) = export.table()? else {
        let text = format!("there is no table {table:?}, and the export does not say how to make it");
        return Err(Problem::new(
            Exit::Usage,
            text,
            "make the table first, with the keys that the items have",
        ));
    };
    request["TableName"] = json!(table);
    match remote.ask("CreateTable", &request).await {
        // A try whose answer was lost may have made it.
        Err(e) if e.kind != "ResourceInUseException" => {
            let problem = failed(e);
            let hint = format!(
                "make the table first, as it is to be, or change {}: it has the request that makes it, with its tags",
                export.dir.join(TABLE).display()
            );
            return Err(if problem.hint.is_empty() { Problem { hint, ..problem } } else { problem });
        }
        _ => {}
    }
    for _ in 0..TABLE_PATIENCE {
        let described = remote.ask("DescribeTable", &json!({ "TableName": table })).await.map_err(failed)?;
        if described["Table"]["TableStatus"] == "ACTIVE" {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(Problem::new(Exit::Failed, format!("the table {table:?} does not become active"), "try again later"))
}

/// Puts all items of a file; how many there were.
async fn put_file(
    export: &Export,
    file: &DataFile,
    table: &str,
    pool: &mut Vec<Remote>,
    bar: &ProgressBar,
    endpoint: &Endpoint,
) -> Result<u64, Problem> {
    let path = export.path(file)?;
    let mut input = DataReader::open(&path)?;
    let mut running: JoinSet<Result<(Remote, usize), Problem>> = JoinSet::new();
    loop {
        let batch = batch(&mut input)?;
        if batch.is_empty() {
            break;
        }
        if pool.is_empty()
            && let Some(done) = running.join_next().await
        {
            pool.push(finished(done, bar)?);
        }
        let remote = pool.pop().unwrap_or_else(|| Remote::new(endpoint.clone()));
        running.spawn(put(remote, table.to_string(), batch));
    }
    while let Some(done) = running.join_next().await {
        pool.push(finished(done, bar)?);
    }
    if input.items != file.item_count {
        let text = format!(
            "{}: it has {} items, and the manifest says {}",
            path.display(),
            input.items,
            file.item_count
        );
        return Err(Problem::new(Exit::Damaged, text, "copy or make the export again"));
    }
    Ok(input.items)
}

fn finished(
    done: Result<Result<(Remote, usize), Problem>, tokio::task::JoinError>,
    bar: &ProgressBar,
) -> Result<Remote, Problem> {
    let done = done.map_err(|e| Problem::new(Exit::Failed, format!("a request ended: {e}"), ""))?;
    let (remote, items) = done?;
    bar.inc(items as u64);
    Ok(remote)
}

/// The next items, as many as one request takes.
fn batch(input: &mut DataReader) -> Result<Vec<Value>, Problem> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    while items.len() < BATCH && bytes < BATCH_BYTES {
        let Some((item, size)) = input.next()? else { break };
        bytes += size;
        items.push(json!({ "PutRequest": { "Item": item } }));
    }
    Ok(items)
}

/// Puts items, and again those that the answer says were not.
async fn put(mut remote: Remote, table: String, items: Vec<Value>) -> Result<(Remote, usize), Problem> {
    let failed = |e: Refused| e.problem(&format!("putting items into {table:?} failed"));
    let (count, mut left) = (items.len(), Value::Array(items));
    let mut pause = Duration::from_millis(50);
    for _ in 0..ROUNDS {
        let request = json!({ "RequestItems": { (table.as_str()): left } });
        let mut answer = match remote.ask("BatchWriteItem", &request).await {
            Err(e) if is_unlisted(&e) => {
                assign_all(&mut remote, &table, &left).await.map_err(failed)?;
                continue;
            }
            answer => answer.map_err(failed)?,
        };
        left = answer["UnprocessedItems"][table.as_str()].take();
        if left.as_array().is_none_or(Vec::is_empty) {
            return Ok((remote, count));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
    let text = format!(
        "the endpoint does not take all items of a request into {table:?}, however often it is asked"
    );
    Err(Problem::new(Exit::Failed, text, "it may be overloaded: try again later"))
}
