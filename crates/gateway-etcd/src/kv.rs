//! The KV service.

use crate::failure::status;
use crate::{Gateway, aside, check, convert, fence, unexpected};
use quorate_node::api::{Answer, Body, Failure, Request};
use quorate_proto::etcdserverpb as pb;
use quorate_wire::kv::{Command, Reply, Revision};
use std::sync::atomic::Ordering;
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
        match self.read(&metadata, convert::range(message), serializable).await? {
            Answer { head, body: Body::Reply(Reply::Range(reply)) } => {
                self.counters.ranges.fetch_add(1, Ordering::Relaxed);
                let (large, header) = (aside::is_large(&reply), Some(convert::header(head)));
                self.aside.reply(large, move || convert::range_response(header, reply)).await
            }
            other => Err(unexpected(&other.body)),
        }
    }

    async fn put(&self, r: tonic::Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        check::put(&message)?;
        self.limits.check(&message)?;
        match self.write(&metadata, Command::Put(convert::put(message))).await? {
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
        self.limits.check(&message)?;
        match self.write(&metadata, Command::Delete(convert::delete(message))).await? {
            Answer { head, body: Body::Reply(Reply::Delete { deleted, prev }) } => {
                let (large, header) = (aside::are_many(&prev), Some(convert::header(head)));
                self.aside.reply(large, move || convert::delete_response(header, deleted, prev)).await
            }
            other => Err(unexpected(&other.body)),
        }
    }

    async fn txn(&self, r: tonic::Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        check::txn(&message, self.limits.txn_ops)?;
        self.limits.check(&message)?;
        let (reads, serializable) = (check::only_reads(&message), check::serializable(&message));
        let txn = convert::txn(message)?;
        let answer = if reads && fence::shown(&metadata)?.is_none() {
            let answer = self.ask(&metadata, Request::ReadTxn { txn, serializable }).await?;
            self.count_ranges(&answer);
            answer
        } else {
            self.write(&metadata, Command::Txn(txn)).await?
        };
        match answer {
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
        let answer = self.write(&metadata, Command::Compact { revision }).await?;
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

impl Gateway {
    /// What a transaction that only reads has read.
    fn count_ranges(&self, answer: &Answer) {
        let Body::Reply(reply) = &answer.body else { return };
        let count = ranges(reply);
        self.counters.ranges.fetch_add(count, Ordering::Relaxed);
        self.counters.range_txns.fetch_add(u64::from(count > 1), Ordering::Relaxed);
    }
}

fn ranges(reply: &Reply) -> u64 {
    match reply {
        Reply::Range(_) => 1,
        Reply::Txn { replies, .. } => replies.iter().map(ranges).sum(),
        _ => 0,
    }
}
