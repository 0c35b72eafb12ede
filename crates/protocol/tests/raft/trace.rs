//! What a drain handed out, in words.

use quorate_base::{Append, Entry, EntryId, EntryKind, NodeId};
use quorate_protocol::raft::{Membership, Outbox, Proof, Refusal, Role};

pub fn id(id: EntryId) -> String {
    format!("{}@{}", id.term, id.index)
}

fn entry(e: &Entry) -> String {
    match e.kind {
        EntryKind::Empty => id(e.id),
        EntryKind::Command => format!("{} {}", id(e.id), String::from_utf8_lossy(&e.data)),
        EntryKind::Membership => {
            let m = Membership::decode(&e.data).map_or_else(|| "?".into(), |m| m.to_string());
            format!("{} ({m})", id(e.id))
        }
    }
}

fn entries(of: &[Entry]) -> String {
    of.iter().map(entry).collect::<Vec<_>>().join(", ")
}

fn write(a: &Append) -> String {
    let mut parts = vec![];
    if let Some(hard) = a.hard {
        let vote = hard.vote.map_or_else(String::new, |v| format!(" vote n{v}"));
        parts.push(format!("t{}{vote}", hard.term));
    }
    if !a.entries.is_empty() {
        parts.push(format!("[{}]", entries(&a.entries)));
    }
    parts.join(" ")
}

pub fn refusal(r: &Refusal) -> String {
    match r {
        Refusal::NotLeader { leader: Some(leader) } => format!("n{leader} leads"),
        Refusal::NotLeader { leader: None } => "no leader is known".into(),
        Refusal::Overloaded => "overloaded".into(),
        Refusal::Transferring => "the leadership is being handed over".into(),
        Refusal::ChangePending => "a change is pending".into(),
        Refusal::NotCaughtUp(node) => format!("n{node} is not caught up"),
        Refusal::Invalid => "invalid".into(),
    }
}

pub fn outbox(trace: &mut Vec<String>, node: NodeId, out: &Outbox) {
    if let Some(r) = &out.role {
        let role = match r.role {
            Role::Follower => "follows",
            Role::PreCandidate => "asks",
            Role::Candidate => "campaigns",
            Role::Leader => "leads",
        };
        let whom = match (r.role, r.leader) {
            (Role::Follower, Some(leader)) => format!(" n{leader}"),
            (Role::Follower, None) => " nobody".into(),
            _ => String::new(),
        };
        trace.push(format!("n{node} {role}{whom} in t{}: {}", r.term, r.reason));
    }
    for (p, at) in &out.accepted {
        trace.push(format!("n{node} takes p{} as {}", p.0, id(*at)));
    }
    for (p, why) in &out.refused {
        trace.push(format!("n{node} refuses p{}: {}", p.0, refusal(why)));
    }
    if let Some(a) = &out.write {
        trace.push(format!("n{node} writes w{}: {}", a.write.0, write(a)));
    }
    for held in &out.after_write {
        let (to, message) = held.peek();
        trace.push(format!("n{node} holds for w{} -> n{to}: {message}", held.needs().1.0));
    }
    if !out.apply.is_empty() {
        trace.push(format!("n{node} applies {}", entries(&out.apply)));
    }
    for c in &out.chunks {
        trace.push(format!("n{node} wants chunk {} read for n{}", c.seq, c.to));
    }
    for c in &out.install {
        trace.push(format!("n{node} stores chunk {} of {}", c.seq, id(c.meta.id)));
    }
    for read in &out.reads {
        let how = if read.proof == Proof::Lease { " by its leader's lease" } else { "" };
        trace.push(format!("n{node} reads r{} at {}{how}", read.id.0, read.index));
    }
    for (r, why) in &out.dropped_reads {
        trace.push(format!("n{node} drops r{}: {}", r.0, refusal(why)));
    }
}
