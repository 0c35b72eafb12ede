//! The lattice of levels, as data: what each forbids beyond the weaker levels that it includes.
//!
//! The levels and their order are those of Elle's model graph (after Adya 1999, Bailis and others 2014, Cerone and Gotsman
//! 2015 to 2018), with PSI, prefix consistency, causal consistency and the strong and strong-session forms. They are given by
//! what their dependency graphs forbid:
//!
//! - PSI forbids cycles with at most one rw, prefix consistency those in which each rw follows a wr (or the order of a
//!   session), snapshot isolation those without two rw in a row, serializability all (Cerone and Gotsman, JACM 2018; Cerone,
//!   Gotsman and Yang, CONCUR 2017).
//! - *strong session* adds the order of each process to the graph, *strong* (and *strict*) real time. Levels without these
//!   words know neither, except causal consistency, which is nothing without sessions.
//! - Monotonic atomic view, read atomic and causal are Biswas and Enea's axioms (OOPSLA 2019), the first two without sessions.
//! - Predicates are not part of this lattice: `repeatable-read` and `serializable` differ here only by reads of a
//!   transaction's own writes. The predicate workload judges phantoms.

use super::anomaly::{Anomaly, Class, Pattern};

/// A level: its place in [`LEVELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(usize);

/// One level.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// The levels next below it.
    pub weaker: &'static [&'static str],
    /// The anomalies that it forbids and those do not.
    pub anomalies: &'static [Anomaly],
    /// The cycles that it forbids and those do not.
    pub cycles: Option<(Pattern, Class)>,
}

const fn row(
    name: &'static str,
    aliases: &'static [&'static str],
    weaker: &'static [&'static str],
    anomalies: &'static [Anomaly],
    cycles: Option<(Pattern, Class)>,
) -> Row {
    Row { name, aliases, weaker, anomalies, cycles }
}

use Anomaly as A;
use Class::{Plain, Process, Realtime};
use Pattern as P;

/// All levels; the weaker ones of each stand before it.
pub const LEVELS: [Row; 23] = [
    row("read-uncommitted", &["PL-1"], &[], &[A::DuplicateElements], Some((P::Ww, Plain))),
    row(
        "read-committed",
        &["PL-2"],
        &["read-uncommitted"],
        &[A::G1a, A::G1b, A::Garbage, A::IncompatibleOrder, A::DirtyUpdate],
        Some((P::NoRw, Plain)),
    ),
    row("cursor-stability", &["PL-CS"], &["read-committed"], &[A::LostUpdate], None),
    row("monotonic-atomic-view", &["MAV", "PL-2L"], &["read-committed"], &[A::Otv], None),
    row(
        "read-atomic",
        &["RA"],
        &["monotonic-atomic-view"],
        &[A::FracturedRead, A::Internal, A::FutureRead],
        None,
    ),
    row(
        "consistent-view",
        &["PL-2+"],
        &["cursor-stability", "monotonic-atomic-view"],
        &[A::FracturedRead],
        Some((P::OneRw, Plain)),
    ),
    row("update-serializable", &["PL-3U"], &["consistent-view"], &[], Some((P::OneReader, Plain))),
    row(
        "repeatable-read",
        &["PL-2.99"],
        &["cursor-stability", "monotonic-atomic-view"],
        &[A::FracturedRead],
        Some((P::Any, Plain)),
    ),
    row("parallel-snapshot-isolation", &["PSI"], &["read-atomic", "consistent-view"], &[], None),
    row("prefix", &["prefix-consistency"], &["read-atomic"], &[], Some((P::SeenRw, Plain))),
    row(
        "snapshot-isolation",
        &["SI", "PL-SI"],
        &["parallel-snapshot-isolation", "prefix"],
        &[],
        Some((P::NonadjacentRw, Plain)),
    ),
    row(
        "serializable",
        &["PL-3"],
        &["snapshot-isolation", "repeatable-read", "update-serializable"],
        &[],
        Some((P::Any, Plain)),
    ),
    row(
        "strong-session-read-committed",
        &["strong-session-PL-2"],
        &["read-committed"],
        &[],
        Some((P::NoRw, Process)),
    ),
    row(
        "causal",
        &["CC", "transactional-causal", "CCv"],
        &["strong-session-read-committed", "read-atomic"],
        &[A::CausalViolation],
        None,
    ),
    row(
        "strong-session-PSI",
        &["strong-session-parallel-snapshot-isolation"],
        &["parallel-snapshot-isolation", "causal"],
        &[],
        Some((P::OneRw, Process)),
    ),
    row("strong-session-prefix", &[], &["prefix", "causal"], &[], Some((P::SeenRw, Process))),
    row(
        "strong-session-snapshot-isolation",
        &["strong-session-SI"],
        &["snapshot-isolation", "strong-session-PSI", "strong-session-prefix"],
        &[],
        Some((P::NonadjacentRw, Process)),
    ),
    row(
        "strong-session-serializable",
        &["strong-session-PL-3"],
        &["serializable", "strong-session-snapshot-isolation"],
        &[],
        Some((P::Any, Process)),
    ),
    row(
        "strong-read-committed",
        &["strong-PL-2"],
        &["strong-session-read-committed"],
        &[],
        Some((P::NoRw, Realtime)),
    ),
    row(
        "strong-PSI",
        &["strong-parallel-snapshot-isolation"],
        &["strong-read-committed", "strong-session-PSI"],
        &[A::LostAppend],
        Some((P::OneRw, Realtime)),
    ),
    row(
        "strong-prefix",
        &[],
        &["strong-read-committed", "strong-session-prefix"],
        &[],
        Some((P::SeenRw, Realtime)),
    ),
    row(
        "strong-snapshot-isolation",
        &["strong-SI", "conventional-SI"],
        &["strong-session-snapshot-isolation", "strong-PSI", "strong-prefix"],
        &[],
        Some((P::NonadjacentRw, Realtime)),
    ),
    row(
        "strict-serializable",
        &["strong-serializable", "PL-SS", "strict-1SR"],
        &["strong-session-serializable", "strong-snapshot-isolation"],
        &[],
        Some((P::Any, Realtime)),
    ),
];

