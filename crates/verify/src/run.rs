//! One run from its beginning to its report.
//!
//! Start the system and the clients; break one thing after the other for the time that was asked for; heal; let the clients
//! go on for a moment, so that what was broken meets the healed system; then ask every node for everything, compare their
//! states, stop all, and judge. Whatever happens on the way, what was started is ended.

use crate::clock;
use crate::door::{Strength, Way};
use crate::judge::{self, Finding, Verdict};
use crate::link::End;
use crate::nemesis::{self, Fault, Stage};
use crate::op::Op;
use crate::plan::{BadPlan, Plan};
use crate::process::Process;
use crate::record::{self, Event, Tally};
use crate::report::{Report, history_file};
use crate::standing::Standing;
use crate::target::{self, Cluster, Target};
use crate::worker::Orders;
use crate::{catalog, workload};
use quorate_base::Rng;
use rustix::process::Signal;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

/// How long a system may take to serve, at its start and after it was healed.
const SERVE_PATIENCE: Duration = Duration::from_secs(90);
/// How long one answer may take for a client.
const ANSWER_PATIENCE: Duration = Duration::from_secs(3);
/// How long a client may take to end beyond that.
const END_PATIENCE: Duration = Duration::from_secs(20);
/// How long each last read is tried.
const FINAL_PATIENCE: Duration = Duration::from_secs(30);
/// Clients go on for so long in the healed system.
const CALM: Duration = Duration::from_secs(2);

/// Why there is no report.
#[derive(Debug)]
pub enum Trouble {
    /// The plan cannot be run.
    Plan(BadPlan),
    /// Something beside the system failed.
    Failed(String),
    /// A signal ended it; everything is cleaned up.
    Interrupted,
}

impl From<BadPlan> for Trouble {
    fn from(bad: BadPlan) -> Self {
        Self::Plan(bad)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<String> for Trouble {
    fn from(what: String) -> Self {
        Self::Failed(what)
    }
}

/// How far a run is, for a line on a terminal.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What is done now.
    pub phase: String,
    /// Since the clients began.
    pub elapsed: Duration,
    /// Operations that ended.
    pub operations: u64,
    /// Faults that are over.
    pub faults: u64,
}

/// Who is told, twice a second.
pub type Told = Rc<dyn Fn(&Progress)>;

/// Runs a plan and leaves its report.
pub fn run(plan: &Plan, told: Told) -> Result<Report, Trouble> {
    // Nodes and clients may have other working directories.
    let plan = &Plan { report: std::path::absolute(&plan.report)?, ..plan.clone() };
    catalog::fits(plan)?;
    let target = Target::of(plan)?;
    empty(&plan.report)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let standing = Rc::new(RefCell::new(Standing::create(&plan.report)?));
        let mut guardian = guardian(&plan.report)?;
        standing.borrow_mut().directory(&plan.report.join("data"))?;
        let nodes = if plan.nodes == 0 { target.nodes() } else { plan.nodes };
        let mut scene = Scene {
            cluster: Cluster::prepare(target, nodes, &plan.report, standing.clone())?,
            clients: Vec::new(),
            plan,
            begin: clock::now(),
            events: Vec::new(),
            faults: Vec::new(),
            findings: Vec::new(),
            watched: Rc::default(),
        };
        let played = tokio::select! {
            played = scene.play(told) => played,
            () = told_to_end() => Err(Trouble::Interrupted),
        };
        scene.clients.clear();
        scene.cluster.stop().await;
        let done = played.and_then(|()| scene.report());
        // What was found, or what stopped the run, may be seen in the data.
        let needed = match &done {
            Ok(report) => report.verdict == Verdict::Violated,
            Err(trouble) => matches!(trouble, Trouble::Failed(_)),
        };
        if !plan.keep && !needed {
            let _ = std::fs::remove_dir_all(plan.report.join("data"));
        }
        standing.borrow_mut().clean()?;
        if let Some(mut pipe) = guardian.stdin.take() {
            let _ = pipe.write_all(b"clean\n");
        }
        let _ = guardian.wait();
        done
    })
}

