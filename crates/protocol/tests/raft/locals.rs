//! What a search knows of single nodes: their states and messages by number, and each step of the core done once.
//!
//! A step of a core depends on that node's state and its input alone, so each is done once, by the real core, and looked up
//! whenever another group's state contains the same node in the same state with the same message before it. States of
//! nodes and messages go by 128-bit fingerprints of all that decides their future; among a million of them the chance that
//! two are taken for one is below 10^-26.

use crate::checker::Sight;
use crate::cluster::{Cluster, Member, Packet};
use quorate_base::time::Duration;
use quorate_base::{EntryId, Held, Index, NodeId, Term};
use quorate_protocol::raft::{Input, Membership, Message, Raft, ReadId, Role};
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

/// A number of something in one of the tables.
pub type Id = u32;

/// Marks a rejection that was heard: that it comes again has a budget.
const HEARD: Id = 1 << 31;

/// No group that is searched is larger.
pub const NODES: usize = 5;

/// Keys are numbers already; nothing depends on the order.
#[derive(Default)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(u64::from(b));
        }
    }

    fn write_u32(&mut self, x: u32) {
        self.write_u64(u64::from(x));
    }

    fn write_u64(&mut self, x: u64) {
        self.0 = (self.0.rotate_left(23) ^ x).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }

    fn write_u128(&mut self, x: u128) {
        self.write_u64(x as u64);
        self.write_u64((x >> 64) as u64);
    }

    fn write_usize(&mut self, x: usize) {
        self.write_u64(x as u64);
    }
}

#[allow(clippy::disallowed_types, reason = "its hasher has no chance in it, and nobody asks for its order")]
pub type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Mix>>;

#[allow(clippy::disallowed_types, reason = "as for maps")]
pub type Set<K> = std::collections::HashSet<K, BuildHasherDefault<Mix>>;

/// Something that happens at one node, but for a message that comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    TimeOut,
    /// Its oldest write is on disk.
    Flush,
    /// With none, or all, of its unflushed writes on disk; it starts again at once.
    Crash {
        kept: bool,
    },
    Propose,
    Read(u64),
    /// The change of this number.
    Change(u8),
    /// A rejection comes once more.
    Again,
}

impl Event {
    pub fn code(self) -> u64 {
        match self {
            Self::TimeOut => 0,
            Self::Flush => 1,
            Self::Crash { kept } => 2 + u64::from(kept),
            Self::Propose => 4,
            Self::Again => 5,
            Self::Read(id) => 0x100 | id,
            Self::Change(which) => 0x1000 | u64::from(which),
        }
    }
}

/// What one step makes of a node.
#[derive(Clone)]
struct Step {
    core: Id,
    said: Vec<(u8, Id)>,
    news: Id,
}

/// What a step shows; the first is nothing.
#[derive(Default)]
pub struct News {
    pub sights: Vec<Sight>,
    pub fault: Option<String>,
}

/// A node with all that it ever said.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Local {
    core: Id,
    /// To each, by its place in the group.
    sent: [Id; NODES],
}

/// One way to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    pub local: Id,
    pub news: Id,
    /// The message that made it so, if one did.
    pub message: Id,
}

struct Core {
    member: Member,
    log: Id,
}

pub struct Locals {
    stage: Cluster,
    pub names: Vec<NodeId>,
    changes: Vec<Membership>,
    /// Names of lives matter: questions for read indices carry them.
    lives: bool,
    cores: Vec<Core>,
    core_ids: Map<u128, Id>,
    logs: Vec<Id>,
    log_ids: Map<u128, Id>,
    pub messages: Vec<Message>,
    message_ids: Map<u128, Id>,
    /// What one node has said to another: the sender's place, then the messages in the order of their numbers.
    mailboxes: Vec<Vec<Id>>,
    mailbox_ids: Map<Vec<Id>, Id>,
    nodes: Vec<Local>,
    node_ids: Map<Local, Id>,
    pub news: Vec<News>,
    steps: Map<(u64, u64), Step>,
    answered: Map<u64, Id>,
    alive: Map<u64, Id>,
    stale: [Id; 3],
    /// It is remembered which rejections were heard.
    once: bool,
    ways_of: Map<u64, (u32, u32)>,
    ways: Vec<Way>,
    pub steps_done: usize,
}

