//! Leases: a leader that may serve reads without a round, for as long as nobody else can have been elected
//! (dissertation, 6.4.1; Gray and Cheriton, *Leases*, 1989).
//!
//! Off unless [`Config::lease_reads`](super::Config::lease_reads) says otherwise, for it is the one place where safety rests on
//! clocks: on no two replicas' clocks agreeing, but on each running true within a stated drift.
//!
//! A heartbeat asks its follower for a *promise*: for the shortest election timeout, by its own clock, from when the heartbeat
//! came, to vote for nobody. A majority's promises are a lease. The leader counts it
//!
//! - from when it *sent* the heartbeats, not from when the answers came: the promise began somewhere between the two;
//! - shorter than was promised, by the drift of both clocks: where the leader's runs slow and a follower's fast, by at most `d`
//!   each, `L = T (1 - d) / (1 + d)` seconds of the leader's end before `T` seconds of the follower's do;
//! - against the clock as it reads when the read is served. A process that stood still finds its lease over. (The driver reads the
//!   clock after it took what came, so no read is older than the moment at which the lease held.)
//!
//! A promise binds whatever else is known of the leader: also when the connection to it breaks, and the replica itself may not campaign
//! either. So with leases a killed leader is succeeded only when its followers' promises are over. It binds across a restart: a start
//! takes [`Boot::promised`](super::Boot::promised) for the time that an earlier life may have promised. And a leader counts only
//! replicas that say that they promised, so that one on which leases are off is none of the majority.
//!
//! What does not wait for promises is a campaign that the leader itself asked for: with the first such message the lease ends, for the rest
//! of the term, since that message may arrive at any time.
//!
//! What is left out: clocks that stop while time passes, as those of a machine that is suspended or moved do. They drift without bound.

use super::{Mutant, Raft, Role, mutant};
use quorate_base::Instant;
use quorate_base::time::Duration;
use std::collections::VecDeque;

/// Heartbeats whose answers may still count. More than this are under way only where a round follows the other.
const SENT_MAX: usize = 1024;
/// A clock's rate is given in millionths.
const MILLION: u128 = 1_000_000;

/// What a leader knows of its lease.
#[derive(Clone, Default, Debug)]
pub(super) struct Leases {
    /// When the heartbeats of a round were sent, by its number, ascending.
    sent: VecDeque<(u64, Instant)>,
    /// There is none any more in this term.
    ended: bool,
}

impl Raft {
    pub(super) fn lease_begins_anew(&mut self) {
        self.leases = Leases::default();
    }

    /// Somebody was asked to campaign.
    pub(super) fn lease_ends(&mut self) {
        if !mutant(&self.config, Mutant::LeaseOutlivesTransfer) {
            self.leases.ended = true;
        }
    }

    /// What heartbeats of `round`, which leave now, ask for; zero for nothing.
    pub(super) fn lease_asked(&mut self, now: Instant, round: u64) -> Duration {
        if self.leases.ended {
            return Duration::ZERO;
        }
        while self.leases.sent.front().is_some_and(|&(_, at)| now.since(at) >= self.config.election_min)
            || self.leases.sent.len() >= SENT_MAX
        {
            self.leases.sent.pop_front();
        }
        self.leases.sent.push_back((round, now));
        self.config.election_min
    }

    /// A follower promised when it answered a heartbeat of `round`: from when that counts.
    pub(super) fn lease_counts_from(&self, now: Instant, round: u64) -> Option<Instant> {
        if mutant(&self.config, Mutant::LeaseFromResponse) {
            return Some(now);
        }
        let at = self.leases.sent.binary_search_by_key(&round, |&(number, _)| number).ok()?;
        Some(self.leases.sent[at].1)
    }

    /// Whether this replica leads, and nobody else can have been elected up to now.
    pub(super) fn lease_holds(&self, now: Instant) -> bool {
        let Some(drift) = self.config.lease_reads else { return false };
        if self.role != Role::Leader || self.leases.ended {
            return false;
        }
        let (drift, promised) = (u128::from(drift).min(MILLION), self.config.election_min);
        let counted = promised.as_nanos() * (MILLION - drift) / (MILLION + drift);
        let counted = Duration::from_nanos(u64::try_from(counted).unwrap_or(0));
        let counted = if mutant(&self.config, Mutant::LeaseIgnoresDrift) { promised } else { counted };
        // The last tick's time.
        let stale = self.heartbeat_at - self.config.heartbeat;
        let now = if mutant(&self.config, Mutant::LeaseOfTheLastTick) { stale } else { now };
        let id = self.config.id;
        self.membership().is_quorum(|n| {
            let granted = self.progress.get(&n).and_then(|p| p.promised);
            n == id || granted.is_some_and(|at| now < at + counted)
        })
    }

    // ---- the follower's side ----

    /// A heartbeat asks for a promise of so long; true if it is given.
    pub(super) fn promise(&mut self, now: Instant, lease: Duration) -> bool {
        if lease.is_zero() || self.config.lease_reads.is_none() || lease > self.config.election_min {
            return false;
        }
        self.promised_until = self.promised_until.max(now + lease);
        true
    }

    /// It has promised to vote for nobody now.
    pub(super) fn is_bound(&self, now: Instant) -> bool {
        now < self.promised_until
    }
}
