//! The session guarantees of Terry, Demers, Petersen, Spreitzer, Theimer and Welch (1994), each alone, from outside.
//!
//! A read is served from some set of writes, and returns the last of its cell in an order of all writes; the order keeps, for
//! each session and cell, the order in which the session wrote. Then
//!
//! - *read your writes*: the set holds all that the session wrote before;
//! - *monotonic reads*: it holds all that decided earlier reads of the session;
//! - *monotonic writes*: with a write it holds all that the writer's session wrote before, and the order has them before it;
//! - *writes follow reads*: with a write it holds all that decided earlier reads of the writer's session, likewise.
//!
//! Whose order? Terry's servers share one. From outside that is another promise, convergence, which PRAM and causal memory do not
//! make: there two sessions may see the writes of two others in two orders. So each session has an order of its own here, as in
//! Brzezinski, Sobaniec and Wawrzyniak, "From session causality to causal consistency" (2004), and as in Jepsen's map of levels,
//! where PRAM implies the first three. (Writes that follow reads constrain all orders alike, so that one does for all.)
//!
//! Any larger set only adds constraints, so the smallest one decides: what it holds of the cell must not be behind what was
//! read. That gives edges between writes; a guarantee is broken where they close a cycle, or where the smallest set of a read
//! of the initial value holds a write of its cell. Monotonic writes alone is never broken: one read sees one session's prefix
//! at least, and that is in order. What is meant by the name mostly, that *a reader who reads on* sees writes in order, is it
//! together with monotonic reads, and PRAM.

use super::cells::{Bad, Cells, What};
use crate::budget::{Budget, Spent};
use crate::table::Table;

type Answer = Result<Option<Bad>, Spent>;

/// A graph over the accesses and helpers that stand between them.
struct Graph {
    edges: Vec<(u32, u32)>,
    nodes: u32,
    /// The accesses; what is numbered behind is a helper.
    real: u32,
}

impl Graph {
    /// With the order of each session's writes to each cell.
    fn new(cells: &Cells) -> Self {
        let real = cells.accesses.len() as u32;
        let mut graph = Self { edges: Vec::new(), nodes: real, real };
        for session in 0..cells.sessions() {
            let mut last: Table<u32, u32> = Table::default();
            for place in cells.session(session) {
                let access = &cells.accesses[place as usize];
                if access.what == What::Write
                    && let Some(before) = last.insert(access.key, place)
                {
                    graph.edge(before, place);
                }
            }
        }
        graph
    }

    fn edge(&mut self, from: u32, to: u32) {
        if from != to {
            self.edges.push((from, to));
        }
    }

    fn helper(&mut self) -> u32 {
        self.nodes += 1;
        self.nodes - 1
    }

    /// A cycle, its helpers left out.
    fn cycle(&self, budget: &mut Budget<'_>) -> Result<Option<Vec<u32>>, Spent> {
        let len = self.nodes as usize;
        budget.take(16 * len as u64 + 8 * self.edges.len() as u64)?;
        let mut starts = vec![0u32; len + 1];
        let mut waits = vec![0u32; len];
        for &(from, to) in &self.edges {
            starts[from as usize + 1] += 1;
            waits[to as usize] += 1;
        }
        for place in 0..len {
            starts[place + 1] += starts[place];
        }
        let mut ends = starts.clone();
        let mut targets = vec![0u32; self.edges.len()];
        for &(from, to) in &self.edges {
            targets[ends[from as usize] as usize] = to;
            ends[from as usize] += 1;
        }
        let mut ready: Vec<u32> = (0..self.nodes).filter(|&node| waits[node as usize] == 0).collect();
        let mut passed = 0;
        while let Some(node) = ready.pop() {
            budget.step()?;
            passed += 1;
            for &to in &targets[starts[node as usize] as usize..starts[node as usize + 1] as usize] {
                waits[to as usize] -= 1;
                if waits[to as usize] == 0 {
                    ready.push(to);
                }
            }
        }
        budget.give(16 * len as u64 + 8 * self.edges.len() as u64);
        Ok((passed < len).then(|| self.walk_back(&waits)))
    }

    fn walk_back(&self, waits: &[u32]) -> Vec<u32> {
        let stuck = |node: u32| waits[node as usize] > 0;
        let mut before = vec![0; waits.len()];
        for &(from, to) in self.edges.iter().filter(|&&(from, to)| stuck(from) && stuck(to)) {
            before[to as usize] = from;
        }
        let mut at = (0..self.nodes).find(|&node| stuck(node)).unwrap_or(0);
        for _ in 0..self.nodes {
            at = before[at as usize];
        }
        let mut round = vec![at];
        while before[round[round.len() - 1] as usize] != at {
            round.push(before[round[round.len() - 1] as usize]);
        }
        round.reverse();
        round.retain(|&node| node < self.real);
        round
    }
}

