//! What etcd promises of a watch, by its names: Ordered, Unique, Atomic and Reliable, Resumable.
//!
//! A watch of a client is a chain of answers: each goes on behind the revision up to which the last one was whole, often at
//! another node. Held against the writes whose revision the clients were told, each answer must hold every one of them in
//! its range (Reliable, Atomic: a transaction's keys have one revision, and stand in one range), none twice (Unique), in
//! order (Ordered), and nothing that nobody can have written. What a write of unknown outcome did is learnt from the watches
//! themselves: two that covered the same revision must have seen the same there (Resumable).

use super::folds::{Span, spans};
use super::{Finding, Verdict};
use crate::op::Kind;
use crate::record::Event;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type Change = (i64, String, String);

/// Judges the watches of a history.
pub(super) fn watches(subject: &str, events: &[Event]) -> Vec<Finding> {
    let spans = spans(events);
    let answers: Vec<Answer<'_>> = spans.iter().filter_map(Answer::of).collect();
    let written = written(&spans);
    let possible: BTreeSet<(String, String)> =
        spans.iter().filter(|s| s.kind() != Kind::Fail).flat_map(asked).collect();
    let total: usize = answers.iter().map(|answer| answer.changes.len()).sum();
    let mut findings = Vec::new();
    let mut say = |check: &str, broken: Option<(String, &Span<'_>)>, why: String| {
        let mut finding = Finding::new(subject, check, Verdict::Holds, why);
        if let Some((what, span)) = broken {
            finding = Finding::new(subject, check, Verdict::Violated, what);
            finding.witness = vec![span.words()];
        } else if total == 0 {
            finding.verdict = Verdict::Unknown;
        }
        findings.push(finding);
    };
    let all = format!("{total} events in {} answers", answers.len());
    say("watch: ordered", first(&answers, Answer::unordered), all.clone());
    say("watch: unique", first(&answers, Answer::doubled), all.clone());
    let reliable = first(&answers, |answer| answer.missing(&written));
    say("watch: reliable", reliable, format!("{} known changes, none missed", written.len()));
    let invented = first(&answers, |answer| {
        let strange = answer
            .changes
            .iter()
            .find(|(_, key, value)| !possible.contains(&(key.clone(), value.clone())))?;
        Some(format!("{strange:?} was written by nobody"))
    });
    say("watch: true", invented, all);
    say("watch: resumable", differs(&answers), "answers that overlap saw the same".into());
    findings
}

fn first<'a>(
    answers: &[Answer<'a>],
    broken: impl Fn(&Answer<'a>) -> Option<String>,
) -> Option<(String, &'a Span<'a>)> {
    answers.iter().find_map(|answer| broken(answer).map(|what| (what, answer.span)))
}

/// One answer: everything in (after, through].
struct Answer<'a> {
    span: &'a Span<'a>,
    after: i64,
    through: i64,
    changes: Vec<Change>,
}

impl<'a> Answer<'a> {
    fn of(span: &'a Span<'a>) -> Option<Self> {
        let end = span.end.filter(|end| end.f == "watch" && end.kind == Kind::Ok)?;
        let change =
            |event: &Value| Some((event[0].as_i64()?, event[1].as_str()?.to_string(), event[2].to_string()));
        Some(Self {
            span,
            after: span.call.value.as_i64()?,
            through: end.value[0].as_i64()?,
            changes: end.value[1].as_array()?.iter().filter_map(change).collect(),
        })
    }

    fn unordered(&self) -> Option<String> {
        if let Some(early) = self.changes.iter().find(|change| change.0 <= self.after) {
            return Some(format!("revision {} came to a watch that begins behind {}", early.0, self.after));
        }
        let back = self.changes.windows(2).find(|pair| pair[1].0 < pair[0].0)?;
        Some(format!("revision {} came behind {}", back[1].0, back[0].0))
    }

    fn doubled(&self) -> Option<String> {
        let mut seen = BTreeSet::new();
        let twice = self.changes.iter().find(|change| !seen.insert((change.0, &change.1)))?;
        Some(format!("revision {} of {} came twice", twice.0, twice.1))
    }

    fn missing(&self, written: &BTreeSet<Change>) -> Option<String> {
        let seen: BTreeSet<&Change> = self.changes.iter().collect();
        let covered = written.range((self.after + 1, String::new(), String::new())..);
        let lost =
            covered.take_while(|change| change.0 <= self.through).find(|change| !seen.contains(change))?;
        Some(format!(
            "{lost:?} is missing from a watch of everything from {} to {}",
            self.after + 1,
            self.through
        ))
    }
}