pub fn fingerprint(feed: impl Fn(&mut DefaultHasher)) -> u128 {
    let (mut a, mut b) = (DefaultHasher::new(), DefaultHasher::new());
    1_u8.hash(&mut b);
    feed(&mut a);
    feed(&mut b);
    u128::from(a.finish()) << 64 | u128::from(b.finish())
}

/// Said by a node that has heard a leader's heartbeat outside of a read round: the leader, whose disk has been in that term
/// since before the heartbeat left, makes nothing of it, in whatever state it is by then.
fn idle(message: &Message) -> bool {
    matches!(
        message,
        Message::HeartbeatResponse { round: 0, withheld: false, promised: false, asks: None, .. }
    )
}

/// Each time that such a message comes, its receiver may begin something anew: a leader sends again what it has sent, or
/// begins one more round for a read. How often one is heard again has a budget ([`crate::search::Budget::again`]).
pub fn repeats_work(message: &Message) -> bool {
    matches!(message, Message::AppendRejected { .. } | Message::ReadIndex { .. })
}

/// An answer that its receiver ignores now and in every later state. Its term is durable there, so the receiver never falls
/// back behind it, and who is neither candidate nor leader of a durable term never will be. A pre-vote's yes names the term
/// after the one that it was asked in.
pub fn dead(receiver: &Member, message: &Message) -> bool {
    let Some(raft) = &receiver.raft else { return false };
    let (term, durable) = (message.term(), receiver.disk.hard.term);
    let runs = raft.term() == term;
    match message {
        Message::Vote { pre: true, granted: true, .. } => term <= durable,
        Message::Vote { pre: true, .. } => term < durable,
        Message::Vote { .. } => term <= durable && !(runs && raft.role() == Role::Candidate),
        Message::Appended { .. } | Message::AppendRejected { .. } | Message::HeartbeatResponse { .. } => {
            term <= durable && !(runs && matches!(raft.role(), Role::Candidate | Role::Leader))
        }
        _ => false,
    }
}

/// A question of a term that is over for its receiver, now and in every later state: the answer says so, whatever else the
/// question says, so all of one kind are one.
pub fn stale(receiver: &Member, message: &Message) -> Option<usize> {
    let (term, durable) = (message.term(), receiver.disk.hard.term);
    match message {
        Message::RequestVote { pre: false, .. } if term < durable => Some(1),
        Message::RequestVote { pre: true, .. } if term <= durable => Some(2),
        m if m.from_leader() && term < durable => Some(0),
        _ => None,
    }
}

/// What is held for one write need not be held again for the same or a later one: it will have been said by then.
pub fn once(m: &mut Member) {
    let mut kept: VecDeque<Held<(NodeId, Message)>> = VecDeque::new();
    for held in m.held.drain(..) {
        if !kept.iter().any(|k| k.peek() == held.peek() && k.needs() <= held.needs()) {
            kept.push_back(held);
        }
    }
    m.held = kept;
}

impl Locals {
    /// The members of the cluster are the first states.
    pub fn new(cluster: &Cluster, changes: Vec<Membership>, lives: bool, once: bool) -> (Self, Vec<Id>) {
        let mut stage = cluster.clone();
        let members = std::mem::take(&mut stage.members);
        let mut locals = Self {
            stage,
            names: members.keys().copied().collect(),
            changes,
            lives,
            cores: vec![],
            core_ids: Map::default(),
            logs: vec![],
            log_ids: Map::default(),
            messages: vec![],
            message_ids: Map::default(),
            mailboxes: vec![vec![]],
            mailbox_ids: Map::default(),
            nodes: vec![],
            node_ids: Map::default(),
            news: vec![News::default()],
            steps: Map::default(),
            answered: Map::default(),
            alive: Map::default(),
            stale: [0; 3],
            once,
            ways_of: Map::default(),
            ways: vec![],
            steps_done: 0,
        };
        let request = |pre| Message::RequestVote { term: Term(0), pre, transfer: false, last: EntryId::ZERO };
        let heartbeat =
            Message::Heartbeat { term: Term(0), commit: Index(0), round: 0, lease: Duration::ZERO };
        locals.stale = [heartbeat, request(false), request(true)].map(|m| locals.message(&m));
        let mut start: Vec<Id> = members
            .into_values()
            .map(|m| {
                let core = locals.core(m);
                locals.local(Local { core, sent: [0; NODES] })
            })
            .collect();
        // What is under way at the start was said.
        for p in &cluster.net {
            let (from, to) = (locals.place(p.from), locals.place(p.to));
            let message = locals.message(&p.message);
            let core = locals.nodes[start[from] as usize].core;
            start[from] = locals.grown(start[from], core, &[(to as u8, message)]);
        }
        (locals, start)
    }

