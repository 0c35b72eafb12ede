//! A counter. Its sums are true ones: a system whose 64 bits wrap around shows a number that nobody reached.

use super::{function, unknown, whole};
use crate::fast::{Answer, Case, counter};
use crate::history::{Call, NEVER, Operation, Outcome};
use crate::model::{Flow, Model, Next};
use crate::value::{Value, Values};

/// A number that is added to.
#[derive(Clone, Debug)]
pub struct Counter {
    /// What it is at first.
    pub initial: i64,
}

/// What is done to a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// So much was added.
    Add(i64),
    /// It was this.
    Read(i64),
}

impl Model for Counter {
    type State = i128;
    type Action = Action;

    fn initial(&self) -> i128 {
        self.initial.into()
    }

    fn action(&self, operation: &Operation, values: &Values) -> Result<Option<Action>, String> {
        let amount = |fallback: Option<i64>| match (operation.argument, fallback) {
            (Value::NIL, Some(amount)) => Ok(amount),
            (argument, _) => whole(argument, values, "what is added"),
        };
        let amount = match function(operation.f, values) {
            "read" | "r" | "get" => {
                let read = operation.outcome == Outcome::Ok;
                return read
                    .then(|| whole(operation.result, values, "a counter").map(Action::Read))
                    .transpose();
            }
            "add" => amount(None)?,
            "increment" | "inc" => amount(Some(1))?,
            "decrement" | "dec" | "sub" => amount(Some(1))?.checked_neg().ok_or("the number is too small")?,
            _ => return unknown(operation.f, values, "add, increment, decrement, read"),
        };
        Ok((operation.outcome == Outcome::Ok || operation.returned == NEVER).then_some(Action::Add(amount)))
    }

    fn step(&self, state: &i128, action: &Action, next: &mut Next<'_, '_, i128>) {
        match *action {
            Action::Add(amount) => _ = next.add(state.saturating_add(amount.into())),
            Action::Read(value) if i128::from(value) == *state => _ = next.add(*state),
            Action::Read(_) => {}
        }
    }

    fn observes(&self, action: &Action) -> bool {
        matches!(action, Action::Read(_) | Action::Add(0))
    }

    fn flow(&self, action: &Action) -> Flow {
        if self.observes(action) { Flow::Free } else { Flow::Fixed }
    }

    fn fast(&self, calls: &[Call<Action>], case: &mut Case<'_, '_>) -> Answer {
        counter::decide(self.initial, calls, case)
    }

    fn show(&self, state: &i128, _: &Values) -> String {
        format!("the counter is {state}")
    }
}
