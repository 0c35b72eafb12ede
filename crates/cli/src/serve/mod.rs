//! `quorate serve`: one node, until it is told to stop.
//!
//! Logs go to standard error. With `--json`, standard output gets one line a change, for whoever started the process:
//!
//! ```text
//! {"event":"serving","node":1,"pid":4711,"etcd":"http://127.0.0.1:2379","peer":"127.0.0.1:7100"}
//! {"event":"failed","node":1,"kind":"port-taken","message":"…","hint":"…"}
//! {"event":"stopped","node":1}
//! ```

pub(crate) mod join;
mod logs;
mod metrics;
mod notify;
pub(crate) mod settings;

pub(crate) use logs::{Lines, start_logging};

use crate::report::{Exit, Problem, speaks};
use crate::up::plan::cluster_in;
use logs::log_filter;
use quorate_gateway_etcd::{Counters, Slow};
use quorate_node::api::{Body, Door, Failure, Request, Wait};
use quorate_server::{DoorStart, Ready, ServeDoor, Sockets, Starter};
use quorate_wire::kv::Range;
use serde::{Deserialize, Serialize};
use settings::{Flags, Settings};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long a node whose starter is gone may take to stop in order.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(5);

/// How long a node that does not answer yet is left alone.
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(50);
/// And one whose leader is waited for, with clients who wait.
const LEADER_AGAIN: Duration = Duration::from_millis(10);
/// Clients wait no longer for a node that has a leader and is not as far as that.
const HELD_MAX: Duration = Duration::from_secs(30);
/// So often it is asked whether its name is known.
const NAME_TRIES: usize = 100;

/// Run one node.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Read settings from this TOML file; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the effective settings as a commented TOML file, and end
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    flags: Flags,
    /// Ask for votes at once in place of waiting for a leader to be heard: for the first node of a cluster that starts
    #[arg(long)]
    campaign_at_once: bool,
    /// This node ran before and its data directory is lost: make a new one, which confirms nothing and whose vote does not
    /// count before the other nodes have told it what it may have forgotten. Without effect once that is made
    #[arg(long)]
    data_lost: bool,
    /// Say in JSON on standard output when the node serves, and why if it does not
    #[arg(long)]
    json: bool,
    /// Stop when standard input is closed, so that the node does not outlive who started it
    #[arg(long)]
    exit_with_stdin: bool,
}

const EXAMPLES: &str = "\
Examples:
  quorate serve --print-config > n1.toml      a file to begin with
  quorate serve --config n1.toml
  quorate serve --node 1 --data /var/lib/quorate --insecure \\
    --etcd 10.0.0.1:2379 --peer 10.0.0.1:7100 \\
    --peers 1=10.0.0.1:7100,2=10.0.0.2:7100,3=10.0.0.3:7100 \\
    --client-urls 1=http://10.0.0.1:2379,2=http://10.0.0.2:2379,3=http://10.0.0.3:2379
  quorate serve --config n1.toml --lease-reads --max-clock-drift 500ppm
  quorate serve --join 10.0.0.1:2379,10.0.0.2:2379 --data /var/lib/quorate --insecure \\
    --etcd 10.0.0.4:2379 --peer 10.0.0.4:7100    a new node; `quorate node add` says how to come to one

`quorate up` runs a whole cluster on this machine.";

/// What `--json` says.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Notice {
    /// Clients and peers can connect.
    Serving {
        node: u64,
        pid: u32,
        etcd: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dynamo: Option<String>,
        peer: String,
    },
    /// The node did not start, or stopped because of a failure.
    Failed { node: u64, kind: String, message: String, hint: String },
    /// The node stopped because it was told to.
    Stopped { node: u64 },
}

/// Serves until a signal.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    let mut settings = Settings::gather(args.config.as_deref(), &args.flags)?;
    settings.server.campaign_at_once = args.campaign_at_once;
    settings.server.data_lost = args.data_lost;
    if args.print_config {
        let printed = write!(std::io::stdout(), "{}", settings.to_toml());
        return printed
            .map_err(|e| Problem::new(Exit::Failed, format!("cannot print the settings: {e}"), ""));
    }
    let done = join::resolve(&mut settings);
    let node = settings.server.node.get();
    let done = done.and_then(|()| serve(settings, args.json, args.exit_with_stdin));
    if args.json {
        say(&match &done {
            Ok(()) => Notice::Stopped { node },
            Err(Problem { exit, message, hint }) => Notice::Failed {
                node,
                kind: exit.word().into(),
                message: message.clone(),
                hint: hint.clone(),
            },
        });
    }
    done
}

