//! What must hold, whatever happens: the five properties of Raft (dissertation, Figure 3.2), and every promise kept.
//!
//! - *Election Safety*: at most one leader a term.
//! - *Log Matching*: two logs with one id in common are equal up to it.
//! - *Leader Completeness*: who leads in a later term holds what was committed before.
//! - *State Machine Safety*: no two machines differ at one index.
//! - A leader commits by an entry of its own term (5.4.2, Figure 8).
//! - What a leader commits is on the disks of a majority, of both while joint.
//! - A vote or a confirmation that leaves a node is on that node's disk, and what is confirmed is the leader's entry.
//! - What a node takes for the committed configuration is the one that was committed there.

use crate::cluster::{Disk, Member, chain};
use quorate_base::{Entry, EntryId, EntryKind, Index, NodeId, Term};
use quorate_protocol::raft::{Membership, Message, Raft, ReadId};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// What one node shows and only the past of all can judge.
#[derive(Clone, Debug)]
pub enum Sight {
    /// It has begun to lead, or has committed more than when it was last looked at.
    Raft(Box<RaftSight>),
    /// Its machine has applied up to here.
    Machine {
        node: NodeId,
        at: EntryId,
        digest: u64,
    },
    ReadBegins(ReadId),
    /// With its index, or dropped.
    ReadEnds(NodeId, ReadId, Option<Index>),
}

impl Sight {
    /// Whether the disks of the others decide about it, not only what was seen before.
    pub fn is_by_disks(&self) -> bool {
        matches!(self, Self::Raft(s) if s.leads && s.commit > s.looked)
    }
}

#[derive(Clone, Debug)]
pub struct RaftSight {
    pub node: NodeId,
    pub term: Term,
    pub leads: bool,
    pub commit: Index,
    /// Its commit index when it was last looked at.
    pub looked: Index,
    pub base: EntryId,
    /// All behind the base.
    pub log: Vec<Entry>,
    pub membership: Membership,
    /// The configuration that it takes for the newest committed one, and where that stands.
    pub configured: (Index, Membership),
    /// Its own disk holds the entry at its commit index.
    pub on_disk: bool,
}

impl RaftSight {
    fn entry(&self, index: Index) -> Option<&Entry> {
        self.log.get(index.0.checked_sub(self.base.index.0 + 1)? as usize)
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.entry(index).map(|e| e.id.term) }
    }
}

/// Whether this node's disk holds this entry.
pub type Holds<'a> = &'a dyn Fn(NodeId, EntryId) -> bool;

/// What has been seen so far.
#[derive(Clone, Default)]
pub struct Checker {
    leaders: BTreeMap<Term, NodeId>,
    /// From index 1 on: the entry, the digest of all up to it, the term in which it was first committed.
    committed: Vec<(EntryId, u64, Term)>,
    /// The newest committed configuration.
    membership: Option<Membership>,
    /// All that were committed, by their places; at 0 the one that everything begins with.
    configurations: BTreeMap<Index, Membership>,
    /// Reads under way, with the newest index that was committed when they began.
    reads: BTreeMap<ReadId, Index>,
}

impl Checker {
    /// The newest index that anybody ever committed.
    pub fn committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// For a search: what decides later verdicts.
    pub fn fingerprint(&self, to: &mut impl Hasher) {
        (&self.leaders, &self.committed, &self.reads).hash(to);
        self.membership.as_ref().map(Membership::encode).hash(to);
    }

    /// Whether this entry is the committed one at its place.
    pub fn has(&self, id: EntryId) -> bool {
        self.committed.get((id.index.0 as usize).wrapping_sub(1)).is_some_and(|c| c.0 == id)
    }

    pub fn judge(&mut self, sight: &Sight, holds: Holds) -> Result<(), String> {
        match sight {
            Sight::Raft(sight) => self.raft(sight, holds),
            Sight::Machine { node, at, digest } => self.machine(*node, *at, *digest),
            Sight::ReadBegins(id) => {
                self.reads.insert(*id, self.committed());
                Ok(())
            }
            Sight::ReadEnds(node, id, index) => match (self.reads.remove(id), index) {
                (Some(floor), Some(index)) if *index < floor => Err(format!(
                    "{node:?} may read at {index:?}, {floor:?} was committed when read {} began",
                    id.0
                )),
                _ => Ok(()),
            },
        }
    }

    fn raft(&mut self, raft: &RaftSight, holds: Holds) -> Result<(), String> {
        if raft.leads {
            self.leads(raft)?;
        }
        let news = raft.commit > raft.looked;
        if raft.leads && news && raft.term_at(raft.commit) != Some(raft.term) {
            let at = raft.commit;
            return Err(format!(
                "Figure 8: {:?} commits {at:?} of {:?} in {:?}",
                raft.node,
                raft.term_at(at),
                raft.term
            ));
        }
        for at in raft.looked.max(raft.base.index).0 + 1..=raft.commit.0 {
            if let Some(entry) = raft.entry(Index(at)) {
                self.commits(raft, entry, holds)?;
            }
        }
        self.configured(raft)
    }

