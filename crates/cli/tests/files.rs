//! Command lines that make no sense, and directories that cannot be a node's or not now: the exit code says which class, one
//! line says what and one what to do, and no byte of the data is lost by it.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{Alone, Scratch, output};
use std::fs;
use std::path::Path;

/// Claim: what a subcommand does not know, or cannot be, is named with exit code 2, and the text says where to look.
#[test]
fn no_command_line_is_guessed_at() {
    for line in [
        "kv get a --frobnicate",
        "kv get a --limit many",
        "kv get a --endpoints :::",
        "kv get a --endpoints http://127.0.0.1:99999",
        "kv put a",
        "kv frobnicate",
        "status --endpoints %%",
        "status --endpoints https://127.0.0.1:1",
        "status --timeout -1",
        "status --timeout 1h",
        "kv get a --timeout 0",
        "status --frobnicate",
        "bench kv --clients 0",
        "bench kv --value-size 99999999999999999999",
        "bench kv --endpoints nowhere",
        "bench kv --op frobnicate",
        "bench table --op frobnicate",
        "bench table --table a",
        "bench table --op txn --keys 1",
        "bench table --op txn --items 0",
        "bench table --op txn --items 3 --keys 2",
        "bench table --op put --items 2",
        "bench table --endpoints nowhere",
        "bench frobnicate",
        "sim --seeds 5..2",
        "sim --seeds abc",
        "sim --seeds 1..99999999999999999999999",
        "sim --span 0",
        "sim --frobnicate",
        "serve --node -1",
        "serve --heartbeat-ms 99999999999999999999",
        "serve --heartbeat-ms 18446744073709551615",
        "serve --peers 1=a:1,1=b:2 --client-urls 1=http://a:1",
        "serve --peers 1:a:1",
        "serve --etcd localhost",
        "serve --reported-version 3.x",
        "up --nodes 10",
        "up --nodes 99999999999",
        "up --ephemeral --log quorate=loud --any-port",
        "up --frobnicate",
    ] {
        let (code, stdout, stderr) = output(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(code, 2, "{line}: {stdout}{stderr}");
        assert!(stderr.starts_with("error:"), "{line}: {stderr}");
        let hint = ["hint:", "--help", "tip:"].iter().any(|sign| stderr.contains(sign));
        assert!(hint, "{line}: {stderr}");
        assert!(!stderr.contains("panicked"), "{line}: {stderr}");
    }
}

/// Claim: what a file of settings gets wrong is named with its key, exit code 2 and a hint.
#[test]
fn no_settings_are_guessed_at() {
    let scratch = Scratch::new("settings");
    let file = scratch.path("node.toml");
    let peer = |id: &str, port: u32| {
        format!(
            "[[peers]]\nid = {id}\naddress = \"127.0.0.1:{port}\"\nclient_url = \"http://127.0.0.1:{port}\"\n"
        )
    };
    for (text, word) in [
        ("noode = 1".to_string(), "noode"),
        ("node = 99999999999999999999".into(), "node"),
        ("node = -1".into(), "node"),
        ("node = 1.5".into(), "node"),
        ("node = [".into(), "node"),
        ("node = 0".into(), "node id 0"),
        ("[timing]\nheartbeat_ms = 0".into(), "heartbeat"),
        ("[timing]\nelection_max_ms = 9223372036854775807".into(), "election"),
        ("[listen]\netcd = \"127.0.0.1:99999\"".into(), "etcd"),
        ("[listen]\netcd = \"0.0.0.0:2379\"".into(), "open to the network"),
        (peer("1", 1) + &peer("1", 2), "two peers have the id 1"),
        (peer("1", 1) + &peer("2", 1), "two peers have the address"),
        (peer("2", 1), "node 1 is not among"),
        (peer("1", 99_999), "is not an address"),
        ("cluster = \"\"".into(), "no name"),
        ("log = \"quorate=loud\"".into(), "log filter"),
        ("\u{0}".into(), "node.toml"),
    ] {
        fs::write(&file, &text).unwrap();
        let (code, _, stderr) = output(&["serve", "--config", &file, "--data", &scratch.path("n1")]);
        assert_eq!(code, 2, "{text}: {stderr}");
        assert!(stderr.contains(word) && stderr.contains("hint:"), "{text}: {stderr}");
    }
    fs::write(&file, [0xff, 0xfe, 0]).unwrap();
    let (code, _, stderr) = output(&["serve", "--config", &file]);
    assert!(code == 2 && stderr.contains("node.toml") && stderr.contains("hint:"), "{stderr}");
    assert!(!Path::new(&scratch.path("n1")).exists(), "data were touched");
}

fn refused(data: &str, before: &str, more: &[&str]) -> (i32, String) {
    match Alone::start_with(data, before, more) {
        Ok(_) => panic!("{data} was taken"),
        Err((code, said)) => {
            assert!(said.contains("error:") && said.contains("hint:"), "no hint: {said}");
            assert!(!said.contains("panicked"), "{said}");
            (code, said)
        }
    }
}

/// Claim: a directory that is none, is another node's, or is of a newer release is refused by name, and stays as it is.
#[test]
fn directories_that_are_not_this_nodes_are_refused_and_stay() {
    let scratch = Scratch::new("directories");
    let file = scratch.path("file");
    fs::write(&file, "years of work").unwrap();
    let (code, said) = refused(&file, "", &[]);
    assert!(code == 4 && said.contains("cannot create"), "{code}: {said}");
    assert_eq!(fs::read(&file).unwrap(), b"years of work");

    let data = scratch.path("n1");
    let node = Alone::start(&data, "").unwrap();
    assert_eq!(node.put("a", "1").0, 0);
    node.stop();
    for (more, word) in [
        (["--cluster", "another"], "belongs to another cluster"),
        (["--node", "2"], "belongs to node 1, and this is node 2"),
    ] {
        let (code, said) = refused(&data, "", &more);
        assert!(code == 4 && said.contains(word), "{code}: {said}");
    }
    let newer = |name: &str, change: &dyn Fn(&mut Vec<u8>), word: &str| {
        let path = Path::new(&data).join(name);
        let before = fs::read(&path).unwrap();
        let mut bytes = before.clone();
        change(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let (code, said) = refused(&data, "", &[]);
        assert!(code == 4 && said.contains(word) && said.contains("newer"), "{name}: {code}: {said}");
        assert!(fs::read(&path).unwrap() == bytes, "{name} was changed");
        fs::write(&path, before).unwrap();
    };
    newer("identity", &newer_identity, "format 2");
    newer("journal/0000000000000001.seg", &|bytes| newer_segment(bytes), "format version 9");
    let node = Alone::start(&data, "").unwrap();
    assert!(node.get("a").1.contains('1'), "{:?}", node.get("a"));
    node.stop();
}

fn newer_identity(bytes: &mut Vec<u8>) {
    let text = String::from_utf8(std::mem::take(bytes)).unwrap().replace("format = 1", "format = 2");
    let body = &text[..text.find("checksum = ").unwrap()];
    *bytes = format!("{body}checksum = {:08x}\n", crate::common::wire::crc32c(body.as_bytes())).into();
}

fn newer_segment(bytes: &mut [u8]) {
    bytes[8] = 9;
    let crc = crate::common::wire::crc32c(&bytes[..48]);
    bytes[48..52].copy_from_slice(&crc.to_le_bytes());
}

/// Claim: a node on its own does not start where `up` keeps its cluster, whether its directory is there or not; it says whose
/// place that is, and what to do.
#[test]
fn a_node_on_its_own_is_refused_beside_ups() {
    let scratch = Scratch::new("beside-up");
    let home = scratch.path("home");
    fs::create_dir_all(&home).unwrap();
    let nodes = "[[nodes]]\nid = 1\netcd = \"127.0.0.1:2379\"\npeer = \"127.0.0.1:7100\"\n";
    fs::write(format!("{home}/cluster.toml"), format!("format = 1\ncluster = \"up-1\"\n{nodes}")).unwrap();
    let data = format!("{home}/n1");
    let (code, said) = refused(&data, "", &[]);
    assert!(
        code == 4 && said.contains("keeps the cluster up-1") && said.contains("quorate up --data"),
        "{said}"
    );
    assert!(!Path::new(&data).exists(), "something was made");
    Alone::start_with(&data, "", &["--cluster", "up-1"]).unwrap().stop();
}

/// Claim: each command shows an example, and options of one meaning have one name.
#[test]
fn help_shows_examples_and_one_way_to_write_a_time() {
    for command in ["up", "serve", "status", "kv", "bench", "bench kv", "bench table", "sim"] {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let (code, help, _) = output(&words);
        assert!(code == 0 && help.contains("Examples:"), "{command}: {help}");
        assert!(
            !help.contains("--timeout-ms")
                && (!help.contains("--timeout") || help.contains("--timeout <TIME>"))
        );
        assert!(!help.contains("--endpoints <URL>"), "{command} takes a list: {help}");
    }
}

/// Claim: a `cluster.toml` that makes no sense is named, and so is a directory that is none.
#[test]
fn a_cluster_that_makes_no_sense_is_refused_and_stays() {
    let scratch = Scratch::new("cluster");
    let (home, file) = (scratch.path("home"), scratch.path("home/cluster.toml"));
    fs::create_dir_all(&home).unwrap();
    for text in ["", "nonsense", "format = 7", "format = 1\ncluster = \"c\"\nnodes = []\n", "\u{0}"] {
        fs::write(&file, text).unwrap();
        let (code, _, stderr) = output(&["up", "--data", &home]);
        assert!(code == 4 && stderr.contains("cluster.toml") && stderr.contains("hint:"), "{text}: {stderr}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    let (code, _, stderr) = output(&["up", "--data", &file]);
    assert!(code == 4 && stderr.contains("hint:"), "{stderr}");
}

/// Claim: a disk without room stops a node by name, at its start and while it serves; what was acknowledged is there when
/// there is room again.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_costs_nothing_that_was_acknowledged() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let scratch = Scratch::new("full");
    let data = scratch.path("n1");
    let (code, said) = refused(&data, "ulimit -f 100;", &[]);
    assert!(code == 4 && said.contains("make room"), "{code}: {said}");
    let mut node = Alone::start(&data, "").unwrap();
    assert_eq!(node.put("first", "1").0, 0);
    // From here on no file takes a byte beyond its first megabyte.
    let limit = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
    prlimit(Pid::from_raw(node.pid() as i32), Resource::Fsize, limit).unwrap();
    let value = "v".repeat(100_000);
    let acknowledged = (0..40).take_while(|n| node.put(&format!("k{n}"), &value).0 == 0).count();
    assert!((5..20).contains(&acknowledged), "{acknowledged} writes of 100 kB into 1 MiB");
    let (code, said) = node.end();
    assert!(code == 6 && said.contains("make room") && said.contains("hint:"), "{code}: {said}");
    let node = Alone::start(&data, "").unwrap();
    assert!(node.get("first").1.contains('1'));
    for n in 0..acknowledged {
        let (code, said) = node.get(&format!("k{n}"));
        assert!(code == 0 && said.contains(&value), "k{n} is lost");
    }
    node.stop();
}
