//! The Watch service.
//!
//! A watch stream is pulled: the next message is made when the connection has room for it, so that a stream that its client does not
//! read costs its position in the history and one message, which is a small one (`quorate_node::watch`). It ends when the node says so ([`crate::ending`]) or the client is
//! gone. A client that only closes its own side goes on hearing of its watches, as with etcd.
//!
//! What is left out: requests are read when messages are written, so a client that does not read its messages does not have
//! its cancellations heard either, until it does.

use crate::calls::Heard;
use crate::ending::Ending;
use crate::{Gateway, convert, failure, refused_message, wants_leader};
use bytes::Bytes;
use quorate_node::api::{Failure, Head, WatchCreate, WatchMessage, WatchRequest, WatchStream};
use quorate_node::evidence::Mode;
use quorate_proto::etcdserverpb as pb;
use quorate_wire::kv::KeyRange;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

#[tonic::async_trait]
impl pb::watch_server::Watch for Gateway {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send + 'static>>;

    async fn watch(
        &self,
        r: tonic::Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (metadata, extensions, requests) = r.into_parts();
        self.require_leader(&metadata)?;
        if self.door.learner() {
            return Err(failure::status(&Failure::Learner));
        }
        self.explain_stream(Mode::Local).await;
        let heard = extensions.get().cloned();
        let bell = Arc::new(Bell::default());
        let rung = bell.clone();
        let watches = self.door.watch(Box::new(move || rung.ring()));
        let ending = self.endings.listen(wants_leader(&metadata));
        let gateway = self.clone();
        Ok(Response::new(Box::pin(Messages {
            gateway,
            watches,
            bell,
            requests: Some(requests),
            heard,
            ending,
        })))
    }
}

/// Wakes the task that polls a stream, from whatever thread has news for it.
#[derive(Default)]
pub(crate) struct Bell(Mutex<Option<Waker>>);

impl Bell {
    pub(crate) fn ring(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// From now on `ring` wakes this one, once.
    pub(crate) fn listen(&self, waker: &Waker) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.as_ref().is_some_and(|held| held.will_wake(waker)) {
            *held = Some(waker.clone());
        }
    }
}

/// So many requests are answered ahead of what the client reads; the next are read when it has read these.
const OWED_MAX: usize = 256;

/// The messages of one stream.
struct Messages {
    gateway: Gateway,
    watches: Box<dyn WatchStream>,
    bell: Arc<Bell>,
    /// What the client asks, until it has closed its side.
    requests: Option<Streaming<pb::WatchRequest>>,
    heard: Option<Heard>,
    ending: Ending,
}

impl Stream for Messages {
    type Item = Result<pb::WatchResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Poll::Ready(status) = this.ending.poll(cx) {
            return Poll::Ready(Some(Err(status)));
        }
        // One stream that catches up must not keep the others of this thread waiting.
        let turn = ready!(tokio::task::coop::poll_proceed(cx));
        if let Err(status) = this.hear(cx) {
            return Poll::Ready(Some(Err(status)));
        }
        // Listen first: news that come between are news then.
        this.bell.listen(cx.waker());
        let Some(message) = this.watches.poll() else { return Poll::Pending };
        turn.made_progress();
        Poll::Ready(Some(Ok(response(this.gateway.door.head(), message))))
    }
}

impl Messages {
    /// Takes what the client has asked meanwhile.
    fn hear(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        let Some(requests) = &mut self.requests else { return Ok(()) };
        while self.watches.owed() < OWED_MAX
            && let Poll::Ready(request) = Pin::new(&mut *requests).poll_next(cx)
        {
            match request {
                Some(Ok(request)) => {
                    Heard::one(self.heard.as_ref());
                    if let Some(request) = request_of(request) {
                        self.watches.request(request);
                    }
                }
                Some(Err(status)) => return Err(refused_message(status)),
                None => {
                    self.requests = None;
                    break;
                }
            }
        }
        Ok(())
    }
}

fn response(head: Head, message: WatchMessage) -> pb::WatchResponse {
    pb::WatchResponse {
        header: Some(convert::header(Head { revision: message.revision, ..head })),
        watch_id: message.id,
        created: message.created,
        canceled: message.canceled,
        compact_revision: message.compact_revision,
        cancel_reason: message.reason,
        fragment: message.fragment,
        events: message.events.into_iter().map(convert::event).collect(),
    }
}

/// `None` for a request without content, which etcd passes over, too.
fn request_of(request: pb::WatchRequest) -> Option<WatchRequest> {
    use pb::watch_create_request::FilterType;
    use pb::watch_request::RequestUnion;
    Some(match request.request_union? {
        RequestUnion::CreateRequest(create) => WatchRequest::Create(WatchCreate {
            no_put: create.filters.contains(&(FilterType::Noput as i32)),
            no_delete: create.filters.contains(&(FilterType::Nodelete as i32)),
            // Copies: a slice of what came would keep all that came with it for as long as the watch lives.
            range: KeyRange {
                key: Bytes::copy_from_slice(&create.key),
                end: Bytes::copy_from_slice(&create.range_end),
            },
            start: create.start_revision,
            progress_notify: create.progress_notify,
            prev_kv: create.prev_kv,
            id: create.watch_id,
            fragment: create.fragment,
        }),
        RequestUnion::CancelRequest(cancel) => WatchRequest::Cancel { id: cancel.watch_id },
        RequestUnion::ProgressRequest(_) => WatchRequest::Progress,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_wire::kv::{Event, KeyValue};

    #[test]
    fn requests_are_taken_field_for_field() {
        let create = pb::WatchCreateRequest {
            key: "a".into(),
            range_end: "b".into(),
            start_revision: 3,
            progress_notify: true,
            filters: vec![pb::watch_create_request::FilterType::Nodelete as i32],
            prev_kv: true,
            watch_id: 9,
            fragment: true,
        };
        let union = pb::watch_request::RequestUnion::CreateRequest(create);
        let asked = request_of(pb::WatchRequest { request_union: Some(union) });
        let expected = WatchCreate {
            range: KeyRange { key: "a".into(), end: "b".into() },
            start: 3,
            progress_notify: true,
            no_put: false,
            no_delete: true,
            prev_kv: true,
            id: 9,
            fragment: true,
        };
        assert_eq!(asked, Some(WatchRequest::Create(expected)));
        assert_eq!(request_of(pb::WatchRequest { request_union: None }), None);
    }

    #[test]
    fn a_message_has_its_own_revision_and_a_deletion_its_type() {
        let head = Head { cluster: 1, member: 2, revision: 99, term: 3 };
        let kv = KeyValue { key: "k".into(), mod_revision: 7, ..KeyValue::default() };
        let events = vec![Event { deleted: true, kv, prev: None }];
        let said = response(head, WatchMessage { revision: 8, id: 4, events, ..WatchMessage::default() });
        let header = pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 8, raft_term: 3 };
        assert_eq!(said.header, Some(header));
        assert_eq!((said.watch_id, said.events.len(), said.events[0].r#type), (4, 1, 1));
    }
}
