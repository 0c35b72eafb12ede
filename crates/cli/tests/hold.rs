//! Commands that run under a lock or a leadership.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{Scratch, Up, eventually, lives, output, pid, quorate, send};
use rustix::process::Signal;
use serde_json::Value;
use std::process::{Child, Output, Stdio};

/// Starts a program under a name, with the endpoints of all nodes.
fn start(how: &[&str], endpoints: &str, script: &str) -> Child {
    let mut command = quorate(&[how, &["--endpoints", endpoints, "--", "sh", "-c", script]].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn nodes(ready: &Value) -> Vec<Value> {
    ready["nodes"].as_array().unwrap().clone()
}

fn endpoints(nodes: &[Value]) -> String {
    nodes.iter().map(|node| node["etcd"].as_str().unwrap()).collect::<Vec<_>>().join(",")
}

fn is_held(endpoints: &str) -> bool {
    !output(&["kv", "get", "job/", "--prefix", "--endpoints", endpoints]).1.is_empty()
}

fn token(said: &str) -> i64 {
    said.trim().strip_prefix("job=").unwrap_or_else(|| panic!("{said}")).parse().unwrap()
}

/// Claim: a command runs under the lock with its token, one after the other, and its exit code is passed on; before it begins,
/// older tokens are refused already; and what cannot be run is told apart.
#[test]
fn a_command_runs_under_a_lock_with_its_token() {
    let up = Up::start(&["--ephemeral"]);
    let urls = endpoints(&nodes(&up.ready()));
    let run = |script: &str| said(start(&["lock", "job"], &urls, script).wait_with_output().unwrap());
    let (code, first, stderr) = run("echo $QUORATE_FENCE; exit 7");
    assert_eq!(code, 7, "{stderr}");
    let (code, second, stderr) = run("echo $QUORATE_FENCE; kill -9 $$");
    assert_eq!(code, 137, "{stderr}");
    assert!(token(&second) > token(&first), "{first} and then {second}");
    assert!(!is_held(&urls), "it is still locked");
    for how in [&["put", "a", "b"][..], &["get", "a"], &["del", "a"]] {
        let old = [&["kv"], how, &["--fence", first.trim(), "--endpoints", &urls]].concat();
        let (code, _, stderr) = output(&old);
        assert!(code == 1 && stderr.contains("fenced"), "{how:?}: {code} {stderr}");
        let new = [&["kv"], how, &["--fence", second.trim(), "--endpoints", &urls]].concat();
        assert_eq!(output(&new).0, 0, "{how:?}");
    }
    assert_eq!(output(&["lock", "job", "--endpoints", &urls]).0, 2);
    let (code, _, stderr) = output(&["lock", "job", "--endpoints", &urls, "--", "/no/such/program"]);
    assert!(code == 127 && stderr.contains("/no/such/program"), "{code} {stderr}");
    assert_eq!(output(&["lock", "job", "--endpoints", &urls, "--", "/"]).0, 126);
    assert_eq!(output(&["lock", "job", "--endpoints", "127.0.0.1:1", "--", "true"]).0, 125);
    // Somebody has shown a number of another kind.
    let high = ["kv", "put", "a", "b", "--fence", "job=9000000", "--endpoints", &urls];
    assert_eq!(output(&high).0, 0);
    let (code, stdout, stderr) = run("echo never");
    assert!(code == 125 && stdout.is_empty() && stderr.contains("quorate fence drop job"), "{code} {stderr}");
    assert!(!is_held(&urls), "it is still locked");
}

/// Claim: who waits can give up, and goes on through another node where the asked one is gone; who holds hears nothing of it.
#[test]
fn a_lock_is_waited_for_through_whichever_node_lives() {
    let up = Up::start(&["--ephemeral"]);
    let nodes = nodes(&up.ready());
    let urls = endpoints(&nodes);
    let mut holder = start(&["lock", "job"], &urls, "read line");
    eventually("the lock is held", || is_held(&urls));
    let (code, _, stderr) =
        said(start(&["lock", "job", "--wait", "0s"], &urls, "true").wait_with_output().unwrap());
    assert!(code == 125 && stderr.contains("not got in time"), "{code} {stderr}");

    // A waiter's first node is killed; the holder's keep-alives go there, too.
    let waiter = start(&["lock", "job"], &urls, "echo $QUORATE_FENCE");
    eventually("two stand in line", || {
        output(&["kv", "get", "job/", "--prefix", "--endpoints", &urls]).1.lines().count() == 2
    });
    send(pid(&nodes[0]), Signal::KILL);
    let rest = endpoints(&nodes[1..]);
    eventually("the other nodes answer", || is_held(&rest));
    std::thread::sleep(std::time::Duration::from_secs(1));
    // Its command waits for a line: the end of its input would end it, too.
    let open = holder.stdin.take();
    send(i64::from(holder.id()), Signal::TERM);
    assert_eq!(said(holder.wait_with_output().unwrap()).0, 128 + 15);
    drop(open);
    let (code, got, stderr) = said(waiter.wait_with_output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("through another node"), "{stderr}");
    assert!(token(&got) > 0);
}

/// Claim: a signal reaches all that the command has started.
#[test]
fn a_signal_reaches_the_whole_group() {
    let (up, scratch) = (Up::start(&["--ephemeral"]), Scratch::new("group"));
    let (urls, file) = (endpoints(&nodes(&up.ready())), scratch.path("pid"));
    let child = start(
        &["lock", "job"],
        &urls,
        &format!("sleep 1000 & echo $! >{file}.new; mv {file}.new {file}; wait"),
    );
    eventually("the command runs", || std::path::Path::new(&file).exists());
    let grandchild = std::fs::read_to_string(&file).unwrap().trim().parse::<i64>().unwrap();
    send(i64::from(child.id()), Signal::TERM);
    assert_eq!(said(child.wait_with_output().unwrap()).0, 128 + 15);
    eventually("what it had started is gone", || !lives(grandchild));
    assert!(!is_held(&urls), "it is still locked");
}

/// Claim: a command whose lock is lost is ended, with all that it has started, and that is said: where the cluster is silent, and
/// where somebody has deleted the lock's key.
#[test]
fn a_command_is_ended_when_its_lock_is_lost() {
    let (up, scratch) = (Up::start(&["--ephemeral"]), Scratch::new("lost"));
    let nodes = nodes(&up.ready());
    let (urls, file) = (endpoints(&nodes), scratch.path("runs"));
    let hold = || {
        let command = format!("trap '' TERM; touch {file}; while :; do sleep 0.1; done");
        let child = start(&["lock", "job", "--ttl", "3s"], &urls, &command);
        // The lock's key is there before the lock is known to be held: a cluster that falls silent in between is waited for.
        eventually("the command runs", || std::path::Path::new(&file).exists());
        assert!(is_held(&urls));
        std::fs::remove_file(&file).unwrap();
        child
    };
    let lost = |child: Child| {
        let (code, _, stderr) = said(child.wait_with_output().unwrap());
        assert!(code == 124 && stderr.contains("was lost while the command ran"), "{code} {stderr}");
    };
    let child = hold();
    assert_eq!(output(&["kv", "del", "job/", "--prefix", "--endpoints", &urls]).0, 0);
    lost(child);
    let child = hold();
    for node in &nodes {
        send(pid(node), Signal::STOP);
    }
    let ended = std::thread::spawn(move || child.wait_with_output().unwrap());
    let ended = ended.join();
    for node in &nodes {
        send(pid(node), Signal::CONT);
    }
    let (code, _, stderr) = said(ended.unwrap());
    assert!(code == 124 && stderr.contains("was lost while the command ran"), "{code} {stderr}");
}

/// Claim: a frozen node takes connections and answers nobody; of several endpoints it is passed over, also where it comes first.
#[test]
fn a_frozen_endpoint_is_passed_over() {
    let up = Up::start(&["--ephemeral"]);
    let mut nodes = nodes(&up.ready());
    nodes.rotate_right(1);
    send(pid(&nodes[0]), Signal::STOP);
    let (urls, others) = (endpoints(&nodes), endpoints(&nodes[1..]));
    eventually("the others have a leader", || {
        output(&["kv", "put", "a", "b", "--endpoints", &others]).0 == 0
    });
    for what in [&["kv", "get", "a"][..], &["kv", "put", "a", "c"], &["fence", "list"]] {
        let (code, _, stderr) = output(&[what, &["--endpoints", &urls]].concat());
        assert_eq!(code, 0, "{what:?}: {stderr}");
    }
    let (code, got, stderr) =
        said(start(&["lock", "job", "--wait", "4s"], &urls, "echo got it").wait_with_output().unwrap());
    assert!(code == 0 && got == "got it\n", "{code} {stderr}");
    send(pid(&nodes[0]), Signal::CONT);
}

/// Claim: one command at a time leads, others can read who, and the next one leads when it is gone.
#[test]
fn a_command_runs_as_the_leader() {
    let up = Up::start(&["--ephemeral"]);
    let urls = endpoints(&nodes(&up.ready()));
    let mut first = start(&["elect", "job", "--value", "first"], &urls, "read line; echo $QUORATE_FENCE");
    eventually("the first leads", || is_held(&urls));
    let second = start(&["elect", "job", "--value", "second"], &urls, "echo $QUORATE_FENCE");
    eventually("the second stands in line", || {
        output(&["kv", "get", "job/", "--prefix", "--endpoints", &urls]).1.contains("= second")
    });
    // Its command waits for a line: the end of its input would end it, too.
    let open = first.stdin.take();
    send(i64::from(first.id()), Signal::INT);
    assert_eq!(said(first.wait_with_output().unwrap()).0, 128 + 2);
    drop(open);
    let (code, got, stderr) = said(second.wait_with_output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    let list = output(&["fence", "list", "--endpoints", &urls]).1;
    assert_eq!(list.trim(), format!("job={}", token(&got)));
}

/// Claim: without a majority nobody is said to hold the name, since that is not known; who waits goes on waiting, says so once, and gets
/// the name when the cluster leads again.
#[test]
fn without_a_leader_it_is_waited_for_and_nobody_is_said_to_hold() {
    let up = Up::start(&["--ephemeral"]);
    let nodes = nodes(&up.ready());
    let urls = endpoints(&nodes);
    for node in &nodes[1..] {
        send(pid(node), Signal::STOP);
    }
    let last = endpoints(&nodes[..1]);
    let waiter = start(&["lock", "job"], &last, "echo got it");
    for how in [&["lock", "job", "--wait", "2s"][..], &["elect", "job", "--wait", "0s"]] {
        let (code, _, stderr) = said(start(how, &last, "true").wait_with_output().unwrap());
        assert!(code == 125 && stderr.contains("is not known"), "{code} {stderr}");
        assert!(!stderr.contains("another holds it") && stderr.contains("quorate status"), "{stderr}");
    }
    // More than a node and this program have patience with one request.
    std::thread::sleep(std::time::Duration::from_secs(17));
    for node in &nodes[1..] {
        send(pid(node), Signal::CONT);
    }
    let (code, got, stderr) = said(waiter.wait_with_output().unwrap());
    assert!(code == 0 && got == "got it\n", "{code} {stderr}");
    assert_eq!(stderr.matches("until the cluster has a leader").count(), 1, "{stderr}");
    eventually("it is given back", || !is_held(&urls));
}

/// Claim: where the holder itself is killed, the command and all that it has started is ended, before the lock can be another's.
#[test]
fn a_command_does_not_outlive_its_killed_holder() {
    let (up, scratch) = (Up::start(&["--ephemeral"]), Scratch::new("killed"));
    let (urls, file) = (endpoints(&nodes(&up.ready())), scratch.path("pid"));
    let script =
        format!("trap '' TERM; sleep 1000 & echo $! $$ >{file}.new; mv {file}.new {file}; wait; sleep 1000");
    let mut holder = start(&["lock", "job"], &urls, &script);
    eventually("the command runs", || std::path::Path::new(&file).exists());
    let pids = std::fs::read_to_string(&file).unwrap();
    let pids: Vec<i64> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    send(i64::from(holder.id()), Signal::KILL);
    holder.wait().unwrap();
    assert!(is_held(&urls), "its lease lives on");
    eventually("what it ran is gone", || !pids.iter().any(|&pid| runs(pid)));
    assert!(is_held(&urls), "the command ended after the lock");
}

/// Whether a process runs; one that nobody has waited for yet does not.
fn runs(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