/// The changes that an operation asked for: key and value.
fn asked(span: &Span<'_>) -> Vec<(String, String)> {
    let pair = |key: &Value, value: &Value| Some((key.as_str()?.to_string(), value.to_string()));
    match span.call.f.as_str() {
        "write" => pair(&span.call.key, &span.call.value).into_iter().collect(),
        "write-both" => span
            .call
            .value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|both| pair(&both[0], &both[1]))
            .collect(),
        _ => Vec::new(),
    }
}

/// Changes whose revision their client was told.
fn written(spans: &[Span<'_>]) -> BTreeSet<Change> {
    let known = spans.iter().filter(|span| span.kind() == Kind::Ok);
    let with_version = known.filter_map(|span| Some((span, span.end?.version?)));
    with_version
        .flat_map(|(span, version)| asked(span).into_iter().map(move |(k, v)| (version, k, v)))
        .collect()
}

/// Two answers that covered the same revision and do not agree on it.
fn differs<'a>(answers: &[Answer<'a>]) -> Option<(String, &'a Span<'a>)> {
    let mut known: BTreeMap<(i64, &str), &str> = BTreeMap::new();
    let every: BTreeSet<&Change> = answers.iter().flat_map(|answer| &answer.changes).collect();
    for answer in answers {
        for (revision, key, value) in &answer.changes {
            if known.insert((*revision, key), value).is_some_and(|other| other != value) {
                return Some((format!("revision {revision} of {key} is seen with two values"), answer.span));
            }
        }
        let seen: BTreeSet<&Change> = answer.changes.iter().collect();
        let missed = every
            .iter()
            .find(|change| change.0 > answer.after && change.0 <= answer.through && !seen.contains(**change));
        if let Some(missed) = missed {
            return Some((format!("{missed:?} was seen by another watch and not by this one"), answer.span));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(answer: Value) -> Vec<(String, Verdict)> {
        let event = |time, process: u64, kind, f: &str, value: Value, version| Event {
            process: json!(process),
            kind,
            key: if f == "write" { json!("k") } else { Value::Null },
            version,
            ..Event::nemesis(time, f, value)
        };
        let mut events = Vec::new();
        for (at, value) in [(5, json!(1)), (6, Value::Null), (7, json!(2))] {
            events.push(event(at, 0, Kind::Invoke, "write", value.clone(), None));
            events.push(event(at, 0, Kind::Ok, "write", value, Some(at)));
        }
        events.push(event(8, 0, Kind::Invoke, "write-both", json!([["k", 3], ["both", 3]]), None));
        events.push(event(8, 0, Kind::Ok, "write-both", json!([["k", 3], ["both", 3]]), Some(8)));
        events.push(event(10, 1, Kind::Invoke, "watch", json!(5), None));
        events.push(event(11, 1, Kind::Ok, "watch", answer, None));
        let bad = watches("watch", &events).into_iter().filter(|finding| finding.verdict != Verdict::Holds);
        bad.map(|finding| (finding.check, finding.verdict)).collect()
    }

    #[test]
    fn each_promise_has_a_history_that_breaks_it() {
        let whole = json!([8, [[6, "k", null], [7, "k", 2], [8, "k", 3], [8, "both", 3]]]);
        assert_eq!(judged(whole), []);
        // Whole up to 6 is whole enough for who says so.
        assert_eq!(judged(json!([6, [[6, "k", null]]])), []);
        let broken = |answer: Value, check: &str| {
            let bad = judged(answer);
            assert!(bad.contains(&(check.into(), Verdict::Violated)), "{check}: {bad:?}");
        };
        broken(json!([7, [[7, "k", 2], [6, "k", null]]]), "watch: ordered");
        broken(json!([6, [[5, "k", 1], [6, "k", null]]]), "watch: ordered");
        broken(json!([6, [[6, "k", null], [6, "k", null]]]), "watch: unique");
        broken(json!([7, [[7, "k", 2]]]), "watch: reliable");
        broken(json!([8, [[6, "k", null], [7, "k", 2], [8, "k", 3]]]), "watch: reliable");
        broken(json!([6, [[6, "k", 9]]]), "watch: true");
    }
}
