//! From what was found to a verdict on every level.

use super::anomaly::Anomaly;
use super::cycles::Found;
use super::findings::{Findings, spent};
use super::levels::Level;
use crate::budget::Spent;
use crate::verdict::{Verdict, Witness};

/// The verdicts on all levels. `rest` judges those that nothing refutes; what it proves holds for all weaker levels too.
pub(super) fn verdicts(
    found: Result<&Found, Spent>,
    findings: &Findings<'_>,
    txns: usize,
    rest: &dyn Fn(Level) -> Verdict,
) -> Vec<(Level, Verdict)> {
    let mut all: Vec<(Level, Verdict)> = Level::all()
        .map(|level| {
            let verdict = match (refutation(level, found.ok(), findings), found) {
                (Some(witness), _) => Verdict::Refuted(witness),
                (None, Err(by)) => Verdict::Unknown { why: spent(by, txns) },
                (None, Ok(found)) if cut(level, found) => {
                    Verdict::Unknown { why: "the search for cycles came to the end of its steps".to_owned() }
                }
                (None, Ok(_)) => rest(level),
            };
            (level, verdict)
        })
        .collect();
    let contradiction =
        [Anomaly::Internal, Anomaly::FutureRead].into_iter().find(|&it| findings.get(it).is_some());
    if let Some(anomaly) = contradiction {
        for (_, verdict) in &mut all {
            if matches!(verdict, Verdict::Proved { .. }) {
                let why = format!(
                    "a transaction contradicts itself ({}): weaker levels do not speak of that, and no history of Adya's has it",
                    anomaly.name()
                );
                *verdict = Verdict::NotRefuted { why };
            }
        }
    }
    for at in (0..all.len()).rev() {
        let (level, Verdict::Proved { by }) = all[at] else { continue };
        for (weaker, verdict) in &mut all[..at] {
            if level.includes(*weaker) && !matches!(verdict, Verdict::Proved { .. } | Verdict::Refuted(_)) {
                *verdict = Verdict::Proved { by };
            }
        }
    }
    all
}

/// Something that the level or a weaker one forbids.
fn refutation(level: Level, found: Option<&Found>, findings: &Findings<'_>) -> Option<Witness> {
    Level::all().filter(|&below| level.includes(below)).find_map(|below| {
        let single = below.row().anomalies.iter().find_map(|&anomaly| findings.get(anomaly));
        let cycle = || {
            let (pattern, class) = below.row().cycles?;
            let cycle = found?.of(pattern, class)?;
            let (shape, class) = (cycle.shape(), cycle.class());
            findings
                .get(Anomaly::Phantom(shape, class))
                .or_else(|| findings.get(Anomaly::Cycle(shape, class)))
        };
        single.or_else(cycle).map(|finding| finding.witness.clone())
    })
}

/// True where a search that the level needs was cut short.
fn cut(level: Level, found: &Found) -> bool {
    Level::all()
        .filter(|&below| level.includes(below))
        .filter_map(|below| below.row().cycles)
        .any(|(pattern, class)| found.unsearched(pattern, class))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::anomaly::{CLASSES, PATTERNS};
    use crate::txn::history::Builder;

    /// Claim: where the search for a pattern was cut short, the levels that forbid it, themselves or by what they include, are
    /// unknown, and no others.
    #[test]
    fn what_was_not_searched_is_not_proved() {
        let history = Builder::new().finish().unwrap();
        let findings = Findings::new(&history, "test");
        let proved = |_| Verdict::Proved { by: "nothing was found" };
        for (pattern, class) in PATTERNS.into_iter().flat_map(|it| CLASSES.map(|class| (it, class))) {
            let found = Found::cut_short(pattern, class);
            for (level, verdict) in verdicts(Ok(&found), &findings, 0, &proved) {
                let mut included = Level::all().filter(|&below| level.includes(below));
                let needs = included.any(|below| below.row().cycles == Some((pattern, class)));
                let unknown = matches!(verdict, Verdict::Unknown { .. });
                assert_eq!(unknown, needs, "{pattern:?} {class:?}: {}: {verdict:?}", level.name());
            }
        }
    }
}
