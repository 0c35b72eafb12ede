//! Registers that are read and written, with unique values: who read from whom, and which orders follow.
//!
//! - wr: from the writer of a value to its readers. A read of nil is of the initial state.
//! - Chains of read-modify-writes (MTC, arXiv 2504.02344): a transaction that reads a version and writes the key writes a later
//!   one, at every level from read committed. So there is an rw edge from all other readers of the version to it, and from
//!   readers of the initial state to every writer whose predecessor is not known (32 for each at most). Two transactions that
//!   read one version and write the key lose an update.
//! - Assumptions on request (Elle's): `sequential-keys`, each key by itself is sequential: versions follow the order of each
//!   process; `linearizable-keys`: they follow real time. They give ww and rw edges between versions.
//!
//! Where the writes of every key are one chain from the initial state, all orders are known, and what no cycle refutes is
//! proved. Read committed and its strong forms need no order (any that follows wr does); monotonic atomic view, read atomic and
//! causal are decided by [`super::axioms`]. Other levels with other histories are refuted or left open; `--complete` goes on.
//!
//! Outcomes: as for lists. What was read happened; an `info` that was never read is left out. A value that two writes gave is
//! not followed, and then nothing is proved.

use super::anomaly::Anomaly;
use super::facts::{Facts, Read};
use super::findings::{Findings, name};
use super::graph::{self, Edge, Kind};
use super::history::{Act, Element, History, Id, NONE};
use crate::budget::{Budget, Spent};
use crate::history::Outcome;

/// An order that is assumed and not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assume {
    /// Each key by itself follows the order of each process.
    SequentialKeys,
    /// Each key by itself follows real time.
    LinearizableKeys,
    /// What a transaction writes is later than what it read of the key: used unasked, as it is so at every level from read
    /// committed.
    WfrKeys,
}

impl Assume {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::SequentialKeys => "sequential-keys",
            Self::LinearizableKeys => "linearizable-keys",
            Self::WfrKeys => "wfr-keys",
        }
    }
}

/// A write of a register: the last one of its transaction to the key is a version.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// What was written.
    pub element: Element,
    /// By whom.
    pub txn: Id,
    /// False where its own transaction overwrote it.
    pub last: bool,
    /// False where another write gave the same value.
    pub unique: bool,
}

/// A version of a key: a place among all writes, or the initial state.
pub type Version = u32;

/// The initial state of a key.
pub const INITIAL: Version = NONE - 1;

/// A transaction's read of a version that another wrote.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The reader.
    pub txn: Id,
    /// The key.
    pub key: u32,
    /// What it read.
    pub version: Version,
    /// The version that the reader itself wrote of the key, or `NONE`.
    pub wrote: Version,
}

/// All reads and writes of a history of registers.
#[derive(Debug)]
pub struct Registers {
    writes_from: Vec<usize>,
    writes: Vec<Write>,
    happened: Vec<bool>,
    /// In the order of transactions, and of each one's reads.
    seen: Vec<Seen>,
    /// For each version its first transaction that read it and wrote the key, or `NONE`.
    successor: Vec<Id>,
    /// The same for the initial state, by key.
    first: Vec<Id>,
    /// For each key the versions with no known predecessor.
    heads_from: Vec<usize>,
    heads: Vec<Version>,
    ambiguous: bool,
    /// Two transactions read one version and wrote the key.
    branched: bool,
}

/// So many writers without a known predecessor get an edge from one reader of the initial state.
const MOST_HEADS: usize = 32;

