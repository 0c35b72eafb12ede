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
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

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

    /// Claim: each field of a message is told as itself; its revision is its own, and not the space's of now.
    #[test]
    fn a_message_is_told_field_for_field() {
        let head = Head { cluster: 1, member: 2, revision: 99, term: 3 };
        let header = Some(pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 8, raft_term: 3 });
        let kv = KeyValue { key: "k".into(), mod_revision: 7, ..KeyValue::default() };
        let prev = Some(KeyValue { value: "before".into(), ..kv.clone() });
        let events =
            vec![Event { deleted: true, kv: kv.clone(), prev }, Event { deleted: false, kv, prev: None }];
        let plain = WatchMessage { revision: 8, id: 4, events, ..WatchMessage::default() };
        let told = response(head, plain.clone());
        let bare = pb::WatchResponse { header, watch_id: 4, ..pb::WatchResponse::default() };
        assert_eq!(pb::WatchResponse { events: Vec::new(), ..told.clone() }, bare);
        let events: Vec<_> =
            told.events.into_iter().map(|e| (e.r#type, e.prev_kv.map(|kv| kv.value))).collect();
        assert_eq!(events, [(1, Some("before".into())), (0, None)]);
        let plain = WatchMessage { events: Vec::new(), ..plain };
        for (message, expected) in [
            (
                WatchMessage { created: true, ..plain.clone() },
                pb::WatchResponse { created: true, ..bare.clone() },
            ),
            (
                WatchMessage { canceled: true, ..plain.clone() },
                pb::WatchResponse { canceled: true, ..bare.clone() },
            ),
            (
                WatchMessage { compact_revision: 5, ..plain.clone() },
                pb::WatchResponse { compact_revision: 5, ..bare.clone() },
            ),
            (
                WatchMessage { reason: "why".into(), ..plain.clone() },
                pb::WatchResponse { cancel_reason: "why".into(), ..bare.clone() },
            ),
            (WatchMessage { fragment: true, ..plain }, pb::WatchResponse { fragment: true, ..bare }),
        ] {
            assert_eq!(response(head, message), expected);
        }
    }

    /// Claim: who listens is woken by the next ring, whoever listened before, and once.
    #[test]
    fn a_bell_wakes_who_listened_last() {
        struct Woken(AtomicU32);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (bell, one, two) = (Bell::default(), Arc::new(Woken(0.into())), Arc::new(Woken(0.into())));
        for (woken, times) in [(&one, 0), (&two, 1), (&two, 2)] {
            bell.listen(&Waker::from(one.clone()));
            bell.listen(&Waker::from(woken.clone()));
            bell.ring();
            bell.ring();
            assert_eq!(two.0.load(Ordering::Relaxed), times);
        }
        assert_eq!(one.0.load(Ordering::Relaxed), 1);
    }
}
