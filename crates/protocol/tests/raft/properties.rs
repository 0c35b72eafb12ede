//! Random schedules: every fault that the model knows, at any moment, and after each step every property.
//!
//! A seed gives one run. First the *faulty* phase: messages late, lost, doubled and out of order, links cut, processes
//! stopped and started, unflushed writes lost or kept, checkpoints and compactions, snapshots, changes of members and of
//! the leader, clocks that stand still for a node; in half of the runs leases, under clocks that drift as far as they may. Then the *healed* phase: no more faults, and within a bound the group
//! must have one leader, no joint configuration, and every machine at the same state with a new command in it.
//!
//! `SEEDS=from..to cargo test -p quorate-protocol random` runs others than the default, `TRACE=1` shows what happened.

use crate::checker::log_matching;
use crate::cluster::{Cluster, Fate, Options, Packet, n};
use quorate_base::time::Duration;
use quorate_base::{Index, NodeId, Rng};
use quorate_protocol::raft::{Input, Membership, Mutant, Raft};
use std::collections::BTreeSet;

const NODES: u64 = 5;

/// One random run.
pub fn run(seed: u64, steps: usize, mutant: Option<Mutant>) -> Result<(), String> {
    let mut rng = Rng::stream(seed, "schedule");
    let mut options = Options { seed, mutant, ..Options::default() };
    // Swarm: each run has its own mix, so that rare combinations are common in some runs.
    options.auto_disk = rng.chance(1, 4);
    options.auto_work = rng.chance(1, 2);
    options.auto_compact = rng.chance(1, 3);
    options.config.max_append_entries = *rng.pick(&[1, 1, 2, 100]);
    options.config.window_messages = *rng.pick(&[1, 2, 16]);
    options.config.log_keep_bytes = *rng.pick(&[0, 200, 100_000]);
    options.config.log_pin_bytes = 4 * options.config.log_keep_bytes;
    options.config.max_unapplied_bytes = *rng.pick(&[0, 200, 100_000]);
    let mut mix = Mix::draw(&mut rng);
    // From a stream of its own, so that schedules without leases stay what they were.
    let mut clocks = Rng::stream(seed, "clocks");
    let drift = clocks.chance(1, 2).then(|| *clocks.pick(&[0, 1_000, 100_000]));
    options.config.lease_reads = drift;
    let mut patience = Rng::stream(seed, "commit patience");
    options.config.commit_patience = Duration::from_millis(*patience.pick(&[0, 10, 500]));
    options.config.rests = Rng::stream(seed, "rest").chance(1, 3);
    let mut voters = *rng.pick(&[1_u64, 2, 3, 3, 3, 4, 5]);
    if mix.storm {
        voters = 5;
        options.auto_disk = true;
        options.config.max_append_entries = 1;
    }
    let ids: Vec<u64> = (1..=voters).collect();
    let mut disks = Rng::stream(seed, "lost disks");
    if mix.change == 0 && !mix.storm && disks.chance(1, 2) {
        mix.lose_disk = disks.between(1, 5);
    }
    let mut schedule = Schedule { cluster: Cluster::new(options, &ids, &[]), mix, rng, disks };
    let first = schedule.cluster.raft(1).membership().clone();
    for spare in voters + 1..=NODES {
        // Not members yet; they hear of the group once they are.
        schedule.cluster.add(n(spare), &first);
    }
    if let Some(drift) = drift {
        for m in schedule.cluster.members.values_mut() {
            m.rate = 1_000_000 - u64::from(drift) + clocks.below(2 * u64::from(drift) + 1);
        }
    }
    if std::env::var_os("TRACE").is_some() {
        schedule.cluster.trace = Some(Vec::new());
    }
    for _ in 0..steps {
        schedule.step();
        for line in schedule.cluster.trace.iter_mut().flat_map(std::mem::take) {
            println!("{line}");
        }
        schedule.cluster.verdict()?;
    }
    log_matching(&schedule.cluster.members)?;
    schedule.heal()
}

