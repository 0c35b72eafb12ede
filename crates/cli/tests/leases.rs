//! Reads under leases, on real nodes.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{PATIENCE, Scratch, eventually, follow, free_port, output, quorate, send};
use rustix::process::Signal;
use serde_json::Value;
use std::process::{Child, Stdio};

struct Node {
    child: Child,
    etcd: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn pid(&self) -> i64 {
        i64::from(self.child.id())
    }

    fn kv(&self, args: &[&str]) -> Result<Value, String> {
        let more = ["kv", "--json", "--evidence", "--endpoints", &self.etcd];
        let (code, stdout, stderr) = output(&[&more[..], args].concat());
        let last = stdout.lines().last().unwrap_or_default();
        if code == 0 { Ok(serde_json::from_str(last).unwrap_or_default()) } else { Err(stderr) }
    }

    fn mode(&self) -> String {
        let told = self.kv(&["get", "k"]).map_or(Value::Null, |line| line["evidence"]["mode"].clone());
        told.as_str().unwrap_or_default().to_string()
    }

    fn leads(&self) -> bool {
        self.kv(&["get", "k", "--serializable"])
            .is_ok_and(|line| line["evidence"]["node"] == line["evidence"]["leader"])
    }

    fn value(&self) -> Option<String> {
        let (code, stdout, _) = output(&["kv", "--endpoints", &self.etcd, "get", "k"]);
        (code == 0).then(|| stdout.trim().trim_start_matches("k = ").to_string())
    }
}

fn cluster(scratch: &Scratch, more: &[&str]) -> Vec<Node> {
    let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
    let list =
        |of: &dyn Fn(usize) -> String| (0..3).map(|n| format!("{}={}", n + 1, of(n))).collect::<Vec<_>>();
    let peers = list(&|n| format!("127.0.0.1:{}", ports[3 + n])).join(",");
    let urls = list(&|n| format!("http://127.0.0.1:{}", ports[n])).join(",");
    let nodes: Vec<(Node, _)> = (0..3)
        .map(|n| {
            let (id, data) = ((n + 1).to_string(), scratch.path(&format!("n{}", n + 1)));
            let (etcd, peer) = (format!("127.0.0.1:{}", ports[n]), format!("127.0.0.1:{}", ports[3 + n]));
            let args = [
                "serve",
                "--json",
                "--node",
                &id,
                "--data",
                &data,
                "--etcd",
                &etcd,
                "--peer",
                &peer,
                "--peers",
                &peers,
                "--client-urls",
                &urls,
            ];
            let mut child = quorate(&[&args[..], more].concat())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let lines = follow(child.stdout.take().unwrap());
            (Node { child, etcd }, lines)
        })
        .collect();
    nodes
        .into_iter()
        .map(|(node, lines)| {
            assert_eq!(lines.recv_timeout(PATIENCE).expect("it serves")["event"], "serving");
            node
        })
        .collect()
}

/// Claim: under leases the leader and the followers answer without a round and say so; a leader that was stopped and goes on
/// serves nothing that is older than what its successor has acknowledged.
#[test]
fn a_leader_that_stood_still_serves_nothing_old() {
    let scratch = Scratch::new("leases");
    let nodes = cluster(&scratch, &["--lease-reads", "--max-clock-drift", "500ppm"]);
    eventually("all read under the lease", || nodes.iter().all(|node| node.mode() == "lease"));
    assert!(std::path::Path::new(&scratch.path("n1/promised")).exists(), "what it may promise is noted");
    nodes[0].kv(&["put", "k", "0"]).unwrap();
    for round in 1..=3 {
        let mut old = 0;
        eventually("somebody leads", || nodes.iter().position(Node::leads).inspect(|at| old = *at).is_some());
        send(nodes[old].pid(), Signal::STOP);
        let other = &nodes[(old + 1) % 3];
        let value = round.to_string();
        eventually("the others go on", || other.kv(&["put", "k", &value, "--timeout", "2s"]).is_ok());
        // What the old leader reads in its first moments is asked before it goes on.
        let reads: Vec<_> = (0..4)
            .map(|_| {
                let etcd = nodes[old].etcd.clone();
                quorate(&["kv", "--endpoints", &etcd, "get", "k"]).stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(100));
        send(nodes[old].pid(), Signal::CONT);
        for read in reads {
            let read = read.wait_with_output().unwrap();
            let said = String::from_utf8(read.stdout).unwrap();
            assert!(!read.status.success() || said == format!("k = {value}\n"), "round {round}: {said}");
        }
        eventually("it follows", || nodes[old].value().is_some());
        assert_eq!(nodes[old].value(), Some(value));
    }
}

/// Claim: without the flag nobody reads under a lease, and a drift that makes no sense is refused.
#[test]
fn leases_are_off_unless_asked_for() {
    let scratch = Scratch::new("no-leases");
    let nodes = cluster(&scratch, &[]);
    let modes: Vec<String> = nodes.iter().map(Node::mode).collect();
    assert!(modes.iter().all(|mode| ["leader", "read-index"].contains(&mode.as_str())), "{modes:?}");
    assert!(!std::path::Path::new(&scratch.path("n1/promised")).exists());
    let data = scratch.path("other");
    for (drift, code) in [("0ppm", 2), ("21%", 2), ("much", 2)] {
        let (found, _, stderr) =
            output(&["serve", "--data", &data, "--lease-reads", "--max-clock-drift", drift]);
        assert_eq!(found, code, "{drift}: {stderr}");
        assert!(stderr.contains("drift"), "{stderr}");
    }
}
