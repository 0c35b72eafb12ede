//! Rounds of `kill -9` under load. Each kills one node, two, or all at once, restarts them after a while (some are killed
//! again while they start), waits until writes succeed, and then checks everything that happened since the round before.

use crate::check::{self, Event};
use crate::follow::{Follower, history};
use crate::load::{Load, PREFIX, Shape, parse};
use e2e_cluster::{Cluster, PowerCut, Target, tail};
use quorate_base::Rng;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How long a cluster may take to serve again once its nodes run.
const RECOVERY: Duration = Duration::from_secs(60);
/// How long a watch may lag behind once writes rest.
const CATCH_UP: Duration = Duration::from_secs(60);

/// What happened in all rounds.
#[derive(Default, Debug)]
struct Tally {
    one: u64,
    two: u64,
    all: u64,
    leaders: u64,
    again: u64,
}

/// Runs the rounds.
pub async fn run(
    target: Target,
    data: &Path,
    rounds: u64,
    seed: u64,
    power_cut: Option<PowerCut>,
) -> Result<(), String> {
    let mut cluster = Cluster::start(target, 3, data, power_cut).map_err(|e| e.to_string())?;
    cluster.wait(Duration::from_secs(60)).await.map_err(|e| e.to_string())?;
    let urls = cluster.urls();
    let first = revision(&urls[0]).await?;
    let shape = Shape { owners: 56, counters: 4, raisers: 8, pause: Duration::from_millis(2) };
    let load = Load::start(urls.clone(), shape, first, seed).map_err(|e| e.to_string())?;
    let followers: Vec<Follower> = urls.iter().map(|url| Follower::start(url, first + 1)).collect();
    let mut rng = Rng::stream(seed, "faults");
    let mut tally = Tally::default();
    for round in 1..=rounds {
        let killed = faults(&mut cluster, &mut rng, &mut tally).await?;
        cluster.wait(RECOVERY).await.map_err(|e| format!("round {round}: {e}"))?;
        let back = load.until_acked(RECOVERY).await.map_err(|e| format!("round {round}: {e}"))?;
        let events =
            verify(&load, &followers, &urls, &mut rng).await.map_err(|e| format!("round {round}: {e}"))?;
        let shared = load.shared.borrow();
        println!(
            "round {round}: killed {killed}; {events} events checked, {} acknowledged and {} in doubt so far, \
             next write after {back:?}",
            shared.acks, shared.unknowns
        );
    }
    let (last, digest) = {
        let shared = load.shared.borrow();
        (shared.ledger.revision, shared.ledger.digest)
    };
    whole(&load, &urls, first, last, digest).await?;
    let resumed: u64 = followers.iter().map(Follower::resumed).sum();
    let shared = load.shared.borrow();
    println!(
        "kill: {rounds} rounds: {tally:?}; {} writes acknowledged, each there once; {} in doubt, {} of them there; \
         {resumed} watches resumed, none lost or doubled an event",
        shared.acks, shared.unknowns, shared.ledger.late
    );
    let lost = cluster.lost();
    if let Some(lost) = lost {
        println!("kill: {lost:?}");
    }
    if shared.acks == 0
        || lost.is_some_and(|lost| lost.writes == 0 || lost.torn == 0 || lost.names == 0)
        || (rounds >= 20 && (tally.one == 0 || tally.two == 0 || tally.all == 0 || tally.leaders == 0))
    {
        return Err("a fault never fired, so nothing was shown".into());
    }
    Ok(())
}

/// Kills some nodes, waits, and starts them again; says whom.
async fn faults(cluster: &mut Cluster, rng: &mut Rng, tally: &mut Tally) -> Result<String, String> {
    let broken = |e: std::io::Error| e.to_string();
    sleep_ms(rng.between(150, 600)).await;
    let leader = cluster.leader().await;
    let mut order = [0, 1, 2];
    for at in (1..order.len()).rev() {
        order.swap(at, rng.below(at as u64 + 1) as usize);
    }
    let count = match rng.below(10) {
        0..6 => 1,
        6..8 => 2,
        _ => 3,
    };
    // Half of the single kills are the leader's, who has the most to lose.
    if count == 1 && rng.chance(1, 2) {
        order[0] = leader.unwrap_or(order[0]);
    }
    let chosen = &order[..count];
    own_ends(cluster)?;
    cluster.kill_all(chosen).map_err(broken)?;
    *[&mut tally.one, &mut tally.two, &mut tally.all][count - 1] += 1;
    let led = leader.is_some_and(|leader| chosen.contains(&leader));
    tally.leaders += u64::from(led);
    sleep_ms(rng.between(0, 1200)).await;
    for &at in chosen {
        cluster.restart(at).await.map_err(broken)?;
    }
    let mut said = format!("{:?}", chosen.iter().map(|at| at + 1).collect::<Vec<_>>());
    if led {
        said.push_str(" with the leader");
    }
    if rng.chance(1, 5) {
        sleep_ms(rng.between(5, 300)).await;
        cluster.kill(chosen[0]).map_err(broken)?;
        sleep_ms(rng.between(0, 300)).await;
        cluster.restart(chosen[0]).await.map_err(broken)?;
        tally.again += 1;
        said.push_str(" and again while it started");
    }
    Ok(said)
}

