//! Holds what clients recorded against what was promised: one finding a check.
//!
//! The checkers of single objects are those of `quorate check`; the invariants of whole workloads stand here.

mod floor;
mod folds;
mod objects;
mod streams;
mod transactions;
mod watches;

use crate::op::Kind;
use crate::record::Event;
use crate::workload::{ACCOUNTS, BALANCE};
use quorate_check::invariants::Invariant;
use quorate_check::txn::Model;
use serde::{Deserialize, Serialize};
use serde_json::Value;
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
    let mut findings = by_workload(workload, history, events, isolation);
    floor::hold(workload, events, &mut findings);
    findings
}

fn by_workload(workload: &str, history: &Path, events: &[Event], isolation: &str) -> Vec<Finding> {
    let how = |model: &str| format!("{model}: `quorate check {} --model {model}`", history.display());
    match workload {
        "register" | "table-register" => {
            vec![objects::linearizable(workload, "cas-register", events, &how("cas-register"))]
        }
        "append" => vec![transactions::transactions(workload, Model::ListAppend, events, isolation)],
        "table-append" => tables(workload, events, isolation),
        "predicate" => vec![transactions::transactions(workload, Model::Predicate, events, isolation)],
        "set" => vec![sets(workload, events)],
        "ids" => {
            vec![objects::invariant(workload, Invariant::Ids, events, &[]), folds::ids_grow(workload, events)]
        }
        "bank" | "table-bank" => vec![bank(workload, events)],
        "lease" => vec![folds::leases(workload, events)],
        "lock" | "lock-guarded" | "lock-fenced" => vec![lock(workload, events)],
        "stale" => stale(workload, events),
        "watch" => watches::watches(workload, events, &how("watch")),
        "table-stream" => streams::streams(workload, events),
        other => vec![Finding::new(other, "any", Verdict::Unknown, "no check is known for this workload")],
    }
}

/// Lists in a table, and transactions that were sent again by their tokens.
fn tables(workload: &str, events: &[Event], isolation: &str) -> Vec<Finding> {
    let (again, rest): (Vec<Event>, Vec<Event>) =
        events.iter().cloned().partition(|event| event.f == "again");
    vec![
        transactions::transactions(workload, Model::ListAppend, &rest, isolation),
        folds::tokens(workload, &again),
    ]
}

/// Each set for itself; the first that is not whole speaks for all.
fn sets(workload: &str, events: &[Event]) -> Finding {
    let mut by_key: BTreeMap<&str, Vec<Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| !event.is_nemesis()) {
        let keyless = Event { key: Value::Null, ..event.clone() };
        by_key.entry(event.key.as_str().unwrap_or("")).or_default().push(keyless);
    }
    let all: Vec<(&str, Finding)> = by_key
        .iter()
        .map(|(key, events)| (*key, objects::invariant(workload, Invariant::Set, events, &[])))
        .collect();
    let worst = all.iter().map(|(_, finding)| finding.verdict).fold(Verdict::Holds, Verdict::worse);
    let named = all.into_iter().find(|(_, finding)| finding.verdict == worst);
    let (key, mut finding) = named
        .unwrap_or_else(|| ("", Finding::new(workload, "set-full", Verdict::Unknown, "no set was used")));
    finding.why = format!("{} sets; {key}: {}", by_key.len(), finding.why);
    finding
}

/// The money of a bank is what its accounts were opened with.
fn bank(workload: &str, events: &[Event]) -> Finding {
    objects::invariant(workload, Invariant::Bank, events, &[BALANCE; ACCOUNTS as usize])
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
    let named = Some(("cas", "update"));
    let mut finding = objects::translated(workload, "cas-register", &swaps, &how, named);
    finding.check = "mutual exclusion".into();
    let held = swaps.iter().any(|swap| swap.kind == Kind::Ok);
    if finding.verdict != Verdict::Violated && !held {
        finding.verdict = Verdict::Unknown;
        finding.why = "nothing was shown: nobody held the lock, wrote under it and was told so".into();
    }
    finding
}

