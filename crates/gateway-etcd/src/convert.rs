//! etcd's messages to operations, and answers back. Keys and values are shared, never copied.

use crate::failure::invalid;
use bytes::Bytes;
use quorate_node::api::Head;
use quorate_proto::{etcdserverpb as pb, mvccpb};
use quorate_wire::kv::{
    Compare, CompareResult, CompareTarget, DeleteRange, Event, KeyRange, KeyValue, Op, Put, Range,
    RangeReply, Reply, Revision, SortOrder, SortTarget, Txn,
};
use tonic::Status;

pub(crate) fn header(head: Head) -> pb::ResponseHeader {
    pb::ResponseHeader {
        cluster_id: head.cluster,
        member_id: head.member,
        revision: head.revision,
        raft_term: head.term,
    }
}

pub(crate) fn range(r: pb::RangeRequest) -> Range {
    Range {
        sort_order: sort_order(r.sort_order),
        sort_target: sort_target(r.sort_target),
        range: KeyRange { key: r.key, end: r.range_end },
        limit: r.limit,
        revision: r.revision,
        keys_only: r.keys_only,
        count_only: r.count_only,
        min_mod_revision: r.min_mod_revision,
        max_mod_revision: r.max_mod_revision,
        min_create_revision: r.min_create_revision,
        max_create_revision: r.max_create_revision,
    }
}

fn sort_order(n: i32) -> SortOrder {
    match n {
        1 => SortOrder::Ascend,
        2 => SortOrder::Descend,
        _ => SortOrder::None,
    }
}

fn sort_target(n: i32) -> SortTarget {
    match n {
        1 => SortTarget::Version,
        2 => SortTarget::Create,
        3 => SortTarget::Mod,
        4 => SortTarget::Value,
        _ => SortTarget::Key,
    }
}

pub(crate) fn put(p: pb::PutRequest) -> Put {
    Put {
        key: p.key,
        value: p.value,
        lease: p.lease,
        prev_kv: p.prev_kv,
        ignore_value: p.ignore_value,
        ignore_lease: p.ignore_lease,
    }
}

pub(crate) fn delete(d: pb::DeleteRangeRequest) -> DeleteRange {
    DeleteRange { range: KeyRange { key: d.key, end: d.range_end }, prev_kv: d.prev_kv }
}

pub(crate) fn txn(t: pb::TxnRequest) -> Result<Txn, Status> {
    Ok(Txn {
        compare: t.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: t.success.into_iter().map(op).collect::<Result<_, _>>()?,
        failure: t.failure.into_iter().map(op).collect::<Result<_, _>>()?,
    })
}

fn op(op: pb::RequestOp) -> Result<Op, Status> {
    use pb::request_op::Request;
    Ok(match op.request {
        Some(Request::RequestRange(r)) => Op::Range(range(r)),
        Some(Request::RequestPut(p)) => Op::Put(put(p)),
        Some(Request::RequestDeleteRange(d)) => Op::Delete(delete(d)),
        Some(Request::RequestTxn(t)) => Op::Txn(txn(t)?),
        None => return Err(invalid("etcdserver: key not found")),
    })
}

/// What is compared is said twice, by `target` and by which member of the union is set; etcd goes by `target` and takes a
/// member that is not set for zero.
fn compare(c: pb::Compare) -> Result<Compare, Status> {
    use pb::compare::TargetUnion;
    let number = |of: fn(&TargetUnion) -> Option<i64>| c.target_union.as_ref().and_then(of).unwrap_or(0);
    let target = match c.target {
        0 => CompareTarget::Version(number(|u| match u {
            TargetUnion::Version(n) => Some(*n),
            _ => None,
        })),
        1 => CompareTarget::Create(number(|u| match u {
            TargetUnion::CreateRevision(n) => Some(*n),
            _ => None,
        })),
        2 => CompareTarget::Mod(number(|u| match u {
            TargetUnion::ModRevision(n) => Some(*n),
            _ => None,
        })),
        3 => CompareTarget::Value(match &c.target_union {
            Some(TargetUnion::Value(value)) => value.clone(),
            _ => Bytes::new(),
        }),
        4 => CompareTarget::Lease(number(|u| match u {
            TargetUnion::Lease(n) => Some(*n),
            _ => None,
        })),
        _ => return Err(invalid("etcdserver: the target of a compare is unknown")),
    };
    let result = match c.result {
        0 => CompareResult::Equal,
        1 => CompareResult::Greater,
        2 => CompareResult::Less,
        3 => CompareResult::NotEqual,
        _ => return Err(invalid("etcdserver: the result of a compare is unknown")),
    };
    Ok(Compare { range: KeyRange { key: c.key, end: c.range_end }, result, target })
}

pub(crate) fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

pub(crate) fn event(event: Event) -> mvccpb::Event {
    mvccpb::Event {
        r#type: i32::from(event.deleted),
        kv: Some(key_value(event.kv)),
        prev_kv: event.prev.map(key_value),
    }
}

pub(crate) fn range_response(header: Option<pb::ResponseHeader>, reply: RangeReply) -> pb::RangeResponse {
    pb::RangeResponse {
        header,
        kvs: reply.kvs.into_iter().map(key_value).collect(),
        more: reply.more,
        count: reply.count,
    }
}