/// It has lost its state or its disk, and has not healed. (Who is only told so again may stop nobody.)
fn is_sick(m: &crate::cluster::Member) -> bool {
    m.state_lost || (!m.again && m.raft.as_ref().map_or(m.disk_lost, Raft::disk_lost))
}

/// How often each thing happens, of 1000 steps.
struct Mix {
    lose: u64,
    double: u64,
    reorder: u64,
    crash: u64,
    cut: u64,
    checkpoint: u64,
    change: u64,
    transfer: u64,
    disconnect: u64,
    timeout: u64,
    /// Of 10 crashes, how many cost the state, while no other is lost. Where members change, one may be alone with its loss.
    lose_state: u64,
    /// The same for whole disks.
    lose_disk: u64,
    /// Leaders fall as soon as they are made, and messages trickle: what Figure 8 needs.
    storm: bool,
}

impl Mix {
    fn draw(rng: &mut Rng) -> Self {
        let storm = rng.chance(1, 8);
        if storm {
            return Self {
                lose: rng.between(50, 400),
                double: 0,
                reorder: 0,
                crash: rng.between(10, 60),
                cut: rng.between(0, 20),
                checkpoint: 0,
                change: 0,
                transfer: 0,
                disconnect: 0,
                timeout: rng.between(20, 100),
                lose_state: 0,
                lose_disk: 0,
                storm,
            };
        }
        let mut of = |most: u64| if rng.chance(1, 3) { 0 } else { rng.between(1, most) };
        let mut mix = Self {
            lose: of(150),
            double: of(100),
            reorder: of(500),
            crash: of(20),
            cut: of(20),
            checkpoint: of(20),
            change: of(20),
            transfer: of(15),
            disconnect: of(20),
            timeout: 3 + of(20),
            lose_state: 0,
            lose_disk: 0,
            storm,
        };
        if mix.change == 0 {
            mix.lose_state = of(8);
        }
        mix
    }
}

struct Schedule {
    cluster: Cluster,
    mix: Mix,
    rng: Rng,
    disks: Rng,
}

