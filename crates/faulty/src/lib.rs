//! A disk in memory that fails as disks do, from a seed.
//!
//! What was written and not synced is kept apart. At a power loss each such write is, by chance, lost, kept, or torn at
//! some byte, independently of its neighbours; a run of unsynced name changes keeps some prefix. A killed process loses
//! nothing. Besides: bit flips, reads and syncs that fail, a full disk, an old copy that comes back, and a switch that
//! freezes the disk after its k-th operation, to crash a program between any two of them.
//!
//! Files are pages that are shared until they are written, so that neither a sync nor an old copy costs a whole disk.

mod pages;

use pages::{Pages, Written};
use quorate_base::Rng;
use quorate_base::disk::{BLOCK, Disk, DiskError, DiskErrorKind, DiskResult, File};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Inode = usize;

#[derive(Clone, Debug, Default)]
struct Content {
    /// As a running program sees it.
    now: Pages,
    /// As the platter has it.
    durable: Pages,
    /// What a program sees may differ from the platter.
    dirty: bool,
    /// A sync failed: what it lost is still seen, and no later sync brings it to the platter.
    parted: bool,
    /// Writes since the last sync, in order.
    unsynced: Vec<(u64, Written)>,
    /// Where the synced writes since the last one at the file's beginning went, and how long they were.
    made: Vec<(u64, usize)>,
}

impl Content {
    /// What is on the platter, or what a program sees.
    fn side(&mut self, durable: bool) -> &mut Pages {
        if durable { &mut self.durable } else { &mut self.now }
    }
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(String, Inode),
    Unlink(String),
}

/// How often which fault fired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// Unsynced writes that a power loss dropped.
    pub lost: u64,
    /// Unsynced writes that it tore.
    pub torn: u64,
    /// Name changes that it undid.
    pub unnamed: u64,
    /// Bits flipped.
    pub flipped: u64,
    /// Syncs that failed on request.
    pub failed_syncs: u64,
    /// Reads that failed on request.
    pub failed_reads: u64,
    /// Writes that had landed elsewhere.
    pub misplaced: u64,
    /// Writes that found no room.
    pub full: u64,
}

#[derive(Clone, Debug)]
struct Inner {
    /// What has a name, or had one and is still open.
    contents: BTreeMap<Inode, Content>,
    next: Inode,
    /// How often each is open.
    open: BTreeMap<Inode, usize>,
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    changes: Vec<NameChange>,
    dirs: BTreeSet<String>,
    rng: Rng,
    fired: Fired,
    capacity: u64,
    fail_sync: bool,
    fail_reads: Option<String>,
    operations: u64,
    freeze_at: Option<u64>,
}

/// The disk; clones share it.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    inner: Arc<Mutex<Inner>>,
}

/// All of a disk at one moment.
#[derive(Clone, Debug)]
pub struct Image(Inner);

impl FaultyDisk {
    /// An empty disk whose failures depend on `seed`.
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            contents: BTreeMap::new(),
            next: 0,
            open: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            dirs: BTreeSet::new(),
            rng: Rng::stream(seed, "disk"),
            fired: Fired::default(),
            capacity: u64::MAX,
            fail_sync: false,
            fail_reads: None,
            operations: 0,
            freeze_at: None,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes: see the module page. Files that were open must not be used any more.
    pub fn power_loss(&self) {
        self.lock().power_loss();
    }

    /// Flips one bit on the platter and in the cache.
    pub fn flip_bit(&self, path: &str, bit: u64) {
        let mut inner = self.lock();
        let Some(&inode) = inner.names.get(path) else { return };
        let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        let content = inner.content(inode);
        content.now.flip(byte, mask);
        content.durable.flip(byte, mask);
        inner.fired.flipped += 1;
    }

    /// Where the synced writes to a file went since the last one at its beginning, and how long they were, oldest first.
    pub fn writes(&self, path: &str) -> Vec<(u64, usize)> {
        let inner = self.lock();
        inner.names.get(path).map(|&inode| inner.contents[&inode].made.clone()).unwrap_or_default()
    }

