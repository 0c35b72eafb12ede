//! What stands before the services: the plain HTTP pages of the same port, one code that must be another, and the
//! sending of large replies (`aside.rs`).
//!
//! A request whose content is not gRPC is a call in JSON (`/v3/...`), which `json.rs` turns into one of gRPC, or for a
//! page: `/version`, `/metrics`, `/debug/vars` and those of `health.rs`, as etcd has them. The calls that make up the load are served by `direct.rs`, all others by the gRPC library. A message above
//! the limit is refused by the library with `OUT_OF_RANGE`; gRPC in Go, and with it etcd's clients, know that
//! refusal as `RESOURCE_EXHAUSTED` and tell by it that trying again is of no use.

use crate::aside::Large;
use crate::calls::Call;
use crate::direct::{self, Came, Method, Replayed, Reply};
use crate::streamed::Streamed;
use crate::{Gateway, evidence, origins};
use bytes::Bytes;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::codegen::{Service, StdError, http};
use tonic::service::Routes;
use tonic::{Code, Status};

/// Answers pages itself, the calls that make up the load in short, and passes the others on.
pub(crate) struct Front {
    pub(crate) routes: Routes,
    pub(crate) gateway: Arc<Gateway>,
}

pub(crate) type Page = http::Response<Body>;

impl Front {
    /// Answers one request.
    pub(crate) async fn answer<B>(
        self: Arc<Self>,
        request: http::Request<B>,
    ) -> Result<http::Response<Reply>, Infallible>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let content = request.headers().get(http::header::CONTENT_TYPE);
        if !content.is_some_and(|c| c.as_bytes().starts_with(b"application/grpc")) {
            return Ok(Box::pin(async move { self.plain(request).await }).await);
        }
        Ok(self.called(request).await)
    }

    /// Answers what is no call of gRPC.
    async fn plain<B>(&self, request: http::Request<B>) -> http::Response<Reply>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let told = self.gateway.origins.told(request.headers());
        let mut answer = if let Some(empty) = origins::asked_first(request.method()) {
            empty.map(Reply::from)
        } else if request.uri().path().starts_with("/v3/") {
            self.json(request).await
        } else {
            self.gateway.page(&request.into_parts().0).await.map(Reply::from)
        };
        origins::tell(told, answer.headers_mut());
        answer
    }

    /// Answers a call of gRPC.
    pub(crate) async fn called<B>(&self, mut request: http::Request<B>) -> http::Response<Reply>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let call = Call::begin(&self.gateway.counters, request.uri().path());
        if let Some(call) = &call {
            self.gateway.counters.clients.count(request.headers(), call.is_unary());
            if !call.is_unary() {
                request.extensions_mut().insert(call.hears());
            }
        }
        let slot = evidence::slot(request.headers());
        let mut late = timeout(request.headers()).map(late);
        let mut answer = pin!(self.grpc(request));
        let answer = poll_fn(|cx| match evidence::within(slot.as_ref(), || answer.as_mut().poll(cx)) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => {
                late.as_mut().map_or(Poll::Pending, |late| late.as_mut().poll(cx).map(|()| None))
            }
        });
        let Some((mut response, code)) = answer.await else {
            if let Some(call) = call {
                call.end(Code::DeadlineExceeded);
            }
            return expired().into_http::<Body>().map(Reply::from);
        };
        if let Some(evidence) = slot.and_then(|slot| slot.take()) {
            evidence::write(&evidence, response.headers_mut());
        }
        match call {
            Some(call) if code == Code::Ok && !call.is_unary() => {
                response.map(|body| Reply::Other(Body::new(Streamed { body, call: Some(call), late })))
            }
            Some(call) => {
                call.end(code);
                response
            }
            None => response,
        }
    }

    /// Answers a call, and says with what.
    async fn grpc<B>(&self, request: http::Request<B>) -> (http::Response<Reply>, Code)
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let method = Method::of(&request);
        let (head, body) = request.into_parts();
        let body = self.gateway.unfinished.count(body);
        let Some(method) = method else { return self.routed(head, body.into()).await };
        match direct::read(body).await {
            Came::Other(body) => self.routed(head, body).await,
            Came::Message(message) => match direct::serve(&self.gateway, method, head, message).await {
                Ok(response) => (response, Code::Ok),
                Err(status) => {
                    let code = status.code();
                    (status.into_http::<Body>().map(Reply::from), code)
                }
            },
        }
    }

    /// Has the gRPC library answer a call.
    async fn routed<B>(&self, head: http::request::Parts, body: Replayed<B>) -> (http::Response<Reply>, Code)
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let request = http::Request::from_parts(head, Body::new(body));
        let Ok(mut response) = Box::pin(self.routes.clone().call(request)).await;
        if response.headers().contains_key(Status::GRPC_STATUS) {
            recode(response.headers_mut());
        }
        // An answer that is not refused has its status behind it.
        let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
        if response.extensions_mut().remove::<Large>().is_some() {
            response = response.map(|body| self.gateway.aside.encode(body));
        }
        (response.map(Reply::from), code)
    }
}

