//! The digest of a run: two runs of one seed must give the same.

use quorate_base::{Instant, NodeId};
use std::fmt;

/// 128 bits over all events, in order: two multiply-xor lanes with different constants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest(u64, u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325, 0x9E37_79B9_7F4A_7C15)
    }
}

impl Digest {
    /// Takes one event in.
    pub fn feed(&mut self, at: Instant, node: NodeId, kind: u8, payload: &[u8]) {
        self.word(at.0);
        self.word(node.get() << 8 | u64::from(kind));
        for chunk in payload.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        self.word(payload.len() as u64);
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
        self.1 = (self.1.rotate_left(31) ^ word).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}
