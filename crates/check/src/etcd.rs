//! etcd itself: ranges, transactions, leases, by the revisions that it gives.
//!
//! Every answer carries the revision at which it was true, as `version`. So nothing need be searched for where outcomes are
//! known: the store is played again, revision by revision, and every answer is compared with the store at its revision.
//! Versions are checked themselves: one change has one, they keep real time, and none is left without a cause. A revision that
//! no acknowledged write claims was one of unknown outcome, or a lease that ended; which one is told by what was read of it,
//! else all are tried.
//!
//! Operations:
//!
//! - `put` with `key` and a value, or a map `{"value": v, "lease": id}`;
//! - `delete` with `key`, and as wished `{"end": e}` or `{"prefix": true}`; its result is the number of deleted keys;
//! - `get` with `key`, and as wished `{"end": e, "prefix": true, "revision": r, "serializable": true}`; its result is a list of
//!   `{"key": k, "value": v, "mod": r, "create": r, "ver": n, "lease": id}`, of which only what is told is compared;
//! - `txn` with `{"if": [[target key op what] …], "then": [step …], "else": [step …]}`, targets `value`, `mod`, `create`, `ver`,
//!   `lease`, ops `=`, `!=`, `<`, `>`; steps `["put" k v]` or `["put" k v lease]`, `["delete" k]` or `["delete" k end]`, `["get"
//!   k]` or `["get" k end]`; its result `{"succeeded": true, "results": […]}` has nil, a number, or a list for each step;
//! - `grant`, `revoke` with a lease's number; `compact` is passed over.
//!
//! What the store held before the history began is known as far as it was read. **Info and fail.** What failed has no part; what is of unknown
//! outcome may fill a revision. A serializable `get` may be of any revision. Cost: near-linear; for revisions that nobody
//! claims exponential in the worst case, then bounded, and it ends as unknown.

use crate::history::{History, Operation, Outcome};
use crate::value::{Datum, Value, Values};
use crate::verdict::{Verdict, Witness};
use std::collections::{BTreeMap, BTreeSet};

/// What is promised, each judged alone.
pub const PROMISES: [(&str, &str); 3] = [
    ("unique-revisions", "a revision is one change"),
    ("real-time", "no answer is of an older revision than one that was there before it was asked for"),
    ("state", "every answer is the store at its revision, and every revision has a cause"),
];

const BY: &str = "replay by revisions";
/// So many causes are tried for revisions that nobody claims.
const MOST_TRIED: u32 = 200_000;

/// Judges every promise; the error is an operation and what cannot be understood about it.
pub fn judge(history: &History) -> Result<Vec<(&'static str, Verdict)>, (u32, String)> {
    let mut asked = Vec::new();
    for (place, operation) in history.operations.iter().enumerate() {
        let at = place as u32;
        let wrong = |what| (at, what);
        if operation.outcome == Outcome::Fail {
            continue;
        }
        let Some(ask) = Ask::of(operation, &history.values).map_err(wrong)? else { continue };
        let ok = operation.outcome == Outcome::Ok;
        let told = if ok { ask.told(operation.result, &history.values).map_err(wrong)? } else { Vec::new() };
        if ok && operation.version.is_none() {
            return Err(wrong("an answer of etcd tells its revision: give it a version".into()));
        }
        let version = operation.version.map_or(0, |version| version as i64);
        asked.push(Asked { place: at, ask, told, version, ok });
    }
    let unique = unique(history, &asked);
    let refuted = |found: Option<Witness>| found.map_or(Verdict::Proved { by: BY }, Verdict::Refuted);
    let state = if unique.is_some() {
        Verdict::NotRefuted {
            why: "revisions are not unique, so that there is no store to compare with".into(),
        }
    } else {
        Replay::new(history, &asked).run()
    };
    Ok(vec![
        ("unique-revisions", refuted(unique)),
        ("real-time", refuted(real_time(history, &asked))),
        ("state", state),
    ])
}

fn witness(history: &History, kind: &str, what: &str, core: &[u32]) -> Witness {
    let mut core = core.to_vec();
    core.sort_unstable();
    core.dedup();
    let shown: Vec<String> = core.iter().map(|&it| history.show(it)).collect();
    Witness { kind: kind.into(), words: format!("{what}: {}", shown.join("; ")), core, by: BY }
}

