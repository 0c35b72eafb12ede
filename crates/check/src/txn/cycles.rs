//! Which patterns of cycles a strongly connected component holds, and short examples of each name.
//!
//! Whether a level is refuted is decided, not sampled: for each class of order (none, processes, real time) and each pattern
//! the component is searched again with the edges that the pattern allows.
//!
//! - ww only, and ww with wr: components of the smaller graph.
//! - one rw: an rw edge from u to v and a path from v to u without one. The components of the graph without rw come in
//!   topological order, so most rw edges, which lead forward in it, are no candidates; the others are tried by a search that
//!   stays between the two.
//! - no two rw in a row, and each rw after a wr: components of a graph of pairs (transaction, whether an rw may follow). A
//!   closed walk in it that meets a transaction twice falls into two, of which one is again of the pattern; so there is a
//!   simple cycle of it as well.
//! - at most one reader: components without readers, then each reader by a search.
//!
//! Costs: O(edges) for each component and class, and one search for each candidate. The searches share one allowance of steps;
//! where it is spent, the pattern is marked as not searched to its end, and no level is said to hold by it.

use super::anomaly::{CLASSES, Class, Cycle, PATTERNS, Pattern, SHAPES, Shape};
use super::graph::{Edge, Graph, Kind, tarjan};
use super::history::NONE;
use crate::budget::{Budget, Spent};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What was found of cycles.
#[derive(Debug)]
pub struct Found {
    /// The shortest cycle found for each name, and how many components showed one of it.
    pub named: BTreeMap<(Shape, Class), (Cycle, u64)>,
    /// The shortest cycle found for each pattern in each class.
    of_pattern: BTreeMap<(Pattern, Class), Cycle>,
    /// Patterns that were not searched to the end in some class.
    unsearched: BTreeSet<(Pattern, Class)>,
    steps_left: u64,
    /// How many components were searched.
    components: u64,
    /// The states that a search was in, a bit for each, by node; all zero between searches.
    visited: Vec<u128>,
}

/// Steps for the searches of one history: seconds at most.
const STEPS: u64 = 300_000_000;

/// After so many components only patterns are looked for that were not found yet.
const ENOUGH: u64 = 5000;

/// So many edges of a component are tried for one name.
const TRIES: usize = 48;

/// So many are tried for a shorter cycle of a pattern that was found.
const FEW_TRIES: usize = 8;

impl Default for Found {
    fn default() -> Self {
        Self {
            named: BTreeMap::new(),
            of_pattern: BTreeMap::new(),
            unsearched: BTreeSet::new(),
            steps_left: STEPS,
            components: 0,
            visited: Vec::new(),
        }
    }
}

impl Found {
    /// A cycle that a level forbids which forbids the pattern in the class.
    pub fn of(&self, pattern: Pattern, class: Class) -> Option<&Cycle> {
        self.of_pattern.get(&(pattern, class))
    }

    /// True where a search for the pattern was cut short.
    pub fn unsearched(&self, pattern: Pattern, class: Class) -> bool {
        self.unsearched.contains(&(pattern, class))
    }

    /// As if the search for a pattern had been cut short.
    #[cfg(test)]
    pub(super) fn cut_short(pattern: Pattern, class: Class) -> Self {
        Self { unsearched: BTreeSet::from([(pattern, class)]), ..Self::default() }
    }

    /// True where there is no need to look for more of a pattern: many components were searched, and it is known.
    fn enough(&self, pattern: Pattern, class: Class) -> bool {
        self.components > ENOUGH && self.of_pattern.contains_key(&(pattern, class))
    }

    fn record(&mut self, cycle: &Cycle) {
        let name = (cycle.shape(), cycle.class());
        let shorter = |old: &Cycle| cycle.edges.len() < old.edges.len();
        match self.named.get_mut(&name) {
            Some((old, count)) => {
                *count += 1;
                if shorter(old) {
                    *old = cycle.clone();
                }
            }
            None => {
                self.named.insert(name, (cycle.clone(), 1));
            }
        }
        for pattern in PATTERNS {
            if !cycle.admits(pattern) {
                continue;
            }
            for class in CLASSES {
                if class >= name.1 && self.of_pattern.get(&(pattern, class)).is_none_or(shorter) {
                    self.of_pattern.insert((pattern, class), cycle.clone());
                }
            }
        }
    }
}

