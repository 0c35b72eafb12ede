//! A list of expected verdicts: a line a file, its name and what is known of it.

use super::work::{Found, Outcome};
use crate::report::{Exit, Problem};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is expected of which file.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) path: PathBuf,
    verdicts: BTreeMap<String, Outcome>,
}

impl Expected {
    /// Reads the list; a bare name is also looked for in the folders that are judged.
    pub(super) fn read(path: &Path, given: &[PathBuf]) -> Result<Self, Problem> {
        let mut places = vec![path.to_path_buf()];
        places.extend(given.iter().filter(|given| given.is_dir()).map(|folder| folder.join(path)));
        let place = places.iter().find(|place| place.is_file()).unwrap_or(&places[0]).clone();
        let text = std::fs::read_to_string(&place).map_err(|error| {
            Problem::new(
                Exit::Usage,
                format!("cannot read {}: {error}", place.display()),
                "is the path right?",
            )
        })?;
        let mut verdicts = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, verdict) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let verdict = match verdict.trim() {
                "linearizable" | "holds" | "ok" | "valid" => Outcome::Holds,
                "not linearizable" | "violated" | "bad" | "invalid" => Outcome::Violated,
                "unknown" => Outcome::Unknown,
                "bad input" => Outcome::BadInput,
                other => {
                    return Err(Problem::new(
                        Exit::Usage,
                        format!(
                            "{}:{}:{}: {other:?} is no verdict",
                            place.display(),
                            number + 1,
                            name.len() + 2
                        ),
                        "write linearizable, not linearizable, holds, violated, unknown or bad input",
                    ));
                }
            };
            verdicts.insert(name.to_string(), verdict);
        }
        Ok(Self { path: place, verdicts })
    }

    fn of(&self, path: &Path) -> Option<Outcome> {
        let name = path.file_name()?.to_str()?;
        self.verdicts.get(name).or_else(|| self.verdicts.get(path.to_str()?)).copied()
    }

    /// What is surprising about a verdict.
    pub(super) fn surprise(&self, found: &Found) -> Option<String> {
        match self.of(&found.path) {
            None => Some("it is not on the list of expected verdicts".into()),
            Some(expected) if expected == found.outcome => None,
            Some(expected) => Some(format!("expected: {}", expected.word())),
        }
    }

    /// What is on the list and was not judged.
    pub(super) fn missing<'a>(&'a self, found: &'a [Found]) -> impl Iterator<Item = &'a str> {
        self.verdicts.keys().map(String::as_str).filter(move |name| {
            !found.iter().any(|found| {
                found.path.file_name().is_some_and(|file| file == *name) || found.path.as_os_str() == *name
            })
        })
    }
}
