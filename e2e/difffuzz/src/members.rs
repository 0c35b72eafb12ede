//! Changes of members that leave all as it was: a learner that nobody ever starts comes and goes.
//!
//! Ids are each cluster's own, and so is how many others there are: of a list only the learner is compared, under the id 1.
//! What would change who votes is left out: one side is one node, the other may be three. So is moving a member: etcd 3.4
//! makes a voter of a learner then and falls when that is removed, and it falls over an address that makes no sense.

use crate::op::Names;
use crate::side::{Line, Reply, outcome};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::cluster_client::ClusterClient;
use std::cell::Cell;
use std::time::Duration;

/// Nobody listens there, on either side.
const HERE: &str = "http://127.0.0.1:9";
const THERE: &str = "http://127.0.0.1:10";

/// Takes all steps at one endpoint, and gives all replies.
///
/// etcd 3.4 (`old`) was seen to let who adds what is there, promotes nobody, or removes a learner wait for ever, with nothing done: that is
/// asked once more.
pub async fn learner(names: &Names, old: bool, cluster: &mut ClusterClient<Line>) -> Reply {
    let id = Cell::new(0);
    let add = |url: &str, is_learner| pb::MemberAddRequest { peer_ur_ls: vec![url.into()], is_learner };
    let seen = |header: Option<pb::ResponseHeader>, members: Vec<pb::Member>| {
        let mut header = header;
        names.seen_header(&mut header);
        let ours = |m: &pb::Member| m.peer_ur_ls.iter().any(|url| url == HERE || url == THERE);
        let members = members.into_iter().filter(ours).map(|m| pb::Member { id: 1, ..m }).collect();
        Reply::Members(pb::MemberListResponse { header, members })
    };
    let (voter, taken) = match cluster.member_list(pb::MemberListRequest::default()).await {
        Ok(list) => {
            let first = list.into_inner().members.into_iter().next().unwrap_or_default();
            (first.id, first.peer_ur_ls.into_iter().next().unwrap_or_default())
        }
        Err(status) => return Reply::Error { code: status.code(), text: status.message().into() },
    };
    let mut all = Vec::new();
    let refused = async |cluster: &mut ClusterClient<Line>, url: &str| {
        let reply = outcome(cluster.member_add(add(url, true)), |r| seen(r.header, r.members)).await;
        if !old || !matches!(reply, Reply::Silence) {
            return reply;
        }
        outcome(cluster.member_add(add(url, true)), |r| seen(r.header, r.members)).await
    };
    for wrong in ["", "127.0.0.1:9", "http://127.0.0.1", "http://127.0.0.1:9/path"] {
        all.push(refused(cluster, wrong).await);
    }
    let added = |reply: pb::MemberAddResponse| {
        id.set(reply.member.as_ref().map_or(0, |m| m.id));
        seen(reply.header, reply.member.into_iter().collect())
    };
    all.push(outcome(cluster.member_add(add(HERE, true)), added).await);
    all.push(refused(cluster, &taken).await);
    all.push(refused(cluster, THERE).await);
    let list = pb::MemberListRequest { linearizable: true };
    all.push(outcome(cluster.member_list(list), |r| seen(r.header, r.members)).await);
    let learner = id.get();
    for id in [learner, voter, 77] {
        let promote = pb::MemberPromoteRequest { id };
        let mut reply = outcome(cluster.member_promote(promote), |r| seen(r.header, r.members)).await;
        if old && matches!(reply, Reply::Silence) {
            reply = outcome(cluster.member_promote(promote), |r| seen(r.header, r.members)).await;
        }
        all.push(reply);
    }
    let update = pb::MemberUpdateRequest { id: 77, peer_ur_ls: vec![THERE.into()] };
    all.push(outcome(cluster.member_update(update), |r| seen(r.header, r.members)).await);
    for id in [learner, learner, 77] {
        let remove = pb::MemberRemoveRequest { id };
        let mut reply = outcome(cluster.member_remove(remove), |r| seen(r.header, r.members)).await;
        if old && matches!(reply, Reply::Silence) {
            reply = outcome(cluster.member_remove(remove), |r| seen(r.header, r.members)).await;
        }
        all.push(reply);
    }
    // etcd makes an id of the address and the second: added again within the same one, the learner would be one that was removed.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    Reply::Several(all)
}
