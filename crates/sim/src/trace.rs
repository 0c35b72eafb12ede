//! What a run did, event by event, for people: messages, roles, commits, faults, clients. Nothing in a run depends on it.
//!
//! A message is recorded once, when its fate is known: as it arrives, with the time at which it was sent, or as it is sent and lost.
//! What a node thinks (role, term, commit index) is recorded where it differs from what was seen of that node before.

use crate::place::Place;
use crate::steps::{Breaker, StepName};
use crate::world::{KV, World};
use bytes::Bytes;
use quorate_base::{Index, Instant, NodeId, Term};
use quorate_protocol::raft::Role;
use quorate_wire::command;
use quorate_wire::kv::Command;
use quorate_wire::peer::{Frame, LeaseAsk, Packet};
use std::collections::BTreeMap;
use std::fmt;

/// One event of a run.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The receiver has it.
    Arrived,
    /// The network lost it.
    Lost,
    /// The link was cut.
    Cut,
    /// The receiver was down, or did not know the sender.
    Unheard,
}

/// How a client's request ended, for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It was answered.
    Answered,
    /// It was refused.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A message.
    Message {
        /// The sender.
        from: NodeId,
        /// The receiver.
        to: NodeId,
        /// When it was sent.
        sent: Instant,
        /// What became of it.
        fate: Fate,
        /// What it said.
        text: String,
    },
    /// A node began a life.
    Up {
        /// Which.
        node: NodeId,
        /// Its how manyth.
        life: u64,
    },
    /// A node's life ended, or could not begin.
    Down {
        /// Which.
        node: NodeId,
        /// Why.
        why: String,
    },
    /// A node has another role, term or leader.
    Role {
        /// Which.
        node: NodeId,
        /// Its role.
        role: Role,
        /// Its term.
        term: Term,
        /// Whom it follows.
        leader: Option<NodeId>,
    },
    /// A node knows of more that is committed.
    Commit {
        /// Which.
        node: NodeId,
        /// The commit index.
        commit: Index,
        /// What its machine has applied.
        applied: Index,
        /// The end of its log.
        last: Index,
    },
    /// Something was broken, or mended.
    Fault(String),
    /// A client asked.
    Asked {
        /// Who; `None` for whoever changes the members.
        client: Option<usize>,
        /// Whom.
        node: NodeId,
        /// What.
        op: String,
    },
    /// A client's request ended.
    Answered {
        /// Who; `None` for whoever changes the members.
        client: Option<usize>,
        /// Whom it had asked.
        node: NodeId,
        /// When it had asked.
        asked: Instant,
        /// What.
        op: String,
        /// How it ended.
        end: End,
        /// What it heard.
        text: String,
    },
    /// A watcher heard of revisions.
    Told {
        /// Which.
        watcher: usize,
        /// By which node.
        node: NodeId,
        /// What.
        text: String,
    },
    /// A promise was broken.
    Violation(String),
}

/// A node as it was seen last.
#[derive(PartialEq, Eq, Clone, Copy)]
struct Seen {
    life: u64,
    role: Role,
    term: Term,
    leader: Option<NodeId>,
    commit: Index,
}

/// The records of a run so far.
#[derive(Default)]
pub(crate) struct Trace {
    pub(crate) records: Vec<Record>,
    seen: BTreeMap<NodeId, Seen>,
}

impl Trace {
    pub(crate) fn note(&mut self, at: Instant, what: What) {
        self.records.push(Record { at, what });
    }

    /// Looks what the nodes think.
    pub(crate) fn look(&mut self, now: Instant, places: &[Place]) {
        for place in places {
            let Some(running) = place.running.as_ref() else { continue };
            let (raft, node) = (running.lane.raft(), place.id);
            let seen = Seen {
                life: place.life,
                role: raft.role(),
                term: raft.term(),
                leader: raft.leader(),
                commit: raft.commit(),
            };
            let before = self.seen.insert(node, seen).filter(|before| before.life == seen.life);
            if before == Some(seen) {
                continue;
            }
            let same_role = |before: Seen| {
                (before.role, before.term, before.leader) == (seen.role, seen.term, seen.leader)
            };
            if !before.is_some_and(same_role) {
                let Seen { role, term, leader, .. } = seen;
                self.note(now, What::Role { node, role, term, leader });
            }
            if before.map_or(Index(0), |before| before.commit) != seen.commit {
                let (applied, last) = (running.applier.applied(KV), raft.last().index);
                self.note(now, What::Commit { node, commit: seen.commit, applied, last });
            }
        }
    }
}

impl World {
    /// Takes something down, if anybody wants to know.
    pub(crate) fn note(&mut self, what: impl FnOnce() -> What) {
        if let Some(trace) = &mut self.trace {
            trace.note(self.now, what());
        }
    }

    /// Takes down that something was broken or mended.
    pub(crate) fn fault(&mut self, text: impl FnOnce() -> String) {
        self.note(|| What::Fault(text()));
    }

    /// Takes down what the nodes think.
    pub(crate) fn look(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.look(self.now, &self.places);
        }
    }

    /// Whether `who` takes its next step, and the step's name.
    pub(crate) fn takes(&mut self, who: Breaker) -> Option<StepName> {
        self.steps.next(who)
    }
}

