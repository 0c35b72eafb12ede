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
//!   They begin when half of the time is over, so a client that renews in time costs the log nothing; but soon where the lease
//!   comes from an earlier leader, since leaders may change more often than that. A keep-alive of a lease with a checkpoint is
//!   confirmed only when the log has taken that back, or the next leader would end the lease too early.
//! - A new leader does not count before it has applied an entry of its own term, and with it all that was committed before:
//!   a checkpoint that the log has taken back long ago would end a lease whose keep-alive was confirmed since.
//! - A keep-alive of a lease that has run out waits for what becomes of its revocation, as with etcd.
//! - What it decides names the grant of the lease, not its id alone: a revocation by a client and a new grant of that id may
//!   lie in the log before it, and the new lease has its own time. (etcd names the id.)
//! - A leader that was stalled (paused, starved) could not hear keep-alives meanwhile: the stall is given back to every lease.
//!
//! What is left out: deadlines survive neither restart nor leader change, by design.

use quorate_base::time::Duration;
use quorate_base::{Index, Instant};
use quorate_state::kv::LeaseInfo;
use quorate_wire::kv::{Grant, LeaseId};
use std::collections::{BTreeMap, BTreeSet};

/// How many leases one entry names at most.
pub const REVOKE_BATCH: usize = 1000;
/// How many revocation entries may be in the log unapplied.
const REVOCATIONS_IN_FLIGHT: usize = 4;
/// Two entries with checkpoints are so far apart at least.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// So many entries with checkpoints go together at most: all of many leases have their turn before leaders change again.
const CHECKPOINTS_AT_ONCE: usize = 16;
/// One lease is checkpointed again when this part of its life has passed, ...
const CHECKPOINT_PART: i64 = 16;
/// ... but after so many seconds at the latest.
const CHECKPOINT_LATEST: i64 = 300;
/// A gap between two looks at the clock that counts as a stall.
const STALL: Duration = Duration::from_millis(500);

/// The smallest lease in seconds: one and a half of the shortest election timeout, rounded up, as etcd's.
pub(crate) fn least_lease(election: Duration) -> i64 {
    let ms = election.as_millis() as i64 * 3 / 2;
    ((ms + 999) / 1000).max(1)
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    /// The entry that granted it.
    at: Index,
    ttl: i64,
    /// What the last checkpoint that was applied said remained, in seconds; 0 for none.
    remaining: i64,
    /// This node, as leader, has proposed one since, or may have.
    proposed: bool,
    /// Set while this node leads.
    deadline: Option<Instant>,
    /// When it is next worth a checkpoint.
    mark: Option<Instant>,
}

impl Lease {
    fn new(at: Index, ttl: i64, remaining: i64) -> Self {
        Self { at, ttl, remaining, proposed: false, deadline: None, mark: None }
    }
}

/// What comes of a keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives on for so many seconds.
    Granted(i64),
    /// There is no such lease.
    Unknown,
    /// The log has to speak first: ask again when it has said something about this lease.
    Wait,
    /// Another node counts.
    NotLeading,
}

/// What the lessor wants proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// These have ended.
    Revoke(Vec<Grant>),
    /// Remember these remaining seconds; 0 takes back what was remembered.
    Checkpoint(Vec<(Grant, i64)>),
}

/// The countdown of all leases of one space.
///
/// Invariants: `queue` holds `(deadline, id)` for exactly the leases with a deadline that are not being revoked, `marks`
/// holds `(mark, id)` for exactly those with a mark.
#[derive(Debug, Default)]
pub struct Lessor {
    leases: BTreeMap<LeaseId, Lease>,
    queue: BTreeSet<(Instant, LeaseId)>,
    revoking: BTreeSet<LeaseId>,
    marks: BTreeSet<(Instant, LeaseId)>,
    /// Their checkpoint is to be taken back, ...
    to_clear: BTreeSet<LeaseId>,
    /// ... or the log is being asked to.
    clearing: BTreeSet<LeaseId>,
    leading: bool,
    seen: Instant,
    checkpoint_at: Instant,
    given_back: Duration,
    renewals: u64,
}

