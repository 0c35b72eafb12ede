//! The settings of one node: a TOML file, overridden by flags, over defaults. Unknown keys are refused by name.

use super::join::Join;
use crate::report::{Exit, Problem};
use quorate_base::NodeId;
use quorate_gateway_etcd::{Limits, Origins};
use quorate_server::{AutoCompaction, Peer, ServerConfig, Starter, Upkeep};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What goes to the log unless told otherwise: warnings, and what the node itself has to say.
pub(crate) const LOG: &str = "warn,quorate_server=info,quorate_node=info";
const CLUSTER: &str = "quorate";
const ETCD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2379);
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7100);

/// The flags that set one value each; the same names as in the file.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Flags {
    /// This node's id, from 1 [default: 1]
    #[arg(long, value_name = "ID")]
    pub(crate) node: Option<u64>,
    /// The cluster's name; nodes of differently named clusters refuse each other [default: quorate]
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// This node's data directory [default: quorate-data/nID]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where etcd clients connect [default: 127.0.0.1:2379]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) etcd: Option<SocketAddr>,
    /// Where DynamoDB clients connect, for example 127.0.0.1:8000 [default: nowhere]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) dynamo: Option<SocketAddr>,
    /// A file of access keys: DynamoDB clients must sign with one of them. A line has an id and a secret [default: any key is taken]
    #[arg(long, value_name = "FILE")]
    pub(crate) dynamo_keys: Option<PathBuf>,
    /// Where the other nodes connect [default: 127.0.0.1:7100]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) peer: Option<SocketAddr>,
    /// All members with their peer addresses, this node included: 1=HOST:PORT,2=HOST:PORT,… [default: this node alone]
    #[arg(long, value_name = "ID=HOST:PORT", value_delimiter = ',', value_parser = pair)]
    pub(crate) peers: Vec<(u64, String)>,
    /// All members' etcd URLs as clients reach them, one for each of --peers: 1=http://HOST:PORT,…
    #[arg(long, value_name = "ID=URL", value_delimiter = ',', value_parser = pair)]
    pub(crate) client_urls: Vec<(u64, String)>,
    /// Join a cluster that serves, in the place of --node, --cluster and --peers: etcd endpoints of members. The cluster must
    /// have been told of this node (`quorate node add`)
    #[arg(long, value_name = "URL[,URL...]", value_delimiter = ',', value_parser = crate::probe::url_of_clients)]
    #[arg(conflicts_with_all = ["node", "cluster", "peers", "client_urls"])]
    pub(crate) join: Vec<String>,
    /// With --join: this node's name in member lists [default: n and its id]
    #[arg(long, value_name = "NAME", requires = "join")]
    pub(crate) name: Option<String>,
    /// With --join: where the other nodes reach this one [default: what --peer says]
    #[arg(long, value_name = "HOST:PORT", requires = "join")]
    pub(crate) advertise_peer: Option<String>,
    /// With --join: where clients reach this node [default: http:// and what --etcd says]
    #[arg(long, value_name = "URL", requires = "join", value_parser = crate::probe::url_of_clients)]
    pub(crate) advertise_etcd: Option<String>,
    /// In which zone this node is, a rack or a data center: replicas of one shard are kept in different ones. Name them once all nodes
    /// are of a release that knows zones: 1 to 64 letters, digits, dots, underscores and hyphens [default: a zone of its own]
    #[arg(long, value_name = "NAME", value_parser = zone)]
    pub(crate) zone: Option<String>,
    /// Allow addresses beyond loopback although there is neither TLS nor users yet
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Time between a leader's heartbeats [default: 100]
    #[arg(long, value_name = "MS")]
    pub(crate) heartbeat_ms: Option<u64>,
    /// Shortest election timeout [default: 700]
    #[arg(long, value_name = "MS")]
    pub(crate) election_min_ms: Option<u64>,
    /// Longest election timeout [default: 1400]
    #[arg(long, value_name = "MS")]
    pub(crate) election_max_ms: Option<u64>,
    /// Serve linearizable reads under the leader's lease, without asking a majority each time. They are linearizable only while
    /// no node's clock drifts by more than --max-clock-drift; docs/lease-reads.md says what that means
    #[arg(long)]
    pub(crate) lease_reads: bool,
    /// How far a node's clock may run fast or slow while reads are served under leases, as in 1% or 500ppm [default: 1%]
    #[arg(long, value_name = "DRIFT", value_parser = drift)]
    pub(crate) max_clock_drift: Option<u32>,
    /// The version that etcd clients are told, MAJOR.MINOR.PATCH [default: 3.6.16]
    #[arg(long, value_name = "VERSION")]
    pub(crate) reported_version: Option<String>,
    /// Bytes of the key-value space beyond which writes are refused by an alarm; K, M and G may stand behind; 0 for no bound
    /// [default: 0]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) quota: Option<u64>,
    /// Free bytes of the disk below which writes are refused by an alarm [default: a tenth of the disk, 64M to 2G]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) min_free: Option<u64>,
    /// How much history is kept without being asked: a time, as in 1h, or a number of revisions; `off` for all of it
    /// [default: off]
    #[arg(long, value_name = "TIME|REVISIONS")]
    pub(crate) auto_compaction: Option<String>,
    /// What to log on standard error: a level (error, warn, info, debug, trace) or a list of target=level [default: warnings,
    /// and what the node itself has to say]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
}

