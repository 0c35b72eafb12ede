//! Small files that are there whole or not at all, and that a power cut does not take: content, then name, each flushed.
//!
//! No look at the files shows that a flush is missing. So all of it is made of steps that a test sees.

use std::fs::{self, File};
use std::io::{Result, Write as _};
use std::path::Path;

/// What is done to a disk.
#[derive(Clone, Copy)]
enum Step<'a> {
    /// A file, new or over an old one, gets these bytes.
    Write(&'a Path, &'a [u8]),
    /// What a file holds, or which names a directory has, is durable behind it.
    Flush(&'a Path),
    /// What had the first name has the second.
    Rename(&'a Path, &'a Path),
    /// A name is gone.
    Remove(&'a Path),
}

impl Step<'_> {
    fn take(self) -> Result<()> {
        #[cfg(test)]
        seen::note(self);
        match self {
            Self::Write(path, bytes) => File::create(path)?.write_all(bytes),
            Self::Flush(path) => File::open(path)?.sync_all(),
            Self::Rename(from, to) => fs::rename(from, to),
            Self::Remove(path) => fs::remove_file(path),
        }
    }
}

/// The file has these bytes, whatever it had, or what it had.
pub(crate) fn put(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (new, path) = (dir.join(format!("{name}.new")), dir.join(name));
    Step::Write(&new, bytes).take()?;
    Step::Flush(&new).take()?;
    Step::Rename(&new, &path).take()?;
    Step::Flush(dir).take()
}

/// There is a file of that name, with nothing in it.
pub(crate) fn mark(dir: &Path, name: &str) -> Result<()> {
    let path = dir.join(name);
    Step::Write(&path, b"").take()?;
    Step::Flush(&path).take()?;
    Step::Flush(dir).take()
}

/// There is none any more; it is an error if there was none.
pub(crate) fn remove(dir: &Path, name: &str) -> Result<()> {
    Step::Remove(&dir.join(name)).take()?;
    Step::Flush(dir).take()
}

/// What a test saw.
#[cfg(test)]
pub(crate) mod seen {
    use super::Step;
    use std::cell::RefCell;
    use std::path::Path;

    thread_local! {
        static STEPS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn note(step: Step<'_>) {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        STEPS.with_borrow_mut(|steps| {
            steps.push(match step {
                Step::Write(path, _) => format!("write {}", name(path)),
                Step::Flush(path) => format!("flush {}", name(path)),
                Step::Rename(from, to) => format!("rename {} to {}", name(from), name(to)),
                Step::Remove(path) => format!("remove {}", name(path)),
            });
        });
    }

    /// The steps of this.
    pub(crate) fn of<T>(act: impl FnOnce() -> T) -> (T, Vec<String>) {
        STEPS.take();
        let done = act();
        (done, STEPS.take())
    }

    /// Those of a file that is put into a directory.
    pub(crate) fn put(dir: &str, file: &str) -> Vec<String> {
        vec![
            format!("write {file}.new"),
            format!("flush {file}.new"),
            format!("rename {file}.new to {file}"),
            format!("flush {dir}"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::began::Began;
    use crate::config::ServerConfig;
    use crate::datadir::{DataDir, Life};
    use crate::met::Met;
    use crate::{promised, readings, sealed};
    use quorate_base::NodeId;
    use std::time::Duration;

    /// Claim: whatever a node notes beside its journal and its state is durable before it goes on: the content before the name, the name
    /// before the return; and the marks of a disk that was lost before the identity.
    #[test]
    fn what_is_noted_is_flushed() {
        let data = std::env::temp_dir().join(format!("quorate-durable-{}", std::process::id()));
        let _ = fs::remove_dir_all(&data);
        let dir = data.join("n");
        let config =
            ServerConfig { data: dir.clone(), data_lost: true, joins: false, ..crate::config::tests::good() };
        let put = |file: &str| seen::put("n", file);
        let mark = |file: &str| vec![format!("write {file}"), format!("flush {file}"), "flush n".to_string()];
        let (open, steps) = seen::of(|| DataDir::open(&config).map_err(|error| error.to_string()));
        assert_eq!(steps, [mark("withholds"), mark("data-lost"), put("identity")].concat());
        let open = open.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            seen::of(|| open.healed().is_ok()),
            (true, vec!["remove withholds".into(), "flush n".into()])
        );
        let life = Life { number: 7, taken_back: false };
        assert_eq!(seen::of(|| Met::beside(&dir).meet(NodeId(2), life)), (Ok(()), seen::put("met", "2")));
        assert_eq!(seen::of(|| readings::note(&dir, quorate_clock::Hlc(7)).is_ok()), (true, put("clock")));
        assert_eq!(seen::of(|| Began::EMPTY.store(&dir).is_ok()), (true, put("began")));
        let promise = Some(Duration::from_millis(700));
        assert_eq!(seen::of(|| promised::take(&dir, promise).is_ok()), (true, put("promised")));
        assert_eq!(
            seen::of(|| sealed::remove(&dir, "began").is_ok()),
            (true, vec!["remove began".into(), "flush n".into()])
        );
        let _ = fs::remove_dir_all(&data);
    }
}
