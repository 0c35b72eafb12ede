//! A graph whose edges are partly a matter of choice, and the search for choices that leave it without a cycle.
//!
//! Each choice has two sides, each a set of edges (Papadimitriou's polygraphs, JACM 1979; Cobra, OSDI 2020). Two steps:
//!
//! 1. Pruning, where the closure of the graph fits (a bit for each pair of nodes): a side that would close a cycle with the
//!    fixed edges makes the other side fixed; again until nothing changes.
//! 2. Conflict-driven search over the rest: choices are decided as the current topological order suggests, edges are added with
//!    the incremental order of Pearce and Kelly (JEA 2006), a cycle becomes a learned clause over the choices on it, and the
//!    search goes back to where the clause first forces something.

use crate::budget::{Budget, Spent};
use std::collections::BTreeSet;

/// An edge between two nodes.
pub(super) type Arc = (u32, u32);

/// A choice: exactly one of its sides holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    /// The edges of each side.
    pub(super) sides: [Vec<Arc>; 2],
}

/// True where some choices leave no cycle.
pub(super) fn solve(
    nodes: usize,
    mut fixed: Vec<Arc>,
    choices: Vec<Choice>,
    budget: &mut Budget<'_>,
) -> Result<bool, Spent> {
    let taken = budget.bytes();
    let bytes = |choice: &Choice| (choice.sides[0].len() + choice.sides[1].len()) as u64 * 8 + 48;
    budget.take(fixed.len() as u64 * 24 + choices.iter().map(bytes).sum::<u64>() + nodes as u64 * 80)?;
    let Some(open) = prune(nodes, &mut fixed, choices, budget)? else { return Ok(false) };
    let Some(mut search) = Search::new(nodes, &fixed, open, budget)? else { return Ok(false) };
    let answer = search.run(budget)?;
    budget.give(budget.bytes() - taken);
    Ok(answer)
}

/// Most nodes for whose pairs a bit each is kept.
const MOST_PRUNED: usize = 40_000;

/// Fixes what has only one side left. `None` where both sides of a choice close cycles, or the fixed edges do.
fn prune(
    nodes: usize,
    fixed: &mut Vec<Arc>,
    mut choices: Vec<Choice>,
    budget: &mut Budget<'_>,
) -> Result<Option<Vec<Choice>>, Spent> {
    let bytes = (nodes as u64 * nodes as u64).div_ceil(8);
    if nodes > MOST_PRUNED || choices.is_empty() {
        return Ok(Some(choices));
    }
    budget.take(bytes)?;
    loop {
        let Some(closure) = Closure::new(nodes, fixed, budget)? else { return Ok(None) };
        let before = choices.len();
        let mut left = Vec::new();
        for choice in choices {
            budget.step()?;
            let closes = |side: &[Arc]| side.iter().any(|&(from, to)| closure.reaches(to, from));
            match (closes(&choice.sides[0]), closes(&choice.sides[1])) {
                (true, true) => return Ok(None),
                (true, false) => fixed.extend_from_slice(&choice.sides[1]),
                (false, true) => fixed.extend_from_slice(&choice.sides[0]),
                (false, false) => left.push(choice),
            }
        }
        choices = left;
        if choices.len() == before {
            budget.give(bytes);
            return Ok(Some(choices));
        }
    }
}

/// Which node reaches which.
struct Closure {
    words: usize,
    bits: Vec<u64>,
}

impl Closure {
    /// `None` where there is a cycle.
    fn new(nodes: usize, arcs: &[Arc], budget: &mut Budget<'_>) -> Result<Option<Self>, Spent> {
        let Some(order) = topological(nodes, arcs) else { return Ok(None) };
        let (start, to) = flat(nodes, arcs);
        let words = nodes.div_ceil(64);
        let mut bits = vec![0_u64; nodes * words];
        for &node in order.iter().rev() {
            let row = node as usize * words;
            bits[row + node as usize / 64] |= 1 << (node % 64);
            for &next in &to[start[node as usize] as usize..start[node as usize + 1] as usize] {
                budget.step()?;
                let other = next as usize * words;
                for word in 0..words {
                    bits[row + word] |= bits[other + word];
                }
            }
        }
        Ok(Some(Self { words, bits }))
    }

