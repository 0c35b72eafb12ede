//! Monotonic atomic view, read atomic and causal consistency of transactions, decided: AWDIT (Møldrup and Pavlogiannis, PLDI
//! 2025, arXiv 2504.06975) for the axioms of Biswas and Enea (OOPSLA 2019).
//!
//! A level holds if some total order of commits contains what was read from whom (and the order of sessions), and for every
//! read of a key by t3 from t1, each other writer t2 of the key that t3 must see comes before t1. Whom t3 must see:
//!
//! - monotonic atomic view (their "read committed"): from whom an earlier read of t3 was;
//! - read atomic: from whom any read of t3 was, and who precedes it in its session;
//! - causal: whoever is in its causal past. This is the transactional form of `CCv`, not CM and not weak causal consistency.
//!
//! The edges from t2 to t1 do not depend on the order that is looked for, so that a cycle decides. Not all edges are needed:
//! of one session only the last writer of a key, and none that the order of reads and sessions has already.
//!
//! Complete for unique writes. Cost: O(n^1.5) for the first two (of a transaction's reads and another's writes the fewer are
//! walked), O(n·k) for causal, k sessions: a vector clock a transaction ([`super::clocks`]).
//!
//! `info` and `fail`: what was read from happened; what was never read is left out, as no other transaction can tell.

use super::clocks::Clocks;
use super::facts::Facts;
use super::graph::tarjan;
use super::history::{Id, NONE};
use crate::budget::{Budget, Spent};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Which axiom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axiom {
    /// Monotonic atomic view.
    Monotonic,
    /// Read atomic.
    Atomic,
    /// Causal consistency.
    Causal,
}

/// Why one transaction must come before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Of the same session.
    Session,
    /// The other read from it.
    Read,
    /// The order of versions is known, and says so.
    Version,
    /// A reader read the key from the other though it must see this one.
    Missed {
        /// Who read.
        reader: Id,
        /// What.
        key: u32,
    },
}

impl Why {
    /// Its name, as an edge has it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Session => "process",
            Self::Read => "wr",
            Self::Version => "ww",
            Self::Missed { .. } => "axiom",
        }
    }
}

/// A step of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The earlier one.
    pub from: Id,
    /// The later one; `NONE` where it is the initial state, before which nothing can be.
    pub to: Id,
    /// Why.
    pub why: Why,
}

/// Edges of the order of commits, and the first that is impossible by itself.
struct Edges {
    all: Vec<Step>,
    impossible: Option<Step>,
}

impl Edges {
    fn add(&mut self, step: Step) {
        if step.to == NONE {
            self.impossible.get_or_insert(step);
        } else {
            self.all.push(step);
        }
    }
}

/// A cycle that refutes the level, or nothing where it holds. `sessions`: whether the order of sessions counts. `versions`:
/// what is known of the order of versions.
pub fn refute(
    facts: &Facts,
    axiom: Axiom,
    sessions: bool,
    versions: &[(Id, Id)],
    budget: &mut Budget<'_>,
) -> Result<Option<Vec<Step>>, Spent> {
    let mut edges = Edges { all: Vec::new(), impossible: None };
    for id in 0..facts.len() as Id {
        for read in facts.reads(id).iter().filter(|read| read.of != NONE && read.of != id) {
            edges.add(Step { from: read.of, to: id, why: Why::Read });
        }
        if sessions && facts.next[id as usize] != NONE {
            edges.add(Step { from: id, to: facts.next[id as usize], why: Why::Session });
        }
    }
    budget.look()?;
    if axiom == Axiom::Causal {
        // Without an order there are no causal pasts.
        if let Some(cycle) = cycle(facts.len(), &edges.all, budget)? {
            return Ok(Some(cycle));
        }
        causal(facts, &mut edges, budget)?;
    } else {
        seen(facts, axiom, sessions, &mut edges, budget)?;
    }
    if let Some(step) = edges.impossible {
        return Ok(Some(vec![step]));
    }
    edges.all.extend(versions.iter().map(|&(from, to)| Step { from, to, why: Why::Version }));
    cycle(facts.len(), &edges.all, budget)
}

/// What of a key the transaction at hand reads later, or reads at all.
#[derive(Clone, Copy)]
struct Later {
    reader: Id,
    of: Id,
}

