//! Lists that are appended to and read whole: Elle's inference (Kingsbury and Alvaro, VLDB 2020, section 4).
//!
//! Each append adds an element that is unique in its list, so a read names all writes before it, in order. The longest read of
//! a key (its trunk) gives the order of versions:
//!
//! - ww: from the writer of an element to the writer of the next one. Elements of failed transactions are left out.
//! - wr: from the writer of the last element that a transaction read, its own left out, to the reader.
//! - rw: from the reader to the writer of the first element behind what it read.
//! - An append that holds and that no read shows stands behind the trunk, whatever its place there: ww from the trunk's last
//!   writer and rw from the trunk's last readers to its writer (32 for each at most).
//!
//! Outcomes: `ok` happened. `info` happened if one of its elements was read (also at read uncommitted, where a read proves
//! less), its reads count for nothing; otherwise it is taken as not happened, which no other transaction can contradict. `fail` did not happen: its elements in a read are G1a.
//!
//! A key to which one element was appended twice, be it by one that failed, is not followed: who was read cannot be told.
//!
//! What is certain: a refutation, always. A level is *proved* where every version order is known, which is so if no key holds
//! two appends or more that hold and that no read shows; or if the whole graph has no cycle, as the unseen ones can then be put
//! in the order of the graph. A key whose reads contradict each other, or hold an element twice, gives no edges.
//!
//! A read of a list to which its transaction appended before is taken for the version that this append made. So it convicts a store that lays a
//! transaction's appends over what is committed and appends them when it commits: of `[2]`, read so, `[1 2]` is no later version. To
//! judge such a store let no transaction read what it appended to.
//!
//! What it cannot see: the order of appends behind the trunk, and whatever a transaction read that does not say so. End a
//! workload with a read of every key.
//!
//! Cost: O(elements + micro-operations), and a sort of each key's elements.

use super::findings::Findings;
use super::graph::{Edge, Kind};
use super::history::{Act, Element, History, Id, Micro, NONE};
use crate::budget::{Budget, Spent};
use crate::history::Outcome;

/// What is known of the versions of each key.
#[derive(Debug)]
pub struct Versions {
    /// For each key the first of its trunk's places among all.
    base: Vec<usize>,
    /// For each element of each trunk who wrote it, or `NONE`.
    writer: Vec<Id>,
    /// True for an element that its own transaction followed by another in the same list.
    followed: Vec<bool>,
    /// For each append its element's place in the trunk, or `NONE`.
    place: Vec<u32>,
    /// Keys whose order is not known, as reads contradict each other.
    tainted: Vec<bool>,
    /// Keys to which an element was appended twice: who was read cannot be told.
    ambiguous: Vec<bool>,
    /// For each transaction whether it happened, as far as anybody can tell.
    happened: Vec<bool>,
    /// For each key the transactions that happened and have an append that no read shows; `unseen_from` says where.
    unseen: Vec<Id>,
    unseen_from: Vec<usize>,
    /// For each key the first element of a failed transaction and the first of nobody.
    first_failed: Vec<u32>,
    first_garbage: Vec<u32>,
}

/// An append, as its key's list of them holds it.
#[derive(Clone, Copy)]
struct Append {
    element: Element,
    op: u32,
    txn: Id,
    followed: bool,
}

/// Follows the reads of one transaction after another, and tells which are of another's version.
#[derive(Debug)]
pub struct Reader {
    keys: Vec<State>,
}

/// What the current transaction did to a key.
#[derive(Clone, Copy, Debug)]
struct State {
    txn: Id,
    /// The length that it last read, or `NONE`.
    last: u32,
    /// Its own appends since.
    own: u32,
    /// It appended before.
    appended: bool,
}

/// What a micro-operation is to its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// No read of a known list.
    Nothing,
    /// The first read of the key: the length of the version, own appends left out.
    First(u32),
    /// A later read that sees another version than the one before it, without an own append.
    Changed(u32),
    /// A read that says no more than the one before it.
    Again,
    /// A read that contradicts the transaction's own reads and appends.
    Broken,
}

impl Reader {
    /// For a history's keys.
    pub fn new(history: &History) -> Self {
        Self { keys: vec![State { txn: NONE, last: NONE, own: 0, appended: false }; history.keys().len()] }
    }

