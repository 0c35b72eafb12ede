//! What goes into the core, what comes out, and what it is made of.

use super::membership::Membership;
use super::message::Message;
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Append, Base, Durable, Entry, EntryId, HardState, Held, Index, NodeId, ShardId, Term};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Timing and bounds of one core.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose log.
    pub shard: ShardId,
    /// This replica's node.
    pub id: NodeId,
    /// Between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// The shortest election timeout; a follower that heard its leader within it grants nobody a vote.
    pub election_min: Duration,
    /// The longest.
    pub election_max: Duration,
    /// Entries in one message at most.
    pub max_append_entries: usize,
    /// Bytes in one message at most, but always one entry.
    pub max_append_bytes: usize,
    /// Messages under way to one follower at most.
    pub window_messages: usize,
    /// Bytes under way to one follower at most, but always one message.
    pub window_bytes: usize,
    /// While appends follow each other faster than this, news of the commit index waits for the next one, and no longer than this,
    /// unless the follower is known to wait for it. Zero: it never waits.
    pub commit_patience: Duration,
    /// Proposals are refused while more than this is uncommitted, or committed and not applied.
    pub max_uncommitted_bytes: usize,
    /// Reads are refused while more than this many wait.
    pub max_pending_reads: usize,
    /// Bytes given to the machine and not yet reported applied, at most.
    pub max_applying_bytes: usize,
    /// A follower confirms no further entries while more than this is committed and not applied. With the leader's window
    /// this bounds what waits in its memory for its machine.
    pub max_unapplied_bytes: usize,
    /// Bytes of applied entries kept for followers that lag, and sixteen times as many for one that is heard meanwhile: a
    /// stall of its machine or its disk is not to cost it a snapshot.
    pub log_keep_bytes: usize,
    /// As above for a follower that takes a snapshot in, so that what follows it is still there when it has arrived. It
    /// rises with each byte of the snapshot that is stored.
    pub log_pin_bytes: usize,
    /// The most that the above may rise to.
    pub log_pin_bytes_max: usize,
    /// Serve reads under a lease, see [`super::leases`]: how far each replica's clock may run fast or slow, in millionths. Safe only
    /// while that holds for all.
    pub lease_reads: Option<u32>,
    /// A group that has nothing to do rests, see [`super::rest`]; its driver must then tell it of a leader that is not heard.
    pub rests: bool,
    /// A planted bug; without the feature `mutants` it has no effect.
    pub mutant: Option<Mutant>,
}

impl Config {
    /// The defaults.
    pub fn new(shard: ShardId, id: NodeId) -> Self {
        Self {
            shard,
            id,
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(700),
            election_max: Duration::from_millis(1400),
            max_append_entries: 4096,
            max_append_bytes: 1 << 20,
            window_messages: 64,
            window_bytes: 8 << 20,
            commit_patience: Duration::ZERO,
            max_uncommitted_bytes: 64 << 20,
            max_pending_reads: 100_000,
            max_applying_bytes: 8 << 20,
            max_unapplied_bytes: 16 << 20,
            log_keep_bytes: 8 << 20,
            log_pin_bytes: 128 << 20,
            log_pin_bytes_max: 1 << 30,
            lease_reads: None,
            rests: false,
            mutant: None,
        }
    }
}

