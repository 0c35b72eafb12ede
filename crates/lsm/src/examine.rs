//! Looking at the checkpoints of a node that does not run: every file of each, every block of every table. Nothing is changed.

use crate::Options;
use crate::blocks::faults;
use crate::files::{ENDS, Layout, end_crc, read_ends};
use quorate_storage::journal::Identity;
use quorate_storage::manifest::{FileEntry, NAME};
use quorate_storage::state::StateError;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is in the directory of a state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Examined {
    /// The checkpoints.
    pub generations: Vec<u64>,
    /// Files read, and bytes of them. What two checkpoints share is read once.
    pub files: u64,
    /// See `files`.
    pub bytes: u64,
    /// What is damaged.
    pub faults: Vec<Fault>,
}

/// A place that does not verify.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// Where in it; `None` where it is missing, or harmed as a whole.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// Reads everything below `dir`; checkpoint `named` first, so that what it shares with others is told of it.
pub fn examine(dir: &Path, identity: Identity, named: Option<u64>) -> std::io::Result<Examined> {
    let end_bytes = Options::default().end_bytes;
    let layout = Layout::new(dir, identity, end_bytes);
    let mut look = Look { found: Examined::default(), seen: BTreeSet::new(), end_bytes };
    let names = match fs::read_dir(dir) {
        Ok(entries) => entries.map(|e| e.map(|e| e.file_name())).collect::<std::io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut generations: Vec<u64> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
    generations.sort_unstable_by_key(|&generation| (Some(generation) != named, generation));
    for &generation in &generations {
        look.checkpoint(&layout, generation)?;
    }
    let condemned = layout.condemned();
    if let Ok(why) = fs::read_to_string(&condemned) {
        look.fault(&condemned, None, format!("a node noted that a read failed here: {why}"));
    }
    look.found.generations = generations;
    Ok(look.found)
}

struct Look {
    found: Examined,
    /// Files by device and number.
    seen: BTreeSet<(u64, u64)>,
    /// How long the ends of tables are at most.
    end_bytes: u64,
}

impl Look {
    fn fault(&mut self, path: &Path, offset: Option<u64>, what: impl Into<String>) {
        self.found.faults.push(Fault { path: path.to_path_buf(), offset, what: what.into() });
    }

    fn checkpoint(&mut self, layout: &Layout, generation: u64) -> std::io::Result<()> {
        let dir = layout.of(generation);
        let manifest = match layout.read_manifest(&dir, generation) {
            Ok(manifest) => manifest,
            // One that was cut off in its making has none; the journal knows whether it counts.
            Err(error) => {
                self.fault(&dir.join(NAME), None, told(&error));
                return Ok(());
            }
        };
        self.found.files += 1;
        let ends = read_ends(&dir, &manifest).unwrap_or_else(|error| {
            self.fault(&dir.join(ENDS), None, told(&error));
            BTreeMap::new()
        });
        for entry in &manifest.files {
            self.file(&dir.join(&entry.name), entry, &ends)?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        path: &Path,
        entry: &FileEntry,
        ends: &BTreeMap<u64, (u32, u32)>,
    ) -> std::io::Result<()> {
        let meta = match fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.fault(path, None, "it is missing");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if meta.len() != entry.size {
            let what = format!("it has {} bytes, {} were written", meta.len(), entry.size);
            self.fault(path, Some(meta.len().min(entry.size)), what);
            return Ok(());
        }
        if !self.seen.insert((meta.dev(), meta.ino())) {
            return Ok(());
        }
        self.found.files += 1;
        self.found.bytes += entry.size;
        if let Some(crc) = entry.crc {
            // The list of the tables' ends was read before.
            if entry.name != ENDS && crc32c::crc32c(&fs::read(path)?) != crc {
                self.fault(path, None, "its checksum does not hold");
            }
            return Ok(());
        }
        let table = entry.name.rsplit('/').next().and_then(|name| name.parse::<u64>().ok());
        let known = table.and_then(|table| ends.get(&table)).copied();
        // Without the list nothing is known of the end.
        let (len, crc) = known.map_or((self.end_bytes, None), |(len, crc)| (u64::from(len), Some(crc)));
        let end = entry.size.saturating_sub(len);
        for at in faults(path, end)? {
            self.fault(path, Some(at), "a block does not verify");
        }
        let len = entry.size - end;
        let found = end_crc(path, entry.size, u32::try_from(len).unwrap_or(u32::MAX));
        if crc.is_some() && found.ok() != crc {
            self.fault(path, Some(end), "its end does not verify");
        }
        Ok(())
    }
}

fn told(error: &StateError) -> String {
    error.context.clone()
}
