//! The memory form of the state: a persistent ordered map, and checkpoints written through [`Disk`].
//!
//! It is the simulator's form, where a faulty disk harms its checkpoints as it would harm real ones, and the standard to
//! which the LSM form is held. A view is a clone of the map's root, so that neither side ever waits for the other.
//!
//! # A checkpoint
//!
//! One file, `DIR/GENERATION.state`, written under a name of its own, synced, renamed and only then complete:
//!
//! ```text
//! header := magic(8) version(u32) cluster(u64) node(u64) generation(u64) pairs(u64) crc(u32 of all before)
//! chunk  := len(u32) crc(u32 of generation, file offset and payload) payload
//! payload:= { key_len(u32) value_len(u32) key value }        all numbers little-endian
//! ```
//!
//! Checksums are CRC-32C, seeded with generation and offset, so that a chunk of another checkpoint or another place does
//! not verify. Opening reads and verifies all of it: this form is for small states. Left out for the same reason: partial
//! checkpoints, compression.

use crate::cow::Tree;
use crate::journal::Identity;
use crate::state::{
    CheckpointJob, Range, Scan, State, StateError, StateErrorKind, StateResult, StateStore, Upkeep, View,
};
use bytes::Bytes;
use quorate_base::disk::{Disk, DiskError, DiskErrorKind, File};
use std::ops::Bound;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"QRSTATE\n";
const VERSION: u32 = 1;
const HEADER: usize = 48;
const CHUNK: usize = 64 << 10;
/// Bytes before a chunk's payload.
const FRAME: usize = 8;
const SUFFIX: &str = ".state";
const UNFINISHED: &str = "unfinished";
/// What a checkpoint that was set aside is called in addition.
const ASIDE: &str = ".damaged";
const CONDEMNED: &str = "DAMAGED";

/// Where memory states come from and their checkpoints lie.
pub struct MemoryStore {
    home: Home,
}

#[derive(Clone)]
struct Home {
    disk: Arc<dyn Disk>,
    dir: String,
    identity: Identity,
}

impl MemoryStore {
    /// States of one node, with checkpoints in `dir` of `disk`; a checkpoint of another node is refused.
    pub fn new(disk: Arc<dyn Disk>, dir: &str, identity: Identity) -> Self {
        Self { home: Home { disk, dir: dir.to_string(), identity } }
    }
}

impl StateStore for MemoryStore {
    fn open(&mut self, generation: Option<u64>) -> StateResult<Box<dyn State>> {
        let home = &self.home;
        home.disk.create_dir(&home.dir).map_err(|e| failed(&e))?;
        if generation.is_some() && home.disk.open(&home.path(CONDEMNED)).is_ok() {
            let context = format!("{} says that a read failed before", home.path(CONDEMNED));
            return Err(StateError::of_damage(context));
        }
        let tree = match generation {
            Some(generation) => home.read(generation)?,
            None => Tree::default(),
        };
        let keep = generation.map(file_name);
        for name in home.disk.list(&home.dir).map_err(|e| failed(&e))? {
            if Some(&name) != keep.as_ref() && !name.ends_with(ASIDE) {
                home.disk.remove(&home.path(&name)).map_err(|e| failed(&e))?;
            }
        }
        home.disk.sync_dir(&home.dir).map_err(|e| failed(&e))?;
        Ok(Box::new(MemoryState { home: self.home.clone(), tree, unsealed: 0 }))
    }

    fn newest(&mut self) -> StateResult<Option<u64>> {
        self.home.disk.create_dir(&self.home.dir).map_err(|e| failed(&e))?;
        let names = self.home.disk.list(&self.home.dir).map_err(|e| failed(&e))?;
        Ok(names.iter().filter_map(|name| generation_of(name)).max())
    }

    fn set_aside(&mut self) -> StateResult<Option<String>> {
        let home = &self.home;
        let mut last = None;
        for name in home.disk.list(&home.dir).map_err(|e| failed(&e))? {
            if generation_of(&name).is_some() {
                let aside = home.path(&format!("{name}{ASIDE}"));
                home.disk.rename(&home.path(&name), &aside).map_err(|e| failed(&e))?;
                last = Some(aside);
            }
        }
        home.disk.sync_dir(&home.dir).map_err(|e| failed(&e))?;
        Ok(last)
    }

