//! The directories of the LSM form: `live`, and one a checkpoint.
//!
//! A checkpoint holds `tables/N` (hard links), the tree's small files (copies), [`ENDS`], and the MANIFEST, written last.
//!
//! ```text
//! ENDS := { table(u64) length(u32) crc(u32, CRC-32C of the table's last `length` bytes) }      little-endian
//! ```

use crate::calls;
use quorate_storage::journal::Identity;
use quorate_storage::manifest::{FileEntry, Manifest, ManifestError, NAME};
use quorate_storage::state::{StateError, StateErrorKind, StateResult};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const TABLES: &str = "tables";
/// The checksums of the ends of tables. It is ours, so it does not go into the live directory.
pub(crate) const ENDS: &str = "ENDS";
const END_ENTRY: usize = 16;
/// What says that a read of this state failed.
const CONDEMNED: &str = "DAMAGED";

/// Where everything lies.
#[derive(Clone)]
pub(crate) struct Layout {
    dir: PathBuf,
    identity: Identity,
    /// See [`crate::Options::end_bytes`].
    end_bytes: u64,
}

impl Layout {
    pub(crate) fn new(dir: &Path, identity: Identity, end_bytes: u64) -> Self {
        Self { dir: dir.to_path_buf(), identity, end_bytes }
    }

    pub(crate) fn live(&self) -> PathBuf {
        self.dir.join("live")
    }

    /// Where the tree keeps its tables.
    pub(crate) fn tables(&self) -> PathBuf {
        self.live().join(TABLES)
    }

    pub(crate) fn of(&self, generation: u64) -> PathBuf {
        self.dir.join(format!("{generation:016}"))
    }

    /// Where it is noted that a read failed.
    pub(crate) fn condemned(&self) -> PathBuf {
        self.dir.join(CONDEMNED)
    }

    /// Makes the live directory anew from a checkpoint, or empty.
    pub(crate) fn prepare_live(&self, generation: Option<u64>) -> StateResult<()> {
        let live = self.live();
        remove_dir(&live)?;
        create_dir(&live)?;
        let Some(generation) = generation else { return Ok(()) };
        let condemned = self.condemned();
        if let Ok(why) = fs::read(&condemned) {
            return Err(damaged(&condemned, &String::from_utf8_lossy(&why)));
        }
        let from = self.of(generation);
        let manifest = self.read_manifest(&from, generation)?;
        create_dir(&live.join(TABLES))?;
        let ends = read_ends(&from, &manifest)?;
        for entry in &manifest.files {
            if entry.name == ENDS {
                continue;
            }
            let (source, target) = (from.join(&entry.name), live.join(&entry.name));
            let size = fs::metadata(&source).map_err(|e| failed("reading", &source, &e))?.len();
            if size != entry.size {
                return Err(damaged(&source, &format!("it has {size} bytes, {} were written", entry.size)));
            }
            if let Some(crc) = entry.crc {
                copy_verified(&source, &target, crc)?;
            } else {
                verify_end(&source, &entry.name, size, &ends)?;
                calls::link(&source, &target).map_err(|e| failed("linking", &source, &e))?;
            }
        }
        self.remove_others(&[generation])
    }

    pub(crate) fn read_manifest(&self, dir: &Path, generation: u64) -> StateResult<Manifest> {
        let path = dir.join(NAME);
        let bytes = fs::read(&path).map_err(|e| failed("reading", &path, &e))?;
        let name = path.display().to_string();
        // What a newer release wrote is whole, and must not be set aside.
        let manifest = Manifest::decode(&bytes, &name).map_err(|e| match e {
            ManifestError::Newer(_) => StateError::newer(format!("{name}: {e}")),
            _ => StateError::of_damage(e.to_string()),
        })?;
        if manifest.identity != self.identity || manifest.generation != generation {
            return Err(damaged(&path, "it belongs to another node or checkpoint"));
        }
        Ok(manifest)
    }

    /// The tree's own files beside its tables, with their bytes; of its version files only that of `version`. Whatever
    /// these are, they are small, and may be rewritten: a checkpoint gets copies.
    pub(crate) fn small_files(&self, version: u64) -> StateResult<Vec<(String, Vec<u8>)>> {
        let live = self.live();
        let read = |name: String| {
            let path = live.join(&name);
            let bytes = fs::read(&path).map_err(|e| failed("reading", &path, &e))?;
            Ok((name, bytes))
        };
        small_files(&live, version)?.into_iter().map(read).collect()
    }

