//! What a node is told at its start, and which of it makes sense.
//!
//! The binary fills this from a TOML file and flags; tests fill it by hand. Everything that decides the outcome of a
//! replicated operation is *not* here: limits of that kind stand in the log.

use crate::error::{ServeError, ServeErrorKind};
use crate::sockets::UNIX;
use quorate_base::NodeId;
use quorate_wire::members::URLS_MAX;
use quorate_wire::table::is_zone;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One member of the cluster as it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: NodeId,
    /// Its name in member lists.
    pub name: String,
    /// `host:port` of its peer port, as the others reach it; or `unix://FILE`.
    pub address: String,
    /// `http://host:port` of its etcd door, as clients reach it; empty where another member has still to tell.
    pub client_url: String,
}

/// The command that starts a node. It decides what a node is told to do in words of its own, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starter {
    /// `quorate serve`. Data of a cluster that never had another member are refused where [`ServerConfig::peers`] names some: these
    /// would found a cluster of their own beside it.
    Serve,
    /// `quorate etcd`, which takes such data, as etcd does.
    Etcd,
}

/// All that a node is told.
///
/// [`ServerConfig::check`] holds: ids are not 0 and differ, the node itself is among `peers`, addresses have a host and a
/// port, `heartbeat * 3 <= election_min < election_max`, and nothing listens beyond loopback unless `insecure` says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The cluster's id; nodes of another cluster are refused, and so are their data directories.
    pub cluster: u64,
    /// This node.
    pub node: NodeId,
    /// Its name in member lists.
    pub name: String,
    /// Its data directory.
    pub data: PathBuf,
    /// Where the etcd door listens.
    pub etcd_listen: SocketAddr,
    /// Where else it listens.
    pub etcd_also: Vec<SocketAddr>,
    /// The URL at which clients reach the etcd door.
    pub etcd_advertise: String,
    /// More such URLs, which the list of members tells too.
    pub etcd_advertise_also: Vec<String>,
    /// Where the DynamoDB door listens, if there is one.
    pub dynamo_listen: Option<SocketAddr>,
    /// Where the peer port listens.
    pub peer_listen: SocketAddr,
    /// Where else it listens.
    pub peer_also: Vec<SocketAddr>,
    /// Files of sockets where it listens as well.
    pub peer_files: Vec<PathBuf>,
    /// The members with which the cluster begins, or which it has when this node joins it; this node included.
    pub peers: Vec<Peer>,
    /// Those of them that have no vote: this node among them, where it joins.
    pub learners: BTreeSet<NodeId>,
    /// This node joins and was added to vote: its clients need not know that it has no vote before it holds the log.
    pub joins: bool,
    /// How often a leader speaks.
    pub heartbeat: Duration,
    /// The shortest election timeout.
    pub election_min: Duration,
    /// The longest election timeout.
    pub election_max: Duration,
    /// Ask for votes at once: for the first node of a cluster that starts.
    pub campaign_at_once: bool,
    /// The node ran before, with a data directory that is lost: a new one is made for it, which knows that.
    pub data_lost: bool,
    /// By which command it is started.
    pub starter: Starter,
    /// The version that etcd clients are told: plain MAJOR.MINOR.PATCH.
    pub reported_version: String,
    /// Serve reads under a lease: how far the nodes' clocks may run fast or slow, in millionths. Unless set each such read asks a
    /// majority.
    pub lease_reads: Option<u32>,
    /// How often a watch that wants to hear how far it is hears it; ten minutes unless set.
    pub watch_progress: Option<Duration>,
    /// In which zone the node is, a rack or a data center, for what fails together; empty for none.
    pub zone: String,
    /// Listen beyond loopback without TLS and users.
    pub insecure: bool,
    /// What the node does unasked.
    pub upkeep: Upkeep,
}

/// What a node does unasked about the space and its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Bytes of the space beyond which the alarm for want of room is raised; 0 for no bound.
    pub quota_bytes: u64,
    /// Free bytes of the disk below which that alarm is raised; unless set a tenth of it, but 64 MiB at least and 2 GiB at
    /// most.
    pub min_free_bytes: Option<u64>,
    /// How much history is kept; all of it unless set.
    pub auto_compaction: Option<AutoCompaction>,
}

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// So much time of it.
    Periodic(Duration),
    /// So many revisions.
    Revisions(i64),
}

impl AutoCompaction {
    fn makes_sense(self) -> bool {
        match self {
            Self::Periodic(period) => {
                (Duration::from_secs(1)..=Duration::from_secs(10 << 25)).contains(&period)
            }
            Self::Revisions(kept) => kept > 0,
        }
    }

