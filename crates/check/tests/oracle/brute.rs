//! The oracle: tries every order of a small history against what each object plainly does. It shares nothing with the
//! crate but the form of a history, is slow, and is meant to be read and believed.

use quorate_check::history::{History, NEVER, Operation, Outcome};
use quorate_check::value::{Datum, Value};
use std::collections::BTreeSet;

/// An object, by the name of its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Register,
    CasRegister,
    Counter,
    Set,
    Multiset,
    Queue,
    PriorityQueue,
    Stack,
    Mutex,
    FencedMutex,
}

pub(crate) const OBJECTS: [Object; 10] = [
    Object::Register,
    Object::CasRegister,
    Object::Counter,
    Object::Set,
    Object::Multiset,
    Object::Queue,
    Object::PriorityQueue,
    Object::Stack,
    Object::Mutex,
    Object::FencedMutex,
];

impl Object {
    pub(crate) fn model(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::CasRegister => "cas-register",
            Self::Counter => "counter",
            Self::Set => "set",
            Self::Multiset => "multiset",
            Self::Queue => "queue",
            Self::PriorityQueue => "priority-queue",
            Self::Stack => "stack",
            Self::Mutex => "mutex",
            Self::FencedMutex => "fenced-mutex",
        }
    }
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Read,
    Write(i64),
    Cas(i64, i64),
    Add(i64),
    Remove(i64),
    Contains(i64),
    Take,
    Acquire,
    Release,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It happened.
    Done,
    /// It happened, with this result; `None` is nil.
    Got(Option<i64>),
    /// It happened, and returned these members, as bits.
    Members(u8),
    /// It happened, and said yes or no.
    Said(bool),
    /// It did not happen.
    Fail,
    /// It did not happen, since the cell held something else.
    Differed,
    /// Nobody knows.
    Nothing,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) process: u32,
    pub(crate) ask: Ask,
    pub(crate) heard: Heard,
    pub(crate) invoked: u32,
    pub(crate) returned: u32,
}

/// The state of any of the objects: values in the order in which they came, and a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    items: Vec<i64>,
    number: i64,
}

impl State {
    /// What was put in last.
    pub(crate) fn top(&self) -> Option<i64> {
        self.items.last().copied()
    }
}

/// What happens when it is asked: the results that are possible, each with the state behind it.
pub(crate) fn answers(object: Object, state: &State, ask: Ask) -> Vec<(Heard, State)> {
    let mut next = state.clone();
    let one = |heard, next| vec![(heard, next)];
    // A register holds its last item; nil before the first.
    let cell = state.items.last().copied();
    match (object, ask) {
        (Object::Register | Object::CasRegister, Ask::Read) => one(Heard::Got(cell), next),
        (Object::Register | Object::CasRegister, Ask::Write(value)) => {
            next.items = vec![value];
            one(Heard::Done, next)
        }
        (_, Ask::Cas(old, new)) => {
            if cell == Some(old) {
                next.items = vec![new];
                one(Heard::Done, next)
            } else {
                one(Heard::Differed, next)
            }
        }
        (Object::Counter, Ask::Add(amount)) => {
            next.number += amount;
            one(Heard::Done, next)
        }
        (Object::Counter, Ask::Read) => one(Heard::Got(Some(state.number)), next),
        (Object::Set, Ask::Add(value)) => {
            next.items.retain(|item| *item != value);
            next.items.push(value);
            one(Heard::Done, next)
        }
        (Object::Set, Ask::Remove(value)) => {
            next.items.retain(|item| *item != value);
            one(Heard::Done, next)
        }
        (Object::Set, Ask::Contains(value)) => one(Heard::Said(state.items.contains(&value)), next),
        (Object::Set, Ask::Read) => {
            one(Heard::Members(state.items.iter().fold(0, |bits, item| bits | 1 << item)), next)
        }
        (_, Ask::Add(value)) => {
            next.items.push(value);
            one(Heard::Done, next)
        }
        (_, Ask::Take) => {
            let places: Vec<usize> = match object {
                _ if state.items.is_empty() => return one(Heard::Got(None), next),
                Object::Queue => vec![0],
                Object::Stack => vec![state.items.len() - 1],
                Object::PriorityQueue => {
                    let least = state.items.iter().min();
                    state.items.iter().position(|item| Some(item) == least).into_iter().collect()
                }
                _ => (0..state.items.len()).collect(),
            };
            places
                .into_iter()
                .map(|place| {
                    let mut next = state.clone();
                    let item = next.items.remove(place);
                    (Heard::Got(Some(item)), next)
                })
                .collect()
        }
        (Object::Mutex, Ask::Acquire) if state.number == 0 => {
            next.number = 1;
            one(Heard::Done, next)
        }
        (Object::Mutex, Ask::Release) if state.number == 1 => {
            next.number = 0;
            one(Heard::Done, next)
        }
        // The number is twice the last token, and one more while it is held. Tokens may skip.
        (Object::FencedMutex, Ask::Acquire) if state.number % 2 == 0 => (state.number.div_euclid(2) + 1..=20)
            .map(|token| (Heard::Got(Some(token - 8)), State { items: Vec::new(), number: 2 * token + 1 }))
            .collect(),
        (Object::FencedMutex, Ask::Release) if state.number.rem_euclid(2) == 1 => {
            next.number -= 1;
            one(Heard::Done, next)
        }
        _ => Vec::new(),
    }
}

