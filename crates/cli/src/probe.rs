//! Asking nodes how they do, through the etcd interface: `up` waits with it, `status` shows it. It works against any
//! etcd v3 endpoint.

use quorate_client::told;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::quoratepb::shards_client::ShardsClient;
use quorate_proto::quoratepb::{LedRequest, LedResponse, MovesRequest, MovesResponse};
use quorate_server::config::check_url;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// What one node says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeStatus {
    /// Its id.
    pub(crate) id: u64,
    /// Its cluster.
    pub(crate) cluster: u64,
    /// The version it reports to etcd clients.
    pub(crate) version: String,
    /// The leader it knows; 0 for none.
    pub(crate) leader: u64,
    /// Its term.
    pub(crate) term: u64,
    /// The last index it knows.
    pub(crate) index: u64,
    /// The index its machine has applied.
    pub(crate) applied: u64,
    /// Its revision.
    pub(crate) revision: i64,
    /// Bytes of state on its disk.
    pub(crate) db_size: i64,
    /// The bytes beyond which it raises the alarm for want of room; 0 for no bound.
    pub(crate) quota: i64,
    /// It has no vote.
    pub(crate) learner: bool,
    /// What it says is wrong.
    pub(crate) errors: Vec<String>,
}

impl NodeStatus {
    /// Its part in the cluster, in one word.
    pub(crate) fn role(&self) -> &'static str {
        match self {
            Self { learner: true, .. } => "learner",
            Self { leader, id, .. } if leader == id => "leader",
            Self { leader: 0, .. } => "no leader",
            _ => "follower",
        }
    }
}

/// One line of the member list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberInfo {
    /// Its id.
    pub(crate) id: u64,
    /// Its name.
    pub(crate) name: String,
    /// Where the other members reach it.
    pub(crate) peer_urls: Vec<String>,
    /// Where clients reach it.
    pub(crate) client_urls: Vec<String>,
    /// It has no vote, and gets none unasked.
    pub(crate) learner: bool,
}

impl From<pb::Member> for MemberInfo {
    fn from(m: pb::Member) -> Self {
        Self {
            id: m.id,
            name: m.name,
            peer_urls: m.peer_ur_ls,
            client_urls: m.client_ur_ls,
            learner: m.is_learner,
        }
    }
}

/// Parses a time as it stands on the command line: `300ms`, `5s`, `2m`; a number alone is seconds.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    match time_or_none(text)? {
        Duration::ZERO => Err(format!("{text:?} is no time: write for example 300ms, 5s or 2m")),
        time => Ok(time),
    }
}

/// The same where no time at all will do.
pub(crate) fn time_or_none(text: &str) -> Result<Duration, String> {
    // A day is more than anybody waits, and no sum with it runs over.
    const MOST_MS: u64 = 86_400_000;
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        _ => 0,
    };
    if unit == 0 || digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(format!("{text:?} is no time: write for example 300ms, 5s or 2m"));
    }
    match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)) {
        Some(ms @ ..=MOST_MS) => Ok(Duration::from_millis(ms)),
        _ => Err(format!("{text:?} is too long: 1440m, a day, is the most")),
    }
}

/// The option of all commands that ask a cluster through etcd's door.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Cluster {
    /// Where the cluster is: one node or, so that another is asked when one is gone, several
    #[arg(
        long,
        alias = "endpoint",
        value_name = "URL[,URL...]",
        value_delimiter = ',',
        value_parser = endpoint,
        global = true,
        default_value = "http://127.0.0.1:2379"
    )]
    pub(crate) endpoints: Vec<String>,
}

/// Parses an endpoint as it stands on the command line: `http://` left out or not, or `unix://FILE`, a socket in the file system.
pub(crate) fn endpoint(text: &str) -> Result<String, String> {
    match text.strip_prefix("unix://") {
        Some("") => Err("it names no file: write unix://FILE".into()),
        Some(_) => Ok(text.to_string()),
        None => url_of_clients(text),
    }
}

