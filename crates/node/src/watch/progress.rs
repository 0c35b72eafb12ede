//! Progress: the promise, with no event, that all up to a revision is told; on request for a stream, by the clock for a watch.
//!
//! Neither costs more the more watches a stream has: who is due is known by the time, and whether all of a stream's watches are told by
//! those that are not.

use super::behind::is_pending;
use super::{Hub, Stream, Watch, WatchKey};
use crate::api::WatchMessage;
use quorate_base::time::Duration;
use quorate_base::{Instant, Rng};
use quorate_wire::kv::Revision;
use std::collections::BTreeSet;

/// The watches that want progress by the clock, each with a time at which to look at it: not after that at which it is due.
#[derive(Default)]
pub(super) struct Timetable {
    pub(super) at: BTreeSet<(Instant, WatchKey)>,
}

impl Timetable {
    pub(super) fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
}

/// When a watch is told next: a tenth later at most, so that watches that were made together are not told together for ever.
fn next(now: Instant, every: Duration, (stream, id): WatchKey) -> Instant {
    let mut chance = Rng::new(stream ^ (id as u64).rotate_left(32) ^ now.0.rotate_left(16));
    let tenth = u64::try_from(every.as_nanos() / 10).unwrap_or(u64::MAX);
    now + every + Duration::from_nanos(chance.below(tenth.max(1)))
}

impl Hub {
    /// A watch that wants progress is there.
    pub(super) fn expect_progress(&mut self, key: WatchKey) -> Instant {
        let at = next(self.now, self.options.progress_every, key);
        self.timetable.at.insert((at, key));
        at
    }

    /// It is gone.
    pub(super) fn expect_no_progress(&mut self, key: WatchKey, watch: &Watch) {
        if let Some(progress) = &watch.progress {
            self.timetable.at.remove(&(progress.looked, key));
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        let mut wake = BTreeSet::new();
        while let Some(&(at, key)) = self.timetable.at.first()
            && at <= now
        {
            self.timetable.at.pop_first();
            let (number, id) = key;
            let Some(stream) = self.streams.get_mut(&number) else { continue };
            let catches_up = stream.catches_up(id);
            let Some(watch) = stream.watches.get_mut(&id) else { continue };
            let Some(progress) = &mut watch.progress else { continue };
            // Events since say what a promise would.
            if progress.due <= now {
                progress.due = next(now, self.options.progress_every, key);
                // As with etcd, one that is not told all, or has not begun, hears nothing until the next time.
                if watch.start <= self.view.revision() && !catches_up {
                    stream.due.insert(id);
                    wake.insert(number);
                }
            }
            progress.looked = progress.due;
            self.timetable.at.insert((progress.looked, key));
        }
        self.wake(&wake);
    }

    /// Whether ticks are of any use now.
    pub fn wants_ticks(&self) -> bool {
        !self.timetable.is_empty()
    }

    /// A stream asks for a promise: it is owed one, if all of its watches are told, or will be with what is there for them.
    pub(super) fn progress(&mut self, number: u64) {
        let revision = self.view.revision();
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let begun = stream.beginning.last().is_none_or(|&(start, _)| start <= revision);
        if begun && !stream.watches.is_empty() && stream.all_with_the_ring() {
            stream.progress += 1;
        }
    }

    /// The next promise that a stream with nothing else to tell makes.
    pub(super) fn promise(&mut self, number: u64) -> Option<WatchMessage> {
        let revision = self.view.revision();
        let stream = self.streams.get_mut(&number)?;
        // About all revisions so far none is to be made for a watch that catches up.
        if let Some(left) = stream.progress.checked_sub(1)
            && stream.all_with_the_ring()
        {
            stream.progress = left;
            return Some(WatchMessage { revision, id: -1, ..WatchMessage::default() });
        }
        while let Some(id) = stream.due.pop_first() {
            if !is_pending(&stream.ready, &stream.behind, stream.catching.as_ref(), id) {
                return Some(WatchMessage { revision, id, ..WatchMessage::default() });
            }
        }
        None
    }
}

impl Stream {
    /// Whether the ring has what any of its watches has not seen.
    fn all_with_the_ring(&self) -> bool {
        self.behind.is_empty() && self.catching.is_none()
    }

    fn catches_up(&self, id: i64) -> bool {
        self.behind.contains(&id) || self.catching.as_ref().is_some_and(|catching| catching.id == id)
    }
}

/// When a watch hears that it was told all.
pub(super) struct Progress {
    pub(super) due: Instant,
    /// The time in the [`Timetable`].
    pub(super) looked: Instant,
}

impl Progress {
    /// It was told events up to a revision.
    pub(super) fn told(&mut self, now: Instant, every: Duration, key: WatchKey) {
        self.due = next(now, every, key);
    }
}

/// Streams know which of their watches begin in the future.
pub(super) type Beginning = BTreeSet<(Revision, i64)>;