    /// The next micro-operation.
    pub fn step(&mut self, versions: &Versions, id: Id, micro: Micro) -> Seen {
        let state = &mut self.keys[micro.key()];
        if state.txn != id {
            *state = State { txn: id, last: NONE, own: 0, appended: false };
        }
        match micro.act() {
            Act::Append(_) => {
                state.own += 1;
                state.appended = true;
                Seen::Nothing
            }
            Act::List(len) => {
                let own = std::mem::take(&mut state.own);
                let last = std::mem::replace(&mut state.last, len);
                let version = if last == NONE { len.checked_sub(own) } else { Some(last) };
                let base = versions.base[micro.key()];
                let fits = |version: u32| {
                    version.checked_add(own) == Some(len)
                        && (version..len).all(|place| versions.writer[base + place as usize] == id)
                };
                match version {
                    Some(version) if fits(version) && last == NONE => Seen::First(version),
                    Some(version) if fits(version) => Seen::Again,
                    _ if last != NONE && !state.appended => Seen::Changed(len),
                    _ => Seen::Broken,
                }
            }
            Act::Odd(_) => {
                state.last = NONE;
                Seen::Broken
            }
            _ => Seen::Nothing,
        }
    }
}

/// So many appends that no read shows get edges from one transaction.
const MOST_UNSEEN: usize = 32;

impl Versions {
    /// Reads the orders out of a history, and what contradicts them.
    pub fn new(
        history: &History,
        findings: &mut Findings<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<Self, Spent> {
        let (base, appends_from, appends) = by_key(history, budget)?;
        let keys = history.keys().len();
        let slots = base[keys];
        budget.take(
            slots as u64 * 5 + history.op_count() as u64 * 4 + history.len() as u64 + keys as u64 * 18,
        )?;
        let mut all = Self {
            base,
            writer: vec![NONE; slots],
            followed: vec![false; slots],
            place: vec![NONE; history.op_count()],
            tainted: vec![false; keys],
            ambiguous: vec![false; keys],
            happened: history.txns().iter().map(|txn| txn.outcome == Outcome::Ok).collect(),
            unseen: Vec::new(),
            unseen_from: Vec::with_capacity(keys + 1),
            first_failed: vec![NONE; keys],
            first_garbage: vec![NONE; keys],
        };
        let mut scratch = Vec::new();
        for key in 0..keys {
            budget.step()?;
            all.match_key(
                history,
                key,
                &appends[appends_from[key]..appends_from[key + 1]],
                &mut scratch,
                findings,
            );
        }
        for key in 0..keys {
            all.unseen_from.push(all.unseen.len());
            let from = all.unseen.len();
            for append in &appends[appends_from[key]..appends_from[key + 1]] {
                let happened = all.happened[append.txn as usize];
                let counted = all.unseen.len() > from && all.unseen.last() == Some(&append.txn);
                if happened && all.place[append.op as usize] == NONE && !counted {
                    all.unseen.push(append.txn);
                }
            }
        }
        all.unseen_from.push(all.unseen.len());
        budget.take(all.unseen.len() as u64 * 4)?;
        budget.give(appends.len() as u64 * 16);
        Ok(all)
    }

    /// Finds each append's place in the trunk, and each place's writer.
    fn match_key(
        &mut self,
        history: &History,
        key: usize,
        appends: &[Append],
        scratch: &mut Vec<(Element, u32)>,
        findings: &mut Findings<'_>,
    ) {
        let trunk = &history.keys()[key].trunk;
        let base = self.base[key];
        scratch.clear();
        scratch.extend(appends.iter().map(|append| (append.element, 0)));
        scratch.sort_unstable();
        if let Some(pair) = scratch.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            // Whose element a read saw cannot be told, nor whether it saw one twice: the key gives no order, and nothing that
            // was read of it is held against anybody. Only what nobody appended is garbage still.
            (self.tainted[key], self.ambiguous[key]) = (true, true);
            findings.ambiguous(key, pair[0].0);
            let known: Vec<Element> = scratch.iter().map(|&(element, _)| element).collect();
            let strange = trunk.iter().position(|element| known.binary_search(element).is_err());
            self.first_garbage[key] = strange.map_or(NONE, |place| place as u32);
            return;
        }
        scratch.clear();
        scratch.extend(trunk.iter().enumerate().map(|(place, &element)| (element, place as u32)));
        scratch.sort_unstable();
        for pair in scratch.windows(2) {
            if pair[0].0 == pair[1].0 {
                self.tainted[key] = true;
                findings.duplicate(key, pair[0].0, pair[1].1 + 1);
            }
        }
        let mut own = (NONE, 0);
        for append in appends {
            let Ok(at) = scratch.binary_search_by_key(&append.element, |&(element, _)| element) else {
                own = (append.txn, NONE);
                continue;
            };
            let place = scratch[at].1;
            let slot = base + place as usize;
            self.writer[slot] = append.txn;
            self.followed[slot] = append.followed;
            self.place[append.op as usize] = place;
            if own.0 == append.txn && place < own.1 {
                findings.reordered(key, append.element, append.txn);
            }
            own = (append.txn, place);
            self.happened[append.txn as usize] |= history.txn(append.txn).outcome == Outcome::Info;
        }
        self.holes(history, key, findings);
    }