    fn place(&self, node: NodeId) -> usize {
        self.names.iter().position(|&n| n == node).expect("all nodes are there from the beginning")
    }

    // ---- numbers ----

    fn core(&mut self, member: Member) -> Id {
        let lives = self.lives;
        let key = fingerprint(|h| feed_member(&member, lives, h));
        if let Some(&id) = self.core_ids.get(&key) {
            return id;
        }
        let log = fingerprint(|h| feed_log(&member, h));
        let next = self.log_ids.len() as Id;
        let log = *self.log_ids.entry(log).or_insert(next);
        let id = self.cores.len() as Id;
        if log == next {
            self.logs.push(id);
        }
        self.cores.push(Core { member, log });
        self.core_ids.insert(key, id);
        id
    }

    fn message(&mut self, message: &Message) -> Id {
        let key = fingerprint(|h| feed_message(message, h));
        if let Some(&id) = self.message_ids.get(&key) {
            return id;
        }
        let id = self.messages.len() as Id;
        self.messages.push(message.clone());
        self.message_ids.insert(key, id);
        id
    }

    fn local(&mut self, local: Local) -> Id {
        let next = self.nodes.len() as Id;
        let id = *self.node_ids.entry(local).or_insert(next);
        if id == next {
            self.nodes.push(local);
        }
        id
    }

    /// A node that has gone on to `core` and said more.
    fn grown(&mut self, local: Id, core: Id, said: &[(u8, Id)]) -> Id {
        let mut grown = self.nodes[local as usize];
        grown.core = core;
        let from = self.place(self.cores[core as usize].member.id) as Id;
        for &(to, message) in said {
            let old = &self.mailboxes[grown.sent[usize::from(to)] as usize];
            if old.len() > 1 && [message, message | HEARD].iter().any(|m| old[1..].binary_search(m).is_ok()) {
                continue;
            }
            let mut new = if old.is_empty() { vec![from] } else { old.clone() };
            let at = new[1..].partition_point(|&m| m < message);
            new.insert(at + 1, message);
            grown.sent[usize::from(to)] = self.mailbox(new);
        }
        self.local(grown)
    }

    fn mailbox(&mut self, messages: Vec<Id>) -> Id {
        if messages.len() < 2 {
            return 0;
        }
        if let Some(&id) = self.mailbox_ids.get(&messages) {
            return id;
        }
        let id = self.mailboxes.len() as Id;
        self.mailboxes.push(messages.clone());
        self.mailbox_ids.insert(messages, id);
        id
    }

    // ---- steps ----

    fn act(&mut self, core: Id, act: impl FnOnce(&mut Cluster, NodeId)) -> Step {
        self.steps_done += 1;
        let member = self.cores[core as usize].member.clone();
        let node = member.id;
        let stage = &mut self.stage;
        // Every deadline that was drawn so far has passed.
        stage.now = stage.now + Duration::from_nanos(100);
        stage.fault = None;
        stage.net.clear();
        stage.proposals.clear();
        stage.reads_done.clear();
        stage.sights = Some(vec![]);
        stage.members = BTreeMap::from([(node, member)]);
        act(stage, node);
        let sights = stage.sights.take().unwrap_or_default();
        let fault = stage.fault.take();
        let packets = std::mem::take(&mut stage.net);
        let (_, mut member) = stage.members.pop_first().expect("the member is on the stage");
        once(&mut member);
        let core = self.core(member);
        let mut said = vec![];
        let cut = |p: &Packet| self.stage.cut.contains(&(p.from, p.to));
        let packets: Vec<_> = packets.into_iter().filter(|p| !idle(&p.message) && !cut(p)).collect();
        for p in &packets {
            said.push((self.place(p.to) as u8, self.message(&p.message)));
        }
        let mut news = 0;
        if !sights.is_empty() || fault.is_some() {
            news = self.news.len() as Id;
            self.news.push(News { sights, fault });
        }
        Step { core, said, news }
    }

    fn hears(&mut self, core: Id, from: Id, message: Id) -> Step {
        let key = (u64::from(core) << 8 | u64::from(from), 1 << 32 | u64::from(message));
        if let Some(step) = self.steps.get(&key) {
            return step.clone();
        }
        let (from, message) = (self.names[from as usize], self.messages[message as usize].clone());
        let step = self.act(core, |c, node| c.step(node, Input::Message { from, message }));
        self.steps.insert(key, step.clone());
        step
    }

