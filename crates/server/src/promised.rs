//! What an earlier life of a node may have promised to its leader's lease.
//!
//! A replica that promised to vote for nobody for a while (`protocol::raft::leases`) must keep to it when its process starts anew within
//! that while, and promises stand in no log. So a node that may promise says so in its data directory, durably, before it hears from
//! anybody: the file `promised`, with the longest promise in milliseconds. A start that finds it takes it for a promise that was given just
//! now. The file stays when leases are switched off again; all that it costs is that the node votes for nobody in the first moments of a
//! life.

use crate::error::{ServeError, ServeErrorKind};
use crate::sealed;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The file.
pub(crate) const NAME: &str = "promised";
/// No election timeout is longer: what stands for a file that says nothing.
const LONGEST: Duration = Duration::from_secs(60);

/// What an earlier life of the node in `dir` may have promised; notes what this one may, if it may.
pub(crate) fn take(dir: &Path, may: Option<Duration>) -> Result<Duration, ServeError> {
    let (earlier, sealed) = match sealed::load(dir, NAME) {
        Ok(None) => (Duration::ZERO, true),
        Ok(Some(text)) => (millis(&text).unwrap_or(LONGEST), true),
        Err(error) if error.kind == ServeErrorKind::Damaged => {
            (of_an_earlier_release(dir).unwrap_or(LONGEST), false)
        }
        Err(error) => return Err(error),
    };
    let most = may.unwrap_or_default().max(earlier);
    if most > earlier || !sealed {
        sealed::store(dir, NAME, &text(most))?;
    }
    Ok(earlier)
}

/// Whether there is a file that makes no sense.
pub(crate) fn is_damaged(dir: &Path) -> bool {
    sealed::is_damaged(dir, NAME, millis) && of_an_earlier_release(dir).is_none()
}

fn text(promised: Duration) -> String {
    let why =
        "# This node may have promised to vote for nobody for so long: it was started with --lease-reads.";
    // A part of a millisecond is one more.
    format!("{why}\nmilliseconds = {}\n", promised.as_micros().div_ceil(1000))
}

fn millis(text: &str) -> Option<Duration> {
    let millis = sealed::field(text, "milliseconds")?.parse().ok()?;
    Some(Duration::from_millis(millis).min(LONGEST))
}

/// The same words without a checksum.
fn of_an_earlier_release(dir: &Path) -> Option<Duration> {
    let found = fs::read_to_string(dir.join(NAME)).ok()?;
    millis(&found).filter(|&promised| text(promised) == found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: what may have been promised is known to every later life, and what cannot be read counts as the longest.
    #[test]
    fn what_was_promised_is_known_to_later_lives() {
        let dir = std::env::temp_dir().join(format!("quorate-promised-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let ms = Duration::from_millis;
        let mut taken = Vec::new();
        for may in [None, Some(ms(700)), Some(ms(500)), None, Some(ms(900)), None] {
            taken.push(take(&dir, may).unwrap());
        }
        assert_eq!(taken, [ms(0), ms(0), ms(700), ms(700), ms(700), ms(900)]);
        for text in ["", "milliseconds = x", "milliseconds = 99999999999"] {
            fs::write(dir.join(NAME), text).unwrap();
            assert_eq!(take(&dir, None).unwrap(), LONGEST, "{text:?}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    /// Claim: no flipped bit shortens what was promised, and each is named; what an earlier release noted, without a checksum, counts, and
    /// has one from then on.
    #[test]
    fn a_promise_does_not_become_shorter() {
        let dir = std::env::temp_dir().join(format!("quorate-promised-bits-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (path, promised) = (dir.join(NAME), Duration::from_millis(700));
        fs::write(&path, text(promised)).unwrap();
        assert!(!is_damaged(&dir));
        assert_eq!(take(&dir, None).unwrap(), promised, "an earlier release's");
        let good = fs::read(&path).unwrap();
        assert_ne!(good, text(promised).into_bytes());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).unwrap();
            assert!(is_damaged(&dir), "bit {bit}");
            assert_eq!([take(&dir, None).unwrap(), take(&dir, None).unwrap()], [LONGEST; 2], "bit {bit}");
            assert!(!is_damaged(&dir), "it is written anew");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