impl Registers {
    /// Reads them out of a history, and what contradicts itself.
    pub fn new(
        history: &History,
        findings: &mut Findings<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<Self, Spent> {
        let (writes_from, writes) = writes(history, findings, budget)?;
        let count = writes.len();
        let keys = history.keys().len();
        budget.take(
            count as u64 * 8 + history.op_count() as u64 * 16 + history.len() as u64 + keys as u64 * 40,
        )?;
        let mut all = Self {
            writes_from,
            writes,
            happened: history.txns().iter().map(|txn| txn.outcome == Outcome::Ok).collect(),
            seen: Vec::new(),
            successor: vec![NONE; count],
            first: vec![NONE; keys],
            heads_from: Vec::new(),
            heads: Vec::new(),
            ambiguous: findings.ambiguous_write().is_some(),
            branched: false,
        };
        let mut pass = Pass { state: vec![State { txn: NONE, own: None, last: None }; keys] };
        for id in 0..history.len() as Id {
            budget.step()?;
            if history.txn(id).outcome == Outcome::Ok {
                pass.txn(history, id, &mut all, findings);
            }
        }
        all.chains(history, findings);
        Ok(all)
    }

    /// The version that a value is, of those that were written.
    fn find(&self, key: usize, element: Element) -> Option<Version> {
        let range = self.writes_from[key]..self.writes_from[key + 1];
        let at = self.writes[range.clone()].binary_search_by_key(&element, |write| write.element).ok()?;
        Some((range.start + at) as Version)
    }

    /// A version's write.
    pub fn write(&self, version: Version) -> &Write {
        &self.writes[version as usize]
    }

    /// Who wrote a version; `NONE` for the initial state.
    pub fn writer(&self, version: Version) -> Id {
        if version == INITIAL { NONE } else { self.writes[version as usize].txn }
    }

    /// All reads of others' versions.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// The versions of a key that count: each transaction's last, of those that happened.
    pub fn versions(&self, key: usize) -> impl Iterator<Item = Version> + '_ {
        (self.writes_from[key]..self.writes_from[key + 1])
            .filter(|&at| self.writes[at].last && self.happened[self.writes[at].txn as usize])
            .map(|at| at as Version)
    }

    /// The transaction that read a version and wrote the next one.
    pub fn successor(&self, key: usize, version: Version) -> Option<Id> {
        let next = if version == INITIAL { self.first[key] } else { self.successor[version as usize] };
        Some(next).filter(|&next| next != NONE)
    }

    /// The versions of a key that follow no known one.
    pub fn heads(&self, key: usize) -> &[Version] {
        &self.heads[self.heads_from[key]..self.heads_from[key + 1]]
    }

    /// True where a transaction happened, as far as anybody can tell.
    pub fn happened(&self, id: Id) -> bool {
        self.happened[id as usize]
    }

    /// True where values were not unique: nothing is proved.
    pub fn ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// True where all writes of each key are one chain from the initial state.
    pub fn chained(&self) -> bool {
        self.heads.is_empty() && !self.branched && !self.ambiguous
    }

    /// True where an update was lost.
    pub fn branched(&self) -> bool {
        self.branched
    }

    /// Finds the chains of read-modify-writes.
    fn chains(&mut self, history: &History, findings: &mut Findings<'_>) {
        let mut follows = vec![false; self.writes.len()];
        for at in 0..self.seen.len() {
            let Seen { txn, key, version, wrote } = self.seen[at];
            if wrote == NONE {
                continue;
            }
            follows[wrote as usize] = true;
            let next = if version == INITIAL {
                &mut self.first[key as usize]
            } else {
                &mut self.successor[version as usize]
            };
            if *next == NONE {
                *next = txn;
            } else if *next != txn {
                let other = *next;
                self.branched = true;
                findings.add(Anomaly::LostUpdate, &[txn, other], |history| {
                    let key = name(history, key as usize);
                    format!(
                        "T{other} and T{txn} read the same version of key {key}, and both wrote the next one."
                    )
                });
            }
        }
        for key in 0..history.keys().len() {
            self.heads_from.push(self.heads.len());
            let heads: Vec<Version> =
                self.versions(key).filter(|&version| !follows[version as usize]).collect();
            self.heads.extend(heads);
        }
        self.heads_from.push(self.heads.len());
    }

