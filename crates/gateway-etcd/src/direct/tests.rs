use super::*;
use crate::front::Front;
use crate::limits::Limits;
use crate::tests::{Alone, gateway};
use quorate_base::Rng;
use quorate_proto::etcdserverpb as pb;
use std::sync::Arc;
use std::time::Duration;

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";

/// A body of these pieces.
struct Pieces(VecDeque<Result<Frame<Bytes>, Status>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// All that an answer says.
#[derive(Debug, PartialEq)]
struct Told {
    status: u16,
    headers: http::HeaderMap,
    data: Vec<u8>,
    trailers: Option<http::HeaderMap>,
}

impl Told {
    fn code(&self) -> &str {
        let headers = if self.headers.contains_key("grpc-status") {
            Some(&self.headers)
        } else {
            self.trailers.as_ref()
        };
        headers.map_or("none", |headers| headers["grpc-status"].to_str().unwrap())
    }

    fn text(&self) -> String {
        Status::from_header_map(&self.headers).map_or(String::new(), |status| status.message().into())
    }
}

/// A request, to be asked in both ways.
#[derive(Clone)]
struct Asked {
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    pieces: Vec<Vec<u8>>,
    /// What stands behind them.
    end: Vec<Result<http::HeaderMap, Status>>,
}

impl Asked {
    fn new(path: &'static str, bytes: &[u8]) -> Self {
        Self {
            path,
            headers: vec![("content-type", "application/grpc")],
            pieces: vec![bytes.to_vec()],
            end: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.retain(|(there, _)| *there != name);
        self.headers.push((name, value));
        self
    }

    /// The request as it comes over HTTP/2, or over HTTP/1, where the library answers all.
    fn request(&self, http2: bool) -> http::Request<Pieces> {
        let version = if http2 { http::Version::HTTP_2 } else { http::Version::HTTP_11 };
        let mut request = http::Request::post(self.path).version(version);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        let data = self.pieces.iter().map(|piece| Ok(Frame::data(piece.clone().into())));
        let pieces = data.chain(self.end.iter().cloned().map(|end| end.map(Frame::trailers))).collect();
        request.body(Pieces(pieces)).unwrap()
    }

    async fn told(&self, front: &Arc<Front>, http2: bool) -> Told {
        let Ok(answer) = front.clone().answer(self.request(http2)).await;
        let (head, mut body) = answer.into_parts();
        let (mut data, mut trailers) = (Vec::new(), None);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            match frame.expect("an answer does not break off").into_data() {
                Ok(piece) => data.extend_from_slice(&piece),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        assert!(body.is_end_stream() || matches!(body, Reply::Other(_)));
        Told { status: head.status.as_u16(), headers: head.headers, data, trailers }
    }

    /// What is told, the same in both ways.
    async fn same(&self, front: &Arc<Front>, what: &str) -> Told {
        let (here, library) = (self.told(front, true).await, self.told(front, false).await);
        assert_eq!(here, library, "{what}");
        let all = &front.gateway.unfinished;
        assert_eq!(all.held(), (0, 0), "{what}: calls and bytes that are counted still");
        here
    }
}

fn front(node: Alone) -> Arc<Front> {
    let gateway = Arc::new(gateway(Arc::new(node)));
    Arc::new(Front { routes: crate::routes(&gateway), gateway })
}

fn willing() -> Arc<Front> {
    front(Alone { willing: true, ..Alone::default() })
}

fn framed(message: &impl Message) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&(message.encoded_len() as u32).to_be_bytes());
    message.encode(&mut bytes).unwrap();
    bytes
}

fn put() -> pb::PutRequest {
    pb::PutRequest { key: "key".into(), value: vec![7; 40].into(), ..Default::default() }
}

fn range(limit: i64) -> pb::RangeRequest {
    pb::RangeRequest { key: "key".into(), limit, ..Default::default() }
}

fn usual() -> Vec<Asked> {
    let delete = pb::DeleteRangeRequest { key: "key".into(), ..Default::default() };
    let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put())) };
    let txn = pb::TxnRequest { success: vec![op], ..Default::default() };
    vec![
        Asked::new(PUT, &framed(&put())),
        Asked::new(RANGE, &framed(&range(0))),
        Asked::new(RANGE, &framed(&pb::RangeRequest { serializable: true, ..range(2) })),
        Asked::new("/etcdserverpb.KV/DeleteRange", &framed(&delete)),
        Asked::new("/etcdserverpb.KV/Txn", &framed(&txn)),
    ]
}

