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
//! What no block checksum covers is the end of a table, with the list of its parts: a false length there makes the tree ask
//! for more memory than there is, which is an abort and no error. So a checkpoint holds the checksum of each table's last
//! bytes (`files`), and a start verifies those too before the tree sees the file.
//!
//! # Sequence numbers
//!
//! Each write takes the next number. A view at `n` sees all entries below `n`; the tree keeps what the oldest view that
//! is alive can see. The applier is the only writer, and reads at `NEWEST`; the background thread flushes and compacts.
//! A read at the counter's value would be a race: two flushes between taking the number and using it may drop the version
//! of the tree that the number needs, which only a registered view holds back.
//!
//! # Memory
//!
//! A memtable that grows past its limit is set aside and flushed in the background. Not while a checkpoint is under way:
//! whatever is set aside then would be flushed into it, and it must hold what was written before its cut and no more. If
//! the background falls behind, the writer flushes itself. That holds for a checkpoint, too: at twice the limit the writer
//! makes its cut (flushes what was set aside before it, and notes which files belong to it), and the background has only
//! to link them. And for merging: the indexes and filters of what was flushed and is not merged stay in memory. A merge takes
//! seconds, for which requests would time out: so a writer that comes near to it goes slower ([`pace::rest_of_writer`]).
//!
//! The tree finds the memtables and tables of a view by its number, and keeps all that there were since the oldest number
//! that may be asked for: also memtables flushed long ago. Views are therefore replaced as the state goes on. One that has
//! to stay ([`View::lasting`]) holds on to its own memtables and tables, and the tree may forget its number; so does one that has stayed
//! long ([`views`]).
//!
//! What the tree gives up is dropped outside of its locks ([`graves`]), and flushes and merges step aside often ([`pace`]).
//!
//! # Without room
//!
//! A flush or a merge that finds no room changes nothing, and is tried again by the background; so is a checkpoint. Only a
//! writer that has set aside more than fits into memory gives up.
//!
//! # Left out
//!
//! Compression; more than one tree.

mod ahead;
mod blocks;
mod calls;
mod examine;
mod files;
mod flush;
mod graves;
mod pace;
mod scrub;
mod views;

pub use examine::{Examined, Fault, examine};
use files::Layout;
use graves::Graves;
use lsm_tree::compaction::Leveled;
use lsm_tree::config::{BlockSizePolicy, PinningPolicy};
use lsm_tree::{AbstractTree, AnyTree, Cache, Config, Guard as _, SequenceNumberCounter};
use pace::Paced;
use quorate_storage::journal::Identity;
use quorate_storage::recent::Recent;
use quorate_storage::state::{
    CheckpointJob, Range, Scan, State, StateError, StateErrorKind, StateResult, StateStore, Upkeep, View,
};
use scrub::Scrub;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use views::{Alive, LsmView};

use bytes::Bytes;

/// Sizes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of the block cache.
    pub cache_bytes: u64,
    /// Bytes of a table that compaction makes.
    pub table_bytes: u64,
    /// Bytes of a memtable, as the tree counts them, beyond which it is flushed.
    pub memtable_bytes: u64,
    /// Bytes of a table's end that are verified at a start: its list of parts and its numbers must fit.
    pub end_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 12 << 20, table_bytes: 8 << 20, memtable_bytes: 6 << 20, end_bytes: 16 << 10 }
    }
}

/// Sees everything. Numbers with the highest bit set are the tree's own.
const NEWEST: u64 = u64::MAX >> 1;
/// With so many memtables set aside, the writer flushes itself.
const SET_ASIDE_MAX: usize = 2;
/// So many may be set aside while the disk has no room for them.
const SET_ASIDE_WITHOUT_ROOM: usize = 8;
/// So many flushed memtables are merged at once: each merge rewrites what it overlaps, so small memtables wait for more of them.
const UNMERGED: u8 = 8;
/// With so many flushed memtables that are not merged yet, the writer merges them itself.
const UNMERGED_MAX: usize = 24;
/// Bytes of a generation of what is kept at hand.
const RECENT_BYTES: usize = 4 << 20;
/// Beyond twice what is live so much may be wasted, in tables, before everything is merged.
const WASTE_TABLES: u64 = 2;
/// More than this is not merged at once unasked: while it lasts nothing else is merged, and a busy writer would have to wait. Level
/// by level it goes by and by.
const TIDY_MAX: u64 = 1 << 30;
/// A memtable that has grown to so many times its limit while a checkpoint waits to be cut makes the writer cut it.
const SEALING_MEMTABLES: u64 = 2;

