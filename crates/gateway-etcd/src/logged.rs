//! What stands in an entry of etcd's log, told as a command of this program: for whoever takes over a directory of etcd whose store
//! does not hold all of its log.
//!
//! An entry is etcd's `InternalRaftRequest`: one request of a client, or one of etcd's own about members, versions and users. Earlier
//! releases wrote some of their own as requests of etcd's version 2, which the message cannot be: these concern members and versions,
//! or keys of version 2. What the entry sets is looked at first, so that nothing is passed over that is not known here.

use crate::{check, convert};
use bytes::Bytes;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use quorate_proto::etcdserverpb as pb;
use quorate_wire::kv::{Alarm, AlarmKind, Command, Grant};

/// What an entry is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Logged {
    /// This changes the space, or tries to.
    Command(Command),
    /// It changes nothing of it.
    Nothing,
    /// It is about users, who do not count while they are not asked for.
    Users,
}

/// As etcd logs it, without what changes nothing.
#[derive(Clone, PartialEq, Message)]
struct InternalRequest {
    #[prost(message, optional, tag = "2")]
    v2: Option<Version2>,
    #[prost(message, optional, tag = "4")]
    put: Option<pb::PutRequest>,
    #[prost(message, optional, tag = "5")]
    delete: Option<pb::DeleteRangeRequest>,
    #[prost(message, optional, tag = "6")]
    txn: Option<pb::TxnRequest>,
    #[prost(message, optional, tag = "7")]
    compaction: Option<pb::CompactionRequest>,
    #[prost(message, optional, tag = "8")]
    lease_grant: Option<pb::LeaseGrantRequest>,
    #[prost(message, optional, tag = "9")]
    lease_revoke: Option<pb::LeaseRevokeRequest>,
    #[prost(message, optional, tag = "10")]
    alarm: Option<pb::AlarmRequest>,
    #[prost(message, optional, tag = "11")]
    lease_checkpoint: Option<Checkpoints>,
}

/// A request of version 2.
#[derive(Clone, PartialEq, Message)]
struct Version2 {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(string, tag = "3")]
    path: String,
}

#[derive(Clone, PartialEq, Message)]
struct Checkpoints {
    #[prost(message, repeated, tag = "1")]
    all: Vec<Checkpoint>,
}

#[derive(Clone, PartialEq, Message)]
struct Checkpoint {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    remaining: i64,
}

/// The numbers of what an entry may set.
mod field {
    pub(super) const ID: u32 = 1;
    pub(super) const V2: u32 = 2;
    pub(super) const RANGE: u32 = 3;
    pub(super) const CHECKPOINT: u32 = 11;
    pub(super) const HEADER: u32 = 100;
    pub(super) const AUTH_ENABLE: u32 = 1000;
    pub(super) const USERS: std::ops::RangeInclusive<u32> = 1011..=1205;
    /// The cluster's version, members' attributes, downgrades.
    pub(super) const CLUSTER: std::ops::RangeInclusive<u32> = 1300..=1302;
}

/// What an entry of etcd's log is; a lease has `least_lease` seconds at least, as etcd gives it when it applies. An error says in words
/// why it cannot be had here.
pub fn logged(entry: &Bytes, least_lease: i64) -> Result<Logged, String> {
    if entry.is_empty() {
        return Ok(Logged::Nothing);
    }
    let request = fields(entry).and_then(|set| Some((set, InternalRequest::decode(entry.clone()).ok()?)));
    let Some((set, request)) = request else {
        let v2 = Version2::decode(entry.clone()).map_err(|_| "it is no request of etcd".to_string())?;
        return version2(&v2);
    };
    for number in set {
        match number {
            field::AUTH_ENABLE => return Err("it asks for users, of whom there are none here".into()),
            number if field::USERS.contains(&number) => return Ok(Logged::Users),
            field::ID | field::RANGE | field::HEADER => {}
            number if field::CLUSTER.contains(&number) => {}
            field::V2..=field::CHECKPOINT => {}
            number => return Err(format!("it sets field {number}, which is not known here")),
        }
    }
    match request {
        InternalRequest { v2: Some(v2), .. } => version2(&v2),
        request => command(request, least_lease),
    }
}