/// A deadline.
pub(crate) type Late = Pin<Box<Sleep>>;

pub(crate) fn late(timeout: Duration) -> Late {
    Box::pin(tokio::time::sleep(timeout))
}

/// What is told behind a client's own deadline, in the words of gRPC in Go.
pub(crate) fn expired() -> Status {
    Status::deadline_exceeded("context deadline exceeded")
}

/// When a client will not wait any longer: as gRPC has it, no number has more than eight digits.
pub(crate) fn timeout(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    if text.len() > 9 { None } else { crate::timeout_of(text) }
}

/// Gives a refusal for size the code that clients know it by.
fn recode(headers: &mut http::HeaderMap) {
    let Some(status) = Status::from_header_map(headers) else { return };
    if let Some(other) = too_large(&status) {
        let (code, text) = (http::HeaderValue::from(other.code() as i32), other.message().to_string());
        if let Ok(text) = http::HeaderValue::try_from(text) {
            headers.insert(Status::GRPC_STATUS, code);
            headers.insert(Status::GRPC_MESSAGE, text);
        }
    }
}

/// gRPC's own refusal of a message above the limit, in the words and with the code of gRPC in Go.
pub(crate) fn too_large(status: &Status) -> Option<Status> {
    if status.code() != Code::OutOfRange {
        return None;
    }
    let rest = status.message().strip_prefix("Error, decoded message length too large: found ")?;
    let (found, rest) = rest.split_once(" bytes, the limit is: ")?;
    let limit = rest.strip_suffix(" bytes")?;
    let text = format!("grpc: received message larger than max ({found} vs. {limit})");
    Some(Status::resource_exhausted(text))
}

impl Gateway {
    pub(crate) async fn page(&self, asked: &http::request::Parts) -> Page {
        let reads = matches!(asked.method, http::Method::GET | http::Method::HEAD);
        let (path, query) = (asked.uri.path(), asked.uri.query().unwrap_or_default());
        let known = ["/health", "/livez", "/readyz", "/version", "/metrics", "/debug/vars"];
        if !reads && known.iter().any(|page| path.starts_with(page)) {
            return text(405, "only GET is served here\n".into());
        }
        if let Some(page) = self.health_page(path, query).await {
            return page;
        }
        match path {
            "/version" => json(200, self.version_page()),
            "/metrics" => match &self.metrics {
                Some(metrics) => typed(200, "text/plain; version=0.0.4", metrics()),
                None => text(404, "no metrics here\n".into()),
            },
            // What Go's programs tell there; only this much is not Go's.
            "/debug/vars" => {
                let words: Vec<String> = std::env::args_os().map(|w| w.to_string_lossy().into()).collect();
                json(200, serde_json::json!({ "cmdline": words }).to_string())
            }
            _ => text(404, "404 page not found\n".into()),
        }
    }

    fn version_page(&self) -> String {
        let cluster = self.storage_version();
        let version = &self.version;
        format!(r#"{{"etcdserver":"{version}","etcdcluster":"{cluster}","storage":"{cluster}"}}"#)
    }

    /// The cluster's version: the node's without its patch.
    pub(crate) fn storage_version(&self) -> String {
        self.version.rsplit_once('.').map_or(String::new(), |(version, _)| format!("{version}.0"))
    }
}

pub(crate) fn json(status: u16, body: String) -> Page {
    typed(status, "application/json", body)
}

pub(crate) fn text(status: u16, body: String) -> Page {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: u16, content: &'static str, body: String) -> Page {
    let mut page = http::Response::new(Body::new(body));
    *page.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    page.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content));
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_refusal_for_size_is_resource_exhausted_and_other_statuses_stay() {
        let text =
            "Error, decoded message length too large: found 2097180 bytes, the limit is: 2097152 bytes";
        let mut headers = http::HeaderMap::new();
        Status::out_of_range(text).add_header(&mut headers).unwrap();
        recode(&mut headers);
        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "grpc: received message larger than max (2097180 vs. 2097152)");

        for other in [
            Status::out_of_range("etcdserver: mvcc: required revision has been compacted"),
            Status::unavailable("etcdserver: no leader"),
        ] {
            let mut headers = http::HeaderMap::new();
            other.add_header(&mut headers).unwrap();
            let before = headers.clone();
            recode(&mut headers);
            assert_eq!(headers, before);
        }
    }
}
