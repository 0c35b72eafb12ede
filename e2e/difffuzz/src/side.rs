//! One of the two sides: it carries out an [`Op`] and gives back a reply in symbolic numbers.
//!
//! Requests take turns among a side's endpoints. Where there are several, whatever a node may answer from its own state
//! alone is preceded by a linearizable read on the same node, so that the answer is determined.

use crate::op::{BIAS, Names, Op};
use crate::watch::{Birth, Stream};
use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::auth_client::AuthClient;
use quorate_proto::etcdserverpb::cluster_client::ClusterClient;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::lease_client::LeaseClient;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::v3electionpb::{self, election_client::ElectionClient};
use quorate_proto::v3lockpb::{self, lock_client::LockClient};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tonic::metadata::{AsciiMetadataValue, BinaryMetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

/// Above the largest reply: a transaction of 128 reads of the largest value. One that the client refuses is told with its
/// size, and members' ids, of any length, are part of that.
const MESSAGE_MAX: usize = 256 << 20;
/// How long a call may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// The id of leases that run out.
const EXPIRING: i64 = 4242;
/// So many seconds after they were granted: long enough for a slow machine to attach keys to them.
const EXPIRES_AFTER: i64 = 4;
/// How long a watch stream may take to say that all it was asked before is dealt with, and what that is.
const BEHIND: Duration = Duration::from_millis(250);

/// What a side answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Range(pb::RangeResponse),
    Put(pb::PutResponse),
    Delete(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compact(pb::CompactionResponse),
    Grant(pb::LeaseGrantResponse),
    Revoke(pb::LeaseRevokeResponse),
    KeepAlive(pb::LeaseKeepAliveResponse),
    TimeToLive(pb::LeaseTimeToLiveResponse),
    Leases(pb::LeaseLeasesResponse),
    Authenticate(pb::AuthenticateResponse),
    AuthStatus(pb::AuthStatusResponse),
    Alarms(pb::AlarmResponse),
    Status(Box<pb::StatusResponse>),
    Members(pb::MemberListResponse),
    Locked(v3lockpb::LockResponse),
    Unlocked(v3lockpb::UnlockResponse),
    Elected(v3electionpb::CampaignResponse),
    Proclaimed(v3electionpb::ProclaimResponse),
    Leader(v3electionpb::LeaderResponse),
    Resigned(v3electionpb::ResignResponse),
    /// Of the Maintenance service: a header, and a number that means something to who asked.
    Kept {
        header: Option<pb::ResponseHeader>,
        number: i64,
    },
    Several(Vec<Reply>),
    /// A watch was created under this id, or refused.
    Created {
        id: i64,
        refused: bool,
    },
    /// The revisions of the answers.
    Progress(Vec<i64>),
    Done,
    Error {
        code: Code,
        text: String,
    },
    Silence,
    /// This side was too slow for what was to be seen.
    Late,
}

impl Reply {
    /// The store's revision, where the reply tells it.
    pub fn revision(&self) -> Option<i64> {
        let header = match self {
            Self::Range(r) => r.header,
            Self::Put(r) => r.header,
            Self::Delete(r) => r.header,
            Self::Txn(r) => r.header,
            Self::Revoke(r) => r.header,
            Self::Status(r) => r.header,
            Self::Locked(r) => r.header,
            Self::Unlocked(r) => r.header,
            Self::Elected(r) => r.header,
            Self::Proclaimed(r) => r.header,
            Self::Resigned(r) => r.header,
            Self::Several(all) => return all.iter().filter_map(Self::revision).max(),
            _ => None,
        };
        header.map(|h| h.revision)
    }
}

/// A channel whose requests carry metadata.
pub type Line = InterceptedService<Channel, Dress>;

/// The metadata of requests, in turn: none, what etcd's clients send, and what no server knows.
#[derive(Clone, Default)]
pub struct Dress(Arc<AtomicUsize>);

impl Interceptor for Dress {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        let metadata = request.metadata_mut();
        match self.0.fetch_add(1, Ordering::Relaxed) % 4 {
            0 => {}
            1 => {
                metadata.insert("hasleader", AsciiMetadataValue::from_static("true"));
                metadata.insert("client-api-version", AsciiMetadataValue::from_static("3.5.9"));
            }
            2 => {
                metadata.insert("hasleader", AsciiMetadataValue::from_static("perhaps"));
                metadata.insert("user-agent", AsciiMetadataValue::from_static("difffuzz"));
            }
            _ => {
                metadata.insert("x-nobody-knows", AsciiMetadataValue::from_static("this"));
                metadata.insert_bin("x-nobody-knows-bin", BinaryMetadataValue::from_bytes(b"\0\xff"));
            }
        }
        Ok(request)
    }
}

