//! Compaction unasked: how much history is kept, by time or by revisions, as etcd's server keeps it.
//!
//! By time: the revision is noted ten times a period (ten times an hour for longer ones), and once a period, or once an hour, what
//! is older than the period is compacted. By revisions: every five minutes all but the last so many are. The leader proposes it;
//! the others take notes too, so that one that comes to lead knows what was when. A node that was started knows nothing of before,
//! and compacts after a period at the earliest.

use super::group::Group;
use super::node::Node;
use super::pending::Want;
use quorate_base::Instant;
use quorate_base::time::Duration;
use quorate_wire::command;
use quorate_wire::kv::{Command, Revision};
use std::collections::VecDeque;

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// So much time of it.
    Periodic(Duration),
    /// So many revisions.
    Revisions(Revision),
}

const HOUR: Duration = Duration::from_secs(3600);
/// How often all but the last revisions are compacted.
const REVISIONS_EVERY: Duration = Duration::from_secs(300);
/// How long a proposal may wait.
const PATIENCE: Duration = Duration::from_secs(5);

impl AutoCompaction {
    /// How often it compacts at most.
    fn every(self) -> Duration {
        match self {
            Self::Periodic(period) => period.min(HOUR),
            Self::Revisions(_) => REVISIONS_EVERY,
        }
    }

    /// How often the revision is noted.
    fn note_every(self) -> Duration {
        match self {
            Self::Periodic(period) => Duration::from_nanos((period.min(HOUR).as_nanos() / 10).max(1) as u64),
            Self::Revisions(_) => REVISIONS_EVERY,
        }
    }
}

/// What was noted.
pub(super) struct Compactor {
    mode: AutoCompaction,
    notes: VecDeque<(Instant, Revision)>,
    note_at: Instant,
    compact_at: Instant,
}

impl Compactor {
    pub(super) fn new(mode: AutoCompaction, now: Instant) -> Self {
        Self { mode, notes: VecDeque::new(), note_at: now, compact_at: now + mode.every() }
    }

    /// When it next has something to do.
    pub(super) fn deadline(&self) -> Instant {
        self.note_at
    }

    /// Notes the revision, if it is time; what is to be compacted now, by whoever leads.
    fn due(&mut self, now: Instant, revision: Revision) -> Option<Revision> {
        if now < self.note_at {
            return None;
        }
        self.note_at = now + self.mode.note_every();
        let upto = match self.mode {
            AutoCompaction::Revisions(kept) => revision - kept,
            AutoCompaction::Periodic(period) => {
                self.notes.push_back((now, revision));
                // The newest of those that are as old as the period.
                while self.notes.get(1).is_some_and(|(at, _)| *at + period <= now) {
                    self.notes.pop_front();
                }
                self.notes.front().filter(|(at, _)| *at + period <= now).map_or(0, |(_, upto)| *upto)
            }
        };
        if upto <= 0 || now < self.compact_at {
            return None;
        }
        self.compact_at = now + self.mode.every();
        Some(upto)
    }
}

impl Group {
    /// Proposes what is due, if this node leads.
    pub(super) fn auto_compact(&mut self, node: &mut Node, now: Instant) {
        let revision = self.view.revision();
        let Some(upto) = self.compactor.as_mut().and_then(|compactor| compactor.due(now, revision)) else {
            return;
        };
        if !self.raft.is_leader() || node.stopping || upto <= self.view.compacted() {
            return;
        }
        let request = node.take_request();
        let data = command::encode(node.settings.node, request, &Command::Compact { revision: upto });
        node.pending.park(self.shard, request, Want::Write(data), now + PATIENCE, (Box::new(drop), None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One revision a second, looked at ten times a second; when what was compacted.
    fn run(mode: AutoCompaction, seconds: u64) -> Vec<(u64, Revision)> {
        let start = Instant(1_000);
        let mut compactor = Compactor::new(mode, start);
        let looks = (0..seconds * 10).filter_map(|tenth| {
            let now = start + Duration::from_millis(tenth * 100);
            compactor.due(now, 1 + (tenth / 10) as Revision).map(|upto| (tenth / 10, upto))
        });
        looks.collect()
    }

    #[test]
    fn a_period_of_history_is_kept() {
        let compacted = run(AutoCompaction::Periodic(Duration::from_secs(100)), 450);
        assert_eq!(compacted, [(100, 1), (200, 101), (300, 201), (400, 301)]);
        for (now, upto) in run(AutoCompaction::Periodic(Duration::from_secs(3 * 3600)), 6 * 3600) {
            assert!(now >= 3 * 3600 && (now as i64 - upto - 3 * 3600).abs() <= 360, "{upto} at {now}");
        }
        let hourly = run(AutoCompaction::Periodic(Duration::from_secs(3 * 3600)), 6 * 3600);
        assert_eq!(hourly.len(), 3, "{hourly:?}");
    }

    #[test]
    fn so_many_revisions_are_kept() {
        let compacted = run(AutoCompaction::Revisions(400), 1_000);
        assert_eq!(compacted, [(600, 201), (900, 501)]);
        assert_eq!(run(AutoCompaction::Revisions(10_000), 1_000), []);
    }
}
