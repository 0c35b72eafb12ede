//! The nemesis: it kills, cuts power, pauses, cuts links, hands leaderships over, and mends.

use crate::plan::Run;
use crate::steps::Breaker;
use crate::world::Script;
use quorate_base::NodeId;
use quorate_base::time::Duration;
use std::fmt;

/// The nemesis' steps from this number on mend.
const MENDS: u64 = 14;

/// Where nobody is answered for so long, it mends.
const STANDSTILL: Duration = Duration::from_secs(5);

/// What the nemesis does.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill(NodeId),
    PowerLoss(NodeId),
    PowerLossOfAll,
    KillAll,
    Pause(NodeId, Duration),
    Isolate { node: NodeId, out: bool, into: bool },
    CutLink(NodeId, NodeId),
    IsolateLeader,
    PowerLossOfLeader,
    Mend,
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(node) => write!(f, "kills n{node}"),
            Self::PowerLoss(node) => write!(f, "cuts the power of n{node}"),
            Self::PowerLossOfAll => f.write_str("cuts the power of all"),
            Self::KillAll => f.write_str("kills all"),
            Self::Pause(node, span) => write!(f, "pauses n{node} for {span:?}"),
            Self::Isolate { node, out: true, into: true } => write!(f, "cuts n{node} off"),
            Self::Isolate { node, out: true, .. } => write!(f, "cuts off what n{node} sends"),
            Self::Isolate { node, .. } => write!(f, "cuts off what is sent to n{node}"),
            Self::CutLink(one, other) => write!(f, "cuts the link between n{one} and n{other}"),
            Self::IsolateLeader => f.write_str("cuts the leader off"),
            Self::PowerLossOfLeader => f.write_str("cuts the power of the leader"),
            Self::Mend => f.write_str("mends links and disks, starts who is down"),
        }
    }
}

impl Run {
    pub(crate) fn nemesis(&mut self, round: u64) {
        if self.calm || round != self.round {
            return;
        }
        let longest = self.swarm.pause_max.as_nanos() as u64 / 1_000_000;
        let pause = Duration::from_millis(self.nemesis.between(50, longest));
        self.world.schedule(pause, Script::Nemesis(round));
        if self.world.knobs.lease_reads.is_some()
            && self.transfers.chance(1, 4)
            && let Some(leader) = self.world.leader()
            && let Some(name) = self.world.takes(Breaker::Transfers)
        {
            self.world.fault(|| format!("{name}: n{leader} is to hand its leadership over"));
            self.world.hand_over(leader);
        }
        let blow = self.blow();
        let still = self.stands_still().then_some(Blow::Mend);
        let Some(blow) = still.or(blow) else { return };
        if let Some(name) = self.world.takes(Breaker::Nemesis) {
            self.world.fault(|| format!("{name}: {blow}"));
            self.strike(blow);
        }
    }

    /// What is next. All that it draws it draws here.
    fn blow(&mut self) -> Option<Blow> {
        let one = self.world.any(&mut self.nemesis);
        let step = self.nemesis.below(16);
        if step < MENDS && self.swarm.steps & 1 << step == 0 {
            return None;
        }
        Some(match step {
            0..=2 => Blow::Kill(one),
            3..=4 => Blow::PowerLoss(one),
            5 => Blow::PowerLossOfAll,
            6 => Blow::KillAll,
            7 => Blow::Pause(one, Duration::from_millis(self.nemesis.between(10, 4000))),
            8 => Blow::Isolate { node: one, out: true, into: true },
            9 => Blow::Isolate { node: one, out: true, into: false },
            10 => Blow::Isolate { node: one, out: false, into: true },
            11 => Blow::CutLink(one, self.world.any(&mut self.nemesis)),
            12 => Blow::IsolateLeader,
            13 => Blow::PowerLossOfLeader,
            MENDS.. => Blow::Mend,
        })
    }

    /// Nobody was answered for a while: what is broken shows little more.
    fn stands_still(&mut self) -> bool {
        if self.progress.0 != self.answered {
            self.progress = (self.answered, self.world.now);
        }
        self.world.now.since(self.progress.1) > STANDSTILL
    }

    fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Kill(node) => {
                self.world.kill(node);
                self.flip(node);
            }
            Blow::PowerLoss(node) => {
                self.world.power_loss(node);
                self.flip(node);
            }
            Blow::PowerLossOfAll => self.world.ids().for_each(|id| self.world.power_loss(id)),
            Blow::KillAll => self.world.ids().for_each(|id| self.world.kill(id)),
            Blow::Pause(node, span) => self.world.pause(node, span),
            Blow::Isolate { node, out, into } => self.isolate(node, out, into),
            Blow::CutLink(one, other) => {
                self.world.cut(one, other);
                self.world.cut(other, one);
                self.world.counts.add("links cut");
            }
            Blow::IsolateLeader => {
                if let Some(leader) = self.world.leader() {
                    self.isolate(leader, true, true);
                }
            }
            Blow::PowerLossOfLeader => {
                if let Some(leader) = self.world.leader() {
                    self.world.power_loss(leader);
                }
            }
            Blow::Mend => self.mend(),
        }
    }

    /// What happens to those who were just elected.
    pub(crate) fn harm_leader(&mut self, leader: NodeId) {
        if self.calm {
            return;
        }
        self.world.counts.add("new leaders harmed");
        let which = self.nemesis.below(6);
        let after = (which > 1).then(|| Duration::from_millis(self.nemesis.between(1, 2_000)));
        let Some(name) = self.world.takes(Breaker::Envy) else { return };
        match (which, after) {
            (0, _) => {
                self.world.fault(|| format!("{name}: the new leader n{leader} is killed"));
                self.world.kill(leader);
            }
            (1, _) => {
                self.world.fault(|| format!("{name}: the new leader n{leader} loses its power"));
                self.world.power_loss(leader);
            }
            (_, after) => {
                let after = after.unwrap_or_default();
                let (out, into) = (which != 5, which != 4);
                let how = match (out, into) {
                    (true, true) => "is cut off",
                    (true, false) => "is not heard",
                    _ => "hears nothing",
                };
                self.world.fault(|| format!("{name}: the new leader n{leader} {how} for {after:?}"));
                self.isolate(leader, out, into);
                self.world.schedule(after, Script::Rejoin(leader));
            }
        }
    }

    /// What happens to those who have just voted: what they have written of it may be harmed.
    pub(crate) fn harm_voter(&mut self, voter: NodeId) {
        if self.calm {
            return;
        }
        let Some(name) = self.world.takes(Breaker::Envy) else { return };
        self.world.fault(|| format!("{name}: n{voter}, which has voted, is killed"));
        self.world.kill(voter);
        self.flip(voter);
    }

    /// What happens to those who have replaced entries of their logs: the write that did it is damaged, others behind it are not.
    pub(crate) fn harm_rewriter(&mut self, node: NodeId) {
        if self.calm || !self.swarm.flips {
            return;
        }
        let Some(name) = self.world.takes(Breaker::Envy) else { return };
        self.world.fault(|| {
            format!("{name}: n{node}, which has replaced entries, is killed, and a bit of that write flips, if none else is harmed")
        });
        self.world.kill(node);
        self.world.flip_rewrite(node, &mut self.flips);
    }

    /// What happens to those whose disk has failed a flush, if they are up in spite of that, or again.
    pub(crate) fn harm_flusher(&mut self, node: NodeId) {
        if self.calm || !self.world.is_up(node) {
            return;
        }
        let Some(name) = self.world.takes(Breaker::Envy) else { return };
        self.world.counts.add("power lost behind a failed flush");
        self.world.fault(|| format!("{name}: the power of n{node} goes, whose disk has failed a flush"));
        self.world.power_loss(node);
    }

    /// The links of a node are mended.
    pub(crate) fn rejoin(&mut self, node: NodeId) {
        self.world.fault(|| format!("the links of n{node} are mended"));
        self.world.cut.retain(|&(from, to)| from != node && to != node);
    }

    /// A stream of its own: without flips all else stays as it was.
    fn flip(&mut self, node: NodeId) {
        if self.swarm.flips
            && self.flips.chance(1, 2)
            && let Some(name) = self.world.takes(Breaker::Flips)
        {
            self.world
                .fault(|| format!("{name}: a bit of the journal of n{node} flips, if none else is harmed"));
            self.world.flip(node, false, &mut self.flips);
        }
    }

    pub(crate) fn isolate(&mut self, node: NodeId, out: bool, into: bool) {
        self.world.counts.add(if out && into { "isolations" } else { "one-way isolations" });
        self.burst_at_leader(node);
        for n in self.world.ids().filter(|&n| n != node) {
            if out {
                self.world.cut(node, n);
            }
            if into {
                self.world.cut(n, node);
            }
        }
    }

    fn mend(&mut self) {
        self.world.cut.clear();
        self.world.mend_disks();
        self.world.ids().for_each(|id| self.world.start(id));
    }
}
