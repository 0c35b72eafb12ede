//! What strangers throw at the ports of a running cluster, on real sockets: bytes of every bad kind, floods, and connections
//! that are opened and left.
//!
//! After each attack every node serves a write and every other node reads it, no process has died, none has grown by more
//! than [`RSS_MORE`], and the logs have not filled.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::wire::{self, Hello};
use crate::common::{Alone, Scratch, Up, eventually, lives, pid, quorate};
use quorate_base::{Rng, ShardId, Term};
use quorate_proto::etcdserverpb as pb;
use quorate_server::ServerConfig;
use quorate_wire::peer::{Frame, LeaseAsk, Packet};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A node may have grown by so many bytes when an attack is over.
const RSS_MORE: u64 = 96 << 20;
/// Lines that one attack may leave in the log of a node.
const LINES_MORE: usize = 12;
const CALL: Duration = Duration::from_secs(10);

struct Node {
    id: u64,
    pid: i64,
    etcd: String,
    peer: String,
    data: String,
    log: String,
    client: pb::kv_client::KvClient<Channel>,
    channel: Channel,
    rss: u64,
    lines: usize,
}

struct Cluster {
    up: Up,
    name: String,
    nodes: Vec<Node>,
    runtime: tokio::runtime::Runtime,
    written: u64,
}

impl Cluster {
    fn start() -> Self {
        let up = Up::start(&["--ephemeral"]);
        let ready = up.ready();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let nodes = ready["nodes"].as_array().unwrap().iter().map(|n| node(n, &runtime)).collect();
        let name = ready["cluster"].as_str().unwrap().to_string();
        let mut cluster = Self { up, name, nodes, runtime, written: 0 };
        cluster.check("nothing");
        for node in &mut cluster.nodes {
            (node.rss, node.lines) = (rss(node.pid), lines(&node.log));
        }
        cluster
    }

    /// The cluster goes on.
    fn check(&mut self, after: &str) {
        for at in 0..self.nodes.len() {
            self.written += 1;
            let value = format!("{after} {}", self.written);
            let write =
                pb::PutRequest { key: "alive".into(), value: value.clone().into(), ..Default::default() };
            let mut client = self.nodes[at].client.clone();
            let done = self.runtime.block_on(persist(async || client.clone().put(write.clone()).await));
            done.unwrap_or_else(|e| panic!("after {after}: node {} does not write: {e}", at + 1));
            for reader in 0..self.nodes.len() {
                client = self.nodes[reader].client.clone();
                let read = pb::RangeRequest { key: "alive".into(), ..Default::default() };
                let reply = self.runtime.block_on(persist(async || client.clone().range(read.clone()).await));
                let reply = reply.unwrap_or_else(|e| panic!("after {after}: node {}: {e}", reader + 1));
                assert_eq!(reply.into_inner().kvs[0].value, value, "after {after}: node {}", reader + 1);
            }
        }
        assert!(self.up.lines.try_recv().is_err(), "after {after}: up has news");
        for node in &mut self.nodes {
            assert!(lives(node.pid), "after {after}: node {} is gone", node.id);
            if node.rss > 0 {
                let grown = rss(node.pid).saturating_sub(node.rss);
                assert!(grown < RSS_MORE, "after {after}: node {} has grown by {} MiB", node.id, grown >> 20);
                let lines = lines(&node.log);
                let more = lines - node.lines;
                assert!(more <= LINES_MORE, "after {after}: {more} lines in {}", node.log);
                node.lines = lines;
            }
        }
    }

    fn log_has(&self, node: usize, text: &str) -> usize {
        let log = std::fs::read_to_string(&self.nodes[node].log).unwrap();
        log.lines().filter(|line| line.contains(text)).count()
    }

    fn stop(self) {
        self.up.signal(Signal::TERM);
        let (status, stderr) = self.up.wait();
        assert!(status.success(), "{status} {stderr}");
    }
}

