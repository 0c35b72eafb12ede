//! Random commands and reads that meet often: few keys, revisions near the newest, leases that come and go.

use super::model::Model;
use bytes::Bytes;
use quorate_base::{Index, Rng};
use quorate_wire::kv::{
    Alarm, AlarmKind, Command, Compare, CompareResult, CompareTarget, DeleteRange, Fence, Grant, KeyRange,
    LeaseId, Op, Put, Range, Revision, SortOrder, SortTarget, Txn,
};

/// Makes commands.
#[derive(Debug)]
pub struct Workload {
    rng: Rng,
    /// How many keys it uses, about.
    keys: u64,
}

impl Workload {
    /// One that depends on the seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::stream(seed, "kv workload");
        let keys = *rng.pick(&[6, 40, 1_500]);
        Self { rng, keys }
    }

    fn key(&mut self) -> Bytes {
        match self.rng.below(60) {
            // Zero bytes and beginnings of each other are what an order-preserving escape can get wrong.
            0..20 => {
                Bytes::from_static(self.rng.pick::<&[u8]>(&[
                    b"a", b"a\0", b"a\0\0", b"a\0\x01", b"a\x01", b"ab", b"\0", b"\xff", b"b",
                ]))
            }
            20 => Bytes::from(vec![0; if self.rng.chance(1, 2) { 32_000 } else { 32_001 }]),
            _ => Bytes::from(format!("k{:04}", self.rng.below(self.keys))),
        }
    }

    /// A range of keys, sometimes one key or all, sometimes an empty one.
    pub fn key_range(&mut self) -> KeyRange {
        let (a, b) = (self.key(), self.key());
        match self.rng.below(10) {
            0..5 => KeyRange { key: a, end: Bytes::new() },
            5 => KeyRange { key: a, end: Bytes::from_static(&[0]) },
            6 => KeyRange { key: Bytes::from_static(&[0]), end: Bytes::from_static(&[0]) },
            7 => KeyRange { key: a, end: b },
            _ => KeyRange { key: a.clone().min(b.clone()), end: a.max(b) },
        }
    }

    fn value(&mut self) -> Bytes {
        let len = if self.rng.chance(1, 40) { 3_000 } else { self.rng.below(12) };
        Bytes::from(vec![b'0' + self.rng.below(10) as u8; len as usize])
    }

    fn lease(&mut self, model: &Model) -> LeaseId {
        if self.rng.chance(1, 12) {
            return self.rng.between(1, 9) as i64 * if self.rng.chance(1, 4) { -1 } else { 1 };
        }
        let ids: Vec<LeaseId> = model.leases.keys().copied().collect();
        if ids.is_empty() { 0 } else { *self.rng.pick(&ids) }
    }

    fn revision(&mut self, newest: Revision) -> Revision {
        match self.rng.below(8) {
            0..4 => 0,
            4 => newest,
            5 => newest + self.rng.below(3) as i64 - 1,
            _ => self.rng.below(newest as u64 + 2) as i64,
        }
    }

    fn put(&mut self, model: &Model) -> Put {
        let lease = if self.rng.chance(1, 4) { self.lease(model) } else { 0 };
        Put {
            key: self.key(),
            value: self.value(),
            lease,
            prev_kv: self.rng.chance(1, 3),
            ignore_value: self.rng.chance(1, 10),
            ignore_lease: self.rng.chance(1, 10),
        }
    }

    fn delete(&mut self) -> DeleteRange {
        // Where there are many keys they are to stay, so that a range can be long.
        let ranges = if self.keys > 100 { 60 } else { 3 };
        let range = if self.rng.chance(1, ranges) {
            self.key_range()
        } else {
            KeyRange { key: self.key(), end: Bytes::new() }
        };
        DeleteRange { range, prev_kv: self.rng.chance(1, 3) }
    }

    /// A read against a space whose newest revision is `newest`.
    pub fn range(&mut self, newest: Revision) -> Range {
        let bound = |rng: &mut Rng| if rng.chance(1, 8) { rng.below(newest as u64 + 1) as i64 } else { 0 };
        Range {
            range: self.key_range(),
            limit: if self.rng.chance(1, 2) { self.rng.below(6) as i64 } else { 0 },
            revision: self.revision(newest),
            sort_order: *self.rng.pick(&[
                SortOrder::None,
                SortOrder::None,
                SortOrder::Ascend,
                SortOrder::Descend,
            ]),
            sort_target: *self.rng.pick(&[
                SortTarget::Key,
                SortTarget::Key,
                SortTarget::Version,
                SortTarget::Create,
                SortTarget::Mod,
                SortTarget::Value,
            ]),
            keys_only: self.rng.chance(1, 5),
            count_only: self.rng.chance(1, 5),
            min_mod_revision: bound(&mut self.rng),
            max_mod_revision: bound(&mut self.rng),
            min_create_revision: bound(&mut self.rng),
            max_create_revision: bound(&mut self.rng),
        }
    }

    fn compare(&mut self, newest: Revision) -> Compare {
        let near = |rng: &mut Rng| rng.below(newest as u64 + 1) as i64;
        Compare {
            range: self.key_range(),
            result: *self.rng.pick(&[
                CompareResult::Equal,
                CompareResult::NotEqual,
                CompareResult::Greater,
                CompareResult::Less,
            ]),
            target: match self.rng.below(6) {
                0 => CompareTarget::Version(self.rng.below(4) as i64),
                1 => CompareTarget::Create(near(&mut self.rng)),
                2 => CompareTarget::Mod(near(&mut self.rng)),
                3 => CompareTarget::Value(self.value()),
                4 => CompareTarget::Lease(self.rng.below(3) as i64),
                _ => CompareTarget::Create(0),
            },
        }
    }

    fn txn(&mut self, model: &Model, depth: u32) -> Txn {
        let newest = model.revision();
        let compare = (0..self.rng.below(3)).map(|_| self.compare(newest)).collect();
        let ops = |of: &mut Self| {
            (0..of.rng.below(4))
                .map(|_| match of.rng.below(if depth < 3 { 9 } else { 8 }) {
                    0..3 => Op::Range(of.range(newest)),
                    3..6 => Op::Put(of.put(model)),
                    6..8 => Op::Delete(of.delete()),
                    _ => Op::Txn(of.txn(model, depth + 1)),
                })
                .collect()
        };
        let (success, failure) = (ops(self), ops(self));
        Txn { compare, success, failure }
    }

    /// The next command for a space that stands where the model does.
    pub fn command(&mut self, model: &Model) -> Command {
        let name =
            Bytes::from_static(self.rng.pick::<&[u8]>(&[b"a", b"a\0", b"ab", b"\xff", b"", &[7; 257]]));
        match self.rng.below(60) {
            0..10 => {
                let fence = Fence { name, token: self.rng.below(40) };
                Command::Fenced { fence, command: Box::new(self.unfenced(model)) }
            }
            10 => Command::FenceDrop { name },
            _ => self.unfenced(model),
        }
    }

    fn unfenced(&mut self, model: &Model) -> Command {
        // One that stands goes soon, or little else would be tried.
        if let Some(&alarm) = model.alarms.first()
            && self.rng.chance(1, 6)
        {
            return Command::Alarm { alarm, on: false };
        }
        match self.rng.below(101) {
            100 => {
                let kind = *self.rng.pick(&[AlarmKind::NoSpace, AlarmKind::NoSpace, AlarmKind::Corrupt]);
                Command::Alarm { alarm: Alarm { kind, member: self.rng.below(3) }, on: self.rng.chance(3, 4) }
            }
            0..45 => Command::Put(self.put(model)),
            45..60 => Command::Delete(self.delete()),
            60..84 => Command::Txn(self.txn(model, 1)),
            84..88 => {
                Command::Compact { revision: self.revision(model.revision()) - self.rng.below(2) as i64 }
            }
            88..94 => Command::LeaseGrant {
                id: self.rng.below(10) as i64 * if self.rng.chance(1, 4) { -1 } else { 1 },
                ttl: self.rng.between(1, 1_000) as i64,
            },
            94..96 => {
                Command::LeaseRevoke { ids: (0..self.rng.between(1, 2)).map(|_| self.lease(model)).collect() }
            }
            96..98 => Command::LeaseExpire {
                grants: (0..self.rng.between(1, 2)).map(|_| self.grant(model)).collect(),
            },
            _ => Command::LeaseCheckpoint {
                remaining: (0..2).map(|_| (self.grant(model), self.rng.below(100) as i64)).collect(),
            },
        }
    }

    /// A lease by its grant, one before, or whichever there is.
    fn grant(&mut self, model: &Model) -> Grant {
        let id = self.lease(model);
        let at = model.leases.get(&id).map_or(Index(1), |info| info.at);
        let at = *self.rng.pick(&[at, at, at, at.prev(), Index(0)]);
        Grant { id, at }
    }

    /// Chance, for whoever drives it.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}
