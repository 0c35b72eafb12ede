//! One run from its beginning to its report.
//!
//! Start the system and the clients; break one thing after the other for the time that was asked for; heal; let the clients
//! go on for a moment, so that what was broken meets the healed system; then ask every node for everything, compare their
//! states, stop all, and judge. Whatever happens on the way, what was started is ended.

mod compare;
mod tables;

use crate::clock;
use crate::door::{Strength, Way, make_table};
use crate::judge::{self, Finding, Verdict};
use crate::link::End;
use crate::nemesis::{self, Fault, Stage, Turns};
use crate::op::Op;
use crate::plan::{BadPlan, Plan};
use crate::process::Process;
use crate::record::{self, Event, Tally};
use crate::report::{Report, history_file};
use crate::standing::Standing;
use crate::target::{self, Cluster, Target};
use crate::worker::Orders;
use crate::{catalog, memory, workload};
use quorate_base::Rng;
use rustix::process::Signal;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::task::Poll;
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
/// How often nodes are looked for that ended by themselves.
const LOOK: Duration = Duration::from_millis(200);
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
    let target = fitting(plan)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let standing = Rc::new(RefCell::new(Standing::create(&plan.report)?));
        let mut guardian = guardian(&plan.report)?;
        standing.borrow_mut().directory(&plan.report.join("data"))?;
        let nodes = if plan.nodes == 0 { target.nodes() } else { plan.nodes };
        let cluster = match target {
            Target::Running => Cluster::attach(plan, standing.clone())?,
            target => Cluster::prepare(target, nodes, &plan.report, standing.clone())?,
        };
        let mut scene = Scene {
            cluster,
            clients: Vec::new(),
            plan,
            begin: clock::now(),
            from: 0,
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
        // Of a server that had to be killed.
        let (_, left) = memory::release(&plan.report.join("data"));
        scene
            .findings
            .extend(left.into_iter().map(|why| Finding::new("run", "clean", Verdict::Unknown, why)));
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
        if matches!(done, Err(Trouble::Plan(_))) {
            // The corrected command may name it again.
            let _ = std::fs::remove_dir_all(&plan.report);
        }
        done
    })
}

/// Says what is wrong with a plan before anything is begun.
pub fn ready(plan: &Plan) -> Result<(), Trouble> {
    fitting(plan).map(drop)
}

fn fitting(plan: &Plan) -> Result<Target, Trouble> {
    catalog::fits(plan)?;
    let target = Target::of(plan)?;
    empty(&plan.report)?;
    Ok(target)
}

