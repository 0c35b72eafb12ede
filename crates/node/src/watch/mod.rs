//! Watches: who wants to know what, and how far each has been told.
//!
//! One ring holds the newest events for all watches; a watch holds a position and nothing else, so a client that does not
//! read costs no memory an event. Messages are made when the client's stream can take them ([`WatchStream::poll`]). One
//! that is on its way is held whole, more than once while it is encoded, and there may be thousands of streams whose client does not read, or
//! not so fast: so messages are small, and those of a stream that has more to tell begin smaller yet.
//!
//! A watch that fell behind the ring is told the history of the state, like one that starts at an old revision. Reading it
//! takes long, and would hold up whoever polls: so it is read a batch at a time on another thread ([`CatchUp`]), from the
//! view that was the newest when the batch was handed out, and the watch's position moves when a batch is told. Events that
//! come meanwhile move nothing. A stream has one batch under way at most, so its watches take turns; of batches that wait
//! to be told only the newest few stay, since who is slow to take one can have it read again.
//!
//! # What a watch may count on (etcd's names)
//!
//! *Ordered* and *unique*: revisions rise and each event comes once. *Reliable*: none is left out, or the watch is canceled
//! with the revision that was compacted. *Atomic*: the events of one revision come in one message (unless it asked for
//! fragments). *Resumable*: it may start at any revision that is not compacted, the compacted one itself included.
//! *Bookmarkable*: a progress message of revision R comes after every event up to R.
//!
//! The hub is a pure value: events, ticks and batches in, messages out on request, `wake` called when a stream may have
//! something, `bell` rung when history is to be read.

mod behind;
mod fragments;
mod progress;
mod ranges;
#[cfg(test)]
mod tests;

use crate::api::{WatchCreate, WatchMessage, WatchRequest, WatchStream};
pub use behind::{CatchUp, Caught};
use behind::{Catching, is_pending};
use bytes::Bytes;
use fragments::{FRAGMENT_BYTES, split};
use progress::{Beginning, Progress, Timetable};
use quorate_base::Instant;
use quorate_base::time::Duration;
use quorate_state::kv::{Events, KvView, ReadError, Wanted};
use quorate_storage::state::{StateError, StateResult};
use quorate_wire::kv::{Event, KeyRange, Revision};
use ranges::Ranges;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The state that a watch reads when the ring does not reach back far enough.
pub trait History: Send + Sync {
    /// The newest revision.
    fn revision(&self) -> Revision;
    /// The compacted revision; what lies below is gone.
    fn compacted(&self) -> Revision;
    /// What is `wanted` of whole revisions from `from` on, and up to which revision that is all; about `bytes` are looked at (at least one
    /// revision, if there is one).
    fn history(
        &self,
        from: Revision,
        bytes: usize,
        wanted: &Wanted<'_>,
    ) -> StateResult<(Vec<Event>, Revision)>;
}

impl History for KvView {
    fn revision(&self) -> Revision {
        Self::revision(self)
    }

    fn compacted(&self) -> Revision {
        Self::compacted(self)
    }

    fn history(
        &self,
        from: Revision,
        bytes: usize,
        wanted: &Wanted<'_>,
    ) -> StateResult<(Vec<Event>, Revision)> {
        self.history_of(from, bytes, wanted).map_err(|error| match error {
            ReadError::Store(error) => error,
            refused @ ReadError::Refused(_) => StateError::io(refused.to_string()),
        })
    }
}

/// Bounds and times.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of events in the ring.
    pub ring_bytes: usize,
    /// Bytes of events in one message at most, about: one revision is told whole.
    pub message_bytes: usize,
    /// Between two progress messages of a watch that wants them.
    pub progress_every: Duration,
    /// What all watches of the node may take, keys included.
    pub watch_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring_bytes: 8 << 20,
            message_bytes: 128 << 10,
            progress_every: Duration::from_secs(600),
            watch_bytes: 512 << 20,
        }
    }
}