impl Schedule {
    #[allow(
        clippy::ifs_same_cond,
        clippy::same_functions_in_if_condition,
        reason = "the branches differ in what follows the draw"
    )]
    fn step(&mut self) {
        let roll = self.rng.below(1000);
        let mix = &self.mix;
        let mut upto = 0;
        let mut within = |weight: u64| {
            upto += weight;
            roll < upto
        };
        if within(mix.crash) {
            self.crash_or_start();
        } else if within(mix.cut) {
            self.cut_or_heal();
        } else if within(mix.checkpoint) {
            let node = self.node();
            self.cluster.checkpoint(node);
        } else if within(mix.change) {
            self.change();
        } else if within(mix.transfer) {
            let (node, to) = (self.leader_or_any(), self.node());
            self.cluster.step(node, Input::Transfer { to });
        } else if within(mix.disconnect) {
            let (node, peer) = (self.node(), self.node());
            self.cluster.step(node, Input::Unreachable { peer });
        } else if within(mix.timeout) {
            let node = self.node();
            self.cluster.time_out(node);
        } else if within(60) {
            let node = self.leader_or_any();
            let text = format!("c{}", self.cluster.proposals.len());
            self.cluster.propose(node, &text);
        } else if within(30) {
            let node = self.leader_or_any();
            self.cluster.read(node);
        } else if within(60) {
            let by = Duration::from_millis(self.rng.between(1, 120));
            self.cluster.advance(by);
        } else if within(120) {
            let (node, count) = (self.node(), self.rng.between(1, 3) as usize);
            self.cluster.flush(node, count);
        } else if within(120) {
            let (node, count) = (self.node(), self.rng.between(1, 3) as usize);
            self.cluster.work(node, count);
        } else {
            self.packet();
        }
        if self.cluster.options.config.lease_reads.is_some() && self.rng.chance(1, 4) {
            self.read_at_leaders();
        }
        if self.cluster.options.config.lease_reads.is_some() && self.rng.chance(1, 150) {
            self.try_the_lease();
        }
        if self.mix.lose_disk > 0 && self.disks.chance(1, 300) {
            self.try_the_successor();
        }
        if self.rng.chance(1, 200)
            && let Err(why) = log_matching(&self.cluster.members)
        {
            self.cluster.fail(why);
        }
    }

    /// Reads wherever somebody believes to lead: what a lease must not allow shows there.
    fn read_at_leaders(&mut self) {
        for node in (1..=NODES).map(n) {
            if self.cluster.members[&node].raft.as_ref().is_some_and(Raft::is_leader) {
                self.cluster.read(node);
            }
        }
    }

    /// What a lease must bear: the leader asks another to campaign and hears nothing more; or its heartbeats are answered late, and
    /// then it is alone while the others' promises run out.
    fn try_the_lease(&mut self) {
        let Some(leader) = self.cluster.leader() else { return };
        match self.rng.below(6) {
            0 => self.cluster.heal(),
            1 => {
                let to = self.node();
                self.cluster.step(leader, Input::Transfer { to });
                self.cluster.cut.extend((1..=NODES).map(|from| (n(from), leader)));
            }
            2 => self.restart_under_promise(leader),
            late => {
                self.cluster.time_out(leader);
                self.deliver(|packet| packet.from == leader);
                if self.rng.chance(1, 2) {
                    let by = Duration::from_millis(self.rng.between(100, 650));
                    self.cluster.now = self.cluster.now + by;
                }
                self.deliver(|packet| packet.to == leader);
                self.cluster.isolate(leader);
                if late == 3 {
                    (1..=NODES)
                        .for_each(|node| self.cluster.step(n(node), Input::Unreachable { peer: leader }));
                }
                self.succeed(leader);
                self.read_at_leaders();
            }
        }
    }

    /// What those must bear who depose a leader that does not know it yet: it is cut off, another is elected and commits something;
    /// then that one is cut off or goes down, something happens to one of the others, and the old leader is heard again.
    fn try_the_successor(&mut self) {
        let Some(old) = self.cluster.leader() else { return };
        self.cluster.heal();
        self.cluster.time_out(old);
        self.cluster.stabilize();
        self.cluster.isolate(old);
        self.succeed(old);
        let Some(new) = self.cluster.leader().filter(|&new| new != old) else { return };
        let others: Vec<NodeId> = (1..=NODES).map(n).filter(|&node| node != old && node != new).collect();
        let one = *self.disks.pick(&others);
        match self.disks.below(4) {
            0 => self.cluster.restart(one, 0),
            1 => self.cluster.crash(new, 0),
            _ => {}
        }
        if self.disks.chance(3, 4) {
            self.lose_disk(one);
            self.cluster.start(one);
        }
        self.cluster.heal();
        self.cluster.isolate(new);
        for _ in 0..self.disks.between(1, 4) {
            let leads = self.cluster.members[&old].raft.as_ref().is_some_and(Raft::is_leader);
            if leads && self.disks.chance(1, 3) {
                self.cluster.propose(old, "by who was deposed");
            }
            self.read_at_leaders();
            self.deliver(|packet| packet.from == old);
            self.cluster.stabilize();
            self.cluster.time_out(old);
        }
    }

    /// One hears the leader no more, the others promise until it loses patience, and start again then.
    fn restart_under_promise(&mut self, leader: NodeId) {
        let deaf = self.node();
        self.cluster.cut.extend([(leader, deaf), (deaf, leader)]);
        for _ in 0..14 {
            let Some(at) = self.cluster.deadline(deaf).filter(|&at| at > self.cluster.now) else { break };
            let Some(beat) = self.cluster.deadline(leader).filter(|&beat| beat < at) else { break };
            self.cluster.now = self.cluster.now.max(beat);
            self.cluster.step(leader, Input::Tick);
            self.deliver(|packet| packet.from == leader);
            self.deliver(|packet| packet.to == leader);
        }
        self.cluster.isolate(leader);
        for node in (1..=NODES).map(n).filter(|&node| node != leader && node != deaf) {
            self.cluster.restart(node, 9);
        }
        self.succeed(leader);
        self.read_at_leaders();
    }

    /// The first of the others to lose patience campaigns; whoever leads then commits something.
    fn succeed(&mut self, old: NodeId) {
        let others = (1..=NODES).map(n).filter(|&node| node != old);
        let first = others.filter_map(|node| Some((self.cluster.deadline(node)?, node))).min();
        let Some((_, first)) = first else { return };
        self.cluster.time_out(first);
        self.cluster.stabilize();
        if let Some(new) = self.cluster.leader().filter(|&new| new != old) {
            self.cluster.propose(new, "behind its back");
            self.cluster.stabilize();
        }
    }

    fn deliver(&mut self, chosen: impl Fn(&Packet) -> bool) {
        let mut at = 0;
        for _ in 0..self.cluster.net.len() {
            match self.cluster.net.get(at) {
                Some(packet) if chosen(packet) => self.cluster.deliver_at(at),
                _ => at += 1,
            }
        }
    }

    fn node(&mut self) -> NodeId {
        n(self.rng.between(1, NODES))
    }

    fn leader_or_any(&mut self) -> NodeId {
        let any = self.node();
        if self.rng.chance(1, 5) { any } else { self.cluster.leader().unwrap_or(any) }
    }

    fn packet(&mut self) {
        let count = self.cluster.net.len();
        if count == 0 {
            return;
        }
        let at =
            if self.rng.chance(self.mix.reorder, 1000) { self.rng.below(count as u64) as usize } else { 0 };
        if self.rng.chance(self.mix.double, 1000) && count < 2000 {
            let again = self.cluster.net[at].clone();
            self.cluster.net.push_back(again);
        }
        if self.rng.chance(self.mix.lose, 1000) || count > 2000 {
            self.cluster.net.remove(at);
        } else {
            self.cluster.deliver_at(at);
        }
    }

    fn crash_or_start(&mut self) {
        if self.rng.chance(1, 10) {
            // Everybody at once.
            for node in 1..=NODES {
                let kept = self.rng.below(4) as usize;
                self.cluster.restart(n(node), kept);
            }
            return;
        }
        let node = if self.mix.storm { self.leader_or_any() } else { self.node() };
        if self.cluster.up(node) {
            let kept = self.rng.below(4) as usize;
            self.cluster.crash(node, kept);
            self.lose_state(node);
            self.lose_disk(node);
        }
        let back = if self.rng.chance(1, 2) && !self.mix.storm { node } else { self.node() };
        if !self.cluster.up(back) {
            if self.disks.chance(1, 2) {
                self.cluster.tell_again(back);
            }
            self.cluster.start(back);
        }
    }

    /// The state of a node that is down is gone. One loss at a time, and in a group that can do without it.
    fn lose_state(&mut self, node: NodeId) {
        let members = &mut self.cluster.members;
        let voters = |m: &crate::cluster::Member| m.disk.state.membership.voters.len();
        if self.mix.lose_state == 0
            || members.values().any(is_sick)
            || members.values().any(|m| voters(m) < 3)
            || !self.rng.chance(self.mix.lose_state, 10)
        {
            return;
        }
        if let Some(m) = members.get_mut(&node) {
            m.state_lost = true;
        }
    }

    /// The disk of a voter that is down is gone. One at a time, until it has healed, in a group that can do without it.
    fn lose_disk(&mut self, node: NodeId) {
        let members = &mut self.cluster.members;
        let Some(group) = members.get(&node).map(|m| m.disk.state.membership.clone()) else { return };
        if self.mix.lose_disk > 0
            && !members.values().any(is_sick)
            && group.voters.len() >= 3
            && group.voters.contains(&node)
            && self.disks.chance(self.mix.lose_disk, 10)
        {
            self.cluster.wipe(node, &group);
        }
    }

    fn cut_or_heal(&mut self) {
        match self.rng.below(5) {
            0 | 1 => self.cluster.heal(),
            2 => {
                let node = self.leader_or_any();
                self.cluster.isolate(node);
            }
            3 => {
                let link = (self.node(), self.node());
                self.cluster.cut.insert(link);
            }
            _ => {
                let side: BTreeSet<NodeId> = (1..=NODES).filter(|_| self.rng.chance(1, 2)).map(n).collect();
                for a in 1..=NODES {
                    for b in 1..=NODES {
                        if side.contains(&n(a)) != side.contains(&n(b)) {
                            self.cluster.cut.insert((n(a), n(b)));
                        }
                    }
                }
            }
        }
    }

    fn change(&mut self) {
        let node = self.leader_or_any();
        let Some(raft) = self.cluster.members[&node].raft.as_ref() else { return };
        let mut target = Membership { outgoing: None, ..raft.membership().clone() };
        for _ in 0..self.rng.between(1, 2) {
            let who = self.node();
            let was_learner = target.learners.remove(&who);
            if target.voters.contains(&who) {
                if target.voters.len() > 1 {
                    target.voters.remove(&who);
                    if self.rng.chance(1, 3) {
                        target.learners.insert(who);
                    }
                }
            } else if was_learner {
                if self.rng.chance(4, 5) {
                    target.voters.insert(who);
                }
            } else {
                target.learners.insert(who);
            }
        }
        self.cluster.change(node, &target);
    }

    // ---- the healed phase ----

    fn heal(mut self) -> Result<(), String> {
        let c = &mut self.cluster;
        c.heal();
        (c.options.auto_disk, c.options.auto_work) = (true, true);
        for node in 1..=NODES {
            c.start(n(node));
        }
        let mut wanted = None;
        for _ in 0..400 {
            c.advance(Duration::from_millis(50));
            let rest = c.stabilize();
            c.verdict()?;
            if !rest {
                return Err("liveness: messages breed messages".into());
            }
            let Some(leader) = c.leader() else { continue };
            let accepted = wanted.and_then(|p| match c.proposals.get(&p) {
                Some(Fate::Accepted(at)) if c.checker.has(*at) => Some(at.index),
                _ => None,
            });
            match accepted {
                Some(index) if c.settled(leader, index) => return log_matching(&c.members),
                Some(_) => {}
                None => wanted = Some(c.propose(leader, "after healing")),
            }
        }
        Err(format!("liveness: {}", c.why_stuck()))
    }
}

