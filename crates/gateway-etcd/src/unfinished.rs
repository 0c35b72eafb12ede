//! Requests that have begun to come and are not complete.
//!
//! A message is at most a few megabytes, a connection may have as many calls as it likes, and nothing obliges a client to end
//! what it has begun. So the door keeps count of the calls whose client has not closed its side, and of the bytes of
//! messages of which a part has come; above a bound what comes next is refused. A message that is complete counts no more:
//! from there on the node's own bounds on what waits hold.
//!
//! The gRPC library makes room for a message as soon as its length is announced: five bytes would cost megabytes. So it
//! sees a message only when all of it is here; what came before is kept at its own size.

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tonic::Status;
use tonic::codegen::StdError;

/// Bytes of messages that are not complete, over all calls.
const BYTES_MAX: usize = 256 << 20;
/// Calls whose client has more to say.
const CALLS_MAX: usize = 100_000;

/// What has begun on one door.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// The longest message that is taken.
    longest: usize,
    bytes: AtomicUsize,
    calls: AtomicUsize,
}

impl Unfinished {
    pub(crate) fn new(longest: usize) -> Self {
        Self { longest, bytes: AtomicUsize::new(0), calls: AtomicUsize::new(0) }
    }

    /// The body of a request, counted.
    pub(crate) fn count<B>(self: &Arc<Self>, body: B) -> Counted<B> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let refused = calls > CALLS_MAX;
        Counted::new(body, self.clone(), refused)
    }

    /// Reads a body that is no gRPC whole, counted. One with more than `most` bytes is refused.
    pub(crate) async fn whole<B>(&self, mut body: B, most: usize) -> Result<Bytes, Status>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<StdError>,
    {
        let mut part = Part::new(self);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let frame = frame.map_err(|error| Status::invalid_argument(error.into().to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if part.came.len() + data.len() > most {
                return Err(Status::resource_exhausted(format!(
                    "quorate: a body has more than {most} bytes"
                )));
            }
            part.add(&data)?;
        }
        Ok(Bytes::copy_from_slice(&part.came))
    }

    /// Calls and bytes that are counted now.
    #[cfg(test)]
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.calls.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// What has come of something that is read whole.
pub(crate) struct Part<A: Deref<Target = Unfinished>> {
    all: A,
    pub(crate) came: BytesMut,
}

impl<A: Deref<Target = Unfinished>> Part<A> {
    pub(crate) fn new(all: A) -> Self {
        Self { all, came: BytesMut::new() }
    }

    pub(crate) fn add(&mut self, data: &[u8]) -> Result<(), Status> {
        self.came.extend_from_slice(data);
        let all = self.all.bytes.fetch_add(data.len(), Ordering::Relaxed) + data.len();
        if all > BYTES_MAX { Err(too_much()) } else { Ok(()) }
    }

    /// Takes so much of its beginning, which counts no more.
    pub(crate) fn take(&mut self, length: usize) -> BytesMut {
        self.all.bytes.fetch_sub(length, Ordering::Relaxed);
        self.came.split_to(length)
    }
}

impl<A: Deref<Target = Unfinished>> Drop for Part<A> {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.came.len(), Ordering::Relaxed);
    }
}

/// One request as it comes.
pub(crate) struct Counted<B> {
    body: B,
    all: Arc<Unfinished>,
    refused: bool,
    message: Message,
    /// What has come of the message under way.
    part: BytesMut,
    /// What stands behind it and is no data: how the body ends.
    end: Option<Result<Frame<Bytes>, Status>>,
}

impl<B> Counted<B> {
    /// The longest message that it may have.
    pub(crate) fn longest(&self) -> usize {
        self.all.longest
    }

    fn new(body: B, all: Arc<Unfinished>, refused: bool) -> Self {
        Self { body, all, refused, message: Message::default(), part: BytesMut::new(), end: None }
    }

    /// Takes in what came; gives on what is complete, if anything is.
    fn came(&mut self, mut data: Bytes) -> Result<Option<Bytes>, Status> {
        let (before, under_way) = (self.part.len(), self.message.came(&data));
        // The library refuses a message that is too long by its length alone.
        let whole = if self.message.length as usize > self.all.longest { 0 } else { under_way };
        let complete = data.split_to(data.len() - whole.min(data.len()));
        let out = match (complete.is_empty(), self.part.is_empty()) {
            (true, _) => None,
            (false, true) => Some(complete),
            (false, false) => {
                self.part.extend_from_slice(&complete);
                Some(std::mem::take(&mut self.part).freeze())
            }
        };
        self.part.extend_from_slice(&data);
        let more = self.part.len();
        let all = self.all.bytes.fetch_add(more, Ordering::Relaxed) + more - before;
        self.all.bytes.fetch_sub(before, Ordering::Relaxed);
        if all > BYTES_MAX && more > before { Err(too_much()) } else { Ok(out) }
    }
}

impl<B> Drop for Counted<B> {
    fn drop(&mut self) {
        self.all.calls.fetch_sub(1, Ordering::Relaxed);
        self.all.bytes.fetch_sub(self.part.len(), Ordering::Relaxed);
    }
}

impl<B> http_body::Body for Counted<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.refused {
            return Poll::Ready(Some(Err(too_much())));
        }
        loop {
            if let Some(end) = this.end.take() {
                return Poll::Ready(Some(end));
            }
            let end = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => match this.came(data) {
                        Ok(None) => continue,
                        Ok(Some(complete)) => return Poll::Ready(Some(Ok(Frame::data(complete)))),
                        Err(status) => {
                            this.refused = true;
                            return Poll::Ready(Some(Err(status)));
                        }
                    },
                    Err(trailers) => Some(Ok(trailers)),
                },
                Some(Err(error)) => Some(Err(Status::from_error(error.into()))),
                None => None,
            };
            if this.part.is_empty() {
                return Poll::Ready(end);
            }
            // The body ends within a message: the library says so.
            this.end = end;
            let part = std::mem::take(&mut this.part).freeze();
            this.all.bytes.fetch_sub(part.len(), Ordering::Relaxed);
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.refused && self.part.is_empty() && self.end.is_none() && self.body.is_end_stream()
    }
}