/// Real bugs of the field, to be planted: each names the promise it breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// An entry of an older term is committed by counting replicas (Figure 8).
    Fig8Commit,
    /// A vote leaves before it is durable.
    VoteNotDurable,
    /// An append is acknowledged before it is durable.
    AckBeforeFsync,
    /// A leader serves reads without a round.
    StaleLeaderRead,
    /// A new leader serves reads before it has committed an entry of its term.
    ReadIndexBeforeOwnTermCommit,
    /// A (pre-)vote request of a lower term is not answered.
    PrevoteDeadlock,
    /// A follower truncates at every append.
    TruncateOnStaleAppend,
    /// A second change is taken while one is joint or uncommitted.
    SecondChangeWhileJoint,
    /// A joint configuration acts without the outgoing majority.
    JointWithoutOutgoing,
    /// A new leader does not leave a joint configuration.
    AutoLeaveLost,
    /// A learner refuses to vote although it has been promoted and does not know yet.
    LearnerRefusesVote,
    /// A learner is promoted although it is far behind.
    PromoteLaggingLearner,
    /// A replica that has lost its state campaigns.
    LostStateCampaigns,
    /// A leader that asked another to campaign goes on under its lease.
    LeaseOutlivesTransfer,
    /// A lease is counted from the answers to the heartbeats that asked for it.
    LeaseFromResponse,
    /// A lease is counted as long as it was promised, as if all clocks ran at one rate.
    LeaseIgnoresDrift,
    /// A lease is judged by the time of the last tick: a leader that stood still serves.
    LeaseOfTheLastTick,
    /// A replica that starts again has forgotten what it promised.
    LeaseForgottenByRestart,
    /// A promise ends with the connection to the leader.
    LeaseBrokenByConnection,
    /// The yes of a learner counts as a voter's.
    LearnerVoteCounts,
    /// A replica that lost its disk confirms entries to whoever leads.
    LostDiskConfirms,
    /// The answer of a replica that lost its disk proves to a leader that nobody else leads: reads by a round.
    LostDiskProvesReads,
    /// The promise of a replica that lost its disk counts: reads under a lease.
    LostDiskExtendsLease,
    /// Not in the core: a new member gets the id of one that was removed.
    IdGivenTwice,
    /// Not in the core: a change of members is answered before it is committed.
    ChangeAnsweredEarly,
}

impl Mutant {
    /// All of the core, with their names.
    pub const ALL: [(&'static str, Self); 23] = [
        ("fig8-commit", Self::Fig8Commit),
        ("vote-not-durable", Self::VoteNotDurable),
        ("ack-before-fsync", Self::AckBeforeFsync),
        ("stale-leader-read", Self::StaleLeaderRead),
        ("readindex-before-own-term-commit", Self::ReadIndexBeforeOwnTermCommit),
        ("prevote-deadlock", Self::PrevoteDeadlock),
        ("truncate-on-stale-append", Self::TruncateOnStaleAppend),
        ("second-change-while-joint", Self::SecondChangeWhileJoint),
        ("joint-without-outgoing", Self::JointWithoutOutgoing),
        ("auto-leave-lost", Self::AutoLeaveLost),
        ("learner-refuses-vote", Self::LearnerRefusesVote),
        ("promote-lagging-learner", Self::PromoteLaggingLearner),
        ("lost-state-campaigns", Self::LostStateCampaigns),
        ("lease-outlives-transfer", Self::LeaseOutlivesTransfer),
        ("lease-from-response", Self::LeaseFromResponse),
        ("lease-ignores-drift", Self::LeaseIgnoresDrift),
        ("lease-of-the-last-tick", Self::LeaseOfTheLastTick),
        ("lease-forgotten-by-restart", Self::LeaseForgottenByRestart),
        ("lease-broken-by-connection", Self::LeaseBrokenByConnection),
        ("learner-vote-counts", Self::LearnerVoteCounts),
        ("lost-disk-confirms", Self::LostDiskConfirms),
        ("lost-disk-proves-reads", Self::LostDiskProvesReads),
        ("lost-disk-extends-lease", Self::LostDiskExtendsLease),
    ];

    /// Those of what stands above the core, which only a simulation of whole nodes can catch.
    pub const ABOVE: [(&'static str, Self); 2] =
        [("id-given-twice", Self::IdGivenTwice), ("change-answered-early", Self::ChangeAnsweredEarly)];

    /// The mutant of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|&(_, m)| m)
    }
}

/// What a core is booted from: journal and state, as recovery found them.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Term, vote and a commit index.
    pub hard: HardState,
    /// What the state holds.
    pub base: Base,
    /// The log behind it.
    pub entries: Vec<Entry>,
    /// What the machine has applied; equals the base's index.
    pub applied: Index,
    /// Entries up to here were once in this log and may have been acknowledged, though they are not all here now.
    pub withheld_upto: Option<Index>,
    /// A vote may have been forgotten.
    pub withhold_votes: bool,
    /// The whole disk is lost, though this replica has promised things: see the page of `lost`. What log there is came since.
    pub disk_lost: bool,
    /// What stands for the log's beginning is not there any more: the machine is empty, whatever `applied` says.
    pub state_lost: bool,
    /// Campaign without waiting, if there never was a term.
    pub campaign_at_once: bool,
    /// For so long an earlier life may have promised to vote for nobody; see [`super::leases`].
    pub promised: Duration,
}

/// Parts that do not fit together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BootError {
    /// The base's configuration cannot be read.
    Membership,
    /// The entries do not follow the base.
    Gap {
        /// What came.
        found: EntryId,
        /// What it should have followed.
        after: EntryId,
    },
    /// An entry's configuration cannot be read.
    EntryMembership(EntryId),
    /// The machine has applied what the log does not reach, or less than the base.
    Applied {
        /// What the machine has applied.
        applied: Index,
        /// What stands for the log's beginning.
        base: EntryId,
        /// The log's end.
        last: EntryId,
    },
}

