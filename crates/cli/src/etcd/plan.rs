//! The settings of a node from etcd's flags.
//!
//! Processes that were started with the same `--initial-cluster` and token must come to the same cluster: its id follows from both,
//! and the members are numbered from 1 in the order of their peer URLs. As with etcd, all of that counts for a first start only: a data
//! directory says whose it is.

use super::flags::{Given, usage};
use crate::report::{Exit, Problem};
use crate::serve::Lines;
use crate::serve::join::Join;
use crate::serve::settings::{LOG, Settings};
use quorate_base::NodeId;
use quorate_gateway_etcd::{Limits, Origins};
use quorate_server::{AutoCompaction, Peer, ServerConfig, Starter, UNIX, Upkeep, datadir, etcddir, peer_url};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CLIENTS: &str = "http://localhost:2379";
const PEERS: &str = "http://localhost:2380";
/// The longest election timeout, as with etcd.
const MILLIS_MAX: u64 = 50_000;
const NO_TLS: &str = "there is no TLS in this release: use http:// on a network that is trusted";

/// The settings, not yet checked.
pub(super) fn settings(given: &mut Given) -> Result<Settings, Problem> {
    let name = given.get("name").unwrap_or("default").to_string();
    let data = given.get("data-dir").map_or_else(|| format!("{name}.etcd").into(), PathBuf::from);
    let Listening { peers: peers_listen, peer_files, clients: mut listen, files } = listening(given)?;
    must_advertise(given)?;
    let mut advertised = urls(given, "advertise-client-urls", CLIENTS)?;
    if advertised.is_empty() {
        // Nobody else can use a file of this machine.
        advertised.push(format!("{}:0", listen[0].ip()));
    }
    choose_port(&mut listen[0], &mut advertised[0])?;
    let address = one(given, "initial-advertise-peer-urls")?;
    let token = given.get("initial-cluster-token").unwrap_or("etcd-cluster").to_string();
    // A directory that is a node's or etcd's says who the members are.
    let members = match members(given, &name, &address) {
        Err(_) if is_known(&data)? => [(name.clone(), address.clone())].into(),
        members => members?,
    };
    let me =
        Peer { id: NodeId(0), name: name.clone(), address, client_url: format!("http://{}", advertised[0]) };
    let (cluster, peers) = found(&token, &members, &me);
    let node = peers.iter().find(|peer| peer.name == name).map_or(NodeId(0), |peer| peer.id);
    let insecure = peers_listen.iter().chain(&listen).any(|address| !address.ip().is_loopback());
    let election = millis(given, "election-timeout", 1000)?;
    let mut settings = Settings {
        cluster: token,
        log: log(given)?,
        join: None,
        dynamo_keys: None,
        limits: limits(given)?,
        slow: slow(given)?,
        sockets: files,
        origins: origins(given)?,
        server: ServerConfig {
            data_lost: false,
            starter: Starter::Etcd,
            cluster,
            node,
            name,
            data,
            etcd_listen: listen[0],
            etcd_also: listen[1..].to_vec(),
            dynamo_listen: None,
            etcd_advertise: me.client_url.clone(),
            etcd_advertise_also: advertised[1..].iter().map(|address| format!("http://{address}")).collect(),
            peer_listen: peers_listen[0],
            peer_also: peers_listen[1..].to_vec(),
            peer_files,
            learners: BTreeSet::new(),
            joins: false,
            campaign_at_once: peers.len() == 1,
            peers,
            heartbeat: millis(given, "heartbeat-interval", 100)?,
            election_min: election,
            election_max: 2 * election,
            reported_version: ServerConfig::REPORTED_VERSION.into(),
            lease_reads: None,
            watch_progress: progress(given)?,
            zone: String::new(),
            insecure,
            upkeep: Upkeep {
                quota_bytes: quota(given)?,
                min_free_bytes: None,
                auto_compaction: compaction(given)?,
            },
        },
    };
    if insecure {
        given.warnings.push(
            "this node listens beyond loopback, and there is neither TLS nor users: whoever reaches its ports reads and writes all"
                .to_string(),
        );
    }
    let others =
        members.into_iter().filter(|(other, _)| *other != settings.server.name).map(|(_, at)| at).collect();
    belong(given, &mut settings, me, others)?;
    Ok(settings)
}

