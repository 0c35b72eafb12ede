//! A shortest way to where the operation due next fits.

use super::plan::{bits, without};
use super::{ANY, Search};
use crate::budget::{Budget, Spent};

/// The search for a way to the operation due next looks at so many states.
const MOST_LOOKED_AT: usize = 48;

impl<const W: usize> Search<'_, W> {
    /// The next state on a shortest way to one where the operation due next fits, were each operation that is there to be
    /// used any number of times. `None`: there is no such way, so that nothing more need be tried here.
    pub(super) fn way_to(&mut self, due: u32, budget: &mut Budget<'_>) -> Result<Option<u32>, Spent> {
        self.there.clear();
        for slot in bits(without(without(self.open_mask, self.observing), self.here.mask)) {
            self.there.push(self.calls[self.open[slot] as usize].action);
        }
        for (class, (action, _)) in self.pending.iter().enumerate() {
            if self.invoked[class] > self.sets.count(self.used, class as u32) {
                self.there.push(*action);
            }
        }
        self.there.sort_unstable();
        self.there.dedup();
        self.way.clear();
        self.way.push((self.here.state, ANY));
        let mut at = 0;
        while let Some(&(state, first)) = self.way.get(at) {
            at += 1;
            for place in 0..self.there.len() {
                let mut nth = 0;
                while let Some(next) = self.machine.step(state, self.there[place], nth, budget)? {
                    nth += 1;
                    if self.way.iter().any(|&(met, _)| met == next) {
                        continue;
                    }
                    let first = if first == ANY { next } else { first };
                    if self.machine.enabled(next, due, budget)? {
                        return Ok(Some(first));
                    }
                    if self.way.len() >= MOST_LOOKED_AT {
                        return Ok(Some(ANY));
                    }
                    self.way.push((next, first));
                }
            }
        }
        Ok(None)
    }
}
