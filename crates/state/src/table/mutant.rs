//! Planted bugs of the machine of tables: real bugs of the field, compiled in by the feature `mutants` and chosen at run time.

use super::Tables;
use bytes::Bytes;
use quorate_item::Item;
use std::collections::BTreeMap;

/// Real bugs of the field, to be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// No token is remembered: a transaction that is sent again is done again (`MongoDB` 4.2.6, SERVER-48307).
    TokenForgotten,
    /// Tokens are kept in memory alone (Redpanda#3039).
    TokenInMemory,
    /// The token of a refused transaction is remembered too: it counts as done.
    TokenOfRefused,
    /// Of a transaction that is refused the operations that nothing stands against are done.
    AppliedInPart,
    /// A condition is held against the item before the last (`TiDB` 2.1.7: a retry with what was read before).
    ConditionStale,
    /// A transaction's condition checks, which write nothing, are not looked at (PostgreSQL 12.3: an antidependency that is missed).
    CheckNotHeld,
    /// An item that moves within an index leaves its old row there (`FaunaDB` 2.5.4).
    IndexRowLeft,
}

impl Mutant {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 7] = [
        ("table-token-forgotten", Self::TokenForgotten),
        ("table-token-in-memory", Self::TokenInMemory),
        ("table-token-of-refused", Self::TokenOfRefused),
        ("table-applied-in-part", Self::AppliedInPart),
        ("table-condition-stale", Self::ConditionStale),
        ("table-check-not-held", Self::CheckNotHeld),
        ("table-index-row-left", Self::IndexRowLeft),
    ];
}

/// What planted bugs remember, beside the state.
#[derive(Default)]
pub(super) struct Memory {
    /// Items before their last change, by their rows.
    pub(super) items: BTreeMap<Vec<u8>, Option<Item>>,
    /// Rows of tokens.
    pub(super) tokens: BTreeMap<Vec<u8>, Bytes>,
}

impl Tables {
    /// Plants a bug; without the feature `mutants` it has no effect.
    pub(crate) fn plant(&mut self, mutant: Option<Mutant>) {
        self.mutant = mutant;
    }

    /// Plants one of transactions over several shards.
    pub(crate) fn plant_in_transactions(&mut self, mutant: Option<quorate_protocol::commit::Mutant>) {
        self.planted_in_transactions = mutant;
    }

    /// The planted bug.
    pub(crate) fn planted(&self) -> Option<Mutant> {
        self.mutant
    }

    pub(super) fn has(&self, mutant: Mutant) -> bool {
        cfg!(feature = "mutants") && self.mutant == Some(mutant)
    }
}
