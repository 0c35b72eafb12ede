//! What a run is to do: everything that a report needs to say how to do it again.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// A run, as it was asked for.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Plan {
    /// The system, by its name in the catalog.
    pub target: String,
    /// The program (for PostgreSQL: the directory of its programs), where not the usual one is meant.
    pub binary: Option<PathBuf>,
    /// The processes of a system that runs already, one a node. It is only stopped and let go on.
    #[serde(default)]
    pub pids: Vec<u32>,
    /// Where clients reach its nodes, in the order of `pids`.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// What clients do, by names of the catalog.
    pub workloads: Vec<String>,
    /// What is broken, by names of the catalog; may be empty.
    pub nemeses: Vec<String>,
    /// How many faults may stand at once; 0 counts as 1.
    #[serde(default)]
    pub overlap: u64,
    /// How many nodes; 0 for as many as the target usually has.
    pub nodes: usize,
    /// How many shards of their own the tables of workloads get; 0 and 1 for none.
    #[serde(default)]
    pub shards: u32,
    /// Clients of each workload.
    pub clients: u64,
    /// Operations a second and client, at most.
    pub rate: u64,
    /// How long things break.
    pub time: Duration,
    /// What all chance comes from.
    pub seed: u64,
    /// Clients stay with the node that they begin with.
    pub pinned: bool,
    /// Isolation of transactions, where the target has a choice.
    pub isolation: Option<String>,
    /// The report's directory, which must not exist or be empty.
    pub report: PathBuf,
    /// The nodes' data stay also where nothing was found.
    pub keep: bool,
}

/// Why a plan cannot be run, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPlan {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl BadPlan {
    /// A reason with a hint.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

impl Plan {
    /// The level that transactions are held to, by its name in `quorate check`. Where the target was asked for less than it
    /// can, the run is to show what that costs: it is held to what it can.
    pub(crate) fn promised(&self) -> &'static str {
        // PostgreSQL's serializable keeps no real-time order between sessions by promise.
        if self.target == "postgres" { "serializable" } else { "strict-serializable" }
    }

    /// The command that runs this plan again, into another report.
    pub fn command(&self) -> String {
        let mut words = vec!["quorate verify".to_string(), format!("--target {}", self.target)];
        if let Some(binary) = &self.binary {
            words.push(format!("--binary {}", binary.display()));
        }
        if !self.pids.is_empty() {
            let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
            words.push(format!("--pids {} --endpoints {}", pids.join(","), self.endpoints.join(",")));
        }
        words.push(format!("--workload {}", self.workloads.join(",")));
        let nemeses = if self.nemeses.is_empty() { "none".into() } else { self.nemeses.join(",") };
        words.push(format!("--nemesis {nemeses}"));
        let ms = self.time.as_millis();
        words.push(if ms.is_multiple_of(1000) {
            format!("--time {}s", ms / 1000)
        } else {
            format!("--time {ms}ms")
        });
        if self.overlap > 1 {
            words.push(format!("--overlap {}", self.overlap));
        }
        if self.nodes > 0 {
            words.push(format!("--nodes {}", self.nodes));
        }
        words.push(format!("--seed {} --clients {} --rate {}", self.seed, self.clients, self.rate));
        if self.pinned {
            words.push("--pinned".into());
        }
        if let Some(isolation) = &self.isolation {
            words.push(format!("--isolation {isolation}"));
        }
        words.join(" ")
    }
}