impl Options {
    fn first(&self) -> usize {
        FIRST_BYTES.min(self.message_bytes)
    }
}

/// Called when there may be something to do; it must neither block nor call the hub.
pub type Wake = Box<dyn Fn() + Send + Sync>;
type WatchKey = (u64, i64);
/// Bytes of events in the first message of a stream that has more to tell, about.
const FIRST_BYTES: usize = 32 << 10;
/// Where nothing is for a watch, so many times as much is looked at in one go as is told at most in one message.
const PASSED_OVER: usize = 8;

/// How many watches a node has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Streams.
    pub streams: u64,
    /// Watches on them.
    pub watches: u64,
    /// Of these the ones that read history, since the newest events hold no longer what they have not seen.
    pub behind: u64,
    /// Events that were told so far.
    pub told: u64,
}

struct Watch {
    range: KeyRange,
    /// The next revision to look at, while it is ready; otherwise the first one it cares for.
    next: Revision,
    /// The revision that it asked to begin at; 0 for none.
    start: Revision,
    /// It was told all there was once, and the ring has held since what it has not seen: a compaction takes nothing from it.
    keeps_up: bool,
    no_put: bool,
    no_delete: bool,
    prev_kv: bool,
    fragment: bool,
    /// If it wants progress messages.
    progress: Option<Progress>,
}

struct Stream {
    wake: Wake,
    /// Answers to requests, in order.
    said: VecDeque<WatchMessage>,
    watches: BTreeMap<i64, Watch>,
    /// Those that begin at a revision that was none yet when they came.
    beginning: Beginning,
    /// Watches that have something to look at.
    ready: BTreeSet<i64>,
    /// The watch whose turn it is.
    turn: i64,
    /// Watches that fell behind the ring and wait for their turn to catch up.
    behind: BTreeSet<i64>,
    /// The one whose turn it is; it is ready once its batch was read.
    catching: Option<Catching>,
    /// The watch behind the ring whose turn is next.
    next_behind: i64,
    next_id: i64,
    /// Watches that are due for a progress message.
    due: BTreeSet<i64>,
    /// So many progress messages are owed, once all is told: one for each request.
    progress: u64,
    /// Bytes of events in the next message, about.
    stride: usize,
}

/// All watches of a node.
///
/// Invariants: the ring holds every event from `ring_from` on; a watch that is neither ready nor behind the ring has been
/// told everything up to the newest revision, or starts after it.
pub struct Hub {
    options: Options,
    view: Arc<dyn History>,
    ring: VecDeque<Event>,
    ring_from: Revision,
    ring_bytes: usize,
    streams: BTreeMap<u64, Stream>,
    next_stream: u64,
    by_key: BTreeMap<Bytes, BTreeSet<WatchKey>>,
    by_range: Ranges,
    timetable: Timetable,
    /// What the watches take, about.
    watch_bytes: usize,
    now: Instant,
    bell: Wake,
    /// Batches to be read, by number, with their streams.
    wanted: BTreeMap<u64, u64>,
    next_batch: u64,
    /// How many batches are being read.
    reading: usize,
    /// Batches that wait to be told, by number, with their streams and their bytes.
    caught: BTreeMap<u64, (u64, usize)>,
    caught_bytes: usize,
    /// Events that were told so far, over all watches.
    told: u64,
    /// A read of the state failed.
    damage: Option<StateError>,
}

