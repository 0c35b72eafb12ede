//! Up to where a node's hybrid clock may have given out readings, in any of its lives: the file `clock` of its data directory.
//!
//! A bound is durable before the clock goes beyond the one before it (`quorate_clock::hybrid`), and the first one of a life before the node
//! serves. A file that is not there stands for nothing that was given out, as in a directory of an earlier release, and so does a damaged
//! one, which the start and `quorate doctor` name: no promise of tables rests on a reading.
//!
//! ```text
//! 123456789 0a1b2c3d      the bound, and the CRC-32C of its digits
//! ```

use crate::durable;
use crate::error::{ServeError, ServeErrorKind};
use quorate_clock::Hlc;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

const NAME: &str = "clock";

/// The bound of the node's lives so far; none, and a warning, if it is damaged or cannot be read.
pub(crate) fn bound(dir: &Path) -> Hlc {
    let path = dir.join(NAME);
    let found = match fs::read(&path) {
        Ok(found) => parse(&found),
        Err(error) if error.kind() == ErrorKind::NotFound => return Hlc(0),
        Err(error) => {
            tracing::warn!("{} cannot be read and is written anew: {error}", path.display());
            return Hlc(0);
        }
    };
    if found.is_none() {
        tracing::warn!("{} is damaged and is written anew", path.display());
    }
    Hlc(found.unwrap_or(0))
}

/// Whether there is a file that makes no sense.
pub(crate) fn is_damaged(dir: &Path) -> bool {
    fs::read(dir.join(NAME)).is_ok_and(|text| parse(&text).is_none())
}

fn text(bound: u64) -> String {
    let digits = bound.to_string();
    format!("{digits} {:08x}\n", crc32c::crc32c(digits.as_bytes()))
}

fn parse(found: &[u8]) -> Option<u64> {
    let bound = std::str::from_utf8(found).ok()?.split_once(' ')?.0.parse().ok()?;
    (text(bound).as_bytes() == found).then_some(bound)
}

/// Notes a higher one, durably.
pub(crate) fn note(dir: &Path, bound: Hlc) -> Result<(), ServeError> {
    durable::put(dir, NAME, text(bound.0).as_bytes()).map_err(|error| {
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
        let good = text(u64::MAX).into_bytes();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 8;
            fs::write(dir.join(NAME), bad).unwrap();
            assert!(bound(&dir) == Hlc(0) && is_damaged(&dir), "byte {at}");
        }
        fs::write(dir.join(NAME), good).unwrap();
        assert!(bound(&dir) == Hlc(u64::MAX) && !is_damaged(&dir));
        fs::remove_dir_all(&dir).unwrap();
    }
}
