//! Background deletion in bounded steps: history below the compacted revision, and incarnations that are not in force.

use super::layout::{Change, Keys, PREFIX, Rev, damaged, parse_event_key, table};
use super::source::{Source, Written};
use super::{Kv, all_of};
use bytes::Bytes;
use quorate_base::ShardId;
use quorate_storage::state::StateResult;
use std::ops::Bound;

/// An incarnation that is being swept away. Where the last step ended is kept, so that no step walks over what earlier
/// ones deleted.
#[derive(Debug)]
pub(super) struct Purge {
    incarnation: u32,
    after: Option<Bytes>,
}

impl Purge {
    pub(super) fn new(incarnation: u32) -> Self {
        Self { incarnation, after: None }
    }
}

/// What a version in table `OLD` and an event cost beside key and value, about.
const OVERHEAD: i64 = 24;

/// The bytes of history that one change makes, and that its sweep gives back.
pub(super) fn history_bytes(key: &[u8], deleted: bool, replaces: bool, prev_bytes: u64) -> i64 {
    let pair = key.len() as i64 + OVERHEAD;
    let old = if replaces { pair + prev_bytes as i64 } else { 0 };
    let tombstone = if deleted { pair } else { 0 };
    pair + old + tombstone
}

impl Kv {
    /// Does a bounded piece of background deletion, about `budget` events or pairs of it. False if nothing is left to do.
    ///
    /// It changes no answer, so each replica does it when it likes.
    pub fn compact_step(&mut self, budget: usize) -> StateResult<bool> {
        let budget = budget.max(1);
        if self.purge_step(budget)? || self.tables.sweep_step(&mut *self.state, budget)? {
            return Ok(true);
        }
        let target = Rev::new(self.meta.compacted.max(0), 0);
        if self.meta.swept >= target {
            return self.free_step(target, budget);
        }
        let changes = self.events(self.meta.swept, target, budget)?;
        let done = changes.len() < budget;
        for (rev, change) in &changes {
            self.sweep(*rev, change);
        }
        self.meta.swept = match changes.last() {
            Some((rev, _)) if !done => Rev::new(rev.main, rev.sub.saturating_add(1)),
            _ => target,
        };
        Ok(true)
    }

    /// Deletes what the events *at* the compacted revision replaced, which no read reaches: a deletion of everything, compacted
    /// at once, would else keep all of it. The event stays, without the name of what it replaced.
    fn free_step(&mut self, target: Rev, budget: usize) -> StateResult<bool> {
        let end = Rev::new(target.main.saturating_add(1), 0);
        let from = self.freed.max(target);
        if from >= end {
            return Ok(false);
        }
        let changes = self.events(from, end, budget)?;
        let done = changes.len() < budget;
        for (rev, change) in &changes {
            // What the same revision had put is an event of its own.
            if change.prev.is_none() || change.prev.main >= target.main {
                continue;
            }
            self.state.delete(self.keys.old(&mut self.key_buf, &change.key, change.prev));
            let kept = Change::encode(&mut self.value_buf, change.deleted, Rev::NONE, 0, &change.key);
            self.state.put(self.keys.event(&mut self.key_buf, *rev), kept);
            let bytes = |replaces, of| history_bytes(&change.key, change.deleted, replaces, of);
            self.meta.history_bytes -= bytes(true, change.prev_bytes) - bytes(false, 0);
        }
        self.freed = match changes.last() {
            Some((rev, _)) if !done => Rev::new(rev.main, rev.sub.saturating_add(1)),
            _ => end,
        };
        Ok(!done)
    }

    fn events(&self, from: Rev, before: Rev, limit: usize) -> StateResult<Vec<(Rev, Change)>> {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let range = (
            Bound::Included(self.keys.event(&mut a, from)),
            Bound::Excluded(self.keys.event(&mut b, before)),
        );
        let scan = self.state.scan(range).take(limit);
        scan.map(|pair| pair.and_then(|(key, value)| Ok((parse_event_key(&key)?, Change::decode(value)?))))
            .collect()
    }

    /// Deletes one event below the compacted revision, the version it replaced, and the tombstone it left.
    fn sweep(&mut self, rev: Rev, change: &Change) {
        assert!(rev.main < self.meta.compacted, "{rev:?} is not below {}", self.meta.compacted);
        if !change.prev.is_none() {
            self.state.delete(self.keys.old(&mut self.key_buf, &change.key, change.prev));
        }
        if change.deleted {
            self.state.delete(self.keys.old(&mut self.key_buf, &change.key, rev));
        }
        self.state.delete(self.keys.event(&mut self.key_buf, rev));
        self.meta.history_bytes -=
            history_bytes(&change.key, change.deleted, !change.prev.is_none(), change.prev_bytes);
    }

    /// True if there was something to purge.
    fn purge_step(&mut self, budget: usize) -> StateResult<bool> {
        let Some(purge) = self.purges.last_mut() else { return Ok(false) };
        assert_ne!(purge.incarnation, self.incarnation, "the incarnation in force is not swept away");
        let keys = Keys::new(self.shard, purge.incarnation);
        let (from, to) = all_of(keys, purge.after.as_deref());
        let range = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        let found: Vec<Bytes> = self
            .state
            .scan(range)
            .take(budget)
            .map(|pair| pair.map(|(key, _)| key))
            .collect::<StateResult<_>>()?;
        for key in &found {
            self.state.delete(key);
        }
        if found.len() < budget {
            self.purges.pop();
        } else {
            purge.after = found.last().map(|key| Bytes::copy_from_slice(key));
        }
        Ok(true)
    }
}

/// The incarnations of a shard of which anything is there, but for the one in force.
pub(super) fn other_incarnations(
    source: &Written<'_>,
    shard: ShardId,
    current: Option<u32>,
) -> StateResult<Vec<u32>> {
    let (mut others, mut next) = (Vec::new(), 1_u32);
    let end = match shard.get().checked_add(1) {
        Some(shard) => Bound::Excluded(Keys::new(ShardId(shard), 0).prefix().to_vec()),
        None => Bound::Unbounded,
    };
    loop {
        let from = Keys::new(shard, next).prefix().to_vec();
        let range = (Bound::Included(from.as_slice()), end.as_ref().map(Vec::as_slice));
        let Some(pair) = source.scan(range).next() else { return Ok(others) };
        let (key, _) = pair?;
        let found = key.get(4..PREFIX).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let found = found.ok_or_else(|| damaged("a key of the store"))?;
        if Some(found) != current {
            others.push(found);
        }
        match found.checked_add(1) {
            Some(after) => next = after,
            None => return Ok(others),
        }
    }
}

/// All tables are below this.
const _: () = assert!(table::END < 0xff);
