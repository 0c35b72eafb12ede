//! Transactions that append to lists and read them: read all keys at one revision, then write, if all are as they were.

use super::{Etcd, at_revision, equals, held, kv, put, revision};
use crate::op::{Ended, Op};
use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::mvccpb::KeyValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tonic::transport::Channel;

impl Etcd {
    /// Does a transaction. The result is its value, with what was read.
    pub(super) async fn txn(&self, channel: Channel, op: &Op) -> Ended {
        let steps = op.value.as_array().map_or(&[][..], Vec::as_slice);
        let keys: BTreeMap<String, Bytes> = steps
            .iter()
            .map(|step| (step[1].to_string(), self.key(&json!(format!("a{}", step[1])))))
            .collect();
        let request = pb::TxnRequest { success: keys.values().map(get).collect(), ..Default::default() };
        let reply = match self.within(kv(channel.clone()).txn(request)).await {
            Ok(reply) => reply,
            Err(trouble) => return trouble.of_read(),
        };
        let found: Vec<Option<&KeyValue>> = reply.responses.iter().map(first).collect();
        let mut lists: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        let mut compare = Vec::new();
        for ((name, key), kv) in keys.iter().zip(found) {
            let list = held(kv).as_array().cloned().unwrap_or_default();
            compare.push(kv.map_or_else(|| equals(key, &Value::Null), at_revision));
            lists.insert(name.as_str(), list);
        }
        let (done, changed) = applied(steps, &mut lists);
        if changed.is_empty() {
            return Ended::ok(done, revision(reply.header.as_ref()));
        }
        let success = changed
            .iter()
            .filter_map(|name| Some(put(keys.get(name)?, &json!(lists[name.as_str()]))))
            .collect();
        let request = pb::TxnRequest { compare, success, failure: vec![] };
        match self.within(kv(channel).txn(request)).await {
            Ok(reply) if reply.succeeded => Ended::ok(done, revision(reply.header.as_ref())),
            Ok(_) => Ended::failed("another transaction came between"),
            Err(trouble) => trouble.of_write(),
        }
    }
}

/// What the steps read, and which lists they changed.
fn applied(
    steps: &[Value],
    lists: &mut BTreeMap<&str, Vec<Value>>,
) -> (Vec<Value>, std::collections::BTreeSet<String>) {
    let (mut done, mut changed) = (Vec::new(), std::collections::BTreeSet::new());
    for step in steps {
        let name = step[1].to_string();
        let Some(list) = lists.get_mut(name.as_str()) else { continue };
        if step[0] == "append" {
            list.push(step[2].clone());
            changed.insert(name);
            done.push(step.clone());
        } else {
            done.push(json!(["r", step[1], list]));
        }
    }
    (done, changed)
}

fn get(key: &Bytes) -> pb::RequestOp {
    let request = pb::RangeRequest { key: key.clone(), ..Default::default() };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(request)) }
}

fn first(response: &pb::ResponseOp) -> Option<&KeyValue> {
    match &response.response {
        Some(pb::response_op::Response::ResponseRange(range)) => range.kvs.first(),
        _ => None,
    }
}