/// Whether a directory says itself whose it is, so that `--initial-*` count for nothing.
fn is_known(data: &Path) -> Result<bool, Problem> {
    Ok(etcddir::is_there(data) || datadir::owner(data)?.is_some())
}

/// Where any port will do, for clients as for the node, one that is free is chosen, so that clients are told which.
fn choose_port(listen: &mut SocketAddr, advertised: &mut String) -> Result<(), Problem> {
    let Some(host) = advertised.strip_suffix(":0").filter(|_| listen.port() == 0) else { return Ok(()) };
    let free = std::net::TcpListener::bind(*listen).and_then(|listener| listener.local_addr());
    let port =
        free.map_err(|e| Problem::new(Exit::Failed, format!("{listen} has no free port: {e}"), ""))?.port();
    listen.set_port(port);
    *advertised = format!("{host}:{port}");
    Ok(())
}

/// Clients would be told the default, an address of their own machine.
fn must_advertise(given: &mut Given) -> Result<(), Problem> {
    if given.unadvertised {
        return Err(usage(
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
            "say with it what clients are to connect to, as in http://10.0.0.1:2379",
        ));
    }
    if given.get("listen-client-urls").is_some() && given.get("advertise-client-urls").is_none() {
        given.warnings.push(format!("clients are told {CLIENTS}: there is no advertise-client-urls"));
    }
    Ok(())
}

/// A first start begins a cluster or joins one; a later one goes on with what the data directory says.
fn belong(given: &Given, settings: &mut Settings, me: Peer, others: Vec<String>) -> Result<(), Problem> {
    let server = &mut settings.server;
    match datadir::owner(&server.data)? {
        Some((cluster, node)) if (cluster, node) != (server.cluster, server.node) => {
            (server.cluster, server.node) = (cluster, node);
            server.peers = vec![Peer { id: node, ..me }];
            server.learners = [node].into();
        }
        Some(_) => {}
        None => match given.get("initial-cluster-state").unwrap_or("new") {
            "new" => {}
            "existing" => {
                settings.join = Some(Join {
                    endpoints: Vec::new(),
                    through: others,
                    name: Some(server.name.clone()),
                    peer: me.address,
                    etcd: me.client_url,
                    data: Some(server.data.clone()),
                });
            }
            other => {
                return Err(usage(
                    format!("--initial-cluster-state={other} makes no sense"),
                    "it is new or existing",
                ));
            }
        },
    }
    Ok(())
}

/// Where a member listens.
struct Listening {
    peers: Vec<SocketAddr>,
    /// Of sockets, for peers.
    peer_files: Vec<PathBuf>,
    clients: Vec<SocketAddr>,
    /// Of sockets, for clients.
    files: Vec<PathBuf>,
}

/// The ports for peers, and those for clients; each once, and at least one of both. There may be files of sockets, too: where there is
/// nothing else there is a port on loopback nevertheless, which is any that is free.
fn listening(given: &Given) -> Result<Listening, Problem> {
    let flags =
        [("listen-client-urls", CLIENTS), ("listen-client-http-urls", ""), ("listen-metrics-urls", "")];
    let (peers, peer_files) = sockets(given, &[("listen-peer-urls", PEERS)])?;
    let (clients, files) = sockets(given, &flags)?;
    Ok(Listening { peers, peer_files, clients, files })
}

fn sockets(given: &Given, flags: &[(&str, &str)]) -> Result<(Vec<SocketAddr>, Vec<PathBuf>), Problem> {
    let texts = flags.iter().filter_map(|(flag, _)| given.get(flag));
    let files = texts.flat_map(|text| text.split(',')).filter_map(|url| url.trim().strip_prefix(UNIX));
    let files = files.map(PathBuf::from).collect();
    let mut all = Vec::new();
    for (flag, default) in flags {
        for url in urls(given, flag, default)? {
            let address = socket(flag, &url)?;
            // Of a port that is still to be chosen there may be several.
            if address.port() == 0 || !all.contains(&address) {
                all.push(address);
            }
        }
    }
    if all.is_empty() {
        all.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    }
    Ok((all, files))
}

