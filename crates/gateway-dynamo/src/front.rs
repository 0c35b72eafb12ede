//! HTTP: connections, requests as bytes, answers as bytes.
//!
//! Every answer has the headers that the SDKs look at: `x-amzn-RequestId`, and `x-amz-crc32` over the body, which they
//! hold it against.

use crate::crc::crc32;
use crate::failure::{ApiError, Kind};
use crate::{Gateway, Options, authority, operation};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, HOST, HeaderValue, ORIGIN,
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// The largest request.
const REQUEST_MAX: usize = 16 << 20;
/// What all requests that are being read or answered may hold, in KiB.
const HELD_MAX: usize = 256 << 10;
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
/// DynamoDB's content type.
const JSON: &str = "application/x-amz-json-1.0";

/// What all connections share.
struct Shared {
    gateway: Gateway,
    options: Options,
    held: Semaphore,
    requests: AtomicU64,
}

/// Takes clients in, for ever.
pub(crate) async fn accept(listener: TcpListener, gateway: Gateway, options: Options) {
    let most = options.clients_max.min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(most));
    let requests = AtomicU64::new(crate::now_ms() << 16);
    let shared = Arc::new(Shared { gateway, options, held: Semaphore::new(HELD_MAX), requests });
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
    if request.method() != Method::POST {
        let mut response = unposted(&request, &id);
        allow(&mut response, origin);
        return response;
    }
    let result = answer(shared, request).await;
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
    let mut response = plain(status, body, JSON, &id);
    allow(&mut response, origin);
    response
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
        let seen = HeaderValue::from_static("x-amzn-requestid, x-amz-crc32, date");
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, seen);
    }
}

/// The host that a request was sent to, as the client knows it.
fn host<B>(request: &Request<B>) -> &str {
    request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Vec<u8>, ApiError> {
    let operation = operation::named(request.headers())?;
    authority::check(request.headers(), request.uri())?;
    if shared.gateway.door.away() {
        return Err(ApiError::new(
            Kind::Unavailable,
            "This node has lost its state and fetches it from its peers. Please retry elsewhere.",
        ));
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
    let held = shared.held.acquire_many((most / 1024 + 1) as u32).await;
    let _held = held.map_err(|_| crate::unexpected())?;
    let body = tokio::time::timeout(BODY_PATIENCE, read_body(request.into_body())).await;
    let body = body
        .map_err(|_| ApiError::new(Kind::Serialization, "The body of the request did not come in time"))??;
    operation::carry_out(&shared.gateway, operation, &host, &body).await
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
