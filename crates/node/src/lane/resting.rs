//! The groups that rest, by the node under whose leadership they do, and the one small word between two nodes that stands for the
//! heartbeats of all of them ([`quorate_protocol::raft::rest`] says what a rest is).
//!
//! A lane that leads groups that rest sends [`Frame::Alive`](quorate_wire::peer::Frame::Alive) to its peers once an interval. One
//! from which nothing came for some election timeouts is missed: its groups are told so, wake up, and elect another
//! leader where it is gone. A node that stood still as long itself wakes those that it leads, which may have another leader by now. Any packet counts as a word. A connection that breaks tells the same at once, and a group that somebody asks for something is awake:
//! so the patience may be long. With a short one a node that is starved for a second would lose all its groups, which is an election
//! storm (seen with a thousand shards on a machine with much else to do).

use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// See the module page.
pub(super) struct Resting {
    interval: Duration,
    patience: Duration,
    under: BTreeMap<NodeId, BTreeSet<ShardId>>,
    /// When something last came from those under whom groups rest.
    heard: BTreeMap<NodeId, Instant>,
    due: Option<Instant>,
}

impl Resting {
    pub(super) fn new(interval: Duration, patience: Duration) -> Self {
        Self { interval, patience, under: BTreeMap::new(), heard: BTreeMap::new(), due: None }
    }

    /// When it wants to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// How many groups rest.
    pub(super) fn len(&self) -> usize {
        self.under.values().map(BTreeSet::len).sum()
    }

    /// A packet came.
    pub(super) fn heard(&mut self, now: Instant, from: NodeId) {
        if let Some(at) = self.heard.get_mut(&from) {
            *at = now;
        }
    }

    /// A group that rested under `before` rests under `after` now.
    pub(super) fn moves(
        &mut self,
        now: Instant,
        shard: ShardId,
        before: Option<NodeId>,
        after: Option<NodeId>,
    ) {
        if let Some(before) = before
            && let Some(shards) = self.under.get_mut(&before)
        {
            shards.remove(&shard);
            if shards.is_empty() {
                self.under.remove(&before);
                self.heard.remove(&before);
            }
        }
        if let Some(after) = after {
            self.under.entry(after).or_default().insert(shard);
            // It has just asked for this rest, or heard of it.
            self.heard.entry(after).or_insert(now);
        }
        self.due = if self.under.is_empty() { None } else { self.due.or(Some(now + self.interval)) };
    }

    /// Whether this node is to say that it lives, and the groups whose leaders were not heard in time. `None` before it is time.
    pub(super) fn look(&mut self, now: Instant, me: NodeId) -> Option<(bool, Vec<(NodeId, ShardId)>)> {
        let due = self.due.filter(|&due| due <= now)?;
        self.due = Some(now + self.interval);
        if now.since(due) > self.interval {
            // This node stood still: what came meanwhile is in the queue behind this look.
            self.heard.values_mut().for_each(|at| *at = now);
        }
        // For so long that the others may have missed it.
        let slept = now.since(due) > self.patience;
        let mut missed = Vec::new();
        for (&leader, shards) in &self.under {
            let silent = self.heard.get(&leader).is_none_or(|&at| now.since(at) > self.patience);
            if if leader == me { slept } else { silent } {
                missed.extend(shards.iter().map(|&shard| (leader, shard)));
            }
        }
        Some((self.under.contains_key(&me), missed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    /// Claim: who is heard is not missed; who is silent is, and once this node is awake again, not for what it slept through.
    #[test]
    fn silence_is_noticed_and_an_own_pause_excused() {
        let (me, other) = (NodeId(1), NodeId(2));
        let mut resting = Resting::new(Duration::from_millis(100), Duration::from_millis(700));
        assert_eq!((resting.deadline(), resting.look(at(5_000), me)), (None, None));
        resting.moves(at(0), ShardId(7), None, Some(other));
        resting.moves(at(0), ShardId(8), None, Some(me));
        assert_eq!((resting.deadline(), resting.len()), (Some(at(100)), 2));
        for millis in (100..700).step_by(100) {
            assert_eq!(resting.look(at(millis), me), Some((true, vec![])));
        }
        resting.heard(at(650), other);
        assert_eq!(resting.look(at(700), me), Some((true, vec![])));
        for millis in (800..=1300).step_by(100) {
            assert_eq!(resting.look(at(millis), me), Some((true, vec![])));
        }
        assert_eq!(resting.look(at(1400), me), Some((true, vec![(other, ShardId(7))])));
        assert_eq!(
            resting.look(at(9_000), me),
            Some((true, vec![(me, ShardId(8))])),
            "it stood still itself"
        );
        resting.moves(at(9_000), ShardId(7), Some(other), None);
        assert_eq!(resting.look(at(9_100), me), Some((true, vec![])));
        resting.moves(at(9_100), ShardId(8), Some(me), None);
        assert_eq!((resting.deadline(), resting.len()), (None, 0));
    }
}
