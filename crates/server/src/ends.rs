//! What is said where a node ends since it does not belong to its cluster, and what is to be done then.

use crate::began::Began;
use crate::config::{ServerConfig, Starter, peer_url};
use crate::error::{ServeError, ServeErrorKind};
use crate::transport::Exclusion;
use quorate_base::NodeId;
use std::path::Path;

/// A peer will never talk to this node.
pub(crate) fn excluded(
    config: &ServerConfig,
    peer: NodeId,
    why: Exclusion,
    began: Option<Began>,
) -> ServeError {
    match why {
        Exclusion::Removed => removed(config, Some(peer)),
        Exclusion::Forgetful => forgetful(config, peer),
        Exclusion::Began(theirs) => began_otherwise(config, peer, theirs, began),
    }
}

/// It was removed; who says so, if it is not in its own log.
pub(crate) fn removed(config: &ServerConfig, by: Option<NodeId>) -> ServeError {
    let by = by.map_or_else(|| "its log says so".to_string(), |by| format!("node {by} says so"));
    ServeError::new(
        ServeErrorKind::Removed,
        format!("node {} was removed from its cluster ({by})", config.node),
        &format!(
            "it is not coming back under this id: {} can be deleted; `quorate node add` adds a new node in its place",
            config.data.display()
        ),
    )
}

fn forgetful(config: &ServerConfig, peer: NodeId) -> ServeError {
    let (node, data) = (config.node, config.data.display());
    ServeError::new(
        ServeErrorKind::DataDir,
        format!(
            "member {:x} ({}) has already been bootstrapped: node {peer} has met this node with another data directory than {data}, so what \
             it had confirmed is lost or elsewhere",
            node.get(),
            config.name
        ),
        &format!(
            "start it with the directory that it had; if that is lost, {}",
            in_its_place(config.starter, (node, &config.name, address(config)), &config.data)
        ),
    )
}

/// How a member comes back whose data are lost, in the words of the command that starts it.
pub fn in_its_place(starter: Starter, (node, name, address): (NodeId, &str, &str), data: &Path) -> String {
    let (data, id) = (data.display(), node.get());
    match starter {
        Starter::Etcd => format!(
            "a new member takes its place: `etcdctl member remove {id:x}`, then `etcdctl member add {name} --peer-urls={}`, and a \
             start with an empty directory (delete {data}), --initial-cluster-state existing and the --initial-cluster that `member add` \
             prints",
            peer_url(address)
        ),
        Starter::Serve => format!(
            "a new member takes its place: `quorate node replace {id:x} --with HOST:PORT`; or delete {data}, and start it once with \
             --data-lost and the members that there are now: it is taken back when the others have told it what it may have forgotten"
        ),
    }
}

/// Where the others reach it.
fn address(config: &ServerConfig) -> &str {
    config.peers.iter().find(|peer| peer.id == config.node).map_or("HOST:PORT", |me| &me.address)
}

fn began_otherwise(config: &ServerConfig, peer: NodeId, theirs: Began, ours: Option<Began>) -> ServeError {
    let (node, data) = (config.node, config.data.display());
    let ours = ours.map_or_else(|| "something else".to_string(), |ours| ours.to_string());
    let restore = match config.starter {
        Starter::Etcd => "`etcdutl snapshot restore` (or `quorate snapshot restore`)",
        Starter::Serve => "`quorate snapshot restore`",
    };
    ServeError::new(
        ServeErrorKind::DataDir,
        format!(
            "the members of this cluster began with different data: node {node} ({data}) with {ours}, node {peer} with {theirs}; they would \
             answer differently for ever"
        ),
        &format!(
            "restore all members from one and the same snapshot, each into an empty directory: {restore}. Where the others serve already, add \
             this one as a new member, with an empty directory; nothing was changed"
        ),
    )
}
