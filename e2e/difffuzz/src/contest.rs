//! Steps of locks and elections. One that would wait is not asked: what waiting comes to is a matter of time, and is tested with
//! each client (`etcdctl.sh`, `rust/`).

use crate::op::Contest;
use crate::side::{Door, Reply, Side, outcome};
use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::mvccpb::KeyValue;
use quorate_proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use quorate_proto::v3lockpb::{LockRequest, UnlockRequest};

impl Side {
    /// Takes one step of a contender.
    pub(crate) async fn contest(
        &mut self,
        door: &mut Door,
        step: &Contest,
        name: &Bytes,
        lease: i64,
    ) -> Reply {
        let key = contender(name, lease);
        let first = first(door, name).await;
        let would_wait = first.as_ref().is_some_and(|kv| kv.key != key);
        let rev = first.filter(|kv| kv.key == key).map_or(1, |kv| kv.create_revision);
        let leader = |off: i64| LeaderKey { name: name.clone(), key: key.clone(), rev: rev + off, lease };
        let (name, key) = (name.clone(), key.clone());
        match step {
            Contest::Lock | Contest::Campaign(_) if would_wait => Reply::Done,
            Contest::Lock => {
                outcome(door.lock.lock(LockRequest { name, lease }), |mut reply| {
                    self.names.seen_header(&mut reply.header);
                    Reply::Locked(reply)
                })
                .await
            }
            Contest::Unlock => {
                outcome(door.lock.unlock(UnlockRequest { key }), |mut reply| {
                    self.names.seen_header(&mut reply.header);
                    Reply::Unlocked(reply)
                })
                .await
            }
            Contest::Campaign(value) => {
                let request = CampaignRequest { name, lease, value: value.clone() };
                outcome(door.election.campaign(request), |mut reply| {
                    self.names.seen_header(&mut reply.header);
                    self.names.seen_leader(&mut reply.leader);
                    Reply::Elected(reply)
                })
                .await
            }
            Contest::Proclaim(value, off) => {
                let request = ProclaimRequest { leader: Some(leader(*off)), value: value.clone() };
                outcome(door.election.proclaim(request), |mut reply| {
                    self.names.seen_header(&mut reply.header);
                    Reply::Proclaimed(reply)
                })
                .await
            }
            Contest::Leader => {
                outcome(door.election.leader(LeaderRequest { name }), |mut reply| {
                    self.names.seen_header(&mut reply.header);
                    reply.kv.iter_mut().for_each(|kv| self.names.seen_kv(kv));
                    Reply::Leader(reply)
                })
                .await
            }
            Contest::Resign(off) => {
                outcome(door.election.resign(ResignRequest { leader: Some(leader(*off)) }), |mut reply| {
                    self.names.seen_header(&mut reply.header);
                    Reply::Resigned(reply)
                })
                .await
            }
        }
    }
}

/// Who is first in the line for a name.
async fn first(door: &mut Door, name: &Bytes) -> Option<KeyValue> {
    let request = pb::RangeRequest {
        key: [name, &b"/"[..]].concat().into(),
        range_end: [name, &b"0"[..]].concat().into(),
        sort_order: pb::range_request::SortOrder::Ascend.into(),
        sort_target: pb::range_request::SortTarget::Create.into(),
        limit: 1,
        ..Default::default()
    };
    door.kv.range(request).await.ok()?.into_inner().kvs.into_iter().next()
}

fn contender(name: &[u8], lease: i64) -> Bytes {
    let sign = if lease < 0 { "-" } else { "" };
    [name, format!("/{sign}{:x}", lease.unsigned_abs()).as_bytes()].concat().into()
}
