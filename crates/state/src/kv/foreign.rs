//! A space made of the versions that another store with etcd's data model kept: as the chunks of a snapshot, so that it comes in by
//! the same way as any other.
//!
//! Revisions, versions and leases stay as they were. Below the compacted revision there are only the versions that are readable
//! at it, and no events.

use super::alarm::stored;
use super::counts::BLOCK_MAX;
use super::layout::{Change, KEY_MAX, Keys, PREFIX, Path, Record, Rev, encode_mark, table};
use super::lease::LeaseInfo;
use super::meta::Meta;
use super::sweep::{change_bytes, mark_bytes, replaced_bytes};
use super::transfer::{NUMBERS, bad, framed, put_bytes};
use super::versions::numbers_of;
use bytes::Bytes;
use quorate_base::{EntryId, Index, ShardId};
use quorate_storage::state::StateResult;
use quorate_wire::kv::{Alarm, KeyValue, LeaseId, Revision};
use std::collections::BTreeMap;

/// How large a chunk is, about.
const CHUNK_BYTES: usize = 1 << 20;

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

/// All of another store.
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
    /// In the order of their revisions.
    pub versions: Vec<ForeignVersion>,
    /// What [`super::KvView::beside`] gave, where that store was written by this program; else empty.
    pub beside: Vec<(Bytes, Bytes)>,
}

impl Foreign {
    /// The space as a snapshot behind the entry `applied`; `digest` stands for what was done before. Where it has numbers of its own
    /// beside, those hold.
    pub fn into_chunks(self, applied: EntryId, digest: u64) -> StateResult<Vec<Bytes>> {
        let keys = Keys::new(ShardId(0), 0);
        let mut stream: BTreeMap<Vec<u8>, Bytes> = BTreeMap::new();
        let mut meta = Meta {
            applied,
            revision: self.revision.max(1),
            compacted: if self.compacted > 0 { self.compacted } else { -1 },
            swept: Rev::new(self.compacted.max(0), 0),
            digest,
            ..Meta::new()
        };
        if let Some(own) = numbers_of(&self.beside)? {
            if own.revision < meta.revision || own.compacted.max(0) != self.compacted.max(0) {
                return Err(bad("its revisions are not those that stand beside them"));
            }
            let swept = meta.swept;
            meta = Meta { swept, live_bytes: 0, history_bytes: 0, ..own };
        }
        let mut put = |key: &[u8], value: Bytes| drop(stream.insert(key[PREFIX..].to_vec(), value));
        let (mut buf, mut out) = (Vec::new(), Vec::new());
        for &(id, ttl, remaining) in &self.leases {
            let info = LeaseInfo { ttl, remaining, at: Index(0) };
            put(keys.lease(&mut buf, id), info.encode().into());
        }
        for &alarm in &self.alarms {
            put(keys.raw(&mut buf, table::ALARM, &stored(alarm)), Bytes::new());
        }
        // With what etcd does not keep of leases.
        for (key, value) in &self.beside {
            buf.clear();
            buf.extend_from_slice(&[0; PREFIX]);
            buf.extend_from_slice(key);
            put(&buf, value.clone());
        }
        let mut latest: BTreeMap<Bytes, Record> = BTreeMap::new();
        for ForeignVersion { key, revision, sub, pair } in self.versions {
            if key.is_empty() || key.len() > KEY_MAX {
                return Err(bad(&format!("a key of {} bytes; this release takes 1 to {KEY_MAX}", key.len())));
            }
            let rev = Rev::new(revision, sub);
            let old = latest.remove(&key);
            if revision > self.compacted && !follows(old.as_ref(), revision, pair.as_ref()) {
                return Err(bad(&format!(
                    "the change at revision {revision} does not follow the one before of its key"
                )));
            }
            let record = pair.map(|pair| Record {
                create: pair.create_revision,
                rev,
                version: pair.version,
                lease: pair.lease,
                path: match &old {
                    Some(old) if old.version + 1 == pair.version => old.path.next(old.version, old.rev),
                    _ => Path::unknown(pair.version),
                },
                value: pair.value,
            });
            let mut log = |rev: Rev, change: &Change| {
                put(keys.event(&mut buf, rev), Bytes::copy_from_slice(change.encode(&mut out)));
            };
            // The newest one at the compacted revision, if this is not itself one that the compaction left for its sweep.
            let kept = |old: &&Record| old.rev.main < self.compacted && revision >= self.compacted;
            if let Some(old) = old.as_ref().filter(kept) {
                // Its own change is not known.
                let put = Some(old.first_known());
                log(old.rev, &Change { prev: Rev::NONE, prev_bytes: 0, key: key.clone(), put });
            }
            if revision >= self.compacted {
                let prev = old.as_ref().map_or(Rev::NONE, |old| old.rev);
                let prev_bytes = old.as_ref().map_or(0, |old| old.value.len() as u64);
                let change = Change { prev, prev_bytes, key: key.clone(), put: record.clone() };
                log(rev, &change);
                meta.history_bytes += replaced_bytes(&change);
                if record.is_none() {
                    put(
                        keys.deleted(&mut buf, &key, rev),
                        Bytes::copy_from_slice(encode_mark(&mut out, prev)),
                    );
                    meta.history_bytes += change_bytes(&change) + mark_bytes(&key);
                }
            }
            if let Some(record) = record {
                latest.insert(key, record);
            }
        }
        let (mut boundary, mut count) = (Bytes::new(), 0_u32);
        for (key, record) in &latest {
            let stored = Bytes::copy_from_slice(record.encode(&mut out));
            meta.live_bytes += (key.len() + stored.len()) as i64;
            put(keys.raw(&mut buf, table::LATEST, key), stored);
            if record.lease != 0 {
                put(keys.lease_key(&mut buf, record.lease, key), Bytes::new());
            }
            if count == BLOCK_MAX / 2 {
                put(
                    keys.raw(&mut buf, table::BLOCK, &boundary),
                    Bytes::copy_from_slice(&count.to_le_bytes()),
                );
                (boundary, count) = (key.clone(), 0);
            }
            count += 1;
        }
        put(keys.raw(&mut buf, table::BLOCK, &boundary), Bytes::copy_from_slice(&count.to_le_bytes()));
        stream.insert(vec![NUMBERS], meta.encode().into());
        Ok(pack(&stream))
    }
}

/// Whether this is what comes of a key's newest version: behind the compacted revision nothing in between is missing.
fn follows(old: Option<&Record>, revision: Revision, pair: Option<&KeyValue>) -> bool {
    match (old, pair) {
        (None, Some(pair)) => pair.version == 1 && pair.create_revision == revision,
        (Some(old), Some(pair)) => pair.version == old.version + 1 && pair.create_revision == old.create,
        (old, None) => old.is_some(),
    }
}

fn pack(stream: &BTreeMap<Vec<u8>, Bytes>) -> Vec<Bytes> {
    let (mut chunks, mut after) = (Vec::new(), Vec::new());
    let mut pairs = stream.iter().peekable();
    while pairs.peek().is_some() {
        let mut body = vec![0];
        put_bytes(&mut body, &after);
        while body.len() < CHUNK_BYTES {
            let Some((key, value)) = pairs.next() else { break };
            put_bytes(&mut body, key);
            put_bytes(&mut body, value);
            after.clone_from(key);
        }
        body[0] = u8::from(pairs.peek().is_none());
        chunks.push(framed(body));
    }
    chunks
}
