//! Invariants of whole workloads that need no search: one pass over a history, each with what it cannot see.

use super::{Finding, Verdict};
use crate::op::Kind;
use crate::record::Event;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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

/// Each read of a set holds every element that was confirmed before it began, and none that was not asked for before it
/// ended or that certainly failed.
pub(super) fn set(subject: &str, events: &[Event]) -> Finding {
    let spans = spans(events);
    let mut adds: BTreeMap<&str, Vec<&Span<'_>>> = BTreeMap::new();
    for span in spans.iter().filter(|span| span.call.f == "add") {
        adds.entry(span.call.key.as_str().unwrap_or("")).or_default().push(span);
    }
    let none = Vec::new();
    let (mut reads, mut confirmed) = (0, 0);
    for read in spans.iter().filter(|span| span.call.f == "read-set" && span.kind() == Kind::Ok) {
        let Some(end) = read.end else { continue };
        let key = read.call.key.as_str().unwrap_or("");
        let list: Vec<i64> =
            read.value().as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
        let members: BTreeSet<i64> = list.iter().copied().collect();
        if members.len() != list.len() {
            return violated(subject, "set", format!("set {key}: an element is there twice"), &[read]);
        }
        let mut possible = BTreeSet::new();
        for add in adds.get(key).unwrap_or(&none) {
            let Some(element) = add.call.value.as_i64() else { continue };
            let before = add.end.is_some_and(|done| done.kind == Kind::Ok && done.time < read.call.time);
            if before && !members.contains(&element) {
                let why = format!("set {key}: element {element} was confirmed, and a later read misses it");
                return violated(subject, "set", why, &[add, read]);
            }
            if add.kind() != Kind::Fail && add.call.time < end.time {
                possible.insert(element);
            }
        }
        if let Some(element) = members.difference(&possible).next() {
            let why = format!("set {key}: element {element} is there, which nobody can have added");
            return violated(subject, "set", why, &[read]);
        }
        reads += 1;
    }
    confirmed += adds.values().flatten().filter(|add| add.kind() == Kind::Ok).count();
    let why = format!(
        "{reads} reads hold all that was confirmed before them ({confirmed} elements in {} sets)",
        adds.len()
    );
    Finding::new(subject, "set", shown(reads), why)
}

/// A check that saw nothing says nothing.
fn shown(times: usize) -> Verdict {
    if times > 0 { Verdict::Holds } else { Verdict::Unknown }
}

/// No id is given twice, and one that was asked for after another was given is greater.
pub(super) fn ids(subject: &str, events: &[Event]) -> Vec<Finding> {
    let spans = spans(events);
    let mut seen: BTreeMap<String, &Span<'_>> = BTreeMap::new();
    let mut ended: Vec<(i64, i64, &Span<'_>)> = Vec::new();
    let given = || spans.iter().filter(|span| span.call.f == "generate" && span.kind() == Kind::Ok);
    for span in given() {
        if let Some(other) = seen.insert(span.value().to_string(), span) {
            let why = format!("id {} was given twice", span.value());
            return vec![violated(subject, "unique ids", why, &[other, span])];
        }
        if let (Some(end), Some(id)) = (span.end, span.value().as_i64()) {
            ended.push((end.time, id, span));
        }
    }
    let unique = Finding::new(
        subject,
        "unique ids",
        shown(seen.len()),
        format!("{} ids, each given once", seen.len()),
    );
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
            return vec![unique, violated(subject, "ids grow", why, &[other, span])];
        }
    }
    vec![
        unique,
        Finding::new(subject, "ids grow", shown(seen.len()), "an id that is asked for later is greater"),
    ]
}

