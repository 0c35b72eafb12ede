//! A client of unary calls that costs little: HTTP/2 and the messages, with nothing between them.
//!
//! The client shares a machine with the nodes that it measures, and what it costs itself they do not get. The
//! channels, buffers and boxed bodies of a general client are half of that. So requests go straight into the
//! connection that they are for.
//!
//! A connection that breaks fails the calls that are under way on it, and is opened again by the next one.

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use prost::Message;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tonic::Status;
use tonic::codegen::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header};

/// How often a connection is tried, so that a node that is frozen or cut off is noticed.
const PING: Duration = Duration::from_secs(10);
/// A message's head: a byte of flags, zero for one that is not compressed, and a length of four.
const HEAD: usize = 5;

/// The methods of the KV service that can be called.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Put,
    Range,
    Txn,
}

/// A connection, as one of those that share it has it.
#[derive(Clone)]
pub(crate) struct Link {
    line: Rc<Line>,
    sender: SendRequest<Bytes>,
    /// Which opening of the line it is from.
    opening: u64,
}

/// The way to an endpoint.
struct Line {
    authority: String,
    patience: Duration,
    /// What is sent before a message, by [`Call`].
    heads: [Request<()>; 3],
    opening: Cell<u64>,
    sender: Mutex<SendRequest<Bytes>>,
}

/// Opens `connections` connections (at least one to each endpoint), spread over the endpoints in turn, from within a
/// `LocalSet`. Endpoints that cannot be reached are passed over, unless none can: then the error is the last reason.
pub(crate) async fn connect(
    endpoints: &[String],
    connections: usize,
    patience: Duration,
) -> Result<Vec<Link>, String> {
    let (mut links, mut reason) = (Vec::new(), "no endpoint was given".to_string());
    for at in 0..connections.max(endpoints.len()) {
        let Some(url) = endpoints.get(at % endpoints.len().max(1)) else { break };
        match Line::to(url, patience).await {
            Ok(link) => links.push(link),
            Err(error) => reason = format!("{url}: {error}"),
        }
    }
    if links.is_empty() { Err(format!("no endpoint could be reached: {reason}")) } else { Ok(links) }
}

impl Line {
    async fn to(url: &str, patience: Duration) -> Result<Link, String> {
        let authority = url.trim_start_matches("http://").trim_end_matches('/').to_string();
        let heads = [head(&authority, "Put")?, head(&authority, "Range")?, head(&authority, "Txn")?];
        let sender = open(&authority, patience).await?;
        let (opening, shared) = (Cell::new(0), Mutex::new(sender.clone()));
        let line = Rc::new(Self { authority, patience, heads, opening, sender: shared });
        Ok(Link { line, sender, opening: 0 })
    }
}

fn head(authority: &str, method: &str) -> Result<Request<()>, String> {
    let uri = format!("http://{authority}/etcdserverpb.KV/{method}");
    let mut head = Request::new(());
    *head.method_mut() = Method::POST;
    *head.version_mut() = Version::HTTP_2;
    *head.uri_mut() = uri.parse::<Uri>().map_err(|e| format!("not an endpoint: {e}"))?;
    head.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(head)
}

/// Opens a connection, which is served by a task until it breaks or nobody has it any more.
async fn open(authority: &str, patience: Duration) -> Result<SendRequest<Bytes>, String> {
    let opened = async {
        let stream = TcpStream::connect(authority).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(1 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake(stream)
            .await
            .map_err(|e| e.to_string())
    };
    let opened = tokio::time::timeout(patience, opened).await;
    let (sender, mut connection) = opened.map_err(|_| "it does not answer".to_string())??;
    let pings = connection.ping_pong();
    tokio::task::spawn_local(async move {
        tokio::select! {
            _ = connection => {}
            () = silence(pings) => {}
        }
    });
    Ok(sender)
}

/// Returns once a ping is not answered.
async fn silence(pings: Option<h2::PingPong>) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        tokio::time::sleep(PING).await;
        let answer = tokio::time::timeout(PING / 2, pings.ping(h2::Ping::opaque()));
        if !answer.await.is_ok_and(|answer| answer.is_ok()) {
            return;
        }
    }
}

impl Link {
    /// Calls a method and reads its reply.
    pub(crate) async fn call<R: Message + Default>(
        &mut self,
        call: Call,
        message: &impl Message,
    ) -> Result<R, Status> {
        if poll_fn(|cx| self.sender.poll_ready(cx)).await.is_err() {
            self.renew().await.map_err(Status::unavailable)?;
            poll_fn(|cx| self.sender.poll_ready(cx)).await.map_err(|e| broken(&e))?;
        }
        let head = self.line.heads[call as usize].clone();
        let (answer, mut body) = self.sender.send_request(head, false).map_err(|e| broken(&e))?;
        body.send_data(framed(message), true).map_err(|e| broken(&e))?;
        let (head, mut body) = answer.await.map_err(|e| broken(&e))?.into_parts();
        let mut reply = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(|e| broken(&e))?;
            reply.extend_from_slice(&data);
            body.flow_control().release_capacity(data.len()).map_err(|e| broken(&e))?;
        }
        let trailers = body.trailers().await.map_err(|e| broken(&e))?;
        judge(head.status, trailers.as_ref().unwrap_or(&head.headers))?;
        message_of(&reply)
    }

    /// Another connection in place of the one that broke: the first who finds it broken opens it, for all who share
    /// it.
    async fn renew(&mut self) -> Result<(), String> {
        let mut shared = self.line.sender.lock().await;
        if self.line.opening.get() == self.opening {
            *shared = open(&self.line.authority, self.line.patience).await?;
            self.line.opening.set(self.opening + 1);
        }
        (self.sender, self.opening) = (shared.clone(), self.line.opening.get());
        Ok(())
    }
}

fn broken(error: &h2::Error) -> Status {
    Status::unavailable(error.to_string())
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(HEAD + length);
    bytes.put_u8(0);
    bytes.put_u32(length as u32);
    // There is room for it, which is all that could be wrong.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}

/// Whether a call went well, by what stands behind its reply, or in its place.
fn judge(http: StatusCode, said: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(said) {
        Some(status) if status.code() == tonic::Code::Ok => Ok(()),
        Some(status) => Err(status),
        None => Err(Status::unknown(format!("no gRPC status came, HTTP says {http}"))),
    }
}

fn message_of<R: Message + Default>(reply: &[u8]) -> Result<R, Status> {
    let bad = || Status::internal("the reply is not one message");
    let (&[0, a, b, c, d], message) = reply.split_first_chunk::<HEAD>().ok_or_else(bad)? else {
        return Err(bad());
    };
    if u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return Err(bad());
    }
    R::decode(message).map_err(|error| Status::internal(error.to_string()))
}
