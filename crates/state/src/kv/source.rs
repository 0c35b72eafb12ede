//! The two sides a read may run on: the writer's own state, inside a transaction, and a view.

use bytes::Bytes;
use quorate_storage::state::{Range, Scan, State, StateResult, View};

/// Something to read from.
pub(super) trait Source {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>>;
    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a>;
    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a>;
}

/// The writer's state, all earlier writes seen.
pub(super) struct Written<'s>(pub(super) &'s dyn State);

impl Source for Written<'_> {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        self.0.get(key)
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.0.scan(range)
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.0.scan_back(range)
    }
}

/// A view.
pub(super) struct Viewed<'s>(pub(super) &'s dyn View);

impl Source for Viewed<'_> {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        self.0.get(key)
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.0.scan(range)
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.0.scan_back(range)
    }
}
