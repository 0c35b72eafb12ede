//! What transactions over several shards hold here, and what is known of them and of their gateways: the rows `L`, `T` and `N`.
//!
//! They come and go within milliseconds, several for each item that is written, so that they live in memory, as the machine's numbers
//! do, and only a cut writes those that are there at that moment ([`Held::write`]). A copy is cheap: each view has one. Who reads the
//! rows of a view, for a snapshot or a checksum, takes them from there and passes over what the store has of them, which is of the
//! last cut ([`Held::rows`], [`is_row`]).

use super::commit::{Stored, decode_gate, decode_record, encode_gate, encode_record};
use super::layout::{Rows, row};
use super::lock;
use crate::kv::source::Source;
use bytes::Bytes;
use quorate_base::NodeId;
use quorate_protocol::commit::{Gate, Lock, TxnId};
use quorate_storage::cow::{Tree, Weight};
use quorate_storage::state::{State, StateResult};
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

/// A value of these maps, which count nothing but how many there are.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct One<T>(T);

impl<T> Weight for One<T> {
    fn weight(&self) -> u64 {
        1
    }
}

/// See the module page.
#[derive(Clone, Default)]
pub(super) struct Held {
    locks: Tree<Bytes, One<Lock>>,
    records: Tree<TxnId, One<Arc<Stored>>>,
    gates: Tree<NodeId, One<Gate>>,
}

impl Held {
    /// What the last cut wrote.
    pub(super) fn load(rows: &Rows, source: &dyn Source) -> StateResult<Self> {
        let mut held = Self::default();
        let all = |kind: u8| {
            let (from, to) = (rows.kind(kind), rows.kind(kind + 1));
            let scan = source.scan((Bound::Included(&from), Bound::Excluded(&to)));
            scan.collect::<StateResult<Vec<(Bytes, Bytes)>>>()
        };
        for (key, stored) in all(row::LOCK)? {
            held.locks.insert(rows.rest(&key)?, One(lock::decode(stored)?));
        }
        for (key, stored) in all(row::GATE)? {
            held.gates.insert(rows.gate_of(&key)?, One(decode_gate(stored)?));
        }
        for (key, stored) in all(row::TRANSACTION)? {
            held.records.insert(rows.transaction_of(&key)?, One(Arc::new(decode_record(stored)?)));
        }
        Ok(held)
    }

    // ---- locks ----

    /// Who holds a key.
    pub(super) fn lock(&self, key: &[u8]) -> Option<&Lock> {
        self.locks.get(key).map(|One(lock)| lock)
    }

    /// Whether anybody holds anything.
    pub(super) fn is_locked(&self) -> bool {
        !self.locks.is_empty()
    }

    /// All locks.
    pub(super) fn locks(&self) -> impl Iterator<Item = &Lock> {
        self.locks.iter().map(|(_, One(lock))| lock)
    }

    /// The locked keys that begin so, with who holds them.
    pub(super) fn keys<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = (&'a Bytes, &'a Lock)> {
        let from = self.locks.iter_from(Bound::Included(prefix));
        from.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, One(lock))| (key, lock))
    }

    pub(super) fn set_lock(&mut self, key: &Bytes, lock: Option<&Lock>) {
        match lock {
            Some(lock) => drop(self.locks.insert(key.clone(), One(lock.clone()))),
            None => drop(self.locks.remove(&key[..])),
        }
    }

    /// All that is held is let go of; only under a planted bug.
    pub(super) fn forget_locks(&mut self) {
        self.locks = Tree::default();
    }

    // ---- records ----

    /// What is known of a transaction.
    pub(super) fn record(&self, id: &TxnId) -> Option<&Arc<Stored>> {
        self.records.get(id).map(|One(record)| record)
    }

    /// What is known of all.
    pub(super) fn records(&self) -> impl Iterator<Item = &Stored> {
        self.records.iter().map(|(_, One(record))| &**record)
    }

    /// The transactions in a range of which anything is known.
    pub(super) fn known(&self, ids: &RangeInclusive<TxnId>) -> Vec<TxnId> {
        let from = self.records.iter_from(Bound::Included(ids.start()));
        from.map(|(id, _)| *id).take_while(|id| id <= ids.end()).collect()
    }

    pub(super) fn set_record(&mut self, id: &TxnId, record: Option<&Stored>) {
        match record {
            Some(record) => drop(self.records.insert(*id, One(Arc::new(record.clone())))),
            None => drop(self.records.remove(id)),
        }
    }

    // ---- gates ----

    /// What is known of a gateway.
    pub(super) fn gate(&self, node: NodeId) -> Gate {
        self.gates.get(&node).map(|One(gate)| gate.clone()).unwrap_or_default()
    }

    pub(super) fn set_gate(&mut self, node: NodeId, gate: &Gate) {
        self.gates.insert(node, One(gate.clone()));
    }

    // ---- rows ----

    /// All rows, in their order.
    pub(super) fn rows<'a>(&'a self, rows: &'a Rows) -> impl Iterator<Item = (Bytes, Bytes)> + 'a {
        let locks = self.locks.iter().map(|(key, One(held))| (rows.lock(key).into(), lock::encode(held)));
        let gates = self.gates.iter().map(|(node, One(gate))| (rows.gate(*node).into(), encode_gate(gate)));
        let record = |(id, One(record)): (&TxnId, &One<Arc<Stored>>)| {
            (rows.transaction(id).into(), encode_record(record))
        };
        locks.chain(gates).chain(self.records.iter().map(record))
    }

    /// Makes the rows of the store, which are those of `before`, these.
    pub(super) fn write(&self, before: &Self, rows: &Rows, state: &mut dyn State) {
        let same = |a: &Arc<Stored>, b: &Arc<Stored>| Arc::ptr_eq(a, b);
        differences(&before.locks, &self.locks, PartialEq::eq, |key, held| {
            set(state, &rows.lock(key), held.map(lock::encode));
        });
        differences(&before.gates, &self.gates, PartialEq::eq, |node, gate| {
            set(state, &rows.gate(*node), gate.map(encode_gate));
        });
        differences(&before.records, &self.records, same, |id, record| {
            set(state, &rows.transaction(id), record.map(|record| encode_record(record)));
        });
    }
}

/// Tells of each key whose value is new or another one, and of each that is gone.
fn differences<K: Ord + Clone, T: Clone>(
    before: &Tree<K, One<T>>,
    now: &Tree<K, One<T>>,
    same: impl Fn(&T, &T) -> bool,
    mut tell: impl FnMut(&K, Option<&T>),
) {
    for (key, _) in before {
        if now.get(key).is_none() {
            tell(key, None);
        }
    }
    for (key, One(value)) in now {
        if !before.get(key).is_some_and(|One(before)| same(before, value)) {
            tell(key, Some(value));
        }
    }
}

fn set(state: &mut dyn State, key: &[u8], value: Option<Bytes>) {
    match value {
        Some(value) => state.put(key, &value),
        None => state.delete(key),
    }
}

/// Whether a key of the store is that of such a row.
pub(super) fn is_row(rows: &Rows, key: &[u8]) -> bool {
    matches!(rows.kind_of(key), Some(row::LOCK | row::GATE | row::TRANSACTION))
}
