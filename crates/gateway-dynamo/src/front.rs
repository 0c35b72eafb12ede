//! HTTP: connections, requests as bytes, answers as bytes.
//!
//! Every answer has the headers that the SDKs look at: `x-amzn-RequestId`, and `x-amz-crc32` over the body, which they
//! hold it against.

use crate::crc::crc32;
use crate::failure::{ApiError, Kind};
use crate::{Gateway, Options, authority, evidence, operation, packed, staleness};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, ORIGIN, RETRY_AFTER,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use quorate_base::Instant;
use quorate_base::time::{Duration as Span, Throttle};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The largest request.
const REQUEST_MAX: usize = 16 << 20;
/// What all requests that are being read or answered may hold, in KiB.
const HELD_MAX: usize = 256 << 10;
/// So many requests may wait for room, and so long: then they are told to come again.
const WAITING_MAX: usize = 256;
const ROOM_PATIENCE: Duration = Duration::from_secs(2);
/// So many connections for which there is no place are told so at once; further ones are only closed.
const TURNED_AWAY_MAX: usize = 64;
const TURN_AWAY_PATIENCE: Duration = Duration::from_secs(1);
/// So many bytes of a larger one are read and dropped, so that its client comes to read why it is refused.
const DROPPED_MAX: usize = 64 << 20;
/// The longest head of a request.
const HEAD_MAX: usize = 64 << 10;
/// How long a head, and how long a body, may take to come. A connection may be idle as long between two requests.
const HEAD_PATIENCE: Duration = Duration::from_secs(90);
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// How long accepting rests when the system refuses.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the log tells of clients that could not be served.
const TELL_EVERY: Span = Span::from_secs(30);
/// So many bodies are packed or unpacked at once, beside the node's own thread.
const PACKERS: usize = 2;
/// DynamoDB's content type.
const JSON: &str = "application/x-amz-json-1.0";

/// What all connections share.
struct Shared {
    gateway: Gateway,
    options: Options,
    held: Semaphore,
    packers: Semaphore,
    /// Places to wait for room.
    waiting: Semaphore,
    requests: AtomicU64,
}

/// Takes clients in, for ever.
pub(crate) async fn accept(listener: TcpListener, gateway: Gateway, options: Options) {
    let most = options.clients_max.min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(most));
    let requests = AtomicU64::new(crate::now_ms() << 16);
    let (held, packers) = (Semaphore::new(HELD_MAX), Semaphore::new(PACKERS));
    let waiting = Semaphore::new(WAITING_MAX);
    let shared = Arc::new(Shared { gateway, options, held, packers, waiting, requests });
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    let started = std::time::Instant::now();
    let (mut full, mut failed) = (Throttle::new(TELL_EVERY), Throttle::new(TELL_EVERY));
    loop {
        let now = Instant::ZERO + started.elapsed();
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Ok(place) = places.clone().try_acquire_owned() {
                    let shared = shared.clone();
                    tokio::spawn(async move {
                        serve_client(stream, shared).await;
                        drop(place);
                    });
                } else {
                    if let Ok(place) = turned_away.clone().try_acquire_owned() {
                        let id = request_id(&shared);
                        tokio::spawn(async move {
                            turn_away(stream, &id).await;
                            drop(place);
                        });
                    }
                    shared.options.counters.turned_away.fetch_add(1, Ordering::Relaxed);
                    if let Some(missed) = full.pass(now) {
                        tracing::warn!(
                            places = most,
                            missed,
                            "a DynamoDB client was turned away, all places are taken"
                        );
                    }
                }
            }
            Err(error) => {
                if let Some(missed) = failed.pass(now) {
                    tracing::warn!(%error, missed, "accepting a DynamoDB client failed and is tried again");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Tells a client that there is no place for it, and hears it out for a moment: closed at once, its system might drop the
/// answer unread.
async fn turn_away(mut stream: TcpStream, id: &str) {
    let error = ApiError::new(
        Kind::Unavailable,
        "This node has as many connections as it may. Please retry elsewhere.",
    );
    let body = error.body().to_string();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {JSON}\r\ncontent-length: {}\r\nx-amzn-requestid: {id}\r\n\
         x-amz-crc32: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len(),
        crc32(body.as_bytes())
    );
    let hear_out = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut buffer = vec![0; 4096];
        for _ in 0..16 {
            if stream.read(&mut buffer).await? == 0 {
                break;
            }
        }
        Ok::<(), std::io::Error>(())
    };
    // Whoever is slow to hear it is not waited for.
    let _ = tokio::time::timeout(TURN_AWAY_PATIENCE, hear_out).await;
}

