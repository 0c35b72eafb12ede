//! The processes of a local cluster as one thing: started together, watched over, stopped in order.

use super::child::{self, Event, Handle, Order};
use super::plan::Plan;
use super::screen::{Elsewhere, NodeLine, Screen, Serving};
use crate::probe::{self, MemberInfo};
use crate::report::{Exit, Problem};
use quorate_base::NodeId;
use quorate_server::datadir::is_lost;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How often a cluster that begins is asked whether it has a leader.
const POLL: Duration = Duration::from_millis(10);
/// How long one such question may take.
const POLL_PATIENCE: Duration = Duration::from_secs(1);
/// From then on a cluster that has no leader says whom it misses.
const LEADER_PATIENCE: Duration = Duration::from_secs(5);
/// A cluster that has not begun to serve by then will not.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How long nodes that were told to stop may take.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A node that served this long has recovered: its next death begins with the shortest pause again.
const STEADY: Duration = Duration::from_secs(10);

/// The signals that end a cluster.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    /// From here on they no longer end the process by themselves.
    pub(super) fn listen() -> Result<Self, Problem> {
        let on = |kind| {
            signal(kind).map_err(|e| Problem::new(Exit::Failed, format!("cannot handle signals: {e}"), ""))
        };
        Ok(Self {
            term: on(SignalKind::terminate())?,
            int: on(SignalKind::interrupt())?,
            hup: on(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.hup.recv() => {}
        }
    }
}

/// How a start ended.
pub(super) enum Began {
    /// All serve.
    Serving(Serving),
    /// A signal came first.
    Interrupted,
}

/// One node's process over its lives.
struct Node {
    handle: Option<Handle>,
    serving: bool,
    started: Instant,
    pause: Duration,
    restart_at: Option<Instant>,
}

/// The processes.
pub(super) struct Cluster {
    home: PathBuf,
    plan: Plan,
    extra: Vec<String>,
    nodes: BTreeMap<u64, Node>,
    /// Members that are not started, as their data are gone.
    lost: BTreeSet<u64>,
    events: UnboundedReceiver<Event>,
    sender: UnboundedSender<Event>,
}

impl Cluster {
    /// The cluster of `plan` with its data in `home`; nothing runs yet. `extra` goes to each node's command line.
    pub(super) fn new(home: PathBuf, plan: Plan, extra: Vec<String>) -> Self {
        let (sender, events) = unbounded_channel();
        Self { home, plan, extra, nodes: BTreeMap::new(), lost: BTreeSet::new(), events, sender }
    }

    /// The cluster's name.
    pub(super) fn name(&self) -> &str {
        &self.plan.cluster
    }

    /// Starts all nodes and waits until they serve and agree on a leader. One that was removed from the cluster is told of
    /// and left.
    pub(super) async fn begin(&mut self, signals: &mut Signals, screen: &Screen) -> Result<Began, Problem> {
        for node in self.plan.nodes.iter().filter(|node| node.removed) {
            screen.left_out(node.id, &child::data_dir(&self.home, node.id));
        }
        self.lost = self.plan.members().map(|n| n.id).filter(|&id| self.is_lost(id)).collect();
        for &id in &self.lost {
            self.tell_lost(id, screen);
        }
        // The others first: the first node's call for votes should find them listening.
        let ids: Vec<u64> = self.started().map(|n| n.id).rev().collect();
        for &id in &ids {
            self.launch(id, ids.last() == Some(&id))?;
        }
        let mut roles = Box::pin(agreed_roles(self.urls()));
        let mut late = std::pin::pin!(sleep(START_PATIENCE));
        let mut leaderless = std::pin::pin!(sleep(LEADER_PATIENCE));
        let mut said = false;
        let roles = loop {
            let all_serve = self.nodes.values().all(|n| n.serving);
            tokio::select! {
                biased;
                () = signals.next() => return Ok(Began::Interrupted),
                event = self.events.recv() => match event {
                    Some(Event::Serving { node }) => self.mark_serving(node),
                    Some(Event::Exited { node, pid, status, why }) => {
                        self.mark_exited(node);
                        if !was_removed(status) {
                            return Err(self.stillborn(node, pid, status, why));
                        }
                        screen.left_out(node, &child::data_dir(&self.home, node));
                        self.leave_out(node)?;
                        roles = Box::pin(agreed_roles(self.urls()));
                    }
                    None => {}
                },
                roles = &mut roles, if all_serve => break roles,
                () = &mut leaderless, if all_serve && !said => {
                    said = true;
                    screen.waiting(&self.elsewhere(self.seen_by_one().await).await);
                }
                () = &mut late => return Err(self.too_late().await),
            }
        };
        let members = self.known_to_the_leader().await;
        // Nobody tells those that do not run that they were removed.
        for id in self.lost.clone() {
            if !members.is_empty() && members.iter().all(|m| m.id != id) {
                self.lost.remove(&id);
                self.leave_out(id)?;
            }
        }
        let removed = self.plan.nodes.iter().filter(|node| node.removed).map(|node| node.id).collect();
        let (elsewhere, lost) = (self.elsewhere(members).await, self.lost.iter().copied().collect());
        Ok(Began::Serving(Serving { nodes: self.lines(&roles), elsewhere, removed, lost }))
    }

    /// The members that are to run here.
    fn started(&self) -> impl DoubleEndedIterator<Item = &super::plan::PlannedNode> {
        self.plan.members().filter(|node| !self.lost.contains(&node.id))
    }

    fn is_lost(&self, id: u64) -> bool {
        let others = self.plan.nodes.iter().filter(|n| n.id != id).map(|n| child::data_dir(&self.home, n.id));
        is_lost(NodeId(id), &child::data_dir(&self.home, id), others)
    }

    /// What becomes of a node whose data are gone: the others would refuse it, since it has forgotten what it promised.
    fn tell_lost(&self, id: u64, screen: &Screen) {
        let endpoint = self.started().next().map_or_else(String::new, |n| n.etcd.to_string());
        screen.lost(id, &child::data_dir(&self.home, id), &endpoint);
    }

    fn urls(&self) -> Vec<String> {
        self.started().map(super::plan::PlannedNode::url).collect()
    }

    /// A node was removed from the cluster: it is not started again, not by the next `up` either.
    fn leave_out(&mut self, id: u64) -> Result<(), Problem> {
        self.nodes.remove(&id);
        self.plan.remove(id);
        self.plan.store(&self.home)?;
        if self.started().next().is_some() {
            return Ok(());
        }
        let hint = "its cluster goes on elsewhere, if at all; remove the directory, or choose another one with --data";
        Err(Problem::new(Exit::Removed, "every node of this `up` was removed from its cluster", hint))
    }

    /// A node that serves.
    fn serving(&self) -> Option<&super::plan::PlannedNode> {
        self.plan.members().find(|n| self.nodes.get(&n.id).is_some_and(|node| node.serving))
    }

    /// The members as one node that serves sees them: while nobody leads, no more can be had.
    async fn seen_by_one(&self) -> Vec<MemberInfo> {
        let Some(one) = self.serving() else { return Vec::new() };
        probe::members(&one.url(), POLL_PATIENCE).await.unwrap_or_default()
    }

    /// The members as the leader knows them: a node that was just started may have its last entries still to apply, and would
    /// name who was removed and leave out who was added. A leader that has just been elected may be followed by another at once; where
    /// none is found for a while, as one node sees them.
    async fn known_to_the_leader(&self) -> Vec<MemberInfo> {
        let Some(one) = self.serving() else { return Vec::new() };
        let end = Instant::now() + LEADER_PATIENCE;
        while Instant::now() < end {
            if let Ok((_, members)) = probe::cluster(&one.url(), LEADER_PATIENCE, true).await {
                return members;
            }
            sleep(POLL).await;
        }
        self.seen_by_one().await
    }

    /// Those of `members` that do not run here.
    async fn elsewhere(&self, members: Vec<MemberInfo>) -> Vec<Elsewhere> {
        let Some(first) = self.serving() else { return Vec::new() };
        let mut found = Vec::new();
        for member in members.into_iter().filter(|m| self.plan.members().all(|n| n.id != m.id)) {
            let client = member.client_urls.first().cloned().unwrap_or_default();
            found.push(Elsewhere {
                id: member.id,
                name: member.name,
                peer: member.peer_urls.first().cloned().unwrap_or_default(),
                answers: !client.is_empty() && probe::status(&client, POLL_PATIENCE).await.is_ok(),
                etcd: client,
                join: first.etcd.to_string(),
            });
        }
        found
    }

    /// Watches over the nodes until a signal comes, or until none is left.
    pub(super) async fn watch_over(
        &mut self,
        signals: &mut Signals,
        screen: &Screen,
        restart: bool,
    ) -> Result<(), Problem> {
        loop {
            let due = self.nodes.values().filter_map(|n| n.restart_at).min();
            let timer = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = signals.next() => return Ok(()),
                event = self.events.recv() => match event {
                    Some(Event::Serving { node }) => {
                        self.mark_serving(node);
                        screen.started(node, self.pid(node));
                    }
                    Some(Event::Exited { node, status, .. }) if was_removed(status) => {
                        screen.removed(node, &child::data_dir(&self.home, node));
                        self.leave_out(node)?;
                        self.some_are_left()?;
                    }
                    Some(Event::Exited { node, pid, status, .. }) => {
                        self.mark_exited(node);
                        let log = child::log_file(&self.home, node);
                        screen.exited(node, pid, &child::describe(status), &child::tail(&log), &log);
                        // A node whose state failed a read heals by starting again.
                        if restart || status.code() == Some(Exit::StateDamaged as i32) {
                            self.plan_restart(node);
                        } else {
                            self.some_are_left()?;
                            screen.stays_down(node);
                        }
                    }
                    None => {}
                },
                () = timer => self.restart_due(screen),
            }
        }
    }

    fn some_are_left(&self) -> Result<(), Problem> {
        if self.nodes.values().any(|n| n.handle.is_some() || n.restart_at.is_some()) {
            return Ok(());
        }
        let hint = "see the logs; --restart starts a node again that died";
        Err(Problem::new(Exit::Failed, "no node is left", hint))
    }

    /// Stops all nodes, the leader last; a second signal, or too long a wait, ends them at once.
    pub(super) async fn stop(&mut self, signals: &mut Signals) {
        let leader = self.leader().await;
        let running = |me: &Self, last: bool| -> BTreeSet<u64> {
            let of = |(&id, node): (&u64, &Node)| node.handle.is_some().then_some(id);
            me.nodes.iter().filter_map(of).filter(|id| last || Some(*id) != leader).collect()
        };
        for last in [false, true] {
            let group = running(self, last);
            self.tell(&group, Order::Stop);
            let gone = tokio::select! {
                gone = timeout(STOP_PATIENCE, self.gone(&group)) => gone.is_ok(),
                () = signals.next() => false,
            };
            if !gone {
                let all = running(self, true);
                self.tell(&all, Order::Kill);
                let _ = timeout(STOP_PATIENCE, self.gone(&all)).await;
                return;
            }
        }
    }

    fn launch(&mut self, id: u64, campaign: bool) -> Result<(), Problem> {
        let Some(planned) = self.plan.nodes.iter().find(|n| n.id == id) else { return Ok(()) };
        let mut extra = self.extra.clone();
        if campaign {
            extra.push("--campaign-at-once".into());
        }
        let handle = child::start(&self.home, &self.plan, planned, &extra, self.sender.clone())?;
        let pause = self.nodes.get(&id).map_or(PAUSE_MIN, |n| n.pause);
        let node =
            Node { handle: Some(handle), serving: false, started: Instant::now(), pause, restart_at: None };
        self.nodes.insert(id, node);
        Ok(())
    }

    fn mark_serving(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.serving = true;
        }
    }

    fn mark_exited(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.handle = None;
            node.serving = false;
        }
    }

    fn plan_restart(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            if node.started.elapsed() > STEADY {
                node.pause = PAUSE_MIN;
            }
            node.restart_at = Some(Instant::now() + node.pause);
            node.pause = (node.pause * 2).min(PAUSE_MAX);
        }
    }

    fn restart_due(&mut self, screen: &Screen) {
        let now = Instant::now();
        let due: Vec<u64> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.restart_at.is_some_and(|at| at <= now))
            .map(|(&id, _)| id)
            .collect();
        for id in due {
            if self.is_lost(id) {
                self.lost.insert(id);
                self.nodes.remove(&id);
                self.tell_lost(id, screen);
            } else if let Err(problem) = self.launch(id, false) {
                screen.text(&format!("node {id} cannot be started again: {problem}"));
                self.plan_restart(id);
            }
        }
    }

    fn pid(&self, id: u64) -> u32 {
        self.nodes.get(&id).and_then(|n| n.handle.as_ref()).map_or(0, |h| h.pid)
    }

    fn tell(&self, group: &BTreeSet<u64>, order: Order) {
        for handle in group.iter().filter_map(|id| self.nodes.get(id)?.handle.as_ref()) {
            handle.tell(order);
        }
    }

    /// Completes when no node of `group` runs.
    async fn gone(&mut self, group: &BTreeSet<u64>) {
        while group.iter().any(|id| self.nodes.get(id).is_some_and(|n| n.handle.is_some())) {
            match self.events.recv().await {
                Some(Event::Exited { node, .. }) => self.mark_exited(node),
                Some(Event::Serving { .. }) => {}
                None => return,
            }
        }
    }

    /// Who leads, if somebody who knows answers quickly.
    async fn leader(&self) -> Option<u64> {
        let status = probe::status(&self.serving()?.url(), Duration::from_millis(200)).await.ok()?;
        (status.leader != 0).then_some(status.leader)
    }

    fn lines(&self, roles: &[&'static str]) -> Vec<NodeLine> {
        let line = |(node, &role): (&super::plan::PlannedNode, &&'static str)| NodeLine {
            id: node.id,
            role,
            pid: self.pid(node.id),
            etcd: node.url(),
            dynamo: format!("http://{}", node.dynamo),
            peer: node.peer.to_string(),
            zone: node.zone.clone().unwrap_or_default(),
            data: child::data_dir(&self.home, node.id).display().to_string(),
            log: child::log_file(&self.home, node.id).display().to_string(),
        };
        self.started().zip(roles).map(line).collect()
    }

    /// Why a node that was just started is gone: in its own words if it had any, else in its log's.
    fn stillborn(&self, node: u64, pid: u32, status: ExitStatus, why: Option<Problem>) -> Problem {
        why.unwrap_or_else(|| {
            let log = child::log_file(&self.home, node);
            let mut message = format!("node {node} (pid {pid}) did not start: {}", child::describe(status));
            for line in child::tail(&log) {
                message.push_str("\n  | ");
                message.push_str(&line);
            }
            Problem::new(Exit::Failed, message, format!("the whole log is {}", log.display()))
        })
    }

    async fn too_late(&self) -> Problem {
        let silent: Vec<String> =
            self.nodes.iter().filter(|(_, n)| !n.serving).map(|(id, _)| id.to_string()).collect();
        let mut missing = self.elsewhere(self.seen_by_one().await).await;
        missing.retain(|m| !m.answers);
        let gone: Vec<String> = self.lost.iter().map(u64::to_string).collect();
        if !gone.is_empty() {
            return Problem::new(
                Exit::Failed,
                format!(
                    "the nodes serve, but have no leader after {} s: the data of node {} are gone",
                    START_PATIENCE.as_secs(),
                    gone.join(", ")
                ),
                "put the data back; without more than half of its members a cluster goes on from a snapshot only (`quorate snapshot \
                 restore`)",
            );
        }
        let message = if let (true, [first, ..]) = (silent.is_empty(), &missing[..]) {
            return Problem::new(
                Exit::Failed,
                format!(
                    "the nodes serve, but have no leader after {} s: {} members do not run here, {} among them",
                    START_PATIENCE.as_secs(),
                    missing.len(),
                    first.title()
                ),
                first.start(),
            );
        } else if silent.is_empty() {
            "the nodes serve, but have no leader".to_string()
        } else {
            format!("still not serving: node {}", silent.join(", "))
        };
        Problem::new(
            Exit::Failed,
            format!("{message} after {} s", START_PATIENCE.as_secs()),
            format!("see the logs in {}", self.home.join("n*").join("log").display()),
        )
    }
}

/// A node said that it is no member of its cluster any more.
fn was_removed(status: ExitStatus) -> bool {
    status.code() == Some(Exit::Removed as i32)
}

/// Completes with the role of each node once all know the same leader.
async fn agreed_roles(urls: Vec<String>) -> Vec<&'static str> {
    loop {
        let mut seen = Vec::new();
        for url in &urls {
            match probe::status(url, POLL_PATIENCE).await {
                Ok(status) if status.leader != 0 => seen.push(status),
                _ => break,
            }
        }
        let leaders: BTreeSet<u64> = seen.iter().map(|s| s.leader).collect();
        if seen.len() == urls.len() && leaders.len() == 1 {
            return seen.iter().map(probe::NodeStatus::role).collect();
        }
        sleep(POLL).await;
    }
}
