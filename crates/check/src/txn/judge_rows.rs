//! The judge of rows and ranges. The page of [`super::rows`] says what is inferred.

use super::anomaly::Anomaly;
use super::axioms::{self, Axiom};
use super::complete::{self, Settled};
use super::cycles::{self, Found};
use super::findings::{Findings, name, why_order};
use super::graph::{Edge, Graph, Kind};
use super::history::{Act, History, Id};
use super::levels::Level;
use super::rows::Rows;
use super::{Report, judge};
use crate::budget::{Budget, Spent};
use crate::verdict::{Verdict, Witness};
use std::collections::BTreeSet;

/// The name of the algorithm in witnesses.
const BY: &str = "lives of rows, ranges read row by row";

/// The one level that knows no predicates.
const ITEMS_ONLY: &str = "repeatable-read";

struct Judged {
    found: Found,
    /// The same by single reads alone.
    items: Found,
    open: bool,
    undecided: bool,
    settled: Vec<(Level, Settled)>,
}

/// Judges by every level.
pub(super) fn check(history: &History, budget: &mut Budget<'_>) -> Report {
    let mut findings = Findings::new(history, BY);
    let mut items = Findings::new(history, BY);
    let judged = search(history, &mut findings, &mut items, budget);
    let found = judged.as_ref().map(|judged| &judged.found).map_err(|&spent| spent);
    let open = |level| {
        judged.as_ref().map_or_else(|_| Verdict::Unknown { why: String::new() }, |judged| rest(level, judged))
    };
    let mut verdicts = judge::verdicts(found, &findings, history.len(), &open);
    let by_items = judged.as_ref().map(|judged| &judged.items).map_err(|&spent| spent);
    let alone = judge::verdicts(by_items, &items, history.len(), &open);
    for at in 0..verdicts.len() {
        if verdicts[at].0.name() == ITEMS_ONLY && !matches!(verdicts[at].1, Verdict::Proved { .. }) {
            verdicts[at].1 = by_items_alone(&verdicts, &alone[at]);
        }
    }
    if let Ok(judged) = &judged {
        refute_settled(&mut verdicts, judged);
    }
    let notes = findings.ambiguous_write().map(|_| {
        "a row was inserted or deleted twice: each row must live once. Nothing is proved.".to_owned()
    });
    Report { findings: findings.all().cloned().collect(), verdicts, notes: notes.into_iter().collect() }
}

/// The verdict on a level that forbids cycles of single reads, but all that weaker ones do: those speak of ranges too, as in Adya's G1.
fn by_items_alone(verdicts: &[(Level, Verdict)], (level, alone): &(Level, Verdict)) -> Verdict {
    let weaker =
        || verdicts.iter().filter(|(below, _)| below != level && level.includes(*below)).map(|(_, it)| it);
    if let Some(refuted) = weaker().find(|it| matches!(it, Verdict::Refuted(_))) {
        return refuted.clone();
    }
    let open = weaker().find(|it| !matches!(it, Verdict::Proved { .. }));
    match (alone, open) {
        (Verdict::Proved { .. }, Some(open)) => open.clone(),
        _ => alone.clone(),
    }
}

fn search<'a>(
    history: &'a History,
    findings: &mut Findings<'a>,
    items: &mut Findings<'a>,
    budget: &mut Budget<'_>,
) -> Result<Judged, Spent> {
    let rows = Rows::new(history, findings, budget)?;
    items.take_over(findings, &[Anomaly::G1a, Anomaly::Garbage, Anomaly::DirtyUpdate]);
    let (edges, single) = (rows.edges(true), rows.edges(false));
    budget.take((edges.len() + single.len()) as u64 * 12)?;
    let found = cycles_of(history, &edges, budget)?;
    let known: BTreeSet<(Id, Id, Kind)> = single.iter().map(|edge| (edge.from, edge.to, edge.kind)).collect();
    let by_range = |edge: &Edge| {
        matches!(edge.kind, Kind::Rw | Kind::Wr) && !known.contains(&(edge.from, edge.to, edge.kind))
    };
    for (cycle, count) in found.named.values() {
        let anomaly = if cycle.edges.iter().any(by_range) {
            Anomaly::Phantom(cycle.shape(), cycle.class())
        } else {
            Anomaly::Cycle(cycle.shape(), cycle.class())
        };
        findings.named_cycle(anomaly, cycle, *count, &why);
    }
    // Single reads may have other, longer cycles under the same names.
    let by_items = cycles_of(history, &single, budget)?;
    for (cycle, count) in by_items.named.values() {
        items.cycle(cycle, *count, &why);
        if findings.get(Anomaly::Cycle(cycle.shape(), cycle.class())).is_none() {
            findings.cycle(cycle, *count, &why);
        }
    }
    let versions: Vec<(Id, Id)> =
        edges.iter().filter(|edge| edge.kind == Kind::Ww).map(|edge| (edge.from, edge.to)).collect();
    let facts = rows.facts(history);
    for (axiom, sessions, anomaly) in [
        (Axiom::Monotonic, false, Anomaly::Otv),
        (Axiom::Atomic, false, Anomaly::FracturedRead),
        (Axiom::Causal, true, Anomaly::CausalViolation),
    ] {
        if let Some(steps) = axioms::refute(&facts, axiom, sessions, &versions, budget)? {
            findings.steps(anomaly, &steps);
        }
    }
    let either = rows.either();
    let mut settled = Vec::new();
    if !either.is_empty() {
        settled = settle(history, &edges, &either, budget);
    }
    Ok(Judged { found, items: by_items, open: rows.open(), undecided: !either.is_empty(), settled })
}

