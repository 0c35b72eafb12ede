//! The page of metrics, held to the list of what etcd's dashboards and alerts ask for.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

use crate::common::{Alone, Scratch, Up, eventually, nodes, text};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

fn page(etcd: &str) -> String {
    let mut stream = TcpStream::connect(etcd.trim_start_matches("http://")).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    page
}

/// The sum of the values of a name, whatever its labels; `None` if there is none.
fn sum(page: &str, name: &str) -> Option<f64> {
    let of = |line: &str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let values: Vec<f64> = page.lines().filter_map(of).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// Claim: the list in `docs/metrics.md` says of each name whether it is served, and the numbers move with what is done.
#[test]
fn the_page_is_what_the_list_says() {
    let scratch = Scratch::new("metrics");
    let node = Alone::start(&scratch.path("n1"), "").unwrap();
    for n in 0..20 {
        assert_eq!(node.put(&format!("k{n}"), "v").0, 0);
    }
    let served = page(&node.etcd);
    let list = include_str!("../../../docs/metrics.md");
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let listed: BTreeMap<&str, bool> = rows.map(|(name, rest)| (name, rest.starts_with("yes"))).collect();
    assert!(listed.len() > 25, "{listed:?}");
    for (name, yes) in &listed {
        assert_eq!(sum(&served, name).is_some(), *yes, "{name}");
    }
    let at_least = |name: &str, least: f64| {
        let found = sum(&served, name).unwrap();
        assert!(found >= least, "{name} is {found}");
    };
    for (name, least) in [
        ("etcd_server_has_leader", 1.0),
        ("etcd_server_is_leader", 1.0),
        ("etcd_server_leader_changes_seen_total", 1.0),
        ("etcd_server_proposals_applied_total", 20.0),
        ("etcd_disk_wal_fsync_duration_seconds_count", 10.0),
        ("etcd_network_client_grpc_received_bytes_total", 1_000.0),
        ("etcd_mvcc_db_total_size_in_bytes", 20.0),
        ("process_resident_memory_bytes", 1e6),
        ("process_open_fds", 5.0),
        ("process_start_time_seconds", 1e9),
    ] {
        at_least(name, least);
    }
    for line in [
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 20\n",
        "grpc_server_msg_received_total{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 20\n",
        "etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"unary\"} ",
        "\netcd_mvcc_put_total 20\n",
        "\netcd_mvcc_delete_total 0\n",
        "\netcd_debugging_mvcc_keys_total 20\n",
        "\netcd_debugging_mvcc_current_revision 21\n",
        "\netcd_debugging_mvcc_compact_revision -1\n",
        "\netcd_debugging_mvcc_watcher_total 0\n",
        "\netcd_server_version{server_version=\"3.6.16\"} 1\n",
        "\netcd_cluster_version{cluster_version=\"3.6\"} 1\n",
    ] {
        assert!(served.contains(line), "{line} is not in {served}");
    }
    // Each name is told of once, with its kind.
    for line in served.lines().filter(|line| line.starts_with("# TYPE ")) {
        assert_eq!(served.matches(&format!("{line}\n")).count(), 1, "{line}");
    }
    node.stop();
}

/// Claim: what the list has of several members each tells of each of the others, whose rules ask for it peer by peer; and a word to each comes
/// back.
#[test]
fn members_tell_of_each_other() {
    let up = Up::start(&["--ephemeral"]);
    let nodes = nodes(&up.ready());
    let list = include_str!("../../../docs/metrics.md");
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let names: Vec<&str> =
        rows.filter(|(_, rest)| rest.starts_with("of several members")).map(|(name, _)| name).collect();
    assert!(names.len() > 5, "{names:?}");
    for node in &nodes {
        let served = page(text(node, "etcd"));
        for name in &names {
            for peer in nodes.iter().map(|other| &other["id"]).filter(|other| **other != node["id"]) {
                let told = |line: &&str| {
                    let label = |label: &str| line.contains(&format!("{label}=\"{peer}\""));
                    line.starts_with(name) && ["To", "From", "Remote"].into_iter().any(label)
                };
                assert!(served.lines().any(|line| told(&line)), "{name} of {peer} in {served}");
            }
        }
        let count = "etcd_network_peer_round_trip_time_seconds_count";
        eventually("words come back", || sum(&page(text(node, "etcd")), count).unwrap() >= 4.0);
        assert!(sum(&page(text(node, "etcd")), "etcd_network_peer_sent_bytes_total").unwrap() > 0.0);
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}
