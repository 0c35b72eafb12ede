//! What the checker of histories knows: linearizability of single objects, what sessions see, invariants.

use super::{Finding, Verdict};
use crate::record::Event;
use quorate_check::budget::Budget;
use quorate_check::history::History;
use quorate_check::invariants::{self, Invariant};
use quorate_check::judge::{Judge, Judged};
use quorate_check::promises::Model;
use quorate_check::read::BadInput;
use quorate_check::sessions::{self, Level};
use quorate_check::value::{Datum, Value};
use quorate_check::verdict::Verdict as Said;
use quorate_check::{models, read};
use std::time::{Duration, Instant};

/// All keys together may take so long.
const TIME: Duration = Duration::from_secs(300);
/// To find a small core of a violation may take so long.
const CORE_TIME: Duration = Duration::from_secs(20);
/// So much may be kept while a key is judged.
const MEMORY: u64 = 2 << 30;

/// Sessions may be judged for so long: one of their levels is a search that seldom ends early.
const SESSION_TIME: Duration = Duration::from_secs(15);

/// Judges events by a model of single objects; `how` stands behind what is said.
pub(super) fn linearizable(workload: &str, model: &str, events: &[Event], how: &str) -> Finding {
    translated(workload, model, events, how, None)
}

/// The same of events that were made from those of the report: a function of the model, and what it is called there.
pub(super) fn translated(
    workload: &str,
    model: &str,
    events: &[Event],
    how: &str,
    named: Option<(&str, &str)>,
) -> Finding {
    let done = |verdict, why: String| Finding::new(workload, "linearizable", verdict, why);
    let read =
        history_of(events).and_then(|history| Ok((models::judge(model, Value::NIL, &history)?, history)));
    let (judge, mut history) = match read {
        Ok(read) => read,
        Err(bad) => return done(Verdict::Unknown, format!("the history is not one: {bad}")),
    };
    if let Some((function, there)) = named {
        history.rename(function, there);
    }
    let mut finding = every_part(&*judge, &history, done);
    finding.why = format!("{} ({how})", finding.why);
    finding
}

/// The checker's own form is text, so that it judges here what it judges from a file. Some events may be left out here: its lines
/// become those of the file in the report.
fn history_of(events: &[Event]) -> Result<History, BadInput> {
    let mut text = Vec::new();
    for event in events {
        if serde_json::to_writer(&mut text, event).is_ok() {
            text.push(b'\n');
        }
    }
    let line_of =
        |line: u32| events.get(line.wrapping_sub(1) as usize).map_or(line, |event| event.index as u32 + 1);
    let mut history = read::read(&text).map_err(|bad| BadInput { line: line_of(bad.line), ..bad })?;
    history.lines.iter_mut().for_each(|line| *line = line_of(*line));
    Ok(history)
}

/// Judges what sessions saw, with no regard to time.
pub(super) fn seen_by_sessions(workload: &str, events: &[Event]) -> Vec<Finding> {
    const LEVELS: [Level; 3] = [Level::MonotonicReads, Level::ReadYourWrites, Level::Sequential];
    let end = Instant::now() + SESSION_TIME;
    let stop = || Instant::now() > end;
    let judged = history_of(events).and_then(|history| {
        let found = sessions::judge(
            &LEVELS,
            "register",
            Value::NIL,
            &history,
            false,
            &mut Budget::new(&stop, MEMORY),
        )?;
        Ok((found, history))
    });
    let (found, history) = match judged {
        Ok(judged) => judged,
        Err(bad) => {
            let why = format!("the history is not one: {bad}");
            return vec![Finding::new(workload, "sessions", Verdict::Unknown, why)];
        }
    };
    let finding = |found: sessions::Found| {
        let done = |verdict, why| Finding::new(workload, found.level.name(), verdict, why);
        match found.verdict {
            Said::Proved { by } => done(Verdict::Holds, format!("proved by {by}")),
            Said::Refuted(witness) => {
                let mut finding = done(Verdict::Violated, witness.words);
                finding.witness = witness.core.iter().map(|&place| history.show(place)).collect();
                finding
            }
            Said::NotRefuted { why } | Said::Unknown { why } | Said::Unsupported { why } => {
                done(Verdict::Unknown, format!("not refuted: {why}"))
            }
        }
    };
    found.into_iter().map(finding).collect()
}

