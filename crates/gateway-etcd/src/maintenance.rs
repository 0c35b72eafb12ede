//! The Maintenance service's work on the store: alarms, hashes, defragmentation, and how the node does.

use crate::{Gateway, convert, unexpected};
use quorate_node::api::{self, Answer, Body, Request};
use quorate_proto::etcdserverpb as pb;
use quorate_wire::kv::{Alarm, AlarmKind, Command, Reply};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

/// Shows, raises or takes back alarms.
pub(crate) async fn alarm(
    gateway: &Gateway,
    r: tonic::Request<pb::AlarmRequest>,
) -> Result<Response<pb::AlarmResponse>, Status> {
    use pb::alarm_request::AlarmAction;
    let pb::AlarmRequest { action, member_id, alarm } = *r.get_ref();
    let kind = u8::try_from(alarm).ok().and_then(AlarmKind::from_u8);
    let named = kind.map(|kind| Alarm { kind, member: member_id });
    let change = |on| named.map(|alarm| Request::Write(Command::Alarm { alarm, on }));
    let request = match AlarmAction::try_from(action) {
        Ok(AlarmAction::Get) => Some(Request::Alarms),
        Ok(AlarmAction::Activate) => change(true),
        Ok(AlarmAction::Deactivate) => change(false),
        Err(_) => None,
    };
    let Some(request) = request else {
        // As etcd: what names no alarm does nothing, and is answered.
        let header = Some(gateway.header_now(r.metadata()).await?);
        return Ok(Response::new(pb::AlarmResponse { header, alarms: Vec::new() }));
    };
    let get = request == Request::Alarms;
    let (head, alarms) = alarms(gateway, r.metadata(), request).await?;
    let wanted = |found: &Alarm| !get || kind.is_none_or(|kind| kind == found.kind);
    let alarms = alarms.into_iter().filter(wanted).map(member).collect();
    Ok(Response::new(pb::AlarmResponse { header: Some(convert::header(head)), alarms }))
}

/// Gives back the room of what nothing readable needs, on the asked node. Answered when it is done.
pub(crate) async fn defragment(
    gateway: &Gateway,
    metadata: &MetadataMap,
) -> Result<Response<pb::DefragmentResponse>, Status> {
    gateway.ask(metadata, Request::Defragment).await?;
    // As etcd: this answer alone has no header.
    Ok(Response::new(pb::DefragmentResponse { header: None }))
}

/// A hash of all that the asked node holds.
pub(crate) async fn hash(
    gateway: &Gateway,
    metadata: &MetadataMap,
) -> Result<Response<pb::HashResponse>, Status> {
    match gateway.ask(metadata, Request::HashAll).await? {
        Answer { head, body: Body::HashAll(hash) } => {
            Ok(Response::new(pb::HashResponse { header: Some(convert::header(head)), hash }))
        }
        other => Err(unexpected(&other.body)),
    }
}

/// A hash of what can be read of the keys at the asked node, up to a revision.
pub(crate) async fn hash_kv(
    gateway: &Gateway,
    r: tonic::Request<pb::HashKvRequest>,
) -> Result<Response<pb::HashKvResponse>, Status> {
    let revision = r.get_ref().revision;
    match gateway.ask(r.metadata(), Request::HashSpace { revision }).await? {
        Answer { head, body: Body::HashSpace(found) } => Ok(Response::new(pb::HashKvResponse {
            header: Some(convert::header(head)),
            hash: found.hash,
            compact_revision: found.compacted,
            hash_revision: found.revision,
        })),
        other => Err(unexpected(&other.body)),
    }
}

async fn alarms(
    gateway: &Gateway,
    metadata: &MetadataMap,
    request: Request,
) -> Result<(api::Head, Vec<Alarm>), Status> {
    match gateway.ask(metadata, request).await? {
        Answer { head, body: Body::Reply(Reply::Alarms(alarms)) } => Ok((head, alarms)),
        other => Err(unexpected(&other.body)),
    }
}

fn member(alarm: Alarm) -> pb::AlarmMember {
    pb::AlarmMember { member_id: alarm.member, alarm: alarm.kind as i32 }
}

/// What is unhealthy about a node, its alarms in etcd's words.
pub(crate) fn errors(status: &api::Status) -> Vec<String> {
    let alarm = |alarm: &Alarm| format!("memberID:{} alarm:{} ", alarm.member, name(alarm.kind));
    status.errors.iter().cloned().chain(status.alarms.iter().map(alarm)).collect()
}

/// An alarm's name on the wire and on pages.
pub(crate) const fn name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    }
}
