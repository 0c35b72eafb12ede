//! How verdicts are told: in words, as JSON, as a `JUnit` report.

use super::Args;
use super::expect::Expected;
use super::work::{Found, Judgement, Outcome, Summary, level, model};
use crate::report::{self, Problem, colours, say};
use quorate_check::fast::Staleness;
use quorate_check::models::NAMES;
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;
use serde_json::{Value as Json, json};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// As many operations of a witness are shown.
const SHOWN: usize = 20;

/// The models.
pub(super) fn models() {
    for model in &NAMES {
        let aliases = if model.aliases.is_empty() {
            String::new()
        } else {
            format!(" (also {})", model.aliases.join(", "))
        };
        say(&format!("{}{aliases}\n    {}", model.name, model.about));
    }
    for (name, about) in [
        (
            "list-append",
            "transactions that append unique elements to lists and read whole lists; the surest to judge",
        ),
        ("rw-register", "transactions that read and write registers, each value written once"),
        ("predicate", "transactions that insert and delete rows, read single rows and scan ranges: phantoms"),
    ] {
        say(&format!("{name}\n    {about}"));
    }
    super::whole::models();
}

/// One file.
pub(super) fn file(args: &Args, found: &Found, surprise: Option<&str>, several: bool) {
    if args.json {
        say(&line(args, found, surprise).to_string());
        return;
    }
    if let Some(bad) = &found.bad {
        let place = if bad.line > 0 {
            format!("{}:{bad}", found.path.display())
        } else {
            format!("{}: {bad}", found.path.display())
        };
        Problem::new(report::Exit::Usage, place, bad.hint.clone()).print();
    }
    let sentence = match (&found.judgement, &found.told) {
        (Some(judgement), _) => sentence(args, judgement),
        (_, Some(told)) => told.sentence(),
        _ => return,
    };
    let (red, green, yellow, plain) = paint();
    let colour = match found.outcome {
        Outcome::Holds => green,
        Outcome::Unknown => yellow,
        _ => red,
    };
    let word = found.outcome.word();
    say(&format!("{}: {colour}{word}{plain}: {sentence}", found.path.display()));
    if let Some(surprise) = surprise {
        say(&format!("  {red}surprise{plain}: {surprise}"));
    }
    if args.explain || !several {
        if let Some(judgement) = &found.judgement {
            details(args, judgement);
        }
        if let Some(told) = &found.told {
            told.details(args.explain);
        }
    }
}

pub(super) fn paint() -> (&'static str, &'static str, &'static str, &'static str) {
    if colours(&std::io::stdout()) {
        ("\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m", "\x1b[0m")
    } else {
        ("", "", "", "")
    }
}

/// What was found, in one sentence.
fn sentence(args: &Args, judgement: &Judgement) -> String {
    let level = level(args);
    match &judgement.judged.verdict {
        Verdict::Proved { by } => format!("it is {level}, says {by} {}", size(args, judgement)),
        Verdict::Refuted(witness) => {
            format!("it is not {level}, says {} {}", witness.by, size(args, judgement))
        }
        Verdict::Unknown { why } | Verdict::NotRefuted { why } | Verdict::Unsupported { why } => {
            format!("{why} {}", size(args, judgement))
        }
    }
}

fn size(args: &Args, judgement: &Judgement) -> String {
    let objects = if judgement.objects > 1 { format!(", {} keys", judgement.objects) } else { String::new() };
    format!(
        "({}, {} operations of {} processes{objects}, {})",
        model(args),
        judgement.history.operations.len(),
        judgement.history.processes.len(),
        time(judgement.judging)
    )
}

pub(super) fn time(took: Duration) -> String {
    match took.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds if seconds >= 0.001 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{:.0} us", seconds * 1e6),
    }
}

