//! Several keys in one history: each is judged by itself, however their operations are interleaved.

use crate::brute::{Object, Op, history, orderable};
use crate::make::{Dice, random_of};
use quorate_check::budget::Budget;
use quorate_check::history::NEVER;
use quorate_check::models;
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;

/// Claim: a history of several keys holds where that of each key does.
#[test]
fn keys_are_judged_one_by_one() {
    let mut counts = [0; 2];
    for seed in 0..600 {
        let mut dice = Dice::new(seed);
        let keys = 2 + dice.below(3) as u32;
        let each: Vec<Vec<Op>> =
            (0..keys).map(|_| random_of(Object::CasRegister, 5, false, &mut dice)).collect();
        let truth = each.iter().all(|ops| orderable(Object::CasRegister, ops));
        let mut ops: Vec<(u32, Op)> = Vec::new();
        for (key, of_key) in (0..keys).zip(&each) {
            let moment = |at: u32| if at == NEVER { NEVER } else { at * keys + key };
            ops.extend(of_key.iter().map(|op| {
                let (invoked, returned) = (moment(op.invoked), moment(op.returned));
                (key, Op { process: op.process * keys + key, invoked, returned, ..*op })
            }));
        }
        ops.sort_by_key(|(_, op)| op.invoked);
        let mut history = history(&ops.iter().map(|(_, op)| *op).collect::<Vec<_>>());
        for (at, (key, _)) in ops.iter().enumerate() {
            history.operations[at].key = history.values.int(i64::from(*key));
        }
        let judge = models::judge("cas-register", Value::NIL, &history).expect("a history of registers");
        let never = || false;
        let said = (0..judge.parts()).all(|part| {
            let verdict = judge.linearizable(part, &history, &mut Budget::new(&never, 1 << 30)).verdict;
            match verdict {
                Verdict::Proved { .. } => true,
                Verdict::Refuted(_) => false,
                other => panic!("no verdict: {other:?}"),
            }
        });
        assert_eq!(said, truth, "seed {seed}: {each:#?}");
        counts[usize::from(truth)] += 1;
    }
    println!("{counts:?} of several keys");
    assert!(counts.iter().all(|&count| count > 100), "{counts:?}");
}
