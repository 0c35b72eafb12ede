//! What each side says first on a connection.

use super::listing::ASKED;
use super::{HELLO_PATIENCE, VERSION};
use crate::began::Began;
use crate::mistakes::{Mistake, MistakeKind};
use bytes::Buf;
use quorate_base::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of a connection.
pub(super) const MAGIC: [u8; 8] = *b"QRTpeer\0";
/// The part of a greeting that all versions have, by which they know each other's version; its checksum stands at its end.
pub(super) const HELLO_BYTES: usize = 8 + 2 + 8 * 4 + 4;
/// What follows it, with a checksum over both.
pub(super) const MORE_BYTES: usize = 8 * 5 + 1 + 4;

const REMOVED: u8 = 1;
const TAKEN_BACK: u8 = 2;
const STRANGER: u8 = 4;
const FORGETFUL: u8 = 8;
const TWIN: u8 = 16;
const BEGAN: u8 = 32;

/// Why the sender of a greeting will not talk to its receiver: what that one cannot see from the greeting itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was a member of the cluster and is none any more.
    Removed,
    /// It is no member by what the sender knows.
    Stranger,
    /// It had another data directory when it was met.
    Forgetful,
    /// Another process is the same node, and its connection lives.
    Twin,
}

impl Refused {
    /// How a mistake is told to who made it, if he must be told.
    pub(super) fn of(mistake: MistakeKind) -> Option<Self> {
        match mistake {
            MistakeKind::Removed => Some(Self::Removed),
            MistakeKind::Stranger => Some(Self::Stranger),
            MistakeKind::Forgetful => Some(Self::Forgetful),
            MistakeKind::Twin => Some(Self::Twin),
            _ => None,
        }
    }

    /// What the receiver makes of it.
    pub(super) fn mistake(self, peer: NodeId) -> Mistake {
        match self {
            Self::Removed => {
                Mistake::new(MistakeKind::Removed, format!("node {peer} says that this node was removed"))
            }
            Self::Stranger => Mistake::new(
                MistakeKind::Stranger,
                format!(
                    "node {peer} does not know this node as a member: add it first (`quorate node add`), or check the list of peers of both"
                ),
            ),
            Self::Twin => Mistake::new(
                MistakeKind::Twin,
                format!(
                    "node {peer} hears from another process that is this node, too: two run with copies of one data directory, of \
                     which neither has all that the other confirms. Stop one of them, and see that its directory does not come back"
                ),
            ),
            Self::Forgetful => Mistake::new(
                MistakeKind::Forgetful,
                format!(
                    "node {peer} has met this node with another data directory, so what it had confirmed is lost or elsewhere"
                ),
            ),
        }
    }

    const fn flag(self) -> u8 {
        match self {
            Self::Removed => REMOVED,
            Self::Stranger => STRANGER,
            Self::Forgetful => FORGETFUL,
            Self::Twin => TWIN,
        }
    }
}

/// Who is on which side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version: u16,
    pub(super) cluster: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    /// Of the sender's data directory.
    pub(super) life: u64,
    /// The place in the log of the newest committed configuration by which the sender is a member; 0 if it knows none.
    pub(super) member_at: u64,
    /// Of the sender's process: drawn when it started.
    pub(super) run: u64,
    /// The sender will not talk to the receiver.
    pub(super) refused: Option<Refused>,
    /// The sender's directory was made because its former one is lost.
    pub(super) taken_back: bool,
    /// With what it began, where it notes that.
    pub(super) began: Option<Began>,
}

