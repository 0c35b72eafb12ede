//! List-append against the definitions.

use crate::oracle::{History, Op, Txn, holds};
use crate::slice::Slice;
use crate::tally::{Tally, schedule};
use quorate_check::budget::Budget;
use quorate_check::history::Outcome;
use quorate_check::txn::generate::Chance;
use quorate_check::txn::history::{Builder, Element};
use quorate_check::txn::{Model, Options, Report, check};
use std::collections::BTreeMap;

/// The history as the judge takes it.
pub(crate) fn build(history: &History) -> quorate_check::txn::history::History {
    let mut builder = Builder::new();
    let mut events: Vec<(usize, usize, bool)> = Vec::new();
    for (id, txn) in history.iter().enumerate() {
        events.push((txn.invoked, id, true));
        events.push((txn.completed, id, false));
    }
    events.sort_unstable();
    for (_, id, invoked) in events {
        let txn = &history[id];
        for op in &txn.ops {
            match op {
                Op::Append(key, element) => {
                    let (key, element) = (builder.int(*key as i64), builder.int((*element).into()));
                    if txn.registers { builder.write(key, element) } else { builder.append(key, element) }
                }
                Op::Read(key, Some(list)) if !invoked && txn.registers => {
                    let element = list.last().map_or(Element::NIL, |&element| builder.int(element.into()));
                    let key = builder.int(*key as i64);
                    builder.read(key, element);
                }
                Op::Read(key, Some(list)) if !invoked => {
                    let list: Vec<Element> =
                        list.iter().map(|&element| builder.int(element.into())).collect();
                    let key = builder.int(*key as i64);
                    builder.list(key, &list);
                }
                Op::Read(key, _) => {
                    let key = builder.int(*key as i64);
                    builder.unknown(key);
                }
            }
        }
        let process = builder.int(txn.process as i64);
        if invoked { builder.invoke(process) } else { builder.complete(process, txn.outcome) }.unwrap();
    }
    builder.finish().unwrap()
}

pub(crate) fn judge(history: &History) -> Report {
    let go_on = || false;
    let registers = history.iter().any(|txn| txn.registers);
    let model = if registers { Model::RwRegister } else { Model::ListAppend };
    let options = Options { complete: registers, ..Options::default() };
    check(&build(history), model, &options, &mut Budget::new(&go_on, 1 << 30))
}

/// Judges a history by all levels and by their definitions.
fn compare(tally: &mut Tally, history: &History, keys: usize) {
    tally.compare(history, &judge(history), |level| Some(holds(history, keys, level)));
}

/// No history of registers leaves serializability or snapshot isolation open, nor what axioms decide.
fn decided_of_registers(level: &str) -> bool {
    let decided = [
        "serializable",
        "snapshot-isolation",
        "causal",
        "read-atomic",
        "monotonic-atomic-view",
        "read-committed",
    ];
    let weaker = ["parallel-snapshot-isolation", "update-serializable"].contains(&level);
    !weaker && decided.iter().any(|decided| level.ends_with(decided))
}