/// Names with `host:port` or `unix://FILE`, in the order of the addresses: that of the ids.
fn members(given: &Given, name: &str, address: &str) -> Result<BTreeMap<String, String>, Problem> {
    let Some(text) = given.get("initial-cluster").filter(|text| !text.is_empty()) else {
        return Ok([(name.to_string(), address.to_string())].into());
    };
    let mut members = BTreeMap::new();
    for item in text.split(',') {
        let Some((name, url)) = item.split_once('=') else {
            return Err(usage(
                format!("--initial-cluster has {item:?}"),
                "write NAME=http://HOST:PORT (or NAME=unix://FILE), separated by commas",
            ));
        };
        if members.insert(name.trim().to_string(), parse("initial-cluster", url.trim())?).is_some() {
            return Err(usage(
                format!("--initial-cluster names {name} twice"),
                "a member has one peer URL, and a name of its own",
            ));
        }
    }
    if members.get(name).map(String::as_str) != Some(address) {
        return Err(usage(
            format!("--initial-cluster must include {name}={}", peer_url(address)),
            "it has this node by its --name and its --initial-advertise-peer-urls",
        ));
    }
    Ok(members)
}

/// The cluster that these members begin.
fn found(token: &str, members: &BTreeMap<String, String>, me: &Peer) -> (u64, Vec<Peer>) {
    let mut listed: Vec<(&String, &String)> = members.iter().map(|(name, address)| (address, name)).collect();
    listed.sort();
    let mut text = format!("etcd\n{token}");
    for (address, name) in &listed {
        text.extend(["\n", name, "=", address]);
    }
    let peer = |(at, (address, name)): (usize, (&String, &String))| Peer {
        id: NodeId(at as u64 + 1),
        name: name.clone(),
        address: address.clone(),
        // Each member tells its own once it is up.
        client_url: if *name == me.name { me.client_url.clone() } else { String::new() },
    };
    (ServerConfig::cluster_id(&text), listed.into_iter().enumerate().map(peer).collect())
}

/// `host:port` of each URL of a flag, or of its default; at least one where that is not empty.
fn urls(given: &Given, flag: &str, default: &str) -> Result<Vec<String>, Problem> {
    let text = given.get(flag).filter(|text| !text.is_empty()).unwrap_or(default);
    let all: Result<Vec<String>, Problem> = text
        .split(',')
        .filter(|url| !url.is_empty() && !is_file(flag, url))
        .map(|url| parse(flag, url.trim()))
        .collect();
    match all {
        Ok(none)
            if none.is_empty() && !default.is_empty() && !text.split(',').any(|url| is_file(flag, url)) =>
        {
            Err(usage(format!("--{flag} names no address"), "write http://HOST:PORT"))
        }
        all => all,
    }
}

/// Whether a file is told where ports are asked for: one to listen on has its own place, and members tell clients of ports alone.
fn is_file(flag: &str, url: &str) -> bool {
    !is_peers(flag) && url.trim().starts_with(UNIX)
}

/// Whether a flag says where peers are.
fn is_peers(flag: &str) -> bool {
    ["initial-advertise-peer-urls", "initial-cluster"].contains(&flag)
}

fn one(given: &Given, flag: &str) -> Result<String, Problem> {
    match urls(given, flag, PEERS)?.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(usage(format!("--{flag} names several addresses"), "a member has one: name that")),
    }
}

/// `host:port` of an `http` URL; a `unix` one of a peer stays as it is.
fn parse(flag: &str, url: &str) -> Result<String, Problem> {
    if url.starts_with("https://") {
        return Err(usage(format!("--{flag} has {url}"), NO_TLS));
    }
    if is_peers(flag) && url.strip_prefix(UNIX).is_some_and(|file| !file.is_empty()) {
        return Ok(url.trim_end_matches('/').to_string());
    }
    let rest = url.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let whole = |rest: &&str| {
        rest.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    match rest.filter(whole) {
        Some(rest) => Ok(rest.to_string()),
        None => Err(usage(format!("--{flag} has {url:?}"), "write http://HOST:PORT")),
    }
}

/// Where to listen: an address, or `localhost`.
fn socket(flag: &str, address: &str) -> Result<SocketAddr, Problem> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let ip = match host {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        host => host.trim_start_matches('[').trim_end_matches(']').parse().ok(),
    };
    match (ip, port.parse()) {
        (Some(ip), Ok(port)) => Ok(SocketAddr::new(ip, port)),
        _ => Err(usage(
            format!("--{flag} has http://{address}, which is no address to listen on"),
            "name an IP address; http://0.0.0.0:PORT listens on all",
        )),
    }
}

