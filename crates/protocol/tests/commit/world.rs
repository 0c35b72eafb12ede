//! A few shards, a few nodes, and a network that does what it likes; no clock but the one that is set.
//!
//! A shard is what its border promises: an ordered, durable log whose entries are applied deterministically. What was proposed
//! and not chosen is lost with the leader; what was chosen is applied, once, and never lost.

use crate::judge::Judge;
use crate::show;
use crate::toy::{Images, Key, Op, Ops, Reason, Toy};
use quorate_base::time::Duration;
use quorate_base::{Index, Instant, NodeId, Rng, ShardId};
use quorate_protocol::Core;
use quorate_protocol::commit::gateway::{self, Begin, Gateway};
use quorate_protocol::commit::heir::{Errand, Heir};
use quorate_protocol::commit::leader::{self, Leader};
use quorate_protocol::commit::participant::PreparedOf;
use quorate_protocol::commit::reader::{Ask, Met, Read, Reader, Seen, Versioned};
use quorate_protocol::commit::recovery::{Question, Recovery};
use quorate_protocol::commit::{Answer, Command, Mutant, Outcome, Place, TxnId, Vote, participant};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};

/// Who asks, and hears the answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct From {
    pub node: u64,
    pub boot: u64,
    pub role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    Gateway,
    Recovery(u64),
    Reader(u64),
    Heir,
    Plain(u64),
}

/// What is asked of a shard.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Asked {
    Command(Command<Ops>),
    Vote(u64, TxnId),
    Keys(u64, Vec<Key>),
    Undecided(NodeId, u64),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Told {
    Answer(Answer<Reason>),
    Keys(Vec<Seen<i64>>),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Packet {
    pub host: From,
    pub shard: ShardId,
    pub asked: Asked,
    /// Unless it is the question itself.
    pub told: Option<Told>,
}

#[derive(Clone)]
pub struct Shard {
    pub machine: Toy,
    pub last: u64,
    pub leader: Leader<Key, Ops>,
    /// Proposed, not chosen.
    pub pending: VecDeque<(leader::Ticket, Command<Ops>)>,
    callers: BTreeMap<leader::Caller, (From, Asked)>,
}

#[derive(Clone)]
pub struct Host {
    pub node: u64,
    pub boot: u64,
    pub gateway: Option<Gateway<Ops, Reason>>,
    pub recoveries: BTreeMap<u64, (TxnId, Recovery)>,
    pub readers: BTreeMap<u64, Reading>,
    pub heir: Option<Heir>,
    /// Writes of one shard that wait for an answer; not idempotent, so each is sent once.
    plain: BTreeMap<u64, Option<(ShardId, Ops)>>,
    /// What was asked since the last tick.
    asked: BTreeSet<(ShardId, Role, Asked)>,
    /// Each caller's request, as the gateway numbers them.
    places: BTreeMap<u64, Place>,
    begun: u64,
}

#[derive(Clone)]
pub struct Reading {
    reader: Reader<i64>,
    keys: BTreeMap<ShardId, Vec<Key>>,
    at_once: bool,
    from: u64,
}

#[derive(Clone)]
pub struct Options {
    pub mutant: Option<Mutant>,
    pub shards: u32,
    pub nodes: u64,
    /// Proposals are chosen by hand.
    pub by_hand: bool,
    pub gateway: gateway::Config,
    pub recover_after: Duration,
    pub tries: u32,
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            mutant: None,
            shards: 2,
            nodes: 2,
            by_hand: false,
            gateway: gateway::Config {
                node: NodeId(0),
                boot: 1,
                resend: ms(100),
                attempts: 1000,
                backoff: ms(10),
                reasons: ms(20),
                certainty: ms(500),
                forget_every: 1,
                mutant: None,
            },
            recover_after: ms(1000),
            tries: 3,
            seed: 1,
        }
    }
}

#[derive(Clone)]
pub struct World {
    pub options: Options,
    pub now: Instant,
    pub shards: BTreeMap<ShardId, Shard>,
    pub hosts: BTreeMap<u64, Host>,
    pub net: Vec<Packet>,
    pub judge: Judge,
    /// Answers to clients, by node and request.
    pub replies: BTreeMap<(u64, u64), String>,
    next: u64,
    pub trace: Option<Vec<String>>,
}