/// A random history: reads mostly follow a hidden order of each key's elements.
fn random(chance: &mut Chance, txns: u32, ops: u32, keys: usize) -> History {
    let processes = 1 + chance.below(3);
    let mut history: History = Vec::new();
    let mut hidden: Vec<Vec<u32>> = vec![Vec::new(); keys];
    let odds = [0, 0, 0, 5, 20][chance.below(5) as usize];
    for id in 0..txns {
        let mut own = Vec::new();
        for at in 0..=chance.below(ops) {
            let key = chance.below(keys as u32) as usize;
            if chance.below(2) == 0 {
                // An element tells its key: what is read of the wrong key is nobody's.
                let element = (id * 10 + at + 1) * 10 + key as u32;
                let place = hidden[key].len() - chance.below(hidden[key].len().min(2) as u32 + 1) as usize;
                hidden[key].insert(place, element);
                own.push(Op::Append(key, element));
            } else {
                own.push(Op::Read(key, None));
            }
        }
        let outcome = match chance.below(100) {
            _ if odds == 0 => Outcome::Ok,
            0..10 => Outcome::Info,
            10..15 => Outcome::Fail,
            _ => Outcome::Ok,
        };
        let process = chance.below(processes) as usize;
        history.push(Txn { process, outcome, ops: own, registers: false, invoked: 0, completed: 0 });
    }
    for txn in &mut history {
        let own: Vec<u32> = txn
            .ops
            .iter()
            .filter_map(|op| match op {
                Op::Append(_, element) => Some(*element),
                Op::Read(..) => None,
            })
            .collect();
        let mut seen: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        let steady = chance.below(12) > 0;
        for op in &mut txn.ops {
            match op {
                Op::Append(key, element) => {
                    seen.entry(*key).or_insert_with(|| version(chance, &hidden[*key], &own)).push(*element);
                }
                Op::Read(key, list) => {
                    let mut read = version(chance, &hidden[*key], if steady { &own } else { &[] });
                    if steady {
                        let first = seen.entry(*key).or_insert_with(|| read.clone());
                        read.clone_from(first);
                    }
                    if chance.below(100) < odds && read.len() > 1 {
                        let at = chance.below(read.len() as u32 - 1) as usize;
                        read.swap(at, at + 1);
                    }
                    if chance.below(300) < odds {
                        let any = hidden[*key].first().copied().unwrap_or(9990);
                        read.push([9990, any][chance.below(2) as usize]);
                    }
                    *list = Some(read);
                }
            }
        }
        if txn.outcome != Outcome::Ok {
            for op in &mut txn.ops {
                if let Op::Read(_, list) = op {
                    *list = None;
                }
            }
        }
    }
    let processes: Vec<usize> = history.iter().map(|txn| txn.process).collect();
    for (txn, (invoked, completed)) in history.iter_mut().zip(schedule(&processes, chance)) {
        (txn.invoked, txn.completed) = (invoked, completed);
    }
    history
}

/// A beginning of a key's hidden order, before the first of a transaction's own elements.
fn version(chance: &mut Chance, hidden: &[u32], own: &[u32]) -> Vec<u32> {
    let most = hidden.iter().position(|element| own.contains(element)).unwrap_or(hidden.len());
    // Late versions are likelier: most histories should be nearly right.
    let len = chance.below(most as u32 + 1).max(chance.below(most as u32 + 1));
    hidden[..len as usize].to_vec()
}

fn random_histories(seed: u64, count: u32, txns: u32, ops: u32, registers: bool) -> Tally {
    let mut chance = Chance::new(seed);
    let mut tally = Tally::default();
    for _ in 0..count {
        let keys = 1 + chance.below(2) as usize;
        let txns = 1 + chance.below(txns);
        let mut history = random(&mut chance, txns, ops, keys);
        if registers {
            as_registers(&mut history);
        }
        compare(&mut tally, &history, keys);
    }
    tally
}

/// The same with registers: of each list its last element.
fn as_registers(history: &mut History) {
    for txn in history {
        txn.registers = true;
        for op in &mut txn.ops {
            if let Op::Read(_, Some(list)) = op {
                list.drain(..list.len().saturating_sub(1));
            }
        }
    }
}

/// Claim: over random histories, what is refuted does not hold, and what is proved holds, by the definitions.
#[test]
fn random_lists_are_judged_as_defined() {
    let tally = random_histories(1, 1000, 4, 3, false);
    tally.print("lists, random, up to 4 transactions of 3");
    assert!(tally.missed() <= 7, "inference sees less than it did: {} were missed", tally.missed());
}

/// Claim: the same of registers; and serializability and snapshot isolation are always settled.
#[test]
fn random_registers_are_judged_as_defined() {
    let tally = random_histories(7, 1000, 4, 3, true);
    tally.print("registers, random, up to 4 transactions of 3");
    assert!(tally.missed() <= 9, "inference sees less than it did: {} were missed", tally.missed());
    tally.settled(decided_of_registers);
}