impl Hello {
    pub(super) fn encode(self) -> [u8; HELLO_BYTES + MORE_BYTES] {
        let mut out = [0; HELLO_BYTES + MORE_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&self.version.to_le_bytes());
        out[10..18].copy_from_slice(&self.cluster.to_le_bytes());
        out[18..26].copy_from_slice(&self.from.to_le_bytes());
        out[26..34].copy_from_slice(&self.to.to_le_bytes());
        out[34..42].copy_from_slice(&self.life.to_le_bytes());
        let crc = crc32c::crc32c(&out[..42]);
        out[42..46].copy_from_slice(&crc.to_le_bytes());
        out[46..54].copy_from_slice(&self.member_at.to_le_bytes());
        out[54..62].copy_from_slice(&self.run.to_le_bytes());
        if let Some(Began { index, revision, digest }) = self.began {
            out[62..70].copy_from_slice(&index.to_le_bytes());
            out[70..78].copy_from_slice(&revision.to_le_bytes());
            out[78..86].copy_from_slice(&digest.to_le_bytes());
            out[86] = BEGAN;
        }
        out[86] |= self.refused.map_or(0, Refused::flag) | (u8::from(self.taken_back) * TAKEN_BACK);
        let crc = crc32c::crc32c(&out[..87]);
        out[87..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the part that all versions have.
    pub(super) fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Self, Mistake> {
        let mut rest = &bytes[..];
        let mut magic = [0; 8];
        rest.copy_to_slice(&mut magic);
        if magic != MAGIC {
            return Err(no_peer());
        }
        let hello = Self {
            version: rest.get_u16_le(),
            cluster: rest.get_u64_le(),
            from: rest.get_u64_le(),
            to: rest.get_u64_le(),
            life: rest.get_u64_le(),
            member_at: 0,
            run: 0,
            refused: None,
            taken_back: false,
            began: None,
        };
        if rest.get_u32_le() == crc32c::crc32c(&bytes[..42]) { Ok(hello) } else { Err(damaged()) }
    }

    /// Reads the rest.
    pub(super) fn decode_more(
        &mut self,
        first: &[u8; HELLO_BYTES],
        more: &[u8; MORE_BYTES],
    ) -> Result<(), Mistake> {
        let mut rest = &more[..];
        self.member_at = rest.get_u64_le();
        self.run = rest.get_u64_le();
        let began =
            Began { index: rest.get_u64_le(), revision: rest.get_i64_le(), digest: rest.get_u64_le() };
        let flags = rest.get_u8();
        self.began = (flags & BEGAN != 0).then_some(began);
        self.taken_back = flags & TAKEN_BACK != 0;
        let reasons = [Refused::Removed, Refused::Stranger, Refused::Forgetful, Refused::Twin];
        self.refused = reasons.into_iter().find(|reason| flags & reason.flag() != 0);
        let crc = crc32c::crc32c_append(crc32c::crc32c(first), &more[..41]);
        if rest.get_u32_le() == crc { Ok(()) } else { Err(damaged()) }
    }
}

fn no_peer() -> Mistake {
    let why = "it does not speak Quorate's peer protocol; only nodes may connect to the peer port, clients use the etcd port";
    Mistake::new(MistakeKind::NoPeer, why)
}

fn damaged() -> Mistake {
    let why = "its greeting is damaged; look for what changes bytes on the way between the nodes";
    Mistake::new(MistakeKind::Damaged, why)
}

/// What stands at the beginning of a connection.
pub(super) enum Greeting {
    /// A node's.
    Hello(Hello),
    /// Somebody wants the list of members, see `listing.rs`; with what was read of it.
    Members(Vec<u8>),
}

/// Reads the answer to a greeting.
pub(super) async fn read_hello(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, Mistake> {
    match read_first(stream).await? {
        Greeting::Hello(hello) => Ok(hello),
        Greeting::Members(_) => Err(no_peer()),
    }
}

/// Reads what somebody says first who connects.
pub(super) async fn read_first(stream: &mut (impl AsyncRead + Unpin)) -> Result<Greeting, Mistake> {
    let mut bytes = [0; HELLO_BYTES];
    read_greeting(stream, &mut bytes).await?;
    if bytes.starts_with(ASKED) {
        return Ok(Greeting::Members(bytes.to_vec()));
    }
    let mut hello = Hello::decode(&bytes)?;
    if hello.version == VERSION {
        let mut more = [0; MORE_BYTES];
        read_greeting(stream, &mut more).await?;
        hello.decode_more(&bytes, &more)?;
    }
    Ok(Greeting::Hello(hello))
}

/// What who dialled says where it finds, by the answer to its greeting, that it will not talk to this node: another greeting, with the reason. `None`
/// while that is not whole.
pub(super) fn read_farewell(bytes: &[u8]) -> Option<Result<Hello, Mistake>> {
    let (first, more) = bytes.split_first_chunk()?;
    let more = more.first_chunk()?;
    let read = || {
        let mut hello = Hello::decode(first)?;
        hello.decode_more(first, more)?;
        Ok(hello)
    };
    Some(read())
}

async fn read_greeting(stream: &mut (impl AsyncRead + Unpin), into: &mut [u8]) -> Result<(), Mistake> {
    match tokio::time::timeout(HELLO_PATIENCE, stream.read_exact(into)).await {
        Err(_) => Err(Mistake::new(
            MistakeKind::Silent,
            "it did not greet in time; only nodes may connect to the peer port, clients use the etcd port",
        )),
        Ok(Err(error)) => Err(Mistake::new(
            MistakeKind::Silent,
            format!(
                "it closed before its greeting: {error}; it may refuse this node, and its log says why; only nodes may connect to the \
                 peer port"
            ),
        )),
        Ok(Ok(_)) => Ok(()),
    }
}
