//! How much must have been done and looked at before a check may say that something holds: of a run in which nobody wrote, or
//! nobody read, every promise could be said to be kept.

use super::{Finding, Verdict};
use crate::op::Kind;
use crate::record::Event;

/// So many of each kind must have ended well.
const LEAST: usize = 3;

/// What a workload must have done, each with the operations that do it. Those that are not named have a floor in their own check.
fn needed(workload: &str) -> &'static [(&'static str, &'static [&'static str])] {
    match workload {
        "register" | "table-register" => &[("writes", &["write", "cas"]), ("reads", &["read"])],
        "append" | "table-append" | "predicate" => {
            &[("writing steps", &["append", "w", "insert", "delete"]), ("reading steps", &["r", "scan"])]
        }
        "set" => &[("adds", &["add"]), ("reads", &["read-set"])],
        "ids" => &[("ids", &["generate"])],
        "bank" | "table-bank" => &[("transfers", &["transfer"]), ("reads", &["read-bank"])],
        "stale" => &[("writes", &["write"]), ("reads", &["stale-read"])],
        "lock" | "lock-guarded" | "lock-fenced" => &[("updates", &["update"])],
        _ => &[],
    }
}

/// True where the event did one of these, alone or as a step of a transaction.
fn did(event: &Event, names: &[&str]) -> bool {
    let mut steps = event.value.as_array().into_iter().flatten();
    names.contains(&event.f.as_str())
        || (matches!(event.f.as_str(), "txn" | "rows")
            && steps.any(|step| step[0].as_str().is_some_and(|name| names.contains(&name))))
}

/// What is said to hold although next to nothing was done is unknown.
pub(super) fn hold(workload: &str, events: &[Event], findings: &mut [Finding]) {
    let done = || events.iter().filter(|event| event.kind == Kind::Ok && !event.is_nemesis());
    let counts = needed(workload).iter().map(|(what, names)| {
        let count = done().filter(|event| did(event, names)).count();
        (count, format!("{count} {what}"))
    });
    let counts: Vec<(usize, String)> = counts.collect();
    if counts.iter().all(|(count, _)| *count >= LEAST) {
        return;
    }
    let said: Vec<&str> = counts.iter().map(|(_, said)| said.as_str()).collect();
    for finding in findings.iter_mut().filter(|finding| finding.verdict == Verdict::Holds) {
        finding.verdict = Verdict::Unknown;
        finding.why = format!(
            "too little was done to show anything: {}, and at least {LEAST} of each are needed: more --time, --rate or --clients",
            said.join(", ")
        );
    }
}
