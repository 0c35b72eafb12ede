//! Power cuts: what a killed node had not synced is lost, in whole or by chance in part.
//!
//! The library of `e2e/powercut`, preloaded into the node, has written down every change with what was there before. Here
//! the changes that no sync covered are undone: bytes and lengths by file, names by directory. In half of the cuts
//! everything unsynced goes. In the others each write is kept, lost, or torn at some byte, independently of its
//! neighbours, and of the names of each directory some prefix is kept; that is what [`quorate_base::disk`] says of disks.

#[path = "../../powercut/src/record.rs"]
mod record;

use quorate_base::Rng;
use record::{Change, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What cuts have cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lost {
    /// How many there were.
    pub cuts: u64,
    /// Unsynced writes that were lost.
    pub writes: u64,
    /// Unsynced writes that were torn.
    pub torn: u64,
    /// Unsynced writes that were kept.
    pub kept: u64,
    /// Changes of names that were undone.
    pub names: u64,
}

/// Watches nodes and cuts their power.
#[derive(Debug)]
pub struct PowerCut {
    library: PathBuf,
    rng: Rng,
    lost: Lost,
}

impl PowerCut {
    /// With this library to preload; `seed` chooses what is lost.
    pub fn new(library: &Path, seed: u64) -> io::Result<Self> {
        let library = fs::canonicalize(library)?;
        Ok(Self { library, rng: Rng::stream(seed, "power cuts"), lost: Lost::default() })
    }

    /// What the cuts have cost so far.
    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// Has the library watch the files below `data`, from this start on.
    pub(crate) fn watch(&self, command: &mut Command, data: &Path) -> io::Result<()> {
        fs::create_dir_all(data)?;
        let data = fs::canonicalize(data)?;
        let notes = notes(&data);
        match fs::remove_dir_all(&notes) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(notes.join("graves"))?,
        }
        command.env("LD_PRELOAD", &self.library).env("POWERCUT_ROOT", &data).env("POWERCUT_LOG", &notes);
        Ok(())
    }

    /// Undoes what the node, which is dead, had not synced below `data`.
    pub(crate) fn cut(&mut self, data: &Path) -> io::Result<()> {
        let data = fs::canonicalize(data)?;
        let notes = notes(&data);
        let log = match fs::read(notes.join("changes")) {
            // It was killed before it began.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            log => Record::decode_all(&log?),
        };
        self.lost.cuts += 1;
        let all = self.rng.chance(1, 2);
        let synced = Synced::of(&log);
        self.undo_writes(&log, &synced, &files(&[&data, &notes.join("graves")])?, all)?;
        self.undo_names(&log, &synced, all)?;
        fs::remove_dir_all(notes)
    }

    fn undo_writes(
        &mut self,
        log: &[Record],
        synced: &Synced,
        files: &BTreeMap<u64, PathBuf>,
        all: bool,
    ) -> io::Result<()> {
        let mut by_file: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
        for (at, record) in log.iter().enumerate() {
            if let Record::Write { ino, .. } = record
                && !synced.covers(*ino, at)
            {
                by_file.entry(*ino).or_default().push(record);
            }
        }
        for (ino, writes) in by_file {
            // A file without a name and without a grave was never there again.
            let Some(path) = files.get(&ino) else { continue };
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            for write in writes.iter().rev() {
                undo(&file, write)?;
            }
            for write in writes {
                let part = if all { 0 } else { self.rng.below(3) };
                match part {
                    0 => self.lost.writes += 1,
                    1 => {
                        self.lost.kept += 1;
                        redo(&file, write, None)?;
                    }
                    _ => {
                        self.lost.torn += 1;
                        redo(&file, write, Some(&mut self.rng))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn undo_names(&mut self, log: &[Record], synced: &Synced, all: bool) -> io::Result<()> {
        let mut by_dir: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, record) in log.iter().enumerate() {
            if let Record::Name { dir, .. } = record
                && !synced.covers(*dir, at)
            {
                by_dir.entry(*dir).or_default().push(at);
            }
        }
        let mut undone: BTreeSet<usize> = BTreeSet::new();
        for changes in by_dir.values() {
            let kept = if all { 0 } else { self.rng.below(changes.len() as u64 + 1) as usize };
            undone.extend(&changes[kept..]);
        }
        for &at in undone.iter().rev() {
            if let Record::Name { change, .. } = &log[at] {
                self.lost.names += 1;
                undo_name(change)?;
            }
        }
        Ok(())
    }
}

/// Where the library writes what happens below `data`.
fn notes(data: &Path) -> PathBuf {
    data.with_extension("cut")
}

/// Up to which record each file or directory is on the platter.
struct Synced(BTreeMap<u64, usize>);

impl Synced {
    fn of(log: &[Record]) -> Self {
        let (mut begun, mut through) = (BTreeMap::new(), BTreeMap::new());
        for (at, record) in log.iter().enumerate() {
            match record {
                Record::SyncBegin { ino, call } => {
                    begun.insert(*call, (*ino, at));
                }
                Record::SyncEnd { call } => {
                    if let Some((ino, at)) = begun.remove(call) {
                        let last: &mut usize = through.entry(ino).or_default();
                        *last = at.max(*last);
                    }
                }
                _ => {}
            }
        }
        Self(through)
    }

    fn covers(&self, ino: u64, at: usize) -> bool {
        self.0.get(&ino).is_some_and(|through| at < *through)
    }
}

/// A path of each file below these directories.
fn files(dirs: &[&Path]) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = dirs.iter().map(|dir| dir.to_path_buf()).collect();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.insert(entry.metadata()?.ino(), entry.path());
            }
        }
    }
    Ok(found)
}

