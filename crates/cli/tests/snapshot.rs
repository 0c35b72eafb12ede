//! Snapshots as files: saved from a node, looked into, restored into a new cluster.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

use crate::common::tables::Table;
use crate::common::{Alone, Process, Scratch, eventually, free_address, output, quorate};
use quorate_proto::etcdserverpb as pb;
use serde_json::Value;
use std::fs;
use std::process::Stdio;

/// Taken by Debian's etcdctl 3.4 from an etcd with some keys, a lease, deletions and a compaction at 8.
const ETCD: &[u8] = include_bytes!("../../server/tests/etcd-3.4.snap");

fn json(args: &[&str]) -> Value {
    let (code, stdout, stderr) = output(args);
    assert_eq!(code, 0, "{args:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// Claim: what was saved comes back in a new cluster, with its revisions; the old one's name is refused for it, and so is a
/// directory that is a node's already.
#[test]
fn a_snapshot_is_saved_told_and_restored() {
    let scratch = Scratch::new("snapshot");
    let (data, file, again) = (scratch.path("n1"), scratch.path("s.snap"), scratch.path("again"));
    let node = Alone::start(&data, "").unwrap();
    for n in 0..300 {
        assert_eq!(node.put(&format!("k{}", n % 200), &"v".repeat(n)).0, 0);
    }
    let told = json(&["snapshot", "save", &file, "--endpoint", &node.etcd, "--json"]);
    assert_eq!((&told["keys"], &told["revision"], &told["changes"]), (&200.into(), &301.into(), &300.into()));
    assert_eq!(json(&["snapshot", "inspect", &file, "--json"]), told);
    assert_eq!(fs::metadata(&file).unwrap().len() % 512, 32);
    assert!(!fs::exists(format!("{file}.part")).unwrap());
    let (code, _, stderr) = output(&["snapshot", "save", &file, "--endpoint", &node.etcd]);
    assert!(code == 2 && stderr.contains("is there already"), "{code}: {stderr}");
    node.stop();

    let restore = |more: &[&str]| output(&[&["snapshot", "restore", &file, "--data", &again], more].concat());
    let (code, _, stderr) = restore(&[]);
    assert!(code == 2 && stderr.contains("another name"), "{code}: {stderr}");
    assert!(!fs::exists(&again).unwrap());
    let (code, stdout, stderr) = restore(&["--cluster", "new"]);
    assert!(code == 0 && stdout.contains("200 keys at revision 301"), "{code}: {stdout}{stderr}");
    let (code, _, stderr) = restore(&["--join", "127.0.0.1:1"]);
    assert!(code == 2 && stderr.contains("leave --join out"), "{code}: {stderr}");
    let (code, _, stderr) = restore(&["--cluster", "new"]);
    assert!(code == 4 && stderr.contains("a node's data directory already"), "{code}: {stderr}");
    let (code, _, stderr) = output(&["snapshot", "restore", &file, "--data", &data, "--cluster", "new"]);
    assert!(code == 4, "{code}: {stderr}");

    let node = Alone::start_with(&again, "", &["--cluster", "new"]).unwrap();
    assert_eq!(node.get("k150").1.trim(), format!("k150 = {}", "v".repeat(150)));
    let other = scratch.path("other.snap");
    let now = json(&["snapshot", "save", &other, "--endpoint", &node.etcd, "--json"]);
    assert_eq!(now["revision"], told["revision"]);
    assert_ne!(now["cluster"], told["cluster"]);
    assert_eq!(node.put("k1", "more").0, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(one_member_then_two(&node));
    node.stop();
    let told = json(&["doctor", &again, "--json"]);
    assert_eq!(told["members"]["nodes"], serde_json::json!([1]), "{told}");
    // And it is a node as any other.
    let node = Alone::start_with(&again, "", &["--cluster", "new"]).unwrap();
    assert!(node.get("k1").1.contains("more"));
    node.stop();
}

/// The new cluster's book is its own, and it can grow.
async fn one_member_then_two(node: &Alone) {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", node.etcd)).unwrap();
    let mut members = pb::cluster_client::ClusterClient::new(channel.connect().await.unwrap());
    let list = members.member_list(pb::MemberListRequest { linearizable: true }).await.unwrap().into_inner();
    let [only] = &list.members[..] else { panic!("{list:?}") };
    assert_eq!((only.id, only.name.as_str(), only.peer_ur_ls.len(), only.is_learner), (1, "n1", 1, false));
    assert_eq!(only.client_ur_ls, [format!("http://{}", node.etcd)]);
    let peer_ur_ls = vec!["http://127.0.0.1:9".to_string()];
    let added = members.member_add(pb::MemberAddRequest { peer_ur_ls, is_learner: false }).await;
    let added = added.unwrap().into_inner();
    assert_eq!((added.member.unwrap().id, added.members.len()), (2, 2));
    members.member_remove(pb::MemberRemoveRequest { id: 2 }).await.unwrap();
}

/// Claim: whichever byte of a file is harmed, it is named and nothing is made of it; so is a file that is cut short, one of
/// etcd, and a restore that was interrupted.
#[test]
fn damaged_and_foreign_files_are_named() {
    let scratch = Scratch::new("snapshot-damaged");
    let (data, file, bad) = (scratch.path("n1"), scratch.path("s.snap"), scratch.path("bad.snap"));
    let node = Alone::start(&data, "").unwrap();
    assert_eq!(node.put("a", "b").0, 0);
    json(&["snapshot", "save", &file, "--endpoint", &node.etcd, "--json"]);
    node.stop();
    let good = fs::read(&file).unwrap();
    for at in (0..good.len()).step_by(29).chain(good.len() - 33..good.len()) {
        let mut harmed = good.clone();
        harmed[at] ^= 4;
        fs::write(&bad, harmed).unwrap();
        let (code, _, stderr) = output(&["snapshot", "inspect", &bad]);
        assert!((code == 5 || code == 2) && stderr.contains(&bad), "byte {at}: {code}: {stderr}");
        assert!(code == 2 || stderr.contains(" at offset "), "byte {at}: {stderr}");
    }
    for cut in [0, 1, 31, 32, 40, good.len() / 2, good.len() - 1] {
        fs::write(&bad, &good[..cut]).unwrap();
        let (code, _, stderr) = output(&["snapshot", "restore", &bad, "--data", &data, "--cluster", "new"]);
        assert!(code == 5 && stderr.contains("it ends too early"), "cut at {cut}: {code}: {stderr}");
    }
    for at in (0..ETCD.len()).step_by(997).chain(ETCD.len() - 40..ETCD.len()) {
        let mut harmed = ETCD.to_vec();
        harmed[at] ^= 4;
        fs::write(&bad, harmed).unwrap();
        let (code, _, stderr) = output(&["snapshot", "inspect", &bad]);
        assert!((code == 5 || code == 2) && stderr.contains(&bad), "byte {at} of etcd's: {code}: {stderr}");
    }

    let again = scratch.path("again");
    let restore = || output(&["snapshot", "restore", &file, "--data", &again, "--cluster", "new"]);
    assert_eq!(restore().0, 0);
    // As if it had been cut off before its journal was there.
    fs::write(format!("{again}/restoring"), "").unwrap();
    fs::remove_dir_all(format!("{again}/journal")).unwrap();
    let (code, log) = Alone::start_with(&again, "", &["--cluster", "new"]).err().unwrap();
    assert!(code == 4 && log.contains("was interrupted"), "{code}: {log}");
    assert_eq!(restore().0, 0);
    Alone::start_with(&again, "", &["--cluster", "new"]).unwrap().stop();
}

/// Claim: a snapshot in etcd's form holds the same as one in our own, and is restored to it with its fences; etcd's own tool, where it is
/// there, finds the same revision in it and makes a data directory of it; and whichever byte of it is harmed, that is told.
#[test]
fn a_snapshot_for_etcd_is_restored_here_and_there() {
    let scratch = Scratch::new("snapshot-for-etcd");
    let (data, own, etcd) = (scratch.path("n1"), scratch.path("own.snap"), scratch.path("etcd.snap"));
    let node = Alone::start(&data, "").unwrap();
    for n in 0..300 {
        assert_eq!(node.put(&format!("k{}", n % 200), &"v".repeat(n)).0, 0);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(fence_lease_and_compact(&node.etcd));
    let save = ["snapshot", "save", &own, "--endpoint", &node.etcd, "--json"];
    let save_for_etcd = ["snapshot", "save", &etcd, "--etcd", "--endpoint", &node.etcd, "--json"];
    let (told, told_of_etcd) = (json(&save), json(&save_for_etcd));
    for what in
        ["cluster", "node", "term", "index", "revision", "compacted", "keys", "leases", "fences", "digest"]
    {
        assert_eq!(told[what], told_of_etcd[what], "{what}: {told} {told_of_etcd}");
    }
    assert_eq!((&told["fences"], &told["leases"], &told["compacted"]), (&1.into(), &1.into(), &250.into()));
    node.stop();
    let good = fs::read(&etcd).unwrap();
    assert_eq!(good.len() % 512, 32);
    let bad = scratch.path("bad.snap");
    for at in (0..good.len()).step_by(997).chain(good.len() - 40..good.len()) {
        let mut harmed = good.clone();
        harmed[at] ^= 4;
        fs::write(&bad, harmed).unwrap();
        let (code, _, stderr) = output(&["snapshot", "inspect", &bad]);
        assert!((code == 5 || code == 2) && stderr.contains(&bad), "byte {at}: {code}: {stderr}");
    }
    by_etcds_own_tool(&etcd, &scratch.path("etcd"), &told["revision"]);

    let again = scratch.path("again");
    assert_eq!(output(&["snapshot", "restore", &etcd, "--data", &again, "--cluster", "new"]).0, 0);
    let node = Alone::start_with(&again, "", &["--cluster", "new"]).unwrap();
    assert_eq!(node.get("k150").1.trim(), format!("k150 = {}", "v".repeat(150)));
    let refused = runtime.block_on(put_with_token(&node.etcd, "6")).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    node.stop();
}

async fn put_with_token(etcd: &str, token: &str) -> Result<(), tonic::Status> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{etcd}")).unwrap();
    let mut kv = pb::kv_client::KvClient::new(channel.connect().await.unwrap());
    let mut request =
        tonic::Request::new(pb::PutRequest { key: "fenced".into(), ..pb::PutRequest::default() });
    request.metadata_mut().insert("quorate-fence", format!("job={token}").parse().unwrap());
    kv.put(request).await.map(drop)
}

async fn fence_lease_and_compact(etcd: &str) {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{etcd}")).unwrap();
    let channel = channel.connect().await.unwrap();
    put_with_token(etcd, "7").await.unwrap();
    let mut leases = pb::lease_client::LeaseClient::new(channel.clone());
    leases.lease_grant(pb::LeaseGrantRequest { ttl: 600, id: 77 }).await.unwrap();
    let mut kv = pb::kv_client::KvClient::new(channel);
    let put = pb::PutRequest { key: "leased".into(), lease: 77, ..pb::PutRequest::default() };
    kv.put(put).await.unwrap();
    kv.delete_range(pb::DeleteRangeRequest { key: "k1".into(), ..pb::DeleteRangeRequest::default() })
        .await
        .unwrap();
    kv.compact(pb::CompactionRequest { revision: 250, physical: true }).await.unwrap();
}

/// Debian's etcdctl 3.4.
fn by_etcds_own_tool(file: &str, data: &str, revision: &Value) {
    let etcdctl = |args: &[&str]| {
        let mut command = std::process::Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(args).output().ok()
    };
    let Some(status) = etcdctl(&["snapshot", "status", file, "-w", "json"]) else { return };
    let told: Value = serde_json::from_slice(&status.stdout).unwrap_or_else(|_| panic!("{status:?}"));
    assert_eq!(&told["revision"], revision, "{told}");
    let restored = etcdctl(&["snapshot", "restore", file, "--data-dir", data]).unwrap();
    assert!(
        restored.status.success() && fs::exists(format!("{data}/member/snap/db")).unwrap(),
        "{restored:?}"
    );
}

/// Claim: a save that comes to nothing leaves nothing.
#[test]
fn a_save_that_fails_leaves_no_file() {
    let scratch = Scratch::new("snapshot-fails");
    let file = scratch.path("s.snap");
    let (code, _, stderr) = output(&["snapshot", "save", &file, "--endpoint", "127.0.0.1:1"]);
    assert!(code == 1 && stderr.contains("gave no snapshot"), "{code}: {stderr}");
    assert!(!fs::exists(&file).unwrap() && !fs::exists(format!("{file}.part")).unwrap());
}

/// Claim: what etcd kept comes over with its revisions, its history behind the compaction, and its leases; and the space goes on
/// from there.
#[test]
fn a_snapshot_of_etcd_is_restored() {
    let scratch = Scratch::new("snapshot-etcd");
    let (data, file) = (scratch.path("n1"), scratch.path("etcd.snap"));
    fs::write(&file, ETCD).unwrap();
    let told = json(&["snapshot", "inspect", &file, "--json"]);
    assert_eq!(
        (&told["revision"], &told["compacted"], &told["keys"], &told["leases"], &told["cluster"]),
        (&14.into(), &8.into(), &7.into(), &1.into(), &Value::Null)
    );
    assert_eq!(json(&["snapshot", "restore", &file, "--data", &data, "--json"]), told);
    let node = Alone::start(&data, "").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(as_it_was(&node.etcd));
    // What was restored is a state as any other.
    let again = scratch.path("again.snap");
    assert_eq!(json(&["snapshot", "save", &again, "--endpoint", &node.etcd, "--json"])["revision"], 15);
    node.stop();
    let (code, _, stderr) = output(&["doctor", &data]);
    assert_eq!(code, 0, "{stderr}");
}

async fn as_it_was(etcd: &str) {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{etcd}")).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut kv = pb::kv_client::KvClient::new(channel.clone());
    let mut range = async |revision| {
        let request = pb::RangeRequest {
            key: bytes::Bytes::from_static(&[0]),
            range_end: bytes::Bytes::from_static(&[0]),
            revision,
            ..Default::default()
        };
        kv.range(request).await.map(|reply| {
            let pairs = reply.into_inner().kvs.into_iter().map(|kv| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                format!("{}={}@{}v{}", text(&kv.key), text(&kv.value), kv.mod_revision, kv.version)
            });
            pairs.collect::<Vec<_>>().join(" ")
        })
    };
    // As etcd itself answered.
    for (revision, pairs) in [
        (8, "k1=again@7v2 k3=v3@4v1 k4=v4@5v1 k5=v5@6v1"),
        (10, "k1=again@7v2 k3=new@10v2 k4=v4@5v1 k5=v5@6v1 leased=x@9v1"),
        (12, "k1=again@7v2 k3=new@10v2 k4=newer@11v2 leased=x@9v1"),
        (0, "k1=again@7v2 k2=back@14v1 k3=new@10v2 k4=newer@11v2 leased=x@9v1 t1=a@13v1 t2=b@13v1"),
    ] {
        assert_eq!(range(revision).await.unwrap(), pairs, "at {revision}");
    }
    let compacted = range(7).await.unwrap_err();
    assert!(compacted.message().contains("has been compacted"), "{compacted:?}");
    let mut leases = pb::lease_client::LeaseClient::new(channel.clone());
    let list = leases.lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner().leases;
    let [lease] = &list[..] else { panic!("{list:?}") };
    let asked = pb::LeaseTimeToLiveRequest { id: lease.id, keys: true };
    let told = leases.lease_time_to_live(asked).await.unwrap().into_inner();
    assert_eq!((told.granted_ttl, told.keys.len()), (600, 1));
    leases.lease_revoke(pb::LeaseRevokeRequest { id: lease.id }).await.unwrap();
    let now = range(0).await.unwrap();
    assert!(!now.contains("leased") && now.contains("t2=b"), "{now}");
}

/// Three members that are restored into one cluster, each from the file that is named, or from none.
struct Restored<'t> {
    scratch: &'t Scratch,
    ports: Vec<(String, String)>,
}

impl Restored<'_> {
    fn settings(&self, id: usize) -> Vec<String> {
        let list = |of: &dyn Fn(&(String, String)) -> String| {
            let all = self.ports.iter().enumerate().map(|(at, ports)| format!("{}={}", at + 1, of(ports)));
            all.collect::<Vec<_>>().join(",")
        };
        let (peers, urls) = (list(&|(_, peer)| peer.clone()), list(&|(etcd, _)| format!("http://{etcd}")));
        let data = self.scratch.path(&format!("m{id}"));
        let words = [
            "--node",
            &id.to_string(),
            "--cluster",
            "new",
            "--data",
            &data,
            "--peers",
            &peers,
            "--client-urls",
            &urls,
        ];
        words.map(str::to_string).to_vec()
    }

    fn restore(&self, id: usize, file: &str) {
        let settings = self.settings(id);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let (code, _, stderr) = output(&[&["snapshot", "restore", file], &settings[..]].concat());
        assert_eq!(code, 0, "{stderr}");
    }

    fn start(&self, id: usize) -> (Process, String) {
        let (etcd, peer) = &self.ports[id - 1];
        let log = self.scratch.path(&format!("m{id}.log"));
        let mut command = quorate(&["serve", "--etcd", etcd, "--peer", peer]);
        command.args(self.settings(id)).args(["--election-min-ms", "300", "--election-max-ms", "600"]);
        let stderr = fs::File::create(&log).unwrap();
        (Process(command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap()), log)
    }

    fn get(&self, id: usize) -> String {
        output(&["kv", "--endpoints", &format!("http://{}", self.ports[id - 1].0), "get", "k"]).1
    }

    /// What it says at its end.
    fn end(mut process: Process, log: &str) -> String {
        eventually("it ends", || process.0.try_wait().unwrap().is_some());
        let said = fs::read_to_string(log).unwrap();
        assert_eq!(process.0.wait().unwrap().code(), Some(4), "{said}");
        said
    }
}

