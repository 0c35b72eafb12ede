//! Which keys of a table's shards are hot, by what all replicas of a shard have in memory: writes are counted at each of them alike, and
//! reads by the one that has answered them.

use super::Shard;
use crate::Gateway;
use quorate_base::time::Duration;
use quorate_base::{NodeId, ShardId};
use quorate_node::api::tables::{HotKey, HotKeys, Read, ReadReply};
use quorate_node::api::{Answer, Body, Failure, Fresh, Request};
use quorate_wire::table::EPOCH;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Who has not told by then is left out.
const PATIENCE: Duration = Duration::from_millis(500);
/// The replicas of so many shards are asked at once.
const AT_ONCE: usize = 64;
/// So many keys are told of each shard.
const TOLD: usize = 5;

/// Of each shard of a table its hot keys, the hottest first.
pub(super) async fn of(
    gateway: &Gateway,
    table: &str,
    shards: &[Shard],
    members: &[u64],
) -> BTreeMap<u32, Value> {
    let placement = gateway.door.placement();
    let epoch = placement.table(table).map_or(EPOCH, |block| block.epoch);
    let mut all = BTreeMap::new();
    for some in shards.chunks(AT_ONCE) {
        let asked: Vec<_> =
            some.iter().map(|shard| (shard.number, ask(gateway, table, shard, members, epoch))).collect();
        for (shard, told) in asked {
            let mut heard = Vec::new();
            for one in told {
                if let Ok(Ok(Answer { body: Body::Table(reply), .. })) = one.await
                    && let ReadReply::Hot(hot) = *reply
                {
                    heard.push(hot);
                }
            }
            all.insert(shard, in_words(&merged(heard)));
        }
    }
    all
}

type Told = oneshot::Receiver<Result<Answer, Failure>>;

/// Asks all replicas of a shard; shard 1 all members have.
fn ask(gateway: &Gateway, table: &str, shard: &Shard, members: &[u64], epoch: u64) -> Vec<Told> {
    let read = || Request::Table { read: Box::new(Read::Hot(table.into())), fresh: Fresh::Local, epoch };
    let of = |node: NodeId| Request::At(node, Box::new(read()));
    let requests: Vec<Request> = match &shard.home {
        Some(home) => home.all_hosts().map(of).collect(),
        None => members.iter().map(|&member| of(NodeId(member))).collect(),
    };
    let ask = |request| {
        let (give, take) = oneshot::channel();
        let done = Box::new(move |result| drop(give.send(result)));
        gateway.door.call_of(ShardId(shard.number), request, Some(PATIENCE).into(), done);
        take
    };
    requests.into_iter().map(ask).collect()
}

/// What all replicas have counted together: each write once, though each of them has counted it.
fn merged(all: Vec<HotKeys>) -> HotKeys {
    let mut keys: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let (mut reads, mut writes) = (0, 0);
    for hot in all {
        (reads, writes) = (reads + hot.reads, writes.max(hot.writes));
        for one in hot.keys {
            let known = keys.entry(one.key).or_default();
            *known = (known.0 + one.reads, known.1.max(one.writes));
        }
    }
    let key = |(key, (reads, writes))| HotKey { key, reads, writes };
    let mut keys: Vec<HotKey> = keys.into_iter().map(key).collect();
    keys.sort_by_key(|one| std::cmp::Reverse(one.reads + one.writes));
    keys.truncate(TOLD);
    HotKeys { reads, writes, keys }
}

fn in_words(hot: &HotKeys) -> Value {
    let all = (hot.reads + hot.writes).max(1) as f64;
    let one = |one: &HotKey| {
        let key: Value = serde_json::from_str(&one.key).unwrap_or_default();
        let share = ((one.reads + one.writes) as f64 / all * 1_000.0).round() / 1_000.0;
        json!({ "Key": key, "Share": share, "Reads": one.reads, "Writes": one.writes })
    };
    hot.keys.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_count_once_and_reads_of_all() {
        let key = |name: &str, reads, writes| HotKey {
            key: format!("{{\"c\":{{\"S\":\"{name}\"}}}}"),
            reads,
            writes,
        };
        let first = HotKeys { reads: 100, writes: 300, keys: vec![key("a", 50, 100), key("b", 0, 60)] };
        let second = HotKeys { reads: 500, writes: 290, keys: vec![key("c", 300, 0), key("a", 40, 96)] };
        let all = merged(vec![first, second, HotKeys::default()]);
        assert_eq!((all.reads, all.writes), (600, 300));
        let told = in_words(&all);
        let named = |at: usize| told[at]["Key"]["c"]["S"].as_str().unwrap().to_string();
        assert_eq!([named(0), named(1), named(2)], ["c", "a", "b"]);
        assert_eq!(told[1]["Share"], 0.211);
        assert_eq!((&told[1]["Reads"], &told[1]["Writes"]), (&json!(90), &json!(100)));
        assert_eq!(in_words(&HotKeys::default()), json!([]));
    }
}
