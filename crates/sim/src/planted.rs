//! Planted bugs: real bugs of the field, compiled in by the feature `mutants` and chosen at run time by name.
//!
//! Each stands with the part that it breaks; this is where they come together, since the world is made of all parts. Without the
//! feature a chosen one has no effect, and [`BUILT_IN`] says so.

use crate::harmless::Harmless;
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
        raft.chain(journal).chain(kv).chain(table).chain(commit)
    }

    /// The changes that are none, with their names.
    pub fn harmless() -> impl Iterator<Item = (&'static str, Self)> {
        Harmless::ALL.iter().map(|&(name, change)| (name, Self::Harmless(change)))
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().chain(Self::harmless()).find(|&(n, _)| n == name).map(|(_, planted)| planted)
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

    pub(crate) fn journal(self) -> Option<journal::Mutant> {
        if let Self::Journal(mutant) = self { Some(mutant) } else { None }
    }
}
