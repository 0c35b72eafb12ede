//! Versions in the order of their revisions, out of any order, and more of them than memory should hold.
//!
//! What has come is sorted whenever it takes [`HELD`] bytes, and written as one run into a file; reading puts the runs together. The
//! file lies in the node's directory, has no name there, and so is gone with the process, however that ends. Where everything fits
//! into memory there is none. Each record has a checksum: what a disk makes of it does not become a version.
//!
//! ```text
//! record := main(u64) sub(u32) length(u32) crc(u32, CRC-32C of the 16 bytes before and of the bytes behind) bytes    little-endian
//! ```

use crate::room::Spare;
use bytes::Bytes;
use rustix::fs::OFlags;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// So many bytes are held in memory, about, before they are written.
const HELD: usize = if cfg!(test) { 8 << 10 } else { 16 << 20 };
/// What is read of a run at once.
const READ: usize = if cfg!(test) { 300 } else { 32 << 10 };
const HEAD: usize = 20;
/// What one takes in memory beside its bytes, about.
const BESIDE: usize = 64;

/// A revision and the place of the change in it.
pub(super) type Place = (i64, u32);

/// Takes them.
pub(super) struct Sorter<'s> {
    spare: &'s Spare,
    held: Vec<(Place, Bytes)>,
    bytes: usize,
    runs: Runs,
}

#[derive(Default)]
struct Runs {
    file: Option<File>,
    /// Where each begins and ends.
    at: Vec<(u64, u64)>,
}

impl<'s> Sorter<'s> {
    pub(super) fn new(spare: &'s Spare) -> Self {
        Self { spare, held: Vec::new(), bytes: 0, runs: Runs::default() }
    }

    /// One more.
    pub(super) fn add(&mut self, place: Place, bytes: Bytes) -> io::Result<()> {
        self.bytes += bytes.len() + BESIDE;
        self.held.push((place, bytes));
        if self.bytes >= HELD { self.write() } else { Ok(()) }
    }

    /// All of them.
    pub(super) fn end(mut self) -> Sorted {
        self.held.sort_unstable_by_key(|(place, _)| *place);
        Sorted { held: self.held, runs: self.runs }
    }

    fn write(&mut self) -> io::Result<()> {
        if !self.spare.allows(self.bytes as u64) {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the disk has no room to sort it; a snapshot in Quorate's own form needs none",
            ));
        }
        if self.runs.file.is_none() {
            self.runs.file = Some(nameless(self.spare.dir())?);
        }
        let Some(file) = &mut self.runs.file else { return Ok(()) };
        self.held.sort_unstable_by_key(|(place, _)| *place);
        let from = self.runs.at.last().map_or(0, |(_, to)| *to);
        let (mut out, mut to) = (io::BufWriter::with_capacity(256 << 10, file), from);
        for ((main, sub), bytes) in self.held.drain(..) {
            let mut head = [0; HEAD];
            head[..8].copy_from_slice(&main.to_le_bytes());
            head[8..12].copy_from_slice(&sub.to_le_bytes());
            head[12..16].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
            let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..16]), &bytes);
            head[16..].copy_from_slice(&crc.to_le_bytes());
            out.write_all(&head)?;
            out.write_all(&bytes)?;
            to += (HEAD + bytes.len()) as u64;
        }
        out.flush()?;
        self.runs.at.push((from, to));
        self.bytes = 0;
        Ok(())
    }
}

/// A file without a name, or one that loses it at once where the file system knows no other.
fn nameless(dir: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    let flags = i32::try_from(OFlags::TMPFILE.bits()).unwrap_or(0);
    if let Ok(file) = options.clone().custom_flags(flags).open(dir) {
        return Ok(file);
    }
    let path = dir.join("sorting");
    let _ = fs::remove_file(&path);
    let file = options.create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// Has them.
pub(super) struct Sorted {
    held: Vec<(Place, Bytes)>,
    runs: Runs,
}

impl Sorted {
    /// In their order, as often as is asked.
    pub(super) fn read(&self) -> Merged<'_> {
        let mut merged =
            Merged { held: self.held.iter(), runs: Vec::new(), next: BinaryHeap::new(), failed: None };
        if let Some(file) = &self.runs.file {
            merged.runs = self
                .runs
                .at
                .iter()
                .map(|&(at, end)| Run { file, at, end, read: Vec::new(), used: 0 })
                .collect();
        }
        (0..=merged.runs.len()).for_each(|from| merged.pull(from));
        merged
    }
}

/// One that comes next in its run: the heap gives the least place.
struct Next {
    place: Place,
    bytes: Bytes,
    from: usize,
}

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for Next {}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place.cmp(&other.place)
    }
}

/// All runs together. After an error there is nothing more.
pub(super) struct Merged<'s> {
    held: std::slice::Iter<'s, (Place, Bytes)>,
    runs: Vec<Run<'s>>,
    next: BinaryHeap<Reverse<Next>>,
    failed: Option<io::Error>,
}

impl Merged<'_> {
    /// The next of a run; what was held stands behind all of them.
    fn pull(&mut self, from: usize) {
        let next = match self.runs.get_mut(from) {
            Some(run) => run.next().transpose(),
            None => Ok(self.held.next().cloned()),
        };
        match next {
            Ok(Some((place, bytes))) => self.next.push(Reverse(Next { place, bytes, from })),
            Ok(None) => {}
            Err(error) => self.failed = Some(error),
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = io::Result<(Place, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.next.clear();
            return Some(Err(error));
        }
        let Reverse(Next { place, bytes, from }) = self.next.pop()?;
        self.pull(from);
        Some(Ok((place, bytes)))
    }
}

/// One run while it is read.
struct Run<'f> {
    file: &'f File,
    at: u64,
    end: u64,
    read: Vec<u8>,
    used: usize,
}

impl Run<'_> {
    /// At least so many bytes, of which there must be so many.
    fn fill(&mut self, least: usize) -> io::Result<&[u8]> {
        let left = self.read.len() - self.used;
        if left < least {
            self.read.drain(..self.used);
            self.used = 0;
            let more = READ.max(least - left).min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
            self.read.resize(left + more, 0);
            self.file.read_exact_at(&mut self.read[left..], self.at)?;
            self.at += more as u64;
        }
        self.read.get(self.used..self.used + least).ok_or_else(harmed)
    }
}

fn harmed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what was sorted is not what was written")
}

impl Run<'_> {
    fn record(&mut self) -> io::Result<(Place, Bytes)> {
        let head: [u8; HEAD] = self.fill(HEAD)?.try_into().map_err(|_| harmed())?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let bytes = Bytes::copy_from_slice(&self.fill(HEAD + number(12) as usize)?[HEAD..]);
        if crc32c::crc32c_append(crc32c::crc32c(&head[..16]), &bytes) != number(16) {
            return Err(harmed());
        }
        self.used += HEAD + bytes.len();
        Ok(((i64::from(number(0)) | i64::from(number(4)) << 32, number(8)), bytes))
    }
}

impl Iterator for Run<'_> {
    type Item = io::Result<(Place, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let over = self.used == self.read.len() && self.at == self.end;
        (!over).then(|| self.record())
    }
}
