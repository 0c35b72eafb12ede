//! The KV service.

use crate::failure::status;
use crate::{Gateway, aside, check, check_size, convert, unexpected};
use quorate_node::api::{Answer, Body, Failure, Request};
use quorate_proto::etcdserverpb as pb;
use quorate_wire::kv::{Command, Reply, Revision};
use tonic::{Response, Status};

#[tonic::async_trait]
impl pb::kv_server::Kv for Gateway {
    async fn range(
        &self,
        r: tonic::Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        check::range(&message)?;
        let serializable = message.serializable;
        let request = Request::Range { range: convert::range(message), serializable };
        match self.ask(&metadata, request).await? {
            Answer { head, body: Body::Reply(Reply::Range(reply)) } => {
                let (large, header) = (aside::is_large(&reply), Some(convert::header(head)));
                self.aside.reply(large, move || convert::range_response(header, reply)).await
            }
            other => Err(unexpected(&other.body)),
        }
    }

    async fn put(&self, r: tonic::Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        check::put(&message)?;
        check_size(&message)?;
        let request = Request::Write(Command::Put(convert::put(message)));
        match self.ask(&metadata, request).await? {
            Answer { head, body: Body::Reply(Reply::Put { prev }) } => {
                Ok(Response::new(convert::put_response(Some(convert::header(head)), prev)))
            }
            other => Err(unexpected(&other.body)),
        }
    }

    async fn delete_range(
        &self,
        r: tonic::Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        check::delete(&message)?;
        check_size(&message)?;
        let request = Request::Write(Command::Delete(convert::delete(message)));
        match self.ask(&metadata, request).await? {
            Answer { head, body: Body::Reply(Reply::Delete { deleted, prev }) } => {
                Ok(Response::new(convert::delete_response(Some(convert::header(head)), deleted, prev)))
            }
            other => Err(unexpected(&other.body)),
        }
    }

    async fn txn(&self, r: tonic::Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        check::txn(&message)?;
        check_size(&message)?;
        let (reads, serializable) = (check::only_reads(&message), check::serializable(&message));
        let txn = convert::txn(message)?;
        let request =
            if reads { Request::ReadTxn { txn, serializable } } else { Request::Write(Command::Txn(txn)) };
        match self.ask(&metadata, request).await? {
            Answer { head, body: Body::Reply(Reply::Txn { succeeded, replies }) } => {
                let (large, header) = (aside::are_large(&replies), Some(convert::header(head)));
                let make = move || convert::txn_response(header, head.revision, succeeded, replies);
                self.aside.reply(large, make).await
            }
            other => Err(unexpected(&other.body)),
        }
    }

    async fn compact(
        &self,
        r: tonic::Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        let revision: Revision = message.revision;
        // Logical compaction is at once; `physical` waits till the asked node has deleted what was forgotten, too.
        let answer = self.ask(&metadata, Request::Write(Command::Compact { revision })).await?;
        match answer.body {
            Body::Reply(Reply::Compact) => {
                if message.physical {
                    self.ask(&metadata, Request::Swept).await?;
                }
                Ok(Response::new(pb::CompactionResponse { header: Some(convert::header(answer.head)) }))
            }
            Body::Reply(_) => {
                Err(status(&Failure::Broken("a compaction was answered with something else".into())))
            }
            other => Err(unexpected(&other)),
        }
    }
}