fn too_much() -> Status {
    Status::resource_exhausted(
        "quorate: too many requests have begun and do not end; complete or cancel them",
    )
}

/// How gRPC cuts a body into messages: a byte of flags, a length of four, then the message.
#[derive(Debug, Default)]
struct Message {
    /// Bytes of its head that have come, and their value so far.
    head: usize,
    length: u32,
    /// Bytes of it that have come.
    body: usize,
}

impl Message {
    const HEAD: usize = 5;

    /// Goes on over what came; how much of the message under way is there then.
    fn came(&mut self, mut data: &[u8]) -> usize {
        while let Some((&first, rest)) = data.split_first() {
            if self.head < Self::HEAD {
                if self.head > 0 {
                    self.length = self.length << 8 | u32::from(first);
                }
                self.head += 1;
                data = rest;
            } else {
                let n = (self.length as usize - self.body).min(data.len());
                self.body += n;
                data = &data[n..];
            }
            if self.head == Self::HEAD && self.body == self.length as usize {
                *self = Self::default();
            }
        }
        self.head + self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Rng;
    use tonic::body::Body;

    /// Seed 3: however a body is cut, what counts is what stands behind the last complete message.
    #[test]
    fn only_the_message_under_way_counts() {
        let mut rng = Rng::new(3);
        for round in 0..500 {
            let (mut bytes, mut ends) = (Vec::new(), vec![0]);
            for _ in 0..rng.between(1, 5) {
                let length = rng.below(20);
                bytes.push(rng.below(2) as u8);
                bytes.extend_from_slice(&(length as u32).to_be_bytes());
                bytes.extend((0..length).map(|_| rng.next_u64() as u8));
                ends.push(bytes.len());
            }
            let (mut message, mut at) = (Message::default(), 0);
            while at < bytes.len() {
                let n = rng.between(1, (bytes.len() - at).min(9) as u64) as usize;
                let held = message.came(&bytes[at..at + n]);
                at += n;
                let whole = ends.iter().copied().filter(|end| *end <= at).max().unwrap_or(0);
                assert_eq!(held, at - whole, "seed 3, round {round}, {at} of {}", bytes.len());
            }
        }
        let mut huge = Message::default();
        assert_eq!(huge.came(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2]), 7, "a length of 4 GiB is a length");
    }

    /// Seed 4: cut in any way, the same bytes come out, in whole messages.
    #[test]
    fn messages_are_given_on_whole() {
        let mut rng = Rng::new(4);
        for round in 0..500 {
            let (mut bytes, mut ends) = (Vec::new(), vec![0]);
            for _ in 0..rng.between(1, 6) {
                let length = rng.below(30) as u32;
                bytes.push(0);
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend((0..length).map(|_| rng.next_u64() as u8));
                ends.push(bytes.len());
            }
            let (all, mut out, mut at) = (bounds(), Vec::new(), 0);
            let mut counted = counted(&all);
            while at < bytes.len() {
                let n = rng.between(1, (bytes.len() - at).min(40) as u64) as usize;
                out.extend(
                    counted.came(Bytes::copy_from_slice(&bytes[at..at + n])).unwrap().into_iter().flatten(),
                );
                at += n;
                assert!(ends.contains(&out.len()), "seed 4, round {round}: {} of {ends:?}", out.len());
                assert_eq!(all.bytes.load(Ordering::Relaxed), at - out.len(), "seed 4, round {round}");
            }
            assert_eq!(out, bytes, "seed 4, round {round}");
        }
    }

    #[test]
    fn a_length_beyond_the_bound_is_given_on_to_be_refused() {
        let mut counted = counted(&bounds());
        let head = Bytes::from_static(&[0, 0x7f, 0, 0, 0, 1, 2]);
        assert_eq!(counted.came(head.clone()).unwrap(), Some(head));
    }

    fn bounds() -> Arc<Unfinished> {
        Arc::new(Unfinished::new(crate::Limits::default().decoded()))
    }

    fn counted(all: &Arc<Unfinished>) -> Counted<Body> {
        all.calls.fetch_add(1, Ordering::Relaxed);
        Counted::new(Body::empty(), all.clone(), false)
    }

    #[test]
    fn what_begins_beyond_the_bound_is_refused_and_what_ends_gives_room() {
        let all = bounds();
        let mut begun = [0, 0, 0x10, 0, 0].to_vec();
        begun.resize(1 << 20, 0);
        let begun = Bytes::from(begun);
        let mut many: Vec<Counted<Body>> = (0..BYTES_MAX / begun.len()).map(|_| counted(&all)).collect();
        assert!(
            many.iter_mut().all(|c| c.came(begun.clone()).is_ok_and(|out| out.is_none())),
            "up to the bound"
        );
        let mut late = counted(&all);
        let refused = late.came(Bytes::from_static(&[0, 0, 0, 0, 9, 1])).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(
            many[0].came(Bytes::from_static(&[0; 5])).unwrap().is_some(),
            "what completes a message is let in"
        );
        drop(many);
        assert!(counted(&all).came(begun).is_ok());
        drop(late);
        assert_eq!(all.held(), (0, 0));
    }
}
