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
fn asks(object: Object, values: i64) -> Vec<Ask> {
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
fn heards(object: Object, ask: Ask, values: i64) -> Vec<Heard> {
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

/// Calls `each` with all histories of `left` more operations.
pub(crate) fn all(object: Object, size: usize, processes: u32, values: i64, each: &mut impl FnMut(&[Op])) {
    grow(object, size, processes, values, &mut Vec::new(), 0, 0, each);
}

/// Either a free process asks, or an open operation hears. A process number is new only after all smaller ones, since their
/// names mean nothing; and of several open operations that will hear nothing, the place of that does not matter, so it is
/// at once.
#[allow(clippy::too_many_arguments)]
fn grow(
    object: Object,
    size: usize,
    processes: u32,
    values: i64,
    ops: &mut Vec<Op>,
    now: u32,
    names: u32,
    each: &mut impl FnMut(&[Op]),
) {
    let open: Vec<usize> = (0..ops.len()).filter(|&place| ops[place].returned == u32::MAX - 1).collect();
    if ops.len() == size && open.is_empty() {
        each(ops);
        return;
    }
    if ops.len() < size && (open.len() as u32) < processes {
        // A session that ended goes on under a new name; which of the free names asks is the same to the object.
        for ask in asks(object, values) {
            ops.push(Op { process: names, ask, heard: Heard::Nothing, invoked: now, returned: u32::MAX - 1 });
            grow(object, size, processes, values, ops, now + 1, names + 1, each);
            let last = ops.len() - 1;
            ops[last].returned = u32::MAX;
            grow(object, size, processes, values, ops, now + 1, names + 1, each);
            ops.pop();
        }
    }
    for place in open {
        let before = ops[place];
        ops[place].returned = now;
        for heard in heards(object, before.ask, values) {
            if heard != Heard::Nothing {
                ops[place].heard = heard;
                grow(object, size, processes, values, ops, now + 1, names, each);
            }
        }
        ops[place] = before;
    }
}

/// A random history: a real object is asked, and answers at random moments within the operations; then, mostly, a result or
/// two are changed.
pub(crate) fn random(object: Object, dice: &mut Dice) -> Vec<Op> {
    let (size, processes, values) =
        (2 + dice.below(7) as usize, 1 + dice.below(4) as u32, 1 + dice.below(3) as i64);
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
                let asks = asks(object, values);
                let ask = asks[dice.below(asks.len() as u64) as usize];
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
        let heards = heards(object, ops[place].ask, values);
        let heard = heards[dice.below(heards.len() as u64) as usize];
        if ops[place].heard != Heard::Nothing && heard != Heard::Nothing {
            ops[place].heard = heard;
        }
    }
    ops
}