#[tokio::test]
async fn the_usual_calls_are_served_here_and_answered_as_by_the_library() {
    let front = willing();
    for asked in usual() {
        let told = asked.same(&front, asked.path).await;
        assert_eq!((told.status, told.code()), (200, "0"), "{}", asked.path);
        assert!(told.data.len() > HEAD && told.trailers.is_some(), "{told:?}");

        assert!(Method::of(&asked.request(true)).is_some() && Method::of(&asked.request(false)).is_none());
        let body = front.gateway.unfinished.count(asked.request(true).into_body());
        let Came::Message(message) = read(body).await else { panic!("{} is usual", asked.path) };
        assert_eq!(message, asked.pieces[0][HEAD..]);
    }
}

/// Claim: the keep-alives of a stream are answered one by one, in their order, and the stream ends behind the last one once the client has
/// closed its side.
#[tokio::test]
async fn keep_alives_are_answered_in_their_order() {
    let mut asked = Asked::new("/etcdserverpb.Lease/LeaseKeepAlive", &[]);
    asked.pieces = (1..=300).map(|id| framed(&pb::LeaseKeepAliveRequest { id })).collect();
    let told = tokio::time::timeout(Duration::from_secs(60), asked.told(&willing(), true)).await.unwrap();
    let (mut rest, mut answers) = (&told.data[..], Vec::new());
    while !rest.is_empty() {
        let len = u32::from_be_bytes(rest[1..HEAD].try_into().unwrap()) as usize;
        answers.push(pb::LeaseKeepAliveResponse::decode(&rest[HEAD..HEAD + len]).unwrap());
        rest = &rest[HEAD + len..];
    }
    let told_of: Vec<_> = answers.iter().map(|answer| (answer.id, answer.ttl)).collect();
    assert_eq!(told_of, (1..=300).map(|id| (id, 10 * id)).collect::<Vec<_>>());
    assert_eq!(told.code(), "0");
}

/// However a request is cut, and however it ends.
#[tokio::test]
async fn the_cut_of_a_request_is_no_matter() {
    let (front, bytes) = (willing(), framed(&put()));
    for at in 0..=bytes.len() {
        let mut asked = Asked::new(PUT, &[]);
        asked.pieces = vec![bytes[..at].to_vec(), bytes[at..].to_vec()];
        assert_eq!(asked.same(&front, &format!("cut at {at}")).await.code(), "0");
        asked.pieces.push(Vec::new());
        assert_eq!(asked.same(&front, &format!("cut at {at}, an empty end")).await.code(), "0");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("hasleader", http::HeaderValue::from_static("true"));
        asked.end = vec![Ok(trailers)];
        // Metadata may stand behind the message as well.
        assert_eq!(
            asked.same(&front, &format!("cut at {at}, trailers")).await.text(),
            "etcdserver: no leader"
        );
    }
}

#[tokio::test]
async fn what_is_malformed_is_refused_as_by_the_library() {
    let (front, good) = (willing(), framed(&put()));
    let change = |at: usize, to: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let twice = [&good[..], &good[..]].concat();
    let limit = ((Limits::default().decoded() + 1) as u32).to_be_bytes();
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("no message", vec![], "13", "Missing request message."),
        ("half a head", good[..3].to_vec(), "13", "Unexpected EOF decoding stream."),
        ("a head alone", good[..5].to_vec(), "13", "Missing request message."),
        ("a message cut off", good[..20].to_vec(), "13", "Unexpected EOF decoding stream."),
        (
            "a huge length",
            change(1, &[0x7f, 0xff, 0xff, 0xff]),
            "8",
            "larger than max (2147483647 vs. 2097152)",
        ),
        ("the largest length", change(1, &[0xff; 4]), "8", "larger than max (4294967295 vs. 2097152)"),
        ("a byte too long", change(1, &limit), "8", "larger than max (2097153 vs. 2097152)"),
        ("a length too short", change(4, &[3]), "13", ""),
        ("compressed", change(0, &[1]), "13", "compressed-flag but no grpc-encoding"),
        ("a strange flag", change(0, &[9]), "13", "invalid compression flag: 9"),
        ("no protobuf", change(5, &[0xff; 9]), "13", "invalid"),
        ("two messages", twice.clone(), "0", ""),
        ("two messages, the second cut", twice[..twice.len() - 1].to_vec(), "13", "Unexpected EOF"),
        ("an empty message", vec![0; 5], "3", "etcdserver: key is not provided"),
    ];
    for (what, bytes, code, text) in cases {
        let told = Asked::new(PUT, &bytes).same(&front, what).await;
        assert_eq!(told.code(), code, "{what}: {told:?}");
        assert!(told.text().contains(text), "{what}: {}", told.text());
        let mut asked = Asked::new(PUT, &[]);
        asked.pieces = bytes.iter().map(|byte| vec![*byte]).collect();
        assert_eq!(asked.same(&front, &format!("{what}, byte by byte")).await, told, "{what}");
    }
}

