//! Many keys: how long a cluster with a million of them takes to serve again, and whether a follower that was away for a
//! million writes comes back while writes go on, in bounded memory.

use crate::client::{client, said};
use bytes::Bytes;
use e2e_cluster::{Cluster, Target};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::request_op::Request;
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const PREFIX: &str = "bulk/";
/// So many writers at once.
const WRITERS: u64 = 128;
/// Keys that one transaction of the loading writes; etcd takes no more operations.
const BATCH: u64 = 128;
const VALUE: usize = 128;
/// How long a node may take to serve, or to come up with the others.
const PATIENCE: Duration = Duration::from_secs(300);
/// What a node may hold in memory of its own, in MiB: tables, caches and buffers are bounded, whatever is stored and however
/// much a follower missed. (Measured on two cores: 190 after a million missed writes, 240 after three; when what a snapshot
/// brought stayed in memory until its end, it was 669 after a million.)
const MEMORY_MIB: u64 = 512;
const STARTS: usize = 5;

/// Loads `keys` keys, then stops and starts all nodes, several times, and measures how long until each serves.
pub async fn startup(target: Target, data: &Path, keys: u64) -> Result<(), String> {
    let mut cluster = serving(target, data).await?;
    let began = Instant::now();
    load(&cluster.urls(), keys).await?;
    println!("startup: {keys} keys of {VALUE} bytes loaded in {:?}", began.elapsed());
    let mut times = Vec::new();
    for _ in 0..STARTS {
        cluster.kill_all(&[0, 1, 2]).map_err(said)?;
        let began = Instant::now();
        for at in 0..3 {
            cluster.restart(at).await.map_err(said)?;
        }
        cluster.wait(PATIENCE).await.map_err(said)?;
        times.push(began.elapsed().as_millis());
        for url in cluster.urls() {
            let count = count(&url, false).await?;
            if count != keys as i64 {
                return Err(format!("{url} has {count} keys, not {keys}"));
            }
        }
    }
    times.sort_unstable();
    println!(
        "startup: from start to serving on all nodes: median {} ms, all {times:?} ms",
        times[STARTS / 2]
    );
    Ok(())
}

/// Takes a follower away for `writes` writes, and sees it come back while writes go on.
pub async fn away(target: Target, data: &Path, writes: u64) -> Result<(), String> {
    // Other systems promise something else.
    let bound = if matches!(target, Target::Quorate(_)) { MEMORY_MIB } else { u64::MAX };
    let mut cluster = serving(target, data).await?;
    let urls = cluster.urls();
    let leader = cluster.leader().await.ok_or("nobody leads")?;
    let away = (leader + 1) % urls.len();
    let others: Vec<String> = (0..urls.len()).filter(|at| *at != away).map(|at| urls[at].clone()).collect();
    cluster.kill(away).map_err(said)?;
    let traffic = Traffic::start(&others)?;
    let mut peak = [0; 3];
    let began = Instant::now();
    while traffic.done.get() < writes {
        watch_memory(&cluster, &mut peak, bound)?;
        traffic.healthy()?;
        sleep(Duration::from_millis(100)).await;
    }
    println!("away: {writes} writes in {:?} while node {} was away", began.elapsed(), away + 1);

    let (target_revision, before) = (revision(&urls[leader]).await?, traffic.done.get());
    let began = Instant::now();
    cluster.restart(away).await.map_err(said)?;
    while local_revision(&urls[away]).await.unwrap_or(0) < target_revision {
        watch_memory(&cluster, &mut peak, bound)?;
        traffic.healthy()?;
        if began.elapsed() > PATIENCE {
            return Err(format!("node {} has not caught up after {PATIENCE:?}", away + 1));
        }
        sleep(Duration::from_millis(50)).await;
    }
    let (took, meanwhile) = (began.elapsed(), traffic.done.get() - before);
    traffic.stop().await?;
    same_everywhere(&urls).await?;
    watch_memory(&cluster, &mut peak, bound)?;
    println!(
        "away: node {} had caught up after {took:?}, with {meanwhile} writes meanwhile; most memory of the nodes {peak:?} \
         MiB (RssAnon)",
        away + 1
    );
    if meanwhile == 0 {
        return Err("no write went through meanwhile".into());
    }
    Ok(())
}

async fn serving(target: Target, data: &Path) -> Result<Cluster, String> {
    Cluster::serving(target, 3, data, PATIENCE).await.map_err(said)
}

/// Puts keys `0..keys` by transactions, over all endpoints.
async fn load(urls: &[String], keys: u64) -> Result<(), String> {
    let next = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    for writer in 0..8 {
        let (next, mut client) = (Rc::clone(&next), client(&urls[writer % urls.len()])?);
        tasks.push(tokio::task::spawn_local(async move {
            loop {
                let from = next.get();
                if from >= keys {
                    return Ok::<(), String>(());
                }
                next.set(keys.min(from + BATCH));
                let success = (from..keys.min(from + BATCH))
                    .map(|n| pb::RequestOp { request: Some(Request::RequestPut(put(n, n))) })
                    .collect();
                let txn = pb::TxnRequest { success, ..Default::default() };
                client.txn(txn).await.map_err(|e| e.to_string())?;
            }
        }));
    }
    for task in tasks {
        task.await.map_err(|e| e.to_string())??;
    }
    Ok(())
}