    /// A write of some time ago to `path` had landed in another place or another file of those that begin with `prefix`:
    /// where it should be are zeros, but for what was written there later. It is never the newest of its file, nor does it cover
    /// one that was made later, since nothing could ever tell of that. False if there is no such write.
    pub fn misplace(&self, path: &str, prefix: &str) -> bool {
        let mut inner = self.lock();
        let Some(&inode) = inner.names.get(path) else { return false };
        let made = inner.contents[&inode].made.clone();
        if made.len() < 2 {
            return false;
        }
        let chosen = inner.rng.below(made.len() as u64 - 1) as usize;
        let (from, len) = made[chosen];
        let missing = uncovered((from, len), &made[chosen + 1..]);
        if missing.is_empty() {
            return false;
        }
        let files: Vec<Inode> =
            inner.names.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, &i)| i).collect();
        if files.is_empty() {
            return false;
        }
        let into = *inner.rng.pick(&files);
        let size = if into == inode { from } else { inner.contents[&into].now.len() as u64 };
        let (from, to) = (from as usize, (inner.rng.below(size + 1) & !7) as usize);
        for durable in [false, true] {
            let source = inner.content(inode).side(durable);
            let moved = source.get(from, len);
            for (from, len) in &missing {
                let len = source.get(*from as usize, *len).len();
                source.write((*from as usize).min(source.len()), &vec![0; len]);
            }
            let target = inner.content(into).side(durable);
            let room = target.len().saturating_sub(to).min(moved.len());
            target.write(to.min(target.len()), &moved[..room]);
        }
        inner.fired.misplaced += 1;
        true
    }

    /// The next sync fails, and what it should have made durable is lost or kept by chance.
    pub fn fail_next_sync(&self) {
        self.lock().fail_sync = true;
    }

    /// Reads of files whose path begins so fail until [`FaultyDisk::heal`].
    pub fn fail_reads(&self, prefix: &str) {
        self.lock().fail_reads = Some(prefix.into());
    }

    /// Writes fail once the files hold this many bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity = bytes;
    }

    /// Bytes that the files hold.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Ends failing calls and makes room.
    pub fn heal(&self) {
        let mut inner = self.lock();
        (inner.fail_sync, inner.fail_reads) = (false, None);
        (inner.capacity, inner.freeze_at) = (u64::MAX, None);
    }

    /// From the `k`-th changing operation on, everything fails and nothing changes.
    pub fn freeze_at(&self, k: u64) {
        self.lock().freeze_at = Some(k);
    }

    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// All of the disk now, for [`FaultyDisk::restore`].
    pub fn image(&self) -> Image {
        Image(self.lock().clone())
    }

    /// The disk is as it was: an old copy has come back.
    pub fn restore(&self, image: &Image) {
        *self.lock() = image.0.clone();
    }

    /// Its files are as they were; its chance, its size and what it fails at stay as they are now. Files that were open must not be
    /// used any more.
    pub fn put_back(&self, image: &Image) {
        let mut inner = self.lock();
        let old = image.0.clone();
        (inner.contents, inner.changes, inner.dirs) = (old.contents, old.changes, old.dirs);
        (inner.next, inner.open) = (inner.next.max(old.next), BTreeMap::new());
        (inner.names, inner.durable_names) = (old.names, old.durable_names);
    }

    /// How often which fault fired.
    pub fn fired(&self) -> Fired {
        self.lock().fired.clone()
    }

    /// All files with their lengths.
    pub fn files(&self) -> Vec<(String, u64)> {
        let inner = self.lock();
        inner.names.iter().map(|(name, &i)| (name.clone(), inner.contents[&i].now.len() as u64)).collect()
    }
}

impl Inner {
    fn content(&mut self, inode: Inode) -> &mut Content {
        self.contents.entry(inode).or_default()
    }

