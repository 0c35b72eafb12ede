//! The key-value commands as bytes: what an entry of the log carries.
//!
//! A command is encoded once, at the node that takes the request, and the same bytes are shared by journal, frames and
//! apply. Decoding copies no key and no value: they are slices of the entry.
//!
//! ```text
//! command  := version(1 byte) origin(varint) request(varint) kind(1 byte) body
//! varint   := LEB128, at most 10 bytes          signed := zigzag varint
//! bytes    := length(varint) that many bytes    list   := count(varint) that many elements
//! range    := key(bytes) end(bytes)
//! grant    := id(signed) at(varint)
//! ```
//!
//! The version of an entry is the first that has its kind, so that an older release stops at no more than it must. Version 2
//! brought the kinds that name a lease by its grant; in version 1 what a node's clock had decided named the id alone, and still
//! means whichever grant of it there is. Version 3 brought fences and alarms, version 4 tables ([`crate::table`]),
//! version 5 their change feeds, version 6 shards of tables and transactions over several of them, version 7 shards whose
//! replicas move, version 8 tables with several shards that have global indexes or a change feed, and nodes that are left by
//! replicas before they go, version 9 the zones of nodes, version 10 what tables remember of their capacity, version 11
//! the outcomes of several transactions in one entry, version 12 conditions that measure texts in code units of UTF-16,
//! version 13 tables that are not partitioned by hash, version 14 those that are divided by directory, with tenants that move, and
//! version 15 tenants that are listed unless they are.
//!
//! `origin` and `request` name the node that proposed the entry and the request there that waits for it; they are no part
//! of the machine's state.
//!
//! What peers may send is not trusted: a length is held against the bytes that are left before anything is allocated,
//! transactions nest at most [`NESTING_MAX`] deep, and bytes left over at the end are an error. An entry of a newer version
//! is told apart from a damaged one: passed over, it would leave this node with another state than those that know it, so
//! the node stops at it. What is malformed is so on all nodes, and is refused by all.
//!
//! What is left out: compression, and any field that a later version might want. A later version gets a number of its own.

use crate::codec;
use crate::kv::{
    Alarm, AlarmKind, Command, Compare, CompareResult, CompareTarget, DeleteRange, Fence, Grant, KeyRange,
    Op, Put, Range, SortOrder, SortTarget, Txn,
};
use crate::table;
use bytes::{BufMut, Bytes, BytesMut};
use quorate_base::{Index, NodeId};
use std::fmt;

/// The newest version; [`encode`] writes an older one where that will do.
pub const VERSION: u8 = 15;

/// How deep transactions may nest; the outermost one counts.
pub const NESTING_MAX: usize = 32;

/// A command with the name of the request that brought it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// The node that proposed it.
    pub origin: NodeId,
    /// The request that waits for it there.
    pub request: u64,
    /// The command.
    pub command: Command,
}