impl Level {
    /// All levels, weaker ones first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..LEVELS.len()).map(Self)
    }

    /// The level of a name or alias, whatever its case.
    pub fn named(name: &str) -> Option<Self> {
        let fits = |row: &Row| {
            std::iter::once(&row.name).chain(row.aliases).any(|known| known.eq_ignore_ascii_case(name))
        };
        LEVELS.iter().position(fits).map(Self)
    }

    /// What the lattice says of it.
    pub fn row(self) -> &'static Row {
        &LEVELS[self.0]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Its place among [`Level::all`].
    pub fn index(self) -> usize {
        self.0
    }

    /// The levels next below it.
    pub fn below(self) -> impl Iterator<Item = Self> {
        self.row().weaker.iter().filter_map(|name| Self::named(name))
    }

    /// True where each history of this level is one of the other.
    pub fn includes(self, weaker: Self) -> bool {
        self == weaker || self.below().any(|below| below.includes(weaker))
    }

    /// The least of some levels: those that include no other of them.
    pub fn minimal(of: &[Self]) -> Vec<Self> {
        of.iter()
            .copied()
            .filter(|&level| !of.iter().any(|&other| other != level && level.includes(other)))
            .collect()
    }

    /// The greatest of some levels: those that no other of them includes.
    pub fn maximal(of: &[Self]) -> Vec<Self> {
        of.iter()
            .copied()
            .filter(|&level| !of.iter().any(|&other| other != level && other.includes(level)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: every name in the lattice is known, stands once, and weaker levels stand before stronger ones.
    #[test]
    fn the_lattice_is_well_formed() {
        for level in Level::all() {
            for name in level.row().weaker {
                let weaker = Level::named(name).unwrap_or_else(|| panic!("{name} is no level"));
                assert!(weaker.index() < level.index(), "{name} stands behind {}", level.name());
            }
            for name in std::iter::once(&level.row().name).chain(level.row().aliases) {
                assert_eq!(Level::named(name), Some(level), "{name} stands twice");
            }
        }
    }

    /// Claim: what the notes call incomparable is, and each level includes read uncommitted.
    #[test]
    fn incomparable_levels_are() {
        let level = |name| Level::named(name).unwrap();
        for (one, other) in [
            ("SI", "repeatable-read"),
            ("strong-session-SI", "serializable"),
            ("causal", "serializable"),
            ("PSI", "prefix"),
            ("update-serializable", "SI"),
        ] {
            assert!(
                !level(one).includes(level(other)) && !level(other).includes(level(one)),
                "{one}, {other}"
            );
        }
        assert!(Level::all().all(|each| each.includes(level("PL-1"))));
        assert!(Level::all().all(|each| level("strict-serializable").includes(each)));
    }

    /// Claim: the minimum and maximum of a set of levels are antichains of it.
    #[test]
    fn minimal_and_maximal() {
        let level = |name| Level::named(name).unwrap();
        let some = [level("SI"), level("serializable"), level("repeatable-read"), level("PL-2")];
        assert_eq!(Level::minimal(&some), [level("PL-2")]);
        assert_eq!(Level::maximal(&some), [level("serializable")]);
        assert_eq!(Level::minimal(&some[..3]), [level("SI"), level("repeatable-read")]);
    }
}