/// An operation, its answer, and of which revision that is.
struct Asked {
    place: u32,
    ask: Ask,
    told: Vec<Told>,
    version: i64,
    ok: bool,
}

#[derive(Debug)]
enum Ask {
    Steps(Vec<Step>),
    Get { range: Range, revision: Option<i64>, serializable: bool },
    Txn { compares: Vec<Compare>, then: Vec<Step>, or: Vec<Step> },
    Revoke(i64),
}

#[derive(Debug)]
enum Step {
    Put(String, Value, i64),
    Delete(Range),
    Get(Range),
}

#[derive(Debug)]
struct Compare {
    target: String,
    key: String,
    op: String,
    what: Value,
}

#[derive(Debug)]
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

/// The answer to one step.
#[derive(Debug)]
enum Told {
    Nothing,
    Succeeded(bool),
    Count(i64),
    Held(Vec<Kv>),
}

/// What was told of a key; what was not told is not compared.
#[derive(Debug)]
struct Kv {
    key: String,
    value: Option<Value>,
    numbers: [Option<i64>; 4],
}

const NUMBERS: [&str; 4] = ["mod", "create", "ver", "lease"];

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

fn field(map: Value, name: &str, values: &Values) -> Option<Value> {
    let Datum::Map(pairs) = values.datum(map) else { return None };
    let named =
        |key: Value| matches!(values.datum(key), Datum::Keyword(word) | Datum::Text(word) if **word == *name);
    pairs.iter().find(|(key, _)| named(*key)).map(|(_, value)| *value).filter(|&value| value != Value::NIL)
}

fn number(value: Value, values: &Values) -> Result<i64, String> {
    match values.datum(value) {
        Datum::Int(number) => Ok(*number),
        _ => Err(format!("a number should stand where {} stands", values.show(value))),
    }
}

fn field_number(map: Value, name: &str, values: &Values) -> Result<Option<i64>, String> {
    field(map, name, values).map(|value| number(value, values)).transpose()
}

fn truth(value: Option<Value>, values: &Values) -> bool {
    value.is_some_and(|value| *values.datum(value) == Datum::Bool(true))
}

impl Ask {
    fn of(operation: &Operation, values: &Values) -> Result<Option<Self>, String> {
        let key = || text(operation.key, values);
        let options = operation.argument;
        let range = || match (field(options, "end", values), truth(field(options, "prefix", values), values))
        {
            (Some(end), _) => Range::From(key(), text(end, values)),
            (None, true) => Range::Prefix(key()),
            (None, false) => Range::One(key()),
        };
        Ok(Some(match text(operation.f, values).as_str() {
            "put" => match field(options, "value", values) {
                Some(value) => {
                    let lease = field_number(options, "lease", values)?.unwrap_or(0);
                    Self::Steps(vec![Step::Put(key(), value, lease)])
                }
                None => Self::Steps(vec![Step::Put(key(), options, 0)]),
            },
            "delete" => Self::Steps(vec![Step::Delete(range())]),
            "get" | "range" => Self::Get {
                range: range(),
                revision: field_number(options, "revision", values)?.filter(|&revision| revision > 0),
                serializable: truth(field(options, "serializable", values), values),
            },
            "txn" => {
                let part = |name| field(options, name, values).map_or(&[][..], |all| list(all, values));
                let steps =
                    |name| part(name).iter().map(|&it| Step::of(it, values)).collect::<Result<Vec<_>, _>>();
                let compares =
                    part("if").iter().map(|&it| Compare::of(it, values)).collect::<Result<_, _>>()?;
                Self::Txn { compares, then: steps("then")?, or: steps("else")? }
            }
            "revoke" => Self::Revoke(number(operation.argument, values)?),
            "grant" | "keepalive" | "compact" | "watch" => return Ok(None),
            _ => {
                return Err(format!(
                    "etcd knows put, delete, get, txn, grant, revoke, not {}",
                    values.show(operation.f)
                ));
            }
        }))
    }

