//! `quorate space create|describe|alter|list|drop`: tables as spaces with a policy. The words are those of `quorate plan`;
//! they stand in the table's tags, and what this release does not have is refused before anything is asked of a node.

use super::Where;
use super::remote::{Refused, Remote};
use super::shards::{close, zones};
use crate::plan::Words;
use crate::probe::time;
use crate::report::{Exit, Problem, many, say};
use quorate_policy::ask::spell_time;
use quorate_policy::{Part, Partitioning, Plan, Policy, Replication, plan, tags};
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How many shards a table has is a tag of its own: no promise depends on it.
const SHARDS: &str = "quorate:shards";
/// At which partition keys they begin, where they are ranges.
const SPLITS: &str = "quorate:split-at";
const STALENESS: &str = "quorate:staleness";
/// How long it takes to look again whether shards are ready.
const LOOK: Duration = Duration::from_millis(200);

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
    /// Partition keys, in their order, at which further shards begin: the space is partitioned by range
    #[arg(
        long,
        value_name = "KEY,…",
        value_delimiter = ',',
        value_parser = split,
        conflicts_with = "shards",
        allow_hyphen_values = true
    )]
    split_at: Vec<String>,
    /// How long to wait for all of its shards
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "2m")]
    timeout: Duration,
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
    /// Take the bound of --staleness back: plain reads are as those of a space without one
    #[arg(long, conflicts_with = "staleness")]
    no_staleness: bool,
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
pub(super) struct DropArgs {
    /// The space's name
    name: String,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "2m")]
    timeout: Duration,
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

/// A partition key as it may stand in a tag.
fn split(text: &str) -> Result<String, String> {
    if text.contains(' ') {
        return Err("a key that has a space cannot be named there: take one that begins like it".into());
    }
    if text.is_empty() { Err("a key is missing".into()) } else { Ok(text.into()) }
}

/// The plan of what was asked for, if this release has all of it.
fn planned(words: &Words, by: Option<Partitioning>) -> Result<(Policy, Plan), Problem> {
    let (mut policy, _) = words.policy()?;
    policy.partition_by = policy.partition_by.or(by);
    let plan = plan(&policy).map_err(|refusal| crate::plan::problem(&refusal, false))?;
    let lacks: Vec<&str> = plan.missing().into_iter().map(Part::said).collect();
    if lacks.is_empty() {
        return Ok((policy, plan));
    }
    let message = format!("not available yet: {} needs {}", plan.headline, lacks.join(", "));
    Err(Problem::new(
        Exit::Failed,
        message,
        "`quorate plan` says what it would cost: it takes the words of the promise, from --consistency to --preset",
    ))
}

fn tags_of(policy: &Policy) -> Vec<Value> {
    tags::to_tags(policy).into_iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}

pub(super) async fn create(args: &CreateArgs) -> Result<(), Problem> {
    let by = (!args.split_at.is_empty()).then_some(Partitioning::Range);
    let (policy, plan) = planned(&args.words, by)?;
    if plan.partition_by == Partitioning::Directory && args.shards < 2 {
        let hint =
            "say how many with --shards; tenants move between them one at a time (`quorate space assign`)";
        return Err(Problem::new(
            Exit::Usage,
            "a space that is partitioned by directory has several shards",
            hint,
        ));
    }
    let mut tags = tags_of(&policy);
    if args.shards > 1 {
        tags.push(json!({ "Key": SHARDS, "Value": args.shards.to_string() }));
    }
    if !args.split_at.is_empty() {
        tags.push(json!({ "Key": SPLITS, "Value": args.split_at.join(" ") }));
    }
    let shards = args.shards.max(args.split_at.len() as u32 + 1);
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
    let (mut remote, end) = (Remote::new(args.at.endpoint()), Instant::now() + args.timeout);
    let created = timeout_at(end, remote.ask("CreateTable", &request)).await;
    let created = created.map_err(|_| {
        let message = format!("no answer says after {:?} whether {:?} is made", args.timeout, args.name);
        Problem::new(
            Exit::Failed,
            message,
            "`quorate space describe` says whether it is there, `quorate status` what is amiss",
        )
    })?;
    created.map_err(|e| e.problem(&format!("cannot create {:?}", args.name)))?;
    let described = ready(&mut remote, args, end).await?;
    let told = shards_of(&mut remote, &args.name).await;
    let (headline, copies) = in_this_cluster(&told, &policy, &plan);
    if args.at.json {
        let told = json!({ "space": args.name, "shards": shards, "headline": headline, "copies": copies,
            "table": described });
        say(&told.to_string());
    } else {
        let spread = if shards > 1 { format!(", {shards} shards") } else { String::new() };
        say(&format!("{}: {headline}{spread}", args.name));
        if plan.partition_by == Partitioning::Directory {
            let name = &args.name;
            say(&format!("  a tenant is written once it is listed: `quorate space assign {name} TENANT`"));
        }
        if let Some(line) = bounded(&policy) {
            say(&line);
        }
        if let Some(line) = lacks(copies, &plan) {
            say(&line);
        }
    }
    Ok(())
}