/// Opens states from checkpoints in a directory.
pub struct LsmStore {
    layout: Layout,
    options: Options,
}

impl LsmStore {
    /// Everything lies below `dir`.
    pub fn new(dir: &Path, identity: Identity, options: Options) -> Self {
        Self { layout: Layout::new(dir, identity, options.end_bytes), options }
    }

    fn opened(&self, generation: Option<u64>) -> StateResult<LsmState> {
        self.layout.prepare_live(generation)?;
        let seqno = SequenceNumberCounter::new(1);
        let visible = SequenceNumberCounter::new(1);
        let paced = Arc::new(Paced::new(self.layout.tables(), seqno.clone()));
        let tree = Config::new(self.layout.live(), seqno.clone(), visible.clone())
            .use_cache(Arc::new(Cache::with_capacity_bytes(self.options.cache_bytes)))
            .data_block_size_policy(BlockSizePolicy::all(4096))
            // What level 0 needs at each read stays in memory. Below it indexes and filters are cut into blocks that
            // come and go through the cache: whole, one look-up would pull half a megabyte through it.
            .filter_block_pinning_policy(PinningPolicy::new([true, false]))
            .index_block_pinning_policy(PinningPolicy::new([true, false]))
            .filter_block_partitioning_policy(PinningPolicy::new([false, true]))
            .index_block_partitioning_policy(PinningPolicy::new([false, true]))
            .with_compaction_filter_factory(Some(paced.clone()))
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
            sealing: Mutex::default(),
            litter: Mutex::default(),
            graves: Mutex::default(),
            paced,
        });
        shared.paced.serve(&shared);
        Ok(LsmState { shared, recent: RefCell::new(Recent::new(RECENT_BYTES)), unsealed: 0, failed: None })
    }
}

impl StateStore for LsmStore {
    fn open(&mut self, generation: Option<u64>) -> StateResult<Box<dyn State>> {
        Ok(Box::new(self.opened(generation)?))
    }

    fn newest(&mut self) -> StateResult<Option<u64>> {
        Ok(self.layout.generations()?.into_iter().max())
    }

    fn set_aside(&mut self) -> StateResult<Option<String>> {
        Ok(self.layout.set_aside()?.map(|path| path.display().to_string()))
    }

    fn condemn(&mut self, why: &str) -> StateResult<()> {
        self.layout.condemn(why)
    }
}

struct Shared {
    tree: AnyTree,
    seqno: SequenceNumberCounter,
    views: Mutex<Alive>,
    layout: Layout,
    options: Options,
    /// Compacting and linking a checkpoint take turns.
    maintaining: Mutex<()>,
    sealing: Mutex<Sealing>,
    /// From this number on there may be tables that are in no version.
    litter: Mutex<Option<u64>>,
    graves: Mutex<Graves>,
    paced: Arc<Paced>,
}

/// How far a checkpoint is.
#[derive(Default)]
enum Sealing {
    /// None is under way.
    #[default]
    Not,
    /// All that belongs to it is set aside, and nothing else may be.
    SetAside,
    /// It is known which files belong to it.
    Cut(Cut),
}

/// The files of a checkpoint.
struct Cut {
    /// Held on to, since they may be merged into others meanwhile.
    tables: Vec<lsm_tree::Table>,
    small: Vec<(String, Vec<u8>)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Below this nobody looks.
    fn watermark(&self) -> u64 {
        let now = self.seqno.get();
        lock(&self.views).lowest().map_or(now, |at| at.min(now))
    }

    fn get(&self, key: &[u8], at: u64) -> StateResult<Option<Bytes>> {
        let value = self.tree.get(key, at).map_err(|e| self.failed("reading", &e))?;
        Ok(value.map(Bytes::from))
    }