    /// The answer, a part for each step.
    fn told(&self, result: Value, values: &Values) -> Result<Vec<Told>, String> {
        match self {
            Self::Steps(steps) => steps.iter().map(|step| step.told(result, values)).collect(),
            Self::Get { .. } => Ok(vec![kvs(result, values)?]),
            Self::Revoke(_) => Ok(Vec::new()),
            Self::Txn { then, or, .. } => {
                let succeeded = truth(field(result, "succeeded", values), values);
                let steps = if succeeded { then } else { or };
                let results = field(result, "results", values).map_or(&[][..], |all| list(all, values));
                if results.len() != steps.len() {
                    return Err(format!("{} steps have {} results", steps.len(), results.len()));
                }
                let told = steps.iter().zip(results).map(|(step, &result)| step.told(result, values));
                std::iter::once(Ok(Told::Succeeded(succeeded))).chain(told).collect()
            }
        }
    }

    /// True where the answer says that it changed the store; `None` where it does not say.
    fn changed(&self, told: &[Told]) -> Option<bool> {
        let step = |(step, told): (&Step, &Told)| match (step, told) {
            (Step::Put(..), _) => true,
            (Step::Delete(_), Told::Count(count)) => *count > 0,
            _ => false,
        };
        match (self, told.first()) {
            (Self::Steps(steps), _) => Some(steps.iter().zip(told).any(step)),
            (Self::Txn { then, .. }, Some(Told::Succeeded(true))) => {
                Some(then.iter().zip(&told[1..]).any(step))
            }
            (Self::Txn { or, .. }, Some(_)) => Some(or.iter().zip(&told[1..]).any(step)),
            (Self::Get { .. }, _) => Some(false),
            _ => None,
        }
    }
}

fn kvs(result: Value, values: &Values) -> Result<Told, String> {
    let kv = |&it: &Value| {
        let mut numbers = [None; 4];
        for (number, name) in numbers.iter_mut().zip(NUMBERS) {
            *number = field_number(it, name, values)?;
        }
        let key = field(it, "key", values).ok_or_else(|| format!("{} tells no key", values.show(it)))?;
        Ok(Kv { key: text(key, values), value: field(it, "value", values), numbers })
    };
    list(result, values).iter().map(kv).collect::<Result<_, String>>().map(Told::Held)
}

impl Step {
    fn of(step: Value, values: &Values) -> Result<Self, String> {
        let word = |value: &Value| text(*value, values);
        match list(step, values) {
            [put, key, value] if word(put) == "put" => Ok(Self::Put(word(key), *value, 0)),
            [put, key, value, lease] if word(put) == "put" => {
                Ok(Self::Put(word(key), *value, number(*lease, values)?))
            }
            [delete, key] if word(delete) == "delete" => Ok(Self::Delete(Range::One(word(key)))),
            [delete, key, end] if word(delete) == "delete" => {
                Ok(Self::Delete(Range::From(word(key), word(end))))
            }
            [get, key] if word(get) == "get" => Ok(Self::Get(Range::One(word(key)))),
            [get, key, end] if word(get) == "get" => Ok(Self::Get(Range::From(word(key), word(end)))),
            _ => Err(format!(
                "{} is no step: write [put key value], [delete key] or [get key]",
                values.show(step)
            )),
        }
    }

    fn told(&self, result: Value, values: &Values) -> Result<Told, String> {
        match self {
            Self::Put(..) => Ok(Told::Nothing),
            Self::Delete(_) => number(result, values).map(Told::Count),
            Self::Get(_) => kvs(result, values),
        }
    }
}

impl Compare {
    fn of(compare: Value, values: &Values) -> Result<Self, String> {
        match list(compare, values) {
            [target, key, op, what] => Ok(Self {
                target: text(*target, values),
                key: text(*key, values),
                op: text(*op, values),
                what: *what,
            }),
            _ => Err(format!("{} is no comparison: write [target key op what]", values.show(compare))),
        }
    }

