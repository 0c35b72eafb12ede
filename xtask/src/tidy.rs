//! Style that no linter knows, as checks whose message says the mend.

use crate::repo::{Finding, Repo, SourceFile};
use crate::rooms;

/// Lines of a source file before its tests.
const LONGEST_FILE: usize = 700;
/// Files that may be longer, each with its reason.
const LONGER: [(&str, &str); 0] = [];
/// Rooms that talk to strangers: a panic there is somebody else's switch.
const FACING_STRANGERS: [&str; 6] = ["gateway-etcd", "gateway-dynamo", "server", "client", "wire", "item"];
/// Files whose text names what the checks look for.
const OWN: [&str; 2] = ["xtask/src/tidy.rs", "xtask/src/main.rs"];

/// All checks.
pub(crate) fn check(repo: &Repo) -> Vec<Finding> {
    let checks: [fn(&Repo) -> Vec<Finding>; 9] = [
        long_files,
        headers,
        panics_before_strangers,
        mints,
        leftovers,
        rooms_on_the_map,
        dead_links,
        scripts,
        rooms::arrows,
    ];
    checks.iter().flat_map(|check| check(repo)).collect()
}

fn sources(repo: &Repo) -> impl Iterator<Item = &SourceFile> {
    repo.files.iter().filter(|f| f.is_source())
}

fn long_files(repo: &Repo) -> Vec<Finding> {
    sources(repo)
        .filter(|f| !LONGER.iter().any(|(path, _)| *path == f.path))
        .filter_map(|f| {
            let lines = f.lines_before_tests().count();
            (lines > LONGEST_FILE).then(|| Finding {
                place: f.path.clone(),
                what: format!("{lines} lines before its tests, more than {LONGEST_FILE}"),
                mend: "split it by subject; if it really is one subject, add it to LONGER in xtask/src/tidy.rs with the reason",
            })
        })
        .collect()
}

fn headers(repo: &Repo) -> Vec<Finding> {
    sources(repo)
        .filter(|f| !f.text.starts_with("//! "))
        .map(|f| Finding {
            place: format!("{}:1", f.path),
            what: "it does not say what it is".into(),
            mend: "begin with //! and, in plain words, what the file does, which paper or specification it follows, what it leaves out",
        })
        .collect()
}

fn panics_before_strangers(repo: &Repo) -> Vec<Finding> {
    let facing = |f: &&SourceFile| f.room().is_some_and(|room| FACING_STRANGERS.contains(&room));
    let panics = [".unwrap()", ".expect(", "unreachable!(", "unimplemented!(", "panic!("];
    sources(repo)
        .filter(facing)
        .flat_map(|f| {
            f.lines_before_tests().filter(|(_, line)| !is_comment(line)).filter_map(move |(n, line)| {
                let panic = panics.iter().find(|panic| line.contains(**panic))?;
                Some(Finding {
                    place: format!("{}:{n}", f.path),
                    what: format!("`{panic}` in a room that faces strangers"),
                    mend: "answer with an error; what only our own bugs can cause is an assert with its numbers, in a room below",
                })
            })
        })
        .collect()
}

/// A mint makes proofs of durability: it may be made only to be handed to a journal that opens.
fn mints(repo: &Repo) -> Vec<Finding> {
    let making = "Mint::for_journal";
    let mut findings = Vec::new();
    for f in sources(repo).filter(|f| !OWN.contains(&f.path.as_str()) && f.path != "crates/base/src/held.rs")
    {
        let mut before = "";
        for (n, line) in f.lines_before_tests() {
            let handed_over = line.contains("Journal::open(") || before.contains("Journal::open(");
            if line.contains(making) && !is_comment(line) && !handed_over {
                findings.push(Finding {
                    place: format!("{}:{n}", f.path),
                    what: "a mint outside the opening of a journal: whoever has it can claim that anything is durable".into(),
                    mend: "make it in the arguments of Journal::open and nowhere else",
                });
            }
            before = line;
        }
    }
    findings
}