/// Names a proposal until it is accepted or refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProposalId(pub u64);

/// Names a read until it has an index or is dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadId(pub u64);

/// Names one transfer of a snapshot: unique for one leader's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SnapshotId(pub u64);

impl SnapshotId {
    /// No transfer's: a follower that lost its state asks with it for whatever its leader can send.
    pub const ANY: Self = Self(0);
}

/// What a snapshot holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SnapshotMeta {
    /// The last entry in it.
    pub id: EntryId,
    /// The encoded configuration in force there.
    pub membership: Bytes,
}

impl From<Base> for SnapshotMeta {
    fn from(base: Base) -> Self {
        Self { id: base.id, membership: base.membership }
    }
}

impl From<SnapshotMeta> for Base {
    fn from(meta: SnapshotMeta) -> Self {
        Self { id: meta.id, membership: meta.membership }
    }
}

/// What happens to a core.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message came.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// Put a command into the log.
    Propose {
        /// Its name.
        id: ProposalId,
        /// The command.
        data: Bytes,
    },
    /// What was proposed until now is waited for there, too: it hears of the commitment at once.
    Awaited {
        /// By this follower.
        by: NodeId,
    },
    /// Change the members to `target` (which is not joint).
    ChangeMembership {
        /// Its name.
        id: ProposalId,
        /// Voters and learners to be.
        target: Membership,
    },
    /// Hand the leadership over.
    Transfer {
        /// To whom.
        to: NodeId,
    },
    /// A linearizable read wants an index.
    Read {
        /// Its name.
        id: ReadId,
    },
    /// A write is durable.
    Written {
        /// The proof.
        proof: Durable,
    },
    /// The machine has reached an index.
    Applied {
        /// It.
        index: Index,
    },
    /// The state can stand for everything up to here.
    Compact {
        /// Here.
        upto: Index,
        /// Of what it stands for so many bytes are kept for followers that lag, and no more than [`Config::log_keep_bytes`]. Twice as
        /// many may wait for the machine.
        keep: usize,
    },
    /// A chunk that was wanted was read.
    SnapshotChunk {
        /// For whom.
        to: NodeId,
        /// Which transfer.
        snapshot: SnapshotId,
        /// What the snapshot holds.
        meta: SnapshotMeta,
        /// From 0 on.
        seq: u64,
        /// The bytes.
        data: Bytes,
        /// Nothing follows.
        last: bool,
    },
    /// A chunk that was wanted cannot be had; the transfer starts again.
    SnapshotFailed {
        /// For whom.
        to: NodeId,
        /// Which transfer.
        snapshot: SnapshotId,
    },
    /// A chunk that was handed out for installing is stored.
    ChunkStored {
        /// Of which snapshot.
        snapshot: SnapshotMeta,
        /// Which.
        seq: u64,
    },
    /// Installing failed; the transfer starts again.
    InstallFailed {
        /// Of which snapshot.
        snapshot: SnapshotMeta,
    },
    /// A snapshot is installed, and durable.
    Installed {
        /// What the state holds now.
        base: Base,
    },
    /// The connection to a peer is gone; what was under way may be lost.
    Unreachable {
        /// Which.
        peer: NodeId,
    },
    /// Of a group that rests: nothing was heard from the node of its leader for too long, or, of a leader, its own node stood still
    /// for so long that another may lead.
    Silent {
        /// The leader.
        peer: NodeId,
    },
    /// A connection to a peer is there (again).
    Reachable {
        /// Which.
        peer: NodeId,
    },
    /// Time has passed.
    Tick,
}

