//! What clients ask for, as requests and in words.

use super::fenced;
use super::looks::Look;
use crate::fences::Show;
use crate::leases::Step;
use crate::trace::{End, What};
use bytes::Bytes;
use quorate_base::{Instant, NodeId};
use quorate_node::api::{Answer, Body, Failure, Request};
use quorate_wire::kv::{
    Command, Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, LeaseId, Op, Put, Range, Refused,
    Reply, Revision, Txn,
};
use std::fmt;

/// The key that is counted.
const COUNTER: &[u8] = b"counter";
/// Keys with leases begin with it.
pub(super) const LEASED: &str = "leased";

/// One request of a client.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Put {
        key: u64,
        value: u64,
        /// So long it is at least.
        bytes: usize,
    },
    Delete {
        key: u64,
    },
    Get {
        key: u64,
    },
    List,
    /// Adds one to a counter by compare-and-set on its version: applied twice would show.
    Count {
        version: i64,
    },
    ReadCount,
    /// Forgets the history below a revision.
    Compact {
        revision: Revision,
    },
    /// Reads at an old revision.
    GetAt {
        key: u64,
        revision: Revision,
        /// What was known to be compacted.
        floor: Revision,
    },
    Lease {
        id: LeaseId,
        step: Step,
    },
    Show(Show),
    /// A serializable read.
    Look(Look),
}

impl Asked {
    /// What is sent for it.
    pub(super) fn request(&self) -> Request {
        let read = |range| Request::Range { range: Range { range, ..Range::default() }, serializable: false };
        match *self {
            Self::Put { key, value, bytes } => Request::Write(Command::Put(Put {
                key: key_bytes(key),
                value: padded(value, bytes),
                ..Put::default()
            })),
            Self::Delete { key } => {
                Request::Write(Command::Delete(DeleteRange { range: point(key), prev_kv: false }))
            }
            Self::Get { key } => read(point(key)),
            Self::Compact { revision } => Request::Write(Command::Compact { revision }),
            Self::GetAt { key, revision, .. } => {
                let range = Range { range: point(key), revision, ..Range::default() };
                Request::Range { range, serializable: false }
            }
            Self::List => read(KeyRange { key: "key".into(), end: "kez".into() }),
            Self::Lease { id, step } => lease_request(id, step),
            Self::Show(show) => fenced::request(show),
            Self::Look(look) => look.request(),
            Self::ReadCount => read(KeyRange { key: Bytes::from_static(COUNTER), end: Bytes::new() }),
            Self::Count { version } => Request::Write(Command::Txn(Txn {
                compare: vec![Compare {
                    range: KeyRange { key: Bytes::from_static(COUNTER), end: Bytes::new() },
                    result: CompareResult::Equal,
                    target: CompareTarget::Version(version),
                }],
                success: vec![Op::Put(Put { key: Bytes::from_static(COUNTER), ..Put::default() })],
                failure: vec![],
            })),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value, .. } => write!(f, "put key{key} {value}"),
            Self::Delete { key } => write!(f, "delete key{key}"),
            Self::Get { key } => write!(f, "get key{key}"),
            Self::Compact { revision } => write!(f, "compact up to {revision}"),
            Self::GetAt { key, revision, .. } => write!(f, "get key{key} at revision {revision}"),
            Self::List => f.write_str("list all keys"),
            Self::Look(look) => look.fmt(f),
            Self::Count { version } => write!(f, "count on if at {version}"),
            Self::ReadCount => f.write_str("read the count"),
            Self::Lease { id, step: Step::Grant { ttl } } => write!(f, "grant lease {id} of {ttl} s"),
            Self::Lease { id, step: Step::Attach } => write!(f, "put {LEASED}{id} with lease {id}"),
            Self::Lease { id, step: Step::KeepAlive } => write!(f, "keep lease {id} alive"),
            Self::Lease { id, step: Step::Read } => write!(f, "get {LEASED}{id}"),
            Self::Lease { id, step: Step::Ask } => {
                write!(f, "ask what remains of lease {id}, and for its keys")
            }
            Self::Show(show) => {
                let (fence, does) = (show.fence(), if show.writes { "put" } else { "get" });
                write!(
                    f,
                    "{does} {} under token {} of {}",
                    show.key(),
                    fence.token,
                    String::from_utf8_lossy(&fence.name)
                )
            }
        }
    }
}