/// Serves with settings that came otherwise, until a signal.
pub(crate) fn run_with(mut settings: Settings, lines: Lines, warnings: &[String]) -> Result<(), Problem> {
    start_logging(&settings.log, lines)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    join::resolve(&mut settings)?;
    serve(settings, false, false)
}

fn serve(settings: Settings, json: bool, exit_with_stdin: bool) -> Result<(), Problem> {
    settings.server.check()?;
    not_beside_up(&settings)?;
    start_logging(&settings.log, Lines::Own)?;
    let node = settings.server.node.get();
    let advertise = settings.server.etcd_advertise.clone();
    let ready = move |at: Ready| {
        if json {
            let (pid, peer) = (std::process::id(), at.peer.to_string());
            let dynamo = at.dynamo.map(|address| address.to_string());
            say(&Notice::Serving { node, pid, etcd: advertise, dynamo, peer });
        }
    };
    let orphaned = if exit_with_stdin { Some(watch_stdin()?) } else { None };
    if settings.dynamo_keys.is_some() && settings.server.dynamo_listen.is_none() {
        let hint = "say with --dynamo where DynamoDB clients connect, or leave --dynamo-keys out";
        return Err(Problem::new(Exit::Usage, "there are keys for a DynamoDB door, and no door", hint));
    }
    let keys = settings.dynamo_keys.as_deref().map(keys).transpose()?.map(Arc::new);
    let (version, slow) = (settings.server.reported_version.clone(), settings.slow);
    let sockets = Sockets::bind(&settings.sockets, "--listen-client-urls")?;
    let listening = sockets.listeners.clone();
    let options = quorate_gateway_etcd::Options {
        version,
        etcd: settings.server.starter == Starter::Etcd,
        limits: settings.limits,
        sockets: listening,
        origins: settings.origins,
        counters: Arc::new(Counters { slow: Slow::beyond(slow), ..Counters::default() }),
        ..Default::default()
    };
    let doors = doors(options, keys, settings.server.election_max);
    quorate_server::run(settings.server, doors, told_to_stop(orphaned), ready)?;
    Ok(())
}

