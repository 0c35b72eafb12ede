//! What is known before a search: who returns when, who holds which slot, and what each action is to it.

use crate::budget::{Budget, Spent};
use crate::history::Call;
use crate::model::Model;

/// Most operations that may be open at a time, pending ones not counted.
pub const MOST_OPEN: usize = 4096;

/// What an action is to the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// It never changes the state.
    Observes,
    /// It fits in every state, and leads always to the same.
    Fills,
    /// It changes the state.
    Changes,
}

impl Nature {
    pub(super) fn of<M: Model>(model: &M, action: &M::Action) -> Self {
        match (model.observes(action), model.fills(action)) {
            (true, _) => Self::Observes,
            (_, true) => Self::Fills,
            _ => Self::Changes,
        }
    }
}

/// What is known before the search: who returns when, and who holds which slot.
pub(super) struct Plan {
    /// Completed calls in the order of their returns.
    pub(super) by_return: Vec<u32>,
    /// By call: its place in that order; meaningless for pending ones.
    pub(super) rank: Vec<u32>,
    /// By call: its slot while it is open.
    pub(super) slot: Vec<u16>,
    /// Up to which call each return's window reaches: those before are invoked before it.
    pub(super) reach: Vec<u32>,
    pub(super) slots: usize,
}

impl Plan {
    pub(super) fn new(calls: &[Call<u32>], budget: &mut Budget<'_>) -> Result<Self, Spent> {
        budget.take(calls.len() as u64 * 14)?;
        let mut by_return: Vec<u32> =
            (0..calls.len() as u32).filter(|&call| !calls[call as usize].pending()).collect();
        by_return.sort_unstable_by_key(|&call| calls[call as usize].returned);
        let mut plan = Self {
            rank: vec![u32::MAX; calls.len()],
            slot: vec![0; calls.len()],
            reach: Vec::with_capacity(by_return.len()),
            slots: 0,
            by_return,
        };
        let mut free = std::collections::BinaryHeap::new();
        let mut reach = 0;
        for (rank, &call) in plan.by_return.iter().enumerate() {
            budget.step()?;
            plan.rank[call as usize] = rank as u32;
            while reach < calls.len() && calls[reach].invoked < calls[call as usize].returned {
                if !calls[reach].pending() {
                    let slot = free.pop().map_or_else(
                        || {
                            plan.slots += 1;
                            plan.slots - 1
                        },
                        |std::cmp::Reverse(slot)| slot,
                    );
                    plan.slot[reach] = slot as u16;
                }
                reach += 1;
            }
            if plan.slots > MOST_OPEN {
                return Err(Spent::Memory);
            }
            plan.reach.push(reach as u32);
            free.push(std::cmp::Reverse(usize::from(plan.slot[call as usize])));
        }
        Ok(plan)
    }
}

pub(super) fn bits<const W: usize>(mask: [u64; W]) -> impl Iterator<Item = usize> {
    mask.into_iter().enumerate().flat_map(|(place, mut word)| {
        std::iter::from_fn(move || {
            (word != 0).then(|| {
                let bit = word.trailing_zeros() as usize;
                word &= word - 1;
                place * 64 + bit
            })
        })
    })
}

pub(super) fn without<const W: usize>(mut one: [u64; W], other: [u64; W]) -> [u64; W] {
    for (word, other) in one.iter_mut().zip(other) {
        *word &= !other;
    }
    one
}
