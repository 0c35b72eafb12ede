//! Linearizability of single objects, by the checker of histories.

use super::{Finding, Verdict};
use crate::record::Event;
use quorate_check::budget::Budget;
use quorate_check::history::History;
use quorate_check::judge::{Judge, Judged};
use quorate_check::value::Value;
use quorate_check::verdict::Verdict as Said;
use quorate_check::{models, read};
use std::time::{Duration, Instant};

/// All keys together may take so long.
const TIME: Duration = Duration::from_secs(300);
/// To find a small core of a violation may take so long.
const CORE_TIME: Duration = Duration::from_secs(20);
/// So much may be kept while a key is judged.
const MEMORY: u64 = 2 << 30;

/// Judges events by a model of single objects; `how` stands behind what is said.
pub(super) fn linearizable(workload: &str, model: &str, events: &[Event], how: &str) -> Finding {
    let done = |verdict, why: String| Finding::new(workload, "linearizable", verdict, why);
    // The checker's own form is text, so that it judges here what it judges from a file.
    let mut text = Vec::new();
    for event in events {
        if serde_json::to_writer(&mut text, event).is_ok() {
            text.push(b'\n');
        }
    }
    let read =
        read::read(&text).and_then(|history| Ok((models::judge(model, Value::NIL, &history)?, history)));
    let (judge, history) = match read {
        Ok(read) => read,
        Err(bad) => return done(Verdict::Unknown, format!("the history is not one: {bad}")),
    };
    let mut finding = every_part(&*judge, &history, done);
    finding.why = format!("{} ({how})", finding.why);
    finding
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
                let mut finding = done(Verdict::Violated, format!("key {key}: {}", witness.words));
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
