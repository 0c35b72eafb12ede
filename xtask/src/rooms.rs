//! The rooms of the workspace: which may know which, and which must stay pure.
//!
//! The list is the architecture in executable form; ARCHITECTURE.md draws it. An arrow points only to a room above.

use crate::repo::{Finding, Repo, package};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// A room, what it may know (besides crates from outside), and whether it is pure.
struct Room {
    name: &'static str,
    knows: &'static [&'static str],
    pure: bool,
}

const fn pure(name: &'static str, knows: &'static [&'static str]) -> Room {
    Room { name, knows, pure: true }
}

const fn real(name: &'static str, knows: &'static [&'static str]) -> Room {
    Room { name, knows, pure: false }
}

/// From the ground up.
const ROOMS: [Room; 20] = [
    pure("base", &[]),
    pure("clock", &["base"]),
    pure("protocol", &["base"]),
    pure("policy", &[]),
    pure("item", &[]),
    pure("wire", &["base", "clock", "protocol"]),
    pure("storage", &["base"]),
    pure("faulty", &["base"]),
    pure("state", &["base", "protocol", "policy", "item", "wire", "storage"]),
    pure("node", &["base", "clock", "protocol", "wire", "storage", "state"]),
    real("lsm", &["base", "storage"]),
    real("server", &["base", "clock", "protocol", "wire", "storage", "state", "lsm", "node"]),
    real("proto", &[]),
    real("gateway-etcd", &["base", "wire", "node", "proto"]),
    real("gateway-dynamo", &["base", "policy", "item", "wire", "node"]),
    real("client", &["base", "proto"]),
    pure("check", &[]),
    pure(
        "sim",
        &["base", "clock", "protocol", "item", "wire", "storage", "faulty", "state", "node", "check"],
    ),
    real("verify", &["base", "proto", "client", "check"]),
    real(
        "cli",
        &[
            "base",
            "protocol",
            "policy",
            "item",
            "wire",
            "storage",
            "state",
            "node",
            "lsm",
            "server",
            "proto",
            "gateway-etcd",
            "gateway-dynamo",
            "client",
            "sim",
            "check",
            "verify",
        ],
    ),
];

/// Crates from outside that a pure room may depend on, however deep: bytes in memory, their checksums, and JSON text with
/// what it is read and printed by.
const PURE_OUTSIDERS: [&str; 7] = ["bytes", "crc32c", "serde_json", "serde_core", "itoa", "memchr", "zmij"];

/// Crates that know nothing but how to run at build time.
const BUILD_TIME: [&str; 2] = ["rustc_version", "semver"];

/// The clippy configuration of every pure room.
pub(crate) const PURE_CLIPPY: &str = include_str!("../pure-clippy.toml");

/// What the manifests say about each other.
pub(crate) fn arrows(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in repo.rooms() {
        let place = format!("crates/{name}/Cargo.toml");
        let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
            findings.push(Finding {
                place,
                what: format!("the room {name} is not in the list of rooms"),
                mend: "add it to ROOMS in xtask/src/rooms.rs, below all that it knows, and to ARCHITECTURE.md",
            });
            continue;
        };
        let manifest = repo.manifest(name);
        for section in ["dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for known in table.keys().filter_map(|key| key.strip_prefix("quorate-")) {
                if !room.knows.contains(&known) {
                    findings.push(Finding {
                        place: place.clone(),
                        what: format!("{name} may not know {known}"),
                        mend: "turn the dependency round, or move what both need into a room above both",
                    });
                }
            }
        }
        if room.pure && repo.text(&format!("crates/{name}/clippy.toml")) != PURE_CLIPPY {
            findings.push(Finding {
                place: format!("crates/{name}/clippy.toml"),
                what: format!("{name} is pure, but its lints are not those of the pure rooms"),
                mend: "copy xtask/pure-clippy.toml there",
            });
        }
    }
    findings
}

/// What cargo says about everything that is linked into the pure rooms.
pub(crate) fn purity(root: &Path) -> Vec<Finding> {
    let pure: BTreeSet<String> = ROOMS.iter().filter(|r| r.pure).map(|r| package(r.name)).collect();
    let mut findings = Vec::new();
    for name in &pure {
        match tree(root, name) {
            Ok(tree) => findings.extend(impurities(name, &tree, &pure)),
            Err(why) => findings.push(Finding {
                place: name.clone(),
                what: format!("cargo tree failed: {why}"),
                mend: "mend the manifest first",
            }),
        }
    }
    findings
}

fn tree(root: &Path, package: &str) -> Result<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args =
        ["tree", "--edges", "normal,build", "--all-features", "--prefix", "none", "--format", "{p}", "-p"];
    let output =
        Command::new(cargo).args(args).arg(package).current_dir(root).output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_string());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn impurities(name: &str, tree: &str, pure: &BTreeSet<String>) -> Vec<Finding> {
    let found: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    found
        .into_iter()
        .filter(|found| {
            !found.is_empty()
                && !pure.contains(*found)
                && !PURE_OUTSIDERS.contains(found)
                && !BUILD_TIME.contains(found)
        })
        .map(|found| Finding {
            place: name.to_string(),
            what: format!("it depends on {found}, and a pure room may not"),
            mend: "hand in what it needs as an argument; `cargo tree -i` shows who brought it",
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::SourceFile;

    fn manifest(room: &str, dependencies: &str) -> SourceFile {
        SourceFile {
            path: format!("crates/{room}/Cargo.toml"),
            text: format!("[package]\nname = \"x\"\n[dependencies]\n{dependencies}"),
        }
    }

    #[test]
    fn an_arrow_that_points_down_is_found() {
        let clippy = |room: &str| SourceFile {
            path: format!("crates/{room}/clippy.toml"),
            text: PURE_CLIPPY.to_string(),
        };
        let good = Repo {
            files: vec![manifest("wire", "quorate-base.workspace = true\nbytes = \"1\""), clippy("wire")],
            ..Repo::default()
        };
        assert_eq!(arrows(&good), []);
        let mut bad = good.clone();
        bad.files[0] = manifest("wire", "quorate-node.workspace = true");
        assert_eq!(arrows(&bad)[0].what, "wire may not know node");
        bad.files[0] = manifest("wire", "quorate-node = { path = \"../node\" }");
        assert_eq!(arrows(&bad)[0].what, "wire may not know node");
        let unknown = Repo { files: vec![manifest("attic", "")], ..Repo::default() };
        assert!(arrows(&unknown)[0].what.contains("not in the list"));
        let lax = Repo { files: vec![manifest("wire", "")], ..Repo::default() };
        assert!(arrows(&lax)[0].what.contains("lints are not those"));
    }

    #[test]
    fn what_knows_time_is_found_in_a_tree() {
        let pure = BTreeSet::from(["quorate-base".to_string(), "quorate-node".to_string()]);
        let tree = "quorate-node v0.1.0 (/x)\nbytes v1.0.0\nquorate-base v0.1.0 (/y)\n";
        assert_eq!(impurities("quorate-node", tree, &pure), []);
        for line in ["tokio v1.0.0", "getrandom v0.3.0", "quorate-server v0.1.0 (/z)"] {
            let found = impurities("quorate-node", &format!("{tree}{line}\n"), &pure);
            assert_eq!(found.len(), 1, "{line}");
        }
    }

    #[test]
    fn every_room_knows_only_rooms_above_it() {
        for (i, room) in ROOMS.iter().enumerate() {
            for known in room.knows {
                assert!(ROOMS[..i].iter().any(|above| above.name == *known), "{} -> {known}", room.name);
            }
        }
    }
}
