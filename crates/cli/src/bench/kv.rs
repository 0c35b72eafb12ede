//! `quorate bench kv`: load on any etcd v3 endpoint, measured.

use super::lean::{self, Call, Link};
use super::meter::{self, Figures, Meter, Tally, Turns};
use crate::probe::Cluster;
use crate::report::{Exit, Problem, say};
use bytes::Bytes;
use quorate_base::Rng;
use quorate_client::Client;
use quorate_proto::etcdserverpb as pb;
use serde::Serialize;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

const EXAMPLES: &str = "\
Examples:
  quorate bench kv --op put --clients 64 --seconds 10
  quorate bench kv --op get --clients 64 --connections 8 --keys 100000
  quorate bench kv --op mixed --rate 5000 --json --endpoints http://127.0.0.1:2379,http://127.0.0.1:12379";

/// How long to wait for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    cluster: Cluster,
    /// What the clients do
    #[arg(long, value_enum, default_value_t = Op::Put)]
    op: Op,
    /// Clients at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Bytes of a value
    #[arg(long, value_name = "B", default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    value_size: u32,
    /// Different keys
    #[arg(long, value_name = "K", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Connections, spread over the endpoints [default: 8, or fewer clients]
    #[arg(long, value_name = "C")]
    connections: Option<u32>,
    /// Requests a second, whatever the answers (open loop) [default: each client's next when its last is answered]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// Speak JSON: one line at the end
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    /// Write a random key
    Put,
    /// Read a random key, linearizably
    Get,
    /// Read a random key from the asked node's own state
    Sget,
    /// Half puts, half gets
    Mixed,
    /// Compare a key's version, then write it
    Txn,
    /// Write a random key and wait until a watch shows it
    Watch,
}

/// What was measured.
#[derive(Serialize)]
struct Report {
    op: Op,
    clients: u32,
    connections: usize,
    value_size: u32,
    keys: u64,
    #[serde(flatten)]
    figures: Figures,
}

/// Runs the benchmark.
pub(super) fn run(args: &Args) -> Result<(), Problem> {
    let report = meter::run(measure(args))?;
    if args.json {
        say(&serde_json::to_string(&report).unwrap_or_default());
    } else {
        report.figures.show(report.connections, report.clients);
    }
    report.figures.check(|_| "quorate status shows how the cluster is")
}

async fn measure(args: &Args) -> Result<Report, Problem> {
    let connections = args.connections.unwrap_or_else(|| args.clients.min(8)).max(1) as usize;
    let unreachable = |why| Problem::new(Exit::Failed, why, "is the cluster up? `quorate up` starts one");
    let links = lean::connect(&args.cluster.endpoints, connections, PATIENCE).await.map_err(unreachable)?;
    let watchers = match args.op {
        Op::Watch => Some(Client::connect(&args.cluster.endpoints, connections, PATIENCE).await),
        _ => None,
    };
    let watchers = watchers.transpose().map_err(|e| unreachable(e.to_string()))?;
    if matches!(args.op, Op::Get | Op::Sget | Op::Mixed | Op::Txn) {
        fill(&links, args).await?;
    }
    let value = Bytes::from(vec![b'v'; args.value_size as usize]);
    let meter = Meter::start(args.clients, args.seconds, args.rate, args.json)?;
    let mut tasks = Vec::new();
    for n in 0..args.clients {
        let worker = Worker {
            op: args.op,
            keys: args.keys,
            value: value.clone(),
            rng: Rng::new(u64::from(n) + 1),
            tally: meter.tally.clone(),
            link: links[n as usize % links.len()].clone(),
            watcher: watchers.as_ref().map(|client| client.watch(n as usize)),
            number: n,
        };
        tasks.push(tokio::task::spawn_local(worker.run(meter.turns(n))));
    }
    Ok(Report {
        op: args.op,
        clients: args.clients,
        connections: links.len(),
        value_size: args.value_size,
        keys: args.keys,
        figures: meter.finish(tasks).await,
    })
}

