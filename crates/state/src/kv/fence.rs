//! Fences: for a name, the highest token that was shown with a request.
//!
//! A lock says who holds a name when it is said. A holder that pauses then may go on when another holds it, and only the
//! storage that it writes to can tell: it keeps the highest token it was shown and refuses lower ones (Kleppmann, "How to do
//! distributed locking", 2016). Here that is part of the write's own replicated step, so that no write with a lower token is
//! ever done after one with a higher.
//!
//! Fences lie beside the keys and change no revision. Who writes without a token is not fenced.

use super::layout::{Cursor, Keys, PREFIX, damaged, table, varint};
use super::source::Source;
use super::{Kv, Mutant};
use bytes::Bytes;
use quorate_storage::cow::{Tree, Weight};
use quorate_storage::state::StateResult;
use quorate_wire::kv::{FENCE_NAME_MAX, FENCES_MAX, Fence, Refused};
use std::ops::Bound;

/// The highest token that was shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token(pub(super) u64);

impl Weight for Token {
    fn weight(&self) -> u64 {
        1
    }
}

/// All fences by name, shared with the views.
pub(super) type Fences = Tree<Bytes, Token>;

/// The fences in the store.
pub(super) fn load(source: &dyn Source, keys: Keys) -> StateResult<Fences> {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    keys.start(&mut from, table::FENCE);
    keys.start(&mut to, table::FENCE + 1);
    let mut fences = Fences::default();
    for pair in source.scan((Bound::Included(&from), Bound::Excluded(&to))) {
        let (key, value) = pair?;
        let token = Cursor { bytes: &value, at: 0 }.varint().ok_or_else(|| damaged("a fence"))?;
        fences.insert(Bytes::copy_from_slice(&key[PREFIX + 1..]), Token(token));
    }
    Ok(fences)
}

impl Kv {
    /// Takes a token down, unless a higher one was shown before. True if it is news.
    pub(super) fn show(&mut self, fence: &Fence) -> Result<bool, Refused> {
        if fence.name.is_empty() || fence.name.len() > FENCE_NAME_MAX {
            return Err(Refused::FenceName);
        }
        match self.fences.get(&fence.name) {
            Some(seen) if seen.0 > fence.token && !self.has(Mutant::FenceAnyToken) => {
                return Err(Refused::Fenced { token: seen.0 });
            }
            Some(seen) if seen.0 == fence.token => return Ok(false),
            None if self.fences.weight() >= FENCES_MAX => return Err(Refused::FencesFull),
            _ => {}
        }
        let mut stored = Vec::new();
        varint(&mut stored, fence.token);
        if !self.has(Mutant::FenceNotStored) {
            self.state.put(self.keys.raw(&mut self.key_buf, table::FENCE, &fence.name), &stored);
        }
        // A slice would hold on to the whole entry.
        self.fences.insert(Bytes::copy_from_slice(&fence.name), Token(fence.token));
        Ok(true)
    }

    /// Forgets what was shown for a name.
    pub(super) fn drop_fence(&mut self, name: &Bytes) -> Result<(), Refused> {
        self.fences.remove(name).ok_or(Refused::NoFence)?;
        self.state.delete(self.keys.raw(&mut self.key_buf, table::FENCE, name));
        Ok(())
    }
}
