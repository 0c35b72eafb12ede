//! What a compaction costs the writes beside it: puts at a constant rate, in turns while nothing else happens and while a long
//! history is compacted, whose physical end is waited for.

use crate::client::{client, said};
use crate::pace::{Pace, Sample, busy, quantile, words};
use e2e_cluster::{Cluster, Target};
use quorate_proto::etcdserverpb as pb;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(120);
const VALUE: usize = 256;
/// Keys that the history is of.
const KEYS: u64 = 20_000;
/// The least that a window is measured for.
const WINDOW: Duration = Duration::from_secs(10);
/// So many pairs of windows.
const PAIRS: usize = 5;
/// How much more the 99th of 100 puts may take beside a compaction.
const PROMISED: f64 = 2.0;

/// Measures at `rate` puts a second, with `history` versions that each compaction takes away.
pub async fn run(target: Target, data: &Path, rate: u64, history: u64) -> Result<(), String> {
    let cluster = Cluster::serving(target, 3, data, PATIENCE).await.map_err(said)?;
    let urls = cluster.urls();
    let began = Instant::now();
    let mut ratios = Vec::new();
    for pair in 0..PAIRS {
        fill(&urls, history).await?;
        sleep(Duration::from_secs(2)).await;
        let pace = Pace::start(&urls, rate, VALUE, began, |n| key(n % KEYS))?;
        // The first puts meet cold connections.
        sleep(Duration::from_secs(2)).await;
        let (first, load) = (pace.now(), busy());
        sleep(WINDOW).await;
        let second = pace.now();
        let took = compact(&urls[0]).await?;
        sleep(WINDOW.saturating_sub(took)).await;
        let third = pace.now();
        let samples = pace.stop().await?;
        let (mut without, mut with) = (window(&samples, first, second), window(&samples, second, third));
        println!("compaction: pair {}: without: {}; {load}", pair + 1, words(&mut without));
        println!("compaction: pair {}: with: {}; it took {took:?}; {}", pair + 1, words(&mut with), busy());
        ratios.push(quantile(&mut with, 990) as f64 / quantile(&mut without, 990).max(1) as f64);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
    let said = format!("p99 with / without: median {median:.2} of {PAIRS} pairs ({least:.2} to {most:.2})");
    if median > PROMISED {
        return Err(format!("{said}, promised is {PROMISED}"));
    }
    println!("compaction: ok: {said}, promised is {PROMISED}");
    Ok(())
}

/// How long those puts took that were due in this stretch of time.
fn window(samples: &[Sample], from: u64, to: u64) -> Vec<u64> {
    samples.iter().filter(|sample| (from..to).contains(&sample.due)).map(|sample| sample.took).collect()
}

fn key(n: u64) -> bytes::Bytes {
    format!("compacted/{n:08}").into()
}

/// Writes `versions` more versions, by transactions.
async fn fill(urls: &[String], versions: u64) -> Result<(), String> {
    const BATCH: u64 = 100;
    let mut tasks = Vec::new();
    for writer in 0..4_u64 {
        let mut client = client(&urls[writer as usize % urls.len()])?;
        tasks.push(tokio::task::spawn_local(async move {
            let mut at = writer * BATCH;
            while at < versions {
                let put = |n: u64| {
                    let value = vec![b'.'; VALUE].into();
                    let put = pb::PutRequest { key: key(n % KEYS), value, ..Default::default() };
                    pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
                };
                let success = (at..at + BATCH).map(put).collect();
                client
                    .txn(pb::TxnRequest { success, ..Default::default() })
                    .await
                    .map_err(|e| e.to_string())?;
                at += 4 * BATCH;
            }
            Ok::<(), String>(())
        }));
    }
    for task in tasks {
        task.await.map_err(|e| e.to_string())??;
    }
    Ok(())
}

/// Compacts all history, waits until it is gone from the disk, and says how long that took.
async fn compact(url: &str) -> Result<Duration, String> {
    let mut client = client(url)?;
    let began = Instant::now();
    let reply = client.range(pb::RangeRequest { key: "compacted/".into(), ..Default::default() }).await;
    let revision = reply.map_err(|e| e.to_string())?.into_inner().header.map_or(0, |h| h.revision);
    let request = pb::CompactionRequest { revision, physical: true };
    client.compact(request).await.map_err(|e| format!("compaction: {e}"))?;
    Ok(began.elapsed())
}
