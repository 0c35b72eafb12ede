//! A snapshot of a space as a file: what `snapshot save` writes and `snapshot restore` reads.
//!
//! ```text
//! file   := header chunk* end padding sum
//! header := "QRTsnap\n" version(u16) zero(u16) crc(u32, CRC-32C of what follows in it) cluster(u64) node(u64)
//! chunk  := length(u32, not 0) that many bytes: a chunk of the machine's own stream, with a checksum of its own
//! end    := zero(u32)
//! padding:= zeros up to a multiple of 512
//! sum    := SHA-256 of all before it, 32 bytes                                            numbers little-endian
//! ```
//!
//! Length and sum are as etcd's clients expect them of a snapshot: 32 bytes behind a multiple of 512. The sum is added, and
//! verified, by who knows SHA-256; this room gives all before the padding.

use bytes::Bytes;
use quorate_base::NodeId;
use quorate_state::kv::KvView;
use quorate_storage::state::StateResult;
use std::sync::Arc;

/// The first bytes of a file.
pub const MAGIC: [u8; 8] = *b"QRTsnap\n";
/// The format's version.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER: usize = 32;
/// The file is padded to a multiple of this before its sum.
pub const ALIGN: u64 = 512;
/// Bytes of the sum.
pub const SUM: u64 = 32;
/// No chunk is longer: one pair may be as large as a command.
pub const CHUNK_MAX: usize = 13 << 20;
/// How large a chunk is, about.
const CHUNK_BYTES: usize = 1 << 20;

/// Whose snapshot it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The cluster.
    pub cluster: u64,
    /// The node that gave it.
    pub node: NodeId,
}

/// Why bytes are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadHeader {
    /// They begin like no snapshot of ours.
    Foreign,
    /// Of a version that is not known here.
    Version(u16),
    /// The checksum does not hold.
    Damaged,
}

impl Header {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.cluster.to_le_bytes());
        out[24..].copy_from_slice(&self.node.get().to_le_bytes());
        let crc = crc32c::crc32c(&out[16..]);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The inverse.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, BadHeader> {
        if bytes[..8] != MAGIC {
            return Err(BadHeader::Foreign);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        let number = |at: usize| bytes[at..at + 8].iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        if crc32c::crc32c(&bytes[16..]).to_le_bytes() != bytes[12..16] || bytes[10..12] != [0, 0] {
            return Err(BadHeader::Damaged);
        }
        Ok(Self { cluster: number(16), node: NodeId(number(24)) })
    }
}

/// Which piece comes next.
enum At {
    Header,
    Chunk(Option<Bytes>),
    End,
    Done,
}

/// A snapshot on its way into a file.
pub struct Backup {
    view: Arc<KvView>,
    header: Header,
    at: At,
    /// Whoever counts how many there are looks at this.
    _counted: Arc<()>,
}

impl Backup {
    /// Of this view, which it keeps.
    pub fn new(view: &KvView, header: Header, counted: Arc<()>) -> Self {
        Self { view: Arc::new(view.lasting()), header, at: At::Header, _counted: counted }
    }

    /// What it is of.
    pub fn view(&self) -> &KvView {
        &self.view
    }

    /// Whose it is.
    pub fn header(&self) -> Header {
        self.header
    }

    /// How many bytes all of it is, about.
    pub fn size_hint(&self) -> u64 {
        u64::try_from(self.view.sizes().0).unwrap_or(0) + ALIGN + SUM
    }

    fn chunk(&mut self, cursor: Option<&Bytes>) -> StateResult<Bytes> {
        let (chunk, next) = self.view.export(cursor, CHUNK_BYTES)?;
        self.at = next.map_or(At::End, |next| At::Chunk(Some(next)));
        let length = (chunk.len() as u32).to_le_bytes();
        Ok([&length[..], &chunk].concat().into())
    }
}

impl Iterator for Backup {
    type Item = StateResult<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        match std::mem::replace(&mut self.at, At::Done) {
            At::Header => {
                self.at = At::Chunk(None);
                Some(Ok(Bytes::copy_from_slice(&self.header.encode())))
            }
            // After an error nothing more comes.
            At::Chunk(cursor) => Some(self.chunk(cursor.as_ref())),
            At::End => Some(Ok(Bytes::from_static(&[0; 4]))),
            At::Done => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_parse_back_and_every_flipped_bit_is_seen() {
        let header = Header { cluster: 0x1234_5678_9abc_def0, node: NodeId(7) };
        let good = header.encode();
        assert_eq!(Header::decode(&good), Ok(header));
        for bit in 0..HEADER * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad).is_err(), "bit {bit}");
        }
    }
}
