//! What the checker of histories does not know: how long leases last, and that ids grow. One pass over a history each.

use super::{Finding, Verdict};
use crate::op::Kind;
use crate::record::Event;
use serde_json::Value;
use std::collections::BTreeMap;

/// An operation with its ends; `end` is nothing where it never came.
pub(super) struct Span<'a> {
    pub(super) call: &'a Event,
    pub(super) end: Option<&'a Event>,
}

impl Span<'_> {
    /// How it ended.
    pub(super) fn kind(&self) -> Kind {
        self.end.map_or(Kind::Info, |end| end.kind)
    }

    /// What came of it, or what was asked where nothing came.
    fn value(&self) -> &Value {
        self.end.map_or(&self.call.value, |end| &end.value)
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        let Event { process, f, key, .. } = self.call;
        let mut value = self.value().to_string();
        if value.chars().count() > 160 {
            value = value.chars().take(160).chain(['…']).collect();
        }
        let at = self.end.map_or_else(
            || format!("from {:.3} s on", self.call.time as f64 / 1e9),
            |end| format!("{:.3} s to {:.3} s", self.call.time as f64 / 1e9, end.time as f64 / 1e9),
        );
        format!("process {process}, {at}: {f} {key} {value} {:?}", self.kind()).replace(" null ", " ")
    }
}

/// All operations, in the order of their beginnings.
pub(super) fn spans(events: &[Event]) -> Vec<Span<'_>> {
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    let mut spans: Vec<Span<'_>> = Vec::new();
    for event in events {
        let Some(process) = event.number() else { continue };
        if event.kind == Kind::Invoke {
            open.insert(process, spans.len());
            spans.push(Span { call: event, end: None });
        } else if let Some(at) = open.remove(&process) {
            spans[at].end = Some(event);
        }
    }
    spans
}