fn cycles_of(history: &History, edges: &[Edge], budget: &mut Budget<'_>) -> Result<Found, Spent> {
    let graph = Graph::new(history, budget, &mut |take| edges.iter().for_each(|&edge| take(edge)))?;
    let components = graph.components(budget)?;
    let mut found = Found::default();
    let writes =
        |id: Id| history.ops(id).iter().any(|micro| matches!(micro.act(), Act::Write(_) | Act::Delete));
    cycles::search(&graph, &components, &|id| !writes(id), &mut found, budget)?;
    Ok(found)
}

fn settle(
    history: &History,
    edges: &[Edge],
    either: &[[Edge; 2]],
    budget: &mut Budget<'_>,
) -> Vec<(Level, Settled)> {
    let mut settled: Vec<(Level, Settled)> = Vec::new();
    for (name, class, snapshot) in complete::LEVELS {
        let Some(level) = Level::named(name) else { continue };
        if !settled.iter().any(|(proved, answer)| *answer == Settled::Holds && proved.includes(level)) {
            settled.push((level, complete::settle_edges(history, edges, either, class, snapshot, budget)));
        }
    }
    settled
}

/// Levels that nothing refuted.
fn rest(level: Level, judged: &Judged) -> Verdict {
    if judged.open {
        let why = "whether some rows were deleted is not known, or rows lived twice".to_owned();
        return Verdict::NotRefuted { why };
    }
    match judged.settled.iter().find(|(asked, _)| *asked == level) {
        Some((_, Settled::Holds)) => Verdict::Proved { by: "search over when rows were missed" },
        Some((_, Settled::Unknown(why))) => Verdict::Unknown { why: why.clone() },
        _ if !judged.undecided => Verdict::Proved { by: "the lives of all rows are known" },
        _ => Verdict::NotRefuted {
            why: "some rows were missed before their insert or after their delete".to_owned(),
        },
    }
}

fn refute_settled(verdicts: &mut [(Level, Verdict)], judged: &Judged) {
    for (refuted, _) in judged.settled.iter().filter(|(_, settled)| *settled == Settled::Fails) {
        for (level, verdict) in verdicts.iter_mut() {
            if level.includes(*refuted) && !matches!(verdict, Verdict::Refuted(_)) {
                *verdict = Verdict::Refuted(Witness {
                    kind: format!("not {}", refuted.name()),
                    words: "whether rows were missed before their insert or after their delete: no way is free of a \
                            forbidden cycle"
                        .to_owned(),
                    core: Vec::new(),
                    by: "search over when rows were missed",
                });
            }
        }
    }
}

/// Why one transaction comes before the other.
fn why(history: &History, edge: Edge) -> String {
    if let Some(why) = why_order(history, edge) {
        return why;
    }
    let Edge { from, to, kind } = edge;
    let (writer, reader) = if kind == Kind::Rw { (to, from) } else { (from, to) };
    let fits = |micro: &&super::history::Micro| {
        let key = micro.key();
        let row = history.keys()[key].name;
        let inserts = matches!(micro.act(), Act::Write(_));
        (inserts || matches!(micro.act(), Act::Delete))
            && history.ops(reader).iter().any(|read| match read.act() {
                Act::Scan(at) => {
                    let scan = history.scan(at);
                    let there = scan.rows.iter().any(|&(row, _)| row as usize == key);
                    scan.low <= row && row <= scan.high && there == (inserts == (kind == Kind::Wr))
                }
                Act::Read(value) => {
                    read.key() == key
                        && (value != super::history::Element::NIL) == (inserts == (kind == Kind::Wr))
                }
                _ => kind == Kind::Ww && read.key() == key,
            })
    };
    let Some(micro) = history.ops(writer).iter().find(fits) else {
        return "the lives of rows say so".to_owned();
    };
    let row = name(history, micro.key());
    let did = if matches!(micro.act(), Act::Delete) { "delete" } else { "insert" };
    match kind {
        Kind::Ww => format!("row {row} was inserted before it was deleted"),
        Kind::Wr => format!("T{reader} saw T{writer}'s {did} of row {row}"),
        _ => format!("T{reader} did not see T{writer} {did} row {row}"),
    }
}
