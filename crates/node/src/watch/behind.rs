//! Watches that fell behind the ring: the history that is read for them, a batch at a time, on another thread.

use super::{History, Hub};
use quorate_storage::state::StateResult;
use quorate_wire::kv::{Event, Revision};
use std::collections::BTreeSet;
use std::sync::Arc;

/// So many batches of history are read at once, or wait for the thread that reads them.
pub(super) const READING_MAX: usize = 4;
/// So many batches wait at most to be told.
pub(super) const CAUGHT_MAX: usize = 32;

/// A batch of history to be read for a watch.
pub struct CatchUp {
    stream: u64,
    number: u64,
    view: Arc<dyn History>,
    from: Revision,
    bytes: usize,
}

/// A batch of history, or why there is none.
pub struct Caught {
    stream: u64,
    number: u64,
    batch: StateResult<Batch>,
}

/// All events from a watch's position up to a revision.
pub(super) struct Batch {
    pub(super) events: Vec<Event>,
    pub(super) upto: Revision,
}

impl CatchUp {
    /// Reads it; this may take a while.
    pub fn read(self) -> Caught {
        let batch = self.view.history(self.from, self.bytes).map(|events| {
            let upto = events.last().map_or(self.view.revision(), |event| event.kv.mod_revision);
            Batch { events, upto }
        });
        Caught { stream: self.stream, number: self.number, batch }
    }
}

/// The watch of a stream that catches up.
pub(super) struct Catching {
    pub(super) id: i64,
    /// The number of its batch, so that one that was asked for before is not taken for it.
    pub(super) number: u64,
    /// The batch, once it was read.
    pub(super) batch: Option<StateResult<Batch>>,
}

impl Hub {
    /// The history to be read now, each batch to come back by [`Hub::caught_up`].
    pub fn take_wanted(&mut self) -> Vec<CatchUp> {
        let (mut out, mut wake) = (Vec::new(), BTreeSet::new());
        while self.reading < READING_MAX
            && let Some((batch, number)) = self.wanted.pop_first()
        {
            let Some(stream) = self.streams.get_mut(&number) else { continue };
            let Some(id) = stream.catching.as_ref().filter(|c| c.number == batch).map(|c| c.id) else {
                continue;
            };
            let Some(watch) = stream.watches.get(&id) else { continue };
            if watch.next < self.view.compacted() {
                // There is nothing to be read; the stream says so when it looks.
                stream.catching = None;
                stream.ready.insert(id);
                wake.insert(number);
                continue;
            }
            self.reading += 1;
            let (view, from, bytes) = (self.view.clone(), watch.next, stream.stride);
            out.push(CatchUp { stream: number, number: batch, view, from, bytes });
        }
        self.wake(&wake);
        out
    }

    /// A batch of history was read.
    pub fn caught_up(&mut self, caught: Caught) {
        self.reading = self.reading.saturating_sub(1);
        if let Err(error) = &caught.batch
            && error.damaged()
        {
            self.damage = Some(error.clone());
        }
        let Some(stream) = self.streams.get_mut(&caught.stream) else { return };
        let Some(catching) = stream.catching.as_mut().filter(|c| c.number == caught.number) else { return };
        catching.batch = Some(caught.batch);
        stream.ready.insert(catching.id);
        self.caught.insert(caught.number, caught.stream);
        if self.caught.len() > CAUGHT_MAX
            && let Some((_, slow)) = self.caught.pop_first()
            && let Some(stream) = self.streams.get_mut(&slow)
        {
            // Its watch stays ready, and asks again when it is looked at.
            stream.catching = None;
        }
        self.wake(&BTreeSet::from([caught.stream]));
    }

    /// Has history read for the watch of a stream whose turn it is to catch up.
    pub(super) fn ask(&mut self, number: u64) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        if stream.catching.is_some() {
            return;
        }
        let next = stream.behind.range(stream.next_behind..).next().or_else(|| stream.behind.first());
        let Some(&id) = next else { return };
        stream.behind.remove(&id);
        stream.next_behind = id.wrapping_add(1);
        self.next_batch += 1;
        stream.catching = Some(Catching { id, number: self.next_batch, batch: None });
        self.wanted.insert(self.next_batch, number);
        (self.bell)();
    }
}

/// Whether a watch has something to look at, now or once it was read.
pub(super) fn is_pending(
    ready: &BTreeSet<i64>,
    behind: &BTreeSet<i64>,
    catching: Option<&Catching>,
    id: i64,
) -> bool {
    ready.contains(&id) || behind.contains(&id) || catching.is_some_and(|catching| catching.id == id)
}