    fn holds(&self, store: &Store, values: &Values) -> bool {
        let held = store.at(&self.key, i64::MAX);
        let order = if self.target == "value" {
            // An absent key has no value to compare.
            let Some(held) = held.and_then(|held| held.value) else { return false };
            if held == self.what {
                std::cmp::Ordering::Equal
            } else {
                text(held, values).cmp(&text(self.what, values))
            }
        } else {
            let place = NUMBERS.iter().position(|name| *name == self.target).unwrap_or(0);
            let held = held.map_or(0, |held| held.numbers()[place]);
            held.cmp(&number(self.what, values).unwrap_or(0))
        };
        match self.op.as_str() {
            "=" | "==" => order.is_eq(),
            "!=" => order.is_ne(),
            "<" => order.is_lt(),
            _ => order.is_gt(),
        }
    }
}

fn unique(history: &History, asked: &[Asked]) -> Option<Witness> {
    let mut by: BTreeMap<i64, u32> = BTreeMap::new();
    asked.iter().filter(|it| it.ok && it.ask.changed(&it.told) == Some(true)).find_map(|it| {
        let other = by.insert(it.version, it.place)?;
        Some(witness(
            history,
            "shared revision",
            &format!("two changes have revision {}", it.version),
            &[other, it.place],
        ))
    })
}

/// Compares what returned before with what was asked then.
fn real_time(history: &History, asked: &[Asked]) -> Option<Witness> {
    let mut ends: Vec<&Asked> = asked.iter().filter(|it| it.ok).collect();
    let begins = ends.clone();
    ends.sort_by_key(|it| history.operations[it.place as usize].returned);
    let mut next = 0;
    let mut newest: Option<&Asked> = None;
    // They stand in the order of invocation.
    begins.into_iter().find_map(|it| {
        let begin = history.operations[it.place as usize].invoked;
        while let Some(end) =
            ends.get(next).filter(|end| history.operations[end.place as usize].returned < begin)
        {
            if newest.is_none_or(|newest| newest.version < end.version) {
                newest = Some(end);
            }
            next += 1;
        }
        let free = matches!(it.ask, Ask::Get { serializable: true, .. });
        let newest = newest.filter(|newest| {
            !free && {
                let change = it.ask.changed(&it.told) == Some(true);
                it.version < newest.version || (change && it.version == newest.version)
            }
        })?;
        let what = format!(
            "revision {} was there before what got revision {} was asked for",
            newest.version, it.version
        );
        Some(witness(history, "back in time", &what, &[newest.place, it.place]))
    })
}

/// A key at a revision.
#[derive(Clone, Copy, Debug)]
struct Held {
    revision: i64,
    /// `None`: it was deleted.
    value: Option<Value>,
    create: i64,
    ver: i64,
    lease: i64,
}

impl Held {
    fn numbers(&self) -> [i64; 4] {
        [self.revision, self.create, self.ver, self.lease]
    }
}

/// All keys at all revisions.
#[derive(Default)]
struct Store {
    keys: BTreeMap<String, Vec<Held>>,
    /// What was changed, to go back.
    done: Vec<(i64, String)>,
}

impl Store {
    /// A key that is there at a revision.
    fn at(&self, key: &str, revision: i64) -> Option<Held> {
        let versions = self.keys.get(key)?;
        let place = versions.partition_point(|held| held.revision <= revision).checked_sub(1)?;
        versions.get(place).copied().filter(|held| held.value.is_some())
    }

    fn within(&self, range: &Range, revision: i64) -> Vec<(String, Held)> {
        if let Range::One(key) = range {
            return self.at(key, revision).map(|held| (key.clone(), held)).into_iter().collect();
        }
        let from = match range {
            Range::One(from) | Range::From(from, _) | Range::Prefix(from) => from.clone(),
        };
        let keys = self.keys.range(from..).map(|(key, _)| key).take_while(|key| range.holds(key));
        keys.filter_map(|key| Some((key.clone(), self.at(key, revision)?))).collect()
    }

    fn put(&mut self, key: &str, value: Value, lease: i64, revision: i64) {
        let (create, ver) = self.at(key, revision).map_or((revision, 0), |held| (held.create, held.ver));
        self.set(key, Held { revision, value: Some(value), create, ver: ver + 1, lease });
    }

    fn delete(&mut self, key: &str, revision: i64) {
        self.set(key, Held { revision, value: None, create: 0, ver: 0, lease: 0 });
    }

    fn set(&mut self, key: &str, held: Held) {
        self.done.push((held.revision, key.to_string()));
        self.keys.entry(key.to_string()).or_default().push(held);
    }

