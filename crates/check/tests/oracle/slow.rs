//! The general search alone: each model without its fast algorithm.

use crate::brute::{Ask, Heard, Object, Op, history};
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

/// Claim: the search finds the one order of many operations that are all open at a time, and finds that there is none where one
/// of them is missing.
#[test]
fn many_that_are_open_at_a_time_have_one_order() {
    for many in [3, 64, 65, 129, 200, 300] {
        let links: Vec<i64> = (0..many).map(|at| (at * 77 + 5) % many).collect();
        for missing in [None, Some(many / 2)] {
            let asks = links.iter().filter(|&&at| Some(at) != missing);
            let begin = Op { process: 0, ask: Ask::Write(0), heard: Heard::Done, invoked: 0, returned: 1 };
            let mut ops = vec![begin];
            let cas = |&at: &i64| Op {
                process: at as u32 + 1,
                ask: Ask::Cas(at, at + 1),
                heard: Heard::Done,
                invoked: 2 + ops_of(&links, at),
                returned: 10_000 + ops_of(&links, at),
            };
            ops.extend(asks.map(cas));
            let read = Op {
                process: 0,
                ask: Ask::Read,
                heard: Heard::Got(Some(many)),
                invoked: 20_000,
                returned: 20_001,
            };
            ops.push(read);
            assert_eq!(
                holds(Object::CasRegister, &history(&ops)),
                Some(missing.is_none()),
                "{many}, {missing:?}"
            );
            // Each counts once.
            for op in &mut ops[1..=links.len() - usize::from(missing.is_some())] {
                op.ask = Ask::Add(1);
            }
            assert_eq!(
                holds(Object::Counter, &history(&ops[1..])),
                Some(missing.is_none()),
                "{many}, {missing:?}"
            );
        }
    }
}

fn ops_of(links: &[i64], at: i64) -> u32 {
    links.iter().position(|&link| link == at).unwrap_or(0) as u32
}
