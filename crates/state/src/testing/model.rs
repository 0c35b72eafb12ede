//! A key-value space in the plainest way: every revision's pairs are kept whole.

use crate::kv::{KEY_MAX, LeaseChange, LeaseInfo};
use bytes::Bytes;
use quorate_base::Index;
use quorate_wire::kv::{
    Alarm, AlarmKind, Command, Compare, CompareResult, CompareTarget, DeleteRange, Event, KeyRange, KeyValue,
    LeaseId, Op, Put, Range, RangeReply, Refused, Reply, Revision, SortOrder, SortTarget, Txn,
};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

type Pairs = BTreeMap<Bytes, KeyValue>;

/// What came of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The answer.
    pub reply: Result<Reply, Refused>,
    /// The changes.
    pub events: Vec<Event>,
    /// The changes of leases.
    pub leases: Vec<LeaseChange>,
}

/// The space.
#[derive(Clone, Debug)]
pub struct Model {
    /// The pairs at each revision from 0 on; there is nothing at 0 and 1.
    at: Vec<Pairs>,
    /// The pairs of the revision under way.
    now: Pairs,
    /// All changes there ever were.
    pub events: Vec<Event>,
    /// See [`crate::kv::KvView::compacted`]; -1 before.
    pub compacted: Revision,
    /// The leases.
    pub leases: BTreeMap<LeaseId, LeaseInfo>,
    /// The fences.
    pub fences: BTreeMap<Bytes, u64>,
    /// The alarms that stand.
    pub alarms: BTreeSet<Alarm>,
    pending: Vec<Event>,
    lease_changes: Vec<LeaseChange>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            at: vec![Pairs::new(), Pairs::new()],
            now: Pairs::new(),
            events: Vec::new(),
            compacted: -1,
            leases: BTreeMap::new(),
            fences: BTreeMap::new(),
            alarms: BTreeSet::new(),
            pending: Vec::new(),
            lease_changes: Vec::new(),
        }
    }
}

