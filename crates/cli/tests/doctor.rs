//! The doctor: every record and file of a data directory, and nothing changed.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

use crate::common::{Alone, Scratch, output};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

fn doctor(data: &str) -> (i32, Value) {
    let (code, stdout, stderr) = output(&["doctor", data, "--json"]);
    (code, serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{code}: {stdout}{stderr}")))
}

/// Claim: a whole directory is called so and left as it is; each flipped bit in what a start would read is named by its file, and
/// what is in use or no node's is refused.
#[test]
fn it_names_each_damage_and_changes_nothing() {
    let scratch = Scratch::new("doctor");
    let (data, file, source) = (scratch.path("n1"), scratch.path("s.snap"), scratch.path("n0"));
    let node = Alone::start(&source, "").unwrap();
    for n in 0..200 {
        assert_eq!(node.put(&format!("k{n}"), &"v".repeat(500)).0, 0);
    }
    let (code, _, stderr) = output(&["doctor", &source]);
    assert!(code == 4 && stderr.contains("is in use"), "{code}: {stderr}");
    assert_eq!(output(&["snapshot", "save", &file, "--endpoint", &node.etcd]).0, 0);
    node.stop();
    // A directory with a checkpoint, and entries behind it.
    assert_eq!(output(&["snapshot", "restore", &file, "--data", &data, "--cluster", "new"]).0, 0);
    let node = Alone::start_with(&data, "", &["--cluster", "new"]).unwrap();
    for n in 0..20 {
        assert_eq!(node.put(&format!("k{n}"), "again").0, 0);
    }
    node.stop();

    let before = files(Path::new(&data));
    let (code, told) = doctor(&data);
    assert!(code == 0 && told["healthy"] == true && told["findings"] == Value::Array(vec![]), "{told}");
    assert!(told["entries"].as_u64().unwrap() >= 20 && told["checkpoint"] == 1, "{told}");
    assert_eq!(told["members"]["nodes"], serde_json::json!([1]), "{told}");
    assert!(told["bytes"].as_u64().unwrap() > 100_000, "{told}");
    assert!(files(Path::new(&data)) == before, "the directory has changed");

    let (mut named, mut unread) = (0, 0);
    for (path, good) in &before {
        let name = path.strip_prefix(&data).unwrap().to_str().unwrap();
        let journal = name.starts_with("journal/");
        // A segment is mostly zeros that nobody has written yet; flips there are not told from what was never there.
        let used =
            if journal { good.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1) } else { good.len() };
        if ["lock", "reserve", "journal/spare.seg"].contains(&name) || name.starts_with("state/live") {
            continue;
        }
        for at in (0..used).step_by((used / 4).max(1)) {
            let mut bad = good.clone();
            bad[at] ^= 8;
            fs::write(path, bad).unwrap();
            let (code, told) = doctor(&data);
            let findings = told["findings"].as_array().unwrap();
            if findings.is_empty() {
                // Padding, and what a newer segment has made void.
                assert!(code == 0 && journal, "byte {at} of {name} was not seen");
                unread += 1;
                continue;
            }
            assert!(findings.iter().any(|f| f["file"] == name), "byte {at} of {name}: {told}");
            let healthy = findings.iter().all(|f| f["harmless"] == true);
            assert_eq!(code, if healthy { 0 } else { 5 }, "byte {at} of {name}: {told}");
            named += 1;
        }
        fs::write(path, good).unwrap();
    }
    assert!(named > 20 && unread < named / 3, "{named} were named, {unread} were not seen");
    assert_eq!(doctor(&data).0, 0);
    let (code, _, stderr) = output(&["doctor", scratch.0.to_str().unwrap()]);
    assert!(code == 4 && stderr.contains("holds no node's identity"), "{code}: {stderr}");
    let (code, _, stderr) = output(&["doctor", &scratch.path("nothing")]);
    assert!(code == 4 && stderr.contains("cannot open"), "{code}: {stderr}");
}

/// Claim: a damaged bound of the hybrid clock is told by the start, which goes on and writes it anew.
#[test]
fn a_start_tells_of_a_damaged_clock() {
    let scratch = Scratch::new("doctor-clock");
    let data = scratch.path("n1");
    Alone::start(&data, "").unwrap().stop();
    let file = format!("{data}/clock");
    let mut bytes = fs::read(&file).unwrap();
    bytes[2] ^= 8;
    fs::write(&file, bytes).unwrap();
    let (code, told) = doctor(&data);
    assert!(code == 0 && told["findings"][0]["file"] == "clock", "{told}");

    let node = Alone::start(&data, "").unwrap();
    assert_eq!(node.log_has(&format!("{file} is damaged and is written anew")), 1, "{}", node.log());
    assert_eq!(node.put("a", "b").0, 0);
    node.stop();
    assert_eq!(doctor(&data).1["findings"], serde_json::json!([]));
    let node = Alone::start(&data, "").unwrap();
    assert_eq!(node.log_has("is damaged"), 0);
    node.stop();
}
