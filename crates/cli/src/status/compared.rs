//! Of `quorate status --compare`: whether all members hold the same data. Each hashes what it holds at one revision, with etcd's `HashKV`,
//! so that it works with members of etcd, too. Replicas of one log that hold different data are damaged, or one has a bug.

use super::Line;
use crate::probe::{self, Hashed};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long one node may take to read all it holds.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// A compaction between the answers makes them say nothing about each other: so it is asked again.
const TRIES: usize = 5;

/// What came of it.
#[derive(Serialize, Debug, PartialEq, Eq)]
pub(super) struct Compared {
    /// The revision at which they were compared.
    revision: i64,
    /// From this revision on, since what lies before is compacted.
    compacted: i64,
    /// The members by what they hold, the most first.
    nodes: Vec<Alike>,
    /// Those that could not be compared, and why.
    missing: BTreeMap<u64, String>,
}

/// Members that hold the same.
#[derive(Serialize, Debug, PartialEq, Eq)]
struct Alike {
    hash: u32,
    nodes: Vec<u64>,
}

impl Compared {
    /// Asks the members that answer.
    pub(super) async fn asked(nodes: &[Line]) -> Self {
        let mut compared = Self::of(0, BTreeMap::new());
        for _ in 0..TRIES {
            let there = || nodes.iter().filter(|node| node.answers());
            // All of them have it.
            let revision = there().map(|node| node.revision).min().unwrap_or(0);
            let asked = there().map(|node| {
                let (id, endpoint) = (node.id, node.endpoint.clone());
                tokio::spawn(async move { (id, probe::hash(&endpoint, revision, PATIENCE).await) })
            });
            let mut answers = BTreeMap::new();
            for task in asked.collect::<Vec<_>>() {
                answers.extend(task.await);
            }
            compared = Self::of(revision, answers);
            if compared.missing.is_empty() {
                break;
            }
        }
        compared
    }

    fn of(revision: i64, answers: BTreeMap<u64, Result<Hashed, String>>) -> Self {
        let compacted = answers.values().flatten().map(|hashed| hashed.compacted).max().unwrap_or(0);
        let (mut by_hash, mut missing) = (BTreeMap::<u32, Vec<u64>>::new(), BTreeMap::new());
        for (id, answer) in answers {
            match answer {
                Ok(hashed) if hashed.compacted == compacted => {
                    by_hash.entry(hashed.hash).or_default().push(id);
                }
                Ok(_) => drop(missing.insert(id, "compactions come between; ask again".to_string())),
                Err(why) => drop(missing.insert(id, why)),
            }
        }
        let mut nodes: Vec<Alike> = by_hash.into_iter().map(|(hash, nodes)| Alike { hash, nodes }).collect();
        nodes.sort_by_key(|alike| std::cmp::Reverse(alike.nodes.len()));
        Self { revision, compacted, nodes, missing }
    }

    /// What is not well about it.
    pub(super) fn unhealthy(&self) -> Vec<String> {
        let mut out: Vec<String> =
            self.missing.iter().map(|(id, why)| format!("node {id:x} was not compared: {why}")).collect();
        if self.nodes.len() > 1 {
            let all: Vec<String> = self
                .nodes
                .iter()
                .map(|alike| format!("{} ({:08x})", names(&alike.nodes), alike.hash))
                .collect();
            let most = self.nodes[0].nodes.len() > self.nodes[1].nodes.len();
            let then = if most {
                "`quorate doctor` on the data directory of who differs from the most names what is damaged, and `quorate node replace` puts \
                 a new node in its place"
            } else {
                "no more hold the one than the other: keep all data directories, and run `quorate doctor` on each"
            };
            out.push(format!(
                "members hold different data at revision {}: {}; {then}",
                self.revision,
                all.join(", ")
            ));
        }
        out
    }

    /// The line for people where all is well.
    pub(super) fn line(&self) -> Option<String> {
        let [alike] = &self.nodes[..] else { return None };
        let behind = if self.compacted > 0 { format!(", from {} on", self.compacted) } else { String::new() };
        Some(format!(
            "{} hold the same data at revision {}{behind} ({:08x})",
            names(&alike.nodes),
            self.revision,
            alike.hash
        ))
    }
}

fn names(nodes: &[u64]) -> String {
    let all: Vec<String> = nodes.iter().map(|id| format!("{id:x}")).collect();
    format!("{} {}", if all.len() == 1 { "node" } else { "nodes" }, all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(hashes: &[(u64, u32, i64)]) -> Compared {
        let of = |&(id, hash, compacted): &(u64, u32, i64)| (id, Ok(Hashed { hash, compacted }));
        Compared::of(90, hashes.iter().map(of).collect())
    }

    #[test]
    fn who_holds_other_data_is_named() {
        let well = told(&[(1, 5, 0), (2, 5, 0), (3, 5, 0)]);
        assert!(well.unhealthy().is_empty());
        assert_eq!(well.line().unwrap(), "nodes 1, 2, 3 hold the same data at revision 90 (00000005)");
        let ill = told(&[(1, 5, 0), (2, 6, 0), (3, 5, 0)]);
        let said = ill.unhealthy().join("\n");
        assert!(said.contains("at revision 90: nodes 1, 3 (00000005), node 2 (00000006); `quorate doctor`"));
        assert_eq!(ill.line(), None);
        assert!(told(&[(1, 5, 0), (2, 6, 0)]).unhealthy()[0].contains("no more hold the one"));
    }

    #[test]
    fn who_was_not_compared_is_named() {
        let between = told(&[(1, 5, 40), (2, 6, 30)]);
        assert_eq!(between.unhealthy(), ["node 2 was not compared: compactions come between; ask again"]);
        let silent = BTreeMap::from([(1, Ok(Hashed { hash: 5, compacted: 0 })), (2, Err("silent".into()))]);
        assert_eq!(Compared::of(9, silent).unhealthy(), ["node 2 was not compared: silent"]);
    }
}
