//! What `up` says: a table and sentences for people, or a line of JSON a change for scripts.
//!
//! ```text
//! {"ready":true,"cluster":"…","nodes":[{"id":1,"role":"leader","pid":4711,"etcd":"http://127.0.0.1:2379",
//!   "dynamo":"http://127.0.0.1:8000","peer":"127.0.0.1:7100","zone":"","data":"quorate-data/n1","log":"quorate-data/n1/log"},…]}     (one line)
//! {"event":"exited","node":2,"pid":4712,"status":"signal 9","log":["…"]}
//! {"event":"started","node":2,"pid":4800}
//! {"event":"stopping"}
//! {"event":"stopped"}
//! ```

use crate::report::colours;
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// One node, as it is shown when all are ready.
#[derive(Serialize, Clone, Debug)]
pub(super) struct NodeLine {
    pub(super) id: u64,
    pub(super) role: &'static str,
    pub(super) pid: u32,
    pub(super) etcd: String,
    pub(super) dynamo: String,
    pub(super) peer: String,
    /// Empty for one of its own.
    pub(super) zone: String,
    pub(super) data: String,
    pub(super) log: String,
}

/// What there is when all serve.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    /// Those that run here.
    pub(super) nodes: Vec<NodeLine>,
    /// The members that do not.
    pub(super) elsewhere: Vec<Elsewhere>,
    /// Those that ran here once, and were removed.
    pub(super) removed: Vec<u64>,
    /// Those that are not started, as their data are gone.
    pub(super) lost: Vec<u64>,
}

/// A member that this `up` does not run.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Elsewhere {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) peer: String,
    pub(super) etcd: String,
    /// It serves, wherever it is.
    pub(super) answers: bool,
    /// The etcd address of a member that runs here.
    #[serde(skip)]
    pub(super) join: String,
}

impl Elsewhere {
    /// As in `member 4 (n4, peers at http://h:1)`.
    pub(super) fn title(&self) -> String {
        let name = if self.name.is_empty() { "not started yet" } else { &self.name };
        format!("member {} ({name}, peers at {})", self.id, self.peer)
    }

    /// How it is started.
    pub(super) fn start(&self) -> String {
        let bare = |url: &str| url.trim_start_matches("http://").to_string();
        let etcd = if self.etcd.is_empty() { "IP:PORT".into() } else { bare(&self.etcd) };
        format!(
            "start it where its data is: `{} serve --join {} --data DIR --etcd {etcd} --peer {}`",
            program(),
            self.join,
            bare(&self.peer)
        )
    }
}

#[derive(Serialize)]
struct ReadyLine<'a> {
    ready: bool,
    cluster: &'a str,
    nodes: &'a [NodeLine],
    elsewhere: &'a [Elsewhere],
    removed: &'a [u64],
    lost: &'a [u64],
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum EventLine<'a> {
    Exited { node: u64, pid: u32, status: &'a str, log: &'a [String] },
    Started { node: u64, pid: u32 },
    Removed { node: u64, data: &'a Path },
    Stopping,
    Stopped,
}

/// Where it is said, and how.
#[derive(Debug)]
pub(super) struct Screen {
    json: bool,
    colours: bool,
}

impl Screen {
    /// For people, or for scripts.
    pub(super) fn new(json: bool) -> Self {
        Self { json, colours: !json && colours(&std::io::stdout()) }
    }

