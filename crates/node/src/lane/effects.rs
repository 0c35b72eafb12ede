//! What a lane wants done by whoever drives it.

use super::{Broken, Export, Reading};
use crate::applier::Work;
use crate::watch::CatchUp;
use bytes::Bytes;
use quorate_base::{Append, Base, NodeId};
use quorate_protocol::raft::RoleChange;
use quorate_state::kv::KvView;
use std::sync::Arc;

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
    /// Checkpoint jobs: run them, let the journal record the base, then [`super::Event::Checkpointed`] here and
    /// [`Work::Checkpointed`] to the applier.
    pub seals: Vec<Seal>,
    /// Give the room of the state back, on the background thread, for each of these; then [`super::Event::Defragmented`].
    pub defragment: Vec<u64>,
    /// A sweep is through, and so many bytes of the state are needed: give room back if it is worth it, and then let the applier
    /// settle (by number 0) and seal.
    pub tidy: Option<u64>,
    /// Role changes, for the log.
    pub roles: Vec<RoleChange>,
    /// Peers of whose packets a part could not be read, once a packet.
    pub malformed: Vec<NodeId>,
    /// The node cannot go on.
    pub broken: Option<Broken>,
}

/// A checkpoint to be made.
pub struct Seal {
    /// The work.
    pub job: Box<dyn quorate_storage::state::CheckpointJob>,
    /// Its number.
    pub generation: u64,
    /// What the journal has to record.
    pub base: Base,
    /// Goes back in [`super::Event::Checkpointed`].
    pub installed: Option<Arc<KvView>>,
}
