//! Planted bugs: real bugs of the field, compiled in by the feature `mutants` and chosen at run time by name.
//!
//! Each stands with the part that it breaks; this is where they come together, since the world is made of all parts. Without the
//! feature a chosen one has no effect, and [`BUILT_IN`] says so.

use crate::harmless::Harmless;
use crate::shrink::kind_of;
use quorate_node::lane::ClosedMutant;
use quorate_protocol::{commit, raft};
use quorate_state::{kv, table};
use quorate_storage::journal;

/// Whether this build has the planted bugs.
pub const BUILT_IN: bool = cfg!(feature = "mutants");

/// Those of transactions over shards that stand in nodes; those of the machine and of leaders have scripts and random schedules of
/// their own (`crates/protocol/tests/commit`, `quorate_state::table`).
const IN_NODES: [(&str, commit::Mutant); 4] = [
    ("presumed-abort-by-timeout", commit::Mutant::PresumedAbort),
    ("intent-read-returns-pre-image-after-ack", commit::Mutant::IntentReadsOld),
    ("token-outside-transaction", commit::Mutant::TokenOutside),
    ("retry-before-abort", commit::Mutant::RetryBeforeAbort),
];

/// The kinds of violations that say that nothing goes on any more.
const STUCK: [&str; 2] = ["Liveness", "Livelock"];

/// Bugs that make nothing wrong, and let nothing go on: they show in that alone, and no other bug is taken as caught by it.
const STICK: [Planted; 3] = [
    Planted::Raft(raft::Mutant::PrevoteDeadlock),
    Planted::Raft(raft::Mutant::AutoLeaveLost),
    Planted::Raft(raft::Mutant::LearnerRefusesVote),
];

/// Bugs that one check is for, by the kind of what it says.
const CHECKED: [(Planted, &[&str]); 11] = [
    (Planted::Raft(raft::Mutant::PromoteLaggingLearner), &["Admission"]),
    (Planted::Raft(raft::Mutant::IdGivenTwice), &["Identities"]),
    (Planted::Kv(kv::Mutant::FenceAnyToken), &["Fences"]),
    (Planted::Table(table::Mutant::TokenForgotten), &["Tokens"]),
    (Planted::Table(table::Mutant::TokenOfRefused), &["Tokens"]),
    // What is sent again may be appended twice.
    (
        Planted::Table(table::Mutant::TokenInMemory),
        &["Tokens", "State Machine Safety", "Strict serializability of items"],
    ),
    (Planted::Table(table::Mutant::IndexRowLeft), &["Index"]),
    (Planted::Closed(ClosedMutant::CloseWithoutRound), &["Staleness"]),
    (Planted::Closed(ClosedMutant::ServeBeforeApplied), &["Staleness"]),
    (Planted::Closed(ClosedMutant::PassIntents), &["Staleness"]),
    (Planted::Closed(ClosedMutant::TrustsSetClock), &["Staleness"]),
];

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// In the Raft core.
    Raft(raft::Mutant),
    /// In the journal.
    Journal(journal::Mutant),
    /// In the machine of the key-value space.
    Kv(kv::Mutant),
    /// In the machine of tables.
    Table(table::Mutant),
    /// In what nodes do with transactions over shards.
    Commit(commit::Mutant),
    /// In reads with a bound on staleness.
    Closed(ClosedMutant),
    /// None: a change that breaks nothing.
    Harmless(Harmless),
}

impl Planted {
    /// All bugs, with their names.
    pub fn all() -> impl Iterator<Item = (&'static str, Self)> {
        let raft = raft::Mutant::ALL.iter().map(|&(name, mutant)| (name, Self::Raft(mutant)));
        let journal = journal::Mutant::ALL.iter().map(|&(name, mutant)| (name, Self::Journal(mutant)));
        let kv = kv::Mutant::ALL.iter().map(|&(name, mutant)| (name, Self::Kv(mutant)));
        let table = table::Mutant::ALL.iter().map(|&(name, mutant)| (name, Self::Table(mutant)));
        let commit = IN_NODES.iter().map(|&(name, mutant)| (name, Self::Commit(mutant)));
        let closed = ClosedMutant::ALL.iter().map(|&(name, mutant)| (name, Self::Closed(mutant)));
        raft.chain(journal).chain(kv).chain(table).chain(commit).chain(closed)
    }

    /// The changes that are none, with their names.
    pub fn harmless() -> impl Iterator<Item = (&'static str, Self)> {
        Harmless::ALL.iter().map(|&(name, change)| (name, Self::Harmless(change)))
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().chain(Self::harmless()).find(|&(n, _)| n == name).map(|(_, planted)| planted)
    }

    /// Whether it is this bug that a violation shows: else something else is broken besides, and it has not been caught. (What breaks
    /// nothing shows in whatever is raised.)
    pub fn shows_in(self, violation: &str) -> bool {
        let kind = kind_of(violation);
        if matches!(self, Self::Harmless(_)) {
            return true;
        }
        if let Some((_, kinds)) = CHECKED.iter().find(|(planted, _)| *planted == self) {
            return kinds.contains(&kind.as_str());
        }
        STUCK.contains(&kind.as_str()) == STICK.contains(&self)
    }

    /// Whether it is this change.
    pub(crate) fn is(self, change: Harmless) -> bool {
        BUILT_IN && self == Self::Harmless(change)
    }

    pub(crate) fn raft(self) -> Option<raft::Mutant> {
        if let Self::Raft(mutant) = self { Some(mutant) } else { None }
    }

    pub(crate) fn kv(self) -> Option<kv::Mutant> {
        if let Self::Kv(mutant) = self { Some(mutant) } else { None }
    }

    pub(crate) fn table(self) -> Option<table::Mutant> {
        if let Self::Table(mutant) = self { Some(mutant) } else { None }
    }

    pub(crate) fn commit(self) -> Option<commit::Mutant> {
        if let Self::Commit(mutant) = self { Some(mutant) } else { None }
    }

    pub(crate) fn closed(self) -> Option<ClosedMutant> {
        if let Self::Closed(mutant) = self { Some(mutant) } else { None }
    }

    pub(crate) fn journal(self) -> Option<journal::Mutant> {
        if let Self::Journal(mutant) = self { Some(mutant) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_caught_by_what_it_breaks_alone() {
        let caught = |name: &str, violation| Planted::named(name).map(|planted| planted.shows_in(violation));
        let stuck = "Liveness: node 5 was removed and has not stopped, 20s after healing";
        let unsafe_ = "State Machine Safety: index 7 was committed in term 2, and by node 3 in term 4";
        assert_eq!([caught("fig8-commit", stuck), caught("fig8-commit", unsafe_)], [Some(false), Some(true)]);
        assert_eq!(
            [caught("auto-leave-lost", stuck), caught("auto-leave-lost", unsafe_)],
            [Some(true), Some(false)]
        );
        assert_eq!(caught("fence-any-token", unsafe_), Some(false));
        assert_eq!(caught("fence-any-token", "Fences: token 3 of a was taken"), Some(true));
        for (name, planted) in Planted::harmless() {
            assert!(planted.shows_in(stuck) && planted.shows_in(unsafe_), "{name}");
        }
    }
}