    fn condemn(&mut self, why: &str) -> StateResult<()> {
        let home = &self.home;
        let path = home.path(CONDEMNED);
        let mut file =
            home.disk.create(&path, 0).or_else(|_| home.disk.open(&path)).map_err(|e| failed(&e))?;
        file.write_at(0, why.as_bytes()).and_then(|()| file.sync()).map_err(|e| failed(&e))?;
        home.disk.sync_dir(&home.dir).map_err(|e| failed(&e))
    }
}

fn generation_of(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()
}

/// The state as a map.
struct MemoryState {
    home: Home,
    tree: Tree<Bytes, Bytes>,
    unsealed: u64,
}

impl State for MemoryState {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.unsealed += (key.len() + value.len()) as u64;
        self.tree.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    }

    fn put_shared(&mut self, key: Bytes, value: Bytes) {
        self.unsealed += (key.len() + value.len()) as u64;
        self.tree.insert(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.unsealed += key.len() as u64;
        self.tree.remove(key);
    }

    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        Ok(self.tree.get(key).cloned())
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        scan(&self.tree, range)
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        scan_back(&self.tree, range)
    }

    fn view(&self) -> Arc<dyn View> {
        Arc::new(MemoryView(self.tree.clone()))
    }

    fn seal(&mut self) -> StateResult<Box<dyn CheckpointJob>> {
        self.unsealed = 0;
        Ok(Box::new(Job { home: self.home.clone(), tree: self.tree.clone() }))
    }

    fn unsealed_bytes(&self) -> u64 {
        self.unsealed
    }

    fn upkeep(&self) -> Option<Box<dyn Upkeep>> {
        None
    }
}

struct MemoryView(Tree<Bytes, Bytes>);

impl View for MemoryView {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        Ok(self.0.get(key).cloned())
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        scan(&self.0, range)
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        scan_back(&self.0, range)
    }

    fn lasting(&self) -> Arc<dyn View> {
        Arc::new(Self(self.0.clone()))
    }
}

fn scan<'a>(tree: &'a Tree<Bytes, Bytes>, (from, to): Range<'_>) -> Scan<'a> {
    let to = to.map(Bytes::copy_from_slice);
    let inside = move |key: &Bytes| match &to {
        Bound::Included(to) => key <= to,
        Bound::Excluded(to) => key < to,
        Bound::Unbounded => true,
    };
    let pairs = tree.iter_from(from).take_while(move |(key, _)| inside(key));
    Box::new(pairs.map(|(key, value)| Ok((key.clone(), value.clone()))))
}

fn scan_back<'a>(tree: &'a Tree<Bytes, Bytes>, (from, to): Range<'_>) -> Scan<'a> {
    let from = from.map(Bytes::copy_from_slice);
    let inside = move |key: &Bytes| match &from {
        Bound::Included(from) => key >= from,
        Bound::Excluded(from) => key > from,
        Bound::Unbounded => true,
    };
    let pairs = tree.iter_back_from(to).take_while(move |(key, _)| inside(key));
    Box::new(pairs.map(|(key, value)| Ok((key.clone(), value.clone()))))
}

struct Job {
    home: Home,
    tree: Tree<Bytes, Bytes>,
}

impl CheckpointJob for Job {
    fn run(self: Box<Self>, generation: u64) -> StateResult<()> {
        self.home.write(generation, &self.tree).map_err(|e| failed(&e))?;
        self.home.forget_before(generation.saturating_sub(1)).map_err(|e| failed(&e))
    }
}

fn file_name(generation: u64) -> String {
    format!("{generation:016x}{SUFFIX}")
}

/// A file that should be there and is not is damage.
fn failed(error: &DiskError) -> StateError {
    let kind = match error.kind {
        DiskErrorKind::NotFound => StateErrorKind::Damaged,
        DiskErrorKind::Full => StateErrorKind::Full,
        DiskErrorKind::Exists | DiskErrorKind::Io => StateErrorKind::Io,
    };
    StateError::new(kind, error.to_string())
}

