//! One run: clients that put, read, count and hold leases, watchers, a nemesis that breaks things, another for the disks,
//! and the judgement, after every step and at the end.
//!
//! A run is rounds over one living cluster ([`rounds`]). Each has a safety phase, of clients and faults, and a liveness phase: everything
//! is healed, and within ten of the longest election timeouts there must be a leader, a committed write and a linearizable read; then
//! all nodes come to one digest, and what clients saw is judged.
//!
//! The judgement leans on the revision that each answer carries. A write's revision is its place in the history, so a
//! read is linearizable if its revision is not below that of any write that was acknowledged before the read began, and
//! if what it returned is what the acknowledged history says for that key at that revision. An operation whose answer
//! never came may or may not have happened: it can explain a value, never excuse a missing one. How watchers, leases and
//! fences are judged stands in `watchers.rs`, `leases.rs` and `fences.rs`; tables have clients of their own (`tables.rs`).

mod churn;
mod dropped;
mod end;
mod fenced;
mod judge;
mod looks;
mod moving;
mod old;
mod ops;
mod rounds;
mod tabled;

use crate::compaction::{self, Compaction};
use crate::drops::Drops;
use crate::fences::Fences;
use crate::knobs::{Counts, Knobs};
use crate::leases::Leases;
use crate::planted::Planted;
use crate::steps::{StepName, Steps};
use crate::stranded::Stranded;
use crate::succession::Succession;
use crate::swarm::Swarm;
use crate::tables::Tables;
use crate::tenants::Tenants;
use crate::trace::{Record, Trace, What};
use crate::watchers::Watchers;
use crate::world::{KV, Script, World, others};
use churn::Churn;
use ops::{Asked, LEASED, answered, key_bytes, number, point};
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId, Rng};
use quorate_node::api::{Answer, Failure, Request};
use quorate_node::evidence::Slot;
use quorate_wire::kv::{Refused, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// A steady load in the place of clients that do what they like: half of it puts, half of it reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Operations a second, by all clients together.
    pub rate: u64,
    /// Bytes of a value.
    pub bytes: usize,
    /// How many nodes.
    pub nodes: u64,
}

/// What a run is asked to do: [`Plan::of`] asks for all that there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The seed of everything.
    pub seed: u64,
    /// How long the cluster lives, at least: rounds are begun until then.
    pub span: Duration,
    /// How many clients.
    pub clients: usize,
    /// Whether faults are injected at all.
    pub faults: bool,
    /// Whether disks fail too, in more ways than by power losses and flipped bits.
    pub disks: bool,
    /// Whether the seed draws which faults there are; else all are.
    pub swarm: bool,
    /// Whether there are leases and watchers too.
    pub doors: bool,
    /// Whether requests show fencing tokens, too.
    pub fences: bool,
    /// A planted bug.
    pub planted: Option<Planted>,
    /// Whether members come and go, in about half of all seeds.
    pub members: bool,
    /// Whether clients compact and look at old revisions, in about half of all seeds.
    pub compaction: bool,
    /// Whether there are clients of tables beside the others, in about half of all seeds.
    pub tables: bool,
    /// Whether there are groups beside that of the key-value space, in about a third of all seeds.
    pub groups: bool,
    /// Whether packets are lost, doubled and late, too.
    pub loss: bool,
    /// A steady load, to measure by.
    pub load: Option<Load>,
    /// Of the steps of those that break things only these; `None` for all.
    pub steps: Option<Vec<StepName>>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The digest of all events.
    pub digest: String,
    /// What fired how often.
    pub counts: Counts,
    /// Events of the world.
    pub events: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Client operations that were answered.
    pub answered: u64,
    /// The steps that were taken by those that break things.
    pub steps: Vec<StepName>,
    /// The broken promise, if one was.
    pub violation: Option<String>,
}

struct Sent {
    node: NodeId,
    asked: Asked,
    /// How a read was served.
    slot: Slot,
    at: Instant,
    floor: Revision,
}

