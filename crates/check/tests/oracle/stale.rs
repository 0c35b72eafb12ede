//! Claim: the staleness of a register in time is the smallest that brute force finds, in versions its bounds hold.

use crate::brute::{Ask, Heard, Object, Op, history, orderable};
use crate::judge;
use crate::make::{self, Dice};
use quorate_check::budget::Budget;
use quorate_check::history::NEVER;

/// The same operations with all reads invoked earlier. Moments begin at 100, so that there is room.
fn earlier(ops: &[Op], delta: u32) -> Vec<Op> {
    let moved = |op: &Op| match op.ask {
        Ask::Read => Op { invoked: op.invoked - delta, ..*op },
        _ => *op,
    };
    ops.iter().map(moved).collect()
}

/// True where some order that keeps real time has each read return one of the last `k` values.
fn atomic(ops: &[Op], placed: u32, values: &[Option<i64>], k: usize) -> bool {
    let left = |place: usize| placed & 1 << place == 0;
    if (0..ops.len()).all(|place| !left(place) || ops[place].returned == NEVER) {
        return true;
    }
    (0..ops.len()).filter(|&place| left(place)).any(|place| {
        let op = &ops[place];
        if (0..ops.len()).any(|other| left(other) && ops[other].returned < op.invoked) {
            return false;
        }
        match (op.ask, op.heard) {
            (Ask::Write(value), _) => {
                let values: Vec<_> = values.iter().copied().chain([Some(value)]).collect();
                atomic(ops, placed | 1 << place, &values, k)
            }
            (_, Heard::Got(value)) => {
                let recent = &values[values.len().saturating_sub(k)..];
                recent.contains(&value) && atomic(ops, placed | 1 << place, values, k)
            }
            _ => atomic(ops, placed | 1 << place, values, k),
        }
    })
}

#[test]
fn staleness_is_what_brute_force_finds() {
    let seeds = std::env::var("ORACLE_STALE").ok().and_then(|count| count.parse().ok()).unwrap_or(2_000);
    let (mut stale, mut exact) = (0, 0);
    for seed in 0..seeds {
        let mut ops = make::random(Object::Register, true, &mut Dice::new(seed));
        ops.retain(|op| op.heard != Heard::Fail);
        for op in &mut ops {
            op.invoked += 100;
            op.returned = if op.returned == NEVER { NEVER } else { op.returned + 100 };
        }
        let mut history = history(&ops);
        let time = |moment: u32| if moment == NEVER { i64::MAX } else { i64::from(moment) };
        history.times = ops.iter().map(|op| (time(op.invoked), time(op.returned))).collect();
        let (judge, judged) = judge(Object::Register, &history);
        if judged.is_none_or(|judged| !judged.searched.is_empty()) {
            continue;
        }
        let never = || false;
        let found = judge.staleness(0, &history, &mut Budget::new(&never, 1 << 30));
        let delta = (0..=99).find(|&delta| orderable(Object::Register, &earlier(&ops, delta)));
        let versions = (1..=9).find(|&k| atomic(&ops, 0, &[None], k));
        assert_eq!(found.and_then(|found| found.time), delta.map(i64::from), "seed {seed}: {ops:#?}");
        let Some(found) = found else {
            assert_eq!(versions, None, "seed {seed}: {ops:#?}");
            continue;
        };
        let versions = versions.expect("some number of versions is enough") as u32;
        let (least, most) = found.versions;
        assert!(least <= versions && versions <= most, "seed {seed}: {found:?}, not {versions}, of {ops:#?}");
        stale += u32::from(found.time > Some(0));
        exact += u32::from(least == most);
    }
    println!("{stale} of {seeds} are stale; the versions are exact for {exact}");
    assert!(stale > seeds as u32 / 200);
}
