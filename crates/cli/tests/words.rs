//! What the client commands say where something is in the way: that what they print is lost, the wrong port, a full space.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::tables::Table;
use crate::common::{Alone, Scratch, eventually, free_address, output, quorate, send, told};
use quorate_proto::etcdserverpb::CompactionRequest;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

/// Claim: who cannot write down what was asked for says so and fails, whichever command it is; that nobody reads on is no failure.
#[test]
fn what_cannot_be_written_is_no_success() {
    let scratch = Scratch::new("words-full");
    let node = Alone::start(&scratch.path("n1"), "").unwrap();
    assert_eq!(node.put("a", "b").0, 0);
    let file = scratch.path("s.snap");
    assert_eq!(output(&["snapshot", "save", &file, "--endpoint", &node.etcd]).0, 0);
    let at = ["--endpoints", node.etcd.as_str()];
    for args in [
        &[&["kv", "get", "a"], &at[..]].concat()[..],
        &[&["kv", "get", "a", "--json"], &at[..]].concat(),
        &[&["kv", "put", "a", "c"], &at[..]].concat(),
        &[&["kv", "watch", "a", "--rev", "1"], &at[..]].concat(),
        &[&["status"], &at[..]].concat(),
        &[&["status", "--json"], &at[..]].concat(),
        &["snapshot", "inspect", &file],
        &["sim", "--mutant", "list"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (code, _, wrong) = told(quorate(args).stdout(full).output().unwrap());
        assert!(
            code == 1 && wrong.contains("could not be written: No space left"),
            "{args:?}: {code} {wrong}"
        );
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (code, _, wrong) = told(quorate(&["check", "--models"]).stdout(full).output().unwrap());
    assert!(code == 3 && wrong.contains("could not be written"), "{code} {wrong}");

    let mut unread = quorate(&[&["kv", "watch", "a", "--rev", "1"], &at[..]].concat());
    let mut unread = unread.stdout(Stdio::piped()).spawn().unwrap();
    drop(unread.stdout.take());
    assert!(unread.wait().unwrap().success(), "whoever stops reading has seen enough");
    node.stop();
}

/// Claim: a port that is none for etcd's clients is named, with what to do; so is an endpoint that is none.
#[test]
fn the_wrong_port_is_named() {
    let scratch = Scratch::new("words-port");
    let dynamo = free_address();
    let node = Alone::start_with(&scratch.path("n1"), "", &["--dynamo", &dynamo]).unwrap();
    for args in [&["kv", "get", "a"][..], &["kv", "put", "a", "b"], &["fence", "list"], &["lock", "a"]] {
        let command: &[&str] = if args[0] == "lock" { &["--", "true"] } else { &[] };
        for port in [&dynamo, &node.peer] {
            let (code, _, wrong) = output(&[args, &["--endpoints", port], command].concat());
            assert_ne!(code, 0, "{args:?}");
            assert!(
                wrong.contains(port.as_str()) && wrong.contains("2379 if nothing"),
                "{args:?} {port}: {wrong}"
            );
        }
    }
    for (endpoint, why) in [("10.0.0.1:99999", "99999 is no port"), ("h:1/v3", "a path"), ("h", "no port")] {
        let (code, _, wrong) = output(&["kv", "get", "a", "--endpoints", endpoint]);
        assert!(code == 2 && wrong.contains(why) && wrong.contains("10.0.0.1:2379"), "{code} {wrong}");
    }
    node.stop();
}

/// Claim: what a node refuses comes with what to do about it: a full space, a key that is too long or empty, a revision that is gone, a
/// read whose token is old.
#[test]
fn what_is_refused_has_a_hint() {
    let scratch = Scratch::new("words-refused");
    let node = Alone::start_with(&scratch.path("n1"), "", &["--quota", "100K"]).unwrap();
    let kv = |args: &[&str]| output(&[&["kv"], args, &["--endpoints", &node.etcd]].concat());
    let (code, _, wrong) = kv(&["put", &"k".repeat(40_000), "v"]);
    assert!(code == 1 && wrong.contains("32000 bytes"), "{code} {wrong}");
    for how in [&["get", ""][..], &["watch", ""]] {
        let (code, _, wrong) = kv(how);
        assert!(code != 0 && !wrong.is_empty(), "{how:?}: {code} {wrong}");
    }
    assert!(kv(&["watch", ""]).2.contains("--prefix"));

    assert_eq!(kv(&["put", "a", "1", "--fence", "job=8"]).0, 0);
    let (code, _, wrong) = kv(&["get", "a", "--fence", "job=7"]);
    assert!(code == 1 && wrong.contains("take it again") && !wrong.contains("this write"), "{code} {wrong}");
    for value in ["2", "3", "4"] {
        assert_eq!(kv(&["put", "a", value]).0, 0);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut kv = KvClient::connect(format!("http://{}", node.etcd)).await.unwrap();
        kv.compact(CompactionRequest { revision: 4, physical: false }).await.unwrap();
    });
    let (code, _, wrong) = kv(&["get", "a", "--rev", "2"]);
    assert!(code == 1 && wrong.contains("leave --rev out"), "{code} {wrong}");
    let (large, mut put) = ("v".repeat(60_000), 0);
    eventually("the space is full", || {
        put += 1;
        let (code, _, wrong) = kv(&["put", &format!("b{put}"), &large]);
        assert!(code == 0 || wrong.contains("`quorate status` says on which member"), "{code} {wrong}");
        code == 1
    });
    let (code, _, wrong) = output(&["lock", "z", "--endpoints", &node.etcd, "--", "true"]);
    assert!(
        code == 125 && wrong.contains("database space exceeded") && wrong.contains("hint:"),
        "{code} {wrong}"
    );
    node.stop();
}

/// Claim: whatever fails with `--json` before it said anything says so in one line of standard output, with its kind, and in words on standard
/// error; what has said something is left at that.
#[test]
fn who_asks_for_json_hears_of_failures_in_json() {
    let nowhere = "127.0.0.1:1";
    let runs: [(&[&str], i32, &str); 6] = [
        (&["space", "list", "--json", "--endpoint", nowhere], 1, "failed"),
        (&["snapshot", "inspect", "/nowhere.snap", "--json"], 4, "data-dir"),
        (&["bench", "table", "--json", "--endpoints", nowhere], 1, "failed"),
        (&["plan", "--json", "--consistency", "foo"], 2, "config"),
        (&["plan", "--json", "--staleness", "500ms"], 1, ""),
        (&["serve", "--json", "--etcd", "127.0.0.1:41003", "--dynamo", "127.0.0.1:41003"], 2, "config"),
    ];
    for (args, expected, kind) in runs {
        let (code, stdout, stderr) = output(args);
        assert!(code == expected && stderr.contains("error:"), "{args:?}: {code} {stderr}");
        assert_eq!(stdout.lines().count(), 1, "{args:?}: {stdout}");
        let told: Value = serde_json::from_str(&stdout).unwrap();
        if !kind.is_empty() {
            assert_eq!((&told["event"], &told["kind"]), (&"failed".into(), &kind.into()), "{args:?}: {told}");
        }
    }
}

/// Claim: a node alone takes a table that asks for nothing of copies, and says what to do about one that does; a bound is taken back; and
/// its data do not join another cluster.
#[test]
fn a_node_alone_says_what_it_cannot_be() {
    let scratch = Scratch::new("words-alone");
    let (data, dynamo) = (scratch.path("n1"), free_address());
    let node = Alone::start_with(&data, "", &["--dynamo", &dynamo]).unwrap();
    let at = ["--endpoint", dynamo.as_str()];
    let (code, _, wrong) = output(&[&["space", "create", "aged", "--staleness", "5s"][..], &at].concat());
    assert_eq!(code, 0, "{wrong}");
    let (code, _, wrong) = output(&[&["space", "create", "safe", "--survive", "1"][..], &at].concat());
    assert!(code == 1 && wrong.contains("--survive 0") && wrong.contains("node add"), "{code}: {wrong}");
    let (code, _, wrong) = output(&[&["space", "alter", "aged", "--no-staleness"][..], &at].concat());
    assert_eq!(code, 0, "{wrong}");
    let told = output(&[&["space", "describe", "aged", "--json"][..], &at].concat()).1;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["staleness_ms"], &told["tags"]), (&Value::Null, &json!([])), "{told}");
    node.stop();
    let (etcd, peer) = (free_address(), free_address());
    let join = ["serve", "--data", &data, "--join", "127.0.0.1:1", "--etcd", &etcd, "--peer", &peer];
    let (code, _, wrong) = output(&join);
    assert!(code == 4 && wrong.contains("began a cluster of its own"), "{code}: {wrong}");
}

