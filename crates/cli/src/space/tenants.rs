//! `quorate space tenants` and `assign`: the directory of a space that is partitioned by one, and tenants that move.

use super::Where;
use super::remote::{Refused, Remote};
use crate::probe::time;
use crate::report::{Exit, Problem, many, say};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long it takes to look again whether a tenant has moved.
const LOOK: Duration = Duration::from_millis(100);

#[derive(clap::Args, Debug)]
pub(super) struct TenantsArgs {
    /// The space's name
    name: String,
    #[command(flatten)]
    at: Where,
}

#[derive(clap::Args, Debug)]
pub(super) struct AssignArgs {
    /// The space's name
    name: String,
    /// The tenant: a value of the space's partition key; bytes as base64
    #[arg(allow_hyphen_values = true)]
    tenant: String,
    /// In which shard it is to lie, by its number in `quorate space shards` [default: where it lies; for a new one the shard with the fewest]
    #[arg(long, value_name = "N")]
    shard: Option<u32>,
    /// How long to wait until it has moved
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10m")]
    timeout: Duration,
    /// Do not wait: the move goes on by itself
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn tenants(args: &TenantsArgs) -> Result<(), Problem> {
    let mut remote = Remote::new(args.at.endpoint());
    let failed = |e: Refused| e.problem(&format!("cannot list the tenants of {:?}", args.name));
    let mut all: Vec<Value> = Vec::new();
    let mut request = json!({ "TableName": args.name });
    loop {
        let mut page = remote.ask("Quorate.ListTenants", &request).await.map_err(failed)?;
        if let Some(tenants) = page["Tenants"].as_array_mut() {
            all.append(tenants);
        }
        match page["LastEvaluatedTenant"].take() {
            Value::Null => break,
            last => request["ExclusiveStartTenant"] = last,
        }
    }
    if args.at.json {
        say(&json!({ "space": args.name, "tenants": all }).to_string());
        return Ok(());
    }
    say(lines(&args.name, &all).trim_end());
    Ok(())
}

/// A table of tenants, for who looks.
fn lines(space: &str, tenants: &[Value]) -> String {
    if tenants.is_empty() {
        return format!("{space} has no tenants yet: `quorate space assign {space} TENANT` lists the first");
    }
    let mut out = String::from("  shard  tenant\n");
    for told in tenants {
        // Writing to a String cannot fail.
        let _ = write!(out, "  {:>5}  {}", told["Shard"].as_u64().unwrap_or(0), in_words(&told["Tenant"]));
        if let Some(to) = told["MovesTo"].as_u64() {
            let _ = write!(out, "  moves to shard {to}");
        }
        out.push('\n');
    }
    let _ = write!(out, "  {}", many(tenants.len() as u64, "tenant"));
    out
}

/// A key's value without its type.
fn in_words(value: &Value) -> String {
    let value = value.as_object().and_then(|value| value.values().next());
    value.and_then(Value::as_str).unwrap_or_default().into()
}

pub(super) async fn assign(args: &AssignArgs) -> Result<(), Problem> {
    let mut remote = Remote::new(args.at.endpoint());
    let (name, end) = (&args.name, Instant::now() + args.timeout);
    let failed = |e: Refused| e.problem(&format!("cannot assign {:?} of {name:?}", args.tenant));
    let (_, kind) = key_of(&mut remote, name).await.map_err(failed)?;
    let mut request = json!({ "TableName": name, "Tenant": { kind: args.tenant } });
    if let Some(shard) = args.shard {
        request["Shard"] = json!(shard);
    }
    let bar = spinner(args);
    let mut told = loop {
        match remote.ask("Quorate.AssignTenant", &request).await {
            // Another tenant's move is at its end in a moment.
            Err(refused)
                if refused.kind == "ResourceInUseException" && !args.no_wait && Instant::now() < end =>
            {
                bar.set_message("waits for another tenant that moves");
                sleep(LOOK).await;
            }
            told => break told.map_err(failed)?,
        }
    };
    let moves = told["MovesTo"].is_u64();
    let shard = told["MovesTo"].as_u64().or(told["Shard"].as_u64()).unwrap_or(0);
    request["Shard"] = json!(shard);
    while told["MovesTo"].is_u64() && !args.no_wait {
        if Instant::now() + LOOK > end {
            let message =
                format!("{:?} of {name:?} is not in shard {shard} after {:?}", args.tenant, args.timeout);
            let hint = "it goes on by itself: `quorate space tenants` shows whether it still moves, `quorate status` which nodes are away";
            return Err(Problem::new(Exit::Failed, message, hint));
        }
        bar.set_message(format!("moves to shard {shard}"));
        sleep(LOOK).await;
        told = remote.ask("Quorate.AssignTenant", &request).await.map_err(failed)?;
    }
    bar.finish_and_clear();
    let under_way = told["MovesTo"].is_u64();
    if args.at.json {
        let told = json!({ "space": name, "tenant": told["Tenant"], "shard": shard, "moved": moves && !under_way,
            "moves": under_way });
        say(&told.to_string());
        return Ok(());
    }
    let tenant = &args.tenant;
    say(&match (moves, under_way) {
        (_, true) => format!("{tenant} moves to shard {shard}"),
        (true, false) => format!("{tenant} has moved to shard {shard}"),
        (false, false) => format!("{tenant} lies in shard {shard}"),
    });
    Ok(())
}

/// The name of a space's partition key, and its type.
async fn key_of(remote: &mut Remote, space: &str) -> Result<(String, String), Refused> {
    let described = remote.ask("DescribeTable", &json!({ "TableName": space })).await?;
    let table = &described["Table"];
    let list = |member: &str| table[member].as_array().cloned().unwrap_or_default();
    let key = list("KeySchema").into_iter().find(|key| key["KeyType"] == "HASH").unwrap_or_default();
    let of = list("AttributeDefinitions").into_iter().find(|of| of["AttributeName"] == key["AttributeName"]);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("S").to_string();
    Ok((text(key.get("AttributeName")), text(of.as_ref().and_then(|of| of.get("AttributeType")))))
}

/// Whether a write was refused because the directory does not have a tenant.
pub(super) fn is_unlisted(refused: &Refused) -> bool {
    refused.kind == "ValidationException" && refused.message.contains("quorate space assign")
}

/// Has the tenants of items that are to be put listed, each in the shard with the fewest, where they are not.
pub(super) async fn assign_all(remote: &mut Remote, space: &str, puts: &Value) -> Result<(), Refused> {
    let (key, _) = key_of(remote, space).await?;
    let mut assigned: Vec<&Value> = Vec::new();
    for put in puts.as_array().map_or(&[][..], Vec::as_slice) {
        let tenant = &put["PutRequest"]["Item"][&key];
        if !assigned.contains(&tenant) {
            remote.ask("Quorate.AssignTenant", &json!({ "TableName": space, "Tenant": tenant })).await?;
            assigned.push(tenant);
        }
    }
    Ok(())
}

fn spinner(args: &AssignArgs) -> ProgressBar {
    if args.at.json || args.no_wait {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(LOOK);
    bar
}

#[cfg(test)]
mod tests {
    use super::lines;
    use serde_json::json;

    #[test]
    fn tenants_are_told_with_where_they_go() {
        let told = [
            json!({ "Tenant": { "S": "acme" }, "Shard": 2 }),
            json!({ "Tenant": { "N": "17" }, "Shard": 3, "MovesTo": 4 }),
        ];
        let words = "  shard  tenant\n      2  acme\n      3  17  moves to shard 4\n  2 tenants";
        assert_eq!(lines("orders", &told), words);
        assert!(lines("orders", &[]).contains("quorate space assign orders TENANT"));
    }
}
