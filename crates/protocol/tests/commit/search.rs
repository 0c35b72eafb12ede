//! Exhaustive search: two shards, two transactions, and everything that may happen within stated budgets, in every order.
//!
//! The network is a bag of questions to shards: any of them may come next, or never. So loss and delay have no budget, and a
//! Prepare may come after the whole transaction is over; a gateway that ends is one whose questions never come. What has a
//! budget: questions that come twice, leaders that change (with what they had proposed, and with a snapshot in the place of
//! the log), recoveries, reads, attempts.
//!
//! # What keeps the states few, and why no violation is lost
//!
//! - *Answers come at once.* Whoever hears one only sends more questions, and those may come late or never: what happens when
//!   the answer comes later happens when they do. The clients' answers are judged the harder for it.
//! - *What a leader proposes is chosen at once*, or is lost with the leader: that it is chosen later is the same as that the
//!   question came later.
//! - *Time stands still.* What is sent twice is sent by budget.
//!
//! After each step the judge ([`crate::judge`]) compares with a serial run. From one state in [`HEALED`] all questions are
//! lost, both gateways end, and everything must come to its end nevertheless: nothing locked, nothing remembered.

use crate::show;
use crate::toy::{Key, Op, Ops};
use crate::world::{Host, Options, Packet, World};
use quorate_base::ShardId;
use quorate_base::time::Duration;
use quorate_protocol::Core;
use quorate_protocol::commit::{Mutant, TxnId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// What may happen, and how often on one way.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Budget {
    /// A question comes, and is there once more.
    pub twice: u32,
    /// A leader changes when a message has come, before anything of it is chosen.
    pub leader: u32,
    /// Somebody recovers a transaction.
    pub recover: u32,
    /// A read of all keys at one moment.
    pub read: u32,
    /// How often a request is tried.
    pub attempts: u32,
}

#[derive(Clone)]
struct State {
    world: World,
    left: Budget,
}

/// A configuration.
pub struct Setup {
    pub name: &'static str,
    pub about: &'static str,
    transactions: [&'static [(Key, Op)]; 2],
    pub budget: Budget,
}

const A: Key = Key('a', 1);
const B: Key = Key('b', 2);

const NONE: Budget = Budget { twice: 0, leader: 0, recover: 0, read: 0, attempts: 1 };

pub const SETUPS: [Setup; 6] = [
    Setup {
        name: "late",
        about: "two transactions write the same two keys; questions come late, and two of them twice",
        transactions: [&[(A, Op::Add(1)), (B, Op::Add(1))], &[(A, Op::Put(7)), (B, Op::Put(7))]],
        budget: Budget { twice: 2, ..NONE },
    },
    Setup {
        name: "recoverers",
        about: "two recover, at once and beside the gateways",
        transactions: [&[(A, Op::Put(1)), (B, Op::Put(1))], &[(A, Op::Check(None)), (B, Op::Put(7))]],
        budget: Budget { recover: 2, ..NONE },
    },
    Setup {
        name: "leaders",
        about: "leaders change, with what they had proposed, and start from snapshots",
        transactions: [&[(A, Op::Put(1)), (B, Op::Insert(1))], &[(A, Op::Put(7)), (B, Op::Put(7))]],
        budget: Budget { leader: 2, recover: 1, ..NONE },
    },
    Setup {
        name: "skew",
        about: "each of two transactions looks at what the other writes; a leader changes",
        transactions: [&[(A, Op::Check(None)), (B, Op::Put(1))], &[(A, Op::Put(7)), (B, Op::Check(None))]],
        budget: Budget { leader: 1, recover: 1, ..NONE },
    },
    Setup {
        name: "again",
        about: "who met a conflict tries again",
        transactions: [&[(A, Op::Add(1)), (B, Op::Add(1))], &[(A, Op::Add(1)), (B, Op::Add(1))]],
        budget: Budget { twice: 1, attempts: 2, ..NONE },
    },
    Setup {
        name: "reads",
        about: "all keys are read at one moment while two transactions write them",
        transactions: [&[(A, Op::Put(1)), (B, Op::Put(1))], &[(A, Op::Delete), (B, Op::Delete)]],
        budget: Budget { read: 1, ..NONE },
    },
];

/// From one state in so many the end is sought.
const HEALED: usize = 50;

/// What a search has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    pub states: usize,
    pub steps: usize,
    pub ends: usize,
    /// Nothing was left to visit.
    pub complete: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.complete { "complete" } else { "stopped at its limit" };
        write!(f, "{} states, {} steps, {} ends: {end}", self.states, self.steps, self.ends)
    }
}

enum Step {
    Arrives(Packet),
    Twice(Packet),
    /// It comes, and its shard's leader changes at once.
    Lost(Packet),
    Recover(u64, TxnId, Vec<ShardId>),
    Read,
}

