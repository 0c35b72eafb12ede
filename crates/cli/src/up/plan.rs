//! Which nodes a local cluster has and on which ports they listen: chosen once, kept in the data directory.
//!
//! Nodes 1 to 3 have fixed ports, so that a client's configuration can be written down once: node k adds (k-1)·10000 to
//! 2379, 8000 and 7100. From node 4 on such ports would lie among those that the kernel hands to outgoing connections, and node
//! 7's would not exist: they take free ones, below that range. So does a node whose port is taken, if that is allowed.

use crate::report::{Exit, Problem};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use tokio::net::TcpSocket;

const FILE: &str = quorate_server::datadir::CLUSTER;
/// 2: a node may have been removed from its cluster. 3: each node has a port for DynamoDB clients. 4: a node
/// may be in a zone.
const FORMAT: u32 = 4;
const ETCD: u16 = 2379;
const DYNAMO: u16 = 8000;
const PEER: u16 = 7100;
const STEP: u16 = 10_000;
/// The last node with fixed ports.
const LAST_FIXED: u64 = 3;
/// Where free ports are looked for: above the well-known ones, below Linux's ephemeral ones.
const FREE: std::ops::Range<u16> = 20_000..32_000;
/// More than this on one machine is a mistake.
pub(super) const MOST_NODES: u64 = 9;

/// The name of the cluster that `up` keeps in `dir`, if it does.
pub(crate) fn cluster_in(dir: &Path) -> Option<String> {
    Plan::load(dir).ok().flatten().map(|plan| plan.cluster)
}

/// A local cluster.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    format: u32,
    /// The cluster's name.
    pub(super) cluster: String,
    /// Its nodes, by id.
    pub(super) nodes: Vec<PlannedNode>,
}

/// One node of it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct PlannedNode {
    /// Its id.
    pub(super) id: u64,
    /// Its etcd door.
    pub(super) etcd: SocketAddr,
    /// Its DynamoDB door; port 0 in a plan of an older release, which had none.
    #[serde(default = "unchosen")]
    pub(super) dynamo: SocketAddr,
    /// Its peer port.
    pub(super) peer: SocketAddr,
    /// In which zone it is, if in any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) zone: Option<String>,
    /// It was removed from the cluster, and is not started any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) removed: bool,
}

impl PlannedNode {
    /// The URL of its etcd door.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.etcd)
    }
}

impl Plan {
    /// A new cluster of `count` nodes whose name nobody else has.
    pub(super) fn new(count: u64, cluster: String) -> Self {
        // Port 0 is "to be chosen", see `settle`.
        let port = |base: u16, id: u64| match u16::try_from(id - 1) {
            Ok(k) if id <= LAST_FIXED => base + k * STEP,
            _ => 0,
        };
        let node = |id| PlannedNode {
            id,
            etcd: local(port(ETCD, id)),
            dynamo: local(port(DYNAMO, id)),
            peer: local(port(PEER, id)),
            zone: None,
            removed: false,
        };
        Self { format: FORMAT, cluster, nodes: (1..=count).map(node).collect() }
    }

    /// The nodes that are members still, as far as is known.
    pub(super) fn members(&self) -> impl DoubleEndedIterator<Item = &PlannedNode> {
        self.nodes.iter().filter(|node| !node.removed)
    }

    /// Puts the nodes into these zones in turn; true if one was in another.
    pub(super) fn put_into(&mut self, zones: &[String]) -> bool {
        let before = self.clone();
        for (node, zone) in self.nodes.iter_mut().zip(zones.iter().cycle()) {
            node.zone = Some(zone.clone());
        }
        *self != before
    }

    /// A node was removed from the cluster.
    pub(super) fn remove(&mut self, id: u64) {
        self.nodes.iter_mut().filter(|node| node.id == id).for_each(|node| node.removed = true);
    }

