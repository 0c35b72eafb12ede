//! Where the machine of tables keeps what: see the module page of [`super`].

use super::stream::{Position, StreamId};
use bytes::Bytes;
use quorate_base::NodeId;
use quorate_protocol::commit::TxnId;
use quorate_storage::state::{StateError, StateResult};

/// The kinds of rows, in their order in the store.
pub(super) mod row {
    pub(in crate::table) const ADOPTED: u8 = b'A';
    pub(in crate::table) const TENANT: u8 = b'B';
    pub(in crate::table) const RECORD: u8 = b'C';
    pub(in crate::table) const DEFINITION: u8 = b'D';
    pub(in crate::table) const NOTED: u8 = b'E';
    pub(in crate::table) const FIGURES: u8 = b'F';
    pub(in crate::table) const GARBAGE: u8 = b'G';
    pub(in crate::table) const HORIZON: u8 = b'H';
    pub(in crate::table) const ITEM: u8 = b'I';
    pub(in crate::table) const STANDS: u8 = b'K';
    pub(in crate::table) const LOCK: u8 = b'L';
    pub(in crate::table) const META: u8 = b'M';
    pub(in crate::table) const HOME: u8 = b'O';
    pub(in crate::table) const PLACED: u8 = b'P';
    pub(in crate::table) const GATE: u8 = b'N';
    pub(in crate::table) const TOKEN_END: u8 = b'Q';
    pub(in crate::table) const TOKEN: u8 = b'R';
    pub(in crate::table) const STREAM: u8 = b'S';
    pub(in crate::table) const TRANSACTION: u8 = b'T';
    pub(in crate::table) const STREAM_FIGURES: u8 = b'U';
    pub(in crate::table) const LEAVING: u8 = b'V';
    pub(in crate::table) const DELETED: u8 = b'W';
    pub(in crate::table) const INDEX: u8 = b'X';
    pub(in crate::table) const ZONE: u8 = b'Z';
}

/// Into so many classes the keys of a table fall, each of which remembers when one of its items was last deleted.
const DELETED_CLASSES: u32 = 256;

/// Builds the keys of one machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rows {
    prefix: Bytes,
}

impl Rows {
    /// Below this prefix.
    pub(super) fn new(prefix: Bytes) -> Self {
        Self { prefix }
    }

