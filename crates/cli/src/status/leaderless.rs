//! Of `quorate status`: shards of tables that have no leader. Their items take no writes till one of their replicas leads, and reads that
//! need not be consistent show old values; that takes a majority of them which are up and reach each other.

use crate::report::many;
use quorate_proto::quoratepb as pb;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// So many shards are shown to people; scripts see all.
const SHOWN: usize = 8;

/// They.
#[derive(Serialize, Default, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub(super) struct Leaderless(Vec<Unled>);

#[derive(Serialize, Debug, PartialEq, Eq)]
struct Unled {
    table: String,
    shard: u32,
    /// Members that have a replica of it, ...
    replicas: Vec<u64>,
    /// ... and those of them that do not answer.
    silent: Vec<u64>,
    /// For at least so long it has had no leader; `None` where no member with a replica of it answers.
    ms: Option<u64>,
    /// What to do.
    advice: String,
}

impl Leaderless {
    /// What the members tell together, each with its id, and who does not answer. One that is cut off from the others knows of no leader
    /// where there is one: so all must say so that have a replica and answer.
    pub(super) fn of(told: &[(u64, pb::LedResponse)], silent: &BTreeSet<u64>) -> Self {
        let mut said: BTreeMap<(&str, u32), (&pb::Leaderless, u64, BTreeSet<u64>)> = BTreeMap::new();
        for (node, one) in
            told.iter().flat_map(|(node, told)| told.leaderless.iter().map(move |one| (*node, one)))
        {
            let known = said.entry((&one.table, one.shard)).or_insert((one, 0, BTreeSet::new()));
            known.1 = known.1.max(one.ms);
            known.2.insert(node);
        }
        let answers = |node: &u64| told.iter().any(|(other, _)| other == node);
        let agreed = said
            .into_values()
            .filter(|(one, _, by)| one.replicas.iter().all(|node| !answers(node) || by.contains(node)));
        Self(agreed.map(|(one, ms, _)| Unled::of(one, ms, silent)).collect())
    }

    /// The same in one word about all, if there are any.
    pub(super) fn unhealthy(&self) -> Option<String> {
        let have = if self.0.len() == 1 { "has" } else { "have" };
        let shards = many(self.0.len() as u64, "shard");
        let what = format!(
            "{shards} of tables {have} no leader: their items take no writes, and reads show old values at most"
        );
        (!self.0.is_empty()).then_some(what)
    }

    /// Each of them, and what to do; no line where there is none.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.0.iter().take(SHOWN).map(Unled::line).collect();
        if self.0.len() > SHOWN {
            lines.push(format!("  and {} more", self.0.len() - SHOWN));
        }
        let advice: BTreeSet<&str> = self.0.iter().map(|one| one.advice.as_str()).collect();
        lines.extend(advice.into_iter().map(|advice| format!("  {advice}")));
        lines
    }
}

impl Unled {
    fn of(told: &pb::Leaderless, ms: u64, silent: &BTreeSet<u64>) -> Self {
        let replicas = told.replicas.clone();
        let silent: Vec<u64> = replicas.iter().filter(|node| silent.contains(node)).copied().collect();
        let lacking = (replicas.len() / 2 + 1).saturating_sub(replicas.len() - silent.len());
        let advice = match (lacking, silent.as_slice()) {
            (0, _) => "where a majority of the replicas answers they do not reach each other, or one heals from what its disk lost: \
                       what those nodes print says which"
                .to_string(),
            (_, [one]) => format!("start member {one:x} again: more than half of a shard's replicas must be up and reach each other"),
            (lacking, silent) => format!(
                "start {lacking} of the members {} again: more than half of a shard's replicas must be up and reach each other",
                ids(silent)
            ),
        };
        let (table, shard, ms) = (told.table.clone(), told.shard, Some(ms).filter(|ms| *ms > 0));
        Self { table, shard, replicas, silent, ms, advice }
    }

    fn line(&self) -> String {
        let lasts = self.ms.map_or_else(String::new, |ms| format!(" for {} s", ms / 1_000));
        let silent = match self.silent.as_slice() {
            [] => "all of which answer".to_string(),
            silent if silent.len() == self.replicas.len() => "none of which answers".into(),
            [one] => format!("of which {one:x} does not answer"),
            silent => format!("of which {} do not answer", ids(silent)),
        };
        let replicas = ids(&self.replicas);
        format!(
            "  shard {} of {} has no leader{lasts}: its replicas are on {replicas}, {silent}",
            self.shard, self.table
        )
    }
}

/// Members, as they are shown.
fn ids(nodes: &[u64]) -> String {
    nodes.iter().map(|node| format!("{node:x}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(shard: u32, replicas: &[u64], ms: u64) -> pb::Leaderless {
        pb::Leaderless { shard, table: "orders".into(), replicas: replicas.to_vec(), ms }
    }

    fn told(leaderless: Vec<pb::Leaderless>) -> pb::LedResponse {
        pb::LedResponse { leaderless, ..pb::LedResponse::default() }
    }

    #[test]
    fn shards_without_a_leader_are_named_with_what_to_do() {
        let first =
            told(vec![one(2, &[1, 2, 10], 7_000), one(3, &[1, 4, 5], 9_000), one(7, &[2, 10, 11], 0)]);
        let fourth = told(vec![one(3, &[1, 4, 5], 12_500), one(6, &[3, 4, 5], 5_000)]);
        let fifth = told(vec![one(3, &[1, 4, 5], 3_000)]);
        let silent = BTreeSet::from([2, 10, 11]);
        let all = Leaderless::of(&[(1, first), (4, fourth), (5, fifth)], &silent);
        let said = all.unhealthy().unwrap();
        assert!(said.starts_with("3 shards of tables have no leader"), "{said}");
        let lines = all.lines();
        assert_eq!(
            lines[..3],
            [
                "  shard 2 of orders has no leader for 7 s: its replicas are on 1, 2, a, of which 2, a do not answer",
                "  shard 3 of orders has no leader for 12 s: its replicas are on 1, 4, 5, all of which answer",
                "  shard 7 of orders has no leader: its replicas are on 2, a, b, none of which answers",
            ],
            "of shard 6 member 5 knows a leader"
        );
        assert!(lines.contains(&"  start 1 of the members 2, a again: more than half of a shard's replicas must be up and reach each other".to_string()), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("  start 2 of the members 2, a, b")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("do not reach each other")), "{lines:?}");
        let json = serde_json::to_value(&all).unwrap();
        assert_eq!(
            (&json[0]["silent"], &json[2]["ms"]),
            (&serde_json::json!([2, 10]), &serde_json::Value::Null)
        );
        let many = told((2..20).map(|shard| one(shard, &[1, 2], 4_000)).collect());
        let many = Leaderless::of(&[(1, many)], &BTreeSet::from([2]));
        assert_eq!(many.lines()[SHOWN], "  and 10 more");
        assert_eq!(many.lines().len(), SHOWN + 2);
        assert!(many.lines()[SHOWN + 1].starts_with("  start member 2 again"));
        assert!(Leaderless::default().lines().is_empty() && Leaderless::default().unhealthy().is_none());
    }
}
