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
