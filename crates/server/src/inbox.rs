//! The inbox of lane 0: everything that happens to the node arrives here in order, and one wake-up takes it all.

use quorate_node::lane::Event;
use std::sync::Mutex;
use tokio::sync::Notify;

/// Events that wait for the lane.
#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<Vec<Event>>,
    wake: Notify,
}

impl Inbox {
    /// Adds an event; only the first one since the last take wakes the lane.
    pub(crate) fn push(&self, event: Event) {
        let first = {
            let mut queue = lock(&self.queue);
            queue.push(event);
            queue.len() == 1
        };
        if first {
            self.wake.notify_one();
        }
    }

    /// Swaps all that waits into `into`, which must be empty.
    pub(crate) fn take(&self, into: &mut Vec<Event>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut *lock(&self.queue), into);
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