/// Claim: a member that was restored from another snapshot than the others, or was not while they were, ends with a word of what each
/// began with, and helps nobody to a majority; restored as they were, it serves with them.
#[test]
fn members_restored_from_different_snapshots_do_not_come_together() {
    let scratch = Scratch::new("snapshot-other");
    let node = Alone::start(&scratch.path("n1"), "").unwrap();
    let files = ["first", "second"].map(|value| {
        assert_eq!(node.put("k", value).0, 0);
        let file = scratch.path(value);
        json(&["snapshot", "save", &file, "--endpoint", &node.etcd, "--json"]);
        file
    });
    node.stop();
    let cluster =
        Restored { scratch: &scratch, ports: (0..3).map(|_| (free_address(), free_address())).collect() };
    cluster.restore(1, &files[1]);
    cluster.restore(2, &files[1]);
    cluster.restore(3, &files[0]);
    // Two that differ, and would be a majority.
    let ((first, log), (third, third_log)) = (cluster.start(1), cluster.start(3));
    for (process, log) in [(first, log), (third, third_log)] {
        let said = Restored::end(process, &log);
        for words in [
            "began with different data",
            "at revision 2 (digest",
            "at revision 3 (digest",
            "one and the same",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    let _others = [cluster.start(1), cluster.start(2)];
    eventually("they serve", || cluster.get(1) == "k = second\n");
    let data = scratch.path("m3");
    let (third, log) = cluster.start(3);
    assert!(Restored::end(third, &log).contains("began with different data"));
    fs::remove_dir_all(&data).unwrap();
    let (third, log) = cluster.start(3);
    let said = Restored::end(third, &log);
    assert!(said.contains("with nothing") && said.contains("at revision 3 (digest"), "{said}");
    fs::remove_dir_all(&data).unwrap();
    cluster.restore(3, &files[1]);
    let _third = cluster.start(3);
    eventually("it serves with them", || cluster.get(3) == "k = second\n");
}

/// Claim: a restore that bumps the revision goes on behind it, and what was before is compacted for every reader.
#[test]
fn a_bumped_restore_is_behind_all_that_was() {
    let scratch = Scratch::new("snapshot-bump");
    let (data, file, again) = (scratch.path("n1"), scratch.path("etcd.snap"), scratch.path("again.snap"));
    fs::write(&file, ETCD).unwrap();
    let restore = |by: &str| {
        let args = ["snapshot", "restore", &file, "--data", &data, "--bump-revision", by];
        output(&args)
    };
    for by in ["9223372036854775807", "18446744073709551615", "2305843009213693952"] {
        let (code, _, stderr) = restore(by);
        assert!(code == 2 && stderr.contains("no revision is higher"), "{by}: {code} {stderr}");
        assert!(!fs::exists(&data).unwrap());
    }
    let (code, stdout, stderr) = restore("1000");
    assert!(code == 0 && stdout.contains("starts at revision 1014"), "{code}: {stdout}{stderr}");
    let help = output(&["snapshot", "restore", "--help"]).1;
    assert!(
        help.contains("--peers") && help.contains("--bump-revision") && !help.contains("--zone"),
        "{help}"
    );
    let node = Alone::start(&data, "").unwrap();
    assert!(node.get("k1").1.contains("again"));
    let (code, said) = node.put("k1", "more");
    assert_eq!(code, 0, "{said}");
    let told = json(&["snapshot", "save", &again, "--endpoint", &node.etcd, "--json"]);
    assert_eq!((&told["revision"], &told["compacted"]), (&1015.into(), &1014.into()));
    node.stop();
}

/// Claim: a snapshot says which tables it does not hold, by whatever asks about it; it is not restored as if it held them; and in
/// what is made of it nevertheless these are not there, while the others are, and one of the same name can be made.
#[test]
fn tables_with_shards_of_their_own_are_told_as_left_out() {
    let scratch = Scratch::new("snapshot-tables");
    let (data, file, again) = (scratch.path("n1"), scratch.path("s.snap"), scratch.path("again"));
    let (dynamo, then) = (free_address(), free_address());
    let node = Alone::start_with(&data, "", &["--dynamo", &dynamo]).unwrap();
    for (name, shards) in [("orders", "3"), ("plain", "1")] {
        let create = ["space", "create", name, "--key", "c:S", "--shards", shards, "--endpoint", &dynamo];
        let (code, _, stderr) = output(&create);
        assert_eq!(code, 0, "{stderr}");
        let put = serde_json::json!({ "Item": { "c": { "S": "1" } } });
        Table::at(name, &[&dynamo]).ask(0, "PutItem", put);
    }
    let etcd = scratch.path("etcd.snap");
    let save = ["snapshot", "save", &file, "--endpoint", &node.etcd, "--json"];
    let save_for_etcd = ["snapshot", "save", &etcd, "--etcd", "--endpoint", &node.etcd, "--json"];
    for args in [&save[..], &["snapshot", "inspect", &file, "--json"], &save_for_etcd] {
        let (code, stdout, stderr) = output(args);
        assert!(code == 0 && stderr.contains("warning") && stderr.contains("orders"), "{args:?}: {stderr}");
        assert!(!stderr.contains("plain"), "{args:?}: {stderr}");
        let told: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(told["tables_left_out"], serde_json::json!(["orders"]));
        assert_eq!(told["tables"], serde_json::json!(["plain"]));
    }
    node.stop();
    without_orders(&file, &again, &then);
    // In etcd's form they are there as well.
    without_orders(&etcd, &scratch.path("from-etcd"), &then);
}

fn without_orders(file: &str, again: &str, then: &str) {
    let restore = ["snapshot", "restore", file, "--data", again, "--cluster", "new"];
    let (code, _, stderr) = output(&restore);
    assert!(code == 2 && stderr.contains("orders") && stderr.contains("--drop-sharded-tables"), "{stderr}");
    assert!(!fs::exists(again).unwrap());
    let (code, stdout, stderr) = output(&[&restore[..], &["--drop-sharded-tables"]].concat());
    assert!(code == 0 && stdout.contains("without the tables orders"), "{stdout}{stderr}");
    let node = Alone::start_with(again, "", &["--cluster", "new", "--dynamo", then]).unwrap();
    let spaces = json(&["space", "list", "--json", "--endpoint", then]);
    assert_eq!(spaces["spaces"], serde_json::json!(["plain"]));
    let scan = serde_json::json!({ "Select": "COUNT", "ConsistentRead": true });
    assert_eq!(Table::at("plain", &[then]).ask(0, "Scan", scan.clone())["Count"], 1);
    let create = ["space", "create", "orders", "--key", "c:S", "--shards", "3", "--endpoint", then];
    let (code, _, stderr) = output(&create);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(Table::at("orders", &[then]).ask(0, "Scan", scan)["Count"], 0);
    node.stop();
}
