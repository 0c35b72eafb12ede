//! What the node says on a stream, counted until the stream ends.

use crate::calls::Call;
use crate::direct::{HEAD, Reply};
use crate::front::{Late, expired};
use bytes::Bytes;
use http_body::{Body, Frame};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};

/// The body of a stream. Dropped before its status has gone out, it is one that the client gave up.
pub(crate) struct Streamed {
    pub(crate) body: Reply,
    pub(crate) call: Option<Call>,
    /// When the client hears no longer.
    pub(crate) late: Option<Late>,
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending() && self.late.as_mut().is_some_and(|late| late.as_mut().poll(cx).is_ready()) {
            // With this the library's own end is never asked for.
            self.body = Reply::Well;
            polled = Poll::Ready(Some(Ok(Frame::trailers(trailers(&expired())))));
        }
        match &polled {
            Poll::Ready(Some(Ok(frame))) => match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => {
                    if let Some(call) = &self.call {
                        call.said(messages(data));
                    }
                }
                (None, trailers) => self.end(trailers.map_or(Code::Ok, code)),
            },
            Poll::Ready(Some(Err(status))) => {
                let code = status.code();
                self.end(code);
            }
            Poll::Ready(None) => self.end(Code::Ok),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl Streamed {
    fn end(&mut self, code: Code) {
        if let Some(call) = self.call.take() {
            call.end(code);
        }
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // It is a plain text.
    let _ = status.add_header(&mut trailers);
    trailers
}

fn code(trailers: &HeaderMap) -> Code {
    Status::from_header_map(trailers).map_or(Code::Ok, |status| status.code())
}

/// How many messages there are in what the library sends at a time, which are whole.
fn messages(mut data: &[u8]) -> u64 {
    let mut count = 0;
    while let Some((&[_, a, b, c, d], rest)) = data.split_first_chunk::<HEAD>() {
        count += 1;
        data = rest.get(u32::from_be_bytes([a, b, c, d]) as usize..).unwrap_or_default();
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Counters;
    use std::sync::Arc;
    use tonic::body::Body as Boxed;

    /// Claim: a stream that nothing is said on ends when its client hears no longer, and says why.
    #[tokio::test]
    async fn a_stream_ends_with_its_deadline() {
        let counters = Arc::<Counters>::default();
        let silent = http_body_util::StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Status>>());
        let mut body = Streamed {
            body: Reply::Other(Boxed::new(silent)),
            call: Call::begin(&counters, "/etcdserverpb.Watch/Watch"),
            late: Some(crate::front::late(std::time::Duration::from_millis(10))),
        };
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
        let status = Status::from_header_map(&frame.into_trailers().unwrap()).unwrap();
        assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "context deadline exceeded"));
        let mut page = String::new();
        counters.calls.write(&mut page);
        assert!(page.contains("grpc_code=\"DeadlineExceeded\""), "{page}");
    }

    /// Claim: messages are counted one by one, and a stream ends with the code that it was ended with.
    #[tokio::test]
    async fn a_stream_is_counted_until_its_end() {
        let counters = Arc::<Counters>::default();
        let begun = || Call::begin(&counters, "/etcdserverpb.Watch/Watch");
        let data = [&[0, 0, 0, 0, 2, 1, 2][..], &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 1, 9]].concat();
        let refused = Status::unavailable("gone").into_http::<Boxed>().into_body();
        for (body, call) in [(Reply::Message(data.into()), begun()), (Reply::Other(refused), begun())] {
            let mut body = Streamed { body, call, late: None };
            while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                frame.unwrap();
            }
        }
        drop(Streamed { body: Reply::Well, call: begun(), late: None });
        let mut page = String::new();
        counters.calls.write(&mut page);
        let watch = "grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"";
        for line in [
            format!("grpc_server_msg_sent_total{{{watch}}} 3\n"),
            format!("grpc_server_handled_total{{grpc_code=\"OK\",{watch}}} 2\n"),
            format!("grpc_server_handled_total{{grpc_code=\"Canceled\",{watch}}} 1\n"),
        ] {
            assert!(page.contains(&line), "{line} is not in {page}");
        }
    }
}
