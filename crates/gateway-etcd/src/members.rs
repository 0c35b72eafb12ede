//! The Cluster service: who the members are, and changes of them; and the one call of the Maintenance service that is about
//! members, moving the leader.
//!
//! Replies of this service carry no revision, and that of moving the leader has no header at all.

use crate::{Gateway, convert, failure, unexpected};
use quorate_base::NodeId;
use quorate_node::api::{Answer, Body, Head, Member, Request};
use quorate_proto::etcdserverpb as pb;
use quorate_wire::members::Change;
use std::collections::BTreeSet;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

type Done<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Gateway {
    async fn member_list(&self, r: tonic::Request<pb::MemberListRequest>) -> Done<pb::MemberListResponse> {
        let (metadata, _, message) = r.into_parts();
        let request = Request::Members { linearizable: message.linearizable };
        match self.ask(&metadata, request).await? {
            Answer { head, body: Body::Members(members) } => Ok(Response::new(pb::MemberListResponse {
                header: Some(header(head)),
                members: members.into_iter().map(member).collect(),
            })),
            other => Err(unexpected(&other.body)),
        }
    }

    async fn member_add(&self, r: tonic::Request<pb::MemberAddRequest>) -> Done<pb::MemberAddResponse> {
        let (metadata, _, message) = r.into_parts();
        let learner = message.is_learner;
        let change = Change::Add { peer_urls: peer_urls(message.peer_ur_ls)?, learner };
        let (header, id, members) = self.change(&metadata, change).await?;
        // One that joins has no vote yet, and whoever added it as a voter is told of a voter.
        let added = members.iter().find(|m| m.id == id).cloned();
        Ok(Response::new(pb::MemberAddResponse { header, member: added, members }))
    }

    async fn member_remove(
        &self,
        r: tonic::Request<pb::MemberRemoveRequest>,
    ) -> Done<pb::MemberRemoveResponse> {
        let (metadata, _, message) = r.into_parts();
        let (header, _, members) = self.change(&metadata, Change::Remove { id: NodeId(message.id) }).await?;
        Ok(Response::new(pb::MemberRemoveResponse { header, members }))
    }

    async fn member_update(
        &self,
        r: tonic::Request<pb::MemberUpdateRequest>,
    ) -> Done<pb::MemberUpdateResponse> {
        let (metadata, _, message) = r.into_parts();
        let change = Change::Update { id: NodeId(message.id), peer_urls: peer_urls(message.peer_ur_ls)? };
        let (header, _, members) = self.change(&metadata, change).await?;
        Ok(Response::new(pb::MemberUpdateResponse { header, members }))
    }

    async fn member_promote(
        &self,
        r: tonic::Request<pb::MemberPromoteRequest>,
    ) -> Done<pb::MemberPromoteResponse> {
        let (metadata, _, message) = r.into_parts();
        let (header, _, members) = self.change(&metadata, Change::Promote { id: NodeId(message.id) }).await?;
        Ok(Response::new(pb::MemberPromoteResponse { header, members }))
    }
}

impl Gateway {
    async fn change(
        &self,
        metadata: &MetadataMap,
        change: Change,
    ) -> Result<(Option<pb::ResponseHeader>, u64, Vec<pb::Member>), Status> {
        match self.ask(metadata, Request::ChangeMembers(change)).await? {
            Answer { head, body: Body::MembersChanged { id, members } } => {
                Ok((Some(header(head)), id, members.into_iter().map(member).collect()))
            }
            other => Err(unexpected(&other.body)),
        }
    }

    pub(crate) async fn moved_leader(
        &self,
        r: tonic::Request<pb::MoveLeaderRequest>,
    ) -> Done<pb::MoveLeaderResponse> {
        let (metadata, _, message) = r.into_parts();
        match self.ask(&metadata, Request::MoveLeader { to: message.target_id }).await? {
            Answer { body: Body::Moved, .. } => Ok(Response::new(pb::MoveLeaderResponse { header: None })),
            other => Err(unexpected(&other.body)),
        }
    }
}

fn header(head: Head) -> pb::ResponseHeader {
    convert::header(Head { revision: 0, ..head })
}

fn member(m: Member) -> pb::Member {
    pb::Member {
        id: m.id,
        name: m.name,
        peer_ur_ls: m.peer_urls,
        client_ur_ls: m.client_urls,
        is_learner: m.learner,
    }
}

/// `http://host:port` or `unix://FILE` each, at least one; in order, and each once.
fn peer_urls(urls: Vec<String>) -> Result<Vec<String>, Status> {
    let urls: BTreeSet<String> = urls.into_iter().map(|url| url.trim_end_matches('/').to_string()).collect();
    if urls.is_empty() || !urls.iter().all(|url| is_peer_url(url)) {
        return Err(failure::invalid("etcdserver: given member URLs are invalid"));
    }
    Ok(urls.into_iter().collect())
}

fn is_peer_url(url: &str) -> bool {
    if let Some(file) = url.strip_prefix("unix://") {
        return !file.is_empty();
    }
    let Some((host, port)) = url.strip_prefix("http://").and_then(|rest| rest.rsplit_once(':')) else {
        return false;
    };
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let bare = !host.is_empty() && !host.contains([':', '/', '@', ' ', '[', ']', '?', '#']);
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    (bracketed || bare) && digits && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_hosts_with_ports_in_order_and_each_once() {
        let of = |urls: &[&str]| peer_urls(urls.iter().map(ToString::to_string).collect());
        let good = of(&["http://b:2", "http://a:1/", "http://b:2", "http://[::1]:3"]).unwrap();
        assert_eq!(good, ["http://[::1]:3", "http://a:1", "http://b:2"]);
        let files = of(&["unix://localhost:m1", "unix:///run/etcd/peer.sock"]).unwrap();
        assert_eq!(files, ["unix:///run/etcd/peer.sock", "unix://localhost:m1"]);
        for bad in [
            &[][..],
            &[""],
            &["a:1"],
            &["http://a"],
            &["http://a:1/x"],
            &["http://a:0"],
            &["http://::1:1"],
            &["https://a:1"],
            &["unix://"],
        ] {
            let status = of(bad).unwrap_err();
            assert_eq!(status.message(), "etcdserver: given member URLs are invalid", "{bad:?}");
        }
    }
}
