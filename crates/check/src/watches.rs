//! Watch streams, by the guarantees that etcd names, a verdict for each.
//!
//! What truly happened is put together from what carries the system's own order: acknowledged writes with a `version`, the
//! events of all streams, and the previous values that events tell. Times are never inferred from it. What no source tells of
//! is not known here, so *Reliable*, *Resumable*, *Bookmarkable*, *Prev KV* and *Is Create* are judged against all that is known.
//!
//! *True* is judged where the history has the writes: a revision of an acknowledged write holds what that wrote and no more; and
//! from the first such revision on, a key that is written in the history holds no value that nobody wrote.
//!
//! Operations (maps; in EDN with keywords, in JSON with strings):
//!
//! - `put` with `key` and a value; `delete` with `key`, its result the number of deleted keys (0: no event); `txn` with a list
//!   of `["put" key value]` and `["delete" key]`. Their `version` is the revision;
//! - `watch` with `{"key": k}` or `{"key": k, "end": e}` or `{"prefix": p}`, and as wished `"start": revision`, `"filters":
//!   ["noput", "nodelete"]`, `"fragment": true`. When it ended, `ok` with the list of its responses: `{"events": [{"type":
//!   "put", "key": k, "value": v, "mod": r, "create": r, "prev": null or {"value": v, "mod": r}}, …]}`, `{"progress": r}`,
//!   `{"compacted": r}`.
//!
//! **Info and fail.** Writes that failed made no event; those of unknown outcome are believed when an event shows them. Where one of
//! them may have changed a key at a revision that nothing tells of, what the next event says was before is not judged. A deletion
//! within a transaction is no event where its key was not there. Cost: near-linear in the events, for each stream in the events of
//! its range.

use crate::history::{History, Operation, Outcome};
use crate::value::{Datum, Value, Values};
use crate::verdict::{Verdict, Witness};
use std::collections::{BTreeMap, BTreeSet};

/// What is promised of watches, by etcd's names, and that all tell the same.
pub const PROMISES: [(&str, &str); 11] = [
    ("ordered", "events come in the order of revisions"),
    ("unique", "no event comes twice"),
    ("atomic", "the events of a revision come in one response"),
    ("reliable", "of what comes between two events nothing is left out"),
    ("resumable", "from the revision asked for on nothing is left out, and nothing comes from before"),
    ("bookmarkable", "all up to a progress notification's revision came before it"),
    ("prev-kv", "the previous value is the previous value"),
    ("is-create", "an event says that its key is new exactly when it is"),
    ("filter", "only what was asked for comes"),
    ("agreement", "events are the same on every stream, and as they were written"),
    ("true", "an event is of a write that somebody asked for"),
];

const BY: &str = "revisions, compared";

const SILENT: &str = "no watch told of any event, so nothing in the history could have shown a violation";

type Findings = Vec<(&'static str, Witness)>;

/// What is known of a key at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fact {
    /// `None`: it was deleted.
    value: Option<Value>,
    operation: u32,
}

/// What happened: by revision and key.
#[derive(Default)]
struct Truth {
    facts: BTreeMap<(i64, String), Fact>,
    by_key: BTreeMap<String, BTreeSet<i64>>,
    /// Keys with a write of which nobody heard how it ended.
    unheard: BTreeSet<String>,
    /// The revisions of which all is known, in order: where one is missing, such a write may have made it.
    whole: Vec<i64>,
}

#[derive(Clone, Debug)]
struct Event {
    key: String,
    revision: i64,
    value: Option<Value>,
    create: Option<i64>,
    prev: Prev,
}

/// What an event tells of the value before.
#[derive(Clone, Copy, Debug)]
enum Prev {
    NotTold,
    Nothing,
    Was(Value, Option<i64>),
}

enum Response {
    Events(Vec<Event>),
    Progress(i64),
    Compacted(i64),
}

struct Stream {
    operation: u32,
    range: Range,
    start: Option<i64>,
    no_put: bool,
    no_delete: bool,
    fragment: bool,
    responses: Vec<Response>,
}

enum Range {
    One(String),
    From(String, String),
    Prefix(String),
}

