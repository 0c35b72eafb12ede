//! `e2e-cluster TARGET`: starts a cluster, says in one line of JSON where it serves, and stops it on SIGTERM, SIGINT or,
//! if asked to, when standard input closes. For scripts that want the same of etcd as of `quorate up --json`.

use clap::Parser;
use e2e_cluster::{Cluster, Target};
use std::io::Error;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
struct Args {
    /// quorate, etcd or goetcd; the programs come from QUORATE, ETCD and GOETCD
    target: Target,
    /// How many nodes [default: 3; 1 for goetcd]
    #[arg(long)]
    nodes: Option<usize>,
    /// Where the data go
    #[arg(long)]
    data: PathBuf,
    /// Stop when standard input closes
    #[arg(long)]
    exit_with_stdin: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let nodes = args.nodes.unwrap_or_else(|| args.target.default_nodes());
    let cluster = Cluster::serving(args.target, nodes, &args.data, Duration::from_secs(60)).await?;
    println!("{}", serde_json::to_string(&cluster.ready_line()).map_err(Error::other)?);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (open, closed) = tokio::sync::oneshot::channel::<()>();
    if args.exit_with_stdin {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            drop(open);
        });
    } else {
        std::mem::forget(open);
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = closed => {}
    }
    drop(cluster);
    // A read of standard input cannot be called off.
    std::process::exit(0)
}
