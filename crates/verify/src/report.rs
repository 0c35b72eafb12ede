//! What a run leaves behind: a folder that explains itself, and from which the same histories can be judged again.
//!
//! ```text
//! summary.txt  summary.json   what was done, what was found
//! index.html                  rate, latency and every client's time, with the faults shaded
//! history-WORKLOAD.jsonl      what clients saw, in our form
//! history-WORKLOAD.edn        the same as Jepsen's tools read it
//! logs/  clients/             what nodes and clients said, each for itself
//! standing.jsonl              what had to be cleaned up
//! ```

use crate::judge::{self, Finding, Verdict};
use crate::nemesis::Fault;
use crate::plan::Plan;
use crate::record::{self, Event, Tally};
use crate::{catalog, picture};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// The file of a workload's history.
pub(crate) fn history_file(workload: &str) -> String {
    format!("history-{workload}.jsonl")
}

/// A run that is over.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Report {
    /// What to type to do the same again.
    pub command: String,
    /// What was asked for.
    pub plan: Plan,
    /// The worst of all findings.
    pub verdict: Verdict,
    /// All findings.
    pub findings: Vec<Finding>,
    /// How the operations of each workload ended.
    pub(crate) tallies: BTreeMap<String, Tally>,
    /// What was broken.
    pub(crate) faults: Vec<Fault>,
    /// How often another node was seen to lead.
    pub leader_changes: u64,
}

impl Report {
    /// Sums up and writes summary and picture.
    pub(crate) fn finished(mut self) -> io::Result<Self> {
        let worst = self.findings.iter().map(|finding| finding.verdict).fold(Verdict::Holds, Verdict::worse);
        // Nothing found by no check at all is no proof.
        self.verdict = if self.findings.is_empty() { Verdict::Unknown } else { worst };
        let folder = &self.plan.report;
        let mut histories = BTreeMap::new();
        for workload in &self.plan.workloads {
            histories.insert(workload.as_str(), record::read_lines(&folder.join(history_file(workload)))?);
        }
        std::fs::write(folder.join("summary.json"), serde_json::to_vec_pretty(&self)?)?;
        std::fs::write(folder.join("summary.txt"), self.words())?;
        std::fs::write(folder.join("index.html"), picture::page(&self, &histories))?;
        Ok(self)
    }

    /// The summary for people.
    pub fn words(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}: {}\n", self.verdict.word(), self.command);
        for finding in &self.findings {
            let _ = writeln!(
                out,
                "{:<9} {:<10} {}: {}",
                finding.verdict.word(),
                finding.subject,
                finding.check,
                finding.why
            );
            for line in &finding.witness {
                let _ = writeln!(out, "            {line}");
            }
        }
        let _ = writeln!(out);
        for (workload, tally) in &self.tallies {
            let by: Vec<String> =
                tally.by.iter().map(|(f, t)| format!("{f} {}/{}/{}", t.ok, t.fail, t.info)).collect();
            let _ = writeln!(
                out,
                "{workload}: {} ok, {} failed, {} of unknown outcome ({})",
                tally.ok,
                tally.fail,
                tally.info,
                by.join(", ")
            );
        }
        for (nemesis, (times, effect, useless)) in self.by_nemesis() {
            let none =
                if useless > 0 { format!(", {useless} of them without effect") } else { String::new() };
            let _ =
                writeln!(out, "{nemesis}: {times} times{none}; effect {effect} {}", catalog::unit(nemesis));
        }
        let _ = writeln!(out, "leader changes: {}", self.leader_changes);
        let _ = writeln!(out, "report: {}", self.plan.report.display());
        out
    }

    fn by_nemesis(&self) -> BTreeMap<&str, (u64, u64, u64)> {
        let mut by = BTreeMap::<&str, (u64, u64, u64)>::new();
        for fault in &self.faults {
            let (times, effect, useless) = by.entry(&fault.nemesis).or_default();
            *times += 1;
            *effect += fault.effect;
            *useless += u64::from(fault.effect == 0);
        }
        by
    }
}

/// Judges the histories of a report again, and writes its summary anew. What concerns the run itself stays as it was seen.
pub fn recheck(folder: &Path) -> Result<Report, String> {
    let file = folder.join("summary.json");
    let said = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let text = std::fs::read(&file).map_err(|e| said(&e))?;
    let mut report: Report = serde_json::from_slice(&text).map_err(|e| said(&e))?;
    // It may have been moved.
    report.plan.report = folder.into();
    report.findings.retain(|finding| finding.subject == "run");
    for workload in &report.plan.workloads {
        let history = folder.join(history_file(workload));
        let said = |e: std::io::Error| format!("{}: {e}", history.display());
        let events: Vec<Event> = record::read_lines(&history).map_err(said)?;
        let ended = |tally: &Tally| (tally.ok, tally.fail, tally.info);
        if report.tallies.get(workload).is_some_and(|then| ended(then) != ended(&Tally::of(&events))) {
            let what =
                "the history does not hold as many operations as the run counted: it was cut, or changed";
            return Err(format!("{}: {what}", history.display()));
        }
        report.findings.extend(judge::judge(workload, &history, &events, report.plan.promised()));
    }
    report.finished().map_err(|e| e.to_string())
}
