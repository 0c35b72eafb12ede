//! `e2e-difffuzz`: the same random requests to two clusters that speak etcd's version 3 interface, their replies, error
//! codes and texts and all that watches say compared. The first difference that no rule of `differences.md` allows ends
//! the run; it is shrunk to few requests and printed with the seed that finds it again.
//!
//! Left out: what an older etcd answers at random (the order of a lease's keys), membership, maintenance, streams under
//! overload, and anything about time but leases that run out.

mod allowed;
mod contest;
mod generate;
mod members;
mod metrics;
mod model;
mod op;
mod plant;
mod run;
mod shrink;
mod side;
mod upkeep;
mod watch;

use clap::Parser;
use e2e_cluster::{Cluster, Target};
use generate::Generator;
use plant::Plant;
use run::{Counts, Run};
use side::Side;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Args {
    /// Endpoints of side A, the reference
    #[arg(long, value_delimiter = ',', required_unless_present = "start_a")]
    a: Vec<String>,
    /// Endpoints of side B
    #[arg(long, value_delimiter = ',', required_unless_present = "start_b")]
    b: Vec<String>,
    /// Start side A: quorate, etcd or goetcd
    #[arg(long, conflicts_with = "a", requires = "data")]
    start_a: Option<Target>,
    /// Start side B
    #[arg(long, conflicts_with = "b", requires = "data")]
    start_b: Option<Target>,
    /// Which sides given by endpoints are Quorate: a or b
    #[arg(long)]
    quorate: Vec<String>,
    /// How many nodes of Quorate are started; of etcd it is one
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Where the data of started clusters go
    #[arg(long)]
    data: Option<PathBuf>,
    /// How many requests
    #[arg(long, default_value_t = 2000)]
    requests: u64,
    /// What the random requests depend on
    #[arg(long)]
    seed: u64,
    /// Spoil what side B says, to see it found
    #[arg(long)]
    plant: Option<Plant>,
    /// Go on behind a difference in a reply; show each kind once and count them
    #[arg(long)]
    keep_going: bool,
    /// Do not look for fewer requests that differ
    #[arg(long)]
    no_shrink: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut args = Args::parse();
    let mut tries = 0;
    loop {
        match fuzz(&args).await {
            Ok(Found::Nothing) => return ExitCode::SUCCESS,
            Ok(Found::ReferenceDied { after }) if tries < DEATHS => {
                tries += 1;
                args.requests = args.requests.saturating_sub(after);
                args.seed = args.seed.wrapping_add(1);
                args.data = args.data.map(|data| data.join(format!("again-{tries}")));
            }
            Ok(Found::Difference | Found::ReferenceDied { .. }) => return ExitCode::from(1),
            Err(error) => {
                eprintln!("difffuzz: {error}");
                return ExitCode::from(2);
            }
        }
    }
}

/// The reference may end by itself so often: then the rest of the requests is asked of a new one.
const DEATHS: u32 = 3;

/// What a run found.
enum Found {
    Nothing,
    Difference,
    /// The reference crashed at a request of which this side made an answer; so many before it were answered alike.
    ReferenceDied {
        after: u64,
    },
}

/// Starts a side if it is to be started; gives its endpoints, and what must be kept alive.
async fn side(
    args: &Args,
    name: &str,
    start: Option<&Target>,
    urls: &[String],
) -> Result<(Side, Option<Cluster>), Box<dyn std::error::Error>> {
    let Some(target) = start else {
        return Ok((Side::connect(name, urls, args.quorate.iter().any(|q| q == name)).await?, None));
    };
    let nodes = if matches!(target, Target::Quorate(_)) { args.nodes } else { 1 };
    let data = args.data.as_deref().unwrap_or(Path::new(".")).join(name);
    let cluster = Cluster::serving(target.clone(), nodes, &data, Duration::from_secs(60)).await?;
    Ok((Side::connect(name, &cluster.urls(), matches!(target, Target::Quorate(_))).await?, Some(cluster)))
}

/// Runs all requests.
async fn fuzz(args: &Args) -> Result<Found, Box<dyn std::error::Error>> {
    let (a, mut cluster_a) = side(args, "a", args.start_a.as_ref(), &args.a).await?;
    let (b, _cluster_b) = side(args, "b", args.start_b.as_ref(), &args.b).await?;
    println!("difffuzz: a reports {}, b reports {}; seed {}", a.version, b.version, args.seed);
    let mut run = Run::new(a, b, args.plant);
    run.keep_going = args.keep_going;
    let began = Instant::now();
    let mut generator = Generator::new(args.seed, !run.a.old && !run.b.old);
    let mut ops = Vec::new();
    let mut outcome = run.begin().await;
    while outcome.is_ok() && (ops.len() as u64) < args.requests {
        generator.revision = run.model.revision;
        generator.compacted = run.model.compacted;
        let op = generator.next_op();
        ops.push(op.clone());
        outcome = run.step(&op).await;
    }
    if outcome.is_ok() {
        outcome = run.settle().await;
    }
    report(&run.counts, ops.len(), began.elapsed());
    run.keep_going = false;
    for (kind, n) in &run.found {
        println!("{n:6} differences in {kind}");
    }
    let Err(difference) = outcome else {
        return Ok(if run.found.is_empty() { Found::Nothing } else { Found::Difference });
    };
    // A reply that never came says that a process may be gone; it is, a moment later.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let gone = cluster_a.as_mut().map(Cluster::reap).transpose()?.unwrap_or_default();
    if let (Some((_, how)), false) = (gone.first(), matches!(args.start_a, Some(Target::Quorate(_)))) {
        println!(
            "\nthe reference ended by itself ({how}) after {} requests, seed {}; its last words are in the log of a\n",
            ops.len(),
            args.seed
        );
        return Ok(Found::ReferenceDied { after: ops.len() as u64 });
    }
    println!("\nDIFFERENCE after {} requests, seed {}:\n{difference}", ops.len(), args.seed);
    if args.no_shrink {
        println!("\nthe last requests:");
        ops[ops.len().saturating_sub(10)..].iter().for_each(|op| println!("  {}", crate::op::brief(op)));
    } else {
        shrink::shrink(&mut run, ops).await;
    }
    Ok(Found::Difference)
}

fn report(counts: &Counts, requests: usize, took: Duration) {
    println!(
        "{requests} requests in {:.1} s; {} events and {} cancellations of watches",
        took.as_secs_f64(),
        counts.events,
        counts.cancels
    );
    let list = |name: &str, of: Vec<String>| println!("{name}: {}", of.join(", "));
    list("steps", counts.steps.iter().map(|(kind, n)| format!("{kind} {n}")).collect());
    list("allowed differences", counts.allowed.iter().map(|(id, n)| format!("{id} {n}")).collect());
    println!("errors that both sides gave:");
    counts.errors.iter().for_each(|(text, n)| println!("  {n:6}  {text}"));
}
