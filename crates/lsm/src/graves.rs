//! What the tree gives up is held on to here until nobody else does, and goes outside of the tree's locks.
//!
//! The tree drops versions of itself while it holds the lock that every read and write takes. With the last version that has it
//! a memtable goes, which is tens of thousands of small allocations, or a table, whose file is removed: on a file system that
//! tells its device of free blocks that is tens of milliseconds. Whoever waits for an answer would wait for that.

use lsm_tree::{Memtable, SeqNo, Table};
use std::collections::HashSet;
use std::sync::Arc;

/// Memtables and tables that are, or may soon be, in no version that anybody can ask for.
#[derive(Default)]
pub(crate) struct Graves {
    /// All that were set aside, oldest first, and whether they were flushed.
    memtables: Vec<(Arc<Memtable>, bool)>,
    /// Tables that were given up, with a number above that of the last version that has them.
    tables: Vec<(SeqNo, Vec<Table>)>,
}

/// What is dropped.
pub(crate) struct Dead {
    _memtables: Vec<(Arc<Memtable>, bool)>,
    _tables: Vec<Vec<Table>>,
}

impl Graves {
    /// A memtable was set aside.
    pub(crate) fn memtable(&mut self, memtable: Arc<Memtable>) {
        self.memtables.push((memtable, false));
    }

    /// The oldest memtable that waits to be flushed.
    pub(crate) fn waiting(&self) -> Option<Arc<Memtable>> {
        self.memtables.iter().find(|(_, flushed)| !flushed).map(|(memtable, _)| memtable.clone())
    }

    /// What waited longest is in tables now.
    pub(crate) fn flushed(&mut self) {
        if let Some((_, flushed)) = self.memtables.iter_mut().find(|(_, flushed)| !*flushed) {
            *flushed = true;
        }
    }

    /// The tree had the tables `before` and has `after`, in a version whose number is below `now`.
    pub(crate) fn tables<'a>(
        &mut self,
        before: impl Iterator<Item = &'a Table>,
        after: impl Iterator<Item = &'a Table>,
        now: SeqNo,
    ) {
        let alive: HashSet<u64> = after.map(Table::id).collect();
        let gone: Vec<Table> = before.filter(|t| !alive.contains(&t.id())).cloned().collect();
        if !gone.is_empty() {
            self.tables.push((now, gone));
        }
    }

    /// What nobody else can ask for any more, once the tree has let go of all versions that no view at or above `watermark` needs.
    pub(crate) fn dead(&mut self, watermark: SeqNo) -> Dead {
        let memtables = self
            .memtables
            .extract_if(.., |(memtable, flushed)| *flushed && Arc::strong_count(memtable) == 1)
            .collect();
        let tables =
            self.tables.extract_if(.., |(at, _)| *at <= watermark).map(|(_, tables)| tables).collect();
        Dead { _memtables: memtables, _tables: tables }
    }
}
