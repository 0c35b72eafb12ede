//! What gives back in an order: queues, priority queues, stacks.

use super::bag::{BagAction, bag_flow, list};
use super::{function, unknown};
use crate::fast::{Answer, Case, fifo, smallest, stack};
use crate::history::{Call, Operation, Outcome};
use crate::model::{Flow, Model, Next};
use crate::value::{Datum, Value, Values};
use std::sync::Arc;

/// Which of its values it gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The oldest.
    Fifo,
    /// The newest.
    Lifo,
    /// The smallest.
    Smallest,
}

/// A container that gives back in an order.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Which order.
    pub order: Order,
}

/// What is done to it. A priority comes with its value, so that a step needs no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    what: BagAction,
    priority: i64,
}

/// What it holds, what is given back next at the end.
type Held = Arc<[(i64, Value)]>;

impl Queue {
    fn priority(&self, value: Value, values: &Values) -> Result<i64, String> {
        match (self.order, values.datum(value)) {
            (Order::Smallest, Datum::Int(number)) => Ok(*number),
            (Order::Smallest, _) => Err(format!("a priority is a whole number, not {}", values.show(value))),
            _ => Ok(0),
        }
    }
}

impl Model for Queue {
    type State = Held;
    type Action = Action;

    fn initial(&self) -> Held {
        Arc::new([])
    }

    fn action(&self, operation: &Operation, values: &Values) -> Result<Option<Action>, String> {
        let what = match function(operation.f, values) {
            "enqueue" | "push" | "insert" | "add" | "put" => {
                (operation.outcome != Outcome::Fail).then_some(BagAction::Add(operation.argument))
            }
            "dequeue" | "pop" | "delete-min" | "take" | "poll" => match operation.outcome {
                Outcome::Ok if operation.result == Value::NIL => Some(BagAction::Empty),
                Outcome::Ok => Some(BagAction::Take(operation.result)),
                Outcome::Info => Some(BagAction::TakeAny),
                Outcome::Fail => None,
            },
            _ => return unknown(operation.f, values, "enqueue (push, insert), dequeue (pop, delete-min)"),
        };
        what.map(|what| {
            let priority = match what {
                BagAction::Add(value) | BagAction::Take(value) => self.priority(value, values)?,
                BagAction::TakeAny | BagAction::Empty => 0,
            };
            Ok(Action { what, priority })
        })
        .transpose()
    }

    fn step(&self, state: &Held, action: &Action, next: &mut Next<'_, '_, Held>) {
        match (action.what, state.split_last()) {
            (BagAction::Add(value), _) => {
                let place = match self.order {
                    Order::Fifo => 0,
                    Order::Lifo => state.len(),
                    Order::Smallest => state.partition_point(|held| *held > (action.priority, value)),
                };
                let new = [(action.priority, value)];
                _ = next.add(state[..place].iter().chain(&new).chain(&state[place..]).copied().collect());
            }
            (BagAction::Take(value), Some((last, rest))) if last.1 == value => _ = next.add(rest.into()),
            (BagAction::TakeAny, Some((_, rest))) => _ = next.add(rest.into()),
            (BagAction::Empty, None) => _ = next.add(state.clone()),
            _ => {}
        }
    }

    fn observes(&self, action: &Action) -> bool {
        action.what == BagAction::Empty
    }

    fn flow(&self, action: &Action) -> Flow {
        bag_flow(action.what)
    }

    fn fast(&self, calls: &[Call<Action>], case: &mut Case<'_, '_>) -> Answer {
        match self.order {
            Order::Fifo => fifo::decide(calls, |action| action.what, case),
            Order::Lifo => stack::decide(calls, |action| action.what, case),
            Order::Smallest => smallest::decide(calls, |action| (action.what, action.priority), case),
        }
    }

    fn show(&self, state: &Held, values: &Values) -> String {
        let next: Vec<Value> = state.iter().rev().map(|held| held.1).collect();
        match next.len() {
            0 => "it is empty".into(),
            _ => format!("it would give back {}", list(&next, values)),
        }
    }

    fn weight(&self, state: &Held) -> usize {
        16 * state.len() + 16
    }
}
