//! Which web pages of other origins may call: what etcd's `--cors` says.
//!
//! A browser says with each request that a page makes elsewhere where that page came from, and keeps the answer from the page unless it
//! says that it may be read. etcd answers everybody, and says of those who are listed, all unless told otherwise, that they may read.
//! Here who is not listed is not answered in the first place: a page need not read the answer to a deletion.

use crate::front::Page;
use tonic::body::Body;
use tonic::codegen::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, HOST, ORIGIN,
};
use tonic::codegen::http::{HeaderMap, HeaderValue, Method, Response};

/// Those that may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// None: there are no users yet whose word a page would need, and a database on loopback must not be every web page's.
    #[default]
    Own,
    /// All.
    All,
    /// These, each as a browser writes it: `https://example.org`.
    These(Vec<String>),
}

impl Origins {
    /// Whether a browser says that a page asks which came from elsewhere and may not.
    pub(crate) fn refuse(&self, headers: &HeaderMap) -> bool {
        is_foreign(headers) && self.told(headers).is_none()
    }

    /// Which origin is told that it may read what is answered.
    pub(crate) fn told(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        match self {
            Self::Own => None,
            Self::All => Some(HeaderValue::from_static("*")),
            Self::These(all) => {
                let origin = headers.get(ORIGIN)?;
                all.iter().any(|one| one.as_bytes() == origin.as_bytes()).then(|| origin.clone())
            }
        }
    }
}

/// Whether a browser says that a page asks which did not come from here.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let host = headers.get(HOST).map_or(&b""[..], |host| host.as_bytes());
    origin.as_bytes().split(|&byte| byte == b'/').next_back() != Some(host)
}

/// The answer to a browser that asks first, as etcd has it whatever it asks for; else there is none yet.
pub(crate) fn asked_first(method: &Method) -> Option<Page> {
    (method == Method::OPTIONS).then(|| Response::new(Body::empty()))
}

/// Says on an answer, in etcd's words, that a page may read it.
pub(crate) fn tell(told: Option<HeaderValue>, headers: &mut HeaderMap) {
    let Some(origin) = told else { return };
    let say = HeaderValue::from_static;
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, say("POST, GET, OPTIONS, PUT, DELETE"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, say("accept, content-type, authorization"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::Front;
    use crate::tests::{Alone, gateway};
    use std::sync::Arc;
    use tonic::codegen::http::Request;

    /// Claim: a page of another origin is answered and told so where it is listed, as all are with `*`, and refused else; a browser that
    /// asks first gets an empty answer with the same words; pages have them as calls do.
    #[tokio::test]
    async fn pages_of_other_origins_are_answered_where_they_are_listed() {
        let listed = || Origins::These(vec!["https://a.test".into()]);
        for (origins, origin, status, told) in [
            (Origins::Own, Some("https://a.test"), 403, None),
            (Origins::Own, Some("http://localhost:2379"), 200, None),
            (Origins::Own, None, 200, None),
            (Origins::All, Some("https://a.test"), 200, Some("*")),
            (Origins::All, None, 200, Some("*")),
            (listed(), Some("https://a.test"), 200, Some("https://a.test")),
            (listed(), Some("https://b.test"), 403, None),
            (listed(), Some("http://localhost:2379"), 200, None),
            (listed(), None, 200, None),
        ] {
            let alone = Arc::new(Alone { willing: true, ..Alone::default() });
            let gateway = Arc::new(crate::Gateway { origins: origins.clone(), ..gateway(alone) });
            let front = Arc::new(Front { routes: crate::routes(&gateway), gateway });
            for (method, path, expected) in [
                (Method::POST, "/v3/kv/put", status),
                (Method::OPTIONS, "/v3/kv/put", 200),
                (Method::OPTIONS, "/version", 200),
                (Method::GET, "/version", 200),
            ] {
                let mut request = Request::builder().method(&method).uri(path).header(HOST, "localhost:2379");
                if let Some(origin) = origin {
                    request = request.header(ORIGIN, origin);
                }
                let body = http_body_util::Full::new(bytes::Bytes::from(r#"{"key":"YQ=="}"#));
                let Ok(answer) = front.clone().answer(request.body(body).unwrap()).await;
                let (head, body) = answer.into_parts();
                let name = format!("{origins:?}, {origin:?}: {method} {path}");
                assert_eq!(head.status.as_u16(), expected, "{name}");
                let say = |header| head.headers.get(header).map(|value| value.to_str().unwrap());
                assert_eq!(say(ACCESS_CONTROL_ALLOW_ORIGIN), told, "{name}");
                assert_eq!(say(ACCESS_CONTROL_ALLOW_HEADERS).is_some(), told.is_some(), "{name}");
                let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
                assert_eq!(body.is_empty(), method == Method::OPTIONS, "{name}");
            }
        }
    }
}
