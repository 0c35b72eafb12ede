//! Watches that fell behind the ring: the history that is read for them, a batch at a time, on another thread.

use super::{History, Hub};
use quorate_state::kv::Wanted;
use quorate_storage::state::StateResult;
use quorate_wire::kv::{Event, KeyRange, Revision};
use std::collections::BTreeSet;
use std::sync::Arc;

/// So many batches of history are read at once, or wait for the thread that reads them.
pub(super) const READING_MAX: usize = 4;
/// Bytes of the batches that wait at most to be told, but for the newest: a batch is at least what one revision has for its watch.
pub(super) const CAUGHT_BYTES: usize = 16 << 20;

/// A batch of history to be read for a watch.
pub struct CatchUp {
    stream: u64,
    number: u64,
    view: Arc<dyn History>,
    from: Revision,
    bytes: usize,
    range: KeyRange,
    puts: bool,
    deletions: bool,
    prev: bool,
}

/// A batch of history, or why there is none.
pub struct Caught {
    stream: u64,
    number: u64,
    pub(super) batch: StateResult<Batch>,
}

/// What is for a watch from its position up to a revision.
pub(super) struct Batch {
    pub(super) events: Vec<Event>,
    pub(super) upto: Revision,
    bytes: usize,
}

impl CatchUp {
    /// Reads it; this may take a while.
    pub fn read(self) -> Caught {
        let Self { range, puts, deletions, prev, .. } = &self;
        let wanted = Wanted { range: Some(range), puts: *puts, deletions: *deletions, prev: *prev };
        let batch = self.view.history(self.from, self.bytes, &wanted).map(|(events, upto)| {
            let bytes = events.iter().map(Event::size).sum();
            Batch { events, upto, bytes }
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
            out.push(CatchUp {
                stream: number,
                number: batch,
                view,
                from,
                bytes,
                range: watch.range.clone(),
                puts: !watch.no_put,
                deletions: !watch.no_delete,
                prev: watch.prev_kv,
            });
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
        let bytes = caught.batch.as_ref().map_or(0, |batch| batch.bytes);
        catching.batch = Some(caught.batch);
        stream.ready.insert(catching.id);
        self.caught.insert(caught.number, (caught.stream, bytes));
        self.caught_bytes += bytes;
        while self.caught_bytes > CAUGHT_BYTES && self.caught.len() > 1 {
            let Some((_, (slow, bytes))) = self.caught.pop_first() else { break };
            self.caught_bytes -= bytes;
            // Its watch stays ready, and asks again when it is looked at.
            if let Some(stream) = self.streams.get_mut(&slow) {
                stream.catching = None;
            }
        }
        self.wake(&BTreeSet::from([caught.stream]));
    }

    /// Takes the batch that was read for a watch.
    pub(super) fn take_batch(&mut self, number: u64, id: i64) -> Option<StateResult<Batch>> {
        let catching = self.streams.get_mut(&number)?.catching.take_if(|catching| catching.id == id)?;
        self.forget_batch(catching.number);
        catching.batch
    }

    /// A batch is told, or not wanted any more.
    pub(super) fn forget_batch(&mut self, number: u64) {
        self.wanted.remove(&number);
        if let Some((_, bytes)) = self.caught.remove(&number) {
            self.caught_bytes -= bytes;
        }
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
