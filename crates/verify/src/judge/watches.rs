//! What etcd promises of a watch, by its names: `quorate check --model watch`. Beside it, what that checker cannot ask of
//! histories in which others may have written too: that every event is of a write that a client here asked for.
//!
//! What a write of unknown outcome did is learnt from the watches themselves: all that covered its revision must have seen the
//! same there.

use super::folds::{Span, spans};
use super::{Finding, Verdict, objects};
use crate::op::Kind;
use crate::record::Event;
use serde_json::Value;
use std::collections::BTreeSet;

/// Judges the watches of a history.
pub(super) fn watches(subject: &str, events: &[Event], how: &str) -> Vec<Finding> {
    let spans = spans(events);
    let answers: Vec<&Span<'_>> =
        spans.iter().filter(|span| span.call.f == "watch" && span.kind() == Kind::Ok).collect();
    let seen = answers.iter().map(|span| told(span).len()).sum::<usize>();
    let all = format!("{seen} events in {} watches", answers.len());
    let mut findings = objects::promises(subject, "watch", events, &format!("{all} ({how})"));
    // The checker's own is held to what other clients may have done; this one knows that there are none.
    findings.retain(|finding| finding.check != "watch: true");
    let possible: BTreeSet<(String, String)> =
        spans.iter().filter(|span| span.kind() != Kind::Fail).flat_map(asked).collect();
    let strange = answers.iter().find_map(|span| {
        let strange = told(span).into_iter().find(|change| !possible.contains(change))?;
        Some((strange, span))
    });
    let mut finding = Finding::new(subject, "watch: true", Verdict::Holds, all);
    if let Some(((key, value), span)) = strange {
        finding.verdict = Verdict::Violated;
        finding.why = format!("{key} = {value} was written by nobody");
        finding.witness = vec![span.words()];
    }
    findings.push(finding);
    if seen == 0 {
        for finding in findings.iter_mut().filter(|finding| finding.verdict == Verdict::Holds) {
            finding.verdict = Verdict::Unknown;
        }
    }
    findings
}

/// The changes that a watch was told of: key and value, null where it was deleted.
fn told(span: &Span<'_>) -> Vec<(String, String)> {
    let responses = span.end.and_then(|end| end.value.as_array()).into_iter().flatten();
    let events = responses.filter_map(|response| response["events"].as_array()).flatten();
    events
        .filter_map(|event| {
            let value = if event["type"] == "put" { &event["value"] } else { &Value::Null };
            Some((event["key"].as_str()?.to_string(), value.to_string()))
        })
        .collect()
}

/// The changes that an operation asked for.
fn asked(span: &Span<'_>) -> Vec<(String, String)> {
    let pair = |key: &Value, value: &Value| Some((key.as_str()?.to_string(), value.to_string()));
    let Event { f, key, value, .. } = span.call;
    match f.as_str() {
        "put" => pair(key, value).into_iter().collect(),
        "delete" => pair(key, &Value::Null).into_iter().collect(),
        "txn" => value.as_array().into_iter().flatten().filter_map(|step| pair(&step[1], &step[2])).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is wrong with what a watch from revision 6 on was told, after 5: k = 1, 6: k is deleted, 7: k = 2, 8: both = 3.
    fn wrong(told: Value) -> Vec<String> {
        let event = |time, process: u64, kind, f: &str, value: Value, version| Event {
            process: json!(process),
            kind,
            key: if matches!(f, "put" | "delete") { json!("k") } else { Value::Null },
            version,
            ..Event::nemesis(time, f, value)
        };
        let mut events = Vec::new();
        let both = json!([["put", "k", 3], ["put", "both", 3]]);
        for (at, f, value) in
            [(5, "put", json!(1)), (6, "delete", json!(1)), (7, "put", json!(2)), (8, "txn", both)]
        {
            events.push(event(at, 0, Kind::Invoke, f, value.clone(), None));
            events.push(event(at, 0, Kind::Ok, f, value, Some(at)));
        }
        events.push(event(10, 1, Kind::Invoke, "watch", json!({"prefix": "", "start": 6}), None));
        events.push(event(11, 1, Kind::Ok, "watch", told, None));
        for (index, event) in events.iter_mut().enumerate() {
            event.index = index as u64;
        }
        let bad = watches("watch", &events, "").into_iter().filter(|found| found.verdict != Verdict::Holds);
        bad.map(|finding| finding.check).collect()
    }

    fn put(revision: i64, key: &str, value: i64) -> Value {
        json!({"type": "put", "key": key, "value": value, "mod": revision})
    }

    #[test]
    fn each_promise_has_a_history_that_breaks_it() {
        let gone = || json!({"type": "delete", "key": "k", "mod": 6});
        let whole = json!([{"events": [gone()]}, {"events": [put(7, "k", 2)]},
            {"events": [put(8, "k", 3), put(8, "both", 3)]}, {"progress": 8}]);
        assert!(wrong(whole).is_empty());
        // Whole up to 6 is whole enough for who says so.
        assert!(wrong(json!([{"events": [gone()]}, {"progress": 6}])).is_empty());
        let broken = |told: Value, check: &str| {
            let bad = wrong(told);
            assert!(bad.contains(&format!("watch: {check}")), "{check}: {bad:?}");
        };
        broken(json!([{"events": [put(7, "k", 2)]}, {"events": [gone()]}]), "ordered");
        broken(json!([{"events": [put(5, "k", 1), gone()]}]), "resumable");
        broken(json!([{"events": [gone(), gone()]}]), "unique");
        broken(json!([{"events": [put(7, "k", 2)]}, {"progress": 7}]), "resumable");
        broken(json!([{"events": [gone()]}, {"progress": 8}]), "bookmarkable");
        broken(json!([{"events": [gone()]}, {"events": [put(8, "k", 3)]}]), "reliable");
        broken(json!([{"events": [gone(), put(7, "k", 9)]}]), "agreement");
        broken(json!([{"events": [gone(), put(9, "k", 9)]}]), "true");
        // Nothing was seen: nothing is shown.
        assert!(wrong(json!([])).len() > 5);
    }
}