/// Searches the components of a graph. `reader` tells the transactions that only read.
pub fn search(
    graph: &Graph,
    components: &[Vec<u32>],
    reader: &dyn Fn(u32) -> bool,
    found: &mut Found,
    budget: &mut Budget<'_>,
) -> Result<(), Spent> {
    let mut order: Vec<&Vec<u32>> = components.iter().collect();
    order.sort_by_key(|component| component.len());
    let mut place = vec![NONE; graph.nodes()];
    for component in order {
        budget.look()?;
        found.components += 1;
        let local = Local::new(graph, component, &mut place, reader);
        for class in CLASSES {
            local.patterns(class, found, budget)?;
        }
        for &node in component {
            place[node as usize] = NONE;
        }
    }
    Ok(())
}

/// One component, its nodes numbered from 0.
struct Local<'a> {
    graph: &'a Graph,
    nodes: &'a [u32],
    start: Vec<u32>,
    edges: Vec<(u32, Kind)>,
    reader: Vec<bool>,
}

const WW: u8 = 1 << Kind::Ww as u8;
const WR: u8 = 1 << Kind::Wr as u8;
const RW: u8 = 1 << Kind::Rw as u8;

impl<'a> Local<'a> {
    fn new(graph: &'a Graph, nodes: &'a [u32], place: &mut [u32], reader: &dyn Fn(u32) -> bool) -> Self {
        for (at, &node) in nodes.iter().enumerate() {
            place[node as usize] = at as u32;
        }
        let mut start = vec![0];
        let mut edges = Vec::new();
        for &node in nodes {
            let mut add = |to: u32, kind| {
                if place[to as usize] != NONE {
                    edges.push((place[to as usize], kind));
                }
            };
            if graph.is_moment(node) {
                let (next, group) = graph.of_moment(node);
                next.into_iter().chain(group).for_each(|to| add(to, Kind::Realtime));
            } else {
                graph.out(node).for_each(|(to, kind)| add(to, kind));
                graph.next(node).into_iter().for_each(|to| add(to, Kind::Process));
                graph.moment_after(node).into_iter().for_each(|to| add(to, Kind::Realtime));
            }
            start.push(edges.len() as u32);
        }
        let reader = nodes.iter().map(|&node| !graph.is_moment(node) && reader(node)).collect();
        Self { graph, nodes, start, edges, reader }
    }

    fn out(&self, node: u32) -> &[(u32, Kind)] {
        &self.edges[self.start[node as usize] as usize..self.start[node as usize + 1] as usize]
    }

