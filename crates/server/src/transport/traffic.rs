//! What went over the connections to each peer, and how long a word takes to it and back.
//!
//! The word goes through both processes as any packet does, so that it takes longer where one of them does, and not the network alone:
//! that is what the other packets meet, too. There is one on its way at a time.

use super::Transport;
use crate::inbox::lock;
use quorate_base::NodeId;
use quorate_node::figures::Histogram;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The bounds that etcd has for this: a tenth of a millisecond, and twice that, up to three seconds.
const BOUNDS: &[f64] = &[
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048, 0.4096,
    0.8192, 1.6384, 3.2768,
];

/// What went over the connections to one peer since the start.
#[derive(Debug)]
pub struct Traffic {
    /// Bytes given to the connections.
    pub sent: AtomicU64,
    /// Bytes read.
    pub received: AtomicU64,
    /// Packets for which there was no connection.
    pub dropped: AtomicU64,
    /// Connections that ended and were not replaced by newer ones.
    pub lost: AtomicU64,
    /// How long a word took to it and back.
    pub round_trips: Histogram,
}

impl Default for Traffic {
    fn default() -> Self {
        let [sent, received, dropped, lost] = Default::default();
        Self { sent, received, dropped, lost, round_trips: Histogram::new(BOUNDS) }
    }
}

impl Transport {
    /// That of one peer.
    pub(super) fn traffic_of(&self, peer: NodeId) -> Arc<Traffic> {
        lock(&self.traffic).entry(peer).or_default().clone()
    }

    /// That of each member but this one.
    pub(crate) fn traffic(&self) -> Vec<(NodeId, Arc<Traffic>)> {
        let peers: Vec<NodeId> = lock(&self.roster).peers.keys().copied().collect();
        peers.into_iter().filter(|&id| id != self.me).map(|id| (id, self.traffic_of(id))).collect()
    }
}

/// What a packet is, as the highest bits of its length say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Frames, or nothing: somebody is there.
    Frames,
    /// A word that is to be sent back.
    Word,
    /// One that was.
    Back,
}

impl Kind {
    const WORD: u32 = 1 << 31;
    const BACK: u32 = 1 << 30;

    /// The length of such a packet, as it is written.
    pub(super) fn marked(self, length: usize) -> u32 {
        let mark = match self {
            Self::Frames => 0,
            Self::Word => Self::WORD,
            Self::Back => Self::BACK,
        };
        length as u32 | mark
    }

    /// What is written there; both marks are of none, and leave a length that is too long.
    pub(super) fn read(marked: u32) -> (Self, usize) {
        match (marked & Self::WORD, marked & Self::BACK) {
            (Self::WORD, 0) => (Self::Word, (marked & !Self::WORD) as usize),
            (0, Self::BACK) => (Self::Back, (marked & !Self::BACK) as usize),
            _ => (Self::Frames, marked as usize),
        }
    }
}
