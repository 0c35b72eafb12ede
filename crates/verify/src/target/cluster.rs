//! The nodes of a run: started, killed, frozen and started again, each behind its proxies.

use super::{Place, Target, status};
use crate::door::prepare_postgres;
use crate::link::{End, Net, free_ports};
use crate::process::Process;
use crate::standing::Standing;
use rustix::process::Signal;
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

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
    processes: Vec<Option<Process>>,
    frozen: Vec<bool>,
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
        let mut ports = free_ports(4 * nodes)?.into_iter();
        let token = format!("verify-{}", std::process::id());
        std::fs::create_dir_all(report.join("data"))?;
        std::fs::create_dir_all(report.join("logs"))?;
        for at in 0..nodes {
            let mut port = || ports.next().ok_or_else(|| io::Error::other("too few ports"));
            // The nodes' own ports are given up for them; the proxies' are kept.
            let ((client, _), (peer, _)) = (port()?, port()?);
            let ((client_proxy, clients), (peer_proxy, peers)) = (port()?, port()?);
            for (listener, real) in [(clients, client), (peers, peer)] {
                listener.set_nonblocking(true)?;
                net.serve(tokio::net::TcpListener::from_std(listener)?, at, real);
            }
            let name = format!("n{}", at + 1);
            places.push(Place {
                id: at as u64 + 1,
                client,
                peer,
                client_proxy,
                peer_proxy,
                joins: false,
                data: report.join("data").join(&name),
                log: report.join("logs").join(format!("{name}.log")),
            });
            target.initialize(&places[at]).map_err(io::Error::other)?;
        }
        let orders = std::env::temp_dir().join(format!("quorate-{token}"));
        standing.borrow_mut().directory(&orders)?;
        std::fs::create_dir_all(&orders)?;
        let processes = (0..nodes).map(|_| None).collect();
        Ok(Self { target, places, net, standing, orders, token, processes, frozen: vec![false; nodes] })
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Where a node listens for orders to fail, if it is built so.
    pub(crate) fn socket(&self, at: usize) -> PathBuf {
        self.orders.join(format!("n{}", at + 1))
    }

    /// Starts a node on what it left. Nothing happens where it runs.
    pub(crate) fn start(&mut self, at: usize) -> Result<(), String> {
        if self.processes[at].is_some() {
            return Ok(());
        }
        let place = &self.places[at];
        let mut command = self.target.command(&self.places, at, &self.token);
        command.env("QUORATE_FAULTS", self.socket(at));
        let log = OpenOptions::new().create(true).append(true).open(&place.log);
        let log = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_err(|e| format!("{}: {e}", place.log.display()))?;
        command.stdin(Stdio::piped()).stdout(out).stderr(err);
        let what = format!("node {}", place.id);
        let process = Process::start(&mut command, &what, &mut self.standing.borrow_mut());
        let process = process.map_err(|e| e.to_string())?;
        self.net.process(process.pid(), End::Node(at));
        self.processes[at] = Some(process);
        self.frozen[at] = false;
        Ok(())
    }

    /// Kills a node, and waits until it is gone. True if it ran, and it was this that ended it.
    pub(crate) async fn kill(&mut self, at: usize) -> Result<bool, String> {
        match self.processes[at].take() {
            Some(mut process) => process.kill().await,
            None => Ok(false),
        }
    }

    /// Freezes a node, and sees that it is.
    pub(crate) async fn freeze(&mut self, at: usize) -> Result<(), String> {
        let process = self.processes[at].as_ref().ok_or_else(|| format!("node {} does not run", at + 1))?;
        self.frozen[at] = true;
        process.freeze().await
    }

    /// Lets a frozen node go on.
    pub(crate) async fn thaw(&mut self, at: usize) -> Result<(), String> {
        if std::mem::take(&mut self.frozen[at])
            && let Some(process) = &self.processes[at]
        {
            process.thaw().await?;
        }
        Ok(())
    }

    /// Nodes that ended without being told to, and how. They are started again by [`heal`](Self::heal).
    pub(crate) fn reap(&mut self) -> Vec<(usize, ExitStatus)> {
        let mut gone = Vec::new();
        for (at, slot) in self.processes.iter_mut().enumerate() {
            if let Some(status) = slot.as_mut().and_then(Process::ended) {
                *slot = None;
                gone.push((at, status));
            }
        }
        gone
    }

    /// Ends all that was done to nodes and links.
    pub(crate) async fn heal(&mut self) -> Result<(), String> {
        self.net.heal();
        for at in 0..self.len() {
            self.thaw(at).await?;
            self.start(at)?;
        }
        Ok(())
    }

    /// Stops all in order.
    pub(crate) async fn stop(&mut self) {
        for process in self.processes.iter().flatten() {
            let _ = process.signal(Signal::CONT);
            let _ = process.signal(Signal::TERM);
        }
        for slot in &mut self.processes {
            if let Some(process) = slot {
                let _ = process.wait(STOP_PATIENCE).await;
            }
            // What does not stop is killed by this.
            *slot = None;
        }
    }

    /// The node that leads by its own words, from 0.
    pub(crate) async fn leader(&self) -> Option<usize> {
        leader(&self.places).await
    }

    /// Waits until every node answers a linearizable read of its own.
    pub(crate) async fn serving(&mut self, patience: Duration) -> Result<(), String> {
        let end = Instant::now() + patience;
        for at in 0..self.len() {
            while let Err(why) = self.serves(at).await {
                if let Some((gone, status)) = self.reap().first() {
                    return Err(format!("node {} ended: {}{}", gone + 1, how(*status), self.tail(*gone)));
                }
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
