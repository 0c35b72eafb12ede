//! A page for a browser on what was found: the lattice of levels, each anomaly with its cycle drawn and in words, and the
//! core on a timeline by process. It is one file that loads nothing.

use super::Report;
use super::findings::{Arrow, Finding, tell};
use super::history::{History, Id, NONE};
use super::levels::{LEVELS, Level};
use super::shrink::Core;
use crate::history::Outcome;
use crate::verdict::Verdict;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Cycles of more transactions are told in words alone.
const DRAWN: usize = 24;

/// So many transactions stand on a timeline.
const TIMELINE: usize = 200;

/// The page. `title` names the history, `summary` says in a sentence what came of it.
pub fn page(
    title: &str,
    summary: &str,
    level: Level,
    history: &History,
    report: &Report,
    core: Option<&Core>,
) -> String {
    let mut body = format!("<h1>{}</h1>\n<p class=\"summary\">{}</p>\n", escape(title), escape(summary));
    for note in &report.notes {
        let _ = writeln!(body, "<p class=\"note\">{}</p>", escape(note));
    }
    if let Some(core) = core {
        section_core(&mut body, core);
    }
    let _ = writeln!(body, "<h2>Levels</h2>\n{}\n{}", lattice(report, level), verdicts(report));
    if !report.findings.is_empty() {
        body.push_str("<h2>Anomalies</h2>\n");
        for finding in &report.findings {
            section_finding(&mut body, finding);
        }
    }
    let _ = writeln!(
        body,
        "<p class=\"foot\">{} transactions of {} processes, {} keys. Edges: ww, wr, rw are the order of versions; process \
         and realtime are the order of events.</p>",
        history.len(),
        history.process_count(),
        history.keys().len()
    );
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>\n<style>{STYLE}</style></head>\n\
         <body>\n{body}</body></html>\n",
        escape(title)
    )
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #d6dae0; --red: #c4302b; --green: #2b7a3d;
  --grey: #6b7480; --blue: #2d5fb3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --paper: #16191d; --faint: #3a414a; --red: #ff7b72;
  --green: #63c174; --grey: #9aa4b0; --blue: #7aa7f7; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 75rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; margin-bottom: .2rem; }
.summary { font-size: 1.1rem; } .note, .foot { color: var(--grey); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid var(--faint); padding-left: .8rem; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top; }
svg { max-width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.refuted { color: var(--red); stroke: var(--red); } .proved { color: var(--green); stroke: var(--green); }
.open { color: var(--grey); stroke: var(--grey); } td.refuted, td.proved, td.open { stroke: none; }
.box { fill: var(--paper); stroke-width: 1.5; } .asked { stroke-width: 3.5; } .line { stroke: var(--faint); fill: none; }
.edge { fill: none; stroke: var(--blue); stroke-width: 1.5; } .rw { stroke: var(--red); stroke-dasharray: 5 3; }
.order { stroke: var(--grey); stroke-dasharray: 2 3; } .txn { fill: var(--paper); stroke: var(--ink); }
svg .small { font-size: 11px; } svg .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
";

fn class(verdict: &Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Refuted(_) => ("refuted", "refuted"),
        Verdict::Proved { .. } => ("proved", "proved"),
        Verdict::NotRefuted { .. } => ("open", "not refuted"),
        Verdict::Unknown { .. } => ("open", "unknown"),
        Verdict::Unsupported { .. } => ("open", "unsupported"),
    }
}

fn verdicts(report: &Report) -> String {
    let mut rows = String::new();
    for (level, verdict) in report.verdicts.iter().rev() {
        let (class, word) = class(verdict);
        let why = match verdict {
            Verdict::Refuted(witness) => &witness.kind,
            Verdict::Proved { by } => *by,
            Verdict::NotRefuted { why } | Verdict::Unknown { why } | Verdict::Unsupported { why } => why,
        };
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td class=\"{class}\">{word}</td><td>{}</td></tr>",
            level.name(),
            escape(why)
        );
    }
    format!("<table><tr><th>level</th><th>verdict</th><th>by, or why not</th></tr>\n{rows}</table>")
}