    /// Forgets this revision and all after it.
    fn back_to(&mut self, revision: i64) {
        while let Some((_, key)) = self.done.pop_if(|(at, _)| *at >= revision) {
            if let Some(versions) = self.keys.get_mut(&key) {
                versions.pop();
            }
        }
    }

    fn leased(&self, lease: i64) -> Vec<String> {
        let held = |key: &String| self.at(key, i64::MAX).is_some_and(|held| held.lease == lease);
        self.keys.keys().filter(|key| held(key)).cloned().collect()
    }
}

/// A key that was read: its value, and the numbers told.
type Seen = (String, Value, [Option<i64>; 4]);

/// A cause of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// An operation: its place in `asked`.
    Asked(usize),
    /// The end of a lease.
    Ended(i64),
    /// Somebody before the history began.
    Before,
}

struct Replay<'a> {
    history: &'a History,
    asked: &'a [Asked],
    store: Store,
    /// By revision: the acknowledged change, and the other answers.
    known: BTreeMap<i64, usize>,
    answers: BTreeMap<i64, Vec<usize>>,
    /// What was read of a revision: key, value, and the numbers told.
    seen: BTreeMap<i64, Vec<Seen>>,
    base: i64,
    /// The first revision of an answer: what was read of earlier ones may have been there before.
    first: i64,
    /// Keys that were there before: how often they were written nobody knows.
    old: BTreeSet<String>,
    top: i64,
    used: BTreeSet<usize>,
}

/// A revision with the causes that are left to be tried, and the one that is.
struct Choice {
    revision: i64,
    causes: Vec<Cause>,
    next: usize,
    used: Option<usize>,
}

impl<'a> Replay<'a> {
    fn new(history: &'a History, asked: &'a [Asked]) -> Self {
        let mut replay = Self {
            history,
            asked,
            store: Store::default(),
            known: BTreeMap::new(),
            answers: BTreeMap::new(),
            seen: BTreeMap::new(),
            base: i64::MAX,
            first: asked.iter().filter(|it| it.ok).map(|it| it.version).min().unwrap_or(0),
            old: BTreeSet::new(),
            top: 0,
            used: BTreeSet::new(),
        };
        // Any that was asked for by then may have come before the first answer.
        let first = asked.iter().filter(|it| it.ok).min_by_key(|it| it.version);
        let end = first.map_or(0, |it| history.operations[it.place as usize].returned);
        let early = |it: &&Asked| !it.ok && history.operations[it.place as usize].invoked < end;
        let unheard = asked.iter().filter(early).count() as i64;
        for (place, it) in asked.iter().enumerate().filter(|(_, it)| it.ok) {
            replay.top = replay.top.max(it.version);
            if it.ask.changed(&it.told) == Some(true) {
                replay.known.insert(it.version, place);
                replay.base = replay.base.min(it.version - 1);
            } else {
                replay.answers.entry(it.version).or_default().push(place);
                replay.base = replay.base.min(it.version);
            }
            for told in &it.told {
                let Told::Held(all) = told else { continue };
                for kv in all {
                    if let Some(create) = kv.numbers[1].filter(|&create| create < replay.first) {
                        replay.base = replay.base.min(create - 1);
                        replay.old.insert(kv.key.clone());
                    }
                    let (Some(revision), Some(value)) = (kv.numbers[0], kv.value) else { continue };
                    replay.seen.entry(revision).or_default().push((kv.key.clone(), value, kv.numbers));
                    replay.base = replay.base.min(revision - 1);
                }
            }
        }
        replay.base = (replay.base - unheard).max(0);
        // Revision 1 is the empty store: then all that there is came from here.
        if replay.first - 1 <= unheard + 1 {
            replay.old.clear();
            replay.base = replay.base.max(1).min(replay.first);
        }
        replay
    }