#[tokio::test]
async fn the_strange_is_left_to_the_library() {
    let (front, good) = (willing(), framed(&put()));
    let asked = || Asked::new(PUT, &good);
    let at = |path| Asked { path, ..asked() };
    for (what, asked, status, code) in [
        ("an unknown method", at("/etcdserverpb.KV/Frobnicate"), 200, "12"),
        ("an unknown service", at("/etcdserverpb.KX/Put"), 200, "12"),
        ("a path with more", at("/etcdserverpb.KV/Put/"), 200, "12"),
        ("no content of gRPC", asked().with("content-type", "application/json"), 404, "none"),
        ("another content of gRPC", asked().with("content-type", "application/grpc+json"), 200, "0"),
        ("an encoding", asked().with("grpc-encoding", "gzip"), 200, "0"),
        ("an encoding that is not read", asked().with("grpc-encoding", "deflate"), 200, "12"),
        ("an encoding that is none", asked().with("grpc-encoding", "identity"), 200, "0"),
        ("a leader is wanted", asked().with("hasleader", "true"), 200, "14"),
        ("a fence that is none", asked().with("quorate-fence", "x"), 200, "3"),
        ("a time that is none", asked().with("grpc-timeout", "soon"), 200, "0"),
        ("time enough", asked().with("grpc-timeout", "99S"), 200, "0"),
    ] {
        let told = asked.same(&front, what).await;
        assert_eq!((told.status, told.code()), (status, code), "{what}: {told:?}");
    }
    for error in [Status::cancelled("gone"), Status::internal("broken")] {
        for pieces in [vec![], vec![good[..9].to_vec()], vec![good.clone()]] {
            let broken = Asked { pieces, end: vec![Err(error.clone())], ..asked() };
            broken.same(&front, &format!("{} pieces, then {error:?}", broken.pieces.len())).await;
        }
    }
}

#[tokio::test]
async fn what_the_node_says_is_told_alike() {
    let overloaded = front(Alone { overloaded: true, ..Alone::default() });
    let leaderless = front(Alone::default());
    for asked in usual() {
        let told = asked.same(&overloaded, asked.path).await;
        assert_eq!(told.code(), "8", "{}: {told:?}", asked.path);
        asked.same(&leaderless, asked.path).await;
        let calls = &overloaded.gateway.counters.calls;
        let mut page = String::new();
        calls.write(&mut page);
        let method = asked.path.rsplit('/').next().unwrap();
        let count = format!("grpc_code=\"ResourceExhausted\",grpc_method=\"{method}\",");
        assert!(page.contains(&count), "{count} is not in {page}");
    }
}

/// Replies around the length from which on the library encodes, and the number of pairs from which on it does so aside.
#[tokio::test]
async fn long_and_large_replies_are_the_same() {
    let front = willing();
    for limit in [1, 200, 201, 202, 203, 204, 205, 300, 1024, 1025, 3000] {
        let told = Asked::new(RANGE, &framed(&range(limit))).same(&front, &format!("{limit} pairs")).await;
        let reply = pb::RangeResponse::decode(&told.data[HEAD..]).unwrap();
        assert_eq!((told.code(), reply.kvs.len()), ("0", limit as usize));
    }
    let silent = pb::RangeRequest { count_only: true, ..range(0) };
    Asked::new(RANGE, &framed(&silent)).same(&front, "a count").await;
}

/// A long request comes in many pieces.
#[tokio::test]
async fn long_requests_are_the_same() {
    let front = willing();
    let (most, decoded) = (front.gateway.limits.request_bytes, front.gateway.limits.decoded());
    for length in [PIECE - 20, PIECE, 100_000, most - 20, most, decoded - 20, decoded] {
        let bytes = framed(&pb::PutRequest { value: vec![3; length].into(), ..put() });
        let mut asked = Asked::new(PUT, &[]);
        asked.pieces = bytes.chunks(PIECE).map(<[u8]>::to_vec).collect();
        let told = asked.same(&front, &format!("{length} bytes")).await;
        let wanted = match length {
            _ if bytes.len() - HEAD > decoded => "8",
            _ if bytes.len() - HEAD > most => "3",
            _ => "0",
        };
        assert_eq!(told.code(), wanted, "{length} bytes: {}", told.text());
    }
}

#[tokio::test]
async fn who_does_not_wait_any_longer_is_told_so_and_leaves_nothing_behind() {
    let front = front(Alone { silent: true, ..Alone::default() });
    for asked in usual() {
        let told = asked.with("grpc-timeout", "1m").same(&front, "a millisecond").await;
        assert_eq!((told.code(), told.text().as_str()), ("4", "context deadline exceeded"));
    }
}

