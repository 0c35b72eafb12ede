//! The LSM form of [`State`], over the crate `lsm-tree`.
//!
//! # How it is made safe
//!
//! The tree has no log of its own, and its own list of files carries no checksum that it verifies: a flipped bit there
//! gives wrong data, and on opening it deletes what the list does not name. So the *live* directory is disposable: it is
//! made anew at each start from a checkpoint. A checkpoint is a set of hard links to the tree's tables (which are never
//! written again once they are complete), copies of its small files, and our own MANIFEST with sizes and checksums,
//! written last. A start verifies the manifest, each table's presence and size, and the checksums of the small files;
//! blocks of tables are verified by the tree at each read, so that a start does not read all data.
//!
//! # Sequence numbers
//!
//! Each write takes the next number. A view at `n` sees all entries below `n`; the tree keeps what the oldest view that
//! is alive can see. The applier is the only writer; the background thread flushes and compacts.

mod files;

use files::Layout;
use lsm_tree::compaction::Leveled;
use lsm_tree::config::{BlockSizePolicy, PinningPolicy};
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, Guard as _, SequenceNumberCounter};
use quorate_storage::journal::Identity;
use quorate_storage::state::{
    CheckpointJob, Range, Scan, State, StateError, StateResult, StateStore, Upkeep, View,
};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Sizes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of the block cache.
    pub cache_bytes: u64,
    /// Bytes of a table that compaction makes.
    pub table_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 24 << 20, table_bytes: 32 << 20 }
    }
}

/// Opens states from checkpoints in a directory.
pub struct LsmStore {
    layout: Layout,
    options: Options,
}

impl LsmStore {
    /// Everything lies below `dir`.
    pub fn new(dir: &Path, identity: Identity, options: Options) -> Self {
        Self { layout: Layout::new(dir, identity), options }
    }
}

impl StateStore for LsmStore {
    fn open(&mut self, generation: Option<u64>) -> StateResult<Box<dyn State>> {
        self.layout.prepare_live(generation)?;
        let seqno = SequenceNumberCounter::new(1);
        let visible = SequenceNumberCounter::new(1);
        let tree = Config::new(self.layout.live(), seqno.clone(), visible.clone())
            .use_cache(Arc::new(Cache::with_capacity_bytes(self.options.cache_bytes)))
            .data_block_size_policy(BlockSizePolicy::all(4096))
            .filter_block_pinning_policy(PinningPolicy::new([true, false]))
            .index_block_pinning_policy(PinningPolicy::new([true, false]))
            .open()
            .map_err(|e| failed("opening the tree", &e))?;
        let highest = tree.get_highest_seqno().unwrap_or(0);
        seqno.fetch_max(highest + 1);
        visible.fetch_max(highest + 1);
        let shared = Arc::new(Shared {
            tree,
            seqno,
            views: Mutex::default(),
            layout: self.layout.clone(),
            options: self.options,
            maintaining: Mutex::new(()),
        });
        Ok(Box::new(LsmState { shared, unsealed: 0 }))
    }
}

struct Shared {
    tree: AnyTree,
    seqno: SequenceNumberCounter,
    /// Views that are alive, by the number they stand at.
    views: Mutex<BTreeMap<u64, usize>>,
    layout: Layout,
    options: Options,
    /// Flushing and compacting take turns.
    maintaining: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Below this nobody looks.
    fn watermark(&self) -> u64 {
        let now = self.seqno.get();
        lock(&self.views).first_key_value().map_or(now, |(&at, _)| at.min(now))
    }

    fn get(&self, key: &[u8], at: u64) -> StateResult<Option<Bytes>> {
        let value = self.tree.get(key, at).map_err(|e| failed("reading", &e))?;
        Ok(value.map(Bytes::from))
    }