/// Parses a number of bytes, with K, M, G or T for powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, unit)) if "KMGT".contains(unit) => (&text[..at], " KMGT".find(unit).unwrap_or(0)),
        _ => (text, 0),
    };
    let number = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << (10 * unit)));
    number.ok_or_else(|| format!("{text:?} is no number of bytes: write for example 8G"))
}

/// Parses a drift of clocks, into millionths.
fn drift(text: &str) -> Result<u32, String> {
    let parsed = if let Some(millionths) = text.strip_suffix("ppm") {
        millionths.parse().ok()
    } else {
        text.strip_suffix('%').and_then(|percent| percent.parse::<u32>().ok()?.checked_mul(10_000))
    };
    parsed.ok_or_else(|| format!("{text:?} is no drift of a clock: write for example 1% or 500ppm"))
}

/// Parses how much history is kept.
fn auto_compaction(text: &str) -> Result<Option<AutoCompaction>, Problem> {
    if text == "off" {
        return Ok(None);
    }
    if let Ok(revisions) = text.parse() {
        return Ok(Some(AutoCompaction::Revisions(revisions)));
    }
    // Hours and days, which other times have no use for.
    let (digits, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let hours = match unit {
        "h" => digits.parse::<u64>().ok(),
        "d" => digits.parse::<u64>().ok().and_then(|days| days.checked_mul(24)),
        _ => None,
    };
    let seconds = hours.and_then(|hours| hours.checked_mul(3600)).map(Duration::from_secs);
    match seconds.or_else(|| crate::probe::time(text).ok()) {
        Some(period) => Ok(Some(AutoCompaction::Periodic(period))),
        None => Err(Problem::new(
            Exit::Usage,
            format!("{text:?} says not how much history is kept"),
            "write a time, as in 1h or 30m, a number of revisions, or off",
        )),
    }
}

/// Parses `ID=VALUE`.
fn pair(text: &str) -> Result<(u64, String), String> {
    let (id, value) = text.split_once('=').ok_or("write ID=VALUE")?;
    let id = id.trim().parse().map_err(|_| format!("{id:?} is not a node id"))?;
    Ok((id, value.trim().to_string()))
}

/// The file. Everything in it is optional.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields)]
struct File {
    node: Option<u64>,
    cluster: Option<String>,
    data: Option<PathBuf>,
    zone: Option<String>,
    insecure: Option<bool>,
    reported_version: Option<String>,
    log: Option<String>,
    #[serde(default)]
    listen: Listen,
    #[serde(default)]
    timing: Timing,
    #[serde(default)]
    disk: Disk,
    #[serde(default)]
    peers: Vec<FilePeer>,
    #[serde(default)]
    join: Vec<String>,
    name: Option<String>,
    #[serde(default)]
    advertise: Advertise,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields)]
struct Advertise {
    etcd: Option<String>,
    peer: Option<String>,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields)]