/// An answer in few words.
fn answer_in_words(result: &Result<Answer, Failure>) -> String {
    let answer = match result {
        Ok(answer) => answer,
        Err(Failure::Refused(refused, _)) => return format!("refused: {}", refused_in_words(refused)),
        Err(Failure::Broken(why)) => return format!("failed: {why}"),
        Err(Failure::Stopping) => return "the node is down".into(),
        Err(failure) => return format!("no answer: {failure:?}"),
    };
    let at = answer.head.revision;
    match &answer.body {
        Body::Reply(Reply::Delete { deleted, .. }) => format!("{deleted} deleted at revision {at}"),
        Body::Reply(Reply::Txn { succeeded: false, .. }) => format!("not so, at revision {at}"),
        Body::Reply(Reply::Range(range)) => {
            let pair = |kv: &quorate_wire::kv::KeyValue| {
                let value = String::from_utf8_lossy(&kv.value).into_owned();
                if kv.value.is_empty() { format!("version {}", kv.version) } else { value }
            };
            match range.kvs.as_slice() {
                [] => format!("nothing there, at revision {at}"),
                [one] => format!("{} of revision {}, at revision {at}", pair(one), one.mod_revision),
                many => format!("{} pairs, at revision {at}", many.len()),
            }
        }
        Body::KeepAlive { ttl: 0, .. } => "there is no such lease".into(),
        Body::KeepAlive { ttl, .. } => format!("{ttl} s more"),
        Body::TimeToLive { ttl, keys, .. } => format!("{ttl} s more, {} keys", keys.len()),
        Body::MembersChanged { id, members } => format!("{id} changed, {} members now", members.len()),
        _ => format!("done at revision {at}"),
    }
}

/// An answer as a record.
pub(super) fn answered(
    client: Option<usize>,
    node: NodeId,
    asked: Instant,
    op: String,
    result: &Result<Answer, Failure>,
) -> What {
    let end = match result {
        Ok(_) => End::Answered,
        Err(Failure::Refused(..) | Failure::Broken(_) | Failure::Members(_) | Failure::NoLeader) => {
            End::Refused
        }
        Err(_) => End::Unknown,
    };
    What::Answered { client, node, asked, op, end, text: answer_in_words(result) }
}

fn refused_in_words(refused: &Refused) -> String {
    match refused {
        Refused::Compacted { revision } => format!("compacted up to {revision}"),
        Refused::LeaseNotFound => "there is no such lease".into(),
        Refused::Fenced { token } => format!("token {token} was shown"),
        other => format!("{other:?}"),
    }
}

pub(super) fn key_bytes(key: u64) -> Bytes {
    Bytes::from(format!("key{key}"))
}

/// A number with zeros before it.
fn padded(number: u64, bytes: usize) -> Bytes {
    let digits = number.to_string();
    let mut text = vec![b'0'; bytes.max(digits.len())];
    let at = text.len() - digits.len();
    text[at..].copy_from_slice(digits.as_bytes());
    text.into()
}

pub(super) fn point(key: u64) -> KeyRange {
    KeyRange { key: key_bytes(key), end: Bytes::new() }
}

/// The key that hangs on a lease.
pub(super) fn leased_key(id: LeaseId) -> Bytes {
    Bytes::from(format!("{LEASED}{id}"))
}

fn lease_request(id: LeaseId, step: Step) -> Request {
    let key = leased_key(id);
    match step {
        Step::Grant { ttl } => Request::Write(Command::LeaseGrant { id, ttl }),
        Step::Attach => Request::Write(Command::Put(Put { key, lease: id, ..Put::default() })),
        Step::KeepAlive => Request::LeaseKeepAlive { id },
        Step::Ask => Request::LeaseTimeToLive { id, keys: true },
        Step::Read => {
            let range = Range { range: KeyRange { key, end: Bytes::new() }, ..Range::default() };
            Request::Range { range, serializable: false }
        }
    }
}

pub(super) fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|s| s.parse().ok()).unwrap_or(0)
}
