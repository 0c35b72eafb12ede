//! What a change feed promises: every write that was done stands in it once, and in order.
//!
//! What all readers saw together is taken for the feed; each shard of it is ordered by the numbers of its records. That readers agree,
//! and that none missed anything, is a check of its own, so that what the others find is found in one feed.

use super::folds::{Span, spans};
use super::{Finding, Verdict};
use crate::op::Kind;
use crate::record::Event;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A record's place: its shard, and its number there.
type Place = (String, u128);

/// What a record says, as it was told.
struct Record<'a> {
    key: &'a str,
    event: &'a str,
    old: &'a Value,
    new: &'a Value,
}

type Feed<'a> = BTreeMap<Place, &'a Value>;

/// Judges the feed of a table.
pub(super) fn streams(subject: &str, events: &[Event]) -> Vec<Finding> {
    let spans = spans(events);
    let reads: Vec<&Span<'_>> = spans.iter().filter(|span| is(span, "stream", Kind::Ok)).collect();
    let (feed, agreement) = feed_of(&reads);
    let checks: [(&str, Result<String, Wrong>); 5] = [
        ("stream: agreement", agreement.and_then(|()| whole(&reads, &feed))),
        ("stream: once", once(&spans, &feed)),
        ("stream: chain", chain(&feed)),
        ("stream: ordered", ordered(&spans, &feed)),
        ("stream: fold", fold(&spans, &feed)),
    ];
    let finding = |(check, found): (&str, Result<String, Wrong>)| match found {
        Ok(why) => {
            let verdict = if feed.is_empty() { Verdict::Unknown } else { Verdict::Holds };
            Finding::new(subject, check, verdict, why)
        }
        Err(Wrong { verdict, why, witness }) => {
            let mut finding = Finding::new(subject, check, verdict, why);
            finding.witness = witness;
            finding
        }
    };
    checks.into_iter().map(finding).collect()
}

/// What is wrong, or cannot be said, and what shows it.
struct Wrong {
    verdict: Verdict,
    why: String,
    witness: Vec<String>,
}

fn wrong<T>(why: String, witness: Vec<String>) -> Result<T, Wrong> {
    Err(Wrong { verdict: Verdict::Violated, why, witness })
}

fn unknown<T>(why: String) -> Result<T, Wrong> {
    Err(Wrong { verdict: Verdict::Unknown, why, witness: Vec::new() })
}

fn is(span: &Span<'_>, f: &str, kind: Kind) -> bool {
    span.call.f == f && span.kind() == kind
}

fn told<'a>(span: &Span<'a>) -> impl Iterator<Item = &'a Value> + use<'a> {
    span.end.and_then(|end| end.value.as_array()).into_iter().flatten()
}

/// A number that is none stands before all.
fn place(record: &Value) -> Place {
    let number = record[1].as_str().and_then(|number| number.parse().ok()).unwrap_or(0);
    (record[0].as_str().unwrap_or_default().into(), number)
}

fn parts(record: &Value) -> Record<'_> {
    let text = |at: usize| record[at].as_str().unwrap_or_default();
    Record { key: text(2), event: text(3), old: &record[4], new: &record[5] }
}

/// All that anybody saw; wrong where two saw different records at one place.
fn feed_of<'a>(reads: &[&Span<'a>]) -> (Feed<'a>, Result<(), Wrong>) {
    let (mut feed, mut agreement) = (Feed::new(), Ok(()));
    for record in reads.iter().flat_map(|read| told(read)) {
        let known = *feed.entry(place(record)).or_insert(record);
        if known != record && agreement.is_ok() {
            let why = format!("two readers saw different records at one place: {known} and {record}");
            agreement = wrong(why, Vec::new());
        }
    }
    (feed, agreement)
}

