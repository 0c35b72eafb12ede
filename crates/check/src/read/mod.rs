//! Reads histories: bytes in, operations out, errors with line and column.
//!
//! Bytes are cut into events ([`events`]), invocations are paired with completions here. What a process may do is checked,
//! since a history that breaks it says nothing about the system: one operation at a time, no completion without its
//! invocation, and nothing after an operation of unknown outcome, whose process ended with it.
//!
//! The order of operations is the order of events. Where every operation comes with its own beginning and end instead, their
//! times are the order, and equal times are concurrent.

pub mod events;
pub mod token;

use crate::history::{History, Moment, NEVER, Operation, Outcome, Shade};
use crate::table::Table;
use crate::value::{Datum, Value, Values};
use events::{Cutter, Event, Kind, Process, Raw, Sink};
use std::collections::BTreeMap;
use std::fmt;
use token::{Mistake, Shape, Token, Tokens};

/// Why an input is no history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadInput {
    /// The line, from 1; 0 where no line is to blame.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub what: String,
    /// What to do; may be empty.
    pub hint: String,
    /// There is nothing in it that looks like a history at all.
    pub nothing: bool,
}

impl BadInput {
    /// One that no line is to blame for.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into(), ..Self::default() }
    }
}

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        f.write_str(&self.what)
    }
}

/// Reads a history of operations on single objects, piece by piece.
#[derive(Debug, Default)]
pub struct Reader {
    cutter: Cutter,
    pairing: Pairing,
}

impl Reader {
    /// Takes the next bytes, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), BadInput> {
        self.cutter.feed(bytes, &mut self.pairing)
    }

    /// From here on values are pairs of a key and a value, and are taken apart as they come.
    pub fn split_tuples(&mut self) {
        self.pairing.tuples = true;
    }

    /// There are no more: what is still open has an unknown outcome.
    pub fn finish(mut self) -> Result<History, BadInput> {
        self.cutter.finish(&mut self.pairing)?;
        self.pairing.finish()
    }

    /// Reads one value, as it stands on a command line, into the values of this history.
    pub fn value(&mut self, text: &str) -> Result<Value, BadInput> {
        value(text, &mut self.pairing.history.values)
    }

    /// What was read so far, although more may come.
    pub fn cut(self) -> Result<History, BadInput> {
        self.pairing.finish()
    }

    /// What was read so far; operations that are open have an unknown outcome until they return.
    pub fn so_far(&self) -> &History {
        &self.pairing.history
    }
}

/// Reads a whole text.
pub fn read(text: &[u8]) -> Result<History, BadInput> {
    let mut reader = Reader::default();
    reader.feed(text)?;
    reader.finish()
}

/// Reads one value, as it stands on a command line.
pub fn value(text: &str, values: &mut Values) -> Result<Value, BadInput> {
    if text.is_empty() {
        return Ok(values.intern(Datum::Text("".into())));
    }
    let mut tokens = Tokens::new(text.as_bytes(), token::Notation::Edn, true);
    let bad = |mistake: Mistake| BadInput {
        column: mistake.at as u32 + 1,
        ..BadInput::new(mistake.what, mistake.hint)
    };
    let value = take(&mut tokens, values, 0).map_err(bad)?;
    match tokens.pull().map_err(bad)? {
        Token::End => Ok(value),
        _ => Err(BadInput::new(format!("{text:?} is more than one value"), "")),
    }
}

/// Interns the next value.
pub fn take(tokens: &mut Tokens<'_>, values: &mut Values, depth: u32) -> Result<Value, Mistake> {
    let begin = tokens.at();
    match tokens.pull()? {
        Token::End => Err(Mistake::new(begin, "a value is missing", "")),
        token => from_token(token, tokens, values, depth),
    }
}

pub(crate) fn from_token(
    token: Token<'_>,
    tokens: &mut Tokens<'_>,
    values: &mut Values,
    depth: u32,
) -> Result<Value, Mistake> {
    Ok(match token {
        Token::Nil => Value::NIL,
        Token::Int(number) => values.int(number),
        Token::Bool(truth) => values.intern(Datum::Bool(truth)),
        Token::Number(number) => values.intern(crate::value::number(number, tokens.is_json())),
        Token::Text(text) => values.intern(Datum::Text(text.into())),
        Token::Keyword(word) => values.intern(Datum::Keyword(word.into())),
        Token::Open(shape) => return group(shape, tokens, values, depth),
        Token::Close(_) => {
            return Err(Mistake::new(tokens.at() - 1, "a bracket closes where a value should stand", ""));
        }
        Token::End => return Err(Mistake::new(tokens.at(), "a value is missing", "")),
    })
}

