//! The Watch service.
//!
//! A watch stream is pulled: the next message is made when the connection has room for it, so that a stream that its client does not
//! read costs its position in the history and one message, which is a small one (`quorate_node::watch`). It ends when the node says so ([`crate::ending`]) or the client is
//! gone. A client that only closes its own side goes on hearing of its watches, as with etcd.
//!
//! What its client asks is read by a task of its own, so that one that does not read its messages has its cancellations heard all the
//! same; up to a bound on the answers that it is owed.

use crate::calls::Heard;
use crate::ending::Ending;
use crate::{Gateway, convert, failure, refused_message, wants_leader};
use bytes::Bytes;
use quorate_node::api::{Failure, Head, WatchCreate, WatchMessage, WatchRequest, WatchStream};
use quorate_node::evidence::Mode;
use quorate_proto::etcdserverpb as pb;
use quorate_wire::kv::KeyRange;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::task::AbortHandle;
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
        let watches = Mutex::new(Some(self.door.watch(Box::new(move || rung.ring()))));
        let ending = self.endings.listen(wants_leader(&metadata));
        let shared = Arc::new(Shared { watches, bell, room: Bell::default(), refused: Mutex::default() });
        let hearing = tokio::spawn(hear(requests, heard, shared.clone())).abort_handle();
        Ok(Response::new(Box::pin(Messages { gateway: self.clone(), shared, hearing, ending })))
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

/// What the two sides of one stream share.
struct Shared {
    /// `None` once nobody takes its messages any more.
    watches: Mutex<Option<Box<dyn WatchStream>>>,
    /// Wakes who writes the messages.
    bell: Arc<Bell>,
    /// Wakes who reads the requests: answers that were owed have gone out.
    room: Bell,
    /// Why no request is read any more, where that ends the stream.
    refused: Mutex<Option<Status>>,
}

impl Shared {
    fn watches(&self) -> MutexGuard<'_, Option<Box<dyn WatchStream>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, Option<Status>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready while no more is owed than may be.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Listen first: what goes out meanwhile rings then.
        self.room.listen(cx.waker());
        let owed = self.watches().as_ref().map_or(0, |watches| watches.owed());
        if owed < OWED_MAX { Poll::Ready(()) } else { Poll::Pending }
    }

    fn ask(&self, request: WatchRequest) {
        if let Some(watches) = &mut *self.watches() {
            watches.request(request);
        }
        self.bell.ring();
    }

    /// The next message, and how many answers are owed behind it.
    fn next(&self) -> Option<(WatchMessage, usize)> {
        let mut watches = self.watches();
        let watches = watches.as_mut()?;
        watches.poll().map(|message| (message, watches.owed()))
    }
}

/// Takes what the client asks, until it has closed its side.
async fn hear(mut requests: Streaming<pb::WatchRequest>, heard: Option<Heard>, shared: Arc<Shared>) {
    loop {
        let next = poll_fn(|cx| {
            // One that asks without end must not keep the others of this thread waiting.
            let turn = ready!(tokio::task::coop::poll_proceed(cx));
            ready!(shared.poll_room(cx));
            let next = ready!(Pin::new(&mut requests).poll_next(cx));
            turn.made_progress();
            Poll::Ready(next)
        });
        match next.await {
            Some(Ok(request)) => {
                Heard::one(heard.as_ref());
                if let Some(request) = request_of(request) {
                    shared.ask(request);
                }
            }
            Some(Err(status)) => {
                *shared.refused() = Some(refused_message(status));
                return shared.bell.ring();
            }
            None => return,
        }
    }
}

/// The messages of one stream.
struct Messages {
    gateway: Gateway,
    shared: Arc<Shared>,
    hearing: AbortHandle,
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
        // Listen first: news that come between are news then.
        this.shared.bell.listen(cx.waker());
        if let Some(status) = this.shared.refused().take() {
            return Poll::Ready(Some(Err(status)));
        }
        let Some((message, owed)) = this.shared.next() else { return Poll::Pending };
        turn.made_progress();
        if owed < OWED_MAX {
            this.shared.room.ring();
        }
        Poll::Ready(Some(Ok(response(this.gateway.door.head(), message))))
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.hearing.abort();
        // That task is gone a moment later; the watches are now.
        drop(self.shared.watches().take());
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

