//! The disk as the journal and the checkpoints see it: a handful of calls, so that a real file system, a simulated one
//! with faults, and a fuzzer's fit behind it.
//!
//! What is assumed of a disk, and no more: a write that was not followed by a successful [`File::sync`] may be lost,
//! kept, torn at any byte or reordered with its unsynced neighbours; a name that was created, renamed or removed is
//! durable once [`Disk::sync_dir`] of its directory returned; any byte may rot. A failed `sync` leaves what was written
//! since the last good one in an unknown state, and trying again proves nothing.

use std::fmt;

/// What went wrong, in the words a caller can decide on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskErrorKind {
    /// No such file or directory.
    NotFound,
    /// It is there already.
    Exists,
    /// No room left.
    Full,
    /// Anything else that the disk reported.
    Io,
}

/// A failed call, with the file it was about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskError {
    /// The class of the failure.
    pub kind: DiskErrorKind,
    /// The call and the path, as in `write n1/journal/0000000000000001.seg`.
    pub context: String,
    /// The system's own words.
    pub message: String,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.context, self.message)
    }
}

impl std::error::Error for DiskError {}

/// What a disk writes in one piece: offsets that are multiples of it begin one.
pub const BLOCK: usize = 4096;

/// Result of a disk call.
pub type DiskResult<T> = Result<T, DiskError>;

/// A directory tree. Paths are relative to its root, with `/` between parts.
pub trait Disk: Send + Sync {
    /// Creates a file of `len` zero bytes, allocated, so that later syncs commit no metadata. Refuses an existing name.
    fn create(&self, path: &str, len: u64) -> DiskResult<Box<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &str) -> DiskResult<Box<dyn File>>;
    /// Creates a directory and its parents, durably; an existing one is fine.
    fn create_dir(&self, path: &str) -> DiskResult<()>;
    /// The names in a directory, sorted, without their path.
    fn list(&self, dir: &str) -> DiskResult<Vec<String>>;
    /// Renames a file, replacing the target in one step.
    fn rename(&self, from: &str, to: &str) -> DiskResult<()>;
    /// Removes a file.
    fn remove(&self, path: &str) -> DiskResult<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &str) -> DiskResult<()>;
}

/// An open file.
pub trait File: Send {
    /// Its length in bytes.
    fn size(&self) -> DiskResult<u64>;
    /// Fills `buf` from `offset`; reading past the end is an error.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> DiskResult<()>;
    /// Writes all of `bytes` at `offset`, growing the file if need be.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> DiskResult<()>;
    /// Writes all of `bytes` at `offset` as the file's new end: what stands behind them, to the end of their last [`BLOCK`], may be
    /// kept or become zeros. It lets a disk write whole blocks by itself; like any write it is durable only after a sync.
    fn append_at(&mut self, offset: u64, bytes: &[u8]) -> DiskResult<()> {
        self.write_at(offset, bytes)
    }
    /// Makes what was written durable (`fdatasync`).
    fn sync(&mut self) -> DiskResult<()>;
}
