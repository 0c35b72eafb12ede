//! Priority queues whose taken values were inserted once: from the smallest value to the largest. O(n log n).
//!
//! Whoever takes the value `x` sees no smaller one, as somebody who sees the queue empty sees none: a view of a part of the
//! queue that larger values have no say in. So the values are added to the picture from the smallest on, each a step of
//! "decrease and conquer" (arXiv 2410.04581) backwards. Let `U` be the times at which surely something smaller than `x` is in
//! the queue. `x` is taken at a moment that is outside of `U`, not before its insertion or its taking was invoked, and not
//! after its taking returned: there has to be one. The earliest such moment is the best for all larger values: with `x` gone
//! by then, and inserted as late as may be, `x` is surely there from the return of its insertion to that moment, and no
//! longer; this time is added to `U`. Who saw the queue empty is as one who takes a value larger than all.
//!
//! **Enough:** place each taking at its earliest moment, each insertion at its return or at that moment, whichever is
//! earlier; at one moment smaller values come and go first. Then a larger value's moment has no smaller value in the queue.
//! **Needed:** by induction no order has a smaller value outside of its time in `U`.
//!
//! The moments in question are invocations only: times of presence end at one, and everybody who looks begins at one.
//! `U` is a union-find over the invocations, in which the next free one is found in nearly constant time.
//!
//! **Takes exactly, passes on:** what [`bag`](super::bag) does.

use super::bag::{Early, Items};
use super::cover::{Zone, chain};
use super::{Answer, Case, NONE};
use crate::history::{Call, Moment, NEVER};
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
            let mut sorted: Vec<(i64, u32)> =
                (0..items.items.len() as u32).map(|item| (priority(items, item), item)).collect();
            sorted.sort_unstable();
            case.budget.take((sorted.len() * 32 + items.calls.len() * 4) as u64)?;
            case.budget.look()?;
            Picture { items, free: Free::new(items.calls.len()), known: Vec::new() }.run(&sorted, case)
        },
    )
}

struct Picture<'a, 'c, A> {
    items: &'a Items<'c, A>,
    free: Free,
    /// The times of those that are in the picture, from the smallest on.
    known: Vec<Zone>,
}

impl<A> Picture<'_, '_, A> {
    fn run(&mut self, sorted: &[(i64, u32)], case: &mut Case<'_, '_>) -> Early<()> {
        for &(_, item) in sorted {
            case.budget.step()?;
            let add = &self.items.calls[self.items.items[item as usize].add as usize];
            let take = self.items.items[item as usize].take;
            let (from, mut to) = (add.returned, NEVER);
            let mut end = self.items.calls.len();
            if take != NONE {
                end = self.free.next(self.looks_from(item));
                let returned = self.items.calls[take as usize].returned;
                to = self.items.calls.get(end).map_or(NEVER, |call| call.invoked);
                if to > returned {
                    return Err(self.never_least(item, case));
                }
            }
            if from < to {
                let begin = self.items.calls.partition_point(|call| call.invoked < from);
                self.free.cover(begin, end);
                self.known.push(Zone { from, to, item });
            }
        }
        for &empty in &self.items.empties {
            let call = &self.items.calls[empty as usize];
            let free =
                self.items.calls.get(self.free.next(empty as usize)).map_or(NEVER, |call| call.invoked);
            if free > call.returned {
                let cover = self.cover(call.invoked, call.returned, self.known.len());
                return Err(self.items.not_empty_words(empty, &cover, case));
            }
        }
        Ok(())
    }

    /// The first invocation at which an item can be taken, as far as its own calls go.
    fn looks_from(&self, item: u32) -> usize {
        let item = self.items.items[item as usize];
        item.add.max(item.take) as usize
    }

    /// Items among the first `known` that cover a span, and those that make their times as long as they are.
    fn cover(&self, from: Moment, to: Moment, known: usize) -> Vec<u32> {
        let mut spans = vec![(from, to, known)];
        let mut found: Vec<u32> = Vec::new();
        let mut place = vec![NONE; self.items.items.len()];
        for (at, zone) in self.known.iter().enumerate() {
            place[zone.item as usize] = at as u32;
        }
        while let Some((from, to, known)) = spans.pop() {
            let mut sorted = self.known[..known].to_vec();
            sorted.sort_unstable_by_key(|zone| zone.from);
            for item in chain(&sorted, from, to) {
                if found.contains(&item) {
                    continue;
                }
                found.push(item);
                let at = place[item as usize] as usize;
                let own = self.items.calls[self.looks_from(item).min(self.items.calls.len() - 1)].invoked;
                if self.items.items[item as usize].take != NONE && own < self.known[at].to {
                    spans.push((own, self.known[at].to, at));
                }
            }
        }
        found
    }

    fn never_least(&self, item: u32, case: &Case<'_, '_>) -> Answer {
        let from = self.items.calls[self.looks_from(item)].invoked;
        let take = self.items.items[item as usize].take;
        let cover = self.cover(from, self.items.calls[take as usize].returned, self.known.len());
        let show = |call: u32| case.show(&self.items.calls[call as usize]);
        let first = cover.first().map_or(String::new(), |&item| show(self.items.items[item as usize].add));
        let words = format!(
            "{} took it while all the time something smaller was there, as what {first} put in{}",
            show(take),
            if cover.len() > 1 { ", and others in turn" } else { "" },
        );
        let guilty = cover.iter().chain([&item]).flat_map(|&item| self.items.both(item)).collect();
        self.items.refuted("not the smallest", words, guilty)
    }
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
