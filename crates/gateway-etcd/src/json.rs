//! etcd's JSON: the calls of version 3 as `POST /v3/...`, as etcd's own gateway answers them.
//!
//! A call is a path ([`PATHS`]); what it takes and gives is the JSON form of its messages (names as in the `.proto` files,
//! numbers of 64 bits and bytes as text, defaults left out, unknown names passed over). It is turned into the call of gRPC that it
//! stands for and goes the same way as all of these: bounds, counts, deadlines (`Grpc-Timeout`), metadata (`Grpc-Metadata-NAME`),
//! fences and evidence (headers that begin with `quorate-`) are theirs. A stream answers with one object a line,
//! `{"result":…}` or `{"error":…}`, and takes what its client says value by value, as it comes (`values.rs`). A field that is said
//! twice is refused (`fields.rs`).
//!
//! A page of another origin that a browser runs is refused, unless it is listed (`origins.rs`).

use crate::aside::Aside;
use crate::direct::{HEAD, Reply};
use crate::front::{Front, Page, expired, timeout};
use crate::values::{Requests, Values};
use crate::{fields, text};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body as _, Frame};
use http_body_util::Full;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, MethodDescriptor,
};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use tonic::body::Body;
use tonic::codegen::{StdError, http};
use tonic::{Code, Status};

