//! Members that come and go, over real processes.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{PATIENCE, Scratch, Up, eventually, follow, free_address, lives, output, quorate, send};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::quoratepb::LeaveRequest;
use quorate_proto::quoratepb::shards_client::ShardsClient;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::process::{Child, Stdio};
use std::time::Instant;
use tonic::transport::Channel;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn cluster(etcd: &str) -> pb::cluster_client::ClusterClient<Channel> {
    pb::cluster_client::ClusterClient::connect(etcd.to_string()).await.unwrap()
}

async fn add(etcd: &str, peer: &str) -> Result<u64, tonic::Status> {
    let request = pb::MemberAddRequest { peer_ur_ls: vec![format!("http://{peer}")], is_learner: false };
    Ok(cluster(etcd).await.member_add(request).await?.into_inner().member.unwrap().id)
}

async fn remove(etcd: &str, id: u64) -> Result<usize, tonic::Status> {
    let reply = cluster(etcd).await.member_remove(pb::MemberRemoveRequest { id }).await?;
    Ok(reply.into_inner().members.len())
}

async fn members(etcd: &str) -> Vec<pb::Member> {
    let request = pb::MemberListRequest { linearizable: true };
    cluster(etcd).await.member_list(request).await.unwrap().into_inner().members
}

/// Whether it has no vote, as it says itself; one that joins serves before it has one.
async fn is_learner(etcd: &str) -> bool {
    let client = pb::maintenance_client::MaintenanceClient::connect(etcd.to_string()).await;
    client.unwrap().status(pb::StatusRequest {}).await.unwrap().into_inner().is_learner
}

/// A node that joined; killed when the test ends, however it does.
struct Joined {
    child: Child,
    etcd: String,
}

impl Joined {
    fn start(join: &str, data: &str, etcd: &str, peer: &str) -> Self {
        let args = ["serve", "--json", "--join", join, "--data", data, "--etcd", etcd, "--peer", peer];
        let child = quorate(&args).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        Self { child, etcd: format!("http://{etcd}") }
    }