    /// What was read from whom.
    pub fn facts(&self, history: &History) -> Facts {
        let mut facts = Facts::new(history.keys().len(), graph::sessions(history));
        let mut seen = self.seen.iter().peekable();
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for id in 0..history.len() as Id {
            reads.clear();
            writes.clear();
            while let Some(seen) = seen.next_if(|seen| seen.txn == id) {
                reads.push(Read { key: seen.key, of: self.writer(seen.version) });
            }
            if self.happened(id) {
                let keys = history.ops(id).iter().filter(|micro| matches!(micro.act(), Act::Write(_)));
                writes.extend(keys.map(|micro| micro.key() as u32));
            }
            facts.push(&reads, &mut writes);
        }
        facts
    }

    /// The inferred edges: see the page.
    pub fn edges(&self, take: &mut dyn FnMut(Edge)) {
        for &Seen { txn, key, version, .. } in &self.seen {
            let from = self.writer(version);
            if from != NONE {
                take(Edge { from, to: txn, kind: Kind::Wr });
            }
            let next = self.successor(key as usize, version);
            if let Some(to) = next.filter(|&to| to != txn) {
                take(Edge { from: txn, to, kind: Kind::Rw });
            }
            if version == INITIAL {
                let heads = self.heads(key as usize).iter().map(|&head| self.writer(head));
                for to in heads.filter(|&to| to != txn).take(MOST_HEADS) {
                    take(Edge { from: txn, to, kind: Kind::Rw });
                }
            }
        }
    }

    /// The edges that an assumption gives.
    pub fn assumed(&self, history: &History, assume: Assume, take: &mut dyn FnMut(Edge)) {
        self.each_assumed(history, assume, &mut |key, pairs| {
            self.between(key, pairs, take);
        });
    }

    /// The first key that refutes an assumption: it would put versions of it before each other.
    pub fn contradicted(&self, history: &History, assume: Assume) -> Option<usize> {
        let mut first = None;
        self.each_assumed(history, assume, &mut |key, pairs| {
            if first.is_none() && circular(pairs) {
                first = Some(key);
            }
        });
        first
    }

    /// For each key the pairs of versions of which an assumption puts the one before the other.
    fn each_assumed(&self, history: &History, assume: Assume, each: &mut dyn FnMut(usize, &[Pair])) {
        let mut touches: Vec<Vec<(Id, Version)>> = vec![Vec::new(); history.keys().len()];
        for seen in &self.seen {
            touches[seen.key as usize].push((seen.txn, seen.version));
        }
        for (key, touches) in touches.iter_mut().enumerate() {
            touches.extend(self.versions(key).map(|version| (self.writer(version), version)));
            // What a transaction wrote is later than what it read.
            touches.sort_by_key(|&(txn, version)| (txn, version != INITIAL && self.writer(version) == txn));
            let mut pairs = match assume {
                Assume::SequentialKeys => sequential(history, touches),
                Assume::LinearizableKeys => linearizable(history, touches),
                Assume::WfrKeys => return,
            };
            pairs.sort_unstable();
            pairs.dedup();
            each(key, &pairs);
        }
    }

    /// Edges for pairs of versions of a key, the earlier one first.
    fn between(&self, key: usize, pairs: &[(Version, Version)], take: &mut dyn FnMut(Edge)) {
        let mut readers: Vec<(Version, Id)> = Vec::new();
        if !pairs.is_empty() {
            readers.extend(
                self.seen.iter().filter(|seen| seen.key as usize == key).map(|seen| (seen.version, seen.txn)),
            );
            readers.sort_unstable();
        }
        for &(first, second) in pairs {
            let to = self.writer(second);
            let from = self.writer(first);
            if from != NONE && to != NONE && from != to {
                take(Edge { from, to, kind: Kind::Ww });
            }
            let begin = readers.partition_point(|&(version, _)| version < first);
            for &(_, from) in readers[begin..].iter().take_while(|&&(version, _)| version == first) {
                if to != NONE && from != to {
                    take(Edge { from, to, kind: Kind::Rw });
                }
            }
        }
    }
}