/// Why something was not done. What is refused is in no log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// This replica does not lead.
    NotLeader {
        /// Who does, as far as it knows.
        leader: Option<NodeId>,
    },
    /// Too much waits.
    Overloaded,
    /// The leadership is being handed over.
    Transferring,
    /// A change of members is under way, or none is allowed yet.
    ChangePending,
    /// A learner is not caught up.
    NotCaughtUp(NodeId),
    /// The configuration asked for makes no sense.
    Invalid,
}

/// A chunk that the core wants read from a snapshot of the state. The snapshot of a new id is one at or above the
/// applied index; it stays the same for all chunks of that id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkWanted {
    /// For whom.
    pub to: NodeId,
    /// Which transfer.
    pub snapshot: SnapshotId,
    /// From 0 on.
    pub seq: u64,
}

/// A chunk to be stored. After the last one the state is switched to the snapshot and made durable, then
/// [`Input::Installed`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstallChunk {
    /// What the snapshot holds.
    pub meta: SnapshotMeta,
    /// From 0 on.
    pub seq: u64,
    /// The bytes.
    pub data: Bytes,
    /// Nothing follows.
    pub last: bool,
}

/// By what the leader knew, after a read had come, that it still led.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Proof {
    /// These replicas, itself left out, answered a round of heartbeats that was sent after the read had come.
    Round(Arc<BTreeSet<NodeId>>),
    /// Its lease held.
    Lease,
}

impl Default for Proof {
    fn default() -> Self {
        Self::Round(Arc::default())
    }
}

/// A read that has its index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadReady {
    /// Its name.
    pub id: ReadId,
    /// It may be served once this is applied.
    pub index: Index,
    /// Why.
    pub proof: Proof,
}

/// What a replica is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it could win.
    PreCandidate,
    /// Campaigns.
    Candidate,
    /// Leads.
    Leader,
}

/// A change of role, leader or term, with its reason for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleChange {
    /// What it is now.
    pub role: Role,
    /// In which term.
    pub term: Term,
    /// Whom it follows, itself for a leader.
    pub leader: Option<NodeId>,
    /// Why.
    pub reason: &'static str,
    /// It was not leader of this term before.
    pub(super) won: bool,
}

impl RoleChange {
    /// Whether this is the moment at which the replica began to lead.
    pub fn became_leader(&self) -> bool {
        self.won
    }
}

/// All that a drain hands out. The driver takes what is in it and hands it in again.
#[derive(Clone, Default, Debug)]
pub struct Outbox {
    /// For the journal.
    pub write: Option<Append>,
    /// To be sent once their write is durable.
    pub after_write: Vec<Held<(NodeId, Message)>>,
    /// To be sent now.
    pub send: Vec<(NodeId, Message)>,
    /// Committed, and durable here: for the machine, in order, each exactly once in this life.
    pub apply: Vec<Entry>,
    /// What is known to be committed.
    pub commit: Index,
    /// Reads with the index that must be applied first.
    pub reads: Vec<ReadReady>,
    /// Reads that got no index.
    pub dropped_reads: Vec<(ReadId, Refusal)>,
    /// Proposals with their place in the log.
    pub accepted: Vec<(ProposalId, EntryId)>,
    /// Proposals that are in no log.
    pub refused: Vec<(ProposalId, Refusal)>,
    /// Chunks to be read.
    pub chunks: Vec<ChunkWanted>,
    /// Chunks to be stored, in order.
    pub install: Vec<InstallChunk>,
    /// The last change of role since the last drain.
    pub role: Option<RoleChange>,
    /// A promise was broken somewhere: the core has stopped, and the node should too.
    pub broken: Option<String>,
}

impl Outbox {
    /// Whether there is nothing in it to be carried out.
    pub fn is_empty(&self) -> bool {
        let Self { write, after_write, send, apply, commit: _, reads, dropped_reads, .. } = self;
        let Self { accepted, refused, chunks, install, role, broken, .. } = self;
        write.is_none()
            && role.is_none()
            && broken.is_none()
            && (after_write.is_empty() && send.is_empty() && apply.is_empty() && reads.is_empty())
            && (dropped_reads.is_empty() && accepted.is_empty() && refused.is_empty())
            && (chunks.is_empty() && install.is_empty())
    }
}
