//! A queue into a worker's thread: first in, first out, with one taker.
//!
//! The taker is woken only while it sleeps, and by a sender that has let go of the lock already. The channel of the standard library
//! wakes it under a lock that it needs first, so that on a busy processor it wakes up, waits for its waker, and is woken again: that
//! cost a write in three processes up to six changes of context.

use crate::inbox::lock;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

struct State<T> {
    items: VecDeque<T>,
    senders: usize,
    /// The taker sleeps, or is about to.
    sleeps: bool,
    /// The taker is gone.
    ended: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    some: Condvar,
}

/// A queue with its first sender.
pub(crate) fn queue<T>() -> (Sender<T>, Taker<T>) {
    let state = State { items: VecDeque::new(), senders: 1, sleeps: false, ended: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), some: Condvar::new() });
    (Sender(shared.clone()), Taker(shared))
}

/// One who puts in. When the last one is gone the taker ends.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Puts `item` in; without effect where the taker is gone.
    pub(crate) fn send(&self, item: T) {
        self.send_all(std::iter::once(item));
    }

    /// Puts several in, of which there is at least one, and wakes the taker once.
    pub(crate) fn send_all(&self, items: impl Iterator<Item = T>) {
        let sleeps = {
            let mut state = lock(&self.0.state);
            if state.ended {
                return;
            }
            state.items.extend(items);
            std::mem::take(&mut state.sleeps)
        };
        if sleeps {
            self.0.some.notify_one();
        }
    }

    /// Whether the taker has done all that was sent to it, and sleeps.
    pub(crate) fn rests(&self) -> bool {
        let state = lock(&self.0.state);
        state.items.is_empty() && state.sleeps
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        lock(&self.0.state).senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        lock(&self.0.state).senders -= 1;
        self.0.some.notify_one();
    }
}

/// The one who takes out.
pub(crate) struct Taker<T>(Arc<Shared<T>>);

/// Why nothing came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Nothing {
    /// Not in the time given.
    Yet,
    /// And nothing ever will: all senders are gone.
    Ever,
}

impl<T> Taker<T> {
    /// Waits for the next item; `None` when all senders are gone.
    pub(crate) fn take(&self) -> Option<T> {
        let mut state = lock(&self.0.state);
        loop {
            match next(&mut state) {
                Ok(item) => return Some(item),
                Err(Nothing::Ever) => return None,
                Err(Nothing::Yet) => {}
            }
            state.sleeps = true;
            state = self.0.some.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the next item, but no longer than about `patience`.
    pub(crate) fn take_within(&self, patience: Duration) -> Result<T, Nothing> {
        let mut state = lock(&self.0.state);
        if !patience.is_zero() && next_is_missing(&state) {
            state.sleeps = true;
            state = self.0.some.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
            state.sleeps = false;
        }
        next(&mut state)
    }
}

fn next<T>(state: &mut MutexGuard<'_, State<T>>) -> Result<T, Nothing> {
    let ended = state.senders == 0;
    state.items.pop_front().ok_or(if ended { Nothing::Ever } else { Nothing::Yet })
}

fn next_is_missing<T>(state: &State<T>) -> bool {
    state.items.is_empty() && state.senders > 0
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.ended = true;
        let items = std::mem::take(&mut state.items);
        drop(state);
        drop(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_comes_in_order_and_the_end_is_told() {
        let (one, taker) = queue();
        let two = one.clone();
        let putting = std::thread::spawn(move || {
            for n in 0..10_000 {
                (if n % 2 == 0 { &one } else { &two }).send(n);
                if n % 100 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        for n in 0..10_000 {
            assert_eq!(taker.take(), Some(n));
        }
        putting.join().unwrap();
        assert_eq!(taker.take(), None);
        assert_eq!(taker.take_within(Duration::from_secs(60)), Err(Nothing::Ever));
    }

    #[test]
    fn a_taker_that_has_waited_in_vain_still_takes() {
        let (sender, taker) = queue();
        assert_eq!(taker.take_within(Duration::ZERO), Err(Nothing::Yet));
        assert_eq!(taker.take_within(Duration::from_millis(1)), Err(Nothing::Yet));
        sender.send(1);
        assert_eq!(taker.take_within(Duration::from_secs(60)), Ok(1));
    }

    #[test]
    fn what_nobody_will_take_is_dropped() {
        let (sender, taker) = queue();
        let item = Arc::new(());
        sender.send(item.clone());
        drop(taker);
        sender.send(item.clone());
        assert_eq!(Arc::strong_count(&item), 1);
    }
}
