//! The report as one page that needs nothing else: the timeline by process, drawn in the browser from the data in it.
//!
//! Of a long history the page holds a window around the violation, or the beginning, and an overview of the rest, so that it
//! stays below five megabytes and is drawn at once.

use super::Args;
use super::print::sentence;
use super::work::{Found, Judgement};
use crate::report::{self, Problem};
use quorate_check::history::{History, NEVER, Outcome};
use quorate_check::verdict::Verdict;
use serde_json::{Value as Json, json};
use std::fmt::Write;
use std::path::Path;

/// The page, with a mark where the data go.
const PAGE: &str = include_str!("report.html");
const MARK: &str = "/*DATA*/";

/// A page holds as many operations.
const MOST: usize = 15_000;
/// And as many characters of one operation's words: values may be of any size.
const MOST_WORDS: usize = 160;
/// The overview counts operations in so many pieces of the history.
const PIECES: usize = 600;

/// Writes the page, or a folder of pages where there are several histories.
pub(super) fn write(path: &Path, args: &Args, found: &[Found]) -> Result<(), Problem> {
    let cannot = |path: &Path, error| {
        Problem::new(report::Exit::Usage, format!("cannot write {}: {error}", path.display()), "")
    };
    if let [one] = found {
        return std::fs::write(path, page(args, one)).map_err(|error| cannot(path, error));
    }
    std::fs::create_dir_all(path).map_err(|error| cannot(path, error))?;
    let mut list =
        String::from("<!doctype html><meta charset=\"utf-8\"><title>quorate check</title>\n<ul>\n");
    for (place, one) in found.iter().enumerate() {
        let name = one.path.file_name().map_or("stdin".into(), |name| name.to_string_lossy());
        // Files of several folders may have one name.
        let file = format!("{:03}-{}.html", place + 1, name.replace(['/', '\\'], "_"));
        let at = path.join(&file);
        std::fs::write(&at, page(args, one)).map_err(|error| cannot(&at, error))?;
        let shown = super::print::escape(&one.path.to_string_lossy());
        let href: String = file.bytes().fold(String::new(), |mut href, byte| {
            let _ = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                    write!(href, "{}", byte as char)
                }
                _ => write!(href, "%{byte:02X}"),
            };
            href
        });
        let _ = writeln!(list, "<li>{}: <a href=\"{href}\">{shown}</a>", one.outcome.word());
    }
    list.push_str("</ul>\n");
    let at = path.join("index.html");
    std::fs::write(&at, list).map_err(|error| cannot(&at, error))
}

fn page(args: &Args, found: &Found) -> String {
    let title = format!("{}: {}", found.path.display(), found.outcome.word());
    if let Some(page) = found.told.as_ref().and_then(|told| told.page(&title)) {
        return page;
    }
    // Inside a script no tag may begin.
    let data = data(args, found).to_string().replace('<', "\\u003c");
    PAGE.replacen(MARK, &data, 1)
}

fn data(args: &Args, found: &Found) -> Json {
    let mut data = json!({
        "file": found.path.to_string_lossy(),
        "verdict": found.outcome.word(),
        "words": found.bad.as_ref().map_or(String::new(), |bad| format!("{bad} {}", bad.hint)),
        "operations": [], "processes": [], "shades": [], "levels": [], "chain": [], "overview": [], "moments": 0,
    });
    if let Some(told) = &found.told {
        data["words"] = told.sentence().into();
    }
    let Some(judgement) = &found.judgement else { return data };
    let history = &judgement.history;
    data["words"] = sentence(args, judgement).into();
    data["levels"] = judgement.verdicts().map(|(level, verdict)| level_json(level, verdict)).collect();
    data["moments"] = history.moments.into();
    data["total"] = history.operations.len().into();
    data["processes"] = history.processes.iter().map(|&name| history.values.show(name)).collect();
    data["shades"] = history
        .shades
        .iter()
        .take(2000)
        .map(|shade| {
            json!([shade.at, short(history.values.show(shade.f)), short(history.values.show(shade.value))])
        })
        .collect();
    data["overview"] = json!(overview(history));
    let marks = Marks::new(judgement);
    let (from, to) = window(history, &marks);
    let points = points(judgement);
    data["operations"] = (from..to)
        .map(|place| {
            let operation = &history.operations[place];
            json!([
                operation.process,
                operation.invoked,
                if operation.returned == NEVER { -1 } else { i64::from(operation.returned) },
                match operation.outcome {
                    Outcome::Ok => 0,
                    Outcome::Fail => 1,
                    Outcome::Info => 2,
                },
                short(history.show(place as u32)),
                marks.of(place as u32),
                points.get(place).copied().flatten(),
            ])
        })
        .collect();
    data["from"] = from.into();
    data["state"] = marks.state.into();
    data
}

