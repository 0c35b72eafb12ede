//! Background deletion in bounded steps: history below the compacted revision, and incarnations that are not in force.

use super::layout::{Change, Keys, PREFIX, Record, Rev, damaged, parse_event_key, table};
use super::source::{Source, Written};
use super::{Kv, Mutant, all_of};
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

/// What a change costs beside its key and value, about.
const OVERHEAD: i64 = 40;

/// The bytes of history of one change of its own, and what its sweep gives back: a deletion's. What a put wrote is history once it is replaced.
pub(super) fn change_bytes(change: &Change) -> i64 {
    version_bytes(&change.key, change.put.as_ref().map_or(0, |put| put.value.len() as u64))
}

/// The bytes that become history by a change: those of the version that it replaces.
pub(super) fn replaced_bytes(change: &Change) -> i64 {
    if change.prev.is_none() { 0 } else { version_bytes(&change.key, change.prev_bytes) }
}

/// The same of the mark of a deletion.
pub(super) fn mark_bytes(key: &[u8]) -> i64 {
    version_bytes(key, 0)
}

fn version_bytes(key: &[u8], value: u64) -> i64 {
    key.len() as i64 + value as i64 + OVERHEAD
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
        let target = self.swept_to();
        if self.meta.swept >= target {
            return self.free_step(target, budget);
        }
        let changes = self.events(self.meta.swept, target, budget)?;
        let done = changes.len() < budget;
        for (rev, change) in &changes {
            self.sweep(*rev, change)?;
        }
        self.meta.swept = match changes.last() {
            Some((rev, _)) if !done => Rev::new(rev.main, rev.sub.saturating_add(1)),
            _ => target,
        };
        Ok(true)
    }

    /// Up to where history is to be swept away.
    fn swept_to(&self) -> Rev {
        let too_far = i64::from(self.has(Mutant::WatchLostEvent) && self.meta.compacted > 0);
        Rev::new(self.meta.compacted.max(0) + too_far, 0)
    }

    /// Whether [`Kv::compact_step`] may find anything to do.
    pub fn is_to_compact(&self) -> bool {
        let target = self.swept_to();
        let swept = self.meta.swept >= target && self.freed.max(target) >= freed_to(target);
        !swept || !self.purges.is_empty() || self.tables.is_to_sweep()
    }

    /// Deletes what the events *at* the compacted revision replaced, which no read reaches: a deletion of everything, compacted
    /// at once, would else keep all of it. The change stays, without the name of what it replaced.
    fn free_step(&mut self, target: Rev, budget: usize) -> StateResult<bool> {
        let end = freed_to(target);
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
            self.free(change);
            let kept = Change { prev: Rev::NONE, prev_bytes: 0, ..change.clone() };
            self.state.put(self.keys.event(&mut self.key_buf, *rev), kept.encode(&mut self.value_buf));
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
        scan.map(|pair| pair.and_then(|(key, value)| Ok((parse_event_key(&key)?, Change::decode(&value)?))))
            .collect()
    }

    /// Deletes the version that a change replaced.
    fn free(&mut self, change: &Change) {
        if !change.prev.is_none() {
            self.state.delete(self.keys.event(&mut self.key_buf, change.prev));
            self.meta.history_bytes -= replaced_bytes(change);
        }
    }

    /// Takes one change below the compacted revision out of the history: the version that it replaced, and itself, unless it
    /// made a version that is readable at that revision, and only here. (That one goes with what replaced it.)
    fn sweep(&mut self, rev: Rev, change: &Change) -> StateResult<()> {
        let bad = self.has(Mutant::WatchLostEvent);
        assert!(bad || rev.main < self.meta.compacted, "{rev:?} is not below {}", self.meta.compacted);
        self.free(change);
        if change.deleted() {
            self.state.delete(self.keys.deleted(&mut self.key_buf, &change.key, rev));
            self.meta.history_bytes -= mark_bytes(&change.key) + change_bytes(change);
        } else {
            let latest = self.stored(&change.key)?.map(Record::decode).transpose()?;
            if latest.is_none_or(|latest| latest.rev != rev) {
                return Ok(());
            }
        }
        self.state.delete(self.keys.event(&mut self.key_buf, rev));
        Ok(())
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

/// Behind the revision at which everything before `target` was compacted.
fn freed_to(target: Rev) -> Rev {
    Rev::new(target.main.saturating_add(1), 0)
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
