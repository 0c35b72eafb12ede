//! Small files of a data directory: lines of text under a checksum, `NAME = VALUE` among them, that are there whole or not at all.

use crate::datadir::io;
use crate::durable;
use crate::error::ServeError;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

const SUM: &str = "checksum = ";

/// The file's lines, if there is one. What does not verify is an error of the kind `Damaged`.
pub(crate) fn load(dir: &Path, name: &str) -> Result<Option<String>, ServeError> {
    let path = dir.join(name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(&path, "read", &e)),
    };
    match String::from_utf8(bytes).ok().as_deref().and_then(open) {
        Some(text) => Ok(Some(text.to_string())),
        None => Err(ServeError::damaged(&format!("{} is damaged", path.display()))),
    }
}

/// Durable before it returns: content, then name.
pub(crate) fn store(dir: &Path, name: &str, text: &str) -> Result<(), ServeError> {
    durable::put(dir, name, seal(text).as_bytes()).map_err(|e| io(&dir.join(name), "write", &e))
}

/// It is gone for good before this returns; one that is not there is fine.
pub(crate) fn remove(dir: &Path, name: &str) -> Result<bool, ServeError> {
    match durable::remove(dir, name) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(io(&dir.join(name), "remove", &e)),
    }
}

/// What stands in the lines under a name.
pub(crate) fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('=').map(str::trim))
}

/// Whether a file is there that does not verify, or that cannot be understood.
pub(crate) fn is_damaged<T>(dir: &Path, name: &str, read: fn(&str) -> Option<T>) -> bool {
    match load(dir, name) {
        Ok(text) => text.is_some_and(|text| read(&text).is_none()),
        Err(_) => true,
    }
}

fn seal(text: &str) -> String {
    format!("{text}{SUM}{:08x}\n", crc32c::crc32c(text.as_bytes()))
}

fn open(text: &str) -> Option<&str> {
    let at = text.rfind(SUM)?;
    let sum = text[at..].strip_prefix(SUM)?.strip_suffix('\n')?;
    (sum == format!("{:08x}", crc32c::crc32c(&text.as_bytes()[..at]))).then_some(&text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServeErrorKind;

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let dir = std::env::temp_dir().join(format!("quorate-sealed-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(load(&dir, "it"), Ok(None));
        store(&dir, "it", "# why\na = 1\nb = x y\n").unwrap();
        let text = load(&dir, "it").unwrap().unwrap();
        assert_eq!((field(&text, "a"), field(&text, "b"), field(&text, "c")), (Some("1"), Some("x y"), None));
        let good = fs::read(dir.join("it")).unwrap();
        let refused = |bad: &[u8]| {
            fs::write(dir.join("it"), bad).unwrap();
            load(&dir, "it").unwrap_err().kind == ServeErrorKind::Damaged
        };
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&bad), "bit {bit}");
        }
        assert!((0..good.len()).all(|cut| refused(&good[..cut])));
        assert_eq!((remove(&dir, "it"), remove(&dir, "it")), (Ok(true), Ok(false)));
        fs::remove_dir_all(&dir).unwrap();
    }
}