/// Writers that put one key a request, until they are told to stop.
struct Traffic {
    done: Rc<Cell<u64>>,
    running: Rc<Cell<bool>>,
    wrong: Rc<Cell<Option<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    fn start(urls: &[String]) -> Result<Self, String> {
        let mut traffic = Self {
            done: Rc::default(),
            running: Rc::new(Cell::new(true)),
            wrong: Rc::default(),
            tasks: Vec::new(),
        };
        let clients = urls.iter().map(|url| client(url)).collect::<Result<Vec<_>, _>>()?;
        for writer in 0..WRITERS {
            let mut client = clients[writer as usize % clients.len()].clone();
            let (done, running) = (Rc::clone(&traffic.done), Rc::clone(&traffic.running));
            let wrong = Rc::clone(&traffic.wrong);
            traffic.tasks.push(tokio::task::spawn_local(async move {
                let mut n = writer;
                while running.get() {
                    if let Err(status) = client.put(put(n % 100_000, n)).await {
                        wrong.set(Some(status.to_string()));
                        return;
                    }
                    done.set(done.get() + 1);
                    n += WRITERS;
                }
            }));
        }
        Ok(traffic)
    }

    fn healthy(&self) -> Result<(), String> {
        self.wrong.take().map_or(Ok(()), |wrong| Err(format!("a write failed: {wrong}")))
    }

    async fn stop(self) -> Result<(), String> {
        self.running.set(false);
        for task in self.tasks {
            task.await.map_err(|e| e.to_string())?;
        }
        self.wrong.take().map_or(Ok(()), Err)
    }
}

/// All nodes hold the same keys with the same versions once they are equally far.
async fn same_everywhere(urls: &[String]) -> Result<(), String> {
    let last = revision(&urls[0]).await?;
    let mut all = Vec::new();
    for url in urls {
        let end = Instant::now() + PATIENCE;
        while local_revision(url).await.unwrap_or(0) < last {
            if Instant::now() > end {
                return Err(format!("{url} stays behind"));
            }
            sleep(Duration::from_millis(50)).await;
        }
        all.push(everything(url, last).await?);
    }
    match all.iter().position(|each| *each != all[0]) {
        Some(at) => Err(format!("{} and {} hold different things at revision {last}", urls[0], urls[at])),
        None => Ok(()),
    }
}

/// Key, revision and version of everything there at `revision`, as this node has it.
async fn everything(url: &str, revision: i64) -> Result<Vec<(Bytes, i64, i64, Bytes)>, String> {
    let mut client = client(url)?;
    let (mut found, mut from) = (Vec::new(), Bytes::from(PREFIX));
    loop {
        let range = pb::RangeRequest {
            key: from,
            range_end: "bulk0".into(),
            limit: 5_000,
            revision,
            serializable: true,
            ..Default::default()
        };
        let reply = client.range(range).await.map_err(|e| e.to_string())?.into_inner();
        found.extend(reply.kvs.into_iter().map(|kv| (kv.key, kv.mod_revision, kv.version, kv.value)));
        match found.last() {
            Some((last, ..)) if reply.more => from = [last, &b"\0"[..]].concat().into(),
            _ => return Ok(found),
        }
    }
}

fn put(key: u64, value: u64) -> pb::PutRequest {
    let mut text = format!("{value:016}").into_bytes();
    text.resize(VALUE, b'.');
    pb::PutRequest { key: format!("{PREFIX}{key:08}").into(), value: text.into(), ..Default::default() }
}

async fn revision(url: &str) -> Result<i64, String> {
    ask(url, pb::RangeRequest { key: PREFIX.into(), ..Default::default() })
        .await
        .map(|(revision, _)| revision)
}

/// How far the node is by itself.
async fn local_revision(url: &str) -> Result<i64, String> {
    let asked = pb::RangeRequest { key: PREFIX.into(), serializable: true, ..Default::default() };
    ask(url, asked).await.map(|(revision, _)| revision)
}

async fn count(url: &str, serializable: bool) -> Result<i64, String> {
    let asked = pb::RangeRequest {
        key: PREFIX.into(),
        range_end: "bulk0".into(),
        count_only: true,
        serializable,
        ..Default::default()
    };
    ask(url, asked).await.map(|(_, count)| count)
}

/// The revision and the count of a reply.
async fn ask(url: &str, range: pb::RangeRequest) -> Result<(i64, i64), String> {
    let mut client = client(url)?;
    let asked = timeout(Duration::from_secs(10), client.range(range));
    let reply = asked.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?.into_inner();
    Ok((reply.header.map_or(0, |h| h.revision), reply.count))
}

/// Reads what each node holds in memory of its own; more than `bound` MiB is an error.
fn watch_memory(cluster: &Cluster, peak: &mut [u64; 3], bound: u64) -> Result<(), String> {
    for (at, most) in peak.iter_mut().enumerate() {
        let Some(pid) = cluster.pid(at) else { continue };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib: u64 = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        *most = (*most).max(kib >> 10);
        if *most > bound {
            return Err(format!("node {} holds {most} MiB, more than {bound}", at + 1));
        }
    }
    Ok(())
}
