//! What an earlier life of a node may have promised to its leader's lease.
//!
//! A replica that promised to vote for nobody for a while (`protocol::raft::leases`) must keep to it when its process starts anew within
//! that while, and promises stand in no log. So a node that may promise says so in its data directory, durably, before it hears from
//! anybody: the file `promised`, with the longest promise in milliseconds. A start that finds it takes it for a promise that was given just
//! now. The file stays when leases are switched off again; all that it costs is that the node votes for nobody in the first moments of a
//! life.

use crate::error::{ServeError, ServeErrorKind};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

const NAME: &str = "promised";
/// No election timeout is longer: what stands for a file that says nothing.
const LONGEST: Duration = Duration::from_secs(60);

/// What an earlier life of the node in `dir` may have promised; notes what this one may, if it may.
pub(crate) fn take(dir: &Path, may: Option<Duration>) -> Result<Duration, ServeError> {
    let path = dir.join(NAME);
    let earlier = match fs::read_to_string(&path) {
        Ok(text) => read(&text),
        Err(error) if error.kind() == ErrorKind::NotFound => Duration::ZERO,
        Err(error) if error.kind() == ErrorKind::InvalidData => LONGEST,
        Err(error) => return Err(failed(&path, "read", &error)),
    };
    if let Some(may) = may.filter(|may| *may > earlier) {
        note(dir, &path, may).map_err(|error| failed(&path, "write", &error))?;
    }
    Ok(earlier)
}

fn read(text: &str) -> Duration {
    let millis = text.lines().find_map(|line| line.strip_prefix("milliseconds = ")?.parse().ok());
    millis.map_or(LONGEST, |millis| Duration::from_millis(millis).min(LONGEST))
}

fn note(dir: &Path, path: &Path, may: Duration) -> std::io::Result<()> {
    let new = dir.join("promised.new");
    let mut file = File::create(&new)?;
    let text =
        "# This node may have promised to vote for nobody for so long: it was started with --lease-reads.";
    // A part of a millisecond is one more.
    let millis = may.as_micros().div_ceil(1000);
    file.write_all(format!("{text}\nmilliseconds = {millis}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}

fn failed(path: &Path, what: &str, error: &std::io::Error) -> ServeError {
    ServeError::new(
        ServeErrorKind::DataDir,
        format!("cannot {what} {}: {error}", path.display()),
        "the data directory must be on a disk with room that this user may write",
    )
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
}
