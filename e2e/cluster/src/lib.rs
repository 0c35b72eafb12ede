//! Clusters of real processes for the end-to-end tests: three nodes of Quorate, three members of the etcd on this
//! machine, or one member of a current etcd built from `e2e/goetcd`, all started, killed, stopped, continued and
//! restarted in the same way.
//!
//! One function, [`Target::command`], holds each target's command line. Ports are chosen below the range from which the
//! kernel serves outgoing connections, so that a node that is down does not lose its port to somebody's client.
//!
//! Left out: machines other than this one, TLS, and any change of membership.

mod limit;
mod powercut;

pub use limit::MemoryLimit;
pub use powercut::{Lost, PowerCut};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::{kv_client::KvClient, maintenance_client::MaintenanceClient};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, Error};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

/// First port that is tried; see the module page.
const FIRST_PORT: u16 = 14_000;
/// End of the ports that are tried.
const LAST_PORT: u16 = 30_000;

/// How long a node may take to stop in order.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// What is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Quorate, as this program.
    Quorate(PathBuf),
    /// The etcd that the distribution ships, as this program.
    Etcd(PathBuf),
    /// A current etcd, as the program that `e2e/goetcd` builds. One member only.
    GoEtcd(PathBuf),
}

impl std::str::FromStr for Target {
    type Err = String;

    /// `quorate`, `etcd` or `goetcd`. Their programs come from the environment: `QUORATE`, `ETCD`, `GOETCD`.
    fn from_str(name: &str) -> Result<Self, String> {
        let program = |variable: &str, default: &str| {
            std::env::var_os(variable).map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        match name {
            "quorate" => Ok(Self::Quorate(program("QUORATE", "quorate"))),
            "etcd" => Ok(Self::Etcd(program("ETCD", "etcd"))),
            "goetcd" => Ok(Self::GoEtcd(program("GOETCD", "goetcd"))),
            other => Err(format!("no target is called {other}; there are quorate, etcd and goetcd")),
        }
    }
}

impl Target {
    /// How many nodes it runs where nobody says.
    pub fn default_nodes(&self) -> usize {
        if matches!(self, Self::GoEtcd(_)) { 1 } else { 3 }
    }

    /// The command line of node `at` among `nodes`.
    pub fn command(&self, nodes: &[Place], at: usize, token: &str) -> Command {
        let me = &nodes[at];
        let all = |each: &dyn Fn(&Place) -> String| nodes.iter().map(each).collect::<Vec<_>>().join(",");
        match self {
            Self::Quorate(program) => {
                let mut command = Command::new(program);
                command
                    .args(["serve", "--json", "--exit-with-stdin", "--cluster", token])
                    .args(["--node", &me.id.to_string()])
                    .arg("--data")
                    .arg(&me.data)
                    .args(["--etcd", &format!("127.0.0.1:{}", me.etcd_port)])
                    .args(["--peer", &format!("127.0.0.1:{}", me.peer_port)])
                    .args(["--peers", &all(&|n| format!("{}=127.0.0.1:{}", n.id, n.peer_port))])
                    .args(["--client-urls", &all(&|n| format!("{}={}", n.id, n.url()))]);
                command
            }
            Self::Etcd(program) => {
                let mut command = Command::new(program);
                command
                    .args(["--name", &format!("n{}", me.id)])
                    .arg("--data-dir")
                    .arg(&me.data)
                    .args(["--listen-client-urls", &me.url(), "--advertise-client-urls", &me.url()])
                    .args([
                        "--listen-peer-urls",
                        &me.peer_url(),
                        "--initial-advertise-peer-urls",
                        &me.peer_url(),
                    ])
                    .args(["--initial-cluster", &all(&|n| format!("n{}={}", n.id, n.peer_url()))])
                    .args(["--initial-cluster-state", "new", "--initial-cluster-token", token]);
                command
            }
            Self::GoEtcd(program) => {
                let mut command = Command::new(program);
                command.arg("-stdin").arg("-data").arg(&me.data).args([
                    "-client",
                    &me.url(),
                    "-peer",
                    &me.peer_url(),
                ]);
                command
            }
        }
    }
}

/// Where a node lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub id: u64,
    /// Where clients connect.
    pub etcd_port: u16,
    /// Where the other nodes connect.
    pub peer_port: u16,
    /// Its data directory; its log lies beside it.
    pub data: PathBuf,
}

impl Place {
    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port)
    }

    fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    /// The file that takes all that the process says.
    pub fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }
}

/// Processes that were started here and die with this value.
#[derive(Debug)]
pub struct Cluster {
    target: Target,
    token: String,
    places: Vec<Place>,
    children: Vec<Option<Child>>,
    power_cut: Option<PowerCut>,
}

