//! Evidence on request: an operation with the header `quorate-evidence: 1` is answered with headers that say how it was served.
//!
//! The words are those of the other door, see `docs/evidence.md`. They stand beside an error, too. An operation that asks the node
//! several times tells of the last time. Of what another node did in this one's place only that node's number is known.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use quorate_node::api::Request;
use quorate_node::evidence::Slot;
use std::future::Future;

/// The header that asks.
const ASK: &str = "quorate-evidence";

tokio::task_local! {
    /// Where the evidence of the operation goes that is being carried out.
    static SLOT: Slot;
}

/// A slot, if these headers ask for evidence.
pub(crate) fn slot(headers: &HeaderMap) -> Option<Slot> {
    headers.get(ASK).filter(|value| value.as_bytes() == b"1").map(|_| Slot::default())
}

/// Serves an operation, so that what it asks of the node is explained.
pub(crate) async fn within<F: Future>(slot: Option<&Slot>, serve: F) -> F::Output {
    match slot {
        Some(slot) => SLOT.scope(slot.clone(), serve).await,
        None => serve.await,
    }
}

/// The request, to be explained if the operation that is being carried out wants that.
pub(crate) fn ask(request: Request) -> Request {
    match SLOT.try_with(Slot::clone) {
        Ok(slot) => Request::Explained(Box::new(request), slot),
        Err(_) => request,
    }
}

/// Adds what is known to the headers of an answer.
pub(crate) fn write(slot: &Slot, headers: &mut HeaderMap) {
    for (name, value) in slot.headers() {
        // Digits and words are always a value.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
