//! Snapshots on their way out: chunks are read from one view, on a background thread, as the core asks for them.
//!
//! A snapshot is a view that was current when the core first asked; it stays until its peer has it all, starts again,
//! or has not been heard for long.
//! The cursor behind each chunk is kept, so that a chunk that was lost is read again from the same view. The core asks for
//! one chunk at a time and peer, so that nothing piles up while the thread that reads them makes a checkpoint. Those of replicas that
//! move wait for their turn ([`super::pace`]).

use bytes::Bytes;
use quorate_base::{Base, NodeId, ShardId};
use quorate_protocol::raft::{ChunkWanted, Input, SnapshotId, SnapshotMeta};
use quorate_state::kv::KvView;
use quorate_storage::state::{StateError, StateResult};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How large a chunk is at most, about.
const CHUNK_BYTES: usize = 1 << 20;

/// A chunk to be read.
pub struct Export {
    shard: ShardId,
    to: NodeId,
    snapshot: SnapshotId,
    seq: u64,
    view: Arc<KvView>,
    cursor: Option<Bytes>,
}

/// A chunk that was read, or why not.
pub struct Exported {
    shard: ShardId,
    to: NodeId,
    snapshot: SnapshotId,
    seq: u64,
    result: StateResult<(Bytes, Option<Bytes>)>,
}

impl Exported {
    pub(super) fn shard(&self) -> ShardId {
        self.shard
    }

    pub(super) fn to(&self) -> NodeId {
        self.to
    }

    pub(super) fn bytes(&self) -> usize {
        self.result.as_ref().map_or(0, |(data, _)| data.len())
    }

    /// The state could not be read.
    pub(super) fn damage(&self) -> Option<&StateError> {
        self.result.as_ref().err().filter(|error| error.damaged())
    }
}

impl Export {
    /// Reads it; this may take a while.
    pub fn read(self) -> Exported {
        let result = self.view.export(self.cursor.as_ref(), CHUNK_BYTES);
        Exported { shard: self.shard, to: self.to, snapshot: self.snapshot, seq: self.seq, result }
    }
}

struct Outgoing {
    snapshot: SnapshotId,
    view: Arc<KvView>,
    /// The cursor at which chunk `i` starts; chunk 0 starts at `None`.
    cursors: Vec<Option<Bytes>>,
    /// Bytes of the chunks before the last that were read, each once.
    sent: u64,
}

/// The snapshots under way, one a peer at most.
#[derive(Default)]
pub(super) struct Exports {
    outgoing: BTreeMap<NodeId, Outgoing>,
    wanted: Vec<Export>,
}

impl Exports {
    /// The core wants a chunk. Answers at once if it cannot be had.
    pub(super) fn want(&mut self, shard: ShardId, wanted: ChunkWanted, view: &Arc<KvView>) -> Option<Input> {
        let ChunkWanted { to, snapshot, seq } = wanted;
        let fresh = self.outgoing.get(&to).is_none_or(|o| o.snapshot != snapshot);
        if fresh {
            let view = Arc::new(view.lasting());
            self.outgoing.insert(to, Outgoing { snapshot, view, cursors: vec![None], sent: 0 });
        }
        let outgoing = self.outgoing.get(&to)?;
        match outgoing.cursors.get(seq as usize) {
            Some(cursor) => {
                let (view, cursor) = (outgoing.view.clone(), cursor.clone());
                // One that waits for its turn may be asked for again.
                self.wanted.retain(|waits| waits.to != to);
                self.wanted.push(Export { shard, to, snapshot, seq, view, cursor });
                None
            }
            None => Some(Input::SnapshotFailed { to, snapshot }),
        }
    }

    /// A chunk was read: what the core is told.
    pub(super) fn read(&mut self, chunk: Exported) -> Option<Input> {
        let Exported { shard: _, to, snapshot, seq, result } = chunk;
        let outgoing = self.outgoing.get_mut(&to).filter(|o| o.snapshot == snapshot)?;
        let Ok((data, next)) = result else {
            self.outgoing.remove(&to);
            return Some(Input::SnapshotFailed { to, snapshot });
        };
        let last = next.is_none();
        if !last && outgoing.cursors.len() as u64 == seq + 1 {
            outgoing.cursors.push(next);
            outgoing.sent += data.len() as u64;
        }
        let meta = SnapshotMeta::from(Base {
            id: outgoing.view.applied(),
            membership: outgoing.view.membership().clone(),
        });
        Some(Input::SnapshotChunk { to, snapshot, meta, seq, data, last })
    }

    /// So many bytes were read for a peer, of about so many.
    pub(super) fn sent(&self, to: NodeId) -> Option<(u64, u64)> {
        let outgoing = self.outgoing.get(&to)?;
        let of = u64::try_from(outgoing.view.sizes().0).unwrap_or(0);
        Some((outgoing.sent, of.max(outgoing.sent)))
    }

    /// The chunks to be read now; those that may not go yet wait.
    pub(super) fn take_wanted(&mut self, may: impl Fn(NodeId) -> bool) -> Vec<Export> {
        let (now, later) = std::mem::take(&mut self.wanted).into_iter().partition(|export| may(export.to));
        self.wanted = later;
        now
    }

    /// Whether nothing is sent to anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.outgoing.is_empty() && self.wanted.is_empty()
    }

    /// Whether a chunk waits.
    pub(super) fn any_wait(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Lets the views go of peers that need no snapshot any more.
    pub(super) fn retain(&mut self, needed: impl Fn(NodeId) -> bool) {
        self.outgoing.retain(|&to, _| needed(to));
        self.wanted.retain(|export| needed(export.to));
    }
}
