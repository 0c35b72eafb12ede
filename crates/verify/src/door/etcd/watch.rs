//! A watch that goes on where the last one ended, for a moment.

use super::{Etcd, held, revision};
use crate::op::{Ended, Op};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_create_request::FilterType;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::mvccpb::event::EventType;
use quorate_proto::mvccpb::{Event, KeyValue};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Channel;

/// A watch listens for so long before it asks how far it is.
const LISTEN: Duration = Duration::from_millis(1200);
/// A watch that was told of so many events asks at once.
const MANY: usize = 20_000;

impl Etcd {
    /// Watches as it is asked (`key` or `prefix`, `start`, `filters`). The result is the list of responses. A watch that broke
    /// after it was told something happened as far as it was told, and is an error none the less.
    pub(super) async fn watch(&self, channel: Channel, op: &Op) -> Ended {
        let mut told = Vec::new();
        match self.watched(channel, &op.value, &mut told).await {
            Ok(()) => Ended::ok(told, None),
            Err(why) if told.is_empty() => Ended::failed(why),
            Err(why) => Ended { error: Some(why), ..Ended::ok(told, None) },
        }
    }

    fn watch_request(&self, asked: &Value) -> pb::WatchCreateRequest {
        let filters = asked["filters"].as_array().into_iter().flatten();
        let filters =
            filters.map(|name| if name == "noput" { FilterType::Noput } else { FilterType::Nodelete });
        let prefix = self.key(&asked["prefix"]);
        let (key, range_end) = if asked["key"].is_null() {
            (prefix.clone(), super::whole::end_of(&prefix))
        } else {
            (self.key(&asked["key"]), bytes::Bytes::new())
        };
        pb::WatchCreateRequest {
            key,
            range_end,
            start_revision: asked["start"].as_i64().unwrap_or(0),
            filters: filters.map(Into::into).collect(),
            prev_kv: true,
            ..Default::default()
        }
    }

    async fn watched(&self, channel: Channel, asked: &Value, told: &mut Vec<Value>) -> Result<(), String> {
        let (asks, listens) = tokio::sync::mpsc::channel(4);
        let ask =
            |union| asks.try_send(pb::WatchRequest { request_union: Some(union) }).map_err(|e| e.to_string());
        ask(RequestUnion::CreateRequest(self.watch_request(asked)))?;
        let mut client =
            pb::watch_client::WatchClient::new(channel).max_decoding_message_size(super::REPLY_MAX);
        let stream = client.watch(tokio_stream::wrappers::ReceiverStream::new(listens));
        let stream = timeout(self.patience, stream).await.map_err(|_| "no answer in time")?;
        let mut stream = stream.map_err(|status| status.message().to_string())?.into_inner();
        let mut deadline = Instant::now() + LISTEN;
        // How many events there were when it was asked last.
        let (mut asked, mut events) = (None, 0);
        loop {
            let Ok(message) = timeout_at(deadline, stream.message()).await else {
                // One that still reads history passes over the question.
                if asked == Some(events) {
                    return Err("it does not say how far it is".into());
                }
                asked = Some(events);
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
            if !reply.events.is_empty() {
                events += reply.events.len();
                told.push(
                    json!({"events": reply.events.iter().map(|it| self.event(it)).collect::<Vec<_>>()}),
                );
            } else if !reply.created && asked.is_some() {
                told.push(json!({"progress": revision(reply.header.as_ref())}));
                return Ok(());
            }
            if asked.is_some_and(|asked| asked < events) {
                deadline = Instant::now() + LISTEN;
            } else if asked.is_none() && events > MANY {
                deadline = Instant::now();
            }
        }
    }

    /// An event as the checker knows it.
    fn event(&self, event: &Event) -> Value {
        let empty = KeyValue::default();
        let kv = event.kv.as_ref().unwrap_or(&empty);
        let key = String::from_utf8_lossy(&kv.key);
        let key = key.strip_prefix(&self.prefix).unwrap_or(&key);
        let prev =
            event.prev_kv.as_ref().map(|prev| json!({"value": held(Some(prev)), "mod": prev.mod_revision}));
        if event.r#type() == EventType::Delete {
            return json!({"type": "delete", "key": key, "mod": kv.mod_revision, "prev": prev});
        }
        let (value, create) = (held(Some(kv)), kv.create_revision);
        json!({"type": "put", "key": key, "value": value, "mod": kv.mod_revision, "create": create, "prev": prev})
    }
}