    fn suffers(&mut self, core: Id, event: Event) -> Step {
        let key = (u64::from(core), event.code());
        if let Some(step) = self.steps.get(&key) {
            return step.clone();
        }
        let change = if let Event::Change(which) = event {
            self.changes.get(usize::from(which)).cloned()
        } else {
            None
        };
        let step = self.act(core, |c, node| match event {
            Event::TimeOut => c.step(node, Input::Tick),
            Event::Flush => c.flush(node, 1),
            Event::Crash { kept } => c.restart(node, if kept { usize::MAX } else { 0 }),
            Event::Propose => {
                c.propose(node, "x");
            }
            Event::Read(id) => c.read_as(node, ReadId(id)),
            Event::Again => {}
            Event::Change(_) => {
                if let Some(target) = change {
                    c.change(node, &target);
                }
            }
        });
        self.steps.insert(key, step.clone());
        step
    }

    /// The node after it has answered everything in the mailbox that it can answer without changing.
    pub fn answers(&mut self, local: Id, mailbox: Id) -> Id {
        if mailbox == 0 {
            return local;
        }
        let key = u64::from(local) << 32 | u64::from(mailbox);
        if let Some(&answered) = self.answered.get(&key) {
            return answered;
        }
        let core = self.nodes[local as usize].core;
        let mut answered = local;
        for i in 1..self.mailboxes[mailbox as usize].len() {
            let box_ = &self.mailboxes[mailbox as usize];
            let (from, message) = (box_[0], box_[i]);
            if message & HEARD != 0 {
                break;
            }
            let step = self.hears(core, from, message);
            if step.core == core && step.news == 0 {
                answered = self.grown(answered, core, &step.said);
            }
        }
        self.answered.insert(key, answered);
        answered
    }

    /// What in the mailbox can still make a difference to the node; see [`dead`] and [`stale`].
    fn alive(&mut self, local: Id, mailbox: Id) -> Id {
        let core = self.core_of(local);
        let key = u64::from(core) << 32 | u64::from(mailbox);
        if let Some(&alive) = self.alive.get(&key) {
            return alive;
        }
        let old = &self.mailboxes[mailbox as usize];
        let member = &self.cores[core as usize].member;
        let mut new = vec![];
        for &id in &old[1..] {
            let message = &self.messages[(id & !HEARD) as usize];
            if !dead(member, message) {
                new.push(stale(member, message).map_or(id, |kind| self.stale[kind]));
            }
        }
        new.sort_unstable();
        new.dedup();
        new.insert(0, old[0]);
        let alive = self.mailbox(new);
        self.alive.insert(key, alive);
        alive
    }

    /// The sender, without what can no longer make a difference to the receiver, the node at `to`.
    pub fn forgets(&mut self, sender: Id, receiver: Id, to: usize) -> Id {
        let mailbox = self.sent(sender, to);
        if mailbox == 0 {
            return sender;
        }
        let alive = self.alive(receiver, mailbox);
        if alive == mailbox {
            return sender;
        }
        let mut local = self.nodes[sender as usize];
        local.sent[to] = alive;
        self.local(local)
    }

    /// What the messages in the mailbox can make of the node: a range of [`Self::way`].
    pub fn hears_any(&mut self, local: Id, mailbox: Id) -> (u32, u32) {
        if mailbox == 0 {
            return (0, 0);
        }
        let key = u64::from(local) << 32 | u64::from(mailbox);
        if let Some(&range) = self.ways_of.get(&key) {
            return range;
        }
        let core = self.nodes[local as usize].core;
        let first = self.ways.len();
        for i in 1..self.mailboxes[mailbox as usize].len() {
            let box_ = &self.mailboxes[mailbox as usize];
            let (from, message) = (box_[0], box_[i]);
            if message & HEARD != 0 {
                break;
            }
            let step = self.hears(core, from, message);
            if step.core == core && step.news == 0 {
                continue;
            }
            let next = self.grown(local, step.core, &step.said);
            let same = |w: &Way| w.local == next && w.news == step.news;
            if self.counts(message) || !self.ways[first..].iter().any(same) {
                self.ways.push(Way { local: next, news: step.news, message });
            }
        }
        let range = (first as u32, self.ways.len() as u32);
        self.ways_of.insert(key, range);
        range
    }