/// Two versions of a key, the earlier one first.
type Pair = (Version, Version);

/// True where versions stand before each other in a circle.
fn circular(pairs: &[Pair]) -> bool {
    let mut waits: std::collections::BTreeMap<Version, usize> = std::collections::BTreeMap::new();
    for &(first, second) in pairs {
        waits.entry(first).or_default();
        *waits.entry(second).or_default() += 1;
    }
    let mut ready: Vec<Version> =
        waits.iter().filter(|&(_, &count)| count == 0).map(|(&version, _)| version).collect();
    let mut passed = 0;
    while let Some(version) = ready.pop() {
        passed += 1;
        let from = pairs.partition_point(|pair| pair.0 < version);
        for &(_, second) in pairs[from..].iter().take_while(|pair| pair.0 == version) {
            if let Some(count) = waits.get_mut(&second) {
                *count -= 1;
                if *count == 0 {
                    ready.push(second);
                }
            }
        }
    }
    passed < waits.len()
}

/// Pairs of versions, as each process met them.
fn sequential(history: &History, touches: &[(Id, Version)]) -> Vec<(Version, Version)> {
    let mut last: std::collections::BTreeMap<u32, Version> = std::collections::BTreeMap::new();
    let mut pairs = Vec::new();
    for &(txn, version) in touches.iter().filter(|(txn, _)| history.txn(*txn).outcome == Outcome::Ok) {
        if let Some(before) =
            last.insert(history.txn(txn).process, version).filter(|&before| before != version)
        {
            pairs.push((before, version));
        }
    }
    pairs
}

/// Pairs of versions, as real time has it: of the completed ones that no other completed one follows, to each that begins.
fn linearizable(history: &History, touches: &[(Id, Version)]) -> Vec<(Version, Version)> {
    let mut completed: Vec<(u32, u32, Version)> = Vec::new();
    let mut pairs = Vec::new();
    for (at, &(txn, version)) in touches.iter().enumerate() {
        let it = history.txn(txn);
        let own = at > 0 && touches[at - 1].0 == txn;
        if own && touches[at - 1].1 != version {
            pairs.push((touches[at - 1].1, version));
        }
        let before = |&&(after, ..): &&(u32, u32, Version)| after <= it.group;
        let latest = completed.iter().filter(before).map(|&(_, group, _)| group).max().unwrap_or(0);
        let maximal = completed.iter().filter(before).filter(|&&(after, ..)| after > latest);
        pairs.extend(maximal.map(|&(.., first)| (first, version)).filter(|&(first, second)| first != second));
        completed.retain(|&(after, ..)| after > latest || latest == 0);
        let last = touches.get(at + 1).is_none_or(|next| next.0 != txn);
        if it.after != NONE && last {
            completed.push((it.after, it.group, version));
        }
    }
    pairs
}

/// All writes by key, sorted by value.
fn writes(
    history: &History,
    findings: &mut Findings<'_>,
    budget: &mut Budget<'_>,
) -> Result<(Vec<usize>, Vec<Write>), Spent> {
    let keys = history.keys().len();
    let mut from = vec![0_usize; keys + 1];
    for id in 0..history.len() as Id {
        for micro in history.ops(id) {
            from[micro.key() + 1] += usize::from(matches!(micro.act(), Act::Write(_)));
        }
    }
    for key in 0..keys {
        from[key + 1] += from[key];
    }
    budget.take(from[keys] as u64 * 12 + keys as u64 * 16)?;
    let none = Write { element: Element::NIL, txn: NONE, last: true, unique: true };
    let mut all = vec![none; from[keys]];
    let mut next = from.clone();
    for id in 0..history.len() as Id {
        budget.step()?;
        for micro in history.ops(id) {
            let Act::Write(element) = micro.act() else { continue };
            let at = next[micro.key()];
            next[micro.key()] += 1;
            all[at] = Write { element, txn: id, last: true, unique: true };
            if at > from[micro.key()] && all[at - 1].txn == id {
                all[at - 1].last = false;
            }
        }
    }
    for key in 0..keys {
        let own = &mut all[from[key]..from[key + 1]];
        own.sort_by_key(|write| write.element);
        for at in 1..own.len() {
            if own[at].element == own[at - 1].element {
                own[at].unique = false;
                own[at - 1].unique = false;
                findings.ambiguous(key, own[at].element);
            }
        }
        if own.last().is_some_and(|write| write.element == Element::NIL) {
            // Nobody can tell this nil from the initial one.
            own.iter_mut()
                .filter(|write| write.element == Element::NIL)
                .for_each(|write| write.unique = false);
            findings.ambiguous(key, Element::NIL);
        }
    }
    Ok((from, all))
}

