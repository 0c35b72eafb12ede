//! Fencing tokens, as clients show them: the metadata `quorate-fence: NAME=TOKEN`, NAME percent-encoded.
//!
//! A request that shows a token is refused with `FAILED_PRECONDITION` once a higher one was shown for the name. That is looked
//! at in the same step of the log as the write, so any node may be asked, and no write with a lower token is done after one
//! with a higher.
//!
//! It is heeded by Put, `DeleteRange`, Txn, Compact, `LeaseGrant`, `LeaseRevoke` and Range. A *read* with a token goes through
//! the log too: a holder that reads, thinks and writes is safe only if who held the name before cannot write after its read.
//! (It is linearizable then, also where it says that it need not be.) Everything else passes over it: streams, the other
//! services, and locks themselves, since no token exists before a lock is held.

use crate::Gateway;
use crate::failure::{invalid, status};
use bytes::Bytes;
use quorate_node::api::{Answer, Body, Failure, Request};
use quorate_proto::quoratepb as pb;
use quorate_wire::kv::{Command, FENCE_NAME_MAX, Fence, Op, Range, Reply, Txn};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

const METADATA: &str = "quorate-fence";
/// The highest token: no lock has a higher one, as no revision is ever higher. One mistaken token beyond them all would shut out
/// every holder that comes.
const TOKEN_MAX: u64 = 1 << 61;

/// What a request shows.
pub(crate) fn shown(metadata: &MetadataMap) -> Result<Option<Fence>, Status> {
    let mut all = metadata.get_all(METADATA).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(invalid("quorate: a request shows one token; quorate-fence is there twice"));
    }
    let fence = value.to_str().ok().and_then(parse).ok_or_else(|| {
        invalid(
            "quorate: quorate-fence must be NAME=TOKEN: a name of 1 to 256 bytes, percent-encoded, and a \
             number up to 2^61",
        )
    })?;
    Ok(Some(fence))
}

fn parse(text: &str) -> Option<Fence> {
    let (name, token) = text.rsplit_once('=')?;
    let name = decode(name)?;
    let digits = !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit());
    let token = token.parse().ok().filter(|&token| digits && token <= TOKEN_MAX)?;
    (1..=FENCE_NAME_MAX).contains(&name.len()).then(|| Fence { name: name.into(), token })
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        let digit = |b: Option<u8>| (b? as char).to_digit(16);
        match byte {
            b'%' => out.push((digit(bytes.next())? * 16 + digit(bytes.next())?) as u8),
            b'!'..=b'~' => out.push(byte),
            _ => return None,
        }
    }
    Some(out)
}

impl Gateway {
    /// Asks for a write, fenced if the client shows a token.
    pub(crate) async fn write(&self, metadata: &MetadataMap, command: Command) -> Result<Answer, Status> {
        let command = match shown(metadata)? {
            Some(fence) => Command::Fenced { fence, command: Box::new(command) },
            None => command,
        };
        self.ask(metadata, Request::Write(command)).await
    }

    /// Asks for a range; through the log if the client shows a token.
    pub(crate) async fn read(
        &self,
        metadata: &MetadataMap,
        range: Range,
        serializable: bool,
    ) -> Result<Answer, Status> {
        if shown(metadata)?.is_none() {
            return self.ask(metadata, Request::Range { range, serializable }).await;
        }
        // Inside a transaction only 0 is the newest revision.
        let range = Range { revision: range.revision.max(0), ..range };
        let txn = Txn { success: vec![Op::Range(range)], ..Txn::default() };
        match self.write(metadata, Command::Txn(txn)).await? {
            Answer { head, body: Body::Reply(Reply::Txn { replies, .. }) } => {
                let reply = replies.into_iter().next();
                let reply = reply.ok_or_else(|| {
                    status(&Failure::Broken("a fenced read was answered with nothing".into()))
                })?;
                Ok(Answer { head, body: Body::Reply(reply) })
            }
            other => Ok(other),
        }
    }
}

#[tonic::async_trait]
impl pb::fences_server::Fences for Gateway {
    async fn list(
        &self,
        r: tonic::Request<pb::FenceListRequest>,
    ) -> Result<Response<pb::FenceListResponse>, Status> {
        match self.ask(r.metadata(), Request::Fences).await?.body {
            Body::Fences(fences) => {
                let fences = fences.into_iter().map(|(name, token)| pb::Fence { name, token }).collect();
                Ok(Response::new(pb::FenceListResponse { fences }))
            }
            other => Err(crate::unexpected(&other)),
        }
    }

    async fn drop(
        &self,
        r: tonic::Request<pb::FenceDropRequest>,
    ) -> Result<Response<pb::FenceDropResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        let name: Bytes = message.name;
        self.ask(&metadata, Request::Write(Command::FenceDrop { name })).await?;
        Ok(Response::new(pb::FenceDropResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Result<Option<Fence>, Status> {
        let mut metadata = MetadataMap::new();
        metadata.insert(METADATA, value.parse().unwrap());
        shown(&metadata)
    }

    #[test]
    fn a_fence_is_a_name_and_a_number_and_all_else_is_refused() {
        let fence = |name: &'static [u8], token| Fence { name: Bytes::from_static(name), token };
        assert_eq!(of("a=7").unwrap(), Some(fence(b"a", 7)));
        assert_eq!(of("a%3D%00b/c%fF=2305843009213693952").unwrap(), Some(fence(b"a=\0b/c\xff", TOKEN_MAX)));
        assert_eq!(shown(&MetadataMap::new()).unwrap(), None);
        let long = format!("{}=1", "x".repeat(257));
        for bad in [
            "",
            "a",
            "=1",
            "a=",
            "a=-1",
            "a=+1",
            "a=1x",
            "a=2305843009213693953",
            "a=18446744073709551616",
            "a%=1",
            "a%4=1",
            &long,
        ] {
            let refused = of(bad).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{bad}");
        }
        let mut twice = MetadataMap::new();
        twice.append(METADATA, "a=1".parse().unwrap());
        twice.append(METADATA, "b=1".parse().unwrap());
        assert!(shown(&twice).is_err());
    }
}
