//! Small histories: all of a size, and random ones that are nearly right.

use crate::brute::{Ask, Heard, Object, Op, State, answers};

/// A generator of numbers that is the same everywhere.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// What may be asked of an object, values up to `values`.
pub(crate) fn asks(object: Object, values: i64) -> Vec<Ask> {
    let each = |ask: fn(i64) -> Ask| (1..=values).map(ask).collect::<Vec<_>>();
    let mut asks = match object {
        Object::Register | Object::CasRegister => each(Ask::Write),
        Object::Mutex | Object::FencedMutex => return vec![Ask::Acquire, Ask::Release],
        _ => each(Ask::Add),
    };
    match object {
        Object::CasRegister => {
            asks.push(Ask::Read);
            asks.extend((1..=values).flat_map(|old| (1..=values).map(move |new| Ask::Cas(old, new))));
        }
        Object::Register | Object::Counter => asks.push(Ask::Read),
        Object::Set => {
            asks.push(Ask::Read);
            asks.extend(each(Ask::Remove));
            asks.extend(each(Ask::Contains));
        }
        _ => asks.push(Ask::Take),
    }
    asks
}

/// What may be heard, right or wrong.
pub(crate) fn heards(object: Object, ask: Ask, values: i64) -> Vec<Heard> {
    let got = || (1..=values).map(|value| Heard::Got(Some(value)));
    let mut heards: Vec<Heard> = match (object, ask) {
        (Object::Counter, Ask::Read) => (0..=2 * values).map(|value| Heard::Got(Some(value))).collect(),
        (Object::Set, Ask::Read) => (0..1 << values).map(|bits| Heard::Members(bits << 1)).collect(),
        (_, Ask::Read | Ask::Take) => got().chain([Heard::Got(None)]).collect(),
        (_, Ask::Contains(_)) => vec![Heard::Said(true), Heard::Said(false)],
        (_, Ask::Cas(..)) => vec![Heard::Done, Heard::Differed],
        (Object::FencedMutex, Ask::Acquire) => got().collect(),
        _ => vec![Heard::Done],
    };
    heards.extend([Heard::Fail, Heard::Nothing]);
    heards
}

/// Which histories are all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct All {
    pub(crate) object: Object,
    /// So many operations.
    pub(crate) size: usize,
    /// So many open at a time, at most.
    pub(crate) processes: u32,
    /// Values from 1 up to this.
    pub(crate) values: i64,
    /// Leaves out what only repeats others: operations that failed without a word on the object, and, where values are
    /// mere names, those that name them in another order.
    pub(crate) lean: bool,
}

impl All {
    /// The largest value that may come next.
    fn most(&self, ops: &[Op]) -> i64 {
        let named = matches!(self.object, Object::PriorityQueue | Object::Counter | Object::FencedMutex);
        if !self.lean || named { self.values } else { self.values.min(1 + largest(ops)) }
    }
}

fn largest(ops: &[Op]) -> i64 {
    let largest = |op: &Op| {
        let asked = match op.ask {
            Ask::Write(value) | Ask::Add(value) | Ask::Remove(value) | Ask::Contains(value) => value,
            Ask::Cas(old, new) => old.max(new),
            Ask::Read | Ask::Take | Ask::Acquire | Ask::Release => 0,
        };
        let heard = match op.heard {
            Heard::Got(Some(value)) => value,
            Heard::Members(bits) => 7 - i64::from(bits.leading_zeros()),
            _ => 0,
        };
        asked.max(heard)
    };
    ops.iter().map(largest).max().unwrap_or(0)
}

/// Calls `each` with all histories.
pub(crate) fn all(which: All, each: &mut impl FnMut(&[Op])) {
    grow(which, &mut Vec::new(), 0, 0, each);
}

/// Either a free process asks, or an open operation hears. A process number is new only after all smaller ones, since
/// their names mean nothing; and of several open operations that will hear nothing, the place of that does not matter,
/// so it is at once.
fn grow(which: All, ops: &mut Vec<Op>, now: u32, names: u32, each: &mut impl FnMut(&[Op])) {
    let All { object, size, processes, .. } = which;
    let open: Vec<usize> = (0..ops.len()).filter(|&place| ops[place].returned == u32::MAX - 1).collect();
    if ops.len() == size && open.is_empty() {
        each(ops);
        return;
    }
    if ops.len() < size && (open.len() as u32) < processes {
        // A session that ended goes on under a new name; which of the free names asks is the same to the object.
        for ask in asks(object, which.most(ops)) {
            ops.push(Op { process: names, ask, heard: Heard::Nothing, invoked: now, returned: u32::MAX - 1 });
            grow(which, ops, now + 1, names + 1, each);
            let last = ops.len() - 1;
            ops[last].returned = u32::MAX;
            grow(which, ops, now + 1, names + 1, each);
            ops.pop();
        }
    }
    for place in open {
        let before = ops[place];
        ops[place].returned = now;
        for heard in heards(object, before.ask, which.most(ops)) {
            if heard != Heard::Nothing && !(which.lean && heard == Heard::Fail) {
                ops[place].heard = heard;
                grow(which, ops, now + 1, names, each);
            }
        }
        ops[place] = before;
    }
}

