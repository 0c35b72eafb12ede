//! The binary as its users meet it: real processes, real signals, real ports.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{
    Alone, PATIENCE, Process, Scratch, Up, eventually, follow, free_address, lives, output, pid, quorate,
    send,
};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

/// Claim: three nodes serve, one leads, a signal stops them in order, and nothing of an ephemeral cluster stays.
#[test]
fn an_ephemeral_cluster_comes_and_goes() {
    let up = Up::start(&["--ephemeral"]);
    let ready = up.ready();
    let nodes = ready["nodes"].as_array().unwrap().clone();
    assert_eq!(nodes.len(), 3);
    assert_eq!(nodes.iter().filter(|n| n["role"] == "leader").count(), 1, "{ready}");
    for node in &nodes {
        assert!(lives(pid(node)));
        assert!(node["etcd"].as_str().unwrap().starts_with("http://127.0.0.1:"));
        assert!(Path::new(node["log"].as_str().unwrap()).exists());
    }
    let home = Path::new(nodes[0]["data"].as_str().unwrap()).parent().unwrap().to_path_buf();
    up.signal(Signal::TERM);
    assert_eq!(up.line()["event"], "stopping");
    assert_eq!(up.line()["event"], "stopped");
    let (status, stderr) = up.wait();
    assert!(status.success(), "{status} {stderr}");
    assert!(nodes.iter().all(|n| !lives(pid(n))), "a node outlived up");
    assert!(!home.exists(), "{} is still there", home.display());
}

/// Claim: a node that is killed is reported with its log, and started again under `--restart`.
#[test]
fn a_dead_node_is_reported_and_restarted() {
    let up = Up::start(&["--ephemeral", "--restart"]);
    let ready = up.ready();
    let victim = &ready["nodes"][1];
    send(pid(victim), Signal::KILL);
    let exited = up.line();
    assert_eq!((&exited["event"], &exited["node"]), (&"exited".into(), &2.into()), "{exited}");
    assert_eq!(exited["status"], "signal 9");
    assert_eq!(pid(&exited), pid(victim));
    assert!(!exited["log"].as_array().unwrap().is_empty(), "{exited}");
    let started = up.line();
    assert_eq!((&started["event"], &started["node"]), (&"started".into(), &2.into()), "{started}");
    assert_ne!(pid(&started), pid(victim));
    assert!(lives(pid(&started)));
    up.signal(Signal::INT);
    assert!(up.wait().0.success());
}

/// Claim: without `--restart` the others go on; when none is left, up ends with 1.
#[test]
fn a_cluster_without_nodes_is_over() {
    let up = Up::start(&["--ephemeral"]);
    for node in up.ready()["nodes"].as_array().unwrap() {
        send(pid(node), Signal::KILL);
        assert_eq!(up.line()["event"], "exited");
    }
    let (status, stderr) = up.wait();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("no node is left"), "{stderr}");
}

/// Claim: nodes do not outlive an `up` that was killed.
#[test]
fn nodes_die_with_up() {
    let up = Up::start(&["--ephemeral"]);
    let ready = up.ready();
    let nodes = ready["nodes"].as_array().unwrap();
    up.signal(Signal::KILL);
    eventually("all nodes are gone", || nodes.iter().all(|n| !lives(pid(n))));
    let home = Path::new(nodes[0]["data"].as_str().unwrap()).parent().unwrap();
    let _ = std::fs::remove_dir_all(home);
}

/// Claim: a second `up` goes on with the same cluster; one beside the first, or for another one, is told what to do.
#[test]
fn data_are_picked_up_and_guarded() {
    let scratch = Scratch::new("again");
    let data = scratch.path("data");
    let up = Up::start(&["--data", &data]);
    let first = up.ready();
    let (code, _, stderr) = output(&["up", "--data", &data]);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("in use by process") && stderr.contains("hint:"), "{stderr}");
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());

    let (code, _, stderr) = output(&["up", "--data", &data, "--nodes", "5"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("3 nodes, not 5"), "{stderr}");

    // What would leave the others behind is refused before it has any effect.
    let node = format!("{data}/n1");
    let (code, _, stderr) = output(&["etcd", "--data-dir", &node, "--force-new-cluster"]);
    assert!(code == 4 && stderr.contains("keeps the cluster"), "{code}: {stderr}");
    assert!(!std::path::Path::new(&node).join("forced").exists());

    let up = Up::start(&["--data", &data]);
    assert_eq!(up.ready()["cluster"], first["cluster"]);
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());

    // A node's directory of another cluster in this one's place.
    let other = scratch.path("other");
    let up = Up::start(&["--data", &other]);
    up.ready();
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
    std::fs::remove_dir_all(Path::new(&data).join("n2")).unwrap();
    std::fs::rename(Path::new(&other).join("n2"), Path::new(&data).join("n2")).unwrap();
    let (status, stderr) = Up::start(&["--data", &data]).wait();
    assert_eq!(status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("belongs to another cluster"), "{stderr}");

    let (code, _, stderr) = output(&["up", "--data", scratch.0.to_str().unwrap()]);
    assert_eq!(code, 4);
    assert!(stderr.contains("no cluster.toml"), "{stderr}");
}

