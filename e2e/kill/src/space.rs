//! A large space in little memory: nodes whose memory has a bound, page cache included, take a space many times as large,
//! serve puts, gets and a list of all of it, start as soon as they did when it was small, and delete it all by one request.

use crate::client::{client, said};
use crate::pace::{anonymous_mib, busy, words};
use bytes::Bytes;
use e2e_cluster::{Cluster, MemoryLimit, Target};
use quorate_base::Rng;
use quorate_proto::etcdserverpb as pb;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long nodes are waited for.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long one request may be tried.
const TRY: Duration = Duration::from_secs(60);
const VALUE: usize = 1024;
/// Keys of one transaction of the loading.
const BATCH: u64 = 100;
/// Bytes of the space that counts as small.
const SMALL: u64 = 10 << 20;
/// Starts of each size.
const STARTS: usize = 3;
/// Puts and gets that are measured, and how many at a time.
const REQUESTS: u64 = 20_000;
const CLIENTS: u64 = 32;
/// All keys are from here on, and before "space0".
const FIRST: &str = "space/";
/// Keys of one page of the list.
const PAGE: i64 = 1000;
/// A start that takes this much longer than one of a small space counts as the same: the machine is never quiet.
const SAME: Duration = Duration::from_secs(2);

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Nodes.
    pub nodes: usize,
    /// Size of the space, in MiB.
    pub mib: u64,
    /// Bound on a node's memory, in MiB.
    pub limit_mib: u64,
}

/// Loads, restarts, asks, and holds the result against what is promised.
pub async fn run(target: Target, data: &Path, shape: Shape) -> Result<(), String> {
    let limits: Vec<Option<MemoryLimit>> = (0..shape.nodes)
        .map(|at| match MemoryLimit::new(&format!("n{at}"), shape.limit_mib << 20) {
            Ok(limit) => Some(limit),
            Err(error) => {
                println!("space: memory has no bound here ({error}): only what nodes hold of their own is looked at");
                None
            }
        })
        .collect();
    let mut scene =
        Scene { cluster: Cluster::start(target, shape.nodes, data, None).map_err(said)?, limits, shape };
    scene.hold()?;
    scene.cluster.wait(PATIENCE).await.map_err(said)?;
    let small = SMALL / VALUE as u64;
    scene.load(0, small).await?;
    let before = scene.starts().await?;
    let keys = (shape.mib << 20) / VALUE as u64;
    let began = Instant::now();
    scene.load(small, keys).await?;
    println!(
        "space: {keys} keys of {VALUE} bytes, {} MiB, loaded in {:?}; {}",
        shape.mib,
        began.elapsed(),
        busy()
    );
    let after = scene.starts().await?;
    println!(
        "space: start to serving: {before:?} with {} MiB, {after:?} with {} MiB",
        SMALL >> 20,
        shape.mib
    );
    scene.requests("puts", keys, true).await?;
    scene.requests("gets", keys, false).await?;
    scene.list(keys).await?;
    scene.told()?;
    scene.delete(keys).await?;
    if after > before * 2 + SAME {
        return Err(format!("a start takes {after:?} with much in the space, and {before:?} with little"));
    }
    println!("space: ok: {} MiB in {} MiB of memory a node", shape.mib, shape.limit_mib);
    Ok(())
}

/// The nodes and their bounds, which must outlive them.
struct Scene {
    cluster: Cluster,
    limits: Vec<Option<MemoryLimit>>,
    shape: Shape,
}

impl Scene {
    /// Puts each node that runs under its bound.
    fn hold(&self) -> Result<(), String> {
        for (at, limit) in self.limits.iter().enumerate() {
            if let (Some(limit), Some(pid)) = (limit, self.cluster.pid(at)) {
                limit.hold(pid).map_err(said)?;
            }
        }
        Ok(())
    }

    /// A node that ended by itself is a failure; so is one that holds too much of its own.
    fn healthy(&mut self) -> Result<(), String> {
        let gone = self.cluster.reap().map_err(said)?;
        if let Some((at, how)) = gone.first() {
            let log = e2e_cluster::tail(&self.cluster.places()[*at].log(), 10);
            return Err(format!("node {} ended: {how}\n{log}", at + 1));
        }
        for at in 0..self.shape.nodes {
            let mib = self.cluster.pid(at).map_or(0, anonymous_mib);
            if mib > self.shape.limit_mib {
                return Err(format!("node {} holds {mib} MiB of its own", at + 1));
            }
        }
        Ok(())
    }

