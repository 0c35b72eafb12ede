//! Transactions over lists and over rows, by the checker of transactional histories.

use super::{Finding, Verdict};
use crate::record::Event;
use quorate_check::budget::Budget;
use quorate_check::txn::levels::Level;
use quorate_check::txn::{Model, Options, check, feed};
use quorate_check::verdict::Verdict as Said;
use std::time::{Duration, Instant};

/// It may take so long.
const TIME: Duration = Duration::from_secs(300);
/// So much may be kept.
const MEMORY: u64 = 4 << 30;

/// Judges transactions by a level.
pub(super) fn transactions(workload: &str, model: Model, events: &[Event], isolation: &str) -> Finding {
    let done = |verdict, why: String| Finding::new(workload, isolation, verdict, why);
    let mut text = Vec::new();
    for event in events {
        if serde_json::to_writer(&mut text, event).is_ok() {
            text.push(b'\n');
        }
    }
    let history = match feed::read(&text, model) {
        Ok(history) => history,
        Err(bad) => return done(Verdict::Unknown, format!("the history is not one: {bad}")),
    };
    let Some(level) = Level::named(isolation) else {
        return done(Verdict::Unknown, format!("no level is called {isolation}"));
    };
    let end = Instant::now() + TIME;
    let stop = || Instant::now() > end;
    let report = check(&history, model, &Options::default(), &mut Budget::new(&stop, MEMORY));
    let names = |levels: Vec<Level>| levels.into_iter().map(Level::name).collect::<Vec<_>>().join(", ");
    let unrefuted = names(report.maximal_unrefuted());
    match report.verdict(level) {
        Said::Refuted(witness) => {
            let met: Vec<String> = report
                .findings
                .iter()
                .map(|found| format!("{} {} times", found.anomaly.name(), found.count))
                .collect();
            let refuted = names(report.minimal_refuted());
            let why = format!(
                "{}; refuted: {refuted}; not refuted: {unrefuted}; met: {}",
                witness.kind,
                met.join(", ")
            );
            let mut finding = done(Verdict::Violated, why);
            finding.witness = witness.words.lines().map(str::to_string).collect();
            finding
        }
        Said::Proved { by } => done(Verdict::Holds, format!("proved by {by}")),
        Said::NotRefuted { why } => done(Verdict::Holds, format!("no anomaly was found; {why}")),
        Said::Unknown { why } | Said::Unsupported { why } => done(Verdict::Unknown, why.clone()),
    }
}