/// The witness: what cannot be, and the smallest piece of the history that shows it.
fn details(args: &Args, judgement: &Judgement) {
    algorithms(args, judgement);
    if let Verdict::Proved { .. } = &judgement.judged.verdict {
        if args.explain {
            explain_order(judgement);
        }
        return;
    }
    let (Some(longest), history) = (&judgement.judged.longest, &judgement.history) else { return };
    if judgement.key != Value::NIL {
        say(&format!("  key {}", history.values.show(judgement.key)));
    }
    say(&format!(
        "  {} operations returned before this one{}:",
        longest.returns,
        if longest.guilty.is_empty() {
            " and can be ordered; it cannot be placed"
        } else {
            "; not later than with it there is no order"
        }
    ));
    say(&format!("      {}", history.show(longest.blocked)));
    if let (Verdict::Refuted(witness), false) = (&judgement.judged.verdict, longest.guilty.is_empty()) {
        say(&format!("  {}: {}", witness.kind, witness.words));
    }
    if longest.guilty.is_empty() {
        say(&format!("  behind the longest order, {}; its last operations:", longest.state));
        let from = longest.order.len().saturating_sub(if args.explain { SHOWN } else { 5 });
        list(history, &longest.order[from..]);
    }
    if !longest.open.is_empty() {
        say("  open there, and no help in any order:");
        list(history, &longest.open);
    }
    if let Some(core) = &judgement.core {
        let minimal = if core.minimal {
            "these cannot be ordered, and none can be left out"
        } else {
            "these cannot be ordered"
        };
        say(&format!(
            "  the core, {} of {} operations: {minimal}",
            core.operations.len(),
            history.operations.len()
        ));
        list(history, &core.operations);
    }
    if let Some(staleness) = &judgement.staleness {
        say(&format!("  {}", stale(*staleness)));
    }
}

/// Who judged, where that is not said already, and what was searched because no fast algorithm takes it.
fn algorithms(args: &Args, judgement: &Judgement) {
    if judgement.ran.len() > 1 || (args.explain && judgement.objects > 1) {
        let each = judgement.ran.iter().map(|(name, keys)| format!("{name} {keys}"));
        say(&format!("  keys judged, by algorithm: {}", each.collect::<Vec<_>>().join(", ")));
    }
    for (key, why) in &judgement.searched {
        match *key {
            Value::NIL => say(&format!("  searched: {why}")),
            key => say(&format!("  key {} was searched: {why}", judgement.history.values.show(key))),
        }
    }
}

/// How stale reads were at worst, in words. Jepsen's times are nanoseconds.
fn stale(staleness: Staleness) -> String {
    let (least, most) = staleness.versions;
    let versions = if least == most { format!("{least}") } else { format!("{least} to {most}") };
    let time = staleness.time.map_or(String::new(), |time| {
        format!("; the stalest is {:.6} s old, if times are nanoseconds", time as f64 / 1e9)
    });
    format!("each read returns one of the last {versions} values{time}")
}

fn list(history: &quorate_check::history::History, operations: &[u32]) {
    for &operation in operations.iter().take(SHOWN) {
        say(&format!("      {}", history.show(operation)));
    }
    if operations.len() > SHOWN {
        say(&format!("      and {} more; --json names all", operations.len() - SHOWN));
    }
}

fn explain_order(judgement: &Judgement) {
    if judgement.objects == 1 && !judgement.judged.order.is_empty() {
        say("  an order that fits begins with");
        list(&judgement.history, &judgement.judged.order);
    }
}

/// All files.
pub(super) fn summary(args: &Args, summary: &Summary, expected: bool, several: bool) {
    if args.json {
        say(&json!({"summary": {
            "files": summary.files(),
            "holds": summary.holds,
            "violated": summary.violated,
            "unknown": summary.unknown,
            "bad_input": summary.bad,
            "surprises": expected.then_some(summary.surprises),
            "operations": summary.operations,
            "judging_s": summary.judging.as_secs_f64(),
        }})
        .to_string());
        return;
    }
    if several || expected {
        let mut line =
            format!("{} files: {} hold, {} violated", summary.files(), summary.holds, summary.violated);
        for (count, word) in [(summary.unknown, "unknown"), (summary.bad, "bad input")] {
            if count > 0 {
                let _ = write!(line, ", {count} {word}");
            }
        }
        let _ = write!(line, "; {} operations judged in {}", summary.operations, time(summary.judging));
        match summary.surprises {
            _ if !expected => {}
            0 => line.push_str("; all as expected"),
            1 => line.push_str("; 1 not as expected"),
            n => _ = write!(line, "; {n} not as expected"),
        }
        say(&line);
    }
}

