//! Of `quorate status`: transactions over several shards whose outcome nobody knows. A shard that takes part does not say how it voted, since
//! it has lost its quorum; till then what they hold stays locked for writes.

use crate::report::many;
use quorate_proto::quoratepb as pb;
use serde::Serialize;
use std::collections::BTreeMap;

/// So many transactions are shown to people, and items of each; scripts see all that the members tell.
const SHOWN: usize = 5;

/// They.
#[derive(Serialize, Default, Debug, PartialEq, Eq)]
pub(super) struct Undecided {
    count: usize,
    /// The oldest is undecided for at least so long.
    oldest_ms: u64,
    /// The oldest first.
    transactions: Vec<Transaction>,
}

#[derive(Serialize, Debug, PartialEq, Eq)]
struct Transaction {
    id: String,
    age_ms: u64,
    waits_for: Vec<Shard>,
    /// Some of the items that it holds.
    holds: Vec<Held>,
}

#[derive(Serialize, Debug, PartialEq, Eq)]
struct Shard {
    shard: u32,
    table: String,
}

#[derive(Serialize, Debug, PartialEq, Eq)]
struct Held {
    table: String,
    /// In JSON, as DynamoDB writes it.
    key: serde_json::Value,
}

impl Undecided {
    /// What the members tell together: the leaders of several shards may try to recover one transaction.
    pub(super) fn of(led: impl IntoIterator<Item = pb::LedResponse>) -> Self {
        let mut by_id: BTreeMap<String, Transaction> = BTreeMap::new();
        for one in led.into_iter().flat_map(|led| led.undecided) {
            let fresh = || Transaction { id: one.id.clone(), age_ms: 0, waits_for: vec![], holds: vec![] };
            let known = by_id.entry(one.id.clone()).or_insert_with(fresh);
            known.age_ms = known.age_ms.max(one.age_ms);
            for pb::Shard { shard, table } in one.waits_for {
                if known.waits_for.iter().all(|other| other.shard != shard) {
                    known.waits_for.push(Shard { shard, table });
                }
            }
            for pb::Holds { table, key } in one.holds {
                let held = Held { table, key: serde_json::from_str(&key).unwrap_or_default() };
                if !known.holds.contains(&held) {
                    known.holds.push(held);
                }
            }
        }
        let mut transactions: Vec<Transaction> = by_id.into_values().collect();
        transactions.sort_by(|a, b| b.age_ms.cmp(&a.age_ms).then_with(|| a.id.cmp(&b.id)));
        let oldest_ms = transactions.first().map_or(0, |one| one.age_ms);
        Self { count: transactions.len(), oldest_ms, transactions }
    }

    /// The same for people; no line where there is none.
    pub(super) fn lines(&self) -> Vec<String> {
        if self.count == 0 {
            return Vec::new();
        }
        let mut lines = vec![format!(
            "undecided: {} over several shards, the oldest for {} s; what they hold stays locked for writes until the shards answer that \
             they wait for",
            many(self.count as u64, "transaction"),
            self.oldest_ms / 1_000
        )];
        lines.extend(self.transactions.iter().take(SHOWN).map(Transaction::line));
        if self.count > SHOWN {
            lines.push(format!("  and {} more", self.count - SHOWN));
        }
        lines
    }
}

impl Transaction {
    fn line(&self) -> String {
        let shard = |one: &Shard| match one.table.as_str() {
            "" => format!("shard {}", one.shard),
            table => format!("shard {} of {table}", one.shard),
        };
        let shards: Vec<String> = self.waits_for.iter().map(shard).collect();
        let held = |one: &Held| format!("{} {}", one.table, one.key);
        let mut holds: Vec<String> = self.holds.iter().take(SHOWN).map(held).collect();
        if holds.is_empty() {
            holds.push("items that no member that answers names".into());
        }
        format!(
            "  {} ({} s) waits for {}, holds {}",
            self.id,
            self.age_ms / 1_000,
            shards.join(", "),
            holds.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: &str, age_ms: u64, shard: u32, key: &str) -> pb::Undecided {
        let holds = vec![pb::Holds { table: "orders".into(), key: key.into() }];
        let waits_for = vec![pb::Shard { shard, table: "carts".into() }];
        pb::Undecided { id: id.into(), age_ms, waits_for, holds }
    }

    #[test]
    fn a_transaction_is_named_once_whoever_tells_of_it() {
        let told = |undecided| pb::LedResponse { undecided, ..pb::LedResponse::default() };
        let key = |name: &str| format!("{{\"c\":{{\"S\":\"{name}\"}}}}");
        let first = told(vec![one("1.1.7.1", 5_500, 4, &key("a")), one("1.1.8.1", 4_000, 4, &key("b"))]);
        let second = told(vec![one("1.1.7.1", 9_100, 5, &key("c"))]);
        let all = Undecided::of(vec![first, second]);
        assert_eq!((all.count, all.oldest_ms, all.transactions[0].waits_for.len()), (2, 9_100, 2));
        let lines = all.lines();
        assert!(
            lines[0].starts_with("undecided: 2 transactions over several shards, the oldest for 9 s;"),
            "{lines:?}"
        );
        assert_eq!(
            lines[1],
            "  1.1.7.1 (9 s) waits for shard 4 of carts, shard 5 of carts, holds orders {\"c\":{\"S\":\"a\"}}, orders \
             {\"c\":{\"S\":\"c\"}}"
        );
        let many = told((0..9).map(|n| one(&format!("2.1.{n}.1"), 3_000, 1, "")).collect());
        assert_eq!(Undecided::of(vec![many]).lines().last().unwrap(), "  and 4 more");
        assert!(Undecided::of(vec![told(vec![])]).lines().is_empty());
    }
}