fn group(shape: Shape, tokens: &mut Tokens<'_>, values: &mut Values, depth: u32) -> Result<Value, Mistake> {
    let begin = tokens.at() - 1;
    let depth = tokens.deeper(depth)?;
    let mut members = Vec::new();
    loop {
        match tokens.pull()? {
            Token::End => return Err(tokens.unclosed(begin)),
            Token::Close(byte) if shape.closes(byte) => break,
            Token::Close(byte) => return Err(tokens.misclosed(begin, byte)),
            token => members.push(from_token(token, tokens, values, depth)?),
        }
    }
    Ok(match shape {
        Shape::List => values.intern(Datum::List(members.into())),
        Shape::Set => {
            members.sort_unstable();
            members.dedup();
            values.intern(Datum::Set(members.into()))
        }
        Shape::Map => {
            if members.len() % 2 != 0 {
                return Err(Mistake::new(tokens.at() - 1, "a map's last key has no value", ""));
            }
            let mut pairs: Vec<_> = members.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
            pairs.sort_by_key(|pair| pair.0);
            if let Some(same) = pairs.windows(2).find(|same| same[0].0 == same[1].0) {
                let what = format!("the map has the key {} twice", values.show(same[0].0));
                return Err(Mistake::new(begin, what, "which one is it?"));
            }
            values.intern(Datum::Map(pairs.into()))
        }
    })
}

/// What was written, where an operation that was invoked with one value ended with another: its own, where the invocation left
/// it open, and nothing where both contradict each other. An end that is no value of the kind says only that it is one.
fn told(values: &Values, asked: Value, done: Value) -> Option<Value> {
    match (values.datum(asked), values.datum(done)) {
        _ if asked == done || done == Value::NIL => Some(asked),
        (Datum::Nil, _) => Some(done),
        (one, Datum::Bool(_)) if !matches!(one, Datum::Bool(_)) => Some(asked),
        // A key and a value, of which the invocation may have named the key alone, and the end the key and whether it was done.
        (Datum::List(one), Datum::List(two)) if one.len() == 2 && two.len() == 2 && one[0] == two[0] => {
            told(values, one[1], two[1]).map(|value| if value == one[1] { asked } else { done })
        }
        _ => None,
    }
}

/// What a process is doing.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Nothing,
    /// The operation in this place of the history.
    Open(u32),
    /// It ended with an unknown outcome.
    Gone,
}

/// A keyword among the names of processes: `:b` is not `"b"`.
fn keyword(name: &str) -> Box<str> {
    format!(":{name}").into()
}

/// Pairs invocations with completions.
#[derive(Debug, Default)]
struct Pairing {
    history: History,
    /// By process.
    doing: Vec<Doing>,
    numbers: Table<i64, u32>,
    names: Table<Box<str>, u32>,
    /// The functions met, by their names.
    functions: Vec<(Box<str>, Value)>,
    events: Moment,
    last_index: Option<i64>,
    /// Beginnings and ends of whole operations: time, whether it is an end, operation.
    spans: Vec<(i64, bool, u32)>,
    timed: bool,
    /// Values are pairs of a key and a value.
    tuples: bool,
}

impl Sink for Pairing {
    fn event(&mut self, event: Event<'_>) -> Result<(), Mistake> {
        self.in_order(&event)?;
        if event.process == Process::Nemesis || (event.may_disturb() && !self.is_open(&event.process)) {
            return self.shade(&event);
        }
        let process = self.process(&event.process);
        if event.span.0.is_some() {
            return self.whole(process, &event);
        }
        if !self.spans.is_empty() {
            return Err(Mistake::new(
                event.at,
                "an event among whole operations",
                "give all of them a start, or none",
            ));
        }
        if self.events >= NEVER - 2 {
            return Err(Mistake::new(event.at, "more than 4 billion events", "split the history by key"));
        }
        match event.kind {
            Some(Kind::Invoke) => self.invoke(process, &event)?,
            Some(Kind::Ok) => self.complete(process, Outcome::Ok, &event)?,
            Some(Kind::Fail) => self.complete(process, Outcome::Fail, &event)?,
            Some(Kind::Info) => self.complete(process, Outcome::Info, &event)?,
            None => {
                return Err(Mistake::new(
                    event.at,
                    "the operation has no type",
                    "each has process, type, f and value",
                ));
            }
        }
        self.events += 1;
        self.history.moments = self.events;
        Ok(())
    }
}