impl World {
    pub fn new(options: Options) -> Self {
        let toy = Toy { mutant: options.mutant, ..Toy::default() };
        let shard = |id| {
            let leader = Leader::new(leader_config(&options));
            let shard = Shard {
                machine: toy.clone(),
                last: 0,
                leader,
                pending: VecDeque::new(),
                callers: BTreeMap::new(),
            };
            (ShardId(id), shard)
        };
        let host = |node| {
            let host = Host {
                node,
                boot: 1,
                gateway: Some(a_gateway(&options, node, 1)),
                recoveries: BTreeMap::new(),
                readers: BTreeMap::new(),
                heir: None,
                plain: BTreeMap::new(),
                asked: BTreeSet::new(),
                places: BTreeMap::new(),
                begun: 0,
            };
            (node, host)
        };
        Self {
            now: Instant(0),
            shards: (1..=options.shards).map(shard).collect(),
            hosts: (1..=options.nodes).map(host).collect(),
            net: Vec::new(),
            judge: Judge::default(),
            replies: BTreeMap::new(),
            next: 1,
            trace: None,
            options,
        }
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    // ---- clients ----

    /// A client sends a transaction to a node; its number.
    pub fn begin(&mut self, node: u64, ops: &Ops, deadline: Duration) -> Option<u64> {
        let token = ops.0.iter().find(|(_, op)| matches!(op, Op::Token(_))).copied();
        let parts = by_shard(ops);
        let (request, began) = (self.next, self.next);
        let deadline = self.now + deadline;
        let host = self.hosts.get_mut(&node)?;
        let gateway = host.gateway.as_mut()?;
        self.next += 1;
        host.begun += 1;
        let place = Place { boot: host.boot, sequence: host.begun };
        host.places.insert(request, place);
        if let Some(token) = token {
            self.judge.tokens.insert((node, place), token);
        }
        let token = token.map(|(key, _)| key.shard());
        gateway.handle(self.now, gateway::Input::Begin(Begin { request, began, parts, token, deadline }));
        self.pump(node);
        Some(request)
    }

    /// A client sends a write of one shard.
    pub fn plain(&mut self, node: u64, ops: Ops) -> Option<u64> {
        let shard = ops.0.first()?.0.shard();
        let request = self.next;
        let host = self.hosts.get_mut(&node).filter(|host| host.gateway.is_some())?;
        self.next += 1;
        host.plain.insert(request, Some((shard, ops)));
        self.pump(node);
        Some(request)
    }

    /// A client reads keys, each for itself or all at once.
    pub fn read(&mut self, node: u64, keys: &[Key], at_once: bool) -> Option<u64> {
        let mut by_shard: BTreeMap<ShardId, Vec<Key>> = BTreeMap::new();
        for key in keys {
            by_shard.entry(key.shard()).or_default().push(*key);
        }
        let (shards, mutant) = (by_shard.keys().copied().collect(), self.options.mutant);
        let reader = if at_once {
            Reader::transaction(shards, self.options.tries, mutant)
        } else {
            Reader::single(shards, mutant)
        };
        let (request, from) = (self.next, self.judge.now());
        let host = self.hosts.get_mut(&node).filter(|host| host.gateway.is_some())?;
        self.next += 1;
        host.readers.insert(request, Reading { reader, keys: by_shard, at_once, from });
        self.pump(node);
        Some(request)
    }

    // ---- time and faults ----

    pub fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
        for node in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.tick(node);
        }
        for shard in self.shards.keys().copied().collect::<Vec<_>>() {
            self.tick_shard(shard);
        }
    }

    pub fn tick(&mut self, node: u64) {
        let now = self.now;
        if let Some(host) = self.hosts.get_mut(&node) {
            host.asked.clear();
            if let Some(gateway) = &mut host.gateway {
                gateway.handle(now, gateway::Input::Tick);
            }
        }
        self.pump(node);
    }

    pub fn tick_shard(&mut self, id: ShardId) {
        let mut out = leader::Outbox::default();
        let now = self.now;
        let Some(shard) = self.shards.get_mut(&id) else { return };
        let Ok(()) = shard.leader.tick(now, &shard.machine, &mut out);
        self.led(id, out);
    }

    /// The leader is another one, over the same log, of which some may have been a snapshot.
    pub fn crash_leader(&mut self, id: ShardId) {
        let config = leader_config(&self.options);
        let Some(shard) = self.shards.get_mut(&id) else { return };
        shard.leader = Leader::new(config);
        shard.pending.clear();
        shard.callers.clear();
        shard.machine = shard.machine.snapshot();
        self.note(|| format!("s{id} has another leader"));
    }

    pub fn crash_gateway(&mut self, node: u64) {
        let Some(host) = self.hosts.get_mut(&node) else { return };
        host.gateway = None;
        host.recoveries.clear();
        host.readers.clear();
        host.heir = None;
        host.plain.clear();
        self.note(|| format!("n{node} is gone"));
    }

    pub fn start_gateway(&mut self, node: u64) {
        let shards: Vec<ShardId> = self.shards.keys().copied().collect();
        let Some(host) = self.hosts.get_mut(&node).filter(|host| host.gateway.is_none()) else { return };
        host.boot += 1;
        host.begun = 0;
        host.asked.clear();
        host.gateway = Some(a_gateway(&self.options, node, host.boot));
        host.heir = Some(Heir::new(NodeId(node), host.boot, shards));
        let boot = host.boot;
        self.note(|| format!("n{node} begins its life {boot}"));
        self.pump(node);
    }

    /// Somebody recovers a transaction, as its leader's scan or a reader would.
    pub fn recover(&mut self, node: u64, id: TxnId, participants: &[ShardId]) {
        let Some(host) = self.hosts.get_mut(&node).filter(|host| host.gateway.is_some()) else { return };
        if host.recoveries.values().any(|(other, _)| *other == id) {
            return;
        }
        host.recoveries.insert(self.next, (id, Recovery::new(id, participants)));
        self.next += 1;
        self.note(|| format!("n{node} recovers {}", show::id(&id)));
        self.pump(node);
    }

    // ---- the network ----

    pub fn deliver(&mut self, at: usize) {
        let packet = self.net.remove(at);
        self.arrive(packet);
    }

    pub fn arrive(&mut self, packet: Packet) {
        let Packet { host, shard, asked, told } = packet;
        match told {
            None => self.ask(shard, host, &asked),
            Some(told) => self.tell(shard, host, &asked, told),
        }
    }

    fn send(&mut self, packet: Packet) {
        self.note(|| show::packet(&packet));
        self.net.push(packet);
    }

    // ---- a shard ----

    fn ask(&mut self, id: ShardId, host: From, asked: &Asked) {
        let Some(shard) = self.shards.get_mut(&id) else { return };
        let answer = |told| Packet { host, shard: id, asked: asked.clone(), told: Some(told) };
        match asked {
            Asked::Command(command) => {
                let mut hasher = DefaultHasher::new();
                (host, asked).hash(&mut hasher);
                let caller = hasher.finish();
                let mut out = leader::Outbox::default();
                shard.callers.insert(caller, (host, asked.clone()));
                let Ok(()) = shard.leader.request(&shard.machine, caller, command.clone(), &mut out);
                self.led(id, out);
            }
            Asked::Vote(_, txn) => {
                let Ok(vote) = participant::vote(&shard.machine, txn);
                self.send(answer(Told::Answer(vote)));
            }
            Asked::Keys(_, keys) => {
                let seen = keys.iter().map(|key| seen(&shard.machine, *key)).collect();
                self.send(answer(Told::Keys(seen)));
            }
            Asked::Undecided(node, boot) => {
                let Ok(mut undecided) = participant::undecided(&shard.machine);
                undecided.retain(|(txn, _)| txn.node == *node && txn.boot < *boot);
                self.send(answer(Told::Answer(Answer::Undecided(undecided))));
            }
        }
    }

    /// What a leader wants done.
    fn led(&mut self, id: ShardId, out: leader::Outbox<Ops, Reason>) {
        let Some(shard) = self.shards.get_mut(&id) else { return };
        shard.pending.extend(out.propose);
        let mut packets = Vec::new();
        for (caller, answer) in out.answers {
            if let Some((host, asked)) = shard.callers.get(&caller).cloned() {
                packets.push(Packet { host, shard: id, asked, told: Some(Told::Answer(answer)) });
            }
        }
        for packet in packets {
            self.send(packet);
        }
        for (txn, participants) in out.recover {
            if let Some(node) = self.hosts.values().find(|h| h.gateway.is_some()).map(|h| h.node) {
                self.recover(node, txn, &participants);
            }
        }
        while !self.options.by_hand && self.choose(id) {}
    }

    /// The oldest proposal is chosen, and applied. False if there is none.
    pub fn choose(&mut self, id: ShardId) -> bool {
        let Some(shard) = self.shards.get_mut(&id) else { return false };
        let Some((ticket, command)) = shard.pending.pop_front() else { return false };
        shard.last += 1;
        let at = Index(shard.last);
        let Ok(answer) = participant::apply(&mut shard.machine, at, &command);
        self.note(|| show::applied(id, at, &command, &answer));
        let machines: BTreeMap<ShardId, &Toy> = self.shards.iter().map(|(id, s)| (*id, &s.machine)).collect();
        self.judge.applied(&machines, (id, at), &command, &answer);
        let mut out = leader::Outbox::default();
        if let Some(shard) = self.shards.get_mut(&id) {
            let Ok(()) = shard.leader.applied(&shard.machine, ticket, &answer, &mut out);
        }
        self.led(id, out);
        true
    }

    // ---- a node ----

    fn tell(&mut self, shard: ShardId, to: From, asked: &Asked, told: Told) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&to.node).filter(|host| host.boot == to.boot) else { return };
        match (to.role, asked, told) {
            (Role::Gateway, Asked::Command(command), Told::Answer(answer)) => {
                let input = match (command, answer) {
                    (Command::Forget { upto, .. }, _) => gateway::Input::Forgotten(shard, *upto),
                    (Command::Prepare(asked), answer) => gateway::Input::Answer(shard, asked.id, answer),
                    (Command::Refuse { id, .. } | Command::Outcome { id, .. }, answer) => {
                        gateway::Input::Answer(shard, *id, answer)
                    }
                    _ => return,
                };
                if let Some(gateway) = &mut host.gateway {
                    gateway.handle(now, input);
                }
            }
            (Role::Recovery(number), Asked::Command(command), Told::Answer(answer)) => {
                if let (Some((_, recovery)), Some(question)) =
                    (host.recoveries.get_mut(&number), question(command))
                {
                    recovery.answered(shard, &question, &answer);
                    if recovery.is_done() {
                        host.recoveries.remove(&number);
                    }
                }
            }
            (Role::Heir, asked, Told::Answer(answer)) => {
                if let (Some(heir), Some(errand)) = (&mut host.heir, errand(asked)) {
                    heir.answered(shard, &errand, &answer);
                    if heir.is_done() {
                        host.heir = None;
                    }
                }
            }
            (Role::Reader(number), asked, told) => self.heard_by_reader(to.node, number, shard, asked, told),
            (Role::Plain(number), _, Told::Answer(answer)) if host.plain.remove(&number).is_some() => {
                let done = match answer {
                    Answer::Vote(Vote::Yes) => "done".to_owned(),
                    Answer::Vote(Vote::No(why)) => show::no(&why),
                    other => format!("{other:?}"),
                };
                self.reply(to.node, number, done);
            }
            _ => {}
        }
        self.pump(to.node);
    }

    fn heard_by_reader(&mut self, node: u64, number: u64, shard: ShardId, asked: &Asked, told: Told) {
        let Some(reading) = self.hosts.get_mut(&node).and_then(|host| host.readers.get_mut(&number)) else {
            return;
        };
        let read = match (asked, told) {
            (Asked::Keys(round, _), Told::Keys(seen)) => reading.reader.keys(shard, *round, seen),
            (Asked::Vote(round, id), Told::Answer(answer)) => {
                reading.reader.vote(shard, *round, *id, &answer)
            }
            _ => None,
        };
        let Some(read) = read else { return };
        let Some(reading) = self.hosts.get_mut(&node).and_then(|host| host.readers.remove(&number)) else {
            return;
        };
        let said = match read {
            Read::Conflict => "conflict".to_owned(),
            Read::Values(values) => {
                let pairs: Vec<(Key, Versioned<i64>)> = values
                    .into_iter()
                    .flat_map(|(shard, values)| reading.keys[&shard].clone().into_iter().zip(values))
                    .collect();
                if reading.at_once {
                    self.judge.read_at_once(&pairs, reading.from);
                } else {
                    for (key, value) in &pairs {
                        self.judge.read(*key, value, reading.from);
                    }
                }
                pairs.iter().map(|(key, value)| show::value(*key, value)).collect::<Vec<_>>().join(" ")
            }
        };
        self.reply(node, number, said);
    }

    fn reply(&mut self, node: u64, request: u64, said: String) {
        self.note(|| format!("n{node} answers {request}: {said}"));
        self.replies.insert((node, request), said);
    }

    /// Sends what a node wants to send.
    pub fn pump(&mut self, node: u64) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&node) else { return };
        let boot = host.boot;
        let mut asks: Vec<(ShardId, Role, Asked)> = Vec::new();
        let mut out = gateway::Outbox::default();
        if let Some(gateway) = &mut host.gateway {
            gateway.drain(now, &mut out);
        }
        asks.extend(out.send.into_iter().map(|(to, command)| (to, Role::Gateway, Asked::Command(command))));
        let mut again: Vec<(ShardId, Role, Asked)> = Vec::new();
        for (number, (_, recovery)) in &host.recoveries {
            let questions = recovery.questions().into_iter();
            again.extend(questions.map(|(to, q)| (to, Role::Recovery(*number), Asked::Command(q.command()))));
        }
        if let Some(heir) = &host.heir {
            again.extend(
                heir.errands().into_iter().map(|(to, errand)| (to, Role::Heir, ask_for(heir, &errand))),
            );
        }
        for (number, reading) in &host.readers {
            for (to, ask) in reading.reader.questions() {
                let asked = match ask {
                    Ask::Keys(round) => Asked::Keys(round, reading.keys[&to].clone()),
                    Ask::Vote(round, id) => Asked::Vote(round, id),
                };
                again.push((to, Role::Reader(*number), asked));
            }
        }
        for (number, write) in &mut host.plain {
            let ask = write
                .take()
                .map(|(to, ops)| (to, Role::Plain(*number), Asked::Command(Command::Execute(ops))));
            asks.extend(ask);
        }
        again.retain(|ask| host.asked.insert(ask.clone()));
        asks.extend(again);
        let places: Vec<_> = out
            .replies
            .into_iter()
            .map(|(request, reply)| (request, host.places.get(&request).copied(), reply))
            .collect();
        for (request, place, reply) in places {
            if let Some(place) = place {
                self.judge.replied(node, place, &reply);
            }
            self.reply(node, request, show::reply(&reply));
        }
        for (shard, role, asked) in asks {
            self.send(Packet { host: From { node, boot, role }, shard, asked, told: None });
        }
    }

    // ---- the end ----

    /// Delivers everything, as often as it takes.
    pub fn stabilize(&mut self) {
        for _ in 0..100_000 {
            let pending = self.shards.keys().copied().find(|id| !self.shards[id].pending.is_empty());
            if let Some(id) = pending {
                self.choose(id);
            } else if self.net.is_empty() {
                return;
            } else {
                self.deliver(0);
            }
        }
        self.judge.fail("it comes to rest", || "100,000 messages were not enough".into());
    }

    /// All faults are over: everything comes to an end, and nothing is left.
    pub fn heal(&mut self) {
        self.options.by_hand = false;
        for node in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.start_gateway(node);
        }
        for _ in 0..60 {
            self.stabilize();
            self.advance(Duration::from_millis(500));
        }
        self.stabilize();
        let machines: BTreeMap<ShardId, &Toy> = self.shards.iter().map(|(id, s)| (*id, &s.machine)).collect();
        self.judge.at_rest(&machines);
        for host in self.hosts.values() {
            let open = host.gateway.as_ref().map_or(0, Gateway::open);
            if open > 0 || !host.readers.is_empty() || !host.recoveries.is_empty() || host.heir.is_some() {
                let node = host.node;
                self.judge.fail("at the end nothing is open", || format!("n{node}: {open} requests"));
                return;
            }
        }
    }

    pub fn verdict(&self) -> Result<(), String> {
        self.judge.fault.clone().map_or(Ok(()), Err)
    }

    pub fn undecided(&self) -> Vec<(TxnId, Vec<ShardId>)> {
        let all = self.shards.values().flat_map(|s| participant::undecided(&s.machine).unwrap());
        all.collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    pub fn fingerprint(&self) -> u64 {
        let mut h = DefaultHasher::new();
        self.now.hash(&mut h);
        for shard in self.shards.values() {
            shard.machine.hash(&mut h);
            shard.pending.iter().for_each(|(_, command)| command.hash(&mut h));
            shard.leader.fingerprint(&mut h);
        }
        for host in self.hosts.values() {
            (host.boot, &host.recoveries, &host.plain).hash(&mut h);
            host.readers.values().for_each(|reading| (&reading.reader, reading.from).hash(&mut h));
            if let Some(gateway) = &host.gateway {
                gateway.fingerprint(&mut h);
            }
            host.gateway.is_some().hash(&mut h);
        }
        let mut net: Vec<&Packet> = self.net.iter().collect();
        net.sort();
        net.hash(&mut h);
        let reads = self.hosts.values().any(|host| !host.readers.is_empty());
        self.judge.fingerprint(reads, &mut h);
        h.finish()
    }
}

