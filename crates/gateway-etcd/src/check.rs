//! Which requests make sense, by etcd's rules and in its words.

use crate::failure::invalid;
use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_wire::command::NESTING_MAX;
use std::collections::{BTreeMap, BTreeSet};
use tonic::Status;

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

/// `most` is how many operations it may have (`limits.rs`).
pub(crate) fn txn(t: &pb::TxnRequest, most: usize) -> Result<(), Status> {
    sizes(t, most, 1)?;
    overlaps(&t.success)?;
    overlaps(&t.failure)?;
    Ok(())
}

/// `most` is what the enclosing transactions have left over; `depth` counts them, this one included.
fn sizes(t: &pb::TxnRequest, most: usize, depth: usize) -> Result<(), Status> {
    if depth > NESTING_MAX {
        // etcd would take it, as deep as its library parses; the log does not.
        return Err(invalid("quorate: transactions nest too deeply"));
    }
    let ops = t.compare.len().max(t.success.len()).max(t.failure.len());
    let Some(left) = most.checked_sub(ops) else {
        return Err(invalid("etcdserver: too many operations in txn request"));
    };
    if t.compare.iter().any(|c| c.key.is_empty()) {
        return Err(invalid(EMPTY_KEY));
    }
    t.success.iter().chain(&t.failure).try_for_each(|op| operation(op, left, depth))
}

fn operation(op: &pb::RequestOp, left: usize, depth: usize) -> Result<(), Status> {
    use pb::request_op::Request;
    match &op.request {
        Some(Request::RequestRange(r)) => range(r),
        Some(Request::RequestPut(p)) => put(p),
        Some(Request::RequestDeleteRange(d)) => delete(d),
        Some(Request::RequestTxn(t)) => sizes(t, left, depth + 1),
        None => Err(invalid("etcdserver: key not found")),
    }
}

/// The keys that operations put and the ranges that they delete, nested ones included.
///
/// A transaction may hold some hundred thousand operations (nesting multiplies), so each look-up must be quick: the
/// deleted ranges are kept merged, and lie apart from each other.
#[derive(Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    /// From the first key to the first one behind the range.
    deletes: BTreeMap<Bytes, Bytes>,
}

impl Writes {
    /// A put must be the only write of its key.
    fn add_put(&mut self, key: &Bytes) -> Result<(), Status> {
        if self.deleted(key) || !self.puts.insert(key.clone()) {
            return Err(duplicate());
        }
        Ok(())
    }

    fn deleted(&self, key: &Bytes) -> bool {
        self.deletes.range::<Bytes, _>(..=key).next_back().is_some_and(|(_, end)| key < end)
    }

    fn add_delete(&mut self, d: &pb::DeleteRangeRequest) {
        let end = if d.range_end.is_empty() {
            // The first key behind this one.
            Bytes::from([&d.key[..], &[0]].concat())
        } else {
            d.range_end.clone()
        };
        self.add_range(d.key.clone(), end);
    }

    /// An empty range deletes nothing; that is also how etcd sees "from this key on" (an end of one zero byte) *here*, so
    /// such a deletion may stand beside a put.
    fn add_range(&mut self, mut from: Bytes, mut end: Bytes) {
        if from >= end {
            return;
        }
        while let Some((at, upto)) = self.deletes.range(..=end.clone()).next_back() {
            if *upto < from {
                break;
            }
            let (at, upto) = (at.clone(), upto.clone());
            self.deletes.remove(&at);
            from = from.min(at);
            end = end.max(upto);
        }
        self.deletes.insert(from, end);
    }

    /// Adds what others write, of whom it is known that they write no key of these. The fewer go to the more: a key that is moved is among
    /// twice as many behind that, so that it is moved seldom however deep transactions lie in each other.
    fn join(&mut self, mut other: Self) {
        if other.puts.len() > self.puts.len() {
            std::mem::swap(&mut self.puts, &mut other.puts);
        }
        if other.deletes.len() > self.deletes.len() {
            std::mem::swap(&mut self.deletes, &mut other.deletes);
        }
        self.puts.extend(other.puts);
        for (from, end) in other.deletes {
            self.add_range(from, end);
        }
    }

    /// Whether one of these puts is of a key that is written here; the fewer are looked for among the more.
    fn meet(&self, puts: &BTreeSet<Bytes>) -> bool {
        if puts.len() <= self.puts.len() + self.deletes.len() {
            return puts.iter().any(|key| self.deleted(key) || self.puts.contains(key));
        }
        let deleted = |(from, end): (&Bytes, &Bytes)| puts.range::<Bytes, _>(from..end).next().is_some();
        self.puts.iter().any(|key| puts.contains(key)) || self.deletes.iter().any(deleted)
    }
}

