//! Who holds which items and tokens for transactions over several shards, and how that is stored.
//!
//! A key is `I`, the table's number and the item's key in it, or `R` and a token. Locks stand in rows of their own ([`super::held`]).

use super::layout::damaged;
use bytes::{BufMut, Bytes, BytesMut};
use quorate_protocol::commit::Lock;
use quorate_storage::state::StateResult;
use quorate_wire::codec::{Malformed, Read, Reader, Write};
use quorate_wire::table::{Action, read_id, write_id};

const ITEM: u8 = b'I';
const TOKEN: u8 = b'R';
const SHARED: u8 = 1;
const EXCLUSIVE: u8 = 2;

/// The lock's key of an item.
pub(super) fn item(table: u32, at: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(5 + at.len());
    key.put_u8(ITEM);
    key.put_u32(table);
    key.put_slice(at);
    key.freeze()
}

/// The table and the key in it of an item's lock; `None` for a token's.
pub(super) fn item_of(key: &[u8]) -> Option<(u32, &[u8])> {
    let (table, at) = key.strip_prefix(&[ITEM])?.split_first_chunk()?;
    Some((u32::from_be_bytes(*table), at))
}

/// The lock's key of a token.
pub(super) fn token(token: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + token.len());
    key.put_u8(TOKEN);
    key.put_slice(token);
    key.freeze()
}

/// Whether an operation that is no part of the transaction has to keep away.
pub(super) fn forbids(lock: &Lock, action: &Action) -> bool {
    matches!(lock, Lock::Exclusive(_)) || !matches!(action, Action::Check { .. })
}

/// A row of a lock.
pub(super) fn encode(lock: &Lock) -> Bytes {
    let mut out = BytesMut::new();
    match lock {
        Lock::Shared(ids) => {
            out.put_u8(SHARED);
            out.varint(ids.len() as u64);
            for id in ids {
                write_id(&mut out, id);
            }
        }
        Lock::Exclusive(id) => {
            out.put_u8(EXCLUSIVE);
            write_id(&mut out, id);
        }
    }
    out.freeze()
}

/// A row of a lock.
pub(super) fn decode(stored: Bytes) -> StateResult<Lock> {
    let mut input = Reader::new(stored);
    let mut read = || -> Read<Lock> {
        let lock = match input.u8()? {
            SHARED => Lock::Shared((0..input.count()?).map(|_| read_id(&mut input)).collect::<Read<_>>()?),
            EXCLUSIVE => Lock::Exclusive(read_id(&mut input)?),
            _ => return Err(Malformed),
        };
        input.end()?;
        Ok(lock)
    };
    read().map_err(|_| damaged("a lock"))
}
