//! What the groups of a node share: settings, requests on their way, packets, limits, and what stops all of them.

use super::away::Away;
use super::closed::Times;
use super::commit::{Met, PATIENCE};
use super::explain::Trace;
use super::flushes::Flushes;
use super::large::{AT_ONCE_READS, Large};
use super::pace::Pace;
use super::packets::Packets;
use super::pending::Pending;
use super::room::Room;
use super::settle::Settling;
use super::{Broken, Effects, Settings, TICK, WAITING_BYTES_MAX, WAITING_MAX};
use crate::api::{Answer, Body, Done, Failure, Head, Patience, Request};
use crate::lessor::least_lease;
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId, Rng, ShardId, Term};
use quorate_protocol::commit::{TxnId, leader};
use quorate_state::kv::ReadError;
use quorate_storage::state::StateError;
use quorate_wire::peer::Frame;
use std::collections::BTreeSet;
use std::sync::Weak;

/// Whom to answer, and what is noted for the explanation, if one is wanted.
pub(super) type Asking = (Done, Option<Box<Trace>>);

/// So many may wait in a group for what transactions hold.
const LOCKS_MAX: usize = 10_000;

/// What is applied and kept in memory for followers that lag takes so many bytes at most, of all groups together, ...
const LOGS_BYTES: usize = 64 << 20;
/// ... unless these are so many that each had less than this.
const LOG_BYTES_MIN: usize = 16 << 10;

/// See the module page.
pub(crate) struct Node {
    pub(super) settings: Settings,
    pub(super) patience: Patience,
    pub(super) pending: Pending,
    pub(super) large: Large,
    /// What others are asked in the name of clients.
    pub(super) away: Away,
    /// How many reads wait for an index in the groups.
    pub(super) reading: usize,
    /// What reads of more than one key may still cost before the next drain.
    pub(super) at_once: usize,
    next_request: u64,
    packets: Packets,
    /// There are other groups than that of the key-value space, or will be in a moment.
    pub(super) grouped: bool,
    /// Nobody but members has anything of them, for certain.
    pub(super) settled: bool,
    /// Who has, or may have, something of one of them, and how often that has changed.
    pub(super) in_groups: BTreeSet<NodeId>,
    /// See there.
    pub(super) in_groups_version: u64,
    /// How fast replicas that move are sent.
    pub(super) pace: Pace,
    /// How long flushes take here and elsewhere.
    pub(super) flushes: Flushes,
    /// A group has a new leader here, which may have something to do at once.
    pub(super) tend_soon: bool,
    /// An alarm for want of room stands: no group takes what makes it grow.
    pub(super) alarmed: bool,
    /// How leaders deal with who wants what transactions hold.
    pub(super) locking: leader::Config,
    /// So much of its log each group keeps in memory that is applied.
    pub(super) log_keep: usize,
    /// Reads that met transactions.
    pub(super) met: Vec<Met>,
    /// Transactions that have been undecided for long in a group that is led here, with their participants.
    pub(super) undecided: Vec<(TxnId, Vec<ShardId>)>,
    /// Up to when what is known is all.
    pub(super) times: Times,
    pub(super) malformed: Vec<NodeId>,
    pub(super) tick_at: Instant,
    /// This drain is one of those that look at what waits for a time.
    pub(super) ticks: bool,
    pub(super) room: Room,
    pub(super) settling: Settling,
    /// Snapshots that somebody saves.
    pub(super) backups: Vec<Weak<()>>,
    pub(super) failed: u64,
    pub(super) stopping: bool,
    pub(super) broken: Option<Broken>,
}

impl Node {
    pub(super) fn new(settings: Settings, rng: &mut Rng, now: Instant) -> Self {
        let (shortest, election) = (settings.raft.election_min, settings.raft.election_max);
        Self {
            patience: Patience {
                request: Duration::from_secs(5) + 2 * shortest,
                leaderless: 3 * shortest,
                election,
                least_lease: least_lease(shortest),
            },
            at_once: settings.at_once * AT_ONCE_READS,
            settings,
            pending: Pending::default(),
            large: Large::default(),
            away: Away::default(),
            reading: 0,
            next_request: rng.next_u64() >> 1,
            packets: Packets::default(),
            grouped: false,
            settled: false,
            in_groups: BTreeSet::new(),
            in_groups_version: 0,
            pace: Pace::default(),
            flushes: Flushes::default(),
            tend_soon: false,
            alarmed: false,
            locking: leader::Config { recover_after: PATIENCE * election, waiting: LOCKS_MAX, mutant: None },
            log_keep: usize::MAX,
            met: Vec::new(),
            undecided: Vec::new(),
            times: Times::new(&mut rng.fork("closed times")),
            malformed: Vec::new(),
            tick_at: now,
            ticks: false,
            room: Room::default(),
            settling: Settling::default(),
            backups: Vec::new(),
            failed: 0,
            stopping: false,
            broken: None,
        }
    }