async fn serve_client(stream: TcpStream, shared: Arc<Shared>) {
    // Small answers must not wait for the acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(respond(&shared, request).await) }
    });
    // How a client's connection ended is its own affair.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let id = request_id(shared);
    let origin = request.headers().contains_key(ORIGIN);
    if request.method() != Method::POST || !is_json(&request) {
        let mut response = unposted(&request, &id);
        allow(&mut response, origin);
        return response;
    }
    let takes_packed = packed::takes_packed(request.headers());
    let told = evidence::told(request.headers());
    let result = evidence::within(told.as_ref(), answer(shared, request)).await;
    let counters = &shared.options.counters;
    let (status, body): (_, Vec<u8>) = match result {
        Ok(body) => {
            counters.answered.fetch_add(1, Ordering::Relaxed);
            (StatusCode::OK, body)
        }
        Err(error) => {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::BAD_REQUEST);
            (status, error.body().to_string().into_bytes())
        }
    };
    // The checksum is over what is sent, as the service's is.
    let mut response = match if takes_packed { packed::pack(&shared.packers, body).await } else { Err(body) }
    {
        Ok(packed) => {
            let mut response = plain(status, packed, JSON, &id);
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        Err(body) => plain(status, body, JSON, &id),
    };
    allow(&mut response, origin);
    if let Some(told) = told {
        evidence::write(&told, response.headers_mut());
    }
    response
}

/// Whether a body says that it is one of the protocol's; one that is empty need not.
fn is_json(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    matches!(kind, JSON | "application/json") || request.body().is_end_stream()
}

/// The answer to what is no operation: load balancers ask whether there is somebody, browsers whether they may ask.
fn unposted(request: &Request<Incoming>, id: &str) -> Response<Full<Bytes>> {
    let headers = request.headers();
    if request.method() == Method::GET && request.uri().path() == "/" {
        let body = format!("healthy: {} ", host(request)).into_bytes();
        return plain(StatusCode::OK, body, "text/plain", id);
    }
    if request.method() == Method::OPTIONS && headers.contains_key(ORIGIN) {
        let mut response = plain(StatusCode::OK, Vec::new(), "text/plain", id);
        for (asked, allowed) in [
            (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
            (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
        ] {
            if let Some(value) = headers.get(asked) {
                response.headers_mut().insert(allowed, value.clone());
            }
        }
        response.headers_mut().insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("172800"));
        return response;
    }
    plain(StatusCode::NOT_FOUND, b"<UnknownOperationException/>\n".to_vec(), "text/xml", id)
}

/// Lets scripts of other origins see the answer, as the service does: who may do what the signature says.
fn allow(response: &mut Response<Full<Bytes>>, origin: bool) {
    if origin {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let seen = HeaderValue::from_static(evidence::EXPOSED);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, seen);
    }
}