/// Answers, each with whose it is and the round in which that asked.
type Mailbox = Arc<Mutex<Vec<(usize, u64, Result<Answer, Failure>)>>>;

/// Where an answer goes. A node that dies takes its callbacks with it: the client then sees its connection end.
struct ReplyTo {
    client: usize,
    round: u64,
    mail: Option<Mailbox>,
}

impl ReplyTo {
    fn give(&mut self, result: Result<Answer, Failure>) {
        if let Some(mail) = self.mail.take()
            && let Ok(mut mail) = mail.lock()
        {
            mail.push((self.client, self.round, result));
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        self.give(Err(Failure::TimedOut));
    }
}

/// A run in progress.
pub(crate) struct Run {
    pub(crate) world: World,
    rng: Rng,
    pub(crate) nemesis: Rng,
    pub(crate) flips: Rng,
    pub(crate) lies: Rng,
    pub(crate) copies: Rng,
    lists: Rng,
    /// In half of the seeds clients ask for parts of the list, too.
    limits: Option<Rng>,
    looks: Rng,
    lookers: usize,
    /// By node: the newest revision that a read there has shown.
    shown: BTreeMap<NodeId, Revision>,
    pub(crate) transfers: Rng,
    pub(crate) successions: Rng,
    pub(crate) clocks: Rng,
    pub(crate) strands: Rng,
    pub(crate) machines: Rng,
    /// A node that is kept apart; see `stranded.rs`.
    pub(crate) stranded: Option<Stranded>,
    /// A leader that is to be succeeded; see `succession.rs`.
    pub(crate) succession: Option<Succession>,
    /// Whole disks may be lost, where nothing else of disks fails, too.
    pub(crate) may_lose_disks: bool,
    leases: Option<Leases>,
    fences: Option<Fences>,
    compaction: Option<Compaction>,
    tables: Vec<Tables>,
    drops: Option<Drops>,
    tenants: Option<Tenants>,
    /// What clients of tables wait for: whom they asked, when, and what in words.
    asked_tables: BTreeMap<usize, (NodeId, Instant, String)>,
    /// Deletions of each key that were asked for and never answered, so far.
    deleting: BTreeMap<u64, u64>,
    watchers: Watchers,
    churn: Option<Churn>,
    mail: Mailbox,
    sent: BTreeMap<usize, Sent>,
    clients: usize,
    /// The last one that came but once.
    guests: usize,
    bursts: Rng,
    next_value: u64,
    /// Acknowledged writes of each key by revision; `None` is a deletion.
    history: BTreeMap<u64, BTreeMap<Revision, Option<u64>>>,
    /// Who wrote which value: a value read must have been written.
    written: BTreeMap<u64, u64>,
    pub(crate) acknowledged: Revision,
    counted: i64,
    /// The versions whose successor was acknowledged.
    counted_at: BTreeSet<i64>,
    count_tries: i64,
    pub(crate) answered: u64,
    /// How many events there were when the round began.
    events: u64,
    disks: bool,
    load: Option<Load>,
    /// When the next operation of each client of a steady load is due.
    due: Vec<Instant>,
    pub(crate) swarm: Swarm,
    pub(crate) calm: bool,
    /// The round, from 0.
    pub(crate) round: u64,
    /// How many operations were answered when the nemesis last saw that there were more, and when that was.
    pub(crate) progress: (u64, Instant),
}

const KEYS: u64 = 8;
/// From this number on clients come but once.
const GUESTS: usize = 1 << 32;
const WATCHERS: usize = 2;
/// So far a client of a steady load falls behind.
const BEHIND: Duration = Duration::from_secs(5);
/// Many times what a round needs.
const EVENTS_MAX: u64 = 2_000_000;

impl Plan {
    /// With all that there is, as long and with as many clients as `quorate sim` has it unless told otherwise.
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            span: Duration::from_secs(300),
            clients: 6,
            faults: true,
            disks: true,
            swarm: true,
            doors: true,
            fences: true,
            planted: None,
            members: true,
            groups: true,
            compaction: true,
            tables: true,
            loss: true,
            load: None,
            steps: None,
        }
    }

    /// Runs it.
    pub fn run(&self) -> Outcome {
        self.go(false).0
    }

    /// Runs it, and tells all that happened.
    pub fn trace(&self) -> (Outcome, Vec<Record>) {
        self.go(true)
    }

    fn go(&self, traced: bool) -> (Outcome, Vec<Record>) {
        let mut knobs = Knobs::draw(self.seed);
        knobs.planted = self.planted;
        if self.swarm && self.faults {
            knobs = knobs.swarm(self.seed);
        }
        knobs.members &= self.members;
        knobs.compaction &= self.compaction;
        knobs.tables &= self.tables && self.load.is_none();
        knobs.ends &= self.tables && self.load.is_none();
        if !self.groups || self.load.is_some() {
            knobs.groups = 0;
        }
        if !self.faults || !self.loss {
            (knobs.drop, knobs.duplicate) = (0, 0);
        }
        knobs.late = self.loss;
        knobs.nodes = self.load.map_or(knobs.nodes, |load| load.nodes);
        let mut run = Run::new(self, knobs);
        run.world.steps = Steps::of(self.steps.as_deref());
        run.world.trace = traced.then(Trace::default);
        let violation = run.go(self).err();
        if let Some(violation) = &violation {
            run.world.note(|| What::Violation(violation.clone()));
        }
        run.world.count_disks();
        let outcome = Outcome {
            digest: run.world.digest.to_string(),
            counts: run.world.counts.clone().with_messages(),
            events: run.world.events,
            simulated: run.world.now.since(Instant::ZERO),
            answered: run.answered,
            steps: std::mem::take(&mut run.world.steps.taken),
            violation,
        };
        (outcome, run.world.trace.take().map(|trace| trace.records).unwrap_or_default())
    }
}

