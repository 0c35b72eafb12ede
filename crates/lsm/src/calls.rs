//! The calls by which a checkpoint is made, each with its path, so that a test sees their order: a power cut leaves what a flush has
//! covered and no more, and no look at the files shows that a flush is missing.
//!
//! What the tree writes is not among them: it flushes its tables before it names them in a version.

use std::fs::{self, File};
use std::io::{Result, Write as _};
use std::path::Path;

/// One of them.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "only tests look at them"))]
pub(crate) enum Call<'a> {
    /// A file, a link or a directory has a name.
    Named(&'a Path),
    /// Bytes were written to a file.
    Wrote(&'a Path),
    /// A file's bytes, or the names in a directory, are to be durable.
    Flushed(&'a Path),
    /// What had the first name has the second.
    Renamed(&'a Path, &'a Path),
}

#[cfg(not(test))]
fn note(_: Call<'_>) {}

#[cfg(test)]
use watched::note;

/// Writes a new file, or over an old one, and flushes it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    note(Call::Named(path));
    let mut file = File::create(path)?;
    note(Call::Wrote(path));
    file.write_all(bytes)?;
    note(Call::Flushed(path));
    file.sync_all()
}

/// Flushes the names in a directory.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    note(Call::Flushed(path));
    File::open(path)?.sync_all()
}

/// A second name for a file.
pub(crate) fn link(source: &Path, target: &Path) -> Result<()> {
    note(Call::Named(target));
    fs::hard_link(source, target)
}

/// Another name for a file or a directory.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    note(Call::Renamed(from, to));
    fs::rename(from, to)
}

/// Makes a directory, and those that it lies in.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    for new in path.ancestors().take_while(|path| !path.exists()) {
        note(Call::Named(new));
    }
    fs::create_dir_all(path)
}

/// What a test saw of them.
#[cfg(test)]
pub(crate) mod watched {
    use super::Call;
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    /// What a power cut may take.
    #[derive(Default)]
    pub(crate) struct Unflushed {
        /// Names, until their directory is flushed.
        pub(crate) names: BTreeSet<PathBuf>,
        /// Files with bytes.
        pub(crate) bytes: BTreeSet<PathBuf>,
        /// Those that had unflushed bytes as they got their name: half of one may stand under it.
        pub(crate) halves: Vec<PathBuf>,
        /// How many calls there were.
        pub(crate) calls: usize,
    }

    thread_local! {
        static SEEN: RefCell<Option<Unflushed>> = const { RefCell::new(None) };
    }

    /// Does it and tells what is not flushed behind it.
    pub(crate) fn watch<T>(act: impl FnOnce() -> T) -> (T, Unflushed) {
        SEEN.set(Some(Unflushed::default()));
        let done = act();
        (done, SEEN.take().unwrap_or_default())
    }

    pub(super) fn note(call: Call<'_>) {
        SEEN.with_borrow_mut(|seen| seen.as_mut().map_or((), |seen| seen.note(call)));
    }

    impl Unflushed {
        fn note(&mut self, call: Call<'_>) {
            self.calls += 1;
            match call {
                Call::Named(path) => drop(self.names.insert(path.into())),
                Call::Wrote(path) => drop(self.bytes.insert(path.into())),
                Call::Flushed(path) => {
                    self.bytes.remove(path);
                    self.names.retain(|name| name.parent() != Some(path));
                }
                Call::Renamed(from, to) => {
                    if self.bytes.contains(from) {
                        self.halves.push(to.into());
                    }
                    self.moved(from, to);
                    self.names.insert(to.into());
                }
            }
        }

        fn moved(&mut self, from: &Path, to: &Path) {
            for paths in [&mut self.names, &mut self.bytes] {
                let of_it: Vec<PathBuf> =
                    paths.iter().filter(|path| path.starts_with(from)).cloned().collect();
                for path in of_it {
                    paths.remove(&path);
                    paths.extend(path.strip_prefix(from).ok().map(|rest| to.join(rest)));
                }
            }
        }
    }
}