/// The clients of one endpoint.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) kv: KvClient<Line>,
    pub(crate) lock: LockClient<Line>,
    pub(crate) election: ElectionClient<Line>,
    lease: LeaseClient<Line>,
    watch: WatchClient<Line>,
    auth: AuthClient<Line>,
    maintenance: MaintenanceClient<Line>,
    cluster: ClusterClient<Line>,
}

impl Door {
    fn new(url: &str) -> std::io::Result<Self> {
        let line = InterceptedService::new(e2e_cluster::connect(url)?, Dress::default());
        Ok(Self {
            kv: KvClient::new(line.clone()).max_decoding_message_size(MESSAGE_MAX),
            lock: LockClient::new(line.clone()),
            election: ElectionClient::new(line.clone()),
            lease: LeaseClient::new(line.clone()),
            watch: WatchClient::new(line.clone()).max_decoding_message_size(MESSAGE_MAX),
            auth: AuthClient::new(line.clone()),
            maintenance: MaintenanceClient::new(line.clone()).max_decoding_message_size(MESSAGE_MAX),
            cluster: ClusterClient::new(line),
        })
    }
}

/// Makes a reply of the outcome of a call, which is given up after a while.
pub(crate) async fn outcome<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
    seen: impl FnOnce(T) -> Reply,
) -> Reply {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(reply)) => seen(reply.into_inner()),
        Ok(Err(status)) => Reply::Error { code: status.code(), text: status.message().to_string() },
        Err(_) => Reply::Silence,
    }
}

/// One side.
pub struct Side {
    pub name: String,
    /// What it calls its version.
    pub version: String,
    /// It is etcd 3.4, of which some things cannot be asked, and which answers others in its own way.
    pub old: bool,
    pub names: Names,
    pub streams: Vec<Stream>,
    /// The longest that a call took.
    pub slowest: Duration,
    /// Where etcd tells how many of its watches have not caught up.
    metrics: Option<String>,
    /// Where nodes of Quorate tell by how much they prolonged leases.
    lessors: Vec<String>,
    /// Leaders that they had heard of when the side was connected to.
    leaders: f64,
    doors: Vec<Door>,
    turn: usize,
}

const LEADERS: &str = "etcd_server_leader_changes_seen_total";

/// What the servers at these places count under a name, together; what does not say counts as none.
async fn sum(urls: &[String], name: &str) -> f64 {
    let mut sum = 0.0;
    for url in urls {
        sum += crate::metrics::gauge(url, name).await.ok().flatten().unwrap_or(0.0);
    }
    sum
}

impl Side {
    /// Connects to all endpoints. Quorate may be told to call itself 3.4, and answers as later ones do all the same.
    pub async fn connect(
        name: &str,
        urls: &[String],
        quorate: bool,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        for url in urls {
            e2e_cluster::wait_for(url, PATIENCE).await?;
        }
        let doors = urls.iter().map(|url| Door::new(url)).collect::<Result<Vec<_>, _>>()?;
        let mut maintenance = doors.first().ok_or("a side needs an endpoint")?.maintenance.clone();
        let version = maintenance.status(pb::StatusRequest {}).await?.into_inner().version;
        let lessors = if quorate { urls.to_vec() } else { Vec::new() };
        Ok(Self {
            name: name.into(),
            leaders: sum(&lessors, LEADERS).await,
            lessors,
            old: version.starts_with("3.4.") && !quorate,
            version,
            names: Names::new(BIAS),
            streams: vec![],
            slowest: Duration::ZERO,
            metrics: urls.first().filter(|_| !quorate).cloned(),
            doors,
            turn: 0,
        })
    }

