//! `quorate status`: members, roles, terms, lag, and what is unhealthy.
//!
//! It asks the given endpoints for the members, then every member for itself. Nothing here needs a quorum: a cluster
//! that has lost its majority is when one wants to see this most. It works against any etcd v3 endpoint.

mod compared;
mod leaderless;
mod moves;
mod undecided;

use self::compared::Compared;
use self::leaderless::Leaderless;
use self::moves::Moves;
pub(crate) use self::moves::crowd;
use self::undecided::Undecided;
use crate::probe::{self, Cluster, NodeStatus, time};
use crate::report::{Exit, Problem, colours, many, say};
use crate::up::screen::table;
use quorate_proto::quoratepb::LedResponse;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An entry count behind the most advanced node that is worth a word.
const LAG_WORTH_A_WORD: u64 = 1000;

/// Show how a cluster does.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: Cluster,
    /// How long one node may take to answer
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "1s")]
    timeout: Duration,
    /// Have all members read what they hold, and compare it (this may take minutes)
    #[arg(long)]
    compare: bool,
    /// Speak JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  quorate status
  quorate status --endpoints 10.0.0.1:2379,10.0.0.2:2379 --json
  quorate status --timeout 300ms
  quorate status --compare

Ends with 0 if every member answers, all agree on one leader, every shard of a table has one, and with --compare all
hold the same data; else with 1.";

/// One member, asked.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
struct Line {
    id: u64,
    name: String,
    endpoint: String,
    role: &'static str,
    version: String,
    term: u64,
    index: u64,
    applied: u64,
    /// Entries behind the most advanced node.
    lag: u64,
    revision: i64,
    db_size: i64,
    /// In which zone it is; empty if it has not said.
    zone: String,
    /// What is wrong with it; empty when all is well.
    unhealthy: Vec<String>,
}

impl Line {
    /// Whether it has told how it does.
    fn answers(&self) -> bool {
        !matches!(self.role, "unreachable" | "unstarted")
    }
}

#[derive(Serialize, Debug, PartialEq, Eq)]
struct Report {
    healthy: bool,
    /// The leader that all who answered agree on; 0 for none.
    leader: u64,
    unhealthy: Vec<String>,
    nodes: Vec<Line>,
    /// Replicas of tables' shards that move, as one of the members knows it.
    moves: Moves,
    /// Shards of tables that have had no leader for longer than elections take.
    leaderless: Leaderless,
    /// Transactions over several shards whose outcome nobody knows, as the members know them.
    undecided: Undecided,
    /// What all members hold, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Compared>,
}

/// Shows it.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    let runtime = crate::runtime()?;
    let report = runtime.block_on(ask(args))?;
    let text = if args.json {
        serde_json::to_string(&report).unwrap_or_default()
    } else {
        render(&report, colours(&std::io::stdout()))
    };
    say(&text);
    if report.healthy {
        return Ok(());
    }
    let count = report.unhealthy.len() + report.nodes.iter().filter(|n| !n.unhealthy.is_empty()).count();
    let are = if count == 1 { "is" } else { "are" };
    Err(Problem::new(Exit::Failed, format!("{} {are} not well", many(count as u64, "thing")), ""))
}

async fn ask(args: &Args) -> Result<Report, Problem> {
    let patience = args.timeout;
    let mut failures = Vec::new();
    let mut answers = Vec::new();
    let mut targets: Vec<(String, Option<(u64, String)>)> = Vec::new();
    let (mut members, mut clusters) = (Vec::new(), Vec::new());
    for (endpoint, told) in asked_for_members(args).await {
        match told {
            Ok((cluster, listed)) => {
                if clusters.is_empty() {
                    members = listed;
                }
                clusters.push((endpoint, cluster));
            }
            Err(why) => failures.push(format!("{endpoint}: {why}")),
        }
    }
    for m in members {
        match m.client_urls.first() {
            Some(url) => targets.push((url.clone(), Some((m.id, m.name)))),
            None => answers.push(unstarted(m)),
        }
    }
    if targets.is_empty() {
        return Err(Problem::new(
            Exit::Failed,
            format!("no endpoint answers: {}", failures.join("; ")),
            "is the cluster up? `quorate up` starts one here; --endpoints names others",
        ));
    }
    let asked: Vec<_> = targets
        .into_iter()
        .map(|(endpoint, member)| {
            tokio::spawn(async move {
                let status = probe::status(&endpoint, patience).await;
                (endpoint, member, status)
            })
        })
        .collect();
    for task in asked {
        if let Ok(answer) = task.await {
            answers.push(answer);
        }
    }
    let mut report = judge(answers);
    report.moves = Moves::asked(&report.nodes, patience).await;
    let silent = report.nodes.iter().filter(|node| !node.answers()).map(|node| node.id).collect();
    let led = asked_what_is_led(&report.nodes, &silent, patience).await;
    report.moves.learn(led.iter().flat_map(|(_, led)| &led.moves));
    report.leaderless = Leaderless::of(&led, &silent);
    report.unhealthy.extend(report.leaderless.unhealthy());
    report.healthy &= report.unhealthy.is_empty();
    report.undecided = Undecided::of(led.into_iter().map(|(_, led)| led));
    for node in &mut report.nodes {
        node.zone = report.moves.zones.get(&node.id).cloned().unwrap_or_default();
    }
    if args.compare {
        let compared = Compared::asked(&report.nodes).await;
        report.unhealthy.extend(compared.unhealthy());
        report.healthy &= report.unhealthy.is_empty();
        report.compared = Some(compared);
    }
    if let Some(what) = strangers(&clusters) {
        report.healthy = false;
        report.unhealthy.push(what);
    }
    Ok(report)
}

