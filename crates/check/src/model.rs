//! What an object promises: a model says which results an action may have in a state, and which state follows.
//!
//! A model of one's own is a type with this trait; [`crate::judge::judge`] takes it like the ones that stand in
//! [`crate::models`]. A model may be nondeterministic: it then adds several states for one action. It knows nothing of time
//! and concurrency.

use crate::budget::{Budget, Spent};
use crate::fast::{Answer, Case, Staleness};
use crate::history::{Call, Operation};
use crate::value::{Value, Values};
use std::hash::Hash;
use std::sync::Arc;

/// An object, one key of it where it has independent keys.
pub trait Model: Sync {
    /// What the object is at a moment.
    type State: Clone + Eq + Hash;
    /// What an operation does, its result included. Equal actions are interchangeable.
    type Action: Clone + Eq + Hash + Sync;

    /// The state before anything happened.
    fn initial(&self) -> Self::State;

    /// What an operation of a history does, by the model's own names; `None` where it neither does nor tells anything. A
    /// pending operation ([`Operation::returned`] is `NEVER`) has no result. The error says what cannot be understood.
    fn action(&self, operation: &Operation, values: &Values) -> Result<Option<Self::Action>, String>;

    /// Adds each state that may follow; none where the action cannot have happened here.
    fn step(&self, state: &Self::State, action: &Self::Action, next: &mut Next<'_, '_, Self::State>);

    /// True where the action never changes any state: it is then placed as soon as it fits, and dropped while pending.
    fn observes(&self, action: &Self::Action) -> bool;

    /// True where the object is a cell that the action fills: it fits in every state, and leads from all to the same. Only for
    /// models of which no other action leads from two states to the same one, unless it [observes](Self::observes).
    fn fills(&self, _action: &Self::Action) -> bool {
        false
    }

    /// True where keys are independent objects, so that each is judged alone.
    fn keyed(&self) -> bool {
        true
    }

    /// How the action hangs together with others: what shrinks a history leaves out only what cannot make an innocent one
    /// guilty.
    fn flow(&self, action: &Self::Action) -> Flow;

    /// Decides the calls of one key without search, where a fast algorithm knows the object and takes them. Sorted by
    /// invocation; what is pending and only observes is not among them.
    fn fast(&self, _calls: &[Call<Self::Action>], _case: &mut Case<'_, '_>) -> Answer {
        Answer::Passed("no fast algorithm is known for this object".into())
    }

    /// How stale the reads among such calls were; `None` where that is not defined or not known.
    fn staleness(
        &self,
        _calls: &[Call<Self::Action>],
        _case: &mut Case<'_, '_>,
    ) -> Result<Option<Staleness>, Spent> {
        Ok(None)
    }

    /// The state in words.
    fn show(&self, state: &Self::State, values: &Values) -> String;

    /// Bytes that a state takes beyond its own size.
    fn weight(&self, _state: &Self::State) -> usize {
        0
    }
}

/// How an action hangs together with others of its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Nothing depends on it.
    Free,
    /// The object is a cell: the action was there while it held `needs`, or did not hold `differs`; it holds `gives` then.
    Cell {
        /// What it held.
        needs: Option<Value>,
        /// What it holds.
        gives: Option<Value>,
        /// What it did not hold.
        differs: Option<Value>,
    },
    /// All actions with this value go together.
    Whole(Value),
    /// It saw these values, which therefore stay.
    Lists(Arc<[Value]>),
    /// It stays.
    Fixed,
}

/// Takes the states that may follow an action.
pub struct Next<'a, 'b, S> {
    states: &'a mut Vec<S>,
    budget: &'a mut Budget<'b>,
}

impl<'a, 'b, S> Next<'a, 'b, S> {
    pub(crate) fn new(states: &'a mut Vec<S>, budget: &'a mut Budget<'b>) -> Self {
        Self { states, budget }
    }

    /// Adds a state. False: the budget is spent, what else the model would add interests nobody.
    pub fn add(&mut self, state: S) -> bool {
        self.states.push(state);
        self.budget.step().is_ok()
    }

    /// For models whose single steps are long: asks whether to go on.
    pub fn go_on(&mut self) -> Result<(), Spent> {
        self.budget.step()
    }
}