pub(crate) fn put_response(header: Option<pb::ResponseHeader>, prev: Option<KeyValue>) -> pb::PutResponse {
    pb::PutResponse { header, prev_kv: prev.map(key_value) }
}

pub(crate) fn delete_response(
    header: Option<pb::ResponseHeader>,
    deleted: i64,
    prev: Vec<KeyValue>,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse { header, deleted, prev_kvs: prev.into_iter().map(key_value).collect() }
}

/// `revision` is the one behind the transaction. Replies inside it carry a header with a revision alone: the one that was
/// newest when the operation was done, so that a range before the first change names the one before.
pub(crate) fn txn_response(
    header: Option<pb::ResponseHeader>,
    revision: Revision,
    succeeded: bool,
    replies: Vec<Reply>,
) -> pb::TxnResponse {
    let mut newest = if replies.iter().any(changes) { revision - 1 } else { revision };
    let responses = replies.into_iter().map(|reply| response_op(&mut newest, revision, reply)).collect();
    pb::TxnResponse { header, succeeded, responses }
}

fn changes(reply: &Reply) -> bool {
    match reply {
        Reply::Put { .. } => true,
        Reply::Delete { deleted, .. } => *deleted > 0,
        Reply::Txn { replies, .. } => replies.iter().any(changes),
        _ => false,
    }
}

