//! Counters to which the same amount is always added: additions as jobs, values as slots. O(n log n).
//!
//! Where amounts differ, a read says which sum was reached but not by whom: that is a subset sum, and searched. Where all add
//! the same, additions are interchangeable but for their times, and the `i`-th addition is a *slot*: it takes effect not
//! before any read of fewer than `i` additions was invoked, and not after any read of `i` or more returned. So the slot has a
//! time from `R(i)` to `D(i)`, both growing with `i`. The history can be ordered if and only if additions can be given to
//! slots such that their times meet, each completed addition has a slot, and each slot that a read has seen has an addition
//! (slots behind the last seen one are as many as one likes, from the last read on).
//!
//! **Enough:** times that meet two by two, meet all three (an addition's, and `R ≤ D`); and if additions take effect in
//! another order than their slots, two of them may change places, since `R` and `D` grow. **Needed:** plainly.
//!
//! An addition's slots are neighbours, so this is a matching of jobs with runs of slots: going through the slots, each takes
//! the addition whose last slot comes first. By Mendelsohn and Dulmage's theorem it is enough to know that the completed
//! additions have a matching and the seen slots have one: then one matching serves both.
//!
//! **Takes exactly:** completed and pending additions and reads; failed ones (they did not happen); additions of 0 (they do
//! nothing). **Passes on:** additions of different amounts. A refutation is narrowed to the first return that does not fit,
//! by bisection: O(n log² n).

use super::{Answer, Case, Refuted};
use crate::history::{Call, Moment, NEVER};
use crate::models::counter::Action;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The name of this algorithm in verdicts.
const NAME: &str = "counter by slots";

/// Decides calls on a counter.
pub(crate) fn decide(initial: i64, calls: &[Call<Action>], case: &mut Case<'_, '_>) -> Answer {
    let mut step = 0;
    for call in calls {
        match call.action {
            Action::Add(amount) if amount != 0 && step != 0 && amount != step => {
                return Answer::Passed("the amounts that are added differ".into());
            }
            Action::Add(amount) if amount != 0 => step = amount,
            _ => {}
        }
    }
    // So that no sum wraps around.
    if step.checked_mul(calls.len() as i64).and_then(|sum| sum.checked_add(initial)).is_none() {
        return Answer::Passed("the sum may be larger than a number of 64 bits".into());
    }
    let counter = Counter { initial, step, calls };
    match counter.run(case) {
        Ok(answer) => answer,
        Err(spent) => Answer::Spent(spent),
    }
}

struct Counter<'a> {
    initial: i64,
    step: i64,
    calls: &'a [Call<Action>],
}

/// From when to when something happens.
type Span = (Moment, Moment);

