//! What a lane wants done by whoever drives it.

use super::{Broken, Export, Reading};
use crate::applier::{Cut, Work};
use crate::watch::CatchUp;
use bytes::Bytes;
use quorate_base::{Append, NodeId, ShardId};
use quorate_clock::Hlc;
use quorate_protocol::raft::RoleChange;

/// What a lane wants done, gathered over one drain. The driver empties it and hands it in again.
#[derive(Default)]
pub struct Effects {
    /// For the journal, in order.
    pub journal: Vec<Append>,
    /// For the peers, one body each.
    pub packets: Vec<(NodeId, Bytes)>,
    /// For the applier, in order.
    pub work: Vec<Work>,
    /// Chunks of snapshots to be read from views, on a background thread.
    pub exports: Vec<Export>,
    /// Large reads, for the readers' threads.
    pub reads: Vec<Reading>,
    /// History for watches that fell behind, for a thread that is not busy with large reads.
    pub catch_ups: Vec<CatchUp>,
    /// Give the room of the state back, on the background thread, for each of these; then [`super::Event::Defragmented`].
    pub defragment: Vec<u64>,
    /// A sweep is through, and so many bytes of the state are needed: give room back if it is worth it, and then let the applier
    /// settle (by number 0) and seal.
    pub tidy: Option<u64>,
    /// To be made durable, then [`super::Event::ClockNoted`]: no reading of the hybrid clock is given out above what was.
    pub clock: Option<Hlc>,
    /// Role changes, for the log.
    pub roles: Vec<(ShardId, RoleChange)>,
    /// The space has outgrown its quota, and an alarm is asked for: its bytes, for the log.
    pub outgrown: Option<i64>,
    /// Peers of whose packets a part could not be read, once a packet.
    pub malformed: Vec<NodeId>,
    /// The node cannot go on.
    pub broken: Option<Broken>,
}

/// A checkpoint to be made: run the job, let the journal record the bases, then [`super::Event::Checkpointed`] to the lane and
/// [`Work::Checkpointed`] to the applier.
pub struct Seal {
    /// The work.
    pub job: Box<dyn quorate_storage::state::CheckpointJob>,
    /// Its number.
    pub generation: u64,
    /// What it holds, which the journal has to record; goes back in [`super::Event::Checkpointed`].
    pub cut: Cut,
}
