//! The inbox of lane 0: everything that happens to the node arrives here in order, and one wake-up takes it all.
//!
//! An event that nobody waits for wakes nobody: it is taken with the next one. A follower's applied entries are of that kind as long as
//! no read, request or watch of its own waits for them, and a wake-up each would cost the leader's client a tenth of its latency where
//! the nodes share processors.

use quorate_node::lane::Event;
use std::sync::Mutex;
use tokio::sync::Notify;

/// Events that wait for the lane.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    queue: Vec<Event>,
    /// The lane is woken, and has not taken yet.
    woken: bool,
    /// Even what is not loud is waited for.
    awaited: bool,
}

impl Inbox {
    /// Adds an event; only the first one since the last take wakes the lane.
    pub(crate) fn push(&self, event: Event) {
        self.add(std::iter::once(event), true);
    }

    /// Adds events. Unless one of them is `loud` they matter only to who waits for them ([`Inbox::await_all`]).
    pub(crate) fn add(&self, events: impl Iterator<Item = Event>, loud: bool) {
        let wakes = {
            let mut state = lock(&self.state);
            state.queue.extend(events);
            let wakes = (loud || state.awaited) && !state.queue.is_empty();
            wakes && !std::mem::replace(&mut state.woken, true)
        };
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Whether the lane has who waits for quiet events, also for those that came already.
    pub(crate) fn await_all(&self, awaited: bool) {
        let mut state = lock(&self.state);
        state.awaited = awaited;
        if awaited && !state.queue.is_empty() && !std::mem::replace(&mut state.woken, true) {
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Swaps all that waits into `into`, which must be empty.
    pub(crate) fn take(&self, into: &mut Vec<Event>) {
        debug_assert!(into.is_empty());
        let mut state = lock(&self.state);
        state.woken = false;
        std::mem::swap(&mut state.queue, into);
    }

    /// Returns when something waits.
    pub(crate) async fn ready(&self) {
        self.wake.notified().await;
    }
}

/// A lock whose holder cannot panic half-way: the data stay whole even if one did.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_woken(inbox: &Inbox) -> bool {
        use std::future::Future;
        let mut ready = std::pin::pin!(inbox.ready());
        ready.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn quiet_events_wake_only_who_waits_for_them_and_none_is_left_behind() {
        let inbox = Inbox::default();
        let mut taken = Vec::new();
        let push_quietly = |inbox: &Inbox| inbox.add(std::iter::once(Event::Tick), false);
        push_quietly(&inbox);
        assert!(!is_woken(&inbox), "nobody waits for it");
        inbox.await_all(true);
        assert!(is_woken(&inbox), "it came before somebody waited for it");
        inbox.take(&mut taken);
        assert_eq!(taken.drain(..).count(), 1);
        push_quietly(&inbox);
        assert!(is_woken(&inbox));
        inbox.take(&mut taken);
        taken.clear();
        inbox.await_all(false);
        push_quietly(&inbox);
        inbox.push(Event::Tick);
        assert!(is_woken(&inbox), "behind a quiet event a loud one still wakes");
        inbox.push(Event::Tick);
        assert!(!is_woken(&inbox), "once");
        inbox.take(&mut taken);
        assert_eq!(taken.len(), 3);
        taken.clear();
        inbox.await_all(true);
        inbox.add(std::iter::empty(), true);
        assert!(!is_woken(&inbox), "nothing came");
        inbox.add([Event::Tick, Event::Tick].into_iter(), false);
        assert!(is_woken(&inbox));
        inbox.take(&mut taken);
        assert_eq!(taken.len(), 2);
    }
}