struct Disk {
    quota_bytes: Option<u64>,
    min_free_bytes: Option<u64>,
    auto_compaction: Option<String>,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields)]
struct Listen {
    etcd: Option<SocketAddr>,
    dynamo: Option<SocketAddr>,
    dynamo_keys: Option<PathBuf>,
    peer: Option<SocketAddr>,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields)]
struct Timing {
    heartbeat_ms: Option<u64>,
    election_min_ms: Option<u64>,
    election_max_ms: Option<u64>,
    lease_reads: Option<bool>,
    max_clock_drift: Option<String>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
struct FilePeer {
    id: u64,
    name: Option<String>,
    address: String,
    client_url: String,
}

/// The effective settings of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// What to log.
    pub(crate) log: String,
    /// The cluster is not to be begun, but to be joined: then it says who this node is and who the others are.
    pub(crate) join: Option<Join>,
    /// Where the keys of DynamoDB's clients are, if they must have one.
    pub(crate) dynamo_keys: Option<PathBuf>,
    /// How large a request of etcd's clients may be.
    pub(crate) limits: Limits,
    /// Files of sockets where they connect as well.
    pub(crate) sockets: Vec<PathBuf>,
    /// Which web pages may call there.
    pub(crate) origins: Origins,
    /// From how long on a request of theirs is told in the log, if any is.
    pub(crate) slow: Option<Duration>,
    /// All the rest.
    pub(crate) server: ServerConfig,
}

/// The name of a zone.
pub(crate) fn zone(text: &str) -> Result<String, String> {
    let hint = "write 1 to 64 letters, digits, dots, underscores and hyphens";
    if quorate_wire::table::is_zone(text) { Ok(text.into()) } else { Err(hint.into()) }
}

impl Settings {
    /// The file at `path`, if any, overridden by `flags`. Not yet checked.
    pub(crate) fn gather(path: Option<&Path>, flags: &Flags) -> Result<Self, Problem> {
        let file = match path {
            Some(path) => read(path)?,
            None => File::default(),
        };
        Self::merge(file, flags.clone())
    }

