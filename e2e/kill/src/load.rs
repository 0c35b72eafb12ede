//! Writers that go on for ever, through whichever endpoint answers, and tell what they were told.

use crate::check::Ledger;
use bytes::Bytes;
use quorate_base::Rng;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::request_op::Request;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

/// All keys begin so.
pub const PREFIX: &str = "kill/";
/// How long a writer waits for an answer before it takes the outcome as unknown.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a writer rests after an error.
const REST: Duration = Duration::from_millis(10);
/// Values are as long as this.
const VALUE: usize = 128;

/// How much load.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Writers with a key of their own.
    pub owners: usize,
    /// Counters.
    pub counters: usize,
    /// Writers that raise counters.
    pub raisers: usize,
    /// How long each waits between two writes.
    pub pause: Duration,
}

/// What all writers share.
pub struct Shared {
    pub ledger: Ledger,
    /// The first thing that was wrong.
    pub wrong: Option<String>,
    pub acks: u64,
    pub unknowns: u64,
    /// When the last write was acknowledged.
    pub last_ack: Instant,
    /// The longest time between two acknowledgements since this was last reset.
    pub gap: Duration,
    /// Writers between a request and its outcome.
    in_flight: usize,
}

impl Shared {
    fn ack(&mut self) {
        let now = Instant::now();
        self.gap = self.gap.max(now - self.last_ack);
        self.last_ack = now;
        self.acks += 1;
    }

    /// Starts measuring gaps anew.
    pub fn reset_gap(&mut self) {
        self.gap = Duration::ZERO;
    }

    fn complain(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }
}

/// The running writers.
pub struct Load {
    pub shared: Rc<RefCell<Shared>>,
    running: watch::Sender<bool>,
    began: Instant,
    urls: Vec<String>,
    pub shape: Shape,
}

/// The name of a key.
pub fn key_name(key: usize) -> String {
    format!("{PREFIX}{key:04}")
}

/// The number of a key and of a value, out of their bytes.
pub fn parse(key: &[u8], value: &[u8]) -> Option<(usize, u64)> {
    let key = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.parse().ok()?;
    let value = std::str::from_utf8(value).ok()?.trim_end_matches('.').parse().ok()?;
    Some((key, value))
}

fn value_of(n: u64) -> Bytes {
    let mut text = n.to_string();
    text.extend(std::iter::repeat_n('.', VALUE - text.len()));
    text.into()
}

impl Load {
    /// Starts all writers; the store is at `revision`, and nobody else writes. To be called within a `LocalSet`.
    pub fn start(urls: Vec<String>, shape: Shape, revision: i64, seed: u64) -> std::io::Result<Self> {
        let shared = Rc::new(RefCell::new(Shared {
            ledger: Ledger::new(shape.owners, shape.counters, revision),
            wrong: None,
            acks: 0,
            unknowns: 0,
            last_ack: Instant::now(),
            gap: Duration::ZERO,
            in_flight: 0,
        }));
        let (running, _) = watch::channel(true);
        let load = Self { shared, running, began: Instant::now(), urls, shape };
        let channels = load.connect()?;
        for at in 0..shape.owners + shape.raisers {
            let writer = Writer {
                shared: Rc::clone(&load.shared),
                running: load.running.subscribe(),
                began: load.began,
                clients: channels.clone(),
                rng: Rng::stream(seed, &format!("writer {at}")),
                at: at % channels.len(),
            };
            if at < shape.owners {
                tokio::task::spawn_local(writer.own(at, shape.pause));
            } else {
                tokio::task::spawn_local(writer.raise(shape, shape.pause));
            }
        }
        Ok(load)
    }

    fn connect(&self) -> std::io::Result<Vec<KvClient<Channel>>> {
        self.urls.iter().map(|url| Ok(KvClient::new(e2e_cluster::connect(url)?))).collect()
    }