#[tokio::test]
async fn compressed_requests_are_read() {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&put().encode_to_vec()).unwrap();
    let packed = packed.finish().unwrap();
    let bytes = [&[1], &(packed.len() as u32).to_be_bytes()[..], &packed].concat();
    let told = Asked::new(PUT, &bytes).with("grpc-encoding", "gzip").same(&willing(), "a packed put").await;
    assert_eq!(told.code(), "0", "{}", told.text());
}

/// Claim: who asks a learner for a watch or for keep-alives is refused at once, and goes to a member that votes.
#[tokio::test]
async fn a_learner_serves_no_watch() {
    for path in ["/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"] {
        let told =
            Asked::new(path, &[]).same(&front(Alone { learner: true, ..Alone::default() }), path).await;
        assert_eq!((told.code(), told.text().as_str()), ("9", "etcdserver: rpc not supported for learner"));
    }
}

/// What a client says that has more to say.
struct Open;

impl http_body::Body for Open {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Pending
    }
}

/// Claim: a stream ends with UNAVAILABLE where the node stops, and, if its client asked for a leader, where there was none for three
/// election timeouts; a clean end, or another code, would end a client's watch for good.
#[tokio::test]
async fn a_stream_ends_so_that_its_client_goes_elsewhere() {
    let seconds = |n| Some(quorate_base::time::Duration::from_secs(n));
    let cases = [
        (true, (true, None), Some("etcdserver: server stopped")),
        (false, (true, None), Some("etcdserver: server stopped")),
        (true, (false, seconds(4)), Some("etcdserver: no leader")),
        (true, (false, seconds(2)), None),
        (false, (false, seconds(4)), None),
    ];
    for path in ["/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"] {
        for (needs_leader, becomes, expected) in cases {
            let is = Arc::new(std::sync::Mutex::new((false, None)));
            let watched = Some(Arc::default());
            let front = front(Alone { is: Some(is.clone()), watched, ..Alone::default() });
            let mut request = http::Request::post(path).version(http::Version::HTTP_2);
            request = request.header("content-type", "application/grpc");
            if needs_leader {
                request = request.header("hasleader", "true");
            }
            let Ok(answer) = front.clone().answer(request.body(Open).unwrap()).await;
            assert!(!answer.headers().contains_key("grpc-status"), "{path} is open");
            *is.lock().unwrap() = becomes;
            let mut body = answer.into_body();
            let end = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            let end = tokio::time::timeout(Duration::from_millis(200), end).await.ok();
            let trailers = end.map(|frame| frame.unwrap().unwrap().into_trailers().unwrap());
            let status = trailers.map(|trailers| Status::from_header_map(&trailers).unwrap());
            let told = status.as_ref().map(|status| (status.code(), status.message()));
            let expected = expected.map(|text| (tonic::Code::Unavailable, text));
            assert_eq!(told, expected, "{path}: {needs_leader} {becomes:?}");
        }
    }
}

/// Claim: who looks whether anything answers finds the service that gRPC names for that.
#[tokio::test]
async fn the_door_says_that_it_serves() {
    let none = [0, 0, 0, 0, 0];
    let told = Asked::new("/grpc.health.v1.Health/Check", &none).same(&willing(), "health").await;
    // SERVING.
    assert_eq!((told.code(), told.data.as_slice()), ("0", &[0, 0, 0, 0, 2, 8, 1][..]));
}

/// Seed 5: requests with changed, lost and added bytes, cut anywhere.
#[tokio::test]
async fn harmed_requests_are_answered_as_by_the_library() {
    let (front, mut rng) = (willing(), Rng::new(5));
    let usual = usual();
    for round in 0..3000 {
        let mut asked = usual[rng.below(usual.len() as u64) as usize].clone();
        let mut bytes = asked.pieces.concat();
        for _ in 0..rng.below(4) {
            // The head is small and of most interest.
            let within = if rng.chance(1, 2) { bytes.len().min(8) } else { bytes.len() };
            let at = rng.below(within.max(1) as u64) as usize;
            match rng.below(4) {
                0 if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
                1 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
                2 => bytes.truncate(at),
                _ => bytes.extend((0..rng.below(9)).map(|_| rng.below(3) as u8)),
            }
        }
        asked.pieces.clear();
        while !bytes.is_empty() {
            let rest = bytes.split_off(rng.between(1, bytes.len() as u64) as usize);
            asked.pieces.push(std::mem::replace(&mut bytes, rest));
        }
        asked.same(&front, &format!("seed 5, round {round}, {}: {:?}", asked.path, asked.pieces)).await;
    }
}
