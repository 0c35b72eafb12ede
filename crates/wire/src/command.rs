//! Commands as they stand in the log.
//!
//! `format (1) | origin | request | command`. The command is encoded once, by the node that took the request, and shared
//! by journal, frames and apply; decoding copies no key and no value. A format or a command that is not known decodes to
//! an error, which every replica of one release meets alike.

use crate::codec::{Malformed, Read, Reader, Write};
use crate::kv::{
    Command, Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, Op, Put, Range, SortOrder,
    SortTarget, Txn,
};
use bytes::{BufMut, Bytes, BytesMut};
use quorate_base::NodeId;

const FORMAT: u8 = 1;
/// How deep transactions may nest.
pub const NESTING_MAX: usize = 32;

/// A command with who asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// The node that took the request and answers it.
    pub origin: NodeId,
    /// Its number for the request.
    pub request: u64,
    /// What is to be done.
    pub command: Command,
}

/// Encodes a command.
pub fn encode(origin: NodeId, request: u64, command: &Command) -> Bytes {
    let mut out = BytesMut::with_capacity(64 + payload(command));
    out.put_u8(FORMAT);
    out.varint(origin.0);
    out.varint(request);
    match command {
        Command::Put(put) => {
            out.put_u8(1);
            put_put(&mut out, put);
        }
        Command::Delete(delete) => {
            out.put_u8(2);
            put_delete(&mut out, delete);
        }
        Command::Txn(txn) => {
            out.put_u8(3);
            put_txn(&mut out, txn);
        }
        Command::Compact { revision } => {
            out.put_u8(4);
            out.int(*revision);
        }
        Command::LeaseGrant { id, ttl } => {
            out.put_u8(5);
            out.int(*id);
            out.int(*ttl);
        }
        Command::LeaseRevoke { ids, expired } => {
            out.put_u8(6);
            out.flag(*expired);
            out.varint(ids.len() as u64);
            ids.iter().for_each(|&id| out.int(id));
        }
        Command::LeaseCheckpoint { remaining } => {
            out.put_u8(7);
            out.varint(remaining.len() as u64);
            for &(id, left) in remaining {
                out.int(id);
                out.int(left);
            }
        }
    }
    out.freeze()
}

/// Decodes what [`encode`] made.
pub fn decode(data: &Bytes) -> Read<Decoded> {
    let r = &mut Reader::new(data.clone());
    if r.u8()? != FORMAT {
        return Err(Malformed);
    }
    let (origin, request) = (NodeId(r.varint()?), r.varint()?);
    let command = match r.u8()? {
        1 => Command::Put(read_put(r)?),
        2 => Command::Delete(read_delete(r)?),
        3 => Command::Txn(read_txn(r, 0)?),
        4 => Command::Compact { revision: r.int()? },
        5 => Command::LeaseGrant { id: r.int()?, ttl: r.int()? },
        6 => {
            let expired = r.flag()?;
            let ids = (0..r.count()?).map(|_| r.int()).collect::<Read<_>>()?;
            Command::LeaseRevoke { ids, expired }
        }
        7 => {
            let remaining = (0..r.count()?).map(|_| Ok((r.int()?, r.int()?))).collect::<Read<_>>()?;
            Command::LeaseCheckpoint { remaining }
        }
        _ => return Err(Malformed),
    };
    r.end()?;
    Ok(Decoded { origin, request, command })
}

fn payload(command: &Command) -> usize {
    match command {
        Command::Put(put) => put.key.len() + put.value.len(),
        _ => 0,
    }
}

fn put_range(out: &mut BytesMut, range: &KeyRange) {
    out.string(&range.key);
    out.string(&range.end);
}

fn read_range(r: &mut Reader) -> Read<KeyRange> {
    Ok(KeyRange { key: r.bytes()?, end: r.bytes()? })
}

fn put_put(out: &mut BytesMut, put: &Put) {
    let flags =
        u8::from(put.prev_kv) | u8::from(put.ignore_value) << 1 | u8::from(put.ignore_lease) << 2;
    out.put_u8(flags);
    out.string(&put.key);
    out.string(&put.value);
    out.int(put.lease);
}