fn lock(hub: &Mutex<Hub>) -> MutexGuard<'_, Hub> {
    hub.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// A hub over the state as it is; `bell` is rung when [`Hub::take_wanted`] has something.
    pub fn new(options: Options, view: Arc<dyn History>, bell: Wake) -> Self {
        Self {
            options,
            ring: VecDeque::new(),
            ring_from: view.revision() + 1,
            ring_bytes: 0,
            view,
            streams: BTreeMap::new(),
            next_stream: 0,
            by_key: BTreeMap::new(),
            by_range: Ranges::default(),
            timetable: Timetable::default(),
            watch_bytes: 0,
            now: Instant::ZERO,
            bell,
            wanted: BTreeMap::new(),
            next_batch: 0,
            reading: 0,
            caught: BTreeMap::new(),
            caught_bytes: 0,
            told: 0,
            damage: None,
        }
    }

    // ---- in ----

    /// New events, in order, and the state that holds them.
    pub fn publish(&mut self, view: Arc<dyn History>, events: impl Into<Events>) {
        let events = match events.into() {
            Events::Listed { list, .. } => list,
            Events::Between { first, last } => {
                return self.go_on_from(view, |range| reaches(range, &first, &last));
            }
        };
        self.view = view;
        let mut wake = BTreeSet::new();
        for event in &events {
            self.mark_ready(event, &mut wake);
        }
        for event in events {
            self.ring_bytes += event.size();
            self.ring.push_back(event);
        }
        while self.ring_bytes > self.options.ring_bytes {
            let Some(event) = self.ring.pop_front() else { break };
            self.ring_bytes -= event.size();
            self.ring_from = event.kv.mod_revision + 1;
        }
        // A revision is in the ring whole or not at all.
        while self.ring.front().is_some_and(|e| e.kv.mod_revision < self.ring_from) {
            if let Some(event) = self.ring.pop_front() {
                self.ring_bytes -= event.size();
            }
        }
        self.wake(&wake);
    }

    /// The state was replaced by a newer one: what lies between is read from its history.
    pub fn reset(&mut self, view: Arc<dyn History>) {
        self.go_on_from(view, |_| true);
    }

    /// What changed up to a newer state is in its history alone: watches of keys that it `concerns` read it there.
    fn go_on_from(&mut self, view: Arc<dyn History>, concerns: impl Fn(&KeyRange) -> bool) {
        let told = self.view.revision();
        self.view = view;
        self.ring.clear();
        self.ring_bytes = 0;
        self.ring_from = self.view.revision() + 1;
        let mut wake = BTreeSet::new();
        for (&number, stream) in &mut self.streams {
            for (&id, watch) in &mut stream.watches {
                let pending = is_pending(&stream.ready, &stream.behind, stream.catching.as_ref(), id);
                if pending || !concerns(&watch.range) {
                    continue;
                }
                watch.next = watch.next.max(told + 1);
                if watch.next <= self.view.revision() {
                    stream.behind.insert(id);
                    wake.insert(number);
                }
            }
        }
        self.wake(&wake);
    }

    /// A read of the state failed since this was last asked.
    pub fn take_damage(&mut self) -> Option<StateError> {
        self.damage.take()
    }

    /// Whether anybody is there to be told of events.
    pub fn any_stream(&self) -> bool {
        !self.streams.is_empty()
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { streams: self.streams.len() as u64, told: self.told, ..Counts::default() };
        for stream in self.streams.values() {
            counts.watches += stream.watches.len() as u64;
            counts.behind += (stream.behind.len() + usize::from(stream.catching.is_some())) as u64;
        }
        counts
    }

    /// The node stops: every stream is woken to find that out.
    pub fn stop(&mut self) {
        let all = self.streams.keys().copied().collect();
        self.wake(&all);
    }

    /// Opens a stream; `wake` is called whenever it may have something to say.
    pub fn open_stream(hub: &Arc<Mutex<Self>>, wake: Wake) -> Box<dyn WatchStream> {
        let mut this = lock(hub);
        this.next_stream += 1;
        let number = this.next_stream;
        let stream = Stream {
            wake,
            said: VecDeque::new(),
            watches: BTreeMap::new(),
            beginning: Beginning::new(),
            due: BTreeSet::new(),
            ready: BTreeSet::new(),
            turn: i64::MIN,
            behind: BTreeSet::new(),
            catching: None,
            next_behind: i64::MIN,
            next_id: 0,
            progress: 0,
            stride: this.options.first(),
        };
        this.streams.insert(number, stream);
        // With somebody to tell, events are waited for.
        (this.bell)();
        drop(this);
        Box::new(Handle { hub: hub.clone(), number })
    }

    fn mark_ready(&mut self, event: &Event, wake: &mut BTreeSet<u64>) {
        let revision = event.kv.mod_revision;
        let streams = &mut self.streams;
        let mut mark = |(number, id): WatchKey| {
            let Some(stream) = streams.get_mut(&number) else { return };
            let Some(watch) = stream.watches.get_mut(&id) else { return };
            let pending = is_pending(&stream.ready, &stream.behind, stream.catching.as_ref(), id);
            if pending || watch.next > revision {
                return;
            }
            watch.next = revision;
            stream.ready.insert(id);
            wake.insert(number);
        };
        self.by_key.get(&event.kv.key).into_iter().flatten().copied().for_each(&mut mark);
        self.by_range.of_key(&event.kv.key, &mut mark);
    }

    fn wake(&self, streams: &BTreeSet<u64>) {
        for number in streams {
            if let Some(stream) = self.streams.get(number) {
                (stream.wake)();
            }
        }
    }

    // ---- requests ----

    fn request(&mut self, number: u64, request: WatchRequest) {
        match request {
            WatchRequest::Create(create) => self.create(number, create),
            WatchRequest::Cancel { id } => self.cancel(number, id),
            WatchRequest::Progress => self.progress(number),
        }
        self.wake(&BTreeSet::from([number]));
    }

    fn create(&mut self, number: u64, mut create: WatchCreate) {
        let (revision, ring_from) = (self.view.revision(), self.ring_from);
        let Some(stream) = self.streams.get_mut(&number) else { return };
        if create.range.key.is_empty() {
            create.range.key = Bytes::from_static(&[0]);
        }
        let full = self.watch_bytes + watch_size(&create.range) > self.options.watch_bytes;
        let range = &create.range;
        let empty = !range.end.is_empty() && range.end[..] != [0] && range.key >= range.end;
        let refusal = if create.start < 0 {
            Some("etcdserver: mvcc: required revision has been compacted")
        } else if empty {
            Some("mvcc: watcher range is empty")
        } else if create.id != 0 && stream.watches.contains_key(&create.id) {
            Some("mvcc: duplicate watch ID provided on the WatchStream")
        } else if full {
            Some("quorate: this node has as many watches as it may; watch on another node, or with fewer")
        } else {
            None
        };
        if let Some(reason) = refusal {
            let reason = reason.to_string();
            let said = WatchMessage {
                revision,
                id: -1,
                created: true,
                canceled: true,
                reason,
                ..WatchMessage::default()
            };
            stream.said.push_back(said);
            return;
        }
        let id = if create.id == 0 { stream.free_id() } else { create.id };
        let next = if create.start == 0 { revision + 1 } else { create.start };
        stream.said.push_back(WatchMessage { revision, id, created: true, ..WatchMessage::default() });
        stream.await_turn(id, next, revision, ring_from);
        if create.start > revision {
            stream.beginning.insert((create.start, id));
        }
        let expected = create.progress_notify.then(|| self.expect_progress((number, id)));
        let progress = expected.map(|at| Progress { due: at, looked: at });
        self.watch_bytes += watch_size(&create.range);
        let watch = Watch {
            range: create.range.clone(),
            next,
            start: create.start,
            keeps_up: next > revision,
            no_put: create.no_put,
            no_delete: create.no_delete,
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            progress,
        };
        let Some(stream) = self.streams.get_mut(&number) else { return };
        stream.watches.insert(id, watch);
        if create.range.end.is_empty() {
            self.by_key.entry(create.range.key).or_default().insert((number, id));
        } else {
            self.by_range.insert(create.range, (number, id));
        }
    }

    fn cancel(&mut self, number: u64, id: i64) {
        let revision = self.view.revision();
        if self.forget(number, id)
            && let Some(stream) = self.streams.get_mut(&number)
        {
            stream.said.push_back(WatchMessage { revision, id, canceled: true, ..WatchMessage::default() });
        }
    }

    fn forget(&mut self, number: u64, id: i64) -> bool {
        let Some(stream) = self.streams.get_mut(&number) else { return false };
        let Some(watch) = stream.watches.remove(&id) else { return false };
        stream.ready.remove(&id);
        stream.behind.remove(&id);
        stream.due.remove(&id);
        stream.beginning.remove(&(watch.start, id));
        if let Some(catching) = stream.catching.take_if(|catching| catching.id == id) {
            self.forget_batch(catching.number);
        }
        self.expect_no_progress((number, id), &watch);
        self.watch_bytes -= watch_size(&watch.range);
        if !watch.range.end.is_empty() {
            self.by_range.remove(&watch.range, (number, id));
        } else if let Some(watches) = self.by_key.get_mut(&watch.range.key) {
            watches.remove(&(number, id));
            if watches.is_empty() {
                self.by_key.remove(&watch.range.key);
            }
        }
        true
    }

    fn close(&mut self, number: u64) {
        let ids: Vec<i64> =
            self.streams.get(&number).map(|s| s.watches.keys().copied().collect()).unwrap_or_default();
        for id in ids {
            self.forget(number, id);
        }
        self.streams.remove(&number);
    }

    // ---- out ----

    fn poll(&mut self, number: u64) -> Option<WatchMessage> {
        loop {
            self.ask(number);
            let stream = self.streams.get_mut(&number)?;
            if let Some(said) = stream.said.pop_front() {
                return Some(said);
            }
            // In turn, so that one that catches up does not keep the others waiting.
            let next = stream.ready.range(stream.turn..).next().or_else(|| stream.ready.first());
            let Some(&id) = next else { break };
            stream.turn = id.wrapping_add(1);
            if let Some(message) = self.look(number, id) {
                return Some(message);
            }
        }
        self.promise(number)
    }

    /// Looks at what watch `id` has not seen; `None` if nothing of it is for the watch (it may not be at the end yet), or
    /// if history must be read first.
    fn look(&mut self, number: u64, id: i64) -> Option<WatchMessage> {
        let (revision, compacted) = (self.view.revision(), self.view.compacted());
        let batch = self.take_batch(number, id);
        let stream = self.streams.get_mut(&number)?;
        let watch = stream.watches.get_mut(&id)?;
        watch.keeps_up &= batch.is_none() && watch.next >= self.ring_from;
        if batch.is_none() && watch.next < compacted && !watch.keeps_up {
            self.forget(number, id);
            // etcd's header has no revision here: nothing was promised up to any.
            let message =
                WatchMessage { id, canceled: true, compact_revision: compacted, ..WatchMessage::default() };
            return Some(message);
        }
        let mut events = Vec::new();
        let mut bytes = 0;
        let mut take = |event: &Event| {
            if watch.wants(event) {
                bytes += event.size();
                events.push(watch.trim(event, compacted));
            }
        };
        let upto = match batch {
            Some(Ok(batch)) => {
                batch.events.iter().for_each(take);
                batch.upto
            }
            Some(Err(error)) => {
                let reason = error.to_string();
                self.forget(number, id);
                return Some(WatchMessage {
                    revision,
                    id,
                    canceled: true,
                    reason,
                    ..WatchMessage::default()
                });
            }
            None if watch.next < self.ring_from => {
                stream.ready.remove(&id);
                stream.behind.insert(id);
                return None;
            }
            None => {
                let (mut upto, mut seen) = (revision, 0);
                let start = self.ring.partition_point(|e| e.kv.mod_revision < watch.next);
                for event in self.ring.range(start..) {
                    // Only between two revisions may a message end.
                    if seen > stream.stride && event.kv.mod_revision > upto {
                        break;
                    }
                    seen += event.size();
                    upto = event.kv.mod_revision;
                    take(event);
                }
                let all = self.ring.back().is_none_or(|last| last.kv.mod_revision == upto);
                if all { revision } else { upto }
            }
        };
        watch.next = upto + 1;
        if watch.next > revision {
            stream.ready.remove(&id);
            watch.keeps_up = true;
            stream.stride = self.options.first();
        } else {
            let most = self.options.message_bytes * if events.is_empty() { PASSED_OVER } else { 1 };
            stream.stride = (2 * stream.stride).min(most);
        }
        if events.is_empty() {
            return None;
        }
        if let Some(progress) = &mut watch.progress {
            progress.told(self.now, self.options.progress_every, (number, id));
            stream.due.remove(&id);
        }
        self.told += events.len() as u64;
        let fragment = watch.fragment && bytes > FRAGMENT_BYTES;
        let message = WatchMessage { revision, id, events, ..WatchMessage::default() };
        if !fragment {
            return Some(message);
        }
        let mut parts = split(message);
        let first = parts.pop_front();
        // They must come before anything else of this stream.
        for part in parts.into_iter().rev() {
            stream.said.push_front(part);
        }
        first
    }
}