impl Counter<'_> {
    fn run(&self, case: &mut Case<'_, '_>) -> Result<Answer, crate::budget::Spent> {
        case.budget.take(self.calls.len() as u64 * 48)?;
        if self.fits_until(NEVER) {
            return Ok(Answer::Holds(NAME, Vec::new()));
        }
        let mut returns: Vec<(Moment, u32)> =
            self.calls.iter().zip(0..).map(|(call, place)| (call.returned, place)).collect();
        returns.retain(|(returned, _)| *returned != NEVER);
        returns.sort_unstable();
        let (mut fits, mut not) = (0, returns.len());
        while fits + 1 < not {
            case.budget.look()?;
            let middle = fits.midpoint(not);
            if self.fits_until(returns[middle - 1].0) {
                fits = middle;
            } else {
                not = middle;
            }
        }
        let (last, blocked) = returns[not - 1];
        let has_part = |call: &Call<Action>| match call.action {
            Action::Add(_) => call.invoked < last,
            Action::Read(_) => call.returned <= last,
        };
        let guilty =
            (0..self.calls.len() as u32).filter(|&place| has_part(&self.calls[place as usize])).collect();
        let words = format!(
            "{} has no place: what returned before fits, but with it there are too many or too few additions for what was read",
            case.show(&self.calls[blocked as usize])
        );
        Ok(Answer::Refuted(Refuted { by: NAME, kind: "a count that cannot be", words, guilty }))
    }

    /// True where what is invoked up to a moment fits; what returns later is pending.
    fn fits_until(&self, last: Moment) -> bool {
        let mut adds: Vec<Span> = Vec::new();
        let mut reads: Vec<(i64, Span)> = Vec::new();
        for call in self.calls.iter().take_while(|call| call.invoked <= last) {
            let returned = if call.returned > last { NEVER } else { call.returned };
            match call.action {
                Action::Add(0) => {}
                Action::Add(_) => adds.push((call.invoked, returned)),
                Action::Read(_) if returned == NEVER => {}
                Action::Read(value) => reads.push((value, (call.invoked, returned))),
            }
        }
        let mut counted = Vec::with_capacity(reads.len());
        for (value, span) in reads {
            match self.additions(value) {
                Some(additions) if additions <= adds.len() => counted.push((additions, span)),
                _ => return false,
            }
        }
        fits(&adds, &counted)
    }

    /// After how many additions a value stands there.
    fn additions(&self, value: i64) -> Option<usize> {
        let more = value.checked_sub(self.initial)?;
        match self.step {
            0 => (more == 0).then_some(0),
            step if more % step == 0 => usize::try_from(more / step).ok(),
            _ => None,
        }
    }
}

/// True where such additions can have been seen by reads of so many of them.
fn fits(adds: &[Span], reads: &[(usize, Span)]) -> bool {
    let seen = reads.iter().map(|read| read.0).max().unwrap_or(0);
    // Place i is slot i + 1; the last stands for all slots that nobody saw.
    let (mut from, mut to) = (vec![0; seen + 1], vec![NEVER; seen + 1]);
    for &(additions, (invoked, returned)) in reads {
        from[additions] = from[additions].max(invoked);
        if additions > 0 {
            to[additions - 1] = to[additions - 1].min(returned);
        }
    }
    for place in 1..=seen {
        from[place] = from[place].max(from[place - 1]);
        let earlier = seen - place;
        to[earlier] = to[earlier].min(to[earlier + 1]);
    }
    if from.iter().zip(&to).any(|(from, to)| from > to) {
        return false;
    }
    // Their first slot, the one behind their last, and whether they need one.
    let mut jobs: Vec<(usize, usize, bool)> = Vec::with_capacity(adds.len());
    for &(invoked, returned) in adds {
        let first = to.partition_point(|&to| to < invoked);
        let behind = from.partition_point(|&from| from <= returned);
        jobs.push((first, behind, returned != NEVER));
    }
    jobs.sort_unstable();
    all_placed(&jobs, seen) && all_filled(&jobs, seen)
}

/// Each addition that needs a slot has one.
fn all_placed(jobs: &[(usize, usize, bool)], seen: usize) -> bool {
    let mut waiting = BinaryHeap::new();
    let mut jobs = jobs.iter().filter(|job| job.2).peekable();
    for slot in 0..=seen {
        while let Some(job) = jobs.next_if(|job| job.0 <= slot) {
            waiting.push(Reverse(job.1));
        }
        if waiting.peek().is_some_and(|Reverse(behind)| *behind <= slot) {
            return false;
        }
        waiting.pop();
    }
    waiting.into_iter().all(|Reverse(behind)| behind > seen)
}

/// Each seen slot has an addition.
fn all_filled(jobs: &[(usize, usize, bool)], seen: usize) -> bool {
    let mut waiting = BinaryHeap::new();
    let mut jobs = jobs.iter().peekable();
    for slot in 0..seen {
        while let Some(job) = jobs.next_if(|job| job.0 <= slot) {
            waiting.push(Reverse(job.1));
        }
        while waiting.peek().is_some_and(|Reverse(behind)| *behind <= slot) {
            waiting.pop();
        }
        if waiting.pop().is_none() {
            return false;
        }
    }
    true
}