    fn reaches(&self, from: u32, to: u32) -> bool {
        self.bits[from as usize * self.words + to as usize / 64] & 1 << (to % 64) != 0
    }
}

fn flat(nodes: usize, arcs: &[Arc]) -> (Vec<u32>, Vec<u32>) {
    let mut start = vec![0_u32; nodes + 1];
    for &(from, _) in arcs {
        start[from as usize + 1] += 1;
    }
    for at in 0..nodes {
        start[at + 1] += start[at];
    }
    let mut to = vec![0_u32; arcs.len()];
    let mut next = start.clone();
    for &(from, end) in arcs {
        to[next[from as usize] as usize] = end;
        next[from as usize] += 1;
    }
    (start, to)
}

/// The order that follows the edges and takes small nodes first; `None` where there is a cycle.
fn topological(nodes: usize, arcs: &[Arc]) -> Option<Vec<u32>> {
    let (start, to) = flat(nodes, arcs);
    let mut waits = vec![0_u32; nodes];
    for &(_, to) in arcs {
        waits[to as usize] += 1;
    }
    let mut ready: std::collections::BinaryHeap<std::cmp::Reverse<u32>> =
        (0..nodes as u32).filter(|&node| waits[node as usize] == 0).map(std::cmp::Reverse).collect();
    let mut order = Vec::with_capacity(nodes);
    while let Some(std::cmp::Reverse(node)) = ready.pop() {
        order.push(node);
        for &next in &to[start[node as usize] as usize..start[node as usize + 1] as usize] {
            waits[next as usize] -= 1;
            if waits[next as usize] == 0 {
                ready.push(std::cmp::Reverse(next));
            }
        }
    }
    (order.len() == nodes).then_some(order)
}

/// A choice's side: twice its number, and one more for the second side.
type Literal = u32;

/// The reason of a fixed edge.
const FIXED: Literal = u32::MAX;

const NONE: u32 = u32::MAX;

struct Search {
    choices: Vec<Choice>,
    /// For each node the edges out of it and into it, with the literal that put each there.
    out: Vec<Vec<(u32, Literal)>>,
    into: Vec<Vec<(u32, Literal)>>,
    /// The place of each node in the current topological order.
    place: Vec<u32>,
    /// For each choice the side that holds.
    value: Vec<Option<bool>>,
    level: Vec<u32>,
    reason: Vec<u32>,
    trail: Vec<Literal>,
    /// Where on the trail each level begins.
    levels: Vec<usize>,
    /// How much of the trail has been propagated.
    done: usize,
    clauses: Vec<Vec<Literal>>,
    /// The clauses that watch a literal's becoming false.
    watches: Vec<Vec<u32>>,
    activity: Vec<u64>,
    undecided: BTreeSet<(std::cmp::Reverse<u64>, u32)>,
    bump: u64,
    seen: Vec<u32>,
    parent: Vec<(u32, Literal)>,
    stamp: u32,
}

impl Search {
    fn new(
        nodes: usize,
        fixed: &[Arc],
        choices: Vec<Choice>,
        budget: &mut Budget<'_>,
    ) -> Result<Option<Self>, Spent> {
        let Some(order) = topological(nodes, fixed) else { return Ok(None) };
        budget.take(nodes as u64 * 80 + choices.len() as u64 * 96)?;
        let mut place = vec![0; nodes];
        order.iter().enumerate().for_each(|(at, &node)| place[node as usize] = at as u32);
        let (mut out, mut into) = (vec![Vec::new(); nodes], vec![Vec::new(); nodes]);
        for &(from, to) in fixed {
            out[from as usize].push((to, FIXED));
            into[to as usize].push((from, FIXED));
        }
        let count = choices.len();
        Ok(Some(Self {
            out,
            into,
            place,
            value: vec![None; count],
            level: vec![0; count],
            reason: vec![NONE; count],
            trail: Vec::new(),
            levels: Vec::new(),
            done: 0,
            clauses: Vec::new(),
            watches: vec![Vec::new(); count * 2],
            activity: vec![0; count],
            undecided: (0..count as u32).map(|choice| (std::cmp::Reverse(0), choice)).collect(),
            bump: 1,
            seen: vec![0; nodes],
            parent: vec![(NONE, FIXED); nodes],
            stamp: 0,
            choices,
        }))
    }

