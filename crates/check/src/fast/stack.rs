//! Stacks whose popped values were pushed once: from the bottom up. O(n · depth), at most O(n²).
//!
//! In an order of a stack, the times from push to pop of two values are one inside the other or apart. Who saw it empty is
//! judged as for any container ([`cover`](super::cover)); besides, a value without a time of presence (its push and its pop
//! can be placed next to each other) never troubles anybody: its two calls fit, together, anywhere.
//!
//! The others surely lie on the stack from the return of the push to the invocation of the pop; what was never popped lies
//! there for ever. Values whose times overlap, one after the other, are a *heap*: at each moment from `L`, its first beginning,
//! to `R`, its last end, something of it lies on the stack. So all the time the same value lies at the bottom: the bottom
//! changes only where nothing is there. This value was pushed before `L` and popped after `R`: it can be the bottom if its
//! push was invoked before `L` and its pop returned after `R`. If the heap has no such value, the history is refuted.
//!
//! **Which of several is the same.** Let an order exist with `x` at the bottom, and let `y` be able to be the bottom too. Push
//! `y` right at `L` and pop it right at `R`, around all of the heap: `y` is the bottom, and all else stands as it stood.
//!
//! So all that can be the bottom are taken away, and the rest, which falls into smaller heaps, is judged in the same way.
//! **Enough:** each value taken away is pushed at the `L` and popped at the `R` of its heap (those taken away together one
//! around the other), everything else of that heap lies between, and different heaps lie apart.
//!
//! Each round looks at the values that are left: as many rounds as values can lie on each other.
//!
//! **Takes exactly, passes on:** what [`bag`](super::bag) does.

use super::bag::{Early, Items};
use super::cover::{Zone, chain};
use super::{Answer, Case};
use crate::history::{Call, Moment, NEVER};
use crate::models::bag::BagAction;

/// The name of this algorithm in verdicts.
const NAME: &str = "stack from the bottom";

/// Decides calls on a stack.
pub(crate) fn decide<A>(
    calls: &[Call<A>],
    what: impl Fn(&A) -> BagAction + Copy,
    case: &mut Case<'_, '_>,
) -> Answer {
    Items::decide(calls, what, NAME, case, nested)
}

/// A value that lies on the stack for a while, and how far its calls let it reach beyond that.
#[derive(Clone, Copy, Debug)]
struct Layer {
    zone: Zone,
    push_invoked: Moment,
    pop_returned: Moment,
}

fn nested<A>(items: &Items<'_, A>, case: &mut Case<'_, '_>) -> Early<()> {
    let mut layers: Vec<Layer> = items
        .zones()
        .into_iter()
        .map(|zone| {
            let item = items.items[zone.item as usize];
            Layer {
                zone,
                push_invoked: items.calls[item.add as usize].invoked,
                pop_returned: items.calls.get(item.take as usize).map_or(NEVER, |pop| pop.returned),
            }
        })
        .collect();
    case.budget.take((layers.len() * 2 * size_of::<Layer>()) as u64)?;
    layers.sort_unstable_by_key(|layer| layer.zone.from);
    case.budget.look()?;
    // Heaps and what may be several, side by side in `layers`.
    let mut left = vec![(0, layers.len())];
    while let Some((from, to)) = left.pop() {
        let mut at = from;
        while at < to {
            let (end, last) = heap(&layers[at..to]);
            let kept = without_bottoms(&mut layers[at..at + end], last);
            if kept == end {
                return Err(no_bottom(items, &layers[at..at + end], last, case));
            }
            if kept > 0 {
                left.push((at, at + kept));
            }
            for _ in 0..end.div_ceil(64) {
                case.budget.step()?;
            }
            at += end;
        }
    }
    Ok(())
}

/// How many of the layers, sorted by their beginnings, are in the first heap, and when that ends.
fn heap(layers: &[Layer]) -> (usize, Moment) {
    let mut last = layers[0].zone.to;
    let mut end = 1;
    while let Some(layer) = layers.get(end).filter(|layer| layer.zone.from < last) {
        last = last.max(layer.zone.to);
        end += 1;
    }
    (end, last)
}

/// Moves what cannot be the bottom of a heap to its front, in the same order: so many are left.
fn without_bottoms(heap: &mut [Layer], last: Moment) -> usize {
    let first = heap[0].zone.from;
    let mut kept = 0;
    for place in 0..heap.len() {
        let layer = heap[place];
        let bottom = layer.push_invoked < first && layer.pop_returned >= last;
        if !bottom {
            heap[kept] = layer;
            kept += 1;
        }
    }
    kept
}

fn no_bottom<A>(items: &Items<'_, A>, heap: &[Layer], last: Moment, case: &Case<'_, '_>) -> Answer {
    // A few that hold the heap together have no bottom either.
    let zones: Vec<Zone> = heap.iter().map(|layer| layer.zone).collect();
    let first = &heap[0];
    let mut few = vec![first.zone.item];
    few.extend(chain(&zones, first.zone.to, last));
    let shown: Vec<String> = few
        .iter()
        .take(4)
        .map(|&item| case.show(&items.calls[items.items[item as usize].add as usize]))
        .collect();
    let words = format!(
        "what was pushed by {}{} lay on the stack in turn, so that one of them lay below all others all the time, but none was pushed before and popped after the others",
        shown.join(", "),
        if few.len() > 4 { " and others" } else { "" }
    );
    items.refuted("not nested", words, few.iter().flat_map(|&item| items.both(item)).collect())
}
