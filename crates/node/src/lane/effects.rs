//! What a lane wants done, and why it may end its node.

use super::{CatchUp, Export, Reading};
use crate::applier::Work;
use bytes::Bytes;
use quorate_base::{Append, Base, NodeId};
use quorate_protocol::raft::RoleChange;
use quorate_state::kv::KvView;
use quorate_storage::state::StateError;
use std::sync::Arc;

/// Why a node cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// In words.
    pub why: String,
    /// A read of the state failed: the next start must set it aside.
    pub state_damaged: bool,
}

impl Broken {
    /// The journal failed, or a promise was broken.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), state_damaged: false }
    }

    /// The state failed.
    pub fn state(doing: &str, error: &StateError) -> Self {
        Self { why: format!("{doing} failed: {error}"), state_damaged: error.damaged }
    }
}

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
    /// Checkpoint jobs: run them, let the journal record the base, then [`Event::Checkpointed`](super::Event::Checkpointed) here and
    /// [`Work::Checkpointed`] to the applier.
    pub seals: Vec<Seal>,
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
    /// Goes back in [`Event::Checkpointed`](super::Event::Checkpointed).
    pub installed: Option<Arc<KvView>>,
}
