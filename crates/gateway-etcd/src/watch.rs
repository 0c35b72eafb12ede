//! The Watch service, and what ends any stream.
//!
//! A stream is one task: it takes requests as they come and makes the next message only when the client's window has
//! room for it, so that a client that does not read costs nothing but its position.

use crate::failure::status;
use crate::{Gateway, convert, wants_leader};
use quorate_node::api::{Failure, WatchCreate, WatchMessage, WatchRequest};
use quorate_proto::etcdserverpb as pb;
use quorate_wire::kv::KeyRange;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

/// Messages that may wait for the connection.
const AHEAD: usize = 8;
/// How often a stream looks whether it must end.
const LOOK: Duration = Duration::from_millis(250);

#[tonic::async_trait]
impl pb::watch_server::Watch for Gateway {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send + 'static>>;

    async fn watch(
        &self,
        r: tonic::Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (metadata, _, requests) = r.into_parts();
        self.require_leader(&metadata)?;
        let (give, take) = mpsc::channel(AHEAD);
        let gateway = self.clone();
        let needs_leader = wants_leader(&metadata);
        tokio::spawn(async move {
            if let Err(status) = gateway.run_watch(requests, &give, needs_leader).await {
                // The client may be gone, and then it does not need to hear it.
                let _ = give.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(take))))
    }
}

impl Gateway {
    async fn run_watch(
        &self,
        mut requests: Streaming<pb::WatchRequest>,
        give: &mpsc::Sender<Result<pb::WatchResponse, Status>>,
        needs_leader: bool,
    ) -> Result<(), Status> {
        let news = Arc::new(Notify::new());
        let wake = news.clone();
        let mut stream = self.door.watch(Box::new(move || wake.notify_one()));
        loop {
            tokio::select! {
                request = self.next(&mut requests, needs_leader) => match request {
                    // The client closed its side, or is gone: the stream is over.
                    None => return Ok(()),
                    Some(Err(status)) => return Err(status),
                    Some(Ok(request)) => {
                        if let Some(request) = watch_request(request) {
                            stream.request(request);
                        }
                    }
                },
                () = news.notified() => {}
                () = give.closed() => return Ok(()),
            }
            while let Ok(permit) = give.try_reserve() {
                let Some(message) = stream.poll() else { break };
                permit.send(Ok(self.watch_response(message)));
            }
            if give.capacity() == 0 {
                // Wait for room, but hear requests meanwhile.
                tokio::select! {
                    _ = give.reserve() => news.notify_one(),
                    request = self.next(&mut requests, needs_leader) => match request {
                        None => return Ok(()),
                        Some(Err(status)) => return Err(status),
                        Some(Ok(request)) => {
                            if let Some(request) = watch_request(request) {
                                stream.request(request);
                            }
                            news.notify_one();
                        }
                    },
                }
            }
        }
    }

    /// The next request of a stream; an error when the stream must end, since the node stops or, for clients that care,
    /// has been without a leader for three election timeouts.
    pub(crate) async fn next<T>(
        &self,
        requests: &mut Streaming<T>,
        needs_leader: bool,
    ) -> Option<Result<T, Status>> {
        loop {
            if self.door.stopping() {
                return Some(Err(status(&Failure::Stopping)));
            }
            let patience = 3 * self.door.patience().election;
            if needs_leader && self.door.leaderless().is_some_and(|since| since > patience) {
                return Some(Err(status(&Failure::NoLeader)));
            }
            match tokio::time::timeout(LOOK, requests.message()).await {
                Err(_) => {}
                Ok(Ok(Some(request))) => return Some(Ok(request)),
                Ok(Ok(None) | Err(_)) => return None,
            }
        }
    }

    fn watch_response(&self, message: WatchMessage) -> pb::WatchResponse {
        let header = pb::ResponseHeader { revision: message.revision, ..self.header() };
        pb::WatchResponse {
            header: Some(header),
            watch_id: message.id,
            created: message.created,
            canceled: message.canceled,
            compact_revision: message.compact_revision,
            cancel_reason: message.reason,
            fragment: message.fragment,
            events: message.events.into_iter().map(convert::event).collect(),
        }
    }
}

fn watch_request(request: pb::WatchRequest) -> Option<WatchRequest> {
    use pb::watch_request::RequestUnion;
    Some(match request.request_union? {
        RequestUnion::CreateRequest(create) => WatchRequest::Create(WatchCreate {
            range: KeyRange { key: create.key, end: create.range_end },
            start: create.start_revision,
            progress_notify: create.progress_notify,
            no_put: create.filters.contains(&0),
            no_delete: create.filters.contains(&1),
            prev_kv: create.prev_kv,
            id: create.watch_id,
            fragment: create.fragment,
        }),
        RequestUnion::CancelRequest(cancel) => WatchRequest::Cancel { id: cancel.watch_id },
        RequestUnion::ProgressRequest(_) => WatchRequest::Progress,
    })
}
