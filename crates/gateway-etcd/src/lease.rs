//! The Lease service.

use crate::calls::Heard;
use crate::ending::Ending;
use crate::{Gateway, answered, convert, refused_message, unexpected, wants_leader};
use quorate_node::api::{Answer, Body, Request};
use quorate_node::evidence::Mode;
use quorate_proto::etcdserverpb as pb;
use quorate_wire::kv::{Command, Reply};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_stream::Stream;
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
        match self.write(&metadata, Command::LeaseGrant { id, ttl }).await? {
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
        let command = Command::LeaseRevoke { ids: vec![message.id] };
        let answer = self.write(&metadata, command).await?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: Some(convert::header(answer.head)) }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send + 'static>>;

    async fn lease_keep_alive(
        &self,
        r: tonic::Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (metadata, extensions, requests) = r.into_parts();
        self.require_voter()?;
        self.require_leader(&metadata)?;
        self.explain_stream(Mode::Leader).await;
        let ending = self.endings.listen(wants_leader(&metadata));
        let (waiting, heard) = (VecDeque::new(), extensions.get().cloned());
        let answers = KeepAlives { gateway: self.clone(), requests: Some(requests), heard, waiting, ending };
        Ok(Response::new(Box::pin(answers)))
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
    /// A positive number that no other lease has, as far as chance can see to it; the machine refuses one that is taken.
    pub(crate) fn pick_lease_id(&self) -> i64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut x = since ^ self.door.head().member.rotate_left(48) ^ n.rotate_left(32);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((x ^ (x >> 31)) >> 1) as i64).max(1)
    }
}

/// Keep-alives of one stream that may wait for their answers.
const WAITING_MAX: usize = 256;

/// The answers of one keep-alive stream, in the order of the requests. A client keeps all its leases alive over one stream,
/// so the requests that are there go out together: they share a round of the leader's proof.
struct KeepAlives {
    gateway: Gateway,
    /// What the client asks, until it has closed its side.
    requests: Option<Streaming<pb::LeaseKeepAliveRequest>>,
    heard: Option<Heard>,
    waiting: VecDeque<crate::Asked>,
    ending: Ending,
}

impl Stream for KeepAlives {
    type Item = Result<pb::LeaseKeepAliveResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Poll::Ready(status) = this.ending.poll(cx) {
            return Poll::Ready(Some(Err(status)));
        }
        if let Err(status) = this.hear(cx) {
            return Poll::Ready(Some(Err(status)));
        }
        let Some(first) = this.waiting.front_mut() else {
            return if this.requests.is_some() { Poll::Pending } else { Poll::Ready(None) };
        };
        let result = ready!(Pin::new(first).poll(cx));
        this.waiting.pop_front();
        Poll::Ready(Some(answered(result).and_then(response)))
    }
}

impl KeepAlives {
    /// Passes on what the client has asked meanwhile.
    fn hear(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        while self.waiting.len() < WAITING_MAX
            && let Some(requests) = &mut self.requests
            && let Poll::Ready(request) = Pin::new(requests).poll_next(cx)
        {
            match request {
                Some(Ok(message)) => {
                    Heard::one(self.heard.as_ref());
                    let request = Request::LeaseKeepAlive { id: message.id };
                    self.waiting.push_back(self.gateway.call(request, None));
                }
                Some(Err(status)) => return Err(refused_message(status)),
                None => self.requests = None,
            }
        }
        Ok(())
    }
}

fn response(answer: Answer) -> Result<pb::LeaseKeepAliveResponse, Status> {
    match answer {
        Answer { head, body: Body::KeepAlive { id, ttl } } => {
            Ok(pb::LeaseKeepAliveResponse { header: Some(convert::header(head)), id, ttl })
        }
        other => Err(unexpected(&other.body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{Alone, gateway};
    use quorate_proto::etcdserverpb::lease_server::Lease as _;
    use std::sync::Arc;

    /// Claim: a lease is as long as it was asked for, no shorter than an election lets it be; what is longer than etcd's longest is refused;
    /// who names none gets an id.
    #[tokio::test]
    async fn leases_have_their_limits() {
        let gateway = gateway(Arc::new(Alone { willing: true, ..Alone::default() }));
        let grant = async |id, ttl| {
            let granted = gateway.lease_grant(tonic::Request::new(pb::LeaseGrantRequest { id, ttl })).await;
            granted
                .map(|granted| (granted.get_ref().id, granted.get_ref().ttl))
                .map_err(|status| status.code())
        };
        for (asked, granted) in [(-1, 1), (0, 1), (1, 1), (60, 60), (TTL_MAX, TTL_MAX)] {
            assert_eq!(grant(7, asked).await, Ok((7, granted)));
        }
        assert_eq!(grant(7, TTL_MAX + 1).await, Err(tonic::Code::OutOfRange));
        let (one, other) = (grant(0, 5).await.unwrap().0, grant(0, 5).await.unwrap().0);
        assert!(one > 0 && other > 0 && one != other, "{one} {other}");
    }
}
