//! The repository as text: its own files, without what tools leave behind.

use std::fmt;
use std::path::Path;

/// Directories that hold no text of ours.
const SKIPPED: [&str; 7] = [".git", "target", "quorate-data", "node_modules", "venv", ".venv", "__pycache__"];
/// Endings of files that are read.
const TEXT: [&str; 7] = [".rs", ".toml", ".md", ".sh", ".proto", ".txt", ".py"];

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
}

impl SourceFile {
    /// The lines before the tests that stand at the end of a source file, numbered from 1.
    pub(crate) fn lines_before_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        self.text[..end].lines().enumerate().map(|(i, line)| (i + 1, line))
    }

    /// True for a path that ends in `.extension`.
    pub(crate) fn ends_in(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, end)| end == extension)
    }

    /// A Rust file that is built into a product, not into a test.
    pub(crate) fn is_source(&self) -> bool {
        self.ends_in("rs")
            && self.path.contains("/src/")
            && !self.path.ends_with("/tests.rs")
            && !self.path.contains("/tests/")
    }

    /// The directory under `crates/` that it lies in.
    pub(crate) fn room(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }
}

/// All files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repo {
    pub(crate) files: Vec<SourceFile>,
    /// Every path, also of files that are not read.
    pub(crate) paths: Vec<String>,
}

impl Repo {
    /// Reads what lies under `root`.
    pub(crate) fn load(root: &Path) -> Self {
        let mut repo = Self::default();
        repo.walk(root, "");
        repo.files.sort_by(|a, b| a.path.cmp(&b.path));
        repo.paths.sort();
        repo
    }

    fn walk(&mut self, dir: &Path, prefix: &str) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let Ok(kind) = entry.file_type() else { continue };
            self.paths.push(path.clone());
            if kind.is_dir() {
                if !SKIPPED.contains(&name.as_str()) {
                    self.walk(&entry.path(), &format!("{path}/"));
                }
            } else if kind.is_file()
                && (TEXT.iter().any(|end| name.ends_with(end)) || prefix == ".ci/")
                && let Ok(text) = std::fs::read_to_string(entry.path())
            {
                self.files.push(SourceFile { path, text });
            }
        }
    }

    /// The text of one file; empty if there is none.
    pub(crate) fn text(&self, path: &str) -> &str {
        self.files.iter().find(|f| f.path == path).map_or("", |f| f.text.as_str())
    }

    /// The directories under `crates/`.
    pub(crate) fn rooms(&self) -> Vec<&str> {
        let manifest =
            |f: &'_ SourceFile| f.path.ends_with("/Cargo.toml") && f.path.matches('/').count() == 2;
        self.files.iter().filter(|f| manifest(f)).filter_map(SourceFile::room).collect()
    }

    /// The manifest of a room.
    pub(crate) fn manifest(&self, room: &str) -> toml::Table {
        self.text(&format!("crates/{room}/Cargo.toml")).parse().unwrap_or_default()
    }

    /// The packages with planted bugs. The binary only passes the feature on.
    pub(crate) fn with_mutants(&self) -> Vec<String> {
        let planted = |room: &&str| {
            *room != "cli" && self.manifest(room).get("features").and_then(|f| f.get("mutants")).is_some()
        };
        self.rooms().into_iter().filter(planted).map(package).collect()
    }
}

/// The package of a room.
pub(crate) fn package(room: &str) -> String {
    if room == "cli" { "quorate".into() } else { format!("quorate-{room}") }
}

/// Something that is not as it should be, and its mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Where, as `path` or `path:line`.
    pub(crate) place: String,
    /// What is wrong.
    pub(crate) what: String,
    /// What to do.
    pub(crate) mend: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    mend: {}", self.place, self.what, self.mend)
    }
}
