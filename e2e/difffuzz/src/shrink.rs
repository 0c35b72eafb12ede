//! From a long run with a difference to a short one: first the shortest end of the run that still differs, by doubling,
//! then whatever can be left out of it. Each try begins on both sides anew, which symbolic revisions and leases allow.

use crate::op::Op;
use crate::run::{Difference, Run};
use std::time::{Duration, Instant};

/// How long this may take altogether.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs these requests; the difference that they show, and after how many.
async fn differs(run: &mut Run, ops: &[Op]) -> Option<(usize, Difference)> {
    if let Err(difference) = run.begin().await {
        return Some((0, difference));
    }
    for (at, op) in ops.iter().enumerate() {
        if let Err(difference) = run.step(op).await {
            return Some((at + 1, difference));
        }
    }
    run.settle().await.err().map(|difference| (ops.len(), difference))
}

/// Shrinks, and prints what remains.
pub async fn shrink(run: &mut Run, mut ops: Vec<Op>) {
    let began = Instant::now();
    let mut last = None;
    let mut length = 4;
    while length < ops.len() && began.elapsed() < PATIENCE / 2 {
        let end = ops[ops.len() - length..].to_vec();
        if let Some((needed, difference)) = differs(run, &end).await {
            ops = end[..needed].to_vec();
            last = Some(difference);
            break;
        }
        length *= 2;
    }
    let mut chunk = ops.len().div_ceil(2).max(1);
    while began.elapsed() < PATIENCE {
        let mut at = 0;
        while at < ops.len() && began.elapsed() < PATIENCE {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + chunk).min(ops.len()));
            match differs(run, &fewer).await {
                Some((needed, difference)) => {
                    fewer.truncate(needed);
                    ops = fewer;
                    last = Some(difference);
                }
                None => at += chunk,
            }
        }
        if chunk == 1 {
            break;
        }
        chunk /= 2;
    }
    match last {
        Some(difference) => println!("\nshrunk to {} requests:\n{difference}\nafter", ops.len()),
        None => println!("\nnot shrunk: no shorter run differs. The last requests:"),
    }
    for op in &ops[ops.len().saturating_sub(40)..] {
        println!("  {}", crate::op::brief(op));
    }
}
