//! The etcd door: the services of etcd's version 3 interface over gRPC.
//!
//! A request is checked as etcd checks it, turned into an operation, and given to the node; the answer, or the reason
//! there is none, is turned back, with etcd's codes and texts, since clients decide by them. Nothing here survives a
//! connection.
//!
//! The same port answers the calls as JSON (`json.rs`) and a few plain HTTP pages (`front.rs`). The calls that make up the load go around the gRPC
//! library (`direct.rs`), which answers all others.
//!
//! What is not there yet answers UNIMPLEMENTED with a sentence: users.

mod arrivals;
mod aside;
mod authority;
mod calls;
mod check;
mod clients;
mod cluster;
mod connections;
mod convert;
mod counted;
mod direct;
mod downgrade;
mod election;
mod ending;
mod evidence;
mod failure;
mod fence;
mod fields;
mod front;
mod health;
mod json;
mod kv;
mod lease;
mod limits;
mod line;
mod listening;
mod lock;
mod logged;
mod maintenance;
mod members;
mod origins;
mod shards;
mod slow;
mod snapshot;
mod streamed;
mod text;
mod unfinished;
mod values;
mod watch;

use arrivals::Arrivals;
use aside::Aside;
pub use calls::Calls;
pub use clients::Clients;
use ending::Endings;
use front::Front;
pub use limits::Limits;
use listening::Listener;
pub use logged::{Logged, logged};
pub use origins::Origins;
use quorate_node::api::{Answer, Body, Door, Failure, Request, Wait};
use quorate_proto::{etcdserverpb as pb, quoratepb, v3electionpb, v3lockpb};
pub use slow::Slow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use unfinished::Unfinished;

/// The largest message that is written.
const ENCODE_MAX: usize = i32::MAX as usize;

/// A page of metrics, made when it is asked for.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// True once the node answers.
pub type Ready = tokio::sync::watch::Receiver<bool>;

/// What the door is told beside its node.
#[derive(Clone, Default)]
pub struct Options {
    /// The version that clients are told: plain MAJOR.MINOR.PATCH.
    pub version: String,
    /// What stands on `/metrics`, if anything does.
    pub metrics: Option<Metrics>,
    /// Whether DynamoDB's clients are served, too, elsewhere.
    pub dynamo: bool,
    /// Whether the node was started by etcd's own flags.
    pub etcd: bool,
    /// How many connections there may be at once.
    pub clients_max: usize,
    /// How large a request may be.
    pub limits: Limits,
    /// Sockets in the file system, where clients connect as well.
    pub sockets: Vec<Arc<std::os::unix::net::UnixListener>>,
    /// Which web pages may call.
    pub origins: Origins,
    /// Before this is true, clients over HTTP/2 wait, and calls in JSON; none waits where there is none.
    pub ready: Option<Ready>,
    /// Where the door counts.
    pub counters: Arc<Counters>,
    /// A planted bug; without the feature `mutants` it has no effect.
    pub mutant: Option<Mutant>,
}

/// Bugs that happened elsewhere, planted to see whether the tests find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Who waited for a lock gets it though its own lease has ended meanwhile (etcd 3.4.3, Jepsen 2020).
    LockLeaseUnchecked,
}

/// What the door counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections for which there was no place.
    pub turned_away: AtomicU64,
    /// Calls by method.
    pub calls: Calls,
    /// Which of them took long.
    pub slow: Slow,
    /// Requests by the clients' version.
    pub clients: Clients,
    /// Ranges that were read for clients, those inside of transactions that only read among them.
    pub ranges: AtomicU64,
    /// Transactions that only read, of more than one range.
    pub range_txns: AtomicU64,
    /// How often `/health` said that all is well.
    pub healthy: AtomicU64,
    /// How often it said that it is not.
    pub unhealthy: AtomicU64,
    /// How long snapshots took.
    pub snapshots: snapshot::Times,
    /// Bytes read from clients.
    pub received: AtomicU64,
    /// Bytes written to clients.
    pub sent: AtomicU64,
}