impl Lessor {
    /// Takes over the leases of a state that was opened or installed.
    pub fn reset(&mut self, now: Instant, leases: impl IntoIterator<Item = (LeaseId, LeaseInfo)>) {
        let lease = |LeaseInfo { ttl, remaining, at }| Lease::new(at, ttl, remaining);
        self.leases = leases.into_iter().map(|(id, info)| (id, lease(info))).collect();
        self.stop_counting();
        if self.leading {
            self.promote(now);
        }
    }

    /// This node leads now, and knows all that earlier leaders confirmed: every lease starts anew.
    pub fn promote(&mut self, now: Instant) {
        self.leading = true;
        self.seen = now;
        self.checkpoint_at = now + CHECKPOINT_EVERY;
        self.stop_counting();
        for (&id, lease) in &mut self.leases {
            let told = if lease.remaining > 0 { lease.remaining.min(lease.ttl) } else { lease.ttl };
            let at = now + seconds(told);
            let mark = now + step(lease.ttl);
            (lease.deadline, lease.mark) = (Some(at), Some(mark));
            self.queue.insert((at, id));
            self.marks.insert((mark, id));
        }
    }

    /// This node leads no longer.
    pub fn demote(&mut self) {
        self.leading = false;
        self.stop_counting();
    }

    fn stop_counting(&mut self) {
        self.queue.clear();
        self.marks.clear();
        self.revoking.clear();
        self.to_clear.clear();
        self.clearing.clear();
        for lease in self.leases.values_mut() {
            *lease = Lease::new(lease.at, lease.ttl, lease.remaining);
        }
    }

    /// A grant was applied.
    pub fn granted(&mut self, now: Instant, grant: Grant, ttl: i64) {
        let Grant { id, at } = grant;
        self.forget(id);
        self.leases.insert(id, Lease::new(at, ttl, 0));
        if self.leading {
            self.count(now, id);
        }
    }

    /// A revocation was applied.
    pub fn revoked(&mut self, id: LeaseId) {
        self.forget(id);
    }

