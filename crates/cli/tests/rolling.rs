//! A rolling restart under load.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{Up, eventually, output, pid, send};
use quorate_proto::etcdserverpb as pb;
use rustix::process::Signal;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a write is tried, at one node after the other.
const TRIES: usize = 100;

/// What a writer has seen.
struct Seen {
    /// The number of the last write that was acknowledged.
    acknowledged: u64,
    retries: u64,
    /// How many of those a node that stops had refused; from the others no word came.
    refused: u64,
    /// The longest time between two acknowledgements.
    gap: Duration,
}

/// Writes ascending numbers to `key` until it is told to stop; fails where a write fails at every try.
fn write(urls: &[String], key: &str, at: usize, stop: &AtomicBool, done: &AtomicU64) -> Result<Seen, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut seen = Seen { acknowledged: 0, retries: 0, refused: 0, gap: Duration::ZERO };
    runtime.block_on(async {
        let connect = |url: &String| {
            let endpoint = tonic::transport::Endpoint::from_shared(url.clone()).unwrap();
            pb::kv_client::KvClient::new(endpoint.connect_lazy())
        };
        let mut clients: Vec<_> = urls.iter().map(connect).collect();
        let (mut at, mut last) = (at, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            let value = seen.acknowledged + 1;
            for attempt in 0.. {
                let request = pb::PutRequest {
                    key: key.to_string().into(),
                    value: value.to_string().into(),
                    ..Default::default()
                };
                match clients[at].put(request).await {
                    Ok(_) => break,
                    Err(status) if attempt == TRIES => return Err(format!("{key} = {value}: {status}")),
                    Err(status) => {
                        seen.refused += u64::from(status.message().contains("server stopped"));
                        (at, seen.retries) = ((at + 1) % urls.len(), seen.retries + 1);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
            seen.acknowledged = value;
            seen.gap = seen.gap.max(last.elapsed());
            last = Instant::now();
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(seen)
    })
}

fn leader(url: &str) -> u64 {
    let (_, said, _) = output(&["status", "--json", "--endpoints", url]);
    serde_json::from_str::<Value>(&said).map_or(0, |report| report["leader"].as_u64().unwrap_or(0))
}

/// Claim: while all nodes are restarted one after the other, the leader among them twice, no write fails that is tried again,
/// and none that was acknowledged is lost. A client of a node that stops hears that it should go elsewhere (GOAWAY) while the node
/// still serves: nothing that it sends is refused.
#[test]
fn a_rolling_restart_fails_no_write() {
    let up = Up::start(&["--ephemeral", "--restart"]);
    let ready = up.ready();
    let nodes = ready["nodes"].as_array().unwrap().clone();
    let urls: Vec<String> = nodes.iter().map(|n| n["etcd"].as_str().unwrap().to_string()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let done: Vec<Arc<AtomicU64>> = (0..4).map(|_| Arc::default()).collect();
    let writers: Vec<_> = done
        .iter()
        .enumerate()
        .map(|(n, done)| {
            let (urls, stop, done) = (urls.clone(), stop.clone(), done.clone());
            std::thread::spawn(move || write(&urls, &format!("k{n}"), n % 3, &stop, &done))
        })
        .collect();
    let mut pids: Vec<i64> = nodes.iter().map(pid).collect();
    for round in 0..4 {
        let at = if round == 0 { leader(&urls[0]) as usize - 1 } else { round - 1 };
        send(pids[at], Signal::TERM);
        loop {
            let line = up.line();
            if line["event"] == "exited" {
                assert_eq!(line["status"], "exit code 0", "{line}");
            } else if line["event"] == "started" {
                pids[at] = pid(&line);
                break;
            }
        }
        let before: Vec<u64> = done.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        eventually("all write, and the node serves", || {
            let on = done.iter().zip(&before).all(|(now, before)| now.load(Ordering::Relaxed) > *before);
            on && output(&["status", "--endpoints", &urls[at]]).0 == 0
        });
    }
    stop.store(true, Ordering::Relaxed);
    for (n, writer) in writers.into_iter().enumerate() {
        let seen = writer.join().unwrap().unwrap();
        println!("k{n}: {} writes, {} retries, longest gap {:?}", seen.acknowledged, seen.retries, seen.gap);
        assert_eq!(seen.refused, 0);
        let (_, said, _) = output(&["kv", "get", &format!("k{n}"), "--json", "--endpoints", &urls[n % 3]]);
        assert!(said.contains(&format!("\"value\":\"{}\"", seen.acknowledged)), "{said}");
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}
