//! The differences that are allowed, each with an id that `differences.md` explains. A test holds the two together.

use crate::op::Op;
use crate::side::Reply;
use crate::watch::Item;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::{request_op::Request, response_op::Response};
use quorate_proto::mvccpb::{Event, KeyValue};
use std::cmp::Ordering;
use std::time::Duration;
use tonic::Code;

/// How far two clocks may be apart, in seconds of a lease's remaining time, where calls take no time.
const CLOCKS: i64 = 2;

/// The ids of all rules.
#[cfg(test)]
const IDS: [&str; 12] = [
    "3.4-alarm-header",
    "3.4-auth-status",
    "3.4-hash-at-compaction",
    "3.4-progress",
    "3.4-puts-first",
    "compacted-prev-kv",
    "kept-hash",
    "progress-after-compaction",
    "same-revision-prev-kv",
    "stalled-lease",
    "tied-sort",
    "unknown-compare",
];

/// How far apart two clocks may be; `slowest` is the longest that any call took so far.
pub fn clocks_apart(slowest: Duration) -> i64 {
    CLOCKS + 2 * slowest.as_secs() as i64
}

/// Takes the difference of clocks out of a reply: what remains of a lease was read at two moments, and counts from two
/// moments. On side A up to `by.0` seconds more may remain, on side B up to `by.1`. False where more is between them.
pub fn clocks(a: &Reply, b: &mut Reply, by: (i64, i64)) -> bool {
    match (a, b) {
        (Reply::TimeToLive(a), Reply::TimeToLive(b)) if a.ttl > 0 => {
            let near = (-by.1..=by.0).contains(&(a.ttl - b.ttl));
            if near {
                b.ttl = a.ttl;
            }
            near
        }
        (Reply::Several(a), Reply::Several(b)) => {
            a.iter().zip(b).fold(true, |near, (a, b)| clocks(a, b, by) && near)
        }
        _ => true,
    }
}

/// Up to so many pairs etcd's sort leaves ties in the order of their keys.
const STABLE_SORT: i64 = 12;

/// Gives the ties of sorted ranges on side B the order of side A, where there are so many pairs that etcd's sort is free;
/// says whether there was anything to do.
pub fn ties(op: &Op, a: &Reply, b: &mut Reply) -> bool {
    match (op, a, b) {
        (Op::Range(request), Reply::Range(a), Reply::Range(b)) => ties_of_range(request, a, b),
        (Op::Txn(request), Reply::Txn(a), Reply::Txn(b)) => ties_of_txn(request, a, b),
        _ => false,
    }
}

fn ties_of_txn(request: &pb::TxnRequest, a: &pb::TxnResponse, b: &mut pb::TxnResponse) -> bool {
    let ops = if a.succeeded { &request.success } else { &request.failure };
    let mut any = false;
    for ((op, a), b) in ops.iter().zip(&a.responses).zip(&mut b.responses) {
        any |= match (&op.request, &a.response, &mut b.response) {
            (
                Some(Request::RequestRange(request)),
                Some(Response::ResponseRange(a)),
                Some(Response::ResponseRange(b)),
            ) => ties_of_range(request, a, b),
            (
                Some(Request::RequestTxn(request)),
                Some(Response::ResponseTxn(a)),
                Some(Response::ResponseTxn(b)),
            ) => ties_of_txn(request, a, b),
            _ => false,
        };
    }
    any
}