/// The levels, stronger ones above, with lines to those next below.
fn lattice(report: &Report, asked: Level) -> String {
    const WIDE: usize = 225;
    const HIGH: usize = 58;
    let mut ranks: Vec<usize> = Vec::new();
    let mut rows: Vec<Vec<Level>> = Vec::new();
    for level in Level::all() {
        let rank = level.below().map(|below| ranks[below.index()] + 1).max().unwrap_or(0);
        ranks.push(rank);
        rows.resize(rows.len().max(rank + 1), Vec::new());
        rows[rank].push(level);
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(1);
    let mut places = vec![(0, 0); LEVELS.len()];
    for (rank, row) in rows.iter().enumerate() {
        let free = (columns - row.len()) * WIDE / 2;
        for (at, level) in row.iter().enumerate() {
            places[level.index()] = (free + at * WIDE + WIDE / 2, (rows.len() - rank) * HIGH - HIGH / 2);
        }
    }
    let mut drawn = String::new();
    for level in Level::all() {
        let (x, y) = places[level.index()];
        for below in level.below() {
            let (to_x, to_y) = places[below.index()];
            let _ = writeln!(drawn, "<path class=\"line\" d=\"M{x} {y}L{to_x} {to_y}\"/>");
        }
    }
    for level in Level::all() {
        let (x, y) = places[level.index()];
        let (class, word) = class(report.verdict(level));
        let asked = if level == asked { " asked" } else { "" };
        let _ = writeln!(
            drawn,
            "<g><title>{}: {word}</title><rect class=\"box {class}{asked}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"28\" \
             rx=\"6\"/><text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text></g>",
            level.name(),
            x - WIDE / 2 + 6,
            y - 14,
            WIDE - 12,
            y + 4,
            level.name()
        );
    }
    format!(
        "<svg viewBox=\"0 0 {} {}\" width=\"{}\" role=\"img\" aria-label=\"the lattice of levels\">\n{drawn}</svg>",
        columns * WIDE,
        rows.len() * HIGH,
        columns * WIDE
    )
}

fn section_finding(body: &mut String, finding: &Finding) {
    let count = if finding.count == 1 { String::new() } else { format!(" ({} times)", finding.count) };
    let _ = writeln!(body, "<h3>{}{count}</h3>", escape(&finding.anomaly.name()));
    body.push_str(&cycle(&finding.arrows));
    let _ = writeln!(body, "<pre>{}</pre>", escape(&finding.witness.words));
}

fn section_core(body: &mut String, core: &Core) {
    let minimal = if core.minimal { "none can be left out" } else { "not shrunk to the end" };
    let _ = writeln!(
        body,
        "<h2>The core: {} transactions, {} keys; {minimal}</h2>",
        core.txns.len(),
        core.keys.len()
    );
    let arrows = core.finding.as_ref().map_or(&[][..], |finding| &finding.arrows);
    body.push_str(&cycle(arrows));
    body.push_str(&timeline(core, arrows));
    let _ = writeln!(body, "<pre>{}</pre>", escape(&core.witness.words));
    body.push_str("<table><tr><th></th><th>line</th><th>what it did, as far as it matters here</th></tr>\n");
    for &id in core.txns.iter().take(TIMELINE) {
        let told = tell(&core.history, id);
        let (name, words) = told.split_once(" = ").unwrap_or(("", &told));
        let line = core.history.line(id);
        let line = if line == 0 { String::new() } else { line.to_string() };
        let _ = writeln!(body, "<tr><td>{name}</td><td>{line}</td><td>{}</td></tr>", escape(words));
    }
    body.push_str("</table>\n");
}

fn edge_class(label: &str) -> &'static str {
    match label {
        "rw" | "axiom" => "edge rw",
        "process" | "realtime" => "edge order",
        _ => "edge",
    }
}

const ARROW: &str = "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
    orient=\"auto-start-reverse\"><path d=\"M0 0L8 4L0 8z\" fill=\"context-stroke\"/></marker></defs>";

/// The transactions of a cycle on a circle, its edges between them.
fn cycle(arrows: &[Arrow]) -> String {
    let mut nodes: Vec<Id> = Vec::new();
    for arrow in arrows {
        for id in [arrow.from, arrow.to] {
            if !nodes.contains(&id) {
                nodes.push(id);
            }
        }
    }
    if nodes.len() < 2 || nodes.len() > DRAWN {
        return String::new();
    }
    let radius = 70.0 + 14.0 * nodes.len() as f64;
    let (wide, high) = (radius * 2.0 + 180.0, radius * 2.0 + 70.0);
    let place = |id: Id| {
        let at = nodes.iter().position(|&node| node == id).unwrap_or(0);
        let turn = std::f64::consts::TAU * at as f64 / nodes.len() as f64 - std::f64::consts::PI;
        (wide / 2.0 + radius * turn.cos(), high / 2.0 + radius * turn.sin())
    };
    let mut drawn = String::from(ARROW);
    for arrow in arrows {
        bow(&mut drawn, place(arrow.from), place(arrow.to), arrow);
    }
    for &id in &nodes {
        let (x, y) = place(id);
        let name = if id == NONE { "initial".to_owned() } else { format!("T{id}") };
        let _ = writeln!(
            drawn,
            "<rect class=\"txn\" x=\"{:.0}\" y=\"{:.0}\" width=\"76\" height=\"26\" rx=\"13\"/><text x=\"{x:.0}\" y=\"{:.0}\" \
             text-anchor=\"middle\">{name}</text>",
            x - 38.0,
            y - 13.0,
            y + 4.0
        );
    }
    format!(
        "<svg viewBox=\"0 0 {wide:.0} {high:.0}\" width=\"{wide:.0}\" role=\"img\" aria-label=\"the cycle\">\n{drawn}</svg>\n"
    )
}

