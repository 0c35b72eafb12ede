//! Claim: whatever budget a judge has, in memory or in time, what it says then it says with any larger one: the end of a budget is no
//! verdict, and no core is called minimal that was not looked at.

use crate::brute::{OBJECTS, Object, history};
use crate::make::{self, Dice};
use crate::slow;
use quorate_check::budget::Budget;
use quorate_check::history::History;
use quorate_check::judge::Judge;
use quorate_check::models;
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;
use std::cell::Cell;

/// What a judge says of a history under a budget; nothing where it does not know.
fn said(judge: &dyn Judge, history: &History, looks: u64, bytes: u64) -> Option<bool> {
    let left = Cell::new(looks);
    let stop = || left.replace(left.get().saturating_sub(1)) == 0;
    match judge.linearizable(0, history, &mut Budget::new(&stop, bytes)).verdict {
        Verdict::Proved { .. } => Some(true),
        Verdict::Refuted(_) => Some(false),
        _ => None,
    }
}

/// From a few bytes to millions of them.
fn sizes() -> impl Iterator<Item = u64> {
    std::iter::successors(Some(40), |bytes| Some(bytes * 5 / 2)).take(14)
}

/// How often it did not know for want of memory, and of time.
fn compare(judge: &dyn Judge, history: &History, told: &dyn Fn() -> String) -> [u64; 2] {
    let mut unknown = [0; 2];
    let Some(truth) = said(judge, history, 60, 1 << 26) else { return unknown };
    // A look is a thousand steps.
    let small = sizes().map(|bytes| (60, bytes));
    for (looks, bytes) in small.chain((0..3).map(|looks| (looks, 1 << 26))) {
        match said(judge, history, looks, bytes) {
            Some(said) => assert_eq!(said, truth, "{}, {looks} looks, {bytes} bytes", told()),
            None => unknown[usize::from(looks < 3)] += 1,
        }
    }
    unknown
}

#[test]
fn a_spent_budget_is_no_verdict() {
    let mut sum = [[0; 2]; 2];
    for object in OBJECTS {
        let mut memory = 0;
        for seed in 0..8 {
            let mut dice = Dice::new(seed);
            let size = if seed == 0 { 600 } else { 20 };
            let history = history(&make::random_of(object, size, seed % 2 == 0, &mut dice));
            let fast =
                models::judge(object.model(), Value::NIL, &history).expect("a history that the model knows");
            let judges = [Some(fast), (size < 100).then(|| slow::judge(object, &history))];
            for (at, judge) in judges.into_iter().flatten().enumerate().filter(|(_, judge)| judge.parts() > 0)
            {
                let unknown = compare(&*judge, &history, &|| format!("{object:?}, seed {seed}, judge {at}"));
                memory += unknown[0];
                sum[at][0] += unknown[0];
                sum[at][1] += unknown[1];
            }
        }
        assert!(memory > 5, "{object:?}: {memory} were unknown for want of memory");
    }
    println!(
        "unknown for want of memory and of time: {:?} with fast ones, {:?} by search alone",
        sum[0], sum[1]
    );
    assert!(sum[0][1] > 2, "{sum:?}");
}

#[test]
fn a_core_that_was_not_shrunk_is_not_called_minimal() {
    let mut seen = 0;
    for seed in 0..80 {
        let ops = make::random_of(Object::CasRegister, 12, false, &mut Dice::new(seed));
        let history = history(&ops);
        let judge = slow::judge(Object::CasRegister, &history);
        let never = || false;
        let Some(longest) = judge.linearizable(0, &history, &mut Budget::new(&never, 1 << 26)).longest else {
            continue;
        };
        let core = judge.core(0, &longest, &mut Budget::new(&|| true, 1 << 26));
        let whole = judge.core(0, &longest, &mut Budget::new(&never, 1 << 26));
        assert!(
            whole.minimal && (!core.minimal || core.operations.len() == whole.operations.len()),
            "seed {seed}: {core:?}"
        );
        seen += u64::from(!core.minimal);
    }
    assert!(seen > 5, "{seen}");
}
