//! What must hold, whatever happens: the five properties of Raft (dissertation, Figure 3.2), and every promise kept.
//!
//! - *Election Safety*: at most one leader a term.
//! - *Log Matching*: two logs with one id in common are equal up to it.
//! - *Leader Completeness*: who leads in a later term holds what was committed before.
//! - *State Machine Safety*: no two machines differ at one index.
//! - A leader commits by an entry of its own term (5.4.2, Figure 8).
//! - What a leader commits is on the disks of a majority, of both while joint.
//! - A vote or a confirmation that leaves a node is on that node's disk.

use crate::cluster::{Disk, Machine, Member, chain};
use quorate_base::{Entry, EntryId, EntryKind, Index, NodeId, Term};
use quorate_protocol::raft::{Membership, Message, Raft};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// What has been seen so far.
#[derive(Clone, Default)]
pub struct Checker {
    leaders: BTreeMap<Term, NodeId>,
    /// From index 1 on: the entry, the digest of all up to it, the term in which it was first committed.
    committed: Vec<(EntryId, u64, Term)>,
    /// The newest committed configuration.
    membership: Option<Membership>,
    /// Up to where each node's commitments were compared, in its life.
    looked: BTreeMap<NodeId, Index>,
}

impl Checker {
    /// The newest index that anybody ever committed.
    pub fn committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// For a search: what decides later verdicts.
    pub fn fingerprint(&self, to: &mut impl Hasher) {
        (&self.leaders, &self.committed, &self.looked).hash(to);
        self.membership.as_ref().map(Membership::encode).hash(to);
    }

    /// Whether this entry is the committed one at its place.
    pub fn has(&self, id: EntryId) -> bool {
        self.committed.get((id.index.0 as usize).wrapping_sub(1)).is_some_and(|c| c.0 == id)
    }

    pub fn looked(&self, node: NodeId) -> Index {
        self.looked.get(&node).copied().unwrap_or_default()
    }

    pub fn forget(&mut self, node: NodeId) {
        self.looked.remove(&node);
    }

    pub fn look(&mut self, node: NodeId, members: &BTreeMap<NodeId, Member>) -> Result<(), String> {
        let Some(raft) = members.get(&node).and_then(|m| m.raft.as_ref()) else { return Ok(()) };
        raft.check_invariants().map_err(|why| format!("{node:?}: {why}"))?;
        if raft.is_leader() {
            self.leads(raft)?;
        }
        let looked = self.looked(node);
        if raft.is_leader() && raft.commit() > looked && raft.term_at(raft.commit()) != Some(raft.term()) {
            let at = raft.commit();
            return Err(format!(
                "Figure 8: {node:?} commits {at:?} of {:?} in {:?}",
                raft.term_at(at),
                raft.term()
            ));
        }
        let from = looked.max(raft.base().index);
        for at in from.0 + 1..=raft.commit().0 {
            if let Some(entry) = raft.entry(Index(at)) {
                self.commits(raft, entry, members)?;
            }
        }
        self.looked.insert(node, raft.commit());
        Ok(())
    }