    fn start(&self, row: u8, room: usize) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.prefix.len() + 1 + room);
        key.extend_from_slice(&self.prefix);
        key.push(row);
        key
    }

    /// All rows of a kind begin so.
    pub(super) fn kind(&self, row: u8) -> Vec<u8> {
        self.start(row, 0)
    }

    /// What stands behind the prefix and the kind.
    pub(super) fn rest(&self, key: &Bytes) -> StateResult<Bytes> {
        let cut = self.prefix.len() + 1;
        if key.len() < cut { Err(damaged("a row's key")) } else { Ok(key.slice(cut..)) }
    }

    pub(super) fn definition(&self, name: &str) -> Vec<u8> {
        let mut key = self.start(row::DEFINITION, name.len());
        key.extend_from_slice(name.as_bytes());
        key
    }

    pub(super) fn numbered(&self, row: u8, table: u32, rest: &[u8]) -> Vec<u8> {
        let mut key = self.start(row, 4 + rest.len());
        key.extend_from_slice(&table.to_be_bytes());
        key.extend_from_slice(rest);
        key
    }

    pub(super) fn item(&self, table: u32, key: &[u8]) -> Vec<u8> {
        self.numbered(row::ITEM, table, key)
    }

    pub(super) fn index(&self, table: u32, index: u32, key: &[u8]) -> Vec<u8> {
        let mut out = self.start(row::INDEX, 8 + key.len());
        out.extend_from_slice(&table.to_be_bytes());
        out.extend_from_slice(&index.to_be_bytes());
        out.extend_from_slice(key);
        out
    }

    /// Where it is remembered when an item of the class of `key` was last deleted.
    pub(super) fn deleted(&self, table: u32, key: &[u8]) -> Vec<u8> {
        let class = hash32(key) % DELETED_CLASSES;
        self.numbered(row::DELETED, table, &[class as u8])
    }

    pub(super) fn token(&self, token: &[u8]) -> Vec<u8> {
        let mut key = self.start(row::TOKEN, token.len());
        key.extend_from_slice(token);
        key
    }

    pub(super) fn token_end(&self, end: u64, token: &[u8]) -> Vec<u8> {
        let mut key = self.start(row::TOKEN_END, 8 + token.len());
        key.extend_from_slice(&end.to_be_bytes());
        key.extend_from_slice(token);
        key
    }

    /// A row of a change feed.
    pub(super) fn stream(&self, row: u8, id: StreamId) -> Vec<u8> {
        self.numbered(row, id.table, &id.label.to_be_bytes())
    }

    /// A record of a change feed.
    pub(super) fn record(&self, id: StreamId, at: Position) -> Vec<u8> {
        let mut key = self.stream(row::RECORD, id);
        key.extend_from_slice(&at.index.to_be_bytes());
        key.extend_from_slice(&at.number.to_be_bytes());
        key
    }

    /// Behind all records of a change feed.
    pub(super) fn records_end(&self, id: StreamId) -> Vec<u8> {
        behind(self.stream(row::RECORD, id))
    }

    /// A lock, by its key.
    pub(super) fn lock(&self, key: &[u8]) -> Vec<u8> {
        let mut out = self.start(row::LOCK, key.len());
        out.extend_from_slice(key);
        out
    }

    /// What is known of a gateway.
    pub(super) fn gate(&self, node: NodeId) -> Vec<u8> {
        let mut key = self.start(row::GATE, 8);
        key.extend_from_slice(&node.0.to_be_bytes());
        key
    }

    /// The gateway in the key of what is known of it.
    pub(super) fn gate_of(&self, key: &Bytes) -> StateResult<NodeId> {
        let node = self.rest(key)?[..].try_into().map_err(|_| damaged("a gateway's key"))?;
        Ok(NodeId(u64::from_be_bytes(node)))
    }

    /// The kind of a row of this machine.
    pub(super) fn kind_of(&self, key: &[u8]) -> Option<u8> {
        key.strip_prefix(&self.prefix[..])?.first().copied()
    }

    /// The record of a transaction.
    pub(super) fn transaction(&self, id: &TxnId) -> Vec<u8> {
        let mut key = self.start(row::TRANSACTION, 28);
        for n in [id.node.0, id.boot, id.sequence] {
            key.extend_from_slice(&n.to_be_bytes());
        }
        key.extend_from_slice(&id.attempt.to_be_bytes());
        key
    }

    /// The transaction in a record's key.
    pub(super) fn transaction_of(&self, key: &Bytes) -> StateResult<TxnId> {
        let rest = self.rest(key)?;
        let number = |at: usize| Some(u64::from_be_bytes(rest.get(at..at + 8)?.try_into().ok()?));
        let read = || {
            let attempt = u32::from_be_bytes(rest.get(24..)?.try_into().ok()?);
            Some(TxnId { node: NodeId(number(0)?), boot: number(8)?, sequence: number(16)?, attempt })
        };
        read().ok_or_else(|| damaged("a transaction's key"))
    }

    /// The position in a record's key.
    pub(super) fn position(&self, key: &Bytes) -> StateResult<Position> {
        let rest = self.rest(key)?;
        let read = || {
            let (index, number) = rest.get(12..)?.split_first_chunk::<8>()?;
            let number = u32::from_be_bytes(number.try_into().ok()?);
            Some(Position { index: u64::from_be_bytes(*index), number })
        };
        read().ok_or_else(|| damaged("a record's key"))
    }

    /// All that a dropped table may have left, by its number: the beginnings of its rows.
    pub(super) fn of_table(&self, table: u32) -> [Vec<u8>; 4] {
        [row::FIGURES, row::ITEM, row::DELETED, row::INDEX].map(|row| self.numbered(row, table, b""))
    }
}

/// The first key behind all that begin with `prefix`.
pub(super) fn behind(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if last < 0xff {
            prefix.push(last + 1);
            return prefix;
        }
    }
    // Nothing is behind all; no prefix of ours is so.
    vec![0xff; 64]
}

/// Where a partition key's bytes lie in the table: partitions are spread by it, over parallel scans and, once tables are
/// split, over shards. FNV-1a with a last mixing; it stands in keys on disks and never changes.
pub(super) fn hash32(bytes: &[u8]) -> u32 {
    let mut h = 0xCBF2_9CE4_8422_2325_u64;
    for byte in bytes {
        h = (h ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    h = (h ^ (h >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    h = (h ^ (h >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    ((h ^ (h >> 33)) >> 16) as u32
}

/// The error of a row that cannot be: the store's checksums hold, and still it is not what this code writes.
pub(super) fn damaged(what: &str) -> StateError {
    StateError::of_damage(format!("state of tables: {what} is malformed"))
}

/// Appends a variable-length number.
pub(super) fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_never_change() {
        assert_eq!(
            [hash32(b""), hash32(b"a"), hash32(b"partition")],
            [526_432_921, 2_841_160_126, 1_668_943_501]
        );
    }

    #[test]
    fn what_is_behind_a_prefix_is_above_all_of_it() {
        assert_eq!(behind(vec![1, 2]), [1, 3]);
        assert_eq!(behind(vec![1, 0xff, 0xff]), [2]);
    }
}