impl Pairing {
    fn in_order(&mut self, event: &Event<'_>) -> Result<(), Mistake> {
        if let (Some(last), Some(index)) = (self.last_index, event.index)
            && index <= last
        {
            let what = format!("index {index} stands behind index {last}");
            return Err(Mistake::new(event.at, what, "sort the history by index"));
        }
        self.last_index = event.index.or(self.last_index);
        Ok(())
    }

    fn shade(&mut self, event: &Event<'_>) -> Result<(), Mistake> {
        let f = self.function(&event.f);
        let value = self.value(event.value)?;
        self.history.shades.push(Shade { f, value, at: self.events, time: event.time });
        Ok(())
    }

    /// The dense number of a process.
    fn process(&mut self, process: &Process<'_>) -> u32 {
        let next = self.doing.len() as u32;
        let (found, name) = match process {
            Process::Number(number) => {
                let found = *self.numbers.or_insert_with(*number, || next);
                (found, (found == next).then(|| self.history.values.int(*number)))
            }
            Process::Name(name) => {
                let found = *self.names.or_insert_with((&**name).into(), || next);
                (found, (found == next).then(|| self.history.values.intern(Datum::Text((&**name).into()))))
            }
            Process::Keyword(name) => {
                let found = *self.names.or_insert_with(keyword(name), || next);
                (found, (found == next).then(|| self.history.values.intern(Datum::Keyword((*name).into()))))
            }
            Process::Nemesis => (next, None),
        };
        if let Some(name) = name {
            self.doing.push(Doing::Nothing);
            self.history.processes.push(name);
        }
        found
    }

    /// True where a keyword asked for something that is not told yet.
    fn is_open(&self, process: &Process<'_>) -> bool {
        let Process::Keyword(name) = process else { return false };
        let known = self.names.get(&keyword(name));
        known.is_some_and(|&process| matches!(self.doing[process as usize], Doing::Open(_)))
    }

    fn function(&mut self, name: &str) -> Value {
        if let Some((_, value)) = self.functions.iter().find(|(known, _)| **known == *name) {
            return *value;
        }
        let value = self.history.values.intern(Datum::Keyword(name.into()));
        if self.functions.len() < 32 {
            self.functions.push((name.into(), value));
        }
        value
    }

    fn value(&mut self, raw: Option<Raw<'_>>) -> Result<Value, Mistake> {
        let Some(raw) = raw else { return Ok(Value::NIL) };
        if raw.plain() == Some(None) {
            return Ok(Value::NIL);
        }
        if self.history.values.len() >= u32::MAX as usize - 1 {
            return Err(Mistake::new(raw.base(), "more than 4 billion different values", ""));
        }
        if let Some(Some(number)) = raw.plain() {
            return Ok(self.history.values.int(number));
        }
        take(&mut raw.tokens(), &mut self.history.values, 0).map_err(|mut mistake| {
            mistake.at += raw.base();
            mistake
        })
    }

    /// What a value is where values are pairs.
    fn pair(&self, value: Value) -> Option<(Value, Value)> {
        match self.history.values.datum(value) {
            Datum::List(members) if self.tuples && members.len() == 2 => Some((members[0], members[1])),
            _ => None,
        }
    }

    fn invoke(&mut self, process: u32, event: &Event<'_>) -> Result<(), Mistake> {
        let name = || self.history.values.show(self.history.processes[process as usize]);
        match self.doing[process as usize] {
            Doing::Nothing => {}
            Doing::Open(other) => {
                let line = self.history.lines[other as usize];
                let what = format!("process {} invokes while its operation of line {line} is open", name());
                return Err(Mistake::new(
                    event.at,
                    what,
                    "a process does one thing at a time; number them apart",
                ));
            }
            Doing::Gone => {
                let what = format!("process {} acts after an operation of unknown outcome", name());
                return Err(Mistake::new(event.at, what, "after :info go on under a new process number"));
            }
        }
        let place = self.history.operations.len() as u32;
        let given = self.value(event.value)?;
        let (key, argument) = match self.pair(given) {
            Some((key, argument)) => (key, argument),
            None => (self.value(event.key)?, given),
        };
        let operation = Operation {
            process,
            f: self.function(&event.f),
            key,
            argument,
            result: Value::NIL,
            outcome: Outcome::Info,
            invoked: self.events,
            returned: NEVER,
            seen: false,
            version: None,
        };
        self.doing[process as usize] = Doing::Open(place);
        self.history.operations.push(operation);
        self.history.lines.push(event.line);
        self.time(place, event.time.map(|time| (time, i64::MAX)));
        Ok(())
    }

