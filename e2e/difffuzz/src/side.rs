//! One of the two sides: it carries out an [`Op`] and gives back a reply in symbolic numbers.
//!
//! Requests take turns among a side's endpoints. Where there are several, whatever a node may answer from its own state
//! alone is preceded by a linearizable read on the same node, so that the answer is determined.

use crate::op::{BIAS, Names, Op};
use crate::watch::{Birth, Stream};
use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::auth_client::AuthClient;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::lease_client::LeaseClient;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use std::future::Future;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

/// Replies may be as large as a store of this test gets.
const MESSAGE_MAX: usize = 64 << 20;
/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The id of leases that run out.
const EXPIRING: i64 = 4242;

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
    Several(Vec<Reply>),
    /// A watch was created under this id, or refused.
    Created {
        id: i64,
        refused: bool,
    },
    Progress(Option<i64>),
    Done,
    Error {
        code: Code,
        text: String,
    },
    Silence,
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
            Self::Several(all) => return all.iter().filter_map(Self::revision).max(),
            _ => None,
        };
        header.map(|h| h.revision)
    }
}

/// The clients of one endpoint.
#[derive(Clone)]
struct Door {
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    watch: WatchClient<Channel>,
    auth: AuthClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
}

impl Door {
    fn new(url: &str) -> std::io::Result<Self> {
        let channel = e2e_cluster::connect(url)?;
        Ok(Self {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX),
            lease: LeaseClient::new(channel.clone()),
            watch: WatchClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX),
            auth: AuthClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel),
        })
    }
}

/// Makes a reply of the outcome of a call, which is given up after a while.
async fn outcome<T>(
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
    doors: Vec<Door>,
    turn: usize,
}

impl Side {
    /// Connects to all endpoints. Quorate may call itself 3.4, but answers as later ones do.
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
        let old = version.starts_with("3.4.") && !quorate;
        Ok(Self { name: name.into(), version, old, names: Names::new(BIAS), streams: vec![], doors, turn: 0 })
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
            Op::Alarms => {
                outcome(door.maintenance.alarm(pb::AlarmRequest::default()), |mut reply| {
                    self.names.seen_header(&mut reply.header);
                    Reply::Alarms(reply)
                })
                .await
            }
            Op::WatchCreate { stream, request } => self.watch_create(*stream, request).await,
            Op::WatchProgress { stream } => self.watch_progress(*stream).await,
            Op::WatchCancel { stream, id } => {
                let cancel = pb::WatchCancelRequest { watch_id: *id };
                self.streams[*stream].ask(RequestUnion::CancelRequest(cancel)).await;
                Reply::Done
            }
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
            Op::WatchCreate { stream, .. } | Op::WatchProgress { stream } => *stream,
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
        let slot = crate::op::CHOSEN - 1;
        let granted = self.grant(door, pb::LeaseGrantRequest { ttl, id }, slot).await;
        let id = if id == 0 { slot } else { id };
        let seen = self.time_to_live(door, pb::LeaseTimeToLiveRequest { id, keys: true }).await;
        let revoked = self.revoke(door, id).await;
        Reply::Several(vec![granted, seen, revoked])
    }

    async fn expire(&mut self, door: &mut Door, keys: &[Bytes]) -> Reply {
        let mut all = vec![self.grant(door, pb::LeaseGrantRequest { ttl: 1, id: EXPIRING }, 0).await];
        for key in keys {
            let put = pb::PutRequest { key: key.clone(), lease: EXPIRING, ..Default::default() };
            all.push(self.put(door, &put).await);
        }
        for _ in 0..200 {
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

    async fn watch_progress(&mut self, stream: usize) -> Reply {
        let stream = &mut self.streams[stream];
        let before = stream.progress.len();
        stream.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
        // Silence is an answer, too: not all watches of the stream have caught up, or one begins in the future.
        stream.until(&self.names, Duration::from_millis(250), |stream| stream.progress.len() > before).await;
        Reply::Progress(stream.progress.get(before).copied())
    }
}

/// Whether a node may answer this, or a part of it, without asking the others.
fn local(op: &Op) -> bool {
    match op {
        Op::Range(request) => request.serializable,
        Op::Alarms | Op::Leases | Op::TimeToLive(_) | Op::KeepAlive(_) => true,
        Op::Authenticate | Op::AuthStatus | Op::WatchCreate { .. } | Op::WatchProgress { .. } => true,
        _ => false,
    }
}
