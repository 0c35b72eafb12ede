//! Views: what is readable of the state as of a moment, while it goes on.

use crate::{Shared, is_empty, lock};
use bytes::Bytes;
use lsm_tree::{AbstractTree, Tree};
use quorate_storage::state::{Range, Scan, StateResult, View};
use std::ops::Bound;
use std::sync::Arc;

/// A view by its number, which the tree keeps readable while the view is alive.
pub(crate) struct LsmView {
    shared: Arc<Shared>,
    at: u64,
}

impl LsmView {
    /// A view of what is there now.
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        // Counted before the number is read again by the watermark: what it sees cannot be collected meanwhile.
        let mut views = lock(&shared.views);
        let at = shared.seqno.get();
        *views.entry(at).or_default() += 1;
        drop(views);
        Self { shared: shared.clone(), at }
    }
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

    fn lasting(&self) -> Arc<dyn View> {
        let at = self.at;
        let version = self.shared.tree.get_version_history_lock().get_version_for_snapshot(at);
        let pairs = move |range: Range<'_>| -> Pairs {
            Box::new(Tree::create_internal_range::<&[u8], _>(version.clone(), &range, at, None))
        };
        Arc::new(LastingView { shared: self.shared.clone(), pairs: Arc::new(pairs) })
    }
}

type Pairs = Box<dyn DoubleEndedIterator<Item = lsm_tree::Result<lsm_tree::InternalValue>>>;

/// A view with memtables and tables of its own.
struct LastingView {
    shared: Arc<Shared>,
    pairs: Arc<dyn Fn(Range<'_>) -> Pairs + Send + Sync>,
}

impl LastingView {
    fn read(&self, pair: lsm_tree::Result<lsm_tree::InternalValue>) -> StateResult<(Bytes, Bytes)> {
        let pair = pair.map_err(|e| self.shared.failed("scanning", &e))?;
        Ok((Bytes::from(pair.key.user_key), Bytes::from(pair.value)))
    }
}

impl View for LastingView {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        let found = self.scan((Bound::Included(key), Bound::Included(key))).next().transpose()?;
        Ok(found.map(|(_, value)| value))
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        if is_empty(&range) {
            return Box::new(std::iter::empty());
        }
        Box::new((self.pairs)(range).map(|pair| self.read(pair)))
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        if is_empty(&range) {
            return Box::new(std::iter::empty());
        }
        Box::new((self.pairs)(range).rev().map(|pair| self.read(pair)))
    }

    fn lasting(&self) -> Arc<dyn View> {
        Arc::new(Self { shared: self.shared.clone(), pairs: self.pairs.clone() })
    }
}
