//! The Election service: a leadership that lives as long as a lease, with a value. How candidates wait is told in `line.rs`.

use crate::calls::Heard;
use crate::ending::Ending;
use crate::line::{Place, created, first, leave, line, point, spoken};
use crate::{Gateway, convert, unexpected};
use bytes::Bytes;
use quorate_node::api::{Answer, Body, Head, Request};
use quorate_node::evidence::Mode;
use quorate_proto::v3electionpb as pb;
use quorate_wire::kv::{Command, KeyRange, KeyValue, LeaseId, Op, Put, Reply, Revision, Txn};
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

type Done<T> = Result<Response<T>, Status>;

const NOT_LEADER: &str = "election: not leader";

#[tonic::async_trait]
impl pb::election_server::Election for Gateway {
    async fn campaign(&self, r: tonic::Request<pb::CampaignRequest>) -> Done<pb::CampaignResponse> {
        let (metadata, _, message) = r.into_parts();
        self.limits.check(&message).map_err(spoken)?;
        let pb::CampaignRequest { name, lease, value } = message;
        let place = self.contend(&metadata, &name, lease, value.clone()).await?;
        if place.value != value {
            // The candidate of an earlier call, under the same lease.
            self.proclaim_as(&metadata, &place.key, place.at, place.lease, value).await?;
        }
        if !place.first && place.wait(&mut self.ending(&metadata)).await?.is_none() {
            return Err(Status::unknown("election: session is expired"));
        }
        let Place { key, at, lease, head, .. } = &place;
        let leader = pb::LeaderKey { name, key: key.clone(), rev: *at, lease: *lease };
        let header = Some(convert::header(*head));
        place.hold();
        Ok(Response::new(pb::CampaignResponse { header, leader: Some(leader) }))
    }

    async fn proclaim(&self, r: tonic::Request<pb::ProclaimRequest>) -> Done<pb::ProclaimResponse> {
        let (metadata, _, message) = r.into_parts();
        self.limits.check(&message).map_err(spoken)?;
        let pb::LeaderKey { key, rev, lease, .. } = message.leader.ok_or_else(missing)?;
        let head = self.proclaim_as(&metadata, &key, rev, lease, message.value).await?;
        Ok(Response::new(pb::ProclaimResponse { header: Some(convert::header(head)) }))
    }

    async fn leader(&self, r: tonic::Request<pb::LeaderRequest>) -> Done<pb::LeaderResponse> {
        let (metadata, _, message) = r.into_parts();
        self.require_leader(&metadata)?;
        let (head, leader) = self.leader_of(line(&message.name)).await?;
        let leader = leader.ok_or_else(|| Status::unknown("election: no leader"))?;
        Ok(Response::new(response(head, leader)))
    }

    type ObserveStream = ReceiverStream<Result<pb::LeaderResponse, Status>>;

    async fn observe(&self, r: tonic::Request<pb::LeaderRequest>) -> Done<Self::ObserveStream> {
        Heard::one(r.extensions().get());
        let (metadata, _, message) = r.into_parts();
        self.require_leader(&metadata)?;
        self.explain_stream(Mode::Local).await;
        let (give, take) = channel(1);
        let (gateway, ending) = (self.clone(), self.ending(&metadata));
        tokio::spawn(async move {
            let observed = tokio::select! {
                observed = gateway.tell_leaders(line(&message.name), ending, &give) => observed,
                () = give.closed() => Ok(()),
            };
            if let Err(status) = observed {
                let _ = give.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(take)))
    }

    async fn resign(&self, r: tonic::Request<pb::ResignRequest>) -> Done<pb::ResignResponse> {
        let (metadata, _, message) = r.into_parts();
        self.limits.check(&message).map_err(spoken)?;
        let pb::LeaderKey { key, rev, .. } = message.leader.ok_or_else(missing)?;
        // Who leads no longer has resigned.
        let (head, _) = self.change_leadership(&metadata, leave(checked(key)?, rev)).await?;
        Ok(Response::new(pb::ResignResponse { header: Some(convert::header(head)) }))
    }
}

impl Gateway {
    /// Gives the candidate's key another value, if it is still the one that was created at `rev`.
    async fn proclaim_as(
        &self,
        metadata: &MetadataMap,
        key: &Bytes,
        rev: Revision,
        lease: LeaseId,
        value: Bytes,
    ) -> Result<Head, Status> {
        let key = checked(key.clone())?;
        let put = Put { key: key.clone(), value, lease, ..Put::default() };
        let txn = Txn { compare: vec![created(key, rev)], success: vec![Op::Put(put)], failure: Vec::new() };
        match self.change_leadership(metadata, txn).await? {
            (head, true) => Ok(head),
            (_, false) => Err(Status::unknown(NOT_LEADER)),
        }
    }

    async fn change_leadership(&self, metadata: &MetadataMap, txn: Txn) -> Result<(Head, bool), Status> {
        match self.ask(metadata, Request::Write(Command::Txn(txn))).await.map_err(spoken)? {
            Answer { head, body: Body::Reply(Reply::Txn { succeeded, .. }) } => Ok((head, succeeded)),
            other => Err(unexpected(&other.body)),
        }
    }

    async fn leader_of(&self, line: KeyRange) -> Result<(Head, Option<KeyValue>), Status> {
        let txn = Txn { success: vec![Op::Range(first(line))], ..Txn::default() };
        let (head, _, mut found) = self.transact(Request::ReadTxn { txn, serializable: false }).await?;
        Ok((head, found.pop().flatten()))
    }

    /// Tells of each leader, and of each of its values, until nobody listens. One that comes and goes while its predecessor is
    /// being told of may be passed over.
    async fn tell_leaders(
        &self,
        line: KeyRange,
        mut ending: Ending,
        to: &Sender<Result<pb::LeaderResponse, Status>>,
    ) -> Result<(), Status> {
        loop {
            let (head, leader) = self.leader_of(line.clone()).await?;
            let Some(leader) = leader else {
                self.news(vec![line.clone()], head.revision + 1, false).next(&mut ending).await?;
                continue;
            };
            let mut news = self.news(vec![point(leader.key.clone())], head.revision + 1, false);
            if to.send(Ok(response(head, leader))).await.is_err() {
                return Ok(());
            }
            loop {
                let message = news.next(&mut ending).await?;
                let head = Head { revision: message.revision, ..self.door.head() };
                let left = message.canceled || message.events.iter().any(|event| event.deleted);
                for event in message.events.into_iter().take_while(|event| !event.deleted) {
                    if to.send(Ok(response(head, event.kv))).await.is_err() {
                        return Ok(());
                    }
                }
                if left {
                    break;
                }
            }
        }
    }
}

fn response(head: Head, leader: KeyValue) -> pb::LeaderResponse {
    pb::LeaderResponse { header: Some(convert::header(head)), kv: Some(convert::key_value(leader)) }
}

fn missing() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

/// A leader's key as a client gives it.
fn checked(key: Bytes) -> Result<Bytes, Status> {
    if key.is_empty() { Err(Status::unknown("etcdserver: key is not provided")) } else { Ok(key) }
}
