//! Exhaustive search: from one start, everything that may happen within stated budgets, in every order.
//!
//! Time plays no part: every timer may fire at any moment (the election timeout is a nanosecond, the heartbeat an age).
//! States that agree in what decides their future are visited once; see [`quorate_protocol::raft::Raft::fingerprint`].
//! Links deliver in order unless `reorder` is set, as the transport does. A search that comes to its end proves the
//! properties of [`crate::checker`] for its budgets; one that is stopped by its limit is a very patient test.
//!
//! `cargo run -p quorate-protocol --example search` lists the configurations and runs one to its end.

use crate::cluster::{Cluster, Options, Packet, SHARD, n};
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId};
use quorate_protocol::raft::{Config, Input, Membership, Message, Mutant};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// What may happen, and how often on one path.
#[derive(Clone, Debug, Hash)]
pub struct Budget {
    /// Who may lose patience.
    pub campaigners: Vec<u64>,
    /// Nobody campaigns in a higher term.
    pub term_max: u64,
    /// How often somebody may lose patience; nobody does while requests of its last attempt are under way.
    pub timeouts: u32,
    pub lose: u32,
    pub double: u32,
    pub crash: u32,
    pub propose: u32,
    pub read: u32,
    pub disconnect: u32,
    /// Changes of members that a leader may be asked for.
    pub changes: Vec<Membership>,
    pub reorder: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            campaigners: vec![1, 2, 3],
            term_max: 2,
            timeouts: 4,
            lose: 0,
            double: 0,
            crash: 0,
            propose: 0,
            read: 0,
            disconnect: 0,
            changes: vec![],
            reorder: false,
        }
    }
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Action {
    TimeOut(NodeId),
    Deliver(usize),
    Lose(usize),
    Double(usize),
    Flush(NodeId),
    /// With how many unflushed writes on disk anyway; it starts again at once.
    Crash(NodeId, usize),
    Propose(NodeId),
    Read(NodeId),
    Disconnect(NodeId, NodeId),
    Change(NodeId, usize),
}

#[derive(Clone)]
struct State {
    cluster: Cluster,
    budget: Budget,
    path: Path,
}

/// What happened, in words, the newest first; paths share their beginnings.
#[derive(Clone, Default)]
struct Path(Option<Rc<(String, Path)>>, usize);

impl Path {
    fn then(&self, words: String) -> Self {
        Self(Some(Rc::new((words, self.clone()))), self.1 + 1)
    }

    fn words(&self) -> String {
        let (mut out, mut at) = (Vec::new(), self);
        while let Some(link) = &at.0 {
            out.push(link.0.as_str());
            at = &link.1;
        }
        out.reverse();
        out.join("\n  ")
    }
}

/// What a search has seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub states: usize,
    pub steps: usize,
    pub longest: usize,
    /// Nothing was left to visit.
    pub complete: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.complete { "complete" } else { "stopped at its limit" };
        write!(f, "{} states, {} steps, longest path {}: {end}", self.states, self.steps, self.longest)
    }
}

/// Visits all states, at most `limit`; the error says what is wrong and how it came about.
pub fn search(cluster: Cluster, budget: Budget, limit: usize) -> Result<Report, String> {
    let mut report = Report::default();
    let mut seen = BTreeSet::new();
    let start = State { cluster, budget, path: Path::default() };
    seen.insert(start.key());
    let mut open = vec![start];
    while let Some(state) = open.pop() {
        report.states += 1;
        report.longest = report.longest.max(state.path.1);
        if report.states >= limit {
            return Ok(report);
        }
        for action in state.actions() {
            report.steps += 1;
            let next = state.after(&action);
            if let Err(why) = next.cluster.verdict() {
                return Err(format!("{why}\n  {}", next.path.words()));
            }
            if seen.insert(next.key()) {
                open.push(next);
            }
        }
    }
    report.complete = true;
    Ok(report)
}

impl State {
    fn actions(&self) -> Vec<Action> {
        let (c, b) = (&self.cluster, &self.budget);
        let mut out = Vec::new();
        for (&id, m) in &c.members {
            let Some(raft) = &m.raft else { continue };
            let asks = |p: &Packet| p.from == id && matches!(p.message, Message::RequestVote { .. });
            let may = b.timeouts > 0 && b.campaigners.contains(&id.0) && !c.net.iter().any(asks);
            if may && !raft.is_leader() && raft.term().0 < b.term_max {
                out.push(Action::TimeOut(id));
            }
            if !m.unflushed.is_empty() {
                out.push(Action::Flush(id));
            }
            if b.crash > 0 {
                out.push(Action::Crash(id, 0));
                if !m.unflushed.is_empty() {
                    out.push(Action::Crash(id, m.unflushed.len()));
                }
            }
            if b.read > 0 && raft.leader().is_some() {
                out.push(Action::Read(id));
            }
            if raft.is_leader() {
                if b.propose > 0 {
                    out.push(Action::Propose(id));
                }
                if b.disconnect > 0 {
                    out.extend(raft.progress().keys().map(|&peer| Action::Disconnect(id, peer)));
                }
                out.extend((0..b.changes.len()).map(|i| Action::Change(id, i)));
            }
        }
        let mut links = BTreeSet::new();
        for (i, p) in c.net.iter().enumerate() {
            if links.insert((p.from, p.to)) || b.reorder {
                out.push(Action::Deliver(i));
                if b.lose > 0 {
                    out.push(Action::Lose(i));
                }
                if b.double > 0 {
                    out.push(Action::Double(i));
                }
            }
        }
        out
    }

