//! Views: what is readable of the state as of a moment, while it goes on.
//!
//! A view is a number, which the tree keeps readable while the view is alive; that costs next to nothing, and as the state goes on
//! keeps all memtables since in memory. One that has seen [`GROWN`] of them set aside (an entry that deletes all there is writes
//! hundreds) is *pinned* by the writer: it gets memtables and tables of its own, like a lasting one, and the tree may forget its number.

use crate::{Shared, is_empty, lock};
use bytes::Bytes;
use lsm_tree::{AbstractTree, Tree};
use quorate_storage::state::{Range, Scan, StateResult, View};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};

/// So many memtables are set aside before views from before are pinned. More than between two checkpoints, behind which idle views are
/// made anew: a single key is found faster by number.
const GROWN: u64 = 8;

/// The views that are alive, by their number.
#[derive(Default)]
pub(crate) struct Alive {
    views: BTreeMap<u64, Standing>,
    /// Memtables that were set aside.
    rotations: u64,
}

/// The views that stand at one number.
struct Standing {
    count: usize,
    since: u64,
    pin: Arc<Pin>,
}

/// Where views at one number read once the tree need not know it any more.
#[derive(Default)]
struct Pin {
    pairs: OnceLock<Source>,
    /// Reads that begin by the number: until they hold a version of the tree it must stay readable.
    beginning: AtomicUsize,
}

impl Alive {
    /// The lowest number at which somebody stands.
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.views.first_key_value().map(|(&at, _)| at)
    }

    /// A memtable was set aside: pins what has seen too many.
    pub(crate) fn rotated(&mut self, tree: &lsm_tree::AnyTree) {
        self.rotations += 1;
        let rotations = self.rotations;
        self.views.retain(|&at, standing| {
            if rotations - standing.since < GROWN {
                return true;
            }
            let pin = &standing.pin;
            pin.pairs.get_or_init(|| own(tree, at));
            // Whoever begins says so before looking for the pin: either it is seen here, or it sees the pin.
            fence(Ordering::SeqCst);
            pin.beginning.load(Ordering::SeqCst) > 0
        });
    }
}

/// A view by its number, unless it was pinned.
pub(crate) struct LsmView {
    shared: Arc<Shared>,
    at: u64,
    pin: Arc<Pin>,
}

impl LsmView {
    /// A view of what is there now.
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        // Counted before the number is read again by the watermark: what it sees cannot be collected meanwhile.
        let mut alive = lock(&shared.views);
        let (at, since) = (shared.seqno.get(), alive.rotations);
        let standing =
            alive.views.entry(at).or_insert_with(|| Standing { count: 0, since, pin: Arc::default() });
        standing.count += 1;
        let pin = standing.pin.clone();
        drop(alive);
        Self { shared: shared.clone(), at, pin }
    }

    /// Begins a read where this view reads: pinned, or by its number.
    fn begin<T>(&self, pinned: impl FnOnce(LastingView) -> T, numbered: impl FnOnce() -> T) -> T {
        self.pin.beginning.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let begun = match self.pin.pairs.get() {
            Some(pairs) => pinned(LastingView { shared: self.shared.clone(), pairs: pairs.clone() }),
            None => numbered(),
        };
        self.pin.beginning.fetch_sub(1, Ordering::SeqCst);
        begun
    }
}

impl Drop for LsmView {
    fn drop(&mut self) {
        let mut alive = lock(&self.shared.views);
        // Behind a pin others may stand at the same number.
        if let Some(standing) = alive.views.get_mut(&self.at)
            && Arc::ptr_eq(&standing.pin, &self.pin)
        {
            standing.count -= 1;
            if standing.count == 0 {
                alive.views.remove(&self.at);
            }
        }
    }
}

impl View for LsmView {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        self.begin(|pinned| pinned.get(key), || self.shared.get(key, self.at))
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.begin(|pinned| pinned.pairs(range, false), || self.shared.scan(range, self.at, false))
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.begin(|pinned| pinned.pairs(range, true), || self.shared.scan(range, self.at, true))
    }

    fn lasting(&self) -> Arc<dyn View> {
        let numbered = || LastingView { shared: self.shared.clone(), pairs: own(&self.shared.tree, self.at) };
        Arc::new(self.begin(|pinned| pinned, numbered))
    }
}

type Pairs = Box<dyn DoubleEndedIterator<Item = lsm_tree::Result<lsm_tree::InternalValue>>>;
type Source = Arc<dyn Fn(Range<'_>) -> Pairs + Send + Sync>;

/// The memtables and tables of number `at`, which must be readable.
fn own(tree: &lsm_tree::AnyTree, at: u64) -> Source {
    let version = tree.get_version_history_lock().get_version_for_snapshot(at);
    Arc::new(move |range: Range<'_>| -> Pairs {
        Box::new(Tree::create_internal_range::<&[u8], _>(version.clone(), &range, at, None))
    })
}

/// A view with memtables and tables of its own.
struct LastingView {
    shared: Arc<Shared>,
    pairs: Source,
}

impl LastingView {
    fn pairs<'a>(&self, range: Range<'_>, back: bool) -> Scan<'a> {
        if is_empty(&range) {
            return Box::new(std::iter::empty());
        }
        let shared = self.shared.clone();
        let read = move |pair: lsm_tree::Result<lsm_tree::InternalValue>| {
            let pair = pair.map_err(|e| shared.failed("scanning", &e))?;
            Ok((Bytes::from(pair.key.user_key), Bytes::from(pair.value)))
        };
        let pairs = (self.pairs)(range);
        if back { Box::new(pairs.rev().map(read)) } else { Box::new(pairs.map(read)) }
    }
}

impl View for LastingView {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        let found = self.scan((Bound::Included(key), Bound::Included(key))).next().transpose()?;
        Ok(found.map(|(_, value)| value))
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.pairs(range, false)
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.pairs(range, true)
    }

    fn lasting(&self) -> Arc<dyn View> {
        Arc::new(Self { shared: self.shared.clone(), pairs: self.pairs.clone() })
    }
}
