//! Anomalies as they are found: each name with its count and its first example, told in words.

use super::anomaly::{Anomaly, Cycle};
use super::axioms::{Step, Why};
use super::graph::{Edge, Kind};
use super::history::{Act, Element, History, Id, Micro, NONE};
use crate::history::Outcome;
use crate::verdict::Witness;
use std::collections::BTreeMap;
use std::fmt::Write;

/// An anomaly, how often it was met, and an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name.
    pub anomaly: Anomaly,
    /// How often it was met; for cycles, how many were followed.
    pub count: u64,
    /// The first example, or the shortest cycle.
    pub witness: Witness,
    /// The steps of the cycle, where it is one.
    pub arrows: Vec<Arrow>,
}

/// A step of a cycle: one transaction must come before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// The earlier one.
    pub from: Id,
    /// The later one; `NONE` is the initial state, before which nothing can be.
    pub to: Id,
    /// The kind of the edge: ww, wr, rw, process, realtime, or axiom.
    pub label: &'static str,
    /// The reason in words.
    pub why: String,
}

/// What was found in a history.
pub struct Findings<'a> {
    history: &'a History,
    by: &'static str,
    found: BTreeMap<Anomaly, Finding>,
    /// A key and an element that two transactions wrote.
    ambiguous: Option<(usize, Element)>,
}

