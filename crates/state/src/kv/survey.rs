//! What is in a snapshot, told from its chunks without a store: for whoever wants to know before it is restored.

use super::layout::table;
use super::meta::Meta;
use super::transfer::{Chunk, Incoming, NUMBERS, bad, parse};
use bytes::Bytes;
use quorate_base::{Base, ShardId};
use quorate_storage::state::StateResult;
use quorate_wire::kv::Revision;

/// Takes a snapshot's chunks, in order, and counts.
pub struct Survey {
    incoming: Incoming,
    counts: Counts,
    elsewhere: Vec<String>,
    tables: Vec<String>,
}

/// How much of what there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) changes: u64,
    pub(super) leases: u64,
    pub(super) fences: u64,
    pub(super) alarms: u64,
}

/// What is in a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents {
    /// The last entry in it, and the configuration in force there.
    pub base: Base,
    /// The newest revision.
    pub revision: Revision,
    /// The oldest revision that can be read; 0 before the first compaction.
    pub compacted: Revision,
    /// The digest of all that was done.
    pub digest: u64,
    /// How many keys there are.
    pub keys: u64,
    /// How many changes the history holds: those since the compaction, and the versions at it that were replaced since.
    pub changes: u64,
    /// How many leases there are.
    pub leases: u64,
    /// For how many names a fencing token was shown.
    pub fences: u64,
    /// How many alarms stand.
    pub alarms: u64,
    /// The tables that have shards of their own: their definitions are in it and their items are not. In order.
    pub elsewhere: Vec<String>,
    /// The tables whose items are in it. In order.
    pub tables: Vec<String>,
}

impl Default for Survey {
    fn default() -> Self {
        Self {
            incoming: Incoming::new(ShardId(0), 0),
            counts: Counts::default(),
            elsewhere: vec![],
            tables: vec![],
        }
    }
}

impl Survey {
    /// Takes the next chunk. After an error nothing more is to be taken.
    pub fn chunk(&mut self, data: &[u8]) -> StateResult<()> {
        let Chunk { last, after, pairs } = self.incoming.take(data)?;
        debug_assert!(last || !pairs.is_empty() || after.is_empty());
        for (key, value) in &pairs {
            match key[0] {
                table::EVENT => self.counts.changes += 1,
                table::LEASE => self.counts.leases += 1,
                table::FENCE => self.counts.fences += 1,
                table::ALARM => self.counts.alarms += 1,
                table::TABLE => {
                    self.elsewhere.extend(crate::table::elsewhere(&key[1..], value)?);
                    self.tables.extend(crate::table::defined(&key[1..])?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The result, once all chunks are taken.
    pub fn finish(self) -> StateResult<Contents> {
        let (meta, keys) = self.incoming.whole().ok_or_else(|| bad("it is not whole"))?;
        Ok(Contents::of(meta, keys, self.counts, self.elsewhere, self.tables))
    }
}

impl Contents {
    /// `tables` names all tables, and `elsewhere` those of them whose items are in shards of their own, in any order.
    pub(super) fn of(
        meta: Meta,
        keys: u64,
        counts: Counts,
        mut elsewhere: Vec<String>,
        mut tables: Vec<String>,
    ) -> Self {
        let Meta { applied, membership, revision, compacted, digest, .. } = meta;
        let Counts { changes, leases, fences, alarms } = counts;
        elsewhere.sort();
        tables.retain(|name| !elsewhere.contains(name));
        tables.sort();
        Self {
            base: Base { id: applied, membership },
            revision,
            compacted: compacted.max(0),
            digest,
            keys,
            changes,
            leases,
            fences,
            alarms,
            elsewhere,
            tables,
        }
    }
}

/// The configuration and the last entry that a snapshot tells of, by its first chunk.
pub fn base_of(first: &[u8]) -> StateResult<Base> {
    let chunk = parse(first).ok_or_else(|| bad("its first chunk does not verify"))?;
    let numbers = chunk.pairs.first().filter(|(key, _)| *key == [NUMBERS]);
    let meta = Meta::decode(numbers.ok_or_else(|| bad("it does not begin with its numbers"))?.1)?;
    Ok(Base { id: meta.applied, membership: Bytes::copy_from_slice(&meta.membership) })
}
