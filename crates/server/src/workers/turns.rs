//! Readers take turns: one read that takes minutes, or a few, must not keep all others waiting.

use crate::inbox::lock;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

/// So much may a read cost before another one has its turn: some tens of milliseconds. A KiB of values, or a pair, costs one.
const TURN: usize = 1 << 15;

/// Places for those who may go on at a time, given in the order in which they are asked for.
pub(super) struct Turns {
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    free: usize,
    waiting: VecDeque<u64>,
    next: u64,
}

/// A place, and what is left of its turn.
pub(super) struct Turn<'t> {
    turns: &'t Turns,
    left: std::cell::Cell<usize>,
}

impl Turns {
    pub(super) fn new(places: usize) -> Self {
        let state = State { free: places, waiting: VecDeque::new(), next: 0 };
        Self { state: Mutex::new(state), moved: Condvar::new() }
    }

    /// Waits for a place.
    pub(super) fn begin(&self) -> Turn<'_> {
        self.take();
        Turn { turns: self, left: std::cell::Cell::new(TURN) }
    }

    fn take(&self) {
        let mut state = lock(&self.state);
        let me = state.next;
        state.next += 1;
        state.waiting.push_back(me);
        while state.free == 0 || state.waiting.front() != Some(&me) {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.pop_front();
        state.free -= 1;
        drop(state);
        self.moved.notify_all();
    }

    fn give(&self) {
        lock(&self.state).free += 1;
        self.moved.notify_all();
    }
}

impl Turn<'_> {
    /// Something was read: whoever has had his turn lets the next go on, and waits for another.
    pub(super) fn pass(&self, cost: usize) {
        if let Some(left) = self.left.get().checked_sub(cost) {
            self.left.set(left);
            return;
        }
        self.left.set(TURN);
        if !lock(&self.turns.state).waiting.is_empty() {
            self.turns.give();
            self.turns.take();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.give();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// Readers without end in all places keep nobody out, and no more are at it at a time than there are places.
    #[test]
    fn who_reads_for_ever_keeps_nobody_waiting() {
        let (turns, at_it) = (Arc::new(Turns::new(2)), Arc::new(AtomicUsize::new(0)));
        let over = Arc::new(AtomicBool::new(false));
        let endless: Vec<_> = (0..4)
            .map(|_| {
                let (turns, at_it, over) = (turns.clone(), at_it.clone(), over.clone());
                std::thread::spawn(move || {
                    let turn = turns.begin();
                    while !over.load(Ordering::SeqCst) {
                        assert!(at_it.fetch_add(1, Ordering::SeqCst) < 2);
                        at_it.fetch_sub(1, Ordering::SeqCst);
                        turn.pass(TURN / 2);
                    }
                })
            })
            .collect();
        for _ in 0..100 {
            let turn = turns.begin();
            assert!(at_it.fetch_add(1, Ordering::SeqCst) < 2);
            at_it.fetch_sub(1, Ordering::SeqCst);
            drop(turn);
        }
        over.store(true, Ordering::SeqCst);
        for reader in endless {
            reader.join().unwrap();
        }
        assert_eq!(lock(&turns.state).free, 2);
    }
}
