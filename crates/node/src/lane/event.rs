//! What a lane is told of.

use super::{Broken, Defragmented, Exported, Found};
use crate::api::{Done, Failure, Request, Wait};
use crate::applier::{Cut, Output};
use crate::backup::Backup;
use crate::watch::Caught;
use bytes::Bytes;
use quorate_base::{Durable, NodeId, ShardId};
use quorate_clock::Hlc;

/// What happens to a lane.
pub enum Event {
    /// A packet of frames came from a peer.
    Packet {
        /// Who sent it.
        from: NodeId,
        /// Its body, not yet decoded.
        body: Bytes,
    },
    /// A connection to a peer is there.
    PeerUp(NodeId),
    /// It is gone, and what was under way on it may be lost.
    PeerDown(NodeId),
    /// A client asks.
    Call {
        /// Of which shard.
        shard: ShardId,
        /// What.
        request: Request,
        /// How long it waits.
        wait: Wait,
        /// Whom to answer.
        done: Done,
    },
    /// A flush of the journal is through.
    Journaled(Vec<Durable>),
    /// The applier did something.
    Output(Output),
    /// The journal has recorded a checkpoint that holds this.
    Checkpointed(Cut),
    /// A chunk to be sent was read.
    Exported(Exported),
    /// A large read is through.
    Read(Found),
    /// History was read for a watch.
    Caught(Caught),
    /// The disk is nearly full, or is not any more.
    Room {
        /// It is.
        short: bool,
    },
    /// A client wants a snapshot as a file.
    Backup {
        /// Gets it.
        opened: Box<dyn FnOnce(Result<Backup, Failure>) + Send>,
    },
    /// Room was given back, or could not be.
    Defragmented(Defragmented),
    /// A bound of the hybrid clock is durable.
    ClockNoted(Hlc),
    /// Time has passed; nothing else may have happened.
    Tick,
    /// Hand the leadership over, if this node has it.
    HandOver,
    /// The node stops: everything that waits is answered.
    Stop,
    /// The journal or the state failed: the node must stop.
    Broken(Broken),
}
