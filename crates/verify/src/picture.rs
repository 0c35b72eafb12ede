//! A page for a browser, without anything from outside: rate, latency, and each client's time, with the faults shaded.

use crate::judge::Verdict;
use crate::op::Kind;
use crate::record::Event;
use crate::report::Report;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 60.0;
const PANEL: f64 = 160.0;
const LANE: f64 = 14.0;
/// More points than this are thinned out: the slowest of each column stay.
const POINTS: usize = 6000;

/// One operation that ended, or did not.
struct Span<'a> {
    event: &'a Event,
    begin: f64,
    end: f64,
    kind: Kind,
}

/// The whole page.
pub(crate) fn page(report: &Report, histories: &BTreeMap<&str, Vec<Event>>) -> String {
    let last = histories.values().flatten().map(|event| event.time).max().unwrap_or(1).max(1);
    let seconds = last as f64 / 1e9;
    let mut out = String::from(HEAD);
    let verdict = report.verdict.word();
    // Writing to a String cannot fail.
    let _ = write!(out, "<h1 class={verdict}>{verdict}</h1><p><code>{}</code></p>", text(&report.command));
    findings(report, &mut out);
    for (workload, events) in histories {
        let spans = spans(events, seconds);
        let _ = write!(out, "<h2>{}</h2>", text(workload));
        rate(report, &spans, seconds, &mut out);
        latency(report, &spans, seconds, &mut out);
        lanes(report, &spans, seconds, &mut out);
    }
    faults(report, &mut out);
    out.push_str("</body></html>\n");
    out
}

fn findings(report: &Report, out: &mut String) {
    out.push_str("<table><tr><th>verdict<th>of<th>check<th>why</tr>");
    for finding in &report.findings {
        let class = finding.verdict.word();
        let _ = write!(
            out,
            "<tr><td class={class}>{class}<td>{}<td>{}<td>{}",
            text(&finding.subject),
            text(&finding.check),
            text(&finding.why)
        );
        if finding.verdict != Verdict::Holds && !finding.witness.is_empty() {
            let _ = write!(out, "<pre>{}</pre>", text(&finding.witness.join("\n")));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
}

/// Pairs beginnings with ends; what did not end lasts to the end of the run.
fn spans<'a>(events: &'a [Event], seconds: f64) -> Vec<Span<'a>> {
    let mut open: BTreeMap<u64, &'a Event> = BTreeMap::new();
    let mut spans = Vec::new();
    for event in events {
        let Some(process) = event.number() else { continue };
        if event.kind == Kind::Invoke {
            open.insert(process, event);
        } else if let Some(begin) = open.remove(&process) {
            let (begin, end) = (begin.time as f64 / 1e9, event.time as f64 / 1e9);
            spans.push(Span { event, begin, end, kind: event.kind });
        }
    }
    spans.extend(open.into_values().map(|event| Span {
        event,
        begin: event.time as f64 / 1e9,
        end: seconds,
        kind: Kind::Info,
    }));
    spans
}

fn x(second: f64, seconds: f64) -> f64 {
    LEFT + (WIDTH - LEFT) * second.max(0.0) / seconds
}

/// Opens a drawing with the faults behind it and the seconds under it.
fn open(report: &Report, title: &str, height: f64, seconds: f64, out: &mut String) {
    let whole = height + 20.0;
    let _ =
        write!(out, "<h3>{title}</h3><svg viewBox='0 0 {WIDTH} {whole}' width='{WIDTH}' height='{whole}'>");
    for fault in &report.faults {
        let (from, to) = (x(fault.begin as f64 / 1e9, seconds), x(fault.end as f64 / 1e9, seconds));
        let _ = write!(
            out,
            "<rect class='fault {}' x='{from:.1}' y='0' width='{:.1}' height='{height}'><title>{}: {} ({})</title></rect>",
            if fault.effect == 0 { "useless" } else { &fault.nemesis },
            (to - from).max(1.0),
            text(&fault.nemesis),
            text(&fault.what),
            text(&fault.seen)
        );
    }
    let step = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0]
        .into_iter()
        .find(|s| seconds / s <= 20.0)
        .unwrap_or(3600.0);
    let mut second = 0.0;
    while second <= seconds {
        let at = x(second, seconds);
        let _ = write!(
            out,
            "<line class=grid x1='{at:.1}' x2='{at:.1}' y1='0' y2='{height}'/><text x='{at:.1}' y='{:.0}'>{second} s</text>",
            height + 14.0
        );
        second += step;
    }
}

fn label(y: f64, words: &str, out: &mut String) {
    let _ = write!(out, "<text class=axis x='{}' y='{:.1}'>{words}</text>", LEFT - 4.0, y + 4.0);
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Ok => "ok",
        Kind::Fail => "fail",
        Kind::Info | Kind::Invoke => "info",
    }
}

