//! Claim: whatever budget a judge of transactions has, in memory or in time, what it says then it says with any larger one: the end
//! of a budget is no verdict.

use quorate_check::budget::Budget;
use quorate_check::txn::generate::{Isolation, Plan, history};
use quorate_check::txn::history::History;
use quorate_check::txn::{Model, Options, Report, check};
use quorate_check::verdict::Verdict;
use std::cell::Cell;

fn judge(history: &History, model: Model, looks: u64, bytes: u64) -> Report {
    let left = Cell::new(looks);
    let stop = || left.replace(left.get().saturating_sub(1)) == 0;
    let complete = Options { complete: model == Model::RwRegister, ..Options::default() };
    check(history, model, &complete, &mut Budget::new(&stop, bytes))
}

/// How many levels were unknown with the small budget.
fn compare(small: &Report, whole: &Report, told: &dyn Fn() -> String) -> u64 {
    let mut unknown = 0;
    for ((level, said), (_, truth)) in small.verdicts.iter().zip(&whole.verdicts) {
        match (said, truth) {
            (Verdict::Proved { .. }, Verdict::Proved { .. }) | (Verdict::Refuted(_), Verdict::Refuted(_)) => {
            }
            (Verdict::Proved { .. } | Verdict::Refuted(_), _) => {
                panic!("{}: {}: {said:?}, and then {truth:?}", told(), level.name())
            }
            (Verdict::Unknown { .. }, _) => unknown += 1,
            _ => {}
        }
    }
    unknown
}

#[test]
fn a_spent_budget_is_no_verdict() {
    let mut unknown = [0; 2];
    for seed in 0..12 {
        let (registers, isolation) = (
            seed % 2 == 0,
            [Isolation::StrictSerializable, Isolation::LaggingSnapshot, Isolation::ReadCommitted]
                [seed as usize / 2 % 3],
        );
        let plan = Plan {
            txns: 160,
            sessions: 6,
            keys: 4,
            isolation,
            registers,
            final_reads: true,
            seed,
            ..Plan::default()
        };
        let history = history(&plan).unwrap();
        let model = if registers { Model::RwRegister } else { Model::ListAppend };
        let whole = judge(&history, model, u64::MAX, 1 << 30);
        for bytes in std::iter::successors(Some(100_u64), |bytes| Some(bytes + bytes / 3)).take(44) {
            unknown[0] += compare(&judge(&history, model, u64::MAX, bytes), &whole, &|| {
                format!("seed {seed}, {bytes} bytes")
            });
        }
        for looks in 0..60 {
            unknown[1] += compare(&judge(&history, model, looks, 1 << 30), &whole, &|| {
                format!("seed {seed}, {looks} looks")
            });
        }
    }
    println!("{unknown:?} levels were unknown for want of memory, and of time");
    assert!(unknown.iter().all(|&count| count > 200), "{unknown:?}");
}
