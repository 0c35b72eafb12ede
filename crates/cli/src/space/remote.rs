//! A client of DynamoDB's API, as small as export and import need it: one connection, signed requests, and tries that are
//! repeated where that does no harm.
//!
//! Every request that is made here may be made twice: reads, and puts of whole items.

use crate::report::{Exit, Problem};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use quorate_gateway_dynamo::signature::{self, Scope, basic_date};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// So often a request is tried, and the first one of an endpoint that has never answered.
const TRIES: u32 = 10;
const FIRST_TRIES: u32 = 3;
/// The first pause between two tries; each further one is twice as long, up to the longest.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a connection, and how long an answer, may take.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);
/// Who waits longer than this for a try that fails hears why it is tried again.
const LONG: Duration = Duration::from_secs(1);

/// Where requests go, and as whom.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// `HOST:PORT`.
    pub(super) authority: String,
    pub(super) region: String,
    /// The access key's id and secret.
    pub(super) key: (String, String),
}

/// Why a request was not done.
#[derive(Debug)]
pub(super) struct Refused {
    /// The error's name without its namespace; empty where there was no answer.
    pub(super) kind: String,
    pub(super) message: String,
    /// It may help to try again.
    again: bool,
}

impl Refused {
    fn of_network(message: String) -> Self {
        Self { kind: String::new(), message, again: true }
    }

    /// For who asked.
    pub(super) fn problem(&self, doing: &str) -> Problem {
        let hint = match self.kind.as_str() {
            "" => {
                "is a node's DynamoDB port there? `quorate up` serves it on 127.0.0.1:8000; choose another with --endpoint"
            }
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "MissingAuthenticationTokenException" => {
                "the endpoint verifies signatures: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to one of its keys"
            }
            // What a node says that waited for a majority in vain.
            "InternalServerError" | "ServiceUnavailable" => {
                "`quorate status` names members that do not answer, and shards without a leader"
            }
            "ValidationException" if self.message.contains("quorate node add") => {
                "--survive 0 asks for one copy, which is lost with its node; `quorate node add` adds members"
            }
            _ => "",
        };
        let kind = if self.kind.is_empty() { String::new() } else { format!("{}: ", self.kind) };
        Problem::new(Exit::Failed, format!("{doing}: {kind}{}", self.message), hint)
    }
}

/// One connection.
pub(super) struct Remote {
    endpoint: Endpoint,
    open: Option<SendRequest<Full<Bytes>>>,
    /// It has answered.
    met: bool,
}

impl Remote {
    /// Not connected yet.
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, open: None, met: false }
    }

    /// Asks, again where that may help; says so where a try took long.
    pub(super) async fn ask(&mut self, operation: &str, body: &Value) -> Result<Value, Refused> {
        let body = Bytes::from(body.to_string());
        let mut pause = PAUSE;
        for left in (0..if self.met { TRIES } else { FIRST_TRIES }).rev() {
            let began = Instant::now();
            match self.once(operation, body.clone()).await {
                Err(refused) if refused.again && left > 0 => {
                    if began.elapsed() >= LONG {
                        eprintln!("{operation}: {} (tries left: {left})", refused.message);
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                done => return done,
            }
        }
        Err(Refused::of_network("it was tried too often".into()))
    }

    async fn once(&mut self, operation: &str, body: Bytes) -> Result<Value, Refused> {
        let request = self.request(operation, body)?;
        let mut connection = match self.open.take() {
            Some(open) if open.is_ready() => open,
            _ => self.connect().await?,
        };
        let failed =
            |e: &dyn std::fmt::Display| Refused::of_network(format!("{}: {e}", self.endpoint.authority));
        let answer = async {
            let answer = connection.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        let answer =
            tokio::time::timeout(ANSWER, answer).await.map_err(|_| failed(&"no answer came in time"))?;
        let (status, body) = answer.map_err(|e| failed(&e))?;
        self.open = Some(connection);
        self.met = true;
        let parsed = serde_json::from_slice::<Value>(&body);
        match parsed {
            Ok(value) if status == StatusCode::OK => Ok(value),
            Ok(value) => Err(refused(status, &value)),
            Err(_) => Err(Refused {
                kind: String::new(),
                message: format!("{} answered with status {status} and no JSON", self.endpoint.authority),
                again: status.is_server_error(),
            }),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Refused> {
        let authority = &self.endpoint.authority;
        let failed =
            |e: &dyn std::fmt::Display| Refused::of_network(format!("cannot connect to {authority}: {e}"));
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect(authority)).await;
        let stream = stream.map_err(|_| failed(&"no connection in time"))?.map_err(|e| failed(&e))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
        // How it ends is seen by the next request.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    fn request(&self, operation: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Refused> {
        let Endpoint { authority, region, key: (id, secret) } = &self.endpoint;
        let at = basic_date();
        let mut headers = HeaderMap::new();
        let own = operation.contains('.');
        let target = if own { operation.to_string() } else { format!("DynamoDB_20120810.{operation}") };
        for (name, value) in [("host", authority), ("x-amz-date", &at), ("x-amz-target", &target)] {
            let value = HeaderValue::from_str(value).map_err(|_| Refused {
                again: false,
                ..Refused::of_network(format!("{value:?} makes no header"))
            })?;
            headers.insert(name, value);
        }
        let signed = ["host", "x-amz-date", "x-amz-target"];
        let uri = Uri::from_static("/");
        let canonical = signature::canonical(&Method::POST, &uri, &headers, &signed);
        let scope = Scope { day: at.get(..8).unwrap_or_default(), region, service: "dynamodb" };
        let made = signature::sign(&canonical, &body, &at, &scope, &scope.key(secret));
        let authorization = format!(
            "{} Credential={id}/{}, SignedHeaders={}, Signature={}",
            signature::ALGORITHM,
            scope.text(),
            signed.join(";"),
            signature::hex(&made)
        );
        let bad =
            |_| Refused { again: false, ..Refused::of_network("the access key makes no header".into()) };
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&authorization).map_err(bad)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        debug_assert!(headers.contains_key(HOST));
        *request.headers_mut() = headers;
        Ok(request)
    }
}

fn refused(status: StatusCode, body: &Value) -> Refused {
    let member = |name: &str| body.get(name).and_then(Value::as_str);
    let kind = member("__type").unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default().to_string();
    let message = member("message").or_else(|| member("Message")).unwrap_or_default().to_string();
    let throttled = matches!(
        kind.as_str(),
        "ThrottlingException" | "ProvisionedThroughputExceededException" | "RequestLimitExceeded"
    );
    Refused { again: throttled || status.is_server_error(), kind, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: who has waited in vain, or asked for more copies than there are members, hears where to look.
    #[test]
    fn refusals_have_hints() {
        let hint = |kind: &str, message: &str| {
            Refused { kind: kind.into(), message: message.into(), again: false }
                .problem("cannot list spaces")
                .hint
        };
        assert!(hint("InternalServerError", "Please retry.").contains("quorate status"));
        assert!(hint("ServiceUnavailable", "There is no leader.").contains("quorate status"));
        assert!(hint("ValidationException", "add some (quorate node add)").contains("--survive 0"));
        assert_eq!(hint("ValidationException", "too short"), "");
    }
}
