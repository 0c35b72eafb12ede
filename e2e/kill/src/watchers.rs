//! Many watchers of many puts, while one of them does not read: how long an event takes from when its put was due until a
//! watcher has it, and what the one that stood still finds when it reads on.

use crate::client::said;
use crate::pace::{Pace, anonymous_mib, busy, channel, due_of, quantile, words};
use bytes::Bytes;
use e2e_cluster::{Cluster, Target};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long nodes and events are waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many watchers share a connection.
const SHARED: usize = 20;
const VALUE: usize = 256;
/// What is promised of 99 of 100 events, in microseconds.
const PROMISED: u64 = 100_000;

/// How many, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Watchers.
    pub watchers: usize,
    /// Puts a second.
    pub rate: u64,
    /// Watchers of each key, so events of each put.
    pub fan_out: usize,
    /// How long.
    pub seconds: u64,
}

/// What the watchers have seen.
#[derive(Default)]
struct Seen {
    ready: Cell<usize>,
    latencies: RefCell<Vec<u64>>,
    wrong: RefCell<Option<String>>,
}

/// Measures, and holds the result against what is promised.
pub async fn run(target: Target, data: &Path, shape: Shape) -> Result<(), String> {
    let cluster = Cluster::serving(target, 3, data, PATIENCE).await.map_err(said)?;
    let urls = cluster.urls();
    let keys = (shape.watchers / shape.fan_out.max(1)).max(1);
    let (began, seen) = (Instant::now(), Rc::new(Seen::default()));
    let mut shared = None;
    for n in 0..shape.watchers {
        if n % SHARED == 0 {
            shared = Some(channel(&urls[n / SHARED % urls.len()])?);
        }
        let Some(channel) = shared.clone() else { continue };
        let (watch, seen) = (begin(channel, key(n % keys), Bytes::new()), Rc::clone(&seen));
        tokio::task::spawn_local(async move {
            if let Err(what) = follow(watch.await, &seen, began).await {
                seen.wrong.borrow_mut().get_or_insert(what);
            }
        });
    }
    // The one that does not read watches everything, on a connection of its own.
    let mut stalled = begin(channel(&urls[0])?, "watched/".into(), "watched0".into()).await?;
    let end = Instant::now() + PATIENCE;
    while seen.ready.get() < shape.watchers {
        healthy(&seen)?;
        if Instant::now() > end {
            return Err(format!(
                "{} of {} watches are there after {PATIENCE:?}",
                seen.ready.get(),
                shape.watchers
            ));
        }
        sleep(Duration::from_millis(20)).await;
    }
    let pace = Pace::start(&urls, shape.rate, VALUE, began, move |n| key(n as usize % keys))?;
    sleep(Duration::from_secs(shape.seconds)).await;
    let busy = busy();
    let puts = pace.stop().await?;
    let events = puts.len() * (shape.watchers / keys);
    let end = Instant::now() + PATIENCE;
    while seen.latencies.borrow().len() < events && Instant::now() < end {
        healthy(&seen)?;
        sleep(Duration::from_millis(20)).await;
    }
    healthy(&seen)?;
    let memory: Vec<u64> = (0..3).filter_map(|at| cluster.pid(at)).map(anonymous_mib).collect();
    let mut took: Vec<u64> = puts.iter().map(|sample| sample.took).collect();
    let mut latencies = seen.latencies.take();
    println!("watchers: {shape:?}; puts: {}; {busy}", words(&mut took));
    println!(
        "watchers: {} of {events} events: {}; memory of the nodes {memory:?} MiB (RssAnon)",
        latencies.len(),
        words(&mut latencies)
    );
    if latencies.len() != events {
        return Err("events are missing, or came twice".into());
    }
    drain(&mut stalled, puts.len()).await?;
    let p99 = quantile(&mut latencies, 990);
    if p99 >= PROMISED {
        return Err(format!("99 of 100 events came within {p99} us, promised are {PROMISED}"));
    }
    println!("watchers: ok: 99 of 100 events within {p99} us, promised are {PROMISED}");
    Ok(())
}

fn healthy(seen: &Seen) -> Result<(), String> {
    seen.wrong.take().map_or(Ok(()), Err)
}

fn key(n: usize) -> Bytes {
    format!("watched/{n:06}").into()
}

/// A stream with one watch that was created. Our half of it is kept open.
struct Watch {
    stream: tonic::Streaming<pb::WatchResponse>,
    _requests: tokio::sync::mpsc::Sender<pb::WatchRequest>,
}

async fn begin(channel: tonic::transport::Channel, key: Bytes, range_end: Bytes) -> Result<Watch, String> {
    let create = pb::WatchCreateRequest { key, range_end, ..Default::default() };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let _ = sender.send(request).await;
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut client = WatchClient::new(channel).max_decoding_message_size(1 << 30);
    let mut stream = client.watch(requests).await.map_err(|e| e.to_string())?.into_inner();
    match stream.message().await.map_err(|e| e.to_string())? {
        Some(reply) if reply.created && !reply.canceled => Ok(Watch { stream, _requests: sender }),
        other => Err(format!("no watch was created: {other:?}")),
    }
}

/// Reads events and writes down how long each took.
async fn follow(watch: Result<Watch, String>, seen: &Seen, began: Instant) -> Result<(), String> {
    let mut watch = watch?;
    seen.ready.set(seen.ready.get() + 1);
    loop {
        let reply = watch.stream.message().await.map_err(|e| format!("a watch ended: {e}"))?;
        let reply = reply.filter(|reply| !reply.canceled).ok_or("a watch ended")?;
        let now = began.elapsed().as_micros() as u64;
        for event in &reply.events {
            let due =
                event.kv.as_ref().and_then(|kv| due_of(&kv.value)).ok_or("an event that nobody caused")?;
            seen.latencies.borrow_mut().push(now.saturating_sub(due));
        }
    }
}

/// The one that did not read reads on, and finds every put once, in order.
async fn drain(stalled: &mut Watch, puts: usize) -> Result<(), String> {
    let (began, mut found, mut last) = (Instant::now(), 0, 0);
    while found < puts {
        let reply = timeout(PATIENCE, stalled.stream.message()).await;
        let reply = reply.map_err(|_| format!("the stalled watch found {found} of {puts} events"))?;
        let reply = reply.map_err(|e| e.to_string())?.filter(|reply| !reply.canceled);
        for event in reply.ok_or("the stalled watch was ended")?.events {
            let revision = event.kv.map_or(0, |kv| kv.mod_revision);
            if revision <= last {
                return Err(format!("the stalled watch was told of revision {revision} after {last}"));
            }
            (found, last) = (found + 1, revision);
        }
    }
    println!(
        "watchers: the one that stood still read all {found} events afterwards, in {:?}",
        began.elapsed()
    );
    Ok(())
}