fn millis(given: &Given, flag: &str, default: u64) -> Result<Duration, Problem> {
    let text = given.get(flag).map_or_else(|| default.to_string(), str::to_string);
    let parsed = text.parse().ok().filter(|ms| (1..=MILLIS_MAX).contains(ms));
    parsed.map(Duration::from_millis).ok_or_else(|| {
        usage(
            format!("--{flag}={text} makes no sense"),
            &format!("it is a number of milliseconds, from 1 to {MILLIS_MAX}"),
        )
    })
}

/// etcd takes 0 for a default of its own, and a negative number for no bound. Here there is none unless it is asked for.
fn quota(given: &Given) -> Result<u64, Problem> {
    let text = given.get("quota-backend-bytes").unwrap_or("0");
    let parsed = text.parse::<i64>();
    parsed.map(|bytes| u64::try_from(bytes).unwrap_or(0)).map_err(|_| {
        usage(
            format!("--quota-backend-bytes={text} makes no sense"),
            "it is a number of bytes; 0 for no bound",
        )
    })
}

/// Which web pages may call: as with etcd all, unless some are listed.
fn origins(given: &Given) -> Result<Origins, Problem> {
    let all: Vec<&str> = given.get("cors").unwrap_or_default().split(',').map(str::trim).collect();
    let all: Vec<&str> = all.into_iter().filter(|one| !one.is_empty()).collect();
    if all.is_empty() || all.contains(&"*") {
        return Ok(Origins::All);
    }
    let host =
        |one: &str| one.strip_prefix("http://").or_else(|| one.strip_prefix("https://")).map(str::to_string);
    match all.iter().find(|one| host(one).is_none_or(|host| host.is_empty() || host.contains(['/', '*']))) {
        Some(wrong) => Err(usage(
            format!("--cors has {wrong:?}"),
            "write origins as browsers do, separated by commas: https://HOST or http://HOST:PORT; * is all of them",
        )),
        None => Ok(Origins::These(all.into_iter().map(str::to_string).collect())),
    }
}

/// From how long on a request is told in the log; etcd's default is 300 ms.
fn slow(given: &Given) -> Result<Option<Duration>, Problem> {
    let [flag, experiment] =
        ["warning-unary-request-duration", "experimental-warning-unary-request-duration"];
    if given.get(flag).is_some() && given.get(experiment).is_some() {
        return Err(usage(format!("both --{experiment} and --{flag} are set"), "leave the first one out"));
    }
    let Some((flag, text)) = [flag, experiment].into_iter().find_map(|flag| Some((flag, given.get(flag)?)))
    else {
        return Ok(Some(Duration::from_millis(300)));
    };
    let bad = || usage(format!("--{flag}={text} makes no sense"), "it is a time, as in 300ms");
    span(text).map(Some).ok_or_else(bad)
}

/// How large a request may be. etcd takes any number, and advises against more than it says here.
fn limits(given: &Given) -> Result<Limits, Problem> {
    let Limits { request_bytes, txn_ops } = Limits::default();
    let number = |flag: &str, default: usize, most: usize| {
        let text = given.get(flag).map_or_else(|| default.to_string(), str::to_string);
        let parsed = text.parse().ok().filter(|n| (1..=most).contains(n));
        parsed.ok_or_else(|| {
            let hint = format!("it is a number from 1 to {most}; leave it out for {default}");
            usage(format!("--{flag}={text} is not supported"), &hint)
        })
    };
    Ok(Limits {
        request_bytes: number("max-request-bytes", request_bytes, Limits::REQUEST_BYTES_MAX)?,
        txn_ops: number("max-txn-ops", txn_ops, Limits::REQUEST_BYTES_MAX)?,
    })
}

