//! Sets and multisets: what was added is in them until it is taken out, in no order.

use super::{function, is_false, unknown};
use crate::fast::{Answer, Case, bag, set};
use crate::history::{Call, NEVER, Operation, Outcome};
use crate::model::{Flow, Model, Next};
use crate::value::{Datum, Value, Values};
use std::sync::Arc;

/// Members, each once, sorted.
type Members = Arc<[Value]>;

/// A set.
#[derive(Clone, Debug, Default)]
pub struct Set;

/// What is done to a set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SetAction {
    /// The value is in it now.
    Add(Value),
    /// The value is not in it now.
    Remove(Value),
    /// The value was in it, or not.
    Contains(Value, bool),
    /// These were all.
    Read(Members),
}

impl Model for Set {
    type State = Members;
    type Action = SetAction;

    fn initial(&self) -> Members {
        Arc::new([])
    }

    fn action(&self, operation: &Operation, values: &Values) -> Result<Option<SetAction>, String> {
        let ok = operation.outcome == Outcome::Ok;
        let done = ok || operation.returned == NEVER;
        Ok(match function(operation.f, values) {
            "add" | "insert" => done.then_some(SetAction::Add(operation.argument)),
            "remove" | "delete" => done.then_some(SetAction::Remove(operation.argument)),
            "contains" | "contains?" => {
                ok.then(|| SetAction::Contains(operation.argument, !is_false(operation.result, values)))
            }
            "read" | "r" if ok => Some(SetAction::Read(members(operation.result, values)?)),
            "read" | "r" => None,
            _ => return unknown(operation.f, values, "add, remove, contains, read"),
        })
    }

    fn step(&self, state: &Members, action: &SetAction, next: &mut Next<'_, '_, Members>) {
        match action {
            SetAction::Add(value) => match state.binary_search(value) {
                Ok(_) => _ = next.add(state.clone()),
                Err(place) => _ = next.add(with(state, place, *value)),
            },
            SetAction::Remove(value) => match state.binary_search(value) {
                Ok(place) => _ = next.add(without(state, place)),
                Err(_) => _ = next.add(state.clone()),
            },
            SetAction::Contains(value, is) if state.binary_search(value).is_ok() == *is => {
                _ = next.add(state.clone());
            }
            SetAction::Read(all) if all == state => _ = next.add(state.clone()),
            SetAction::Contains(..) | SetAction::Read(_) => {}
        }
    }

    fn observes(&self, action: &SetAction) -> bool {
        matches!(action, SetAction::Contains(..) | SetAction::Read(_))
    }

    fn flow(&self, action: &SetAction) -> Flow {
        match action {
            SetAction::Read(all) => Flow::Lists(all.clone()),
            SetAction::Add(value) | SetAction::Remove(value) | SetAction::Contains(value, true) => {
                Flow::Whole(*value)
            }
            SetAction::Contains(_, false) => Flow::Free,
        }
    }

    fn fast(&self, calls: &[Call<SetAction>], case: &mut Case<'_, '_>) -> Answer {
        set::decide(calls, case)
    }

    fn show(&self, state: &Members, values: &Values) -> String {
        format!("the set holds {}", list(state, values))
    }

    fn weight(&self, state: &Members) -> usize {
        4 * state.len() + 16
    }
}

/// A multiset: an unordered queue, a bag.
#[derive(Clone, Debug, Default)]
pub struct Multiset;

/// What is done to a multiset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BagAction {
    /// The value is in it once more.
    Add(Value),
    /// The value was in it, and is once less.
    Take(Value),
    /// Something was taken, nobody knows what.
    TakeAny,
    /// It was empty.
    Empty,
}

impl Model for Multiset {
    type State = Members;
    type Action = BagAction;

    fn initial(&self) -> Members {
        Arc::new([])
    }

    fn action(&self, operation: &Operation, values: &Values) -> Result<Option<BagAction>, String> {
        Ok(match function(operation.f, values) {
            "add" | "insert" | "enqueue" | "put" => {
                (operation.outcome != Outcome::Fail).then_some(BagAction::Add(operation.argument))
            }
            "take" | "dequeue" | "remove" => match operation.outcome {
                Outcome::Ok if operation.result == Value::NIL => Some(BagAction::Empty),
                Outcome::Ok => Some(BagAction::Take(operation.result)),
                Outcome::Info => Some(BagAction::TakeAny),
                Outcome::Fail => None,
            },
            _ => return unknown(operation.f, values, "add (enqueue), take (dequeue)"),
        })
    }

    fn step(&self, state: &Members, action: &BagAction, next: &mut Next<'_, '_, Members>) {
        match action {
            BagAction::Add(value) => {
                let place = state.partition_point(|member| member < value);
                _ = next.add(with(state, place, *value));
            }
            BagAction::Take(value) => {
                if let Ok(place) = state.binary_search(value) {
                    _ = next.add(without(state, place));
                }
            }
            BagAction::TakeAny => {
                for place in 0..state.len() {
                    if (place == 0 || state[place - 1] != state[place]) && !next.add(without(state, place)) {
                        return;
                    }
                }
            }
            BagAction::Empty if state.is_empty() => _ = next.add(state.clone()),
            BagAction::Empty => {}
        }
    }

    fn observes(&self, action: &BagAction) -> bool {
        *action == BagAction::Empty
    }

    fn flow(&self, action: &BagAction) -> Flow {
        bag_flow(*action)
    }

    fn fast(&self, calls: &[Call<BagAction>], case: &mut Case<'_, '_>) -> Answer {
        bag::decide(calls, case)
    }

    fn show(&self, state: &Members, values: &Values) -> String {
        format!("the multiset holds {}", list(state, values))
    }

    fn weight(&self, state: &Members) -> usize {
        4 * state.len() + 16
    }
}

/// Without one of its values, all of it, an order of the others is still an order.
pub(super) fn bag_flow(action: BagAction) -> Flow {
    match action {
        BagAction::Add(value) | BagAction::Take(value) => Flow::Whole(value),
        BagAction::Empty => Flow::Free,
        BagAction::TakeAny => Flow::Fixed,
    }
}

fn members(value: Value, values: &Values) -> Result<Members, String> {
    match values.datum(value) {
        Datum::Set(members) => Ok(Arc::from(&**members)),
        Datum::List(members) => {
            let mut members = members.to_vec();
            members.sort_unstable();
            members.dedup();
            Ok(members.into())
        }
        Datum::Nil => Ok(Arc::new([])),
        _ => Err(format!("a read of a set returns its members, not {}", values.show(value))),
    }
}

fn with(state: &Members, place: usize, value: Value) -> Members {
    state[..place].iter().copied().chain([value]).chain(state[place..].iter().copied()).collect()
}

fn without(state: &Members, place: usize) -> Members {
    state[..place].iter().chain(&state[place + 1..]).copied().collect()
}

/// The first few members, in words.
pub(super) fn list(members: &[Value], values: &Values) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<String> = members.iter().take(SHOWN).map(|&member| values.show(member)).collect();
    match members.len() {
        0 => "nothing".into(),
        len if len > SHOWN => format!("{} and {} more", shown.join(", "), len - SHOWN),
        _ => shown.join(", "),
    }
}
