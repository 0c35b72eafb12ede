//! Applying entries: the one place where the state changes by the log.
//!
//! A transaction is checked as a whole before its first write, so that it is refused without a trace or done to its end.
//! Its branches are chosen on the state before it; its operations see the writes of those before them.

use super::Kv;
use super::counts::latest_range;
use super::events::Events;
use super::layout::{Change, KEY_MAX, PREFIX, Path, Record, Rev, damaged, encode_mark, table};
use super::lease::{LeaseChange, LeaseInfo, keys_of};
use super::read::{Chosen, ChosenOp, ReadError, Snapshot, Span};
use super::source::Written;
use super::sweep::{change_bytes, mark_bytes, replaced_bytes};
use crate::digest::Digest;
use bytes::Bytes;
use quorate_base::{Entry, EntryId, EntryKind, Index, NodeId};
use quorate_storage::state::{StateError, StateResult};
use quorate_wire::command::{self, Decoded};
use quorate_wire::kv::{
    Command, DeleteRange, Event, Grant, KeyValue, LeaseId, Op, Put, Refused, Reply, Revision, Txn,
};

/// So many keys are read before they are deleted, and about so many bytes of their records. Few in the crate's own tests.
const PIECE_KEYS: usize = if cfg!(test) { 3 } else { 1024 };
const PIECE_BYTES: usize = if cfg!(test) { 64 } else { 1 << 20 };

/// What came of one entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// The entry.
    pub id: EntryId,
    /// The node that proposed it; 0 where no client waits.
    pub origin: NodeId,
    /// The request that waits for it there.
    pub request: u64,
    /// The answer.
    pub outcome: Result<Reply, Refused>,
    /// The space's revision behind it.
    pub revision: Revision,
    /// What changed, in the order of the changes.
    pub events: Events,
    /// What changed about leases.
    pub leases: Vec<LeaseChange>,
}

/// The effects of an entry while they gather.
pub(super) struct Effect {
    /// The revision that the next change gets.
    main: Revision,
    /// How many changes it has so far.
    sub: u32,
    events: Events,
    leases: Vec<LeaseChange>,
    pub(super) digest: Digest,
}

impl Effect {
    fn next(&mut self) -> Rev {
        let rev = Rev::new(self.main, self.sub);
        self.sub += 1;
        rev
    }
}

/// Why a command stops: refused, or the store failed.
type Outcome<T> = Result<T, ReadError>;

impl Kv {
    /// Applies the next entry of the log. An error is the store's, after which the machine must not be used again.
    ///
    /// # Panics
    /// If the entry is not the one behind [`Kv::applied`].
    pub fn apply(&mut self, entry: &Entry) -> StateResult<Applied> {
        let expected = self.meta.applied.index.next();
        assert_eq!(entry.id.index, expected, "the entry to apply and the one behind the last");
        let mut effect = Effect {
            main: self.meta.revision + 1,
            sub: 0,
            events: Events::default(),
            leases: Vec::new(),
            digest: Digest::new(self.meta.digest),
        };
        effect.digest.number(entry.id.index.get());
        let (mut origin, mut request, mut outcome) = (NodeId(0), 0, Ok(Reply::Lease));
        match entry.kind {
            EntryKind::Empty => {}
            EntryKind::Membership => {
                effect.digest.bytes(&entry.data);
                self.meta.membership = Bytes::copy_from_slice(&entry.data);
            }
            EntryKind::Command => {
                (origin, request, outcome) = self.apply_command(&entry.data, &mut effect)?;
            }
        }
        self.close(&mut effect);
        self.before = self.meta.applied;
        self.meta.applied = entry.id;
        self.meta.digest = effect.digest.value();
        let Effect { events, leases, .. } = effect;
        Ok(Applied { id: entry.id, origin, request, outcome, revision: self.meta.revision, events, leases })
    }

    fn apply_command(
        &mut self,
        data: &Bytes,
        effect: &mut Effect,
    ) -> StateResult<(NodeId, u64, Result<Reply, Refused>)> {
        if command::is_newer(data) {
            return Err(newer(self.meta.applied.index.next(), data));
        }
        let Ok(Decoded { origin, request, command }) = command::decode(data) else {
            let (origin, request) = command::decode_request(data).unwrap_or_default();
            effect.digest.number(REFUSED);
            return Ok((origin, request, Err(Refused::UnknownCommand)));
        };
        let before = self.tally.operations();
        let outcome = match self.execute(command, effect) {
            Ok(reply) => Ok(reply),
            Err(ReadError::Refused(refused)) => {
                assert_eq!(effect.sub, 0, "a refused command has changed something");
                effect.digest.number(REFUSED);
                Err(refused)
            }
            Err(ReadError::Store(error)) => return Err(error),
        };
        self.tally.txns += u64::from(self.tally.operations() > before + 1);
        Ok((origin, request, outcome))
    }