/// A directory for the report, new or empty.
fn empty(report: &Path) -> Result<(), Trouble> {
    std::fs::create_dir_all(report)?;
    if std::fs::read_dir(report)?.next().is_some() {
        let what = format!("{} is not empty", report.display());
        return Err(BadPlan::new(what, "name another directory with --report").into());
    }
    Ok(())
}

/// The process that cleans up when this one is gone.
fn guardian(report: &Path) -> std::io::Result<Child> {
    use std::os::unix::process::CommandExt;
    Command::new(std::env::current_exe()?)
        .arg("verify-guardian")
        .arg(report)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

async fn told_to_end() {
    let listen = |kind| signal(kind).ok();
    let (Some(mut interrupt), Some(mut terminate), Some(mut hangup)) =
        (listen(SignalKind::interrupt()), listen(SignalKind::terminate()), listen(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// What is seen from the side while a run goes on.
#[derive(Default)]
struct Watched {
    phase: RefCell<String>,
    faults: Cell<u64>,
    leader_changes: Cell<u64>,
}

struct Scene<'a> {
    plan: &'a Plan,
    cluster: Cluster,
    clients: Vec<Process>,
    begin: i64,
    events: Vec<Event>,
    faults: Vec<Fault>,
    findings: Vec<Finding>,
    watched: Rc<Watched>,
}

impl Scene<'_> {
    async fn play(&mut self, told: Told) -> Result<(), Trouble> {
        self.phase("starting");
        for at in 0..self.cluster.len() {
            self.cluster.start(at)?;
        }
        self.cluster.serving(SERVE_PATIENCE).await?;
        self.obeyed()?;
        self.begin = clock::now();
        self.watch(told);
        self.start_clients()?;
        self.break_things().await?;
        self.phase("healing");
        self.cluster.heal().await?;
        sleep(CALM).await;
        self.stop_clients().await;
        let serves = self.cluster.serving(SERVE_PATIENCE).await;
        let (verdict, why) = match serves {
            Ok(()) => (Verdict::Holds, "every node answers a linearizable read after healing".into()),
            Err(why) => (Verdict::Violated, why),
        };
        self.finding("serves again", verdict, why);
        if verdict == Verdict::Holds {
            self.last_reads().await?;
            if self.cluster.target.has_peers() {
                self.compare().await;
            }
        }
        Ok(())
    }

    /// Refuses faults that this build of the node does not commit.
    fn obeyed(&self) -> Result<(), BadPlan> {
        let ordered = self.plan.nemeses.iter().find(|name| catalog::is_ordered(name));
        match ordered {
            Some(name) if !self.cluster.socket(0).exists() => Err(BadPlan::new(
                format!("{name} needs nodes that fail by order, and these do not"),
                "cargo build -p quorate --features faults --target-dir target/faults, and name it with --binary",
            )),
            _ => Ok(()),
        }
    }

    fn phase(&self, phase: &str) {
        *self.watched.phase.borrow_mut() = phase.into();
    }

    fn finding(&mut self, check: &str, verdict: Verdict, why: String) {
        self.findings.push(Finding::new("run", check, verdict, why));
    }

    /// Counts changes of leaders, and tells how far things are.
    fn watch(&self, told: Told) {
        let (watched, places, begin) = (self.watched.clone(), self.cluster.places.clone(), self.begin);
        let folder = self.plan.report.join("clients");
        let peers = self.cluster.target.has_peers();
        tokio::task::spawn_local(async move {
            let (mut last, mut lines) = (None, BTreeMap::new());
            loop {
                if peers
                    && let Some(leader) = target::leader(&places).await
                    && last.replace(leader).is_some_and(|before| before != leader)
                {
                    watched.leader_changes.set(watched.leader_changes.get() + 1);
                }
                told(&Progress {
                    phase: watched.phase.borrow().clone(),
                    elapsed: Duration::from_nanos((clock::now() - begin).max(0) as u64),
                    operations: count_lines(&folder, &mut lines) / 2,
                    faults: watched.faults.get(),
                });
                sleep(Duration::from_millis(500)).await;
            }
        });
    }

    // ---- clients ----

    fn way(&self, workload: &str) -> Way {
        if let Target::Postgres(_) = self.cluster.target {
            let isolation = self.plan.isolation.clone().unwrap_or_else(|| "serializable".into());
            return Way::Postgres {
                port: self.cluster.places[0].client_proxy,
                isolation: isolation.replace('-', " "),
            };
        }
        let endpoints = self.cluster.places.iter().map(target::Place::url).collect();
        let strength = match workload {
            "lock-guarded" => Strength::Guarded,
            "lock-fenced" => Strength::Fenced,
            _ => Strength::Bare,
        };
        Way::Etcd { endpoints, prefix: format!("verify/{workload}/"), strength }
    }

    fn start_clients(&mut self) -> Result<(), Trouble> {
        std::fs::create_dir_all(self.plan.report.join("clients"))?;
        for (at, workload) in self.plan.workloads.iter().enumerate() {
            for client in 0..self.plan.clients {
                let place = at * self.plan.clients as usize + client as usize;
                let orders = Orders {
                    workload: workload.clone(),
                    seat: workload::Seat { client, clients: self.plan.clients, seed: self.plan.seed },
                    process: client,
                    stride: self.plan.clients,
                    way: self.way(workload),
                    pinned: self.plan.pinned,
                    node: place % self.cluster.len(),
                    patience_ms: ANSWER_PATIENCE.as_millis() as u64,
                    rate: self.plan.rate,
                    begin: self.begin,
                    file: self.client_file(workload, &client.to_string()),
                    finals: None,
                };
                let process = self.client(&orders, &format!("client {client} of {workload}"))?;
                self.cluster.net.process(process.pid(), End::Client(place));
                self.clients.push(process);
            }
        }
        Ok(())
    }

    fn client_file(&self, workload: &str, name: &str) -> PathBuf {
        self.plan.report.join("clients").join(format!("{workload}-{name}.jsonl"))
    }

    fn client(&self, orders: &Orders, what: &str) -> Result<Process, Trouble> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.plan.report.join("logs").join("clients.log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("verify-client").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let mut process = Process::start(&mut command, what, &mut self.cluster.standing.borrow_mut())?;
        let mut line = serde_json::to_vec(orders).map_err(|e| e.to_string())?;
        line.push(b'\n');
        if let Some(pipe) = &mut process.child.stdin {
            pipe.write_all(&line)?;
        }
        Ok(process)
    }

    async fn stop_clients(&mut self) {
        self.phase("stopping clients");
        for client in &mut self.clients {
            let _ = client.signal(Signal::CONT);
            if let Some(mut pipe) = client.child.stdin.as_ref() {
                let _ = pipe.write_all(b"stop\n");
            }
        }
        let mut wrong = Vec::new();
        for client in &mut self.clients {
            match client.wait(ANSWER_PATIENCE + END_PATIENCE).await {
                Ok(status) if status.success() => {}
                Ok(status) => wrong.push(format!("{} ended with {}", client.what(), target::how(status))),
                Err(why) => wrong.push(why),
            }
        }
        self.clients.clear();
        if let Some(first) = wrong.first() {
            let why = format!("{first}; see logs/clients.log");
            self.finding("clients", Verdict::Unknown, why);
        }
    }

    // ---- faults ----

    /// The clients that use a lock, and their files.
    fn lockers(&self) -> Vec<(usize, PathBuf)> {
        let mut lockers = Vec::new();
        for (at, workload) in
            self.plan.workloads.iter().enumerate().filter(|(_, name)| name.starts_with("lock"))
        {
            for client in 0..self.plan.clients {
                let place = at * self.plan.clients as usize + client as usize;
                lockers.push((place, self.client_file(workload, &client.to_string())));
            }
        }
        lockers
    }

    async fn break_things(&mut self) -> Result<(), Trouble> {
        let end = Instant::now() + self.plan.time;
        let mut rng = Rng::stream(self.plan.seed, "nemesis");
        let names: Vec<String> = self.plan.nemeses.clone();
        let lockers = self.lockers();
        // Each in turn, in an order that is drawn anew each time, so that none is left out of a short run.
        let mut turn: Vec<usize> = Vec::new();
        self.phase("calm");
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let calm = Duration::from_millis(rng.between(500, 2500)).min(self.plan.time / 10);
            if names.is_empty() || left <= calm + Duration::from_millis(500) {
                sleep(left).await;
                break;
            }
            sleep(calm).await;
            if turn.is_empty() {
                turn = (0..names.len()).collect();
            }
            let at = rng.below(turn.len() as u64) as usize;
            let name = &names[turn.swap_remove(at)];
            self.phase(name);
            let mut stage = Stage {
                cluster: &mut self.cluster,
                clients: &self.clients,
                lockers: &lockers,
                rng: &mut rng,
                events: &mut self.events,
                // A short run shall see several of them.
                longest: left.saturating_sub(calm).min(self.plan.time / 4),
            };
            let begin = clock::now();
            match nemesis::fault(name, &mut stage).await {
                Ok(fault) => self.faults.push(fault),
                Err(why) => {
                    // Whether the system comes back from that is judged at the end; nothing more is broken.
                    self.faults.push(Fault::broken_off(name, begin, &why));
                    self.finding("faults", Verdict::Unknown, format!("{name}: {why}"));
                    break;
                }
            }
            self.watched.faults.set(self.faults.len() as u64);
            self.phase("calm");
            for (at, status) in self.cluster.reap() {
                let why = format!(
                    "node {} ended by itself: {}{}",
                    at + 1,
                    target::how(status),
                    self.cluster.tail(at)
                );
                self.finding("nodes stay up", Verdict::Violated, why);
                self.cluster.start(at)?;
            }
        }
        Ok(())
    }

    // ---- the end ----

    /// Each node is asked for everything, by a client of its own.
    async fn last_reads(&mut self) -> Result<(), Trouble> {
        self.phase("last reads");
        let mut readers = Vec::new();
        for workload in &self.plan.workloads {
            let events = self.client_events(workload)?;
            let ops = workload::finals(workload, &events);
            if ops.is_empty() {
                continue;
            }
            let first = events.iter().filter_map(Event::number).max().unwrap_or(0) + 1;
            for node in 0..self.cluster.len() {
                let orders = self.reader(workload, node, first + node as u64, ops.clone());
                let what = format!("the last reads of {workload} at node {}", node + 1);
                let process = self.client(&orders, &what)?;
                self.cluster.net.process(process.pid(), End::Client(usize::MAX - readers.len()));
                readers.push(process);
            }
        }
        for mut reader in readers {
            let status = reader.wait(10 * FINAL_PATIENCE).await?;
            if !status.success() {
                let why = format!("{} did not succeed; see logs/clients.log", reader.what());
                self.finding("last reads", Verdict::Violated, why);
            }
        }
        Ok(())
    }

    fn reader(&self, workload: &str, node: usize, process: u64, ops: Vec<Op>) -> Orders {
        Orders {
            workload: workload.into(),
            seat: workload::Seat { client: 0, clients: 1, seed: self.plan.seed },
            process,
            stride: 1,
            way: self.way(workload),
            pinned: true,
            node,
            patience_ms: ANSWER_PATIENCE.as_millis() as u64,
            rate: 1,
            begin: self.begin,
            file: self.client_file(workload, &format!("last-n{}", node + 1)),
            finals: Some((ops, FINAL_PATIENCE.as_millis() as u64)),
        }
    }

    /// The nodes' own states: at the same revision all must hold the same.
    async fn compare(&mut self) {
        self.phase("comparing");
        match self.hashes().await {
            Ok((revision, hashes)) if hashes.windows(2).all(|pair| pair[0] == pair[1]) => {
                let why = format!("{} nodes hold the same at revision {revision}", hashes.len());
                self.finding("replicas agree", Verdict::Holds, why);
            }
            Ok((revision, hashes)) => {
                let why = format!("at revision {revision} the nodes' hashes are {hashes:08x?}");
                self.finding("replicas agree", Verdict::Violated, why);
            }
            Err(why) => self.finding("replicas agree", Verdict::Unknown, why),
        }
    }

    async fn hashes(&self) -> Result<(i64, Vec<u32>), String> {
        let end = Instant::now() + FINAL_PATIENCE;
        loop {
            let mut revisions = Vec::new();
            for place in &self.cluster.places {
                revisions.push(
                    target::status(&place.direct())
                        .await
                        .map_err(|e| format!("node {}: {e}", place.id))?
                        .revision,
                );
            }
            if revisions.windows(2).all(|pair| pair[0] == pair[1]) {
                let mut hashes = Vec::new();
                for place in &self.cluster.places {
                    let hash = target::hash(&place.direct(), revisions[0]).await;
                    hashes.push(hash.map_err(|e| format!("node {}: {e}", place.id))?);
                }
                return Ok((revisions[0], hashes));
            }
            if Instant::now() > end {
                return Err(format!("the nodes stay at different revisions: {revisions:?}"));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// All that the clients of a workload recorded, as it stands in their files.
    fn client_events(&self, workload: &str) -> std::io::Result<Vec<Event>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.plan.report.join("clients"))? {
            let path = entry?.path();
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let of = name.strip_prefix(workload).and_then(|rest| rest.strip_prefix('-'));
            if of.is_some_and(|rest| rest.starts_with("last-n") || rest.parse::<u64>().is_ok()) {
                all.extend(record::read_lines(&path)?);
            }
        }
        Ok(all)
    }

    /// Histories in order, verdicts, and the report.
    fn report(mut self) -> Result<Report, Trouble> {
        let mut tallies = BTreeMap::new();
        for fault in &mut self.faults {
            fault.begin -= self.begin;
            fault.end -= self.begin;
        }
        for workload in &self.plan.workloads {
            let mut events = self.client_events(workload)?;
            tallies.insert(workload.clone(), Tally::of(&events));
            events.extend(self.events.iter().cloned());
            let events = record::in_order(events, self.begin);
            let file = self.plan.report.join(history_file(workload));
            record::write_lines(&file, &events)?;
            record::write_edn(&file.with_extension("edn"), &events)?;
            self.findings.extend(judge::judge(workload, &file, &events, self.plan.promised()));
        }
        self.effects();
        let report = Report {
            command: self.plan.command(),
            plan: self.plan.clone(),
            verdict: Verdict::Holds,
            findings: self.findings,
            tallies,
            faults: self.faults,
            leader_changes: self.watched.leader_changes.get(),
        };
        Ok(report.finished()?)
    }

    /// A nemesis that did nothing has shown nothing.
    fn effects(&mut self) {
        for nemesis in &self.plan.nemeses {
            let effect: u64 = self.faults.iter().filter(|f| f.nemesis == *nemesis).map(|f| f.effect).sum();
            let times = self.faults.iter().filter(|f| f.nemesis == *nemesis).count();
            if effect == 0 {
                let why = format!("{nemesis} was done {times} times and had no effect: nothing was shown");
                self.findings.push(Finding::new("run", "effect", Verdict::Unknown, why));
            }
        }
    }
}

/// How many lines a folder's files have, counting on from the last time.
fn count_lines(folder: &Path, known: &mut BTreeMap<PathBuf, (u64, u64)>) -> u64 {
    use std::io::{Read, Seek, SeekFrom};
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (at, lines) = known.entry(entry.path()).or_default();
        let mut new = Vec::new();
        let read = std::fs::File::open(entry.path()).and_then(|mut file| {
            file.seek(SeekFrom::Start(*at))?;
            file.read_to_end(&mut new)
        });
        if read.is_ok() {
            *at += new.len() as u64;
            *lines += new.split(|byte| *byte == b'\n').count() as u64 - 1;
        }
    }
    known.values().map(|(_, lines)| lines).sum()
}
