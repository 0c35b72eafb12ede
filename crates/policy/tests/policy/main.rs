//! What the planner answers, for every combination, and that no answer promises what cannot be.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

mod presets;
mod properties;
mod tables;

use quorate_policy::decide::Decision;
use quorate_policy::{Contradiction, Mechanism, OnPartition, Policy, PrimaryMode, Rmw};

/// A policy from `field=value` pieces, as a test writes it.
fn policy(text: &str) -> Policy {
    let mut policy = Policy::default();
    for (field, value) in text.split_whitespace().filter_map(|piece| piece.split_once('=')) {
        policy.set(field.parse().unwrap(), value).unwrap();
    }
    policy
}

/// A decision as a table's cell: the mechanism, `!` where every side of a partition serves.
fn cell(decided: &Result<Decision, Vec<Contradiction>>) -> String {
    match decided {
        Ok(d) => {
            let serves = if d.on_partition == OnPartition::Serve { "!" } else { "" };
            format!("{}{serves}", short(d.mechanism))
        }
        Err(found) => found.iter().map(|c| c.rule.word()).collect::<Vec<_>>().join(" & "),
    }
}

fn short(mechanism: Mechanism) -> String {
    match mechanism {
        Mechanism::Raft { n } => format!("raft{n}"),
        Mechanism::Abd { n } => format!("abd{n}"),
        Mechanism::Paxos { n } => format!("pax{n}"),
        Mechanism::Quorum { n, w, r, sloppy, rmw, .. } => {
            let rmw = if rmw == Rmw::Forbid { String::new() } else { format!("/{rmw}") };
            format!("{}q{n}/{w}/{r}{rmw}", if sloppy { "~" } else { "" })
        }
        Mechanism::Primary { n, mode: PrimaryMode::Sync { min_in_sync } } => format!("sync{n}/{min_in_sync}"),
        Mechanism::Primary { n, mode: PrimaryMode::SemiSync { acks } } => format!("semi{n}/{acks}"),
        Mechanism::Primary { n, mode: PrimaryMode::Async } => format!("async{n}"),
    }
}
