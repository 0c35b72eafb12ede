//! Partitioned logs, Kafka's kind: each key is a log, sends append to it, polls read it by offset.
//!
//! A checker of its own, after Jepsen's workload for Kafka: offsets are the order that the system itself gives, so nothing is
//! searched. What it knows of a log is every offset that an acknowledged send or a poll told; log positions are counted among
//! those, since offsets may have gaps (markers of transactions take some).
//!
//! Operations, each with a list of steps as its value, or with a single step:
//!
//! - `send`, `poll`, `txn`: steps `[:send key value]`, after an `ok` `[:send key [offset value]]`; `[:poll]`, after an `ok`
//!   `[:poll {key [[offset value] …]}]`. In JSON a key in a map is a string: a poll of key `"1"` is one of
//!   the log to which `1` was sent;
//! - `assign`, `seek`: from here on this process reads from elsewhere; `subscribe`: from here on others may move its place at
//!   any time, so that its polls are no longer compared from one operation to the next.
//!
//! **Info and fail.** A failed send must never be polled. One of unknown outcome may be. Of an operation that did not end `ok`
//! no poll is known. Cost: n log n.

use crate::history::{History, Operation, Outcome};
use crate::table::Table;
use crate::value::{Datum, Value, Values};
use crate::verdict::{Verdict, Witness};

/// What is promised of logs, each judged alone.
pub const PROMISES: [(&str, &str); 11] = [
    ("consistent-offsets", "an offset of a log holds one value"),
    ("no-duplicate", "a value stands at as many offsets as it was sent times"),
    ("no-lost-write", "what was acknowledged, and is not behind all that was polled, was polled"),
    ("no-aborted-read", "what failed to be sent is not polled (G1a)"),
    ("no-internal-skip", "polls of one transaction leave nothing out"),
    ("monotonic-internal-polls", "polls of one transaction go forward"),
    ("no-external-skip", "polls of a process leave nothing out from one operation to the next"),
    ("monotonic-external-polls", "polls of a process go forward from one operation to the next"),
    ("monotonic-sends", "sends of a process get growing offsets"),
    ("no-G1c", "no circle of who polled whose send and whose sends precede whose; without polls it is G0"),
    ("no-garbage-read", "what was polled was sent, and before"),
];

const BY: &str = "offsets, compared";

/// What acknowledged sends break by themselves. The others nobody can break where nothing is polled.
const OF_SENDS: [&str; 4] = ["consistent-offsets", "no-duplicate", "monotonic-sends", "no-G1c"];

const UNPOLLED: &str = "no record was polled, so nothing in the history could have shown a violation";

struct Sent {
    key: Value,
    value: Value,
    offset: Option<i64>,
    operation: u32,
}

struct Polled {
    key: Value,
    value: Value,
    offset: i64,
    operation: u32,
}

/// Offset, value, and who told of it.
type Record = (i64, Value, u32);

/// Everything that was told.
#[derive(Default)]
struct Told {
    sent: Vec<Sent>,
    polled: Vec<Polled>,
    /// By log: offsets and values, sorted; of one offset the first value told.
    logs: Vec<(Value, Vec<Record>)>,
    number: Table<Value, usize>,
}

/// Judges every promise; the error is an operation and what cannot be understood about it.
pub fn judge(history: &History) -> Result<Vec<(&'static str, Verdict)>, (u32, String)> {
    let mut told = Told::default();
    for (place, operation) in history.operations.iter().enumerate() {
        told.read(place as u32, operation, &history.values).map_err(|what| (place as u32, what))?;
    }
    told.same_keys(&history.values);
    let mut found = told.lay_out(history);
    found.extend(told.garbage(history));
    found.extend(told.lost(history));
    found.extend(told.aborted(history));
    found.extend(told.polls(history));
    found.extend(told.sends(history));
    found.extend(told.circle(history));
    let blind = told.polled.is_empty();
    let verdict = |name: &'static str| match found.iter().find(|(of, _)| *of == name) {
        Some((_, witness)) => Verdict::Refuted(witness.clone()),
        None if blind && !OF_SENDS.contains(&name) => Verdict::Unknown { why: UNPOLLED.to_owned() },
        None => Verdict::Proved { by: BY },
    };
    Ok(PROMISES.iter().map(|(name, _)| (*name, verdict(name))).collect())
}