    fn merge(file: File, flags: Flags) -> Result<Self, Problem> {
        let ms = |flag: Option<u64>, file: Option<u64>, default: Duration| {
            flag.or(file).map_or(default, Duration::from_millis)
        };
        let node = NodeId(flags.node.or(file.node).unwrap_or(1));
        let etcd = flags.etcd.or(file.listen.etcd).unwrap_or(ETCD);
        let peer = flags.peer.or(file.listen.peer).unwrap_or(PEER);
        let cluster = flags.cluster.or(file.cluster).unwrap_or_else(|| CLUSTER.into());
        if cluster.is_empty() {
            let hint = "give it one, the same on all nodes";
            return Err(Problem::new(Exit::Usage, "the cluster has no name", hint));
        }
        let data = flags.data.or(file.data);
        let endpoints = if flags.join.is_empty() { file.join } else { flags.join };
        let join = (!endpoints.is_empty()).then(|| Join {
            endpoints,
            through: Vec::new(),
            name: flags.name.or(file.name),
            peer: flags.advertise_peer.or(file.advertise.peer).unwrap_or_else(|| peer.to_string()),
            etcd: flags.advertise_etcd.or(file.advertise.etcd).unwrap_or_else(|| format!("http://{etcd}")),
            data: data.clone(),
        });
        let zone = flags.zone.or(file.zone).map_or(Ok(None), |name| zone(&name).map(Some));
        let zone = zone.map_err(|hint| {
            Problem::new(Exit::Usage, "the name of the zone in the settings is none", hint)
        })?;
        let kept = flags.auto_compaction.or(file.disk.auto_compaction);
        let kept = kept.as_deref().map_or(Ok(None), auto_compaction)?;
        let mut peers = if flags.peers.is_empty() {
            file.peers.into_iter().map(FilePeer::into_peer).collect()
        } else {
            pair_up(flags.peers, flags.client_urls)?
        };
        if peers.is_empty() {
            peers.push(alone(node, etcd, peer));
        }
        let me = peers.iter().find(|p| p.id == node).cloned().unwrap_or_else(|| alone(node, etcd, peer));
        let drifts = match (flags.max_clock_drift, file.timing.max_clock_drift) {
            (Some(flag), _) => flag,
            (None, Some(text)) => drift(&text).map_err(|why| {
                Problem::new(Exit::Usage, why, "it stands in the settings as max_clock_drift")
            })?,
            (None, None) => ServerConfig::CLOCK_DRIFT,
        };
        let leases = flags.lease_reads || file.timing.lease_reads.unwrap_or(false);
        let beat = ms(flags.heartbeat_ms, file.timing.heartbeat_ms, ServerConfig::HEARTBEAT);
        let shortest = ms(flags.election_min_ms, file.timing.election_min_ms, ServerConfig::ELECTION_MIN);
        let longest = ms(flags.election_max_ms, file.timing.election_max_ms, ServerConfig::ELECTION_MAX);
        Ok(Self {
            server: ServerConfig {
                cluster: ServerConfig::cluster_id(&cluster),
                node,
                name: me.name,
                data: data.unwrap_or_else(|| format!("quorate-data/n{node}").into()),
                etcd_listen: etcd,
                etcd_also: Vec::new(),
                etcd_advertise: me.client_url,
                etcd_advertise_also: Vec::new(),
                dynamo_listen: flags.dynamo.or(file.listen.dynamo),
                peer_listen: peer,
                peer_also: Vec::new(),
                peer_files: Vec::new(),
                peers,
                learners: BTreeSet::new(),
                joins: false,
                heartbeat: beat,
                election_min: shortest,
                election_max: longest,
                campaign_at_once: false,
                data_lost: false,
                starter: Starter::Serve,
                reported_version: flags
                    .reported_version
                    .or(file.reported_version)
                    .unwrap_or_else(|| ServerConfig::REPORTED_VERSION.into()),
                lease_reads: leases.then_some(drifts),
                watch_progress: None,
                zone: zone.unwrap_or_default(),
                insecure: flags.insecure || file.insecure.unwrap_or(false),
                upkeep: Upkeep {
                    quota_bytes: flags.quota.or(file.disk.quota_bytes).unwrap_or(0),
                    min_free_bytes: flags.min_free.or(file.disk.min_free_bytes),
                    auto_compaction: kept,
                },
            },
            log: flags.log.or(file.log).unwrap_or_else(|| LOG.into()),
            join,
            dynamo_keys: flags.dynamo_keys.or(file.listen.dynamo_keys),
            limits: Limits::default(),
            slow: None,
            sockets: Vec::new(),
            origins: Origins::Own,
            cluster,
        })
    }