    /// What rejections that were heard before would make of the node.
    pub fn hears_again(&mut self, local: Id, mailbox: Id) -> Vec<Way> {
        let old = self.mailboxes[mailbox as usize].clone();
        let mut ways = vec![];
        for &message in old.iter().skip(1).filter(|&m| m & HEARD != 0) {
            let message = message & !HEARD;
            let core = self.core_of(local);
            let step = self.hears(core, old[0], message);
            if step.core != core || step.news != 0 {
                ways.push(Way { local: self.grown(local, step.core, &step.said), news: step.news, message });
            }
        }
        ways
    }

    /// Whether hearing this message again has a budget, once it has made a difference.
    pub fn counts(&self, message: Id) -> bool {
        self.once && repeats_work(&self.messages[message as usize])
    }

    /// The sender, after the node at `to` has heard this message.
    pub fn heard(&mut self, sender: Id, to: usize, message: Id) -> Id {
        let mut new = self.mailboxes[self.sent(sender, to) as usize].clone();
        new.retain(|&m| m != message);
        let at = new[1..].partition_point(|&m| m < message | HEARD);
        new.insert(at + 1, message | HEARD);
        let mut local = self.nodes[sender as usize];
        local.sent[to] = self.mailbox(new);
        self.local(local)
    }

    pub fn way(&self, at: u32) -> Way {
        self.ways[at as usize]
    }

    pub fn after(&mut self, local: Id, event: Event) -> Way {
        let step = self.suffers(self.nodes[local as usize].core, event);
        Way { local: self.grown(local, step.core, &step.said), news: step.news, message: 0 }
    }

    // ---- ask ----

    pub fn sent(&self, local: Id, to: usize) -> Id {
        self.nodes[local as usize].sent[to]
    }

    pub fn core_of(&self, local: Id) -> Id {
        self.nodes[local as usize].core
    }

    pub fn member(&self, local: Id) -> &Member {
        &self.cores[self.core_of(local) as usize].member
    }

    pub fn log(&self, local: Id) -> Id {
        self.cores[self.core_of(local) as usize].log
    }

    /// A core that has this log.
    pub fn with_log(&self, log: Id) -> Option<&Raft> {
        self.cores[self.logs[log as usize] as usize].member.raft.as_ref()
    }

    pub fn holds(&self, local: Id, id: EntryId) -> bool {
        self.member(local).disk.holds(id)
    }

    pub fn sizes(&self) -> String {
        format!(
            "{} node states ({} with what they said), {} messages, {} steps of a core",
            self.cores.len(),
            self.nodes.len(),
            self.messages.len(),
            self.steps_done
        )
    }
}

/// All that decides how a node goes on.
pub fn feed_member(m: &Member, lives: bool, to: &mut impl Hasher) {
    m.id.hash(to);
    if let Some(raft) = &m.raft {
        raft.fingerprint(to);
    }
    let hard = m.disk.hard;
    (hard.term, hard.vote, hard.commit, m.disk.base.id, m.machine.digest, m.looked, m.led).hash(to);
    for e in &m.disk.entries {
        (e.id, e.kind, &e.data).hash(to);
    }
    for write in &m.unflushed {
        write.hard.map(|h| (h.term, h.vote, h.commit)).hash(to);
        write.entries.iter().for_each(|e| (e.id, &e.data).hash(to));
    }
    // A held message waits for one of the writes under way: which one, counted from the front.
    let first = m.unflushed.front().map_or(0, |w| w.write.0);
    for held in &m.held {
        let (peer, message) = held.peek();
        (held.needs().1.0.saturating_sub(first), peer).hash(to);
        feed_message(message, to);
    }
    lives.then_some(m.life).hash(to);
}

fn feed_log(m: &Member, to: &mut impl Hasher) {
    let Some(raft) = &m.raft else { return };
    raft.base().hash(to);
    for at in raft.base().index.0 + 1..=raft.last().index.0 {
        raft.entry(Index(at)).map(|e| (e.id, e.kind, &e.data)).hash(to);
    }
}

pub fn feed_message(message: &Message, to: &mut impl Hasher) {
    match message {
        Message::Append { term, prev, entries, commit } => {
            (0, term, prev, commit).hash(to);
            for e in entries {
                (e.id, e.kind, &e.data).hash(to);
            }
        }
        other => format!("{other:?}").hash(to),
    }
}
