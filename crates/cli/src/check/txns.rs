//! Transactions: their files, levels and words. How they are judged stands in `quorate_check::txn`.

use super::input::Unread;
use super::print::{paint, time};
use super::work::{Asks, Outcome, Told};
use super::{Args, DEFAULT_LEVEL, input};
use crate::report::{self, Problem, say};
use quorate_check::budget::Budget;
use quorate_check::sessions::Level as ObjectLevel;
use quorate_check::txn::feed::Reader;
use quorate_check::txn::findings::{Finding, tell};
use quorate_check::txn::history::History;
use quorate_check::txn::levels::{LEVELS, Level};
use quorate_check::txn::page::page;
use quorate_check::txn::registers::Assume;
use quorate_check::txn::shrink::{self, Core};
use quorate_check::txn::{Model, Options, Report, check};
use quorate_check::verdict::Verdict;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// As many transactions of a core are shown.
const SHOWN: usize = 20;

/// What the command line asks of transactions.
#[derive(Debug)]
pub(super) struct Asked {
    /// Nothing: look.
    model: Option<Model>,
    level: Level,
    options: Options,
}

impl Asked {
    /// What a command line asks; nothing where it is about single objects.
    pub(super) fn of(args: &Args) -> Result<Option<Self>, Problem> {
        let model = args.model.as_deref().and_then(|name| Model::named(bare(name)));
        let level = args.level.first().map(|name| bare(name));
        let known = level.and_then(Level::named);
        match (&args.model, model, known) {
            (Some(_), None, _) => return only_transactions(args).map(|()| None),
            (None, _, None) => return Err(nothing_named(level)),
            _ => {}
        }
        let level = match (level, known) {
            (Some(name), None) => return Err(unknown_level(name)),
            (_, known) => known.or_else(|| Level::named(DEFAULT_LEVEL)),
        };
        let Some(level) = level else { return Ok(None) };
        if args.level.len() > 1 {
            return Err(usage(
                "several levels of transactions are asked",
                "name the one that decides: all others are judged with it",
            ));
        }
        if args.initial.is_some() || args.tuples.is_some() {
            return Err(usage(
                "--initial and --tuples are for single objects",
                "transactions begin with empty lists and nil",
            ));
        }
        let options = Options { assume: assumed(args)?, complete: args.complete };
        let registers = matches!(model, None | Some(Model::RwRegister));
        if !registers && (options.complete || !options.assume.is_empty()) {
            return Err(usage(
                "--assume and --complete are for registers",
                "lists and rows show their orders themselves: leave them out",
            ));
        }
        Ok(Some(Self { model, level, options }))
    }
}

impl Asks for Asked {
    fn judge(
        &self,
        args: &Args,
        path: &Path,
        began: Instant,
    ) -> Result<(Outcome, Box<dyn Told + Send>), Unread> {
        let mut reader = self.model.map_or_else(Reader::looking, Reader::new);
        let deadline = began + Duration::from_secs_f64(args.time);
        input::pieces(path, deadline, |piece| reader.feed(piece))?;
        let (history, model) = reader.finish()?;
        let started = Instant::now();
        let stop = || Instant::now() >= deadline;
        let mut budget = Budget::new(&stop, args.memory << 20);
        let report = check(&history, model, &self.options, &mut budget.part());
        let judging = started.elapsed();
        let core = shrink::core(&history, model, &self.options, self.level, &report, &mut budget);
        let outcome = match report.verdict(self.level) {
            Verdict::Proved { .. } => Outcome::Holds,
            Verdict::Refuted(_) => Outcome::Violated,
            _ => Outcome::Unknown,
        };
        let judged = Judged { model, level: self.level, history, report, core, judging };
        Ok((outcome, Box::new(judged)))
    }
}

/// Clojure's keywords begin with a colon.
fn bare(name: &str) -> &str {
    name.strip_prefix(':').unwrap_or(name)
}

fn usage(what: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem::new(report::Exit::Usage, what, hint)
}

/// A model of single objects, with what is for transactions alone.
fn only_transactions(args: &Args) -> Result<(), Problem> {
    if args.complete || !args.assume.is_empty() {
        return Err(usage(
            "--assume and --complete are for transactions",
            "name a model of transactions: list-append, rw-register, predicate",
        ));
    }
    let transactional =
        |name: &&String| Level::named(bare(name)).is_some() && ObjectLevel::named(name).is_none();
    match (args.level.iter().find(transactional), &args.model) {
        (Some(level), Some(model)) => Err(usage(
            format!("{level} is a level of transactions, and {model} is no model of transactions"),
            "leave --model out, or name list-append, rw-register or predicate",
        )),
        _ => Ok(()),
    }
}

