//! The words of [`super`]: names of transactions, votes, locks, records, commands and answers.

use quorate_base::{Index, NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// Names one attempt of one transaction. Ordered by gateway, then as the gateway began them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TxnId {
    /// The node whose gateway took the request.
    pub node: NodeId,
    /// Which life of that node: the meta group gives each start a higher one.
    pub boot: u64,
    /// Which request of that life, from 1.
    pub sequence: u64,
    /// Which attempt of that request, from 1. An attempt begins only once the one before is aborted.
    pub attempt: u32,
}

/// Where a request stands in the lives of its gateway.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Place {
    /// Which life.
    pub boot: u64,
    /// Which request of that life.
    pub sequence: u64,
}

/// What wait-die goes by: when the request's first attempt began, then its name. The smaller is the older.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Priority {
    /// A hybrid logical clock's reading. If it is wrong, somebody waits longer; nothing else rests on it.
    pub began: u64,
    node: NodeId,
    place: Place,
}

impl TxnId {
    /// Its request's place in the lives of its gateway.
    pub fn place(&self) -> Place {
        Place { boot: self.boot, sequence: self.sequence }
    }

    /// The priority of all attempts of a request that began at this time.
    pub fn priority(&self, began: u64) -> Priority {
        Priority { began, node: self.node, place: self.place() }
    }
}

/// How a key is locked. Declared with the operations, and held from the vote to the outcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mode {
    /// It is only looked at: others may look too.
    Shared,
    /// It is written.
    Exclusive,
}

/// Who holds a key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Lock {
    /// These look at it.
    Shared(BTreeSet<TxnId>),
    /// This one is about to write it.
    Exclusive(TxnId),
}

/// Why a participant will never say Yes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum No<R> {
    /// This one holds a key.
    Conflict(TxnId),
    /// Somebody asked for an end before there was a vote.
    Refused,
    /// An operation cannot be done: its condition is false, or it makes no sense.
    Reason(R),
}

impl<R> No<R> {
    /// Another attempt may fare better.
    pub fn is_passing(&self) -> bool {
        !matches!(self, No::Reason(_))
    }
}

/// A participant's vote. Once it is in the shard's log, it never changes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Vote<R> {
    /// Its keys are locked and what it would write is stored: it can do its part, whatever happens.
    Yes,
    /// It never will.
    No(No<R>),
}

/// What became of a transaction: a function of the votes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// All voted Yes.
    Commit,
    /// Somebody voted No.
    Abort,
}

/// What a participant knows of a transaction, from its vote until it may forget.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Record<K, I, R> {
    /// It voted No, or was refused.
    No(No<R>),
    /// It voted Yes and has not heard the outcome.
    Yes(Prepared<K, I>),
    /// It voted Yes and has applied the outcome.
    Over(Outcome),
}

impl<K, I, R: Clone> Record<K, I, R> {
    /// The vote.
    pub fn vote(&self) -> Vote<R> {
        match self {
            Record::No(why) => Vote::No(why.clone()),
            Record::Yes(_) | Record::Over(_) => Vote::Yes,
        }
    }
}

/// What a participant holds for a transaction between its Yes and the outcome.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Prepared<K, I> {
    /// Where its Prepare stands in the log: the version of all that it writes.
    pub at: Index,
    /// When its first attempt began.
    pub began: u64,
    /// All participants, this one too: whom anyone may ask for the outcome.
    pub participants: Vec<ShardId>,
    /// The locks.
    pub held: Vec<(K, Mode)>,
    /// The intents: what its keys will hold if it commits.
    pub images: I,
}

/// What a participant knows of a gateway whose transactions it has forgotten.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Gate {
    /// The low-water mark of each life: whatever it numbered so, or lower, is over at all its participants.
    pub marks: BTreeMap<u64, u64>,
    /// A transaction of an earlier life than this that has no vote here gets none any more.
    pub fence: u64,
    /// All of earlier lives than this is over everywhere.
    pub closed: u64,
}

impl Gate {
    /// Whether all participants have applied the outcome.
    pub fn is_over(&self, id: &TxnId) -> bool {
        id.boot < self.closed || self.marks.get(&id.boot).is_some_and(|mark| id.sequence <= *mark)
    }
}