/// The door's share of every service.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) door: Arc<dyn Door>,
    pub(crate) version: Arc<str>,
    pub(crate) metrics: Option<Metrics>,
    pub(crate) dynamo: bool,
    pub(crate) etcd: bool,
    pub(crate) origins: Origins,
    pub(crate) ready: Option<Ready>,
    pub(crate) endings: Endings,
    pub(crate) limits: Limits,
    pub(crate) unfinished: Arc<Unfinished>,
    pub(crate) aside: Aside,
    pub(crate) counters: Arc<Counters>,
    pub(crate) mutant: Option<Mutant>,
}

/// An answer that is waited for. The node knows by it whether it still is.
pub(crate) struct Asked {
    answer: oneshot::Receiver<Result<Answer, Failure>>,
    _here: Arc<()>,
}

impl Future for Asked {
    type Output = Result<Result<Answer, Failure>, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx)
    }
}

/// Serves clients on `listeners` until `shutdown` completes.
pub async fn serve(
    listeners: Vec<TcpListener>,
    door: Arc<dyn Door>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) {
    let endings = Endings::start(door.clone());
    let Options {
        version,
        metrics,
        clients_max,
        limits,
        sockets,
        ready,
        counters,
        mutant,
        dynamo,
        etcd,
        origins,
    } = options;
    let (version, aside) = (version.into(), Aside::default());
    let unfinished = Arc::new(Unfinished::new(limits.decoded()));
    let gateway = Arc::new(Gateway {
        door: door.clone(),
        version,
        metrics,
        dynamo,
        etcd,
        origins,
        ready: ready.clone(),
        endings,
        limits,
        unfinished,
        aside,
        counters: counters.clone(),
        mutant,
    });
    let mut all: Vec<Listener> = listeners.into_iter().map(Listener::Port).collect();
    all.extend(sockets.iter().filter_map(|socket| listen(socket)));
    let arrivals = Arrivals::new(all, clients_max, counters, door, ready);
    let front = Arc::new(Front { routes: routes(&gateway), gateway });
    connections::serve(arrivals, front, shutdown).await;
}

/// A socket that was made before there was a runtime.
fn listen(socket: &std::os::unix::net::UnixListener) -> Option<Listener> {
    let listener = socket.try_clone().and_then(|socket| {
        socket.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(socket)
    });
    listener.map(Listener::Socket).map_err(|error| tracing::error!(%error, "a socket is not served")).ok()
}

/// All services, by the gRPC library.
fn routes(gateway: &Arc<Gateway>) -> Routes {
    macro_rules! service {
        ($package:ident, $module:ident, $server:ident) => {
            $package::$module::$server::from_arc(gateway.clone())
                .max_decoding_message_size(gateway.limits.decoded())
                .max_encoding_message_size(ENCODE_MAX)
                .accept_compressed(CompressionEncoding::Gzip)
        };
    }
    // As etcd's: the door itself, whatever its node can do.
    let (_, health) = tonic_health::server::health_reporter();
    Routes::new(health)
        .add_service(service!(pb, kv_server, KvServer))
        .add_service(service!(pb, watch_server, WatchServer))
        .add_service(service!(pb, lease_server, LeaseServer))
        .add_service(service!(pb, cluster_server, ClusterServer))
        .add_service(service!(pb, maintenance_server, MaintenanceServer))
        .add_service(service!(pb, auth_server, AuthServer))
        .add_service(service!(v3lockpb, lock_server, LockServer))
        .add_service(service!(v3electionpb, election_server, ElectionServer))
        .add_service(service!(quoratepb, fences_server, FencesServer))
        .add_service(service!(quoratepb, shards_server, ShardsServer))
        .prepare()
}

