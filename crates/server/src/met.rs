//! Which data directory each peer had when it was met.
//!
//! A replica that lost its disk and comes back under its old name has forgotten what it confirmed, and its vote could elect a
//! leader that lacks acknowledged writes. Its directory tells: each has a number, its *life*, drawn when it is made. Nodes
//! greet with it, and write down durably whom they met with which. A peer that comes with another life is refused: it is
//! replaced, by removing it and adding another under a new id, which nobody has met. (etcd refuses a member that "has already
//! been bootstrapped" for the same reason.) Or it is taken back: a directory that was made with `--data-lost` says so in its
//! greeting, and withholds until it has healed, so its life counts from then on.

use crate::datadir::Life;
use quorate_base::NodeId;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The notes, one file a peer.
pub(crate) struct Met {
    dir: PathBuf,
}

impl Met {
    /// Those of the node with this data directory.
    pub(crate) fn beside(data: &Path) -> Self {
        Self { dir: data.join("met") }
    }

    /// The life that a peer was met with last, if it was.
    pub(crate) fn life_of(&self, peer: NodeId) -> Option<u64> {
        known(&self.dir.join(peer.to_string()))
    }

    /// A peer greets with its directory's life: fine the first time, and as long as it is the same. The error says what to do.
    pub(crate) fn meet(&self, peer: NodeId, life: Life) -> Result<(), String> {
        let path = self.dir.join(peer.to_string());
        match known(&path) {
            Some(known) if known == life.number => Ok(()),
            Some(_) if life.taken_back => self.note(&path, life),
            Some(_) => Err(format!(
                "node {peer} comes with another data directory than it had, so what it had confirmed is lost or elsewhere; \
                 give it the old one back. If that is lost, replace it: `quorate node replace {peer:x}`, or `member remove` and \
                 `member add`, removes it and adds a new one under a new id. Or `quorate serve` starts it once with --data-lost, \
                 and with the members that there are now: it is taken back when the others have told it what it may have forgotten.",
                peer = peer.get()
            )),
            None => self.note(&path, life),
        }
    }

    fn note(&self, path: &Path, life: Life) -> Result<(), String> {
        self.write_down(path, life.number).map_err(|e| format!("cannot write {}: {e}", path.display()))
    }

    /// Durable before it returns.
    fn write_down(&self, path: &Path, life: u64) -> std::io::Result<()> {
        crate::datadir::create_dir_durably(&self.dir)?;
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(line(life).as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(&self.dir)?.sync_all()
    }
}

/// What is written there; nothing if that is damaged, as it can be written again.
fn known(path: &Path) -> Option<u64> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("{} cannot be read and is written anew: {error}", path.display());
            return None;
        }
    };
    let life = read(&text);
    if life.is_none() {
        tracing::warn!("{} is damaged and is written anew", path.display());
    }
    life
}

/// The notes in a data directory that are damaged.
pub(crate) fn damaged(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data.join("met")).into_iter().flatten().flatten();
    let notes = entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u64>().is_ok());
    let harmed = notes.filter(|entry| fs::read_to_string(entry.path()).ok().and_then(|t| read(&t)).is_none());
    harmed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn read(text: &str) -> Option<u64> {
    let life = text.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok());
    life.filter(|&life| text == line(life))
}

fn line(life: u64) -> String {
    let life = format!("{life:016x}");
    format!("{life} {:08x}\n", crc32c::crc32c(life.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_life_is_refused_until_the_note_is_gone() {
        let data = std::env::temp_dir().join(format!("quorate-met-{}", std::process::id()));
        let _ = fs::remove_dir_all(&data);
        let met = || Met::beside(&data);
        let life = |number| Life { number, taken_back: false };
        assert_eq!(met().meet(NodeId(2), life(7)), Ok(()));
        assert_eq!(met().meet(NodeId(3), life(8)), Ok(()));
        assert_eq!(met().meet(NodeId(2), life(7)), Ok(()));
        let why = met().meet(NodeId(2), life(8)).unwrap_err();
        assert!(why.contains("another data directory") && why.contains("--data-lost"), "{why}");
        assert_eq!(
            met().meet(NodeId(2), Life { number: 9, taken_back: true }),
            Ok(()),
            "it knows what it lost"
        );
        assert_eq!(met().meet(NodeId(2), life(9)), Ok(()));
        assert!(met().meet(NodeId(2), life(7)).is_err(), "the old one counts no more");
        fs::write(data.join("met/3"), "0000000000000008 00000000\n").unwrap();
        assert_eq!(met().meet(NodeId(3), life(8)), Ok(()), "a damaged note is no note");
        fs::remove_file(data.join("met/2")).unwrap();
        assert_eq!(met().meet(NodeId(2), life(8)), Ok(()));
        assert!(met().meet(NodeId(2), life(7)).is_err());
        fs::remove_dir_all(&data).unwrap();
    }
}
