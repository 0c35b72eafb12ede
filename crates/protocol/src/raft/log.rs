//! The log as the core holds it: a base, which the state stands for, and the entries behind it, all in memory.
//!
//! The entries above the applied index must be here; below it, a bounded tail is kept for followers that lag, and whoever
//! needs more gets a snapshot. The journal is read at a start only.
//!
//! Durability is tracked by *write*, never by index alone. Each write remembers up to where it makes the log durable, and
//! when a later write replaces entries, that claim is cut back at once. An index alone would be the ABA race: entry 5 of
//! term 2 is written, replaced by 5 of term 3, and replaced again by 5 of term 2 from a later leader; the completion of
//! the first write would then vouch for a disk that is about to hold term 3.

use quorate_base::{Entry, EntryId, Index, Term, WriteId};
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// Invariants: entries are consecutive from `base.index + 1`, terms never fall; `durable <= last`, `unsaved <= last + 1`;
/// `writes` ascends, and each claim is at most what the log held when it was made.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    base: EntryId,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The first entry the journal has not been given.
    unsaved: Index,
    durable: Index,
    writes: VecDeque<(WriteId, Index)>,
}

impl Log {
    pub(crate) fn new(base: EntryId, entries: Vec<Entry>) -> Self {
        let bytes = entries.iter().map(size).sum();
        let mut log = Self {
            base,
            entries: entries.into(),
            bytes,
            unsaved: Index(0),
            durable: Index(0),
            writes: VecDeque::new(),
        };
        log.durable = log.last().index;
        log.unsaved = log.last().index.next();
        log
    }

    pub(crate) fn base(&self) -> EntryId {
        self.base
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.back().map_or(self.base, |e| e.id)
    }

    pub(crate) fn durable(&self) -> Index {
        self.durable
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The term at an index, if the log still knows it.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.get(index).map(|e| e.id.term)
    }

    pub(crate) fn holds(&self, id: EntryId) -> bool {
        self.term(id.index) == Some(id.term)
    }

    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(offset as usize)
    }

    /// Bytes of the entries behind `after` and up to `upto`.
    pub(crate) fn bytes_of(&self, after: Index, upto: Index) -> usize {
        (after.0 + 1..=upto.0).filter_map(|index| self.get(Index(index))).map(size).sum()
    }

    /// Entries from `from` on, until `most` entries or `bytes` bytes are taken (at least one, if there is one).
    pub(crate) fn slice(&self, from: Index, most: usize, bytes: usize) -> Vec<Entry> {
        let mut taken = 0;
        let mut out = Vec::new();
        let Some(offset) = from.0.checked_sub(self.base.index.0 + 1) else { return out };
        for entry in self.entries.iter().skip(offset as usize) {
            taken += size(entry);
            if !out.is_empty() && (taken > bytes || out.len() >= most) {
                break;
            }
            out.push(entry.clone());
        }
        out
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        assert_eq!(entry.id.index, self.last().index.next(), "a log has no gaps");
        assert!(entry.id.term >= self.last().term, "terms never fall along a log");
        self.bytes += size(&entry);
        self.entries.push_back(entry);
    }

    /// Drops `from` and all behind it.
    pub(crate) fn truncate(&mut self, from: Index) {
        while self.entries.back().is_some_and(|e| e.id.index >= from) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= size(&entry);
            }
        }
        self.unsaved = self.unsaved.min(from);
        self.durable = self.durable.min(from.prev());
        for (_, claim) in &mut self.writes {
            *claim = (*claim).min(from.prev());
        }
    }

    /// What the journal has not been given yet, and what it follows; it is given now, as `write`.
    pub(crate) fn take_unsaved(&mut self, write: WriteId) -> (EntryId, Vec<Entry>) {
        let last = self.last().index;
        self.writes.push_back((write, last));
        let before = self.unsaved.prev();
        // The base never passes what the journal has not been given.
        let prev = EntryId::new(self.term(before).unwrap_or_default(), before);
        let entries = self.slice(self.unsaved, usize::MAX, usize::MAX);
        self.unsaved = last.next();
        (prev, entries)
    }

    pub(crate) fn has_unsaved(&self) -> bool {
        self.unsaved <= self.last().index
    }

    /// All writes up to `write` are durable.
    pub(crate) fn written(&mut self, write: WriteId) {
        while let Some(&(w, claim)) = self.writes.front() {
            if w > write {
                break;
            }
            self.writes.pop_front();
            self.durable = self.durable.max(claim);
        }
    }

    /// Whether every write that was given out is durable.
    pub(crate) fn settled(&self) -> bool {
        self.writes.is_empty()
    }

    /// Moves the base up to `upto`, but keeps the newest entries below it while they fit in `keep` bytes.
    pub(crate) fn compact(&mut self, upto: Index, keep: usize) {
        while self.bytes > keep {
            match self.entries.front() {
                // The journal must have been given what leaves here.
                Some(first) if first.id.index <= upto && first.id.index < self.unsaved => {}
                _ => break,
            }
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= size(&entry);
                self.base = entry.id;
            }
        }
        // What a pin had held was much.
        if self.entries.capacity() / 4 > self.entries.len().max(1024) {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// A snapshot stands in place of everything up to `base`. Entries behind it stay only if they continue it.
    pub(crate) fn install(&mut self, base: EntryId) {
        if self.holds(base) {
            while self.entries.front().is_some_and(|e| e.id.index <= base.index) {
                if let Some(entry) = self.entries.pop_front() {
                    self.bytes -= size(&entry);
                }
            }
        } else {
            self.entries.clear();
            self.bytes = 0;
            self.unsaved = base.index.next();
            self.writes.iter_mut().for_each(|(_, claim)| *claim = base.index);
            self.durable = base.index;
        }
        self.base = base;
        self.unsaved = self.unsaved.max(base.index.next());
        self.durable = self.durable.max(base.index);
    }

    /// The largest known index at or below `index` whose term is at most `term`: where two logs may still agree.
    pub(crate) fn last_not_above(&self, index: Index, term: Term) -> EntryId {
        let mut at = index.min(self.last().index);
        while at > self.base.index {
            match self.term(at) {
                Some(t) if t > term => at = at.prev(),
                Some(t) => return EntryId::new(t, at),
                None => break,
            }
        }
        self.base
    }

    /// See [`super::Raft::fingerprint`].
    pub(crate) fn fingerprint(&self, to: &mut impl Hasher) {
        (self.base, self.durable, self.unsaved, self.entries.len()).hash(to);
        for entry in &self.entries {
            (entry.id, entry.kind, &entry.data).hash(to);
        }
        for (_, claim) in &self.writes {
            claim.hash(to);
        }
    }

    /// Whether it is a log; its entries from the one behind `from` on, or all where that is not there.
    pub(crate) fn check(&self, from: EntryId) -> Result<(), String> {
        let held = from.index > self.base.index && self.term(from.index) == Some(from.term);
        let skipped = if held { (from.index.0 - self.base.index.0) as usize } else { 0 };
        let mut prev = if held { from } else { self.base };
        for entry in self.entries.iter().skip(skipped) {
            if entry.id.index != prev.index.next() || entry.id.term < prev.term {
                return Err(format!("the log goes from {prev:?} to {:?}", entry.id));
            }
            prev = entry.id;
        }
        if self.durable > prev.index || self.unsaved > prev.index.next() {
            return Err(format!("durable {:?}, unsaved {:?}, last {prev:?}", self.durable, self.unsaved));
        }
        Ok(())
    }
}