fn read_put(r: &mut Reader) -> Read<Put> {
    let flags = r.u8()?;
    if flags > 7 {
        return Err(Malformed);
    }
    Ok(Put {
        key: r.bytes()?,
        value: r.bytes()?,
        lease: r.int()?,
        prev_kv: flags & 1 != 0,
        ignore_value: flags & 2 != 0,
        ignore_lease: flags & 4 != 0,
    })
}

fn put_delete(out: &mut BytesMut, delete: &DeleteRange) {
    out.flag(delete.prev_kv);
    put_range(out, &delete.range);
}

fn read_delete(r: &mut Reader) -> Read<DeleteRange> {
    Ok(DeleteRange { prev_kv: r.flag()?, range: read_range(r)? })
}

fn put_read(out: &mut BytesMut, range: &Range) {
    put_range(out, &range.range);
    out.put_u8(u8::from(range.keys_only) | u8::from(range.count_only) << 1);
    out.put_u8(range.sort_order as u8);
    out.put_u8(range.sort_target as u8);
    for n in [
        range.limit,
        range.revision,
        range.min_mod_revision,
        range.max_mod_revision,
        range.min_create_revision,
        range.max_create_revision,
    ] {
        out.int(n);
    }
}

fn read_read(r: &mut Reader) -> Read<Range> {
    let range = read_range(r)?;
    let flags = r.u8()?;
    let sort_order = match r.u8()? {
        0 => SortOrder::None,
        1 => SortOrder::Ascend,
        2 => SortOrder::Descend,
        _ => return Err(Malformed),
    };
    let sort_target = match r.u8()? {
        0 => SortTarget::Key,
        1 => SortTarget::Version,
        2 => SortTarget::Create,
        3 => SortTarget::Mod,
        4 => SortTarget::Value,
        _ => return Err(Malformed),
    };
    if flags > 3 {
        return Err(Malformed);
    }
    Ok(Range {
        range,
        sort_order,
        sort_target,
        keys_only: flags & 1 != 0,
        count_only: flags & 2 != 0,
        limit: r.int()?,
        revision: r.int()?,
        min_mod_revision: r.int()?,
        max_mod_revision: r.int()?,
        min_create_revision: r.int()?,
        max_create_revision: r.int()?,
    })
}

fn put_txn(out: &mut BytesMut, txn: &Txn) {
    out.varint(txn.compare.len() as u64);
    for compare in &txn.compare {
        put_range(out, &compare.range);
        out.put_u8(compare.result as u8);
        match &compare.target {
            CompareTarget::Version(n) => {
                out.put_u8(0);
                out.int(*n);
            }
            CompareTarget::Create(n) => {
                out.put_u8(1);
                out.int(*n);
            }
            CompareTarget::Mod(n) => {
                out.put_u8(2);
                out.int(*n);
            }
            CompareTarget::Value(value) => {
                out.put_u8(3);
                out.string(value);
            }
            CompareTarget::Lease(n) => {
                out.put_u8(4);
                out.int(*n);
            }
        }
    }
    for ops in [&txn.success, &txn.failure] {
        out.varint(ops.len() as u64);
        for op in ops {
            match op {
                Op::Range(range) => {
                    out.put_u8(0);
                    put_read(out, range);
                }
                Op::Put(put) => {
                    out.put_u8(1);
                    put_put(out, put);
                }
                Op::Delete(delete) => {
                    out.put_u8(2);
                    put_delete(out, delete);
                }
                Op::Txn(txn) => {
                    out.put_u8(3);
                    put_txn(out, txn);
                }
            }
        }
    }
}

fn read_txn(r: &mut Reader, depth: usize) -> Read<Txn> {
    if depth > NESTING_MAX {
        return Err(Malformed);
    }
    let compare = (0..r.count()?).map(|_| read_compare(r)).collect::<Read<_>>()?;
    let success = (0..r.count()?).map(|_| read_op(r, depth)).collect::<Read<_>>()?;
    let failure = (0..r.count()?).map(|_| read_op(r, depth)).collect::<Read<_>>()?;
    Ok(Txn { compare, success, failure })
}

