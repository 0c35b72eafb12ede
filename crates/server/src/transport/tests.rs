//! Packets and greetings as bytes; then connections on real sockets whose other end is silent, frozen, or behind a proxy that
//! swallows bytes.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use super::hello::{HELLO_BYTES, MAGIC, MORE_BYTES};
use super::*;
use quorate_base::Index;
use std::path::PathBuf;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

#[test]
fn packets_survive_any_cut_and_nothing_else_passes() {
    let body = b"frames".as_slice();
    let mut packet = (body.len() as u32).to_le_bytes().to_vec();
    packet.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    packet.extend_from_slice(body);
    for cut in 0..packet.len() {
        let mut buffer = BytesMut::from(&packet[..cut]);
        assert_eq!(take_packet(&mut buffer), Ok(None), "cut at {cut}");
        buffer.extend_from_slice(&packet[cut..]);
        assert_eq!(take_packet(&mut buffer), Ok(Some((Kind::Frames, Bytes::from_static(b"frames")))));
    }
    packet[9] ^= 1;
    assert!(take_packet(&mut BytesMut::from(&packet[..])).is_err());
    assert!(take_packet(&mut BytesMut::from(&[0xFF; 16][..])).is_err(), "a huge length is refused");
}

#[test]
fn a_claimed_length_makes_no_room() {
    let mut buffer = BytesMut::new();
    buffer.extend_from_slice(&(PACKET_MAX as u32).to_le_bytes());
    buffer.extend_from_slice(&[0; 12]);
    assert_eq!(take_packet(&mut buffer), Ok(None));
    assert!(buffer.capacity() <= 2 * READ_BYTES, "{} bytes for 16", buffer.capacity());
    buffer.extend_from_slice(&vec![0; READ_BYTES]);
    assert_eq!(take_packet(&mut buffer), Ok(None));
    assert!(buffer.capacity() <= 4 * READ_BYTES, "{}", buffer.capacity());
}

/// Seed 1: any bytes are a packet, not yet one, or an error; and none makes more room than a few times what came.
#[test]
fn no_bytes_on_a_greeted_connection_are_a_panic() {
    let mut rng = Rng::new(1);
    for round in 0..2_000 {
        let mut buffer = BytesMut::new();
        for _ in 0..rng.between(1, 6) {
            let body: Vec<u8> = (0..rng.below(60)).map(|_| rng.next_u64() as u8).collect();
            let huge = [u32::MAX, i32::MAX as u32, PACKET_MAX as u32, PACKET_MAX as u32 + 1, 1 << 24];
            let len = if rng.chance(1, 4) { *rng.pick(&huge) } else { body.len() as u32 };
            let crc = if rng.chance(1, 4) { rng.next_u64() as u32 } else { crc32c::crc32c(&body) };
            buffer.extend_from_slice(&len.to_le_bytes());
            buffer.extend_from_slice(&crc.to_le_bytes());
            buffer.extend_from_slice(&body);
        }
        while let Ok(Some(_)) = take_packet(&mut buffer) {}
        assert!(buffer.capacity() <= 2 * READ_BYTES, "seed 1, round {round}: {}", buffer.capacity());
    }
}

/// Both parts of a greeting.
fn decode(bytes: &[u8; HELLO_BYTES + MORE_BYTES]) -> Result<Hello, Mistake> {
    let (first, more) = bytes.split_first_chunk().unwrap();
    let mut hello = Hello::decode(first)?;
    hello.decode_more(first, more.first_chunk().unwrap())?;
    Ok(hello)
}

#[test]
fn a_hello_must_be_whole() {
    let hello = Hello {
        version: VERSION,
        cluster: 7,
        from: 1,
        to: 2,
        life: 3,
        member_at: 4,
        run: 5,
        refused: Some(Refused::Forgetful),
        taken_back: false,
        began: Some(Began { index: 6, revision: 7, digest: 8 }),
    };
    let bytes = hello.encode();
    assert_eq!(decode(&bytes), Ok(hello));
    for i in 0..bytes.len() {
        let mut bad = bytes;
        bad[i] ^= 0x10;
        assert!(decode(&bad).is_err(), "byte {i}");
    }
    let mut rng = Rng::new(2);
    for _ in 0..10_000 {
        let mut bad = [0; HELLO_BYTES + MORE_BYTES];
        bad.fill_with(|| rng.next_u64() as u8);
        bad[..8].copy_from_slice(&MAGIC);
        assert!(decode(&bad).is_err(), "noise, seed 2");
        let crc = crc32c::crc32c(&bad[..42]);
        bad[42..46].copy_from_slice(&crc.to_le_bytes());
        bad[86] = bad[86] & 1 | 32;
        let crc = crc32c::crc32c(&bad[..87]);
        bad[87..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode(&bad).map(Hello::encode), Ok(bad), "any numbers, seed 2");
    }
}