    fn scan(&self, range: Range<'_>, at: u64, back: bool) -> Scan<'static> {
        if is_empty(&range) {
            return Box::new(std::iter::empty());
        }
        let pairs = self.tree.range::<&[u8], (Bound<&[u8]>, Bound<&[u8]>)>(range, at, None);
        let read = |guard: lsm_tree::IterGuardImpl| {
            let (key, value) = guard.into_inner().map_err(|e| failed("scanning", &e))?;
            Ok((Bytes::from(key), Bytes::from(value)))
        };
        if back { Box::new(pairs.rev().map(read)) } else { Box::new(pairs.map(read)) }
    }
}

fn is_empty(range: &Range<'_>) -> bool {
    match range {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
        _ => false,
    }
}

fn failed(doing: &str, error: &lsm_tree::Error) -> StateError {
    let damaged = match error {
        lsm_tree::Error::Io(e) => {
            matches!(e.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::NotFound)
        }
        _ => true,
    };
    StateError { context: format!("{doing}: {error}"), damaged }
}

/// A state on disk, larger than memory.
pub struct LsmState {
    shared: Arc<Shared>,
    unsealed: u64,
}

impl State for LsmState {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        let at = self.shared.seqno.next();
        self.shared.tree.insert(key, value, at);
        self.unsealed += (key.len() + value.len() + 32) as u64;
    }

    fn delete(&mut self, key: &[u8]) {
        let at = self.shared.seqno.next();
        self.shared.tree.remove(key, at);
        self.unsealed += (key.len() + 32) as u64;
    }

    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        self.shared.get(key, self.shared.seqno.get())
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.shared.scan(range, self.shared.seqno.get(), false)
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.shared.scan(range, self.shared.seqno.get(), true)
    }

    fn view(&self) -> Arc<dyn View> {
        // Counted before the number is read again by the watermark: what it sees cannot be collected meanwhile.
        let mut views = lock(&self.shared.views);
        let at = self.shared.seqno.get();
        *views.entry(at).or_default() += 1;
        drop(views);
        Arc::new(LsmView { shared: self.shared.clone(), at })
    }

    fn seal(&mut self) -> StateResult<Box<dyn CheckpointJob>> {
        self.shared.tree.rotate_memtable();
        self.unsealed = 0;
        Ok(Box::new(SealJob { shared: self.shared.clone() }))
    }

    fn unsealed_bytes(&self) -> u64 {
        self.unsealed
    }

    fn upkeep(&self) -> Option<Box<dyn Upkeep>> {
        Some(Box::new(Compaction { shared: self.shared.clone(), compacted_at: 0 }))
    }
}

struct LsmView {
    shared: Arc<Shared>,
    at: u64,
}

impl Drop for LsmView {
    fn drop(&mut self) {
        let mut views = lock(&self.shared.views);
        if let Some(count) = views.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                views.remove(&self.at);
            }
        }
    }
}

impl View for LsmView {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        self.shared.get(key, self.at)
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.shared.scan(range, self.at, false)
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.shared.scan(range, self.at, true)
    }
}

/// Flushes what was sealed, and links it all into a checkpoint.
struct SealJob {
    shared: Arc<Shared>,
}

impl CheckpointJob for SealJob {
    fn run(self: Box<Self>, generation: u64) -> StateResult<()> {
        let shared = &self.shared;
        let _turn = lock(&shared.maintaining);
        let flushing = shared.tree.get_flush_lock();
        shared.tree.flush(&flushing, shared.watermark()).map_err(|e| failed("flushing", &e))?;
        let version = shared.tree.current_version();
        let tables: Vec<u64> = version.iter_tables().map(lsm_tree::Table::id).collect();
        shared.layout.checkpoint(generation, version.id(), &tables)
    }
}

/// Merges tables in the background.
struct Compaction {
    shared: Arc<Shared>,
    /// The version after the last compaction: without a new one there is nothing to do.
    compacted_at: u64,
}

impl Upkeep for Compaction {
    fn step(&mut self) -> StateResult<bool> {
        let shared = &self.shared;
        let before = shared.tree.current_version().id();
        if before == self.compacted_at {
            return Ok(false);
        }
        let _turn = lock(&shared.maintaining);
        let strategy = Leveled::default().with_table_target_size(shared.options.table_bytes);
        shared.tree.compact(Arc::new(strategy), shared.watermark()).map_err(|e| failed("compacting", &e))?;
        let after = shared.tree.current_version().id();
        if after == before {
            self.compacted_at = after;
        }
        Ok(after != before)
    }
}