fn line(args: &Args, found: &Found, surprise: Option<&str>) -> Json {
    let mut line = json!({
        "file": found.path.to_string_lossy(),
        "verdict": found.outcome.word(),
        "model": model(args),
        "level": level(args),
        "took_s": found.took.as_secs_f64(),
    });
    if let Some(bad) = &found.bad {
        line["error"] = json!({"line": bad.line, "column": bad.column, "what": bad.what, "hint": bad.hint});
    }
    if let Some(surprise) = surprise {
        line["surprise"] = surprise.into();
    }
    if let Some(told) = &found.told {
        told.json(&mut line);
    }
    let Some(judgement) = &found.judgement else { return line };
    let history = &judgement.history;
    let show = |operations: &[u32]| -> Json {
        operations.iter().map(|&place| json!({"operation": place, "line": history.lines.get(place as usize), "words": history.show(place)})).collect()
    };
    line["operations"] = history.operations.len().into();
    line["processes"] = history.processes.len().into();
    line["objects"] = judgement.objects.into();
    line["judging_s"] = judgement.judging.as_secs_f64().into();
    match &judgement.judged.verdict {
        Verdict::Proved { by } => line["by"] = (*by).into(),
        Verdict::Refuted(witness) => {
            line["by"] = witness.by.into();
            line["kind"] = witness.kind.clone().into();
            line["why"] = witness.words.clone().into();
        }
        Verdict::Unknown { why } | Verdict::NotRefuted { why } | Verdict::Unsupported { why } => {
            line["why"] = why.clone().into();
        }
    }
    line["algorithms"] = json!(judgement.ran);
    let why = |(key, why): &(Value, String)| json!({"key": history.values.show(*key), "why": why});
    line["searched"] = judgement.searched.iter().map(why).collect();
    if let Some(Staleness { time, versions: (least, most) }) = judgement.staleness {
        line["staleness"] = json!({"time": time, "versions_min": least, "versions_max": most});
    }
    if let Some(longest) = &judgement.judged.longest {
        line["key"] = history.values.show(judgement.key).into();
        line["blocked"] = show(&[longest.blocked]);
        line["open"] = show(&longest.open);
        line["state"] = longest.state.clone().into();
        line["prefix"] = json!(longest.order);
    }
    if let Some(core) = &judgement.core {
        line["core"] = show(&core.operations);
        line["core_minimal"] = core.minimal.into();
    }
    line
}

/// A page for a browser.
pub(super) fn page(path: &Path, found: &Found) -> Result<(), Problem> {
    let title = format!("{}: {}", found.path.display(), found.outcome.word());
    let Some(page) = found.told.as_ref().and_then(|told| told.page(&title)) else {
        if found.bad.is_some() {
            return Ok(());
        }
        return Err(Problem::new(
            report::Exit::Usage,
            "there is no page on such a history",
            "--html shows histories of transactions",
        ));
    };
    std::fs::write(path, page).map_err(|error| {
        Problem::new(report::Exit::Usage, format!("cannot write {}: {error}", path.display()), "")
    })
}

/// A `JUnit` report: a test case a file.
pub(super) fn junit(
    path: &Path,
    args: &Args,
    found: &[Found],
    expected: Option<&Expected>,
) -> Result<(), Problem> {
    let mut failures = 0;
    let mut cases = String::new();
    for found in found {
        let name = escape(&found.path.to_string_lossy());
        let surprise = expected.and_then(|expected| expected.surprise(found));
        let fine = if expected.is_some() { surprise.is_none() } else { found.outcome == Outcome::Holds };
        let _ = write!(
            cases,
            "  <testcase classname=\"quorate.check\" name=\"{name}\" time=\"{:.6}\"",
            found.took.as_secs_f64()
        );
        if fine {
            cases.push_str("/>\n");
            continue;
        }
        failures += 1;
        let why = match (&surprise, &found.bad, &found.judgement) {
            (Some(surprise), ..) => format!("{}; {surprise}", found.outcome.word()),
            (_, Some(bad), _) => bad.to_string(),
            (.., Some(judgement)) => sentence(args, judgement),
            _ => found.told.as_ref().map_or_else(String::new, |told| told.sentence()),
        };
        let text = match (found.judgement.as_ref().map(|judgement| &judgement.judged.verdict), &found.told) {
            (Some(Verdict::Refuted(witness)), _) => escape(&witness.words),
            (_, Some(told)) => escape(&told.words()),
            _ => String::new(),
        };
        let _ =
            writeln!(cases, ">\n    <failure message=\"{}\">{text}</failure>\n  </testcase>", escape(&why));
    }
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"quorate check\" tests=\"{}\" failures=\"{failures}\">\n{cases}</testsuite>\n",
        found.len()
    );
    std::fs::write(path, text).map_err(|error| {
        Problem::new(report::Exit::Usage, format!("cannot write {}: {error}", path.display()), "")
    })
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    // XML knows no other control characters at all.
    text.chars().filter(|&c| c >= ' ' || matches!(c, '\t' | '\n' | '\r')).collect()
}
