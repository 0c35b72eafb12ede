//! The Lock service: a lock that lives as long as a lease. How contenders wait is told in `line.rs`.

use crate::line::spoken;
use crate::{Gateway, check, convert, unexpected};
use quorate_node::api::{Answer, Body, Request};
use quorate_proto::{etcdserverpb as pb, v3lockpb};
use quorate_wire::kv::{Command, Reply};
use tonic::{Response, Status};

#[tonic::async_trait]
impl v3lockpb::lock_server::Lock for Gateway {
    async fn lock(
        &self,
        r: tonic::Request<v3lockpb::LockRequest>,
    ) -> Result<Response<v3lockpb::LockResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        self.limits.check(&message).map_err(spoken)?;
        let place = self.contend(&metadata, &message.name, message.lease, bytes::Bytes::new()).await?;
        let head = if place.first {
            place.head
        } else {
            let held = place.wait(&mut self.ending(&metadata)).await?;
            held.ok_or_else(|| Status::unknown("mutex: session is expired"))?
        };
        let key = place.key.clone();
        place.hold();
        Ok(Response::new(v3lockpb::LockResponse { header: Some(convert::header(head)), key }))
    }

    async fn unlock(
        &self,
        r: tonic::Request<v3lockpb::UnlockRequest>,
    ) -> Result<Response<v3lockpb::UnlockResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        let delete = pb::DeleteRangeRequest { key: message.key, ..pb::DeleteRangeRequest::default() };
        check::delete(&delete).and_then(|()| self.limits.check(&delete)).map_err(spoken)?;
        let request = Request::Write(Command::Delete(convert::delete(delete)));
        match self.ask(&metadata, request).await? {
            Answer { head, body: Body::Reply(Reply::Delete { .. }) } => {
                Ok(Response::new(v3lockpb::UnlockResponse { header: Some(convert::header(head)) }))
            }
            other => Err(unexpected(&other.body)),
        }
    }
}