fn violated(subject: &str, check: &str, why: String, witness: &[&Span<'_>]) -> Finding {
    let mut finding = Finding::new(subject, check, Verdict::Violated, why);
    finding.witness = witness.iter().map(|span| span.words()).collect();
    finding
}

/// A check that saw nothing says nothing.
fn shown(times: usize) -> Verdict {
    if times > 0 { Verdict::Holds } else { Verdict::Unknown }
}

/// An id that was asked for after another was given is greater.
pub(super) fn ids_grow(subject: &str, events: &[Event]) -> Finding {
    let spans = spans(events);
    let given = || spans.iter().filter(|span| span.call.f == "generate" && span.kind() == Kind::Ok);
    let mut ended: Vec<(i64, i64, &Span<'_>)> =
        given().filter_map(|span| Some((span.end?.time, span.value().as_i64()?, span))).collect();
    ended.sort_by_key(|&(time, id, _)| (time, id));
    // The greatest id that was given before each beginning.
    let (mut next, mut greatest) = (0, None::<(i64, &Span<'_>)>);
    for span in given() {
        while next < ended.len() && ended[next].0 < span.call.time {
            let (_, id, other) = ended[next];
            if greatest.is_none_or(|(most, _)| id > most) {
                greatest = Some((id, other));
            }
            next += 1;
        }
        if let (Some((most, other)), Some(id)) = (greatest, span.value().as_i64())
            && id < most
        {
            let why = format!("id {id} was asked for after the greater {most} was given");
            return violated(subject, "ids grow", why, &[other, span]);
        }
    }
    let why = format!("{} ids; one that is asked for later is greater", ended.len());
    Finding::new(subject, "ids grow", shown(ended.len()), why)
}

/// A transaction that was done and is sent again by its token is answered as done. (That it was not done twice is seen in what it
/// wrote.)
pub(super) fn tokens(subject: &str, events: &[Event]) -> Finding {
    let spans = spans(events);
    // What the node had no time for, or could not do just then, says nothing of the token.
    let forgotten = |span: &&Span<'_>| {
        let error = span.end.and_then(|end| end.error.as_deref()).unwrap_or("Condition");
        span.kind() == Kind::Fail
            && ["Condition", "Transaction", "Idempotent"].iter().any(|word| error.starts_with(word))
    };
    if let Some(span) = spans.iter().find(forgotten) {
        let why = "a transaction that was done was refused when it was sent again by its token".into();
        return violated(subject, "tokens", why, &[span]);
    }
    let done =
        spans.iter().filter(|span| span.kind() == Kind::Ok && span.value() == &Value::Bool(true)).count();
    let why = format!("{done} transactions were sent again by their tokens, and answered as done");
    Finding::new(subject, "tokens", shown(done), why)
}

/// A key under a lease is there for as long as the lease lives, counted from before it was asked for.
pub(super) fn leases(subject: &str, events: &[Event]) -> Finding {
    let spans = spans(events);
    let mut until: BTreeMap<&str, (&Span<'_>, i64)> = BTreeMap::new();
    for span in spans.iter().filter(|span| span.call.f == "lease" && span.kind() == Kind::Ok) {
        let (Some(key), Some(ttl)) = (span.call.key.as_str(), span.call.value.as_i64()) else { continue };
        until.insert(key, (span, span.call.time + ttl * 1_000_000_000));
    }
    let (mut there, mut gone) = (0, 0);
    for read in
        spans.iter().filter(|span| matches!(span.call.f.as_str(), "read" | "gone") && span.kind() == Kind::Ok)
    {
        let (Some(end), Some((lease, until))) =
            (read.end, read.call.key.as_str().and_then(|key| until.get(key)))
        else {
            continue;
        };
        let after = lease.end.is_some_and(|done| done.time < read.call.time);
        if !read.value().is_null() {
            there += 1;
        } else if after && end.time < *until {
            let early = (*until - end.time) as f64 / 1e9;
            let why = format!("key {} went away {early:.3} s before its lease can have ended", read.call.key);
            return violated(subject, "leases last", why, &[lease, read]);
        } else {
            gone += 1;
        }
    }
    let why = format!(
        "{} leases, {there} reads found their keys, {gone} found them gone, none too early",
        until.len()
    );
    Finding::new(subject, "leases last", shown(there.min(gone)), why)
}

/// How often two clients held a lock at once, by what they knew.
pub(super) fn held_twice(events: &[Event]) -> usize {
    let mut holds: Vec<(i64, i64)> = Vec::new();
    let mut since: BTreeMap<u64, i64> = BTreeMap::new();
    for span in spans(events) {
        let (Some(process), Some(end)) = (span.call.number(), span.end) else { continue };
        match span.call.f.as_str() {
            "acquire" if end.kind == Kind::Ok => drop(since.insert(process, end.time)),
            "release" => holds.extend(since.remove(&process).map(|from| (from, span.call.time))),
            _ => {}
        }
    }
    holds.sort_unstable();
    holds.windows(2).filter(|pair| pair[1].0 < pair[0].1).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Events from lines: time, process, kind, f, key, value.
    fn events(lines: &[(i64, u64, Kind, &str, Value, Value)]) -> Vec<Event> {
        let event = |(time, process, kind, f, key, value): &(i64, u64, Kind, &str, Value, Value)| Event {
            process: json!(process),
            kind: *kind,
            key: key.clone(),
            version: (*kind == Kind::Ok).then_some(*time),
            ..Event::nemesis(*time * 1_000_000_000, f, value.clone())
        };
        lines.iter().map(event).collect()
    }

    use Kind::{Invoke, Ok};

    #[test]
    fn ids_that_go_back_are_found_but_not_those_of_concurrent_calls() {
        let with = |times: [i64; 4], ids: [i64; 2]| {
            let mut all = events(&[
                (times[0], 0, Invoke, "generate", Value::Null, Value::Null),
                (times[1], 0, Ok, "generate", Value::Null, json!(ids[0])),
                (times[2], 1, Invoke, "generate", Value::Null, Value::Null),
                (times[3], 1, Ok, "generate", Value::Null, json!(ids[1])),
            ]);
            all.sort_by_key(|event| event.time);
            ids_grow("ids", &all).verdict
        };
        assert_eq!(with([1, 2, 3, 4], [5, 6]), Verdict::Holds);
        assert_eq!(with([1, 2, 3, 4], [6, 5]), Verdict::Violated);
        assert_eq!(with([1, 3, 2, 4], [6, 5]), Verdict::Holds);
    }

    #[test]
    fn a_token_that_was_forgotten_is_found() {
        let with = |end: Kind, error: Option<&str>| {
            let mut all = events(&[
                (1, 0, Invoke, "again", Value::Null, Value::Null),
                (2, 0, end, "again", Value::Null, json!(end == Ok)),
            ]);
            all[1].error = error.map(str::to_string);
            tokens("table-append", &all).verdict
        };
        assert_eq!(with(Ok, None), Verdict::Holds);
        assert_eq!(with(Kind::Fail, None), Verdict::Violated);
        assert_eq!(with(Kind::Fail, Some("TransactionCanceledException: x")), Verdict::Violated);
        // A node that is not there says nothing.
        assert_eq!(with(Kind::Fail, Some("connection refused")), Verdict::Unknown);
        assert_eq!(with(Kind::Info, Some("no answer in time")), Verdict::Unknown);
    }

    #[test]
    fn a_lease_that_ends_early_is_found() {
        let with = |read: i64| {
            let key = || json!("l");
            let all = events(&[
                (1, 0, Invoke, "lease", key(), json!(5)),
                (2, 0, Ok, "lease", key(), json!(5)),
                (3, 0, Invoke, "read", key(), Value::Null),
                (3, 0, Ok, "read", key(), json!(5)),
                (read - 1, 0, Invoke, "read", key(), Value::Null),
                (read, 0, Ok, "read", key(), Value::Null),
            ]);
            leases("lease", &all).verdict
        };
        assert_eq!(with(5), Verdict::Violated);
        assert_eq!(with(6), Verdict::Holds);
    }
}