    /// Where it stands at the log's base it came with a snapshot, and says what was in force there.
    fn configured(&self, raft: &RaftSight) -> Result<(), String> {
        let (at, own) = &raft.configured;
        let known = self.configurations.range(..=*at).next_back();
        match known {
            // What a node begins with it was told.
            Some((_, known)) if at.0 > 0 && known != own => {
                Err(format!("{:?} goes by ({own}) at {at:?}, where ({known}) was committed", raft.node))
            }
            _ => Ok(()),
        }
    }

    fn leads(&mut self, raft: &RaftSight) -> Result<(), String> {
        let (id, term) = (raft.node, raft.term);
        match self.leaders.insert(term, id) {
            Some(other) if other != id => {
                return Err(format!("Election Safety: {other:?} and {id:?} lead in {term:?}"));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        for &(must, _, since) in &self.committed {
            if since < term && must.index > raft.base.index && raft.term_at(must.index) != Some(must.term) {
                return Err(format!(
                    "Leader Completeness: {id:?} leads in {term:?} and has {:?} at {must:?}, committed in {since:?}",
                    raft.term_at(must.index)
                ));
            }
        }
        Ok(())
    }

    fn commits(&mut self, raft: &RaftSight, entry: &Entry, holds: Holds) -> Result<(), String> {
        let at = entry.id.index.0 as usize;
        let before = if at < 2 { 0 } else { self.committed.get(at - 2).map_or(0, |c| c.1) };
        let digest = chain(before, entry);
        match self.committed.get(at - 1) {
            Some(&(id, known, _)) if (id, known) == (entry.id, digest) => Ok(()),
            Some(&(id, ..)) => Err(format!(
                "State Machine Safety: {:?} commits {:?}, but {id:?} is committed there",
                raft.node, entry.id
            )),
            None if at == self.committed.len() + 1 => {
                self.committed.push((entry.id, digest, raft.term));
                if entry.kind == EntryKind::Membership {
                    self.configuration(entry)?;
                }
                on_a_quorum(raft, entry.id, holds)
            }
            None => Err(format!("{:?} commits {:?} before what precedes it", raft.node, entry.id)),
        }
    }

    /// Quorums of neighbouring configurations overlap: into a joint one that carries the old voters, and out of it again; or
    /// the voters stay.
    fn configuration(&mut self, entry: &Entry) -> Result<(), String> {
        let next = Membership::decode(&entry.data).ok_or("a configuration that cannot be read")?;
        let legal = match &self.membership {
            Some(now) if now.is_joint() => next == now.left(),
            Some(now) if !next.is_joint() => next.voters == now.voters,
            Some(now) => next.outgoing.as_ref() == Some(&now.voters),
            None => true,
        };
        let now = self.membership.replace(next.clone());
        self.configurations.insert(entry.id.index, next.clone());
        if legal {
            return Ok(());
        }
        let now = now.map(|m| m.to_string()).unwrap_or_default();
        Err(format!("a change from ({now}) to ({next}) at {:?} overlaps in no quorum", entry.id))
    }

    /// The configuration that everything begins with.
    pub fn founded(&mut self, membership: Membership) {
        self.configurations.insert(Index(0), membership.clone());
        self.membership = Some(membership);
    }

    fn machine(&self, node: NodeId, at: EntryId, digest: u64) -> Result<(), String> {
        match self.committed.get((at.index.0 as usize).wrapping_sub(1)) {
            _ if at.index == Index(0) => Ok(()),
            Some(&(id, known, _)) if (id, known) == (at, digest) => Ok(()),
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

fn on_a_quorum(raft: &RaftSight, id: EntryId, holds: Holds) -> Result<(), String> {
    let has = |n: NodeId| if n == raft.node { raft.on_disk } else { holds(n, id) };
    // An older entry is committed by a newer one behind it, whose configuration decides; only the newest is judged.
    if raft.leads && id.index == raft.commit && !raft.membership.is_quorum(has) {
        let nodes = raft.membership.nodes();
        let disks: Vec<String> = nodes.iter().filter(|&&n| has(n)).map(|n| format!("{n:?}")).collect();
        return Err(format!(
            "{:?} commits {id:?}, which is not on the disks of a majority of ({}), but of: {}",
            raft.node,
            raft.membership,
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
            logs_match(a, b)?;
        }
    }
    Ok(())
}

pub fn logs_match(a: &Raft, b: &Raft) -> Result<(), String> {
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

/// Whether a confirmation is of what the leader of that term has there. That it is of something else does harm only once nobody else
/// has the leader's entry, which may need many more faults.
pub fn confirmation(disk: &Disk, leader: Option<&Raft>, message: &Message) -> Result<(), String> {
    let (Message::Appended { term, matched }, Some(leader)) = (message, leader) else { return Ok(()) };
    // In a newer term the log may have been cut since.
    if !leader.is_leader() || leader.term() != *term || disk.hard.term != *term {
        return Ok(());
    }
    let there = leader.term_at(*matched).map(|term| EntryId::new(term, *matched));
    match there {
        Some(there) if matched.0 > 0 && !disk.holds(there) => Err(format!("the leader has {there:?} there")),
        _ => Ok(()),
    }
}
