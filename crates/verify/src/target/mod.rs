//! The systems: their command lines, and what they are asked beside the clients' business.

mod cluster;
mod listens;
mod postgres;
mod status;

pub(crate) use cluster::{Claim, Cluster, how, leader};
pub(crate) use status::{
    add_member, hash, list_members, promote_member, remove, remove_member, status, transfer,
};

use crate::plan::{BadPlan, Plan};
use std::cell::Cell;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A system, with its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Quorate.
    Quorate(PathBuf),
    /// etcd.
    Etcd(PathBuf),
    /// PostgreSQL, by the directory of its programs.
    Postgres(PathBuf),
    /// One that runs already, and speaks etcd's protocol.
    Running,
}

/// Where a node lives. Others reach it through proxies alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// From 1.
    pub(crate) id: u64,
    /// Where it listens to clients.
    pub(crate) client: u16,
    /// Where it listens to clients of tables, if it has them.
    pub(crate) tables: u16,
    /// Where it listens to the other nodes.
    pub(crate) peer: u16,
    /// Where clients connect.
    pub(crate) client_proxy: u16,
    /// Where clients of tables connect.
    pub(crate) tables_proxy: u16,
    /// Where the other nodes connect.
    pub(crate) peer_proxy: u16,
    /// It was removed and added again: it joins what is there in place of beginning it.
    pub(crate) joins: Cell<bool>,
    /// Its data.
    pub(crate) data: PathBuf,
    /// All that it says.
    pub(crate) log: PathBuf,
    /// Where everybody connects to a node that was not started here; the ports mean nothing then.
    pub(crate) endpoint: Option<String>,
}

impl Place {
    /// The URL for clients.
    pub(crate) fn url(&self) -> String {
        if let Some(endpoint) = &self.endpoint {
            return endpoint.clone();
        }
        format!("http://127.0.0.1:{}", self.client_proxy)
    }

    /// The URL for clients of tables.
    pub(crate) fn tables_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.tables_proxy)
    }

    /// The same, with no fault on it.
    pub(crate) fn tables_direct(&self) -> String {
        format!("http://127.0.0.1:{}", self.tables)
    }

    /// Where the other nodes connect, as member lists have it.
    pub(crate) fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_proxy)
    }

    /// The URL on which no fault lies.
    pub(crate) fn direct(&self) -> String {
        if let Some(endpoint) = &self.endpoint {
            return endpoint.clone();
        }
        format!("http://127.0.0.1:{}", self.client)
    }
}

impl Target {
    /// The plan's.
    pub(crate) fn of(plan: &Plan) -> Result<Self, BadPlan> {
        if !plan.pids.is_empty() {
            for (&pid, endpoint) in plan.pids.iter().zip(&plan.endpoints) {
                cluster::running(pid, endpoint)?;
            }
            return Ok(Self::Running);
        }
        let binary = plan.binary.clone();
        match plan.target.as_str() {
            "quorate" => {
                let binary = match binary {
                    Some(binary) => binary,
                    None => std::env::current_exe().map_err(|e| {
                        BadPlan::new(format!("cannot find the program: {e}"), "name it with --binary")
                    })?,
                };
                let binary = found(&binary, "build it, or name another with --binary")?;
                is_quorate(&binary)?;
                Ok(Self::Quorate(binary))
            }
            "etcd" => {
                let binary = binary.or_else(|| in_path("etcd")).ok_or_else(|| {
                    BadPlan::new(
                        "there is no etcd here",
                        "apt-get install etcd-server, or name it with --binary",
                    )
                })?;
                found(&binary, "apt-get install etcd-server, or name another with --binary").map(Self::Etcd)
            }
            "postgres" => {
                let hint = "apt-get install postgresql, or name the directory of its programs with --binary";
                let programs = binary.or_else(postgres::installed);
                let programs = programs.ok_or_else(|| BadPlan::new("there is no PostgreSQL here", hint))?;
                found(&programs.join("initdb"), hint)?;
                Ok(Self::Postgres(programs))
            }
            other => Err(BadPlan::new(
                format!("no target is called {other}"),
                "`quorate verify --list` names them",
            )),
        }
    }

    /// How many nodes it has where nobody says.
    pub(crate) fn nodes(&self) -> usize {
        if self.has_peers() { 3 } else { 1 }
    }

