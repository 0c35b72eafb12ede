//! Invariants of whole systems: their files and words. What they are stands in `quorate_check::invariants`.

use super::input::Unread;
use super::print::{paint, time};
use super::work::{Asks, Outcome, Told};
use super::{Args, input};
use crate::report::{self, Problem, say};
use quorate_check::budget::Budget;
use quorate_check::history::History;
use quorate_check::invariants::{Invariant, Report, check};
use quorate_check::read::{BadInput, value};
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::time::{Duration, Instant};

impl super::Args {
    /// The invariant that a command line asks for; nothing where it asks for something else.
    pub(super) fn invariant(&self) -> Result<Option<Invariant>, Problem> {
        let Some(invariant) = self.model.as_deref().and_then(Invariant::named) else { return Ok(None) };
        let name = invariant.name();
        if !self.level.is_empty() || self.complete || !self.assume.is_empty() {
            let what = format!("{name} is an invariant: it has no level");
            return Err(Problem::new(
                report::Exit::Usage,
                what,
                "leave out --level, --assume and --complete",
            ));
        }
        if self.initial.is_some() && invariant != Invariant::Bank {
            let what = format!("{name} takes no initial value");
            return Err(Problem::new(report::Exit::Usage, what, "leave out --initial"));
        }
        Ok(Some(invariant))
    }
}

impl Asks for Invariant {
    fn judge(
        &self,
        args: &Args,
        path: &Path,
        began: Instant,
    ) -> Result<(Outcome, Box<dyn Told + Send>), Unread> {
        let deadline = began + Duration::from_secs_f64(args.time);
        let mut history = input::read(path, deadline)?;
        // Banks read whole maps and sets whole lists: only what looks like pairs everywhere is split.
        if args.tuples.unwrap_or_else(|| history.has_tuples()) {
            history.split_tuples();
        }
        let initial = match args.initial.as_deref() {
            None => Value::NIL,
            Some(text) => value(text, &mut history.values).map_err(|bad| {
                BadInput::new(format!("--initial {text:?}: {}", bad.what), "write it in EDN")
            })?,
        };
        let stop = || Instant::now() >= deadline;
        let started = Instant::now();
        let report = check(*self, &history, initial, &mut Budget::new(&stop, args.memory << 20))?;
        let outcome = match report.verdict {
            Verdict::Proved { .. } => Outcome::Holds,
            Verdict::Refuted(_) => Outcome::Violated,
            _ => Outcome::Unknown,
        };
        Ok((outcome, Box::new(Judged { invariant: *self, history, report, judging: started.elapsed() })))
    }
}

/// A history that was looked at.
struct Judged {
    invariant: Invariant,
    history: History,
    report: Report,
    judging: Duration,
}

impl Judged {
    fn size(&self) -> String {
        let (operations, took) = (self.history.operations.len(), time(self.judging));
        format!(
            "({}, {operations} operations of {} processes, {took})",
            self.invariant.name(),
            self.history.processes.len()
        )
    }
}

impl Told for Judged {
    fn sentence(&self) -> String {
        match &self.report.verdict {
            Verdict::Proved { by } => format!("nothing breaks it, says {by} {}", self.size()),
            Verdict::Refuted(_) => {
                let kind = |violation: &quorate_check::invariants::Violation| {
                    format!("{} {}", violation.count, violation.name)
                };
                let kinds: Vec<String> = self.report.violations.iter().map(kind).collect();
                format!("{} {}", kinds.join(", "), self.size())
            }
            Verdict::NotRefuted { why } | Verdict::Unknown { why } | Verdict::Unsupported { why } => {
                format!("{why} {}", self.size())
            }
        }
    }

    fn details(&self, _: bool) {
        let (red, _, _, plain) = paint();
        for note in &self.report.notes {
            say(&format!("  {note}"));
        }
        for violation in &self.report.violations {
            say(&format!(
                "  {red}{}{plain} ({} times): {}",
                violation.name, violation.count, violation.meaning
            ));
            say(&format!("      {}", violation.words));
            for &operation in &violation.operations {
                say(&format!("      {}", self.history.show(operation)));
            }
        }
    }

    fn json(&self, line: &mut Json) {
        line["model"] = self.invariant.name().into();
        line["level"] = Json::Null;
        line["operations"] = self.history.operations.len().into();
        line["processes"] = self.history.processes.len().into();
        line["judging_s"] = self.judging.as_secs_f64().into();
        line["notes"] = json!(self.report.notes);
        let shown = |&operation: &u32| {
            let at = self.history.lines.get(operation as usize);
            json!({"operation": operation, "line": at, "words": self.history.show(operation)})
        };
        let violation = |violation: &quorate_check::invariants::Violation| {
            json!({
                "name": violation.name,
                "meaning": violation.meaning,
                "count": violation.count,
                "words": violation.words,
                "operations": violation.operations.iter().map(shown).collect::<Vec<Json>>(),
            })
        };
        line["violations"] = self.report.violations.iter().map(violation).collect();
        if let Verdict::Unknown { why } = &self.report.verdict {
            line["why"] = why.clone().into();
        }
    }

    fn page(&self, _: &str) -> Option<String> {
        None
    }

    fn words(&self) -> String {
        let words: Vec<&str> =
            self.report.violations.iter().map(|violation| violation.words.as_str()).collect();
        words.join("\n")
    }

    fn operations(&self) -> usize {
        self.history.operations.len()
    }

    fn judging(&self) -> Duration {
        self.judging
    }
}