impl Run {
    fn new(plan: &Plan, knobs: Knobs) -> Self {
        let drift = knobs.lease_reads.unwrap_or(0);
        let shards = [KV].into_iter().filter(|_| knobs.tables).chain(others(knobs.groups).take(2));
        let of = |shard| Tables::new(plan.seed, (shard, knobs.groups), tabled::CLIENTS);
        let across = (knobs.groups > 1).then(|| Tables::across(plan.seed, knobs.groups, tabled::CLIENTS));
        let bounded = knobs.offsets.is_some();
        let tables =
            shards.map(of).chain(across).map(|tables| tables.bound(bounded).ending(knobs.ends)).collect();
        Self {
            churn: knobs.members.then(|| Churn::new(plan.seed)),
            rng: Rng::stream(plan.seed, "clients"),
            nemesis: Rng::stream(plan.seed, "nemesis"),
            flips: Rng::stream(plan.seed, "flips"),
            lies: Rng::stream(plan.seed, "disks"),
            copies: Rng::stream(plan.seed, "copies"),
            lists: Rng::stream(plan.seed, "lists"),
            limits: Some(Rng::stream(plan.seed, "limits of lists"))
                .filter(|limits| limits.clone().chance(1, 2)),
            looks: Rng::stream(plan.seed, "looks"),
            lookers: 0,
            shown: BTreeMap::new(),
            transfers: Rng::stream(plan.seed, "transfers"),
            successions: Rng::stream(plan.seed, "successions"),
            clocks: Rng::stream(plan.seed, "clocks that are set"),
            strands: Rng::stream(plan.seed, "stranded nodes"),
            machines: Rng::stream(plan.seed, "machines that stand still"),
            stranded: None,
            succession: None,
            may_lose_disks: plan.faults && plan.disks,
            leases: plan.doors.then(|| Leases::new(plan.seed, drift)),
            fences: plan.fences.then(|| Fences::new(plan.seed)),
            compaction: knobs.compaction.then(|| Compaction::new(plan.seed)),
            drops: (knobs.groups > 0 && knobs.drops).then(|| Drops::new(plan.seed)),
            tenants: (knobs.groups > 1).then(|| Tenants::new(plan.seed)),
            tables,
            asked_tables: BTreeMap::new(),
            deleting: BTreeMap::new(),
            watchers: Watchers::new(plan.seed, if plan.doors { WATCHERS } else { 0 }),
            mail: Mailbox::default(),
            sent: BTreeMap::new(),
            clients: plan.clients,
            guests: GUESTS,
            bursts: Rng::stream(plan.seed, "bursts"),
            next_value: 0,
            history: BTreeMap::new(),
            written: BTreeMap::new(),
            acknowledged: 0,
            counted: 0,
            counted_at: BTreeSet::new(),
            count_tries: 0,
            answered: 0,
            events: 0,
            load: plan.load,
            due: vec![Instant::ZERO; plan.clients],
            disks: plan.faults && plan.disks && knobs.swarm.disks,
            swarm: knobs.swarm.clone(),
            world: World::new(plan.seed, knobs),
            calm: false,
            round: 0,
            progress: (0, Instant::ZERO),
        }
    }