impl Home {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    fn write(&self, generation: u64, tree: &Tree<Bytes, Bytes>) -> Result<(), DiskError> {
        let unfinished = self.path(UNFINISHED);
        match self.disk.remove(&unfinished) {
            Err(error) if error.kind != DiskErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = self.disk.create(&unfinished, 0)?;
        file.write_at(0, &self.header(generation, tree.len() as u64))?;
        let (mut offset, mut chunk) = (HEADER as u64, Vec::with_capacity(FRAME + CHUNK + 1024));
        chunk.resize(FRAME, 0);
        for (key, value) in tree {
            let (k, v) = (key.len(), value.len());
            chunk.extend_from_slice(&((v as u64) << 32 | k as u64).to_le_bytes());
            chunk.extend_from_slice(key);
            chunk.extend_from_slice(value);
            if chunk.len() >= FRAME + CHUNK {
                offset = write_chunk(&mut *file, generation, offset, &mut chunk)?;
            }
        }
        write_chunk(&mut *file, generation, offset, &mut chunk)?;
        file.sync()?;
        self.disk.rename(&unfinished, &self.path(&file_name(generation)))?;
        self.disk.sync_dir(&self.dir)
    }

    /// Removes the checkpoints below `generation`. The one before the newest stays until the next is made, since the
    /// journal may not yet have recorded the newest.
    fn forget_before(&self, generation: u64) -> Result<(), DiskError> {
        for name in self.disk.list(&self.dir)? {
            if generation_of(&name).is_some_and(|number| number < generation) {
                self.disk.remove(&self.path(&name))?;
            }
        }
        Ok(())
    }

    fn header(&self, generation: u64, pairs: u64) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        for n in [self.identity.cluster, self.identity.node.get(), generation, pairs] {
            header.extend(n.to_le_bytes());
        }
        header.extend(crc32c::crc32c(&header).to_le_bytes());
        header
    }

    fn read(&self, generation: u64) -> StateResult<Tree<Bytes, Bytes>> {
        let path = self.path(&file_name(generation));
        let file = self.disk.open(&path).map_err(|e| failed(&e))?;
        let size = file.size().map_err(|e| failed(&e))?;
        let damaged =
            |what: &str, offset: u64| StateError::of_damage(format!("{path}: {what} at offset {offset}"));
        if size < HEADER as u64 {
            return Err(damaged("the file ends in its header", size));
        }
        let mut header = [0; HEADER];
        file.read_at(0, &mut header).map_err(|e| failed(&e))?;
        let pairs = header[36..].first_chunk().map_or(0, |pairs| u64::from_le_bytes(*pairs));
        if header[..] != self.header(generation, pairs) {
            return Err(damaged("the header is not that of this node's checkpoint", 0));
        }
        let (mut all, mut offset) = (Vec::new(), HEADER as u64);
        while offset < size {
            let chunk = read_chunk(&*file, generation, offset, size)?;
            let chunk = chunk.ok_or_else(|| damaged("a chunk does not verify", offset))?;
            offset += 8 + chunk.len() as u64;
            take_pairs(&chunk, &mut all).ok_or_else(|| damaged("a malformed chunk ends", offset))?;
        }
        let tree = Tree::from_sorted(all).ok_or_else(|| damaged("keys that do not ascend end", offset))?;
        if tree.len() as u64 != pairs {
            return Err(damaged(&format!("{} of {pairs} pairs are there", tree.len()), size));
        }
        Ok(tree)
    }
}

fn chunk_crc(generation: u64, offset: u64, payload: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&generation.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(seed, payload)
}

/// Writes a chunk, which stands behind the room for its frame, if there is anything in it; empties it, and gives the offset behind it.
fn write_chunk(
    file: &mut dyn File,
    generation: u64,
    offset: u64,
    chunk: &mut Vec<u8>,
) -> Result<u64, DiskError> {
    let len = chunk.len() - FRAME;
    if len == 0 {
        return Ok(offset);
    }
    let crc = chunk_crc(generation, offset, &chunk[FRAME..]);
    chunk[..4].copy_from_slice(&(len as u32).to_le_bytes());
    chunk[4..FRAME].copy_from_slice(&crc.to_le_bytes());
    file.write_at(offset, chunk)?;
    chunk.truncate(FRAME);
    Ok(offset + (FRAME + len) as u64)
}