/// Operations a second, by how they ended.
fn rate(report: &Report, spans: &[Span<'_>], seconds: f64, out: &mut String) {
    open(report, "operations a second", PANEL, seconds, out);
    let columns = (seconds.ceil() as usize).clamp(1, 500);
    let wide = seconds / columns as f64;
    let mut counts = vec![[0.0_f64; 3]; columns];
    for span in spans {
        let column = ((span.end / wide) as usize).min(columns - 1);
        counts[column][span.kind as usize - 1] += 1.0 / wide;
    }
    let most = counts.iter().map(|c| c.iter().sum::<f64>()).fold(1.0, f64::max);
    for (at, count) in counts.iter().enumerate() {
        let mut top = PANEL;
        for (kind, value) in [Kind::Ok, Kind::Fail, Kind::Info].into_iter().zip(count) {
            let height = PANEL * value / most;
            top -= height;
            if height > 0.0 {
                let _ = write!(
                    out,
                    "<rect class={} x='{:.1}' y='{top:.1}' width='{:.1}' height='{height:.1}'/>",
                    class(kind),
                    x(at as f64 * wide, seconds),
                    (WIDTH - LEFT) / columns as f64
                );
            }
        }
    }
    label(8.0, &format!("{most:.0}"), out);
    label(PANEL, "0", out);
    out.push_str("</svg>");
}

/// How long answers took, from 0.1 ms to 10 s, each decade as high as the other.
fn latency(report: &Report, spans: &[Span<'_>], seconds: f64, out: &mut String) {
    open(report, "latency", PANEL, seconds, out);
    let y = |s: f64| PANEL * (1.0 - ((s.max(1e-4) / 1e-4).log10() / 5.0).min(1.0));
    for (s, words) in [(1e-3, "1 ms"), (1e-2, "10 ms"), (1e-1, "0.1 s"), (1.0, "1 s")] {
        label(y(s), words, out);
        let _ = write!(out, "<line class=grid x1='{LEFT}' x2='{WIDTH}' y1='{0:.1}' y2='{0:.1}'/>", y(s));
    }
    let every = spans.len().div_ceil(POINTS).max(1);
    for (at, span) in spans.iter().enumerate() {
        let took = span.end - span.begin;
        if at % every == 0 || took > 0.5 || span.kind == Kind::Info {
            let _ = write!(
                out,
                "<circle class={} cx='{:.1}' cy='{:.1}' r='1.3'/>",
                class(span.kind),
                x(span.end, seconds),
                y(took)
            );
        }
    }
    out.push_str("</svg>");
}

/// Each client's time: what it did, and how that ended. A client's numbers after unknown outcomes share its lane.
fn lanes(report: &Report, spans: &[Span<'_>], seconds: f64, out: &mut String) {
    let clients = report.plan.clients.max(1);
    let lane = |span: &Span<'_>| span.event.number().unwrap_or(0) % clients;
    open(report, "clients", LANE * clients as f64, seconds, out);
    for client in 0..clients {
        label(LANE * (client as f64 + 0.5), &format!("{client}"), out);
    }
    let every = spans.len().div_ceil(POINTS).max(1);
    for (at, span) in spans.iter().enumerate() {
        if at % every != 0 && span.end - span.begin < 0.1 && span.kind != Kind::Info {
            continue;
        }
        let (from, to) = (x(span.begin, seconds), x(span.end, seconds));
        let _ = write!(
            out,
            "<rect class={} x='{from:.1}' y='{:.1}' width='{:.1}' height='{}'><title>{} {} {}: {} {}</title></rect>",
            class(span.kind),
            LANE * lane(span) as f64 + 2.0,
            (to - from).max(0.6),
            LANE - 4.0,
            text(&span.event.f),
            text(&span.event.key.to_string()),
            class(span.kind),
            text(&short(&span.event.value.to_string())),
            text(span.event.error.as_deref().unwrap_or(""))
        );
    }
    out.push_str("</svg>");
}

fn short(words: &str) -> String {
    if words.chars().count() > 80 { words.chars().take(80).chain(['…']).collect() } else { words.into() }
}

fn faults(report: &Report, out: &mut String) {
    out.push_str("<h2>faults</h2><table><tr><th>from<th>to<th>nemesis<th>what<th>seen</tr>");
    for fault in &report.faults {
        let _ = write!(
            out,
            "<tr><td>{:.1} s<td>{:.1} s<td>{}<td>{}<td>{}</tr>",
            fault.begin as f64 / 1e9,
            fault.end as f64 / 1e9,
            text(&fault.nemesis),
            text(&fault.what),
            text(&fault.seen)
        );
    }
    let _ = write!(out, "</table><p>leader changes: {}</p>", report.leader_changes);
}

/// Text as it may stand in a page.
fn text(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#39;")
        .replace('"', "&quot;")
}

const HEAD: &str = "<!doctype html><html lang=en><head><meta charset=utf-8><title>quorate verify</title><style>
:root{color-scheme:light dark;--grid:#8883;--text:#222;--back:#fff}
@media(prefers-color-scheme:dark){:root{--text:#ddd;--back:#16181c}}
body{font:14px/1.45 system-ui,sans-serif;color:var(--text);background:var(--back);max-width:1140px;margin:2em auto;padding:0 1em}
table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:.2em .8em .2em 0}
pre{overflow-x:auto;margin:.3em 0}svg{max-width:100%;height:auto}h3{margin:.6em 0 .2em;font-weight:600}
svg text{font-size:10px;fill:currentColor}svg .axis{text-anchor:end}.grid{stroke:var(--grid)}
h1.holds,td.holds{color:#2a8a4a}h1.violated,td.violated{color:#d03a3a}h1.unknown,td.unknown{color:#b98212}
.ok{fill:#4a90c2}.fail{fill:#b98212}.info{fill:#d03a3a}
.fault{fill:#8a6fc2;opacity:.22}.fault.kill{fill:#d03a3a}.fault.pause{fill:#b98212}.fault.partition{fill:#4a7}.fault.useless{fill:#888}
</style></head><body>
";