/// Short, so that a test is; none of them depends on how long it is.
const PATIENCE: Patience = Patience {
    dial: Duration::from_millis(200),
    silence: Duration::from_millis(400),
    step: Duration::from_millis(100),
};
const CLUSTER: u64 = 7;

struct Node {
    transport: Arc<Transport>,
    inbox: Arc<Inbox>,
    /// What was taken from the inbox and not asked for yet.
    seen: Vec<String>,
    data: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

impl Node {
    /// Node `me` on `listener`, whose only peer is at `address`.
    fn start(me: u64, listener: TcpListener, peer: u64, address: SocketAddr) -> Self {
        Self::start_with(None, me, listener, peer, address)
    }

    /// The same, with what its directory notes that it began with.
    fn start_with(
        began: Option<Began>,
        me: u64,
        listener: TcpListener,
        peer: u64,
        address: SocketAddr,
    ) -> Self {
        let inbox = Arc::new(Inbox::default());
        let roster = roster(&[(me, String::new()), (peer, address.to_string())], 0);
        let port = listener.local_addr().unwrap().port();
        let data = std::env::temp_dir().join(format!("quorate-links-{}-{port}", std::process::id()));
        let life = (Life { number: me, taken_back: false }, Met::beside(&data), began);
        let driver = (inbox.clone(), Clock::start());
        let transport =
            Transport::new(CLUSTER, NodeId(me), life, roster, PATIENCE, driver, &mut Rng::new(port.into()));
        transport.start(listener);
        Self { transport, inbox, seen: Vec::new(), data }
    }

    /// Waits until all of `wanted` have happened, in this order and whatever else happens between.
    async fn expect(&mut self, wanted: &[&str]) {
        for &event in wanted {
            eventually(event, async || {
                let mut events = Vec::new();
                self.inbox.take(&mut events);
                self.seen.extend(events.iter().map(name));
                let at = self.seen.iter().position(|e| e == event);
                at.map(|at| self.seen.drain(..=at).count())
            })
            .await;
        }
    }
}

/// Members at these addresses, of whom the configuration at `at` is known to be committed.
fn roster(members: &[(u64, String)], at: u64) -> Roster {
    let peers = members.iter().map(|(id, address)| (NodeId(*id), vec![address.clone()])).collect();
    let used = if at > 0 { members.iter().map(|&(id, _)| id).max().unwrap_or(0) } else { 0 };
    let members = members.iter().map(|&(id, _)| NodeId(id)).collect();
    Roster { peers, members, used: NodeId(used), at: Index(at), member_at: Index(at), sure: true }
}

fn name(event: &Event) -> String {
    match event {
        Event::PeerUp(_) => "up".into(),
        Event::PeerDown(_) => "down".into(),
        Event::Packet { body, .. } => String::from_utf8_lossy(body).into(),
        _ => "?".into(),
    }
}

/// Tries until there is something; a long while without it is a failure.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(std::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Takes the dialling node 1's next connection as node 2 would.
async fn greet(listener: &TcpListener) -> TcpStream {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        if read_hello(&mut stream).await.is_ok() {
            let (member_at, refused) = (0, None);
            let hello = Hello {
                version: VERSION,
                cluster: CLUSTER,
                from: 2,
                to: 1,
                life: 3,
                member_at,
                run: 6,
                refused,
                taken_back: false,
                began: None,
            };
            stream.write_all(&hello.encode()).await.unwrap();
            return stream;
        }
    }
}

/// Claim: a host that swallows the first packet of a connection is given up, long before the system gives it up.
#[tokio::test]
async fn a_host_that_swallows_dials_is_given_up() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let name = address.to_string();
    // A full queue answers nothing.
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        queue.push(stream);
    }
    let dialled = connect(&name, PATIENCE.dial);
    let error = tokio::time::timeout(Duration::from_secs(30), dialled).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

/// Claim: a peer that takes connections and does not greet holds up no later attempt.
#[tokio::test]
async fn one_that_does_not_greet_is_tried_again() {
    let (there, address) = listen().await;
    let mut node = Node::start(1, listen().await.0, 2, address);
    let (silent, _) = there.accept().await.unwrap();
    let _stream = greet(&there).await;
    node.expect(&["up"]).await;
    drop(silent);
}

