//! What is wrong with single reads of lists: all anomalies that are no cycles. One pass over the transactions.

use super::anomaly::Anomaly;
use super::append::{Reader, Seen, Versions};
use super::findings::{Findings, list, name};
use super::history::{Act, Element, History, Id, Micro, NONE};
use crate::budget::{Budget, Spent};
use crate::history::Outcome;

/// Looks at every read. Taints the keys whose reads contradict each other.
pub(super) fn observe(
    history: &History,
    versions: &mut Versions,
    findings: &mut Findings<'_>,
    budget: &mut Budget<'_>,
) -> Result<(), Spent> {
    let keys = history.keys().len();
    budget.take(keys as u64 * 56)?;
    odd_reads(history, versions, findings);
    let mut pass = Pass {
        history,
        versions,
        reader: Reader::new(history),
        needs: vec![Need { txn: NONE, len: 0, of: NONE }; keys],
        first: Vec::new(),
        updates: vec![Update { txn: NONE, version: 0, longest: 0 }; keys],
        last_update: vec![NONE; keys],
        latest: vec![(NONE, NONE); keys],
    };
    for id in 0..history.len() as Id {
        budget.step()?;
        if history.txn(id).outcome == Outcome::Ok {
            pass.txn(id, findings);
        }
    }
    pass.lost_appends(findings);
    budget.give(keys as u64 * 56);
    Ok(())
}

/// Lists that are no beginnings of their trunks.
fn odd_reads(history: &History, versions: &mut Versions, findings: &mut Findings<'_>) {
    for id in 0..history.len() as Id {
        for &micro in history.ops(id) {
            let Act::Odd(at) = micro.act() else { continue };
            let key = micro.key();
            versions.taint(key);
            if versions.ambiguous(key) {
                continue;
            }
            let odd = history.odd(at);
            let mut sorted: Vec<Element> = odd.to_vec();
            sorted.sort_unstable();
            if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                findings.duplicate(key, pair[0], odd.len() as u32);
            }
            findings.add(Anomaly::IncompatibleOrder, &[id], |history| {
                let trunk = list(history, &history.keys()[key].trunk);
                format!(
                    "Key {} was read as {} by T{id}, and as {trunk}.",
                    name(history, key),
                    list(history, odd)
                )
            });
        }
    }
}

/// How much of a key a transaction must see, for what it saw of another.
#[derive(Clone, Copy)]
struct Need {
    txn: Id,
    len: u32,
    of: Id,
}

/// The version that a transaction read before its first own append, and the longest list it read.
#[derive(Clone, Copy)]
struct Update {
    txn: Id,
    version: u32,
    longest: u32,
}

struct Pass<'a> {
    history: &'a History,
    versions: &'a Versions,
    reader: Reader,
    needs: Vec<Need>,
    /// The current transaction's first reads: key and length.
    first: Vec<(usize, u32)>,
    updates: Vec<Update>,
    /// A transaction that read the trunk's end of a key and appended what no read shows.
    last_update: Vec<Id>,
    /// For each key the read whose transaction began last: its group, and who.
    latest: Vec<(u32, Id)>,
}

