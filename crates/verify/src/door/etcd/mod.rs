//! etcd's protocol, spoken to one node at a time. Values are JSON as text.

mod append;
mod lease;
mod rows;
mod watch;
mod whole;

pub(crate) use lease::Strength;
pub(crate) use whole::end_of;

use crate::op::{Ended, Kind, Op};
use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::mvccpb::KeyValue;
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// The largest reply that is read.
const REPLY_MAX: usize = 256 << 20;

/// One client's connection.
pub(crate) struct Etcd {
    endpoints: Vec<String>,
    prefix: String,
    at: usize,
    pinned: bool,
    patience: Duration,
    /// By node: a connection that did well is kept.
    channels: Vec<Option<Channel>>,
    strength: Strength,
    held: Option<lease::Held>,
}

/// Why there is no reply.
enum Trouble {
    Status(Status),
    /// None came in time.
    Silent,
}

impl Trouble {
    /// What it says of a request that may change something.
    fn of_write(self) -> Ended {
        let Self::Status(status) = self else { return Ended::unknown("no answer in time") };
        let text = status.message().to_string();
        // What was refused was not done; without a connection nothing was sent.
        let refused = matches!(
            status.code(),
            Code::InvalidArgument
                | Code::FailedPrecondition
                | Code::NotFound
                | Code::OutOfRange
                | Code::ResourceExhausted
                | Code::Unimplemented
                | Code::AlreadyExists
        );
        let unsent = status.code() == Code::Unavailable
            && (text.contains("tcp connect error") || text == "etcdserver: no leader");
        if refused || unsent { Ended::failed(text) } else { Ended::unknown(text) }
    }

    /// What it says of a request that changes nothing.
    fn of_read(self) -> Ended {
        let text = match self {
            Self::Status(status) => status.message().to_string(),
            Self::Silent => "no answer in time".into(),
        };
        Ended::failed(text)
    }
}

impl Etcd {
    /// A client of the node `at`, from 0.
    pub(crate) fn new(
        endpoints: Vec<String>,
        prefix: String,
        at: usize,
        pinned: bool,
        patience: Duration,
        strength: Strength,
    ) -> Self {
        let at = at % endpoints.len().max(1);
        let channels = vec![None; endpoints.len()];
        Self { endpoints, prefix, at, pinned, patience, channels, strength, held: None }
    }

    /// The node that is asked, from 1.
    pub(crate) fn node(&self) -> u64 {
        self.at as u64 + 1
    }

    /// Does it. A node that gave no good answer is left for the next one.
    pub(crate) async fn perform(&mut self, op: &Op) -> Ended {
        let ended = self.tried(op).await;
        if ended.error.is_some() {
            self.channels[self.at] = None;
        }
        // Whoever wants to see an old state asks everybody.
        if !self.pinned && (ended.error.is_some() || op.f == "stale-read") {
            self.at = (self.at + 1) % self.endpoints.len();
        }
        ended
    }

    async fn tried(&mut self, op: &Op) -> Ended {
        let channel = match self.channel() {
            Ok(channel) => channel,
            Err(why) => return Ended::failed(why),
        };
        match op.f.as_str() {
            "read" => self.read(channel, op, false).await,
            "stale-read" => self.read(channel, op, true).await,
            "write" if op.value.is_null() => self.delete(channel, op).await,
            "write" | "put" => self.write(channel, op).await,
            "cas" => self.cas(channel, op).await,
            "add" => self.add(channel, op).await,
            "read-set" => self.read_set(channel, op).await,
            "generate" => self.generate(channel).await,
            "open" => self.open_bank(channel, op).await,
            "read-bank" => self.read_bank(channel).await,
            "transfer" => self.transfer(channel, op).await,
            "lease" => self.lease(channel, op).await,
            "gone" => self.gone(channel, op).await,
            "acquire" => self.acquire(channel).await,
            "update" => self.update(channel, op).await,
            "release" => self.release(channel).await,
            "delete" => self.delete_counted(channel, op).await,
            "txn" if op.value[0][0] == "put" => self.put_all(channel, op).await,
            "txn" => self.txn(channel, op).await,
            "rows" => self.rows(channel, op).await,
            "watch" => self.watch(channel, op).await,
            other => Ended::failed(format!("this door knows no {other}")),
        }
    }

    fn channel(&mut self) -> Result<Channel, String> {
        if let Some(channel) = &self.channels[self.at] {
            return Ok(channel.clone());
        }
        let url = self.endpoints.get(self.at).ok_or("no endpoint was given")?;
        let endpoint = Endpoint::from_shared(url.clone()).map_err(|e| format!("{url}: {e}"))?;
        let channel = endpoint.connect_timeout(CONNECT).tcp_nodelay(true).connect_lazy();
        self.channels[self.at] = Some(channel.clone());
        Ok(channel)
    }