    /// So many groups share what is kept of logs.
    pub(super) fn share_logs(&mut self, groups: usize) {
        self.log_keep = log_share(groups);
    }

    pub(super) fn take_request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    /// An entry of `term` was applied in a shard: those who may have been done in an earlier one, see [`Pending::overtaken`].
    pub(super) fn overtaken(&mut self, shard: ShardId, term: Term) -> Vec<Done> {
        let next = &mut self.next_request;
        let number = || {
            *next += 1;
            *next
        };
        self.pending.overtaken(shard, term, number)
    }

    pub(super) fn send(&mut self, to: NodeId, frame: &Frame) {
        self.packets.push(to, frame);
    }

    /// As much waits as may.
    pub(super) fn waiting_full(&self) -> bool {
        self.pending.len() + self.reading + self.large.len() + self.away.len() >= WAITING_MAX
            || self.pending.bytes() >= WAITING_BYTES_MAX
    }

    /// Whether somebody waits for the answer to a request that was taken.
    pub(super) fn owes(&self) -> bool {
        self.pending.len() > 0
            || self.reading > 0
            || self.large.len() > 0
            || self.away.len() > 0
            || !self.room.refused.is_empty()
    }

    /// Time-outs; true if it was time to look.
    pub(super) fn clockwork(&mut self, now: Instant) -> bool {
        self.ticks = now >= self.tick_at;
        if self.ticks {
            self.tick_at = now + TICK;
            let late = self.pending.expired(now);
            self.failed += late.len() as u64;
            let reads = self.large.expired(now).into_iter().chain(self.settling.expired(now));
            for (done, failure) in late.into_iter().chain(reads) {
                done(Err(failure));
            }
        }
        self.ticks
    }

    /// Takes out all that waits, for a node that stops.
    pub(super) fn drain_all(&mut self) -> Vec<Done> {
        let mut waiting = self.pending.drain_all();
        waiting.append(&mut self.large.drain_all());
        waiting.append(&mut self.away.drain_all());
        waiting.append(&mut self.settling.drain_all());
        waiting.append(&mut self.room.refused);
        waiting.extend(std::mem::take(&mut self.met).into_iter().map(|met| met.done));
        waiting
    }

    /// Hands out what gathered here.
    pub(super) fn drain(&mut self, out: &mut Effects) {
        self.tell();
        out.packets.extend(self.packets.take());
        out.malformed.append(&mut self.malformed);
        out.outgrown = self.room.outgrown.take().or(out.outgrown);
        out.reads.append(&mut self.large.take_begun());
        out.work.append(&mut self.settling.work);
        out.tidy = self.settling.tidy.take().or(out.tidy);
        out.defragment.append(&mut self.settling.defragment);
        self.at_once = self.settings.at_once * AT_ONCE_READS;
    }

    /// Answers a read, unless it met transactions: then their votes come first.
    pub(super) fn answer_read(
        &mut self,
        shard: ShardId,
        request: Request,
        deadline: Instant,
        done: Done,
        result: Result<Answer, Failure>,
    ) {
        match result {
            Ok(answer) if Met::is(&request, &answer) => {
                self.met.push(Met { shard, request, deadline, done, answer });
            }
            result => done(result),
        }
    }

    pub(super) fn read_result(
        &mut self,
        head: Head,
        result: Result<Option<Body>, ReadError>,
    ) -> Result<Answer, Failure> {
        match result {
            Ok(Some(body)) => Ok(Answer { head, body }),
            Ok(None) => Err(Failure::TimedOut),
            Err(ReadError::Refused(refused)) => Err(Failure::Refused(refused, head)),
            Err(ReadError::Store(error)) => Err(self.read_failed(&error)),
        }
    }

    /// Whoever asked hears of it, and the node stops: the next read might not be so lucky as to fail.
    fn read_failed(&mut self, error: &StateError) -> Failure {
        self.broken = Some(Broken::state("reading", error));
        Failure::Broken(error.to_string())
    }
}

/// How much each of so many groups keeps.
fn log_share(groups: usize) -> usize {
    (LOGS_BYTES / groups.max(1)).max(LOG_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::{LOG_BYTES_MIN, LOGS_BYTES, log_share};

    /// Claim: however many groups there are, their logs take no more memory together than a node has for them, but for a little each.
    #[test]
    fn groups_share_what_is_kept_of_logs() {
        assert_eq!(log_share(1), LOGS_BYTES);
        for groups in [2, 1_000, LOGS_BYTES / LOG_BYTES_MIN] {
            assert!(groups * log_share(groups) <= LOGS_BYTES);
        }
        assert_eq!(log_share(1_000_000), LOG_BYTES_MIN);
    }
}