/// A node that ended by itself is a failure.
fn own_ends(cluster: &mut Cluster) -> Result<(), String> {
    let gone = cluster.reap().map_err(|e| e.to_string())?;
    match gone.first() {
        Some((at, status)) => {
            let log = tail(&cluster.places()[*at].log(), 20);
            Err(format!("node {} ended by itself: {status}\n{log}", at + 1))
        }
        None => Ok(()),
    }
}

async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// The store's revision, by a linearizable read.
async fn revision(url: &str) -> Result<i64, String> {
    let mut client = KvClient::new(e2e_cluster::connect(url).map_err(|e| e.to_string())?);
    let end = Instant::now() + RECOVERY;
    loop {
        let range = pb::RangeRequest { key: PREFIX.into(), ..Default::default() };
        match tokio::time::timeout(Duration::from_secs(2), client.range(range)).await {
            Ok(Ok(reply)) => return Ok(reply.into_inner().header.map_or(0, |h| h.revision)),
            other if Instant::now() > end => return Err(format!("{url} answers no read: {other:?}")),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Stops the writers, checks all since the last time, and lets them go on. Gives the number of events.
async fn verify(
    load: &Load,
    followers: &[Follower],
    urls: &[String],
    rng: &mut Rng,
) -> Result<usize, String> {
    load.pause().await;
    let from = rng.below(urls.len() as u64) as usize;
    let last = revision(&urls[from]).await?;
    let first = load.shared.borrow().ledger.revision + 1;
    let events = history(&urls[from], first, last, CATCH_UP).await?;
    {
        let mut shared = load.shared.borrow_mut();
        shared.ledger.window(&events)?;
        if let Some(wrong) = shared.wrong.take() {
            return Err(wrong);
        }
    }
    for follower in followers {
        follower.agrees(&events, CATCH_UP).await?;
    }
    load.resume();
    Ok(events.len())
}

/// At the end: the whole history once more over each endpoint, and what each key holds.
async fn whole(load: &Load, urls: &[String], first: i64, last: i64, expected: u64) -> Result<(), String> {
    load.pause().await;
    for url in urls {
        let patience = CATCH_UP + Duration::from_micros((last - first) as u64 * 100);
        let events = history(url, first + 1, last, patience).await?;
        let found = events.iter().fold(check::digest_start(), check::digest);
        if found != expected {
            return Err(format!("{url}: the whole history is another than what was checked"));
        }
        holds(load, url, last).await?;
    }
    Ok(())
}

/// Each key holds its last event.
async fn holds(load: &Load, url: &str, last: i64) -> Result<(), String> {
    let mut client = KvClient::new(e2e_cluster::connect(url).map_err(|e| e.to_string())?)
        .max_decoding_message_size(1 << 30);
    let range = pb::RangeRequest {
        key: PREFIX.into(),
        range_end: "kill0".into(),
        revision: last,
        ..Default::default()
    };
    let reply = client.range(range).await.map_err(|e| e.to_string())?.into_inner();
    let mut found: Vec<Option<Event>> = vec![None; load.shape.owners + load.shape.counters];
    for kv in &reply.kvs {
        let (key, value) = parse(&kv.key, &kv.value).ok_or("a key that nobody wrote")?;
        found[key] = Some(Event { revision: kv.mod_revision, key, value, version: kv.version });
    }
    let shared = load.shared.borrow();
    match shared.ledger.last().zip(&found).find(|(expected, found)| expected != *found) {
        Some((expected, found)) => Err(format!("{url}: {found:?} in place of {expected:?}")),
        None => Ok(()),
    }
}