/// An edge that bends to its left, so that there and back are two lines.
fn bow(drawn: &mut String, from: (f64, f64), to: (f64, f64), arrow: &Arrow) {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy).max(1.0);
    let bend = (-dy / length * 34.0, dx / length * 34.0);
    let middle = (f64::midpoint(from.0, to.0) + bend.0, f64::midpoint(from.1, to.1) + bend.1);
    // It ends outside the boxes, which are 76 by 26.
    let cut = |at: (f64, f64)| {
        let (x, y) = (middle.0 - at.0, middle.1 - at.1);
        let scale = (42.0 / x.abs().max(0.01)).min(16.0 / y.abs().max(0.01)).min(1.0);
        (at.0 + x * scale, at.1 + y * scale)
    };
    let (begin, end) = (cut(from), cut(to));
    let _ = writeln!(
        drawn,
        "<g><title>{}</title><path class=\"{}\" marker-end=\"url(#tip)\" d=\"M{:.1} {:.1}Q{:.1} {:.1} {:.1} {:.1}\"/>\
         <text class=\"small halo\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></g>",
        escape(&arrow.why),
        edge_class(arrow.label),
        begin.0,
        begin.1,
        middle.0,
        middle.1,
        end.0,
        end.1,
        f64::midpoint(f64::midpoint(begin.0, end.0), middle.0),
        f64::midpoint(f64::midpoint(begin.1, end.1), middle.1) + 4.0,
        arrow.label
    );
}

/// The transactions of a core as bars, a row for each process. Moments without an event of the core are left out.
fn timeline(core: &Core, arrows: &[Arrow]) -> String {
    let history = &core.history;
    let shown = &core.txns[..core.txns.len().min(TIMELINE)];
    let end = |id: Id| Some(history.txn(id).after).filter(|&after| after != NONE);
    let mut moments: BTreeMap<(u32, bool), usize> = BTreeMap::new();
    for &id in shown {
        // What completed before a group began stands before it.
        moments.insert((history.txn(id).group, true), 0);
        if let Some(end) = end(id) {
            moments.insert((end, false), 0);
        }
    }
    for (at, place) in moments.values_mut().enumerate() {
        *place = at;
    }
    let mut processes: Vec<u32> = shown.iter().map(|&id| history.txn(id).process).collect();
    processes.sort_unstable();
    processes.dedup();
    let step = (900 / moments.len().max(1)).clamp(24, 120);
    let (left, high) = (120, 44);
    let wide = left + moments.len() * step + 40;
    let mut drawn = String::new();
    for (row, &process) in processes.iter().enumerate() {
        let y = row * high + 26;
        let _ = writeln!(
            drawn,
            "<path class=\"line\" d=\"M{left} {y}H{wide}\"/><text x=\"4\" y=\"{}\">process {}</text>",
            y + 4,
            escape(&history.process_name(process))
        );
    }
    for &id in shown {
        let txn = history.txn(id);
        let row = processes.binary_search(&txn.process).unwrap_or(0);
        let x = left + moments[&(txn.group, true)] * step;
        let (to, open) = match end(id) {
            Some(end) => (left + moments[&(end, false)] * step, ""),
            None => (wide - 4, " stroke-dasharray=\"4 3\""),
        };
        let outcome = if txn.outcome == Outcome::Ok { "" } else { " ?" };
        let in_cycle = arrows.iter().any(|arrow| arrow.from == id);
        let class = if in_cycle { "txn refuted" } else { "txn" };
        let _ = writeln!(
            drawn,
            "<g><title>{}</title><rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"{}\" height=\"26\" rx=\"4\"{open}/>\
             <text class=\"small\" x=\"{}\" y=\"{}\">T{id}{outcome}</text></g>",
            escape(&tell(history, id)),
            row * high + 13,
            to.saturating_sub(x).max(14),
            x + 4,
            row * high + 30
        );
    }
    format!(
        "<svg viewBox=\"0 0 {wide} {}\" width=\"{wide}\" role=\"img\" aria-label=\"the core by process\">\n{drawn}</svg>\n",
        processes.len() * high + 8
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