    /// Links `tables` and writes the tree's `small` files into checkpoint `generation`, durably.
    pub(crate) fn checkpoint(
        &self,
        generation: u64,
        tables: &[u64],
        small: Vec<(String, Vec<u8>)>,
    ) -> StateResult<()> {
        let made = self.make_checkpoint(generation, tables, small);
        if made.is_err() {
            // Its links would hold on to the room of tables that are merged meanwhile.
            let _ = remove_dir(&self.of(generation));
        }
        made
    }

    fn make_checkpoint(
        &self,
        generation: u64,
        tables: &[u64],
        small: Vec<(String, Vec<u8>)>,
    ) -> StateResult<()> {
        let (live, dir) = (self.live(), self.of(generation));
        // A try that was not completed leaves an unrecorded directory.
        remove_dir(&dir)?;
        create_dir(&dir.join(TABLES))?;
        let (mut files, mut ends) = (Vec::new(), Vec::new());
        for table in tables {
            let name = format!("{TABLES}/{table}");
            let (source, target) = (live.join(&name), dir.join(&name));
            calls::link(&source, &target).map_err(|e| failed("linking", &source, &e))?;
            let size = fs::metadata(&target).map_err(|e| failed("reading", &target, &e))?.len();
            let len = size.min(self.end_bytes) as u32;
            let crc = end_crc(&target, size, len)?;
            ends.extend(table.to_le_bytes());
            ends.extend(len.to_le_bytes());
            ends.extend(crc.to_le_bytes());
            files.push(FileEntry { name, size, crc: None });
        }
        write_synced(&dir.join(ENDS), &ends)?;
        files.push(FileEntry {
            name: ENDS.into(),
            size: ends.len() as u64,
            crc: Some(crc32c::crc32c(&ends)),
        });
        for (name, bytes) in small {
            write_synced(&dir.join(&name), &bytes)?;
            files.push(FileEntry { name, size: bytes.len() as u64, crc: Some(crc32c::crc32c(&bytes)) });
        }
        sync_dir(&dir.join(TABLES))?;
        let manifest = Manifest { identity: self.identity, generation, files };
        let temporary = dir.join("MANIFEST.tmp");
        write_synced(&temporary, &manifest.encode())?;
        calls::rename(&temporary, &dir.join(NAME)).map_err(|e| failed("renaming", &temporary, &e))?;
        sync_dir(&dir)?;
        sync_dir(&self.dir)?;
        // The one before stays: the journal has not recorded this one yet.
        self.remove_others(&[generation, generation.saturating_sub(1)])
    }

    /// Removes all checkpoints before this one.
    pub(crate) fn remove_before(&self, generation: u64) -> StateResult<()> {
        for older in self.generations()?.into_iter().filter(|&older| older < generation) {
            remove_dir(&self.of(older))?;
        }
        Ok(())
    }

    fn remove_others(&self, keep: &[u64]) -> StateResult<()> {
        for generation in self.generations()? {
            if !keep.contains(&generation) {
                remove_dir(&self.of(generation))?;
            }
        }
        Ok(())
    }

