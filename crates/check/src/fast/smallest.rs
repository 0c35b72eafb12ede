//! Priority queues whose taken values were inserted once: each against all smaller ones. O(n log n).
//!
//! Whoever takes the value `x` sees no smaller one, as somebody who sees the queue empty sees none ([`cover`](super::cover)):
//! larger values have no say in that. So let `U` be the times at which something smaller than `x` is surely in the queue. There
//! has to be a moment outside of `U` that is not before the insertion or the taking of `x` was invoked and not after the taking
//! returned. If there is one for each taken value, the history can be ordered.
//!
//! **Needed:** something smaller is in the queue throughout `U`, in every order. **Enough:** place each taking at its
//! earliest such moment, each insertion at its return or right before the taking, whichever is earlier; at one moment smaller
//! values go first. While it waits for its moment, `x` is in the queue longer than its own calls demand; but that time lies
//! in `U`, so no larger value is taken in it. So a value's moment has no smaller value in the queue. (To go from the largest
//! value down, and ask each time for a moment at which the rest can be empty, is the "decrease and conquer" of arXiv
//! 2410.04581.)
//!
//! The moments in question are invocations only: times of presence end at one, and everybody who looks begins at one.
//! `U` grows from the smallest value on, in a union-find over the invocations, where the next free one is found in nearly
//! constant time.
//!
//! **Takes exactly, passes on:** what [`bag`](super::bag) does.

use super::bag::{Early, Items};
use super::cover::{Zone, chain};
use super::{Answer, Case, NONE};
use crate::history::{Call, NEVER};
use crate::models::bag::BagAction;

/// The name of this algorithm in verdicts.
const NAME: &str = "priorities from the smallest";

/// Decides calls on a priority queue; `what` also says the priority of what is added or taken.
pub(crate) fn decide<A>(
    calls: &[Call<A>],
    what: impl Fn(&A) -> (BagAction, i64) + Copy,
    case: &mut Case<'_, '_>,
) -> Answer {
    let priority = |items: &Items<'_, A>, item: u32| {
        what(&items.calls[items.items[item as usize].add as usize].action).1
    };
    Items::decide(
        calls,
        |action| what(action).0,
        NAME,
        case,
        |items, case| {
            case.budget.take((items.items.len() * 16 + items.calls.len() * 4) as u64)?;
            let mut sorted: Vec<(i64, u32)> =
                (0..items.items.len() as u32).map(|item| (priority(items, item), item)).collect();
            sorted.sort_unstable();
            case.budget.look()?;
            smallest_first(items, &sorted, case)
        },
    )
}

/// Goes through the items by their priorities.
fn smallest_first<A>(items: &Items<'_, A>, sorted: &[(i64, u32)], case: &mut Case<'_, '_>) -> Early<()> {
    let mut free = Free::new(items.calls.len());
    for (place, &(_, item)) in sorted.iter().enumerate() {
        case.budget.step()?;
        let (from, to) = items.presence(item);
        let mut end = items.calls.len();
        if let Some(take) = items.calls.get(items.items[item as usize].take as usize) {
            end = looks_from(items, item);
            let first = items.calls.get(free.next(end)).map_or(NEVER, |call| call.invoked);
            if first > take.returned {
                return Err(never_smallest(items, &sorted[..place], item, case));
            }
        }
        if from < to {
            free.cover(items.calls.partition_point(|call| call.invoked < from), end);
        }
    }
    Ok(())
}

/// The place of the first invocation at which an item can be taken, as far as its own calls go.
fn looks_from<A>(items: &Items<'_, A>, item: u32) -> usize {
    let item = items.items[item as usize];
    item.add.max(item.take) as usize
}

/// Says that something smaller was there all the time.
fn never_smallest<A>(items: &Items<'_, A>, smaller: &[(i64, u32)], item: u32, case: &Case<'_, '_>) -> Answer {
    let mut zones: Vec<Zone> = smaller
        .iter()
        .map(|&(_, item)| {
            let (from, to) = items.presence(item);
            Zone { from, to, item }
        })
        .filter(|zone| zone.from < zone.to)
        .collect();
    zones.sort_unstable_by_key(|zone| zone.from);
    let take = items.items[item as usize].take;
    debug_assert_ne!(take, NONE);
    let from = items.calls[looks_from(items, item)].invoked;
    let cover = chain(&zones, from, items.calls[take as usize].returned);
    let show = |call: u32| case.show(&items.calls[call as usize]);
    let first = cover.first().map_or(String::new(), |&item| show(items.items[item as usize].add));
    let words = format!(
        "{} took it while all the time something smaller was there: what {first} put in{}",
        show(take),
        if cover.len() > 1 { ", then others" } else { "" },
    );
    let guilty = cover.iter().chain([&item]).flat_map(|&item| items.both(item)).collect();
    items.refuted("not the smallest", words, guilty)
}

/// Which places are not covered yet.
struct Free {
    /// A place that is free points to itself, others to one behind that is nearer to a free one.
    next: Vec<u32>,
}

impl Free {
    fn new(places: usize) -> Self {
        Self { next: (0..=places as u32).collect() }
    }

    /// The first free place from `place` on; one behind the last place is always free.
    fn next(&mut self, place: usize) -> usize {
        let mut at = place;
        while self.next[at] as usize != at {
            let further = self.next[self.next[at] as usize];
            self.next[at] = further;
            at = further as usize;
        }
        at
    }

    /// Covers the places from `begin` up to before `end`.
    fn cover(&mut self, begin: usize, end: usize) {
        let mut at = self.next(begin);
        while at < end {
            self.next[at] = at as u32 + 1;
            at = self.next(at);
        }
    }
}
