//! Brute force over a few operations: a witness is looked at once more by something too plain to be wrong.

use crate::budget::Budget;
use crate::history::Call;
use crate::model::{Model, Next};
use crate::table::Table;

/// It takes so many operations.
pub(crate) const MOST: usize = 12;

/// True where some order keeps real time and is what the model allows; pending calls may stand in it or not.
pub(crate) fn orderable<M: Model>(model: &M, actions: &[M::Action], calls: &[Call<u32>]) -> bool {
    go(model, actions, calls, 0, &model.initial(), &mut Table::default())
}

fn go<M: Model>(
    model: &M,
    actions: &[M::Action],
    calls: &[Call<u32>],
    placed: u32,
    state: &M::State,
    been: &mut Table<(u32, M::State), ()>,
) -> bool {
    let left = |place: usize| placed & 1 << place == 0;
    if (0..calls.len()).all(|place| !left(place) || calls[place].pending()) {
        return true;
    }
    if been.insert((placed, state.clone()), ()).is_some() {
        return false;
    }
    (0..calls.len()).filter(|&place| left(place)).any(|place| {
        if (0..calls.len()).any(|other| left(other) && calls[other].precedes(&calls[place])) {
            return false;
        }
        let (mut next, never) = (Vec::new(), || false);
        let mut budget = Budget::new(&never, u64::MAX);
        model.step(state, &actions[calls[place].action as usize], &mut Next::new(&mut next, &mut budget));
        next.iter().any(|state| go(model, actions, calls, placed | 1 << place, state, been))
    })
}