fn node(n: &Value, runtime: &tokio::runtime::Runtime) -> Node {
    let text = |key: &str| n[key].as_str().unwrap().to_string();
    let endpoint = Endpoint::from_shared(text("etcd")).unwrap().timeout(CALL);
    let channel = runtime.block_on(async { endpoint.connect_lazy() });
    Node {
        id: n["id"].as_u64().unwrap(),
        pid: pid(n),
        etcd: text("etcd").trim_start_matches("http://").to_string(),
        peer: text("peer"),
        data: text("data"),
        log: text("log"),
        client: pb::kv_client::KvClient::new(channel.clone()),
        channel,
        rss: 0,
        lines: 0,
    }
}

/// Calls again while the cluster says that it has just no leader.
async fn persist<T>(call: impl AsyncFn() -> Result<T, Status>) -> Result<T, Status> {
    let end = Instant::now() + CALL;
    loop {
        match call().await {
            Err(status) if status.code() == Code::Unavailable && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            done => return done,
        }
    }
}

fn rss(pid: i64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn lines(log: &str) -> usize {
    std::fs::read_to_string(log).unwrap().lines().count()
}

/// Time on the processor so far.
fn busy(pid: i64) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    stream
}

/// Sends as much as is taken, then reads what is answered within a moment.
fn throw(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    let mut answer = Vec::new();
    let mut buffer = [0; 16 << 10];
    for chunk in bytes.chunks(64 << 10) {
        if stream.write_all(chunk).is_err() {
            break;
        }
        // What is answered meanwhile must not stand in the way of what comes.
        stream.set_nonblocking(true).unwrap();
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            answer.extend_from_slice(&buffer[..n]);
        }
        stream.set_nonblocking(false).unwrap();
    }
    let _ = stream.shutdown(Shutdown::Write);
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..n]);
    }
    answer
}