fn level_json(level: &str, verdict: &Verdict) -> Json {
    match verdict {
        Verdict::Proved { by } => json!([level, "holds", by]),
        Verdict::Refuted(witness) => json!([level, "violated", short_to(witness.words.clone(), 1000)]),
        Verdict::NotRefuted { why } => json!([level, "not refuted", why]),
        Verdict::Unknown { why } => json!([level, "unknown", why]),
        Verdict::Unsupported { why } => json!([level, "not decided", why]),
    }
}

fn short(text: String) -> String {
    short_to(text, MOST_WORDS)
}

fn short_to(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// What the witness says of operations.
struct Marks {
    core: Vec<u32>,
    blocked: Option<u32>,
    open: Vec<u32>,
    state: String,
}

impl Marks {
    fn new(judgement: &Judgement) -> Self {
        let longest = judgement.judged.as_ref().and_then(|judged| judged.longest.as_ref());
        let mut core = judgement.core.as_ref().map_or(Vec::new(), |core| core.operations.clone());
        if core.is_empty() {
            let refuted = judgement.verdicts().find_map(|(_, verdict)| match verdict {
                Verdict::Refuted(witness) if !witness.core.is_empty() => Some(witness.core.clone()),
                _ => None,
            });
            core = refuted.unwrap_or_default();
        }
        core.sort_unstable();
        Self {
            core,
            blocked: longest.map(|longest| longest.blocked),
            open: longest.map_or(Vec::new(), |longest| longest.open.clone()),
            state: longest.map_or(String::new(), |longest| longest.state.clone()),
        }
    }

    /// Bits: 1 of the core, 2 cannot be placed, 4 open there.
    fn of(&self, place: u32) -> u32 {
        u32::from(self.core.binary_search(&place).is_ok())
            | u32::from(self.blocked == Some(place)) << 1
            | u32::from(self.open.contains(&place)) << 2
    }
}

/// Which operations the page holds.
fn window(history: &History, marks: &Marks) -> (usize, usize) {
    let len = history.operations.len();
    if len <= MOST {
        return (0, len);
    }
    let middle = marks.blocked.or(marks.core.last().copied()).unwrap_or(0) as usize;
    let from = middle.saturating_sub(MOST * 3 / 4).min(len - MOST);
    (from, from + MOST)
}

fn overview(history: &History) -> Vec<u32> {
    let mut counts = vec![0; PIECES];
    for operation in &history.operations {
        let piece = u64::from(operation.invoked) * PIECES as u64 / u64::from(history.moments.max(1));
        counts[(piece as usize).min(PIECES - 1)] += 1;
    }
    counts
}

/// By operation, the moment at which it may be thought to have happened.
fn points(judgement: &Judgement) -> Vec<Option<f64>> {
    let Some(judged) = &judgement.judged else { return Vec::new() };
    let order = judged.longest.as_ref().map_or(&judged.order, |longest| &longest.order);
    let mut points = vec![None; judgement.history.operations.len()];
    let mut now = -1.0f64;
    for &operation in order {
        let invoked = f64::from(judgement.history.operations[operation as usize].invoked);
        // So many stand between two moments at most that the next moment is not reached.
        let end = judgement.history.operations[operation as usize].returned;
        let step =
            if end == NEVER { 0.02 } else { ((f64::from(end) - now.max(invoked)) / 8.0).clamp(0.000_1, 0.1) };
        now = now.max(invoked) + step;
        if let Some(point) = points.get_mut(operation as usize) {
            *point = Some((now * 1e4).round() / 1e4);
        }
    }
    points
}
