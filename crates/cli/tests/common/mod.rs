//! What the tests of the binary share: processes that end with the test, directories that go away with it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each program of tests uses its part, and may stop at the first thing amiss"
)]

pub(crate) mod tables;
pub(crate) mod wire;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn quorate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(args).stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

pub(crate) fn output(args: &[&str]) -> (i32, String, String) {
    told(quorate(args).output().unwrap())
}

/// Exit code, standard output, standard error.
pub(crate) fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// `quorate check` in a folder.
pub(crate) fn check(folder: &Path, args: &[&str]) -> (i32, String, String) {
    told(quorate(&["check"]).args(args).current_dir(folder).output().unwrap())
}

/// A directory that goes away with the test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quorate-cli-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One cluster at a time: one that takes the ports of a node that another test has just killed would be in its way.
static ONE_CLUSTER: Mutex<()> = Mutex::new(());

/// A running `quorate up --json`.
pub(crate) struct Up {
    pub(crate) child: Child,
    pub(crate) lines: Receiver<Value>,
    _alone: MutexGuard<'static, ()>,
}

impl Up {
    pub(crate) fn start(args: &[&str]) -> Self {
        let alone = ONE_CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = vec!["up", "--json", "--any-port"];
        all.extend(args);
        let mut child = quorate(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = follow(child.stdout.take().unwrap());
        Self { child, lines, _alone: alone }
    }

    pub(crate) fn line(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("another line of JSON")
    }

    /// The line that says that all serve.
    pub(crate) fn ready(&self) -> Value {
        let line = self.line();
        assert_eq!(line["ready"], true, "{line}");
        line
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(i64::from(self.child.id()), signal);
    }

    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < end, "up does not end"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (status, stderr)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn follow(stdout: ChildStdout) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(serde_json::from_str(&line).expect("JSON alone on standard output"));
        }
    });
    receiver
}

pub(crate) fn pid(value: &Value) -> i64 {
    value["pid"].as_i64().unwrap()
}

pub(crate) fn send(pid: i64, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

pub(crate) fn lives(pid: i64) -> bool {
    test_kill_process(Pid::from_raw(pid as i32).unwrap()).is_ok()
}

/// A port on which nobody listens, given once. None that the kernel gives to whoever asks for any or dials out, none that `up` takes:
/// it is still free when what it was asked for begins, however long that takes.
pub(crate) fn free_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 13_000..17_000;
    static ASKED: AtomicU32 = AtomicU32::new(0);
    loop {
        let at = std::process::id().wrapping_mul(64).wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + (at % u32::from(PORTS.end - PORTS.start)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not so after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A node alone, whose log lies beside its data.
pub(crate) struct Alone {
    pub(crate) child: Child,
    pub(crate) etcd: String,
    pub(crate) peer: String,
    pub(crate) log: String,
}

impl Alone {
    /// A node that serves what lies in `data`, begun by a shell after `before`; or its exit code and what it said.
    pub(crate) fn start(data: &str, before: &str) -> Result<Self, (i32, String)> {
        Self::start_with(data, before, &[])
    }

    /// The same, with more on its command line.
    pub(crate) fn start_with(data: &str, before: &str, more: &[&str]) -> Result<Self, (i32, String)> {
        let (etcd, peer, log) = (free_address(), free_address(), format!("{data}.log"));
        let serve = ["serve", "--json", "--data", data, "--etcd", &etcd, "--peer", &peer];
        let node = quorate(&[&serve[..], more].concat());
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{before} exec \"$0\" \"$@\" 2>{log}")]);
        shell.arg(node.get_program()).args(node.get_args()).env("NO_COLOR", "1");
        let mut child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let said = follow(child.stdout.take().unwrap()).recv_timeout(PATIENCE);
        let mut alone = Self { child, etcd, peer, log };
        if said.is_ok_and(|said| said["event"] == "serving") { Ok(alone) } else { Err(alone.end()) }
    }

    pub(crate) fn pid(&self) -> i64 {
        i64::from(self.child.id())
    }

    /// Its exit code (128 and more for a signal) and its log, once it has ended.
    pub(crate) fn end(&mut self) -> (i32, String) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < end, "the node does not end"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let code = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
        (code, std::fs::read_to_string(&self.log).unwrap())
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) {
        send(self.pid(), Signal::TERM);
        assert_eq!(self.end().0, 0);
    }

    fn kv(&self, args: &[&str]) -> (i32, String) {
        let (code, stdout, stderr) = output(&[&["kv", "--endpoints", &self.etcd], args].concat());
        (code, stdout + &stderr)
    }

    pub(crate) fn put(&self, key: &str, value: &str) -> (i32, String) {
        self.kv(&["put", key, value])
    }

    pub(crate) fn get(&self, key: &str) -> (i32, String) {
        self.kv(&["get", key])
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn log_has(&self, text: &str) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|line| line.contains(text)).count()
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Killed when the test ends, however it does.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn nodes(ready: &Value) -> Vec<Value> {
    ready["nodes"].as_array().unwrap().clone()
}

pub(crate) fn text<'a>(node: &'a Value, key: &str) -> &'a str {
    node[key].as_str().unwrap()
}

/// One node of a cluster that `up` made, without the others.
pub(crate) fn one(
    home: &str,
    cluster: &str,
    nodes: &[Value],
    (at, more): (usize, &[&str]),
    log: Stdio,
) -> Process {
    let all = |key| {
        let of = |node: &Value| format!("{}={}", node["id"], text(node, key));
        nodes.iter().map(of).collect::<Vec<_>>().join(",")
    };
    let (node, id) = (&nodes[at], nodes[at]["id"].to_string());
    let (data, etcd) = (format!("{home}/n{id}"), text(node, "etcd").trim_start_matches("http://"));
    let dynamo = text(node, "dynamo").trim_start_matches("http://");
    let (peer, peers, urls) = (text(node, "peer"), all("peer"), all("etcd"));
    let args =
        ["serve", "--node", &id, "--data", &data, "--cluster", cluster, "--etcd", etcd, "--peer", peer];
    let args = [&args[..], &["--dynamo", dynamo, "--peers", &peers, "--client-urls", &urls], more].concat();
    Process(quorate(&args).stdout(Stdio::null()).stderr(log).spawn().unwrap())
}
