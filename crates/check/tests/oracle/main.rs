//! Claim: on every small history and on many random ones the search says what brute force says, both ways; its orders are
//! orders, and its cores are guilty, minimal, and convict the whole.

#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "how long the ignored ones go on is said by the environment")]

mod brute;
mod budgets;
mod fast;
mod keys;
mod make;
mod pending;
#[path = "../common/slice.rs"]
mod slice;
mod slow;
mod stale;

use brute::{Ask, Heard, OBJECTS, Object, Op, history, orderable};
use make::{All, Dice};
use quorate_check::budget::Budget;
use quorate_check::history::{History, NEVER, Outcome};
use quorate_check::judge::{Judge, Judged};
use quorate_check::models;
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;

fn judge(object: Object, history: &History) -> (Box<dyn Judge>, Option<Judged>) {
    let judge = models::judge(object.model(), Value::NIL, history).expect("a history that the model knows");
    let never = || false;
    let judged =
        (judge.parts() > 0).then(|| judge.linearizable(0, history, &mut Budget::new(&never, 1 << 30)));
    (judge, judged)
}

fn holds(judged: Option<&Judged>) -> bool {
    match judged.map(|judged| &judged.verdict) {
        None | Some(Verdict::Proved { .. }) => true,
        Some(Verdict::Refuted(_)) => false,
        other => panic!("no verdict: {other:?}"),
    }
}

/// Only those operations of a history, as they are behind a cut at a moment: what returns later may have happened or not.
fn part(ops: &[Op], places: &[u32], cut: u32) -> Vec<Op> {
    let pend = |op: &Op| if op.returned > cut { Op { returned: NEVER, ..*op } } else { *op };
    places.iter().map(|&place| pend(&ops[place as usize])).collect()
}

/// What the judge says must be what brute force says, and its evidence must hold. The truth, and who found it.
fn compare(object: Object, ops: &[Op]) -> (bool, &'static str) {
    let history = history(ops);
    let (judge, judged) = judge(object, &history);
    let truth = orderable(object, ops);
    assert_eq!(holds(judged.as_ref()), truth, "{object:?}: brute force says {truth} of {ops:#?}");
    let Some(judged) = judged else { return (truth, "nothing to order") };
    let by = match &judged.verdict {
        Verdict::Proved { by } => by,
        Verdict::Refuted(witness) => witness.by,
        _ => "",
    };
    if truth {
        let order: Vec<usize> = judged.order.iter().map(|&place| place as usize).collect();
        let told = |op: &Op| op.heard != Heard::Nothing && op.heard != Heard::Fail;
        let all = (0..ops.len()).filter(|&place| told(&ops[place])).all(|place| order.contains(&place));
        assert!(order.is_empty() || all, "{order:?} lacks some of {ops:#?}");
        for (at, &place) in order.iter().enumerate() {
            assert!(
                order[..at].iter().all(|&before| ops[before].invoked < ops[place].returned),
                "{order:?} {ops:#?}"
            );
        }
        // In that order, one after the other, they must be what the object does.
        let line: Vec<Op> = order
            .iter()
            .enumerate()
            .map(|(at, &place)| match ops[place].heard {
                Heard::Nothing => Op { invoked: 2 * at as u32, returned: u32::MAX, ..ops[place] },
                _ => Op { invoked: 2 * at as u32, returned: 2 * at as u32 + 1, ..ops[place] },
            })
            .collect();
        assert!(orderable(object, &line), "{order:?} is no order of {ops:#?}");
        return (truth, by);
    }
    let longest = judged.longest.expect("a refuted history has a longest prefix");
    let never = || false;
    let core = judge.core(0, &longest, &mut Budget::new(&never, 1 << 30));
    let cut = ops[longest.blocked as usize].returned;
    assert!(
        !core.operations.is_empty() && core.minimal && !orderable(object, &part(ops, &core.operations, cut)),
        "{core:?} is innocent in {ops:#?}"
    );
    assert_eq!(core.tried_all, Some(true), "{core:?}");
    // What only observes may always be left out: so each that is kept is needed.
    for at in 0..core.operations.len() {
        let mut rest = core.operations.clone();
        let left = &ops[rest.remove(at) as usize];
        let observes = matches!(left.ask, Ask::Read | Ask::Contains(_)) || left.heard == Heard::Differed;
        assert!(
            !observes || orderable(object, &part(ops, &rest, cut)),
            "{left:?} is not needed in {core:?} of {ops:#?}"
        );
    }
    (truth, by)
}

#[test]
fn every_small_history() {
    let mut counts = [0u64; 2];
    for object in OBJECTS {
        for size in 1..=3 {
            let values = if size < 3 { 3 } else { 2 };
            let all = All { object, size, processes: 3, values, lean: false };
            make::all(all, &mut |ops| counts[usize::from(compare(object, ops).0)] += 1);
        }
    }
    println!("all small histories: {} can be ordered, {} cannot", counts[1], counts[0]);
    assert!(counts[0] > 10_000 && counts[1] > 10_000);
}

#[test]
fn random_histories() {
    let count: u64 = std::option_env!("ORACLE").and_then(|count| count.parse().ok()).unwrap_or(4_000);
    for object in OBJECTS {
        let mut counts = [0u64; 2];
        for seed in 0..count {
            let ops = make::random(object, false, &mut Dice::new(seed));
            counts[usize::from(compare(object, &ops).0)] += 1;
        }
        println!("{object:?}: {} can be ordered, {} cannot", counts[1], counts[0]);
        assert!(counts[0] > count / 20 && counts[1] > count / 20, "{object:?}: {counts:?} is lopsided");
    }
}

/// Claim: the comparison can fail. A checker that reads `info` as `fail` raises false alarms here.
#[test]
fn info_read_as_fail_is_found() {
    let mut alarms = 0;
    for seed in 0..4_000 {
        let ops = make::random(Object::Register, false, &mut Dice::new(seed));
        let mut wrong = history(&ops);
        wrong.operations.retain(|operation| operation.outcome != Outcome::Info);
        let (_, judged) = judge(Object::Register, &wrong);
        alarms += u32::from(orderable(Object::Register, &ops) && !holds(judged.as_ref()));
    }
    println!("{alarms} false alarms of a checker that reads info as fail");
    assert!(alarms > 20);
}