/// What the transaction at hand did to a key.
#[derive(Clone, Copy)]
struct State {
    txn: Id,
    own: Option<Element>,
    last: Option<Element>,
}

struct Pass {
    state: Vec<State>,
}

impl Pass {
    fn txn(&mut self, history: &History, id: Id, all: &mut Registers, findings: &mut Findings<'_>) {
        let begin = all.seen.len();
        for micro in history.ops(id) {
            let key = micro.key();
            let state = &mut self.state[key];
            if state.txn != id {
                *state = State { txn: id, own: None, last: None };
            }
            match micro.act() {
                Act::Write(element) => state.own = Some(element),
                Act::Read(element) => {
                    let known = state.own.or(state.last);
                    if known.is_some_and(|known| known != element) {
                        findings.add(Anomaly::Internal, &[id], |history| {
                            format!("See what T{id} did to key {}.", name(history, key))
                        });
                    }
                    state.last = Some(element);
                    let own = state.own;
                    if own != Some(element) {
                        read(history, id, key, element, own.is_none(), all, findings);
                    }
                }
                _ => {}
            }
        }
        // Only a first read is one that the transaction's own write built upon.
        for at in begin..all.seen.len() {
            let key = all.seen[at].key as usize;
            let first = !all.seen[begin..at].iter().any(|seen| seen.key as usize == key);
            let own = self.state[key].own.filter(|_| first).and_then(|element| all.find(key, element));
            all.seen[at].wrote = own.filter(|&own| all.write(own).unique).unwrap_or(NONE);
        }
    }
}

/// A read of what is not the transaction's own last write. It is one of another's version unless the transaction had written.
fn read(
    history: &History,
    id: Id,
    key: usize,
    element: Element,
    external: bool,
    all: &mut Registers,
    findings: &mut Findings<'_>,
) {
    let shown = |history: &History| (history.show(element), name(history, key));
    let version = match all.find(key, element) {
        None if element == Element::NIL => INITIAL,
        None => {
            findings.add(Anomaly::Garbage, &[id], |history| {
                let (element, key) = shown(history);
                format!("T{id} read {element} in key {key}.")
            });
            return;
        }
        Some(version) => version,
    };
    if version != INITIAL {
        let write = *all.write(version);
        let writer = write.txn;
        match history.txn(writer).outcome {
            _ if !write.unique => return,
            _ if writer == id => {
                findings.add(Anomaly::FutureRead, &[id], |history| {
                    let (element, key) = shown(history);
                    format!("T{id} read {element} in key {key} before it wrote that.")
                });
                return;
            }
            Outcome::Fail => {
                findings.add(Anomaly::G1a, &[id, writer], |history| {
                    let (element, key) = shown(history);
                    format!("T{id} read {element} in key {key}, which is of T{writer}, and that failed.")
                });
                return;
            }
            Outcome::Info => all.happened[writer as usize] = true,
            Outcome::Ok => {}
        }
        if !write.last && external {
            findings.add(Anomaly::G1b, &[id, writer], |history| {
                let (element, key) = shown(history);
                format!("T{id} read {element} in key {key}, which T{writer} itself overwrote.")
            });
            return;
        }
    }
    if external {
        all.seen.push(Seen { txn: id, key: key as u32, version, wrote: NONE });
    }
}