    /// True where nodes speak to each other, and to us by etcd's protocol.
    pub(crate) fn has_peers(&self) -> bool {
        !matches!(self, Self::Postgres(_))
    }

    /// What is done once before a node's first start.
    pub(crate) fn initialize(&self, place: &Place) -> Result<(), String> {
        match self {
            Self::Postgres(programs) => postgres::initialize(programs, place),
            Self::Quorate(_) | Self::Etcd(_) | Self::Running => Ok(()),
        }
    }

    /// The command line of node `at` (from 0), unless it is not started here.
    pub(crate) fn command(&self, places: &[Place], at: usize, token: &str) -> Option<Command> {
        let me = &places[at];
        let all = |each: &dyn Fn(&Place) -> String| places.iter().map(each).collect::<Vec<_>>().join(",");
        Some(match self {
            Self::Quorate(program) => {
                let mut command = Command::new(program);
                command
                    .args(["serve", "--json", "--exit-with-stdin", "--data"])
                    .arg(&me.data)
                    .args(["--etcd", &format!("127.0.0.1:{}", me.client)])
                    .args(["--dynamo", &format!("127.0.0.1:{}", me.tables)])
                    .args(["--peer", &format!("127.0.0.1:{}", me.peer)]);
                if me.joins.get() {
                    let others = places.iter().filter(|place| place.id != me.id).map(Place::direct);
                    command
                        .args(["--join", &others.collect::<Vec<_>>().join(",")])
                        .args(["--advertise-peer", &format!("127.0.0.1:{}", me.peer_proxy)])
                        .args(["--advertise-etcd", &me.url()]);
                } else {
                    command
                        .args(["--cluster", token, "--node", &me.id.to_string()])
                        .args(["--peers", &all(&|n| format!("{}=127.0.0.1:{}", n.id, n.peer_proxy))])
                        .args(["--client-urls", &all(&|n| format!("{}={}", n.id, n.url()))]);
                }
                command
            }
            Self::Postgres(programs) => postgres::command(programs, me),
            Self::Running => return None,
            Self::Etcd(program) => {
                let peer = |port: u16| format!("http://127.0.0.1:{port}");
                let mut command = Command::new(program);
                command
                    .args(["--name", &format!("n{}", me.id), "--data-dir"])
                    .arg(&me.data)
                    .args(["--listen-client-urls", &me.direct(), "--advertise-client-urls", &me.url()])
                    .args(["--listen-peer-urls", &peer(me.peer)])
                    .args(["--initial-advertise-peer-urls", &peer(me.peer_proxy)])
                    .args(["--initial-cluster", &all(&|n| format!("n{}={}", n.id, peer(n.peer_proxy)))])
                    .args(["--initial-cluster-state", if me.joins.get() { "existing" } else { "new" }])
                    .args(["--initial-cluster-token", token]);
                command
            }
        })
    }
}

/// Refuses what does not say that it is Quorate: a node of it would end at once, or never serve.
fn is_quorate(program: &Path) -> Result<(), BadPlan> {
    let bad = |what: String| {
        BadPlan::new(format!("{} {what}", program.display()), "name a build of quorate with --binary")
    };
    let said = first_words(program).map_err(|e| bad(format!("cannot be run: {e}")))?;
    if said == *NAME { Ok(()) } else { Err(bad("is not quorate, by what it says to --version".into())) }
}

/// What Quorate says first to `--version`, and how long it may take.
const NAME: &[u8] = b"quorate ";
const WORD: Duration = Duration::from_secs(10);

/// As many bytes as that has of what a program says; fewer if it ends before, or says nothing more for long. No program is waited for till
/// its end: it may have none.
fn first_words(program: &Path) -> std::io::Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let (give, take) = std::sync::mpsc::channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            for byte in BufReader::new(out).bytes().take(NAME.len()).map_while(Result::ok) {
                let _ = give.send(byte);
            }
        });
    }
    let said = std::iter::from_fn(|| take.recv_timeout(WORD).ok()).collect();
    let _ = child.kill();
    child.wait()?;
    Ok(said)
}

fn found(program: &Path, hint: &str) -> Result<PathBuf, BadPlan> {
    if program.is_file() {
        Ok(program.into())
    } else {
        Err(BadPlan::new(format!("{} is no program", program.display()), hint))
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}