fn cyclic(kind: &'static str, graph: &Graph, budget: &mut Budget<'_>) -> Answer {
    Ok(graph.cycle(budget)?.map(|chain| Bad { kind, chain, round: true }))
}

/// A cycle of what one session's reads ask of the order of writes, together with the order of each session's writes to a cell.
/// Only the writes that the reads name are looked at: a session costs what it did, not what all did.
fn round(kind: &'static str, cells: &Cells, asked: &[(u32, u32)], budget: &mut Budget<'_>) -> Answer {
    let asked = || asked.iter().filter(|(from, to)| from != to);
    let mut touched: Vec<u32> = asked().flat_map(|&(from, to)| [from, to]).collect();
    let line = |place: u32| (cells.accesses[place as usize].session, cells.accesses[place as usize].key);
    touched.sort_unstable_by_key(|&place| (line(place), place));
    touched.dedup();
    let mut number: Table<u32, u32> = Table::default();
    for (at, &place) in (0..).zip(&touched) {
        number.insert(place, at);
    }
    let nodes = touched.len() as u32;
    let mut graph = Graph { edges: Vec::new(), nodes, real: nodes };
    for (from, to) in asked() {
        if let (Some(&from), Some(&to)) = (number.get(from), number.get(to)) {
            graph.edge(from, to);
        }
    }
    for (at, pair) in (0..).zip(touched.windows(2)) {
        if line(pair[0]) == line(pair[1]) {
            graph.edge(at, at + 1);
        }
    }
    let chain = graph.cycle(budget)?;
    let named = |chain: Vec<u32>| chain.iter().map(|&at| touched[at as usize]).collect();
    Ok(chain.map(|chain| Bad { kind, chain: named(chain), round: true }))
}

/// A session sees its own writes.
pub fn read_your_writes(cells: &Cells, budget: &mut Budget<'_>) -> Answer {
    const KIND: &str = "a session that lost its own write";
    for session in 0..cells.sessions() {
        let mut asked = Vec::new();
        let mut last: Table<u32, u32> = Table::default();
        for place in cells.session(session) {
            let access = &cells.accesses[place as usize];
            match (access.what, last.get(&access.key).copied()) {
                (What::Write, _) => _ = last.insert(access.key, place),
                (What::Read(Some(from)), Some(own)) => asked.push((own, from)),
                (What::Read(None), Some(own)) => {
                    return Ok(Some(Bad { kind: KIND, chain: vec![own, place], round: false }));
                }
                (What::Read(_), None) => {}
            }
        }
        if let Some(bad) = round(KIND, cells, &asked, budget)? {
            return Ok(Some(bad));
        }
    }
    Ok(None)
}

/// What a session saw it goes on to see.
pub fn monotonic_reads(cells: &Cells, budget: &mut Budget<'_>) -> Answer {
    const KIND: &str = "a session that read back in time";
    for session in 0..cells.sessions() {
        let mut asked = Vec::new();
        let mut last: Table<u32, (u32, u32)> = Table::default();
        for place in cells.session(session) {
            let access = &cells.accesses[place as usize];
            let What::Read(from) = access.what else { continue };
            match (from, last.get(&access.key).copied()) {
                (Some(from), Some((old, _))) => asked.push((old, from)),
                (None, Some((_, reader))) => {
                    return Ok(Some(Bad { kind: KIND, chain: vec![reader, place], round: false }));
                }
                (_, None) => {}
            }
            if let Some(from) = from {
                last.insert(access.key, (from, place));
            }
        }
        if let Some(bad) = round(KIND, cells, &asked, budget)? {
            return Ok(Some(bad));
        }
    }
    Ok(None)
}

/// Who sees a write sees what its session wrote before.
pub fn monotonic_writes(cells: &Cells, budget: &mut Budget<'_>) -> Answer {
    let mut graph = Graph::new(cells);
    for session in 0..cells.sessions() {
        let mut last = None;
        for place in cells.session(session) {
            if cells.accesses[place as usize].what == What::Write {
                if let Some(last) = last {
                    graph.edge(last, place);
                }
                last = Some(place);
            }
        }
    }
    cyclic("writes of a session out of order", &graph, budget)
}

/// Who sees a write sees what its session had read before.
pub fn writes_follow_reads(cells: &Cells, budget: &mut Budget<'_>) -> Answer {
    let mut graph = Graph::new(cells);
    for session in 0..cells.sessions() {
        // Behind it stands all that the session has read so far.
        let mut read = None;
        for place in cells.session(session) {
            match cells.accesses[place as usize].what {
                What::Write => {
                    if let Some(read) = read {
                        graph.edge(read, place);
                    }
                }
                What::Read(None) => {}
                What::Read(Some(from)) => {
                    let helper = graph.helper();
                    graph.edge(from, helper);
                    if let Some(read) = read {
                        graph.edge(read, helper);
                    }
                    read = Some(helper);
                }
            }
        }
    }
    cyclic("writes before what their sessions had read", &graph, budget)
}
