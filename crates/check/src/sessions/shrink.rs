//! Shrinks operations that no order explains, without regard to time, to a core that has none either.
//!
//! Only such operations go that cannot make an innocent history guilty: from an order of the larger history they could be taken
//! out, and it would still be one. These may go: what only observes; what fills a cell, where nothing that is left needs what it
//! filled in, or looks for something else than it; all operations with one value of a container, unless something that saw them
//! all is left. In the end nothing more can go, or the looks are used up, which bounds the cost: what is left is a core all the
//! same.

use super::sequential::search;
use crate::budget::Budget;
use crate::history::Call;
use crate::model::{Flow, Model};
use std::cell::Cell;

/// So often the clock is looked at in all tries together: once for a place of a search.
const LOOKS: u32 = 400_000;

/// Calls, each with the number of its object.
type Calls = Vec<(Call<u32>, u32)>;

/// The places in the history of operations that have no order.
pub(super) fn shrink<M: Model>(
    model: &M,
    actions: &[M::Action],
    calls: &[(Call<u32>, u32)],
    budget: &Budget<'_>,
) -> Vec<u32> {
    let (clock, left) = (budget.clock(), Cell::new(LOOKS));
    let stop = || {
        left.set(left.get().saturating_sub(1));
        left.get() == 0 || clock()
    };
    // The other levels have what is left of the budget.
    let mut budget = Budget::new(&stop, budget.left());
    let flows: Vec<Flow> = actions.iter().map(|action| model.flow(action)).collect();
    let observes: Vec<bool> = actions.iter().map(|action| model.observes(action)).collect();
    let mut kept = calls.to_vec();
    let mut size = kept.len().div_ceil(2).max(1);
    'sizes: loop {
        let (mut went, mut from) = (false, 0);
        while from < kept.len() {
            let to = (from + size).min(kept.len());
            match without(&kept, from, to, &flows, &observes) {
                Some(fewer) if matches!(search(model, actions, &fewer, &mut budget), Ok(Some(_))) => {
                    (kept, went) = (fewer, true);
                }
                _ => from = to,
            }
            if budget.look().is_err() {
                break 'sizes;
            }
        }
        match (size, went) {
            (1, false) => break,
            (1, true) => {}
            _ => size = size.div_ceil(2),
        }
    }
    kept.iter().map(|(call, _)| call.source).collect()
}

/// What is left without those calls in a range that may go; `None` where none may.
fn without(kept: &Calls, from: usize, to: usize, flows: &[Flow], observes: &[bool]) -> Option<Calls> {
    let flow = |place: usize| &flows[kept[place].0.action as usize];
    let mut gone = vec![false; kept.len()];
    for (place, gone) in gone.iter_mut().enumerate().take(to).skip(from) {
        *gone = observes[kept[place].0.action as usize];
    }
    for place in from..to {
        match flow(place) {
            _ if gone[place] => {}
            Flow::Cell { gives: Some(value), .. } => {
                let of_key = |other: usize| !gone[other] && other != place && kept[other].1 == kept[place].1;
                let sees = |other: usize| match flow(other) {
                    Flow::Cell { needs, differs, .. } => {
                        *needs == Some(*value) || differs.is_some_and(|it| it != *value)
                    }
                    _ => true,
                };
                gone[place] = !(0..kept.len()).any(|other| of_key(other) && sees(other));
            }
            Flow::Whole(value) => {
                let key = kept[place].1;
                let same = |other: usize| kept[other].1 == key;
                let listed = (0..kept.len()).any(|other| {
                    !gone[other]
                        && same(other)
                        && matches!(flow(other), Flow::Lists(all) if all.contains(value))
                });
                if !listed {
                    for other in (0..kept.len()).filter(|&other| same(other)) {
                        gone[other] |= flow(other) == flow(place);
                    }
                }
            }
            Flow::Free | Flow::Cell { .. } | Flow::Lists(_) | Flow::Fixed => {}
        }
    }
    let fewer: Calls = kept.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(call, _)| *call).collect();
    (fewer.len() < kept.len()).then_some(fewer)
}