fn compaction(given: &Given) -> Result<Option<AutoCompaction>, Problem> {
    let mode = given.get("auto-compaction-mode").filter(|mode| !mode.is_empty()).unwrap_or("periodic");
    let kept = given.get("auto-compaction-retention").unwrap_or("0");
    let wrong =
        |hint| usage(format!("--auto-compaction-mode={mode} with retention {kept:?} makes no sense"), hint);
    let number = kept.parse::<i64>().ok();
    match mode {
        _ if number == Some(0) || kept.is_empty() || span(kept) == Some(Duration::ZERO) => Ok(None),
        "revision" => match number.filter(|kept| *kept > 0) {
            Some(kept) => Ok(Some(AutoCompaction::Revisions(kept))),
            None => Err(wrong("with revision the retention is a number of revisions, as in 1000")),
        },
        "periodic" => {
            let hours = number.and_then(|hours| u64::try_from(hours).ok()?.checked_mul(3600));
            let period =
                hours.map(Duration::from_secs).or_else(|| span(kept)).filter(|period| !period.is_zero());
            period.map(|period| Some(AutoCompaction::Periodic(period))).ok_or_else(|| {
                wrong("with periodic the retention is a time, as in 1h or 30m, or a number of hours")
            })
        }
        _ => Err(wrong("the mode is periodic or revision")),
    }
}

fn progress(given: &Given) -> Result<Option<Duration>, Problem> {
    let flags = ["watch-progress-notify-interval", "experimental-watch-progress-notify-interval"];
    let Some((flag, text)) = flags.iter().find_map(|flag| Some((flag, given.get(flag)?))) else {
        return Ok(None);
    };
    match span(text) {
        Some(every) if every.is_zero() => Ok(None),
        Some(every) => Ok(Some(every)),
        None => Err(usage(format!("--{flag}={text} makes no sense"), "it is a time, as in 5s")),
    }
}

/// A time as Go writes it: numbers with units, one behind the other, the numbers perhaps with a fraction.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => Duration::from_nanos(1),
            "us" | "µs" | "μs" => Duration::from_micros(1),
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(unit.as_secs_f64() * number).ok()?)?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(sum)
}

fn log(given: &Given) -> Result<String, Problem> {
    if given.get("debug") == Some("true") {
        return Ok("info,quorate_server=debug,quorate_node=debug".into());
    }
    match given.get("log-level").unwrap_or("info") {
        "debug" => Ok("info,quorate_server=debug,quorate_node=debug".into()),
        "info" => Ok(LOG.into()),
        "warn" => Ok("warn".into()),
        "error" | "dpanic" | "panic" | "fatal" => Ok("error".into()),
        other => Err(usage(
            format!("--log-level={other} makes no sense"),
            "it is debug, info, warn, error, panic or fatal",
        )),
    }
}