fn random(rng: &mut Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

/// Bytes for the etcd port that are no call, each with its name.
fn etcd_attacks() -> Vec<(&'static str, Vec<u8>)> {
    let mut rng = Rng::new(11);
    let mut attacks = vec![
        ("half a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half of it".to_vec()),
        ("HTTP/1 of no kind", b"GET /%%% HTTP/9.9\r\n\0\xff: \xfe\r\n\r\n".to_vec()),
        ("a negative length", b"GET /health HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec()),
        ("two lengths", b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_vec()),
        (
            "an endless chunk",
            b"POST /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx".to_vec(),
        ),
        ("a header of 2 MiB", [&b"GET /health HTTP/1.1\r\nX: "[..], &vec![b'a'; 2 << 20]].concat()),
        ("headers without number", [&b"GET /health HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(100_000)].concat()),
        ("upgrades", b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n".repeat(100)),
    ];
    let mut h2 = |name, frames: Vec<u8>| attacks.push((name, [wire::PREFACE, &frames].concat()));
    let garbage = (0..300).flat_map(|_| {
        let (kind, flags, stream) = (rng.below(12) as u8, rng.next_u64() as u8, rng.below(9) as u32);
        let len = rng.below(60) as usize;
        let payload = random(&mut rng, len);
        wire::frame(kind, flags, stream, &payload)
    });
    h2("frames of garbage", [wire::settings(), garbage.collect()].concat());
    for kind in 0..11 {
        let claimed = [&[0xff, 0xff, 0xff, kind, 0, 0, 0, 0, 1][..], &[0; 1000]].concat();
        h2("a frame that claims 16 MiB", [wire::settings(), claimed].concat());
    }
    h2("a flood of settings", wire::settings().repeat(50_000));
    h2("a flood of pings", [wire::settings(), wire::frame(6, 0, 0, &[7; 8]).repeat(50_000)].concat());
    let reset = |n: u32| {
        let open = wire::frame(1, 4, n, &wire::call("/etcdserverpb.KV/Range"));
        [open, wire::frame(3, 0, n, &8_u32.to_be_bytes())].concat()
    };
    h2("rapid resets", [wire::settings(), (0..20_000).flat_map(|n| reset(2 * n + 1)).collect()].concat());
    let endless = [wire::frame(1, 0, 1, &wire::call("/a")), wire::frame(9, 0, 1, &[0; 16_000]).repeat(600)];
    h2("headers without end", [wire::settings(), endless.concat()].concat());
    let empty = [wire::frame(1, 0, 1, &[]), wire::frame(9, 0, 1, &[]).repeat(50_000)].concat();
    h2("empty continuations", [wire::settings(), empty].concat());
    h2("data on no stream", [wire::settings(), wire::frame(0, 0, 0, b"data")].concat());
    h2("a window that runs over", wire::frame(8, 0, 0, &0x7fff_ffff_u32.to_be_bytes()).repeat(3));
    h2("padding longer than its frame", [wire::settings(), wire::frame(1, 8, 1, &[200, 1, 2])].concat());
    h2(
        "a stream that depends on itself",
        [wire::settings(), wire::frame(2, 0, 1, &[0, 0, 0, 1, 9])].concat(),
    );
    h2("a table of 4 GiB", [wire::settings(), wire::frame(1, 4, 1, b"\x3f\xff\xff\xff\xff\x7f")].concat());
    let names = (0..3000).flat_map(|_| b"\x00\x01a\x01b".to_vec()).collect::<Vec<u8>>();
    h2("headers of one letter", [wire::settings(), wire::frame(1, 4, 1, &names)].concat());
    attacks
}

/// Claim: whatever comes to the etcd port, the cluster serves.
#[test]
fn the_etcd_port_takes_anything() {
    let mut cluster = Cluster::start();
    let target = cluster.nodes[0].etcd.clone();
    let mut rng = Rng::new(12);
    for _ in 0..40 {
        let len = rng.between(1, 5000) as usize;
        throw(&target, &random(&mut rng, len));
    }
    cluster.check("random bytes, seed 12");
    for (name, bytes) in etcd_attacks() {
        throw(&target, &bytes);
        cluster.check(name);
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let left: Vec<TcpStream> = (0..files.saturating_sub(300).min(2_000) as usize)
        .map(|n: usize| {
            let mut stream = connect(&target);
            let said = [&b""[..], b"G", &wire::PREFACE[..20], wire::PREFACE][n % 4];
            stream.write_all(said).unwrap();
            stream
        })
        .collect();
    cluster.check("connections that were left");
    unfinished(&target);
    cluster.check("messages that do not end");
    calls(&cluster);
    cluster.check("calls that make no sense");
    drop(left);
    cluster.stop();
}

/// Messages of which all but the end comes, on as many streams as one connection takes.
fn unfinished(target: &str) {
    let mut bytes = [wire::PREFACE, &wire::settings()].concat();
    for n in 0..200 {
        let stream = 2 * n + 1;
        bytes.extend(wire::frame(1, 4, stream, &wire::call("/etcdserverpb.KV/Put")));
        bytes.extend(wire::frame(0, 0, stream, &[&[0, 0, 0x10, 0, 0][..], &[0; 16_000]].concat()));
        bytes.extend(wire::frame(0, 0, stream, &[0; 16_000]));
    }
    throw(target, &bytes);
}

/// Claim: a call that makes no sense gets etcd's answer, or one that says what is wrong.
fn calls(cluster: &Cluster) {
    let node = &cluster.nodes[0];
    let raw = |path: &str, content: &str, body: &str| {
        let asked = wire::ask(node.channel.clone(), &node.etcd, path, content, body);
        cluster.runtime.block_on(asked)
    };
    let (grpc, put) = ("application/grpc", "/etcdserverpb.KV/Put");
    for (what, path, content, body, code, text) in [
        (
            "a message of 2 GiB",
            put,
            grpc,
            "\0\x7f\x7f\x7f\x7f12345",
            Code::ResourceExhausted,
            "larger than max",
        ),
        ("a compressed one", put, grpc, "\x01\0\0\0\x0212", Code::Internal, "compressed-flag"),
        ("a flag that is none", put, grpc, "\x07\0\0\0\x0212", Code::Internal, "flag"),
        ("a truncated message", put, grpc, "\0\0\0\0\x02\x0a\x7f", Code::Internal, "decode"),
        ("no message", put, grpc, "", Code::Internal, "issing"),
        ("an unknown method", "/etcdserverpb.KV/Steal", grpc, "\0\0\0\0\0", Code::Unimplemented, ""),
        ("an unknown service", "/etcdserverpb.Thief/Steal", grpc, "\0\0\0\0\0", Code::Unimplemented, ""),
    ] {
        let (status, answer) = raw(path, content, body);
        assert_eq!(status, 200, "{what}");
        let answer = answer.unwrap_or_else(|| panic!("{what}: no status"));
        assert_eq!(answer.code(), code, "{what}: {answer}");
        assert!(answer.message().contains(text), "{what}: {answer}");
    }
    assert_eq!(raw(put, "text/plain", "hello").0, 404);
    assert_eq!(raw("/v3/kv/put", "application/json", "{}").0, 400);
    cluster.runtime.block_on(too_much(node.channel.clone()));
    cluster.runtime.block_on(extremes(node.channel.clone()));
    cluster.runtime.block_on(abandoned(&node.channel));
}

async fn too_much(channel: Channel) {
    let mut kv = pb::kv_client::KvClient::new(channel);
    let mut put = async |key: usize, value: usize| {
        let (key, value) = (vec![b'k'; key].into(), vec![b'v'; value].into());
        kv.put(pb::PutRequest { key, value, ..Default::default() }).await.unwrap_err()
    };
    let refused = put(1, 1_600_000).await;
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "etcdserver: request is too large")
    );
    let refused = put(1, 3 << 20).await;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().starts_with("grpc: received message larger than max"), "{refused}");
    let refused = put(40_000, 1).await;
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "quorate: the key is too long: it may have 32000 bytes at most");
    let refused = put(0, 1).await;
    assert_eq!(refused.message(), "etcdserver: key is not provided");
    let op = |request| pb::RequestOp { request: Some(request) };
    let one = |n: usize| {
        op(pb::request_op::Request::RequestPut(pb::PutRequest {
            key: format!("k{n}").into(),
            ..Default::default()
        }))
    };
    let many = pb::TxnRequest { success: (0..129).map(one).collect(), ..Default::default() };
    let refused = kv.txn(many).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: too many operations in txn request");
    for (depth, text) in [(40, "nest too deeply"), (120, "recursion limit")] {
        let deep =
            (0..depth).fold(pb::TxnRequest { success: vec![one(0)], ..Default::default() }, |inner, _| {
                pb::TxnRequest {
                    success: vec![op(pb::request_op::Request::RequestTxn(inner))],
                    ..Default::default()
                }
            });
        let refused = kv.txn(deep).await.unwrap_err();
        assert!(refused.message().contains(text), "{depth} deep: {refused}");
    }
}

/// Numbers at the ends of their range, in every field that has one: an answer, whichever.
async fn extremes(channel: Channel) {
    let mut kv = pb::kv_client::KvClient::new(channel.clone());
    let mut lease = pb::lease_client::LeaseClient::new(channel.clone());
    let (key, range_end) = (bytes::Bytes::from_static(b"a"), bytes::Bytes::from_static(b"\0"));
    for n in [i64::MIN, i64::MIN + 1, -1, i64::MAX - 1, i64::MAX] {
        for field in 0..6 {
            let mut r =
                pb::RangeRequest { key: key.clone(), range_end: range_end.clone(), ..Default::default() };
            *[
                &mut r.limit,
                &mut r.revision,
                &mut r.min_mod_revision,
                &mut r.max_mod_revision,
                &mut r.min_create_revision,
                &mut r.max_create_revision,
            ][field] = n;
            let _ = kv.range(r).await;
        }
        let _ = kv.put(pb::PutRequest { key: key.clone(), lease: n, ..Default::default() }).await;
        let _ = kv.compact(pb::CompactionRequest { revision: n, physical: true }).await;
        let _ = lease.lease_grant(pb::LeaseGrantRequest { ttl: n, id: 0 }).await;
        let _ = lease.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: n }).await;
        let _ = lease.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: n, keys: true }).await;
        let _ = lease.lease_revoke(pb::LeaseRevokeRequest { id: n }).await;
        for (start, id) in [(n, 0), (0, n), (n, n)] {
            let create = pb::WatchCreateRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                start_revision: start,
                watch_id: id,
                progress_notify: true,
                ..Default::default()
            };
            let request = pb::WatchRequest {
                request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
            };
            let mut watch = pb::watch_client::WatchClient::new(channel.clone());
            let mut said = watch.watch(tokio_stream::iter([request])).await.unwrap().into_inner();
            let _ = tokio::time::timeout(Duration::from_millis(200), said.message()).await;
        }
    }
    let sorts = pb::RangeRequest { key, range_end, sort_order: 99, sort_target: -7, ..Default::default() };
    assert_eq!(kv.range(sorts).await.unwrap_err().code(), Code::InvalidArgument);
}

