//! Large replies, made on another thread.
//!
//! Sockets, doors and the node's lane share one thread. To turn a million pairs into a message, and that into bytes, takes
//! the better part of a second, and for so long no heartbeat would go out. So what makes a large reply runs on a thread of
//! the runtime's pool: first its message, then, since the gRPC library encodes a message only as it is sent, its bytes.
//! A reply is marked for the latter by an extension, which `front.rs` finds. The JSON form of a large message is made so, too (`json.rs`).

use bytes::Bytes;
use http_body::Frame;
use quorate_wire::kv::{KeyValue, RangeReply, Reply};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::{Response, Status};

/// From so many pairs on a reply is large; a KiB of values counts as a pair.
const LARGE: usize = 1024;
/// So many are made at once.
const AT_ONCE: usize = 2;

/// Marks a reply whose bytes are to be made aside.
#[derive(Clone, Copy)]
pub(crate) struct Large;

/// Where large replies are made.
#[derive(Clone)]
pub(crate) struct Aside(Arc<Semaphore>);

impl Default for Aside {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Aside {
    /// The reply that `make` makes: here, or aside if it is `large`.
    pub(crate) async fn reply<T: Send + 'static>(
        &self,
        large: bool,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Response<T>, Status> {
        if !large {
            return Ok(Response::new(make()));
        }
        let mut response = Response::new(self.run(make).await?);
        response.extensions_mut().insert(Large);
        Ok(response)
    }

    /// A body whose bytes are made aside.
    pub(crate) fn encode(&self, body: Body) -> Body {
        let this = self.clone();
        Body::new(Encoded::Waits(Box::pin(async move { this.run(move || encode(body)).await })))
    }

    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let stopped = || Status::unavailable("etcdserver: server stopped");
        let _place = self.0.acquire().await.map_err(|_| stopped())?;
        tokio::task::spawn_blocking(work).await.map_err(|_| stopped())
    }
}

/// Whether a reply is large.
pub(crate) fn is_large(reply: &RangeReply) -> bool {
    are_many(&reply.kvs)
}

/// Whether a reply with these pairs is large.
pub(crate) fn are_many(pairs: &[KeyValue]) -> bool {
    weight(pairs) > LARGE
}

/// Whether replies are large together, those of inner transactions too.
pub(crate) fn are_large(replies: &[Reply]) -> bool {
    fn sum(replies: &[Reply]) -> usize {
        let of = |reply: &Reply| match reply {
            Reply::Range(reply) => weight(&reply.kvs),
            Reply::Delete { prev, .. } => weight(prev),
            Reply::Txn { replies, .. } => sum(replies),
            _ => 1,
        };
        replies.iter().map(of).sum()
    }
    sum(replies) > LARGE
}

/// Counts no further than to what is large.
fn weight(pairs: &[KeyValue]) -> usize {
    let mut sum = 0;
    for kv in pairs {
        sum += 1 + kv.value.len() / 1024;
        if sum > LARGE {
            break;
        }
    }
    sum
}

type Frames = VecDeque<Result<Frame<Bytes>, Status>>;

/// All that a body has to give at once, and the body, unless that was all.
fn encode(mut body: Body) -> (Frames, Option<Body>) {
    let mut frames = Frames::new();
    // The body of a reply of one message never waits.
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match http_body::Body::poll_frame(Pin::new(&mut body), &mut cx) {
            Poll::Ready(Some(frame)) => frames.push_back(frame),
            Poll::Ready(None) => return (frames, None),
            Poll::Pending => return (frames, Some(body)),
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(Frames, Option<Body>), Status>> + Send>>;

/// A body that is encoded aside.
enum Encoded {
    Waits(Work),
    Given(Frames, Option<Body>),
}

impl http_body::Body for Encoded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            match &mut *self {
                Self::Waits(work) => {
                    let (frames, rest) = match ready!(work.as_mut().poll(cx)) {
                        Ok(encoded) => encoded,
                        Err(status) => (Frames::from([Err(status)]), None),
                    };
                    *self = Self::Given(frames, rest);
                }
                Self::Given(frames, rest) => {
                    return match (frames.pop_front(), rest) {
                        (Some(frame), _) => Poll::Ready(Some(frame)),
                        (None, Some(body)) => Pin::new(body).poll_frame(cx),
                        (None, None) => Poll::Ready(None),
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_wire::kv::KeyValue;
    use std::future::poll_fn;

    fn reply(pairs: usize, bytes: usize) -> RangeReply {
        let kv = KeyValue { value: vec![0; bytes].into(), ..KeyValue::default() };
        RangeReply { kvs: vec![kv; pairs], ..RangeReply::default() }
    }

    #[test]
    fn replies_are_large_by_pairs_or_by_bytes_and_in_transactions_together() {
        assert!(!is_large(&reply(1024, 0)) && is_large(&reply(1025, 0)));
        assert!(!is_large(&reply(1, 1 << 19)) && is_large(&reply(1, 1 << 20)));
        let half = || Reply::Range(reply(513, 0));
        let inner = Reply::Txn { succeeded: true, replies: vec![half()] };
        assert!(!are_large(&[half()]) && are_large(&[half(), inner]));
    }

    /// Made aside, a body says the same: its message and its trailers.
    #[tokio::test]
    async fn what_is_made_aside_is_what_is_made_here() {
        let aside = Aside::default();
        let thread = || std::thread::current().id();
        let here = aside.reply(false, thread).await.unwrap();
        assert!(*here.get_ref() == thread() && here.extensions().get::<Large>().is_none());
        let there = aside.reply(true, thread).await.unwrap();
        assert!(*there.get_ref() != thread() && there.extensions().get::<Large>().is_some());

        let bytes = Bytes::from_static(b"all of it");
        let mut body = aside.encode(Body::new(Whole(Some(bytes.clone()))));
        let first = poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await;
        assert_eq!(first.unwrap().unwrap().into_data().unwrap(), bytes);
        assert!(poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await.is_none());
    }

    struct Whole(Option<Bytes>);

    impl http_body::Body for Whole {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
        }
    }
}