/// A random history: a real object is asked, and answers at random moments within the operations; then, mostly, a
/// result or two are changed. Where it is asked to be `distinct`, what is written and added is mostly new.
pub(crate) fn random(object: Object, distinct: bool, dice: &mut Dice) -> Vec<Op> {
    let size = 2 + dice.below(7) as usize;
    random_of(object, size, distinct, dice)
}

/// One of so many operations.
pub(crate) fn random_of(object: Object, size: usize, distinct: bool, dice: &mut Dice) -> Vec<Op> {
    let (processes, mut values) = (1 + dice.below(4) as u32, 1 + dice.below(3) as i64);
    if distinct {
        values = if object == Object::Counter { 3 } else { 1 };
    }
    // A set is asked for single values, or for all and never shrinks, or anything.
    let kind = if distinct && object == Object::Set { dice.below(5) } else { 4 };
    let asked = |ask: &Ask| match ask {
        Ask::Read => kind > 1,
        Ask::Remove(_) | Ask::Contains(_) => kind != 2 && kind != 3,
        _ => true,
    };
    let mut state = State::default();
    // By process: the open operation, and what it will hear once it took effect.
    let mut open: Vec<Option<(usize, Option<Heard>)>> = vec![None; processes as usize];
    let mut names: Vec<u32> = (0..processes).collect();
    let mut next_name = processes;
    let mut ops: Vec<Op> = Vec::new();
    let mut now = 0;
    while ops.len() < size || open.iter().any(Option::is_some) {
        let process = dice.below(u64::from(processes)) as usize;
        match open[process] {
            None if ops.len() < size => {
                let mut asks = asks(object, values);
                asks.retain(asked);
                let mut ask = asks[dice.below(asks.len() as u64) as usize];
                if distinct && dice.below(16) > 0 {
                    ask = fresh(object, ask, &state, &mut values, dice);
                }
                open[process] = Some((ops.len(), None));
                ops.push(Op {
                    process: names[process],
                    ask,
                    heard: Heard::Nothing,
                    invoked: now,
                    returned: u32::MAX,
                });
                now += 1;
            }
            None => {}
            Some((place, None)) => {
                let answers = answers(object, &state, ops[place].ask);
                let lost = dice.below(8) == 0;
                if lost || answers.is_empty() {
                    // It ends without an effect, for all that its caller may know.
                    if dice.below(2) == 0 {
                        (ops[place].heard, ops[place].returned) = (Heard::Fail, now);
                        now += 1;
                    } else {
                        names[process] = next_name;
                        next_name += 1;
                    }
                    open[process] = None;
                } else {
                    let few = answers.len().min(4) as u64;
                    let (heard, after) = answers[dice.below(few) as usize].clone();
                    state = after;
                    open[process] = Some((place, Some(heard)));
                }
            }
            Some((place, Some(heard))) => {
                open[process] = None;
                if dice.below(6) == 0 {
                    names[process] = next_name;
                    next_name += 1;
                    continue;
                }
                (ops[place].heard, ops[place].returned) = (heard, now);
                now += 1;
            }
        }
    }
    for _ in 0..dice.below(3) {
        let place = dice.below(ops.len() as u64) as usize;
        if distinct && dice.below(2) > 0 && exchange(&mut ops, place, dice) {
            continue;
        }
        let heards = heards(object, ops[place].ask, values);
        let heard = heards[dice.below(heards.len() as u64) as usize];
        if ops[place].heard != Heard::Nothing && heard != Heard::Nothing {
            ops[place].heard = heard;
        }
    }
    ops
}

/// An operation and another that asked the same hear what the other heard. False where there are none such.
fn exchange(ops: &mut [Op], place: usize, dice: &mut Dice) -> bool {
    let told = |op: &Op| !matches!(op.heard, Heard::Nothing | Heard::Fail | Heard::Differed);
    let place = (place..ops.len()).chain(0..place).find(|&place| matches!(ops[place].heard, Heard::Got(_)));
    let Some(place) = place else { return false };
    let fits = |op: &Op| op.ask == ops[place].ask && told(op) && op.heard != ops[place].heard;
    let others: Vec<usize> = (0..ops.len()).filter(|&other| fits(&ops[other])).collect();
    if others.is_empty() {
        return false;
    }
    let other = others[dice.below(others.len() as u64) as usize];
    (ops[place].heard, ops[other].heard) = (ops[other].heard, ops[place].heard);
    true
}

/// The same with a new value. Values of a priority queue come in no order.
fn fresh(object: Object, ask: Ask, state: &State, values: &mut i64, dice: &mut Dice) -> Ask {
    let new = match object {
        Object::PriorityQueue => 1 + dice.below(40) as i64,
        // A read of a set is eight bits.
        Object::Set => (*values + 1).min(6),
        _ => *values + 1,
    };
    let fresh = match ask {
        Ask::Write(_) => Ask::Write(new),
        Ask::Add(_) if object == Object::Counter => return Ask::Add(1),
        Ask::Add(_) => Ask::Add(new),
        // Most compare-and-sets ask for what is there.
        Ask::Cas(old, _) => Ask::Cas(state.top().unwrap_or(old), new),
        other => return other,
    };
    *values = new.max(*values);
    fresh
}