/// The payload of the chunk at `offset`, or `None` if it does not verify.
fn read_chunk(file: &dyn File, generation: u64, offset: u64, size: u64) -> StateResult<Option<Bytes>> {
    if size - offset < 8 {
        return Ok(None);
    }
    let mut frame = [0; 8];
    file.read_at(offset, &mut frame).map_err(|e| failed(&e))?;
    let number = |at: usize| frame[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let (len, crc) = (number(0), number(4));
    if u64::from(len) > size - offset - 8 {
        return Ok(None);
    }
    let mut payload = vec![0; len as usize];
    file.read_at(offset + 8, &mut payload).map_err(|e| failed(&e))?;
    let good = chunk_crc(generation, offset, &payload) == crc;
    Ok(good.then(|| payload.into()))
}

fn take_pairs(chunk: &Bytes, all: &mut Vec<(Bytes, Bytes)>) -> Option<()> {
    let number = |at: usize| {
        let bytes = chunk.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let mut at = 0;
    while at < chunk.len() {
        let (key, value) = (number(at)?, number(at + 4)?);
        at += 8;
        if chunk.len() - at < key.checked_add(value)? {
            return None;
        }
        // Copied, so that one small pair does not hold its whole chunk in memory.
        let copy = |from: usize, len: usize| Bytes::copy_from_slice(&chunk[from..from + len]);
        all.push((copy(at, key), copy(at + key, value)));
        at += key + value;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::NodeId;
    use quorate_faulty::FaultyDisk;

    fn store(disk: &FaultyDisk) -> MemoryStore {
        MemoryStore::new(Arc::new(disk.clone()), "state", Identity { cluster: 9, node: NodeId(1) })
    }

    fn filled(disk: &FaultyDisk) -> Vec<(Bytes, Bytes)> {
        let mut state = store(disk).open(None).unwrap();
        for n in 0_u32..600 {
            state.put(&n.to_be_bytes(), &vec![n as u8; (n % 300) as usize]);
        }
        state.seal().unwrap().run(1).unwrap();
        state.scan((Bound::Unbounded, Bound::Unbounded)).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn it_keeps_the_contract() {
        for seed in 0..20 {
            let done = crate::contract::check(&mut store(&FaultyDisk::new(seed)), seed, 4_000);
            assert!(
                done.recorded > 5 && done.unrecorded > 0 && done.restarts > 3 && done.old_views > 50,
                "{done:?}"
            );
        }
    }

    #[test]
    fn every_flipped_bit_of_a_checkpoint_is_found() {
        let disk = FaultyDisk::new(1);
        filled(&disk);
        let path = format!("state/{}", file_name(1));
        let bits = disk.open(&path).unwrap().size().unwrap() * 8;
        for bit in (0..bits).step_by(61).chain(0..8 * 64) {
            disk.flip_bit(&path, bit);
            let error = store(&disk).open(Some(1)).err().unwrap_or_else(|| panic!("bit {bit} is not found"));
            assert!(error.damaged() && error.context.contains(&path), "{error}");
            disk.flip_bit(&path, bit);
        }
        store(&disk).open(Some(1)).unwrap();
    }

    /// Claim: a checkpoint that ends too early is refused, also where it ends with a chunk that verifies.
    #[test]
    fn a_checkpoint_that_was_cut_short_is_refused() {
        let disk = FaultyDisk::new(1);
        filled(&disk);
        let path = format!("state/{}", file_name(1));
        let file = disk.open(&path).unwrap();
        let mut whole = vec![0; file.size().unwrap() as usize];
        file.read_at(0, &mut whole).unwrap();
        let chunk = u32::from_le_bytes(*whole[HEADER..].first_chunk().unwrap()) as usize;
        let border = HEADER + FRAME + chunk;
        assert!(border + FRAME < whole.len(), "there is but one chunk");
        for len in (0..whole.len()).step_by(997).chain([HEADER, border, whole.len() - 1]) {
            disk.remove(&path).unwrap();
            disk.create(&path, 0).unwrap().write_at(0, &whole[..len]).unwrap();
            let error = store(&disk).open(Some(1)).err().unwrap_or_else(|| panic!("{len} bytes are taken"));
            assert!(error.damaged() && error.context.contains(&path), "{len} bytes: {error}");
        }
    }

    /// Claim: who noted that a read failed opens nothing of it again, whatever the power does behind it; set aside it makes room.
    #[test]
    fn a_condemned_state_is_not_opened() {
        for seed in 0..16 {
            let disk = FaultyDisk::new(seed);
            filled(&disk);
            store(&disk).condemn("a read of it failed").unwrap();
            disk.power_loss();
            assert!(store(&disk).open(Some(1)).is_err_and(|e| e.damaged()), "seed {seed}");
            let aside = store(&disk).set_aside().unwrap();
            disk.power_loss();
            assert!(aside.is_some_and(|name| disk.open(&name).is_ok()), "seed {seed}");
            assert_eq!(store(&disk).newest(), Ok(None), "seed {seed}");
            assert!(store(&disk).open(None).is_ok());
        }
    }

    /// Claim: the newest checkpoint that is there is named, and a chunk that is in the place of another, or of another checkpoint, does
    /// not verify.
    #[test]
    fn chunks_and_checkpoints_are_told_apart() {
        let disk = FaultyDisk::new(1);
        let mut state = store(&disk).open(None).unwrap();
        for generation in 1..3 {
            for n in 0_u32..600 {
                state.put(&n.to_be_bytes(), &[generation as u8; 300]);
            }
            state.seal().unwrap().run(generation).unwrap();
        }
        assert_eq!(store(&disk).newest(), Ok(Some(2)));
        let bytes = |generation: u64| {
            let file = disk.open(&format!("state/{}", file_name(generation))).unwrap();
            let mut bytes = vec![0; file.size().unwrap() as usize];
            file.read_at(0, &mut bytes).unwrap();
            bytes
        };
        let (old, new) = (bytes(1), bytes(2));
        let chunk = FRAME + u32::from_le_bytes(*new[HEADER..].first_chunk().unwrap()) as usize;
        let mut file = disk.open(&format!("state/{}", file_name(2))).unwrap();
        for other in [&old[HEADER..][..chunk], &new[HEADER + chunk..][..chunk]] {
            file.write_at(HEADER as u64, other).unwrap();
            assert!(store(&disk).open(Some(2)).is_err_and(|e| e.damaged()));
            file.write_at(HEADER as u64, &new[HEADER..][..chunk]).unwrap();
        }
        assert!(store(&disk).open(Some(2)).is_ok());
    }

    #[test]
    fn what_is_of_another_node_or_missing_is_refused() {
        let disk = FaultyDisk::new(1);
        let pairs = filled(&disk);
        let mut other =
            MemoryStore::new(Arc::new(disk.clone()), "state", Identity { cluster: 9, node: NodeId(2) });
        assert!(other.open(Some(1)).is_err_and(|e| e.damaged()));
        assert!(store(&disk).open(Some(2)).is_err_and(|e| e.damaged()));
        let state = store(&disk).open(Some(1)).unwrap();
        let all = (Bound::Unbounded, Bound::Unbounded);
        assert_eq!(state.scan(all).collect::<Result<Vec<_>, _>>().unwrap(), pairs);
    }

    #[test]
    fn a_checkpoint_that_returned_survives_a_power_loss() {
        for seed in 0..50 {
            let disk = FaultyDisk::new(seed);
            let pairs = filled(&disk);
            disk.power_loss();
            let state = store(&disk).open(Some(1)).unwrap();
            let all = (Bound::Unbounded, Bound::Unbounded);
            assert_eq!(state.scan(all).collect::<Result<Vec<_>, _>>().unwrap(), pairs, "seed {seed}");
        }
    }
}
