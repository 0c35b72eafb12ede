//! `quorate etcd` where the `etcd` binary stood: its flags, its variables, its clients.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{Scratch, eventually, free_port, output, quorate, send, wire};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Node {
    child: Child,
    log: String,
}

impl Node {
    /// Starts `quorate etcd` with these flags and variables.
    fn start(scratch: &Scratch, name: &str, flags: &[String], variables: &[(&str, String)]) -> Self {
        let log = scratch.path(&format!("{name}.log"));
        let mut command = quorate(&["etcd"]);
        // Files that are named without a directory are the test's own.
        command
            .current_dir(scratch.path(""))
            .args(flags)
            .envs(variables.iter().map(|(name, value)| (*name, value)));
        let stderr = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        Self { child: command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap(), log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its exit code, once it has ended by itself.
    fn end(mut self) -> Option<i32> {
        eventually("it ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }

    fn stop(mut self) {
        send(i64::from(self.child.id()), Signal::TERM);
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| free_port()).collect()
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// The flags of a unit file, of the member at this place.
fn flags(scratch: &Scratch, name: &str, client: u16, peer: u16, cluster: &str) -> Vec<String> {
    vec![
        format!("--name={name}"),
        format!("--data-dir={}", scratch.path(&format!("{name}.etcd"))),
        format!("--listen-client-urls={}", url(client)),
        format!("--advertise-client-urls={}", url(client)),
        format!("--listen-peer-urls={}", url(peer)),
        format!("--initial-advertise-peer-urls={}", url(peer)),
        format!("--initial-cluster={cluster}"),
        "--initial-cluster-token=test".into(),
        "--initial-cluster-state=new".into(),
        "--snapshot-count=10000".into(),
        "--heartbeat-interval=50".into(),
        "--election-timeout=400".into(),
    ]
}

fn page(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

/// `etcdctl`, where it is installed; else nothing.
fn etcdctl(endpoints: &str, args: &[&str]) -> Option<(bool, String)> {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", endpoints]).args(args);
    let output = command.output().ok()?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), said))
}

fn kv(port: u16, args: &[&str]) -> (i32, String) {
    let (code, stdout, stderr) = output(&[&["kv", "--endpoints", &url(port)], args].concat());
    (code, stdout + &stderr)
}

/// Claim: three processes with the flags of a usual unit form one cluster, which etcd's own client finds whole; one goes on with its
/// data after a stop; a fourth joins as `member add` tells it to.
#[test]
fn three_processes_with_the_same_flags_are_one_cluster_and_a_fourth_joins() {
    let scratch = Scratch::new("etcd");
    let (clients, peers) = (ports(4), ports(4));
    let named: Vec<String> =
        ["a", "b", "c"].iter().zip(&peers).map(|(n, &p)| format!("{n}={}", url(p))).collect();
    let cluster = named.join(",");
    let start = |at: usize, name: &str| {
        Node::start(&scratch, name, &flags(&scratch, name, clients[at], peers[at], &cluster), &[])
    };
    let mut nodes: Vec<Node> = ["a", "b", "c"].iter().enumerate().map(|(at, name)| start(at, name)).collect();
    eventually("it takes a write", || kv(clients[1], &["put", "k", "v"]).0 == 0);
    for &client in &clients[..3] {
        assert_eq!(kv(client, &["get", "k"]), (0, "k = v\n".into()));
    }
    assert!(page(clients[0], "/version").contains("\"etcdserver\":\"3."));
    eventually("all are healthy", || {
        clients[..3].iter().all(|&c| page(c, "/health").contains(r#""health":"true""#))
    });

    let endpoints = clients[..3].iter().map(|&c| url(c)).collect::<Vec<_>>().join(",");
    if etcdctl(&endpoints, &["version"]).is_some() {
        let run = |args: &[&str]| etcdctl(&endpoints, args).unwrap();
        assert_eq!(run(&["put", "foo", "bar"]), (true, "OK\n".into()));
        assert_eq!(run(&["get", "foo", "--print-value-only"]), (true, "bar\n".into()));
        eventually("each member tells its clients' URL", || {
            let (_, listed) = run(&["member", "list"]);
            ["a", "b", "c"].iter().zip(&clients).zip(&peers).all(|((name, &client), &peer)| {
                listed.contains(&format!("started, {name}, {}, {}, false", url(peer), url(client)))
            })
        });
        let (healthy, said) = run(&["endpoint", "health", "--cluster"]);
        assert!(healthy && said.matches("is healthy").count() == 3, "{said}");
    }

    // It goes on with its data, whatever the flags say of the beginning.
    nodes.remove(2).stop();
    let mut changed = flags(&scratch, "c", clients[2], peers[2], &format!("c={}", url(peers[2])));
    changed[7] = "--initial-cluster-token=other".into();
    nodes.push(Node::start(&scratch, "c", &changed, &[]));
    eventually("it is back", || kv(clients[2], &["get", "k"]) == (0, "k = v\n".into()));

    let all = format!("{cluster},d={}", url(peers[3]));
    let mut joins = flags(&scratch, "d", clients[3], peers[3], &all);
    joins[8] = "--initial-cluster-state=existing".into();
    let refused = quorate(&["etcd"]).args(&joins).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("add it first"), "{said}");
    let added = etcdctl(&endpoints, &["member", "add", "d", &format!("--peer-urls={}", url(peers[3]))]);
    if let Some((ok, said)) = added {
        assert!(ok, "{said}");
        nodes.push(Node::start(&scratch, "d", &joins, &[]));
        eventually("it has joined", || kv(clients[3], &["get", "k"]) == (0, "k = v\n".into()));
        eventually("it votes", || {
            etcdctl(&endpoints, &["member", "list"]).unwrap().1.contains(&format!(
                "started, d, {}, {}, false",
                url(peers[3]),
                url(clients[3])
            ))
        });
    }
    nodes.into_iter().for_each(Node::stop);
}

/// Claim: a member that comes back with an empty directory ends with what etcd says of it, and with what is to be done in the words of
/// `quorate etcd`, whatever it is told of the cluster's state and however often it is started; once that is done, a member of its name
/// serves again.
#[test]
fn a_member_that_lost_its_directory_ends_and_says_what_to_do() {
    let scratch = Scratch::new("etcd-lost");
    let (clients, peers) = (ports(3), ports(3));
    let names = ["a", "b", "c"];
    let cluster: Vec<String> = names.iter().zip(&peers).map(|(n, &p)| format!("{n}={}", url(p))).collect();
    let cluster = cluster.join(",");
    let start = |at: usize, state: &str| {
        let mut flags = flags(&scratch, names[at], clients[at], peers[at], &cluster);
        flags[8] = format!("--initial-cluster-state={state}");
        Node::start(&scratch, names[at], &flags, &[])
    };
    let mut nodes: Vec<Node> = (0..3).map(|at| start(at, "new")).collect();
    for &client in &clients {
        eventually("it takes a write", || kv(client, &["put", "k", "v"]).0 == 0);
    }
    // The ids are by the peers' URLs.
    let id = peers.iter().filter(|&&peer| peer <= peers[2]).count();
    let met = |name: &str| scratch.0.join(format!("{name}.etcd/met/{id}")).exists();
    eventually("both have met it", || met("a") && met("b"));
    let (data, log) = (scratch.path("c.etcd"), scratch.path("c.log"));
    nodes.remove(2).stop();
    std::fs::remove_dir_all(&data).unwrap();
    let (remove, add) =
        (format!("member remove {id:x}"), format!("member add c --peer-urls={}", url(peers[2])));
    for state in ["new", "new", "existing"] {
        std::fs::write(&log, "").unwrap();
        if state == "existing" {
            std::fs::remove_dir_all(&data).unwrap();
        }
        let code = start(2, state).end();
        let said = std::fs::read_to_string(&log).unwrap();
        assert_eq!(code, Some(4), "{state}: {said}");
        for words in ["has already been bootstrapped", &remove, &add, "--initial-cluster-state existing"] {
            assert!(said.contains(words), "{state}: {words}: {said}");
        }
        assert!(!said.contains("--data-lost") && !said.contains("quorate node replace"), "{state}: {said}");
    }
    let endpoints = format!("{},{}", url(clients[0]), url(clients[1]));
    let run = |words: &str| etcdctl(&endpoints, &words.split(' ').collect::<Vec<_>>());
    if let Some((removed, said)) = run(&remove) {
        assert!(removed, "{said}");
        assert!(run(&add).unwrap().0);
        let _ = std::fs::remove_dir_all(&data);
        nodes.push(start(2, "existing"));
        eventually("it serves", || kv(clients[2], &["get", "k"]) == (0, "k = v\n".into()));
    }
    nodes.into_iter().for_each(Node::stop);
}

/// Claim: members of a new cluster wait where those of another are yet: one cluster may take the place of another member by member.
#[test]
fn a_cluster_takes_the_place_of_another_member_by_member() {
    let scratch = Scratch::new("etcd-other");
    let (clients, peers) = (ports(2), ports(2));
    let (a, b) = (format!("a={}", url(peers[0])), format!("b={}", url(peers[1])));
    let former = Node::start(&scratch, "a", &flags(&scratch, "a", clients[0], peers[0], &a), &[]);
    eventually("it serves", || kv(clients[0], &["put", "k", "v"]).0 == 0);
    let both = format!("{a},{b}");
    let started = |name: &str, at: usize, dir: &str| {
        let mut flags = flags(&scratch, name, clients[at], peers[at], &both);
        flags[1] = format!("--data-dir={}", scratch.path(dir));
        let token = flags.iter_mut().find(|flag| flag.starts_with("--initial-cluster-token")).unwrap();
        *token = "--initial-cluster-token=new".into();
        Node::start(&scratch, dir, &flags, &[])
    };
    let late = started("b", 1, "b.new");
    let log = late.log.clone();
    eventually("it has met the other cluster", || {
        std::fs::read_to_string(&log).unwrap().contains("check the peer addresses")
    });
    former.stop();
    let other = started("a", 0, "a.new");
    eventually("the new one serves", || kv(clients[1], &["put", "k", "w"]).0 == 0);
    for node in [late, other] {
        node.stop();
    }
}

/// Claim: where the others were started by `quorate etcd`, `quorate node add` tells the variables with which a new one joins.
#[test]
fn a_node_that_is_added_is_told_the_variables() {
    let scratch = Scratch::new("etcd-added");
    let (clients, peers) = (ports(2), ports(2));
    let solo = format!("a={}", url(peers[0]));
    let first = Node::start(&scratch, "a", &flags(&scratch, "a", clients[0], peers[0], &solo), &[]);
    eventually("it serves", || kv(clients[0], &["put", "k", "v"]).0 == 0);
    let (peer, endpoint) = (format!("127.0.0.1:{}", peers[1]), url(clients[0]));
    let (code, said, wrong) =
        output(&["node", "add", &peer, "--no-wait", "--json", "--endpoints", &endpoint]);
    assert_eq!(code, 0, "{wrong}");
    let said: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
    let told: Vec<(String, String)> = said["variables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let (name, value) = line.as_str().unwrap().split_once('=').unwrap();
            (name.to_string(), value.trim_matches('"').replace("NAME", "b"))
        })
        .collect();
    let variables: Vec<(&str, String)> =
        told.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let own = [
        format!("--data-dir={}", scratch.path("b.etcd")),
        format!("--listen-peer-urls={}", url(peers[1])),
        format!("--listen-client-urls={}", url(clients[1])),
        format!("--advertise-client-urls={}", url(clients[1])),
    ];
    let second = Node::start(&scratch, "b", &own, &variables);
    eventually("it has joined", || kv(clients[1], &["get", "k"]) == (0, "k = v\n".into()));
    second.stop();
    first.stop();
}

/// Claim: a member is configured by variables alone, as units with an environment file do it, systemd hears when it serves, and the
/// metrics' port is one of its own; plain addresses are warned about once.
#[test]
fn variables_alone_start_a_node_and_systemd_hears_of_it() {
    let scratch = Scratch::new("etcd-env");
    let (ports, socket) = (ports(3), scratch.path("notify"));
    let heard = UnixDatagram::bind(&socket).unwrap();
    let variables = [
        ("ETCD_NAME", "solo".to_string()),
        ("ETCD_DATA_DIR", scratch.path("solo")),
        ("ETCD_LISTEN_CLIENT_URLS", format!("http://0.0.0.0:{}", ports[0])),
        ("ETCD_ADVERTISE_CLIENT_URLS", url(ports[0])),
        ("ETCD_LISTEN_PEER_URLS", url(ports[1])),
        ("ETCD_INITIAL_ADVERTISE_PEER_URLS", url(ports[1])),
        ("ETCD_INITIAL_CLUSTER", format!("solo={}", url(ports[1]))),
        ("ETCD_LISTEN_METRICS_URLS", url(ports[2])),
        ("ETCD_LOGGER", "zap".into()),
        ("NOTIFY_SOCKET", socket),
    ];
    let node = Node::start(&scratch, "solo", &[], &variables);
    heard.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
    let mut said = [0; 64];
    let length = heard.recv(&mut said).unwrap();
    assert_eq!(&said[..length], b"READY=1");
    eventually("it serves", || kv(ports[0], &["put", "k", "v"]).0 == 0);
    assert!(page(ports[2], "/metrics").contains("etcd_server_has_leader 1"));
    assert_eq!(node.log().matches("neither TLS nor users").count(), 1, "{}", node.log());
    node.stop();
}

/// Claim: a file of etcd's settings alone starts a node, and a setting that is not supported ends the start with its line.
#[test]
fn a_file_alone_starts_a_node() {
    let scratch = Scratch::new("etcd-file");
    let (ports, file) = (ports(2), scratch.path("etcd.conf.yml"));
    let text = format!(
        "# This is the configuration file for the etcd server.\nname: 'solo'\ndata-dir: {}\nwal-dir:\nsnapshot-count: 10000\n\
         listen-client-urls: {client}\nadvertise-client-urls: {client}\nlisten-peer-urls: {peer}\n\
         initial-advertise-peer-urls: {peer}\ninitial-cluster: solo={peer}\ninitial-cluster-state: 'new'\n\
         client-transport-security:\n  # Path to the client server TLS cert file.\n  cert-file:\n  client-cert-auth: false\n\
         log-outputs: [stderr]\n",
        scratch.path("solo"),
        client = url(ports[0]),
        peer = url(ports[1]),
    );
    std::fs::write(&file, &text).unwrap();
    let flags = [format!("--config-file={file}"), "--name=other".into()];
    let node = Node::start(&scratch, "solo", &flags, &[]);
    eventually("it serves", || kv(ports[0], &["put", "k", "v"]).0 == 0);
    assert!(node.log().contains("not used, since --config-file alone counts: --name"), "{}", node.log());
    node.stop();
    std::fs::write(&file, text.replace("  cert-file:", "  cert-file: /c")).unwrap();
    let (code, _, stderr) = output(&["etcd", &flags[0]]);
    assert!(code == 2 && stderr.contains("line 14: client-transport-security.cert-file=/c"), "{stderr}");
}

/// The answer to a call in JSON.
fn post(port: u16, path: &str, text: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = text.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Claim: a file of JSON starts a node, larger requests and transactions are taken where it says so, and what is larger than usual comes
/// through restarts and snapshots as anything else does; a call that takes longer than is usual is told in the log.
#[test]
fn a_file_of_json_makes_room_for_large_requests() {
    let scratch = Scratch::new("etcd-json");
    let (ports, file) = (ports(2), scratch.path("etcd.json"));
    let text = serde_json::json!({
        "name": "solo",
        "data-dir": scratch.path("solo"),
        "listen-client-urls": url(ports[0]),
        "advertise-client-urls": url(ports[0]),
        "listen-peer-urls": url(ports[1]),
        "initial-advertise-peer-urls": url(ports[1]),
        "initial-cluster": format!("solo={}", url(ports[1])),
        "max-request-bytes": 10 << 20,
        "max-txn-ops": 300,
        "warning-unary-request-duration": 1,
        "client-transport-security": { "cert-file": "", "client-cert-auth": false },
        "log-outputs": ["stderr"],
    });
    std::fs::write(&file, text.to_string()).unwrap();
    let flags = [format!("--config-file={file}")];
    let node = Node::start(&scratch, "solo", &flags, &[]);
    eventually("it serves", || kv(ports[0], &["put", "k", "v"]).0 == 0);
    // Nine MiB in base64, and one that is too large.
    let large = |quads: usize| format!(r#"{{"key":"bGFyZ2U=","value":"{}"}}"#, "AAAA".repeat(quads));
    let answer = post(ports[0], "/v3/kv/put", &large(3 << 20));
    assert!(answer.contains(r#""revision":"3""#), "{answer}");
    let answer = post(ports[0], "/v3/kv/put", &large((10 << 20) / 3 + 1));
    assert!(answer.contains("etcdserver: request is too large"), "{answer}");
    let txn = |ops: usize| {
        let gets = vec![r#"{"request_range":{"key":"aw=="}}"#; ops].join(",");
        post(ports[0], "/v3/kv/txn", &format!(r#"{{"success":[{gets}]}}"#))
    };
    assert!(txn(300).contains("succeeded") && txn(301).contains("too many operations"));
    assert!(node.log().contains("request stats"), "{}", node.log());
    let saved = scratch.path("snapshot");
    let (code, _, stderr) = output(&["snapshot", "save", &saved, "--endpoint", &url(ports[0])]);
    assert_eq!(code, 0, "{stderr}");
    let (code, said, stderr) = output(&["snapshot", "inspect", &saved]);
    assert!(code == 0 && said.contains("holds 2 keys at revision 3"), "{said}{stderr}");
    node.stop();
    let node = Node::start(&scratch, "solo", &flags, &[]);
    eventually("it is back", || kv(ports[0], &["get", "k"]) == (0, "k = v\n".into()));
    assert!(post(ports[0], "/v3/kv/range", r#"{"key":"bGFyZ2U="}"#).len() > 12 << 20);
    node.stop();
}

/// Claim: all URLs that a member advertises are in the list of members, also behind a start with others, and whoever asks it first finds them.
#[test]
fn every_advertised_url_is_told() {
    let scratch = Scratch::new("etcd-advertise");
    let ports = ports(2);
    let mut flags = flags(&scratch, "solo", ports[0], ports[1], &format!("solo={}", url(ports[1])));
    let told = |wanted: &str| {
        eventually("it listens", || TcpStream::connect(("127.0.0.1", ports[0])).is_ok());
        let said = post(ports[0], "/v3/cluster/member/list", "{}");
        assert!(said.contains(wanted), "{wanted}: {said}");
    };
    for more in ["http://a.example:1", "http://b.example:2"] {
        flags[3] = format!("--advertise-client-urls={},{more}", url(ports[0]));
        let node = Node::start(&scratch, "solo", &flags, &[]);
        told(&format!(r#""clientURLs":["{}","{more}"]"#, url(ports[0])));
        node.stop();
    }
    flags[3] = format!("--advertise-client-urls={}", vec![url(ports[0]); 9].join(","));
    let refused = quorate(&["etcd"]).args(&flags).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
}

/// Claim: clients connect to a socket in the file system as to a port; the file that a killed node left is replaced, one that is served is
/// not, and it goes with its node.
#[test]
fn a_socket_in_the_file_system_is_served() {
    let scratch = Scratch::new("etcd-unix");
    let (ports, file) = (ports(2), scratch.path("client.sock"));
    let mut flags = flags(&scratch, "solo", ports[0], ports[1], &format!("solo={}", url(ports[1])));
    flags[2] = format!("--listen-client-urls=unix://{file}");
    flags[3] = format!("--advertise-client-urls=unix://{file}");
    let version = || {
        let mut stream = UnixStream::connect(&file).ok()?;
        write!(stream, "GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        page.contains("etcdserver").then_some(())
    };
    let node = Node::start(&scratch, "solo", &flags, &[]);
    eventually("it serves", || version().is_some());
    let mut second = flags.clone();
    second[1] = format!("--data-dir={}", scratch.path("second"));
    let refused = quorate(&["etcd"]).args(&second).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(3) && said.contains(&format!("unix://{file}")), "{said}");
    drop(node);
    assert!(std::path::Path::new(&file).exists(), "it was killed");
    let node = Node::start(&scratch, "solo", &flags, &[]);
    eventually("it serves again", || version().is_some());
    // Some clients give the path as the name of the host, others all endpoints that they know.
    for authority in [&file, "#initially=[http://a:2379;http://b:2379]", "127.0.0.1:2379,127.0.0.1:12379"] {
        let answered = call_with_authority(&file, authority);
        assert!(answered.windows(4).any(|text| text == b"solo"), "{authority}: {answered:?}");
    }
    let endpoint = format!("unix://{file}");
    if let Some((ok, said)) = etcdctl(&endpoint, &["put", "k", "v"]) {
        assert!(ok, "{said}");
    }
    let own = ["kv", "--endpoints", &endpoint, "put", "own", "v"];
    let (code, _, said) = output(&own);
    assert_eq!(code, 0, "{said}");
    let (code, told, said) = output(&["status", "--endpoints", &endpoint]);
    assert!(code == 0 && told.contains("solo"), "{code}: {told}{said}");
    node.stop();
    assert!(!std::path::Path::new(&file).exists());
}

/// Claim: members reach each other over sockets in the file system, named as etcd's own tests name theirs or by a path; the list says so; one
/// that a killed member left is replaced; and who joins asks through them.
#[test]
fn members_reach_each_other_over_files() {
    let scratch = Scratch::new("etcd-peers");
    let clients = ports(4);
    let peers = [
        "unix://localhost:12345".to_string(),
        format!("unix://{}", scratch.path("m2")),
        "unix://m3".into(),
        // What etcdctl 3.4 takes: it looks like a host and a port.
        "unix://localhost:12346".into(),
    ];
    let named: Vec<String> = ["a", "b", "c"].iter().zip(&peers).map(|(n, at)| format!("{n}={at}")).collect();
    let cluster = named.join(",");
    let flags = |at: usize, cluster: &str| {
        let mut flags = flags(&scratch, ["a", "b", "c", "d"][at], clients[at], 1, cluster);
        flags[4] = format!("--listen-peer-urls={}", peers[at]);
        flags[5] = format!("--initial-advertise-peer-urls={}", peers[at]);
        flags
    };
    let start = |at: usize| Node::start(&scratch, ["a", "b", "c"][at], &flags(at, &cluster), &[]);
    let mut nodes: Vec<Node> = (0..3).map(start).collect();
    eventually("it takes a write", || kv(clients[1], &["put", "k", "v"]).0 == 0);
    assert!(std::path::Path::new(&scratch.path("localhost:12345")).exists());
    drop(nodes.remove(2));
    nodes.push(start(2));
    eventually("it is back", || kv(clients[2], &["get", "k"]) == (0, "k = v\n".into()));

    let endpoint = url(clients[0]);
    if let Some((ok, said)) =
        etcdctl(&endpoint, &["member", "add", "d", &format!("--peer-urls={}", peers[3])])
    {
        assert!(ok, "{said}");
        let mut joins = flags(3, &format!("{cluster},d={}", peers[3]));
        joins[8] = "--initial-cluster-state=existing".into();
        nodes.push(Node::start(&scratch, "d", &joins, &[]));
        eventually("it has joined", || kv(clients[3], &["get", "k"]) == (0, "k = v\n".into()));
        let listed = etcdctl(&endpoint, &["member", "list"]).unwrap().1;
        assert!(peers.iter().all(|at| listed.contains(&format!(", {at}, "))), "{listed}");
    }
    nodes.into_iter().for_each(Node::stop);
    assert!(!std::path::Path::new(&scratch.path("m2")).exists(), "files go with their nodes");
}

/// What comes back for one call through a socket, which asks for the members and says where it goes in these words.
fn call_with_authority(socket: &str, authority: &str) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let block = wire::call_to(authority, "/etcdserverpb.Cluster/MemberList");
    let request = [
        wire::PREFACE.to_vec(),
        wire::settings(),
        wire::frame(1, 4, 1, &block),
        wire::frame(0, 1, 1, &[0; 5]),
    ];
    stream.write_all(&request.concat()).unwrap();
    let (mut answered, mut space) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = stream.read(&mut space) {
        answered.extend_from_slice(&space[..n]);
        if answered.windows(4).any(|text| text == b"solo") {
            break;
        }
    }
    answered
}

/// Claim: help has examples, and a flag that is not supported ends the start with its name, before anything is made.
#[test]
fn what_is_not_supported_ends_the_start() {
    let scratch = Scratch::new("etcd-no");
    let (code, help, _) = output(&["etcd", "--help"]);
    assert!(code == 0 && help.contains("Examples:") && help.contains("--initial-cluster"), "{help}");
    let (code, version, _) = output(&["etcd", "--version"]);
    assert!(code == 0 && version.starts_with("etcd Version: 3."), "{version}");
    let data = format!("--data-dir={}", scratch.path("data"));
    for flag in
        ["--cert-file=/c", "--discovery-srv=d", "--wal-dir=w", "--listen-client-urls=https://127.0.0.1:1"]
    {
        let (code, _, stderr) = output(&["etcd", &data, flag]);
        assert_eq!(code, 2, "{flag}: {stderr}");
        assert!(stderr.contains(flag.split('=').next().unwrap()) && stderr.contains("hint:"), "{stderr}");
    }
    let (code, _, stderr) = output(&["etcd", &data, "--listen-client-urls=http://127.0.0.1:1"]);
    assert!(code == 2 && stderr.contains("--advertise-client-urls is required"), "{code}: {stderr}");
    assert!(!std::path::Path::new(&scratch.path("data")).exists());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = url(taken.local_addr().unwrap().port());
    let urls = [format!("--listen-client-urls={at}"), format!("--advertise-client-urls={at}")];
    let (code, _, stderr) = output(&["etcd", &data, &urls[0], &urls[1]]);
    assert!(code == 3 && stderr.contains("another address with --listen-client-urls"), "{code}: {stderr}");
    // The directory of an etcd.
    std::fs::create_dir_all(scratch.0.join("data/member/wal")).unwrap();
    let [client, peer] = [url(free_port()), url(free_port())];
    let flags = [
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ];
    let args: Vec<&str> = ["etcd", &data].into_iter().chain(flags.iter().map(String::as_str)).collect();
    let (code, _, stderr) = output(&args);
    assert_eq!(code, 4, "{stderr}");
}