/// The edges of the first two axioms.
fn seen(
    facts: &Facts,
    axiom: Axiom,
    sessions: bool,
    edges: &mut Edges,
    budget: &mut Budget<'_>,
) -> Result<(), Spent> {
    budget.take(facts.keys as u64 * 16)?;
    let mut later = vec![Later { reader: NONE, of: NONE }; facts.keys];
    for id in 0..facts.len() as Id {
        budget.step()?;
        let reads = facts.reads(id);
        if axiom == Axiom::Atomic {
            for read in reads {
                later[read.key as usize] = Later { reader: id, of: read.of };
            }
        }
        for at in (0..reads.len()).rev() {
            let read = reads[at];
            let rest = if axiom == Axiom::Atomic { reads } else { &reads[at + 1..] };
            if read.of != NONE && read.of != id {
                must_see(facts, id, read.of, rest, &later, edges);
            }
            if axiom == Axiom::Monotonic {
                later[read.key as usize] = Later { reader: id, of: read.of };
            }
        }
    }
    if axiom == Axiom::Atomic {
        repeated(facts, edges);
        if sessions {
            own_session(facts, edges);
        }
    }
    budget.give(facts.keys as u64 * 16);
    Ok(())
}

/// The reader must see all that another wrote, in the rest of its reads.
fn must_see(
    facts: &Facts,
    reader: Id,
    other: Id,
    rest: &[super::facts::Read],
    later: &[Later],
    edges: &mut Edges,
) {
    let mut missed = |key: u32, of: Id| {
        if of != other && of != reader {
            edges.add(Step { from: other, to: of, why: Why::Missed { reader, key } });
        }
    };
    let writes = facts.writes(other);
    if writes.len() <= rest.len() {
        for &key in writes {
            let later = later[key as usize];
            if later.reader == reader {
                missed(key, later.of);
            }
        }
    } else {
        for read in rest.iter().filter(|read| facts.wrote(other, read.key)) {
            missed(read.key, read.of);
        }
    }
}

/// Two reads of one key from different writers: each must see the other's.
fn repeated(facts: &Facts, edges: &mut Edges) {
    let mut first = vec![Later { reader: NONE, of: NONE }; facts.keys];
    for reader in 0..facts.len() as Id {
        for read in facts.reads(reader) {
            let seen = &mut first[read.key as usize];
            if seen.reader != reader {
                *seen = Later { reader, of: read.of };
            } else if seen.of != read.of {
                let why = Why::Missed { reader, key: read.key };
                for (from, to) in [(seen.of, read.of), (read.of, seen.of)] {
                    if from != NONE {
                        edges.add(Step { from, to, why });
                    }
                }
            }
        }
    }
}

/// Read atomic with sessions: each must see the last write before it in its session.
fn own_session(facts: &Facts, edges: &mut Edges) {
    let firsts = facts.firsts();
    let mut last: Vec<(Id, Id)> = vec![(NONE, NONE); facts.keys];
    for first in (0..facts.len() as Id).filter(|&id| firsts[id as usize]) {
        let mut id = first;
        while id != NONE {
            for read in facts.reads(id) {
                let (session, writer) = last[read.key as usize];
                if session == first && writer != read.of {
                    edges.add(Step {
                        from: writer,
                        to: read.of,
                        why: Why::Missed { reader: id, key: read.key },
                    });
                }
            }
            for &key in facts.writes(id) {
                last[key as usize] = (first, id);
            }
            id = facts.next[id as usize];
        }
    }
}

/// A writer of a key: its chain in the clocks and its place in it, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Writer {
    chain: u32,
    place: u32,
    id: Id,
}

/// The edges of the causal axiom. There is no cycle among reads and sessions.
fn causal(facts: &Facts, edges: &mut Edges, budget: &mut Budget<'_>) -> Result<(), Spent> {
    let order = topological(facts, &edges.all);
    let taken = budget.bytes();
    let clocks = Clocks::new(facts, &order, budget)?;
    let mut from = vec![0_u32; facts.keys + 1];
    for id in 0..facts.len() as Id {
        facts.writes(id).iter().for_each(|&key| from[key as usize + 1] += 1);
    }
    for key in 0..facts.keys {
        from[key + 1] += from[key];
    }
    budget.take(u64::from(from[facts.keys]) * 12)?;
    let mut writers = vec![Writer { chain: 0, place: 0, id: NONE }; from[facts.keys] as usize];
    let mut next = from.clone();
    for id in 0..facts.len() as Id {
        for &key in facts.writes(id) {
            let at = &mut next[key as usize];
            let (chain, place) = (clocks.chain[id as usize], clocks.place[id as usize]);
            writers[*at as usize] = Writer { chain, place, id };
            *at += 1;
        }
    }
    for key in 0..facts.keys {
        writers[from[key] as usize..from[key + 1] as usize].sort_unstable();
    }
    let chains = clocks.chains();
    let mut clock = Vec::new();
    for reader in 0..facts.len() as Id {
        budget.step()?;
        if !facts.reads(reader).is_empty() {
            clocks.read(reader, chains, &mut clock);
        }
        for read in facts.reads(reader) {
            let of_key = &writers[from[read.key as usize] as usize..from[read.key as usize + 1] as usize];
            last_seen(&clocks, &clock, reader, read.of, of_key, &mut |from| {
                edges.add(Step { from, to: read.of, why: Why::Missed { reader, key: read.key } });
            });
        }
    }
    let now = budget.bytes();
    budget.give(now - taken);
    Ok(())
}