    /// A checkpoint was applied.
    pub fn checkpointed(&mut self, now: Instant, id: LeaseId, remaining: i64) {
        if remaining == 0 {
            self.clearing.remove(&id);
            // Also where an earlier leader asked for it, and this one began to count before it had applied that.
            if self.leading && !self.revoking.contains(&id) {
                self.count(now, id);
            }
        }
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.proposed &= remaining != 0;
            lease.remaining = remaining;
        }
    }

    /// A keep-alive was confirmed by a leader that has proved itself.
    pub fn renew(&mut self, now: Instant, id: LeaseId) -> Renewal {
        if !self.leading {
            return Renewal::NotLeading;
        }
        let Some(lease) = self.leases.get(&id) else { return Renewal::Unknown };
        if self.revoking.contains(&id) {
            return Renewal::Wait;
        }
        if lease.remaining > 0 || lease.proposed {
            if !self.clearing.contains(&id) {
                self.to_clear.insert(id);
            }
            return Renewal::Wait;
        }
        let ttl = lease.ttl;
        self.renewals += 1;
        self.count(now, id);
        Renewal::Granted(ttl)
    }

    /// Counts a lease's time from now on.
    fn count(&mut self, now: Instant, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let (at, mark) = (now + seconds(lease.ttl), now + half(lease.ttl));
        if let Some(old) = lease.deadline.replace(at) {
            self.queue.remove(&(old, id));
        }
        if let Some(old) = lease.mark.replace(mark) {
            self.marks.remove(&(old, id));
        }
        self.queue.insert((at, id));
        self.marks.insert((mark, id));
    }

    /// By how much every lease that there was has been prolonged, all stalls of this node while it led together.
    pub fn given_back(&self) -> Duration {
        self.given_back
    }

    /// How many keep-alives were granted here.
    pub fn renewals(&self) -> u64 {
        self.renewals
    }

    /// Whether this node counts.
    pub fn is_leading(&self) -> bool {
        self.leading
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
        let to_clear = std::mem::take(&mut self.to_clear);
        let cleared: Vec<_> = to_clear.iter().filter_map(|&id| Some((self.grant(id)?, 0))).collect();
        self.clearing.extend(to_clear);
        wishes.extend(cleared.chunks(REVOKE_BATCH).map(|some| Wish::Checkpoint(some.to_vec())));
        if now >= self.checkpoint_at && self.marks.first().is_some_and(|&(at, _)| at <= now) {
            self.checkpoint_at = now + CHECKPOINT_EVERY;
            for _ in 0..CHECKPOINTS_AT_ONCE {
                let remaining = self.checkpoints(now);
                if remaining.is_empty() {
                    break;
                }
                wishes.push(Wish::Checkpoint(remaining));
            }
        }
        wishes
    }

    /// A revocation that was wished for did not get into the log: it is wished for again a little later.
    pub fn not_revoked(&mut self, now: Instant, grants: &[Grant]) {
        for &Grant { id, .. } in grants {
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

    /// Checkpoints that were wished for did not get into the log. Those that only tell what remains come again by
    /// themselves; a keep-alive that waits for one to be taken back has to be asked for again.
    pub fn not_checkpointed(&mut self, remaining: &[(Grant, i64)]) {
        for (grant, left) in remaining {
            if *left == 0 {
                self.clearing.remove(&grant.id);
            }
        }
    }

    /// When [`Lessor::due`] next has something.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.leading || self.leases.is_empty() {
            return None;
        }
        if !self.to_clear.is_empty() {
            return Some(self.seen);
        }
        let full = self.revoking.len() >= REVOKE_BATCH * REVOCATIONS_IN_FLIGHT;
        let end = if full { None } else { self.queue.first().map(|&(at, _)| at) };
        let mark = self.marks.first().map(|&(at, _)| at.max(self.checkpoint_at));
        [end, mark].into_iter().flatten().min()
    }

    fn forget(&mut self, id: LeaseId) {
        self.revoking.remove(&id);
        self.to_clear.remove(&id);
        self.clearing.remove(&id);
        let Some(Lease { deadline, mark, .. }) = self.leases.remove(&id) else { return };
        if let Some(at) = deadline {
            self.queue.remove(&(at, id));
        }
        if let Some(at) = mark {
            self.marks.remove(&(at, id));
        }
    }

    fn grant(&self, id: LeaseId) -> Option<Grant> {
        self.leases.get(&id).map(|lease| Grant { id, at: lease.at })
    }

    fn take_ended(&mut self, now: Instant) -> Vec<Grant> {
        let mut ended = Vec::new();
        while ended.len() < REVOKE_BATCH {
            let Some(&(at, id)) = self.queue.first() else { break };
            if at > now {
                break;
            }
            self.queue.pop_first();
            self.revoking.insert(id);
            ended.extend(self.grant(id));
        }
        ended
    }

    /// What remains of the leases whose marks have come.
    fn checkpoints(&mut self, now: Instant) -> Vec<(Grant, i64)> {
        let mut out = Vec::new();
        while out.len() < REVOKE_BATCH
            && let Some(&(at, id)) = self.marks.first()
            && at <= now
        {
            self.marks.pop_first();
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            lease.mark = None;
            let Some(end) = lease.deadline.filter(|_| !self.revoking.contains(&id)) else { continue };
            // Rounded up: the next leader may begin to count at once, and what is not told here would be missing.
            let left = (end.since(now).as_millis().div_ceil(1000) as i64).max(1);
            // A keep-alive that waits for its checkpoint to be taken back would wait for the next one, too.
            if !self.clearing.contains(&id) {
                lease.proposed = true;
                out.push((Grant { id, at: lease.at }, left));
            }
            if left > 1 {
                let next = now + step(lease.ttl);
                lease.mark = Some(next);
                self.marks.insert((next, id));
            }
        }
        out
    }

    fn give_back_stall(&mut self, now: Instant) {
        let gap = now.since(self.seen);
        self.seen = now;
        if gap <= STALL {
            return;
        }
        self.given_back += gap;
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

/// Until a lease that nobody renews is first worth a checkpoint.
fn half(ttl: i64) -> Duration {
    Duration::from_millis(u64::try_from(ttl.saturating_mul(500)).unwrap_or(0))
}

/// Between two checkpoints of one lease.
fn step(ttl: i64) -> Duration {
    seconds((ttl / CHECKPOINT_PART).clamp(1, CHECKPOINT_LATEST))
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

    fn grant(id: LeaseId) -> Grant {
        Grant { id, at: Index(1) }
    }

    /// Looks at the clock as often as the lane does.
    fn walk(lessor: &mut Lessor, from: u64, to: u64) -> Vec<(u64, Wish)> {
        (from..=to).step_by(100).flat_map(|ms| lessor.due(at(ms)).into_iter().map(move |w| (ms, w))).collect()
    }

    /// What ended, and when.
    fn ends(wishes: Vec<(u64, Wish)>) -> Vec<(u64, Wish)> {
        wishes.into_iter().filter(|(_, wish)| matches!(wish, Wish::Revoke(_))).collect()
    }

    #[test]
    fn a_lease_ends_after_its_time_and_not_before() {
        let mut lessor = Lessor::default();
        lessor.promote(at(0));
        lessor.granted(at(0), grant(7), 2);
        assert_eq!(ends(walk(&mut lessor, 0, 1900)), vec![]);
        assert_eq!(walk(&mut lessor, 2000, 2500), vec![(2000, Wish::Revoke(vec![grant(7)]))]);
        assert_eq!(
            lessor.renew(at(2600), 7),
            Renewal::Wait,
            "what becomes of its revocation is not known yet"
        );
        lessor.not_revoked(at(2600), &[grant(7)]);
        lessor.checkpointed(at(2600), 7, 0);
        assert_eq!(lessor.renew(at(2700), 7), Renewal::Granted(2), "the revocation was refused");
        assert_eq!(ends(walk(&mut lessor, 2700, 5000)), vec![(4700, Wish::Revoke(vec![grant(7)]))]);
        lessor.revoked(7);
        assert_eq!(lessor.renew(at(5000), 7), Renewal::Unknown);
    }

    /// Claim: a keep-alive does not bring back a lease whose end is on its way through the log, whether anything else was on its way or not.
    #[test]
    fn a_lease_that_is_being_revoked_is_not_renewed() {
        for ttl in [1, 2, 60] {
            let mut lessor = Lessor::default();
            lessor.promote(at(0));
            lessor.granted(at(0), grant(1), ttl);
            let end = ttl as u64 * 1000;
            assert_eq!(ends(walk(&mut lessor, 0, end)), vec![(end, Wish::Revoke(vec![grant(1)]))]);
            assert_eq!(lessor.renew(at(end), 1), Renewal::Wait);
        }
    }

    /// Claim: a revocation that did not get into the log is wished for again a moment later.
    #[test]
    fn a_revocation_that_was_lost_comes_again() {
        let mut lessor = Lessor::default();
        lessor.promote(at(0));
        lessor.granted(at(0), grant(1), 1);
        assert_eq!(walk(&mut lessor, 0, 500), vec![]);
        for end in [1000, 1500, 2000] {
            assert_eq!(ends(walk(&mut lessor, end - 400, end)), vec![(end, Wish::Revoke(vec![grant(1)]))]);
            lessor.not_revoked(at(end), &[grant(1)]);
        }
    }

    #[test]
    fn what_is_wished_for_names_the_grant() {
        let mut lessor = Lessor::default();
        lessor.promote(at(0));
        for granted in [4, 9] {
            let grant = Grant { id: 7, at: Index(granted) };
            lessor.granted(at(0), grant, 2);
            lessor.revoked(7);
            lessor.granted(at(0), Grant { at: Index(granted + 1), ..grant }, 2);
            let grants = vec![Grant { at: Index(granted + 1), ..grant }];
            assert_eq!(ends(walk(&mut lessor, 0, 2000)), vec![(2000, Wish::Revoke(grants))]);
        }
    }

    #[test]
    fn a_new_leader_starts_leases_anew_from_the_checkpoint() {
        let mut lessor = Lessor::default();
        let lease = |remaining| LeaseInfo { ttl: 10, remaining, at: Index(1) };
        lessor.reset(at(0), [(1, lease(0)), (2, lease(3))]);
        assert_eq!(lessor.due(at(50_000)), vec![], "a follower ends nothing");
        assert_eq!(lessor.renew(at(50_000), 1), Renewal::NotLeading, "nor does it say that a lease is gone");
        lessor.promote(at(50_000));
        let ended = ends(walk(&mut lessor, 50_000, 61_000));
        assert_eq!(
            ended,
            vec![(53_000, Wish::Revoke(vec![grant(2)])), (60_000, Wish::Revoke(vec![grant(1)]))]
        );
    }

    /// Claim: leases that come with a state while this node leads are counted as those that it had.
    #[test]
    fn leases_of_another_state_are_counted_too() {
        let mut lessor = Lessor::default();
        lessor.promote(at(0));
        lessor.granted(at(0), grant(1), 2);
        lessor.reset(at(1000), [(2, LeaseInfo { ttl: 2, remaining: 0, at: Index(1) })]);
        assert_eq!(ends(walk(&mut lessor, 1000, 4000)), vec![(3000, Wish::Revoke(vec![grant(2)]))]);
    }

    /// Claim: where an earlier leader's log takes a checkpoint back, the lease has its whole time from then on.
    #[test]
    fn a_checkpoint_that_is_taken_back_late_ends_nothing() {
        let mut lessor = Lessor::default();
        lessor.reset(at(0), [(1, LeaseInfo { ttl: 10, remaining: 3, at: Index(1) })]);
        lessor.promote(at(0));
        assert_eq!(ends(walk(&mut lessor, 0, 2000)), vec![]);
        lessor.checkpointed(at(2000), 1, 0);
        assert_eq!(ends(walk(&mut lessor, 2000, 13_000)), vec![(12_000, Wish::Revoke(vec![grant(1)]))]);
    }

    /// Claim: a keep-alive is not confirmed while a checkpoint is on its way through the log, which would end the lease too early under the
    /// next leader; and what a leader had on its way is nothing to it when it leads again.
    #[test]
    fn a_keep_alive_waits_for_a_checkpoint_that_is_on_its_way() {
        let mut lessor = Lessor::default();
        lessor.promote(at(0));
        lessor.granted(at(0), grant(1), 100);
        assert_eq!(walk(&mut lessor, 0, 50_000), vec![(50_000, Wish::Checkpoint(vec![(grant(1), 50)]))]);
        assert_eq!(lessor.renew(at(50_000), 1), Renewal::Wait);
        assert_eq!(lessor.due(at(50_000)), vec![Wish::Checkpoint(vec![(grant(1), 0)])]);
        lessor.demote();
        lessor.promote(at(51_000));
        assert_eq!(lessor.renew(at(51_000), 1), Renewal::Granted(100));
    }

    /// The next leader counts from the moment it leads, which may be the one in which the checkpoint was taken.
    #[test]
    fn a_checkpoint_tells_no_less_than_what_remains() {
        for late in 0..10 {
            let mut lessor = Lessor::default();
            lessor.promote(at(0));
            lessor.granted(at(0), grant(1), 3);
            let now = 1500 + 50 * late;
            walk(&mut lessor, 0, 1400);
            let Some(Wish::Checkpoint(told)) = lessor.due(at(now)).pop() else {
                panic!("no checkpoint at {now}")
            };
            lessor.checkpointed(at(now), 1, told[0].1);
            lessor.demote();
            lessor.promote(at(now));
            let ended = ends(walk(&mut lessor, now, now + 4000));
            assert!(
                ended.first().is_some_and(|&(when, _)| when >= 3000),
                "{ended:?} after a checkpoint at {now}"
            );
        }
    }

    #[test]
    fn a_stall_is_given_back() {
        let mut lessor = Lessor::default();
        lessor.promote(at(0));
        lessor.granted(at(0), grant(1), 2);
        walk(&mut lessor, 0, 900);
        let due = lessor.due(at(9000)).into_iter().map(|wish| (9000, wish)).collect();
        assert_eq!(ends(due), vec![], "8 s of silence are no reason to end a lease");
        assert_eq!(lessor.given_back(), Duration::from_millis(8100), "and it is told of");
        assert_eq!(ends(walk(&mut lessor, 9100, 10_000)), vec![]);
        assert_eq!(ends(walk(&mut lessor, 10_000, 10_200)), vec![(10_100, Wish::Revoke(vec![grant(1)]))]);
    }

    /// Lets the log take what is wished for at once, and counts it.
    fn walk_and_apply(lessor: &mut Lessor, from: u64, to: u64) -> usize {
        let mut entries = 0;
        for ms in (from..to).step_by(100) {
            for wish in lessor.due(at(ms)) {
                entries += 1;
                match wish {
                    Wish::Revoke(grants) => {
                        for grant in grants {
                            lessor.revoked(grant.id);
                        }
                    }
                    Wish::Checkpoint(all) => {
                        for (grant, left) in all {
                            lessor.checkpointed(at(ms), grant.id, left);
                        }
                    }
                }
            }
        }
        entries
    }

    #[test]
    fn leader_changes_do_not_keep_a_lease_alive_for_ever() {
        for ttl in [5, 10, 60, 120, 3600] {
            let mut lessor = Lessor::default();
            lessor.granted(at(0), grant(1), ttl);
            let every = (ttl as u64 * 1000 * 5 / 8).max(1500);
            let mut now = 0;
            while lessor.leases.contains_key(&1) {
                assert!(now < 4 * ttl as u64 * 1000, "a lease of {ttl} s lives {now} ms");
                lessor.promote(at(now));
                walk_and_apply(&mut lessor, now, now + every);
                lessor.demote();
                now += every;
            }
        }
    }

    #[test]
    fn a_client_that_renews_in_time_costs_the_log_nothing() {
        let mut lessor = Lessor::default();
        lessor.promote(at(0));
        lessor.granted(at(0), grant(1), 9);
        for round in 0..100 {
            assert_eq!(walk_and_apply(&mut lessor, round * 3000, round * 3000 + 3000), 0);
            assert_eq!(lessor.renew(at(round * 3000 + 3000), 1), Renewal::Granted(9));
        }
    }

    #[test]
    fn a_checkpoint_is_taken_back_before_a_keep_alive_is_confirmed() {
        let mut lessor = Lessor::default();
        lessor.promote(at(0));
        lessor.granted(at(0), grant(1), 100);
        let told = walk(&mut lessor, 0, 60_000);
        assert_eq!(
            told,
            vec![
                (50_000, Wish::Checkpoint(vec![(grant(1), 50)])),
                (56_000, Wish::Checkpoint(vec![(grant(1), 44)]))
            ]
        );
        // The second one is still on its way through the log.
        lessor.checkpointed(at(60_000), 1, 50);
        assert_eq!(lessor.renew(at(60_000), 1), Renewal::Wait);
        assert!(lessor.deadline().is_some_and(|when| when <= at(60_000)), "the log is asked at once");
        assert_eq!(lessor.due(at(60_000)), vec![Wish::Checkpoint(vec![(grant(1), 0)])]);
        assert_eq!(lessor.renew(at(60_050), 1), Renewal::Wait, "and only once");
        lessor.checkpointed(at(60_100), 1, 44);
        assert_eq!(walk(&mut lessor, 60_100, 70_000), vec![], "nor is it told again meanwhile");
        lessor.checkpointed(at(70_000), 1, 0);
        assert_eq!(lessor.renew(at(70_000), 1), Renewal::Granted(100));
        // One that is lost with the leadership was none; the next leader gives the lease its whole time.
        assert_eq!(
            walk(&mut lessor, 70_000, 120_000),
            vec![(120_000, Wish::Checkpoint(vec![(grant(1), 50)]))]
        );
        lessor.demote();
        lessor.promote(at(121_000));
        assert_eq!(ends(walk(&mut lessor, 121_000, 221_000)), vec![(221_000, Wish::Revoke(vec![grant(1)]))]);
    }
}