    /// The settings as a file that gives the same settings again.
    pub(crate) fn to_toml(&self) -> String {
        let s = &self.server;
        let mut out = String::new();
        let text = |value: &str| toml::Value::String(value.into()).to_string();
        // Writing to a String cannot fail.
        let _ = out.write_str(
            "# Settings of one Quorate node. Each key may be left out; flags of `quorate serve` win over this file.\n\n",
        );
        match &self.join {
            Some(join) => {
                let endpoints: Vec<String> = join.endpoints.iter().map(|e| text(e)).collect();
                let _ = writeln!(
                    out,
                    "# Members of the cluster that this node joins; from them it learns who it is.\njoin = [{}]",
                    endpoints.join(", ")
                );
                if let Some(name) = &join.name {
                    let _ = writeln!(out, "# Its name in member lists.\nname = {}", text(name));
                }
            }
            None => {
                let _ = write!(
                    out,
                    "# This node's id. It must never have been another node's.\nnode = {}\n\
                     # Nodes of differently named clusters refuse each other.\ncluster = {}\n",
                    s.node,
                    text(&self.cluster),
                );
            }
        }
        if self.join.as_ref().is_none_or(|join| join.data.is_some()) {
            let _ = writeln!(
                out,
                "# Where this node keeps its data. One process at a time.\ndata = {}",
                text(&s.data.to_string_lossy())
            );
        }
        let zone = Some(s.zone.as_str()).filter(|zone| !zone.is_empty());
        let _ = writeln!(
            out,
            "# The zone of this node, a rack or a data center: replicas of one shard are kept in different ones.\n{}",
            zone.map_or("# zone = \"rack-1\"".into(), |zone| format!("zone = {}", text(zone))),
        );
        let _ = write!(
            out,
            "# Allow addresses beyond loopback although there is neither TLS nor users yet.\ninsecure = {}\n\
             # The version that etcd clients are told: MAJOR.MINOR.PATCH.\nreported_version = {}\n\
             # What to log: a level or a list of target=level.\nlog = {}\n\n",
            s.insecure,
            text(&s.reported_version),
            text(&self.log),
        );
        let _ = write!(
            out,
            "[listen]\n# Where etcd clients connect.\netcd = \"{}\"\n# Where DynamoDB clients connect, if they may.\n{}\n\
             # The access keys that they must sign with, an id and a secret a line; without a file any key is taken.\n{}\n\
             # Where the other nodes connect.\npeer = \"{}\"\n\n\
             [timing]\n# Time between a leader's heartbeats.\nheartbeat_ms = {}\n\
             # A node that hears no leader for a time drawn from this range asks for votes.\n\
             election_min_ms = {}\nelection_max_ms = {}\n\
             # Serve reads under the leader's lease; linearizable only while no clock drifts further (docs/lease-reads.md).\n\
             lease_reads = {}\nmax_clock_drift = \"{}ppm\"\n\n\
             [disk]\n# Bytes of the key-value space beyond which writes are refused by an alarm; 0 for no bound.\n\
             quota_bytes = {}\n\
             # Free bytes of the disk below which writes are refused by an alarm; by default a tenth of it.\n{}\n\
             # How much history is kept without being asked: a time, as in \"1h\", or a number of revisions; \"off\" for all.\n\
             auto_compaction = {}\n\n",
            s.etcd_listen,
            s.dynamo_listen
                .map_or("# dynamo = \"127.0.0.1:8000\"".into(), |address| format!("dynamo = \"{address}\"")),
            self.dynamo_keys.as_ref().map_or("# dynamo_keys = \"keys\"".into(), |path| {
                format!("dynamo_keys = {}", text(&path.to_string_lossy()))
            }),
            s.peer_listen,
            s.heartbeat.as_millis(),
            s.election_min.as_millis(),
            s.election_max.as_millis(),
            s.lease_reads.is_some(),
            s.lease_reads.unwrap_or(ServerConfig::CLOCK_DRIFT),
            s.upkeep.quota_bytes,
            s.upkeep
                .min_free_bytes
                .map_or("# min_free_bytes = 1073741824".into(), |n| format!("min_free_bytes = {n}")),
            text(&match s.upkeep.auto_compaction {
                None => "off".to_string(),
                Some(AutoCompaction::Revisions(kept)) => kept.to_string(),
                Some(AutoCompaction::Periodic(period)) => format!("{}ms", period.as_millis()),
            }),
        );
        if let Some(join) = &self.join {
            let _ = write!(
                out,
                "# Where the other nodes and clients reach this one.\n[advertise]\npeer = {}\netcd = {}\n",
                text(&join.peer),
                text(&join.etcd),
            );
            return out;
        }
        let _ = out.write_str(
            "# The members with which the cluster begins, this node included, as the others and clients reach them.\n",
        );
        for peer in &s.peers {
            let _ = writeln!(
                out,
                "[[peers]]\nid = {}\nname = {}\naddress = {}\nclient_url = {}",
                peer.id,
                text(&peer.name),
                text(&peer.address),
                text(&peer.client_url),
            );
        }
        out
    }
}

impl FilePeer {
    fn into_peer(self) -> Peer {
        Peer {
            id: NodeId(self.id),
            name: self.name.unwrap_or_else(|| format!("n{}", self.id)),
            address: self.address,
            client_url: self.client_url,
        }
    }
}

/// A cluster of one.
fn alone(node: NodeId, etcd: SocketAddr, peer: SocketAddr) -> Peer {
    Peer {
        id: node,
        name: format!("n{node}"),
        address: peer.to_string(),
        client_url: format!("http://{etcd}"),
    }
}

