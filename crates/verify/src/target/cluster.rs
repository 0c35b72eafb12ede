//! The nodes of a run: started, killed, frozen and started again, each behind its proxies.

use super::{Place, Target, listens, status};
use crate::door::prepare_postgres;
use crate::link::{End, Net, free_ports};
use crate::plan::{BadPlan, Plan};
use crate::process::{self, Process};
use crate::run::Trouble;
use crate::standing::{self, Standing};
use rustix::process::Signal;
use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A node of Quorate whose state failed a read stops with this, to be started again.
const STATE_DAMAGED: i32 = 7;
/// How long a node may take to stop in order.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// All nodes.
pub(crate) struct Cluster {
    /// What they are.
    pub(crate) target: Target,
    /// Where they live.
    pub(crate) places: Vec<Place>,
    /// The links between them and to them.
    pub(crate) net: Net,
    /// What stands.
    pub(crate) standing: Rc<RefCell<Standing>>,
    /// Where nodes listen for orders to fail, if they do: sockets have short names.
    orders: PathBuf,
    token: String,
    processes: RefCell<Vec<Option<Process>>>,
    /// Nodes that a fault works on: each is one fault's at a time.
    claimed: RefCell<Vec<bool>>,
    excuses: RefCell<Vec<Excuse>>,
    /// The processes of a system that was not started here, each with its start time; nothing for one that is gone.
    foreign: RefCell<Vec<Option<(u32, u64)>>>,
}

/// Why a node may end by itself.
#[derive(Clone, Copy, Debug, Default)]
struct Excuse {
    /// Its files were harmed: it asks to be started again when it meets that, maybe late.
    files: bool,
    /// Its disk fails just now.
    disk: bool,
    /// How often it did.
    used: u64,
}

/// A node that one fault has to itself until this is dropped.
pub(crate) struct Claim<'a> {
    cluster: &'a Cluster,
    /// The node, from 0.
    pub(crate) at: usize,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.cluster.claimed.borrow_mut()[self.at] = false;
    }
}

/// When a process of somebody else was started that serves this endpoint.
pub(super) fn running(pid: u32, endpoint: &str) -> Result<u64, BadPlan> {
    let start = process::start_of(pid).map_err(|why| BadPlan::new(why, "name processes of your own"))?;
    match listens::why_not(pid, endpoint) {
        Some(why) => Err(BadPlan::new(why, "pids and endpoints belong together, in their order")),
        None => Ok(start),
    }
}

impl Cluster {
    /// Ports, directories and proxies; nothing runs yet.
    pub(crate) fn prepare(
        target: Target,
        nodes: usize,
        report: &Path,
        standing: Rc<RefCell<Standing>>,
    ) -> io::Result<Self> {
        let net = Net::default();
        let mut places = Vec::new();
        let mut ports = free_ports(6 * nodes)?.into_iter();
        let token = format!("verify-{}", std::process::id());
        std::fs::create_dir_all(report.join("data"))?;
        std::fs::create_dir_all(report.join("logs"))?;
        for at in 0..nodes {
            let mut port = || ports.next().ok_or_else(|| io::Error::other("too few ports"));
            // The nodes' own ports are given up for them; the proxies' are kept.
            let ((client, _), (peer, _), (tables, _)) = (port()?, port()?, port()?);
            let ((client_proxy, clients), (peer_proxy, peers)) = (port()?, port()?);
            let (tables_proxy, of_tables) = port()?;
            for (listener, real) in [(clients, client), (peers, peer), (of_tables, tables)] {
                listener.set_nonblocking(true)?;
                net.serve(tokio::net::TcpListener::from_std(listener)?, at, real);
            }
            let name = format!("n{}", at + 1);
            places.push(Place {
                id: at as u64 + 1,
                client,
                peer,
                tables,
                client_proxy,
                peer_proxy,
                tables_proxy,
                joins: Cell::new(false),
                data: report.join("data").join(&name),
                log: report.join("logs").join(format!("{name}.log")),
                endpoint: None,
            });
            target.initialize(&places[at]).map_err(io::Error::other)?;
        }
        let orders = std::env::temp_dir().join(format!("quorate-{token}"));
        standing.borrow_mut().directory(&orders)?;
        std::fs::create_dir_all(&orders)?;
        let processes = RefCell::new((0..nodes).map(|_| None).collect());
        let claimed = RefCell::new(vec![false; nodes]);
        let excuses = RefCell::new(vec![Excuse::default(); nodes]);
        Ok(Self {
            target,
            places,
            net,
            standing,
            orders,
            token,
            processes,
            claimed,
            excuses,
            foreign: RefCell::default(),
        })
    }

