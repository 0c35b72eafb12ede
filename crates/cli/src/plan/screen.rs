//! A plan, for people: what is promised and what it costs, with a small drawing of the way of a write.

use super::{Wishes, odds_words};
use crate::up::screen::table;
use quorate_policy::plan::Span;
use quorate_policy::{
    Mechanism, Partitioning, Plan, Policy, PrimaryMode, Rmw, Rule, plan as plan_of, preset,
};
use std::fmt::Write;

/// Columns that text is wrapped to.
const WIDTH: usize = 110;
/// Columns of a label, its indent included.
const LABEL: usize = 16;

/// A plan.
pub(crate) fn plan(plan: &Plan, departs: &[&str], wishes: &Wishes, colours: bool) -> String {
    let (bold, plain) = if colours { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let mut out = String::new();
    if let Some(command) = &wishes.command {
        let _ = writeln!(out, "asked for: {command}\n");
    }
    let _ = writeln!(out, "{bold}{}{plain}", plan.headline);
    let promise = format!("{}: {}", plan.promise, plan.promise.meaning());
    labelled(&mut out, "promises", [promise, format!("it holds for {}", plan.scope)]);
    labelled(&mut out, plan.pacelc.letters(), [plan.pacelc.words.clone()]);
    labelled(&mut out, "gives up", plan.gives_up.clone());
    labelled(&mut out, "loses", plan.losses.words.clone());
    labelled(&mut out, "quorums", [quorums(plan)]);
    labelled(&mut out, "costs", plan.cost.words.clone());
    labelled(&mut out, "assumes", plan.assumes.clone());
    labelled(&mut out, "note", plan.notes.clone());
    labelled(&mut out, "departs", departs.iter().map(|text| (*text).to_string()));
    labelled(&mut out, "odds", wishes.cluster.and_then(|cluster| odds_words(plan, cluster)));
    let missing: Vec<_> = plan.missing().iter().map(|part| part.said()).collect();
    if missing.is_empty() {
        let what = match plan.partition_by {
            Partitioning::None => "it is what the key-value space keeps",
            _ => "`quorate space create NAME` with the same words makes such a table",
        };
        labelled(&mut out, "available", [format!("now: {what}, with {} voting members", plan.nodes)]);
    } else {
        labelled(&mut out, "not available", [format!("yet: this release has no {}", missing.join(", no "))]);
    }
    section(&mut out, &format!("{bold}the way of a write{plain}"), drawing(plan.mechanism));
    section(&mut out, &format!("{bold}what operations wait for{plain}"), operations(plan));
    section(&mut out, &format!("{bold}what a side of a partition does{plain}"), sides(plan));
    if wishes.explain {
        let _ = writeln!(out, "\n{bold}why{plain}");
        for reason in &plan.reasons {
            paragraph(&mut out, "  - ", reason);
        }
        let _ = write!(out, "\n{bold}what it rests on{plain}");
        out.extend(plan.rules.iter().map(|rule| stated(*rule)));
        out.push('\n');
    }
    out
}

/// A rule's statement, below a line.
pub(crate) fn stated(rule: Rule) -> String {
    let source = if rule.source().is_empty() { String::new() } else { format!(" ({})", rule.source()) };
    let mut out = String::from("\n");
    paragraph(&mut out, "  ", &format!("{rule}: {}{source}", rule.statement()));
    out.trim_end().to_string()
}

/// The command line that asks for a policy.
pub(crate) fn command(policy: &Policy) -> String {
    let flags = policy.asked().into_iter().map(|(field, text)| format!(" --{field} {text}"));
    format!("quorate plan{}", flags.collect::<String>())
}

/// The presets.
pub(crate) fn presets() -> String {
    let mut out = String::new();
    for preset in preset::all() {
        let _ = writeln!(out, "{}", preset.name);
        labelled(&mut out, "like", [preset.like.to_string()]);
        if let Ok(plan) = plan_of(&preset.policy) {
            labelled(
                &mut out,
                "here",
                [format!("{}, {}, {}", plan.promise, plan.pacelc.letters(), plan.headline)],
            );
        }
        let flags = command(&preset.policy);
        labelled(&mut out, "asks for", [flags.trim_start_matches("quorate plan ").to_string()]);
        labelled(&mut out, "departs", preset.departs.iter().map(|text| (*text).to_string()));
        out.push('\n');
    }
    out
}

fn quorums(plan: &Plan) -> String {
    let failed = match plan.survives {
        0 => "no failed node".to_string(),
        1 => "1 failed node".to_string(),
        n => format!("{n} failed nodes"),
    };
    format!(
        "N={} W={} R={}; it serves with {failed}; the cluster has {} {} at least",
        plan.copies,
        plan.write_quorum,
        plan.read_quorum,
        plan.nodes,
        if plan.nodes == 1 { "node" } else { "nodes" }
    )
}

/// A label and what belongs to it, an item a line; nothing if there is nothing.
fn labelled(out: &mut String, label: &str, items: impl IntoIterator<Item = String>) {
    for (i, item) in items.into_iter().enumerate() {
        let lead = if i == 0 { format!("  {label:<width$}", width = LABEL - 2) } else { " ".repeat(LABEL) };
        paragraph(out, &lead, &item);
    }
}

/// Text behind a lead, wrapped, its later lines below its first.
fn paragraph(out: &mut String, lead: &str, text: &str) {
    let indent = lead.chars().count();
    let mut line = lead.to_string();
    let mut empty = true;
    for word in text.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

fn section(out: &mut String, title: &str, lines: Vec<String>) {
    let _ = writeln!(out, "\n{title}");
    for line in lines {
        let _ = writeln!(out, "  {line}");
    }
}

/// The way of a write from its client to its reply.
fn drawing(m: Mechanism) -> Vec<String> {
    let n = m.copies();
    let w = m.write_quorum();
    if n == 1 {
        return vec!["client -> any node -> the one disk -> reply".into()];
    }
    let many = |first: &str, other: &str| -> Vec<String> {
        let others = std::iter::repeat_n(other.to_string(), usize::from(n) - usize::from(!first.is_empty()));
        (!first.is_empty()).then(|| first.to_string()).into_iter().chain(others).collect()
    };
    match m {
        Mechanism::Raft { .. } => fan(
            "client -> any node -> leader",
            &many("its disk", "follower's disk"),
            &format!("{w} of {n} -> applied -> reply"),
        ),
        Mechanism::Quorum { rmw: Rmw::Always, .. } | Mechanism::Paxos { .. } => {
            let joined = format!("{w} of {n} accept -> reply");
            let mut lines = fan("client -> any node", &many("", "replica's disk"), &joined);
            lines.push("(twice, where another node proposed last: first to prepare, then to accept)".into());
            lines
        }
        Mechanism::Quorum { sloppy, .. } => {
            let mut lines =
                fan("client -> any node", &many("", "replica's disk"), &format!("{w} of {n} -> reply"));
            if sloppy {
                lines.push("(a hint on another node's disk counts where a replica is away)".into());
            }
            lines
        }
        Mechanism::Abd { .. } => {
            let lead = format!("client -> any node -> newest timestamp of {w} of {n}");
            fan(&lead, &many("", "replica's disk"), &format!("{w} of {n} -> reply"))
        }
        Mechanism::Primary { mode: PrimaryMode::Async, .. } => {
            let mut lines = vec!["client -> any node -> primary -> its disk -> reply".to_string()];
            lines.extend(std::iter::repeat_n(
                "                             `-> backup's disk, later".to_string(),
                usize::from(n) - 1,
            ));
            lines
        }
        Mechanism::Primary { mode, .. } => {
            let joined = match mode {
                PrimaryMode::SemiSync { acks } => format!("its own and {acks} of {} -> reply", n - 1),
                _ => format!("all in sync, {w} at least -> reply"),
            };
            fan("client -> any node -> primary", &many("its disk", "backup's disk"), &joined)
        }
    }
}

/// One line that goes to several, and comes together again.
fn fan(lead: &str, targets: &[String], joined: &str) -> Vec<String> {
    let width = targets.iter().map(String::len).max().unwrap_or(0);
    let middle = (targets.len() - 1) / 2;
    let lines = targets.iter().enumerate().map(|(i, target)| {
        let dashes = "-".repeat(width - target.len());
        let lead = if i == 0 { format!("{lead} -") } else { " ".repeat(lead.len() + 2) };
        let end = if i == middle { format!("+- {joined}") } else { "+".to_string() };
        format!("{lead}+-> {target} {dashes}-{end}")
    });
    lines.collect()
}

fn operations(plan: &Plan) -> Vec<String> {
    let mut rows = vec![["operation", "round trips", "flushes", "waits for"].map(String::from)];
    rows.extend(plan.operations.iter().map(|op| match op.rounds {
        None => [op.what.clone(), "refused".into(), "-".into(), op.waits_for.clone()],
        Some(rounds) => {
            let way = if op.forwarded && plan.nodes > 1 { " (+1)" } else { "" };
            [op.what.clone(), format!("{}{way}", span(rounds)), span(op.flushes), op.waits_for.clone()]
        }
    }));
    let mut lines = table(&rows);
    if plan.operations.iter().any(|op| op.forwarded && op.rounds.is_some()) && plan.nodes > 1 {
        lines.push(
            "+1: one more where the asked node is not the one that serves it; flushes of several \
             disks at once count as one"
                .into(),
        );
    }
    lines
}

fn span(span: Span) -> String {
    if span.usual == span.worst {
        span.usual.to_string()
    } else {
        format!("{} to {}", span.usual, span.worst)
    }
}

fn sides(plan: &Plan) -> Vec<String> {
    let mut rows = vec![["the side", "writes", "reads", ""].map(String::from)];
    rows.extend(plan.sides.iter().map(|side| {
        [side.who.clone(), side.writes.word().into(), side.reads.word().into(), side.note.clone()]
    }));
    table(&rows)
}
