//! The judge of registers that are read and written. The pages of [`super::registers`], [`super::axioms`], [`super::cycles`]
//! and [`super::complete`] say what each step does.

use super::anomaly::Anomaly;
use super::axioms::{self, Axiom};
use super::complete::{self, Settled};
use super::cycles::{self, Found};
use super::findings::{Findings, name, spent, why_order};
use super::graph::{Edge, Graph, Kind};
use super::history::{Act, History, Id};
use super::levels::Level;
use super::registers::{Assume, Registers};
use super::{Options, Report, judge};
use crate::budget::{Budget, Spent};
use crate::verdict::{Verdict, Witness};

/// The name of the algorithm in witnesses.
const BY: &str = "wr edges and chains of read-modify-writes";

struct Judged {
    found: Found,
    /// No cycle in the whole graph.
    acyclic: bool,
    chained: bool,
    ambiguous: bool,
    /// What the search for an order settled, by level.
    settled: Vec<(Level, Settled)>,
    /// What ended the search for what an axiom forbids.
    ended: Vec<(Anomaly, Spent)>,
    /// Assumptions that the history refutes, each with a key that does.
    contradicted: Vec<(Assume, usize)>,
    txns: usize,
}

/// Judges by every level.
pub(super) fn check(history: &History, options: &Options, budget: &mut Budget<'_>) -> Report {
    let (report, contradicted) = check_once(history, options, budget);
    if contradicted.is_empty() { report } else { without(history, options, &contradicted, budget) }
}

/// The same, with the assumptions that the history refutes, each with a key that does.
fn check_once(
    history: &History,
    options: &Options,
    budget: &mut Budget<'_>,
) -> (Report, Vec<(Assume, usize)>) {
    let mut findings = Findings::new(history, BY);
    let judged = search(history, options, &mut findings, budget);
    let found = judged.as_ref().map(|judged| &judged.found).map_err(|&spent| spent);
    let open = |level| {
        judged.as_ref().map_or_else(|_| Verdict::Unknown { why: String::new() }, |judged| rest(level, judged))
    };
    let mut verdicts = judge::verdicts(found, &findings, history.len(), &open);
    if let Ok(judged) = &judged {
        refute_settled(&mut verdicts, judged);
    }
    let contradicted = judged.as_ref().map_or_else(|_| Vec::new(), |judged| judged.contradicted.clone());
    let notes = notes(&findings, options);
    let report = Report { findings: findings.all().cloned().collect(), verdicts, notes };
    (report, contradicted)
}

/// What a history says of the levels where it refutes assumptions itself: what it says without them. Only the levels that imply
/// a refuted assumption are refuted with it; of the others nothing follows from what is false.
fn without(
    history: &History,
    options: &Options,
    contradicted: &[(Assume, usize)],
    budget: &mut Budget<'_>,
) -> Report {
    let refuted = |assume: &Assume| contradicted.iter().any(|(other, _)| other == assume);
    let kept = options.assume.iter().copied().filter(|assume| !refuted(assume)).collect();
    let (mut report, _) = check_once(history, &Options { assume: kept, ..options.clone() }, budget);
    for &(assume, key) in contradicted {
        let words = format!(
            "the assumption {} is refuted: it would put versions of key {} before each other",
            assume.name(),
            name(history, key)
        );
        let least = match assume {
            Assume::SequentialKeys => "strong-session-serializable",
            _ => "strict-serializable",
        };
        for (level, verdict) in &mut report.verdicts {
            if matches!(verdict, Verdict::Refuted(_))
                || !Level::named(least).is_some_and(|it| level.includes(it))
            {
                continue;
            }
            *verdict = Verdict::Refuted(Witness {
                kind: format!("{} refuted", assume.name()),
                words: format!("{words}, and this level implies it"),
                core: Vec::new(),
                by: BY,
            });
        }
        report.notes.push(format!("{words}. Nothing else is concluded from it."));
    }
    report
}