    /// The plan kept in `dir`, if there is one.
    pub(super) fn load(dir: &Path) -> Result<Option<Self>, Problem> {
        let path = dir.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unusable(format!("cannot read {}: {e}", path.display()))),
        };
        let plan: Self = toml::from_str(&text)
            .map_err(|e| unusable(format!("{}: {}", path.display(), e.to_string().trim_end())))?;
        if plan.format > FORMAT {
            return Err(Problem::new(
                Exit::DataDir,
                format!("{} has format {}, and this program knows {FORMAT}", path.display(), plan.format),
                "start the newer program that wrote it, or choose another directory with --data",
            ));
        }
        let in_order = plan.nodes.iter().zip(1..).all(|(node, id)| node.id == id);
        if plan.nodes.is_empty() || !in_order {
            return Err(unusable(format!("{}: the nodes are not numbered from 1", path.display())));
        }
        if let Err(what) = plan.check() {
            return Err(unusable(format!("{}: {what}", path.display())));
        }
        Ok(Some(plan))
    }

    /// What a hand that changed the file may have got wrong.
    fn check(&self) -> Result<(), String> {
        if self.cluster.is_empty() {
            return Err("the cluster has no name".into());
        }
        if self.nodes.len() as u64 > MOST_NODES {
            return Err(format!("{} nodes, and a local cluster has at most {MOST_NODES}", self.nodes.len()));
        }
        let mut seen = BTreeSet::new();
        let mut addresses =
            self.nodes.iter().flat_map(|n| [n.etcd, n.dynamo, n.peer]).filter(|a| a.port() != 0);
        addresses
            .find(|a| !seen.insert(*a))
            .map_or(Ok(()), |twice| Err(format!("{twice} stands there twice")))
    }

    /// Keeps the plan in `dir`, in one step.
    pub(super) fn store(&self, dir: &Path) -> Result<(), Problem> {
        let (new, path) = (dir.join("cluster.toml.new"), dir.join(FILE));
        let text = toml::to_string(self).map_err(|e| unusable(e.to_string()))?;
        let write = || -> std::io::Result<()> {
            let head = "# The cluster that `quorate up` runs from this directory. Ports may be changed while it is stopped.\n";
            std::fs::write(&new, format!("{head}{text}"))?;
            std::fs::File::open(&new)?.sync_all()?;
            std::fs::rename(&new, &path)?;
            std::fs::File::open(dir)?.sync_all()
        };
        write().map_err(|e| unusable(format!("cannot write {}: {e}", path.display())))
    }

    /// Gives every node ports that are free now. A taken one is replaced if `any_port`, else it is the caller's problem.
    /// Returns the ports that were chosen, as `(node, what, port)`.
    pub(super) fn settle(
        &mut self,
        any_port: bool,
        is_free: &dyn Fn(u16) -> bool,
    ) -> Result<Vec<(u64, &'static str, u16)>, Problem> {
        let mut used: BTreeSet<u16> = self
            .nodes
            .iter()
            .flat_map(|n| [n.etcd.port(), n.dynamo.port(), n.peer.port()])
            .filter(|&port| port != 0)
            .collect();
        self.format = FORMAT;
        let mut candidates = rotated(&self.cluster);
        let mut chosen = Vec::new();
        for node in self.nodes.iter_mut().filter(|node| !node.removed) {
            let doors = [("etcd clients", &mut node.etcd), ("DynamoDB clients", &mut node.dynamo)];
            for (what, address) in doors.into_iter().chain([("peers", &mut node.peer)]) {
                if address.port() != 0 && is_free(address.port()) {
                    continue;
                }
                if address.port() != 0 && !any_port {
                    return Err(Problem::new(
                        Exit::PortTaken,
                        format!("{address}, for {what} of node {}, is taken", node.id),
                        "stop what uses it (perhaps another `quorate up`), or add --any-port to take free ports",
                    ));
                }
                let port =
                    candidates.find(|&port| !used.contains(&port) && is_free(port)).ok_or_else(|| {
                        Problem::new(
                            Exit::PortTaken,
                            format!("no port in {FREE:?} is free"),
                            "stop something",
                        )
                    })?;
                used.insert(port);
                *address = local(port);
                chosen.push((node.id, what, port));
            }
        }
        Ok(chosen)
    }
}