fn ties_of_range(request: &pb::RangeRequest, a: &pb::RangeResponse, b: &mut pb::RangeResponse) -> bool {
    use pb::range_request::SortTarget;
    // A pair without its value cannot be held to the order of values, so its neighbours may be anything.
    let tied = |a: &KeyValue, b: &KeyValue| match request.sort_target() {
        SortTarget::Key => a.key == b.key,
        SortTarget::Version => a.version == b.version,
        SortTarget::Create => a.create_revision == b.create_revision,
        SortTarget::Mod => a.mod_revision == b.mod_revision,
        SortTarget::Value => request.keys_only || a.value == b.value,
    };
    let alike = a.count == b.count && a.more == b.more && a.kvs.len() == b.kvs.len();
    if a.kvs == b.kvs || !alike || a.count <= STABLE_SORT || request.sort_target() == SortTarget::Key {
        return false;
    }
    if !a.kvs.iter().zip(&b.kvs).all(|(a, b)| tied(a, b)) {
        return false;
    }
    let by_key = |a: &KeyValue, b: &KeyValue| -> Ordering { a.key.cmp(&b.key) };
    let (mut of_a, mut of_b) = (a.kvs.clone(), b.kvs.clone());
    if let (true, Some(last)) = (a.more, a.kvs.last()) {
        // The limit cut the last ties: which of them came is as free as their order.
        of_a.retain(|kv| !tied(kv, last));
        of_b.retain(|kv| !tied(kv, last));
    }
    of_a.sort_by(by_key);
    of_b.sort_by(by_key);
    if of_a != of_b {
        return false;
    }
    b.kvs.clone_from(&a.kvs);
    true
}

/// The rule that allows these replies to differ, if one does. Each comes with whether its side is etcd 3.4; `overtaken`
/// says that the step is about a stream of which a compaction cancelled a watch.
pub fn reply(op: &Op, overtaken: bool, a: (&Reply, bool), b: (&Reply, bool)) -> Option<&'static str> {
    if matches!(op, Op::Txn(_)) && [a.0, b.0].into_iter().any(refuses_compare) {
        return Some("unknown-compare");
    }
    if overtaken && matches!((a.0, b.0), (Reply::Progress(_), Reply::Progress(_))) {
        return Some("progress-after-compaction");
    }
    if is_kept_hash(op, a.0, b.0) {
        return Some("kept-hash");
    }
    match (a.1, b.1) {
        (true, false) => of_3_4(op, a.0, b.0),
        (false, true) => of_3_4(op, b.0, a.0),
        _ => None,
    }
}

/// Quorate's answer to a compare that does not exist.
fn refuses_compare(reply: &Reply) -> bool {
    matches!(reply, Reply::Error { code: Code::InvalidArgument, text }
        if text.starts_with("etcdserver: the ") && text.ends_with(" of a compare is unknown"))
}

/// Whether only the compacted revision beside a hash differs, of a hash that was asked for at the compacted revision.
fn is_kept_hash(op: &Op, a: &Reply, b: &Reply) -> bool {
    let (Op::Upkeep { revision, .. }, Reply::Several(a), Reply::Several(b)) = (op, a, b) else {
        return false;
    };
    match (a.as_slice(), b.as_slice()) {
        (
            [Reply::Kept { header: of_a, number: a }, a_rest @ ..],
            [Reply::Kept { header: of_b, number: b }, b_rest @ ..],
        ) => of_a == of_b && a_rest == b_rest && a != b && a.max(b) == revision,
        _ => false,
    }
}

