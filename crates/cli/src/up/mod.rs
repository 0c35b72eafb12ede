//! `quorate up`: a whole cluster of real processes on this machine, for development, demonstrations and tests.
//!
//! Each node is a `quorate serve` of this very program on loopback. Ports and the cluster's name are kept in the data
//! directory (`cluster.toml`), so that the next `up` goes on with the same cluster; each node keeps its data and its log
//! beside it, in `n1`, `n2` and so on.

mod child;
mod cluster;
mod home;
pub(crate) mod plan;
pub(crate) mod screen;

use crate::report::{Exit, Problem};
use crate::serve;
use cluster::{Began, Cluster, Signals};
use home::Home;
use screen::Screen;
use std::path::PathBuf;
use std::time::Instant;

/// How often a start is tried again when somebody took a port between its choice and its use.
const PORT_RACES: usize = 3;

/// Run a cluster on this machine.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many nodes a new cluster has [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=plan::MOST_NODES))]
    nodes: Option<u64>,
    /// Where the cluster is kept
    #[arg(long, value_name = "DIR", default_value = "quorate-data")]
    data: PathBuf,
    /// Keep the data in a temporary directory and remove it at the end
    #[arg(long, conflicts_with = "data")]
    ephemeral: bool,
    /// Take a free port where the usual one is taken
    #[arg(long)]
    any_port: bool,
    /// Start a node again that dies
    #[arg(long)]
    restart: bool,
    /// Speak JSON: one line when ready, then one a change
    #[arg(long)]
    json: bool,
    /// A file of access keys that DynamoDB clients must sign with, as for `quorate serve` [default: any key is taken]
    #[arg(long, value_name = "FILE")]
    dynamo_keys: Option<PathBuf>,
    /// The zones that the nodes are in, in turn: replicas of one shard are kept in different ones. A name is 1 to 64 letters, digits,
    /// dots, underscores and hyphens. They are kept, too [default: each node in one of its own]
    #[arg(long, value_name = "NAME[,NAME...]", value_delimiter = ',', value_parser = serve::settings::zone)]
    zones: Vec<String>,
    /// What the nodes log: a level, or a list of target=level [default: as `quorate serve`]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  quorate up                          three nodes, data in ./quorate-data
  quorate up --ephemeral --any-port   three nodes for a test run, wherever there is room
  quorate up --nodes 5 --data /tmp/five --restart
  quorate up --nodes 4 --zones a,b,c  node 1 in zone a, 2 in b, 3 in c, 4 in a

Node 1 serves etcd clients on port 2379, node 2 on 12379, node 3 on 22379; DynamoDB clients on 8000, 18000, 28000; peers use
7100, 17100, 27100.
Further nodes take free ports, which are printed and kept.

A node that was removed from the cluster (`quorate node remove`) is told of and not started any more. One that was added runs
where you started it, now and the next time: `up` says so, and how.";

/// Runs a cluster until a signal.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    let runtime = crate::runtime()?;
    runtime.block_on(up(args))
}

async fn up(args: &Args) -> Result<(), Problem> {
    let began = Instant::now();
    let screen = Screen::new(args.json);
    let mut signals = Signals::listen()?;
    serve::check_log_and_keys(args.log.as_deref(), args.dynamo_keys.as_deref())?;
    let mut home = if args.ephemeral { Home::ephemeral()? } else { Home::open(&args.data)? };
    let done = run_in(&mut home, args, (&mut signals, &screen), began).await;
    // Where only a log tells why, it stays.
    if done.as_ref().is_err_and(|problem| problem.exit != Exit::Failed) {
        home.undo();
    }
    done
}

async fn run_in(
    home: &mut Home,
    args: &Args,
    (signals, screen): (&mut Signals, &Screen),
    began: Instant,
) -> Result<(), Problem> {
    let mut races = 0;
    loop {
        let mut cluster = prepare(args, home, screen)?;
        let done = match cluster.begin(signals, screen).await {
            Ok(Began::Serving(serving)) => {
                home.keep();
                let name = cluster.name().to_string();
                screen.ready(&name, &serving, home.path(), args.ephemeral, began.elapsed());
                cluster.watch_over(signals, screen, args.restart).await
            }
            Ok(Began::Interrupted) => Ok(()),
            Err(problem) if problem.exit == Exit::PortTaken && args.any_port && races < PORT_RACES => {
                races += 1;
                cluster.stop(signals).await;
                continue;
            }
            Err(problem) => Err(problem),
        };
        if done.is_ok() {
            screen.stopping();
        }
        cluster.stop(signals).await;
        if done.is_ok() {
            screen.stopped();
        }
        return done;
    }
}

/// The cluster that lives in `home`, or a new one, on ports that are free now.
fn prepare(args: &Args, home: &Home, screen: &Screen) -> Result<Cluster, Problem> {
    let (mut plan, new) = home.plan(args.nodes)?;
    let chosen = plan.settle(args.any_port, &plan::is_free)?;
    screen.chosen(&chosen);
    let moved = plan.put_into(&args.zones);
    if new || moved || !chosen.is_empty() {
        plan.store(home.path())?;
    }
    let log = args.log.iter().flat_map(|level| ["--log".to_string(), level.clone()]);
    let keys = args.dynamo_keys.iter().map(|path| path.to_string_lossy().into_owned());
    let extra = log.chain(keys.flat_map(|path| ["--dynamo-keys".to_string(), path])).collect();
    Ok(Cluster::new(home.path().to_path_buf(), plan, extra))
}
