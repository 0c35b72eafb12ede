//! The real disk: files below one directory.
//!
//! New files are really written with zeros and synced: blocks that are merely reserved are marked unwritten, and the
//! first sync after writing into them would have to commit that change of metadata.

mod direct;

use crate::datadir::create_dir_durably;
use direct::Direct;
use quorate_base::disk::{Disk, DiskError, DiskErrorKind, DiskResult, File};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// New files are written in pieces of so many bytes: one flush of a whole segment would hold up the flushes of all others on the
/// device for tens of milliseconds.
const ZEROS: usize = 512 << 10;

/// Files below a directory.
pub struct FsDisk {
    root: PathBuf,
}

impl FsDisk {
    /// Everything lies below `root`, which must exist.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

fn failed(call: &str, path: &Path, error: &std::io::Error) -> DiskError {
    let kind = match error.kind() {
        ErrorKind::NotFound => DiskErrorKind::NotFound,
        ErrorKind::AlreadyExists => DiskErrorKind::Exists,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => DiskErrorKind::Full,
        _ => DiskErrorKind::Io,
    };
    DiskError { kind, context: format!("{call} {}", path.display()), message: error.to_string() }
}

impl Disk for FsDisk {
    fn create(&self, path: &str, len: u64) -> DiskResult<Box<dyn File>> {
        let path = self.at(path);
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let create = || -> std::io::Result<fs::File> {
            let mut file = options.open(&path)?;
            let zeros = vec![0; (len as usize).min(ZEROS)];
            let mut left = len as usize;
            while left > 0 {
                let now = left.min(zeros.len());
                file.write_all(&zeros[..now])?;
                file.sync_data()?;
                left -= now;
            }
            file.sync_all()?;
            Ok(file)
        };
        match create() {
            Ok(file) => Ok(Box::new(FsFile::new(file, path))),
            Err(error) => {
                if error.kind() != ErrorKind::AlreadyExists {
                    // A file that found no room must not be taken for a whole one.
                    let _ = fs::remove_file(&path);
                }
                Err(failed("create", &path, &error))
            }
        }
    }

    fn open(&self, path: &str) -> DiskResult<Box<dyn File>> {
        let path = self.at(path);
        let file = fs::OpenOptions::new().read(true).write(true).open(&path);
        match file {
            Ok(file) => Ok(Box::new(FsFile::new(file, path))),
            Err(error) => Err(failed("open", &path, &error)),
        }
    }

    fn create_dir(&self, path: &str) -> DiskResult<()> {
        let path = self.at(path);
        create_dir_durably(&path).map_err(|e| failed("create", &path, &e))
    }

    fn list(&self, dir: &str) -> DiskResult<Vec<String>> {
        let path = self.at(dir);
        let list = || -> std::io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&path)? {
                if let Some(name) = entry?.file_name().to_str() {
                    names.push(name.to_string());
                }
            }
            names.sort();
            Ok(names)
        };
        list().map_err(|e| failed("list", &path, &e))
    }

    fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        let (from, to) = (self.at(from), self.at(to));
        fs::rename(&from, &to).map_err(|e| failed("rename", &from, &e))?;
        #[cfg(feature = "faults")]
        crate::faults::renamed(&from, Some(&to));
        Ok(())
    }

    fn remove(&self, path: &str) -> DiskResult<()> {
        let path = self.at(path);
        #[cfg(feature = "faults")]
        crate::faults::renamed(&path, None);
        fs::remove_file(&path).map_err(|e| failed("remove", &path, &e))
    }

    fn sync_dir(&self, dir: &str) -> DiskResult<()> {
        let path = self.at(dir);
        fs::File::open(&path).and_then(|d| d.sync_all()).map_err(|e| failed("sync", &path, &e))
    }
}

struct FsFile {
    file: fs::File,
    path: PathBuf,
    appends: Appends,
}

/// How a file is appended to; known from the first time on.
enum Appends {
    Unknown,
    Direct(Direct),
    Cached,
}

impl FsFile {
    fn new(file: fs::File, path: PathBuf) -> Self {
        Self { file, path, appends: Appends::Unknown }
    }
}

impl File for FsFile {
    fn size(&self) -> DiskResult<u64> {
        let size = self.file.metadata().map(|m| m.len()).map_err(|e| failed("read", &self.path, &e))?;
        #[cfg(feature = "faults")]
        let size = size.max(crate::faults::end(&self.path));
        Ok(size)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> DiskResult<()> {
        self.file.read_exact_at(buf, offset).map_err(|e| failed("read", &self.path, &e))?;
        #[cfg(feature = "faults")]
        crate::faults::read(&self.path, offset, buf);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> DiskResult<()> {
        #[cfg(feature = "faults")]
        if crate::faults::write(&self.path, offset, bytes).map_err(|e| failed("write", &self.path, &e))? {
            return Ok(());
        }
        self.file.write_all_at(bytes, offset).map_err(|e| failed("write", &self.path, &e))
    }

    fn append_at(&mut self, offset: u64, bytes: &[u8]) -> DiskResult<()> {
        if matches!(self.appends, Appends::Unknown) {
            self.appends = Direct::of(&self.file, &self.path).map_or(Appends::Cached, Appends::Direct);
        }
        let Appends::Direct(direct) = &mut self.appends else { return self.write_at(offset, bytes) };
        #[cfg(feature = "faults")]
        if crate::faults::write(&self.path, offset, bytes).map_err(|e| failed("write", &self.path, &e))? {
            direct.forget();
            return Ok(());
        }
        match direct.append(&self.file, offset, bytes) {
            // This file system wants other pieces: the cache of pages knows how.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                self.appends = Appends::Cached;
                self.file.write_all_at(bytes, offset)
            }
            result => result,
        }
        .map_err(|e| failed("write", &self.path, &e))
    }

    fn sync(&mut self) -> DiskResult<()> {
        #[cfg(feature = "faults")]
        crate::faults::sync(&self.path, &self.file).map_err(|e| failed("sync", &self.path, &e))?;
        self.file.sync_data().map_err(|e| failed("sync", &self.path, &e))
    }
}
