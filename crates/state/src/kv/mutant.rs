//! Planted bugs of the machine: real bugs of the field, compiled in by the feature `mutants` and chosen at run time.

use super::Kv;
use crate::table;
use quorate_base::EntryId;

/// Real bugs of the field, to be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// The last token counts, whatever was shown before (locks without fencing: Kleppmann 2016).
    FenceAnyToken,
    /// Tokens are kept in memory alone.
    FenceNotStored,
    /// The record of the applied index is written one entry behind what it stands for (etcd#13766).
    AppliedIndexNotAtomic,
    /// A compaction takes the events of the revision that it names, too (etcd#18089, etcd#19179).
    WatchLostEvent,
}

impl Mutant {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 4] = [
        ("fence-any-token", Self::FenceAnyToken),
        ("fence-not-stored", Self::FenceNotStored),
        ("applied-index-not-atomic", Self::AppliedIndexNotAtomic),
        ("watch-lost-event", Self::WatchLostEvent),
    ];
}

impl Kv {
    /// Plants a bug; without the feature `mutants` it has no effect.
    pub fn plant(&mut self, mutant: Option<Mutant>) {
        self.mutant = mutant;
    }

    /// The same in the machine of tables.
    pub fn plant_in_tables(&mut self, mutant: Option<table::Mutant>) {
        self.tables.plant(mutant);
    }

    /// The same in its part in transactions over several shards.
    pub fn plant_in_transactions(&mut self, mutant: Option<quorate_protocol::commit::Mutant>) {
        self.tables.plant_in_transactions(mutant);
    }

    pub(super) fn has(&self, mutant: Mutant) -> bool {
        cfg!(feature = "mutants") && self.mutant == Some(mutant)
    }

    /// The entry that the next checkpoint says it stands at: the last that was applied.
    pub fn mark(&self) -> EntryId {
        if self.has(Mutant::AppliedIndexNotAtomic) { self.before } else { self.meta.applied }
    }
}
