//! A machine as small as can be: numbers under keys, and rows of tokens.

use quorate_base::{Index, NodeId, ShardId};
use quorate_protocol::commit::participant::{Keys, Machine, RecordOf, View};
use quorate_protocol::commit::reader::Versioned;
use quorate_protocol::commit::{Gate, Lock, Mode, Mutant, Place, TxnId, mutant};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::RangeInclusive;

/// A key lies in the shard of its number: `a1` in shard 1. A token's row is a key as any other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(pub char, pub u32);

impl Key {
    pub fn shard(self) -> ShardId {
        ShardId(self.1)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Op {
    Put(i64),
    Add(i64),
    Delete,
    /// Nothing is written; the key must hold this.
    Check(Option<i64>),
    /// It must be absent, and holds this.
    Insert(i64),
    /// A token with a fingerprint: it must be absent.
    Token(i64),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ops(pub Vec<(Key, Op)>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// This key holds something else.
    Condition(Key),
    /// The token's work is done.
    Repeated,
    /// The token belongs to something else.
    Mismatch,
}

/// What keys hold behind a transaction.
pub type Images = BTreeMap<Key, Option<i64>>;

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Toy {
    pub items: BTreeMap<Key, Versioned<i64>>,
    pub locks: BTreeMap<Key, Lock>,
    pub records: BTreeMap<TxnId, RecordOf<Toy>>,
    pub gates: BTreeMap<NodeId, Gate>,
    pub mutant: Option<Mutant>,
}

impl Toy {
    pub fn get(&self, key: Key) -> Versioned<i64> {
        self.items.get(&key).cloned().unwrap_or(Versioned { value: None, version: 0 })
    }

    /// What a snapshot carries.
    pub fn snapshot(&self) -> Self {
        let mut copy = self.clone();
        if mutant(self.mutant, Mutant::LocksNotInSnapshot) {
            copy.locks.clear();
        }
        copy
    }
}

type Free<T> = Result<T, Infallible>;

impl View for Toy {
    type Key = Key;
    type Ops = Ops;
    type Images = Images;
    type Reason = Reason;
    type Error = Infallible;

    fn keys(&self, ops: &Ops) -> Free<Keys<Self>> {
        let mode = |op: &Op| if matches!(op, Op::Check(_)) { Mode::Shared } else { Mode::Exclusive };
        Ok(Ok(ops.0.iter().map(|(key, op)| (*key, mode(op))).collect()))
    }

    fn lock(&self, key: &Key) -> Free<Option<Lock>> {
        Ok(self.locks.get(key).cloned())
    }

    fn holders(&self) -> Free<BTreeSet<TxnId>> {
        let ids = |lock: &Lock| match lock {
            Lock::Exclusive(id) => BTreeSet::from([*id]),
            Lock::Shared(ids) => ids.clone(),
        };
        Ok(self.locks.values().flat_map(ids).collect())
    }

    fn record(&self, id: &TxnId) -> Free<Option<RecordOf<Self>>> {
        Ok(self.records.get(id).cloned())
    }

    fn gate(&self, node: NodeId) -> Free<Gate> {
        Ok(self.gates.get(&node).cloned().unwrap_or_default())
    }

    fn mutant(&self) -> Option<Mutant> {
        self.mutant
    }
}

impl Machine for Toy {
    fn evaluate(&self, ops: &Ops) -> Free<Result<Images, Reason>> {
        let mut images = Images::new();
        for (key, op) in &ops.0 {
            let old = self.get(*key).value;
            let new = match op {
                Op::Put(v) => Some(*v),
                Op::Add(v) => Some(old.unwrap_or(0) + v),
                Op::Delete => None,
                Op::Check(expected) if old == *expected => continue,
                Op::Insert(v) if old.is_none() => Some(*v),
                Op::Token(v) if old.is_none() => Some(*v),
                Op::Check(_) | Op::Insert(_) => return Ok(Err(Reason::Condition(*key))),
                Op::Token(v) if old == Some(*v) => return Ok(Err(Reason::Repeated)),
                Op::Token(_) => return Ok(Err(Reason::Mismatch)),
            };
            images.insert(*key, new);
        }
        Ok(Ok(images))
    }

    fn install(&mut self, images: &Images, version: Index) -> Free<()> {
        for (key, value) in images {
            self.items.insert(*key, Versioned { value: *value, version: version.0 });
        }
        Ok(())
    }

    fn set_lock(&mut self, key: &Key, lock: Option<&Lock>) -> Free<()> {
        match lock {
            Some(lock) => drop(self.locks.insert(*key, lock.clone())),
            None => drop(self.locks.remove(key)),
        }
        Ok(())
    }

    fn set_record(&mut self, id: &TxnId, record: Option<&RecordOf<Self>>) -> Free<()> {
        match record {
            Some(record) => drop(self.records.insert(*id, record.clone())),
            None => drop(self.records.remove(id)),
        }
        Ok(())
    }

    fn records(&self, node: NodeId, places: RangeInclusive<Place>) -> Free<Vec<TxnId>> {
        let within = |id: &&TxnId| id.node == node && places.contains(&id.place());
        Ok(self.records.keys().filter(within).copied().collect())
    }

    fn set_gate(&mut self, node: NodeId, gate: &Gate) -> Free<()> {
        self.gates.insert(node, gate.clone());
        Ok(())
    }
}
