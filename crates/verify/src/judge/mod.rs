//! Holds what clients recorded against what was promised: one finding a check.
//!
//! The checkers of single objects are those of `quorate check`; the invariants of whole workloads stand here.

mod folds;
mod objects;
mod transactions;
mod watches;

use crate::op::Kind;
use crate::record::Event;
use crate::workload::{ACCOUNTS, BALANCE};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a check says.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// What was promised held.
    Holds,
    /// It did not.
    Violated,
    /// Nobody knows, or nothing was shown.
    Unknown,
}

impl Verdict {
    /// The exit code that says so.
    pub fn exit(self) -> u8 {
        match self {
            Self::Holds => 0,
            Self::Violated => 1,
            Self::Unknown => 2,
        }
    }

    /// The worse of two: violated, then unknown, then holds.
    pub fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Violated, _) | (_, Self::Violated) => Self::Violated,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            _ => Self::Holds,
        }
    }

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Violated => "violated",
            Self::Unknown => "unknown",
        }
    }
}

/// What one check says of one run.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The workload whose history was judged, or `run` for what concerns all of it.
    pub subject: String,
    /// The check, by its name in the catalog.
    pub check: String,
    /// What it says.
    pub verdict: Verdict,
    /// Why: what was checked and by what means, or what was violated.
    pub why: String,
    /// The operations that together cannot be, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witness: Vec<String>,
}

impl Finding {
    /// A finding without a witness.
    pub(crate) fn new(subject: &str, check: &str, verdict: Verdict, why: impl Into<String>) -> Self {
        Self { subject: subject.into(), check: check.into(), verdict, why: why.into(), witness: Vec::new() }
    }
}

/// Judges the history of a workload; its file is named in what is said. `isolation` is what was promised of transactions, by
/// the name of a level.
pub(crate) fn judge(workload: &str, history: &Path, events: &[Event], isolation: &str) -> Vec<Finding> {
    let done = events.iter().filter(|event| !event.is_nemesis() && event.kind == Kind::Ok).count();
    if done == 0 {
        return vec![Finding::new(
            workload,
            "any",
            Verdict::Unknown,
            "nothing that a client asked for was done",
        )];
    }
    let how = |model: &str| format!("{model}: `quorate check {} --model {model}`", history.display());
    match workload {
        "register" => vec![objects::linearizable(workload, "cas-register", events, &how("cas-register"))],
        "append" => vec![transactions::appends(workload, events, isolation)],
        "set" => vec![folds::set(workload, events)],
        "ids" => folds::ids(workload, events),
        "bank" => vec![folds::bank(workload, events, ACCOUNTS, BALANCE)],
        "lease" => vec![folds::leases(workload, events)],
        "lock" | "lock-guarded" | "lock-fenced" => vec![lock(workload, events)],
        "stale" => stale(workload, events),
        "watch" => watches::watches(workload, events),
        other => vec![Finding::new(other, "any", Verdict::Unknown, "no check is known for this workload")],
    }
}

/// Under a lock a read and a write that follows are one step: what each holder did is a compare-and-set.
fn lock(workload: &str, events: &[Event]) -> Finding {
    let mut swaps: Vec<Event> = Vec::new();
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| event.f == "update") {
        let Some(process) = event.number() else { continue };
        let swap = Event { f: "cas".into(), ..event.clone() };
        if event.kind == Kind::Invoke {
            open.insert(process, swaps.len());
        } else if let Some(begin) = open.remove(&process) {
            // What was read, and so what was swapped, is known at the end alone.
            swaps[begin].value = event.value.clone();
        }
        swaps.push(swap);
    }
    // A holder that was killed in between has told nobody what it had read.
    let mute: BTreeSet<u64> = open.values().map(|&at| swaps[at].index).collect();
    swaps.retain(|swap| !mute.contains(&swap.index));
    let twice = folds::held_twice(events);
    let how =
        format!("each holder's read and write as one step; two held at once {twice} times by what they knew");
    let mut finding = objects::linearizable(workload, "cas-register", &swaps, &how);
    finding.check = "mutual exclusion".into();
    if finding.verdict == Verdict::Holds && swaps.is_empty() {
        finding.verdict = Verdict::Unknown;
    }
    finding
}

/// Reads that any node answers from what it has: they are not linearizable, and nobody says so.
fn stale(workload: &str, events: &[Event]) -> Vec<Finding> {
    let renamed = |event: &Event| Event { f: event.f.replace("stale-read", "read"), ..event.clone() };
    let reads: Vec<Event> = events.iter().map(renamed).collect();
    let mut findings = vec![objects::linearizable(workload, "register", &reads, "stale reads as reads")];
    findings.extend(objects::seen_by_sessions(workload, &reads));
    findings
}
