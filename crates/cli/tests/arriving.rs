//! Clients of a node that was just started: none is let in before it can serve, and none is kept waiting where it cannot.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{PATIENCE, Scratch, follow, free_port, quorate};
use quorate_proto::etcdserverpb as pb;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Cluster {
    scratch: Scratch,
    ports: Vec<u16>,
}

impl Cluster {
    fn etcd(&self, id: usize) -> String {
        format!("127.0.0.1:{}", self.ports[id - 1])
    }

    /// Starts a node; it listens when this returns.
    fn start(&self, id: usize) -> Node {
        let peer = |id: usize| format!("127.0.0.1:{}", self.ports[2 + id]);
        let list = |of: &dyn Fn(usize) -> String| {
            (1..=3).map(|id| format!("{id}={}", of(id))).collect::<Vec<_>>().join(",")
        };
        let (number, data) = (id.to_string(), self.scratch.path(&format!("n{id}")));
        let (etcd, own) = (self.etcd(id), peer(id));
        let (peers, urls) = (list(&peer), list(&|id| format!("http://{}", self.etcd(id))));
        let args = ["serve", "--json", "--node", &number, "--data", &data, "--etcd", &etcd, "--peer", &own];
        // Long ones: a client waits for two of them at most.
        let more = [
            "--peers",
            &peers,
            "--client-urls",
            &urls,
            "--election-min-ms",
            "1000",
            "--election-max-ms",
            "4000",
        ];
        let mut child = quorate(&[&args[..], &more].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = follow(child.stdout.take().unwrap());
        let node = Node(child);
        assert_eq!(lines.recv_timeout(PATIENCE).expect("it serves")["event"], "serving");
        node
    }

    /// A client that wants a leader, as Kubernetes and the keep-alives of etcd's clients do, and knows this node alone.
    fn get(&self, id: usize) -> Result<(), tonic::Status> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.ask(id))
    }

    async fn ask(&self, id: usize) -> Result<(), tonic::Status> {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", self.etcd(id))).unwrap();
        let channel = channel.connect().await.map_err(|e| tonic::Status::unknown(e.to_string()))?;
        let mut request = tonic::Request::new(pb::RangeRequest { key: "k".into(), ..Default::default() });
        request.metadata_mut().insert("hasleader", "true".parse().unwrap());
        pb::kv_client::KvClient::new(channel).range(request).await.map(drop)
    }
}

/// The first line of a page.
fn page(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said.lines().next().unwrap_or_default().to_string()
}

/// The answer to such a client that calls in JSON.
fn call(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = "POST /v3/kv/range HTTP/1.1\r\nhost: x\r\nconnection: close\r\ngrpc-metadata-hasleader: true";
    write!(stream, "{head}\r\ncontent-length: 14\r\n\r\n{{\"key\":\"aw==\"}}").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

/// Claim: a node that was killed and is back lets a client over gRPC or in JSON wait until it has a leader, and answers pages meanwhile; where
/// it remains without one, the client hears that in the end.
#[test]
fn clients_wait_for_a_node_that_is_not_ready() {
    let ports = (0..6).map(|_| free_port()).collect();
    let cluster = Cluster { scratch: Scratch::new("arriving"), ports };
    let nodes: Vec<Node> = (1..=3).map(|id| cluster.start(id)).collect();
    (1..=3).for_each(|id| cluster.get(id).unwrap());
    drop(nodes);
    let first = cluster.start(1);
    let (asked, called, second) = std::thread::scope(|scope| {
        let (asked, called) = (scope.spawn(|| cluster.get(1)), scope.spawn(|| call(&cluster.etcd(1))));
        assert_eq!(page(&cluster.etcd(1), "/livez"), "HTTP/1.1 200 OK");
        let second = cluster.start(2);
        (asked.join().unwrap(), called.join().unwrap(), second)
    });
    asked.unwrap();
    assert!(called.starts_with("HTTP/1.1 200"), "{called}");
    drop(first);
    drop(second);
    let _alone = cluster.start(3);
    let refused = cluster.get(3).unwrap_err();
    assert_eq!((refused.code(), refused.message()), (tonic::Code::Unavailable, "etcdserver: no leader"));
    let refused = call(&cluster.etcd(3));
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("etcdserver: no leader"), "{refused}");
}