impl Model {
    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.at.len() as Revision - 1
    }

    /// The keys there are.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.now.keys()
    }

    /// The keys of a lease at a revision.
    pub fn lease_keys(&self, id: LeaseId, revision: Revision) -> Vec<Bytes> {
        self.at[revision as usize].values().filter(|kv| kv.lease == id).map(|kv| kv.key.clone()).collect()
    }

    /// Does a command, which stands at `at` in the log.
    pub fn apply(&mut self, at: Index, command: &Command) -> Outcome {
        let before = self.events.len();
        let reply = self.execute(at, command);
        self.close();
        let events = self.events[before..].to_vec();
        Outcome { reply, events, leases: std::mem::take(&mut self.lease_changes) }
    }

    fn close(&mut self) {
        if !self.pending.is_empty() {
            self.at.push(self.now.clone());
            self.events.append(&mut self.pending);
        }
    }

    fn execute(&mut self, at: Index, command: &Command) -> Result<Reply, Refused> {
        self.check_alarms(command)?;
        match command {
            Command::Put(put) => {
                if put.key.len() > KEY_MAX {
                    return Err(Refused::KeyTooLong);
                }
                if put.lease != 0 && !self.leases.contains_key(&put.lease) {
                    return Err(Refused::LeaseNotFound);
                }
                if (put.ignore_lease || put.ignore_value) && !self.now.contains_key(&put.key) {
                    return Err(Refused::KeyNotFound);
                }
                Ok(self.put(put))
            }
            Command::Delete(delete) => Ok(self.delete(delete)),
            Command::Txn(txn) => {
                let path = self.path(txn);
                self.check(txn, &mut path.clone().into_iter())?;
                Ok(self.txn(txn, &mut path.into_iter()))
            }
            Command::Compact { revision } if *revision <= self.compacted => {
                Err(Refused::Compacted { revision: self.compacted })
            }
            Command::Compact { revision } if *revision > self.revision() => Err(Refused::FutureRevision),
            Command::Compact { revision } => {
                self.compacted = *revision;
                Ok(Reply::Compact)
            }
            Command::LeaseGrant { id, ttl } => {
                if *id == 0 || self.leases.contains_key(id) {
                    return Err(Refused::LeaseExists);
                }
                self.leases.insert(*id, LeaseInfo { ttl: *ttl, remaining: 0, at });
                self.lease_changes.push(LeaseChange::Granted { id: *id, ttl: *ttl, at });
                Ok(Reply::LeaseGrant { id: *id, ttl: *ttl })
            }
            Command::LeaseRevoke { ids } => {
                if !ids.iter().all(|id| self.leases.contains_key(id)) {
                    return Err(Refused::LeaseNotFound);
                }
                for id in ids {
                    self.end_lease(*id);
                }
                Ok(Reply::Lease)
            }
            Command::LeaseExpire { grants } => {
                for grant in grants {
                    if self.leases.get(&grant.id).is_some_and(|info| grant.is(info.at)) {
                        self.end_lease(grant.id);
                    }
                }
                Ok(Reply::Lease)
            }
            Command::LeaseCheckpoint { remaining } => {
                for (grant, seconds) in remaining {
                    if let Some(lease) = self.leases.get_mut(&grant.id).filter(|info| grant.is(info.at)) {
                        lease.remaining = *seconds;
                        let change = LeaseChange::Checkpointed { id: grant.id, remaining: *seconds };
                        self.lease_changes.push(change);
                    }
                }
                Ok(Reply::Lease)
            }
            Command::Fenced { fence, command } => {
                if fence.name.is_empty() || fence.name.len() > 256 {
                    return Err(Refused::FenceName);
                }
                match self.fences.get(&fence.name) {
                    Some(seen) if *seen > fence.token => return Err(Refused::Fenced { token: *seen }),
                    _ => self.fences.insert(fence.name.clone(), fence.token),
                };
                self.execute(at, command)
            }
            Command::FenceDrop { name } => {
                self.fences.remove(name).map(|_| Reply::FenceDrop).ok_or(Refused::NoFence)
            }
            Command::Alarm { alarm, on } => {
                let stood = if *on { self.alarms.insert(*alarm) } else { self.alarms.remove(alarm) };
                Ok(Reply::Alarms(if *on || stood { vec![*alarm] } else { Vec::new() }))
            }
            // A machine of its own, with a model of its own.
            Command::Table(_) => Err(Refused::UnknownCommand),
        }
    }

    fn check_alarms(&self, command: &Command) -> Result<(), Refused> {
        let puts = matches!(command, Command::Put(_) | Command::LeaseGrant { .. })
            || matches!(command, Command::Txn(txn) if txn.puts());
        let own = matches!(
            command,
            Command::Alarm { .. } | Command::LeaseExpire { .. } | Command::LeaseCheckpoint { .. }
        );
        if !own && self.alarms.iter().any(|alarm| alarm.kind == AlarmKind::Corrupt) {
            return Err(Refused::Corrupt);
        }
        if puts && self.alarms.iter().any(|alarm| alarm.kind == AlarmKind::NoSpace) {
            return Err(Refused::NoSpace);
        }
        Ok(())
    }

    fn end_lease(&mut self, id: LeaseId) {
        if self.leases.remove(&id).is_none() {
            return;
        }
        let keys: Vec<Bytes> =
            self.now.values().filter(|kv| kv.lease == id).map(|kv| kv.key.clone()).collect();
        for key in keys {
            self.remove(&key);
        }
        self.close();
        self.lease_changes.push(LeaseChange::Revoked { id });
    }

    fn put(&mut self, put: &Put) -> Reply {
        let revision = self.at.len() as Revision;
        let old = self.now.get(&put.key).cloned();
        let kept = old.clone().unwrap_or_default();
        let kv = KeyValue {
            key: put.key.clone(),
            value: if put.ignore_value { kept.value } else { put.value.clone() },
            create_revision: if old.is_some() { kept.create_revision } else { revision },
            mod_revision: revision,
            version: kept.version + 1,
            lease: if put.ignore_lease { kept.lease } else { put.lease },
        };
        self.now.insert(put.key.clone(), kv.clone());
        self.pending.push(Event { deleted: false, kv, prev: old.clone() });
        Reply::Put { prev: old.filter(|_| put.prev_kv) }
    }

    fn remove(&mut self, key: &Bytes) -> KeyValue {
        let prev = self.now.remove(key).expect("it is there");
        let kv =
            KeyValue { key: key.clone(), mod_revision: self.at.len() as Revision, ..KeyValue::default() };
        self.pending.push(Event { deleted: true, kv, prev: Some(prev.clone()) });
        prev
    }

    fn delete(&mut self, delete: &DeleteRange) -> Reply {
        let keys: Vec<Bytes> = self.now.keys().filter(|key| within(&delete.range, key)).cloned().collect();
        let gone: Vec<KeyValue> = keys.iter().map(|key| self.remove(key)).collect();
        Reply::Delete { deleted: gone.len() as i64, prev: if delete.prev_kv { gone } else { Vec::new() } }
    }

    /// Which way each transaction goes, outermost first.
    fn path(&self, txn: &Txn) -> Vec<bool> {
        let holds = txn.compare.iter().all(|compare| self.holds(compare));
        let mut path = vec![holds];
        for op in if holds { &txn.success } else { &txn.failure } {
            if let Op::Txn(inner) = op {
                path.extend(self.path(inner));
            }
        }
        path
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found: Vec<&KeyValue> = self.now.values().filter(|kv| within(&compare.range, &kv.key)).collect();
        let holds = |kv: &KeyValue| {
            let order = match &compare.target {
                CompareTarget::Version(n) => kv.version.cmp(n),
                CompareTarget::Create(n) => kv.create_revision.cmp(n),
                CompareTarget::Mod(n) => kv.mod_revision.cmp(n),
                CompareTarget::Value(v) => kv.value.cmp(v),
                CompareTarget::Lease(n) => kv.lease.cmp(n),
            };
            match compare.result {
                CompareResult::Equal => order == Ordering::Equal,
                CompareResult::NotEqual => order != Ordering::Equal,
                CompareResult::Greater => order == Ordering::Greater,
                CompareResult::Less => order == Ordering::Less,
            }
        };
        if found.is_empty() {
            return !matches!(compare.target, CompareTarget::Value(_)) && holds(&KeyValue::default());
        }
        found.into_iter().all(holds)
    }

    fn check(&self, txn: &Txn, path: &mut impl Iterator<Item = bool>) -> Result<(), Refused> {
        let ops = if path.next() == Some(true) { &txn.success } else { &txn.failure };
        for op in ops {
            match op {
                // Inside a transaction only 0 is the newest revision.
                Op::Range(range) if range.revision < 0 && range.revision < self.compacted => {
                    return Err(Refused::Compacted { revision: self.compacted });
                }
                Op::Range(range) => self.readable(range.revision, self.revision(), self.compacted)?,
                Op::Put(put) => {
                    if put.key.len() > KEY_MAX {
                        return Err(Refused::KeyTooLong);
                    }
                    if (put.ignore_lease || put.ignore_value) && !self.now.contains_key(&put.key) {
                        return Err(Refused::KeyNotFound);
                    }
                    if put.lease != 0 && !self.leases.contains_key(&put.lease) {
                        return Err(Refused::LeaseNotFound);
                    }
                }
                Op::Delete(_) => {}
                Op::Txn(inner) => self.check(inner, path)?,
            }
        }
        Ok(())
    }

    fn txn(&mut self, txn: &Txn, path: &mut impl Iterator<Item = bool>) -> Reply {
        let succeeded = path.next() == Some(true);
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let replies = ops
            .iter()
            .map(|op| match op {
                Op::Range(range) if range.revision > 0 => {
                    Reply::Range(answer(range, &self.at[range.revision as usize]))
                }
                Op::Range(range) => Reply::Range(answer(range, &self.now)),
                Op::Put(put) => self.put(put),
                Op::Delete(delete) => self.delete(delete),
                Op::Txn(inner) => self.txn(inner, path),
            })
            .collect();
        Reply::Txn { succeeded, replies }
    }

    fn readable(&self, revision: Revision, newest: Revision, compacted: Revision) -> Result<(), Refused> {
        assert!(newest <= self.revision());
        if revision > newest {
            Err(Refused::FutureRevision)
        } else if revision > 0 && revision < compacted {
            Err(Refused::Compacted { revision: compacted })
        } else {
            Ok(())
        }
    }

    /// A read as of the moment when `newest` and `compacted` were so.
    pub fn range(&self, range: &Range, newest: Revision, compacted: Revision) -> Result<RangeReply, Refused> {
        self.readable(range.revision, newest, compacted)?;
        let at = if range.revision > 0 { range.revision } else { newest };
        Ok(answer(range, &self.at[at as usize]))
    }
}