/// Claim: a node whose directory is gone is named, with what to do, and not started; the others serve; one that is removed then is told
/// of no more. One that dies is said to stay down unless `--restart` is given.
#[test]
fn a_lost_directory_is_named_and_the_others_serve() {
    let scratch = Scratch::new("lost");
    let data = scratch.path("data");
    // On ports that no other test's cluster takes while this one stands still.
    let node = |id| {
        let [etcd, dynamo, peer] = [free_address(), free_address(), free_address()];
        format!("[[nodes]]\nid = {id}\netcd = {etcd:?}\ndynamo = {dynamo:?}\npeer = {peer:?}\n")
    };
    let plan = format!("format = 3\ncluster = \"lost\"\n{}{}{}", node(1), node(2), node(3));
    std::fs::create_dir(&data).unwrap();
    scratch.write("data/cluster.toml", &plan);
    let up = Up::start(&["--data", &data]);
    let ready = up.ready();
    assert_eq!(ready["lost"], serde_json::json!([]));
    eventually("all have met", || scratch.0.join("data/n1/met/3").exists());
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
    std::fs::remove_dir_all(scratch.0.join("data/n3")).unwrap();

    let mut said = Process(quorate(&["up", "--data", &data]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(said.0.stdout.take().unwrap()).lines();
    let mut until = |what: &str| {
        let mut seen = String::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("{what} is not said: {seen}")).unwrap();
            seen = seen + &line + "\n";
            if line.contains(what) {
                return seen;
            }
        }
    };
    let told = until("2 nodes serve");
    assert!(told.contains("node 3 is not started") && told.contains("node replace 3 --with"), "{told}");
    until("Ctrl-C");
    assert!(!scratch.0.join("data/n3").exists(), "nothing was made in its place");
    let etcd = told.split("--endpoints ").nth(1).unwrap().split('`').next().unwrap();
    let (code, _, wrong) = output(&["node", "remove", "3", "--endpoints", etcd]);
    assert_eq!(code, 0, "{wrong}");
    let killed: i64 =
        std::fs::read_to_string(scratch.0.join("data/n2/lock")).unwrap().trim().parse().unwrap();
    send(killed, Signal::KILL);
    assert!(until("is not started again").contains("--restart"));
    send(i64::from(said.0.id()), Signal::TERM);
    assert!(said.0.wait().unwrap().success());

    let up = Up::start(&["--data", &data]);
    let ready = up.ready();
    assert_eq!(
        (&ready["lost"], &ready["removed"]),
        (&serde_json::json!([]), &serde_json::json!([3])),
        "{ready}"
    );
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: a taken port is named, and nothing is started.
#[test]
fn a_taken_port_is_named() {
    let scratch = Scratch::new("port");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve =
        ["serve", "--data", &scratch.path("n1"), "--peer", &address, "--etcd", "127.0.0.1:0", "--json"];
    let (code, stdout, stderr) = output(&serve);
    // Port 0 is no address to tell others; that is found first.
    assert_eq!(code, 2, "{stderr}");
    assert!(stdout.contains(r#""event":"failed""#), "{stdout}");
    let free = free_address();
    let serve = ["serve", "--data", &scratch.path("n1"), "--peer", &address, "--etcd", &free, "--json"];
    let (code, stdout, stderr) = output(&serve);
    assert_eq!(code, 3, "{stderr}");
    assert!(stdout.contains(r#""kind":"port-taken""#) && stderr.contains(&address), "{stdout}{stderr}");
    assert!(!scratch.0.join("n1").exists(), "the data directory was touched");
}

/// Claim: a start that is refused leaves no file and no directory that was not there, neither in one that is somebody's nor where none was.
#[test]
fn a_refused_start_leaves_nothing() {
    let scratch = Scratch::new("nothing");
    let (new, theirs) = (scratch.path("deep/new"), scratch.path("theirs"));
    std::fs::create_dir_all(scratch.0.join("theirs/member/wal")).unwrap();
    let (etcd, peer) = (free_address(), free_address());
    let at = ["--etcd", &etcd, "--peer", &peer];
    let snapshot = scratch.path("s.snap");
    let node = Alone::start(&scratch.path("n1"), "").unwrap();
    assert_eq!(output(&["snapshot", "save", &snapshot, "--endpoint", &node.etcd]).0, 0);
    node.stop();
    for (args, code) in [
        (vec!["up", "--data", &theirs], 4),
        (vec!["up", "--data", &new, "--log", "bogus"], 2),
        (vec!["up", "--data", &new, "--dynamo-keys", "/no/such/file"], 2),
        ([&["serve", "--data", &theirs][..], &at].concat(), 4),
        ([&["serve", "--data", &new, "--log", "bogus"][..], &at].concat(), 2),
        ([&["serve", "--data", &new, "--dynamo-keys", "/no/such/file"][..], &at].concat(), 2),
        (vec!["snapshot", "restore", &snapshot, "--data", &theirs, "--cluster", "x"], 4),
    ] {
        let (found, _, stderr) = output(&args);
        assert_eq!(found, code, "{args:?}: {stderr}");
        assert!(!scratch.0.join("deep").exists(), "{args:?}");
        let left: Vec<_> = std::fs::read_dir(&theirs).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(left, ["member"], "{args:?}");
    }
}

/// Claim: what makes no sense is refused by name, with a hint and exit code 2.
#[test]
fn mistakes_are_refused_by_name() {
    let scratch = Scratch::new("config");
    let file = scratch.path("node.toml");
    for (text, word) in [("noode = 1", "noode"), ("node = \"x\"", "node"), ("[listen]\nhttp = 1", "http")] {
        std::fs::write(&file, text).unwrap();
        let (code, _, stderr) = output(&["serve", "--config", &file]);
        assert_eq!(code, 2);
        assert!(stderr.contains(word) && stderr.contains("hint:"), "{stderr}");
    }
    for args in [
        vec!["serve", "--etcd", "0.0.0.0:2379"],
        vec!["serve", "--unknown"],
        vec!["serve", "--config", "/nowhere/at/all.toml"],
        vec!["serve", "--node", "0"],
        vec!["serve", "--log", "quorate=loud"],
        vec!["serve", "--log", "bogus"],
        vec!["kv", "put", "a", "b", "--lease", "lease"],
        vec!["up", "--nodes", "0"],
        vec!["up", "--ephemeral", "--data", "x"],
        vec!["frobnicate"],
    ] {
        let (code, _, stderr) = output(&args);
        assert_eq!(code, 2, "{args:?}: {stderr}");
        assert!(stderr.starts_with("error:"), "{args:?}: {stderr}");
    }
}

/// Claim: a watch that was given several nodes goes on when its node dies, behind the last change that it showed.
#[test]
fn a_watch_goes_on_at_another_node() {
    let up = Up::start(&["--ephemeral"]);
    let nodes = up.ready()["nodes"].as_array().unwrap().clone();
    let urls: Vec<&str> = nodes.iter().map(|n| n["etcd"].as_str().unwrap()).collect();
    let all = urls.join(",");
    let put =
        |value: &str| output(&["kv", "put", "watched", value, "--endpoints", urls[2], "--timeout", "20s"]).0;
    assert_eq!(put("before"), 0);
    let mut watch = quorate(&["kv", "watch", "watched", "--rev", "1", "--json", "--endpoints", &all])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let events = follow(watch.stdout.take().unwrap());
    let value =
        || events.recv_timeout(PATIENCE).map_or(String::new(), |e| e["value"].as_str().unwrap_or("").into());
    assert_eq!(value(), "before");
    send(pid(&nodes[0]), Signal::KILL);
    eventually("a write succeeds", || put("after") == 0);
    assert_eq!(value(), "after");
    assert_eq!(put("later"), 0);
    // A write in doubt was written again.
    assert_eq!((0..10).map(|_| value()).find(|value| value != "after"), Some("later".into()));
    watch.kill().unwrap();
    watch.wait().unwrap();
}

/// Claim: keys and values that are no text go in as they are, and come out as base64 under names of their own.
#[test]
fn bytes_that_are_no_text_go_in_and_come_out() {
    use std::os::unix::ffi::OsStrExt as _;
    let up = Up::start(&["--ephemeral"]);
    let nodes = up.ready()["nodes"].as_array().unwrap().clone();
    let endpoints = ["--json", "--endpoints", nodes[1]["etcd"].as_str().unwrap()];
    let bytes = std::ffi::OsStr::from_bytes;
    let put =
        quorate(&["kv", "put"]).args([bytes(b"k\xff"), bytes(b"\x80")]).args(endpoints).output().unwrap();
    assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
    let got = quorate(&["kv", "get", "--prefix"]).arg(bytes(b"k")).args(endpoints).output().unwrap();
    let got: serde_json::Value = serde_json::from_slice(&got.stdout).unwrap();
    assert_eq!((&got["key_base64"], &got["value_base64"]), (&"a/8=".into(), &"gA==".into()), "{got}");
    assert!(got.get("key").is_none() && got.get("value").is_none(), "{got}");
}

/// Claim: the printed configuration is itself a configuration, and the same one.
#[test]
fn the_printed_configuration_reads_back() {
    let scratch = Scratch::new("print");
    let (code, first, _) = output(&["serve", "--print-config", "--node", "3", "--heartbeat-ms", "50"]);
    assert_eq!(code, 0);
    let file = scratch.path("n3.toml");
    std::fs::write(&file, &first).unwrap();
    let (code, second, _) = output(&["serve", "--print-config", "--config", &file]);
    assert_eq!((code, second), (0, first));
}

/// Claim: `status` sees a healthy cluster as such, and says so when there is none.
#[test]
fn status_tells_health() {
    let up = Up::start(&["--ephemeral"]);
    let ready = up.ready();
    let endpoint = ready["nodes"][2]["etcd"].as_str().unwrap().to_string();
    let (code, stdout, stderr) = output(&["status", "--json", "--endpoints", &endpoint]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let status: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 3);
    assert_eq!((&status["healthy"], &status["compared"]), (&true.into(), &Value::Null));
    let (code, stdout, stderr) = output(&["status", "--compare", "--endpoints", &endpoint]);
    assert!(
        code == 0 && stdout.contains("nodes 1, 2, 3 hold the same data at revision 1 ("),
        "{stdout}{stderr}"
    );
    send(pid(&ready["nodes"][0]), Signal::KILL);
    assert_eq!(up.line()["event"], "exited");
    let (code, stdout, stderr) = output(&["status", "--endpoints", &endpoint]);
    assert_eq!(code, 1);
    assert!(stdout.contains("unreachable") && stderr.contains("1 thing is not well"), "{stdout}{stderr}");
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
    let (code, _, stderr) = output(&["status", "--endpoints", &endpoint]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no endpoint answers") && stderr.contains("hint:"), "{stderr}");
}

/// Claim: what goes wrong is said with its reason, and of a read nothing is said about writes; --endpoint and --endpoints are one; what a
/// cluster holds is not put where others may read it.
#[test]
fn words_are_to_the_point() {
    let scratch = Scratch::new("words");
    let dynamo = free_address();
    let node = Alone::start_with(&scratch.path("n1"), "", &["--dynamo", &dynamo]).unwrap();
    eventually("its first line names its doors", || node.log_has(&format!("dynamo={dynamo}")) == 1);
    assert_eq!(output(&["kv", "put", "k", "v", "--endpoint", &node.etcd]).0, 0);
    let file = scratch.path("s.snap");
    let (code, said, wrong) = output(&["snapshot", "save", &file, "--endpoints", &node.etcd]);
    assert!(code == 0 && said.contains("1 key at revision 2"), "{said}{wrong}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let (code, _, wrong) = output(&["node", "add", "0.0.0.0:7100", "--endpoint", &node.etcd]);
    assert!(code == 2 && wrong.contains("name one"), "{code} {wrong}");

    send(node.pid(), Signal::STOP);
    for (args, writes) in [(&["get", "k"][..], false), (&["put", "k", "v"], true)] {
        let (code, _, wrong) =
            output(&[&["kv", "--timeout", "500ms", "--endpoints", &node.etcd], args].concat());
        assert!(code == 1 && wrong.contains("write may or may not") == writes, "{args:?}: {wrong}");
    }
    // Somebody who hangs up.
    let strange = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = strange.local_addr().unwrap().to_string();
    std::thread::spawn(move || strange.incoming().for_each(drop));
    for args in [&["kv", "get", "k"][..], &["status"], &["node", "remove", "1"], &["fence", "list"]] {
        let (code, said, wrong) = output(&[args, &["--endpoints", &at]].concat());
        assert!(code == 1 && !wrong.contains("transport error"), "{args:?}: {said}{wrong}");
        assert!(!wrong.contains("write may"), "{args:?}: {wrong}");
    }
}

/// Claim: nodes of two clusters are not shown as one that is well.
#[test]
fn endpoints_of_different_clusters_are_told() {
    let scratch = Scratch::new("two-clusters");
    let one = Alone::start_with(&scratch.path("one"), "", &["--cluster", "one"]).unwrap();
    let two = Alone::start_with(&scratch.path("two"), "", &["--cluster", "two"]).unwrap();
    let status = |endpoints: &str| output(&["status", "--json", "--endpoints", endpoints]);
    for at in [&one.etcd, &two.etcd] {
        eventually("it leads, and is well for itself", || status(at).0 == 0);
    }
    let (code, said, _) = status(&format!("{},{}", one.etcd, two.etcd));
    assert!(code == 1 && said.contains("different clusters") && said.contains(&two.etcd), "{code}: {said}");
    one.stop();
    two.stop();
}

/// Claim: the planted bugs are named by every build, and refused by one that has none.
#[test]
fn planted_bugs_are_not_in_a_usual_build() {
    let (code, names, _) = output(&["sim", "--mutant", "list"]);
    assert!(code == 0 && names.lines().any(|name| name.trim() == "fig8-commit"), "{code}: {names}");
    let (code, _, stderr) = output(&["sim", "--seed", "1", "--mutant", "fig8-commit"]);
    assert!(
        quorate_sim::BUILT_IN || (code == 2 && stderr.contains("--features mutants")),
        "{code}: {stderr}"
    );
    let (code, _, stderr) = output(&["sim", "--seed", "1", "--mutant", "nonsense"]);
    assert!(code == 2 && stderr.contains("--mutant list"), "{code}: {stderr}");
}

/// Claim: the simulator runs from the binary, the same way twice, and says what it did.
#[test]
fn seeds_run_from_the_binary() {
    let (code, stdout, stderr) = output(&["sim", "--seeds", "0..2", "--span", "5", "--twice", "--json"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let sum: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(sum["seeds"], 2);
    assert_eq!(sum["failed"].as_array().unwrap().len(), 0);
    assert!(sum["answered"].as_u64().unwrap() > 0, "{sum}");
}

/// Claim: over real nodes, whichever is asked, a token that is not the highest is refused; fences outlive a restart.
#[test]
fn an_old_token_is_refused_by_every_node_and_after_a_restart() {
    let scratch = Scratch::new("fence");
    let data = scratch.path("data");
    let up = Up::start(&["--data", &data]);
    let ready = up.ready();
    let urls: Vec<String> =
        ready["nodes"].as_array().unwrap().iter().map(|n| n["etcd"].as_str().unwrap().to_string()).collect();
    let put = |url: &str, fence: &str| output(&["kv", "put", "k", "v", "--fence", fence, "--endpoints", url]);
    assert_eq!(put(&urls[0], "job =8").0, 0);
    for url in &urls {
        let (code, _, stderr) = put(url, "job =7");
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains("fenced: token 8") && stderr.contains("hint:"), "{stderr}");
        assert_eq!(put(url, "job =8").0, 0);
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
    let up = Up::start(&["--data", &data]);
    let url = up.ready()["nodes"][1]["etcd"].as_str().unwrap().to_string();
    let told = output(&["kv", "put", "k", "v", "--fence", "job =7", "--evidence", "--endpoints", &url]);
    assert!(told.2.contains("fenced: token 8"), "also where evidence is asked for: {told:?}");
    assert_eq!(output(&["fence", "list", "--endpoints", &url]).1, "job =8\n");
    assert_eq!(put(&url, "job =7").0, 1);
    assert_eq!(output(&["fence", "drop", "job ", "--endpoints", &url]).0, 0);
    assert_eq!(put(&url, "job =7").0, 0);
    let (code, _, stderr) = output(&["fence", "drop", "none", "--endpoints", &url]);
    assert!(code == 1 && stderr.contains("no token was shown"), "{stderr}");
    assert_eq!(put(&url, "job").0, 2);
}
