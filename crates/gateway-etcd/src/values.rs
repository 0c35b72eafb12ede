//! What a client says in JSON, value by value, as it comes: a body of several may stay open as long as the stream that it asks for.
//!
//! Only where a value ends is looked for here, by its braces and strings, each byte once; what is in it is read once it is whole. A value
//! has a bound, and what has come of one counts among what has begun (`unfinished.rs`); how many there are has none.

use crate::json::framed;
use crate::unfinished::{Part, Unfinished};
use bytes::Bytes;
use http_body::Frame;
use prost_reflect::MessageDescriptor;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::Status;
use tonic::codegen::StdError;

/// The values of a body, as gRPC's messages.
pub(crate) struct Values<B> {
    body: B,
    input: MessageDescriptor,
    /// What has come behind the last whole value.
    part: Part<Arc<Unfinished>>,
    scan: Scan,
    /// A value has no more bytes.
    most: usize,
    ended: bool,
}

impl<B> Values<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    pub(crate) fn new(body: B, input: MessageDescriptor, all: Arc<Unfinished>, most: usize) -> Self {
        Self { body, input, part: Part::new(all), scan: Scan::default(), most, ended: false }
    }

    /// The next one; `None` where the body ends before it.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        poll_fn(|cx| self.poll_next(cx)).await.transpose()
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        loop {
            if let Some(length) = self.scan.over(&self.part.came) {
                let value = self.part.take(length);
                self.scan = Scan::default();
                return Poll::Ready(Some(self.message(&value)));
            }
            if self.scan.at > self.most {
                return self.refuse(too_long(self.most));
            }
            if self.ended {
                let rest = self.part.take(self.part.came.len());
                let nothing = rest.trim_ascii().is_empty();
                return Poll::Ready(if nothing { None } else { Some(self.message(&rest)) });
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && let Err(status) = self.part.add(&data)
                    {
                        return self.refuse(status);
                    }
                }
                Some(Err(error)) => return self.refuse(Status::invalid_argument(error.into().to_string())),
                None => self.ended = true,
            }
        }
    }

    fn message(&mut self, text: &[u8]) -> Result<Bytes, Status> {
        if text.len() > self.most {
            return Err(too_long(self.most));
        }
        framed(&self.input, text)
    }

    /// Nothing is read behind what cannot be taken.
    fn refuse(&mut self, status: Status) -> Poll<Option<Result<Bytes, Status>>> {
        self.ended = true;
        self.part.take(self.part.came.len());
        Poll::Ready(Some(Err(status)))
    }
}

fn too_long(most: usize) -> Status {
    Status::resource_exhausted(format!("quorate: a body has more than {most} bytes"))
}

/// The body of a call of gRPC: the first message, and those that come.
pub(crate) struct Requests<B> {
    pub(crate) first: Option<Bytes>,
    pub(crate) rest: Values<B>,
}

impl<B> http_body::Body for Requests<B>
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
        let next = match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => self.rest.poll_next(cx),
        };
        next.map_ok(Frame::data)
    }
}

/// How far a value has been looked at.
#[derive(Default)]
struct Scan {
    /// So many bytes.
    at: usize,
    /// Braces and brackets that are open there.
    depth: usize,
    /// Within a string.
    text: bool,
    /// Behind a backslash in it.
    escaped: bool,
}

impl Scan {
    /// Goes on over what has come; the length of the value, blanks before it included, once it is whole. What does not begin as a
    /// message does ends at once: reading it says what is wrong.
    fn over(&mut self, came: &[u8]) -> Option<usize> {
        while let Some(&byte) = came.get(self.at) {
            self.at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.text => self.escaped = true,
                b'"' => self.text = !self.text,
                _ if self.text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth == 0 && !byte.is_ascii_whitespace() {
                return Some(self.at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: however a text is cut, its values end where they end.
    #[test]
    fn values_end_where_they_end() {
        let values = [r#"{"a":[1,{"b":"}]\"{\\"}]}"#, " {}", "\n\t{\"}\": \"\\u007d\"}", " 7"];
        let text = values.concat();
        for cut in 0..text.len() {
            let (mut rest, mut scan) = (text.as_bytes(), Scan::default());
            for value in values {
                let early = cut.saturating_sub(text.len() - rest.len()).min(rest.len());
                let length = scan.over(&rest[..early]).or_else(|| scan.over(rest));
                assert_eq!(length, Some(value.len()), "{value} with a cut at {cut}");
                (rest, scan) = (&rest[value.len()..], Scan::default());
            }
        }
        assert_eq!(Scan::default().over(b" \n"), None);
    }
}
