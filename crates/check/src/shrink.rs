//! Shrinks operations that cannot be ordered to a minimal core.
//!
//! Only such operations are left out that cannot make an innocent history guilty: had the larger history an order, the smaller
//! one would have it too. So the core convicts the whole history, and needs no second look at it. These may go:
//!
//! - everything that is invoked after the return at which the search was stuck; what returns later is pending;
//! - what only observes;
//! - what fills a cell, where nothing that is left could have seen what it filled in: whatever could have is either over
//!   before it, or begins after another that certainly filled the cell later. One that wrote the value stays all the same
//!   with who read it, since a core is to be understood: the reader read something, only too late;
//! - all operations with one value of a container, unless something that saw them all is left.

use crate::budget::Budget;
use crate::history::{Call, NEVER};
use crate::model::{Flow, Model};
use crate::search::{Found, search};
use crate::value::Value;

/// The core, and whether it is known to be minimal. `blocked` is the source of the call at whose return no order was left.
pub(crate) fn shrink<M: Model>(
    model: &M,
    actions: &[M::Action],
    calls: &[Call<u32>],
    blocked: u32,
    budget: &mut Budget<'_>,
) -> (Vec<Call<u32>>, bool) {
    let observes: Vec<bool> = actions.iter().map(|action| model.observes(action)).collect();
    let flows = actions.iter().map(|action| model.flow(action)).collect();
    let calls = cut(calls, blocked, &observes);
    let mut shrinking = Shrinking { model, actions, observes, flows, kept: calls };
    let minimal = shrinking.run(budget);
    (shrinking.kept, minimal)
}

/// What is there at the return of the blocked call.
fn cut(calls: &[Call<u32>], blocked: u32, observes: &[bool]) -> Vec<Call<u32>> {
    let end = calls.iter().find(|call| call.source == blocked).map_or(NEVER, |call| call.returned);
    let mut kept = Vec::new();
    for &call in calls {
        if call.invoked > end {
            break;
        }
        let call = Call { returned: if call.returned > end { NEVER } else { call.returned }, ..call };
        if !(call.pending() && observes[call.action as usize]) {
            kept.push(call);
        }
    }
    kept
}

struct Shrinking<'a, M: Model> {
    model: &'a M,
    actions: &'a [M::Action],
    observes: Vec<bool>,
    flows: Vec<Flow>,
    kept: Vec<Call<u32>>,
}

impl<M: Model> Shrinking<'_, M> {
    /// Leaves out halves, quarters, and so on down to single ones, as long as something goes. True when nothing more does.
    fn run(&mut self, budget: &mut Budget<'_>) -> bool {
        let mut size = self.kept.len().div_ceil(2).max(1);
        loop {
            let mut went = false;
            let mut from = 0;
            while from < self.kept.len() {
                let to = (from + size).min(self.kept.len());
                match self.without(from, to) {
                    Some(fewer) if self.guilty(&fewer, budget) => {
                        self.kept = fewer;
                        went = true;
                    }
                    _ => from = to,
                }
                if budget.look().is_err() {
                    return false;
                }
            }
            match (size, went) {
                (1, false) => return true,
                (1, true) => {}
                _ => size = size.div_ceil(2),
            }
        }
    }

    fn guilty(&self, calls: &[Call<u32>], budget: &mut Budget<'_>) -> bool {
        let before = budget.bytes();
        let found = search(self.model, self.actions, calls, budget);
        budget.give(budget.bytes() - before);
        matches!(found, Found::Stuck(_))
    }

    /// What is left without those calls in a range that may go; `None` where none may.
    fn without(&self, from: usize, to: usize) -> Option<Vec<Call<u32>>> {
        let mut gone = vec![false; self.kept.len()];
        for (gone, call) in gone[from..to].iter_mut().zip(&self.kept[from..to]) {
            *gone = self.observes[call.action as usize];
        }
        for place in from..to {
            match &self.flows[self.kept[place].action as usize] {
                _ if gone[place] => {}
                Flow::Cell { gives: Some(value), .. } => gone[place] = !self.seen(place, *value, &gone),
                Flow::Whole(value) => self.leave_whole(*value, &mut gone),
                Flow::Free | Flow::Cell { .. } | Flow::Lists(_) | Flow::Fixed => {}
            }
        }
        let fewer: Vec<_> =
            self.kept.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(call, _)| *call).collect();
        (fewer.len() < self.kept.len()).then_some(fewer)
    }

    /// True where something that is left may have seen what the call at a place filled in.
    fn seen(&self, place: usize, value: Value, gone: &[bool]) -> bool {
        let call = &self.kept[place];
        let left =
            || self.kept.iter().zip(gone).enumerate().filter(|(other, (_, gone))| *other != place && !**gone);
        let flow = |other: &Call<u32>| &self.flows[other.action as usize];
        // From here on another has certainly filled the cell since.
        let over = left()
            .filter(|(_, (other, _))| {
                call.precedes(other) && matches!(flow(other), Flow::Cell { gives: Some(_), .. })
            })
            .map(|(_, (other, _))| other.returned)
            .min()
            .unwrap_or(NEVER);
        let twin = |reader: &Call<u32>| {
            left().any(|(_, (other, _))| {
                matches!(flow(other), Flow::Cell { gives: Some(it), .. } if *it == value)
                    && !reader.precedes(other)
            })
        };
        left().any(|(_, (other, _))| {
            let (reads, sees) = match flow(other) {
                Flow::Cell { needs, differs, .. } => {
                    (*needs == Some(value), differs.is_some_and(|it| it != value))
                }
                _ => (true, true),
            };
            !other.precedes(call) && (((reads || sees) && other.invoked <= over) || (reads && !twin(other)))
        })
    }

    fn leave_whole(&self, value: Value, gone: &mut [bool]) {
        let listed = self.kept.iter().zip(gone.iter()).any(|(call, gone)| {
            !gone && matches!(&self.flows[call.action as usize], Flow::Lists(all) if all.contains(&value))
        });
        if listed {
            return;
        }
        for (gone, call) in gone.iter_mut().zip(&self.kept) {
            *gone |= self.flows[call.action as usize] == Flow::Whole(value);
        }
    }
}
