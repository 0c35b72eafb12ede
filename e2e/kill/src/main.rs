//! `e2e-kill`: three real nodes under load that are killed, frozen and starved.
//!
//! `rounds` kills random nodes, sometimes all at once, and checks every acknowledged write and every watch; `failover`
//! measures how long writes stop when the leader is killed or frozen; `steady` sees that a leader stays under full load.
//!
//! `startup` and `away` do with many keys: see [`bulk`].
//!
//! `handover`, `watchers`, `compaction` and `space` measure what is promised of a healthy cluster, and fail where it is not kept:
//! see the page of each.
//!
//! `flips` damages the files of stopped nodes, one bit at a time.
//!
//! `kill -9` loses nothing that the kernel holds, so it proves nothing about flushes. With `rounds --power-cut LIBRARY` each
//! kill costs what a power cut costs: what the node had not synced; see [`e2e_cluster::PowerCut`].

mod bulk;
mod check;
mod client;
mod compaction;
mod failover;
mod flips;
mod follow;
mod handover;
mod load;
mod pace;
mod rounds;
mod space;
mod watchers;

use clap::{Parser, Subcommand};
use e2e_cluster::{PowerCut, Target};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// quorate or etcd; the programs come from QUORATE and ETCD
    #[arg(long, global = true, default_value = "quorate")]
    target: Target,
    /// Where the data go
    #[arg(long, global = true, default_value = "e2e-kill-data")]
    data: PathBuf,
    /// What the random parts depend on
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Kill random nodes under load, and check
    Rounds {
        #[arg(long, default_value_t = 10)]
        rounds: u64,
        /// The library of e2e/powercut: what a killed node had not synced is lost
        #[arg(long)]
        power_cut: Option<PathBuf>,
    },
    /// Measure how long writes stop
    Failover {
        #[arg(long, default_value_t = 20)]
        times: u64,
    },
    /// Flip bits in the files of stopped nodes, and check
    Flips {
        #[arg(long, default_value_t = 20)]
        flips: u64,
    },
    /// Measure how long a cluster with many keys takes to serve again
    Startup {
        #[arg(long, default_value_t = 1_000_000)]
        keys: u64,
    },
    /// Take a follower away for many writes, and see it come back
    Away {
        #[arg(long, default_value_t = 1_000_000)]
        writes: u64,
    },
    /// Measure how long writes stop when a leader hands over, and restart all nodes in turn
    Handover {
        #[arg(long, default_value_t = 10)]
        times: u64,
    },
    /// Measure how long events take to many watchers while one does not read
    Watchers {
        #[arg(long, default_value_t = 1000)]
        watchers: usize,
        /// Puts a second
        #[arg(long, default_value_t = 1000)]
        rate: u64,
        /// Watchers of each key
        #[arg(long, default_value_t = 1)]
        fan_out: usize,
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Measure what a compaction costs the puts beside it
    Compaction {
        /// Puts a second
        #[arg(long, default_value_t = 1000)]
        rate: u64,
        /// Versions that each compaction takes away
        #[arg(long, default_value_t = 300_000)]
        history: u64,
    },
    /// Fill a space that is much larger than the nodes' memory, and use it
    Space {
        #[arg(long, default_value_t = 10 << 10)]
        mib: u64,
        #[arg(long, default_value_t = 512)]
        limit_mib: u64,
        #[arg(long, default_value_t = 3)]
        nodes: usize,
    },
    /// See that a leader stays under full load
    Steady {
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let work = async {
        match args.command {
            Command::Rounds { rounds, power_cut } => {
                println!("kill: seed {}", args.seed);
                let power_cut = match power_cut.map(|library| PowerCut::new(&library, args.seed)).transpose()
                {
                    Ok(power_cut) => power_cut,
                    Err(error) => return Err(format!("the library of power cuts: {error}")),
                };
                rounds::run(args.target, &args.data, rounds, args.seed, power_cut).await
            }
            Command::Flips { flips } => {
                println!("flips: seed {}", args.seed);
                flips::run(args.target, &args.data, flips, args.seed).await
            }
            Command::Startup { keys } => bulk::startup(args.target, &args.data, keys).await,
            Command::Away { writes } => bulk::away(args.target, &args.data, writes).await,
            Command::Handover { times } => handover::run(args.target, &args.data, times).await,
            Command::Watchers { watchers, rate, fan_out, seconds } => {
                let shape = watchers::Shape { watchers, rate, fan_out, seconds };
                watchers::run(args.target, &args.data, shape).await
            }
            Command::Compaction { rate, history } => {
                compaction::run(args.target, &args.data, rate, history).await
            }
            Command::Space { mib, limit_mib, nodes } => {
                space::run(args.target, &args.data, space::Shape { nodes, mib, limit_mib }).await
            }
            Command::Failover { times } => failover::run(args.target, &args.data, times, args.seed).await,
            Command::Steady { seconds } => {
                failover::steady(args.target, &args.data, Duration::from_secs(seconds), args.seed).await
            }
        }
    };
    match tokio::task::LocalSet::new().run_until(work).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("kill: FAILED: {what}");
            ExitCode::from(1)
        }
    }
}
