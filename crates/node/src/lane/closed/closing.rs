//! The leader's side: which groups are led here, who has confirmed that, and what is said of it to whom.

use super::EVERY;
use quorate_base::time::Duration;
use quorate_base::{Index, Instant, NodeId, ShardId, Term};
use quorate_clock::{Hlc, Wall};
use quorate_wire::peer::{Close, Follows};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Who has answered nothing for so long is waited for no longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many rounds may be under way.
const ROUNDS_MAX: usize = 64;

/// A group that is led here.
struct Led {
    term: Term,
    index: Index,
    members: BTreeSet<NodeId>,
    /// With this term and these members since this round: earlier ones were not asked about it, or not all of them.
    since: u64,
    /// The last round in which anything of it changed.
    changed: u64,
}

#[derive(Default)]
struct Peer {
    /// The last round that it has answered: all up to there it knows.
    answered: u64,
    /// But of these groups it said nothing then.
    not: BTreeSet<ShardId>,
    /// When it answered last.
    heard: Option<Instant>,
}

/// See the module page.
pub(super) struct Closing {
    stream: u64,
    due: Option<Instant>,
    round: u64,
    led: BTreeMap<ShardId, Led>,
    /// Groups that were led here, with the round from which on they are not.
    gone: BTreeMap<ShardId, u64>,
    peers: BTreeMap<NodeId, Peer>,
    /// When the last rounds began.
    times: VecDeque<(u64, Wall)>,
}

