//! One watch stream of one side: what it says is translated, held to the watch contract on the spot, and queued by watch
//! for the comparison with the other side.
//!
//! How events are packed into replies is a matter of timing and not compared. What the contract says of the packing is
//! checked: revisions ascend within a watch, no revision is spread over replies unless they are fragments, and a header's
//! revision is never below the events beside it.

use crate::op::Names;
use crate::side::{Line, PATIENCE};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::mvccpb::Event;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

/// The watch id of what concerns a whole stream.
pub const WHOLE: i64 = -1;

/// What one watch says, without the packing.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Created { revision: i64, canceled: bool, compact_revision: i64, reason: String },
    Event(Event),
    Canceled { revision: i64, compact_revision: i64, reason: String },
    Ended(Code, String),
}

/// What is known of one watch id over the life of the stream.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub events: u64,
    pub canceled: u64,
    /// Revision of the newest event.
    pub revision: i64,
    /// The last reply was a fragment, so that its revision goes on in the next.
    fragment: bool,
}

/// A watch was created, or refused.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    pub id: i64,
    pub refused: bool,
    /// Events that came under this id before.
    pub events: u64,
}

/// One stream.
pub struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    replies: mpsc::UnboundedReceiver<Result<pb::WatchResponse, Status>>,
    /// Not yet compared.
    pub queues: BTreeMap<i64, VecDeque<Item>>,
    pub tallies: BTreeMap<i64, Tally>,
    /// What was created, in order.
    pub created: Vec<Birth>,
    /// Revisions of progress replies about the whole stream.
    pub progress: Vec<i64>,
    pub ended: bool,
    /// Where the contract was broken.
    pub broken: Option<String>,
}

impl Stream {
    /// Opens a stream.
    pub fn open(mut client: WatchClient<Line>) -> Self {
        let (requests, outgoing) = mpsc::channel(64);
        let (heard, replies) = mpsc::unbounded_channel();
        // Servers may wait for the first request before they send headers, so nothing here waits for them.
        tokio::spawn(async move {
            let mut incoming = match client.watch(ReceiverStream::new(outgoing)).await {
                Ok(reply) => reply.into_inner(),
                Err(status) => return drop(heard.send(Err(status))),
            };
            loop {
                let next = match incoming.message().await {
                    Ok(Some(reply)) => Ok(reply),
                    Ok(None) => Err(Status::new(Code::Ok, "the stream ended")),
                    Err(status) => Err(status),
                };
                let last = next.is_err();
                if heard.send(next).is_err() || last {
                    return;
                }
            }
        });
        Self {
            requests,
            replies,
            queues: BTreeMap::new(),
            tallies: BTreeMap::new(),
            created: Vec::new(),
            progress: Vec::new(),
            ended: false,
            broken: None,
        }
    }

    /// Asks for something.
    pub async fn ask(&self, request: RequestUnion) {
        self.send(Some(request)).await;
    }

    /// Sends a request, perhaps one that asks for nothing.
    pub async fn send(&self, request_union: Option<RequestUnion>) {
        // A stream that ended says so by its last item.
        let _ = self.requests.send(pb::WatchRequest { request_union }).await;
    }

    /// Takes what comes until `enough`, or until the end of `patience`; says which.
    pub async fn until(&mut self, names: &Names, patience: Duration, enough: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + patience;
        loop {
            while let Ok(reply) = self.replies.try_recv() {
                self.take(names, reply);
            }
            if enough(self) || self.ended {
                return enough(self);
            }
            match tokio::time::timeout_at(end, self.replies.recv()).await {
                Ok(Some(reply)) => self.take(names, reply),
                Ok(None) => self.ended = true,
                Err(_) => return false,
            }
        }
    }

    /// Waits until all requests before this moment were taken, which is known by one behind them that is always answered, an empty
    /// range; its answer may pass theirs.
    pub async fn passed(&mut self, names: &Names) -> bool {
        let created = self.created.len();
        let empty = pb::WatchCreateRequest { key: "b".into(), range_end: "a".into(), ..Default::default() };
        self.ask(RequestUnion::CreateRequest(empty)).await;
        self.until(names, PATIENCE, |stream| stream.created.len() > created).await
    }

    /// What is known of a watch.
    pub fn tally(&self, id: i64) -> Tally {
        self.tallies.get(&id).cloned().unwrap_or_default()
    }

    fn take(&mut self, names: &Names, reply: Result<pb::WatchResponse, Status>) {
        let mut reply = match reply {
            Ok(reply) => reply,
            Err(status) => {
                self.ended = true;
                let item = Item::Ended(status.code(), status.message().to_string());
                return self.queues.entry(WHOLE).or_default().push_back(item);
            }
        };
        names.seen_watch(&mut reply);
        let revision = reply.header.as_ref().map_or(i64::MIN, |h| h.revision);
        let id = reply.watch_id;
        let queue = self.queues.entry(id).or_default();
        let (compact_revision, reason) = (reply.compact_revision, reply.cancel_reason);
        if reply.created {
            let tally = self.tallies.entry(id).or_default();
            self.created.push(Birth { id, refused: reply.canceled, events: tally.events });
            queue.push_back(Item::Created { revision, canceled: reply.canceled, compact_revision, reason });
            // A watch begins anew under an id that was used before.
            tally.revision = 0;
            return;
        }
        let tally = self.tallies.entry(id).or_default();
        if reply.events.is_empty() && !reply.canceled {
            if id == WHOLE {
                self.progress.push(revision);
            }
            return;
        }
        for (at, event) in reply.events.into_iter().enumerate() {
            let of = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            let continues = at > 0 || tally.fragment;
            if of < tally.revision || (of == tally.revision && !continues) || of > revision {
                self.broken.get_or_insert(format!(
                    "watch {id}: an event of revision {of} in a reply at {revision}, after one of {} in {} reply",
                    tally.revision,
                    if continues { "the same" } else { "another" },
                ));
            }
            tally.revision = of;
            tally.events += 1;
            queue.push_back(Item::Event(event));
        }
        tally.fragment = reply.fragment;
        if reply.canceled {
            tally.canceled += 1;
            queue.push_back(Item::Canceled { revision, compact_revision, reason });
        }
    }
}
