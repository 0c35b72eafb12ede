//! The lessor: when leases end.
//!
//! Which leases there are is replicated state; *when* they end is not, since no replica's clock is another's. The leader
//! alone counts down, and what it decides goes through the log as a revocation. The rules (Gray and Cheriton, 1989, as
//! etcd applies them):
//!
//! - A lease never ends before its time to live has passed since the last keep-alive that was confirmed to a client.
//!   A keep-alive is confirmed only by a leader that proved its leadership *after* the request came: the lane attaches it
//!   to a read round and calls [`Lessor::renew`] when that is through.
//! - A new leader cannot know the last keep-alives of the old one, so it starts every lease anew, from its time to live
//!   or from what the last checkpoint says remained. Checkpoints keep repeated leader changes from prolonging a lease for ever.
//! - A leader that was stalled (paused, starved) could not hear keep-alives meanwhile: the stall is given back to every lease.
//!
//! What is left out: deadlines survive neither restart nor leader change, by design.

use quorate_base::Instant;
use quorate_base::time::Duration;
use quorate_wire::kv::LeaseId;
use std::collections::{BTreeMap, BTreeSet};

/// How many leases one revocation entry names at most.
pub const REVOKE_BATCH: usize = 1000;
/// How many revocation entries may be in the log unapplied.
const REVOCATIONS_IN_FLIGHT: usize = 4;
/// How often remaining times are checkpointed.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Leases shorter than this are not worth a checkpoint.
const CHECKPOINT_LEAST_TTL: i64 = 120;
/// A gap between two looks at the clock that counts as a stall.
const STALL: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
struct Lease {
    ttl: i64,
    /// What the last checkpoint said remained, in seconds; 0 for none.
    remaining: i64,
    /// Set while this node leads.
    deadline: Option<Instant>,
}

/// What the lessor wants proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// These have ended.
    Revoke(Vec<LeaseId>),
    /// Remember these remaining seconds.
    Checkpoint(Vec<(LeaseId, i64)>),
}

/// The countdown of all leases of one space.
///
/// Invariant: `queue` holds `(deadline, id)` for exactly the leases with a deadline that are not being revoked.
#[derive(Debug, Default)]
pub struct Lessor {
    leases: BTreeMap<LeaseId, Lease>,
    queue: BTreeSet<(Instant, LeaseId)>,
    revoking: BTreeSet<LeaseId>,
    leading: bool,
    seen: Instant,
    checkpoint_at: Instant,
}

impl Lessor {
    /// Takes over the leases of a state that was opened or installed: id, granted and remaining seconds.
    pub fn reset(&mut self, now: Instant, leases: impl IntoIterator<Item = (LeaseId, i64, i64)>) {
        self.leases = leases
            .into_iter()
            .map(|(id, ttl, remaining)| (id, Lease { ttl, remaining, deadline: None }))
            .collect();
        self.queue.clear();
        self.revoking.clear();
        if self.leading {
            self.promote(now);
        }
    }

    /// This node leads now: every lease starts anew.
    pub fn promote(&mut self, now: Instant) {
        self.leading = true;
        self.seen = now;
        self.checkpoint_at = now + CHECKPOINT_EVERY;
        self.queue.clear();
        self.revoking.clear();
        for (&id, lease) in &mut self.leases {
            let left = if lease.remaining > 0 { lease.remaining.min(lease.ttl) } else { lease.ttl };
            let at = now + seconds(left);
            lease.deadline = Some(at);
            self.queue.insert((at, id));
        }
    }

    /// This node leads no longer.
    pub fn demote(&mut self) {
        self.leading = false;
        self.queue.clear();
        self.revoking.clear();
        for lease in self.leases.values_mut() {
            lease.deadline = None;
        }
    }

    /// A grant was applied.
    pub fn granted(&mut self, now: Instant, id: LeaseId, ttl: i64) {
        self.forget(id);
        let deadline = self.leading.then(|| now + seconds(ttl));
        if let Some(at) = deadline {
            self.queue.insert((at, id));
        }
        self.leases.insert(id, Lease { ttl, remaining: 0, deadline });
    }

    /// A revocation was applied.
    pub fn revoked(&mut self, id: LeaseId) {
        self.forget(id);
    }

