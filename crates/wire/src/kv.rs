//! The key-value space's commands and replies: what a door makes of its wire protocol, what the log carries, what the
//! machine answers. Field for field the data model of etcd's version 3 interface.

use crate::table;
use bytes::Bytes;
use quorate_base::Index;

/// A position in the history of a key-value space; an empty space is at 1.
pub type Revision = i64;

/// A lease's id; 0 means none.
pub type LeaseId = i64;

/// One grant of a lease. An id that was revoked can be granted again, and what was decided about the one must not meet the
/// other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Grant {
    /// The lease.
    pub id: LeaseId,
    /// The entry that granted it; 0 if that is not known.
    pub at: Index,
}

impl Grant {
    /// Whether this is the grant that stands at `at`. Where either is not known, as far as one can know.
    pub fn is(self, at: Index) -> bool {
        self.at == at || self.at == Index(0) || at == Index(0)
    }
}

/// The longest name of a fence in bytes, and how many fences there may be. Outcomes depend on both, so that another release may
/// change them only with another version of the commands.
pub const FENCE_NAME_MAX: usize = 256;
/// See [`FENCE_NAME_MAX`].
pub const FENCES_MAX: u64 = 10_000;

/// What a client shows of its right to a name: the token that it got with it. A higher one was given later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fence {
    /// The name; not empty.
    pub name: Bytes,
    /// The token.
    pub token: u64,
}

/// A key with its metadata.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty where only keys were asked for.
    pub value: Bytes,
    /// The revision of the put that created it.
    pub create_revision: Revision,
    /// The revision of the last put.
    pub mod_revision: Revision,
    /// How many puts since its creation, from 1.
    pub version: i64,
    /// The lease it is attached to, or 0.
    pub lease: LeaseId,
}

/// The keys `[key, end)`. An empty `end` means `key` alone, the single byte 0 means "from `key` on".
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyRange {
    /// The first key.
    pub key: Bytes,
    /// The end, as above.
    pub end: Bytes,
}

/// What a sorted range is sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key = 0,
    /// `KeyValue::version`.
    Version = 1,
    /// `KeyValue::create_revision`.
    Create = 2,
    /// `KeyValue::mod_revision`.
    Mod = 3,
    /// The value.
    Value = 4,
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum SortOrder {
    /// As stored (by key), or ascending where the target is not the key.
    #[default]
    None = 0,
    /// Smallest first.
    Ascend = 1,
    /// Largest first.
    Descend = 2,
}

/// A read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Range {
    /// Which keys.
    pub range: KeyRange,
    /// At most so many pairs; 0 means all.
    pub limit: i64,
    /// At this revision; 0 or below means now.
    pub revision: Revision,
    /// Order.
    pub sort_order: SortOrder,
    /// What by.
    pub sort_target: SortTarget,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Lower bound of `mod_revision`, 0 for none.
    pub min_mod_revision: Revision,
    /// Upper bound of `mod_revision`, 0 for none.
    pub max_mod_revision: Revision,
    /// Lower bound of `create_revision`, 0 for none.
    pub min_create_revision: Revision,
    /// Upper bound of `create_revision`, 0 for none.
    pub max_create_revision: Revision,
}

/// A write of one key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Put {
    /// The key, not empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The lease to attach, or 0.
    pub lease: LeaseId,
    /// Answer with the pair as it was.
    pub prev_kv: bool,
    /// Keep the value that is there.
    pub ignore_value: bool,
    /// Keep the lease that is there.
    pub ignore_lease: bool,
}

/// A deletion.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeleteRange {
    /// Which keys.
    pub range: KeyRange,
    /// Answer with the pairs as they were.
    pub prev_kv: bool,
}

/// How a compare compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum CompareResult {
    /// Equal.
    #[default]
    Equal = 0,
    /// The stored one is greater.
    Greater = 1,
    /// The stored one is less.
    Less = 2,
    /// Not equal.
    NotEqual = 3,
}