fn command(request: InternalRequest, least_lease: i64) -> Result<Logged, String> {
    let wrong = |status: tonic::Status| status.message().to_string();
    let command = if let Some(put) = request.put {
        Command::Put(convert::put(put))
    } else if let Some(delete) = request.delete {
        Command::Delete(convert::delete(delete))
    } else if let Some(txn) = request.txn {
        check::txn(&txn, usize::MAX).map_err(wrong)?;
        if check::only_reads(&txn) {
            return Ok(Logged::Nothing);
        }
        Command::Txn(convert::txn(txn).map_err(wrong)?)
    } else if let Some(compaction) = request.compaction {
        Command::Compact { revision: compaction.revision }
    } else if let Some(grant) = request.lease_grant {
        Command::LeaseGrant { id: grant.id, ttl: grant.ttl.max(least_lease) }
    } else if let Some(revoke) = request.lease_revoke {
        Command::LeaseRevoke { ids: vec![revoke.id] }
    } else if let Some(checkpoint) = request.lease_checkpoint {
        // Of which grant it is etcd does not say.
        let of = |id| Grant { id, at: quorate_base::Index(0) };
        Command::LeaseCheckpoint {
            remaining: checkpoint.all.iter().map(|c| (of(c.id), c.remaining)).collect(),
        }
    } else if let Some(alarm) = request.alarm {
        return alarmed(&alarm);
    } else {
        return Ok(Logged::Nothing);
    };
    Ok(Logged::Command(command))
}

fn alarmed(request: &pb::AlarmRequest) -> Result<Logged, String> {
    let kind = u8::try_from(request.alarm).ok().and_then(AlarmKind::from_u8);
    match (request.action, kind) {
        (0, _) | (_, None) => Ok(Logged::Nothing),
        (action @ 1..=2, Some(kind)) => {
            let alarm = Alarm { kind, member: request.member_id };
            Ok(Logged::Command(Command::Alarm { alarm, on: action == 1 }))
        }
        (action, _) => Err(format!("it does {action} to an alarm, which is not known here")),
    }
}

/// What etcd kept of itself stands below `/0`, keys of version 2 below `/1`.
fn version2(request: &Version2) -> Result<Logged, String> {
    if request.method == "SYNC" || request.path == "/0" || request.path.starts_with("/0/") {
        Ok(Logged::Nothing)
    } else {
        Err(format!("it is a request of etcd's version 2: {} {:?}", request.method, request.path))
    }
}

/// The numbers of what a message sets; `None` where it is none.
fn fields(message: &Bytes) -> Option<Vec<u32>> {
    let (mut rest, mut set) = (message.clone(), Vec::new());
    while !rest.is_empty() {
        let (number, kind) = decode_key(&mut rest).ok()?;
        skip_field(kind, number, &mut rest, DecodeContext::default()).ok()?;
        set.push(number);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &impl Message) -> Result<Logged, String> {
        logged(&message.encode_to_vec().into(), 2)
    }

    /// Claim: each request is the command that a client's would be, and what concerns members and versions is none.
    #[test]
    fn entries_are_the_commands_that_they_stand_for() {
        let put = pb::PutRequest { key: "k".into(), value: "v".into(), lease: 7, ..Default::default() };
        let Ok(Logged::Command(Command::Put(told))) =
            of(&InternalRequest { put: Some(put), ..Default::default() })
        else {
            panic!("no put")
        };
        assert_eq!((&told.key[..], &told.value[..], told.lease), (&b"k"[..], &b"v"[..], 7));
        let grant = pb::LeaseGrantRequest { id: 7, ttl: 1 };
        let granted = of(&InternalRequest { lease_grant: Some(grant), ..Default::default() });
        assert_eq!(granted, Ok(Logged::Command(Command::LeaseGrant { id: 7, ttl: 2 })));
        let raised = pb::AlarmRequest { action: 1, member_id: 9, alarm: 1 };
        let alarm = Alarm { kind: AlarmKind::NoSpace, member: 9 };
        assert_eq!(
            of(&InternalRequest { alarm: Some(raised), ..Default::default() }),
            Ok(Logged::Command(Command::Alarm { alarm, on: true }))
        );
        let read = InternalRequest { txn: Some(pb::TxnRequest::default()), ..Default::default() };
        assert_eq!(of(&read), Ok(Logged::Nothing));
        assert_eq!(logged(&Bytes::new(), 2), Ok(Logged::Nothing));
        let attributes = Version2 { method: "PUT".into(), path: "/0/members/1/attributes".into() };
        assert_eq!(of(&attributes), Ok(Logged::Nothing));
    }

    /// Claim: what is not known here, users that are asked for, and keys of version 2 are errors that say so; users that are not asked
    /// for are told apart.
    #[test]
    fn what_cannot_be_had_is_named() {
        // Key and length of an empty message.
        let message = |number: u32| {
            let mut out = Vec::new();
            prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut out);
            out.push(0);
            logged(&out.into(), 2)
        };
        assert!(message(1000).unwrap_err().contains("users"));
        assert_eq!(message(1100), Ok(Logged::Users));
        assert_eq!(message(1301), Ok(Logged::Nothing));
        assert!(message(12).unwrap_err().contains("field 12"));
        let key = Version2 { method: "PUT".into(), path: "/1/a".into() };
        assert!(of(&key).unwrap_err().contains("version 2"));
        assert!(logged(&Bytes::from_static(b"\xff\xff\xff"), 2).unwrap_err().contains("no request"));
    }
}
