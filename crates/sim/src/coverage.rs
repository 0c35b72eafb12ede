//! What a run can do: the names of all that is counted, so that what was never reached can be named.

use crate::knobs::Counts;
use quorate_protocol::raft::{Message, Role};

/// All names under which anything is counted.
pub const EVERYTHING: &[&str] = &[
    "batches of history",
    "bits flipped",
    "bits flipped in checkpoints",
    "bounded reads",
    "bounded reads passed on",
    "bursts of writes",
    "changes of members in doubt or not begun",
    "changes of members refused",
    "checkpoints",
    "compactions",
    "damage named",
    "deletions of tables that waited",
    "disks copied",
    "disks filled",
    "disks lost",
    "disks put back to old copies",
    "elections won",
    "elections won in other groups",
    "entries replaced",
    "flushes failed",
    "gateways lost as they answered",
    "histories of items that hold",
    "isolations",
    "items put again near their end",
    "items read as pages",
    "items taken away by time",
    "items that have ended",
    "kills",
    "large reads",
    "leaders moved",
    "leaders succeeded unawares",
    "leaderships to be handed over",
    "learners promoted",
    "leases asked for their keys",
    "linearizable reads of parts of a list",
    "links cut",
    "lists",
    "lost disks healed",
    "machines that stood still",
    "members added",
    "members moved",
    "members removed",
    "message Append",
    "message AppendRejected",
    "message Appended",
    "message Commit",
    "message Heartbeat",
    "message HeartbeatResponse",
    "message PreVote",
    "message ReadIndex",
    "message ReadIndexResponse",
    "message RequestPreVote",
    "message RequestVote",
    "message Rest",
    "message Rested",
    "message SnapshotChunk",
    "message SnapshotWant",
    "message TermVouched",
    "message TimeoutNow",
    "message Vote",
    "moves given up that went to who was removed",
    "moves given up that went to who was silent",
    "moves of replicas begun",
    "moves of replicas called off",
    "moves of replicas finished",
    "moves of replicas finished under another leader",
    "moves of replicas turned elsewhere",
    "moves that parted replicas in one zone",
    "names undone",
    "nodes left alone with what moves to them",
    "new leaders harmed",
    "nodes drained",
    "nodes that heard little by little what they had missed",
    "nodes that are to leave or to stay",
    "nodes that joined",
    "notes of tenants copied",
    "one-way isolations",
    "operations in doubt or refused",
    "packets cut",
    "packets doubled",
    "packets lost",
    "packets of lost disks",
    "packets of strangers",
    "pages",
    "pages of several lists",
    "pauses",
    "power losses",
    "power lost behind a checkpoint",
    "power lost behind a failed flush",
    "power lost between two effects",
    "reads failed",
    "reads of old revisions",
    "reads at leaders that were succeeded",
    "reads that met transactions",
    "reads under a lease",
    "refused as compacted",
    "refused by a node without its state",
    "refused to start",
    "removed nodes that stopped",
    "removed nodes told so",
    "role changes",
    "role changes in other groups",
    "role: candidate to follower",
    "role: candidate to leader",
    "role: candidate to pre-candidate",
    "role: follower to candidate",
    "role: follower to pre-candidate",
    "role: leader to follower",
    "role: pre-candidate to candidate",
    "role: pre-candidate to follower",
    "serializable reads",
    "snapshot chunks",
    "starts",
    "states lost",
    "steps with a table that is deleted",
    "steps with leases",
    "steps with tables",
    "steps with tables in doubt or refused",
    "stopped by its disk",
    "tables deleted",
    "tables made to be deleted",
    "tenants moved",
    "tenants that were not sealed for ever",
    "tokens refused",
    "tokens taken",
    "transactions over shards cancelled",
    "transactions over shards committed",
    "transactions over shards in doubt",
    "transactions over shards recovered",
    "unflushed writes lost",
    "unflushed writes torn",
    "wall clocks set backwards",
    "wall clocks set forwards",
    "watches begun",
    "watches resumed",
    "watches told of a compaction",
    "writes misplaced",
    "writes that found no room",
];

/// What is counted and is no aim: it is not missed where it was never reached.
const NO_AIM: &[&str] =
    &["groups left without a leader, beyond what is promised", "histories of items not decided"];

/// The name of a step from one role to another.
pub(crate) fn transition(from: Role, to: Role) -> Option<&'static str> {
    Some(match (from, to) {
        (Role::Follower, Role::PreCandidate) => "role: follower to pre-candidate",
        (Role::Follower, Role::Candidate) => "role: follower to candidate",
        (Role::PreCandidate, Role::Follower) => "role: pre-candidate to follower",
        (Role::PreCandidate, Role::Candidate) => "role: pre-candidate to candidate",
        (Role::Candidate, Role::Follower) => "role: candidate to follower",
        (Role::Candidate, Role::PreCandidate) => "role: candidate to pre-candidate",
        (Role::Candidate, Role::Leader) => "role: candidate to leader",
        (Role::Leader, Role::Follower) => "role: leader to follower",
        _ => return None,
    })
}

/// Names of faults that are counted where they took effect.
const FAULTS: &[&str] = &[
    "bits flipped",
    "bits flipped in checkpoints",
    "disks lost",
    "disks put back to old copies",
    "flushes failed",
    "isolations",
    "kills",
    "links cut",
    "one-way isolations",
    "pauses",
    "power losses",
    "writes misplaced",
    "writes that found no room",
];

/// The kinds of messages.
pub(crate) const MESSAGES: [&str; 18] = [
    "message RequestPreVote",
    "message RequestVote",
    "message PreVote",
    "message Vote",
    "message Append",
    "message Appended",
    "message AppendRejected",
    "message Heartbeat",
    "message HeartbeatResponse",
    "message Commit",
    "message ReadIndex",
    "message ReadIndexResponse",
    "message TimeoutNow",
    "message SnapshotChunk",
    "message SnapshotWant",
    "message TermVouched",
    "message Rest",
    "message Rested",
];

/// The place of a kind of messages in [`MESSAGES`].
pub(crate) fn message(message: &Message) -> usize {
    match message {
        Message::RequestVote { pre: true, .. } => 0,
        Message::RequestVote { .. } => 1,
        Message::Vote { pre: true, .. } => 2,
        Message::Vote { .. } => 3,
        Message::Append { .. } => 4,
        Message::Appended { .. } => 5,
        Message::AppendRejected { .. } => 6,
        Message::Heartbeat { .. } => 7,
        Message::HeartbeatResponse { .. } => 8,
        Message::Commit { .. } => 9,
        Message::ReadIndex { .. } => 10,
        Message::ReadIndexResponse { .. } => 11,
        Message::TimeoutNow { .. } => 12,
        Message::SnapshotChunk { .. } => 13,
        Message::SnapshotWant { .. } => 14,
        Message::TermVouched { .. } => 15,
        Message::Rest { .. } => 16,
        Message::Rested { .. } => 17,
    }
}

impl Counts {
    /// How many faults took effect. (Packets that were lost, doubled or late are none.)
    pub fn faults(&self) -> u64 {
        FAULTS.iter().filter_map(|name| self.0.get(name)).sum()
    }

    /// What never fired.
    pub fn missing(&self) -> Vec<&'static str> {
        EVERYTHING.iter().copied().filter(|name| !self.0.contains_key(name)).collect()
    }

    /// What is counted and has no name in the list: a hole in it.
    pub fn unlisted(&self) -> Vec<&'static str> {
        self.0.keys().copied().filter(|name| !EVERYTHING.contains(name) && !NO_AIM.contains(name)).collect()
    }
}