/// Claim: a peer whose process is frozen, while its kernel still acknowledges, is left; meanwhile what waits for it is bounded,
/// and when it thaws, a new connection is made.
#[tokio::test]
async fn a_frozen_peer_is_left_and_costs_no_memory() {
    let (there, address) = listen().await;
    let mut node = Node::start(1, listen().await.0, 2, address);
    let frozen = greet(&there).await;
    node.expect(&["up"]).await;
    let link = lock(&node.transport.links)[&NodeId(2)].clone();
    let body = vec![0; 4 << 20];
    for _ in 0..40 {
        node.transport.send(NodeId(2), &body);
    }
    let waits = lock(&link.backlog).len();
    assert!((1..=BACKLOG_MAX).contains(&waits), "{waits} bytes wait");
    node.expect(&["down"]).await;
    assert!(!node.transport.any());
    let _thawed = greet(&there).await;
    node.expect(&["up"]).await;
    drop(frozen);
}

/// Claim: a connection on which there is nothing to say stays, as each side hears that the other is there.
#[tokio::test]
async fn an_idle_connection_stays() {
    let (there, address) = listen().await;
    let mut node = Node::start(1, listen().await.0, 2, address);
    let mut stream = greet(&there).await;
    node.expect(&["up"]).await;
    let mut first = true;
    for _ in 0..20 {
        let mut packet = [1; HEADER_BYTES];
        stream.read_exact(&mut packet).await.unwrap();
        let (kind, length) = Kind::read(u32::from_le_bytes([packet[0], packet[1], packet[2], packet[3]]));
        let mut word = vec![0; length];
        stream.read_exact(&mut word).await.unwrap();
        // One is on its way and does not come back: then somebody is there, no more.
        assert_eq!((kind, length), if first { (Kind::Word, 8) } else { (Kind::Frames, 0) });
        first = false;
        stream.write_all(&[0; HEADER_BYTES]).await.unwrap();
    }
    let mut events = Vec::new();
    node.inbox.take(&mut events);
    assert!(events.is_empty(), "{:?}", events.iter().map(name).collect::<Vec<_>>());
}

/// Claim: each of two nodes knows how long a word takes to the other and back, how much went over, and how often the connection was lost.
#[tokio::test]
async fn words_come_back() {
    let (there, address) = listen().await;
    let (here, back) = listen().await;
    let (mut first, mut second) = (Node::start(1, here, 2, address), Node::start(2, there, 1, back));
    first.expect(&["up"]).await;
    second.expect(&["up"]).await;
    for (node, peer) in [(&first, 2), (&second, 1)] {
        let traffic = node.transport.traffic_of(NodeId(peer));
        eventually("words come back", async || {
            let mut page = String::new();
            traffic.round_trips.write(&mut page, "h", "");
            (!page.contains("h_count 0\n")).then_some(())
        })
        .await;
        assert!(traffic.sent.load(Ordering::Relaxed) >= 8 && traffic.received.load(Ordering::Relaxed) >= 8);
        assert_eq!(traffic.lost.load(Ordering::Relaxed), 0);
    }
    let link = lock(&first.transport.links)[&NodeId(2)].clone();
    link.came_back(b"else", Clock::start());
    link.closed.notify_one();
    first.expect(&["down"]).await;
    assert_eq!(first.transport.traffic()[0].1.lost.load(Ordering::Relaxed), 1);
}

/// Claim: a network that swallows all bytes of a connection, in one direction or both, and then lets new ones through, costs
/// the connection and no more: both nodes leave it, and a new one carries what is said then.
#[tokio::test]
async fn a_connection_into_the_void_is_replaced() {
    for (there, back) in [(true, true), (true, false), (false, true)] {
        let (proxy, front) = listen().await;
        let (listener, behind) = listen().await;
        let mut second = Node::start(2, listener, 1, front);
        let mut first = Node::start(1, listen().await.0, 2, front);
        let swallow = proxy_one(&proxy, behind).await;
        first.expect(&["up"]).await;
        second.expect(&["up"]).await;
        first.transport.send(NodeId(2), b"before");
        second.expect(&["before"]).await;
        swallow.0.store(there, Ordering::Relaxed);
        swallow.1.store(back, Ordering::Relaxed);
        first.transport.send(NodeId(2), b"lost, maybe");
        let _new = proxy_one(&proxy, behind).await;
        first.expect(&["down", "up"]).await;
        second.expect(&["up"]).await;
        first.transport.send(NodeId(2), b"after");
        second.expect(&["after"]).await;
        second.transport.send(NodeId(1), b"and back");
        first.expect(&["and back"]).await;
    }
}

