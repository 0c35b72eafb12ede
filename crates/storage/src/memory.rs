//! The memory form of [`State`]: an ordered map with versions, for the simulator. Its checkpoints are files on a
//! [`Disk`], so that the simulated disk can harm them.

use crate::journal::Identity;
use crate::manifest::{FileEntry, Manifest, ManifestError};
use crate::state::{
    CheckpointJob, Range, Scan, State, StateError, StateResult, StateStore, Upkeep, View,
};
use bytes::{Buf, BufMut, Bytes};
use quorate_base::disk::{Disk, DiskError, DiskErrorKind};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A key's values, oldest first, each with the write that made it.
type Versions = Vec<(u64, Option<Bytes>)>;

#[derive(Default)]
struct Map {
    pairs: BTreeMap<Bytes, Versions>,
    /// Views that are alive, by the write they stand at.
    views: BTreeMap<u64, usize>,
}

type Shared = Arc<Mutex<Map>>;

fn lock(map: &Shared) -> MutexGuard<'_, Map> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A state in memory.
pub struct MemoryState {
    map: Shared,
    writes: u64,
    unsealed: u64,
    home: Home,
}

/// Where checkpoints go.
#[derive(Clone)]
struct Home {
    disk: Arc<dyn Disk>,
    dir: String,
    identity: Identity,
}

/// Opens states from checkpoints on a disk.
pub struct MemoryStore {
    home: Home,
}

impl MemoryStore {
    /// Checkpoints lie in `dir`.
    pub fn new(disk: Arc<dyn Disk>, dir: &str, identity: Identity) -> Self {
        Self { home: Home { disk, dir: dir.to_string(), identity } }
    }
}

impl StateStore for MemoryStore {
    fn open(&mut self, generation: Option<u64>) -> StateResult<Box<dyn State>> {
        let pairs = match generation {
            Some(generation) => self.home.read(generation)?,
            None => BTreeMap::new(),
        };
        let map = Map { pairs, views: BTreeMap::new() };
        Ok(Box::new(MemoryState {
            map: Arc::new(Mutex::new(map)),
            writes: 1,
            unsealed: 0,
            home: self.home.clone(),
        }))
    }
}

impl Home {
    fn dir_of(&self, generation: u64) -> String {
        format!("{}/{generation:016}", self.dir)
    }

    fn read(&self, generation: u64) -> StateResult<BTreeMap<Bytes, Versions>> {
        let dir = self.dir_of(generation);
        let manifest = Manifest::read(self.disk.as_ref(), &dir, self.identity).map_err(|e| manifest_error(&e))?;
        let mut pairs = BTreeMap::new();
        for entry in &manifest.files {
            let path = format!("{dir}/{}", entry.name);
            let bad = || StateError { context: format!("{path} does not verify"), damaged: true };
            let file = self.disk.open(&path).map_err(|e| disk_error(&e))?;
            if file.size().map_err(|e| disk_error(&e))? != entry.size {
                return Err(bad());
            }
            let mut bytes = vec![0; entry.size as usize];
            file.read_at(0, &mut bytes).map_err(|e| disk_error(&e))?;
            if entry.crc != Some(crc32c::crc32c(&bytes)) {
                return Err(bad());
            }
            read_pairs(bytes.into(), &mut pairs).ok_or_else(bad)?;
        }
        Ok(pairs)
    }

    fn write(&self, generation: u64, bytes: &[u8]) -> Result<(), ManifestError> {
        let dir = self.dir_of(generation);
        self.disk.create_dir(&dir)?;
        let path = format!("{dir}/pairs");
        match self.disk.remove(&path) {
            Ok(()) => {}
            Err(error) if error.kind == DiskErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let mut file = self.disk.create(&path, bytes.len() as u64)?;
        file.write_at(0, bytes)?;
        file.sync()?;
        let files =
            vec![FileEntry { name: "pairs".into(), size: bytes.len() as u64, crc: Some(crc32c::crc32c(bytes)) }];
        Manifest { identity: self.identity, generation, files }.write(self.disk.as_ref(), &dir)?;
        // The one before may still be the recorded one; those before it are not needed.
        if let Some(old) = generation.checked_sub(2) {
            let dir = self.dir_of(old);
            for name in self.disk.list(&dir)? {
                self.disk.remove(&format!("{dir}/{name}"))?;
            }
        }
        Ok(())
    }
}

fn read_pairs(mut rest: Bytes, into: &mut BTreeMap<Bytes, Versions>) -> Option<()> {
    while !rest.is_empty() {
        let key_len = rest.try_get_u32_le().ok()? as usize;
        let value_len = rest.try_get_u32_le().ok()? as usize;
        if key_len + value_len > rest.len() {
            return None;
        }
        let key = rest.split_to(key_len);
        into.insert(key, vec![(0, Some(rest.split_to(value_len)))]);
    }
    Some(())
}

fn manifest_error(error: &ManifestError) -> StateError {
    let damaged = !matches!(error, ManifestError::Disk(_));
    StateError { context: error.to_string(), damaged }
}

fn disk_error(error: &DiskError) -> StateError {
    // A file that the manifest names and that is not there is damage.
    let damaged = error.kind == DiskErrorKind::NotFound;
    StateError { context: error.to_string(), damaged }
}

impl MemoryState {
    fn set(&mut self, key: &[u8], value: Option<Bytes>) {
        self.writes += 1;
        self.unsealed += (key.len() + value.as_ref().map_or(0, Bytes::len) + 16) as u64;
        let mut map = lock(&self.map);
        let oldest = map.views.first_key_value().map_or(u64::MAX, |(&at, _)| at);
        let map = &mut *map;
        match map.pairs.get_mut(key) {
            Some(versions) => {
                versions.push((self.writes, value));
                // What no view can see any more goes.
                while versions.len() > 1 && versions[1].0 <= oldest {
                    versions.remove(0);
                }
                if versions.len() == 1 && versions[0].1.is_none() {
                    map.pairs.remove(key);
                }
            }
            None if value.is_some() => {
                map.pairs.insert(Bytes::copy_from_slice(key), vec![(self.writes, value)]);
            }
            None => {}
        }
    }

