//! Evidence on request: a unary call with the metadata `quorate-evidence: 1` is answered with headers that say how it was served.
//!
//! The words are written down in `docs/evidence.md` and stay. They stand beside an error, too, where the node had come far
//! enough to know something. A call that asks the node several times (a lock) tells of the last time. The headers of a stream
//! are gone before its first answer, so they say only who serves it, and what its answers will rest on.

use crate::Gateway;
use http::{HeaderMap, HeaderName, HeaderValue};
use quorate_node::api::Request;
use quorate_node::evidence::{Evidence, Mode, Slot};
use tonic::codegen::http;

/// The metadata that asks.
const ASK: &str = "quorate-evidence";

tokio::task_local! {
    /// Where the evidence of the call goes that is being served.
    static SLOT: Slot;
}

/// A slot, if these headers ask for evidence.
pub(crate) fn slot(headers: &HeaderMap) -> Option<Slot> {
    headers.get(ASK).filter(|value| value.as_bytes() == b"1").map(|_| Slot::default())
}

/// Serves a call a little further, so that what it asks of the node is explained.
pub(crate) fn within<T>(slot: Option<&Slot>, serve: impl FnOnce() -> T) -> T {
    match slot {
        Some(slot) => SLOT.sync_scope(slot.clone(), serve),
        None => serve(),
    }
}

/// The request, to be explained if the call that is being served wants that.
pub(crate) fn ask(request: Request) -> Request {
    match SLOT.try_with(Slot::clone) {
        Ok(slot) => Request::Explained(Box::new(request), slot),
        Err(_) => request,
    }
}

impl Gateway {
    /// Tells of the stream that the call being served opens, if it asks: what comes over it rests on `mode`.
    pub(crate) async fn explain_stream(&self, mode: Mode) {
        let Ok(slot) = SLOT.try_with(Slot::clone) else { return };
        // Its own word says who leads. Without it there is no evidence, and a stream all the same.
        if self.call(Request::Status, None).await.is_ok() {
            slot.amend(|evidence| evidence.mode = mode);
        }
    }
}

/// Adds it to the headers of an answer.
pub(crate) fn write(evidence: &Evidence, headers: &mut HeaderMap) {
    for (name, value) in evidence.headers() {
        // Digits and words are always a value.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::{Index, NodeId, Term};
    use quorate_node::evidence::Part;

    /// Claim: only `1` asks, and the headers are those of docs/evidence.md.
    #[test]
    fn it_is_asked_for_with_1_and_told_in_the_documented_words() {
        let mut asked = HeaderMap::new();
        assert!(slot(&asked).is_none());
        asked.insert(ASK, HeaderValue::from_static("0"));
        assert!(slot(&asked).is_none());
        asked.insert(ASK, HeaderValue::from_static("1"));
        assert!(slot(&asked).is_some());
        assert_eq!(ask(Request::Status), Request::Status);
        let inner = within(slot(&asked).as_ref(), || ask(Request::Status));
        assert!(matches!(inner, Request::Explained(request, _) if *request == Request::Status));

        let evidence = Evidence {
            node: NodeId(2),
            leader: Some(NodeId(1)),
            term: Term(3),
            index: Some(Index(42)),
            applied: Index(43),
            mode: Mode::Log,
            acks: vec![(NodeId(1), Some(180)), (NodeId(3), Some(420))],
            voters: 3,
            closed: None,
            missed: None,
            parts: vec![
                (Part::Queue, 12),
                (Part::Forward, 310),
                (Part::Flush, 180),
                (Part::Replicate, 425),
                (Part::Apply, 60),
                (Part::Total, 807),
            ],
        };
        let mut headers = HeaderMap::new();
        write(&evidence, &mut headers);
        let documented = include_str!("../../../docs/evidence.md");
        for (name, value) in &headers {
            let line = format!("{name}: {}", value.to_str().unwrap());
            assert!(documented.contains(&line), "docs/evidence.md does not show {line}");
        }
        assert_eq!(headers.len(), 9);
        let words = [
            Part::Queue,
            Part::Forward,
            Part::Flush,
            Part::Replicate,
            Part::Confirm,
            Part::Apply,
            Part::Read,
            Part::Upkeep,
            Part::Move,
            Part::Total,
        ];
        let modes = [Mode::Log, Mode::Leader, Mode::ReadIndex, Mode::Lease, Mode::Local];
        for word in words.map(Part::word).into_iter().chain(modes.map(Mode::word)) {
            assert!(
                documented.contains(&format!("| `{word}` |")),
                "docs/evidence.md does not tell of {word}"
            );
        }
    }
}