/// A thousand streams on one connection, and ten times as many calls of which the client gives up most somewhere on the way: the streams live on.
async fn abandoned(channel: &Channel) {
    let create = pb::WatchCreateRequest { key: "abandoned".into(), ..Default::default() };
    let create =
        pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let mut streams = Vec::new();
    for _ in 0..1_000 {
        let asked =
            tokio_stream::StreamExt::chain(tokio_stream::once(create.clone()), tokio_stream::pending());
        let mut watch = pb::watch_client::WatchClient::new(channel.clone());
        let mut said = watch.watch(asked).await.unwrap().into_inner();
        assert!(said.message().await.unwrap().unwrap().created);
        streams.push(said);
    }
    let mut calls = tokio::task::JoinSet::new();
    for writer in 0..50 {
        let mut kv = pb::kv_client::KvClient::new(channel.clone());
        calls.spawn(async move {
            let mut given_up = 0;
            for n in 0..200_u64 {
                let range = pb::RangeRequest { key: "abandoned".into(), ..Default::default() };
                let most = Duration::from_micros(writer * n % 2_000);
                given_up += u32::from(tokio::time::timeout(most, kv.range(range)).await.is_err());
            }
            given_up
        });
    }
    let given_up: u32 = calls.join_all().await.iter().sum();
    assert!(given_up > 1_000, "{given_up} calls were given up");
    let mut kv = pb::kv_client::KvClient::new(channel.clone());
    let put = pb::PutRequest { key: "abandoned".into(), ..Default::default() };
    kv.put(put).await.unwrap();
    for said in &mut streams {
        let message = tokio::time::timeout(CALL, said.message()).await.expect("a stream is silent");
        assert_eq!(message.unwrap().unwrap().events.len(), 1);
    }
}