    fn run(&mut self, budget: &mut Budget<'_>) -> Result<bool, Spent> {
        loop {
            if let Some(conflict) = self.propagate(budget)? {
                budget.take(conflict.len() as u64 * 4 + 32)?;
                if !self.learn(conflict) {
                    return Ok(false);
                }
                continue;
            }
            let Some(&(_, choice)) = self.undecided.first() else { return Ok(true) };
            self.levels.push(self.trail.len());
            let second = self.suggests(choice);
            self.assign(choice * 2 + u32::from(second), NONE);
        }
    }

    /// The side that the current order suggests: the one with fewer edges against it.
    fn suggests(&self, choice: u32) -> bool {
        let against = |side: &[Arc]| {
            side.iter().filter(|&&(from, to)| self.place[from as usize] > self.place[to as usize]).count()
        };
        let [first, second] = &self.choices[choice as usize].sides;
        against(first) > against(second)
    }

    fn holds(&self, literal: Literal) -> Option<bool> {
        self.value[literal as usize / 2].map(|second| second == (literal % 2 == 1))
    }

    fn assign(&mut self, literal: Literal, reason: u32) {
        let choice = literal / 2;
        self.value[choice as usize] = Some(literal % 2 == 1);
        self.level[choice as usize] = self.levels.len() as u32;
        self.reason[choice as usize] = reason;
        self.trail.push(literal);
        self.undecided.remove(&(std::cmp::Reverse(self.activity[choice as usize]), choice));
    }

    /// Follows what was assigned. A conflict is a set of literals that cannot all hold.
    fn propagate(&mut self, budget: &mut Budget<'_>) -> Result<Option<Vec<Literal>>, Spent> {
        while self.done < self.trail.len() {
            let literal = self.trail[self.done];
            self.done += 1;
            if let Some(conflict) = self.add_side(literal, budget)? {
                return Ok(Some(conflict));
            }
            if let Some(conflict) = self.follow_clauses(literal ^ 1, budget)? {
                return Ok(Some(conflict));
            }
        }
        Ok(None)
    }

    /// Clauses in which a literal became false.
    fn follow_clauses(
        &mut self,
        falsified: Literal,
        budget: &mut Budget<'_>,
    ) -> Result<Option<Vec<Literal>>, Spent> {
        let watching = std::mem::take(&mut self.watches[falsified as usize]);
        let mut kept = Vec::new();
        let mut conflict = None;
        for (at, &number) in watching.iter().enumerate() {
            budget.step()?;
            let mut clause = std::mem::take(&mut self.clauses[number as usize]);
            if clause[0] == falsified {
                clause.swap(0, 1);
            }
            let other = clause[0];
            if self.holds(other) == Some(true) {
                kept.push(number);
            } else if let Some(next) = (2..clause.len()).find(|&at| self.holds(clause[at]) != Some(false)) {
                clause.swap(1, next);
                self.watches[clause[1] as usize].push(number);
            } else {
                kept.push(number);
                if self.holds(other).is_none() {
                    self.assign(other, number);
                } else {
                    conflict = Some(clause.iter().map(|literal| literal ^ 1).collect());
                    self.clauses[number as usize] = clause;
                    kept.extend_from_slice(&watching[at + 1..]);
                    break;
                }
            }
            self.clauses[number as usize] = clause;
        }
        self.watches[falsified as usize] = kept;
        Ok(conflict)
    }

    /// Adds the edges of a literal. A cycle gives the literals on it.
    fn add_side(&mut self, literal: Literal, budget: &mut Budget<'_>) -> Result<Option<Vec<Literal>>, Spent> {
        let choice = literal as usize / 2;
        for at in 0..self.choices[choice].sides[literal as usize % 2].len() {
            budget.step()?;
            let (from, to) = self.choices[choice].sides[literal as usize % 2][at];
            if let Some(mut on_cycle) = self.order(from, to, budget)? {
                on_cycle.push(literal);
                on_cycle.sort_unstable();
                on_cycle.dedup();
                return Ok(Some(on_cycle));
            }
            self.out[from as usize].push((to, literal));
            self.into[to as usize].push((from, literal));
        }
        Ok(None)
    }

