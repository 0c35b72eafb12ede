//! Where work for a thread is laid down, and where it may be done on the spot.
//!
//! To wake a thread and be woken by it costs as much as applying a write does, and a fair part of a flush. Where the thread sleeps
//! and has nothing left, who brings something small is better off doing it: nobody else wants the worker then, and the order stays
//! that in which things came.

use crate::queue;
use std::sync::{Arc, Mutex, MutexGuard};

/// A worker `W` that a thread of its own works for, and the queue of that thread.
///
/// Only one may lay down what has an order.
pub(crate) struct Desk<T, W> {
    queue: queue::Sender<T>,
    worker: Arc<Mutex<W>>,
}

impl<T, W> Desk<T, W> {
    pub(crate) fn new(queue: queue::Sender<T>, worker: Arc<Mutex<W>>) -> Self {
        Self { queue, worker }
    }

    /// Lays something down for the thread.
    pub(crate) fn send(&self, item: T) {
        self.queue.send(item);
    }

    /// Lays several things down for the thread, of which there is at least one.
    pub(crate) fn send_all(&self, items: impl Iterator<Item = T>) {
        self.queue.send_all(items);
    }

    /// The worker itself, if its thread sleeps with nothing left to do, and if it is `fit`.
    pub(crate) fn take(&self, fit: impl FnOnce(&W) -> bool) -> Option<MutexGuard<'_, W>> {
        if !self.queue.rests() {
            return None;
        }
        // Held for something that came from elsewhere meanwhile: that takes a time of its own.
        self.worker.try_lock().ok().filter(|worker| fit(worker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::lock;
    use crate::queue::queue;
    use std::time::Duration;

    /// Claim: the worker is there for others only while its thread has nothing to do, so that nothing overtakes what was sent before.
    #[test]
    fn the_worker_is_given_only_while_its_thread_has_nothing_to_do() {
        let (sender, taker) = queue();
        let worker = Arc::new(Mutex::new(Vec::new()));
        let desk = Desk::new(sender, worker.clone());
        assert!(desk.take(|_| true).is_none(), "its thread does not wait yet");
        let (begin, begun) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            while let Some(item) = taker.take() {
                // It took the item, and has not got to it.
                let _ = begun.recv();
                lock(&worker).push(item);
            }
            worker
        });
        let rests = || {
            for _ in 0..1000 {
                if desk.queue.rests() {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            false
        };
        assert!(rests());
        desk.take(|_| true).expect("it rests").push(1);
        assert!(desk.take(Vec::is_empty).is_none(), "it is not fit");
        desk.send(2);
        assert!(desk.take(|_| true).is_none(), "2 is not done yet");
        begin.send(()).unwrap();
        assert!(rests());
        desk.take(|_| true).expect("it rests again").push(3);
        drop(desk);
        assert_eq!(*lock(&thread.join().unwrap()), [1, 2, 3]);
    }
}
