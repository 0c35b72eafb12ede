//! FIFO queues whose dequeued values were enqueued once. O(n log n).
//!
//! Who saw it empty cuts the history into phases ([`cover`](super::cover)); inside a phase nobody does. There, let each value
//! `x` have the times of its two calls, tightened: the enqueue of `x` takes effect before its dequeue returns, the dequeue
//! after its enqueue was invoked. What was never dequeued is dequeued after everything.
//!
//! Both the enqueues and the dequeues stand in one and the same order of the values. So `a` has to be before `b` if the
//! enqueue of `a` returned before that of `b` was invoked (E), or if the dequeue of `a` did before that of `b` (D); E and D
//! are interval orders. The history is refuted if some pair has `a` before `b` in E and behind it in D.
//!
//! **That is all:** in an interval order, from `a < b` and `c < d` follows `a < d` or `c < b`. Take a shortest cycle in the
//! union of E and D, of more than two; both are transitive, so it alternates: … a E b D … c E d D …. If `a E d`, the cycle
//! is shorter without what lies between; if `c E b`, what lies between is a shorter cycle. So a cycle of two exists if any
//! does. Without cycle, take an order of the values in which E and D agree, the enqueues in it, the dequeues in it. What is
//! left is real time between an enqueue and a dequeue. If the dequeue of `b` returned before the enqueue of `a` was invoked,
//! `b` is before `a` by D, tightened. An enqueue of `a` that returned before the dequeue of `b` was invoked would break it
//! only with some `d`, `e` in a cycle: `b ≤ d < e ≤ a`, where the dequeue of `d` returned before the enqueue of `e` was
//! invoked; then the enqueue of `a` returned before that of `e` was invoked, so that `a < e`, which is no order.
//!
//! **Takes exactly, passes on:** what [`bag`](super::bag) does.

use super::bag::{Early, Items};
use super::{Answer, Case};
use crate::history::{Call, Moment, NEVER};
use crate::models::bag::BagAction;

/// The name of this algorithm in verdicts.
const NAME: &str = "FIFO by pairs of values";

/// Decides calls on a queue.
pub(crate) fn decide<A>(
    calls: &[Call<A>],
    what: impl Fn(&A) -> BagAction + Copy,
    case: &mut Case<'_, '_>,
) -> Answer {
    Items::decide(calls, what, NAME, case, in_order)
}

/// Looks for a value that was certainly enqueued before another and certainly dequeued behind it.
fn in_order<A>(items: &Items<'_, A>, case: &mut Case<'_, '_>) -> Early<()> {
    case.budget.take(items.items.len() as u64 * 12)?;
    let mut enqueued: Vec<(Moment, u32)> =
        (0..items.items.len() as u32).map(|item| (items.presence(item).0, item)).collect();
    enqueued.sort_unstable();
    case.budget.look()?;
    let mut next = 0;
    // Of all that were enqueued before: the one whose dequeue began last, and when.
    let mut last: (Moment, u32) = (0, 0);
    for (place, item) in items.items.iter().enumerate() {
        let invoked = items.calls[item.add as usize].invoked;
        while let Some(&(_, before)) = enqueued.get(next).filter(|(returned, _)| *returned < invoked) {
            last = last.max((items.presence(before).1, before));
            next += 1;
        }
        let returned = items.calls.get(item.take as usize).map_or(NEVER, |take| take.returned);
        if returned < last.0 {
            return Err(overtaken(items, last.1, place as u32, case));
        }
    }
    Ok(())
}

/// `one` was enqueued before `two`, and not dequeued before it.
fn overtaken<A>(items: &Items<'_, A>, one: u32, two: u32, case: &Case<'_, '_>) -> Answer {
    let show = |call: u32| case.show(&items.calls[call as usize]);
    let [a, b] = [items.items[one as usize], items.items[two as usize]];
    let behind = match items.calls.get(a.take as usize) {
        None => "the first was never dequeued".to_string(),
        Some(_) => format!("it returned before {} was invoked", show(a.take)),
    };
    let words = format!(
        "{} was over before {} began, but {} came out; {behind}",
        show(a.add),
        show(b.add),
        show(b.take)
    );
    items.refuted("out of order", words, items.both(one).chain(items.both(two)).collect())
}
