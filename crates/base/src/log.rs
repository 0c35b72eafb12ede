//! Log entries and what a core asks the journal to write.

use crate::held::WriteId;
use crate::id::{Index, NodeId, ShardId, Term};
use bytes::Bytes;

/// Term and index: two logs that hold the same id at one place are equal up to it (Log Matching).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EntryId {
    /// The term of the leader that made the entry.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
}

impl EntryId {
    /// Before the first entry.
    pub const ZERO: Self = Self { term: Term(0), index: Index(0) };

    /// Term first, as in the calls of the papers.
    pub const fn new(term: Term, index: Index) -> Self {
        Self { term, index }
    }
}

/// What an entry carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum EntryKind {
    /// The empty entry at the start of a term.
    Empty = 0,
    /// A command of the shard's machine.
    Command = 1,
    /// A configuration of the group.
    Membership = 2,
}

impl EntryKind {
    /// The kind with this number on disk and on the wire.
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(Self::Empty),
            1 => Some(Self::Command),
            2 => Some(Self::Membership),
            _ => None,
        }
    }
}

/// One log entry. The payload is encoded once and shared by journal, frames and apply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Term and index.
    pub id: EntryId,
    /// What `data` is.
    pub kind: EntryKind,
    /// The encoded payload; empty for [`EntryKind::Empty`].
    pub data: Bytes,
}

/// The part of a core's state that must be durable before the core speaks in its term, and a hint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HardState {
    /// The newest term known.
    pub term: Term,
    /// Whom this replica voted for in `term`.
    pub vote: Option<NodeId>,
    /// A commit index; may lag, is never ahead.
    pub commit: Index,
}

/// What stands in place of the log's beginning: everything up to `id` is in the state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Base {
    /// The last entry that the state holds.
    pub id: EntryId,
    /// The encoded configuration in force there.
    pub membership: Bytes,
}

/// One write of one core: it is durable as a whole or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// Whose log.
    pub shard: ShardId,
    /// The name of this write in completions.
    pub write: WriteId,
    /// Term and vote, if they changed; written with or before the entries.
    pub hard: Option<HardState>,
    /// The entry of the log that these follow. All that stood behind it is replaced.
    pub prev: EntryId,
    /// Consecutive entries; the first has the index after `prev`.
    pub entries: Vec<Entry>,
}
