//! A node that freezes: what its peers make of it, and what stands in their logs.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

mod common;

use common::{Up, eventually, pid, send};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;

fn nodes(ready: &Value) -> Vec<Value> {
    ready["nodes"].as_array().unwrap().clone()
}

fn text<'a>(node: &'a Value, key: &str) -> &'a str {
    node[key].as_str().unwrap()
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
