//! The judge of list-append: inference, anomalies, cycles, verdicts. The pages of [`super::append`] and [`super::cycles`] say
//! what each step does.

use super::anomaly::Anomaly;
use super::append::{Reader, Seen, Versions};
use super::axioms::{self, Axiom};
use super::cycles::{self, Found};
use super::facts::{Facts, Read};
use super::findings::{Findings, name, spent, why_order};
use super::graph::{self, Edge, Graph, Kind};
use super::history::{Act, History, Id, NONE};
use super::levels::Level;
use super::observe::observe;
use super::{Report, judge};
use crate::budget::{Budget, Spent};
use crate::verdict::Verdict;

/// The name of the algorithm in witnesses.
const BY: &str = "Elle's inference over list-append";

/// What came out of the search.
struct Judged {
    found: Found,
    /// True where no cycle is in the whole graph, real time included.
    acyclic: bool,
    /// True where every version order is known.
    complete: bool,
    /// What ended the search for causal violations, where something did.
    causal_spent: Option<Spent>,
    /// True where edges were left out, or a key gave none.
    partial: bool,
    txns: usize,
}

/// Judges by every level.
pub(super) fn check(history: &History, budget: &mut Budget<'_>) -> Report {
    let mut findings = Findings::new(history, BY);
    let judged = search(history, &mut findings, budget);
    let found = judged.as_ref().map(|judged| &judged.found).map_err(|&spent| spent);
    let open = |level| {
        judged.as_ref().map_or_else(|_| Verdict::Unknown { why: String::new() }, |judged| rest(level, judged))
    };
    let verdicts = judge::verdicts(found, &findings, history.len(), &open);
    let notes = findings.ambiguous_write().map(|write| {
        format!("{write}: elements must be unique for each key. Keys that break this are not followed.")
    });
    Report { findings: findings.all().cloned().collect(), verdicts, notes: notes.into_iter().collect() }
}

fn search(history: &History, findings: &mut Findings<'_>, budget: &mut Budget<'_>) -> Result<Judged, Spent> {
    let mut versions = Versions::new(history, findings, budget)?;
    observe(history, &mut versions, findings, budget)?;
    let graph = Graph::new(history, budget, &mut |take| versions.edges(history, take))?;
    let components = graph.components(budget)?;
    let mut found = Found::default();
    let writes = |id: Id| history.ops(id).iter().any(|micro| matches!(micro.act(), Act::Append(_)));
    cycles::search(&graph, &components, &|id| !writes(id), &mut found, budget)?;
    for (cycle, count) in found.named.values() {
        findings.cycle(cycle, *count, &|history, edge| why(history, &versions, edge));
    }
    let mut causal_spent = None;
    if !components.is_empty() {
        // A graph without a cycle has no causal violation either.
        causal_spent = causal(history, &versions, findings, budget).err();
    }
    Ok(Judged {
        found,
        acyclic: components.is_empty(),
        complete: versions.complete(),
        causal_spent,
        partial: versions.capped() || versions.any_tainted(),
        txns: history.len(),
    })
}

/// Causal consistency, by its axiom.
fn causal(
    history: &History,
    versions: &Versions,
    findings: &mut Findings<'_>,
    budget: &mut Budget<'_>,
) -> Result<(), Spent> {
    let facts = facts(history, versions);
    let taken = budget.bytes();
    budget.take(facts.bytes())?;
    let mut order = Vec::new();
    versions.edges(history, &mut |edge| {
        if edge.kind == Kind::Ww {
            order.push((edge.from, edge.to));
        }
    });
    if let Some(steps) = axioms::refute(&facts, Axiom::Causal, true, &order, budget)? {
        findings.steps(Anomaly::CausalViolation, &steps);
    }
    budget.give(budget.bytes() - taken);
    Ok(())
}

/// What was read from whom.
fn facts(history: &History, versions: &Versions) -> Facts {
    let mut facts = Facts::new(history.keys().len(), graph::sessions(history));
    let mut reader = Reader::new(history);
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for id in 0..history.len() as Id {
        reads.clear();
        writes.clear();
        for &micro in history.ops(id).iter().filter(|_| versions.happened(id)) {
            let key = micro.key();
            if !versions.ordered(key) {
                continue;
            }
            match reader.step(versions, id, micro) {
                Seen::First(version) | Seen::Changed(version) => {
                    let of = versions.version_writer(key, version).unwrap_or(NONE);
                    if of != id {
                        reads.push(Read { key: key as u32, of });
                    }
                }
                _ if matches!(micro.act(), Act::Append(_)) => writes.push(key as u32),
                _ => {}
            }
        }
        facts.push(&reads, &mut writes);
    }
    facts
}

/// Levels that nothing refuted.
fn rest(level: Level, judged: &Judged) -> Verdict {
    if let ("causal", Some(by)) = (level.name(), judged.causal_spent) {
        return Verdict::Unknown { why: spent(by, judged.txns) };
    }
    if judged.acyclic && !judged.partial {
        return Verdict::Proved {
            by: "Elle's inference: no cycle in the whole graph, whose order gives the unseen ones",
        };
    }
    if judged.complete {
        return Verdict::Proved { by: "Elle's inference, with every version order known" };
    }
    let why = if judged.partial {
        "some keys gave no order: their reads contradict each other, or too many appends were never read"
    } else {
        "the order of some appends that no read shows is not known: end with a read of every key"
    };
    Verdict::NotRefuted { why: why.to_owned() }
}

/// Why one transaction comes before the other.
fn why(history: &History, versions: &Versions, edge: Edge) -> String {
    why_order(history, edge)
        .or_else(|| why_lists(history, versions, edge))
        .unwrap_or_else(|| "their versions say so".to_owned())
}

fn why_lists(history: &History, versions: &Versions, edge: Edge) -> Option<String> {
    let Edge { from, to, kind } = edge;
    let (reader, writer) = match kind {
        Kind::Wr => (to, from),
        _ => (from, to),
    };
    for (op, micro) in (history.first_op(writer)..).zip(history.ops(writer)) {
        let Act::Append(element) = micro.act() else { continue };
        let key = micro.key();
        let place = versions.place(op);
        let (element, shown) = (history.show(element), name(history, key));
        for (other_op, other) in (history.first_op(reader)..).zip(history.ops(reader)) {
            if other.key() != key || !versions.ordered(key) {
                continue;
            }
            match (kind, other.act()) {
                (Kind::Wr, Act::List(len)) if place < len => {
                    return Some(format!("T{reader} saw its append of {element} to key {shown}"));
                }
                (Kind::Rw, Act::List(len)) if place >= len => {
                    return Some(format!(
                        "T{reader} read key {shown} and did not see T{writer} append {element}"
                    ));
                }
                (Kind::Ww, Act::Append(first)) if versions.place(other_op) < place => {
                    let first = history.show(first);
                    let unseen = if place == NONE { ", which no read shows" } else { "" };
                    return Some(format!(
                        "in key {shown} its {first} stands before T{writer}'s {element}{unseen}"
                    ));
                }
                _ => {}
            }
        }
    }
    None
}