impl Pass<'_> {
    fn txn(&mut self, id: Id, findings: &mut Findings<'_>) {
        let history = self.history;
        self.first.clear();
        for (op, &micro) in (history.first_op(id)..).zip(history.ops(id)) {
            let key = micro.key();
            let update = &mut self.updates[key];
            if update.txn != id {
                *update = Update { txn: id, version: NONE, longest: 0 };
            }
            let seen = self.reader.step(self.versions, id, micro);
            if self.versions.ambiguous(key) {
                if let Act::List(len) = micro.act() {
                    self.garbage(id, key, len, findings);
                }
                continue;
            }
            match (micro.act(), seen) {
                (Act::Append(element), _) => self.append(id, op, key, element, findings),
                (Act::List(len), seen) => self.read(id, key, len, seen, findings),
                (Act::Odd(_), _) if history.ops(id).iter().filter(|other| other.key() == key).count() > 1 => {
                    findings.add(Anomaly::Internal, &[id], |_| {
                        format!("See what T{id} did to key {}.", name(history, key))
                    });
                }
                _ => {}
            }
        }
        if self.first.len() > 1 {
            self.fractured(id, findings);
        }
    }

    fn append(&mut self, id: Id, op: usize, key: usize, element: Element, findings: &mut Findings<'_>) {
        let versions = self.versions;
        let place = versions.place(op);
        let update = &mut self.updates[key];
        if place != NONE && place < update.longest {
            findings.add(Anomaly::FutureRead, &[id], |history| {
                format!(
                    "T{id} read {} in key {} before it appended that.",
                    history.show(element),
                    name(history, key)
                )
            });
        }
        let version = std::mem::replace(&mut update.version, NONE);
        if version == NONE || !versions.ordered(key) {
            return;
        }
        let end = self.history.keys()[key].trunk.len() as u32;
        let of = versions.version_writer(key, version);
        let other = (version..place.min(end))
            .filter_map(|place| versions.writer(key, place))
            .find(|&writer| writer != id && Some(writer) != of);
        let other = other.or_else(|| {
            let unseen_too =
                place == NONE && (version..end).all(|place| versions.writer(key, place).is_none());
            let last = &mut self.last_update[key];
            if !unseen_too {
                return None;
            }
            Some(std::mem::replace(last, id)).filter(|&last| last != NONE && last != id)
        });
        if let Some(other) = other {
            findings.add(Anomaly::LostUpdate, &[id, other], |history| {
                let seen = list(history, &history.keys()[key].trunk[..version as usize]);
                format!(
                    "T{id} read key {} as {seen} and appended to it; T{other} appended between.",
                    name(history, key)
                )
            });
        }
    }

    fn read(&mut self, id: Id, key: usize, len: u32, seen: Seen, findings: &mut Findings<'_>) {
        let group = self.history.txn(id).group;
        if self.latest[key].1 == NONE || self.latest[key].0 < group {
            self.latest[key] = (group, id);
        }
        self.updates[key].longest = self.updates[key].longest.max(len);
        self.holes(id, key, len, findings);
        if matches!(seen, Seen::Broken | Seen::Changed(_)) {
            findings.add(Anomaly::Internal, &[id], |history| {
                format!("See what T{id} did to key {}.", name(history, key))
            });
        }
        match seen {
            Seen::First(version) | Seen::Changed(version) => self.version(id, key, len, version, findings),
            // A read again, before any own append, of less than the reads since then ask for.
            Seen::Again if self.updates[key].version != NONE && self.versions.ordered(key) => {
                self.vanished(id, key, len, findings);
            }
            Seen::Again | Seen::Nothing | Seen::Broken => {}
        }
    }

    /// Reads of what nobody wrote.
    fn garbage(&self, id: Id, key: usize, len: u32, findings: &mut Findings<'_>) {
        let versions = self.versions;
        if versions.first_garbage(key) < len {
            findings.add(Anomaly::Garbage, &[id], |history| {
                let element = history.keys()[key].trunk[versions.first_garbage(key) as usize];
                format!("T{id} read {} in key {}.", history.show(element), name(history, key))
            });
        }
    }

    /// Reads of what failed, and of what nobody wrote.
    fn holes(&mut self, id: Id, key: usize, len: u32, findings: &mut Findings<'_>) {
        let versions = self.versions;
        self.garbage(id, key, len, findings);
        if versions.first_failed(key) < len {
            let place = versions.first_failed(key);
            let failed = versions.any_writer(key, place);
            findings.add(Anomaly::G1a, &[id, failed], |history| {
                let element = history.keys()[key].trunk[place as usize];
                let (element, key) = (history.show(element), name(history, key));
                format!("T{id} saw {element} in key {key}, which is of T{failed}, and that failed.")
            });
        }
    }

    /// The first read of a key: what its version says.
    fn version(&mut self, id: Id, key: usize, len: u32, version: u32, findings: &mut Findings<'_>) {
        let versions = self.versions;
        if len == version {
            let update = &mut self.updates[key];
            update.version = update.version.min(version);
        }
        if !versions.ordered(key) {
            return;
        }
        if version > 0
            && versions.followed(key, version - 1)
            && let Some(writer) = versions.writer(key, version - 1).filter(|&writer| writer != id)
        {
            findings.add(Anomaly::G1b, &[id, writer], |history| {
                let element = history.show(history.keys()[key].trunk[version as usize - 1]);
                let key = name(history, key);
                format!(
                    "T{id} read key {key} as it was right after {element}, but T{writer} appended more to it."
                )
            });
        }
        self.first.push((key, len));
        self.vanished(id, key, len, findings);
        let Some(of) = versions.version_writer(key, version).filter(|&of| of != id) else { return };
        for (op, micro) in (self.history.first_op(of)..).zip(self.history.ops(of)) {
            self.need(id, of, op, *micro);
        }
    }

    /// A read of less than earlier reads ask for.
    fn vanished(&self, id: Id, key: usize, len: u32, findings: &mut Findings<'_>) {
        let need = self.needs[key];
        if need.txn == id && len < need.len {
            findings.add(Anomaly::Otv, &[id, need.of], |history| vanished(history, id, key, need.of));
        }
    }

    /// Who saw one write of a transaction must see its others.
    fn need(&mut self, id: Id, of: Id, op: usize, micro: Micro) {
        if !matches!(micro.act(), Act::Append(_)) || !self.versions.ordered(micro.key()) {
            return;
        }
        let place = self.versions.place(op);
        let len = if place == NONE { NONE } else { place + 1 };
        let need = &mut self.needs[micro.key()];
        if need.txn != id || need.len < len {
            *need = Need { txn: id, len, of };
        }
    }

    /// Looks at the first reads again, when all is known that they must see.
    fn fractured(&mut self, id: Id, findings: &mut Findings<'_>) {
        for &(key, len) in &self.first {
            let need = self.needs[key];
            if need.txn == id && len < need.len {
                findings.add(Anomaly::FracturedRead, &[id, need.of], |history| {
                    vanished(history, id, key, need.of)
                });
            }
        }
    }

    /// Appends that completed before a read began that does not see them.
    fn lost_appends(&self, findings: &mut Findings<'_>) {
        for key in 0..self.history.keys().len() {
            let (_, read) = self.latest[key];
            if read == NONE || !self.versions.ordered(key) {
                continue;
            }
            let lost = |&&id: &&Id| self.history.precedes(id, read);
            if let Some(&id) = self.versions.unseen(key).iter().find(lost) {
                findings.add(Anomaly::LostAppend, &[id, read], |history| {
                    let key = name(history, key);
                    format!("T{id} had appended to key {key} and completed before T{read} began, which does not see it.")
                });
            }
        }
    }
}

fn vanished(history: &History, id: Id, key: usize, of: Id) -> String {
    format!("T{id} saw a write of T{of}, but in key {} not that of T{of}.", name(history, key))
}
