//! What is readable at one moment: a consistent view that any thread may hold while the machine goes on.

use super::alarm::Alarms;
use super::counts::Blocks;
use super::fence::Fences;
use super::layout::{KEY_MAX, Keys, PREFIX, table};
use super::lease::{LeaseInfo, Leases};
use super::meta::Meta;
use super::read::{ReadError, Snapshot, Wanted};
use super::source::{Limited, Source, Viewed};
use super::tally::Tally;
use crate::table::TablesView;
use bytes::Bytes;
use quorate_base::EntryId;
use quorate_storage::state::{StateResult, View};
use quorate_wire::kv::{Alarm, Event, LeaseId, Range, RangeReply, Reply, Revision, Txn};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// The key-value space at one applied entry.
pub struct KvView {
    pub(super) view: Arc<dyn View>,
    pub(super) keys: Keys,
    pub(super) blocks: Blocks,
    pub(super) leases: Leases,
    pub(super) fences: Fences,
    pub(super) alarms: Alarms,
    pub(crate) tables: TablesView,
    pub(super) meta: Meta,
    pub(super) tally: Tally,
}

impl KvView {
    /// The same moment for whoever takes long over it; see [`View::lasting`].
    pub fn lasting(&self) -> Self {
        Self {
            view: self.view.lasting(),
            keys: self.keys,
            blocks: self.blocks.clone(),
            leases: self.leases.clone(),
            fences: self.fences.clone(),
            alarms: self.alarms.clone(),
            tables: self.tables.clone(),
            meta: self.meta.clone(),
            tally: self.tally,
        }
    }

    /// The last entry that is in it.
    pub fn applied(&self) -> EntryId {
        self.meta.applied
    }

    /// The configuration in force there, encoded.
    pub fn membership(&self) -> &Bytes {
        &self.meta.membership
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.meta.revision
    }

    /// The oldest revision that can be read; 0 before the first compaction.
    pub fn compacted(&self) -> Revision {
        self.meta.compacted.max(0)
    }

    /// The digest of all that was done up to [`KvView::applied`]; equal on all replicas.
    pub fn digest(&self) -> u64 {
        self.meta.digest
    }

    /// How many keys there are.
    pub fn len(&self) -> u64 {
        self.blocks.weight()
    }

    /// True without keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all versions and of the newest ones alone, about, each counted once; tables and the machine's own record are in both, so that an empty
    /// space is not of no size: there are programs that divide by it.
    pub fn sizes(&self) -> (i64, i64) {
        let tables = i64::try_from(self.tables.bytes()).unwrap_or(i64::MAX);
        let live =
            self.meta.live_bytes.max(0).saturating_add(tables).saturating_add(self.meta.stored_bytes());
        (live.saturating_add(self.meta.history_bytes.max(0)), live)
    }

    /// What the machine had done by then since it was opened.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Answers a range, however much it reads.
    pub fn range(&self, range: &Range) -> Result<RangeReply, ReadError> {
        self.read(|snapshot| snapshot.range(range))
    }

    /// Answers a range unless `go_on` ends it: that is asked at each pair, with the pair's cost in units (one, and one for
    /// each KiB), and `None` says that it said no.
    pub fn range_while(
        &self,
        range: &Range,
        go_on: &dyn Fn(usize) -> bool,
    ) -> Result<Option<RangeReply>, ReadError> {
        self.read_while(go_on, |snapshot| snapshot.range(range))
    }

    /// Answers a transaction that only reads, unless `go_on` ends it as it may end [`KvView::range_while`]; a write in the
    /// branch it takes is refused.
    pub fn txn_while(&self, txn: &Txn, go_on: &dyn Fn(usize) -> bool) -> Result<Option<Reply>, ReadError> {
        self.read_while(go_on, |snapshot| snapshot.read_txn(txn))
    }

    /// The changes of whole revisions from `from` on, in order, until about `max_bytes` are gathered; empty only if there
    /// is none. `prev` is given where it is known: not at the compacted revision.
    pub fn history(&self, from: Revision, max_bytes: usize) -> Result<Vec<Event>, ReadError> {
        Ok(self.history_of(from, max_bytes, &Wanted::ALL)?.0)
    }

    /// The same of what is `wanted` alone, and the revision up to which that was all.
    pub fn history_of(
        &self,
        from: Revision,
        max_bytes: usize,
        wanted: &Wanted<'_>,
    ) -> Result<(Vec<Event>, Revision), ReadError> {
        self.read(|snapshot| snapshot.history(from, max_bytes, wanted))
    }

    /// The alarms that stand.
    pub fn alarms(&self) -> &BTreeSet<Alarm> {
        &self.alarms
    }

    /// One lease.
    pub fn lease(&self, id: LeaseId) -> Option<LeaseInfo> {
        self.leases.get(&id).copied()
    }

    /// All leases by id.
    pub fn leases(&self) -> Vec<(LeaseId, LeaseInfo)> {
        self.leases.iter().map(|(id, lease)| (*id, *lease)).collect()
    }

    /// All fences by name, with the highest token that was shown for each.
    pub fn fences(&self) -> Vec<(Bytes, u64)> {
        self.fences.iter().map(|(name, token)| (name.clone(), token.0)).collect()
    }

    /// How many leases there are.
    pub fn leases_len(&self) -> u64 {
        self.leases.weight()
    }

    /// The keys attached to a lease, sorted, unless `go_on` ends it as it may end [`KvView::range_while`].
    pub fn lease_keys_while(
        &self,
        id: LeaseId,
        go_on: &dyn Fn(usize) -> bool,
    ) -> StateResult<Option<Vec<Bytes>>> {
        let source = Viewed(&*self.view);
        let limited = Limited::new(&source, go_on);
        let keys = super::lease::keys_of(&limited, self.keys, id, usize::MAX);
        if limited.ended() { Ok(None) } else { keys.map(Some) }
    }

    /// The store as of this moment.
    pub(crate) fn store(&self) -> &dyn View {
        &*self.view
    }

    /// The pairs of the store from behind `after` on, for the export.
    pub(super) fn stored_after(&self, after: &[u8]) -> quorate_storage::state::Scan<'_> {
        assert!(after.len() <= 2 * KEY_MAX + 64, "a cursor of {} bytes", after.len());
        let (mut from, mut to) = (self.keys.prefix().to_vec(), self.keys.prefix().to_vec());
        from.extend_from_slice(after);
        to.push(table::END);
        debug_assert!(from.len() >= PREFIX);
        self.view.scan((Bound::Excluded(&from), Bound::Excluded(&to)))
    }

    fn read<T>(&self, with: impl FnOnce(&Snapshot<'_>) -> T) -> T {
        with(&self.snapshot(&Viewed(&*self.view)))
    }

    pub(super) fn read_while<T>(
        &self,
        go_on: &dyn Fn(usize) -> bool,
        with: impl FnOnce(&Snapshot<'_>) -> Result<T, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        let source = Viewed(&*self.view);
        let limited = Limited::new(&source, go_on);
        let result = with(&self.snapshot(&limited));
        if limited.ended() { Ok(None) } else { result.map(Some) }
    }

    fn snapshot<'s>(&'s self, source: &'s dyn Source) -> Snapshot<'s> {
        Snapshot {
            source,
            keys: self.keys,
            blocks: &self.blocks,
            revision: self.meta.revision,
            compacted: self.meta.compacted,
        }
    }
}