/// Claim: what waits in the sockets of a node that stood still is read before its timers act.
#[tokio::test]
async fn what_waits_in_the_sockets_is_read_first() {
    let (there, address) = listen().await;
    let mut node = Node::start(1, listen().await.0, 2, address);
    let stream = greet(&there).await;
    node.expect(&["up"]).await;
    for n in 0..20 {
        let (body, mut packet) = (b"heartbeat", Vec::new());
        packet.extend_from_slice(&(body.len() as u32).to_le_bytes());
        packet.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
        packet.extend_from_slice(body);
        assert_eq!(stream.try_write(&packet).unwrap(), packet.len());
        crate::run::read_what_waits().await;
        let mut events = Vec::new();
        node.inbox.take(&mut events);
        assert_eq!(events.iter().map(name).collect::<Vec<_>>(), ["heartbeat"], "round {n}");
    }
}

/// Claim: a member that is added is dialled, and takes a connection from one that it does not know yet; one that is removed
/// is left, and told so when it comes back.
#[tokio::test]
async fn members_come_and_go() {
    let ((one, at_one), (four, at_four)) = (listen().await, listen().await);
    let (one_is, four_is) = ((1, at_one.to_string()), (4, at_four.to_string()));
    // Node 4 lags behind: it does not know that node 1 is a member.
    let mut lagging = Node::start(4, four, 4, at_four);
    lagging.transport.follow(&roster(std::slice::from_ref(&four_is), 0));
    let mut node = Node::start(1, one, 1, at_one);
    node.transport.follow(&roster(&[one_is.clone(), four_is.clone()], 7));
    node.expect(&["up"]).await;
    lagging.expect(&["up"]).await;
    let with = roster(&[one_is.clone(), four_is], 7);
    lagging.transport.follow(&with);
    let without = Roster { used: NodeId(4), ..roster(&[one_is], 8) };
    node.transport.follow(&without);
    node.expect(&["down"]).await;
    lagging.expect(&["down"]).await;
    let asking = |led| Asking { led, last: 1 };
    let told = eventually("it is told", async || lagging.transport.excluded(asking(false))).await;
    assert_eq!(told, (NodeId(1), Exclusion::Removed));
    assert_eq!(node.transport.excluded(asking(false)), None);
    assert_eq!(lagging.transport.excluded(asking(true)), None, "one peer's word, against that of a leader");
}

/// Claim: who is refused hears why from the one that refuses: its own log is where its operator looks.
#[tokio::test]
async fn who_is_refused_hears_why() {
    let ((two, at_two), (three, at_three), (one, at_one)) = (listen().await, listen().await, listen().await);
    // Node 2 does not know node 1; node 3 has met it with another directory.
    let _stranger = Node::start(2, two, 2, at_two);
    let forgetful = Node::start(3, three, 3, at_three);
    let (one_is, three_is) = ((1, at_one.to_string()), (3, at_three.to_string()));
    forgetful.transport.follow(&roster(&[one_is, three_is], 0));
    Met::beside(&forgetful.data).meet(NodeId(1), Life { number: 9, taken_back: false }).unwrap();
    let node = Node::start(1, one, 1, at_one);
    node.transport.follow(&roster(&[(1, at_one.to_string()), (2, at_two.to_string())], 0));
    for (peer, address, kind, says) in [
        (2, at_two, MistakeKind::Stranger, "node 2 does not know this node as a member: add it first"),
        (3, at_three, MistakeKind::Stranger, "node 3 is not expected here"),
        (9, at_two, MistakeKind::Addressee, "node 2 is there, and not node 9"),
    ] {
        let refused = node.transport.call(NodeId(peer), &address.to_string()).await.unwrap_err();
        assert!(refused.kind == kind && refused.why.contains(says), "{refused:?}");
        assert!(refused.is_refusal());
    }
    let all = [(1, at_one.to_string()), (3, at_three.to_string())];
    node.transport.follow(&roster(&all, 0));
    let refused = node.transport.call(NodeId(3), &at_three.to_string()).await.unwrap_err();
    assert_eq!(refused.kind, MistakeKind::Forgetful);
    assert!(refused.why.contains("has met this node with another data directory"), "{refused:?}");
}