/// The directory in which `quorate up` keeps its cluster is no place for a node of another one. `up` and a node on its own
/// have the same one unless told otherwise.
pub(crate) fn not_beside_up(settings: &Settings) -> Result<(), Problem> {
    let Some(home) = settings.server.data.parent() else { return Ok(()) };
    match cluster_in(home) {
        Some(cluster) if cluster != settings.cluster => {
            let (home, data) = (home.display(), settings.server.data.display());
            Err(Problem::new(
                Exit::DataDir,
                format!(
                    "{home} is where `quorate up` keeps the cluster {cluster}, and {data} would be a node of another one"
                ),
                format!(
                    "go on with that cluster by `quorate up --data {home}`, or choose another directory with --data"
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// One line on standard output; whoever does not read it any more does not stop the node.
fn say(notice: &Notice) {
    if let Ok(line) = serde_json::to_string(notice) {
        speaks();
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// Refuses a log filter and a file of keys that a node would refuse: for whoever is to start some.
pub(crate) fn check_log_and_keys(log: Option<&str>, file: Option<&Path>) -> Result<(), Problem> {
    log.map(log_filter).transpose()?;
    file.map(keys).transpose()?;
    Ok(())
}

/// The keys in a file.
fn keys(path: &Path) -> Result<quorate_gateway_dynamo::Keys, Problem> {
    let hint = "a line has an access key's id and its secret, with a blank between";
    let told = |why: &dyn std::fmt::Display| {
        Problem::new(Exit::Usage, format!("the keys of DynamoDB's clients, {}: {why}", path.display()), hint)
    };
    let text = std::fs::read_to_string(path).map_err(|e| told(&e))?;
    if std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "others may read the file of DynamoDB's keys; chmod 600 mends that");
    }
    quorate_gateway_dynamo::Keys::parse(&text).map_err(|e| told(&e))
}

/// Tells who started this node once it answers: it has a leader, and a state that is as new as any that it ever showed. It is listed
/// by then, too, so that it counts as started where members are changed; but for that nobody waits for ever.
async fn announce(door: Arc<dyn Door>) {
    answers(&door).await;
    is_listed(&door, ANNOUNCE_AGAIN).await;
    // etcd's words: what starts members waits for them.
    tracing::info!(target: "quorate_server::serve", "ready to serve client requests");
    notify::ready();
}

async fn answers(door: &Arc<dyn Door>) {
    // Also a learner answers this one; the first of a life is no older than any before.
    let read = || Request::Range { range: Range::default(), serializable: true };
    while ask(door, read()).await.is_err() {
        tokio::time::sleep(ANNOUNCE_AGAIN).await;
    }
}

/// Waits until the list of members has what this node says of itself: asked so often, and no longer.
async fn is_listed(door: &Arc<dyn Door>, pause: Duration) {
    for _ in 0..NAME_TRIES {
        match ask(door, Request::Status).await {
            Ok(Body::Status(status)) if !status.listed => tokio::time::sleep(pause).await,
            _ => break,
        }
    }
}

/// Lets clients in once the node answers, has a leader, and is listed as what it is: whoever asks it for the members finds it.
async fn let_in(door: Arc<dyn Door>, election: Duration, ready: watch::Sender<bool>) {
    let serves = async {
        answers(&door).await;
        while door.leaderless().is_some() {
            tokio::time::sleep(LEADER_AGAIN).await;
        }
        is_listed(&door, LEADER_AGAIN).await;
    };
    tokio::select! {
        () = serves => {}
        () = without_hope(&door, election) => {}
    }
    ready.send_replace(true);
}

/// Comes to its end where clients should not wait any longer: nobody leads, or it takes too long to be as far as who does. What there is
/// to say then is in the errors.
async fn without_hope(door: &Arc<dyn Door>, election: Duration) {
    let begun = tokio::time::Instant::now();
    let leaderless = || door.leaderless().is_some() && begun.elapsed() >= 2 * election;
    while !leaderless() && begun.elapsed() < HELD_MAX {
        tokio::time::sleep(ANNOUNCE_AGAIN).await;
    }
}

async fn ask(door: &Arc<dyn Door>, request: Request) -> Result<Body, Failure> {
    let (answered, answer) = tokio::sync::oneshot::channel();
    door.call(request, Wait::default(), Box::new(move |result| drop(answered.send(result))));
    answer.await.unwrap_or(Err(Failure::Stopping)).map(|answer| answer.body)
}

/// The doors, as the server starts them.
fn doors(
    told: quorate_gateway_etcd::Options,
    keys: Option<Arc<quorate_gateway_dynamo::Keys>>,
    election: Duration,
) -> ServeDoor {
    Box::new(move |start: DoorStart| {
        Box::pin(async move {
            let DoorStart { door, listeners, dynamo, clients_max, facts, mut leaving } = start;
            let (said, ready) = watch::channel(false);
            tokio::task::spawn_local(announce(door.clone()));
            tokio::task::spawn_local(let_in(door.clone(), election, said));
            // Where there are two doors, each has half of the places.
            let clients_max = if dynamo.is_some() { clients_max.div_ceil(2) } else { clients_max };
            let tables = Arc::<quorate_gateway_dynamo::Counters>::default();
            let tables_served = dynamo.is_some();
            let tables_counted = dynamo.is_some().then(|| tables.clone());
            if let Some(listener) = dynamo {
                let options = quorate_gateway_dynamo::Options {
                    clients_max,
                    counters: tables,
                    keys,
                    ready: Some(ready.clone()),
                };
                let door = door.clone();
                tokio::task::spawn_local(async move {
                    quorate_gateway_dynamo::serve(listener, door, options, std::future::pending()).await;
                });
            }
            let (counted, version) = (told.counters.clone(), told.version.clone());
            let metrics: quorate_gateway_etcd::Metrics =
                Arc::new(move || metrics::page(&facts(), &version, &counted, tables_counted.as_deref()));
            let options = quorate_gateway_etcd::Options {
                metrics: Some(metrics),
                dynamo: tables_served,
                ready: Some(ready),
                clients_max,
                ..told
            };
            // Where nobody is left to say so, the node ends.
            let shutdown = async { drop(leaving.wait_for(|leaving| *leaving).await) };
            quorate_gateway_etcd::serve(listeners, door, options, shutdown).await;
        })
    })
}

/// Completes at the first SIGTERM or SIGINT, or when `orphaned` does; the next signal ends the process on the spot.
async fn told_to_stop(orphaned: Option<tokio::sync::oneshot::Receiver<()>>) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers a signal still ends the process, only not in order.
        return std::future::pending().await;
    };
    let orphaned = async {
        match orphaned {
            Some(closed) => drop(closed.await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = orphaned => {}
    }
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
        std::process::exit(130);
    });
}

/// Tells when standard input ends. A node that does not manage to stop then is ended: nobody is left who could do it.
fn watch_stdin() -> Result<tokio::sync::oneshot::Receiver<()>, Problem> {
    let (closed, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let mut buffer = [0; 256];
            let mut stdin = std::io::stdin().lock();
            while !matches!(stdin.read(&mut buffer), Ok(0) | Err(_)) {}
            let _ = closed.send(());
            std::thread::sleep(ORPHAN_PATIENCE);
            std::process::exit(Exit::Failed as i32);
        })
        .map_err(|e| Problem::new(Exit::Failed, format!("a thread did not start: {e}"), ""))?;
    Ok(receiver)
}
