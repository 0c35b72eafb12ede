//! Operations: what a process asked, what it heard, and between which two moments.

use crate::value::{Datum, Value, Values};

/// A moment of a history: the place of an event among all events, from 0.
pub type Moment = u32;

/// The response of an operation that never got one: it may take effect at any later time, or never.
pub const NEVER: Moment = u32::MAX;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, with the result that stands there.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// Nobody knows: it happened once at some time after its invocation, or never.
    Info,
}

/// One operation of a history, as it was read: `f` names what was asked, the model says what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The process, or session, that asked; after an `Info` it acts under a new number.
    pub process: u32,
    /// What was asked: a keyword.
    pub f: Value,
    /// On what; nil where the history knows one object only.
    pub key: Value,
    /// With what.
    pub argument: Value,
    /// What came back; nil unless `Ok`.
    pub result: Value,
    /// How it ended.
    pub outcome: Outcome,
    /// When it was invoked.
    pub invoked: Moment,
    /// When it returned; [`NEVER`] for `Info`.
    pub returned: Moment,
    /// Its end tells something of the object: it is `Ok`, or failed because of what it saw there (a compare-and-set that
    /// met another value), and not by an error.
    pub seen: bool,
    /// The order that the system itself gave (revision, offset), where it gave one.
    pub version: Option<u64>,
}

/// What was done to the system while it was watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shade {
    /// What was done.
    pub f: Value,
    /// To whom, or how.
    pub value: Value,
    /// Before which moment.
    pub at: Moment,
    /// When, in the history's own unit, where it says so.
    pub time: Option<i64>,
}

/// A history: its operations in the order of their invocations.
#[derive(Debug, Default)]
pub struct History {
    /// All values that occur.
    pub values: Values,
    /// The operations.
    pub operations: Vec<Operation>,
    /// The name of each process.
    pub processes: Vec<Value>,
    /// The line that invoked each operation, from 1.
    pub lines: Vec<u32>,
    /// Beginning and end of each operation in the history's own unit (`i64::MAX`: none); empty where it tells no times.
    pub times: Vec<(i64, i64)>,
    /// What the nemesis did.
    pub shades: Vec<Shade>,
    /// How many moments there are.
    pub moments: Moment,
    /// Several processes began something at the very time at which they ended something else. Moments say then that all of these overlap,
    /// those of one process too, which they did not; see [`separate`](Self::separate).
    pub coarse: bool,
}

/// An operation as an algorithm for one kind of object takes it. Operations that failed are not among them, except where the
/// failure is an observation (a compare-and-set that saw another value).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<A> {
    /// The process, or session.
    pub process: u32,
    /// When it was invoked.
    pub invoked: Moment,
    /// When it returned; [`NEVER`] while it is pending.
    pub returned: Moment,
    /// What it did.
    pub action: A,
    /// Its place in the history, for a witness.
    pub source: u32,
}

impl<A> Call<A> {
    /// True while nobody knows whether it happened.
    pub fn pending(&self) -> bool {
        self.returned == NEVER
    }

    /// True where this one returned before the other was invoked.
    pub fn precedes<B>(&self, other: &Call<B>) -> bool {
        self.returned < other.invoked
    }
}

impl History {
    /// Takes equal times the other way, for a history that is coarse: what ended at a time was over before anything began then. That is more
    /// than is known, so what holds then holds.
    pub fn separate(&mut self) {
        let mut spans: Vec<(i64, u8, u32, bool)> = Vec::new();
        for (place, (operation, &(start, end))) in (0..).zip(self.operations.iter().zip(&self.times)) {
            let at_once = operation.returned != NEVER && start == end;
            spans.push((start, if at_once { 1 } else { 2 }, place, false));
            if operation.returned != NEVER {
                spans.push((end, u8::from(at_once), place, true));
            }
        }
        spans.sort_unstable();
        for (moment, (_, _, place, end)) in (0..).zip(spans) {
            let operation = &mut self.operations[place as usize];
            *(if end { &mut operation.returned } else { &mut operation.invoked }) = moment;
        }
    }

    /// An operation in words: who, what, and what came of it.
    pub fn show(&self, place: u32) -> String {
        let Some(operation) = self.operations.get(place as usize) else { return String::new() };
        let value = |value| self.values.show(value);
        let mut text =
            format!("process {}: {}", value(self.processes[operation.process as usize]), value(operation.f));
        for argument in [operation.key, operation.argument] {
            if argument != Value::NIL {
                text = format!("{text} {}", value(argument));
            }
        }
        match operation.outcome {
            // What only repeats the argument says nothing, nor does nothing where something was given.
            Outcome::Ok if operation.argument == Value::NIL => {
                text = format!("{text} -> {}", value(operation.result));
            }
            Outcome::Ok if operation.result == operation.argument || operation.result == Value::NIL => {}
            Outcome::Ok => text = format!("{text} -> {}", value(operation.result)),
            Outcome::Fail => text.push_str(" failed"),
            Outcome::Info => text.push_str(" of unknown outcome"),
        }
        match self.lines.get(place as usize) {
            Some(&line) if line > 0 => format!("{text} (line {line})"),
            _ => text,
        }
    }

    /// From here on operations of a function are told under another name: what they were translated from.
    pub fn rename(&mut self, from: &str, to: &str) {
        let Some(from) = self.values.find(&Datum::Keyword(from.into())) else { return };
        let to = self.values.intern(Datum::Keyword(to.into()));
        for operation in self.operations.iter_mut().filter(|operation| operation.f == from) {
            operation.f = to;
        }
    }

    /// True where every value is a pair of a key and a value of that key, as Jepsen's independent workloads write them: even
    /// operations without an argument are invoked with one.
    pub fn has_tuples(&self) -> bool {
        let pair = |value| match self.values.datum(value) {
            Datum::List(members) if members.len() == 2 => Some(members[1]),
            _ => None,
        };
        let bare = |operation: &Operation| match pair(operation.argument) {
            None => true,
            // A compare-and-set's own pair looks the same; behind a key it is a pair inside a pair.
            Some(second) => {
                matches!(self.values.datum(operation.f), Datum::Keyword(f) if **f == *"cas")
                    && pair(second).is_none()
            }
        };
        !self.operations.is_empty()
            && self.operations.iter().all(|operation| operation.key == Value::NIL)
            && !self.operations.iter().any(bare)
    }

    /// Takes the keys out of such pairs.
    pub fn split_tuples(&mut self) {
        let split = |value| match self.values.datum(value) {
            Datum::List(members) if members.len() == 2 => Some((members[0], members[1])),
            _ => None,
        };
        for operation in &mut self.operations {
            if let Some((key, argument)) = split(operation.argument) {
                (operation.key, operation.argument) = (key, argument);
            }
            if let Some((_, result)) = split(operation.result) {
                operation.result = result;
            }
        }
    }
}
