//! One `quorate serve` process: started, listened to, told to stop.
//!
//! The child lives in a process group of its own, so that Ctrl-C in a terminal reaches `up` alone, which then stops the
//! nodes in order. It holds the other end of a pipe that `up` never writes to: when `up` is gone, however it went, the
//! pipe closes and the child stops.

use super::plan::{Plan, PlannedNode};
use crate::report::{Exit, Problem};
use crate::serve::Notice;
use quorate_server::datadir::create_dir_durably;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A log of this size is set aside at the next start.
const LOG_MAX: u64 = 16 << 20;
/// How much of a log's end is shown.
const TAIL_LINES: usize = 10;
const TAIL_BYTES: u64 = 8 << 10;

/// What a child does.
#[derive(Debug)]
pub(super) enum Event {
    /// It serves.
    Serving { node: u64 },
    /// It is gone.
    Exited { node: u64, pid: u32, status: ExitStatus, why: Option<Problem> },
}

/// What a child is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Stop in order.
    Stop,
    /// Stop at once.
    Kill,
}

/// A running child.
#[derive(Debug)]
pub(super) struct Handle {
    /// Its process.
    pub(super) pid: u32,
    orders: UnboundedSender<Order>,
}

impl Handle {
    /// Tells it; a child that is gone already does not mind.
    pub(super) fn tell(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

/// Where a node keeps its data.
pub(super) fn data_dir(home: &Path, node: u64) -> PathBuf {
    home.join(format!("n{node}"))
}

/// Where a node's log goes.
pub(super) fn log_file(home: &Path, node: u64) -> PathBuf {
    data_dir(home, node).join("log")
}

/// Starts a node of `plan`; what becomes of it is told to `events`.
pub(super) fn start(
    home: &Path,
    plan: &Plan,
    node: &PlannedNode,
    extra: &[String],
    events: UnboundedSender<Event>,
) -> Result<Handle, Problem> {
    let failed = |what: &str, e: &std::io::Error| {
        Problem::new(Exit::Failed, format!("cannot {what} of node {}: {e}", node.id), "")
    };
    create_dir_durably(&data_dir(home, node.id)).map_err(|e| failed("create the data directory", &e))?;
    let log = open_log(&log_file(home, node.id)).map_err(|e| failed("open the log", &e))?;
    let program = std::env::current_exe().map_err(|e| failed("find the program", &e))?;
    let mut child = Command::new(program)
        .args(arguments(home, plan, node))
        .args(extra)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed("start the process", &e))?;
    let (Some(pid), Some(stdin), Some(stdout)) = (child.id(), child.stdin.take(), child.stdout.take()) else {
        return Err(failed("reach the process", &std::io::Error::other("it has no pid or no pipes")));
    };
    let (orders, inbox) = unbounded_channel();
    let lines = BufReader::new(stdout).lines();
    tokio::spawn(mind(node.id, pid, child, stdin, lines, inbox, events));
    Ok(Handle { pid, orders })
}

/// The command line of a node, as anybody could type it.
fn arguments(home: &Path, plan: &Plan, node: &PlannedNode) -> Vec<String> {
    let list = |value: &dyn Fn(&PlannedNode) -> String| {
        plan.nodes.iter().map(|n| format!("{}={}", n.id, value(n))).collect::<Vec<_>>().join(",")
    };
    let zone = node.zone.iter().flat_map(|zone| ["--zone".to_string(), zone.clone()]);
    [
        "serve",
        "--node",
        &node.id.to_string(),
        "--cluster",
        &plan.cluster,
        "--data",
        &data_dir(home, node.id).to_string_lossy(),
        "--etcd",
        &node.etcd.to_string(),
        "--dynamo",
        &node.dynamo.to_string(),
        "--peer",
        &node.peer.to_string(),
        "--peers",
        &list(&|n| n.peer.to_string()),
        "--client-urls",
        &list(&PlannedNode::url),
        "--json",
        "--exit-with-stdin",
    ]
    .map(str::to_string)
    .into_iter()
    .chain(zone)
    .collect()
}

fn open_log(path: &Path) -> std::io::Result<std::fs::File> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_MAX) {
        std::fs::rename(path, path.with_extension("old"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Follows one child to its end.
async fn mind(
    node: u64,
    pid: u32,
    mut child: Child,
    stdin: tokio::process::ChildStdin,
    mut lines: Lines<BufReader<ChildStdout>>,
    mut orders: UnboundedReceiver<Order>,
    events: UnboundedSender<Event>,
) {
    let mut why = None;
    let mut listening = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            line = lines.next_line(), if listening => match line {
                Ok(Some(line)) => hear(&line, &mut why, &events),
                _ => listening = false,
            },
            order = orders.recv() => match order {
                Some(Order::Stop) => terminate(pid),
                // Nobody is left to give orders: the cluster is being given up.
                Some(Order::Kill) | None => drop(child.start_kill()),
            },
        }
    };
    // Its last words may still be in the pipe.
    while listening {
        match tokio::time::timeout(Duration::from_millis(100), lines.next_line()).await {
            Ok(Ok(Some(line))) => hear(&line, &mut why, &events),
            _ => listening = false,
        }
    }
    drop(stdin);
    let status = status.unwrap_or_else(|_| ExitStatus::from_raw(0x100));
    let _ = events.send(Event::Exited { node, pid, status, why });
}

/// Asks for an orderly end. The child is not yet waited for, so the pid is still its own.
fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn hear(line: &str, why: &mut Option<Problem>, events: &UnboundedSender<Event>) {
    match serde_json::from_str(line) {
        Ok(Notice::Serving { node, .. }) => drop(events.send(Event::Serving { node })),
        Ok(Notice::Failed { node, kind, message, hint }) => {
            *why = Some(Problem::new(Exit::from_word(&kind), format!("node {node}: {message}"), hint));
        }
        Ok(Notice::Stopped { .. }) | Err(_) => {}
    }
}

/// How a process ended, in words.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".into(),
    }
}

/// The last lines of a log.
pub(super) fn tail(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(ToString::to_string).collect()
}