/// True if nobody listens there. The port is bound and not listened on, so that the question is never in the way of a
/// node, of this cluster or of another one, that takes the port at the same moment.
pub(super) fn is_free(port: u16) -> bool {
    let probe = || {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(local(port))
    };
    probe().is_ok()
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// To be chosen, see [`Plan::settle`].
const fn unchosen() -> SocketAddr {
    local(0)
}

/// The candidates for free ports, begun at a place that depends on the cluster: two that start together do not race.
fn rotated(cluster: &str) -> impl Iterator<Item = u16> + use<> {
    let width = u64::from(FREE.end - FREE.start);
    let start = FREE.start + (quorate_server::ServerConfig::cluster_id(cluster) % width) as u16;
    (start..FREE.end).chain(FREE.start..start)
}

fn unusable(message: String) -> Problem {
    Problem::new(Exit::DataDir, message, "mend or remove that file, or choose another directory with --data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_nodes_have_the_ports_of_the_manual_and_more_take_free_ones() {
        let mut plan = Plan::new(5, "c".into());
        let chosen = plan.settle(false, &|_| true).unwrap();
        let ports: Vec<[u16; 3]> =
            plan.nodes.iter().map(|n| [n.etcd, n.dynamo, n.peer].map(|a| a.port())).collect();
        assert_eq!(ports[..3], [[2379, 8000, 7100], [12379, 18000, 17100], [22379, 28000, 27100]]);
        assert_eq!(chosen.len(), 6, "{chosen:?}");
        let all: BTreeSet<u16> = ports.iter().flatten().copied().collect();
        assert_eq!(all.len(), 15, "no port twice: {ports:?}");
        assert!(ports[3..].iter().flatten().all(|port| FREE.contains(port)), "{ports:?}");
    }

    #[test]
    fn a_taken_port_is_named_or_replaced() {
        let taken = |port| port != 12379;
        let problem = Plan::new(3, "c".into()).settle(false, &taken).unwrap_err();
        assert_eq!(problem.exit, Exit::PortTaken);
        assert!(
            problem.message.contains("127.0.0.1:12379") && problem.message.contains("node 2"),
            "{problem}"
        );
        let mut plan = Plan::new(3, "c".into());
        let chosen = plan.settle(true, &taken).unwrap();
        assert_eq!(chosen, [(2, "etcd clients", plan.nodes[1].etcd.port())]);
        assert_eq!(plan.nodes[1].peer.port(), 17100);
        assert!(Plan::new(4, "c".into()).settle(true, &|_| false).is_err());
        // A port that another node of the plan keeps is not up for choice, even while nobody listens there.
        let mut plan = Plan::new(4, "c".into());
        plan.settle(false, &|_| true).unwrap();
        plan.settle(true, &|port| port != 2379).unwrap();
        let all: BTreeSet<u16> = plan.nodes.iter().flat_map(|n| [n.etcd.port(), n.peer.port()]).collect();
        assert_eq!(all.len(), 8, "{plan:?}");
    }

    #[test]
    fn a_plan_is_kept_and_a_broken_one_refused() {
        let dir = std::env::temp_dir().join(format!("quorate-plan-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(Plan::load(&dir), Ok(None));
        let mut plan = Plan::new(4, "name".into());
        let zones = ["a", "b", "c"].map(String::from);
        assert_eq!([plan.put_into(&[]), plan.put_into(&zones), plan.put_into(&zones)], [false, true, false]);
        let zones: Vec<_> = plan.nodes.iter().filter_map(|node| node.zone.as_deref()).collect();
        assert_eq!(zones, ["a", "b", "c", "a"]);
        plan.store(&dir).unwrap();
        assert_eq!(Plan::load(&dir), Ok(Some(plan.clone())));
        for (from, to) in [("format = 4", "format = 5"), ("id = 2", "id = 7"), ("cluster", "clutter")] {
            let text = std::fs::read_to_string(dir.join(FILE)).unwrap();
            std::fs::write(dir.join(FILE), text.replace(from, to)).unwrap();
            assert_eq!(Plan::load(&dir).unwrap_err().exit, Exit::DataDir, "{to}");
            plan.store(&dir).unwrap();
        }
        let mut left = plan.clone();
        left.remove(2);
        left.store(&dir).unwrap();
        let kept = Plan::load(&dir).unwrap().unwrap();
        assert_eq!((kept.format, kept.members().map(|n| n.id).collect()), (4, vec![1, 3, 4]));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// A release before had no DynamoDB door: its plans get ports for one.
    #[test]
    fn a_plan_of_an_older_release_gets_the_ports_that_it_lacks() {
        let dir = std::env::temp_dir().join(format!("quorate-plan-old-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let text = "format = 1\ncluster = \"c\"\n[[nodes]]\nid = 1\netcd = \"127.0.0.1:2379\"\npeer = \"127.0.0.1:7100\"\n";
        std::fs::write(dir.join(FILE), text).unwrap();
        let mut plan = Plan::load(&dir).unwrap().unwrap();
        let chosen = plan.settle(false, &|_| true).unwrap();
        assert_eq!(chosen, [(1, "DynamoDB clients", plan.nodes[0].dynamo.port())]);
        assert_eq!((plan.format, plan.nodes[0].etcd.port()), (4, 2379));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_plan_that_makes_no_sense_is_refused_by_name() {
        let dir = std::env::temp_dir().join(format!("quorate-plan-bad-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let node = |id: u64, etcd: u16, peer: u16| {
            format!("[[nodes]]\nid = {id}\netcd = \"127.0.0.1:{etcd}\"\npeer = \"127.0.0.1:{peer}\"\n")
        };
        let head = "format = 1\ncluster = \"c\"\n";
        for (text, word) in [
            (String::new(), "format"),
            ("format = 99999999999999999999".into(), "expected u32"),
            (format!("{head}nodes = []"), "not numbered from 1"),
            (format!("{head}{}{}", node(1, 2379, 7100), node(1, 2380, 7101)), "not numbered from 1"),
            (format!("{head}{}", node(2, 2379, 7100)), "not numbered from 1"),
            (format!("{head}{}{}", node(1, 2379, 7100), node(2, 2379, 7101)), "2379"),
            (format!("{head}{}", node(1, 2379, 2379)), "2379"),
            (
                format!(
                    "{head}{}",
                    (1..=MOST_NODES + 1).map(|n| node(n, n as u16, 100 + n as u16)).collect::<String>()
                ),
                "at most",
            ),
            ("format = 1\ncluster = \"\"\n".to_string() + &node(1, 2379, 7100), "name"),
            (format!("{head}[[nodes]]\nid = 1\netcd = \"nowhere\"\npeer = \"127.0.0.1:1\""), "nowhere"),
        ] {
            std::fs::write(dir.join(FILE), &text).unwrap();
            let problem = Plan::load(&dir).expect_err(word);
            assert_eq!(problem.exit, Exit::DataDir, "{text}");
            assert!(problem.message.contains(word) && !problem.hint.is_empty(), "{text}: {problem}");
        }
        std::fs::write(dir.join(FILE), [0xff, 0xfe]).unwrap();
        assert_eq!(Plan::load(&dir).unwrap_err().exit, Exit::DataDir);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