    fn after(&self, action: &Action) -> Self {
        let mut next = self.clone();
        let (c, b) = (&mut next.cluster, &mut next.budget);
        c.now = c.now + Duration::from_nanos(100);
        let packet = |c: &Cluster, i: usize| {
            let p = &c.net[i];
            format!("n{} -> n{}: {}", p.from, p.to, p.message)
        };
        next.path = next.path.then(match action {
            Action::Deliver(i) => packet(c, *i),
            Action::Lose(i) => format!("lost: {}", packet(c, *i)),
            Action::Double(i) => format!("doubled: {}", packet(c, *i)),
            other => format!("{other:?}"),
        });
        match *action {
            Action::TimeOut(node) => {
                b.timeouts -= 1;
                c.step(node, Input::Tick);
            }
            Action::Deliver(i) => c.deliver_at(i),
            Action::Lose(i) => {
                b.lose -= 1;
                c.net.remove(i);
            }
            Action::Double(i) => {
                b.double -= 1;
                let again = c.net[i].clone();
                c.net.push_back(again);
            }
            Action::Flush(node) => c.flush(node, 1),
            Action::Crash(node, kept) => {
                b.crash -= 1;
                c.restart(node, kept);
            }
            Action::Propose(node) => {
                b.propose -= 1;
                c.propose(node, "x");
            }
            Action::Read(node) => {
                b.read -= 1;
                c.read(node);
            }
            Action::Disconnect(node, peer) => {
                b.disconnect -= 1;
                c.step(node, Input::Unreachable { peer });
            }
            Action::Change(node, i) => {
                let target = b.changes.remove(i);
                c.change(node, &target);
            }
        }
        next
    }

    /// Two states with one key have one future. 128 bits: a collision among millions is no concern.
    fn key(&self) -> (u64, u64) {
        let (mut a, mut b) = (DefaultHasher::new(), DefaultHasher::new());
        1_u8.hash(&mut b);
        self.feed(&mut a);
        self.feed(&mut b);
        (a.finish(), b.finish())
    }

    fn feed(&self, to: &mut impl Hasher) {
        let c = &self.cluster;
        for m in c.members.values() {
            if let Some(raft) = &m.raft {
                raft.fingerprint(to);
            }
            (m.disk.hard.term, m.disk.hard.vote, m.disk.base.id, m.machine.digest).hash(to);
            for e in &m.disk.entries {
                (e.id, e.kind, &e.data).hash(to);
            }
            for write in &m.unflushed {
                write.hard.map(|h| (h.term, h.vote)).hash(to);
                write.entries.iter().for_each(|e| (e.id, &e.data).hash(to));
            }
            // A held message waits for one of the writes under way: which one, counted from the front.
            let first = m.unflushed.front().map_or(0, |w| w.write.0);
            for held in &m.held {
                let (peer, message) = held.peek();
                (held.needs().1.0.saturating_sub(first), peer, digest(message)).hash(to);
            }
        }
        // Each link is a queue; the links among themselves have no order.
        let mut links: BTreeMap<(NodeId, NodeId), Vec<u64>> = BTreeMap::new();
        for p in &c.net {
            links.entry((p.from, p.to)).or_default().push(digest(&p.message));
        }
        if self.budget.reorder {
            for link in links.values_mut() {
                link.sort_unstable();
            }
        }
        links.hash(to);
        c.checker.fingerprint(to);
        c.reads.iter().for_each(|(id, floor)| (id.0, floor).hash(to));
        self.budget.hash(to);
    }
}

/// A message in 64 bits.
fn digest(message: &Message) -> u64 {
    let mut h = DefaultHasher::new();
    match message {
        Message::Append { term, prev, entries, commit } => {
            (0, term, prev, commit).hash(&mut h);
            for e in entries {
                (e.id, e.kind, &e.data).hash(&mut h);
            }
        }
        Message::RequestVote { term, pre, transfer, last } => (1, term, pre, transfer, last).hash(&mut h),
        Message::Vote { term, pre, granted, withheld } => (2, term, pre, granted, withheld).hash(&mut h),
        Message::Appended { term, matched } => (3, term, matched).hash(&mut h),
        Message::AppendRejected { term, prev, hint } => (4, term, prev, hint).hash(&mut h),
        Message::Heartbeat { term, commit, round } => (5, term, commit, round).hash(&mut h),
        Message::HeartbeatResponse { term, round, withheld } => (6, term, round, withheld).hash(&mut h),
        Message::Commit { term, commit } => (7, term, commit).hash(&mut h),
        other => format!("{other:?}").hash(&mut h),
    }
    h.finish()
}

