//! The etcd door: the services of etcd's version 3 interface over gRPC.
//!
//! A request is checked as etcd checks it, turned into an operation, and given to the node; the answer, or the reason
//! there is none, is turned back, with etcd's codes and texts, since clients decide by them. Nothing here survives a
//! connection.
//!
//! What is not there yet answers UNIMPLEMENTED with a sentence: changes of members, alarms, defragmentation, hashes and
//! snapshots of the maintenance service, and users.

mod check;
mod cluster;
mod convert;
mod failure;
mod kv;
mod lease;
mod watch;

use prost::Message;
use quorate_node::api::{Answer, Body, Door, Failure, Request};
use quorate_proto::etcdserverpb as pb;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// The largest request that is taken, encoded.
const REQUEST_MAX: usize = 3 << 19;
/// The largest message that is read off the wire.
const DECODE_MAX: usize = REQUEST_MAX + (512 << 10);
/// The largest message that is written.
const ENCODE_MAX: usize = i32::MAX as usize;

/// What the door is told beside its node.
#[derive(Clone, Debug)]
pub struct Options {
    /// The version that clients are told: plain MAJOR.MINOR.PATCH.
    pub version: String,
}

/// The door's share of every service.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) door: Arc<dyn Door>,
    pub(crate) version: Arc<str>,
}

/// Serves clients on `listener` until `shutdown` completes.
pub async fn serve(
    listener: TcpListener,
    door: Arc<dyn Door>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), String> {
    let gateway = Gateway { door, version: options.version.into() };
    let kv = pb::kv_server::KvServer::new(gateway.clone())
        .max_decoding_message_size(DECODE_MAX)
        .max_encoding_message_size(ENCODE_MAX);
    let watch = pb::watch_server::WatchServer::new(gateway.clone()).max_encoding_message_size(ENCODE_MAX);
    let lease = pb::lease_server::LeaseServer::new(gateway.clone());
    let cluster = pb::cluster_server::ClusterServer::new(gateway.clone());
    let maintenance = pb::maintenance_server::MaintenanceServer::new(gateway.clone());
    let auth = pb::auth_server::AuthServer::new(gateway);
    // Small replies must not wait for the acknowledgement of earlier ones.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        // A window that is filled by one message of many small ones, and a connection's by many streams.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .max_concurrent_streams(u32::MAX)
        .http2_max_pending_accept_reset_streams(Some(20_000))
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .add_service(kv)
        .add_service(watch)
        .add_service(lease)
        .add_service(cluster)
        .add_service(maintenance)
        .add_service(auth)
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
        .map_err(|e| e.to_string())
}

impl Gateway {
    /// Asks the node and waits.
    pub(crate) async fn ask(&self, metadata: &MetadataMap, request: Request) -> Result<Answer, Status> {
        self.require_leader(metadata)?;
        let (give, take) = oneshot::channel();
        let done = Box::new(move |result| drop(give.send(result)));
        self.door.call(request, timeout(metadata), done);
        match take.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(failure::status(&failure)),
            // The node dropped the request with everything else.
            Err(_) => Err(failure::status(&Failure::Stopping)),
        }
    }

    /// Clients that say so would rather have an error than an answer without a leader.
    pub(crate) fn require_leader(&self, metadata: &MetadataMap) -> Result<(), Status> {
        if wants_leader(metadata) && self.door.leaderless().is_some() {
            return Err(failure::status(&Failure::NoLeader));
        }
        Ok(())
    }

    /// The header of a stream's own message.
    pub(crate) fn header(&self) -> pb::ResponseHeader {
        convert::header(self.door.head())
    }
}

pub(crate) fn wants_leader(metadata: &MetadataMap) -> bool {
    metadata.get("hasleader").is_some_and(|v| v.as_bytes() == b"true")
}

/// The client's own deadline, as gRPC writes it: up to eight digits and a unit.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n.checked_mul(3600)?)),
        "M" => Some(Duration::from_secs(n.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

/// Refuses what the log would not take.
pub(crate) fn check_size(request: &impl Message) -> Result<(), Status> {
    if request.encoded_len() > REQUEST_MAX { Err(failure::status(&Failure::TooLarge)) } else { Ok(()) }
}

/// An answer of the wrong kind is a bug of the node; the client is told so rather than cut off.
pub(crate) fn unexpected(body: &Body) -> Status {
    let kind = match body {
        Body::Reply(_) => "a reply",
        Body::KeepAlive { .. } => "a keep-alive",
        Body::TimeToLive { .. } => "a time to live",
        Body::Leases(_) => "leases",
        Body::Members(_) => "members",
        Body::Status(_) => "a status",
    };
    Status::internal(format!("quorate: the node answered with {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let of = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", tonic::metadata::MetadataValue::from_static(text));
            timeout(&metadata)
        };
        assert_eq!(of("5S"), Some(Duration::from_secs(5)));
        assert_eq!(of("250m"), Some(Duration::from_millis(250)));
        assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "5", "5x", "-5S"] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