/// Paths below `/v3/`, and the methods that they stand for.
const PATHS: [(&str, &str); 51] = [
    ("kv/range", "etcdserverpb.KV/Range"),
    ("kv/put", "etcdserverpb.KV/Put"),
    ("kv/deleterange", "etcdserverpb.KV/DeleteRange"),
    ("kv/txn", "etcdserverpb.KV/Txn"),
    ("kv/compaction", "etcdserverpb.KV/Compact"),
    ("watch", "etcdserverpb.Watch/Watch"),
    ("lease/grant", "etcdserverpb.Lease/LeaseGrant"),
    ("lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    ("kv/lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    ("lease/keepalive", "etcdserverpb.Lease/LeaseKeepAlive"),
    ("lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    ("kv/lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    ("lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    ("kv/lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    ("cluster/member/add", "etcdserverpb.Cluster/MemberAdd"),
    ("cluster/member/remove", "etcdserverpb.Cluster/MemberRemove"),
    ("cluster/member/update", "etcdserverpb.Cluster/MemberUpdate"),
    ("cluster/member/list", "etcdserverpb.Cluster/MemberList"),
    ("cluster/member/promote", "etcdserverpb.Cluster/MemberPromote"),
    ("maintenance/alarm", "etcdserverpb.Maintenance/Alarm"),
    ("maintenance/status", "etcdserverpb.Maintenance/Status"),
    ("maintenance/defragment", "etcdserverpb.Maintenance/Defragment"),
    ("maintenance/hash", "etcdserverpb.Maintenance/Hash"),
    ("maintenance/hashkv", "etcdserverpb.Maintenance/HashKV"),
    ("maintenance/snapshot", "etcdserverpb.Maintenance/Snapshot"),
    ("maintenance/transfer-leadership", "etcdserverpb.Maintenance/MoveLeader"),
    ("maintenance/downgrade", "etcdserverpb.Maintenance/Downgrade"),
    ("auth/enable", "etcdserverpb.Auth/AuthEnable"),
    ("auth/disable", "etcdserverpb.Auth/AuthDisable"),
    ("auth/status", "etcdserverpb.Auth/AuthStatus"),
    ("auth/authenticate", "etcdserverpb.Auth/Authenticate"),
    ("auth/user/add", "etcdserverpb.Auth/UserAdd"),
    ("auth/user/get", "etcdserverpb.Auth/UserGet"),
    ("auth/user/list", "etcdserverpb.Auth/UserList"),
    ("auth/user/delete", "etcdserverpb.Auth/UserDelete"),
    ("auth/user/changepw", "etcdserverpb.Auth/UserChangePassword"),
    ("auth/user/grant", "etcdserverpb.Auth/UserGrantRole"),
    ("auth/user/revoke", "etcdserverpb.Auth/UserRevokeRole"),
    ("auth/role/add", "etcdserverpb.Auth/RoleAdd"),
    ("auth/role/get", "etcdserverpb.Auth/RoleGet"),
    ("auth/role/list", "etcdserverpb.Auth/RoleList"),
    ("auth/role/delete", "etcdserverpb.Auth/RoleDelete"),
    ("auth/role/grant", "etcdserverpb.Auth/RoleGrantPermission"),
    ("auth/role/revoke", "etcdserverpb.Auth/RoleRevokePermission"),
    ("lock/lock", "v3lockpb.Lock/Lock"),
    ("lock/unlock", "v3lockpb.Lock/Unlock"),
    ("election/campaign", "v3electionpb.Election/Campaign"),
    ("election/proclaim", "v3electionpb.Election/Proclaim"),
    ("election/leader", "v3electionpb.Election/Leader"),
    ("election/observe", "v3electionpb.Election/Observe"),
    ("election/resign", "v3electionpb.Election/Resign"),
];

/// Bytes of a message whose text is made on another thread.
const LARGE: usize = 64 << 10;

/// What a path stands for.
struct Call {
    /// The path of the method in gRPC.
    path: http::Uri,
    method: MethodDescriptor,
}

/// The calls by the path below `/v3/`.
static CALLS: LazyLock<BTreeMap<&'static str, Call>> = LazyLock::new(|| {
    // Built with this program; a test finds every path.
    let Ok(pool) = DescriptorPool::decode(quorate_proto::DESCRIPTORS) else { return BTreeMap::new() };
    let call = |&(path, name): &(&'static str, &str)| {
        let (service, method) = name.split_once('/')?;
        let service = pool.get_service_by_name(service)?;
        let method = service.methods().find(|one| one.name() == method)?;
        Some((path, Call { path: format!("/{name}").parse().ok()?, method }))
    };
    PATHS.iter().filter_map(call).collect()
});

impl Front {
    /// Answers a request below `/v3/`.
    pub(crate) async fn json<B>(&self, request: http::Request<B>) -> http::Response<Reply>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        self.called_by_json(request).await.unwrap_or_else(|status| refusal(&status)).map(Reply::from)
    }

    async fn called_by_json<B>(&self, request: http::Request<B>) -> Result<Page, Status>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let (head, body) = request.into_parts();
        let call = head.uri.path().strip_prefix("/v3/").and_then(|path| CALLS.get(path));
        let Some(call) = call else { return Err(Status::not_found("Not Found")) };
        if head.method != http::Method::POST {
            return Err(Status::unimplemented("Method Not Allowed"));
        }
        if self.gateway.origins.refuse(&head.headers) {
            return Err(Status::permission_denied("quorate: a page of another origin may not call this"));
        }
        if let Some(wrong) = head.headers.get("grpc-timeout").filter(|value| !is_timeout(value)) {
            let wrong = String::from_utf8_lossy(wrong.as_bytes());
            return Err(Status::invalid_argument(format!("invalid grpc-timeout: {wrong}")));
        }
        self.wait(&head.headers).await?;
        let (most, all) = (self.gateway.limits.body(), &self.gateway.unfinished);
        let (head, body) = if call.method.is_client_streaming() {
            let mut rest = Values::new(body, call.method.input(), all.clone(), most);
            let first = rest.next().await?;
            self.called(as_grpc(call, &head.headers, Body::new(Requests { first, rest }))).await
        } else {
            let message = if call.method.is_server_streaming() {
                // Its client may wait for the answer before it ends what it says.
                Values::new(body, call.method.input(), all.clone(), most).next().await?
            } else {
                Some(framed(&call.method.input(), &all.whole(body, most).await?)?)
            };
            let message = message.map_or_else(|| framed(&call.method.input(), b""), Ok)?;
            self.called(as_grpc(call, &head.headers, Full::new(message))).await
        }
        .into_parts();
        let aside = self.gateway.aside.clone();
        let mut messages =
            Messages { output: call.method.output(), body, came: BytesMut::new(), aside, made: None };
        let mut page = match Status::from_header_map(&head.headers) {
            Some(status) if status.code() != Code::Ok => refusal(&status),
            _ if call.method.is_server_streaming() => page(200, Body::new(Lines { messages, ended: false })),
            _ => messages.only().await.map_or_else(|s| refusal(&s), |text| page(200, Body::new(text))),
        };
        let evidence = head.headers.into_iter().filter_map(|(name, value)| Some((name?, value)));
        page.headers_mut().extend(evidence.filter(|(name, _)| name.as_str().starts_with("quorate-")));
        Ok(page)
    }
}