fn nothing_named(level: Option<&str>) -> Problem {
    match level {
        Some(level) => usage(
            format!("--level {level} alone says nothing: it is no level of transactions"),
            "name a --model (--models lists them), or a level of transactions (--levels lists them)",
        ),
        None => usage(
            "neither --model nor --level is given",
            "name what the object is, as --model register, or what transactions promised, as --level serializable",
        ),
    }
}

fn unknown_level(name: &str) -> Problem {
    let lower = name.to_lowercase();
    let near = LEVELS.iter().find(|row| row.name.contains(&lower) || lower.contains(row.name));
    let hint = near.map_or("--levels lists them".to_owned(), |row| {
        format!("do you mean {}? --levels lists them", row.name)
    });
    usage(format!("there is no level {name} of transactions"), hint)
}

fn assumed(args: &Args) -> Result<Vec<Assume>, Problem> {
    let one = |name: &String| match bare(name) {
        "linearizable-keys" => Ok(Assume::LinearizableKeys),
        "sequential-keys" => Ok(Assume::SequentialKeys),
        "wfr-keys" => Ok(Assume::WfrKeys),
        _ => Err(usage(
            format!("{name} cannot be assumed"),
            "write linearizable-keys, sequential-keys or wfr-keys",
        )),
    };
    args.assume.iter().map(one).collect()
}

/// A history of transactions that was judged.
struct Judged {
    model: Model,
    level: Level,
    history: History,
    report: Report,
    core: Option<Core>,
    judging: Duration,
}

fn names(levels: &[Level]) -> String {
    levels.iter().map(|level| level.name()).collect::<Vec<_>>().join(", ")
}

impl Judged {
    fn size(&self) -> String {
        format!(
            "({}, {} transactions of {} processes, {} keys, {})",
            self.model.name(),
            self.history.len(),
            self.history.process_count(),
            self.history.keys().len(),
            time(self.judging)
        )
    }

    fn table(&self) {
        let (red, green, yellow, plain) = paint();
        for (level, verdict) in self.report.verdicts.iter().rev() {
            let (colour, word, why) = match verdict {
                Verdict::Refuted(witness) => (red, "refuted", witness.kind.as_str()),
                Verdict::Proved { by } => (green, "proved", *by),
                Verdict::NotRefuted { why } => (yellow, "not refuted", why.as_str()),
                Verdict::Unknown { why } => (yellow, "unknown", why.as_str()),
                Verdict::Unsupported { why } => (yellow, "unsupported", why.as_str()),
            };
            say(&format!("    {:<34}{colour}{word:<13}{plain}{why}", level.name()));
        }
    }

    /// Which levels are refuted, which are proved, and which are neither: the outermost of each.
    fn borders(&self) {
        let of = |is: fn(&Verdict) -> bool| -> Vec<Level> {
            let these = self.report.verdicts.iter().filter(|(_, verdict)| is(verdict));
            these.map(|(level, _)| *level).collect()
        };
        let refuted = of(|verdict| matches!(verdict, Verdict::Refuted(_)));
        let proved = of(|verdict| matches!(verdict, Verdict::Proved { .. }));
        let open = of(|verdict| !matches!(verdict, Verdict::Refuted(_) | Verdict::Proved { .. }));
        let unseen = of(|verdict| matches!(verdict, Verdict::Unknown { .. } | Verdict::Unsupported { .. }));
        if unseen.len() == self.report.verdicts.len() {
            return;
        }
        let tell = |what: &str, outermost: &[Level], more: usize, which: &str| {
            let more = if more > outermost.len() { format!(", and all {which}") } else { String::new() };
            if !outermost.is_empty() {
                say(&format!("  {what}: {}{more}", names(outermost)));
            }
        };
        tell("refuted", &Level::minimal(&refuted), refuted.len(), "that is stronger");
        tell("proved", &Level::maximal(&proved), proved.len(), "that is weaker");
        let outermost = Level::maximal(&open);
        let more = match open.len() - outermost.len() {
            0 => String::new(),
            more => format!(", and {more} weaker ones (--explain names them)"),
        };
        if !open.is_empty() {
            say(&format!("  neither refuted nor proved: {}{more}", names(&outermost)));
        }
    }

    fn tell_core(&self, core: &Core) {
        let minimal = if core.minimal {
            "none of them, and no key, can be left out"
        } else {
            "more could perhaps be left out"
        };
        say(&format!(
            "  the core, {} of {} transactions and {} of {} keys: {minimal}",
            core.txns.len(),
            self.history.len(),
            core.keys.len(),
            self.history.keys().len()
        ));
        for &id in core.txns.iter().take(SHOWN) {
            say(&format!("      {}{}", tell(&core.history, id), line_of(&core.history, id)));
        }
        if core.txns.len() > SHOWN {
            say(&format!("      and {} more; --json names all", core.txns.len() - SHOWN));
        }
        say(&format!("  {}:", core.witness.kind));
        // The transactions of a cycle stand in the core already.
        for line in core.witness.words.lines().filter(|line| !line.starts_with('T') || !line.contains(" = "))
        {
            say(&format!("      {line}"));
        }
    }
}

