//! What a node knows of the shards that it leads, for whoever asks how a cluster does: transactions that nobody has brought to their end,
//! and how far moves of replicas are; and which of those that it has a replica of have no leader.
//!
//! All of it is of this node's memory. A leader that has just begun knows a transaction or a move since then.

use super::placement::followed_at;
use super::{Group, Lane};
use crate::api::{Led, MoveStep, Moving, Undecided};
use quorate_base::time::Duration;
use quorate_base::{Index, Instant};
use quorate_protocol::raft::Phase;
use quorate_state::table::Home;

/// Of so many transactions the items are named that they hold, ...
const NAMED: usize = 16;
/// ... so many of each.
const HELD: usize = 4;

/// A group that has no leader for more than so many of the longest election timeouts has not found one.
const LEADERLESS: u32 = 2;

/// Since when a move is known, and is at what it is at.
pub(super) struct Noted {
    /// The word about it.
    at: Index,
    began: Instant,
    step: u8,
    since: Instant,
}

impl Lane {
    /// What is under way in shards that are led here.
    pub(super) fn led(&self, now: Instant) -> Led {
        let after = super::commit::PATIENCE * self.node.patience.election;
        let mut undecided = Vec::new();
        for (id, since, waits_for) in self.transactions.all_undecided() {
            let mut holds = Vec::new();
            let all = self.groups.values().map(AsRef::as_ref).chain([&self.space]);
            let groups = all.filter(|group| group.raft.is_leader());
            for group in groups.filter(|_| undecided.len() < NAMED) {
                if group.view.tables().is_locked() && holds.len() < HELD {
                    holds.extend(group.view.held_by(&id, HELD - holds.len()));
                }
            }
            undecided.push(Undecided { id, age: now.since(since) + after, waits_for, holds });
        }
        let placement = &self.placed.followed;
        let led = self.groups.iter().filter(|(_, group)| group.raft.is_leader());
        let moves = led.filter_map(|(&shard, group)| {
            let home = placement.home(shard).filter(|home| home.moving)?;
            let noted = group.moving.as_ref().filter(|noted| noted.at == home.at)?;
            let step = group.step(&home);
            let lasts = if number(step) == noted.step { now.since(noted.since) } else { Duration::ZERO };
            Some(Moving { shard, step, lasts, moves: now.since(noted.began) })
        });
        let patience = LEADERLESS * self.node.patience.election;
        let here = self.groups.iter().filter(|(shard, _)| {
            placement.home(**shard).is_some_and(|home| home.hosts(self.node.settings.node))
        });
        let leaderless = here.filter_map(|(&shard, group)| {
            let lasts = now.since(group.leaderless_since?);
            (lasts > patience).then_some((shard, lasts))
        });
        Led { undecided, moves: moves.collect(), leaderless: leaderless.collect() }
    }
}

impl Group {
    /// Looks at what the move of the shard that is led here is.
    pub(super) fn note_step(&mut self, now: Instant, home: &Home) {
        if !home.moving {
            self.moving = None;
            return;
        }
        let step = number(self.step(home));
        let fresh = || Noted { at: home.at, began: now, step, since: now };
        let noted = self.moving.get_or_insert_with(fresh);
        if noted.at != home.at {
            *noted = fresh();
        } else if noted.step != step {
            (noted.step, noted.since) = (step, now);
        }
    }

    fn step(&self, home: &Home) -> MoveStep {
        let own = self.raft.membership();
        if self.has_arrived(home) {
            return MoveStep::Ends;
        }
        if followed_at(own) != Some(home.at) {
            return MoveStep::Waits;
        }
        // The one that is furthest behind.
        let learners = own.learners.iter().filter_map(|to| Some((*to, self.raft.progress().get(to)?)));
        let Some((to, progress)) = learners.min_by_key(|(_, progress)| progress.matched) else {
            return MoveStep::Votes;
        };
        match &progress.phase {
            Phase::Snapshot(_) => {
                let (sent, of) = self.exports.sent(to).unwrap_or_default();
                MoveStep::Snapshot { to, sent, of }
            }
            Phase::Probe { .. } => MoveStep::Listens(to),
            Phase::Replicate => {
                let behind = self.raft.last().index.get().saturating_sub(progress.matched.get());
                MoveStep::CatchesUp { to, behind }
            }
        }
    }
}

/// Which step it is, whatever its figures.
fn number(step: MoveStep) -> u8 {
    match step {
        MoveStep::Waits => 0,
        MoveStep::Listens(_) => 1,
        MoveStep::Snapshot { .. } => 2,
        MoveStep::CatchesUp { .. } => 3,
        MoveStep::Votes => 4,
        MoveStep::Ends => 5,
    }
}