    /// A system that runs already, by its processes and where clients reach them.
    pub(crate) fn attach(plan: &Plan, standing: Rc<RefCell<Standing>>) -> Result<Self, Trouble> {
        let mut cluster = Self::prepare(Target::Running, 0, &plan.report, standing)?;
        for (&pid, endpoint) in plan.pids.iter().zip(&plan.endpoints) {
            let start = running(pid, endpoint)?;
            let id = cluster.places.len() as u64 + 1;
            cluster.standing.borrow_mut().foreign(pid, start, &format!("node {id}"))?;
            cluster.foreign.borrow_mut().push(Some((pid, start)));
            cluster.places.push(Place {
                id,
                client: 0,
                peer: 0,
                tables: 0,
                client_proxy: 0,
                peer_proxy: 0,
                tables_proxy: 0,
                joins: Cell::new(false),
                data: plan.report.join("data"),
                log: plan.report.join("logs").join("none"),
                endpoint: Some(endpoint.clone()),
            });
        }
        let nodes = cluster.len();
        *cluster.processes.borrow_mut() = (0..nodes).map(|_| None).collect();
        *cluster.claimed.borrow_mut() = vec![false; nodes];
        *cluster.excuses.borrow_mut() = vec![Excuse::default(); nodes];
        Ok(cluster)
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Where a node listens for orders to fail, if it is built so.
    pub(crate) fn socket(&self, at: usize) -> PathBuf {
        self.orders.join(format!("n{}", at + 1))
    }

    /// Takes a node for one fault, if none has it.
    pub(crate) fn claim(&self, at: usize) -> Option<Claim<'_>> {
        let free = !std::mem::replace(&mut self.claimed.borrow_mut()[at], true);
        free.then(|| Claim { cluster: self, at })
    }

    /// True while a fault works on a node.
    pub(crate) fn is_claimed(&self, at: usize) -> bool {
        self.claimed.borrow()[at]
    }

    /// The files of a node were harmed.
    pub(crate) fn harm(&self, at: usize) {
        self.excuses.borrow_mut()[at].files = true;
    }

    /// The disk of a node fails from now on, or no longer.
    pub(crate) fn bad_disk(&self, at: usize, bad: bool) {
        self.excuses.borrow_mut()[at].disk = bad;
    }

    /// How often a node has ended by itself and had an excuse.
    pub(crate) fn excused(&self, at: usize) -> u64 {
        self.excuses.borrow()[at].used
    }

    /// Starts a node again that ended by itself and has an excuse; the error is of one that has none.
    pub(crate) fn revive(&self, at: usize) -> Result<(), String> {
        if let Some(slot) = self.foreign.borrow_mut().get_mut(at)
            && let Some((pid, start)) = *slot
            && standing::start_time(pid) != Some(start)
        {
            *slot = None;
            return Err(format!("node {} (pid {pid}) is gone", at + 1));
        }
        let Some(status) = self.reap(at) else { return Ok(()) };
        let Excuse { files, disk, .. } = self.excuses.borrow()[at];
        let asks = matches!(self.target, Target::Quorate(_)) && status.code() == Some(STATE_DAMAGED);
        let excused = disk || files && asks;
        if excused {
            self.excuses.borrow_mut()[at].used += 1;
        }
        // Without it nothing more would be seen of this node.
        self.start(at)?;
        if excused { Ok(()) } else { Err(format!("node {} ended: {}{}", at + 1, how(status), self.tail(at))) }
    }

    /// Starts a node on what it left. Nothing happens where it runs.
    pub(crate) fn start(&self, at: usize) -> Result<(), String> {
        if self.processes.borrow()[at].is_some() {
            return Ok(());
        }
        let place = &self.places[at];
        let Some(mut command) = self.target.command(&self.places, at, &self.token) else { return Ok(()) };
        command.env("QUORATE_FAULTS", self.socket(at));
        let log = OpenOptions::new().create(true).append(true).open(&place.log);
        let log = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_err(|e| format!("{}: {e}", place.log.display()))?;
        command.stdin(Stdio::piped()).stdout(out).stderr(err);
        let what = format!("node {}", place.id);
        let process = Process::start(&mut command, &what, &mut self.standing.borrow_mut());
        let process = process.map_err(|e| e.to_string())?;
        self.net.process(process.pid(), End::Node(at));
        self.processes.borrow_mut()[at] = Some(process);
        Ok(())
    }

    /// Kills a node, and waits until it is gone. True if it ran, and it was this that ended it.
    pub(crate) async fn kill(&self, at: usize) -> Result<bool, String> {
        let process = self.processes.borrow_mut()[at].take();
        match process {
            Some(mut process) => process.kill().await,
            None => Ok(false),
        }
    }

