//! How many keys and changes the versions of another store come to, and whether each follows the one before of its key, without a
//! place to keep them: whoever reads them reads them several times, and each time some of the keys are looked at, as many as may be held.
//!
//! Which keys is told by a hash of them: those in a range that begins where the one of the time before ended, and ends where it must,
//! which is found out on the way.

use super::foreign::{ForeignVersion, check};
use super::layout::Rev;
use crate::digest::Digest;
use quorate_storage::state::StateResult;
use quorate_wire::kv::Revision;
use std::collections::BTreeMap;

/// So many keys are held at once, of some 60 bytes each. Few in the crate's own tests, so that it takes several times.
const HELD_MAX: usize = if cfg!(test) { 40 } else { 1 << 20 };

/// Two hashes of a key: of one alone there might be two keys.
type Hash = (u64, u64);

/// Counts them.
#[derive(Debug)]
pub struct Census {
    compacted: Revision,
    /// The keys of this time: from the first on, before the other.
    from: Hash,
    to: Option<Hash>,
    held: BTreeMap<Hash, Newest>,
    keys: u64,
    changes: u64,
}

/// The newest version of a key so far, and how many changes there were.
#[derive(Debug, Default)]
struct Newest {
    /// Revision of creation and version, where it is there.
    pair: Option<(Revision, i64)>,
    rev: Rev,
    changes: u64,
}

impl Census {
    /// Of a store with this compacted revision.
    pub fn new(compacted: Revision) -> Self {
        Self { compacted, from: (0, 0), to: None, held: BTreeMap::new(), keys: 0, changes: 0 }
    }

    /// Takes the next version. An error says that it cannot be restored.
    pub fn version(&mut self, version: &ForeignVersion) -> StateResult<()> {
        let hash = hash(&version.key);
        if hash < self.from || self.to.is_some_and(|to| hash >= to) {
            return Ok(());
        }
        let newest = self.held.entry(hash).or_default();
        check(version, newest.pair, self.compacted)?;
        if version.revision >= self.compacted {
            newest.changes += 1 + u64::from(newest.pair.is_some() && newest.rev.main < self.compacted);
        }
        newest.rev = Rev::new(version.revision, version.sub);
        newest.pair = version.pair.as_ref().map(|pair| (pair.create_revision, pair.version));
        if self.held.len() > HELD_MAX {
            let middle = self.held.keys().nth(HELD_MAX / 2).copied();
            if let Some(middle) = middle {
                drop(self.held.split_off(&middle));
                self.to = Some(middle);
            }
        }
        Ok(())
    }

    /// All versions have come; true if they must come once more.
    pub fn goes_on(&mut self) -> bool {
        for newest in std::mem::take(&mut self.held).into_values() {
            self.keys += u64::from(newest.pair.is_some());
            self.changes += newest.changes;
        }
        let to = self.to.take();
        self.from = to.unwrap_or(self.from);
        to.is_some()
    }

    /// How many keys and changes there are.
    pub fn count(&self) -> (u64, u64) {
        (self.keys, self.changes)
    }
}

fn hash(key: &[u8]) -> Hash {
    let of = |seed| {
        let mut digest = Digest::new(seed);
        digest.bytes(key);
        digest.value()
    };
    (of(1), of(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use quorate_base::Rng;
    use quorate_wire::kv::KeyValue;

    /// A history of many keys that is compacted at 800, as etcd keeps it.
    fn versions() -> Vec<ForeignVersion> {
        let (mut rng, mut newest) = (Rng::new(6), BTreeMap::<u64, KeyValue>::new());
        let mut all = Vec::new();
        for revision in 2..3_000 {
            let of = rng.below(400);
            let key = Bytes::from(format!("k{of}"));
            let old = newest.remove(&of);
            let pair = (old.is_none() || rng.chance(3, 4)).then(|| KeyValue {
                key: key.clone(),
                create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
                mod_revision: revision,
                version: old.map_or(1, |old| old.version + 1),
                ..KeyValue::default()
            });
            newest.extend(pair.clone().map(|pair| (of, pair)));
            all.push(ForeignVersion { key, revision, sub: 0, pair });
        }
        // Before, each key has its newest version at most.
        let mut kept = BTreeMap::new();
        for (at, version) in all.iter().enumerate().filter(|(_, version)| version.revision < 800) {
            kept.insert(version.key.clone(), (at, version.pair.is_some()));
        }
        let kept: Vec<usize> = kept.into_values().filter(|(_, there)| *there).map(|(at, _)| at).collect();
        let stays = |at: &usize| all[*at].revision >= 800 || kept.contains(at);
        (0..all.len()).filter(stays).map(|at| all[at].clone()).collect()
    }

    fn counted(versions: &[ForeignVersion]) -> StateResult<((u64, u64), usize)> {
        let (mut census, mut times) = (Census::new(800), 1);
        loop {
            versions.iter().try_for_each(|version| census.version(version))?;
            if !census.goes_on() {
                return Ok((census.count(), times));
            }
            times += 1;
        }
    }

    /// Claim: however few keys are held at once, all of them are counted once, with their changes; and whichever change does not follow the
    /// one before is found.
    #[test]
    fn all_keys_are_counted_once_and_each_is_looked_at() {
        let versions = versions();
        let (mut newest, mut changes) = (BTreeMap::new(), 0);
        for version in &versions {
            let old: Option<ForeignVersion> = newest.insert(version.key.clone(), version.clone());
            let first = old.is_some_and(|old| old.revision < 800);
            changes += if version.revision < 800 { 0 } else { 1 + u64::from(first) };
        }
        let keys = newest.values().filter(|version| version.pair.is_some()).count() as u64;
        let (count, times) = counted(&versions).unwrap();
        assert_eq!(count, (keys, changes));
        assert!(times > 8, "{times} times");
        for at in (0..versions.len()).filter(|&at| versions[at].revision > 800).step_by(7) {
            let mut bad = versions.clone();
            match &mut bad[at].pair {
                Some(pair) => pair.version += 1,
                None => bad[at].key = "never there".into(),
            }
            assert!(counted(&bad).is_err(), "{:?}", versions[at]);
        }
    }
}
