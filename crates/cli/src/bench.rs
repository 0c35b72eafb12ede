//! `quorate bench kv`: load on any etcd v3 endpoint, measured.
//!
//! Closed loop: each client sends its next request when the last one is answered. Open loop (`--rate`): requests are due at
//! fixed moments, and a latency counts from when a request was due, so that a stall is not hidden by the requests that it
//! kept from being sent. One thread; its CPU time is reported, since on a small machine it takes its share.

mod lean;

use crate::probe::endpoint;
use crate::report::{Exit, Problem, say};
use bytes::Bytes;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use lean::{Call, Link};
use quorate_base::Rng;
use quorate_client::Client;
use quorate_proto::etcdserverpb as pb;
use serde::Serialize;
use std::cell::RefCell;
use std::io::IsTerminal;
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

/// Measure a cluster
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Keys and values
    Kv(KvArgs),
}

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
struct KvArgs {
    /// Where the cluster is
    #[arg(long, value_name = "URL[,URL...]", value_delimiter = ',', value_parser = endpoint, default_value = "http://127.0.0.1:2379")]
    endpoints: Vec<String>,
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
    seconds: f64,
    ops: u64,
    ops_per_s: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    max_us: u64,
    errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
    client_cpu_us_per_op: f64,
}

/// What all clients share; they run on one thread.
struct Tally {
    histogram: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
}

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    let What::Kv(args) = &args.what;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::new(Exit::Failed, format!("the runtime did not start: {e}"), ""))?;
    let local = tokio::task::LocalSet::new();
    let report = local.block_on(&runtime, measure(args))?;
    if args.json {
        say(&serde_json::to_string(&report).unwrap_or_default());
    } else {
        show(&report);
    }
    if report.ops == 0 {
        let why = report.first_error.unwrap_or_else(|| "nothing was answered".into());
        return Err(Problem::new(Exit::Failed, why, "quorate status shows how the cluster is"));
    }
    Ok(())
}

async fn measure(args: &KvArgs) -> Result<Report, Problem> {
    let connections = args.connections.unwrap_or_else(|| args.clients.min(8)).max(1) as usize;
    let unreachable = |why| Problem::new(Exit::Failed, why, "is the cluster up? `quorate up` starts one");
    let links = lean::connect(&args.endpoints, connections, PATIENCE).await.map_err(unreachable)?;
    let watchers = match args.op {
        Op::Watch => Some(Client::connect(&args.endpoints, connections, PATIENCE).await),
        _ => None,
    };
    let watchers = watchers.transpose().map_err(|e| unreachable(e.to_string()))?;
    let histogram = Histogram::new_with_bounds(1, 120_000_000, 3)
        .map_err(|e| Problem::new(Exit::Failed, format!("the histogram: {e}"), ""))?;
    let tally = Rc::new(RefCell::new(Tally { histogram, errors: 0, first_error: None }));
    if matches!(args.op, Op::Get | Op::Sget | Op::Mixed | Op::Txn) {
        fill(&links, args).await?;
    }
    let value = Bytes::from(vec![b'v'; args.value_size as usize]);
    let bar = progress(args);
    let cpu = cpu_time();
    let start = Instant::now();
    let end = start + Duration::from_secs(args.seconds);
    let mut tasks = Vec::new();
    for n in 0..args.clients {
        let worker = Worker {
            op: args.op,
            keys: args.keys,
            value: value.clone(),
            rng: Rng::new(u64::from(n) + 1),
            tally: tally.clone(),
            link: links[n as usize % links.len()].clone(),
            watcher: watchers.as_ref().map(|client| client.watch(n as usize)),
            number: n,
        };
        let every = args.rate.map(|rate| Duration::from_secs_f64(f64::from(args.clients) / rate as f64));
        let first =
            every.map_or(start, |every| start + every.mul_f64(f64::from(n) / f64::from(args.clients)));
        tasks.push(tokio::task::spawn_local(worker.run(first, end, every)));
    }
    let ticker = tokio::task::spawn_local(tick(bar, start, tally.clone()));
    for task in tasks {
        let _ = task.await;
    }
    ticker.abort();
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = cpu_time().saturating_sub(cpu);
    let tally = tally.borrow();
    let h = &tally.histogram;
    Ok(Report {
        op: args.op,
        clients: args.clients,
        connections: links.len(),
        value_size: args.value_size,
        keys: args.keys,
        seconds: elapsed,
        ops: h.len(),
        ops_per_s: h.len() as f64 / elapsed,
        p50_us: h.value_at_quantile(0.5),
        p90_us: h.value_at_quantile(0.9),
        p99_us: h.value_at_quantile(0.99),
        max_us: h.max(),
        errors: tally.errors,
        first_error: tally.first_error.clone(),
        client_cpu_us_per_op: cpu.as_secs_f64() * 1e6 / (h.len().max(1)) as f64,
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
    async fn run(mut self, first: Instant, end: Instant, every: Option<Duration>) {
        if let Some(watcher) = self.watcher.take() {
            return self.watch(watcher, end).await;
        }
        let mut due = first;
        loop {
            if every.is_some() {
                tokio::time::sleep_until(due.into()).await;
            }
            let from = if every.is_some() { due } else { Instant::now() };
            if from >= end {
                return;
            }
            let result = self.once().await;
            self.count(from, result);
            if let Some(every) = every {
                due += every;
            }
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
        let mut tally = self.tally.borrow_mut();
        match result {
            Ok(()) => {
                let us = u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
                tally.histogram.saturating_record(us);
            }
            Err(status) => {
                tally.errors += 1;
                tally.first_error.get_or_insert_with(|| status.message().to_string());
            }
        }
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
async fn fill(links: &[Link], args: &KvArgs) -> Result<(), Problem> {
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

fn progress(args: &KvArgs) -> ProgressBar {
    if args.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(args.seconds * 10);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
        bar.set_style(style);
    }
    bar
}

async fn tick(bar: ProgressBar, start: Instant, tally: Rc<RefCell<Tally>>) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (ops, errors) = {
            let tally = tally.borrow();
            (tally.histogram.len(), tally.errors)
        };
        let seconds = start.elapsed().as_secs_f64();
        bar.set_position((seconds * 10.0) as u64);
        bar.set_message(format!("{:.0} a second, {errors} errors", ops as f64 / seconds));
    }
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let usage = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = usage.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    // utime and stime, in hundredths of a second.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn show(r: &Report) {
    say(&format!("{:>12.0}  operations a second ({} in {:.1} s)", r.ops_per_s, r.ops, r.seconds));
    say(&format!("{:>9} us  median", r.p50_us));
    say(&format!("{:>9} us  90 of 100", r.p90_us));
    say(&format!("{:>9} us  99 of 100", r.p99_us));
    say(&format!("{:>9} us  slowest", r.max_us));
    say(&format!("{:>9.1} us  CPU of this client an operation", r.client_cpu_us_per_op));
    say(&format!("{:>12}  connections, {} clients", r.connections, r.clients));
    match &r.first_error {
        Some(error) => say(&format!("{:>12}  errors, the first: {error}", r.errors)),
        None => say(&format!("{:>12}  errors", r.errors)),
    }
}
