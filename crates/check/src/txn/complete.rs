//! Serializability and snapshot isolation of registers, settled by search: NP-complete, so under the budget.
//!
//! Chains of read-modify-writes are one block (Cobra's coalescing): at these levels no update is lost, so nothing stands between
//! a version and the one that was written by whoever read it. The initial state's block comes first; of each two other blocks
//! of a key either one comes first, which makes an ordered pair of ww and rw edges: a polygraph. For snapshot isolation each
//! transaction stands twice in the graph, and the second, which an rw edge leads to, has no rw edge out of it, so that its
//! cycles are those without two rw in a row (Cerone and Gotsman, JACM 2018).
//!
//! Outcomes: as for inference; an `info` that no one read is left out. Complete for unique values.

use super::anomaly::Class;
use super::findings::spent;
use super::graph::{self, Edge, Kind};
use super::history::{History, Id, NONE};
use super::polygraph::{self, Arc, Choice};
use super::registers::{INITIAL, Registers, Version};
use crate::budget::{Budget, Spent};

/// The levels that are settled: stronger ones first, as what they prove needs no second search. The order that each adds, and
/// whether it is a snapshot isolation.
pub const LEVELS: [(&str, Class, bool); 6] = [
    ("strict-serializable", Class::Realtime, false),
    ("strong-session-serializable", Class::Process, false),
    ("serializable", Class::Plain, false),
    ("strong-snapshot-isolation", Class::Realtime, true),
    ("strong-session-snapshot-isolation", Class::Process, true),
    ("snapshot-isolation", Class::Plain, true),
];

/// What the search said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// There is an order.
    Holds,
    /// There is none.
    Fails,
    /// The budget was spent.
    Unknown(String),
}

/// Asks whether some order of versions has no forbidden cycle, with the order that the class adds.
pub fn settle(
    history: &History,
    registers: &Registers,
    class: Class,
    snapshot: bool,
    budget: &mut Budget<'_>,
) -> Settled {
    if registers.branched() {
        return Settled::Fails;
    }
    match search(history, registers, class, snapshot, budget) {
        Ok(true) => Settled::Holds,
        Ok(false) => Settled::Fails,
        Err(by) => Settled::Unknown(spent(by, history.len())),
    }
}

/// The same for edges of which some are one or the other.
pub fn settle_edges(
    history: &History,
    edges: &[Edge],
    either: &[[Edge; 2]],
    class: Class,
    snapshot: bool,
    budget: &mut Budget<'_>,
) -> Settled {
    let layout = Layout { txns: history.len() as u32, snapshot };
    let mut fixed = Vec::new();
    for edge in edges {
        layout.add(edge.from, edge.to, edge.kind, &mut fixed);
    }
    let side = |edge: Edge| {
        let mut arcs = Vec::new();
        layout.add(edge.from, edge.to, edge.kind, &mut arcs);
        arcs
    };
    let choices = either.iter().map(|&[one, other]| Choice { sides: [side(one), side(other)] }).collect();
    let nodes = ordered(history, &layout, class, &mut fixed);
    match polygraph::solve(nodes, fixed, choices, budget) {
        Ok(true) => Settled::Holds,
        Ok(false) => Settled::Fails,
        Err(by) => Settled::Unknown(spent(by, history.len())),
    }
}

/// How transactions and edges stand in the graph that is searched.
struct Layout {
    txns: u32,
    snapshot: bool,
}

impl Layout {
    fn add(&self, from: Id, to: Id, kind: Kind, take: &mut Vec<Arc>) {
        match (self.snapshot, kind) {
            (false, _) => take.push((from, to)),
            (true, Kind::Rw) => take.push((from * 2, to * 2 + 1)),
            (true, _) => take.extend([(from * 2, to * 2), (from * 2 + 1, to * 2)]),
        }
    }

    fn moment(&self, number: u32) -> u32 {
        self.txns * if self.snapshot { 2 } else { 1 } + number
    }
}

/// Versions of a key in forced order: its first and last, and the readers of the last.
struct Block {
    first: Version,
    last: Version,
}

