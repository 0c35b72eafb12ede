//! Which data directory each peer had when it was met.
//!
//! A replica that lost its disk and comes back under its old name has forgotten what it confirmed, and its vote could elect a
//! leader that lacks acknowledged writes. Its directory tells: each has a number, its *life*, drawn when it is made. Nodes
//! greet with it, and write down durably whom they met with which. A peer that comes with another life is refused: it is
//! replaced, by removing it and adding another under a new id, which nobody has met. (etcd refuses a member that "has already
//! been bootstrapped" for the same reason.) Or it is taken back: a directory that was made with `--data-lost` says so in its
//! greeting, and withholds until it has healed, so its life counts from then on.
//!
//! A note has its line twice, and one that verifies is enough: whoever forgot whom it met would let in the next who comes.

use crate::datadir::Life;
use crate::durable;
use quorate_base::NodeId;
use std::fs;
use std::io::ErrorKind;
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
        known(&self.dir.join(peer.to_string())).map(|note| note.life)
    }

    /// A peer greets with its directory's life: fine the first time, and as long as it is the same. The error says what to do.
    pub(crate) fn meet(&self, peer: NodeId, life: Life) -> Result<(), String> {
        let path = self.dir.join(peer.to_string());
        match known(&path) {
            Some(note) if note.life == life.number && note.whole => Ok(()),
            Some(note) if note.life == life.number => self.note(&path, life),
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
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        durable::put(&self.dir, &name, line(life).repeat(2).as_bytes())
    }
}

/// What is written down of a peer.
struct Note {
    life: u64,
    /// Both lines verify.
    whole: bool,
}

/// What is written there; nothing if no line of it verifies, as it can be written again.
fn known(path: &Path) -> Option<Note> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("{} cannot be read and is written anew: {error}", path.display());
            return None;
        }
    };
    let note = read(&bytes);
    if note.as_ref().is_none_or(|note| !note.whole) {
        tracing::warn!("{} is damaged and is written anew", path.display());
    }
    note
}

/// The notes in a data directory that are damaged.
pub(crate) fn damaged(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data.join("met")).into_iter().flatten().flatten();
    let notes = entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u64>().is_ok());
    let whole =
        |path: &Path| fs::read(path).ok().and_then(|bytes| read(&bytes)).is_some_and(|note| note.whole);
    let harmed = notes.filter(|entry| !whole(&entry.path()));
    harmed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn read(bytes: &[u8]) -> Option<Note> {
    // By length, and not by ends of lines, which may be damaged, too.
    let lives = bytes.chunks(LINE).map(|text| {
        let text = std::str::from_utf8(text).ok()?;
        let life = u64::from_str_radix(text.get(..16)?, 16).ok()?;
        (text == line(life)).then_some(life)
    });
    let lives: Vec<Option<u64>> = lives.collect();
    let life = lives.iter().flatten().next().copied()?;
    Some(Note { life, whole: lives == [Some(life); 2] })
}

/// So long is one.
const LINE: usize = 26;

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
        let note = data.join("met/3");
        let good = fs::read(&note).unwrap();
        for bit in (0..good.len() * 8).step_by(5) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&note, &bad).unwrap();
            assert_eq!(damaged(&data), ["3"], "bit {bit}");
            assert!(met().meet(NodeId(3), life(9)).is_err(), "one line is enough");
            assert_eq!(met().meet(NodeId(3), life(8)), Ok(()));
            assert_eq!(fs::read(&note).unwrap(), good, "it is written anew");
        }
        fs::write(&note, "0000000000000008 00000000\n".repeat(2)).unwrap();
        assert_eq!(met().meet(NodeId(3), life(8)), Ok(()), "a damaged note is no note");
        fs::remove_file(data.join("met/2")).unwrap();
        assert_eq!(met().meet(NodeId(2), life(8)), Ok(()));
        assert!(met().meet(NodeId(2), life(7)).is_err());
        fs::remove_dir_all(&data).unwrap();
    }
}