/// What is to be said of a space whose plain reads may be old within a bound.
fn bounded(policy: &Policy) -> Option<String> {
    let bound = spell_time(policy.staleness?);
    Some(format!(
        "  plain reads at any replica with a staleness of {bound} at most, which rests on clocks; consistent ones as ever"
    ))
}

/// That there are fewer copies than were asked for, if that is so.
fn lacks(copies: u64, planned: &Plan) -> Option<String> {
    let there = if copies == 1 { "1 copy".into() } else { format!("{copies} copies") };
    let line = format!(
        "  {there}, as many as the cluster has voting members: it asks for {} (`quorate node add`)",
        planned.copies
    );
    (copies < u64::from(planned.copies)).then_some(line)
}

/// What is known of a space's shards; nothing where others are asked that speak the API.
async fn shards_of(remote: &mut Remote, space: &str) -> Value {
    remote.ask("Quorate.DescribeShards", &json!({ "TableName": space })).await.unwrap_or_default()
}

/// What a space comes to: one without shards of its own is on every member, be they more or fewer than it needs, and others are on
/// fewer than they need where there are no more. The headline, and how many copies vote. Others that speak the API do not tell.
fn in_this_cluster(told: &Value, policy: &Policy, planned: &Plan) -> (String, u64) {
    let voters = told["Copies"].as_u64();
    let as_planned = || (planned.headline.clone(), voters.unwrap_or(planned.copies.into()));
    let Some(n) = voters.and_then(|n| u8::try_from(n).ok()).filter(|&n| n != planned.copies) else {
        return as_planned();
    };
    let here = Policy { replication: Some(Replication::Raft { n: Some(n) }), ..policy.clone() };
    // What it asks for may take more copies than there are: then it has less than it asks for.
    let fewer = Policy { survive: None, durability: None, ..here.clone() };
    let there = plan(&here).or_else(|_| plan(&fewer));
    there.map_or_else(|_| as_planned(), |plan| (plan.headline, n.into()))
}

/// Waits for a table's shards to know it, and shows how far they are.
async fn ready(remote: &mut Remote, args: &CreateArgs, end: Instant) -> Result<Value, Problem> {
    let bar = args.at.count(args.shards.max(args.split_at.len() as u32 + 1).into(), "shards are ready");
    let (name, mut known) = (json!({ "TableName": args.name }), None);
    while let Ok(described) = timeout_at(end, remote.ask("DescribeTable", &name)).await {
        let described = described.map_err(|e| e.problem(&format!("{:?} is made, but", args.name)))?;
        if described["Table"]["TableStatus"] == "ACTIVE" {
            bar.finish_and_clear();
            return Ok(described["Table"].clone());
        }
        // Others that speak the API have no shards to tell of.
        if let Ok(Ok(told)) = timeout_at(end, remote.ask("Quorate.DescribeShards", &name)).await {
            let counted = Counted::of(&told);
            bar.set_position(counted.ready);
            known = Some(counted);
        }
        if Instant::now() + LOOK > end {
            break;
        }
        sleep(LOOK).await;
    }
    bar.finish_and_clear();
    let known = known.map(|counted| format!(": {counted}")).unwrap_or_default();
    let message = format!("{:?} is made, and not ready after {:?}{known}", args.name, args.timeout);
    let hint = format!(
        "nothing was undone, and it goes on by itself: `quorate space shards {}` shows how far it is, `quorate status` which \
         nodes are away; --timeout waits longer, `quorate space drop` gives it up",
        args.name
    );
    Err(Problem::new(Exit::Failed, message, hint))
}