    /// Kills and starts all nodes a few times; the median of how long it takes until each serves.
    async fn starts(&mut self) -> Result<Duration, String> {
        let all: Vec<usize> = (0..self.shape.nodes).collect();
        let mut times = Vec::new();
        for _ in 0..STARTS {
            self.cluster.kill_all(&all).map_err(said)?;
            let began = Instant::now();
            for &at in &all {
                self.cluster.restart(at).await.map_err(said)?;
            }
            self.hold()?;
            self.cluster.wait(PATIENCE).await.map_err(said)?;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        println!("space: starts {times:?}; {}", busy());
        Ok(times[STARTS / 2])
    }

    /// Writes the keys `from..to`, watching the nodes meanwhile.
    async fn load(&mut self, from: u64, to: u64) -> Result<(), String> {
        let (next, urls) = (Rc::new(Cell::new(from)), self.cluster.urls());
        let mut tasks = Vec::new();
        for writer in 0..8 {
            let (next, mut client) = (Rc::clone(&next), client(&urls[writer % urls.len()])?);
            tasks.push(tokio::task::spawn_local(async move {
                while next.get() < to {
                    let (first, end) = (next.get(), to.min(next.get() + BATCH));
                    next.set(end);
                    let op =
                        |n| pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put(n, 0))) };
                    let txn =
                        pb::TxnRequest { success: (first..end).map(op).collect(), ..Default::default() };
                    // A node that has too much to do says so, and has done nothing.
                    while let Err(status) = client.txn(txn.clone()).await {
                        if status.code() != tonic::Code::ResourceExhausted {
                            return Err(format!("loading: {status}"));
                        }
                        sleep(Duration::from_millis(100)).await;
                    }
                }
                Ok::<(), String>(())
            }));
        }
        while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
            self.healthy()?;
            sleep(Duration::from_millis(500)).await;
        }
        for task in tasks {
            task.await.map_err(|e| e.to_string())??;
        }
        Ok(())
    }

    /// Asks for random keys of all, one request after the other by each client.
    async fn requests(&mut self, what: &str, keys: u64, puts: bool) -> Result<(), String> {
        let (urls, times) = (self.cluster.urls(), Rc::new(RefCell::new(Vec::new())));
        let mut tasks = Vec::new();
        let began = Instant::now();
        for n in 0..CLIENTS {
            let mut client = client(&urls[n as usize % urls.len()])?;
            let (mut rng, times) = (Rng::stream(n, what), Rc::clone(&times));
            tasks.push(tokio::task::spawn_local(async move {
                for round in 0..REQUESTS / CLIENTS {
                    let (key, began) = (rng.below(keys), Instant::now());
                    if puts {
                        client.put(put(key, round + 1)).await.map_err(|e| e.to_string())?;
                    } else {
                        let range = pb::RangeRequest { key: name(key), ..Default::default() };
                        let reply = client.range(range).await.map_err(|e| e.to_string())?.into_inner();
                        if reply.kvs.first().is_none_or(|kv| kv.value.len() != VALUE) {
                            return Err(format!("key {key} is not there"));
                        }
                    }
                    times.borrow_mut().push(began.elapsed().as_micros() as u64);
                }
                Ok::<(), String>(())
            }));
        }
        for task in tasks {
            task.await.map_err(|e| e.to_string())?.map_err(|e| format!("{what}: {e}"))?;
        }
        self.healthy()?;
        let rate = REQUESTS as f64 / began.elapsed().as_secs_f64();
        println!(
            "space: {REQUESTS} {what} of random keys, {rate:.0} a second: {}",
            words(&mut times.borrow_mut())
        );
        Ok(())
    }

    /// Reads all keys with their values, page by page, and asks for their number.
    async fn list(&mut self, keys: u64) -> Result<(), String> {
        let urls = self.cluster.urls();
        let mut client = client(urls.last().ok_or("no node")?)?;
        let (began, mut from, mut found, mut revision) = (Instant::now(), Bytes::from(FIRST), 0, 0);
        loop {
            let range = pb::RangeRequest {
                key: from,
                range_end: "space0".into(),
                limit: PAGE,
                revision,
                ..Default::default()
            };
            let asked = tokio::time::timeout(TRY, client.range(range)).await;
            let reply =
                asked.map_err(|_| "a page takes too long")?.map_err(|e| format!("list: {e}"))?.into_inner();
            revision = reply.header.map_or(0, |h| h.revision).max(revision);
            found += reply.kvs.len() as u64;
            match reply.kvs.last() {
                Some(kv) if reply.more => from = [&kv.key, &b"\0"[..]].concat().into(),
                _ => break,
            }
        }
        self.healthy()?;
        let took = began.elapsed();
        let began = Instant::now();
        let count = self.count().await.ok_or("nobody counts")?;
        println!("space: a list of {found} keys by {PAGE} in {took:?}; their count in {:?}", began.elapsed());
        if (found, count) == (keys, keys) {
            Ok(())
        } else {
            Err(format!("{keys} keys were written, {found} are listed, {count} are counted"))
        }
    }

    /// Deletes all keys by one request; ends all nodes behind that, who then may have it to do once more.
    async fn delete(&mut self, keys: u64) -> Result<(), String> {
        let urls = self.cluster.urls();
        let mut client = client(urls.last().ok_or("no node")?)?;
        let began = Instant::now();
        let all =
            pb::DeleteRangeRequest { key: FIRST.into(), range_end: "space0".into(), ..Default::default() };
        let answer = tokio::task::spawn_local(async move { client.delete_range(all).await });
        let mut slept = Duration::ZERO;
        while self.count().await.is_none_or(|left| left > 0) {
            self.healthy()?;
            sleep(Duration::from_millis(500)).await;
            slept += Duration::from_millis(500);
            if slept > PATIENCE {
                return Err("not all is deleted after minutes".into());
            }
        }
        let took = began.elapsed();
        match answer.await.map_err(|e| e.to_string())? {
            Ok(reply) if reply.get_ref().deleted as u64 == keys => {}
            Ok(reply) => return Err(format!("{} of {keys} keys were deleted", reply.get_ref().deleted)),
            // It takes longer than a request may: what it did is seen by the count.
            Err(status) if status.code() == tonic::Code::Unavailable => {}
            Err(status) => return Err(format!("delete: {status}")),
        }
        self.told()?;
        let start = self.starts().await?;
        let left = self.count().await;
        println!("space: {keys} keys deleted by one request in {took:?}; a start behind that {start:?}");
        if left == Some(0) { Ok(()) } else { Err(format!("{left:?} keys are left behind a start")) }
    }

    /// How many keys there are, if a node answers.
    async fn count(&self) -> Option<u64> {
        let range = pb::RangeRequest {
            key: FIRST.into(),
            range_end: "space0".into(),
            count_only: true,
            ..Default::default()
        };
        let mut client = client(self.cluster.urls().first()?).ok()?;
        Some(client.range(range).await.ok()?.into_inner().count as u64)
    }

    /// Says what the nodes held.
    fn told(&mut self) -> Result<(), String> {
        self.healthy()?;
        for at in 0..self.shape.nodes {
            let own = self.cluster.pid(at).map_or(0, anonymous_mib);
            let (most, met) = self.limits[at].as_ref().map_or((None, None), MemoryLimit::most);
            let most = most.map_or("?".into(), |bytes| (bytes >> 20).to_string());
            let met = met.map_or("?".into(), |n| n.to_string());
            println!(
                "space: node {}: {own} MiB of its own; with the page cache at most {most} MiB, at its bound {met} times",
                at + 1
            );
        }
        Ok(())
    }
}

fn name(n: u64) -> Bytes {
    // Scattered, so that a load in order is not one in the order of the keys.
    format!("{FIRST}{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into()
}

fn put(n: u64, round: u64) -> pb::PutRequest {
    // Values that do not compress to nothing.
    let mut rng = Rng::new(n ^ round << 40);
    let mut value = Vec::with_capacity(VALUE);
    while value.len() < VALUE {
        value.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    pb::PutRequest { key: name(n), value: value.into(), ..Default::default() }
}
