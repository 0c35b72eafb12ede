//! What the client commands say where something is in the way: that what they print is lost, the wrong port, a full space.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{Alone, Scratch, eventually, free_address, output, quorate, told};
use quorate_proto::etcdserverpb::CompactionRequest;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use std::fs::File;
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