/// What each endpoint knows of its cluster and its members, all asked at once.
async fn asked_for_members(args: &Args) -> Vec<(String, Result<(u64, Vec<probe::MemberInfo>), String>)> {
    let patience = args.timeout;
    let asked: Vec<_> = args
        .cluster
        .endpoints
        .iter()
        .cloned()
        .map(|endpoint| {
            tokio::spawn(async move {
                let told = probe::cluster(&endpoint, patience, false).await;
                (endpoint, told)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in asked {
        all.extend(task.await);
    }
    all
}

/// What each member knows as the leader of shards, all asked at once, by their ids; those that do not answer are left out.
async fn asked_what_is_led(
    nodes: &[Line],
    silent: &BTreeSet<u64>,
    patience: Duration,
) -> Vec<(u64, LedResponse)> {
    let ask = |node: &Line| {
        let (id, endpoint, silent) = (node.id, node.endpoint.clone(), silent.iter().copied().collect());
        tokio::spawn(async move { (id, probe::led(&endpoint, silent, patience).await) })
    };
    let asked: Vec<_> = nodes.iter().filter(|node| node.applied > 0).map(ask).collect();
    let mut all = Vec::new();
    for task in asked {
        if let Ok((id, Ok(Some(led)))) = task.await {
            all.push((id, led));
        }
    }
    all
}

/// Endpoints that are of another cluster than the first that answers, whose members are shown.
fn strangers(clusters: &[(String, u64)]) -> Option<String> {
    let (first, shown) = clusters.first()?;
    let others: Vec<String> = clusters
        .iter()
        .filter(|(_, cluster)| cluster != shown)
        .map(|(endpoint, cluster)| format!("{endpoint} of {cluster:x}"))
        .collect();
    let others = Some(others.join(", ")).filter(|others| !others.is_empty())?;
    Some(format!(
        "the endpoints belong to different clusters: {first} is of {shown:x}, whose members these are, and {others}"
    ))
}

/// A member that was added, and has never said where clients reach it.
fn unstarted(m: probe::MemberInfo) -> Answer {
    let why = format!(
        "it was added and has not started: start it (`quorate serve --join`), or remove it (`quorate node remove {:x}`)",
        m.id
    );
    (m.peer_urls.into_iter().next().unwrap_or_default(), Some((m.id, m.name)), Err(why))
}

type Answer = (String, Option<(u64, String)>, Result<NodeStatus, String>);

/// Nodes that have applied the same entries hold the same data, and are at one revision.
fn apart(nodes: &[&NodeStatus]) -> Option<String> {
    let pairs = nodes.iter().flat_map(|one| nodes.iter().map(move |other| (one, other)));
    let mut apart =
        pairs.filter(|(one, other)| one.applied == other.applied && one.revision < other.revision);
    apart.next().map(|(one, other)| {
        format!(
            "nodes {} and {} have applied the same entries and hold different data, at revisions {} and {}: one was not restored from the \
             snapshot that the other was, or its data are damaged; `quorate node replace` puts a new node in its place",
            one.id, other.id, one.revision, other.revision
        )
    })
}

/// What the answers say together.
fn judge(answers: Vec<Answer>) -> Report {
    let good = || answers.iter().filter_map(|(_, _, status)| status.as_ref().ok());
    let furthest = good().map(|s| s.index).max().unwrap_or(0);
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    for status in good().filter(|s| s.leader != 0) {
        *votes.entry(status.leader).or_default() += 1;
    }
    let clusters: std::collections::BTreeSet<u64> = good().map(|s| s.cluster).collect();
    let mut unhealthy = Vec::new();
    if votes.is_empty() {
        unhealthy.push(
            "no node knows a leader: a majority of the voters must be up and reach each other (where one is lost for good, `quorate \
             snapshot save` takes what a member has that was up meanwhile, and `quorate snapshot restore` begins a new cluster with \
             it; of one that was started since, `quorate etcd --force-new-cluster` goes on with a copy of its data directory)"
                .to_string(),
        );
    }
    if votes.len() > 1 {
        unhealthy.push(format!("the nodes disagree on the leader: {:?}", votes.keys().collect::<Vec<_>>()));
    }
    if clusters.len() > 1 {
        unhealthy.push("the nodes belong to different clusters".to_string());
    }
    unhealthy.extend(apart(&good().collect::<Vec<_>>()));
    let leader = if votes.len() == 1 { votes.keys().next().copied().unwrap_or(0) } else { 0 };
    let sizes = good().map(|s| (s.id, (s.db_size, s.quota))).collect();
    let nodes: Vec<Line> =
        answers.into_iter().map(|answer| line(answer, furthest, &sizes, leader != 0)).collect();
    let healthy = unhealthy.is_empty() && nodes.iter().all(|n| n.unhealthy.is_empty());
    let (moves, leaderless, undecided) = Default::default();
    Report { healthy, leader, unhealthy, nodes, moves, leaderless, undecided, compared: None }
}

fn line((endpoint, member, status): Answer, furthest: u64, sizes: &Sizes, led: bool) -> Line {
    let (id, name) = member.unwrap_or_default();
    let mut unhealthy = Vec::new();
    let status = status.unwrap_or_else(|why| {
        let again = if name.is_empty() {
            String::new()
        } else if !led {
            // Nobody is replaced without a majority.
            "; start it".to_string()
        } else {
            format!("; start it, or, where its disk is lost, `quorate node replace {id:x}` puts another in its place")
        };
        unhealthy.push(format!("{why}{again}"));
        NodeStatus::default()
    });
    let answered = unhealthy.is_empty();
    if answered && status.leader == 0 {
        unhealthy.push("it knows no leader".into());
    }
    let lag = if answered { furthest.saturating_sub(status.applied) } else { 0 };
    if lag > LAG_WORTH_A_WORD {
        unhealthy.push(format!("it is {lag} entries behind"));
    }
    unhealthy.extend(status.errors.iter().map(|error| told(error, sizes)));
    Line {
        id: if answered { status.id } else { id },
        endpoint,
        role: match (answered, name.is_empty()) {
            (true, _) => status.role(),
            (false, true) => "unstarted",
            (false, false) => "unreachable",
        },
        version: status.version,
        term: status.term,
        index: status.index,
        applied: status.applied,
        lag,
        revision: status.revision,
        db_size: status.db_size,
        zone: String::new(),
        unhealthy,
        name,
    }
}

/// The bytes of the space at each member that has told, and the quota there.
type Sizes = BTreeMap<u64, (i64, i64)>;

/// Why a member has no room, and what to do about it.
fn no_room(error: &str, sizes: &Sizes) -> String {
    let member = error.split_once("memberID:").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let mib = |bytes: i64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let cause = match member.and_then(|member: u64| sizes.get(&member)) {
        Some(&(size, quota)) if quota > 0 && size > quota => format!(
            "its space has {} and may have {} by its quota: delete, compact and defragment, or start it with a larger one",
            mib(size),
            mib(quota)
        ),
        Some(&(size, quota)) if quota > 0 => format!(
            "its space has {} of the {} of its quota, so there is room again unless its disk is full (its log says so)",
            mib(size),
            mib(quota)
        ),
        Some(&(size, _)) => format!(
            "its disk is nearly full (it has no quota; its space takes {} there): make room on it, or delete, compact and defragment",
            mib(size)
        ),
        None => "delete, compact and defragment, or make room on that member's disk".to_string(),
    };
    format!("; writes are refused: {cause}; then `etcdctl alarm disarm`")
}

/// What a node says is wrong, with what to do about it.
fn told(error: &str, sizes: &Sizes) -> String {
    let advice = if error.contains("alarm:NOSPACE") {
        return error.trim_end().to_string() + &no_room(error, sizes);
    } else if error.contains("the clock of this node is") && error.contains("the majority's: it answers") {
        "; set that machine's time"
    } else if error.contains("alarm:CORRUPT") {
        "; nothing is changed any more: compare the members by `etcdctl endpoint hashkv --cluster`"
    } else {
        ""
    };
    format!("{}{advice}", error.trim_end())
}

fn render(report: &Report, colours: bool) -> String {
    let header =
        ["node", "name", "role", "term", "applied", "lag", "revision", "size", "version", "endpoint"]
            .map(String::from);
    let mut rows = vec![header];
    rows.extend(report.nodes.iter().cloned().map(|n| {
        let mib = format!("{:.1} MiB", n.db_size as f64 / f64::from(1 << 20));
        [
            format!("{:x}", n.id),
            n.name,
            n.role.to_string(),
            n.term.to_string(),
            n.applied.to_string(),
            n.lag.to_string(),
            n.revision.to_string(),
            mib,
            n.version,
            n.endpoint,
        ]
    }));
    let mut rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    if report.nodes.iter().any(|node| !node.zone.is_empty()) {
        let zones = report.nodes.iter().map(|node| node.zone.as_str());
        rows.iter_mut()
            .zip(["zone"].into_iter().chain(zones))
            .for_each(|(row, zone)| row.insert(3, zone.into()));
    }
    let mut lines = table(&rows);
    let (red, plain) = if colours { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    lines.extend(report.unhealthy.iter().map(|what| format!("{red}unhealthy:{plain} {what}")));
    lines.extend(report.leaderless.lines());
    lines.extend(report.moves.lines());
    lines.extend(report.undecided.lines());
    lines.extend(report.compared.as_ref().and_then(Compared::line));
    for node in &report.nodes {
        lines.extend(
            node.unhealthy.iter().map(|what| format!("{red}unhealthy:{plain} {}: {what}", node.endpoint)),
        );
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: u64, status: Result<NodeStatus, String>) -> Answer {
        (format!("http://h:{id}"), Some((id, format!("n{id}"))), status)
    }

    fn well(id: u64, leader: u64, applied: u64) -> Answer {
        let status =
            NodeStatus { id, cluster: 7, leader, term: 3, index: 5000, applied, ..NodeStatus::default() };
        answer(id, Ok(status))
    }

    #[test]
    fn a_healthy_cluster_is_called_so() {
        let report = judge(vec![well(1, 1, 5000), well(2, 1, 4990), well(3, 1, 5000)]);
        assert_eq!((report.healthy, report.leader), (true, 1));
        let roles: Vec<&str> = report.nodes.iter().map(|n| n.role).collect();
        assert_eq!(roles, ["leader", "follower", "follower"]);
        assert_eq!(report.nodes[1].lag, 10);
        assert_eq!(render(&report, false).lines().count(), 4);
    }

    #[test]
    fn each_illness_is_named() {
        let ill = |answers: Vec<Answer>, word: &str| {
            let report = judge(answers);
            assert!(!report.healthy);
            let text = render(&report, false);
            assert!(text.contains(word), "{text:?} does not say {word:?}");
        };
        ill(
            vec![well(1, 1, 5000), answer(2, Err("cannot connect: refused".into()))],
            "http://h:2: cannot connect",
        );
        ill(vec![well(1, 1, 5000), answer(2, Err("refused".into()))], "quorate node replace 2");
        ill(vec![well(1, 1, 5000), well(2, 2, 5000)], "disagree on the leader");
        let at = |id: u64, applied: u64, revision: i64| {
            let (url, member, status) = well(id, 1, applied);
            (url, member, status.map(|status| NodeStatus { revision, ..status }))
        };
        ill(
            vec![at(1, 5000, 67), at(2, 4999, 66), at(3, 5000, 180)],
            "nodes 1 and 3 have applied the same entries",
        );
        assert!(judge(vec![at(1, 5000, 67), at(2, 4999, 66), at(3, 5000, 67)]).healthy);
        let added = probe::MemberInfo {
            id: 4,
            name: String::new(),
            peer_urls: vec![],
            client_urls: vec![],
            learner: false,
        };
        ill(vec![well(1, 1, 5000), unstarted(added)], "quorate node remove 4");
        ill(vec![well(1, 0, 5000)], "no node knows a leader");
        ill(vec![well(1, 1, 5000), well(2, 1, 0)], "5000 entries behind");
        let mut other = well(2, 1, 5000);
        other.2.as_mut().unwrap().cluster = 8;
        ill(vec![well(1, 1, 5000), other], "different clusters");
        let mut full = well(1, 1, 5000);
        full.2.as_mut().unwrap().errors.push("NOSPACE".into());
        ill(vec![full], "NOSPACE");
        let full = |size: i64, quota: i64| {
            let mut full = well(1, 1, 5000);
            let status = full.2.as_mut().unwrap();
            (status.db_size, status.quota) = (size << 20, quota << 20);
            status.errors.push("memberID:1 alarm:NOSPACE ".into());
            vec![full]
        };
        ill(full(9, 8), "its space has 9.0 MiB and may have 8.0 MiB by its quota");
        ill(full(7, 8), "7.0 MiB of the 8.0 MiB of its quota, so there is room again");
        ill(full(7, 0), "its disk is nearly full (it has no quota; its space takes 7.0 MiB there)");
        let mut other = full(7, 0);
        other[0].2.as_mut().unwrap().errors[0] = "memberID:2 alarm:NOSPACE ".into();
        ill(other, "or make room on that member's disk; then");
    }
}