impl Cluster {
    /// Starts `nodes` nodes with their data under `dir`, which is created. They may not serve yet. With a power cut, a
    /// killed node loses what it had not synced.
    pub fn start(target: Target, nodes: usize, dir: &Path, power_cut: Option<PowerCut>) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let ports = free_ports(2 * nodes)?;
        let places = (0..nodes)
            .map(|i| Place {
                id: i as u64 + 1,
                etcd_port: ports[2 * i],
                peer_port: ports[2 * i + 1],
                data: dir.join(format!("n{}", i + 1)),
            })
            .collect();
        let token = format!("e2e-{}-{}", std::process::id(), ports[0]);
        let children = (0..nodes).map(|_| None).collect();
        let mut cluster = Self { target, token, places, children, power_cut };
        for at in 0..nodes {
            cluster.children[at] = Some(spawn(cluster.command(at)?)?);
        }
        Ok(cluster)
    }

    /// Starts nodes and waits until each serves.
    pub async fn serving(target: Target, nodes: usize, dir: &Path, patience: Duration) -> io::Result<Self> {
        let cluster = Self::start(target, nodes, dir, None)?;
        cluster.wait(patience).await?;
        Ok(cluster)
    }

    /// All nodes' places.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// All nodes' client URLs.
    pub fn urls(&self) -> Vec<String> {
        self.places.iter().map(Place::url).collect()
    }

    /// The process of node `at`, if it was started and not killed since.
    pub fn pid(&self, at: usize) -> Option<u32> {
        self.children[at].as_ref().map(Child::id)
    }

    /// Starts node `at` on the data that it left. Nothing happens where it runs. Not on the caller's thread, which may be that of the
    /// clients: a full machine takes its time until the new process has begun, and they would seem to wait for the nodes.
    pub async fn restart(&mut self, at: usize) -> io::Result<()> {
        if self.children[at].is_none() {
            let command = self.command(at)?;
            let spawned = tokio::task::spawn_blocking(move || spawn(command)).await;
            self.children[at] = Some(spawned.map_err(Error::other)??);
        }
        Ok(())
    }

    fn command(&self, at: usize) -> io::Result<Command> {
        let place = &self.places[at];
        let log = OpenOptions::new().create(true).append(true).open(place.log())?;
        let mut command = self.target.command(&self.places, at, &self.token);
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        if let Some(power_cut) = &self.power_cut {
            power_cut.watch(&mut command, &place.data)?;
        }
        Ok(command)
    }

    /// Kills node `at` as a power button would, and waits until it is gone.
    pub fn kill(&mut self, at: usize) -> io::Result<()> {
        if let Some(mut child) = self.children[at].take() {
            child.kill()?;
            child.wait()?;
            if let Some(power_cut) = &mut self.power_cut {
                power_cut.cut(&self.places[at].data)?;
            }
        }
        Ok(())
    }

    /// Tells node `at` to stop, and waits until it has, in order.
    pub async fn terminate(&mut self, at: usize) -> io::Result<()> {
        self.signal(at, Signal::TERM)?;
        let end = Instant::now() + STOP_PATIENCE;
        // Not by `wait`, which would close its input first, and so be a second reason to stop.
        while let Some(child) = &mut self.children[at] {
            match child.try_wait()? {
                Some(status) if status.success() => self.children[at] = None,
                Some(status) => {
                    return Err(Error::other(format!("node {} was told to stop: {status}", at + 1)));
                }
                None if Instant::now() > end => {
                    return Err(Error::other(format!(
                        "node {} does not stop within {STOP_PATIENCE:?}",
                        at + 1
                    )));
                }
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
        Ok(())
    }

    /// What the power cuts have cost so far.
    pub fn lost(&self) -> Option<Lost> {
        self.power_cut.as_ref().map(PowerCut::lost)
    }

    /// Kills several nodes before waiting for any of them.
    pub fn kill_all(&mut self, which: &[usize]) -> io::Result<()> {
        for &at in which {
            if let Some(child) = &mut self.children[at] {
                child.kill()?;
            }
        }
        which.iter().try_for_each(|&at| self.kill(at))
    }

    /// Freezes node `at`: it keeps its connections and says nothing.
    pub fn freeze(&self, at: usize) -> io::Result<()> {
        self.signal(at, Signal::STOP)
    }

    /// Lets node `at` go on.
    pub fn thaw(&self, at: usize) -> io::Result<()> {
        self.signal(at, Signal::CONT)
    }

    fn signal(&self, at: usize, signal: Signal) -> io::Result<()> {
        let pid = self.pid(at).and_then(|pid| Pid::from_raw(pid as i32));
        let pid = pid.ok_or_else(|| Error::other(format!("node {} does not run", at + 1)))?;
        Ok(kill_process(pid, signal)?)
    }

    /// Nodes whose process ended by itself, with how. They can be restarted then.
    pub fn reap(&mut self) -> io::Result<Vec<(usize, String)>> {
        let mut gone = Vec::new();
        for (at, slot) in self.children.iter_mut().enumerate() {
            let ended = slot.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                *slot = None;
                gone.push((at, status.to_string()));
            }
        }
        Ok(gone)
    }

    /// Waits until each node answers a linearizable read.
    pub async fn wait(&self, patience: Duration) -> io::Result<()> {
        for place in &self.places {
            wait_for(&place.url(), patience).await.map_err(|e| {
                Error::new(e.kind(), format!("node {}: {e}\n{}", place.id, tail(&place.log(), 15)))
            })?;
        }
        Ok(())
    }

    /// The node that says it leads; `None` where none is reached that knows.
    pub async fn leader(&self) -> Option<usize> {
        for place in &self.places {
            let Ok(channel) = connect(&place.url()) else { continue };
            let mut maintenance = MaintenanceClient::new(channel);
            let asked = maintenance.status(pb::StatusRequest {});
            let Ok(Ok(reply)) = tokio::time::timeout(Duration::from_millis(500), asked).await else {
                continue;
            };
            let reply = reply.into_inner();
            if reply.header.is_some_and(|h| h.member_id == reply.leader) {
                return Some(place.id as usize - 1);
            }
        }
        None
    }

    /// What `quorate up --json` says when ready.
    pub fn ready_line(&self) -> Ready {
        let nodes = self.places.iter().enumerate().map(|(at, place)| ReadyNode {
            id: place.id,
            pid: self.pid(at).unwrap_or(0),
            etcd: place.url(),
            peer: format!("127.0.0.1:{}", place.peer_port),
            data: place.data.clone(),
        });
        Ready { ready: true, nodes: nodes.collect() }
    }
}

