//! Which files are histories, and how their bytes come in.

use crate::report::{Exit, Problem};
use quorate_check::history::History;
use quorate_check::read::{BadInput, Reader};
use std::collections::BTreeSet;
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
            let found = Walk::through(path, expected)?;
            if found.is_empty() {
                let hint =
                    format!("histories end in {}", ENDINGS.map(|ending| format!(".{ending}")).join(", "));
                return Err(Problem::new(Exit::Usage, format!("no history in {}", path.display()), hint));
            }
            files.extend(found.into_iter().map(|path| File { path, by_chance: true }));
        } else {
            files.push(File { path: path.clone(), by_chance: false });
        }
    }
    Ok(files)
}

/// A folder, file by file. Links come last, and only where what they name was not met already: Jepsen names the newest run so.
struct Walk<'a> {
    expected: Option<&'a Path>,
    found: Vec<PathBuf>,
    links: Vec<PathBuf>,
    /// What was met, by its true path.
    met: BTreeSet<PathBuf>,
}

/// What a run of Jepsen leaves: its history, in the first of three forms that is there, and by what else a run is known.
const HISTORIES: [&str; 3] = ["history.edn", "history.txt", "jepsen.log"];
const BESIDE: [&str; 3] = ["results.edn", "test.jepsen", "test.fressian"];

impl<'a> Walk<'a> {
    fn through(path: &Path, expected: Option<&'a Path>) -> Result<Vec<PathBuf>, Problem> {
        let mut walk = Self { expected, found: Vec::new(), links: Vec::new(), met: BTreeSet::new() };
        walk.folder(path)?;
        let mut next = 0;
        while let Some(link) = walk.links.get(next).cloned() {
            next += 1;
            if link.is_dir() { walk.folder(&link)? } else { walk.file(link) }
        }
        Ok(walk.found)
    }

    /// False where it was met before. What cannot be resolved is told when it is read.
    fn is_new(&mut self, path: &Path) -> bool {
        self.met.insert(path.canonicalize().unwrap_or_else(|_| path.to_owned()))
    }

    fn folder(&mut self, path: &Path) -> Result<(), Problem> {
        if !self.is_new(path) {
            return Ok(());
        }
        let cannot =
            |error| Problem::new(Exit::Usage, format!("cannot read {}: {error}", path.display()), "");
        let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(cannot)?;
        entries.sort();
        if let Some(history) = history_of_run(&entries) {
            self.file(history);
            for entry in entries {
                self.is_new(&entry);
            }
            return Ok(());
        }
        for entry in entries {
            if entry.is_symlink() {
                self.links.push(entry);
            } else if entry.is_dir() {
                self.folder(&entry)?;
            } else {
                self.file(entry);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf) {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("");
        let result = path.file_name().is_some_and(|name| name == BESIDE[0]);
        if ENDINGS.contains(&ending) && !result && self.expected != Some(&path) && self.is_new(&path) {
            self.found.push(path);
        }
    }
}

/// The one history of a run of Jepsen, where a folder is one: its other files say the same again, or are of the nodes.
fn history_of_run(entries: &[PathBuf]) -> Option<PathBuf> {
    let has = |name: &&str| entries.iter().any(|entry| entry.file_name().is_some_and(|this| this == *name));
    let known = HISTORIES.iter().chain(&BESIDE).filter(|name| has(name)).count();
    let first = HISTORIES.iter().find(|name| has(name)).filter(|_| known > 1)?;
    entries.iter().find(|entry| entry.file_name().is_some_and(|this| this == *first)).cloned()
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