/// etcd's own are lines of JSON unless it is told otherwise.
pub(super) fn lines(given: &Given) -> Result<Lines, Problem> {
    match given.get("log-format").unwrap_or("json") {
        "" | "json" => Ok(Lines::Zap),
        "console" => Ok(Lines::Own),
        other => Err(usage(format!("--log-format={other} makes no sense"), "it is json or console")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(args: &[&str]) -> Result<Settings, Problem> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let mut given = Given::read(&args, std::iter::empty())?;
        let settings = settings(&mut given)?;
        settings.server.check()?;
        Ok(settings)
    }

    const THREE: &str =
        "--initial-cluster=c=http://10.0.0.3:2380,a=http://10.0.0.1:2380,b=http://10.0.0.2:2380";

    /// Claim: the flags of kubeadm's manifest, without those of TLS, are taken as they are.
    #[test]
    fn a_manifest_of_kubeadm_is_taken() {
        let s = planned(&[
            "--advertise-client-urls=http://10.0.0.1:2379",
            "--data-dir=/var/lib/etcd",
            "--experimental-initial-corrupt-check=true",
            "--experimental-watch-progress-notify-interval=5s",
            "--initial-advertise-peer-urls=http://10.0.0.1:2380",
            "--initial-cluster=node=http://10.0.0.1:2380",
            "--listen-client-urls=http://127.0.0.1:2379,http://10.0.0.1:2379",
            "--listen-metrics-urls=http://127.0.0.1:2381",
            "--listen-peer-urls=http://10.0.0.1:2380",
            "--name=node",
            "--snapshot-count=10000",
        ])
        .unwrap()
        .server;
        assert_eq!((s.name.as_str(), s.etcd_also.len(), s.data), ("node", 2, PathBuf::from("/var/lib/etcd")));
        assert!(s.etcd_advertise_also.is_empty());
    }

    /// Claim: `--initial-cluster` is asked of a new directory alone, as with etcd: one that has members knows them.
    #[test]
    fn a_directory_that_has_members_is_not_asked_for_them() {
        let data = std::env::temp_dir().join(format!("quorate-plan-known-{}", std::process::id()));
        let flag = format!("--data-dir={}", data.display());
        let other = ["--initial-cluster=old=http://10.0.0.9:2380", "--name=renamed", &flag];
        assert!(planned(&other).is_err());
        std::fs::create_dir_all(data.join("member/wal")).unwrap();
        let taken = planned(&other).map(|settings| settings.server.name);
        std::fs::remove_dir_all(&data).unwrap();
        assert_eq!(taken, Ok("renamed".into()));
    }

    /// Claim: members with the same flags form one cluster, in whatever order they are listed; another token is another cluster.
    #[test]
    fn the_same_flags_make_one_cluster() {
        let member = |name: &str, n: u64, more: &str| {
            let (name, url) = (format!("--name={name}"), format!("http://10.0.0.{n}:2380"));
            let advertise = format!("--initial-advertise-peer-urls={url}");
            planned(&[&name, &advertise, THREE, more]).unwrap().server
        };
        let (a, b) = (member("a", 1, "--debug"), member("b", 2, "--debug"));
        assert_eq!(a.cluster, b.cluster);
        assert_eq!((a.node, b.node), (NodeId(1), NodeId(2)));
        let shown =
            |of: &ServerConfig| of.peers.iter().map(|p| (p.id, p.address.clone())).collect::<Vec<_>>();
        assert_eq!(shown(&a), shown(&b));
        assert_ne!(a.cluster, member("a", 1, "--initial-cluster-token=other").cluster);
        let alone = planned(&[]).unwrap().server;
        assert_eq!((alone.node, alone.peers.len(), alone.name.as_str()), (NodeId(1), 1, "default"));
        assert_eq!(alone.data, PathBuf::from("default.etcd"));
    }

    /// Claim: peers may be at sockets in the file system, with a path or with one that looks like a host and a port.
    #[test]
    fn peers_may_be_at_files() {
        let s = planned(&[
            "--listen-peer-urls=unix://localhost:m1,unix:///run/m1.sock",
            "--initial-advertise-peer-urls=unix://localhost:m1",
            "--initial-cluster=default=unix://localhost:m1,b=unix:///run/m2.sock",
        ]);
        let s = s.unwrap().server;
        assert_eq!(s.peer_files, [PathBuf::from("localhost:m1"), PathBuf::from("/run/m1.sock")]);
        assert_eq!((s.peer_listen, s.insecure), (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false));
        let addresses: Vec<&str> = s.peers.iter().map(|peer| peer.address.as_str()).collect();
        assert_eq!(addresses, ["unix:///run/m2.sock", "unix://localhost:m1"]);
    }

    #[test]
    fn each_flag_sets_what_it_says_and_mistakes_are_named() {
        let s = planned(&[
            "--listen-client-urls=http://127.0.0.1:12379,http://10.0.0.1:2379",
            "--advertise-client-urls=http://10.0.0.1:2379",
            "--listen-metrics-urls=http://127.0.0.1:2381",
            "--listen-peer-urls=http://127.0.0.1:2380,http://10.0.0.1:2380",
            "--heartbeat-interval=50",
            "--election-timeout=500",
            "--quota-backend-bytes=8589934592",
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=1h30m",
            "--experimental-watch-progress-notify-interval=5s",
        ])
        .unwrap()
        .server;
        assert_eq!(s.etcd_listen, "127.0.0.1:12379".parse().unwrap());
        assert_eq!(s.etcd_also, ["10.0.0.1:2379".parse().unwrap(), "127.0.0.1:2381".parse().unwrap()]);
        assert_eq!(s.peer_listen, "127.0.0.1:2380".parse().unwrap());
        assert_eq!(s.peer_also, ["10.0.0.1:2380".parse().unwrap()]);
        assert!(s.insecure);
        assert_eq!((s.heartbeat, s.election_min), (Duration::from_millis(50), Duration::from_millis(500)));
        assert_eq!(s.upkeep.quota_bytes, 8 << 30);
        assert_eq!(s.upkeep.auto_compaction, Some(AutoCompaction::Periodic(Duration::from_secs(5400))));
        assert_eq!(s.watch_progress, Some(Duration::from_secs(5)));
        let any = planned(&[
            "--listen-client-urls=http://127.0.0.1:0",
            "--advertise-client-urls=http://127.0.0.1:0",
        ]);
        let any = any.unwrap().server;
        assert_ne!(any.etcd_listen.port(), 0);
        assert_eq!(any.etcd_advertise, format!("http://{}", any.etcd_listen));
        assert_eq!(planned(&[]).unwrap().origins, Origins::All);
        let listed = planned(&["--cors=http://a.test:8080, https://b.test"]).unwrap().origins;
        assert_eq!(listed, Origins::These(vec!["http://a.test:8080".into(), "https://b.test".into()]));
        let kept = |mode: &str, kept: &str| {
            let (mode, kept) =
                (format!("--auto-compaction-mode={mode}"), format!("--auto-compaction-retention={kept}"));
            planned(&[&mode, &kept]).map(|s| s.server.upkeep.auto_compaction)
        };
        assert_eq!(kept("periodic", "2"), Ok(Some(AutoCompaction::Periodic(Duration::from_secs(7200)))));
        assert_eq!(kept("revision", "1000"), Ok(Some(AutoCompaction::Revisions(1000))));
        assert_eq!((kept("revision", "0"), kept("periodic", "0s")), (Ok(None), Ok(None)));
        for (text, nanos) in
            [("1µs", 1_000), ("1.5s", 1_500_000_000), ("1m0.25s", 60_250_000_000), ("7ns", 7)]
        {
            assert_eq!(span(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        let slow = planned(&["--experimental-warning-unary-request-duration=1µs"]).unwrap().slow;
        assert_eq!(slow, Some(Duration::from_micros(1)));
        for (args, says) in [
            (&["--listen-client-urls=https://127.0.0.1:2379"][..], "https://127.0.0.1:2379"),
            (&["--initial-advertise-peer-urls=unix://"], "--initial-advertise-peer-urls has"),
            (&["--listen-peer-urls=unixs://x"], "unixs://x"),
            (&["--listen-client-urls=http://10.0.0.1:2379"], "--advertise-client-urls is required"),
            (&["--listen-peer-urls=http://host:2380"], "no address to listen on"),
            (&["--cors=https://a.test/page"], "--cors has \"https://a.test/page\""),
            (&["--listen-peer-urls=,"], "--listen-peer-urls names no address"),
            (&["--advertise-client-urls=http://:2379"], "--advertise-client-urls has"),
            (&["--election-timeout=50001"], "--election-timeout=50001 makes no sense"),
            (&["--snapshot-count=abc"], "--snapshot-count=abc makes no sense"),
            (&["--advertise-client-urls=,"], "--advertise-client-urls names no address"),
            (&["--initial-advertise-peer-urls=http://127.0.0.1:1,http://127.0.0.1:2"], "several addresses"),
            (&["--initial-cluster=default=http://localhost:9"], "must include default=http://localhost:2380"),
            (&["--initial-cluster=a"], "--initial-cluster has \"a\""),
            (&["--initial-cluster-state=old"], "--initial-cluster-state=old"),
            (&["--election-timeout=soon"], "--election-timeout=soon"),
            (&["--election-timeout=200"], "heartbeat 100ms"),
            (&["--log-level=loud"], "--log-level=loud"),
            (&["--auto-compaction-retention=soon"], "retention \"soon\""),
            (&["--quota-backend-bytes=8G"], "--quota-backend-bytes=8G"),
            (&["--max-request-bytes=10485761"], "--max-request-bytes=10485761 is not supported"),
            (&["--max-txn-ops=0"], "--max-txn-ops=0 is not supported"),
            (
                &["--warning-unary-request-duration=soon"],
                "--warning-unary-request-duration=soon makes no sense",
            ),
            (
                &["--warning-unary-request-duration=1s", "--experimental-warning-unary-request-duration=1s"],
                "both --experimental-warning-unary-request-duration and",
            ),
        ] {
            let problem = planned(args).unwrap_err();
            assert!(problem.message.contains(says), "{} does not say {says}", problem.message);
        }
    }
}
