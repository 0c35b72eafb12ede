//! Up to where a node's hybrid clock may have given out readings, in any of its lives: the file `clock` of its data directory.
//!
//! A bound is durable before the clock goes beyond the one before it (`quorate_clock::hybrid`), and the first one of a life before the node
//! serves. A file that is not there, or makes no sense, stands for nothing that was given out: a directory of an earlier release, or a
//! damaged one; no promise of tables rests on a reading.

use crate::error::{ServeError, ServeErrorKind};
use quorate_clock::Hlc;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

const NAME: &str = "clock";

/// The bound of the node's lives so far.
pub(crate) fn bound(dir: &Path) -> Hlc {
    let text = fs::read_to_string(dir.join(NAME)).unwrap_or_default();
    let bound = text.lines().find_map(|line| line.strip_prefix("bound = ")?.parse().ok());
    Hlc(bound.unwrap_or(0))
}

/// Notes a higher one, durably.
pub(crate) fn note(dir: &Path, bound: Hlc) -> Result<(), ServeError> {
    let write = || {
        let new = dir.join("clock.new");
        let mut file = File::create(&new)?;
        let text = "# No reading of this node's hybrid clock is above this.";
        file.write_all(format!("{text}\nbound = {}\n", bound.0).as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, dir.join(NAME))?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error: std::io::Error| {
        ServeError::new(
            ServeErrorKind::DataDir,
            format!("cannot write {}: {error}", dir.join(NAME).display()),
            "the data directory must be on a disk with room that this user may write",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: what is noted is known to the next life; nothing, and what makes no sense, is no bound.
    #[test]
    fn a_bound_outlives_its_process() {
        let dir = std::env::temp_dir().join(format!("quorate-readings-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(bound(&dir), Hlc(0));
        for n in [7, u64::MAX] {
            note(&dir, Hlc(n)).unwrap();
            assert_eq!(bound(&dir), Hlc(n));
        }
        fs::write(dir.join(NAME), b"\xff bound = x").unwrap();
        assert_eq!(bound(&dir), Hlc(0));
        fs::remove_dir_all(&dir).unwrap();
    }
}