/// True where some order of the operations is what the object does; those that never return may stand in it or not.
pub(crate) fn orderable(object: Object, ops: &[Op]) -> bool {
    fn go(object: Object, ops: &[Op], placed: u32, state: &State) -> bool {
        let left = |place: usize| placed & 1 << place == 0;
        if (0..ops.len()).all(|place| !left(place) || ops[place].returned == NEVER) {
            return true;
        }
        (0..ops.len()).filter(|&place| left(place)).any(|place| {
            let op = &ops[place];
            let late = (0..ops.len()).any(|other| left(other) && ops[other].returned < op.invoked);
            !late
                && answers(object, state, op.ask).iter().any(|(heard, next)| {
                    (*heard == op.heard || op.heard == Heard::Nothing)
                        && go(object, ops, placed | 1 << place, next)
                })
        })
    }
    let told: Vec<Op> = ops.iter().filter(|op| op.heard != Heard::Fail).copied().collect();
    // Before all tokens that were heard there may have been lower ones of those who heard nothing.
    let number = if object == Object::FencedMutex { -20 } else { 0 };
    go(object, &told, 0, &State { items: Vec::new(), number })
}

/// The same for more operations: it remembers which were placed with which state behind them.
pub(crate) fn orderable_at_length(object: Object, ops: &[Op]) -> bool {
    let told: Vec<Op> = ops.iter().filter(|op| op.heard != Heard::Fail).copied().collect();
    let number = if object == Object::FencedMutex { -20 } else { 0 };
    let mut been = BTreeSet::new();
    let mut left = vec![(0_u32, State { items: Vec::new(), number })];
    while let Some((placed, state)) = left.pop() {
        let open = |place: usize| placed & 1 << place == 0;
        if (0..told.len()).all(|place| !open(place) || told[place].returned == NEVER) {
            return true;
        }
        for (place, op) in told.iter().enumerate().filter(|&(place, _)| open(place)) {
            if (0..told.len()).any(|other| open(other) && told[other].returned < op.invoked) {
                continue;
            }
            for (heard, next) in answers(object, &state, op.ask) {
                let next = (placed | 1 << place, next);
                if (heard == op.heard || op.heard == Heard::Nothing) && been.insert(next.clone()) {
                    left.push(next);
                }
            }
        }
    }
    false
}

/// The same operations as the crate takes them.
pub(crate) fn history(ops: &[Op]) -> History {
    let mut history = History::default();
    let processes = ops.iter().map(|op| op.process + 1).max().unwrap_or(0);
    for process in 0..processes {
        let name = history.values.int(i64::from(process));
        history.processes.push(name);
    }
    for op in ops {
        let (f, argument) = match op.ask {
            Ask::Read => ("read", Datum::Nil),
            Ask::Write(value) => ("write", Datum::Int(value)),
            Ask::Cas(old, new) => {
                let pair = [history.values.int(old), history.values.int(new)];
                ("cas", Datum::List(pair.into()))
            }
            Ask::Add(value) => ("add", Datum::Int(value)),
            Ask::Remove(value) => ("remove", Datum::Int(value)),
            Ask::Contains(value) => ("contains", Datum::Int(value)),
            Ask::Take => ("take", Datum::Nil),
            Ask::Acquire => ("acquire", Datum::Nil),
            Ask::Release => ("release", Datum::Nil),
        };
        let argument = history.values.intern(argument);
        let f = history.values.intern(Datum::Keyword(f.into()));
        let result = match op.heard {
            Heard::Got(Some(value)) => history.values.int(value),
            Heard::Said(yes) => history.values.intern(Datum::Bool(yes)),
            Heard::Members(bits) => {
                let mut members: Vec<Value> =
                    (0..8).filter(|bit| bits & 1 << bit != 0).map(|bit| history.values.int(bit)).collect();
                members.sort_unstable();
                history.values.intern(Datum::Set(members.into()))
            }
            Heard::Done => argument,
            _ => Value::NIL,
        };
        let outcome = match op.heard {
            Heard::Nothing => Outcome::Info,
            Heard::Fail | Heard::Differed => Outcome::Fail,
            _ => Outcome::Ok,
        };
        history.operations.push(Operation {
            process: op.process,
            f,
            key: Value::NIL,
            argument,
            result,
            outcome,
            invoked: op.invoked,
            returned: if outcome == Outcome::Info { NEVER } else { op.returned },
            seen: !matches!(op.heard, Heard::Nothing | Heard::Fail),
            version: None,
        });
    }
    history
}