/// Visits all states, at most `limit`; the error says what is wrong and how it came about.
pub fn search(setup: &Setup, mutant: Option<Mutant>, limit: usize) -> Result<Report, String> {
    let mut report = Report::default();
    let start = start(setup, mutant);
    let mut states: Vec<Option<(State, usize, String)>> = vec![Some((start, 0, "start".into()))];
    let mut ways: Vec<(usize, String)> = vec![(0, "start".into())];
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([0]);
    while let Some(at) = queue.pop_front() {
        if states.len() >= limit {
            return Ok(Report { states: states.len(), ..report });
        }
        let Some((state, ..)) = states[at].take() else { continue };
        let steps = steps(&state);
        if at % HEALED == 0 || state.world.net.is_empty() {
            report.ends += 1;
            let mut end = state.world.clone();
            end.net.clear();
            (1..=2).for_each(|node| end.crash_gateway(node));
            end.heal();
            end.verdict().map_err(|why| story(&why, &ways, at))?;
        }
        for step in steps {
            report.steps += 1;
            let (next, said) = take(&state, step);
            let verdict = next.world.verdict();
            let fresh = seen.insert((next.world.fingerprint(), hash(&next.left)));
            if fresh || verdict.is_err() {
                ways.push((at, said.clone()));
                verdict.map_err(|why| story(&why, &ways, ways.len() - 1))?;
                queue.push_back(states.len());
                states.push(Some((next, at, said)));
            }
        }
    }
    Ok(Report { states: states.len(), complete: true, ..report })
}

fn hash(budget: &Budget) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut h = DefaultHasher::new();
    budget.hash(&mut h);
    h.finish()
}

fn story(why: &str, ways: &[(usize, String)], mut at: usize) -> String {
    let mut steps = vec![];
    while at != 0 {
        steps.push(ways[at].1.clone());
        at = ways[at].0;
    }
    steps.reverse();
    format!("{why}\n{}", steps.join("\n"))
}

fn start(setup: &Setup, mutant: Option<Mutant>) -> State {
    let mut options = Options { mutant, nodes: 4, ..Options::default() };
    options.gateway.backoff = Duration::ZERO;
    options.gateway.reasons = Duration::ZERO;
    options.gateway.attempts = setup.budget.attempts;
    options.tries = 1;
    let mut world = World::new(options);
    for (at, ops) in setup.transactions.iter().enumerate() {
        world.begin(at as u64 + 1, &Ops(ops.to_vec()), Duration::from_secs(1));
    }
    State { world, left: setup.budget }
}

fn steps(state: &State) -> Vec<Step> {
    let world = &state.world;
    let mut steps = Vec::new();
    let distinct: BTreeSet<&Packet> = world.net.iter().collect();
    for packet in distinct {
        steps.push(Step::Arrives(packet.clone()));
        if state.left.twice > 0 {
            steps.push(Step::Twice(packet.clone()));
        }
        if state.left.leader > 0 && packet.told.is_none() {
            steps.push(Step::Lost(packet.clone()));
        }
    }
    if state.left.recover > 0 {
        let undecided: BTreeMap<TxnId, Vec<ShardId>> = world.undecided().into_iter().collect();
        for (id, participants) in undecided {
            // Nodes 3 and 4 have no transactions of their own.
            let node = if world.hosts[&3].recoveries.values().any(|(other, _)| *other == id) { 4 } else { 3 };
            steps.push(Step::Recover(node, id, participants));
        }
    }
    if state.left.read > 0 {
        steps.push(Step::Read);
    }
    steps
}

fn take(state: &State, step: Step) -> (State, String) {
    let State { mut world, mut left } = state.clone();
    world.trace = None;
    let arrive = |world: &mut World, packet: &Packet, keep: bool| {
        let at = world.net.iter().position(|p| p == packet).unwrap();
        if !keep {
            world.net.remove(at);
        }
        world.arrive(packet.clone());
    };
    let said = match step {
        Step::Arrives(packet) => {
            arrive(&mut world, &packet, false);
            show::packet(&packet)
        }
        Step::Twice(packet) => {
            left.twice -= 1;
            arrive(&mut world, &packet, true);
            format!("twice: {}", show::packet(&packet))
        }
        Step::Lost(packet) => {
            left.leader -= 1;
            world.options.by_hand = true;
            arrive(&mut world, &packet, false);
            world.options.by_hand = false;
            world.crash_leader(packet.shard);
            format!("s{}'s leader changes behind: {}", packet.shard, show::packet(&packet))
        }
        Step::Recover(node, id, participants) => {
            left.recover -= 1;
            world.recover(node, id, &participants);
            format!("n{node} recovers {}", show::id(&id))
        }
        Step::Read => {
            left.read -= 1;
            world.read(4, &[A, B], true);
            "n4 reads all".into()
        }
    };
    hear(&mut world);
    (State { world, left }, said)
}

/// All answers come, and who is to try again does.
fn hear(world: &mut World) {
    loop {
        if let Some(at) = world.net.iter().position(|packet| packet.told.is_some()) {
            world.deliver(at);
            continue;
        }
        let due =
            |host: &&Host| host.gateway.as_ref().and_then(Core::deadline).is_some_and(|at| at <= world.now);
        let Some(node) = world.hosts.values().find(due).map(|host| host.node) else { return };
        world.tick(node);
    }
}

/// `STATES=all ONLY=recoverers cargo test --release -p quorate-protocol --test commit search -- --nocapture` goes to the
/// end where this is only patient.
#[test]
fn no_search_finds_a_violation() {
    let limit = match std::env::var("STATES").as_deref() {
        Ok("all") => usize::MAX,
        Ok(given) => given.parse().expect("STATES is a number, or all"),
        Err(_) => 8_000,
    };
    let only = std::env::var("ONLY").ok();
    for setup in SETUPS.iter().filter(|setup| only.as_ref().is_none_or(|only| only == setup.name)) {
        match search(setup, None, limit) {
            Ok(report) => println!("{} ({}): {report}", setup.name, setup.about),
            Err(why) => panic!("{}: {why}", setup.name),
        }
    }
}