fn notes(findings: &Findings<'_>, options: &Options) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(write) = findings.ambiguous_write() {
        notes.push(format!(
            "{write}: values must be unique for each key. Such values are not followed, nothing is proved."
        ));
    }
    for assume in &options.assume {
        notes.push(match assume {
            Assume::SequentialKeys => {
                "assumed, not seen: each key by itself follows the order of each process".to_owned()
            }
            Assume::LinearizableKeys => "assumed, not seen: each key by itself is linearizable".to_owned(),
            Assume::WfrKeys => {
                "wfr-keys is used unasked: a write is later than what its transaction read of the key"
                    .to_owned()
            }
        });
    }
    notes
}

fn search(
    history: &History,
    options: &Options,
    findings: &mut Findings<'_>,
    budget: &mut Budget<'_>,
) -> Result<Judged, Spent> {
    let registers = Registers::new(history, findings, budget)?;
    let graph = Graph::new(history, budget, &mut |take| {
        registers.edges(take);
        for &assume in &options.assume {
            registers.assumed(history, assume, take);
        }
    })?;
    let components = graph.components(budget)?;
    let mut found = Found::default();
    let writes = |id: Id| history.ops(id).iter().any(|micro| matches!(micro.act(), Act::Write(_)));
    cycles::search(&graph, &components, &|id| !writes(id), &mut found, budget)?;
    for (cycle, count) in found.named.values() {
        findings.cycle(cycle, *count, &|history, edge| why(history, edge));
    }
    let acyclic = components.is_empty();
    let mut ended = Vec::new();
    if !(acyclic && registers.chained()) {
        ended = by_axioms(history, &registers, findings, budget)?;
    }
    let mut settled = Vec::new();
    if options.complete && !registers.chained() && !registers.ambiguous() {
        settled = settle(history, &registers, findings, budget);
    }
    let (chained, ambiguous) = (registers.chained(), registers.ambiguous());
    let refutes = |&assume: &Assume| Some((assume, registers.contradicted(history, assume)?));
    let contradicted = options.assume.iter().filter_map(refutes).collect();
    Ok(Judged { found, acyclic, chained, ambiguous, settled, ended, contradicted, txns: history.len() })
}

/// The three levels that their axioms decide.
fn by_axioms(
    history: &History,
    registers: &Registers,
    findings: &mut Findings<'_>,
    budget: &mut Budget<'_>,
) -> Result<Vec<(Anomaly, Spent)>, Spent> {
    let facts = registers.facts(history);
    budget.take(facts.bytes())?;
    let mut ended = Vec::new();
    for (axiom, sessions, anomaly) in [
        (Axiom::Monotonic, false, Anomaly::Otv),
        (Axiom::Atomic, false, Anomaly::FracturedRead),
        (Axiom::Causal, true, Anomaly::CausalViolation),
    ] {
        let taken = budget.bytes();
        match axioms::refute(&facts, axiom, sessions, &[], budget) {
            Ok(Some(steps)) => findings.steps(anomaly, &steps),
            Ok(None) => {}
            Err(by) => ended.push((anomaly, by)),
        }
        budget.give(budget.bytes() - taken);
    }
    budget.give(facts.bytes());
    Ok(ended)
}

/// Serializable and snapshot isolation, plain and strong, by search. A level that a proved one includes is not asked again.
fn settle(
    history: &History,
    registers: &Registers,
    findings: &Findings<'_>,
    budget: &mut Budget<'_>,
) -> Vec<(Level, Settled)> {
    let wrong = [Anomaly::G1a, Anomaly::G1b, Anomaly::Garbage, Anomaly::Internal, Anomaly::FutureRead];
    let mut settled: Vec<(Level, Settled)> = Vec::new();
    if wrong.into_iter().any(|anomaly| findings.get(anomaly).is_some()) {
        return settled;
    }
    for (level, class, snapshot) in complete::LEVELS {
        let Some(level) = Level::named(level) else { continue };
        let done = settled.iter().any(|(proved, answer)| *answer == Settled::Holds && proved.includes(level));
        if !done {
            settled.push((level, complete::settle(history, registers, class, snapshot, budget)));
        }
    }
    settled
}