    fn at(&self) -> Reading<'_> {
        Reading { map: &self.map, at: self.writes }
    }
}

struct Reading<'a> {
    map: &'a Shared,
    at: u64,
}

impl<'a> Reading<'a> {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        lock(self.map).pairs.get(key).and_then(|v| value_at(v, self.at))
    }

    /// One pair at a time, so that the map is never held while the caller works.
    fn scan(self, range: Range<'_>, back: bool) -> Scan<'a> {
        let own = |b: Bound<&[u8]>| b.map(Bytes::copy_from_slice);
        let (mut low, mut high) = (own(range.0), own(range.1));
        Box::new(std::iter::from_fn(move || {
            let map = lock(self.map);
            loop {
                if is_empty(&low, &high) {
                    return None;
                }
                let mut pairs = map.pairs.range::<Bytes, _>((low.as_ref(), high.as_ref()));
                let (key, versions) = if back { pairs.next_back()? } else { pairs.next()? };
                let key = key.clone();
                if back {
                    high = Bound::Excluded(key.clone());
                } else {
                    low = Bound::Excluded(key.clone());
                }
                if let Some(value) = value_at(versions, self.at) {
                    return Some(Ok((key, value)));
                }
            }
        }))
    }
}

/// `BTreeMap::range` panics on such ranges.
fn is_empty(low: &Bound<Bytes>, high: &Bound<Bytes>) -> bool {
    match (low, high) {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
        _ => false,
    }
}

fn value_at(versions: &Versions, at: u64) -> Option<Bytes> {
    versions.iter().rev().find(|(made, _)| *made <= at).and_then(|(_, value)| value.clone())
}

impl State for MemoryState {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.set(key, Some(Bytes::copy_from_slice(value)));
    }

    fn delete(&mut self, key: &[u8]) {
        self.set(key, None);
    }

    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        Ok(self.at().get(key))
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.at().scan(range, false)
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.at().scan(range, true)
    }

    fn view(&self) -> Arc<dyn View> {
        *lock(&self.map).views.entry(self.writes).or_default() += 1;
        Arc::new(MemoryView { map: self.map.clone(), at: self.writes })
    }

    fn seal(&mut self) -> StateResult<Box<dyn CheckpointJob>> {
        self.unsealed = 0;
        let mut bytes = Vec::new();
        for (key, versions) in &lock(&self.map).pairs {
            if let Some(value) = value_at(versions, self.writes) {
                bytes.put_u32_le(key.len() as u32);
                bytes.put_u32_le(value.len() as u32);
                bytes.put_slice(key);
                bytes.put_slice(&value);
            }
        }
        Ok(Box::new(MemoryJob { home: self.home.clone(), bytes }))
    }

    fn unsealed_bytes(&self) -> u64 {
        self.unsealed
    }

    fn upkeep(&self) -> Option<Box<dyn Upkeep>> {
        None
    }
}

struct MemoryJob {
    home: Home,
    bytes: Vec<u8>,
}

impl CheckpointJob for MemoryJob {
    fn run(self: Box<Self>, generation: u64) -> StateResult<()> {
        self.home.write(generation, &self.bytes).map_err(|e| manifest_error(&e))
    }
}

struct MemoryView {
    map: Shared,
    at: u64,
}

impl Drop for MemoryView {
    fn drop(&mut self) {
        let mut map = lock(&self.map);
        if let Some(count) = map.views.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                map.views.remove(&self.at);
            }
        }
    }
}

impl View for MemoryView {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        Ok(Reading { map: &self.map, at: self.at }.get(key))
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        Reading { map: &self.map, at: self.at }.scan(range, false)
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        Reading { map: &self.map, at: self.at }.scan(range, true)
    }
}