    /// By how many seconds leases may last longer here than from their last keep-alive: what a leader of Quorate that stood still has
    /// given back, and whatever it takes where leaders changed, since a new one counts anew. Etcd gives nothing back.
    pub async fn prolonged(&self) -> i64 {
        if sum(&self.lessors, LEADERS).await > self.leaders {
            return i64::MAX;
        }
        sum(&self.lessors, "quorate_leases_given_back_seconds_total").await.ceil() as i64
    }

    /// Waits until all watches have caught up. A watch that begins in the past and owes nothing does not tell; etcd looks
    /// after such watches ten times a second, and a compaction in between would cancel them. It counts them.
    pub async fn catch_up(&self) {
        let Some(url) = &self.metrics else { return };
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match crate::metrics::gauge(url, "etcd_debugging_mvcc_slow_watcher_total").await {
                Ok(Some(0.0)) => return,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        // What this costs, the comparison shows.
        eprintln!("difffuzz: side {} has watches that do not catch up, or does not say so", self.name);
    }

    /// Leaves no key, no lease and no history behind, opens `streams` streams and begins a run.
    pub async fn begin(&mut self, streams: usize) -> Result<(), Status> {
        let Door { mut kv, mut lease, .. } = self.doors[0].clone();
        self.turn = 0;
        self.streams.clear();
        for left in lease.lease_leases(pb::LeaseLeasesRequest {}).await?.into_inner().leases {
            let _ = lease.lease_revoke(pb::LeaseRevokeRequest { id: left.id }).await;
        }
        let everything = Bytes::from_static(b"\0");
        for _ in 0..BIAS {
            let put = pb::PutRequest { key: "begin".into(), ..Default::default() };
            kv.put(put).await?;
        }
        let delete =
            pb::DeleteRangeRequest { key: everything.clone(), range_end: everything, prev_kv: false };
        let header = kv.delete_range(delete).await?.into_inner().header;
        let base = header.map_or(0, |h| h.revision);
        kv.compact(pb::CompactionRequest { revision: base, physical: true }).await?;
        self.names = Names::new(base);
        for at in 0..streams {
            let stream = self.open(at);
            self.streams.push(stream);
        }
        Ok(())
    }

    fn open(&self, at: usize) -> Stream {
        Stream::open(self.doors[at % self.doors.len()].watch.clone())
    }

    /// Closes a stream and opens it anew.
    fn reopen(&mut self, at: usize) {
        self.streams[at] = self.open(at);
    }

    /// Carries out one step.
    pub async fn call(&mut self, op: &Op) -> Reply {
        let began = Instant::now();
        let reply = self.answer(op).await;
        if !matches!(op, Op::Expire { .. } | Op::WatchProgress { .. }) {
            self.slowest = self.slowest.max(began.elapsed());
        }
        reply
    }

    async fn answer(&mut self, op: &Op) -> Reply {
        let mut door = self.doors[self.at(op)].clone();
        self.turn += 1;
        if self.doors.len() > 1 && local(op) {
            let read = pb::RangeRequest { key: "anything".into(), ..Default::default() };
            let _ = tokio::time::timeout(PATIENCE, door.kv.range(read)).await;
        }
        match op {
            Op::Range(request) => self.range(&mut door, request).await,
            Op::Put(request) => self.put(&mut door, request).await,
            Op::Delete(request) => {
                let call = door.kv.delete_range(request.clone());
                outcome(call, |mut reply| {
                    self.names.seen_delete(&mut reply);
                    Reply::Delete(reply)
                })
                .await
            }
            Op::Txn(request) => {
                outcome(door.kv.txn(self.names.txn(request)), |mut reply| {
                    self.names.seen_txn(&mut reply);
                    Reply::Txn(reply)
                })
                .await
            }
            Op::Compact(request) => {
                outcome(door.kv.compact(self.names.compact(*request)), |mut reply| {
                    self.names.seen_header(&mut reply.header);
                    Reply::Compact(reply)
                })
                .await
            }
            Op::Grant { request, slot } => self.grant(&mut door, *request, *slot).await,
            Op::Brief { ttl, id } => self.brief(&mut door, *ttl, *id).await,
            Op::Expire { keys } => self.expire(&mut door, keys).await,
            Op::Revoke(id) => self.revoke(&mut door, *id).await,
            Op::Contest { step, name, lease } => self.contest(&mut door, step, name, *lease).await,
            Op::KeepAlive(ids) => self.keep_alive(&mut door, ids).await,
            Op::TimeToLive(request) => self.time_to_live(&mut door, *request).await,
            Op::Leases => {
                outcome(door.lease.lease_leases(pb::LeaseLeasesRequest {}), |mut reply| {
                    self.names.seen_header(&mut reply.header);
                    reply.leases.iter_mut().for_each(|lease| self.names.seen_lease_id(&mut lease.id));
                    // Their order is that of expiry, which is a matter of clocks.
                    reply.leases.sort_by_key(|lease| lease.id);
                    Reply::Leases(reply)
                })
                .await
            }
            Op::Authenticate => {
                let request = pb::AuthenticateRequest { name: "root".into(), password: "root".into() };
                outcome(door.auth.authenticate(request), |mut reply| {
                    self.names.seen_header(&mut reply.header);
                    Reply::Authenticate(reply)
                })
                .await
            }
            Op::AuthStatus => {
                outcome(door.auth.auth_status(pb::AuthRequest {}), |mut reply| {
                    self.names.seen_header(&mut reply.header);
                    Reply::AuthStatus(reply)
                })
                .await
            }
            Op::Alarms(request) => {
                outcome(door.maintenance.alarm(*request), |mut reply| {
                    self.names.seen_header(&mut reply.header);
                    Reply::Alarms(reply)
                })
                .await
            }
            Op::Status => self.status(&mut door).await,
            Op::Members { linearizable } => self.members(&mut door, *linearizable).await,
            Op::Upkeep { revision, snapshot } => {
                crate::upkeep::upkeep(&self.names, &mut door.maintenance, *revision, *snapshot).await
            }
            Op::HandOver => {
                crate::upkeep::hand_over(self.doors.iter().map(|door| door.maintenance.clone()).collect())
                    .await
            }
            Op::Learner => crate::members::learner(&self.names, self.old, &mut door.cluster).await,
            Op::WatchNothing { stream } => {
                self.streams[*stream].send(None).await;
                Reply::Done
            }
            Op::WatchCreate { stream, request } => self.watch_create(*stream, request).await,
            Op::WatchProgress { stream, times } => self.watch_progress(*stream, *times).await,
            Op::WatchCancel { stream, id } => self.watch_cancel(*stream, *id).await,
            Op::WatchReopen { stream } => {
                self.reopen(*stream);
                Reply::Done
            }
            Op::Settle => Reply::Done,
        }
    }

    /// Which endpoint is asked: a stream stays with its own.
    fn at(&self, op: &Op) -> usize {
        let turn = match op {
            Op::WatchCreate { stream, .. }
            | Op::WatchCancel { stream, .. }
            | Op::WatchProgress { stream, .. }
            | Op::WatchNothing { stream } => *stream,
            _ => self.turn,
        };
        turn % self.doors.len()
    }

    async fn range(&self, door: &mut Door, request: &pb::RangeRequest) -> Reply {
        outcome(door.kv.range(self.names.range(request)), |mut reply| {
            self.names.seen_range(&mut reply);
            Reply::Range(reply)
        })
        .await
    }

    async fn put(&self, door: &mut Door, request: &pb::PutRequest) -> Reply {
        outcome(door.kv.put(self.names.put(request)), |mut reply| {
            self.names.seen_put(&mut reply);
            Reply::Put(reply)
        })
        .await
    }

    async fn grant(&mut self, door: &mut Door, request: pb::LeaseGrantRequest, slot: i64) -> Reply {
        let names = &mut self.names;
        outcome(door.lease.lease_grant(request), |mut reply| {
            names.seen_header(&mut reply.header);
            if request.id == 0 {
                names.learn(slot, reply.id);
                // What matters of an id that the server chose is that it is positive.
                reply.id = reply.id.signum() * slot;
            }
            Reply::Grant(reply)
        })
        .await
    }

    async fn revoke(&self, door: &mut Door, id: i64) -> Reply {
        let request = pb::LeaseRevokeRequest { id: self.names.lease_id(id) };
        outcome(door.lease.lease_revoke(request), |mut reply| {
            self.names.seen_header(&mut reply.header);
            Reply::Revoke(reply)
        })
        .await
    }

    async fn time_to_live(&self, door: &mut Door, request: pb::LeaseTimeToLiveRequest) -> Reply {
        let request = pb::LeaseTimeToLiveRequest { id: self.names.lease_id(request.id), ..request };
        outcome(door.lease.lease_time_to_live(request), |mut reply| {
            self.names.seen_header(&mut reply.header);
            self.names.seen_lease_id(&mut reply.id);
            // etcd keeps a lease's keys in a map and gives them in any order.
            reply.keys.sort();
            Reply::TimeToLive(reply)
        })
        .await
    }

    async fn keep_alive(&self, door: &mut Door, ids: &[i64]) -> Reply {
        let requests: Vec<_> =
            ids.iter().map(|id| pb::LeaseKeepAliveRequest { id: self.names.lease_id(*id) }).collect();
        let beats = async {
            let mut stream = door.lease.lease_keep_alive(tokio_stream::iter(requests)).await?.into_inner();
            let mut all = Vec::new();
            let end = loop {
                match stream.message().await {
                    Ok(Some(reply)) => all.push(reply),
                    Ok(None) => break Reply::Done,
                    Err(status) => {
                        break Reply::Error { code: status.code(), text: status.message().to_string() };
                    }
                }
            };
            Ok(Response::new((all, end)))
        };
        outcome(beats, |(all, end)| {
            let seen = all.into_iter().map(|mut reply: pb::LeaseKeepAliveResponse| {
                self.names.seen_header(&mut reply.header);
                self.names.seen_lease_id(&mut reply.id);
                Reply::KeepAlive(reply)
            });
            Reply::Several(seen.chain([end]).collect())
        })
        .await
    }

    async fn brief(&mut self, door: &mut Door, ttl: i64, id: i64) -> Reply {
        let began = Instant::now();
        let slot = crate::op::CHOSEN - 1;
        let granted = self.grant(door, pb::LeaseGrantRequest { ttl, id }, slot).await;
        let id = if id == 0 { slot } else { id };
        let seen = self.time_to_live(door, pb::LeaseTimeToLiveRequest { id, keys: true }).await;
        let revoked = self.revoke(door, id).await;
        // It may have run out meanwhile.
        if began.elapsed() > Duration::from_secs(1) {
            Reply::Late
        } else {
            Reply::Several(vec![granted, seen, revoked])
        }
    }

    /// What clusters of the same history have in common of a status.
    async fn status(&self, door: &mut Door) -> Reply {
        outcome(door.maintenance.status(pb::StatusRequest {}), |mut reply| {
            self.names.seen_header(&mut reply.header);
            let numbers = [reply.raft_index, reply.raft_applied_index, reply.raft_term, reply.leader];
            // An empty store of Quorate has no bytes.
            let sizes = (0..=reply.db_size).contains(&reply.db_size_in_use);
            let told = numbers.iter().all(|n| *n > 0) && sizes;
            let told = told && reply.raft_applied_index <= reply.raft_index && !reply.version.is_empty();
            let seen = pb::StatusResponse {
                header: reply.header,
                is_learner: reply.is_learner,
                errors: reply.errors,
                version: if told { "told" } else { "something is missing" }.into(),
                ..Default::default()
            };
            Reply::Status(Box::new(seen))
        })
        .await
    }

    /// Members as one of them, where all are told in full.
    async fn members(&self, door: &mut Door, linearizable: bool) -> Reply {
        let told = |m: &pb::Member| {
            let urls = m.peer_ur_ls.iter().chain(&m.client_ur_ls);
            let whole = m.id != 0 && !m.name.is_empty() && !m.is_learner;
            whole && urls.clone().count() == 2 && urls.clone().all(|url| url.starts_with("http://"))
        };
        outcome(door.cluster.member_list(pb::MemberListRequest { linearizable }), |mut reply| {
            self.names.seen_header(&mut reply.header);
            if reply.members.iter().all(told) {
                reply.members.truncate(1);
                reply
                    .members
                    .iter_mut()
                    .for_each(|m| *m = pb::Member { name: "told".into(), ..Default::default() });
            }
            Reply::Members(reply)
        })
        .await
    }

    async fn expire(&mut self, door: &mut Door, keys: &[Bytes]) -> Reply {
        let mut all =
            vec![self.grant(door, pb::LeaseGrantRequest { ttl: EXPIRES_AFTER, id: EXPIRING }, 0).await];
        for key in keys {
            let put = pb::PutRequest { key: key.clone(), lease: EXPIRING, ..Default::default() };
            all.push(self.put(door, &put).await);
        }
        for _ in 0..1200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let asked = pb::LeaseTimeToLiveRequest { id: EXPIRING, keys: false };
            // A lease that has run out may be shown for a while, until its end has gone through the log.
            if let Reply::TimeToLive(pb::LeaseTimeToLiveResponse { granted_ttl: 0, .. }) =
                self.time_to_live(door, asked).await
            {
                break;
            }
        }
        for key in keys {
            all.push(self.range(door, &pb::RangeRequest { key: key.clone(), ..Default::default() }).await);
        }
        Reply::Several(all)
    }