    /// Steps until `end` or until `enough`.
    fn until(&mut self, end: Instant, enough: impl Fn(&Self) -> bool) -> Result<bool, String> {
        while self.world.now < end {
            if enough(self) {
                return Ok(true);
            }
            if self.world.events > self.events + EVENTS_MAX {
                let (now, stuck) = (self.world.now.since(Instant::ZERO), self.stuck());
                return Err(format!("Livelock: {EVENTS_MAX} events, and it is only {now:?} ({stuck})"));
            }
            match self.world.step()? {
                Some(Script::Client(client)) if moving::all().contains(&client) => {
                    self.mover(client);
                }
                Some(Script::Client(client)) if (dropped::FIRST..GUESTS).contains(&client) => {
                    self.drop_client(client);
                }
                Some(Script::Client(client)) if (tabled::FIRST..GUESTS).contains(&client) => {
                    self.table_client(client);
                }
                Some(Script::Client(client)) => self.client(client),
                Some(Script::Nemesis(round)) => self.nemesis(round),
                Some(Script::Start(node)) => self.world.start(node),
                Some(Script::HarmLeader(node)) => self.harm_leader(node),
                Some(Script::HarmVoter(node)) => self.harm_voter(node),
                Some(Script::HarmRewriter(node)) => self.harm_rewriter(node),
                Some(Script::HarmFlusher(node)) => self.harm_flusher(node),
                Some(Script::Rejoin(node)) => self.rejoin(node),
                Some(Script::Disks(round)) => self.harm_disks(round),
                Some(Script::Strand(round)) => self.strand(round),
                Some(Script::Clocks(round)) => self.set_clocks(round),
                Some(Script::Machines(round)) => self.still_machines(round),
                Some(Script::Succession(round)) => self.succession(round),
                Some(Script::Copies(round)) => self.copy_disks(round),
                Some(Script::Watcher(watcher)) => self.watcher(watcher)?,
                Some(Script::Members) => self.change_members(),
                None => {}
            }
            self.world.check()?;
            self.read_mail()?;
        }
        Ok(enough(self))
    }

    fn client(&mut self, client: usize) {
        if client >= self.clients || self.sent.contains_key(&client) {
            return;
        }
        let asked = self.choose();
        self.burst();
        self.ask(client, asked);
        self.look_on();
    }

    /// Now and then many writes at once come to one node, from clients that come but once: what a leader takes that does not know
    /// yet that it leads no more.
    fn burst(&mut self) {
        if !self.swarm.bursts || self.load.is_some() || !self.bursts.chance(1, 60) {
            return;
        }
        let leads = self.bursts.chance(3, 4).then(|| self.world.any_leader(&mut self.bursts)).flatten();
        let node = leads.unwrap_or_else(|| self.world.any(&mut self.bursts));
        self.burst_at(node);
    }

    /// Who is being cut off may just have taken much that nobody else ever hears of.
    pub(crate) fn burst_at_leader(&mut self, node: NodeId) {
        if self.swarm.bursts && self.load.is_none() && self.world.leads(node) && self.bursts.chance(1, 2) {
            self.burst_at(node);
        }
    }