fn read_compare(r: &mut Reader) -> Read<Compare> {
    let range = read_range(r)?;
    let result = match r.u8()? {
        0 => CompareResult::Equal,
        1 => CompareResult::Greater,
        2 => CompareResult::Less,
        3 => CompareResult::NotEqual,
        _ => return Err(Malformed),
    };
    let target = match r.u8()? {
        0 => CompareTarget::Version(r.int()?),
        1 => CompareTarget::Create(r.int()?),
        2 => CompareTarget::Mod(r.int()?),
        3 => CompareTarget::Value(r.bytes()?),
        4 => CompareTarget::Lease(r.int()?),
        _ => return Err(Malformed),
    };
    Ok(Compare { range, result, target })
}

fn read_op(r: &mut Reader, depth: usize) -> Read<Op> {
    Ok(match r.u8()? {
        0 => Op::Range(read_read(r)?),
        1 => Op::Put(read_put(r)?),
        2 => Op::Delete(read_delete(r)?),
        3 => Op::Txn(read_txn(r, depth + 1)?),
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Rng;

    fn bytes(rng: &mut Rng) -> Bytes {
        (0..rng.below(9)).map(|_| rng.next_u64() as u8).collect::<Vec<_>>().into()
    }

    fn range(rng: &mut Rng) -> KeyRange {
        KeyRange { key: bytes(rng), end: bytes(rng) }
    }

    fn op(rng: &mut Rng, depth: usize) -> Op {
        match rng.below(if depth > 3 { 3 } else { 4 }) {
            0 => Op::Range(Range {
                range: range(rng),
                limit: rng.below(9) as i64 - 1,
                sort_order: SortOrder::Descend,
                sort_target: SortTarget::Mod,
                keys_only: rng.chance(1, 2),
                ..Range::default()
            }),
            1 => Op::Put(put(rng)),
            2 => Op::Delete(DeleteRange { range: range(rng), prev_kv: rng.chance(1, 2) }),
            _ => Op::Txn(txn(rng, depth + 1)),
        }
    }

    fn put(rng: &mut Rng) -> Put {
        let (prev_kv, ignore_lease) = (rng.chance(1, 2), rng.chance(1, 2));
        Put { key: bytes(rng), value: bytes(rng), lease: -7, prev_kv, ignore_value: false, ignore_lease }
    }

    fn txn(rng: &mut Rng, depth: usize) -> Txn {
        let compare = |rng: &mut Rng| Compare {
            range: range(rng),
            result: CompareResult::NotEqual,
            target: if rng.chance(1, 2) { CompareTarget::Value(bytes(rng)) } else { CompareTarget::Mod(3) },
        };
        Txn {
            compare: (0..rng.below(3)).map(|_| compare(rng)).collect(),
            success: (0..rng.below(3)).map(|_| op(rng, depth)).collect(),
            failure: (0..rng.below(3)).map(|_| op(rng, depth)).collect(),
        }
    }

    #[test]
    fn commands_come_back_and_garbage_is_an_error() {
        let mut rng = Rng::new(5);
        for round in 0..5_000 {
            let command = match rng.below(7) {
                0 => Command::Put(put(&mut rng)),
                1 => Command::Delete(DeleteRange { range: range(&mut rng), prev_kv: true }),
                2 => Command::Compact { revision: rng.next_u64() as i64 },
                3 => Command::LeaseGrant { id: rng.next_u64() as i64, ttl: 5 },
                4 => Command::LeaseRevoke { ids: vec![1, -2, i64::MAX], expired: true },
                5 => Command::LeaseCheckpoint { remaining: vec![(1, 2), (3, 4)] },
                _ => Command::Txn(txn(&mut rng, 0)),
            };
            let data = encode(NodeId(3), round, &command);
            assert_eq!(decode(&data), Ok(Decoded { origin: NodeId(3), request: round, command }));
            let mut harmed = data.to_vec();
            let at = rng.below(harmed.len() as u64) as usize;
            harmed[at] ^= 1 << rng.below(8);
            let _ = decode(&harmed.clone().into());
            harmed.truncate(at);
            assert_eq!(decode(&harmed.into()), Err(Malformed));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut txn = Txn::default();
        for _ in 0..NESTING_MAX + 2 {
            txn = Txn { success: vec![Op::Txn(txn)], ..Txn::default() };
        }
        assert_eq!(decode(&encode(NodeId(1), 1, &Command::Txn(txn))), Err(Malformed));
    }
}