/// Judges watches by what is promised of them, one by one; `how` stands behind what is said.
pub(super) fn promises(workload: &str, model: &str, events: &[Event], how: &str) -> Vec<Finding> {
    let done = |check: &str, verdict, why: String| {
        Finding::new(workload, &format!("{workload}: {check}"), verdict, why)
    };
    let judged = Model::named(model).ok_or_else(|| BadInput::new(format!("no model is called {model}"), ""));
    let judged = judged.and_then(|model| {
        let history = history_of(events)?;
        Ok((model.judge(&history)?, history))
    });
    let (verdicts, history) = match judged {
        Ok(judged) => judged,
        Err(bad) => return vec![done("any", Verdict::Unknown, format!("the history is not one: {bad}"))],
    };
    // How it was judged is said once.
    let mut how = how;
    let finding = |(name, verdict): (&str, Said)| match verdict {
        Said::Proved { .. } => {
            done(name, Verdict::Holds, std::mem::replace(&mut how, "the same").to_string())
        }
        Said::Refuted(witness) => {
            let mut finding = done(name, Verdict::Violated, witness.words);
            finding.witness = witness.core.iter().map(|&place| history.show(place)).collect();
            finding
        }
        Said::NotRefuted { why } | Said::Unknown { why } | Said::Unsupported { why } => {
            done(name, Verdict::Unknown, why)
        }
    };
    verdicts.into_iter().map(finding).collect()
}

/// Looks at all events for a violation of an invariant; `initial` is what the accounts of a bank hold.
pub(super) fn invariant(workload: &str, invariant: Invariant, events: &[Event], initial: &[i64]) -> Finding {
    let end = Instant::now() + TIME;
    let stop = || Instant::now() > end;
    let done = |verdict, why: String| Finding::new(workload, invariant.name(), verdict, why);
    let looked = history_of(events).and_then(|mut history| {
        let initial = match initial {
            [] => Value::NIL,
            _ => accounts(&mut history, initial),
        };
        let report = invariants::check(invariant, &history, initial, &mut Budget::new(&stop, MEMORY))?;
        Ok((report, history))
    });
    let (report, history) = match looked {
        Ok(looked) => looked,
        Err(bad) => return done(Verdict::Unknown, format!("the history is not one: {bad}")),
    };
    match report.verdict {
        Said::Proved { by } => done(Verdict::Holds, format!("{}; {by}", report.notes.join("; "))),
        Said::Refuted(witness) => {
            let mut finding = done(Verdict::Violated, format!("{}: {}", witness.kind, witness.words));
            finding.witness = witness.core.iter().map(|&place| history.show(place)).collect();
            finding
        }
        Said::NotRefuted { why } | Said::Unknown { why } | Said::Unsupported { why } => {
            done(Verdict::Unknown, why)
        }
    }
}

/// Accounts by their numbers, as a value of the checker.
fn accounts(history: &mut History, balances: &[i64]) -> Value {
    let values = &mut history.values;
    let account = |(number, balance): (i64, &i64)| (values.int(number), values.int(*balance));
    let mut accounts: Vec<(Value, Value)> = (0..).zip(balances).map(account).collect();
    accounts.sort_unstable_by_key(|account| account.0);
    values.intern(Datum::Map(accounts.into()))
}

fn every_part(judge: &dyn Judge, history: &History, done: impl Fn(Verdict, String) -> Finding) -> Finding {
    let end = Instant::now() + TIME;
    let stop = || Instant::now() > end;
    let (mut operations, mut by, mut unknown) = (0, "", Vec::new());
    for part in 0..judge.parts() {
        let Judged { verdict, longest, .. } =
            judge.linearizable(part, history, &mut Budget::new(&stop, MEMORY));
        let key = history.values.show(judge.key(part));
        operations += judge.operations(part);
        match verdict {
            Said::Proved { by: name } => by = name,
            Said::Refuted(witness) => {
                // A lock or a queue is the only one of its history: it has no key.
                let of = if judge.key(part) == Value::NIL { String::new() } else { format!("key {key}: ") };
                let mut finding = done(Verdict::Violated, format!("{of}{}", witness.words));
                if let Some(longest) = longest {
                    let end = Instant::now() + CORE_TIME;
                    let stop = || Instant::now() > end;
                    let core = judge.core(part, &longest, &mut Budget::new(&stop, MEMORY));
                    finding.witness = core.operations.iter().map(|&place| history.show(place)).collect();
                }
                return finding;
            }
            Said::Unknown { why } | Said::NotRefuted { why } | Said::Unsupported { why } => {
                unknown.push(format!("key {key}: {why}"));
            }
        }
    }
    match unknown.first() {
        Some(first) => done(
            Verdict::Unknown,
            format!("{} of {} keys not decided; {first}", unknown.len(), judge.parts()),
        ),
        None => {
            done(Verdict::Holds, format!("{operations} operations on {} keys, proved by {by}", judge.parts()))
        }
    }
}