    async fn watch_create(&mut self, stream: usize, request: &pb::WatchCreateRequest) -> Reply {
        let request = self.names.watch(request);
        let stream = &mut self.streams[stream];
        let before = stream.created.len();
        stream.ask(RequestUnion::CreateRequest(request)).await;
        stream.until(&self.names, PATIENCE, |stream| stream.created.len() > before).await;
        match stream.created.get(before) {
            Some(&Birth { id, refused, .. }) => Reply::Created { id, refused },
            None => Reply::Silence,
        }
    }

    /// The header of a cancellation has the revision of the moment, so that nothing may be written before it is made.
    async fn watch_cancel(&mut self, stream: usize, watch_id: i64) -> Reply {
        let stream = &mut self.streams[stream];
        stream.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id })).await;
        stream.passed(&self.names).await;
        Reply::Done
    }

    async fn watch_progress(&mut self, stream: usize, times: usize) -> Reply {
        let stream = &mut self.streams[stream];
        let before = stream.progress.len();
        for _ in 0..times {
            stream.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
        }
        // Silence is an answer, too: not all watches of the stream have caught up, or one begins in the future.
        stream.passed(&self.names).await;
        stream.until(&self.names, BEHIND, |stream| stream.progress.len() >= before + times).await;
        Reply::Progress(stream.progress.split_off(before))
    }
}

/// Whether a node may answer this, or a part of it, without asking the others.
fn local(op: &Op) -> bool {
    match op {
        Op::Range(request) => request.serializable,
        Op::Txn(request) => reads_locally(request),
        // Headers of a watch's creation and of its end have the revision of the node that serves the stream.
        Op::WatchCreate { .. }
        | Op::WatchCancel { .. }
        | Op::WatchProgress { .. }
        | Op::Alarms(_)
        | Op::Authenticate
        | Op::AuthStatus
        | Op::KeepAlive(_)
        | Op::Leases
        | Op::Members { .. }
        | Op::Status
        | Op::Upkeep { .. }
        | Op::TimeToLive(_) => true,
        _ => false,
    }
}

/// Whether a transaction has a read that need not be linearizable; if all are so, the node answers alone.
fn reads_locally(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestRange(range)) => range.serializable,
        Some(Request::RequestTxn(inner)) => reads_locally(inner),
        _ => false,
    })
}