    /// Makes the order fit to a new edge, or gives the literals of a path from its end to its beginning.
    fn order(&mut self, from: u32, to: u32, budget: &mut Budget<'_>) -> Result<Option<Vec<Literal>>, Spent> {
        let (low, high) = (self.place[to as usize], self.place[from as usize]);
        if high < low {
            return Ok(None);
        }
        self.stamp += 1;
        let mut ahead = vec![to];
        self.seen[to as usize] = self.stamp;
        self.parent[to as usize] = (NONE, FIXED);
        let mut at = 0;
        while at < ahead.len() {
            let node = ahead[at];
            at += 1;
            if node == from {
                return Ok(Some(self.path(node)));
            }
            for &(next, literal) in &self.out[node as usize] {
                budget.step()?;
                if self.place[next as usize] <= high && self.seen[next as usize] != self.stamp {
                    self.seen[next as usize] = self.stamp;
                    self.parent[next as usize] = (node, literal);
                    ahead.push(next);
                }
            }
        }
        self.stamp += 1;
        let mut behind = vec![from];
        self.seen[from as usize] = self.stamp;
        let mut at = 0;
        while at < behind.len() {
            let node = behind[at];
            at += 1;
            for &(before, _) in &self.into[node as usize] {
                budget.step()?;
                if self.place[before as usize] >= low && self.seen[before as usize] != self.stamp {
                    self.seen[before as usize] = self.stamp;
                    behind.push(before);
                }
            }
        }
        behind.sort_unstable_by_key(|&node| self.place[node as usize]);
        ahead.sort_unstable_by_key(|&node| self.place[node as usize]);
        let nodes: Vec<u32> = behind.into_iter().chain(ahead).collect();
        let mut places: Vec<u32> = nodes.iter().map(|&node| self.place[node as usize]).collect();
        places.sort_unstable();
        for (node, place) in nodes.into_iter().zip(places) {
            self.place[node as usize] = place;
        }
        Ok(None)
    }

    fn path(&self, mut node: u32) -> Vec<Literal> {
        let mut literals = Vec::new();
        while self.parent[node as usize].0 != NONE {
            let (before, literal) = self.parent[node as usize];
            if literal != FIXED {
                literals.push(literal);
            }
            node = before;
        }
        literals
    }

    /// Learns from literals that cannot all hold, and goes back. False where nothing is left to go back to.
    fn learn(&mut self, conflict: Vec<Literal>) -> bool {
        // A conflict may lie wholly below the current level, as edges are added one choice after the other.
        let deepest = conflict.iter().map(|&literal| self.level[literal as usize / 2]).max().unwrap_or(0);
        if deepest == 0 {
            return false;
        }
        self.back_to(deepest);
        let mut marked: BTreeSet<u32> = BTreeSet::new();
        let mut clause: Vec<Literal> = Vec::new();
        let mut open = 0;
        let mut causes = conflict;
        let mut at = self.trail.len();
        let last = loop {
            for literal in causes.drain(..) {
                let choice = literal / 2;
                let level = self.level[choice as usize];
                if level == 0 || !marked.insert(choice) {
                    continue;
                }
                self.activate(choice);
                if level == deepest {
                    open += 1;
                } else {
                    clause.push(literal ^ 1);
                }
            }
            let literal = loop {
                at -= 1;
                if marked.contains(&(self.trail[at] / 2)) {
                    break self.trail[at];
                }
            };
            open -= 1;
            if open == 0 {
                break literal;
            }
            let reason = self.reason[literal as usize / 2];
            if reason != NONE {
                let others = self.clauses[reason as usize].iter().filter(|&&other| other != literal);
                causes.extend(others.map(|other| other ^ 1));
            }
        };
        let back = clause.iter().map(|&literal| self.level[literal as usize / 2]).max().unwrap_or(0);
        clause.insert(0, last ^ 1);
        self.bump += self.bump / 16 + 1;
        self.back_to(back);
        self.keep(clause, back);
        true
    }

