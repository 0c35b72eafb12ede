//! What plans have the world call them for.

use quorate_base::NodeId;

/// What a plan does at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// A process of the workload takes its next step.
    Client(usize),
    /// The nemesis of a round takes its next step.
    Nemesis(u64),
    /// The nemesis of the disks of a round takes its next step.
    Disks(u64),
    /// A disk is copied, or put back to an old copy, in a round.
    Copies(u64),
    /// A node to which replicas move is kept apart, in a round.
    Strand(u64),
    /// A machine stands still, in a round.
    Machines(u64),
    /// A wall clock is set, in a round.
    Clocks(u64),
    /// A succession of a round takes its next step, or begins.
    Succession(u64),
    /// A watcher looks at its stream.
    Watcher(usize),
    /// A node that went down comes back.
    Start(NodeId),
    /// A new leader is harmed.
    HarmLeader(NodeId),
    /// One that has voted is harmed.
    HarmVoter(NodeId),
    /// One that has replaced entries of its log is harmed.
    HarmRewriter(NodeId),
    /// One whose disk has failed a flush is harmed.
    HarmFlusher(NodeId),
    /// A node's links are mended.
    Rejoin(NodeId),
    /// Members come and go.
    Members,
}