    fn run(&mut self) -> Verdict {
        if self.top == 0 {
            return Verdict::Proved { by: BY };
        }
        let mut stack: Vec<Choice> = Vec::new();
        // The furthest failure is the one to be told.
        let mut worst: (i64, Option<Witness>) = (i64::MIN, None);
        let mut tried = 0;
        if let Some(witness) = self.answers_fit(self.base) {
            return Verdict::Refuted(witness);
        }
        let mut revision = self.base + 1;
        if revision <= self.top {
            stack.push(self.choice(revision));
        }
        while let Some(mut choice) = stack.pop() {
            revision = choice.revision;
            self.store.back_to(revision);
            if let Some(used) = choice.used.take() {
                self.used.remove(&used);
            }
            let Some(&cause) = choice.causes.get(choice.next) else {
                if choice.causes.is_empty() && worst.0 < revision {
                    let what = format!("nothing that is known made revision {revision}");
                    worst = (
                        revision,
                        Some(witness(
                            self.history,
                            "revision without a cause",
                            &what,
                            &self.around(revision),
                        )),
                    );
                }
                continue;
            };
            choice.next += 1;
            tried += u32::from(choice.causes.len() > 1);
            if tried > MOST_TRIED {
                return Verdict::Unknown {
                    why: format!("too many causes are possible for revisions up to {revision}"),
                };
            }
            let fits = self.make(cause, revision);
            if let Cause::Asked(place) = cause {
                self.used.insert(place);
                choice.used = Some(place);
            }
            stack.push(choice);
            let failed = if fits { self.answers_fit(revision) } else { Some(self.wrong(cause, revision)) };
            match failed {
                None if revision == self.top => return Verdict::Proved { by: BY },
                None => stack.push(self.choice(revision + 1)),
                Some(witness) if worst.0 < revision => worst = (revision, Some(witness)),
                Some(_) => {}
            }
        }
        Verdict::Refuted(worst.1.unwrap_or_default())
    }

    fn wrong(&self, cause: Cause, revision: i64) -> Witness {
        let place = match cause {
            Cause::Asked(place) => self.asked[place].place,
            Cause::Ended(_) | Cause::Before => 0,
        };
        witness(
            self.history,
            "wrong answer",
            &format!("this is not what the store gives as revision {revision}"),
            &[place],
        )
    }

    /// The changes next to a revision that has no cause.
    fn around(&self, revision: i64) -> Vec<u32> {
        let before = self.known.range(..revision).next_back();
        let after = self.known.range(revision..).next();
        before.into_iter().chain(after).map(|(_, &place)| self.asked[place].place).collect()
    }

    /// What may have made a revision.
    fn choice(&self, revision: i64) -> Choice {
        let causes = match self.known.get(&revision) {
            Some(&place) => vec![Cause::Asked(place)],
            None => self.candidates(revision),
        };
        Choice { revision, causes, next: 0, used: None }
    }

    fn candidates(&self, revision: i64) -> Vec<Cause> {
        let mut causes = Vec::new();
        for (place, it) in self.asked.iter().enumerate() {
            let revoke = matches!(it.ask, Ask::Revoke(_)) && it.ok && it.version == revision;
            if (revoke || !it.ok)
                && !self.used.contains(&place)
                && self.in_time(it, revision)
                && self.shows(it, revision)
            {
                causes.push(Cause::Asked(place));
            }
        }
        if !self.seen.contains_key(&revision) {
            let leases: BTreeSet<i64> = self
                .store
                .keys
                .keys()
                .filter_map(|key| self.store.at(key, i64::MAX))
                .map(|held| held.lease)
                .collect();
            causes.extend(leases.into_iter().filter(|&lease| lease != 0).map(Cause::Ended));
        }
        if revision <= self.first {
            causes.push(Cause::Before);
        }
        causes
    }

    /// No answer of this revision or a later one was over before it was asked for.
    fn in_time(&self, it: &Asked, revision: i64) -> bool {
        let begin = self.history.operations[it.place as usize].invoked;
        !self.asked.iter().any(|other| {
            other.ok
                && other.version >= revision
                && self.history.operations[other.place as usize].returned < begin
        })
    }

    /// It wrote what was read of the revision.
    fn shows(&self, it: &Asked, revision: i64) -> bool {
        let Some(seen) = self.seen.get(&revision) else { return true };
        let puts = |steps: &[Step]| {
            seen.iter().all(|(key, value, _)| {
                steps
                    .iter()
                    .any(|step| matches!(step, Step::Put(put, what, _) if put == key && what == value))
            })
        };
        match &it.ask {
            Ask::Steps(steps) => puts(steps),
            Ask::Txn { then, or, .. } => puts(then) || puts(or),
            _ => false,
        }
    }

