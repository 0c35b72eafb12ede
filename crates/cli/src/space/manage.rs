//! `quorate space create|describe|alter|list|drop|shards`: tables as spaces with a policy. The words are those of `quorate plan`;
//! they stand in the table's tags, and what this release does not have is refused before anything is asked of a node.

use super::Where;
use super::remote::{Refused, Remote};
use crate::plan::Words;
use crate::report::{Exit, Problem, say};
use quorate_gateway_dynamo::HAD;
use quorate_policy::{Part, Plan, Policy, plan, tags};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How many shards a table has is a tag of its own: no promise depends on it.
const SHARDS: &str = "quorate:shards";

#[derive(clap::Args, Debug)]
pub(super) struct CreateArgs {
    /// The space's name, which is the table's for DynamoDB's clients
    name: String,
    /// Its partition key, with its type: S, N or B
    #[arg(long, value_name = "NAME:TYPE", default_value = "pk:S", value_parser = key)]
    key: (String, String),
    /// Its sort key, if it is to have one
    #[arg(long, value_name = "NAME:TYPE", value_parser = key)]
    sort: Option<(String, String)>,
    /// Over how many shards its items are spread: each is a group of its own. With 1 they lie beside the key-value space
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2000))]
    shards: u32,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    at: Where,
}

#[derive(clap::Args, Debug)]
pub(super) struct AlterArgs {
    /// The space's name
    name: String,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    at: Where,
}

#[derive(clap::Args, Debug)]
pub(super) struct NameArgs {
    /// The space's name
    name: String,
    #[command(flatten)]
    at: Where,
}

#[derive(clap::Args, Debug)]
pub(super) struct ListArgs {
    #[command(flatten)]
    at: Where,
}

/// `NAME:TYPE`.
fn key(text: &str) -> Result<(String, String), String> {
    let (name, kind) = text.rsplit_once(':').unwrap_or((text, "S"));
    let kind = kind.to_ascii_uppercase();
    if name.is_empty() || !["S", "N", "B"].contains(&kind.as_str()) {
        return Err(format!("{text:?} is no key: write NAME:S, NAME:N or NAME:B"));
    }
    Ok((name.into(), kind))
}

/// The plan of what was asked for, if this release has all of it.
fn planned(words: &Words) -> Result<(Policy, Plan), Problem> {
    let (policy, _) = words.policy()?;
    let plan = plan(&policy).map_err(|refusal| crate::plan::problem(&refusal, false))?;
    let lacks: Vec<&str> =
        plan.missing().into_iter().filter(|part| !HAD.contains(part)).map(Part::said).collect();
    if lacks.is_empty() {
        return Ok((policy, plan));
    }
    let message = format!("not available yet: {} needs {}", plan.headline, lacks.join(", "));
    Err(Problem::new(Exit::Failed, message, "`quorate plan` with the same words says what it would cost"))
}

fn tags_of(policy: &Policy) -> Vec<Value> {
    tags::to_tags(policy).into_iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}

pub(super) async fn create(args: &CreateArgs) -> Result<(), Problem> {
    let (policy, plan) = planned(&args.words)?;
    let mut tags = tags_of(&policy);
    if args.shards > 1 {
        tags.push(json!({ "Key": SHARDS, "Value": args.shards.to_string() }));
    }
    let keys = [(Some(&args.key), "HASH"), (args.sort.as_ref(), "RANGE")];
    let keys = || keys.iter().filter_map(|(key, role)| Some(((*key)?, role)));
    let mut request = json!({
        "TableName": args.name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": keys().map(|((name, _), role)| json!({ "AttributeName": name, "KeyType": role })).collect::<Vec<_>>(),
        "AttributeDefinitions": keys()
            .map(|((name, kind), _)| json!({ "AttributeName": name, "AttributeType": kind }))
            .collect::<Vec<_>>(),
    });
    if !tags.is_empty() {
        request["Tags"] = json!(tags);
    }
    let mut remote = Remote::new(args.at.endpoint());
    let doing = format!("cannot create {:?}", args.name);
    remote.ask("CreateTable", &request).await.map_err(|e| e.problem(&doing))?;
    let described = ready(&mut remote, &args.name).await.map_err(|e| e.problem(&doing))?;
    if args.at.json {
        let told = json!({ "space": args.name, "shards": args.shards, "headline": plan.headline, "table": described });
        say(&told.to_string());
    } else {
        let spread = if args.shards > 1 { format!(", {} shards", args.shards) } else { String::new() };
        say(&format!("{}: {}{spread}", args.name, plan.headline));
    }
    Ok(())
}