/// Claim: a node that is dialled by one that had met it with another directory hears that, and does not have to dial itself before it
/// knows; it is told so also where it is led, as long as it has nothing.
#[tokio::test]
async fn who_is_dialled_and_refused_hears_why() {
    let ((one, at_one), (three, at_three)) = (listen().await, listen().await);
    let node = Node::start(3, three, 3, at_three);
    let dials = Node::start(1, one, 1, at_one);
    Met::beside(&dials.data).meet(NodeId(3), Life { number: 9, taken_back: false }).unwrap();
    // It knows nobody whom it could dial.
    dials.transport.follow(&roster(&[(1, at_one.to_string()), (3, at_three.to_string())], 0));
    node.transport.follow(&Roster { peers: [(NodeId(1), vec![])].into(), ..roster(&[], 0) });
    let nothing = Asking { led: true, last: 0 };
    let told = eventually("it is told", async || node.transport.excluded(nothing)).await;
    assert_eq!(told, (NodeId(1), Exclusion::Forgetful));
    assert_eq!(node.transport.excluded(Asking { led: true, last: 1 }), None);
    assert_eq!(dials.transport.excluded(nothing), None);
    assert!(!dials.transport.any());
}

/// Claim: members that began with different states turn each other away, and note nobody for that; who began alike, joined, or
/// is of an earlier release is taken. Who has gone on since, or is led, is told nothing by it.
#[tokio::test]
async fn members_that_began_otherwise_turn_each_other_away() {
    let began = |revision, digest| Some(Began { index: 5, revision, digest });
    for (one_began, two_began, fits) in [
        (began(7, 1), began(7, 1), true),
        (began(7, 1), None, true),
        (None, Some(Began::EMPTY), true),
        (began(7, 1), began(7, 2), false),
        (began(7, 1), Some(Began::EMPTY), false),
    ] {
        let ((one, at_one), (two, at_two)) = (listen().await, listen().await);
        let second = Node::start_with(two_began, 2, two, 1, at_one);
        let mut first = Node::start_with(one_began, 1, one, 2, at_two);
        if fits {
            first.expect(&["up"]).await;
            continue;
        }
        for (node, peer, last, theirs) in
            [(&first, 2, 5, two_began), (&second, 1, two_began.unwrap().index, one_began)]
        {
            let asking = Asking { led: false, last };
            let told = eventually("it is told", async || node.transport.excluded(asking)).await;
            assert_eq!(told, (NodeId(peer), Exclusion::Began(theirs.unwrap())));
            assert_eq!(Met::beside(&node.data).life_of(NodeId(peer)), None);
            for (passes, why) in [
                (Asking { last: last + 1, ..asking }, "it has gone on"),
                (Asking { led: true, ..asking }, "a majority knows better"),
            ] {
                // What was passed over is told again by the next attempt.
                eventually("it is told again", async || node.transport.excluded(asking)).await;
                assert_eq!(node.transport.excluded(passes), None, "{why}");
            }
        }
        let refused = first.transport.call(NodeId(2), &at_two.to_string()).await.map(|_| ()).unwrap_err();
        assert!(
            refused.kind == MistakeKind::Began && refused.why.contains("node 2 began with "),
            "{refused:?}"
        );
    }
}

/// Claim: while a node is connected and speaks, another process that is the same node is refused, and hears why; once the first one
/// is gone it is taken.
#[tokio::test]
async fn of_two_processes_of_one_node_the_first_stays() {
    let ((one, at_one), (two, at_two)) = (listen().await, listen().await);
    let mut node = Node::start(1, one, 2, at_two);
    let first = Node::start(2, two, 1, at_one);
    node.expect(&["up"]).await;
    let twin = Node::start(2, listen().await.0, 2, at_two);
    twin.transport.follow(&roster(&[(1, at_one.to_string())], 0));
    let refused = twin.transport.call(NodeId(1), &at_one.to_string()).await.map(|_| ()).unwrap_err();
    assert!(refused.kind == MistakeKind::Twin && refused.why.contains("this node, too"), "{refused:?}");
    assert!(node.transport.mistakes().count() > 0);
    first.transport.follow(&roster(&[], 0));
    let links = lock(&first.transport.links).clone();
    for link in links.values() {
        link.closed.notify_one();
    }
    eventually("the second is taken", async || {
        twin.transport.call(NodeId(1), &at_one.to_string()).await.ok()
    })
    .await;
}

type Swallow = Arc<(AtomicBool, AtomicBool)>;

/// Passes on the bytes of the next connection, as long as it is not told to swallow them, there or back.
async fn proxy_one(proxy: &TcpListener, behind: SocketAddr) -> Swallow {
    let swallow = Swallow::default();
    let (near, _) = proxy.accept().await.unwrap();
    let far = TcpStream::connect(behind).await.unwrap();
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let (there, back) = (swallow.clone(), swallow.clone());
    tokio::spawn(async move { pump(near_read, far_write, &there.0).await });
    tokio::spawn(async move { pump(far_read, near_write, &back.1).await });
    swallow
}

/// Nor does it pass on that an end was closed, once it swallows.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallow: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if !swallow.load(Ordering::Relaxed) && to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
    if swallow.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}