    /// Changes the store; false where that is no change, or not what was answered.
    fn make(&mut self, cause: Cause, revision: i64) -> bool {
        let before = self.store.done.len();
        let fits = match cause {
            Cause::Before => {
                for (key, value, [_, create, ver, lease]) in
                    self.seen.get(&revision).cloned().unwrap_or_default()
                {
                    let (create, ver) = (create.unwrap_or(revision), ver.unwrap_or(1));
                    let lease = lease.unwrap_or(0);
                    self.store.set(&key, Held { revision, value: Some(value), create, ver, lease });
                }
                return true;
            }
            Cause::Ended(lease) => {
                self.revoke(lease, revision);
                true
            }
            Cause::Asked(place) => {
                let asked = self.asked;
                self.play(&asked[place], revision)
            }
        };
        fits && self.store.done.len() > before
    }

    fn revoke(&mut self, lease: i64, revision: i64) {
        for key in self.store.leased(lease) {
            self.store.delete(&key, revision);
        }
    }

    /// Does what was asked, and compares the answer, if there was one.
    fn play(&mut self, it: &Asked, revision: i64) -> bool {
        match &it.ask {
            Ask::Steps(steps) => self.steps(steps, &it.told, revision),
            Ask::Revoke(lease) => {
                self.revoke(*lease, revision);
                true
            }
            Ask::Get { range, revision: asked, .. } => {
                let at = asked.unwrap_or(revision);
                // Nothing is known of what was before the beginning.
                at < self.first
                    || it.told.first().is_none_or(|told| self.same(told, &self.store.within(range, at)))
            }
            Ask::Txn { compares, then, or } => {
                let yes = compares.iter().all(|compare| compare.holds(&self.store, &self.history.values));
                let told = match it.told.first() {
                    Some(Told::Succeeded(told)) if *told != yes => return false,
                    Some(_) => &it.told[1..],
                    None => &[],
                };
                self.steps(if yes { then } else { or }, told, revision)
            }
        }
    }

    fn steps(&mut self, steps: &[Step], told: &[Told], revision: i64) -> bool {
        for (at, step) in steps.iter().enumerate() {
            let told = told.get(at);
            match step {
                Step::Put(key, value, lease) => self.store.put(key, *value, *lease, revision),
                Step::Delete(range) => {
                    let gone = self.store.within(range, i64::MAX);
                    if matches!(told, Some(Told::Count(count)) if *count != gone.len() as i64) {
                        return false;
                    }
                    for (key, _) in gone {
                        self.store.delete(&key, revision);
                    }
                }
                Step::Get(range) => {
                    if told.is_some_and(|told| !self.same(told, &self.store.within(range, i64::MAX))) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Compares the answers of a revision that changed nothing with the store.
    fn answers_fit(&mut self, revision: i64) -> Option<Witness> {
        let places = self.answers.get(&revision).cloned().unwrap_or_default();
        let asked = self.asked;
        places.into_iter().find_map(|place| {
            if self.used.contains(&place) || matches!(asked[place].ask, Ask::Revoke(_)) {
                return None;
            }
            let before = self.store.done.len();
            let fits = self.play(&asked[place], revision) && self.store.done.len() == before;
            (!fits).then(|| {
                let what = format!("this is not the store at revision {revision}");
                witness(self.history, "wrong answer", &what, &[asked[place].place])
            })
        })
    }

    /// What was told of keys is what is there.
    fn same(&self, told: &Told, there: &[(String, Held)]) -> bool {
        let Told::Held(told) = told else { return true };
        told.len() == there.len()
            && told.iter().zip(there).all(|(told, (key, held))| {
                let mut numbers = told.numbers.iter().zip(held.numbers());
                let compared = if self.old.contains(key) { 1 } else { 4 };
                told.key == *key
                    && told.value.is_none_or(|value| held.value == Some(value))
                    && numbers
                        .by_ref()
                        .take(compared)
                        .all(|(told, held)| told.is_none_or(|told| told == held))
            })
    }
}