    /// As the lane takes it.
    pub(crate) fn for_lane(self) -> quorate_node::lane::AutoCompaction {
        use quorate_base::time::Duration;
        match self {
            Self::Periodic(period) => {
                let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
                quorate_node::lane::AutoCompaction::Periodic(Duration::from_nanos(nanos))
            }
            Self::Revisions(kept) => quorate_node::lane::AutoCompaction::Revisions(kept),
        }
    }
}

impl ServerConfig {
    /// Default time between heartbeats.
    pub const HEARTBEAT: Duration = Duration::from_millis(100);
    /// Default shortest election timeout.
    pub const ELECTION_MIN: Duration = Duration::from_millis(700);
    /// Default longest election timeout.
    pub const ELECTION_MAX: Duration = Duration::from_millis(1400);
    /// The drift of clocks that leases allow for unless the configuration says otherwise: one percent.
    pub const CLOCK_DRIFT: u32 = 10_000;
    /// The version that etcd clients are told unless the configuration says otherwise.
    pub const REPORTED_VERSION: &str = "3.6.16";

    /// The id of the cluster with this name: FNV-1a over the name, mixed, never 0.
    pub fn cluster_id(name: &str) -> u64 {
        let mut h = 0xCBF2_9CE4_8422_2325_u64;
        for byte in name.bytes() {
            h = (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        h = (h ^ (h >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        h = (h ^ (h >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (h ^ (h >> 31)).max(1)
    }

    /// Refuses what makes no sense, with what to do about it.
    pub fn check(&self) -> Result<(), ServeError> {
        self.check_peers()?;
        self.check_exposure()?;
        self.check_listeners()?;
        self.check_timing()?;
        if self.data_lost && self.peers.len() == 1 && self.learners.is_empty() {
            return Err(refuse(
                "this node is the only member, so no other can tell it what it has lost".to_string(),
                "restore a snapshot (`quorate snapshot restore`), or begin a new cluster without --data-lost",
            ));
        }
        if let Some(drift) = self.lease_reads.filter(|drift| !(1..=200_000).contains(drift)) {
            return Err(refuse(
                format!("a clock drift of up to {drift} ppm makes no sense for leases"),
                "no clock is perfect, and with more than 20% hardly any lease is left: write for example 1%",
            ));
        }
        if let Some(mode) = self.upkeep.auto_compaction.filter(|mode| !mode.makes_sense()) {
            return Err(refuse(
                format!("a compaction that keeps {mode:?} makes no sense"),
                "keep a second of history or more, or one revision or more",
            ));
        }
        if !self.zone.is_empty() && !is_zone(&self.zone) {
            return Err(refuse(
                format!("{:?} is no name of a zone", self.zone),
                "write 1 to 64 letters, digits, dots, underscores and hyphens, for example rack-3",
            ));
        }
        if !is_plain_version(&self.reported_version) {
            return Err(refuse(
                format!("reported_version {:?} is not MAJOR.MINOR.PATCH", self.reported_version),
                "etcd clients compare it as three numbers: use for example 3.6.16",
            ));
        }
        Ok(())
    }

    fn check_peers(&self) -> Result<(), ServeError> {
        let mut ids = BTreeSet::new();
        let mut addresses = BTreeSet::new();
        for peer in &self.peers {
            if peer.id == NodeId(0) {
                return Err(refuse("node id 0 means \"none\"".into(), "number the nodes from 1"));
            }
            if !ids.insert(peer.id) {
                return Err(refuse(
                    format!("two peers have the id {}", peer.id),
                    "give each node an id of its own",
                ));
            }
            check_peer(&peer.address)?;
            if !addresses.insert(&peer.address) {
                return Err(refuse(
                    format!("two peers have the address {}", peer.address),
                    "give each node a peer address of its own",
                ));
            }
            if !peer.client_url.is_empty() || peer.id == self.node {
                check_url(&peer.client_url)?;
            }
        }
        check_url(&self.etcd_advertise)?;
        self.etcd_advertise_also.iter().try_for_each(|url| check_url(url))?;
        let urls = 1 + self.etcd_advertise_also.len();
        if urls > URLS_MAX {
            return Err(refuse(
                format!("clients are told {urls} URLs of this node"),
                &format!("a member tells {URLS_MAX} at most"),
            ));
        }
        if !ids.contains(&self.node) {
            return Err(refuse(
                format!("node {} is not among the peers", self.node),
                "list all members of the cluster, this node included",
            ));
        }
        Ok(())
    }

    fn check_exposure(&self) -> Result<(), ServeError> {
        let also = self.etcd_also.iter().map(|&address| ("etcd", address));
        let also = also.chain(self.peer_also.iter().map(|&address| ("peer", address)));
        let also = also.chain(self.dynamo_listen.map(|address| ("DynamoDB", address)));
        let open = [("etcd", self.etcd_listen), ("peer", self.peer_listen)].into_iter().chain(also);
        match open.into_iter().find(|(_, address)| !address.ip().is_loopback()) {
            Some((what, address)) if !self.insecure => Err(refuse(
                format!(
                    "the {what} address {address} is open to the network, and there is neither TLS nor users yet"
                ),
                "listen on 127.0.0.1, or say --insecure (insecure = true) if the network is trusted",
            )),
            _ => Ok(()),
        }
    }

    /// The same port cannot be for two sorts of clients.
    fn check_listeners(&self) -> Result<(), ServeError> {
        let etcd =
            std::iter::once(&self.etcd_listen).chain(&self.etcd_also).map(|address| ("--etcd", address));
        let peer =
            std::iter::once(&self.peer_listen).chain(&self.peer_also).map(|address| ("--peer", address));
        let dynamo = self.dynamo_listen.iter().map(|address| ("--dynamo", address));
        let all: Vec<_> = etcd.chain(peer).chain(dynamo).filter(|(_, address)| address.port() != 0).collect();
        for (n, (flag, address)) in all.iter().enumerate() {
            if let Some((other, _)) = all[..n].iter().find(|(other, same)| other != flag && same == address) {
                return Err(refuse(
                    format!("{other} and {flag} both name {address}"),
                    "give each a port of its own",
                ));
            }
        }
        Ok(())
    }

    fn check_timing(&self) -> Result<(), ServeError> {
        let (beat, min, max) = (self.heartbeat, self.election_min, self.election_max);
        if beat < Duration::from_millis(1) || max > Duration::from_secs(100) {
            return Err(refuse(
                format!("heartbeat {beat:?}, election timeout up to {max:?}"),
                "a heartbeat is at least 1 ms, an election timeout at most 100 s",
            ));
        }
        if beat * 3 > min || min >= max {
            return Err(refuse(
                format!("heartbeat {beat:?}, election timeout {min:?} to {max:?}"),
                "the shortest election timeout must be at least three heartbeats, and shorter than the longest",
            ));
        }
        Ok(())
    }
}

fn refuse(message: String, hint: &str) -> ServeError {
    ServeError::new(ServeErrorKind::Config, message, hint)
}

/// `host:port`, or `unix://FILE`.
fn check_peer(address: &str) -> Result<(), ServeError> {
    if address.strip_prefix(UNIX).is_some_and(|file| !file.is_empty()) {
        return Ok(());
    }
    check_host_port(address)
}

/// The URL of a member's peer address.
pub fn peer_url(address: &str) -> String {
    if address.starts_with(UNIX) { address.to_string() } else { format!("http://{address}") }
}

/// `host:port`, host not empty, port not 0; an IPv6 host stands in brackets.
fn check_host_port(address: &str) -> Result<(), ServeError> {
    let good = address.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
        let bare = !host.is_empty() && !host.contains([':', '/', '@', ' ', '[', ']']);
        (bracketed || bare) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if good {
        return Ok(());
    }
    Err(refuse(format!("{address:?} is not an address"), "write HOST:PORT, for example 10.0.0.1:7100"))
}

/// `http://host:port`, perhaps with a slash behind.
pub fn check_url(url: &str) -> Result<(), ServeError> {
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        refuse(
            format!("{url:?} is not a client URL"),
            "write http://HOST:PORT, for example http://10.0.0.1:2379",
        )
    })?;
    check_host_port(rest.strip_suffix('/').unwrap_or(rest))
}

fn is_plain_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3
        && parts.iter().all(|p| p.len() < 6 && !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn peer(id: u64) -> Peer {
        Peer {
            id: NodeId(id),
            name: format!("n{id}"),
            address: format!("127.0.0.1:{}", 7100 + id),
            client_url: format!("http://127.0.0.1:{}", 2379 + id),
        }
    }

    pub(crate) fn good() -> ServerConfig {
        ServerConfig {
            cluster: ServerConfig::cluster_id("test"),
            node: NodeId(1),
            name: "n1".into(),
            data: "data".into(),
            etcd_listen: SocketAddr::from(([127, 0, 0, 1], 2380)),
            etcd_also: Vec::new(),
            etcd_advertise: "http://127.0.0.1:2380".into(),
            etcd_advertise_also: Vec::new(),
            dynamo_listen: None,
            peer_listen: SocketAddr::from(([127, 0, 0, 1], 7101)),
            peer_also: Vec::new(),
            peer_files: Vec::new(),
            peers: vec![peer(1), peer(2), peer(3)],
            learners: BTreeSet::new(),
            joins: false,
            heartbeat: ServerConfig::HEARTBEAT,
            election_min: ServerConfig::ELECTION_MIN,
            election_max: ServerConfig::ELECTION_MAX,
            campaign_at_once: false,
            data_lost: false,
            starter: Starter::Serve,
            reported_version: ServerConfig::REPORTED_VERSION.into(),
            lease_reads: None,
            watch_progress: None,
            zone: String::new(),
            insecure: false,
            upkeep: Upkeep::default(),
        }
    }

    #[test]
    fn the_defaults_pass_and_each_mistake_is_named() {
        assert_eq!(good().check(), Ok(()));
        let bad = |change: &dyn Fn(&mut ServerConfig), word: &str| {
            let mut config = good();
            change(&mut config);
            let error = config.check().expect_err(word);
            assert_eq!(error.kind, ServeErrorKind::Config);
            assert!(error.message.contains(word), "{:?} does not say {word:?}", error.message);
            assert!(!error.hint.is_empty(), "no hint for {word}");
        };
        bad(&|c| c.peers[1].id = NodeId(1), "two peers have the id 1");
        bad(&|c| c.peers[1].id = NodeId(0), "node id 0");
        for zone in ["a b", "a,b", "ä", &"a".repeat(65)] {
            bad(&|c| c.zone = zone.to_string(), "no name of a zone");
        }
        bad(&|c| c.node = NodeId(9), "node 9 is not among");
        bad(&|c| c.peers[1].address = c.peers[0].address.clone(), "two peers have the address");
        for address in ["host", "host:", ":7100", "host:0", "host:70000", "a b:1", "::1:7100", "x/y:1"] {
            bad(&|c| c.peers[2].address = address.into(), "is not an address");
        }
        bad(&|c| c.peers[2].client_url = "127.0.0.1:2379".into(), "is not a client URL");
        bad(&|c| c.etcd_advertise = "https://127.0.0.1:2379".into(), "is not a client URL");
        bad(&|c| c.etcd_listen = SocketAddr::from(([0, 0, 0, 0], 2379)), "open to the network");
        bad(&|c| c.peer_listen = SocketAddr::from(([10, 0, 0, 1], 2379)), "open to the network");
        bad(&|c| c.peer_also = vec![SocketAddr::from(([10, 0, 0, 1], 2379))], "open to the network");
        bad(&|c| c.dynamo_listen = Some(SocketAddr::from(([0, 0, 0, 0], 8000))), "the DynamoDB address");
        bad(&|c| c.dynamo_listen = Some(c.etcd_listen), "--etcd and --dynamo both name 127.0.0.1:2380");
        bad(&|c| c.peer_listen = c.etcd_listen, "--etcd and --peer both name");
        bad(&|c| c.election_min = Duration::from_millis(299), "heartbeat 100ms");
        bad(&|c| c.election_max = c.election_min, "heartbeat 100ms");
        bad(&|c| c.heartbeat = Duration::ZERO, "heartbeat 0ns");
        bad(&|c| c.upkeep.auto_compaction = Some(AutoCompaction::Revisions(0)), "a compaction that keeps");
        bad(
            &|c| c.upkeep.auto_compaction = Some(AutoCompaction::Periodic(Duration::ZERO)),
            "a compaction that keeps",
        );
        for drift in [0, 200_001] {
            bad(&|c| c.lease_reads = Some(drift), "a clock drift");
        }
        for version in ["3.6", "3.6.0-quorate", "3..0", "three.6.0"] {
            bad(&|c| c.reported_version = version.into(), "MAJOR.MINOR.PATCH");
        }
    }

    #[test]
    fn insecure_opens_and_ipv6_passes() {
        let mut config = good();
        config.insecure = true;
        config.etcd_listen = SocketAddr::from(([0, 0, 0, 0], 2379));
        config.peers[1].address = "[::1]:7100".into();
        config.peers[1].client_url = "http://[::1]:2379/".into();
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn the_cluster_id_never_changes() {
        // It stands in every data directory: another value here is another cluster there.
        assert_eq!(format!("{:016x}", ServerConfig::cluster_id("quorate")), "d35ffb28fc5705fe");
        assert_ne!(ServerConfig::cluster_id("a"), ServerConfig::cluster_id("b"));
    }
}