/// Waits for a table's shards to know it.
async fn ready(remote: &mut Remote, table: &str) -> Result<Value, Refused> {
    loop {
        let described = remote.ask("DescribeTable", &json!({ "TableName": table })).await?;
        if described["Table"]["TableStatus"] == "ACTIVE" {
            return Ok(described["Table"].clone());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

pub(super) async fn alter(args: &AlterArgs) -> Result<(), Problem> {
    let (policy, plan) = planned(&args.words)?;
    let mut remote = Remote::new(args.at.endpoint());
    let failed = |e: Refused| e.problem(&format!("cannot alter {:?}", args.name));
    let arn = arn(&mut remote, &args.name).await.map_err(failed)?;
    let tags = tags_of(&policy);
    if tags.is_empty() {
        let hint = "name what it is to promise, as for `quorate plan`";
        return Err(Problem::new(Exit::Usage, "nothing is to be altered", hint));
    }
    remote.ask("TagResource", &json!({ "ResourceArn": arn, "Tags": tags })).await.map_err(failed)?;
    if args.at.json {
        say(&json!({ "space": args.name, "headline": plan.headline }).to_string());
    } else {
        say(&format!("{}: {}", args.name, plan.headline));
    }
    Ok(())
}

async fn arn(remote: &mut Remote, table: &str) -> Result<Value, Refused> {
    let described = remote.ask("DescribeTable", &json!({ "TableName": table })).await?;
    Ok(described["Table"]["TableArn"].clone())
}

pub(super) async fn describe(args: &NameArgs) -> Result<(), Problem> {
    let mut remote = Remote::new(args.at.endpoint());
    let failed = |e: Refused| e.problem(&format!("cannot describe {:?}", args.name));
    let described = remote.ask("DescribeTable", &json!({ "TableName": args.name })).await.map_err(failed)?;
    let table = &described["Table"];
    let tags = remote.ask("ListTagsOfResource", &json!({ "ResourceArn": table["TableArn"] })).await;
    let tags = tags.map_err(failed)?["Tags"].clone();
    let pairs: Vec<(&str, &str)> =
        tags.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(pair).collect();
    let shards = pairs.iter().find(|(key, _)| *key == SHARDS).map_or("1", |(_, value)| value);
    let policy = tags::from_tags(pairs.iter().copied().filter(|(key, _)| *key != SHARDS)).unwrap_or_default();
    let headline = plan(&policy).map_or_else(|refusal| refusal.to_string(), |plan| plan.headline);
    if args.at.json {
        let told = json!({ "space": args.name, "headline": headline, "shards": shards.parse::<u32>().unwrap_or(1),
            "tags": tags, "table": table });
        say(&told.to_string());
        return Ok(());
    }
    let number = |member: &str| table[member].as_u64().unwrap_or(0);
    say(&format!("{}: {headline}", args.name));
    say(&format!(
        "  {shards} shard{}, {} items, {} bytes, {}",
        if shards == "1" { "" } else { "s" },
        number("ItemCount"),
        number("TableSizeBytes"),
        table["TableStatus"].as_str().unwrap_or("").to_lowercase()
    ));
    Ok(())
}

fn pair(tag: &Value) -> Option<(&str, &str)> {
    Some((tag["Key"].as_str()?, tag["Value"].as_str()?))
}

pub(super) async fn list(args: &ListArgs) -> Result<(), Problem> {
    let mut remote = Remote::new(args.at.endpoint());
    let mut names: Vec<String> = Vec::new();
    loop {
        let request = match names.last() {
            Some(last) => json!({ "ExclusiveStartTableName": last }),
            None => json!({}),
        };
        let page = remote.ask("ListTables", &request).await.map_err(|e| e.problem("cannot list spaces"))?;
        let found = page["TableNames"].as_array().map_or(&[][..], Vec::as_slice);
        names.extend(found.iter().filter_map(|name| name.as_str().map(String::from)));
        if page["LastEvaluatedTableName"].is_null() {
            break;
        }
    }
    if args.at.json {
        say(&json!({ "spaces": names }).to_string());
    } else {
        say(&names.join("\n"));
    }
    Ok(())
}

pub(super) async fn drop(args: &NameArgs) -> Result<(), Problem> {
    let mut remote = Remote::new(args.at.endpoint());
    let failed = |e: Refused| e.problem(&format!("cannot drop {:?}", args.name));
    remote.ask("DeleteTable", &json!({ "TableName": args.name })).await.map_err(failed)?;
    if args.at.json {
        say(&json!({ "dropped": args.name }).to_string());
    } else {
        say(&format!("{} is dropped, with all that was in it", args.name));
    }
    Ok(())
}

pub(super) async fn shards(args: &NameArgs) -> Result<(), Problem> {
    let mut remote = Remote::new(args.at.endpoint());
    let failed = |e: Refused| e.problem(&format!("cannot look at the shards of {:?}", args.name));
    let told =
        remote.ask("Quorate.DescribeShards", &json!({ "TableName": args.name })).await.map_err(failed)?;
    if args.at.json {
        say(&told.to_string());
        return Ok(());
    }
    let mut out = String::from("  shard  leader  replicas      items        bytes      entries\n");
    for shard in told["Shards"].as_array().map_or(&[][..], Vec::as_slice) {
        let number = |member: &str| shard[member].as_u64().unwrap_or(0);
        let replicas = shard["Replicas"].as_array().map_or(&[][..], Vec::as_slice);
        let replicas: Vec<String> = replicas.iter().map(Value::to_string).collect();
        let leader = match number("Leader") {
            0 => "none".to_string(),
            leader => leader.to_string(),
        };
        let lacks = if shard["Ready"] == true { "" } else { "  not ready" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "  {:>5}  {leader:>6}  {:<8}  {:>9}  {:>11}  {:>11}{lacks}",
            number("Shard"),
            replicas.join(","),
            number("ItemCount"),
            number("SizeBytes"),
            number("Entries"),
        );
    }
    say(out.trim_end());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn a_key_has_a_type() {
        for (text, name, kind) in [("id", "id", "S"), ("at:n", "at", "N"), ("a:b:B", "a:b", "B")] {
            assert_eq!(key(text), Ok((name.into(), kind.into())));
        }
        for text in ["", ":S", "a:X", "a:"] {
            assert!(key(text).is_err(), "{text}");
        }
    }
}