    /// Ports that were not the usual ones.
    pub(super) fn chosen(&self, chosen: &[(u64, &'static str, u16)]) {
        for (node, what, port) in chosen {
            self.text(&format!("node {node} takes port {port} for {what}"));
        }
    }

    /// All nodes serve, and one leads.
    pub(super) fn ready(
        &self,
        cluster: &str,
        Serving { nodes, elsewhere, removed, lost }: &Serving,
        home: &Path,
        ephemeral: bool,
        took: Duration,
    ) {
        self.line(&ReadyLine { ready: true, cluster, nodes, elsewhere, removed, lost });
        if self.json {
            return;
        }
        let (bold, plain) = if self.colours { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        let many = if nodes.len() == 1 { "1 node serves" } else { &format!("{} nodes serve", nodes.len()) };
        self.text(&format!("{many}, after {} ms\n", took.as_millis()));
        let mut rows =
            vec![["node", "role", "pid", "etcd clients", "DynamoDB", "peers", "data"].map(String::from)];
        rows.extend(nodes.iter().cloned().map(|n| {
            [n.id.to_string(), n.role.to_string(), n.pid.to_string(), n.etcd, n.dynamo, n.peer, n.data]
        }));
        for (i, row) in table(&rows).into_iter().enumerate() {
            let (on, off) = if i == 0 { (bold, plain) } else { ("", "") };
            self.text(&format!("  {on}{row}{off}"));
        }
        self.absent(elsewhere);
        let first = nodes.first().map_or("", |n| n.etcd.as_str());
        let program = program();
        let endpoints =
            if first == "http://127.0.0.1:2379" { String::new() } else { format!(" --endpoints {first}") };
        self.text(&format!(
            "\nTry next, from another terminal:\n\n  {program} kv put{endpoints} greeting hello\n  \
             etcdctl --endpoints={} get greeting\n  {program} status{endpoints}\n",
            first.trim_start_matches("http://"),
        ));
        self.text(&if ephemeral {
            "Ctrl-C stops the nodes and forgets their data.".to_string()
        } else {
            format!("Ctrl-C stops the nodes; `up` goes on with the data in {}.", home.display())
        });
    }

    fn absent(&self, elsewhere: &[Elsewhere]) {
        for member in elsewhere {
            let title = member.title();
            self.text(&if member.answers {
                format!("\n{title} runs elsewhere; `up` leaves it alone")
            } else {
                format!("\n{title} does not run here, and does not answer; {}", member.start())
            });
        }
    }

    /// The nodes serve and have no leader; these members do not run here.
    pub(super) fn waiting(&self, elsewhere: &[Elsewhere]) {
        self.text("the nodes serve, and wait for a leader");
        self.absent(elsewhere);
    }

    /// A node that ran has ended, as it was removed from the cluster.
    pub(super) fn removed(&self, node: u64, data: &Path) {
        self.line(&EventLine::Removed { node, data });
        self.left_out(node, data);
    }

    /// A node is no member any more, and is not started. Nothing is said where its directory is gone, too.
    pub(super) fn left_out(&self, node: u64, data: &Path) {
        if !data.exists() {
            return;
        }
        self.text(&format!(
            "node {node} was removed from the cluster and is not started any more; {} can be deleted",
            data.display()
        ));
    }

    /// A node is gone that nobody told to go.
    pub(super) fn exited(&self, node: u64, pid: u32, status: &str, log: &[String], log_file: &Path) {
        self.line(&EventLine::Exited { node, pid, status, log });
        self.text(&format!("node {node} (pid {pid}) died: {status}; the end of {}:", log_file.display()));
        for line in log {
            self.text(&format!("  | {line}"));
        }
    }

    /// A node that died is not started again.
    pub(super) fn stays_down(&self, node: u64) {
        self.text(&format!(
            "node {node} is not started again: stop this `up` and give it again, or with --restart, which starts a node again that dies"
        ));
    }

    /// A node is not started, as its data are not where they were. `endpoint` is another's etcd address.
    pub(super) fn lost(&self, node: u64, data: &Path, endpoint: &str) {
        self.text(&format!(
            "node {node} is not started: its data are gone from {}, damaged, or another node's, and the others refuse it without them.\n  \
             Put them back; or, if they are lost, `{} node replace {node:x} --with 127.0.0.1:PORT --endpoints {endpoint}` puts a new node in its place",
            data.display(),
            program()
        ));
    }

    /// A node serves again.
    pub(super) fn started(&self, node: u64, pid: u32) {
        self.line(&EventLine::Started { node, pid });
        self.text(&format!("node {node} serves again (pid {pid})"));
    }

    /// The end begins.
    pub(super) fn stopping(&self) {
        self.line(&EventLine::Stopping);
        self.text("stopping (again to stop at once)");
    }

    /// The end.
    pub(super) fn stopped(&self) {
        self.line(&EventLine::Stopped);
    }

    /// Something for people only.
    pub(super) fn text(&self, text: &str) {
        if !self.json {
            write(text);
        }
    }

    fn line(&self, line: &impl Serialize) {
        if self.json
            && let Ok(line) = serde_json::to_string(line)
        {
            write(&line);
        }
    }
}

/// A reader who has gone away must not stop a cluster.
fn write(text: &str) {
    crate::report::speaks();
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Rows with aligned columns.
pub(crate) fn table(rows: &[impl AsRef<[String]>]) -> Vec<String> {
    let rows = || rows.iter().map(AsRef::as_ref);
    let width = |column: usize| rows().filter_map(|row| Some(row.get(column)?.chars().count())).max();
    let widths: Vec<usize> = (0..).map_while(width).collect();
    rows()
        .map(|row| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<0$}", *width)).collect();
            cells.join("  ").trim_end().to_string()
        })
        .collect()
}

/// This program, as it can be typed here.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "quorate".into() };
    let on_path = std::env::var_os("PATH")
        .is_some_and(|dirs| std::env::split_paths(&dirs).any(|dir| path.parent() == Some(dir.as_path())));
    if on_path {
        return "quorate".into();
    }
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(name) if name.components().count() == 1 => format!("./{}", name.display()),
        Ok(name) => name.display().to_string(),
        Err(_) => path.display().to_string(),
    }
}