    fn all(&self) -> impl Iterator<Item = Edge> + '_ {
        (0..self.nodes.len() as u32)
            .flat_map(move |from| self.out(from).iter().map(move |&(to, kind)| Edge { from, to, kind }))
    }

    /// The component of each node in the graph that `allows` leaves, of a graph of `copies` nodes a node; successors come first.
    fn split(
        &self,
        copies: u32,
        budget: &mut Budget<'_>,
        allows: &dyn Fn(Edge) -> &'static [(u32, u32)],
    ) -> Result<Parts, Spent> {
        let nodes = self.nodes.len() * copies as usize;
        let mut start = vec![0_u32; nodes + 1];
        let each = |take: &mut dyn FnMut(u32, u32)| {
            for edge in self.all() {
                for &(from, to) in allows(edge) {
                    take(edge.from * copies + from, edge.to * copies + to);
                }
            }
        };
        each(&mut |from, _| start[from as usize + 1] += 1);
        for at in 0..nodes {
            start[at + 1] += start[at];
        }
        let mut to_of = vec![0_u32; start[nodes] as usize];
        let mut next = start.clone();
        each(&mut |from, to| {
            to_of[next[from as usize] as usize] = to;
            next[from as usize] += 1;
        });
        let mut parts = Parts { of: vec![0; nodes], size: Vec::new() };
        let successor = |node: u32, number: u32| {
            let at = start[node as usize] + number;
            (at < start[node as usize + 1]).then(|| to_of[at as usize])
        };
        tarjan(nodes, budget, successor, |members| {
            for &member in members {
                parts.of[member as usize] = parts.size.len() as u32;
            }
            parts.size.push(members.len() as u32);
        })?;
        Ok(parts)
    }

    fn patterns(&self, class: Class, found: &mut Found, budget: &mut Budget<'_>) -> Result<(), Spent> {
        let extra = class.bits();
        if extra != 0 && !self.edges.iter().any(|&(_, kind)| kind.bit() & extra != 0) {
            return Ok(());
        }
        self.without_rw(class, found, budget)?;
        let need = if extra == 0 { 0 } else { SEEN_CLASS };
        let bits = WW | WR | RW | extra;
        let other = |kind: Kind| once_of(kind.bit() & bits != 0, &[(0, 0), (1, 0)]);
        // Two copies of each node: from the first an rw may go out.
        if !found.enough(Pattern::NonadjacentRw, class) {
            let parts = self.split(2, budget, &|edge| match edge.kind {
                Kind::Rw => &[(0, 1)],
                kind => other(kind),
            })?;
            let want = Want { bits, extra, rule: Pattern::NonadjacentRw, need: need | SEEN_TWO };
            self.try_edges(&parts, 2, RW, &want, found, budget)?;
        }
        if !found.enough(Pattern::SeenRw, class) {
            let parts = self.split(2, budget, &|edge| match edge.kind {
                Kind::Rw => &[(0, 1)],
                Kind::Ww => &[(0, 1), (1, 1)],
                kind => other(kind),
            })?;
            let want = Want { bits, extra, rule: Pattern::SeenRw, need };
            self.try_edges(&parts, 2, RW, &want, found, budget)?;
        }
        if !found.enough(Pattern::Any, class) {
            let parts = self.split(1, budget, &|edge| once(edge.kind.bit() & bits != 0))?;
            let want = Want { bits, extra, rule: Pattern::Any, need: need | SEEN_ADJACENT };
            self.try_edges(&parts, 1, RW, &want, found, budget)?;
        }
        if class == Class::Plain && !found.enough(Pattern::OneReader, class) {
            self.one_reader(found, budget)?;
        }
        Ok(())
    }

    /// Cycles of at most one rw.
    fn without_rw(&self, class: Class, found: &mut Found, budget: &mut Budget<'_>) -> Result<(), Spent> {
        let extra = class.bits();
        let top = |kind: u8| if class == Class::Plain { kind } else { extra };
        let need = if extra == 0 { 0 } else { SEEN_CLASS };
        if !found.enough(Pattern::Ww, class) {
            let bits = WW | extra;
            let parts = self.split(1, budget, &|edge| once(edge.kind.bit() & bits != 0))?;
            self.try_edges(
                &parts,
                1,
                top(WW),
                &Want { bits, extra, rule: Pattern::Ww, need },
                found,
                budget,
            )?;
        }
        if found.enough(Pattern::NoRw, class) && found.enough(Pattern::OneRw, class) {
            return Ok(());
        }
        let bits = WW | WR | extra;
        let parts = self.split(1, budget, &|edge| once(edge.kind.bit() & bits != 0))?;
        let want = Want { bits, extra, rule: Pattern::NoRw, need: need | SEEN_WR };
        self.try_edges(&parts, 1, top(WR), &want, found, budget)?;
        if found.enough(Pattern::OneRw, class) {
            return Ok(());
        }
        self.one_rw(&parts, extra, found, budget)
    }

    /// Looks for cycles through edges of some kinds inside the parts; keeps what it finds. One edge at least of each part that
    /// has one is followed to a cycle of the pattern, so that the pattern is decided.
    fn try_edges(
        &self,
        parts: &Parts,
        copies: u32,
        first: u8,
        want: &Want,
        found: &mut Found,
        budget: &mut Budget<'_>,
    ) -> Result<(), Spent> {
        // In a graph of two copies the tried edges are rw, and lead from the first copy to the second.
        let last = copies - 1;
        let inside = |edge: &Edge| {
            edge.kind.bit() & first != 0
                && parts.of[(edge.from * copies) as usize] == parts.of[(edge.to * copies + last) as usize]
        };
        let mut hit = false;
        for (tries, edge) in self.all().filter(inside).enumerate() {
            if tries >= TRIES || hit && tries >= FEW_TRIES {
                break;
            }
            for need in [want.need, 0] {
                match self.close(edge, &Want { need, ..*want }, found, budget)? {
                    Some(walk) => {
                        let cycle = self.simple(walk, want);
                        hit |= cycle.admits(want.rule);
                        found.record(&cycle);
                        break;
                    }
                    None if found.steps_left == 0 => {
                        found.unsearched.insert((want.rule, want.class()));
                        return Ok(());
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Cycles with exactly one rw: see the page.
    fn one_rw(
        &self,
        parts: &Parts,
        extra: u8,
        found: &mut Found,
        budget: &mut Budget<'_>,
    ) -> Result<(), Spent> {
        let want = Want { bits: WW | WR | extra, extra, rule: Pattern::OneRw, need: 0 };
        let part = |node: u32| parts.of[node as usize];
        let mut tries = 0;
        for edge in self.all().filter(|edge| edge.kind == Kind::Rw && part(edge.to) >= part(edge.from)) {
            if tries > TRIES {
                break;
            }
            let inside = |node: u32| part(node) <= part(edge.to) && part(node) >= part(edge.from);
            if let Some(walk) = self.close_within(edge, &want, &inside, found, budget)? {
                let cycle = self.simple(walk, &want);
                found.record(&cycle);
                tries += 1;
            } else if found.steps_left == 0 {
                found.unsearched.insert((Pattern::OneRw, want.class()));
                break;
            }
        }
        Ok(())
    }

    /// Cycles with at most one transaction that only reads.
    fn one_reader(&self, found: &mut Found, budget: &mut Budget<'_>) -> Result<(), Spent> {
        let bits = WW | WR | RW;
        let writer = |edge: &Edge| !self.reader[edge.from as usize] && !self.reader[edge.to as usize];
        let parts = self.split(1, budget, &|edge| once(edge.kind.bit() & bits != 0 && writer(&edge)))?;
        let want = Want { bits, extra: 0, rule: Pattern::OneReader, need: 0 };
        let mut tries = 0;
        let part = |node: u32| parts.of[node as usize];
        for edge in self.all().filter(|edge| edge.kind.bit() & bits != 0) {
            let (from, to) = (edge.from as usize, edge.to as usize);
            let candidate = match (self.reader[from], self.reader[to]) {
                (false, false) => part(edge.from) == part(edge.to),
                (true, false) => edge.kind == Kind::Rw,
                _ => false,
            };
            if !candidate || tries > TRIES {
                continue;
            }
            let inside = |node: u32| node == edge.from || !self.reader[node as usize];
            if let Some(walk) = self.close_within(edge, &want, &inside, found, budget)? {
                found.record(&self.simple(walk, &want));
                tries += 1;
            } else if found.steps_left == 0 {
                found.unsearched.insert((Pattern::OneReader, Class::Plain));
                break;
            }
        }
        Ok(())
    }

    fn close(
        &self,
        first: Edge,
        want: &Want,
        found: &mut Found,
        budget: &mut Budget<'_>,
    ) -> Result<Option<Vec<Edge>>, Spent> {
        self.close_within(first, want, &|_| true, found, budget)
    }

    /// A shortest closed walk that begins with an edge and is what is wanted. Steps of real time between moments cost nothing.
    fn close_within(
        &self,
        first: Edge,
        want: &Want,
        inside: &dyn Fn(u32) -> bool,
        found: &mut Found,
        budget: &mut Budget<'_>,
    ) -> Result<Option<Vec<Edge>>, Spent> {
        if found.visited.len() < self.nodes.len() {
            found.visited.resize(self.nodes.len(), 0);
        }
        let mut states = vec![(first, want.after(0, first.kind), NONE)];
        let mut queue = VecDeque::from([0_u32]);
        let mut end = None;
        while let Some(at) = queue.pop_front() {
            let (edge, flags, _) = states[at as usize];
            if edge.to == first.from && want.closes(flags, first.kind) {
                end = Some(at);
                break;
            }
            if found.visited[edge.to as usize] & 1 << flags != 0 {
                continue;
            }
            found.visited[edge.to as usize] |= 1 << flags;
            let steps = self.out(edge.to).len() as u64;
            if found.steps_left < steps {
                found.steps_left = 0;
                break;
            }
            found.steps_left -= steps;
            for &(to, kind) in self.out(edge.to) {
                budget.step()?;
                if kind.bit() & want.bits == 0 || !want.may_follow(flags, kind) || !inside(to) {
                    continue;
                }
                let next = want.after(flags, kind);
                if found.visited[to as usize] & 1 << next != 0 && to != first.from {
                    continue;
                }
                states.push((Edge { from: edge.to, to, kind }, next, at));
                let state = states.len() as u32 - 1;
                if kind == Kind::Realtime && self.graph.is_moment(self.nodes[edge.to as usize]) {
                    queue.push_front(state);
                } else {
                    queue.push_back(state);
                }
            }
        }
        for (edge, ..) in &states {
            found.visited[edge.to as usize] = 0;
        }
        Ok(end.map(|at| back(&states, at)))
    }

    /// A simple cycle out of a closed walk, with moments left out, in the graph's own numbers.
    fn simple(&self, mut walk: Vec<Edge>, want: &Want) -> Cycle {
        while let Some((from, to)) = repeated(&walk) {
            let inner: Vec<Edge> = walk[from..to].to_vec();
            let mut outer = walk;
            outer.drain(from..to);
            let good = |part: &[Edge]| self.cycle(part).admits(want.rule);
            walk = match (good(&inner), good(&outer)) {
                (true, true) if inner.len() > outer.len() => inner,
                (true, false) => inner,
                _ => outer,
            };
        }
        self.cycle(&walk)
    }

    fn cycle(&self, walk: &[Edge]) -> Cycle {
        let moment = |node: u32| self.graph.is_moment(self.nodes[node as usize]);
        let begin = walk.iter().position(|edge| !moment(edge.from)).unwrap_or(0);
        let mut edges: Vec<Edge> = Vec::new();
        for edge in walk[begin..].iter().chain(&walk[..begin]) {
            if moment(edge.from) {
                if let Some(last) = edges.last_mut() {
                    last.to = edge.to;
                }
            } else {
                edges.push(*edge);
            }
        }
        let readers = edges.iter().filter(|edge| self.reader[edge.from as usize]).count();
        for edge in &mut edges {
            *edge = Edge {
                from: self.nodes[edge.from as usize],
                to: self.nodes[edge.to as usize],
                kind: edge.kind,
            };
        }
        Cycle { edges, readers }
    }
}

/// The components of a smaller graph.
struct Parts {
    of: Vec<u32>,
    size: Vec<u32>,
}

fn once(allowed: bool) -> &'static [(u32, u32)] {
    once_of(allowed, &[(0, 0)])
}

fn once_of(allowed: bool, copies: &'static [(u32, u32)]) -> &'static [(u32, u32)] {
    if allowed { copies } else { &[] }
}

const LAST_RW: u8 = 1;
const LAST_SEEN: u8 = 2;
const SEEN_CLASS: u8 = 4;
const SEEN_WR: u8 = 8;
const SEEN_ONE: u8 = 16;
const SEEN_TWO: u8 = 32;
const SEEN_ADJACENT: u8 = 64;

/// Which closed walk is wanted.
struct Want {
    /// The kinds of edges that it may have.
    bits: u8,
    /// The kinds that the class adds.
    extra: u8,
    rule: Pattern,
    /// What it must have been through.
    need: u8,
}

impl Want {
    fn class(&self) -> Class {
        CLASSES.into_iter().find(|class| class.bits() == self.extra).unwrap_or(Class::Realtime)
    }

    fn may_follow(&self, flags: u8, kind: Kind) -> bool {
        kind != Kind::Rw
            || match self.rule {
                Pattern::NonadjacentRw => flags & LAST_RW == 0,
                Pattern::SeenRw => flags & LAST_SEEN != 0,
                _ => true,
            }
    }

    /// What is known of the walk after one more edge, as far as it matters.
    fn after(&self, flags: u8, kind: Kind) -> u8 {
        let mut next = flags & !(LAST_RW | LAST_SEEN);
        match kind {
            Kind::Rw => {
                next |= LAST_RW | SEEN_ONE;
                next |= if flags & SEEN_ONE != 0 { SEEN_TWO } else { 0 };
                next |= if flags & LAST_RW != 0 { SEEN_ADJACENT } else { 0 };
            }
            Kind::Wr => next |= LAST_SEEN | SEEN_WR,
            Kind::Process | Kind::Realtime => next |= LAST_SEEN,
            Kind::Ww => {}
        }
        if kind.bit() & self.extra != 0 {
            next |= SEEN_CLASS;
        }
        next & self.matters()
    }

    fn matters(&self) -> u8 {
        let rule = match self.rule {
            Pattern::NonadjacentRw => LAST_RW,
            Pattern::SeenRw => LAST_SEEN,
            _ => 0,
        };
        let two = if self.need & SEEN_TWO != 0 { SEEN_ONE } else { 0 };
        let adjacent = if self.need & SEEN_ADJACENT != 0 { LAST_RW } else { 0 };
        rule | self.need | two | adjacent
    }

    fn closes(&self, flags: u8, first: Kind) -> bool {
        let flags = flags | if first == Kind::Rw && flags & LAST_RW != 0 { SEEN_ADJACENT } else { 0 };
        self.may_follow(flags, first) && flags & self.need == self.need
    }
}

fn back(states: &[(Edge, u8, u32)], mut at: u32) -> Vec<Edge> {
    let mut walk = Vec::new();
    while at != NONE {
        let (edge, _, parent) = states[at as usize];
        walk.push(edge);
        at = parent;
    }
    walk.reverse();
    walk
}

/// Two places of a walk that leave the same node.
fn repeated(walk: &[Edge]) -> Option<(usize, usize)> {
    let mut places: BTreeMap<u32, usize> = BTreeMap::new();
    for (at, edge) in walk.iter().enumerate() {
        if let Some(&from) = places.get(&edge.from) {
            return Some((from, at));
        }
        places.insert(edge.from, at);
    }
    None
}

/// All names, for a report that lists what was not found too.
pub fn names() -> impl Iterator<Item = (Shape, Class)> {
    SHAPES.into_iter().flat_map(|shape| CLASSES.into_iter().map(move |class| (shape, class)))
}