/// A directory for the report, new or empty.
fn empty(report: &Path) -> Result<(), Trouble> {
    let bad = |what: String| Trouble::from(BadPlan::new(what, "name another directory with --report"));
    let unusable =
        |e: std::io::Error| bad(format!("{} cannot be used for the report: {e}", report.display()));
    std::fs::create_dir_all(report).map_err(unusable)?;
    if std::fs::read_dir(report).map_err(unusable)?.next().is_some() {
        return Err(bad(format!("{} is not empty", report.display())));
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
    /// The store's revision then.
    from: i64,
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
        if self.cluster.target.has_peers() {
            self.from = target::status(&self.cluster.places[0].direct()).await?.revision;
        }
        for workload in self.plan.workloads.iter().filter(|name| catalog::is_of_tables(name)) {
            let url = self.cluster.places[0].tables_direct();
            let made = (self.plan.shards, catalog::has_feed(workload));
            make_table(&url, workload, made, SERVE_PATIENCE).await?;
        }
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
            let (found, ended) = attended(&self.cluster, self.last_looks()).await;
            self.findings.extend(found?);
            self.findings.extend(ended);
            if self.cluster.target == Target::Running {
                // What others have in their store stays, what was put there by us does not.
                target::remove(&self.cluster.places[0].direct(), &self.prefix("")).await?;
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
        if catalog::is_of_tables(workload) {
            let endpoints = self.cluster.places.iter().map(target::Place::tables_url).collect();
            return Way::Dynamo { endpoints, table: workload.into() };
        }
        let endpoints = self.cluster.places.iter().map(target::Place::url).collect();
        let strength = match workload {
            "lock-guarded" => Strength::Guarded,
            "lock-fenced" => Strength::Fenced,
            _ => Strength::Bare,
        };
        Way::Etcd { endpoints, prefix: self.prefix(workload), strength }
    }

    /// What stands before the keys of a workload. Nobody has ever used it: histories begin with nothing.
    fn prefix(&self, workload: &str) -> String {
        let run = if self.cluster.target == Target::Running {
            format!("-{}-{}", self.plan.seed, std::process::id())
        } else {
            String::new()
        };
        if workload.is_empty() { format!("verify{run}/") } else { format!("verify{run}/{workload}/") }
    }

    fn start_clients(&mut self) -> Result<(), Trouble> {
        std::fs::create_dir_all(self.plan.report.join("clients"))?;
        for (at, workload) in self.plan.workloads.iter().enumerate() {
            for client in 0..self.plan.clients {
                let place = at * self.plan.clients as usize + client as usize;
                let orders = Orders {
                    workload: workload.clone(),
                    seat: workload::Seat {
                        client,
                        clients: self.plan.clients,
                        seed: self.plan.seed,
                        from: self.from,
                    },
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

    /// Breaks one thing after the other; with overlap several hands do so, each by a stream of chance of its own.
    async fn break_things(&mut self) -> Result<(), Trouble> {
        let end = Instant::now() + self.plan.time;
        let lockers = self.lockers();
        let events = RefCell::new(std::mem::take(&mut self.events));
        let (faults, findings, over) = (RefCell::default(), RefCell::default(), Cell::new(false));
        let (turns, due) = (Turns::default(), RefCell::default());
        self.phase("breaking");
        let hands = if self.plan.nemeses.is_empty() { 0 } else { self.plan.overlap.max(1) };
        let hand = |number: u64| Hand {
            plan: self.plan,
            stage: Stage {
                cluster: &self.cluster,
                clients: &self.clients,
                lockers: &lockers,
                rng: Rng::stream(self.plan.seed, &format!("nemesis/{number}")),
                events: &events,
                longest: Duration::ZERO,
                turns: &turns,
            },
            number,
            end,
            due: &due,
            watched: &self.watched,
            faults: &faults,
            findings: &findings,
            over: &over,
        };
        let mut all: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> =
            (0..hands).map(|number| Box::pin(hand(number).work()) as _).collect();
        all.push(Box::pin(async {
            while Instant::now() < end && !over.get() {
                sleep(end.saturating_duration_since(Instant::now()).min(LOOK)).await;
                findings.borrow_mut().extend(strays(&self.cluster));
            }
        }));
        together(all).await;
        (self.events, self.faults) = (events.into_inner(), faults.into_inner());
        self.findings.extend(findings.into_inner());
        Ok(())
    }

    // ---- the end ----

    /// What is looked at when all is healed and nobody writes any more.
    async fn last_looks(&self) -> Result<Vec<Finding>, Trouble> {
        let mut findings = self.last_reads().await?;
        if self.cluster.target.has_peers() {
            findings.push(self.compare().await);
        }
        findings.extend(self.compare_tables().await);
        Ok(findings)
    }

    /// Each node is asked for everything, by a client of its own.
    async fn last_reads(&self) -> Result<Vec<Finding>, Trouble> {
        self.phase("last reads");
        let mut readers = Vec::new();
        for workload in &self.plan.workloads {
            let events = self.client_events(workload)?;
            let ops = workload::finals(workload, &events, self.from);
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
        let mut findings = Vec::new();
        for mut reader in readers {
            let status = reader.wait(10 * FINAL_PATIENCE).await?;
            if !status.success() {
                let why = format!("{} did not succeed; see logs/clients.log", reader.what());
                findings.push(Finding::new("run", "last reads", Verdict::Violated, why));
            }
        }
        Ok(findings)
    }

    fn reader(&self, workload: &str, node: usize, process: u64, ops: Vec<Op>) -> Orders {
        Orders {
            workload: workload.into(),
            seat: workload::Seat { client: 0, clients: 1, seed: self.plan.seed, from: self.from },
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

/// Breaks things, one after the other.
struct Hand<'a> {
    plan: &'a Plan,
    stage: Stage<'a>,
    /// From 0. The later ones rest longer, so that faults stand alone too.
    number: u64,
    end: Instant,
    /// What is still to be broken in this turn, by whichever hand: each in turn, in an order that is drawn anew each time, so that none is
    /// left out of a short run.
    due: &'a RefCell<Vec<&'a String>>,
    watched: &'a Watched,
    faults: &'a RefCell<Vec<Fault>>,
    findings: &'a RefCell<Vec<Finding>>,
    /// Something went wrong with the faults themselves: nothing more is broken.
    over: &'a Cell<bool>,
}

impl Hand<'_> {
    async fn work(mut self) {
        let names = &self.plan.nemeses;
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            let most = if self.number == 0 { 2500 } else { 10_000 };
            let calm = Duration::from_millis(self.stage.rng.between(500, most)).min(self.plan.time / 10);
            if left <= calm + Duration::from_millis(500) || self.over.get() {
                sleep(left).await;
                return;
            }
            sleep(calm).await;
            let name = {
                let mut due = self.due.borrow_mut();
                if due.is_empty() {
                    due.extend(names);
                }
                let at = self.stage.rng.below(due.len() as u64) as usize;
                due.swap_remove(at)
            };
            // A short run shall see several of them.
            self.stage.longest = left.saturating_sub(calm).min(self.plan.time / 4);
            let begin = clock::now();
            let done = nemesis::fault(name, &mut self.stage).await;
            let fault = done.unwrap_or_else(|why| {
                // Whether the system comes back from that is judged at the end; nothing more is broken.
                self.over.set(true);
                let finding = Finding::new("run", "faults", Verdict::Unknown, format!("{name}: {why}"));
                self.findings.borrow_mut().push(finding);
                Fault::broken_off(name, begin, &why)
            });
            self.faults.borrow_mut().push(fault);
            self.watched.faults.set(self.faults.borrow().len() as u64);
        }
    }
}

/// Nodes that ended, though nobody works on them, each started again.
fn strays(cluster: &Cluster) -> Vec<Finding> {
    let free = (0..cluster.len()).filter(|&at| !cluster.is_claimed(at));
    let ended = free.filter_map(|at| cluster.revive(at).err());
    ended.map(|why| Finding::new("run", "nodes stay up", Verdict::Violated, why)).collect()
}

/// Goes through with something while nodes that end by themselves are started again: damage done while things were broken may be
/// read for the first time now.
async fn attended<T>(cluster: &Cluster, work: impl Future<Output = T>) -> (T, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(LOOK, &mut work).await {
            Ok(done) => return (done, findings),
            Err(_) => findings.extend(strays(cluster)),
        }
    }
}

/// Waits for all of them; they go on side by side.
async fn together(mut all: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>) {
    std::future::poll_fn(move |context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
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