impl Range {
    fn holds(&self, key: &str) -> bool {
        match self {
            Self::One(one) => one == key,
            // etcd's own sign for "to the end".
            Self::From(from, to) => from.as_str() <= key && (to == "\0" || key < to.as_str()),
            Self::Prefix(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}

impl Stream {
    fn wants(&self, key: &str, put: bool) -> bool {
        self.range.holds(key) && !(if put { self.no_put } else { self.no_delete })
    }
}

/// Judges every promise; the error is an operation and what cannot be understood about it.
pub fn judge(history: &History) -> Result<Vec<(&'static str, Verdict)>, (u32, String)> {
    let mut truth = Truth::default();
    let mut streams = Vec::new();
    let mut found = Findings::new();
    // Deletions within transactions: where the key was not there, they made no event.
    let mut perhaps: Vec<((i64, String), Fact)> = Vec::new();
    for (place, operation) in history.operations.iter().enumerate() {
        let at = place as u32;
        let wrong = |what: String| (at, what);
        match text(operation.f, &history.values).as_str() {
            "watch" if operation.outcome == Outcome::Ok => {
                streams
                    .push(stream(at, operation.argument, operation.result, &history.values).map_err(wrong)?);
            }
            "put" | "delete" | "txn" if operation.outcome == Outcome::Ok => {
                let Some(revision) = operation.version else {
                    return Err(wrong("an acknowledged write tells its revision: give it a version".into()));
                };
                for (key, value) in written(operation, &history.values).map_err(wrong)? {
                    let (at_it, fact) = ((revision as i64, key), Fact { value, operation: at });
                    if value.is_none() && text(operation.f, &history.values) == "txn" {
                        perhaps.push((at_it, fact));
                    } else {
                        truth.learn(history, at_it, fact, &mut found);
                    }
                }
            }
            "watch" | "put" | "delete" | "txn" | "get" | "range" | "compact" => {}
            _ => {
                return Err(wrong(format!(
                    "watch streams know put, delete, txn, watch, not {}",
                    history.values.show(operation.f)
                )));
            }
        }
    }
    for stream in &streams {
        for event in stream.events() {
            let fact = Fact { value: event.value, operation: stream.operation };
            truth.learn(history, (event.revision, event.key.clone()), fact, &mut found);
            if let Prev::Was(value, Some(revision)) = event.prev {
                let fact = Fact { value: Some(value), operation: stream.operation };
                truth.learn(history, (revision, event.key.clone()), fact, &mut found);
            }
        }
    }
    truth.doubt(history);
    perhaps.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    for (at, fact) in perhaps {
        let there = truth
            .before(&at.1, at.0)
            .is_some_and(|(since, before)| before.value.is_some() && !truth.unsure(&at.1, since, at.0));
        if truth.facts.contains_key(&at) || there {
            truth.learn(history, at, fact, &mut found);
        }
    }
    let asked = Asked::of(history);
    for stream in &streams {
        asked.judge(stream, history, &mut found);
    }
    for stream in &streams {
        stream.judge(&truth, history, &mut found);
    }
    lives(&streams, history, &mut found);
    let silent = streams.iter().all(|stream| stream.events().next().is_none());
    let mut responses = streams.iter().flat_map(|stream| &stream.responses);
    let marked = responses.any(|response| matches!(response, Response::Progress(_)));
    let verdict = |name: &'static str| match found.iter().find(|(of, _)| *of == name) {
        Some((_, witness)) => Verdict::Refuted(witness.clone()),
        None if silent && !(marked && name == "bookmarkable") => Verdict::Unknown { why: SILENT.to_owned() },
        None => Verdict::Proved { by: BY },
    };
    Ok(PROMISES.iter().map(|(name, _)| (*name, verdict(name))).collect())
}

/// What the operations of the history may have written.
#[derive(Default)]
struct Asked {
    /// The acknowledged writes, by revision, with the keys that they wrote.
    revisions: BTreeMap<i64, (u32, BTreeSet<String>)>,
    /// By key, the values that may have been written to it.
    values: BTreeMap<String, BTreeSet<Value>>,
}

impl Asked {
    fn of(history: &History) -> Self {
        let mut asked = Self::default();
        for (place, operation) in history.operations.iter().enumerate() {
            let writes = matches!(text(operation.f, &history.values).as_str(), "put" | "delete" | "txn");
            if !writes || operation.outcome == Outcome::Fail {
                continue;
            }
            let Ok(written) = written(operation, &history.values) else { continue };
            if let (Outcome::Ok, Some(revision), false) =
                (operation.outcome, operation.version, written.is_empty())
            {
                let keys = written.iter().map(|(key, _)| key.clone());
                asked
                    .revisions
                    .entry(revision as i64)
                    .or_insert_with(|| (place as u32, BTreeSet::new()))
                    .1
                    .extend(keys);
            }
            for (key, value) in written {
                let values = asked.values.entry(key).or_default();
                values.extend(value);
            }
        }
        asked
    }

    /// An event that is of no write.
    fn judge(&self, stream: &Stream, history: &History, found: &mut Findings) {
        let Some(&first) = self.revisions.keys().next() else { return };
        for event in stream.events() {
            let (key, revision) = (&event.key, event.revision);
            if let Some((write, keys)) = self.revisions.get(&revision)
                && !keys.contains(key)
            {
                let what = format!("revision {revision} of {key:?} came, and its write wrote other keys");
                found.push(("true", witness(history, "garbage event", &what, &[*write, stream.operation])));
            }
            // A lease that ends deletes too.
            let Some(value) = event.value else { continue };
            let strange = self.values.get(key).is_some_and(|values| !values.contains(&value));
            if revision > first && strange {
                let what = format!(
                    "revision {revision} of {key:?} is {}, which nobody wrote",
                    history.values.show(value)
                );
                found.push(("true", witness(history, "garbage event", &what, &[stream.operation])));
            }
        }
    }
}

fn text(value: Value, values: &Values) -> String {
    match values.datum(value) {
        Datum::Keyword(word) | Datum::Text(word) => word.to_string(),
        _ => values.show(value),
    }
}

fn list(value: Value, values: &Values) -> &[Value] {
    match values.datum(value) {
        Datum::List(members) => members,
        _ => &[],
    }
}

/// A field of a map; nil is none.
fn field(map: Value, name: &str, values: &Values) -> Option<Value> {
    held(map, name, values).filter(|&value| value != Value::NIL)
}

/// A field of a map, nil too.
fn held(map: Value, name: &str, values: &Values) -> Option<Value> {
    let Datum::Map(pairs) = values.datum(map) else { return None };
    let named = |key: &Value| match values.datum(*key) {
        Datum::Keyword(word) | Datum::Text(word) => **word == *name,
        _ => false,
    };
    pairs.iter().find(|(key, _)| named(key)).map(|(_, value)| *value)
}

fn number(map: Value, name: &str, values: &Values) -> Result<Option<i64>, String> {
    match field(map, name, values).map(|value| (value, values.datum(value))) {
        None => Ok(None),
        Some((_, Datum::Int(number))) => Ok(Some(*number)),
        Some((value, _)) => Err(format!("{name} is a revision, not {}", values.show(value))),
    }
}

/// What an acknowledged write did to which keys.
fn written(operation: &Operation, values: &Values) -> Result<Vec<(String, Option<Value>)>, String> {
    let key = || text(operation.key, values);
    match text(operation.f, values).as_str() {
        "put" => Ok(vec![(key(), Some(operation.argument))]),
        "delete" if *values.datum(operation.result) == Datum::Int(0) => Ok(Vec::new()),
        "delete" => Ok(vec![(key(), None)]),
        _ => list(operation.argument, values)
            .iter()
            .map(|&step| match list(step, values) {
                [put, key, value] if text(*put, values) == "put" => Ok((text(*key, values), Some(*value))),
                [delete, key] if text(*delete, values) == "delete" => Ok((text(*key, values), None)),
                _ => Err(format!("{} is no step: write [put key value] or [delete key]", values.show(step))),
            })
            .collect(),
    }
}

fn stream(operation: u32, asked: Value, told: Value, values: &Values) -> Result<Stream, String> {
    let name = |field_name| field(asked, field_name, values).map(|value| text(value, values));
    let range = match (name("key"), name("end"), name("prefix")) {
        (Some(key), Some(end), None) => Range::From(key, end),
        (Some(key), None, None) => Range::One(key),
        (None, None, Some(prefix)) => Range::Prefix(prefix),
        _ => return Err("a watch is asked for with key, key and end, or prefix".into()),
    };
    let filters: Vec<String> = field(asked, "filters", values)
        .map_or(&[][..], |all| list(all, values))
        .iter()
        .map(|&it| text(it, values))
        .collect();
    let responses = list(told, values).iter().map(|&it| response(it, values)).collect::<Result<_, _>>()?;
    Ok(Stream {
        operation,
        range,
        start: number(asked, "start", values)?.filter(|&start| start > 0),
        no_put: filters.iter().any(|it| it == "noput"),
        no_delete: filters.iter().any(|it| it == "nodelete"),
        fragment: field(asked, "fragment", values).is_some_and(|it| *values.datum(it) == Datum::Bool(true)),
        responses,
    })
}

fn response(told: Value, values: &Values) -> Result<Response, String> {
    if let Some(revision) = number(told, "progress", values)? {
        return Ok(Response::Progress(revision));
    }
    if let Some(revision) = number(told, "compacted", values)? {
        return Ok(Response::Compacted(revision));
    }
    let Some(events) = field(told, "events", values) else {
        return Err(format!("{} is no response: give it events, progress or compacted", values.show(told)));
    };
    list(events, values).iter().map(|&it| event(it, values)).collect::<Result<_, _>>().map(Response::Events)
}

fn event(told: Value, values: &Values) -> Result<Event, String> {
    let wrong = || format!("{} is no event: it has type, key, mod", values.show(told));
    let kind = field(told, "type", values).map(|it| text(it, values)).ok_or_else(wrong)?;
    let value = match kind.as_str() {
        "put" => Some(field(told, "value", values).unwrap_or(Value::NIL)),
        "delete" => None,
        _ => return Err(wrong()),
    };
    let prev = match held(told, "prev", values) {
        None => Prev::NotTold,
        Some(Value::NIL) => Prev::Nothing,
        Some(prev) => {
            Prev::Was(field(prev, "value", values).unwrap_or(Value::NIL), number(prev, "mod", values)?)
        }
    };
    Ok(Event {
        key: field(told, "key", values).map(|it| text(it, values)).ok_or_else(wrong)?,
        revision: number(told, "mod", values)?.ok_or_else(wrong)?,
        value,
        create: number(told, "create", values)?,
        prev,
    })
}

fn witness(history: &History, kind: &str, what: &str, core: &[u32]) -> Witness {
    let mut core = core.to_vec();
    core.sort_unstable();
    core.dedup();
    let lines: Vec<String> =
        core.iter().filter_map(|&it| history.lines.get(it as usize)).map(ToString::to_string).collect();
    Witness {
        kind: kind.into(),
        words: format!("{what} (invoked in line {})", lines.join(" and ")),
        core,
        by: BY,
    }
}

impl Truth {
    fn learn(&mut self, history: &History, at: (i64, String), fact: Fact, found: &mut Findings) {
        if let Some(known) = self.facts.get(&at) {
            if known.value != fact.value {
                let shown =
                    |fact: &Fact| fact.value.map_or("deleted".into(), |value| history.values.show(value));
                let what =
                    format!("revision {} of {:?} is {} and {}", at.0, at.1, shown(known), shown(&fact));
                let witness = witness(history, "disagreement", &what, &[known.operation, fact.operation]);
                found.push(("agreement", witness));
            }
            return;
        }
        self.by_key.entry(at.1.clone()).or_default().insert(at.0);
        self.facts.insert(at, fact);
    }

    /// Notes what may have happened that no source tells of.
    fn doubt(&mut self, history: &History) {
        let named = |operation: &Operation| text(operation.f, &history.values);
        let write = |operation: &&Operation| matches!(named(operation).as_str(), "put" | "delete" | "txn");
        let mut of_several = false;
        for operation in history.operations.iter().filter(write) {
            match operation.outcome {
                Outcome::Ok => self.whole.extend(operation.version.map(|version| version as i64)),
                Outcome::Fail => {}
                Outcome::Info => {
                    of_several |= named(operation) == "txn";
                    let keys = written(operation, &history.values).unwrap_or_default();
                    self.unheard.extend(keys.into_iter().map(|(key, _)| key));
                }
            }
        }
        // A stream may have shown one key of a transaction, and not the others.
        if !of_several {
            self.whole.extend(self.facts.keys().map(|at| at.0));
        }
        self.whole.sort_unstable();
        self.whole.dedup();
    }

    /// True where a key may have changed between two revisions without anybody having heard of it.
    fn unsure(&self, key: &str, since: i64, revision: i64) -> bool {
        let before = |end: i64| self.whole.partition_point(|&at| at < end) as i64;
        self.unheard.contains(key) && before(revision) - before(since + 1) < revision - since - 1
    }

    /// The last that is known of a key before a revision.
    fn before(&self, key: &str, revision: i64) -> Option<(i64, &Fact)> {
        let at = *self.by_key.get(key)?.range(..revision).next_back()?;
        Some((at, self.facts.get(&(at, key.to_string()))?))
    }

    /// What happened in a range of revisions, both ends in it.
    fn between(&self, from: i64, to: i64) -> impl Iterator<Item = (&(i64, String), &Fact)> {
        self.facts.range((from, String::new())..).take_while(move |(at, _)| at.0 <= to)
    }
}

impl Stream {
    fn events(&self) -> impl Iterator<Item = &Event> {
        self.responses.iter().flat_map(|response| match response {
            Response::Events(events) => &events[..],
            _ => &[],
        })
    }

    fn judge(&self, truth: &Truth, history: &History, found: &mut Findings) {
        let mut tell = |promise, what: String, others: &[u32]| {
            found.push((promise, witness(history, promise, &what, &[others, &[self.operation]].concat())));
        };
        let mut got: BTreeSet<(i64, String)> = BTreeSet::new();
        let mut last: Option<i64> = None;
        let mut bookmark: Option<i64> = None;
        let mut compacted = 0;
        for response in &self.responses {
            let events = match response {
                Response::Events(events) => events,
                Response::Compacted(revision) => {
                    compacted = *revision;
                    continue;
                }
                Response::Progress(revision) => {
                    bookmark = bookmark.max(Some(*revision));
                    if let Some((at, fact)) = self.missed(truth, &got, compacted, *revision) {
                        let what = format!(
                            "revision {} of {:?} had not come before progress {revision}",
                            at.0, at.1
                        );
                        tell("bookmarkable", what, &[fact.operation]);
                    }
                    continue;
                }
            };
            if let (Some(last), Some(first), false) = (last, events.first(), self.fragment)
                && first.revision == last
            {
                tell("atomic", format!("revision {last} came in two responses"), &[]);
            }
            for event in events {
                let (key, revision) = (&event.key, event.revision);
                if last.is_some_and(|last| revision < last) {
                    tell(
                        "ordered",
                        format!("revision {revision} of {key:?} came behind {}", last.unwrap_or(0)),
                        &[],
                    );
                }
                if bookmark.is_some_and(|bookmark| revision <= bookmark) {
                    let what = format!(
                        "revision {revision} of {key:?} came behind progress {}",
                        bookmark.unwrap_or(0)
                    );
                    tell("bookmarkable", what, &[]);
                }
                if !got.insert((revision, key.clone())) {
                    tell("unique", format!("revision {revision} of {key:?} came twice"), &[]);
                }
                if !self.wants(key, event.value.is_some()) {
                    tell("filter", format!("revision {revision} of {key:?} was not asked for"), &[]);
                }
                if self.start.is_some_and(|start| revision < start) {
                    tell(
                        "resumable",
                        format!("revision {revision} came, before the start {}", self.start.unwrap_or(0)),
                        &[],
                    );
                }
                last = last.max(Some(revision));
                previous(truth, history, event, &mut tell);
            }
        }
        self.gaps(truth, &got, compacted, &mut tell);
    }

    /// What was wanted, is known to have happened from the start (or what came first) up to a revision, and did not come.
    fn missed<'t>(
        &self,
        truth: &'t Truth,
        got: &BTreeSet<(i64, String)>,
        compacted: i64,
        to: i64,
    ) -> Option<(&'t (i64, String), &'t Fact)> {
        let from = self.start.or_else(|| got.first().map(|first| first.0))?.max(compacted);
        truth
            .between(from, to)
            .find(|(at, fact)| self.wants(&at.1, fact.value.is_some()) && !got.contains(*at))
    }

    fn gaps(
        &self,
        truth: &Truth,
        got: &BTreeSet<(i64, String)>,
        compacted: i64,
        tell: &mut impl FnMut(&'static str, String, &[u32]),
    ) {
        let (Some(first), Some(last)) = (got.first(), got.last()) else { return };
        let wanted =
            |at: &(i64, String), fact: &Fact| self.wants(&at.1, fact.value.is_some()) && !got.contains(at);
        // A fragment may have been the last that came.
        let cut = |at: &(i64, String)| self.fragment && at.0 == last.0;
        if let Some((at, fact)) =
            truth.between(first.0, last.0).find(|(at, fact)| wanted(at, fact) && !cut(at))
        {
            let what =
                format!("revision {} of {:?} never came, though {} and {} did", at.0, at.1, first.0, last.0);
            tell("reliable", what, &[fact.operation]);
        }
        let Some(start) = self.start else { return };
        let missed = truth
            .between(start.max(compacted), first.0)
            .find(|(at, fact)| at.0 < first.0 && wanted(at, fact));
        if let Some((at, fact)) = missed {
            let what = format!(
                "revision {} of {:?} never came, though {start} was asked for and {} came",
                at.0, at.1, first.0
            );
            tell("resumable", what, &[fact.operation]);
        }
    }
}

/// When each key was made, by what the events say: an event belongs to the life that was there then, or begins one.
fn lives(streams: &[Stream], history: &History, found: &mut Findings) {
    let mut puts: BTreeMap<&str, BTreeMap<i64, (i64, u32)>> = BTreeMap::new();
    let mut tell =
        |what: String, core: &[u32]| found.push(("is-create", witness(history, "is-create", &what, core)));
    for stream in streams {
        for event in stream.events().filter(|event| event.value.is_some()) {
            let Some(create) = event.create else { continue };
            let (key, revision) = (&event.key, event.revision);
            let it = (create, stream.operation);
            let &mut (other, operation) = puts.entry(key).or_default().entry(revision).or_insert(it);
            if create > revision || create != other {
                let what = format!(
                    "revision {revision} of {key:?} says that the key was made at {create}, and at {other}"
                );
                tell(what, &[operation, stream.operation]);
            }
        }
    }
    for (key, puts) in puts {
        for ((before, made), (revision, (create, operation))) in puts.iter().zip(puts.iter().skip(1)) {
            if create <= before && *create != made.0 {
                let what = format!(
                    "revision {revision} says that {key:?} was made at {create}, and revision {before} that it was at {}",
                    made.0
                );
                tell(what, &[made.1, *operation]);
            }
        }
    }
}

/// What an event says of what was before it.
fn previous(
    truth: &Truth,
    history: &History,
    event: &Event,
    tell: &mut impl FnMut(&'static str, String, &[u32]),
) {
    let (key, revision) = (&event.key, event.revision);
    let before = truth.before(key, revision).filter(|(since, _)| !truth.unsure(key, *since, revision));
    let told = match event.prev {
        Prev::NotTold => None,
        Prev::Nothing => Some(None),
        Prev::Was(value, _) => Some(Some(value)),
    };
    if let (Some(told), Some((at, fact))) = (told, before)
        && told != fact.value
    {
        let shown = |value: Option<Value>| value.map_or("nothing".into(), |value| history.values.show(value));
        let (told, was) = (shown(told), shown(fact.value));
        let what =
            format!("revision {revision} of {key:?} says {told} was before; revision {at} made it {was}");
        tell("prev-kv", what, &[fact.operation]);
    }
    if let (Some(create), Some(_), Some((at, fact))) = (event.create, event.value, before) {
        let new = create == revision;
        if new == fact.value.is_some() {
            let (says, was) = if new { ("new", "there") } else { ("old", "deleted") };
            let what =
                format!("revision {revision} says that {key:?} is {says}; since revision {at} it was {was}");
            tell("is-create", what, &[fact.operation]);
        }
    }
}