/// Greetings for the peer port of node 2 that it must refuse, with what its log says about each.
fn greetings(cluster: u64, life: u64) -> Vec<(&'static str, Vec<u8>)> {
    let good = Hello { version: wire::PEER_VERSION, cluster, from: 3, to: 2, life, member_at: 0, run: 1 };
    let mut damaged = good.encode();
    damaged[20] ^= 1;
    vec![
        (
            "does not speak Quorate's peer protocol",
            b"GET / HTTP/1.1\r\nHost: a-peer-port.example\r\n\r\n".to_vec(),
        ),
        ("its greeting is damaged", damaged),
        ("speaks version 17 of the peer protocol, this one 16", Hello { version: 17, ..good }.encode()),
        ("is of cluster 00000000000000ff", Hello { cluster: 255, ..good }.encode()),
        ("looks for node 1, this is node 2", Hello { to: 1, ..good }.encode()),
        ("node 77 is not expected here", Hello { from: 77, ..good }.encode()),
        ("node 3 comes with another data directory", Hello { life: !life, ..good }.encode()),
        ("another process is node 3, too", good.encode()),
    ]
}

/// What may follow a greeting that is right, as packets.
fn packets() -> Vec<(&'static str, Vec<u8>)> {
    let mut rng = Rng::new(13);
    let of = |frame: Frame| {
        let mut packet = Packet::default();
        packet.push(&frame);
        wire::packet(&packet.finish())
    };
    let (term, request) = (Term(1), 5);
    let forward = |shard, len: usize| {
        of(Frame::Forward { shard: ShardId(shard), term, request, data: vec![1; len].into(), explain: false })
    };
    let lease = |ask| of(Frame::Lease { shard: ShardId(1), request, ask });
    let huge = |len: u32| [&len.to_le_bytes()[..], &[0; 60]].concat();
    let noise = (0..200).flat_map(|_| {
        let len = rng.below(60) as usize;
        wire::packet(&random(&mut rng, len))
    });
    vec![
        ("packets of noise, seed 13", noise.collect()),
        ("a packet of 4 GiB", huge(u32::MAX)),
        ("a packet of 15 MiB that does not come", huge(15 << 20)),
        ("a packet whose checksum fails", huge(60)),
        ("a frame of no kind", wire::packet(&[99, 1, 2])),
        ("half a frame", wire::packet(&[1, 1, 3])),
        ("a frame for no group", forward(7, 10)),
        ("a command of 3 MiB", forward(1, 3 << 20)),
        ("a command that is none", forward(1, 100)),
        (
            "a term beyond all terms",
            wire::packet(&[1, 1, 6, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0]),
        ),
        (
            "leases of no one",
            [lease(LeaseAsk::KeepAlive(i64::MIN)), lease(LeaseAsk::TimeToLive(-1))].concat(),
        ),
        ("empty packets", wire::packet(&[]).repeat(10_000)),
    ]
}