/// The host that a request was sent to, as the client knows it.
fn host<B>(request: &Request<B>) -> &str {
    request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Vec<u8>, ApiError> {
    let operation = operation::named(request.headers())?;
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let head = authority::Head { method, uri, headers };
    let claim = authority::check(shared.options.keys.as_deref(), head, crate::now_ms())?;
    let is_packed = packed::is_packed(headers)?;
    let bound = staleness::asked(headers)?;
    if shared.gateway.door.away() {
        return Err(ApiError::new(
            Kind::Unavailable,
            "This node has lost its state and fetches it from its peers. Please retry elsewhere.",
        ));
    }
    // A node that was just started does not answer before it can serve; its body is not read meanwhile.
    if let Some(mut ready) = shared.options.ready.clone().filter(|ready| !*ready.borrow()) {
        drop(ready.wait_for(|ready| *ready).await);
    }
    let host = host(&request).to_string();
    let hint = request.body().size_hint();
    let most = hint.upper().map_or(REQUEST_MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    if most > REQUEST_MAX {
        if most <= DROPPED_MAX {
            let _ = tokio::time::timeout(BODY_PATIENCE, drop_body(&mut request.into_body())).await;
        }
        return Err(too_large());
    }
    // What is being read is paid for before it is read; who finds no room waits with its bytes unread.
    let held = if is_packed { packed::unpacked_at_most(most, REQUEST_MAX).max(most) } else { most };
    let _held = room(shared, (held / 1024 + 1) as u32).await?;
    let body = tokio::time::timeout(BODY_PATIENCE, read_body(request.into_body())).await;
    let body = body
        .map_err(|_| ApiError::new(Kind::Serialization, "The body of the request did not come in time"))??;
    if let Some(claim) = claim {
        claim.check(&body)?;
    }
    let body = if is_packed { packed::unpack(&shared.packers, body, REQUEST_MAX).await? } else { body };
    staleness::within(bound, operation::carry_out(&shared.gateway, operation, &host, &body)).await
}

/// Room for a request. Who finds none waits a little; where many wait already, nobody is let hope.
async fn room(shared: &Shared, kib: u32) -> Result<SemaphorePermit<'_>, ApiError> {
    if let Ok(held) = shared.held.try_acquire_many(kib) {
        return Ok(held);
    }
    let Ok(_waiting) = shared.waiting.try_acquire() else {
        return Err(ApiError::new(
            Kind::Unavailable,
            "This node has too much to do. Please retry elsewhere.",
        ));
    };
    match tokio::time::timeout(ROOM_PATIENCE, shared.held.acquire_many(kib)).await {
        Ok(held) => held.map_err(|_| crate::unexpected()),
        Err(_) => {
            Err(ApiError::new(Kind::Throttled, "Too many requests wait on this node. Please retry later."))
        }
    }
}

/// Reads what is left of a body, up to a bound, and keeps nothing of it.
async fn drop_body(body: &mut Incoming) {
    let mut dropped = 0;
    while let Some(Ok(frame)) = body.frame().await {
        dropped += frame.data_ref().map_or(0, Bytes::len);
        if dropped > DROPPED_MAX {
            return;
        }
    }
}

async fn read_body(mut body: Incoming) -> Result<Bytes, ApiError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            ApiError::new(Kind::Serialization, format!("The body of the request ended early: {e}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > REQUEST_MAX {
            drop_body(&mut body).await;
            return Err(too_large());
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn too_large() -> ApiError {
    ApiError::new(Kind::TooLarge, "The request is larger than 16 MB")
}

fn plain(status: StatusCode, body: Vec<u8>, kind: &'static str, id: &str) -> Response<Full<Bytes>> {
    let crc = crc32(&body);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("x-amz-crc32", HeaderValue::from(crc));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

/// As long as DynamoDB's, and never the same twice on one node.
fn request_id(shared: &Shared) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let number = shared.requests.fetch_add(1, Ordering::Relaxed);
    let member = shared.gateway.door.head().member;
    let mut id = String::with_capacity(52);
    for part in [number, member, number.wrapping_mul(0x9E37_79B9_7F4A_7C15), member.rotate_left(17) ^ number]
    {
        for shift in (0..13).rev() {
            let at = (part >> (shift * 5)) & 31;
            id.push(char::from(LETTERS[at as usize]));
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Keys;
    use crate::tests::{alone, with_table};
    use flate2::read::GzDecoder;
    use std::io::Read;
    use tokio::net::TcpStream;

    /// What the door, with these options, answers to a request: its head, and its body.
    async fn asked(options: Options, request: &[u8]) -> (String, Vec<u8>) {
        let (gateway, _) = alone();
        with_table(&gateway).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(accept(listener, gateway, options));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        served.abort();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer.split_off(end + 4))
    }

    fn options(clients_max: usize, keys: Option<&str>) -> Options {
        let keys = keys.map(|text| Arc::new(Keys::parse(text).unwrap()));
        Options { clients_max, keys, ..Options::default() }
    }

    fn post(operation: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {JSON}\r\n\
             X-Amz-Target: DynamoDB_20120810.{operation}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/r/dynamodb/aws4_request, SignedHeaders=host;x-amz-target, \
             Signature=0\r\nX-Amz-Date: 20260101T000000Z\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut out).unwrap();
        out
    }

    #[tokio::test]
    async fn bodies_may_be_packed_both_ways() {
        let gzip = "Content-Encoding: gzip\r\nAccept-Encoding: gzip\r\n";
        let (head, body) =
            asked(options(4, None), &post("ListTables", gzip, &zipped(b"{\"Limit\":5}"))).await;
        assert!(
            head.starts_with("HTTP/1.1 200") && !head.contains("content-encoding"),
            "too small to pack: {head}"
        );
        assert_eq!(body, b"{\"TableNames\":[\"items\"]}");
        // What is wrong in a packed body, and a long answer, which repeats it.
        let long = format!("{{\"TableName\":\"{}\",\"Key\":{{}}}}", "x".repeat(4000));
        let (head, body) = asked(options(4, None), &post("GetItem", gzip, &zipped(long.as_bytes()))).await;
        assert!(head.starts_with("HTTP/1.1 400") && head.contains("content-encoding: gzip"), "{head}");
        assert!(head.contains(&format!("x-amz-crc32: {}", crc32(&body))), "{head}");
        let mut text = String::new();
        GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
        assert!(text.contains("length less than or equal to 255"), "{text}");
        let (head, _) = asked(options(4, None), &post("ListTables", gzip, b"no gzip")).await;
        assert!(head.starts_with("HTTP/1.1 400"), "{head}");
        let bomb = zipped(&vec![b' '; REQUEST_MAX + 1]);
        let (head, _) = asked(options(4, None), &post("ListTables", gzip, &bomb)).await;
        assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    }

    /// Claim: who asks with `1` hears how the request was served, in headers that docs/evidence.md tells of; others hear nothing.
    #[tokio::test]
    async fn evidence_is_told_to_those_who_ask() {
        let get = b"{\"TableName\":\"items\",\"Key\":{\"id\":{\"S\":\"a\"}}}";
        let newest = [&get[..get.len() - 1], b",\"ConsistentRead\":true}"].concat();
        let put = b"{\"TableName\":\"items\",\"Item\":{\"id\":{\"S\":\"a\"}}}";
        let words = include_str!("../../../docs/evidence.md");
        for (name, body, mode) in
            [("GetItem", &get[..], "local"), ("GetItem", &newest, "leader"), ("PutItem", put, "log")]
        {
            let (head, _) = asked(options(4, None), &post(name, "Quorate-Evidence: 1\r\n", body)).await;
            assert!(head.contains(&format!("\r\nquorate-mode: {mode}\r\n")), "{head}");
            for line in head.lines().filter(|line| line.starts_with("quorate-")) {
                let (header, _) = line.split_once(':').unwrap();
                assert!(words.contains(&format!("| `{header}` |")), "{header}");
            }
            for unasked in ["", "Quorate-Evidence: 0\r\n"] {
                let (head, _) = asked(options(4, None), &post(name, unasked, body)).await;
                assert!(!head.contains("quorate-"), "{head}");
            }
        }
        // An error carries it, too, where the node was asked.
        let (head, _) = asked(options(4, None), &post("GetItem", "Quorate-Evidence: 1\r\n", b"{}")).await;
        assert!(!head.contains("quorate-"), "{head}");
        let put = b"{\"TableName\":\"items\",\"Item\":{\"id\":{\"N\":\"1\"}}}";
        let (head, _) = asked(options(4, None), &post("PutItem", "Quorate-Evidence: 1\r\n", put)).await;
        assert!(head.starts_with("HTTP/1.1 400") && head.contains("quorate-mode: log"), "{head}");
    }

    /// Claim: before the node is ready an operation waits for that, and who asks whether there is somebody does not.
    #[tokio::test]
    async fn an_operation_waits_for_a_node_that_is_not_ready() {
        let (say, ready) = tokio::sync::watch::channel(false);
        let waiting = || Options { ready: Some(ready.clone()), ..options(4, None) };
        let (head, _) = asked(waiting(), b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let list = post("ListTables", "", b"{}");
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, asked(waiting(), &list)).await.is_err());
        let ((head, _), ()) = tokio::join!(asked(waiting(), &list), async {
            tokio::time::sleep(soon).await;
            say.send_replace(true);
        });
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        say.send_replace(false);
        drop(say);
        assert!(asked(waiting(), &list).await.0.starts_with("HTTP/1.1 200"), "nobody is left to say so");
    }

    #[tokio::test]
    async fn with_keys_a_request_must_be_signed_with_one() {
        for (keys, said) in [
            ("other secret", "UnrecognizedClientException"),
            // Its date was long ago.
            ("a secret", "InvalidSignatureException"),
        ] {
            let (head, body) = asked(options(4, Some(keys)), &post("ListTables", "", b"{}")).await;
            let body = String::from_utf8(body).unwrap();
            assert!(head.starts_with("HTTP/1.1 400") && body.contains(said), "{head} {body}");
        }
        assert!(asked(options(4, None), &post("ListTables", "", b"{}")).await.0.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_client_for_whom_there_is_no_place_is_told_so() {
        let (head, body) = asked(options(0, None), &post("ListTables", "", b"{}")).await;
        let body = String::from_utf8(body).unwrap();
        assert!(head.starts_with("HTTP/1.1 503") && head.contains("retry-after: 1"), "{head}");
        assert!(body.contains("ServiceUnavailable"), "{body}");
    }
}
