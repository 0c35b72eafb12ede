//! A thin client of the etcd interface: several connections to several endpoints, and one rule about trying again.
//!
//! The rule ([`retry`]) is pure. The rest forwards to generated clients; it works against any etcd v3 endpoint.
//!
//! Beside it stand calls of DynamoDB's API ([`dynamo`]) over a light HTTP/1.1 ([`http`]), which try nothing again.

pub mod dynamo;
pub mod http;
pub mod retry;
mod standing;

use quorate_proto::etcdserverpb as pb;
use retry::{Decision, Kind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// The largest reply that is read.
const REPLY_MAX: usize = i32::MAX as usize;

/// How often a connection with a call under way is tried.
const PING: Duration = Duration::from_secs(10);

/// Why nothing came of a request.
#[derive(Clone, Debug)]
pub enum ClientError {
    /// An endpoint is no address.
    Address(String),
    /// Nobody could be reached; the last reason.
    Unreachable(String),
    /// A node answered with an error, or the answer of a write is missing: then it may or may not have happened.
    Status(Status),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(text) => write!(f, "not an endpoint: {text}"),
            Self::Unreachable(why) => write!(f, "no endpoint could be reached: {why}"),
            Self::Status(status) => f.write_str(&told(status)),
        }
    }
}

impl std::error::Error for ClientError {}

/// Connections to a cluster, used in turn.
#[derive(Debug)]
pub struct Client {
    channels: Vec<Channel>,
    turn: AtomicUsize,
    fence: Option<AsciiMetadataValue>,
}

impl Client {
    /// Opens `connections` connections (at least one to each endpoint), spread over the endpoints in turn. Endpoints that
    /// cannot be reached, do not answer or know no leader are passed over, unless none is better ([`standing`]).
    pub async fn connect(
        endpoints: &[String],
        connections: usize,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        let best = standing::best(endpoints, patience).await?;
        let mut channels: Vec<_> = best.iter().map(|(_, channel)| channel.clone()).collect();
        for (at, _) in best.iter().cycle().take(connections.saturating_sub(best.len())) {
            // Who was there a moment ago and is not now is missed by nobody.
            if let Ok(channel) = endpoint(&endpoints[*at], patience)?.connect().await {
                channels.push(channel);
            }
        }
        Ok(Self { channels, turn: AtomicUsize::new(0), fence: None })
    }

    /// The same connections, for reads and writes that show a fencing token: `NAME=TOKEN`, the name percent-encoded.
    pub fn fenced(&self, fence: &str) -> Result<Self, ClientError> {
        let fence = fence.parse().map_err(|_| ClientError::Address(format!("{fence:?} is no metadata")))?;
        Ok(Self { channels: self.channels.clone(), turn: AtomicUsize::new(0), fence: Some(fence) })
    }

    /// A request that shows this client's token, for those who call a service themselves.
    pub fn showing<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(fence) = &self.fence {
            request.metadata_mut().insert("quorate-fence", fence.clone());
        }
        request
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.channels.len()
    }

    /// One connection of them all, by number.
    pub fn channel(&self, at: usize) -> Channel {
        self.channels[at % self.channels.len()].clone()
    }

    /// The KV service on one connection.
    pub fn kv(&self, at: usize) -> pb::kv_client::KvClient<Channel> {
        pb::kv_client::KvClient::new(self.channel(at)).max_decoding_message_size(REPLY_MAX)
    }

    /// The Watch service on one connection.
    pub fn watch(&self, at: usize) -> pb::watch_client::WatchClient<Channel> {
        pb::watch_client::WatchClient::new(self.channel(at)).max_decoding_message_size(REPLY_MAX)
    }

    /// Reads; another connection is tried while one fails for a passing reason.
    pub async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, ClientError> {
        self.call(Kind::Read, |at| {
            let (mut kv, request) = (self.kv(at), self.showing(request.clone()));
            async move { kv.range(request).await.map(tonic::Response::into_inner) }
        })
        .await
    }

    /// Writes one key. It is tried again only where it cannot have been done.
    pub async fn put(&self, request: pb::PutRequest) -> Result<pb::PutResponse, ClientError> {
        self.call(Kind::Write, |at| {
            let (mut kv, request) = (self.kv(at), self.showing(request.clone()));
            async move { kv.put(request).await.map(tonic::Response::into_inner) }
        })
        .await
    }

    /// Deletes; as [`Client::put`].
    pub async fn delete(
        &self,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, ClientError> {
        self.call(Kind::Write, |at| {
            let (mut kv, request) = (self.kv(at), self.showing(request.clone()));
            async move { kv.delete_range(request).await.map(tonic::Response::into_inner) }
        })
        .await
    }

    async fn call<T, F>(&self, kind: Kind, try_on: impl Fn(usize) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut tries = 0;
        loop {
            let at = self.turn.fetch_add(1, Ordering::Relaxed);
            match try_on(at).await {
                Ok(reply) => return Ok(reply),
                Err(status) => {
                    tries += 1;
                    match retry::decide(kind, status.code(), status.message(), tries) {
                        Decision::GiveUp => return Err(ClientError::Status(status)),
                        Decision::TryAgainAfter(pause) => tokio::time::sleep(pause).await,
                    }
                }
            }
        }
    }
}

fn endpoint(url: &str, patience: Duration) -> Result<Endpoint, ClientError> {
    let url = if url.contains("://") { url.to_string() } else { format!("http://{url}") };
    let endpoint =
        Endpoint::from_shared(url.clone()).map_err(|e| ClientError::Address(format!("{url}: {e}")))?;
    Ok(endpoint
        .connect_timeout(patience)
        .tcp_nodelay(true)
        // A node that is frozen, or cut off, is noticed by who waits for it.
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING / 2)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(16 << 20))
}

/// What an error says. Of a connection that failed the library says only that it did; the reason stands behind it.
pub fn told(status: &Status) -> String {
    match broke(status) {
        Some(reason) => format!("the connection failed: {}", root_cause(reason)),
        None => status.message().to_string(),
    }
}

/// Why the connection failed, where that is what came in the place of a node's answer.
pub fn broke(status: &Status) -> Option<&(dyn std::error::Error + 'static)> {
    let bare = ["transport error", "h2 protocol error", "operation was canceled"];
    let bare = bare.iter().any(|word| status.message().starts_with(word));
    std::error::Error::source(status).filter(|_| bare)
}

/// The innermost reason of an error.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
