//! Appends that go around the cache of pages (`O_DIRECT`): whole blocks, from memory of ours that lies as the disk wants it.
//!
//! A journal is written once and hardly ever read, and each append is followed by a flush. Through the cache of pages that is: copy,
//! mark dirty, look for what is dirty, write, flush; here it is write and flush. The last block of an append is usually not full. Its
//! bytes are kept, so that the next append writes them again before its own: the same bytes at the same place, as the cache would have
//! done it, so a torn write harms nothing that was durable before.
//!
//! Where a file system does not know `O_DIRECT`, or wants other blocks, the cache of pages is used.

use quorate_base::disk::BLOCK;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Files from this length on are appended to so; a small one is not worth a second handle.
const LEAST: u64 = 64 << 10;
/// What is written at once, at most: the memory that a file needs for it.
const PIECE: usize = 256 << 10;

/// The way around the cache of pages to one file.
pub(super) struct Direct {
    file: fs::File,
    /// One piece and what is needed to begin at a block's beginning.
    memory: Vec<u8>,
    /// Where the last append ended, unless in doubt, and the bytes of the block that it began and did not fill.
    end: Option<u64>,
    tail: Vec<u8>,
}

impl Direct {
    /// For `file` at `path`, if it is large enough and its file system has such a way.
    pub(super) fn of(file: &fs::File, path: &Path) -> Option<Self> {
        if file.metadata().ok()?.len() < LEAST {
            return None;
        }
        let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
        let file = fs::OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
        Some(Self { file, memory: Vec::new(), end: None, tail: Vec::new() })
    }

    /// Somebody else has written into the file.
    #[cfg(feature = "faults")]
    pub(super) fn forget(&mut self) {
        self.end = None;
    }

    /// Writes `bytes` at `offset`, and zeros behind them to the end of the block. `cached` is the same file through the cache of pages.
    pub(super) fn append(&mut self, cached: &fs::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.end != Some(offset) {
            let begun = offset % BLOCK as u64;
            self.tail = vec![0; begun as usize];
            cached.read_exact_at(&mut self.tail, offset - begun)?;
        }
        // In doubt about what was written, the next append reads it again.
        self.end = None;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(PIECE - self.tail.len()));
            self.write(at, piece)?;
            at += piece.len() as u64;
            rest = behind;
        }
        self.end = Some(at);
        Ok(())
    }

    fn write(&mut self, offset: u64, piece: &[u8]) -> io::Result<()> {
        let begun = self.tail.len();
        let filled = begun + piece.len();
        let len = filled.next_multiple_of(BLOCK);
        if self.memory.len() < len + BLOCK {
            self.memory.resize(len + BLOCK, 0);
        }
        let first = self.memory.as_ptr().align_offset(BLOCK);
        let blocks = &mut self.memory[first..first + len];
        blocks[..begun].copy_from_slice(&self.tail);
        blocks[begun..filled].copy_from_slice(piece);
        blocks[filled..].fill(0);
        self.file.write_all_at(blocks, offset - begun as u64)?;
        self.tail.clear();
        self.tail.extend_from_slice(&blocks[filled - filled % BLOCK..filled]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Rng;

    /// Appends of all lengths, also from the middle and after another's write, leave what the cache of pages would.
    #[test]
    fn the_file_holds_what_was_appended() {
        let dir = std::env::temp_dir().join(format!("quorate-direct-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("file");
        let len = 3 << 20;
        fs::write(&path, vec![7u8; len]).unwrap();
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        // A file system without such a way has nothing to be tested.
        let Some(mut direct) = Direct::of(&file, &path) else { return };
        let mut rng = Rng::stream(1, "direct");
        let (mut model, mut at) = (vec![7u8; len], 0);
        for step in 0..300u32 {
            let most = *rng.pick(&[10, 300, 5_000, 600_000]);
            let bytes: Vec<u8> = (0..=rng.below(most)).map(|i| (i as u32 + step) as u8).collect();
            if at + bytes.len() > len || rng.below(20) == 0 {
                at = rng.below(9_000) as usize;
            }
            let end = at + bytes.len();
            match direct.append(&file, at as u64, &bytes) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                result => result.unwrap(),
            }
            model[at..end].copy_from_slice(&bytes);
            // What stood behind, to the end of the block, is the file's own affair.
            let block = end.next_multiple_of(BLOCK).min(len);
            model[end..block].fill(0);
            at = end;
        }
        assert!(fs::read(&path).unwrap() == model, "the file holds something else");
        fs::remove_dir_all(&dir).unwrap();
    }
}