fn duplicate() -> Status {
    invalid("etcdserver: duplicate key given in txn request")
}

/// Refuses two writes of one key where both may happen. The two branches of a nested transaction exclude each other.
fn overlaps(ops: &[pb::RequestOp]) -> Result<Writes, Status> {
    use pb::request_op::Request;
    let mut all = Writes::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(d)) = &op.request {
            all.add_delete(d);
        }
    }
    for op in ops {
        if let Some(Request::RequestTxn(t)) = &op.request {
            let mut either = overlaps(&t.success)?;
            either.join(overlaps(&t.failure)?);
            if all.meet(&either.puts) {
                return Err(duplicate());
            }
            all.join(either);
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

/// Whether every read in a transaction may be answered from the asked node's own state. One that reads by its compares
/// alone has nowhere to say so, and is linearizable.
pub(crate) fn serializable(t: &pb::TxnRequest) -> bool {
    let mut reads = 0;
    all_serializable(t, &mut reads) && reads > 0
}

fn all_serializable(t: &pb::TxnRequest, reads: &mut usize) -> bool {
    use pb::request_op::Request;
    t.success.iter().chain(&t.failure).all(|op| match &op.request {
        Some(Request::RequestRange(r)) => {
            *reads += 1;
            r.serializable
        }
        Some(Request::RequestTxn(t)) => all_serializable(t, reads),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pb::request_op::Request;
    use prost::Message;
    use quorate_base::Rng;

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
        txn(&t, 128).err().map_or("ok".into(), |s| s.message().to_string())
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
        assert_eq!(verdict(vec![nested(vec![delete_of("a", "zz")], vec![]), put_of("z")]), duplicate);
        assert_eq!(
            verdict(vec![nested(vec![delete_of("a", "")], vec![put_of("a")])]),
            "ok",
            "nor may a put in one branch and a deletion in the other both happen"
        );
        assert_eq!(verdict(vec![delete_of("a", "\0"), put_of("b")]), "ok", "as etcd has it");
        assert_eq!(verdict(vec![delete_of("a", ""), put_of("a\0")]), "ok");
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

    /// What passes here is encoded for the log, and that takes no deeper one: a client's transaction of 33 levels ended the node.
    #[test]
    fn what_nests_deeper_than_the_log_takes_is_refused() {
        let deep = |levels: usize| {
            let inner = (2..levels).fold(put_of("a"), |op, _| nested(vec![op], vec![]));
            pb::TxnRequest { success: vec![nested(vec![inner], vec![])], ..pb::TxnRequest::default() }
        };
        assert_eq!(txn(&deep(NESTING_MAX), 128).map_err(|s| s.message().to_string()), Ok(()));
        let command = quorate_wire::kv::Command::Txn(crate::convert::txn(deep(NESTING_MAX)).unwrap());
        let encoded = quorate_wire::command::encode(quorate_base::NodeId(1), 1, &command);
        assert!(quorate_wire::command::decode(&encoded).is_ok());
        let refused = txn(&deep(NESTING_MAX + 1), 128).unwrap_err();
        assert_eq!(refused.message(), "quorate: transactions nest too deeply");
    }

    fn any_number(rng: &mut Rng) -> i64 {
        *rng.pick(&[0, 1, -1, 7, i64::MIN, i64::MAX, 1 << 31])
    }

    fn any_key(rng: &mut Rng) -> Bytes {
        (0..rng.below(3)).map(|_| *rng.pick(&[0, b'a', b'b', 0xff])).collect()
    }

    fn any_op(rng: &mut Rng, depth: usize) -> pb::RequestOp {
        let request = match rng.below(if depth < 40 { 6 } else { 4 }) {
            0 => return pb::RequestOp { request: None },
            1 => Request::RequestRange(any_range(rng)),
            2 => Request::RequestPut(any_put(rng)),
            3 => Request::RequestDeleteRange(pb::DeleteRangeRequest {
                key: any_key(rng),
                range_end: any_key(rng),
                prev_kv: true,
            }),
            _ => Request::RequestTxn(any_txn(rng, depth + 1)),
        };
        op(request)
    }

    fn any_range(rng: &mut Rng) -> pb::RangeRequest {
        pb::RangeRequest {
            key: any_key(rng),
            range_end: any_key(rng),
            limit: any_number(rng),
            revision: any_number(rng),
            sort_order: any_number(rng) as i32,
            sort_target: any_number(rng) as i32,
            ..pb::RangeRequest::default()
        }
    }

    fn any_put(rng: &mut Rng) -> pb::PutRequest {
        let (ignore_value, ignore_lease) = (rng.chance(1, 2), rng.chance(1, 2));
        let (key, value, lease) = (any_key(rng), any_key(rng), any_number(rng));
        pb::PutRequest { key, value, lease, ignore_value, ignore_lease, ..pb::PutRequest::default() }
    }

    fn any_txn(rng: &mut Rng, depth: usize) -> pb::TxnRequest {
        let compare = |rng: &mut Rng| pb::Compare {
            result: rng.below(6) as i32 - 1,
            target: rng.below(7) as i32 - 1,
            key: any_key(rng),
            range_end: any_key(rng),
            target_union: Some(pb::compare::TargetUnion::ModRevision(any_number(rng))),
        };
        let compare = (0..rng.below(2)).map(|_| compare(rng)).collect();
        let ops = rng.below(3);
        let success = (0..ops).map(|_| any_op(rng, depth)).collect();
        pb::TxnRequest { compare, success, failure: Vec::new() }
    }

    /// What the door makes of a message: a command for the log, as the log has it, or an answer.
    fn through_the_door(bytes: &[u8]) -> bool {
        let node = quorate_base::NodeId(1);
        let logged = |command: quorate_wire::kv::Command| {
            let encoded = quorate_wire::command::encode(node, 1, &command);
            assert_eq!(quorate_wire::command::decode(&encoded).map(|d| d.command), Ok(command));
        };
        let mut passed = false;
        if let Ok(t) = pb::TxnRequest::decode(bytes)
            && txn(&t, 128).is_ok()
            && let Ok(t) = crate::convert::txn(t)
        {
            logged(quorate_wire::kv::Command::Txn(t));
            passed = true;
        }
        if let Ok(p) = pb::PutRequest::decode(bytes)
            && put(&p).is_ok()
        {
            logged(quorate_wire::kv::Command::Put(crate::convert::put(p)));
        }
        if let Ok(r) = pb::RangeRequest::decode(bytes)
            && range(&r).is_ok()
        {
            let _ = crate::convert::range(r);
        }
        let _ = pb::WatchRequest::decode(bytes);
        let _ = pb::LeaseGrantRequest::decode(bytes);
        passed
    }

    /// Seed 9: messages of every shape, harmed ones and noise: an answer, or a command that the log takes. Never a panic.
    #[test]
    fn whatever_is_asked_is_answered_or_logged() {
        let mut rng = Rng::new(9);
        let mut passed = 0;
        for _ in 0..4_000 {
            let mut bytes = any_txn(&mut rng, 1).encode_to_vec();
            passed += u32::from(through_the_door(&bytes));
            through_the_door(&any_put(&mut rng).encode_to_vec());
            if !bytes.is_empty() {
                let at = rng.below(bytes.len() as u64) as usize;
                through_the_door(&bytes[..at]);
                bytes[at] ^= 1 << rng.below(8);
                through_the_door(&bytes);
                let end = (at + 9).min(bytes.len());
                bytes[at..end].fill(0xff);
                through_the_door(&bytes);
            }
            through_the_door(&(0..rng.below(60)).map(|_| rng.next_u64() as u8).collect::<Vec<u8>>());
        }
        assert!(passed > 500, "{passed}");
    }

    /// Against a list of ranges that is searched from end to end.
    #[test]
    fn merged_ranges_hold_what_their_parts_hold() {
        let mut rng = quorate_base::Rng::new(7);
        let mut key = |max: u64| {
            let n = rng.between(1, max);
            Bytes::from((0..n).map(|_| b'a' + rng.below(3) as u8).collect::<Vec<u8>>())
        };
        for round in 0..500 {
            let mut writes = Writes::default();
            let mut list = Vec::new();
            for _ in 0..8 {
                let (from, end) = (key(3), key(3));
                list.push((from.clone(), end.clone()));
                writes.add_range(from, end);
            }
            for _ in 0..30 {
                let key = key(4);
                let held = list.iter().any(|(from, end)| key >= from && key < end);
                assert_eq!(writes.deleted(&key), held, "round {round}: {key:?} in {list:?}");
            }
            let apart = writes.deletes.iter().zip(writes.deletes.iter().skip(1));
            assert!(apart.into_iter().all(|((_, end), (from, _))| end < from), "{:?}", writes.deletes);
        }
    }

    type Ranges = Vec<(Bytes, Bytes)>;

    /// The rule as it reads, each level with all that lies below it.
    fn plainly(ops: &[pb::RequestOp]) -> Option<(Vec<Bytes>, Ranges)> {
        let (mut puts, mut deletes): (Vec<Bytes>, Ranges) = Default::default();
        let deletion = |d: &pb::DeleteRangeRequest| {
            let one = d.range_end.is_empty();
            let end = if one { [&d.key[..], &[0]].concat().into() } else { d.range_end.clone() };
            (d.key.clone(), end)
        };
        for op in ops {
            if let Some(Request::RequestDeleteRange(d)) = &op.request {
                deletes.push(deletion(d));
            }
        }
        let free = |puts: &[Bytes], deletes: &[(Bytes, Bytes)], key: &Bytes| {
            !puts.contains(key) && !deletes.iter().any(|(from, end)| from <= key && key < end)
        };
        for op in ops {
            if let Some(Request::RequestTxn(t)) = &op.request {
                let (then, or_else) = (plainly(&t.success)?, plainly(&t.failure)?);
                let more = or_else.0.iter().filter(|key| !then.0.contains(key));
                let inner: Vec<Bytes> = then.0.iter().chain(more).cloned().collect();
                if !inner.iter().all(|key| free(&puts, &deletes, key)) {
                    return None;
                }
                puts.extend(inner);
                deletes.extend(then.1.into_iter().chain(or_else.1));
            }
        }
        for op in ops {
            if let Some(Request::RequestPut(p)) = &op.request {
                if !free(&puts, &deletes, &p.key) {
                    return None;
                }
                puts.push(p.key.clone());
            }
        }
        Some((puts, deletes))
    }

    /// Seed 11: transactions inside each other, of few keys.
    #[test]
    fn two_writes_of_one_key_are_refused_wherever_they_stand() {
        fn some(rng: &mut Rng, depth: u32) -> Vec<pb::RequestOp> {
            let key = |rng: &mut Rng| Bytes::from(format!("{:02}", rng.below(60)));
            (0..rng.below(5))
                .map(|_| match rng.below(if depth < 4 { 4 } else { 2 }) {
                    0 => op(Request::RequestPut(pb::PutRequest { key: key(rng), ..Default::default() })),
                    1 => {
                        let range_end = if rng.chance(1, 2) { Bytes::new() } else { key(rng) };
                        op(Request::RequestDeleteRange(pb::DeleteRangeRequest {
                            key: key(rng),
                            range_end,
                            ..Default::default()
                        }))
                    }
                    _ => op(Request::RequestTxn(pb::TxnRequest {
                        success: some(rng, depth + 1),
                        failure: some(rng, depth + 1),
                        ..Default::default()
                    })),
                })
                .collect()
        }
        let (mut rng, mut said) = (Rng::new(11), [0; 2]);
        for _ in 0..20_000 {
            let ops = some(&mut rng, 0);
            let (fast, plain) = (overlaps(&ops), plainly(&ops));
            assert_eq!(fast.is_ok(), plain.is_some(), "{ops:?}");
            said[usize::from(fast.is_ok())] += 1;
        }
        assert!(said.iter().all(|&n| n > 2_000), "{said:?}");
    }

    /// Each level had all below it written down once more: a request of half a megabyte took seconds.
    #[test]
    fn a_deep_transaction_is_checked_once() {
        let deletes = |i: usize| (0..24).map(move |j| delete_of_owned(format!("d{i:05}/{j:02}"))).collect();
        let inside = |success| op(Request::RequestTxn(pb::TxnRequest { success, ..Default::default() }));
        let mut all = inside((0..1400).map(|i| inside(deletes(i))).collect());
        for _ in 0..90 {
            all = inside(vec![all]);
        }
        assert!(overlaps(&[all]).is_ok());
    }

    #[test]
    fn a_large_transaction_is_checked_quickly() {
        // Three levels, as deep as the limit lets them be wide.
        let deletes = |i: usize| (0..24).map(move |j| delete_of_owned(format!("d{i:05}/{j:02}")));
        let leaf = |i: usize| {
            op(Request::RequestTxn(pb::TxnRequest {
                success: deletes(i).collect(),
                ..pb::TxnRequest::default()
            }))
        };
        let middle = |i: usize| {
            let success = (0..52).map(|j| leaf(i * 52 + j)).collect();
            op(Request::RequestTxn(pb::TxnRequest { success, ..pb::TxnRequest::default() }))
        };
        let start = std::time::Instant::now();
        assert_eq!(verdict((0..52).map(middle).collect()), "ok");
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }

    fn delete_of_owned(key: String) -> pb::RequestOp {
        op(Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key.into(), ..Default::default() }))
    }
}
