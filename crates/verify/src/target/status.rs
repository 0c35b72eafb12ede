//! Questions about a node itself, over etcd's protocol and past all proxies.

use crate::door::end_of;
use quorate_proto::etcdserverpb as pb;
use std::time::Duration;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// Its id.
    pub(crate) id: u64,
    /// The leader that it knows; 0 for none.
    pub(crate) leader: u64,
    /// The newest revision that it holds.
    pub(crate) revision: i64,
}

fn client(url: &str) -> Result<pb::maintenance_client::MaintenanceClient<Channel>, String> {
    let endpoint = Endpoint::from_shared(url.to_string()).map_err(|e| e.to_string())?;
    let channel = endpoint.connect_timeout(PATIENCE).connect_lazy();
    Ok(pb::maintenance_client::MaintenanceClient::new(channel))
}

/// Asks a node for its status.
pub(crate) async fn status(url: &str) -> Result<Status, String> {
    let mut client = client(url)?;
    let reply = timeout(PATIENCE, client.status(pb::StatusRequest {})).await;
    let reply = reply.map_err(|_| "no answer")?.map_err(|s| s.message().to_string())?.into_inner();
    let header = reply.header.unwrap_or_default();
    Ok(Status { id: header.member_id, leader: reply.leader, revision: header.revision })
}

/// The hash over all that a node holds at a revision.
pub(crate) async fn hash(url: &str, revision: i64) -> Result<u32, String> {
    let mut client = client(url)?;
    let reply = timeout(Duration::from_secs(60), client.hash_kv(pb::HashKvRequest { revision })).await;
    Ok(reply.map_err(|_| "no answer")?.map_err(|s| s.message().to_string())?.into_inner().hash)
}

/// Removes all keys that begin so.
pub(crate) async fn remove(url: &str, prefix: &str) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(url.to_string()).map_err(|e| e.to_string())?;
    let channel = endpoint.connect_timeout(PATIENCE).connect_lazy();
    let key: bytes::Bytes = prefix.to_string().into();
    let request = pb::DeleteRangeRequest { range_end: end_of(&key), key, ..Default::default() };
    let reply = timeout(CHANGE, pb::kv_client::KvClient::new(channel).delete_range(request)).await;
    reply.map_err(|_| "no answer")?.map(|_| ()).map_err(|s| s.message().to_string())
}

/// Asks the leader at this URL to hand over to the member of this id.
pub(crate) async fn transfer(url: &str, target: u64) -> Result<(), String> {
    let mut client = client(url)?;
    let reply = timeout(PATIENCE, client.move_leader(pb::MoveLeaderRequest { target_id: target })).await;
    reply.map_err(|_| "no answer")?.map(|_| ()).map_err(|s| s.message().to_string())
}

fn members(url: &str) -> Result<pb::cluster_client::ClusterClient<Channel>, String> {
    let endpoint = Endpoint::from_shared(url.to_string()).map_err(|e| e.to_string())?;
    Ok(pb::cluster_client::ClusterClient::new(endpoint.connect_timeout(PATIENCE).connect_lazy()))
}

/// How long a change of members may take.
const CHANGE: Duration = Duration::from_secs(8);

/// Asks a node to take a member out of the cluster.
pub(crate) async fn remove_member(url: &str, id: u64) -> Result<(), String> {
    let mut client = members(url)?;
    let reply = timeout(CHANGE, client.member_remove(pb::MemberRemoveRequest { id })).await;
    reply.map_err(|_| "no answer")?.map(|_| ()).map_err(|s| s.message().to_string())
}

/// Asks a node to take a new member in, as a learner or with a vote.
pub(crate) async fn add_member(url: &str, peer: &str, learner: bool) -> Result<(), String> {
    let mut client = members(url)?;
    let request = pb::MemberAddRequest { peer_ur_ls: vec![peer.into()], is_learner: learner };
    let reply = timeout(CHANGE, client.member_add(request)).await;
    reply.map_err(|_| "no answer")?.map(|_| ()).map_err(|s| s.message().to_string())
}

/// Asks a node to give a learner its vote.
pub(crate) async fn promote_member(url: &str, id: u64) -> Result<(), String> {
    let mut client = members(url)?;
    let reply = timeout(CHANGE, client.member_promote(pb::MemberPromoteRequest { id })).await;
    reply.map_err(|_| "no answer")?.map(|_| ()).map_err(|s| s.message().to_string())
}

/// The members by the newest list, which a node that is cut off cannot give.
pub(crate) async fn list_members(url: &str) -> Result<Vec<pb::Member>, String> {
    let mut client = members(url)?;
    let reply = timeout(CHANGE, client.member_list(pb::MemberListRequest { linearizable: true })).await;
    reply.map_err(|_| "no answer")?.map(|r| r.into_inner().members).map_err(|s| s.message().to_string())
}
