//! A space made of the versions that another store with etcd's data model kept, one by one in the order of their revisions: however
//! many they are, no more of them is held than of any writes.
//!
//! Revisions, versions and leases stay as they were. Below the compacted revision there are only the versions that are readable
//! at it, and no events. What a version replaces is looked up in the state, as where a command is applied, so that a change which does
//! not follow the one before of its key is found; whoever only looks ([`super::Census`]) finds it, too.

use super::alarm::{self, stored};
use super::layout::{KEY_MAX, Path, Record, Rev, damaged, encode_mark, table};
use super::lease::{self, LeaseInfo};
use super::meta::Meta;
use super::source::Written;
use super::survey::{Contents, Counts};
use super::sweep::{change_bytes, mark_bytes, replaced_bytes};
use super::transfer::{NUMBERS, bad};
use super::{Kv, fence};
use crate::table::Tables;
use bytes::Bytes;
use quorate_base::{Base, EntryId, Index};
use quorate_storage::state::StateResult;
use quorate_wire::kv::{Alarm, KeyValue, LeaseId, Revision};

/// One change of one key, as another store kept it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForeignVersion {
    /// The key.
    pub key: Bytes,
    /// Its revision.
    pub revision: Revision,
    /// Its place in that.
    pub sub: u32,
    /// The pair, or `None` where it was deleted.
    pub pair: Option<KeyValue>,
}

/// A part of another store: there may be more of them than fit into memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ForeignPart {
    /// Of its space, in the order of their revisions.
    Version(ForeignVersion),
    /// One of the pairs that [`super::KvView::beside`] gave, where the store was written by this program.
    Beside(Bytes, Bytes),
}

/// All of another store but its parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Foreign {
    /// The newest revision.
    pub revision: Revision,
    /// The compacted one, 0 for none.
    pub compacted: Revision,
    /// Leases with their seconds, granted and remaining (0 where it is not known).
    pub leases: Vec<(LeaseId, i64, i64)>,
    /// Alarms that stand, where they are to go on standing.
    pub alarms: Vec<Alarm>,
    /// What its pairs beside come to.
    pub beside: Beside,
}

/// What a store written by this program has beside what etcd keeps, as far as it is told without all of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Beside {
    numbers: Option<Meta>,
    any: bool,
    leases: u64,
    fences: u64,
    alarms: u64,
    elsewhere: Vec<String>,
    tables: Vec<String>,
}

impl Beside {
    /// Takes the next pair down, and refuses what cannot be among them.
    pub fn pair(&mut self, key: &[u8], value: &[u8]) -> StateResult<()> {
        self.any = true;
        match key.first() {
            Some(&NUMBERS) if key.len() == 1 => self.numbers = Some(Meta::decode(value)?),
            Some(&table::LEASE) => self.leases += 1,
            Some(&table::FENCE) => self.fences += 1,
            Some(&table::ALARM) => self.alarms += 1,
            Some(&table::TABLE) => {
                self.elsewhere.extend(crate::table::elsewhere(&key[1..], value)?);
                self.tables.extend(crate::table::defined(&key[1..])?);
            }
            _ => return Err(damaged("what a snapshot holds beside etcd's data")),
        }
        Ok(())
    }
}

impl Foreign {
    /// The machine's numbers behind the entry `applied`; `digest` stands for what was done before. Where the store has numbers of its own
    /// beside, those hold.
    fn meta(&self, applied: EntryId, digest: u64) -> StateResult<Meta> {
        let meta = Meta {
            applied,
            revision: self.revision.max(1),
            compacted: if self.compacted > 0 { self.compacted } else { -1 },
            swept: Rev::new(self.compacted.max(0), 0),
            digest,
            ..Meta::new()
        };
        let Some(own) = &self.beside.numbers else {
            let numberless = self.beside.any.then(|| bad("what stands beside etcd's data has no numbers"));
            return numberless.map_or(Ok(meta), Err);
        };
        if own.revision < meta.revision || own.compacted.max(0) != self.compacted.max(0) {
            return Err(bad("its revisions are not those that stand beside them"));
        }
        Ok(Meta { swept: meta.swept, live_bytes: 0, history_bytes: 0, ..own.clone() })
    }

    /// What is in it, without how many keys and changes its versions come to.
    pub fn contents(&self, applied: EntryId, digest: u64) -> StateResult<Contents> {
        let Beside { numbers, leases, fences, alarms, elsewhere, tables, .. } = &self.beside;
        let (leases, alarms) = match numbers {
            Some(_) => (*leases, *alarms),
            None => (self.leases.len() as u64, self.alarms.len() as u64),
        };
        let counts = Counts { changes: 0, leases, fences: *fences, alarms };
        Ok(Contents::of(self.meta(applied, digest)?, 0, counts, elsewhere.clone(), tables.clone()))
    }
}

/// Whether a version can be kept, where `old` (its revision of creation and its version) was the newest of its key.
pub(super) fn check(
    version: &ForeignVersion,
    old: Option<(Revision, i64)>,
    compacted: Revision,
) -> StateResult<()> {
    let ForeignVersion { key, revision, pair, .. } = version;
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(bad(&format!("a key of {} bytes; this release takes 1 to {KEY_MAX}", key.len())));
    }
    // Behind the compacted revision nothing in between is missing.
    let follows = match (old, pair) {
        (None, Some(pair)) => pair.version == 1 && pair.create_revision == *revision,
        (Some((create, before)), Some(pair)) => pair.version == before + 1 && pair.create_revision == create,
        (old, None) => old.is_some(),
    };
    if *revision > compacted && !follows {
        return Err(bad(&format!(
            "the change at revision {revision} does not follow the one before of its key"
        )));
    }
    Ok(())
}