/// Reads that any node answers from what it has: they are not linearizable, and nobody says so.
fn stale(workload: &str, events: &[Event]) -> Vec<Finding> {
    let mut findings = vec![objects::linearizable(workload, "register", events, "stale reads as reads")];
    findings.extend(objects::seen_by_sessions(workload, events));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A process does one thing after the other: what, on what, how it ended, with what.
    fn history(ops: &[(&str, &str, Kind, Value)]) -> Vec<Event> {
        let mut events = Vec::new();
        for (at, (f, key, kind, value)) in ops.iter().enumerate() {
            let key = if key.is_empty() { Value::Null } else { json!(key) };
            let asked = if f.starts_with("read") { Value::Null } else { value.clone() };
            let begin = Event { process: json!(at), kind: Kind::Invoke, key, ..Event::nemesis(0, f, asked) };
            let end = Event { kind: *kind, value: value.clone(), ..begin.clone() };
            events.extend([begin, end]);
        }
        for (at, event) in events.iter_mut().enumerate() {
            (event.time, event.index) = (at as i64 * 1000, at as u64);
        }
        events
    }

    #[test]
    fn sets_and_banks_are_told_to_the_checker_as_it_knows_them() {
        let set = |end, read: Value| {
            let ops = [
                ("add", "s0", end, json!(7)),
                ("read-set", "s0", Kind::Ok, read),
                ("add", "s1", Kind::Ok, json!(9)),
                ("read-set", "s1", Kind::Ok, json!([9])),
            ];
            sets("set", &history(&ops)).verdict
        };
        assert_eq!(set(Kind::Ok, json!([7])), Verdict::Holds);
        assert_eq!(set(Kind::Ok, json!([])), Verdict::Violated);
        assert_eq!(set(Kind::Info, json!([])), Verdict::Holds);
        assert_eq!(set(Kind::Fail, json!([7])), Verdict::Violated);
        assert_eq!(set(Kind::Ok, json!([7, 7])), Verdict::Violated);
        let reads = |balances: Value| {
            let ops = [
                ("open", "", Kind::Ok, json!([6, 100])),
                ("transfer", "", Kind::Ok, json!([0, 1, 2])),
                ("read-bank", "", Kind::Ok, balances),
            ];
            bank("bank", &history(&ops)).verdict
        };
        assert_eq!(reads(json!([98, 102, 100, 100, 100, 100])), Verdict::Holds);
        assert_eq!(reads(json!([98, 100, 100, 100, 100, 100])), Verdict::Violated);
        assert_eq!(reads(json!([-1, 201, 100, 100, 100, 100])), Verdict::Violated);
        // Nothing was shown before it was opened.
        assert_eq!(reads(json!([])), Verdict::Unknown);
    }

    #[test]
    fn a_lost_update_under_a_lock_is_found_and_one_that_was_refused_is_none() {
        let with = |second| {
            let ops = [("update", "", Kind::Ok, json!([null, 1])), ("update", "", second, json!([null, 2]))];
            lock("lock", &history(&ops)).verdict
        };
        assert_eq!(with(Kind::Ok), Verdict::Violated);
        let ops = [("update", "", Kind::Ok, json!([null, 1])), ("update", "", Kind::Ok, json!([1, 2]))];
        assert_eq!(lock("lock", &history(&ops)).verdict, Verdict::Holds);
    }

    /// Claim: what cannot be is told by the operations and the lines of the history that is in the report.
    #[test]
    fn a_witness_names_what_stands_in_the_report() {
        let ops = [
            ("acquire", "", Kind::Ok, json!(1)),
            ("update", "", Kind::Ok, json!([null, 1])),
            ("acquire", "", Kind::Ok, json!(2)),
            ("update", "", Kind::Ok, json!([null, 2])),
        ];
        let finding = lock("lock", &history(&ops));
        assert_eq!(finding.verdict, Verdict::Violated);
        let told = format!("{} {}", finding.why, finding.witness.join("; "));
        assert!(told.contains("process 1: update [nil 1] (line 3)"), "{told}");
        assert!(told.contains("process 3: update [nil 2] (line 7)") && !told.contains("cas"), "{told}");
        let ops = [
            ("open", "", Kind::Ok, json!([6, 100])),
            ("transfer", "", Kind::Ok, json!([0, 1, 2])),
            ("read-bank", "", Kind::Ok, json!([98, 100, 100, 100, 100, 100])),
        ];
        let finding = bank("bank", &history(&ops));
        assert!(
            finding.witness[0].contains("read-bank") && finding.witness[0].contains("(line 5)"),
            "{finding:?}"
        );
        assert!(!finding.why.contains("--initial"), "{finding:?}");
    }

    /// Claim: who did next to nothing is not told that all holds.
    #[test]
    fn thin_runs_show_nothing() {
        let stale = |writes: usize, reads: usize| {
            let write = |at: usize| ("write", "k", Kind::Ok, json!(at + 1));
            let read = |_| ("stale-read", "k", Kind::Ok, json!(writes));
            let ops: Vec<_> = (0..writes).map(write).chain((0..reads).map(read)).collect();
            judge("stale", Path::new("h"), &history(&ops), "")
        };
        let linearizable = |findings: &[Finding]| findings[0].verdict;
        assert_eq!(linearizable(&stale(3, 3)), Verdict::Holds);
        for (writes, reads) in [(2, 9), (9, 2)] {
            let findings = stale(writes, reads);
            assert!(findings.iter().all(|finding| finding.verdict != Verdict::Holds), "{findings:?}");
            assert!(findings[0].why.starts_with("too little was done"), "{findings:?}");
        }
        // What was seen to be broken is.
        let ops = [("write", "k", Kind::Ok, json!(1)), ("stale-read", "k", Kind::Ok, json!(7))];
        assert_eq!(linearizable(&judge("stale", Path::new("h"), &history(&ops), "")), Verdict::Violated);
    }

    /// Claim: that a lock excludes is not said where nobody is known to have held it.
    #[test]
    fn a_lock_that_nobody_held_has_shown_nothing() {
        let update = |end| history(&[("update", "", end, json!([null, 1]))]);
        assert_eq!(lock("lock", &update(Kind::Ok)).verdict, Verdict::Holds);
        let mut refused = update(Kind::Fail);
        refused[1].error = Some("an older token".into());
        for events in [refused, update(Kind::Info), Vec::new()] {
            let finding = lock("lock", &events);
            assert_eq!(finding.verdict, Verdict::Unknown);
            assert!(finding.why.starts_with("nothing was shown"), "{}", finding.why);
        }
    }
}