fn leftovers(repo: &Repo) -> Vec<Finding> {
    let words = ["TODO", "FIXME", "XXX", "HACK"];
    let looked_at = |f: &&SourceFile| !OWN.contains(&f.path.as_str()) && !f.ends_in("txt");
    repo.files
        .iter()
        .filter(looked_at)
        .flat_map(|f| {
            f.text.lines().enumerate().filter_map(move |(i, line)| {
                let mut parts = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let word = parts.find(|part| words.contains(part))?;
                Some(Finding {
                    place: format!("{}:{}", f.path, i + 1),
                    what: format!("{word} was left behind"),
                    mend: "do it, or say in plain words what is not done and why",
                })
            })
        })
        .collect()
}

fn rooms_on_the_map(repo: &Repo) -> Vec<Finding> {
    let map = repo.text("ARCHITECTURE.md");
    repo.rooms()
        .into_iter()
        .filter(|room| !map.contains(&format!("`{room}`")))
        .map(|room| Finding {
            place: "ARCHITECTURE.md".into(),
            what: format!("the map does not show the room `{room}`"),
            mend: "give it its line: what is in it, what it may know",
        })
        .collect()
}

/// Links from our pages to our files.
fn dead_links(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for f in repo.files.iter().filter(|f| f.ends_in("md")) {
        let dir = f.path.rsplit_once('/').map_or("", |(dir, _)| dir);
        for (i, line) in f.text.lines().enumerate() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = target.split('#').next().unwrap_or_default();
                if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                if !repo.paths.contains(&resolve(dir, target)) {
                    findings.push(Finding {
                        place: format!("{}:{}", f.path, i + 1),
                        what: format!("the link to {target} leads nowhere"),
                        mend: "link to what exists, by its path from the page",
                    });
                }
            }
        }
    }
    findings
}

fn resolve(dir: &str, target: &str) -> String {
    let mut parts: Vec<&str> = dir.split('/').filter(|p| !p.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A script that goes on after a failure says ok in the end.
fn scripts(repo: &Repo) -> Vec<Finding> {
    repo.files
        .iter()
        .filter(|f| f.ends_in("sh") || f.path.starts_with(".ci/"))
        .filter(|f| !f.text.contains("set -euo pipefail"))
        .map(|f| Finding {
            place: f.path.clone(),
            what: "the script goes on after a failure".into(),
            mend: "begin it with `set -euo pipefail`",
        })
        .collect()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Claim: the repository itself is tidy.
    #[test]
    fn the_repository_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let findings: Vec<String> = check(&Repo::load(root)).iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
    }

    fn one(path: &str, text: &str) -> Repo {
        Repo { files: vec![SourceFile { path: path.into(), text: text.into() }], paths: vec![path.into()] }
    }

    /// Claim: each check finds what it is there for, and lets the good form pass.
    #[test]
    fn each_check_can_fail() {
        let finds = |check: fn(&Repo) -> Vec<Finding>, path: &str, bad: &str, good: &str| {
            assert_eq!(check(&one(path, bad)).len(), 1, "not found in {path}: {bad}");
            assert_eq!(check(&one(path, good)), [], "a false alarm in {path}: {good}");
        };
        let long = "//! x\n".repeat(LONGEST_FILE + 1);
        let tests = format!("//! x\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        finds(long_files, "crates/node/src/a.rs", &long, &tests);
        finds(headers, "crates/node/src/a.rs", "use x;", "//! What it is.");
        let gateway = "crates/gateway-etcd/src/a.rs";
        finds(panics_before_strangers, gateway, "let x = y.unwrap();", "// .unwrap() is not for here\n");
        finds(
            panics_before_strangers,
            gateway,
            "y.expect(\"z\");",
            "#[cfg(test)]\nmod tests { y.expect(\"z\") }",
        );
        let opening = "Journal::open(disk, Mint::for_journal())";
        finds(mints, "crates/server/src/a.rs", "let m = Mint::for_journal();", opening);
        finds(leftovers, "README.md", "a TODO here", "mastodon, TODOS, todo!");
        finds(dead_links, "docs/a.md", "[b](b.md)", "[a](a.md) [w](https://x.y/z) [up](../docs/a.md#part)");
        finds(scripts, "e2e/a.sh", "#!/bin/sh\n", "#!/bin/bash\nset -euo pipefail\n");
        let mut repo = one("crates/attic/Cargo.toml", "");
        assert_eq!(rooms_on_the_map(&repo).len(), 1);
        repo.files.push(SourceFile { path: "ARCHITECTURE.md".into(), text: "the `attic`".into() });
        assert_eq!(rooms_on_the_map(&repo), []);
    }
}
