//! How a member is started that was added: by `quorate serve`, and where the others were started by it, by `quorate etcd`.

use super::{Guide, address};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::quoratepb::MovesResponse;

impl Guide {
    /// How a member is started that was added: with what the others have, too.
    pub(super) fn start(&self, peer: &str, others: &MovesResponse) -> String {
        let join: Vec<String> = self.endpoints.iter().map(|url| address(url)).collect();
        let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host);
        let open = if host.starts_with("127.") || host == "[::1]" { "" } else { " --insecure" };
        let dynamo = if others.dynamo { format!(" --dynamo {host}:PORT") } else { String::new() };
        let replaced = others.zones.iter().find(|zone| Some(zone.node) == self.replaces);
        let zone = match replaced {
            Some(zone) => format!(" --zone {}", zone.name),
            None if others.zones.is_empty() => String::new(),
            None => " --zone ZONE".into(),
        };
        let join = join.join(",");
        format!("quorate serve --join {join} --data DIR --peer {peer} --etcd {host}:PORT{dynamo}{zone}{open}")
    }
}

/// The variables that `etcdctl member add` tells, where the asked node was started by etcd's own flags. The new one's name is left open;
/// of the others, those have none that have not started yet, and cannot be asked for anything.
pub(super) fn variables(peer: &str, members: &[pb::Member], others: &MovesResponse) -> Vec<String> {
    if !others.etcd {
        return Vec::new();
    }
    let url = format!("http://{peer}");
    let started = members.iter().filter(|member| !member.name.is_empty());
    let named =
        started.flat_map(|member| member.peer_ur_ls.iter().map(|url| format!("{}={url}", member.name)));
    let cluster: Vec<String> = named.chain([format!("NAME={url}")]).collect();
    vec![
        "ETCD_NAME=\"NAME\"".to_string(),
        format!("ETCD_INITIAL_CLUSTER=\"{}\"", cluster.join(",")),
        format!("ETCD_INITIAL_ADVERTISE_PEER_URLS=\"{url}\""),
        "ETCD_INITIAL_CLUSTER_STATE=\"existing\"".to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::quoratepb;
    use std::time::Duration;

    #[test]
    fn a_member_is_started_with_what_the_others_have() {
        let (endpoints, timeout) = (vec!["http://10.0.0.1:2379".to_string()], Duration::ZERO);
        let mut guide = Guide { endpoints, timeout, json: false, drains: true, replaces: None };
        let zone = |node, name: &str| quoratepb::Zone { node, name: name.into() };
        let zones = vec![zone(1, "a"), zone(3, "b")];
        let with = MovesResponse { zones, dynamo: true, ..MovesResponse::default() };
        let bare = "quorate serve --join 10.0.0.1:2379 --data DIR --peer 10.0.0.4:7100 --etcd 10.0.0.4:PORT";
        assert_eq!(guide.start("10.0.0.4:7100", &MovesResponse::default()), format!("{bare} --insecure"));
        let more = "--dynamo 10.0.0.4:PORT --zone ZONE --insecure";
        assert_eq!(guide.start("10.0.0.4:7100", &with), format!("{bare} {more}"));
        guide.replaces = Some(3);
        assert!(guide.start("127.0.0.1:7100", &with).ends_with(" --dynamo 127.0.0.1:PORT --zone b"));
        guide.replaces = Some(2);
        assert!(guide.start("127.0.0.1:7100", &with).ends_with(" --zone ZONE"));
    }

    #[test]
    fn where_the_others_were_started_by_quorate_etcd_its_variables_are_told() {
        let member = |name: &str, peer: &str| pb::Member {
            name: name.into(),
            peer_ur_ls: vec![format!("http://{peer}")],
            ..pb::Member::default()
        };
        let members =
            [member("a", "10.0.0.1:2380"), member("", "10.0.0.9:2380"), member("", "10.0.0.4:2380")];
        assert!(variables("10.0.0.4:2380", &members, &MovesResponse::default()).is_empty());
        let told = variables("10.0.0.4:2380", &members, &MovesResponse { etcd: true, ..Default::default() });
        assert_eq!(
            told,
            [
                "ETCD_NAME=\"NAME\"",
                "ETCD_INITIAL_CLUSTER=\"a=http://10.0.0.1:2380,NAME=http://10.0.0.4:2380\"",
                "ETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://10.0.0.4:2380\"",
                "ETCD_INITIAL_CLUSTER_STATE=\"existing\"",
            ]
        );
    }
}