    /// A checkpoint was applied.
    pub fn checkpointed(&mut self, id: LeaseId, remaining: i64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.remaining = remaining;
        }
    }

    /// A keep-alive was confirmed: the seconds granted, or 0 for a lease that is unknown or about to end.
    pub fn renew(&mut self, now: Instant, id: LeaseId) -> i64 {
        if !self.leading || self.revoking.contains(&id) {
            return 0;
        }
        let Some(lease) = self.leases.get_mut(&id) else { return 0 };
        let at = now + seconds(lease.ttl);
        if let Some(old) = lease.deadline.replace(at) {
            self.queue.remove(&(old, id));
        }
        self.queue.insert((at, id));
        lease.ttl
    }

    /// Remaining and granted seconds of a lease, while this node leads.
    pub fn time_to_live(&self, now: Instant, id: LeaseId) -> Option<(i64, i64)> {
        let lease = self.leases.get(&id)?;
        let left = lease.deadline.map_or(0, |at| at.since(now).as_secs() as i64);
        Some((left, lease.ttl))
    }

    /// What is to be proposed at `now`.
    pub fn due(&mut self, now: Instant) -> Vec<Wish> {
        if !self.leading {
            return Vec::new();
        }
        self.give_back_stall(now);
        let mut wishes = Vec::new();
        while self.revoking.len() < REVOKE_BATCH * REVOCATIONS_IN_FLIGHT {
            let ended = self.take_ended(now);
            if ended.is_empty() {
                break;
            }
            wishes.push(Wish::Revoke(ended));
        }
        if now >= self.checkpoint_at {
            self.checkpoint_at = now + CHECKPOINT_EVERY;
            let remaining = self.remaining(now);
            if !remaining.is_empty() {
                wishes.push(Wish::Checkpoint(remaining));
            }
        }
        wishes
    }

    /// A revocation that was wished for did not get into the log: it is wished for again a little later.
    pub fn not_revoked(&mut self, now: Instant, ids: &[LeaseId]) {
        for &id in ids {
            if !self.revoking.remove(&id) {
                continue;
            }
            if let Some(lease) = self.leases.get_mut(&id) {
                let at = now + Duration::from_millis(500);
                lease.deadline = Some(at);
                self.queue.insert((at, id));
            }
        }
    }

    /// When [`Lessor::due`] next has something.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.leading || self.leases.is_empty() {
            return None;
        }
        let full = self.revoking.len() >= REVOKE_BATCH * REVOCATIONS_IN_FLIGHT;
        let first = if full { None } else { self.queue.first().map(|&(at, _)| at) };
        Some(first.map_or(self.checkpoint_at, |at| at.min(self.checkpoint_at)))
    }

    fn forget(&mut self, id: LeaseId) {
        self.revoking.remove(&id);
        if let Some(Lease { deadline: Some(at), .. }) = self.leases.remove(&id) {
            self.queue.remove(&(at, id));
        }
    }

    fn take_ended(&mut self, now: Instant) -> Vec<LeaseId> {
        let mut ended = Vec::new();
        while ended.len() < REVOKE_BATCH {
            let Some(&(at, id)) = self.queue.first() else { break };
            if at > now {
                break;
            }
            self.queue.pop_first();
            self.revoking.insert(id);
            ended.push(id);
        }
        ended
    }

    fn remaining(&self, now: Instant) -> Vec<(LeaseId, i64)> {
        self.leases
            .iter()
            .filter(|(_, lease)| lease.ttl >= CHECKPOINT_LEAST_TTL)
            .filter_map(|(&id, lease)| Some((id, (lease.deadline?.since(now).as_secs() as i64).max(1))))
            .take(REVOKE_BATCH)
            .collect()
    }

    fn give_back_stall(&mut self, now: Instant) {
        let gap = now.since(self.seen);
        self.seen = now;
        if gap <= STALL {
            return;
        }
        let late: Vec<_> = std::mem::take(&mut self.queue).into_iter().collect();
        for (at, id) in late {
            let at = at + gap;
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.deadline = Some(at);
            }
            self.queue.insert((at, id));
        }
    }
}

fn seconds(n: i64) -> Duration {
    Duration::from_secs(u64::try_from(n).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    /// Looks at the clock as often as the lane does.
    fn walk(lessor: &mut Lessor, from: u64, to: u64) -> Vec<(u64, Wish)> {
        (from..=to).step_by(100).flat_map(|ms| lessor.due(at(ms)).into_iter().map(move |w| (ms, w))).collect()
    }

    #[test]
    fn a_lease_ends_after_its_time_and_not_before() {
        let mut lessor = Lessor::default();
        lessor.promote(at(0));
        lessor.granted(at(0), 7, 2);
        assert_eq!(walk(&mut lessor, 0, 1900), vec![]);
        assert_eq!(walk(&mut lessor, 2000, 2500), vec![(2000, Wish::Revoke(vec![7]))]);
        assert_eq!(lessor.renew(at(2600), 7), 0, "a lease that is being revoked is not renewed");
        lessor.not_revoked(at(2600), &[7]);
        assert_eq!(lessor.renew(at(2700), 7), 2, "one whose revocation was refused is");
    }

    #[test]
    fn a_new_leader_starts_leases_anew_from_the_checkpoint() {
        let mut lessor = Lessor::default();
        lessor.reset(at(0), [(1, 10, 0), (2, 10, 3)]);
        assert_eq!(lessor.due(at(50_000)), vec![], "a follower ends nothing");
        lessor.promote(at(50_000));
        let ended = walk(&mut lessor, 50_000, 61_000);
        assert_eq!(ended, vec![(53_000, Wish::Revoke(vec![2])), (60_000, Wish::Revoke(vec![1]))]);
    }

    #[test]
    fn a_stall_is_given_back() {
        let mut lessor = Lessor::default();
        lessor.promote(at(0));
        lessor.granted(at(0), 1, 2);
        walk(&mut lessor, 0, 1000);
        assert_eq!(lessor.due(at(9000)), vec![], "8 s of silence are no reason to end a lease");
        assert_eq!(walk(&mut lessor, 9100, 9900), vec![]);
        assert_eq!(walk(&mut lessor, 10_000, 10_200), vec![(10_000, Wish::Revoke(vec![1]))]);
    }
}