fn search(
    history: &History,
    registers: &Registers,
    class: Class,
    snapshot: bool,
    budget: &mut Budget<'_>,
) -> Result<bool, Spent> {
    let layout = Layout { txns: history.len() as u32, snapshot };
    let mut fixed = Vec::new();
    registers.edges(&mut |edge| layout.add(edge.from, edge.to, edge.kind, &mut fixed));
    let nodes = ordered(history, &layout, class, &mut fixed);
    let choices = choices(history, registers, &layout, &mut fixed, budget)?;
    polygraph::solve(nodes, fixed, choices, budget)
}

/// Adds the order of a class; how many nodes there are then.
fn ordered(history: &History, layout: &Layout, class: Class, fixed: &mut Vec<Arc>) -> usize {
    let mut nodes = layout.moment(0) as usize;
    match class {
        Class::Plain => {}
        Class::Process => {
            for (id, next) in
                graph::sessions(history).into_iter().enumerate().filter(|&(_, next)| next != NONE)
            {
                layout.add(id as Id, next, Kind::Process, fixed);
            }
        }
        Class::Realtime => nodes += realtime(history, layout, fixed),
    }
    nodes
}

/// Real time by moments, as in the graph of the inference.
fn realtime(history: &History, layout: &Layout, fixed: &mut Vec<Arc>) -> usize {
    let copies = if layout.snapshot { 2 } else { 1 };
    let groups = history.groups().len() as u32;
    for (id, txn) in history.txns().iter().enumerate() {
        let id = id as u32 * copies;
        fixed.push((layout.moment(txn.group), id));
        if txn.after < groups {
            fixed.extend((0..copies).map(|copy| (id + copy, layout.moment(txn.after))));
        }
    }
    fixed.extend((1..groups).map(|group| (layout.moment(group - 1), layout.moment(group))));
    groups as usize
}

/// The pairs of blocks of each key.
fn choices(
    history: &History,
    registers: &Registers,
    layout: &Layout,
    fixed: &mut Vec<Arc>,
    budget: &mut Budget<'_>,
) -> Result<Vec<Choice>, Spent> {
    let mut readers: Vec<(u32, Version, Id)> = Vec::new();
    let mut next: Vec<(u32, Version, Version)> = Vec::new();
    for seen in registers.seen() {
        readers.push((seen.key, seen.version, seen.txn));
        if seen.wrote != NONE {
            next.push((seen.key, seen.version, seen.wrote));
        }
    }
    readers.sort_unstable();
    next.sort_unstable();
    let mut choices = Vec::new();
    for key in 0..history.keys().len() {
        let follow = |first: Version| {
            let mut last = first;
            while let Ok(at) =
                next.binary_search_by_key(&(key as u32, last), |&(key, version, _)| (key, version))
            {
                last = next[at].2;
            }
            Block { first, last }
        };
        let before = |one: &Block, other: &Block, take: &mut Vec<Arc>| {
            let to = registers.writer(other.first);
            let from = registers.writer(one.last);
            if from != NONE && from != to {
                layout.add(from, to, Kind::Ww, take);
            }
            let begin = readers.partition_point(|&(of, version, _)| (of, version) < (key as u32, one.last));
            let of_last = readers[begin..]
                .iter()
                .take_while(|&&(of, version, _)| (of, version) == (key as u32, one.last));
            of_last
                .filter(|&&(.., reader)| reader != to)
                .for_each(|&(.., reader)| layout.add(reader, to, Kind::Rw, take));
        };
        let initial = follow(INITIAL);
        let blocks: Vec<Block> = registers.heads(key).iter().map(|&head| follow(head)).collect();
        for (at, block) in blocks.iter().enumerate() {
            before(&initial, block, fixed);
            for other in &blocks[..at] {
                budget.step()?;
                let mut choice = Choice::default();
                before(other, block, &mut choice.sides[0]);
                before(block, other, &mut choice.sides[1]);
                budget.take((choice.sides[0].len() + choice.sides[1].len()) as u64 * 8 + 48)?;
                choices.push(choice);
            }
        }
    }
    Ok(choices)
}