    /// Keeps a clause whose first literal it forces.
    fn keep(&mut self, mut clause: Vec<Literal>, back: u32) {
        let first = clause[0];
        if clause.len() == 1 {
            self.assign(first, NONE);
            return;
        }
        let second = (1..clause.len()).find(|&at| self.level[clause[at] as usize / 2] == back).unwrap_or(1);
        clause.swap(1, second);
        let number = self.clauses.len() as u32;
        self.watches[clause[0] as usize].push(number);
        self.watches[clause[1] as usize].push(number);
        self.clauses.push(clause);
        self.assign(first, number);
    }

    fn activate(&mut self, choice: u32) {
        let old = self.activity[choice as usize];
        let open = self.undecided.remove(&(std::cmp::Reverse(old), choice));
        self.activity[choice as usize] = old.saturating_add(self.bump);
        if open {
            self.undecided.insert((std::cmp::Reverse(self.activity[choice as usize]), choice));
        }
    }

    /// Takes back all levels above one.
    fn back_to(&mut self, level: u32) {
        let Some(&from) = self.levels.get(level as usize) else { return };
        for literal in self.trail.split_off(from).into_iter().rev() {
            let choice = literal / 2;
            // Whose edges were not all added loses those that were: edges carry their literal.
            for &(start, end) in &self.choices[choice as usize].sides[literal as usize % 2] {
                take_out(&mut self.out[start as usize], literal);
                take_out(&mut self.into[end as usize], literal);
            }
            self.value[choice as usize] = None;
            self.undecided.insert((std::cmp::Reverse(self.activity[choice as usize]), choice));
        }
        self.levels.truncate(level as usize);
        self.done = self.trail.len();
    }
}

/// Takes a literal's edges from the end of a list, where those that were added last stand.
fn take_out(edges: &mut Vec<(u32, Literal)>, literal: Literal) {
    while edges.last().is_some_and(|&(_, of)| of == literal) {
        edges.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::generate::Chance;

    fn brute(nodes: usize, fixed: &[Arc], choices: &[Choice]) -> bool {
        let Some((first, rest)) = choices.split_first() else { return topological(nodes, fixed).is_some() };
        first.sides.iter().any(|side| brute(nodes, &[fixed, side].concat(), rest))
    }

    /// Claim: over random small polygraphs the search answers as trying all choices does, with and without pruning.
    #[test]
    fn agrees_with_trying_all() {
        let mut chance = Chance::new(5);
        let mut counts = [0, 0];
        for _ in 0..20_000 {
            let nodes = 3 + chance.below(7);
            let arc = |chance: &mut Chance| {
                let from = chance.below(nodes);
                (from, (from + 1 + chance.below(nodes - 1)) % nodes)
            };
            let fixed: Vec<Arc> = (0..chance.below(5)).map(|_| arc(&mut chance)).collect();
            let side = |chance: &mut Chance| (0..=chance.below(3)).map(|_| arc(chance)).collect::<Vec<_>>();
            let choices: Vec<Choice> = (0..chance.below(9))
                .map(|_| Choice { sides: [side(&mut chance), side(&mut chance)] })
                .collect();
            let truth = brute(nodes as usize, &fixed, &choices);
            counts[usize::from(truth)] += 1;
            let go_on = || false;
            let mut budget = Budget::new(&go_on, 1 << 30);
            assert_eq!(
                solve(nodes as usize, fixed.clone(), choices.clone(), &mut budget),
                Ok(truth),
                "pruned"
            );
            let search = Search::new(nodes as usize, &fixed, choices, &mut budget).unwrap();
            assert_eq!(
                search.is_some_and(|mut search| search.run(&mut budget).unwrap()),
                truth,
                "searched only"
            );
        }
        println!("{counts:?} polygraphs with a cycle always, and without");
        assert!(counts.iter().all(|&count| count > 1000), "{counts:?}");
    }
}