/// What an entry counts in the bounds on bytes.
pub(crate) fn size(entry: &Entry) -> usize {
    entry.data.len() + 48
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::EntryKind;

    fn entry(term: u64, index: u64) -> Entry {
        Entry {
            id: EntryId::new(Term(term), Index(index)),
            kind: EntryKind::Empty,
            data: bytes::Bytes::new(),
        }
    }

    #[test]
    fn a_completion_does_not_vouch_for_what_a_later_write_replaces() {
        let mut log = Log::new(EntryId::new(Term(1), Index(4)), vec![]);
        log.push(entry(2, 5));
        log.take_unsaved(WriteId(1));
        log.truncate(Index(5));
        log.push(entry(3, 5));
        log.take_unsaved(WriteId(2));
        log.truncate(Index(5));
        // The same id as in the first write, by a later leader.
        let mut again = Log::new(EntryId::new(Term(1), Index(4)), vec![]);
        again.writes = log.writes.clone();
        again.durable = log.durable;
        again.unsaved = log.unsaved;
        again.push(entry(2, 5));
        again.take_unsaved(WriteId(3));
        again.written(WriteId(1));
        assert_eq!(again.durable(), Index(4), "the first write says nothing about the third");
        again.written(WriteId(2));
        assert_eq!(again.durable(), Index(4));
        again.written(WriteId(3));
        assert_eq!(again.durable(), Index(5));
    }

    #[test]
    fn a_completion_does_not_vouch_for_what_follows_a_snapshot() {
        let mut log = Log::new(EntryId::ZERO, vec![entry(1, 1)]);
        (2..=5).for_each(|index| log.push(entry(1, index)));
        log.take_unsaved(WriteId(1));
        log.install(EntryId::new(Term(2), Index(4)));
        log.push(entry(2, 5));
        log.take_unsaved(WriteId(2));
        log.written(WriteId(1));
        assert_eq!(log.durable(), Index(4), "the first write was of another entry 5");
        log.written(WriteId(2));
        assert_eq!(log.durable(), Index(5));
    }

    #[test]
    fn compaction_keeps_a_bounded_tail() {
        let mut log = Log::new(EntryId::ZERO, (1..=100).map(|i| entry(1, i)).collect());
        log.compact(Index(90), 480);
        assert_eq!((log.base().index, log.last().index), (Index(90), Index(100)));
        assert_eq!(log.term(Index(90)), Some(Term(1)));
        assert_eq!(log.term(Index(89)), None);
        log.check(EntryId::ZERO).unwrap();
    }
}
