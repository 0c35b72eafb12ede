//! How long writes stop when the leader is killed, or frozen with its connections open; and whether a leader stays under
//! full load when nothing is wrong.

use crate::load::{Load, Shape};
use e2e_cluster::{Cluster, Target};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long writes may stop before that is called an end and not a gap.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is done to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Freeze,
}

/// Measures `times` fail-overs of each kind.
pub async fn run(target: Target, data: &Path, times: u64, seed: u64) -> Result<(), String> {
    let (mut cluster, load) = begin(target, data, seed).await?;
    for fault in [Fault::Kill, Fault::Freeze] {
        let mut gaps = Vec::new();
        for _ in 0..times {
            gaps.push(once(&mut cluster, &load, fault).await?);
        }
        gaps.sort_unstable();
        let all: Vec<u128> = gaps.iter().map(Duration::as_millis).collect();
        println!(
            "failover: {fault:?}: write gap of {times}: median {} ms, worst {} ms; all {all:?}",
            all[all.len() / 2],
            all[all.len() - 1],
        );
    }
    Ok(())
}

/// A serving cluster under load.
async fn begin(target: Target, data: &Path, seed: u64) -> Result<(Cluster, Load), String> {
    let cluster = Cluster::serving(target, 3, data, PATIENCE).await.map_err(|e| e.to_string())?;
    let shape = Shape { owners: 64, counters: 0, raisers: 0, pause: Duration::from_millis(2) };
    let load = Load::start(cluster.urls(), shape, 1, seed).map_err(|e| e.to_string())?;
    load.until_acked(PATIENCE).await?;
    sleep(Duration::from_secs(1)).await;
    Ok((cluster, load))
}

/// The node that leads.
async fn leader(cluster: &Cluster) -> Result<usize, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match cluster.leader().await {
            Some(leader) => return Ok(leader),
            None if Instant::now() > end => return Err("nobody leads".into()),
            None => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One fail-over; gives the longest time between two acknowledged writes, whoever wrote them.
async fn once(cluster: &mut Cluster, load: &Load, fault: Fault) -> Result<Duration, String> {
    let broken = |e: std::io::Error| e.to_string();
    let at = leader(cluster).await?;
    load.shared.borrow_mut().reset_gap();
    match fault {
        Fault::Kill => cluster.kill(at).map_err(broken)?,
        Fault::Freeze => cluster.freeze(at).map_err(broken)?,
    }
    let began = Instant::now();
    // The gap may begin a little later than the fault, where answers were on their way.
    loop {
        load.until_acked(PATIENCE).await?;
        if began.elapsed() > Duration::from_secs(4) {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let gap = load.shared.borrow().gap;
    match fault {
        Fault::Kill => cluster.restart(at).await.map_err(broken)?,
        Fault::Freeze => cluster.thaw(at).map_err(broken)?,
    }
    cluster.wait(PATIENCE).await.map_err(broken)?;
    sleep(Duration::from_secs(1)).await;
    Ok(gap)
}

/// Holds a leader for `time` under full load of all processors, with writers beside.
pub async fn steady(target: Target, data: &Path, time: Duration, seed: u64) -> Result<(), String> {
    let (cluster, load) = begin(target, data, seed).await?;
    let at = leader(&cluster).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let burners = std::thread::available_parallelism().map_or(2, usize::from);
    for _ in 0..burners {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || while !stop.load(Ordering::Relaxed) {});
    }
    load.shared.borrow_mut().reset_gap();
    let end = Instant::now() + time;
    let mut outcome = Ok(());
    while Instant::now() < end && outcome.is_ok() {
        sleep(Duration::from_millis(200)).await;
        // A node that was too slow to answer is asked again; one that names another leader ends it.
        if let Some(other) = cluster.leader().await.filter(|other| *other != at) {
            outcome = Err(format!("node {} led, now node {} does", at + 1, other + 1));
        }
    }
    stop.store(true, Ordering::Relaxed);
    outcome?;
    let shared = load.shared.borrow();
    println!(
        "steady: node {} led for {time:?} beside {burners} busy threads; {} writes, longest gap {:?}",
        at + 1,
        shared.acks,
        shared.gap
    );
    Ok(())
}
