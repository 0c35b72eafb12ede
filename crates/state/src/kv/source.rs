//! The two sides a read may run on: the writer's own state, inside a transaction, and a view; and the limit that whoever
//! reads a view may set.

use bytes::Bytes;
use quorate_storage::state::{Range, Scan, State, StateError, StateResult, View};
use std::cell::Cell;

/// Something to read from.
pub(crate) trait Source {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>>;
    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a>;
    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a>;
    /// Something that costs as much as so many pairs, and gives none, is about to be walked.
    fn spend(&self, _units: usize) -> StateResult<()> {
        Ok(())
    }
}

/// The writer's state, all earlier writes seen.
pub(crate) struct Written<'s>(pub(crate) &'s dyn State);

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
pub(crate) struct Viewed<'s>(pub(crate) &'s dyn View);

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

/// Bytes of a pair that cost as much as finding it, about.
const BYTES_A_UNIT: usize = 1 << 10;

/// A source that is asked for no more once `go_on` has said no, which it hears at each pair, with what the pair costs:
/// one unit, and one more for each [`BYTES_A_UNIT`].
pub(crate) struct Limited<'s> {
    source: &'s dyn Source,
    go_on: &'s dyn Fn(usize) -> bool,
    ended: Cell<bool>,
}

impl<'s> Limited<'s> {
    pub(crate) fn new(source: &'s dyn Source, go_on: &'s dyn Fn(usize) -> bool) -> Self {
        Self { source, go_on, ended: Cell::new(false) }
    }

    /// True if it was, so that what was read is no answer.
    pub(crate) fn ended(&self) -> bool {
        self.ended.get()
    }

    fn pass(&self, bytes: usize) -> StateResult<()> {
        self.spend(1 + bytes / BYTES_A_UNIT)
    }

    fn passing<'a>(&'a self, scan: Scan<'a>) -> Scan<'a> {
        Box::new(scan.map(|pair| {
            let (key, value) = pair?;
            self.pass(key.len() + value.len())?;
            Ok((key, value))
        }))
    }
}

impl Source for Limited<'_> {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        let found = self.source.get(key)?;
        self.pass(found.as_ref().map_or(0, Bytes::len))?;
        Ok(found)
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.passing(self.source.scan(range))
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.passing(self.source.scan_back(range))
    }

    fn spend(&self, units: usize) -> StateResult<()> {
        if !self.ended.get() && (self.go_on)(units) {
            return Ok(());
        }
        self.ended.set(true);
        Err(StateError::io("the read was ended"))
    }
}
