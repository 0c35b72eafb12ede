//! The graph of transactions, and its strongly connected components by Tarjan's algorithm (1972) without recursion.
//!
//! Edges that were inferred stand in one flat array. Real time needs no edge for each pair: between the transactions stands
//! one *moment* for each group of invocations. A transaction leads to the moment at which the first group after its
//! completion begins, a moment leads to the next one and to the transactions of its group. That is the interval order,
//! reduced to at most three edges a transaction, and none of them is stored.

use super::history::{History, Id, NONE};
use crate::budget::{Budget, Spent};
use crate::history::Outcome;

/// Why one transaction comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It wrote a version, the other the next one.
    Ww,
    /// It wrote a version that the other read.
    Wr,
    /// It read a version, the other wrote the next one.
    Rw,
    /// The same process ran it earlier.
    Process,
    /// It completed before the other was invoked.
    Realtime,
}

impl Kind {
    /// Its bit in a set of kinds.
    pub fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Its name, as papers write it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ww => "ww",
            Self::Wr => "wr",
            Self::Rw => "rw",
            Self::Process => "process",
            Self::Realtime => "realtime",
        }
    }

    fn stored(bits: u32) -> Self {
        match bits {
            0 => Self::Ww,
            1 => Self::Wr,
            _ => Self::Rw,
        }
    }
}

/// An edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The earlier one.
    pub from: Id,
    /// The later one.
    pub to: Id,
    /// Why.
    pub kind: Kind,
}

/// Who gives edges to whoever takes them.
pub type Emit<'a> = &'a mut dyn FnMut(&mut dyn FnMut(Edge));

/// Transactions (nodes from 0) and moments (the nodes above them).
#[derive(Debug)]
pub struct Graph {
    txns: u32,
    start: Vec<u32>,
    to: Vec<u32>,
    /// The next transaction of the same process, where the order of the process says so.
    next: Vec<Id>,
    /// The moment that a transaction leads to.
    after: Vec<u32>,
    /// The first transaction of each moment's group, and the number of transactions at the end.
    groups: Vec<Id>,
}

impl Graph {
    /// The graph of a history. `edges` gives the inferred edges twice, in the same order.
    pub fn new(history: &History, budget: &mut Budget<'_>, edges: Emit<'_>) -> Result<Self, Spent> {
        let txns = history.len();
        budget.take(txns as u64 * 12 + history.groups().len() as u64 * 4)?;
        let mut start = vec![0_u32; txns + 1];
        edges(&mut |edge| start[edge.from as usize + 1] += 1);
        budget.look()?;
        for at in 0..txns {
            start[at + 1] += start[at];
        }
        budget.take(u64::from(start[txns]) * 4)?;
        let mut to = vec![0_u32; start[txns] as usize];
        let mut place = start.clone();
        edges(&mut |edge| {
            let at = &mut place[edge.from as usize];
            to[*at as usize] = edge.to << 2 | edge.kind as u32;
            *at += 1;
        });
        budget.look()?;
        let mut groups = history.groups().to_vec();
        groups.push(txns as u32);
        let after = history
            .txns()
            .iter()
            .map(|txn| if (txn.after as usize) < groups.len() - 1 { txn.after } else { NONE });
        Ok(Self { txns: txns as u32, start, to, next: sessions(history), after: after.collect(), groups })
    }

    /// How many nodes there are, moments among them.
    pub fn nodes(&self) -> usize {
        self.txns as usize + self.groups.len() - 1
    }

    /// True for a node that is no transaction.
    pub fn is_moment(&self, node: u32) -> bool {
        node >= self.txns
    }

    /// How many edges were inferred.
    pub fn inferred(&self) -> usize {
        self.to.len()
    }

