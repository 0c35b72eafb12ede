//! The answer to a policy: what keeps it, what it costs, and what is given up, said aloud.
//!
//! Numbers stand beside the words, so that a test can hold a plan to what is possible, and a program can read it.

use crate::ask::{Consistency, OnPartition, Partitioning, Policy};
use crate::decide::{Decision, decide};
use crate::mechanism::Mechanism;
use crate::price;
use crate::rule::Rule;
use crate::ways::{Refusal, refusal};
use std::time::Duration;

/// What a policy comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the space promises.
    pub promise: Consistency,
    /// Over what the promise holds, and for whom.
    pub scope: String,
    /// What keeps it.
    pub mechanism: Mechanism,
    /// The mechanism and the partitioning, in a line.
    pub headline: String,
    /// Copies of each item (N).
    pub copies: u8,
    /// Replicas that hold a write on disk before its reply (W), at least.
    pub write_quorum: u8,
    /// Replicas that take part in a read that keeps the promise (R).
    pub read_quorum: u8,
    /// Failed nodes with which the space still serves.
    pub survives: u8,
    /// Nodes that the cluster needs, at least.
    pub nodes: u8,
    /// What the sides of a partition do.
    pub on_partition: OnPartition,
    /// How keys are divided.
    pub partition_by: Partitioning,
    /// How old an answer may be that may be old.
    pub staleness: Option<Duration>,
    /// Its class.
    pub pacelc: Pacelc,
    /// What each kind of operation waits for.
    pub operations: Vec<Operation>,
    /// What each side of a partition can do.
    pub sides: Vec<Side>,
    /// What loses a confirmed write.
    pub losses: Losses,
    /// What it costs in copies, messages and processor time.
    pub cost: Cost,
    /// What cannot be had with it.
    pub gives_up: Vec<String>,
    /// What must hold for the promise to hold.
    pub assumes: Vec<String>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
    /// Why it came out so, a step a line.
    pub reasons: Vec<String>,
    /// The theorems and rules that shaped it.
    pub rules: Vec<Rule>,
    /// What of the product it stands on.
    pub needs: Vec<Part>,
}

impl Plan {
    /// What it needs and this release does not have; empty if it can be had now.
    pub fn missing(&self) -> Vec<Part> {
        self.needs.iter().copied().filter(|part| !Part::BUILT.contains(part)).collect()
    }
}

/// The class of Abadi's PACELC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pacelc {
    /// Under a partition: availability (else consistency).
    pub available: bool,
    /// Else: latency (else consistency).
    pub latency: bool,
    /// What the letters mean here.
    pub words: String,
}

impl Pacelc {
    /// `PA/EL`, `PC/EC` and so on.
    pub const fn letters(&self) -> &'static str {
        match (self.available, self.latency) {
            (true, true) => "PA/EL",
            (true, false) => "PA/EC",
            (false, true) => "PC/EL",
            (false, false) => "PC/EC",
        }
    }
}

/// A count for the usual case, and for the worst without failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Nobody is in the way.
    pub usual: u8,
    /// Others write the same key.
    pub worst: u8,
}

impl Span {
    pub(crate) const fn always(count: u8) -> Self {
        Self { usual: count, worst: count }
    }
}

/// What one kind of operation waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which operation.
    pub what: String,
    /// Round trips between replicas before the reply; nothing if it is refused.
    pub rounds: Option<Span>,
    /// One more round trip if the asked node is not the one that serves it: its leader, its primary, or a holder of a
    /// copy.
    pub forwarded: bool,
    /// Flushes that follow one another before the reply.
    pub flushes: Span,
    /// Disks that are flushed for it in all, the later ones included.
    pub disks: u8,
    /// In words.
    pub waits_for: String,
}

/// How far a side of a partition serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// As promised.
    Kept,
    /// Only for operations that ask for less than the promise, and are told so.
    Weaker,
    /// With an error.
    Refused,
}

impl Service {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kept => "yes",
            Self::Weaker => "old values only",
            Self::Refused => "refused",
        }
    }
}

/// A side of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Which side, in words.
    pub who: String,
    /// It reaches from so many replicas of a shard …
    pub least: u8,
    /// … to so many.
    pub most: u8,
    /// At most one side can be this one, whatever the counts say.
    pub only_one: bool,
    /// Whether it writes.
    pub writes: Service,
    /// Whether it reads.
    pub reads: Service,
    /// What is to be said besides; may be empty.
    pub note: String,
}

/// What loses a confirmed write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Losses {
    /// Disks that must be lost for it, at least.
    pub disks: u8,
    /// True if a failover can lose one without a lost disk.
    pub failover: bool,
    /// True if another write can drop it (last writer wins).
    pub overwritten: bool,
    /// In words, a case a line.
    pub words: Vec<String>,
}

/// What it costs against one copy that nobody replicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Copies on disk.
    pub copies: u8,
    /// Messages between replicas for a write.
    pub write_messages: Span,
    /// Messages between replicas for a read that keeps the promise.
    pub read_messages: Span,
    /// In words, a point a line.
    pub words: Vec<String>,
}

/// A part of the product that a plan stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// One shard that raft replicates.
    Raft,
    /// Spaces beside the key-value space, with a policy of their own.
    Spaces,
    /// More than one shard a space.
    Shards,
    /// Transactions across shards.
    Transactions,
    /// Session tokens.
    Sessions,
    /// Reads with a bound on staleness.
    BoundedReads,
    /// Leaderless replicas.
    Leaderless,
    /// Compare-and-set by Paxos.
    Paxos,
    /// Primary and backups.
    Primary,
}

impl Part {
    /// What this release has. A part is added here with the change that brings it.
    pub const BUILT: &'static [Self] =
        &[Self::Raft, Self::Spaces, Self::Shards, Self::Transactions, Self::BoundedReads];

    /// Its name in a sentence.
    pub const fn said(self) -> &'static str {
        match self {
            Self::Raft => "one shard replicated by raft",
            Self::Spaces => "spaces with a policy of their own",
            Self::Shards => "spaces of several shards",
            Self::Transactions => "transactions across shards",
            Self::Sessions => "session tokens",
            Self::BoundedReads => "reads with a bound on staleness",
            Self::Leaderless => "leaderless replication",
            Self::Paxos => "compare-and-set on leaderless tables",
            Self::Primary => "primary-backup replication",
        }
    }
}

/// Policy → plan, or what stands against it and the ways out.
pub fn plan(policy: &Policy) -> Result<Plan, Refusal> {
    match decide(policy) {
        Ok(decision) => Ok(price(policy, &decision)),
        Err(contradictions) => Err(refusal(policy, contradictions)),
    }
}

fn price(policy: &Policy, d: &Decision) -> Plan {
    let m = d.mechanism;
    Plan {
        promise: d.promise,
        scope: price::scope(d),
        mechanism: m,
        headline: price::headline(d),
        copies: m.copies(),
        write_quorum: m.write_quorum(),
        read_quorum: m.read_quorum(d.promise),
        survives: m.survives(),
        nodes: price::nodes(m),
        on_partition: d.on_partition,
        partition_by: d.partition_by,
        staleness: d.staleness,
        pacelc: price::pacelc(d),
        operations: price::operations(d),
        sides: price::sides(d),
        losses: price::losses(d),
        cost: price::cost(d),
        gives_up: price::gives_up(d),
        assumes: price::assumes(d),
        notes: price::notes(policy, d),
        reasons: price::reasons(policy, d),
        rules: price::rules(d),
        needs: price::needs(d),
    }
}