/// Why bytes are no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// They end too early, or a length points past their end.
    Truncated,
    /// Of a version that this node does not know.
    Version(u8),
    /// A byte that must name something names nothing.
    Tag {
        /// What it should name.
        of: &'static str,
        /// The byte.
        tag: u8,
    },
    /// A number is longer than 64 bits.
    Number,
    /// Transactions nest deeper than [`NESTING_MAX`].
    Nesting,
    /// Bytes are left over.
    Trailing(usize),
    /// What is to be done with tables is malformed.
    Table,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("a command ends too early"),
            Self::Version(v) => write!(f, "a command of version {v}; this node knows up to {VERSION}"),
            Self::Tag { of, tag } => write!(f, "{tag} is no {of} of a command"),
            Self::Number => f.write_str("a number in a command is too long"),
            Self::Nesting => write!(f, "transactions nest deeper than {NESTING_MAX}"),
            Self::Trailing(n) => write!(f, "{n} bytes are left over behind a command"),
            Self::Table => f.write_str("a command of tables is malformed"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Encodes a command with the request it answers.
///
/// # Panics
/// If transactions nest deeper than [`NESTING_MAX`]: doors refuse those.
pub fn encode(origin: NodeId, request: u64, command: &Command) -> Bytes {
    let mut out = Writer(BytesMut::with_capacity(size_hint(command)));
    out.0.put_u8(match command {
        Command::Table(command) => command.version(),
        Command::Fenced { .. } | Command::FenceDrop { .. } | Command::Alarm { .. } => 3,
        Command::LeaseExpire { .. } | Command::LeaseCheckpoint { .. } => 2,
        _ => 1,
    });
    out.varint(origin.get());
    out.varint(request);
    out.command(command);
    out.0.freeze()
}

/// Reads the request and the command back; keys and values are slices of `data`.
pub fn decode(data: &Bytes) -> Result<Decoded, DecodeError> {
    let mut input = Reader { data, at: 0 };
    let version = input.byte()?;
    if !(1..=VERSION).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let origin = NodeId(input.varint()?);
    let request = input.varint()?;
    let command = input.command(version)?;
    match data.len() - input.at {
        0 => Ok(Decoded { origin, request, command }),
        left => Err(DecodeError::Trailing(left)),
    }
}

/// Whether these bytes say that they are a command of a newer release than this one.
pub fn is_newer(data: &[u8]) -> bool {
    data.first().is_some_and(|&version| version > VERSION)
}

/// Whether these bytes may be a step of a transaction over several shards: other commands of tables mostly have another version.
pub fn may_be_step(data: &[u8]) -> bool {
    matches!(data.first(), Some(6 | 12))
}

/// Reads `origin` and `request` alone, of any version: who is to hear of an entry that cannot be applied.
pub fn decode_request(data: &Bytes) -> Option<(NodeId, u64)> {
    let mut input = Reader { data, at: 1 };
    Some((NodeId(input.varint().ok()?), input.varint().ok()?))
}

/// The same command of the same node under another request's number; nothing if these bytes do not begin as a command.
pub fn renumber(data: &Bytes, request: u64) -> Option<Bytes> {
    let mut input = Reader { data, at: 1 };
    let origin = input.varint().ok()?;
    input.varint().ok()?;
    let rest = data.get(input.at..)?;
    let mut out = Writer(BytesMut::with_capacity(data.len() + 8));
    out.0.put_u8(*data.first()?);
    out.varint(origin);
    out.varint(request);
    out.0.put_slice(rest);
    Some(out.0.freeze())
}

fn size_hint(command: &Command) -> usize {
    match command {
        Command::Put(put) => 48 + put.key.len() + put.value.len(),
        Command::Table(command) => 64 + command.size_hint(),
        Command::Txn(txn) => 128 + 64 * (txn.compare.len() + txn.success.len() + txn.failure.len()),
        _ => 64,
    }
}

mod kind {
    pub(super) const PUT: u8 = 1;
    pub(super) const DELETE: u8 = 2;
    pub(super) const TXN: u8 = 3;
    pub(super) const COMPACT: u8 = 4;
    pub(super) const LEASE_GRANT: u8 = 5;
    pub(super) const LEASE_REVOKE: u8 = 6;
    /// Of version 1.
    pub(super) const LEASE_CHECKPOINT_BY_ID: u8 = 7;
    /// Inside transactions only.
    pub(super) const RANGE: u8 = 8;
    /// From version 2 on.
    pub(super) const LEASE_EXPIRE: u8 = 9;
    pub(super) const LEASE_CHECKPOINT: u8 = 10;
    /// From version 3 on: a name, a token, and the kind and body of a command that is not fenced itself.
    pub(super) const FENCED: u8 = 16;
    pub(super) const FENCE_DROP: u8 = 17;
    pub(super) const ALARM: u8 = 21;
    /// From version 4 on.
    pub(super) const TABLE: u8 = 32;
}

const PREV_KV: u8 = 1;
const IGNORE_VALUE: u8 = 2;
const IGNORE_LEASE: u8 = 4;
const KEYS_ONLY: u8 = 1;
const COUNT_ONLY: u8 = 2;

struct Writer(BytesMut);

impl Writer {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.put_u8(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.put_u8(n as u8);
    }

    fn signed(&mut self, n: i64) {
        self.varint(((n << 1) ^ (n >> 63)) as u64);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.0.put_slice(bytes);
    }

    fn key_range(&mut self, range: &KeyRange) {
        self.bytes(&range.key);
        self.bytes(&range.end);
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Put(put) => self.put(put),
            Command::Delete(delete) => self.delete(delete),
            Command::Txn(txn) => {
                self.0.put_u8(kind::TXN);
                self.txn(txn, 1);
            }
            Command::Compact { revision } => {
                self.0.put_u8(kind::COMPACT);
                self.signed(*revision);
            }
            Command::LeaseGrant { id, ttl } => {
                self.0.put_u8(kind::LEASE_GRANT);
                self.signed(*id);
                self.signed(*ttl);
            }
            Command::LeaseRevoke { ids } => {
                self.0.put_u8(kind::LEASE_REVOKE);
                self.0.put_u8(0);
                self.varint(ids.len() as u64);
                for id in ids {
                    self.signed(*id);
                }
            }
            Command::LeaseExpire { grants } => {
                self.0.put_u8(kind::LEASE_EXPIRE);
                self.varint(grants.len() as u64);
                for grant in grants {
                    self.grant(*grant);
                }
            }
            Command::LeaseCheckpoint { remaining } => {
                self.0.put_u8(kind::LEASE_CHECKPOINT);
                self.varint(remaining.len() as u64);
                for (grant, seconds) in remaining {
                    self.grant(*grant);
                    self.signed(*seconds);
                }
            }
            Command::Fenced { fence, command } => {
                self.0.put_u8(kind::FENCED);
                self.bytes(&fence.name);
                self.varint(fence.token);
                self.command(command);
            }
            Command::FenceDrop { name } => {
                self.0.put_u8(kind::FENCE_DROP);
                self.bytes(name);
            }
            Command::Alarm { alarm, on } => {
                self.0.put_u8(kind::ALARM);
                self.0.put_u8(alarm.kind as u8);
                self.varint(alarm.member);
                self.0.put_u8(u8::from(*on));
            }
            Command::Table(command) => {
                self.0.put_u8(kind::TABLE);
                command.write(&mut self.0);
            }
        }
    }

    fn grant(&mut self, grant: Grant) {
        self.signed(grant.id);
        self.varint(grant.at.get());
    }

    fn put(&mut self, put: &Put) {
        let flag = |on, bit| if on { bit } else { 0 };
        self.0.put_u8(kind::PUT);
        self.0.put_u8(
            flag(put.prev_kv, PREV_KV)
                | flag(put.ignore_value, IGNORE_VALUE)
                | flag(put.ignore_lease, IGNORE_LEASE),
        );
        self.bytes(&put.key);
        self.bytes(&put.value);
        self.signed(put.lease);
    }

    fn delete(&mut self, delete: &DeleteRange) {
        self.0.put_u8(kind::DELETE);
        self.0.put_u8(if delete.prev_kv { PREV_KV } else { 0 });
        self.key_range(&delete.range);
    }

    fn range(&mut self, range: &Range) {
        let flag = |on, bit| if on { bit } else { 0 };
        self.0.put_u8(kind::RANGE);
        self.0.put_u8(flag(range.keys_only, KEYS_ONLY) | flag(range.count_only, COUNT_ONLY));
        self.0.put_u8(range.sort_order as u8);
        self.0.put_u8(range.sort_target as u8);
        self.key_range(&range.range);
        for n in [
            range.limit,
            range.revision,
            range.min_mod_revision,
            range.max_mod_revision,
            range.min_create_revision,
            range.max_create_revision,
        ] {
            self.signed(n);
        }
    }

    fn txn(&mut self, txn: &Txn, depth: usize) {
        assert!(depth <= NESTING_MAX, "a transaction nests {depth} deep, {NESTING_MAX} is the limit");
        self.varint(txn.compare.len() as u64);
        for compare in &txn.compare {
            self.compare(compare);
        }
        for ops in [&txn.success, &txn.failure] {
            self.varint(ops.len() as u64);
            for op in ops {
                self.op(op, depth);
            }
        }
    }

    fn op(&mut self, op: &Op, depth: usize) {
        match op {
            Op::Range(range) => self.range(range),
            Op::Put(put) => self.put(put),
            Op::Delete(delete) => self.delete(delete),
            Op::Txn(txn) => {
                self.0.put_u8(kind::TXN);
                self.txn(txn, depth + 1);
            }
        }
    }

    fn compare(&mut self, compare: &Compare) {
        self.key_range(&compare.range);
        self.0.put_u8(compare.result as u8);
        match &compare.target {
            CompareTarget::Version(n) => self.tagged(0, *n),
            CompareTarget::Create(n) => self.tagged(1, *n),
            CompareTarget::Mod(n) => self.tagged(2, *n),
            CompareTarget::Value(value) => {
                self.0.put_u8(3);
                self.bytes(value);
            }
            CompareTarget::Lease(n) => self.tagged(4, *n),
        }
    }

    fn tagged(&mut self, tag: u8, n: i64) {
        self.0.put_u8(tag);
        self.signed(n);
    }
}

