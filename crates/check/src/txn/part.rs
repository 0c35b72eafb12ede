//! Parts of a history: what it would be had some transactions never run, or some keys never existed.
//!
//! A part is innocent where the whole is. Whatever running in some order explains the whole explains the part, with the
//! transactions that are left out struck from it: so a core that is found among parts convicts the whole history. For that
//! the writes of who is left out vanish with it. Their elements go from all lists that were read; a register that was read
//! from one of them was read with an unknown result; a row that one of them inserted or deleted goes with all that was seen
//! of it. What was read and never written by anybody stays.

use super::Model;
use super::history::{Act, Builder, Element, Fault, History, Id, Micro};
use crate::history::Outcome;
use crate::table::Table;

/// Makes parts of one history.
pub struct Parts<'a> {
    history: &'a History,
    model: Model,
    /// Who wrote an element; of several the first.
    writer: Table<(u32, Element), Id>,
    /// A process is another one after a transaction of unknown end.
    session: Vec<u32>,
    /// The transactions in the order of their completions.
    completed: Vec<Id>,
}

/// What is left of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its transactions, in order.
    pub txns: Vec<Id>,
    /// For each key whether it is there.
    pub keys: Vec<bool>,
}

impl<'a> Parts<'a> {
    /// For a history of a model.
    pub fn new(history: &'a History, model: Model) -> Self {
        let mut writer = Table::default();
        for id in 0..history.len() as Id {
            for micro in history.ops(id) {
                if let Act::Append(element) | Act::Write(element) = micro.act() {
                    writer.or_insert_with((micro.key() as u32, element), || id);
                }
            }
        }
        let mut completed: Vec<Id> = (0..history.len() as Id).collect();
        completed.sort_by_key(|&id| history.txn(id).after);
        Self { history, model, writer, session: sessions(history), completed }
    }

    /// All of it.
    pub fn whole(&self) -> Kept {
        Kept { txns: (0..self.history.len() as Id).collect(), keys: vec![true; self.history.keys().len()] }
    }

    /// The keys that are there and that one of its transactions touched.
    pub fn touched(&self, kept: &Kept) -> Vec<usize> {
        let micros = kept.txns.iter().flat_map(|&id| self.history.ops(id));
        let mut keys: Vec<usize> = micros.map(|micro| micro.key()).filter(|&key| kept.keys[key]).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Leaves out who touches none of the keys that are there.
    pub fn drop_idle(&self, kept: &mut Kept) {
        let busy = |micro: &Micro| kept.keys[micro.key()] || is_scan(*micro);
        kept.txns.retain(|&id| self.history.ops(id).iter().any(busy));
    }

    /// The part as a history of its own, with new numbers.
    pub fn compact(&self, kept: &Kept) -> Result<History, Fault> {
        self.build(kept, false)
    }

    /// The part with the numbers of the whole: who is left out did nothing.
    pub fn masked(&self, kept: &Kept) -> Result<History, Fault> {
        self.build(kept, true)
    }

    fn build(&self, kept: &Kept, all: bool) -> Result<History, Fault> {
        let mut is_kept = vec![false; self.history.len()];
        for &id in &kept.txns {
            is_kept[id as usize] = true;
        }
        let mut keys = kept.keys.clone();
        if self.model == Model::Predicate {
            self.forget_rows(&is_kept, &mut keys);
        }
        let mut part = Part { whole: self, is_kept, keys, all, builder: Builder::like(self.history) };
        let txns = self.history.txns();
        let mut done = self.completed.iter().copied().peekable();
        for (id, txn) in txns.iter().enumerate() {
            // Whoever completed before this group began.
            while let Some(ended) = done.next_if(|&ended| txns[ended as usize].after <= txn.group) {
                part.complete(ended)?;
            }
            part.invoke(id as Id)?;
        }
        done.try_for_each(|ended| part.complete(ended))?;
        part.builder.finish()
    }

    /// A row goes where one who made or ended it is left out.
    fn forget_rows(&self, is_kept: &[bool], keys: &mut [bool]) {
        for id in (0..self.history.len() as Id).filter(|&id| !is_kept[id as usize]) {
            for micro in self.history.ops(id) {
                if matches!(micro.act(), Act::Write(_) | Act::Delete) {
                    keys[micro.key()] = false;
                }
            }
        }
    }
}

/// The number of each transaction's session.
fn sessions(history: &History) -> Vec<u32> {
    let mut number: Vec<u32> = (0..history.process_count() as u32).collect();
    let mut next = number.len() as u32;
    let session = history.txns().iter().map(|txn| {
        let at = &mut number[txn.process as usize];
        let session = *at;
        if txn.outcome == Outcome::Info {
            *at = next;
            next += 1;
        }
        session
    });
    session.collect()
}

struct Part<'a> {
    whole: &'a Parts<'a>,
    is_kept: Vec<bool>,
    keys: Vec<bool>,
    all: bool,
    builder: Builder,
}

