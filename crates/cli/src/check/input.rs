//! Which files are histories, and how their bytes come in.

use crate::report::{Exit, Problem};
use quorate_check::history::History;
use quorate_check::read::{BadInput, Reader};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Endings of files that are looked at in a folder.
const ENDINGS: [&str; 6] = ["edn", "log", "txt", "jsonl", "ndjson", "json"];

/// One history to judge.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// It was found in a folder: if it is no history at all, that is no error.
    pub(super) by_chance: bool,
}

/// The files meant, those of folders in the order of their names. The list of expected verdicts is no history.
pub(super) fn files(given: &[PathBuf], expected: Option<&Path>) -> Result<Vec<File>, Problem> {
    let mut files = Vec::new();
    for path in given {
        if path.is_dir() {
            let before = files.len();
            folder(path, expected, &mut files, 0)?;
            if files.len() == before {
                let hint =
                    format!("histories end in {}", ENDINGS.map(|ending| format!(".{ending}")).join(", "));
                return Err(Problem::new(Exit::Usage, format!("no history in {}", path.display()), hint));
            }
        } else {
            files.push(File { path: path.clone(), by_chance: false });
        }
    }
    Ok(files)
}

fn folder(path: &Path, expected: Option<&Path>, files: &mut Vec<File>, depth: u32) -> Result<(), Problem> {
    let cannot = |error| Problem::new(Exit::Usage, format!("cannot read {}: {error}", path.display()), "");
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(cannot)?;
    entries.sort();
    for entry in entries {
        let ending = entry.extension().and_then(|ending| ending.to_str()).unwrap_or("");
        if entry.is_dir() {
            // A ring of links would have no end.
            if depth < 32 {
                folder(&entry, expected, files, depth + 1)?;
            }
        } else if ENDINGS.contains(&ending) && expected != Some(&entry) {
            files.push(File { path: entry, by_chance: true });
        }
    }
    Ok(())
}

/// Why a file was not read to its end.
pub(super) enum Unread {
    /// It is no history.
    Bad(BadInput),
    /// The time was over before.
    Late,
}

impl From<BadInput> for Unread {
    fn from(bad: BadInput) -> Self {
        Self::Bad(bad)
    }
}

/// Reads a history piece by piece, until a deadline.
pub(super) fn read(path: &Path, deadline: Instant) -> Result<History, Unread> {
    let mut reader = Reader::default();
    pieces(path, deadline, |piece| reader.feed(piece))?;
    Ok(reader.finish()?)
}

/// Gives the bytes of a file, or of standard input, piece by piece, until a deadline.
pub(super) fn pieces(
    path: &Path,
    deadline: Instant,
    mut take: impl FnMut(&[u8]) -> Result<(), BadInput>,
) -> Result<(), Unread> {
    if path.as_os_str() == "-" {
        return pieces_of(&mut std::io::stdin().lock(), deadline, &mut take);
    }
    let mut file = std::fs::File::open(path)
        .map_err(|error| BadInput::new(format!("cannot be opened: {error}"), "is the path right?"))?;
    pieces_of(&mut file, deadline, &mut take)
}

fn pieces_of(
    source: &mut impl Read,
    deadline: Instant,
    take: &mut impl FnMut(&[u8]) -> Result<(), BadInput>,
) -> Result<(), Unread> {
    let mut piece = vec![0; 256 << 10];
    let mut begins = true;
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(_) if Instant::now() >= deadline => return Err(Unread::Late),
            Ok(len) => {
                if std::mem::take(&mut begins)
                    && let Some(bad) = no_text(&piece[..len])
                {
                    return Err(bad.into());
                }
                take(&piece[..len])?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BadInput::new(format!("cannot be read: {error}"), "").into()),
        }
    }
}

/// What a file is by its first bytes, where it is none of plain UTF-8.
fn no_text(begin: &[u8]) -> Option<BadInput> {
    let is = |what: &str, hint| Some(BadInput::new(format!("the file is {what}"), hint));
    match begin {
        [0x1f, 0x8b, ..] => {
            is("compressed by gzip", "unpack it first: gunzip -c FILE | quorate check - --model …")
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            is("compressed by zstd", "unpack it first: zstdcat FILE | quorate check - --model …")
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => is("UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"),
        _ => None,
    }
}
