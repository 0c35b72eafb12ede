//! The replica's side: what leaders have said of their groups, and up to when that is all.

use quorate_base::{Index, NodeId, ShardId, Term};
use quorate_clock::{Hlc, Wall};
use quorate_wire::peer::{Close, Follows};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// So many closed times are remembered of each leader, for replicas that are behind: some six seconds.
const CLOSED_MAX: usize = 32;
/// Nobody leads more groups.
const GROUPS_MAX: usize = 1 << 17;

/// All up to a time is closed, but for some groups.
struct Point {
    /// By what was said of the groups in this round.
    round: u64,
    time: Wall,
    open: BTreeSet<ShardId>,
}

/// What was said of a group, by round: in which term it is led, and up to where it was committed; `None` where it was led no
/// longer.
type Said = VecDeque<(u64, Option<(Term, Index)>)>;

/// What was heard of one leader.
#[derive(Default)]
struct Heard {
    stream: u64,
    /// The rounds that were heard, the newest last.
    rounds: VecDeque<u64>,
    points: VecDeque<Point>,
    groups: BTreeMap<ShardId, Said>,
    /// Groups that are led in terms of which this node cannot say that it has voted in no higher one.
    not: BTreeSet<ShardId>,
    /// The round that is to be answered.
    owed: Option<u64>,
}

/// See the module page.
#[derive(Default)]
pub(in super::super) struct Closed {
    heard: BTreeMap<NodeId, Heard>,
    /// The terms in which this node's replicas are.
    terms: BTreeMap<ShardId, Term>,
}

impl Closed {
    /// A replica is in this term; `None` where there is none that could say so.
    pub(super) fn stands(&mut self, shard: ShardId, term: Option<Term>) {
        let before = match term {
            Some(term) => self.terms.insert(shard, term),
            None => self.terms.remove(&shard),
        };
        if before != term {
            for heard in self.heard.values_mut() {
                heard.compare(shard, term);
            }
        }
    }

    /// A leader has said something. False if it makes no sense.
    pub(super) fn hear(&mut self, from: NodeId, close: Close, wall: Option<Wall>) -> bool {
        let heard = self.heard.entry(from).or_default();
        if heard.stream != close.stream {
            *heard = Heard { stream: close.stream, ..Heard::default() };
        }
        let last = heard.rounds.back().copied().unwrap_or(0);
        if close.base > last {
            // What it builds on was said to an earlier life of this node, or never came.
            heard.owed = Some(0);
            return true;
        }
        if close.round <= last {
            // It comes late.
            return true;
        }
        let Close { round, base, closed, open, led, gone, .. } = close;
        if heard.groups.len() + led.len() > GROUPS_MAX {
            return false;
        }
        let named: BTreeSet<ShardId> = led.iter().map(|(shard, ..)| *shard).collect();
        let unsaid = heard.groups.keys().filter(|shard| base == 0 && !named.contains(shard));
        let gone: Vec<ShardId> = unsaid.copied().chain(gone).collect();
        for (shard, term, index) in led {
            heard.say(shard, round, Some((term, index)));
            heard.compare(shard, self.terms.get(&shard).copied());
        }
        for shard in gone {
            heard.say(shard, round, None);
            heard.not.remove(&shard);
        }
        heard.rounds.push_back(round);
        if heard.rounds.len() > CLOSED_MAX {
            heard.rounds.pop_front();
        }
        // A time that is further ahead than any clock should be is not believed.
        let believed = |time: Wall| wall.is_some_and(|wall| !time.is_too_far_ahead_of(wall));
        if let Some((closed, time)) = closed.filter(|(closed, time)| *closed <= round && believed(*time)) {
            heard.close(closed, time, open);
        }
        heard.owed = Some(round);
        true
    }

    /// Whether somebody is to be answered.
    pub(super) fn owes(&self) -> bool {
        self.heard.values().any(|heard| heard.owed.is_some())
    }

    /// The answers to what was heard.
    pub(super) fn answers(&mut self, wall: Wall, clock: Hlc) -> Vec<(NodeId, Follows)> {
        let answer = |(&to, heard): (&NodeId, &mut Heard)| {
            let round = heard.owed.take()?;
            let not = heard.not.iter().copied().collect();
            Some((to, Follows { stream: heard.stream, round, wall, clock, not }))
        };
        self.heard.iter_mut().filter_map(answer).collect()
    }

    /// Up to when a replica that has applied so much knows of all that was done.
    pub(super) fn at(&self, shard: ShardId, applied: Index) -> Option<Wall> {
        self.heard.values().filter_map(|heard| heard.at(shard, applied)).max()
    }
}

impl Heard {
    fn say(&mut self, shard: ShardId, round: u64, what: Option<(Term, Index)>) {
        let oldest = self.points.front().map_or(round, |point| point.round);
        let said = self.groups.entry(shard).or_default();
        said.push_back((round, what));
        while said.get(1).is_some_and(|(next, _)| *next <= oldest) {
            said.pop_front();
        }
        if said.len() == 1 && what.is_none() {
            self.groups.remove(&shard);
        }
    }

    /// Whether this node follows a group in the term that its leader says.
    fn compare(&mut self, shard: ShardId, term: Option<Term>) {
        let Some(Some((led, _))) = self.groups.get(&shard).and_then(|said| said.back()).map(|(_, what)| what)
        else {
            return;
        };
        if term.is_some_and(|term| term <= *led) {
            self.not.remove(&shard);
        } else {
            self.not.insert(shard);
        }
    }

    /// A round is confirmed. What was said of the groups in it may not have come; what was said in the next that came is no less.
    fn close(&mut self, closed: u64, time: Wall, open: Vec<ShardId>) {
        if self.points.back().is_some_and(|point| point.time >= time) {
            return;
        }
        let Some(&round) = self.rounds.iter().find(|&&round| round >= closed) else { return };
        self.points.push_back(Point { round, time, open: open.into_iter().collect() });
        if self.points.len() > CLOSED_MAX {
            self.points.pop_front();
        }
    }

    fn at(&self, shard: ShardId, applied: Index) -> Option<Wall> {
        let said = self.groups.get(&shard)?;
        let covers = |point: &&Point| {
            let then = said.iter().rev().find(|(round, _)| *round <= point.round);
            let index = then.and_then(|(_, what)| what.map(|(_, index)| index));
            index.is_some_and(|index| index <= applied) && !point.open.contains(&shard)
        };
        self.points.iter().rev().find(covers).map(|point| point.time)
    }
}
