//! How a new node finds its place: it asks the cluster that it joins.
//!
//! Whoever added the member told the cluster where it will be (`quorate node add`, `etcdctl member add`). The new node asks
//! any of the members for the list, finds the entry with its own peer address, as etcd's `--initial-cluster-state existing`
//! does, and takes its id and the cluster's from there. Its data directory keeps both: from the second start on nobody is
//! asked.

use super::settings::Settings;
use crate::probe::{self, MemberInfo};
use crate::report::{Exit, Problem};
use quorate_base::NodeId;
use quorate_server::{Peer, Starter, UNIX, datadir, in_its_place, peer_url};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// How long one member may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// No list of members is longer.
const PAGE_MAX: u64 = 1 << 20;

/// What a node says of itself that joins a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Join {
    /// Members' etcd doors.
    pub(crate) endpoints: Vec<String>,
    /// Members' peer ports (`host:port`), which are asked where no doors are known.
    pub(crate) through: Vec<String>,
    /// Its name; `n` and its id unless told otherwise.
    pub(crate) name: Option<String>,
    /// `host:port` at which the other nodes reach it.
    pub(crate) peer: String,
    /// `http://host:port` at which clients reach it.
    pub(crate) etcd: String,
    /// Where it keeps its data; `quorate-data/nID` unless told otherwise.
    pub(crate) data: Option<PathBuf>,
}

/// Fills in who the node is and who the others are.
pub(super) fn resolve(settings: &mut Settings) -> Result<(), Problem> {
    let Some(join) = settings.join.clone() else { return Ok(()) };
    // The state is made behind the first record of the log. Without it the node was cut off before it had begun, and knows
    // nobody yet.
    if let Some(data) = join.data.as_ref().filter(|data| data.join("state").exists())
        && let Some((cluster, node)) = datadir::owner(data)?
    {
        settings.server.cluster = cluster;
        be(settings, &join, node);
        settings.server.peers = vec![me(settings, &join)];
        settings.server.learners = [node].into();
        return Ok(());
    }
    let runtime = crate::runtime()?;
    let (cluster, members) = if join.endpoints.is_empty() {
        ask_peers(&join.through)?
    } else {
        runtime.block_on(ask(&join.endpoints))?
    };
    let node = find(&members, &join, settings.server.starter, settings.server.data_lost)?;
    settings.server.cluster = cluster;
    be(settings, &join, node);
    let others = members.iter().filter(|m| m.id != node.get()).map(|m| Peer {
        id: NodeId(m.id),
        name: m.name.clone(),
        address: m.peer_urls.first().map_or_else(String::new, |url| address(url)),
        client_url: m.client_urls.first().cloned().unwrap_or_default(),
    });
    // One that was added and has not started yet has no clients' address, and nothing to say to this one.
    settings.server.peers = others.filter(|p| !p.client_url.is_empty()).collect();
    settings.server.learners = members.iter().filter(|m| m.learner).map(|m| NodeId(m.id)).collect();
    if !settings.server.data_lost {
        settings.server.joins = settings.server.learners.insert(node);
    }
    let me = me(settings, &join);
    settings.server.peers.push(me);
    Ok(())
}

fn be(settings: &mut Settings, join: &Join, node: NodeId) {
    let server = &mut settings.server;
    server.node = node;
    server.name = join.name.clone().unwrap_or_else(|| format!("n{node}"));
    server.data = data_of(join, node);
}

fn data_of(join: &Join, node: NodeId) -> PathBuf {
    join.data.clone().unwrap_or_else(|| format!("quorate-data/n{node}").into())
}

fn me(settings: &Settings, join: &Join) -> Peer {
    let server = &settings.server;
    let (address, client_url) = (join.peer.clone(), join.etcd.clone());
    Peer { id: server.node, name: server.name.clone(), address, client_url }
}

async fn ask(endpoints: &[String]) -> Result<(u64, Vec<MemberInfo>), Problem> {
    let mut failures = Vec::new();
    for endpoint in endpoints {
        match probe::cluster(endpoint, PATIENCE, true).await {
            Ok(found) => return Ok(found),
            Err(why) => failures.push(format!("{endpoint}: {why}")),
        }
    }
    Err(Problem::new(
        Exit::Failed,
        format!("no member of the cluster to join answers: {}", failures.join("; ")),
        "name members that serve with --join, as `quorate status` lists them",
    ))
}

/// Asks the members' peer ports, as etcd does.
fn ask_peers(peers: &[String]) -> Result<(u64, Vec<MemberInfo>), Problem> {
    if peers.is_empty() {
        return Err(Problem::new(
            Exit::Usage,
            "a cluster is to be joined, and no other member of it is named",
            "--initial-cluster names all its members, as `etcdctl member add` prints it; a new cluster begins without \
             --initial-cluster-state existing",
        ));
    }
    let mut failures = Vec::new();
    for peer in peers {
        match ask_peer(peer) {
            Ok(found) => return Ok(found),
            Err(why) => failures.push(format!("{peer}: {why}")),
        }
    }
    Err(Problem::new(
        Exit::Failed,
        format!("no member of the cluster to join answers: {}", failures.join("; ")),
        "name members that serve with their peer URLs, as `quorate status` and `etcdctl member list` show them",
    ))
}