/// Answers what is asked of tables as an empty one does, but no batch of puts; tells when one has come.
fn takes_no_puts(listener: TcpListener) -> std::sync::mpsc::Receiver<()> {
    let (come, coming) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, come) = (stream.unwrap(), come.clone());
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    if String::from_utf8_lossy(&buffer[..n]).contains("BatchWriteItem") {
                        return come.send(()).map(|()| std::thread::park());
                    }
                    let body = r#"{"Table":{"TableStatus":"ACTIVE"},"Count":0}"#;
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    stream.write_all((head + body).as_bytes()).unwrap();
                }
                Ok(())
            });
        }
    });
    coming
}

/// Claim: an import that is interrupted says how far it is, and how it goes on.
#[test]
fn an_import_that_is_interrupted_says_how_it_goes_on() {
    let scratch = Scratch::new("words-import");
    let (dynamo, files) = (free_address(), scratch.path("files"));
    let node = Alone::start_with(&scratch.path("n1"), "", &["--dynamo", &dynamo]).unwrap();
    assert_eq!(output(&["space", "create", "few", "--key", "c:S", "--endpoint", &dynamo]).0, 0);
    Table::at("few", &[&dynamo]).ask(0, "PutItem", json!({ "Item": { "c": { "S": "1" } } }));
    let (code, _, wrong) =
        output(&["space", "export", "few", &files, "--segments", "1", "--endpoint", &dynamo]);
    assert_eq!(code, 0, "{wrong}");
    node.stop();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = listener.local_addr().unwrap().to_string();
    let coming = takes_no_puts(listener);
    let mut import = quorate(&["space", "import", &files, "--endpoint", &other]);
    let import = import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    coming.recv().unwrap();
    send(i64::from(import.id()), Signal::INT);
    let (code, _, wrong) = told(import.wait_with_output().unwrap());
    assert!(
        code == 1 && wrong.contains("0 of 1 files are in") && wrong.contains("--skip-files 0"),
        "{code}: {wrong}"
    );
}