impl Cluster {
    /// Every member of the leader's configuration, which is not joint, has applied all, at least up to `index`.
    fn settled(&self, leader: NodeId, index: Index) -> bool {
        let raft = self.raft(leader.0);
        let at = raft.applied();
        !raft.membership().is_joint()
            && at >= index
            && raft.membership().nodes().iter().all(|&node| self.raft(node.0).applied() == at)
    }

    fn why_stuck(&self) -> String {
        let line = |raft: &Raft| {
            format!(
                "{:?} {:?} {:?} last {:?} commit {:?} applied {:?} ({}) withholds {} lost {} {:?}",
                raft.id(),
                raft.role(),
                raft.term(),
                raft.last(),
                raft.commit(),
                raft.applied(),
                raft.membership(),
                raft.withholds(),
                raft.state_lost(),
                raft.progress()
            )
        };
        let all: Vec<String> = self.members.values().filter_map(|m| m.raft.as_ref()).map(line).collect();
        format!("after 20 s without faults the group has not settled:\n{}", all.join("\n"))
    }
}

pub fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let given = std::env::var("SEEDS").ok();
    let parsed = given.as_deref().and_then(|s| s.split_once("..")).map(|(a, b)| (a.parse(), b.parse()));
    match parsed {
        Some((Ok(from), Ok(to))) => from..to,
        _ => default,
    }
}

#[test]
fn random_schedules_keep_every_property() {
    for seed in seeds(0..400) {
        if let Err(why) = run(seed, 2000, None) {
            panic!("seed {seed}: {why}");
        }
    }
}