/// A space that is being made so, in a machine with nothing in it.
pub struct Adopting<'k> {
    kv: &'k mut Kv,
    /// Events that were written.
    changes: u64,
}

impl Kv {
    /// Begins to make the space of another store this machine's, which has none yet: behind the entry `applied`, with `digest` for what was
    /// done before. After an error, or without [`Adopting::finish`], there is no machine.
    pub fn adopt(&mut self, foreign: &Foreign, applied: EntryId, digest: u64) -> StateResult<Adopting<'_>> {
        assert_eq!(self.meta.applied, EntryId::ZERO, "a machine that has something takes in another space");
        self.meta = foreign.meta(applied, digest)?;
        for &(id, ttl, remaining) in &foreign.leases {
            let info = LeaseInfo { ttl, remaining, at: Index(0) };
            self.state.put(self.keys.lease(&mut self.key_buf, id), &info.encode());
        }
        for &alarm in &foreign.alarms {
            self.state.put(self.keys.raw(&mut self.key_buf, table::ALARM, &stored(alarm)), b"");
        }
        Ok(Adopting { kv: self, changes: 0 })
    }
}

impl Adopting<'_> {
    /// Takes the next part.
    pub fn part(&mut self, part: ForeignPart) -> StateResult<()> {
        match part {
            ForeignPart::Version(version) => self.version(version),
            // The numbers came before. What else there is says more of leases than etcd does.
            ForeignPart::Beside(key, _) if key[..] == [NUMBERS] => Ok(()),
            ForeignPart::Beside(key, value) => {
                Beside::default().pair(&key, &value)?;
                let kv = &mut *self.kv;
                kv.state.put(kv.keys.raw(&mut kv.key_buf, key[0], &key[1..]), &value);
                Ok(())
            }
        }
    }

    fn version(&mut self, version: ForeignVersion) -> StateResult<()> {
        let kv = &mut *self.kv;
        let stored = kv.stored(&version.key)?;
        let old = stored.clone().map(Record::decode).transpose()?;
        let compacted = kv.compacted();
        check(&version, old.as_ref().map(|old| (old.create, old.version)), compacted)?;
        let ForeignVersion { key, revision, sub, pair } = version;
        let told = revision >= compacted;
        // The newest one at the compacted revision is told of, too, where it is replaced.
        let first = old.as_ref().is_some_and(|old| old.rev < kv.meta.swept);
        self.changes += if told { 1 + u64::from(first) } else { 0 };
        kv.meta.live_bytes -= stored.as_ref().map_or(0, |stored| key.len() + stored.len()) as i64;
        let rev = Rev::new(revision, sub);
        let lease = pair.as_ref().map_or(0, |pair| pair.lease);
        if let Some(pair) = pair {
            let record = Record {
                create: pair.create_revision,
                rev,
                version: pair.version,
                lease,
                path: match &old {
                    Some(old) if old.version + 1 == pair.version => old.path.next(old.version, old.rev),
                    _ => Path::unknown(pair.version),
                },
                value: pair.value,
            };
            let bytes = kv.put_foreign(&key, old.as_ref(), record, told);
            kv.meta.live_bytes += (key.len() + bytes) as i64;
            if old.is_none() {
                kv.counts.created(&key, &Written(&*kv.state), kv.keys)?;
            }
        } else {
            kv.delete_foreign(&key, rev, old.as_ref(), told);
            if old.is_some() {
                kv.counts.deleted(&key)?;
            }
        }
        kv.move_lease(&key, old.map_or(0, |old| old.lease), lease);
        Ok(())
    }

    /// All of it has come: the machine has the space, with the membership of `base`, which is behind the entry that it was begun with.
    /// Gives how many keys and changes it has.
    pub fn finish(self, base: &Base) -> StateResult<(u64, u64)> {
        let (kv, changes) = (self.kv, self.changes);
        if base.id != kv.meta.applied {
            return Err(bad("it is not behind the entry that was announced"));
        }
        let source = Written(&*kv.state);
        kv.leases = lease::load(&source, kv.keys)?;
        kv.fences = fence::load(&source, kv.keys)?;
        kv.alarms = alarm::load(&source, kv.keys)?;
        kv.tables = Tables::open(&kv.keys.tables(), &source)?;
        kv.before = base.id;
        kv.meta.membership = base.membership.clone();
        Ok((kv.counts.blocks().weight(), changes))
    }
}

impl Kv {
    /// Returns the bytes of the version. One that no event tells of stands with its key alone.
    fn put_foreign(&mut self, key: &Bytes, old: Option<&Record>, record: Record, told: bool) -> usize {
        if told {
            let rev = record.rev;
            let change = self.change(key, old, Some(record));
            return self.store(rev, &change);
        }
        let latest = self.keys.raw(&mut self.key_buf, table::LATEST, key);
        self.recent.delete(latest);
        let stored = record.encode(&mut self.value_buf);
        self.state.put(latest, stored);
        stored.len()
    }

    fn delete_foreign(&mut self, key: &Bytes, rev: Rev, old: Option<&Record>, told: bool) {
        let latest = self.keys.raw(&mut self.key_buf, table::LATEST, key);
        self.recent.delete(latest);
        self.state.delete(latest);
        if told {
            let change = self.change(key, old, None);
            let mark = self.keys.deleted(&mut self.key_buf, key, rev);
            self.state.put(mark, encode_mark(&mut self.value_buf, change.prev));
            self.meta.history_bytes += replaced_bytes(&change) + change_bytes(&change) + mark_bytes(key);
            self.record(rev, &change);
        }
    }
}
