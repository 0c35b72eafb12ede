//! Reading tables block by block, without the tree: for a scrub, and for whoever looks at a directory that no node serves from.
//!
//! A table is a run of blocks, each with a magic, a checksum of its header and one of its data; behind them stand its list of parts
//! and a few numbers, which no block's checksum covers and [`crate::files`] does.

use lsm_tree::table::Block;
use lsm_tree::table::block::Header;
use lsm_tree::{CompressionType, file::MAGIC_BYTES};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// How far a walk came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Walked {
    /// The next block begins here.
    To(u64),
    /// The block here does not verify.
    Fault(u64),
    /// All blocks were read.
    End,
}

/// Reads the blocks of a table from `from` on, which begins one, about `budget` bytes of them; those that begin behind `end` are
/// left out.
pub(crate) fn walk(path: &Path, from: u64, end: u64, budget: u64) -> std::io::Result<Walked> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut file = BufReader::with_capacity(64 << 10, file);
    let mut at = from;
    while at < end {
        if at - from >= budget {
            return Ok(Walked::To(at));
        }
        match Block::from_reader(&mut file, CompressionType::None) {
            Ok(block) => at += Header::serialized_len() as u64 + u64::from(block.header.data_length),
            Err(lsm_tree::Error::Io(error)) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                return Err(error);
            }
            Err(_) => return Ok(Walked::Fault(at)),
        }
    }
    Ok(Walked::End)
}

/// All places of a table where a block does not verify.
pub(crate) fn faults(path: &Path, end: u64) -> std::io::Result<Vec<u64>> {
    let (mut faults, mut from) = (Vec::new(), 0);
    loop {
        match walk(path, from, end, u64::MAX)? {
            Walked::Fault(at) => {
                faults.push(at);
                match next_block(path, at + 1, end)? {
                    Some(next) => from = next,
                    None => return Ok(faults),
                }
            }
            Walked::To(_) | Walked::End => return Ok(faults),
        }
    }
}

/// The next place where a block verifies.
fn next_block(path: &Path, from: u64, end: u64) -> std::io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(end.saturating_sub(from) + MAGIC_BYTES.len() as u64).read_to_end(&mut bytes)?;
    let begins = |at: &usize| bytes[*at..].starts_with(&MAGIC_BYTES);
    for at in (0..bytes.len()).filter(begins) {
        let at = from + at as u64;
        if at < end && walk(path, at, at + 1, u64::MAX)? == Walked::End {
            return Ok(Some(at));
        }
    }
    Ok(None)
}