    fn time(&mut self, place: u32, times: Option<(i64, i64)>) {
        if let Some(times) = times {
            self.timed = true;
            self.history.times.resize(place as usize, (0, i64::MAX));
            self.history.times.push(times);
        }
    }

    fn complete(&mut self, process: u32, outcome: Outcome, event: &Event<'_>) -> Result<(), Mistake> {
        let f = self.function(&event.f);
        let result = self.value(event.value)?;
        let result = self.pair(result).map_or(result, |(_, result)| result);
        let Doing::Open(place) = self.doing[process as usize] else {
            let name = self.history.values.show(self.history.processes[process as usize]);
            let what = format!("process {name} completes an operation that it did not invoke");
            return Err(Mistake::new(event.at, what, "is the beginning of the history missing?"));
        };
        let operation = &mut self.history.operations[place as usize];
        if operation.f != f {
            let (was, is) = (self.history.values.show(operation.f), self.history.values.show(f));
            let line = self.history.lines[place as usize];
            let what = format!("this completes {is}, but line {line} of the same process invoked {was}");
            return Err(Mistake::new(event.at, what, "is a line of the history missing?"));
        }
        if outcome == Outcome::Ok && matches!(&*event.f, "write" | "w" | "cas" | "enqueue") {
            let Some(argument) = told(&self.history.values, operation.argument, result) else {
                let shown = |value| self.history.values.show(value);
                let (asked, done) = (shown(operation.argument), shown(result));
                let what = format!("this {} ended with {done}, and was invoked with {asked}", event.f);
                let hint = "the value of an ok is that of its invocation; nil there is filled in";
                return Err(Mistake::new(event.at, what, hint));
            };
            operation.argument = argument;
        }
        operation.outcome = outcome;
        operation.version = event.version.map(|version| version as u64);
        operation.seen = match outcome {
            Outcome::Ok => true,
            Outcome::Fail => !event.error && result == operation.argument,
            Outcome::Info => false,
        };
        if outcome == Outcome::Ok {
            operation.result = result;
        }
        if outcome != Outcome::Info {
            operation.returned = self.events;
        }
        self.doing[process as usize] = if outcome == Outcome::Info { Doing::Gone } else { Doing::Nothing };
        if let (Some(time), Some(times)) = (event.time, self.history.times.get_mut(place as usize)) {
            times.1 = time;
        }
        Ok(())
    }

    /// An operation that brings its own beginning and end.
    fn whole(&mut self, process: u32, event: &Event<'_>) -> Result<(), Mistake> {
        if self.events > 0 {
            return Err(Mistake::new(
                event.at,
                "a whole operation among events",
                "give all of them a start, or none",
            ));
        }
        let outcome = match event.kind {
            Some(Kind::Fail) => Outcome::Fail,
            Some(Kind::Info) => Outcome::Info,
            None if event.span.1.is_none() => Outcome::Info,
            Some(Kind::Ok) | None => Outcome::Ok,
            Some(Kind::Invoke) => {
                return Err(Mistake::new(
                    event.at,
                    "a whole operation has an outcome",
                    "write ok, fail or info",
                ));
            }
        };
        let (Some(start), end) = event.span else { return Ok(()) };
        let place = self.history.operations.len() as u32;
        self.spans.push((start, false, place));
        match end {
            Some(end) if end < start => {
                return Err(Mistake::new(
                    event.at,
                    "the operation ends before it starts",
                    "is the unit the same?",
                ));
            }
            Some(end) if outcome != Outcome::Info => self.spans.push((end, true, place)),
            None if outcome != Outcome::Info => {
                return Err(Mistake::new(
                    event.at,
                    "the operation has no end",
                    "without an end its outcome is info",
                ));
            }
            _ => {}
        }
        let result = if outcome == Outcome::Ok { self.value(event.result)? } else { Value::NIL };
        let read = outcome == Outcome::Ok && matches!(&*event.f, "read" | "r");
        if read && event.result.is_none() && self.value(event.value)? != Value::NIL {
            return Err(Mistake::new(
                event.at,
                "the read has a value and no result",
                "what a whole operation read stands in \"result\"",
            ));
        }
        let operation = Operation {
            process,
            f: self.function(&event.f),
            key: self.value(event.key)?,
            argument: self.value(event.value)?,
            result,
            outcome,
            invoked: 0,
            returned: NEVER,
            seen: outcome == Outcome::Ok || (outcome == Outcome::Fail && !event.error),
            version: event.version.map(|version| version as u64),
        };
        self.history.operations.push(operation);
        self.history.lines.push(event.line);
        self.time(place, Some((start, end.unwrap_or(i64::MAX))));
        Ok(())
    }

