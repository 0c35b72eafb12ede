//! What stands before the services: the plain HTTP pages of the same port, one code that must be another, and the sending of
//! large replies (`aside.rs`).
//!
//! A request whose content is not gRPC is for a page: `/version`, `/metrics` and those of `health.rs`, as etcd has them. A message above the limit is refused by the gRPC library with `OUT_OF_RANGE`; gRPC in Go, and with it etcd's
//! clients, know that refusal as `RESOURCE_EXHAUSTED` and tell by it that trying again is of no use.
//!
//! What is left out: JSON requests (`/v3/...`).

use crate::aside::{Aside, Large};
use crate::calls::Call;
use crate::{Counters, Gateway, evidence};
use pin_project_lite::pin_project;
use quorate_node::evidence::Slot;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Code, Status};

/// Puts [`Front`] before the services.
#[derive(Clone)]
pub(crate) struct FrontLayer(pub(crate) Gateway);

impl<S> tower_layer::Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, services: S) -> Front<S> {
        Front { services, gateway: self.0.clone() }
    }
}

/// Answers pages itself and passes gRPC on.
#[derive(Clone)]
pub(crate) struct Front<S> {
    services: S,
    gateway: Gateway,
}

pub(crate) type Page = http::Response<Body>;

impl<S> Service<http::Request<Body>> for Front<S>
where
    S: Service<http::Request<Body>, Response = Page>,
{
    type Response = Page;
    type Error = S::Error;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.services.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let content = request.headers().get(http::header::CONTENT_TYPE);
        if content.is_some_and(|c| c.as_bytes().starts_with(b"application/grpc")) {
            let call = self.gateway.counters.calls.begin(request.uri().path());
            let request = request.map(|body| self.gateway.unfinished.count(body));
            let (aside, slot) = (self.gateway.aside.clone(), evidence::slot(request.headers()));
            let calls = call.map(|call| (call, self.gateway.counters.clone()));
            return Answer::Grpc { answer: self.services.call(request), aside, calls, slot };
        }
        let gateway = self.gateway.clone();
        let (asked, _) = request.into_parts();
        Answer::Page { page: Box::pin(async move { gateway.page(&asked).await }) }
    }
}

pin_project! {
    /// What comes of a request.
    #[project = AnswerProjected]
    pub(crate) enum Answer<F> {
        Grpc { #[pin] answer: F, aside: Aside, calls: Option<(Call, Arc<Counters>)>, slot: Option<Slot> },
        Page { page: Pin<Box<dyn Future<Output = Page> + Send>> },
    }
}

impl<F, E> Future for Answer<F>
where
    F: Future<Output = Result<Page, E>>,
{
    type Output = Result<Page, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnswerProjected::Page { page } => page.as_mut().poll(cx).map(Ok),
            AnswerProjected::Grpc { answer, aside, calls, slot } => {
                let mut response = ready!(evidence::within(slot.as_ref(), || answer.poll(cx)))?;
                if let Some(evidence) = slot.take().and_then(|slot| slot.take()) {
                    evidence::write(&evidence, response.headers_mut());
                }
                if response.headers().contains_key(Status::GRPC_STATUS) {
                    recode(response.headers_mut());
                }
                if let Some((call, counters)) = calls.take() {
                    // An answer that is not refused has its status behind it.
                    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |s| s.code());
                    counters.calls.end(call, code);
                }
                if response.extensions_mut().remove::<Large>().is_some() {
                    response = response.map(|body| aside.encode(body));
                }
                Poll::Ready(Ok(response))
            }
        }
    }
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
        let known = ["/health", "/livez", "/readyz", "/version", "/metrics"];
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
            _ if path.starts_with("/v3/") => {
                json(501, r#"{"error":"JSON is not available in this release; use gRPC","code":12}"#.into())
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