/// The same where it must be reached from other machines.
pub(crate) fn url_of_clients(text: &str) -> Result<String, String> {
    url(text, "10.0.0.1:2379")
}

/// The same for any port of a node, of which `example` is one.
pub(crate) fn url(text: &str, example: &str) -> Result<String, String> {
    let url = if text.contains("://") { text.to_string() } else { format!("http://{text}") };
    if url.starts_with("https://") {
        return Err("there is no TLS yet; write http://HOST:PORT".into());
    }
    if check_url(&url).is_ok() {
        return Ok(url);
    }
    let write = format!("write HOST:PORT, for example {example}");
    let Some(rest) = url.strip_prefix("http://").filter(|rest| !rest.is_empty()) else { return Err(write) };
    let port = rest.rsplit_once(':').map_or("", |(_, port)| port);
    Err(match rest.split_once('/') {
        Some((_, path)) if !path.is_empty() => {
            format!("it has a path, /{path}, and nodes have none: {write}")
        }
        _ if !port.is_empty()
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().unwrap_or(0) == 0 =>
        {
            format!("{port} is no port, which are 1 to 65535: {write}")
        }
        _ if !rest.contains(':') => format!("it names no port: {write}"),
        _ => write,
    })
}

pub(crate) async fn connect(endpoint: &str, patience: Duration) -> Result<Channel, String> {
    Endpoint::from_shared(endpoint.to_string())
        .map_err(|e| format!("not an address: {e}"))?
        .connect_timeout(patience)
        .timeout(patience)
        .connect()
        .await
        .map_err(|e| format!("cannot connect: {}", root_cause(&e)))
}

/// The innermost reason; what stands around it says only that there was one.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Asks one node for its status.
pub(crate) async fn status(endpoint: &str, patience: Duration) -> Result<NodeStatus, String> {
    let channel = connect(endpoint, patience).await?;
    let mut client = pb::maintenance_client::MaintenanceClient::new(channel);
    let reply = client.status(pb::StatusRequest {}).await.map_err(|status| told(&status))?.into_inner();
    let header = reply.header.unwrap_or_default();
    Ok(NodeStatus {
        id: header.member_id,
        cluster: header.cluster_id,
        version: reply.version,
        leader: reply.leader,
        term: reply.raft_term,
        index: reply.raft_index,
        applied: reply.raft_applied_index,
        revision: header.revision,
        db_size: reply.db_size,
        quota: reply.db_size_quota,
        learner: reply.is_learner,
        errors: reply.errors,
    })
}

/// What a node holds, in two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hashed {
    /// Of all pairs up to a revision.
    pub(crate) hash: u32,
    /// From this revision on.
    pub(crate) compacted: i64,
}

/// Has one node read all that it holds up to a revision.
pub(crate) async fn hash(endpoint: &str, revision: i64, patience: Duration) -> Result<Hashed, String> {
    let channel = connect(endpoint, patience).await?;
    let mut client = pb::maintenance_client::MaintenanceClient::new(channel);
    let reply = client.hash_kv(pb::HashKvRequest { revision }).await.map_err(|status| told(&status))?;
    let reply = reply.into_inner();
    Ok(Hashed { hash: reply.hash, compacted: reply.compact_revision })
}

/// Asks one node what it knows of replicas of shards that move, and how far a member is with leaving (0 for none); `None` where
/// there is no such thing, as in etcd.
pub(crate) async fn moves(
    endpoint: &str,
    patience: Duration,
    node: u64,
) -> Result<Option<MovesResponse>, String> {
    let channel = connect(endpoint, patience).await?;
    let mut client = ShardsClient::new(channel).max_decoding_message_size(i32::MAX as usize);
    match client.moves(MovesRequest { node }).await {
        Ok(reply) => Ok(Some(reply.into_inner())),
        Err(status) if status.code() == tonic::Code::Unimplemented => Ok(None),
        Err(status) => Err(told(&status)),
    }
}