    fn leads(&mut self, raft: &Raft) -> Result<(), String> {
        let (id, term) = (raft.id(), raft.term());
        match self.leaders.insert(term, id) {
            Some(other) if other != id => {
                return Err(format!("Election Safety: {other:?} and {id:?} lead in {term:?}"));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        for &(must, _, since) in &self.committed {
            if since < term && must.index > raft.base().index && raft.term_at(must.index) != Some(must.term) {
                return Err(format!(
                    "Leader Completeness: {id:?} leads in {term:?} and has {:?} at {must:?}, committed in {since:?}",
                    raft.term_at(must.index)
                ));
            }
        }
        Ok(())
    }

    fn commits(
        &mut self,
        raft: &Raft,
        entry: &Entry,
        members: &BTreeMap<NodeId, Member>,
    ) -> Result<(), String> {
        let at = entry.id.index.0 as usize;
        let before = if at < 2 { 0 } else { self.committed.get(at - 2).map_or(0, |c| c.1) };
        let digest = chain(before, entry);
        match self.committed.get(at - 1) {
            Some(&(id, known, _)) if (id, known) == (entry.id, digest) => Ok(()),
            Some(&(id, ..)) => Err(format!(
                "State Machine Safety: {:?} commits {:?}, but {id:?} is committed there",
                raft.id(),
                entry.id
            )),
            None if at == self.committed.len() + 1 => {
                self.committed.push((entry.id, digest, raft.term()));
                if entry.kind == EntryKind::Membership {
                    self.configuration(entry)?;
                }
                on_a_quorum(raft, entry.id, members)
            }
            None => Err(format!("{:?} commits {:?} before what precedes it", raft.id(), entry.id)),
        }
    }

    /// Quorums of neighbouring configurations overlap: into a joint one that carries the old voters, and out of it again.
    fn configuration(&mut self, entry: &Entry) -> Result<(), String> {
        let next = Membership::decode(&entry.data).ok_or("a configuration that cannot be read")?;
        let legal = match &self.membership {
            Some(now) if now.is_joint() => next == now.left(),
            Some(now) => next.outgoing.as_ref() == Some(&now.voters),
            None => true,
        };
        let now = self.membership.replace(next.clone());
        if legal {
            return Ok(());
        }
        let now = now.map(|m| m.to_string()).unwrap_or_default();
        Err(format!("a change from ({now}) to ({next}) at {:?} overlaps in no quorum", entry.id))
    }

    /// The configuration that everything begins with.
    pub fn founded(&mut self, membership: Membership) {
        self.membership = Some(membership);
    }

    pub fn state(&self, node: NodeId, machine: &Machine) -> Result<(), String> {
        let at = machine.at;
        match self.committed.get((at.index.0 as usize).wrapping_sub(1)) {
            _ if at.index == Index(0) => Ok(()),
            Some(&(id, digest, _)) if (id, digest) == (at, machine.digest) => Ok(()),
            Some(&(id, ..)) => {
                Err(format!("State Machine Safety: {node:?} is at {at:?}, {id:?} was committed"))
            }
            None => Err(format!("State Machine Safety: {node:?} is at {at:?}, which nobody committed")),
        }
    }
}

/// Who becomes a voter was a learner and holds what the leader holds, but for a little.
pub fn admission(raft: &Raft, before: &Membership, target: &Membership) -> Result<(), String> {
    let last = raft.last().index.prev();
    for &node in target.voters.iter().filter(|&&n| !before.is_voter(n)) {
        let matched = raft.progress().get(&node).map(|p| p.matched).unwrap_or_default();
        if !before.is_learner(node) || matched.0 * 10 < last.0 * 9 {
            return Err(format!("{node:?} becomes a voter with {matched:?} of {last:?}"));
        }
    }
    Ok(())
}

fn on_a_quorum(raft: &Raft, id: EntryId, members: &BTreeMap<NodeId, Member>) -> Result<(), String> {
    let holds = |n: NodeId| members.get(&n).is_some_and(|m| m.disk.holds(id));
    // An older entry is committed by a newer one behind it, whose configuration decides; only the newest is judged.
    if raft.is_leader() && id.index == raft.commit() && !raft.membership().is_quorum(holds) {
        let disks: Vec<String> = members
            .values()
            .map(|m| format!("{:?} {:?}..{:?}", m.id, m.disk.base.id.index, m.disk.last()))
            .collect();
        return Err(format!(
            "{:?} commits {id:?}, which is not on the disks of a majority of ({}): {}",
            raft.id(),
            raft.membership(),
            disks.join(", ")
        ));
    }
    Ok(())
}

/// Log Matching, for all pairs of running nodes.
pub fn log_matching(members: &BTreeMap<NodeId, Member>) -> Result<(), String> {
    let rafts: Vec<&Raft> = members.values().filter_map(|m| m.raft.as_ref()).collect();
    for (i, a) in rafts.iter().enumerate() {
        for b in &rafts[i + 1..] {
            let from = a.base().index.max(b.base().index).0 + 1;
            let mut equal_below = None;
            for at in (from..=a.last().index.min(b.last().index).0).rev() {
                let (x, y) = (a.entry(Index(at)), b.entry(Index(at)));
                let same_id = x.map(|e| e.id) == y.map(|e| e.id);
                if equal_below.is_some_and(|_| x != y) || (same_id && x != y) {
                    return Err(format!("Log Matching: {:?} and {:?} differ at {at}", a.id(), b.id()));
                }
                if same_id {
                    equal_below.get_or_insert(at);
                }
            }
        }
    }
    Ok(())
}

/// Whether a disk keeps what a message that leaves it promises.
pub fn promise(disk: &Disk, to: NodeId, message: &Message) -> Result<(), String> {
    let term = message.term();
    match message {
        Message::RequestVote { pre: true, .. } | Message::Vote { pre: true, .. } => return Ok(()),
        Message::Vote { granted: true, .. } if disk.hard.term == term && disk.hard.vote != Some(to) => {
            return Err(format!("its disk has {:?}", disk.hard));
        }
        // In a newer term the log may have been cut since: then this is an old truth that comes late.
        Message::Appended { matched, .. } if disk.hard.term == term && disk.last().index < *matched => {
            return Err(format!("its disk ends at {:?}", disk.last()));
        }
        _ => {}
    }
    if disk.hard.term < term {
        return Err(format!("its disk is in {:?}", disk.hard.term));
    }
    Ok(())
}