    /// What has no name any more, for a program or on the platter, and is not open is gone.
    fn forget_nameless(&mut self) {
        let linked = self.changes.iter().filter_map(|change| match change {
            NameChange::Link(_, inode) => Some(inode),
            NameChange::Unlink(_) => None,
        });
        let named = self.names.values().chain(self.durable_names.values()).chain(self.open.keys());
        let needed: BTreeSet<Inode> = named.chain(linked).copied().collect();
        self.contents.retain(|inode, _| needed.contains(inode));
    }

    fn power_loss(&mut self) {
        let kept = self.rng.below(self.changes.len() as u64 + 1) as usize;
        self.fired.unnamed += (self.changes.len() - kept) as u64;
        let changes = std::mem::take(&mut self.changes);
        for change in changes.into_iter().take(kept) {
            apply_name(&mut self.durable_names, change);
        }
        self.names = self.durable_names.clone();
        // A crash costs what was unsynced, however large the disk is.
        let dirty = self.contents.iter().filter(|(_, content)| content.dirty);
        for inode in dirty.map(|(&inode, _)| inode).collect::<Vec<_>>() {
            self.lose_unsynced(inode);
            let content = self.content(inode);
            (content.dirty, content.parted) = (false, false);
        }
        self.open.clear();
        self.forget_nameless();
    }

    fn lose_unsynced(&mut self, inode: Inode) {
        let unsynced = std::mem::take(&mut self.content(inode).unsynced);
        for (offset, written) in unsynced {
            let bytes = written.bytes();
            match self.rng.below(4) {
                0 | 1 => self.fired.lost += 1,
                2 => {
                    let cut = self.rng.below(bytes.len() as u64 + 1) as usize;
                    // A tear may keep the front or the back.
                    let (at, part) = if self.rng.chance(3, 4) {
                        (offset, &bytes[..cut])
                    } else {
                        (offset + cut as u64, &bytes[cut..])
                    };
                    self.fired.torn += 1;
                    self.content(inode).durable.write(at as usize, part);
                }
                _ => self.content(inode).durable.write(offset as usize, &bytes),
            }
        }
        let content = self.content(inode);
        content.now.clone_from(&content.durable);
    }

    fn change(&mut self, context: Context<'_>) -> DiskResult<()> {
        if self.freeze_at.is_some_and(|k| self.operations >= k) {
            return Err(error(DiskErrorKind::Io, context, "the disk is frozen"));
        }
        self.operations += 1;
        Ok(())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|i| self.contents[i].now.len() as u64).sum()
    }

    fn room(&mut self, more: u64, context: Context<'_>) -> DiskResult<()> {
        if self.capacity != u64::MAX && self.used() + more > self.capacity {
            self.fired.full += 1;
            return Err(error(DiskErrorKind::Full, context, "no space left on the simulated disk"));
        }
        Ok(())
    }

    fn rename_now(&mut self, change: NameChange) {
        apply_name(&mut self.names, change.clone());
        self.changes.push(change);
    }
}

fn apply_name(names: &mut BTreeMap<String, Inode>, change: NameChange) {
    match change {
        NameChange::Link(name, inode) => {
            names.insert(name, inode);
        }
        NameChange::Unlink(name) => {
            names.remove(&name);
        }
    }
}

/// What is left of a write, by offset and length, where `later` ones do not lie over it.
fn uncovered((from, len): (u64, usize), later: &[(u64, usize)]) -> Vec<(u64, usize)> {
    let mut later: Vec<(u64, u64)> = later.iter().map(|&(at, len)| (at, at + len as u64)).collect();
    later.sort_unstable();
    let (mut at, end) = (from, from + len as u64);
    let mut left = Vec::new();
    for (first, next) in later {
        if at < first.min(end) {
            left.push((at, (first.min(end) - at) as usize));
        }
        at = at.max(next);
    }
    if at < end {
        left.push((at, (end - at) as usize));
    }
    left
}

/// What was to be done: words are made of it only where it fails.
type Context<'a> = fmt::Arguments<'a>;

