//! Rows that are inserted and deleted, single reads, and reads of ranges: predicates, and the phantoms that Elle leaves out.
//!
//! A read of a range reads every row that it could hold, the absent ones too: that is Adya's version set of a predicate, where
//! the predicate is "the key lies in the range" (thesis, section 4.4). A row is inserted once and deleted at most once, so that
//! its versions have a known order: not yet there, there, gone.
//!
//! - wr: from the insert to whoever saw the row. ww: from the insert to the delete.
//! - rw: from whoever saw the row to the delete; from whoever did not see it, and cannot have come after the delete, to the
//!   insert (the phantom).
//! - A delete that holds saw its row, as a read does: a system that lets one delete a missing row must say that it failed.
//! - Who did not see a row that was deleted came before the insert or after the delete: either an rw edge to the one or a wr
//!   edge from the other. Serializability and snapshot isolation are then settled by search (as [`super::complete`]).
//!
//! A range that holds a row from outside of it is a read of garbage: its predicate selects no such row.
//!
//! Repeatable read (PL-2.99) knows no predicates: it is judged by single reads alone.
//!
//! Outcomes: an `info` insert happened if its row was seen. An `info` delete that was not contradicted leaves open whether a
//! missing row was deleted: such reads are not followed, and then nothing is proved. Cost: O(rows in the ranges read).

use super::anomaly::Anomaly;
use super::facts::{Facts, Read};
use super::findings::{Findings, name};
use super::graph::{self, Edge, Kind};
use super::history::{Act, Element, History, Id, NONE};
use crate::budget::{Budget, Spent};
use crate::history::Outcome;
use std::collections::VecDeque;

/// The life of a row.
#[derive(Clone, Copy, Debug)]
struct Row {
    insert: Id,
    value: Element,
    delete: Id,
    /// It was inserted or deleted twice: nothing is followed.
    twice: bool,
    /// Nobody knows whether its delete happened.
    unsure: bool,
}

/// What was read of a row.
#[derive(Clone, Copy, Debug)]
struct Look {
    txn: Id,
    key: u32,
    seen: Seen,
    /// By a read of a range.
    range: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It was there.
    There,
    /// It was not there yet.
    NotYet,
    /// It was not there: not yet, or no more.
    Absent,
}

/// All reads and the lives of all rows.
#[derive(Debug)]
pub struct Rows {
    lives: Vec<Row>,
    looks: Vec<Look>,
    happened: Vec<bool>,
    /// Something is not known that a proof would need.
    open: bool,
}