impl Front {
    /// A node that was just started lets a call in JSON wait, as it lets a client over gRPC; no longer than that wants to wait itself.
    async fn wait(&self, headers: &http::HeaderMap) -> Result<(), Status> {
        let Some(mut ready) = self.gateway.ready.clone().filter(|ready| !*ready.borrow()) else {
            return Ok(());
        };
        // One that has lost its state says so.
        if self.gateway.door.away() {
            return Ok(());
        }
        // Where nobody is left to say so, nothing is waited for.
        let over = async { drop(ready.wait_for(|ready| *ready).await) };
        match timeout(headers) {
            Some(patience) => tokio::time::timeout(patience, over).await.map_err(|_| expired())?,
            None => over.await,
        }
        Ok(())
    }
}

fn is_timeout(value: &http::HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| crate::timeout_of(text).is_some())
}

/// The one message that stands in `text`, as gRPC has it. An empty text is a message without fields.
pub(crate) fn framed(input: &MessageDescriptor, text: &[u8]) -> Result<Bytes, Status> {
    let wrong = |error: serde_json::Error| Status::invalid_argument(error.to_string());
    let message = if text.trim_ascii().is_empty() {
        DynamicMessage::new(input.clone())
    } else {
        fields::once(input, text).map_err(wrong)?;
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let mut reader = serde_json::Deserializer::from_slice(text);
        let message = DynamicMessage::deserialize_with_options(input.clone(), &mut reader, &options);
        let message = message.map_err(wrong)?;
        reader.end().map_err(wrong)?;
        message
    };
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(HEAD + length);
    framed.put_u8(0);
    framed.put_u32(length as u32);
    framed.extend_from_slice(&message.encode_to_vec());
    Ok(framed.freeze())
}

/// The call of gRPC with what the client says beside it.
fn as_grpc<B>(call: &Call, headers: &http::HeaderMap, body: B) -> http::Request<B> {
    let mut request = http::Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = call.path.clone();
    for (name, value) in headers {
        let name = name.as_str();
        let metadata = name.strip_prefix("grpc-metadata-");
        let own = name == "grpc-timeout" || name == "authorization" || name.starts_with("quorate-");
        // What says how the message is written is not the client's here.
        let kept = metadata
            .filter(|n| !n.starts_with("grpc-") && !n.starts_with("content-"))
            .or(own.then_some(name));
        if let Some(Ok(name)) = kept.map(http::HeaderName::try_from) {
            request.headers_mut().append(name, value.clone());
        }
    }
    request.headers_mut().insert(http::header::CONTENT_TYPE, tonic::metadata::GRPC_CONTENT_TYPE);
    request
}

type Making = Pin<Box<dyn Future<Output = Result<String, Status>> + Send>>;

/// The messages of an answer, as texts.
struct Messages {
    output: MessageDescriptor,
    body: Reply,
    /// What has come of the next one.
    came: BytesMut,
    aside: Aside,
    /// A text that is made aside.
    made: Option<Making>,
}

impl Messages {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<String, Status>>> {
        loop {
            if let Some(made) = &mut self.made {
                let text = ready!(made.as_mut().poll(cx));
                self.made = None;
                return Poll::Ready(Some(text));
            }
            if let Some(message) = self.complete() {
                let output = self.output.clone();
                if message.len() <= LARGE {
                    return Poll::Ready(Some(text(&output, &message)));
                }
                let aside = self.aside.clone();
                self.made = Some(Box::pin(async move { aside.run(move || text(&output, &message)).await? }));
                continue;
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            };
            match frame.into_data() {
                Ok(data) => self.came.extend_from_slice(&data),
                Err(frame) => {
                    let end = frame.into_trailers().ok().and_then(|all| Status::from_header_map(&all));
                    return Poll::Ready(end.filter(|status| status.code() != Code::Ok).map(Err));
                }
            }
        }
    }