/// How far the shards of a table are.
struct Counted {
    of: usize,
    /// Those that know their table.
    ready: u64,
    /// Those that have no leader.
    leaderless: usize,
}

impl Counted {
    fn of(told: &Value) -> Self {
        let shards = told["Shards"].as_array().map_or(&[][..], Vec::as_slice);
        Self {
            of: shards.len(),
            ready: shards.iter().filter(|shard| shard["Ready"] == true).count() as u64,
            leaderless: shards.iter().filter(|shard| shard["Leader"] == 0).count(),
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} shards are ready, {} have no leader", self.ready, self.of, self.leaderless)
    }
}

pub(super) async fn alter(args: &AlterArgs) -> Result<(), Problem> {
    let (policy, _) = planned(&args.words, None)?;
    let mut remote = Remote::new(args.at.endpoint());
    let failed = |e: Refused| e.problem(&format!("cannot alter {:?}", args.name));
    let arn = arn(&mut remote, &args.name).await.map_err(failed)?;
    let tags = tags_of(&policy);
    if tags.is_empty() && !args.no_staleness {
        let hint = "name what it is to promise, as for `quorate plan`";
        return Err(Problem::new(Exit::Usage, "nothing is to be altered", hint));
    }
    if !tags.is_empty() {
        remote.ask("TagResource", &json!({ "ResourceArn": arn, "Tags": tags })).await.map_err(failed)?;
    }
    if args.no_staleness {
        let request = json!({ "ResourceArn": arn, "TagKeys": [STALENESS] });
        remote.ask("UntagResource", &request).await.map_err(failed)?;
    }
    let tags = remote.ask("ListTagsOfResource", &json!({ "ResourceArn": arn })).await.map_err(failed)?;
    let told = shards_of(&mut remote, &args.name).await;
    let (headline, lacks) = holds(&told, &policy_of(&tags["Tags"]));
    if args.at.json {
        say(&json!({ "space": args.name, "headline": headline }).to_string());
        return Ok(());
    }
    say(&format!("{}: {headline}", args.name));
    if let Some(line) = lacks {
        say(&line);
    }
    Ok(())
}

/// What a space's tags ask for.
fn policy_of(tags: &Value) -> Policy {
    let pairs = tags.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(pair);
    tags::from_tags(pairs.filter(|(key, _)| *key != SHARDS && *key != SPLITS)).unwrap_or_default()
}