    /// Elements of failed transactions, and of nobody.
    fn holes(&mut self, history: &History, key: usize, findings: &mut Findings<'_>) {
        let base = self.base[key];
        for place in 0..history.keys()[key].trunk.len() {
            let writer = self.writer[base + place];
            if writer == NONE {
                self.first_garbage[key] = self.first_garbage[key].min(place as u32);
            } else if history.txn(writer).outcome == Outcome::Fail {
                self.first_failed[key] = self.first_failed[key].min(place as u32);
            } else if self.first_failed[key] != NONE && !self.tainted[key] {
                let failed = self.writer[base + self.first_failed[key] as usize];
                findings.dirty_update(key, self.first_failed[key], failed, place as u32, writer);
            }
        }
    }

    /// Who wrote an element of a trunk, if that happened.
    pub fn writer(&self, key: usize, place: u32) -> Option<Id> {
        let writer = self.writer[self.base[key] + place as usize];
        (writer != NONE && self.happened[writer as usize]).then_some(writer)
    }

    /// Who wrote an element of a trunk, whether that happened or not; `NONE` for nobody.
    pub fn any_writer(&self, key: usize, place: u32) -> Id {
        self.writer[self.base[key] + place as usize]
    }

    /// True where an element's own transaction followed it by another one.
    pub fn followed(&self, key: usize, place: u32) -> bool {
        self.followed[self.base[key] + place as usize]
    }

    /// The place of an append's element in the trunk.
    pub fn place(&self, op: usize) -> u32 {
        self.place[op]
    }

    /// True where the order of a key's versions is known as far as its trunk goes.
    pub fn ordered(&self, key: usize) -> bool {
        !self.tainted[key]
    }

    /// True where an element was appended twice to a key.
    pub fn ambiguous(&self, key: usize) -> bool {
        self.ambiguous[key]
    }

    /// Takes a key's order away.
    pub fn taint(&mut self, key: usize) {
        self.tainted[key] = true;
    }

    /// True where a transaction happened, as far as anybody can tell.
    pub fn happened(&self, id: Id) -> bool {
        self.happened[id as usize]
    }

    /// The transactions that happened and appended to a key what no read shows.
    pub fn unseen(&self, key: usize) -> &[Id] {
        &self.unseen[self.unseen_from[key]..self.unseen_from[key + 1]]
    }

    /// The first place in a trunk that no read of a failed transaction's or of nobody's element reaches.
    pub fn first_failed(&self, key: usize) -> u32 {
        self.first_failed[key]
    }

    /// The first place in a trunk whose element nobody wrote.
    pub fn first_garbage(&self, key: usize) -> u32 {
        self.first_garbage[key]
    }

    /// True where the order of all versions of all keys is known: what no cycle refutes then holds.
    pub fn complete(&self) -> bool {
        self.unseen_from.windows(2).all(|pair| pair[1] - pair[0] <= 1) && !self.tainted.contains(&true)
    }

