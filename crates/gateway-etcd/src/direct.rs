//! The calls that make up the load (Range, Put, `DeleteRange` and Txn of the KV service), without the layers of the
//! gRPC library.
//!
//! Its router, its buffers and its boxed bodies cost more processor time than such a call itself. So where a
//! request is what nearly all are, one whole and uncompressed message and then the end, its bytes are decoded here,
//! the service's own method is called, and the answer is one piece of data and the trailers. Whatever else comes is
//! not judged here: the library gets it with all that was read of it, and answers as it answers every other call.
//!
//! What is left out: large replies are encoded by the library, as they are sent and on another thread (`aside.rs`).

#[cfg(test)]
mod tests;

use crate::aside::Large;
use crate::unfinished::Counted;
use crate::{ENCODE_MAX, Gateway};
use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body as _, Frame};
use prost::Message;
use quorate_proto::etcdserverpb::kv_server::Kv;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{BufferSettings, EncodeBody, SingleMessageCompressionOverride};
use tonic::codegen::StdError;
use tonic::codegen::http;
use tonic::metadata::MetadataMap;
use tonic_prost::ProstEncoder;

/// A message's head: a byte of flags, zero for one that is not compressed, and a length of four.
pub(crate) const HEAD: usize = 5;
/// A request up to this length may be a piece of what was read for many, and is copied out of it.
const PIECE: usize = 16 << 10;
/// A longer reply is encoded by the library.
const REPLY_MAX: usize = 64 << 10;

/// A method that is served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Range,
    Put,
    DeleteRange,
    Txn,
}

impl Method {
    /// The method that a request asks for, if it is asked for in the usual way.
    pub(crate) fn of<B>(request: &http::Request<B>) -> Option<Self> {
        let usual = request.method() == http::Method::POST
            && request.version() == http::Version::HTTP_2
            && !request.headers().contains_key("grpc-encoding");
        match request.uri().path() {
            _ if !usual => None,
            "/etcdserverpb.KV/Range" => Some(Self::Range),
            "/etcdserverpb.KV/Put" => Some(Self::Put),
            "/etcdserverpb.KV/DeleteRange" => Some(Self::DeleteRange),
            "/etcdserverpb.KV/Txn" => Some(Self::Txn),
            _ => None,
        }
    }
}

/// What a request's body was.
pub(crate) enum Came<B> {
    /// One message and the end.
    Message(Bytes),
    /// Something else, from its beginning.
    Other(Replayed<B>),
}

/// Reads a body as far as it is usual.
pub(crate) async fn read<B>(mut body: Counted<B>) -> Came<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    let mut came = VecDeque::new();
    let (mut message, longest) = (None, body.longest());
    loop {
        if message.is_some() && body.is_end_stream() {
            break;
        }
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => break,
            Some(Ok(frame))
                if message.is_none() && frame.data_ref().is_some_and(|data| is_message(data, longest)) =>
            {
                message = frame.into_data().ok();
            }
            Some(other) => {
                came.extend(message.map(|data| Ok(Frame::data(data))));
                came.push_back(other);
                return Came::Other(Replayed { came, rest: Some(body) });
            }
        }
    }
    match message {
        // It waits for its turn, and what was read with it need not wait as well.
        Some(data) if data.len() <= PIECE => Came::Message(Bytes::copy_from_slice(&data[HEAD..])),
        Some(data) => Came::Message(data.slice(HEAD..)),
        None => Came::Other(Replayed { came, rest: None }),
    }
}

/// Whether it is exactly one message that is not compressed.
fn is_message(data: &[u8], longest: usize) -> bool {
    let Some((&[0, a, b, c, d], message)) = data.split_first_chunk::<HEAD>() else { return false };
    message.len() <= longest && u32::from_be_bytes([a, b, c, d]) as usize == message.len()
}

/// A body that has been read a little.
pub(crate) struct Replayed<B> {
    came: VecDeque<Result<Frame<Bytes>, Status>>,
    rest: Option<Counted<B>>,
}

impl<B> From<Counted<B>> for Replayed<B> {
    fn from(body: Counted<B>) -> Self {
        Self { came: VecDeque::new(), rest: Some(body) }
    }
}

impl<B> http_body::Body for Replayed<B>
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
        match (self.came.pop_front(), &mut self.rest) {
            (Some(frame), _) => Poll::Ready(Some(frame)),
            (None, Some(rest)) => Pin::new(rest).poll_frame(cx),
            (None, None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.came.is_empty() && self.rest.as_ref().is_none_or(Counted::is_end_stream)
    }
}

/// Serves a call.
pub(crate) async fn serve(
    gateway: &Gateway,
    method: Method,
    head: http::request::Parts,
    message: Bytes,
) -> Result<http::Response<Reply>, Status> {
    match method {
        Method::Range => reply(gateway, gateway.range(request(head, message)?).await?),
        Method::Put => reply(gateway, gateway.put(request(head, message)?).await?),
        Method::DeleteRange => reply(gateway, gateway.delete_range(request(head, message)?).await?),
        Method::Txn => reply(gateway, gateway.txn(request(head, message)?).await?),
    }
}

fn request<M: Message + Default>(
    head: http::request::Parts,
    message: Bytes,
) -> Result<tonic::Request<M>, Status> {
    let message = M::decode(message).map_err(|error| Status::internal(error.to_string()))?;
    Ok(tonic::Request::from_parts(MetadataMap::from_headers(head.headers), head.extensions, message))
}

fn reply<M: Message + 'static>(
    gateway: &Gateway,
    reply: tonic::Response<M>,
) -> Result<http::Response<Reply>, Status> {
    let (metadata, message, extensions) = reply.into_parts();
    let (large, length) = (extensions.get::<Large>().is_some(), message.encoded_len());
    let body = if large || length > REPLY_MAX {
        let encoder = ProstEncoder::new(BufferSettings::default());
        let (one, how) = (tokio_stream::once(Ok(message)), SingleMessageCompressionOverride::default());
        let body = Body::new(EncodeBody::new_server(encoder, one, None, how, Some(ENCODE_MAX)));
        Reply::Other(if large { gateway.aside.encode(body) } else { body })
    } else {
        let mut data = BytesMut::with_capacity(HEAD + length);
        data.put_u8(0);
        data.put_u32(length as u32);
        message.encode(&mut data).map_err(|error| Status::internal(format!("Error encoding: {error}")))?;
        Reply::Message(data.freeze())
    };
    let mut response = http::Response::new(body);
    *response.headers_mut() = metadata.into_headers();
    response.headers_mut().insert(http::header::CONTENT_TYPE, tonic::metadata::GRPC_CONTENT_TYPE);
    Ok(response)
}

/// The body of an answer.
pub(crate) enum Reply {
    /// One message with its head; then that all went well.
    Message(Bytes),
    /// All went well.
    Well,
    /// It has been said.
    Ended,
    /// What the library makes.
    Other(Body),
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match std::mem::replace(&mut *self, Self::Ended) {
            Self::Message(data) => {
                *self = Self::Well;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Self::Well => {
                let mut trailers = http::HeaderMap::with_capacity(1);
                trailers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("0"));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Self::Ended => Poll::Ready(None),
            Self::Other(mut body) => {
                let frame = Pin::new(&mut body).poll_frame(cx);
                *self = Self::Other(body);
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Message(_) | Self::Well => false,
            Self::Ended => true,
            Self::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Other(body) => body.size_hint(),
            _ => http_body::SizeHint::default(),
        }
    }
}

impl From<Body> for Reply {
    fn from(body: Body) -> Self {
        Self::Other(body)
    }
}
