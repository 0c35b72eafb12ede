//! `--shrink`: a failing seed as a small scenario that a person can read.

use super::{Args, plan, replay_of};
use crate::report::{Exit, Problem};
use quorate_sim::{Fate, Plan, Planted, Record, What, role_in_words, shrink};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// So many runs are made for it.
const MOST_RUNS: u64 = 1000;
/// So many of the last messages and answers are part of the scenario.
const LAST: usize = 12;

#[derive(Serialize)]
struct Report<'a> {
    violation: &'a str,
    replay: &'a str,
    runs: u64,
    minimal: bool,
    span_s: u64,
    clients: usize,
    steps: Vec<String>,
    scenario: Vec<String>,
}

/// Shrinks the run of a seed and prints what is left.
pub(super) fn run(args: &Args, planted: Option<Planted>, seed: u64) -> Result<(), Problem> {
    let mutant = args.mutant.as_deref();
    let shows = std::io::stderr().is_terminal() && !args.json;
    let mut tell = |smaller: &Plan| {
        if shows {
            eprintln!("{}", replay_of(smaller, mutant));
        }
    };
    let Some(shrunk) = shrink(&plan(args, planted, seed), MOST_RUNS, &mut tell) else {
        return Err(Problem::new(
            Exit::Usage,
            format!("seed {seed} breaks no promise"),
            "name a seed that does: quorate sim --seeds FROM..TO finds them",
        ));
    };
    let (outcome, records) = shrunk.plan.trace();
    let violation = outcome.violation.unwrap_or_default();
    let replay = replay_of(&shrunk.plan, mutant);
    let scenario = scenario(&records);
    crate::report::speaks();
    let mut out = std::io::stdout().lock();
    if args.json {
        let report = Report {
            violation: &violation,
            replay: &replay,
            runs: shrunk.runs,
            minimal: shrunk.minimal,
            span_s: shrunk.plan.span.as_secs(),
            clients: shrunk.plan.clients,
            steps: outcome.steps.iter().map(ToString::to_string).collect(),
            scenario,
        };
        let _ = writeln!(out, "{}", serde_json::to_string(&report).unwrap_or_default());
    } else {
        let how = if shrunk.minimal { "nothing more can go" } else { "more might go" };
        let _ = writeln!(
            out,
            "{} steps that break things, {} clients, {} s of faults; {} runs, and {how}.\n",
            outcome.steps.len(),
            shrunk.plan.clients,
            shrunk.plan.span.as_secs(),
            shrunk.runs
        );
        for line in scenario {
            let _ = writeln!(out, "{line}");
        }
    }
    Err(Problem::new(Exit::Failed, violation, format!("replay: {replay}")))
}

/// What is broken, who leads, and the last of what was said before the promise broke.
fn scenario(records: &[Record]) -> Vec<String> {
    let matters = |record: &&Record| match &record.what {
        What::Fault(_) | What::Up { .. } | What::Down { .. } | What::Violation(_) => true,
        What::Role { role, .. } => role_in_words(*role) == "leader",
        _ => false,
    };
    let heartbeat = |text: &str| text.starts_with("Heartbeat") && !text.contains(" + ");
    let said = |record: &&Record| match &record.what {
        What::Message { fate: Fate::Arrived, text, .. } => !heartbeat(text),
        What::Answered { .. } | What::Commit { .. } => true,
        _ => false,
    };
    let from = records.iter().enumerate().rev().filter(|(_, record)| said(record)).nth(LAST - 1);
    let from = from.map_or(0, |(at, _)| at);
    let scenario =
        records.iter().enumerate().filter(|(at, record)| matters(record) || (*at >= from && said(record)));
    scenario.map(|(_, record)| record.to_string()).collect()
}