pub(super) fn within(range: &KeyRange, key: &Bytes) -> bool {
    if range.end.is_empty() {
        return *key == range.key;
    }
    *key >= range.key && (range.end[..] == [0] || *key < range.end)
}

fn answer(range: &Range, pairs: &Pairs) -> RangeReply {
    let mut kvs: Vec<KeyValue> = pairs.values().filter(|kv| within(&range.range, &kv.key)).cloned().collect();
    let count = kvs.len() as i64;
    if range.count_only {
        return RangeReply { count, ..RangeReply::default() };
    }
    let filters = [
        range.min_mod_revision,
        range.max_mod_revision,
        range.min_create_revision,
        range.max_create_revision,
    ];
    if range.sort_order == SortOrder::None && filters == [0; 4] && range.limit > 0 {
        kvs.truncate((range.limit as usize).saturating_add(1));
    }
    let bounds =
        |n: Revision, least: Revision, most: Revision| (least == 0 || n >= least) && (most == 0 || n <= most);
    kvs.retain(|kv| bounds(kv.mod_revision, filters[0], filters[1]));
    kvs.retain(|kv| bounds(kv.create_revision, filters[2], filters[3]));
    // The sort is stable: ties stay in the ascending order of their keys, also where it descends.
    kvs.sort_by(|a, b| {
        let order = match range.sort_target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if range.sort_order == SortOrder::Descend { order.reverse() } else { order }
    });
    let more = range.limit > 0 && kvs.len() > range.limit as usize;
    if more {
        kvs.truncate(range.limit as usize);
    }
    if range.keys_only {
        for kv in &mut kvs {
            kv.value.clear();
        }
    }
    RangeReply { kvs, more, count }
}
