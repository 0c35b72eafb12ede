//! Which requests make sense, by etcd's rules and in its words.

use crate::failure::invalid;
use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use std::collections::BTreeSet;
use tonic::Status;

/// The most compares, or operations of one branch, in a transaction with all that is nested in it.
const TXN_OPS_MAX: usize = 128;

const EMPTY_KEY: &str = "etcdserver: key is not provided";

pub(crate) fn range(r: &pb::RangeRequest) -> Result<(), Status> {
    if r.key.is_empty() {
        return Err(invalid(EMPTY_KEY));
    }
    let known = (0..=2).contains(&r.sort_order) && (0..=4).contains(&r.sort_target);
    if known { Ok(()) } else { Err(invalid("etcdserver: invalid sort option")) }
}

pub(crate) fn put(p: &pb::PutRequest) -> Result<(), Status> {
    if p.key.is_empty() {
        Err(invalid(EMPTY_KEY))
    } else if p.ignore_value && !p.value.is_empty() {
        Err(invalid("etcdserver: value is provided"))
    } else if p.ignore_lease && p.lease != 0 {
        Err(invalid("etcdserver: lease is provided"))
    } else {
        Ok(())
    }
}

pub(crate) fn delete(d: &pb::DeleteRangeRequest) -> Result<(), Status> {
    if d.key.is_empty() { Err(invalid(EMPTY_KEY)) } else { Ok(()) }
}

pub(crate) fn txn(t: &pb::TxnRequest) -> Result<(), Status> {
    sizes(t, TXN_OPS_MAX)?;
    overlaps(&t.success)?;
    overlaps(&t.failure)?;
    Ok(())
}

/// `most` is what the enclosing transactions have left over.
fn sizes(t: &pb::TxnRequest, most: usize) -> Result<(), Status> {
    let ops = t.compare.len().max(t.success.len()).max(t.failure.len());
    let Some(left) = most.checked_sub(ops) else {
        return Err(invalid("etcdserver: too many operations in txn request"));
    };
    if t.compare.iter().any(|c| c.key.is_empty()) {
        return Err(invalid(EMPTY_KEY));
    }
    t.success.iter().chain(&t.failure).try_for_each(|op| operation(op, left))
}

fn operation(op: &pb::RequestOp, left: usize) -> Result<(), Status> {
    use pb::request_op::Request;
    match &op.request {
        Some(Request::RequestRange(r)) => range(r),
        Some(Request::RequestPut(p)) => put(p),
        Some(Request::RequestDeleteRange(d)) => delete(d),
        Some(Request::RequestTxn(t)) => sizes(t, left),
        None => Err(invalid("etcdserver: key not found")),
    }
}

/// The keys that operations write and the ranges that they delete, nested ones included.
#[derive(Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: Vec<(Bytes, Bytes)>,
}

impl Writes {
    /// A put must be the only write of its key.
    fn add_put(&mut self, key: &Bytes) -> Result<(), Status> {
        let deleted = self.deletes.iter().any(|(from, end)| match &end[..] {
            [] => key == from,
            [0] => key >= from,
            end => key >= from && key[..] < *end,
        });
        if deleted || !self.puts.insert(key.clone()) {
            return Err(invalid("etcdserver: duplicate key given in txn request"));
        }
        Ok(())
    }
}

/// Refuses two writes of one key where both may happen. The two branches of a nested transaction exclude each other.
fn overlaps(ops: &[pb::RequestOp]) -> Result<Writes, Status> {
    use pb::request_op::Request;
    let mut all = Writes::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(d)) = &op.request {
            all.deletes.push((d.key.clone(), d.range_end.clone()));
        }
    }
    for op in ops {
        if let Some(Request::RequestTxn(t)) = &op.request {
            let (then, or_else) = (overlaps(&t.success)?, overlaps(&t.failure)?);
            then.puts.iter().try_for_each(|key| all.add_put(key))?;
            all.deletes.extend(then.deletes);
            for key in or_else.puts.iter().filter(|key| !then.puts.contains(*key)) {
                all.add_put(key)?;
            }
            all.deletes.extend(or_else.deletes);
        }
    }
    for op in ops {
        if let Some(Request::RequestPut(p)) = &op.request {
            all.add_put(&p.key)?;
        }
    }
    Ok(all)
}

/// Whether a transaction only reads.
pub(crate) fn only_reads(t: &pb::TxnRequest) -> bool {
    use pb::request_op::Request;
    t.success.iter().chain(&t.failure).all(|op| match &op.request {
        Some(Request::RequestRange(_)) => true,
        Some(Request::RequestTxn(t)) => only_reads(t),
        _ => false,
    })
}

/// Whether every read in a transaction may be answered from the asked node's own state.
pub(crate) fn serializable(t: &pb::TxnRequest) -> bool {
    use pb::request_op::Request;
    t.success.iter().chain(&t.failure).all(|op| match &op.request {
        Some(Request::RequestRange(r)) => r.serializable,
        Some(Request::RequestTxn(t)) => serializable(t),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pb::request_op::Request;

    fn op(request: Request) -> pb::RequestOp {
        pb::RequestOp { request: Some(request) }
    }

    fn put_of(key: &'static str) -> pb::RequestOp {
        op(Request::RequestPut(pb::PutRequest { key: key.into(), ..Default::default() }))
    }

    fn delete_of(key: &'static str, end: &'static str) -> pb::RequestOp {
        let (key, range_end) = (key.into(), end.into());
        op(Request::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv: false }))
    }

    fn nested(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
        op(Request::RequestTxn(pb::TxnRequest { compare: vec![], success, failure }))
    }

    fn verdict(success: Vec<pb::RequestOp>) -> String {
        let t = pb::TxnRequest { compare: vec![], success, failure: vec![] };
        txn(&t).err().map_or("ok".into(), |s| s.message().to_string())
    }

    #[test]
    fn one_key_is_written_once() {
        let duplicate = "etcdserver: duplicate key given in txn request";
        assert_eq!(verdict(vec![put_of("a"), put_of("b")]), "ok");
        assert_eq!(verdict(vec![put_of("a"), put_of("a")]), duplicate);
        assert_eq!(verdict(vec![delete_of("a", "c"), put_of("b")]), duplicate);
        assert_eq!(verdict(vec![delete_of("a", "c"), delete_of("b", "")]), "ok", "two deletions may overlap");
        assert_eq!(
            verdict(vec![nested(vec![put_of("a")], vec![put_of("a")])]),
            "ok",
            "the branches exclude each other"
        );
        assert_eq!(verdict(vec![nested(vec![put_of("a")], vec![]), put_of("a")]), duplicate);
        assert_eq!(verdict(vec![nested(vec![delete_of("a", "\0")], vec![]), put_of("z")]), duplicate);
    }

    #[test]
    fn the_limit_counts_what_is_nested() {
        let too_many = "etcdserver: too many operations in txn request";
        let puts = |n: usize| {
            (0..n).map(|i| {
                op(Request::RequestPut(pb::PutRequest { key: format!("k{i}").into(), ..Default::default() }))
            })
        };
        assert_eq!(verdict(puts(128).collect()), "ok");
        assert_eq!(verdict(puts(129).collect()), too_many);
        assert_eq!(verdict(vec![nested(puts(127).collect(), vec![])]), "ok");
        assert_eq!(verdict(vec![nested(puts(128).collect(), vec![])]), too_many);
    }
}
