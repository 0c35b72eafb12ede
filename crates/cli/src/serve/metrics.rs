//! The page of metrics, in the text form of Prometheus: Quorate's own names, and those of etcd that its dashboards and alerts ask
//! for. `docs/metrics.md` lists the latter, and a test holds the page to the list.

use quorate_gateway_etcd::Counters;
use quorate_node::lane::Stand;
use quorate_node::watch::Counts;
use quorate_server::{Facts, Traffic};
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// The page; `tables` is what the DynamoDB door counts, where there is one.
pub(crate) fn page(
    facts: &Facts,
    version: &str,
    counters: &Counters,
    tables: Option<&quorate_gateway_dynamo::Counters>,
) -> String {
    let mut page = Page(String::new());
    own(&mut page, facts, counters);
    if let Some(counters) = tables {
        dynamo(&mut page, counters);
    }
    server(&mut page, facts, counters);
    space(&mut page, facts, counters);
    watches(&mut page, &facts.watches);
    identity(&mut page, facts, version);
    doors(&mut page, counters);
    network(&mut page, facts, counters);
    counters.calls.write(&mut page.0);
    process(&mut page);
    page.0
}

struct Page(String);

impl Page {
    fn title(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.title(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.value(name, "counter", help, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.value(name, "gauge", help, value);
    }
}

fn own(page: &mut Page, facts: &Facts, counters: &Counters) {
    page.counter("quorate_journal_flushes_total", "Flushes of the journal since the start.", facts.flushes);
    let help = "Connections and packets refused on the peer port since the start.";
    page.counter("quorate_peer_mistakes_total", help, facts.peer_mistakes);
    let help = "Connections for which there was no place since the start.";
    page.counter("quorate_clients_turned_away_total", help, counters.turned_away.load(Ordering::Relaxed));
}

fn dynamo(page: &mut Page, counters: &quorate_gateway_dynamo::Counters) {
    let help = "Requests to the DynamoDB door that were answered well.";
    page.counter("quorate_dynamo_answered_total", help, counters.answered.load(Ordering::Relaxed));
    let help = "Requests to the DynamoDB door that were answered by an error.";
    page.counter("quorate_dynamo_refused_total", help, counters.refused.load(Ordering::Relaxed));
    let help = "Connections to the DynamoDB door for which there was no place.";
    page.counter("quorate_dynamo_turned_away_total", help, counters.turned_away.load(Ordering::Relaxed));
}

fn server(page: &mut Page, facts: &Facts, counters: &Counters) {
    let lane = &facts.lane;
    page.gauge("etcd_server_has_leader", "Whether the node knows a leader.", u8::from(lane.has_leader));
    page.gauge("etcd_server_is_leader", "Whether the node leads.", u8::from(lane.leads));
    page.gauge("etcd_server_is_learner", "Whether the node is a learner.", u8::from(lane.learner));
    let help = "Leaders that the node has heard of since its start.";
    page.counter("etcd_server_leader_changes_seen_total", help, lane.leader_changes);
    let help = "The last entry that the node knows to be committed.";
    page.gauge("etcd_server_proposals_committed_total", help, lane.committed);
    page.gauge("etcd_server_proposals_applied_total", "The last entry that is applied.", lane.applied);
    page.gauge("etcd_server_proposals_pending", "Requests that wait for the log.", lane.pending);
    let help = "Writes that came to nothing, or are in doubt, since the start.";
    page.counter("etcd_server_proposals_failed_total", help, lane.failed);
    // Without a bound there is none to come near to: rules for alarms divide by it.
    if lane.quota > 0 {
        let help = "Bytes of the space beyond which an alarm is raised.";
        page.gauge("etcd_server_quota_backend_bytes", help, lane.quota);
    }
    let help = "How often applying what had come took longer than 100 ms.";
    page.counter("etcd_server_slow_apply_total", help, facts.slow_applies);
    let help = "Rounds of linearizable reads that came to nothing, and were tried again.";
    page.counter("etcd_server_read_indexes_failed_total", help, lane.reads_dropped);
    page.gauge("quorate_leases", "Leases that there are.", lane.leases);
    let shards = &facts.shards;
    page.gauge("quorate_shards", "Shards of tables that there are.", shards.all);
    page.gauge("quorate_shards_here", "Shards of tables of which the node has a replica.", shards.here);
    page.gauge("quorate_shards_moving", "Shards of tables whose replicas move.", shards.moving);
    let help = "Members that are to leave, and have no replicas of shards any more then.";
    page.gauge("quorate_members_leaving", help, shards.leaving);
    let help =
        "Transactions over several shards whose outcome nobody knows, and which the node tries to recover.";
    page.gauge("quorate_transactions_undecided", help, lane.undecided);
    let (fenced, ahead) = match lane.clock {
        Stand::Far(ahead) => (1, ahead),
        Stand::Near | Stand::Unknown | Stand::Idle => (0, 0),
    };
    let help = "1 where the wall clock is too far from the majority's for what rests on it.";
    page.gauge("quorate_clock_fenced", help, fenced);
    let help = "1 where it is not known whether the wall clock is too far from the majority's, and something rests on it.";
    page.gauge("quorate_clock_unknown", help, u8::from(lane.clock == Stand::Unknown));
    let help = "Seconds that the wall clock of a fenced node is ahead of the majority's.";
    page.gauge("quorate_clock_ahead_seconds", help, ahead as f64 / 1e3);
    let help = "By how many seconds each lease was prolonged, since the node stood still while it led.";
    let given_back = lane.leases_given_back.as_millis() as f64 / 1000.0;
    page.value("quorate_leases_given_back_seconds_total", "counter", help, given_back);
    let name = "etcd_disk_wal_fsync_duration_seconds";
    page.title(name, "histogram", "How long flushes of the journal take.");
    facts.flush.write(&mut page.0, name, "");
    let name = "etcd_disk_backend_commit_duration_seconds";
    page.title(name, "histogram", "How long checkpoints of the state take.");
    facts.checkpoint.write(&mut page.0, name, "");
    let name = "etcd_disk_backend_snapshot_duration_seconds";
    page.title(name, "histogram", "How long snapshots take that clients save.");
    counters.snapshots.0.write(&mut page.0, name, "");
    let help = "Bytes of entries that were appended to the journal.";
    page.counter("etcd_disk_wal_write_bytes_total", help, facts.appended);
}

/// What was done to the keys, and the leases.
fn space(page: &mut Page, facts: &Facts, counters: &Counters) {
    let (lane, done) = (&facts.lane, facts.lane.tally);
    let (size, in_use) = ("etcd_mvcc_db_total_size_in_bytes", "etcd_mvcc_db_total_size_in_use_in_bytes");
    // All of it is in use: what is compacted is not counted, and nothing waits for a defragmentation.
    for name in [size, "etcd_debugging_mvcc_db_total_size_in_bytes", in_use] {
        page.gauge(name, "Bytes of all versions of all keys that are not compacted, about.", lane.db_size);
    }
    let (ranges, txns) = (&counters.ranges, &counters.range_txns);
    let ranges = done.ranges + ranges.load(Ordering::Relaxed);
    let txns = done.txns + txns.load(Ordering::Relaxed);
    for (name, help, count) in [
        ("etcd_mvcc_put_total", "Puts that the node has applied.", done.puts),
        ("etcd_mvcc_delete_total", "Deletions that the node has applied.", done.deletes),
        ("etcd_mvcc_range_total", "Ranges that the node has read.", ranges),
        ("etcd_mvcc_txn_total", "Commands and reads of more than one operation.", txns),
        ("etcd_debugging_lease_granted_total", "Leases that were granted.", done.granted),
        ("etcd_debugging_lease_revoked_total", "Leases that have ended, whichever way.", done.revoked),
        (
            "etcd_debugging_lease_renewed_total",
            "Keep-alives that the node has granted as leader.",
            lane.renewed,
        ),
        ("etcd_debugging_server_lease_expired_total", "Leases whose time was over.", done.expired),
    ] {
        page.counter(name, help, count);
    }
    let help = "Bytes of keys and values that were put.";
    page.gauge("etcd_debugging_mvcc_total_put_size_in_bytes", help, done.put_bytes);
    page.gauge("etcd_debugging_mvcc_keys_total", "Keys that there are.", lane.keys);
    page.gauge("etcd_debugging_mvcc_current_revision", "The newest revision.", lane.revision);
    let compacted = if lane.compacted > 0 { lane.compacted } else { -1 };
    let help = "The revision that was compacted last; -1 before the first.";
    page.gauge("etcd_debugging_mvcc_compact_revision", help, compacted);
}

fn watches(page: &mut Page, watches: &Counts) {
    page.gauge("etcd_debugging_mvcc_watch_stream_total", "Streams of watches.", watches.streams);
    page.gauge("etcd_debugging_mvcc_watcher_total", "Watches.", watches.watches);
    let help = "Watches that are told history, since they are behind the newest events.";
    page.gauge("etcd_debugging_mvcc_slow_watcher_total", help, watches.behind);
    page.counter("etcd_debugging_mvcc_events_total", "Events that watches were told.", watches.told);
}

/// Names and versions stand in labels, and the value says nothing.
fn identity(page: &mut Page, facts: &Facts, version: &str) {
    let cluster = version.rsplit_once('.').map_or(version, |(cluster, _)| cluster);
    let node = format!("{:x}", facts.node.get());
    for (name, label, help, value) in [
        ("etcd_server_id", "server_id", "The node's id.", node.as_str()),
        ("etcd_server_version", "server_version", "The version that clients are told.", version),
        ("etcd_cluster_version", "cluster_version", "That of the cluster.", cluster),
    ] {
        page.title(name, "gauge", help);
        let _ = writeln!(page.0, "{name}{{{label}=\"{value}\"}} 1");
    }
    for (name, help) in [
        ("etcd_network_known_peers", "The other members."),
        ("etcd_network_active_peers", "The other members that are connected."),
    ] {
        page.title(name, "gauge", help);
        for (peer, connected) in &facts.links {
            let up = u8::from(*connected || name.ends_with("known_peers"));
            let _ = writeln!(page.0, "{name}{{Local=\"{node}\",Remote=\"{:x}\"}} {up}", peer.get());
        }
    }
}

fn doors(page: &mut Page, counters: &Counters) {
    let (healthy, unhealthy) = (&counters.healthy, &counters.unhealthy);
    let help = "How often /health said that all is well.";
    page.counter("etcd_server_health_success", help, healthy.load(Ordering::Relaxed));
    let help = "How often /health said that something is not.";
    page.counter("etcd_server_health_failures", help, unhealthy.load(Ordering::Relaxed));
    let promoted = counters.calls.done("/etcdserverpb.Cluster/MemberPromote");
    let help = "Learners that were promoted by calls to this node.";
    page.counter("etcd_server_learner_promote_successes", help, promoted);
    counters.clients.write(&mut page.0);
}

fn network(page: &mut Page, facts: &Facts, counters: &Counters) {
    let (received, sent) = (counters.received.load(Ordering::Relaxed), counters.sent.load(Ordering::Relaxed));
    page.counter("etcd_network_client_grpc_received_bytes_total", "Bytes read from clients.", received);
    page.counter("etcd_network_client_grpc_sent_bytes_total", "Bytes written to clients.", sent);
    peers(page, facts);
}

/// One of the figures of a peer.
type Figure = fn(&Traffic) -> &AtomicU64;

fn peers(page: &mut Page, facts: &Facts) {
    let figures: [(&str, &str, &str, Figure); 4] = [
        ("etcd_network_peer_sent_bytes_total", "To", "Bytes of packets sent to peers.", |of| &of.sent),
        ("etcd_network_peer_received_bytes_total", "From", "Bytes read from peers.", |of| &of.received),
        (
            "etcd_network_peer_sent_failures_total",
            "To",
            "Packets to peers for which there was no connection.",
            |of| &of.dropped,
        ),
        ("etcd_network_disconnected_peers_total", "Remote", "Connections to peers that were lost.", |of| {
            &of.lost
        }),
    ];
    for (name, label, help, of) in figures {
        let local = match label {
            "Remote" => format!("Local=\"{:x}\",", facts.node.get()),
            _ => String::new(),
        };
        page.title(name, "counter", help);
        for (peer, traffic) in &facts.peers {
            let count = of(traffic).load(Ordering::Relaxed);
            let _ = writeln!(page.0, "{name}{{{local}{label}=\"{:x}\"}} {count}", peer.get());
        }
    }
    let name = "etcd_network_peer_round_trip_time_seconds";
    page.title(name, "histogram", "How long a word takes to a peer and back, through both processes.");
    for (peer, traffic) in &facts.peers {
        traffic.round_trips.write(&mut page.0, name, &format!("To=\"{:x}\"", peer.get()));
    }
}

/// What the system knows of the process; where it does not say, the lines are left out.
fn process(page: &mut Page) {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let stat = read("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything; numbers follow it.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    if let (Some(user), Some(system)) = (number(11), number(12)) {
        let help = "Seconds of processor time, user and system.";
        page.value("process_cpu_seconds_total", "counter", help, (user + system) / ticks);
    }
    let booted = read("/proc/stat").and_then(|stat| {
        let line = stat.lines().find_map(|line| line.strip_prefix("btime ").map(str::to_string))?;
        line.trim().parse::<f64>().ok()
    });
    if let (Some(booted), Some(started)) = (booted, number(19)) {
        let help = "When the process started, in seconds since 1970.";
        page.gauge("process_start_time_seconds", help, booted + started / ticks);
    }
    if let (Some(size), Some(pages)) = (number(20), number(21)) {
        page.gauge("process_virtual_memory_bytes", "Bytes of address space.", size);
        let resident = pages * rustix::param::page_size() as f64;
        page.gauge("process_resident_memory_bytes", "Bytes of memory.", resident);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let open = open.count();
        page.gauge("process_open_fds", "Open files.", open);
        page.gauge("os_fd_used", "Open files, under etcd's own name.", open);
    }
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        page.gauge("process_max_fds", "Files that may be open.", most);
        page.gauge("os_fd_limit", "Files that may be open, under etcd's own name.", most);
    }
}