    fn scan<'a>(&'a self, range: Range<'_>, at: u64, back: bool) -> Scan<'a> {
        if is_empty(&range) {
            return Box::new(std::iter::empty());
        }
        let pairs = self.tree.range::<&[u8], (Bound<&[u8]>, Bound<&[u8]>)>(range, at, None);
        let read = |guard: lsm_tree::IterGuardImpl| {
            let (key, value) = guard.into_inner().map_err(|e| self.failed("scanning", &e))?;
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
    let kind = match error {
        lsm_tree::Error::Io(error) => files::kind_of(error),
        _ => StateErrorKind::Damaged,
    };
    StateError::new(kind, format!("{doing}: {}", words(error)))
}

/// What the tree says of an error, in words for an operator: its own are for whoever works on the tree.
fn words(error: &lsm_tree::Error) -> String {
    match error {
        lsm_tree::Error::Io(error) => error.to_string(),
        lsm_tree::Error::ChecksumMismatch { .. } => "a checksum does not match".into(),
        lsm_tree::Error::Unrecoverable => "files are missing, or their beginning is not readable".into(),
        other => format!("damaged: {}", format!("{other:?}").to_lowercase()),
    }
}

impl Shared {
    /// The error of a read, with the files that are damaged: the tree does not say in which one its checksum failed, so
    /// all are read. The node stops serving after this, and its operator needs the name.
    fn failed(&self, doing: &str, error: &lsm_tree::Error) -> StateError {
        let mut error = failed(doing, error);
        if error.damaged() {
            let version = self.tree.current_version();
            for table in version.iter_tables() {
                let whole = table.scan().and_then(|mut scan| scan.try_for_each(|item| item.map(drop)));
                if whole.is_err() {
                    let _ = write!(error.context, "; {} does not verify", table.path.display());
                }
            }
        }
        error
    }

    /// Runs a merge. Nothing else may merge meanwhile.
    fn merging(&self, merge: impl FnOnce() -> lsm_tree::Result<()>) -> StateResult<()> {
        self.changing("compacting", merge)
    }

    /// Runs what makes a new version of the tree.
    fn changing(&self, doing: &str, change: impl FnOnce() -> lsm_tree::Result<()>) -> StateResult<()> {
        let first = self.tree.next_table_id();
        let before = self.tree.current_version();
        let changed = change().map_err(|e| self.failed(doing, &e));
        self.paced.waiting.runs(self.tree.l0_run_count());
        let (after, now) = (self.tree.current_version(), self.seqno.get());
        lock(&self.graves).tables(before.iter_tables(), after.iter_tables(), now);
        self.note_litter(first, changed)
    }

    /// Sets the memtable aside.
    fn rotate(&self) {
        if let Some(memtable) = self.tree.rotate_memtable() {
            self.paced.waiting.memtables(lock(&self.graves).memtable(memtable));
            lock(&self.views).rotated(&self.tree);
        }
    }

    /// What finds no room leaves half a table behind, of number `first` or above, which the tree would keep till the next start.
    fn note_litter(&self, first: u64, done: StateResult<()>) -> StateResult<()> {
        if done.as_ref().is_err_and(|e| e.kind == StateErrorKind::Full) {
            let mut litter = lock(&self.litter);
            *litter = Some(litter.map_or(first, |known| known.min(first)));
        }
        done
    }

    /// Bytes of all tables.
    fn table_bytes(&self) -> u64 {
        self.tree.current_version().iter_tables().map(|table| table.metadata.file_size).sum()
    }

    /// Lets go of versions that no view needs any more, and with them of their memtables and tables: the tree does so only beside
    /// other work.
    fn let_go(&self) -> StateResult<()> {
        let watermark = self.watermark();
        let mut history = self.tree.get_version_history_lock();
        history.maintenance(&self.layout.live(), watermark).map_err(|e| failed("tidying up", &e))?;
        drop(history);
        // Taken out under the lock, dropped when it is free again.
        let dead = lock(&self.graves).dead(watermark);
        drop(dead);
        Ok(())
    }

    /// Removes what was left behind. Nothing may merge meanwhile, and nothing has merged since: what the version does not know
    /// from there on was never in one.
    fn tidy(&self) -> StateResult<()> {
        let _flushing = self.tree.get_flush_lock();
        let Some(first) = lock(&self.litter).take() else { return Ok(()) };
        let keep: Vec<u64> = self.tree.current_version().iter_tables().map(lsm_tree::Table::id).collect();
        self.layout.remove_tables(first, &keep)
    }

    /// Does what the background has fallen behind with.
    fn keep_up(&self) -> StateResult<()> {
        // No checkpoint waits for its cut.
        if self.tree.sealed_memtable_count() > SET_ASIDE_MAX {
            self.flush()?;
            self.free_memtables();
        }
        if self.tree.l0_run_count() < UNMERGED_MAX {
            return Ok(());
        }
        let _turn = lock(&self.maintaining);
        self.tidy()?;
        // Who had the turn may have done it.
        if self.tree.l0_run_count() < UNMERGED_MAX { Ok(()) } else { self.merge() }
    }

    /// Has the writer rest while the background merges and has fallen behind.
    fn slow_down(&self) {
        let rest = pace::rest_of_writer(self.tree.l0_run_count());
        let merging = || matches!(self.maintaining.try_lock(), Err(TryLockError::WouldBlock));
        if let Some(rest) = rest.filter(|_| merging()) {
            std::thread::sleep(rest);
        }
    }

    /// Merges tables, as the tree thinks best.
    fn merge(&self) -> StateResult<()> {
        let strategy =
            Leveled::default().with_l0_threshold(UNMERGED).with_table_target_size(self.options.table_bytes);
        self.merging(|| self.tree.compact(Arc::new(strategy), self.watermark()))
    }

    /// Flushes what was set aside for a checkpoint, and notes the files that hold it.
    fn cut(&self, sealing: &mut Sealing) -> StateResult<()> {
        if !matches!(sealing, Sealing::SetAside) {
            return Ok(());
        }
        self.flush()?;
        loop {
            let version = self.tree.current_version();
            // Under this lock no merge beside us goes over to another version, so that its files are as they should be.
            let history = self.tree.get_version_history_lock();
            let small = self.layout.small_files(version.id());
            drop(history);
            if self.tree.current_version().id() == version.id() {
                *sealing =
                    Sealing::Cut(Cut { tables: version.iter_tables().cloned().collect(), small: small? });
                return Ok(());
            }
        }
    }
}

/// A state on disk, larger than memory.
pub struct LsmState {
    shared: Arc<Shared>,
    /// What the writer wants to have at hand, as the tree has it: it is the only one who writes.
    recent: RefCell<Recent>,
    unsealed: u64,
    /// A flush that the writer had to do failed: the next call that can say so does.
    failed: Option<StateError>,
}

impl LsmState {
    fn insert(&mut self, key: Bytes, value: Bytes) {
        let at = self.shared.seqno.next();
        self.unsealed += (key.len() + value.len() + 32) as u64;
        let (_, bytes) = self.shared.tree.insert(key, value, at);
        self.relieve(bytes);
    }

    /// Sets the memtable aside if it has grown to `bytes` and nothing forbids it.
    fn relieve(&mut self, bytes: u64) {
        let shared = &self.shared;
        if bytes < shared.options.memtable_bytes {
            return;
        }
        let much = bytes >= SEALING_MEMTABLES * shared.options.memtable_bytes;
        let mut sealing = match shared.sealing.try_lock() {
            Ok(sealing) => sealing,
            // The background makes its cut, which takes as long as a flush: the writer goes on while it may.
            Err(TryLockError::WouldBlock) if !much => return,
            Err(_) => {
                shared.paced.waiting.writer(true);
                let sealing = lock(&shared.sealing);
                shared.paced.waiting.writer(false);
                sealing
            }
        };
        if matches!(*sealing, Sealing::SetAside) {
            if !much {
                return;
            }
            if let Err(error) = shared.cut(&mut sealing) {
                self.failed.get_or_insert(error);
                return;
            }
        }
        drop(sealing);
        shared.rotate();
        shared.slow_down();
        match shared.keep_up() {
            // The background tries again; so much may wait in memory meanwhile.
            Err(error)
                if error.kind == StateErrorKind::Full
                    && shared.tree.sealed_memtable_count() <= SET_ASIDE_WITHOUT_ROOM => {}
            Err(error) => {
                self.failed.get_or_insert(error);
            }
            Ok(()) => {}
        }
    }

    fn check(&self) -> StateResult<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

impl State for LsmState {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.recent.get_mut().delete(key);
        let at = self.shared.seqno.next();
        let (_, bytes) = self.shared.tree.insert(key, value, at);
        self.unsealed += (key.len() + value.len() + 32) as u64;
        self.relieve(bytes);
    }

    fn put_shared(&mut self, key: Bytes, value: Bytes) {
        self.recent.get_mut().delete(&key);
        self.insert(key, value);
    }

    fn put_kept(&mut self, key: Bytes, value: Bytes) {
        self.recent.get_mut().put(key.clone(), value.clone());
        self.insert(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.recent.get_mut().delete(key);
        let at = self.shared.seqno.next();
        let (_, bytes) = self.shared.tree.remove(key, at);
        self.unsealed += (key.len() + 32) as u64;
        self.relieve(bytes);
    }

    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        self.check()?;
        match self.recent.borrow_mut().get(key) {
            Some(value) => Ok(Some(value)),
            None => self.shared.get(key, NEWEST),
        }
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.shared.scan(range, NEWEST, false)
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.shared.scan(range, NEWEST, true)
    }

    fn view(&self) -> Arc<dyn View> {
        Arc::new(LsmView::new(&self.shared))
    }

    fn seal(&mut self) -> StateResult<Box<dyn CheckpointJob>> {
        self.check()?;
        let mut sealing = lock(&self.shared.sealing);
        self.shared.rotate();
        *sealing = Sealing::SetAside;
        drop(sealing);
        self.unsealed = 0;
        Ok(Box::new(SealJob { shared: self.shared.clone() }))
    }

    fn unsealed_bytes(&self) -> u64 {
        self.unsealed
    }

    fn behind(&self) -> bool {
        let tree = &self.shared.tree;
        tree.sealed_memtable_count() > 0 || tree.l0_run_count() >= UNMERGED_MAX / 2
    }

    fn upkeep(&self) -> Option<Box<dyn Upkeep>> {
        Some(Box::new(Compaction { shared: self.shared.clone(), compacted_at: 0, scrub: Scrub::default() }))
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
        let mut sealing = lock(&shared.sealing);
        shared.cut(&mut sealing)?;
        let Sealing::Cut(Cut { tables, small }) = std::mem::replace(&mut *sealing, Sealing::Not) else {
            return Ok(());
        };
        drop(sealing);
        let ids: Vec<u64> = tables.iter().map(lsm_tree::Table::id).collect();
        shared.layout.checkpoint(generation, &ids, small)
    }
}

impl Drop for SealJob {
    fn drop(&mut self) {
        *lock(&self.shared.sealing) = Sealing::Not;
    }
}

/// Flushes what was set aside and merges tables, in the background.
struct Compaction {
    shared: Arc<Shared>,
    /// The version after the last compaction: without a new one there is nothing to do.
    compacted_at: u64,
    scrub: Scrub,
}

impl Upkeep for Compaction {
    fn step(&mut self) -> StateResult<bool> {
        let shared = &self.shared;
        let _turn = lock(&shared.maintaining);
        shared.tidy()?;
        shared.let_go()?;
        if shared.tree.sealed_memtable_count() > 0 {
            shared.flush()?;
            return Ok(true);
        }
        let before = shared.tree.current_version().id();
        if before == self.compacted_at {
            return Ok(false);
        }
        shared.merge()?;
        let after = shared.tree.current_version().id();
        if after == before {
            self.compacted_at = after;
        }
        Ok(after != before)
    }

    fn tidy(&mut self, live: u64) -> StateResult<bool> {
        let all = self.shared.table_bytes();
        let wasted = all.saturating_sub(live.saturating_mul(2));
        if wasted <= WASTE_TABLES * self.shared.options.table_bytes || all > TIDY_MAX {
            return Ok(false);
        }
        self.settle().map(|()| true)
    }

    fn settle(&mut self) -> StateResult<()> {
        let shared = &self.shared;
        let _turn = lock(&shared.maintaining);
        shared.tidy()?;
        // Not while a checkpoint waits for its cut: what was set aside then would be in it.
        let sealing = lock(&shared.sealing);
        if !matches!(*sealing, Sealing::SetAside) {
            shared.rotate();
        }
        drop(sealing);
        shared.flush()?;
        shared.merging(|| shared.tree.major_compact(shared.options.table_bytes, shared.watermark()))?;
        self.compacted_at = shared.tree.current_version().id();
        Ok(())
    }

    fn scrub(&mut self, budget: u64) -> StateResult<bool> {
        let (shared, end) = (&self.shared, self.shared.options.end_bytes);
        self.scrub.step(budget, || {
            let version = shared.tree.current_version();
            let tables = version.iter_tables().map(|table| {
                let size = std::fs::metadata(&*table.path).map_or(0, |meta| meta.len());
                (table.path.to_path_buf(), size.saturating_sub(end))
            });
            tables.collect()
        })
    }

    fn recorded(&mut self, generation: u64) -> StateResult<()> {
        self.shared.layout.remove_before(generation)
    }
}

#[cfg(test)]
mod tests;
