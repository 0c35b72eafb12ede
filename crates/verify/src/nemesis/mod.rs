//! What breaks the system: each fault begins, holds for a while, ends, and says what it did.
//!
//! A fault is not what was ordered but what was seen: a process counts as killed when it is gone by the signal, as frozen when
//! the kernel shows it stopped, a link as cut when bytes were held back on it. A run in which a nemesis did nothing has shown
//! nothing, and fails.

mod files;
mod members;
mod network;
mod ordered;
mod process;

use crate::clock;
use crate::process::Process;
use crate::record::Event;
use crate::target::Cluster;
use quorate_base::Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep;

/// One fault, when it was over.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The nemesis, by its name in the catalog.
    pub(crate) nemesis: String,
    /// What it was, to whom.
    pub(crate) what: String,
    /// Nanoseconds of the machine's clock in a run, since its beginning in a report.
    pub(crate) begin: i64,
    /// The same.
    pub(crate) end: i64,
    /// How much was seen of it; 0 for a fault that did nothing.
    pub(crate) effect: u64,
    /// What was seen of it.
    pub(crate) seen: String,
}

impl Fault {
    /// One that did not come to its end.
    pub(crate) fn broken_off(nemesis: &str, begin: i64, why: &str) -> Self {
        let (end, seen) = (clock::now(), format!("broken off: {why}"));
        Self { nemesis: nemesis.into(), what: String::new(), begin, end, effect: 0, seen }
    }
}

/// What a fault did.
pub(crate) struct Effect {
    /// How much.
    pub(crate) count: u64,
    /// In words.
    pub(crate) words: String,
}

impl Effect {
    fn new(count: u64, words: impl Into<String>) -> Self {
        Self { count, words: words.into() }
    }
}

/// All that a nemesis works on.
pub(crate) struct Stage<'a> {
    /// The nodes and links.
    pub(crate) cluster: &'a mut Cluster,
    /// The client processes.
    pub(crate) clients: &'a [Process],
    /// Which of them use a lock, and where they write down what they do.
    pub(crate) lockers: &'a [(usize, PathBuf)],
    /// Chance.
    pub(crate) rng: &'a mut Rng,
    /// The events that go into every history.
    pub(crate) events: &'a mut Vec<Event>,
    /// How long a fault may hold at most.
    pub(crate) longest: Duration,
}

impl Stage<'_> {
    /// Writes down that a fault begins or ends.
    fn note(&mut self, f: &str, what: &str) {
        self.events.push(Event::nemesis(clock::now(), f, json!(what)));
    }

    /// Lets a fault stand for a while.
    async fn hold(&mut self, shortest_ms: u64, longest_ms: u64) {
        let most = (self.longest.as_millis() as u64).max(1);
        let ms = self.rng.between(shortest_ms, longest_ms.max(shortest_ms)).min(most);
        sleep(Duration::from_millis(ms)).await;
    }

    /// The leader in half of the cases, where there is one, else any node.
    async fn victim(&mut self) -> (usize, &'static str) {
        if self.rng.chance(1, 2)
            && let Some(leader) = self.cluster.leader().await
        {
            return (leader, "the leader, ");
        }
        (self.rng.below(self.cluster.len() as u64) as usize, "")
    }
}

/// One fault of a nemesis, from its beginning to its end.
pub(crate) async fn fault(nemesis: &str, stage: &mut Stage<'_>) -> Result<Fault, String> {
    let begin = clock::now();
    let (what, effect) = match nemesis {
        "kill" => process::kill(stage).await?,
        "pause" if !stage.lockers.is_empty() && stage.rng.chance(3, 4) => {
            process::pause_holder(stage).await?
        }
        "pause" => process::pause(stage).await?,
        "partition" => network::partition(stage).await?,
        "stale-disk" => files::stale_disk(stage).await?,
        "corrupt" => files::corrupt(stage).await?,
        "transfer" => network::transfer(stage).await?,
        "members" => members::replace(stage).await?,
        "power-loss" => ordered::power_loss(stage).await?,
        "clock" => ordered::clock(stage).await?,
        "disk" => ordered::disk(stage).await?,
        "slow" => network::slow(stage).await?,
        other => return Err(format!("no nemesis is called {other}")),
    };
    let end = clock::now();
    Ok(Fault { nemesis: nemesis.into(), what, begin, end, effect: effect.count, seen: effect.words })
}
