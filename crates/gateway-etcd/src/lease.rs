//! The Lease service.

use crate::{Gateway, convert, unexpected, wants_leader};
use quorate_node::api::{Answer, Body, Request};
use quorate_proto::etcdserverpb as pb;
use quorate_wire::kv::{Command, Reply};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

/// The longest lease, in seconds.
const TTL_MAX: i64 = 9_000_000_000;

#[tonic::async_trait]
impl pb::lease_server::Lease for Gateway {
    async fn lease_grant(
        &self,
        r: tonic::Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        if message.ttl > TTL_MAX {
            return Err(Status::out_of_range("etcdserver: too large lease TTL"));
        }
        let ttl = message.ttl.max(self.door.patience().least_lease);
        let id = if message.id == 0 { self.pick_lease_id() } else { message.id };
        match self.ask(&metadata, Request::Write(Command::LeaseGrant { id, ttl })).await? {
            Answer { head, body: Body::Reply(Reply::LeaseGrant { id, ttl }) } => {
                let header = Some(convert::header(head));
                Ok(Response::new(pb::LeaseGrantResponse { header, id, ttl, error: String::new() }))
            }
            other => Err(unexpected(&other.body)),
        }
    }

    async fn lease_revoke(
        &self,
        r: tonic::Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        let command = Command::LeaseRevoke { ids: vec![message.id], expired: false };
        let answer = self.ask(&metadata, Request::Write(command)).await?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: Some(convert::header(answer.head)) }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send + 'static>>;

    async fn lease_keep_alive(
        &self,
        r: tonic::Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (metadata, _, mut requests) = r.into_parts();
        self.require_leader(&metadata)?;
        let (give, take) = mpsc::channel(16);
        let gateway = self.clone();
        tokio::spawn(async move {
            while let Some(message) = gateway.next(&mut requests, wants_leader(&metadata)).await {
                let answer = match message {
                    Ok(message) => gateway.keep_alive(message.id).await,
                    Err(status) => Err(status),
                };
                let over = answer.is_err();
                if give.send(answer).await.is_err() || over {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(take))))
    }

    async fn lease_time_to_live(
        &self,
        r: tonic::Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        let request = Request::LeaseTimeToLive { id: message.id, keys: message.keys };
        match self.ask(&metadata, request).await? {
            Answer { head, body: Body::TimeToLive { id, ttl, granted, keys } } => {
                let header = Some(convert::header(head));
                Ok(Response::new(pb::LeaseTimeToLiveResponse { header, id, ttl, granted_ttl: granted, keys }))
            }
            other => Err(unexpected(&other.body)),
        }
    }

    async fn lease_leases(
        &self,
        r: tonic::Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        match self.ask(r.metadata(), Request::LeaseList).await? {
            Answer { head, body: Body::Leases(ids) } => {
                let leases = ids.into_iter().map(|id| pb::LeaseStatus { id }).collect();
                Ok(Response::new(pb::LeaseLeasesResponse { header: Some(convert::header(head)), leases }))
            }
            other => Err(unexpected(&other.body)),
        }
    }
}

impl Gateway {
    async fn keep_alive(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        let nothing = tonic::metadata::MetadataMap::new();
        match self.ask(&nothing, Request::LeaseKeepAlive { id }).await? {
            Answer { head, body: Body::KeepAlive { id, ttl } } => {
                Ok(pb::LeaseKeepAliveResponse { header: Some(convert::header(head)), id, ttl })
            }
            other => Err(unexpected(&other.body)),
        }
    }

    /// A positive number that no other lease has, as far as chance can see to it; the machine refuses one that is taken.
    fn pick_lease_id(&self) -> i64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut x = since ^ self.door.head().member.rotate_left(48) ^ n.rotate_left(32);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((x ^ (x >> 31)) >> 1) as i64).max(1)
    }
}