    /// True where edges to appends that no read shows were left out.
    pub fn capped(&self) -> bool {
        self.unseen_from.windows(2).any(|pair| pair[1] - pair[0] > MOST_UNSEEN)
    }

    /// True where a key gives no order.
    pub fn any_tainted(&self) -> bool {
        self.tainted.contains(&true)
    }

    /// The inferred edges: see the page.
    pub fn edges(&self, history: &History, take: &mut dyn FnMut(Edge)) {
        for key in 0..history.keys().len() {
            if self.ordered(key) {
                self.writes(history, key, take);
            }
        }
        let mut reader = Reader::new(history);
        for id in 0..history.len() as Id {
            if history.txn(id).outcome != Outcome::Ok {
                continue;
            }
            for &micro in history.ops(id) {
                if let Seen::First(version) | Seen::Changed(version) = reader.step(self, id, micro) {
                    self.read(history, id, micro.key(), version, take);
                }
            }
        }
    }

    fn writes(&self, history: &History, key: usize, take: &mut dyn FnMut(Edge)) {
        let mut last = NONE;
        for place in 0..history.keys()[key].trunk.len() as u32 {
            let Some(writer) = self.writer(key, place) else { continue };
            if last != NONE && last != writer {
                take(Edge { from: last, to: writer, kind: Kind::Ww });
            }
            last = writer;
        }
        if last != NONE {
            for &to in self.unseen(key).iter().filter(|&&to| to != last).take(MOST_UNSEEN) {
                take(Edge { from: last, to, kind: Kind::Ww });
            }
        }
    }

    fn read(&self, history: &History, id: Id, key: usize, version: u32, take: &mut dyn FnMut(Edge)) {
        if !self.ordered(key) {
            return;
        }
        let last = self.version_writer(key, version);
        if let Some(from) = last.filter(|&from| from != id) {
            take(Edge { from, to: id, kind: Kind::Wr });
        }
        let end = history.keys()[key].trunk.len() as u32;
        for place in version..end {
            let Some(to) = self.writer(key, place).filter(|&to| Some(to) != last) else { continue };
            if to != id {
                take(Edge { from: id, to, kind: Kind::Rw });
            }
            return;
        }
        for &to in self.unseen(key).iter().filter(|&&to| to != id && Some(to) != last).take(MOST_UNSEEN) {
            take(Edge { from: id, to, kind: Kind::Rw });
        }
    }

    /// Who wrote the version that so many elements make, failed writes left out.
    pub fn version_writer(&self, key: usize, version: u32) -> Option<Id> {
        (0..version).rev().find_map(|place| self.writer(key, place))
    }
}

/// The places of the trunks among all, the places of each key's appends, and these.
type ByKey = (Vec<usize>, Vec<usize>, Vec<Append>);

/// Sorts all appends by key.
fn by_key(history: &History, budget: &mut Budget<'_>) -> Result<ByKey, Spent> {
    let keys = history.keys().len();
    let mut base = Vec::with_capacity(keys + 1);
    let mut total = 0;
    for key in history.keys() {
        base.push(total);
        total += key.trunk.len();
    }
    base.push(total);
    let mut from = vec![0_usize; keys + 1];
    for id in 0..history.len() as Id {
        for micro in history.ops(id) {
            from[micro.key() + 1] += usize::from(matches!(micro.act(), Act::Append(_)));
        }
    }
    for key in 0..keys {
        from[key + 1] += from[key];
    }
    budget.take(from[keys] as u64 * 16 + keys as u64 * 24)?;
    let none = Append { element: Element::NIL, op: NONE, txn: NONE, followed: false };
    let mut appends = vec![none; from[keys]];
    let mut next = from.clone();
    for id in 0..history.len() as Id {
        budget.step()?;
        for (op, micro) in (history.first_op(id)..).zip(history.ops(id)) {
            let Act::Append(element) = micro.act() else { continue };
            let at = next[micro.key()];
            next[micro.key()] += 1;
            appends[at] = Append { element, op: op as u32, txn: id, followed: false };
            if at > from[micro.key()] && appends[at - 1].txn == id {
                appends[at - 1].followed = true;
            }
        }
    }
    Ok((base, from, appends))
}
