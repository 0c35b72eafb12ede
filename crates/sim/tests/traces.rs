//! Claims: a trace changes nothing in a run and tells what happened in it; steps that are left out are left out, and no other.

use quorate_base::time::Duration;
use quorate_sim::{Breaker, Plan, StepName, What};

fn plan(seed: u64) -> Plan {
    Plan { span: Duration::from_secs(5), ..Plan::of(seed) }
}

#[test]
fn a_run_that_is_traced_is_the_same_run() {
    let plain = plan(7).run();
    let (traced, records) = plan(7).trace();
    assert_eq!((plain.digest, plain.events), (traced.digest, traced.events));
    assert!(records.is_sorted_by_key(|record| record.at));
    let any = |is: fn(&What) -> bool| records.iter().any(|record| is(&record.what));
    assert!(any(|what| matches!(what, What::Message { .. })), "no message");
    assert!(any(|what| matches!(what, What::Role { .. })), "no role");
    assert!(any(|what| matches!(what, What::Commit { .. })), "no commit");
    assert!(any(|what| matches!(what, What::Answered { .. })), "no client was answered");
    assert!(any(|what| matches!(what, What::Fault(_))), "nothing was broken");
}

#[test]
fn only_the_steps_that_are_named_are_taken() {
    let all = plan(3).run().steps;
    let first = all.iter().copied().find(|step| step.0 == Breaker::Nemesis).unwrap();
    assert!(all.len() > 1, "{all:?}");
    assert_eq!(Plan { steps: Some(vec![first]), ..plan(3) }.run().steps, [first]);
    assert_eq!(Plan { steps: Some(vec![]), ..plan(3) }.run().steps, [] as [StepName; 0]);
    assert_eq!(Plan { steps: Some(all.clone()), ..plan(3) }.run().steps, all);
}
