//! Locks: bare ones, and ones whose every holder gets a greater token.

use super::{function, unknown, whole};
use crate::history::{Operation, Outcome};
use crate::model::{Flow, Model, Next};
use crate::value::Values;

/// A lock.
#[derive(Clone, Debug, Default)]
pub struct Mutex;

/// What is done to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It was free and is held now.
    Acquire,
    /// It was held and is free now.
    Release,
}

impl Model for Mutex {
    type State = bool;
    type Action = Action;

    fn initial(&self) -> bool {
        false
    }

    fn action(&self, operation: &Operation, values: &Values) -> Result<Option<Action>, String> {
        let action = match function(operation.f, values) {
            "acquire" | "lock" => Action::Acquire,
            "release" | "unlock" => Action::Release,
            _ => return unknown(operation.f, values, "acquire, release"),
        };
        Ok((operation.outcome != Outcome::Fail).then_some(action))
    }

    fn step(&self, held: &bool, action: &Action, next: &mut Next<'_, '_, bool>) {
        if *held == (*action == Action::Release) {
            _ = next.add(!held);
        }
    }

    fn observes(&self, _: &Action) -> bool {
        false
    }

    fn flow(&self, _: &Action) -> Flow {
        Flow::Fixed
    }

    fn show(&self, held: &bool, _: &Values) -> String {
        if *held { "the lock is held".into() } else { "the lock is free".into() }
    }
}

/// A lock with fencing tokens.
#[derive(Clone, Debug, Default)]
pub struct FencedMutex;

/// What is done to a lock with tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FencedAction {
    /// It was free and is held now, under this token; `None` where nobody knows which.
    Acquire(Option<i64>),
    /// It was held and is free now.
    Release,
}

impl Model for FencedMutex {
    /// Whether it is held, and the greatest token that was given out.
    type State = (bool, i64);
    type Action = FencedAction;

    fn initial(&self) -> (bool, i64) {
        (false, i64::MIN)
    }

    fn action(&self, operation: &Operation, values: &Values) -> Result<Option<FencedAction>, String> {
        Ok(match (function(operation.f, values), operation.outcome) {
            ("acquire" | "lock", Outcome::Ok) => {
                Some(FencedAction::Acquire(Some(whole(operation.result, values, "a token")?)))
            }
            ("acquire" | "lock", Outcome::Info) => Some(FencedAction::Acquire(None)),
            ("release" | "unlock", Outcome::Ok | Outcome::Info) => Some(FencedAction::Release),
            ("acquire" | "lock" | "release" | "unlock", Outcome::Fail) => None,
            _ => return unknown(operation.f, values, "acquire, release"),
        })
    }

    fn step(
        &self,
        &(held, token): &(bool, i64),
        action: &FencedAction,
        next: &mut Next<'_, '_, (bool, i64)>,
    ) {
        match *action {
            FencedAction::Acquire(Some(new)) if !held && new > token => _ = next.add((true, new)),
            // The smallest token that it may have been forbids nothing that a greater one allows.
            FencedAction::Acquire(None) if !held => _ = next.add((true, token.saturating_add(1))),
            FencedAction::Release if held => _ = next.add((false, token)),
            _ => {}
        }
    }

    fn observes(&self, _: &FencedAction) -> bool {
        false
    }

    fn flow(&self, _: &FencedAction) -> Flow {
        Flow::Fixed
    }

    fn show(&self, &(held, token): &(bool, i64), _: &Values) -> String {
        let held = if held { "held" } else { "free" };
        if token == i64::MIN {
            format!("the lock is {held}")
        } else {
            format!("the lock is {held}, its greatest token is {token}")
        }
    }
}
