//! What the comparisons with the oracles share: verdicts held against the truth and counted, random schedules.

use quorate_check::txn::Report;
use quorate_check::txn::generate::Chance;
use quorate_check::txn::levels::Level;
use quorate_check::verdict::Verdict;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// What came of comparing many histories.
#[derive(Default)]
pub(crate) struct Tally {
    histories: u64,
    refuted: BTreeMap<&'static str, u64>,
    proved: BTreeMap<&'static str, u64>,
    open: BTreeMap<&'static str, u64>,
    missed: BTreeMap<&'static str, u64>,
    names: BTreeMap<String, u64>,
}

impl Tally {
    /// Holds the verdicts of a history against the truth of each level, where that is known.
    pub(crate) fn compare<T: Debug>(
        &mut self,
        history: &[T],
        report: &Report,
        truth: impl Fn(&'static str) -> Option<bool>,
    ) {
        self.histories += 1;
        for finding in &report.findings {
            *self.names.entry(finding.anomaly.name()).or_default() += 1;
        }
        for (level, verdict) in &report.verdicts {
            let name = level.name();
            let Some(truth) = truth(name) else { continue };
            let counts = match verdict {
                // The definitions ask less of a weak level than Adya's histories do.
                Verdict::NotRefuted { why } if why.starts_with("a transaction contradicts itself") => {
                    continue;
                }
                Verdict::Unknown { why } if why.starts_with("nothing was judged") => continue,
                Verdict::Refuted(_) => {
                    assert!(!truth, "a false alarm: {}", told(name, history, report));
                    &mut self.refuted
                }
                Verdict::Proved { .. } => {
                    assert!(truth, "a false proof: {}", told(name, history, report));
                    &mut self.proved
                }
                _ if truth => &mut self.open,
                _ => &mut self.missed,
            };
            *counts.entry(name).or_default() += 1;
        }
    }

    /// No history left such a level open.
    pub(crate) fn settled(&self, decided: impl Fn(&str) -> bool) {
        for level in Level::all().filter(|level| decided(level.name())) {
            let open = (self.open.get(level.name()), self.missed.get(level.name()));
            assert!(open == (None, None), "{} was left open: {open:?}", level.name());
        }
    }

    /// Inference saw nothing wrong in so many levels that do not hold. Where it goes blind, these grow.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.values().sum()
    }

    pub(crate) fn print(&self, what: &str) {
        println!("{what}: {} histories", self.histories);
        println!(
            "refuted {:?}\nproved {:?}\nopen {:?}\nmissed {:?}",
            self.refuted, self.proved, self.open, self.missed
        );
        println!("names {:?}", self.names);
    }
}

/// A history in a few lines, for a failure.
fn told<T: Debug>(level: &str, history: &[T], report: &Report) -> String {
    let txns: Vec<String> = history.iter().enumerate().map(|(id, txn)| format!("T{id} {txn:?}")).collect();
    let names: Vec<String> = report.findings.iter().map(|finding| finding.anomaly.name()).collect();
    format!("{level}\n{}\nfound {names:?}", txns.join("\n"))
}

/// When each transaction is invoked and completes, given the process of each: in some order, in which each process does one
/// thing at a time.
pub(crate) fn schedule(processes: &[usize], chance: &mut Chance) -> Vec<(usize, usize)> {
    let mut next: BTreeMap<usize, Vec<(usize, bool)>> = BTreeMap::new();
    for (id, &process) in processes.iter().enumerate() {
        next.entry(process).or_default().extend([(id, true), (id, false)]);
    }
    let mut times = vec![(0, 0); processes.len()];
    let mut place = 0;
    while !next.is_empty() {
        let left: Vec<usize> = next.keys().copied().collect();
        let process = left[chance.below(left.len() as u32) as usize];
        let events = next.get_mut(&process).unwrap();
        let (id, invoked) = events.remove(0);
        if events.is_empty() {
            next.remove(&process);
        }
        if invoked {
            times[id].0 = place;
        } else {
            times[id].1 = place;
        }
        place += 1;
    }
    times
}
