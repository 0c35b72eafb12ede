//! A watch that goes on where the last one ended, for a moment.

use super::{Etcd, revision};
use crate::op::{Ended, Op};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::mvccpb::event::EventType;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Channel;

/// A watch listens for so long before it asks how far it is.
const LISTEN: Duration = Duration::from_millis(1200);
/// A watch that was told of so many events asks at once.
const MANY: usize = 20_000;

impl Etcd {
    /// Watches everything after a revision. The result is the revision up to which it is whole, and the events: revision, key,
    /// value (null where it was deleted).
    pub(super) async fn watch(&self, channel: Channel, op: &Op) -> Ended {
        let after = op.value.as_i64().unwrap_or(0);
        match self.watched(channel, after).await {
            Ok((through, events)) => Ended::ok(json!([through, events]), None),
            Err(why) => Ended::failed(why),
        }
    }

    async fn watched(&self, channel: Channel, after: i64) -> Result<(i64, Vec<Value>), String> {
        let prefix: bytes::Bytes = self.prefix.clone().into();
        let create = pb::WatchCreateRequest {
            range_end: super::whole::end_of(&prefix),
            key: prefix,
            start_revision: after + 1,
            ..Default::default()
        };
        let (asks, asked) = tokio::sync::mpsc::channel(4);
        let ask =
            |union| asks.try_send(pb::WatchRequest { request_union: Some(union) }).map_err(|e| e.to_string());
        ask(RequestUnion::CreateRequest(create))?;
        let mut client =
            pb::watch_client::WatchClient::new(channel).max_decoding_message_size(super::REPLY_MAX);
        let stream = client.watch(tokio_stream::wrappers::ReceiverStream::new(asked));
        let stream = timeout(self.patience, stream).await.map_err(|_| "no answer in time")?;
        let mut stream = stream.map_err(|status| status.message().to_string())?.into_inner();
        let (mut through, mut events) = (after, Vec::new());
        let mut deadline = Instant::now() + LISTEN;
        let mut asking = false;
        loop {
            let Ok(message) = timeout_at(deadline, stream.message()).await else {
                if asking {
                    // It does not say how far it is; the last event does.
                    return Ok((through, events));
                }
                asking = true;
                deadline = Instant::now() + self.patience;
                ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))?;
                continue;
            };
            let reply = message.map_err(|status| status.message().to_string())?.ok_or("the watch ended")?;
            if reply.canceled {
                return Err(format!(
                    "the watch was ended: {} {}",
                    reply.cancel_reason, reply.compact_revision
                ));
            }
            for event in &reply.events {
                let Some(kv) = &event.kv else { continue };
                let key = String::from_utf8_lossy(&kv.key);
                let key = key.strip_prefix(&self.prefix).unwrap_or(&key).to_string();
                let value =
                    if event.r#type() == EventType::Delete { Value::Null } else { super::held(Some(kv)) };
                events.push(json!([kv.mod_revision, key, value]));
                through = through.max(kv.mod_revision);
            }
            if reply.events.is_empty() && !reply.created && asking {
                return Ok((through.max(revision(reply.header.as_ref()).unwrap_or(0)), events));
            }
            if events.len() > MANY && !asking {
                deadline = Instant::now();
            }
        }
    }
}