fn error(kind: DiskErrorKind, context: Context<'_>, message: &str) -> DiskError {
    DiskError { kind, context: context.to_string(), message: message.into() }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &str, len: u64) -> DiskResult<Box<dyn File>> {
        let mut inner = self.lock();
        let context = format_args!("create {path}");
        if inner.names.contains_key(path) {
            return Err(error(DiskErrorKind::Exists, context, "it is there already"));
        }
        inner.room(len, context)?;
        inner.change(context)?;
        let zeros = Pages::zeros(len as usize);
        inner.next += 1;
        let inode = inner.next;
        inner.contents.insert(inode, Content { now: zeros.clone(), durable: zeros, ..Content::default() });
        inner.rename_now(NameChange::Link(path.into(), inode));
        drop(inner);
        Ok(Box::new(FaultyFile::new(self, inode, path)))
    }

    fn open(&self, path: &str) -> DiskResult<Box<dyn File>> {
        let inner = self.lock();
        let Some(&inode) = inner.names.get(path) else {
            return Err(error(DiskErrorKind::NotFound, format_args!("open {path}"), "no such file"));
        };
        drop(inner);
        Ok(Box::new(FaultyFile::new(self, inode, path)))
    }

    fn create_dir(&self, path: &str) -> DiskResult<()> {
        self.lock().dirs.insert(path.into());
        Ok(())
    }

    fn list(&self, dir: &str) -> DiskResult<Vec<String>> {
        let inner = self.lock();
        let prefix = format!("{dir}/");
        let names = inner.names.keys().filter_map(|n| n.strip_prefix(&prefix));
        Ok(names.filter(|n| !n.contains('/')).map(str::to_string).collect())
    }

    fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        let mut inner = self.lock();
        let context = format_args!("rename {from} to {to}");
        let Some(&inode) = inner.names.get(from) else {
            return Err(error(DiskErrorKind::NotFound, context, "no such file"));
        };
        inner.change(context)?;
        inner.rename_now(NameChange::Link(to.into(), inode));
        inner.rename_now(NameChange::Unlink(from.into()));
        Ok(())
    }

    fn remove(&self, path: &str) -> DiskResult<()> {
        let mut inner = self.lock();
        let context = format_args!("remove {path}");
        if !inner.names.contains_key(path) {
            return Err(error(DiskErrorKind::NotFound, context, "no such file"));
        }
        inner.change(context)?;
        inner.rename_now(NameChange::Unlink(path.into()));
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> DiskResult<()> {
        let mut inner = self.lock();
        inner.change(format_args!("sync {dir}"))?;
        let changes = std::mem::take(&mut inner.changes);
        let unlinks = changes.iter().any(|change| matches!(change, NameChange::Unlink(_)));
        for change in changes {
            apply_name(&mut inner.durable_names, change);
        }
        if unlinks {
            inner.forget_nameless();
        }
        Ok(())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    inode: Inode,
    path: String,
}

impl FaultyFile {
    fn new(disk: &FaultyDisk, inode: Inode, path: &str) -> Self {
        *disk.lock().open.entry(inode).or_default() += 1;
        Self { disk: disk.clone(), inode, path: path.into() }
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        let mut inner = self.disk.lock();
        if let Some(times) = inner.open.get_mut(&self.inode) {
            *times -= 1;
            if *times == 0 {
                inner.open.remove(&self.inode);
            }
        }
    }
}

impl File for FaultyFile {
    fn size(&self) -> DiskResult<u64> {
        Ok(self.disk.lock().content(self.inode).now.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> DiskResult<()> {
        let mut inner = self.disk.lock();
        let context = format_args!("read {}", self.path);
        if inner.fail_reads.as_ref().is_some_and(|prefix| self.path.starts_with(prefix)) {
            inner.fired.failed_reads += 1;
            return Err(error(DiskErrorKind::Io, context, "input/output error"));
        }
        let now = &inner.content(self.inode).now;
        let end = offset.saturating_add(buf.len() as u64);
        if end > now.len() as u64 {
            return Err(error(DiskErrorKind::Io, context, "read past the end"));
        }
        now.read(offset as usize, buf);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> DiskResult<()> {
        let mut inner = self.disk.lock();
        let context = format_args!("write {}", self.path);
        let grows = (offset + bytes.len() as u64).saturating_sub(inner.content(self.inode).now.len() as u64);
        inner.room(grows, context)?;
        inner.change(context)?;
        let content = inner.content(self.inode);
        let written = content.now.write_and_keep(offset as usize, bytes);
        content.dirty = true;
        content.unsynced.push((offset, written));
        Ok(())
    }

    // As a disk that writes whole blocks: old bytes behind the new end become zeros.
    fn append_at(&mut self, offset: u64, bytes: &[u8]) -> DiskResult<()> {
        let end = offset as usize + bytes.len();
        let stale = {
            let mut inner = self.disk.lock();
            let now = &inner.content(self.inode).now;
            let rest = end.next_multiple_of(BLOCK).min(now.len()).saturating_sub(end);
            (!now.is_zero(end, rest)).then_some(rest)
        };
        match stale {
            None => self.write_at(offset, bytes),
            Some(stale) => {
                let mut whole = bytes.to_vec();
                whole.resize(bytes.len() + stale, 0);
                self.write_at(offset, &whole)
            }
        }
    }

    fn sync(&mut self) -> DiskResult<()> {
        let mut inner = self.disk.lock();
        let context = format_args!("sync {}", self.path);
        inner.change(context)?;
        if std::mem::take(&mut inner.fail_sync) {
            inner.fired.failed_syncs += 1;
            // As Linux does: the pages are clean now, whether they got to the platter or not.
            let now = inner.content(self.inode).now.clone();
            inner.lose_unsynced(self.inode);
            let content = inner.content(self.inode);
            (content.now, content.parted) = (now, true);
            return Err(error(DiskErrorKind::Io, context, "input/output error"));
        }
        let content = inner.content(self.inode);
        for (offset, written) in content.unsynced.drain(..) {
            if content.parted {
                content.durable.write(offset as usize, &written.bytes());
            } else {
                content.durable.share(&content.now, offset as usize, written.len());
            }
            if offset == 0 {
                content.made.clear();
            }
            content.made.push((offset, written.len()));
        }
        content.dirty = content.parted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_synced_is_sure() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let disk = FaultyDisk::new(seed);
            let mut file = disk.create("d/a", 8).unwrap();
            disk.sync_dir("d").unwrap();
            file.write_at(0, b"good").unwrap();
            file.sync().unwrap();
            file.write_at(4, b"lost").unwrap();
            disk.create("d/b", 1).unwrap();
            disk.power_loss();
            let mut buf = [0; 8];
            disk.open("d/a").unwrap().read_at(0, &mut buf).unwrap();
            assert_eq!(&buf[..4], b"good");
            seen.insert((buf.to_vec(), disk.open("d/b").is_ok()));
        }
        assert!(seen.len() > 6, "every kind of loss comes up: {seen:?}");
    }

    #[test]
    fn a_killed_process_loses_nothing_and_a_frozen_disk_takes_nothing() {
        let disk = FaultyDisk::new(1);
        let mut file = disk.create("a", 4).unwrap();
        file.write_at(0, b"kept").unwrap();
        disk.freeze_at(disk.operations());
        assert!(file.write_at(0, b"gone").is_err());
        disk.heal();
        let mut buf = [0; 4];
        disk.open("a").unwrap().read_at(0, &mut buf).unwrap();
        assert_eq!(&buf, b"kept");
    }

    /// What was written over a write is not lost with it. (Seed 35 of the simulator: the block that begins a recycled segment, in which
    /// others followed.)
    #[test]
    fn what_was_written_later_lies_over_a_write() {
        let later = [(64, 300), (4000, 200), (364, 36), (9000, 10)];
        assert_eq!(uncovered((0, 4096), &later), [(0, 64), (400, 3600)]);
        assert_eq!(uncovered((100, 50), &later), []);
        assert_eq!(uncovered((5000, 8), &later), [(5000, 8)]);
    }
}