fn ask_peer(peer: &str) -> Result<(u64, Vec<MemberInfo>), String> {
    let fail = |error: std::io::Error| error.to_string();
    if let Some(file) = peer.strip_prefix(UNIX) {
        let stream = UnixStream::connect(file).map_err(fail)?;
        stream.set_read_timeout(Some(2 * PATIENCE)).map_err(fail)?;
        return ask_over(stream, "localhost");
    }
    let address = peer.to_socket_addrs().map_err(fail)?.next().ok_or("it has no address")?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(fail)?;
    stream.set_read_timeout(Some(2 * PATIENCE)).map_err(fail)?;
    ask_over(stream, peer)
}

fn ask_over(mut stream: impl Read + Write, peer: &str) -> Result<(u64, Vec<MemberInfo>), String> {
    let fail = |error: std::io::Error| error.to_string();
    let request = format!("GET /members HTTP/1.1\r\nHost: {peer}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(fail)?;
    let mut page = Vec::new();
    stream.take(PAGE_MAX).read_to_end(&mut page).map_err(fail)?;
    read_page(&String::from_utf8_lossy(&page))
}

/// The cluster's id and its members, as such a page has them.
fn read_page(page: &str) -> Result<(u64, Vec<MemberInfo>), String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Listed {
        id: u64,
        #[serde(default, rename = "peerURLs")]
        peers: Vec<String>,
        #[serde(default)]
        name: String,
        #[serde(default, rename = "clientURLs")]
        clients: Vec<String>,
        #[serde(default)]
        is_learner: bool,
    }
    let (head, body) = page.split_once("\r\n\r\n").ok_or("its answer is no page")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        return Err(format!("it answers {status}: {body}"));
    }
    let cluster = head.lines().filter_map(|line| line.split_once(':'));
    let mut cluster = cluster.filter(|(name, _)| name.eq_ignore_ascii_case("x-etcd-cluster-id"));
    let cluster = cluster.next().and_then(|(_, id)| u64::from_str_radix(id.trim(), 16).ok());
    let listed: Vec<Listed> =
        serde_json::from_str(body).map_err(|error| format!("its list of members: {error}"))?;
    let members = listed.into_iter().map(|m| MemberInfo {
        id: m.id,
        name: m.name,
        peer_urls: m.peers,
        client_urls: m.clients,
        learner: m.is_learner,
    });
    Ok((cluster.ok_or("its answer does not name the cluster")?, members.collect()))
}

/// The member that this node is to be.
fn find(members: &[MemberInfo], join: &Join, starter: Starter, data_lost: bool) -> Result<NodeId, Problem> {
    let mine = |m: &&MemberInfo| m.peer_urls.iter().any(|url| address(url) == join.peer);
    let Some(member) = members.iter().find(mine) else {
        let known: Vec<&str> = members.iter().flat_map(|m| &m.peer_urls).map(String::as_str).collect();
        return Err(Problem::new(
            Exit::Usage,
            format!(
                "no member of the cluster has the peer address {} (they have {})",
                join.peer,
                known.join(", ")
            ),
            format!(
                "add it first: `quorate node add {}`, or `etcdctl member add NAME --peer-urls={}`; \
                 --advertise-peer says where the others reach this node",
                join.peer,
                peer_url(&join.peer)
            ),
        ));
    };
    if member.name.is_empty() || data_lost {
        return Ok(NodeId(member.id));
    }
    Err(Problem::new(
        Exit::DataDir,
        format!(
            "member {:x} ({}) has the peer address {} and has already been bootstrapped: it has started before with other data than are here",
            member.id, member.name, join.peer
        ),
        format!(
            "start it with its own data directory (--data); if that is lost, {}",
            in_its_place(
                starter,
                (NodeId(member.id), &member.name, &join.peer),
                &data_of(join, NodeId(member.id))
            )
        ),
    ))
}

/// `host:port` of a URL, or `unix://FILE`.
fn address(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_finds_itself_by_its_peer_address() {
        let member = |id: u64, name: &str| MemberInfo {
            id,
            name: name.into(),
            peer_urls: vec![format!("http://h:{id}")],
            client_urls: vec![],
            learner: false,
        };
        let members = [member(1, "n1"), member(4, "")];
        let join = |peer: &str| Join {
            endpoints: vec![],
            through: vec![],
            name: None,
            peer: peer.into(),
            etcd: String::new(),
            data: None,
        };
        assert_eq!(find(&members, &join("h:4"), Starter::Serve, false), Ok(NodeId(4)));
        let unknown = find(&members, &join("h:5"), Starter::Serve, false).unwrap_err();
        assert!(
            unknown.message.contains("h:5") && unknown.hint.contains("quorate node add h:5"),
            "{unknown}"
        );
        let known = |starter| find(&members, &join("h:1"), starter, false).unwrap_err();
        assert_eq!(known(Starter::Serve).exit, Exit::DataDir);
        let (own, etcd) = (known(Starter::Serve).hint, known(Starter::Etcd).hint);
        assert!(own.contains("quorate node replace 1 --with") && own.contains("--data-lost"), "{own}");
        assert!(
            etcd.contains("etcdctl member remove 1`") && etcd.contains("add n1 --peer-urls=http://h:1`"),
            "{etcd}"
        );
        assert!(!etcd.contains("--data-lost"), "{etcd}");
    }
}