impl Gateway {
    /// Asks the node and waits.
    pub(crate) async fn ask(&self, metadata: &MetadataMap, request: Request) -> Result<Answer, Status> {
        self.require_leader(metadata)?;
        answered(self.call(request, timeout(metadata)).await)
    }

    /// Asks the node; the answer comes later.
    pub(crate) fn call(&self, request: Request, timeout: Option<Duration>) -> Asked {
        let request = evidence::ask(request);
        let (give, answer) = oneshot::channel();
        let here = Arc::new(());
        let wait = Wait { timeout, asker: Some(Arc::downgrade(&here)) };
        // Whoever asked may be gone by then.
        self.door.call(request, wait, Box::new(move |result| drop(give.send(result))));
        Asked { answer, _here: here }
    }

    /// Clients that say so would rather have an error than an answer without a leader.
    pub(crate) fn require_leader(&self, metadata: &MetadataMap) -> Result<(), Status> {
        if wants_leader(metadata) && self.door.leaderless().is_some() {
            return Err(failure::status(&Failure::NoLeader));
        }
        Ok(())
    }

    /// As etcd: a learner refuses all but a few calls, also those that the door could answer itself.
    pub(crate) fn require_voter(&self) -> Result<(), Status> {
        if self.door.learner() { Err(failure::status(&Failure::Learner)) } else { Ok(()) }
    }

    /// The header of an answer that the door gives itself. The node is asked for it: what the door knows without asking
    /// may be behind an answer that was given before.
    pub(crate) async fn header_now(&self, metadata: &MetadataMap) -> Result<pb::ResponseHeader, Status> {
        self.require_voter()?;
        Ok(convert::header(self.ask(metadata, Request::Status).await?.head))
    }
}

/// What the node said, or did not say.
pub(crate) fn answered(
    result: Result<Result<Answer, Failure>, oneshot::error::RecvError>,
) -> Result<Answer, Status> {
    // A node that drops a request drops it with everything else.
    result.unwrap_or(Err(Failure::Stopping)).map_err(|failure| failure::status(&failure))
}

/// A stream's own error, when a request on it cannot be read.
pub(crate) fn refused_message(status: Status) -> Status {
    front::too_large(&status).unwrap_or(status)
}

pub(crate) fn wants_leader(metadata: &MetadataMap) -> bool {
    metadata.get("hasleader").is_some_and(|v| v.as_bytes() == b"true")
}

/// The client's own deadline, as gRPC writes it: up to eight digits and a unit.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    timeout_of(metadata.get("grpc-timeout")?.to_str().ok()?)
}