fn seen(machine: &Toy, key: Key) -> Seen<i64> {
    let pre = machine.get(key);
    let Ok(intent) = participant::intent(machine, &key);
    let met = |(id, prepared): (TxnId, PreparedOf<Toy>)| {
        let images: Images = prepared.images;
        let value = images.get(&key).copied().flatten();
        let post = Versioned { value, version: prepared.at.0 };
        Met { id, participants: prepared.participants, post }
    };
    Seen { pre, intent: intent.map(met) }
}

fn by_shard(ops: &Ops) -> BTreeMap<ShardId, Ops> {
    let mut parts: BTreeMap<ShardId, Ops> = BTreeMap::new();
    for (key, op) in &ops.0 {
        parts.entry(key.shard()).or_default().0.push((*key, *op));
    }
    parts
}

fn leader_config(options: &Options) -> leader::Config {
    leader::Config { recover_after: options.recover_after, waiting: 100, mutant: options.mutant }
}

fn a_gateway(options: &Options, node: u64, boot: u64) -> Gateway<Ops, Reason> {
    let config =
        gateway::Config { node: NodeId(node), boot, mutant: options.mutant, ..options.gateway.clone() };
    Gateway::new(config, Rng::new(options.seed ^ (node << 32) ^ boot))
}

fn question(command: &Command<Ops>) -> Option<Question> {
    match command {
        Command::Refuse { id, .. } => Some(Question::Refuse(*id)),
        Command::Outcome { id, outcome } => Some(Question::Outcome(*id, *outcome)),
        _ => None,
    }
}

fn errand(asked: &Asked) -> Option<Errand> {
    match asked {
        Asked::Command(Command::Fence { .. }) => Some(Errand::Fence),
        Asked::Command(Command::Close { .. }) => Some(Errand::Close),
        Asked::Undecided(..) => Some(Errand::Undecided),
        Asked::Command(command) => question(command).map(Errand::Recover),
        _ => None,
    }
}

fn ask_for(heir: &Heir, errand: &Errand) -> Asked {
    let (node, boot) = heir.life();
    match errand {
        Errand::Fence => Asked::Command(Command::Fence { node, boot }),
        Errand::Close => Asked::Command(Command::Close { node, boot }),
        Errand::Undecided => Asked::Undecided(node, boot),
        Errand::Recover(question) => Asked::Command(question.command()),
    }
}

/// As traces have it.
pub fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Commit => "commit",
        Outcome::Abort => "abort",
    }
}