fn undo(file: &File, write: &Record) -> io::Result<()> {
    if let Record::Write { offset, old_len, old, .. } = write {
        file.write_all_at(old, *offset)?;
        file.set_len(*old_len)?;
    }
    Ok(())
}

/// Makes the change again, or with `torn` a part of it.
fn redo(file: &File, write: &Record, torn: Option<&mut Rng>) -> io::Result<()> {
    let Record::Write { offset, truncated, new, .. } = write else { return Ok(()) };
    if let Some(len) = truncated {
        return file.set_len(*len);
    }
    let len = torn.map_or(new.len(), |rng| rng.below(new.len() as u64 + 1) as usize);
    file.write_all_at(&new[..len], *offset)
}

fn undo_name(change: &Change) -> io::Result<()> {
    let undone = match change {
        Change::Made(path) => fs::remove_file(path),
        Change::Gone(path, grave) => fs::rename(grave, path),
        Change::Moved(from, to, grave) => {
            fs::rename(to, from).and_then(|()| if grave.is_empty() { Ok(()) } else { fs::rename(grave, to) })
        }
        Change::DirMade(path) => fs::remove_dir_all(path),
        Change::DirGone(path) => fs::create_dir(path),
    };
    match undone {
        // The last call was noted and not made.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => Ok(()),
        undone => undone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_parse_back_and_a_torn_end_is_none() {
        let text = |t: &str| t.to_string();
        let records = [
            Record::Write {
                ino: 7,
                offset: 3,
                old_len: 5,
                truncated: None,
                old: vec![1, 2],
                new: vec![9; 4],
            },
            Record::Write { ino: 7, offset: 0, old_len: 7, truncated: Some(0), old: vec![1; 7], new: vec![] },
            Record::SyncBegin { ino: 7, call: 1 },
            Record::SyncEnd { call: 1 },
            Record::Name { dir: 2, change: Change::Made(text("/a")) },
            Record::Name { dir: 2, change: Change::Gone(text("/a"), text("/g")) },
            Record::Name { dir: 2, change: Change::Moved(text("/a"), text("/b"), text("")) },
            Record::Name { dir: 2, change: Change::DirMade(text("/d")) },
            Record::Name { dir: 2, change: Change::DirGone(text("/d")) },
        ];
        let log: Vec<u8> = records.iter().flat_map(Record::encode).collect();
        assert_eq!(Record::decode_all(&log), records);
        assert_eq!(Record::decode_all(&log[..log.len() - 1]), records[..8]);
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_began() {
        let write =
            Record::Write { ino: 7, offset: 0, old_len: 0, truncated: None, old: vec![], new: vec![1] };
        let log = [
            write.clone(),
            Record::SyncBegin { ino: 7, call: 1 },
            write.clone(),
            Record::SyncEnd { call: 1 },
            Record::SyncBegin { ino: 7, call: 2 },
        ];
        let synced = Synced::of(&log);
        assert!(synced.covers(7, 0));
        assert!(!synced.covers(7, 2), "written while the sync was under way");
        assert!(!synced.covers(8, 0));
    }
}