/// What a data directory greets with.
fn life(data: &str) -> u64 {
    let identity = std::fs::read_to_string(format!("{data}/identity")).unwrap();
    let life = identity.lines().find_map(|line| line.strip_prefix("life = ")).unwrap();
    u64::from_str_radix(life, 16).unwrap()
}

/// Bytes of a greeting.
const GREETING: usize = 91;

/// What tells the process of a node from others of the same node: its greeting has it.
fn run(node: &str, hello: Hello) -> u64 {
    let mut run = None;
    eventually("it greets", || {
        let answer = throw(node, &hello.encode());
        run = answer.get(54..62).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
        run.is_some()
    });
    run.unwrap()
}

/// Claim: whatever comes to the peer port, the cluster serves, and the log has each mistake once, with what to do.
#[test]
fn the_peer_port_takes_anything() {
    let mut cluster = Cluster::start();
    let target = cluster.nodes[1].peer.clone();
    let id = ServerConfig::cluster_id(&cluster.name);
    let life = life(&cluster.nodes[2].data);
    let mut rng = Rng::new(14);
    for _ in 0..20 {
        let len = rng.between(40, 5000) as usize;
        throw(&target, &random(&mut rng, len));
    }
    cluster.check("random bytes, seed 14");
    for (said, bytes) in greetings(id, life) {
        for _ in 0..3 {
            let answer = throw(&target, &[&bytes[..], &[0; 100]].concat());
            // Who greets as a node does hears who it is that refuses, and no more.
            let greeted = answer.starts_with(b"QRTpeer\0") && answer.len() == GREETING;
            assert!(answer.is_empty() || greeted, "{said}: it was answered {answer:?}");
        }
        cluster.check(said);
        assert_eq!(cluster.log_has(1, said), 1, "{said}");
    }
    let good = Hello {
        version: wire::PEER_VERSION,
        cluster: id,
        from: 3,
        to: 2,
        life,
        member_at: 0,
        run: run(
            &cluster.nodes[2].peer,
            Hello {
                version: wire::PEER_VERSION,
                cluster: id,
                from: 2,
                to: 3,
                life: self::life(&cluster.nodes[1].data),
                member_at: 0,
                run: 1,
            },
        ),
    };
    throw(&target, &Hello { from: 2, ..good }.encode());
    cluster.check("its own id");
    let good = good.encode();
    for (name, bytes) in packets() {
        eventually(&format!("{name}: it is greeted"), || {
            throw(&target, &[&good[..], &bytes].concat()).starts_with(b"QRTpeer\0")
        });
        cluster.check(name);
    }
    for _ in 0..50 {
        let mut stream = connect(&target);
        stream.write_all(&good).unwrap();
    }
    cluster.check("a greeting 50 times over");
    let crowd: Vec<TcpStream> = (0..200).map(|_| connect(&target)).collect();
    cluster.check("a silent crowd");
    for said in
        ["others have connected and not greeted yet", "closed and made anew", "malformed or unknown here"]
    {
        assert_eq!(cluster.log_has(1, said), 1, "{said}");
    }
    eventually("the mistakes are counted", || {
        let ask = b"GET /metrics HTTP/1.1\r\nConnection: close\r\nHost: a\r\n\r\n";
        let page = throw(&cluster.nodes[1].etcd, ask);
        let page = String::from_utf8_lossy(&page);
        let mistakes = page.lines().find_map(|line| line.strip_prefix("quorate_peer_mistakes_total "));
        mistakes.is_some_and(|n| n.parse::<u64>().unwrap() > 150)
    });
    drop(crowd);
    cluster.stop();
}