impl<'a> Findings<'a> {
    /// Nothing yet.
    pub fn new(history: &'a History, by: &'static str) -> Self {
        Self { history, by, found: BTreeMap::new(), ambiguous: None }
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &Finding> {
        self.found.values()
    }

    /// One, if it was found.
    pub fn get(&self, anomaly: Anomaly) -> Option<&Finding> {
        self.found.get(&anomaly)
    }

    /// A write of a value that another transaction wrote too, if there is one: who was read cannot be told.
    pub fn ambiguous_write(&self) -> Option<String> {
        self.ambiguous.map(|(key, element)| {
            format!("{} was written to {} twice", self.history.show(element), name(self.history, key))
        })
    }

    /// Counts an anomaly; the first of its kind is told in words.
    pub fn add(&mut self, anomaly: Anomaly, core: &[Id], words: impl FnOnce(&History) -> String) {
        if let Some(known) = self.found.get_mut(&anomaly) {
            known.count += 1;
            return;
        }
        let mut core = core.to_vec();
        core.sort_unstable();
        core.dedup();
        let told: Vec<String> = core.iter().map(|&id| tell(self.history, id)).collect();
        let words = format!("{}. {}\n{}", anomaly.meaning(), words(self.history), told.join("\n"));
        let witness = Witness { kind: anomaly.name(), words, core, by: self.by };
        self.found.insert(anomaly, Finding { anomaly, count: 1, witness, arrows: Vec::new() });
    }

    /// A cycle in the order of commits.
    pub fn steps(&mut self, anomaly: Anomaly, steps: &[Step]) {
        let reader = |step: &Step| match step.why {
            Why::Missed { reader, .. } => Some(reader),
            _ => None,
        };
        let core: Vec<Id> = steps.iter().flat_map(|step| [Some(step.from), reader(step)]).flatten().collect();
        self.add(anomaly, &core, |history| {
            let told: Vec<String> = steps.iter().map(|&each| step(history, each)).collect();
            told.join("; ") + "."
        });
        let arrow = |&each: &Step| Arrow {
            from: each.from,
            to: each.to,
            label: each.why.label(),
            why: step(self.history, each),
        };
        if let Some(finding) = self.found.get_mut(&anomaly).filter(|finding| finding.count == 1) {
            finding.arrows = steps.iter().map(arrow).collect();
        }
    }

    /// Takes a cycle over, with the number of those that were like it.
    pub fn cycle(&mut self, cycle: &Cycle, count: u64, why: &dyn Fn(&History, Edge) -> String) {
        self.named_cycle(Anomaly::Cycle(cycle.shape(), cycle.class()), cycle, count, why);
    }

    /// Takes a cycle over under a name of its own.
    pub fn named_cycle(
        &mut self,
        anomaly: Anomaly,
        cycle: &Cycle,
        count: u64,
        why: &dyn Fn(&History, Edge) -> String,
    ) {
        let witness = Witness { kind: anomaly.name(), ..self.witness(cycle, why) };
        let arrow = |&edge: &Edge| Arrow {
            from: edge.from,
            to: edge.to,
            label: edge.kind.label(),
            why: why(self.history, edge),
        };
        let arrows = cycle.edges.iter().map(arrow).collect();
        self.found.insert(anomaly, Finding { anomaly, count, witness, arrows });
    }

    /// A cycle in words.
    pub fn witness(&self, cycle: &Cycle, why: &dyn Fn(&History, Edge) -> String) -> Witness {
        let anomaly = Anomaly::Cycle(cycle.shape(), cycle.class());
        let mut words = format!("{}.\n", anomaly.meaning());
        for id in cycle.txns() {
            let _ = writeln!(words, "{}", tell(self.history, id));
        }
        for (at, &edge) in cycle.edges.iter().enumerate() {
            let last = at + 1 == cycle.edges.len();
            let lead = if last { "but " } else { "" };
            let end = if last { ": a contradiction" } else { "" };
            let _ = writeln!(
                words,
                "{lead}T{} comes before T{}: {}{end}",
                edge.from,
                edge.to,
                why(self.history, edge)
            );
        }
        words.truncate(words.trim_end().len());
        Witness { kind: anomaly.name(), words, core: cycle.txns().collect(), by: self.by }
    }

    /// Takes over what another found of some anomalies.
    pub fn take_over(&mut self, other: &Self, of: &[Anomaly]) {
        let found = other.found.iter().filter(|(anomaly, _)| of.contains(anomaly));
        self.found.extend(found.map(|(&anomaly, finding)| (anomaly, finding.clone())));
    }

    /// A read holds an element twice.
    pub fn duplicate(&mut self, key: usize, element: Element, len: u32) {
        self.add(Anomaly::DuplicateElements, &[], |history| {
            let (element, key) = (history.show(element), name(history, key));
            format!("Element {element} stands twice in key {key}, within its first {len}.")
        });
    }

    /// Two transactions wrote the same.
    pub fn ambiguous(&mut self, key: usize, element: Element) {
        self.ambiguous.get_or_insert((key, element));
    }

    /// Reads show a transaction's own appends in another order than it made them.
    pub fn reordered(&mut self, key: usize, element: Element, id: Id) {
        self.add(Anomaly::IncompatibleOrder, &[id], |history| {
            let (element, key) = (history.show(element), name(history, key));
            format!("In key {key}, element {element} stands before one that T{id} had appended earlier.")
        });
    }

    /// A write on top of a failed one.
    pub fn dirty_update(&mut self, key: usize, failed_place: u32, failed: Id, place: u32, writer: Id) {
        self.add(Anomaly::DirtyUpdate, &[failed, writer], |history| {
            let trunk = &history.keys()[key].trunk;
            let show = |place: u32| history.show(trunk[place as usize]);
            format!(
                "In key {}, T{writer} appended {} behind {}, which is of T{failed}, and that failed.",
                name(history, key),
                show(place),
                show(failed_place)
            )
        });
    }
}

/// A key's name.
pub fn name(history: &History, key: usize) -> String {
    history.show(history.keys()[key].name)
}

/// So many elements of a list are shown.
const SHOWN: usize = 12;

/// A list, its beginning left out where it is long.
pub fn list(history: &History, elements: &[Element]) -> String {
    let from = elements.len().saturating_sub(SHOWN);
    let mut words: Vec<String> = elements[from..].iter().map(|&element| history.show(element)).collect();
    if from > 0 {
        words.insert(0, format!("({from} more)"));
    }
    format!("[{}]", words.join(" "))
}

/// A micro-operation in words.
fn micro(history: &History, micro: Micro) -> String {
    let key = name(history, micro.key());
    match micro.act() {
        Act::Append(element) => format!("append {} to {key}", history.show(element)),
        Act::List(len) => {
            let trunk = &history.keys()[micro.key()].trunk;
            format!("read {key} as {}", list(history, &trunk[..len as usize]))
        }
        Act::Odd(at) => format!("read {key} as {}", list(history, history.odd(at))),
        Act::Write(element) => format!("write {} to {key}", history.show(element)),
        Act::Read(element) => format!("read {key} as {}", history.show(element)),
        Act::Unknown => format!("read {key}"),
        Act::Delete => format!("delete {key}"),
        Act::Scan(at) => {
            let scan = history.scan(at);
            let row = |&(key, value): &(u32, Element)| {
                format!("{} {}", name(history, key as usize), history.show(value))
            };
            let rows: Vec<String> = scan.rows.iter().map(row).collect();
            format!("scan {}..{} as {{{}}}", history.show(scan.low), history.show(scan.high), rows.join(", "))
        }
    }
}

/// So many micro-operations of a transaction are shown.
const SHOWN_OPS: usize = 24;

/// A transaction in words.
pub fn tell(history: &History, id: Id) -> String {
    let txn = history.txn(id);
    let ops = history.ops(id);
    let mut words: Vec<String> = ops.iter().take(SHOWN_OPS).map(|&op| micro(history, op)).collect();
    if ops.len() > SHOWN_OPS {
        words.push(format!("and {} more", ops.len() - SHOWN_OPS));
    }
    let outcome = match txn.outcome {
        Outcome::Ok => "",
        Outcome::Fail => " (failed)",
        Outcome::Info => " (its end is unknown)",
    };
    format!("T{id} = process {}{outcome}: {}", history.process_name(txn.process), words.join(", "))
}

/// What the order of a process or real time says.
pub fn why_order(history: &History, edge: Edge) -> Option<String> {
    match edge.kind {
        Kind::Process => {
            let process = history.process_name(history.txn(edge.from).process);
            Some(format!("process {process} ran T{} first", edge.from))
        }
        Kind::Realtime => Some(format!("T{} had completed before T{} began", edge.from, edge.to)),
        _ => None,
    }
}

/// A step of a cycle of commits in words.
pub fn step(history: &History, step: Step) -> String {
    let Step { from, to, why } = step;
    let to = if to == NONE { "the initial state".to_owned() } else { format!("T{to}") };
    match why {
        Why::Session => {
            let process = history.process_name(history.txn(from).process);
            format!("T{from} comes before {to}: process {process} ran it first")
        }
        Why::Read => format!("T{from} comes before {to}, which read from it"),
        Why::Version => format!("T{from} comes before {to} in the order of versions"),
        Why::Missed { reader, key } => {
            let key = name(history, key as usize);
            format!(
                "T{from} must come before {to}, as T{reader} must see T{from} and read key {key} from {to}"
            )
        }
    }
}

/// Why there is no verdict.
pub fn spent(spent: crate::budget::Spent, txns: usize) -> String {
    match spent {
        crate::budget::Spent::Time => format!("the time was over before all {txns} transactions were judged"),
        crate::budget::Spent::Memory => format!("the memory allowed does not do for {txns} transactions"),
    }
}