/// What is compared, and with what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CompareTarget {
    /// `KeyValue::version`.
    Version(i64),
    /// `KeyValue::create_revision`.
    Create(Revision),
    /// `KeyValue::mod_revision`.
    Mod(Revision),
    /// The value; false on a key that is not there.
    Value(Bytes),
    /// `KeyValue::lease`.
    Lease(LeaseId),
}

/// One condition; over a range it must hold for every key in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    /// Which keys.
    pub range: KeyRange,
    /// How.
    pub result: CompareResult,
    /// What with.
    pub target: CompareTarget,
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Read.
    Range(Range),
    /// Write.
    Put(Put),
    /// Delete.
    Delete(DeleteRange),
    /// A transaction inside.
    Txn(Txn),
}

/// If all compares hold then `success`, else `failure`, in one revision.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Txn {
    /// The conditions.
    pub compare: Vec<Compare>,
    /// Done if they hold.
    pub success: Vec<Op>,
    /// Done if not.
    pub failure: Vec<Op>,
}

impl Txn {
    /// Whether there is a put in it, in whichever branch, however deep.
    pub fn puts(&self) -> bool {
        self.success.iter().chain(&self.failure).any(|op| match op {
            Op::Put(_) => true,
            Op::Txn(inner) => inner.puts(),
            Op::Range(_) | Op::Delete(_) => false,
        })
    }
}

/// What is wrong with a member, so that it concerns the whole space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum AlarmKind {
    /// Its disk is nearly full, or its space larger than it may be: nothing is taken that makes the space grow.
    NoSpace = 1,
    /// Its state is not that of the others: nothing is changed.
    Corrupt = 2,
}

impl AlarmKind {
    /// The kind of this number.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::NoSpace),
            2 => Some(Self::Corrupt),
            _ => None,
        }
    }
}

/// An alarm stands until somebody takes it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Alarm {
    /// What is wrong.
    pub kind: AlarmKind,
    /// With whom; any number is taken.
    pub member: u64,
}

/// A hash of what can be read of a space.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpaceHash {
    /// The hash.
    pub hash: u32,
    /// The compacted revision, which is part of what it is of; -1 before the first compaction, as etcd says it.
    pub compacted: Revision,
    /// Up to this revision.
    pub revision: Revision,
}

/// What the log carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Write one key.
    Put(Put),
    /// Delete keys.
    Delete(DeleteRange),
    /// A transaction with at least one write in it.
    Txn(Txn),
    /// Forget the history below a revision.
    Compact {
        /// The revision that stays readable.
        revision: Revision,
    },
    /// Create a lease. The id was chosen by the client or by the node that took the request (never 0 here).
    LeaseGrant {
        /// Its id.
        id: LeaseId,
        /// Seconds, within the limits already.
        ttl: i64,
    },
    /// End leases because a client asks, each with its keys in a revision of its own. Refused as a whole if one is gone.
    LeaseRevoke {
        /// Which.
        ids: Vec<LeaseId>,
    },
    /// End leases whose time is over, each with its keys in a revision of its own. Those that are gone are passed over, also
    /// where their ids have been granted again since.
    LeaseExpire {
        /// Which.
        grants: Vec<Grant>,
    },
    /// Remember what remains of leases, so that leader changes do not prolong them for ever. Those that are gone are passed
    /// over, as above.
    LeaseCheckpoint {
        /// Lease and its remaining seconds.
        remaining: Vec<(Grant, i64)>,
    },
    /// Do `command`, unless a higher token has been seen for the fence's name; the token has been seen from then on, also where
    /// the command itself is refused.
    Fenced {
        /// What is shown.
        fence: Fence,
        /// What is to be done; not fenced itself.
        command: Box<Command>,
    },
    /// Forget the tokens that were seen for a name.
    FenceDrop {
        /// Which.
        name: Bytes,
    },
    /// Raise an alarm, or take it back.
    Alarm {
        /// Which.
        alarm: Alarm,
        /// Raise it.
        on: bool,
    },
    /// Tables, which are a machine of their own beside this one.
    Table(Box<table::Command>),
}