fn spawn(mut command: Command) -> io::Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.spawn().map_err(|e| Error::new(e.kind(), format!("{name}: {e}")))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.power_cut = None;
        let all: Vec<usize> = (0..self.children.len()).collect();
        let _ = self.kill_all(&all);
    }
}

/// The line of JSON that says where a cluster serves.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Ready {
    /// Always true.
    pub ready: bool,
    /// The nodes.
    pub nodes: Vec<ReadyNode>,
}

/// One node of [`Ready`].
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct ReadyNode {
    /// From 1.
    pub id: u64,
    /// Its process.
    pub pid: u32,
    /// The URL for clients.
    pub etcd: String,
    /// The address for peers.
    #[serde(default)]
    pub peer: String,
    /// Its data directory.
    #[serde(default)]
    pub data: PathBuf,
}

/// A lazy connection to `url`.
pub fn connect(url: &str) -> io::Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_string()).map_err(Error::other)?;
    Ok(endpoint.connect_timeout(Duration::from_millis(500)).connect_lazy())
}

/// Waits until `url` answers a linearizable read.
pub async fn wait_for(url: &str, patience: Duration) -> io::Result<()> {
    let end = Instant::now() + patience;
    let mut kv = KvClient::new(connect(url)?);
    loop {
        let asked = pb::RangeRequest { key: "e2e-ready".into(), ..Default::default() };
        let answer = match tokio::time::timeout(Duration::from_secs(1), kv.range(asked)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(status)) => status.to_string(),
            Err(_) => "no answer within a second".into(),
        };
        if Instant::now() > end {
            return Err(Error::new(
                io::ErrorKind::TimedOut,
                format!("{url} does not serve after {patience:?}: {answer}"),
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The last lines of a file, for a message; empty where it cannot be read.
pub fn tail(file: &Path, lines: usize) -> String {
    let text = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let spread = LAST_PORT - FIRST_PORT;
    // Processes that start together begin at different places.
    let first = std::process::id().wrapping_mul(7919) % u32::from(spread);
    let mut held = Vec::new();
    for step in 0..spread {
        let port = FIRST_PORT + ((first + u32::from(step)) % u32::from(spread)) as u16;
        if let Ok(listener) = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))) {
            held.push((port, listener));
            if held.len() == count {
                return Ok(held.into_iter().map(|(port, _)| port).collect());
            }
        }
    }
    Err(Error::new(io::ErrorKind::AddrInUse, "no free ports on loopback"))
}