    /// A stream of watches over which a client speaks.
    struct Client {
        asked: Arc<Mutex<Vec<WatchRequest>>>,
        say: tokio::sync::mpsc::UnboundedSender<Result<http_body::Frame<Bytes>, Status>>,
        heard: crate::direct::Reply,
    }

    impl Client {
        async fn begin() -> Self {
            let asked = Arc::<Mutex<Vec<WatchRequest>>>::default();
            let alone = crate::tests::Alone { watched: Some(asked.clone()), ..Default::default() };
            let gateway = Arc::new(crate::tests::gateway(Arc::new(alone)));
            let front = crate::front::Front { routes: crate::routes(&gateway), gateway };
            let (say, said) = tokio::sync::mpsc::unbounded_channel();
            let said = tokio_stream::wrappers::UnboundedReceiverStream::new(said);
            let request = tonic::codegen::http::Request::post("/etcdserverpb.Watch/Watch")
                .header("content-type", "application/grpc")
                .version(tonic::codegen::http::Version::HTTP_2)
                .body(http_body_util::StreamBody::new(said))
                .unwrap();
            let heard = front.called(request).await.into_body();
            Self { asked, say, heard }
        }

        fn says(&self, union: pb::watch_request::RequestUnion) {
            let message = pb::WatchRequest { request_union: Some(union) };
            let message = prost::Message::encode_to_vec(&message);
            let head = [&[0][..], &(message.len() as u32).to_be_bytes()].concat();
            self.say.send(Ok(http_body::Frame::data([head, message].concat().into()))).unwrap();
        }

        /// How many requests the node has taken, once there is nothing that it could do.
        async fn taken(&self) -> usize {
            for _ in 0..2000 {
                tokio::task::yield_now().await;
            }
            self.asked.lock().unwrap().len()
        }
    }

    /// Claim: a client that reads nothing is heard all the same, up to a bound on the answers that are owed to it; when it reads on, so is the
    /// rest; and when it is gone, so are its watches.
    #[tokio::test]
    async fn who_does_not_read_is_heard() {
        use pb::watch_request::RequestUnion;
        let mut client = Client::begin().await;
        client.says(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: "a".into(),
            ..Default::default()
        }));
        client.says(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 5 }));
        assert_eq!(client.taken().await, 2);
        assert_eq!(client.asked.lock().unwrap()[1], WatchRequest::Cancel { id: 5 });
        for _ in 0..OWED_MAX {
            client.says(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
        }
        assert_eq!(client.taken().await, OWED_MAX, "what is owed has a bound");
        for _ in 0..2 {
            assert!(http_body_util::BodyExt::frame(&mut client.heard).await.unwrap().unwrap().is_data());
        }
        assert_eq!(client.taken().await, OWED_MAX + 2);
        let Client { asked, heard, say } = client;
        drop(heard);
        assert_eq!(Arc::strong_count(&asked), 2, "the node's, and this one");
        drop(say);
    }

    /// Claim: what makes no sense ends the stream with a word, also of a client that reads late.
    #[tokio::test]
    async fn what_is_no_message_ends_the_stream() {
        let mut client = Client::begin().await;
        client.say.send(Ok(http_body::Frame::data(vec![0, 0, 0, 0, 1, 0xff].into()))).unwrap();
        client.taken().await;
        let ended = loop {
            let frame = http_body_util::BodyExt::frame(&mut client.heard).await.unwrap().unwrap();
            if let Ok(trailers) = frame.into_trailers() {
                break Status::from_header_map(&trailers).unwrap();
            }
        };
        assert_eq!(ended.code(), tonic::Code::Internal, "{ended}");
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
