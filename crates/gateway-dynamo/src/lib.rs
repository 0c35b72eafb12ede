//! The DynamoDB door: the JSON protocol of version 20120810 over HTTP/1.1.
//!
//! A request is checked as DynamoDB checks it, as far as that needs no table; it is turned into an operation on tables and
//! given to the node, whose machine checks the rest where the table's keys are known; and the answer, or the reason there
//! is none, is turned back, with DynamoDB's names and texts, since clients decide by them. Nothing here survives a
//! connection. Any node takes any request: writes go to the leader by the node's own way, once.
//!
//! What a client may make the door hold is bounded: connections, the size of a request, the bytes of all requests that are
//! being read, and the time that one may take to come.
//!
//! [`signature`] is public for those who call such a door.
//!
//! `docs/dynamodb.md` lists what works, what differs, and what is not there yet.

mod authority;
mod batch;
mod body;
mod capacity;
mod crc;
mod describe;
mod drain;
mod evidence;
mod expiry;
mod failure;
mod front;
mod items;
mod limits;
mod off;
mod operation;
mod packed;
mod query;
mod reply;
mod route;
mod scatter;
mod shape;
mod shards;
pub mod signature;
mod staleness;
mod streams;
mod tables;
mod tags;
mod tenants;
#[cfg(test)]
mod tests;
mod throughput;
mod time;
mod transact;
mod update;

pub use authority::Keys;

use failure::{Answered, Retry, of_node};
use quorate_base::ShardId;
use quorate_node::api::tables::{Read, ReadReply};
use quorate_node::api::{Answer, Body, Door, Failure, Fresh, Request, Wait};
use quorate_wire::kv::{Command, Reply};
use quorate_wire::table;
use route::{META_PLACE, Place};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What the door is told beside its node.
#[derive(Clone, Default)]
pub struct Options {
    /// How many connections there may be at once.
    pub clients_max: usize,
    /// Where the door counts.
    pub counters: Arc<Counters>,
    /// The keys that requests must be signed with; without any, whoever reaches the door may do all.
    pub keys: Option<Arc<Keys>>,
    /// Before this is true, operations wait; none waits where there is none.
    pub ready: Option<Ready>,
}

/// True once the node answers.
pub type Ready = tokio::sync::watch::Receiver<bool>;

/// What the door counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections for which there was no place.
    pub turned_away: AtomicU64,
    /// Requests that were answered well.
    pub answered: AtomicU64,
    /// Requests that were answered by an error.
    pub refused: AtomicU64,
}

/// The door's share of every request.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) door: Arc<dyn Door>,
}

/// Serves clients on `listener` until `shutdown` completes.
pub async fn serve(
    listener: TcpListener,
    door: Arc<dyn Door>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) {
    let gateway = Gateway { door };
    tokio::select! {
        () = front::accept(listener, gateway.clone(), options) => {}
        () = expiry::watch(gateway.clone()) => {}
        () = tenants::watch(gateway) => {}
        () = shutdown => {}
    }
}

impl Gateway {
    /// Asks the node of a shard, and waits.
    async fn ask(&self, shard: ShardId, request: Request) -> Result<Answer, Failure> {
        let request = evidence::ask(request);
        let (give, take) = oneshot::channel();
        // Whoever asked may be gone by then.
        self.door.call_of(shard, request, Wait::default(), Box::new(move |result| drop(give.send(result))));
        // A node that drops a request drops it with everything else.
        let answer = take.await.unwrap_or(Err(Failure::Stopping));
        evidence::answered(shard);
        answer
    }

    /// Writes through the log of shard 1, at most once.
    pub(crate) async fn write(&self, command: table::Command, retry: Retry) -> Answered<table::Reply> {
        self.write_to(META_PLACE, command, retry).await
    }

    /// Writes through a shard's log, at most once.
    pub(crate) async fn write_to(
        &self,
        place: Place,
        command: table::Command,
        retry: Retry,
    ) -> Answered<table::Reply> {
        let answer = self.ask(place.shard, Request::Write(Command::Table(Box::new(command)))).await;
        match answer.map_err(|failure| of_node(failure, retry))?.body {
            Body::Reply(Reply::Table(reply)) => Ok(*reply),
            _ => Err(unexpected()),
        }
    }

    /// Reads of shard 1: `consistent` through a read index, otherwise as the table's policy says, see [`Fresh::Plain`].
    pub(crate) async fn read(&self, read: Read, consistent: bool) -> Answered<ReadReply> {
        self.read_from(META_PLACE, read, consistent).await
    }

    /// The same of any shard.
    pub(crate) async fn read_from(&self, place: Place, read: Read, consistent: bool) -> Answered<ReadReply> {
        let fresh = match &read {
            _ if consistent => Fresh::Newest,
            Read::Get(_) | Read::Page(_) | Read::Rows(_) => Fresh::Plain(staleness::bound()),
            // What the door asks for its own sake.
            _ => Fresh::Local,
        };
        let request = Request::Table { read: Box::new(read), fresh, epoch: place.epoch };
        let answer = self.ask(place.shard, request).await;
        match answer.map_err(|failure| of_node(failure, Retry::Harmless))?.body {
            Body::Table(reply) => Ok(*reply),
            _ => Err(unexpected()),
        }
    }
}

/// An answer of the wrong kind is a bug of the node; the client is told so rather than cut off.
pub(crate) fn unexpected() -> failure::ApiError {
    failure::ApiError::new(
        failure::Kind::Internal,
        "The node answered with something else than was asked for",
    )
}

/// Milliseconds since 1970, for what is dated. No promise rests on it.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