/// The headline of what a space's tags ask for, as it is in this cluster; and that there are fewer copies than they ask for, if so.
fn holds(told: &Value, policy: &Policy) -> (String, Option<String>) {
    match plan(policy) {
        Ok(plan) => {
            let (headline, copies) = in_this_cluster(told, policy, &plan);
            (headline, lacks(copies, &plan))
        }
        Err(refusal) => (refusal.to_string(), None),
    }
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
    let of = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let ranges = of(SPLITS).map(|keys| (keys.split_whitespace().count() + 1).to_string());
    let shards = ranges.as_deref().or(of(SHARDS)).unwrap_or("1");
    let policy = policy_of(&tags);
    let staleness = policy.staleness.map(|bound| bound.as_millis() as u64);
    let told = shards_of(&mut remote, &args.name).await;
    let (headline, lacks) = holds(&told, &policy);
    if args.at.json {
        let told = json!({ "space": args.name, "headline": headline, "shards": shards.parse::<u32>().unwrap_or(1),
            "staleness_ms": staleness, "zones": told["Zones"], "close_shards": close(&told).0,
            "tags": tags, "table": table });
        say(&told.to_string());
        return Ok(());
    }
    let number = |member: &str| table[member].as_u64().unwrap_or(0);
    say(&format!("{}: {headline}", args.name));
    if let Some(line) = bounded(&policy) {
        say(&line);
    }
    say(&format!(
        "  {shards} shard{}, {}, {}, {}",
        if shards == "1" { "" } else { "s" },
        many(number("ItemCount"), "item"),
        many(number("TableSizeBytes"), "byte"),
        table["TableStatus"].as_str().unwrap_or("").to_lowercase()
    ));
    if let Some(line) = lacks {
        say(&line);
    }
    let globals = table["GlobalSecondaryIndexes"].as_array().map_or(0, Vec::len);
    if globals > 0 && shards != "1" {
        say(&format!("  global indexes: {globals}; a query of one asks all {shards} shards"));
    }
    for line in zones(&told) {
        say(&line);
    }
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

/// Whether a node says that a table is still being made or changed.
fn in_the_making(message: &str) -> bool {
    ["created", "updated"].iter().any(|what| message.contains(&format!("Table is being {what}:")))
}

pub(super) async fn drop(args: &DropArgs) -> Result<(), Problem> {
    let mut remote = Remote::new(args.at.endpoint());
    let failed = |e: Refused| e.problem(&format!("cannot drop {:?}", args.name));
    let request = json!({ "TableName": args.name });
    let end = Instant::now() + args.timeout;
    let dropped = timeout_at(end, async {
        loop {
            match remote.ask("DeleteTable", &request).await {
                // It goes once all of its shards have heard of it, or of its last change.
                Err(refused) if in_the_making(&refused.message) => sleep(LOOK).await,
                other => break other,
            }
        }
    });
    let dropped = dropped.await.map_err(|_| {
        let message = format!("no answer says after {:?} whether {:?} is dropped", args.timeout, args.name);
        Problem::new(Exit::Failed, message, "`quorate status` says what is amiss; give the command again then: who drops twice hears that it is gone")
    })?;
    dropped.map_err(failed)?;
    // It may wait for transactions that are under way in it.
    while let Ok(Ok(described)) = timeout_at(end, remote.ask("DescribeTable", &request)).await {
        if described["Table"]["TableStatus"] != "DELETING" {
            break;
        }
        if Instant::now() + LOOK > end {
            let message = format!(
                "{:?} is not gone after {:?}: transactions are under way in it",
                args.name, args.timeout
            );
            let hint = "it goes by itself once they are at their end, and takes nothing until then; `quorate status` names \
                        those that wait for a shard without a majority; --timeout waits longer";
            return Err(Problem::new(Exit::Failed, message, hint));
        }
        sleep(LOOK).await;
    }
    if args.at.json {
        say(&json!({ "dropped": args.name }).to_string());
    } else {
        say(&format!("{} is dropped, with all that was in it", args.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Counted, holds, key, policy_of};
    use serde_json::json;

    #[test]
    fn what_is_said_is_what_there_is() {
        let said = |copies: u64, survive: &str| {
            let tags = json!([{ "Key": "quorate:survive", "Value": survive }]);
            holds(&json!({ "Copies": copies }), &policy_of(&tags))
        };
        let (headline, lacks) = said(5, "2");
        assert!(headline.starts_with("raft x5") && lacks.is_none(), "{headline}");
        // After removals.
        let (headline, lacks) = said(3, "2");
        assert!(headline.starts_with("raft x3") && lacks.unwrap().contains("it asks for 5"), "{headline}");
        // On all members, be they more than it needs.
        let (headline, lacks) = said(5, "0");
        assert!(headline.starts_with("raft x5") && lacks.is_none(), "{headline}");
    }

    #[test]
    fn shards_are_counted() {
        let shard = |leader: u64, ready: bool| json!({ "Leader": leader, "Ready": ready });
        let told = json!({ "Shards": [shard(0, false), shard(2, true), shard(0, true), shard(1, false)] });
        assert_eq!(Counted::of(&told).to_string(), "2 of 4 shards are ready, 2 have no leader");
        assert_eq!(Counted::of(&json!({})).to_string(), "0 of 0 shards are ready, 0 have no leader");
    }

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
