//! The background steps aside, often.
//!
//! A system that does not preempt what computes, but at its clock's ticks, lets a thread that was just woken wait for the next
//! one: up to four milliseconds behind a merge, several times in the life of one request. And a system whose share of a machine is
//! bounded over some time (a container's quota, a virtual machine's with its disk's thread in it) stands still when merges have used it
//! up, flushes of journals and all. So what runs long rests often, for longer than it has worked: it takes as long as
//! there is time for, instead of a whole core for a moment. Not where nobody writes meanwhile; and not when the background has fallen
//! behind: then it takes its share, since requests would wait for it in the end.
//!
//! And a merge, which may take seconds, stops for a flush: memtables would pile up beside it, and the writer would have to flush
//! them itself.

use crate::ahead::Ahead;
use crate::{Shared, UNMERGED_MAX, lock};
use lsm_tree::SequenceNumberCounter;
use lsm_tree::compaction::filter::{CompactionFilter, Context, Factory, ItemAccessor, Verdict};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

/// So many items are handled in a row: some dozens of microseconds.
const ITEMS: u32 = 64;
/// After so long it rests, ...
const STRETCH: Duration = Duration::from_micros(250);
/// ... for so many times as long as it has worked; a rest is so long at most, however long its thread had waited for a core.
const REST: u32 = 2;
const REST_MAX: Duration = Duration::from_millis(2);
/// Who has written nothing for so long does not write: writes come in batches, with pauses between them.
const PAUSE: Duration = Duration::from_millis(50);
/// With so many memtables set aside there is no time to step aside, ...
const MEMTABLES: usize = 2;
/// ... nor with so many runs of tables that are not merged: who steps aside on a machine that others fill gets next to nothing of it.
const RUNS: usize = 12;
/// With so many the writer begins to rest behind each memtable, ...
const SLOW_RUNS: usize = UNMERGED_MAX * 2 / 3;
/// ... and rests so long before the last.
const SLOWEST: Duration = Duration::from_secs(3);

/// How long a writer rests behind a memtable, with so many runs of tables that are not merged: longer and longer, until it writes
/// no faster than the background merges. Whoever waits for it then waits a few seconds at most; without, a few would wait until all is merged.
pub(crate) fn rest_of_writer(runs: usize) -> Option<Duration> {
    let over = u32::try_from(runs.checked_sub(SLOW_RUNS)?).ok().filter(|&over| over > 0)?;
    let most = (UNMERGED_MAX - SLOW_RUNS) as u32;
    Some(SLOWEST * over.min(most).pow(2) / most.pow(2))
}

/// What waits for the background.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Arc<Counts>);

#[derive(Default)]
struct Counts {
    memtables: AtomicUsize,
    runs: AtomicUsize,
    writer: AtomicBool,
}

impl Waiting {
    /// So many memtables wait to be flushed.
    pub(crate) fn memtables(&self, count: usize) {
        self.0.memtables.store(count, Ordering::Relaxed);
    }

    /// So many runs of tables wait to be merged.
    pub(crate) fn runs(&self, count: usize) {
        self.0.runs.store(count, Ordering::Relaxed);
    }

    /// The writer waits until a flush is over.
    pub(crate) fn writer(&self, waits: bool) {
        self.0.writer.store(waits, Ordering::Relaxed);
    }

    fn flush(&self) -> bool {
        self.0.memtables.load(Ordering::Relaxed) > 0
    }

    fn pressing(&self) -> bool {
        self.0.memtables.load(Ordering::Relaxed) >= MEMTABLES
            || self.0.runs.load(Ordering::Relaxed) >= RUNS
            || self.0.writer.load(Ordering::Relaxed)
    }
}

/// Counts the items of one flush or merge.
pub(crate) struct Pace {
    waiting: Waiting,
    ahead: Arc<Mutex<Ahead>>,
    items: u32,
    bytes: u64,
    /// Since when it has worked without a rest.
    since: Instant,
    writer: SequenceNumberCounter,
    /// Up to where the writer was when it was last seen to have written, and when that was, if ever.
    written: u64,
    wrote: Option<Instant>,
}

impl Pace {
    /// One more item of so many bytes was handled; true every [`ITEMS`].
    pub(crate) fn item(&mut self, bytes: usize) -> bool {
        self.items += 1;
        self.bytes += bytes as u64;
        if !self.items.is_multiple_of(ITEMS) {
            return false;
        }
        lock(&self.ahead).wrote(std::mem::take(&mut self.bytes));
        self.rest();
        true
    }

    fn rest(&mut self) {
        let worked = self.since.elapsed();
        if worked < STRETCH {
            return;
        }
        let written = self.writer.get();
        if written > self.written {
            (self.written, self.wrote) = (written, Some(Instant::now()));
        }
        let writes = self.wrote.is_some_and(|wrote| wrote.elapsed() < PAUSE);
        if writes && !self.waiting.pressing() {
            std::thread::sleep((worked * REST).min(REST_MAX));
        }
        self.since = Instant::now();
    }
}

/// Puts a pace into the tree's merges, where a filter would stand.
pub(crate) struct Paced {
    pub(crate) waiting: Waiting,
    ahead: Arc<Mutex<Ahead>>,
    writer: SequenceNumberCounter,
    /// Set once there is one.
    shared: OnceLock<Weak<Shared>>,
}

impl Paced {
    /// For a tree whose tables lie in a directory, and whose writer takes these numbers.
    pub(crate) fn new(tables: PathBuf, writer: SequenceNumberCounter) -> Self {
        let ahead = Arc::new(Mutex::new(Ahead::new(tables)));
        Self { waiting: Waiting::default(), ahead, writer, shared: OnceLock::new() }
    }

    /// A pace for one flush or merge.
    pub(crate) fn pace(&self) -> Pace {
        let (waiting, ahead, writer) = (self.waiting.clone(), self.ahead.clone(), self.writer.clone());
        let written = writer.get();
        Pace { waiting, ahead, items: 0, bytes: 0, since: Instant::now(), writer, written, wrote: None }
    }

    /// Merges may stop for flushes of `shared`.
    pub(crate) fn serve(&self, shared: &Arc<Shared>) {
        let _ = self.shared.set(Arc::downgrade(shared));
    }
}

impl Factory for Paced {
    fn name(&self) -> &'static str {
        "pace"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        let shared = self.shared.get().cloned().unwrap_or_default();
        Box::new(Merge { pace: self.pace(), shared })
    }
}

struct Merge {
    pace: Pace,
    shared: Weak<Shared>,
}

impl CompactionFilter for Merge {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        let value = if item.is_indirection() { 0 } else { item.value()?.len() };
        if self.pace.item(item.key().len() + value)
            && self.pace.waiting.flush()
            && let Some(shared) = self.shared.upgrade()
        {
            // What fails here fails again when the flush's own turn comes, and is told there.
            let _ = shared.flush();
            shared.free_memtables();
        }
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: a writer is slowed down by and by, and never by more than a request waits for.
    #[test]
    fn a_writer_rests_longer_the_less_is_merged() {
        let rests: Vec<Option<Duration>> = (0..=UNMERGED_MAX + 5).map(rest_of_writer).collect();
        assert!(
            rests[..=SLOW_RUNS].iter().all(Option::is_none),
            "a background that keeps up slows nobody down"
        );
        assert!(
            rests.is_sorted() && rests[SLOW_RUNS + 1].is_some_and(|first| first < Duration::from_millis(100))
        );
        assert_eq!(rests[UNMERGED_MAX + 5], Some(SLOWEST));
    }
}