/// What is in the bank is what was put there.
pub(super) fn bank(subject: &str, events: &[Event], accounts: u64, balance: i64) -> Finding {
    let spans = spans(events);
    let whole = accounts as i64 * balance;
    let mut reads = 0;
    for read in spans.iter().filter(|span| span.call.f == "read-bank" && span.kind() == Kind::Ok) {
        let balances: Vec<i64> =
            read.value().as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
        let sum: i64 = balances.iter().sum();
        let unopened = balances.is_empty();
        if !unopened && (sum != whole || balances.len() as u64 != accounts) {
            return violated(subject, "bank", format!("{sum} is in the bank in place of {whole}"), &[read]);
        }
        if balances.iter().any(|balance| *balance < 0) {
            return violated(subject, "bank", "an account is below nothing".into(), &[read]);
        }
        reads += usize::from(!unopened);
    }
    Finding::new(subject, "bank", shown(reads), format!("{reads} reads find {whole} in {accounts} accounts"))
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

    use Kind::{Fail, Info, Invoke, Ok};

    #[test]
    fn a_lost_a_phantom_and_a_doubled_element_are_found_and_an_unknown_one_is_not() {
        let key = || json!("s0");
        let with = |end: Kind, read: Value| {
            let all = events(&[
                (1, 0, Invoke, "add", key(), json!(7)),
                (2, 0, end, "add", key(), json!(7)),
                (3, 1, Invoke, "read-set", key(), Value::Null),
                (4, 1, Ok, "read-set", key(), read),
            ]);
            set("set", &all).verdict
        };
        assert_eq!(with(Ok, json!([7])), Verdict::Holds);
        assert_eq!(with(Ok, json!([])), Verdict::Violated);
        assert_eq!(with(Info, json!([])), Verdict::Holds);
        assert_eq!(with(Info, json!([7])), Verdict::Holds);
        assert_eq!(with(Fail, json!([7])), Verdict::Violated);
        assert_eq!(with(Ok, json!([7, 8])), Verdict::Violated);
        assert_eq!(with(Ok, json!([7, 7])), Verdict::Violated);
    }

    #[test]
    fn ids_that_repeat_or_go_back_are_found_but_not_those_of_concurrent_calls() {
        let with = |times: [i64; 4], ids: [i64; 2]| {
            let mut all = events(&[
                (times[0], 0, Invoke, "generate", Value::Null, Value::Null),
                (times[1], 0, Ok, "generate", Value::Null, json!(ids[0])),
                (times[2], 1, Invoke, "generate", Value::Null, Value::Null),
                (times[3], 1, Ok, "generate", Value::Null, json!(ids[1])),
            ]);
            all.sort_by_key(|event| event.time);
            super::super::Finding::new("", "", ids_worst(&all), "").verdict
        };
        assert_eq!(with([1, 2, 3, 4], [5, 6]), Verdict::Holds);
        assert_eq!(with([1, 2, 3, 4], [6, 6]), Verdict::Violated);
        assert_eq!(with([1, 2, 3, 4], [6, 5]), Verdict::Violated);
        assert_eq!(with([1, 3, 2, 4], [6, 5]), Verdict::Holds);
    }

    fn ids_worst(all: &[Event]) -> Verdict {
        ids("ids", all).into_iter().map(|finding| finding.verdict).fold(Verdict::Holds, Verdict::worse)
    }

    #[test]
    fn money_that_appears_or_an_account_that_is_missing_is_found() {
        let with = |balances: Value| {
            let all = events(&[
                (1, 0, Invoke, "read-bank", Value::Null, Value::Null),
                (2, 0, Ok, "read-bank", Value::Null, balances),
            ]);
            bank("bank", &all, 2, 10).verdict
        };
        assert_eq!(with(json!([12, 8])), Verdict::Holds);
        assert_eq!(with(json!([12, 9])), Verdict::Violated);
        assert_eq!(with(json!([20])), Verdict::Violated);
        assert_eq!(with(json!([21, -1])), Verdict::Violated);
        // Nothing was shown before it was opened.
        assert_eq!(with(json!([])), Verdict::Unknown);
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