/// Claim: as above, at length.
#[test]
#[ignore = "minutes; the nightly run asks for it, slice by slice"]
fn very_many_random_lists_are_judged_as_defined() {
    let part = |seed, count| Slice::asked().of_random(seed, count);
    let (seed, count) = part(2, 1_000_000);
    random_histories(seed, count, 4, 3, false).print("lists, random, up to 4 transactions of 3");
    let (seed, count) = part(3, 30_000);
    random_histories(seed, count, 5, 4, false).print("lists, random, up to 5 transactions of 4");
}

/// Claim: as above, at length.
#[test]
#[ignore = "minutes; the nightly run asks for it, slice by slice"]
fn very_many_random_registers_are_judged_as_defined() {
    let part = |seed, count| Slice::asked().of_random(seed, count);
    let (seed, count) = part(8, 1_000_000);
    let tally = random_histories(seed, count, 4, 3, true);
    tally.print("registers, random, up to 4 transactions of 3");
    tally.settled(decided_of_registers);
    let (seed, count) = part(9, 30_000);
    random_histories(seed, count, 5, 4, true).print("registers, random, up to 5 transactions of 4");
}

/// All transactions of up to so many micro-operations over two keys, reads still open.
fn shapes(most: usize) -> Vec<Vec<(bool, usize)>> {
    let one: Vec<(bool, usize)> = vec![(true, 0), (true, 1), (false, 0), (false, 1)];
    let mut all: Vec<Vec<(bool, usize)>> = Vec::new();
    let mut last: Vec<Vec<(bool, usize)>> = vec![Vec::new()];
    for _ in 0..most {
        last = last.iter().flat_map(|txn| one.iter().map(|&op| [txn.clone(), vec![op]].concat())).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// All lists of some of the elements, in any order.
fn lists_of(elements: &[u32]) -> Vec<Vec<u32>> {
    let mut all = vec![Vec::new()];
    for (at, &first) in elements.iter().enumerate() {
        let rest = [&elements[..at], &elements[at + 1..]].concat();
        all.extend(lists_of(&rest).into_iter().map(|tail| [vec![first], tail].concat()));
    }
    all
}

/// How the transactions of a small history lie to each other.
#[derive(Clone, Copy)]
enum Layout {
    /// All at once.
    Concurrent,
    /// One process after the other transaction.
    Sequential,
    /// The first two one after the other by two processes, the last beside both.
    Beside,
}

fn lay(history: &mut History, layout: Layout) {
    let count = history.len();
    for (id, txn) in history.iter_mut().enumerate() {
        (txn.process, txn.invoked, txn.completed) = match layout {
            Layout::Concurrent => (id, id, count + id),
            Layout::Sequential => (0, id * 2, id * 2 + 1),
            Layout::Beside if id + 1 == count => (id, 0, count * 2),
            Layout::Beside => (id, id * 2 + 1, id * 2 + 2),
        };
    }
}

/// All histories of so many transactions with those shapes and that layout, and all reads that hold elements of their key.
fn all_histories(txns: usize, most: usize, layout: Layout, registers: bool, sample: &mut Sample) {
    let shapes = shapes(most);
    let mut chosen = vec![0; txns];
    loop {
        let symmetric = matches!(layout, Layout::Concurrent) && !chosen.is_sorted();
        if !symmetric {
            let history =
                with_shapes(&chosen.iter().map(|&at| &shapes[at][..]).collect::<Vec<_>>(), registers);
            all_reads(history, layout, registers, sample);
        }
        let Some(at) = (0..txns).rev().find(|&at| chosen[at] + 1 < shapes.len()) else { return };
        chosen[at] += 1;
        chosen[at + 1..].fill(0);
    }
}

fn with_shapes(shapes: &[&[(bool, usize)]], registers: bool) -> History {
    let txn = |(id, shape): (usize, &&[(bool, usize)])| {
        let op = |(at, &(append, key)): (usize, &(bool, usize))| {
            if append {
                Op::Append(key, ((id * 10 + at + 1) * 10 + key) as u32)
            } else {
                Op::Read(key, Some(Vec::new()))
            }
        };
        let ops = shape.iter().enumerate().map(op).collect();
        Txn { process: id, outcome: Outcome::Ok, ops, registers, invoked: 0, completed: 0 }
    };
    shapes.iter().enumerate().map(txn).collect()
}

fn all_reads(mut history: History, layout: Layout, registers: bool, sample: &mut Sample) {
    lay(&mut history, layout);
    let choices: Vec<Vec<Vec<u32>>> = (0..2)
        .map(|key| {
            let appended = history.iter().flat_map(|txn| &txn.ops).filter_map(|op| match op {
                Op::Append(of, element) if *of == key => Some(*element),
                _ => None,
            });
            let mut lists = lists_of(&appended.collect::<Vec<_>>());
            lists.retain(|list| !registers || list.len() < 2);
            lists
        })
        .collect();
    let reads: Vec<(usize, usize, usize)> = history
        .iter()
        .enumerate()
        .flat_map(|(id, txn)| {
            txn.ops.iter().enumerate().filter_map(move |(at, op)| match op {
                Op::Read(key, _) => Some((id, at, *key)),
                Op::Append(..) => None,
            })
        })
        .collect();
    let mut chosen = vec![0; reads.len()];
    loop {
        for (&(id, at, key), &choice) in reads.iter().zip(&chosen) {
            history[id].ops[at] = Op::Read(key, Some(choices[key][choice].clone()));
        }
        if sample.takes() {
            compare(&mut sample.tally, &history, 2);
        }
        let Some(at) = (0..reads.len()).rev().find(|&at| chosen[at] + 1 < choices[reads[at].2].len()) else {
            return;
        };
        chosen[at] += 1;
        chosen[at + 1..].fill(0);
    }
}

/// Of all histories those of a slice.
struct Sample {
    slice: Slice,
    met: u64,
    tally: Tally,
}

impl Sample {
    fn new(slice: Slice) -> Self {
        Self { slice, met: 0, tally: Tally::default() }
    }

    /// True where the next history is one of them.
    fn takes(&mut self) -> bool {
        self.met += 1;
        self.slice.takes(self.met - 1)
    }
}

/// Claim: every history of two transactions of up to two micro-operations over two keys, whatever they read, is judged as
/// defined.
#[test]
fn all_small_histories_are_judged_as_defined() {
    for registers in [false, true] {
        let mut sample = Sample::new(Slice::new(0, 1));
        for layout in [Layout::Concurrent, Layout::Sequential] {
            all_histories(2, 2, layout, registers, &mut sample);
        }
        sample.tally.print("all of 2 transactions of up to 2");
        assert_eq!(sample.tally.missed(), 0, "registers: {registers}");
    }
}

/// The same of two transactions of up to three and of three transactions of up to two.
fn larger_histories(slice: Slice) {
    for registers in [false, true] {
        let mut sample = Sample::new(slice);
        for layout in [Layout::Concurrent, Layout::Sequential] {
            all_histories(2, 3, layout, registers, &mut sample);
        }
        sample.tally.print("of all of 2 transactions of up to 3");
        let mut sample = Sample::new(slice);
        for layout in [Layout::Concurrent, Layout::Sequential, Layout::Beside] {
            all_histories(3, 2, layout, registers, &mut sample);
        }
        sample.tally.print("of all of 3 transactions of up to 2");
    }
}

/// Claim: some of the larger histories, evenly spread, are judged as defined.
#[test]
fn a_sample_of_larger_histories_is_judged_as_defined() {
    larger_histories(Slice::new(77, 2003));
}

/// Claim: all of them are.
#[test]
#[ignore = "an hour; the nightly run asks for it, slice by slice"]
fn very_many_small_histories_are_judged_as_defined() {
    larger_histories(Slice::asked());
}