impl Stream {
    /// A watch that looks at `next` from here on has its turn, if there is something to look at, in the ring or before it.
    fn await_turn(&mut self, id: i64, next: Revision, revision: Revision, ring_from: Revision) {
        let set = if next < ring_from { &mut self.behind } else { &mut self.ready };
        if next <= revision {
            set.insert(id);
        }
    }

    fn free_id(&mut self) -> i64 {
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }
}

impl Watch {
    fn wants(&self, event: &Event) -> bool {
        let filtered = if event.deleted { self.no_delete } else { self.no_put };
        !filtered && contains(&self.range, &event.kv.key)
    }

    /// What it is told of an event. The value before one at the compacted revision is forgotten, whether or not it is still at hand:
    /// etcd's clients know that from etcd (Kubernetes takes a revision with all values for one that is not compacted).
    fn trim(&self, event: &Event, compacted: Revision) -> Event {
        let known = self.prev_kv && event.kv.mod_revision > compacted;
        let prev = if known { event.prev.clone() } else { None };
        Event { deleted: event.deleted, kv: event.kv.clone(), prev }
    }
}

fn contains(range: &KeyRange, key: &Bytes) -> bool {
    match &range.end[..] {
        [] => *key == range.key,
        [0] => *key >= range.key,
        end => *key >= range.key && key[..] < *end,
    }
}

/// Whether a range has keys from `first` to `last`.
fn reaches(range: &KeyRange, first: &Bytes, last: &Bytes) -> bool {
    match &range.end[..] {
        [] => (first..=last).contains(&&range.key),
        [0] => range.key <= *last,
        end => range.key <= *last && first[..] < *end,
    }
}

/// What a watch takes, about: it stands in its stream and in the index by key or range.
fn watch_size(range: &KeyRange) -> usize {
    range.key.len() + range.end.len() + 400
}

struct Handle {
    hub: Arc<Mutex<Hub>>,
    number: u64,
}

impl WatchStream for Handle {
    fn request(&mut self, request: WatchRequest) {
        lock(&self.hub).request(self.number, request);
    }

    fn poll(&mut self) -> Option<WatchMessage> {
        lock(&self.hub).poll(self.number)
    }

    fn owed(&self) -> usize {
        lock(&self.hub).streams.get(&self.number).map_or(0, |stream| {
            stream.said.len().saturating_add(usize::try_from(stream.progress).unwrap_or(usize::MAX))
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.hub).close(self.number);
    }
}