/// Peer addresses and client URLs by id.
fn pair_up(peers: Vec<(u64, String)>, client_urls: Vec<(u64, String)>) -> Result<Vec<Peer>, Problem> {
    for (flag, list) in [("--peers", &peers), ("--client-urls", &client_urls)] {
        let mut seen = BTreeSet::new();
        if let Some((id, _)) = list.iter().find(|(id, _)| !seen.insert(*id)) {
            return Err(Problem::new(
                Exit::Usage,
                format!("{flag} names node {id} twice"),
                "give each node an id of its own",
            ));
        }
    }
    let mut urls: BTreeMap<u64, String> = client_urls.into_iter().collect();
    let joined: Result<Vec<Peer>, Problem> = peers
        .into_iter()
        .map(|(id, address)| {
            let client_url = urls.remove(&id).ok_or_else(|| {
                Problem::new(
                    Exit::Usage,
                    format!("--peers names node {id}, but --client-urls does not"),
                    format!("add {id}=http://HOST:PORT to --client-urls: clients learn the members from it"),
                )
            })?;
            Ok(Peer { id: NodeId(id), name: format!("n{id}"), address, client_url })
        })
        .collect();
    let joined = joined?;
    match urls.first_key_value() {
        None => Ok(joined),
        Some((id, _)) => Err(Problem::new(
            Exit::Usage,
            format!("--client-urls names node {id}, but --peers does not"),
            format!("add {id}=HOST:PORT to --peers"),
        )),
    }
}