impl Rows {
    /// Reads them out of a history, and what contradicts itself.
    pub fn new(
        history: &History,
        findings: &mut Findings<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<Self, Spent> {
        let none = Row { insert: NONE, value: Element::NIL, delete: NONE, twice: false, unsure: false };
        budget.take(history.keys().len() as u64 * 16 + history.len() as u64)?;
        let mut all = Self {
            lives: vec![none; history.keys().len()],
            looks: Vec::new(),
            happened: history.txns().iter().map(|txn| txn.outcome == Outcome::Ok).collect(),
            open: false,
        };
        all.find_lives(history, findings);
        let mut sorted: Vec<u32> = (0..history.keys().len() as u32).collect();
        sorted.sort_by_key(|&key| history.keys()[key as usize].name);
        for id in (0..history.len() as Id).filter(|&id| history.txn(id).outcome == Outcome::Ok) {
            all.reads(history, id, &sorted, findings, budget)?;
        }
        all.deletes(history, findings);
        all.resolve(history);
        Ok(all)
    }

    /// Who inserts and deletes each row.
    fn find_lives(&mut self, history: &History, findings: &mut Findings<'_>) {
        for id in 0..history.len() as Id {
            for micro in history.ops(id) {
                let row = &mut self.lives[micro.key()];
                let failed = |id: Id| id != NONE && history.txn(id).outcome == Outcome::Fail;
                match micro.act() {
                    Act::Write(value) if row.insert == NONE || failed(row.insert) => {
                        (row.insert, row.value) = (id, value);
                    }
                    Act::Delete if row.delete == NONE || failed(row.delete) => row.delete = id,
                    Act::Write(_) | Act::Delete if !failed(id) => {
                        findings.ambiguous(micro.key(), row.value);
                        row.twice = true;
                        self.open = true;
                    }
                    _ => {}
                }
            }
        }
    }

    /// A delete that holds saw its row, so that who inserted it happened, with all its own deletes: also where nobody knows of its end.
    fn deletes(&mut self, history: &History, findings: &mut Findings<'_>) {
        let mut left: VecDeque<Id> =
            (0..history.len() as Id).filter(|&id| self.happened[id as usize]).collect();
        while let Some(delete) = left.pop_front() {
            for micro in history.ops(delete).iter().filter(|micro| micro.act() == Act::Delete) {
                let Row { insert, delete: by, twice, .. } = self.lives[micro.key()];
                if by != delete || twice {
                    continue;
                }
                if let Some(insert) = inserted(history, micro.key(), (insert, delete), findings)
                    && !std::mem::replace(&mut self.happened[insert as usize], true)
                {
                    left.push_back(insert);
                }
            }
        }
    }

    fn reads(
        &mut self,
        history: &History,
        id: Id,
        sorted: &[u32],
        findings: &mut Findings<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<(), Spent> {
        for (at, micro) in history.ops(id).iter().enumerate() {
            match micro.act() {
                Act::Delete => self.saw_what_it_deletes(history, id, at, micro.key()),
                Act::Read(value) => {
                    let seen = Some(value).filter(|&value| value != Element::NIL);
                    self.look(history, id, at, (micro.key() as u32, false), seen, findings);
                }
                Act::Scan(scan) => {
                    let scan = history.scan(scan);
                    let name = |key: &u32| history.keys()[*key as usize].name;
                    let from = sorted.partition_point(|key| name(key) < scan.low);
                    for &key in sorted[from..].iter().take_while(|key| name(key) <= scan.high) {
                        budget.step()?;
                        let row = scan.rows.iter().find(|&&(row, _)| row == key);
                        self.look(history, id, at, (key, true), row.map(|&(_, value)| value), findings);
                    }
                    for &(key, value) in &scan.rows {
                        if !(scan.low..=scan.high).contains(&name(&key)) {
                            findings.add(Anomaly::Garbage, &[id], |history| {
                                let (row, low) = (history.show(name(&key)), history.show(scan.low));
                                let (value, high) = (history.show(value), history.show(scan.high));
                                format!("T{id} scanned rows {low} to {high}, and was given row {row} with {value}.")
                            });
                        }
                    }
                    budget.take(scan.rows.len() as u64 * 12)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Where it is not its own: levels that go by what was seen, as read atomic and the causal ones, need to know.
    fn saw_what_it_deletes(&mut self, history: &History, id: Id, at: usize, key: usize) {
        let Row { insert, delete, twice, .. } = self.lives[key];
        let own = history.ops(id)[..at]
            .iter()
            .any(|micro| micro.key() == key && matches!(micro.act(), Act::Write(_) | Act::Delete));
        let made = insert != NONE && insert != id && history.txn(insert).outcome != Outcome::Fail;
        if made && delete == id && !twice && !own {
            self.looks.push(Look { txn: id, key: key as u32, seen: Seen::There, range: false });
        }
    }

    fn look(
        &mut self,
        history: &History,
        id: Id,
        at: usize,
        (key, range): (u32, bool),
        value: Option<Element>,
        findings: &mut Findings<'_>,
    ) {
        let own = history.ops(id)[..at].iter().rev().find_map(|micro| match micro.act() {
            _ if micro.key() != key as usize => None,
            Act::Write(value) => Some(Some(value)),
            Act::Delete => Some(None),
            _ => None,
        });
        if let Some(own) = own {
            if own != value {
                findings.add(Anomaly::Internal, &[id], |history| {
                    format!("See what T{id} did to row {}.", name(history, key as usize))
                });
            }
            return;
        }
        let row = self.lives[key as usize];
        if row.twice {
            return;
        }
        let seen = match value {
            None => Seen::Absent,
            Some(value) => {
                let shown = |history: &History| {
                    format!("row {} with {}", name(history, key as usize), history.show(value))
                };
                if row.insert == NONE || row.value != value {
                    findings.add(Anomaly::Garbage, &[id], |history| format!("T{id} saw {}.", shown(history)));
                    return;
                }
                if row.insert == id {
                    findings
                        .add(Anomaly::FutureRead, &[id], |history| format!("T{id} saw {}.", shown(history)));
                    return;
                }
                if history.txn(row.insert).outcome == Outcome::Fail {
                    findings.add(Anomaly::G1a, &[id, row.insert], |history| {
                        format!("T{id} saw {}, which is of T{}, and that failed.", shown(history), row.insert)
                    });
                    return;
                }
                self.happened[row.insert as usize] = true;
                Seen::There
            }
        };
        self.looks.push(Look { txn: id, key, seen, range });
    }

    /// What did not happen has no part in a life; then absence is told where it can be.
    fn resolve(&mut self, history: &History) {
        for row in &mut self.lives {
            let happened = |id: Id| id != NONE && self.happened[id as usize];
            // An insert that nobody saw may be left out; a delete may have hidden its row from others.
            let unknown = row.delete != NONE && history.txn(row.delete).outcome == Outcome::Info;
            row.unsure = unknown && !happened(row.delete) && happened(row.insert);
            self.open |= row.unsure;
            if !happened(row.insert) {
                row.insert = NONE;
            }
            if !happened(row.delete) {
                row.delete = NONE;
            }
        }
        let rows = &self.lives;
        self.looks.retain(|look| look.seen == Seen::There || !rows[look.key as usize].unsure);
        for look in &mut self.looks {
            let row = self.lives[look.key as usize];
            let gone = row.delete != NONE && row.delete != look.txn && row.insert != look.txn;
            if look.seen == Seen::Absent && !gone {
                look.seen = Seen::NotYet;
            }
        }
    }

    /// True where something is not known that a proof would need.
    pub fn open(&self) -> bool {
        self.open
    }

    /// The edges that are certain; `ranges` says whether those of reads of ranges are asked for too.
    pub fn edges(&self, ranges: bool) -> Vec<Edge> {
        let mut edges = Vec::new();
        let mut add = |from: Id, to: Id, kind: Kind| {
            if from != NONE && to != NONE && from != to {
                edges.push(Edge { from, to, kind });
            }
        };
        for row in self.lives.iter().filter(|row| !row.twice) {
            add(row.insert, row.delete, Kind::Ww);
        }
        for look in self.looks.iter().filter(|look| ranges || !look.range) {
            let row = self.lives[look.key as usize];
            match look.seen {
                Seen::There => {
                    add(row.insert, look.txn, Kind::Wr);
                    add(look.txn, row.delete, Kind::Rw);
                }
                Seen::NotYet => add(look.txn, row.insert, Kind::Rw),
                Seen::Absent => {}
            }
        }
        edges
    }

    /// Pairs of edges of which one or the other holds. An insert that is not known leaves the second.
    pub fn either(&self) -> Vec<[Edge; 2]> {
        let absent = self.looks.iter().filter(|look| look.seen == Seen::Absent);
        absent
            .map(|look| (look.txn, self.lives[look.key as usize]))
            .filter(|(_, row)| row.insert != NONE)
            .map(|(txn, row)| {
                [
                    Edge { from: txn, to: row.insert, kind: Kind::Rw },
                    Edge { from: row.delete, to: txn, kind: Kind::Wr },
                ]
            })
            .collect()
    }

    /// What was read from whom; reads that could be of two versions are left out.
    pub fn facts(&self, history: &History) -> Facts {
        let mut facts = Facts::new(history.keys().len(), graph::sessions(history));
        let mut looks = self.looks.iter().peekable();
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for id in 0..history.len() as Id {
            reads.clear();
            writes.clear();
            while let Some(look) = looks.next_if(|look| look.txn == id) {
                let of = match look.seen {
                    Seen::There => self.lives[look.key as usize].insert,
                    Seen::NotYet => NONE,
                    Seen::Absent => continue,
                };
                reads.push(Read { key: look.key, of });
            }
            if self.happened[id as usize] {
                let written =
                    history.ops(id).iter().filter(|micro| matches!(micro.act(), Act::Write(_) | Act::Delete));
                writes.extend(written.map(|micro| micro.key() as u32));
            }
            facts.push(&reads, &mut writes);
        }
        facts
    }
}

/// Who inserted what somebody deleted, if that can have happened.
fn inserted(
    history: &History,
    key: usize,
    (insert, delete): (Id, Id),
    findings: &mut Findings<'_>,
) -> Option<Id> {
    if insert == NONE {
        findings.add(Anomaly::Garbage, &[delete], |history| {
            format!("T{delete} deleted row {}, which nobody had inserted.", name(history, key))
        });
        return None;
    }
    if history.txn(insert).outcome == Outcome::Fail {
        findings.add(Anomaly::DirtyUpdate, &[insert, delete], |history| {
            format!("T{delete} deleted row {}, whose insert by T{insert} failed.", name(history, key))
        });
        return None;
    }
    Some(insert)
}