/// Calls for the last writer in each chain that is in the reader's past, and neither who was read nor in its past.
fn last_seen(
    clocks: &Clocks,
    clock: &[u32],
    reader: Id,
    of: Id,
    mut writers: &[Writer],
    call: &mut dyn FnMut(Id),
) {
    while let Some(first) = writers.first() {
        let chain = first.chain;
        let seen = clock.get(chain as usize).copied().unwrap_or(0);
        // The reader's own write is not in its past.
        let seen =
            if chain == clocks.chain[reader as usize] { clocks.place[reader as usize] - 1 } else { seen };
        let end = writers.partition_point(|writer| writer.chain == chain);
        let past = writers[..end].partition_point(|writer| writer.place <= seen);
        if past > 0 {
            let last = writers[past - 1];
            let known = of != NONE && clocks.includes(of, last.chain, last.place);
            if !known {
                call(last.id);
            }
        }
        writers = &writers[end..];
    }
}

/// An order of all transactions that follows the edges, which have no cycle.
fn topological(facts: &Facts, edges: &[Step]) -> Vec<Id> {
    let n = facts.len();
    let (start, to) = flat(n, edges);
    let mut waits = vec![0_u32; n];
    for &at in &to {
        waits[edges[at as usize].to as usize] += 1;
    }
    let mut order: Vec<Id> = Vec::with_capacity(n);
    // By number where it can be: neighbours in time have nearly the same clock.
    let mut ready: BinaryHeap<Reverse<Id>> =
        (0..n as Id).filter(|&id| waits[id as usize] == 0).map(Reverse).collect();
    while let Some(Reverse(id)) = ready.pop() {
        order.push(id);
        for &at in &to[start[id as usize] as usize..start[id as usize + 1] as usize] {
            let next = edges[at as usize].to;
            waits[next as usize] -= 1;
            if waits[next as usize] == 0 {
                ready.push(Reverse(next));
            }
        }
    }
    order
}

/// Edges by their beginning: places in the list of them.
fn flat(n: usize, edges: &[Step]) -> (Vec<u32>, Vec<u32>) {
    let mut start = vec![0_u32; n + 1];
    for edge in edges {
        start[edge.from as usize + 1] += 1;
    }
    for at in 0..n {
        start[at + 1] += start[at];
    }
    let mut to = vec![0_u32; edges.len()];
    let mut next = start.clone();
    for (at, edge) in edges.iter().enumerate() {
        let place = &mut next[edge.from as usize];
        to[*place as usize] = at as u32;
        *place += 1;
    }
    (start, to)
}

/// A short cycle among the edges.
fn cycle(n: usize, edges: &[Step], budget: &mut Budget<'_>) -> Result<Option<Vec<Step>>, Spent> {
    budget.take(edges.len() as u64 * 4 + n as u64 * 12)?;
    let (start, to) = flat(n, edges);
    let mut smallest: Option<Vec<Id>> = None;
    let successor = |node: u32, number: u32| {
        let at = start[node as usize] + number;
        (at < start[node as usize + 1]).then(|| edges[to[at as usize] as usize].to)
    };
    tarjan(n, budget, successor, |members| {
        if members.len() > 1 && smallest.as_ref().is_none_or(|known| known.len() > members.len()) {
            smallest = Some(members.to_vec());
        }
    })?;
    budget.give(edges.len() as u64 * 4 + n as u64 * 12);
    let Some(members) = smallest else { return Ok(None) };
    let mut best: Option<Vec<Step>> = None;
    for &from in members.iter().take(TRIES) {
        let found = around(from, &start, &to, edges, n);
        if best.as_ref().is_none_or(|best| found.len() < best.len()) {
            best = Some(found);
        }
    }
    Ok(best)
}

/// So many transactions of a component are tried for a short cycle.
const TRIES: usize = 16;

/// A shortest cycle through a transaction of a component.
fn around(from: Id, start: &[u32], to: &[u32], edges: &[Step], n: usize) -> Vec<Step> {
    let mut parent = vec![NONE; n];
    let mut queue = std::collections::VecDeque::from([from]);
    while let Some(id) = queue.pop_front() {
        for &at in &to[start[id as usize] as usize..start[id as usize + 1] as usize] {
            let step = edges[at as usize];
            if step.to == from {
                let mut path = vec![step];
                let mut id = id;
                while id != from {
                    let step = edges[parent[id as usize] as usize];
                    path.push(step);
                    id = step.from;
                }
                path.reverse();
                return path;
            }
            if parent[step.to as usize] == NONE {
                parent[step.to as usize] = at;
                queue.push_back(step.to);
            }
        }
    }
    Vec::new()
}