    /// Takes out a message of which all has come.
    fn complete(&mut self) -> Option<Bytes> {
        let (head, rest) = self.came.split_first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if rest.len() < length {
            return None;
        }
        self.came.advance(HEAD);
        Some(self.came.split_to(length).freeze())
    }

    /// The one message of a call that is no stream.
    async fn only(&mut self) -> Result<String, Status> {
        let mut found = None;
        while let Some(text) = poll_fn(|cx| self.poll_next(cx)).await {
            found = Some(text?);
        }
        found.ok_or_else(|| Status::internal("quorate: the call ended without an answer"))
    }
}

fn text(output: &MessageDescriptor, message: &[u8]) -> Result<String, Status> {
    let wrong = |error: String| Status::internal(format!("quorate: {error}"));
    let mut text = Vec::with_capacity(2 * message.len());
    text::write(output, message, &mut text).map_err(wrong)?;
    String::from_utf8(text).map_err(|error| wrong(error.to_string()))
}

/// The body of a stream.
struct Lines {
    messages: Messages,
    ended: bool,
}

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let line = match ready!(self.messages.poll_next(cx)) {
            Some(Ok(text)) => format!("{{\"result\":{text}}}\n"),
            Some(Err(status)) => {
                self.ended = true;
                format!("{{\"error\":{}}}\n", told_within(&status))
            }
            None => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(Frame::data(line.into()))))
    }
}

