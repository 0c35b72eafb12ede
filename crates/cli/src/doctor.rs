//! `quorate doctor`: reads every record and file of a data directory, and names what is damaged. It repairs nothing.

use crate::report::{Exit, Problem, say};
use quorate_base::NodeId;
use quorate_server::doctor::{self, Finding, Members, Report};
use serde::Serialize;
use std::path::PathBuf;

/// Read all of a data directory and name what is damaged.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A node's data directory, as in quorate-data/n1
    dir: PathBuf,
    /// Speak JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  quorate doctor quorate-data/n1
  quorate doctor /var/lib/quorate --json

The node must not run. Nothing is changed. Ends with 0 if nothing is damaged (or only what is known from another place too), with 4
if the directory is in use or no node's, with 5 if something is damaged. A node that is started again sees to most of it: what it
does stands in its log.";

#[derive(Serialize, Debug)]
struct Told<'a> {
    healthy: bool,
    cluster: Option<String>,
    node: Option<u64>,
    checkpoint: Option<u64>,
    entries: u64,
    members: Option<ToldMembers>,
    files: u64,
    bytes: u64,
    findings: Vec<ToldFinding<'a>>,
}

/// By the newest configuration in the log, which need not be committed.
#[derive(Serialize, Debug)]
struct ToldMembers {
    nodes: Vec<u64>,
    learners: Vec<u64>,
    joint: bool,
    removed: bool,
}

#[derive(Serialize, Debug)]
struct ToldFinding<'a> {
    file: &'a str,
    offset: Option<u64>,
    what: &'a str,
    harmless: bool,
}

/// Examines and tells.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    let report = doctor::examine(&args.dir)?;
    if args.json {
        say(&json(&report));
    } else {
        tell(&report);
    }
    if report.is_healthy() {
        return Ok(());
    }
    let count = report.findings.iter().filter(|finding| !finding.harmless).count();
    let places = if count == 1 { "1 place is".into() } else { format!("{count} places are") };
    let hint = "keep a copy of the directory, and start the node: its log says what it makes of it";
    Err(Problem::new(Exit::Damaged, format!("{places} damaged in {}", args.dir.display()), hint))
}

fn json(report: &Report) -> String {
    let findings = report.findings.iter().map(|Finding { file, offset, what, harmless }| ToldFinding {
        file,
        offset: *offset,
        what,
        harmless: *harmless,
    });
    let told = Told {
        healthy: report.is_healthy(),
        cluster: report.owner.map(|(cluster, _)| format!("{cluster:016x}")),
        node: report.owner.map(|(_, node)| node.get()),
        checkpoint: report.checkpoint,
        entries: report.entries,
        members: report.members.as_ref().map(|m| ToldMembers {
            nodes: m.nodes.iter().map(|id| id.get()).collect(),
            learners: m.learners.iter().map(|id| id.get()).collect(),
            joint: m.joint,
            removed: m.removed,
        }),
        files: report.files,
        bytes: report.bytes,
        findings: findings.collect(),
    };
    serde_json::to_string(&told).unwrap_or_default()
}

fn tell(report: &Report) {
    if let Some((cluster, node)) = report.owner {
        say(&format!(
            "node {node} of cluster {cluster:016x}: checkpoint {}, {} entries behind it, {} files of checkpoints with {} \
             bytes",
            report.checkpoint.unwrap_or(0),
            report.entries,
            report.files,
            report.bytes
        ));
    }
    if let Some(members) = &report.members {
        say(&members_line(members));
    }
    for Finding { file, offset, what, harmless } in &report.findings {
        let place = offset.map_or_else(String::new, |at| format!(" at offset {at}"));
        say(&format!("{}: {file}{place}: {what}", if *harmless { "harmless" } else { "damaged" }));
    }
    if report.findings.is_empty() {
        say("all of it verifies");
    }
}

fn members_line(members: &Members) -> String {
    let shown = |id: &NodeId| {
        let kind = if members.learners.contains(id) { " (no vote)" } else { "" };
        format!("{id}{kind}")
    };
    let nodes: Vec<String> = members.nodes.iter().map(shown).collect();
    let more = if members.joint { "; a change of voters is under way" } else { "" };
    let more = if members.removed { "; this node was removed, and its directory can go" } else { more };
    format!("members by the newest configuration in its log: {}{more}", nodes.join(", "))
}