    fn burst_at(&mut self, node: NodeId) {
        self.world.counts.add("bursts of writes");
        let most = *self.bursts.pick(&[20, 60, 200]);
        for _ in 0..self.bursts.between(3, most) {
            self.guest_writes(node);
        }
    }

    /// One who comes but once writes at a node.
    pub(crate) fn guest_writes(&mut self, node: NodeId) {
        self.guests += 1;
        let asked = self.put(self.guests as u64 % KEYS);
        self.ask_of(node, self.guests, asked);
    }

    /// One who comes but once reads at a node.
    pub(crate) fn guest_reads(&mut self, node: NodeId) {
        self.guests += 1;
        let key = self.guests as u64 % KEYS;
        self.ask_of(node, self.guests, if key == 0 { Asked::List } else { Asked::Get { key } });
    }

    fn put(&mut self, key: u64) -> Asked {
        self.next_value += 1;
        self.written.insert(self.next_value, key);
        Asked::Put { key, value: self.next_value, bytes: 0 }
    }

    fn ask(&mut self, client: usize, asked: Asked) {
        let mut node = self.world.any(&mut self.rng);
        // The clients of a steady load ask who is there.
        for _ in 0..self.load.map_or(0, |load| load.nodes * 2) {
            if self.world.is_up(node) {
                break;
            }
            node = self.world.any(&mut self.rng);
        }
        self.ask_of(node, client, asked);
    }

    fn ask_of(&mut self, node: NodeId, client: usize, asked: Asked) {
        let (mut request, slot) = (asked.request(), Slot::default());
        if matches!(request, Request::Range { .. }) {
            request = Request::Explained(Box::new(request), slot.clone());
        }
        self.world.note(|| What::Asked { client: Some(client), node, op: asked.to_string() });
        self.sent.insert(client, Sent { node, asked, slot, at: self.world.now, floor: self.acknowledged });
        let mut reply = self.reply_to(client);
        self.world.call(node, request, Box::new(move |result| reply.give(result)));
    }

    fn choose(&mut self) -> Asked {
        if let Some(load) = self.load {
            let key = self.rng.below(KEYS);
            if self.rng.chance(1, 2) {
                return Asked::Get { key };
            }
            self.next_value += 1;
            self.written.insert(self.next_value, key);
            return Asked::Put { key, value: self.next_value, bytes: load.bytes };
        }
        if let Some((id, step)) = self.leases.as_mut().and_then(Leases::choose) {
            return Asked::Lease { id, step };
        }
        if let Some(show) = self.fences.as_mut().and_then(Fences::choose) {
            return Asked::Show(show);
        }
        if let Some(step) = self.compaction.as_mut().and_then(|c| c.choose(self.acknowledged)) {
            return match step {
                compaction::Step::Compact(revision) => Asked::Compact { revision },
                compaction::Step::Read(revision) => {
                    let floor = self.compaction.as_ref().map_or(0, Compaction::done);
                    Asked::GetAt { key: revision as u64 % KEYS, revision, floor }
                }
            };
        }
        let key = self.rng.below(KEYS);
        match self.rng.below(10) {
            0..=3 => self.put(key),
            4 => {
                *self.deleting.entry(key).or_default() += 1;
                Asked::Delete { key }
            }
            5 => {
                self.count_tries += 1;
                Asked::Count { version: self.counted }
            }
            6 => Asked::ReadCount,
            _ if self.lists.chance(1, 3) => self.list(),
            _ => Asked::Get { key },
        }
    }

    /// How long a client rests.
    fn pause(&mut self, client: usize) -> Duration {
        if let Some(load) = self.load {
            return self.due_in(client, load.rate.max(1));
        }
        let most = self.world.knobs.rest.as_nanos() as u64 / 1_000;
        Duration::from_micros(self.rng.between(100, most.max(100)))
    }

