//! `quorate space shards`: how the shards of a space are, and in which zones.

use super::Where;
use super::remote::{Refused, Remote};
use crate::probe::time;
use crate::report::{Problem, many, say};
use crate::status::crowd;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[derive(clap::Args, Debug)]
pub(super) struct ShardsArgs {
    /// The space's name
    name: String,
    /// Look for so long how many entries come to each: how much load it has
    #[arg(long, value_name = "TIME", value_parser = time)]
    over: Option<Duration>,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn shards(args: &ShardsArgs) -> Result<(), Problem> {
    let mut remote = Remote::new(args.at.endpoint());
    let failed = |e: Refused| e.problem(&format!("cannot look at the shards of {:?}", args.name));
    let request = json!({ "TableName": args.name, "HotKeys": true });
    let mut told = remote.ask("Quorate.DescribeShards", &request).await.map_err(failed)?;
    if let Some(over) = args.over {
        let since = Instant::now();
        sleep(over).await;
        let before = std::mem::take(&mut told);
        told = remote.ask("Quorate.DescribeShards", &request).await.map_err(failed)?;
        rate(&before, &mut told, since.elapsed());
    }
    if args.at.json {
        say(&told.to_string());
    } else {
        say(lines(&told, args.over.is_some()).trim_end());
        for line in zones(&told) {
            say(&line);
        }
    }
    Ok(())
}

/// In which zones the members are, and of how many shards two replicas are in one; no line where no member has said.
pub(super) fn zones(told: &Value) -> Vec<String> {
    let mut zones = std::collections::BTreeMap::<&str, Vec<String>>::new();
    for one in told["Zones"].as_array().map_or(&[][..], Vec::as_slice) {
        if let (Some(zone), Some(node)) = (one["Zone"].as_str(), one["Node"].as_u64()) {
            zones.entry(zone).or_default().push(node.to_string());
        }
    }
    if zones.is_empty() {
        return Vec::new();
    }
    let named: Vec<String> =
        zones.iter().map(|(zone, nodes)| format!("{zone} (node {})", nodes.join(", "))).collect();
    let mut lines = vec![format!("  zones: {}", named.join(", "))];
    let (close, most) = close(told);
    if close > 0 {
        let have = if close == 1 { "has" } else { "have" };
        let upto = if close > 1 && most > 2 { "up to " } else { "" };
        lines.push(format!(
            "  {} {have} {upto}{} replicas in one zone: they move apart as soon as there are nodes in enough zones",
            many(close as u64, "shard"),
            crowd(most)
        ));
    }
    lines
}

/// Of how many shards two or more replicas are, or are to be, in one zone; and how many those are of one at most.
pub(super) fn close(told: &Value) -> (usize, u32) {
    let shared = |shard: &Value| {
        let zones = shard["SharedZones"].as_array().map_or(&[][..], Vec::as_slice);
        zones.iter().map(|zone| in_zone(told, shard, zone)).max()
    };
    let shards = told["Shards"].as_array().map_or(&[][..], Vec::as_slice);
    let shared: Vec<u32> = shards.iter().filter_map(shared).collect();
    (shared.len(), shared.into_iter().max().unwrap_or(0))
}

/// How many replicas of a shard are, or are to be, in a zone.
fn in_zone(told: &Value, shard: &Value, zone: &Value) -> u32 {
    let nodes = |member: &str| shard[member].as_array().map_or(&[][..], Vec::as_slice);
    let stays = |node: &&Value| !nodes("MovesFrom").contains(node);
    let is_there = |node: &&Value| {
        let zones = told["Zones"].as_array().map_or(&[][..], Vec::as_slice);
        zones.iter().any(|one| one["Node"] == **node && one["Zone"] == *zone)
    };
    nodes("Replicas").iter().filter(stays).chain(nodes("MovesTo")).filter(is_there).count() as u32
}

/// Adds how many entries a second came to each shard between two looks.
fn rate(before: &Value, told: &mut Value, over: Duration) {
    let Some(shards) = told["Shards"].as_array_mut() else { return };
    for shard in shards {
        let same = |known: &&Value| known["Shard"] == shard["Shard"];
        let known = before["Shards"].as_array().and_then(|all| all.iter().find(same));
        let entries = |shard: &Value| shard["Entries"].as_u64().unwrap_or(0);
        let came = known.map_or(0, |known| entries(shard).saturating_sub(entries(known)));
        shard["EntriesPerSecond"] = json!((came as f64 / over.as_secs_f64()).round());
    }
}

/// A table of shards, for who looks.
fn lines(told: &Value, with_rates: bool) -> String {
    let mut out = String::from("  shard  leader  replicas      items        bytes      entries");
    out.push_str(if with_rates { "  entries/s\n" } else { "\n" });
    for shard in told["Shards"].as_array().map_or(&[][..], Vec::as_slice) {
        let number = |member: &str| shard[member].as_u64().unwrap_or(0);
        let replicas = shard["Replicas"].as_array().map_or(&[][..], Vec::as_slice);
        let replicas: Vec<String> = replicas.iter().map(Value::to_string).collect();
        let leader = match number("Leader") {
            0 => "none".to_string(),
            leader => leader.to_string(),
        };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "  {:>5}  {leader:>6}  {:<8}  {:>9}  {:>11}  {:>11}",
            number("Shard"),
            replicas.join(","),
            number("ItemCount"),
            number("SizeBytes"),
            number("Entries"),
        );
        if with_rates {
            let _ = write!(out, "  {:>9}", shard["EntriesPerSecond"].as_f64().unwrap_or(0.0));
        }
        for key in shard["Begin"].as_object().into_iter().flat_map(|key| key.values()) {
            let _ = write!(out, "  from {key}");
        }
        if let Some(tenants) = shard["Tenants"].as_u64() {
            let _ = write!(out, "  {}", many(tenants, "tenant"));
        }
        if shard["Ready"] != true {
            out.push_str("  not ready");
        }
        let nodes = |member: &str| {
            let all = shard[member].as_array().map_or(&[][..], Vec::as_slice);
            all.iter().map(Value::to_string).collect::<Vec<_>>().join(",")
        };
        match (nodes("MovesFrom").as_str(), nodes("MovesTo").as_str()) {
            ("", "") => {}
            (from, "") => _ = write!(out, "  leaves {from}"),
            ("", to) => _ = write!(out, "  comes to {to}"),
            (from, to) => _ = write!(out, "  moves from {from} to {to}"),
        }
        for zone in shard["SharedZones"].as_array().map_or(&[][..], Vec::as_slice) {
            _ = write!(
                out,
                "  {} in zone {}",
                crowd(in_zone(told, shard, zone)),
                zone.as_str().unwrap_or("")
            );
        }
        out.push('\n');
        for hot in shard["HotKeys"].as_array().map_or(&[][..], Vec::as_slice) {
            out.push_str(&hot_line(hot));
        }
    }
    out
}

