//! How things are written in traces.

use crate::toy::{Key, Op, Ops, Reason};
use crate::world::{Asked, Packet, Role, Told, outcome_name};
use quorate_base::{Index, ShardId};
use quorate_protocol::commit::gateway::Reply;
use quorate_protocol::commit::reader::Versioned;
use quorate_protocol::commit::{Answer, Command, No, TxnId, Vote};

/// Gateway, life, request, attempt.
pub fn id(id: &TxnId) -> String {
    format!("n{}.{}.{}/{}", id.node, id.boot, id.sequence, id.attempt)
}

pub fn ops(ops: &Ops) -> String {
    let op = |(Key(name, shard), op): &(Key, Op)| match op {
        Op::Put(v) => format!("put {name}{shard} {v}"),
        Op::Add(v) => format!("add {name}{shard} {v}"),
        Op::Delete => format!("del {name}{shard}"),
        Op::Check(Some(v)) => format!("check {name}{shard} {v}"),
        Op::Check(None) => format!("check {name}{shard} -"),
        Op::Insert(v) => format!("insert {name}{shard} {v}"),
        Op::Token(v) => format!("token {name}{shard} {v}"),
    };
    ops.0.iter().map(op).collect::<Vec<_>>().join(", ")
}

pub fn value(Key(name, shard): Key, value: &Versioned<i64>) -> String {
    let held = value.value.map_or("-".to_owned(), |v| v.to_string());
    format!("{name}{shard}={held}@{}", value.version)
}

pub fn no(no: &No<Reason>) -> String {
    match no {
        No::Conflict(holder) => format!("conflict with {}", id(holder)),
        No::Refused => "refused".into(),
        No::Reason(Reason::Condition(Key(name, shard))) => format!("{name}{shard} holds something else"),
        No::Reason(Reason::Repeated) => "repeated".into(),
        No::Reason(Reason::Mismatch) => "another request's token".into(),
    }
}

pub fn answer(answer: &Answer<Reason>) -> String {
    match answer {
        Answer::Vote(Vote::Yes) => "Yes".into(),
        Answer::Vote(Vote::No(why)) => format!("No, {}", no(why)),
        Answer::Missing => "no vote yet".into(),
        Answer::Over => "over".into(),
        Answer::Settled => "settled".into(),
        Answer::Undecided(ids) => {
            format!("undecided {:?}", ids.iter().map(|(i, _)| id(i)).collect::<Vec<_>>())
        }
    }
}

pub fn reply(reply: &Reply<Reason>) -> String {
    match reply {
        Reply::Committed => "committed".into(),
        Reply::Unknown => "unknown".into(),
        Reply::Cancelled(reasons) => {
            let reasons = reasons.iter().map(|(shard, why)| format!("s{shard} {}", no(why)));
            format!("cancelled: {}", reasons.collect::<Vec<_>>().join("; "))
        }
    }
}

pub fn command(command: &Command<Ops>) -> String {
    match command {
        Command::Prepare(asked) => format!("Prepare {} [{}]", id(&asked.id), ops(&asked.ops)),
        Command::Refuse { id: of, because: None } => format!("Refuse {}", id(of)),
        Command::Refuse { id: of, because: Some(holder) } => {
            format!("Refuse {} because of {}", id(of), id(holder))
        }
        Command::Outcome { id: of, outcome } => format!("Outcome {} {}", id(of), outcome_name(*outcome)),
        Command::Execute(what) => format!("Execute [{}]", ops(what)),
        Command::Fence { node, boot } => format!("Fence n{node} before {boot}"),
        Command::Close { node, boot } => format!("Close n{node} before {boot}"),
        Command::Forget { node, upto } => format!("Forget n{node} up to {}.{}", upto.boot, upto.sequence),
    }
}

pub fn applied(shard: ShardId, at: Index, what: &Command<Ops>, said: &Answer<Reason>) -> String {
    format!("s{shard} {at}: {}: {}", command(what), answer(said))
}

pub fn packet(packet: &Packet) -> String {
    let host = match packet.host.role {
        Role::Gateway => format!("n{}", packet.host.node),
        Role::Recovery(_) => format!("n{} recovery", packet.host.node),
        Role::Reader(number) => format!("n{} reader {number}", packet.host.node),
        Role::Heir => format!("n{} heir", packet.host.node),
        Role::Plain(number) => format!("n{} write {number}", packet.host.node),
    };
    let asked = match &packet.asked {
        Asked::Command(what) => command(what),
        Asked::Vote(_, of) => format!("Vote? {}", id(of)),
        Asked::Keys(_, keys) => {
            let keys = keys.iter().map(|Key(name, shard)| format!("{name}{shard}"));
            format!("Read {}", keys.collect::<Vec<_>>().join(" "))
        }
        Asked::Undecided(node, boot) => format!("Undecided of n{node} before {boot}?"),
    };
    let shard = packet.shard;
    match &packet.told {
        None => format!("{host} -> s{shard}: {asked}"),
        Some(Told::Answer(said)) => format!("s{shard} -> {host}: {asked}: {}", answer(said)),
        Some(Told::Keys(seen)) => {
            let keys = if let Asked::Keys(_, keys) = &packet.asked { keys.clone() } else { vec![] };
            let each = keys.iter().zip(seen).map(|(key, seen)| {
                let intent = seen.intent.as_ref();
                let intent = intent.map(|met| format!(" ({} by {})", value(*key, &met.post), id(&met.id)));
                value(*key, &seen.pre) + &intent.unwrap_or_default()
            });
            format!("s{shard} -> {host}: {}", each.collect::<Vec<_>>().join(", "))
        }
    }
}
