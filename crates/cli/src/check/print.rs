//! How verdicts are told: in words, as JSON, as a `JUnit` report.

use super::Args;
use super::expect::Expected;
use super::work::{Found, Judgement, Outcome, Summary, model, names};
use crate::report::{self, Problem, colours, say};
use quorate_check::fast::Staleness;
use quorate_check::invariants::Invariant;
use quorate_check::judge::Judged;
use quorate_check::sessions;
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;
use serde_json::{Value as Json, json};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// As many operations of a witness are shown.
const SHOWN: usize = 20;

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
    match found.judgement.as_ref().and_then(|judgement| judgement.versions.as_ref()) {
        Some(Ok(1)) => say("  by the order of versions no read is behind"),
        Some(Ok(versions)) => say(&format!("  by the order of versions the {versions} newest were read")),
        Some(Err(why)) => say(&format!("  by the order of versions: not known, {why}")),
        None => {}
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
pub(super) fn sentence(args: &Args, judgement: &Judgement) -> String {
    let size = size(args, judgement);
    let one = |level: &str, verdict: &Verdict| match verdict {
        Verdict::Proved { by } => format!("{}, says {by}", claim(level, true)),
        Verdict::Refuted(witness) => format!("{}, says {}", claim(level, false), witness.by),
        Verdict::Unknown { why } | Verdict::NotRefuted { why } | Verdict::Unsupported { why } => why.clone(),
    };
    let mut verdicts = judgement.verdicts();
    match (verdicts.next(), verdicts.next()) {
        (Some((level, verdict)), None) => format!("{} {size}", one(level, verdict)),
        _ => format!("{} {size}", borders(judgement)),
    }
}

/// That something is, or is not, what a level asks. Some levels are named by what a history is, others by what it keeps.
fn claim(level: &str, holds: bool) -> String {
    match (level, holds) {
        ("linearizable" | "sequential" | "causal", true) => format!("it is {level}"),
        ("linearizable" | "sequential" | "causal", false) => format!("it is not {level}"),
        (_, true) => format!("{level} holds"),
        (_, false) => format!("{level} does not hold"),
    }
}

/// Of several levels the least that are refuted, and the most that are not.
fn borders(judgement: &Judgement) -> String {
    if !judgement.promises.is_empty() {
        let broken = |(_, verdict): &&(&str, Verdict)| matches!(verdict, Verdict::Refuted(_));
        let names: Vec<&str> = judgement.promises.iter().filter(broken).map(|(name, _)| *name).collect();
        let open = judgement.promises.iter().filter_map(|(_, verdict)| match verdict {
            Verdict::Unknown { why } | Verdict::NotRefuted { why } | Verdict::Unsupported { why } => {
                Some(why)
            }
            _ => None,
        });
        let (all, open) = (judgement.promises.len(), open.collect::<Vec<_>>());
        return match (&names[..], &open[..]) {
            ([], []) => format!("all {all} promises are kept"),
            ([], [why, ..]) => format!("{} of {all} promises are open: {why}", open.len()),
            (names, _) => format!("broken: {}", names.join(", ")),
        };
    }
    let (least, most) = sessions::borders(&judgement.levels);
    let names = |levels: &[sessions::Level]| -> Vec<&'static str> {
        levels.iter().map(|level| level.name()).collect()
    };
    let (mut least, mut most) = (names(&least), names(&most));
    match judgement.judged.as_ref().map(|judged| &judged.verdict) {
        Some(Verdict::Refuted(_)) if least.is_empty() => least.push("linearizable"),
        None | Some(Verdict::Refuted(_)) => {}
        Some(_) => most = vec!["linearizable"],
    }
    match (&least[..], &most[..]) {
        ([], []) => "no level is decided".into(),
        ([], most) => format!("nothing is refuted; the most that may be promised: {}", most.join(", ")),
        (least, []) => format!("refuted already: {}", least.join(", ")),
        (least, most) => {
            format!(
                "the least that is refuted: {}; the most that is not: {}",
                least.join(", "),
                most.join(", ")
            )
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
    let several = judgement.verdicts().count() > 1;
    let first = usize::from(judgement.judged.is_some());
    for (name, verdict) in judgement.verdicts().skip(first) {
        level(judgement, name, verdict, several);
    }
    let Some(judged) = &judgement.judged else { return };
    if let Verdict::Proved { .. } = &judged.verdict {
        if args.explain {
            explain_order(judgement, judged);
        }
        return;
    }
    let (Some(longest), history) = (&judged.longest, &judgement.history) else { return };
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
    if let (Verdict::Refuted(witness), false) = (&judged.verdict, longest.guilty.is_empty()) {
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
        let minimal = match (core.minimal, core.tried_all) {
            (_, Some(false)) => "but brute force orders them: a bug of this program, please report it",
            (true, Some(true)) => "these cannot be ordered, none can be left out, and brute force agrees",
            (true, None) => "these cannot be ordered, and none can be left out",
            (false, _) => "these cannot be ordered",
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

fn explain_order(judgement: &Judgement, judged: &Judged) {
    if judgement.objects == 1 && !judged.order.is_empty() {
        say("  an order that fits begins with");
        list(&judgement.history, &judged.order);
    }
}

/// One of the other levels.
fn level(judgement: &Judgement, name: &str, verdict: &Verdict, several: bool) {
    match verdict {
        Verdict::Proved { by } if several => say(&format!("  {name}: holds, says {by}")),
        Verdict::Proved { .. } => {}
        Verdict::Refuted(witness) => {
            say(&format!("  {name}: violated, says {}: {}", witness.by, witness.words));
            list(&judgement.history, &witness.core);
        }
        Verdict::Unknown { why } => say(&format!("  {name}: unknown: {why}")),
        Verdict::NotRefuted { why } => say(&format!("  {name}: not refuted: {why}")),
        Verdict::Unsupported { why } => say(&format!("  {name}: not decided: {why}")),
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

/// The level that a command line asks for; nothing of what has none.
fn level_asked(args: &Args) -> Json {
    let model = args.model.as_deref().unwrap_or_default();
    let transactions = args.model.is_none() || quorate_check::txn::Model::named(model).is_some();
    let whole = Invariant::named(model).is_some();
    match &args.level[..] {
        [] if whole => Json::Null,
        [] if transactions => super::DEFAULT_LEVEL.into(),
        _ => names(args).join(",").into(),
    }
}

fn line(args: &Args, found: &Found, surprise: Option<&str>) -> Json {
    let mut line = json!({
        "file": found.path.to_string_lossy(),
        "verdict": found.outcome.word(),
        "model": model(args),
        "level": level_asked(args),
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
    for (place, (name, verdict)) in judgement.verdicts().enumerate() {
        let one = verdict_json(name, verdict, &show);
        // The first level's fields stand on the line itself too.
        if place == 0
            && let Some(fields) = one.as_object()
        {
            for (field, value) in
                fields.iter().filter(|(field, _)| matches!(field.as_str(), "by" | "kind" | "why" | "core"))
            {
                line[field.as_str()] = value.clone();
            }
        }
        line["levels"][name] = one;
    }
    line["algorithms"] = json!(judgement.ran);
    let why = |(key, why): &(Value, String)| json!({"key": history.values.show(*key), "why": why});
    line["searched"] = judgement.searched.iter().map(why).collect();
    if let Some(Staleness { time, versions: (least, most) }) = judgement.staleness {
        line["staleness"] = json!({"time": time, "versions_min": least, "versions_max": most});
    }
    match &judgement.versions {
        Some(Ok(versions)) => line["versions_by_order"] = (*versions).into(),
        Some(Err(why)) => line["versions_by_order"] = json!({"unknown": why}),
        None => {}
    }
    let Some(judged) = &judgement.judged else { return line };
    if let Some(longest) = &judged.longest {
        line["key"] = history.values.show(judgement.key).into();
        line["blocked"] = show(&[longest.blocked]);
        line["open"] = show(&longest.open);
        line["state"] = longest.state.clone().into();
        line["prefix"] = json!(longest.order);
    }
    if let Some(core) = &judgement.core {
        line["core"] = show(&core.operations);
        line["core_minimal"] = core.minimal.into();
        line["core_tried_all"] = core.tried_all.into();
    }
    line
}

fn verdict_json(level: &str, verdict: &Verdict, show: &dyn Fn(&[u32]) -> Json) -> Json {
    match verdict {
        Verdict::Proved { by } => json!({"level": level, "verdict": "proved", "by": by}),
        Verdict::Refuted(witness) => json!({
            "level": level, "verdict": "refuted", "by": witness.by, "kind": witness.kind, "why": witness.words,
            "core": show(&witness.core),
        }),
        Verdict::NotRefuted { why } => json!({"level": level, "verdict": "not refuted", "why": why}),
        Verdict::Unknown { why } => json!({"level": level, "verdict": "unknown", "why": why}),
        Verdict::Unsupported { why } => json!({"level": level, "verdict": "unsupported", "why": why}),
    }
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
        let refuted =
            found.judgement.iter().flat_map(Judgement::verdicts).filter_map(
                |(level, verdict)| match verdict {
                    Verdict::Refuted(witness) => Some(format!("{level}: {}", witness.words)),
                    _ => None,
                },
            );
        let text = escape(&refuted.collect::<Vec<_>>().join("\n"));
        let text = found.told.as_ref().map_or(text, |told| escape(&told.words()));
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

pub(super) fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    // XML knows no other control characters at all.
    text.chars().filter(|&c| c >= ' ' || matches!(c, '\t' | '\n' | '\r')).collect()
}