fn line_of(history: &History, id: u32) -> String {
    match history.line(id) {
        0 => String::new(),
        line => format!(" (line {line})"),
    }
}

impl Told for Judged {
    fn sentence(&self) -> String {
        let level = self.level.name();
        match self.report.verdict(self.level) {
            Verdict::Proved { by } => format!("it is {level}, says {by} {}", self.size()),
            Verdict::Refuted(witness) => {
                // A search knows no name of an anomaly.
                let kind = Some(&witness.kind).filter(|kind| **kind != format!("not {level}"));
                let kind = kind.map_or(String::new(), |kind| format!(": {kind}"));
                format!("it is not {level}{kind}, says {} {}", witness.by, self.size())
            }
            Verdict::NotRefuted { why } => {
                format!("{level} is not refuted, and not proved: {why} {}", self.size())
            }
            Verdict::Unknown { why } | Verdict::Unsupported { why } => format!("{why} {}", self.size()),
        }
    }

    fn details(&self, explain: bool) {
        for note in &self.report.notes {
            say(&format!("  note: {note}"));
        }
        self.borders();
        for finding in &self.report.findings {
            let count = if finding.count > 1 { format!(" ({} times)", finding.count) } else { String::new() };
            say(&format!("  {}{count}: {}", finding.anomaly.name(), finding.anomaly.meaning()));
        }
        if let Some(core) = &self.core {
            self.tell_core(core);
        }
        if explain {
            say("  all levels:");
            self.table();
        }
    }

    fn json(&self, line: &mut Json) {
        let report = &self.report;
        line["model"] = self.model.name().into();
        line["level"] = self.level.name().into();
        line["transactions"] = self.history.len().into();
        line["processes"] = self.history.process_count().into();
        line["keys"] = self.history.keys().len().into();
        line["judging_s"] = self.judging.as_secs_f64().into();
        line["notes"] = json!(report.notes);
        line["minimal_refuted"] = report.minimal_refuted().iter().map(|level| level.name()).collect();
        line["maximal_unrefuted"] = report.maximal_unrefuted().iter().map(|level| level.name()).collect();
        line["levels"] =
            report.verdicts.iter().map(|(level, verdict)| verdict_json(*level, verdict)).collect();
        line["anomalies"] =
            report.findings.iter().map(|finding| finding_json(&self.history, finding)).collect();
        if let Some(core) = &self.core {
            let shown = |&id: &u32| json!({"txn": id, "line": core.history.line(id), "words": tell(&core.history, id)});
            line["core"] = core.txns.iter().map(shown).collect();
            line["core_minimal"] = core.minimal.into();
            line["kind"] = core.witness.kind.clone().into();
            line["why"] = core.witness.words.clone().into();
        }
    }

    fn page(&self, title: &str) -> Option<String> {
        let core = self.core.as_ref();
        Some(page(title, &self.sentence(), self.level, &self.history, &self.report, core))
    }

    fn words(&self) -> String {
        match self.report.verdict(self.level) {
            Verdict::Refuted(witness) => witness.words.clone(),
            _ => String::new(),
        }
    }

    fn operations(&self) -> usize {
        self.history.len()
    }

    fn judging(&self) -> Duration {
        self.judging
    }
}

fn verdict_json(level: Level, verdict: &Verdict) -> Json {
    let (word, field, text) = match verdict {
        Verdict::Refuted(witness) => ("refuted", "kind", witness.kind.as_str()),
        Verdict::Proved { by } => ("proved", "by", *by),
        Verdict::NotRefuted { why } => ("not refuted", "why", why.as_str()),
        Verdict::Unknown { why } => ("unknown", "why", why.as_str()),
        Verdict::Unsupported { why } => ("unsupported", "why", why.as_str()),
    };
    json!({"level": level.name(), "verdict": word, field: text})
}

fn finding_json(history: &History, finding: &Finding) -> Json {
    let arrows: Vec<Json> = finding
        .arrows
        .iter()
        .map(|arrow| json!({"from": arrow.from, "to": arrow.to, "edge": arrow.label, "why": arrow.why}))
        .collect();
    let lines: Vec<u32> = finding.witness.core.iter().map(|&id| history.line(id)).collect();
    json!({
        "name": finding.anomaly.name(),
        "meaning": finding.anomaly.meaning(),
        "count": finding.count,
        "transactions": finding.witness.core,
        "lines": lines,
        "cycle": arrows,
        "words": finding.witness.words,
    })
}
