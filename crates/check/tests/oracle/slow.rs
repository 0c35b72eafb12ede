//! The general search alone: each model without its fast algorithm.

use crate::brute::Object;
use quorate_check::budget::Budget;
use quorate_check::history::{History, Operation};
use quorate_check::judge;
use quorate_check::model::{Flow, Model, Next};
use quorate_check::models::{Counter, FencedMutex, Multiset, Mutex, Order, Queue, Register, Set};
use quorate_check::search;
use quorate_check::value::{Value, Values};
use quorate_check::verdict::Verdict;

struct Slow<M>(M);

impl<M: Model> Model for Slow<M> {
    type State = M::State;
    type Action = M::Action;

    fn initial(&self) -> M::State {
        self.0.initial()
    }

    fn action(&self, operation: &Operation, values: &Values) -> Result<Option<M::Action>, String> {
        self.0.action(operation, values)
    }

    fn step(&self, state: &M::State, action: &M::Action, next: &mut Next<'_, '_, M::State>) {
        self.0.step(state, action, next);
    }

    fn observes(&self, action: &M::Action) -> bool {
        self.0.observes(action)
    }

    fn flow(&self, action: &M::Action) -> Flow {
        self.0.flow(action)
    }

    fn show(&self, state: &M::State, values: &Values) -> String {
        self.0.show(state, values)
    }
}

/// Nothing where that takes too long.
fn search_says<M: Model + Send + 'static>(model: M, history: &History) -> Option<bool>
where
    M::Action: Send,
{
    let judge = judge::judge(Slow(model), history).expect("a history that the model knows");
    let looks = std::cell::Cell::new(0);
    let stop = || looks.replace(looks.get() + 1) > 100;
    let mut budget = Budget::new(&stop, 1 << 26);
    let mut holds = true;
    for part in 0..judge.parts() {
        match judge.linearizable(part, history, &mut budget).verdict {
            Verdict::Proved { by } => assert_eq!(by, search::NAME),
            Verdict::Refuted(_) => holds = false,
            _ => return None,
        }
    }
    Some(holds)
}

/// What the search says, where it ends soon.
pub(crate) fn holds(object: Object, history: &History) -> Option<bool> {
    let initial = Value::NIL;
    match object {
        Object::Register => search_says(Register { initial, cas: false }, history),
        Object::CasRegister => search_says(Register { initial, cas: true }, history),
        Object::Counter => search_says(Counter { initial: 0 }, history),
        Object::Set => search_says(Set, history),
        Object::Multiset => search_says(Multiset, history),
        Object::Queue => search_says(Queue { order: Order::Fifo }, history),
        Object::PriorityQueue => search_says(Queue { order: Order::Smallest }, history),
        Object::Stack => search_says(Queue { order: Order::Lifo }, history),
        Object::Mutex => search_says(Mutex, history),
        Object::FencedMutex => search_says(FencedMutex, history),
    }
}
