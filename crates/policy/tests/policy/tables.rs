//! Every combination, as tables that one can read: `levels.txt` (consistency × partition × mechanism), `numbers.txt`
//! (failures × disks × mechanism), `bounds.txt` (staleness, local operations and scope × consistency × mechanism).
//!
//! A table that does not hold any more is printed as it would be now. Take it over only where each changed cell is
//! right.

use crate::{cell, policy};
use quorate_policy::Policy;
use quorate_policy::decide::decide;

/// A table: its rows and columns are pieces of a policy, its cells what is decided for both together.
fn table(rows: &[String], columns: &[&str]) -> String {
    let mut lines =
        vec![columns.iter().map(|c| if c.is_empty() { "open" } else { c }.to_string()).collect::<Vec<_>>()];
    lines[0].insert(0, String::new());
    for row in rows {
        let decided = |column: &&str| {
            let mut asked: Policy = policy(row);
            asked.overlay(&policy(&if column.is_empty() {
                String::new()
            } else {
                format!("replication={column}")
            }));
            cell(&decide(&asked))
        };
        let name = if row.is_empty() { "nothing".to_string() } else { row.clone() };
        lines.push([name].into_iter().chain(columns.iter().map(decided)).collect());
    }
    let widths: Vec<usize> =
        (0..=columns.len()).map(|i| lines.iter().map(|line| line[i].len()).max().unwrap_or(0)).collect();
    let padded = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
        cells.collect::<Vec<_>>().join(" | ").trim_end().to_string()
    });
    padded.collect::<Vec<_>>().join("\n") + "\n"
}

fn holds(name: &str, expected: &str, now: &str) {
    if expected != now {
        println!("{now}");
        let changed = expected.lines().zip(now.lines()).find(|(a, b)| a != b);
        panic!("{name} does not hold any more (as it would be now: above); first change: {changed:?}");
    }
}

const MECHANISMS: [&str; 12] = [
    "",
    "raft",
    "abd",
    "paxos",
    "quorum",
    "quorum:n=3,w=1,r=1",
    "quorum:n=3,w=2,r=2,rmw=only",
    "quorum:n=3,w=2,r=2,rmw=always",
    "quorum:n=3,w=2,r=2,sloppy",
    "primary:sync",
    "primary:semi-sync:1",
    "primary:async",
];

const LEVELS: [&str; 7] = [
    "",
    "consistency=strict-serializable",
    "consistency=linearizable",
    "consistency=sequential",
    "consistency=regular",
    "consistency=causal",
    "consistency=eventual",
];

fn join(a: &str, b: &str) -> String {
    format!("{a} {b}").trim().to_string()
}

/// Claim: every level under every behaviour in a partition, derived or with each mechanism named, is decided as the
/// table says.
#[test]
fn levels_and_partitions() {
    let partitions = ["", "on-partition=refuse", "on-partition=serve"];
    let rows: Vec<_> = LEVELS.iter().flat_map(|level| partitions.iter().map(|p| join(level, p))).collect();
    holds("levels.txt", include_str!("levels.txt"), &table(&rows, &MECHANISMS));
}

/// Claim: every count of failures with every count of disks has the fewest copies that keep both, or the rule that
/// forbids it.
#[test]
fn failures_and_disks() {
    let columns = [
        "",
        "raft:n=3",
        "raft:n=5",
        "paxos",
        "quorum:n=3,w=2,r=2",
        "quorum:n=5,w=3,r=3",
        "primary:sync",
        "primary:sync,n=3",
        "primary:semi-sync:1",
        "primary:semi-sync:2",
        "primary:async",
    ];
    let mut rows = Vec::new();
    for level in ["", "consistency=regular", "consistency=eventual"] {
        for survive in ["", "survive=0", "survive=1", "survive=2", "survive=3", "survive=4", "survive=5"] {
            for disks in [
                "",
                "durability=0",
                "durability=1",
                "durability=2",
                "durability=3",
                "durability=5",
                "durability=9",
            ] {
                rows.push(join(&join(level, survive), disks));
            }
        }
    }
    holds("numbers.txt", include_str!("numbers.txt"), &table(&rows, &columns));
}

/// Claim: every bound on staleness, every kind of local operation and every scope, at every level, is decided as the
/// table says.
#[test]
fn staleness_locality_and_scope() {
    let mut rows = Vec::new();
    for level in LEVELS {
        for bound in [
            "staleness=100ms",
            "staleness=5s",
            "staleness=5s on-partition=serve",
            "local=reads",
            "local=writes",
            "local=both",
            "local=both durability=2",
            "local=both survive=0",
            "over=key partition-by=hash",
            "over=space",
            "over=space partition-by=hash",
            "over=space partition-by=none",
            "partition-by=range",
            "partition-by=directory",
            "partition-by=time+hash",
        ] {
            rows.push(join(level, bound));
        }
    }
    holds("bounds.txt", include_str!("bounds.txt"), &table(&rows, &MECHANISMS));
}
