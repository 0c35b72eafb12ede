//! What the configuration says of the members, beside what the data say.
//!
//! The configuration's list counts when a directory is made. From then on the log has the members, and a list that says otherwise
//! is out of date, or a mistake: of these the dangerous one is a directory in which a node once began a cluster of its own.
//! Its peers, with directories that are new, begin another under the same name, and both serve.

use crate::config::{ServerConfig, Starter};
use crate::error::{ServeError, ServeErrorKind};
use quorate_base::NodeId;
use quorate_protocol::raft::Membership;
use quorate_wire::members::Book;
use std::collections::BTreeSet;

/// Refuses a lone node's data where the configuration names peers with which that never had to do, and tells every other
/// difference.
pub(crate) fn must_fit(config: &ServerConfig, known: &Membership) -> Result<(), ServeError> {
    let told: BTreeSet<NodeId> = config.peers.iter().map(|peer| peer.id).collect();
    let known_nodes = known.nodes();
    joined_or_not(config, known)?;
    if told == known_nodes || known_nodes.is_empty() || !known_nodes.contains(&config.node) {
        return Ok(());
    }
    let message = format!(
        "the data in {} are those of a cluster of {}, and the configuration names {}",
        config.data.display(),
        listed(&known_nodes),
        listed(&told)
    );
    let (what_counts, lone) =
        ("those of the data count", known_nodes.len() == 1 && !had_others(known, config.node));
    if lone && config.starter == Starter::Serve {
        let hint = "this node would serve alone, and the others as a cluster of their own under the same name; to keep its data \
                    start it as the only one of its list and add the others with `quorate node add`, else begin the cluster \
                    with an empty directory here, too";
        return Err(ServeError::new(ServeErrorKind::DataDir, message, hint));
    }
    if lone {
        tracing::warn!(
            "{message}: {what_counts}, and the others may be a cluster of their own; new members must be added first"
        );
    } else {
        tracing::info!("{message}: {what_counts}");
    }
    Ok(())
}

/// Refuses a lone node's data where the configuration says that a cluster is joined: it would serve beside that cluster, alone. Who has
/// joined has an id behind the first one, also where all the others are gone.
fn joined_or_not(config: &ServerConfig, known: &Membership) -> Result<(), ServeError> {
    let joins = config.learners.contains(&config.node);
    let first = known.voters.len() == 1 && known.voters.contains(&NodeId(1)) && config.node == NodeId(1);
    if !joins || !first || known.nodes().len() > 1 || had_others(known, config.node) {
        return Ok(());
    }
    let message = format!(
        "the data in {} are those of a node that began a cluster of its own, and it is to join another one",
        config.data.display()
    );
    if config.starter == Starter::Etcd {
        tracing::warn!("{message}: it serves alone");
        return Ok(());
    }
    let hint = "its data do not come along: to keep them start it without --join, and move them with `quorate snapshot save` and \
                `quorate space export`; to join, give it an empty directory with --data";
    Err(ServeError::new(ServeErrorKind::DataDir, message, hint))
}

/// Whether the cluster ever had a node but this one.
fn had_others(known: &Membership, node: NodeId) -> bool {
    Book::of(known).used > node
}

fn listed(nodes: &BTreeSet<NodeId>) -> String {
    let ids: Vec<String> = nodes.iter().map(|id| id.get().to_string()).collect();
    format!("node{} {}", if ids.len() == 1 { "" } else { "s" }, ids.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::good;

    fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// Claim: only data that never had another member are refused, and only where others are named.
    #[test]
    fn a_cluster_of_one_is_no_member_of_another() {
        let mut config = good();
        let lone = Membership { voters: ids(&[1]), ..Membership::default() };
        let refused = must_fit(&config, &lone).unwrap_err().to_string();
        assert!(
            refused.contains("cluster of node 1") && refused.contains("names nodes 1, 2, 3"),
            "{refused}"
        );
        config.starter = Starter::Etcd;
        assert!(must_fit(&config, &lone).is_ok(), "etcd takes it");
        config.starter = Starter::Serve;
        let shrunk = Book { used: NodeId(3), ..Book::default() };
        let shrunk = Membership { book: shrunk.encode().unwrap(), ..lone.clone() };
        assert!(must_fit(&config, &shrunk).is_ok(), "it had others");
        let three = Membership { voters: ids(&[1, 2, 3]), ..Membership::default() };
        assert!(must_fit(&config, &three).is_ok());
        config.peers.truncate(1);
        assert!(must_fit(&config, &lone).is_ok());
    }

    /// Claim: data of a node that began alone do not join another cluster; those of one that has joined start again, also where all others
    /// are gone, and so does a first node that had others.
    #[test]
    fn a_lone_node_does_not_join_with_its_data() {
        let mut config = good();
        config.peers.truncate(1);
        config.learners = ids(&[1]);
        let lone = Membership { voters: ids(&[1]), ..Membership::default() };
        let refused = must_fit(&config, &lone).unwrap_err();
        assert_eq!(refused.kind, ServeErrorKind::DataDir);
        assert!(refused.to_string().contains("began a cluster of its own"), "{refused}");
        let shrunk = Book { used: NodeId(3), ..Book::default() };
        let shrunk = Membership { book: shrunk.encode().unwrap(), ..lone.clone() };
        assert!(must_fit(&config, &shrunk).is_ok(), "it had others");
        assert!(must_fit(&config, &Membership::default()).is_ok(), "it has just joined");
        config.node = NodeId(4);
        config.peers[0].id = NodeId(4);
        config.learners = ids(&[4]);
        let last = Membership { voters: ids(&[4]), ..Membership::default() };
        assert!(must_fit(&config, &last).is_ok(), "the others were removed");
    }
}