impl Part<'_> {
    fn process(&mut self, id: Id) -> Element {
        if self.all {
            return self.whole.history.process_element(self.whole.history.txn(id).process);
        }
        self.builder.int(self.whole.session[id as usize].into())
    }

    fn invoke(&mut self, id: Id) -> Result<(), Fault> {
        if !self.all && !self.is_kept[id as usize] {
            return Ok(());
        }
        let outcome = self.whole.history.txn(id).outcome;
        if outcome != Outcome::Ok {
            self.ops(id);
        }
        let process = self.process(id);
        self.builder.line(self.whole.history.line(id));
        self.builder.invoke(process)?;
        // Its end has no place among the others; its process may go on.
        if outcome == Outcome::Ok { Ok(()) } else { self.builder.complete(process, outcome) }
    }

    fn complete(&mut self, id: Id) -> Result<(), Fault> {
        let outcome = self.whole.history.txn(id).outcome;
        if outcome != Outcome::Ok || !(self.all || self.is_kept[id as usize]) {
            return Ok(());
        }
        let process = self.process(id);
        self.ops(id);
        self.builder.complete(process, if self.is_kept[id as usize] { outcome } else { Outcome::Fail })
    }

    fn ops(&mut self, id: Id) {
        if !self.is_kept[id as usize] {
            return;
        }
        let history = self.whole.history;
        for &micro in history.ops(id) {
            if !self.keys[micro.key()] && !is_scan(micro) {
                continue;
            }
            let key = history.keys()[micro.key()].name;
            match micro.act() {
                Act::Append(element) => self.builder.append(key, element),
                Act::List(len) => self.list(micro.key(), &history.keys()[micro.key()].trunk[..len as usize]),
                Act::Odd(at) => self.list(micro.key(), history.odd(at)),
                Act::Write(element) => self.builder.write(key, element),
                Act::Read(element) if self.is_there(micro.key(), element) => self.builder.read(key, element),
                Act::Read(_) | Act::Unknown => self.builder.unknown(key),
                Act::Delete => self.builder.delete(key),
                Act::Scan(at) => self.scan(at),
            }
        }
    }

    fn list(&mut self, key: usize, list: &[Element]) {
        let left: Vec<Element> =
            list.iter().copied().filter(|&element| self.is_there(key, element)).collect();
        self.builder.list(self.whole.history.keys()[key].name, &left);
    }

    fn scan(&mut self, at: u32) {
        let history = self.whole.history;
        let scan = history.scan(at);
        let rows = scan.rows.iter().filter(|&&(key, _)| self.keys[key as usize]);
        let rows: Vec<(Element, Element)> =
            rows.map(|&(key, value)| (history.keys()[key as usize].name, value)).collect();
        self.builder.scan(scan.low, scan.high, &rows);
    }

    /// True where the element's writer is there, or it has none.
    fn is_there(&self, key: usize, element: Element) -> bool {
        self.whole.writer.get(&(key as u32, element)).is_none_or(|&writer| self.is_kept[writer as usize])
    }
}

fn is_scan(micro: Micro) -> bool {
    matches!(micro.act(), Act::Scan(_))
}