/// What the log of a participant carries. `O` are the operations of one shard.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Command<O> {
    /// Vote, and hold what a Yes needs.
    Prepare(Prepare<O>),
    /// If there is no vote yet, it is No.
    Refuse {
        /// Of this transaction.
        id: TxnId,
        /// Who stands in its way, if that is why.
        because: Option<TxnId>,
    },
    /// Do what was voted for, or drop it.
    Outcome {
        /// Of this transaction.
        id: TxnId,
        /// What the votes came to.
        outcome: Outcome,
    },
    /// All of a transaction whose keys are in one shard, in one entry: a plain write is one of these.
    Execute(O),
    /// See [`Gate::fence`].
    Fence {
        /// The gateway.
        node: NodeId,
        /// Its life that has begun.
        boot: u64,
    },
    /// See [`Gate::marks`].
    Forget {
        /// The gateway.
        node: NodeId,
        /// Up to here, of that life.
        upto: Place,
    },
    /// See [`Gate::closed`].
    Close {
        /// The gateway.
        node: NodeId,
        /// Its first life that is not over.
        boot: u64,
    },
}

/// One participant's part of a transaction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prepare<O> {
    /// Which attempt.
    pub id: TxnId,
    /// When its first attempt began.
    pub began: u64,
    /// All participants.
    pub participants: Vec<ShardId>,
    /// What this one is to do.
    pub ops: O,
}

/// What a participant answers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Answer<R> {
    /// Its vote; to `Execute`, whether it was done.
    Vote(Vote<R>),
    /// To a question: there is no vote yet.
    Missing,
    /// The transaction stands at or below the low-water mark: all its participants have applied its outcome.
    Over,
    /// An outcome, a fence or a mark is applied.
    Settled,
    /// To a question: the transactions of lives before a fence that have voted Yes and know no outcome.
    Undecided(Vec<(TxnId, Vec<ShardId>)>),
}

/// Real bugs of the field, to be planted: each names the rule that it breaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mutant {
    /// A leader answers with its vote before the Prepare is in the log (horizontal-scaling-convex#101).
    VoteInMemory,
    /// A refusal is answered before it is in the log.
    RefuseNotDurable,
    /// A participant that voted Yes and hears nothing takes it for aborted (btm#59).
    PresumedAbort,
    /// The low-water mark rises once one participant has applied the outcome.
    ForgetTooEarly,
    /// A Prepare at or below the low-water mark is voted on.
    LatePrepareReruns,
    /// Whoever reads a key with an intent gets what was there before, without asking.
    IntentReadsOld,
    /// Two readings that found nothing count as one version.
    AbsentWithoutVersion,
    /// A key that is only looked at is not locked (PostgreSQL 12.3: an antidependency that is missed).
    ChecksNotLocked,
    /// Shared locks are kept by the leader alone.
    SharedLockLost,
    /// The token is written behind the transaction, not with it (`MongoDB` 4.2.6, SERVER-48307).
    TokenOutside,
    /// A snapshot carries no locks.
    LocksNotInSnapshot,
    /// Another attempt begins while the last may still commit (jetcd 0.8.2: what may have been done is done again).
    RetryBeforeAbort,
}

impl Mutant {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 12] = [
        ("vote-in-memory", Self::VoteInMemory),
        ("refuse-not-durable", Self::RefuseNotDurable),
        ("presumed-abort-by-timeout", Self::PresumedAbort),
        ("forget-too-early", Self::ForgetTooEarly),
        ("late-prepare-reruns", Self::LatePrepareReruns),
        ("intent-read-returns-pre-image-after-ack", Self::IntentReadsOld),
        ("absent-without-version", Self::AbsentWithoutVersion),
        ("checks-not-locked", Self::ChecksNotLocked),
        ("shared-lock-lost-on-leader-change", Self::SharedLockLost),
        ("token-outside-transaction", Self::TokenOutside),
        ("lock-set-not-in-snapshot", Self::LocksNotInSnapshot),
        ("retry-before-abort", Self::RetryBeforeAbort),
    ];

    /// The mutant of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|&(_, m)| m)
    }
}

/// Whether a planted bug is chosen. Without the feature this is `false` to the compiler.
pub fn mutant(chosen: Option<Mutant>, which: Mutant) -> bool {
    cfg!(feature = "mutants") && chosen == Some(which)
}
