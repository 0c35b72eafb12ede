//! The holders of a lock: from the return of an `acquire` to the invocation of the same process's next `release`, the process
//! holds the lock for certain. Two that hold one lock at a time are a violation; so is a token that is not above that of an
//! `acquire` that had returned before. A `release` whose end is unknown ends the hold at its invocation: nobody can say more.

use super::{Looked, Stop, bad, function, unknown};
use crate::budget::Budget;
use crate::history::{History, Moment, NEVER, Outcome};
use crate::table::Table;
use crate::value::{Datum, Value};
use std::collections::BTreeMap;

/// One that held the lock.
#[derive(Clone, Copy)]
struct Hold {
    from: Moment,
    to: Moment,
    asked: Moment,
    token: Option<i64>,
    operation: u32,
}

pub(super) fn look(history: &History, looked: &mut Looked, budget: &mut Budget<'_>) -> Result<(), Stop> {
    let mut locks: BTreeMap<Value, Vec<Hold>> = BTreeMap::new();
    let mut open: Table<(u32, Value), usize> = Table::default();
    let mut holds = 0_u64;
    for (place, operation) in history.operations.iter().enumerate() {
        budget.step()?;
        let of = (operation.process, operation.key);
        match function(history, operation) {
            "acquire" | "lock" if operation.outcome == Outcome::Ok => {
                budget.take(48)?;
                holds += 1;
                let token = match history.values.datum(operation.result) {
                    Datum::Int(token) => Some(*token),
                    Datum::Nil | Datum::Bool(true) => None,
                    // Some write the lock's name there, or what was asked.
                    _ if operation.result == operation.argument || operation.result == operation.key => None,
                    _ => {
                        let result = history.values.show(operation.result);
                        let what = format!("a token is a whole number of 64 bits, not {result}");
                        return Err(bad(history, place, what, "an acquire without a token returns nil"));
                    }
                };
                let lock = locks.entry(operation.key).or_default();
                open.insert(of, lock.len());
                let (from, asked) = (operation.returned, operation.invoked);
                lock.push(Hold { from, to: NEVER, asked, token, operation: place as u32 });
            }
            "acquire" | "lock" => {}
            "release" | "unlock" if operation.outcome == Outcome::Fail => {}
            "release" | "unlock" => {
                let hold = open.get(&of).and_then(|&at| locks.get_mut(&operation.key)?.get_mut(at));
                if let Some(hold) = hold.filter(|hold| hold.to == NEVER) {
                    hold.to = operation.invoked;
                }
            }
            _ => return Err(unknown(history, place, "acquire, release")),
        }
    }
    for holds in locks.values_mut() {
        overlaps(history, holds, looked);
        tokens(history, holds, looked);
    }
    looked.notes.push(format!("{holds} holds of {} locks", locks.len()));
    if holds == 0 {
        looked.blind = Some("the lock was never acquired".to_owned());
    }
    Ok(())
}

const TWO: (&str, &str) = ("two-holders", "two processes held the lock at the same time");
const TOKEN: (&str, &str) = ("token-not-greater", "a later holder got a token that is not greater");

fn overlaps(history: &History, holds: &mut [Hold], looked: &mut Looked) {
    holds.sort_unstable_by_key(|hold| hold.from);
    let mut last: Option<Hold> = None;
    for &hold in holds.iter() {
        if let Some(last) = last.filter(|last| hold.from < last.to) {
            looked.violation(TWO, &[last.operation, hold.operation], || {
                let (one, other) = (history.show(last.operation), history.show(hold.operation));
                format!("Before the one released it, the other had it: {one}; {other}.")
            });
        }
        if last.is_none_or(|last| hold.to > last.to) {
            last = Some(hold);
        }
    }
}

/// Of all that had returned before an acquire was invoked, the greatest token is below its own.
fn tokens(history: &History, holds: &mut [Hold], looked: &mut Looked) {
    let mut returned: Vec<Hold> = holds.iter().copied().filter(|hold| hold.token.is_some()).collect();
    let mut asked = returned.clone();
    returned.sort_unstable_by_key(|hold| hold.from);
    asked.sort_unstable_by_key(|hold| hold.asked);
    let mut greatest: Option<Hold> = None;
    let mut before = returned.iter().peekable();
    for hold in asked {
        while let Some(&done) = before.next_if(|done| done.from < hold.asked) {
            if greatest.is_none_or(|greatest| greatest.token < done.token) {
                greatest = Some(done);
            }
        }
        if let Some(greatest) = greatest.filter(|greatest| greatest.token >= hold.token) {
            looked.violation(TOKEN, &[greatest.operation, hold.operation], || {
                let (one, other) = (history.show(greatest.operation), history.show(hold.operation));
                format!("The first had returned before the second began: {one}; {other}.")
            });
        }
    }
}