/// The frames of a packet in words.
pub(crate) fn in_words(body: &Bytes) -> String {
    let mut words = String::new();
    for frame in Packet::read(body.clone()) {
        if !words.is_empty() {
            words.push_str(" + ");
        }
        match frame {
            Ok(frame) => words.push_str(&frame_in_words(&frame)),
            Err(_) => words.push_str("garbage"),
        }
    }
    words
}

fn frame_in_words(frame: &Frame) -> String {
    match frame {
        Frame::Raft { shard: KV, message } => message.to_string(),
        Frame::Raft { shard, message } => format!("shard {shard}: {message}"),
        Frame::Forward { term, request, data, .. } => {
            let what = command::decode(data).map_or("command".into(), |decoded| of_command(&decoded.command));
            format!("Forward t{term} request {request}: {what}")
        }
        Frame::Committed { request, how } => {
            format!("Committed request {request} at {}@{}", how.id.term, how.id.index)
        }
        Frame::Lease { request, ask: LeaseAsk::KeepAlive(id), .. } => {
            format!("LeaseKeepAlive request {request}: {id}")
        }
        Frame::Lease { request, ask: LeaseAsk::TimeToLive(id), .. } => {
            format!("LeaseTimeToLive request {request}: {id}")
        }
        Frame::LeaseAnswer { request, ttl, .. } => format!("LeaseAnswer request {request}: {ttl} s"),
        Frame::Refused { request, why } => format!("Refused request {request}: {why:?}"),
        Frame::Members { term, request, change, .. } => {
            format!("Members t{term} request {request}: {change:?}")
        }
        Frame::MembersRefused { request, why } => format!("MembersRefused request {request}: {why:?}"),
        Frame::Alive => "Alive".into(),
        Frame::Close(close) => {
            let closed =
                close.closed.map_or_else(String::new, |(round, time)| format!(", {round} closed at {time}"));
            format!("Close round {}: {} groups{closed}", close.round, close.led.len())
        }
        Frame::Follows(follows) => format!("Follows round {}, but for {}", follows.round, follows.not.len()),
        Frame::Flush { took } => format!("Flush takes {took:?}"),
        Frame::Pause { shard, millis } => format!("Pause of {shard} for {millis} ms"),
        Frame::Ask { shard, request, .. } => format!("Ask request {request} of {shard}"),
        Frame::Told { request, .. } => format!("Told request {request}"),
    }
}

fn of_command(command: &Command) -> String {
    let name = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    match command {
        Command::Put(put) => format!("put {}", name(&put.key)),
        Command::Delete(delete) => format!("delete {}", name(&delete.range.key)),
        Command::Txn(_) => "txn".into(),
        Command::Compact { revision } => format!("compact {revision}"),
        Command::LeaseGrant { id, .. } => format!("grant lease {id}"),
        Command::LeaseRevoke { ids } => format!("revoke leases {ids:?}"),
        Command::LeaseExpire { .. } => "expire leases".into(),
        Command::LeaseCheckpoint { .. } => "remember leases".into(),
        Command::Fenced { fence, command } => {
            format!("{} under token {} of {}", of_command(command), fence.token, name(&fence.name))
        }
        Command::FenceDrop { name: of } => format!("forget tokens of {}", name(of)),
        Command::Alarm { .. } => "alarm".into(),
        Command::Table(_) => "tables".into(),
    }
}

/// In seconds and millionths since the run began.
struct Clock(Instant);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>11.6}", self.0.since(Instant::ZERO).as_secs_f64())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", Clock(self.at), self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asker =
            |client: &Option<usize>| client.map_or("members".into(), |client| format!("client {client}"));
        match self {
            Self::Message { from, to, sent, fate, text } => {
                let sent = sent.since(Instant::ZERO).as_secs_f64();
                match fate {
                    Fate::Arrived => write!(f, "n{to} <- n{from}  {text}  (sent {sent:.6})"),
                    Fate::Lost => write!(f, "n{from} -x n{to}  {text}  (lost)"),
                    Fate::Cut => write!(f, "n{from} -x n{to}  {text}  (cut, sent {sent:.6})"),
                    Fate::Unheard => write!(f, "n{from} -x n{to}  {text}  (not taken, sent {sent:.6})"),
                }
            }
            Self::Up { node, life } => write!(f, "n{node}  starts, life {life}"),
            Self::Down { node, why } => write!(f, "n{node}  down: {why}"),
            Self::Role { node, role, term, leader } => {
                write!(f, "n{node}  {} in term {term}", role_in_words(*role))?;
                match leader {
                    Some(leader) if leader != node => write!(f, ", follows n{leader}"),
                    _ => Ok(()),
                }
            }
            Self::Commit { node, commit, applied, last } => {
                write!(f, "n{node}  commit {commit}  (applied {applied}, log ends at {last})")
            }
            Self::Fault(text) => write!(f, "**  {text}"),
            Self::Asked { client, node, op } => write!(f, "{} -> n{node}  {op}", asker(client)),
            Self::Answered { client, node, asked, op, text, .. } => {
                let asked = asked.since(Instant::ZERO).as_secs_f64();
                write!(f, "{} <- n{node}  {op}: {text}  (asked {asked:.6})", asker(client))
            }
            Self::Told { watcher, node, text } => write!(f, "watcher {watcher} <- n{node}  {text}"),
            Self::Violation(text) => write!(f, "VIOLATION  {text}"),
        }
    }
}

/// The word for a role.
pub fn role_in_words(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}
