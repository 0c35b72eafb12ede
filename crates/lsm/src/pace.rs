//! The background steps aside, often.
//!
//! A system that does not preempt what computes, but at its clock's ticks, lets a thread that was just woken wait for the next
//! one: up to four milliseconds behind a merge, several times in the life of one request. So what runs long offers its core
//! every few dozen items, which costs nothing where nobody waits. Not when the background has fallen behind: then it takes its
//! share, since requests would wait for it in the end.

use lsm_tree::compaction::filter::{CompactionFilter, Context, Factory, ItemAccessor, Verdict};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// So many items are handled in a row: some dozens of microseconds.
const ITEMS: u32 = 64;

/// Counts the items of one flush or merge.
pub(crate) struct Pace {
    behind: Arc<AtomicBool>,
    items: u32,
}

impl Pace {
    /// Until `behind` says that there is no time for it.
    pub(crate) fn new(behind: Arc<AtomicBool>) -> Self {
        Self { behind, items: 0 }
    }

    /// One more item was handled.
    pub(crate) fn item(&mut self) {
        self.items += 1;
        if self.items.is_multiple_of(ITEMS) && !self.behind.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }
}

/// Puts a pace into the tree's merges, where a filter would stand.
pub(crate) struct Paced(pub(crate) Arc<AtomicBool>);

impl Factory for Paced {
    fn name(&self) -> &'static str {
        "pace"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Pace::new(self.0.clone()))
    }
}

impl CompactionFilter for Pace {
    fn filter_item(&mut self, _: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        self.item();
        Ok(Verdict::Keep)
    }
}
