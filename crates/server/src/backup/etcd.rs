//! A snapshot of etcd, or one of ours in its form: the file of a store, and a sum behind it.
//!
//! It is larger than memory may be. So it is read several times: for its sum; for what is large in it to be verified, and all else to be
//! told; and once more to be restored, or to be counted. One of etcd's stands behind one entry, the same for whoever restores it.

use super::{damaged, io, of_state};
use crate::bbolt::{self, BadStore, Kept, MAGIC, MAGIC_AT, Source, Take};
use crate::error::ServeError;
use quorate_base::{Base, EntryId, Index, Term};
use quorate_node::backup::{ALIGN, SUM};
use quorate_state::kv::{Census, Contents, ForeignPart, Kv};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BEHIND: EntryId = EntryId::new(Term(1), Index(1));
/// What is read of it at once for its sum.
const PIECE: usize = 256 << 10;

/// One that was verified.
pub(super) struct OfEtcd {
    path: PathBuf,
    source: Source,
    pub(super) kept: Kept,
    pub(super) size: u64,
    /// What stands for all that was done before: by the sum.
    digest: u64,
}

impl OfEtcd {
    /// Opens and verifies it, if the file is one.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, ServeError> {
        let mut file = File::open(path).map_err(|e| io("open", path, &e))?;
        let size = file.metadata().map_err(|e| io("read", path, &e))?.len();
        let mut magic = [0; MAGIC.len()];
        if file.read_exact_at(&mut magic, MAGIC_AT as u64).is_err() || magic != MAGIC {
            return Ok(None);
        }
        if size % ALIGN != SUM {
            return Err(damaged(path, size, "a snapshot of etcd ends with a sum, and this does not"));
        }
        let (store, mut summed, mut sum) = (size - SUM, 0, Sha256::new());
        let mut piece = vec![0; PIECE];
        while summed < store {
            let some = (store - summed).min(PIECE as u64) as usize;
            file.read_exact(&mut piece[..some]).map_err(|e| io("read", path, &e))?;
            sum.update(&piece[..some]);
            summed += some as u64;
        }
        let (sum, mut expected) = (sum.finalize(), [0; SUM as usize]);
        file.read_exact(&mut expected).map_err(|e| io("read", path, &e))?;
        if sum[..] != expected {
            return Err(damaged(path, store, "the sum over the whole file does not hold"));
        }
        let digest = sum.iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte));
        let (path, source) = (path.to_path_buf(), Source::File(file, store));
        let mut found = Self { path, source, kept: Kept::default(), size, digest };
        found.kept = found.read(&mut |_| Ok(()))?;
        Ok(Some(found))
    }

    fn read(&self, take: &mut Take<'_>) -> Result<Kept, ServeError> {
        bbolt::read(&self.source, take).map_err(|e| self.bad(&e))
    }

    fn bad(&self, error: &BadStore) -> ServeError {
        match &error.untaken {
            Some(error) if !error.damaged() => of_state(error),
            _ => damaged(&self.path, error.at, &error.what),
        }
    }

    /// What is in it, without how many keys and changes there are.
    pub(super) fn contents(&self) -> Result<Contents, ServeError> {
        let contents = self.kept.foreign.contents(BEHIND, self.digest);
        contents.map_err(|e| damaged(&self.path, 0, &e.context))
    }

    /// How many keys and changes there are; what could not be restored is an error.
    pub(super) fn count(&self) -> Result<(u64, u64), ServeError> {
        let mut census = Census::new(self.kept.foreign.compacted);
        loop {
            self.read(&mut |part| match part {
                ForeignPart::Version(version) => census.version(&version),
                ForeignPart::Beside(..) => Ok(()),
            })?;
            if !census.goes_on() {
                return Ok(census.count());
            }
        }
    }

    /// Makes the space in it the machine's; how many keys and changes that has.
    pub(super) fn restore(&self, kv: &mut Kv, base: &Base) -> Result<(u64, u64), ServeError> {
        let adopting = kv.adopt(&self.kept.foreign, BEHIND, self.digest);
        let mut adopting = adopting.map_err(|e| of_state(&e))?;
        let again = self.read(&mut |part| adopting.part(part))?;
        if (again.versions, again.foreign.revision) != (self.kept.versions, self.kept.foreign.revision) {
            return Err(damaged(&self.path, 0, "it is not the same twice"));
        }
        adopting.finish(base).map_err(|e| of_state(&e))
    }
}