/// A key that gets much of a shard's load.
fn hot_line(hot: &Value) -> String {
    let number = |member: &str| hot[member].as_u64().unwrap_or(0);
    let all = (number("Reads") + number("Writes")).max(1);
    let share = hot["Share"].as_f64().unwrap_or(0.0) * 100.0;
    let writes = number("Writes") * 100 / all;
    format!("         hot: {} gets {share:.0} % of the load, {writes} % of which are writes\n", hot["Key"])
}

#[cfg(test)]
mod tests {
    use super::{close, lines, rate, zones};
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn shards_have_rates() {
        let told = |entries: [u64; 2]| {
            let shard = |n: usize| {
                json!({ "Shard": n + 2, "Leader": n, "Replicas": [1, 2, 3], "ItemCount": 7,
                "SizeBytes": 700, "Entries": entries[n], "Ready": n == 1 })
            };
            json!({ "Shards": [shard(0), shard(1)] })
        };
        let (before, mut behind) = (told([10, 20]), told([10, 60]));
        rate(&before, &mut behind, Duration::from_secs(4));
        let text = lines(&behind, true);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0].last(), Some(&"entries/s"));
        assert_eq!(rows[1], ["2", "none", "1,2,3", "7", "700", "10", "0", "not", "ready"]);
        assert_eq!(rows[2], ["3", "1", "1,2,3", "7", "700", "60", "10"]);
        assert!(!lines(&before, false).contains("entries/s"));
        let mut hot = before.clone();
        hot["Shards"][0]["HotKeys"] =
            json!([{ "Key": { "c": { "S": "one" } }, "Share": 0.418, "Reads": 30, "Writes": 10 }]);
        let words = "         hot: {\"c\":{\"S\":\"one\"}} gets 42 % of the load, 25 % of which are writes";
        assert_eq!(lines(&hot, false).lines().nth(2), Some(words));
        for (from, to, words) in [
            (json!([3]), json!([4]), "moves from 3 to 4"),
            (json!([3]), json!([]), "leaves 3"),
            (json!([]), json!([4]), "comes to 4"),
        ] {
            let mut moving = before.clone();
            moving["Shards"][0]["MovesFrom"] = from;
            moving["Shards"][0]["MovesTo"] = to;
            assert!(lines(&moving, false).lines().nth(1).unwrap().ends_with(words), "{moving}");
        }
    }

    #[test]
    fn zones_are_named_where_there_are_any() {
        let zone = |node: u64, zone: &str| json!({ "Node": node, "Zone": zone });
        let told = json!({ "Zones": [zone(1, "a"), zone(2, "b"), zone(4, "a")], "Shards": [
            { "Shard": 2, "Replicas": [1, 2, 4], "SharedZones": ["a"], "Ready": true },
            { "Shard": 3, "Replicas": [1, 2], "SharedZones": [], "Ready": true },
        ] });
        let said = zones(&told);
        assert_eq!(said[0], "  zones: a (node 1, 4), b (node 2)");
        assert!(said[1].starts_with("  1 shard has two replicas in one zone"), "{}", said[1]);
        assert!(lines(&told, false).lines().nth(1).unwrap().ends_with("two in zone a"));
        assert!(zones(&json!({ "Shards": [{ "Shard": 2 }] })).is_empty());
        let mut three = told.clone();
        three["Shards"][1] = json!({ "Shard": 3, "Replicas": [1, 2, 5], "MovesFrom": [2], "MovesTo": [4], "SharedZones": ["a"] });
        three["Zones"] = json!([zone(1, "a"), zone(2, "b"), zone(4, "a"), zone(5, "a")]);
        assert_eq!(close(&three), (2, 3));
        assert!(lines(&three, false).lines().nth(2).unwrap().ends_with("three in zone a"));
        assert!(zones(&three)[1].starts_with("  2 shards have up to three replicas in one zone"));
    }
}