    /// Stops all writers between two writes, and waits for those under way.
    pub async fn pause(&self) {
        let _ = self.running.send(false);
        while self.shared.borrow().in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets the writers go on.
    pub fn resume(&self) {
        self.shared.borrow_mut().last_ack = Instant::now();
        let _ = self.running.send(true);
    }

    /// Waits until a write that began after now is acknowledged.
    pub async fn until_acked(&self, patience: Duration) -> Result<Duration, String> {
        let (began, acks) = (Instant::now(), self.shared.borrow().acks);
        // Of the writes under way now each may be acknowledged once.
        let enough = acks + self.shared.borrow().in_flight as u64 + 1;
        while self.shared.borrow().acks < enough {
            if began.elapsed() > patience {
                return Err(format!("no write was acknowledged for {patience:?}"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(began.elapsed())
    }
}

/// One writer.
struct Writer {
    shared: Rc<RefCell<Shared>>,
    running: watch::Receiver<bool>,
    began: Instant,
    clients: Vec<KvClient<Channel>>,
    rng: Rng,
    /// The endpoint that answered last.
    at: usize,
}

/// A call that may go unanswered.
async fn ask<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(status.message().to_string()),
        Err(_) => Err("no answer".into()),
    }
}

impl Writer {
    /// Waits until writers may write, then counts as under way.
    async fn begin(&mut self) -> bool {
        if self.running.wait_for(|running| *running).await.is_err() {
            return false;
        }
        self.shared.borrow_mut().in_flight += 1;
        true
    }

    /// Done, with or without success.
    async fn end(&mut self, pause: Duration, done: bool) {
        self.shared.borrow_mut().in_flight -= 1;
        if !done {
            self.at = self.rng.below(self.clients.len() as u64) as usize;
            tokio::time::sleep(REST).await;
        } else if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Puts 1, 2, 3, … under its own key; now and then it reads what is there.
    async fn own(mut self, key: usize, pause: Duration) {
        let mut acked = 0;
        for n in 1.. {
            if !self.begin().await {
                return;
            }
            if n % 16 == 0 {
                self.read(key, n, acked).await;
            }
            let put = pb::PutRequest { key: key_name(key).into(), value: value_of(n), ..Default::default() };
            let began = self.now();
            let outcome = ask(self.clients[self.at].put(put)).await;
            let ended = self.now();
            let done = outcome.is_ok();
            {
                let mut shared = self.shared.borrow_mut();
                if let Ok(reply) = outcome {
                    let revision = reply.header.map_or(0, |h| h.revision);
                    if revision <= acked {
                        shared.complain(format!("key {key}: {n} at revision {revision}, after {acked}"));
                    }
                    acked = revision;
                    if let Err(wrong) = shared.ledger.acked(key, n, revision, began, ended) {
                        shared.complain(wrong);
                    }
                    shared.ack();
                } else {
                    shared.ledger.unknown(key, n);
                    shared.unknowns += 1;
                }
            }
            self.end(pause, done).await;
        }
    }

    /// A linearizable read through any endpoint sees at least what was acknowledged before.
    async fn read(&mut self, key: usize, next: u64, acked: i64) {
        let at = self.rng.below(self.clients.len() as u64) as usize;
        let range = pb::RangeRequest { key: key_name(key).into(), ..Default::default() };
        let Ok(reply) = ask(self.clients[at].range(range)).await else { return };
        let seen = reply.kvs.first().map_or(0, |kv| kv.mod_revision);
        let value = reply.kvs.first().and_then(|kv| parse(&kv.key, &kv.value)).map_or(0, |(_, n)| n);
        if seen < acked || value >= next {
            let what = format!(
                "STALE: key {key} read {value} of revision {seen} while {acked} is acknowledged and {next} is next"
            );
            self.shared.borrow_mut().complain(what);
        }
    }

    /// Raises counters by compare-and-set.
    async fn raise(mut self, shape: Shape, pause: Duration) {
        loop {
            if !self.begin().await {
                return;
            }
            let key = shape.owners + self.rng.below(shape.counters as u64) as usize;
            let done = self.raise_once(key).await.is_ok();
            self.end(pause, done).await;
        }
    }

    async fn raise_once(&mut self, key: usize) -> Result<(), String> {
        let name = Bytes::from(key_name(key));
        let range = pb::RangeRequest { key: name.clone(), ..Default::default() };
        let found = ask(self.clients[self.at].range(range)).await?;
        let (revision, n) = match found.kvs.first() {
            Some(kv) => (kv.mod_revision, parse(&kv.key, &kv.value).map_or(0, |(_, n)| n) + 1),
            None => (0, 1),
        };
        let unchanged = pb::Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: name.clone(),
            target_union: Some(TargetUnion::ModRevision(revision)),
            ..Default::default()
        };
        let put = pb::PutRequest { key: name, value: value_of(n), ..Default::default() };
        let txn = pb::TxnRequest {
            compare: vec![unchanged],
            success: vec![pb::RequestOp { request: Some(Request::RequestPut(put)) }],
            failure: vec![],
        };
        let began = self.now();
        let outcome = ask(self.clients[self.at].txn(txn)).await;
        let ended = self.now();
        let mut shared = self.shared.borrow_mut();
        match outcome {
            Ok(reply) if reply.succeeded => {
                let revision = reply.header.map_or(0, |h| h.revision);
                if let Err(wrong) = shared.ledger.acked(key, n, revision, began, ended) {
                    shared.complain(wrong);
                }
                shared.ack();
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(why) => {
                shared.ledger.unknown(key, n);
                shared.unknowns += 1;
                Err(why)
            }
        }
    }
}