impl Closing {
    pub(super) fn new(stream: u64) -> Self {
        let (led, gone, peers, times) = Default::default();
        Self { stream, due: None, round: 0, led, gone, peers, times }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// When rounds began was said by a clock that is another one now: none of them is closed, nor compared with.
    pub(super) fn forgets_times(&mut self) {
        self.times.clear();
    }

    /// Whether it is time for the next round; never where nobody wants any.
    pub(super) fn is_due(&mut self, now: Instant, wanted: bool) -> bool {
        if !wanted {
            self.due = None;
            return false;
        }
        let due = self.due.is_none_or(|due| due <= now);
        if due {
            self.due = Some(now + EVERY);
        }
        due
    }

    /// Whether and how a group is led here.
    pub(super) fn leads(&mut self, shard: ShardId, how: Option<(Term, Index, BTreeSet<NodeId>)>) {
        let next = self.round + 1;
        let Some((term, index, members)) = how else {
            if self.led.remove(&shard).is_some() {
                self.gone.insert(shard, next);
            }
            return;
        };
        match self.led.get_mut(&shard) {
            Some(led) if led.term == term && led.members == members => {
                if led.index != index {
                    (led.index, led.changed) = (index, next);
                }
            }
            _ => {
                self.gone.remove(&shard);
                let led = Led { term, index, members, since: next, changed: next };
                self.led.insert(shard, led);
            }
        }
    }

    /// A peer has answered.
    pub(super) fn answered(&mut self, now: Instant, from: NodeId, follows: Follows) {
        if follows.stream != self.stream || follows.round > self.round {
            return;
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.heard = Some(now);
        if follows.round == 0 {
            *peer = Peer { heard: peer.heard, ..Peer::default() };
        } else if follows.round > peer.answered {
            peer.answered = follows.round;
            peer.not = follows.not.into_iter().collect();
        }
    }

    /// The newest round that all have answered who answer at all.
    fn answered_by_all(&self, now: Instant, is_up: &impl Fn(NodeId) -> bool) -> u64 {
        let lives = |peer: &Peer| peer.heard.is_some_and(|at| now.since(at) < PATIENCE);
        let living = self.peers.iter().filter(|(node, peer)| is_up(**node) && lives(peer));
        living.map(|(_, peer)| peer.answered).min().unwrap_or(self.round)
    }

    /// The groups that a round does not close: a majority has not said yet that it follows, or they were led then and are no more, and
    /// whatever the majority says now is not known to be about them. (Seed 2000000 of the simulator: who was succeeded while it stood
    /// still had begun a round as it went on, then heard of that, and closed the round for what it led no longer.)
    fn open(
        &self,
        round: u64,
        is_quorum: &impl Fn(ShardId, &dyn Fn(NodeId) -> bool) -> bool,
    ) -> Vec<ShardId> {
        let all = self.peers.values().all(|peer| peer.answered >= round && peer.not.is_empty());
        let open = |(&shard, led): (&ShardId, &Led)| {
            let says =
                |node| self.peers.get(&node).is_some_and(|p| p.answered >= round && !p.not.contains(&shard));
            (led.since > round || !(all || is_quorum(shard, &says))).then_some(shard)
        };
        let gone = self.gone.iter().filter(|(_, from)| **from > round).map(|(&shard, _)| shard);
        self.led.iter().filter_map(open).chain(gone).collect()
    }

    /// When the round began that an answer is to.
    pub(super) fn began(&self, follows: &Follows) -> Option<Wall> {
        let of = |(round, _): &&(u64, Wall)| *round == follows.round && follows.stream == self.stream;
        self.times.iter().find(of).map(|(_, time)| *time)
    }

    /// Begins a round: what is to be said to whom, to this node itself too. All members hear of it, for the sake of their clocks.
    pub(super) fn next(
        &mut self,
        now: Instant,
        (me, wall): (NodeId, Wall),
        all: &BTreeSet<NodeId>,
        is_up: impl Fn(NodeId) -> bool,
        is_quorum: impl Fn(ShardId, &dyn Fn(NodeId) -> bool) -> bool,
        without_round: bool,
    ) -> Vec<(NodeId, Close)> {
        let members = self.led.values().flat_map(|led| &led.members).chain(all);
        let members: BTreeSet<NodeId> = members.copied().filter(|&node| node != me).collect();
        self.peers.retain(|node, _| members.contains(node));
        for &node in &members {
            self.peers.entry(node).or_default();
        }
        let confirmed = self.answered_by_all(now, &is_up);
        let (mut closed, mut open) = (None, Vec::new());
        if let Some(&time) = self.times.iter().find(|(round, _)| *round == confirmed) {
            closed = Some(time);
            open = self.open(confirmed, &is_quorum);
        }
        self.round += 1;
        self.times.retain(|(round, _)| *round >= confirmed);
        if self.times.len() >= ROUNDS_MAX {
            self.times.pop_front();
        }
        self.times.push_back((self.round, wall));
        if without_round {
            (closed, open) = (Some((self.round, wall)), Vec::new());
        }
        // What it says to itself builds on the round before: also a node that leads nothing any more must hear of that (found by
        // the simulator, seed 30: it went on closing what it had led).
        let known = self.peers.values().map(|peer| peer.answered).chain([self.round - 1]).min().unwrap_or(0);
        self.gone.retain(|_, round| *round > known);
        let to = self.peers.iter().filter(|(node, _)| is_up(**node));
        let to: Vec<(NodeId, u64)> = to.map(|(&node, peer)| (node, peer.answered)).collect();
        let own = (me, self.round - 1);
        to.into_iter()
            .chain([own])
            .map(|(node, base)| (node, self.said_to(node, base, closed, &open)))
            .collect()
    }

    fn said_to(&self, node: NodeId, base: u64, closed: Option<(u64, Wall)>, open: &[ShardId]) -> Close {
        let changed = self.led.iter().filter(|(_, led)| led.changed > base && led.members.contains(&node));
        // Of what it has no replica any more it is to forget what it was told.
        let left = self.led.iter().filter(|(_, led)| led.since > base && !led.members.contains(&node));
        let gone = self.gone.iter().filter(|(_, round)| **round > base).map(|(&shard, _)| shard);
        Close {
            stream: self.stream,
            clock: Hlc::default(),
            round: self.round,
            base,
            closed,
            open: open.to_vec(),
            led: changed.map(|(&shard, led)| (shard, led.term, led.index)).collect(),
            gone: gone.chain(left.map(|(&shard, _)| shard)).collect(),
        }
    }
}