/// What changed between etcd 3.4, which answered `old`, and what is current.
fn of_3_4(op: &Op, old: &Reply, new: &Reply) -> Option<&'static str> {
    match (op, old, new) {
        (Op::Alarms(_), Reply::Alarms(old), Reply::Alarms(new)) => {
            (old.header.is_none() && old.alarms == new.alarms).then_some("3.4-alarm-header")
        }
        (Op::AuthStatus, Reply::Error { code: Code::Unimplemented, .. }, _) => Some("3.4-auth-status"),
        (Op::WatchProgress { .. }, Reply::Progress(old), Reply::Progress(new)) => {
            (!old.is_empty() && new.is_empty()).then_some("3.4-progress")
        }
        (
            Op::Txn(_),
            Reply::Error { code: Code::InvalidArgument | Code::NotFound, text: old },
            Reply::Error { code: Code::OutOfRange, text: new },
        ) => {
            let of_put = ["etcdserver: key not found", "etcdserver: requested lease not found"];
            let of_range = new.starts_with("etcdserver: mvcc: required revision ");
            (of_put.contains(&old.as_str()) && of_range).then_some("3.4-puts-first")
        }
        // The hash comes first of several replies.
        (Op::Upkeep { .. }, Reply::Several(old), Reply::Several(new)) => {
            match (old.as_slice(), new.as_slice()) {
                (
                    [Reply::Error { code: Code::OutOfRange, text }, old @ ..],
                    [Reply::Kept { .. }, new @ ..],
                ) if text.ends_with("has been compacted") && old == new => Some("3.4-hash-at-compaction"),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The rule that allows what two watches say to differ, if one does; the store is compacted at `compacted`.
pub fn watch(a: &Item, b: &Item, compacted: i64) -> Option<&'static str> {
    match (a, b) {
        (Item::Event(a), Item::Event(b)) => {
            let revision = a.kv.as_ref().map_or(i64::MAX, |kv| kv.mod_revision);
            let alike = Event { prev_kv: None, ..a.clone() } == Event { prev_kv: None, ..b.clone() };
            let gone = a.prev_kv.is_none() || b.prev_kv.is_none();
            let of = |event: &Event| event.prev_kv.as_ref().map(|kv| kv.mod_revision);
            if alike && gone && revision <= compacted {
                Some("compacted-prev-kv")
            } else if alike && (of(a) == Some(revision) || of(b) == Some(revision)) {
                Some("same-revision-prev-kv")
            } else {
                None
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_explained_and_every_explanation_has_a_rule() {
        let page = include_str!("../../differences.md");
        let explained: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("## `")?.split('`').next()).collect();
        assert_eq!(explained, IDS);
    }

    #[test]
    fn a_lease_may_last_longer_on_the_side_that_stood_still_and_on_no_other() {
        let left = |ttl| Reply::TimeToLive(pb::LeaseTimeToLiveResponse { ttl, ..Default::default() });
        let same = |a, b, by| {
            let mut b = left(b);
            (clocks(&left(a), &mut b, by), b == left(a))
        };
        assert_eq!(same(3505, 3507, (2, 2)), (true, true));
        assert_eq!(same(3505, 3510, (2, 2)), (false, false));
        assert_eq!(same(3505, 3510, (2, 5)), (true, true), "side B stood still for three seconds");
        assert_eq!(same(3510, 3505, (2, 5)), (false, false), "side A did not");
        assert_eq!(same(-1, 3505, (2, 2)), (true, false), "a lease that is gone is another thing");
    }

    #[test]
    fn only_ties_of_long_sorted_ranges_are_free() {
        let kvs = |keys: &[(i64, &'static str)]| -> Vec<KeyValue> {
            keys.iter()
                .map(|&(version, key)| KeyValue { key: key.into(), version, ..KeyValue::default() })
                .collect()
        };
        let range = pb::RangeRequest { sort_target: 1, sort_order: 2, ..pb::RangeRequest::default() };
        let reply = |count, more, keys: &[(i64, &'static str)]| {
            Reply::Range(pb::RangeResponse { count, more, kvs: kvs(keys), ..pb::RangeResponse::default() })
        };
        let free = |a: &Reply, mut b: Reply| ties(&Op::Range(range.clone()), a, &mut b) && *a == b;
        let a = reply(13, false, &[(2, "c"), (1, "a"), (1, "b")]);
        assert!(free(&a, reply(13, false, &[(2, "c"), (1, "b"), (1, "a")])));
        assert!(!free(&reply(12, false, &[(1, "a"), (1, "b")]), reply(12, false, &[(1, "b"), (1, "a")])));
        assert!(!free(&a, reply(13, false, &[(1, "a"), (2, "c"), (1, "b")])), "not the order asked for");
        assert!(!free(&a, reply(13, false, &[(2, "c"), (1, "b"), (1, "d")])), "other keys");
        let cut = reply(13, true, &[(2, "c"), (1, "a")]);
        assert!(free(&cut, reply(13, true, &[(2, "c"), (1, "d")])), "the limit cuts the ties");
        assert!(!free(&cut, reply(13, true, &[(2, "d"), (1, "a")])));
    }
}