fn timeout_of(text: &str) -> Option<Duration> {
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

/// An answer of the wrong kind is a bug of the node; the client is told so rather than cut off.
pub(crate) fn unexpected(body: &Body) -> Status {
    let kind = match body {
        Body::Reply(_) => "a reply",
        Body::Table(_) => "what a table holds",
        Body::KeepAlive { .. } => "a keep-alive",
        Body::TimeToLive { .. } => "a time to live",
        Body::Leases(_) => "leases",
        Body::Members(_) => "members",
        Body::Status(_) => "a status",
        Body::MembersChanged { .. } => "changed members",
        Body::Moved => "a moved leader",
        Body::Fences(_) => "fences",
        Body::HashSpace(_) | Body::HashAll(_) => "a hash",
        Body::Done => "that it is done",
        Body::Led(_) => "what it leads",
    };
    Status::internal(format!("quorate: the node answered with {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::time::Duration as Span;
    use quorate_node::api::{Done, Head, Patience, WatchMessage, WatchRequest, WatchStream};
    use quorate_wire::kv::{Alarm, Command, KeyValue, RangeReply, Reply};
    use std::sync::Mutex;

    /// Whether a node stops, and for how long it has had no leader.
    pub(crate) type Moment = (bool, Option<Span>);

    /// A node without a leader: its own state is all that it answers from, if it has one.
    #[derive(Default)]
    pub(crate) struct Alone {
        pub(crate) lost: bool,
        pub(crate) overloaded: bool,
        pub(crate) alarms: Vec<Alarm>,
        /// It does what it is asked for all that.
        pub(crate) willing: bool,
        /// It never answers.
        pub(crate) silent: bool,
        pub(crate) learner: bool,
        /// What its watch streams are asked; each of them has messages without end.
        pub(crate) watched: Option<Arc<Mutex<Vec<WatchRequest>>>>,
        /// How it is, where that changes: whether it stops, and for how long it has had no leader. Its watches say nothing then.
        pub(crate) is: Option<Arc<Mutex<Moment>>>,
    }

    /// A watch stream of [`Alone`], which goes when nobody holds it any more.
    struct Watched(Arc<Mutex<Vec<WatchRequest>>>, usize, bool);

    impl WatchStream for Watched {
        fn request(&mut self, request: WatchRequest) {
            self.0.lock().unwrap().push(request);
            self.1 += 1;
        }

        fn poll(&mut self) -> Option<WatchMessage> {
            self.1 = self.1.saturating_sub(1);
            self.2.then(|| WatchMessage { id: 5, ..WatchMessage::default() })
        }

        fn owed(&self) -> usize {
            self.1
        }
    }

    impl Door for Alone {
        fn learner(&self) -> bool {
            self.learner
        }

        fn call(&self, request: Request, _: Wait, done: Done) {
            let head = Head { revision: 9, ..Head::default() };
            let none = || Reply::Alarms(Vec::new());
            if self.silent {
                return std::mem::forget(done);
            }
            done(match request {
                _ if self.overloaded => Err(Failure::Overloaded),
                Request::Write(Command::Put(_)) if self.willing => {
                    Ok(Answer { head, body: Body::Reply(Reply::Put { prev: None }) })
                }
                Request::Write(Command::Delete(_)) if self.willing => {
                    Ok(Answer { head, body: Body::Reply(Reply::Delete { deleted: 3, prev: Vec::new() }) })
                }
                Request::Write(Command::Txn(txn)) if self.willing => {
                    let replies = txn.success.iter().map(|_| Reply::Put { prev: None }).collect();
                    Ok(Answer { head, body: Body::Reply(Reply::Txn { succeeded: true, replies }) })
                }
                Request::Write(Command::LeaseGrant { id, ttl }) if self.willing => {
                    Ok(Answer { head, body: Body::Reply(Reply::LeaseGrant { id, ttl }) })
                }
                Request::LeaseKeepAlive { id } if self.willing => {
                    Ok(Answer { head, body: Body::KeepAlive { id, ttl: 10 * id } })
                }
                Request::Range { range, .. } if self.willing => {
                    // As many as are asked for.
                    let kv =
                        KeyValue { key: range.range.key, value: vec![7; 300].into(), ..KeyValue::default() };
                    let reply =
                        RangeReply { kvs: vec![kv; range.limit.max(1) as usize], ..RangeReply::default() };
                    Ok(Answer { head, body: Body::Reply(Reply::Range(reply)) })
                }
                Request::Range { serializable: true, .. } if !self.lost => {
                    Ok(Answer { head, body: Body::Reply(Reply::Range(RangeReply::default())) })
                }
                Request::Status => {
                    let alarms = self.alarms.clone();
                    Ok(Answer {
                        head,
                        body: Body::Status(quorate_node::api::Status { alarms, ..Default::default() }),
                    })
                }
                Request::Alarms => Ok(Answer { head, body: Body::Reply(none()) }),
                Request::Write(Command::Alarm { on: false, .. }) => {
                    Ok(Answer { head, body: Body::Reply(none()) })
                }
                Request::Write(Command::Alarm { alarm, .. }) => {
                    Ok(Answer { head, body: Body::Reply(Reply::Alarms(vec![alarm])) })
                }
                _ => Err(Failure::TimedOut),
            });
        }

        fn head(&self) -> Head {
            Head::default()
        }

        fn leaderless(&self) -> Option<Span> {
            self.is.as_ref().map_or(Some(Span::from_secs(1)), |is| is.lock().unwrap().1)
        }

        fn away(&self) -> bool {
            self.lost
        }

        fn stopping(&self) -> bool {
            self.is.as_ref().is_some_and(|is| is.lock().unwrap().0)
        }

        fn watch(&self, _: Box<dyn Fn() + Send + Sync>) -> Box<dyn WatchStream> {
            Box::new(Watched(self.watched.clone().expect("nobody watches here"), 0, self.is.is_none()))
        }

        fn snapshot(&self, _: quorate_node::api::SnapshotForm, opened: quorate_node::api::Opened) {
            opened(Err(Failure::Overloaded));
        }

        fn patience(&self) -> Patience {
            let second = Span::from_secs(1);
            Patience { request: second, leaderless: 3 * second, election: second, least_lease: 1 }
        }
    }

    fn alone() -> Gateway {
        gateway(Arc::new(Alone::default()))
    }

    pub(crate) fn gateway(door: Arc<dyn Door>) -> Gateway {
        let endings = Endings::start(door.clone());
        let (limits, aside) = (Limits::default(), Aside::default());
        Gateway {
            door,
            version: "3.6.0".into(),
            metrics: None,
            dynamo: false,
            etcd: false,
            origins: Origins::default(),
            ready: None,
            endings,
            limits,
            unfinished: Arc::new(Unfinished::new(limits.decoded())),
            aside,
            counters: Arc::default(),
            mutant: None,
        }
    }

    /// Calls a unary method with and without `hasleader` and gives what came of it.
    macro_rules! both {
        ($gateway:expr, $trait:path, $method:ident, $request:expr) => {{
            use $trait as Service;
            let mut with = tonic::Request::new($request);
            with.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
            let without = tonic::Request::new($request);
            let with = Service::$method(&$gateway, with).await.map(drop);
            let without = Service::$method(&$gateway, without).await.map(drop);
            let text = |r: Result<(), Status>| r.err().map_or("ok".to_string(), |s| s.message().to_string());
            (stringify!($method), text(with), text(without))
        }};
    }

    /// Clients that say `hasleader` hear from a node without a leader that it has none, whatever they ask.
    #[tokio::test]
    async fn every_unary_call_honours_hasleader() {
        use pb::{
            auth_server::Auth, cluster_server::Cluster, kv_server::Kv, lease_server::Lease,
            maintenance_server::Maintenance,
        };
        let gateway = alone();
        let key = bytes::Bytes::from_static(b"k");
        let range = pb::RangeRequest { key: key.clone(), ..Default::default() };
        let put = pb::PutRequest { key: key.clone(), ..Default::default() };
        let delete = pb::DeleteRangeRequest { key, ..Default::default() };
        let authenticate = pb::AuthenticateRequest { name: "root".into(), password: "p".into() };
        let all = [
            both!(gateway, Kv, range, range.clone()),
            both!(gateway, Kv, put, put.clone()),
            both!(gateway, Kv, delete_range, delete.clone()),
            both!(gateway, Kv, txn, pb::TxnRequest::default()),
            both!(gateway, Kv, compact, pb::CompactionRequest::default()),
            both!(gateway, Lease, lease_grant, pb::LeaseGrantRequest::default()),
            both!(gateway, Lease, lease_revoke, pb::LeaseRevokeRequest::default()),
            both!(gateway, Lease, lease_time_to_live, pb::LeaseTimeToLiveRequest::default()),
            both!(gateway, Lease, lease_leases, pb::LeaseLeasesRequest::default()),
            both!(gateway, Cluster, member_list, pb::MemberListRequest::default()),
            both!(gateway, Cluster, member_remove, pb::MemberRemoveRequest::default()),
            both!(gateway, Cluster, member_promote, pb::MemberPromoteRequest::default()),
            both!(gateway, Maintenance, move_leader, pb::MoveLeaderRequest::default()),
            both!(gateway, Maintenance, status, pb::StatusRequest::default()),
            both!(gateway, Maintenance, alarm, pb::AlarmRequest::default()),
            both!(gateway, Auth, auth_status, pb::AuthRequest::default()),
            both!(gateway, Auth, role_list, pb::AuthRequest::default()),
            both!(gateway, Auth, authenticate, authenticate.clone()),
        ];
        for (method, with, without) in all {
            assert_eq!(with, "etcdserver: no leader", "{method}");
            assert_ne!(without, "etcdserver: no leader", "{method} of a client that did not ask for it");
        }
    }

    /// What the door answers itself is not behind what the node has answered.
    #[tokio::test]
    async fn own_answers_have_the_nodes_revision_and_alarms_are_asked_of_it() {
        use pb::{auth_server::Auth, maintenance_server::Maintenance};
        let gateway = alone();
        let status = gateway.auth_status(tonic::Request::new(pb::AuthRequest {})).await.expect("answered");
        let status = status.into_inner();
        assert_eq!((status.enabled, status.auth_revision), (false, 1));
        assert_eq!(status.header.map(|h| h.revision), Some(9));
        let asked = || tonic::Request::new(pb::AuthRequest {});
        for list in [gateway.role_list(asked()).await, gateway.user_list(asked()).await] {
            let header = list.expect("there are none").into_inner().header;
            assert_eq!(header.map(|h| h.revision), Some(9));
        }
        for (got, text) in
            [(gateway.role_get(asked()).await, "role"), (gateway.user_get(asked()).await, "user")]
        {
            let status = got.expect_err("there is none");
            assert_eq!(status.code(), tonic::Code::FailedPrecondition);
            assert_eq!(status.message(), format!("etcdserver: {text} name not found"));
        }
        assert_eq!(gateway.role_add(asked()).await.unwrap_err().code(), tonic::Code::Unimplemented);
        for (action, kind, stand) in [(0, 1, 0), (1, 1, 1), (1, 2, 1), (2, 1, 0), (1, 0, 0), (9, 1, 0)] {
            let request = pb::AlarmRequest { action, member_id: 7, alarm: kind };
            let reply = gateway.alarm(tonic::Request::new(request)).await.expect("answered").into_inner();
            assert_eq!(
                (reply.header.map(|h| h.revision), reply.alarms.len()),
                (Some(9), stand),
                "{request:?}"
            );
            assert!(reply.alarms.iter().all(|a| a.member_id == 7 && a.alarm == kind), "{reply:?}");
        }
    }

    /// Claim: what the door would answer itself a learner refuses, as with etcd; the status it tells.
    #[tokio::test]
    async fn a_learner_answers_for_nobody_but_itself() {
        use pb::{auth_server::Auth, maintenance_server::Maintenance};
        let gateway = gateway(Arc::new(Alone { learner: true, ..Alone::default() }));
        let (request, none) = (tonic::Request::new(pb::AuthRequest {}), pb::AlarmRequest::default());
        let credentials = pb::AuthenticateRequest { name: "root".into(), password: "p".into() };
        let refused = [
            gateway.auth_status(request).await.map(drop),
            gateway.authenticate(tonic::Request::new(credentials)).await.map(drop),
            gateway.alarm(tonic::Request::new(pb::AlarmRequest { action: 9, ..none })).await.map(drop),
            gateway.downgrade(tonic::Request::new(pb::DowngradeRequest::default())).await.map(drop),
        ];
        for refused in refused {
            let status = refused.unwrap_err();
            assert_eq!(status.message(), "etcdserver: rpc not supported for learner");
            assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        }
        assert!(gateway.status(tonic::Request::new(pb::StatusRequest {})).await.is_ok());
    }

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