    fn finish(mut self) -> Result<History, BadInput> {
        if !self.spans.is_empty() {
            self.by_time()?;
        }
        if self.timed {
            self.history.times.resize(self.history.operations.len(), (0, i64::MAX));
        }
        Ok(self.history)
    }

    /// Puts whole operations into the order of their times. Intervals are closed: of equal times all beginnings come first. Not so those of one
    /// process, which ends one thing before it begins the next: it does so between the beginnings and the ends of the others. Where
    /// several do at one time no order says all of that, and the history is [`coarse`](History::coarse).
    fn by_time(&mut self) -> Result<(), BadInput> {
        self.spans.sort_unstable();
        let operations = &self.history.operations;
        let process = |span: &(i64, bool, u32)| operations[span.2 as usize].process;
        for tie in self.spans.chunk_by_mut(|one, other| one.0 == other.0) {
            let (begins, ends) = tie.split_at(tie.partition_point(|&(_, end, _)| !end));
            if begins.is_empty() || ends.is_empty() {
                continue;
            }
            // By process: what it begins first, and last.
            let mut begun: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
            for begin in begins {
                begun.entry(process(begin)).or_insert((begin.2, begin.2)).1 = begin.2;
            }
            let other = |end: &&(i64, bool, u32)| {
                begun.get(&process(end)).is_some_and(|&(first, last)| first != end.2 || last != end.2)
            };
            let mut touching = ends.iter().filter(other).map(process);
            let Some(one) = touching.next() else { continue };
            if touching.any(|other| other != one) {
                self.history.coarse = true;
                continue;
            }
            let times = &self.history.times;
            tie.sort_by_key(|span @ &(_, end, place)| {
                let (start, until) = times[place as usize];
                if process(span) == one { (1, start, until, end) } else { (2 * i32::from(end), 0, 0, end) }
            });
        }
        let mut open: Vec<Option<u32>> = vec![None; self.doing.len()];
        for (moment, &(time, end, place)) in self.spans.iter().enumerate() {
            let operation = &mut self.history.operations[place as usize];
            let slot = &mut open[operation.process as usize];
            let moment = Moment::try_from(moment).unwrap_or(NEVER - 1);
            if end {
                operation.returned = moment;
                *slot = slot.filter(|&other| other != place);
                continue;
            }
            operation.invoked = moment;
            if let Some(other) = slot.replace(place)
                && self.history.times[other as usize].1 != time
            {
                let lines = (self.history.lines[place as usize], self.history.lines[other as usize]);
                let what = format!("it overlaps the operation of line {} of the same process", lines.1);
                let hint = "a process does one thing at a time, and nothing after info; number them apart";
                return Err(BadInput { line: lines.0, column: 1, ..BadInput::new(what, hint) });
            }
        }
        self.history.moments = self.spans.len() as Moment;
        // Places follow invocations, as they do where events are read.
        let mut order: Vec<u32> = (0..self.history.operations.len() as u32).collect();
        order.sort_by_key(|&place| self.history.operations[place as usize].invoked);
        let pick = |place: &u32| *place as usize;
        self.history.operations =
            order.iter().map(|place| self.history.operations[pick(place)].clone()).collect();
        self.history.lines = order.iter().map(|place| self.history.lines[pick(place)]).collect();
        self.history.times = order.iter().map(|place| self.history.times[pick(place)]).collect();
        Ok(())
    }
}