/// Asks one node what it knows as the leader of shards; `None` where there is no such thing, as in etcd.
/// It tells of shards, too, that have replicas on those alone that are said to be silent.
pub(crate) async fn led(
    endpoint: &str,
    silent: Vec<u64>,
    patience: Duration,
) -> Result<Option<LedResponse>, String> {
    let channel = connect(endpoint, patience).await?;
    let mut client = ShardsClient::new(channel).max_decoding_message_size(i32::MAX as usize);
    match client.led(LedRequest { silent }).await {
        Ok(reply) => Ok(Some(reply.into_inner())),
        Err(status) if status.code() == tonic::Code::Unimplemented => Ok(None),
        Err(status) => Err(told(&status)),
    }
}

/// Asks one node for the members it knows; its own view will do.
pub(crate) async fn members(endpoint: &str, patience: Duration) -> Result<Vec<MemberInfo>, String> {
    cluster(endpoint, patience, false).await.map(|(_, members)| members)
}

/// Asks one node for the cluster's id and its members; with `linearizable` as the leader knows them.
pub(crate) async fn cluster(
    endpoint: &str,
    patience: Duration,
    linearizable: bool,
) -> Result<(u64, Vec<MemberInfo>), String> {
    let channel = connect(endpoint, patience).await?;
    let mut client = pb::cluster_client::ClusterClient::new(channel);
    let reply = client
        .member_list(pb::MemberListRequest { linearizable })
        .await
        .map_err(|status| told(&status))?
        .into_inner();
    let cluster = reply.header.unwrap_or_default().cluster_id;
    Ok((cluster, reply.members.into_iter().map(MemberInfo::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::{endpoint, time, time_or_none};

    #[test]
    fn times_have_a_unit() {
        for (text, ms) in [("300ms", 300), ("5s", 5_000), ("5", 5_000), ("2m", 120_000), ("24m", 1_440_000)] {
            assert_eq!(time(text).unwrap().as_millis(), ms, "{text}");
        }
        for bad in ["", "s", "-1", "1h", "1.5s", "0", "0ms", "5 s"] {
            assert!(time(bad).unwrap_err().contains("write for example 300ms, 5s"), "{bad}");
        }
        for long in ["1441m", "99999999999999999999", "18446744073709551615m"] {
            assert!(time(long).unwrap_err().contains("1440m"), "{long}");
        }
        assert_eq!(time("1440m").unwrap(), time("86400").unwrap());
        assert!(time_or_none("0s").unwrap().is_zero() && time_or_none("0h").is_err());
    }

    #[test]
    fn endpoints_are_hosts_with_ports() {
        for good in ["127.0.0.1:2379", "http://127.0.0.1:2379", "http://[::1]:1/", "db.example:2379"] {
            assert!(endpoint(good).is_ok_and(|url| url.starts_with("http://")), "{good}");
        }
        for bad in [
            "",
            ":::",
            "%%",
            "127.0.0.1",
            "127.0.0.1:0",
            "http://127.0.0.1:99999",
            "http://a:1/v3",
            "ftp://a:1",
        ] {
            assert!(endpoint(bad).unwrap_err().contains("HOST:PORT, for example 10.0.0.1:2379"), "{bad}");
        }
        for (bad, why) in [
            ("h:99999", "99999 is no port"),
            ("h:0", "0 is no port"),
            ("h:1/v3", "it has a path, /v3"),
            ("[::1]:70000", "70000 is no port"),
            ("h", "it names no port"),
        ] {
            assert!(endpoint(bad).unwrap_err().starts_with(why), "{bad}: {}", endpoint(bad).unwrap_err());
        }
        assert!(endpoint("https://a:1").unwrap_err().contains("no TLS yet"));
        assert_eq!(endpoint("unix:///run/q.sock").as_deref(), Ok("unix:///run/q.sock"));
        assert!(endpoint("unix://").is_err() && super::url_of_clients("unix:///run/q.sock").is_err());
    }
}
