//! How much a machine has done since it was opened: figures for whoever watches a node, and no part of the state.
//!
//! Counted as etcd counts: operations, whether alone or in a transaction, and not the keys that they touch; a lease that ends deletes
//! each of its keys by an operation of its own.

/// The figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Puts.
    pub puts: u64,
    /// Deletions, those that found nothing among them.
    pub deletes: u64,
    /// Ranges inside of transactions that went through the log.
    pub ranges: u64,
    /// Commands of more than one operation.
    pub txns: u64,
    /// Bytes of keys and values that were put.
    pub put_bytes: u64,
    /// Leases that were granted.
    pub granted: u64,
    /// Leases that ended, whichever way.
    pub revoked: u64,
    /// Of these the ones whose time was over.
    pub expired: u64,
}

impl Tally {
    /// Operations of all kinds.
    pub(super) fn operations(&self) -> u64 {
        self.puts + self.deletes + self.ranges
    }
}
