//! A register: reads, writes, and compare-and-sets.

use super::{function, is_false, pair, unknown};
use crate::budget::Spent;
use crate::fast::{Answer, Case, Staleness, cell, stale};
use crate::history::{Call, NEVER, Operation, Outcome};
use crate::model::{Flow, Model, Next};
use crate::value::{Value, Values};

/// One cell that holds one value.
#[derive(Clone, Debug)]
pub struct Register {
    /// What it holds at first.
    pub initial: Value,
    /// It knows compare-and-set.
    pub cas: bool,
}

/// What is done to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It held this.
    Read(Value),
    /// It holds this now.
    Write(Value),
    /// It held the first and holds the second now. A pending one that meets another value does nothing, which is the same
    /// as never.
    Swap(Value, Value),
    /// It did not hold this.
    Differs(Value),
}

impl Model for Register {
    type State = Value;
    type Action = Action;

    fn initial(&self) -> Value {
        self.initial
    }

    fn action(&self, operation: &Operation, values: &Values) -> Result<Option<Action>, String> {
        let ok = operation.outcome == Outcome::Ok;
        let pending = operation.returned == NEVER;
        Ok(match function(operation.f, values) {
            "read" | "r" | "get" | "stale-read" => ok.then_some(Action::Read(operation.result)),
            "write" | "w" | "put" | "set" => (ok || pending).then_some(Action::Write(operation.argument)),
            "cas" | "compare-and-set" if self.cas => {
                let (old, new) = pair(operation.argument, values)?;
                match operation.outcome {
                    Outcome::Ok if is_false(operation.result, values) => Some(Action::Differs(old)),
                    Outcome::Fail => operation.seen.then_some(Action::Differs(old)),
                    Outcome::Ok | Outcome::Info => Some(Action::Swap(old, new)),
                }
            }
            _ if self.cas => return unknown(operation.f, values, "read, write, cas"),
            _ => return unknown(operation.f, values, "read, write (the model cas-register knows cas)"),
        })
    }

    fn step(&self, state: &Value, action: &Action, next: &mut Next<'_, '_, Value>) {
        match *action {
            Action::Read(value) if value != *state => {}
            Action::Differs(old) if old == *state => {}
            Action::Read(_) | Action::Differs(_) => _ = next.add(*state),
            Action::Write(value) => _ = next.add(value),
            Action::Swap(old, new) if old == *state => _ = next.add(new),
            Action::Swap(..) => {}
        }
    }

    fn observes(&self, action: &Action) -> bool {
        matches!(action, Action::Read(_) | Action::Differs(_))
    }

    fn fills(&self, action: &Action) -> bool {
        matches!(action, Action::Write(_))
    }

    fn flow(&self, action: &Action) -> Flow {
        let (needs, gives, differs) = match *action {
            Action::Read(value) => (Some(value), None, None),
            Action::Write(value) => (None, Some(value), None),
            Action::Swap(old, new) => (Some(old), Some(new), None),
            Action::Differs(old) => (None, None, Some(old)),
        };
        Flow::Cell { needs, gives, differs }
    }

    fn fast(&self, calls: &[Call<Action>], case: &mut Case<'_, '_>) -> Answer {
        let values = &case.history.values;
        cell::decide(self.initial, calls, &|value| values.show(value), case)
    }

    fn staleness(&self, calls: &[Call<Action>], case: &mut Case<'_, '_>) -> Result<Option<Staleness>, Spent> {
        stale::measure(self.initial, calls, case.history, case.budget)
    }

    fn show(&self, state: &Value, values: &Values) -> String {
        format!("the register holds {}", values.show(*state))
    }
}