    /// What it says on standard output at last, and its exit code.
    fn end(mut self) -> (i32, Value) {
        let lines = follow(self.child.stdout.take().unwrap());
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        (status.code().unwrap(), lines.iter().last().unwrap())
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn urls(up: &Up) -> Vec<String> {
    let ready = up.ready();
    ready["nodes"].as_array().unwrap().iter().map(|n| n["etcd"].as_str().unwrap().to_string()).collect()
}

fn put(etcd: &str) -> bool {
    output(&["kv", "put", "a", "b", "--timeout", "5s", "--endpoints", etcd]).0 == 0
}

/// What clients hear of a node: that it is a learner, if it says so, and why a linearizable read was not answered.
async fn heard(channel: Channel) -> (bool, Result<usize, tonic::Status>) {
    let status =
        pb::maintenance_client::MaintenanceClient::new(channel.clone()).status(pb::StatusRequest {}).await;
    let range =
        pb::RangeRequest { key: "k".into(), range_end: "l".into(), count_only: true, ..Default::default() };
    let read = pb::kv_client::KvClient::new(channel).range(range).await;
    (status.is_ok_and(|s| s.into_inner().is_learner), read.map(|reply| reply.into_inner().count as usize))
}

/// Claim: a node that was added to vote serves clients as soon as it is there, while it has no vote yet: nobody is told that it is a
/// learner, which a client would take for good.
#[test]
fn a_node_that_was_added_to_vote_serves_before_it_votes() {
    let scratch = Scratch::new("joins");
    let up = Up::start(&["--ephemeral"]);
    let first = urls(&up).remove(0);
    let (runtime, data, etcd, peer) = (runtime(), scratch.path("n4"), free_address(), free_address());
    // Enough for its log to take a while.
    runtime.block_on(async {
        let mut kv = pb::kv_client::KvClient::connect(first.clone()).await.unwrap();
        for n in 0..20 {
            let (key, value) = (format!("k{n:02}").into(), vec![7; 1 << 20].into());
            kv.put(pb::PutRequest { key, value, ..Default::default() }).await.unwrap();
        }
    });
    runtime.block_on(add(&first, &peer)).unwrap();
    let node = Joined::start(&first, &data, &etcd, &peer);
    let (mut before, mut reads) = (0, 0);
    let end = Instant::now() + PATIENCE;
    runtime.block_on(async {
        let channel = tonic::transport::Endpoint::new(node.etcd.clone()).unwrap().connect_lazy();
        loop {
            assert!(Instant::now() < end, "{before} times a node without a vote, {reads} reads");
            let (learner, read) = heard(channel.clone()).await;
            before += usize::from(learner);
            match read {
                Ok(count) => reads += usize::from(count == 20),
                Err(status) => assert!(!status.message().contains("learner"), "{status}"),
            }
            if !learner && reads > 0 {
                break;
            }
        }
    });
    // On a machine where it catches up faster than it is asked this tells nothing.
    println!("{before} times without a vote, {reads} reads");
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: a node that was added joins, gets the data and a vote, and serves; one that is removed learns it, ends with the
/// exit code that says so, now and when it is started again; and its id is not given again.
#[test]
fn a_node_joins_serves_and_is_removed() {
    let scratch = Scratch::new("members");
    let up = Up::start(&["--ephemeral"]);
    let first = urls(&up).remove(0);
    let (runtime, data, etcd, peer) = (runtime(), scratch.path("n4"), free_address(), free_address());
    assert!(put(&first));
    let stranger = Joined::start(&first, &data, &etcd, &peer);
    let (code, said) = stranger.end();
    assert_eq!(code, 2, "{said}");
    assert!(said["hint"].as_str().unwrap().contains("quorate node add"), "{said}");

    let id = runtime.block_on(add(&first, &peer)).unwrap();
    assert_eq!(id, 4);
    let node = Joined::start(&first, &data, &etcd, &peer);
    eventually("it serves", || {
        let read = output(&["kv", "get", "a", "--timeout", "1s", "--endpoints", &node.etcd]);
        read.0 == 0 && read.1.contains('b')
    });
    eventually("it has said how it is called and where clients reach it", || {
        let listed = runtime.block_on(members(&node.etcd));
        let me = listed.iter().find(|m| m.id == 4).unwrap();
        assert!(!me.is_learner);
        me.name == "n4" && me.client_ur_ls == [node.etcd.as_str()]
    });
    drop(node);
    // Its directory knows who it is, and nobody is asked.
    let node = Joined::start("127.0.0.1:1", &data, &etcd, &peer);
    eventually("it serves again", || put(&node.etcd));

    assert_eq!(runtime.block_on(remove(&first, id)).unwrap(), 3);
    let (code, said) = node.end();
    assert_eq!((code, said["kind"].as_str()), (8, Some("removed")), "{said}");
    let (code, _) = Joined::start(&first, &data, &etcd, &peer).end();
    assert_eq!(code, 8);
    assert_eq!(runtime.block_on(add(&first, &peer)).unwrap(), 5);
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: a node that is away while it is removed hears of it from the others when it comes back; a leader that is removed
/// leaves the others serving; and what would cost the cluster its majority is refused.
#[test]
fn who_was_away_hears_of_it_and_a_leader_leaves() {
    let scratch = Scratch::new("members-away");
    let up = Up::start(&["--ephemeral"]);
    let urls = urls(&up);
    let (runtime, data, etcd, peer) = (runtime(), scratch.path("n4"), free_address(), free_address());
    let id = runtime.block_on(add(&urls[0], &peer)).unwrap();
    let mut node = Joined::start(&urls[0], &data, &etcd, &peer);
    eventually("it serves", || put(&node.etcd));
    send(i64::from(node.child.id()), Signal::KILL);
    node.child.wait().unwrap();
    assert_eq!(runtime.block_on(remove(&urls[0], id)).unwrap(), 3);
    let (code, said) = Joined::start(&urls[0], &data, &etcd, &peer).end();
    assert_eq!((code, said["kind"].as_str()), (8, Some("removed")), "{said}");
    assert!(said["message"].as_str().unwrap().contains("says so"), "{said}");

    let leader = runtime.block_on(async {
        let mut client = pb::maintenance_client::MaintenanceClient::connect(urls[0].clone()).await.unwrap();
        client.status(pb::StatusRequest {}).await.unwrap().into_inner().leader
    });
    let other = urls[usize::from(leader == 1)].clone();
    assert_eq!(runtime.block_on(remove(&other, leader)).unwrap(), 2);
    eventually("the others serve", || put(&other));
    assert_eq!(runtime.block_on(members(&other)).len(), 2);
}

/// The lines that a command says, as JSON, and its exit code.
fn steps(args: &[&str]) -> (i32, Vec<Value>) {
    let (code, said, _) = output(&[args, &["--json"]].concat());
    (code, said.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn names(steps: &[Value]) -> Vec<&str> {
    steps.iter().map(|step| step["step"].as_str().unwrap()).collect()
}

/// Claim: `quorate node` leads through adding and replacing a member, and a command that is given again goes on where it was.
#[test]
fn a_command_leads_through_and_goes_on_where_it_stopped() {
    let scratch = Scratch::new("members-guided");
    let up = Up::start(&["--ephemeral"]);
    let first = urls(&up).remove(0);
    let on = ["--endpoints", first.as_str()];
    let (four, five) = (free_address(), free_address());
    let (code, said) = steps(&[&["node", "add", &four, "--no-wait"], &on[..]].concat());
    assert_eq!((code, names(&said)), (0, vec!["added"]));
    assert!(said[0]["start"].as_str().unwrap().contains(&format!("--peer {four}")), "{said:?}");
    let (code, said) = steps(&[&["node", "add", &four, "--timeout", "300ms"], &on[..]].concat());
    assert_eq!((code, names(&said)), (1, vec!["there", "starts"]), "nobody started it");
    let (code, table, _) = output(&[&["status"], &on[..]].concat());
    assert!(code == 1 && table.contains("unstarted") && table.contains("quorate node remove 4"), "{table}");

    let _four = Joined::start(&first, &scratch.path("n4"), &free_address(), &four);
    let (code, said) = steps(&[&["node", "add", &four], &on[..]].concat());
    assert_eq!((code, names(&said).last()), (0, Some(&"votes")), "{said:?}");
    let (code, _, table) = output(&[&["status"], &on[..]].concat());
    assert_eq!(code, 0, "{table}");

    let (code, said) =
        steps(&[&["node", "replace", "n4", "--with", &five, "--timeout", "300ms"], &on[..]].concat());
    assert_eq!((code, names(&said)), (1, vec!["added", "starts"]));
    let _five = Joined::start(&first, &scratch.path("n5"), &free_address(), &five);
    let replace = ["node", "replace", "n4", "--with", five.as_str()];
    let (code, said) = steps(&[&replace[..], &on[..]].concat());
    assert_eq!(code, 0, "{said:?}");
    assert_eq!(names(&said).last(), Some(&"removed"));
    let (code, said) = steps(&[&replace[..], &on[..]].concat());
    assert_eq!((code, names(&said)), (0, vec!["gone", "there", "votes"]));
    let (code, _, said) = output(&[&["node", "remove", "n4"], &on[..]].concat());
    assert!(code == 1 && said.contains("there is no member \"n4\""), "{said}");
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}

/// Claim: `replace` takes no member for a new one that was a full one before, and none for gone that never was; nothing is changed
/// then. Whoever was never started is not said to vote.
#[test]
fn nobody_is_replaced_by_who_is_there() {
    let up = Up::start(&["--ephemeral"]);
    let ready = up.ready();
    let nodes = ready["nodes"].as_array().unwrap();
    let (first, on) = (nodes[0]["etcd"].as_str().unwrap(), |more: &[&str]| {
        output(&[&["node"], more, &["--endpoints", nodes[0]["etcd"].as_str().unwrap()]].concat())
    });
    for (old, new) in [("3", 0), ("1", 2), ("n2", 2)] {
        let (code, said, wrong) = on(&["replace", old, "--with", nodes[new]["peer"].as_str().unwrap()]);
        assert!(code == 2 && wrong.contains("is a full member already"), "{code} {said}{wrong}");
        assert!(wrong.contains(&format!("quorate node remove {}", old.trim_start_matches('n'))), "{wrong}");
    }
    let four = free_address();
    let (code, said, wrong) = on(&["replace", "99", "--with", &four]);
    assert!(code == 1 && wrong.contains("there is no member \"99\""), "{code} {said}{wrong}");
    // Ids that were not given out when the third member came.
    for never in ["77", "4"] {
        let (code, said, wrong) = on(&["replace", never, "--with", nodes[2]["peer"].as_str().unwrap()]);
        assert!(
            code == 1 && wrong.contains(&format!("there is no member \"{never}\"")),
            "{code} {said}{wrong}"
        );
    }
    assert_eq!(runtime().block_on(members(first)).len(), 3);
    assert_eq!(on(&["add", &four, "--no-wait"]).0, 0);
    for command in [&["promote", "4"][..], &["add", &four]] {
        let (code, said, wrong) = on(&[command, &["--timeout", "300ms"]].concat());
        assert!(code == 1 && !said.contains("votes") && wrong.contains("has not started"), "{said}{wrong}");
    }
}

/// Claim: of four voters none is taken for one that came in another's place, unless that other is to leave, as it is since the command
/// had come so far.
#[test]
fn the_fourth_voter_takes_nobodys_place_unless_it_came_for_that() {
    let scratch = Scratch::new("members-fourth");
    let up = Up::start(&["--ephemeral"]);
    let first = urls(&up).remove(0);
    let on = |more: &[&str]| output(&[&["node"], more, &["--endpoints", &first]].concat());
    let four = free_address();
    assert_eq!(on(&["add", &four, "--no-wait"]).0, 0);
    let _four = Joined::start(&first, &scratch.path("n4"), &free_address(), &four);
    let (code, said, wrong) = on(&["add", &four]);
    assert_eq!(code, 0, "{said}{wrong}");
    let (code, said, wrong) = on(&["replace", "2", "--with", &four]);
    assert!(
        code == 2 && wrong.contains("takes nobody's place") && wrong.contains("node remove 2"),
        "{said}{wrong}"
    );
    let runtime = runtime();
    assert_eq!(runtime.block_on(members(&first)).len(), 4);
    runtime.block_on(async {
        let mut shards = ShardsClient::connect(first.clone()).await.unwrap();
        shards.leave(LeaveRequest { node: 2, leaves: true }).await.unwrap();
    });
    let (code, said, wrong) = on(&["replace", "2", "--with", &four]);
    assert!(code == 0 && said.contains("removed member 2"), "{said}{wrong}");
    assert_eq!(runtime.block_on(members(&first)).len(), 3);
}

/// Claim: `up` does not start a node any more that was removed, whether it hears so while it runs or at its next start; it
/// says whom of the members it does not run, and how such a one is started.
#[test]
fn up_leaves_out_who_was_removed_and_says_who_runs_elsewhere() {
    let scratch = Scratch::new("members-up");
    let (home, runtime) = (scratch.path("home"), runtime());
    let start = || Up::start(&["--data", &home, "--restart"]);
    let stop = |up: Up| {
        up.signal(Signal::TERM);
        assert!(up.wait().0.success());
    };
    let up = start();
    let ready = up.ready();
    assert_eq!((&ready["removed"], &ready["elsewhere"]), (&json!([]), &json!([])));
    let etcd = ready["nodes"][0]["etcd"].as_str().unwrap().to_string();
    assert_eq!(runtime.block_on(remove(&etcd, 3)).unwrap(), 2);
    let said = up.line();
    assert_eq!((&said["event"], &said["node"]), (&json!("removed"), &json!(3)), "{said}");
    // Where it would be is said, though nobody is there.
    let peer = free_address();
    assert_eq!(runtime.block_on(add(&etcd, &peer)).unwrap(), 4);
    stop(up);

    let up = start();
    let ready = up.ready();
    let ids: Vec<u64> =
        ready["nodes"].as_array().unwrap().iter().map(|n| n["id"].as_u64().unwrap()).collect();
    assert_eq!((ids, &ready["removed"]), (vec![1, 2], &json!([3])));
    let there = &ready["elsewhere"][0];
    assert_eq!((&there["id"], &there["answers"]), (&json!(4), &json!(false)), "{ready}");
    assert_eq!(there["peer"], json!(format!("http://{peer}")));
    let node = Joined::start(&etcd, &scratch.path("n4"), &free_address(), &peer);
    eventually("it votes", || {
        let named = |m: &pb::Member| m.id == 4 && !m.name.is_empty();
        put(&node.etcd)
            && runtime.block_on(members(&node.etcd)).iter().any(named)
            && !runtime.block_on(is_learner(&node.etcd))
    });
    // It is away when it is removed, and hears of it when it is started again.
    let two = ready["nodes"][1].clone();
    send(two["pid"].as_i64().unwrap(), Signal::STOP);
    eventually("it is removed", || runtime.block_on(remove(&etcd, 2)).is_ok());
    send(up.child.id().into(), Signal::KILL);
    send(two["pid"].as_i64().unwrap(), Signal::KILL);
    drop(up);
    let one = ready["nodes"][0]["pid"].as_i64().unwrap();
    eventually("the first has stopped behind it", || !lives(one));
    let up = start();
    let ready = up.ready();
    assert_eq!(ready["removed"], json!([2, 3]), "{ready}");
    assert_eq!(ready["elsewhere"][0]["answers"], json!(true), "{ready}");
    assert_eq!(ready["nodes"].as_array().unwrap().len(), 1);
    stop(up);
}

/// Claim: a node that joins and is cut off before its log has begun asks again who the members are, and joins.
#[test]
fn a_node_that_was_cut_off_while_it_joined_joins() {
    let scratch = Scratch::new("members-cut");
    let up = Up::start(&["--ephemeral"]);
    let first = urls(&up).remove(0);
    let (data, etcd, peer) = (scratch.path("n4"), free_address(), free_address());
    assert_eq!(runtime().block_on(add(&first, &peer)).unwrap(), 4);
    // Nobody finds it here, and it waits a while before it dials.
    let elsewhere = free_address();
    let args = ["serve", "--join", &first, "--data", &data, "--etcd", &etcd, "--peer", &elsewhere];
    let args = [&args[..], &["--advertise-peer", &peer]].concat();
    let mut child = quorate(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let state = scratch.0.join("n4/state");
    eventually("it has begun", || state.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    // As if it had been killed a moment before: its journal's first file is there, and nothing is in it.
    std::fs::remove_dir_all(state).unwrap();
    for file in std::fs::read_dir(scratch.0.join("n4/journal")).unwrap() {
        std::fs::write(file.unwrap().path(), "").unwrap();
    }
    let node = Joined::start(&first, &data, &etcd, &peer);
    eventually("it serves", || put(&node.etcd));
}
