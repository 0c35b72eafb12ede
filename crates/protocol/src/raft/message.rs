//! What replicas say to each other: one variant a kind, each with its own fields.

use super::{Proof, SnapshotId, SnapshotMeta};
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Entry, EntryId, Index, Term};

/// A message. Each carries the sender's term, but a pre-vote, which carries the term that its sender would campaign in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// "May I lead?" With `pre`, only a question: neither side changes its term (dissertation, 9.6).
    RequestVote {
        /// The term to lead in.
        term: Term,
        /// Only asking.
        pre: bool,
        /// The leader itself asked the sender to campaign: stickiness does not apply (dissertation, 3.10).
        transfer: bool,
        /// The end of the sender's log.
        last: EntryId,
    },
    /// The answer. A refusal carries the voter's own term, so that a sender that is behind learns it.
    Vote {
        /// As above.
        term: Term,
        /// To a pre-vote.
        pre: bool,
        /// Yes.
        granted: bool,
        /// A yes of a replica that may have forgotten entries: it counts only where every voter says yes.
        withheld: bool,
    },
    /// Entries behind `prev`.
    Append {
        /// The leader's term.
        term: Term,
        /// What the follower must hold already.
        prev: EntryId,
        /// The entries.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
    },
    /// "My durable log equals yours up to here."
    Appended {
        /// The follower's term.
        term: Term,
        /// Up to here.
        matched: Index,
    },
    /// "I do not hold `prev`", or, with a higher term, "you lead no longer".
    AppendRejected {
        /// The follower's term.
        term: Term,
        /// The index of the `prev` that was refused.
        prev: Index,
        /// The last place where the logs may still agree.
        hint: EntryId,
    },
    /// "I lead." Small, so that a lane can put many groups' into one packet.
    Heartbeat {
        /// The leader's term.
        term: Term,
        /// At most what the follower is known to hold.
        commit: Index,
        /// The newest read round; with leases the number of these heartbeats.
        round: u64,
        /// Vote for nobody for so long; zero for nothing. See [`super::leases`].
        lease: Duration,
    },
    /// "You lead, as far as I know." Needs no flush.
    HeartbeatResponse {
        /// The follower's term.
        term: Term,
        /// The round that was asked.
        round: u64,
        /// Its votes are conditional, as it may have forgotten entries.
        withheld: bool,
        /// It has promised what was asked.
        promised: bool,
        /// "My disk is lost: has anybody gone beyond your term?", with its name for this life. See the page of `lost`.
        asks: Option<u64>,
    },
    /// "This much is committed." Wants no answer.
    Commit {
        /// The leader's term.
        term: Term,
        /// At most what the follower is known to hold.
        commit: Index,
    },
    /// A follower asks for a read index, for all reads that wait there.
    ReadIndex {
        /// The follower's term.
        term: Term,
        /// Its name for this question, unique over restarts.
        context: u64,
    },
    /// The answer: reads may be served once this is applied; none if the leader cannot say now.
    ReadIndexResponse {
        /// The leader's term.
        term: Term,
        /// The follower's name for the question.
        context: u64,
        /// The index.
        index: Option<Index>,
        /// By what the leader knew that it led.
        proof: Proof,
    },
    /// "Campaign now."
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// One chunk of a snapshot.
    SnapshotChunk {
        /// The leader's term.
        term: Term,
        /// Which transfer.
        snapshot: SnapshotId,
        /// What it holds.
        meta: SnapshotMeta,
        /// From 0 on.
        seq: u64,
        /// The bytes.
        data: Bytes,
        /// Nothing follows.
        last: bool,
    },
    /// "The next chunk I want."
    SnapshotWant {
        /// The follower's term.
        term: Term,
        /// Which transfer.
        snapshot: SnapshotId,
        /// From 0 on.
        seq: u64,
    },
    /// "Enough of us were in my term when you had asked." See the page of `lost`.
    TermVouched {
        /// The leader's term.
        term: Term,
        /// Who asked.
        life: u64,
    },
    /// "There is nothing to do: rest with me." See the page of `rest`.
    Rest {
        /// The leader's term.
        term: Term,
        /// The end of its log, all of which is committed.
        upto: Index,
    },
    /// "I rest."
    Rested {
        /// The follower's term.
        term: Term,
        /// What was asked.
        upto: Index,
    },
}

impl Message {
    /// The term it carries.
    pub const fn term(&self) -> Term {
        match self {
            Self::RequestVote { term, .. }
            | Self::Vote { term, .. }
            | Self::Append { term, .. }
            | Self::Appended { term, .. }
            | Self::AppendRejected { term, .. }
            | Self::Heartbeat { term, .. }
            | Self::HeartbeatResponse { term, .. }
            | Self::Commit { term, .. }
            | Self::ReadIndex { term, .. }
            | Self::ReadIndexResponse { term, .. }
            | Self::TimeoutNow { term }
            | Self::SnapshotChunk { term, .. }
            | Self::SnapshotWant { term, .. }
            | Self::TermVouched { term, .. }
            | Self::Rest { term, .. }
            | Self::Rested { term, .. } => *term,
        }
    }

    /// Only a leader of its term sends it.
    pub const fn from_leader(&self) -> bool {
        matches!(
            self,
            Self::Append { .. }
                | Self::Heartbeat { .. }
                | Self::Commit { .. }
                | Self::SnapshotChunk { .. }
                | Self::TimeoutNow { .. }
                | Self::ReadIndexResponse { .. }
                | Self::TermVouched { .. }
                | Self::Rest { .. }
        )
    }

    /// It says something about the sender's log that must be on its disk first.
    pub const fn promises_log(&self) -> bool {
        matches!(self, Self::Appended { .. })
    }
}