fn response_op(newest: &mut Revision, revision: Revision, reply: Reply) -> pb::ResponseOp {
    use pb::response_op::Response;
    let header = |revision| Some(pb::ResponseHeader { revision, ..pb::ResponseHeader::default() });
    if !matches!(reply, Reply::Txn { .. }) && changes(&reply) {
        *newest = revision;
    }
    let response = match reply {
        Reply::Range(reply) => Some(Response::ResponseRange(range_response(header(*newest), reply))),
        Reply::Put { prev } => Some(Response::ResponsePut(put_response(header(*newest), prev))),
        Reply::Delete { deleted, prev } => {
            Some(Response::ResponseDeleteRange(delete_response(header(*newest), deleted, prev)))
        }
        Reply::Txn { succeeded, replies } => {
            let responses = replies.into_iter().map(|reply| response_op(newest, revision, reply)).collect();
            let header = Some(pb::ResponseHeader::default());
            Some(Response::ResponseTxn(pb::TxnResponse { header, succeeded, responses }))
        }
        Reply::Compact
        | Reply::LeaseGrant { .. }
        | Reply::Lease
        | Reply::FenceDrop
        | Reply::Alarms(_)
        | Reply::Table(_) => None,
    };
    pb::ResponseOp { response }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(reply: pb::TxnResponse) -> Vec<i64> {
        use pb::response_op::Response;
        let of = |op: pb::ResponseOp| match op.response.unwrap() {
            Response::ResponseRange(r) => vec![r.header.unwrap().revision],
            Response::ResponsePut(r) => vec![r.header.unwrap().revision],
            Response::ResponseDeleteRange(r) => vec![r.header.unwrap().revision],
            Response::ResponseTxn(r) => {
                let own = r.header.as_ref().unwrap().revision;
                std::iter::once(own).chain(nested(r)).collect()
            }
        };
        reply.responses.into_iter().flat_map(of).collect()
    }

    /// Claim: each field of a request is taken for itself, and each of an answer told as itself.
    #[test]
    fn each_field_stands_for_itself() {
        let asked = pb::RangeRequest {
            key: "a".into(),
            range_end: "b".into(),
            limit: 1,
            revision: 2,
            min_mod_revision: 3,
            max_mod_revision: 4,
            min_create_revision: 5,
            max_create_revision: 6,
            ..pb::RangeRequest::default()
        };
        let keys = KeyRange { key: "a".into(), end: "b".into() };
        let taken = Range {
            range: keys.clone(),
            limit: 1,
            revision: 2,
            min_mod_revision: 3,
            max_mod_revision: 4,
            min_create_revision: 5,
            max_create_revision: 6,
            ..Range::default()
        };
        assert_eq!(range(asked.clone()), taken);
        let only = |asked: pb::RangeRequest| (range(asked.clone()).keys_only, range(asked).count_only);
        assert_eq!(only(pb::RangeRequest { keys_only: true, ..asked.clone() }), (true, false));
        assert_eq!(only(pb::RangeRequest { count_only: true, ..asked }), (false, true));
        let targets =
            [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value];
        assert_eq!([0, 1, 2, 3, 4].map(sort_target), targets);
        assert_eq!([0, 1, 2].map(sort_order), [SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
        let asked =
            pb::PutRequest { key: "k".into(), value: "v".into(), lease: 7, ..pb::PutRequest::default() };
        let plain = put(asked.clone());
        assert_eq!(plain, Put { key: "k".into(), value: "v".into(), lease: 7, ..Put::default() });
        let flags = |asked| {
            let put = put(asked);
            [put.prev_kv, put.ignore_value, put.ignore_lease]
        };
        assert_eq!(flags(pb::PutRequest { prev_kv: true, ..asked.clone() }), [true, false, false]);
        assert_eq!(flags(pb::PutRequest { ignore_value: true, ..asked.clone() }), [false, true, false]);
        assert_eq!(flags(pb::PutRequest { ignore_lease: true, ..asked }), [false, false, true]);
        let asked = pb::DeleteRangeRequest { key: "a".into(), range_end: "b".into(), prev_kv: true };
        assert_eq!(delete(asked), DeleteRange { range: keys, prev_kv: true });
        let pair = KeyValue {
            key: "k".into(),
            create_revision: 1,
            mod_revision: 2,
            version: 3,
            value: "v".into(),
            lease: 4,
        };
        let told = mvccpb::KeyValue {
            key: "k".into(),
            create_revision: 1,
            mod_revision: 2,
            version: 3,
            value: "v".into(),
            lease: 4,
        };
        assert_eq!(key_value(pair), told);
    }

    /// Claim: a compare is of what its target names, in the way that its result names, and a member of another kind counts for nothing.
    #[test]
    fn each_compare_is_what_it_says() {
        use pb::compare::TargetUnion;
        let taken = |target, result, union| {
            let asked = pb::Compare {
                key: "k".into(),
                range_end: "l".into(),
                target,
                result,
                target_union: Some(union),
            };
            let Compare { range, result, target } = compare(asked).unwrap();
            assert_eq!(range, KeyRange { key: "k".into(), end: "l".into() });
            (target, result)
        };
        let value = || TargetUnion::Value("v".into());
        for (at, union, target) in [
            (0, TargetUnion::Version(1), CompareTarget::Version(1)),
            (1, TargetUnion::CreateRevision(2), CompareTarget::Create(2)),
            (2, TargetUnion::ModRevision(3), CompareTarget::Mod(3)),
            (3, value(), CompareTarget::Value("v".into())),
            (4, TargetUnion::Lease(5), CompareTarget::Lease(5)),
            (2, TargetUnion::CreateRevision(2), CompareTarget::Mod(0)),
            (4, value(), CompareTarget::Lease(0)),
            (3, TargetUnion::Lease(5), CompareTarget::Value(Bytes::new())),
        ] {
            assert_eq!(taken(at, 0, union).0, target);
        }
        let results =
            [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];
        assert_eq!([0, 1, 2, 3].map(|result| taken(3, result, value()).1), results);
        let unknown = |target, result| compare(pb::Compare { target, result, ..pb::Compare::default() });
        assert!(unknown(5, 0).is_err() && unknown(0, 4).is_err());
    }

    #[test]
    fn each_branch_of_a_transaction_has_its_own_operations() {
        use pb::request_op::Request;
        let op = |request| pb::RequestOp { request: Some(request) };
        let put = |key: &'static str| {
            op(Request::RequestPut(pb::PutRequest { key: key.into(), ..pb::PutRequest::default() }))
        };
        let delete = pb::DeleteRangeRequest { key: "c".into(), ..pb::DeleteRangeRequest::default() };
        let inner = pb::TxnRequest { failure: vec![put("d")], ..pb::TxnRequest::default() };
        let asked = pb::TxnRequest {
            compare: vec![pb::Compare { key: "k".into(), ..pb::Compare::default() }],
            success: vec![put("a"), op(Request::RequestTxn(inner))],
            failure: vec![put("b"), op(Request::RequestDeleteRange(delete))],
        };
        let taken = txn(asked).unwrap();
        let key = |op: &Op| match op {
            Op::Put(put) => put.key.clone(),
            Op::Delete(delete) => delete.range.key.clone(),
            Op::Range(range) => range.range.key.clone(),
            Op::Txn(txn) => match txn.failure.as_slice() {
                [Op::Put(put)] if txn.success.is_empty() => put.key.clone(),
                other => panic!("{other:?}"),
            },
        };
        let keys = |ops: &[Op]| ops.iter().map(key).collect::<Vec<Bytes>>();
        assert_eq!((taken.compare.len(), taken.compare[0].range.key.clone()), (1, "k".into()));
        assert_eq!(keys(&taken.success), ["a", "d"]);
        assert_eq!(keys(&taken.failure), ["b", "c"]);
    }

    #[test]
    fn replies_in_a_transaction_name_the_revision_of_their_moment() {
        let range = || Reply::Range(RangeReply::default());
        let delete = |deleted| Reply::Delete { deleted, prev: Vec::new() };
        let put = || Reply::Put { prev: None };
        let inner = |replies| Reply::Txn { succeeded: true, replies };
        let of = |replies| nested(txn_response(None, 9, true, replies));
        assert_eq!(of(vec![range(), put(), range()]), [8, 9, 9], "before and behind the first change");
        assert_eq!(of(vec![range(), delete(0), range()]), [9, 9, 9], "nothing changed: 9 was there before");
        assert_eq!(
            of(vec![delete(0), delete(2), range()]),
            [8, 9, 9],
            "what deletes nothing changes nothing"
        );
        assert_eq!(
            of(vec![range(), inner(vec![range(), put()]), range()]),
            [8, 0, 8, 9, 9],
            "also within another"
        );
    }
}
