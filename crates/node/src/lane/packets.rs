//! Frames on their way to the peers, gathered into packets.
//!
//! A peer reads packets up to a bound and takes anything longer for an error, so what gathers over one drain may become
//! several packets: all that was parked while there was no leader can be more than any peer would read at once.

use super::PACKET_BYTES;
use bytes::Bytes;
use quorate_base::NodeId;
use quorate_wire::peer::{Frame, Packet};
use std::collections::BTreeMap;

/// The packets of one drain.
#[derive(Default)]
pub(super) struct Packets {
    full: Vec<(NodeId, Bytes)>,
    open: BTreeMap<NodeId, Packet>,
}

impl Packets {
    /// Adds a frame.
    pub(super) fn push(&mut self, to: NodeId, frame: &Frame) {
        let packet = self.open.entry(to).or_default();
        packet.push(frame);
        if packet.len() >= PACKET_BYTES {
            self.full.push((to, std::mem::take(packet).finish()));
        }
    }

    /// All packets, those to one peer in order.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (NodeId, Bytes)> + use<> {
        let open = std::mem::take(&mut self.open).into_iter().map(|(to, packet)| (to, packet.finish()));
        std::mem::take(&mut self.full).into_iter().chain(open.filter(|(_, body)| !body.is_empty()))
    }
}