    fn key(&self, key: &Value) -> Bytes {
        let name = key.as_str().map_or_else(|| key.to_string(), str::to_string);
        format!("{}{name}", self.prefix).into()
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Trouble> {
        match timeout(self.patience, call).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(Trouble::Status(status)),
            Err(_) => Err(Trouble::Silent),
        }
    }

    async fn read(&self, channel: Channel, op: &Op, serializable: bool) -> Ended {
        let request = pb::RangeRequest { key: self.key(&op.key), serializable, ..Default::default() };
        match self.within(kv(channel).range(request)).await {
            Ok(reply) => Ended::ok(held(reply.kvs.first()), revision(reply.header.as_ref())),
            Err(trouble) => trouble.of_read(),
        }
    }

    async fn write(&self, channel: Channel, op: &Op) -> Ended {
        let request = pb::PutRequest { key: self.key(&op.key), value: text(&op.value), ..Default::default() };
        match self.within(kv(channel).put(request)).await {
            Ok(reply) => Ended::ok(op.value.clone(), revision(reply.header.as_ref())),
            Err(trouble) => trouble.of_write(),
        }
    }

    /// A deletion as a write of nothing.
    async fn delete(&self, channel: Channel, op: &Op) -> Ended {
        let ended = self.delete_counted(channel, op).await;
        // Where nothing was deleted there is no revision of it.
        let version = ended.version.filter(|_| ended.value != 0);
        if ended.kind == Kind::Ok { Ended::ok(Value::Null, version) } else { ended }
    }

    /// A deletion; the result is how many keys went.
    async fn delete_counted(&self, channel: Channel, op: &Op) -> Ended {
        let request = pb::DeleteRangeRequest { key: self.key(&op.key), ..Default::default() };
        match self.within(kv(channel).delete_range(request)).await {
            Ok(reply) => Ended::ok(reply.deleted, revision(reply.header.as_ref())),
            Err(trouble) => trouble.of_write(),
        }
    }

    async fn cas(&self, channel: Channel, op: &Op) -> Ended {
        let key = self.key(&op.key);
        let same = equals(&key, &op.value[0]);
        let request =
            pb::TxnRequest { compare: vec![same], success: vec![put(&key, &op.value[1])], failure: vec![] };
        match self.within(kv(channel).txn(request)).await {
            Ok(reply) if reply.succeeded => {
                Ended { kind: Kind::Ok, ..Ended::ok(op.value.clone(), revision(reply.header.as_ref())) }
            }
            Ok(reply) => Ended::refused(revision(reply.header.as_ref())),
            Err(trouble) => trouble.of_write(),
        }
    }
}

fn kv(channel: Channel) -> pb::kv_client::KvClient<Channel> {
    pb::kv_client::KvClient::new(channel).max_decoding_message_size(REPLY_MAX)
}

fn revision(header: Option<&pb::ResponseHeader>) -> Option<i64> {
    header.map(|header| header.revision)
}

fn text(value: &Value) -> Bytes {
    value.to_string().into()
}

/// What a key holds; null where there is none, and the bytes as text where they are none of ours.
fn held(kv: Option<&KeyValue>) -> Value {
    kv.map_or(Value::Null, |kv| {
        serde_json::from_slice(&kv.value)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&kv.value).into_owned()))
    })
}

/// True where the key holds this; for null, where it is absent.
fn equals(key: &Bytes, value: &Value) -> pb::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let (target, union) = match value {
        Value::Null => (CompareTarget::Version, TargetUnion::Version(0)),
        value => (CompareTarget::Value, TargetUnion::Value(text(value))),
    };
    pb::Compare {
        key: key.clone(),
        target: target.into(),
        result: CompareResult::Equal.into(),
        target_union: Some(union),
        ..Default::default()
    }
}

/// True where a key is as it was read.
fn at_revision(kv: &KeyValue) -> pb::Compare {
    pb::Compare {
        key: kv.key.clone(),
        target: pb::compare::CompareTarget::Mod.into(),
        result: pb::compare::CompareResult::Equal.into(),
        target_union: Some(pb::compare::TargetUnion::ModRevision(kv.mod_revision)),
        ..Default::default()
    }
}

fn put(key: &Bytes, value: &Value) -> pb::RequestOp {
    let request = pb::PutRequest { key: key.clone(), value: text(value), ..Default::default() };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(request)) }
}
