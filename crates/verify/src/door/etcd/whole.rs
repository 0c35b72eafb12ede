//! Sets, ids, a bank: what touches more than one key.

use super::{Etcd, at_revision, equals, held, kv, put, revision, text};
use crate::op::{Ended, Op};
use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::mvccpb::KeyValue;
use serde_json::{Value, json};
use tonic::transport::Channel;

impl Etcd {
    /// Everything below a name, in the order of keys.
    async fn below(&self, channel: Channel, name: &str) -> Result<pb::RangeResponse, super::Trouble> {
        let key = self.key(&json!(name));
        let request = pb::RangeRequest { range_end: end_of(&key), key, ..Default::default() };
        self.within(kv(channel).range(request)).await
    }

    /// Adds an element: a key of its own.
    pub(super) async fn add(&self, channel: Channel, op: &Op) -> Ended {
        let key = self.key(&json!(format!("{}/{}", op.key.as_str().unwrap_or(""), op.value)));
        let request = pb::PutRequest { key, value: text(&op.value), ..Default::default() };
        match self.within(kv(channel).put(request)).await {
            Ok(reply) => Ended::ok(op.value.clone(), revision(reply.header.as_ref())),
            Err(trouble) => trouble.of_write(),
        }
    }

    /// All elements.
    pub(super) async fn read_set(&self, channel: Channel, op: &Op) -> Ended {
        match self.below(channel, &format!("{}/", op.key.as_str().unwrap_or(""))).await {
            Ok(reply) => {
                let members: Vec<Value> = reply.kvs.iter().map(|kv| held(Some(kv))).collect();
                Ended::ok(members, revision(reply.header.as_ref()))
            }
            Err(trouble) => trouble.of_read(),
        }
    }

    /// The revision of a write is given to nobody else.
    pub(super) async fn generate(&self, channel: Channel) -> Ended {
        let request = pb::PutRequest { key: self.key(&json!("id")), ..Default::default() };
        match self.within(kv(channel).put(request)).await {
            Ok(reply) => Ended::ok(json!(revision(reply.header.as_ref())), revision(reply.header.as_ref())),
            Err(trouble) => trouble.of_write(),
        }
    }

    /// Makes all accounts, unless somebody has.
    pub(super) async fn open_bank(&self, channel: Channel, op: &Op) -> Ended {
        let accounts = op.value[0].as_u64().unwrap_or(0);
        let puts = (0..accounts).map(|account| put(&self.account(account), &op.value[1])).collect();
        let absent = equals(&self.account(0), &Value::Null);
        let request = pb::TxnRequest { compare: vec![absent], success: puts, failure: vec![] };
        match self.within(kv(channel).txn(request)).await {
            Ok(reply) if reply.succeeded => Ended::ok(op.value.clone(), revision(reply.header.as_ref())),
            Ok(_) => Ended::refused(None),
            Err(trouble) => trouble.of_write(),
        }
    }

    fn account(&self, account: u64) -> Bytes {
        self.key(&json!(format!("account/{account:02}")))
    }

    /// All balances at one revision.
    pub(super) async fn read_bank(&self, channel: Channel) -> Ended {
        match self.below(channel, "account/").await {
            Ok(reply) => {
                let balances: Vec<Value> = reply.kvs.iter().map(|kv| held(Some(kv))).collect();
                Ended::ok(balances, revision(reply.header.as_ref()))
            }
            Err(trouble) => trouble.of_read(),
        }
    }

    /// Moves money, if both accounts are as they were read and there is enough of it.
    pub(super) async fn transfer(&self, channel: Channel, op: &Op) -> Ended {
        let reply = match self.below(channel.clone(), "account/").await {
            Ok(reply) => reply,
            Err(trouble) => return trouble.of_read(),
        };
        let (Some(from), Some(to), Some(amount)) =
            (op.value[0].as_u64(), op.value[1].as_u64(), op.value[2].as_i64())
        else {
            return Ended::failed("a transfer takes [from to amount]");
        };
        let find = |account| {
            let key = self.account(account);
            reply.kvs.iter().find(|kv| kv.key == key)
        };
        let (Some(source), Some(target)) = (find(from), find(to)) else {
            return Ended::failed("the bank is not open");
        };
        let balance = |kv: &KeyValue| held(Some(kv)).as_i64().unwrap_or(0);
        if balance(source) < amount {
            return Ended::refused(None);
        }
        let request = pb::TxnRequest {
            compare: vec![at_revision(source), at_revision(target)],
            success: vec![
                put(&source.key, &json!(balance(source) - amount)),
                put(&target.key, &json!(balance(target) + amount)),
            ],
            failure: vec![],
        };
        match self.within(kv(channel).txn(request)).await {
            Ok(reply) if reply.succeeded => Ended::ok(op.value.clone(), revision(reply.header.as_ref())),
            Ok(_) => Ended::refused(None),
            Err(trouble) => trouble.of_write(),
        }
    }

    /// Several keys in one step.
    pub(super) async fn put_all(&self, channel: Channel, op: &Op) -> Ended {
        let steps = op.value.as_array().map_or(&[][..], Vec::as_slice);
        let puts = steps.iter().map(|step| put(&self.key(&step[1]), &step[2])).collect();
        let request = pb::TxnRequest { compare: vec![], success: puts, failure: vec![] };
        match self.within(kv(channel).txn(request)).await {
            Ok(reply) => Ended::ok(op.value.clone(), revision(reply.header.as_ref())),
            Err(trouble) => trouble.of_write(),
        }
    }
}

/// The end of the range of all keys that begin so.
pub(crate) fn end_of(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    // Our prefixes end in a letter or a slash.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}