impl Command {
    /// Whether it makes the space grow: what is refused for want of room.
    pub fn grows(&self) -> bool {
        match self {
            Self::Put(_) | Self::LeaseGrant { .. } => true,
            Self::Txn(txn) => txn.puts(),
            Self::Fenced { command, .. } => command.grows(),
            Self::Table(command) => command.grows(),
            Self::Delete(_)
            | Self::Compact { .. }
            | Self::LeaseRevoke { .. }
            | Self::LeaseExpire { .. }
            | Self::LeaseCheckpoint { .. }
            | Self::FenceDrop { .. }
            | Self::Alarm { .. } => false,
        }
    }
}

/// What an operation answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// To `Range`.
    Range(RangeReply),
    /// To `Put`: the pair as it was, if asked for.
    Put {
        /// The pair as it was.
        prev: Option<KeyValue>,
    },
    /// To `Delete`.
    Delete {
        /// How many keys are gone.
        deleted: i64,
        /// As they were, if asked for.
        prev: Vec<KeyValue>,
    },
    /// To `Txn`.
    Txn {
        /// Whether the compares held.
        succeeded: bool,
        /// One for each operation.
        replies: Vec<Reply>,
    },
    /// To `Compact`.
    Compact,
    /// To `LeaseGrant`.
    LeaseGrant {
        /// Its id.
        id: LeaseId,
        /// Its time to live in seconds.
        ttl: i64,
    },
    /// To `LeaseRevoke`, `LeaseExpire` and `LeaseCheckpoint`.
    Lease,
    /// To `FenceDrop`.
    FenceDrop,
    /// To `Alarm`: the alarm that was raised (or stood already) or taken back, if there was one.
    Alarms(Vec<Alarm>),
    /// To `Table`.
    Table(Box<table::Reply>),
}

/// The pairs of a range.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeReply {
    /// The pairs.
    pub kvs: Vec<KeyValue>,
    /// More than the limit were there.
    pub more: bool,
    /// How many keys the range holds, whatever the limit and the filters.
    pub count: i64,
}

/// Why the machine refused a command or a read. Deterministic: every replica comes to the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The revision asked for lies below the compacted one.
    Compacted {
        /// The compacted revision.
        revision: Revision,
    },
    /// The revision asked for has not come yet.
    FutureRevision,
    /// No such lease.
    LeaseNotFound,
    /// A lease of this id is there already.
    LeaseExists,
    /// `ignore_value` or `ignore_lease` on a key that is not there.
    KeyNotFound,
    /// A key is longer than the state takes.
    KeyTooLong,
    /// The command is no command, or of a newer release than the node that should have proposed it.
    UnknownCommand,
    /// A higher token has been seen for the name.
    Fenced {
        /// It.
        token: u64,
    },
    /// As many names are fenced as may be.
    FencesFull,
    /// The name of a fence is empty or too long.
    FenceName,
    /// No token was seen for that name.
    NoFence,
    /// It would make the space grow, and an alarm says that a member has no room.
    NoSpace,
    /// It would change the space, and an alarm says that the members' states differ.
    Corrupt,
    /// So many alarms stand that no more are taken.
    TooManyAlarms,
    /// The machine of tables has its own reasons.
    Table(table::Refusal),
}

/// One change of one key, in the order of its revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// True for a deletion: then `kv` has the key and `mod_revision` only.
    pub deleted: bool,
    /// The pair after it.
    pub kv: KeyValue,
    /// The pair before it, if there was one.
    pub prev: Option<KeyValue>,
}

impl Event {
    /// Bytes that it takes in memory, about.
    pub fn size(&self) -> usize {
        let prev = self.prev.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
        self.kv.key.len() + self.kv.value.len() + prev + 100
    }
}
