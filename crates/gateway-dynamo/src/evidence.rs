//! Evidence on request: an operation with the header `quorate-evidence: 1` is answered with headers that say how it was served.
//!
//! The words are those of the other door, see `docs/evidence.md`, and the shard's number beside them. They stand beside an error, too. An
//! operation that asks the node several times tells of the last answer. Of what another node did in this one's place only that node's
//! number is known.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use quorate_base::ShardId;
use quorate_node::api::Request;
use quorate_node::evidence::Slot;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The header that asks.
const ASK: &str = "quorate-evidence";
/// The header that names the shard.
const SHARD: &str = "quorate-shard";
/// What scripts of other origins may see beside what they always do.
pub(crate) const EXPOSED: &str = "x-amzn-requestid, x-amz-crc32, date, quorate-node, quorate-leader, quorate-term, \
                                  quorate-index, quorate-applied, quorate-mode, quorate-acks, quorate-voters, \
                                  quorate-micros, quorate-shard, quorate-passed-on, quorate-closed, \
                                  quorate-staleness, quorate-bound-missed";

tokio::task_local! {
    /// Where the evidence of the operation goes that is being carried out.
    static TOLD: Told;
}

/// What is told of an operation.
#[derive(Clone, Default)]
pub(crate) struct Told {
    slot: Slot,
    /// The shard of which it tells; 0 for none.
    shard: Arc<AtomicU32>,
}

/// Where evidence goes, if these headers ask for it.
pub(crate) fn told(headers: &HeaderMap) -> Option<Told> {
    headers.get(ASK).filter(|value| value.as_bytes() == b"1").map(|_| Told::default())
}

/// Serves an operation, so that what it asks of the node is explained.
pub(crate) async fn within<F: Future>(told: Option<&Told>, serve: F) -> F::Output {
    match told {
        Some(told) => TOLD.scope(told.clone(), serve).await,
        None => serve.await,
    }
}

/// The request, to be explained if the operation that is being carried out wants that.
pub(crate) fn ask(request: Request) -> Request {
    match TOLD.try_with(|told| told.slot.clone()) {
        Ok(slot) => Request::Explained(Box::new(request), slot),
        Err(_) => request,
    }
}

/// A shard has answered: what was told last is of it.
pub(crate) fn answered(shard: ShardId) {
    let _ = TOLD.try_with(|told| told.shard.store(shard.get(), Ordering::Relaxed));
}

/// Adds what is known to the headers of an answer.
pub(crate) fn write(told: &Told, headers: &mut HeaderMap) {
    let evidence = told.slot.headers();
    let shard = Some(told.shard.load(Ordering::Relaxed)).filter(|shard| *shard > 0 && !evidence.is_empty());
    for (name, value) in evidence.into_iter().chain(shard.map(|shard| (SHARD, shard.to_string()))) {
        // Digits and words are always a value.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