    fn execute(&mut self, command: Command, effect: &mut Effect) -> Outcome<Reply> {
        self.check_alarms(&command)?;
        match command {
            Command::Put(put) => {
                self.check_put(&put, true)?;
                Ok(self.put(&put, effect)?)
            }
            Command::Delete(delete) => Ok(self.delete(&delete, effect)?),
            Command::Txn(txn) => self.txn(&txn, effect),
            Command::Compact { revision } => self.compact(revision, effect),
            Command::LeaseGrant { id, ttl } => self.lease_grant(id, ttl, effect),
            Command::LeaseRevoke { ids } => self.lease_revoke(&ids, effect),
            Command::LeaseExpire { grants } => self.lease_expire(&grants, effect),
            Command::LeaseCheckpoint { remaining } => {
                self.lease_checkpoint(&remaining, effect);
                Ok(Reply::Lease)
            }
            Command::Fenced { fence, command } => {
                if self.show(&fence)? {
                    effect.digest.number(FENCE);
                    effect.digest.bytes(&fence.name);
                    effect.digest.number(fence.token);
                }
                self.execute(*command, effect)
            }
            Command::FenceDrop { name } => {
                self.drop_fence(&name)?;
                effect.digest.number(FENCE_DROP);
                effect.digest.bytes(&name);
                Ok(Reply::FenceDrop)
            }
            Command::Alarm { alarm, on } => Ok(self.set_alarm(alarm, on, effect)?),
            Command::Table(command) => {
                // The entry under way.
                let at = self.meta.applied.index.next();
                let applied = self.tables.apply(&mut *self.state, at, &command, &mut effect.digest)?;
                let reply = applied.map_err(Refused::Table)?;
                Ok(Reply::Table(Box::new(reply)))
            }
        }
    }

    /// Ends the revision under way, if anything changed in it.
    fn close(&mut self, effect: &mut Effect) {
        if effect.sub > 0 {
            self.meta.revision = effect.main;
            effect.main += 1;
            effect.sub = 0;
        }
    }

