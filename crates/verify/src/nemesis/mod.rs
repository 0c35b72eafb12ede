//! What breaks the system: each fault begins, holds for a while, ends, and says what it did.
//!
//! A fault is not what was ordered but what was seen: a process counts as killed when it is gone by the signal, as frozen when
//! the kernel shows it stopped, a link as cut when bytes were held back on it. A run in which a nemesis did nothing has shown
//! nothing, and fails.
//!
//! Faults may overlap. Each has the nodes that it works on to itself, and a layer of rules of its own on the links. What makes a
//! node forget is never done twice at once, and an old disk never comes back while anything else is broken: a system that
//! promises to bear the loss of one node may lose what was confirmed where two are lost. So are bits that flipped at one node and that
//! nobody has read yet: they are flipped back before another node loses something.

mod files;
mod members;
mod network;
mod ordered;
mod process;

use crate::process::Process;
use crate::record::Event;
use crate::target::{Claim, Cluster};
use crate::{catalog, clock};
use quorate_base::Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{Mutex, RwLock};
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

/// All that a nemesis works on. Several may be at work at once, each on a stage of its own.
pub(crate) struct Stage<'a> {
    /// The nodes and links.
    pub(crate) cluster: &'a Cluster,
    /// The client processes.
    pub(crate) clients: &'a [Process],
    /// Which of them use a lock, and where they write down what they do.
    pub(crate) lockers: &'a [(usize, PathBuf)],
    /// Chance.
    pub(crate) rng: Rng,
    /// The events that go into every history.
    pub(crate) events: &'a RefCell<Vec<Event>>,
    /// How long a fault may hold at most.
    pub(crate) longest: Duration,
    /// What only one at a time may do.
    pub(crate) turns: &'a Turns,
}

/// What does not go together.
#[derive(Default)]
pub(crate) struct Turns {
    /// Held to write by a fault that must be alone, to read by the others.
    alone: RwLock<()>,
    /// Held by a fault after which a node has less than it confirmed: a second one would be one too many.
    forgets: Mutex<()>,
    /// Bits that were flipped and may lie there yet.
    flips: RefCell<Vec<(usize, files::Around)>>,
    /// Held by whoever stops a client that holds a lock.
    holder: Mutex<()>,
}

impl<'a> Stage<'a> {
    /// Writes down that a fault begins or ends.
    fn note(&self, f: &str, what: &str) {
        self.events.borrow_mut().push(Event::nemesis(clock::now(), f, json!(what)));
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

    /// A victim that no other fault works on; waits for one.
    async fn claim(&mut self) -> (Claim<'a>, String) {
        loop {
            let (victim, who) = self.victim().await;
            if let Some(claim) = self.cluster.claim(victim) {
                return (claim, format!("{who}node {}", victim + 1));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// All nodes that no other fault works on, and at least one.
    async fn claim_all(&mut self) -> (Vec<Claim<'a>>, String) {
        let cluster = self.cluster;
        let all: Vec<Claim<'a>> = (0..cluster.len()).filter_map(|at| cluster.claim(at)).collect();
        if all.is_empty() {
            let (claim, what) = self.claim().await;
            return (vec![claim], what);
        }
        let what = if all.len() == cluster.len() { "all nodes".into() } else { named(&all) };
        (all, what)
    }
}

/// Several nodes in words.
fn named(claims: &[Claim<'_>]) -> String {
    let numbers: Vec<String> = claims.iter().map(|claim| (claim.at + 1).to_string()).collect();
    format!("nodes {}", numbers.join(", "))
}

/// One fault of a nemesis, from its beginning to its end. It waits until what must not be at the same time is over.
pub(crate) async fn fault(nemesis: &str, stage: &mut Stage<'_>) -> Result<Fault, String> {
    let turns = stage.turns;
    let _alone;
    let _together;
    if catalog::is_alone(nemesis) {
        _alone = turns.alone.write().await;
    } else {
        _together = turns.alone.read().await;
    }
    let _forgets;
    if catalog::forgets(nemesis) {
        _forgets = turns.forgets.lock().await;
    }
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
        "full" => ordered::full(stage).await?,
        "slow" => network::slow(stage).await?,
        other => return Err(format!("no nemesis is called {other}")),
    };
    let end = clock::now();
    Ok(Fault { nemesis: nemesis.into(), what, begin, end, effect: effect.count, seen: effect.words })
}