    /// Removes the tables from number `first` on but for these: what a merge or a flush left behind that found no room.
    pub(crate) fn remove_tables(&self, first: u64, keep: &[u64]) -> StateResult<()> {
        let tables = self.tables();
        for entry in fs::read_dir(&tables).map_err(|e| failed("listing", &tables, &e))? {
            let entry = entry.map_err(|e| failed("listing", &tables, &e))?;
            let number = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
            if number.is_some_and(|number| number >= first && !keep.contains(&number)) {
                remove_file(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The checkpoints that are there.
    pub(crate) fn generations(&self) -> StateResult<Vec<u64>> {
        self.create_home()?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|e| failed("listing", &self.dir, &e))? {
            let entry = entry.map_err(|e| failed("listing", &self.dir, &e))?;
            found.extend(entry.file_name().to_str().and_then(|n| n.parse::<u64>().ok()));
        }
        Ok(found)
    }

    /// Gives the whole directory a name that says that it is damaged, if there is a checkpoint in it.
    pub(crate) fn set_aside(&self) -> StateResult<Option<PathBuf>> {
        if self.generations()?.is_empty() {
            remove_file(&self.dir.join(CONDEMNED))?;
            return Ok(None);
        }
        // What runs is a copy; the checkpoints are what was damaged.
        remove_dir(&self.live())?;
        let name = self.dir.file_name().map_or_else(|| "state".into(), |name| name.to_string_lossy());
        let free = (1_u64..).map(|n| self.dir.with_file_name(format!("{name}.damaged-{n}")));
        let Some(aside) = free.into_iter().find(|path| !path.exists()) else { return Ok(None) };
        calls::rename(&self.dir, &aside).map_err(|e| failed("setting aside", &self.dir, &e))?;
        self.create_home()?;
        Ok(Some(aside))
    }

    /// Makes the directory itself, and its name durable: whoever made it may have died before that.
    fn create_home(&self) -> StateResult<()> {
        create_dir(&self.dir)?;
        self.dir.parent().map_or(Ok(()), sync_dir)
    }

    /// Leaves word that this state failed a read.
    pub(crate) fn condemn(&self, why: &str) -> StateResult<()> {
        write_synced(&self.dir.join(CONDEMNED), why.as_bytes())?;
        sync_dir(&self.dir)
    }
}

/// The checksum of the last `len` bytes of a file.
pub(crate) fn end_crc(path: &Path, size: u64, len: u32) -> StateResult<u32> {
    let mut end = vec![0; len as usize];
    let at = size.saturating_sub(u64::from(len));
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut end, at));
    read.map_err(|e| failed("reading", path, &e))?;
    Ok(crc32c::crc32c(&end))
}

/// What the ends of a checkpoint's tables should be.
pub(crate) fn read_ends(dir: &Path, manifest: &Manifest) -> StateResult<BTreeMap<u64, (u32, u32)>> {
    let path = dir.join(ENDS);
    let bytes = fs::read(&path).map_err(|e| failed("reading", &path, &e))?;
    let crc = manifest.files.iter().find(|entry| entry.name == ENDS).and_then(|entry| entry.crc);
    if crc != Some(crc32c::crc32c(&bytes)) || bytes.len() % END_ENTRY != 0 {
        return Err(damaged(&path, "its checksum does not hold"));
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |n, b| (n << 8) | u64::from(*b));
    Ok(bytes
        .chunks_exact(END_ENTRY)
        .map(|entry| (number(&entry[..8]), (number(&entry[8..12]) as u32, number(&entry[12..]) as u32)))
        .collect())
}

fn verify_end(path: &Path, name: &str, size: u64, ends: &BTreeMap<u64, (u32, u32)>) -> StateResult<()> {
    let table = name.strip_prefix("tables/").and_then(|id| id.parse::<u64>().ok());
    let Some((len, crc)) = table.and_then(|id| ends.get(&id)) else {
        return Err(damaged(path, "the checksum of its end is missing"));
    };
    if end_crc(path, size, *len)? == *crc { Ok(()) } else { Err(damaged(path, "its end does not verify")) }
}

/// The tree's own files beside its tables; of its version files only the current one.
fn small_files(live: &Path, version: u64) -> StateResult<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(live).map_err(|e| failed("listing", live, &e))? {
        let entry = entry.map_err(|e| failed("listing", live, &e))?;
        let Some(name) = entry.file_name().to_str().map(str::to_string) else { continue };
        let is_file = entry.file_type().is_ok_and(|t| t.is_file());
        let other_version =
            name.strip_prefix('v').and_then(|n| n.parse::<u64>().ok()).is_some_and(|v| v != version);
        if is_file && !other_version && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn copy_verified(source: &Path, target: &Path, crc: u32) -> StateResult<()> {
    let bytes = fs::read(source).map_err(|e| failed("reading", source, &e))?;
    if crc32c::crc32c(&bytes) != crc {
        return Err(damaged(source, "its checksum does not hold"));
    }
    fs::write(target, bytes).map_err(|e| failed("writing", target, &e))
}

fn write_synced(path: &Path, bytes: &[u8]) -> StateResult<()> {
    calls::write(path, bytes).map_err(|e| failed("writing", path, &e))
}

fn sync_dir(path: &Path) -> StateResult<()> {
    calls::sync_dir(path).map_err(|e| failed("syncing", path, &e))
}

fn create_dir(path: &Path) -> StateResult<()> {
    calls::create_dir(path).map_err(|e| failed("creating", path, &e))
}

fn remove_file(path: &Path) -> StateResult<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("removing", path, &error)),
        _ => Ok(()),
    }
}

fn remove_dir(path: &Path) -> StateResult<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("removing", path, &error)),
        _ => Ok(()),
    }
}

fn failed(doing: &str, path: &Path, error: &std::io::Error) -> StateError {
    StateError::new(kind_of(error), format!("{doing} {}: {error}", path.display()))
}

/// What a manifest names and is not there, or ends too early, is damage.
pub(crate) fn kind_of(error: &std::io::Error) -> StateErrorKind {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::UnexpectedEof => StateErrorKind::Damaged,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StateErrorKind::Full,
        _ => StateErrorKind::Io,
    }
}

fn damaged(path: &Path, what: &str) -> StateError {
    StateError::of_damage(format!("{}: {what}", path.display()))
}