    /// The inferred edges out of a transaction.
    pub fn out(&self, id: Id) -> impl Iterator<Item = (Id, Kind)> + '_ {
        let range = self.start[id as usize] as usize..self.start[id as usize + 1] as usize;
        self.to[range].iter().map(|&to| (to >> 2, Kind::stored(to & 3)))
    }

    /// The next transaction of the same process.
    pub fn next(&self, id: Id) -> Option<Id> {
        Some(self.next[id as usize]).filter(|&next| next != NONE)
    }

    /// The node that real time leads to from a transaction.
    pub fn moment_after(&self, id: Id) -> Option<u32> {
        Some(self.after[id as usize]).filter(|&after| after != NONE).map(|after| self.txns + after)
    }

    /// What follows a moment: the next moment, and the transactions of its group.
    pub fn of_moment(&self, node: u32) -> (Option<u32>, std::ops::Range<Id>) {
        let at = (node - self.txns) as usize;
        let next = (at + 2 < self.groups.len()).then_some(node + 1);
        (next, self.groups[at]..self.groups[at + 1])
    }

    /// The successor of a node with that number, by inferred edges and real time.
    #[inline]
    fn successor(&self, node: u32, number: u32) -> Option<u32> {
        if node < self.txns {
            let at = self.start[node as usize] + number;
            let end = self.start[node as usize + 1];
            return match at.cmp(&end) {
                std::cmp::Ordering::Less => Some(self.to[at as usize] >> 2),
                std::cmp::Ordering::Equal => self.moment_after(node),
                std::cmp::Ordering::Greater => None,
            };
        }
        let (next, group) = self.of_moment(node);
        match next {
            Some(next) if number == 0 => Some(next),
            _ => {
                let id = group.start + number - u32::from(next.is_some());
                (id < group.end).then_some(id)
            }
        }
    }

    /// The strongly connected components of more than one node, by inferred edges and real time (which says all that the order
    /// of a process says).
    pub fn components(&self, budget: &mut Budget<'_>) -> Result<Vec<Vec<u32>>, Spent> {
        let nodes = self.nodes();
        budget.take(nodes as u64 * 8)?;
        let mut found = Vec::new();
        tarjan(
            nodes,
            budget,
            |node, number| self.successor(node, number),
            |component| {
                if component.len() > 1 {
                    found.push(component.to_vec());
                }
            },
        )?;
        budget.give(nodes as u64 * 8);
        Ok(found)
    }
}

/// The next transaction of each one's process. A process whose transaction has no known end begins a new session with the next.
pub(super) fn sessions(history: &History) -> Vec<Id> {
    let mut next = vec![NONE; history.len()];
    let mut last = vec![NONE; history.process_count()];
    for (id, txn) in history.txns().iter().enumerate() {
        if txn.outcome == Outcome::Fail {
            continue;
        }
        let last = &mut last[txn.process as usize];
        if *last != NONE {
            next[*last as usize] = id as u32;
        }
        *last = if txn.outcome == Outcome::Ok { id as u32 } else { NONE };
    }
    next
}

/// Tarjan's algorithm. `successor(node, n)` is the nth successor, `None` after the last; `component` is called for each
/// component, successors before their predecessors.
pub fn tarjan(
    nodes: usize,
    budget: &mut Budget<'_>,
    successor: impl Fn(u32, u32) -> Option<u32>,
    mut component: impl FnMut(&[u32]),
) -> Result<(), Spent> {
    // Low link and place in the order of discovery in one number: 0 is new, `DONE` belongs to a component.
    const DONE: u32 = u32::MAX;
    let mut low = vec![0_u32; nodes];
    let mut stack: Vec<u32> = Vec::new();
    let mut path: Vec<Frame> = Vec::new();
    let mut count = 0;
    for root in 0..nodes as u32 {
        if low[root as usize] != 0 {
            continue;
        }
        count += 1;
        low[root as usize] = count;
        stack.push(root);
        path.push(Frame { node: root, number: 0, place: count });
        while let Some(frame) = path.last_mut() {
            let node = frame.node;
            if let Some(to) = successor(node, frame.number) {
                frame.number += 1;
                match low[to as usize] {
                    0 => {
                        budget.step()?;
                        count += 1;
                        low[to as usize] = count;
                        stack.push(to);
                        path.push(Frame { node: to, number: 0, place: count });
                    }
                    DONE => {}
                    seen => low[node as usize] = low[node as usize].min(seen),
                }
                continue;
            }
            let place = frame.place;
            path.pop();
            let reached = low[node as usize];
            if let Some(parent) = path.last() {
                let parent = parent.node as usize;
                low[parent] = low[parent].min(reached);
            }
            if reached == place {
                let from = stack.iter().rposition(|&on| on == node).unwrap_or(0);
                for &member in &stack[from..] {
                    low[member as usize] = DONE;
                }
                component(&stack[from..]);
                stack.truncate(from);
            }
        }
    }
    Ok(())
}

/// A node on the path of the search, the number of its next successor, and when it was found.
struct Frame {
    node: u32,
    number: u32,
    place: u32,
}
