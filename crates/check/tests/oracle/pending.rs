//! Operations that never return: the search alone against brute force, where most of what may have happened is unknown. What such an
//! operation does it may do long after it was asked, so that a search must try it in many places and remember where it did in vain.

use crate::brute::{Ask, Heard, OBJECTS, Object, Op, State, answers, history, orderable_at_length};
use crate::make::{Dice, asks, heards};
use crate::slow;

/// A random history of 5 to 10 operations: of `lost` in eight nobody hears, and what those do they do at any later moment, or never.
/// Then, mostly, a few results are changed.
fn random(object: Object, dice: &mut Dice) -> Vec<Op> {
    let (size, processes) = (5 + dice.below(6) as usize, 1 + dice.below(4) as usize);
    let (values, lost) = (1 + dice.below(2) as i64, 2 + dice.below(4));
    let asks = asks(object, values);
    let mut state = State::default();
    let mut ops: Vec<Op> = Vec::new();
    let mut open: Vec<Option<usize>> = vec![None; processes];
    let mut pool: Vec<usize> = Vec::new();
    let (mut now, mut name) = (0, 0);
    while ops.len() < size || open.iter().any(Option::is_some) {
        if !pool.is_empty() && dice.below(3) == 0 {
            // What nobody hears of happens.
            let place = pool.swap_remove(dice.below(pool.len() as u64) as usize);
            if let Some((_, next)) = one_of(answers(object, &state, ops[place].ask), dice) {
                state = next;
            }
            continue;
        }
        let process = dice.below(processes as u64) as usize;
        now += 1;
        if let Some(place) = open[process].take() {
            if let Some((heard, next)) = one_of(answers(object, &state, ops[place].ask), dice) {
                (ops[place].heard, ops[place].returned, state) = (heard, now, next);
            }
            continue;
        }
        if ops.len() == size {
            continue;
        }
        let ask = asks[dice.below(asks.len() as u64) as usize];
        let nobody = dice.below(8) < lost;
        if nobody {
            pool.push(ops.len());
        } else {
            open[process] = Some(ops.len());
        }
        ops.push(Op { process: name, ask, heard: Heard::Nothing, invoked: now, returned: u32::MAX });
        name += 1;
    }
    for _ in 0..dice.below(4) {
        let place = dice.below(ops.len() as u64) as usize;
        let mut heards = heards(object, ops[place].ask, values);
        heards.retain(|heard| !matches!(heard, Heard::Fail | Heard::Nothing));
        if ops[place].heard == Heard::Nothing {
            continue;
        }
        ops[place].heard = heards[dice.below(heards.len() as u64) as usize];
        if matches!(object, Object::Mutex) {
            // There is nothing else to hear.
            ops[place].ask = if ops[place].ask == Ask::Acquire { Ask::Release } else { Ask::Acquire };
        }
    }
    ops
}

fn one_of(mut answers: Vec<(Heard, State)>, dice: &mut Dice) -> Option<(Heard, State)> {
    let few = answers.len().min(4) as u64;
    (few > 0).then(|| answers.swap_remove(dice.below(few) as usize))
}

/// Claim: the search says what brute force says, both ways, where many operations never return.
#[test]
fn the_search_tries_what_nobody_heard_of() {
    let count: u64 = std::option_env!("ORACLE_PENDING").and_then(|count| count.parse().ok()).unwrap_or(3_000);
    for object in OBJECTS {
        let mut counts = [0u64; 3];
        for seed in 0..count {
            let ops = random(object, &mut Dice::new(seed));
            let Some(said) = slow::holds(object, &history(&ops)) else {
                counts[2] += 1;
                continue;
            };
            let truth = orderable_at_length(object, &ops);
            assert_eq!(said, truth, "{object:?}, seed {seed}: brute force says {truth} of {ops:#?}");
            counts[usize::from(truth)] += 1;
        }
        println!(
            "{object:?}: {} can be ordered, {} cannot, {} took too long",
            counts[1], counts[0], counts[2]
        );
        assert!(
            counts[0] > count / 50 && counts[1] > count / 4 && counts[2] < count / 20,
            "{object:?}: {counts:?}"
        );
    }
}

/// Claim: a place to which the search comes with another unheard operation used is another place. The shortest way to what is read first
/// uses up the write without which the second read has none; only the longer way leaves it.
#[test]
fn what_was_used_makes_a_place_another_one() {
    let op = |process, ask, heard, invoked, returned| Op { process, ask, heard, invoked, returned };
    let lost = |process, ask| op(process, ask, Heard::Nothing, 2 + process, u32::MAX);
    let read = |at| op(9, Ask::Read, Heard::Got(Some(3)), at, at + 1);
    let ops = [
        op(9, Ask::Write(1), Heard::Done, 0, 1),
        lost(0, Ask::Write(3)),
        lost(1, Ask::Cas(1, 2)),
        lost(2, Ask::Cas(2, 3)),
        read(10),
        op(9, Ask::Write(5), Heard::Done, 20, 21),
        read(30),
    ];
    // Each of the three is needed.
    for left_out in [None, Some(1), Some(2), Some(3)] {
        let ops: Vec<Op> = (0..ops.len()).filter(|&at| Some(at) != left_out).map(|at| ops[at]).collect();
        assert_eq!(
            slow::holds(Object::CasRegister, &history(&ops)),
            Some(left_out.is_none()),
            "{left_out:?}"
        );
        assert_eq!(orderable_at_length(Object::CasRegister, &ops), left_out.is_none());
    }
}

/// Claim: a place to which the search comes with more writes that may have been hidden is another place. The long write of 2 may have been
/// right before the short one without a trace; but where it counts as done when it returns, the write of 3 is hidden behind it.
#[test]
fn what_may_be_hidden_makes_a_place_another_one() {
    for late in [false, true] {
        let op = |process, ask, heard, invoked, returned| Op { process, ask, heard, invoked, returned };
        let ops = [
            op(0, Ask::Write(1), Heard::Done, 0, 1),
            op(1, Ask::Write(2), Heard::Done, 2, if late { 30 } else { 15 }),
            op(2, Ask::Write(2), Heard::Done, 3, 10),
            op(3, Ask::Read, Heard::Got(Some(2)), 4, 9),
            op(4, Ask::Write(3), Heard::Done, 20, 40),
            op(5, Ask::Read, Heard::Got(Some(2)), 50, 51),
        ];
        for object in [Object::Register, Object::CasRegister] {
            assert_eq!(slow::holds(object, &history(&ops)), Some(late), "{object:?}");
        }
        assert_eq!(orderable_at_length(Object::Register, &ops), late);
    }
}