type Findings = Vec<(&'static str, Witness)>;

fn witness(history: &History, kind: &str, what: &str, core: &[u32]) -> Witness {
    let shown: Vec<String> = core.iter().map(|&place| history.show(place)).collect();
    let mut core = core.to_vec();
    core.sort_unstable();
    core.dedup();
    Witness { kind: kind.into(), words: format!("{what}: {}", shown.join("; ")), core, by: BY }
}

fn word(value: Value, values: &Values) -> &str {
    match values.datum(value) {
        Datum::Keyword(word) | Datum::Text(word) => word,
        _ => "",
    }
}

fn list(value: Value, values: &Values) -> &[Value] {
    match values.datum(value) {
        Datum::List(members) => members,
        _ => &[],
    }
}

impl Told {
    fn read(&mut self, place: u32, operation: &Operation, values: &Values) -> Result<(), String> {
        match word(operation.f, values) {
            "send" | "poll" | "txn" => {}
            "assign" | "seek" | "subscribe" | "crash" | "debug-topic-partitions" => return Ok(()),
            _ => {
                return Err(format!(
                    "a log knows send, poll, txn, assign, subscribe, not {}",
                    values.show(operation.f)
                ));
            }
        }
        let ok = operation.outcome == Outcome::Ok;
        let steps = if ok { operation.result } else { operation.argument };
        let members = list(steps, values);
        let one = [steps];
        // A step alone begins with its name.
        let alone = members.first().is_some_and(|&first| matches!(word(first, values), "send" | "poll"));
        for &step in if alone { &one } else { members } {
            self.step(place, ok, step, values)?;
        }
        Ok(())
    }

    fn step(&mut self, operation: u32, ok: bool, step: Value, values: &Values) -> Result<(), String> {
        let wrong = || format!("{} is no step: write [send key value] or [poll]", values.show(step));
        match (list(step, values), list(step, values).first().map(|&name| word(name, values))) {
            ([_, key, given], Some("send")) => {
                let (offset, value) = match (list(*given, values), ok) {
                    ([offset, value], true) => (offset_of(*offset, values), *value),
                    _ => (None, *given),
                };
                self.sent.push(Sent { key: *key, value, offset, operation });
            }
            ([_], Some("poll")) => {}
            ([_, all], Some("poll")) => {
                let Datum::Map(logs) = values.datum(*all) else {
                    return if ok { Err(wrong()) } else { Ok(()) };
                };
                for (key, records) in logs.iter().filter(|_| ok) {
                    for &record in list(*records, values) {
                        let [offset, value] = list(record, values) else { return Err(wrong()) };
                        let offset = offset_of(*offset, values).ok_or_else(wrong)?;
                        self.polled.push(Polled { key: *key, value: *value, offset, operation });
                    }
                }
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// A key of a map in JSON is a string: "1" is the log 1, if that was sent to and "1" was not.
    fn same_keys(&mut self, values: &Values) {
        let mut sent: Table<Value, ()> = Table::default();
        for it in &self.sent {
            sent.insert(it.key, ());
        }
        for it in &mut self.polled {
            let Datum::Text(text) = values.datum(it.key) else { continue };
            let number = text.parse().ok().filter(|number: &i64| number.to_string() == **text);
            let number = number.and_then(|number| values.find(&Datum::Int(number)));
            if let Some(key) = number.filter(|key| sent.get(&it.key).is_none() && sent.get(key).is_some()) {
                it.key = key;
            }
        }
    }

    /// How often each value may have been sent to each log.
    fn times(&self, history: &History) -> Table<(Value, Value), u32> {
        let mut times: Table<(Value, Value), u32> = Table::default();
        let happened = |it: &&Sent| history.operations[it.operation as usize].outcome != Outcome::Fail;
        for it in self.sent.iter().filter(happened) {
            *times.or_insert_with((it.key, it.value), || 0) += 1;
        }
        times
    }

    /// A poll of what nobody sent, or only sent when the poll was over.
    fn garbage(&self, history: &History) -> Option<(&'static str, Witness)> {
        let of = |operation: u32| &history.operations[operation as usize];
        // Of each value the send that began first; one that failed only where there is no other.
        let mut first: Table<(Value, Value), u32> = Table::default();
        for it in &self.sent {
            let place = first.or_insert_with((it.key, it.value), || it.operation);
            if of(*place).outcome == Outcome::Fail && of(it.operation).outcome != Outcome::Fail {
                *place = it.operation;
            }
        }
        self.polled.iter().find_map(|it| {
            let value = history.values.show(it.value);
            let log = history.values.show(it.key);
            let (what, core) = match first.get(&(it.key, it.value)) {
                None => {
                    (format!("{value} was polled from log {log}, and nobody sent it"), vec![it.operation])
                }
                Some(&send) if of(send).invoked > of(it.operation).returned => {
                    let what = format!("{value} was polled from log {log} before it was sent");
                    (what, vec![it.operation, send])
                }
                Some(_) => return None,
            };
            Some(("no-garbage-read", witness(history, "garbage read", &what, &core)))
        })
    }

    /// Lays out each log; finds offsets with several values and values with several offsets.
    fn lay_out(&mut self, history: &History) -> Findings {
        let sent = self.sent.iter().filter_map(|it| Some((it.key, it.offset?, it.value, it.operation)));
        let polled = self.polled.iter().map(|it| (it.key, it.offset, it.value, it.operation));
        let mut all: Vec<(Value, i64, Value, u32)> = sent.chain(polled).collect();
        all.sort_unstable();
        let mut found = Findings::new();
        for (key, offset, value, operation) in all {
            if self.logs.last().is_none_or(|(last, _)| *last != key) {
                self.number.insert(key, self.logs.len());
                self.logs.push((key, Vec::new()));
            }
            let Some((_, log)) = self.logs.last_mut() else { continue };
            match log.last() {
                Some(&(at, other, by)) if at == offset => {
                    if other != value {
                        let what =
                            format!("offset {offset} of log {} holds two values", history.values.show(key));
                        found.push((
                            "consistent-offsets",
                            witness(history, "inconsistent offset", &what, &[by, operation]),
                        ));
                    }
                }
                _ => log.push((offset, value, operation)),
            }
        }
        let times = self.times(history);
        for (key, log) in &self.logs {
            let mut by_value: Vec<(Value, i64, u32)> =
                log.iter().map(|&(at, value, by)| (value, at, by)).collect();
            by_value.sort_unstable();
            let more = by_value.chunk_by(|one, other| one.0 == other.0).find(|same| {
                let sent = times.get(&(*key, same[0].0)).copied().unwrap_or(0);
                same.len() > sent.max(1) as usize
            });
            if let Some(pair) = more {
                let value = history.values.show(pair[0].0);
                let what = format!(
                    "{value} stands at offsets {} and {} of log {}",
                    pair[0].1,
                    pair[1].1,
                    history.values.show(*key)
                );
                found.push(("no-duplicate", witness(history, "duplicate", &what, &[pair[0].2, pair[1].2])));
            }
        }
        found
    }

    /// The position of an offset in its log.
    fn position(&self, key: Value, offset: i64) -> Option<(usize, usize)> {
        let log = *self.number.get(&key)?;
        Some((log, self.logs[log].1.binary_search_by_key(&offset, |it| it.0).ok()?))
    }

    fn lost(&self, history: &History) -> Option<(&'static str, Witness)> {
        let mut last: Vec<Option<(i64, u32)>> = vec![None; self.logs.len()];
        let mut seen: Table<(Value, i64), ()> = Table::default();
        for it in &self.polled {
            seen.insert((it.key, it.offset), ());
            if let Some(&log) = self.number.get(&it.key) {
                last[log] = last[log].max(Some((it.offset, it.operation)));
            }
        }
        self.sent
            .iter()
            .filter(|it| history.operations[it.operation as usize].outcome == Outcome::Ok)
            .find_map(|it| {
                let offset = it.offset?;
                let (far, by) = last[*self.number.get(&it.key)?]?;
                (offset < far && seen.get(&(it.key, offset)).is_none()).then(|| {
                    let what = format!(
                        "{} at offset {offset} was acknowledged and never polled, though offset {far} was",
                        history.values.show(it.value)
                    );
                    ("no-lost-write", witness(history, "lost write", &what, &[it.operation, by]))
                })
            })
    }

    fn aborted(&self, history: &History) -> Option<(&'static str, Witness)> {
        let mut failed: Table<(Value, Value), u32> = Table::default();
        let mut fine: Table<(Value, Value), ()> = Table::default();
        for it in &self.sent {
            if history.operations[it.operation as usize].outcome == Outcome::Fail {
                failed.insert((it.key, it.value), it.operation);
            } else {
                fine.insert((it.key, it.value), ());
            }
        }
        self.polled.iter().find_map(|it| {
            let by = *failed.get(&(it.key, it.value)).filter(|_| fine.get(&(it.key, it.value)).is_none())?;
            let what = format!("{} failed to be sent, and was polled", history.values.show(it.value));
            Some(("no-aborted-read", witness(history, "aborted read (G1a)", &what, &[by, it.operation])))
        })
    }

    /// Compares each poll with the one before, within its operation and from one operation of a process to the next.
    fn polls(&self, history: &History) -> Findings {
        let mut found = Findings::new();
        let mut next = 0;
        // By process and log: the last position, and by which operation.
        let mut places: Table<(u32, usize), (usize, u32)> = Table::default();
        // By process: since when its place may be compared, and whether it may at all.
        let mut since: Table<u32, (u32, bool)> = Table::default();
        for (operation, it) in history.operations.iter().enumerate() {
            let operation = operation as u32;
            // Who failed to move is held to what he was held to.
            match word(it.f, &history.values) {
                _ if it.outcome == Outcome::Fail => {}
                "assign" | "seek" => _ = since.insert(it.process, (operation, true)),
                "subscribe" => _ = since.insert(it.process, (operation, false)),
                _ => {}
            }
            let (from, fixed) = since.get(&it.process).copied().unwrap_or((0, true));
            while let Some(polled) = self.polled.get(next).filter(|polled| polled.operation == operation) {
                next += 1;
                let Some((log, position)) = self.position(polled.key, polled.offset) else { continue };
                let before = places.insert((it.process, log), (position, operation));
                let Some((last, by)) = before.filter(|&(_, by)| by == operation || (fixed && by >= from))
                else {
                    continue;
                };
                let (skip, back) = if by == operation {
                    ("no-internal-skip", "monotonic-internal-polls")
                } else {
                    ("no-external-skip", "monotonic-external-polls")
                };
                let offsets = (self.logs[log].1[last].0, self.logs[log].1[position].0);
                let shown = history.values.show(polled.key);
                if position > last + 1 && found.iter().all(|(name, _)| *name != skip) {
                    let left = self.logs[log].1[last + 1];
                    let what = format!(
                        "offset {} of log {shown} is left out between {} and {}",
                        left.0, offsets.0, offsets.1
                    );
                    found.push((skip, witness(history, "skipped poll", &what, &[left.2, by, operation])));
                }
                if position <= last && found.iter().all(|(name, _)| *name != back) {
                    let what = format!("log {shown} was polled at offset {} after {}", offsets.1, offsets.0);
                    found.push((back, witness(history, "nonmonotonic poll", &what, &[by, operation])));
                }
            }
        }
        found
    }

    fn sends(&self, history: &History) -> Option<(&'static str, Witness)> {
        let mut last: Table<(u32, Value), (i64, u32)> = Table::default();
        self.sent.iter().find_map(|it| {
            let offset = it.offset?;
            let process = history.operations[it.operation as usize].process;
            let (before, by) = last.insert((process, it.key), (offset, it.operation))?;
            (offset <= before).then(|| {
                let what = format!(
                    "a later send got offset {offset} behind {before} of log {}",
                    history.values.show(it.key)
                );
                ("monotonic-sends", witness(history, "nonmonotonic send", &what, &[by, it.operation]))
            })
        })
    }

    /// A circle of operations over "its send stands right before the other's" and "its send was polled by the other".
    fn circle(&self, history: &History) -> Option<(&'static str, Witness)> {
        let times = self.times(history);
        let mut by_value: Table<(Value, Value), u32> = Table::default();
        let mut by_offset: Table<(Value, i64), (Value, u32)> = Table::default();
        for it in
            self.sent.iter().filter(|it| history.operations[it.operation as usize].outcome != Outcome::Fail)
        {
            if let Some(offset) = it.offset {
                by_offset.insert((it.key, offset), (it.value, it.operation));
            }
            // Of a value that was sent twice only the offset says whose it is.
            if times.get(&(it.key, it.value)) == Some(&1) {
                by_value.insert((it.key, it.value), it.operation);
            }
        }
        let writer = |key: Value, offset: i64, value: Value| {
            let here = by_offset.get(&(key, offset)).filter(|(sent, _)| *sent == value);
            here.map(|&(_, operation)| operation).or_else(|| by_value.get(&(key, value)).copied())
        };
        let mut edges: Vec<(u32, u32)> = Vec::new();
        for (key, log) in &self.logs {
            let writers: Vec<u32> = log.iter().filter_map(|it| writer(*key, it.0, it.1)).collect();
            edges.extend(writers.windows(2).map(|pair| (pair[0], pair[1])));
        }
        let polls = self.polled.len();
        edges.extend(
            self.polled.iter().filter_map(|it| Some((writer(it.key, it.offset, it.value)?, it.operation))),
        );
        edges.retain(|(from, to)| from != to);
        let round = circle(history.operations.len(), &edges)?;
        let kind = if polls == 0 { "G0" } else { "G0 or G1c" };
        Some((
            "no-G1c",
            witness(history, kind, "each comes before the next, and the last before the first", &round),
        ))
    }
}

fn offset_of(value: Value, values: &Values) -> Option<i64> {
    match values.datum(value) {
        Datum::Int(offset) => Some(*offset),
        _ => None,
    }
}

/// A circle of a graph, if it has one: what no order of its nodes can place.
fn circle(nodes: usize, edges: &[(u32, u32)]) -> Option<Vec<u32>> {
    let mut sorted = edges.to_vec();
    sorted.sort_unstable();
    let mut waits = vec![0u32; nodes];
    for &(_, to) in &sorted {
        waits[to as usize] += 1;
    }
    let mut ready: Vec<u32> = (0..nodes as u32).filter(|&node| waits[node as usize] == 0).collect();
    while let Some(node) = ready.pop() {
        let from = sorted.partition_point(|edge| edge.0 < node);
        for &(_, to) in sorted[from..].iter().take_while(|edge| edge.0 == node) {
            waits[to as usize] -= 1;
            if waits[to as usize] == 0 {
                ready.push(to);
            }
        }
    }
    let mut before = vec![u32::MAX; nodes];
    for &(from, to) in sorted.iter().filter(|&&(from, to)| waits[from as usize] > 0 && waits[to as usize] > 0)
    {
        before[to as usize] = from;
    }
    let mut at = before.iter().copied().find(|&from| from != u32::MAX)?;
    for _ in 0..nodes {
        at = before[at as usize];
    }
    let mut round = vec![at];
    while before[round[round.len() - 1] as usize] != at {
        round.push(before[round[round.len() - 1] as usize]);
    }
    round.reverse();
    Some(round)
}