struct Reader<'a> {
    data: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.data.get(self.at).ok_or(DecodeError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(DecodeError::Number);
            }
            n |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(DecodeError::Number)
    }

    fn signed(&mut self) -> Result<i64, DecodeError> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let len = usize::try_from(self.varint()?).map_err(|_| DecodeError::Truncated)?;
        if len > self.data.len() - self.at {
            return Err(DecodeError::Truncated);
        }
        let bytes = self.data.slice(self.at..self.at + len);
        self.at += len;
        Ok(bytes)
    }

    /// A list; each of its elements takes at least `least` bytes, which bounds what a false count can allocate.
    fn list<T>(
        &mut self,
        least: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecodeError::Truncated)?;
        if count > (self.data.len() - self.at) / least {
            return Err(DecodeError::Truncated);
        }
        let mut list = Vec::with_capacity(count.min(128));
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(list)
    }

    fn key_range(&mut self) -> Result<KeyRange, DecodeError> {
        Ok(KeyRange { key: self.bytes()?, end: self.bytes()? })
    }

    fn flags(&mut self, known: u8) -> Result<u8, DecodeError> {
        let flags = self.byte()?;
        if flags & !known == 0 { Ok(flags) } else { Err(DecodeError::Tag { of: "flag", tag: flags }) }
    }

    fn command(&mut self, version: u8) -> Result<Command, DecodeError> {
        Ok(match self.byte()? {
            kind::PUT => Command::Put(self.put()?),
            kind::DELETE => Command::Delete(self.delete()?),
            kind::TXN => Command::Txn(self.txn(1)?),
            kind::COMPACT => Command::Compact { revision: self.signed()? },
            kind::LEASE_GRANT => Command::LeaseGrant { id: self.signed()?, ttl: self.signed()? },
            kind::LEASE_REVOKE => {
                // Version 1 had the node's own revocations here, too.
                if self.flags(u8::from(version == 1))? == 1 {
                    Command::LeaseExpire { grants: self.list(1, Self::any_grant)? }
                } else {
                    Command::LeaseRevoke { ids: self.list(1, Self::signed)? }
                }
            }
            kind::LEASE_CHECKPOINT_BY_ID if version == 1 => Command::LeaseCheckpoint {
                remaining: self.list(2, |input| Ok((input.any_grant()?, input.signed()?)))?,
            },
            kind::LEASE_EXPIRE if version >= 2 => Command::LeaseExpire { grants: self.list(2, Self::grant)? },
            kind::LEASE_CHECKPOINT if version >= 2 => Command::LeaseCheckpoint {
                remaining: self.list(3, |input| Ok((input.grant()?, input.signed()?)))?,
            },
            kind::FENCED if version >= 3 => {
                let fence = Fence { name: self.bytes()?, token: self.varint()? };
                if self.data.get(self.at) == Some(&kind::FENCED) {
                    return Err(DecodeError::Nesting);
                }
                Command::Fenced { fence, command: Box::new(self.command(version)?) }
            }
            kind::FENCE_DROP if version >= 3 => Command::FenceDrop { name: self.bytes()? },
            kind::ALARM if version >= 3 => {
                let tag = self.byte()?;
                let kind = AlarmKind::from_u8(tag).ok_or(DecodeError::Tag { of: "alarm", tag })?;
                let alarm = Alarm { kind, member: self.varint()? };
                Command::Alarm { alarm, on: self.flags(1)? == 1 }
            }
            kind::TABLE if version >= 4 => Command::Table(Box::new(self.table()?)),
            tag => return Err(DecodeError::Tag { of: "kind", tag }),
        })
    }

    fn table(&mut self) -> Result<table::Command, DecodeError> {
        let mut input = codec::Reader::new(self.data.slice(self.at..));
        let command = table::Command::read(&mut input).map_err(|_| DecodeError::Table)?;
        self.at = self.data.len() - input.remaining();
        Ok(command)
    }

    fn grant(&mut self) -> Result<Grant, DecodeError> {
        Ok(Grant { id: self.signed()?, at: Index(self.varint()?) })
    }

    /// A lease that is named by its id alone.
    fn any_grant(&mut self) -> Result<Grant, DecodeError> {
        Ok(Grant { id: self.signed()?, at: Index(0) })
    }

    fn put(&mut self) -> Result<Put, DecodeError> {
        let flags = self.flags(PREV_KV | IGNORE_VALUE | IGNORE_LEASE)?;
        Ok(Put {
            key: self.bytes()?,
            value: self.bytes()?,
            lease: self.signed()?,
            prev_kv: flags & PREV_KV != 0,
            ignore_value: flags & IGNORE_VALUE != 0,
            ignore_lease: flags & IGNORE_LEASE != 0,
        })
    }

    fn delete(&mut self) -> Result<DeleteRange, DecodeError> {
        let flags = self.flags(PREV_KV)?;
        Ok(DeleteRange { range: self.key_range()?, prev_kv: flags & PREV_KV != 0 })
    }

    fn range(&mut self) -> Result<Range, DecodeError> {
        let flags = self.flags(KEYS_ONLY | COUNT_ONLY)?;
        let sort_order = match self.byte()? {
            0 => SortOrder::None,
            1 => SortOrder::Ascend,
            2 => SortOrder::Descend,
            tag => return Err(DecodeError::Tag { of: "sort order", tag }),
        };
        let sort_target = match self.byte()? {
            0 => SortTarget::Key,
            1 => SortTarget::Version,
            2 => SortTarget::Create,
            3 => SortTarget::Mod,
            4 => SortTarget::Value,
            tag => return Err(DecodeError::Tag { of: "sort target", tag }),
        };
        Ok(Range {
            range: self.key_range()?,
            limit: self.signed()?,
            revision: self.signed()?,
            sort_order,
            sort_target,
            keys_only: flags & KEYS_ONLY != 0,
            count_only: flags & COUNT_ONLY != 0,
            min_mod_revision: self.signed()?,
            max_mod_revision: self.signed()?,
            min_create_revision: self.signed()?,
            max_create_revision: self.signed()?,
        })
    }

    fn txn(&mut self, depth: usize) -> Result<Txn, DecodeError> {
        if depth > NESTING_MAX {
            return Err(DecodeError::Nesting);
        }
        Ok(Txn {
            compare: self.list(5, Self::compare)?,
            success: self.list(4, |input| input.op(depth))?,
            failure: self.list(4, |input| input.op(depth))?,
        })
    }

    fn op(&mut self, depth: usize) -> Result<Op, DecodeError> {
        Ok(match self.byte()? {
            kind::RANGE => Op::Range(self.range()?),
            kind::PUT => Op::Put(self.put()?),
            kind::DELETE => Op::Delete(self.delete()?),
            kind::TXN => Op::Txn(self.txn(depth + 1)?),
            tag => return Err(DecodeError::Tag { of: "operation", tag }),
        })
    }

    fn compare(&mut self) -> Result<Compare, DecodeError> {
        let range = self.key_range()?;
        let result = match self.byte()? {
            0 => CompareResult::Equal,
            1 => CompareResult::Greater,
            2 => CompareResult::Less,
            3 => CompareResult::NotEqual,
            tag => return Err(DecodeError::Tag { of: "comparison", tag }),
        };
        let target = match self.byte()? {
            0 => CompareTarget::Version(self.signed()?),
            1 => CompareTarget::Create(self.signed()?),
            2 => CompareTarget::Mod(self.signed()?),
            3 => CompareTarget::Value(self.bytes()?),
            4 => CompareTarget::Lease(self.signed()?),
            tag => return Err(DecodeError::Tag { of: "compare target", tag }),
        };
        Ok(Compare { range, result, target })
    }
}

#[cfg(test)]
mod tests;
