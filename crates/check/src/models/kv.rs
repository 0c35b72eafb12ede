//! A key-value store, one key of it: a value that can be put, appended to, read, deleted and swapped.

use super::{function, is_false, pair, register, unknown};
use crate::fast::{Answer, Case, cell};
use crate::history::{Call, NEVER, Operation, Outcome};
use crate::model::{Flow, Model, Next};
use crate::table::Table;
use crate::value::{Datum, Value, Values};
use std::sync::Arc;

/// One key.
#[derive(Clone, Debug)]
pub struct KeyValue {
    /// What it holds at first.
    pub initial: Held,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// A string: it can be appended to.
    Text(Arc<str>),
    /// Any other value; nil where there is none.
    Other(Value),
}

impl Held {
    /// What a value of the history is here.
    pub fn of(value: Value, values: &Values) -> Self {
        match values.datum(value) {
            Datum::Text(text) => Self::Text(Arc::from(&**text)),
            _ => Self::Other(value),
        }
    }
}

/// What is done to a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It held this.
    Get(Held),
    /// It holds this now.
    Put(Held),
    /// This stands behind what it held.
    Append(Arc<str>),
    /// It held the first and holds the second now.
    Swap(Held, Held),
    /// It did not hold this.
    Differs(Held),
}

impl Model for KeyValue {
    type State = Held;
    type Action = Action;

    fn initial(&self) -> Held {
        self.initial.clone()
    }

    fn action(&self, operation: &Operation, values: &Values) -> Result<Option<Action>, String> {
        if operation.key == Value::NIL {
            let f = function(operation.f, values);
            return Err(format!("this {f} has no key: the model kv is of many keys, register of one"));
        }
        let ok = operation.outcome == Outcome::Ok;
        let done = ok || operation.returned == NEVER;
        Ok(match function(operation.f, values) {
            "get" | "read" | "r" => ok.then(|| Action::Get(Held::of(operation.result, values))),
            "put" | "write" | "w" | "set" => done.then(|| Action::Put(Held::of(operation.argument, values))),
            "delete" | "del" | "remove" => done.then(|| Action::Put(self.initial.clone())),
            "append" => match values.datum(operation.argument) {
                Datum::Text(text) => done.then(|| Action::Append(Arc::from(&**text))),
                _ => return Err(format!("append takes a string, not {}", values.show(operation.argument))),
            },
            "cas" | "compare-and-set" => {
                let (old, new) = pair(operation.argument, values)?;
                let (old, new) = (Held::of(old, values), Held::of(new, values));
                match operation.outcome {
                    Outcome::Ok if is_false(operation.result, values) => Some(Action::Differs(old)),
                    Outcome::Fail => operation.seen.then_some(Action::Differs(old)),
                    Outcome::Ok | Outcome::Info => Some(Action::Swap(old, new)),
                }
            }
            _ => return unknown(operation.f, values, "get, put, append, delete, cas"),
        })
    }

    fn step(&self, state: &Held, action: &Action, next: &mut Next<'_, '_, Held>) {
        match action {
            Action::Get(value) if value == state => _ = next.add(state.clone()),
            Action::Differs(value) if value != state => _ = next.add(state.clone()),
            Action::Get(_) | Action::Differs(_) => {}
            Action::Append(more) => match state {
                Held::Text(text) => _ = next.add(Held::Text(Arc::from(format!("{text}{more}")))),
                Held::Other(Value::NIL) => _ = next.add(Held::Text(more.clone())),
                Held::Other(_) => {}
            },
            Action::Swap(old, _) if old != state => {}
            Action::Put(new) | Action::Swap(_, new) => _ = next.add(new.clone()),
        }
    }

    fn observes(&self, action: &Action) -> bool {
        matches!(action, Action::Get(_) | Action::Differs(_))
    }

    /// Values grow by appending: which writes a read needs is not said by one value, so all writes stay.
    fn flow(&self, action: &Action) -> Flow {
        if self.observes(action) { Flow::Free } else { Flow::Fixed }
    }

    /// Without appends a key is a register.
    fn fast(&self, calls: &[Call<Action>], case: &mut Case<'_, '_>) -> Answer {
        let mut known: Table<&Held, Value> = Table::default();
        let mut met = Vec::new();
        let mut value = |held| {
            let next = Value::local(met.len() as u32);
            let value = *known.or_insert_with(held, || next);
            if value == next {
                met.push(held);
            }
            value
        };
        let initial = value(&self.initial);
        let mut cells = Vec::with_capacity(calls.len());
        for call in calls {
            let action = match &call.action {
                Action::Get(held) => register::Action::Read(value(held)),
                Action::Put(held) => register::Action::Write(value(held)),
                Action::Swap(old, new) => register::Action::Swap(value(old), value(new)),
                Action::Differs(held) => register::Action::Differs(value(held)),
                Action::Append(_) => return Answer::Passed("a value grows by append".into()),
            };
            let Call { process, invoked, returned, source, .. } = *call;
            cells.push(Call { process, invoked, returned, action, source });
        }
        let values = &case.history.values;
        let shown = |value: Value| match met[value.index()] {
            Held::Text(text) => format!("{text:?}"),
            Held::Other(value) => values.show(*value),
        };
        cell::decide(initial, &cells, &shown, case)
    }

    fn show(&self, state: &Held, values: &Values) -> String {
        match state {
            Held::Text(text) => format!("the key holds {text:?}"),
            Held::Other(value) => format!("the key holds {}", values.show(*value)),
        }
    }

    fn weight(&self, state: &Held) -> usize {
        match state {
            Held::Text(text) => text.len() + 16,
            Held::Other(_) => 0,
        }
    }
}