/// Each read has all records of the feed from where it began to the last that it has, in order, none twice.
fn whole(reads: &[&Span<'_>], feed: &Feed<'_>) -> Result<String, Wrong> {
    for read in reads {
        let mut of: BTreeMap<String, Vec<u128>> = BTreeMap::new();
        for record in told(read) {
            let (shard, number) = place(record);
            of.entry(shard).or_default().push(number);
        }
        for (shard, seen) in of {
            let after = read.call.value["after"][&shard].as_str().and_then(|number| number.parse().ok());
            let (first, last) =
                (after.map_or(0, |after: u128| after + 1), seen.iter().max().copied().unwrap_or(0));
            // What is told again from before stands where nothing is expected.
            let range = (shard.clone(), first.min(last))..=(shard.clone(), last);
            let expected: Vec<u128> =
                feed.range(range).map(|((_, number), _)| *number).filter(|number| *number >= first).collect();
            if seen != expected {
                let missed = expected.iter().find(|number| !seen.contains(number));
                let why = match missed {
                    Some(number) => {
                        format!("a reader missed the record {number} of {shard}, which others saw")
                    }
                    None => format!(
                        "a reader saw records of {shard} out of order, twice, or from before where it began"
                    ),
                };
                return wrong(why, vec![read.words()]);
            }
        }
    }
    Ok(format!("{} records in {} reads", feed.len(), reads.len()))
}

/// What is done stands in the feed once, with what it was told was there before; what failed does not; the rest once at most. Of what
/// was done behind the beginning of the last read nothing is said.
fn once(spans: &[Span<'_>], feed: &Feed<'_>) -> Result<String, Wrong> {
    let mut by_new: BTreeMap<String, Vec<Record<'_>>> = BTreeMap::new();
    let mut gone: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for record in feed.values().map(|record| parts(record)) {
        if record.new.is_null() {
            *gone.entry((record.key, record.old.to_string())).or_default() += 1;
        } else {
            by_new.entry(record.new.to_string()).or_default().push(record);
        }
    }
    let last = spans.iter().filter(|span| is(span, "stream", Kind::Ok)).map(|span| span.call.time).max();
    let unread = |span: &Span<'_>| span.end.is_some_and(|end| last.is_none_or(|last| end.time > last));
    let (mut done, mut behind, mut in_doubt) = (0, 0_u64, BTreeMap::<&str, usize>::new());
    for span in spans.iter().filter(|span| span.call.f == "change") {
        let (asked, key) = (&span.call.value, span.call.key.as_str().unwrap_or_default());
        let old = span.end.map_or(&Value::Null, |end| &end.value["old"]);
        done += u64::from(span.kind() == Kind::Ok);
        if asked.is_null() {
            match span.kind() {
                Kind::Ok if old.is_null() => {}
                Kind::Ok => match gone.get_mut(&(key, old.to_string())) {
                    Some(times) if *times > 0 => *times -= 1,
                    _ if unread(span) => behind += 1,
                    _ => {
                        return wrong(
                            "a deletion that was done is not in the feed".into(),
                            vec![span.words()],
                        );
                    }
                },
                Kind::Fail => {}
                _ => *in_doubt.entry(key).or_default() += 1,
            }
            continue;
        }
        let found = by_new.remove(&asked.to_string()).unwrap_or_default();
        let why = match (span.kind(), &found[..]) {
            (Kind::Ok, []) if unread(span) => {
                behind += 1;
                continue;
            }
            (Kind::Ok, []) => "a write that was done is not in the feed",
            (Kind::Fail, [_, ..]) => "a write that was not done is in the feed",
            (_, [_, _, ..]) => "a write is in the feed more than once",
            (_, [record]) if record.key != key => "a record has another key than its write",
            (Kind::Ok, [record]) if record.old != old => {
                "a record has another old image than its write was answered with"
            }
            _ => continue,
        };
        return wrong(why.into(), vec![span.words()]);
    }
    if let Some(value) = by_new.keys().next() {
        return wrong(format!("the feed tells of {value}, which nobody wrote"), Vec::new());
    }
    for ((key, old), times) in gone.iter().filter(|(_, times)| **times > 0) {
        let doubt = in_doubt.entry(key).or_default();
        if *doubt < *times {
            return wrong(
                format!("the feed tells of a deletion of {key} = {old}, which nobody asked for"),
                Vec::new(),
            );
        }
        *doubt -= times;
    }
    if behind > 0 {
        return unknown(format!(
            "{behind} writes were done behind the last read of the feed, and are not in what was read"
        ));
    }
    Ok(format!("{done} writes that were done, {} records", feed.len()))
}

/// The records of each key, in order; a key is in one shard.
fn by_key<'a>(feed: &Feed<'a>) -> BTreeMap<&'a str, Vec<(Place, Record<'a>)>> {
    let mut keys: BTreeMap<&str, Vec<(Place, Record<'_>)>> = BTreeMap::new();
    for (place, record) in feed {
        let record = parts(record);
        keys.entry(record.key).or_default().push((place.clone(), record));
    }
    keys
}

/// What one record of a key leaves the next one finds, and its name says which of them is nothing.
fn chain(feed: &Feed<'_>) -> Result<String, Wrong> {
    let keys = by_key(feed);
    for (key, records) in &keys {
        let shards: BTreeSet<&String> = records.iter().map(|((shard, _), _)| shard).collect();
        if shards.len() > 1 {
            return wrong(format!("records of {key} are in {} shards", shards.len()), Vec::new());
        }
        let mut before = &Value::Null;
        for ((shard, number), record) in records {
            let event = match (record.old.is_null(), record.new.is_null()) {
                (true, false) => "INSERT",
                (false, false) => "MODIFY",
                (false, true) => "REMOVE",
                (true, true) => "none",
            };
            if record.old != before || record.event != event {
                let why = format!(
                    "{key} at {number} of {shard}: {} from {} to {}, where the record before it left {before}",
                    record.event, record.old, record.new
                );
                return wrong(why, Vec::new());
            }
            before = record.new;
        }
    }
    Ok(format!("{} records of {} keys", feed.len(), keys.len()))
}

/// Of two writes of a key of which one had ended before the other began the records stand in that order.
fn ordered(spans: &[Span<'_>], feed: &Feed<'_>) -> Result<String, Wrong> {
    let places: BTreeMap<String, Place> =
        feed.iter().map(|(place, record)| (parts(record).new.to_string(), place.clone())).collect();
    let mut writes: BTreeMap<&str, Vec<(&Span<'_>, &Place)>> = BTreeMap::new();
    let is_write = |span: &&Span<'_>| span.call.f == "change" && !span.call.value.is_null();
    for span in spans.iter().filter(is_write) {
        if let (Some(key), Some(place)) = (span.call.key.as_str(), places.get(&span.call.value.to_string())) {
            writes.entry(key).or_default().push((span, place));
        }
    }
    let mut compared = 0;
    for of_key in writes.values() {
        let mut ended: Vec<&(&Span<'_>, &Place)> =
            of_key.iter().filter(|(span, _)| span.kind() == Kind::Ok).collect();
        ended.sort_by_key(|(span, _)| span.end.map(|end| end.time));
        let (mut next, mut latest) = (0, None::<&(&Span<'_>, &Place)>);
        // In the order of their beginnings.
        for (span, place) in of_key {
            while let Some(other) =
                ended.get(next).filter(|(of, _)| of.end.is_some_and(|end| end.time < span.call.time))
            {
                latest = Some(latest.filter(|known| known.1 > other.1).unwrap_or(other));
                next += 1;
            }
            compared += u64::from(latest.is_some());
            if let Some((before, _)) = latest.filter(|known| known.1 > place) {
                let why = "a write stands before another one that had ended when it began".into();
                return wrong(why, vec![before.words(), span.words()]);
            }
        }
    }
    Ok(format!("{compared} writes behind others"))
}

/// What the last record of each key leaves is what is read in the end.
fn fold(spans: &[Span<'_>], feed: &Feed<'_>) -> Result<String, Wrong> {
    let keys = by_key(feed);
    let reads: Vec<&Span<'_>> = spans.iter().filter(|span| is(span, "read", Kind::Ok)).collect();
    for read in &reads {
        let key = read.call.key.as_str().unwrap_or_default();
        let left =
            keys.get(key).and_then(|records| records.last()).map_or(&Value::Null, |(_, last)| last.new);
        if read.end.is_some_and(|end| end.value != *left) {
            return wrong(
                format!("{key} is read otherwise than the feed leaves it: {left}"),
                vec![read.words()],
            );
        }
    }
    if reads.is_empty() {
        return unknown("no item was read in the end".into());
    }
    Ok(format!("{} items read", reads.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What was done, on what, with what, and how it ended.
    type Did = (&'static str, &'static str, Value, Kind, Value);

    /// One process after the other: what, on what, with what, how it ended and with what.
    fn history(ops: &[Did]) -> Vec<Event> {
        let mut events = Vec::new();
        for (at, (f, key, asked, kind, value)) in ops.iter().enumerate() {
            let key = if key.is_empty() { Value::Null } else { json!(key) };
            let begin =
                Event { process: json!(at), kind: Kind::Invoke, key, ..Event::nemesis(0, f, asked.clone()) };
            events.extend([begin.clone(), Event { kind: *kind, value: value.clone(), ..begin }]);
        }
        for (at, event) in events.iter_mut().enumerate() {
            (event.time, event.index) = (at as i64 * 1000, at as u64);
        }
        events
    }

    fn put(key: &'static str, new: u64, old: impl Into<Value>) -> Did {
        ("change", key, json!(new), Kind::Ok, json!({ "new": new, "old": old.into() }))
    }

    fn read(after: impl Into<Value>, records: Value) -> Did {
        ("stream", "", json!({ "after": after.into() }), Kind::Ok, records)
    }

    fn found(ops: &[Did]) -> Vec<String> {
        let bad = streams("s", &history(ops)).into_iter().filter(|found| found.verdict != Verdict::Holds);
        bad.map(|found| found.check).collect()
    }

    /// k: 1, 2, gone; l: 3. One write of unknown outcome came, another did not.
    fn whole() -> Vec<Did> {
        let all = json!([
            ["a", "10", "k", "INSERT", null, 1],
            ["a", "12", "k", "MODIFY", 1, 2],
            ["a", "13", "k", "REMOVE", 2, null],
            ["b", "5", "l", "INSERT", null, 3],
            ["b", "6", "l", "MODIFY", 3, 4]
        ]);
        vec![
            put("k", 1, Value::Null),
            put("k", 2, json!(1)),
            ("change", "k", Value::Null, Kind::Ok, json!({ "new": null, "old": 2 })),
            ("change", "k", Value::Null, Kind::Ok, json!({ "new": null, "old": null })),
            put("l", 3, Value::Null),
            ("change", "l", json!(4), Kind::Info, json!(4)),
            ("change", "l", json!(5), Kind::Info, json!(5)),
            ("change", "l", json!(6), Kind::Fail, json!(6)),
            read(json!({}), json!([["a", "10", "k", "INSERT", null, 1]])),
            read(
                json!({ "a": "10" }),
                json!([["a", "12", "k", "MODIFY", 1, 2], ["b", "5", "l", "INSERT", null, 3]]),
            ),
            read(json!({}), all),
            ("read", "k", Value::Null, Kind::Ok, Value::Null),
            ("read", "l", Value::Null, Kind::Ok, json!(4)),
        ]
    }

    #[test]
    fn a_whole_feed_holds() {
        assert_eq!(found(&whole()), Vec::<String>::new());
        // Nothing was seen: nothing is shown.
        assert_eq!(found(&[put("k", 1, Value::Null)]).len(), 5);
    }

    /// Each violation with what just avoids it: the history above but for one thing.
    #[test]
    fn each_promise_has_a_history_that_breaks_it() {
        let broken = |check: &str, spoil: &dyn Fn(&mut Vec<Did>)| {
            let mut ops = whole();
            spoil(&mut ops);
            let bad = found(&ops);
            assert!(bad.contains(&format!("stream: {check}")), "{check}: {bad:?}");
        };
        let last = 10;
        // Readers that disagree, miss something, see something twice or out of order, or from before.
        broken("agreement", &|ops| ops[8].4[0][5] = json!(9));
        broken("agreement", &|ops| drop(ops[last].4.as_array_mut().unwrap().remove(1)));
        broken("agreement", &|ops| {
            ops[9].4 = json!([["a", "12", "k", "MODIFY", 1, 2], ["a", "12", "k", "MODIFY", 1, 2]]);
        });
        broken("agreement", &|ops| ops[last].4.as_array_mut().unwrap().swap(0, 1));
        broken("agreement", &|ops| ops[9].4 = json!([["a", "10", "k", "INSERT", null, 1]]));
        // A write that is lost, one that is there twice, one that failed, one that nobody asked for; deletions alike.
        broken("once", &|ops| ops.insert(8, put("m", 7, Value::Null)));
        // Behind the last read it is not known.
        let verdict = |ops: &[Did]| {
            let found = streams("s", &history(ops));
            found.into_iter().find(|found| found.check == "stream: once").map(|found| found.verdict)
        };
        let mut ops = whole();
        ops.insert(8, put("m", 7, Value::Null));
        assert_eq!(verdict(&ops), Some(Verdict::Violated));
        let mut ops = whole();
        ops.push(put("m", 7, Value::Null));
        assert_eq!(verdict(&ops), Some(Verdict::Unknown));
        let extra = |record: Value| {
            move |ops: &mut Vec<Did>| {
                ops[last].4.as_array_mut().unwrap().push(record.clone());
            }
        };
        broken("once", &extra(json!(["b", "7", "l", "MODIFY", 4, 4])));
        broken("once", &extra(json!(["b", "7", "l", "MODIFY", 4, 6])));
        broken("once", &extra(json!(["b", "7", "l", "MODIFY", 4, 99])));
        broken("once", &extra(json!(["b", "7", "l", "REMOVE", 4, null])));
        broken("once", &|ops| ops[2].4["old"] = json!(1));
        broken("once", &|ops| ops[1].4["old"] = json!(null));
        // One of unknown outcome may have come, once.
        let mut ops = whole();
        ops.insert(8, ("change", "l", Value::Null, Kind::Info, Value::Null));
        ops[last + 1].4.as_array_mut().unwrap().push(json!(["b", "7", "l", "REMOVE", 4, null]));
        ops[last + 3].4 = Value::Null;
        assert_eq!(found(&ops), Vec::<String>::new());
        // Images that do not chain, a name that does not fit, a key in two shards.
        broken("chain", &|ops| ops[last].4[4][4] = json!(2));
        broken("chain", &|ops| ops[last].4[4][3] = json!("INSERT"));
        broken("chain", &extra(json!(["a", "20", "l", "MODIFY", 4, 5])));
        // Two writes, one after the other, the other way round in the feed.
        let swapped = [
            put("k", 1, json!(2)),
            put("k", 2, Value::Null),
            read(json!({}), json!([["a", "1", "k", "INSERT", null, 2], ["a", "2", "k", "MODIFY", 2, 1]])),
        ];
        assert_eq!(found(&swapped), ["stream: ordered", "stream: fold"]);
        // At once they may be.
        let mut events = history(&swapped);
        (events[2].time, events[2].index) = (0, 0);
        events.sort_by_key(|event| event.time);
        assert!(streams("s", &events).iter().all(|found| found.verdict != Verdict::Violated));
        // What is left is what is read.
        broken("fold", &|ops| ops[12].4 = json!(3));
        broken("fold", &|ops| ops[11].4 = json!(2));
    }
}