struct Worker {
    op: Op,
    keys: u64,
    value: Bytes,
    rng: Rng,
    tally: Rc<RefCell<Tally>>,
    link: Link,
    /// Of one who watches; on another connection than what it writes.
    watcher: Option<pb::watch_client::WatchClient<Channel>>,
    number: u32,
}

impl Worker {
    async fn run(mut self, mut turns: Turns) {
        if let Some(watcher) = self.watcher.take() {
            return self.watch(watcher, turns.end()).await;
        }
        while let Some(from) = turns.next().await {
            let result = self.once().await;
            self.count(from, result);
        }
    }

    async fn once(&mut self) -> Result<(), tonic::Status> {
        let key = self.key();
        let put = match self.op {
            Op::Put => true,
            Op::Mixed => self.rng.chance(1, 2),
            Op::Txn => return self.txn(key).await,
            Op::Get | Op::Sget | Op::Watch => false,
        };
        if put {
            return put_one(&mut self.link, key, self.value.clone()).await;
        }
        let serializable = self.op == Op::Sget;
        let request = pb::RangeRequest { key, serializable, ..pb::RangeRequest::default() };
        self.link.call::<pb::RangeResponse>(Call::Range, &request).await.map(drop)
    }

    async fn txn(&mut self, key: Bytes) -> Result<(), tonic::Status> {
        let compare = pb::Compare {
            result: 1,
            target: 0,
            key: key.clone(),
            target_union: Some(pb::compare::TargetUnion::Version(0)),
            range_end: Bytes::new(),
        };
        let put = pb::PutRequest { key, value: self.value.clone(), ..pb::PutRequest::default() };
        let success = vec![pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }];
        let request = pb::TxnRequest { compare: vec![compare], success, failure: vec![] };
        self.link.call::<pb::TxnResponse>(Call::Txn, &request).await.map(drop)
    }

    /// Writes a key of its own and waits for the event.
    async fn watch(&mut self, mut watcher: pb::watch_client::WatchClient<Channel>, end: Instant) {
        let key = Bytes::from(format!("bench-watch/{}", self.number));
        let create = pb::WatchCreateRequest { key: key.clone(), ..pb::WatchCreateRequest::default() };
        let union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
        let (give, take) = tokio::sync::mpsc::channel(1);
        let _ = give.send(pb::WatchRequest { request_union: union }).await;
        let requests = tokio_stream::wrappers::ReceiverStream::new(take);
        let mut stream = match watcher.watch(requests).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return self.count(Instant::now(), Err(status)),
        };
        let _ = stream.message().await;
        while Instant::now() < end {
            let from = Instant::now();
            let result = match put_one(&mut self.link, key.clone(), self.value.clone()).await {
                Ok(()) => stream.message().await.map(drop),
                Err(status) => Err(status),
            };
            self.count(from, result);
        }
    }

    fn key(&mut self) -> Bytes {
        key(self.rng.below(self.keys))
    }

    fn count(&self, from: Instant, result: Result<(), tonic::Status>) {
        self.tally.borrow_mut().count(from, result.map_err(|status| status.message().to_string()));
    }
}

fn key(n: u64) -> Bytes {
    Bytes::from(format!("bench/{n:012}"))
}

async fn put_one(link: &mut Link, key: Bytes, value: Bytes) -> Result<(), tonic::Status> {
    let request = pb::PutRequest { key, value, ..pb::PutRequest::default() };
    link.call::<pb::PutResponse>(Call::Put, &request).await.map(drop)
}

/// What reads will look for is there before they are measured.
async fn fill(links: &[Link], args: &Args) -> Result<(), Problem> {
    let value = Bytes::from(vec![b'v'; args.value_size as usize]);
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..64_u64 {
        let mut link = links[worker as usize % links.len()].clone();
        let (value, keys) = (value.clone(), args.keys);
        tasks.spawn_local(async move {
            let mut n = worker;
            while n < keys {
                put_one(&mut link, key(n), value.clone()).await?;
                n += 64;
            }
            Ok::<(), tonic::Status>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        if let Ok(Err(status)) = done {
            return Err(Problem::new(Exit::Failed, format!("filling: {}", status.message()), ""));
        }
    }
    Ok(())
}