    /// Reads the state as it is, at the newest revision or, behind a first write, at the one under way.
    fn read<T>(&self, effect: &Effect, with: impl FnOnce(&Snapshot<'_>) -> T) -> T {
        with(&Snapshot {
            source: &Written(&*self.state),
            keys: self.keys,
            blocks: self.counts.blocks(),
            revision: if effect.sub > 0 { effect.main } else { self.meta.revision },
            compacted: self.meta.compacted,
        })
    }

    /// Whether a put can be done. Alone, it is asked for its lease before its key; in a transaction after.
    fn check_put(&mut self, put: &Put, alone: bool) -> Outcome<()> {
        if put.key.len() > KEY_MAX {
            return Err(Refused::KeyTooLong.into());
        }
        let lease_missing = put.lease != 0 && self.leases.get(&put.lease).is_none();
        if alone && lease_missing {
            return Err(Refused::LeaseNotFound.into());
        }
        if (put.ignore_value || put.ignore_lease) && self.stored(&put.key)?.is_none() {
            return Err(Refused::KeyNotFound.into());
        }
        if lease_missing {
            return Err(Refused::LeaseNotFound.into());
        }
        Ok(())
    }

    /// The newest version of a key, as stored. Leaves its key of table `LATEST` in the buffer.
    pub(super) fn stored(&mut self, key: &[u8]) -> StateResult<Option<Bytes>> {
        let key = self.keys.raw(&mut self.key_buf, table::LATEST, key);
        match self.recent.get(key) {
            Some(stored) => Ok(Some(stored)),
            None => self.state.get(key),
        }
    }

    fn put(&mut self, put: &Put, effect: &mut Effect) -> StateResult<Reply> {
        let stored = self.stored(&put.key)?;
        let old = match &stored {
            Some(stored) => Some(Record::decode(stored.clone())?),
            None => None,
        };
        let rev = effect.next();
        let kept = old.as_ref();
        let record = Record {
            create: kept.map_or(rev.main, |old| old.create),
            rev,
            version: kept.map_or(1, |old| old.version + 1),
            lease: if put.ignore_lease { kept.map_or(0, |old| old.lease) } else { put.lease },
            path: kept.map_or_else(Path::default, |old| old.path.next(old.version, old.rev)),
            value: if put.ignore_value {
                kept.map_or_else(Bytes::new, |old| old.value.clone())
            } else {
                put.value.clone()
            },
        };
        let change = self.change(&put.key, old.as_ref(), Some(record.clone()));
        let latest = self.store(rev, &change);
        self.meta.live_bytes += latest as i64 - stored.as_ref().map_or(0, Bytes::len) as i64;
        if stored.is_none() {
            self.meta.live_bytes += put.key.len() as i64;
            self.counts.created(&put.key, &Written(&*self.state), self.keys)?;
        }
        self.move_lease(&put.key, kept.map_or(0, |old| old.lease), record.lease);
        let digest = &mut effect.digest;
        digest.number(PUT);
        digest.bytes(&put.key);
        digest.bytes(&record.value);
        digest.number(record.version as u64);
        digest.number(record.lease as u64);
        self.tally.puts += 1;
        self.tally.put_bytes += (put.key.len() + record.value.len()) as u64;
        let prev = old.map(|old| old.into_pair(put.key.clone()));
        let reply = Reply::Put { prev: if put.prev_kv { prev.clone() } else { None } };
        effect.events.push(Event { deleted: false, kv: record.into_pair(put.key.clone()), prev });
        Ok(reply)
    }

    /// The change that puts `put`, or deletes, where `old` was. What the history lacks of the version that it replaces is written.
    pub(super) fn change(&mut self, key: &Bytes, old: Option<&Record>, put: Option<Record>) -> Change {
        if let Some(old) = old.filter(|old| old.rev < self.meta.swept) {
            // As the newest version it stood in `LATEST` alone: its change was swept.
            let put = Some(old.first_known());
            self.record(old.rev, &Change { prev: Rev::NONE, prev_bytes: 0, key: key.clone(), put });
        }
        let prev = old.map_or(Rev::NONE, |old| old.rev);
        let prev_bytes = old.map_or(0, |old| old.value.len() as u64);
        Change { prev, prev_bytes, key: key.clone(), put }
    }

    /// Writes a put: the newest version and the change. Both, with their keys, lie in one piece of memory, since there may be tens
    /// of thousands of them before they are flushed. Returns the bytes of the version.
    pub(super) fn store(&mut self, rev: Rev, change: &Change) -> usize {
        let (latest, event) =
            (self.keys.raw(&mut self.key_buf, table::LATEST, &change.key).len(), PREFIX + 13);
        let mut all = Vec::with_capacity(latest + event + change.size());
        all.extend_from_slice(&self.key_buf);
        all.extend_from_slice(self.keys.event(&mut self.key_buf, rev));
        let record = change.append(&mut all);
        let all = Bytes::from(all);
        let (key, value) = (all.slice(..latest), all.slice(record..));
        self.recent.put(key.clone(), value.clone());
        self.state.put_shared(key, value);
        self.state.put_shared(all.slice(latest..latest + event), all.slice(latest + event..));
        self.meta.history_bytes += replaced_bytes(change);
        all.len() - record
    }

    pub(super) fn record(&mut self, rev: Rev, change: &Change) {
        self.state.put(self.keys.event(&mut self.key_buf, rev), change.encode(&mut self.value_buf));
    }

    pub(super) fn move_lease(&mut self, key: &[u8], from: LeaseId, to: LeaseId) {
        if from == to {
            return;
        }
        if from != 0 {
            self.state.delete(self.keys.lease_key(&mut self.key_buf, from, key));
        }
        if to != 0 {
            self.state.put(self.keys.lease_key(&mut self.key_buf, to, key), b"");
        }
    }

    /// Deletes what is in a range, a piece at a time: all of it, with its values, may be more than memory holds.
    fn delete(&mut self, delete: &DeleteRange, effect: &mut Effect) -> StateResult<Reply> {
        self.tally.deletes += 1;
        let (mut deleted, mut prev) = (0, Vec::new());
        let mut rest = Some(Span::of(&delete.range));
        while let Some(span) = rest {
            let piece = self.piece(&span)?;
            rest = piece.last().and_then(|(last, _)| span.behind(last));
            for (key, stored) in &piece {
                let pair = self.delete_key(key, stored, effect)?;
                if delete.prev_kv {
                    prev.push(pair);
                }
            }
            deleted += piece.len() as i64;
        }
        Ok(Reply::Delete { deleted, prev })
    }

    /// The first keys of a span with their records, as stored; none only if it has none.
    fn piece(&mut self, span: &Span) -> StateResult<Vec<(Bytes, Bytes)>> {
        match span {
            Span::One(key) if key.len() > KEY_MAX => Ok(Vec::new()),
            Span::One(key) => Ok(self.stored(key)?.map(|stored| (key.clone(), stored)).into_iter().collect()),
            Span::From(from, end) if !end.is_above(from) => Ok(Vec::new()),
            Span::From(from, end) => {
                let (mut a, mut b, mut bytes) = (Vec::new(), Vec::new(), 0);
                let scan = self.state.scan(latest_range(self.keys, from, end, &mut a, &mut b));
                let within = scan.take(PIECE_KEYS).take_while(|pair| {
                    let begun = bytes < PIECE_BYTES;
                    bytes += pair.as_ref().map_or(0, |(_, stored)| stored.len());
                    begun
                });
                within.map(|pair| pair.map(|(key, stored)| (key.slice(PREFIX + 1..), stored))).collect()
            }
        }
    }

    fn delete_key(&mut self, key: &Bytes, stored: &Bytes, effect: &mut Effect) -> StateResult<KeyValue> {
        let old = Record::decode(stored.clone())?;
        let rev = effect.next();
        let latest = self.keys.raw(&mut self.key_buf, table::LATEST, key);
        self.state.delete(latest);
        self.recent.delete(latest);
        self.meta.live_bytes -= (key.len() + stored.len()) as i64;
        self.counts.deleted(key)?;
        let change = self.change(key, Some(&old), None);
        let mark = self.keys.deleted(&mut self.key_buf, key, rev);
        self.state.put(mark, encode_mark(&mut self.value_buf, change.prev));
        self.meta.history_bytes += replaced_bytes(&change) + change_bytes(&change) + mark_bytes(key);
        self.record(rev, &change);
        self.move_lease(key, old.lease, 0);
        effect.digest.number(DELETE);
        effect.digest.bytes(key);
        let kv = KeyValue { key: key.clone(), mod_revision: rev.main, ..KeyValue::default() };
        let prev = old.into_pair(key.clone());
        effect.events.push(Event { deleted: true, kv, prev: Some(prev.clone()) });
        Ok(prev)
    }

    fn txn(&mut self, txn: &Txn, effect: &mut Effect) -> Outcome<Reply> {
        let chosen = self.read(effect, |snapshot| snapshot.choose(txn))?;
        self.check(&chosen, effect)?;
        self.run(&chosen, effect)
    }

    /// Finds what would refuse an operation of a transaction, before any is done.
    fn check(&mut self, chosen: &Chosen<'_>, effect: &Effect) -> Outcome<()> {
        for op in &chosen.ops {
            match op {
                ChosenOp::Op(Op::Range(range)) => {
                    self.read(effect, |snapshot| snapshot.check_revision_in_txn(range.revision))?;
                }
                ChosenOp::Op(Op::Put(put)) => self.check_put(put, false)?,
                ChosenOp::Op(_) => {}
                ChosenOp::Txn(inner) => self.check(inner, effect)?,
            }
        }
        Ok(())
    }

    fn run(&mut self, chosen: &Chosen<'_>, effect: &mut Effect) -> Outcome<Reply> {
        let mut replies = Vec::with_capacity(chosen.ops.len());
        for op in &chosen.ops {
            replies.push(match op {
                ChosenOp::Op(Op::Range(range)) => {
                    self.tally.ranges += 1;
                    Reply::Range(self.read(effect, |snapshot| snapshot.range(range))?)
                }
                ChosenOp::Op(Op::Put(put)) => self.put(put, effect)?,
                ChosenOp::Op(Op::Delete(delete)) => self.delete(delete, effect)?,
                ChosenOp::Txn(inner) => self.run(inner, effect)?,
                ChosenOp::Op(Op::Txn(_)) => unreachable!("inner transactions are chosen as such"),
            });
        }
        effect.digest.number(TXN + u64::from(chosen.succeeded));
        Ok(Reply::Txn { succeeded: chosen.succeeded, replies })
    }

    fn compact(&mut self, revision: Revision, effect: &mut Effect) -> Outcome<Reply> {
        if revision <= self.meta.compacted {
            return Err(Refused::Compacted { revision: self.meta.compacted }.into());
        }
        if revision > self.meta.revision {
            return Err(Refused::FutureRevision.into());
        }
        self.meta.compacted = revision;
        effect.digest.number(COMPACT);
        effect.digest.number(revision as u64);
        Ok(Reply::Compact)
    }

    fn lease_grant(&mut self, id: LeaseId, ttl: i64, effect: &mut Effect) -> Outcome<Reply> {
        // Id 0 means "no lease" everywhere else.
        if id == 0 || self.leases.get(&id).is_some() {
            return Err(Refused::LeaseExists.into());
        }
        // The entry under way.
        let at = self.meta.applied.index.next();
        self.tally.granted += 1;
        self.set_lease(id, LeaseInfo { ttl, remaining: 0, at }, effect);
        effect.leases.push(LeaseChange::Granted { id, ttl, at });
        Ok(Reply::LeaseGrant { id, ttl })
    }

    fn set_lease(&mut self, id: LeaseId, info: LeaseInfo, effect: &mut Effect) {
        self.state.put(self.keys.lease(&mut self.key_buf, id), &info.encode());
        self.leases.insert(id, info);
        effect.digest.number(LEASE);
        effect.digest.number(id as u64);
        effect.digest.number(info.ttl as u64);
        effect.digest.number(info.remaining as u64);
    }

    fn lease_revoke(&mut self, ids: &[LeaseId], effect: &mut Effect) -> Outcome<Reply> {
        if ids.iter().any(|id| self.leases.get(id).is_none()) {
            return Err(Refused::LeaseNotFound.into());
        }
        for id in ids {
            self.end_lease(*id, effect)?;
        }
        Ok(Reply::Lease)
    }

    fn lease_expire(&mut self, grants: &[Grant], effect: &mut Effect) -> Outcome<Reply> {
        for grant in grants {
            if self.granted(*grant).is_some() {
                self.tally.expired += 1;
                self.end_lease(grant.id, effect)?;
            }
        }
        Ok(Reply::Lease)
    }

    /// The lease, if it is still this grant of it.
    fn granted(&self, grant: Grant) -> Option<LeaseInfo> {
        self.leases.get(&grant.id).filter(|info| grant.is(info.at)).copied()
    }

    fn end_lease(&mut self, id: LeaseId, effect: &mut Effect) -> StateResult<()> {
        if self.leases.remove(&id).is_none() {
            return Ok(());
        }
        loop {
            // Those before are gone from there.
            let keys = keys_of(&Written(&*self.state), self.keys, id, PIECE_KEYS)?;
            for key in &keys {
                let stored =
                    self.stored(key)?.ok_or_else(|| damaged("a lease's key that is not there, which"))?;
                self.tally.deletes += 1;
                self.delete_key(key, &stored, effect)?;
            }
            if keys.len() < PIECE_KEYS {
                break;
            }
        }
        self.tally.revoked += 1;
        self.close(effect);
        self.state.delete(self.keys.lease(&mut self.key_buf, id));
        effect.digest.number(REVOKE);
        effect.digest.number(id as u64);
        effect.leases.push(LeaseChange::Revoked { id });
        Ok(())
    }

    fn lease_checkpoint(&mut self, remaining: &[(Grant, i64)], effect: &mut Effect) {
        for (grant, seconds) in remaining {
            if let Some(info) = self.granted(*grant) {
                self.set_lease(grant.id, LeaseInfo { remaining: *seconds, ..info }, effect);
                effect.leases.push(LeaseChange::Checkpointed { id: grant.id, remaining: *seconds });
            }
        }
    }
}

/// What a newer release wrote into the log must not be passed over: the state would be another than where it was applied.
fn newer(index: Index, data: &[u8]) -> StateError {
    let version = data.first().copied().unwrap_or_default();
    StateError::newer(format!(
        "entry {index} of the log is a command of version {version}, and this release knows up to {}",
        command::VERSION
    ))
}

/// What the digest calls the effects.
const REFUSED: u64 = 1;
const PUT: u64 = 2;
const DELETE: u64 = 3;
const COMPACT: u64 = 4;
const LEASE: u64 = 5;
const REVOKE: u64 = 6;
/// With the next number: a transaction whose compares held.
const TXN: u64 = 7;
const FENCE: u64 = 9;
const FENCE_DROP: u64 = 10;