/// Levels that nothing refuted.
fn rest(level: Level, judged: &Judged) -> Verdict {
    if level.name() == "read-uncommitted" {
        return Verdict::Proved { by: "any order of writes does" };
    }
    if judged.ambiguous {
        return Verdict::NotRefuted {
            why: "values are not unique: who read from whom cannot be told".to_owned(),
        };
    }
    if let Some((_, settled)) = judged.settled.iter().find(|(asked, _)| *asked == level) {
        match settled {
            Settled::Holds => return Verdict::Proved { by: "search over the orders of versions" },
            Settled::Unknown(why) => return Verdict::Unknown { why: why.clone() },
            Settled::Fails => {}
        }
    }
    if let Some(&(_, by)) = judged.ended.iter().find(|(anomaly, _)| level.row().anomalies.contains(anomaly)) {
        return Verdict::Unknown { why: spent(by, judged.txns) };
    }
    match level.name() {
        "read-committed" | "strong-session-read-committed" | "strong-read-committed" => {
            Verdict::Proved { by: "no cycle of reads: any order of versions that follows them does" }
        }
        "monotonic-atomic-view" | "read-atomic" | "causal" => Verdict::Proved { by: "AWDIT" },
        _ if judged.chained && judged.acyclic => Verdict::Proved { by: "chains of read-modify-writes, no cycle" },
        _ if judged.chained => Verdict::Proved { by: "chains of read-modify-writes, with every order of versions known" },
        _ => Verdict::NotRefuted {
            why: "the order of versions is not known, as some were written without being read first: --complete searches, \
                  or --assume an order"
                .to_owned(),
        },
    }
}

/// What the search for an order refuted: the witness is the level's own core. Without predicates repeatable read forbids all cycles that
/// serializability does, and what else that forbids keeps the search from being made.
fn refute_settled(verdicts: &mut [(Level, Verdict)], judged: &Judged) {
    let follows = |level: Level, refuted: Level| {
        level.includes(refuted) || (level.name() == "repeatable-read" && refuted.name() == "serializable")
    };
    for (refuted, _) in judged.settled.iter().filter(|(_, settled)| *settled == Settled::Fails) {
        for (level, verdict) in verdicts.iter_mut() {
            if follows(*level, *refuted) && !matches!(verdict, Verdict::Refuted(_)) {
                *verdict = Verdict::Refuted(crate::verdict::Witness {
                    kind: format!("not {}", refuted.name()),
                    words:
                        "no order of the versions of all keys is free of forbidden cycles: all were excluded"
                            .to_owned(),
                    core: Vec::new(),
                    by: "search over the orders of versions",
                });
            }
        }
    }
}

/// Why one transaction comes before the other.
fn why(history: &History, edge: Edge) -> String {
    why_order(history, edge)
        .or_else(|| why_registers(history, edge))
        .unwrap_or_else(|| "their versions say so".to_owned())
}

fn why_registers(history: &History, edge: Edge) -> Option<String> {
    let Edge { from, to, kind } = edge;
    if kind == Kind::Wr {
        return history.ops(from).iter().find_map(|write| {
            let Act::Write(element) = write.act() else { return None };
            let reads = |micro: &super::history::Micro| {
                micro.key() == write.key() && micro.act() == Act::Read(element)
            };
            history.ops(to).iter().any(reads).then(|| {
                format!(
                    "T{to} read {} of key {}, which T{from} wrote",
                    history.show(element),
                    name(history, write.key())
                )
            })
        });
    }
    let key = history.ops(from).iter().map(|micro| micro.key()).find(|&key| {
        let writes =
            |micro: &super::history::Micro| micro.key() == key && matches!(micro.act(), Act::Write(_));
        let reads = |micro: &super::history::Micro| micro.key() == key && matches!(micro.act(), Act::Read(_));
        history.ops(to).iter().any(writes) && (kind == Kind::Ww || history.ops(from).iter().any(reads))
    })?;
    let key = name(history, key);
    Some(match kind {
        Kind::Rw => format!("T{from} read an older version of key {key} than the one that T{to} wrote"),
        _ => format!("T{from} wrote an older version of key {key} than T{to}"),
    })
}
