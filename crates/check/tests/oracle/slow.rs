//! The general search alone: each model without its fast algorithm.

use crate::brute::{Ask, Heard, Object, Op, history, orderable};
use crate::make::{Dice, random_of};
use quorate_check::budget::Budget;
use quorate_check::history::{History, Operation};
use quorate_check::judge::{self, Judge};
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

    // What fills a cell is hidden behind what fills it later: half of the search is about that.
    fn fills(&self, action: &M::Action) -> bool {
        self.0.fills(action)
    }

    fn flow(&self, action: &M::Action) -> Flow {
        self.0.flow(action)
    }

    fn weight(&self, state: &M::State) -> usize {
        self.0.weight(state)
    }

    fn show(&self, state: &M::State, values: &Values) -> String {
        self.0.show(state, values)
    }
}

fn slowly<M: Model + Send + 'static>(model: M, history: &History) -> Box<dyn Judge>
where
    M::Action: Send,
{
    judge::judge(Slow(model), history).expect("a history that the model knows")
}

/// Nothing where that takes too long.
fn search_says(judge: &dyn Judge, history: &History) -> Option<bool> {
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

/// The judge that only searches.
pub(crate) fn judge(object: Object, history: &History) -> Box<dyn Judge> {
    let initial = Value::NIL;
    match object {
        Object::Register => slowly(Register { initial, cas: false }, history),
        Object::CasRegister => slowly(Register { initial, cas: true }, history),
        Object::Counter => slowly(Counter { initial: 0 }, history),
        Object::Set => slowly(Set, history),
        Object::Multiset => slowly(Multiset, history),
        Object::Queue => slowly(Queue { order: Order::Fifo }, history),
        Object::PriorityQueue => slowly(Queue { order: Order::Smallest }, history),
        Object::Stack => slowly(Queue { order: Order::Lifo }, history),
        Object::Mutex => slowly(Mutex, history),
        Object::FencedMutex => slowly(FencedMutex, history),
    }
}

/// What the search says, where it ends soon.
pub(crate) fn holds(object: Object, history: &History) -> Option<bool> {
    search_says(&*judge(object, history), history)
}

/// Claim: where more than 64 operations are open the search tells places apart by what is linearized beyond those, too. The many
/// fit only behind all else, and are chained; before them stands a small random history.
#[test]
fn places_differ_beyond_the_first_word() {
    let mut counts = [0; 2];
    for seed in 0..1_500 {
        let mut dice = Dice::new(seed);
        let small = random_of(Object::CasRegister, 8, false, &mut dice);
        let truth = orderable(Object::CasRegister, &small);
        let many = [62, 64, 66, 70][dice.below(4) as usize];
        let end = 1_000;
        let cas = |at: u32| Op {
            process: 100 + at,
            ask: Ask::Cas(100 + i64::from(at), 101 + i64::from(at)),
            heard: Heard::Done,
            invoked: at,
            returned: end + 10 + at,
        };
        let mut ops: Vec<Op> = (0..many).map(cas).collect();
        let later = |moment: u32| if moment == u32::MAX { moment } else { moment + many };
        ops.extend(small.iter().map(|op| Op {
            invoked: later(op.invoked),
            returned: later(op.returned),
            ..*op
        }));
        let alone = |ask, heard, at| Op { process: 99, ask, heard, invoked: at, returned: at + 1 };
        ops.push(alone(Ask::Write(100), Heard::Done, end));
        ops.push(alone(Ask::Read, Heard::Got(Some(100 + i64::from(many))), end + 500));
        let Some(said) = holds(Object::CasRegister, &history(&ops)) else { continue };
        assert_eq!(said, truth, "seed {seed}, {many}: {small:#?}");
        counts[usize::from(truth)] += 1;
    }
    println!("{counts:?} behind many open operations");
    assert!(counts.iter().all(|&count| count > 100), "{counts:?}");
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