/// Claim: clients beyond the places that there are files for are turned away, and who does not begin loses its place.
#[test]
fn clients_have_places_and_data_come_first() {
    let scratch = Scratch::new("places");
    let node = Alone::start(&scratch.path("n1"), "ulimit -n 512;").unwrap();
    assert_eq!(node.put("a", "b").0, 0);
    let crowd: Vec<TcpStream> = (0..200).map(|_| connect(&node.etcd)).collect();
    let closed = crowd.iter().filter(|stream| matches!((&**stream).read(&mut [0]), Ok(0))).count();
    assert!((130..200).contains(&closed), "{closed} of 200 were turned away from 64 places");
    assert_eq!(node.log_has("a client was turned away"), 1);
    // The crowd says nothing, so its places come free while it is still there.
    eventually("a client is served", || node.put("a", "b").0 == 0);
    drop(crowd);
    let refused = Command::new("sh")
        .args(["-c", "ulimit -n 100; exec \"$0\" \"$@\""])
        .arg(quorate(&[]).get_program())
        .args(["serve", "--data", "/nowhere"])
        .output()
        .unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("a node needs 512") && said.contains("ulimit -n"), "{said}");
}

/// Claim: where the system has no descriptor left, accepting waits; it does not spin, and goes on when there is one again.
#[test]
fn a_node_without_descriptors_waits() {
    let scratch = Scratch::new("descriptors");
    let node = Alone::start(&scratch.path("n1"), "").unwrap();
    assert_eq!(node.put("a", "b").0, 0);
    let open = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count() as u64;
    let (pid, nofile) = (Pid::from_raw(node.pid() as i32), Resource::Nofile);
    let few = Rlimit { current: Some(open), maximum: Some(4096) };
    prlimit(pid, nofile, few).unwrap();
    let crowd: Vec<TcpStream> = (0..20).map(|_| connect(&node.etcd)).collect();
    let began = busy(node.pid());
    std::thread::sleep(Duration::from_secs(1));
    let spent = busy(node.pid()).saturating_sub(began);
    assert!(spent < Duration::from_millis(300), "{spent:?} of a second on the processor");
    assert!(lives(node.pid()));
    assert_eq!(node.log_has("accepting a client failed"), 1);
    prlimit(pid, nofile, Rlimit { current: Some(4096), maximum: Some(4096) }).unwrap();
    eventually("clients are served again", || node.put("a", "b").0 == 0);
    drop(crowd);
}
