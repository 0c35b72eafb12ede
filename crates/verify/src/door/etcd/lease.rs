//! Leases, and a lock made of one: the recipe that etcd's own clients use, in three strengths.
//!
//! *Bare*: whoever holds the lock reads the resource, thinks, and writes. *Guarded*: the write is a transaction that asks
//! whether the lock's key is still the one that was created. *Fenced*: read and write show the lock's token, and the store
//! refuses one that is older than the newest it has seen. A holder that was frozen beyond its lease believes that it holds.

use super::{Etcd, equals, held, kv, put, revision, text};
use crate::op::{Ended, Kind, Op};
use quorate_proto::etcdserverpb as pb;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use tonic::transport::Channel;

/// Seconds a lock's lease lives.
pub(crate) const LOCK_TTL: i64 = 2;

/// How a lock protects what it protects.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Strength {
    /// By belief.
    #[default]
    Bare,
    /// By a transaction.
    Guarded,
    /// By a token.
    Fenced,
}

/// A lock that is held, or was.
pub(super) struct Held {
    lease: i64,
    token: i64,
}

impl Etcd {
    async fn grant(&self, channel: Channel, ttl: i64) -> Result<i64, super::Trouble> {
        let mut leases = pb::lease_client::LeaseClient::new(channel);
        let reply = self.within(leases.lease_grant(pb::LeaseGrantRequest { ttl, id: 0 })).await?;
        Ok(reply.id)
    }

    /// Puts a key under a new lease that nobody keeps alive.
    pub(super) async fn lease(&self, channel: Channel, op: &Op) -> Ended {
        let ttl = op.value.as_i64().unwrap_or(1);
        let lease = match self.grant(channel.clone(), ttl).await {
            Ok(lease) => lease,
            // A lease without a key harms nobody.
            Err(trouble) => return trouble.of_read(),
        };
        let request =
            pb::PutRequest { key: self.key(&op.key), value: text(&json!(ttl)), lease, ..Default::default() };
        match self.within(kv(channel).put(request)).await {
            Ok(reply) => Ended::ok(json!(ttl), revision(reply.header.as_ref())),
            Err(trouble) => trouble.of_write(),
        }
    }

    /// Succeeds once a key is away.
    pub(super) async fn gone(&self, channel: Channel, op: &Op) -> Ended {
        let ended = self.read(channel, op, false).await;
        if ended.kind == Kind::Ok && !ended.value.is_null() { Ended::failed("still there") } else { ended }
    }

    /// Takes the lock if it is free.
    pub(super) async fn acquire(&mut self, channel: Channel) -> Ended {
        let lease = match self.grant(channel.clone(), LOCK_TTL).await {
            Ok(lease) => lease,
            Err(trouble) => return trouble.of_read(),
        };
        let key = self.key(&json!("lock"));
        let mine = pb::PutRequest { key: key.clone(), lease, ..Default::default() };
        let request = pb::TxnRequest {
            compare: vec![equals(&key, &Value::Null)],
            success: vec![pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(mine)) }],
            failure: vec![],
        };
        match self.within(kv(channel.clone()).txn(request)).await {
            Ok(reply) if reply.succeeded => {
                let token = revision(reply.header.as_ref()).unwrap_or(0);
                self.held = Some(Held { lease, token });
                Ended::ok(json!(token), Some(token))
            }
            Ok(_) => {
                let mut leases = pb::lease_client::LeaseClient::new(channel);
                let _ = self.within(leases.lease_revoke(pb::LeaseRevokeRequest { id: lease })).await;
                Ended::refused(None)
            }
            Err(trouble) => trouble.of_write(),
        }
    }

    /// Gives the lock back.
    pub(super) async fn release(&mut self, channel: Channel) -> Ended {
        let Some(held) = self.held.take() else { return Ended::refused(None) };
        let mut leases = pb::lease_client::LeaseClient::new(channel);
        match self.within(leases.lease_revoke(pb::LeaseRevokeRequest { id: held.lease })).await {
            Ok(reply) => Ended::ok(json!(held.token), revision(reply.header.as_ref())),
            Err(trouble) => trouble.of_write(),
        }
    }

    /// Reads what the lock protects, thinks, writes. The result is the pair that a compare-and-set would have had.
    pub(super) async fn update(&self, channel: Channel, op: &Op) -> Ended {
        let Some(lock) = &self.held else { return Ended::failed("the lock is not held") };
        let key = self.key(&json!("resource"));
        let show = |request: &mut tonic::metadata::MetadataMap| {
            if self.strength == Strength::Fenced
                && let Ok(token) = format!("verify={}", lock.token).parse()
            {
                request.insert("quorate-fence", token);
            }
        };
        let mut read = tonic::Request::new(pb::RangeRequest { key: key.clone(), ..Default::default() });
        show(read.metadata_mut());
        let old = match self.within(kv(channel.clone()).range(read)).await {
            Ok(reply) => held(reply.kvs.first()),
            Err(trouble) => return trouble.of_read(),
        };
        tokio::time::sleep(Duration::from_millis(op.value[0].as_u64().unwrap_or(0))).await;
        let pair = json!([old, op.value[1]]);
        let ended = match self.strength {
            Strength::Guarded => {
                let same = pb::Compare {
                    key: self.key(&json!("lock")),
                    target: pb::compare::CompareTarget::Create.into(),
                    result: pb::compare::CompareResult::Equal.into(),
                    target_union: Some(pb::compare::TargetUnion::CreateRevision(lock.token)),
                    ..Default::default()
                };
                let success = vec![put(&key, &op.value[1])];
                let request = pb::TxnRequest { compare: vec![same], success, failure: vec![] };
                match self.within(kv(channel).txn(request)).await {
                    Ok(reply) if reply.succeeded => Ended::ok(pair.clone(), revision(reply.header.as_ref())),
                    Ok(_) => Ended::failed("the lock was lost"),
                    Err(trouble) => trouble.of_write(),
                }
            }
            Strength::Bare | Strength::Fenced => {
                let write = pb::PutRequest { key, value: text(&op.value[1]), ..Default::default() };
                let mut write = tonic::Request::new(write);
                show(write.metadata_mut());
                match self.within(kv(channel).put(write)).await {
                    Ok(reply) => Ended::ok(pair.clone(), revision(reply.header.as_ref())),
                    Err(trouble) => trouble.of_write(),
                }
            }
        };
        Ended { value: pair, ..ended }
    }
}