    /// Freezes a node, and sees that it is.
    pub(crate) async fn freeze(&self, at: usize) -> Result<(), String> {
        self.standing_still(at, true).await
    }

    /// Lets a frozen node go on.
    pub(crate) async fn thaw(&self, at: usize) -> Result<(), String> {
        self.standing_still(at, false).await
    }

    async fn standing_still(&self, at: usize, stop: bool) -> Result<(), String> {
        let foreign = self.foreign.borrow().get(at).copied().flatten().map(|(pid, _)| pid);
        let pid = foreign.or_else(|| self.processes.borrow()[at].as_ref().map(Process::pid));
        match pid {
            // What has ended has nothing to go on with; how it ended is told by `revive`.
            Some(pid) if !stop && standing::start_time(pid).is_none() => Ok(()),
            Some(pid) => process::still(pid, stop).await.map_err(|why| format!("node {}: {why}", at + 1)),
            None if stop => Err(format!("node {} does not run", at + 1)),
            None => Ok(()),
        }
    }

    /// How a node ended without being told to, if it did.
    fn reap(&self, at: usize) -> Option<ExitStatus> {
        let slot = &mut self.processes.borrow_mut()[at];
        let status = slot.as_mut().and_then(Process::ended)?;
        *slot = None;
        Some(status)
    }

    /// Ends all that was done to nodes and links.
    pub(crate) async fn heal(&self) -> Result<(), String> {
        self.net.heal();
        for at in 0..self.len() {
            self.thaw(at).await?;
            self.start(at)?;
        }
        Ok(())
    }

    /// Stops all in order.
    pub(crate) async fn stop(&self) {
        let foreign = self.foreign.borrow().len();
        for at in 0..foreign {
            let _ = self.thaw(at).await;
        }
        let mut processes: Vec<Process> =
            self.processes.borrow_mut().iter_mut().filter_map(Option::take).collect();
        for process in &processes {
            let _ = process::still(process.pid(), false).await;
            let _ = process.signal(Signal::TERM);
        }
        for process in &mut processes {
            // What does not stop is killed when it is dropped.
            let _ = process.wait(STOP_PATIENCE).await;
        }
    }

    /// The node that leads by its own words, from 0.
    pub(crate) async fn leader(&self) -> Option<usize> {
        leader(&self.places).await
    }

    /// Waits until every node answers a linearizable read of its own.
    pub(crate) async fn serving(&self, patience: Duration) -> Result<(), String> {
        let end = Instant::now() + patience;
        for at in 0..self.len() {
            while let Err(why) = self.serves(at).await {
                self.revive(at)?;
                if Instant::now() > end {
                    let s = patience.as_secs();
                    return Err(format!(
                        "node {} does not serve within {s} s: {why}{}",
                        at + 1,
                        self.tail(at)
                    ));
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// Asks a node for a linearizable read.
    pub(crate) async fn serves(&self, at: usize) -> Result<(), String> {
        let place = &self.places[at];
        if self.target.has_peers() {
            return serves(&place.direct()).await;
        }
        let prepared = tokio::time::timeout(Duration::from_secs(2), prepare_postgres(place.client)).await;
        prepared.unwrap_or_else(|_| Err("no answer".into()))
    }

    /// The last lines of a node's log, for a message.
    pub(crate) fn tail(&self, at: usize) -> String {
        let text = std::fs::read(&self.places[at].log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(6)..];
        last.iter().fold(String::new(), |text, line| text + "\n  | " + line)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.orders);
    }
}

/// The node that leads by its own words, from 0.
pub(crate) async fn leader(places: &[Place]) -> Option<usize> {
    for (at, place) in places.iter().enumerate() {
        if let Ok(Ok(said)) = tokio::time::timeout(Duration::from_millis(500), status(&place.direct())).await
            && said.leader == said.id
        {
            return Some(at);
        }
    }
    None
}

async fn serves(url: &str) -> Result<(), String> {
    use quorate_proto::etcdserverpb as pb;
    let endpoint = tonic::transport::Endpoint::from_shared(url.to_string()).map_err(|e| e.to_string())?;
    let channel = endpoint.connect_timeout(Duration::from_secs(1)).connect_lazy();
    let mut kv = pb::kv_client::KvClient::new(channel);
    let request = pb::RangeRequest { key: "verify-serves".into(), ..Default::default() };
    match tokio::time::timeout(Duration::from_secs(2), kv.range(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(status.message().to_string()),
        Err(_) => Err("no answer".into()),
    }
}

/// How a process ended, in words.
pub(crate) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".into(),
    }
}