/// Why there is no answer. (`error` is what gateways of etcd before 3.6 say, `message` what all do.)
fn told(status: &Status) -> String {
    let text = serde_json::Value::from(status.message());
    format!(r#"{{"error":{text},"code":{},"message":{text},"details":[]}}"#, status.code() as i32)
}

/// Why a stream ends. (The first three are what gateways of etcd before 3.6 say; there are clients that read the codes.)
fn told_within(status: &Status) -> String {
    let (text, code) = (serde_json::Value::from(status.message()), status.code() as i32);
    let http = http_status(status.code());
    let name =
        http::StatusCode::from_u16(http).ok().and_then(|http| http.canonical_reason()).unwrap_or_default();
    let older = format!(r#""grpc_code":{code},"http_code":{http},"http_status":"{name}""#);
    format!(r#"{{{older},"code":{code},"message":{text},"details":[]}}"#)
}

fn refusal(status: &Status) -> Page {
    page(http_status(status.code()), Body::new(told(status)))
}

fn http_status(code: Code) -> u16 {
    match code {
        Code::Ok => 200,
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::DeadlineExceeded => 504,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::PermissionDenied => 403,
        Code::Unauthenticated => 401,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    }
}

fn page(status: u16, body: Body) -> Page {
    let mut page = http::Response::new(body);
    *page.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    page.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{Alone, gateway};
    use std::sync::Arc;

    fn front(willing: bool) -> Front {
        let gateway = Arc::new(gateway(Arc::new(Alone { willing, ..Alone::default() })));
        Front { routes: crate::routes(&gateway), gateway }
    }

    /// Claim: before the node is ready a call in JSON waits, as long as it wants to itself; one that makes no sense is told so at once; and
    /// whoever was to say that it is ready may be gone.
    #[tokio::test]
    async fn a_call_waits_for_a_node_that_is_not_ready() {
        let (say, ready) = tokio::sync::watch::channel(false);
        let waiting = || {
            let alone = Arc::new(Alone { willing: true, ..Alone::default() });
            let gateway = Arc::new(crate::Gateway { ready: Some(ready.clone()), ..gateway(alone) });
            Front { routes: crate::routes(&gateway), gateway }
        };
        let front = waiting();
        let (range, key) = ("/v3/kv/range", r#"{"key":"aw=="}"#);
        let (status, late) = post(&front, range, &[("grpc-timeout", "20m")], key).await;
        assert_eq!(status, 504, "{late}");
        assert_eq!(post(&front, "/v3/kv/nothing", &[], key).await.0, 404);
        let soon = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, post(&front, range, &[], key)).await.is_err());
        let (answered, ()) = tokio::join!(post(&front, range, &[], key), async {
            say.send_replace(true);
        });
        assert_eq!(answered.0, 200, "{}", answered.1);
        say.send_replace(false);
        let front = waiting();
        drop(say);
        assert_eq!(post(&front, range, &[], key).await.0, 200);
    }

    async fn post(front: &Front, path: &str, headers: &[(&str, &str)], text: &str) -> (u16, String) {
        let mut request = http::Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = front.json(request.body(Full::new(Bytes::from(text.to_string()))).unwrap()).await;
        let status = answer.status().as_u16();
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Claim: every path is a method of a service.
    #[test]
    fn every_path_has_its_call() {
        assert_eq!(CALLS.len(), PATHS.len());
        let streams = CALLS.values().filter(|call| call.method.is_server_streaming()).count();
        assert_eq!(streams, 4, "watch, keep-alive, snapshot, observe");
    }

    /// Claim: bytes are base64, long numbers texts, defaults are left out, names of either form are taken and unknown ones passed over.
    #[tokio::test]
    async fn a_call_is_answered_as_etcd_s_gateway_answers_it() {
        let front = front(true);
        let (status, text) =
            post(&front, "/v3/kv/put", &[], r#"{"key":"Zm9v","value":"YmFy","prevKv":false,"x":{"y":1}}"#)
                .await;
        assert_eq!((status, text.as_str()), (200, r#"{"header":{"revision":"9"}}"#));
        let (status, text) = post(&front, "/v3/kv/deleterange", &[], r#"{"key":"Zm9v"}"#).await;
        assert_eq!((status, text.as_str()), (200, r#"{"header":{"revision":"9"},"deleted":"3"}"#));
        let (_, text) =
            post(&front, "/v3/kv/range", &[("grpc-timeout", "1S")], r#"{"key":"Zm9v","limit":"1"}"#).await;
        let reply: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(reply["kvs"][0]["key"], "Zm9v");
        // Larger than what is answered in one piece.
        let (_, text) = post(&front, "/v3/kv/range", &[], r#"{"key":"Zm9v","limit":1000}"#).await;
        let reply: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(reply["kvs"].as_array().unwrap().len(), 1000);
    }

    /// Claim: what cannot be answered says why, in the words of gRPC and with its code.
    #[tokio::test]
    async fn what_is_wrong_is_told_with_a_code() {
        let front = front(false);
        let long = format!(r#"{{"key":"{}"}}"#, "A".repeat(front.gateway.limits.body()));
        for (path, headers, text, status, says) in [
            ("/v3/kv/put", &[][..], r#"{"key":7}"#, 400, r#""code":3,"#),
            ("/v3/kv/put", &[], "{", 400, "EOF"),
            ("/v3/kv/range", &[("grpc-timeout", "foo")], "{}", 400, "invalid grpc-timeout: foo"),
            ("/v3/kv/range", &[("grpc-timeout", "-5S")], "{}", 400, "invalid grpc-timeout: -5S"),
            ("/v3/kv/put", &[], "{}", 400, "etcdserver: key is not provided"),
            ("/v3/kv/put", &[], "", 400, "etcdserver: key is not provided"),
            ("/v3/kv/put", &[], "{} {}", 400, "trailing"),
            ("/v3/kv/put", &[], &long, 429, "more than"),
            ("/v3/kv/nothing", &[], "{}", 404, r#""code":5,"message":"Not Found""#),
            ("/v3/auth/user/add", &[], r#"{"name":"a"}"#, 501, r#""code":12"#),
            (
                "/v3/kv/put",
                &[("origin", "http://evil.test"), ("host", "localhost:2379")],
                "{}",
                403,
                "another origin",
            ),
            (
                "/v3/kv/put",
                &[("origin", "http://localhost:2379"), ("host", "localhost:2379")],
                "{}",
                400,
                "key is not",
            ),
            (
                "/v3/kv/put",
                &[("grpc-metadata-hasleader", "true")],
                r#"{"key":"Zm9v"}"#,
                503,
                "etcdserver: no leader",
            ),
            ("/v3/kv/put", &[("grpc-metadata-grpc-encoding", "gzip")], "{}", 400, "key is not"),
        ] {
            let (code, told) = post(&front, path, headers, text).await;
            assert!(code == status && told.contains(says), "{path} {headers:?}: {code} {told}");
        }
        let get = http::Request::get("/v3/kv/range").body(Full::new(Bytes::new())).unwrap();
        assert_eq!(front.json(get).await.status().as_u16(), 501);
        assert_eq!(front.gateway.unfinished.held(), (0, 0));
    }

    /// Something that is said piece by piece, and what is answered meanwhile.
    struct Talk {
        say: tokio::sync::mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>,
        answer: tokio::task::JoinHandle<http::Response<Reply>>,
    }

    fn talk(front: Front, path: &str) -> Talk {
        let (say, said) = tokio::sync::mpsc::unbounded_channel();
        let said = tokio_stream::wrappers::UnboundedReceiverStream::new(said);
        let request = http::Request::post(path).body(http_body_util::StreamBody::new(said)).unwrap();
        Talk { say, answer: tokio::spawn(async move { front.json(request).await }) }
    }

    async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
        tokio::time::timeout(std::time::Duration::from_secs(20), future)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"))
    }

    async fn line(body: &mut Reply) -> String {
        let frame = soon("a line", http_body_util::BodyExt::frame(body)).await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    }

    /// Claim: what a client says on a stream is taken value by value, wherever its pieces are cut, while its body stays open; an error in
    /// what comes later ends the stream with a line; and nothing stays counted.
    #[tokio::test]
    async fn what_is_said_on_a_stream_is_served_as_it_comes() {
        let front = front(true);
        let gateway = front.gateway.clone();
        let Talk { say, answer } = talk(front, "/v3/lease/keepalive");
        let piece = |text: &'static str| say.send(Ok(Frame::data(text.into()))).unwrap();
        piece(" {\"ID\":");
        piece("\"7\"}  {\"x\":\"}{\\\"\", \"ID\"");
        let answer = soon("the answer", answer).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        assert!(line(&mut body).await.contains(r#""ID":"7","TTL":"70""#));
        piece(":8}{\"ID\":9}\n");
        assert!(line(&mut body).await.contains(r#""ID":"8""#));
        assert!(line(&mut body).await.contains(r#""ID":"9""#));
        piece("nothing");
        let end = line(&mut body).await;
        assert!(end.contains(r#""error""#) && end.contains(r#""code":3"#), "{end}");
        drop(body);
        assert_eq!(gateway.unfinished.held(), (0, 0));
    }

    /// Claim: what makes no sense from the beginning is refused with a status; a body that ends within a value, too; one without any is a
    /// stream on which nothing is asked; and one value is as large as any other request, while all of them are as large as they come.
    #[tokio::test]
    async fn streams_begin_and_end_as_they_should() {
        for (text, code, says) in [
            ("7", 400, "\"code\":3"),
            ("{\"ID\":\"x\"}", 400, "\"code\":3"),
            ("{\"ID\":", 400, "EOF"),
            ("", 200, ""),
            (" \n", 200, ""),
            ("{\"ID\":1}{\"ID\":2}", 200, "\"ID\":\"2\""),
            ("{\"ID\":1}{\"ID\"", 200, "EOF"),
        ] {
            let (status, told) = post(&front(true), "/v3/lease/keepalive", &[], text).await;
            assert!(status == code && told.contains(says), "{text:?}: {status} {told}");
        }
        let front = front(true);
        let limit = front.gateway.limits.body();
        let long = format!(r#"{{"ID":1,"x":"{}"}}"#, "A".repeat(limit));
        let (status, told) = post(&front, "/v3/lease/keepalive", &[], &long).await;
        assert!(status == 429 && told.contains("more than"), "{status} {told}");
        let many = format!(r#"{{"ID":1,"x":"{}"}}"#, "A".repeat(limit / 2)).repeat(3);
        let (status, told) = post(&front, "/v3/lease/keepalive", &[], &many).await;
        assert!(status == 200 && told.lines().count() == 3, "{status} {told}");
        assert_eq!(front.gateway.unfinished.held(), (0, 0));
    }

    /// Claim: a call whose answer alone is a stream begins with its one message, though the body stays open.
    #[tokio::test]
    async fn a_snapshot_waits_for_no_end() {
        let Talk { say, answer } = talk(front(false), "/v3/maintenance/snapshot");
        say.send(Ok(Frame::data("{}".into()))).unwrap();
        // This node has none to give.
        assert_eq!(soon("the answer", answer).await.unwrap().status(), 429);
        drop(say);
    }

    /// Claim: a field that is said twice, under whichever of its names and however deep, is refused; of what is not known nothing is.
    #[tokio::test]
    async fn a_field_that_is_said_twice_is_refused() {
        let front = front(true);
        for (path, text, twice) in [
            ("/v3/kv/put", r#"{"key":"YQ==","key":"Yg=="}"#, "key"),
            ("/v3/kv/put", r#"{"key":"YQ==","prev_kv":true,"prevKv":false}"#, "prevKv"),
            ("/v3/kv/txn", r#"{"success":[{"requestPut":{"key":"YQ==","key":"YQ=="}}]}"#, "key"),
            ("/v3/lease/keepalive", r#"{"ID":1,"ID":2}"#, "ID"),
        ] {
            let (status, told) = post(&front, path, &[], text).await;
            let says = format!(r#"duplicate field \"{twice}\""#);
            assert!(status == 400 && told.contains(&says), "{text}: {status} {told}");
        }
        let unknown = r#"{"key":"YQ==","x":1,"x":{"key":1,"key":2}}"#;
        assert_eq!(post(&front, "/v3/kv/put", &[], unknown).await.0, 200);
    }

    /// Claim: a stream has an object a line, the last of which says why it ended if it had to.
    #[tokio::test]
    async fn a_stream_has_an_object_a_line() {
        let (status, text) = post(&front(false), "/v3/maintenance/snapshot", &[], "").await;
        assert!(status == 429 && text.contains(r#""code":8"#), "it never began: {status} {text}");

        let blob = |byte: u8| quorate_proto::etcdserverpb::SnapshotResponse {
            blob: vec![byte; 3].into(),
            ..Default::default()
        };
        let framed = [blob(1), blob(2)].iter().fold(BytesMut::new(), |mut all, message| {
            all.put_u8(0);
            all.put_u32(message.encoded_len() as u32);
            all.extend_from_slice(&message.encode_to_vec());
            all
        });
        let mut trailers = http::HeaderMap::new();
        Status::data_loss("a \"bit\" flipped").add_header(&mut trailers).unwrap();
        // In pieces that end within a head and within a message.
        let pieces = framed.chunks(4).map(|piece| Frame::data(Bytes::copy_from_slice(piece)));
        let frames = pieces.chain([Frame::trailers(trailers)]).map(Ok::<_, Status>).collect::<Vec<_>>();
        let body = Body::new(http_body_util::StreamBody::new(tokio_stream::iter(frames)));
        let output = CALLS["maintenance/snapshot"].method.output();
        let messages = Messages {
            output,
            body: Reply::Other(body),
            came: BytesMut::new(),
            aside: Aside::default(),
            made: None,
        };
        let all = http_body_util::BodyExt::collect(Lines { messages, ended: false }).await.unwrap();
        let text = String::from_utf8(all.to_bytes().to_vec()).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        assert_eq!(lines[..2], ["{\"result\":{\"blob\":\"AQEB\"}}\n", "{\"result\":{\"blob\":\"AgIC\"}}\n"]);
        let end: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
        assert_eq!(
            (&end["error"]["code"], &end["error"]["message"]),
            (&15.into(), &"a \"bit\" flipped".into())
        );
        // What older gateways say, and Patroni reads.
        let older = [&end["error"]["grpc_code"], &end["error"]["http_code"], &end["error"]["http_status"]];
        assert_eq!(serde_json::json!(older), serde_json::json!([15, 500, "Internal Server Error"]));
    }
}