    /// Of a steady load: who had to wait for an answer makes up for that, so that the load is what it is said to be.
    fn due_in(&mut self, client: usize, rate: u64) -> Duration {
        let now = self.world.now;
        let period = 1_000_000 * self.clients as u64 / rate;
        let next = Duration::from_micros(self.rng.between(period / 2, period + period / 2));
        let Some(due) = self.due.get_mut(client) else { return next };
        // Nobody makes up for more than that.
        let behind = Instant(now.0.saturating_sub(BEHIND.as_nanos() as u64));
        *due = (*due).max(behind) + next;
        due.since(now).max(Duration::from_micros(100))
    }

    /// Where the answer to what a client asks now goes.
    fn reply_to(&self, client: usize) -> ReplyTo {
        ReplyTo { client, round: self.round, mail: Some(self.mail.clone()) }
    }

    fn read_mail(&mut self) -> Result<(), String> {
        let mail = match self.mail.lock() {
            Ok(mut mail) => std::mem::take(&mut *mail),
            Err(_) => return Err("a callback panicked".into()),
        };
        for (client, round, result) in mail {
            // Who has given up what it asked in an earlier round would take this for the answer to what it asks now.
            let stays = matches!(client, churn::CLIENT | dropped::DELETES) || moving::all().contains(&client);
            if round < self.round && !stays {
                continue;
            }
            if client == churn::CLIENT {
                self.members_answered(result)?;
                continue;
            }
            if moving::all().contains(&client) {
                self.mover_answered(client, result)?;
                continue;
            }
            if (dropped::FIRST..GUESTS).contains(&client) {
                self.drop_answered(client, result)?;
                continue;
            }
            if (tabled::FIRST..GUESTS).contains(&client) {
                self.table_answered(client, result)?;
                continue;
            }
            let Some(sent) = self.sent.remove(&client) else { continue };
            self.world.note(|| answered(Some(client), sent.node, sent.at, sent.asked.to_string(), &result));
            if client < GUESTS {
                let pause = self.pause(client);
                self.world.schedule(pause, Script::Client(client));
            }
            match result {
                Ok(answer) => {
                    // Who looks on does nothing that a run is measured by.
                    self.answered += u64::from(!matches!(sent.asked, Asked::Look(look) if look.is_here()));
                    self.judge(&sent, &answer)?;
                }
                Err(Failure::Refused(Refused::LeaseNotFound, _))
                    if let Asked::Lease { id, .. } = sent.asked =>
                {
                    self.leases.as_mut().map_or(Ok(()), |leases| leases.gone(id, self.world.now))?;
                }
                Err(Failure::Refused(Refused::Fenced { token }, _)) if let Asked::Show(show) = sent.asked => {
                    self.refused(show, token)?;
                }
                Err(Failure::Refused(Refused::Compacted { revision }, _))
                    if let Asked::Compact { revision: wanted } | Asked::GetAt { revision: wanted, .. } =
                        sent.asked =>
                {
                    self.world.counts.add("refused as compacted");
                    // What is compacted already is refused to be compacted, too.
                    let below = wanted - i64::from(matches!(sent.asked, Asked::Compact { .. }));
                    self.compaction
                        .as_mut()
                        .map_or(Ok(()), |compaction| compaction.refused(below, revision))?;
                }
                Err(Failure::Refused(refused, _)) => {
                    return Err(format!("{:?} was refused: {refused:?}", sent.asked));
                }
                Err(Failure::Broken(why)) if why.starts_with("this node lost its state") => {
                    self.world.counts.add("refused by a node without its state");
                }
                Err(Failure::Broken(why)) => return Err(format!("{:?} failed: {why}", sent.asked)),
                Err(_) => self.world.counts.add("operations in doubt or refused"),
            }
        }
        Ok(())
    }

    fn watcher(&mut self, watcher: usize) -> Result<(), String> {
        self.watchers.look(watcher, &mut self.world, self.compaction.as_mut())?;
        self.world.schedule(Duration::from_millis(40), Script::Watcher(watcher));
        Ok(())
    }
}
