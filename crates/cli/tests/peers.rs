//! A node whose peers freeze, or that has lost its state to them: what the others make of it, what its pages say, and what
//! stands in the logs.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

mod common;

use crate::common::{Scratch, Up, eventually, nodes, one, output, pid, send, text};
use quorate_proto::etcdserverpb as pb;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A node that is started again wants its ports back: no other test may draw them meanwhile.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many lines of a node's log have all of `words`.
fn lines(node: &Value, words: &[&str]) -> usize {
    let log = fs::read_to_string(text(node, "log")).unwrap();
    log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

/// Claim: a node whose process is frozen, while its kernel still acknowledges, is left by its peers, and found again when it
/// goes on; their logs have one line for each of the two, however often they tried.
#[test]
fn a_frozen_node_is_left_and_found_again() {
    let _turn = one_at_a_time();
    let up = Up::start(&["--ephemeral"]);
    let nodes = nodes(&up.ready());
    let (frozen, others) = nodes.split_last().unwrap();
    let (lost, connected) = (["the connection is lost", "peer=3"], ["connected", "peer=3"]);
    for other in others {
        eventually("they are connected", || lines(other, &connected) == 1);
    }
    send(pid(frozen), Signal::STOP);
    for other in others {
        eventually("it is left", || lines(other, &lost) == 1);
    }
    // Its turn to be dialled comes while it is frozen, too.
    eventually("it is tried in vain", || lines(&others[0], &["cannot be reached", "peer=3"]) == 1);
    send(pid(frozen), Signal::CONT);
    for other in others {
        eventually("it is found", || lines(other, &connected) == 2);
        assert_eq!(lines(other, &lost), 1);
        assert!(lines(other, &["cannot be reached", "peer=3"]) <= 1);
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// The status of a page, 0 if it does not come.
fn page(etcd: &str, path: &str) -> u16 {
    let ask = || {
        let mut stream = TcpStream::connect(etcd.trim_start_matches("http://"))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok::<_, std::io::Error>(said)
    };
    ask().ok().and_then(|said| said.split(' ').nth(1)?.parse().ok()).unwrap_or(0)
}

/// Writes more than two checkpoints wait for.
fn load(etcd: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut kv = pb::kv_client::KvClient::connect(etcd.to_string()).await.unwrap();
        for n in 0..80 {
            let (key, value) = (format!("k{n}").into(), vec![n; 1 << 20].into());
            kv.put(pb::PutRequest { key, value, ..Default::default() }).await.unwrap();
        }
    });
}

/// Claim: a node that has lost its state, and waits for its peers to send it, is alive and not ready, so that whoever watches
/// over it lets it wait; its clients go elsewhere. When its peers are there, it is ready.
#[test]
fn a_node_without_its_state_is_alive_and_not_ready() {
    let _turn = one_at_a_time();
    let scratch = Scratch::new("lost-state");
    let home = scratch.path("home");
    let up = Up::start(&["--data", &home]);
    let ready = up.ready();
    let (nodes, cluster) = (nodes(&ready), text(&ready, "cluster").to_string());
    let etcd = text(&nodes[0], "etcd").to_string();
    assert_eq!([page(&etcd, "/livez"), page(&etcd, "/readyz")], [200, 200]);
    load(&etcd);
    let state = format!("{home}/n1/state");
    // The second one is begun when the first one counts.
    eventually("there is a checkpoint", || {
        let names = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| name.to_str()?.parse::<u64>().ok()).any(|generation| generation >= 2)
    });
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
    // As a node leaves it whose read of it failed.
    fs::write(format!("{state}/DAMAGED"), "a read failed").unwrap();

    let node = one(&home, &cluster, &nodes, (0, &[]), Stdio::null());
    eventually("it is alive", || page(&etcd, "/livez") == 200);
    for path in ["/readyz", "/health", "/health?serializable=true"] {
        assert_eq!(page(&etcd, path), 503, "{path}");
    }
    assert_eq!(page(&etcd, "/metrics"), 200);
    let (code, _, said) =
        output(&["kv", "get", "k1", "--serializable", "--timeout", "2s", "--endpoints", &etcd]);
    assert_eq!(code, 1, "a client was served: {said}");
    drop(node);

    let up = Up::start(&["--data", &home]);
    let ready = up.ready();
    let etcd = text(&ready["nodes"][0], "etcd");
    eventually("it is ready", || page(etcd, "/readyz") == 200);
    let (code, said, _) = output(&["kv", "get", "k1", "--serializable", "--endpoints", etcd]);
    assert!(code == 0 && said.contains("k1"), "{said}");
    assert!(fs::exists(format!("{home}/n1/state.damaged-1")).unwrap(), "it was not lost");
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: a node that comes back with an empty directory is refused by one that had met it, and does not help it to a
/// majority, since what it had confirmed is lost. That one's log says what to do: one that is taken back helps nobody to a majority
/// either, however often it is started, before the others are there and have healed it.
#[test]
fn a_node_that_lost_its_directory_does_not_vote() {
    let _turn = one_at_a_time();
    let scratch = Scratch::new("lost-directory");
    let home = scratch.path("home");
    let up = Up::start(&["--data", &home]);
    let ready = up.ready();
    let (nodes, cluster) = (nodes(&ready), text(&ready, "cluster").to_string());
    let etcd = text(&nodes[0], "etcd").to_string();
    eventually("all have met", || fs::exists(format!("{home}/n1/met/3")).unwrap());
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
    fs::remove_dir_all(format!("{home}/n3")).unwrap();

    let log = scratch.path("log");
    let _first = one(&home, &cluster, &nodes, (0, &[]), fs::File::create(&log).unwrap().into());
    let own = scratch.path("own");
    let mut third = one(&home, &cluster, &nodes, (2, &[]), fs::File::create(&own).unwrap().into());
    eventually("it is refused", || fs::read_to_string(&log).unwrap().contains("another data directory"));
    let put = ["kv", "put", "a", "b", "--timeout", "2s", "--endpoints", &etcd];
    assert_eq!(output(&put).0, 1, "two of three served, and one of them had forgotten everything");
    assert!(fs::read_to_string(&log).unwrap().contains("--data-lost"));
    eventually("its own log says so, too", || {
        let own = fs::read_to_string(&own).unwrap();
        own.contains("has met this node with another data directory") && own.contains("--data-lost")
    });
    eventually("it has ended", || third.0.try_wait().unwrap().is_some());
    assert_eq!(third.0.wait().unwrap().code(), Some(4));

    drop(third);
    fs::remove_dir_all(format!("{home}/n3")).unwrap();
    let start = |more: &[&str]| one(&home, &cluster, &nodes, (2, more), Stdio::null());
    let third = start(&["--data-lost"]);
    let life = fs::read_to_string(format!("{home}/n1/met/3")).unwrap();
    let withholds = format!("{home}/n3/withholds");
    eventually("it is taken back", || fs::read_to_string(format!("{home}/n1/met/3")).unwrap() != life);
    assert_eq!(output(&put).0, 1, "it has forgotten everything still");
    drop(third);
    let third = start(&[]);
    assert_eq!(output(&put).0, 1, "and knows it after a restart, too");
    assert!(fs::exists(&withholds).unwrap());
    let second = one(&home, &cluster, &nodes, (1, &[]), Stdio::null());
    eventually("all are there", || output(&put).0 == 0);
    eventually("it has healed", || !fs::exists(&withholds).unwrap());
    drop(second);
    eventually("it counts again", || output(&put).0 == 0);
    drop(third);
}