/// A cluster in which every timer may fire at any moment.
fn timeless(voters: &[u64], mutant: Option<Mutant>) -> Cluster {
    let config = Config {
        heartbeat: Duration::from_secs(1 << 30),
        election_min: Duration::from_nanos(1),
        election_max: Duration::from_nanos(1),
        ..Config::new(SHARD, n(0))
    };
    let options = Options { auto_disk: false, mutant, config, ..Options::default() };
    let mut cluster = Cluster::new(options, voters, &[]);
    cluster.now = Instant(1000);
    cluster
}

/// A start, by name, with its budgets.
pub struct Setup {
    pub name: &'static str,
    pub about: &'static str,
    pub start: fn(Option<Mutant>) -> (Cluster, Budget),
}

pub const SETUPS: &[Setup] = &[
    Setup {
        name: "two",
        about: "two nodes from empty, two terms, one crash, one lost message, disks by hand",
        start: |mutant| {
            let budget = Budget { campaigners: vec![1, 2], lose: 1, crash: 1, ..Budget::default() };
            (timeless(&[1, 2], mutant), budget)
        },
    },
    Setup {
        name: "three",
        about: "three nodes from empty, two time-outs of nodes 1 and 2, two terms, disks at once",
        start: |mutant| {
            let mut cluster = timeless(&[1, 2, 3], mutant);
            cluster.options.auto_disk = true;
            (cluster, Budget { campaigners: vec![1, 2], timeouts: 2, ..Budget::default() })
        },
    },
    Setup {
        name: "three-faults",
        about: "three nodes from empty, two terms, one crash, one lost and one doubled message, one command, disks by hand",
        start: |mutant| {
            let budget = Budget { lose: 1, double: 1, crash: 1, propose: 1, ..Budget::default() };
            (timeless(&[1, 2, 3], mutant), budget)
        },
    },
    Setup {
        name: "three-once",
        about: "as three-faults, with one time-out: four million states",
        start: |mutant| {
            let budget =
                Budget { timeouts: 1, lose: 1, double: 1, crash: 1, propose: 1, ..Budget::default() };
            (timeless(&[1, 2, 3], mutant), budget)
        },
    },
    Setup {
        name: "three-reads",
        about: "three nodes, one leads in term 1 with a command committed; nodes 1 and 2 campaign once more, one read, one command",
        start: |mutant| {
            let mut cluster = timeless(&[1, 2, 3], mutant);
            cluster.options.auto_disk = true;
            cluster.step(n(1), Input::Tick);
            cluster.stabilize();
            cluster.propose(n(1), "a");
            cluster.stabilize();
            let budget = Budget { campaigners: vec![2], read: 1, propose: 1, lose: 1, ..Budget::default() };
            (cluster, budget)
        },
    },
    Setup {
        name: "figure8",
        about: "Figure 8 from (b): node 1 may lead again, and node 5, whose log has a newer term, after it",
        start: |mutant| {
            let mut cluster = timeless(&[1, 2, 3, 4, 5], mutant);
            cluster.options.auto_disk = true;
            cluster.options.config.max_append_entries = 1;
            for (node, terms) in [(1, &[1, 2][..]), (2, &[1, 2]), (3, &[1]), (4, &[1]), (5, &[1, 3])] {
                cluster.seed(n(node), 3, terms);
            }
            let budget = Budget { campaigners: vec![1, 5], term_max: 5, lose: 2, ..Budget::default() };
            (cluster, budget)
        },
    },
    Setup {
        name: "change-2015",
        about: "four voters; node 1 alone has begun to remove 4, node 2 may remove 1 (the schedule of 2015, by joint steps)",
        start: |mutant| {
            let mut cluster = timeless(&[1, 2, 3, 4], mutant);
            cluster.options.auto_disk = true;
            cluster.step(n(1), Input::Tick);
            cluster.stabilize();
            let voters = |ids: &[u64]| Membership::of_voters(ids.iter().map(|&i| n(i)));
            cluster.change(n(1), &voters(&[1, 2, 3]));
            cluster.net.clear();
            let changes = vec![voters(&[2, 3, 4])];
            let budget = Budget { campaigners: vec![1, 2], term_max: 3, changes, ..Budget::default() };
            (cluster, budget)
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// How many states each start may take here; the example goes on to the end.
    const LIMIT: usize = 2000;

    #[test]
    fn nothing_is_wrong_within_the_small_budget() {
        for setup in SETUPS {
            let (cluster, budget) = (setup.start)(None);
            match search(cluster, budget, LIMIT) {
                Ok(report) => println!("{} ({}): {report}", setup.name, setup.about),
                Err(why) => panic!("{}: {why}", setup.name),
            }
        }
    }
}