fn read(path: &Path) -> Result<File, Problem> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Problem::new(
            Exit::Usage,
            format!("cannot read {}: {e}", path.display()),
            "`quorate serve --print-config` prints a file to begin with",
        )
    })?;
    toml::from_str(&text).map_err(|e| {
        Problem::new(
            Exit::Usage,
            format!("{}: {}", path.display(), e.to_string().trim_end()),
            "`quorate serve --print-config` prints all keys with their meaning",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Settings, Problem> {
        let file = toml::from_str(text).map_err(|e| Problem::new(Exit::Usage, e.to_string(), ""))?;
        Settings::merge(file, Flags::default())
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let flags = Flags {
            node: Some(2),
            cluster: Some("a \"quoted\" name".into()),
            data: Some("/var/lib/quo rate".into()),
            peers: vec![(1, "10.0.0.1:7100".into()), (2, "10.0.0.2:7100".into())],
            client_urls: vec![(1, "http://10.0.0.1:2379".into()), (2, "http://10.0.0.2:2379".into())],
            dynamo: Some(SocketAddr::from(([127, 0, 0, 1], 8000))),
            dynamo_keys: Some("/etc/quo rate/keys".into()),
            heartbeat_ms: Some(50),
            lease_reads: true,
            max_clock_drift: Some(500),
            zone: Some("rack-2".into()),
            insecure: true,
            ..Flags::default()
        };
        let joining = Flags {
            join: vec!["http://10.0.0.1:2379".into()],
            name: Some("four".into()),
            advertise_peer: Some("10.0.0.4:7100".into()),
            ..Flags::default()
        };
        for settings in [
            Settings::merge(File::default(), flags).unwrap(),
            Settings::merge(File::default(), joining).unwrap(),
            Settings::merge(File::default(), Flags::default()).unwrap(),
        ] {
            assert_eq!(settings.server.check(), Ok(()));
            assert_eq!(parsed(&settings.to_toml()), Ok(settings));
        }
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        for text in ["datta = \"x\"", "[listen]\nhttp = \"127.0.0.1:1\"", "[timing]\nheartbeat = 5"] {
            let problem = parsed(text).unwrap_err();
            assert!(problem.message.contains("unknown field"), "{}", problem.message);
        }
        assert!(parsed("node = \"one\"").is_err());
        assert!(parsed("[listen]\netcd = \"nowhere\"").is_err());
    }

    #[test]
    fn zones_have_names() {
        assert_eq!(parsed("zone = \"rack-2\"").unwrap().server.zone, "rack-2");
        for bad in ["", "rack 2", "r\u{e4}ck"] {
            let problem = parsed(&format!("zone = {bad:?}")).unwrap_err();
            assert!(problem.hint.contains("letters, digits"), "{}", problem.hint);
            assert!(zone(bad).is_err());
        }
    }

    #[test]
    fn drifts_are_read() {
        assert_eq!(["1%", "500ppm", "0%"].map(drift), [Ok(10_000), Ok(500), Ok(0)]);
        for bad in ["", "1", "%", "-1%", "1.5%", "99999999%", "ppm"] {
            assert!(drift(bad).is_err(), "{bad:?}");
        }
        let problem = parsed("[timing]\nmax_clock_drift = \"much\"").unwrap_err();
        assert!(problem.message.contains("no drift of a clock"), "{}", problem.message);
        let settings = parsed("[timing]\nlease_reads = true").unwrap();
        assert_eq!(settings.server.lease_reads, Some(ServerConfig::CLOCK_DRIFT));
    }

    #[test]
    fn flags_win_over_the_file_and_lists_must_match() {
        let file: File = toml::from_str("node = 1\ncluster = \"file\"\n[timing]\nheartbeat_ms = 70").unwrap();
        let flags = Flags { node: Some(3), heartbeat_ms: Some(60), ..Flags::default() };
        let settings = Settings::merge(file, flags).unwrap();
        assert_eq!((settings.server.node, settings.cluster.as_str()), (NodeId(3), "file"));
        assert_eq!(settings.server.heartbeat, Duration::from_millis(60));
        let one = |peers: &[u64], urls: &[u64]| {
            let list = |ids: &[u64]| ids.iter().map(|&id| (id, format!("http://h:{id}"))).collect();
            pair_up(list(peers), list(urls)).map(|peers| peers.len()).map_err(|p| p.message)
        };
        assert_eq!(one(&[1, 2], &[1, 2]), Ok(2));
        assert!(one(&[1, 2], &[1]).unwrap_err().contains("node 2"));
        assert!(one(&[1], &[1, 3]).unwrap_err().contains("node 3"));
        assert!(one(&[1, 2, 1], &[1, 2]).unwrap_err().contains("--peers names node 1 twice"));
        assert!(one(&[1, 2], &[1, 2, 2]).unwrap_err().contains("--client-urls names node 2 twice"));
        assert!(parsed("cluster = \"\"").unwrap_err().message.contains("no name"));
    }

    /// Seed 1: a good file with parts of it replaced. Settings that pass, or a problem that names itself; never a panic.
    #[test]
    fn no_file_is_a_panic() {
        let mut rng = quorate_base::Rng::new(1);
        let good = Settings::merge(File::default(), Flags::default()).unwrap().to_toml();
        let (mut passed, mut refused) = (0, 0);
        for round in 0..3_000 {
            let mut text = good.clone();
            for _ in 0..rng.between(1, 2) {
                let at = text.floor_char_boundary(rng.below(text.len() as u64) as usize);
                let upto = text.floor_char_boundary((at + rng.below(12) as usize).min(text.len()));
                let word = *rng.pick(&[
                    "",
                    "0",
                    "-1",
                    "18446744073709551615",
                    "9223372036854775807",
                    "1e400",
                    "nan",
                    "true",
                    "[[peers]]",
                    "\"",
                    "\n",
                    "\u{0}",
                    "é",
                    "{",
                    "[",
                    "127.0.0.1:65536",
                    "http://",
                    "node = 1\n",
                ]);
                text.replace_range(at..upto, word);
            }
            match parsed(&text).and_then(|s| s.server.check().map_err(Problem::from)) {
                Ok(()) => passed += 1,
                Err(problem) => {
                    assert_eq!(problem.exit, Exit::Usage, "seed 1, round {round}");
                    assert!(!problem.message.is_empty(), "seed 1, round {round}: {text}");
                    refused += 1;
                }
            }
        }
        assert!(passed > 100 && refused > 500, "{passed} passed, {refused} refused");
        let deep = format!("peers = {}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parsed(&deep).is_err());
        let dotted = format!("{}a = 1", "a.".repeat(100_000));
        assert!(parsed(&dotted).is_err());
    }
}
